"""Histories of given returns, and models compared bit for bit, for the tests of models."""

import numpy as np
import pandas as pd

from forecaster.data import prices
from forecaster.dataset.panel import Panel


def history_of(returns, ticker="AAA"):
    """A history of given log returns, the first of which is NaN; without features."""
    frame = prices.check(
        pd.DataFrame(
            {
                "ticker": ticker,
                "date": pd.bdate_range("2000-01-03", periods=len(returns)),
                "close": 20 * np.exp(np.cumsum(np.nan_to_num(returns))),
            }
        )
    )
    return Panel.of(frame).histories[0]


def student_returns(count, df, scale, seed=0):
    rng = np.random.default_rng(seed)
    return np.append(np.nan, scale * rng.standard_t(df, count))


def still(sessions=401):
    """A history whose price never moves."""
    return history_of(np.append(np.nan, np.zeros(sessions - 1)))


def assert_same(one, other):
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def assert_same_state(one, other):
    assert one.settings == other.settings
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[name])
