"""What a loss is made of: miscalibration, discrimination and uncertainty (CORP).

Forecasts are recalibrated by isotonic regression, the monotone curve that is best for every
consistent score at once. What that gains is their miscalibration, what is then gained over a constant
is their discrimination::

    score = miscalibration - discrimination + uncertainty

Dimitriadis, Gneiting and Jordan (2021), Stable reliability diagrams for probabilistic classifiers,
Proceedings of the National Academy of Sciences 118(8); for means such as a variance, Gneiting and
Resin (2023), Regression diagnostics meets forecast evaluation, Electronic Journal of Statistics 17(2).
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from forecaster.distributions import forecasts
from forecaster.evaluation import metrics
from forecaster.evaluation.daily import together

COLUMNS = [
    *("model", "forecast", "score", "miscalibration", "discrimination", "uncertainty"),
    "forecasts",
]

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
    probability = forecasts.probability_of_rise(frame) if rise is None else np.asarray(rise)
    x, volatility = (frame[name].to_numpy() for name in ("log_return", "volatility"))
    tables = [
        of_model(str(model), x[at], probability[at], volatility[at])
        for model, at in frame.groupby("model", sort=False).indices.items()
    ]
    return together(tables, pd.DataFrame(columns=COLUMNS))


def of_model(model: str, x: np.ndarray, rise: np.ndarray, volatility: np.ndarray) -> pd.DataFrame:
    """Return the rows of `decomposition` of a model from log returns and its forecasts: (rows,) each."""
    if not len(x):
        return pd.DataFrame(columns=COLUMNS)
    of_rise = _taken_apart(rise, (x > 0).astype(float), brier)
    variance = np.maximum(volatility**2, _FLOOR)
    of_variance = _taken_apart(variance, np.maximum(x**2, _FLOOR), _qlike)
    rows = [(model, "rise", *of_rise, len(x)), (model, "variance", *of_variance, len(x))]
    return pd.DataFrame(rows, columns=COLUMNS)


def _taken_apart(
    forecast: np.ndarray, outcome: np.ndarray, score: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> tuple[float, float, float, float]:
    """The score, miscalibration, discrimination and uncertainty of forecasts: (rows,)."""
    value = float(score(forecast, outcome).mean())
    better = float(score(recalibrated(forecast, outcome), outcome).mean())
    constant = float(score(np.full(len(outcome), outcome.mean()), outcome).mean())
    return value, value - better, constant - better, constant


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
