"""Tickers' histories as models see them: arrays and dates, no files and no frames.

A panel is made from prices and a universe. The universe is the tickers whose average is the
market of the features: those a model was trained on, whichever are asked for later, so that a
forecast of one ticker is the same alone and among others.

What a panel keeps of thousands of tickers is their bars. Histories are made from them when they
are asked for, and the features of a history when it is asked for them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import overload

import numpy as np
import pandas as pd

from forecaster.data import calendars, prices
from forecaster.data.calendars import next_session
from forecaster.data.publication import public_dates
from forecaster.dataset.bars import Bars, every
from forecaster.dataset.features import compute
from forecaster.dataset.market import Market
from forecaster.distributions import forecasts

GAP = np.timedelta64(14, "D")
"""No exchange closes for longer, so what comes after is not the next session but missing data."""

KEPT = 128
"""Tickers whose features are kept for a next time."""


@dataclass(frozen=True)
class History:
    """One ticker's finished sessions; each array is (sessions,) unless said."""

    ticker: str
    dates: np.ndarray
    """datetime64[D]"""
    public: np.ndarray
    """datetime64[D], the first date at whose close, on every exchange of the panel, each is over."""
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
    made: Callable[[], np.ndarray]
    """Gives the features."""

    @property
    def features(self) -> np.ndarray:
        """(sessions, features), NaN where unknown; not to be changed."""
        return self.made()

    def with_features(self, features: np.ndarray) -> "History":
        """The same history with other features."""
        return replace(self, made=partial(np.asarray, features))

    def between(self, first: np.datetime64, last: np.datetime64) -> np.ndarray:
        """Indices of the sessions from ``first`` to ``last``, both included."""
        return np.flatnonzero((self.dates >= first) & (self.dates <= last))

    def count_until(self, date: np.datetime64) -> int:
        """How many sessions there are up to ``date``, included."""
        return int(np.searchsorted(self.dates, date, side="right"))

    def count_public(self, date: np.datetime64) -> int:
        """How many sessions a forecast made at the close of ``date`` may know, on any exchange.

        What learns from all tickers at once learns from these alone: the session that New York
        closes on ``date`` is the future of Tokyo's forecast of the day after.
        """
        return int(np.searchsorted(self.public, date, side="right"))


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
    """Of whom and when forecasts are, and what came, as the forecasts frame takes it."""

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


def bars_of(frames: pd.DataFrame | Iterable[pd.DataFrame]) -> dict[str, Bars]:
    """The bars of each ticker of a prices frame, or of one frame for each."""
    return {str(it["ticker"].iloc[0]): Bars.of(it) for it in prices.by_ticker(frames)}


class Histories(Sequence[History]):
    """Histories in the order of their tickers, each made when it is asked for."""

    def __init__(
        self, bars: dict[str, Bars], markets: Mapping[str, Market], exchanges: frozenset[str]
    ) -> None:
        self._bars, self._markets, self._exchanges = bars, markets, exchanges
        self.tickers = tuple(sorted(bars))

    def __len__(self) -> int:
        return len(self.tickers)

    @overload
    def __getitem__(self, at: int) -> History: ...
    @overload
    def __getitem__(self, at: slice) -> "Histories": ...
    def __getitem__(self, at: int | slice) -> "History | Histories":
        if isinstance(at, slice):
            bars = {it: self._bars[it] for it in self.tickers[at]}
            return Histories(bars, self._markets, self._exchanges)
        ticker = self.tickers[at]
        market = self._markets[calendars.exchange(ticker)]
        return _history(ticker, self._bars[ticker], market, self._exchanges)


@dataclass(frozen=True)
class Panel:
    """The histories a model is fitted on or asked about."""

    histories: Sequence[History]
    universe: tuple[str, ...] = ()
    """The tickers whose average is the market of their features."""

    @classmethod
    def of(
        cls,
        frames: pd.DataFrame | Iterable[pd.DataFrame] | Mapping[str, Bars],
        *,
        tickers: Sequence[str] | None = None,
        universe: Sequence[str] | None = None,
    ) -> "Panel":
        """The panel of checked prices.

        Parameters
        ----------
        frames : the prices frame of the tickers and the universe, or one for each of them, which
            is read and let go; or what :func:`bars_of` made of them.
        tickers : whose histories to give; all by default.
        universe : whose average is the market; all by default. Those without prices are left out.

        Raises
        ------
        KeyError
            There are no prices of a ticker.
        """
        bars = frames if isinstance(frames, Mapping) else bars_of(frames)
        there = tuple(it for it in sorted(universe or bars) if it in bars)
        members = {it: bars[it] for it in there}
        tickers = tickers or list(bars)
        exchanges = frozenset(map(calendars.exchange, tickers))
        markets = {it: Market.of(members, it) for it in exchanges}
        return cls(Histories({it: bars[it] for it in tickers}, markets, exchanges), there)

    @property
    def tickers(self) -> tuple[str, ...]:
        """The tickers, in order."""
        return tuple(history.ticker for history in self.histories)

    @property
    def sessions(self) -> np.ndarray:
        """Every date on which any of the tickers traded, in order: datetime64[D]."""
        return every(history.dates for history in self.histories)


_features = lru_cache(maxsize=KEPT)(compute)


def _history(ticker: str, bars: Bars, market: Market, exchanges: frozenset[str]) -> History:
    gap = np.append(np.diff(bars.dates) > GAP, True)
    next_dates = np.append(bars.dates[1:], bars.dates[-1:])
    next_dates[gap] = [_next(ticker, date) for date in bars.dates[gap]]
    return History(
        ticker=ticker,
        dates=bars.dates,
        public=public_dates(bars.dates, calendars.exchange(ticker), exchanges),
        next_dates=next_dates,
        close=bars.close,
        log_returns=bars.log_returns,
        next_returns=np.where(gap, np.nan, np.append(bars.log_returns[1:], np.nan)),
        volatility=bars.volatility,
        variance=np.where(np.isfinite(bars.variance), bars.variance, bars.log_returns**2),
        made=partial(_features, bars, market),
    )


def _next(ticker: str, date: np.datetime64) -> np.datetime64:
    return next_session(ticker, pd.Timestamp(date)).to_datetime64().astype("datetime64[D]")
