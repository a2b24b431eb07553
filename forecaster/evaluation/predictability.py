"""Is the mean of a forecast worth anything?

Hits beyond chance, rankings of the tickers, the variance explained beyond the historical mean, and
which days the forecast moves with.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import special

from forecaster.evaluation import metrics, significance
from forecaster.evaluation.daily import together
from forecaster.evaluation.wide import wide

HISTORICAL_MEAN = "drift"
"""The model whose mean is that of all returns so far."""

AHEAD = 20
"""Sessions after the day forecast whose returns are added up in `lead_test`."""

DAYS_AT_ONCE = 100
"""Days whose tickers are ranked at once, to bound the memory of what lies between."""

MIN_TICKERS = 5
"""Fewer tickers on a day have no cross-section to speak of."""


MEAN_COLUMNS = ["model", "against", "r2", "statistic", "p_value", "sessions"]


def sign_test(frame: pd.DataFrame) -> pd.DataFrame:
    """Test after Pesaran and Timmermann whether signs of the median are right beyond chance.

    Parameters
    ----------
    frame : the forecasts frame, of rows whose return is known. Rows whose median or return is
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
    tests = SignTests()
    tests.add(frame)
    return tests.table()


class SignTests:
    """The table of `sign_test`, from the forecasts of some tickers after the other."""

    def __init__(self) -> None:
        self._tables: list[pd.DataFrame] = []
        self._days: pd.DataFrame | None = None

    def add(self, frame: pd.DataFrame) -> None:
        """Add the forecasts of some tickers, all of whose outcomes are known."""
        rows = _signs(frame)
        self._tables.append(_of_signs(rows))
        days = rows.groupby(["model", "date"], sort=False).agg(
            rows=("hit", "size"), hits=("hit", "sum"), surplus=("surplus", "sum")
        )
        self._days = days if self._days is None else metrics.added(self._days, days)

    def table(self) -> pd.DataFrame:
        """Return the tests of each ticker, and over all."""
        assert self._days is not None
        tables = significance.corrected(metrics.by_model(self._tables), ["model"])
        models = self._days.groupby(level="model", sort=False)
        pooled = pd.DataFrame([_pooled(model, days.droplevel("model")) for model, days in models])
        columns = ["ticker", "model", "forecasts", "hit_rate", "expected", "statistic", "p_value"]
        whole = pd.concat(
            [tables, pooled.reindex(columns=[*columns, "q_value"])], ignore_index=True
        )
        table: pd.DataFrame = whole[[*columns, "q_value"]]
        return table


def _signs(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ticker, model, date, up, call (of a rise), hit and surplus of the rows that have signs."""
    x, median = frame["log_return"].to_numpy(), frame["q0.5"].to_numpy()
    rows: pd.DataFrame = frame[["ticker", "model", "date"]].assign(up=x > 0, call=median > 0)
    rows = rows[(x != 0) & (median != 0)]
    groups = rows.groupby(["ticker", "model"], sort=False)
    up, call = (groups[name].transform("mean") for name in ("up", "call"))
    rows["hit"] = rows["up"] == rows["call"]
    rows["surplus"] = 2 * (rows["up"] - up) * (rows["call"] - call)
    return rows


def _of_signs(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of `sign_test` of each ticker and model, not yet corrected."""
    table = rows.groupby(["ticker", "model"], sort=False).agg(
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
    return table.assign(
        expected=expected, statistic=statistic, p_value=special.ndtr(-statistic)
    ).reset_index()


def information_coefficients(frame: pd.DataFrame) -> pd.DataFrame:
    """Test whether the forecast mean ranks the tickers of a day.

    Parameters
    ----------
    frame : the forecasts frame, of rows whose return is known.

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
    names = ["mean", "log_return"]
    tables = [
        information_of(str(model), wide([its], names))
        for model, its in frame.groupby("model", sort=False)
    ]
    return together(tables, information_of("", wide([], names)))


def information_of(model: str, pair: Sequence[np.ndarray]) -> pd.DataFrame:
    """Return the row of `information_coefficients` of a model.

    Parameters
    ----------
    pair : its means and the log returns, (days, tickers) each, NaN where there are none.
    """
    daily: dict[str, list[np.ndarray]] = {"ic": [], "rank_ic": []}
    for begin in range(0, len(pair[1]), DAYS_AT_ONCE):
        x = pair[1][begin : begin + DAYS_AT_ONCE]
        its = (~np.isnan(x)).sum(axis=1) >= MIN_TICKERS
        both = [it[begin : begin + DAYS_AT_ONCE][its] for it in pair]
        daily["ic"].append(_correlation(*both))
        ranks = (pd.DataFrame(it).rank(axis=1).to_numpy(dtype=float) for it in both)
        daily["rank_ic"].append(_correlation(*ranks))
    row: dict[str, object] = {"model": model, "days": sum(map(len, daily["ic"]))}
    columns = ["model", "days"]
    for name, blocks in daily.items():
        values = np.concatenate([*blocks, np.empty(0)])
        values = values[np.isfinite(values)]
        columns += [name, f"{name}_statistic", f"{name}_p_value"]
        if len(values) > 1:
            test = significance.diebold_mariano(values, np.zeros(len(values)))
            row |= dict(
                zip(columns[-3:], (test.difference, test.statistic, test.p_value), strict=True)
            )
    return pd.DataFrame([row] if len(pair[1]) else [], columns=columns)


def mean_test(frame: pd.DataFrame) -> pd.DataFrame:
    """Test whether the forecast mean is better than the historical mean.

    Parameters
    ----------
    frame : the forecasts frame, of rows whose return is known.

    Returns
    -------
    A row for each model beside `HISTORICAL_MEAN`, over the rows that both have, none where the frame
    lacks it: model, against, r2 (out of sample: 1 less the squared errors of the one over those of the
    other; each ticker's returns in units of their root mean square), statistic and p_value of Clark
    and West (one-sided: better), and sessions.

    Notes
    -----
    A model that knows more estimates more, and that noise makes its errors larger even where what it
    knows is true. Clark and West take the noise off: the mean over tickers of::

        (x - a)² - (x - b)² + (a - b)²

    for the historical mean a and the model's mean b, is zero where nothing is to be known. It is
    tested day by day, with the errors of :func:`forecaster.evaluation.significance.diebold_mariano`.

    References
    ----------
    Clark and West (2007), Approximately normal tests for equal predictive accuracy in nested models,
    Journal of Econometrics 138(1). Campbell and Thompson (2008), Predicting excess stock returns out
    of sample, Review of Financial Studies 21(4), for R².
    """
    keys, rows = ["ticker", "cutoff", "date"], []
    theirs = frame.loc[frame["model"] == HISTORICAL_MEAN, [*keys, "mean"]]
    for model, its in frame[frame["model"] != HISTORICAL_MEAN].groupby("model", sort=False):
        both = its[[*keys, "log_return", "mean"]].merge(
            theirs, on=keys, suffixes=("", "_of_history")
        )
        if both["date"].nunique() < 2:
            continue
        unit = _units(both["log_return"], both["ticker"])
        x, b, a = (both[name] / unit for name in ("log_return", "mean", "mean_of_history"))
        gain = ((x - a) ** 2 - (x - b) ** 2 + (a - b) ** 2).groupby(both["date"]).mean().to_numpy()
        test = significance.diebold_mariano(gain, np.zeros(len(gain)))
        r2 = 1 - ((x - b) ** 2).sum() / ((x - a) ** 2).sum()
        row = {"model": model, "against": HISTORICAL_MEAN, "r2": r2, "statistic": test.statistic}
        rows.append(row | {"p_value": test.p_higher, "sessions": test.sessions})
    return pd.DataFrame(rows, columns=MEAN_COLUMNS)


def lead_test(frame: pd.DataFrame) -> pd.DataFrame:
    """Return which days' returns the median moves with: those before, the day forecast, those after.

    Parameters
    ----------
    frame : the forecasts frame of one model, of rows whose return is known.

    Returns
    -------
    A row for each lead: lead (-1 is the session before the day forecast, 0 that day, 1 the session
    after, `AHEAD` the sum of so many sessions after), correlation (of the median and the log return,
    each ticker's centred and scaled to unit variance), p_value (two-sided, day by day with the errors
    of :func:`forecaster.evaluation.significance.diebold_mariano`) and sessions. Tickers whose median
    never changes are left out.
    """
    frame = frame[["ticker", "date", "log_return", "q0.5"]].sort_values(["ticker", "date"])
    ticker, x = frame["ticker"], frame["log_return"]
    signal = _standardised(frame["q0.5"], ticker)
    returns = _standardised(x, ticker)
    within = returns.groupby(ticker)
    ahead = within.cumsum()
    series = {-1: within.shift(1), 0: returns, 1: within.shift(-1)}
    series[AHEAD] = _standardised(ahead.groupby(ticker).shift(-AHEAD) - ahead, ticker)
    rows = []
    for lead, its in series.items():
        daily = (signal * its).dropna().groupby(frame["date"]).mean().to_numpy()
        if len(daily) > 1:
            test = significance.diebold_mariano(daily, np.zeros(len(daily)))
            row = {"lead": lead, "correlation": test.difference, "p_value": test.p_value}
            rows.append(row | {"sessions": test.sessions})
    return pd.DataFrame(rows, columns=["lead", "correlation", "p_value", "sessions"])


def autocorrelation(frame: pd.DataFrame) -> float:
    """Return the correlation of the returns of successive sessions, of all tickers; 0 if unknown.

    Parameters
    ----------
    frame : the forecasts frame of one model, of rows whose return is known.
    """
    frame = frame[["ticker", "date", "log_return"]].sort_values(["ticker", "date"])
    returns = _standardised(frame["log_return"], frame["ticker"])
    return float(np.nan_to_num((returns * returns.groupby(frame["ticker"]).shift(1)).mean()))


def _units(values: pd.Series, ticker: pd.Series) -> pd.Series:
    """Return the root mean square of each row's ticker: (rows,)."""
    squares = (values**2).groupby(ticker).transform("mean")
    return squares.where(squares > 0) ** 0.5


def _standardised(values: pd.Series, ticker: pd.Series) -> pd.Series:
    """Return values less the mean of their ticker, over their deviation; NaN where they rest."""
    centred = values - values.groupby(ticker).transform("mean")
    unit = _units(centred, ticker)
    return centred / unit.where(unit > 1e-12)


def _pooled(model: object, days: pd.DataFrame) -> dict[str, object]:
    """The row of `sign_test` over all tickers, from the sums of each date."""
    days = days.sort_index()
    rows, hits, surplus = (days[name].sum() for name in ("rows", "hits", "surplus"))
    row: dict[str, object] = {"ticker": metrics.POOLED, "model": model, "forecasts": int(rows)}
    row |= {"hit_rate": hits / rows, "expected": hits / rows - surplus / rows}
    daily = (days["surplus"] / days["rows"]).to_numpy()
    if len(daily) > 1 and daily.any():
        test = significance.diebold_mariano(daily, np.zeros(len(daily)))
        row["statistic"] = test.statistic
        row["p_value"] = test.p_higher
    return row


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation of each row's known pairs: (days,) from (days, tickers); NaN if one is constant."""
    a, b = (it - np.nanmean(it, axis=1, keepdims=True) for it in (a, b))
    sizes = np.sqrt(np.nansum(a**2, axis=1) * np.nansum(b**2, axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.nansum(a * b, axis=1) / sizes
    constant = (np.nanmax(np.abs(a), axis=1) < 1e-15) if len(a) else np.zeros(0, dtype=bool)
    return np.where(constant, np.nan, correlation)
