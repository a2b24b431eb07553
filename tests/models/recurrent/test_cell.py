import os
import subprocess
import sys

import numpy as np
import pytest

from forecaster.models.recurrent import cell
from forecaster.models.recurrent.training import keras_on_tensorflow


def random_weights(features, units, seed=0, gates=4, biases=()):
    rng = np.random.default_rng(seed)
    return cell.Weights(
        rng.normal(0, 0.7, (features, gates * units)).astype(np.float32),
        rng.normal(0, 0.7, (units, gates * units)).astype(np.float32),
        rng.normal(0, 0.7, (*biases, gates * units)).astype(np.float32),
    )


def random_series(lengths, features, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(length, features)).astype(np.float32) for length in lengths]


def biased(input_gate, forget_gate, candidate, output_gate):
    """A cell of one unit that listens to nothing: its gates are those of its biases."""
    bias = np.array([input_gate, forget_gate, candidate, output_gate], np.float32)
    return cell.Weights(np.zeros((1, 4), np.float32), np.zeros((1, 4), np.float32), bias)


def logit(p):
    return np.log(p / (1 - p))


@pytest.mark.parametrize(
    ("advance", "layer", "gates", "biases"),
    [(cell.lstm, "LSTM", 4, ()), (cell.gru, "GRU", 3, (2,)), (cell.plain, "SimpleRNN", 1, ())],
)
def test_equals_keras(advance, layer, gates, biases):
    weights = random_weights(5, 7, gates=gates, biases=biases)
    series = random_series([1, 6, 90], 5)
    layer = getattr(keras_on_tensorflow().layers, layer)(7, return_sequences=True)
    layer.build((None, None, 5))
    layer.set_weights([weights.kernel, weights.recurrent, weights.bias])
    for x, result in zip(series, cell.hidden_states(weights, series, advance), strict=True):
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, layer(x[None])[0].numpy(), atol=1e-5, rtol=0)


def test_a_gru_that_keeps_everything_and_one_that_keeps_nothing():
    zeros = np.zeros((1, 3), np.float32)
    for update, expected in ((40.0, [0, 0, 0]), (-40.0, [0.5, 0.5, 0.5])):
        bias = np.array([[update, 0, np.arctanh(0.5)], [0, 0, 0]], np.float32)
        x = [np.zeros((3, 1), np.float32)]
        (result,) = cell.hidden_states(cell.Weights(zeros, zeros, bias), x, cell.gru)
        np.testing.assert_allclose(result[:, 0], expected, atol=1e-6)


def test_a_plain_cell_forgets_like_a_power():
    # h = tanh(h / 2) after a shock of 0.01: halved at every session, where an LSTM may keep it.
    half = np.array([[0.5]], np.float32)
    weights = cell.Weights(np.ones((1, 1), np.float32), half, np.zeros(1, np.float32))
    shock = [np.array([[0.01], *[[0.0]] * 6], np.float32)]
    (result,) = cell.hidden_states(weights, shock, cell.plain)
    np.testing.assert_allclose(result[:, 0], 0.01 * 0.5 ** np.arange(7), rtol=1e-3)


def test_equals_the_equations_written_out_for_one_number():
    weights, (x,) = random_weights(1, 1), random_series([12], 1)
    w, u, b = weights.kernel[0], weights.recurrent[0], weights.bias
    h = c = 0.0
    expected = []
    for t in range(12):
        i, f, g, o = w * x[t, 0] + u * h + b
        i, f, o = (1 / (1 + np.exp(-z)) for z in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        expected.append(h)
    (result,) = cell.hidden_states(weights, [x])
    np.testing.assert_allclose(result[:, 0], expected, atol=1e-6)


def test_constant_gates_by_hand():
    # Gates of one half and a candidate of one half: the memory is 1/4, then 3/8, then 7/16.
    (result,) = cell.hidden_states(biased(0, 0, np.arctanh(0.5), 0), [np.zeros((3, 1), np.float32)])
    np.testing.assert_allclose(result[:, 0], np.tanh([1 / 4, 3 / 8, 7 / 16]) / 2, atol=1e-7)


def test_a_step_names_its_gates():
    weights = biased(logit(0.1), logit(0.2), np.arctanh(0.3), logit(0.4))
    state = cell.step(weights, np.zeros((2, 1)), np.zeros((2, 1)), np.ones((2, 1)))
    assert state.input_gate.shape == (2, 1)
    np.testing.assert_allclose(state.input_gate, 0.1, atol=1e-6)
    np.testing.assert_allclose(state.forget_gate, 0.2, atol=1e-6)
    np.testing.assert_allclose(state.candidate, 0.3, atol=1e-6)
    np.testing.assert_allclose(state.output_gate, 0.4, atol=1e-6)
    np.testing.assert_allclose(state.cell, 0.2 * 1 + 0.1 * 0.3, atol=1e-6)
    np.testing.assert_allclose(state.hidden, 0.4 * np.tanh(0.23), atol=1e-6)


@pytest.mark.parametrize(("forget", "left"), [(1 - 1e-9, 1.0), (0.99, 0.99**200), (0.5, 0.0)])
def test_memory_and_its_gradient_live_as_long_as_the_forget_gate_lets_them(forget, left):
    weights = biased(-40.0, logit(forget), 1.0, 1.0)
    x = np.zeros((2, 1))
    hidden, memory = np.zeros((2, 1)), np.array([[1.0], [1.5]])
    for _ in range(200):
        state = cell.step(weights, x, hidden, memory)
        hidden, memory = state.hidden, state.cell
    # Of a first memory of 1, and of a change of 1/2 to it.
    np.testing.assert_allclose(memory[0], left, rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose((memory[1] - memory[0]) / 0.5, left, rtol=1e-4, atol=1e-12)


def test_a_series_is_the_same_alone_and_among_others():
    lengths = np.random.default_rng(2).integers(1, 50, 100)
    weights, series = random_weights(45, 32), random_series(lengths, 45)
    together = cell.hidden_states(weights, series)
    for i in range(100):
        (alone,) = cell.hidden_states(weights, [series[i]])
        np.testing.assert_array_equal(alone, together[i])


PLACES = """
import numpy as np
from forecaster.models.recurrent import cell
rng = np.random.default_rng(0)
arrays = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 45, 128), (3, 32, 128), (3, 128))]
weights = cell.Weights.stack([cell.Weights(*it) for it in zip(*arrays)])
series = rng.normal(size=(6, 45)).astype(np.float32)
print(len(np.unique(np.stack(cell.hidden_states(weights, [series] * 77)), axis=0)))
"""


@pytest.mark.parametrize("processor", ["Haswell", "Nehalem"])
def test_a_series_is_the_same_in_every_place_on_other_processors(processor):
    """OpenBLAS has kernels for each kind of processor, and takes those that this variable names."""
    environment = {**os.environ, "OPENBLAS_CORETYPE": processor}
    command = [sys.executable, "-c", PLACES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@pytest.mark.parametrize(
    ("advance", "gates", "biases"), [(cell.lstm, 4, ()), (cell.gru, 3, (2,)), (cell.plain, 1, ())]
)
def test_a_stack_of_networks_is_each_of_them(advance, gates, biases):
    weights = [random_weights(3, 5, seed, gates, biases) for seed in range(3)]
    series = random_series([4, 9], 3)
    stacked = cell.hidden_states(cell.Weights.stack(weights), series, advance)
    for number, own in enumerate(weights):
        for one, many in zip(cell.hidden_states(own, series, advance), stacked, strict=True):
            np.testing.assert_allclose(many[:, number], one, atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, cell.CHUNK - 1, cell.CHUNK, cell.CHUNK + 1])
def test_as_many_come_out_as_go_in_across_chunks(count):
    series = random_series([3 + i % 4 for i in range(count)], 2)
    result = cell.hidden_states(random_weights(2, 3), series)
    assert [f.shape for f in result] == [(len(s), 3) for s in series]


def test_what_comes_later_changes_nothing_before():
    weights, (x,) = random_weights(3, 5), random_series([40], 3)
    (whole,) = cell.hidden_states(weights, [x])
    (start,) = cell.hidden_states(weights, [x[:17]])
    np.testing.assert_array_equal(whole[:17], start)


def test_inputs_are_left_alone():
    weights, (x,) = random_weights(3, 5), random_series([10], 3)
    for array in (weights.kernel, weights.recurrent, weights.bias, x):
        array.setflags(write=False)
    cell.hidden_states(weights, [x])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid(dtype):
    x = np.array([-1e30, -800, -3, 0, 3, 800, 1e30], dtype)
    result = cell.sigmoid(x)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, [0, 0, 0.04742587, 0.5, 0.95257413, 1, 1], atol=1e-7)
