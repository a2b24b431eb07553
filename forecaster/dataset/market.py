"""The market: averages over the tickers of a universe, as known at the closes of an exchange."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from forecaster.data import exchanges
from forecaster.data.calendars import LONGEST_CLOSURE
from forecaster.data.companions import market_index
from forecaster.data.publication import public_dates
from forecaster.dataset.bars import (
    FAST,
    SLOW,
    Bars,
    Floats,
    every,
    ewma,
    lagged,
    log_ratio,
    volatility,
)

MARKET = (
    "market_return",
    "market_abs_return",
    "market_fast_volatility",
    "market_slow_volatility",
    "market_surprise",
    "market_surprise_slow",
    "market_dispersion",
    "market_range",
)

Rows = slice | np.ndarray
"""Of a ticker's sessions among the dates of a market."""

FEW = 5
"""With fewer peers the index of their exchange is the market, or peers elsewhere if it is not stored."""

AGAINST = -4.0
"""A ticker moves against the others once its surprises times their mean are, on average, this many
standard errors from 0: chance does not take them there."""

WILDEST = 5.0
"""Surprises, in volatilities, are cut off here: no ticker's jump is the market's."""


class Place(NamedTuple):
    """Where a market is, and what trades on it."""

    exchange: str
    kind: str
    """That of :func:`forecaster.data.exchanges.kind`, but ``equity`` for shares and indices of them"""
    benchmark: str | None
    """The index of its market"""

    @classmethod
    def of(cls, ticker: str) -> "Place":
        """Return the place of a ticker."""
        kind = exchanges.kind(ticker)
        kind = "equity" if kind in ("share", "index") else kind
        return cls(exchanges.exchange(ticker), kind, market_index(ticker))


@dataclass(frozen=True, eq=False)
class Market:
    """Averages over the tickers of a universe, by date."""

    dates: np.ndarray
    """datetime64[D], every date on which a session of one of them became public: (dates,)"""
    features: np.ndarray
    """(dates, len(MARKET))"""
    left_out: tuple[str, ...] = ()
    """Tickers of the universe that, by its last date, move against the others"""

    @classmethod
    def at(
        cls, place: Place, universe: Mapping[str, Bars], companions: Mapping[str, Bars]
    ) -> "Market":
        """Return the market of a place: the peers there, or its index, or peers elsewhere.

        Parameters
        ----------
        place : that of the tickers which look at the market.
        universe : the bars of the tickers whose average may be the market.
        companions : the bars of indices, among others.
        """
        peers = {ticker: bars for ticker, bars in universe.items() if Place.of(ticker) == place}
        if len(peers) < FEW and place.benchmark and place.benchmark in companions:
            return cls.of({place.benchmark: companions[place.benchmark]}, place.exchange)
        if len(peers) < FEW:
            kind = place.kind
            peers = {it: bars for it, bars in universe.items() if Place.of(it).kind == kind}
        if len(peers) < 2:  # a ticker is no market of its own
            peers = {}
        return cls.of(peers, place.exchange)

    @classmethod
    def of(cls, universe: Mapping[str, Bars], exchange: str) -> "Market":
        """Return the market of a universe as it is known at the closes of an exchange.

        Parameters
        ----------
        universe : the bars of each of its tickers.
        exchange : the calendar of the tickers that look at the market. A peer's session counts at
            the first of its dates at whose close that session is over: on its own date where the
            peer closes no later, on the next otherwise.
        """
        public = [
            public_dates(bars.dates, exchanges.exchange(ticker), [exchange])
            for ticker, bars in universe.items()
        ]
        return cls._averaged(universe, public)

    @classmethod
    def _averaged(cls, universe: Mapping[str, Bars], public: Sequence[np.ndarray]) -> "Market":
        members = list(universe.values())
        if not members:
            return cls(every([]), np.empty((0, len(MARKET))))
        dates = every(public)
        rows = [_rows(dates, it) for it in public]
        belongs = _belonging(len(dates), rows, members)

        def surprises() -> Iterable[np.ndarray]:
            return map(_surprise, members)

        def mean(columns: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            its = (
                it if own is None else np.where(own, it, np.nan)
                for own, it in zip(belongs, columns, strict=True)
            )
            return _means(len(dates), zip(rows, its, strict=True))

        # Weights of one over the volatility: each ticker moves the market as much as another.
        calm, _ = mean(1 / lagged(bars.volatility) for bars in members)
        common, known = mean(surprises())  # (dates,)
        returns = common / calm
        sigma = volatility(returns)
        energy, _ = mean(it**2 for it in surprises())
        spread, _ = mean((it - common[row]) ** 2 for row, it in zip(rows, surprises(), strict=True))
        # A single ticker has no dispersion.
        spread = np.where(known > 1, spread, np.nan)
        ranges, _ = mean(log_ratio(b.range_variance, b.volatility**2) for b in members)
        features = {
            "market_return": returns / sigma,
            "market_abs_return": np.abs(returns) / sigma,
            "market_fast_volatility": log_ratio(ewma(returns**2, FAST), sigma**2),
            "market_slow_volatility": log_ratio(ewma(returns**2, SLOW), sigma**2),
            "market_surprise": np.log(energy + 0.05),
            "market_surprise_slow": np.log(ewma(energy, 0.9) + 0.05),
            "market_dispersion": log_ratio(ewma(spread, FAST), ewma(spread, SLOW)),
            "market_range": ewma(ranges, 0.5),
        }
        left_out = [
            it for it, own in zip(universe, belongs, strict=True) if own is not None and not own[-1]
        ]
        table = np.column_stack([features[name] for name in MARKET])
        return cls(dates, table, tuple(left_out))

    def on(self, dates: np.ndarray) -> np.ndarray:
        """Return the latest row known on each date: (sessions, len(MARKET)).

        NaN before the first, and where the latest is too old to say anything of today.
        """
        if not len(self.dates):
            return np.full((len(dates), len(MARKET)), np.nan)
        row = np.searchsorted(self.dates, dates, side="right") - 1
        latest = np.maximum(row, 0)
        known = (row >= 0) & (dates - self.dates[latest] <= LONGEST_CLOSURE)
        return np.where(known[:, None], self.features[latest], np.nan)


def _rows(dates: np.ndarray, public: np.ndarray) -> Rows:
    """Return where some of the dates of a market are among them."""
    begin = int(np.searchsorted(dates, public[0]))
    whole = slice(begin, begin + len(public))
    if np.array_equal(dates[whole], public):  # a ticker that trades on every day of its market
        return whole
    return np.searchsorted(dates, public).astype(np.int32)


def _surprise(bars: Bars) -> Floats:
    """Return the returns in volatilities of the day before: (sessions,), NaN where unknown."""
    return np.clip(bars.log_returns / lagged(bars.volatility), -WILDEST, WILDEST)


def _belonging(size: int, rows: Sequence[Rows], members: Sequence[Bars]) -> list[np.ndarray | None]:
    """Return whether each ticker belongs to the market at each of its sessions: (sessions,) each.

    None stands for all sessions, which nearly every ticker has: those arrays would be large together. One
    that has moved against the others, such as a fund that is short of them or their implied volatility,
    does not belong. A session is judged by those before it.
    """
    total, count = _sums(size, zip(rows, map(_surprise, members), strict=True))
    belongs: list[np.ndarray | None] = []
    for row, own in zip(rows, map(_surprise, members), strict=True):
        known = np.nan_to_num(own)
        others = count[row] - np.isfinite(own)
        rest = np.divide(total[row] - known, others, where=others > 0, out=np.zeros(len(own)))
        product = known * rest
        sums = np.cumsum(product)
        against = sums < AGAINST * np.sqrt(np.cumsum(product**2))
        belongs.append(~np.append(False, against[:-1]) if against[:-1].any() else None)
    return belongs


def _means(size: int, columns: Iterable[tuple[Rows, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the means over tickers by date, NaN where none is known, and their counts: (dates,) each."""
    total, count = _sums(size, columns)
    return np.divide(total, count, out=np.full(size, np.nan), where=count > 0), count


def _sums(size: int, columns: Iterable[tuple[Rows, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums over tickers by date, and how many values they have: (dates,) each.

    They grow a ticker at a time, from the rows of its sessions and its values there: a table of
    all dates and tickers would be large. Where two sessions of a ticker became public on one date, as
    when clocks change, the later counts.
    """
    total, count = np.zeros(size), np.zeros(size)
    for rows, values in columns:
        known = np.isfinite(values)
        if isinstance(rows, slice):
            np.add(total[rows], values, out=total[rows], where=known)
            count[rows] += known
        else:
            total[rows[known]] += values[known]
            count[rows[known]] += 1
    return total, count
