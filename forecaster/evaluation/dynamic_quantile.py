"""The dynamic quantile test: can a breach of the value at risk be foreseen?

Engle and Manganelli (2004), CAViaR: conditional autoregressive value at risk by regression quantiles,
Journal of Business & Economic Statistics 22(4).
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pandas as pd

from forecaster.evaluation import clusters
from forecaster.evaluation.metrics import POOLED
from forecaster.evaluation.value_at_risk import RISK_LEVELS, breached

LAGS = 4
"""Sessions before whose breaches may foretell one."""

DRAWS = 499
"""Simulated sequences of breaches behind a p-value of one ticker."""

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
    return tests.table(lambda model, level: frame[frame["model"] == model])


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
                for ticker, one in its.groupby("ticker", sort=False):
                    values = (one[name].to_numpy() for name in ("surplus", "value"))
                    tests[str(ticker)] = _of_ticker(*values, round(1 - level, 6))

    def table(self, forecasts_of: Callable[[str, float], pd.DataFrame]) -> pd.DataFrame:
        """Return the tests of each ticker, and over all.

        Parameters
        ----------
        forecasts_of : gives the forecasts of a model of all tickers, with the quantile of a level.
        """
        rows = []
        for level in RISK_LEVELS:
            for model in sorted({name for name, _ in self._of_ticker}):
                tests = self._of_ticker[model, level]
                if len(tests) > 1:
                    total = _pooled(_surpluses(forecasts_of(model, level), level))
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


def _of_ticker(surplus: np.ndarray, value: np.ndarray, p: float) -> tuple[float, float]:
    """Statistic and simulated p-value of one ticker's surpluses and value at risk, (sessions,) each."""
    n = len(surplus) - LAGS
    if n <= LAGS + 2:
        return np.nan, np.nan
    value = _standardised(value)[LAGS:]
    lagged = [surplus[LAGS - k : LAGS - k + n] for k in range(LAGS + 1)]
    x = np.column_stack([np.ones(n), *lagged[1:], value])
    products = x.T @ np.column_stack([lagged[0], x])
    statistic = float(_statistics(products[None], p)[0])
    return statistic, _among(_statistics(_simulated_products(value, p), p), statistic)


def _standardised(value: np.ndarray) -> np.ndarray:
    """Values less their mean over their deviation along the first axis; 0 where they rest."""
    value = value - np.nanmean(value, axis=0)
    return np.asarray(value / np.maximum(np.nanstd(value, axis=0), 1e-12))


def _among(drawn: np.ndarray, statistic: float) -> float:
    """The p-value of a statistic among simulated ones; equal ones count half."""
    above, below = drawn > statistic * (1 + 1e-9), drawn < statistic * (1 - 1e-9)
    return float(((above.sum() + len(drawn) - below.sum()) / 2 + 0.5) / (len(drawn) + 1))


def _statistics(products: np.ndarray, p: float) -> np.ndarray:
    """Statistics (draws,) from regressors times surplus and regressors: (draws, 6, 7)."""
    with_surplus, squares = products[..., 0], products[..., 1:]
    squares = squares + _RIDGE * np.eye(squares.shape[-1])
    solved = np.linalg.solve(squares, with_surplus[..., None])[..., 0]
    return np.asarray((with_surplus * solved).sum(axis=-1) / (p * (1 - p)))


def _simulated_products(value: np.ndarray, p: float) -> np.ndarray:
    """Regressors times surplus and regressors, (draws, 6, 7), of simulated breaches."""
    n = len(value)
    lagged, between = _drawn(n, p)
    with_value = np.stack([it @ value for it in lagged], axis=1)  # (draws, lags + 1)
    sums = np.stack([it.sum(axis=1) for it in lagged], axis=1)
    products = np.empty((DRAWS, LAGS + 2, LAGS + 3))
    products[:, 0, 0], products[:, 0, 1] = sums[:, 0], n
    products[:, 0, 2:-1], products[:, 0, -1] = sums[:, 1:], value.sum()
    products[:, 1:-1, 0] = between[:, 1:, 0]
    products[:, 1:-1, 1] = sums[:, 1:]
    products[:, 1:-1, 2:-1] = between[:, 1:, 1:]
    products[:, 1:-1, -1] = with_value[:, 1:]
    products[:, -1, 0], products[:, -1, 1] = with_value[:, 0], value.sum()
    products[:, -1, 2:-1], products[:, -1, -1] = with_value[:, 1:], value @ value
    return products


@lru_cache(maxsize=8)
def _drawn(n: int, p: float) -> tuple[list[np.ndarray], np.ndarray]:
    """Simulated surpluses, as they are and lagged, (draws, n) each, and their products."""
    drawn = np.random.default_rng(0).random((DRAWS, n + LAGS)) < p
    surplus = drawn.astype(np.float32) - np.float32(p)
    lagged = [surplus[:, LAGS - k : LAGS - k + n] for k in range(LAGS + 1)]
    between = np.empty((DRAWS, LAGS + 1, LAGS + 1))
    for i, a in enumerate(lagged):
        for k, b in enumerate(lagged[: i + 1]):
            between[:, i, k] = between[:, k, i] = np.einsum("ij,ij->i", a, b)
    return lagged, between


def _pooled(rows: pd.DataFrame) -> tuple[float, float]:
    """Statistic and simulated p-value over all tickers, a day as one observation."""
    surplus, value = (
        rows.pivot(index="date", columns="ticker", values=name).to_numpy()
        for name in ("surplus", "value")
    )
    n = len(surplus) - LAGS
    if n <= LAGS + 2:
        return np.nan, np.nan
    value = np.nan_to_num(_standardised(value))
    observed = _sums(np.nan_to_num(surplus), value, np.arange(len(surplus))[None])[0]
    centred = np.nan_to_num(surplus - np.nanmean(surplus, axis=0))
    days = np.random.default_rng(0).integers(len(surplus), size=(DRAWS, len(surplus)))
    drawn = _sums(centred, value, days)
    inverse = np.linalg.pinv(np.cov(drawn.T), hermitian=True)
    statistic = float(observed @ inverse @ observed)
    return statistic, _among(np.einsum("ij,jk,ik->i", drawn, inverse, drawn), statistic)


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
    with_others, with_value = surplus @ surplus.T, surplus @ value.T  # (sessions, sessions) each
    now, at = days[:, LAGS:], np.arange(LAGS, days.shape[1])
    before = [days[:, LAGS - k : days.shape[1] - k] for k in range(1, LAGS + 1)]
    terms = [
        surplus.sum(axis=1)[now],
        *(with_others[now, it] for it in before),
        with_value[now, at],
    ]
    return np.column_stack([it.sum(axis=1) for it in terms])
