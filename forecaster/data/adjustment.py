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

from itertools import pairwise

import numpy as np

from forecaster.data import leaps

TOLERANCE = 1e-6
"""A day's factor that is further from the dividend's is not explained by it."""

_ROUNDED = 5e-7
"""Yahoo rounds dividends to six decimals, which is much for one that was split many times since."""


_NOTICED, _NOTICED_VOLATILITIES = 0.08, 8.0
"""A dividend of more than the larger of these moves the price on its day, or was never paid."""

_TOO_LARGE = (100.0, 1000.0)
"""How many times too large a dividend is that was given in another unit of money."""

_STRAY = 0.1
"""Log return: what an adjusted close may move beyond its close and dividend, at the least."""

EXCURSION = 20
"""Sessions: closes that leave the adjusted ones and are back within these are at fault themselves."""

_ALIKE = 1e-3
"""How far the adjustments on two sides of a hole may be apart, when dividends are accounted for."""

_LIKELY = 7.0
"""The log likelihood ratio, a thousand to one, from which dividends count as missing."""


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
    later = np.cumprod(factors(close, dividends)[:0:-1])[::-1]
    made: np.ndarray = close * np.append(later, 1.0)
    return made


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
    odd: np.ndarray = np.abs(step - factors(close, dividends)) > allowed
    return odd


def fair_dividends(close: np.ndarray, dividends: np.ndarray, volatility: float) -> np.ndarray:
    """Return dividends (n,) with those that the price did not notice brought to a fair amount.

    A dividend takes its amount off the price. One that is so large that this would show, and of
    which the day's return shows nothing, is a hundred or a thousand times too large: it was given
    in another unit. One that cannot be, and is not fair in either unit, becomes NaN.

    Parameters
    ----------
    close, dividends : (n,) of one ticker, in order, split-adjusted; no dividend is NaN or 0.
    volatility : the ticker's, a day.
    """
    fair = dividends.copy()
    limit = max(_NOTICED, _NOTICED_VOLATILITIES * volatility)
    share = np.zeros(len(close))
    share[1:] = np.nan_to_num(dividends[1:]) / close[:-1]
    move = leaps.returns(close)
    with np.errstate(invalid="ignore", divide="ignore"):
        fall = np.where(share < 1, -np.log1p(-share), np.inf)
    wrong = (share >= 1) | ((fall > limit) & (move > -fall / 2))
    others = dividends[(np.nan_to_num(dividends) > 0) & ~wrong]
    for at in np.flatnonzero(wrong):
        smaller = [dividends[at] / times for times in _TOO_LARGE]
        likely = [it for it in smaller if it / close[at - 1] < 1 - np.exp(-limit)]
        alike = [it for it in likely if len(others) and 0.5 < it / np.median(others) < 2]
        fair[at] = (alike or likely or [np.nan])[0] if move[at] > -np.log(2) else np.nan
    return fair


def readjusted(
    adj_close: np.ndarray, close: np.ndarray, dividends: np.ndarray, fair: np.ndarray
) -> np.ndarray:
    """Return adjusted closes (n,) that were made with ``dividends`` (n,), remade with fair ones (n,).

    A session whose step was made with neither amount keeps it.
    """
    before, after = factors(close, dividends), factors(close, fair)
    remade = adj_close.copy()
    for at in np.flatnonzero(before != after):
        step = adj_close[at - 1] / close[at - 1] / (adj_close[at] / close[at])
        if abs(step - before[at]) < 1e-3 * max(1.0, abs(before[at])):
            remade[:at] *= after[at] / before[at]
    return remade


def rebuilt(close: np.ndarray, adj_close: np.ndarray, dividends: np.ndarray) -> np.ndarray:
    """Return adjusted closes (n,) with those that cannot be made anew from closes and dividends.

    Parameters
    ----------
    close : (n,) positive closes.
    adj_close : (n,) adjusted closes; what is not finite and positive is made anew.
    dividends : (n,) NaN where unknown. Without them, an adjusted close is made only between two
        that are adjusted alike.

    Returns
    -------
    (n,) adjusted closes; NaN where none can be made.
    """
    good = np.isfinite(adj_close) & (adj_close > 0)
    if good.all() or not good.any():
        return adj_close
    level = np.where(good, adj_close / close, np.nan)
    step = factors(close, dividends)
    known = ~np.isnan(dividends) & (step > 0)
    path = np.append(np.cumprod(np.where(known, step, 1.0)[:0:-1])[::-1], 1.0)  # of later sessions
    edges = np.flatnonzero(np.diff(good, prepend=True, append=True))
    for begin, end in edges.reshape(-1, 2):
        # What is to be made, and a good session on each side where there is one.
        first, last = max(begin - 1, 0), min(end, len(close) - 1)
        made = path if known[first + 1 : last + 1].all() else np.ones(len(close))
        levels = level[[first, last]] / made[[first, last]]
        levels = levels[np.isfinite(levels)]
        unknown = made is not path and len(levels) < 2
        if not unknown and abs(levels[0] / levels[-1] - 1) < _ALIKE:
            level[begin:end] = levels[-1] * made[begin:end]
    return np.where(good, adj_close, close * level)


def without_stray_steps(
    close: np.ndarray, adj_close: np.ndarray, dividends: np.ndarray, volatility: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return adjusted closes (n,) that leap only where closes or dividends do, and where they did not.

    An adjusted close can stand above its close's return by a dividend, and by nothing else. A step
    that is neither in the closes nor in the dividends, and that makes the return larger, is taken
    out of all earlier adjusted closes.
    """
    moves = leaps.returns(adj_close)
    owed = leaps.returns(close) - np.log(np.maximum(factors(close, dividends), 1e-9))
    stray = np.abs(moves - owed) > max(_STRAY, _NOTICED_VOLATILITIES * volatility)
    stray &= np.abs(moves) > np.abs(owed)
    if not stray.any():
        return adj_close, stray
    later = np.cumsum(np.where(stray, moves - owed, 0.0)[::-1])[::-1]
    mended = adj_close * np.exp(np.append(later[1:], 0.0))
    excess = mended[-1] / close[-1]
    return mended / (excess if excess > 2 else 1.0), stray


def calm_closes(close: np.ndarray, adj_close: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return closes (n,) that do not leap and come back where adjusted closes stay, and which did.

    The closes from the leap to its return, ``EXCURSION`` sessions at the most, are made from the
    adjusted closes by the adjustment before the leap.
    """
    level = np.log(close / adj_close)
    step = np.diff(level, prepend=level[:1])
    leap = np.abs(step) > _STRAY
    leap &= np.abs(leaps.returns(close)) > np.abs(leaps.returns(adj_close))
    wrong, calm = np.zeros(len(close), dtype=bool), close.copy()
    for begin, end in pairwise(np.flatnonzero(leap).tolist()):
        undone = abs(step[begin] + step[end]) < _STRAY / 5
        if undone and not wrong[begin - 1] and end - begin <= EXCURSION:
            wrong[begin:end] = True
            calm[begin:end] = adj_close[begin:end] * np.exp(level[begin - 1])
    return calm, wrong


def evidence(close: np.ndarray, dividends: np.ndarray, intraday: np.ndarray) -> float:
    """Return how much likelier dividends are to be missing from closes than to be in them already.

    Parameters
    ----------
    close, dividends : (n,) of one ticker, in order.
    intraday : (n,) log returns from open to close; NaN where unknown.

    Returns
    -------
    The log likelihood ratio of two accounts of the moves to the opens of ex-dates (to their closes,
    where there are no opens): that they fall by the dividend, and that they do not. Moves are
    normal with the robust spread of all sessions, and one counts for at most four spreads.
    """
    moves = leaps.returns(close)
    moves = np.where(np.isnan(intraday), moves, moves - intraday)
    paid = np.flatnonzero(np.nan_to_num(dividends[1:]) > 0) + 1
    moving = np.abs(moves[moves != 0])
    if not len(paid) or not len(moving):
        return 0.0
    spread = leaps.NORMAL * float(np.median(moving))
    fall = -np.log(np.maximum(factors(close, dividends)[paid], 1e-9))
    outside = np.minimum(np.abs(moves[paid] + fall) / spread, 4.0)
    inside = np.minimum(np.abs(moves[paid]) / spread, 4.0)
    return float((inside**2 - outside**2).sum() / 2)


def missing_from(close: np.ndarray, dividends: np.ndarray, intraday: np.ndarray) -> bool:
    """Return whether closes fall by their dividends, so that returns have to be given them back."""
    return evidence(close, dividends, intraday) > _LIKELY
