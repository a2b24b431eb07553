"""Horizons: forecasts of several steps from one cutoff, and of the steps between them.

Models forecast the steps :data:`KNOTS`. A step between two of them is read on variance: with the share
``s`` of the way from the variance of the knot before to that of the knot after, ::

    variance = (1 - s) * before + s * after
    w        = (sqrt(variance) - sqrt(before)) / (sqrt(after) - sqrt(before))
    quantile = (1 - w) * quantile before + w * quantile after

so each of its quantiles lies between those of the knots. The share is that of the sessions, or where an
announcement is due of the variance expected of them. Variances never fall from a knot to the next.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from forecaster.distributions.levels import PARAMETERS, QUANTILES
from forecaster.errors import UsageError

if TYPE_CHECKING:  # a list of backtests checks steps, and does without pandas
    import pandas as pd

    from forecaster.distributions.student_t import Array

KNOTS = (1, 2, 3, 5, 10, 21)
"""Steps that models forecast."""

MOST = KNOTS[-1]
"""The largest step: about a month."""


def check(steps: Iterable[int]) -> tuple[int, ...]:
    """Return steps in order, each once.

    Raises
    ------
    UsageError
        There is none, or one is not between 1 and :data:`MOST`.
    """
    wanted = tuple(sorted(set(steps)))
    if not wanted or wanted[0] < 1 or wanted[-1] > MOST:
        came = ",".join(map(str, wanted)) or "none"
        raise UsageError(f"expected steps of 1 to {MOST} sessions ahead, got {came}")
    return wanted


def knots(steps: Sequence[int]) -> tuple[int, ...]:
    """Return the knots that the forecasts of some steps depend on, all from the first on."""
    last = next(knot for knot in KNOTS if knot >= max(steps))
    return tuple(knot for knot in KNOTS if knot <= last)


def around(step: int) -> tuple[int, int]:
    """Return the knots before and after a step that is none."""
    return next((before, after) for before, after in pairwise(KNOTS) if before < step < after)


def rising(frames: "Sequence[pd.DataFrame]") -> "list[pd.DataFrame]":
    """Return the forecasts of ascending steps, widened where the volatility would fall.

    Parameters
    ----------
    frames : a forecasts frame for each step, whose rows are of the same tickers and cutoffs.
    """
    least, risen = np.zeros(len(frames[0])), []
    for frame in frames:
        volatility = frame["volatility"].to_numpy()
        risen.append(_widened(frame, least / volatility) if (volatility < least).any() else frame)
        least = np.maximum(volatility, least)
    return risen


def between(before: "pd.DataFrame", after: "pd.DataFrame", share: "Array") -> "pd.DataFrame":
    """Return the moments and quantiles of a step between two, in a copy of the frame before.

    Parameters
    ----------
    before, after : forecasts frames of the same tickers and cutoffs.
    share : (rows,), in the variance from before to after.
    """
    low, high = (frame["volatility"].to_numpy() for frame in (before, after))
    volatility = np.sqrt((1 - share) * low**2 + share * high**2)
    gap = high - low
    weight = np.divide(volatility - low, gap, out=np.array(share), where=gap > 0)[:, None]
    names = ["mean", *QUANTILES]
    values = (1 - weight) * before[names].to_numpy() + weight * after[names].to_numpy()
    columns = dict(zip(names, values.T, strict=True)) | dict.fromkeys(PARAMETERS, np.nan)
    return before.assign(volatility=volatility, **columns)


def _widened(frame: "pd.DataFrame", factor: "Array") -> "pd.DataFrame":
    """Return forecasts with their distance from the mean times a factor, where that is above 1."""
    factor = np.maximum(factor, 1.0)[:, None]
    names, mean = ["location", *QUANTILES], frame[["mean"]].to_numpy()
    values = np.where(factor > 1, mean + factor * (frame[names] - mean), frame[names])
    spreads = frame[["volatility", "scale"]].to_numpy() * factor
    wide = dict(zip([*names, "volatility", "scale"], [*values.T, *spreads.T], strict=True))
    return frame.assign(**wide)
