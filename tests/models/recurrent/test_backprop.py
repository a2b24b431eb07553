"""The way back is that of the way forward: finite differences, TensorFlow, and cases by hand."""

import numpy as np
import pytest

from forecaster.models.recurrent import backprop, cell
from forecaster.models.recurrent.training import keras_on_tensorflow

CELLS = [(cell.lstm, 4, ()), (cell.gru, 3, (2,)), (cell.plain, 1, ())]


def random_weights(gates, biases, features=3, units=4, seed=0):
    rng = np.random.default_rng(seed)
    return cell.Weights(
        rng.normal(0, 0.7, (features, gates * units)),
        rng.normal(0, 0.7, (units, gates * units)),
        rng.normal(0, 0.7, (*biases, gates * units)),
    )


def differentiated(weights, x, d_last, advance):
    states = backprop.states(weights, x, advance)
    return backprop.of_inputs(weights, x, states, d_last, advance)


@pytest.mark.parametrize(("advance", "gates", "biases"), CELLS)
def test_equals_finite_differences_in_every_input(advance, gates, biases):
    weights, rng = random_weights(gates, biases), np.random.default_rng(1)
    x, d_last = rng.normal(size=(9, 2, 3)), rng.normal(size=(2, 4))
    result = differentiated(weights, x, d_last, advance)

    def value(x):
        hidden, _ = backprop.states(weights, x, advance)[-1]
        return (d_last * hidden).sum()

    step = 1e-6
    for place in np.ndindex(x.shape):
        moved = np.zeros_like(x)
        moved[place] = step
        slope = (value(x + moved) - value(x - moved)) / (2 * step)
        assert result[place] == pytest.approx(slope, abs=1e-9, rel=1e-6)


@pytest.mark.parametrize(
    ("advance", "gates", "biases", "layer"),
    [(*kind, layer) for kind, layer in zip(CELLS, ["LSTM", "GRU", "SimpleRNN"], strict=True)],
)
def test_equals_what_tensorflow_differentiates(advance, gates, biases, layer):
    keras = keras_on_tensorflow()
    import tensorflow as tf

    weights, rng = random_weights(gates, biases), np.random.default_rng(2)
    x, d_last = rng.normal(size=(20, 2, 3)), rng.normal(size=(2, 4))
    layer = getattr(keras.layers, layer)(4, dtype="float64")
    layer.build((None, None, 3))
    layer.set_weights([weights.kernel, weights.recurrent, weights.bias])
    inputs = tf.constant(x.transpose(1, 0, 2))  # Keras has the series first
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        total = tf.reduce_sum(layer(inputs) * d_last)
    expected = tape.gradient(total, inputs).numpy().transpose(1, 0, 2)
    np.testing.assert_allclose(
        differentiated(weights, x, d_last, advance), expected, rtol=1e-9, atol=1e-13
    )


@pytest.mark.parametrize(("advance", "gates", "biases"), CELLS)
def test_the_states_are_those_of_the_forecasts_engine(advance, gates, biases):
    weights, rng = random_weights(gates, biases), np.random.default_rng(3)
    x = rng.normal(size=(30, 2, 3))
    result = np.array([hidden for hidden, _ in backprop.states(weights, x, advance)[1:]])
    single = cell.Weights(
        *(w.astype(np.float32) for w in (weights.kernel, weights.recurrent, weights.bias))
    )
    for i, expected in enumerate(cell.hidden_states(single, [x[:, 0], x[:, 1]], advance)):
        np.testing.assert_allclose(result[:, i], expected, atol=1e-5)
    assert backprop.exact(single).kernel.dtype == np.float64


def test_a_plain_cell_passes_back_a_power_and_an_lstm_what_its_forget_gate_keeps():
    # h = tanh(x + h / 2) near zero: each session back halves the gradient.
    weights = cell.Weights(np.ones((1, 1)), np.full((1, 1), 0.5), np.zeros(1))
    x, one = np.zeros((8, 1, 1)), np.ones((1, 1))
    result = differentiated(weights, x, one, cell.plain)[:, 0, 0]
    np.testing.assert_allclose(result, 0.5 ** np.arange(7, -1, -1.0))
    # An LSTM with its gates pinned: in by 1/2, kept by 0.9, out by 1/2; its candidate is x.
    logit = np.log(0.9 / 0.1)
    weights = cell.Weights(
        np.array([[0.0, 0.0, 1.0, 0.0]]), np.zeros((1, 4)), np.array([0.0, logit, 0.0, 0.0])
    )
    result = differentiated(weights, x, one, cell.lstm)[:, 0, 0]
    np.testing.assert_allclose(result, 0.25 * 0.9 ** np.arange(7, -1, -1.0))
