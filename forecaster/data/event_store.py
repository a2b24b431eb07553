"""Events on disk: one Parquet file a ticker beside its prices, each replaced whole or not at all.

The record is point-in-time: what a day was first seen at stays, and a day that was moved stays beside
the new one.
"""

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from forecaster import atomic
from forecaster.data import calendars, events, filenames, footers, sealed
from forecaster.errors import StoreError

_SCHEMA = pa.schema(
    [
        ("ticker", pa.string()),
        ("date", pa.timestamp("us")),
        ("kind", pa.string()),
        ("time", pa.string()),
        ("first_seen", pa.timestamp("us")),
    ]
)


@dataclass(frozen=True)
class SavedEvents:
    """What a write left in the store for one ticker."""

    ticker: str
    rows: int
    new_rows: int
    next: pd.Timestamp | None
    """The first day that is not over."""


@dataclass(frozen=True)
class EventState:
    """What is stored of the events of one ticker."""

    ticker: str
    rows: int
    first: pd.Timestamp | None
    last: pd.Timestamp | None
    next: pd.Timestamp | None
    """The first day that is not over."""
    source: str
    """The last one."""
    fetched_at: pd.Timestamp
    """In UTC."""
    asked_at: pd.Timestamp | None
    """When a source was last asked for all that it knows, in UTC; None if none ever was."""
    awaited: pd.Timestamp | None
    """The first day that was not over at ``asked_at``."""


class EventStore:
    """The events kept in a home folder; a folder that does not exist is an empty store."""

    def __init__(self, home: Path):
        self.folder = Path(home) / "events"

    def tickers(self) -> list[str]:
        """Those of whose events there is a record, sorted; it may say that there are none."""
        return filenames.tickers(self.folder)

    def read(self, tickers: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the events frame of some tickers, or of all; those without events are not in it.

        Raises
        ------
        StoreError
            A file is damaged.
        """
        stored = self.tickers()
        wanted = stored if tickers is None else sorted(set(tickers) & set(stored))
        with ThreadPoolExecutor() as pool:
            tables = [table for table, _ in pool.map(self._opened, wanted)]
        return events.check(pa.concat_tables(tables).to_pandas()) if tables else events.empty()

    def write(
        self,
        frame: pd.DataFrame,
        *,
        source: str,
        asked: Collection[str] = (),
        refresh: bool = False,
    ) -> list[SavedEvents]:
        """Add events to what is stored of their tickers.

        A stored day keeps its ``first_seen``, and takes the time of a new row that has one. A new day
        without ``first_seen`` is seen now if it is not over, or came to be known while a source was
        asked again and again; else it is history, and its ``first_seen`` stays null.

        Parameters
        ----------
        frame : an events frame of any number of tickers.
        source : where it comes from, to be kept with it.
        asked : tickers of which the source gave all that it knows, which may be nothing.
        refresh : replace a file that cannot be read.

        Raises
        ------
        EventsError
            The frame breaks a rule of the events frame.
        StoreError
            A stored file cannot be read, or the folder cannot be written.
        """
        tidy = events.check(frame)
        names = sorted({*tidy["ticker"], *asked})
        return [
            self._write(ticker, tidy[tidy["ticker"] == ticker], source, ticker in asked, refresh)
            for ticker in names
        ]

    def state(self, ticker: str) -> EventState | None:
        """Return what is stored of a ticker; None if nothing is, not even that there are no events.

        Raises
        ------
        StoreError
            The file is damaged.
        """
        footer = footers.of_events(self._path(ticker), ticker)
        if footer is None:
            return None
        days = pd.Series(footer.days, dtype="datetime64[us]")
        asked_at = pd.Timestamp(footer.asked_at) if footer.asked_at else None
        return EventState(
            ticker,
            rows=len(days),
            first=days.iloc[0] if len(days) else None,
            last=days.iloc[-1] if len(days) else None,
            next=_first_from(days, calendars.now()),
            source=footer.source,
            fetched_at=pd.Timestamp(footer.fetched_at),
            asked_at=asked_at,
            awaited=_first_from(days, asked_at) if asked_at else None,
        )

    def remove(self, tickers: Sequence[str]) -> None:
        """Remove what is stored of some tickers, where anything is."""
        stored = set(self.tickers())
        for ticker in tickers:
            if ticker in stored:
                sealed.remove(self._path(ticker))

    def _path(self, ticker: str) -> Path:
        return self.folder / filenames.filename(ticker)

    def _opened(self, ticker: str) -> tuple[pa.Table, dict[str, Any]]:
        with sealed.opened(self._path(ticker), ticker, footers.EVENTS) as (file, note):
            return file.read(use_threads=False).cast(_SCHEMA), note

    def _write(
        self, ticker: str, new: pd.DataFrame, source: str, asked: bool, refresh: bool
    ) -> SavedEvents:
        path, now = self._path(ticker), calendars.now()
        with atomic.locked(path):
            old, note = self._old(ticker, refresh)
            since = note.get("since", "") if asked else ""
            seen = _seen(new, now, pd.Timestamp(since) if since else None)
            rows = joined(old, seen, now)
            note |= {
                "format": footers.EVENTS,
                "ticker": ticker,
                "source": source,
                "fetched_at": sealed.stamp(now),
                "asked_at": sealed.stamp(now) if asked else note.get("asked_at", ""),
                "since": note.get("since") or (sealed.stamp(now) if asked else ""),
            }
            table = pa.Table.from_pandas(rows, schema=_SCHEMA, preserve_index=False, nthreads=1)
            sealed.write(path, table, note)
        return SavedEvents(ticker, len(rows), len(rows) - len(old), _first_from(rows["date"], now))

    def _old(self, ticker: str, refresh: bool) -> tuple[pd.DataFrame, dict[str, Any]]:
        """What is stored, and its note; nothing if nothing is, or it is to be replaced if damaged."""
        if self._path(ticker).exists():
            try:
                table, note = self._opened(ticker)
                return events.check(table.to_pandas()), note
            except StoreError:
                if not refresh:
                    raise
        return events.empty(), {}


def joined(old: pd.DataFrame, new: pd.DataFrame, now: pd.Timestamp) -> pd.DataFrame:
    """Return the events of two checked frames as one.

    Of a day in both, ``first_seen`` is that of the old one, and the time that of the new one, where
    it has one. But what was seen ahead stays as it was known: from the day itself on, its time does too.
    """
    if old.empty:
        return new
    record = old[old["first_seen"].notna() & (old["date"] <= now.tz_localize(None).normalize())]
    closed = pd.MultiIndex.from_frame(record[events.KEY])
    new = new[~pd.MultiIndex.from_frame(new[events.KEY]).isin(closed)]
    both = pd.concat([old.assign(age=0), new.assign(age=1)], ignore_index=True)
    both = both.sort_values([*events.KEY, "age"], kind="stable", ignore_index=True)
    times = both["time"].groupby([both[name] for name in events.KEY]).transform("last")
    first = ~both.duplicated(events.KEY)
    return events.typed(both.assign(time=times)[first])


def _seen(new: pd.DataFrame, now: pd.Timestamp, since: pd.Timestamp | None) -> pd.DataFrame:
    """The events with the instant at which those without one are seen, where it is this one."""
    instant, days = now.tz_convert("UTC").tz_localize(None).floor("s"), new["date"]
    current = days >= instant.normalize()
    if since is not None:
        current |= days >= since.tz_localize(None).normalize()
    return new.assign(
        first_seen=new["first_seen"].mask(new["first_seen"].isna() & current, instant)
    )


def _first_from(days: pd.Series, instant: pd.Timestamp) -> pd.Timestamp | None:
    """The first of sorted days (n,) that is not over at an instant with a time zone."""
    left = days[days >= instant.tz_localize(None).normalize()]
    return left.iloc[0] if len(left) else None
