"""Companions: which indices a forecast wants beside its tickers, and how they come along."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest
from yahoo_server import Chart, YahooServer

from forecaster.cli.app import main
from forecaster.data import calendars, companions, update
from forecaster.data.exchanges import exchange, kind
from forecaster.data.store import Store

NOW = pd.Timestamp("2024-03-20 22:00", tz="UTC")  # a Wednesday, after New York's close
DAYS = calendars.sessions_between("ACME", pd.Timestamp("2023-06-01"), pd.Timestamp("2024-03-20"))


def history(level=100.0, missing=0):
    """A slow rise over the last sessions but ``missing``."""
    days = DAYS[: len(DAYS) - missing]
    close = level + pd.Series(range(len(days)), dtype=float) / 10
    bars = dict.fromkeys(("open", "high", "low", "close", "adj_close"), close)
    return pd.DataFrame({"date": days, **bars, "volume": 1000.0})


@pytest.fixture(scope="module")
def running():
    with YahooServer({}) as server:
        yield server


@pytest.fixture
def yahoo(running, monkeypatch):
    """A Yahoo of two companies and their indices."""
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(calendars, "now", lambda: NOW)
    monkeypatch.setattr(update, "FIRST_WAIT", 0.1)
    charts = {"ACME": 100.0, "ELSE": 50.0, "^GSPC": 5000.0, "^VIX": 15.0}
    running.charts = {name: Chart(history(level)) for name, level in charts.items()}
    running.modes, running.announcements, running.calendar_modes = {}, {}, {}
    running.requests.clear()
    return running


@pytest.fixture
def fetch(capsys, tmp_path):
    def run(*words):
        with pytest.raises(SystemExit) as stop:
            main(["fetch", *words, "--no-events", "--home", str(tmp_path)])
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return run


def asked(yahoo):
    return sorted(it.ticker for it in yahoo.chart_requests())


# ---- which


@pytest.mark.parametrize(
    ("ticker", "market", "implied"),
    [
        ("AAPL", "^GSPC", "^VIX"),
        ("brk-b", "^GSPC", "^VIX"),
        ("QQQ", "^GSPC", "^VXN"),
        ("^GSPC", "^GSPC", "^VIX"),
        ("^RUT", "^GSPC", "^RVX"),
        ("GLD", "^GSPC", "^GVZ"),
        ("GC=F", None, "^GVZ"),
        ("CL=F", None, "^OVX"),
        ("ES=F", None, None),
        ("EURUSD=X", None, "^EVZ"),
        ("USDJPY=X", None, None),
        ("^VIX", None, None),
        ("^TNX", None, None),
        ("VOD.L", "^FTSE", None),
        ("7203.T", "^N225", None),
        ("SAP.DE", "^GDAXI", None),
        ("SAP.F", "^GDAXI", None),
        ("RELIANCE.NS", "^BSESN", "^INDIAVIX"),
        ("BHP.AX", "^AXJO", "^AXVI"),
        ("0700.HK", "^HSI", "^VHSI"),
        ("ETH-USD", "BTC-USD", None),
        ("FOO.QA", None, None),
    ],
)
def test_the_indices_of_a_ticker(ticker, market, implied):
    assert companions.market_index(ticker) == market
    assert companions.implied_index(ticker) == implied
    assert {market, implied} - {None} <= set(companions.of([ticker]))


def test_the_companions_of_several_come_once_and_in_order():
    assert companions.of(["QQQ", "AAPL", "VOD.L", "EURJPY=X"]) == ["^FTSE", "^GSPC", "^VIX", "^VXN"]
    assert companions.of([]) == []


def test_the_general_index_serves_where_the_special_one_is_missing():
    assert companions.implied_index("IWM", among={"^VIX"}) == "^VIX"
    assert companions.implied_index("IWM", among={"^VIX", "^RVX"}) == "^RVX"
    assert companions.implied_index("IWM", among=()) is None
    assert companions.implied_index("GC=F", among={"^VIX"}) is None


def test_every_index_trades_where_its_tickers_do():
    suffixes = (
        "AT SA AS AX BK BO NS BR BD BA CO IR DE F MU HE HK IC JK IS JO KA KL KS LS VS L MC MX MI"
    )
    suffixes += " ME NZ OL PA PS RG SR SI SN SS SZ ST SW TA TW TL T TO WA VI"
    for ticker in ["AAPL", "ETH-USD", *(f"ONE.{it}" for it in suffixes.split())]:
        index = companions.market_index(ticker)
        places = {exchange(ticker)} | ({"XETR"} if index == "^GDAXI" else set())
        assert exchange(index) in places, ticker
        assert companions.market_index(index) == index
        assert kind(index) in ("index", "share", "coin")


# ---- fetched along


def test_the_companions_of_what_is_fetched_come_along(yahoo, fetch, tmp_path):
    code, out, err = fetch("ACME", "ELSE")
    assert code == 0
    assert "did not come" not in err
    assert out.splitlines()[-1] == f"Beside them: ^GSPC, ^VIX, {2 * len(DAYS):,} sessions new"
    assert asked(yahoo) == ["ACME", "ELSE", "^GSPC", "^VIX"]
    assert Store(tmp_path).tickers() == ["ACME", "ELSE"]  # the lists are of what was asked for
    beside = companions.read(tmp_path, ["ACME"])
    assert list(beside["ticker"].unique()) == ["^GSPC", "^VIX"]
    assert beside["date"].max() == DAYS[-1]


def test_they_are_brought_up_to_date_and_no_more(yahoo, fetch, tmp_path):
    full = dict(yahoo.charts)
    yahoo.charts = full | {"^VIX": Chart(history(15.0, missing=2))}
    fetch("ACME")
    yahoo.charts = full
    yahoo.requests.clear()
    document = json.loads(fetch("ACME", "--json")[1])
    assert {it["ticker"]: it["new_rows"] for it in document["companions"]} == {
        "^GSPC": 0,
        "^VIX": 2,
    }
    assert asked(yahoo) == ["^VIX"]


def test_what_the_user_stores_himself_is_not_fetched_twice_and_serves(yahoo, fetch, tmp_path):
    fetch("ACME")
    yahoo.charts["^VIX"] = Chart(history(30.0))
    fetch("^VIX", "--no-companions")
    yahoo.requests.clear()
    fetch("ACME", "^VIX", "--refresh")
    assert asked(yahoo) == ["ACME", "^GSPC", "^VIX"]
    beside = companions.read(tmp_path, ["ACME"]).set_index("ticker")
    assert beside.loc["^VIX", "close"].iloc[0] == 30.0


def test_they_can_be_left_out(yahoo, fetch, tmp_path):
    fetch("ACME", "--no-companions")
    assert asked(yahoo) == ["ACME"]
    assert companions.read(tmp_path, ["ACME"]).empty


def test_a_companion_that_does_not_come_is_a_warning(yahoo, fetch, tmp_path):
    del yahoo.charts["^VIX"]
    code, out, err = fetch("ACME")
    assert code == 0
    assert out.splitlines()[-1].startswith("Beside them: ^GSPC, ")
    assert "^VIX did not come, so forecasts do without until the next fetch" in err
    assert list(companions.read(tmp_path, ["ACME"])["ticker"].unique()) == ["^GSPC"]


def test_nothing_comes_along_with_what_fails_or_a_file(yahoo, fetch, tmp_path):
    code, _, _ = fetch("NONE")
    assert (code, asked(yahoo)) == (1, ["NONE"])
    yahoo.requests.clear()
    file = tmp_path / "prices.csv"
    history().assign(ticker="ACME").to_csv(file, index=False)
    code, _, _ = fetch("--source", str(file))
    assert (code, yahoo.requests) == (0, [])


def test_two_fetches_at_once_leave_whole_companions(yahoo, tmp_path):
    yahoo.modes = {name: ["late", "fine"] for name in ("^GSPC", "^VIX")}
    command = [sys.executable, "-m", "forecaster", "fetch", "--no-events", "--home", tmp_path]
    both = [
        subprocess.Popen([*command, ticker], env=os.environ | yahoo.environment)
        for ticker in ("ACME", "ELSE")
    ]
    assert [it.wait(timeout=600) for it in both] == [0, 0]
    beside = companions.read(tmp_path, ["ACME"])
    assert beside["ticker"].value_counts().to_dict() == {"^GSPC": len(DAYS), "^VIX": len(DAYS)}


# ---- stored


def test_a_damaged_companion_is_done_without_in_a_line_until_it_is_fetched_again(
    yahoo, fetch, tmp_path, capsys
):
    fetch("ACME")
    (file,) = (tmp_path / "companions").rglob("*VIX*.parquet")
    file.write_bytes(file.read_bytes()[:-100])
    assert list(companions.read(tmp_path, ["ACME"])["ticker"].unique()) == ["^GSPC"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: forecasts do without ^VIX: cannot read ")
    code, _, err = fetch("ACME")
    assert code == 0
    assert "^VIX did not come" in err
    fetch("ACME", "--refresh")
    assert list(companions.read(tmp_path, ["ACME"])["ticker"].unique()) == ["^GSPC", "^VIX"]
