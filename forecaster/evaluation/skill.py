"""Skill: how much better than a baseline, and between which bounds.

Days are drawn anew in blocks (Politis and Romano 1994, The stationary bootstrap, Journal of the
American Statistical Association 89(428)), all tickers of a day together, so an interval allows for
the dependence between days and between tickers. A pair of models is compared on the rows that both
have, in blocks as long as the differences between the two ask for, so that no other model has a say.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

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
    rows = compared(frame, losses)
    tables = [
        of_pair(
            lambda names: [rows[rows["model"].isin(names)]],
            (model, baseline),
            metrics.overlap(losses),
            resamples=resamples,
            seed=seed,
        )
        for model in losses["model"].unique()
        for baseline in against
        if baseline in set(losses["model"]) and model != baseline
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)


def compared(frame: pd.DataFrame, losses: pd.DataFrame) -> pd.DataFrame:
    """Return model, `KEYS` and the losses that `skill` compares; parameters as there."""
    pinball = {name: _pinball(frame, level) for name, level in PINBALL.items()}
    shown = [it for it in (*RATIOS, *significance.LOGARITHMS) if it in losses]
    rows = losses[["model", *KEYS, *shown]]
    return rows.assign(error=losses["error"] / losses["last_close"], **pinball)


def of_pair(
    parts: Callable[[Sequence[str]], Iterable[pd.DataFrame]],
    pair: tuple[str, str],
    overlapping: int,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the rows of `skill` of a model and a baseline.

    Parameters
    ----------
    parts : gives the rows of `compared` of some models, a part of the tickers at a time.
    pair : the model and the baseline.
    overlapping : how many successive forecasts share a session (:func:`.metrics.overlap`).
    """
    daily = None
    for ours, theirs in _both(parts(pair), pair):
        days = pd.DataFrame({"ours": ours["crps"], "theirs": theirs["crps"]}).assign(rows=1)
        days = days.groupby(level="date").sum()
        daily = days if daily is None else metrics.added(daily, days)
    if daily is None or daily.empty:
        return pd.DataFrame(columns=COLUMNS)
    daily = daily.sort_index()
    dates = daily.index
    means = daily[["ours", "theirs"]].div(daily["rows"], axis=0)
    counts = _draws(len(dates), significance.block_length(means, overlapping), resamples, seed)
    tables: dict[str, list[pd.DataFrame]] = {}
    totals: dict[str, list[np.ndarray]] = {}
    for ours, theirs in _both(parts(pair), pair):
        day = dates.get_indexer(ours.index.get_level_values("date"))
        codes, tickers = pd.factorize(ours.index.get_level_values("ticker"))
        for metric in map(str, ours):
            sums = [
                it
                for its in (ours, theirs)
                for it in _sums(its[metric].to_numpy(), day, codes, len(dates))
            ]
            pooled = [it.sum(axis=1) for it in sums]
            before = totals.get(metric, [np.zeros(len(dates))] * len(pooled))
            totals[metric] = [it + more for it, more in zip(before, pooled, strict=True)]
            if metric not in PINBALL:  # those are over all tickers only
                its = _resampled(sums, counts, metric).assign(ticker=tickers.astype(str))
                tables.setdefault(metric, []).append(its)
    for metric, sums in totals.items():
        pooled = _resampled([it[:, None] for it in sums], counts, metric)
        tables.setdefault(metric, []).append(pooled.assign(ticker=POOLED))
    table = pd.concat([it for its in tables.values() for it in its], ignore_index=True)
    if overlapping > 1 and not significance.can_bootstrap(len(dates), overlapping):
        table[["low", "high"]] = np.nan
    return table[table["value"].notna()].assign(model=pair[0], against=pair[1])[COLUMNS]


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


def _both(
    parts: Iterable[pd.DataFrame], pair: tuple[str, str]
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Yield the losses of two models by `KEYS`, of the rows of each part that both have."""
    for rows in parts:
        of_model = [rows[rows["model"] == name] for name in pair]
        ours, theirs = (its.drop(columns="model").set_index(KEYS) for its in of_model)
        both = ours.index.intersection(theirs.index, sort=False)
        if len(both):
            yield ours.loc[both], theirs.loc[both]


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
    values: np.ndarray, day: np.ndarray, ticker: np.ndarray, sessions: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sums and numbers of the known values of each ticker: (sessions, tickers) each."""
    width = int(ticker.max()) + 1
    known = np.isfinite(values)
    cell = day[known] * width + ticker[known]
    total = np.bincount(cell, values[known], minlength=sessions * width)
    n = np.bincount(cell, minlength=sessions * width).astype(float)
    return total.reshape(sessions, width), n.reshape(sessions, width)


def _resampled(sums: Sequence[np.ndarray], counts: np.ndarray, metric: str) -> pd.DataFrame:
    """Kind, value, low and high of each column of sums and numbers of ours and theirs, resampled."""
    kind = "difference" if metric in significance.LOGARITHMS else "ratio"
    total, n, other_total, other_n = (counts @ it for it in sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        mine, other = total / n, other_total / other_n
        skills = mine - other if kind == "difference" else mine / other
        skills[~np.isfinite(skills)] = np.nan
    unknown = np.isnan(skills).any(axis=0)
    low, high = np.percentile(np.where(unknown, 0.0, skills[1:]), [2.5, 97.5], axis=0)
    values = np.where(unknown, np.nan, np.stack([skills[0], low, high]))
    return pd.DataFrame(values.T, columns=["value", "low", "high"]).assign(metric=metric, kind=kind)


def _pinball(frame: pd.DataFrame, level: str) -> np.ndarray:
    x, quantile = frame["log_return"].to_numpy(), frame[f"q{level}"].to_numpy()
    return quantile_grid.pinball(x, quantile, float(level))
