import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.data import prices
from forecaster.errors import PricesError

TODAY = pd.Timestamp("2018-12-31")


def frame(**changes):
    columns = {
        "ticker": ["AAPL", "AAPL", "AAPL"],
        "date": ["2018-01-02", "2018-01-03", "2018-01-04"],
        "open": [9.0, 10.0, 11.0],
        "high": [10.5, 11.5, 12.5],
        "low": [8.5, 9.5, 10.5],
        "close": [10.0, 11.0, 12.0],
        "adj_close": [5.0, 5.5, 6.0],
        "volume": [100, 200, 300],
    }
    return pd.DataFrame(columns | changes)


def message(bad):
    with pytest.raises(PricesError) as caught:
        prices.check(bad, today=TODAY)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_good_frame_comes_back_tidy_and_the_input_stays_as_it_was():
    given_frame = frame().iloc[[2, 0, 1]].assign(sector="tech")
    before = given_frame.copy(deep=True)
    tidy = prices.check(given_frame, today=TODAY)
    pd.testing.assert_frame_equal(given_frame, before)
    assert tuple(tidy.columns) == prices.COLUMNS
    assert tidy["ticker"].dtype == "str"
    assert tidy["date"].dtype == "datetime64[us]"
    assert (tidy.dtypes[2:] == "float64").all()
    assert tidy["close"].tolist() == [10.0, 11.0, 12.0]
    assert tidy.index.tolist() == [0, 1, 2]


def test_a_checked_frame_passes_unchanged():
    tidy = prices.check(frame(), today=TODAY)
    pd.testing.assert_frame_equal(prices.check(tidy, today=TODAY), tidy)


def test_closes_alone_are_enough():
    for column in ("close", "adj_close"):
        tidy = prices.check(frame()[["ticker", "date", column]], today=TODAY)
        assert tidy["close"].equals(tidy["adj_close"].rename("close"))
        assert tidy[["open", "high", "low", "volume"]].isna().all(axis=None)


def test_a_ticker_without_adj_close_takes_its_close_and_its_neighbour_keeps_its_own():
    both = pd.concat([frame(), frame(ticker=["B"] * 3, adj_close=[np.nan] * 3)])
    tidy = prices.check(both, today=TODAY)
    assert tidy["adj_close"].tolist() == [5.0, 5.5, 6.0, 10.0, 11.0, 12.0]


def test_nullable_types_and_numbers_as_text_are_numbers():
    text = frame(close=["10", "11.0", "1.2e1"], volume=pd.array([1, None, 3], dtype="Int64"))
    tidy = prices.check(text, today=TODAY)
    assert tidy["close"].tolist() == [10.0, 11.0, 12.0]
    assert np.isnan(tidy["volume"][1])


def test_an_open_or_close_a_hair_outside_the_range_of_the_day_passes():
    prices.check(frame(open=[8.4, 11.6, 11.0], high=[10.5, 10.9, 12.5]), today=TODAY)
    prices.check(frame(high=[10.0] * 3, low=[10.000001] * 3), today=TODAY)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"ticker": ["AAPL", None, "AAPL"]}, ["row 1", "blank"]),
        ({"ticker": ["AAPL", " ", "AAPL"]}, ["row 1", "blank"]),
        ({"ticker": ["AAPL", "A\nB", "AAPL"]}, ["row 1", r"'A\nB'", "print"]),
        ({"ticker": ["X" * 41] * 3}, ["41 characters", "at most 40", "2 more"]),
        ({"date": ["2018-01-02", "yesterday", "?"]}, ["AAPL row 1", "'yesterday'", "1 more"]),
        ({"date": ["2018-01-02", None, "2018-01-04"]}, ["AAPL row 1", "missing", "YYYY-MM-DD"]),
        ({"date": ["2018-01-02", "03/04/2018", "2018-01-04"]}, ["'03/04/2018'"]),
        ({"date": ["2018-01-02", "2018-01-02", "2018-01-04"]}, ["AAPL 2018-01-02", "only once"]),
        ({"date": ["2018-01-02", "2018-01-03", "2019-01-02"]}, ["2019-01-02", "not finished"]),
        ({"close": [10.0, 0.0, 12.0]}, ["AAPL 2018-01-03", "close is 0", "above zero", "Correct"]),
        ({"close": [10.0, -1.0, -2.0]}, ["AAPL 2018-01-03", "close is -1", "1 more"]),
        ({"close": [10.0, np.nan, 12.0]}, ["AAPL 2018-01-03", "close is missing"]),
        ({"adj_close": [5.0, np.inf, 6.0]}, ["AAPL 2018-01-03", "adj_close is inf", "finite"]),
        ({"adj_close": [np.nan, 5.5, 6.0]}, ["AAPL 2018-01-02", "adj_close is missing"]),
        ({"open": [9.0, 0.0, 11.0]}, ["AAPL 2018-01-03", "open is 0"]),
        ({"high": [10.5, 9.0, 12.5]}, ["high is 9", "low is 9.5", "below the low"]),
        ({"volume": [100, -1, 300]}, ["AAPL 2018-01-03", "volume is -1"]),
        ({"volume": [100, np.inf, 300]}, ["volume is inf"]),
        ({"close": [10.0, "n/a", 12.0]}, ["AAPL 2018-01-03", "close is 'n/a'", "1234.56"]),
    ],
)
def test_each_rule_names_the_ticker_the_date_and_what_was_found(changes, parts):
    text = message(frame(**changes))
    for part in parts:
        assert part in text


def test_missing_columns_and_rows_are_named():
    assert "need a column ticker" in message(frame().drop(columns="ticker"))
    assert "need a column date" in message(frame().drop(columns="date"))
    lacking = message(frame().drop(columns=["close", "adj_close"]))
    assert "close or adj_close" in lacking
    assert "ticker, date, open" in lacking
    assert "no rows" in message(frame().iloc[:0])


def test_tomorrow_in_the_far_east_is_not_the_future():
    now = pd.Timestamp.now("UTC").tz_localize(None).normalize()
    one = {"ticker": "7203.T", "close": 1.0}
    prices.check(pd.DataFrame([one | {"date": now + pd.Timedelta(days=1)}]))
    with pytest.raises(PricesError, match="not finished"):
        prices.check(pd.DataFrame([one | {"date": now + pd.Timedelta(days=3)}]))


@pytest.mark.parametrize(
    "text",
    [
        "2018-01-02",
        "2018/01/02",
        "20180102",
        "2018-01-02 23:30:00-05:00",
        "2018-01-02T00:00:00Z",
        pd.Timestamp("2018-01-02 23:30", tz="America/New_York"),
    ],
)
def test_a_time_and_its_zone_leave_the_date_of_the_place(text):
    result = prices.dates(pd.Series([text]))
    assert result.tolist() == [pd.Timestamp("2018-01-02")]
    assert result.dtype == "datetime64[us]"


@pytest.mark.parametrize("text", ["2018", "2018-01", "2018-02-30", "1514851200", "1/2/2018", ""])
def test_what_is_not_a_whole_date_is_null(text):
    assert prices.dates(pd.Series([text])).isna().all()


def test_between_includes_both_ends_and_keeps_unreadable_dates():
    some = frame(date=["2018-01-02", "what", "2018-01-04"])
    day = pd.Timestamp("2018-01-04")
    assert prices.between(some, day, day)["date"].tolist() == ["what", "2018-01-04"]
    assert prices.between(some, None, None) is some


def test_log_returns_by_hand():
    result = prices.log_returns(np.array([1.0, np.e, np.e, 1.0]))
    np.testing.assert_allclose(result, [np.nan, 1.0, 0.0, -1.0])


@given(st.permutations(range(3)))
def test_the_digest_does_not_depend_on_the_order_of_rows(order):
    tidy = prices.check(frame(), today=TODAY)
    shuffled = prices.check(frame().iloc[list(order)], today=TODAY)
    assert prices.digest(shuffled) == prices.digest(tidy)


def test_the_digest_changes_with_every_cell():
    tidy = prices.check(frame(open=[np.nan] * 3), today=TODAY)
    seen = {prices.digest(tidy)}
    for column in prices.COLUMNS:
        other = tidy.copy()
        change = {"ticker": "B", "date": pd.Timestamp("2017-01-01")}.get(column, 77.0)
        other.loc[0, column] = change
        seen.add(prices.digest(other))
    assert len(seen) == 1 + len(prices.COLUMNS)


def test_the_digest_is_that_of_the_bytes_it_promises():
    tidy = prices.check(frame(), today=TODAY)
    sha = hashlib.sha256(b"'AAPL':3;")
    days = [17533 * 86_400_000_000 + i * 86_400_000_000 for i in range(3)]  # 2018-01-02 is 17533
    sha.update(b"".join(day.to_bytes(8, "little") for day in days))
    for column in prices.COLUMNS[2:]:
        sha.update(np.array(tidy[column].tolist(), dtype="<f8").tobytes())
    assert prices.digest(tidy) == sha.hexdigest()
