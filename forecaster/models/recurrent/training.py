"""Training of a recurrent network: windows in, the best weights out; Keras on TensorFlow.

The loss is the negative log likelihood of a Student-t, at every session of a window after its
warm-up. A training is a sequence of epochs whose whole state can be saved and restored.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from forecaster.config import RecurrentConfig
from forecaster.dataset import windows
from forecaster.dataset.panel import History
from forecaster.distributions.student_t import DF_BOUNDS
from forecaster.models.protocol import ModelState
from forecaster.models.recurrent import cell

LOCATION_UNIT, LOG_SCALE_START, DF_START = 0.1, -0.15, 4.0
"""What zero outputs mean, in EWMA volatilities: location 0, scale 0.86, 6.1 degrees of freedom."""


LOG_SCALE_MOST = 10.0
"""No forecast is wider or narrower than this says, whatever weights a foreign bundle holds."""


@dataclass(frozen=True)
class Cell:
    """A kind of cell: how it goes forward here, its layer in Keras, and how many gates it has."""

    advance: cell.Advance
    layer: str
    gates: int
    biases: int = 1


CELLS = {
    "lstm": Cell(cell.lstm, "LSTM", 4),
    "gru": Cell(cell.gru, "GRU", 3, biases=2),
    "rnn": Cell(cell.plain, "SimpleRNN", 1),
}

HEADS = {"student": 0.0, "normal": 1000.0}
"""What the bias of the degrees of freedom starts from. No gradient gets past their upper bound, so
one that starts far beyond it stays there: the same network and bundle, held at a normal."""

PLATEAU, DECAY = 2, 0.4
"""After so many epochs without a better validation loss the learning rate shrinks by this factor."""


class Training:
    """One network being trained, an epoch at a time, until the validation loss no longer falls.

    Trainings of one shape share what TensorFlow traced, so the next begins when this one has ended.
    """

    def __init__(self, name: str, features: int, config: RecurrentConfig, seed: int) -> None:
        keras = keras_on_tensorflow()
        self.config = config
        self.seed = seed
        self.rng = np.random.default_rng(seed)
        shape = replace(config, seed=0, seeds=1, learning_rate=1.0, feature_dropout=0.0)
        self.graph = _traced(name, features, shape)
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
        """Whether the epochs, or the patience, are used up."""
        return self.epoch >= self.config.epochs or self.waited >= self.config.patience

    def run_epoch(self, windowed: "Windowed") -> dict[str, float]:
        """Trains for one epoch; gives seed, epoch, training loss and validation loss."""
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
        return {
            "seed": self.seed,
            "epoch": self.epoch,
            "loss": loss,
            "validation_loss": validation,
        }

    def state(self) -> ModelState:
        """All that the next epochs depend on."""
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
        """Goes back to a state of the same training."""
        self.model.set_weights(numbered(state.arrays, "model"))
        self.best_weights = numbered(state.arrays, "best")
        kept = numbered(state.arrays, "optimizer")
        for variable, value in zip(self.optimizer.variables, kept, strict=True):
            variable.assign(value)
        self.epoch, self.best = state.settings["epoch"], state.settings["best"]
        self.waited = state.settings["waited"]
        self.rng.bit_generator.state = state.settings["rng"]


def numbered(arrays: dict[str, np.ndarray], group: str) -> list[np.ndarray]:
    """The arrays called ``GROUP.0``, ``GROUP.1`` and so on, in order."""
    names = [name for name in arrays if name.rpartition(".")[0] == group]
    return [arrays[f"{group}.{i}"] for i in range(len(names))]


@dataclass(frozen=True)
class Windowed:
    """The training span as windows: inputs, targets in EWMA volatilities, and where windows start."""

    inputs: windows.Table
    """(sessions, features), the histories laid end to end"""
    train_targets: np.ndarray
    """(sessions,): the next session's return over today's volatility; NaN is not scored."""
    validation_targets: np.ndarray
    """(sessions,), NaN but for the sessions held out"""
    lengths: list[int]
    config: RecurrentConfig

    @classmethod
    def of(
        cls,
        histories: Iterable[History],
        inputs: Callable[[History, slice], np.ndarray],
        until: np.datetime64,
        cut: np.datetime64,
        config: RecurrentConfig,
    ) -> "Windowed":
        """Windows of the histories up to ``until``; targets from ``cut`` on are held out.

        ``inputs`` gives what the network reads of some sessions of a history: (sessions, features).
        """
        table = windows.Table()
        lengths, trained, held_out = [], [], []
        for history in histories:
            length = history.count_public(until)
            table.append(inputs(history, slice(length)))
            lengths.append(length)
            ratio = history.next_returns[: length - 1] / history.volatility[: length - 1]
            target = np.append(ratio, np.nan).astype(np.float32)
            early = history.next_dates[:length] < cut
            trained.append(np.where(early, target, np.float32(np.nan)))
            held_out.append(np.where(early, np.float32(np.nan), target))
        return cls(
            inputs=table,
            train_targets=np.concatenate(trained),
            validation_targets=np.concatenate(held_out),
            lengths=lengths,
            config=config,
        )

    def batches(self, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """An epoch of (batch, window, features) inputs and (batch, window) targets, shuffled.

        Of more than ``max_windows`` windows an epoch has a sample without replacement, each another.
        """
        size, least = self.config.batch, self.config.batch * self.config.steps
        begin = np.array([], dtype=int)
        while len(begin) < least:
            begin = np.append(begin, self._starts(self.train_targets, rng.random()))
        rng.shuffle(begin)
        begin = begin[: self.config.max_windows or None]
        for i in range(0, len(begin) - size + 1, size):
            x, y = self._gather(begin[i : i + size], self.train_targets)
            yield x * self._kept(rng, x.shape), y

    @cached_property
    def held_out(self) -> np.ndarray:
        """Where windows to validate on start: the same at every epoch, so that losses compare."""
        begin = self._starts(self.validation_targets, 0.0)
        most = self.config.max_windows
        if not 0 < most < len(begin):
            return begin
        return np.random.default_rng(self.config.seed).choice(begin, most, replace=False)

    def validation_loss(self, outputs: Callable[[np.ndarray], Any]) -> float:
        """Mean negative log likelihood of the sessions held out; nats a session.

        ``outputs`` is the network: (windows, window, features) -> (windows, window, 3).
        """
        begin = self.held_out
        total = count = 0.0
        for i in range(0, len(begin), 256):
            x, y = self._gather(begin[i : i + 256], self.validation_targets)
            scored = np.isfinite(y).sum()
            if scored:
                total += float(negative_log_likelihood(y, outputs(x), scored)) * scored
                count += scored
        return total / count

    def _kept(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Dropout of whole features of a window: (batch, 1, features), of mean one.

        A hidden feature is 0, which is what an unknown one is (see :class:`Scaler`): the network
        learns to do without, and leans on no single one (Srivastava et al., 2014).
        """
        batch, _, features = shape
        rate = self.config.feature_dropout
        kept = rng.random((batch, 1, features)) >= rate
        return kept.astype(np.float32) / np.float32(1 - rate)

    def _starts(self, targets: np.ndarray, shift: float) -> np.ndarray:
        """Where windows start that score at least one target."""
        window, warmup = self.config.window, self.config.warmup
        begin = windows.starts(self.lengths, window=window, step=window - warmup, shift=shift)
        scored = np.append(0, np.cumsum(np.isfinite(targets), dtype=np.int32))
        return begin[scored[begin + window] > scored[begin + warmup]]

    def _gather(self, begin: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = self.inputs.windows(begin, self.config.window)  # (batch, window, features)
        y = windows.views(targets, self.config.window)[begin]  # (batch, window)
        y[:, : self.config.warmup] = np.nan
        return x, y


class Graph:
    """A network and its optimizer as TensorFlow runs them, on one device or on several.

    Several devices take a part of each batch. Their gradients are added up before they are clipped
    and applied, and the loss is the mean over the targets of the whole batch, so that a step is the
    same however many devices there are, but for rounding.
    """

    def __init__(self, name: str, features: int, config: RecurrentConfig) -> None:
        keras = keras_on_tensorflow()
        import tensorflow as tf

        keras.utils.clear_session()
        found = devices()[: config.batch]
        self._strategy = (
            tf.distribute.MirroredStrategy(found)
            if len(found) > 1
            else tf.distribute.get_strategy()
        )
        with self._strategy.scope():
            self.model = network_of(name, features, config)
            self.optimizer = keras.optimizers.AdamW(
                config.learning_rate, weight_decay=config.weight_decay, global_clipnorm=1.0
            )
            if config.head == "normal":  # it must not decay back below the bound either
                self.optimizer.exclude_from_weight_decay([self.model.layers[-1].bias])
            self.optimizer.build(self.model.trainable_variables)
        self._step = tf.function(self._stepped, reduce_retracing=True)
        self._outputs = tf.function(self.model, reduce_retracing=True)

    def train(self, x: np.ndarray, y: np.ndarray) -> float:
        """One step on (batch, window, features) inputs and (batch, window) targets; gives the loss."""
        count = self._strategy.num_replicas_in_sync
        xs, ys = (np.array_split(it, count) for it in (x, y))
        scored = np.float32(np.isfinite(y).sum())
        return float(self._step(self._spread(xs), self._spread(ys), scored))

    def outputs(self, x: np.ndarray) -> Any:
        """The head's raw outputs, by the first device: (windows, window, 3)."""
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
        """A device's part of the loss, and of its gradient by every variable."""
        import tensorflow as tf

        variables = [variable.value for variable in self.model.trainable_variables]
        with tf.GradientTape() as tape:
            loss = negative_log_likelihood(y, self.model(x, training=True), scored)
        return [loss, *tape.gradient(loss, variables)]


def devices() -> list[str]:
    """The GPUs there are, all of which are trained on; none where the processor does it."""
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices("GPU")]


@lru_cache(maxsize=1)
def _traced(name: str, features: int, config: RecurrentConfig) -> Graph:
    """The network ready to be trained, of any weights.

    TensorFlow never forgets a graph that it has traced, so one made anew for every fold, seed and
    learning rate would cost memory each time, and seconds.
    """
    return Graph(name, features, config)


def network_of(name: str, features: int, config: RecurrentConfig) -> Any:
    """The Keras network: (batch, window, features) -> (batch, window, 3)."""
    keras = keras_on_tensorflow()
    inputs = keras.Input((None, features))
    layer = getattr(keras.layers, CELLS[name].layer)
    hidden = layer(config.units, return_sequences=True)(inputs)
    bias = keras.initializers.Constant([0.0, 0.0, HEADS[config.head]])
    outputs = keras.layers.Dense(3, kernel_initializer="zeros", bias_initializer=bias)(hidden)
    return keras.Model(inputs, outputs)


def negative_log_likelihood(target: Any, output: Any, count: Any) -> Any:
    """Sum over the targets that are not NaN of -log density of the Student-t, by ``count``; in TensorFlow.

    The same distribution as :func:`student_of`, with the EWMA volatility as the unit.
    """
    import tensorflow as tf

    scored = tf.math.is_finite(target)
    target = tf.where(scored, target, 0.0)
    location = LOCATION_UNIT * output[..., 0]
    log_scale = output[..., 1] + LOG_SCALE_START
    df = tf.minimum(DF_BOUNDS[0] + tf.math.softplus(output[..., 2] + DF_START), DF_BOUNDS[1])
    ratio = tf.square((target - location) * tf.exp(-log_scale)) / df
    loss = (
        tf.math.lgamma(df / 2)
        - tf.math.lgamma((df + 1) / 2)
        + 0.5 * tf.math.log(np.float32(np.pi) * df)
        + log_scale
        + (df + 1) / 2 * tf.math.log1p(ratio)
    )
    return tf.reduce_sum(tf.where(scored, loss, 0.0)) / count


def keras_on_tensorflow() -> ModuleType:
    """Keras on TensorFlow, deterministic, imported without its chatter."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    # oneDNN chooses its kernels, and so its rounding, as it runs.
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    logging.getLogger("tensorflow").setLevel(logging.CRITICAL)  # it comments on interruptions
    with _stderr_silenced():
        import keras
        import tensorflow as tf

    # A product of matrices is added up in as many parts as it has threads, so that its last digits
    # are the number of threads'. Where TensorFlow is at work already, it stays as it was set up.
    with suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    return keras


@contextmanager
def _stderr_silenced() -> Iterator[None]:
    """TensorFlow's libraries write to the terminal before there is a log level to set."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
