"""Fetching of events: from Yahoo what is due of each ticker, from a file all that it has.

Companies announce some weeks ahead and seldom change their minds, so a ticker is asked for once a week,
and when a day that was to come has passed. Prices never wait for events, nor fail with them.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool

import pandas as pd

from forecaster.data import calendars, capitals, trading_days
from forecaster.data.event_store import EventState, EventStore
from forecaster.data.exchanges import CRYPTO, CURRENCIES, FUTURES, exchange, has_calendar
from forecaster.data.store import Store, TickerState
from forecaster.data.update import KINDS, Announce, Asker, unheard
from forecaster.errors import (
    ForecastError,
    GarbageError,
    NetworkError,
    RateLimitedError,
    StoreError,
)

AGAIN = pd.Timedelta(days=7)
"""After which a ticker is asked for again."""

_STOCK = "EQUITY"
"""What Yahoo calls the shares of a company."""
_PASSING = (RateLimitedError, NetworkError)
"""A page that makes no sense makes none a minute later."""


@dataclass(frozen=True)
class EventResult:
    """What became of the events of one ticker."""

    ticker: str
    status: str
    """``new``, ``updated``, ``up to date``, ``none`` or ``failed``."""
    rows: int = 0
    """Stored now."""
    new_rows: int = 0
    next: pd.Timestamp | None = None
    """The first day that is not over."""
    error: ForecastError | None = None

    @property
    def kind(self) -> str | None:
        """The class of the error in a word or two; None where there is none."""
        return KINDS.get(type(self.error), "events") if self.error else None


def from_yahoo(
    store: Store,
    event_store: EventStore,
    tickers: Sequence[str],
    *,
    refresh: bool = False,
    concurrency: int,
    patience: float,
    announce: Announce = unheard,
) -> Iterator[EventResult]:
    """Bring the stored earnings dates of tickers up to date with Yahoo; yield each that was due.

    Tickers without prices are not asked for, nor are those that announce no earnings: funds, indices,
    coins, currencies and futures.

    Parameters
    ----------
    refresh : ask for those that are not due too, and replace files that cannot be read.
    concurrency, patience, announce : as :func:`forecaster.data.update.from_yahoo` has them.
    """
    now, due = calendars.now(), list[tuple[str, str | None]]()
    for ticker in tickers:
        try:
            prices = store.state(ticker)
            if not prices or not announces(ticker, prices):
                continue
            if refresh or is_due(event_store.state(ticker), now):
                due.append((ticker, zone(ticker, prices)))
        except StoreError as error:
            yield EventResult(ticker, "failed", error=error)
    if not due:
        return
    asker = Asker(patience, lambda words: announce(f"{words}: earnings dates"), _PASSING)

    def fetched(it: tuple[str, str | None]) -> EventResult:
        ticker, its_zone = it
        try:
            frame = asker.ask(asker.yahoo.earnings, ticker, its_zone)
            return _stored(event_store, ticker, frame, refresh)
        except ForecastError as error:
            return EventResult(ticker, "failed", error=error)

    with ThreadPool(min(concurrency, len(due))) as pool:
        try:
            yield from pool.imap_unordered(fetched, due)
        finally:
            asker.gate.abandoned.set()


def from_frame(
    event_store: EventStore,
    frame: pd.DataFrame,
    source: str,
    *,
    known: Collection[str] = (),
    refresh: bool = False,
) -> Iterator[EventResult]:
    """Store the events of a file (:mod:`forecaster.data.sources.event_files`); yield each ticker.

    Parameters
    ----------
    frame : an events frame.
    source : the file.
    known : tickers whose capitals count where those of the frame differ.
    refresh : replace files that cannot be read.
    """
    for name, its in frame.groupby("ticker", sort=True):
        (ticker,) = capitals.matched([str(name)], known)
        try:
            before = _rows(event_store, ticker, refresh)
            (saved,) = event_store.write(its.assign(ticker=ticker), source=source, refresh=refresh)
            status = _status(before, saved.new_rows)
            yield EventResult(ticker, status, saved.rows, saved.new_rows, saved.next)
        except ForecastError as error:
            yield EventResult(ticker, "failed", error=error)


def announces(ticker: str, prices: TickerState) -> bool:
    """Return whether a ticker is a company's, as far as its source and its name tell."""
    if ticker.startswith("^") or exchange(ticker) in (CRYPTO, CURRENCIES, FUTURES):
        return False
    return prices.notes.get("instrument") in (None, "", _STOCK)


def is_due(state: EventState | None, now: pd.Timestamp) -> bool:
    """Return whether Yahoo should be asked at ``now``, given what is stored."""
    if state is None or state.asked_at is None or now - state.asked_at >= AGAIN:
        return True
    return state.awaited is not None and state.awaited < now.tz_localize(None).normalize()


def zone(ticker: str, prices: TickerState) -> str | None:
    """Return the time zone of a ticker's exchange, as Yahoo or the calendar has it."""
    name = exchange(ticker)
    stated = prices.notes.get("timezone")
    return stated or (trading_days.zone(name) if has_calendar(name) else None)


def _stored(
    event_store: EventStore, ticker: str, frame: pd.DataFrame, refresh: bool
) -> EventResult:
    """Write what Yahoo gave to the store."""
    before = _rows(event_store, ticker, refresh)
    if before and frame.empty:
        raise GarbageError(
            f"{ticker}: expected earnings dates, Yahoo's page lists none where {before} are stored; "
            "fetch again later, or upgrade yfinance if no ticker has any"
        )
    (saved,) = event_store.write(frame, source="yahoo", asked=[ticker], refresh=refresh)
    status = _status(before, saved.new_rows) if saved.rows else "none"
    return EventResult(ticker, status, saved.rows, saved.new_rows, saved.next)


def _rows(event_store: EventStore, ticker: str, refresh: bool) -> int:
    """How many events are stored of a ticker; none in a file that is to be replaced."""
    try:
        state = event_store.state(ticker)
    except StoreError:
        if not refresh:
            raise
        return 0
    return state.rows if state else 0


def _status(before: int, new_rows: int) -> str:
    if not before:
        return "new"
    return "updated" if new_rows else "up to date"
