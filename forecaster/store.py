"""Prices on disk: one Parquet file a ticker, each replaced whole or not at all."""

import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from forecaster import calendars, disk, prices
from forecaster.errors import StoreError

# Arrow's own allocator keeps 30 MB for a next time that a short command never has.
pa.set_memory_pool(pa.system_memory_pool())

_EXTENSION = ".parquet"
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_^")
# Windows keeps these names for devices, whatever the extension.
_DEVICE = re.compile(r"CON|PRN|AUX|NUL|(COM|LPT)[0-9]")
_METADATA = b"forecaster"
_FORMAT = 1
_AGREE = 1e-5
_SCHEMA = pa.schema(
    [("ticker", pa.string()), ("date", pa.timestamp("us"))]
    + [(column, pa.float64()) for column in prices.COLUMNS[2:]]
)


@dataclass(frozen=True)
class Saved:
    """What a write left in the store for one ticker.

    ``new_rows`` are those whose date was not stored before; all of them after a refresh.
    """

    ticker: str
    rows: int
    new_rows: int
    first: pd.Timestamp
    last: pd.Timestamp


def filename(ticker: str) -> str:
    """The file name of a ticker, the same one and a safe one on every file system.

    Every UTF-8 byte but capitals, digits and ``-_^`` is percent-encoded, so that no two names
    differ by case alone and none leads out of the folder.
    """
    name = "".join(
        chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in ticker.encode("utf-8")
    )
    if _DEVICE.fullmatch(name):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    return name + _EXTENSION


def ticker_of(name: str) -> str:
    """The ticker whose file name is ``name``; of another name, something that leads not back."""
    return unquote(name.removesuffix(_EXTENSION))


class Store:
    """The prices kept in a home folder; a folder that does not exist is an empty store."""

    def __init__(self, home: Path):
        self.folder = Path(home) / "prices"

    def tickers(self) -> list[str]:
        """What is stored, sorted."""
        if not self.folder.is_dir():
            return []
        names = [path.name for path in self.folder.iterdir() if path.name[0] != "."]
        return sorted(ticker_of(name) for name in names if filename(ticker_of(name)) == name)

    def write(self, frame: pd.DataFrame, *, source: str, refresh: bool = False) -> list[Saved]:
        """Adds prices to what is stored of their tickers.

        New rows join the stored ones where the two agree on the dates they share, and take their
        place on these dates. Prices that cover all the stored dates take the place of them all.

        Parameters
        ----------
        frame
            A prices frame of any number of tickers.
        source
            Where it comes from, to be kept with it.
        refresh
            Replace what is stored, whatever it is.

        Raises
        ------
        PricesError
            The frame breaks a rule of the prices frame.
        StoreError
            The new prices contradict the stored ones or leave a gap after or before them, or the
            folder cannot be written. The ticker is then stored as before.
        """
        groups = prices.check(frame).groupby("ticker", sort=False)
        return [self._write(str(ticker), new, source, refresh) for ticker, new in groups]

    def read(self, tickers: Sequence[str] | None = None) -> pd.DataFrame:
        """The prices frame of some tickers, or of all that are stored.

        Raises
        ------
        StoreError
            A ticker is not stored, or its file is damaged.
        """
        stored = self.tickers()
        wanted = stored if tickers is None else list(dict.fromkeys(tickers))
        self.require(wanted)
        with ThreadPoolExecutor() as pool:
            tables = list(pool.map(self._table, wanted))
        return prices.check(
            pa.concat_tables(tables).to_pandas(split_blocks=True, self_destruct=True)
        )

    def inventory(self) -> pd.DataFrame:
        """What is stored: ``ticker, first, last, rows, source, fetched_at`` (in UTC).

        Raises
        ------
        StoreError
            A file is damaged.
        """
        rows = [self._summary(ticker) for ticker in self.tickers()]
        table = pd.DataFrame(
            rows, columns=["ticker", "first", "last", "rows", "source", "fetched_at"]
        )
        return table.astype(
            {
                "ticker": "str",
                "first": "datetime64[us]",
                "last": "datetime64[us]",
                "rows": "int64",
                "source": "str",
                "fetched_at": "datetime64[us, UTC]",
            }
        )

    def require(self, wanted: Sequence[str]) -> None:
        """StoreError, with the nearest names, if a ticker is not stored or nothing is."""
        stored = self.tickers()
        if not stored:
            raise StoreError(
                f"no prices are stored in {self.folder}; get some with: forecast fetch, "
                "or name another folder with --home"
            )
        missing = [ticker for ticker in wanted if ticker not in stored]
        if not missing:
            return
        near = [match for ticker in missing for match in _near(ticker, stored)]
        hint = f"did you mean {', '.join(dict.fromkeys(near))}? " if near else ""
        raise StoreError(
            f"not stored: {_listed(missing)}; {hint}stored are {_listed(stored)}. "
            f"Get more with: forecast fetch {' '.join(missing[:5])}"
        )

    def remove(self, tickers: Sequence[str]) -> None:
        """Removes what is stored of some tickers; StoreError, and nothing removed, if one is not."""
        self.require(tickers)
        for ticker in tickers:
            try:
                self._path(ticker).unlink(missing_ok=True)
            except OSError as error:
                raise StoreError(
                    f"cannot remove {self._path(ticker)}: {error.strerror}; "
                    "make the folder writable"
                ) from error

    def _path(self, ticker: str) -> Path:
        return self.folder / filename(ticker)

    def _write(self, ticker: str, new: pd.DataFrame, source: str, refresh: bool) -> Saved:
        path = self._path(ticker)
        known = pd.Series(dtype="datetime64[us]")
        merged = new
        if path.exists() and not refresh:
            old = prices.check(self._table(ticker).to_pandas())
            known = old["date"]
            merged = _merge(old, new)
        note = {
            "format": _FORMAT,
            "ticker": ticker,
            "source": source,
            "fetched_at": pd.Timestamp.now("UTC").strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        table = pa.Table.from_pandas(merged, schema=_SCHEMA, preserve_index=False)
        table = table.replace_schema_metadata({_METADATA: json.dumps(note)})
        with disk.replacing(path) as temporary:
            pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
        return Saved(
            ticker,
            rows=len(merged),
            new_rows=int((~merged["date"].isin(known)).sum()),
            first=merged["date"].iloc[0],
            last=merged["date"].iloc[-1],
        )

    def _table(self, ticker: str) -> pa.Table:
        path = self._path(ticker)
        with _explained(path):
            table = pq.read_table(
                path, use_threads=False, partitioning=None, page_checksum_verification=True
            )
            _note(table.schema.metadata, ticker)
            return table.cast(_SCHEMA)

    def _summary(self, ticker: str) -> tuple[Any, ...]:
        path = self._path(ticker)
        with _explained(path):
            footer = pq.read_metadata(path)
            note = _note(footer.metadata, ticker)
            column = prices.COLUMNS.index("date")
            first = footer.row_group(0).column(column).statistics.min
            last = footer.row_group(footer.num_row_groups - 1).column(column).statistics.max
            fetched_at = pd.Timestamp(note["fetched_at"])
            return ticker, first, last, footer.num_rows, note["source"], fetched_at


def _merge(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    ticker = new["ticker"].iloc[0]
    old_span = old["date"].iloc[0], old["date"].iloc[-1]
    new_span = new["date"].iloc[0], new["date"].iloc[-1]
    if new_span[0] <= old_span[0] and new_span[1] >= old_span[1]:
        return new
    both = old.merge(new, on="date", suffixes=("_old", "_new"))
    earlier, later = sorted([old_span, new_span])
    if both.empty and calendars.sessions_after(ticker, earlier[1], later[0]) > 1:
        raise StoreError(
            f"{ticker}: {_span(new_span)} was fetched and {_span(old_span)} is stored, and the "
            "sessions between are in neither; fetch an earlier --start or a later --end, "
            "or replace what is stored with --refresh"
        )
    for column in ("close", "adj_close"):
        before, after = both[f"{column}_old"], both[f"{column}_new"]
        differs = (np.abs(after / before - 1) > _AGREE).to_numpy()
        if differs.any():
            row = both[differs].iloc[0]
            raise StoreError(
                f"{ticker} {row['date']:%Y-%m-%d}: {column} is {row[f'{column}_new']:.6g} now and "
                f"{row[f'{column}_old']:.6g} in the store ({differs.sum()} of {len(both)} common "
                "dates differ); the history was adjusted, or is another one: fetch it all "
                "with --refresh to replace what is stored"
            )
    kept = old[~old["date"].isin(new["date"])]
    return pd.concat([kept, new]).sort_values("date", ignore_index=True)


def _note(metadata: dict[bytes, bytes] | None, ticker: str) -> dict[str, Any]:
    """The store's own note in a file, or ValueError where the file is not the store's."""
    if not metadata or _METADATA not in metadata:
        raise ValueError("it was not written by this program")
    note = json.loads(metadata[_METADATA])
    if note["format"] != _FORMAT:
        raise ValueError(f"its format is {note['format']}, and {_FORMAT} was expected")
    if note["ticker"] != ticker:
        raise ValueError(f"it holds {note['ticker']}, and its name is that of {ticker}")
    return note


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Names the file and the way out where a stored file cannot be read."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise StoreError(
            f"cannot read {path}: {reason}; replace it with: "
            f"forecast fetch {ticker_of(path.name)} --refresh"
        ) from error


def _near(ticker: str, stored: Sequence[str]) -> list[str]:
    by_capitals = {name.upper(): name for name in stored}
    return [by_capitals[match] for match in get_close_matches(ticker.upper(), by_capitals, n=2)]


def _listed(tickers: Sequence[str]) -> str:
    most = 8
    more = f" and {len(tickers) - most} more" if len(tickers) > most else ""
    return ", ".join(tickers[:most]) + more


def _span(span: tuple[pd.Timestamp, pd.Timestamp]) -> str:
    return f"{span[0]:%Y-%m-%d} to {span[1]:%Y-%m-%d}"
