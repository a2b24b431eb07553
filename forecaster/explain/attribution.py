"""The features and sessions that moved a forecast of a recurrent network, and a check of that.

A network decides the volatility of tomorrow *relative to* the EWMA volatility of its ticker (see
:mod:`forecaster.models.recurrent.head`), and so it does that of several sessions to come, the step (see
:mod:`forecaster.models.recurrent.term`). Everything here is about the logarithm of that ratio, so that
effects add up and 0.01 is one percent of volatility. Several seeds forecast by their average.

There are three methods, each with its own blind spot. Integrated gradients divide this one forecast
among its inputs, exactly, and ignore the outcome. Permuting a feature measures its worth in CRPS over
many forecasts, and credits neither of two features that carry the same information. Ablation removes
what the others call important, and what they do not, and so tests them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecaster.dataset.bars import Floats
from forecaster.dataset.features import FEATURES
from forecaster.dataset.panel import History
from forecaster.distributions import horizons
from forecaster.evaluation import significance
from forecaster.models.protocol import SESSIONS_TO_FORECAST
from forecaster.models.recurrent import backprop, cell, head
from forecaster.models.recurrent.model import Cutoffs, Recurrent, spans_of
from forecaster.models.recurrent.training import CELLS

NODES, MOST_NODES = 32, 512
"""Points of the path with a gradient each; doubled until the attributions are complete."""

COMPLETE, NEGLIGIBLE = 0.005, 1e-5
"""They are complete if they miss at most this share of the difference, or this much of it."""

PERMUTED_TOGETHER, REPEATS = 21, 5
"""Sessions in a block of a permutation, about a month, and permutations of each feature."""

PERMUTED_AT_ONCE = cell.CHUNK // REPEATS
"""Features whose permutations the network reads together, as many as it takes no longer for."""

MIN_SCORED = 60
"""The fewest sessions with known outcomes to measure importance on."""

LAGS = 120
"""Sessions back, among which lags are ranked."""

REMOVED_LAGS, REMOVED_SHARE, MOST_REMOVED_AT = 10, 4, 250
"""Ablation removes this many lags, one feature in four, and lags from at most this many forecasts."""


@dataclass(frozen=True)
class Attribution:
    """How the inputs moved a forecast away from that of a calm market; logarithms of volatility."""

    features: list[str]
    values: Floats
    """(sessions, features): the share of each input; the last row is the cutoff's."""
    inputs: Floats
    """(sessions, features), in standard deviations from the training's mean."""
    baseline: Floats
    """(features,): a calm session, in the same unit."""
    log_ratio: float
    """Log of the network's volatility over the EWMA volatility."""
    calm_log_ratio: float
    """The same, had every session been a calm one."""
    unit: float
    """Log of the EWMA volatility over that of calm sessions: the part of the forecast that is not the
    network's."""

    @property
    def by_feature(self) -> Floats:
        """Effect of each feature: (features,)."""
        return np.asarray(self.values.sum(axis=0))

    @property
    def by_lag(self) -> Floats:
        """Effect of each lag, in sessions before the date forecast: (sessions,), the cutoff's first."""
        return np.asarray(self.values.sum(axis=1)[::-1])

    @property
    def weight_of_features(self) -> Floats:
        """Importance of each feature, the sum of its absolute effects at every lag: (features,)."""
        return np.asarray(np.abs(self.values).sum(axis=0))

    @property
    def weight_of_lags(self) -> Floats:
        """Importance of each lag: (sessions,), the cutoff's first."""
        return np.asarray(np.abs(self.values).sum(axis=1)[::-1])

    @property
    def missing(self) -> float:
        """Part of the difference from a calm market that is not attributed."""
        return float(self.log_ratio - self.calm_log_ratio - self.values.sum())

    @property
    def complete(self) -> bool:
        """Whether the missing part is negligible."""
        difference = abs(self.log_ratio - self.calm_log_ratio)
        return abs(self.missing) <= max(COMPLETE * difference, NEGLIGIBLE)


def differentiate(model: Recurrent, x: Floats, step: int = 1) -> tuple[Floats, Floats]:
    """Return the log ratio of the forecast at the end of each series, and its gradient by every input.

    Parameters
    ----------
    model : fitted.
    x : (sessions, series, features), scaled; float64.
    step : sessions ahead of the forecast, a knot.

    Returns
    -------
    (series,) and (sessions, series, features), exact but for the rounding of float64.
    """
    advance, count = CELLS[model.name].advance, len(model.networks)
    weights = [backprop.exact(network.cell) for network in model.networks]
    states = [backprop.states(w, x, advance) for w in weights]
    readouts = model.readouts(step)
    output = np.zeros((x.shape[1], len(readouts[0][1])))  # (series, outputs)
    for (kernel, bias), path in zip(readouts, states, strict=True):
        output += (path[-1][0] @ kernel + bias) / count
    value, slope = head.log_ratio(output)
    gradient = np.zeros_like(x)
    for (kernel, _), w, path in zip(readouts, weights, states, strict=True):
        d_last = slope @ kernel.T / count  # (series, units)
        gradient += backprop.of_inputs(w, x, path, d_last, advance)
    return value, gradient


def read_at(model: Recurrent, history: History, session: int) -> np.ndarray:
    """Return the inputs of the forecast made at a session: (sessions, features), float32."""
    (span,) = spans_of(history, np.array([session]))
    return model.inputs(history, slice(span.begin, span.end))


def attribute(model: Recurrent, history: History, session: int, step: int = 1) -> Attribution:
    """Return the integrated gradients of a forecast, from a calm market to the actual inputs.

    Parameters
    ----------
    model : fitted.
    history : of the ticker; sessions after the cutoff have no influence.
    session : index of the cutoff.
    step : sessions ahead of the forecast, a knot.

    Notes
    -----
    Sundararajan, Taly and Yan (2017), Axiomatic attribution for deep networks, ICML: with inputs x
    and baseline b, the share of input i is ``(x_i - b_i)`` times the mean gradient by it along the
    straight line from b to x, by Gauss-Legendre quadrature. The shares add up to the difference of the
    two forecasts; nodes are doubled until they do.

    The baseline is a market that has been calm for the whole memory of the network: every session is
    the mean of the third of the ticker's sessions, up to the cutoff, with the lowest EWMA volatility.
    Features are ratios to that volatility, so their training mean, 0, would be no particular market.
    """
    x = read_at(model, history, session).astype(float)
    known = history.volatility[: session + 1]
    calm = np.flatnonzero(known <= np.nanquantile(known, 1 / 3))
    baseline = model.inputs(history, slice(0, session + 1))[calm].mean(axis=0, dtype=float)
    ends = np.stack([np.broadcast_to(baseline, x.shape), x], axis=1)  # (sessions, 2, features)
    (start, end), _ = differentiate(model, ends, step)
    nodes = NODES
    while True:
        places, weights = np.polynomial.legendre.leggauss(nodes)
        path = baseline + (places[:, None] + 1) / 2 * (x - baseline)[:, None]
        _, slopes = differentiate(model, path, step)  # (sessions, nodes, features)
        attribution = Attribution(
            features=model.features,
            values=(x - baseline) * np.einsum("tnf,n->tf", slopes, weights / 2),
            inputs=x,
            baseline=baseline,
            log_ratio=float(end),
            calm_log_ratio=float(start),
            unit=float(np.log(known[session]) - np.log(known[calm]).mean()),
        )
        if attribution.complete or nodes >= MOST_NODES:
            return attribution
        nodes *= 2


def scored(history: History, until: np.datetime64, step: int = 1) -> np.ndarray:
    """Return the indices of the cutoffs from ``until`` on with a known outcome of a step."""
    known = (history.dates >= until) & np.isfinite(history.ahead(step))
    known[: SESSIONS_TO_FORECAST - 1] = False
    return np.flatnonzero(known)


def importance(
    model: Recurrent, history: History, index: np.ndarray, *, step: int = 1, seed: int = 0
) -> pd.DataFrame:
    """Return how much the CRPS rises when a feature comes out of order.

    Parameters
    ----------
    model : fitted.
    history : of the ticker.
    index : cutoffs with known outcomes, after the training span (see :func:`scored`).
    step : sessions ahead of the forecasts, a knot.
    seed : of the permutations.

    Returns
    -------
    One row a feature: ``feature``; ``crps``, the mean rise as a share of the CRPS; ``error``, its
    standard error (of the mean over sessions, as in the Diebold-Mariano test, which allows for
    forecasts of several sessions that overlap).

    Notes
    -----
    Permutation importance (Breiman 2001, Random forests, Machine Learning 45; Fisher, Rudin and
    Dominici 2019, JMLR 20). Blocks of ``PERMUTED_TOGETHER`` sessions change places within the
    sessions scored, so that inputs keep their short-term order except between blocks; the sessions
    before stay in place.
    """
    rng = np.random.default_rng(seed)
    begin, end = int(index[0]), int(index[-1]) + 1
    count = max(2, (end - begin) // PERMUTED_TOGETHER)
    blocks = np.array_split(np.arange(begin, end), count)
    orders = [
        np.concatenate([blocks[i] for i in rng.permutation(len(blocks))]) for _ in range(REPEATS)
    ]
    base = crps(model, [history], index, step)[0]
    rows = []
    for first in range(0, len(model.features), PERMUTED_AT_ONCE):
        names = model.features[first : first + PERMUTED_AT_ONCE]
        histories = []
        for name in names:
            column = FEATURES.index(name)
            for order in orders:
                features = history.features.copy()
                features[begin:end, column] = features[order, column]
                histories.append(history.with_features(features))
        losses = crps(model, histories, index, step).reshape(len(names), REPEATS, -1).mean(axis=1)
        for name, permuted in zip(names, losses, strict=True):
            test = significance.diebold_mariano(permuted, base, step)
            error = abs(test.difference / test.statistic) if test.statistic else 0.0
            rows.append((name, test.difference / base.mean(), error / base.mean()))
    return pd.DataFrame(rows, columns=["feature", "crps", "error"])


def crps(
    model: Recurrent, histories: Sequence[History], index: np.ndarray, step: int = 1
) -> Floats:
    """Return the CRPS of forecasts from some sessions of versions of a history: (versions, sessions)."""
    cutoffs = [Cutoffs(history, index) for history in histories]
    outputs = model.outputs(cutoffs, horizons.knots([step]))
    return np.array(
        [
            head.crps(h.ahead(step)[index], output[step], model.unit(h, step)[index])
            for h, output in zip(histories, outputs, strict=True)
        ]
    )


def without_features(
    model: Recurrent, history: History, index: np.ndarray, names: Sequence[str], step: int = 1
) -> Floats:
    """Return the CRPS of forecasts from some sessions when features are unknown: (sessions,).

    An unknown feature is the training's mean, 0, as is one that training hid from the network, which
    has thus learnt to do without it.
    """
    features = history.features.copy()
    features[:, [FEATURES.index(name) for name in names]] = np.nan
    return np.asarray(crps(model, [history.with_features(features)], index, step)[0])


def without_lags(
    model: Recurrent, history: History, index: np.ndarray, lags: Sequence[int], step: int = 1
) -> Floats:
    """Return the CRPS of forecasts from some sessions when some lags are unknown: (sessions,)."""
    inputs = []
    for session in index:
        x = read_at(model, history, int(session))
        x[[len(x) - lag for lag in lags if lag <= len(x)]] = 0
        inputs.append(x)
    outputs = outputs_after(model, inputs, step)
    return head.crps(history.ahead(step)[index], outputs, model.unit(history, step)[index])


def outputs_after(model: Recurrent, inputs: list[np.ndarray], step: int = 1) -> Floats:
    """Return the head's outputs at the end of each series of scaled inputs: (series, OUTPUTS)."""
    chunks = [inputs[i : i + cell.CHUNK] for i in range(0, len(inputs), cell.CHUNK)]
    knots = horizons.knots([step])
    return np.concatenate(
        [model.outputs_of(chunk, [slice(-1, None)] * len(chunk), knots)[step] for chunk in chunks]
    )


def ablation(
    model: Recurrent,
    history: History,
    index: np.ndarray,
    attribution: Attribution,
    *,
    step: int = 1,
) -> pd.DataFrame:
    """Return the cost of removing what is called important, and what is not.

    Parameters
    ----------
    model, history, index, step : as for :func:`importance`.
    attribution : of one forecast.

    Returns
    -------
    Two rows, ``called`` ``most`` and ``least`` important, for each ``caller``: ``names`` of what was
    removed, and ``crps``, the rise as a share.

    Notes
    -----
    :func:`importance` ranks the features on the first half of the sessions, and a quarter of them is
    removed in the second half, which it has not seen: where outcomes overlap, that half begins after
    the last outcome of the first. A quarter is also removed by the attribution of
    one forecast, which answers another question: it ranks what moved that forecast, whether or not
    such moves are right. The attribution also ranks the last 120 lags, ten of which are removed at
    the last 250 of the sessions.
    """
    first, second = np.array_split(index, 2)
    second = second[step - 1 :]
    ranked = importance(model, history, first, step=step).sort_values("crps")["feature"].tolist()
    moved = [attribution.features[i] for i in np.argsort(attribution.weight_of_features)]
    lags = (1 + np.argsort(attribution.weight_of_lags[:LAGS])).tolist()
    latest, few = index[-MOST_REMOVED_AT:], max(1, len(ranked) // REMOVED_SHARE)
    rows: list[tuple[str, str, list[Any], float]] = []
    for caller, names, count, without, at in (
        ("features by permutation", ranked, few, without_features, second),
        ("features by attribution", moved, few, without_features, second),
        ("lags by attribution", lags, REMOVED_LAGS, without_lags, latest),
    ):
        base = crps(model, [history], at, step)[0].mean()
        for called, removed in (("most", names[-count:]), ("least", names[:count])):
            cost = without(model, history, at, removed, step).mean() / base - 1
            rows.append((caller, called, removed, float(cost)))
    return pd.DataFrame(rows, columns=["caller", "called", "names", "crps"])
