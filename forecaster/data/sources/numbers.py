"""Numbers as people write them: ``1,234.5``, ``1.234,5``, ``1 234,5``, ``$1.2M``, ``12.3万``.

A table has one decimal mark. A number that can be read in one way only proves it (``99.59``,
``1,234.5``), and so do prices that would otherwise leap a thousandfold from row to row. Of ``1.021``
alone nobody can say whether it is about one or about a thousand.
"""

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from forecaster.errors import SourceError

MARKS: Mapping[str, str] = {"point": ".", "comma": ","}

MISSING = (
    *("", "-", "--", "–", "—", ".", "na", "NA", "n/a", "N/A", "n.a.", "#N/A", "nd", "n.d."),
    *("nan", "NaN", "NAN", "null", "NULL", "Null", "None", "none", "NaT", "<NA>"),
)
"""Cells without a number."""
_NOTHING = pa.array(MISSING)

SUFFIXES: Mapping[str, float] = (
    {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
    | dict.fromkeys("万萬만", 1e4)
    | dict.fromkeys("亿億억", 1e8)
)
_LETTERS = pa.array(["", *SUFFIXES])
_FACTORS = pa.array([1.0, *SUFFIXES.values()])
_MONEY = r"US\$|[ACHRS]{1,2}\$|NT\$|zł|Kč|kr|[$€£¥₹₩₽₺₪฿₫₴元円원￥]"
_BLANK = " \u00a0\u202f"
_CELL = (
    rf"^(?P<sign>[+\-−]?)(?P<before>{_MONEY})?[{_BLANK}]*"
    rf"(?P<number>[0-9.,'’{_BLANK}]*[0-9][.,]?(?:[eE][+\-]?[0-9]+)?)"
    rf"[{_BLANK}]*(?P<suffix>[{''.join(SUFFIXES)}{''.join(SUFFIXES).upper()}])?"
    rf"[{_BLANK}]*(?P<after>{_MONEY}|[A-Z]{{3}})?$"
)
_LOOKS = re.compile(_CELL)
# Of a number without its signs: D is the decimal mark, T the mark between thousands.
_EDGE = "[^0-9.,]*"
_SURE = (
    r"(?:0?D[0-9]+|[0-9]+D(?:[0-9]{0,2}|[0-9]{4,})|[0-9]{4,}D[0-9]*|[0-9]*D[0-9]*[eE].*"
    r"|[0-9](?:[0-9]|T)*T[0-9]{3}D[0-9]*|[0-9]{1,3}T(?:[0-9]{2,3}T)+[0-9]{3})"
)
_EITHER = "[1-9][0-9]{0,2}D[0-9]{3}"
_WELL_FORMED = (
    "^(?:[0-9]{1,3}(?:T[0-9]{3})+|[0-9]{1,2}(?:T[0-9]{2})+T[0-9]{3}|[0-9]*)(?:D[0-9]*)?"
    r"(?:[eE][+\-]?[0-9]+)?$"
)
_SAMPLE = 1000
_LEAP = np.log(20.0)
"""No price moves by so much from one row to the next."""


def looks_like(cell: str) -> bool:
    """Return whether a cell may be a number."""
    return bool(_LOOKS.match(cell))


def decimal_mark(prices: pd.DataFrame, others: pd.DataFrame, delimiter: str, where: object) -> str:
    """Return the decimal mark of a table's numbers, ``.`` or ``,``.

    Parameters
    ----------
    prices, others : the columns of prices, and those of volumes and actions.
    delimiter : of the cells. A comma between them is seldom the decimal mark as well.
    where : the file, for the message.

    Raises
    ------
    SourceError
        The numbers can be read in two ways.
    """
    texts, beside = _texts(prices), _texts(others)
    for rows in (_SAMPLE, max(len(prices), 1)):
        text = _text([text[:rows] for text in (*texts, *beside)])
        point, comma = (_count(text, _SURE, mark) for mark in (".", ","))
        if point > 10 * comma or comma > 10 * point:
            return "." if point > comma else ","
        if point or comma:
            raise SourceError(
                f"{where} has numbers with decimal points and others with decimal commas "
                f"({point} and {comma}); write all of them in one way"
            )
        if rows >= len(prices):
            break
    return _doubtful(texts, beside, delimiter, where)


def parse(cells: pd.DataFrame, mark: str = ".") -> pd.DataFrame:
    """Return columns as float64; one with cells that are no numbers as objects, with these as text."""
    texts = _texts(cells)
    try:
        whole = list(_decimal(_text(texts), mark).reshape(len(texts), len(cells)))
        unread = [np.zeros(len(cells), dtype=bool)] * len(texts)
    except pa.ArrowInvalid:
        whole = [_column(text, mark) for text in texts]
        unread = [
            np.isnan(values) & pc.is_valid(_text([text])).to_numpy(zero_copy_only=False)
            for values, text in zip(whole, texts, strict=True)
        ]
    columns = {}
    for place, column in cells.items():
        if _is_number(column):
            columns[place] = pd.Series(column.to_numpy("float64", na_value=np.nan), cells.index)
            continue
        values, bad = pd.Series(whole.pop(0), cells.index), unread.pop(0)
        columns[place] = (
            values.astype(object).where(~bad, column.astype(object)) if bad.any() else values
        )
    return pd.DataFrame(columns, cells.index)


def _is_number(cells: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_bool_dtype(cells)


def _texts(cells: pd.DataFrame) -> list[pa.Array]:
    """The cells of each column of text; null where there is no number."""
    texts = []
    for place in range(cells.shape[1]):
        column = cells.iloc[:, place]
        if not _is_number(column):
            if column.dtype == object:
                column = column.where(column.isna(), column.map(str))
            text = pa.array(column, type=pa.string(), from_pandas=True)
            texts.append(text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text)
    return texts


def _text(texts: list[pa.Array]) -> pa.Array:
    """All cells below one another, without those that say that there is no number."""
    text = pa.concat_arrays(texts) if texts else pa.array([], pa.string())
    return pc.if_else(pc.is_in(text, _NOTHING), pa.scalar(None, pa.string()), text)


def _decimal(text: pa.Array, mark: str) -> np.ndarray:
    if mark == ",":
        if pc.any(pc.match_substring(text, ".")).as_py():
            raise pa.ArrowInvalid("points that are no decimal ones")
        text = pc.replace_substring(text, ",", ".")
    values: np.ndarray = pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False)
    return values


def _column(text: pa.Array, mark: str) -> np.ndarray:
    """The numbers (n,) of a column, NaN where a cell is missing or none."""
    text = _text([text])
    try:
        return _decimal(text, mark)
    except pa.ArrowInvalid:
        return _written_out(text, mark)


def _written_out(text: pa.Array, mark: str) -> np.ndarray:
    """The numbers (n,) of cells with signs, groups and suffixes, NaN where there is none."""
    parts = pc.extract_regex(text, _CELL)
    sign, before, number, suffix, after = (
        pc.struct_field(parts, name) for name in ("sign", "before", "number", "suffix", "after")
    )
    plain = pc.replace_substring_regex(number, f"['’{_BLANK}]", "_")
    readable = pc.match_substring_regex(plain, _with(_WELL_FORMED, mark, blank="_"))
    readable = pc.and_(readable, _is_common(pc.binary_join_element_wise(before, after, "|")))
    digits = pc.replace_substring_regex(plain, f"[^0-9eE+{mark}-]", "")
    digits = pc.replace_substring(digits, mark, ".")
    digits = pc.if_else(pc.fill_null(readable, False), digits, pa.scalar(None, pa.string()))
    factors = pc.take(_FACTORS, pc.index_in(pc.utf8_lower(suffix), _LETTERS))
    values = pc.multiply(pc.cast(digits, pa.float64()), factors)
    minus = pc.is_in(sign, pa.array(["-", "−"]))
    signed: np.ndarray = pc.if_else(minus, pc.negate(values), values).to_numpy(zero_copy_only=False)
    return signed


def _is_common(money: pa.Array) -> pa.Array:
    """Whether each cell is in the currency of most, of which there is a sign or none."""
    counts = pc.value_counts(money.drop_null()).to_pylist()
    most = max(counts, key=lambda it: (it["counts"], it["values"] == "|"), default={"values": ""})
    return pc.fill_null(pc.equal(money, pa.scalar(most["values"], pa.string())), False)


def _with(pattern: str, mark: str, blank: str = "") -> str:
    """A pattern of a decimal mark, and of the other mark or a blank between thousands."""
    return pattern.replace("T", f"[{',.'[mark == ',']}{blank}]").replace("D", f"[{mark}]")


def _count(text: pa.Array, pattern: str, mark: str) -> int:
    """How many cells (n,) are numbers of a pattern."""
    whole = f"^{_EDGE}{_with(pattern, mark)}{_EDGE}$"
    return int(pc.sum(pc.match_substring_regex(text, whole)).as_py() or 0)


def _doubtful(texts: list[pa.Array], beside: list[pa.Array], delimiter: str, where: object) -> str:
    """The decimal mark of a table in which no number proves it."""
    points, commas = (_count(_text(texts), _EITHER, mark) for mark in (".", ","))
    if points or commas:
        leaps = [sum(_leaps(text, mark) for text in texts) for mark in (".", ",")]
        if min(leaps) == 0 < max(leaps):
            return ".,"[leaps[0] > 0]
    if not commas and (delimiter != ";" or not (points or _count(_text(beside), _EITHER, "."))):
        return "."  # what commas there are stand between the thousands of whole numbers
    both = _text([*texts, *beside])
    cell = both.filter(pc.fill_null(pc.match_substring_regex(both, "[.,]"), False))[0].as_py()
    raise SourceError(
        f"{where}: cannot tell whether {cell} is about {re.split('[.,]', cell)[0]} or a thousand times "
        'that; say `decimal="point"` or `decimal="comma"`'
    )


def _leaps(text: pa.Array, mark: str) -> int:
    """How often a column (n,) changes too much from row to row, read with a decimal mark."""
    values = _written_out(text, mark)
    with np.errstate(all="ignore"):
        return int((np.abs(np.diff(np.log(values[values > 0]))) > _LEAP).sum())
