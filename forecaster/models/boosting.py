"""Gradient-boosted trees on the LSTM's own features: what is left for the recurrence to add.

One ensemble a quantile level (scikit-learn's histogram gradient boosting with the pinball loss),
trained on all tickers together. The target is the next log return over the EWMA volatility known
at the close. The trees see the features of the last session and no earlier one.

scikit-learn can keep a model only as a pickle, which a bundle may not hold. The trees are therefore
taken out as arrays, and walked here.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecaster.config import RecurrentConfig
from forecaster.dataset.features import FEATURES
from forecaster.dataset.panel import Fan, History, Panel, quantile_forecasts_of
from forecaster.distributions import forecasts
from forecaster.models.protocol import (
    MIN_SESSIONS,
    NO_CHECKPOINT,
    Checkpoint,
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
"""Small trees with large leaves: there is little to learn, and much noise to learn by mistake."""

DEPTH = SETTINGS["max_leaf_nodes"] - 1
"""No leaf lies deeper."""

BLOCK = 1_000
"""Rows walked at once, which fit in a processor's cache."""

BEYOND = 1e6 / 2
"""No feature is as large as this: a return of 100% is 1e5 times the least volatility."""

NODES = {
    "feature": ("feature_idx", np.int32),
    "threshold": ("num_threshold", np.float64),
    "missing_left": ("missing_go_to_left", np.int32),
    "left": ("left", np.int32),
    "right": ("right", np.int32),
    "value": ("value", np.float64),
}
"""Arrays of a state over all nodes, the columns of scikit-learn's they come from, and dtypes."""


class Trees:
    """One model for all tickers, fitted or not."""

    name = "trees"
    fallbacks: tuple[str, ...] = ()
    tickerwise = False

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}

    def fit(
        self,
        panel: Panel,
        until: np.datetime64,
        progress: Progress = silent,
        checkpoint: Checkpoint = NO_CHECKPOINT,
    ) -> None:
        """Fits the ensembles of all levels, one after the other."""
        from sklearn.ensemble import HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits

        x, y = _examples(panel, until)
        if not len(y):
            raise too_short(self.name, panel, until, MIN_SESSIONS + 1)
        ensembles, start = [], []
        for done, level in enumerate(forecasts.LEVELS, start=1):
            # With one thread sums are added up in one order, and give the same bits everywhere.
            with threadpool_limits(1):
                found = HistGradientBoostingRegressor(loss="quantile", quantile=level, **SETTINGS)
                found.fit(x, y)
            ensembles.append([trees[0].nodes for trees in found._predictors])
            start.append(found._baseline_prediction.item())
            progress(done, len(forecasts.LEVELS), f"{self.name}: level {level:g}")
        self._arrays = _joined(ensembles) | {"start": np.array(start)}

    def forecast(self, panel: Panel, first: np.datetime64, last: np.datetime64) -> pd.DataFrame:
        """The forecasts frame of every ticker that has enough history."""
        fans = []
        for history in panel.histories:
            index = history.between(first, last)
            index = index[index >= MIN_SESSIONS - 1]
            if len(index):
                standard = _walk(self._arrays, history.features[index])
                fans.append(Fan(history, index, standard * history.volatility[index, None]))
        return quantile_forecasts_of(self.name, fans)

    def state(self) -> ModelState:
        """The nodes of all trees."""
        return ModelState(dict(self._arrays), {"features": list(FEATURES)})

    def restore(self, state: ModelState) -> None:
        """Takes the nodes of a state."""
        arrays = {name: state.arrays[name] for name in (*NODES, "roots", "start")}
        if state.settings["features"] != list(FEATURES):
            raise ValueError("these trees were grown on other features")
        count = len(arrays["value"])
        if any(arrays[name].shape != (count,) for name in NODES) or not count:
            raise ValueError("expected one number a node in each array")
        levels = (len(forecasts.LEVELS),)
        if arrays["start"].shape != levels or arrays["roots"].shape[:-1] != levels:
            raise ValueError("expected an ensemble for each quantile level")
        for name, below in (("left", count), ("right", count), ("roots", count)):
            _require_within(name, arrays[name], below)
        _require_within("feature", arrays["feature"], len(FEATURES))
        if not all(np.isfinite(arrays[name]).all() for name in ("value", "start")):
            raise ValueError("expected finite values")
        self._arrays = arrays

    def export(self, folder: Path) -> None:
        """There is no other format."""


def _examples(panel: Panel, until: np.datetime64) -> tuple[np.ndarray, np.ndarray]:
    """Features and targets known at ``until``: (rows, features) and (rows,)."""
    parts = [_known(history, history.count_public(until)) for history in panel.histories]
    x, y = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    return x, y


def _known(history: History, known: int) -> tuple[np.ndarray, np.ndarray]:
    last = known - 1 if known > MIN_SESSIONS else 0
    rows = slice(min(MIN_SESSIONS - 1, last), last)
    target = history.next_returns[rows] / history.volatility[rows]
    there = np.isfinite(target)
    return history.features[rows][there], target[there]


def _joined(ensembles: list[list[np.ndarray]]) -> dict[str, np.ndarray]:
    """All nodes one after the other; ``roots`` (levels, trees) says where each tree begins.

    A leaf is a node whose children are itself, so that a walk may go on past it.
    """
    trees = [nodes for ensemble in ensembles for nodes in ensemble]
    starts = np.cumsum([0, *(len(nodes) for nodes in trees)])
    joined: dict[str, np.ndarray] = {
        name: np.concatenate([nodes[column] for nodes in trees]).astype(dtype)
        for name, (column, dtype) in NODES.items()
    }
    # A split that only parts missing from known has an infinite threshold, which bundles refuse.
    joined["threshold"] = np.clip(joined["threshold"], -BEYOND, BEYOND)
    leaf = np.concatenate([nodes["is_leaf"] for nodes in trees]).astype(bool)
    offset = np.repeat(starts[:-1], np.diff(starts))
    for side in ("left", "right"):
        joined[side] = np.where(leaf, np.arange(len(leaf)), joined[side] + offset).astype(np.int32)
    return joined | {"roots": starts[:-1].reshape(len(ensembles), -1).astype(np.int32)}


def _walk(arrays: dict[str, np.ndarray], features: np.ndarray) -> np.ndarray:
    """The sum of each ensemble's leaves: (rows, features) to (rows, levels)."""
    feature, threshold, missing_left, left, right, value = (arrays[name] for name in NODES)
    found = np.empty((len(features), len(arrays["start"])))
    for begin in range(0, len(features), BLOCK):
        x = features[begin : begin + BLOCK].astype(float)
        rows = np.arange(len(x))[:, None]
        for level, (start, roots) in enumerate(zip(arrays["start"], arrays["roots"], strict=True)):
            node = np.broadcast_to(roots, (len(x), len(roots)))
            for _ in range(DEPTH):
                at = x[rows, feature[node]]  # (rows, trees)
                goes_left = (at <= threshold[node]) | (np.isnan(at) & (missing_left[node] == 1))
                following = np.where(goes_left, left[node], right[node])
                if np.array_equal(following, node):
                    break
                node = following
            found[begin : begin + BLOCK, level] = start + value[node].sum(axis=1)
    return found


def _require_within(name: str, numbers: np.ndarray, below: int) -> None:
    if numbers.dtype.kind != "i" or numbers.min() < 0 or numbers.max() >= below:
        raise ValueError(f"expected whole numbers from 0 to {below - 1} in {name}")


def create(name: str, config: RecurrentConfig) -> Trees:
    """The model called ``trees``."""
    return Trees()
