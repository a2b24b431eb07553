"""Is one forecaster better than another all the time, or only on average?

Everything is of daily mean losses over the tickers that two models share, as in
:func:`forecaster.evaluation.significance.compare`.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import special

from forecaster.evaluation import significance
from forecaster.evaluation.metrics import BASELINES
from forecaster.evaluation.panel import Panel

WINDOW = 0.3
"""Share of the sessions in the moving window of the fluctuation test."""

_LEAST = 20
"""Sessions without which nothing is said of changes over time."""

_PATHS, _STEPS = 10_000, 1000
"""Simulated Brownian motions behind the p-values of the fluctuation test, and their steps."""

_PATHS_AT_ONCE = 1000
"""Those that are held at once."""


def by_year(
    losses: pd.DataFrame | Panel, *, against: Sequence[str] = BASELINES, metric: str = "crps"
) -> pd.DataFrame:
    """Test every model against the baselines in each calendar year.

    Returns
    -------
    year, then the columns of :func:`forecaster.evaluation.significance.compare`. Each test stands
    alone: of 20 years of equals one is expected below 5%.
    """
    panel = Panel.of(losses)
    tables = [
        significance.compare(its, against=against, metric=metric).assign(year=year)
        for year, its in panel.by("year")
    ]
    columns = significance.compare(panel, against=[], metric=metric).columns
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    return table.reindex(columns=["year", *columns]).sort_values(
        ["model", "against", "year"], kind="stable", ignore_index=True
    )


def stability(
    losses: pd.DataFrame | Panel, *, against: Sequence[str] = BASELINES, metric: str = "crps"
) -> pd.DataFrame:
    """Test whether the difference between two models is foreseeable, and whether it changes.

    Parameters
    ----------
    losses : of :func:`forecaster.evaluation.metrics.losses`.
    against : models to be compared with.
    metric : a loss, lower is better.

    Returns
    -------
    A row for each model and baseline that share `_LEAST` sessions that do not overlap:

    ======================  ================================================================
    model, against, metric
    conditional_statistic,  of Giacomini and White: does the difference of one session, or a
    conditional_p           constant, foretell that of the next? Chi-square, 2 degrees of freedom
    fluctuation, highest,   the largest absolute value, and the largest value, of the t statistic
    fluctuation_p           in a moving window of `WINDOW` of the sessions, and the p-value of the
                            former under equal losses at all times (Giacomini and Rossi)
    worst_from, worst_to    the window in which the model did worst against the baseline
    worst_difference        its mean difference there, above 0 where the model was the worse
    sessions
    ======================  ================================================================

    Notes
    -----
    The statistic of a window of m sessions is the sum of its differences over sqrt(m) times the root
    of the long-run variance of all of them. Its largest absolute value is compared with that of
    (B(s + w) - B(s)) / sqrt(w) for a Brownian motion B and the share w, simulated with a fixed seed.
    Of forecasts h sessions ahead Giacomini and White's test is of every h-th session.

    References
    ----------
    Giacomini and White (2006), Tests of conditional predictive ability, Econometrica 74(6).
    Giacomini and Rossi (2010), Forecast comparisons in unstable environments, Journal of Applied
    Econometrics 25(4).
    """
    panel, rows = Panel.of(losses), []
    there, overlapping = panel.models, panel.overlap
    for model in there:
        for baseline in against:
            if baseline == model or baseline not in there:
                continue
            daily = panel.daily(metric, model, baseline)
            if len(daily) < _LEAST * overlapping:
                continue
            row = {"model": model, "against": baseline, "metric": metric, "sessions": len(daily)}
            rows.append(row | _of_differences(daily[model] - daily[baseline], overlapping))
    columns = [
        *("model", "against", "metric", "conditional_statistic", "conditional_p"),
        *("fluctuation", "highest", "fluctuation_p"),
        *("worst_from", "worst_to", "worst_difference", "sessions"),
    ]
    return pd.DataFrame(rows, columns=columns)


def moving(
    losses: pd.DataFrame | Panel, model: str, against: str, metric: str = "crps"
) -> pd.Series:
    """Return the t statistics of `fluctuation` of two models, by the last session of each window."""
    panel = Panel.of(losses)
    daily = panel.daily(metric, model, against)
    values = fluctuation((daily[model] - daily[against]).to_numpy(), panel.overlap)
    return pd.Series(values, daily.index[len(daily) - len(values) :])


def critical_value(level: float = 0.05) -> float:
    """Return what the largest absolute statistic exceeds under equal losses with a probability."""
    return float(np.quantile(_largest(), 1 - level))


def conditional_ability(d: np.ndarray) -> tuple[float, float]:
    """Return Giacomini and White's statistic of differences of losses (sessions,), and its p-value."""
    moments = np.column_stack([d[1:], d[1:] * d[:-1]])
    covariance = moments.T @ moments / len(moments)
    if np.linalg.matrix_rank(covariance / max(covariance.max(), 1e-300)) < 2:
        return 0.0, 1.0  # of equal models, or of differences that do not vary
    mean = moments.mean(axis=0)
    statistic = float(len(moments) * mean @ np.linalg.solve(covariance, mean))
    return statistic, float(special.chdtrc(2, statistic))


def fluctuation(d: np.ndarray, overlapping: int = 1) -> np.ndarray:
    """Return the t statistics of all moving windows of differences (sessions,): (windows,).

    `overlapping` is how many successive forecasts share a session.
    """
    size = max(int(WINDOW * len(d)), 2)
    sums = np.concatenate([[0.0], d.cumsum()])
    sums = sums[size:] - sums[:-size]
    error = np.sqrt(size * significance.long_run_variance(d, overlapping))
    return np.asarray(sums / error if error > 0 else np.zeros(len(sums)))


def _of_differences(differences: pd.Series, overlapping: int) -> dict[str, object]:
    """The columns of `stability` of one pair."""
    d, dates = differences.to_numpy(), differences.index
    statistic, p_value = conditional_ability(d[::overlapping])
    moving = fluctuation(d, overlapping)
    size, worst = len(d) - len(moving) + 1, int(moving.argmax())
    extreme = float(np.abs(moving).max())
    drawn = _largest()
    return {
        "conditional_statistic": statistic,
        "conditional_p": p_value,
        "fluctuation": extreme,
        "highest": float(moving.max()),
        "fluctuation_p": (1 + int((drawn >= extreme).sum())) / (len(drawn) + 1),
        "worst_from": f"{dates[worst]:%Y-%m-%d}",
        "worst_to": f"{dates[worst + size - 1]:%Y-%m-%d}",
        "worst_difference": float(d[worst : worst + size].mean()),
    }


@lru_cache(maxsize=1)
def _largest() -> np.ndarray:
    """The largest absolute moving difference of each simulated Brownian motion, (paths,)."""
    size, rng, largest = int(WINDOW * _STEPS), np.random.default_rng(0), []
    for begin in range(0, _PATHS, _PATHS_AT_ONCE):
        paths = min(_PATHS_AT_ONCE, _PATHS - begin)
        steps = rng.standard_normal((paths, _STEPS), dtype=np.float32)
        sums = np.concatenate([np.zeros((paths, 1), np.float32), steps.cumsum(axis=1)], axis=1)
        largest.append(np.abs(sums[:, size:] - sums[:, :-size]).max(axis=1))
    return np.asarray(np.concatenate(largest) / np.sqrt(size))
