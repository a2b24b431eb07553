"""Rows that are not of the history they stand in: spikes, other instruments, copies of a last close.

Each function judges prices (n,) of one ticker, in order, and returns which rows are strays, (n,).
"""

import numpy as np

from forecaster.data import leaps

GAP_UP, GAP_DOWN = np.timedelta64(30, "D"), np.timedelta64(180, "D")
"""Gaps after which a leap up, or down, is that of another instrument: halts end lower, or soon."""

SETTLED = 20
"""Sessions after which a new instrument is believed."""

SPELL, RECURRING = 250, 3
"""Sessions: the longest spell of another instrument; and how many spells prove it without more."""

FROZEN = 5
"""Sessions of one close, without trade, of which the last is no news."""

OUTSIDE = 0.005
"""How far a close may lie outside the day's range: vendors round, and auctions come after the high."""

SPIKE = 0.6
"""The least log return of a spike, a factor of 1.8."""

_USUAL, _BACK = 6.0, (0.05, 0.3)
"""A spike ends where it began, to within these daily volatilities, in bounds of log returns."""

_TRADED = 0.1
"""The share of sessions with trade from which a volume of zero means that there was none."""

_WITHOUT_VOLUME = frozenset({"MUTUALFUND", "INDEX", "CURRENCY", "MONEYMARKET"})
_WITH_VOLUME = frozenset({"EQUITY", "ETF"})


def spikes(price: np.ndarray, intraday: np.ndarray) -> np.ndarray:
    """Return the rows that leap and are back on the next, as if they had never been.

    Parameters
    ----------
    price : closes or adjusted closes.
    intraday : log returns from open to close; NaN where unknown. The next session opens where the
        price was, if it was there.
    """
    moves, usual = leaps.returns(price), leaps.volatility(price)
    after = np.append(moves[1:], 0.0)
    spike: np.ndarray = (np.abs(moves) > SPIKE) & (np.abs(after) > SPIKE)
    spike &= np.abs(moves + after) < np.clip(_USUAL * usual, *_BACK)
    opening = after - np.append(intraday[1:], np.nan)
    with np.errstate(invalid="ignore"):
        spike &= ~(np.abs(opening) < np.abs(moves + opening))
    return spike


def spells(price: np.ndarray, volume: np.ndarray) -> np.ndarray:
    """Return the rows of spells at another level that were not traded, or that recur."""
    moves = leaps.returns(price)
    bounds: list[tuple[int, int]] = []
    begin: int | None = None
    for at in np.flatnonzero(np.abs(moves) > leaps.LARGEST).tolist():
        if begin is not None and at - begin <= SPELL and abs(moves[at] + moves[begin]) < SPIKE:
            bounds.append((begin, at))
            begin = None
        else:
            begin = at
    stray = np.zeros(len(price), dtype=bool)
    traded = (volume > 0).mean() > 0.5
    for first, end in bounds:
        untraded = traded and not (volume[first:end] > 0).any()
        stray[first:end] = untraded or len(bounds) >= RECURRING
    return stray


def used_twice(dates: np.ndarray, price: np.ndarray) -> np.ndarray:
    """Return the rows of former users of a ticker's name, and of a new one not yet believed."""
    moves, gap = leaps.returns(price), np.diff(dates, prepend=dates[:1])
    bound = (moves > leaps.LARGEST) & (gap > GAP_UP)
    bound |= (moves < -leaps.LARGEST) & (gap > GAP_DOWN)
    bounds = [0, *np.flatnonzero(bound).tolist(), len(price)]
    while len(bounds) > 2 and bounds[-1] - bounds[-2] < SETTLED:
        del bounds[-1]
    stray = np.ones(len(price), dtype=bool)
    stray[bounds[-2] : bounds[-1]] = False
    return stray


def frozen(close: np.ndarray, volume: np.ndarray, instrument: str | None) -> np.ndarray:
    """Return the ``FROZEN``-th and later rows of a run of one close on which nothing was traded.

    Parameters
    ----------
    close, volume : NaN volumes are unknown.
    instrument : what Yahoo calls its kind, where known. Funds, indices and currencies have no
        volume, and where a price moves on days of no volume, nobody counts it.
    """
    still: np.ndarray = (np.diff(close, prepend=np.nan) == 0) & (volume == 0)
    if not is_counted(close, volume, instrument):
        return np.zeros(len(close), dtype=bool)
    start = np.maximum.accumulate(np.where(still, 0, np.arange(len(close))))
    still &= np.arange(len(close)) - start >= FROZEN - 1
    return still


def is_counted(close: np.ndarray, volume: np.ndarray, instrument: str | None) -> bool:
    """Return whether a volume of zero means that nothing was traded."""
    if instrument in _WITHOUT_VOLUME or not len(volume):
        return False
    if (volume > 0).mean() >= _TRADED:
        return True
    moved = (leaps.returns(close) != 0) & (volume == 0)
    return instrument in _WITH_VOLUME and not moved.any()


def unusable_ranges(
    close: np.ndarray, opens: np.ndarray, high: np.ndarray, low: np.ndarray, *, raw: bool
) -> np.ndarray:
    """Return the rows whose open, high and low cannot be, given the close; NaN is unknown.

    With ``raw``, a close outside of them is let pass.
    """
    bad = np.zeros(len(close), dtype=bool)
    for values in (opens, high, low):
        bad |= ~np.isnan(values) & ~(np.isfinite(values) & (values > 0))
    with np.errstate(invalid="ignore", over="ignore"):
        bad |= high < low * (1 - 1e-6)
        if not raw:
            bad |= (close > high * (1 + OUTSIDE)) | (close < low * (1 - OUTSIDE))
    return bad
