"""What a home held at one moment, and the pages of that moment, each made once.

A request looks at most once a second whether files have changed. If so a new snapshot is made beside the
old one, which answers meanwhile: while ``forecast daily`` writes, a reader has the state of before or
of after, and nobody waits for long.
"""

import gzip
import logging
import os
import time
from collections.abc import Callable, Collection, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from math import isfinite
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import pandas as pd

from forecaster import atomic
from forecaster.backtesting import folders
from forecaster.data import calendars
from forecaster.data.event_store import EventStore
from forecaster.data.store import Store
from forecaster.errors import ForecastError
from forecaster.live import ledger, scoring, watchlist
from forecaster.live.watchlist import Announcement, Row
from forecaster.runs import choice
from forecaster.web.documents import Backtest

log = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between looks at the files."""
SHARE = 0.1
"""Of the time, the most that goes into new snapshots while files keep changing."""
WAIT = 0.1
"""Seconds that a request waits for a new snapshot, before it takes the old one."""
PATIENCE = 2.0
"""Seconds that a request waits for the running record."""
NOTHING = (
    "No forecast is recorded yet: `forecast daily`, once every evening, records one of each ticker."
)
PAGES = 2_000
"""Pages of a snapshot that are kept."""

Key = tuple[object, ...]


class Page(NamedTuple):
    """A page as it is sent."""

    type: str
    body: bytes
    gzipped: bytes


@dataclass(frozen=True, eq=False)
class Standing:
    """The running record, as :func:`forecaster.live.scoring.document` has it, and the ledger's head."""

    head: str | None
    score: dict[str, Any] | None
    problem: str | None
    """Why there is no score."""


class Snapshot:
    """What a home held at one moment."""

    def __init__(self, home: Path, now: pd.Timestamp):
        self.home, self.now = home, now
        self.problems: list[str] = []
        self.rows: dict[str, Row] = {}
        self.events: dict[str, list[Announcement]] = {}
        self._pages: dict[Hashable, Page] = {}
        self._lock = Lock()
        try:
            watched = watchlist.look(home, Store(home), EventStore(home), now)
            self.rows = {row.ticker: row for row in watched.rows}
            self.events = watched.events
        except ForecastError as error:
            self.problems.append(str(error))

    @cached_property
    def backtests(self) -> list[tuple[Backtest, Path]]:
        """The finished backtests and their folders, the last written first."""
        backtests = []
        for name, folder in folders.stored(self.home).items():
            written = folders.written_at(folder)
            if written is None:
                continue
            try:
                provenance = folders.read_provenance(folder)
            except ForecastError as error:
                log.debug("%s is passed over", name, exc_info=error)
                continue
            spec = provenance.spec
            has_report = atomic.read_folder(folder, lambda it: (it / "report.html").is_file())
            backtests.append(
                (
                    Backtest(
                        name,
                        list(provenance.models),
                        len(spec.tickers),
                        str(spec.start) if spec.start else None,
                        str(spec.end) if spec.end else None,
                        f"{datetime.fromtimestamp(written, UTC):%Y-%m-%dT%H:%M:%SZ}",
                        report_url(name) if has_report else None,
                    ),
                    folder,
                )
            )
        return sorted(backtests, key=lambda it: it[0].written, reverse=True)

    def page(self, name: Hashable, type_: str, make: Callable[[], str]) -> Page:
        """Return a page of this moment, made if nobody asked for it before."""
        page = self._pages.get(name)
        if page is None:
            with self._lock:  # a hundred who ask at once wait for one
                page = self._pages.get(name)
                if page is None:
                    body = make().encode()
                    page = Page(type_, body, gzip.compress(body, compresslevel=5, mtime=0))
                    if len(self._pages) < PAGES:
                        self._pages[name] = page
        return page


class Snapshots:
    """The newest snapshot of a home."""

    def __init__(self, home: Path):
        self.home = home
        self._key = key(home)
        self._newest, self._took = self._made()
        self._looked = time.monotonic()
        self._lock = Lock()
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="snapshot")
        self._making: Future[None] | None = None
        self._scorer = ThreadPoolExecutor(1, thread_name_prefix="scores")
        self._scoring: tuple[Key, Future[Standing]] | None = None
        self._standing: Standing | None = None

    def standing(self) -> Standing | None:
        """Return the running record, that of before while a new one takes long; None while there is none."""
        state = tuple(_stamps(self.home, folders=("runs", "backtests", "scores")))
        with self._lock:
            last = self._scoring
            if last is None or (last[0] != state and last[1].done()):
                last = self._scoring = state, self._scorer.submit(standing, self.home)
        try:
            self._standing = last[1].result(timeout=PATIENCE)
        except TimeoutError:
            log.debug("the record takes longer than %g s", PATIENCE)
        return self._standing

    def newest(self) -> Snapshot:
        """Return the newest; it may be as old as the last look, or as it takes to make another."""
        with self._lock:
            making = self._making
            if making is None and time.monotonic() - self._looked > max(LOOK, self._took / SHARE):
                making = self._making = self._maker.submit(self._look)
        if making is not None:
            try:
                making.result(timeout=WAIT)
            except TimeoutError:
                log.debug("the new snapshot takes longer than %g s", WAIT)
        return self._newest

    def _look(self) -> None:
        try:
            # The files first: what changes while they are read is seen at the next look.
            state = key(self.home)
            if state != self._key or _day(calendars.now()) != _day(self._newest.now):
                self._newest, self._took = self._made()
                self._key = state
        except Exception:  # a reader has the old one, and the next look tries again
            log.exception("the home cannot be looked at")
        finally:
            with self._lock:
                self._looked, self._making = time.monotonic(), None

    def _made(self) -> tuple[Snapshot, float]:
        begin = time.perf_counter()
        snapshot = Snapshot(self.home, calendars.now())
        return snapshot, time.perf_counter() - begin


def standing(home: Path) -> Standing:
    """Return the running record of a home."""
    try:
        head = ledger.head(home)
        if not head.rows:
            return Standing(None, None, NOTHING)
        record = scoring.record(home, scoring.choose(home))
        said = scoring.promise(home, record.run)
        return Standing(head.digest, _finite(scoring.document(record, said)), None)
    except ForecastError as error:
        return Standing(None, None, str(error))


def _finite(value: Any) -> Any:
    """Return a document as JSON can hold it: what is no number is null."""
    if isinstance(value, dict):
        return {name: _finite(it) for name, it in value.items()}
    if isinstance(value, list):
        return [_finite(it) for it in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def report_url(name: str) -> str:
    """Return where the report of a backtest is served."""
    from urllib.parse import quote

    return f"/backtests/{quote(name)}/report"


def key(home: Path) -> Key:
    """Return what changes with the files of a home that pages are made of."""
    return tuple(_stamps(home))


def _stamps(
    home: Path, folders: Collection[str] = ("prices", "events", "runs", "backtests", "scores")
) -> Iterator[tuple[str, int, int, int]]:
    for name in ("ledger.db", "ledger.db-wal", choice.FILE):
        yield from _stamp(name, home / name)
    for name in folders:
        try:
            with os.scandir(home / name) as entries:
                for entry in sorted(entries, key=lambda it: it.name):
                    if not entry.name.startswith("."):
                        yield from _stamp(f"{name}/{entry.name}", entry)
        except OSError:
            continue


def _stamp(name: str, path: "Path | os.DirEntry[str]") -> Iterator[tuple[str, int, int, int]]:
    try:
        status = path.stat()
    except OSError:
        return
    yield name, status.st_mtime_ns, status.st_size, status.st_ino


def _day(now: pd.Timestamp) -> object:
    return now.date()
