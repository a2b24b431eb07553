"""The head's equations, its loss and its derivative say the same distribution."""

import numpy as np
import pytest
from scipy import stats

from forecaster.distributions import skewed_t
from forecaster.models.recurrent import head, training

OUTPUTS = pytest.mark.parametrize("outputs", [head.OUTPUTS, head.SKEWED_OUTPUTS])


def test_the_loss_is_the_density_of_the_forecast():
    rng = np.random.default_rng(0)
    output = rng.normal(size=(3, 50, 3)).astype(np.float32)
    target = rng.standard_t(4, (3, 50)).astype(np.float32)
    target[:, :20] = np.nan
    training.keras_on_tensorflow()
    result = float(head.negative_log_likelihood(target, output, np.float32(90)))
    forecast = head.distribution(output.reshape(-1, 3), np.ones(150))
    expected = -np.nanmean(skewed_t.log_density(target.ravel(), *forecast))
    np.testing.assert_allclose(result, expected, rtol=1e-5)


@OUTPUTS
def test_zero_outputs_are_ewma_with_a_student_t(outputs):
    result = head.distribution(np.zeros((2, outputs)), np.array([0.01, 0.02]))
    np.testing.assert_allclose(result[0], 0)
    np.testing.assert_allclose(result[1], np.exp(-0.15) * np.array([0.01, 0.02]))
    np.testing.assert_allclose(result[2], 2.1 + np.log1p(np.exp(4)))
    np.testing.assert_array_equal(result[3], 0)


def test_wild_outputs_are_still_a_student_t():
    for output in (np.full((1, 4), 80.0), np.full((1, 4), -80.0)):
        location, scale, df, skew = head.distribution(output, np.array([0.01]))
        assert np.isfinite(location).all()
        assert (scale > 0).all()
        assert (df > 2).all()
        assert (df <= 200).all()
        assert (np.abs(skew) < 1).all()


@OUTPUTS
def test_the_log_ratio_is_that_of_the_forecast_and_its_slope_a_finite_difference(outputs):
    output = np.random.default_rng(1).normal(0, 3, (40, outputs))
    value, slope = head.log_ratio(output)
    np.testing.assert_allclose(value, np.log(head.volatility(output, np.ones(40))), atol=1e-12)
    for column in range(outputs):
        step = np.zeros(outputs)
        step[column] = 1e-6
        rise = head.log_ratio(output + step)[0] - head.log_ratio(output - step)[0]
        np.testing.assert_allclose(slope[:, column], rise / 2e-6, atol=1e-7)


def test_the_density_is_that_of_the_distribution_and_its_slope_a_finite_difference():
    rng = np.random.default_rng(3)
    output, target = rng.normal(0, 1, (40, head.OUTPUTS)), rng.normal(size=40)
    value, slope = head.density(target, output)
    location, scale, df, _ = head.distribution(output, np.ones(40))
    np.testing.assert_allclose(value, stats.t.logpdf(target, df, location, scale), atol=1e-10)
    for column in range(head.OUTPUTS):
        step = np.zeros(head.OUTPUTS)
        step[column] = 1e-6
        rise = head.density(target, output + step)[0] - head.density(target, output - step)[0]
        np.testing.assert_allclose(slope[:, column], rise / 2e-6, atol=1e-7)


def test_outputs_beyond_the_bounds_have_no_slope():
    _, slope = head.log_ratio(np.array([[0.0, 99.0, 300.0], [0.0, -99.0, 300.0]]))
    np.testing.assert_array_equal(slope, 0)


@OUTPUTS
def test_the_crps_is_that_of_the_distribution(outputs):
    output, ewma = np.random.default_rng(2).normal(size=(5, outputs)), np.full(5, 0.01)
    outcome = np.linspace(-0.03, 0.03, 5)
    expected = skewed_t.crps(outcome, *head.distribution(output, ewma))
    np.testing.assert_array_equal(head.crps(outcome, output, ewma), expected)


def held_out(skew, sessions=20_000, seed=3):
    """Outputs of a head, and targets drawn from its distribution with a skew."""
    rng = np.random.default_rng(seed)
    output = rng.normal(0, 0.3, (sessions, head.OUTPUTS))
    skewed = np.column_stack([output, np.full(sessions, np.arctanh(skew / head.SKEW_MOST))])
    location, scale, df, _ = head.distribution(skewed, np.ones(sessions))
    side = np.where(rng.random(sessions) < (1 + skew) / 2, 1, -1)  # of the mode
    distance = np.abs(rng.standard_t(df)) * (1 + side * skew)
    return output, location + scale * side * distance


@pytest.mark.parametrize("skew", [-0.15, 0.0, 0.3])
def test_the_skew_of_the_sessions_held_out_is_recovered_and_no_mean_moves(skew):
    output, target = held_out(skew)
    kernel, bias = np.ones((5, 3), np.float32), np.float32([0.1, 0.2, 0.3])
    wider, longer = head.with_skew(kernel, bias, output, target)
    np.testing.assert_array_equal(wider, np.column_stack([kernel, np.zeros(5)]))
    np.testing.assert_array_equal(longer[:3], bias)
    assert head.SKEW_MOST * np.tanh(longer[3]) == pytest.approx(skew, abs=0.03)
    skewed = np.column_stack([output, np.full(len(output), longer[3])])
    ones = np.ones(len(output))
    means = [skewed_t.moments(*head.distribution(it, ones))[0] for it in (output, skewed)]
    np.testing.assert_allclose(*means, atol=1e-12)


def test_few_sessions_give_little_skew():
    output, target = held_out(0.0, sessions=8)
    target[np.argmax(target)] = 10.0
    _, bias = head.with_skew(np.ones((5, 3)), np.zeros(3), output, target)
    assert 0 < head.SKEW_MOST * np.tanh(bias[3]) < 0.15
