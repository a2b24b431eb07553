"""What a forecast's direction would have earned: two plain rules, with costs, beside buy and hold.

Each ticker has the same part of a book. A position is taken at the close of the cutoff and earns the
simple return to the close of the date. There is no interest, no borrowing cost and no slippage but
the stated cost of a trade, so what is shown is the most that could have been had.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import special

from forecaster.distributions import forecasts
from forecaster.evaluation.experiment_log import NO_COMPANY, Company

RULES = ("long/flat", "long/short")
MARKET, HOLD = "(market)", "buy and hold"

FEW_TRIALS = 10
_EULER = 0.5772156649015329


def daily(
    shared: pd.DataFrame,
    *,
    cost_bp: float,
    rise: np.ndarray | None = None,
    with_market: bool = True,
) -> pd.DataFrame:
    """Return what each model and rule earned day by day, and buying and holding.

    Parameters
    ----------
    shared : the forecasts frame, of rows whose return is known.
    cost_bp : of buying or selling, in basis points of what is traded, a side.
    rise : the probability of a rise of each row, if it is known already: (rows,).
    with_market : whether buying and holding is wanted, which is the same whoever forecasts.

    Returns
    -------
    model, rule, date, gross, net (simple returns, fractions) and turnover (traded before that day
    over the book, so 2 where all is turned round).

    Notes
    -----
    ``long/flat`` holds a ticker whose P(rise) is above one half; ``long/short`` sells the others
    short, and is flat at exactly one half. Both bring a ticker back to its equal part at the close
    of each of its sessions, and pay for that. Buying and holding does so only where a ticker comes
    or goes. Not counted is the sale after the last day.

    There is a row for every date on which any ticker trades. Where a ticker's market is closed, it
    stays in the book as it is, and what trades meanwhile gets no more than is left.
    """
    rise = forecasts.probability_of_rise(shared) if rise is None else rise
    rows = shared[["ticker", "model", "cutoff", "date"]].assign(
        up=np.sign(rise - 0.5),
        earned=np.expm1(shared["log_return"].to_numpy()),
    )
    tables: list[pd.DataFrame] = []
    for model, its in rows.groupby("model", sort=False):
        up = its["up"].to_numpy()
        wanted = dict(zip(RULES, (np.maximum(up, 0.0), up), strict=True))
        if with_market and not tables:
            tables.append(_book(its, {HOLD: np.ones(len(up))}, cost_bp).assign(model=MARKET))
        tables.append(_book(its, wanted, cost_bp).assign(model=str(model)))
    names = ["model", "rule", "date", "gross", "net", "turnover"]
    return pd.concat(tables, ignore_index=True)[names]


def curves(days: pd.DataFrame) -> pd.DataFrame:
    """Return the frame of :func:`daily` with wealth and drawdown.

    wealth is the growth of 1 after costs, drawdown the fall from its highest value so far, which
    is 1 at the start: a fraction, 0 or below.
    """
    growth = (1 + days["net"]).groupby([days["model"], days["rule"]], sort=False)
    wealth = growth.cumprod()
    top = wealth.groupby([days["model"], days["rule"]], sort=False).cummax().clip(lower=1.0)
    return days.assign(wealth=wealth, drawdown=wealth / top - 1)


def by_year(curve: pd.DataFrame) -> pd.DataFrame:
    """Return model, rule, year, earned (after costs) and drawdown (the deepest) from `curves`."""
    rows = curve.assign(year=curve["date"].dt.year, growth=1 + curve["net"])
    years = rows.groupby(["model", "rule", "year"], sort=False)
    earned = years["growth"].prod() - 1
    return pd.DataFrame({"earned": earned, "drawdown": years["drawdown"].min()}).reset_index()


def performance(
    days: pd.DataFrame, *, cost_bp: float, company: Company = NO_COMPANY
) -> pd.DataFrame:
    """Return what each model and rule of :func:`daily` came to, after costs.

    Parameters
    ----------
    days : the frame of ``daily``.
    cost_bp : what it was made with, to be shown.
    company : what else was tried on these prices; what the best of all would show by luck is taken
        off in dsr.

    Returns
    -------
    model, rule, cost_bp, sessions, sessions_a_year, total_return, annual_return (compound),
    annual_volatility, sharpe (a year, of simple returns with no risk-free rate) with sharpe_low and
    sharpe_high (95%), psr, dsr, trials, max_drawdown (below zero) and turnover (a session).

    Notes
    -----
    With s the Sharpe ratio a session of T sessions, g3 and g4 the skewness and kurtosis::

        error = sqrt((1 - g3 s + (g4 - 1) / 4 s²) / (T - 1))
        psr = N(s / error)
        dsr = N((s - s0) / error)

    with s0 of :func:`luck`. The trials are the different series of returns of all models and rules,
    here and in the company; what only ever holds the market is none, and the market is not deflated.

    Annual figures, Sharpe ratio and drawdown, which counts from 1 before the first day, are those of
    empyrical, for a year of 252 sessions, or of 365 where there is trading all week. The
    probabilistic Sharpe ratio of quantstats takes bias-corrected moments, and the excess kurtosis
    where the paper has the kurtosis; ours is the paper's.

    References
    ----------
    Bailey and López de Prado (2012), The Sharpe ratio efficient frontier, Journal of Risk 15(2);
    (2014), The deflated Sharpe ratio, Journal of Portfolio Management 40(5).
    """
    groups = list(curves(days).groupby(["model", "rule"], sort=False))
    ratios = {key: sharpe_ratio(its["net"].to_numpy()) for key, its in groups}
    market = {_rounded(ratio) for (model, _), (ratio, _) in ratios.items() if model == MARKET}
    sharpes = [ratio for (model, _), (ratio, _) in ratios.items() if model != MARKET]
    tried = [it for it in _distinct([*sharpes, *company.sharpes]) if _rounded(it) not in market]
    trials = len(tried) + len(RULES) * company.unknown
    rows = []
    for (model, rule), its in groups:
        net, wealth = its["net"].to_numpy(), its["wealth"].to_numpy()
        year, (sharpe, error) = sessions_a_year(its["date"]), ratios[model, rule]
        is_market = model == MARKET
        best = 0.0 if is_market else luck(tried, len(net), unknown=trials - len(tried))
        rows.append(
            {
                "model": model,
                "rule": rule,
                "cost_bp": cost_bp,
                "sessions": len(net),
                "sessions_a_year": year,
                "total_return": wealth[-1] - 1,
                "annual_return": wealth[-1] ** (year / len(net)) - 1,
                "annual_volatility": net.std(ddof=1) * np.sqrt(year) if len(net) > 1 else np.nan,
                "sharpe": sharpe * np.sqrt(year),
                "sharpe_low": (sharpe - 1.96 * error) * np.sqrt(year),
                "sharpe_high": (sharpe + 1.96 * error) * np.sqrt(year),
                "psr": float(special.ndtr(sharpe / error)),
                "dsr": float(special.ndtr((sharpe - best) / error)),
                "trials": 1 if is_market else trials,
                "max_drawdown": its["drawdown"].min(),
                "turnover": its["turnover"].mean(),
            }
        )
    return pd.DataFrame(rows)


def sessions_a_year(dates: pd.Series) -> float:
    """Return the sessions of a year: 252 of five days a week, 365 of seven, in between of six."""
    counts = np.bincount(dates.dt.day_of_week, minlength=7)
    days = max(5, int((counts >= counts.max() / 2).sum()))
    return 365.0 if days == 7 else 252 / 5 * days


def sharpe_ratio(returns: np.ndarray) -> tuple[float, float]:
    """Return the Sharpe ratio a session and its standard error; NaN where returns do not vary."""
    n = len(returns)
    if n < 3 or np.ptp(returns) == 0:
        return np.nan, np.nan
    centred = returns - returns.mean()
    spread = returns.std()
    skew, kurtosis = ((centred**k).mean() / spread**k for k in (3, 4))
    sharpe = returns.mean() / returns.std(ddof=1)
    return float(sharpe), sharpe_error(sharpe, n, skew, kurtosis)


def sharpe_error(sharpe: float, n: int, skew: float, kurtosis: float) -> float:
    """Return the standard error of a Sharpe ratio a session, of `n` returns of any distribution."""
    return float(np.sqrt((1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2) / (n - 1)))


def luck(sharpes: list[float], sessions: int, *, unknown: int = 0) -> float:
    """Return the Sharpe ratio a session to expect of the best of strategies without skill.

    Parameters
    ----------
    sharpes : of all strategies tried, in the order in which they were.
    sessions : T, of a strategy.
    unknown : strategies tried whose Sharpe ratio is not known.

    Notes
    -----
    For n strategies, with e Euler's constant and V the variance of their Sharpe ratios::

        s0 = sqrt(V) ((1 - e) N⁻¹(1 - 1 / n) + e N⁻¹(1 - 1 / (n exp(1))))

    (Bailey and López de Prado 2014). V is no lower than that of a strategy without skill,
    1 / (T - 1), and no other where fewer than 10 are known. The largest s0 of the first k strategies
    is returned: nobody gets luckier by trying more, even what lies in the middle and lowers V.
    """
    n = np.arange(1, len(sharpes) + 1)
    if len(sharpes) + unknown < 2 or sessions < 2:
        return 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = (np.cumsum(np.square(sharpes)) - np.cumsum(sharpes) ** 2 / n) / (n - 1)
    variance = np.where(n < FEW_TRIALS, 0.0, np.maximum(variance, 0.0))
    counts = np.append(n, len(sharpes)) + unknown
    spread = np.sqrt(np.maximum(np.append(variance, 0.0), 1 / (sessions - 1)))
    spread, counts = spread[counts > 1], counts[counts > 1]
    tops = [special.ndtri(1 - 1 / counts), special.ndtri(1 - 1 / (counts * np.e))]
    return float((spread * ((1 - _EULER) * tops[0] + _EULER * tops[1])).max())


def _book(rows: pd.DataFrame, wanted: Mapping[str, np.ndarray], cost_bp: float) -> pd.DataFrame:
    """What positions `wanted` by each rule, 1, 0 or -1 in each row, earned day by day."""
    dates, end = np.unique(rows["date"].to_numpy(), return_inverse=True)
    column, tickers = pd.factorize(rows["ticker"], sort=True)
    start = np.searchsorted(dates, rows["cutoff"].to_numpy(), side="right")  # first day held
    shape = (len(dates), len(tickers))
    steps, earned = np.zeros((shape[0] + 1, shape[1])), np.zeros(shape)
    np.add.at(steps, (start, column), 1)
    np.add.at(steps, (end + 1, column), -1)
    is_open: np.ndarray = steps[:-1].cumsum(axis=0) > 0  # (days, tickers) in the book that day
    earned[end, column] = rows["earned"].to_numpy()
    trades = np.zeros(shape, dtype=bool)
    trades[start, column] = True
    changes = np.asarray(np.vstack([np.ones(shape[1]), is_open[1:] != is_open[:-1]]).any(axis=1))
    tables = []
    for rule, position in wanted.items():
        sides = np.zeros(shape)
        sides[start, column] = position
        due, share = np.zeros(shape[1], dtype=bool), np.zeros(shape[1])
        gross, turnover = np.zeros(shape[0]), np.zeros(shape[0])
        for day in range(shape[0]):
            due |= changes[day] or rule != HOLD
            moved, part = trades[day] & due, 1 / is_open[day].sum()
            target = np.where(is_open[day] & ~moved, share, 0.0)
            left = max(1 - np.abs(target).sum(), 0.0) / max(moved.sum(), 1)
            target += moved * sides[day] * min(part, left)
            due &= ~moved | (left < part - 1e-12)
            turnover[day] = np.abs(target - share).sum()
            gross[day] = target @ earned[day]
            share = target * (1 + earned[day]) / max(1 + gross[day], 1e-12)
        columns = {"gross": gross, "net": gross - turnover * cost_bp / 1e4, "turnover": turnover}
        tables.append(pd.DataFrame({"rule": rule, "date": dates, **columns}))
    return pd.concat(tables, ignore_index=True)


def _rounded(sharpe: float) -> float:
    """The digits in which the Sharpe ratio of a series is the same whoever made it."""
    return float(f"{sharpe:.11g}")


def _distinct(sharpes: list[float]) -> list[float]:
    """Those of different series of returns; a series that does not vary has none."""
    return list({_rounded(it): it for it in sharpes if np.isfinite(it)}.values())
