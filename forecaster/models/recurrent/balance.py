"""Balance: how much each ticker's history counts in training.

A universe is rarely of one kind. A ticker with forty years beside some with three, or a hundred shares
beside a coin, would make the network its own. So a history counts for at most :data:`MOST` times the
usual one, and kinds of instruments that are rare may count for more.
"""

from collections.abc import Sequence

import numpy as np

from forecaster.dataset.bars import Floats
from forecaster.dataset.market import Place

MOST = 2.0
"""A history counts for at most so many usual ones, by the lower median of their sessions."""


def usual(lengths: Sequence[int]) -> int:
    """Return the lower median of some numbers of sessions."""
    return sorted(lengths)[(len(lengths) - 1) // 2]


def weights(tickers: Sequence[str], lengths: Sequence[int], power: float) -> Floats:
    """Return how much a session of each history counts: (histories,).

    Parameters
    ----------
    tickers : of each history.
    lengths : sessions of each history, above 0.
    power : of kinds and exchanges. At 0 each counts as many sessions as it has, at 1 all count alike, and
        between them by their sessions to the power of ``1 - power``.

    Returns
    -------
    1 for every session of histories of about one length and kind; their mean over all sessions is at
    most 1.
    """
    sessions = np.asarray(lengths, float)
    share: Floats = np.minimum(1.0, MOST * usual(lengths) / sessions)
    if power == 0:
        return share
    places = [Place.of(ticker) for ticker in tickers]
    total = dict.fromkeys(places, 0.0)
    for place, count in zip(places, share * sessions, strict=True):
        total[place] += count
    factor = np.array([total[place] ** -power for place in places])
    counted = share * sessions
    share *= factor * counted.sum() / (counted * factor).sum()
    return share
