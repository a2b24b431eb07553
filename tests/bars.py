"""Made-up daily bars, for the tests of readers."""

import numpy as np
import pandas as pd

from forecaster.data import calendars


def bars(ticker="AAPL", count=40, first="2024-01-02", seed=1, level=100.0):
    """Made-up daily bars of a ticker on the sessions of its exchange, in pence."""
    dates = calendars.sessions_between(
        ticker, pd.Timestamp(first), pd.Timestamp(first) + pd.Timedelta(days=2 * count)
    )[:count]
    rng = np.random.default_rng(seed)
    moves = rng.normal(0, 0.01, (2, len(dates)))
    close = level * np.exp(np.cumsum(moves[0]))
    opening = np.append(level, close[:-1]) * np.exp(0.2 * moves[1])
    frame = pd.DataFrame(
        {
            "open": opening,
            "high": np.maximum(opening, close) * (1 + np.abs(rng.normal(0, 0.004, len(dates)))),
            "low": np.minimum(opening, close) * (1 - np.abs(rng.normal(0, 0.004, len(dates)))),
            "close": close,
        }
    ).round(2)
    frame.insert(0, "date", dates)
    return frame.assign(volume=rng.integers(1_000, 9_000, len(dates)) * 100)


def assert_bars(frame, expected, names=("open", "high", "low", "close", "volume")):
    """The prices that were read are those that were made up."""
    assert frame["date"].tolist() == expected["date"].tolist()
    for name in names:
        np.testing.assert_allclose(frame[name], expected[name], rtol=1e-9, err_msg=name)
