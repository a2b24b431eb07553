"""``forecast fetch`` and an unpatched yfinance, against a Yahoo on the loopback that misbehaves."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from yahoo_server import Chart, YahooServer

from forecaster.cli.app import main
from forecaster.data import calendars, update
from forecaster.data.sources.yahoo import Gate
from forecaster.data.store import Store

NOW = pd.Timestamp("2024-03-20 22:00", tz="UTC")  # a Wednesday, after the close
NEW_YORK = calendars.sessions_between(
    "ACME", NOW.tz_localize(None) - pd.Timedelta(days=400), calendars.last_finished("ACME", NOW)
)
FOR_EVER = 3600.0
"""Seconds that no test takes, on however busy a machine."""


@pytest.fixture(scope="module")
def running():
    with YahooServer({}) as server:
        yield server


@pytest.fixture
def yahoo(running, monkeypatch):
    """A Yahoo that knows nothing yet, which this process takes for the real one, however slow."""
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(calendars, "now", lambda: NOW)
    monkeypatch.setattr(update, "FIRST_WAIT", 0.1)
    monkeypatch.setattr("forecaster.data.sources.yahoo.TIMEOUT", FOR_EVER)
    running.charts, running.modes = {}, {}
    running.announcements, running.calendar_modes = {}, {}
    running.requests.clear()
    return running


class Outcome:
    """The exit code and the words of a command."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def rows(self):
        return {row["ticker"]: row for row in json.loads(self.out)["tickers"]}


@pytest.fixture
def fetch(capsys, tmp_path):
    def run(*words, home=tmp_path):
        with pytest.raises(SystemExit) as stop:
            main(["fetch", *map(str, words), "--no-companions", "--json", "--home", str(home)])
        captured = capsys.readouterr()
        return Outcome(stop.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def stored(tmp_path):
    """A function that reads a ticker's prices with dividends and splits."""
    columns = ("ticker", *COLUMNS, "dividends", "splits")
    return lambda ticker: Store(tmp_path).read([ticker], columns=columns)


COLUMNS = ("date", "open", "high", "low", "close", "adj_close", "volume")


def history(sessions=60, missing=0, days=NEW_YORK):
    """A steady rise over the last sessions but ``missing``; its price depends on the date alone."""
    days = days[len(days) - missing - sessions : len(days) - missing]
    close = 100 + 0.01 * (days - pd.Timestamp("2020-01-01")).days
    return pd.DataFrame(
        {
            "date": days,
            "open": close - 0.5,
            "high": close + 1.0,
            "low": close - 1.0,
            "close": close,
            "adj_close": close,
            "volume": 1000 + days.day_of_year,
        }
    )


def same(frame, expected, columns=COLUMNS):
    pd.testing.assert_frame_equal(
        frame[list(columns)], expected[list(columns)].reset_index(drop=True), check_dtype=False
    )


# ---- what is due


def test_a_new_ticker_is_stored_with_what_yahoo_says_of_it(yahoo, fetch, stored, tmp_path):
    prices = history()
    day = prices["date"][30].date()
    prices.loc[:29, "adj_close"] *= 1 - 0.25 / prices["close"][29]
    yahoo.charts = {
        "ACME": Chart(prices, dividends={day: 0.25}),
        "VOD.L": Chart(prices, "Europe/London", "GBp", hours=("08:00", "16:30")),
    }
    outcome = fetch("ACME", "VOD.L")
    assert outcome.code == 0
    assert outcome.rows["ACME"] == {
        "ticker": "ACME",
        "status": "new",
        "rows": 60,
        "new_rows": 60,
        "first": str(prices["date"].iloc[0].date()),
        "last": str(prices["date"].iloc[-1].date()),
        "cleaned": [],
        "motion": None,
        "reason": None,
        "error": None,
        "kind": None,
    }
    same(stored("ACME"), prices)
    paid = stored("ACME").set_index("date")["dividends"]
    assert paid[paid > 0].to_dict() == {pd.Timestamp(day): 0.25}
    notes = Store(tmp_path).state("VOD.L").notes
    assert (notes["currency"], notes["timezone"]) == ("GBp", "Europe/London")
    assert (notes["exchange"], notes["instrument"]) == ("Loopback", "EQUITY")
    assert notes["name"] == "VOD.L Corporation"
    assert notes["yfinance"].count(".") == 2
    assert len(yahoo.chart_requests("ACME")) == 1


def test_nothing_due_makes_no_request(yahoo, fetch):
    yahoo.charts = {"ACME": Chart(history()), "NEWER": Chart(history())}
    fetch("ACME", "NEWER")
    yahoo.requests.clear()
    outcome = fetch("ACME", "NEWER")
    assert (outcome.code, yahoo.requests) == (0, [])
    assert {row["status"] for row in outcome.rows.values()} == {"up to date"}
    assert {row["rows"] for row in outcome.rows.values()} == {60}
    assert fetch("ACME", "--end", NEW_YORK[-20].date()).code == 0
    assert yahoo.requests == []


def test_the_next_day_costs_a_request_for_an_overlap_and_what_is_new(yahoo, fetch, stored):
    yahoo.charts = {"ACME": Chart(history(missing=1)), "ELSE": Chart(history(missing=1))}
    fetch("ACME", "ELSE")
    yahoo.requests.clear()
    yahoo.charts = {"ACME": Chart(history(61)), "ELSE": Chart(history(61))}
    outcome = fetch("ACME", "ELSE")
    assert [row["new_rows"] for row in outcome.rows.values()] == [1, 1]
    assert [row["status"] for row in outcome.rows.values()] == ["updated"] * 2
    assert sorted(it.ticker for it in yahoo.chart_requests()) == ["ACME", "ELSE"]
    since = pd.Timestamp(int(yahoo.chart_requests()[0].query["period1"]), unit="s")
    assert NEW_YORK[-40] < since <= NEW_YORK[-11]  # the last stored session is the 2nd from the end
    same(stored("ACME"), history(61))


def test_an_earlier_start_is_fetched_once(yahoo, fetch, stored):
    yahoo.charts = {"ACME": Chart(history(50))}
    assert fetch("ACME", "--start", NEW_YORK[-20].date()).rows["ACME"]["rows"] == 20
    assert fetch("ACME").rows["ACME"]["status"] == "up to date"
    outcome = fetch("ACME", "--start", "2001-01-01", "--end", NEW_YORK[-30].date())
    assert outcome.rows["ACME"]["rows"] == 50
    yahoo.requests.clear()
    assert fetch("ACME", "--start", "2001-01-01").rows["ACME"]["status"] == "up to date"
    assert yahoo.requests == []
    same(stored("ACME"), history(50))


def test_start_and_end_are_both_included(yahoo, fetch, stored):
    yahoo.charts = {"ACME": Chart(history(), early=True)}
    days = NEW_YORK[-30].date(), NEW_YORK[-25].date()
    fetch("ACME", "--start", days[0], "--end", days[1])
    same(stored("ACME"), history(6, missing=24))


def test_without_tickers_those_that_came_from_yahoo_are_brought_up_to_date(yahoo, fetch):
    yahoo.charts = {"ACME": Chart(history(missing=1))}
    assert fetch().code == 2
    fetch("ACME")
    fetch("--source", "sample", "^GSPC")
    yahoo.charts = {"ACME": Chart(history())}
    assert list(fetch().rows) == ["ACME"]


def test_a_closed_market_is_up_to_date(yahoo, fetch):
    yahoo.charts = {"ACME": Chart(history(missing=2)), "GONE": Chart(history(missing=40))}
    fetch("ACME", "GONE")
    yahoo.modes = {"GONE": ["nothing"]}
    outcome = fetch("ACME", "GONE")
    assert outcome.code == 0
    assert [row["status"] for row in outcome.rows.values()] == ["up to date"] * 2


def test_no_more_than_99_years_are_asked_for(yahoo, fetch):
    yahoo.charts = {"ACME": Chart(history()), "OLD": Chart(history())}
    assert fetch("ACME").code == fetch("OLD", "--start", "1900-01-01").code == 0
    oldest = NOW - pd.DateOffset(years=99)
    for request in yahoo.chart_requests():
        assert int(request.query["period1"]) == int(oldest.timestamp())
    outcome = fetch("OLDER", "--start", "1900-01-01", "--end", "1910-12-31")
    assert outcome.rows["OLDER"]["kind"] == "no data"
    assert yahoo.chart_requests("OLDER") == []


def test_without_a_calendar_a_session_is_due_by_the_weekdays_of_the_history(
    yahoo, fetch, monkeypatch
):
    days = pd.bdate_range(end="2024-03-20", periods=40, freq="C", weekmask="Sun Mon Tue Wed Thu")
    kuwait = Chart(history(40, days=days), "Asia/Kuwait", "KWF", hours=("09:00", "12:40"))
    yahoo.charts = {"NBK.KW": kuwait}
    assert fetch("NBK.KW").rows["NBK.KW"]["rows"] == 40
    yahoo.requests.clear()
    assert fetch("NBK.KW").rows["NBK.KW"]["status"] == "up to date"
    assert yahoo.requests == []
    friday = pd.Timestamp("2024-03-22 22:00", tz="UTC")
    monkeypatch.setattr(calendars, "now", lambda: friday)
    days = days[1:].append(pd.DatetimeIndex(["2024-03-21"]))
    yahoo.charts = {"NBK.KW": replace(kuwait, prices=history(40, days=days))}
    assert fetch("NBK.KW").rows["NBK.KW"]["new_rows"] == 1
    yahoo.requests.clear()
    monkeypatch.setattr(calendars, "now", lambda: friday + pd.Timedelta(days=1))
    assert fetch("NBK.KW").rows["NBK.KW"]["status"] == "up to date"
    assert yahoo.requests == []


# ---- histories that change


def test_a_split_between_two_fetches_has_the_history_fetched_whole(yahoo, fetch, stored):
    yahoo.charts = {"ACME": Chart(history(missing=1))}
    fetch("ACME")
    yahoo.requests.clear()
    after = history(61)
    after[["open", "high", "low", "close", "adj_close"]] /= 4
    yahoo.charts = {"ACME": Chart(after, splits={NEW_YORK[-1].date(): (4, 1)})}
    outcome = fetch("ACME")
    assert outcome.code == 0
    assert outcome.rows["ACME"]["status"] == "replaced"
    assert outcome.rows["ACME"]["new_rows"] >= 1
    assert "close is" in outcome.rows["ACME"]["reason"]
    assert "warning: ACME: the stored history was replaced: " in outcome.err
    assert len(yahoo.chart_requests("ACME")) == 2
    same(stored("ACME"), after)
    assert np.abs(np.diff(np.log(stored("ACME")["adj_close"]))).max() < 0.01
    assert stored("ACME")["splits"].iloc[-1] == 4


def test_a_dividend_between_two_fetches_leaves_no_jump_at_the_seam(yahoo, fetch, stored):
    yahoo.charts = {"ACME": Chart(history(missing=1))}
    fetch("ACME")
    yahoo.requests.clear()
    after = history(61)
    paid = 5.0
    after.loc[:59, "adj_close"] *= 1 - paid / after["close"][59]
    yahoo.charts = {"ACME": Chart(after, dividends={NEW_YORK[-1].date(): paid})}
    assert fetch("ACME").rows["ACME"]["status"] == "updated"
    assert len(yahoo.chart_requests("ACME")) == 1
    same(stored("ACME"), after)


def test_another_instrument_under_the_name_takes_its_place(yahoo, fetch, stored):
    yahoo.charts = {"ACME": Chart(history(missing=1))}
    fetch("ACME")
    other = history(61)
    other[["open", "high", "low", "close", "adj_close"]] *= 1.01
    yahoo.charts = {"ACME": Chart(other)}
    assert fetch("ACME").rows["ACME"]["status"] == "replaced"
    same(stored("ACME"), other)


def test_a_shorter_history_is_refused_and_explained(yahoo, fetch, stored):
    yahoo.charts = {"ACME": Chart(history(100, missing=1))}
    fetch("ACME")
    shorter = history(20)
    shorter[["open", "high", "low", "close", "adj_close"]] /= 2
    yahoo.charts = {"ACME": Chart(shorter)}
    outcome = fetch("ACME")
    assert outcome.code == 1
    assert outcome.rows["ACME"]["kind"] == "store"
    assert "--refresh" in outcome.rows["ACME"]["error"]
    same(stored("ACME"), history(100, missing=1))
    assert fetch("ACME", "--refresh").code == 0
    same(stored("ACME"), shorter)


def test_a_hole_that_yahoo_fills_is_filled_and_a_value_is_never_lost(yahoo, fetch, stored):
    holes = history(missing=1)
    holes.loc[55, ["open", "high", "low", "close", "adj_close", "volume"]] = np.nan
    gone = holes.drop(index=55)
    yahoo.charts = {"NULL": Chart(holes), "GONE": Chart(gone), "LATER": Chart(history(missing=1))}
    outcome = fetch("NULL", "GONE", "LATER")
    assert [row["rows"] for row in outcome.rows.values()] == [59, 59, 60]
    assert outcome.rows["NULL"]["cleaned"][0]["rule"] == "no close"
    later = history(61)
    later.loc[55, ["open", "high", "low", "close", "adj_close", "volume"]] = np.nan
    later.loc[54, "volume"] = np.nan
    yahoo.charts = {"NULL": Chart(history(61)), "GONE": Chart(gone), "LATER": Chart(later)}
    outcome = fetch("NULL", "GONE", "LATER")
    assert [row["new_rows"] for row in outcome.rows.values()] == [2, 0, 1]
    for ticker in ("NULL", "LATER"):
        same(stored(ticker), history(61))
    # Without a new session a hole is due all the same.
    yahoo.charts["GONE"] = Chart(history(missing=1))
    assert fetch("GONE").rows["GONE"]["new_rows"] == 1
    same(stored("GONE"), history(missing=1))


# ---- sessions that are open


def test_an_open_session_is_left_out_and_comes_when_it_has_closed(yahoo, fetch, stored):
    hour = pd.Timedelta(hours=1)
    today = NOW.tz_convert("America/New_York").tz_localize(None).normalize()
    bars = history(30, missing=1)
    bars = bars[bars["date"] < today]
    open_bar = bars.tail(1).assign(date=today, close=90.0, adj_close=90.0, low=80.0)
    closed_bar = open_bar.assign(close=91.0, adj_close=91.0)
    opened = today.tz_localize("America/New_York")
    chart = Chart(pd.concat([bars, open_bar]), session=(opened, NOW + hour))
    yahoo.charts = {"ACME": chart}
    fetch("ACME")
    same(stored("ACME"), bars)
    yahoo.charts["ACME"] = replace(
        chart, prices=pd.concat([bars, closed_bar]), session=(opened, NOW - hour)
    )
    fetch("ACME")
    same(stored("ACME"), pd.concat([bars, closed_bar]))
    late = opened + pd.Timedelta(minutes=1)
    yahoo.charts["LATE"] = replace(yahoo.charts["ACME"], session=(opened, NOW), clock=late)
    fetch("LATE")
    same(stored("LATE"), bars)  # its quotes are of before the close


def test_the_day_of_a_crypto_pair_ends_at_midnight_in_greenwich(yahoo, fetch, stored):
    today = NOW.tz_localize(None).normalize()
    days = pd.date_range(end=today, periods=30)
    over = NOW - pd.Timedelta(days=2), NOW - pd.Timedelta(days=1)
    yahoo.charts = {"BTC-USD": Chart(history(30, days=days), "UTC", session=over)}
    yahoo.charts["BTC-USD"].hours = ("00:00", "23:59")
    yahoo.charts["BTC-USD"].instrument = "CRYPTOCURRENCY"
    fetch("BTC-USD")
    assert stored("BTC-USD")["date"].iloc[-1] == today - pd.Timedelta(days=1)


# ---- rows that cannot be


def test_nothing_that_cannot_be_is_stored_and_all_of_it_is_told(yahoo, fetch, stored):
    prices = history().astype({"volume": object, "adj_close": object})
    prices.loc[10, ["open", "high", "low", "close", "adj_close", "volume"]] = None
    prices.loc[20, "adj_close"] = "Infinity"
    prices.loc[25, "adj_close"] = np.inf
    prices.loc[30, "volume"] = 2**70
    prices.loc[40, "close"] = -1.0
    prices = pd.concat([prices, prices.loc[[50]].assign(close=150.55, adj_close=150.55)])
    shuffled = prices.sample(frac=1, random_state=1)
    yahoo.charts = {"ACME": Chart(shuffled)}
    outcome = fetch("ACME")
    assert outcome.code == 0
    days = NEW_YORK[-60:].strftime("%Y-%m-%d")
    rules = {(it["rule"], it["first"]) for it in outcome.rows["ACME"]["cleaned"]}
    assert rules >= {
        ("no close", days[10]),
        ("adjusted close rebuilt", days[20]),
        ("adjusted close rebuilt", days[25]),
        ("volume not usable", days[30]),
        ("close not positive", days[40]),
        ("duplicated", days[50]),
    }
    assert "warning: ACME: " in outcome.err
    kept = stored("ACME")
    assert kept["date"].is_monotonic_increasing
    assert len(kept) == 58
    assert kept["volume"].isna().sum() == 1


# ---- errors


ENDLESS = {
    "LIMITED": ("limited", "rate limited"),
    "BROKEN": ("broken", "garbage"),
    "EXCUSED": ("excused", "garbage"),
    "REFUSED": ("refused", "refused"),
    "FORBIDDEN": ("forbidden", "refused"),
    "UNPROCESSABLE": ("unprocessable", "refused"),
    "GARBAGE": ("garbage", "garbage"),
    "PAGE": ("page", "garbage"),
    "HOLLOW": ("hollow", "garbage"),
    "TRUNCATED": ("truncated", "network"),
    "RESET": ("reset", "network"),
    "NOPE": ("unknown", "unknown ticker"),
    "BARE": ("bare", "no data"),
    "NOTHING": ("nothing", "no data"),
}


PASSING = ("rate limited", "garbage", "network")


def test_every_trouble_has_its_name_and_spoils_no_other_ticker(yahoo, fetch):
    good = ["ACME", "ELSE"]
    yahoo.charts = dict.fromkeys([*ENDLESS, *good], Chart(history()))
    yahoo.modes = {ticker: [mode] for ticker, (mode, _) in ENDLESS.items()}
    outcome = fetch("ACME", *ENDLESS, "ELSE", "--patience", 1, "--concurrency", 16)
    assert outcome.code == 1
    assert list(outcome.rows) == ["ACME", *ENDLESS, "ELSE"]
    assert {t: outcome.rows[t]["kind"] for t in ENDLESS} == {t: k for t, (_, k) in ENDLESS.items()}
    assert [outcome.rows[ticker]["status"] for ticker in good] == ["new", "new"]
    for ticker in ENDLESS:
        error = outcome.rows[ticker]["error"]
        assert f"error: {error}" in outcome.err
        assert error.startswith(f"{ticker}: expected ")
        assert "; " in error
    for ticker in ("NOPE", "BARE", "NOTHING", "UNPROCESSABLE"):  # another try would be no use
        assert len(yahoo.chart_requests(ticker)) == 1
    for ticker in ("REFUSED", "FORBIDDEN"):  # yfinance tries another cookie, once
        assert len(yahoo.chart_requests(ticker)) == 2
    assert "delisted" not in outcome.err
    assert "Traceback" not in outcome.err


def test_trouble_that_passes_is_waited_for(yahoo, fetch):
    passing = {mode for mode, kind in ENDLESS.values() if kind in PASSING}
    yahoo.charts = dict.fromkeys([*map(str.upper, passing), "LATE"], Chart(history()))
    yahoo.modes = {mode.upper(): [mode, mode, mode, "fine"] for mode in passing}
    yahoo.modes["LATE"] = ["late"]
    outcome = fetch(*yahoo.charts, "--patience", FOR_EVER)
    assert outcome.code == 0, outcome.err
    assert {row["rows"] for row in outcome.rows.values()} == {60}


def test_an_answer_that_does_not_come_is_trouble_of_the_network(yahoo, fetch, monkeypatch):
    monkeypatch.setattr("forecaster.data.sources.yahoo.TIMEOUT", 0.2)
    yahoo.charts, yahoo.modes = {"STALL": Chart(history())}, {"STALL": ["stall"]}
    outcome = fetch("STALL", "--patience", 0)
    assert (outcome.code, outcome.rows["STALL"]["kind"]) == (1, "network")
    assert outcome.rows["STALL"]["error"].startswith(
        "STALL: expected prices, could not reach Yahoo ("
    )


def test_a_refusal_slows_everybody(yahoo, fetch, monkeypatch):
    """Four are asked for at once; one is refused, and the others come once that is known."""
    monkeypatch.setattr(update, "FIRST_WAIT", 0.5)
    all_asked, refused, closings, close = threading.Barrier(4), threading.Event(), [], Gate.close

    def closing(gate, seconds):
        closings.append(time.monotonic())
        close(gate, seconds)
        refused.set()

    def refuse(handler, ticker):
        all_asked.wait()
        handler.mode_limited(ticker)

    def answer(handler, ticker):
        all_asked.wait()
        refused.wait()
        handler.mode_fine(ticker)

    monkeypatch.setattr(Gate, "close", closing)
    tickers = [f"T{i}" for i in range(12)]
    yahoo.charts = dict.fromkeys(tickers, Chart(history(20)))
    yahoo.modes = {f"T{i}": [answer if i else refuse, "fine"] for i in range(4)}
    assert fetch(*tickers, "--concurrency", 4, "--patience", FOR_EVER).code == 0
    assert {it.ticker for it in yahoo.chart_requests()[:4]} == {"T0", "T1", "T2", "T3"}
    assert len(yahoo.chart_requests()) == 13
    assert yahoo.chart_requests()[4].time - closings[0] >= 0.5


def test_no_more_requests_are_in_flight_than_set(yahoo, fetch):
    all_asked, places, had_a_place = threading.Barrier(3), threading.Semaphore(3), []

    def answer(handler, ticker):
        had_a_place.append(places.acquire(blocking=False))
        all_asked.wait()
        places.release()
        handler.mode_fine(ticker)

    yahoo.charts = dict.fromkeys([f"T{i}" for i in range(12)], Chart(history(20)))
    yahoo.modes = {ticker: [answer] for ticker in yahoo.charts}
    assert fetch(*yahoo.charts, "--concurrency", 3).code == 0
    assert had_a_place == [True] * 12


def test_the_rest_is_not_asked_for_where_nothing_comes(yahoo, fetch, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    outcome = fetch(*(f"T{i}" for i in range(60)), "--patience", 0)
    assert outcome.code == 1
    assert {row["kind"] for row in outcome.rows.values()} == {"network"}
    assert "not asked for" in outcome.rows["T59"]["error"]


def test_without_names_to_resolve_nothing_is_waited_for(yahoo, fetch, monkeypatch):
    monkeypatch.setattr(update, "FIRST_WAIT", FOR_EVER)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://nowhere.invalid:1")
    tickers = [f"T{i}" for i in range(20)]
    outcome = fetch(*tickers, "--patience", 10 * FOR_EVER, "--concurrency", 1)
    assert outcome.code == 1
    assert {row["kind"] for row in outcome.rows.values()} == {"network"}
    first, *others = (outcome.rows[ticker]["error"] for ticker in tickers)
    assert "cannot be resolved (" in first
    assert all("not asked for" in error for error in others)


def test_what_is_waited_for_is_announced(yahoo, tmp_path):
    yahoo.charts = {"ACME": Chart(history())}
    yahoo.modes = {"ACME": ["limited", "garbage", "fine"]}
    words = []
    (result,) = update.from_yahoo(
        Store(tmp_path), ["ACME"], concurrency=1, patience=FOR_EVER, announce=words.append
    )
    assert result.status == "new"
    first, second, limited, garbage = words
    assert (first, second) == ("connect to Yahoo", "fetch ACME")
    assert re.fullmatch(r"fetch ACME again in \d s \(rate limited\)", limited)
    assert re.fullmatch(r"fetch ACME again in \d s \(garbage\)", garbage)


def test_a_name_that_is_no_word_is_never_sent(yahoo, fetch):
    outcome = fetch("UP/../DOWN", "WHAT?NOW", "TWO WORDS", "..")
    assert {row["kind"] for row in outcome.rows.values()} == {"unknown ticker"}
    assert yahoo.requests == []


# ---- lists


def test_many_tickers_from_files_and_the_standard_input(yahoo, fetch, tmp_path, monkeypatch):
    tickers = [f"T{i}" for i in range(40)]
    yahoo.charts = dict.fromkeys(tickers, Chart(history(12)))
    file = tmp_path / "list.txt"
    file.write_text("\ufeff# forty\n" + "\n".join(tickers[:20]) + "\n t0, T1 # twice\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("\r\n".join(tickers[15:]).lower()))
    outcome = fetch(f"@{file}", "-", " t7 ", "--concurrency", 16)
    assert outcome.code == 0
    assert list(outcome.rows) == tickers
    assert len(yahoo.chart_requests()) == 40
    monkeypatch.setattr("sys.stdin", io.StringIO("# nothing\n"))
    assert fetch("@-").code == 2


# ---- processes


PATIENT = """
import sys
from forecaster.cli.app import main
from forecaster.data import update
from forecaster.data.sources import yahoo

yahoo.TIMEOUT = update.FIRST_WAIT = 3600.0
main(sys.argv[1:])
"""


def launched(yahoo, home, *words):
    """A fetch in a process of its own, which waits for ever for an answer, and before another try."""
    words = ["fetch", *words, "--no-companions", "--home", home, "--patience", 10 * FOR_EVER]
    return subprocess.Popen(
        [sys.executable, "-W", "default", "-c", PATIENT, *map(str, words)],
        env=os.environ | yahoo.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_fetches_at_once_are_both_complete(yahoo, tmp_path):
    yahoo.charts = dict.fromkeys("ABCDEF", Chart(history()))
    yahoo.modes = {ticker: ["late", "fine"] for ticker in "ABCDEF"}
    both = [launched(yahoo, tmp_path, *words) for words in ("ABCDEF", "FEDCBA", "ABCDEF")]
    for process in both:
        process.communicate()
    assert [process.returncode for process in both] == [0, 0, 0]
    store = Store(tmp_path)
    assert store.tickers() == list("ABCDEF")
    for ticker in "ABCDEF":
        same(store.read([ticker]), history())


def test_other_packages_are_silent_unless_asked(yahoo, tmp_path):
    yahoo.charts = {"ACME": Chart(history())}
    _, quiet = launched(yahoo, tmp_path / "1", "ACME", "--quiet").communicate()
    assert quiet == ""
    _, bar = launched(yahoo, tmp_path / "2", "ACME").communicate()
    assert len(bar.strip().splitlines()) == 1
    assert "ACME" in bar
    _, outcome = launched(yahoo, tmp_path / "3", "ACME", "--verbose").communicate()
    assert "reusing crumb" in outcome or "crumb = " in outcome


@pytest.mark.parametrize("mode", ["stall", "limited"])
def test_an_interrupt_ends_a_fetch_whatever_is_in_flight(yahoo, tmp_path, mode):
    yahoo.charts = {"ACME": Chart(history()), "ELSE": Chart(history())}
    yahoo.modes = {"ELSE": [mode]}
    process = launched(yahoo, tmp_path, "ACME", "ELSE")
    while not (yahoo.chart_requests("ELSE") and Store(tmp_path).tickers()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert "Traceback" not in err
    same(Store(tmp_path).read(["ACME"]), history())
