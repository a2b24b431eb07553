"""What every forecasting model can do, and what it is made of."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from forecaster.dataset.panel import Panel
from forecaster.errors import HistoryError

MIN_SESSIONS = 60
"""Sessions of history a ticker needs before its first forecast, whatever the model."""


Progress = Callable[[int, int, str], None]
"""Told how much is done, of how much, and what is going on."""


def silent(done: int, total: int, text: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class ModelState:
    """All that a fitted model is: plain numbers and names, nothing that can be run."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    """What JSON can say."""


class Checkpoint:
    """Where a training keeps its state between epochs; this one keeps nothing."""

    def load(self) -> ModelState | None:
        """The state kept last, None if there is none."""
        return None

    def save(self, state: ModelState) -> None:
        """Keeps a state in place of the last."""


NO_CHECKPOINT = Checkpoint()


class Model(Protocol):
    """What every model can do.

    A model is fitted on a panel's sessions up to ``until`` and looks at nothing later. It then
    forecasts the session after any cutoff from ``until`` on, reading nothing dated after that
    cutoff. Where a ticker's history is too short it gives no row.
    """

    name: str
    fallbacks: tuple[str, ...]
    """Tickers whose last fit did not converge, so that something else stands in for it."""
    tickerwise: bool
    """Whether each ticker is fitted on its own history alone, and not on all of them at once."""

    def fit(
        self,
        panel: Panel,
        until: np.datetime64,
        progress: Progress = silent,
        checkpoint: Checkpoint = NO_CHECKPOINT,
    ) -> None:
        """Learns from the sessions up to ``until``, included; HistoryError if they are too few.

        A fit of minutes goes on from the checkpoint, if that has a state, and keeps its own in it.
        """

    def forecast(self, panel: Panel, first: np.datetime64, last: np.datetime64) -> pd.DataFrame:
        """The forecasts frame of all cutoffs from ``first`` to ``last``, both included."""

    def state(self) -> ModelState:
        """What :meth:`restore` needs to forecast the same numbers."""

    def restore(self, state: ModelState) -> None:
        """Becomes the model that gave the state; ValueError or KeyError if none could have."""

    def export(self, folder: Path) -> None:
        """Leaves a copy in the file format of the library that trained it, where there is one."""


def too_short(model: str, panel: Panel, until: np.datetime64, needed: int) -> HistoryError:
    """The error of a fit that found no ticker with enough sessions."""
    longest = max((history.count_until(until) for history in panel.histories), default=0)
    return HistoryError(
        f"{model} needs {needed} sessions of a ticker up to {until} to be fitted, the longest "
        f"history has {longest}; fetch earlier prices or choose a later date"
    )
