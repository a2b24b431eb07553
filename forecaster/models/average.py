"""The equal-weight average of GJR-GARCH, EGARCH and HAR: a combination that costs no thought.

A level's quantile is the mean of the members' quantiles at that level. Averages of quantiles stay as
sharp as their members, where averages of probabilities are wider than all of them (Lichtendahl,
Grushka-Cockayne and Winkler 2013, Is it better to average probabilities or quantiles?, Management
Science 59(7)). Equal weights are hard to beat, as weights have to be estimated (Timmermann 2006,
Forecast combinations, Handbook of Economic Forecasting 1).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from forecaster.config import RecurrentConfig
from forecaster.dataset.panel import Panel
from forecaster.distributions import forecasts
from forecaster.models.protocol import (
    NO_CHECKPOINT,
    Checkpoint,
    Model,
    ModelState,
    Progress,
    horizon_of,
    require_within,
    silent,
    too_short,
)
from forecaster.models.registry import create as create_member

NAME = "average"
MEMBERS = ("gjr", "egarch", "har")


class Average(Model):
    """A model whose quantiles are the mean of those of its members."""

    tickerwise = True

    def __init__(self, name: str, config: RecurrentConfig) -> None:
        self.name = name
        self.horizon = config.horizon
        self.members = [create_member(member, config) for member in MEMBERS]
        self.fallbacks = ()

    def fit(
        self,
        panel: Panel,
        until: np.datetime64,
        progress: Progress = silent,
        checkpoint: Checkpoint = NO_CHECKPOINT,
    ) -> None:
        """Fit every member; a ticker too short for one of them has no forecast."""
        needed = max(getattr(member, "sessions_to_fit", 0) for member in self.members)
        if not any(history.count_until(until) >= needed for history in panel.histories):
            raise too_short(self.name, panel, until, needed)
        for done, member in enumerate(self.members, start=1):
            member.engine = self.engine
            member.fit(panel, until)
            progress(done, len(self.members), f"{self.name}: {member.name}")
        self.fallbacks = self._fallbacks()

    def forecast(
        self,
        panel: Panel,
        first: np.datetime64,
        last: np.datetime64,
        steps: Sequence[int] = (1,),
    ) -> pd.DataFrame:
        """Return the forecasts frame of the tickers that every member forecasts."""
        require_within(self.name, self.horizon, steps)
        return average([member.forecast(panel, first, last, steps) for member in self.members])

    def state(self) -> ModelState:
        """Return the states of the members, by their names."""
        states = {member.name: member.state() for member in self.members}
        arrays = {
            f"{name}.{key}": array
            for name, state in states.items()
            for key, array in state.arrays.items()
        }
        settings = {name: state.settings for name, state in states.items()}
        return ModelState(arrays, {"horizon": self.horizon, **settings})

    def restore(self, state: ModelState) -> None:
        """Take the members' states."""
        self.horizon = horizon_of(state)
        for member in self.members:
            begin = f"{member.name}."
            arrays = {
                key.removeprefix(begin): array
                for key, array in state.arrays.items()
                if key.startswith(begin)
            }
            member.restore(ModelState(arrays, state.settings[member.name]))
        self.fallbacks = self._fallbacks()

    def _fallbacks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(it for member in self.members for it in member.fallbacks))


def average(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the average of the members' forecasts frames, of the rows that all of them have."""
    keys = ["ticker", "cutoff", "date", "step"]
    first, *others = (frame.set_index(keys) for frame in frames)
    shared = first.index
    for other in others:
        shared = shared[shared.isin(other.index)]
    if shared.empty:
        return forecasts.empty()
    rows = first.loc[shared].reset_index()
    quantiles = [it.loc[shared, forecasts.QUANTILES].to_numpy() for it in (first, *others)]
    return forecasts.from_quantiles(
        **{name: rows[name].to_numpy() for name in (*keys, "last_close", "log_return")},
        model=NAME,
        quantiles=np.mean(quantiles, axis=0),
    )


def create(name: str, config: RecurrentConfig) -> Average:
    """Return the model called ``average``."""
    return Average(name, config)
