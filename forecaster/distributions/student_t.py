"""The location-scale Student-t distribution, vectorised.

Every function broadcasts its arrays; a NaN parameter gives a NaN result. `location` and `scale`
are in the units of the value (a log return as a fraction), `df` is the degrees of freedom. What
:class:`~forecaster.distributions.distribution.Distribution` lists is here.

Written on scipy.special because scipy.stats takes most of a second to import.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from forecaster.errors import HistoryError

Array = NDArray[np.float64]

DF_BOUNDS = (2.1, 200.0)
SCALE_FLOOR = 1e-6

# Nodes and weights on (0, 1) after u = level * v**6. The power crowds the nodes into the tail,
# where the quantile grows like u**(-1/df), and leaves an integrand that a polynomial follows.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)
TAIL_NODES: Array = ((_NODES + 1) / 2) ** 6
TAIL_WEIGHTS: Array = _WEIGHTS / 2 * 6 * ((_NODES + 1) / 2) ** 5


def quantile(location: ArrayLike, scale: ArrayLike, df: ArrayLike, levels: ArrayLike) -> Array:
    """Return the quantiles at `levels`, in a new last axis: (...) gives (..., levels)."""
    location, scale = (np.asarray(a, dtype=float)[..., None] for a in (location, scale))
    values: Array = location + scale * _standard_quantile(df, levels)
    return values


def cdf(x: ArrayLike, location: ArrayLike, scale: ArrayLike, df: ArrayLike) -> Array:
    """Return the probability of a value no greater than `x`."""
    values: Array = special.stdtr(df, _standardised(x, location, scale))
    return values


def log_density(x: ArrayLike, location: ArrayLike, scale: ArrayLike, df: ArrayLike) -> Array:
    """Return the natural logarithm of the density at `x`."""
    z = _standardised(x, location, scale)
    values: Array = _log_standard_density(z, np.asarray(df, dtype=float)) - np.log(scale)
    return values


def volatility(scale: ArrayLike, df: ArrayLike) -> Array:
    """Return the standard deviation, scale * sqrt(df / (df - 2)).

    It is infinite where `df` is 2 or less, and NaN where `df` is NaN.
    """
    scale, df = np.asarray(scale, dtype=float), np.asarray(df, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(df <= 2, np.inf, scale * np.sqrt(df / (df - 2)))


def moments(location: ArrayLike, scale: ArrayLike, df: ArrayLike) -> tuple[Array, Array]:
    """Return the mean, for `df` above 1, and the standard deviation, as :func:`volatility` does."""
    spread = volatility(scale, df)
    return np.broadcast_to(np.asarray(location, dtype=float), spread.shape), spread


def crps(x: ArrayLike, location: ArrayLike, scale: ArrayLike, df: ArrayLike) -> Array:
    """Return the continuous ranked probability score at `x`, in the units of `x`.

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
    score: Array = scale * (distance + density - 2 * np.sqrt(df) / (df - 1) * betas)
    return score


def partial_moments(z: ArrayLike, df: ArrayLike) -> tuple[Array, Array]:
    """Return the integrals of t f(t) and of t² f(t) up to `z`, f the standard density.

    For df above 2, with F the standard cdf and F' that of df - 2 degrees of freedom::

        -f(z) (df + z²) / (df - 1)
        df ((df - 1) / (df - 2) F'(z sqrt((df - 2) / df)) - F(z))
    """
    z, df = np.asarray(z, dtype=float), np.asarray(df, dtype=float)
    first = -np.exp(_log_standard_density(z, df)) * (df + z**2) / (df - 1)
    wider = special.stdtr(df - 2, z * np.sqrt((df - 2) / df))
    return first, df * ((df - 1) / (df - 2) * wider - special.stdtr(df, z))


def tail_mean(location: ArrayLike, scale: ArrayLike, df: ArrayLike, level: float) -> Array:
    """Return the mean of the lowest `level` of the outcomes, for `df` above 1.

    With z the standard quantile at `level` and f the standard density::

        location - scale f(z) (df + z²) / ((df - 1) level)

    Source: McNeil, Frey and Embrechts (2015), Quantitative risk management, chapter 2.
    """
    df = np.asarray(df, dtype=float)
    z = _standard_quantile(df, [level])[..., 0]
    mean = np.exp(_log_standard_density(z, df)) * (df + z**2) / ((df - 1) * level)
    values: Array = np.asarray(location, dtype=float) - np.asarray(scale, dtype=float) * mean
    return values


def value_at_risk(location: ArrayLike, scale: ArrayLike, df: ArrayLike, level: float) -> Array:
    """Return the loss that is exceeded with probability `level`, as a fraction of the price.

    The parameters are of a log return, the loss is of the simple return: 1 - exp(quantile).
    """
    loss: Array = -np.expm1(quantile(location, scale, df, [level])[..., 0])
    return loss


def expected_shortfall(location: ArrayLike, scale: ArrayLike, df: ArrayLike, level: float) -> Array:
    """Return the mean loss of the worst `level` of the outcomes, as a fraction of the price.

    The parameters are of a log return, the loss is of the simple return: the mean of
    1 - exp(q(u)) over u in (0, level), by 32-point Gauss-Legendre quadrature.

    Source: Acerbi and Tasche (2002), On the coherence of expected shortfall, Journal of Banking &
    Finance 26(7).
    """
    tail = quantile(location, scale, df, level * TAIL_NODES)  # (..., nodes)
    # A matrix product may round a row differently for another number of rows.
    loss: Array = np.einsum("...n,n->...", -np.expm1(tail), TAIL_WEIGHTS)
    return loss


def fit(z: ArrayLike) -> tuple[float, float]:
    """Return the maximum-likelihood scale and df of a Student-t with location zero.

    Parameters
    ----------
    z : one sample, of any shape. Values that are not finite are left out.

    Returns
    -------
    The scale, at least `SCALE_FLOOR` so that a sample of zeros has a fit too, and the df, within
    `DF_BOUNDS`.

    Raises
    ------
    HistoryError
        No finite value is left.
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
    optimum = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13}
    )
    scale, df = np.exp(optimum.x)
    return max(float(scale) * spread, SCALE_FLOOR), float(np.clip(df, *DF_BOUNDS))


def _standard_quantile(df: ArrayLike, levels: ArrayLike) -> Array:
    """Standard quantiles: (..., levels). They are slow, and models share a df: one call for each."""
    distinct, row = np.unique(np.asarray(df, dtype=float), return_inverse=True)
    values: Array = special.stdtrit(distinct[:, None], np.asarray(levels, dtype=float))[row]
    return values


def _standardised(x: ArrayLike, location: ArrayLike, scale: ArrayLike) -> Array:
    z: Array = (np.asarray(x, dtype=float) - location) / np.asarray(scale, dtype=float)
    return z


def _log_standard_density(z: Array, df: Array) -> Array:
    constant = special.gammaln((df + 1) / 2) - special.gammaln(df / 2) - np.log(df * np.pi) / 2
    log_density: Array = constant - (df + 1) / 2 * np.log1p(z**2 / df)
    return log_density
