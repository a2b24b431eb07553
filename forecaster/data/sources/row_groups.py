"""Large Parquet files of many tickers, read some tickers at a time: memory does not grow with a market.

A first pass reads the file through, which shows that every page of it can be read, and notes where
the rows of each ticker are. Each later one reads the row groups that span some tickers: of a file
whose tickers come one after the other all passes together read it once, of one in the order of its
dates each pass reads the whole.

Whatever has to be seen whole to be understood is left to :mod:`~forecaster.data.sources.tables`: text
in place of numbers or dates, tables without a column of tickers, and tickers whose dates go neither
up nor down, as a date may then come twice.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from forecaster.data.sources import headings, layout, tables
from forecaster.data.sources.layout import Columns
from forecaster.data.sources.tables import Format, Table
from forecaster.display import cell_text
from forecaster.errors import ForecastError, SourceError, first_few, one_line

ROWS = 1 << 20
"""Rows that are in memory at a time, or those of one ticker if it has more."""

_BATCH = 1 << 16
"""Rows that are decoded at a time."""
_BUFFER = 1 << 20
"""Bytes of a column that are read at a time."""
_MAGIC = b"PAR1"


@dataclass(frozen=True)
class _Span:
    """Where the rows of a ticker are."""

    first: int
    """The first row group that has some."""
    last: int
    rows: int


@dataclass(frozen=True)
class RowGroups:
    """A file whose tickers can be read some at a time."""

    path: Path
    head: Table
    """Its first rows."""
    columns: Columns
    _spans: dict[str, _Span] = field(repr=False)

    @property
    def tickers(self) -> list[str]:
        """The tickers in the file, in the order in which they first come."""
        return list(self._spans)

    def parts(self, tickers: Sequence[str]) -> Iterator[list[str]]:
        """Yield tickers, in their order, as many at a time as have ``ROWS`` rows together."""
        part: list[str] = []
        rows = 0
        for ticker in tickers:
            own = self._spans[ticker].rows if ticker in self._spans else 0
            if part and rows + own > ROWS:
                yield part
                part, rows = [], 0
            part.append(ticker)
            rows += own
        if part:
            yield part

    def read(self, tickers: Collection[str]) -> Table | None:
        """Return the rows of some tickers, each under its number in the file; None if there are none.

        Raises
        ------
        SourceError
            The file is no longer what it was.
        """
        spans = [self._spans[ticker] for ticker in self._spans.keys() & tickers]
        if not spans:
            return None
        first, last = min(it.first for it in spans), max(it.last for it in spans)
        name, wanted = self.head.headings[0][self.columns.ticker or 0], pa.array(tickers)
        batches, numbers = [], []
        try:
            with _opened(self.path) as file:
                begin = _ends(file)[first - 1] if first else 0
                for batch in _batches(file, range(first, last + 1)):
                    there = pc.is_in(_text(batch[name]), wanted)
                    batches.append(batch.filter(there))
                    numbers.append(begin + np.flatnonzero(there) + 1)
                    begin += len(batch)
            table = tables.of_arrow(self.path, pa.Table.from_batches(batches))
            rows, known = len(table.cells), sum(it.rows for it in spans)
            if rows != known:
                raise ValueError(f"{first_few(tickers)} had {known:,} rows, and now {rows:,}")
        except (OSError, ValueError, LookupError, pa.ArrowException) as error:
            raise SourceError(
                f"{self.path} changed while it was read ({one_line(error)}); fetch again when it is whole"
            ) from error
        table.cells.index = pd.Index(np.concatenate(numbers))
        return table


def scan(path: Path, tickers: Sequence[str] | None, form: Format) -> RowGroups | None:
    """Return a file whose tickers can be read some at a time; None where it is to be read whole.

    What is wrong with a file is for those to say who read it whole.

    Parameters
    ----------
    tickers, form : as :func:`forecaster.data.sources.files.load` has them.
    """
    try:
        with path.open("rb") as bytes_of:
            if bytes_of.read(len(_MAGIC)) != _MAGIC:
                return None
        with _opened(path) as file:
            if file.metadata.num_rows <= ROWS:
                return None
            head = _head(path, file)
            columns = layout.assign(head, tickers, form)
            if not _are_plain(file.schema_arrow, head, columns):
                return None
            spans = _spans(file, head.headings[0], columns)
            return None if spans is None else RowGroups(path, head, columns, spans)
    except (OSError, ValueError, KeyError, ForecastError, pa.ArrowException):
        return None


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    with pq.ParquetFile(path, buffer_size=_BUFFER, page_checksum_verification=True) as file:
        yield file


def _batches(
    file: pq.ParquetFile, groups: Iterable[int], size: int = _BATCH
) -> Iterator[pa.RecordBatch]:
    for group in groups:  # what reads several holds on to the buffers of all
        yield from file.iter_batches(size, row_groups=[group], use_threads=False)


def _ends(file: pq.ParquetFile) -> np.ndarray:
    """The number of rows (groups,) up to the end of each row group."""
    counts = [file.metadata.row_group(it).num_rows for it in range(file.num_row_groups)]
    return np.cumsum(counts)


def _text(column: pa.Array) -> pa.Array:
    return column.cast(pa.string())


def _head(path: Path, file: pq.ParquetFile) -> Table:
    """As many of the first rows as show what the columns are."""
    batches, rows = [], 0
    for batch in _batches(file, range(file.num_row_groups), layout.LOOKED_AT):
        batches.append(batch)
        rows += len(batch)
        if rows >= layout.LOOKED_AT:
            break
    return tables.of_arrow(path, pa.Table.from_batches(batches))


def _are_plain(schema: pa.Schema, head: Table, columns: Columns) -> bool:
    """Whether a table is of tickers below one another, and each cell means the same without the others."""
    if len(head.headings) > 1 or columns.is_wide or columns.ticker is None:
        return False
    (names,) = head.headings
    fields = columns.series[""].values()
    used = [names[place] for place in (columns.date, columns.ticker, *fields)]
    # An index without a name has one in the file.
    if columns.time is not None or len(set(names)) < len(names) or not {*used} <= {*schema.names}:
        return False
    if headings.key(names[columns.ticker]) in headings.COUNTERS:
        return False

    def kind(place: int) -> pa.DataType:
        return schema.field(names[place]).type

    text, day = kind(columns.ticker), kind(columns.date)
    if pa.types.is_dictionary(text):
        text = text.value_type
    return (
        (pa.types.is_string(text) or pa.types.is_large_string(text))
        and (pa.types.is_date(day) or (pa.types.is_timestamp(day) and day.tz is None))
        and all(
            pa.types.is_integer(kind(place)) or pa.types.is_floating(kind(place))
            for place in fields
        )
    )


def _spans(file: pq.ParquetFile, names: list[str], columns: Columns) -> dict[str, _Span] | None:
    """Where the rows of each ticker are; None where the dates of some go neither up nor down."""
    places: dict[str, int] = {}
    first, last, counts, day = (np.empty(0, dtype=np.int64) for _ in range(4))
    rises = falls = True
    row, ends = 0, _ends(file)
    for batch in _batches(file, range(file.num_row_groups)):
        tickers = _text(batch[names[columns.ticker or 0]]).dictionary_encode()
        days = batch[names[columns.date]].cast(pa.timestamp("us"), safe=False)
        if tickers.null_count or days.null_count:
            return None
        place = np.array(
            [places.setdefault(it, len(places)) for it in tickers.dictionary.to_pylist()]
        )
        new = np.full(len(places) - len(first), -1)
        first, last, day = (np.append(it, new) for it in (first, last, day))
        counts = np.append(counts, new + 1)
        # The rows of the batch by ticker, each ticker's in the order of the file.
        codes = tickers.indices.to_numpy()
        order = np.argsort(codes, kind="stable")
        codes, instants = codes[order], days.cast(pa.int64()).to_numpy()[order]
        begins = np.searchsorted(codes, np.arange(len(place)))
        stops = np.append(begins[1:], len(codes)) - 1
        known = counts[place] > 0
        steps = np.append(
            np.diff(instants)[codes[1:] == codes[:-1]], (instants[begins] - day[place])[known]
        )
        rises, falls = rises and bool((steps > 0).all()), falls and bool((steps < 0).all())
        if not (rises or falls):
            return None
        groups = np.searchsorted(ends, row + order[[*begins, *stops]], side="right")
        first[place] = np.where(known, first[place], groups[: len(place)])
        last[place], day[place] = groups[len(place) :], instants[stops]
        counts[place] += stops - begins + 1
        row += len(batch)
    if any(cell_text(ticker) != ticker for ticker in places):
        return None
    spans = zip(first.tolist(), last.tolist(), counts.tolist(), strict=True)
    return {ticker: _Span(*it) for ticker, it in zip(places, spans, strict=True)}
