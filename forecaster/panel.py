"""Tickers' histories as models see them: arrays and dates, no files and no frames.

A panel is made from prices and a universe. The universe is the tickers whose average is the
market of the features: those a model was trained on, whichever are asked for later, so that a
forecast of one ticker is the same alone and among others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecaster import forecasts
from forecaster.calendars import next_session
from forecaster.features import Bars, Market, compute

GAP = np.timedelta64(14, "D")
"""No exchange closes for longer, so what comes after is not the next session but missing data."""


@dataclass(frozen=True)
class History:
    """One ticker's finished sessions; each array is (sessions,) unless said."""

    ticker: str
    dates: np.ndarray
    """datetime64[D]"""
    next_dates: np.ndarray
    """datetime64[D], the session after each; after the last, and before a gap in the history of more
    than ``GAP``, the exchange's calendar says."""
    close: np.ndarray
    """In the instrument's currency."""
    log_returns: np.ndarray
    """From the session before, a fraction; NaN at the first."""
    next_returns: np.ndarray
    """To the session after, a fraction; NaN at the last and before a gap."""
    volatility: np.ndarray
    """EWMA volatility a day known at each close, a fraction."""
    variance: np.ndarray
    """What the session's range says of its variance, the squared return where there is no range;
    NaN at the first."""
    features: np.ndarray
    """(sessions, features), NaN where unknown."""

    def between(self, first: np.datetime64, last: np.datetime64) -> np.ndarray:
        """Indices of the sessions from ``first`` to ``last``, both included."""
        return np.flatnonzero((self.dates >= first) & (self.dates <= last))

    def count_until(self, date: np.datetime64) -> int:
        """How many sessions there are up to ``date``, included."""
        return int(np.searchsorted(self.dates, date, side="right"))


@dataclass(frozen=True)
class Spread:
    """Student-t forecasts of one ticker, made at the closes of some sessions; (len(index),) each."""

    history: History
    index: np.ndarray
    """Indices of the sessions"""
    location: np.ndarray
    """Of the next session's log return, a fraction"""
    scale: np.ndarray
    df: np.ndarray


@dataclass(frozen=True)
class Fan:
    """Forecasts of one ticker known by their quantiles, made at the closes of some sessions."""

    history: History
    index: np.ndarray
    """Indices of the sessions"""
    quantiles: np.ndarray
    """Of the next session's log return, a fraction: (len(index), 23)"""


def forecasts_of(model: str, spreads: Sequence[Spread]) -> pd.DataFrame:
    """The forecasts frame of a model's Student-t forecasts."""
    if not spreads:
        return forecasts.empty()
    return forecasts.from_student(
        model=model,
        location=np.concatenate([s.location for s in spreads]),
        scale=np.concatenate([s.scale for s in spreads]),
        df=np.concatenate([s.df for s in spreads]),
        **_placed(spreads),
    )


def quantile_forecasts_of(model: str, fans: Sequence[Fan]) -> pd.DataFrame:
    """The forecasts frame of a model's forecasts by quantiles."""
    if not fans:
        return forecasts.empty()
    quantiles = np.concatenate([fan.quantiles for fan in fans])
    return forecasts.from_quantiles(model=model, quantiles=quantiles, **_placed(fans))


def _placed(made: Sequence[Spread] | Sequence[Fan]) -> dict[str, np.ndarray]:
    """Of whom and when forecasts are, and what came, as :mod:`forecaster.forecasts` takes it."""

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(it.history, name)[it.index] for it in made])

    tickers = np.array([it.history.ticker for it in made], dtype=object)
    return {
        "ticker": np.repeat(tickers, [len(it.index) for it in made]),
        "cutoff": joined("dates"),
        "date": joined("next_dates"),
        "last_close": joined("close"),
        "log_return": joined("next_returns"),
    }


@dataclass(frozen=True)
class Panel:
    """The histories a model is fitted on or asked about."""

    histories: tuple[History, ...]

    @classmethod
    def of(
        cls,
        prices: pd.DataFrame,
        *,
        tickers: Sequence[str] | None = None,
        universe: Sequence[str] | None = None,
    ) -> "Panel":
        """The panel of a checked prices frame.

        Parameters
        ----------
        prices : the prices frame, of the tickers and the universe.
        tickers : whose histories to give; all by default.
        universe : whose average is the market; all by default.
        """
        bars = {str(t): Bars.of(group) for t, group in prices.groupby("ticker", sort=True)}
        close = {str(t): group.to_numpy() for t, group in prices.groupby("ticker")["close"]}
        market = Market.of([bars[t] for t in sorted(universe or bars)])
        return cls(tuple(_history(t, bars[t], close[t], market) for t in sorted(tickers or bars)))

    @property
    def tickers(self) -> tuple[str, ...]:
        """The tickers, in order."""
        return tuple(history.ticker for history in self.histories)

    @property
    def sessions(self) -> np.ndarray:
        """Every date on which any of the tickers traded, in order: datetime64[D]."""
        return np.unique(np.concatenate([history.dates for history in self.histories]))


def _history(ticker: str, bars: Bars, close: np.ndarray, market: Market) -> History:
    gap = np.append(np.diff(bars.dates) > GAP, True)
    next_dates = np.append(bars.dates[1:], bars.dates[-1:])
    next_dates[gap] = [_next(ticker, date) for date in bars.dates[gap]]
    return History(
        ticker=ticker,
        dates=bars.dates,
        next_dates=next_dates,
        close=close,
        log_returns=bars.log_returns,
        next_returns=np.where(gap, np.nan, np.append(bars.log_returns[1:], np.nan)),
        volatility=bars.volatility,
        variance=np.where(np.isfinite(bars.variance), bars.variance, bars.log_returns**2),
        features=compute(bars, market),
    )


def _next(ticker: str, date: np.datetime64) -> np.datetime64:
    return next_session(ticker, pd.Timestamp(date)).to_datetime64().astype("datetime64[D]")
