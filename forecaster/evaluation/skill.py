"""Skill: how much better than a baseline, and between which bounds.

Days are drawn anew in blocks (Politis and Romano 1994, The stationary bootstrap, Journal of the
American Statistical Association 89(428)), all tickers of a day together, so an interval allows for
the dependence between days and between tickers. A pair of models is compared on the rows that both
have, in blocks as long as the differences between the two ask for, so that no other model has a say.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from forecaster.distributions import quantile_grid
from forecaster.errors import HistoryError
from forecaster.evaluation import significance
from forecaster.evaluation.metrics import BASELINES, POOLED
from forecaster.evaluation.panel import Panel

RATIOS = ("crps", "error")
"""Losses above zero, whose means have a ratio; below 1 favours the model."""

PINBALL = {f"pinball_{level}": level for level in ("0.05", "0.25", "0.5", "0.75", "0.95")}
"""Quantile levels whose pinball loss is shown, by the name of the metric."""

_RESAMPLES_AT_ONCE = 100
"""Resamples that are drawn at once, to bound the memory of what lies between."""

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
    panel = Panel.of(losses)
    daily = {
        (model, other): panel.daily("crps", model, other)
        for model in panel.models
        for other in against
        if other in panel.models and other != model
    }
    parts = [compared(frame, losses)]
    return of_pairs(parts, daily, panel.overlap, resamples=resamples, seed=seed)


def compared(frame: pd.DataFrame, losses: pd.DataFrame) -> pd.DataFrame:
    """Return model, `KEYS` and the losses that `skill` compares; parameters as there."""
    pinball = {name: _pinball(frame, level) for name, level in PINBALL.items()}
    shown = [it for it in (*RATIOS, *significance.LOGARITHMS) if it in losses]
    rows = losses[["model", *KEYS, *shown]]
    return rows.assign(error=losses["error"] / losses["last_close"], **pinball)


def of_pairs(
    parts: Iterable[pd.DataFrame],
    daily: Mapping[tuple[str, str], pd.DataFrame],
    overlapping: int,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the rows of `skill` of some models and baselines.

    Parameters
    ----------
    parts : the rows of `compared`, those of some tickers at a time.
    daily : of each model and baseline, their mean CRPS of each date over the rows that both have.
    overlapping : how many successive forecasts share a session (:func:`.metrics.overlap`).
    """
    resampled: dict[tuple[int, bytes], _Resampled] = {}
    for pair, days in daily.items():
        if not days.empty:
            block = significance.block_length(days, overlapping)
            key = block, days.index.to_numpy().tobytes()
            if key not in resampled:
                resampled[key] = _Resampled(days.index, _draws(len(days), block, resamples, seed))
            resampled[key].pairs.append(pair)
    for rows in parts:
        panel = Panel.of(rows)
        names = [str(it) for it in rows if it not in ("model", *KEYS)]
        values = {name: np.ascontiguousarray(panel.values(name).T) for name in names}
        for its in resampled.values():
            its.add(panel, values)
    by_pair = {pair: table for its in resampled.values() for pair, table in its.tables()}
    tables = []
    for pair in daily:
        if pair in by_pair:
            table = by_pair[pair].assign(model=pair[0], against=pair[1])
            if overlapping > 1 and not significance.can_bootstrap(len(daily[pair]), overlapping):
                table[["low", "high"]] = np.nan
            tables.append(table[COLUMNS])
    if not tables:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.concat(tables, ignore_index=True)
    return table[table["value"].notna()].reset_index(drop=True)


class _Resampled:
    """Pairs of models that are compared on the same dates, drawn anew in blocks of one length."""

    def __init__(self, dates: pd.Index, counts: np.ndarray) -> None:
        self.pairs: list[tuple[str, str]] = []
        self._dates = dates
        self._counts = counts  # (1 + resamples, sessions)
        self._tables: dict[tuple[str, str], dict[str, list[pd.DataFrame]]] = {}
        self._totals: dict[tuple[str, str], dict[str, np.ndarray]] = {}

    def add(self, panel: Panel, losses: Mapping[str, np.ndarray]) -> None:
        """Add the losses of some tickers: (models, rows of the panel) by name."""
        counts, (ticker, tickers) = self._counts.astype(float), panel.tickers()
        cell = self._dates.get_indexer(pd.Index(panel.keys["date"])) * len(tickers) + ticker
        shape = len(self._dates), len(tickers)
        pairs = [pair for pair in self.pairs if set(pair) <= set(panel.models)]
        if not pairs:
            return
        both = {pair: panel.both(*pair) for pair in pairs}
        # A model has many rivals, and most losses are known on the same rows: each sum is made once.
        sums: dict[tuple[Hashable, ...], np.ndarray] = {}  # (sessions, tickers) each
        compared: list[tuple[tuple[str, str], str, list[tuple[Hashable, ...]]]] = []
        for metric, values in losses.items():
            finite = np.isfinite(values)
            for pair in pairs:
                keys: list[tuple[Hashable, ...]] = []
                for column in map(panel.column, pair):
                    known = both[pair] & finite[column]
                    which, at = known.tobytes(), slice(None) if known.all() else known
                    keys += [(metric, column, which), (which,)]
                    for key, weights in zip(keys[-2:], (values[column, at], None), strict=True):
                        if key not in sums:
                            its = np.bincount(cell[at], weights, shape[0] * shape[1])
                            sums[key] = its.reshape(shape).astype(float, copy=False)
                compared.append((pair, metric, keys))
        of_each = {key: it for key, it in sums.items() if key[0] not in PINBALL}
        drawn = np.split(counts @ np.concatenate([*of_each.values()], axis=1), len(of_each), axis=1)
        resampled = dict(zip(of_each, drawn, strict=True))
        for pair, metric, keys in compared:
            self._keep(pair, metric, np.stack([sums[key].sum(axis=1) for key in keys]))
            if metric not in PINBALL:  # those are over all tickers only
                table = _intervals([resampled[key] for key in keys], metric, tickers)
                self._tables.setdefault(pair, {}).setdefault(metric, []).append(table)

    def tables(self) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
        """Yield the intervals of each pair: those of each ticker by each loss, and then over all."""
        counts = self._counts.astype(float)
        for pair, totals in self._totals.items():
            tables = []
            drawn = counts @ np.concatenate([*totals.values()]).T  # (resamples, metrics x sums)
            for metric, sums in zip(totals, np.split(drawn, len(totals), axis=1), strict=True):
                tables += self._tables.get(pair, {}).get(metric, [])
                tables.append(_intervals(sums.T[..., None], metric, [POOLED]))
            yield pair, pd.concat(tables, ignore_index=True)

    def _keep(self, pair: tuple[str, str], metric: str, sums: np.ndarray) -> None:
        """Add up the sums of each session over the tickers."""
        totals = self._totals.setdefault(pair, {})
        totals[metric] = totals[metric] + sums if metric in totals else sums


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


def _draws(sessions: int, block: int, resamples: int, seed: int) -> np.ndarray:
    """How often each session is drawn, first once each: (1 + resamples, sessions).

    A block begins anywhere, has `block` sessions on average, and goes on at the start after the end.
    """
    rng, at = np.random.default_rng(seed), np.arange(sessions)
    sizes = np.diff([*range(0, resamples, _RESAMPLES_AT_ONCE), resamples])
    begins = [rng.random((size, sessions)) * block < 1 for size in sizes]
    counts = np.ones((1 + resamples, sessions), dtype=np.uint16)
    row = 1
    for begin in begins:
        begin[:, 0] = True
        begun = np.maximum.accumulate(np.where(begin, at, 0), axis=1)  # where the block began
        first = np.take_along_axis(rng.integers(sessions, size=begin.shape), begun, axis=1)
        drawn = first + at - begun
        drawn[drawn >= sessions] -= sessions
        cells = (drawn + sessions * np.arange(len(drawn))[:, None]).ravel()
        times = np.bincount(cells, minlength=drawn.size).reshape(drawn.shape)
        counts[row : row + len(drawn)] = times
        row += len(drawn)
    return counts


def _intervals(
    sums: Sequence[np.ndarray] | np.ndarray, metric: str, tickers: Sequence[str] | pd.Index
) -> pd.DataFrame:
    """The columns of `skill` but for the models, from sums and numbers of ours and of theirs.

    These are (1 + resamples, tickers) each.
    """
    kind = "difference" if metric in significance.LOGARITHMS else "ratio"
    total, n, other_total, other_n = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        mine, other = total / n, other_total / other_n
        skills = mine - other if kind == "difference" else mine / other
        skills[~np.isfinite(skills)] = np.nan
    unknown = np.isnan(skills).any(axis=0)
    low, high = np.percentile(np.where(unknown, 0.0, skills[1:]), [2.5, 97.5], axis=0)
    ends = np.where(unknown, np.nan, np.stack([skills[0], low, high]))
    named = dict(zip(("value", "low", "high"), ends, strict=True))
    return pd.DataFrame({"ticker": tickers, "metric": metric, "kind": kind, **named})


def _pinball(frame: pd.DataFrame, level: str) -> np.ndarray:
    x, quantile = frame["log_return"].to_numpy(), frame[f"q{level}"].to_numpy()
    return quantile_grid.pinball(x, quantile, float(level))
