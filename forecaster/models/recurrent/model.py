"""One recurrent network for all tickers: features in, a Student-t of tomorrow's return out.

The network reads a session's features, updates its memory, and gives three numbers, which say how
tomorrow's return is spread *relative to* the EWMA volatility of its ticker: location, log scale and
degrees of freedom. The last layer starts from zero, so that training starts from EWMA with a
Student-t and has only to learn where that is wrong. The loss is the negative log likelihood, at
every session of a window after its warm-up.

Training is Keras on TensorFlow; forecasts run through
:mod:`forecaster.models.recurrent.cell`, which needs neither.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.config import RecurrentConfig, replaced
from forecaster.dataset.features import FEATURES, chosen
from forecaster.dataset.panel import History, Panel, Spread, forecasts_of
from forecaster.distributions.student_t import DF_BOUNDS
from forecaster.errors import HistoryError
from forecaster.models.protocol import (
    MIN_SESSIONS,
    NO_CHECKPOINT,
    Checkpoint,
    ModelState,
    Progress,
    silent,
    too_short,
)
from forecaster.models.recurrent import cell
from forecaster.models.recurrent.training import (
    CELLS,
    DF_START,
    LOCATION_UNIT,
    LOG_SCALE_MOST,
    LOG_SCALE_START,
    Training,
    Windowed,
    network_of,
    numbered,
)

BLOCK = 512
"""A forecast remembers at least so many sessions, where there are; see :func:`spans_of`."""

CONSTANT = 1e-6
"""A feature of less spread does not change but by rounding."""

WEIGHTS = ("kernel", "recurrent", "bias", "head_kernel", "head_bias")
"""Names of a network's weights, in Keras's order."""


@dataclass(frozen=True)
class Scaler:
    """Turns features into numbers near zero: the mean and the spread of what training saw."""

    mean: np.ndarray
    """(features,)"""
    scale: np.ndarray
    """(features,)"""
    clip: float

    @classmethod
    def fit(cls, tables: Iterable[np.ndarray], clip: float) -> "Scaler":
        """Fitted by scikit-learn on (sessions, features) tables of the training span, one by one.

        A feature that is nowhere known has a mean of NaN, one that never changes a scale of 1.
        """
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler()
        mean, variance = np.zeros(1), np.zeros(1)  # (features,)
        for table in tables:
            with np.errstate(invalid="ignore", divide="ignore"):
                scaler.partial_fit(table)
            # Of a feature that a table does not know it makes NaN, from which it never recovers.
            known = np.isfinite(table).any(axis=0)
            mean = np.where(known, scaler.mean_, mean)
            variance = np.where(known, scaler.var_, variance)
            scaler.mean_, scaler.var_ = mean, variance
        mean = np.where(scaler.n_samples_seen_ > 0, mean, np.nan)
        scale = np.where(np.sqrt(variance) > CONSTANT, np.sqrt(variance), 1)
        return cls(mean.astype(np.float32), scale.astype(np.float32), clip)

    def only(self, columns: np.ndarray) -> "Scaler":
        """The scaler of some of the features."""
        return Scaler(self.mean[columns], self.scale[columns], self.clip)

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

    @classmethod
    def of(cls, weights: Sequence[np.ndarray]) -> "Network":
        """The network of weights in Keras's order."""
        kernel, recurrent, bias, head_kernel, head_bias = weights
        return cls(cell.Weights(kernel, recurrent, bias), head_kernel, head_bias)

    @property
    def weights(self) -> list[np.ndarray]:
        """The weights in Keras's order."""
        gates = [self.cell.kernel, self.cell.recurrent, self.cell.bias]
        return [*gates, self.head_kernel, self.head_bias]


class Recurrent:
    """A global recurrent model: ``lstm``, ``gru`` or ``rnn``, which differ in their cell alone."""

    fallbacks: tuple[str, ...] = ()
    tickerwise = False

    def __init__(self, name: str, config: RecurrentConfig) -> None:
        self.name = name
        self.config = config
        self.features: list[str] = []
        self.scaler: Scaler
        self.networks: list[Network] = []
        self.training: list[dict[str, float]] = []
        """Seed, epoch, training loss and validation loss (nats a session) of each epoch."""

    def fit(
        self,
        panel: Panel,
        until: np.datetime64,
        progress: Progress = silent,
        checkpoint: Checkpoint = NO_CHECKPOINT,
    ) -> None:
        """Fits the scaler and the networks on every ticker whose sessions fill a window."""
        config = self.config
        cut = held_out_from(panel, until, config)

        def used() -> Iterator[History]:
            return (h for h in panel.histories if h.count_until(cut) > config.window)

        if not any(used()):
            raise too_short(self.name, panel, until, 5 * (config.window + 1) // 4 + 1)
        progress(
            0,
            config.seeds * config.epochs,
            f"{self.name}: features of {len(panel.histories)} tickers",
        )
        scaler = Scaler.fit((h.features[: h.count_public(until)] for h in used()), config.clip)
        seen = np.isfinite(scaler.mean) & np.isin(FEATURES, chosen(config.groups))
        self.features = [name for name, known in zip(FEATURES, seen, strict=True) if known]
        self.scaler = scaler.only(seen)
        windowed = Windowed.of(used(), self.inputs, until, cut, config)
        if not np.isfinite(windowed.validation_targets).any():
            raise HistoryError(
                f"{self.name} holds out the sessions from {cut} to {until} to know when to stop, "
                f"and no ticker with more than {config.window} sessions before traded on them; "
                "choose an earlier `until`, or leave out the tickers that are too new"
            )
        kept = checkpoint.load()
        self.training = list(kept.settings["training"]) if kept else []
        self.networks = _networks(kept) if kept else []
        for seed in range(config.seed + len(self.networks), config.seed + config.seeds):
            training = Training(self.name, len(self.features), config, seed)
            if kept and kept.settings["seed"] == seed:
                training.restore(kept)
            self._train(training, windowed, progress, checkpoint)
            self.networks.append(Network.of(training.best_weights))

    def _train(
        self, training: Training, windowed: Windowed, progress: Progress, checkpoint: Checkpoint
    ) -> None:
        """Runs the epochs of one network, and keeps a checkpoint of each."""
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
        """The state of a training, and of those of other seeds before it."""
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

    def forecast(self, panel: Panel, first: np.datetime64, last: np.datetime64) -> pd.DataFrame:
        """The forecasts frame of every ticker with enough sessions, whether trained on or not."""
        spans = [h.between(first, last) for h in panel.histories]
        spans = [index[index >= MIN_SESSIONS - 1] for index in spans]
        asked = [(h, i) for h, i in zip(panel.histories, spans, strict=True) if len(i)]
        if not asked:
            return forecasts_of(self.name, [])
        return forecasts_of(
            self.name,
            [
                Spread(history, index, *student_of(output, history.volatility[index]))
                for (history, index), output in zip(asked, self.outputs(asked), strict=True)
            ],
        )

    def inputs(self, history: History, sessions: slice) -> np.ndarray:
        """What the network reads of some sessions: (sessions, features), scaled."""
        columns = [FEATURES.index(name) for name in self.features]
        return self.scaler.transform(history.features[sessions, columns])

    def outputs(self, asked: Sequence[tuple[History, np.ndarray]]) -> list[np.ndarray]:
        """The head's raw outputs at some sessions of each history, averaged over the seeds.

        Parameters
        ----------
        asked : histories, and the indices of their sessions, ascending and not empty.

        Returns
        -------
        (len(indices), 3) for each.
        """
        spans = [span for history, index in asked for span in spans_of(history, index)]
        found = []
        for begin in range(0, len(spans), cell.CHUNK):  # all states of all at once would be large
            chunk = spans[begin : begin + cell.CHUNK]
            inputs = [self.inputs(span.history, slice(span.begin, span.end)) for span in chunk]
            found.append(self.outputs_of(inputs, [span.index - span.begin for span in chunk]))
        ends = np.cumsum([len(index) for _, index in asked])
        return np.split(np.concatenate(found), ends[:-1])

    def outputs_of(
        self, inputs: Sequence[np.ndarray], rows: Sequence[np.ndarray | slice]
    ) -> np.ndarray:
        """The head's raw outputs at some rows of each (sessions, features) of scaled inputs: (rows, 3)."""
        stack = cell.Weights.stack([network.cell for network in self.networks])
        head = np.stack([network.head_kernel for network in self.networks])
        bias = np.sum([network.head_bias for network in self.networks], axis=0)
        hidden = cell.hidden_states(stack, list(inputs), CELLS[self.name].advance)
        states = np.concatenate([h[its] for h, its in zip(hidden, rows, strict=True)])
        # Not a matrix product, which may round otherwise with another number of sessions.
        return (np.einsum("tnu,nuk->tk", states, head) + bias).astype(float) / len(self.networks)

    def state(self) -> ModelState:
        """Scaler and weights; of several seeds, the first axis is the seed."""
        stacked = zip(*(network.weights for network in self.networks), strict=True)
        arrays = {name: np.stack(w) for name, w in zip(WEIGHTS, stacked, strict=True)}
        arrays |= {"scaler_mean": self.scaler.mean, "scaler_scale": self.scaler.scale}
        settings = {
            "features": self.features,
            "config": asdict(self.config),
            "validation_loss": self.validation_loss,
            "training": self.training,
        }
        return ModelState(arrays, settings)

    def restore(self, state: ModelState) -> None:
        """Takes the scaler and weights of a state, once their shapes fit together."""
        self.config = replaced(self.config, state.settings["config"])
        self.features = [FEATURES[FEATURES.index(name)] for name in state.settings["features"]]
        self.training = list(state.settings["training"])
        arrays, units, inputs = state.arrays, self.config.units, len(self.features)
        kind = CELLS[self.name]
        width = kind.gates * units
        shapes = {
            "kernel": (inputs, width),
            "recurrent": (units, width),
            "bias": (width,) if kind.biases == 1 else (kind.biases, width),
            "head_kernel": (units, 3),
            "head_bias": (3,),
        }
        for name, shape in shapes.items():
            if arrays[name].shape != (self.config.seeds, *shape):
                raise ValueError(f"{name} has shape {arrays[name].shape}")
        for name in ("scaler_mean", "scaler_scale"):
            if arrays[name].shape != (inputs,):
                raise ValueError(f"{name} has shape {arrays[name].shape}")
        if not (arrays["scaler_scale"] > 0).all():
            raise ValueError("scaler_scale must be above 0")
        self.scaler = Scaler(arrays["scaler_mean"], arrays["scaler_scale"], self.config.clip)
        self.networks = [
            Network.of(weights) for weights in zip(*(arrays[name] for name in WEIGHTS), strict=True)
        ]

    def export(self, folder: Path) -> None:
        """Saves each network as a Keras model of standard layers, such as ``lstm-0.keras``."""
        for seed, network in enumerate(self.networks, start=self.config.seed):
            model = network_of(self.name, len(self.features), self.config)
            model.set_weights(network.weights)
            model.save(folder / f"{self.name}-{seed}.keras")


def held_out_from(panel: Panel, until: np.datetime64, config: RecurrentConfig) -> np.datetime64:
    """The first of the sessions up to ``until`` that are held out to know when to stop."""
    sessions = panel.sessions
    sessions = sessions[sessions <= until]
    held_out = min(config.validation, len(sessions) // 5)
    return sessions[-held_out] if held_out else until


@dataclass(frozen=True)
class Span:
    """Sessions that the network reads in one go, and those of them that are asked about."""

    history: History
    begin: int
    end: int
    index: np.ndarray


def spans_of(history: History, index: np.ndarray) -> list[Span]:
    """The spans that give the outputs at some sessions of a history, in order.

    The memory starts empty at a session that depends on the one asked about alone, ``BLOCK`` to twice
    ``BLOCK`` sessions before it: the same, whatever else is asked, and not the whole history.
    """
    blocks = np.split(index, np.flatnonzero(np.diff(index // BLOCK)) + 1)
    return [
        Span(history, max(0, int(block[0]) // BLOCK - 1) * BLOCK, int(block[-1]) + 1, block)
        for block in blocks
    ]


def _networks(kept: ModelState) -> list[Network]:
    """The networks of seeds that were finished when a checkpoint was kept."""
    count = kept.settings["networks"]
    return [Network.of(numbered(kept.arrays, f"network.{n}")) for n in range(count)]


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
    log_scale = np.clip(output[:, 1] + LOG_SCALE_START, -LOG_SCALE_MOST, LOG_SCALE_MOST)
    scale = np.exp(log_scale) * volatility
    df = DF_BOUNDS[0] + np.logaddexp(0.0, output[:, 2] + DF_START)
    return location, scale, np.minimum(df, DF_BOUNDS[1])


def create(name: str, config: RecurrentConfig) -> Recurrent:
    """The recurrent model called ``lstm``, ``gru`` or ``rnn``."""
    return Recurrent(name, config)
