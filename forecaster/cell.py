"""The LSTM cell, written out: what happens to the memory of a network at the close of a session.

A plain recurrent network rewrites its whole memory at every step. The influence of a session *k*
steps ago then passes *k* times through the same matrix and the same squashing function, and dies
out (or blows up) like the *k*-th power of a number: the vanishing gradient. The LSTM of Hochreiter
and Schmidhuber (1997), with the forget gate of Gers, Schmidhuber and Cummins (2000), keeps a second
memory, the *cell state*, that is only ever multiplied by a gate and added to::

    f = sigmoid(W_f x + U_f h + b_f)     forget gate: how much of each memory to keep
    i = sigmoid(W_i x + U_i h + b_i)     input gate: how much of the new to let in
    g = tanh   (W_g x + U_g h + b_g)     candidate: what the new would be
    o = sigmoid(W_o x + U_o h + b_o)     output gate: how much of the memory to show
    c = f * c + i * g                    cell state: the memory carried on
    h = o * tanh(c)                      hidden state: what is emitted, and seen at the next step

Along the cell state, the derivative of today's memory by that of *k* sessions ago is the product
of *k* forget gates, and a gate that the network has opened is close to 1: the memory, and with it
the gradient, lives for as long as the data ask for. ``x`` is a session's features, ``h`` and ``c``
are what the session before left behind.

This is also the engine of every forecast: it needs numpy alone, where TensorFlow takes seconds to
load. Training is Keras's; a test holds the two to each other.
"""

from dataclasses import dataclass

import numpy as np

CHUNK = 64
"""Series advanced together. Always this many, with zeros where there are fewer: a matrix product
of one shape rounds in one way, so a ticker's forecast is the same alone and among others."""


@dataclass(frozen=True)
class Weights:
    """Weights of a cell, in Keras's layout: the four gates side by side, in the order i, f, g, o."""

    kernel: np.ndarray
    """``W``, from the features to the gates: (features, 4 * units)"""
    recurrent: np.ndarray
    """``U``, from the hidden state to the gates: (units, 4 * units)"""
    bias: np.ndarray
    """``b``: (4 * units,)"""

    @property
    def units(self) -> int:
        """Width of the hidden state and of the cell state."""
        return self.recurrent.shape[0]


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
    """Advances the cell by one session.

    Parameters
    ----------
    weights : of the cell.
    x : (series, features), what is new.
    hidden, cell : (series, units), what the last session left behind.
    """
    gates = x @ weights.kernel + hidden @ weights.recurrent + weights.bias  # (series, 4 * units)
    i, f, g, o = np.split(gates, 4, axis=1)  # each (series, units)
    input_gate, forget_gate, output_gate = sigmoid(i), sigmoid(f), sigmoid(o)
    candidate = np.tanh(g)
    cell = forget_gate * cell + input_gate * candidate
    hidden = output_gate * np.tanh(cell)
    return Step(input_gate, forget_gate, candidate, output_gate, cell, hidden)


def hidden_states(weights: Weights, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The hidden state after every session of every series, each starting from an empty memory.

    Parameters
    ----------
    weights : of the cell.
    inputs : a (sessions, features) array for each series; lengths may differ.

    Returns
    -------
    A (sessions, units) array for each series, float32.
    """
    states: list[np.ndarray] = []
    for start in range(0, len(inputs), CHUNK):
        chunk = inputs[start : start + CHUNK]
        longest = max(len(series) for series in chunk)
        x = np.zeros((longest, CHUNK, weights.kernel.shape[0]), np.float32)
        for row, series in enumerate(chunk):
            x[: len(series), row] = series
        out = np.empty((longest, CHUNK, weights.units), np.float32)
        hidden = cell = np.zeros((CHUNK, weights.units), np.float32)
        for t in range(longest):
            state = step(weights, x[t], hidden, cell)
            hidden, cell = state.hidden, state.cell
            out[t] = hidden
        states += [out[: len(series), row] for row, series in enumerate(chunk)]
    return states


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), by way of tanh, which cannot overflow."""
    half = x.dtype.type(0.5)
    return half + half * np.tanh(half * x)
