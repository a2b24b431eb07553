"""One recurrent network for all tickers, from a session's features to a distribution of tomorrow's return.

The network reads a session's features, updates its memory, and returns the parameters of tomorrow's
distribution *relative to* the EWMA volatility of its ticker (:mod:`forecaster.models.recurrent.head`).
The last layer starts from zero, so that training starts from EWMA with fat tails and has only to
learn its errors.

Keras on TensorFlow trains it; forecasts need neither, but :mod:`forecaster.models.recurrent.cell`.
"""

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from forecaster.config import RecurrentConfig, replaced
from forecaster.dataset.bars import Floats
from forecaster.dataset.features import EVENTS, FEATURES, GROUPS, chosen
from forecaster.dataset.panel import History, Panel, TickerForecasts, forecasts_of
from forecaster.distributions import horizons
from forecaster.errors import HistoryError
from forecaster.models.protocol import (
    NO_CHECKPOINT,
    SESSIONS_TO_FORECAST,
    Checkpoint,
    Model,
    ModelState,
    Progress,
    require_within,
    silent,
    too_short,
)
from forecaster.models.recurrent import balance, cell, head
from forecaster.models.recurrent.term import LEAST, Term
from forecaster.models.recurrent.training import CELLS, Training, Windowed, network_of, numbered

CONTEXT = 512
"""Sessions that a forecast reads at least, if the history has them; see :func:`spans_of`."""

SPANS = 8 * cell.CHUNK
"""Spans whose inputs are in memory at a time: 25 MB."""

CONSTANT = 1e-6
"""A feature of a smaller standard deviation varies by rounding alone."""

HIDDEN = ("market", "implied")
"""Groups of features that a ticker may lack as a whole, and that training hides as a whole."""

WEIGHTS = ("kernel", "recurrent", "bias", "head_kernel", "head_bias")
"""Names of a network's weights, in Keras's order."""


@dataclass(frozen=True)
class Scaler:
    """Standardisation of features by their mean and standard deviation over the training span."""

    mean: np.ndarray
    """(features,)"""
    scale: np.ndarray
    """(features,)"""
    clip: float

    @classmethod
    def fit(cls, tables: Iterable[tuple[np.ndarray, float]], clip: float) -> "Scaler":
        """Return the scaler of (sessions, features) tables, fitted by scikit-learn one by one.

        A session of each counts as much as its number says. A feature that no table has gets a mean of
        NaN, one that never changes a scale of 1.
        """
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler()
        mean, variance = np.zeros(1), np.zeros(1)  # (features,)
        for table, weight in tables:
            with np.errstate(invalid="ignore", divide="ignore"):
                scaler.partial_fit(table, sample_weight=np.full(len(table), weight))
            # A table without a feature sets its statistics to NaN, and further tables keep that.
            known = np.isfinite(table).any(axis=0)
            mean = np.where(known, scaler.mean_, mean)
            variance = np.where(known, scaler.var_, variance)
            scaler.mean_, scaler.var_ = mean, variance
        mean = np.where(scaler.n_samples_seen_ > 0, mean, np.nan)
        scale = np.where(np.sqrt(variance) > CONSTANT, np.sqrt(variance), 1)
        return cls(mean.astype(np.float32), scale.astype(np.float32), clip)

    def only(self, columns: np.ndarray) -> "Scaler":
        """Return the scaler of some of the features."""
        return Scaler(self.mean[columns], self.scale[columns], self.clip)

    def leaving(self, columns: np.ndarray) -> "Scaler":
        """Return the scaler that leaves some of the features as they are.

        What is 0 but on a few sessions of a year has a small deviation: scaled by it, those few would
        be cut off.
        """
        mean = np.where(columns & np.isfinite(self.mean), np.float32(0), self.mean)
        return Scaler(mean, np.where(columns, np.float32(1), self.scale), self.clip)

    def transform(self, table: np.ndarray) -> np.ndarray:
        """Return scaled features, (sessions, features), float32; unknown ones become the mean, 0."""
        scaled: np.ndarray = np.nan_to_num((table - self.mean) / self.scale, nan=0.0)
        return scaled.clip(-self.clip, self.clip).astype(np.float32)


@dataclass(frozen=True)
class Network:
    """The weights trained from one seed."""

    cell: cell.Weights
    head_kernel: np.ndarray
    """(units, OUTPUTS)"""
    head_bias: np.ndarray
    """(OUTPUTS,)"""

    @classmethod
    def of(cls, weights: Sequence[np.ndarray]) -> "Network":
        """Return the network of weights in Keras's order."""
        kernel, recurrent, bias, head_kernel, head_bias = weights
        return cls(cell.Weights(kernel, recurrent, bias), head_kernel, head_bias)

    @property
    def weights(self) -> list[np.ndarray]:
        """Weights in Keras's order."""
        gates = [self.cell.kernel, self.cell.recurrent, self.cell.bias]
        return [*gates, self.head_kernel, self.head_bias]


class Cutoffs(NamedTuple):
    """Sessions of a history that forecasts are made from."""

    history: History
    sessions: np.ndarray
    """Their indices, ascending and not empty: (cutoffs,)"""


class Recurrent(Model):
    """A recurrent model of all tickers: ``lstm``, ``gru`` or ``rnn``, which differ in their cell alone."""

    tickerwise = False

    def __init__(self, name: str, config: RecurrentConfig) -> None:
        self.name = name
        self.config = config
        self.horizon = config.horizon
        self.features: list[str] = []
        self.scaler: Scaler
        self.networks: list[Network] = []
        self.is_scheduled = False
        """Whether it knows of announcements, even if none came in the training span."""
        self.term: Term | None = None
        """The sessions after the next; None if the horizon is one session."""
        self.training: list[dict[str, float]] = []
        """Seed, epoch, training loss and validation loss (nats a session) of each epoch; epoch 0, which
        has no training loss, is that of the weights of :attr:`start`."""
        self.start: Recurrent | None = None
        """Whose weights the training starts from, and whose features and scaler stay; None to start
        afresh."""

    def fit(
        self,
        panel: Panel,
        until: np.datetime64,
        progress: Progress = silent,
        checkpoint: Checkpoint = NO_CHECKPOINT,
    ) -> None:
        """Fit the scaler and the networks on every ticker whose sessions fill a window."""
        config, start = self.config, self.start
        cut = held_out_from(panel, until, config)

        def used() -> Iterator[History]:
            return (h for h in panel.histories if h.count_until(cut) > config.window)

        if not any(used()):
            raise too_short(self.name, panel, until, 5 * (config.window + 1) // 4 + 1)
        text = f"{self.name}: features of {len(panel.histories)} tickers"
        progress(0, config.seeds * config.epochs, text)
        if start is None:
            scaler = Scaler.fit(_weighed(used(), until, config), config.clip)
            scaler = scaler.leaving(np.isin(FEATURES, EVENTS))
            seen = np.isfinite(scaler.mean) & np.isin(FEATURES, chosen(config.groups))
            self.features = [name for name, known in zip(FEATURES, seen, strict=True) if known]
            self.scaler = scaler.only(seen)
            self.is_scheduled = set(EVENTS) <= set(chosen(config.groups)) and any(
                history.schedule for history in panel.histories
            )
        else:
            self.features, self.scaler = start.features, start.scaler
            self.is_scheduled = start.is_scheduled
        groups = [np.flatnonzero(np.isin(self.features, GROUPS[it])) for it in HIDDEN]
        windowed = Windowed.of(used(), self.inputs, self.unit, until, cut, groups, config)
        if not np.isfinite(windowed.validation_targets).any():
            raise HistoryError(
                f"{self.name} holds out the sessions from {cut} to {until} to know when to stop, "
                f"and no ticker with more than {config.window} sessions before traded on them; "
                "choose an earlier `until`, or leave out the tickers that are too new"
            )
        saved = checkpoint.load()
        self.training = list(saved.settings["training"]) if saved else []
        self.networks = _networks(saved) if saved else []
        for seed in range(config.seed + len(self.networks), config.seed + config.seeds):
            training = Training(self.name, len(self.features), config, seed)
            if saved and saved.settings["seed"] == seed:
                training.restore(saved)
            elif start is not None:
                self.training.append(
                    training.begin(start.networks[seed - config.seed].weights, windowed)
                )
            self._train(training, windowed, progress, checkpoint)
            self.networks.append(
                start.networks[seed - config.seed]
                if start is not None and training.best_epoch == 0
                else Network.of(training.result(windowed))
            )
        if self.horizon > 1:
            steps = horizons.knots([self.horizon])[1:]
            examples = windowed.examples(self.states)
            if start is not None and examples.learnt < LEAST:
                self.term = start.term
            else:
                self.term = Term.fit(examples, steps, config.head)

    def _train(
        self, training: Training, windowed: Windowed, progress: Progress, checkpoint: Checkpoint
    ) -> None:
        """Run the epochs of one network, and save a checkpoint after each."""
        config = self.config
        while not training.finished:
            epoch = training.run_epoch(windowed)
            self.training.append(epoch)
            checkpoint.save(self._checkpoint(training.state()))
            progress(
                (training.seed - config.seed) * config.epochs + training.epoch,
                config.seeds * config.epochs,
                f"{self.name} {training.seed - config.seed + 1}/{config.seeds} epoch {training.epoch}: "
                f"loss {epoch['loss']:.4f}, held out {epoch['validation_loss']:.4f}",
            )

    def _checkpoint(self, state: ModelState) -> ModelState:
        """Return the state of a training with the networks of the seeds before it."""
        arrays = {
            f"network.{n}.{i}": weight
            for n, network in enumerate(self.networks)
            for i, weight in enumerate(network.weights)
        }
        settings = {"training": self.training, "networks": len(self.networks)}
        return ModelState(state.arrays | arrays, state.settings | settings)

    @property
    def validation_loss(self) -> float:
        """Best validation loss, averaged over the seeds; nats a session."""
        losses = pd.DataFrame(self.training)
        return float(losses.groupby("seed")["validation_loss"].min().mean())

    def forecast(
        self,
        panel: Panel,
        first: np.datetime64,
        last: np.datetime64,
        steps: Sequence[int] = (1,),
    ) -> pd.DataFrame:
        """Return the forecasts frame of every ticker with enough sessions, trained on or not."""
        require_within(self.name, self.horizon, steps)
        knots, cutoffs = horizons.knots(steps), []
        for history in panel.histories:
            index = history.between(first, last)
            index = index[index >= SESSIONS_TO_FORECAST - 1]
            if len(index):
                begin = begin_of(int(index[0]))  # what came before is in the features
                cutoffs.append(Cutoffs(history.since(begin), index - begin))
        outputs = self.outputs(cutoffs, knots) if cutoffs else []
        parts = [
            TickerForecasts(
                history,
                index,
                {
                    step: head.distribution(output, self.unit(history, step)[index])
                    for step, output in its.items()
                },
            )
            for (history, index), its in zip(cutoffs, outputs, strict=True)
        ]
        return forecasts_of(self.name, parts, steps, scheduled=self.is_scheduled)

    def inputs(self, history: History, sessions: slice) -> np.ndarray:
        """Return the scaled features that the network reads of some sessions: (sessions, features)."""
        columns = [FEATURES.index(name) for name in self.features]
        return self.scaler.transform(history.features[sessions, columns])

    def unit(self, history: History, step: int) -> Floats:
        """Return the volatility that the outputs of a step are relative to: (sessions,), a fraction."""
        if step == 1:
            return history.scale if self.is_scheduled else history.volatility
        variance = history.clock(step) if self.is_scheduled else step
        return history.volatility * np.sqrt(variance)

    def outputs(
        self, cutoffs: Sequence[Cutoffs], knots: Sequence[int] = (1,)
    ) -> list[dict[int, Floats]]:
        """Return the head's raw outputs at the cutoffs of each history, averaged over the seeds.

        By step, each is (cutoffs, OUTPUTS).
        """
        spans = [span for history, index in cutoffs for span in spans_of(history, index)]
        outputs: dict[int, list[Floats]] = {step: [] for step in knots}
        for begin in range(0, len(spans), SPANS):
            for step, its in self._outputs_of_spans(spans[begin : begin + SPANS], knots).items():
                outputs[step] += its
        ends = np.cumsum([len(index) for _, index in cutoffs])[:-1]
        split = {step: np.split(np.concatenate(its), ends) for step, its in outputs.items()}
        return [{step: its[at] for step, its in split.items()} for at in range(len(cutoffs))]

    def _outputs_of_spans(
        self, spans: Sequence["Span"], knots: Sequence[int]
    ) -> dict[int, list[Floats]]:
        """Return the head's raw outputs at the cutoffs of each span: by step, (cutoffs, OUTPUTS) each."""
        inputs = [self.inputs(span.history, slice(span.begin, span.end)) for span in spans]
        rows = [span.index - span.begin for span in spans]
        outputs = {step: [np.empty(0)] * len(spans) for step in knots}
        # Those of a length together: the cell goes on until the longest of a chunk is at its end.
        order = sorted(range(len(spans)), key=lambda at: len(inputs[at]))
        for begin in range(0, len(order), cell.CHUNK):
            chunk = order[begin : begin + cell.CHUNK]
            its = self.outputs_of([inputs[at] for at in chunk], [rows[at] for at in chunk], knots)
            ends = np.cumsum([len(rows[at]) for at in chunk])[:-1]
            for step, output in its.items():
                for at, own in zip(chunk, np.split(output, ends), strict=True):
                    outputs[step][at] = own
        return outputs

    def states(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the hidden states of scaled inputs, (sessions, networks, units) for each series."""
        stack = cell.Weights.stack([network.cell for network in self.networks])
        return cell.hidden_states(stack, list(inputs), CELLS[self.name].advance)

    def outputs_of(
        self,
        inputs: Sequence[np.ndarray],
        rows: Sequence[np.ndarray | slice],
        knots: Sequence[int] = (1,),
    ) -> dict[int, Floats]:
        """Return the head's raw outputs at some rows of scaled inputs: by step, (rows, OUTPUTS).

        Parameters
        ----------
        inputs : (sessions, features) for each series.
        rows : the rows of each.
        knots : the steps, the first ones there are.
        """
        hidden = self.states(inputs)
        states = np.concatenate([h[its] for h, its in zip(hidden, rows, strict=True)])
        return {
            step: self._output(states)
            if self.term is None or not at
            else self.term.output(states, at - 1)
            for at, step in enumerate(knots)
        }

    def _output(self, states: np.ndarray) -> Floats:
        """Return the outputs of the next session, (rows, OUTPUTS), from (rows, networks, units)."""
        kernel = np.stack([network.head_kernel for network in self.networks])
        bias = np.sum([network.head_bias for network in self.networks], axis=0)
        # A matrix product may round a row differently for another number of rows.
        total: np.ndarray = np.einsum("tnu,nuk->tk", states, kernel) + bias  # (rows, OUTPUTS)
        return total.astype(float) / len(self.networks)

    def readouts(self, step: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return kernel and bias of the last layer of each network for a step that is a knot.

        They are (units, outputs) and (outputs,). The outputs are the average of what these make of the
        hidden states.
        """
        if step == 1:
            return [(network.head_kernel, network.head_bias) for network in self.networks]
        if self.term is None:
            raise ValueError(f"{self.name} was not fitted for a step of {step}")
        at = horizons.knots([self.horizon]).index(step) - 1
        kernels = np.zeros((*self.term.kernel.shape[1:], head.OUTPUTS))
        kernels[..., 1] = self.term.kernel[at] * len(self.networks)  # of the logarithm of the scale
        return [(kernel, self.term.bias[at]) for kernel in kernels]

    def alone(self) -> list["Recurrent"]:
        """Return a model of each network, if there are several."""
        several = self.networks if len(self.networks) > 1 else []
        models = [copy(self) for _ in several]
        for model, network in zip(models, several, strict=True):
            model.networks, model.term, model.horizon = [network], None, 1
        return models

    def state(self) -> ModelState:
        """Return scaler and weights; the first axis of the weights is the seed."""
        stacked = zip(*(network.weights for network in self.networks), strict=True)
        arrays = {name: np.stack(w) for name, w in zip(WEIGHTS, stacked, strict=True)}
        arrays |= {"scaler_mean": self.scaler.mean, "scaler_scale": self.scaler.scale}
        if self.term is not None:
            arrays |= {"term_kernel": self.term.kernel, "term_bias": self.term.bias}
        settings = {
            "features": self.features,
            "scheduled": self.is_scheduled,
            "config": asdict(self.config),
            "validation_loss": self.validation_loss,
            "training": self.training,
        }
        return ModelState(arrays, settings)

    def restore(self, state: ModelState) -> None:
        """Take the scaler and weights of a state, if their shapes fit together."""
        self.config = replaced(self.config, {"horizon": 1} | state.settings["config"])
        self.horizon = self.config.horizon
        self.features = [FEATURES[FEATURES.index(name)] for name in state.settings["features"]]
        self.training = list(state.settings["training"])
        informed = bool(set(EVENTS) & set(self.features))  # what a bundle of 0.2.0 goes by
        self.is_scheduled = bool(state.settings.get("scheduled", informed))
        arrays, units, inputs = state.arrays, self.config.units, len(self.features)
        kind = CELLS[self.name]
        width = kind.gates * units
        seeds, biases = self.config.seeds, () if kind.biases == 1 else (kind.biases,)
        outputs = head.SKEWED_OUTPUTS if self.config.head == "skewed" else head.OUTPUTS
        shapes = {
            "kernel": (seeds, inputs, width),
            "recurrent": (seeds, units, width),
            "bias": (seeds, *biases, width),
            "head_kernel": (seeds, units, outputs),
            "head_bias": (seeds, outputs),
            "scaler_mean": (inputs,),
            "scaler_scale": (inputs,),
        }
        steps = len(horizons.knots([self.horizon])) - 1
        if steps:
            shapes["term_kernel"] = (steps, seeds, units)
            shapes["term_bias"] = (steps, head.OUTPUTS)
        for name, shape in shapes.items():
            if arrays[name].shape != shape:
                raise ValueError(f"expected {name} of shape {shape}, got {arrays[name].shape}")
        if not (arrays["scaler_scale"] > 0).all():
            raise ValueError("scaler_scale must be above 0")
        self.scaler = Scaler(arrays["scaler_mean"], arrays["scaler_scale"], self.config.clip)
        self.term = Term(arrays["term_kernel"], arrays["term_bias"]) if steps else None
        self.networks = [
            Network.of(weights) for weights in zip(*(arrays[name] for name in WEIGHTS), strict=True)
        ]

    def export(self, folder: Path) -> None:
        """Save each network as a Keras model of standard layers, such as ``lstm-0.keras``."""
        for seed, network in enumerate(self.networks, start=self.config.seed):
            outputs = len(network.head_bias)
            model = network_of(self.name, len(self.features), self.config, outputs)
            model.set_weights(network.weights)
            model.save(folder / f"{self.name}-{seed}.keras")


def held_out_from(panel: Panel, until: np.datetime64, config: RecurrentConfig) -> np.datetime64:
    """Return the first of the sessions up to ``until`` that early stopping holds out."""
    lengths = [it.count_until(until) for it in panel.histories]
    lengths = [count for count in lengths if count > config.window] or [0]
    sessions = panel.sessions
    sessions = sessions[sessions <= until]
    # A fifth of the usual history: one that is far longer than the others must not hold out all of them.
    held_out = min(config.validation, balance.usual(lengths) // 5)
    return sessions[-held_out] if held_out else until


def _weighed(
    histories: Iterable[History], until: np.datetime64, config: RecurrentConfig
) -> Iterator[tuple[np.ndarray, float]]:
    """Yield the features of each history up to ``until``, and how much a session of it counts."""
    used = [(it, it.count_public(until)) for it in histories]
    tickers, lengths = [it.ticker for it, _ in used], [count for _, count in used]
    counts = balance.weights(tickers, lengths, config.balance)
    for (history, length), weight in zip(used, counts.tolist(), strict=True):
        yield history.features[:length], weight


@dataclass(frozen=True)
class Span:
    """Sessions that the network reads in one pass, and the cutoffs among them."""

    history: History
    begin: int
    end: int
    index: np.ndarray
    """Indices of the cutoffs: (cutoffs,)"""


def spans_of(history: History, index: np.ndarray) -> list[Span]:
    """Return the spans that give the outputs at some sessions of a history, in order.

    The memory of the network starts empty ``CONTEXT`` to twice ``CONTEXT`` sessions before a cutoff, at
    a session that depends on that cutoff alone: a forecast is the same whatever other cutoffs there
    are, and does not need the whole history.
    """
    blocks = np.split(index, np.flatnonzero(np.diff(index // CONTEXT)) + 1)
    return [Span(history, begin_of(int(block[0])), int(block[-1]) + 1, block) for block in blocks]


def begin_of(session: int) -> int:
    """Return the session at which the memory starts empty for an output at another, a multiple of it.

    So a history that begins at such a session has the same spans.
    """
    return max(0, session // CONTEXT - 1) * CONTEXT


def _networks(saved: ModelState) -> list[Network]:
    """Return the networks of the seeds that were finished at a checkpoint."""
    count = saved.settings["networks"]
    return [Network.of(numbered(saved.arrays, f"network.{n}")) for n in range(count)]


def create(name: str, config: RecurrentConfig) -> Recurrent:
    """Return the recurrent model called ``lstm``, ``gru`` or ``rnn``."""
    return Recurrent(name, config)
