"""Which features and which sessions moved a forecast of a recurrent network, and whether that is so.

What a network decides is how wide tomorrow is spread *relative to* the EWMA volatility of its ticker
(see :mod:`forecaster.models.recurrent.model`). Everything here is about the logarithm of that ratio, so that
effects add up and 0.01 is one percent of volatility. Of several seeds it is the average that forecasts.

Three looks at the same question, each blind to something. Integrated gradients share out this one
forecast, exactly, and know nothing of what came. Permuting a feature says what it is worth in CRPS
over many forecasts, and shares nothing between features that tell the same. Ablation takes away
what was called important, and what was not, and holds the callers to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecaster.dataset.features import FEATURES
from forecaster.dataset.panel import History
from forecaster.distributions import student_t
from forecaster.distributions.student_t import DF_BOUNDS
from forecaster.evaluation import significance
from forecaster.models.protocol import MIN_SESSIONS
from forecaster.models.recurrent import backprop, cell
from forecaster.models.recurrent.model import Recurrent, spans_of, student_of
from forecaster.models.recurrent.training import (
    CELLS,
    DF_START,
    LOG_SCALE_MOST,
    LOG_SCALE_START,
)

NODES, MOST_NODES = 32, 512
"""Points of the path that gradients are taken at; doubled until the attributions add up."""

COMPLETE, NEGLIGIBLE = 0.005, 1e-5
"""They add up when they miss this share of the difference at most, or next to nothing."""

BLOCK, REPEATS = 21, 5
"""Sessions permuted together, about a month, and permutations of each feature."""

MIN_SCORED = 60
"""Sessions with known outcomes that importance is measured on, at the least."""

LAGS = 120
"""Sessions back, among which lags are ranked."""

REMOVED_LAGS, REMOVED_SHARE, MOST_REMOVED_AT = 10, 4, 250
"""Ablation takes so many lags, a quarter of the features, and lags at so many forecasts."""


@dataclass(frozen=True)
class Attribution:
    """How the inputs moved a forecast away from that of a calm market; logarithms of volatility."""

    features: list[str]
    values: np.ndarray
    """(sessions, features): the share of each input; the last row is the cutoff's."""
    inputs: np.ndarray
    """(sessions, features) that the network read, in standard deviations from the training's mean"""
    baseline: np.ndarray
    """(features,), of a calm session, in the same unit"""
    log_ratio: float
    """Log of the forecast volatility over the EWMA volatility"""
    calm_log_ratio: float
    """The same, had every session read been a calm one"""
    unit: float
    """Log of the EWMA volatility over that of calm sessions: what moved the forecast before the
    network had a say"""

    @property
    def by_feature(self) -> np.ndarray:
        """(features,)"""
        return self.values.sum(axis=0)

    @property
    def by_lag(self) -> np.ndarray:
        """(sessions,), the cutoff's first: the lag of a session is how far it lies before the date."""
        return self.values.sum(axis=1)[::-1]

    @property
    def weight_of_features(self) -> np.ndarray:
        """(features,), how much each was called important: what it did at every lag, by size."""
        return np.abs(self.values).sum(axis=0)

    @property
    def weight_of_lags(self) -> np.ndarray:
        """(sessions,), how much each lag was called important, the cutoff's first."""
        return np.abs(self.values).sum(axis=1)[::-1]

    @property
    def missing(self) -> float:
        """What the attributions lack of the difference that they share out."""
        return float(self.log_ratio - self.calm_log_ratio - self.values.sum())

    @property
    def complete(self) -> bool:
        """Whether that is next to nothing, or to the difference."""
        difference = abs(self.log_ratio - self.calm_log_ratio)
        return abs(self.missing) <= max(COMPLETE * difference, NEGLIGIBLE)


def log_ratio(output: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log of the forecast volatility over the EWMA volatility, and its derivative by raw outputs.

    Parameters
    ----------
    output : (series, 3), the head's.

    Returns
    -------
    (series,) and (series, 3).

    Notes
    -----
    Of the Student-t of :func:`forecaster.models.recurrent.model.student_of`: its log scale plus
    ``log(df / (df - 2)) / 2``. The location has no part in it.
    """
    log_scale = output[:, 1] + LOG_SCALE_START
    above = np.logaddexp(0.0, output[:, 2] + DF_START)
    df = np.minimum(DF_BOUNDS[0] + above, DF_BOUNDS[1])
    value = np.clip(log_scale, -LOG_SCALE_MOST, LOG_SCALE_MOST) + np.log(df / (df - 2)) / 2
    slope = np.zeros_like(output)
    slope[:, 1] = np.abs(log_scale) < LOG_SCALE_MOST
    # The derivative of log(1 + exp(x)) is 1 / (1 + exp(-x)).
    slope[:, 2] = -cell.sigmoid(output[:, 2] + DF_START) / (df * (df - 2)) * (df < DF_BOUNDS[1])
    return value, slope


def differentiate(model: Recurrent, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """:func:`log_ratio` of the forecast at the end of each series, and its gradient by every input.

    Parameters
    ----------
    model : fitted.
    x : (sessions, series, features), scaled; float64.

    Returns
    -------
    (series,) and (sessions, series, features), exact but for float64's rounding.
    """
    advance, count = CELLS[model.name].advance, len(model.networks)
    weights = [backprop.exact(network.cell) for network in model.networks]
    states = [backprop.states(w, x, advance) for w in weights]
    output = np.zeros((x.shape[1], 3))
    for network, its in zip(model.networks, states, strict=True):
        output += (its[-1][0] @ network.head_kernel + network.head_bias) / count
    value, slope = log_ratio(output)
    found = np.zeros_like(x)
    for network, w, its in zip(model.networks, weights, states, strict=True):
        found += backprop.of_inputs(w, x, its, slope @ network.head_kernel.T / count, advance)
    return value, found


def read_at(model: Recurrent, history: History, session: int) -> np.ndarray:
    """What the network reads for the forecast made at a session: (sessions, features), float32."""
    (span,) = spans_of(history, np.array([session]))
    return model.inputs(history, slice(span.begin, span.end))


def attribute(model: Recurrent, history: History, session: int) -> Attribution:
    """Integrated gradients of the forecast made at a session, from a calm market to the inputs read.

    Parameters
    ----------
    model : fitted.
    history : of the ticker; nothing after the session is read.
    session : index of the cutoff.

    Notes
    -----
    Sundararajan, Taly and Yan (2017), Axiomatic attribution for deep networks, ICML: with inputs x
    and baseline b, the share of input i is ``(x_i - b_i)`` times the mean gradient by it along the
    straight line from b to x. The mean is by Gauss and Legendre's quadrature. The shares add up to
    the difference of the two forecasts; nodes are doubled until they do.

    The baseline is a market that has been calm for as long as the network remembers: every session
    is the mean of the third of the ticker's sessions, up to the cutoff, with the lowest EWMA
    volatility. Features are ratios to that volatility, so their training mean, 0, would be a market
    of no kind in particular.
    """
    x = read_at(model, history, session).astype(float)
    known = history.volatility[: session + 1]
    calm = np.flatnonzero(known <= np.nanquantile(known, 1 / 3))
    baseline = model.inputs(history, slice(0, session + 1))[calm].mean(axis=0, dtype=float)
    ends = np.stack([np.broadcast_to(baseline, x.shape), x], axis=1)  # (sessions, 2, features)
    (start, end), _ = differentiate(model, ends)
    nodes = NODES
    while True:
        places, weights = np.polynomial.legendre.leggauss(nodes)
        path = baseline + (places[:, None] + 1) / 2 * (x - baseline)[:, None]
        _, slopes = differentiate(model, path)  # (sessions, nodes, features)
        found = Attribution(
            features=model.features,
            values=(x - baseline) * np.einsum("tnf,n->tf", slopes, weights / 2),
            inputs=x,
            baseline=baseline,
            log_ratio=float(end),
            calm_log_ratio=float(start),
            unit=float(np.log(known[session]) - np.log(known[calm]).mean()),
        )
        if found.complete or nodes >= MOST_NODES:
            return found
        nodes *= 2


def scored(history: History, until: np.datetime64) -> np.ndarray:
    """Indices of the cutoffs from ``until`` on whose outcome the history knows."""
    index = np.flatnonzero((history.dates >= until) & np.isfinite(history.next_returns))
    return index[index >= MIN_SESSIONS - 1]


def importance(
    model: Recurrent, history: History, index: np.ndarray, *, seed: int = 0
) -> pd.DataFrame:
    """What each feature is worth in CRPS: how much worse forecasts are when it comes out of order.

    Parameters
    ----------
    model : fitted.
    history : of the ticker.
    index : cutoffs with known outcomes, after what the model was trained on (see :func:`scored`).
    seed : of the permutations.

    Returns
    -------
    One row a feature: ``feature``; ``crps``, the mean rise as a share of the CRPS as it is; ``error``,
    its standard error (of the mean over sessions, as the Diebold-Mariano test has it).

    Notes
    -----
    Permutation importance (Breiman 2001, Random forests, Machine Learning 45; Fisher, Rudin and
    Dominici 2019, JMLR 20). Whole blocks of ``BLOCK`` sessions change places within the sessions
    scored, so that what the network reads keeps its rhythm but for the seams; the sessions before
    stay as they were.
    """
    rng = np.random.default_rng(seed)
    begin, end = int(index[0]), int(index[-1]) + 1
    blocks = np.array_split(np.arange(begin, end), max(2, (end - begin) // BLOCK))
    orders = [
        np.concatenate([blocks[i] for i in rng.permutation(len(blocks))]) for _ in range(REPEATS)
    ]
    base = crps(model, [history], index)[0]
    rows = []
    for name in model.features:
        column = FEATURES.index(name)
        histories = []
        for order in orders:
            features = history.features.copy()
            features[begin:end, column] = features[order, column]
            histories.append(history.with_features(features))
        permuted = crps(model, histories, index).mean(axis=0)
        test = significance.diebold_mariano(permuted, base)
        error = abs(test.difference / test.statistic) if test.statistic else 0.0
        rows.append((name, test.difference / base.mean(), error / base.mean()))
    return pd.DataFrame(rows, columns=["feature", "crps", "error"])


def crps(model: Recurrent, histories: Sequence[History], index: np.ndarray) -> np.ndarray:
    """CRPS of the forecasts made at some sessions of versions of a history: (versions, sessions)."""
    outputs = model.outputs([(history, index) for history in histories])
    return np.array(
        [
            student_t.crps(h.next_returns[index], *student_of(output, h.volatility[index]))
            for h, output in zip(histories, outputs, strict=True)
        ]
    )


def without_features(
    model: Recurrent, history: History, index: np.ndarray, names: Sequence[str]
) -> np.ndarray:
    """CRPS of the forecasts made at some sessions when features are unknown: (sessions,).

    What is unknown is the training's mean, 0, which is also how training hid features from the
    network: it has learnt to do without.
    """
    features = history.features.copy()
    features[:, [FEATURES.index(name) for name in names]] = np.nan
    return crps(model, [history.with_features(features)], index)[0]


def without_lags(
    model: Recurrent, history: History, index: np.ndarray, lags: Sequence[int]
) -> np.ndarray:
    """CRPS of the forecasts made at some sessions when all is unknown of some lags: (sessions,)."""
    inputs = []
    for session in index:
        x = read_at(model, history, int(session))
        there = [lag for lag in lags if lag <= len(x)]
        x[[len(x) - lag for lag in there]] = 0
        inputs.append(x)
    spread = student_of(outputs_after(model, inputs), history.volatility[index])
    return student_t.crps(history.next_returns[index], *spread)


def outputs_after(model: Recurrent, inputs: list[np.ndarray]) -> np.ndarray:
    """The head's outputs at the end of each series of scaled inputs: (series, 3)."""
    chunks = [inputs[i : i + cell.CHUNK] for i in range(0, len(inputs), cell.CHUNK)]
    return np.concatenate([model.outputs_of(its, [slice(-1, None)] * len(its)) for its in chunks])


def ablation(
    model: Recurrent, history: History, index: np.ndarray, attribution: Attribution
) -> pd.DataFrame:
    """What it costs to take away what was called important, and what was not.

    Parameters
    ----------
    model, history, index : as for :func:`importance`.
    attribution : of one forecast.

    Returns
    -------
    Two rows, ``called`` ``most`` and ``least`` important, for each ``caller``: ``names`` of what was
    taken away, and ``crps``, the rise as a share.

    Notes
    -----
    Features are called by :func:`importance` on the first half of the sessions, and a quarter of
    them is taken away in the second half, so the caller has not seen what it is judged by. A
    quarter is also taken as the attribution of one forecast calls it, which is another matter: it
    says what moved that forecast, whether or not such moves are right. Ten of the last 120 lags
    are called by the attribution, and taken away at the last 250 of the sessions.
    """
    first, second = np.array_split(index, 2)
    ranked = importance(model, history, first).sort_values("crps")["feature"].tolist()
    moved = [attribution.features[i] for i in np.argsort(attribution.weight_of_features)]
    lags = (1 + np.argsort(attribution.weight_of_lags[:LAGS])).tolist()
    latest, few = index[-MOST_REMOVED_AT:], max(1, len(ranked) // REMOVED_SHARE)
    rows: list[tuple[str, str, list[Any], float]] = []
    for caller, names, count, removed, at in (
        ("features by permutation", ranked, few, without_features, second),
        ("features by attribution", moved, few, without_features, second),
        ("lags by attribution", lags, REMOVED_LAGS, without_lags, latest),
    ):
        base = crps(model, [history], at)[0].mean()
        for called, gone in (("most", names[-count:]), ("least", names[:count])):
            cost = removed(model, history, at, gone).mean() / base - 1
            rows.append((caller, called, gone, float(cost)))
    return pd.DataFrame(rows, columns=["caller", "called", "names", "crps"])
