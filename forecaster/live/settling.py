"""Settling: what came of the forecasts in the ledger, once the prices of their dates are stored.

A forecast of step *h* is settled by the *h*-th stored session after its cutoff:

- ``settled``: that is the date which was forecast;
- ``moved``: it is another one, and the sessions that are missing did not come for ``OVERLAP`` sessions,
  after which nobody asks for them again;
- ``vanished``: for ``OVERLAP`` sessions no price came, or that of the cutoff is gone. Prices that come
  after all settle the forecast, by another row that counts instead.

Both prices of a return are read at once, so a split or a dividend after the forecast is in both.
"""

import logging
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from forecaster.data import calendars, prices
from forecaster.data.calendars import LONGEST_CLOSURE
from forecaster.data.store import Store
from forecaster.data.update import OVERLAP
from forecaster.errors import StoreError
from forecaster.live.database import VANISHED, append, meaningful, reading, stamp, writing

log = logging.getLogger(__name__)

SETTLED, MOVED = "settled", "moved"

_COUNTING = (
    f"s.ticker = f.ticker AND s.cutoff = f.cutoff AND s.step = f.step AND status {{}} '{VANISHED}'"
)
# Of forecasts that several models made on several nights, the first says which date it is.
_OPEN = f"""
    SELECT ticker, cutoff, step,
        (SELECT date FROM forecasts d
         WHERE d.ticker = f.ticker AND d.cutoff = f.cutoff AND d.step = f.step ORDER BY id LIMIT 1),
        EXISTS (SELECT 1 FROM settlements s WHERE {_COUNTING.format("=")})
    FROM (SELECT DISTINCT ticker, cutoff, step FROM forecasts) f
    WHERE NOT EXISTS (SELECT 1 FROM settlements s WHERE {_COUNTING.format("<>")})
"""
_COLUMNS = ["ticker", "date", "adj_close"]
_STATUSES = "SELECT status FROM settlements WHERE ticker = ? AND cutoff = ? AND step = ?"


class Settled(NamedTuple):
    """What a call of :func:`settle` added."""

    counts: dict[str, int]
    """How many forecasts came to each status; several models' of one return are one."""
    vanished: list[str]
    """The tickers whose prices did not come."""


class _Open(NamedTuple):
    """A return that was forecast and is not settled."""

    ticker: str
    cutoff: str
    step: int
    date: str
    vanished: bool

    @property
    def day(self) -> pd.Timestamp:
        """The date."""
        return pd.Timestamp(self.date)


class _Outcome(NamedTuple):
    """What came of it: the columns of a settlement."""

    ticker: str
    cutoff: str
    step: int
    date: str | None
    status: str
    log_return: float | None
    adj_close_cutoff: float | None
    adj_close_date: float | None


def settle(home: Path, store: Store, now: pd.Timestamp) -> Settled:
    """Add what came of the forecasts that are open, as far as it is known.

    Fetch first: what is not stored ``OVERLAP`` sessions after its date is taken for vanished.

    Parameters
    ----------
    store : the prices as of now.
    now : this instant, with a time zone.

    Raises
    ------
    StoreError
        The ledger cannot be written, is damaged, or is of another version.
    """
    today = f"{now.tz_convert('UTC'):%Y-%m-%d}"
    nothing: list[_Open] = []
    with meaningful(home):
        due = [it for it in reading(home, _open, nothing) if it.date <= today]
        # Those that vanished long ago would have all others read from then on.
        fresh, gone = ([it for it in due if bool(it.vanished) is so] for so in (False, True))
        outcomes = [*_outcomes(fresh, store, now), *_outcomes(gone, store, now)]
    if not outcomes:
        return Settled({}, [])
    with writing(home) as database:
        added = [it for it in outcomes if _is_news(database, it)]
        append(database, "settlements", [[stamp(now), *it] for it in added])
    counts = Counter(it.status for it in added)
    vanished = {it.ticker for it in added if it.status == VANISHED}
    return Settled(dict(counts), sorted(vanished))


def _open(database: sqlite3.Connection) -> list[_Open]:
    return [_Open(*row) for row in database.execute(_OPEN)]


def _is_news(database: sqlite3.Connection, outcome: _Outcome) -> bool:
    """Return whether nobody else has settled a return meanwhile."""
    key = outcome.ticker, outcome.cutoff, outcome.step
    statuses = {status for (status,) in database.execute(_STATUSES, key)}
    return not statuses or (statuses == {VANISHED} and outcome.status != VANISHED)


def _outcomes(due: Sequence[_Open], store: Store, now: pd.Timestamp) -> Iterator[_Outcome]:
    if not due:
        return
    by_ticker: dict[str, list[_Open]] = {}
    for it in due:
        by_ticker.setdefault(it.ticker, []).append(it)
    for ticker, history in _histories(by_ticker, store, min(it.cutoff for it in due)):
        yield from _of_ticker(by_ticker[ticker], history, now)


def _histories(
    tickers: Iterable[str], store: Store, first: str
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the dates and adjusted closes of each ticker from a date on, none where none is stored.

    A ticker whose file is damaged is a warning, and its forecasts stay open.
    """
    stored = set(store.tickers())
    readable = sorted(stored.intersection(tickers))
    start = pd.Timestamp(first).date()
    try:
        frames = [store.read(readable, columns=_COLUMNS, start=start)] if readable else []
    except StoreError:
        frames = []
        for ticker in list(readable):
            try:
                frames.append(store.read([ticker], columns=_COLUMNS, start=start))
            except StoreError as error:
                log.warning("the forecasts of %s stay open: %s", ticker, error)
                readable.remove(ticker)
    groups = {str(ticker): it for frame in frames for ticker, it in frame.groupby("ticker")}
    nothing = pd.DataFrame({"date": pd.Series(dtype="datetime64[us]"), "adj_close": []})
    for ticker in tickers:
        if ticker in readable or ticker not in stored:
            yield ticker, groups.get(ticker, nothing)


def _of_ticker(
    due: Sequence[_Open], history: pd.DataFrame, now: pd.Timestamp
) -> Iterator[_Outcome]:
    """Yield what is known of the returns of a ticker."""
    ticker, dates = due[0].ticker, history["date"].to_numpy("datetime64[D]")
    adj_close = history["adj_close"].to_numpy(float)
    following = np.append(prices.log_returns(adj_close)[1:], np.nan)[: len(dates)]
    following[:-1][np.diff(dates) > LONGEST_CLOSURE] = np.nan
    steps = {it.step for it in due} if len(dates) else set()
    returns = {step: prices.sums_ahead(following, step) for step in steps}
    last = calendars.last_finished(ticker, now, dates)
    for it, cutoff in zip(due, np.array([it.cutoff for it in due], "datetime64[D]"), strict=True):
        at = int(np.searchsorted(dates, cutoff))
        is_stored = at < len(dates) and dates[at] == cutoff
        log_return = float(returns[it.step][at]) if is_stored else float("nan")
        came = None if np.isnan(log_return) else str(dates[at + it.step])
        if came is not None and came > f"{last:%Y-%m-%d}":
            continue  # its session is not over, and what is stored is no close
        if it.date != came and calendars.sessions_after(ticker, it.day, last, dates) < OVERLAP:
            continue
        if came is None:
            if not it.vanished:
                yield _Outcome(*it[:3], None, VANISHED, None, None, None)
            continue
        status = SETTLED if it.date == came else MOVED
        ends = float(adj_close[at]), float(adj_close[at + it.step])
        yield _Outcome(*it[:3], came, status, log_return, *ends)
