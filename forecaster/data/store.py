"""Prices on disk: one Parquet file a ticker, each replaced whole or not at all."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from forecaster import atomic
from forecaster.data import filenames, footers, mends, prices, sealed, splicing
from forecaster.data.filenames import filename
from forecaster.errors import StoreError, did_you_mean, first_few

RECENT = 250
"""Rows of a history that a write gives back, for a look at how it moves."""

AHEAD = 64
"""Tickers that are read at once."""

_MENDS = b"forecaster.mends"
_SCHEMA = pa.schema(
    [("ticker", pa.string()), ("date", pa.timestamp("us"))]
    + [(column, pa.float64()) for column in prices.COLUMNS[2:-1]]
    + [("volume", pa.int64())]
    + [(column, pa.float64()) for column in prices.ACTIONS]
)
_ENCODINGS = {
    "date": "DELTA_BINARY_PACKED",
    **dict.fromkeys(prices.COLUMNS[2:-1], "BYTE_STREAM_SPLIT"),
    "volume": "DELTA_BINARY_PACKED",
}
# In memory volumes are null where unknown, which numpy has for floats alone.
_READ = _SCHEMA.set(_SCHEMA.get_field_index("volume"), pa.field("volume", pa.float64()))


@dataclass(frozen=True)
class Saved:
    """What a write left in the store for one ticker."""

    ticker: str
    rows: int
    new_rows: int
    """Those whose date was not stored before; all of them after a refresh."""
    first: pd.Timestamp
    last: pd.Timestamp
    replaced: bool
    """Whether another history was stored, and gave way to this one."""
    recent: pd.DataFrame = field(compare=False, repr=False)
    """Dates and adjusted closes of the last ``RECENT`` rows."""


@dataclass(frozen=True)
class TickerState:
    """What is stored of one ticker, told without reading its prices."""

    ticker: str
    first: pd.Timestamp
    last: pd.Timestamp
    rows: int
    source: str
    fetched_at: pd.Timestamp
    """In UTC."""
    notes: Mapping[str, str]
    """What the source said of the instrument, such as its currency and time zone."""


class Store:
    """The prices kept in a home folder; a folder that does not exist is an empty store."""

    def __init__(self, home: Path):
        self.folder = Path(home) / "prices"

    def tickers(self) -> list[str]:
        """What is stored, sorted."""
        return filenames.tickers(self.folder)

    def write(
        self,
        frame: pd.DataFrame,
        *,
        source: str,
        refresh: bool = False,
        whole: bool = False,
        notes: Mapping[str, str] | None = None,
        mended: pd.DataFrame | None = None,
    ) -> list[Saved]:
        """Adds prices to what is stored of their tickers.

        New rows join the stored ones where the two agree on the dates they share: new values take
        the place of old ones, and what is missing in one is taken from the other. Where they do not
        agree, the new ones take the place of all only if they are the whole history. See
        :mod:`forecaster.data.splicing`.

        Parameters
        ----------
        frame
            A prices frame of any number of tickers, with ``dividends`` and ``splits`` where the
            source has them. Volumes are kept as whole numbers.
        source
            Where it comes from, to be kept with it.
        refresh
            Replace what is stored, whatever it is.
        whole
            These are the whole histories, as prices that cover all the stored dates always are.
        notes
            What the source says of the instruments, to be kept with it.
        mended
            What cleaning changed in the frame (:data:`forecaster.data.mends.MENDS`), to be kept
            with it.

        Raises
        ------
        PricesError
            The frame breaks a rule of the prices frame.
        HistoryChangedError
            The new prices contradict the stored ones or leave a gap after or before them. The
            ticker is then stored as before; fetch its whole history.
        StoreError
            The whole history is suspiciously shorter than the stored one, or the folder cannot be
            written. The ticker is then stored as before.
        """
        record = mends.no_mends() if mended is None else mended
        saved = []
        for new in prices.by_ticker(prices.check(frame, actions=True)):
            ticker = str(new["ticker"].iloc[0])
            its = record[record["ticker"] == ticker] if len(record) else record
            saved.append(self._write(ticker, new, its, source, refresh, whole, dict(notes or {})))
        return saved

    def read(
        self,
        tickers: Sequence[str] | None = None,
        *,
        columns: Sequence[str] = prices.COLUMNS,
        start: date | None = None,
        end: date | None = None,
    ) -> pd.DataFrame:
        """The prices frame of some tickers, or of all that are stored.

        Parameters
        ----------
        columns
            Which of the columns of the prices frame and ``dividends`` and ``splits``.
        start, end
            The first and the last date. Not for models: what they say of a session depends on all
            that came before it.

        Raises
        ------
        StoreError
            A ticker is not stored, or its file is damaged.
        """
        self.require(tickers or ())
        wanted = sorted(set(self.tickers() if tickers is None else tickers))
        with ThreadPoolExecutor() as pool:

            def joined(some: list[str]) -> pa.Table:
                tables = pool.map(lambda it: self._table(it, columns, start, end), some)
                return pa.concat_tables(list(tables)).combine_chunks()

            # In large pieces, which go back to the system as soon as they are converted; no name
            # may hold them until then.
            frame: pd.DataFrame = pa.concat_tables(
                [joined(wanted[i : i + AHEAD]) for i in range(0, len(wanted), AHEAD)]
            ).to_pandas(split_blocks=True, self_destruct=True)
            return frame

    def each(
        self, tickers: Sequence[str], notes: dict[str, Mapping[str, str]] | None = None
    ) -> Iterator[pd.DataFrame]:
        """The prices frame of one ticker after the other, sorted, so that few are in memory at a time.

        Parameters
        ----------
        notes
            Gets what the source said of each, as :attr:`TickerState.notes` has it.

        Raises
        ------
        StoreError
            As :meth:`read` does.
        """
        self.require(tickers)
        wanted = sorted(set(tickers))
        with ThreadPoolExecutor() as pool:
            for begin in range(0, len(wanted), AHEAD):
                some = wanted[begin : begin + AHEAD]
                tables = list(
                    pool.map(lambda it: self._table(it, prices.COLUMNS, notes=notes), some)
                )
                ends = np.cumsum([len(table) for table in tables])
                frame = pa.concat_tables(tables).to_pandas(split_blocks=True)
                yield from (
                    frame.iloc[end - len(table) : end]
                    for end, table in zip(ends, tables, strict=True)
                )

    def state(self, ticker: str) -> TickerState | None:
        """What is stored of a ticker; None if nothing is.

        Raises
        ------
        StoreError
            The file is damaged.
        """
        footer = footers.of_prices(self._path(ticker), ticker)
        return footer and TickerState(
            ticker,
            first=pd.Timestamp(footer.first),
            last=pd.Timestamp(footer.last),
            rows=footer.rows,
            source=footer.source,
            fetched_at=pd.Timestamp(footer.fetched_at),
            notes=footer.notes,
        )

    def mends(self, ticker: str) -> pd.DataFrame:
        """Return what cleaning changed in the stored prices of a ticker, a row for each value.

        Returns
        -------
        The columns of :data:`forecaster.data.mends.MENDS`; no rows where nothing was mended, or the
        prices were stored by a version that kept no record.

        Raises
        ------
        StoreError
            The ticker is not stored, or its file is damaged.
        """
        self.require([ticker])
        path = self._path(ticker)
        with sealed.opened(path, ticker, footers.PRICES, footers.UNSEALED_PRICES) as (file, _):
            letters = file.metadata.metadata.get(_MENDS)
            return mends.unpacked(letters, ticker) if letters else mends.no_mends()

    def require(self, wanted: Sequence[str]) -> None:
        """StoreError, with the nearest names, if a ticker is not stored or nothing is."""
        stored = self.tickers()
        if not stored:
            raise StoreError(
                f"no prices are stored in {self.folder}; `forecast fetch` gets some, "
                "or name another `home`"
            )
        known = set(stored)
        missing = [ticker for ticker in wanted if ticker not in known]
        if not missing:
            return
        raise StoreError(
            f"{_not_stored(missing, stored)}. Get more with: forecast fetch {' '.join(missing[:5])}"
        )

    def remove(self, tickers: Sequence[str]) -> None:
        """Removes what is stored of some tickers; StoreError, and nothing removed, if one is not."""
        stored = self.tickers()
        if missing := [ticker for ticker in tickers if ticker not in stored]:
            raise StoreError(_not_stored(missing, stored))
        for ticker in tickers:
            sealed.remove(self._path(ticker))

    def _path(self, ticker: str) -> Path:
        return self.folder / filename(ticker)

    def _write(
        self,
        ticker: str,
        new: pd.DataFrame,
        mended: pd.DataFrame,
        source: str,
        refresh: bool,
        whole: bool,
        notes: dict[str, str],
    ) -> Saved:
        path = self._path(ticker)
        with atomic.locked(path):
            known, merged, replaced = None, new, False
            state = None if refresh else self.state(ticker)
            if state:
                new = new.reindex(columns=_SCHEMA.names)
                old = prices.check(self._table(ticker, _SCHEMA.names).to_pandas(), actions=True)
                known = old["date"]
                merged, replaced = splicing.joined(old, new, state.notes, notes, whole)
                notes = {**state.notes, **notes}
                if not replaced:
                    mended = mends.joined(self.mends(ticker), mended, new["date"])
            self._put(path, ticker, merged, mended, source, notes)
        return Saved(
            ticker,
            rows=len(merged),
            new_rows=len(merged) if known is None else int((~merged["date"].isin(known)).sum()),
            first=merged["date"].iloc[0],
            last=merged["date"].iloc[-1],
            replaced=replaced,
            recent=merged.iloc[-RECENT:][["date", "adj_close"]],
        )

    def _put(
        self,
        path: Path,
        ticker: str,
        frame: pd.DataFrame,
        mended: pd.DataFrame,
        source: str,
        notes: dict[str, str],
    ) -> None:
        note = {
            "format": footers.PRICES,
            "ticker": ticker,
            "source": source,
            "fetched_at": sealed.stamp(pd.Timestamp.now("UTC")),
            "notes": notes,
        }
        table = pa.table([_stored(frame, column) for column in _SCHEMA], schema=_SCHEMA)
        more = {_MENDS: mends.packed(mended)} if len(mended) else {}
        sealed.write(path, table, note, more, _ENCODINGS)

    def _table(
        self,
        ticker: str,
        columns: Sequence[str],
        start: date | None = None,
        end: date | None = None,
        notes: dict[str, Mapping[str, str]] | None = None,
    ) -> pa.Table:
        path, formats = self._path(ticker), (footers.PRICES, footers.UNSEALED_PRICES)
        with sealed.opened(path, ticker, *formats) as (file, note):
            if notes is not None:
                notes[ticker] = note.get("notes", {})
            table = file.read(columns=[*columns, "date"], use_threads=False)
            if note["format"] == 1:  # it had no actions
                for name in set(columns) - set(table.column_names):
                    table = table.append_column(name, pa.nulls(len(table), pa.float64()))
            table = _between(table, start, end).select(list(columns))
            schema = pa.schema([_READ.field(column) for column in columns])
            return table.cast(schema, safe=False)


def _stored(frame: pd.DataFrame, column: pa.Field) -> pa.Array:
    """A column (n,) as a file has it: null where it is NaN or missing, volumes in whole numbers."""
    if column.name not in frame:
        return pa.nulls(len(frame), column.type)
    if column.name == "ticker":
        return pa.array(frame["ticker"], column.type)
    values = frame[column.name].to_numpy()
    if column.name != "volume":
        return pa.array(values, column.type, from_pandas=True)
    unknown = np.isnan(values)
    return pa.array(np.where(unknown, 0, values).round().astype(np.int64), mask=unknown)


def _not_stored(missing: Sequence[str], stored: Sequence[str]) -> str:
    return (
        f"not stored: {first_few(missing)}; {did_you_mean(missing, stored)}stored are "
        f"{first_few(stored) or 'none'}"
    )


def _between(table: pa.Table, start: date | None, end: date | None) -> pa.Table:
    days = table["date"].to_numpy()
    first = days.searchsorted(np.datetime64(start)) if start else 0
    after = days.searchsorted(np.datetime64(end), side="right") if end else len(days)
    return table.slice(first, max(0, after - first))
