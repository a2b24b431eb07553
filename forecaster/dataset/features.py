"""Features of a session: what a model knows at its close.

Every feature is a ratio or a share, free of the ticker's price, currency and level of volatility, so
that one model serves all tickers. Row *t* depends on sessions up to *t* alone: each average is a
recursion that runs forward in time, and the market's features at a date are averages over the
tickers that traded on it. A feature that the data lack (no open, high and low, or no volume) is NaN,
which a model's scaler replaces by the mean of its training span.
"""

from itertools import chain

import numpy as np
import pandas as pd

from forecaster import config
from forecaster.dataset.announcements import TYPICAL_SIZE, Announcements
from forecaster.dataset.bars import (
    DECAY,
    FAST,
    SLOW,
    SLOWEST,
    Bars,
    Floats,
    ewma,
    lagged,
    log_ratio,
)
from forecaster.dataset.implied import IMPLIED, Implied
from forecaster.dataset.market import MARKET, Market

OUTLIER, OUTLIER_MEMORY = 3.0, 130
"""An outlier is a move of more volatilities than this; its age counts up to this many sessions."""

QUARTER, HALF_YEAR, YEAR = 63, 126, 252
"""Sessions from one announcement of earnings to another, give or take two."""

CLOSE = (
    "return",
    "abs_return",
    "log_abs_return",
    "fast_volatility",
    "slow_volatility",
    "slowest_volatility",
    "mean_abs_fast",
    "mean_abs_slow",
    "downside_share",
    "trend",
    "since_outlier",
    "quarter_ago",
    "half_year_ago",
    "year_ago",
)
RANGE = (
    "range_today",
    "range_fast",
    "range_slow",
    "parkinson",
    "overnight",
    "overnight_share",
    "close_in_range",
)
VOLUME = ("volume_surprise",)
CALENDAR = ("days_since_session", "monday", "tuesday", "wednesday", "thursday", "friday")
EVENTS = (
    "reaction_chance",
    "reaction_size",
    "reaction_today",
    "after_reaction",
    "last_reaction",
)
FEATURES = CLOSE + RANGE + VOLUME + CALENDAR + MARKET + EVENTS + IMPLIED
GROUPS = dict(zip(config.GROUPS, (RANGE, VOLUME, CALENDAR, MARKET, EVENTS, IMPLIED), strict=True))
"""Features that can be left out: all but those of the closes."""


def chosen(groups: str) -> tuple[str, ...]:
    """Return the features of the closes and of a comma-separated list of groups, in order."""
    names = config.listed(groups)
    return CLOSE + tuple(it for group, its in GROUPS.items() if group in names for it in its)


def realised_variance(prices: pd.DataFrame) -> pd.DataFrame:
    """Return :attr:`Bars.variance` of every session of a prices frame: ticker, date, variance."""
    tables = []
    for ticker, group in prices.groupby("ticker", sort=False):
        bars = Bars.of(group)
        tables.append(group[["date"]].assign(ticker=ticker, variance=bars.variance))
    return pd.concat(tables, ignore_index=True)


def compute(
    bars: Bars,
    market: Market,
    announcements: Announcements | None = None,
    implied: Implied | None = None,
    first: int = 0,
) -> np.ndarray:
    """Return the features of one ticker: (sessions - first, len(FEATURES)), float32, NaN where unknown.

    Parameters
    ----------
    bars, announcements : of all its sessions, as averages reach back to the beginning.
    first : the session that the features begin with; they are the same as those of all sessions.
    """
    own = _own(bars, first)
    sessions = len(bars.dates) - first
    expected = implied.at(bars, first) if implied else np.full((sessions, len(IMPLIED)), np.nan)
    table = np.empty((sessions, len(FEATURES)), np.float32)
    columns = [own[name] for name in CLOSE + RANGE + VOLUME + CALENDAR]
    groups = (market.on(bars.dates[first:]), _scheduled(announcements, sessions), expected)
    for at, column in enumerate(chain(columns, *(group.T for group in groups))):
        table[:, at] = column
    return table


def _own(bars: Bars, first: int) -> dict[str, Floats]:
    """Return the features of a ticker's own prices, from a session on: (sessions - first,) each."""
    averages = _averages(bars, first)
    surprise = np.abs(bars.log_returns) / lagged(bars.volatility)
    around = _around(surprise)
    since_outlier = _sessions_since(surprise > OUTLIER)[first:]
    gap = np.diff(bars.dates, prepend=bars.dates[:1])[first:].astype(float)
    bars = bars.since(first)
    r, sigma, variance = bars.log_returns, bars.volatility, bars.volatility**2
    weekday = (bars.dates.astype(int) + 3) % 7  # 1970-01-01 was a Thursday
    own = {
        "return": r / sigma,
        "abs_return": np.abs(r) / sigma,
        "log_abs_return": np.log(np.abs(r) / sigma + 0.05),
        "fast_volatility": log_ratio(averages["fast"], variance),
        "slow_volatility": log_ratio(averages["slow"], variance),
        "slowest_volatility": log_ratio(averages["slowest"], variance),
        "mean_abs_fast": _log_share(averages["abs_fast"], sigma),
        "mean_abs_slow": _log_share(averages["abs_slow"], sigma),
        "downside_share": averages["downside"] / variance - 0.5,
        "trend": averages["trend"] / sigma,
        "since_outlier": since_outlier / OUTLIER_MEMORY,
        "quarter_ago": _echo(around, QUARTER)[first:],
        "half_year_ago": _echo(around, HALF_YEAR)[first:],
        "year_ago": _echo(around, YEAR)[first:],
        "range_today": log_ratio(bars.range_variance, variance),
        "range_fast": log_ratio(averages["range_fast"], variance),
        "range_slow": log_ratio(averages["range_slow"], variance),
        "parkinson": log_ratio(averages["parkinson"], variance),
        "overnight": bars.overnight / sigma,
        "overnight_share": log_ratio(averages["overnight"], variance),
        "close_in_range": bars.close_in_range,
        "volume_surprise": np.log(_traded(bars) / averages["volume"]),
        "days_since_session": np.log1p(np.maximum(gap - 1, 0)),
    }
    return own | {name: (weekday == day).astype(float) for day, name in enumerate(CALENDAR[1:])}


def _averages(bars: Bars, first: int) -> dict[str, Floats]:
    """Return the averages over all sessions up to each from ``first`` on: (sessions - first,) each."""
    r, traded = bars.log_returns, _traded(bars)
    squares, sizes = r**2, np.abs(r)
    series = {
        "fast": (squares, FAST),
        "slow": (squares, SLOW),
        "slowest": (squares, SLOWEST),
        "abs_fast": (sizes, 0.9),
        "abs_slow": (sizes, 0.98),
        "downside": (np.where(r < 0, squares, 0 * r), DECAY),
        "trend": (r, DECAY),
        "range_fast": (bars.range_variance, FAST),
        "range_slow": (bars.range_variance, DECAY),
        "parkinson": (bars.parkinson, DECAY),
        "overnight": (bars.overnight**2, DECAY),
        "volume": (traded, DECAY),
    }
    return {name: ewma(values, decay)[first:] for name, (values, decay) in series.items()}


def _traded(bars: Bars) -> Floats:
    """Return the volume of each session, NaN where it is unknown or there was none."""
    return np.where(bars.volume > 0, bars.volume, np.nan)


def _scheduled(known: Announcements | None, sessions: int) -> Floats:
    """Return the features of the last sessions of a ticker's announcements, NaN before the first.

    Returns
    -------
    (sessions, len(EVENTS))
    """
    if known is None:
        return np.full((sessions, len(EVENTS)), np.nan)
    # Before the first announcement in sight, nothing says that the ticker will ever have one.
    seen = np.maximum.accumulate(np.isfinite(known.until) | np.isfinite(known.since))
    first = len(seen) - sessions
    known = known.since_session(first)
    since = np.nan_to_num(known.since, nan=np.inf)
    features = {
        "reaction_chance": known.chance,
        "reaction_size": np.log(known.size / TYPICAL_SIZE),
        "reaction_today": known.weight,
        "after_reaction": np.exp(-since / 3),
        "last_reaction": np.log1p(np.nan_to_num(known.last)) * np.exp(-since / 10),
    }
    table = np.column_stack([features[name] for name in EVENTS])
    table[~seen[first:]] = np.nan
    return table


def _sessions_since(event: np.ndarray) -> Floats:
    """Return the sessions since the last event, ``OUTLIER_MEMORY`` at most and where there was none."""
    now = np.arange(len(event))
    last = np.maximum.accumulate(np.where(event, now, -OUTLIER_MEMORY))
    return np.minimum(now - last, OUTLIER_MEMORY).astype(float)


def _around(surprise: Floats) -> Floats:
    """Return the largest surprise of each session and the four before it."""
    bounded = np.minimum(surprise, 6.0)
    largest = bounded.copy()
    for lag in range(1, min(5, len(bounded))):
        np.fmax(largest[lag:], bounded[:-lag], out=largest[lag:])
    return largest


def _echo(around: Floats, lag: int) -> Floats:
    """Return the largest surprise within two sessions of ``lag`` sessions before the next one."""
    return np.append(np.full(lag - 3, np.nan), around)[: len(around)]


def _log_share(value: Floats, base: Floats) -> Floats:
    return np.log(np.maximum(value / base, 1e-3))
