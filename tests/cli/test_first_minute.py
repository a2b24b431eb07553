"""The first minute: tickers that are named and not stored are fetched, and the base run forecasts."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from yahoo_server import Chart, YahooServer

from forecaster.cli import supply
from forecaster.data import calendars, update
from forecaster.data.event_store import EventStore
from forecaster.data.store import Store
from forecaster.runs import base

NOW = pd.Timestamp("2024-03-20 22:00", tz="UTC")  # a Wednesday, after the close
LAST = calendars.last_finished("AAPL", NOW)
FIRST = pd.Timestamp("2017-06-01")


def chart(seed, ticker="AAPL", first=FIRST, **more):
    """What Yahoo knows of a ticker: a walk up to the last session."""
    days = calendars.sessions_between(ticker, first, LAST)
    close = 100 * np.exp(np.random.default_rng(seed).normal(0, 0.01, len(days)).cumsum())
    frame = pd.DataFrame({"date": days, "open": close, "high": close * 1.01, "low": close * 0.99})
    return Chart(frame.assign(close=close, adj_close=close, volume=1e6), **more)


CHARTS = {
    "AAPL": chart(1),
    "MSFT": chart(2),
    "^GSPC": chart(3, instrument="INDEX"),
    "^VIX": chart(4, instrument="INDEX"),
    "YOUNG": chart(5, first=pd.Timestamp("2024-03-01")),
}


@pytest.fixture(scope="module")
def running():
    with YahooServer({}) as server:
        yield server


@pytest.fixture
def yahoo(running, monkeypatch):
    """A Yahoo that this process takes for the real one, some days ago."""
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(calendars, "now", lambda: NOW)
    monkeypatch.setattr(update, "FIRST_WAIT", 0.05)
    monkeypatch.setattr(supply, "PATIENCE", 0.5)
    running.charts, running.modes = dict(CHARTS), {}
    running.announcements, running.calendar_modes = {}, {}
    running.requests.clear()
    return running


def asked(yahoo):
    return [request.ticker for request in yahoo.chart_requests()]


def test_predict_in_an_empty_home_fetches_and_forecasts_with_the_base_run(
    yahoo, forecast, tmp_path
):
    result = forecast("predict", "aapl", "--home", tmp_path)
    assert result.code == 0, result.err
    assert "Run base (it comes with the package; you have trained no network yet)" in result.out
    score = base.card().scores_of("AAPL")[0]
    assert f"on {score.set} ({score.tickers} tickers" in result.out
    assert f"a CRPS of {score.crps_over_gjr:.3f} of GJR-GARCH's" in result.out
    assert f"`forecast backtest AAPL --run base --home {tmp_path}`" in result.out
    rows = len(CHARTS["AAPL"].prices)
    said = f"AAPL was not stored: fetched {rows:,} sessions of 2017-06-01 to 2024-03-20"
    assert f"{said} and 4 earnings dates from Yahoo, with ^GSPC, ^VIX beside" in result.err
    # What goes with it is stored apart.
    assert Store(tmp_path).tickers() == ["AAPL"]
    assert Store(tmp_path / "companions").tickers() == ["^GSPC", "^VIX"]
    assert EventStore(tmp_path).tickers() == ["AAPL"]
    assert sorted(asked(yahoo)) == ["AAPL", "^GSPC", "^VIX"]


def test_its_json_says_which_run_and_what_it_is_worth(yahoo, forecast, tmp_path):
    document = forecast("predict", "AAPL", "^VIX", "--home", tmp_path, "--json", "--quiet").json
    assert (document["run"], document["chosen_by"]) == ("base", "base")
    assert [row["ticker"] for row in document["forecasts"]] == ["AAPL", "^VIX"]
    share, volatility = document["worth"]
    assert (share["ticker"], share["kind"], bool(share["scores"])) == ("AAPL", "share", True)
    assert (volatility["ticker"], volatility["kind"]) == ("^VIX", "volatility")
    if not volatility["scores"]:
        shown = forecast("predict", "^VIX", "--home", tmp_path, "--quiet").out
        assert "No score for this kind of instrument (volatility: ^VIX)." in shown


def test_no_backtest_is_advised_of_years_that_the_base_run_has_seen(forecast, tmp_path):
    assert forecast("fetch", "--source", "sample", "--home", tmp_path, "--quiet").code == 0
    result = forecast("predict", "^GSPC", "--home", tmp_path, "--quiet")
    assert result.code == 0, result.err
    assert "It has seen the years that are stored: nothing is left to backtest." in result.out
    assert "forecast backtest" not in result.out


def test_what_is_stored_is_not_asked_for_again(yahoo, forecast, tmp_path):
    first = forecast("predict", "AAPL", "--home", tmp_path, "--quiet")
    yahoo.requests.clear()
    assert forecast("predict", "AAPL", "--home", tmp_path, "--quiet").out == first.out
    assert forecast("predict", "--home", tmp_path, "--quiet").out == first.out
    assert yahoo.requests == []
    assert forecast("predict", "MSFT", "AAPL", "--home", tmp_path, "--quiet").code == 0
    assert asked(yahoo) == ["MSFT"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("explain", "AAPL", "--as-of", "2019-03-01"),
        ("plot", "predict", "AAPL", "--out", "{home}/x.svg"),
        ("plot", "gates", "AAPL", "--out", "{home}/x.svg"),
        ("backtest", "AAPL", "--models", "ewma,naive", "--start", "2023-06-01"),
        ("audit", "AAPL", "--model", "naive", "--seeds", 1, "--until", "2019-06-28"),
    ],
    ids=lambda words: words if isinstance(words, str) else words[0],
)
def test_other_commands_fetch_what_they_name_too(yahoo, forecast, tmp_path, words):
    words = [str(word).format(home=tmp_path) for word in words]
    result = forecast(*words, "--home", tmp_path)
    assert result.code == 0, result.err
    assert "AAPL was not stored: fetched" in result.err
    assert asked(yahoo)[0] == "AAPL"


def test_a_backtest_takes_the_base_run_on_the_days_it_has_not_seen(yahoo, forecast, tmp_path):
    words = ("backtest", "AAPL", "--run", "base", "--models", "lstm,naive", "--home", tmp_path)
    early = forecast(*words, "--start", "2018-06-01", "--quiet")
    assert (early.code, early.out) == (1, "")
    assert "2018-12-31" in early.err
    result = forecast(*words, "--end", "2019-12-31", "--quiet")
    assert result.code == 0, result.err
    shown = forecast("predict", "AAPL", "--home", tmp_path, "--quiet").out
    assert "Its backtest of 2019-01-02 to 2019-12-31: " in shown


def test_without_a_network_a_backtest_says_whether_the_base_run_stands_for_it(
    yahoo, forecast, tmp_path, monkeypatch
):
    from forecaster.cli import backtest

    monkeypatch.setattr(backtest, "DEFAULT", "lstm,gjr")
    monkeypatch.setattr(backtest, "_done", lambda request, *_, **__: (request, tmp_path))
    requests = []
    monkeypatch.setattr(
        backtest.results, "tell", lambda request, *_, **__: requests.append(request)
    )
    monkeypatch.setattr(backtest.results, "end", lambda request: None)
    at = ("--models", "lstm,gjr", "--home", tmp_path)
    late = forecast("backtest", "AAPL", *at)
    assert "the base run stands for lstm on days after 2018-12-31" in late.err
    early = forecast("backtest", "AAPL", "--start", "2018-01-02", *at)
    assert "so every model is fitted anew" in early.err
    forecast("backtest", "AAPL", "--refit", "yearly", *at)
    assert [request.run for request in requests] == ["base", None, None]


@pytest.mark.parametrize(
    ("modes", "said"),
    [
        (["unknown"], "Yahoo knows none of this name"),
        (["limited"], "429"),
        (["reset"], "NOPE"),
        (["garbage"], "NOPE"),
        (["forbidden"], "NOPE"),
    ],
    ids=lambda it: it[0] if isinstance(it, list) else "",
)
@pytest.mark.parametrize("word", ["predict", "explain", "backtest", "audit"])
def test_what_does_not_come_is_one_line_and_leaves_nothing(
    yahoo, forecast, tmp_path, modes, said, word
):
    yahoo.modes["NOPE"] = modes
    result = forecast(word, "NOPE", "--home", tmp_path, "--quiet")
    assert (result.code, result.out) == (1, "")
    (line,) = result.err.splitlines()
    assert line.startswith("error: NOPE: ")
    assert said in line
    assert Store(tmp_path).tickers() == []
    assert not list(tmp_path.rglob("*.parquet"))


def test_without_a_network_connection(forecast, tmp_path, monkeypatch, yahoo):
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    result = forecast("predict", "AAPL", "--home", tmp_path, "--quiet")
    assert (result.code, result.out) == (1, "")
    (line,) = result.err.splitlines()
    assert line.startswith("error: AAPL: ")
    assert not list(tmp_path.rglob("*.parquet"))


def test_one_that_is_missing_does_not_lose_the_other(yahoo, forecast, tmp_path):
    result = forecast("predict", "AAPL", "APPL", "--home", tmp_path, "--quiet")
    assert (result.code, result.out) == (1, "")
    assert Store(tmp_path).tickers() == ["AAPL"]
    again = forecast("predict", "APPL", "--home", tmp_path, "--quiet")
    (line,) = again.err.splitlines()
    assert "did you mean AAPL?" in line
    assert "not stored: APPL" in line


def test_the_name_of_a_file_is_not_asked_for(yahoo, forecast, tmp_path):
    for name in ("prices.csv", "../AAPL", "x.PARQUET"):
        result = forecast("predict", name, "--home", tmp_path, "--quiet")
        assert (result.code, result.out) == (1, "")
        assert f"`forecast fetch --source {name}`" in result.err
    assert yahoo.requests == []


def test_companions_that_do_not_come_are_done_without(yahoo, forecast, tmp_path):
    yahoo.modes |= {"^GSPC": ["limited"], "^VIX": ["unknown"]}
    yahoo.calendar_modes["AAPL"] = ["broken"]
    result = forecast("predict", "AAPL", "--home", tmp_path)
    assert result.code == 0, result.err
    assert "warning: ^GSPC, ^VIX did not come" in result.err
    assert "the earnings dates of AAPL did not come" in result.err
    assert "2024-03-20 from Yahoo\n" in result.err


def test_a_history_that_is_too_short_is_stored_and_not_forecast(yahoo, forecast, tmp_path):
    result = forecast("predict", "YOUNG", "--home", tmp_path, "--quiet")
    assert (result.code, result.out) == (1, "")
    assert "a forecast needs 60" in result.err
    assert Store(tmp_path).tickers() == ["YOUNG"]


def test_days_before_2019_are_refused(yahoo, forecast, tmp_path):
    result = forecast("predict", "AAPL", "--as-of", "2018-06-01", "--home", tmp_path, "--quiet")
    assert (result.code, result.out) == (1, "")
    assert "run base was trained on sessions up to 2018-12-31" in result.err


CODE = r"""
import json, re, sys
from pathlib import Path
from forecaster.cli.app import main
try: main(["predict", "AAPL", "--home", sys.argv[1], "--json", "--quiet"])
except SystemExit as stop: code = stop.code
heavy = [it for it in ("tensorflow", "keras", "sklearn", "arch", "matplotlib") if it in sys.modules]
status = Path("/proc/self/status")
peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1] if status.exists() else 0
print(json.dumps([code, heavy, int(peak) / 1024]), file=sys.stderr)
"""


def test_it_needs_little_memory_and_no_tensorflow(yahoo, tmp_path):
    today = pd.Timestamp.now().normalize()
    days = pd.bdate_range(end=today, periods=11_000)
    close = 100 * np.exp(np.random.default_rng(1).normal(0, 0.01, len(days)).cumsum())
    frame = pd.DataFrame({"date": days, "open": close, "high": close * 1.01, "low": close * 0.99})
    history = Chart(frame.assign(close=close, adj_close=close, volume=1e6))
    yahoo.charts = dict.fromkeys(("AAPL", "^GSPC", "^VIX"), history)
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | yahoo.environment,
    )
    code, heavy, peak = json.loads(done.stderr.splitlines()[-1])
    assert (code, heavy) == (0, [])
    assert json.loads(done.stdout)["run"] == "base"
    assert peak <= 300
