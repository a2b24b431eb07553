"""Fetching: what is due of each ticker is asked for, and joins what is stored.

A pool of threads asks Yahoo for what is new and an overlap, while answers that have come are cleaned
and stored. Trouble that may pass (too many requests, a broken connection, an answer without sense) is
met by asking again, each time later, and one refusal slows all.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from multiprocessing.pool import ThreadPool  # its threads do not keep a process that is to end
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

import pandas as pd
import tenacity

from forecaster.data import calendars, mends, quality
from forecaster.data.exchanges import exchange, has_calendar
from forecaster.data.sources import loading
from forecaster.data.sources.yahoo import Answer, Gate, Yahoo
from forecaster.data.store import Saved, Store, TickerState
from forecaster.errors import (
    ForecastError,
    GarbageError,
    HistoryChangedError,
    NetworkError,
    NoPricesError,
    OfflineError,
    RateLimitedError,
    RefusedError,
    StoreError,
    UnknownTickerError,
)

if TYPE_CHECKING:
    from forecaster.data.sources.tables import Format

log = logging.getLogger(__name__)

OVERLAP = 15
"""Stored sessions that an update asks for again: what changes later mostly changes in days."""

FIRST_WAIT, LONGEST_WAIT = 1.0, 20.0
"""Seconds before the second try, doubled before each one after that, and their bound."""

AHEAD = 2
"""Tickers in flight, from the request to the file, for each request at a time."""

STORING = 2
"""Threads that clean and store: one works while the disk of the other does."""

HOPELESS = 16
"""Tickers in trouble one after the other, and none without, after which the others are not asked."""

PASSING = (RateLimitedError, NetworkError, GarbageError)
"""The errors that another try may do away with, unless this machine is offline."""

KINDS: dict[type[ForecastError], str] = {
    RateLimitedError: "rate limited",
    RefusedError: "refused",
    NetworkError: "network",
    OfflineError: "network",
    GarbageError: "garbage",
    UnknownTickerError: "unknown ticker",
    NoPricesError: "no data",
    StoreError: "store",
    HistoryChangedError: "store",
}

Announce = Callable[[str], None]
"""Takes what is waited for, in words; threads call it."""


Given = TypeVar("Given")


def unheard(words: str) -> None:
    """Announce nothing."""


@dataclass(frozen=True)
class FetchResult:
    """What became of one ticker."""

    ticker: str
    status: str
    """``new``, ``updated``, ``up to date``, ``replaced`` or ``failed``."""
    rows: int | None = None
    """Stored now, as are those from ``first`` to ``last``; None where nothing is."""
    new_rows: int = 0
    first: pd.Timestamp | None = None
    last: pd.Timestamp | None = None
    findings: pd.DataFrame = field(default_factory=mends.no_findings)
    """Those of :func:`forecaster.data.cleaning.clean`."""
    motion: str | None = None
    """Why a forecast of it would mean little, if so (:func:`forecaster.data.quality.motion`)."""
    reason: str | None = None
    """Why the stored history was replaced."""
    error: ForecastError | None = None

    @property
    def kind(self) -> str | None:
        """The class of the error in a word or two; None where there is none."""
        return KINDS.get(type(self.error), "prices") if self.error else None


@dataclass(frozen=True)
class PriceRequest:
    """What is to be asked for."""

    ticker: str
    stored: TickerState | None
    start: date | None
    end: date | None
    whole: bool
    """Whether it is the whole history, rather than its end."""
    beginning: date | None
    """The first date of the whole history as the user wants it; None is all that there is."""
    reason: str | None = None
    """Why the stored history is to be replaced, where its end did not go on from it."""


def from_yahoo(
    store: Store,
    tickers: Sequence[str],
    *,
    start: date | None = None,
    end: date | None = None,
    refresh: bool = False,
    raw: bool = False,
    concurrency: int,
    patience: float,
    announce: Announce = unheard,
) -> Iterator[FetchResult]:
    """Bring the stored prices of tickers up to date with Yahoo; yield each as it is done.

    What is not due is not asked for. A history that no longer agrees with the stored one is fetched
    whole. Stop iterating, and no further request is made.

    Parameters
    ----------
    start, end : the first and last date wanted; a stored ticker is asked for more than is missing
        only if ``start`` is earlier than it ever was.
    refresh : fetch the whole history from ``start`` to ``end``, and replace what is stored.
    raw : leave prices as they come, but for what a prices frame cannot hold. A stored history that
        was mended is fetched again; one that is raw stays so until it is refreshed.
    concurrency : the most requests in flight at once.
    patience : seconds for which one ticker in trouble is asked for again.
    announce : called with what is waited for.
    """
    now, requests = calendars.now(), []
    for ticker in tickers:
        try:
            state = None if refresh else store.state(ticker)
            history = _dates(store, ticker) if state else None
        except StoreError as error:
            yield FetchResult(ticker, "failed", error=error)
            continue
        due = request(ticker, state, start, end, now, history)
        if raw and state and not state.notes.get("raw"):
            due = _again(ticker, state)
        if due:
            requests.append(due)
        else:
            yield _up_to_date(ticker, state)
    if not requests:
        return
    announce("connect to Yahoo")
    fetcher = _Fetcher(store, refresh, raw, Asker(patience, announce))
    yield from fetcher.fetch(requests, concurrency)


def _dates(store: Store, ticker: str) -> pd.Series | None:
    """The stored dates where they have to stand in for a calendar."""
    if has_calendar(exchange(ticker)):
        return None
    return store.read([ticker], columns=["date"])["date"]


def tickers_from_yahoo(store: Store) -> list[str]:
    """Return the stored tickers that came from Yahoo, or whose source cannot be read."""
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
    form: "Format | None" = None,
    raw: bool = False,
) -> Iterator[FetchResult]:
    """Store the prices of a file or of the sample; yield each ticker as it is done."""
    for ticker, outcome in loading.offered(source, tickers, start=start, end=end, form=form):
        try:
            if isinstance(outcome, ForecastError):
                raise outcome
            clean = loading.usable(ticker, outcome, raw=raw)
            stored = None if refresh else store.state(ticker)
            (saved,) = store.write(
                clean.frame,
                source=source,
                refresh=refresh,
                notes={"raw": "yes"} if raw else {},
                mended=clean.mends,
            )
            yield _done(saved, stored, clean.findings)
        except StoreError as error:
            yield FetchResult(ticker, "failed", findings=clean.findings, error=error)
        except ForecastError as error:
            yield FetchResult(ticker, "failed", error=error)


def request(
    ticker: str,
    state: TickerState | None,
    start: date | None,
    end: date | None,
    now: pd.Timestamp,
    history: pd.Series | None = None,
) -> PriceRequest | None:
    """Return what Yahoo should be asked for at ``now``, given what is stored; None if nothing.

    A session is due once its exchange has closed. One that was open at the last fetch is asked for
    again, as Yahoo's word on it counts, and so are the holes in the last ``OVERLAP`` sessions.

    Parameters
    ----------
    history : the stored dates, where the exchange has no calendar.
    """
    if state is None:
        return PriceRequest(ticker, None, start, end, True, start)
    # Of a history from elsewhere, what is stored is all that was ever wanted.
    earliest = state.notes.get("start", f"{state.first:%Y-%m-%d}")
    if start and earliest and start < date.fromisoformat(earliest):
        return PriceRequest(ticker, state, start, None, True, start)
    beginning = date.fromisoformat(earliest) if earliest and "start" in state.notes else None
    last = min(calendars.last_finished(ticker, now, history), pd.Timestamp(end or date.max))
    awaited = [day for day in state.notes.get("awaited", "").split() if day <= str(last.date())]
    awaited += [day for day in state.notes.get("open", "").split() if not end or day <= str(end)]
    if state.last >= last and not awaited:
        return None
    recent = calendars.sessions_between(
        ticker, state.last - pd.Timedelta(days=3 * OVERLAP), state.last, history
    )
    overlap = recent[-OVERLAP] if len(recent) > OVERLAP else state.first
    return PriceRequest(ticker, state, max(overlap, state.first).date(), end, False, beginning)


def _again(ticker: str, state: TickerState) -> PriceRequest:
    """The whole history, from the date that was asked for when it was first stored."""
    since = state.notes.get("start", f"{state.first:%Y-%m-%d}")
    beginning = date.fromisoformat(since) if since else None
    return PriceRequest(ticker, state, beginning, None, True, beginning)


class Asker:
    """Asks Yahoo with patience; what the threads of one fetch share.

    Parameters
    ----------
    patience : seconds for which one ticker in trouble is asked for again.
    announce : called with what is waited for.
    passing : the errors that another try may do away with.
    """

    def __init__(
        self,
        patience: float,
        announce: Announce,
        passing: tuple[type[ForecastError], ...] = PASSING,
    ):
        self.gate = Gate()
        self.yahoo = Yahoo(self.gate, FIRST_WAIT)
        self._announce = announce
        self._reached = self._offline = False
        self._lost = 0
        self._counting = threading.Lock()
        self._again = tenacity.Retrying(
            retry=tenacity.retry_if_exception(
                lambda error: isinstance(error, passing) and not isinstance(error, OfflineError)
            ),
            wait=tenacity.wait_exponential(FIRST_WAIT, LONGEST_WAIT)
            + tenacity.wait_random(0, FIRST_WAIT),
            stop=tenacity.stop_before_delay(patience)
            | tenacity.stop_when_event_set(self.gate.abandoned),
            sleep=tenacity.sleep_using_event(self.gate.abandoned),
            before_sleep=self._slow,
            reraise=True,
        )

    def ask(self, question: Callable[..., Given], ticker: str, *details: object) -> Given:
        """Return what Yahoo gives of a ticker, after as many tries as it takes.

        Parameters
        ----------
        question : takes the ticker and the details, such as :meth:`Yahoo.answer`.
        """
        if self._offline:
            raise OfflineError(
                f"{ticker}: not asked for, as the name of Yahoo's server cannot be resolved; "
                "connect this machine to the internet and fetch again"
            )
        if self._lost >= HOPELESS:
            raise NetworkError(
                f"{ticker}: not asked for, as none of the last {self._lost} tickers came; "
                "check the connection and fetch again later"
            )
        self._announce(f"fetch {ticker}")
        try:
            given = self._again(question, ticker, *details)
        except ForecastError as error:
            self._count(error)
            raise
        self._lost, self._reached = 0, True
        return given

    def _count(self, error: ForecastError) -> None:
        """Count the tickers lost in a row, and note whether Yahoo was out of reach from the start."""
        with self._counting:
            self._offline |= isinstance(error, OfflineError) and not self._reached
            if isinstance(error, (*PASSING, RefusedError)):
                self._lost += 1
            else:
                self._lost, self._reached = 0, True

    def _slow(self, state: tenacity.RetryCallState) -> None:
        """Before a wait: if too much was asked, everybody waits."""
        error = state.outcome and state.outcome.exception()
        wait = state.next_action.sleep if state.next_action else FIRST_WAIT
        log.debug("%s; asking again in %.1f s", error, wait)
        if isinstance(error, ForecastError):
            kind = KINDS.get(type(error), "trouble")
            self._announce(f"fetch {state.args[0]} again in {wait:.0f} s ({kind})")
        if isinstance(error, RateLimitedError):
            self.gate.close(wait)


class _Fetcher:
    """Asks for prices in some threads, and stores them in others."""

    def __init__(self, store: Store, refresh: bool, raw: bool, asker: Asker):
        self._store, self._refresh, self._raw, self._asker = store, refresh, raw, asker

    def fetch(self, requests: Sequence[PriceRequest], concurrency: int) -> Iterator[FetchResult]:
        """Yield each ticker once it is stored.

        Some threads ask and others store, so that no request waits for an answer to be stored; a few
        answers at most wait in turn.
        """
        waiting, in_flight = deque(requests), 0
        done = SimpleQueue[FetchResult | PriceRequest | BaseException]()
        # The pool that hands over to the other ends first.
        with ThreadPool(STORING) as storing, ThreadPool(min(concurrency, len(requests))) as asking:

            def store(given: tuple[PriceRequest, Answer | ForecastError]) -> None:
                storing.apply_async(self._result, given, {}, done.put, done.put)

            try:
                while waiting or in_flight:
                    while waiting and in_flight < AHEAD * concurrency:
                        asking.apply_async(self._ask, [waiting.popleft()], {}, store, done.put)
                        in_flight += 1
                    result = done.get()
                    in_flight -= 1
                    if isinstance(result, BaseException):
                        raise result
                    if isinstance(result, FetchResult):
                        yield result
                    else:
                        waiting.appendleft(result)
            finally:
                self._asker.gate.abandoned.set()

    def _ask(self, due: PriceRequest) -> tuple[PriceRequest, Answer | ForecastError]:
        """Ask Yahoo for one ticker."""
        try:
            return due, self._asker.ask(self._asker.yahoo.answer, due.ticker, due.start, due.end)
        except ForecastError as error:
            return due, error

    def _result(
        self, due: PriceRequest, answer: Answer | ForecastError
    ) -> FetchResult | PriceRequest:
        """What became of a ticker; or the request for its whole history, if it changed."""
        try:
            if isinstance(answer, ForecastError):
                raise answer
            return self._stored(due, answer)
        except HistoryChangedError as changed:
            if not due.reason:
                why = str(changed).partition(";")[0]
                return replace(due, start=due.beginning, end=None, whole=True, reason=why)
            return FetchResult(due.ticker, "failed", error=changed)
        except NoPricesError as error:
            if due.whole:
                return FetchResult(due.ticker, "failed", error=error)
            return _up_to_date(due.ticker, due.stored)
        except ForecastError as error:
            return FetchResult(due.ticker, "failed", error=error)

    def _stored(self, due: PriceRequest, answer: Answer) -> FetchResult:
        """Write what Yahoo gave to the store."""
        raw = self._raw or bool(due.stored and due.stored.notes.get("raw"))
        clean = loading.usable(due.ticker, answer.frame, answer.notes, raw=raw)
        notes = answer.notes | {
            "start": str(due.beginning or ""),
            "awaited": " ".join(_holes(due.ticker, clean.frame)),
            "open": str(answer.open_session or ""),
            "raw": "yes" if raw else "",
        }
        (saved,) = self._store.write(
            clean.frame,
            source="yahoo",
            notes=notes,
            mended=clean.mends,
            refresh=self._refresh,
            whole=due.whole,
        )
        return _done(saved, due.stored, clean.findings, due.reason)


def _holes(ticker: str, frame: pd.DataFrame) -> list[str]:
    """The sessions without a row among the last ``OVERLAP`` that a frame spans."""
    days = pd.DatetimeIndex(frame["date"])
    begin = max(days[0], days[-1] - pd.Timedelta(days=3 * OVERLAP))
    expected = calendars.sessions_between(ticker, begin, days[-1], days)[-OVERLAP:]
    return [f"{day:%Y-%m-%d}" for day in expected.difference(days)]


def _done(
    saved: Saved, stored: TickerState | None, findings: pd.DataFrame, reason: str | None = None
) -> FetchResult:
    if stored is None:
        status = "new"
    elif saved.replaced:
        status = "replaced"
    else:
        status = "updated" if saved.new_rows else "up to date"
    return FetchResult(
        saved.ticker,
        status,
        saved.rows,
        saved.new_rows,
        saved.first,
        saved.last,
        findings=findings,
        motion=quality.motion(saved.recent),
        reason=reason,
    )


def _up_to_date(ticker: str, state: TickerState | None) -> FetchResult:
    if state is None:
        return FetchResult(ticker, "up to date")
    return FetchResult(ticker, "up to date", state.rows, 0, state.first, state.last)
