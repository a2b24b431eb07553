"""Backpropagation through the recurrent cells: the derivative of the last state by every input.

The chain rule, session by session from the last to the first (backpropagation through time, Werbos
1990). The derivative that the LSTM passes back along its cell state is multiplied by the forget gate
and by nothing else; that of a plain cell passes through ``U`` and a squashing function each time.

``d_hidden`` stands for the derivative of a number, such as a forecast, by ``hidden``, and so on.
A step backward computes its gates again from the state before it, so that only states are stored.
The arithmetic is that of the inputs' dtype; float64 differentiates exactly.
"""

from collections.abc import Callable

import numpy as np

from forecaster.models.recurrent import cell
from forecaster.models.recurrent.cell import Advance, CellState, Weights

Derivatives = tuple[np.ndarray, CellState]
"""By ``x``, (series, features), and by the state before a step."""

Backward = Callable[[Weights, np.ndarray, CellState, CellState], Derivatives]
"""A step backward: from weights, ``x``, the state before and the derivatives by the state after."""


def lstm(weights: Weights, x: np.ndarray, before: CellState, d_after: CellState) -> Derivatives:
    """Step backward through :func:`forecaster.models.recurrent.cell.step`."""
    (hidden, cell_state), (d_hidden, d_cell) = before, d_after
    now = cell.step(weights, x, hidden, cell_state)
    i, f, g, o = now.input_gate, now.forget_gate, now.candidate, now.output_gate
    shown = np.tanh(now.cell)
    d_cell = d_cell + d_hidden * o * (1 - shown**2)
    d_gates = np.concatenate(  # by what is squashed: (series, 4 * units)
        [
            d_cell * g * i * (1 - i),
            d_cell * cell_state * f * (1 - f),
            d_cell * i * (1 - g**2),
            d_hidden * shown * o * (1 - o),
        ],
        axis=1,
    )
    # Along the cell state the derivative is multiplied by the forget gate alone: it need not vanish.
    return d_gates @ weights.kernel.T, (d_gates @ weights.recurrent.T, d_cell * f)


def gru(weights: Weights, x: np.ndarray, before: CellState, d_after: CellState) -> Derivatives:
    """Step backward through :func:`forecaster.models.recurrent.cell.gru_step`."""
    (hidden, _), (d_hidden, d_cell) = before, d_after
    now = cell.gru_step(weights, x, hidden)
    z, r, g, units = now.update_gate, now.reset_gate, now.candidate, weights.units
    recalled = hidden @ weights.recurrent[:, 2 * units :] + weights.bias[1, 2 * units :]
    d_g = d_hidden * (1 - z) * (1 - g**2)
    d_z = d_hidden * (hidden - g) * z * (1 - z)
    d_r = d_g * recalled * r * (1 - r)
    d_x = np.concatenate([d_z, d_r, d_g], axis=1) @ weights.kernel.T
    d_recalled = np.concatenate([d_z, d_r, d_g * r], axis=1) @ weights.recurrent.T
    return d_x, (d_hidden * z + d_recalled, d_cell)


def plain(weights: Weights, x: np.ndarray, before: CellState, d_after: CellState) -> Derivatives:
    """Step backward through :func:`forecaster.models.recurrent.cell.plain`."""
    (hidden, _), (d_hidden, d_cell) = cell.plain(weights, x, *before), d_after
    d_sum = d_hidden * (1 - hidden**2)
    return d_sum @ weights.kernel.T, (d_sum @ weights.recurrent.T, d_cell)


BACKWARD: dict[Advance, Backward] = {cell.lstm: lstm, cell.gru: gru, cell.plain: plain}


def states(weights: Weights, x: np.ndarray, advance: Advance) -> list[CellState]:
    """Return the states before the first session and after each, of series that start empty.

    Parameters
    ----------
    weights : of the cell.
    x : (sessions, series, features).
    advance : the cell.

    Returns
    -------
    sessions + 1 pairs of hidden state and cell state, each (series, units), of the dtype of ``x``.
    """
    hidden = cell_state = np.zeros((x.shape[1], weights.units), x.dtype)
    path = [(hidden, cell_state)]
    for new in x:
        hidden, cell_state = advance(weights, new, hidden, cell_state)
        path.append((hidden, cell_state))
    return path


def of_inputs(
    weights: Weights, x: np.ndarray, before: list[CellState], d_last: np.ndarray, advance: Advance
) -> np.ndarray:
    """Return the derivative of a number by every input, from that by the last hidden state.

    Parameters
    ----------
    weights, x, advance : as for :func:`states`.
    before : the result of :func:`states`.
    d_last : (series, units), the derivative of a number of each series by its last hidden state.

    Returns
    -------
    (sessions, series, features)
    """
    backward = BACKWARD[advance]
    d_state, d_x = (d_last, np.zeros_like(d_last)), np.empty_like(x)
    for t in reversed(range(len(x))):
        d_x[t], d_state = backward(weights, x[t], before[t], d_state)
    return d_x


def exact(weights: Weights) -> Weights:
    """Return the same weights in float64."""
    return Weights(*(w.astype(float) for w in (weights.kernel, weights.recurrent, weights.bias)))
