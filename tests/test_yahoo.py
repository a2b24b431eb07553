import json
import os
import subprocess
import sys
from datetime import date
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from yahoo_server import Chart, YahooServer

from forecaster.errors import UsageError
from forecaster.sources import yahoo

# yfinance keeps cookies, time zones and answers for as long as its process lives, so the process
# that meets the server is one of its own. It asks for each call in turn, and tells what it got.
SCRIPT = """
import json, logging, sys, warnings
from datetime import date
from forecaster.sources import yahoo

def plain(outcome):
    if isinstance(outcome, Exception):
        return [type(outcome).__name__, str(outcome)]
    return outcome.astype({"date": str}).to_dict("list")

yahoo.TIMEOUT = 1.0
filters = list(warnings.filters)
told = []
for tickers, *days in json.load(sys.stdin):
    outcomes = yahoo.load(tickers, *(day and date.fromisoformat(day) for day in days))
    told.append([(name, plain(outcome)) for name, outcome in outcomes])
import yfinance
json.dump({
    "told": told,
    "restored": [
        warnings.filters == filters,
        not logging.getLogger("yfinance").disabled,
        yfinance.config.debug.hide_exceptions,
    ],
}, sys.stdout)
"""


class Answers(NamedTuple):
    told: list[list]  # by call: [ticker, columns or [error class, message]]
    restored: list[bool]
    stderr: str
    requests: list[tuple[str, str]]


def ask(calls: list[tuple], environment: dict[str, str]) -> tuple[list[list], list[bool], str]:
    """Run load on each call in a new process, with warnings as errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        input=json.dumps(calls, default=str),
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    return said["told"], said["restored"], done.stderr


def history(last="2024-03-15", sessions=8, freq="B") -> pd.DataFrame:
    """Close 100, 101, …; the days around 2024-03-10 cross New York's change of clocks."""
    close = 100.0 + np.arange(sessions)
    return pd.DataFrame(
        {
            "date": pd.date_range(end=last, periods=sessions, freq=freq),
            "open": close - 0.5,
            "high": close + 1,
            "low": close - 1,
            "close": close,
            "adj_close": close * 0.9,
            "volume": 1000 + np.arange(sessions),
        }
    )


PLAIN = ["ACME", "^GSPC", "BRK-B", "M&M.NS", "005930.KS", "AIR.NZ", "RISKY=F"]
OPEN_NOW = ["OPEN", "SETTLING", "BTC-USD", "CLOSED", "EARLY", "DEBUT"]
UNKNOWN = ["NOPE", "NOPE2", "NOPE3", "GONE", "UP/../DOWN", "WHAT?NOW", "TWO WORDS", ".."]
# The first answer is that of the time zone's look-up, the second that of the history; a 2 in the
# name is a ticker whose zone is known by then.
TROUBLE = {
    "LIMITED": ["limited"],
    "LIMITED2": ["fine", "limited"],
    "BROKEN": ["broken"],
    "BROKEN2": ["fine", "broken"],
    "EXCUSED": ["excused"],
    "EXCUSED2": ["fine", "excused"],
    "REFUSED": ["refused"],
    "REFUSED2": ["fine", "refused"],
    "GARBAGE": ["garbage"],
    "GARBAGE2": ["fine", "garbage"],
    "HOLLOW": ["hollow"],
    "HOLLOW2": ["fine", "hollow"],
    "STALL": ["fine", "stall"],
    "RESET": ["reset"],
    "RESET2": ["fine", "reset"],
    "BARE": ["fine", "bare"],
}
MODES = TROUBLE | {
    "LIMITED3": ["limited"],
    "HEALS": ["fine", "garbage", "fine"],
    "GONE": ["fine", "unknown"],
}
MARCH = (date(2024, 3, 8), date(2024, 3, 12))  # Friday to Tuesday
NEVER = (date(2001, 1, 1), date(2001, 1, 31))
CALLS = [
    (PLAIN,),
    (OPEN_NOW,),
    (UNKNOWN,),
    ([*TROUBLE],),
    (["HEALS", "ACME", "005930.KS", "AIR.NZ"], *MARCH),
    (["HEALS"], *MARCH),
    (["ACME"], None, MARCH[1]),
    (["ACME"], MARCH[0]),
    (["ACME", "LIMITED3"], *NEVER),
    ([" acme ", "Acme", "brk-b"],),
    (["GONE"],),
]


def charts() -> dict[str, Chart]:
    now = pd.Timestamp.now("UTC").floor("s")
    today = now.tz_localize(None).normalize()
    minute, hour, day = pd.Timedelta(minutes=1), pd.Timedelta(hours=1), pd.Timedelta(days=1)
    midnight = today.tz_localize("UTC")
    ours = {"timezone": "UTC", "hours": ("00:00", "23:59"), "prices": history(today, freq="D")}
    holes = history()
    holes.loc[3, holes.columns.drop("date")] = np.nan
    acme = Chart(
        holes,
        dividends={date(2024, 3, 11): 0.25},
        splits={date(2024, 3, 13): (4, 1)},
    )
    return dict.fromkeys([*PLAIN, *MODES], Chart(history())) | {
        "ACME": acme,
        "005930.KS": Chart(history(), "Asia/Seoul", "KRW", hours=("09:00", "15:30")),
        "AIR.NZ": Chart(history(), "Pacific/Auckland", "NZD", hours=("10:00", "16:45")),
        "BTC-USD": Chart(**ours, instrument="CRYPTOCURRENCY"),
        "OPEN": Chart(**ours, session=(midnight, now + hour)),
        "SETTLING": Chart(**ours, session=(midnight, now - 10 * minute)),
        "CLOSED": Chart(**ours, session=(midnight, now - hour)),
        "EARLY": Chart(**ours, session=(midnight + day, midnight + 2 * day)),
        "DEBUT": Chart(**ours | {"prices": history(today, sessions=1, freq="D")}),
    }


@pytest.fixture(scope="module")
def server():
    with YahooServer(charts(), MODES) as running:
        yield running


@pytest.fixture(scope="module")
def answers(server):
    return Answers(*ask(CALLS, server.environment), list(server.requests))


def frame(columns: dict) -> pd.DataFrame:
    assert isinstance(columns, dict), columns
    return pd.DataFrame(columns).astype({"date": "datetime64[us]"})


def same(columns: dict, ticker: str, prices: pd.DataFrame) -> None:
    expected = prices.reset_index(drop=True).astype({"date": "datetime64[us]"})
    expected.insert(0, "ticker", ticker)
    pd.testing.assert_frame_equal(frame(columns), expected, check_dtype=False)


def test_prices_are_those_of_the_server_on_the_dates_of_the_exchange(answers):
    told = dict(answers.told[0])
    assert list(told) == PLAIN
    for ticker in PLAIN[1:]:
        same(told[ticker], ticker, history())


def test_a_session_without_prices_is_left_out_and_a_split_moves_nothing(answers):
    same(dict(answers.told[0])["ACME"], "ACME", history().drop(index=3))


@pytest.mark.parametrize("ticker", ["OPEN", "SETTLING", "BTC-USD"])
def test_the_bar_of_an_unfinished_session_is_dropped(answers, server, ticker):
    same(dict(answers.told[1])[ticker], ticker, server.charts[ticker].prices[:-1])


@pytest.mark.parametrize("ticker", ["CLOSED", "EARLY"])
def test_the_bar_of_a_finished_session_stays(answers, server, ticker):
    same(dict(answers.told[1])[ticker], ticker, server.charts[ticker].prices)


def test_an_unfinished_first_session_is_no_price(answers):
    kind, message = dict(answers.told[1])["DEBUT"]
    assert kind == "SourceError"
    assert "finished session" in message


@pytest.mark.parametrize("ticker", [name for name in UNKNOWN if name != "GONE"])
def test_unknown_ticker(answers, ticker):
    kind, message = dict(answers.told[2])[ticker]
    assert kind == "UnknownTickerError"
    assert message.startswith(f"{ticker}: ")


def test_a_ticker_that_yahoo_forgot_is_unknown(answers):
    assert [dict(answers.told[call])["GONE"][0] for call in (2, -1)] == ["UnknownTickerError"] * 2


def test_a_ticker_that_is_no_word_is_never_sent(answers):
    assert not any(
        word in path for _, path in answers.requests for word in ("DOWN", "NOW", "WORDS")
    )


@pytest.mark.parametrize("ticker", TROUBLE)
def test_trouble_has_its_class_and_one_line(answers, ticker):
    special = {
        "LIMITED": "RateLimitedError",
        "LIMITED2": "RateLimitedError",
        "BARE": "SourceError",
    }
    kind, message = dict(answers.told[3])[ticker]
    assert kind == special.get(ticker, "NetworkError")
    assert message.startswith(f"{ticker}: expected prices, ")
    assert "; " in message
    assert "\n" not in message
    assert "delisted" not in message


def test_no_connection_is_told_from_nonsense(answers):
    told = dict(answers.told[3])
    unreached = {name for name in TROUBLE if "could not reach Yahoo" in told[name][1]}
    assert unreached == {"STALL", "RESET", "RESET2"}


def test_start_and_end_are_both_included(answers):
    for ticker, hole in (("ACME", [3]), ("005930.KS", []), ("AIR.NZ", [])):
        expected = history().drop(index=hole)
        expected = expected[expected["date"].between(*map(str, MARCH))]
        same(dict(answers.told[4])[ticker], ticker, expected)


def test_an_end_alone_asks_for_all_before_and_a_start_alone_for_all_after(answers):
    acme = history().drop(index=3)
    same(dict(answers.told[6])["ACME"], "ACME", acme[acme["date"] <= str(MARCH[1])])
    same(dict(answers.told[7])["ACME"], "ACME", acme[acme["date"] >= str(MARCH[0])])


def test_a_bad_answer_is_not_kept(answers):
    assert dict(answers.told[4])["HEALS"][0] == "NetworkError"
    expected = history()[history()["date"].between(*map(str, MARCH))]
    same(dict(answers.told[5])["HEALS"], "HEALS", expected)


def test_a_range_without_sessions_is_no_trouble_of_the_network(answers):
    told = dict(answers.told[8])
    assert told["ACME"][0] == "SourceError"
    assert told["LIMITED3"][0] == "RateLimitedError"


def test_tickers_are_trimmed_raised_and_named_once(answers):
    assert [ticker for ticker, _ in answers.told[9]] == ["ACME", "BRK-B"]


def test_yfinance_is_silent_and_left_as_it_was(answers):
    assert answers.stderr == ""
    assert answers.restored == [True, True, True]


def test_offline_and_without_a_folder_for_caches(server, tmp_path):
    file = tmp_path / "file"
    file.touch()
    nowhere = dict.fromkeys(["HTTPS_PROXY", "https_proxy"], "http://127.0.0.1:1")
    homeless = dict.fromkeys(["HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"], str(file))
    told, _, stderr = ask([(["ACME", "NOPE"],)], server.environment | nowhere | homeless)
    assert [outcome[0] for _, outcome in told[0]] == ["NetworkError"] * 2
    assert stderr == ""


@pytest.mark.parametrize("tickers", [[], ["", "  "]])
def test_no_ticker(tickers):
    with pytest.raises(UsageError, match="at least one ticker"):
        yahoo.load(tickers)
