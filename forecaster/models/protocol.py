"""The protocol of forecasting models, and the state that a bundle keeps of one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from forecaster.dataset.panel import Panel
from forecaster.distributions import horizons
from forecaster.errors import HistoryError, UsageError
from forecaster.parallel.jobs import LOCAL, Engine

SESSIONS_TO_FORECAST = 60
"""Sessions of history that a ticker needs before its first forecast, whatever the model."""

Progress = Callable[[int, int, str], None]
"""Called with the steps done, their total, and the name of the current one."""


def silent(done: int, total: int, text: str) -> None:
    """Ignore progress."""


@dataclass(frozen=True)
class ModelState:
    """A fitted model as plain numbers and names; nothing in it can be run."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    """Values that JSON can hold."""


def horizon_of(state: ModelState) -> int:
    """Return the horizon of the model whose state this is; of versions without one it is 1."""
    (horizon,) = horizons.check([int(state.settings.get("horizon", 1))])
    return horizon


def of_step(array: str, step: int) -> str:
    """Return the name of an array in the state of a model: step 1 has the name of older versions."""
    return array if step == 1 else f"{array}.{step}"


class Checkpoint:
    """Storage for the state of a training between epochs; this one stores nothing."""

    def load(self) -> ModelState | None:
        """Return the state saved last, None if there is none."""
        return None

    def save(self, state: ModelState) -> None:
        """Store a state in place of the last."""


NO_CHECKPOINT = Checkpoint()


class Model(Protocol):
    """A forecasting model.

    A model is fitted on a panel's sessions up to ``until`` and reads nothing later, nor any return
    that ends later. It then forecasts the sessions after any cutoff from ``until`` on, and reads
    nothing dated after that cutoff. A ticker with too short a history has no row.
    """

    name: str
    horizon: int
    """The most sessions ahead that it is fitted to forecast."""
    tickerwise: bool
    """Whether each ticker is fitted on its own history alone, and not on all of them at once."""
    fallbacks: tuple[str, ...] = ()
    """Tickers whose last fit did not converge, so that stand-in parameters forecast them."""
    engine: Engine = LOCAL
    """What fits the tickers, where each is fitted alone."""

    def fit(
        self,
        panel: Panel,
        until: np.datetime64,
        progress: Progress = silent,
        checkpoint: Checkpoint = NO_CHECKPOINT,
    ) -> None:
        """Fit the model to the sessions up to ``until``, included.

        A fit of minutes continues from the checkpoint, if it holds a state, and saves its own there.

        Raises
        ------
        HistoryError
            No ticker has enough sessions.
        """

    def forecast(
        self,
        panel: Panel,
        first: np.datetime64,
        last: np.datetime64,
        steps: Sequence[int] = (1,),
    ) -> pd.DataFrame:
        """Return the forecasts frame of all cutoffs from ``first`` to ``last``, both included.

        ``steps`` ascend. Raises UsageError if one lies beyond the horizon.
        """

    def state(self) -> ModelState:
        """Return what :meth:`restore` needs to make the same forecasts."""

    def restore(self, state: ModelState) -> None:
        """Become the model whose state this is.

        Raises
        ------
        ValueError, KeyError
            It is the state of no such model.
        """

    def alone(self) -> "Sequence[Model]":
        """Return the models whose average this is, one a seed, if several were trained."""
        return ()

    def export(self, folder: Path) -> None:
        """Save a copy in the format of the library that trained the model, if it has one."""
        return


def require_within(model: str, horizon: int, steps: Sequence[int]) -> None:
    """Raise UsageError if a step lies beyond the horizon of a model."""
    if max(steps) > horizon:
        raise UsageError(
            f"expected steps up to {horizon}, as far as {model} was fitted to forecast, got "
            f"{max(steps)}; train a run with a longer `horizon`"
        )


def too_short(model: str, panel: Panel, until: np.datetime64, needed: int) -> HistoryError:
    """Return the error of a fit for which no ticker has enough sessions."""
    longest = max((history.count_until(until) for history in panel.histories), default=0)
    return HistoryError(
        f"{model} needs {needed} sessions of a ticker up to {until} to be fitted, the longest "
        f"history has {longest}; fetch earlier prices or choose a later date"
    )
