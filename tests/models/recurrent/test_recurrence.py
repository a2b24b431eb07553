"""The compiled passes of the LSTM, against numpy's cell and against Keras's own differentiation."""

import numpy as np
import pytest

from forecaster.models.recurrent import backprop, cell, recurrence, training

WINDOW, BATCH, FEATURES, UNITS = 7, 3, 5, 4


@pytest.fixture
def arrays():
    """Inputs, kernel, recurrent kernel, bias, and a derivative of the loss by the hidden states."""
    rng = np.random.default_rng(0)
    shapes = (
        *((WINDOW, BATCH, FEATURES), (FEATURES, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,)),
        (WINDOW, BATCH, UNITS),
    )
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def derivatives(arrays):
    """Hidden states, and the loss's derivatives by the sums and by the recurrent kernel."""
    training.keras_on_tensorflow()
    import tensorflow as tf

    @tf.function(autograph=False)
    def differentiate(x, kernel, recurrent, bias, d_hidden):
        sums = tf.tensordot(x, kernel, 1) + bias
        with tf.GradientTape() as tape:
            tape.watch([sums, recurrent])
            hidden = recurrence.lstm(sums, recurrent)
        return hidden, *tape.gradient(hidden, [sums, recurrent], output_gradients=d_hidden)

    return [it.numpy() for it in differentiate(*arrays)]


def test_hidden_states_are_those_that_forecasts_are_made_of(arrays):
    x, kernel, recurrent, bias, _ = arrays
    ours, *_ = derivatives(arrays)
    weights = cell.Weights(kernel, recurrent, bias)
    numpys = cell.hidden_states(weights, list(np.moveaxis(x, 1, 0)))
    np.testing.assert_allclose(ours, np.stack(numpys, axis=1), atol=1e-6)


def test_derivatives_are_those_of_the_chain_rule_in_double_precision(arrays):
    x, kernel, recurrent, bias, d_hidden = (it.astype(float) for it in arrays)
    weights = cell.Weights(kernel, recurrent, bias)
    states = [(np.zeros((BATCH, UNITS)), np.zeros((BATCH, UNITS)))]
    for session in x:
        states.append(cell.lstm(weights, session, *states[-1]))
    after = np.zeros((BATCH, UNITS)), np.zeros((BATCH, UNITS))
    by_inputs = np.zeros_like(x)
    for t in reversed(range(WINDOW)):
        by_inputs[t], after = backprop.lstm(
            weights, x[t], states[t], (after[0] + d_hidden[t], after[1])
        )
    _, by_sums, by_recurrent = derivatives(arrays)
    np.testing.assert_allclose(by_sums @ kernel.T, by_inputs, atol=1e-5)
    before = np.stack([hidden for hidden, _ in states[:-1]])
    whole = np.einsum("tbu,tbk->uk", before, by_sums)
    np.testing.assert_allclose(by_recurrent, whole, atol=1e-5)


def test_a_step_of_training_is_that_of_keras(tiny):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(tiny.batch, tiny.window, FEATURES)).astype(np.float32)
    y = rng.standard_t(4, (tiny.batch, tiny.window)).astype(np.float32)
    losses, weights = [], []
    for compiles in (False, True):
        training.keras_on_tensorflow().utils.set_random_seed(0)
        graph = training.Graph("lstm", FEATURES, tiny)
        graph._compiles = compiles
        losses.append([graph.train(x, y) for _ in range(5)])
        weights.append(graph.model.get_weights())
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for keras, ours in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, keras, atol=1e-4)
    assert losses[1][-1] < losses[1][0]
