"""Earnings dates of ``forecast fetch``, from a Yahoo on the loopback and an unpatched yfinance."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest
from yahoo_server import QUARTERLY, Chart, YahooServer

from forecaster.cli.app import main
from forecaster.data import calendars, update
from forecaster.data.event_store import EventStore
from forecaster.data.store import Store

NOW = pd.Timestamp("2024-03-20 22:00", tz="UTC")  # a Wednesday, after the close
DAYS = calendars.sessions_between("ACME", "2023-12-01", "2024-03-20")
SEEN = NOW.tz_localize(None)


@pytest.fixture(scope="module")
def running():
    with YahooServer({}) as server:
        yield server


@pytest.fixture
def yahoo(running, monkeypatch):
    """A Yahoo with nothing but ACME, which this process takes for the real one."""
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(calendars, "now", lambda: NOW)
    monkeypatch.setattr(update, "FIRST_WAIT", 0.1)
    monkeypatch.setattr("forecaster.data.sources.yahoo.TIMEOUT", 3600.0)
    running.charts, running.modes = {"ACME": Chart(history())}, {}
    running.announcements, running.calendar_modes = {}, {}
    running.requests.clear()
    return running


@pytest.fixture
def later(monkeypatch):
    """A function that lets days go by."""

    def pass_(days):
        now = calendars.now() + pd.Timedelta(days=days)
        monkeypatch.setattr(calendars, "now", lambda: now)

    return pass_


class Outcome:
    """The exit code and the words of a command."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def events(self):
        return {row["ticker"]: row for row in json.loads(self.out)["events"]}

    @property
    def prices(self):
        return {row["ticker"]: row["status"] for row in json.loads(self.out)["tickers"]}

    @property
    def warnings(self):
        return [line for line in self.err.splitlines() if line.startswith("warning: ")]


@pytest.fixture
def fetch(capsys, tmp_path):
    def run(*words):
        with pytest.raises(SystemExit) as stop:
            main(["fetch", *map(str, words), "--no-companions", "--json", "--home", str(tmp_path)])
        captured = capsys.readouterr()
        return Outcome(stop.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def stored(tmp_path):
    """A function that gives the stored events of a ticker as (day, time, first seen)."""

    def read(ticker="ACME"):
        frame = EventStore(tmp_path).read([ticker])
        seen = frame["first_seen"].astype(object).where(frame["first_seen"].notna(), None)
        return list(zip(frame["date"].dt.strftime("%Y-%m-%d"), frame["time"], seen, strict=True))

    return read


def history(days=DAYS):
    close = 100 + 0.01 * (days - pd.Timestamp("2020-01-01")).days
    return pd.DataFrame(
        {"date": days, "open": close, "high": close, "low": close, "close": close,
         "adj_close": close, "volume": 1000.0}
    )  # fmt: skip


def at(text, zone="America/New_York"):
    return pd.Timestamp(text, tz=zone)


# ---- what is stored


def test_earnings_dates_come_with_the_prices(yahoo, fetch, stored):
    outcome = fetch("ACME")
    assert outcome.code == 0, outcome.err
    assert outcome.events["ACME"] == {
        "ticker": "ACME",
        "status": "new",
        "rows": 4,
        "new_rows": 4,
        "next": "2024-04-25",
        "error": None,
        "kind": None,
    }
    assert stored() == [
        ("2023-08-03", "post", None),
        ("2023-11-02", "post", None),
        ("2024-02-01", "post", None),
        ("2024-04-25", "post", SEEN),
    ]
    (request,) = yahoo.calendar_requests()
    assert request.query == {"symbol": "ACME", "offset": "0", "size": "100"} | (
        {"crumb": "crumb"} if "crumb" in request.query else {}
    )


def test_a_clock_becomes_pre_or_post_at_the_exchange_of_the_ticker(yahoo, fetch, stored):
    yahoo.charts["VOD.L"] = Chart(history(), "Europe/London", "GBp", hours=("08:00", "16:30"))
    yahoo.charts["7203.T"] = Chart(history(), "Asia/Tokyo", "JPY", hours=("09:00", "15:00"))
    yahoo.announcements = {
        "ACME": [
            at("2024-02-01 16:00"),  # the instant of the close
            at("2023-11-02 07:00"),
            at("2023-08-03 11:00"),  # while it is open: that day's session trades on it
            at("2023-05-04 00:00"),  # the day alone
            at("2022-11-25 14:00"),  # after the early close of the day after Thanksgiving
            at("2022-08-04 20:30", "UTC").floor("h"),
        ],
        # Seven in the morning in London, and five in the afternoon.
        "VOD.L": [at("2024-02-05 02:00"), at("2023-11-14 12:00"), at("2023-05-16 00:00")],
        "7203.T": [at("2024-02-06 00:00"), at("2023-11-01 01:00"), at("2023-05-09 20:00")],
    }
    assert fetch("ACME", "VOD.L", "7203.T").code == 0
    assert [it[:2] for it in stored()] == [
        ("2022-08-04", "post"),
        ("2022-11-25", "post"),
        ("2023-05-04", None),
        ("2023-08-03", "pre"),
        ("2023-11-02", "pre"),
        ("2024-02-01", "post"),
    ]
    assert [it[:2] for it in stored("VOD.L")] == [
        ("2023-05-16", None),
        ("2023-11-14", "post"),
        ("2024-02-05", "pre"),
    ]
    # Two in the afternoon, while it is open; and nine in the morning of the next day.
    assert [it[:2] for it in stored("7203.T")] == [
        ("2023-05-10", "pre"),
        ("2023-11-01", "pre"),
        ("2024-02-06", None),
    ]


def test_a_date_that_comes_twice_is_one(yahoo, fetch, stored):
    yahoo.announcements["ACME"] = [
        at("2024-02-01 16:00"),
        at("2024-02-01 16:00"),
        at("2023-11-02 07:00"),
        at("2023-11-02 00:00"),
        at("2023-08-03 07:00"),
        at("2023-08-03 17:00"),  # which of the two, nobody knows
    ]
    fetch("ACME")
    assert [it[:2] for it in stored()] == [
        ("2023-08-03", None),
        ("2023-11-02", "pre"),
        ("2024-02-01", "post"),
    ]


def test_a_date_that_moves_keeps_what_was_known_of_it(yahoo, fetch, stored, later):
    yahoo.announcements["ACME"] = [at("2024-04-25 00:00"), at("2024-02-01 16:00")]
    fetch("ACME")
    later(8)
    yahoo.announcements["ACME"] = [at("2024-04-30 16:00"), at("2024-02-01 07:00")]
    outcome = fetch("ACME")
    assert (outcome.events["ACME"]["status"], outcome.events["ACME"]["new_rows"]) == ("updated", 1)
    assert stored() == [
        ("2024-02-01", "pre", None),
        ("2024-04-25", None, SEEN),
        ("2024-04-30", "post", SEEN + pd.Timedelta(days=8)),
    ]


def test_what_was_announced_between_two_fetches_was_not_known_before(yahoo, fetch, stored, later):
    yahoo.announcements["ACME"] = [at("2024-02-01 16:00")]
    fetch("ACME")
    later(20)
    # A day of which nobody had heard, and one of long ago that Yahoo had left out.
    yahoo.announcements["ACME"] = [at("2024-03-28 16:00"), *QUARTERLY[1:]]
    fetch("ACME")
    assert stored()[0] == ("2023-08-03", "post", None)
    assert stored()[-1] == ("2024-03-28", "post", SEEN + pd.Timedelta(days=20))


# ---- what is due


def test_a_ticker_is_asked_for_once_a_week_and_when_its_day_has_passed(yahoo, fetch, later):
    yahoo.announcements["ACME"] = [at("2024-03-22 16:00"), *QUARTERLY[1:]]
    assert set(fetch("ACME").events) == {"ACME"}
    for days, asked in ((0, 0), (2, 0), (1, 1), (1, 0), (5, 0), (1, 1)):
        later(days)
        yahoo.requests.clear()
        outcome = fetch("ACME")
        assert len(yahoo.calendar_requests()) == asked, days
        assert len(outcome.events) == asked


def test_refresh_asks_again_and_keeps_the_record(yahoo, fetch, stored, later):
    fetch("ACME")
    later(1)
    before = stored()
    yahoo.requests.clear()
    assert fetch("ACME", "--refresh").events["ACME"]["status"] == "up to date"
    assert len(yahoo.calendar_requests()) == 1
    assert stored() == before


def test_without_events_none_are_asked_for(yahoo, fetch, tmp_path):
    assert fetch("ACME", "--no-events").events == {}
    assert yahoo.calendar_requests() == []
    assert not (tmp_path / "events").exists()


def test_who_announces_no_earnings_is_not_asked_for(yahoo, fetch):
    kinds = {
        "^GSPC": "INDEX",
        "SPY": "ETF",
        "VFIAX": "MUTUALFUND",
        "BTC-USD": "CRYPTOCURRENCY",
        "EURUSD=X": "CURRENCY",
        "ES=F": "FUTURE",
    }
    yahoo.charts |= {ticker: Chart(history(), instrument=kind) for ticker, kind in kinds.items()}
    outcome = fetch("ACME", *kinds)
    assert outcome.code == 0, outcome.err
    assert set(outcome.prices.values()) == {"new"}
    assert set(outcome.events) == {"ACME"}
    assert {it.company for it in yahoo.calendar_requests()} == {"ACME"}


def test_a_source_that_is_not_yahoo_is_not_asked_for_events(yahoo, fetch):
    assert fetch("--source", "sample").events == {}
    assert yahoo.requests == []


def test_a_file_takes_the_place_of_yahoo(yahoo, fetch, stored, tmp_path):
    yahoo.charts["ELSE"] = Chart(history())
    file = tmp_path / "events.csv"
    file.write_text("ticker,date\nacme,2024-02-01\nOTHER,2024-02-02\n")
    outcome = fetch("acme", "ELSE", "--events", file)
    assert (outcome.code, outcome.prices) == (0, {"ACME": "new", "ELSE": "new"})
    assert outcome.warnings == [f"warning: {file} has no events of ELSE"]
    assert yahoo.calendar_requests() == []
    assert EventStore(tmp_path).tickers() == ["ACME"]
    # Yahoo was never asked, so it is due, and what it has of before is history as well.
    assert fetch("ACME").events["ACME"]["rows"] == 4
    assert stored()[2] == ("2024-02-01", "post", None)


# ---- trouble

ENDLESS = {
    "LIMITED": ("limited", "rate limited"),
    "BROKEN": ("broken", "network"),
    "FORBIDDEN": ("forbidden", "refused"),
    "REFUSED": ("refused", "refused"),
    "UNKNOWN": ("unknown", "refused"),
    "RESET": ("reset", "network"),
    "TRUNCATED": ("truncated", "network"),
    "HEADLESS": ("headless", "garbage"),
    "TORN": ("torn", "garbage"),
    "BLANK": ("blank", "garbage"),
    "ROWLESS": ("rowless", "garbage"),
}


def test_trouble_with_events_is_named_in_a_line_and_fails_no_prices(yahoo, fetch, tmp_path):
    tickers = ["ACME", *ENDLESS]
    yahoo.charts = dict.fromkeys(tickers, Chart(history()))
    yahoo.calendar_modes = {ticker: [mode] for ticker, (mode, _) in ENDLESS.items()}
    outcome = fetch(*tickers, "--patience", 0.3, "--concurrency", 4)
    assert outcome.code == 0
    assert outcome.prices == dict.fromkeys(tickers, "new")
    assert {it: outcome.events[it]["kind"] for it in ENDLESS} == {
        it: kind for it, (_, kind) in ENDLESS.items()
    }
    for ticker in ENDLESS:
        assert outcome.events[ticker]["error"].startswith(f"{ticker}: expected earnings dates, ")
        assert "install" not in outcome.events[ticker]["error"]  # of a parser, which would not help
    (line,) = outcome.warnings
    assert line.startswith("warning: the earnings dates of LIMITED, BROKEN, FORBIDDEN, ")
    assert "Traceback" not in outcome.err
    assert EventStore(tmp_path).tickers() == ["ACME"]
    assert set(Store(tmp_path).tickers()) == set(tickers)
    final = [it for it, (_, kind) in ENDLESS.items() if kind in ("refused", "garbage")]
    for ticker in final:  # to ask again would be no use
        assert len(yahoo.calendar_requests(ticker)) == 1
    yahoo.requests.clear()
    fetch(*tickers, "--patience", 0)
    assert {it.company for it in yahoo.calendar_requests()} == set(ENDLESS)


def test_trouble_that_passes_is_waited_for(yahoo, fetch, stored):
    modes = ("limited", "reset", "broken", "truncated")
    yahoo.charts = dict.fromkeys(map(str.upper, modes), Chart(history()))
    yahoo.calendar_modes = {mode.upper(): [mode, mode, "fine"] for mode in modes}
    outcome = fetch(*yahoo.charts, "--patience", 3600)
    assert outcome.warnings == []
    assert {row["rows"] for row in outcome.events.values()} == {4}


def test_a_company_without_earnings_dates_is_remembered_for_a_week(yahoo, fetch, later, stored):
    yahoo.calendar_modes["ACME"] = ["unlisted"]
    outcome = fetch("ACME")
    assert (outcome.code, outcome.events["ACME"]["status"]) == (0, "none")
    assert outcome.warnings == ["warning: Yahoo lists no earnings dates of ACME"]
    yahoo.requests.clear()
    assert fetch("ACME").events == {}
    later(7)
    yahoo.calendar_modes["ACME"] = ["fine"]
    assert fetch("ACME").events["ACME"]["status"] == "new"
    # It was asked about before: what has come up since was not known then.
    assert [it[2] for it in stored()] == [None, None, None, SEEN + pd.Timedelta(days=7)]


def test_a_page_that_has_nothing_any_more_takes_nothing_away(yahoo, fetch, later, stored):
    fetch("ACME")
    before = stored()
    later(8)
    yahoo.calendar_modes["ACME"] = ["page"]
    outcome = fetch("ACME")
    assert (outcome.code, outcome.events["ACME"]["kind"]) == (0, "garbage")
    assert "lists none where 4 are stored" in outcome.warnings[0]
    assert stored() == before


def test_a_damaged_record_is_named_and_can_be_replaced(yahoo, fetch, stored, tmp_path):
    fetch("ACME")
    before, path = stored(), tmp_path / "events" / "ACME.parquet"
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    outcome = fetch("ACME")
    assert (outcome.code, outcome.prices) == (0, {"ACME": "up to date"})
    (line,) = outcome.warnings
    assert f"cannot read {path}" in line
    assert "fetch ACME again with --refresh" in line
    assert fetch("ACME", "--refresh").events["ACME"]["status"] == "new"
    assert stored() == before


def test_a_ticker_without_prices_is_not_asked_for(yahoo, fetch):
    outcome = fetch("NOPE")
    assert outcome.code == 1
    assert yahoo.calendar_requests() == []


def test_the_rest_is_not_asked_for_where_no_page_makes_sense(yahoo, fetch):
    tickers = [f"T{i}" for i in range(30)]
    yahoo.charts = dict.fromkeys(tickers, Chart(history()))
    yahoo.calendar_modes = {ticker: ["headless"] for ticker in tickers}
    outcome = fetch(*tickers, "--concurrency", 1)
    assert outcome.code == 0
    assert len(yahoo.calendar_requests()) == update.HOPELESS
    assert len(outcome.warnings) == 1


def test_an_interrupt_keeps_the_prices_and_the_events_that_came(yahoo, tmp_path):
    yahoo.charts["ELSE"] = Chart(history())
    yahoo.calendar_modes = {"ELSE": ["stall"]}
    words = ["fetch", "ACME", "ELSE", "--home", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-W", "default", "-m", "forecaster", *words],
        env=os.environ | yahoo.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (yahoo.calendar_requests("ELSE") and EventStore(tmp_path).tickers()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert Store(tmp_path).tickers() == ["ACME", "ELSE"]
    assert len(EventStore(tmp_path).read()) == 4


def test_no_more_requests_are_in_flight_than_set(yahoo, fetch):
    all_asked, places, had_a_place = threading.Barrier(3), threading.Semaphore(3), []

    def answer(handler, ticker):
        had_a_place.append(places.acquire(blocking=False))
        all_asked.wait()
        places.release()
        handler.mode_announced(ticker)

    yahoo.charts = dict.fromkeys([f"T{i}" for i in range(6)], Chart(history()))
    yahoo.calendar_modes = {ticker: [answer] for ticker in yahoo.charts}
    assert fetch(*yahoo.charts, "--concurrency", 3).code == 0
    assert had_a_place == [True] * 6
