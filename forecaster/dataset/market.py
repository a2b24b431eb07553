"""The market: averages over the tickers of a universe, as known at the closes of an exchange."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from forecaster.data import exchanges
from forecaster.data.publication import public_dates
from forecaster.dataset.bars import FAST, SLOW, Bars, every, ewma, lagged, log_ratio, volatility

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


@dataclass(frozen=True, eq=False)
class Market:
    """Averages over the tickers of a universe, by date."""

    dates: np.ndarray
    """datetime64[D], every date on which a session of one of them became public: (dates,)"""
    features: np.ndarray
    """(dates, len(MARKET))"""

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
        if not universe:
            return cls(np.empty(0, "datetime64[D]"), np.empty((0, len(MARKET))))
        public = [
            public_dates(bars.dates, exchanges.exchange(ticker), [exchange])
            for ticker, bars in universe.items()
        ]
        return cls._averaged(list(universe.values()), public)

    @classmethod
    def _averaged(cls, universe: Sequence[Bars], public: Sequence[np.ndarray]) -> "Market":
        dates = every(public)
        rows = [np.searchsorted(dates, it).astype(np.int32) for it in public]

        def surprises() -> Iterable[np.ndarray]:
            return (bars.log_returns / lagged(bars.volatility) for bars in universe)

        def mean(columns: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            return _means(len(dates), zip(rows, columns, strict=True))

        returns, _ = mean(bars.log_returns for bars in universe)  # (dates,)
        sigma = volatility(returns)
        energy, _ = mean(np.minimum(it**2, 25.0) for it in surprises())
        common, known = mean(surprises())
        spread, _ = mean((it - common[row]) ** 2 for row, it in zip(rows, surprises(), strict=True))
        # A single ticker has no dispersion.
        spread = np.where(known > 1, spread, np.nan)
        ranges, _ = mean(log_ratio(b.range_variance, b.volatility**2) for b in universe)
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
        return cls(dates, np.column_stack([features[name] for name in MARKET]))

    def at(self, dates: np.ndarray) -> np.ndarray:
        """Return the latest row known on each date: (sessions, len(MARKET)), NaN before the first."""
        if not len(self.dates):
            return np.full((len(dates), len(MARKET)), np.nan)
        row = np.searchsorted(self.dates, dates, side="right") - 1
        return np.where(row[:, None] >= 0, self.features[np.maximum(row, 0)], np.nan)


def _means(
    size: int, columns: Iterable[tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the means over tickers by date, NaN where none is known, and their counts: (dates,) each.

    The sums grow a ticker at a time, from the rows of its sessions and its values there: a table of
    all dates and tickers would be large. Where two sessions of a ticker became public on one date, as
    when clocks change, the later counts.
    """
    total, count = np.zeros(size), np.zeros(size)
    for rows, values in columns:
        known = np.isfinite(values)
        total[rows[known]] += values[known]
        count[rows[known]] += 1
    return np.divide(total, count, out=np.full(size, np.nan), where=count > 0), count
