"""``forecast daily``: evenings of a few tickers by a patched clock, from stored prices or a local Yahoo."""

import json
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from yahoo_server import Chart, YahooServer

from forecaster.backtesting.spec import BacktestSpec
from forecaster.backtesting.walk_forward import forecast_history
from forecaster.cli import supply
from forecaster.data import calendars, update
from forecaster.data.store import Store
from forecaster.distributions.horizons import KNOTS
from forecaster.live import baselines, ledger, verification
from forecaster.models.garch import Garch
from forecaster.runs import bundle, choice, training

EVENINGS = pd.to_datetime(
    ["2017-12-27", "2017-12-28", "2017-12-29", "2018-01-02", "2018-01-03", "2018-01-04"]
)
KEY = ["ticker", "model", "cutoff", "step"]


@pytest.fixture(autouse=True)
def without_other_processes(monkeypatch):
    """Few fits are not worth the start of other processes."""
    monkeypatch.setattr(Garch, "slow", False)


@pytest.fixture
def clock(monkeypatch):
    """A function that sets the clock, in UTC."""

    def at(instant):
        now = pd.Timestamp(instant, tz="UTC")
        monkeypatch.setattr(calendars, "now", lambda: now)

    return at


@pytest.fixture(scope="module")
def network(world, tiny):
    """A network that has seen nothing of the evenings."""
    return training.train(
        world, model="lstm", name="net", until=pd.Timestamp("2017-11-30").date(), config=tiny
    )


@pytest.fixture
def evening(clock, forecast, world, tmp_path):
    """A function that stores all prices up to a day and runs the command after New York's close."""

    def run(day, *words, frame=world, refresh=False):
        clock(f"{day:%Y-%m-%d} 22:00")
        known = frame[frame["date"] <= day]
        Store(tmp_path).write(known, source="test", whole=True, refresh=refresh)
        return forecast("daily", "--home", tmp_path, "--no-fetch", "--no-page", *words)

    return run


def stored(home, **wanted):
    return ledger.read(home, **wanted).sort_values(KEY, ignore_index=True)


def test_the_ledger_of_evenings_over_new_year_is_a_backtest_bit_for_bit(evening, network, tmp_path):
    bundle.save(network, tmp_path)
    run = bundle.load(tmp_path, "net")
    for day in EVENINGS:
        result = evening(day)
        assert result.code == 0, result.err
    first, last = EVENINGS[0] + pd.Timedelta(days=1), EVENINGS[-1]
    prices = Store(tmp_path).read()
    rows = stored(tmp_path)
    assert not rows["late"].any()
    assert set(rows["run"]) == {"net", ""}

    def backtest(start, *models, **more):
        spec = BacktestSpec(models, start=start.date(), end=last.date(), refit="yearly", **more)
        return forecast_history(prices, spec, trained=run if "lstm" in models else None)

    made = [
        backtest(pd.Timestamp("2017-01-01"), *baselines.MODELS).forecasts,
        backtest(first, "lstm", steps=KNOTS).forecasts,
    ]
    expected = pd.concat(made).query("cutoff in @EVENINGS").sort_values(KEY, ignore_index=True)
    # A backtest ends where prices do; what reaches beyond is still open.
    mine = rows[rows["date"] <= last].reset_index(drop=True)
    assert set(expected["step"]) == {1, 2, 3, 5}
    columns = list(expected.columns)
    pd.testing.assert_frame_equal(mine[columns], expected[columns], check_exact=True)
    assert (mine["status"] == "settled").all()
    open_rows = rows[rows["date"] > last]
    assert set(open_rows["step"]) == set(KNOTS)
    assert open_rows["status"].isna().all()
    assert verification.verify(tmp_path).problems == []


def test_a_second_call_does_nothing_twice(evening, network, tmp_path):
    bundle.save(network, tmp_path)
    first = evening(EVENINGS[0], "--json").json
    assert first["recorded"] == {
        "rows": 23,  # 3 tickers at 6 steps, and beside them naive of each and gjr of two
        "late": 0,
        "tickers": 3,
        "first": "2017-12-28",
        "last": "2017-12-28",
    }
    assert (first["run"], first["chosen_by"], first["failed"]) == ("net", "latest", [])
    before = stored(tmp_path)
    again = evening(EVENINGS[0], "--json").json
    assert again["recorded"]["rows"] == 0
    assert again["settled"]["outcomes"] == 0
    # CCC waits for gjr too, which it will not have this year.
    assert [(it["exchange"], it["tickers"]) for it in again["waiting"]] == [
        ("XNYS", ["AAA", "BBB"])
    ]
    assert again["waiting"][0]["until"] == "2017-12-28T21:00:00+00:00"
    pd.testing.assert_frame_equal(stored(tmp_path), before)
    text = evening(EVENINGS[0])
    assert text.out.splitlines() == [
        "nothing new to forecast",
        "waiting for XNYS to close at 2017-12-28 21:00 UTC: 2 tickers",
    ]


def test_what_came_is_settled_and_counted(evening, network, world, tmp_path):
    bundle.save(network, tmp_path)
    evening(EVENINGS[0])
    settled = evening(EVENINGS[1], "--json").json["settled"]
    rows = stored(tmp_path, run="net", steps=[1]).query("cutoff == @EVENINGS[0]")
    adj_close = world.pivot_table(index="date", columns="ticker", values="adj_close")
    came = np.log(adj_close.loc[EVENINGS[1]] / adj_close.loc[EVENINGS[0]])
    inside = came.between(*rows.set_index("ticker")[["q0.1", "q0.9"]].to_numpy().T)
    assert (settled["next_session"], settled["inside_80"]) == (3, int(inside.sum()))
    assert (settled["settled"], settled["outcomes"]) == (3, 3)


def test_exchanges_that_have_not_closed_wait(clock, forecast, network, world, newcomer, tmp_path):
    bundle.save(network, tmp_path)
    abroad = newcomer.assign(ticker="NEW.DE")
    days = calendars.sessions_between("NEW.DE", "2016-01-04", "2018-12-28")
    abroad = abroad.assign(date=days[: len(abroad)])
    for frame, until in ((world, "2017-12-28"), (abroad, "2017-12-28")):
        Store(tmp_path).write(frame[frame["date"] <= until], source="test")
    words = ("daily", "--home", tmp_path, "--no-fetch", "--no-page", "--json")
    # Frankfurt closed half an hour ago, New York trades: what is forecast of its session is late.
    clock("2017-12-29 17:00")
    document = forecast(*words).json
    assert document["behind"] == ["NEW.DE"]  # its last session did not come yet
    assert document["recorded"]["late"] == document["recorded"]["rows"] == 23
    Store(tmp_path).write(abroad[abroad["date"] <= "2017-12-29"], source="test", whole=True)
    document = forecast(*words).json
    assert document["behind"] == []
    assert document["recorded"]["tickers"] == 1
    assert document["recorded"]["late"] == 0
    # It did not trade on New Year's Day either, so that is what it waits for.
    clock("2017-12-29 23:00")
    document = forecast(*words).json
    assert document["recorded"]["rows"] == 0
    assert [(it["exchange"], it["until"]) for it in document["waiting"]] == [
        ("XETR", "2018-01-02T16:30:00+00:00")
    ]
    assert document["behind"] == ["AAA", "BBB", "CCC"]


def test_a_run_that_has_seen_the_day_fails_alone(evening, world, tiny, tmp_path):
    last = EVENINGS[2].date()
    bundle.save(training.train(world, model="ewma", name="seer", until=last), tmp_path)
    choice.set_default(tmp_path, "seer")
    result = evening(EVENINGS[0], "--json")
    assert result.code == 1
    (failed,) = result.json["failed"]
    assert failed["step"] == "forecast"
    assert "run seer was trained on sessions up to 2017-12-29" in failed["error"]
    assert result.err.count("error: ") == 1
    rows = stored(tmp_path)
    assert set(rows["run"]) == {""}
    assert len(rows) == 5


def test_a_run_that_is_not_there_fails_alone(evening, tmp_path):
    result = evening(EVENINGS[0], "--run", "missing", "--json")
    assert result.code == 1
    assert [it["step"] for it in result.json["failed"]] == ["run"]
    assert "there is no run 'missing'" in result.err
    assert set(stored(tmp_path)["model"]) == {"gjr", "naive"}


def test_alerts_are_of_the_run_and_never_of_a_baseline(evening, network, tmp_path):
    (tmp_path / "alerts.toml").write_text(
        '[targets.desk]\ncommand = ["true"]\n[[alert]]\nwhen = "var"\nabove = 0.001\n'
    )
    bundle.save(network, tmp_path)
    alone = evening(EVENINGS[0], "--run", "gone")
    assert alone.code == 1
    assert "sent" not in alone.out  # gjr and naive are recorded, and nobody is to hear of them
    assert "sent 3 alerts to desk" in evening(EVENINGS[0]).out
    assert "sent" not in evening(EVENINGS[0]).out


def test_a_step_that_breaks_leaves_the_others_done(evening, network, tmp_path, monkeypatch):
    from forecaster.live import settling

    bundle.save(network, tmp_path)
    monkeypatch.setattr(settling, "settle", lambda *_: 1 / 0)
    result = evening(EVENINGS[0])
    assert result.code == 1
    assert "error: settle: ZeroDivisionError: division by zero" in result.err
    assert len(stored(tmp_path)) == 23


def test_a_ticker_too_young_for_anything_is_named(evening, network, world, newcomer, tmp_path):
    bundle.save(network, tmp_path)
    young = newcomer[newcomer["date"] >= "2017-12-01"]
    frame = pd.concat([world, young], ignore_index=True)
    result = evening(EVENINGS[0], frame=frame)
    assert result.code == 1
    assert "error: forecast: NEW has 18 sessions up to 2017-12-27" in result.err
    assert result.out.startswith("recorded 23 forecasts of 3 tickers for 2017-12-28 and on\n")


def test_an_empty_home_says_what_comes_first(clock, forecast, tmp_path):
    result = forecast("daily", "--home", tmp_path)
    assert (result.code, result.out) == (1, "")
    assert "name tickers, which are then fetched" in result.err


@pytest.mark.parametrize(
    "words", [("--retrain", "weekly"), ("--retrain", "monthly", "--run", "base")]
)
def test_wrong_words_are_wrong_usage(forecast, tmp_path, words):
    assert forecast("daily", *words, "--home", tmp_path).code == 2


# ---- from Yahoo

NOW = "2024-03-20 22:00"


def chart(seed, until, **more):
    days = calendars.sessions_between("AAPL", pd.Timestamp("2021-06-01"), pd.Timestamp(until))
    close = 100 * np.exp(np.random.default_rng(seed).normal(0, 0.01, 900).cumsum())[: len(days)]
    frame = pd.DataFrame({"date": days, "open": close, "high": close * 1.01, "low": close * 0.99})
    return Chart(frame.assign(close=close, adj_close=close, volume=1e6), **more)


@pytest.fixture
def yahoo(clock, monkeypatch):
    with YahooServer({}) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(update, "FIRST_WAIT", 0.05)
        monkeypatch.setattr(supply, "PATIENCE", 0.5)

        def on(day):
            clock(f"{day} 22:00")
            server.charts = {
                "AAPL": chart(1, day),
                "^GSPC": chart(2, day, instrument="INDEX"),
                "^VIX": chart(3, day, instrument="INDEX"),
            }

        server.on = on
        yield server


def test_evenings_from_yahoo_begin_in_an_empty_home(yahoo, forecast, tmp_path):
    words = ("--home", tmp_path, "--no-page")
    yahoo.on("2024-03-20")
    first = forecast("daily", "aapl", *words)
    assert first.code == 0, first.err
    assert first.out.splitlines()[-1] == "recorded 8 forecasts of 1 ticker for 2024-03-21 and on"
    yahoo.on("2024-03-21")
    result = forecast("daily", *words, "--json")
    assert result.code == 0, result.err
    document = result.json
    assert document["fetched"] == {"tickers": 1, "new_rows": 1, "failed": []}
    assert document["settled"]["next_session"] == 1
    assert document["recorded"]["rows"] == 8
    # The indices beside it are as new as it is.
    along = Store(tmp_path / "companions")
    assert {along.state(it).last for it in along.tickers()} == {pd.Timestamp("2024-03-21")}


def test_a_ticker_that_does_not_come_is_named_and_the_others_are_done(yahoo, forecast, tmp_path):
    yahoo.on("2024-03-20")
    result = forecast("daily", "AAPL", "NOPE", "--home", tmp_path, "--no-page")
    assert result.code == 1
    assert "error: fetch: NOPE" in result.err
    assert result.err.count("error: ") == 1
    assert "recorded 8 forecasts of 1 ticker" in result.out


def test_offline_is_one_line_and_all_else_goes_on(yahoo, clock, forecast, tmp_path, monkeypatch):
    yahoo.on("2024-03-20")
    assert forecast("fetch", "AAPL", "--home", tmp_path, "--quiet").code == 0
    Store(tmp_path).write(
        Store(tmp_path).read(["AAPL"]).assign(ticker="OTHER"), source="a file of mine"
    )
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    clock("2024-03-21 13:00")  # before the open
    result = forecast("daily", "--home", tmp_path, "--no-page", "--json")
    assert result.json["recorded"]["tickers"] == 2
    assert result.json["recorded"]["late"] == 0
    clock("2024-03-21 22:00")
    result = forecast("daily", "--home", tmp_path, "--no-page", "--json")
    assert result.code == 1
    assert [it["step"] for it in result.json["failed"]] == ["fetch"]
    assert result.json["fetched"]["tickers"] == 1  # a file's ticker is none of Yahoo's
    assert result.json["behind"] == ["AAPL", "OTHER"]
    assert result.err.count("error: ") == 1


# ---- the steps that others brought


def test_the_page_and_the_alerts_are_steps_too(clock, forecast, network, world, tmp_path):
    bundle.save(network, tmp_path)
    clock("2017-12-27 22:00")
    Store(tmp_path).write(world[world["date"] <= EVENINGS[0]], source="test")
    (tmp_path / "alerts.toml").write_text("not TOML")
    result = forecast("daily", "--home", tmp_path, "--no-fetch", "--json")
    assert result.code == 1
    assert [it["step"] for it in result.json["failed"]] == ["alert"]
    assert result.json["recorded"]["rows"] == 23
    page = tmp_path / "page" / "index.html"
    assert result.json["page"] == str(page)
    assert "AAA" in page.read_text(encoding="utf-8")


def test_retraining_is_a_step_too(evening, world, tmp_path):
    bundle.save(
        training.train(world, model="naive", until=pd.Timestamp("2017-06-30").date()), tmp_path
    )
    choice.set_default(tmp_path, bundle.names(tmp_path)[0])
    result = evening(EVENINGS[0], "--retrain", "monthly", "--json")
    assert result.code == 0, result.err
    assert result.json["retrained"]["words"].endswith("networks alone are retrained")


AT = """
import sys
import pandas as pd
from forecaster.data import calendars
now = pd.Timestamp(sys.argv[1], tz="UTC")
calendars.now = lambda: now
from forecaster.cli.app import main
main(sys.argv[2:])
"""


@pytest.mark.slow
def test_calls_at_once_do_together_what_one_does(network, world, tmp_path):
    bundle.save(network, tmp_path)
    Store(tmp_path).write(world[world["date"] <= EVENINGS[0]], source="test")
    words = [sys.executable, "-c", AT, "2017-12-27 22:00", "daily", "--home", str(tmp_path)]
    calls = [
        subprocess.Popen([*words, "--no-fetch", "--json"], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    documents = [json.loads(call.communicate()[0]) for call in calls]
    assert [call.returncode for call in calls] == [0, 0, 0]
    assert sorted(it["recorded"]["rows"] for it in documents) == [0, 0, 23]
    assert len(stored(tmp_path)) == 23
    assert verification.verify(tmp_path).problems == []


@pytest.mark.slow
def test_a_call_that_was_killed_is_made_good_by_the_next(evening, network, world, tmp_path):
    bundle.save(network, tmp_path)
    Store(tmp_path).write(world[world["date"] <= EVENINGS[0]], source="test")
    words = [sys.executable, "-c", AT, "2017-12-27 22:00", "daily", "--home", str(tmp_path)]
    for seconds in (1.5, 2.5, 3.5):
        call = subprocess.Popen(
            [*words, "--no-fetch"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(seconds)
        call.kill()
        call.wait()
    result = evening(EVENINGS[0])
    assert result.code == 0, result.err
    assert len(stored(tmp_path)) == 23
    assert verification.verify(tmp_path).problems == []


def test_the_json_names_its_schema(evening, tmp_path):
    document = json.loads(evening(EVENINGS[0], "--quiet", "--json").out)
    assert document["schema"] == "forecaster/daily/1"


def test_a_damaged_price_file_costs_its_own_ticker_alone(evening, network, world, tmp_path):
    bundle.save(network, tmp_path)
    evening(EVENINGS[0])
    broken, *others = sorted(world["ticker"].unique())
    day = EVENINGS[1]
    Store(tmp_path).write(world[world["date"] <= day], source="test", whole=True)
    (tmp_path / "prices" / f"{broken}.parquet").write_bytes(b"junk")
    result = evening(day, frame=world[world["ticker"] != broken])
    assert result.code == 1
    assert f"{broken}.parquet" in result.err
    assert "without it" in result.err
    rows = stored(tmp_path)
    tonight = rows[rows["cutoff"] == day]
    assert set(tonight["ticker"]) == set(others)
    assert set(tonight["model"]) == {"lstm", "gjr", "naive"}


def test_what_predict_recorded_of_the_next_session_lacks_the_steps_after(
    evening, forecast, network, tmp_path
):
    bundle.save(network, tmp_path)
    day = EVENINGS[0]
    evening(day - pd.Timedelta(days=1))
    evening(day, "--run", "nobody")  # stores the prices of the day, and forecasts by no run
    assert forecast("predict", "--record", "--home", tmp_path).code == 0
    before = stored(tmp_path)
    assert set(before.loc[(before["cutoff"] == day) & (before["model"] == "lstm"), "step"]) == {1}
    assert evening(day).code == 0
    after = stored(tmp_path)
    mine = after[(after["cutoff"] == day) & (after["model"] == "lstm")]
    assert set(mine["step"]) == set(KNOTS)
    assert len(after) == len(after.drop_duplicates([*KEY, "run"]))
