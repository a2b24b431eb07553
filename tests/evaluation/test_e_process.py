"""The e-process: its bound, its arithmetic by hand, and its size for one who looks every day."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.distributions import quantile_grid, student_t
from forecaster.evaluation import e_process
from forecaster.evaluation.e_process import BETS, ENOUGH, advantage, evidence

LEVELS = np.array(quantile_grid.LEVELS)

numbers = st.floats(-1, 1, allow_subnormal=False)
grids = st.lists(numbers, min_size=23, max_size=23).map(lambda it: np.sort(np.array(it)))


def gap(y, quantiles, others):
    return quantile_grid.crps(y, quantiles) - quantile_grid.crps(y, others)


# ---- the bound


@given(grids, grids)
def test_the_crps_of_two_forecasts_differ_by_the_bound_at_a_quantile_and_nowhere_by_more(a, b):
    bound = quantile_grid.largest_crps_difference(a, b)
    anywhere = np.abs(gap(np.linspace(-3, 3, 1201), a, b))
    at_quantiles = np.abs(gap(np.concatenate([a, b]), a, b))
    assert anywhere.max() <= bound + 1e-12
    assert at_quantiles.max() == pytest.approx(bound, abs=1e-12)


def test_the_difference_does_not_depend_on_how_far_beyond_the_quantiles_the_outcome_is():
    a, b = (student_t.quantile(0.0, scale, 5.0, LEVELS) for scale in (1.0, 1.3))
    for side in (-1, 1):
        near, far = gap(side * np.array([10.0, 1000.0]), a, b)
        assert near == pytest.approx(far, rel=1e-9)


def test_two_points_differ_by_their_distance_at_most():
    zero, one = np.zeros(23), np.ones(23)
    assert quantile_grid.largest_crps_difference(zero, one) == pytest.approx(1)
    assert quantile_grid.largest_crps_difference(one, one) == 0
    many = quantile_grid.largest_crps_difference(np.tile(zero, (2, 3, 1)), one)
    np.testing.assert_allclose(many, np.ones((2, 3)))


@given(grids, grids, numbers)
def test_the_advantage_is_a_share_of_the_bound_and_turns_around(a, b, y):
    crps = [np.array([quantile_grid.crps(y, it)]) for it in (a, b)]
    (z,) = advantage(*crps, a[None], b[None])
    (back,) = advantage(*crps[::-1], b[None], a[None])
    assert -1 <= z <= 1 or abs(z) == pytest.approx(1, abs=1e-6)
    assert back == pytest.approx(-z, abs=1e-6)


def test_the_same_forecast_twice_is_evidence_of_nothing():
    a = np.sort(np.random.default_rng(0).normal(size=(50, 23)), axis=1)
    crps = quantile_grid.crps(np.zeros(50), a)
    z = advantage(crps, crps, a, a)
    assert not z.any()
    assert evidence(z) == (1.0, 1.0, None)


# ---- the capital


def test_three_days_by_hand():
    days = [0.5, -0.2, 1.0]
    expected = []
    for until in (1, 2, 3):
        capitals = []
        for bet in BETS:
            capital = 1.0
            for z in days[:until]:
                capital *= 1 + bet * z
            capitals.append(capital)
        expected.append(sum(capitals) / len(capitals))
    np.testing.assert_allclose(e_process.e_process(days), expected, rtol=1e-12)
    its = evidence(days)
    assert its.e == its.largest == pytest.approx(expected[-1])
    assert its.p_value == pytest.approx(1 / expected[-1])
    assert its.shown is None


def test_evidence_keeps_its_best_day_and_the_day_that_showed_it():
    # Won every day, then lost every day: 1.9 times 0.9's third, and so on.
    its = evidence([1.0] * 8 + [-1.0] * 8)
    values = e_process.e_process([1.0] * 8)
    assert its.shown == int((values >= ENOUGH).argmax()) + 1
    assert its.largest == pytest.approx(values[-1])
    assert its.e < 1 < its.largest
    assert its.p_value == pytest.approx(1 / its.largest)
    assert its.p_value <= 1 / ENOUGH


def test_before_the_first_day_and_after_a_bad_one_nothing_is_shown():
    assert evidence([]) == (1.0, 1.0, None)
    its = evidence([-0.5])
    assert (its.largest, its.p_value) == (1.0, 1.0)


def test_what_is_beyond_all_doubt_stays_a_number():
    its = evidence(np.ones(5000))
    assert np.isfinite(its.largest)
    assert 0 < its.p_value < 1e-200


# ---- size and power


def shown(z):
    """The share of simulations (simulations, days) that show the model to be better on any day."""
    return float((e_process.e_process(z) >= ENOUGH).any(axis=-1).mean())


def volatile(rng, shape):
    """Volatilities that cluster, as of a GARCH(1,1): (simulations, days)."""
    variance = np.ones(shape)
    for t in range(1, shape[1]):
        shock = rng.standard_t(4, shape[0]) ** 2 / 2
        variance[:, t] = 0.05 + (0.08 * shock + 0.87) * variance[:, t - 1]
    return np.sqrt(variance)


def compared(centres, scales, y):
    """The advantages of two Student-t forecasts where y came, all (simulations, days)."""
    standard = student_t.quantile(0.0, 1.0, 4.0, LEVELS)
    a, b = (
        centre[..., None] + scale[..., None] * standard
        for centre, scale in zip(centres, scales, strict=True)
    )
    crps = (quantile_grid.crps(y, it).ravel() for it in (a, b))
    return advantage(*crps, a.reshape(-1, 23), b.reshape(-1, 23)).reshape(y.shape)


def test_of_equals_one_in_twenty_at_most_is_ever_shown_better():
    # As far off on either side of the truth: equals by symmetry, whatever the volatility.
    rng, shape = np.random.default_rng(1), (200, 500)
    sigma = volatile(rng, shape)
    y = sigma * rng.standard_t(4, shape)
    z = compared((0.3 * sigma, -0.3 * sigma), (sigma, sigma), y)
    assert 0 < z.std() < 1
    assert shown(z) <= 0.05
    assert shown(-z) <= 0.05


def test_a_model_that_made_up_for_what_it_had_lost_is_not_shown_better():
    # A month worse, then a month better, over and over: no better on average up to any day.
    rng = np.random.default_rng(2)
    drift = np.where(np.arange(500) // 21 % 2 == 0, -0.1, 0.1)
    z = np.where(rng.random((400, 500)) < (1 + drift) / 2, 1.0, -1.0)
    assert shown(z) <= 0.05


def test_a_better_model_is_shown_to_be_and_a_worse_one_to_be_worse():
    rng, shape = np.random.default_rng(3), (50, 500)
    sigma, zero = volatile(rng, shape), np.zeros(shape)
    y = sigma * rng.standard_t(4, shape)
    wrong = sigma * np.exp(rng.normal(0, 0.5, shape))
    z = compared((zero, zero), (sigma, wrong), y)
    assert shown(z) > 0.9
    assert shown(-z) == 0
