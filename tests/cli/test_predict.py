"""What ``predict`` says of the prices beside the forecast: their currency, their age, and a peg."""

import numpy as np
import pandas as pd
import pytest

from forecaster.data import calendars, prices
from forecaster.data.store import Store

LAST = "2018-12-28"  # a Friday
LATE = pd.Timestamp("2019-01-03 22:00", tz="UTC")  # New York closed on New Year's Day


@pytest.fixture
def home(tmp_path, forecast, monkeypatch):
    """Shares in dollars, in pence, and of an unknown currency; a coin pegged to the dollar."""
    days = calendars.sessions_between("AAA", pd.Timestamp("2016-12-01"), pd.Timestamp(LAST))
    rng, store = np.random.default_rng(3), Store(tmp_path)
    for ticker, currency in (("AAA", "USD"), ("BBB.L", "GBp"), ("CCC", None)):
        close = 90 * np.exp(np.cumsum(rng.normal(0, 0.01, len(days))))
        frame = pd.DataFrame({"ticker": ticker, "date": days, "close": close})
        notes = {"currency": currency} if currency else {}
        store.write(prices.check(frame), source="test", notes=notes)
    coin = pd.DataFrame({"date": pd.date_range("2017-01-01", LAST)})
    coin = coin.assign(ticker="USDX-USD", close=1 + rng.normal(0, 0.0004, len(coin)))
    store.write(prices.check(coin), source="test", notes={"currency": "USD"})
    monkeypatch.setattr(calendars, "now", lambda: LATE)
    trained = forecast("train", "--model", "naive", "--until", "2018-06-29", "--home", tmp_path)
    assert trained.code == 0
    return tmp_path


def test_the_currency_of_the_prices_is_shown_and_pence_are_called_pence(forecast, home):
    words = ["predict", "AAA", "BBB.L", "CCC", "--home", home]
    rows = forecast(*words, "--json").json["forecasts"]
    assert [row["currency"] for row in rows] == ["USD", "GBp", None]
    head, _, *lines = forecast(*words, "--quiet").out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["AAA", "BBB.L", "CCC"]
    assert head.split()[:4] == ["ticker", "last", "close", "in"]
    for line, unit in zip(lines, ("USD", "GBp (pence)", "–"), strict=False):
        assert line.split(maxsplit=2)[2].startswith(unit)
    assert " in " not in forecast("predict", "CCC", "--home", home).out.splitlines()[0]


def test_how_far_the_prices_are_behind_is_counted_in_sessions_of_the_exchange(forecast, home):
    words = ["predict", "AAA", "USDX-USD", "--home", home]
    rows = forecast(*words, "--json").json["forecasts"]
    # New York: 31 December, 2 and 3 January; a coin, whose days end at midnight in Greenwich, also
    # on the 29th, the 30th and the 1st, and not yet on the 3rd.
    assert [row["sessions_behind"] for row in rows] == [3, 5]
    assert [row["last_finished"] for row in rows] == ["2019-01-03", "2019-01-02"]
    table = forecast(*words)
    assert "behind" in table.out.splitlines()[0]
    assert "AAA: the last stored session is 2018-12-28, 3 sessions behind" in table.err


def test_prices_that_are_not_behind_need_no_column(forecast, home, monkeypatch):
    monkeypatch.setattr(calendars, "now", lambda: pd.Timestamp("2018-12-31 20:59", tz="UTC"))
    result = forecast("predict", "AAA", "--home", home, "--max-age", 0)
    assert result.code == 0
    assert "behind" not in result.out + result.err
    (row,) = forecast("predict", "AAA", "--home", home, "--json").json["forecasts"]
    assert row["sessions_behind"] == 0


def test_prices_older_than_allowed_are_an_error_in_one_line(forecast, home, tmp_path):
    words = ["predict", "AAA", "USDX-USD", "--home", home, "--out", tmp_path / "next.csv"]
    result = forecast(*words, "--json", "--max-age", 3)
    assert result.code == 1
    assert [row["ticker"] for row in result.json["forecasts"]] == ["AAA"]
    assert pd.read_csv(tmp_path / "next.csv")["ticker"].tolist() == ["AAA"]
    (line,) = [it for it in result.err.splitlines() if it.startswith("error: ")]
    assert line == (
        "error: USDX-USD: the stored prices are 5 sessions behind, and --max-age allows 3; "
        "`forecast fetch USDX-USD` brings it up to date"
    )
    both = forecast(*words, "--max-age", 2)
    assert (both.code, both.out) == (1, "")
    assert "error: AAA, USDX-USD: the stored prices are 3 to 5 sessions behind" in both.err
    assert forecast(*words, "--max-age", 5).code == 0
    refused = forecast(*words, "--max-age", 5, "--as-of", "2018-12-03")
    assert (refused.code, refused.out) == (2, "")


def test_a_pegged_price_is_warned_of_wherever_it_is_shown(forecast, home):
    predicted = forecast("predict", "USDX-USD", "AAA", "--home", home)
    (line,) = [it for it in predicted.err.splitlines() if "pegged" in it]
    assert line.startswith("warning: USDX-USD: the price has kept within 0.1% for 250 sessions")
    assert line.endswith("its intervals do not hold the risk that the peg breaks")
    rows = forecast("data", "check", "--home", home, "--json").json["tickers"]
    assert {row["ticker"] for row in rows if row["motion"]} == {"USDX-USD"}
    checked = forecast("data", "check", "--home", home).out
    assert "USDX-USD: the price has kept within 0.1%" in checked
