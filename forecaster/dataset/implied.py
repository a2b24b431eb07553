"""Implied volatility: what options on an index say of the days to come, as known at an exchange's closes."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from forecaster.data import exchanges
from forecaster.data.publication import public_dates
from forecaster.dataset.bars import SLOW, Bars, Floats, ewma

IMPLIED = (
    "implied_volatility",
    "implied_surprise",
    "implied_change",
    "implied_change_week",
)

STALE = 5
"""Sessions of a ticker after which the last level of an index says nothing of today."""

WEEK = 5

SESSIONS_A_YEAR = 252
"""By which an index's level is annualised: it is of the days that its exchange trades."""


class Level(NamedTuple):
    """What an index says at the close of a session."""

    name: str
    volatility: float
    """A fraction a year"""


@dataclass(frozen=True, eq=False)
class Implied:
    """An index of implied volatility, by the dates on which its sessions became public."""

    name: str
    dates: np.ndarray
    """datetime64[D]: (sessions,)"""
    level: Floats
    """A fraction a year: (sessions,)"""
    moves: Floats
    """(sessions, 3): log of the level over its slow mean, and over those one and five sessions before"""

    @classmethod
    def of(cls, name: str, bars: Bars, exchange: str) -> "Implied":
        """Return an index as it is known at the closes of an exchange.

        Parameters
        ----------
        name, bars : of the index.
        exchange : the calendar of the ticker that looks at it.

        Notes
        -----
        A session counts on its own date where its exchange closes no later than the ticker's does, on
        the next otherwise. The last value of an index of options comes out some minutes after shares
        close (that of VIX at 16:15 in New York): on its own exchange it counts as known at the close,
        since it is known before the next open, which is what is forecast.
        """
        dates = public_dates(bars.dates, exchanges.exchange(name), [exchange])
        level = np.log(bars.close)
        moves = [level - np.log(ewma(bars.close, SLOW)), _change(level, 1), _change(level, WEEK)]
        return cls(name, dates, bars.close / 100, np.column_stack(moves))

    def _rows(self, dates: np.ndarray, first: int) -> np.ndarray:
        """Return the row known at each session from ``first`` on, -1 where there is none or it is stale."""
        row = np.searchsorted(self.dates, dates[first:], side="right") - 1
        before = np.arange(first, len(dates)) - STALE - 1  # by then it must not have been known
        fresh = (before < 0) | (dates[np.maximum(before, 0)] < self.dates[np.maximum(row, 0)])
        return np.where((row >= 0) & fresh, row, -1)

    def known(self, dates: np.ndarray, session: int) -> Level | None:
        """Return what is known at the close of one of a ticker's sessions; None if nothing is."""
        row = int(self._rows(dates[: session + 1], session)[0])
        level = float(self.level[row])
        return Level(self.name, level) if row >= 0 and np.isfinite(level) else None

    def at(self, bars: Bars, first: int = 0) -> Floats:
        """Return the features of a ticker's sessions from ``first`` on, NaN where unknown.

        Returns
        -------
        (sessions - first, len(IMPLIED))
        """
        row = self._rows(bars.dates, first)
        daily = self.level[row] / np.sqrt(SESSIONS_A_YEAR)
        table = np.column_stack([np.log(daily / bars.volatility[first:]), self.moves[row]])
        return np.where(row[:, None] >= 0, table, np.nan)


def _change(level: Floats, sessions: int) -> Floats:
    """Return the change over some sessions, NaN at the first: (sessions,)."""
    before = np.append(np.full(sessions, np.nan), level)[: len(level)]
    return np.asarray(level - before)
