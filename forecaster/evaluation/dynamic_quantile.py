"""The dynamic quantile test: can a breach of the value at risk be foreseen?

Engle and Manganelli (2004), CAViaR: conditional autoregressive value at risk by regression quantiles,
Journal of Business & Economic Statistics 22(4).
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from forecaster.evaluation import clusters
from forecaster.evaluation.metrics import POOLED
from forecaster.evaluation.value_at_risk import RISK_LEVELS, breached
from forecaster.evaluation.wide import wide

if TYPE_CHECKING:
    from scipy.sparse import csr_array

LAGS = 4
"""Sessions before whose breaches may foretell one."""

DRAWS = 499
"""Simulated sequences of breaches behind a p-value of one ticker."""

DAYS_AT_ONCE = 512
"""Days whose products with all others are held at once: those of decades have a gigabyte of them."""

_RIDGE = 1e-9
"""Keeps the equations of regressors that do not vary solvable; it moves nothing else."""


def dynamic_quantile(frame: pd.DataFrame) -> pd.DataFrame:
    """Test whether breaches are foretold by a constant, earlier breaches or the value at risk.

    Parameters
    ----------
    frame : the forecasts frame; rows whose return is not known are left out.

    Returns
    -------
    A row for each ticker, model and level, and over all tickers as `POOLED`: ticker, model, level,
    statistic, p_value. NaN with too few sessions.

    Notes
    -----
    With the surplus h = breach - p, and as regressors x a constant, the `LAGS` surpluses before and
    the value at risk (of each ticker, standardised), the statistic of a ticker is::

        (X'h)' (X'X)^-1 (X'h) / (p (1 - p))

    It is far from the chi-square of 6 degrees of freedom where breaches are few, so it is compared
    with that of `DRAWS` independent sequences of breaches at the same value at risk (Dufour 2006,
    Journal of Econometrics 133(2)). Over all tickers, which move together, x h is added
    up over the tickers and days. Days are drawn anew with replacement, all tickers of a day together,
    their surpluses less each ticker's mean; the statistic is the sum's squared Mahalanobis distance
    from zero in the covariance of the sums drawn, compared with theirs. Seeds are fixed.

    Raises
    ------
    HistoryError
        No outcome is known.
    """
    frame = clusters.known(frame)
    tests = Tests()
    tests.add(frame)
    return tests.table(lambda model, names: wide([frame[frame["model"] == model]], names))


class Tests:
    """The table of `dynamic_quantile`, from the forecasts of some tickers after the other."""

    __test__ = False  # pytest takes every Test… for one of its own

    def __init__(self) -> None:
        self._of_ticker: dict[tuple[str, float], dict[str, tuple[float, float]]] = {}

    def add(self, frame: pd.DataFrame) -> None:
        """Add the forecasts of some tickers, all of whose outcomes are known."""
        for level in RISK_LEVELS:
            table = _surpluses(frame, level).sort_values(["model", "ticker", "date"], kind="stable")
            for model, its in table.groupby("model", sort=False):
                tests = self._of_ticker.setdefault((str(model), level), {})
                tests |= _of_tickers(its, round(1 - level, 6))

    def table(self, wide_of: Callable[[str, Sequence[str]], list[np.ndarray]]) -> pd.DataFrame:
        """Return the tests of each ticker, and over all.

        Parameters
        ----------
        wide_of : gives columns of a model's forecasts of all tickers, as :func:`.wide.wide`.
        """
        rows = []
        for level in RISK_LEVELS:
            for model in sorted({name for name, _ in self._of_ticker}):
                tests = self._of_ticker[model, level]
                if len(tests) > 1:
                    p = round(1 - level, 6)
                    x, value = wide_of(model, ["log_return", f"q{p:g}"])
                    total = _pooled(x, value, p)
                else:
                    total = next(iter(tests.values()))
                for ticker, test in (tests | {POOLED: total}).items():
                    rows.append((ticker, model, level, *test))
        columns = ["ticker", "model", "level", "statistic", "p_value"]
        return pd.DataFrame(rows, columns=columns)


def _surpluses(frame: pd.DataFrame, level: float) -> pd.DataFrame:
    """Return ticker, model, date, surplus and value (at risk) of each row."""
    p = round(1 - level, 6)
    rows = frame[["ticker", "model", "date"]]
    return rows.assign(surplus=breached(frame, level) - p, value=frame[f"q{p:g}"])


def _of_tickers(rows: pd.DataFrame, p: float) -> dict[str, tuple[float, float]]:
    """Statistic and simulated p-value of each ticker, from rows in order of date."""
    tests: dict[str, tuple[float, float]] = {}
    by_length: dict[int, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for ticker, its in rows.groupby("ticker", sort=False):
        tests[str(ticker)] = np.nan, np.nan
        if len(its) > 2 * LAGS + 2:
            value = _standardised(its["value"].to_numpy())[LAGS:]
            series = by_length.setdefault(len(value), {})
            series[str(ticker)] = its["surplus"].to_numpy(), value
    for n, series in by_length.items():
        drawn = _simulated_statistics(np.column_stack([it for _, it in series.values()]), p)
        for column, (ticker, (surplus, value)) in enumerate(series.items()):
            lagged = [surplus[LAGS - k : LAGS - k + n] for k in range(LAGS + 1)]
            x = np.column_stack([np.ones(n), *lagged[1:], value])
            statistic = _statistic(x.T @ np.column_stack([lagged[0], x]), p)
            tests[ticker] = statistic, _among(drawn[:, column], statistic)
    return tests


def _standardised(value: np.ndarray) -> np.ndarray:
    """Values less their mean over their deviation along the first axis; 0 where they rest."""
    value = value - np.nanmean(value, axis=0)
    return np.asarray(value / np.maximum(np.nanstd(value, axis=0), 1e-12))


def _among(drawn: np.ndarray, statistic: float) -> float:
    """The p-value of a statistic among simulated ones; equal ones count half."""
    above, below = drawn > statistic * (1 + 1e-9), drawn < statistic * (1 - 1e-9)
    return float(((above.sum() + len(drawn) - below.sum()) / 2 + 0.5) / (len(drawn) + 1))


def _statistic(products: np.ndarray, p: float) -> float:
    """The statistic from the products of the regressors with the surplus and with each other."""
    with_surplus, squares = products[:, 0], products[:, 1:]
    solved = np.linalg.solve(squares + _RIDGE * np.eye(len(squares)), with_surplus[:, None])[:, 0]
    return float((with_surplus * solved).sum() / (p * (1 - p)))


def _simulated_statistics(values: np.ndarray, p: float) -> np.ndarray:
    """The statistics (draws, tickers) of simulated breaches at values at risk (n, tickers).

    Only the value at risk v differs from ticker to ticker, so the other regressors z are solved for
    once::

        h'z (z'z)^-1 z'h + (v'h - v'z (z'z)^-1 z'h)^2 / (v'v - v'z (z'z)^-1 z'v)
    """
    breaches, products = _drawn(len(values), p)
    sums = values.sum(axis=0)
    with_value = np.stack([it @ values - np.float32(p) * sums for it in breaches], axis=1)
    constant = np.broadcast_to(sums, (DRAWS, 1, values.shape[1]))
    others = np.concatenate([constant, with_value[:, 1:]], axis=1)  # z'v
    squares, with_surplus = products[:, 1:, 1:] + _RIDGE * np.eye(LAGS + 1), products[:, 1:, :1]
    solved = np.linalg.solve(squares, np.concatenate([with_surplus, others], axis=2))
    own = (with_surplus * solved[:, :, :1]).sum(axis=1)
    surplus_left = with_value[:, 0] - (others * solved[:, :, :1]).sum(axis=1)
    value_left = (values**2).sum(axis=0) + _RIDGE - (others * solved[:, :, 1:]).sum(axis=1)
    return np.asarray((own + surplus_left**2 / value_left) / (p * (1 - p)))


@lru_cache(maxsize=8)
def _drawn(n: int, p: float) -> "tuple[list[csr_array], np.ndarray]":
    """Simulated breaches of `n` sessions, those sessions' and those of each lag, and products.

    The breaches are (draws, n) each, the products (draws, lags + 2, lags + 2) are of the surplus, a
    constant and the surpluses before.
    """
    from scipy.sparse import csr_array

    drawn = np.random.default_rng(0).random((DRAWS, n + LAGS)) < p
    lagged = [drawn[:, LAGS - k : LAGS - k + n] for k in range(LAGS + 1)]
    now, *before = (it.astype(np.float32) - np.float32(p) for it in lagged)
    regressors = [now, np.ones_like(now), *before]
    products = np.empty((DRAWS, LAGS + 2, LAGS + 2))
    for i, a in enumerate(regressors):
        for k, b in enumerate(regressors[: i + 1]):
            products[:, i, k] = products[:, k, i] = np.einsum("ij,ij->i", a, b)
    return [csr_array(it, dtype=float) for it in lagged], products


def _pooled(x: np.ndarray, value: np.ndarray, p: float) -> tuple[float, float]:
    """Statistic and simulated p-value over all tickers, a day as one observation.

    `x` are log returns and `value` the values at risk, (days, tickers) each, NaN where there are none.
    """
    surplus = np.where(np.isnan(x), np.nan, (x < value) - p)
    n = len(surplus) - LAGS
    if n <= LAGS + 2:
        return np.nan, np.nan
    value = np.nan_to_num(_standardised(value))
    own = np.nan_to_num(surplus)
    observed = np.array(
        [
            own[LAGS:].sum(),
            *((own[LAGS:] * own[LAGS - k : -k]).sum() for k in range(1, LAGS + 1)),
            (own[LAGS:] * value[LAGS:]).sum(),
        ]
    )
    centred = np.nan_to_num(surplus - np.nanmean(surplus, axis=0))
    drawn = _sums(centred, value, _drawn_days(len(surplus)))
    inverse = np.linalg.pinv(np.cov(drawn.T), hermitian=True)
    statistic = float(observed @ inverse @ observed)
    return statistic, _among(np.einsum("ij,jk,ik->i", drawn, inverse, drawn), statistic)


@lru_cache(maxsize=1)
def _drawn_days(sessions: int) -> np.ndarray:
    """Days drawn with replacement: (draws, sessions)."""
    return np.random.default_rng(0).integers(sessions, size=(DRAWS, sessions))


def _sums(surplus: np.ndarray, value: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Regressors times surplus, summed over the tickers and the days.

    Parameters
    ----------
    surplus, value : (sessions, tickers).
    days : (draws, sessions), which day's surpluses each session has.

    Returns
    -------
    (draws, LAGS + 2)
    """
    draws, sessions = days.shape
    sums = np.zeros((draws, LAGS + 2))
    sums[:, 0] = surplus.sum(axis=1)[days[:, LAGS:]].sum(axis=1)
    block = (days[:, LAGS:] // DAYS_AT_ONCE).astype(np.uint16).ravel()
    order = np.argsort(block, kind="stable")
    places = np.split(
        order, np.bincount(block).cumsum()[:-1]
    )  # where a day of each block was drawn
    for begin, its in zip(range(0, sessions, DAYS_AT_ONCE), places, strict=False):
        rows = surplus[begin : begin + DAYS_AT_ONCE]
        with_others, with_value = rows @ surplus.T, rows @ value.T  # (days at once, sessions) each
        draw, at = np.divmod(its, sessions - LAGS)
        at += LAGS
        row = (days[draw, at] - begin) * sessions
        for k in range(1, LAGS + 1):
            terms = with_others.take(row + days[draw, at - k])
            sums[:, k] += np.bincount(draw, terms, draws)
        sums[:, -1] += np.bincount(draw, with_value.take(row + at), draws)
    return sums
