"""A simulated market whose truth is known: GJR-GARCH(1,1) with Student-t innovations.

Glosten, Jagannathan and Runkle (1993), with the innovations of Bollerslev (1987)::

    r[t] = mu + s[t] * e[t]
    s[t+1]**2 = omega + (alpha + gamma * [e[t] < 0]) * (s[t] * e[t])**2 + beta * s[t]**2

where e is a Student-t of variance one. The parameters are of the size that indices and large
stocks have. Tickers share them but for their usual volatility, and are independent.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecaster import prices

MU, ALPHA, GAMMA, BETA, DF = 0.0002, 0.02, 0.12, 0.90, 6.0
"""A mean a day as a fraction, the reactions to news and to bad news, memory, degrees of freedom."""

LOWEST, HIGHEST = 0.009, 0.02
"""The usual volatility a day, a fraction, of the calmest and of the wildest ticker."""

BURN_IN = 500
"""Sessions thrown away, so that a history does not start from its usual volatility."""


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
    usual = np.geomspace(LOWEST, HIGHEST, tickers) ** 2  # (tickers,)
    omega = usual * (1 - ALPHA - GAMMA / 2 - BETA)
    variance = np.empty_like(shocks)  # (sessions, tickers)
    variance[0] = usual
    for t in range(len(shocks) - 1):  # each session needs the one before
        news = (ALPHA + GAMMA * (shocks[t] < 0)) * shocks[t] ** 2
        variance[t + 1] = omega + (news + BETA) * variance[t]
    sigma, shocks = np.sqrt(variance[BURN_IN:]), shocks[BURN_IN:]
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
