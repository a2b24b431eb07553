"""A heterogeneous autoregression (HAR) of the log volatility that ranges show.

Corsi (2009), A simple approximate long-memory model of realized volatility, Journal of Financial
Econometrics 7(2), in logarithms: the log volatility of the next sessions is linear in that of the last
session, week and month, with coefficients for each number of sessions ahead. A session's variance is
the range proxy, or its squared return where there is no range
(:attr:`forecaster.dataset.panel.Past.variance`). The forecast is a Student-t whose scale is that
volatility times a constant. The constant and the degrees of freedom are fitted to the returns over the
volatility, and so absorb the biases of the logarithm and of the proxy.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import pandas as pd

from forecaster.config import RecurrentConfig
from forecaster.dataset.bars import FLOOR, Floats
from forecaster.dataset.panel import Past, StudentT
from forecaster.models.per_ticker import Parameters, PerTicker, Shape

HORIZONS = (1, 5, 22)
"""Sessions: a day, a week, a month."""

STAND_IN = np.array([0.0, 0.0, 0.0, 1.0])
"""Coefficients where volatilities vary too little for a fit: last month's volatility persists."""

LEAST_SHARE = 0.1
"""Least volatility of a session, as a share of the EWMA's: the logarithm of 0 is infinite."""


@dataclass(frozen=True)
class HarParameters(Parameters):
    """Coefficients of the log volatility to come, and the Student-t of returns over it."""

    constant: float
    day: float
    week: float
    month: float
    scale: float
    df: float

    def check(self) -> None:
        """Raise ValueError for parameters of no Student-t with a variance."""
        if not (self.scale > 0 and self.df > 2):
            raise ValueError("expected scales above 0 and df above 2")


class Har(PerTicker[HarParameters]):
    """A per-ticker linear model of log volatility."""

    parameters, array = HarParameters, "har"

    def fit_one(self, past: Past, step: int) -> HarParameters | None:
        """Fit the coefficients by least squares, then the Student-t by maximum likelihood."""
        logs, after = regressors(past), log_volatility(past, step)
        # The first month's averages are of less than a month.
        before, after = logs[HORIZONS[-1] : -step], after[HORIZONS[-1] + step :]
        coefficients, _, rank, _ = np.linalg.lstsq(before, after, rcond=None)
        return _parameters(past, step, coefficients) if rank == before.shape[1] else None

    def stand_in(self, past: Past, step: int) -> HarParameters:
        """Fit the Student-t alone, around last month's volatility."""
        return _parameters(past, step, STAND_IN)

    def forecast_one(
        self, fitted: HarParameters, past: Past, index: np.ndarray, step: int
    ) -> StudentT:
        """Return the Student-t at the volatility that the regression forecasts."""
        coefficients = np.array([fitted.constant, fitted.day, fitted.week, fitted.month])
        width = _volatility(regressors(past)[index], coefficients) * sqrt(step)
        return StudentT(0.0, fitted.scale * width, fitted.df)


def regressors(past: Past) -> Floats:
    """Return 1 and the log volatility of the last session, week and month: (sessions, 4)."""
    logs = [log_volatility(past, sessions) for sessions in HORIZONS]
    return np.column_stack([np.ones(len(past.dates)), *logs])


def log_volatility(past: Past, sessions: int) -> Floats:
    """Return the log of the volatility a day of the last sessions, or of all so far: (sessions,)."""
    mean = pd.Series(past.variance).rolling(sessions, min_periods=1).mean().to_numpy()
    floor = np.maximum((LEAST_SHARE * past.volatility) ** 2, FLOOR**2)
    logs: Floats = 0.5 * np.log(np.fmax(mean, floor))
    return logs


def _parameters(past: Past, step: int, coefficients: np.ndarray) -> HarParameters:
    """Return coefficients, and the shape of the returns over the volatility that they forecast."""
    before = regressors(past)[HORIZONS[-1] : -step]
    width = _volatility(before, coefficients) * sqrt(step)
    shape = Shape.fit(past.behind(step)[HORIZONS[-1] + step :] / width)
    constant, day, week, month = coefficients.tolist()
    return HarParameters(constant, day, week, month, shape.scale, shape.df)


def _volatility(logs: Floats, coefficients: np.ndarray) -> Floats:
    """Return the volatility a day, a fraction of at most 1: (sessions,)."""
    # A matrix product would round a row differently for another number of rows.
    total: Floats = np.sum(logs * coefficients, axis=1)
    return np.exp(np.clip(total, np.log(FLOOR), 0.0))


def create(name: str, config: RecurrentConfig) -> Har:
    """Return the model called ``har``."""
    return Har(name, config.horizon)
