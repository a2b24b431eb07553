"""How numbers and foreign text are shown, wherever they land.

A ticker, a column name or a model's name may come from anybody's file. On a terminal its control
characters would move the cursor, set the title or swap letters; in a spreadsheet its first character
may start a formula. Numbers are shown with the digits that tell them apart, whatever their size.
"""

import re
import unicodedata
from collections.abc import Callable
from datetime import date
from math import floor, isinf, isnan, log10
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0") | {
    chr(code) for code in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
}
"""Letters and marks of no width or ink, which Unicode does not class as format characters."""

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""What starts a formula in a spreadsheet; the last four in East Asian editions."""

_DECIMALS = re.compile(r"([+,]*)\.(\d+)([f%])")

MONEY = 10.0
"""Prices from here on are shown with two decimals, as money is."""

MOST_DECIMALS = 15
"""What would take more is shown as a power of ten."""


def printable(text: str) -> str:
    r"""Return a text with each character that does not show, or moves others, as its escape.

    An escape character becomes ``\x1b``, a line break ``\n``, a right-to-left override ``\u202e`` and
    a zero-width space ``\u200b``.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _shows(c) else c.encode("unicode_escape").decode() for c in text)


def _shows(character: str) -> bool:
    if character in _BLANK:
        return False
    return character.isprintable() or unicodedata.category(character) == "Zs"


def spreadsheet_cell(text: str) -> str:
    """Return a printable text as a cell that is no formula; :func:`cell_text` takes it back."""
    cell = printable(text)
    return f"'{cell}" if cell.lstrip("'").lstrip().startswith(_FORMULA) else cell


def cell_text(cell: str) -> str:
    """Return the text of a cell of a spreadsheet, without the apostrophe that kept it one."""
    return cell[1:] if cell[:1] == "'" and spreadsheet_cell(cell[1:]) == cell else cell


def write_csv(frame: "pd.DataFrame", path: Path) -> None:
    """Write a frame as CSV that a spreadsheet can open without running any of it."""
    words = frame.select_dtypes(["object", "string", "category"])
    cells = {str(name): _changed(column, spreadsheet_cell) for name, column in words.items()}
    headings = [spreadsheet_cell(str(name)) for name in frame]
    frame.assign(**cells).set_axis(headings, axis=1).to_csv(path, index=False)


def cell_texts(column: "pd.Series") -> "pd.Series":
    """Return a column of CSV as :func:`write_csv` was given it."""
    return _changed(column, cell_text)


def _changed(column: "pd.Series", change: Callable[[str], str]) -> "pd.Series":
    texts = [value for value in column.unique() if isinstance(value, str)]
    new = {text: other for text in texts if (other := change(text)) != text}
    return column.map(lambda value: new.get(value, value)) if new else column


def announcement(day: date, time: str | None) -> str:
    """Return when an announcement is due, in words.

    >>> announcement(date(2020, 1, 30), "post"), announcement(date(2020, 2, 4), None)
    ('Thu 30 Jan after the close', 'Tue 4 Feb')
    """
    when = {"pre": " before the open", "post": " after the close"}.get(time or "", "")
    return f"{day:%a} {day.day} {day:%b}{when}"


def number(value: float, spec: str, *, digits: int = 1) -> str:
    """Return a number in a format, with more decimals where it takes more to show its first digits.

    >>> number(12.3456, ".2f"), number(0.0001234, ".2f"), number(0.0001234, ".2%", digits=3)
    ('12.35', '0.0001', '0.0123%')
    """
    if isnan(value):
        return "–"
    parts = _DECIMALS.fullmatch(spec)
    if parts is None or value == 0 or isinf(value):
        return format(value, spec)
    flags, least, kind = parts.groups()
    places = max(int(least), _places(100 * value if kind == "%" else value, digits))
    if places > MOST_DECIMALS:
        return f"{value:.{digits - 1}e}"
    return format(value, f"{flags}.{places}{kind}")


def price(value: float, *, beside: float | None = None) -> str:
    """Return a price: with two decimals from ten on, as money has, and with five digits below.

    Prices that are compared have as many decimals as the one that they stand ``beside``.

    >>> price(1418.3), price(1.08345), price(0.00001234), price(10.1, beside=9.8)
    ('1,418.30', '1.0835', '0.000012340', '10.1000')
    """
    reference = value if beside is None else beside
    small = 0 < abs(reference) < MONEY
    return number(value, f",.{_places(reference, 5) if small else 2}f", digits=3)


def _places(value: float, digits: int) -> int:
    """Return the decimals that show so many significant digits."""
    return max(0, digits - 1 - floor(log10(abs(value))))
