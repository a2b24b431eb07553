"""Forecasts of several sessions by iteration: quantiles of the sum of simulated returns.

A recursion gives the variance of a session from that of the session before and its shock. Paths of it
begin at some variances only, a fixed grid in their logarithm. The quantiles of their sum, over a typical
width of it, hardly depend on where the path begins, and are read between the points of the grid. So a
cutoff has the same forecast whatever others are asked for.

The shocks of a session are one quantile in the middle of each of :data:`PATHS` strata. Which paths meet
in a session is a lattice rule (Sloan and Joe 1994, Lattice methods for multiple integration): path *i* has
the stratum ``multiplier * i + shift``, modulo their number, with an odd multiplier and a shift for each
session. The noise of the quantiles is that of 100,000 independent paths. It and the grid together cost
less than 0.01% of the CRPS.
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from forecaster.dataset.bars import Floats
from forecaster.distributions import horizons
from forecaster.distributions.quantile_grid import LEVELS

PATHS = 16384

SEED = 113
"""Of the lattice: the best of 150, by the quantiles of GARCH of light and heavy tails at all steps."""

SPACING = 2.0
"""Between the points of the grid, in the log of the variance."""

STRATA: Floats = (np.arange(PATHS) + 0.5) / PATHS
"""The levels of a session's shocks."""

Following = Callable[[Floats, Floats], Floats]
"""The variance of the next session, from that of a session and its standardised shock."""

Expected = Callable[[Floats], Floats]
"""About what is expected of the variance of the next session, from that of a session."""


def quantiles(
    variance: Floats,
    steps: Sequence[int],
    shocks: Floats,
    following: Following,
    expected: Expected,
) -> dict[int, Floats]:
    """Return the quantiles of the sum of the next sessions' returns, of mean 0, by their number.

    Parameters
    ----------
    variance : (cutoffs,), of the next session.
    steps : numbers of sessions.
    shocks : (paths,), quantiles of the standardised shock at :data:`STRATA`.
    following, expected : the recursion.

    Returns
    -------
    By step, (cutoffs, levels).
    """
    place = np.log(variance) / SPACING
    below = np.floor(place)
    weight = (place - below)[:, None]
    grid = np.unique(np.append(below, below + 1))
    shapes = np.array([_shapes(at, steps, shocks, following, expected) for at in grid])
    row = np.searchsorted(grid, below)
    width = np.sqrt(np.cumsum(path(variance, max(steps), expected), axis=0))
    return {
        step: width[step - 1][:, None] * ((1 - weight) * shape[row] + weight * shape[row + 1])
        for step, shape in zip(steps, shapes.swapaxes(0, 1), strict=True)
    }


def path(variance: Floats, sessions: int, expected: Expected) -> Floats:
    """Return the variances that are expected of the next sessions: (sessions, cutoffs)."""
    variances = [variance]
    while len(variances) < sessions:
        variances.append(expected(variances[-1]))
    return np.array(variances)


def _shapes(
    at: float, steps: Sequence[int], shocks: Floats, following: Following, expected: Expected
) -> Floats:
    """Return the quantiles of each step over its typical width, from a point of the grid."""
    begin = np.exp([at * SPACING])
    width = np.sqrt(np.cumsum(path(begin, max(steps), expected)))
    variance, total, shapes = np.repeat(begin, PATHS), np.zeros(PATHS), []
    for step, order in enumerate(_orders()[: max(steps)], start=1):
        shock = shocks[order]
        total += np.sqrt(variance) * shock
        variance = following(variance, shock)
        if step in steps:
            shapes.append(_at_levels(total) / width[step - 1])
    return np.array(shapes)


def _at_levels(sample: Floats) -> Floats:
    """Return the quantiles of a sample of as many values as there are paths: (levels,)."""
    place = np.array(LEVELS) * PATHS - 0.5
    below = place.astype(int)
    weight, ordered = place - below, np.sort(sample)
    values: Floats = (1 - weight) * ordered[below] + weight * ordered[below + 1]
    return values


@cache
def _orders() -> np.ndarray:
    """Return which stratum each path's shock of a session is in: (sessions, paths)."""
    rng = np.random.default_rng(SEED)
    multiplier = 2 * rng.integers(PATHS // 2, size=(horizons.MOST, 1)) + 1
    shift = rng.integers(PATHS, size=(horizons.MOST, 1))
    orders: np.ndarray = (multiplier * np.arange(PATHS) + shift) % PATHS
    return orders
