"""Simulated markets whose truth is known: GJR-GARCH(1,1) with Student-t innovations.

Glosten, Jagannathan and Runkle (1993), with the innovations of Bollerslev (1987)::

    r[t] = mu + s[t] * e[t]
    s[t+1]**2 = omega + (alpha + gamma * [e[t] < 0]) * (s[t] * e[t])**2 + beta * s[t]**2

where e is a Student-t of variance one. The parameters are of the size that indices and large
stocks have. Tickers share them but for their usual volatility. Those of :func:`world` are
independent; those of :func:`market` move together.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from forecaster.data import calendars, prices

MU, ALPHA, GAMMA, BETA, DF = 0.0002, 0.02, 0.12, 0.90, 6.0
"""A mean a day as a fraction, the reactions to news and to bad news, memory, degrees of freedom."""

LOWEST, HIGHEST = 0.009, 0.02
"""The usual volatility a day, a fraction, of the calmest and of the wildest ticker."""

BURN_IN = 500
"""Sessions thrown away, so that a history does not start from its usual volatility."""

LOADINGS = 0.4, 0.8
"""The least and the largest correlation of a ticker's shocks with the market's factor."""

OLD = 0.75
"""Share of a market's tickers that were listed before its first session."""

YOUNGEST = 252
"""Sessions that the last ticker to be listed has."""

OVERNIGHT = 0.25
"""Share of a session's variance that comes before the open."""

TOGETHER = 100
"""Tickers simulated at once."""


@dataclass(frozen=True)
class World:
    """Made-up prices, and the distribution that each return was drawn from."""

    prices: pd.DataFrame
    """The prices frame; closes alone."""
    truth: pd.DataFrame
    """ticker, date, location, scale, df: the Student-t of the log return of ``date``, a fraction, as
    it was known at the close before; no row for a ticker's first session, which has no return."""


def world(*, tickers: int = 4, sessions: int = 2500, seed: int = 0) -> World:
    """A world of ``SIM1``, ``SIM2`` and so on, each with so many sessions, on weekdays from 2000."""
    rng = np.random.default_rng(seed)
    shocks = rng.standard_t(DF, (BURN_IN + sessions, tickers)) * np.sqrt((DF - 2) / DF)
    sigma = _volatility(shocks, np.geomspace(LOWEST, HIGHEST, tickers))[BURN_IN:]
    shocks = shocks[BURN_IN:]
    close = 100 * np.exp(np.cumsum(MU + sigma * shocks, axis=0))
    names = [f"SIM{i + 1}" for i in range(tickers)]
    dates = pd.bdate_range("2000-01-03", periods=sessions)
    frame = pd.DataFrame(
        {
            "ticker": np.repeat(names, sessions),
            "date": np.tile(dates, tickers),
            "close": close.T.ravel(),
        }
    )
    truth = frame[["ticker", "date"]].assign(
        location=MU, scale=(sigma * np.sqrt((DF - 2) / DF)).T.ravel(), df=DF
    )
    return World(prices.check(frame), truth[frame["date"] > dates[0]].reset_index(drop=True))


def market(
    tickers: int,
    *,
    first: date = date(1999, 1, 4),
    last: date = date(2018, 12, 31),
    seed: int = 0,
) -> Iterator[pd.DataFrame]:
    """The prices frame of each ticker of a market, ``SIM00001`` and so on, one after the other.

    A ticker is the same however many are made, and a few of them are in memory at a time.

    Parameters
    ----------
    first, last : its sessions are those of the New York exchange from the one to the other; there
        must be more than ``YOUNGEST``. A quarter of the tickers are listed later, on days spread
        evenly.

    Notes
    -----
    The shocks of a session are a multivariate Student-t with one factor f, so tickers crash together,
    while each by itself is the GJR-GARCH-t above::

        e[i] = (b[i] f + sqrt(1 - b[i]**2) u[i]) / sqrt(w / (df - 2))

    with f and u[i] standard normal and w a chi-square of df degrees of freedom. The open is what a
    Brownian motion from the last close to the close passes after ``OVERNIGHT`` of its variance,
    and high and low are the extremes of a Brownian bridge from open to close: of each, its exact
    distribution (Karatzas and Shreve 1991, Brownian motion and stochastic calculus, 4.3.40).
    """
    days = calendars.sessions_between("SIM", first, last)
    total = BURN_IN + len(days)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    factor, tail = rng.standard_normal(total), np.sqrt((DF - 2) / rng.chisquare(DF, total))
    for begin in range(0, tickers, TOGETHER):
        # Each ticker has a stream of its own, whatever others are made.
        numbers = range(begin + 1, min(begin + TOGETHER, tickers) + 1)
        streams = [
            np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
            for number in numbers
        ]
        usual = np.exp([rng.uniform(*np.log([LOWEST, HIGHEST])) for rng in streams])
        loadings = [rng.uniform(*LOADINGS) for rng in streams]
        shocks = np.column_stack(
            [
                tail * (b * factor + np.sqrt(1 - b**2) * rng.standard_normal(total))
                for b, rng in zip(loadings, streams, strict=True)
            ]
        )  # (sessions, tickers)
        sigma = _volatility(shocks, usual)
        for number, rng, e, s in zip(numbers, streams, shocks.T, sigma.T, strict=True):
            yield _bars(f"SIM{number:05d}", days, e[BURN_IN:], s[BURN_IN:], rng)


def _volatility(shocks: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """The volatility s of the recursion above, from its usual size on: (sessions, tickers)."""
    omega = usual**2 * (1 - ALPHA - GAMMA / 2 - BETA)
    variance = np.empty_like(shocks)
    variance[0] = usual**2
    for t in range(len(shocks) - 1):  # each session needs the one before
        news = (ALPHA + GAMMA * (shocks[t] < 0)) * shocks[t] ** 2
        variance[t + 1] = omega + (news + BETA) * variance[t]
    return np.asarray(np.sqrt(variance))


def _bars(
    ticker: str,
    days: pd.DatetimeIndex,
    shocks: np.ndarray,
    sigma: np.ndarray,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """The prices frame of a ticker from its listing on; shocks and sigma are (sessions,)."""
    late = rng.uniform() > OLD
    begin = int(late * rng.uniform() * (len(days) - YOUNGEST))
    returns, sigma = (MU + sigma * shocks)[begin:], sigma[begin:]
    n = len(returns)
    close = rng.uniform(20, 200) * np.exp(np.cumsum(returns))
    spread = sigma * np.sqrt(OVERNIGHT * (1 - OVERNIGHT))
    overnight = OVERNIGHT * returns + spread * rng.standard_normal(n)
    intraday = returns - overnight
    beyond = -2 * (1 - OVERNIGHT) * sigma**2 * np.log(rng.uniform(1e-12, 1, (2, n)))
    up, down = np.sqrt(intraday**2 + beyond)  # (sessions,) each
    open_ = close * np.exp(-intraday)
    bars = {
        "open": open_,
        "high": np.maximum(np.maximum(open_, close), open_ * np.exp((intraday + up) / 2)),
        "low": np.minimum(np.minimum(open_, close), open_ * np.exp((intraday - down) / 2)),
        "close": close,
        # More is traded on days of large moves.
        "volume": np.round(1e6 * np.exp(np.abs(shocks[begin:]) + 0.3 * rng.standard_normal(n))),
    }
    return prices.check(pd.DataFrame({"ticker": ticker, "date": days[begin:], **bars}))
