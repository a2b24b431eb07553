"""Do outcomes fall in their distributions without memory? Tests of the PIT from day to day.

If the forecasts are right, the PIT is uniform and what it was yesterday says nothing of today; so its
normal score z is standard normal and independent.
"""

import numpy as np
import pandas as pd
from scipy import special

from forecaster.evaluation import calibration, clusters, metrics, significance
from forecaster.evaluation.metrics import POOLED

_EXTREME = 1e-12
"""Outcomes further out than this have the normal score of this probability."""

_LEAST = 20
"""Sessions without which nothing is said."""


def independence(frame: pd.DataFrame) -> pd.DataFrame:
    """Test the PIT for memory, and its shape by tests that allow for memory.

    Parameters
    ----------
    frame : the forecasts frame; rows whose return is not known are left out.

    Returns
    -------
    A row for each ticker and model with `_LEAST` sessions, and over all tickers as `POOLED`:

    =========================  ===============================================================
    memory, memory_p           autocorrelation of z, and the two-sided p-value of none
    scale_memory,              the same of z² - 1, over its variance of 2: volatility that the
    scale_memory_p             forecast did not follow
    berkowitz, berkowitz_p     likelihood ratio of mean 0, variance 1 and no autocorrelation of z
                               against a normal AR(1); chi-square, 3 df; NaN over all tickers
    knueppel, knueppel_p       of the first four moments of the PIT, with errors that allow for
                               memory; from F
    sessions
    =========================  ===============================================================

    Raises
    ------
    HistoryError
        No outcome is known.

    Notes
    -----
    Memory is the mean of z[t] z[t-1], tested day by day over the tickers of a day with the errors of
    :func:`forecaster.evaluation.significance.diebold_mariano`. Knüppel's moments are of
    s = sqrt(12) (PIT - 1/2), less 0, 1, 0 and 9/5, averaged over the tickers of a day; their long-run
    covariance is :func:`forecaster.evaluation.significance.long_run_covariance`, for whose degrees of
    freedom the statistic is read from F, where Knüppel takes a chi-square.

    References
    ----------
    Berkowitz (2001), Testing density forecasts, with applications to risk management, Journal of
    Business & Economic Statistics 19(4). Knüppel (2015), Evaluating the calibration of multi-step-ahead
    density forecasts using raw moments, Journal of Business & Economic Statistics 33(2).
    """
    tests = Tests()
    tests.add(clusters.known(frame))
    return tests.table()


_MOMENTS = {1: 0.0, 2: 1.0, 3: 0.0, 4: 1.8}
"""Of a uniform variable of mean 0 and variance 1."""


_MEANS = ["memory", "scale_memory", *(f"s{k}" for k in _MOMENTS)]
"""What is averaged over the tickers of a day."""


class Tests:
    """The table of `independence`, from the forecasts of some tickers after the other."""

    __test__ = False  # pytest takes every Test… for one of its own

    def __init__(self) -> None:
        self._of_ticker: dict[str, dict[str, dict[str, float]]] = {}
        self._days: dict[str, pd.DataFrame] = {}

    def add(self, frame: pd.DataFrame) -> None:
        """Add the forecasts of some tickers, all of whose outcomes are known."""
        for model, its in _normal_scores(frame).groupby("model", sort=False):
            tests = self._of_ticker.setdefault(str(model), {})
            ticker, names = pd.factorize(its["ticker"])  # which come one after the other
            begins = np.searchsorted(ticker, np.arange(1, len(names)))
            values = its[["z", *_MEANS]].to_numpy()
            for name, series in zip(names, np.split(values, begins), strict=True):
                tests[str(name)] = _of_series(series) if len(series) >= _LEAST else {}
            days = its.groupby("date")[_MEANS]
            sums = days.sum().join(days.count().add_suffix("_count"))
            before = self._days.get(str(model))
            self._days[str(model)] = sums if before is None else metrics.added(before, sums)

    def table(self) -> pd.DataFrame:
        """Return the tests of each ticker, and over all."""
        rows = []
        for model in sorted(self._of_ticker):
            tests, days = self._of_ticker[model], self._days[model].sort_index()
            if len(tests) > 1:
                means = [days[it] / days[f"{it}_count"] for it in _MEANS]
                series = np.column_stack([np.full(len(days), np.nan), *means])
                total = _of_series(series) if len(days) >= _LEAST else {}
            else:
                (total,) = tests.values()
            every = tests | {POOLED: total}
            rows += [{"ticker": it, "model": model, **test} for it, test in every.items() if test]
        columns = [
            *("ticker", "model", "memory", "memory_p", "scale_memory", "scale_memory_p"),
            *("berkowitz", "berkowitz_p", "knueppel", "knueppel_p", "sessions"),
        ]
        return pd.DataFrame(rows, columns=columns)


def _normal_scores(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ticker, model, date, z and what is tested of it and of the PIT, by model, ticker and date."""
    u = np.clip(calibration.pit(frame), _EXTREME, 1 - _EXTREME)
    rows = frame[["ticker", "model", "date"]].assign(u=u, z=special.ndtri(u))
    rows = rows.sort_values(["model", "ticker", "date"], kind="stable")
    s, z = np.sqrt(12) * (rows["u"].to_numpy() - 0.5), rows["z"].to_numpy()
    rows = rows.assign(square=z**2 - 1, **{f"s{k}": s**k - it for k, it in _MOMENTS.items()})
    before = rows.groupby(["model", "ticker"], sort=False)[["z", "square"]].shift(1)
    return rows.assign(memory=z * before["z"], scale_memory=rows["square"] * before["square"] / 2)


def berkowitz(z: np.ndarray) -> tuple[float, float]:
    """Return the likelihood ratio of normal scores (sessions,) and its p-value.

    Of z[t] given z[t-1], t = 2 … n: standard normal, against a normal regression on z[t-1].
    """
    y, x = z[1:], np.column_stack([np.ones(len(z) - 1), z[:-1]])
    residuals = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    variance = max(float(np.mean(residuals**2)), 1e-300)
    ratio = float(y @ y - len(y) * (1 + np.log(variance)))
    return ratio, float(special.chdtrc(3, ratio))


def knueppel(moments: np.ndarray) -> tuple[float, float]:
    """Return the statistic of moments less their values, (sessions, k), and its p-value."""
    n, k = moments.shape
    df = int(significance.degrees_of_freedom(n))
    covariance = significance.long_run_covariance(moments)
    if df < k or np.linalg.matrix_rank(covariance / max(covariance.max(), 1e-300)) < k:
        return np.nan, np.nan
    mean = moments.mean(axis=0)
    statistic = float(n * mean @ np.linalg.solve(covariance, mean))
    return statistic, float(special.fdtrc(k, df - k + 1, statistic * (df - k + 1) / (df * k)))


def _of_series(series: np.ndarray) -> dict[str, float]:
    """The columns of `independence` of one series of days, but for its names.

    `series` holds z, NaN over all tickers, and `_MEANS`: (sessions, 1 + means).
    """
    values: dict[str, float] = {"sessions": len(series)}
    for name, daily in zip(_MEANS[:2], series.T[1:3], strict=True):
        daily = daily[~np.isnan(daily)]
        test = significance.diebold_mariano(daily, np.zeros(len(daily)))
        values[name], values[f"{name}_p"] = test.difference, test.p_value
    z = series[:, 0]
    alone = (np.nan, np.nan) if np.isnan(z[0]) else berkowitz(z)
    values["berkowitz"], values["berkowitz_p"] = alone
    values["knueppel"], values["knueppel_p"] = knueppel(series[:, 3:])
    return values
