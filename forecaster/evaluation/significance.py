"""Is the difference between two forecasters more than luck?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special

from forecaster.errors import ForecastError, HistoryError
from forecaster.evaluation.metrics import BASELINES
from forecaster.evaluation.panel import Panel

LEVEL = 0.05
ROUNDING = 1e-9
"""Losses that differ by this share of themselves are the same."""

LOGARITHMS = ("qlike", "qlike_range", "log_score", "fz_95", "fz_99")
"""Losses that are logarithms, whose differences (in nats) mean something and whose ratios do not."""

RESAMPLES = 1000
MIN_BOOTSTRAP = 20
"""With fewer sessions a bootstrap says nothing."""

_COLUMNS = ["model", "against", "metric", "difference", "ratio", "statistic", "p_value", "sessions"]


@dataclass(frozen=True)
class Test:
    """A test of equal mean loss: mean of a - b, its t statistic and two-sided p-value."""

    __test__ = False  # pytest takes every Test… for one of its own

    difference: float
    statistic: float
    p_value: float
    sessions: int
    overlapping_df: int | None = None
    """Degrees of freedom of the t statistic of forecasts that overlap"""

    @property
    def df(self) -> int:
        """Degrees of freedom of the t statistic."""
        return self.overlapping_df or int(degrees_of_freedom(self.sessions))

    @property
    def p_lower(self) -> float:
        """The one-sided p-value: small where the mean is surely below zero."""
        return float(special.stdtr(self.df, self.statistic))

    @property
    def p_higher(self) -> float:
        """The one-sided p-value: small where the mean is surely above zero."""
        return float(special.stdtr(self.df, -self.statistic))


def diebold_mariano(loss_a: ArrayLike, loss_b: ArrayLike, overlapping: int = 1) -> Test:
    """Diebold-Mariano test of equal mean loss of two forecasters, session by session.

    Parameters
    ----------
    loss_a, loss_b : (sessions,)
        Losses of the same sessions, in order of time. A negative statistic favours `a`.
    overlapping : how many successive forecasts share a session (:func:`.metrics.overlap`).

    Raises
    ------
    ForecastError
        The series differ in length, are not 1-D or hold a value that is not finite.
    HistoryError
        Fewer than two sessions.

    Notes
    -----
    With d = a - b over T sessions, the long-run variance is the mean of the squares of the first B
    cosine weights of d, its slow movements (EWC)::

        w[j] = sqrt(2 / T) sum_t d[t] cos(pi j (t - 1/2) / T),    j = 1 .. B
        statistic = mean(d) / sqrt(mean(w²) / T)

    read from Student's t with B = `degrees_of_freedom` (T). Where losses are persistent, as those of
    volatility are, this rejects equals about as often as it says: at an autocorrelation of 0.8 and
    1,500 sessions 6 times in a hundred, where Newey and West's errors do so 15 times. Equal losses
    have statistic 0, p-value 1; losses are equal where they differ by no more than rounding does
    (`ROUNDING`).

    Where h successive forecasts share a session, as those h sessions ahead that are made every
    session, losses depend on each other over h - 1 of them by that alone. Diebold and Mariano's
    variance adds up these autocovariances (by Bartlett's weights where the sum is not above zero),
    Harvey, Leybourne and Newbold correct it for short spans and read Student's t with T - 1 degrees
    of freedom::

        variance = (c[0] + 2 sum_{k<h} c[k]) / ((T + 1 - 2h + h (h - 1) / T) / T)

    As losses are more persistent than their overlap, the EWC test is made beside it, with no more
    weights than there are forecasts that do not overlap, less 1; the less sure of the two is
    returned. Of forecasts 21 sessions ahead of 63 to 1,500 sessions it rejects equals 4 to 8 times in a
    hundred, where the errors of Harvey and others alone do so 22 times at 63 and 5 at 1,500. With
    fewer than 2h sessions statistic and p-value are NaN: no two forecasts are apart.

    References
    ----------
    Diebold and Mariano (1995), Comparing predictive accuracy, Journal of Business & Economic
    Statistics 13(3). Harvey, Leybourne and Newbold (1997), Testing the equality of prediction mean
    squared errors, International Journal of Forecasting 13(2). Lazarus, Lewis, Stock and Watson
    (2018), HAR inference: recommendations for practice, Journal of Business & Economic Statistics
    36(4), for the variance, B and the t.
    """
    a, b = np.asarray(loss_a, dtype=float), np.asarray(loss_b, dtype=float)
    if a.ndim != 1 or a.shape != b.shape:
        raise ForecastError(
            f"expected two loss series of one length, came shapes {a.shape} and {b.shape}; "
            "pair them by session first"
        )
    d = np.where(np.abs(a - b) <= ROUNDING * np.abs(b), 0.0, a - b)
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
    difference = float(d.mean())
    if overlapping > 1:
        return max(
            (_test(difference, it, n, df) for it, df in _overlapping_variances(d, overlapping)),
            key=lambda test: test.p_value,
            default=Test(difference, np.nan, np.nan, n),
        )
    return _test(difference, long_run_covariance(d[:, None])[0, 0], n)


def _test(difference: float, variance: float, n: int, df: int | None = None) -> Test:
    """The test of a mean of `n` differences from their long-run variance."""
    error = np.sqrt(variance / n)
    if error > 0:
        statistic = difference / error
    else:
        statistic = float(np.sign(difference)) * np.inf if difference else 0.0
    p_value = 2 * special.stdtr(df or degrees_of_freedom(n), -abs(statistic))
    return Test(difference, float(statistic), float(p_value), n, df)


def _overlapping_variances(d: np.ndarray, h: int) -> list[tuple[float, int]]:
    """The long-run variances of differences that overlap, each with its degrees of freedom.

    Those of `diebold_mariano`: of Harvey, Leybourne and Newbold, and of the cosine weights; none where
    no two forecasts are apart.
    """
    n = len(d)
    if n < 2 * h:
        return []
    centred = d - d.mean()
    covariances = np.array([centred[lag:] @ centred[: n - lag] for lag in range(h)]) / n
    variance = covariances[0] + 2 * covariances[1:].sum()
    if variance <= 0:
        variance = covariances[0] + 2 * (1 - np.arange(1, h) / h) @ covariances[1:]
    corrected = variance / ((n + 1 - 2 * h + h * (h - 1) / n) / n)
    count = min(int(degrees_of_freedom(n)), n // h - 1)
    return [
        (float(corrected), n - 1),
        (float(long_run_covariance(d[:, None], count)[0, 0]), count),
    ]


def long_run_variance(d: np.ndarray, overlapping: int = 1) -> float:
    """Return the larger of the long-run variances of differences (sessions,), as `diebold_mariano`.

    NaN where no two forecasts are apart.
    """
    if overlapping == 1:
        return float(long_run_covariance(d[:, None])[0, 0])
    return max((it for it, _ in _overlapping_variances(d, overlapping)), default=np.nan)


def degrees_of_freedom(sessions: ArrayLike) -> np.ndarray:
    """Return the cosine weights in a long-run variance: floor(0.4 sessions^(2/3)), at least 1."""
    weights = np.floor(0.4 * np.asarray(sessions, dtype=float) ** (2 / 3))
    return np.asarray(np.maximum(weights, 1).astype(int))


def long_run_covariance(series: np.ndarray, count: int | None = None) -> np.ndarray:
    """Return the long-run covariance (k, k) of series (sessions, k), from their cosine weights.

    That of the mean is this over the sessions; see `diebold_mariano`. `count` is how many weights, by
    default `degrees_of_freedom`.
    """
    from scipy.fft import dct

    n = len(series)
    count = count or int(degrees_of_freedom(n))
    # SciPy's transform is twice the sum.
    weights = dct(series - series.mean(axis=0), axis=0)[1 : count + 1] / np.sqrt(2 * n)
    return np.asarray(weights.T @ weights / count)


def by_day(
    losses: pd.DataFrame | Panel, a: str, b: str, metric: str = "crps"
) -> tuple[np.ndarray, np.ndarray]:
    """Daily mean losses of two models, over the rows that both have, in order of date.

    `losses` is the frame of `metrics.losses`. Raises UsageError for a model or metric that is not in
    the frame. See :meth:`forecaster.evaluation.panel.Panel.daily`.
    """
    daily = Panel.of(losses).daily(metric, a, b).to_numpy()  # (sessions, 2)
    return daily[:, 0], daily[:, 1]


def compare(
    losses: pd.DataFrame | Panel,
    *,
    models: Sequence[str] | None = None,
    against: Sequence[str] = BASELINES,
    metric: str = "crps",
) -> pd.DataFrame:
    """Test models of `losses`, by default all, against the baselines that are there, over all tickers.

    A panel test: what happens to the tickers on one day is one piece of evidence, so losses are
    averaged over them first, and the daily means are tested with errors that allow for
    heteroskedasticity and autocorrelation. One row for each pair that shares two sessions or more:
    model, against, metric (a column of `metrics.losses` where lower is better), difference of the
    mean daily losses, their ratio (below 1 favours the model; NaN for `LOGARITHMS`), and the
    statistic, p_value and sessions of `diebold_mariano`. Of forecasts of several sessions ahead, all
    rows of one step, df as well: the degrees of freedom of the statistic.
    """
    panel, rows = Panel.of(losses), []
    there = panel.models
    pairs = [(m, b) for m in models or there for b in against if b != m and b in there]
    for model, baseline in pairs:
        ours, theirs = by_day(panel, model, baseline, metric)
        if len(ours) < 2:
            continue
        test = diebold_mariano(ours, theirs, panel.overlap)
        ratio = np.nan if metric in LOGARITHMS else ours.mean() / theirs.mean()
        row = {"model": model, "against": baseline, "metric": metric, "ratio": ratio}
        rows.append({**row, **asdict(test), "df": test.df})
    return pd.DataFrame(rows, columns=_COLUMNS if panel.step == 1 else [*_COLUMNS, "df"])


def per_ticker(
    losses: pd.DataFrame | Panel, *, against: Sequence[str] = BASELINES, metric: str = "crps"
) -> pd.DataFrame:
    """Test every model against the baselines, ticker by ticker.

    The columns of `compare`, after ticker, and q_value: the p-value corrected for the tickers
    tested of one model and baseline, so that of the tickers with a q_value below 5% at most 5% are
    expected to be false (Benjamini and Hochberg 1995, Journal of the Royal Statistical Society B
    57(1)).
    """
    tables = [
        compare(its, against=against, metric=metric).assign(ticker=str(ticker))
        for ticker, its in Panel.of(losses).by("ticker")
    ]
    table = corrected(pd.concat(tables, ignore_index=True), ["model", "against"])
    return table[["ticker", *tables[0].columns.drop("ticker"), "q_value"]]


def ratio_interval(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 95% interval of each ratio in a table of `compare`, (rows,) each.

    The mean difference of a day, give or take its standard error times the 97.5% quantile of
    Student's t, over the other model's mean. NaN where losses are equal, which have no error.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.abs(table["difference"] / table["statistic"])
        other = table["difference"] / (table["ratio"] - 1)  # the other's mean loss
        own = table["df"] if "df" in table else degrees_of_freedom(table["sessions"].astype(float))
        df = np.asarray(own, dtype=float)
        reach = np.abs(special.stdtrit(df, 0.975) * error / other)
    return (table["ratio"] - reach).to_numpy(), (table["ratio"] + reach).to_numpy()


def wins(tests: pd.DataFrame, model: str) -> pd.DataFrame:
    """Return on how many tickers a model is better than each baseline, from `per_ticker`.

    Indexed by against: tickers, better (a ratio below 1) and significant (of those, a q_value
    below `LEVEL`).
    """
    rows = tests[tests["model"] == model]
    better = rows["ratio"] < 1
    rows = rows.assign(better=better, significant=better & (rows["q_value"] < LEVEL))
    return rows.groupby("against", sort=False).agg(
        tickers=("ticker", "size"), better=("better", "sum"), significant=("significant", "sum")
    )


def corrected(table: pd.DataFrame, family: list[str]) -> pd.DataFrame:
    """Add q_value: Benjamini and Hochberg's p-values within each family; NaN stays NaN."""
    table = table.assign(q_value=np.nan)
    known = table[table["p_value"].notna()]
    for _, rows in known.groupby(family, sort=False):
        table.loc[rows.index, "q_value"] = false_discovery(rows["p_value"].to_numpy())
    return table


def false_discovery(p_values: np.ndarray) -> np.ndarray:
    """Return p-values corrected for their number: those below a share expect no more false ones.

    That of the k-th smallest of n is the least n / i times the i-th over i from k on, 1 at the most
    (Benjamini and Hochberg 1995). `scipy.stats.false_discovery_control` is the same, and half a
    second to import.
    """
    order, n = p_values.argsort(), len(p_values)
    scaled = p_values[order] * (n / np.arange(1, n + 1))
    values = np.empty(n)
    values[order] = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    return values


def confidence_set(
    losses: pd.DataFrame | Panel, *, metric: str = "crps", seed: int = 0
) -> pd.DataFrame:
    """Which models may be the best? The model confidence set at `LEVEL`, by daily mean losses.

    Hansen, Lunde and Nason (2011), The model confidence set, Econometrica 79(2), by
    `arch.bootstrap.MCS` with the stationary bootstrap: a row for each model, with its p_value and
    whether it is included. Fewer than two models are all included, and models of the same losses
    are one. All are where the sessions are too few for a bootstrap (`can_bootstrap`).
    """
    panel = Panel.of(losses)
    every, overlapping = panel.daily(metric, *panel.models), panel.overlap
    twin = _twins(every)
    daily = every[list(dict.fromkeys(twin.values()))]
    if daily.shape[1] < 2 or not can_bootstrap(len(daily), overlapping):
        return pd.DataFrame({"model": every.columns, "p_value": np.nan, "included": True})
    from arch.bootstrap import MCS

    test = MCS(
        daily.to_numpy(),
        LEVEL,
        reps=RESAMPLES,
        block_size=block_length(daily, overlapping),
        bootstrap="stationary",
        seed=seed,
    )
    test.compute()
    p_value = dict(zip(daily, test.pvalues["Pvalue"].sort_index(), strict=True))
    p_values = np.array([p_value[twin[str(model)]] for model in every])
    return pd.DataFrame({"model": every.columns, "p_value": p_values, "included": p_values > LEVEL})


def superior_ability(
    losses: pd.DataFrame | Panel,
    *,
    against: Sequence[str] = BASELINES,
    metric: str = "crps",
    seed: int = 0,
) -> pd.DataFrame:
    """Test whether any model is better than a baseline, given how many were tried.

    Returns
    -------
    A row for each baseline: benchmark, models (their number), and p_lower, p_consistent and p_upper
    of "none is better".

    Notes
    -----
    By `arch.bootstrap.SPA` with the stationary bootstrap on daily mean losses. Its statistic is the
    largest mean difference, White's (2000, Econometrica 68(5)), whether or not it is asked to
    studentise. Differences are therefore divided by the root of their long-run variance before, so
    that the statistic is Hansen's, in which a poor model that varies much hides nothing.

    References
    ----------
    Hansen (2005), A test for superior predictive ability, Journal of Business & Economic Statistics
    23(4).
    """
    panel = Panel.of(losses)
    daily, overlapping = panel.daily(metric, *panel.models), panel.overlap
    twin, rows = _twins(daily), []
    for baseline in against:
        others = [model for model in daily if twin[str(model)] != twin.get(baseline)]
        if baseline not in daily or not others or not can_bootstrap(len(daily), overlapping):
            continue
        from arch.bootstrap import SPA

        gaps = daily[others].sub(daily[baseline], axis=0).to_numpy()
        block = block_length(daily, overlapping)
        gaps = gaps / np.sqrt([_bootstrap_variance(gap, block) for gap in gaps.T])
        test = SPA(
            np.zeros(len(gaps)),
            gaps,
            block_size=block,
            reps=RESAMPLES,
            bootstrap="stationary",
            seed=seed,
        )
        test.compute()
        values = {
            f"p_{name}": float(test.pvalues[name]) for name in ("lower", "consistent", "upper")
        }
        rows.append({"benchmark": baseline, "models": len(others), **values})
    return pd.DataFrame(rows, columns=["benchmark", "models", "p_lower", "p_consistent", "p_upper"])


def _bootstrap_variance(values: np.ndarray, block: int) -> float:
    """Variance of the root of n times a mean under the stationary bootstrap of a mean block.

    The formula of Politis and Romano (1994), Journal of the American Statistical Association
    89(428), lemma 1, that Hansen studentises with.
    """
    centred, n = values - values.mean(), len(values)
    lags = np.arange(1, n)
    covariances = np.correlate(centred, centred, "full")[n - 1 :] / n
    stay = 1 - 1 / block
    weights = (1 - lags / n) * stay**lags + lags / n * stay ** (n - lags)
    return float(covariances[0] + 2 * weights @ covariances[1:])


def _twins(daily: pd.DataFrame) -> dict[str, str]:
    """The first model with the same losses, but for rounding, of each: between them is no test."""
    twins: dict[str, str] = {}
    for model in daily:
        same = (it for it in twins if np.allclose(daily[it], daily[model], rtol=ROUNDING, atol=0))
        twins[str(model)] = next(same, str(model))
    return twins


def can_bootstrap(sessions: int, overlapping: int) -> bool:
    """Return whether there are `MIN_BOOTSTRAP` sessions whose forecasts do not overlap."""
    return sessions >= MIN_BOOTSTRAP * overlapping


def block_length(daily: pd.DataFrame, overlapping: int = 1) -> int:
    """Sessions of a block of the stationary bootstrap for daily losses (sessions, models).

    The longest that Politis and White (2004; corrected 2009, Econometric Reviews 28(4)) find best
    for a difference between the first model and another, at least one, by `arch`; at least twice
    as long as forecasts overlap.
    """
    from arch.bootstrap import optimal_block_length

    least = 1 if overlapping == 1 else 2 * overlapping
    differences = daily.iloc[:, 1:].sub(daily.iloc[:, 0], axis=0)
    differences = differences.loc[:, differences.std() > 0]
    if differences.empty or len(daily) < MIN_BOOTSTRAP:
        return least
    with np.errstate(divide="ignore", invalid="ignore"):  # of a series that hardly varies
        longest = optimal_block_length(differences)["stationary"].max()
    return max(least, round(longest)) if np.isfinite(longest) else least
