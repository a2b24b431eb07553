"""Returns that stand out of a ticker's own volatility.

A move of 10% is a crash of a bond fund and a quiet hour of a small coin, so what counts as a leap
is measured in the ticker's own daily moves. The measure is the median of the absolute returns that
are not zero: one leap, or a hundred of them, hardly move it.
"""

import numpy as np
import pandas as pd

VOLATILITIES = 20.0
"""A return beyond this many daily volatilities is a leap: true ones are news of a decade."""

SMALLEST, LARGEST = 0.05, 1.0
"""Log returns: none below the one is a leap, and any beyond the other, a factor of 2.7, is."""

NORMAL = 1.4826
"""The standard deviation of a normal variable over the median of its absolute value."""

_UNKNOWN, _CALMEST = 0.02, 0.005
"""The daily volatility of a history too short to tell, and the least that is assumed of any."""
_FEW, _NEIGHBOURS = 10, 121


def returns(price: np.ndarray) -> np.ndarray:
    """Return the log returns (n,) of prices (n,); 0 at the first, NaN where a price cannot be."""
    logs = np.log(np.where((price > 0) & (price < np.inf), price, np.nan))
    return np.diff(logs, prepend=logs[:1])


def volatility(price: np.ndarray) -> float:
    """Return the robust daily volatility of prices (n,), as a fraction.

    Notes
    -----
    1.4826 times the median absolute return, of the returns that are not zero.
    """
    moves = np.abs(returns(price))
    moves = moves[np.isfinite(moves) & (moves > 0)]
    if len(moves) < _FEW:
        return _UNKNOWN
    return max(float(NORMAL * np.median(moves)), _CALMEST)


def leaps(price: np.ndarray) -> np.ndarray:
    """Return whether each return of prices (n,) is a leap: (n,) booleans.

    A return is a leap beyond ``VOLATILITIES`` daily volatilities, those of the whole history or
    those of the sessions around it, whichever are larger: a crisis is not a string of leaps.
    """
    moves, whole = np.abs(np.nan_to_num(returns(price))), volatility(price)
    beyond = _are_beyond(moves, whole)
    if not beyond.any():  # of most histories none is, and to look around takes long
        return beyond
    around = np.zeros(len(moves))
    moving = moves > 0
    local = pd.Series(moves[moving]).rolling(_NEIGHBOURS, center=True, min_periods=_FEW).median()
    around[moving] = NORMAL * local.fillna(0.0).to_numpy()
    return _are_beyond(moves, np.maximum(around, whole))


def _are_beyond(moves: np.ndarray, usual: np.ndarray | float) -> np.ndarray:
    beyond: np.ndarray = moves > np.clip(VOLATILITIES * usual, SMALLEST, LARGEST)
    return beyond
