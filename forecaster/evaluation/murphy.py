"""Murphy diagrams: is one variance forecast better by every consistent loss, or only by some?

Ehm, Gneiting, Jordan and Krüger (2016), Of quantiles and expectiles: consistent scoring functions,
Choquet representations and forecast rankings, Journal of the Royal Statistical Society B 78(3).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy import special

from forecaster.evaluation import significance
from forecaster.evaluation.metrics import BASELINES
from forecaster.evaluation.panel import Panel

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
    volatility, square = panel.values("volatility"), panel.outcome("log_return") ** 2
    day, rows = panel.keys["date"].factorize()[0], []
    for model in panel.models:
        for other in against:
            if other == model or other not in panel.models:
                continue
            ours, theirs = (volatility[:, panel.column(it)] for it in (model, other))
            both = ~(np.isnan(ours) | np.isnan(theirs))
            pair = _of_pair(ours[both], theirs[both], square[both], day[both], panel.overlap)
            rows += [(model, other, *row) for row in pair]
    return pd.DataFrame(rows, columns=COLUMNS)


def _of_pair(
    ours: np.ndarray, theirs: np.ndarray, square: np.ndarray, day: np.ndarray, overlapping: int
) -> Iterator[tuple[float, ...]]:
    """Yield the numbers of `murphy` of two models' volatilities, (rows,) with the days of the rows."""
    _, day, tickers = np.unique(day, return_inverse=True, return_counts=True)
    if len(tickers) < 2:
        return
    levels = np.quantile(np.concatenate([ours, theirs]), LEVELS)
    daily = (elementary(it**2, square, levels**2, day) / tickers for it in (ours, theirs))
    for volatility, own, baseline in zip(levels, *daily, strict=True):
        test = significance.diebold_mariano(own, baseline, overlapping)
        error = abs(test.difference / test.statistic) if test.statistic else 0.0
        reach = special.stdtrit(float(test.df), 0.975) * error
        ends = np.array([test.difference, test.difference - reach, test.difference + reach])
        yield (volatility, *(ends / max(baseline.mean(), 1e-300)))
