"""One ticker among many whose numbers are out of all proportion, most often by a mistake in its prices.

It is named, and does not set the scale for the others.
"""

import numpy as np
import pandas as pd

REACH = 5.0
"""Interquartile ranges beyond the quartiles from which a value is outlandish: 7 standard deviations of
normal values."""

SHARE, TIMES = 0.1, 5.0
"""A ticker that makes this share of a total, and this many times that of the median one, is named."""

_FEW = 4
"""Of fewer values none stands out."""


def inside(values: np.ndarray) -> np.ndarray:
    """Return which of some values (n,) are not outlandish: (n,) booleans."""
    finite = values[np.isfinite(values)]
    if len(finite) < _FEW:
        return np.full(len(values), True)
    low, high = np.quantile(finite, [0.25, 0.75])
    reach = REACH * (high - low)
    within: np.ndarray = ~((values < low - reach) | (values > high + reach))
    return within if reach > 0 else np.full(len(values), True)


def dominance(totals: pd.Series) -> str:
    """Return a sentence on the ticker that makes most of a sum of losses, empty where none does.

    Parameters
    ----------
    totals : the sum of CRPS of each ticker, by ticker.
    """
    totals = totals.dropna()
    if len(totals) < _FEW or not totals.sum() > 0:
        return ""
    share = totals.max() / totals.sum()
    if share < SHARE or totals.max() < TIMES * totals.median():
        return ""
    return f"{totals.idxmax()} alone makes {share:.0%} of the CRPS of {len(totals)} tickers"
