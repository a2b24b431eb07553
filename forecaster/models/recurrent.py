"""One recurrent network for all tickers: features in, a Student-t of tomorrow's return out.

The network reads a session's features, updates its memory, and gives three numbers, which say how
tomorrow's return is spread *relative to* the EWMA volatility of its ticker: location, log scale and
degrees of freedom. The last layer starts from zero, so that training starts from EWMA with a
Student-t and has only to learn where that is wrong. The loss is the negative log likelihood, at
every session of a window after its warm-up.

Training is Keras on TensorFlow; forecasts run through :mod:`forecaster.cell`, which needs neither.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from forecaster import cell, forecasts, windows
from forecaster.config import RecurrentConfig, replaced
from forecaster.errors import HistoryError
from forecaster.features import FEATURES
from forecaster.models import MIN_SESSIONS, Progress, State, silent, too_short
from forecaster.panel import History, Panel
from forecaster.student import DF_BOUNDS

LOCATION_UNIT, LOG_SCALE_START, DF_START = 0.1, -0.15, 4.0
"""What zero outputs mean, in EWMA volatilities: location 0, scale 0.86, 6.1 degrees of freedom."""

PLATEAU, DECAY = 2, 0.4
"""After so many epochs without a better validation loss the learning rate shrinks by this factor."""


@dataclass(frozen=True)
class Scaler:
    """Turns features into numbers near zero: the mean and the spread of what training saw."""

    mean: np.ndarray
    """(features,)"""
    scale: np.ndarray
    """(features,)"""
    clip: float

    @classmethod
    def fit(cls, table: np.ndarray, clip: float) -> "Scaler":
        """Fitted by scikit-learn on a (sessions, features) table of the training span."""
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(table)
        return cls(scaler.mean_.astype(np.float32), scaler.scale_.astype(np.float32), clip)

    def transform(self, table: np.ndarray) -> np.ndarray:
        """Scaled features, float32; what is unknown becomes the mean, 0."""
        scaled = (table - self.mean) / self.scale
        return np.clip(np.nan_to_num(scaled, nan=0.0), -self.clip, self.clip).astype(np.float32)


@dataclass(frozen=True)
class Network:
    """The weights trained from one seed."""

    cell: cell.Weights
    head_kernel: np.ndarray
    """(units, 3)"""
    head_bias: np.ndarray
    """(3,)"""


class Recurrent:
    """A global recurrent model: ``lstm``."""

    def __init__(self, name: str, config: RecurrentConfig) -> None:
        self.name = name
        self.config = config
        self.features: list[str] = []
        self.scaler: Scaler
        self.networks: list[Network] = []
        self.training: list[dict[str, float]] = []
        """Seed, epoch, training loss and validation loss (nats a session) of each epoch."""

    def fit(self, panel: Panel, until: np.datetime64, progress: Progress = silent) -> None:
        """Fits the scaler and the networks on every ticker whose sessions fill a window."""
        config = self.config
        sessions = panel.sessions
        sessions = sessions[sessions <= until]
        held_out = min(config.validation, len(sessions) // 5)
        cut = sessions[-held_out] if held_out else until
        used = [h for h in panel.histories if h.count_until(cut) > config.window]
        if not used:
            raise too_short(self.name, panel, until, 5 * (config.window + 1) // 4 + 1)
        table = np.concatenate([h.features[: h.count_until(until)] for h in used])
        seen = np.isfinite(table).any(axis=0)
        self.features = [name for name, known in zip(FEATURES, seen, strict=True) if known]
        self.scaler = Scaler.fit(table[:, seen], config.clip)
        windowed = Windowed.of(used, self.scaler.transform(table[:, seen]), until, cut, config)
        if not np.isfinite(windowed.validation_targets).any():
            raise HistoryError(
                f"{self.name} holds out the sessions from {cut} to {until} to know when to stop, "
                f"and no ticker with more than {config.window} sessions before traded on them; "
                "choose an earlier --until, or leave out the tickers that are too new"
            )
        self.networks, self.training = [], []
        for seed in range(config.seed, config.seed + config.seeds):
            self._train(windowed, seed, progress)

    def _train(self, windowed: "Windowed", seed: int, progress: Progress) -> None:
        """Trains one network until the validation loss no longer falls, and keeps its best epoch."""
        keras = _keras()
        keras.utils.clear_session()
        keras.utils.set_random_seed(seed)
        rng = np.random.default_rng(seed)
        model = _model(len(self.features), self.config)
        optimizer = keras.optimizers.AdamW(
            self.config.learning_rate, weight_decay=self.config.weight_decay, global_clipnorm=1.0
        )
        model.compile(optimizer=optimizer, loss=_negative_log_likelihood, jit_compile=False)
        best, weights, waited = np.inf, model.get_weights(), 0
        for epoch in range(1, self.config.epochs + 1):
            model.reset_metrics()
            for x, y in windowed.batches(rng):
                loss = float(model.train_on_batch(x, y))
            validation = windowed.validation_loss(model)
            self.training.append(
                {"seed": seed, "epoch": epoch, "loss": loss, "validation_loss": validation}
            )
            if validation < best:
                best, weights, waited = validation, model.get_weights(), 0
            else:
                waited += 1
                if waited % PLATEAU == 0:
                    optimizer.learning_rate = DECAY * float(optimizer.learning_rate)
            progress(
                (seed - self.config.seed) * self.config.epochs + epoch,
                self.config.seeds * self.config.epochs,
                f"{self.name} epoch {epoch}: loss {loss:.4f}, validation {validation:.4f}",
            )
            if waited == self.config.patience:
                break
        kernel, recurrent, bias, head_kernel, head_bias = weights
        self.networks.append(Network(cell.Weights(kernel, recurrent, bias), head_kernel, head_bias))

    @property
    def validation_loss(self) -> float:
        """Best validation loss, averaged over the seeds; nats a session."""
        losses = pd.DataFrame(self.training)
        return float(losses.groupby("seed")["validation_loss"].min().mean())

    def forecast(self, panel: Panel, first: np.datetime64, last: np.datetime64) -> pd.DataFrame:
        """The forecasts frame of every ticker with enough sessions, whether trained on or not."""
        spans = [h.between(first, last) for h in panel.histories]
        spans = [index[index >= MIN_SESSIONS - 1] for index in spans]
        asked = [(h, i) for h, i in zip(panel.histories, spans, strict=True) if len(i)]
        outputs = self.outputs([history for history, _ in asked])
        frames = [forecasts.empty()]
        for (history, index), output in zip(asked, outputs, strict=True):
            location, scale, df = student_of(output, history.volatility)
            frames.append(
                history.student_forecasts(
                    self.name, index, location[index], scale[index], df[index]
                )
            )
        return forecasts.concat(frames)

    def inputs(self, history: History) -> np.ndarray:
        """What the network reads: (sessions, features), scaled."""
        columns = [FEATURES.index(name) for name in self.features]
        return self.scaler.transform(history.features[:, columns])

    def outputs(self, histories: list[History]) -> list[np.ndarray]:
        """The head's raw outputs, averaged over the seeds: (sessions, 3) for each history."""
        inputs = [self.inputs(history) for history in histories]
        total: list[Any] = [0.0] * len(inputs)
        for network in self.networks:
            hidden = cell.hidden_states(network.cell, inputs)
            # Not a matrix product, which may round otherwise with another number of sessions.
            heads = (np.einsum("tu,uk->tk", h, network.head_kernel) for h in hidden)
            total = [t + (h + network.head_bias) for t, h in zip(total, heads, strict=True)]
        return [t.astype(float) / len(self.networks) for t in total]

    def state(self) -> State:
        """Scaler and weights; of several seeds, the first axis is the seed."""
        stacked = {
            "kernel": [n.cell.kernel for n in self.networks],
            "recurrent": [n.cell.recurrent for n in self.networks],
            "bias": [n.cell.bias for n in self.networks],
            "head_kernel": [n.head_kernel for n in self.networks],
            "head_bias": [n.head_bias for n in self.networks],
        }
        arrays = {name: np.stack(weights) for name, weights in stacked.items()}
        arrays |= {"scaler_mean": self.scaler.mean, "scaler_scale": self.scaler.scale}
        settings = {
            "features": self.features,
            "config": asdict(self.config),
            "validation_loss": self.validation_loss,
            "training": self.training,
        }
        return State(arrays, settings)

    def restore(self, state: State) -> None:
        """Takes the scaler and weights of a state, once their shapes fit together."""
        self.config = replaced(self.config, state.settings["config"])
        self.features = [FEATURES[FEATURES.index(name)] for name in state.settings["features"]]
        self.training = list(state.settings["training"])
        arrays, units, inputs = state.arrays, self.config.units, len(self.features)
        shapes = {
            "kernel": (inputs, 4 * units),
            "recurrent": (units, 4 * units),
            "bias": (4 * units,),
            "head_kernel": (units, 3),
            "head_bias": (3,),
        }
        for name, shape in shapes.items():
            if arrays[name].shape != (self.config.seeds, *shape):
                raise ValueError(f"{name} has shape {arrays[name].shape}")
        for name in ("scaler_mean", "scaler_scale"):
            if arrays[name].shape != (inputs,):
                raise ValueError(f"{name} has shape {arrays[name].shape}")
        self.scaler = Scaler(arrays["scaler_mean"], arrays["scaler_scale"], self.config.clip)
        self.networks = [
            Network(cell.Weights(kernel, recurrent, bias), head_kernel, head_bias)
            for kernel, recurrent, bias, head_kernel, head_bias in zip(
                *(arrays[name] for name in shapes), strict=True
            )
        ]

    def export(self, folder: Path) -> None:
        """Saves each network as a Keras model of standard layers, ``lstm-<seed>.keras``."""
        for seed, network in enumerate(self.networks, start=self.config.seed):
            model = _model(len(self.features), self.config)
            gates = (network.cell.kernel, network.cell.recurrent, network.cell.bias)
            model.set_weights([*gates, network.head_kernel, network.head_bias])
            model.save(folder / f"{self.name}-{seed}.keras")


def student_of(
    output: np.ndarray, volatility: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Location, scale and degrees of freedom that raw outputs stand for.

    Parameters
    ----------
    output : (sessions, 3), the head's.
    volatility : (sessions,), the EWMA volatility that they are relative to.

    Returns
    -------
    Three (sessions,) arrays; location and scale are of the log return, a fraction.
    """
    location = LOCATION_UNIT * output[:, 0] * volatility
    scale = np.exp(output[:, 1] + LOG_SCALE_START) * volatility
    df = DF_BOUNDS[0] + np.logaddexp(0.0, output[:, 2] + DF_START)
    return location, scale, np.minimum(df, DF_BOUNDS[1])


@dataclass(frozen=True)
class Windowed:
    """The training span as windows: inputs, targets in EWMA volatilities, and where windows start."""

    inputs: np.ndarray
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
        histories: list[History],
        inputs: np.ndarray,
        until: np.datetime64,
        cut: np.datetime64,
        config: RecurrentConfig,
    ) -> "Windowed":
        """Windows of the histories up to ``until``; targets from ``cut`` on are held out."""
        lengths = [h.count_until(until) for h in histories]
        targets, dates = [], []
        for history, length in zip(histories, lengths, strict=True):
            ratio = history.log_returns[1:length] / history.volatility[: length - 1]
            targets.append(np.append(ratio, np.nan).astype(np.float32))
            dates.append(history.next_dates[:length])
        target, date = np.concatenate(targets), np.concatenate(dates)
        return cls(
            inputs=inputs,
            train_targets=np.where(date < cut, target, np.float32(np.nan)),
            validation_targets=np.where(date >= cut, target, np.float32(np.nan)),
            lengths=lengths,
            config=config,
        )

    def batches(self, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """An epoch of (batch, window, features) inputs and (batch, window) targets, shuffled."""
        size, least = self.config.batch, self.config.batch * self.config.steps
        begin = np.array([], dtype=int)
        while len(begin) < least:
            begin = np.append(begin, self._starts(self.train_targets, rng.random()))
        rng.shuffle(begin)
        for i in range(0, len(begin) - size + 1, size):
            yield self._gather(begin[i : i + size], self.train_targets)

    def validation_loss(self, model: Any) -> float:
        """Mean negative log likelihood of the sessions held out; nats a session."""
        begin = self._starts(self.validation_targets, 0.0)
        total = count = 0.0
        for i in range(0, len(begin), 256):
            x, y = self._gather(begin[i : i + 256], self.validation_targets)
            scored = np.isfinite(y).sum()
            if scored:
                total += float(_negative_log_likelihood(y, model(x, training=False))) * scored
                count += scored
        return total / count

    def _starts(self, targets: np.ndarray, shift: float) -> np.ndarray:
        """Where windows start that score at least one target."""
        window, warmup = self.config.window, self.config.warmup
        begin = windows.starts(self.lengths, window=window, step=window - warmup, shift=shift)
        scored = np.concatenate([[0], np.cumsum(np.isfinite(targets))])
        return begin[scored[begin + window] > scored[begin + warmup]]

    def _gather(self, begin: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = windows.views(self.inputs, self.config.window)[begin]  # (batch, window, features)
        y = windows.views(targets, self.config.window)[begin]  # (batch, window)
        y[:, : self.config.warmup] = np.nan
        return x, y


def _model(features: int, config: RecurrentConfig) -> Any:
    """The Keras network: (batch, window, features) -> (batch, window, 3)."""
    keras = _keras()
    inputs = keras.Input((None, features))
    hidden = keras.layers.LSTM(config.units, return_sequences=True)(inputs)
    outputs = keras.layers.Dense(3, kernel_initializer="zeros")(hidden)
    return keras.Model(inputs, outputs)


def _negative_log_likelihood(target: Any, output: Any) -> Any:
    """Mean over the targets that are not NaN of -log density of the Student-t; in TensorFlow.

    The same distribution as :func:`student_of`, with the EWMA volatility as the unit.
    """
    import tensorflow as tf

    scored = tf.math.is_finite(target)
    target = tf.where(scored, target, 0.0)
    location = LOCATION_UNIT * output[..., 0]
    log_scale = output[..., 1] + LOG_SCALE_START
    df = DF_BOUNDS[0] + tf.math.softplus(output[..., 2] + DF_START)
    ratio = tf.square((target - location) * tf.exp(-log_scale)) / df
    loss = (
        tf.math.lgamma(df / 2)
        - tf.math.lgamma((df + 1) / 2)
        + 0.5 * tf.math.log(np.float32(np.pi) * df)
        + log_scale
        + (df + 1) / 2 * tf.math.log1p(ratio)
    )
    count = tf.reduce_sum(tf.cast(scored, loss.dtype))
    return tf.reduce_sum(tf.where(scored, loss, 0.0)) / count


def _keras() -> ModuleType:
    """Keras on TensorFlow, deterministic, imported without its chatter."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    # oneDNN chooses its kernels, and so its rounding, as it runs.
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    with _stderr_silenced():
        import keras
        import tensorflow as tf

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


def create(name: str, config: RecurrentConfig) -> Recurrent:
    """The recurrent model called ``lstm``."""
    return Recurrent(name, config)
