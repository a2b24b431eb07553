"""What a loss is made of: miscalibration, discrimination and uncertainty (CORP).

Forecasts are recalibrated by isotonic regression, the monotone curve that is best for every
consistent score at once. What that gains is their miscalibration, what is then gained over a constant
is their discrimination::

    score = miscalibration - discrimination + uncertainty

Dimitriadis, Gneiting and Jordan (2021), Stable reliability diagrams for probabilistic classifiers,
Proceedings of the National Academy of Sciences 118(8); for means such as a variance, Gneiting and
Resin (2023), Regression diagnostics meets forecast evaluation, Electronic Journal of Statistics 17(2).
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from forecaster.distributions import forecasts
from forecaster.evaluation import metrics

_FLOOR = 1e-12
"""Variances below this, of returns that rest, count as this."""


def decomposition(frame: pd.DataFrame, rise: ArrayLike | None = None) -> pd.DataFrame:
    """Take apart the losses of P(rise) and of the variance, over all tickers.

    Parameters
    ----------
    frame : the forecasts frame, of rows whose return is known.
    rise : the probability of a rise of each row, if it is known already: (rows,).

    Returns
    -------
    Two rows for each model: model, forecast (``rise``, whose score is Brier's, or ``variance``, whose
    score is QLIKE of the squared return), score, miscalibration, discrimination, uncertainty and
    forecasts (their number). Discrimination of the variance is also between tickers.
    """
    rows = []
    probability = forecasts.probability_of_rise(frame) if rise is None else np.asarray(rise)
    for model, at in frame.groupby("model", sort=False).indices.items():
        its = frame.iloc[at]
        x, p = its["log_return"].to_numpy(), probability[at]
        variance = np.maximum(its["volatility"].to_numpy() ** 2, _FLOOR)
        for name, forecast, outcome, score in (
            ("rise", p, (x > 0).astype(float), brier),
            ("variance", variance, np.maximum(x**2, _FLOOR), _qlike),
        ):
            value = float(score(forecast, outcome).mean())
            better = float(score(recalibrated(forecast, outcome), outcome).mean())
            constant = float(score(np.full(len(x), outcome.mean()), outcome).mean())
            rows.append((model, name, value, value - better, constant - better, constant, len(its)))
    columns = ["score", "miscalibration", "discrimination", "uncertainty", "forecasts"]
    return pd.DataFrame(rows, columns=["model", "forecast", *columns])


def reliability(frame: pd.DataFrame, rise: ArrayLike | None = None) -> pd.DataFrame:
    """Return the reliability diagram of P(rise): how often it rose, by what was forecast.

    Parameters
    ----------
    frame : the forecasts frame, of rows whose return is known.
    rise : the probability of a rise of each row, if it is known already: (rows,).

    Returns
    -------
    Two rows for each step of the isotonic regression of each model, its ends: model, probability
    (forecast), share (of rises) and forecasts (their number in the step).
    """
    tables = []
    probability = forecasts.probability_of_rise(frame) if rise is None else np.asarray(rise)
    rose = frame["log_return"].to_numpy() > 0
    for model, at in frame.groupby("model", sort=False).indices.items():
        p = probability[at]
        rows = pd.DataFrame({"probability": p, "share": recalibrated(p, rose[at])})
        steps = rows.groupby("share")["probability"].agg(["min", "max", "size"])
        ends = steps.melt(["size"], value_name="probability", ignore_index=False).reset_index()
        ends = ends.sort_values(["share", "probability"], kind="stable")
        tables.append(ends.rename(columns={"size": "forecasts"}).assign(model=str(model)))
    columns = ["model", "probability", "share", "forecasts"]
    return pd.concat(tables, ignore_index=True)[columns]


def recalibrated(forecast: ArrayLike, outcome: ArrayLike) -> np.ndarray:
    """Return the isotonic regression of outcomes on forecasts, at each forecast: (rows,)."""
    from scipy.optimize import isotonic_regression

    forecast, outcome = np.asarray(forecast, dtype=float), np.asarray(outcome, dtype=float)
    values, at = np.unique(forecast, return_inverse=True)
    counts = np.bincount(at, minlength=len(values))
    means = np.bincount(at, outcome, minlength=len(values)) / counts
    return np.asarray(isotonic_regression(means, weights=counts).x)[at]


def brier(probability: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """Return the squared difference of a probability and what happened, 0 or 1."""
    return np.asarray(np.square(probability - outcome))


def _qlike(variance: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Return the QLIKE of a variance at a square."""
    return metrics.qlike(np.sqrt(square), np.sqrt(variance))
