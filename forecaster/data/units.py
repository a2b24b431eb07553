"""Units of money: prices in pence among prices in pounds, and what a currency's code says of both.

Some exchanges quote in a hundredth or a thousandth of the currency, and sources mix the two up: in
a single cell, on a day, or from some day on.

References
----------
Yahoo's own mix-ups are listed in the documentation of yfinance, "Price repair", 100x errors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from forecaster.data import leaps

RATIOS = (100.0, 1000.0)
"""Of a unit to the next smaller one."""

EXCURSION = 20
"""Sessions: prices that leave the unit and are back within these are at fault themselves."""


@dataclass(frozen=True)
class Minor:
    """A minor unit in which an exchange quotes."""

    name: str
    currency: str
    ratio: int


MINOR: Mapping[str, Minor] = {
    "GBp": Minor("pence", "GBP", 100),
    "GBX": Minor("pence", "GBP", 100),
    "ZAc": Minor("cents", "ZAR", 100),
    "ZAC": Minor("cents", "ZAR", 100),
    "ILA": Minor("agorot", "ILS", 100),
    "USX": Minor("cents", "USD", 100),
    "KWF": Minor("fils", "KWD", 1000),
}
"""Yahoo's codes of minor units."""

_MAJOR = frozenset({"GBP", "ZAR", "ILS", "KWD"})
"""Currencies whose exchanges quote in the minor unit. (Of the dollar, grain futures alone do.)"""

_SUFFIXES = frozenset({"L", "IL", "JO", "TA", "KW"})
"""Endings of the tickers of those exchanges."""

_NEAR, _NEAREST, _WIDEST = 0.12, 0.03, 0.4
"""How far a leap may be from a ratio, in logs: a day's own return comes on top."""


def words(currency: str | None) -> str:
    """Return a currency for a reader: ``GBp (pence, 100 to the GBP)``; ``–`` where unknown."""
    minor = MINOR.get(currency or "")
    if minor is None:
        return currency or "–"
    return f"{currency} ({minor.name}, {minor.ratio:,} to the {minor.currency})"


def short(currency: str | None) -> str:
    """Return a currency for a narrow column: ``USD``, ``GBp (pence)``, ``–`` where unknown."""
    minor = MINOR.get(currency or "")
    return f"{currency} ({minor.name})" if minor else currency or "–"


def factors(price: np.ndarray, beside: np.ndarray, currency: str | None, ticker: str) -> np.ndarray:
    """Return what brings each price (n,) of a column to one unit: (n,) factors, 1 where it is right.

    Prices that leave the unit and come back within ``EXCURSION`` sessions are at fault. Where a
    change of unit lasts, the currency decides: a minor one belongs to the larger numbers, and its
    major one to the smaller. Otherwise the last row is right. A fall to a hundredth that never
    comes back is a change of unit only where the currency or the exchange knows two units: it may
    be a collapse.

    Parameters
    ----------
    price : positive closes of one ticker, in order.
    beside : (n, columns) the opens, highs and lows of the same rows, as far as there are any. A
        close that they contradict is at fault wherever it stands.
    currency : its code, where known.
    ticker : whose ending names its exchange.
    """
    factor = np.ones(len(price))
    for ratio in RATIOS:
        level = _levels(price * factor, ratio, _has_two_units(currency, ticker))
        if not level.any() or np.ptp(level) > 1:  # a hundred times a hundred is no unit of money
            continue
        contradicted = (cell_factors(beside, (price * factor)[:, None]) != 1).any(axis=1)
        settled = _settled(level, contradicted)
        if currency in MINOR:
            right = settled.max()
        elif currency in _MAJOR:
            right = settled.min()
        else:
            right = settled[-1]
        factor *= ratio ** (right - level)
    return factor


def cell_factors(values: np.ndarray, close: np.ndarray) -> np.ndarray:
    """Return what brings opens, highs or lows to the unit of the closes beside them: (n,) factors."""
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.log(values / close)
    factor = np.ones(np.shape(apart))
    for ratio in RATIOS:
        for sign in (1.0, -1.0):
            factor[np.abs(apart - sign * np.log(ratio)) < _WIDEST] = ratio**-sign
    return factor


def adjusted_factors(adj_close: np.ndarray, close: np.ndarray) -> np.ndarray:
    """Return what brings adjusted closes (n,) to the unit of the closes (n,) of their rows.

    Dividends move the quotient of the two step by step. None moves it a hundredfold, and on the
    last row it is one, or somewhat less.
    """
    factor = np.ones(len(close))
    for ratio in RATIOS:
        with np.errstate(invalid="ignore", divide="ignore"):
            level = np.log(adj_close * factor / close)
        level = pd.Series(np.where(np.isfinite(level), level, np.nan)).ffill().bfill().to_numpy()
        moves = np.diff(level, prepend=level[:1])
        step = np.where(np.abs(np.abs(moves) - np.log(ratio)) < _NEAR, np.sign(moves), 0.0)
        power = np.cumsum(step)
        if not power.any() or np.ptp(power) > 1:
            continue
        factor *= ratio ** (power[-1] - np.rint(level[-1] / np.log(ratio)) - power)
    return factor


def _has_two_units(currency: str | None, ticker: str) -> bool:
    if currency:
        return currency in MINOR or currency in _MAJOR
    _, dot, ending = ticker.upper().rpartition(".")
    return bool(dot) and ending in _SUFFIXES


def _levels(price: np.ndarray, ratio: float, two_units: bool) -> np.ndarray:
    """The unit (n,) of each price as a power of ``ratio``, that of the first being 0."""
    moves, usual = leaps.returns(price), leaps.volatility(price)
    loose = min(max(_NEAR, 5 * usual), _WIDEST)
    tight = min(max(_NEAREST, 4 * usual), _NEAR)
    apart = np.abs(np.abs(moves) - np.log(ratio))
    step = np.where(apart < loose, np.sign(moves), 0).astype(int)
    lasting: list[int] = []
    for at in np.flatnonzero(step).tolist():
        if lasting and step[lasting[-1]] == -step[at] and at - lasting[-1] <= EXCURSION:
            lasting.pop()
        else:
            lasting.append(at)
    net = step[lasting].sum()
    for at in lasting:
        collapse = net < 0 and step[at] < 0
        if not two_units and (apart[at] > tight or collapse):
            step[at] = 0
    return np.cumsum(step)


def _settled(level: np.ndarray, contradicted: np.ndarray) -> np.ndarray:
    """The levels (n,) without excursions and without the rows that others contradict."""
    sure = np.where(contradicted, np.nan, level)
    settled = pd.Series(sure).ffill().bfill().fillna(level[-1]).to_numpy(copy=True)
    ends = [0, *(np.flatnonzero(np.diff(settled)) + 1), len(settled)]
    for begin, end in pairwise(ends[1:-1]):
        if end - begin <= EXCURSION and settled[begin - 1] == settled[end]:
            settled[begin:end] = settled[begin - 1]
    return settled.astype(int)
