"""Walk-forward folds: which sessions a model may learn from, and which it is asked about next."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from forecaster.errors import HistoryError, UsageError


@dataclass(frozen=True)
class Fold:
    """Fit on all sessions up to ``until``; forecast from the cutoffs ``first`` to ``last``.

    All three are datetime64[D] and included. ``until`` is never after ``first``.
    """

    until: np.datetime64
    first: np.datetime64
    last: np.datetime64


def schedule(refit: str) -> str | int:
    """The meaning of ``refit``: ``never``, ``yearly`` or a number of sessions.

    Raises
    ------
    UsageError
        It is none of these.
    """
    if refit in ("never", "yearly"):
        return refit
    if refit.isdecimal() and int(refit) > 0:
        return int(refit)
    raise UsageError(f"`refit` takes never, yearly or a number of sessions, got {refit!r}")


def walk_forward_folds(
    sessions: np.ndarray, *, start: np.datetime64, end: np.datetime64, refit: str | int
) -> Iterator[Fold]:
    """Folds that forecast every session from ``start`` to ``end`` from the session before it.

    Parameters
    ----------
    sessions : (sessions,) datetime64[D], ascending.
    start, end : the first and last date forecast, both included; they need not be sessions.
    refit : ``never``, ``yearly`` (at the first session of each calendar year), or every so many
        sessions.

    Yields
    ------
    Fold : ascending, without gap or overlap; each is fitted up to its own first cutoff.

    Raises
    ------
    HistoryError
        No session lies between the two dates, or none before them.

    Example
    -------
    >>> import numpy as np
    >>> days = np.arange("2018-12-27", "2019-01-05", dtype="datetime64[D]")
    >>> for fold in walk_forward_folds(days, start=days[2], end=days[-1], refit="yearly"):
    ...     print(fold.until, fold.first, fold.last)
    2018-12-28 2018-12-28 2018-12-30
    2018-12-31 2018-12-31 2019-01-03
    """
    forecast = np.flatnonzero((sessions >= start) & (sessions <= end))
    if len(forecast) == 0:
        raise HistoryError(
            f"no stored session lies from {start} to {end}; "
            f"the stored ones run from {sessions[0]} to {sessions[-1]}"
        )
    if forecast[0] == 0:
        raise HistoryError(
            f"nothing is stored before the first session to forecast, {sessions[0]}; "
            "start later or fetch more history"
        )
    if refit == "never":
        new = np.zeros(len(forecast), dtype=bool)
    elif refit == "yearly":
        years = sessions[forecast].astype("datetime64[Y]")
        new = np.append(False, years[1:] != years[:-1])
    else:
        new = np.arange(len(forecast)) % int(refit) == 0
    for block in np.split(forecast, np.flatnonzero(new[1:]) + 1):
        cutoffs = sessions[block - 1]
        yield Fold(until=cutoffs[0], first=cutoffs[0], last=cutoffs[-1])
