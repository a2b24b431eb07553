"""The variances of two models side by side, and the squared returns that both forecast."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecaster.evaluation import metrics
from forecaster.evaluation.panel import Panel


@dataclass(frozen=True)
class Variances:
    """Forecasts of two models, of the rows that both have."""

    volatility: np.ndarray
    """(2, rows)"""
    square: np.ndarray
    """(rows,) of the log return"""
    day: np.ndarray
    """(rows,) the number of its date, from 0 in order of time"""
    overlap: int
    """:func:`forecaster.evaluation.metrics.overlap` of the forecasts of either"""

    @classmethod
    def of(cls, parts: Iterable[pd.DataFrame | Panel], model: str, other: str) -> "Variances":
        """Return the variances of two models from the forecasts of some tickers after the other.

        Nothing but these numbers stays of a part: the pairs of a market are too many for a table.
        """
        volatility, square = [np.empty((2, 0))], [np.empty(0)]
        dates = [np.empty(0, dtype="datetime64[us]")]
        spans = pd.DataFrame()
        for part in parts:
            panel = Panel.of(part)
            its = panel.keys[["cutoff", "date"]].assign(step=panel.step)
            spans = pd.concat([spans, its.drop_duplicates()]).drop_duplicates()
            if not {model, other} <= set(panel.models):
                continue
            values = panel.values("volatility")[:, [panel.column(it) for it in (model, other)]]
            both = ~np.isnan(values).any(axis=1)
            volatility.append(values[both].T)
            square.append(panel.outcome("log_return")[both] ** 2)
            dates.append(panel.keys["date"].to_numpy()[both].astype("datetime64[us]"))
        day, _ = pd.factorize(np.concatenate(dates), sort=True)
        overlap = metrics.overlap(spans) if len(spans) else 1
        return cls(np.concatenate(volatility, axis=1), np.concatenate(square), day, overlap)
