"""A heterogeneous autoregression of the log of the volatility that ranges show.

Corsi (2009), A simple approximate long-memory model of realized volatility, Journal of Financial
Econometrics 7(2), in logarithms: tomorrow's log volatility is a linear function of that of the last
session, week and month. A session's variance is its squared overnight return plus the estimate of
Garman and Klass (1980) from its range, or its squared return where there is no range. The forecast
is a Student-t whose scale is that volatility times a constant, which with its degrees of freedom is
fitted to the returns over it: it takes up what logarithms and the proxy are off by.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.config import RecurrentConfig
from forecaster.dataset.bars import FLOOR
from forecaster.dataset.panel import History, Panel, Spread, forecasts_of
from forecaster.distributions import student_t
from forecaster.models.garch import warn_of_fallback
from forecaster.models.protocol import (
    MIN_SESSIONS,
    NO_CHECKPOINT,
    Checkpoint,
    ModelState,
    Progress,
    silent,
    too_short,
)

HORIZONS = (1, 5, 22)
"""Sessions: a day, a week, a month."""

STAND_IN = (0.0, 0.0, 0.0, 1.0)
"""Coefficients where volatilities do not vary enough for a fit: last month's volatility goes on."""

LEAST_SHARE = 0.1
"""A session's volatility counts as at least this share of the EWMA's: a logarithm of 0 has no end."""


def regressors(history: History) -> np.ndarray:
    """One, then the log volatility of the last session, week and month: (sessions, 4)."""
    variance = pd.Series(history.variance)
    floor = np.maximum((LEAST_SHARE * history.volatility) ** 2, FLOOR**2)
    means = [variance.rolling(n, min_periods=1).mean().to_numpy() for n in HORIZONS]
    logs = [0.5 * np.log(np.fmax(mean, floor)) for mean in means]
    return np.column_stack([np.ones(len(floor)), *logs])


class Har:
    """A per-ticker linear model of log volatility."""

    name = "har"
    tickerwise = True

    def __init__(self) -> None:
        self.fallbacks: tuple[str, ...] = ()
        self._fitted: dict[str, np.ndarray] = {}  # four coefficients, scale, df

    def fit(
        self,
        panel: Panel,
        until: np.datetime64,
        progress: Progress = silent,
        checkpoint: Checkpoint = NO_CHECKPOINT,
    ) -> None:
        """Fits each ticker by least squares, then the Student-t by maximum likelihood."""
        self._fitted, fallbacks = {}, []
        for done, history in enumerate(panel.histories, start=1):
            known = history.count_until(until)
            if known > MIN_SESSIONS:
                self._fitted[history.ticker], solved = _fit(history, known)
                if not solved:
                    fallbacks.append(history.ticker)
                    warn_of_fallback(self.name, history.ticker, history.dates[known - 1])
            progress(done, len(panel.histories), f"{self.name} {history.ticker}")
        self.fallbacks = tuple(fallbacks)
        if not self._fitted:
            raise too_short(self.name, panel, until, MIN_SESSIONS + 1)

    def forecast(self, panel: Panel, first: np.datetime64, last: np.datetime64) -> pd.DataFrame:
        """The forecasts frame of the tickers that were fitted."""
        spreads = []
        for history in panel.histories:
            index = history.between(first, last)
            index = index[index >= MIN_SESSIONS - 1]
            if history.ticker in self._fitted and len(index):
                *coefficients, scale, df = self._fitted[history.ticker]
                width = _width(regressors(history)[index], np.array(coefficients))
                zeros = np.zeros(len(index))
                spreads.append(Spread(history, index, zeros, scale * width, zeros + df))
        return forecasts_of(self.name, spreads)

    def state(self) -> ModelState:
        """Coefficients, scale and df by ticker."""
        return ModelState(
            {"har": np.array(list(self._fitted.values()))},
            {"tickers": list(self._fitted), "fallbacks": list(self.fallbacks)},
        )

    def restore(self, state: ModelState) -> None:
        """Takes the numbers of a state."""
        rows, tickers = state.arrays["har"], state.settings["tickers"]
        if rows.shape != (len(tickers), len(HORIZONS) + 3) or not np.isfinite(rows).all():
            raise ValueError("expected four coefficients, a scale and df for each ticker")
        if not ((rows[:, -2] > 0) & (rows[:, -1] > 2)).all():
            raise ValueError("expected scales above 0 and df above 2")
        self._fitted = dict(zip(tickers, rows, strict=True))
        self.fallbacks = tuple(state.settings.get("fallbacks", ()))

    def export(self, folder: Path) -> None:
        """There is no other format."""


def _fit(history: History, known: int) -> tuple[np.ndarray, bool]:
    """Four coefficients, scale and df, and whether least squares had one solution."""
    logs = regressors(history)[:known]
    # The first month's averages are of less than a month.
    before, after = logs[HORIZONS[-1] : -1], logs[HORIZONS[-1] + 1 :, 1]
    coefficients, _, rank, _ = np.linalg.lstsq(before, after, rcond=None)
    solved = bool(rank == before.shape[1])
    if not solved:
        coefficients = np.array(STAND_IN)
    returns = history.log_returns[HORIZONS[-1] + 1 : known]
    scale, df = student_t.fit(returns / _width(before, coefficients))
    return np.array([*coefficients, scale, df]), solved


def _width(logs: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Volatility a day, a fraction; never above 1: (sessions,)."""
    # Not a product of matrices, which would round a row as the number of rows has it.
    total = np.sum(logs * coefficients, axis=1)
    return np.exp(np.clip(total, np.log(FLOOR), 0.0))


def create(name: str, config: RecurrentConfig) -> Har:
    """The model called ``har``."""
    return Har()
