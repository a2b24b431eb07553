"""The LSTM's passes through a training window, forwards and backwards, compiled by XLA.

Left to itself, TensorFlow differentiates the layer operation by operation: at every session of a window it
dispatches some forty small ones, and sums the gradient of the recurrent kernel a session at a time. Here both
passes are written out, with the gates of :mod:`forecaster.models.recurrent.cell`. A session costs one matrix
product on the way forwards and one on the way back; everything else is done for all sessions at once.

The way back is that of :func:`forecaster.models.recurrent.backprop.lstm`; ``d_h`` and ``d_c`` are derivatives
of the loss by the states after a session, and ``d_z`` that by what its gates squash::

    d_c += d_h * o * (1 - tanh(c)**2)
    d_z = (d_c * g * i * (1 - i),
           d_c * c_before * f * (1 - f),
           d_c * i * (1 - g**2),
           d_h * tanh(c) * o * (1 - o))
    d_h, d_c = d_z @ U.T, d_c * f    # by the states before it

``benchmarks/training_step.py`` measures a step beside its matrix products alone.
"""

from functools import cache
from typing import Any


def lstm(sums: Any, recurrent: Any) -> Any:
    """Return the hidden state after every session, each window starting empty: a tensor.

    TensorFlow differentiates it by both arguments.

    Parameters
    ----------
    sums : (window, batch, 4 * units), what the features add to the gates, ``W x + b``, in the order i, f,
        g, o.
    recurrent : (units, 4 * units), ``U``.

    Returns
    -------
    (window, batch, units)
    """
    import tensorflow as tf

    forwards, backwards = _compiled()

    def pass_through(sums: Any, recurrent: Any) -> Any:
        hidden, cell, gates = forwards(sums, recurrent)
        return hidden, lambda d_hidden: backwards(d_hidden, hidden, cell, gates, recurrent)

    return tf.custom_gradient(pass_through)(sums, recurrent)


@cache
def _compiled() -> tuple[Any, Any]:
    """Return both passes, compiled once for each shape in a process, whatever the features."""
    import tensorflow as tf

    compiled = tf.function(autograph=False, jit_compile=True)
    return compiled(_forwards), compiled(_backwards)


def _forwards(sums: Any, recurrent: Any) -> tuple[Any, Any, Any]:
    """Return hidden states, cell states and gates, each (window, batch, …)."""
    import tensorflow as tf

    window, batch, width = sums.shape
    units = width // 4

    def advance(t: Any, hidden: Any, cell: Any, *written: Any) -> tuple[Any, ...]:
        i, f, g, o = tf.split(sums[t] + hidden @ recurrent, 4, axis=1)
        i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
        cell = f * cell + i * g
        hidden = o * tf.tanh(cell)
        states = hidden, cell, tf.concat([i, f, g, o], axis=1)
        return (
            t + 1,
            hidden,
            cell,
            *(to.write(t, it) for to, it in zip(written, states, strict=True)),
        )

    empty = tf.zeros((batch, units))
    arrays = (_array(window, batch, size) for size in (units, units, width))
    _, _, _, *written = tf.while_loop(
        lambda t, *_: t < window,
        advance,
        (0, empty, empty, *arrays),
        maximum_iterations=window,
    )
    hidden, cell, gates = (array.stack() for array in written)
    return hidden, cell, gates


def _backwards(
    d_hidden: Any, hidden: Any, cell: Any, gates: Any, recurrent: Any
) -> tuple[Any, Any]:
    """Return the derivatives of the loss by the sums, (window, batch, 4 * units), and by the kernel."""
    import tensorflow as tf

    window, batch, units = hidden.shape
    i, f, g, o = tf.split(gates, 4, axis=2)
    shown = tf.tanh(cell)
    d_cell_of_hidden = o * (1 - shown**2)
    d_sums_of_cell = tf.concat(
        [g * i * (1 - i), _before(cell) * f * (1 - f), i * (1 - g**2)], axis=2
    )
    d_sums_of_hidden = shown * o * (1 - o)

    def go_back(t: Any, d_h: Any, d_c: Any, written: Any) -> tuple[Any, ...]:
        d_h += d_hidden[t]
        d_c += d_h * d_cell_of_hidden[t]
        d_z = tf.concat(
            [tf.tile(d_c, (1, 3)) * d_sums_of_cell[t], d_h * d_sums_of_hidden[t]], axis=1
        )
        return t - 1, tf.matmul(d_z, recurrent, transpose_b=True), d_c * f[t], written.write(t, d_z)

    nothing = tf.zeros((batch, units))
    *_, written = tf.while_loop(
        lambda t, *_: t >= 0,
        go_back,
        (window - 1, nothing, nothing, _array(window, batch, 4 * units)),
        maximum_iterations=window,
    )
    d_sums = written.stack()
    rows = tf.reshape(_before(hidden), (-1, units)), tf.reshape(d_sums, (-1, 4 * units))
    return d_sums, tf.matmul(*rows, transpose_a=True)


def _before(states: Any) -> Any:
    """Return the states before every session: (window, batch, units), the first empty."""
    import tensorflow as tf

    return tf.concat([tf.zeros_like(states[:1]), states[:-1]], axis=0)


def _array(window: int, batch: int, size: int) -> Any:
    import tensorflow as tf

    return tf.TensorArray(tf.float32, size=window, element_shape=(batch, size))
