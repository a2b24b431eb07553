"""Repetitions of simulated forecasts, for tests of the size and power of statistics."""

import numpy as np
import pandas as pd

from forecaster.distributions import forecasts, quantile_grid
from forecaster.distributions.forecasts import PARAMETERS, QUANTILES
from forecaster.evaluation import metrics

DF = 5.0
LEVELS = np.array(quantile_grid.LEVELS)


def simulated(
    *, models=1, tickers=1, sessions=250, seed=0, wide=1.0, shared=0.5, wild=1.0, cycle=20
):
    """Forecasts of Student-t returns that share a part of their variance within a day.

    Each model has a world of its own, so many models are many repetitions. Forecasts are `wide`
    times as wide as the truth, and `wild` times that in the third of highest volatility, which comes
    and goes every 2 pi `cycle` sessions.
    """
    rng = np.random.default_rng(seed)
    size = (models, tickers, sessions)
    normal = np.sqrt(shared) * rng.standard_normal((models, 1, sessions))
    normal = normal + np.sqrt(1 - shared) * rng.standard_normal(size)
    unit = normal * np.sqrt(DF / rng.chisquare(DF, (models, 1, sessions)))
    scale = 0.01 * np.exp(0.5 * np.sin(np.arange(sessions) / cycle))
    high = scale.argsort().argsort() >= 2 * sessions / 3
    dates = pd.bdate_range("2018-01-01", periods=sessions + 1).to_numpy()
    model, ticker, day = (axis.ravel() for axis in np.indices(size))
    return forecasts.from_student_t(
        ticker=np.array([f"T{i}" for i in range(tickers)])[ticker],
        model=np.array([f"m{i}" for i in range(models)])[model],
        cutoff=dates[:-1][day],
        date=dates[1:][day],
        last_close=100.0,
        log_return=(unit * scale).ravel(),
        location=0.0,
        scale=(scale * wide * np.where(high, wild, 1.0))[day],
        df=DF,
    )


def blind(frame):
    return frame.assign(**dict.fromkeys(PARAMETERS, np.nan))


def pooled(table, split="all"):
    return table[(table["ticker"] == metrics.POOLED) & (table["split"] == split)]


def single(table):
    return table[(table["ticker"] != metrics.POOLED) & (table["split"] == "all")]


def uniform(x):
    """Forecasts that are uniform on (0, 1), known by their quantiles."""
    frame = blind(simulated(sessions=len(x))).assign(log_return=x)
    frame[QUANTILES] = np.tile(LEVELS, (len(frame), 1))
    return frame


def rejected(table, name, **where):
    """Share of rows, each of them a repetition, whose p-value is below 5%."""
    for column, value in where.items():
        table = table[table[column] == value]
    return (table[name] < 0.05).mean()
