"""The table in a file: its headings and its cells, before anything is known of what they mean.

A CSV file is decoded (:mod:`forecaster.data.sources.encoding`), its delimiter is the one that cuts
most lines into as many cells, and its headings are the rows before the first one that has a date and
a number. Lines before the headings and notes below the rows are left out; a row that is cut short is
refused, as the file is then damaged.
"""

import csv
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from forecaster.data.sources import dates, encoding, headings, numbers
from forecaster.errors import SourceError, UsageError, first_few, one_line

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

_HEAD = 200
"""Lines that are read to know what the table looks like."""
_TAIL = 20
"""The most lines of notes below a table."""
_DELIMITERS = (",", ";", "\t", "|")
_SEPARATOR = re.compile(r"sep=(.)", re.IGNORECASE)
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\n|\r|$)")
# A date such as Jan 02, 2024 without quotes is no two cells.
_JOINED_DATE = re.compile(rb"(?m)^([A-Z][a-z]{2,8}\.? \d{1,2}), ?(\d{4}(?=,))")
_BLANKS = b"\x1a\0 \t\r\n"
_AGAIN = re.compile(r"\.\d+$")
_SENTENCE = 12
"""Letters that a note has at least; fewer may be the start of a row."""
_BLOCK = 1 << 22
"""Bytes, more than a row has."""


@dataclass(frozen=True)
class Format:
    """What a user says of a file that it leaves open."""

    columns: str | None = None
    """The columns in their order, ``date,open,high,low,close,volume``; ``-`` for one to leave out."""
    dates: str | None = None
    """The order of dates such as 03/01/2017: ``day-first``, ``month-first`` or ``year-first``."""
    decimal: str | None = None
    """The decimal mark: ``point`` or ``comma``."""

    def __post_init__(self) -> None:
        """Refuse words that are not known."""
        for name, known in (("dates", dates.ORDERS), ("decimal", numbers.MARKS)):
            given = getattr(self, name)
            if given is not None and given not in known:
                raise UsageError(f"`{name}` must be {' or '.join(known)}, got {given!r}")


@dataclass(frozen=True)
class Table:
    """A table as its file has it."""

    path: Path
    headings: list[list[str]]
    """The headings of the columns, row by row: none, one or two rows."""
    cells: pd.DataFrame
    """Columns 0, 1, …; text in a CSV file. The index counts the rows below the headings, from 1."""
    delimiter: str
    """Nothing in a Parquet file."""
    between: Sequence[str] = ()
    """Lines between the headings and the first row that are neither."""

    @property
    def places(self) -> range:
        """The places of the columns, 0, 1, …"""
        return range(self.cells.shape[1])

    def named(self) -> pd.DataFrame:
        """Return the cells under their headings, the last row of these.

        Raises
        ------
        SourceError
            The file has no headings.
        """
        if not self.headings:
            raise SourceError(
                f"{self.path} has no headings: its first row is {first_few(row_of(self.cells), 10)}; "
                "put a row of names above it"
            )
        return self.cells.set_axis(self.headings[-1], axis=1)


def read(path: Path) -> Table:
    """Return the table of a CSV or Parquet file.

    Raises
    ------
    SourceError
        There is no such file, or it is no table, or it is damaged.
    """
    if not path.exists():
        raise SourceError(
            f"there is no file {path}; give the path of a CSV or Parquet file, yahoo or sample"
        )
    if not path.is_file():
        raise SourceError(f"{path} is a folder; give the path of one CSV or Parquet file")
    try:
        table = _read(path)
    except SourceError:
        raise
    except Exception as error:  # each parser and each compression has errors of its own
        raise SourceError(
            f"cannot read {path} as a CSV (in UTF-8) or Parquet table: {one_line(error)}; save it as one"
        ) from error
    if table.cells.shape[1] < 2:
        raise SourceError(
            f"{path} is not a table: expected a column of dates and at least one of "
            f"numbers, found {table.cells.shape[1]}; give a CSV or Parquet file with both"
        )
    if table.cells.empty:
        raise SourceError(f"{path} has names of columns and no rows; give a file with rows")
    table.cells.index = pd.RangeIndex(1, len(table.cells) + 1)
    return table


def row_of(cells: pd.DataFrame) -> list[str]:
    """Return the first row as text for a message."""
    return ["" if pd.isna(cell) else _line_of(cell) for cell in cells.iloc[0]]


def _line_of(cell: object) -> str:
    """A cell as text without blanks around it, in one line."""
    return " ".join(str(cell).split())


def _read(path: Path) -> Table:
    raw = encoding.content(path)
    if not raw.strip():
        raise ValueError("it is empty, and holds no table")
    if raw.startswith(b"PAR1"):
        return _read_parquet(path, raw)
    text, name = encoding.decode(raw)
    return _read_text(path, text.encode(), name)


def _read_parquet(path: Path, raw: bytes) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    return of_arrow(path, pq.read_table(pa.BufferReader(raw), page_checksum_verification=True))


def of_arrow(path: Path, table: "pa.Table") -> Table:
    """Return the table that some rows of a Parquet file are."""
    import pyarrow as pa

    for at, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):  # a list or a record is no number, date or ticker
            texts = [None if it is None else str(it) for it in table.column(at).to_pylist()]
            table = table.set_column(at, field.name, pa.array(texts, pa.string()))
    frame = table.to_pandas()
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    if isinstance(frame.columns, pd.MultiIndex):
        rows = [[_line_of(cell) for cell in level] for level in zip(*frame.columns, strict=True)]
    else:
        rows = [[_line_of(name) for name in frame.columns]]
    return Table(path, rows, frame.set_axis(range(frame.shape[1]), axis=1), "")


@dataclass(frozen=True)
class _Line:
    """A line of a file: where it ends, and its cells."""

    end: int
    cells: list[str]


def _read_text(path: Path, raw: bytes, name: str) -> Table:
    raw = _JOINED_DATE.sub(rb"\1 \2", raw.rstrip(_BLANKS))
    if not raw:
        raise ValueError("it is empty, and holds no table")
    delimiter, lines = _lines(raw)
    if not lines:  # perhaps its columns are set apart by blanks
        raw = re.sub(rb"(?m)^ +", b"", raw)
        spaced = [re.sub(blanks, b"\t", raw) for blanks in (rb" {2,}", rb" +")]
        raw, (delimiter, lines) = max(
            ((text, _lines(text)) for text in spaced), key=lambda it: _evenness(it[1][1])
        )
    if not lines:
        raise SourceError(
            f"{path} is not a table: expected a column of dates and at least one of numbers, "
            "found lines without a comma, semicolon, tab or bar; give a CSV or Parquet file"
        )
    width = _width(lines)
    first = _first_row(lines, width)
    rows, skipped = _headings([line.cells for line in lines[:first]], lines[first:], width)
    begin = lines[first - 1].end if first else 0
    body, notes = _without_notes(path, raw[begin:], delimiter, width)
    log.info(
        "%s: %s, cells between %r, %s%s",
        path,
        name,
        delimiter,
        f"headings {' / '.join(first_few(row, 10) for row in rows)}" if rows else "no headings",
        f"; left out: {first_few([*skipped, *notes], 3)}" if skipped or notes else "",
    )
    above = [line.cells for line in lines[:first]]
    last = above.index(rows[-1]) if rows and rows[-1] in above else len(above)
    between = [delimiter.join(cells) for cells in above[last + 1 :] if any(cells)]
    return Table(path, rows, _cells(path, body, delimiter, width), delimiter, between)


def _lines(raw: bytes) -> tuple[str, list[_Line]]:
    """The delimiter of a text, and its first lines cut by it; no lines if nothing cuts them."""
    first = list(islice(_split(raw), _HEAD))
    stated = _SEPARATOR.fullmatch(first[0][0].strip()) if first else None
    cut = [
        (mark, [_Line(end, _cut(text, mark)) for text, end in first])
        for mark in ((stated[1],) if stated else _DELIMITERS)
    ]
    delimiter, lines = max(cut, key=lambda it: _evenness(it[1]))
    return delimiter, lines if _width(lines) > 1 else []


def _evenness(lines: Sequence[_Line]) -> tuple[int, int]:
    """How many lines have as many cells as most have, and how many cells those are."""
    width = _width(lines)
    return sum(len(line.cells) == width for line in lines if width > 1), width


def _split(raw: bytes) -> Iterator[tuple[str, int]]:
    """Each line that is not blank, and where it ends."""
    for line in _LINE.finditer(raw):
        if line[0].strip():
            yield line[0].decode(errors="replace").rstrip("\r\n"), line.end()


def _cut(line: str, delimiter: str) -> list[str]:
    cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    return [_line_of(cell) for cell in cells]


def _width(lines: Sequence[_Line]) -> int:
    """How many cells most lines have, of the longest such number."""
    counts = Counter(len(line.cells) for line in lines if len(line.cells) > 1)
    return max(counts, key=lambda width: (counts[width], width), default=0)


def _first_row(lines: Sequence[_Line], width: int) -> int:
    """The place of the first line below the headings: it has a date and otherwise numbers.

    Below a line of known headings a date or numbers are enough, so that a row with a fault is not
    lost among them. Without any such line, it is the one below the first that is whole.
    """
    headed = False
    for place, line in enumerate(lines):
        if len(line.cells) != width:
            continue
        others = [cell for cell in line.cells if not dates.looks_like(cell)]
        dated = len(others) < width
        counted = any(numbers.looks_like(cell) for cell in (others if dated else others[1:]))
        named = headings.field(line.cells[0]) not in ("ticker", "date")  # as rows of headings begin
        if (dated and (headed or counted)) or (headed and counted and named):
            return place
        headed |= sum(headings.field(cell) is not None for cell in line.cells if cell) > 1
    return 1 + next(place for place, line in enumerate(lines) if len(line.cells) == width)


def _headings(
    above: list[list[str]], below: Sequence[_Line], width: int
) -> tuple[list[list[str]], list[str]]:
    """The rows of headings, and the lines before them that are something else."""
    whole: list[list[str]] = []
    skipped: list[str] = []
    index = ""
    for row in above:
        if len(row) == width - 1 and below:  # R leaves out the heading of its row names
            row = [*row, ""] if all(line.cells[-1:] == [""] for line in below) else ["", *row]
        if whole and not whole[0][0] and row[0].isdecimal():
            row = ["", *row[1:]]  # the counter of a table that was saved twice
        filled = [cell for cell in row if cell]
        if len(row) == width and len(filled) > 1:
            whole.append(row)
        elif len(row) == width and filled and headings.field(filled[0]) == "date":
            index = filled[0]  # the name of an index, on a line of its own
        elif filled:
            skipped.append(" ".join(filled))
    known = [sum(headings.field(cell) is not None for cell in row if cell) for row in whole]
    levels = [[_unnumbered(row), lower] for row, lower in pairwise(whole)]
    levels = [pair for pair in levels if _are_levels(*pair)]
    if levels:
        rows = levels[-1]
    else:
        rows = whole[-1:] if not known or known[-1] else [whole[known.index(max(known))]]
    if index and rows:
        rows = [[index, *rows[0][1:]], *rows[1:]] if not rows[0][0] or len(rows) > 1 else rows
    skipped += [
        " ".join(filter(None, row)) for row in whole if row not in rows and row[1:] != rows[0][1:]
    ]
    return rows, skipped


def _unnumbered(row: list[str]) -> list[str]:
    """Headings without the numbers that pandas gives to those that come again: ``Close.1``."""
    bases = [_AGAIN.sub("", name) for name in row]
    return [base if base in row else name for base, name in zip(bases, row, strict=True)]


def _are_levels(upper: list[str], lower: list[str]) -> bool:
    """Whether two rows are the prices and the tickers of each column, in either order."""
    for prices, tickers in ((upper, lower), (lower, upper)):
        pairs = [
            (price, name) for price, name in zip(prices, tickers, strict=True) if price and name
        ]
        closes = {name for price, name in pairs if headings.field(price) in ("close", "adj_close")}
        if closes and closes == {name for _, name in pairs if headings.field(name) != "date"}:
            return True
    return False


def _without_notes(path: Path, body: bytes, delimiter: str, width: int) -> tuple[bytes, list[str]]:
    """The rows of a table, and the notes that stood below them.

    Raises
    ------
    SourceError
        The last row is cut short.
    """
    notes: list[str] = []
    if not body:
        return body, notes
    for _ in range(_TAIL):
        start = max(body.rfind(b"\n", 0, -1), body.rfind(b"\r", 0, -1)) + 1
        last = body[start:].decode(errors="replace")
        cells = _cut(last, delimiter)
        before = max(body.rfind(b"\n", 0, start - 1), body.rfind(b"\r", 0, start - 1)) + 1
        previous = body[before:start].decode(errors="replace")
        if not start or not _is_note(cells, _cut(previous, delimiter), width):
            break
        notes[:0] = filter(None, [" ".join(filter(None, cells))])
        body = body[:start].rstrip(_BLANKS)
    if len(cells) < width or last.count('"') % 2:
        raise SourceError(
            f"{path} ends in the middle of a row: its last line has {len(cells)} of {width} cells "
            f"({last.strip()[:60]!r}); get the whole file, or take that line away"
        )
    return body, notes


def _is_note(cells: list[str], previous: list[str], width: int) -> bool:
    """Whether the cells of a line are words about the table, rather than a row or the start of one."""
    filled = [cell for cell in cells if cell]
    if not filled:
        return True
    if any(dates.looks_like(cell) or numbers.looks_like(cell) for cell in filled):
        return False
    if len(cells) == width:
        return len(filled) == 1
    text = "".join(filled)
    begun = bool(previous) and previous[0].startswith(filled[0])
    return not begun and any(char.isalpha() for char in text) and len(text) >= _SENTENCE


def _cells(path: Path, body: bytes, delimiter: str, width: int) -> pd.DataFrame:
    """The cells of all rows, as text without blanks around it.

    Raises
    ------
    SourceError
        A row has more cells than others, or fewer.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv as reader

    if not body:
        return pd.DataFrame(columns=range(width))
    uneven: list[reader.InvalidRow] = []

    def note(row: reader.InvalidRow) -> str:
        if not row.text.strip():
            return "skip"
        uneven.append(row)
        return "error"

    names = [str(place) for place in range(width)]
    spaced = f'{delimiter} "'.encode()
    try:
        table = reader.read_csv(
            pa.BufferReader(
                body.replace(spaced, spaced.replace(b" ", b"")) if spaced in body else body
            ),
            read_options=reader.ReadOptions(
                use_threads=len(body) > _BLOCK, column_names=names, block_size=_BLOCK
            ),
            parse_options=reader.ParseOptions(delimiter=delimiter, invalid_row_handler=note),
            convert_options=reader.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        if not uneven:
            raise
        row = uneven[0]
        raise SourceError(
            f"{path} has {row.expected_columns} columns and {row.actual_columns} cells in the row "
            f"{row.text[:60]!r}; a cell that holds {delimiter!r} must stand in quotes"
        ) from None
    columns = [pc.utf8_trim_whitespace(column) for column in table.columns]
    frame: pd.DataFrame = pa.table(columns, names=names).to_pandas()
    frame.columns = pd.RangeIndex(width)
    blank = frame[0] == ""
    if blank.any():
        frame = frame[~(blank & (frame == "").all(axis=1))]
    return frame
