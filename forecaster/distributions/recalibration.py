"""Recalibration: quantiles that learn from their own misses, forecast by forecast.

Each quantile level of each ticker and model has an offset, in units of the forecast volatility,
that goes up after an outcome above the quantile and down after one below::

    issued  = q + offset * volatility
    offset += step * (level - [outcome <= issued])

so that in the long run a share `level` of the outcomes lies below, whatever the returns do: the
error of that share over T outcomes is at most (B + step) / (step * T), where B bounds the
(outcome - q) / volatility. This is the quantile tracking of Gibbs and Candès (2021, Adaptive
conformal inference under distribution shift, NeurIPS) and Angelopoulos, Candès and Tibshirani
(2023, Conformal PID control for time series prediction, NeurIPS).

Ours differs in three ways. Offsets are in units of volatility, so a calm and a wild spell teach
alike. The step of a level is `RATE` over the normal density at its quantile: every level then
closes the same share of a gap a session, where an equal step leaves the tails to learn too late
and the middle to wander. The median is not tracked: its noise would outweigh what is to be learnt.
Quantiles that have crossed it are put a hair beside it, and those that cross each other sorted, as
Chernozhukov, Fernández-Val and Galichon (2010, Econometrica 78(3)) propose; the bound is of those
before, and there is little to do.

Tickers do not learn from each other: a forecast is the same alone and among others, and nothing
depends on which exchange closes first.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import special

from forecaster.distributions import forecasts

RATE = 0.002
"""Share of a gap that closes in a session; chosen on forecasts of 2007 to 2012, see benchmarks."""

HAIR = 1e-9
"""In volatilities: so that the median still parts rises from falls."""

_LEVELS = np.array(forecasts.LEVELS)
_WIDTH = ("q0.05", "q0.95")


def steps(rate: float = RATE) -> np.ndarray:
    """Step of each quantile level, in units of volatility; 0 for the median: (levels,)."""
    density = np.exp(-np.square(special.ndtri(_LEVELS)) / 2) / np.sqrt(2 * np.pi)
    return np.where(_LEVELS == 0.5, 0.0, rate / density)


def recalibrate(frame: pd.DataFrame, *, rate: float = RATE) -> pd.DataFrame:
    """Return the forecasts with quantiles moved by what was known at each cutoff.

    A row uses the outcomes of earlier forecasts of its ticker, model and step that are dated up to
    its cutoff, and nothing else; unknown outcomes teach nothing. The first rows have nothing to
    learn from and stay as they are. `rate` is that of `steps`.

    The volatility is multiplied by the change of the 90% interval's width, so that it tells of the
    same spread; the mean stays. The Student-t becomes null: the forecast no longer is one.
    """
    quantiles, median = tracked(frame, rate=rate), frame["q0.5"].to_numpy()[:, None]
    hair = HAIR * frame["volatility"].to_numpy()[:, None]
    quantiles = np.where(_LEVELS < 0.5, np.minimum(quantiles, median - hair), quantiles)
    quantiles = np.where(_LEVELS > 0.5, np.maximum(quantiles, median + hair), quantiles)
    quantiles.sort(axis=1)
    moved = pd.DataFrame(quantiles, frame.index, forecasts.QUANTILES)
    low, high = _WIDTH
    old, new = (it[high].to_numpy() - it[low].to_numpy() for it in (frame, moved))
    change = np.divide(new, old, out=np.ones(len(frame)), where=(old > 0) & (new > 0))
    parameters = dict.fromkeys(forecasts.STUDENT, np.nan)
    return frame.assign(volatility=frame["volatility"] * change, **moved, **parameters)


def tracked(frame: pd.DataFrame, *, rate: float = RATE) -> np.ndarray:
    """The quantiles of each row with its offsets, which may cross: (rows, levels)."""
    series = frame.groupby(["ticker", "model", "step"]).ngroup().to_numpy()
    x, volatility = frame["log_return"].to_numpy(), frame["volatility"].to_numpy()
    quantiles = frame[forecasts.QUANTILES].to_numpy(copy=True)
    offsets, step = np.zeros((series.max(initial=-1) + 1, len(_LEVELS))), steps(rate)
    for ended, issued in _days(frame):
        below = x[ended, None] <= quantiles[ended]
        np.add.at(offsets, series[ended], step * (_LEVELS - below))
        quantiles[issued] += offsets[series[issued]] * volatility[issued, None]
    return quantiles


def _days(frame: pd.DataFrame) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, day by day, the rows whose known outcome is of that day and those issued at its end."""
    cutoff, date = frame["cutoff"].to_numpy(), frame["date"].to_numpy()
    known = np.flatnonzero(frame["log_return"].notna())
    ended, issued = known[np.argsort(date[known], kind="stable")], np.argsort(cutoff, kind="stable")
    days = np.union1d(date[known], cutoff)
    ends = np.searchsorted(date[ended], days, side="right")
    issues = np.searchsorted(cutoff[issued], days, side="right")
    yield from zip(np.split(ended, ends[:-1]), np.split(issued, issues[:-1]), strict=True)
