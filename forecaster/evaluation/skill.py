"""Skill: how much better than a baseline, and between which bounds.

Days are drawn anew in blocks (Politis and Romano 1994, The stationary bootstrap, Journal of the
American Statistical Association 89(428)), all tickers of a day together, so an interval allows for
the dependence between days and between tickers. A pair of models is compared on the rows that both
have, in blocks as long as the differences between the two ask for, so that no other model has a say.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from forecaster.distributions import quantile_grid
from forecaster.errors import HistoryError
from forecaster.evaluation import metrics, significance
from forecaster.evaluation.metrics import BASELINES, POOLED
from forecaster.evaluation.panel import Panel

RATIOS = ("crps", "error")
"""Losses above zero, whose means have a ratio; below 1 favours the model."""

PINBALL = {f"pinball_{level}": level for level in ("0.05", "0.25", "0.5", "0.75", "0.95")}
"""Quantile levels whose pinball loss is shown, by the name of the metric."""

KEYS = ["ticker", "cutoff", "date"]
COLUMNS = ["ticker", "model", "against", "metric", "kind", "value", "low", "high"]


def skill(
    frame: pd.DataFrame,
    losses: pd.DataFrame,
    *,
    against: Sequence[str] = BASELINES,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Skill of each model against each baseline, per ticker and over all as `POOLED`.

    Parameters
    ----------
    frame : the forecasts frame, of rows whose return is known.
    losses : :func:`forecaster.evaluation.metrics.losses` of it.

    Returns
    -------
    ticker, model, against, metric, kind (``ratio`` of means, or ``difference`` in nats), value, and
    low and high of its 95% bootstrap interval; NaN where forecasts that overlap are of too few
    sessions for one (:func:`forecaster.evaluation.significance.can_bootstrap`). The metrics are crps,
    error (of the median price over the last close; against naive, whose price is today's, its ratio
    is relMAE), qlike and, where ranges are known, qlike_range, log_score (higher is better; of
    densities alone) and, over all tickers, ``pinball_0.05`` and so on.
    """
    models, overlapping = list(losses["model"].unique()), metrics.overlap(losses)
    rows = losses.assign(
        error=losses["error"] / losses["last_close"],
        **{name: _pinball(frame, level) for name, level in PINBALL.items()},
    )
    shown = [*(it for it in (*RATIOS, *significance.LOGARITHMS) if it in rows), *PINBALL]
    by_model = {name: its.set_index(KEYS)[shown] for name, its in rows.groupby("model")}
    tables = [
        _of_pair(by_model[model], by_model[baseline], overlapping, resamples, seed).assign(
            model=model, against=baseline
        )
        for model in models
        for baseline in against
        if baseline in models and model != baseline
    ]
    return (
        pd.concat(tables, ignore_index=True)[COLUMNS] if tables else pd.DataFrame(columns=COLUMNS)
    )


def running(losses: pd.DataFrame | Panel, model: str, against: Sequence[str]) -> pd.DataFrame:
    """Return the CRPS of a model less that of each baseline, summed day by day.

    Parameters
    ----------
    losses : of `metrics.losses`.

    Returns
    -------
    against, date, difference (of the daily means over the tickers that both forecast, as a log
    return; below 0 favours the model), baseline (the daily mean of the baseline), total (the sum of
    the differences so far) and share (the same over the sum of the baseline so far).

    Raises
    ------
    HistoryError
        No day has a known outcome and forecasts by both.
    """
    panel, tables = Panel.of(losses), []
    for name in against:
        both = {model, name} <= set(panel.models)
        daily = panel.daily("crps", model, name) if both else pd.DataFrame()
        if daily.empty:
            raise HistoryError(
                f"expected days with known outcomes and forecasts by both {model} and {name}, "
                "came none; backtest both over the same days"
            )
        table = pd.DataFrame({"difference": daily[model] - daily[name], "baseline": daily[name]})
        total = table["difference"].cumsum()
        table = table.assign(total=total, share=total / table["baseline"].cumsum(), against=name)
        tables.append(table.reset_index())
    return pd.concat(tables, ignore_index=True)


def _of_pair(
    ours: pd.DataFrame, theirs: pd.DataFrame, overlapping: int, resamples: int, seed: int
) -> pd.DataFrame:
    """The columns of `skill` but for the names, from the losses of two models by `KEYS`."""
    both = ours.index.intersection(theirs.index, sort=False)
    ours, theirs = ours.loc[both], theirs.loc[both]
    dates, day = np.unique(both.get_level_values("date"), return_inverse=True)
    codes, tickers = pd.factorize(both.get_level_values("ticker"))
    if not len(dates):
        return pd.DataFrame(columns=COLUMNS)
    daily = pd.DataFrame({"ours": ours["crps"], "theirs": theirs["crps"]}).groupby("date").mean()
    counts = _draws(len(dates), significance.block_length(daily, overlapping), resamples, seed)
    tables = []
    for metric in map(str, ours):
        kind = "difference" if metric in significance.LOGARITHMS else "ratio"
        sums = [_sums(its[metric].to_numpy(), day, codes, counts) for its in (ours, theirs)]
        if metric in PINBALL:  # over all tickers only
            sums = [(total[:, -1:], n[:, -1:]) for total, n in sums]
        values = _summary(sums[0], sums[1], kind)
        names = [*tickers, POOLED][-values.shape[1] :]
        table = pd.DataFrame(values.T, columns=["value", "low", "high"])
        tables.append(table.assign(ticker=names, metric=metric, kind=kind))
    table = pd.concat(tables, ignore_index=True)
    if overlapping > 1 and not significance.can_bootstrap(len(dates), overlapping):
        table[["low", "high"]] = np.nan
    return table[table["value"].notna()]


def _draws(sessions: int, block: int, resamples: int, seed: int) -> np.ndarray:
    """How often each session is drawn, first once each: (1 + resamples, sessions).

    A block begins anywhere, has `block` sessions on average, and goes on at the start after the end.
    """
    rng = np.random.default_rng(seed)
    shape = (resamples, sessions)
    begins = rng.random(shape) * block < 1
    begins[:, 0] = True
    at = np.arange(sessions)
    begun = np.maximum.accumulate(np.where(begins, at, 0), axis=1)  # where the block began
    first = np.take_along_axis(rng.integers(sessions, size=shape), begun, axis=1)
    drawn = (first + at - begun) % sessions
    cells = (drawn + sessions * np.arange(resamples)[:, None]).ravel()
    counts = np.bincount(cells, minlength=resamples * sessions).reshape(shape)
    return np.vstack([np.ones(sessions), counts])


def _sums(
    values: np.ndarray, day: np.ndarray, ticker: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sums and numbers of known values of each ticker, and over all, in each resample."""
    width = int(ticker.max()) + 1
    known = np.isfinite(values)
    cell = day[known] * width + ticker[known]
    shape, size = (counts.shape[1], width), counts.shape[1] * width
    total = np.bincount(cell, values[known], minlength=size).reshape(shape)
    n = np.bincount(cell, minlength=size).reshape(shape).astype(float)
    both = [np.column_stack([it, it.sum(axis=1)]) for it in (total, n)]  # (sessions, tickers + 1)
    return counts @ both[0], counts @ both[1]


def _summary(
    ours: tuple[np.ndarray, np.ndarray], theirs: tuple[np.ndarray, np.ndarray], kind: str
) -> np.ndarray:
    """Value, low and high: (3, columns)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mine, other = (total / n for total, n in (ours, theirs))
        skills = mine - other if kind == "difference" else mine / other
        skills[~np.isfinite(skills)] = np.nan
    unknown = np.isnan(skills).any(axis=0)
    low, high = np.percentile(np.where(unknown, 0.0, skills[1:]), [2.5, 97.5], axis=0)
    return np.where(unknown, np.nan, np.stack([skills[0], low, high]))


def _pinball(frame: pd.DataFrame, level: str) -> np.ndarray:
    x, quantile = frame["log_return"].to_numpy(), frame[f"q{level}"].to_numpy()
    return quantile_grid.pinball(x, quantile, float(level))
