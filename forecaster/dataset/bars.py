"""Bars: one ticker's sessions in the quantities that features are made of, and averages over time."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas._libs.window import aggregations  # type: ignore[attr-defined]  # stubs lack it

from forecaster.data.prices import log_returns

Floats = NDArray[np.float64]

DECAY = 0.94
"""Decay of the volatility that every feature and forecast is relative to (RiskMetrics)."""

FAST, SLOW, SLOWEST = 0.75, 0.985, 0.997

FLOOR = 1e-5
"""The least daily volatility: a tenth of a basis point, for prices that do not move at all."""


def ewma(values: np.ndarray, decay: float) -> Floats:
    """Return the exponentially weighted mean up to and including each session.

    Parameters
    ----------
    values : (sessions,) or (sessions, series). What is not finite counts for nothing.
    decay : weight of the past, between 0 and 1.

    Returns
    -------
    The shape of ``values``; NaN before the first value.

    Notes
    -----
    ``sum_k decay**k x[t-k] / sum_k decay**k`` over the values that are there, the bias-corrected
    form of the RiskMetrics recursion (J.P. Morgan, 1996).

    This is the compiled loop of ``pandas.Series.ewm(alpha=1 - decay).mean()``, bit for bit. Every
    history of a market is averaged a dozen times, and around the loop pandas takes twice its time. The
    loop is private to pandas, whose next minor version ``pyproject.toml`` therefore leaves out.
    """
    if np.ndim(values) == 2:
        return np.array([ewma(series, decay) for series in np.transpose(values)]).T
    infinite = np.isinf(values)
    known = np.where(infinite, np.nan, values) if infinite.any() else values
    series, ends = np.ascontiguousarray(known, float), (np.array([0]), np.array([len(known)]))
    alpha = 1 - decay
    averages: Floats = aggregations.ewm(series, *ends, 1, (1 - alpha) / alpha, True, False)
    return averages


def volatility(returns: Floats, decay: float = DECAY) -> Floats:
    """Return the EWMA volatility (a fraction a day) known at the close of each session: (sessions,)."""
    return np.maximum(np.sqrt(ewma(returns**2, decay)), FLOOR)


@dataclass(frozen=True, eq=False)
class Bars:
    """One ticker's sessions in the quantities that features are made of, each (sessions,)."""

    dates: np.ndarray
    """datetime64[D]"""
    close: Floats
    """In the instrument's currency."""
    log_returns: Floats
    """Close to close, dividends and splits included; NaN at the first session."""
    volatility: Floats
    """EWMA volatility at ``DECAY``, which features and forecasts are relative to."""
    range_variance: Floats
    """Garman & Klass (1980) estimate of the variance from open to close, NaN without open, high, low."""
    parkinson: Floats
    """Parkinson (1980) estimate of the variance from open to close, NaN without high and low."""
    overnight: Floats
    """Log return from the last close to the open, NaN without an open."""
    close_in_range: Floats
    """Where the close lies in the session's range: -1 at the low, 1 at the high."""
    volume: Floats

    @property
    def variance(self) -> Floats:
        """Range proxy of the close-to-close variance: squared overnight return + ``range_variance``.

        As unbiased as the squared return, and far less noisy; NaN without open, high and low.
        """
        return self.overnight**2 + self.range_variance

    def first(self, count: int) -> "Bars":
        """Return the bars of the first ``count`` sessions."""
        return Bars(*(getattr(self, field.name)[:count] for field in fields(self)))

    def since(self, first: int) -> "Bars":
        """Return the bars without those of the first sessions."""
        return Bars(*(getattr(self, field.name)[first:] for field in fields(self)))

    @classmethod
    def of(cls, prices: pd.DataFrame) -> "Bars":
        """Return the bars of the prices frame of a single ticker."""
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


def every(groups: Iterable[np.ndarray]) -> np.ndarray:
    """Return the union of ascending arrays of dates, in order."""
    union = np.empty(0, "datetime64[D]")
    for dates in groups:
        row = np.searchsorted(union, dates).clip(max=len(union) - 1)
        if not len(union) or (union[row] != dates).any():  # most calendars add no date
            union = np.union1d(union, dates)
    return union


def lagged(values: Floats) -> Floats:
    """Return the value of the session before, NaN at the first: (sessions,)."""
    return np.concatenate([[np.nan], values[:-1]])


def log_ratio(value: Floats, base: Floats) -> Floats:
    """Return half the log of a ratio of variances, a log ratio of volatilities; floored, not -inf."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return 0.5 * np.log(np.maximum(value / base, 1e-3))
