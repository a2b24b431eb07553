"""Is the sign of a forecast worth anything? Hits beyond chance, and rankings of the tickers."""

import numpy as np
import pandas as pd
from scipy import special

from forecaster.evaluation import metrics, significance

MIN_TICKERS = 5
"""Fewer tickers on a day have no cross-section to speak of."""


def sign_test(shared: pd.DataFrame) -> pd.DataFrame:
    """Test after Pesaran and Timmermann whether signs of the median are right beyond chance.

    Parameters
    ----------
    shared : the forecasts frame, of rows whose return is known. Rows whose median or return is
        zero have no sign and are left out.

    Returns
    -------
    A row for each ticker and model, and over all as `metrics.POOLED`: forecasts, hit_rate,
    expected (the rate by chance, given how often the forecast and the return are up), statistic,
    p_value (one-sided: better than chance), and q_value, corrected for the tickers
    (:func:`forecaster.evaluation.significance.corrected`). NaN where the forecast never changes its sign.

    References
    ----------
    Pesaran and Timmermann (1992), A simple nonparametric test of predictive performance, Journal of
    Business & Economic Statistics 10(4). Over all tickers, which move together, the test is of the
    mean of 2 (up - P(up)) (forecast up - P(forecast up)), which is hit rate less expected, averaged
    over the tickers of each day, with the errors of
    :func:`forecaster.evaluation.significance.diebold_mariano`.
    """
    x, median = shared["log_return"].to_numpy(), shared["q0.5"].to_numpy()
    rows = shared[["ticker", "model", "date"]].assign(up=x > 0, call=median > 0)
    rows = rows[(x != 0) & (median != 0)]
    keys = ["ticker", "model"]
    groups = rows.groupby(keys, sort=False)
    up, call = (groups[name].transform("mean") for name in ("up", "call"))
    rows["hit"] = rows["up"] == rows["call"]
    rows["surplus"] = 2 * (rows["up"] - up) * (rows["call"] - call)
    table = rows.groupby(keys, sort=False).agg(
        forecasts=("hit", "size"),
        hit_rate=("hit", "mean"),
        up=("up", "mean"),
        call=("call", "mean"),
    )
    n, p, q = (table[name].to_numpy() for name in ("forecasts", "up", "call"))
    expected = p * q + (1 - p) * (1 - q)
    of_hits = expected * (1 - expected) / n
    of_chance = ((2 * p - 1) ** 2 * q * (1 - q) + (2 * q - 1) ** 2 * p * (1 - p)) / n
    of_chance += 4 * p * q * (1 - p) * (1 - q) / n**2
    changes = (p * (1 - p) > 0) & (q * (1 - q) > 0) & (of_hits > of_chance)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = (table["hit_rate"].to_numpy() - expected) / np.sqrt(of_hits - of_chance)
    statistic = np.where(changes, statistic, np.nan)
    table = table.assign(
        expected=expected, statistic=statistic, p_value=special.ndtr(-statistic)
    ).reset_index()
    table = significance.corrected(table, ["model"])
    pooled = [_pooled(model, its) for model, its in rows.groupby("model", sort=False)]
    columns = [*keys, "forecasts", "hit_rate", "expected", "statistic", "p_value", "q_value"]
    return pd.concat([table, pd.DataFrame(pooled, columns=columns)], ignore_index=True)[columns]


def information_coefficients(shared: pd.DataFrame) -> pd.DataFrame:
    """Test whether the forecast mean ranks the tickers of a day.

    Parameters
    ----------
    shared : the forecasts frame, of rows whose return is known.

    Returns
    -------
    A row for each model: days with at least `MIN_TICKERS` tickers, ic (mean over days of the
    correlation, across tickers, of the forecast mean and the log return), its statistic and
    two-sided p_value (:func:`forecaster.evaluation.significance.diebold_mariano`), and the same of
    rank_ic (Spearman's). NaN where forecasts do not differ between tickers.

    References
    ----------
    Grinold and Kahn (1999), Active portfolio management.
    """
    rows = []
    for model, its in shared.groupby("model", sort=False):
        its = its[its.groupby("date")["ticker"].transform("size") >= MIN_TICKERS]
        mean, x = (
            its.pivot(index="date", columns="ticker", values=name)
            for name in ("mean", "log_return")
        )
        row: dict[str, object] = {"model": model, "days": len(mean)}
        for name, pair in (("ic", (mean, x)), ("rank_ic", (mean.rank(axis=1), x.rank(axis=1)))):
            daily = _correlation(*(it.to_numpy(float) for it in pair))
            daily = daily[np.isfinite(daily)]
            if len(daily) > 1:
                test = significance.diebold_mariano(daily, np.zeros(len(daily)))
                row[name] = test.difference
                row[f"{name}_statistic"], row[f"{name}_p_value"] = test.statistic, test.p_value
        rows.append(row)
    columns = [f"{name}{it}" for name in ("ic", "rank_ic") for it in ("", "_statistic", "_p_value")]
    return pd.DataFrame(rows, columns=["model", "days", *columns])


def _pooled(model: object, rows: pd.DataFrame) -> dict[str, object]:
    """The row of `sign_test` over all tickers."""
    hit_rate, surplus = rows["hit"].mean(), rows["surplus"].mean()
    row = {"ticker": metrics.POOLED, "model": model, "forecasts": len(rows), "hit_rate": hit_rate}
    row["expected"] = hit_rate - surplus
    daily = rows.groupby("date")["surplus"].mean().to_numpy()
    if len(daily) > 1 and daily.any():
        test = significance.diebold_mariano(daily, np.zeros(len(daily)))
        row["statistic"] = test.statistic
        row["p_value"] = special.stdtr(test.sessions - 1, -test.statistic)
    return row


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation of each row's known pairs: (days,) from (days, tickers); NaN if one is constant."""
    a, b = (it - np.nanmean(it, axis=1, keepdims=True) for it in (a, b))
    sizes = np.sqrt(np.nansum(a**2, axis=1) * np.nansum(b**2, axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.nansum(a * b, axis=1) / sizes
    constant = (np.nanmax(np.abs(a), axis=1) < 1e-15) if len(a) else np.zeros(0, dtype=bool)
    return np.where(constant, np.nan, correlation)
