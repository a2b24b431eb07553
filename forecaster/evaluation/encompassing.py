"""Which variance forecast still knows something when another is known?

Two forecasts are put together as h = exp(c) a^(1-w) b^w. At w = 0 the other, b, adds nothing: a
encompasses it. At w = 1 it is the other way round.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import special

from forecaster.evaluation import significance
from forecaster.evaluation.panel import Panel

_FLOOR = 1e-12


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
    log(b / a) with the logarithm as link and log(a) as offset, by `statsmodels`.

    References
    ----------
    Harvey, Leybourne and Newbold (1998), Tests for forecast encompassing, Journal of Business &
    Economic Statistics 16(2). Patton (2011), Journal of Econometrics 160(1), for QLIKE.
    """
    panel, rows = Panel.of(frame), []
    volatility, square = panel.values("volatility"), panel.outcome("log_return") ** 2
    day = panel.keys["date"].factorize()[0]
    for other in against:
        if other == model or other not in panel.models:
            continue
        pair = volatility[:, [panel.column(it) for it in (model, other)]]
        both = ~np.isnan(pair).any(axis=1)
        row = {"model": model, "against": other, **_fitted(pair[both], square[both], day[both])}
        rows.append(row | {"sessions": len(np.unique(day[both]))})
    return pd.DataFrame(rows, columns=COLUMNS)


def _fitted(pair: np.ndarray, square: np.ndarray, day: np.ndarray) -> dict[str, float]:
    """Weight, error and p-values of two models' volatilities, (rows, 2), and squared returns."""
    unknown = dict.fromkeys(("weight", "error", "adds_p", "gives_p"), np.nan)
    a, b = 2 * np.log(pair.T)
    gap, days = b - a, len(np.unique(day))
    if days < 3 or gap.std() <= significance.ROUNDING:
        return unknown  # of forecasts that are equal but for a factor
    from statsmodels.genmod.families import Gamma
    from statsmodels.genmod.families.links import Log
    from statsmodels.genmod.generalized_linear_model import GLM

    square = np.maximum(square, _FLOOR)
    regressors = np.column_stack([np.ones(len(gap)), gap])
    fit = GLM(square, regressors, family=Gamma(Log()), offset=a).fit(
        cov_type="cluster", cov_kwds={"groups": np.unique(day, return_inverse=True)[1]}
    )
    weight, error = float(fit.params[1]), float(fit.bse[1])
    adds, gives = (2 * special.stdtr(days - 1, -abs(weight - it) / error) for it in (0.0, 1.0))
    return {"weight": weight, "error": error, "adds_p": float(adds), "gives_p": float(gives)}
