"""Gradient-boosted trees on the LSTM's own features, to measure what the recurrence adds.

There is one ensemble for each quantile level (scikit-learn's histogram gradient boosting with the
pinball loss), trained on all tickers together. The target is the next log return over the EWMA
volatility known at the close. The trees read the features of the last session alone.

scikit-learn stores a model only as a pickle, which a bundle must not hold, so the trees are
extracted as arrays, and evaluated here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from forecaster.config import RecurrentConfig
from forecaster.dataset.bars import Floats
from forecaster.dataset.features import EVENTS, FEATURES
from forecaster.dataset.panel import Panel, TickerForecasts, forecasts_of
from forecaster.distributions import quantile_grid
from forecaster.models.protocol import (
    NO_CHECKPOINT,
    SESSIONS_TO_FORECAST,
    Checkpoint,
    Model,
    ModelState,
    Progress,
    silent,
    too_short,
)

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


class Trees(Model):
    """One model for all tickers, those it was not fitted on too."""

    name = "trees"
    tickerwise = False

    def __init__(self, horizon: int = 1) -> None:
        self.horizon = horizon
        self._arrays: dict[str, np.ndarray] = {}
        self._features = len(FEATURES)
        self._with_events = False

    def fit(
        self,
        panel: Panel,
        until: np.datetime64,
        progress: Progress = silent,
        checkpoint: Checkpoint = NO_CHECKPOINT,
    ) -> None:
        """Fit the ensembles of all levels, one after the other."""
        from sklearn.ensemble import HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits

        x, y = _examples(panel, until)
        self._with_events = bool(np.isfinite(x[:, -len(EVENTS) :]).any())
        self._features = len(FEATURES) - (0 if self._with_events else len(EVENTS))
        x = x[:, : self._features]  # no tree can be grown on what nobody has
        if not len(y):
            raise too_short(self.name, panel, until, SESSIONS_TO_FORECAST + 1)
        ensembles, start = [], []
        for done, level in enumerate(quantile_grid.LEVELS, start=1):
            # One thread adds in one order, and so to the same bits on every machine.
            with threadpool_limits(1):
                ensemble = HistGradientBoostingRegressor(
                    loss="quantile", quantile=level, **SETTINGS
                )
                ensemble.fit(x, y)
            ensembles.append([trees[0].nodes for trees in ensemble._predictors])
            start.append(ensemble._baseline_prediction.item())
            progress(done, len(quantile_grid.LEVELS), f"{self.name}: level {level:g}")
        self._arrays = _joined(ensembles) | {"start": np.array(start)}

    def forecast(
        self,
        panel: Panel,
        first: np.datetime64,
        last: np.datetime64,
        steps: Sequence[int] = (1,),
    ) -> pd.DataFrame:
        """Return the forecasts frame of every ticker that has enough history."""
        parts = []
        for history in panel.histories:
            index = history.between(first, last)
            index = index[index >= SESSIONS_TO_FORECAST - 1]
            if len(index):
                quantiles = _evaluated(self._arrays, history.features[index])  # (cutoffs, levels)
                unit = history.scale if self._with_events else history.volatility
                quantiles *= unit[index, None]
                parts.append(TickerForecasts(history, index, {1: quantiles}))
        return forecasts_of(self.name, parts)

    def state(self) -> ModelState:
        """Return the nodes of all trees."""
        return ModelState(
            dict(self._arrays),
            {"features": list(FEATURES[: self._features]), "events": self._with_events},
        )

    def restore(self, state: ModelState) -> None:
        """Take the nodes of a state."""
        arrays = {name: state.arrays[name] for name in (*NODES, "roots", "start")}
        self._features = len(state.settings["features"])
        if state.settings["features"] != list(FEATURES[: self._features]):  # new ones come last
            raise ValueError("expected trees grown on features of this version")
        self._with_events = bool(state.settings.get("events", False))
        count = len(arrays["value"])
        if any(arrays[name].shape != (count,) for name in NODES) or not count:
            raise ValueError("expected one number a node in each array")
        levels = (len(quantile_grid.LEVELS),)
        if arrays["start"].shape != levels or arrays["roots"].shape[:-1] != levels:
            raise ValueError("expected an ensemble for each quantile level")
        for name, below in (("left", count), ("right", count), ("roots", count)):
            _require_within(name, arrays[name], below)
        _require_within("feature", arrays["feature"], self._features)
        if not all(np.isfinite(arrays[name]).all() for name in ("value", "start")):
            raise ValueError("expected finite values")
        self._arrays = arrays


def _examples(panel: Panel, until: np.datetime64) -> tuple[np.ndarray, Floats]:
    """Return features (rows, features) and next returns over :attr:`History.scale` (rows,)."""
    features, targets = [], []
    for history in panel.histories:
        last = max(history.count_public(until) - 1, 0)  # its next return is not known
        target = history.next_returns[:last] / history.scale[:last]
        learnt = np.flatnonzero(np.isfinite(target))
        learnt = learnt[learnt >= SESSIONS_TO_FORECAST - 1]
        features.append(history.features[learnt])
        targets.append(target[learnt])
    return np.concatenate(features), np.concatenate(targets)


def _joined(ensembles: list[list[np.ndarray]]) -> dict[str, np.ndarray]:
    """Return all nodes one after the other; ``roots`` (levels, trees) holds where each tree begins.

    A leaf is its own child on both sides, so that a descent stays there.
    """
    trees = [nodes for ensemble in ensembles for nodes in ensemble]
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
    return joined | {"roots": starts[:-1].reshape(len(ensembles), -1).astype(np.int32)}


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
