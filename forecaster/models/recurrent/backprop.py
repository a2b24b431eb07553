"""Backpropagation through the recurrent cells: how much each input moved the last state.

The chain rule, session by session from the last to the first (backpropagation through time, Werbos
1990). What the LSTM passes back along its cell state is multiplied by the forget gate and by nothing
else; what a plain cell passes back goes through ``U`` and a squashing function each time.

``d_hidden`` stands for the derivative of a number, such as a forecast, by ``hidden``, and so on.
A step backward computes its gates again from the state that was left behind, so that only states
are kept. Give float64 to differentiate exactly; the arithmetic is that of what is given.
"""

from collections.abc import Callable

import numpy as np

from forecaster.models.recurrent import cell
from forecaster.models.recurrent.cell import Advance, CellState, Weights

Retreat = Callable[
    [Weights, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    tuple[np.ndarray, np.ndarray, np.ndarray],
]
"""A cell backward: weights, x, hidden and cell before the step, and the derivatives by those after it,
to the derivatives by x (series, features) and by hidden and cell before it (series, units)."""


def lstm(
    weights: Weights,
    x: np.ndarray,
    hidden: np.ndarray,
    cell_state: np.ndarray,
    d_hidden: np.ndarray,
    d_cell: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Backward through :func:`forecaster.models.recurrent.cell.step`."""
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
    # The cell state's own way back is the forget gate alone: what is kept open does not vanish.
    return d_gates @ weights.kernel.T, d_gates @ weights.recurrent.T, d_cell * f


def gru(
    weights: Weights,
    x: np.ndarray,
    hidden: np.ndarray,
    cell_state: np.ndarray,
    d_hidden: np.ndarray,
    d_cell: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Backward through :func:`forecaster.models.recurrent.cell.gru_step`."""
    now = cell.gru_step(weights, x, hidden)
    z, r, g, units = now.update_gate, now.reset_gate, now.candidate, weights.units
    recalled = hidden @ weights.recurrent[:, 2 * units :] + weights.bias[1, 2 * units :]
    d_g = d_hidden * (1 - z) * (1 - g**2)
    d_z = d_hidden * (hidden - g) * z * (1 - z)
    d_r = d_g * recalled * r * (1 - r)
    d_x = np.concatenate([d_z, d_r, d_g], axis=1) @ weights.kernel.T
    d_recalled = np.concatenate([d_z, d_r, d_g * r], axis=1) @ weights.recurrent.T
    return d_x, d_hidden * z + d_recalled, d_cell


def plain(
    weights: Weights,
    x: np.ndarray,
    hidden: np.ndarray,
    cell_state: np.ndarray,
    d_hidden: np.ndarray,
    d_cell: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Backward through :func:`forecaster.models.recurrent.cell.plain`."""
    after, _ = cell.plain(weights, x, hidden, cell_state)
    d_sum = d_hidden * (1 - after**2)
    return d_sum @ weights.kernel.T, d_sum @ weights.recurrent.T, d_cell


RETREATS: dict[Advance, Retreat] = {cell.lstm: lstm, cell.gru: gru, cell.plain: plain}
"""The way back through each cell."""


def states(weights: Weights, x: np.ndarray, advance: Advance) -> list[CellState]:
    """The states before the first session and after each, of series that start from an empty memory.

    Parameters
    ----------
    weights : of the cell.
    x : (sessions, series, features).
    advance : the cell.

    Returns
    -------
    sessions + 1 pairs of hidden state and cell state, each (series, units), of ``x``'s kind of float.
    """
    hidden = cell_state = np.zeros((x.shape[1], weights.units), x.dtype)
    found = [(hidden, cell_state)]
    for new in x:
        hidden, cell_state = advance(weights, new, hidden, cell_state)
        found.append((hidden, cell_state))
    return found


def of_inputs(
    weights: Weights, x: np.ndarray, before: list[CellState], d_last: np.ndarray, advance: Advance
) -> np.ndarray:
    """The derivative of a number by every input, from that by the last hidden state.

    Parameters
    ----------
    weights, x, advance : as for :func:`states`.
    before : what :func:`states` gave for them.
    d_last : (series, units), the derivative of a number of each series by its last hidden state.

    Returns
    -------
    (sessions, series, features)
    """
    retreat = RETREATS[advance]
    d_hidden, d_cell, found = d_last, np.zeros_like(d_last), np.empty_like(x)
    for t in reversed(range(len(x))):
        found[t], d_hidden, d_cell = retreat(weights, x[t], *before[t], d_hidden, d_cell)
    return found


def exact(weights: Weights) -> Weights:
    """The same weights in float64."""
    return Weights(*(w.astype(float) for w in (weights.kernel, weights.recurrent, weights.bias)))
