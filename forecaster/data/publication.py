"""When a session of one exchange is public on another.

Dates are not instants. New York's session of a date closes fifteen hours after Tokyo's of the same
date, so a forecast made at Tokyo's close must not read it, while one made at New York's close may
read Tokyo's.
"""

from collections.abc import Collection

import numpy as np

from forecaster.data import calendars
from forecaster.data.exchanges import has_calendar

_DAY = np.timedelta64(1, "D")


def closing_instants(exchange: str, dates: np.ndarray, *, latest: bool) -> np.ndarray:
    """Return the instants at which the sessions of an exchange close.

    Parameters
    ----------
    exchange : as :func:`forecaster.data.exchanges.exchange` names it.
    dates : (sessions,) datetime64[D].
    latest : which hour to assume on a date that is no session of the exchange, that of the
        neighbouring session that closes later, or that of the one that closes earlier. An exchange
        without a calendar may close at any hour of the date in UTC.

    Returns
    -------
    (sessions,) datetime64[us], in UTC. Early closes and daylight saving are in them.
    """
    dates = dates.astype("datetime64[D]")
    if not has_calendar(exchange):
        return (dates + (_DAY if latest else 0 * _DAY)).astype("datetime64[us]")
    closes = calendars.closes(exchange)
    sessions = closes.index.to_numpy().astype("datetime64[D]")
    instants = closes.dt.tz_localize(None).to_numpy().astype("datetime64[us]")
    offsets = instants - sessions.astype("datetime64[us]")
    after = np.searchsorted(sessions, dates).clip(max=len(sessions) - 1)
    before = np.where(sessions[after] == dates, after, (after - 1).clip(min=0))
    assumed = (np.maximum if latest else np.minimum)(offsets[before], offsets[after])
    closing: np.ndarray = dates.astype("datetime64[us]") + assumed
    return closing


def public_dates(dates: np.ndarray, exchange: str, observers: Collection[str]) -> np.ndarray:
    """Return the first date at whose close, on every observing exchange, a session is over.

    Parameters
    ----------
    dates : (sessions,) datetime64[D], sessions of ``exchange``.
    exchange : where they are traded.
    observers : the exchanges at whose closes forecasts are made.

    Returns
    -------
    (sessions,) datetime64[D]: the session's own date where it closes no later than the observers
    do on that date, the day after otherwise. A date of an observer closes within 24 hours of its
    midnight in UTC, so the day after always does.
    """
    others = [it for it in observers if it != exchange]
    if not others:
        return dates
    public = closing_instants(exchange, dates, latest=True)
    seen = np.min([closing_instants(it, dates, latest=False) for it in others], axis=0)
    return dates + np.where(seen < public, _DAY, 0 * _DAY)
