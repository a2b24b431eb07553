"""The LSTM cell, written out: how a network updates its memory at the close of a session.

A plain recurrent network rewrites its whole memory at every step. The influence of a session *k*
steps ago then passes *k* times through the same matrix and the same squashing function, and dies
out (or blows up) like the *k*-th power of a number: the vanishing gradient. The LSTM of Hochreiter
and Schmidhuber (1997), with the forget gate of Gers, Schmidhuber and Cummins (2000), keeps a second
memory, the *cell state*, that is only ever multiplied by a gate and added to::

    f = sigmoid(W_f x + U_f h + b_f)     forget gate: the share of the memory to keep
    i = sigmoid(W_i x + U_i h + b_i)     input gate: the share of the candidate to add
    g = tanh   (W_g x + U_g h + b_g)     candidate
    o = sigmoid(W_o x + U_o h + b_o)     output gate: the share of the memory to show
    c = f * c + i * g                    cell state: the memory
    h = o * tanh(c)                      hidden state: the output, and an input of the next step

Along the cell state, the derivative of today's memory by that of *k* sessions ago is the product
of *k* forget gates, and an open gate is close to 1: the memory, and with it the gradient, lives for
as long as the data require. ``x`` is a session's features; ``h`` and ``c`` on the right are those of
the session before.

Two other cells serve as comparisons: the gated recurrent unit, which has two gates and no cell
state, and the plain recurrent cell, which has neither.

Every forecast runs through this module, which needs numpy alone, where TensorFlow takes seconds to
load. Keras trains; a test compares the two. :mod:`forecaster.models.recurrent.backprop`
differentiates the same steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

LANES = 16
"""Series in a matrix product, always this many, padded with zeros. They lie in the lanes of the
processor's vectors, which all do the same: a ticker's forecast is the same alone and among others."""

CHUNK = 4 * LANES
"""Series advanced together."""

CellState = tuple[np.ndarray, np.ndarray]
"""Hidden state and cell state, each (series, units); a cell without the latter returns it as it was."""

Advance = Callable[["Weights", np.ndarray, np.ndarray, np.ndarray], CellState]
"""A cell: from its weights, ``x`` and the state before, to the state after."""


@dataclass(frozen=True)
class Weights:
    """Weights of a cell, in Keras's layout: its gates side by side, for the LSTM in the order i, f, g, o.

    An LSTM has 4 gates, a GRU 3 and a plain cell 1, counting the candidate. In a stack of networks
    (:meth:`stack`) each array has two more axes, of networks and of groups of series.
    """

    kernel: np.ndarray
    """``W``, from the features to the gates: (features, gates * units)"""
    recurrent: np.ndarray
    """``U``, from the hidden state to the gates: (units, gates * units)"""
    bias: np.ndarray
    """``b``: (gates * units,); of a GRU (2, 3 * units), for ``W`` and for ``U``"""

    @property
    def units(self) -> int:
        """Width of the hidden state and of the cell state."""
        return int(self.recurrent.shape[-2])

    @classmethod
    def stack(cls, weights: Sequence["Weights"]) -> "Weights":
        """Return cells of one shape as one, whose states are (networks, groups, series, units)."""
        return cls(
            np.stack([w.kernel for w in weights])[:, None],
            np.stack([w.recurrent for w in weights])[:, None],
            np.stack([w.bias for w in weights], axis=-2)[..., None, None, :],
        )


@dataclass(frozen=True)
class Step:
    """The cell at one session; each array is (series, units)."""

    input_gate: np.ndarray
    forget_gate: np.ndarray
    candidate: np.ndarray
    output_gate: np.ndarray
    cell: np.ndarray
    hidden: np.ndarray


def step(weights: Weights, x: np.ndarray, hidden: np.ndarray, cell: np.ndarray) -> Step:
    """Advance the cell by one session.

    Parameters
    ----------
    weights : of the cell.
    x : (series, features), those of the session.
    hidden, cell : (series, units), the state after the session before.
    """
    gates = _product(x, weights.kernel)  # (series, 4 * units)
    gates += _product(hidden, weights.recurrent)
    gates += weights.bias
    i_f, g_o = _parts(gates, 2)  # each (series, 2 * units)
    g, o = _parts(g_o, 2)  # each (series, units)
    input_gate, forget_gate = _parts(sigmoid(i_f), 2)
    candidate, output_gate = np.tanh(g), sigmoid(o)
    cell = forget_gate * cell
    cell += input_gate * candidate
    hidden = output_gate * np.tanh(cell)
    return Step(input_gate, forget_gate, candidate, output_gate, cell, hidden)


def lstm(weights: Weights, x: np.ndarray, hidden: np.ndarray, cell: np.ndarray) -> CellState:
    """Return the hidden state and the cell state after :func:`step`."""
    after = step(weights, x, hidden, cell)
    return after.hidden, after.cell


@dataclass(frozen=True)
class GruStep:
    """The gated recurrent unit at one session; each array is (series, units)."""

    update_gate: np.ndarray
    reset_gate: np.ndarray
    candidate: np.ndarray
    hidden: np.ndarray


def gru_step(weights: Weights, x: np.ndarray, hidden: np.ndarray) -> GruStep:
    """Advance the gated recurrent unit of Cho et al. (2014), which applies ``r`` after ``U``.

    ::

        z = sigmoid(W_z x + U_z h)              update gate: the share of the memory to keep
        r = sigmoid(W_r x + U_r h)              reset gate: the share of it that the candidate reads
        g = tanh   (W_g x + r * (U_g h))        candidate
        h = z * h + (1 - z) * g                 hidden state and memory in one
    """
    z, r, g = _parts(_product(x, weights.kernel) + weights.bias[0], 3)  # each (series, units)
    z_h, r_h, g_h = _parts(_product(hidden, weights.recurrent) + weights.bias[1], 3)
    update, reset = sigmoid(z + z_h), sigmoid(r + r_h)
    candidate = np.tanh(g + reset * g_h)
    return GruStep(update, reset, candidate, update * hidden + (1 - update) * candidate)


def gru(weights: Weights, x: np.ndarray, hidden: np.ndarray, cell: np.ndarray) -> CellState:
    """Return the hidden state after :func:`gru_step`; there is no cell state."""
    return gru_step(weights, x, hidden).hidden, cell


def plain(weights: Weights, x: np.ndarray, hidden: np.ndarray, cell: np.ndarray) -> CellState:
    """Advance the cell of Elman (1990), ``h = tanh(W x + U h + b)``: its memory is all new each session."""
    new, recalled = _product(x, weights.kernel), _product(hidden, weights.recurrent)
    return np.tanh(new + recalled + weights.bias), cell


def hidden_states(
    weights: Weights, inputs: list[np.ndarray], advance: Advance = lstm
) -> list[np.ndarray]:
    """Return the hidden state after every session of every series, each starting empty.

    Parameters
    ----------
    weights : of the cell.
    inputs : (sessions, features) for each series; lengths may differ.
    advance : the cell.

    Returns
    -------
    (sessions, units) for each series, float32; of a stack (sessions, networks, units).
    """
    states: list[np.ndarray] = []
    weights = replace(weights, bias=_of_lanes(weights))
    for start in range(0, len(inputs), CHUNK):
        chunk = inputs[start : start + CHUNK]
        longest, groups = max(len(series) for series in chunk), -(-len(chunk) // LANES)
        x = np.zeros((longest, groups, LANES, weights.kernel.shape[-2]), np.float32)
        for place, series in enumerate(chunk):
            x[: len(series), place // LANES, place % LANES] = series
        networks = weights.kernel.shape[:-3]
        # The lanes of a unit lie side by side in memory.
        out = np.empty((longest, *networks, groups, weights.units, LANES), np.float32).swapaxes(
            -1, -2
        )
        hidden = cell = np.zeros_like(out[0])  # (…, groups, LANES, units)
        for t in range(longest):
            hidden, cell = advance(weights, x[t], hidden, cell)
            out[t] = hidden
        states += [
            out[: len(series), ..., place // LANES, place % LANES, :]
            for place, series in enumerate(chunk)
        ]
    return states


def _of_lanes(weights: Weights) -> np.ndarray:
    """Return the bias of every lane, in memory side by side as the gates are: (…, LANES, gates * units)."""
    bias = weights.bias if weights.kernel.ndim > 2 else weights.bias[..., None, :]
    return np.repeat(bias.swapaxes(-1, -2), LANES, axis=-1).swapaxes(-1, -2)


def _product(series: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return ``series @ matrix``, computed the other way round: (…, series, n) -> (…, series, m).

    A matrix product rounds what lies in the lanes of a vector in one way. Row by row it may not: on
    some processors the first six rows are summed in another order than the next six.
    """
    product: np.ndarray = matrix.swapaxes(-1, -2) @ series.swapaxes(-1, -2)
    return product.swapaxes(-1, -2)


def _parts(gates: np.ndarray, count: int) -> list[np.ndarray]:
    """Return side-by-side gates as views: (series, count * units) -> (series, units) each."""
    units = gates.shape[-1] // count
    return [gates[..., i * units : (i + 1) * units] for i in range(count)]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)), through tanh, which cannot overflow."""
    half = x.dtype.type(0.5)
    result: np.ndarray = half * x
    np.tanh(result, out=result)
    result *= half
    result += half
    return result
