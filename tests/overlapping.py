"""Forecasts of several sessions of simulated prices, made every session, so that they overlap."""

import numpy as np
import pandas as pd

from forecaster.distributions import forecasts

SCALES = {"lstm": 0.0105, "naive": 0.013, "gjr": 0.011, "drift": 0.0125}


def overlapping(sessions, steps=(1, 5, 21), *, tickers=3, drift=0.0, seed=0, median=None):
    """Return the forecasts frame of some models and the variance of every session.

    Parameters
    ----------
    drift : mean daily log return.
    median : a function from outcomes to the medians of the first model; by default their past mean.
    """
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2015-01-01", periods=sessions + 1)
    tables, variances = [], []
    for ticker in (f"T{i}" for i in range(tickers)):
        x = drift + 0.01 * rng.standard_t(5, sessions) / np.sqrt(5 / 3)
        level = np.concatenate([[0.0], x.cumsum()])
        past = level / np.maximum(np.arange(sessions + 1), 1)
        variance = 1e-4 * rng.chisquare(3, sessions) / 3
        variances.append(pd.DataFrame({"ticker": ticker, "date": dates[1:], "variance": variance}))
        for model, scale in SCALES.items():
            for step in steps:
                rows = sessions + 1 - step
                outcome = level[step:] - level[:-step]
                location = step * past[:rows] if model in ("lstm", "drift") else 0.0
                if median is not None and model == "lstm":
                    location = median(outcome)
                noise = np.exp(0.1 * rng.normal(size=rows))
                table = forecasts.from_student_t(
                    ticker=ticker, model=model, cutoff=dates[:rows], date=dates[step:],
                    last_close=50.0 * np.exp(level[:rows]), log_return=outcome, location=location,
                    scale=scale * np.sqrt(0.6 * step) * noise, df=5.0,
                )  # fmt: skip
                tables.append(table.assign(step=step))
    return forecasts.concat(tables), pd.concat(variances, ignore_index=True)
