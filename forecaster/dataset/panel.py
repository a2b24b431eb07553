"""The panel of tickers' histories, as models read them: arrays and dates, no files and no frames.

A panel is made from prices and a universe. The universe is the tickers whose average is the market
of the features: those that a model was trained on, whichever it forecasts later, so that a forecast
of one ticker is the same alone and among others.

A panel of thousands of tickers holds their bars. It makes a history from them on each access, and a
history computes its features on demand.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, NamedTuple, overload

import numpy as np
import pandas as pd

from forecaster.data import calendars, exchanges, prices
from forecaster.data.calendars import LONGEST_CLOSURE
from forecaster.data.companions import implied_index
from forecaster.data.publication import public_dates
from forecaster.dataset.announcements import (
    Announcements,
    NextEvent,
    Schedule,
    Typical,
    announcements_of,
    next_event,
    schedules_of,
    typical_of,
)
from forecaster.dataset.bars import Bars, Floats, every
from forecaster.dataset.features import compute
from forecaster.dataset.implied import Implied
from forecaster.dataset.market import Market, Place
from forecaster.distributions import forecasts, horizons

CACHED_TICKERS = 128
"""Tickers whose features stay in memory for the next request."""


@dataclass(frozen=True, eq=False)
class Past:
    """One ticker's sessions up to a close: all that a fit on its own history may read.

    Every array is (sessions,).
    """

    ticker: str
    bars: Bars
    announcements: Announcements | None = field(default=None, kw_only=True)
    """What its scheduled announcements mean; None if none is known."""
    schedule: Schedule | None = field(default=None, kw_only=True)
    """The announcements themselves."""

    @property
    def dates(self) -> np.ndarray:
        """Dates of the sessions: datetime64[D]."""
        return self.bars.dates

    @property
    def log_returns(self) -> Floats:
        """Log return from the session before, a fraction; NaN at the first."""
        return self.bars.log_returns

    @property
    def next_returns(self) -> Floats:
        """Log return to the session after, a fraction; NaN at the last and before a gap."""
        return np.where(self.gaps, np.nan, np.append(self.log_returns[1:], np.nan))

    def ahead(self, step: int) -> Floats:
        """Return the log return over the next ``step`` sessions, a fraction: (sessions,).

        NaN at the last sessions and before a gap, where it is not known.
        """
        return prices.sums_ahead(self.next_returns, step)

    def behind(self, step: int) -> Floats:
        """Return the log return over the last ``step`` sessions, a fraction; NaN at the first ones."""
        before = np.append(np.full(step - 1, np.nan), self.log_returns)
        total: Floats = np.lib.stride_tricks.sliding_window_view(before, step).sum(axis=1)
        return total

    def clock(self, step: int) -> Floats:
        """Return the variance expected of the next ``step`` sessions, in ordinary ones: (sessions,).

        It is the step but where an announcement may be due.
        """
        known = self.announcements
        return np.full(len(self.dates), float(step)) if known is None else known.clock(step)

    @property
    def volatility(self) -> Floats:
        """EWMA volatility a day known at each close, a fraction."""
        return self.bars.volatility

    @property
    def scale(self) -> Floats:
        """The EWMA volatility, times what is expected of a reaction if the next session may be one."""
        known = self.announcements
        return self.volatility * known.inflation if known else self.volatility

    @property
    def variance(self) -> Floats:
        """Variance of each session by its range, or its squared return where there is no range."""
        variance = self.bars.variance
        return np.where(np.isfinite(variance), variance, self.log_returns**2)

    @property
    def gaps(self) -> np.ndarray:
        """Whether the session after each is unknown: at the last and before missing data."""
        return np.append(np.diff(self.dates) > LONGEST_CLOSURE, True)

    def next_event(self, session: int) -> NextEvent | None:
        """Return the next announcement that is known at the close of a session."""
        if self.schedule is None or self.announcements is None:
            return None
        return next_event(self.ticker, self.bars, self.schedule, self.announcements, session)

    def between(self, first: np.datetime64, last: np.datetime64) -> np.ndarray:
        """Return the indices of the sessions from ``first`` to ``last``, both included."""
        return np.flatnonzero((self.dates >= first) & (self.dates <= last))

    def count_until(self, date: np.datetime64) -> int:
        """Return the number of sessions up to ``date``, included."""
        return int(np.searchsorted(self.dates, date, side="right"))

    def until(self, date: np.datetime64) -> "Past":
        """Return the past as it was known at the close of ``date``."""
        count, known = self.count_until(date), self.announcements
        return Past(
            self.ticker,
            self.bars.first(count),
            announcements=known.first_sessions(count) if known else None,
            schedule=self.schedule,
        )


@dataclass(frozen=True, eq=False)
class History(Past):
    """One ticker's finished sessions, the session after each, and the features of models."""

    public: np.ndarray
    """(sessions,), datetime64[D]: the first date at whose close, on every exchange of the panel, each
    session is over"""
    next_dates: np.ndarray
    """(sessions,), datetime64[D]: the session after each; at the ``gaps``, the next of the exchange's
    calendar"""
    compute_features: Callable[[int], np.ndarray]
    """From the first session that they are wanted of"""
    implied: Implied | None = field(default=None, kw_only=True)
    """The implied volatility that fits it; None if none is known."""
    followed: dict[np.datetime64, np.ndarray] = field(default_factory=dict, kw_only=True)
    """The sessions after some days, where they were asked for."""

    def dates_ahead(self, step: int) -> np.ndarray:
        """Return the session that is ``step`` after each: (sessions,), datetime64[D].

        Beyond the ``gaps`` the sessions are those of the exchange's calendar.
        """
        if step == 1:
            return self.next_dates
        rows, ends = np.arange(len(self.dates)), np.flatnonzero(self.gaps)
        end = ends[np.searchsorted(ends, rows)]  # the last session before the next gap
        beyond = rows + step - end
        dates = self.dates[np.minimum(rows + step, end)]
        for last in np.unique(end[beyond > 0]):
            its = (end == last) & (beyond > 0)
            dates[its] = self._following(self.dates[last])[beyond[its] - 1]
        return dates

    def _following(self, day: np.datetime64) -> np.ndarray:
        """Return the sessions of the exchange's calendar after a day: (horizons.MOST,), datetime64[D]."""
        if day not in self.followed:
            sessions = calendars.next_sessions(
                self.ticker, pd.Timestamp(day), horizons.MOST, self.dates
            )
            self.followed[day] = np.array([it.date for it in sessions], "datetime64[D]")
        return self.followed[day]

    @property
    def features(self) -> np.ndarray:
        """(sessions, features), NaN where unknown; not to be changed."""
        return self.compute_features(0)

    def count_public(self, date: np.datetime64) -> int:
        """Return the number of sessions that are over at the close of ``date`` on every exchange.

        A model of all tickers learns from these alone: the session that New York closes on ``date``
        is the future of Tokyo's forecast of the day after.
        """
        return int(np.searchsorted(self.public, date, side="right"))

    def since(self, first: int) -> "History":
        """Return the history without its first sessions, whose features stay as they are."""
        if not first:
            return self
        known = self.announcements
        return replace(
            self,
            bars=self.bars.since(first),
            announcements=known.since_session(first) if known else None,
            public=self.public[first:],
            next_dates=self.next_dates[first:],
            compute_features=lambda at: self.compute_features(first + at),
        )

    def with_features(self, features: np.ndarray) -> "History":
        """Return the same history with other features."""
        return replace(self, compute_features=lambda first: features[first:])


class StudentT(NamedTuple):
    """Two-piece Student-t distributions of a log return to come, one for each session.

    Location and scale are fractions. Each is (sessions,), or one number for all.
    """

    location: np.ndarray | float
    scale: np.ndarray | float
    df: np.ndarray | float
    skew: np.ndarray | float = 0.0


Quantiles = np.ndarray
"""Quantiles of a log return to come, a fraction: (sessions, levels)."""

Distributions = Mapping[int, StudentT | Quantiles]
"""Of the return over the next sessions, by their number: the knots of
:mod:`forecaster.distributions.horizons` from 1 to the largest that is asked for."""


@dataclass(frozen=True)
class TickerForecasts:
    """Forecasts of one ticker, made at the closes of some of its sessions."""

    history: History
    index: np.ndarray
    """Indices of the sessions: (cutoffs,)"""
    distributions: Distributions
    """Of the returns after each of them"""


def forecasts_of(
    model: str,
    parts: Sequence[TickerForecasts],
    steps: Sequence[int] = (1,),
    *,
    scheduled: bool = False,
) -> pd.DataFrame:
    """Return the forecasts frame of a model's forecasts.

    Parameters
    ----------
    parts : of each ticker; the distributions of a step are all of one kind.
    steps : of the frame.
    scheduled : whether the model knows of announcements, which widen the steps that they fall in.
    """
    if not parts:
        return forecasts.empty()
    known = {knot: _of_knot(model, parts, knot) for knot in horizons.knots(steps)}
    if len(known) > 1:
        known = dict(zip(known, horizons.rising(list(known.values())), strict=True))
    frames = [
        known[step] if step in known else _between(parts, known, step, scheduled=scheduled)
        for step in steps
    ]
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def _of_knot(model: str, parts: Sequence[TickerForecasts], step: int) -> pd.DataFrame:
    """Return the forecasts of a step that is a knot."""
    tickers = np.array([part.history.ticker for part in parts], dtype=object)
    rows: dict[str, Any] = {
        "model": model,
        "ticker": np.repeat(tickers, [len(part.index) for part in parts]),
        "cutoff": np.concatenate([part.history.dates[part.index] for part in parts]),
        "last_close": np.concatenate([part.history.bars.close[part.index] for part in parts]),
        "step": step,
        **_ahead(parts, step),
    }
    if isinstance(parts[0].distributions[step], StudentT):
        full = [np.broadcast_arrays(*it.distributions[step], it.index)[:-1] for it in parts]
        columns = (np.concatenate(column) for column in zip(*full, strict=True))
        parameters = dict(zip(forecasts.PARAMETERS, columns, strict=True))
        return forecasts.from_student_t(**parameters, **rows)
    quantiles = np.concatenate([np.asarray(part.distributions[step]) for part in parts])
    return forecasts.from_quantiles(quantiles=quantiles, **rows)


def _between(
    parts: Sequence[TickerForecasts],
    known: Mapping[int, pd.DataFrame],
    step: int,
    *,
    scheduled: bool,
) -> pd.DataFrame:
    """Return the forecasts of a step between two knots."""
    before, after = horizons.around(step)

    def clock(of: int) -> Floats:
        if not scheduled:
            return np.full(len(known[before]), float(of))
        return np.concatenate([part.history.clock(of)[part.index] for part in parts])

    share = (clock(step) - clock(before)) / (clock(after) - clock(before))
    frame = horizons.between(known[before], known[after], share)
    return forecasts.check(frame.assign(step=step, **_ahead(parts, step)))


def _ahead(parts: Sequence[TickerForecasts], step: int) -> dict[str, np.ndarray]:
    """Return the date and the log return of a step."""
    return {
        "date": np.concatenate([part.history.dates_ahead(step)[part.index] for part in parts]),
        "log_return": np.concatenate([part.history.ahead(step)[part.index] for part in parts]),
    }


def bars_of(frames: pd.DataFrame | Iterable[pd.DataFrame]) -> dict[str, Bars]:
    """Return the bars of each ticker of a prices frame, or of one frame for each."""
    return {str(it["ticker"].iloc[0]): Bars.of(it) for it in prices.by_ticker(frames)}


class Histories(Sequence[History]):
    """Histories in the order of their tickers, each made on access."""

    def __init__(self, bars: dict[str, Bars], surroundings: Mapping[Place, "Surroundings"]) -> None:
        self._bars, self._surroundings = bars, surroundings
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
            return Histories(bars, self._surroundings)
        ticker = self.tickers[at]
        surroundings = self._surroundings[Place.of(ticker)]
        return _history(ticker, self._bars[ticker], surroundings)


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What the tickers of a kind on an exchange share."""

    observers: frozenset[str]
    """The exchanges of all tickers that forecasts are made for."""
    market: Market
    schedules: Mapping[str, Schedule]
    """Of the tickers, whatever their exchange, that have announcements."""
    typical: Typical
    implied: Mapping[str, Implied]
    """The indices of implied volatility that fit them, by name."""


@dataclass(frozen=True)
class Panel:
    """The histories that a model is fitted on or forecasts."""

    histories: Sequence[History]
    universe: tuple[str, ...] = ()
    """The tickers whose average may be the market of their features."""
    left_out: tuple[str, ...] = ()
    """Those of them that move against the others, and are in no market."""

    @classmethod
    def of(
        cls,
        frames: pd.DataFrame | Iterable[pd.DataFrame] | Mapping[str, Bars],
        *,
        tickers: Sequence[str] | None = None,
        universe: Sequence[str] | None = None,
        events: pd.DataFrame | None = None,
        companions: pd.DataFrame | Mapping[str, Bars] | None = None,
    ) -> "Panel":
        """Return the panel of checked prices.

        Parameters
        ----------
        frames : the prices frame of the tickers and the universe, or one for each of them, none of
            which stays in memory; or the result of :func:`bars_of`.
        tickers : of the histories; all by default.
        universe : the tickers whose average may be the market; all by default. Those without prices
            are left out. See :meth:`forecaster.dataset.market.Market.at`.
        events : the events frame of any tickers.
        companions : the prices frame, or the bars, of the indices that the tickers are seen beside
            (:mod:`forecaster.data.companions`); those among ``frames`` serve too.

        Raises
        ------
        KeyError
            There are no prices of a ticker.
        """
        bars = _bars(frames)
        beside = {**bars, **(_bars(companions) if companions is not None else {})}
        known = tuple(it for it in sorted(bars if universe is None else universe) if it in bars)
        members = {it: bars[it] for it in known}
        tickers = tickers or list(bars)
        observers = frozenset(map(exchanges.exchange, tickers))
        schedules = schedules_of(events)
        typical = typical_of(members, schedules, observers)
        surroundings = {
            place: Surroundings(
                observers,
                Market.at(place, members, beside),
                schedules,
                typical[place.exchange],
                _implied(place, tickers, beside),
            )
            for place in {Place.of(it) for it in tickers}
        }
        left_out = sorted({it for its in surroundings.values() for it in its.market.left_out})
        histories = Histories({it: bars[it] for it in tickers}, surroundings)
        return cls(histories, known, tuple(left_out))

    @property
    def tickers(self) -> tuple[str, ...]:
        """Tickers, in order."""
        return tuple(history.ticker for history in self.histories)

    @property
    def sessions(self) -> np.ndarray:
        """Every date on which any of the tickers traded, in order: datetime64[D]."""
        return every(history.dates for history in self.histories)


def _bars(prices: pd.DataFrame | Iterable[pd.DataFrame] | Mapping[str, Bars]) -> Mapping[str, Bars]:
    return prices if isinstance(prices, Mapping) else bars_of(prices)


def _implied(
    place: Place, tickers: Sequence[str], beside: Mapping[str, Bars]
) -> dict[str, Implied]:
    """Return the indices of implied volatility of the tickers of a place, as known at its closes."""
    names = {implied_index(it, beside) for it in tickers if Place.of(it) == place}
    return {it: Implied.of(it, beside[it], place.exchange) for it in names if it is not None}


_features = lru_cache(maxsize=CACHED_TICKERS)(compute)


def _history(ticker: str, bars: Bars, surroundings: Surroundings) -> History:
    public = public_dates(bars.dates, exchanges.exchange(ticker), surroundings.observers)
    next_dates = np.append(bars.dates[1:], bars.dates[-1:])
    known, schedule = None, surroundings.schedules.get(ticker)
    if schedule:
        known, _ = announcements_of(ticker, bars, schedule, surroundings.typical)
    implied = surroundings.implied.get(implied_index(ticker, surroundings.implied) or "")
    features = partial(_features, bars, surroundings.market, known, implied)
    history = History(
        ticker,
        bars,
        public,
        next_dates,
        features,
        announcements=known,
        schedule=schedule,
        implied=implied,
    )
    unknown = history.gaps
    next_dates[unknown] = [
        calendars.next_session(ticker, date, bars.dates).date for date in bars.dates[unknown]
    ]
    return history
