"""What a model sees of a history at the close of each session: ratios, so that one model serves all.

Every feature is a ratio or a share, free of the ticker's price, currency and level of volatility.
Row *t* is computed from sessions up to *t* alone: each average is a recursion that runs forward
in time, and the market's features at a date are averages over the tickers that traded on it.
A feature that the data cannot give (no open, high and low, or no volume) is NaN, which the scaler
of a model turns into the mean of what it was fitted on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecaster import config
from forecaster.data.prices import log_returns

DECAY = 0.94
"""The decay of the volatility that every feature and forecast is measured against (RiskMetrics)."""

FAST, SLOW, SLOWEST = 0.75, 0.985, 0.997

OUTLIER, OUTLIER_MEMORY = 3.0, 130
"""A move of so many volatilities is an outlier; how long ago it was counts up to so many sessions."""

QUARTER, HALF_YEAR, YEAR = 63, 126, 252
"""Sessions after which earnings are told again, give or take two."""

FLOOR = 1e-5
"""The least daily volatility: a tenth of a basis point, for prices that do not move at all."""

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
FEATURES = CLOSE + RANGE + VOLUME + CALENDAR + MARKET
GROUPS = dict(zip(config.GROUPS, (RANGE, VOLUME, CALENDAR, MARKET), strict=True))
"""What can be left out: all but what the closes say."""


def chosen(groups: str) -> tuple[str, ...]:
    """The features of the closes and of some groups, a comma-separated list, in order."""
    names = config.listed(groups)
    return CLOSE + tuple(it for group, its in GROUPS.items() if group in names for it in its)


def ewma(values: np.ndarray, decay: float) -> np.ndarray:
    """Exponentially weighted mean up to and including each session.

    Parameters
    ----------
    values : (sessions,) or (sessions, series). NaN counts for nothing.
    decay : weight of the past, between 0 and 1.

    Returns
    -------
    The shape of ``values``; NaN before the first value.

    Notes
    -----
    ``sum_k decay**k x[t-k] / sum_k decay**k`` over the values that are there, the bias-corrected
    form of the RiskMetrics recursion (J.P. Morgan, 1996).
    """
    averages = pd.DataFrame(values).ewm(alpha=1 - decay, adjust=True).mean().to_numpy()
    return averages.reshape(np.shape(values))


def volatility(returns: np.ndarray, decay: float = DECAY) -> np.ndarray:
    """EWMA volatility (a fraction a day) known at the close of each session: (sessions,)."""
    return np.maximum(np.sqrt(ewma(returns**2, decay)), FLOOR)


@dataclass(frozen=True, eq=False)
class Bars:
    """One ticker's sessions in the quantities that features are made of, each (sessions,)."""

    dates: np.ndarray
    """datetime64[D]"""
    close: np.ndarray
    """In the instrument's currency."""
    log_returns: np.ndarray
    """Close to close, dividends and splits in; NaN at the first session."""
    volatility: np.ndarray
    """EWMA volatility at ``DECAY``: what everything is measured against."""
    range_variance: np.ndarray
    """Garman & Klass (1980) estimate of the session's variance, NaN without open, high, low."""
    parkinson: np.ndarray
    """Parkinson (1980) estimate of the session's variance, NaN without high and low."""
    overnight: np.ndarray
    """Log return from the last close to the open, NaN without an open."""
    close_in_range: np.ndarray
    """Where the close lies in the session's range: -1 at the low, 1 at the high."""
    volume: np.ndarray

    @property
    def variance(self) -> np.ndarray:
        """Squared overnight return plus ``range_variance``: of the whole day, NaN if not known."""
        return self.overnight**2 + self.range_variance

    @classmethod
    def of(cls, prices: pd.DataFrame) -> "Bars":
        """Bars of the prices frame of a single ticker."""
        dates = prices["date"].to_numpy().astype("datetime64[D]")
        open_, high, low, close, volume = (
            prices[name].to_numpy(dtype=float)
            for name in ("open", "high", "low", "close", "volume")
        )
        returns = log_returns(prices["adj_close"].to_numpy(dtype=float))
        span = np.log(high / low)
        # From open to close no split or dividend intervenes, so what is left of the adjusted
        # return is the overnight move, whatever basis the open is quoted on.
        intraday = np.log(close / open_)
        garman_klass = 0.5 * span**2 - (2 * np.log(2) - 1) * intraday**2
        with np.errstate(invalid="ignore", divide="ignore"):
            location = (2 * close - high - low) / (high - low)
        return cls(
            dates=dates,
            close=close,
            log_returns=returns,
            volatility=volatility(returns),
            range_variance=np.maximum(garman_klass, 0.0),
            parkinson=span**2 / (4 * np.log(2)),
            overnight=returns - intraday,
            close_in_range=np.where(
                np.isfinite(location), location, np.where(np.isnan(high), np.nan, 0.0)
            ),
            volume=volume,
        )


@dataclass(frozen=True, eq=False)
class Market:
    """What the tickers of a universe did together, by date."""

    dates: np.ndarray
    """datetime64[D], every date on which one of them traded: (dates,)"""
    features: np.ndarray
    """(dates, len(MARKET))"""

    @classmethod
    def of(cls, universe: Sequence[Bars]) -> "Market":
        """The market made of a universe's bars; a date's row uses that date's sessions and before."""
        dates = every(bars.dates for bars in universe)
        rows = [np.searchsorted(dates, bars.dates).astype(np.int32) for bars in universe]

        def surprises() -> Iterable[np.ndarray]:
            return (bars.log_returns / _lagged(bars.volatility) for bars in universe)

        def mean(columns: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            return _means(len(dates), zip(rows, columns, strict=True))

        returns, _ = mean(bars.log_returns for bars in universe)  # (dates,)
        sigma = volatility(returns)
        energy, _ = mean(np.minimum(it**2, 25.0) for it in surprises())
        common, known = mean(surprises())
        spread, _ = mean((it - common[row]) ** 2 for row, it in zip(rows, surprises(), strict=True))
        # A single ticker has no dispersion.
        spread = np.where(known > 1, spread, np.nan)
        ranges, _ = mean(_log_ratio(b.range_variance, b.volatility**2) for b in universe)
        features = {
            "market_return": returns / sigma,
            "market_abs_return": np.abs(returns) / sigma,
            "market_fast_volatility": _log_ratio(ewma(returns**2, FAST), sigma**2),
            "market_slow_volatility": _log_ratio(ewma(returns**2, SLOW), sigma**2),
            "market_surprise": np.log(energy + 0.05),
            "market_surprise_slow": np.log(ewma(energy, 0.9) + 0.05),
            "market_dispersion": _log_ratio(ewma(spread, FAST), ewma(spread, SLOW)),
            "market_range": ewma(ranges, 0.5),
        }
        return cls(dates, np.column_stack([features[name] for name in MARKET]))

    def at(self, dates: np.ndarray) -> np.ndarray:
        """The latest row known on each of ``dates``: (sessions, len(MARKET)), NaN before the first."""
        row = np.searchsorted(self.dates, dates, side="right") - 1
        return np.where(row[:, None] >= 0, self.features[np.maximum(row, 0)], np.nan)


def every(groups: Iterable[np.ndarray]) -> np.ndarray:
    """Each date of some ascending arrays of dates once, in order."""
    found = np.empty(0, "datetime64[D]")
    for dates in groups:
        row = np.searchsorted(found, dates).clip(max=len(found) - 1)
        if not len(found) or (found[row] != dates).any():  # mostly all are known
            found = np.union1d(found, dates)
    return found


def realised_variance(prices: pd.DataFrame) -> pd.DataFrame:
    """A proxy of each session's close-to-close variance from its range: ticker, date, variance.

    The squared overnight return plus the Garman-Klass estimate of the session: unbiased as the
    squared return is, and far less noisy. NaN without open, high and low.
    """
    tables = []
    for ticker, group in prices.groupby("ticker", sort=False):
        bars = Bars.of(group)
        tables.append(group[["date"]].assign(ticker=ticker, variance=bars.variance))
    return pd.concat(tables, ignore_index=True)


def compute(bars: Bars, market: Market) -> np.ndarray:
    """Features of one ticker: (sessions, len(FEATURES)), float32, NaN where unknown."""
    r, sigma, variance = bars.log_returns, bars.volatility, bars.volatility**2
    overnight = bars.overnight
    volume = np.where(bars.volume > 0, bars.volume, np.nan)
    # Averages of one decay are made in one go, which takes half the time.
    fast, range_fast = ewma(np.column_stack([r**2, bars.range_variance]), FAST).T
    downside, trend, range_slow, parkinson, overnight_variance, usual_volume = ewma(
        np.column_stack(
            [
                np.where(r < 0, r**2, 0 * r),
                *(r, bars.range_variance, bars.parkinson, overnight**2, volume),
            ]
        ),
        DECAY,
    ).T
    surprise = np.abs(r) / _lagged(sigma)
    around = _around(surprise)
    gap = np.diff(bars.dates, prepend=bars.dates[:1]).astype(float)
    weekday = (bars.dates.astype(int) + 3) % 7  # 1970-01-01 was a Thursday
    own = {
        "return": r / sigma,
        "abs_return": np.abs(r) / sigma,
        "log_abs_return": np.log(np.abs(r) / sigma + 0.05),
        "fast_volatility": _log_ratio(fast, variance),
        "slow_volatility": _log_ratio(ewma(r**2, SLOW), variance),
        "slowest_volatility": _log_ratio(ewma(r**2, SLOWEST), variance),
        "mean_abs_fast": _log_share(ewma(np.abs(r), 0.9), sigma),
        "mean_abs_slow": _log_share(ewma(np.abs(r), 0.98), sigma),
        "downside_share": downside / variance - 0.5,
        "trend": trend / sigma,
        "since_outlier": _sessions_since(surprise > OUTLIER) / OUTLIER_MEMORY,
        "quarter_ago": _echo(around, QUARTER),
        "half_year_ago": _echo(around, HALF_YEAR),
        "year_ago": _echo(around, YEAR),
        "range_today": _log_ratio(bars.range_variance, variance),
        "range_fast": _log_ratio(range_fast, variance),
        "range_slow": _log_ratio(range_slow, variance),
        "parkinson": _log_ratio(parkinson, variance),
        "overnight": overnight / sigma,
        "overnight_share": _log_ratio(overnight_variance, variance),
        "close_in_range": bars.close_in_range,
        "volume_surprise": np.log(volume / usual_volume),
        "days_since_session": np.log1p(np.maximum(gap - 1, 0)),
    }
    own |= {name: (weekday == day).astype(float) for day, name in enumerate(CALENDAR[1:])}
    columns = [own[name] for name in CLOSE + RANGE + VOLUME + CALENDAR]
    return np.column_stack([*columns, market.at(bars.dates)]).astype(np.float32)


def _lagged(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[np.nan], values[:-1]])


def _sessions_since(event: np.ndarray) -> np.ndarray:
    """Sessions since the last event, ``OUTLIER_MEMORY`` at most and where there was none."""
    now = np.arange(len(event))
    last = np.maximum.accumulate(np.where(event, now, -OUTLIER_MEMORY))
    return np.minimum(now - last, OUTLIER_MEMORY).astype(float)


def _around(surprise: np.ndarray) -> pd.Series:
    """The largest surprise of each session and the four before it."""
    return pd.Series(np.minimum(surprise, 6.0)).rolling(5, min_periods=1).max()


def _echo(around: pd.Series, lag: int) -> np.ndarray:
    """The largest surprise within two sessions of ``lag`` sessions before the next one."""
    return around.shift(lag - 3).to_numpy()


def _log_share(value: np.ndarray, base: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(value / base, 1e-3))


def _log_ratio(value: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Half the log of a ratio of variances, so a log ratio of volatilities; floored, not -inf."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return 0.5 * np.log(np.maximum(value / base, 1e-3))


def _means(
    size: int, columns: Iterable[tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Means over tickers by date, NaN where none is known, and of how many: (dates,) each.

    Added up a ticker at a time, from the rows of its sessions and its values there: a table of all
    dates and tickers would be large.
    """
    total, count = np.zeros(size), np.zeros(size)
    for rows, values in columns:
        known = np.isfinite(values)
        total[rows[known]] += values[known]
        count[rows[known]] += 1
    return np.divide(total, count, out=np.full(size, np.nan), where=count > 0), count
