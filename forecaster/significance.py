"""Is the difference between two forecasters more than luck?"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special

from forecaster.errors import ForecastError, HistoryError, UsageError
from forecaster.metrics import BASELINES

LEVEL = 0.05

_TITLES = {"garch": "GARCH", "gjr": "GJR-GARCH"}
_COLUMNS = ["model", "against", "metric", "difference", "ratio", "statistic", "p_value", "sessions"]


@dataclass(frozen=True)
class Test:
    """A test of equal mean loss: mean of a - b, its t statistic and two-sided p-value."""

    __test__ = False  # pytest takes every Test… for one of its own

    difference: float
    statistic: float
    p_value: float
    sessions: int
    lags: int


def diebold_mariano(loss_a: ArrayLike, loss_b: ArrayLike, *, lags: int | None = None) -> Test:
    """Diebold-Mariano test of equal mean loss of two forecasters, session by session.

    Parameters
    ----------
    loss_a, loss_b : (sessions,)
        Losses of the same sessions, in order of time. A negative statistic favours `a`.
    lags : int, optional
        Autocovariances in the long-run variance; floor(4 (T / 100)^(2/9)) by default, and never
        more than T - 1.

    Raises
    ------
    ForecastError
        The series differ in length, are not 1-D or hold a value that is not finite.
    HistoryError
        Fewer than two sessions.

    Notes
    -----
    With d = a - b over T sessions and autocovariances g (divided by T)::

        V = g[0] + 2 sum_{k=1..L} (1 - k / (L + 1)) g[k]
        statistic = sqrt((T - 1) / T) * mean(d) / sqrt(V / T)

    read from Student's t with T - 1 degrees of freedom. Equal losses have statistic 0, p-value 1.

    References
    ----------
    Diebold and Mariano (1995), Comparing predictive accuracy, Journal of Business & Economic
    Statistics 13(3). The Bartlett weights are of Newey and West (1987), Econometrica 55(3); they
    keep V from turning negative. The correction and the t distribution are of Harvey, Leybourne
    and Newbold (1997), International Journal of Forecasting 13(2), at horizon 1.
    """
    a, b = np.asarray(loss_a, dtype=float), np.asarray(loss_b, dtype=float)
    if a.ndim != 1 or a.shape != b.shape:
        raise ForecastError(
            f"expected two loss series of one length, came shapes {a.shape} and {b.shape}; "
            "pair them by session first"
        )
    d = a - b
    n = len(d)
    if n < 2:
        raise HistoryError(
            f"expected at least 2 sessions to test a difference, came {n}; score a longer span"
        )
    if not np.isfinite(d).all():
        raise ForecastError(
            f"expected finite losses, came {int((~np.isfinite(d)).sum())} that are not; "
            "drop those sessions from both series"
        )
    if lags is None:
        lags = int(4 * (n / 100) ** (2 / 9))
    lags = min(lags, n - 1)
    difference = float(d.mean())
    error = np.sqrt(_long_run_variance(d, lags) / (n - 1))
    if error > 0:
        statistic = difference / error
    else:
        statistic = float(np.sign(difference)) * np.inf if difference else 0.0
    p_value = 2 * special.stdtr(n - 1, -abs(statistic))
    return Test(difference, float(statistic), float(p_value), n, lags)


def by_day(
    losses: pd.DataFrame, a: str, b: str, metric: str = "crps"
) -> tuple[np.ndarray, np.ndarray]:
    """Daily mean losses of two models, over the rows that both have, in order of date.

    `losses` is the frame of `metrics.losses`. The mean over tickers comes first because what
    happens to them on one day is one piece of evidence, not many. Raises UsageError for a model
    or metric that is not in the frame.
    """
    return _daily_pair(_by_model(losses, metric), a, b)


def compare(
    losses: pd.DataFrame, *, against: Sequence[str] = BASELINES, metric: str = "crps"
) -> pd.DataFrame:
    """Test every model of `losses` against the baselines that are there.

    One row for each pair that shares two sessions or more: model, against, metric (a column of
    `metrics.losses` where lower is better), difference of the mean daily losses, their ratio
    (below 1 favours the model; it means something for losses above zero, such as CRPS), and the
    statistic, p_value and sessions of `diebold_mariano`.
    """
    models = list(losses["model"].unique())
    wide = _by_model(losses, metric)
    rows = []
    for model in models:
        for baseline in against:
            if baseline == model or baseline not in models:
                continue
            ours, theirs = _daily_pair(wide, model, baseline)
            if len(ours) < 2:
                continue
            test = asdict(diebold_mariano(ours, theirs))
            ratio = ours.mean() / theirs.mean()
            rows.append(
                {"model": model, "against": baseline, "metric": metric, "ratio": ratio, **test}
            )
    return pd.DataFrame(rows, columns=_COLUMNS)


def verdict(comparison: pd.DataFrame, model: str = "lstm") -> str:
    """Say in one sentence whether the model beat its baselines by CRPS, and how surely.

    `comparison` is the frame of `compare`. A p-value below `LEVEL` is a difference.
    """
    rows = comparison[(comparison["model"] == model) & (comparison["metric"] == "crps")]
    if rows.empty:
        return (
            f"Nothing can be said of {model}: a score alone has no meaning, and there are no two "
            f"sessions that it and a baseline ({' or '.join(BASELINES)}) both forecast."
        )
    sure, lower = rows["p_value"] < LEVEL, rows["difference"] < 0
    beaten, level, worse = rows[sure & lower], rows[~sure], rows[sure & ~lower]
    misses = " and ".join(
        f"{words} {_listed(group['against'].map(_title), 'or')}"
        for words, group in (("no better than", level), ("worse than", worse))
        if len(group)
    )
    if beaten.empty:
        headline = f"{misses[0].upper()}{misses[1:]}"
    else:
        wins = f"{model} beat {_listed(beaten['against'].map(_title))}"
        headline = f"{wins} but is {misses}" if misses else wins
    fewest, most = rows["sessions"].min(), rows["sessions"].max()
    sessions = f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"
    return (
        f"{headline}: the CRPS of {model} is {_listed(rows.apply(_gap, axis=1))} "
        f"over {sessions} sessions (Diebold–Mariano test at the {LEVEL:.0%} level)."
    )


def _by_model(losses: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the losses with a column for each model, a row for each date, ticker and cutoff."""
    if metric not in losses:
        raise UsageError(
            f"expected a metric that was scored, came {metric!r}; choose one of "
            f"{', '.join(losses.select_dtypes('number').columns)}"
        )
    return losses.pivot(index=["date", "ticker", "cutoff"], columns="model", values=metric)


def _daily_pair(wide: pd.DataFrame, a: str, b: str) -> tuple[np.ndarray, np.ndarray]:
    unknown = [name for name in (a, b) if name not in wide]
    if unknown:
        raise UsageError(
            f"expected a model that was scored, came {unknown[0]!r}; choose one of "
            f"{', '.join(wide.columns)}"
        )
    daily = wide[[a, b]].dropna().groupby(level="date").mean().to_numpy()  # (dates, 2)
    return daily[:, 0], daily[:, 1]


def _long_run_variance(d: np.ndarray, lags: int) -> float:
    centred, n = d - d.mean(), len(d)
    covariances = [centred[k:] @ centred[: n - k] / n for k in range(lags + 1)]
    weights = 1 - np.arange(1, lags + 1) / (lags + 1)
    return float(covariances[0] + 2 * weights @ np.array(covariances[1:]))


def _gap(row: pd.Series) -> str:
    chance = "p < 0.001" if row["p_value"] < 0.001 else f"p = {row['p_value']:.3f}"
    note = "" if row["p_value"] < LEVEL else ", not significant"
    if row["difference"] == 0:
        size = "the same as"
    else:
        side = "lower" if row["difference"] < 0 else "higher"
        size = f"{abs(1 - row['ratio']):.2%} {side} than"
    return f"{size} that of {_title(row['against'])} ({chance}{note})"


def _title(name: str) -> str:
    return _TITLES.get(name, name)


def _listed(words: Iterable[str], link: str = "and") -> str:
    *first, last = words
    return f"{', '.join(first)} {link} {last}" if first else last
