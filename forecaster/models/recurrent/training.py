"""Training of a recurrent network by Keras on TensorFlow: from windows to the best weights.

The loss is that of :mod:`forecaster.models.recurrent.head`, at every session of a window after its
warm-up. A training is a sequence of epochs whose whole state can be saved and restored.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster import imports
from forecaster.config import RecurrentConfig
from forecaster.dataset import windows
from forecaster.dataset.bars import Floats
from forecaster.dataset.panel import History
from forecaster.distributions import horizons
from forecaster.models.protocol import ModelState
from forecaster.models.recurrent import balance, cell, head, recurrence, term
from forecaster.models.registry import require_fittable


@dataclass(frozen=True)
class Cell:
    """A kind of cell: its step forward, its layer in Keras, and its numbers of gates and biases."""

    advance: cell.Advance
    layer: str
    gates: int
    biases: int = 1


CELLS = {
    "lstm": Cell(cell.lstm, "LSTM", 4),
    "gru": Cell(cell.gru, "GRU", 3, biases=2),
    "rnn": Cell(cell.plain, "SimpleRNN", 1),
}

PLATEAU, DECAY = 2, 0.4
"""The learning rate shrinks by the factor after each such number of epochs without a better loss."""

_NOT_OF_THE_GRAPH: dict[str, Any] = {
    "epochs": 1,
    "steps": 1,
    "patience": 1,
    "learning_rate": 1.0,
    "feature_dropout": 0.0,
    "group_dropout": 0.0,
    "balance": 0.0,
    "groups": "",
    "clip": 1.0,
    "horizon": 1,
    "seeds": 1,
    "seed": 0,
}
"""Settings that a graph does not depend on, each at one value for all."""

VALIDATED_AT_ONCE = 256
"""Windows in a batch of the validation."""


class Training:
    """One network in training, an epoch at a time, until the validation loss no longer falls.

    Trainings of one shape share a graph of TensorFlow, so one must end before the next begins.
    """

    def __init__(self, name: str, features: int, config: RecurrentConfig, seed: int) -> None:
        keras = keras_on_tensorflow()
        self.config = config
        self.seed = seed
        self.rng = np.random.default_rng(seed)
        self.graph = _traced(name, features, replace(config, **_NOT_OF_THE_GRAPH))
        self.model, self.optimizer = self.graph.model, self.graph.optimizer
        keras.utils.set_random_seed(seed)
        self.model.set_weights(network_of(name, features, config).get_weights())
        for variable in self.optimizer.variables:
            variable.assign(np.zeros_like(variable))
        self.optimizer.learning_rate = config.learning_rate
        self.epoch = 0
        self.best = np.inf
        self.best_weights: list[np.ndarray] = self.model.get_weights()
        self.waited = 0
        """Epochs since the validation loss was best."""

    @property
    def finished(self) -> bool:
        """Whether the epochs, or the patience, have run out."""
        return self.epoch >= self.config.epochs or self.waited >= self.config.patience

    @property
    def best_epoch(self) -> int:
        """The epoch of the best validation loss; 0 if it is that of the weights it began from."""
        return self.epoch - self.waited

    def begin(self, weights: Sequence[np.ndarray], windowed: "Windowed") -> dict[str, float]:
        """Start from weights, the best until an epoch is better; return what an epoch 0 would."""
        *cell_weights, kernel, bias = weights
        learnt = [*cell_weights, kernel[:, : head.OUTPUTS], bias[: head.OUTPUTS]]  # no skew
        self.model.set_weights(learnt)
        self.best, self.best_weights = windowed.validation_loss(self.graph.outputs), learnt
        return {"seed": self.seed, "epoch": 0, "validation_loss": self.best}

    def run_epoch(self, windowed: "Windowed") -> dict[str, float]:
        """Train for one epoch and return its seed, number, training loss and validation loss."""
        for x, y in windowed.batches(self.rng):
            loss = self.graph.train(x, y)
        validation = windowed.validation_loss(self.graph.outputs)
        self.epoch += 1
        if validation < self.best:
            self.best, self.best_weights, self.waited = validation, self.model.get_weights(), 0
        else:
            self.waited += 1
            if self.waited % PLATEAU == 0:
                self.optimizer.learning_rate = DECAY * float(self.optimizer.learning_rate)
        return {"seed": self.seed, "epoch": self.epoch, "loss": loss, "validation_loss": validation}

    def result(self, windowed: "Windowed") -> list[np.ndarray]:
        """Return the best weights, with the skew of the sessions held out if the head has one."""
        if self.config.head != "skewed":
            return self.best_weights
        self.model.set_weights(self.best_weights)
        *weights, kernel, bias = self.best_weights
        output, target = windowed.validation_outputs(self.graph.outputs)
        return [*weights, *head.with_skew(kernel, bias, output, target)]

    def state(self) -> ModelState:
        """Return everything that the next epochs depend on."""
        groups = {
            "model": self.model.get_weights(),
            "best": self.best_weights,
            "optimizer": [np.asarray(variable) for variable in self.optimizer.variables],
        }
        arrays = {f"{group}.{i}": w for group, ws in groups.items() for i, w in enumerate(ws)}
        settings = {
            "seed": self.seed,
            "epoch": self.epoch,
            "best": self.best,
            "waited": self.waited,
            "rng": self.rng.bit_generator.state,
        }
        return ModelState(arrays, settings)

    def restore(self, state: ModelState) -> None:
        """Return to a state of the same training."""
        self.model.set_weights(numbered(state.arrays, "model"))
        self.best_weights = numbered(state.arrays, "best")
        values = numbered(state.arrays, "optimizer")
        for variable, value in zip(self.optimizer.variables, values, strict=True):
            variable.assign(value)
        self.epoch, self.best = state.settings["epoch"], state.settings["best"]
        self.waited = state.settings["waited"]
        self.rng.bit_generator.state = state.settings["rng"]


def numbered(arrays: dict[str, np.ndarray], group: str) -> list[np.ndarray]:
    """Return the arrays called ``GROUP.0``, ``GROUP.1`` and so on, in order."""
    names = [name for name in arrays if name.rpartition(".")[0] == group]
    return [arrays[f"{group}.{i}"] for i in range(len(names))]


@dataclass(frozen=True)
class Windowed:
    """The training span as windows of inputs and of targets, in EWMA volatilities."""

    inputs: windows.Table
    """(sessions, features), the histories laid end to end"""
    train_targets: np.ndarray
    """(sessions,): the next session's return over today's volatility; NaN is not scored."""
    validation_targets: np.ndarray
    """(sessions,): the same for the sessions held out, NaN for the others."""
    ahead_targets: np.ndarray
    """(sessions, steps): the return over each of the longer steps in its unit; NaN is not scored."""
    lengths: list[int]
    weights: Floats
    """(histories,): how much their windows count; see :mod:`forecaster.models.recurrent.balance`"""
    groups: Sequence[NDArray[np.int_]]
    """Columns of the inputs that are hidden together"""
    config: RecurrentConfig

    @classmethod
    def of(
        cls,
        histories: Iterable[History],
        inputs: Callable[[History, slice], np.ndarray],
        unit: Callable[[History, int], np.ndarray],
        until: np.datetime64,
        cut: np.datetime64,
        groups: Sequence[NDArray[np.int_]],
        config: RecurrentConfig,
    ) -> "Windowed":
        """Return the windows of histories up to ``until``, with the targets from ``cut`` on held out.

        ``inputs`` returns the network's inputs at some sessions of a history, (sessions, features), and
        ``unit`` the volatility that the outputs of a step are relative to, (sessions,).
        """
        table = windows.Table()
        tickers, lengths, trained, held_out, ahead = [], [], [], [], []
        for history in histories:
            length = history.count_public(until)
            tickers.append(history.ticker)
            table.append(inputs(history, slice(length)))
            lengths.append(length)
            ratio = history.next_returns[: length - 1] / unit(history, 1)[: length - 1]
            target = np.append(ratio, np.nan).astype(np.float32)
            early = history.next_dates[:length] < cut
            trained.append(np.where(early, target, np.float32(np.nan)))
            held_out.append(np.where(early, np.float32(np.nan), target))
            ahead.append(_ahead(history, unit, length, early, config))
        return cls(
            table,
            np.concatenate(trained),
            np.concatenate(held_out),
            np.concatenate(ahead),
            lengths,
            balance.weights(tickers, lengths, config.balance),
            groups,
            config,
        )

    def batches(self, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield an epoch of (batch, window, features) inputs and (batch, window) targets, shuffled.

        If there are more than ``max_windows`` windows, each epoch draws its own sample of them.
        """
        size, least = self.config.batch, self.config.batch * self.config.steps
        begin = np.array([], dtype=int)
        while len(begin) < least:
            starts = self._starts(self.train_targets, rng.random())
            begin = np.append(begin, np.repeat(starts, self._copies(starts, rng)))
        rng.shuffle(begin)
        begin = begin[: self.config.max_windows or None]
        for i in range(0, len(begin) - size + 1, size):
            x, y = self._gather(begin[i : i + size], self.train_targets)
            yield x * self._dropout(rng, x.shape), y

    @cached_property
    def held_out(self) -> np.ndarray:
        """Starts of the validation windows: the same in every epoch, so that losses compare."""
        begin = self._starts(self.validation_targets, 0.0)
        most = self.config.max_windows
        if not 0 < most < len(begin):
            return begin
        return np.random.default_rng(self.config.seed).choice(begin, most, replace=False)

    def examples(self, states: Callable[[list[np.ndarray]], list[np.ndarray]]) -> term.Examples:
        """Return what the longer steps are learnt from.

        ``states`` returns the hidden states of some series of inputs, (sessions, networks, units) each.
        """
        known = np.isfinite(self.ahead_targets).any(axis=1)
        begin = self._starts(np.where(known, 0.0, np.nan), 0.0)
        if len(begin) > term.MOST_WINDOWS:
            rng = np.random.default_rng(self.config.seed)
            share = self._counts(begin)
            chosen = rng.choice(begin, term.MOST_WINDOWS, replace=False, p=share / share.sum())
            begin = np.sort(chosen)
        places = np.arange(self.config.warmup, self.config.window, term.EVERY)
        hidden = []
        for i in range(0, len(begin), cell.CHUNK):
            x = self.inputs.windows(begin[i : i + cell.CHUNK], self.config.window)
            hidden += [its[places] for its in states(list(x))]
        rows = (begin[:, None] + places).ravel()
        held_out = ~np.isfinite(self.train_targets[rows])
        return term.Examples(np.concatenate(hidden), self.ahead_targets[rows], held_out)

    def validation_loss(self, outputs: Callable[[np.ndarray], Any]) -> float:
        """Return the mean negative log likelihood of the sessions held out; nats a session.

        ``outputs`` is the network: (windows, window, features) -> (windows, window, OUTPUTS).
        """
        total = count = 0.0
        for x, y in self._validation():
            scored = np.isfinite(y).sum()
            total += float(head.negative_log_likelihood(y, outputs(x), scored)) * scored
            count += scored
        return total / count

    def validation_outputs(
        self, outputs: Callable[[np.ndarray], Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the network's outputs of the sessions held out, (sessions, OUTPUTS), and their targets."""
        pairs = [(np.asarray(outputs(x)), y) for x, y in self._validation()]
        known = [np.isfinite(y) for _, y in pairs]
        rows = [o[its] for (o, _), its in zip(pairs, known, strict=True)]
        targets = [y[its] for (_, y), its in zip(pairs, known, strict=True)]
        return np.concatenate(rows).astype(float), np.concatenate(targets).astype(float)

    def _validation(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield inputs and targets of the validation windows, without batches that have no target."""
        begin = self.held_out
        for i in range(0, len(begin), VALIDATED_AT_ONCE):
            x, y = self._gather(begin[i : i + VALIDATED_AT_ONCE], self.validation_targets)
            if np.isfinite(y).any():
                yield x, y

    def _dropout(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Return factors of mean one that hide whole features of a window: (batch, 1, features).

        A hidden feature is 0, as an unknown one is once scaled: the network learns to do without it,
        and to rely on no single one (Srivastava et al., 2014). Some groups are hidden whole, as are
        those that a ticker lacks.
        """
        batch, _, features = shape
        rate = self.config.feature_dropout
        visible = rng.random((batch, 1, features)) >= rate
        if self.config.group_dropout:
            for columns in self.groups:
                visible[..., columns] &= rng.random((batch, 1, 1)) >= self.config.group_dropout
        return visible.astype(np.float32) / np.float32(1 - rate)

    def _counts(self, begin: NDArray[np.int_]) -> Floats:
        """Return how much the windows from some starts count."""
        return self.weights[np.searchsorted(np.cumsum(self.lengths), begin, side="right")]

    def _copies(self, begin: NDArray[np.int_], rng: np.random.Generator) -> NDArray[np.int_]:
        """Return how often an epoch reads the windows from some starts, on average what they count."""
        counts = self._counts(begin)
        whole = np.floor(counts)
        if (whole < counts).any():
            whole += rng.random(len(begin)) < counts - whole
        return whole.astype(int)

    def _starts(self, targets: np.ndarray, shift: float) -> NDArray[np.int_]:
        """Return the starts of the windows that score at least one target."""
        window, warmup = self.config.window, self.config.warmup
        begin = windows.starts(self.lengths, window=window, step=window - warmup, shift=shift)
        scored = np.append(0, np.cumsum(np.isfinite(targets), dtype=np.int32))
        return begin[scored[begin + window] > scored[begin + warmup]]

    def _gather(self, begin: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = self.inputs.windows(begin, self.config.window)  # (batch, window, features)
        y = windows.views(targets, self.config.window)[begin]  # (batch, window)
        y[:, : self.config.warmup] = np.nan
        return x, y


def _ahead(
    history: History,
    unit: Callable[[History, int], np.ndarray],
    length: int,
    early: np.ndarray,
    config: RecurrentConfig,
) -> np.ndarray:
    """Return the targets of the longer steps at the first sessions of a history: (length, steps).

    None ends after the first sessions, and none reaches from those that train to those held out:
    ``early`` says which of them end, a session later, before these.
    """
    steps = horizons.knots([config.horizon])[1:]
    targets = np.full((length, len(steps)), np.nan, np.float32)
    for at, step in enumerate(steps):
        whole = history.ahead(step)[: length - step] / unit(history, step)[: length - step]
        same = early[: length - step] == early[step - 1 : length - 1]
        targets[: length - step, at] = np.where(same, whole, np.nan)
    return targets


class Graph:
    """A network and its optimizer as a graph of TensorFlow, on one device or on several.

    Each of several devices takes a part of a batch. Their gradients are summed before they are
    clipped and applied, and the loss is the mean over the targets of the whole batch. A step is thus
    the same for any number of devices, except for rounding.
    """

    def __init__(self, name: str, features: int, config: RecurrentConfig) -> None:
        keras = keras_on_tensorflow()
        import tensorflow as tf

        keras.utils.clear_session()
        names = devices()[: config.batch]
        self._strategy = (
            tf.distribute.MirroredStrategy(names)
            if len(names) > 1
            else tf.distribute.get_strategy()
        )
        # GPUs have kernels of their own for Keras's layer.
        self._compiles = name == "lstm" and not names
        with self._strategy.scope():
            self.model = network_of(name, features, config)
            self.optimizer = keras.optimizers.AdamW(
                config.learning_rate, weight_decay=config.weight_decay, global_clipnorm=1.0
            )
            if config.head == "normal":  # its bias must not decay back below the bound
                self.optimizer.exclude_from_weight_decay([self.model.layers[-1].bias])
            self.optimizer.build(self.model.trainable_variables)
        # AutoGraph would find nothing to convert here, and a killed process leaves its files behind.
        self._step = tf.function(self._stepped, autograph=False, reduce_retracing=True)
        self._outputs = tf.function(self.model, autograph=False, reduce_retracing=True)

    def train(self, x: np.ndarray, y: np.ndarray) -> float:
        """Return the loss of a step on (batch, window, features) inputs and (batch, window) targets."""
        count = self._strategy.num_replicas_in_sync
        xs, ys = (np.array_split(it, count) for it in (x, y))
        scored = np.float32(np.isfinite(y).sum())
        return float(self._step(self._spread(xs), self._spread(ys), scored))

    def outputs(self, x: np.ndarray) -> Any:
        """Return the raw outputs, by the first device: (windows, window, OUTPUTS)."""
        return self._outputs(x)

    def _spread(self, parts: list[np.ndarray]) -> Any:
        import tensorflow as tf

        return self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group])
        )

    def _stepped(self, x: Any, y: Any, scored: Any) -> Any:
        parts = self._strategy.run(self._gradients, (x, y, scored))
        loss, *gradients = (self._strategy.reduce("SUM", it, axis=None) for it in parts)
        self.optimizer.apply(gradients, self.model.trainable_variables)
        return loss

    def _gradients(self, x: Any, y: Any, scored: Any) -> list[Any]:
        """Return a device's part of the loss, and of its gradient by every variable."""
        import tensorflow as tf

        variables = [variable.value for variable in self.model.trainable_variables]
        with tf.GradientTape() as tape:
            output = _compiled(x, *variables) if self._compiles else self.model(x, training=True)
            loss = head.negative_log_likelihood(y, output, scored)
        return [loss, *tape.gradient(loss, variables)]


def _compiled(x: Any, kernel: Any, recurrent: Any, bias: Any, last: Any, last_bias: Any) -> Any:
    """Return what :func:`network_of` an LSTM does, of weights in its order: (batch, window, OUTPUTS)."""
    import tensorflow as tf

    inputs = tf.transpose(x, (1, 0, 2))  # (window, batch, features)
    hidden = recurrence.lstm(tf.tensordot(inputs, kernel, 1) + bias, recurrent)
    return tf.transpose(tf.tensordot(hidden, last, 1) + last_bias, (1, 0, 2))


def devices() -> list[str]:
    """Return the GPUs, all of which train; none where the processor does."""
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices("GPU")]


@lru_cache(maxsize=8)
def _traced(name: str, features: int, config: RecurrentConfig) -> Graph:
    """Return the graph of a network, of any weights.

    TensorFlow never frees a traced graph, so a new one for every fold, seed and learning rate would
    cost memory each time, and seconds; so would one for every turn of networks that take turns.
    """
    return Graph(name, features, config)


def network_of(
    name: str, features: int, config: RecurrentConfig, outputs: int = head.OUTPUTS
) -> Any:
    """Return the Keras network: (batch, window, features) -> (batch, window, outputs)."""
    keras = keras_on_tensorflow()
    inputs = keras.Input((None, features))
    layer = getattr(keras.layers, CELLS[name].layer)
    hidden = layer(config.units, return_sequences=True)(inputs)
    start = "zeros"  # of weights that are set afterwards
    if outputs == head.OUTPUTS:
        start = keras.initializers.Constant(head.initial_bias(config.head))
    last = keras.layers.Dense(outputs, kernel_initializer="zeros", bias_initializer=start)
    return keras.Model(inputs, last(hidden))


def keras_on_tensorflow() -> ModuleType:
    """Import and return Keras on TensorFlow, deterministic and without its messages."""
    require_fittable(CELLS)
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    # oneDNN chooses its kernels, and so its rounding, at run time.
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    logging.getLogger("tensorflow").setLevel(logging.CRITICAL)  # it logs interruptions
    # Keras has wrappers and pictures for these two, and imports them if they are there.
    with _stderr_silenced(), imports.without("matplotlib", "sklearn"):
        import keras
        import tensorflow as tf

    # A matrix product is summed in one part for each thread, so its last digits depend on their
    # number. Once TensorFlow runs, the number is fixed.
    with suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    module: ModuleType = keras
    return module


@contextmanager
def _stderr_silenced() -> Iterator[None]:
    """Silence what TensorFlow's libraries write before there is a log level to set."""
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)
