"""What fires, that it is told once, and that nothing is lost on the way."""

import itertools
import json
import random
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from forecaster.data import calendars, events, prices
from forecaster.data.store import Store
from forecaster.distributions import forecasts
from forecaster.distributions.quantile_grid import LEVELS
from forecaster.errors import StoreError, UsageError
from forecaster.live import alerts, conditions, ledger, outbox, settling

NOW = pd.Timestamp("2026-11-25 22:00", tz="UTC")
"""A Wednesday after New York has closed; Thursday is Thanksgiving, so that the next session is Friday."""
NEXT = pd.Timestamp("2026-11-27")
ORIGIN = ledger.Origin("lstm", "mine", "ab" * 32, "2026-01-02", {})
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr(calendars, "now", lambda: NOW)


@pytest.fixture
def store(tmp_path):
    """Prices of three tickers; OLD ended three sessions ago."""
    store = Store(tmp_path / "home")
    for ticker, last in (("AAA", "2026-11-25"), ("BBB", "2026-11-25"), ("OLD", "2026-11-20")):
        days = calendars.sessions_between(ticker, pd.Timestamp("2026-06-01"), pd.Timestamp(last))
        close = 100 * np.exp(0.01 * np.sin(np.arange(len(days))))
        store.write(
            prices.check(pd.DataFrame({"ticker": ticker, "date": days, "close": close})),
            source="test",
        )
    return store


def home_of(store):
    return store.folder.parent


def forecast(ticker="AAA", date=NEXT, cutoff="2026-11-25", step=1, **quantiles):
    """A forecast whose quantiles go evenly from -10% to 10%, through those given."""
    known = {0.01: -0.1, 0.99: 0.1} | {
        float(it.replace("q", "0.")): at for it, at in quantiles.items()
    }
    values = np.interp(LEVELS, sorted(known), [known[it] for it in sorted(known)])
    return forecasts.from_quantiles(
        ticker=[ticker],
        model="lstm",
        cutoff=[pd.Timestamp(cutoff)],
        date=[pd.Timestamp(date)],
        last_close=100.0,
        log_return=np.nan,
        quantiles=values[None, :],
        step=step,
    )


def conditions_of(store, text, command=("true",)):
    """Write conditions, told to a target that is a command."""
    home_of(store).mkdir(exist_ok=True)
    target = f"[targets.desk]\ncommand = {json.dumps(list(command))}\n"
    (home_of(store) / conditions.FILE).write_text(target + text, encoding="utf-8")


def fired(store, text, frame=None, its_events=None, now=NOW):
    """The alerts of some conditions."""
    conditions_of(store, text)
    due, failed = alerts.check(
        conditions.read(home_of(store)),
        home_of(store),
        store,
        forecasts.empty() if frame is None else frame,
        events.empty() if its_events is None else its_events,
        now,
    )
    assert not failed
    return [alert for its in due for alert in its.alerts]


def condition(when, **values):
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    return "\n".join(["[[alert]]", f'when = "{when}"', *lines, ""])


# ---- the conditions


def test_a_move_fires_above_its_limit_alone(store):
    # Half of what lies between exp(-0.05) and exp(0.05) is sinh(0.05).
    frame = forecast(q1=-0.05, q9=0.05)
    (alert,) = fired(store, condition("expected_move", above=np.sinh(0.05) - 1e-6), frame)
    assert alert.text == (
        "Move: AAA may move 5.0% either way on Fri 27 Nov (80% interval 95.12 to 105.13)"
    )
    assert (alert.ticker, alert.occasion) == ("AAA", "2026-11-27")
    assert not fired(store, condition("expected_move", above=np.sinh(0.05) + 1e-6), frame)


def test_a_risk_fires_above_its_limit_alone(store):
    frame = forecast(q05=np.log(0.92))  # one day in twenty it loses more than 8%
    (alert,) = fired(store, condition("var", above=0.0799), frame)
    assert "AAA has a 95% VaR of 8.0% on Fri 27 Nov, above 8.0%" in alert.text
    assert not fired(store, condition("var", above=0.0801), frame)


def test_only_the_next_session_of_the_tickers_named_counts(store):
    wide = condition("var", above=0.001, tickers=["AAA"])
    frame = forecasts.concat([forecast(), forecast("BBB")])
    assert [it.ticker for it in fired(store, wide, frame)] == ["AAA"]
    assert len(fired(store, condition("var", above=0.001), frame)) == 2
    assert not fired(store, wide, forecast(step=2, date="2026-11-30"))
    over = forecast(cutoff="2026-11-24", date="2026-11-25")
    assert not fired(store, wide, over)


def test_the_last_forecasts_of_the_ledger_stand_in_for_those_of_tonight(store):
    record(store, forecast("BBB"))
    assert [it.ticker for it in fired(store, condition("var", above=0.001))] == ["BBB"]


def record(store, frame, made=NOW):
    tickers = frame["ticker"].unique()
    ledger.record(
        home_of(store), frame, {"lstm": ORIGIN}, dict.fromkeys(tickers, "cd" * 32), made=made
    )


def settled(store, came, made="2026-11-24 22:00"):
    """Record a forecast of Wednesday, and settle it by what came."""
    cutoff, day = pd.Timestamp("2026-11-24"), pd.Timestamp("2026-11-25")
    frame = store.read(["AAA"])[["ticker", "date", "close"]].set_index("date")
    frame["close"] = frame["close"].mask(
        frame.index == day, frame.loc[cutoff, "close"] * np.exp(came)
    )
    frame = frame.reset_index()
    store.write(prices.check(frame), source="test", refresh=True)
    record(
        store, forecast(cutoff=cutoff, date=day, q01=-0.1, q99=0.1), pd.Timestamp(made, tz="UTC")
    )
    settling.settle(home_of(store), store, NOW)


@pytest.mark.parametrize(
    ("came", "words"),
    [
        (-0.11, "fell 10.4% on Wed 25 Nov, below the 0.01 quantile of its forecast, -9.5%"),
        (0.11, "rose 11.6% on Wed 25 Nov, above the 0.99 quantile of its forecast, +10.5%"),
        (-0.09, None),
        (0.09, None),
    ],
)
def test_a_surprise_lies_beyond_the_tails_of_its_forecast(store, came, words):
    settled(store, came)
    lines = [it.text for it in fired(store, condition("surprise"))]
    assert lines == ([f"Surprise: AAA {words}"] if words else [])


def test_a_surprise_of_a_forecast_made_late_or_within_a_wider_tail(store):
    settled(store, -0.097)  # between the quantiles at 1% and 2.5%
    assert not fired(store, condition("surprise"))
    assert len(fired(store, condition("surprise", level=0.025))) == 1


def test_a_forecast_made_after_the_open_surprises_nobody(store):
    settled(store, -0.3, made="2026-11-25 16:00")
    assert not fired(store, condition("surprise", level=0.05))


def earnings(*rows):
    frame = pd.DataFrame(rows, columns=["ticker", "date", "time", "first_seen"])
    return events.check(frame.assign(kind="earnings"))


@pytest.mark.parametrize(
    ("day", "time", "sessions"),
    [
        ("2026-11-25", "post", 1),  # it closed before the announcement; the next session is Friday
        ("2026-11-27", "pre", 1),
        ("2026-11-27", None, 1),
        ("2026-11-27", "post", 2),  # Monday
        ("2026-11-30", "pre", 2),
        ("2026-11-25", "pre", 0),  # it has reacted
        ("2026-11-20", "post", 0),
    ],
)
def test_earnings_count_the_sessions_to_the_first_that_can_react(store, day, time, sessions):
    its = earnings(("AAA", day, time, None), ("GONE", "2026-11-27", "pre", None))
    for limit in (1, 2, 3):
        count = len(fired(store, condition("earnings", sessions=limit), its_events=its))
        assert count == int(1 <= sessions <= limit)


def test_a_day_that_was_moved_is_no_longer_announced(store):
    its = earnings(
        ("AAA", "2026-11-27", "pre", "2026-10-01T00:00:00Z"),
        ("AAA", "2026-12-01", "pre", "2026-11-20T00:00:00Z"),
    )
    (alert,) = fired(store, condition("earnings", sessions=5), its_events=its)
    assert alert.occasion == "2026-12-01"
    assert alert.text == (
        "Earnings: AAA reports Tue 1 Dec before the open; the first session to react is Tue 1 Dec, "
        "3 sessions ahead"
    )


def test_stale_prices_lack_finished_sessions(store):
    (alert,) = fired(store, condition("stale", sessions=3))
    assert alert.text == "Stale: OLD lacks 3 finished sessions after 2026-11-20, its last price"
    assert not fired(store, condition("stale", sessions=4))
    later = pd.Timestamp("2028-01-03 22:00", tz="UTC")  # beyond what is read to tell the weekdays
    assert len(fired(store, condition("stale", sessions=200), now=later)) == 3


@pytest.mark.parametrize(
    ("move", "words"),
    [
        (0.09, "80% intervals held 0.0% (with 95% confidence the true share is 0.0% to "),
        (0.001, "80% intervals held 100.0% (with 95% confidence the true share is "),
    ],
)
def test_coverage_fires_once_for_all_its_tickers_when_it_excludes_the_promise(store, move, words):
    days = calendars.sessions_between("AAA", pd.Timestamp("2026-09-01"), pd.Timestamp("2026-11-25"))
    close = 100 * np.exp(move * (np.arange(len(days)) % 2))  # up and down by as much
    for ticker in ("AAA", "BBB"):
        frame = pd.DataFrame({"ticker": ticker, "date": days, "close": close})
        store.write(prices.check(frame), source="test", refresh=True)
    for cutoff, day in itertools.pairwise(days):
        its = [
            forecast(it, date=day, cutoff=cutoff, q025=-0.095, q975=0.095) for it in ("AAA", "BBB")
        ]
        made = cutoff.tz_localize("UTC") + pd.Timedelta(hours=22)
        record(store, forecasts.concat(its), made)
    assert not fired(store, condition("coverage"))  # nothing has come yet
    settling.settle(home_of(store), store, NOW)
    alerts_of_all = fired(store, condition("coverage"))
    (of_80,) = [it for it in alerts_of_all if "80%" in it.text]
    assert of_80.text.startswith(
        f"Coverage: of {2 * (len(days) - 1)} forecasts by the run mine, {words}"
    )
    assert of_80.occasion == f"mine 0.8 {'narrow' if move > 0.05 else 'wide'}"
    (of_one,) = fired(store, condition("coverage", tickers=["BBB"]))
    assert f"of {len(days) - 1} forecasts" in of_one.text
    assert of_one.ticker != of_80.ticker


def test_a_ticker_that_is_not_stored_is_said_and_the_others_are_looked_at(store):
    text = condition("stale", sessions=3, tickers=["OLD", "AAB"]) + condition("stale", sessions=3)
    conditions_of(store, text)
    due, failed = alerts.check(
        conditions.read(home_of(store)),
        home_of(store),
        store,
        forecasts.empty(),
        events.empty(),
        NOW,
    )
    assert [len(it.alerts) for it in due] == [1, 1]
    assert [str(it) for it in failed] == [
        "alerts.toml, alert 1 (line 3): no prices are stored of AAB; did you mean AAA? correct the file, "
        "or fetch them"
    ]


# ---- told once


APPEND = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + '\\n')"


def told(tmp_path):
    file = tmp_path / "told"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def writes(tmp_path):
    """A command that adds the text to a file."""
    return [sys.executable, "-c", APPEND, str(tmp_path / "told")]


def run(store, frame=None, now=NOW):
    frame = forecasts.empty() if frame is None else frame
    return alerts.run(home_of(store), store, frame, events.empty(), now)


def test_without_the_file_nothing_is_said_or_made(store):
    assert run(store, forecast()) == ([], [])
    assert not (home_of(store) / outbox.FILE).exists()


def test_each_is_told_once_and_again_at_its_next_occasion(store, tmp_path):
    text = condition("var", above=0.001, tickers=["AAA"]) + condition("stale", sessions=3)
    conditions_of(store, text, writes(tmp_path))
    sent, failed = run(store, forecast())
    assert not failed
    assert [it.target for it in sent] == ["desk"]
    assert told(tmp_path) == sent[0].lines
    assert [it.split(":")[0] for it in told(tmp_path)] == ["Stale", "Risk"]
    assert run(store, forecast()) == ([], [])
    # The same conditions the other way round, of the same evening.
    conditions_of(store, condition("stale", sessions=3) + text, writes(tmp_path))
    assert run(store, forecast()) == ([], [])
    tomorrow = forecast(cutoff="2026-11-27", date="2026-11-30")
    run(store, tomorrow, now=NOW + pd.Timedelta(days=2))
    assert ["Mon 30 Nov" in it for it in told(tmp_path)] == [False, False, True]


def test_what_failed_is_tried_again_by_the_next_call_for_that_target_alone(store, tmp_path):
    broken = f"import pathlib, sys; sys.exit(not pathlib.Path({str(tmp_path / 'on')!r}).exists())"
    conditions_of(store, "", writes(tmp_path))
    with (home_of(store) / conditions.FILE).open("a") as file:
        file.write(f"[targets.off]\ncommand = {json.dumps([sys.executable, '-c', broken])}\n")
        file.write(condition("var", above=0.001))
    sent, failed = run(store, forecast())
    assert [it.target for it in sent] == ["desk"]
    assert [str(it) for it in failed] == [f"target off: {sys.executable} ended with exit code 1"]
    # The condition does not hold any more the next day; it did, and that is still news.
    (tmp_path / "on").touch()
    sent, failed = run(store, now=NOW + pd.Timedelta(days=1))
    assert ([it.target for it in sent], failed) == (["off"], [])
    assert "AAA has a 95% VaR" in sent[0].lines[0]
    assert run(store) == ([], [])
    assert len(told(tmp_path)) == 1


def test_what_could_not_be_told_for_a_week_is_no_news(store, tmp_path):
    conditions_of(store, condition("var", above=0.001), ["no-such-program"])
    assert len(run(store, forecast()).failed) == 1
    conditions_of(store, condition("var", above=0.001), writes(tmp_path))
    assert run(store, now=NOW + pd.Timedelta(days=8)) == ([], [])


def test_a_long_list_is_one_message_that_says_how_long(store, tmp_path, monkeypatch):
    monkeypatch.setattr(alerts, "MOST_LINES", 2)
    text = "".join(condition("var", above=limit) for limit in (0.001, 0.002, 0.003, 0.004))
    conditions_of(store, text, writes(tmp_path))
    (message,) = run(store, forecast()).sent
    assert len(message.lines) == 4
    assert told(tmp_path)[2:] == ["… and 2 more"]
    assert run(store, forecast()) == ([], [])


def test_a_damaged_outbox_is_said_and_a_file_that_is_wrong_too(store):
    conditions_of(store, condition("var", above=0.001))
    (home_of(store) / outbox.FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="If it is damaged, delete it"):
        run(store, forecast())
    conditions_of(store, "[[alert]]\n")
    with pytest.raises(UsageError, match="when must be"):
        run(store, forecast())


def test_an_outbox_that_was_just_begun_is_empty(store):
    (home_of(store) / outbox.FILE).touch()
    assert outbox.sent(home_of(store)) == set()
    conditions_of(store, condition("var", above=0.001))
    assert len(run(store, forecast()).sent) == 1


def test_a_hostile_name_is_told_as_it_prints_and_reaches_no_shell(tmp_path):
    store, name = Store(tmp_path / "home"), "$(touch x);`touch x`|touch x&<b>{title}"
    days = calendars.sessions_between("AAA", pd.Timestamp("2026-06-01"), pd.Timestamp("2026-11-20"))
    frame = pd.DataFrame({"ticker": name, "date": days, "close": 100.0})
    store.write(prices.check(frame), source="test")
    file = tmp_path / "words"
    command = [
        sys.executable,
        "-c",
        "import json, sys; json.dump(sys.argv[2:], open(sys.argv[1], 'w'))",
        str(file),
        "{title}",
        "{text}",
    ]
    conditions_of(store, condition("stale", sessions=1), command)
    (message,) = run(store).sent
    title, text = json.loads(file.read_text())
    assert title == "Forecaster: 1 alert"
    assert text == message.lines[0]
    assert text.startswith(f"Stale: {name} lacks 3 finished sessions")


# ---- several at once, and killed


CALL = """
import os, signal, sys
import pandas as pd
from forecaster.data import events
from forecaster.data.store import Store
from forecaster.distributions import forecasts
from forecaster.live import alerts

alerts.MOST_LINES = 10**6
home, now = sys.argv[1], pd.Timestamp(sys.argv[2])
frame = pd.read_parquet(sys.argv[3])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # or it is over before it is waited for
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        alerts.run(Store(home).folder.parent, Store(home), frame, events.empty(), now)
        os._exit(0)
    seconds = float(line)
    if not signal.sigtimedwait([signal.SIGCHLD], seconds):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("over", flush=True)
"""


@pytest.fixture
def caller(store, tmp_path):
    """A function that starts a process which makes a call for each line, killed after its seconds."""
    frame = forecasts.concat([forecast(), forecast("BBB")])
    frame.to_parquet(tmp_path / "frame.parquet")
    words = [
        sys.executable,
        "-c",
        CALL,
        home_of(store),
        NOW.isoformat(),
        tmp_path / "frame.parquet",
    ]
    started = []

    def start():
        process = subprocess.Popen(
            [str(it) for it in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        with process:
            process.stdin.close()


def call(process, seconds=60.0):
    process.stdin.write(f"{seconds}\n")
    process.stdin.flush()


@posix
def test_calls_at_the_same_time_tell_once(store, tmp_path, caller):
    conditions_of(store, condition("var", above=0.001), writes(tmp_path))
    processes = [caller() for _ in range(3)]
    for process in processes:
        call(process)
    for process in processes:
        assert process.stdout.readline() == "over\n"
    assert len(told(tmp_path)) == 2  # one message of two lines


@posix
@pytest.mark.slow
def test_killed_at_any_instant_each_is_told_at_least_once_and_twice_only_if_killed(
    store, tmp_path, caller
):
    moments, process = random.Random(1), caller()
    limits = [round(0.001 + 0.0001 * number, 5) for number in range(30)]
    for number in range(len(limits)):
        text = "".join(condition("var", above=it) for it in limits[: number + 1])
        conditions_of(store, text, writes(tmp_path))
        call(process, moments.uniform(0, 1))
        assert process.stdout.readline() == "over\n"
    time.sleep(0.5)  # a command outlives the call that started it
    call(process)
    assert process.stdout.readline() == "over\n"
    assert run(store, pd.read_parquet(tmp_path / "frame.parquet")) == ([], [])
    lines = told(tmp_path)
    marks = outbox.sent(home_of(store))
    assert len(marks) == 2 * len(limits)
    assert len(lines) >= len(marks)
    assert len([it for it in lines if "AAA" in it]) == len([it for it in lines if "BBB" in it])
