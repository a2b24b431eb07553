"""Murphy diagrams: is one variance forecast better by every consistent loss, or only by some?

Ehm, Gneiting, Jordan and Krüger (2016), Of quantiles and expectiles: consistent scoring functions,
Choquet representations and forecast rankings, Journal of the Royal Statistical Society B 78(3).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import special

from forecaster.evaluation import significance
from forecaster.evaluation.metrics import BASELINES, overlap

LEVELS = np.arange(0.05, 1.0, 0.05)
"""Of the volatilities forecast, at which thresholds lie."""

_KEYS = ["date", "ticker", "cutoff"]


def elementary(forecast: np.ndarray, outcome: np.ndarray, threshold: float) -> np.ndarray:
    """Return the elementary score of the forecast of a mean: (rows,).

    |outcome - threshold| where the threshold separates the two, else 0. Every consistent loss of a
    mean, QLIKE and the squared error among them, is a mixture of these over thresholds.
    """
    between = (np.minimum(forecast, outcome) <= threshold) & (
        threshold < np.maximum(forecast, outcome)
    )
    return np.where(between, np.abs(outcome - threshold), 0.0)


def murphy(frame: pd.DataFrame, *, against: Sequence[str] = BASELINES) -> pd.DataFrame:
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
    wide = frame.pivot(index=_KEYS, columns="model", values="volatility")
    x = frame.drop_duplicates(_KEYS).set_index(_KEYS)["log_return"].reindex(wide.index)
    tables = []
    for model in frame["model"].unique():
        for other in against:
            if other != model and other in wide:
                pair = wide[[model, other]].assign(square=x**2).dropna()
                tables.append(_of_pair(pair, model, other, overlap(frame)))
    columns = ["model", "against", "volatility", "share", "low", "high"]
    return (
        pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)
    )


def _of_pair(pair: pd.DataFrame, model: str, other: str, overlapping: int) -> pd.DataFrame:
    """The rows of `murphy` of two models' volatilities and squared returns."""
    days, day = np.unique(pair.index.get_level_values("date"), return_inverse=True)
    if len(days) < 2:
        return pd.DataFrame(columns=["model", "against", "volatility", "share", "low", "high"])
    ours, theirs = (pair[name].to_numpy() for name in (model, other))
    square, tickers, rows = pair["square"].to_numpy(), np.bincount(day), []
    for volatility in np.quantile(np.concatenate([ours, theirs]), LEVELS):
        own, baseline = (
            np.bincount(day, elementary(it**2, square, volatility**2)) / tickers
            for it in (ours, theirs)
        )
        test = significance.diebold_mariano(own, baseline, overlapping)
        error = abs(test.difference / test.statistic) if test.statistic else 0.0
        reach = special.stdtrit(float(test.df), 0.975) * error
        ends = np.array([test.difference, test.difference - reach, test.difference + reach])
        rows.append((volatility, *(ends / max(baseline.mean(), 1e-300))))
    table = pd.DataFrame(rows, columns=["volatility", "share", "low", "high"])
    return table.assign(model=model, against=other)
