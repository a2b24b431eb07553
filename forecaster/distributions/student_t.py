"""The location-scale Student-t distribution, vectorised.

Every function broadcasts its arrays; a NaN parameter gives a NaN result. `location` and `scale`
are in the units of the value (a log return as a fraction), `df` is the degrees of freedom.

Written on scipy.special because scipy.stats takes most of a second to import.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from forecaster.errors import HistoryError

DF_BOUNDS = (2.1, 200.0)
SCALE_FLOOR = 1e-6

Array = np.ndarray[Any, np.dtype[np.float64]]

# Nodes and weights on (0, 1) after u = level * v**6. The power crowds the nodes into the tail,
# where the quantile runs off like u**(-1/df), and leaves an integrand that a polynomial follows.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)
_TAIL_SHARES = ((_NODES + 1) / 2) ** 6
_TAIL_WEIGHTS = _WEIGHTS / 2 * 6 * ((_NODES + 1) / 2) ** 5


def quantile(location: ArrayLike, scale: ArrayLike, df: ArrayLike, levels: ArrayLike) -> Array:
    """Quantiles at `levels`, in a new last axis: parameters (...) give (..., levels)."""
    location, scale, df = (np.asarray(a, dtype=float)[..., None] for a in (location, scale, df))
    return location + scale * special.stdtrit(df, np.asarray(levels, dtype=float))


def cdf(x: ArrayLike, location: ArrayLike, scale: ArrayLike, df: ArrayLike) -> Array:
    """Probability of a value no greater than `x`."""
    return special.stdtr(df, _standardised(x, location, scale))


def log_density(x: ArrayLike, location: ArrayLike, scale: ArrayLike, df: ArrayLike) -> Array:
    """Natural logarithm of the density at `x`."""
    z = _standardised(x, location, scale)
    return _log_standard_density(z, np.asarray(df, dtype=float)) - np.log(scale)


def volatility(scale: ArrayLike, df: ArrayLike) -> Array:
    """Return the standard deviation, scale * sqrt(df / (df - 2)); infinite where df is 2 or less.

    A `df` of NaN stays NaN.
    """
    scale, df = np.asarray(scale, dtype=float), np.asarray(df, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(df <= 2, np.inf, scale * np.sqrt(df / (df - 2)))


def crps(x: ArrayLike, location: ArrayLike, scale: ArrayLike, df: ArrayLike) -> Array:
    """Continuous ranked probability score of the distribution at `x`, in the units of `x`.

    With z = (x - location) / scale, F and f the standard cdf and density, and B the beta
    function, for df > 1::

        scale * (z (2 F(z) - 1) + 2 f(z) (df + z²) / (df - 1)
                 - 2 sqrt(df) / (df - 1) * B(1/2, df - 1/2) / B(1/2, df/2)²)

    Source: Jordan, Krüger and Lerch (2019), Evaluating probabilistic forecasts with
    scoringRules, Journal of Statistical Software 90(12), appendix A.
    """
    z, df = _standardised(x, location, scale), np.asarray(df, dtype=float)
    distance = z * (2 * special.stdtr(df, z) - 1)
    density = 2 * np.exp(_log_standard_density(z, df)) * (df + z**2) / (df - 1)
    betas = special.beta(0.5, df - 0.5) / special.beta(0.5, df / 2) ** 2
    return scale * (distance + density - 2 * np.sqrt(df) / (df - 1) * betas)


def tail_mean_loss(
    location: ArrayLike, scale: ArrayLike, df: ArrayLike, level: float = 0.05
) -> Array:
    """Mean loss of the worst `level` of the outcomes, as a fraction of the price.

    The parameters are of a log return, the loss is of the simple return: the mean of
    1 - exp(q(u)) over u in (0, level), by 32-point Gauss-Legendre quadrature. This is the
    expected shortfall of Acerbi and Tasche (2002).
    """
    tail = quantile(location, scale, df, level * _TAIL_SHARES)  # (..., nodes)
    return -np.expm1(tail) @ _TAIL_WEIGHTS


def fit(z: ArrayLike) -> tuple[float, float]:
    """Maximum-likelihood `(scale, df)` of a Student-t with location zero.

    `z` is one sample, flattened; values that are not finite are left out. df stays within
    `DF_BOUNDS` and the scale above `SCALE_FLOOR`, so a sample of zeros has a fit too.
    Raises HistoryError when no finite value is left.
    """
    from scipy.optimize import minimize

    sample = np.asarray(z, dtype=float).ravel()
    sample = sample[np.isfinite(sample)]
    if not len(sample):
        raise HistoryError(
            "expected at least one finite value to fit a Student-t to, came none; "
            "give a longer history"
        )
    spread = float(np.sqrt(np.mean(sample**2)))
    if spread <= SCALE_FLOOR:
        return SCALE_FLOOR, DF_BOUNDS[1]
    squares = (sample / spread) ** 2

    def loss(theta: Array) -> tuple[float, Array]:
        log_scale, log_df = theta
        df = np.exp(log_df)
        ratio = squares * np.exp(-2 * log_scale) / df
        log_tail = np.mean(np.log1p(ratio))
        weight = np.mean((df + 1) * ratio / (1 + ratio))
        constant = special.gammaln((df + 1) / 2) - special.gammaln(df / 2) - np.log(df) / 2
        d_constant = (special.psi((df + 1) / 2) - special.psi(df / 2) - 1 / df) / 2
        value = log_scale - constant + (df + 1) / 2 * log_tail
        d_df = -d_constant + log_tail / 2 - weight / (2 * df)
        return value, np.array([1 - weight, d_df * df])

    # More than two thirds of exact zeros send the likelihood to infinity as the scale shrinks,
    # hence the lower bound, a thousandth of the sample's spread.
    bounds = [(np.log(1e-3), np.log(2.0)), tuple(np.log(DF_BOUNDS))]
    start = np.array([np.log(0.8), np.log(6.0)])
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13}
    )
    scale, df = np.exp(found.x)
    return max(float(scale) * spread, SCALE_FLOOR), float(np.clip(df, *DF_BOUNDS))


def _standardised(x: ArrayLike, location: ArrayLike, scale: ArrayLike) -> Array:
    return (np.asarray(x, dtype=float) - location) / np.asarray(scale, dtype=float)


def _log_standard_density(z: Array, df: Array) -> Array:
    constant = special.gammaln((df + 1) / 2) - special.gammaln(df / 2) - np.log(df * np.pi) / 2
    return constant - (df + 1) / 2 * np.log1p(z**2 / df)
