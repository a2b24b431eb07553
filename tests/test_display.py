"""Foreign text is harmless wherever it lands, and numbers keep the digits that tell them apart."""

import csv
import doctest
import unicodedata

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster import display
from forecaster.display import number, price, printable

EVIL = (
    "\x1b]0;title\x07",
    "\x9b31m",
    "\u202egnp.exe",
    "zero\u200bwidth",
    "\ufeffmark",
    "a\nb",
    "a\rb",
    "\x7f",
    "\ud800",
    "\u2028",
    "\u3164",
    "\U000e0041tag",
)
texts = st.text(st.characters(exclude_categories=[])) | st.sampled_from(EVIL)


def test_examples_in_docstrings():
    assert doctest.testmod(display).failed == 0


@pytest.mark.parametrize("text", EVIL)
def test_what_commands_a_terminal_or_does_not_show_is_escaped(text):
    shown = printable(text)
    assert shown != text
    assert "\\" in shown
    assert all(unicodedata.category(it)[0] in "LMNPS" or it == " " for it in shown)


@pytest.mark.parametrize(
    "text", ["AAPL", "^GSPC", "BRK-B", "Ünïcode 株", "a b\u00a0c", "20–30 · −1%"]
)
def test_what_people_write_stays(text):
    assert printable(text) == text


@given(texts)
def test_a_printable_text_has_nothing_but_marks_on_paper(text):
    shown = printable(text)
    assert not {unicodedata.category(it) for it in shown} & {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}
    assert printable(shown) == shown


@given(st.lists(st.tuples(texts, st.sampled_from("=+-@＝ '\t")), min_size=1, max_size=20))
def test_no_cell_of_a_csv_is_a_formula_and_every_one_can_be_read_back(tmp_path_factory, words):
    tickers = [sign + text.encode("utf-8", "replace").decode() for text, sign in words]
    frame = pd.DataFrame({"ticker": tickers, "close": -1.5})
    path = tmp_path_factory.mktemp("csv") / "out.csv"
    display.write_csv(frame, path)
    with path.open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head == ["ticker", "close"]
    assert not [cell for cell, _ in rows if cell.strip()[:1] in ("=", "+", "-", "@", "＝")]
    assert {close for _, close in rows} == {"-1.5"}  # a number is no formula
    cells = pd.Series([cell for cell, _ in rows])
    assert display.cell_texts(cells).tolist() == list(map(printable, tickers))


def test_formulas_are_told_from_texts():
    assert display.spreadsheet_cell("=cmd()") == "'=cmd()"
    assert display.spreadsheet_cell("^GSPC") == "^GSPC"
    assert display.spreadsheet_cell("EURUSD=X") == "EURUSD=X"
    assert display.cell_text("'tis") == "'tis"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.000012345, "0.000012345"),  # SHIB
        (0.002, "0.0020000"),
        (1.08345, "1.0835"),
        (9.5, "9.5000"),
        (10.0, "10.00"),
        (45.678, "45.68"),
        (97_123.456, "97,123.46"),
        (1e-18, "1.00e-18"),
        (0.0, "0.00"),
        (float("nan"), "–"),
    ],
)
def test_prices(value, shown):
    assert price(value) == shown


def test_prices_beside_each_other_have_the_same_decimals():
    assert [price(it, beside=9.9) for it in (9.8, 10.1)] == ["9.8000", "10.1000"]
    assert [price(it, beside=10.0) for it in (9.8, 10.1)] == ["9.80", "10.10"]


@given(st.floats(1e-10, 1e9), st.floats(1.001, 1.1))
def test_prices_that_differ_by_a_thousandth_do_not_look_the_same(value, factor):
    assert price(value) != price(value * factor)


@given(st.floats(1e-9, 1e9), st.sampled_from([".2f", ".1%", ",.0f", "+.2f"]), st.integers(1, 4))
def test_a_number_is_never_shown_as_zero(value, spec, digits):
    shown = number(value, spec, digits=digits)
    seen = float(shown.replace(",", "").rstrip("%")) / (100 if shown.endswith("%") else 1)
    assert seen == pytest.approx(value, rel=0.51 * 10 ** (1 - digits))
