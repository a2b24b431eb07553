"""The two-piece Student-t distribution: a Student-t whose right half is stretched and whose left shrunk.

With t the standard Student-t density of `df` degrees of freedom and z = (x - location) / scale, the
density at x is ::

    t(z / (1 + skew)) / scale   for z >= 0
    t(z / (1 - skew)) / scale   for z < 0

Left of the location, the mode, lies the probability (1 - skew) / 2. A skew of 0 is the Student-t of
:mod:`~forecaster.distributions.student_t`, bit for bit. Every function broadcasts its arrays; a NaN
parameter gives a NaN result. What :class:`~forecaster.distributions.distribution.Distribution` lists
is here.

Source: Fernández and Steel (1998), On Bayesian modeling of fat tails and skewness, Journal of the
American Statistical Association 93(441), in the parameters of Arellano-Valle, Gómez and Quintana (2005),
Statistical inference for a general class of asymmetric distributions, Journal of Statistical Planning
and Inference 128(2). Hansen's (1994) is the same family: see :func:`of_hansen`.
"""

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike
from scipy import special

from forecaster.distributions import student_t
from forecaster.distributions.student_t import DF_BOUNDS, TAIL_NODES, TAIL_WEIGHTS, Array

NODES = 24
"""Degrees of freedom at which quantiles are computed; those of others are read from a polynomial."""

TAIL = 0.001
"""Quantiles further out are computed one by one."""


def quantile(
    location: ArrayLike, scale: ArrayLike, df: ArrayLike, skew: ArrayLike, levels: ArrayLike
) -> Array:
    """Return the quantiles at `levels`, in a new last axis: (...) gives (..., levels)."""
    if not np.any(skew):
        location, scale, df, _ = np.broadcast_arrays(location, scale, df, skew)
        return student_t.quantile(location, scale, df, levels)
    location, scale = (np.asarray(it, dtype=float)[..., None] for it in (location, scale))
    df, skew = np.broadcast_arrays(np.asarray(df, dtype=float), np.asarray(skew, dtype=float))
    levels = np.asarray(levels, dtype=float)
    distinct, place = np.unique(skew, return_inverse=True)
    standard = np.empty((df.size, levels.size))
    for at, its in enumerate(distinct):
        rows = place.ravel() == at
        standard[rows] = _standard_quantile(df.ravel()[rows], its, levels)
    values: Array = location + scale * standard.reshape(*df.shape, levels.size)
    return values


def _standard_quantile(df: Array, skew: float, levels: Array) -> Array:
    """Return the quantiles of the standard distributions of one skew: (rows, levels)."""
    is_left = levels <= (1 - skew) / 2
    width = np.where(is_left, 1 - skew, 1 + skew)
    # The halves are those of a symmetric distribution, each with another part of the probability.
    level = np.where(is_left, levels / (1 - skew), 1 - (1 - levels) / (1 + skew))
    inner = (level >= TAIL) & (level <= 1 - TAIL)
    usual = (df >= DF_BOUNDS[0]) & (df <= DF_BOUNDS[1])
    values = np.empty((len(df), len(levels)))
    values[:, ~inner] = special.stdtrit(df[:, None], level[~inner])
    values[np.ix_(usual, inner)] = _between_nodes(df[usual], level[inner])
    values[np.ix_(~usual, inner)] = special.stdtrit(df[~usual, None], level[inner])
    scaled: Array = width * values
    return scaled


def _between_nodes(df: Array, level: Array) -> Array:
    """Return quantiles of the Student-t by a Chebyshev polynomial in 1 / df: (rows, levels).

    It is exact to a few units of rounding. Every forecast of a network has a df of its own, and scipy solves
    an equation for each, which takes many times as long.
    """
    low, high = 1 / DF_BOUNDS[1], 1 / DF_BOUNDS[0]
    angles = np.pi * (np.arange(NODES) + 0.5) / NODES
    nodes = (low + high) / 2 + (high - low) / 2 * np.cos(angles)
    at_nodes = special.stdtrit(1 / nodes[:, None], level)  # (nodes, levels)
    cosines = np.cos(np.arange(NODES)[:, None] * angles) * 2 / NODES
    cosines[0] /= 2
    # A matrix product may round differently on another number of threads.
    coefficients = np.einsum("kn,nl->kl", cosines, at_nodes)
    values: Array = chebyshev.chebval((2 / df - (low + high)) / (high - low), coefficients).T
    return values


def cdf(
    x: ArrayLike, location: ArrayLike, scale: ArrayLike, df: ArrayLike, skew: ArrayLike
) -> Array:
    """Return the probability of a value no greater than `x`."""
    if not np.any(skew):
        return student_t.cdf(x, location, scale, df)
    z, width = _standardised(x, location, scale, skew)
    share = special.stdtr(np.asarray(df, dtype=float), z / width)
    right = 1 - width * (1 - share)
    values: Array = np.where(z < 0, width * share, right)
    return values


def log_density(
    x: ArrayLike, location: ArrayLike, scale: ArrayLike, df: ArrayLike, skew: ArrayLike
) -> Array:
    """Return the natural logarithm of the density at `x`."""
    z, width = _standardised(x, location, scale, skew)
    values: Array = student_t.log_density(z / width, 0.0, 1.0, df) - np.log(scale)
    return values


def moments(
    location: ArrayLike, scale: ArrayLike, df: ArrayLike, skew: ArrayLike
) -> tuple[Array, Array]:
    """Return the mean and the standard deviation, for `df` above 2.

    With m = t(0) df / (df - 1), half the mean distance from the mode of a Student-t, and v its variance::

        mean     = location + 4 skew m scale
        variance = scale² ((1 + 3 skew²) v - (4 skew m)²)
    """
    if not np.any(skew):
        return student_t.moments(location, scale, df)
    scale, skew = np.asarray(scale, dtype=float), np.asarray(skew, dtype=float)
    shift = 4 * skew * half_distance(df)
    variance = (1 + 3 * skew**2) * student_t.volatility(1.0, df) ** 2 - shift**2
    mean: Array = np.asarray(location, dtype=float) + scale * shift
    spread: Array = scale * np.sqrt(variance)
    return np.broadcast_to(mean, np.broadcast_shapes(mean.shape, spread.shape)), spread


def half_distance(df: ArrayLike) -> Array:
    """Return the integral of z t(z) over z > 0, t the standard density: t(0) df / (df - 1)."""
    return -student_t.partial_moments(0.0, df)[0]


def crps(
    x: ArrayLike, location: ArrayLike, scale: ArrayLike, df: ArrayLike, skew: ArrayLike
) -> Array:
    """Return the continuous ranked probability score at `x`, in the units of `x`.

    With the score S of the standard Student-t at 0, b the width of the half in which z lies (1 + skew
    right of the mode), w = |z| / b, m(w) the integral of u t(u) beyond w and T its cdf::

        scale (|z| - 2 b² (w T(-w) + m(0) - m(w)) + S ((1 - skew)³ + (1 + skew)³) / 2)

    This is the integral of (F(y) - 1{y >= x})², taken over the two halves.
    """
    if not np.any(skew):
        return student_t.crps(x, location, scale, df)
    z, width = _standardised(x, location, scale, skew)
    df, skew = np.asarray(df, dtype=float), np.asarray(skew, dtype=float)
    w = np.abs(z) / width
    beyond = -student_t.partial_moments(w, df)[0]
    inner = w * special.stdtr(df, -w) + half_distance(df) - beyond
    at_mode = student_t.crps(0.0, 0.0, 1.0, df) / 2 * ((1 - skew) ** 3 + (1 + skew) ** 3)
    score: Array = scale * (np.abs(z) - 2 * width**2 * inner + at_mode)
    return score


def tail_mean(
    location: ArrayLike, scale: ArrayLike, df: ArrayLike, skew: ArrayLike, level: float
) -> Array:
    """Return the mean of the lowest `level` of the outcomes, for `df` above 1.

    With z the standardised quantile at `level`, b the width of its half, w = |z| / b, and m(w) the
    integral of u t(u) beyond w::

        location - scale b² m(w) / level                       for z < 0
        location - scale (b² m(w) - 4 skew m(0)) / level       for z >= 0
    """
    if not np.any(skew):
        return student_t.tail_mean(location, scale, df, level)
    skew, scale = np.asarray(skew, dtype=float), np.asarray(scale, dtype=float)
    z = quantile(0.0, 1.0, df, skew, [level])[..., 0]
    width = np.where(z < 0, 1 - skew, 1 + skew)
    beyond = -(width**2) * student_t.partial_moments(np.abs(z) / width, df)[0]
    whole = np.where(z < 0, 0.0, 4 * skew * half_distance(df))
    mean: Array = np.asarray(location, dtype=float) - scale * (beyond - whole) / level
    return mean


def value_at_risk(
    location: ArrayLike, scale: ArrayLike, df: ArrayLike, skew: ArrayLike, level: float
) -> Array:
    """Return the loss that is exceeded with probability `level`, as a fraction of the price.

    The parameters are of a log return, the loss is of the simple return: 1 - exp(quantile).
    """
    loss: Array = -np.expm1(quantile(location, scale, df, skew, [level])[..., 0])
    return loss


def expected_shortfall(
    location: ArrayLike, scale: ArrayLike, df: ArrayLike, skew: ArrayLike, level: float
) -> Array:
    """Return the mean loss of the worst `level` of the outcomes, as a fraction of the price.

    As :func:`forecaster.distributions.student_t.expected_shortfall`.
    """
    tail = quantile(location, scale, df, skew, level * TAIL_NODES)  # (..., nodes)
    loss: Array = np.einsum("...n,n->...", -np.expm1(tail), TAIL_WEIGHTS)
    return loss


def of_hansen(
    mean: ArrayLike, volatility: ArrayLike, df: float, skew: float
) -> tuple[Array, Array]:
    """Return the location and the scale of Hansen's skewed Student-t of a mean and a volatility.

    Its lambda is the skew, its eta the df. Source: Hansen (1994), Autoregressive conditional density
    estimation, International Economic Review 35(3).
    """
    shift, spread = moments(0.0, 1.0, df, skew)
    scale: Array = np.asarray(volatility, dtype=float) / spread
    location: Array = np.asarray(mean, dtype=float) - scale * shift
    return location, scale


def _standardised(
    x: ArrayLike, location: ArrayLike, scale: ArrayLike, skew: ArrayLike
) -> tuple[Array, Array]:
    """Return z = (x - location) / scale, and the width of the half in which it lies."""
    z = (np.asarray(x, dtype=float) - location) / np.asarray(scale, dtype=float)
    width: Array = np.where(z < 0, 1 - np.asarray(skew, dtype=float), 1 + np.asarray(skew))
    return z, width
