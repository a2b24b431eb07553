"""The head's equations, its loss and its derivative say the same distribution."""

import numpy as np

from forecaster.distributions import student_t
from forecaster.models.recurrent import head, training


def test_the_loss_is_the_density_of_the_forecast():
    rng = np.random.default_rng(0)
    output = rng.normal(size=(3, 50, 3)).astype(np.float32)
    target = rng.standard_t(4, (3, 50)).astype(np.float32)
    target[:, :20] = np.nan
    training.keras_on_tensorflow()
    found = float(head.negative_log_likelihood(target, output, np.float32(90)))
    location, scale, df = head.distribution(output.reshape(-1, 3), np.ones(150))
    expected = -np.nanmean(student_t.log_density(target.ravel(), location, scale, df))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_zero_outputs_are_ewma_with_a_student_t():
    found = head.distribution(np.zeros((2, 3)), np.array([0.01, 0.02]))
    np.testing.assert_allclose(found[0], 0)
    np.testing.assert_allclose(found[1], np.exp(-0.15) * np.array([0.01, 0.02]))
    np.testing.assert_allclose(found[2], 2.1 + np.log1p(np.exp(4)))


def test_wild_outputs_are_still_a_student_t():
    for output in (np.full((1, 3), 80.0), np.full((1, 3), -80.0)):
        location, scale, df = head.distribution(output, np.array([0.01]))
        assert np.isfinite(location).all()
        assert (scale > 0).all()
        assert (df > 2).all()
        assert (df <= 200).all()


def test_the_log_ratio_is_that_of_the_forecast_and_its_slope_a_finite_difference():
    output = np.random.default_rng(1).normal(0, 3, (40, head.OUTPUTS))
    value, slope = head.log_ratio(output)
    np.testing.assert_allclose(value, np.log(head.volatility(output, np.ones(40))), atol=1e-12)
    for column in range(head.OUTPUTS):
        step = np.zeros(head.OUTPUTS)
        step[column] = 1e-6
        rise = head.log_ratio(output + step)[0] - head.log_ratio(output - step)[0]
        np.testing.assert_allclose(slope[:, column], rise / 2e-6, atol=1e-7)


def test_outputs_beyond_the_bounds_have_no_slope():
    _, slope = head.log_ratio(np.array([[0.0, 99.0, 300.0], [0.0, -99.0, 300.0]]))
    np.testing.assert_array_equal(slope, 0)


def test_the_crps_is_that_of_the_distribution():
    output, ewma = np.random.default_rng(2).normal(size=(5, head.OUTPUTS)), np.full(5, 0.01)
    outcome = np.linspace(-0.03, 0.03, 5)
    expected = student_t.crps(outcome, *head.distribution(output, ewma))
    np.testing.assert_array_equal(head.crps(outcome, output, ewma), expected)
