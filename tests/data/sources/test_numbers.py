import numpy as np
import pandas as pd
import pytest
from bars import assert_bars, bars
from hypothesis import given
from hypothesis import strategies as st

from forecaster.data.sources import numbers
from forecaster.errors import SourceError

A = bars()


def parsed(cells, mark="."):
    return numbers.parse(pd.DataFrame({0: pd.Series(cells, dtype="str")}), mark)[0].tolist()


@pytest.mark.parametrize(
    ("cell", "mark", "value"),
    [
        ("1234.56", ".", 1234.56),
        ("1,234.56", ".", 1234.56),
        ("1,234,567", ".", 1234567.0),
        ("1,23,456.75", ".", 123456.75),
        ("1.234,56", ",", 1234.56),
        ("1.021", ",", 1021.0),
        ("1.021", ".", 1.021),
        ("1 234,56", ",", 1234.56),
        ("1\u202f234,56", ",", 1234.56),
        ("1'234.50", ".", 1234.5),
        ("1’234.50", ".", 1234.5),
        ("$1,234.56", ".", 1234.56),
        ("€ 99,5", ",", 99.5),
        ("99,5 €", ",", 99.5),
        ("12.5 USD", ".", 12.5),
        ("0.27M", ".", 270_000.0),
        ("1,5 M", ",", 1_500_000.0),
        ("3B", ".", 3e9),
        ("12.3万", ".", 123_000.0),
        ("-1.5", ".", -1.5),
        ("−1.5", ".", -1.5),
        ("+2", ".", 2.0),
        ("5.1e-05", ".", 5.1e-05),
        ("5,1E-05", ",", 5.1e-05),
        (".5", ".", 0.5),
        ("9" * 400, ".", np.inf),
    ],
)
def test_numbers_as_people_write_them(cell, mark, value):
    assert parsed([cell, cell], mark) == [pytest.approx(value)] * 2


@pytest.mark.parametrize(
    "cell", ["1,5", "12,34", "1_0", "0x10", "\u0663", "True", "x", "1.2.3", "1e", "%", "5 USD"]
)
def test_what_is_no_number_stays_as_it_is_and_hides_no_other(cell):
    assert parsed(["1.5", cell, "2.5", ""]) == [1.5, cell, 2.5, pytest.approx(np.nan, nan_ok=True)]


def test_cells_without_a_number_are_missing():
    assert np.isnan(parsed(list(numbers.MISSING))).all()


@given(
    st.lists(st.floats(0.01, 1e9), min_size=1),
    st.sampled_from([(".", ","), (",", "."), (",", " "), (".", "'")]),
)
def test_any_number_comes_back_from_any_way_of_writing_it(values, marks):
    mark, between = marks
    cells = [f"{value:,.4f}".translate({ord("."): mark, ord(","): between}) for value in values]
    assert parsed(cells, mark) == pytest.approx([round(value, 4) for value in values], rel=1e-12)


def mark(prices, volumes=(), delimiter=","):
    frames = (
        pd.DataFrame({place: pd.Series(cells, dtype="str") for place, cells in enumerate(columns)})
        for columns in (prices, volumes)
    )
    return numbers.decimal_mark(*frames, delimiter, "x.csv")


@pytest.mark.parametrize(
    ("prices", "volumes", "delimiter", "expected"),
    [
        (["1.021,50", "1.022,50"], ["1"], ";", ","),
        (["1,021.50", "12,022.5"], ["1"], ",", "."),
        (["99.59"], [], ",", "."),
        (["99,59"], [], ";", ","),
        (["1,234.5"], [], ",", "."),
        (["1.234.567"], [], ";", ","),
        (["250", "251"], ["416,100", "300,200"], ",", "."),
        (["1.021", "1.015", "932"], ["822.700", "1.000", "2"], ";", ","),  # else it leaps to 932
        (["1.021", "1.5"], [], ";", "."),
        (["1.125", "2", "1.375"], [], ";", "."),  # else it leaps to 2
        (["1.021", "1.026"], [], ",", "."),  # who separates by commas writes points
        (["0,021"], [], ";", ","),
        (["$1,021.50"], [], ",", "."),
        (["1.2M"], [], ";", "."),
        (["7", "8"], [], ";", "."),
    ],
)
def test_the_decimal_mark_that_the_numbers_prove(prices, volumes, delimiter, expected):
    assert mark([prices], [volumes] if volumes else [], delimiter) == expected


@pytest.mark.parametrize(
    ("prices", "delimiter"),
    [(["1.021", "1.026"], ";"), (["1,021", "1,026"], ","), (["1,021"], ";")],
)
def test_numbers_that_can_be_read_in_two_ways_are_asked_for(prices, delimiter):
    with pytest.raises(
        SourceError, match='about 1 or a thousand times that; say `decimal="point"`'
    ):
        mark([prices], [], delimiter)


def test_two_decimal_marks_are_refused():
    with pytest.raises(SourceError, match="decimal points and others with decimal commas"):
        mark([["1.5", "1,5"]])


def test_the_answer_is_taken(read, refusal):
    """A file whose prices are all about one, or about a thousand."""
    text = "date;close\n" + "".join(f"2024-01-{day:02};1.0{day}\n" for day in range(10, 31))
    assert "x.csv: cannot tell whether 1.010 is about 1" in refusal(text, "x.csv")
    assert read(text, decimal="comma")["AAPL"]["close"][0] == 1010.0
    assert read(text, decimal="point")["AAPL"]["close"][0] == 1.010
    assert "`decimal` must be point or comma, got 'dot'" in refusal(text, decimal="dot")


def test_european_thousands_are_known_by_the_prices_that_lack_them(read):
    """Prices that cross a thousand: 1.003 is the neighbour of 998."""
    rising = A.assign(
        **{
            name: (A[name] / A["close"] * np.linspace(960, 1040, 40)).round()
            for name in A.columns[1:5]
        }
    )
    cells = rising.assign(
        **{
            name: rising[name].map("{:,.0f}".format).str.replace(",", ".")
            for name in rising.columns[1:]
        }
    )
    assert_bars(read(cells.to_csv(index=False, sep=";"))["AAPL"], rising)
    assert_bars(read(cells.to_csv(index=False, sep=","))["AAPL"], rising)


def test_prices_with_a_sign_of_money_and_volumes_in_millions(read):
    cells = A.assign(
        **{name: A[name].map("${:,.2f}".format) for name in ("open", "high", "low", "close")},
        volume=(A["volume"] / 1e6).map("{:.4f}M".format),
    )
    assert_bars(read(cells.to_csv(index=False))["AAPL"], A)
