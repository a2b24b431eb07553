"""Confidence sequences: by hand, and that the true share stays inside on all days at once."""

from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.evaluation.confidence_sequence import MEANS, MISS, bounds, capital

shares = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=60)


def by_hand(x, mean):
    """The capital after each day, a day at a time as the paper has it."""
    up = down = 1.0
    seen, deviations, variance, capitals = 0.0, 0.0, 0.25, []
    for day, value in enumerate(x, start=1):
        bet = sqrt(2 * log(2 / 0.05) / (variance * day * log(1 + day)))
        up *= 1 + min(bet, 0.5 / mean) * (value - mean)
        down *= 1 - min(bet, 0.5 / (1 - mean)) * (value - mean)
        capitals.append(max(up, down) / 2)
        seen += value
        deviations += (value - (0.5 + seen) / (day + 1)) ** 2
        variance = (0.25 + deviations) / (day + 1)
    return capitals


@given(shares, st.sampled_from([0.2, 0.5, 0.8, 0.95]))
def test_the_capital_is_that_of_a_loop_over_the_days(x, mean):
    np.testing.assert_allclose(capital(x, mean), by_hand(x, mean), rtol=1e-9)


@given(shares)
def test_shares_beyond_the_bounds_are_ruled_out_and_those_within_are_not(x):
    low, high = bounds(x)
    for mean in np.arange(1, MEANS, 17) / MEANS:
        if mean <= low or mean >= high:
            assert by_hand(x, mean)[-1] >= 1 / MISS
        elif low + 1 / MEANS < mean < high - 1 / MEANS:
            assert by_hand(x, mean)[-1] < 1 / MISS


def test_nothing_is_known_before_the_first_day_and_little_after_it():
    assert bounds([]) == (0.0, 1.0)
    assert bounds([1.0]) == (0.0, 1.0)


def test_intervals_that_always_or_never_hold_are_at_an_end():
    low, high = bounds(np.ones(200))
    assert 0.9 < low < high == 1
    low, high = bounds(np.zeros(200))
    assert 0 == low < high < 0.1


def test_bounds_narrow_with_days_and_with_tickers():
    rng = np.random.default_rng(0)
    few = rng.random((1000, 20)) < 0.8
    width = [
        np.subtract(*bounds(few[:days, :tickers].mean(axis=1))[::-1])
        for days, tickers in ((100, 1), (1000, 1), (1000, 20))
    ]
    assert width[0] > 1.5 * width[1] > 3 * width[2]


@pytest.mark.parametrize("nominal", [0.8, 0.95])
def test_the_true_share_is_ever_ruled_out_one_time_in_twenty_at_most(nominal):
    rng = np.random.default_rng(1)
    alone = rng.random((300, 700)) < nominal
    # Ten tickers, of which all or none are inside on half of the days.
    together = rng.random((300, 700, 1)) < nominal
    apart = rng.random((300, 700, 10)) < nominal
    mixed = np.where(rng.random((300, 700, 1)) < 0.5, together, apart).mean(axis=2)
    for x in (alone, mixed):
        misses = [(capital(days, nominal) >= 1 / MISS).any() for days in x.astype(float)]
        assert np.mean(misses) <= MISS


def test_intervals_that_are_too_narrow_are_shown_to_be():
    rng = np.random.default_rng(2)
    low, high = bounds((rng.random((1000, 10)) < 0.75).mean(axis=1))
    assert low < 0.75 < high < 0.8
