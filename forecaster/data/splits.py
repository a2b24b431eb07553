"""Splits that a source names and its prices do not have, and those that its prices alone tell of.

A split of ``ratio`` new shares for an old one divides all earlier prices by ``ratio`` and multiplies
their volumes. Whether that was done is asked of each column by itself: sources adjust some and
forget others.
"""

from fractions import Fraction

import numpy as np

from forecaster.data import leaps

FINEST = 3.0
"""A ratio within this many daily volatilities cannot be told from a day's own return."""

_LARGEST_TERM, _LARGEST_RATIO = 5, 1000
"""Of the ratios that companies choose: 3:2, 7:5, 50:1, and as large for reverse splits."""

_EXACT = 3e-4
"""How far the quotient of two rounded prices may be from a ratio."""

_UNMISTAKABLE = np.log(1.9)
"""A jump of volume, or a leap that undoes another, is that of a split from a ratio of about 2 on."""

_OTHER_FAULT = np.log(20)
"""A move left by a split that is beyond this is no day's return, but that of prices in another unit."""

_BEFORE = 20
"""Sessions on either side of a split that tell whether volumes jump, or closes come back."""


def unapplied(price: np.ndarray, ratio: np.ndarray, intraday: np.ndarray) -> np.ndarray:
    """Return whether a column lacks the split of each session: (n,) booleans.

    It does where the split explains the session's return better than none does, and the move of
    its open from the close before, where that is known.

    Parameters
    ----------
    price : (n,) closes or adjusted closes of one ticker, in order.
    ratio : (n,) new shares for an old one; 1 where there is no split.
    intraday : (n,) log returns from open to close; NaN where unknown.
    """
    shift, moves = np.log(ratio), leaps.returns(price)
    overnight = np.where(np.isnan(intraday), moves, moves - intraday)
    with np.errstate(invalid="ignore"):
        fits: np.ndarray = np.abs(moves + shift) < np.abs(moves)
        fits &= np.abs(overnight + shift) < np.abs(overnight)
        fits &= np.abs(moves + shift) < _OTHER_FAULT
    return fits


def factors(price: np.ndarray, ratio: np.ndarray, at: np.ndarray, volatility: float) -> np.ndarray:
    """Return what takes prices (n,) to the footing of the last, as :func:`footing` does.

    Where a leap by the same ratio undoes a split some sessions before it, the source had applied the
    split to what comes before that leap.
    """
    factor, moves = np.ones(len(price)), leaps.returns(price)
    for place in np.flatnonzero(at):
        shift, begin = np.log(ratio[place]), 0
        if abs(shift) > max(leaps.VOLATILITIES * volatility, _UNMISTAKABLE):
            first = max(0, place - _BEFORE)
            near = np.abs(moves[first:place] - shift) < 3 * volatility
            undone = np.flatnonzero(near & ~at[first:place])
            begin = first + undone[-1] if len(undone) else 0
        factor[begin:place] /= ratio[place]
    return factor


def footing(ratio: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return what takes prices (n,) that lack the splits ``at`` (n,) to the footing of the last.

    >>> footing(np.array([1, 4, 1, 2]), np.array([False, True, False, True]))
    array([0.125, 0.5  , 0.5  , 1.   ])
    """
    later = np.cumprod(np.where(at, ratio, 1.0)[:0:-1])[::-1]
    return 1 / np.append(later, 1.0)


def beside_lacks(
    values: np.ndarray, close: np.ndarray, ratio: np.ndarray, lacks: np.ndarray
) -> np.ndarray:
    """Return which splits opens, highs or lows (n,) lack, given those that the closes do: (n,) booleans.

    Both lack a split, or have it, where their quotient passes the session of the split unmoved: its
    median over three sessions on either side decides.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.log(values / close)
    missing = np.zeros(len(close), dtype=bool)
    for at in np.flatnonzero(ratio != 1):
        sides = [
            part[np.isfinite(part)] for part in (apart[max(0, at - 3) : at], apart[at : at + 3])
        ]
        shift = np.log(ratio[at])
        if min(map(len, sides)):
            moved = np.median(sides[0]) - np.median(sides[1]) + lacks[at] * shift
            missing[at] = abs(moved - shift) < abs(moved)
    return missing


def volume_lacks(volume: np.ndarray, ratio: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return which of the splits ``at`` (n,) volumes (n,) lack: (n,) booleans.

    Traded shares jump by the ratio where they do; where too few sessions or too small a ratio tell,
    volumes are taken to be on the footing of the prices.
    """
    lacks = at.copy()
    for place in np.flatnonzero(at):
        before, after = (
            part[part > 0]
            for part in (volume[max(0, place - _BEFORE) : place], volume[place : place + _BEFORE])
        )
        shift = np.log(ratio[place])
        if min(len(before), len(after)) >= _BEFORE // 4 and abs(shift) > _UNMISTAKABLE:
            jump = np.log(np.median(after) / np.median(before))
            lacks[place] = abs(jump - shift) < abs(jump)
    return lacks


def implied(
    close: np.ndarray, adj_close: np.ndarray, explained: np.ndarray, volatility: float
) -> np.ndarray:
    """Return the splits that adjusted closes have and closes lack, where the source names none.

    Parameters
    ----------
    close, adj_close : (n,) of one ticker, in order.
    explained : (n,) whether the source names a dividend or a split of the session.
    volatility : the ticker's, a day.

    Returns
    -------
    (n,) ratios; 1 where there is none. The close leaps by a ratio such as companies choose, to the
    rounding of the prices, and is not soon back; the adjusted close does not leap.
    """
    moves, calm = leaps.returns(close), leaps.returns(adj_close)
    step = calm - moves
    ratio = np.ones(len(close))
    with np.errstate(invalid="ignore"):
        odd = ~explained & (np.abs(step) > max(np.log(1.2), FINEST * volatility))
        odd &= np.abs(calm) < np.abs(moves)
    places = [at for at in np.flatnonzero(odd) if _simple(float(np.exp(step[at])))]
    for at in places:
        undone = [it for it in places if 0 < abs(it - at) < _BEFORE]
        if not any(abs(step[it] + step[at]) < _EXACT for it in undone):
            ratio[at] = _simple(float(np.exp(step[at])))
    return ratio


def _simple(ratio: float) -> float | None:
    """The ratio of small whole numbers that a number is, if it is one."""
    size = max(ratio, 1 / ratio)
    nearest = float(Fraction(size).limit_denominator(_LARGEST_TERM))
    if size > _LARGEST_RATIO or abs(nearest / size - 1) > _EXACT:
        return None
    return nearest if ratio > 1 else 1 / nearest
