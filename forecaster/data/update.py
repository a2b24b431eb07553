"""Fetching: what is due of each ticker is asked for, and joins what is stored.

Yahoo is asked by a pool of threads for what is new and an overlap, with patience. Trouble that may
pass (a refusal of too many requests, a broken connection, an answer without sense) is met by asking
again, each time later, and one refusal slows all.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from multiprocessing.pool import ThreadPool  # its threads do not keep a process that is to end

import pandas as pd
import tenacity

from forecaster.data import calendars, cleaning
from forecaster.data.sources import loading
from forecaster.data.sources.yahoo import Answer, Gate, Yahoo
from forecaster.data.store import Saved, Store, TickerState
from forecaster.errors import (
    ForecastError,
    GarbageError,
    HistoryChangedError,
    NetworkError,
    NoPricesError,
    RateLimitedError,
    StoreError,
    UnknownTickerError,
)

log = logging.getLogger(__name__)

OVERLAP = 15
"""Stored sessions that an update asks for again: what changes later mostly changes in days."""

FIRST_WAIT, LONGEST_WAIT = 1.0, 20.0
"""Seconds before the second try, doubled before each one after that, and their bound."""

HOPELESS = 16
"""Tickers in trouble one after the other, and none without, after which the others are not asked."""

PASSING = (RateLimitedError, NetworkError, GarbageError)
"""The errors that another try may do away with."""

KINDS: dict[type[ForecastError], str] = {
    RateLimitedError: "rate limited",
    NetworkError: "network",
    GarbageError: "garbage",
    UnknownTickerError: "unknown ticker",
    NoPricesError: "no data",
    StoreError: "store",
    HistoryChangedError: "store",
}


def _nothing() -> pd.DataFrame:
    return pd.DataFrame(columns=cleaning.COLUMNS)


@dataclass(frozen=True)
class Fetched:
    """What became of one ticker."""

    ticker: str
    status: str
    """``new``, ``updated``, ``up to date``, ``replaced`` or ``failed``."""
    rows: int | None = None
    """Stored now, as are those from ``first`` to ``last``; null where nothing is."""
    new_rows: int = 0
    first: pd.Timestamp | None = None
    last: pd.Timestamp | None = None
    cleaned: pd.DataFrame = field(default_factory=_nothing)
    """What :func:`forecaster.data.cleaning.clean` found."""
    reason: str | None = None
    """Why the stored history was replaced."""
    error: ForecastError | None = None

    @property
    def kind(self) -> str | None:
        """The class of the error in a word or two; None where there is none."""
        return KINDS.get(type(self.error), "prices") if self.error else None


@dataclass(frozen=True)
class Due:
    """What is to be asked for."""

    ticker: str
    known: TickerState | None
    """What is stored."""
    start: date | None
    end: date | None
    whole: bool
    """Whether it is the whole history, rather than its end."""
    beginning: date | None
    """The first date of the whole history as the user wants it; None is all that there is."""


def from_yahoo(
    store: Store,
    tickers: Sequence[str],
    *,
    start: date | None = None,
    end: date | None = None,
    refresh: bool = False,
    concurrency: int,
    patience: float,
) -> Iterator[Fetched]:
    """Brings the stored prices of tickers up to date with Yahoo; yields each as it is done.

    What is not due is not asked for. A history that no longer agrees with the stored one is fetched
    whole. Stop iterating, and no further request is made.

    Parameters
    ----------
    start, end : the first and last date wanted; a stored ticker is asked for more than is missing
        only if ``start`` is earlier than it ever was.
    refresh : fetch the whole history from ``start`` to ``end``, and replace what is stored.
    concurrency : the most requests in flight at once.
    patience : seconds for which one ticker in trouble is asked for again.
    """
    now, plans = calendars.now(), []
    for ticker in tickers:
        try:
            state = None if refresh else store.state(ticker)
        except StoreError as error:
            yield Fetched(ticker, "failed", error=error)
            continue
        plan = due(ticker, state, start, end, now)
        if plan:
            plans.append(plan)
        else:
            yield _up_to_date(ticker, state)
    if not plans:
        return
    fetcher = _Fetcher(store, refresh, patience)
    with ThreadPool(min(concurrency, len(plans))) as pool:
        try:
            yield from pool.imap_unordered(fetcher.fetch, plans)
        finally:
            fetcher.gate.abandoned.set()


def from_yahoo_before(store: Store) -> list[str]:
    """The stored tickers that came from Yahoo, and those that nobody can say it of."""
    return [ticker for ticker in store.tickers() if _source(store, ticker) in ("yahoo", None)]


def _source(store: Store, ticker: str) -> str | None:
    try:
        state = store.state(ticker)
    except StoreError:
        return None
    return state.source if state else None


def from_source(
    store: Store,
    source: str,
    tickers: Sequence[str] | None = None,
    *,
    start: date | None = None,
    end: date | None = None,
    refresh: bool = False,
) -> Iterator[Fetched]:
    """Stores the prices of a file or of the sample; yields each ticker as it is done."""
    findings: list[pd.DataFrame] = []
    found = loading.load(source, tickers, start=start, end=end, findings=findings)
    cleaned = {table["ticker"].iloc[0]: table for table in findings}
    for ticker, outcome in found:
        told = cleaned.get(ticker, _nothing())
        try:
            if isinstance(outcome, ForecastError):
                raise outcome
            known = None if refresh else store.state(ticker)
            (saved,) = store.write(outcome, source=source, refresh=refresh)
            yield _done(saved, known, told)
        except ForecastError as error:
            yield Fetched(ticker, "failed", cleaned=told, error=error)


def due(
    ticker: str, state: TickerState | None, start: date | None, end: date | None, now: pd.Timestamp
) -> Due | None:
    """What Yahoo should be asked for at ``now``, given what is stored; None if nothing.

    A session is due once its exchange has closed. One that was open at the last fetch is asked for
    again, as Yahoo's word on it counts, and so are the holes in the last ``OVERLAP`` sessions.
    """
    if state is None:
        return Due(ticker, None, start, end, True, start)
    # Of a history from elsewhere, what is stored is all that was ever asked for.
    asked = state.notes.get("start", f"{state.first:%Y-%m-%d}")
    if start and asked and start < date.fromisoformat(asked):
        return Due(ticker, state, start, None, True, start)
    beginning = date.fromisoformat(asked) if asked and "start" in state.notes else None
    last = min(calendars.last_finished(ticker, now), pd.Timestamp(end or date.max))
    awaited = [day for day in state.notes.get("awaited", "").split() if day <= str(last.date())]
    awaited += [day for day in state.notes.get("open", "").split() if not end or day <= str(end)]
    if state.last >= last and not awaited:
        return None
    stored = calendars.sessions_between(
        ticker, state.last - pd.Timedelta(days=3 * OVERLAP), state.last
    )
    overlap = stored[-OVERLAP] if len(stored) > OVERLAP else state.first
    return Due(ticker, state, max(overlap, state.first).date(), end, False, beginning)


class _Fetcher:
    """What the threads of one fetch share."""

    def __init__(self, store: Store, refresh: bool, patience: float):
        self.gate = Gate()
        self._yahoo = Yahoo(self.gate, FIRST_WAIT)
        self._store, self._refresh = store, refresh
        self._lost = 0
        self._counting = threading.Lock()
        self._again = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(PASSING),
            wait=tenacity.wait_exponential(FIRST_WAIT, LONGEST_WAIT)
            + tenacity.wait_random(0, FIRST_WAIT),
            stop=tenacity.stop_before_delay(patience)
            | tenacity.stop_when_event_set(self.gate.abandoned),
            sleep=tenacity.sleep_using_event(self.gate.abandoned),
            before_sleep=self._slow,
            reraise=True,
        )

    def fetch(self, plan: Due) -> Fetched:
        """One ticker, from the question to the file."""
        try:
            try:
                return self._kept(plan)
            except HistoryChangedError as changed:
                whole = replace(plan, start=plan.beginning, end=None, whole=True)
                return self._kept(whole, str(changed).partition(";")[0])
            except NoPricesError:
                if plan.whole:
                    raise
                return _up_to_date(plan.ticker, plan.known)
        except ForecastError as error:
            return Fetched(plan.ticker, "failed", error=error)

    def _kept(self, plan: Due, reason: str | None = None) -> Fetched:
        """What came of asking Yahoo and writing to the store."""
        history = self._asked(plan)
        frame, cleaned = loading.usable(plan.ticker, history.frame)
        notes = history.notes | {
            "start": str(plan.beginning or ""),
            "awaited": " ".join(_holes(plan.ticker, frame)),
            "open": str(history.open_session or ""),
        }
        (saved,) = self._store.write(
            frame, source="yahoo", notes=notes, refresh=self._refresh, whole=plan.whole
        )
        return _done(saved, plan.known, cleaned, reason)

    def _asked(self, plan: Due) -> Answer:
        """The answer, after as many tries as it takes."""
        if self._lost >= HOPELESS:
            raise NetworkError(
                f"{plan.ticker}: not asked for, as none of the last {self._lost} tickers came; "
                "check the connection and fetch again later"
            )
        try:
            history = self._again(self._yahoo.history, plan.ticker, plan.start, plan.end)
        except ForecastError as error:
            with self._counting:
                self._lost = self._lost + 1 if isinstance(error, PASSING) else 0
            raise
        self._lost = 0
        return history

    def _slow(self, state: tenacity.RetryCallState) -> None:
        """Before a wait: if too much was asked, everybody waits."""
        error = state.outcome and state.outcome.exception()
        wait = state.next_action.sleep if state.next_action else FIRST_WAIT
        log.debug("%s; asking again in %.1f s", error, wait)
        if isinstance(error, RateLimitedError):
            self.gate.close(wait)


def _holes(ticker: str, frame: pd.DataFrame) -> list[str]:
    """The sessions without a row among the last ``OVERLAP`` that a frame spans."""
    days = pd.DatetimeIndex(frame["date"])
    begin = max(days[0], days[-1] - pd.Timedelta(days=3 * OVERLAP))
    expected = calendars.sessions_between(ticker, begin, days[-1])[-OVERLAP:]
    return [f"{day:%Y-%m-%d}" for day in expected.difference(days)]


def _done(
    saved: Saved, known: TickerState | None, cleaned: pd.DataFrame, reason: str | None = None
) -> Fetched:
    status = (
        "new" if known is None
        else "replaced" if saved.replaced
        else "updated" if saved.new_rows
        else "up to date"
    )  # fmt: skip
    return Fetched(
        saved.ticker,
        status,
        saved.rows,
        saved.new_rows,
        saved.first,
        saved.last,
        cleaned=cleaned,
        reason=reason,
    )


def _up_to_date(ticker: str, state: TickerState | None) -> Fetched:
    if state is None:
        return Fetched(ticker, "up to date")
    return Fetched(ticker, "up to date", state.rows, 0, state.first, state.last)
