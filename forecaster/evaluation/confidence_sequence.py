r"""How often do intervals hold what comes? Bounds of a share that hold on all days at once.

A 95% interval of a share holds for the one day that was fixed beforehand. A confidence sequence may be
looked at every day: the chance that the true share is *ever* outside it is 5% at most. A share m is
ruled out once somebody who bets against it has made 1 / 5% = 20 times their capital,

.. math:: K_t(m) = \tfrac{1}{2} \max\Big(\prod_{s \le t} (1 + \lambda^+_s(m) (x_s - m)),
          \prod_{s \le t} (1 - \lambda^-_s(m) (x_s - m))\Big)

where :math:`x_s` in [0, 1] is the share of the tickers whose outcome of day :math:`s` was inside, and

.. math:: \lambda^+_s(m) = \min(\lambda_s, \tfrac{1}{2m}), \quad
          \lambda^-_s(m) = \min(\lambda_s, \tfrac{1}{2(1 - m)}), \quad
          \lambda_s = \sqrt{\frac{2 \log(2 / 0.05)}{\hat\sigma^2_{s-1} \, s \log(1 + s)}}

are the predictable plug-in bets, with the variance of the days before. It is the hedged capital process
of Waudby-Smith and Ramdas (2024), Estimating means of bounded random variables by betting, Journal of
the Royal Statistical Society B 86(1), theorem 3 and section 4.2, with weights 1/2.

What it assumes: that the chance of being inside is the same on every day, whatever came before.
Tickers of a day may depend on each other in any way, as a day counts as one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from forecaster.distributions.student_t import Array

MISS = 0.05
"""The largest chance that the true share is ever outside."""

MEANS = 1000
"""Shares that are tried."""

MOST_OF_CAPITAL = 0.5
"""The most of the capital that a bet may lose."""


class Bounds(NamedTuple):
    """What the share may be."""

    low: float
    high: float

    def has(self, share: float) -> bool:
        """Return whether a share lies between them."""
        return self.low <= share <= self.high


def bounds(x: ArrayLike) -> Bounds:
    """Return the bounds after the last day: (days,) shares of the tickers inside; 0 and 1 before any.

    They lie on a grid of `MEANS` steps, each at the first share that is ruled out, so that the grid
    makes them wider and not narrower. Both are NaN if the share has changed so much that none fits.
    """
    grid = np.arange(MEANS + 1) / MEANS
    gains = (it.sum(axis=-1) for it in _gains(np.asarray(x, dtype=float), grid))
    left = np.flatnonzero(_hedged(*gains) < 1 / MISS)
    if not left.size:
        return Bounds(np.nan, np.nan)
    return Bounds(float(grid[max(left[0] - 1, 0)]), float(grid[min(left[-1] + 1, MEANS)]))


def capital(x: ArrayLike, mean: float) -> Array:
    """Return what betting against a mean has made of 1 after each day: (days,) from (days,) shares."""
    gains = _gains(np.asarray(x, dtype=float), np.array([mean]))
    return _hedged(*(np.cumsum(it[0]) for it in gains))


def _gains(x: Array, means: Array) -> tuple[Array, Array]:
    """Logarithmic gains of betting that the share is above, or below, each mean: (means, days) each."""
    bets, m = _bets(x), means[:, None]
    with np.errstate(divide="ignore"):
        above = np.minimum(bets, MOST_OF_CAPITAL / m)
        below = np.minimum(bets, MOST_OF_CAPITAL / (1 - m))
    return np.log1p(above * (x - m)), np.log1p(below * (m - x))


def _hedged(above: Array, below: Array) -> Array:
    """Capital of half a bet on each side, from their logarithmic gains; of the better half alone."""
    with np.errstate(over="ignore"):  # what is beyond all doubt is infinite
        return np.asarray(np.exp(np.maximum(above, below)) / 2)


def _bets(x: Array) -> Array:
    """The bet of each day, from the days before it: (days,)."""
    days = np.arange(1, len(x) + 1)
    mean = (0.5 + np.cumsum(x)) / (days + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (days + 1)
    before = np.concatenate([[0.25], variance[:-1]]) if len(x) else variance
    bets: Array = np.sqrt(2 * np.log(2 / MISS) / (before * days * np.log1p(days)))
    return bets
