"""Balance: how much each ticker's history counts in training.

A universe is rarely of one kind. A ticker with forty years beside some with three, or implied volatility
beside the shares it moves against, would make the network its own. So a long history counts for no more
than the usual one, and a kind of instrument that few tickers are of for less: the network is for the others.
A base model is for all, so there rare kinds and exchanges count for more than they have.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from forecaster.dataset.bars import Floats
from forecaster.dataset.market import Place

LEAST = 0.1
"""A session of a rare kind counts for at least this share of one of the most common kind."""


def usual(lengths: Sequence[int]) -> int:
    """Return the lower median of some numbers of sessions."""
    return sorted(lengths)[(len(lengths) - 1) // 2]


def weights(tickers: Sequence[str], lengths: Sequence[int], power: float) -> Floats:
    """Return how much a session of each history counts: (histories,).

    Parameters
    ----------
    tickers : of each history.
    lengths : sessions of each history, above 0.
    power : from 0 to 1. A history counts for at most ``1 + 2 * power`` usual ones. At 0 a session counts
        by the number of tickers of its kind, over that of the most common kind; above it, kinds on an
        exchange count by their sessions to the power of ``1 - power``, so at 1 all alike.

    Returns
    -------
    1 for every session of histories of one length and kind; their mean over all sessions is at most 1.
    """
    sessions = np.asarray(lengths, float)
    counted: Floats = np.minimum(sessions, (1 + 2 * power) * usual(lengths))
    places = [Place.of(ticker) for ticker in tickers]
    if power == 0:
        number = Counter(place.kind for place in places)
        share = np.array([number[place.kind] / max(number.values()) for place in places])
        share = np.maximum(share, LEAST)
        return np.asarray(counted / sessions * share)
    total = dict.fromkeys(places, 0.0)
    for place, count in zip(places, counted, strict=True):
        total[place] += count
    factor = np.array([total[place] ** -power for place in places])
    factor *= counted.sum() / (counted * factor).sum()
    return np.asarray(counted / sessions * factor)
