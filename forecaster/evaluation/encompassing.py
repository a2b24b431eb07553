"""Which variance forecast still knows something when another is known?

Two forecasts are put together as h = exp(c) a^(1-w) b^w. At w = 0 the other, b, adds nothing: a
encompasses it. At w = 1 it is the other way round.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import special

from forecaster.evaluation import significance
from forecaster.evaluation.daily import together
from forecaster.evaluation.panel import Panel
from forecaster.evaluation.variances import Variances

_FLOOR = 1e-12

_MOST, _STILL = 100, 1e-12
"""Steps of the regression, and the share of itself by which its slope no longer moves."""

COLUMNS = ["model", "against", "weight", "error", "adds_p", "gives_p", "sessions"]


def encompassing(frame: pd.DataFrame | Panel, model: str, against: Sequence[str]) -> pd.DataFrame:
    """Test whether the variance of a model encompasses that of others, and they it.

    Parameters
    ----------
    frame : the forecasts frame, of rows whose return is known.
    model : whose forecasts are a.
    against : models whose forecasts are b; those that are not there are left out.

    Returns
    -------
    A row for each other model: model, against, weight (w of the other), error (its standard error,
    days as clusters; NaN of forecasts that are equal but for a factor), adds_p (two-sided p-value of
    w = 0: the other adds nothing), gives_p (of w = 1: the model adds nothing to the other), sessions.

    Notes
    -----
    w is that of the least QLIKE of the squared return, which is a gamma regression of it on
    log(b / a) with the logarithm as link and log(a) as offset.

    References
    ----------
    Harvey, Leybourne and Newbold (1998), Tests for forecast encompassing, Journal of Business &
    Economic Statistics 16(2). Patton (2011), Journal of Econometrics 160(1), for QLIKE.
    """
    panel = Panel.of(frame)
    tables = [
        of_pair(Variances.of([panel], model, other), model, other)
        for other in against
        if other != model and other in panel.models
    ]
    return together(tables, pd.DataFrame(columns=COLUMNS))


def of_pair(pair: Variances, model: str, other: str) -> pd.DataFrame:
    """Return the row of `encompassing` of a model and another from the variances of both."""
    days, test = int(pair.day.max(initial=-1)) + 1, dict.fromkeys(COLUMNS[2:-1], np.nan)
    a, b = 2 * np.log(pair.volatility)
    gap = b - a
    if days >= 3 and gap.std() > significance.ROUNDING:  # else equal but for a factor
        weight, error = _regression(np.maximum(pair.square, _FLOOR), a, gap, pair.day)
        adds, gives = (2 * special.stdtr(days - 1, -abs(weight - it) / error) for it in (0.0, 1.0))
        test = {"weight": weight, "error": error, "adds_p": float(adds), "gives_p": float(gives)}
    row = {"model": model, "against": other, **test, "sessions": days}
    return pd.DataFrame([row], columns=COLUMNS)


def _regression(
    outcome: np.ndarray, offset: np.ndarray, regressor: np.ndarray, day: np.ndarray
) -> tuple[float, float]:
    """Slope of a gamma regression with a logarithmic link, and its standard error; days are clusters.

    By Fisher scoring, which is least squares again and again, all weights being 1. `statsmodels` has
    the same, at ten times the memory: half a gigabyte a million rows.
    """
    n, days = len(regressor), day.max() + 1
    centred = regressor - regressor.mean()
    mean = (outcome + outcome.mean()) / 2
    linear, residual, slope = np.log(mean) - offset, outcome / mean - 1, np.inf
    for _ in range(_MOST):
        linear += residual
        before, slope = slope, centred @ linear / (centred @ centred)
        linear = linear.mean() + slope * centred
        residual = outcome * np.exp(-offset - linear) - 1
        if abs(slope - before) <= _STILL * abs(slope):
            break
    # The sandwich: the curvature of the likelihood around the spread of its slopes from day to day.
    weights = residual + 1
    level, cross = weights.sum(), weights @ centred
    curvature = np.array([[level, cross], [cross, (weights * centred) @ centred]])
    slopes = np.stack([np.bincount(day, it, days) for it in (residual, residual * centred)])
    inverse = np.linalg.inv(curvature)
    covariance = inverse @ (slopes @ slopes.T) @ inverse * (days / (days - 1) * (n - 1) / (n - 2))
    return float(slope), float(np.sqrt(covariance[1, 1]))
