"""Random walks: tomorrow is today, give or take a Student-t of a simply measured width.

Two ways to measure the width, and one model that adds the drift so far. What is fitted, per ticker
and up to the fit's cutoff, is the shape of the Student-t of returns divided by that width.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.config import RecurrentConfig
from forecaster.dataset.bars import FLOOR
from forecaster.dataset.panel import History, Panel, Spread, forecasts_of
from forecaster.distributions import student_t
from forecaster.models.protocol import (
    MIN_SESSIONS,
    NO_CHECKPOINT,
    Checkpoint,
    ModelState,
    Progress,
    silent,
    too_short,
)

WIDTH_WARMUP = 20
"""Sessions after which a width means something."""

WINDOW = 250
"""Sessions whose spread the naive forecast takes for tomorrow's: about a year."""


def rolling(history: History) -> np.ndarray:
    """Root mean square return of the last ``WINDOW`` sessions (fewer at the start): (sessions,)."""
    squares = np.nan_to_num(history.log_returns**2)
    total = np.cumsum(squares)
    total[WINDOW:] -= total[:-WINDOW].copy()
    # The first session has no return.
    count = np.clip(np.arange(len(squares)), 1, WINDOW)
    return np.maximum(np.sqrt(np.maximum(total, 0.0) / count), FLOOR)


def riskmetrics(history: History) -> np.ndarray:
    """EWMA volatility with decay 0.94 (J.P. Morgan, RiskMetrics, 1996): (sessions,)."""
    return history.volatility


def mean_so_far(history: History) -> np.ndarray:
    """Mean log return of all sessions up to each: (sessions,)."""
    returns = np.nan_to_num(history.log_returns)
    return np.cumsum(returns) / np.maximum(np.arange(len(returns)), 1)


def none(history: History) -> np.ndarray:
    """No drift: (sessions,)."""
    return np.zeros(len(history.dates))


WIDTHS: dict[str, Callable[[History], np.ndarray]] = {
    "naive": rolling,
    "drift": rolling,
    "ewma": riskmetrics,
}


class RandomWalk:
    """A Student-t whose scale follows a measured width; its median is zero, or the drift so far."""

    fallbacks: tuple[str, ...] = ()
    tickerwise = True

    def __init__(self, name: str) -> None:
        self.name = name
        self._drift = mean_so_far if name == "drift" else none
        self._width = WIDTHS[name]
        self._shapes: dict[str, tuple[float, float]] = {}

    def fit(
        self,
        panel: Panel,
        until: np.datetime64,
        progress: Progress = silent,
        checkpoint: Checkpoint = NO_CHECKPOINT,
    ) -> None:
        """Fits scale and degrees of freedom of each ticker's returns over their width."""
        self._shapes = {}
        for done, history in enumerate(panel.histories, start=1):
            known = history.count_until(until)
            if known > MIN_SESSIONS:
                surprise = history.next_returns - self._drift(history)
                ratio = surprise[: known - 1] / self._width(history)[: known - 1]
                # Widths from a handful of returns say little.
                self._shapes[history.ticker] = student_t.fit(ratio[WIDTH_WARMUP:])
            progress(done, len(panel.histories), f"{self.name} {history.ticker}")
        if not self._shapes:
            raise too_short(self.name, panel, until, MIN_SESSIONS + 1)

    def forecast(self, panel: Panel, first: np.datetime64, last: np.datetime64) -> pd.DataFrame:
        """The forecasts frame of the tickers that were fitted."""
        spreads = []
        for history in panel.histories:
            index = history.between(first, last)
            index = index[index >= MIN_SESSIONS - 1]
            if history.ticker in self._shapes and len(index):
                scale, df = self._shapes[history.ticker]
                zeros = np.zeros(len(index))
                width = scale * self._width(history)[index]
                location = self._drift(history)[index]
                spreads.append(Spread(history, index, location, width, zeros + df))
        return forecasts_of(self.name, spreads)

    def state(self) -> ModelState:
        """The shapes by ticker."""
        return ModelState(
            {"shapes": np.array(list(self._shapes.values()), dtype=float)},
            {"tickers": list(self._shapes)},
        )

    def restore(self, state: ModelState) -> None:
        """Takes the shapes of a state."""
        shapes = state.arrays["shapes"]
        if shapes.shape != (len(state.settings["tickers"]), 2) or not (shapes > 0).all():
            raise ValueError("shapes must be a positive scale and df for each ticker")
        pairs = [(float(scale), float(df)) for scale, df in shapes]
        self._shapes = dict(zip(state.settings["tickers"], pairs, strict=True))

    def export(self, folder: Path) -> None:
        """There is no other format."""


def create(name: str, config: RecurrentConfig) -> RandomWalk:
    """The random walk called ``naive``, ``drift`` or ``ewma``."""
    return RandomWalk(name)
