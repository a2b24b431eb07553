"""Random walks: the return to come is a Student-t around zero, or around the mean return so far.

Its scale is a measured volatility times a constant: the spread of past returns over as many sessions, or
of ``ewma`` that of the last returns times the root of the sessions. The constant and the degrees of
freedom are fitted to each ticker's returns over that volatility, up to the cutoff of the fit.
"""

from collections.abc import Callable
from math import sqrt

import numpy as np

from forecaster.config import RecurrentConfig
from forecaster.dataset.bars import FLOOR, Floats
from forecaster.dataset.panel import Past, StudentT
from forecaster.models.per_ticker import WARMUP, PerTicker, Shape

WINDOW = 250
"""Sessions of the naive volatility: about a year."""


def rolling(past: Past, step: int) -> Floats:
    """Return the root mean square of the last ``WINDOW`` returns over ``step`` sessions, or of all.

    (sessions,)
    """
    squares = np.nan_to_num(past.behind(step) ** 2)
    total = np.cumsum(squares)
    total[WINDOW:] -= total[:-WINDOW].copy()
    # The first sessions have no return.
    count = np.clip(np.arange(len(squares)) - step + 1, 1, WINDOW)
    return np.maximum(np.sqrt(np.maximum(total, 0.0) / count), FLOOR)


def riskmetrics(past: Past, step: int) -> Floats:
    """Return the EWMA volatility with decay 0.94 (J.P. Morgan, RiskMetrics, 1996): (sessions,)."""
    return past.volatility * sqrt(step)


VOLATILITIES: dict[str, Callable[[Past, int], Floats]] = {
    "naive": rolling,
    "drift": rolling,
    "ewma": riskmetrics,
}


class RandomWalk(PerTicker[Shape]):
    """A Student-t whose scale follows a measured volatility."""

    parameters, array = Shape, "shapes"

    def fit_one(self, past: Past, step: int) -> Shape:
        """Fit the Student-t of the returns over the volatility known before them."""
        width = VOLATILITIES[self.name](past, step)
        ratio = (past.ahead(step) - self._location(past, step)) / width
        return Shape.fit(ratio[WARMUP + step - 1 :])

    def forecast_one(self, fitted: Shape, past: Past, index: np.ndarray, step: int) -> StudentT:
        """Return the Student-t at the volatility of each cutoff."""
        scale = fitted.scale * VOLATILITIES[self.name](past, step)
        return StudentT(self._location(past, step)[index], scale[index], fitted.df)

    def _location(self, past: Past, step: int) -> Floats:
        """Return zero, or of ``drift`` the mean log return so far times the step: (sessions,)."""
        if self.name != "drift":
            return np.zeros(len(past.dates))
        returns = np.nan_to_num(past.log_returns)
        return step * np.cumsum(returns) / np.maximum(np.arange(len(returns)), 1)


def create(name: str, config: RecurrentConfig) -> RandomWalk:
    """Return the random walk called ``naive``, ``drift`` or ``ewma``."""
    return RandomWalk(name, config.horizon)
