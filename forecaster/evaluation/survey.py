"""What all forecasts have in common, known before the first of them is evaluated."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecaster.distributions.parts import Parts, together
from forecaster.errors import HistoryError
from forecaster.evaluation import metrics


@dataclass(frozen=True)
class Survey:
    """Models, step and cutoffs of forecasts whose outcomes are known."""

    models: tuple[str, ...]
    """In the order of :func:`forecaster.distributions.parts.together`."""
    step: int
    """Sessions ahead that all of them are."""
    overlapping: int
    """:func:`forecaster.evaluation.metrics.overlap`"""
    apart: np.ndarray
    """The cutoffs of :func:`forecaster.evaluation.metrics.apart`."""

    @classmethod
    def of(cls, parts: Parts) -> "Survey":
        """Return the survey of the parts of a forecasts frame; HistoryError if no outcome is known."""
        models, spans = [], []
        for rows in parts.columns(["model", "cutoff", "date", "step", "log_return"]):
            rows = metrics.known(rows)
            models.append(rows["model"].unique())
            spans.append(rows[["cutoff", "date", "step"]].drop_duplicates())
        every = pd.concat(spans).drop_duplicates()
        if every.empty:
            raise HistoryError(
                "expected forecasts whose outcome is known, came none; evaluate them once a session "
                "forecast has closed"
            )
        apart = metrics.apart(every)["cutoff"].unique()
        return cls(tuple(together(models)), metrics.step_of(every), metrics.overlap(every), apart)
