"""Adjusted closes: what a holder earned, as a price that dividends do not interrupt.

A close that is adjusted for splits, and dividends on the same footing, give the adjusted close by
the back-adjustment of CRSP and Yahoo: with D[s] the cash of a share that goes ex on session s,

    adj_close[t] = close[t] * product over s > t of (1 - D[s] / close[s - 1])

so that the last adjusted close is the close. Splits are in the close already, which is why they do
not come up again.

References
----------
CRSP, "Data Descriptions Guide: Stock and Indices", section Price Adjustment. Yahoo Help, "What is
the adjusted close?": a dividend of 0.08 after a close of 24.96 multiplies all earlier prices by
1 - 0.08 / 24.96 = 0.9968.
"""

import numpy as np

TOLERANCE = 1e-6
"""A day's factor that is further from the dividend's is not explained by it."""

_ROUNDED = 5e-7
"""Yahoo rounds dividends to six decimals, which is much for one that was split many times since."""


def factors(close: np.ndarray, dividends: np.ndarray) -> np.ndarray:
    """What the adjustment of a session takes off all earlier prices: 1 - D[t] / close[t - 1].

    Parameters
    ----------
    close : (n,) split-adjusted closes of one ticker, in order, in its currency.
    dividends : (n,) split-adjusted cash a share on the ex-date; NaN and 0 are none.

    Returns
    -------
    (n,) factors; 1 at the first session, which has none before it.
    """
    factor = np.ones(len(close))
    factor[1:] -= np.nan_to_num(dividends[1:]) / close[:-1]
    return factor


def adjusted(close: np.ndarray, dividends: np.ndarray) -> np.ndarray:
    """The adjusted close (n,) that closes (n,) and dividends (n,) make; the last is the close.

    >>> adjusted(np.array([24.96, 25.0]), np.array([0.0, 0.08])).round(2)
    array([24.88, 25.  ])
    """
    factor = factors(close, dividends)
    return close * np.append(np.cumprod(factor[:0:-1])[::-1], 1.0)


def unexplained(close: np.ndarray, adj_close: np.ndarray, dividends: np.ndarray) -> np.ndarray:
    """Whether the step from the session before is adjusted by other than its dividend: (n,).

    Each session is judged by itself, so that one fault is named once and not at all earlier
    sessions. Where no dividends are known (all NaN), nothing can be said.
    """
    if np.isnan(dividends).all():
        return np.zeros(len(close), dtype=bool)
    level = adj_close / close
    step = np.ones(len(close))
    step[1:] = level[:-1] / level[1:]
    allowed = np.full(len(close), TOLERANCE)
    allowed[1:] += np.where(dividends[1:] > 0, _ROUNDED / close[:-1], 0.0)
    return np.abs(step - factors(close, dividends)) > allowed
