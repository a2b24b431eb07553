"""Murphy diagrams: is one variance forecast better by every consistent loss, or only by some?

Ehm, Gneiting, Jordan and Krüger (2016), Of quantiles and expectiles: consistent scoring functions,
Choquet representations and forecast rankings, Journal of the Royal Statistical Society B 78(3).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import special

from forecaster.evaluation import significance
from forecaster.evaluation.daily import together
from forecaster.evaluation.metrics import BASELINES
from forecaster.evaluation.panel import Panel
from forecaster.evaluation.variances import Variances

LEVELS = np.arange(0.05, 1.0, 0.05)
"""Of the volatilities forecast, at which thresholds lie."""


COLUMNS = ["model", "against", "volatility", "share", "low", "high"]


def elementary(
    forecast: np.ndarray, outcome: np.ndarray, thresholds: np.ndarray, day: np.ndarray
) -> np.ndarray:
    """Return the elementary scores of the forecasts of a mean, added up by day: (thresholds, days).

    |outcome - threshold| where the threshold separates the two, else 0. Every consistent loss of a
    mean, QLIKE and the squared error among them, is a mixture of these over thresholds.

    Parameters
    ----------
    forecast, outcome, day : (rows,); days are counted from 0.
    """
    low, high = np.minimum(forecast, outcome), np.maximum(forecast, outcome)
    sums = np.empty((len(thresholds), day.max() + 1))
    for row, threshold in zip(sums, thresholds, strict=True):
        between = np.flatnonzero((low <= threshold) & (threshold < high))
        row[:] = np.bincount(day[between], np.abs(outcome[between] - threshold), len(row))
    return sums


def murphy(frame: pd.DataFrame | Panel, *, against: Sequence[str] = BASELINES) -> pd.DataFrame:
    """Compare the variances of models with those of baselines by elementary scores.

    Parameters
    ----------
    frame : the forecasts frame, of rows whose return is known.
    against : models to be compared with.

    Returns
    -------
    A row for each model, baseline and threshold: model, against, volatility (the root of the threshold,
    as a fraction, of the log return from cutoff to date), share (the mean score less the baseline's,
    over the baseline's: below 0 the model is better for all who care about volatilities near this
    one), and low and high, the ends of the 95% interval of each alone
    (:func:`forecaster.evaluation.significance.diebold_mariano`).
    """
    panel = Panel.of(frame)
    tables = [
        of_pair(Variances.of([panel], model, other), model, other)
        for model in panel.models
        for other in against
        if other != model and other in panel.models
    ]
    return together(tables, pd.DataFrame(columns=COLUMNS))


def of_pair(pair: Variances, model: str, other: str) -> pd.DataFrame:
    """Return the rows of `murphy` of a model and a baseline from the variances of both."""
    tickers = np.bincount(pair.day)
    rows = []
    if len(tickers) > 1:
        levels = np.quantile(pair.volatility, LEVELS)
        daily = (
            elementary(it**2, pair.square, levels**2, pair.day) / tickers for it in pair.volatility
        )
        for volatility, own, baseline in zip(levels, *daily, strict=True):
            rows.append((model, other, volatility, *_share(own, baseline, pair.overlap)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _share(own: np.ndarray, baseline: np.ndarray, overlapping: int) -> np.ndarray:
    """The share, low and high of `murphy` from the scores of two models of each day."""
    test = significance.diebold_mariano(own, baseline, overlapping)
    error = abs(test.difference / test.statistic) if test.statistic else 0.0
    reach = special.stdtrit(float(test.df), 0.975) * error
    ends = np.array([test.difference, test.difference - reach, test.difference + reach])
    return np.asarray(ends / max(baseline.mean(), 1e-300))
