"""What a forecast's direction would have earned: two plain rules, with costs, beside buy and hold.

Each ticker of a day has the same weight. A position is taken at the close of the cutoff and earns the
simple return to the close of the date. There is no interest, no borrowing cost and no slippage but
the stated cost of a trade, so what is shown is the most that could have been had.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import special

from forecaster.distributions import forecasts

RULES = ("long/flat", "long/short")
MARKET, HOLD = "(market)", "buy and hold"
YEAR = 252
"""Sessions of a year, whatever the exchange."""

FEW_TRIALS = 10
_EULER = 0.5772156649015329


def daily(shared: pd.DataFrame, *, cost_bp: float) -> pd.DataFrame:
    """Returns of each model and rule, day by day, and of buying and holding.

    Parameters
    ----------
    shared : the forecasts frame, of rows whose return is known.
    cost_bp : of buying or selling, in basis points of what is traded, a side.

    Returns
    -------
    model, rule, date, gross, net (simple returns, fractions) and turnover (traded that day over
    the portfolio, so 2 where all is turned round). A ticker without a forecast on a day is closed.
    ``long/flat`` holds a ticker whose P(rise) is above one half, ``long/short`` sells the others
    short, and is flat at exactly one half. Buying and holding holds every ticker, in equal parts too.

    Turnover is of changes of these parts. Not counted are the trades that bring parts back to equal
    after prices have moved, for the rules and the market alike, and the sale after the last day.
    """
    rows = shared[["ticker", "model", "date"]].assign(
        up=forecasts.probability_of_rise(shared) - 0.5,
        earned=np.expm1(shared["log_return"].to_numpy()),
    )
    tables: list[pd.DataFrame] = []
    for model, its in rows.groupby("model", sort=False):
        wide = its.pivot(index="date", columns="ticker", values=["up", "earned"])
        up, earned = wide["up"].to_numpy(), wide["earned"].to_numpy()  # (dates, tickers)
        held = {"long/flat": np.where(up > 0, 1.0, 0.0), "long/short": np.nan_to_num(np.sign(up))}
        if not tables:
            always = {HOLD: np.isfinite(earned).astype(float)}
            tables += _earned(MARKET, always, earned, wide.index, cost_bp)
        tables += _earned(str(model), held, earned, wide.index, cost_bp)
    return pd.concat(tables, ignore_index=True)


def performance(
    days: pd.DataFrame, *, cost_bp: float, trials: int = 1, sharpes: Sequence[float] = ()
) -> pd.DataFrame:
    """What each model and rule of :func:`daily` came to, after costs.

    Parameters
    ----------
    days : the frame of ``daily``.
    cost_bp : what it was made with, to be shown.
    trials : strategies tried on these prices, these included; what the best of so many would show by
        luck is taken off in dsr.
    sharpes : their Sharpe ratios a session, as far as they were recorded.

    Returns
    -------
    model, rule, cost_bp, sessions, total_return, annual_return (compound), annual_volatility,
    sharpe (a year, of simple returns with no risk-free rate) with sharpe_low and sharpe_high (95%),
    psr, dsr, trials, max_drawdown (below zero) and turnover (a session).

    Notes
    -----
    With s the Sharpe ratio a session of T sessions, g3 and g4 the skewness and kurtosis::

        error = sqrt((1 - g3 s + (g4 - 1) / 4 s²) / (T - 1))
        psr = N(s / error)
        dsr = N((s - s0) / error)
        s0 = sqrt(V) ((1 - e) N⁻¹(1 - 1 / n) + e N⁻¹(1 - 1 / (n exp(1)))), e Euler's constant

    V is the variance of the Sharpe ratios tried; where fewer than 10 are recorded, of the Sharpe
    ratio of a strategy without skill, 1 / (T - 1). Annual figures, Sharpe ratio and drawdown, which
    counts from 1 before the first day, are those of empyrical. The probabilistic Sharpe ratio of
    quantstats takes bias-corrected moments, and the excess kurtosis where the paper has the
    kurtosis; ours is the paper's.

    References
    ----------
    Bailey and López de Prado (2012), The Sharpe ratio efficient frontier, Journal of Risk 15(2);
    (2014), The deflated Sharpe ratio, Journal of Portfolio Management 40(5).
    """
    rows = []
    for (model, rule), its in days.groupby(["model", "rule"], sort=False):
        net = its["net"].to_numpy()
        wealth = np.cumprod(1 + net)
        sharpe, error = sharpe_ratio(net)
        best = luck(trials, sharpes, len(net))
        rows.append(
            {
                "model": model,
                "rule": rule,
                "cost_bp": cost_bp,
                "sessions": len(net),
                "total_return": wealth[-1] - 1,
                "annual_return": wealth[-1] ** (YEAR / len(net)) - 1,
                "annual_volatility": net.std(ddof=1) * np.sqrt(YEAR) if len(net) > 1 else np.nan,
                "sharpe": sharpe * np.sqrt(YEAR),
                "sharpe_low": (sharpe - 1.96 * error) * np.sqrt(YEAR),
                "sharpe_high": (sharpe + 1.96 * error) * np.sqrt(YEAR),
                "psr": float(special.ndtr(sharpe / error)),
                "dsr": float(special.ndtr((sharpe - best) / error)),
                "trials": trials,
                "max_drawdown": _drawdown(wealth),
                "turnover": its["turnover"].mean(),
            }
        )
    return pd.DataFrame(rows)


def sharpe_ratio(returns: np.ndarray) -> tuple[float, float]:
    """Sharpe ratio a session of returns, and its standard error; NaN where they do not vary."""
    n = len(returns)
    if n < 3 or np.ptp(returns) == 0:
        return np.nan, np.nan
    centred = returns - returns.mean()
    spread = returns.std()
    skew, kurtosis = ((centred**k).mean() / spread**k for k in (3, 4))
    sharpe = returns.mean() / returns.std(ddof=1)
    return float(sharpe), float(sharpe_error(sharpe, n, skew, kurtosis))


def sharpe_error(sharpe: float, n: int, skew: float, kurtosis: float) -> float:
    """Standard error of a Sharpe ratio a session, of `n` returns that need not be normal."""
    return float(np.sqrt((1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2) / (n - 1)))


def luck(trials: int, sharpes: Sequence[float], sessions: int) -> float:
    """The Sharpe ratio a session to expect of the best of so many strategies without skill."""
    if trials < 2 or sessions < 2:
        return 0.0
    enough = len(sharpes) >= FEW_TRIALS
    variance = float(np.var(sharpes, ddof=1)) if enough else 1 / (sessions - 1)
    tops = special.ndtri([1 - 1 / trials, 1 - 1 / (trials * np.e)])
    return float(np.sqrt(variance) * ((1 - _EULER) * tops[0] + _EULER * tops[1]))


def _earned(
    model: str,
    held: dict[str, np.ndarray],
    earned: np.ndarray,
    dates: pd.Index,
    cost_bp: float,
) -> list[pd.DataFrame]:
    weight = 1 / np.isfinite(earned).sum(axis=1, keepdims=True)  # (dates, 1)
    tables = []
    for rule, positions in held.items():
        share = positions * weight  # (dates, tickers) of the portfolio
        gross = (share * np.nan_to_num(earned)).sum(axis=1)
        before = np.vstack([np.zeros((1, share.shape[1])), share[:-1]])
        turnover = np.abs(share - before).sum(axis=1)
        net = gross - turnover * cost_bp / 1e4
        table = {"date": dates, "gross": gross, "net": net, "turnover": turnover}
        tables.append(pd.DataFrame({"model": model, "rule": rule, **table}))
    return tables


def _drawdown(wealth: np.ndarray) -> float:
    """The deepest fall from a height reached before, 1 at the start; below zero."""
    return float((wealth / np.maximum(np.maximum.accumulate(wealth), 1.0)).min() - 1)
