"""Random walks: the next return is a Student-t around zero, or around the mean return so far.

Its scale is a measured volatility times a constant. The constant and the degrees of freedom are
fitted to each ticker's returns over that volatility, up to the cutoff of the fit.
"""

from collections.abc import Callable

import numpy as np

from forecaster.config import RecurrentConfig
from forecaster.dataset.bars import FLOOR, Floats
from forecaster.dataset.panel import Past, StudentT
from forecaster.models.per_ticker import WARMUP, PerTicker, Shape

WINDOW = 250
"""Sessions of the naive volatility: about a year."""


def rolling(past: Past) -> Floats:
    """Return the root mean square return of the last ``WINDOW`` sessions, or of all: (sessions,)."""
    squares = np.nan_to_num(past.log_returns**2)
    total = np.cumsum(squares)
    total[WINDOW:] -= total[:-WINDOW].copy()
    # The first session has no return.
    count = np.clip(np.arange(len(squares)), 1, WINDOW)
    return np.maximum(np.sqrt(np.maximum(total, 0.0) / count), FLOOR)


def riskmetrics(past: Past) -> Floats:
    """Return the EWMA volatility with decay 0.94 (J.P. Morgan, RiskMetrics, 1996): (sessions,)."""
    return past.volatility


VOLATILITIES: dict[str, Callable[[Past], Floats]] = {
    "naive": rolling,
    "drift": rolling,
    "ewma": riskmetrics,
}


class RandomWalk(PerTicker[Shape]):
    """A Student-t whose scale follows a measured volatility."""

    parameters, array = Shape, "shapes"

    def fit_one(self, past: Past, step: int) -> Shape:
        """Fit the Student-t of the returns over the volatility known before them."""
        ratio = (past.next_returns - self._location(past)) / VOLATILITIES[self.name](past)
        return Shape.fit(ratio[WARMUP:])

    def forecast_one(self, fitted: Shape, past: Past, index: np.ndarray, step: int) -> StudentT:
        """Return the Student-t at the volatility of each cutoff."""
        scale = fitted.scale * VOLATILITIES[self.name](past)
        return StudentT(self._location(past)[index], scale[index], fitted.df)

    def _location(self, past: Past) -> Floats:
        """Return zero, or of ``drift`` the mean log return of all sessions up to each: (sessions,)."""
        if self.name != "drift":
            return np.zeros(len(past.dates))
        returns = np.nan_to_num(past.log_returns)
        return np.cumsum(returns) / np.maximum(np.arange(len(returns)), 1)


def create(name: str, config: RecurrentConfig) -> RandomWalk:
    """Return the random walk called ``naive``, ``drift`` or ``ewma``."""
    return RandomWalk(name, config.horizon)
