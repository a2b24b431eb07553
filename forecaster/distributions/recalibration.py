"""Recalibration: quantiles that learn from their own misses, forecast by forecast.

Each quantile level of each ticker and model has an offset, in units of the forecast volatility,
that rises after an outcome above the quantile and falls after one below it::

    issued  = q + offset * volatility
    offset += step * (level - [outcome <= issued])

In the long run a share `level` of the outcomes then lies below the quantile, whatever the returns
do: the error of that share over T outcomes is at most (B + step) / (step T), where B bounds
|outcome - q| / volatility. This is the quantile tracking of Gibbs and Candès (2021, Adaptive
conformal inference under distribution shift, NeurIPS) and Angelopoulos, Candès and Tibshirani
(2023, Conformal PID control for time series prediction, NeurIPS).

Ours differs in three ways. Offsets are in units of volatility, so that calm and volatile sessions
teach alike. The step of a level is `RATE` over the normal density at its quantile: every level then
closes the same share of a gap each session, where an equal step would let the tails learn too late
and the middle wander. The median is not tracked, because its noise would outweigh what it learns.

Quantiles that have crossed the median are put next to it, and those that cross each other are
sorted, as Chernozhukov, Fernández-Val and Galichon (2010, Econometrica 78(3)) propose. The bound
holds for the quantiles before that, which changes little.

Tickers do not learn from each other: a forecast is the same alone and among others, and does not
depend on which exchange closes first.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from forecaster.distributions import forecasts, quantile_grid
from forecaster.distributions.student_t import Array

RATE = 0.002
"""Share of a gap that closes in a session, chosen on forecasts of 2007 to 2012 (see benchmarks)."""

LEAST_GAP = 1e-9
"""Between the median and its neighbours, in volatilities, so that no atom lies at the median."""

_LEVELS: Array = np.array(quantile_grid.LEVELS)
_WIDTH = ("q0.05", "q0.95")


def steps(rate: float = RATE) -> Array:
    """Return the step of each quantile level in units of volatility, 0 for the median: (23,)."""
    density = np.exp(-np.square(special.ndtri(_LEVELS)) / 2) / np.sqrt(2 * np.pi)
    return np.where(_LEVELS == 0.5, 0.0, rate / density)


def recalibrate(frame: pd.DataFrame, *, rate: float = RATE) -> pd.DataFrame:
    """Return the forecasts with quantiles moved by what was known at each cutoff.

    A row learns from the outcomes of earlier forecasts of its ticker, model and step that are dated
    up to its cutoff, and from nothing else. The first rows have nothing to learn from and keep
    their quantiles.

    The volatility is multiplied by the change of the width of the 90% interval, so that both
    describe the same spread; the mean stays. The parameters of the Student-t become null: the
    forecast no longer is one.

    Parameters
    ----------
    frame : forecasts.
    rate : share of a gap that closes in a session, as in :func:`steps`.
    """
    quantiles, median = tracked(frame, rate=rate), frame["q0.5"].to_numpy()[:, None]
    gap = LEAST_GAP * frame["volatility"].to_numpy()[:, None]
    quantiles = np.where(_LEVELS < 0.5, np.minimum(quantiles, median - gap), quantiles)
    quantiles = np.where(_LEVELS > 0.5, np.maximum(quantiles, median + gap), quantiles)
    quantiles.sort(axis=1)
    moved = pd.DataFrame(quantiles, frame.index, forecasts.QUANTILES)
    low, high = _WIDTH
    old, new = (it[high].to_numpy() - it[low].to_numpy() for it in (frame, moved))
    change = np.divide(new, old, out=np.ones(len(frame)), where=(old > 0) & (new > 0))
    parameters = dict.fromkeys(forecasts.PARAMETERS, np.nan)
    return frame.assign(volatility=frame["volatility"] * change, **moved, **parameters)


def tracked(frame: pd.DataFrame, *, rate: float = RATE) -> Array:
    """Return each row's quantiles with its offsets, which may cross: (rows, 23)."""
    series = frame.groupby(["ticker", "model", "step"]).ngroup().to_numpy()
    x, volatility = frame["log_return"].to_numpy(), frame["volatility"].to_numpy()
    quantiles = frame[forecasts.QUANTILES].to_numpy(copy=True)
    offsets, step = np.zeros((series.max(initial=-1) + 1, len(_LEVELS))), steps(rate)
    for ended, issued in _days(frame):
        below = x[ended, None] <= quantiles[ended]
        np.add.at(offsets, series[ended], step * (_LEVELS - below))
        quantiles[issued] += offsets[series[issued]] * volatility[issued, None]
    return quantiles


def _days(frame: pd.DataFrame) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield, day by day, the rows whose outcome became known and those issued at its end."""
    cutoff, date = frame["cutoff"].to_numpy(), frame["date"].to_numpy()
    known = np.flatnonzero(frame["log_return"].notna())
    ended, issued = known[np.argsort(date[known], kind="stable")], np.argsort(cutoff, kind="stable")
    days = np.union1d(date[known], cutoff)
    ends = np.searchsorted(date[ended], days, side="right")
    issues = np.searchsorted(cutoff[issued], days, side="right")
    yield from zip(np.split(ended, ends[:-1]), np.split(issued, issues[:-1]), strict=True)
