"""Gradient-boosted trees on the LSTM's own features, to measure what the recurrence adds.

There is one ensemble for each quantile level and each number of sessions ahead (scikit-learn's histogram
gradient boosting with the pinball loss), trained on all tickers together. The target is the log return
to come over the EWMA volatility known at the close, times the root of the sessions. The trees read the
features of the last session alone.

scikit-learn stores a model only as a pickle, which a bundle must not hold, so the trees are
extracted as arrays, and evaluated here.
"""

from collections.abc import Sequence
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from forecaster.config import RecurrentConfig
from forecaster.dataset.bars import Floats
from forecaster.dataset.features import EVENTS, FEATURES
from forecaster.dataset.implied import IMPLIED
from forecaster.dataset.panel import History, Panel, TickerForecasts, forecasts_of
from forecaster.distributions import horizons, quantile_grid
from forecaster.models.per_ticker import LEAST_RETURNS
from forecaster.models.protocol import (
    NO_CHECKPOINT,
    SESSIONS_TO_FORECAST,
    Checkpoint,
    Model,
    ModelState,
    Progress,
    horizon_of,
    of_step,
    require_within,
    silent,
    too_short,
)
from forecaster.parallel import threads

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor

SETTINGS: dict[str, Any] = {
    "max_iter": 60,
    "max_leaf_nodes": 8,
    "min_samples_leaf": 200,
    "learning_rate": 0.1,
    "early_stopping": False,
    "random_state": 0,
}
"""Small trees with large leaves: returns have little signal and much noise to overfit."""

DEPTH = SETTINGS["max_leaf_nodes"] - 1
"""No leaf lies deeper."""

ROWS_AT_ONCE = 1_000
"""Rows evaluated together, few enough for a processor's cache."""

LARGEST_THRESHOLD = 1e6 / 2
"""Beyond every feature: a return of 100% is 1e5 times the least volatility."""

NODES = {
    "feature": ("feature_idx", np.int32),
    "threshold": ("num_threshold", np.float64),
    "missing_left": ("missing_go_to_left", np.int32),
    "left": ("left", np.int32),
    "right": ("right", np.int32),
    "value": ("value", np.float64),
}
"""The arrays of a state over all nodes, their columns in scikit-learn, and their dtypes."""


READ = len(FEATURES) - len(IMPLIED)
"""Features that trees are grown on: they do not read implied volatility, which few tickers have."""


class Trees(Model):
    """One model for all tickers, those it was not fitted on too."""

    name = "trees"
    tickerwise = False

    def __init__(self, horizon: int = 1) -> None:
        self.horizon = horizon
        self._ensembles: dict[int, dict[str, np.ndarray]] = {}
        """By step, the nodes of all levels: see :func:`_joined`."""
        self._features = READ
        self._with_events = False

    def fit(
        self,
        panel: Panel,
        until: np.datetime64,
        progress: Progress = silent,
        checkpoint: Checkpoint = NO_CHECKPOINT,
    ) -> None:
        """Fit the ensembles of all steps and levels, one after the other."""
        steps, levels, ensembles = horizons.knots([self.horizon]), quantile_grid.LEVELS, {}
        for at, step in enumerate(steps):
            x, y = _examples(panel, until, step)
            if step == 1:
                self._with_events = bool(np.isfinite(x[:, READ - len(EVENTS) : READ]).any())
                self._features = READ - (0 if self._with_events else len(EVENTS))
                if not len(y):
                    raise too_short(self.name, panel, until, SESSIONS_TO_FORECAST + 1)
            elif len(y) < LEAST_RETURNS * step:
                x, y = _examples(panel, until, 1)
            x = x[:, : self._features]  # no tree can be grown on what nobody has
            x[:, ~np.isfinite(x).any(axis=0)] = 0  # as little as on a constant, which can be binned
            fits = []
            for done, level in enumerate(levels, start=at * len(levels) + 1):
                fits.append(_fitted(x, y, level))
                text = f"{self.name}: step {step}, level {level:g}"
                progress(done, len(steps) * len(levels), text)
            ensembles[step] = _joined(fits)
        self._ensembles = ensembles

    def forecast(
        self,
        panel: Panel,
        first: np.datetime64,
        last: np.datetime64,
        steps: Sequence[int] = (1,),
    ) -> pd.DataFrame:
        """Return the forecasts frame of every ticker that has enough history."""
        require_within(self.name, self.horizon, steps)
        knots, parts = horizons.knots(steps), []
        for history in panel.histories:
            index = history.between(first, last)
            index = index[index >= SESSIONS_TO_FORECAST - 1]
            if len(index):
                features = history.features[index]
                quantiles = {
                    step: _evaluated(self._ensembles[step], features)  # (cutoffs, levels)
                    * _unit(history, step, announced=self._with_events)[index, None]
                    for step in knots
                }
                parts.append(TickerForecasts(history, index, quantiles))
        return forecasts_of(self.name, parts, steps, scheduled=self._with_events)

    def state(self) -> ModelState:
        """Return the nodes of all trees."""
        arrays = {
            of_step(name, step): array
            for step, ensembles in self._ensembles.items()
            for name, array in ensembles.items()
        }
        settings = {
            "features": list(FEATURES[: self._features]),
            "events": self._with_events,
            "horizon": self.horizon,
        }
        return ModelState(arrays, settings)

    def restore(self, state: ModelState) -> None:
        """Take the nodes of a state."""
        self._features = len(state.settings["features"])
        if state.settings["features"] != list(FEATURES[: self._features]):  # new ones come last
            raise ValueError("expected trees grown on features of this version")
        self._with_events = bool(state.settings.get("events", False))
        self.horizon = horizon_of(state)
        self._ensembles = {
            step: {name: state.arrays[of_step(name, step)] for name in (*NODES, "roots", "start")}
            for step in horizons.knots([self.horizon])
        }
        for arrays in self._ensembles.values():
            _check(arrays, self._features)


def _examples(panel: Panel, until: np.datetime64, step: int) -> tuple[np.ndarray, Floats]:
    """Return features (rows, features) and returns to come over :func:`_unit` (rows,)."""
    features, targets = [], []
    for history in panel.histories:
        last = max(history.count_public(until) - step, 0)  # of later ones the end is not known
        target = history.ahead(step)[:last] / _unit(history, step, announced=True)[:last]
        learnt = np.flatnonzero(np.isfinite(target))
        learnt = learnt[learnt >= SESSIONS_TO_FORECAST - 1]
        features.append(history.features[learnt])
        targets.append(target[learnt])
    return np.concatenate(features), np.concatenate(targets)


def _unit(history: History, step: int, *, announced: bool) -> Floats:
    """Return the width of returns to come that the trees forecast in: (sessions,)."""
    if not announced:
        return history.volatility * sqrt(step)
    return history.scale if step == 1 else history.volatility * np.sqrt(history.clock(step))


def _fitted(x: np.ndarray, y: Floats, level: float) -> "HistGradientBoostingRegressor":
    """Return the ensemble of a level."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    ensemble = HistGradientBoostingRegressor(loss="quantile", quantile=level, **SETTINGS)
    with threads.one():
        return ensemble.fit(x, y)


def _joined(ensembles: "list[HistGradientBoostingRegressor]") -> dict[str, np.ndarray]:
    """Return the nodes of an ensemble for each level, one after the other.

    ``roots`` (levels, trees) holds where each tree begins, and ``start`` (levels,) what its leaves are
    added to. A leaf is its own child on both sides, so that a descent stays there.
    """
    trees = [its[0].nodes for ensemble in ensembles for its in ensemble._predictors]
    starts = np.cumsum([0, *(len(nodes) for nodes in trees)])
    joined: dict[str, np.ndarray] = {
        name: np.concatenate([nodes[column] for nodes in trees]).astype(dtype)
        for name, (column, dtype) in NODES.items()
    }
    # A split between missing and known values has an infinite threshold, which bundles refuse.
    joined["threshold"] = np.clip(joined["threshold"], -LARGEST_THRESHOLD, LARGEST_THRESHOLD)
    leaf = np.concatenate([nodes["is_leaf"] for nodes in trees]).astype(bool)
    offset = np.repeat(starts[:-1], np.diff(starts))
    for side in ("left", "right"):
        joined[side] = np.where(leaf, np.arange(len(leaf)), joined[side] + offset).astype(np.int32)
    roots = starts[:-1].reshape(len(ensembles), -1).astype(np.int32)
    start = np.array([ensemble._baseline_prediction.item() for ensemble in ensembles])
    return joined | {"roots": roots, "start": start}


def _check(arrays: dict[str, np.ndarray], features: int) -> None:
    """Raise ValueError for the arrays of no trees on so many features."""
    count = len(arrays["value"])
    if any(arrays[name].shape != (count,) for name in NODES) or not count:
        raise ValueError("expected one number a node in each array")
    levels = (len(quantile_grid.LEVELS),)
    if arrays["start"].shape != levels or arrays["roots"].shape[:-1] != levels:
        raise ValueError("expected an ensemble for each quantile level")
    for name, below in (("left", count), ("right", count), ("roots", count), ("feature", features)):
        _require_within(name, arrays[name], below)
    if not all(np.isfinite(arrays[name]).all() for name in ("value", "start")):
        raise ValueError("expected finite values")


def _evaluated(arrays: dict[str, np.ndarray], features: np.ndarray) -> Floats:
    """Return the sum of each ensemble's leaves: (rows, features) -> (rows, levels)."""
    feature, threshold, missing_left, left, right, value = (arrays[name] for name in NODES)
    total = np.empty((len(features), len(arrays["start"])))
    for begin in range(0, len(features), ROWS_AT_ONCE):
        x = features[begin : begin + ROWS_AT_ONCE].astype(float)
        rows = np.arange(len(x))[:, None]
        for level, (start, roots) in enumerate(zip(arrays["start"], arrays["roots"], strict=True)):
            node = np.broadcast_to(roots, (len(x), len(roots)))  # (rows, trees)
            for _ in range(DEPTH):
                at = x[rows, feature[node]]  # (rows, trees)
                goes_left = (at <= threshold[node]) | (np.isnan(at) & (missing_left[node] == 1))
                following = np.where(goes_left, left[node], right[node])
                if np.array_equal(following, node):
                    break
                node = following
            total[begin : begin + ROWS_AT_ONCE, level] = start + value[node].sum(axis=1)
    return total


def _require_within(name: str, numbers: np.ndarray, below: int) -> None:
    if numbers.dtype.kind != "i" or numbers.min() < 0 or numbers.max() >= below:
        raise ValueError(f"expected whole numbers from 0 to {below - 1} in {name}")


def create(name: str, config: RecurrentConfig) -> Trees:
    """Return the model called ``trees``."""
    return Trees(config.horizon)
