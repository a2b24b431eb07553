"""Whatever a file holds, reading it gives checked prices or an error that can be read."""

import io

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.data import prices
from forecaster.data.sources import loading
from forecaster.errors import ForecastError


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "AAPL.csv"


def assert_prices_or_error(path, content):
    path.write_bytes(content)
    try:
        outcomes = loading.load(str(path))
    except ForecastError as error:
        outcomes = [("", error)]
    for ticker, outcome in outcomes:
        if isinstance(outcome, ForecastError):
            assert "\n" not in str(outcome)
        else:
            assert set(outcome["ticker"]) == {ticker}
            pd.testing.assert_frame_equal(prices.check(outcome, actions=True), outcome)


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: b"PAR1" + tail))
def test_any_bytes(path, content):
    assert_prices_or_error(path, content)


NAMES = st.sampled_from(
    ["Ticker", "Date", "date", "Open", "High", "Low", "Close", "Adj Close", "Volume", "Dividends",
     "Stock Splits", "AAPL", "MSFT", "", "ds", "y", "unique_id", "2018-01-02", "NA"]
)  # fmt: skip
DATES = st.sampled_from(
    ["2018-01-02", "2018-01-03", "2018-01-04", "20180105", "2018-01-08 00:00:00-05:00", "2999-01-01",
     "0000-00-00", "2018-02-30", "99999-01-01", "1500-01-01"]
)  # fmt: skip
NUMBERS = st.sampled_from(
    ["", "1", "1.5", "100", "0", "-1", "nan", "inf", "-inf", "1e308", "1e-308", "1e400", "9" * 25,
     "1,5", '"2"', "True", "x", "\u0663", "1_0", "0x10", "2018-01-02"]
)  # fmt: skip
CELLS = DATES | NUMBERS | st.sampled_from(["AAPL", "MSFT", " ", "\x00", '"', "A" * 50])


def lines(rows, delimiter):
    return "\n".join(delimiter.join(row) for row in rows).encode()


@settings(max_examples=80)
@given(
    st.lists(NAMES, min_size=1, max_size=7),
    st.lists(st.lists(CELLS, max_size=8), max_size=6),
    st.sampled_from(",;\t"),
)
def test_tables_of_anything(path, names, rows, delimiter):
    assert_prices_or_error(path, lines([names, *rows], delimiter))


@settings(max_examples=80)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["AAPL", "MSFT", "NA"]), DATES, *[st.just("1") | NUMBERS] * 5
        ),
        min_size=1, max_size=8,
    )
)  # fmt: skip
def test_tables_that_are_nearly_prices(path, rows):
    names = ["ticker", "date", "high", "low", "close", "volume", "dividends"]
    assert_prices_or_error(path, lines([names, *map(list, rows)], ","))


@given(
    st.lists(st.lists(NAMES, min_size=2, max_size=5), min_size=3, max_size=3),
    st.lists(st.lists(CELLS, min_size=2, max_size=5), max_size=4),
)
def test_tables_with_several_rows_of_names(path, names, rows):
    index = ["Date"] + [""] * (len(names[0]) - 1)
    assert_prices_or_error(path, lines([*names[:2], index, *rows], ","))


VALUES = st.one_of(
    st.floats(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=5), st.booleans(), st.none(),
    st.datetimes(), st.dates(), st.binary(max_size=3), st.lists(st.integers(0, 1), max_size=2),
)  # fmt: skip


@settings(max_examples=80)
@given(st.lists(NAMES, min_size=2, max_size=6, unique=True), st.data())
def test_parquet_of_anything(path, names, data):
    count = data.draw(st.integers(0, 4))
    kinds = [
        data.draw(st.sampled_from([VALUES, st.floats(), st.datetimes(), st.text()])) for _ in names
    ]
    columns = {
        name: data.draw(st.lists(kind, min_size=count, max_size=count))
        for name, kind in zip(names, kinds, strict=True)
    }
    file = io.BytesIO()
    try:
        pd.DataFrame(columns).to_parquet(file)
    except Exception:  # what Parquet cannot hold cannot come from it
        return
    assert_prices_or_error(path, file.getvalue())


@settings(max_examples=80)
@given(st.data())
def test_parquet_that_is_damaged(path, data):
    days = pd.bdate_range("2018-01-01", periods=5)
    file = io.BytesIO()
    pd.DataFrame({"ticker": "AAPL", "date": days, "close": range(1, 6)}).to_parquet(file)
    content = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(4, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    assert_prices_or_error(path, bytes(content[: data.draw(st.integers(4, len(content)))]))
