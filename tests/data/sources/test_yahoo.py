"""What is made of Yahoo's answers; ``test_update`` has how yfinance gets them."""

import json
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yahoo_server import Chart, YahooServer, failure

from forecaster.data import prices
from forecaster.data.sources import loading, yahoo
from forecaster.errors import (
    ForecastError,
    GarbageError,
    NoPricesError,
    RateLimitedError,
    RefusedError,
    UnknownTickerError,
    UsageError,
)

NOW = pd.Timestamp("2024-03-20 12:00", tz="UTC")


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


def answer(chart, query=None, ticker="ACME"):
    """The document that the server would send."""
    everything = {"period1": "0", "period2": str(int(NOW.timestamp()))}
    return chart.answer(ticker, query or everything)[1]


def read(document, start=None, end=None, now=NOW, status=200, ticker="ACME"):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return yahoo.read(ticker, status, body, start, end, now)


def same(frame, expected, ticker="ACME"):
    expected = expected.reset_index(drop=True).astype({"date": "datetime64[us]"})
    pd.testing.assert_frame_equal(frame[list(expected)], expected, check_dtype=False)
    assert set(frame["ticker"]) == {ticker}


@pytest.mark.parametrize(
    ("zone", "hours"),
    [
        ("America/New_York", ("09:30", "16:00")),
        ("Asia/Seoul", ("09:00", "15:30")),
        ("Pacific/Auckland", ("10:00", "16:45")),
        ("Europe/London", ("00:00", "23:59")),
        ("UTC", ("00:00", "23:59")),
    ],
)
def test_dates_are_those_of_the_exchange(zone, hours):
    parsed = read(answer(Chart(history(), zone, hours=hours)))
    same(parsed.frame, history())
    assert parsed.notes["timezone"] == zone
    assert parsed.open_session is None


def test_a_bar_that_opens_an_hour_before_midnight_is_of_the_next_day():
    document = answer(Chart(history(), "America/Sao_Paulo", hours=("00:00", "17:00")))
    result = document["chart"]["result"][0]
    result["timestamp"] = [at - 3600 for at in result["timestamp"]]
    same(read(document).frame, history())


def test_actions_stand_at_their_session_or_at_the_next_one_with_a_price():
    holes = history()
    holes.loc[4, ["close", "adj_close"]] = np.nan  # 2024-03-12
    day = holes["date"].dt.date
    chart = Chart(
        holes,
        dividends={day[1]: 0.25, day[4]: 0.5, day[5]: 1.0, date(2024, 3, 18): 2.0},
        splits={day[2]: (4, 1), day[4]: (1, 10)},
    )
    frame = read(answer(chart)).frame
    assert frame["dividends"].tolist() == [0, 0.25, 0, 0, 0, 1.5, 0, 0]
    assert frame["splits"].tolist() == [0, 0, 4, 0, 0, 0.1, 0, 0]


def test_adjusted_prices_can_be_rebuilt_from_closes_and_dividends():
    chart = history()
    paid = 2.0
    chart["adj_close"] = chart["close"]
    chart.loc[:3, "adj_close"] *= 1 - paid / chart["close"][3]
    frame = read(answer(Chart(chart, dividends={chart["date"][4].date(): paid}))).frame
    before = frame["close"].shift()
    factor = (1 - frame["dividends"] / before).fillna(1)[::-1].cumprod()[::-1].shift(-1).fillna(1)
    np.testing.assert_allclose(frame["close"] * factor, frame["adj_close"], rtol=1e-6)


def test_rows_are_as_yahoo_gives_them_but_for_their_order():
    messy = pd.concat([history(), history().iloc[[3]]]).astype(object)
    messy.iloc[1, 5] = "Infinity"
    messy.iloc[2, 6] = 2**70
    frame = read(answer(Chart(messy.sample(frac=1, random_state=3)))).frame
    assert frame["date"].is_monotonic_increasing
    assert len(frame) == 9
    assert frame["adj_close"].iloc[1] == np.inf
    assert frame["volume"].iloc[2] == 2.0**70


def test_what_was_not_asked_for_is_left_out():
    parsed = read(answer(Chart(history())), date(2024, 3, 8), date(2024, 3, 12))
    same(parsed.frame, history()[2:5])
    tomorrow = read(answer(Chart(history())), now=pd.Timestamp("2024-03-13 22:00", tz="UTC"))
    assert tomorrow.frame["date"].max() == pd.Timestamp("2024-03-13")


@pytest.mark.parametrize(
    ("now", "clock", "finished"),
    [
        ("15:00", None, False),
        ("19:59", None, False),
        ("20:00", None, True),
        ("20:10", "19:45", False),  # quotes are a quarter of an hour late
        ("20:31", "19:45", True),  # nothing was traded after that
        ("20:10", "20:00", True),
    ],
)
def test_the_bar_of_an_open_session_is_left_out(now, clock, finished):
    clock = clock and pd.Timestamp(f"2024-03-15 {clock}", tz="UTC")
    document = answer(Chart(history(), clock=clock))
    parsed = read(document, now=pd.Timestamp(f"2024-03-15 {now}", tz="UTC"))
    same(parsed.frame, history() if finished else history()[:-1])
    assert parsed.open_session == (None if finished else date(2024, 3, 15))


def test_a_first_session_that_is_open_is_no_price():
    chart = Chart(history(sessions=1))
    with pytest.raises(NoPricesError, match="finished session"):
        read(answer(chart), now=pd.Timestamp("2024-03-15 15:00", tz="UTC"))


@pytest.mark.parametrize("instrument", ["CRYPTOCURRENCY", "EQUITY"])
def test_a_crypto_day_ends_at_midnight_in_greenwich(instrument):
    days = history(last="2024-03-20", freq="D")
    ended = NOW - pd.Timedelta(days=2), NOW - pd.Timedelta(days=1)
    document = answer(Chart(days, "UTC", hours=("00:00", "23:59"), session=ended))
    document["chart"]["result"][0]["meta"]["instrumentType"] = instrument
    same(read(document, ticker="BTC-USD").frame, days[:-1], "BTC-USD")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, failure("Not Found", "No data found, symbol may be delisted"), UnknownTickerError),
        (404, b"<html>", UnknownTickerError),
        (200, failure("Not Found", "No data found, symbol may be delisted"), UnknownTickerError),
        (429, b"Too Many Requests", RateLimitedError),
        (400, failure("Bad Request", "Data doesn't exist for startDate = 1"), NoPricesError),
        (200, answer(Chart(history())) | {"chart": {"result": [{}]}}, GarbageError),
        (200, {"chart": {"result": None, "error": None}}, GarbageError),
        (500, failure("Internal Server Error", "Something went wrong"), GarbageError),
        (401, failure("Unauthorized", "Invalid Crumb", "finance"), RefusedError),
        (403, b"<html>Forbidden</html>", RefusedError),
        (422, failure("Unprocessable Entity", "the requested range must be shorter"), RefusedError),
        (200, b"<html>Will be right back</html>", GarbageError),
        (200, b'{"chart": {"result": [{"me', GarbageError),
        (200, b"", GarbageError),
        (200, b"[" * 100_000, GarbageError),
    ],
)
def test_answers_without_prices_are_distinguished(status, body, kind):
    with pytest.raises(kind, match=r"^ACME: expected .*; ") as refused:
        read(body, status=status)
    assert type(refused.value) is kind
    assert "\n" not in str(refused.value)
    assert "delisted" not in str(refused.value)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda result: result["meta"].pop("exchangeTimezoneName"),
        lambda result: result["meta"].update(exchangeTimezoneName="Mars/Olympus"),
        lambda result: result["indicators"]["quote"][0]["close"].pop(),
        lambda result: result["timestamp"].__setitem__(0, 10**18),
        lambda result: result.update(events={"splits": {"1": {"date": 1, "numerator": 1}}}),
    ],
)
def test_half_an_answer_is_none(spoil):
    document = answer(Chart(history()))
    spoil(document["chart"]["result"][0])
    with pytest.raises(GarbageError, match="made no sense"):
        read(document)


# ---- any bytes

SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.floats(),
    st.sampled_from([0, -1, "Infinity", "NaN", "x", 10**400, 1e308, {}, []]),
)
NUMBER = st.one_of(
    st.none(),
    st.integers(-(2**80), 2**80),
    st.floats(),
    st.floats(90, 110),
    st.sampled_from([0, -1, "Infinity", 1e308, 1e-308, 100.0]),
)
SOUND = answer(Chart(history(), dividends={date(2024, 3, 11): 0.25}))


def accepted(body, status=200):
    """Whether an answer gives prices; it may be refused, and nothing else."""
    try:
        frame = loading.usable("ACME", read(body, status=status).frame).frame
        frame = prices.check(frame, actions=True)
    except ForecastError:
        return False
    pd.testing.assert_frame_equal(prices.check(frame, actions=True), frame)
    return True


@given(st.binary(), st.sampled_from([200, 404, 429, 500]))
@example(json.dumps(SOUND).encode(), 200)
@settings(max_examples=100)
def test_any_bytes_are_prices_or_an_error(body, status):
    accepted(body, status)


@st.composite
def charts(draw):
    """A sound chart with up to six of its parts replaced, or taken away."""
    document = json.loads(json.dumps(SOUND))
    for _ in range(draw(st.integers(1, 6))):
        place, key = document, "chart"
        while draw(st.integers(0, 5)) and isinstance(place[key], dict | list) and place[key]:
            place = place[key]
            keys = list(place) if isinstance(place, dict) else range(len(place))
            key = draw(st.sampled_from(list(keys)))
        if draw(st.booleans()) and isinstance(place, dict) and len(document) > 1:
            del place[key]
        else:
            place[key] = draw(SCALAR)
        if not isinstance(document.get("chart"), dict):
            break
    return document


@given(charts())
@settings(max_examples=300)
def test_any_chart_is_prices_or_an_error(document):
    accepted(json.dumps(document).encode())


@given(
    st.lists(
        st.tuples(
            st.sampled_from(SOUND["chart"]["result"][0]["timestamp"]) | st.integers(0, 2 * 10**9),
            *[st.floats(90, 110) | NUMBER] * 6,
        ),
        max_size=12,
    )
)
@settings(max_examples=150)
def test_any_bars_are_prices_or_an_error(bars):
    document = json.loads(json.dumps(SOUND))
    result = document["chart"]["result"][0]
    columns = list(zip(*bars, strict=True)) or [()] * 7
    result["timestamp"] = list(columns[0])
    names = ["open", "high", "low", "close", "volume"]
    result["indicators"]["quote"] = [dict(zip(names, map(list, columns[1:6]), strict=True))]
    result["indicators"]["adjclose"] = [{"adjclose": list(columns[6])}]
    accepted(json.dumps(document).encode())


def test_a_sound_chart_is_accepted():
    assert accepted(json.dumps(SOUND).encode())


# ---- asked for once


def test_load_asks_for_each_ticker_once(monkeypatch):
    with YahooServer({"ACME": Chart(history())}, {"ELSE": ["limited"]}) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        outcomes = dict(yahoo.load([" acme ", "Acme", "else", "NOPE"]))
    assert list(outcomes) == ["ACME", "ELSE", "NOPE"]
    same(outcomes["ACME"], history())
    assert isinstance(outcomes["ELSE"], RateLimitedError)
    assert isinstance(outcomes["NOPE"], UnknownTickerError)
    assert len(server.chart_requests("ACME")) == len(server.chart_requests("ELSE")) == 1


@pytest.mark.parametrize("tickers", [[], ["", "  "]])
def test_no_ticker(tickers):
    with pytest.raises(UsageError, match="at least one ticker"):
        yahoo.load(tickers)
