"""What every distribution of a log return answers, so that callers may hold any of them."""

from collections.abc import Callable
from typing import Protocol

from forecaster.distributions.student_t import Array


class Distribution(Protocol):
    """A family of distributions: a module with these functions.

    Functions take the family's parameters as arrays that broadcast, one entry a distribution:
    (location, scale, df) in :mod:`~forecaster.distributions.student_t`, with a skew after them in
    :mod:`~forecaster.distributions.skewed_t`, the quantiles (..., 23) in
    :mod:`~forecaster.distributions.quantile_grid`. Values are log returns as fractions.
    """

    cdf: Callable[..., Array]
    """(x, *parameters): the probability of a value no greater than x."""
    log_density: Callable[..., Array]
    """(x, *parameters): the natural logarithm of the density at x."""
    crps: Callable[..., Array]
    """(x, *parameters): the continuous ranked probability score at x, in the units of x."""
    quantile: Callable[..., Array]
    """(*parameters, levels): the quantiles, with the levels in a new last axis."""
    moments: Callable[..., tuple[Array, Array]]
    """(*parameters): the mean and the standard deviation."""
    tail_mean: Callable[..., Array]
    """(*parameters, level): the mean of the lowest `level` of the outcomes."""
    value_at_risk: Callable[..., Array]
    """(*parameters, level): the loss exceeded with probability `level`, a fraction of the price."""
    expected_shortfall: Callable[..., Array]
    """(*parameters, level): the mean loss of the worst `level`, a fraction of the price."""
