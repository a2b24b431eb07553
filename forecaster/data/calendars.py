"""When a ticker's exchange trades.

Where the exchange is known its calendar says so, see :mod:`forecaster.data.trading_days`. Where it
is not, the weekdays of the ticker's own history do, and the answer is a guess.
"""

from dataclasses import dataclass
from datetime import date as Date
from functools import lru_cache

import numpy as np
import pandas as pd

from forecaster.data import clock
from forecaster.data.exchanges import CRYPTO, exchange, has_calendar, is_assumed
from forecaster.data.trading_days import LAST, TradingDays, guessed, trading_days, week
from forecaster.errors import HistoryError

LONGEST_CLOSURE = np.timedelta64(14, "D")
"""No exchange closes for longer: what follows a longer gap is not the next session, but missing data."""

Dates = pd.Index | pd.Series | np.ndarray
"""The dates of a ticker's prices (n,), sorted."""


@dataclass(frozen=True)
class NextSession:
    """The session after a date."""

    date: pd.Timestamp
    certain: bool
    """Whether a calendar of the exchange says so; a guess may be a holiday."""


def now() -> pd.Timestamp:
    """Return this instant, in UTC, by :mod:`forecaster.data.clock`."""
    return pd.Timestamp(clock.now())


def next_session(ticker: str, date: Date, history: Dates | None = None) -> NextSession:
    """Return the first session of a ticker's exchange after ``date``.

    Parameters
    ----------
    history : of the ticker; its weekdays up to ``date`` are read where no calendar is known.

    Raises
    ------
    HistoryError
        No session is known so late.
    """
    return next_sessions(ticker, date, 1, history)[0]


def next_sessions(
    ticker: str, date: Date, count: int, history: Dates | None = None
) -> list[NextSession]:
    """Return the first ``count`` sessions of a ticker's exchange after ``date``.

    Parameters and errors are those of :func:`next_session`.
    """
    day, past = pd.Timestamp(date), _days(history)
    past = past[: np.searchsorted(past, day.to_datetime64(), side="right")]
    if is_guessed(ticker, past):
        following = _following(guessed(past), day, count)
    else:
        following = _of_calendar(trading_days(exchange(ticker)), day, count)
    if len(following) < count:
        raise HistoryError(
            f"{ticker}: no trading calendar reaches beyond {day:%Y-%m-%d}; "
            f"expected a date before {LAST:%Y-%m-%d}"
        )
    return list(following)


@lru_cache(maxsize=2**12)  # the tickers of an exchange ask for the same
def _of_calendar(known: TradingDays, day: pd.Timestamp, count: int) -> tuple[NextSession, ...]:
    return _following(known, day, count)


def _following(known: TradingDays, day: pd.Timestamp, count: int) -> tuple[NextSession, ...]:
    """Return the first sessions after a day, fewer where no more are known."""
    sessions = known.closes.index
    after = int(sessions.searchsorted(day, side="right"))
    begun = known.since <= day
    return tuple(
        NextSession(session, bool(begun and session <= known.until))
        for session in sessions[after : after + count]
    )


def last_finished(ticker: str, now: pd.Timestamp, history: Dates | None = None) -> pd.Timestamp:
    """Return the last session that has closed at ``now``, which has a time zone."""
    if is_guessed(ticker, history):
        return _last_finished(guessed(_days(history)), now)
    return _last_of_calendar(trading_days(exchange(ticker)), now)


@lru_cache  # the tickers of an exchange ask for the same
def _last_of_calendar(known: TradingDays, now: pd.Timestamp) -> pd.Timestamp:
    return _last_finished(known, now)


def _last_finished(known: TradingDays, now: pd.Timestamp) -> pd.Timestamp:
    sessions = pd.DatetimeIndex(known.closes.index)
    return sessions[int(known.closes.searchsorted(now.tz_convert("UTC"), side="right")) - 1]


def sessions_after(ticker: str, date: Date, until: Date, history: Dates | None = None) -> int:
    """Return how many sessions come after ``date`` and not after ``until``."""
    sessions = _trading_days(ticker, history).closes.index.to_numpy()
    ends = np.array([pd.Timestamp(date), pd.Timestamp(until)], "datetime64[us]")
    first, last = np.searchsorted(sessions, ends, side="right")
    return max(0, int(last - first))


def sessions_between(
    ticker: str, first: Date, last: Date, history: Dates | None = None
) -> pd.DatetimeIndex:
    """Return the sessions of a ticker's exchange from ``first`` to ``last``, both included."""
    sessions = pd.DatetimeIndex(_trading_days(ticker, history).closes.index)
    begin = int(sessions.searchsorted(pd.Timestamp(first)))
    return sessions[begin : int(sessions.searchsorted(pd.Timestamp(last), side="right"))]


def opens(exchange: str) -> pd.Series:
    """Return the instant (UTC) at which each session of an exchange opens, by session.

    Parameters
    ----------
    exchange : one that :func:`forecaster.data.exchanges.has_calendar`.
    """
    return trading_days(exchange).opens


def opening(ticker: str, date: Date, history: Dates | None = None) -> pd.Timestamp:
    """Return the instant (UTC) at which a ticker's exchange opens for a session.

    Where nobody knows it, that is the midnight in Greenwich at which the date begins.
    """
    return _instant(_trading_days(ticker, history).opens, date, pd.Timedelta(0))


def closing(ticker: str, date: Date, history: Dates | None = None) -> pd.Timestamp:
    """Return the instant (UTC) at which a ticker's exchange closes after a session.

    Where nobody knows it, that is the midnight in Greenwich at which the date ends.
    """
    return _instant(_trading_days(ticker, history).closes, date, pd.Timedelta(days=1))


def closes(exchange: str) -> pd.Series:
    """Return the instant (UTC) at which each session of an exchange closes, by session.

    Parameters
    ----------
    exchange : one that :func:`forecaster.data.exchanges.has_calendar`.
    """
    return trading_days(exchange).closes


def is_guessed(ticker: str, history: Dates | None = None) -> bool:
    """Return whether a ticker's sessions are guessed from the weekdays of its history."""
    name, usual = exchange(ticker), week(_days(history))
    if has_calendar(name) and usual is not None and is_assumed(ticker):
        return bool(usual[5:].any()) != (name == CRYPTO)
    return not has_calendar(name)


def _instant(instants: pd.Series, date: Date, unknown: pd.Timedelta) -> pd.Timestamp:
    """Return the instant of a session, or one so long after its midnight."""
    day = pd.Timestamp(date)
    if day in instants.index:
        return pd.Timestamp(instants[day])
    return day.tz_localize("UTC") + unknown


def _days(history: Dates | None) -> np.ndarray:
    return np.asarray([] if history is None else history, dtype="datetime64[D]")


def _trading_days(ticker: str, history: Dates | None) -> TradingDays:
    if is_guessed(ticker, history):
        return guessed(_days(history))
    return trading_days(exchange(ticker))
