import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.data import adjustment


def test_the_example_of_yahoo():
    # Yahoo Help: 0.08 after a close of 24.96 multiplies what came before by 0.9968.
    factor = adjustment.factors(np.array([24.96, 25.0]), np.array([0.0, 0.08]))
    assert factor.round(4).tolist() == [1, 0.9968]


def test_two_dividends_by_hand():
    close = np.array([100.0, 50.0, 80.0, 40.0, 60.0])
    dividends = np.array([9.0, 10.0, np.nan, 8.0, 0.0])
    # On the second session 10 of 100, on the fourth 8 of 80: a tenth each. The first has no yesterday.
    np.testing.assert_allclose(adjustment.adjusted(close, dividends), [81, 45, 72, 40, 60])


def test_without_dividends_the_adjusted_close_is_the_close():
    close = np.array([3.0, 2.0, 1.0])
    assert adjustment.adjusted(close, np.zeros(3)).tolist() == close.tolist()
    assert adjustment.adjusted(close[:1], np.ones(1)).tolist() == [3]


@given(st.lists(st.tuples(st.floats(1, 1000), st.floats(0, 0.5)), min_size=1, max_size=30))
def test_a_return_is_that_of_who_reinvests_the_dividend_at_the_close_before(rows):
    close = np.array([row[0] for row in rows])
    yields = np.array([row[1] for row in rows])
    dividends = np.append(0.0, yields[1:] * close[:-1])
    made = pd.Series(adjustment.adjusted(close, dividends)).pct_change().to_numpy()[1:]
    np.testing.assert_allclose(
        made, close[1:] / (close[:-1] - dividends[1:]) - 1, rtol=1e-9, atol=1e-12
    )
    assert not adjustment.unexplained(close, adjustment.adjusted(close, dividends), dividends).any()


def test_only_the_step_at_fault_is_named():
    close = np.linspace(100, 120, 50)
    dividends = np.zeros(50)
    dividends[[20, 40]] = 1.0
    sound = adjustment.adjusted(close, dividends)
    jittered = sound * (1 + 1e-7 * np.random.default_rng(0).uniform(-1, 1, 50))
    assert not adjustment.unexplained(close, jittered, dividends).any()
    for at, wrong in (
        (20, {20: 0.0}),
        (30, {30: 0.01}),
    ):  # one forgotten, one of a hundredth too much
        told = dividends.copy()
        told[list(wrong)] = list(wrong.values())
        assert np.flatnonzero(adjustment.unexplained(close, sound, told)).tolist() == [at]
    assert not adjustment.unexplained(close, sound * close, np.full(50, np.nan)).any()


def test_a_dividend_of_six_decimals_explains_the_step_it_was_rounded_from():
    # Apple's of 1987, after five splits.
    close, dividend = np.array([0.352679, 0.36]), 0.0005364
    adj_close = adjustment.adjusted(close, np.array([0, dividend]))
    assert not adjustment.unexplained(close, adj_close, np.array([0, round(dividend, 6)])).any()
    assert adjustment.unexplained(close, adj_close, np.array([0, 0.0005])).tolist() == [False, True]


@pytest.mark.parametrize("dividend", [100.0, 250.0])
def test_a_dividend_that_pays_all_the_share_out_explains_nothing_possible(dividend):
    close = np.array([100.0, 100.0])
    assert adjustment.unexplained(close, close, np.array([0, dividend]))[1]
