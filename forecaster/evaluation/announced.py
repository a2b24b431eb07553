"""How good forecasts are around announcements of earnings, and on all other sessions."""

import numpy as np
import pandas as pd

from forecaster.evaluation import calibration, metrics

PARTS = ("reaction", "after", "other")
"""Forecasts with a reaction session from cutoff to date, of the five sessions after, and all others."""

NONE = pd.DataFrame(columns=["ticker", "date", "since"])
"""Of tickers without announcements."""

LEAST = 5 * calibration.BINS
"""Forecasts, five for each bin, from which the chi-square of the PIT means something."""

COLUMNS = [
    *("model", "part", "forecasts", "crps", "crps/naive", "crps/gjr", "log_score"),
    *("coverage_80", "coverage_95", "pit_mean", "pit_variance", "p_value"),
]


def announced(losses: pd.DataFrame, frame: pd.DataFrame, reactions: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of each model on reaction sessions, on those after them, and on all others.

    Parameters
    ----------
    losses : :func:`forecaster.evaluation.metrics.losses`.
    frame : the forecasts that they are of, for the PIT: those that do not overlap.
    reactions : :func:`forecaster.dataset.reactions.reactions_of` the tickers with announcements; the
        scores are of these tickers alone.

    Returns
    -------
    A row for each model and part, of the rows that all models have; none without reactions:

    ========================  ==================================================================
    forecasts                 rows
    crps                      mean, in percent of log return
    crps/naive, crps/gjr      over that of the baseline on the same rows; NaN where it is not there
    log_score                 mean; NaN where a forecast is no Student-t
    coverage_80, coverage_95  share of outcomes inside the central intervals
    pit_mean, pit_variance    1/2 and 1/12 when right; a larger variance means too narrow
    p_value                   of the uniformity of the PIT, by
                              :func:`forecaster.evaluation.calibration.uniformity`; NaN for few
                              forecasts
    ========================  ==================================================================
    """
    added = Announced(reactions)
    added.add(losses, frame, frame["model"].nunique())
    return added.table()


class Announced:
    """The table of `announced`, from the forecasts of some tickers after the other."""

    def __init__(self, reactions: pd.DataFrame) -> None:
        self._reactions = reactions
        self._sums: pd.DataFrame | None = None
        self._tests = {
            part: calibration.uniformity_tests(splits=("all",))
            for part in PARTS * (not reactions.empty)
        }

    def add(self, losses: pd.DataFrame, frame: pd.DataFrame, models: int) -> None:
        """Add the losses of some tickers, and their forecasts; `models` is how many there are."""
        if self._reactions.empty:
            return
        its = self._reactions["ticker"]
        rows = metrics.common(losses[losses["ticker"].isin(its)], models)
        if rows.empty:
            return
        table = pd.DataFrame(
            {
                "model": rows["model"],
                "part": _part(rows, self._reactions),
                "forecasts": 1,
                "crps": 100 * rows["crps"],
                "log_score": rows["log_score"],
                "densities": rows["log_score"].notna(),
                "coverage_80": rows["inside_80"],
                "coverage_95": rows["inside_95"],
            }
        )
        sums = table.groupby(["model", "part"], sort=False).sum()
        self._sums = sums if self._sums is None else metrics.added(self._sums, sums)
        frame = metrics.comparable(frame[frame["ticker"].isin(its)], models)
        part = _part(frame, self._reactions)
        for name, tests in self._tests.items():
            if (part == name).any():
                tests.add(frame[part == name])

    def table(self) -> pd.DataFrame:
        """Return the scores of each model and part."""
        if self._sums is None:
            return pd.DataFrame(columns=COLUMNS)
        sums = self._sums
        scores = sums[["forecasts"]].astype(int)
        for name in ("crps", "log_score", "coverage_80", "coverage_95"):
            scores[name] = sums[name] / sums["forecasts"]
        scores.loc[sums["densities"] < sums["forecasts"], "log_score"] = np.nan
        for name in metrics.BASELINES:
            if name in scores.index:
                base = scores["crps"].xs(name)
                its = base.reindex(scores.index.get_level_values("part"))
                scores[f"crps/{name}"] = scores["crps"] / its.to_numpy()
        tests = [it.table().assign(part=name) for name, it in self._tests.items() if it.has_rows]
        merged = scores.reset_index().merge(_over_all(tests), on=["model", "part"], how="left")
        merged.loc[~(merged[["forecasts", "tested"]].min(axis=1) >= LEAST), "p_value"] = np.nan
        order = {part: place for place, part in enumerate(PARTS)}
        merged = merged.sort_values("part", key=lambda it: it.map(order), kind="stable")
        return merged.reindex(columns=COLUMNS).reset_index(drop=True)


def reacting(rows: pd.DataFrame, reactions: pd.DataFrame | None) -> np.ndarray:
    """Return whether each row, of a ticker and a date, is of a reaction session: (rows,)."""
    if reactions is None or reactions.empty:
        return np.zeros(len(rows), dtype=bool)
    keys = ["ticker", "date"]
    days = reactions.loc[reactions["since"] == 0, keys].assign(reacts=1.0)
    marked: np.ndarray = rows[keys].merge(days, on=keys, how="left")["reacts"].notna().to_numpy()
    return marked


def _part(rows: pd.DataFrame, reactions: pd.DataFrame) -> np.ndarray:
    """Return the part of each row: (rows,)."""
    keys = ["ticker", "date"]
    since = rows[keys].merge(reactions, on=keys, how="left")["since"].to_numpy()
    return np.select([_spanning(rows, reactions), since > 0], PARTS[:2], PARTS[2])


def _spanning(rows: pd.DataFrame, reactions: pd.DataFrame) -> np.ndarray:
    """Return whether a reaction session lies after each cutoff and not after its date: (rows,)."""
    days = reactions.loc[reactions["since"] == 0, ["ticker", "date"]]
    days = days.assign(last=days["date"]).sort_values("date")
    order = rows["date"].to_numpy().argsort(kind="stable")
    spans = rows[["ticker", "cutoff", "date"]].iloc[order]
    both = pd.merge_asof(spans, days, on="date", by="ticker")
    spanning = np.empty(len(rows), dtype=bool)
    spanning[order] = both["last"].to_numpy() > both["cutoff"].to_numpy()
    return spanning


def _over_all(tests: list[pd.DataFrame]) -> pd.DataFrame:
    """Return mean, variance and uniformity of the PIT of each model and part, over all tickers."""
    names = {"mean": "pit_mean", "variance": "pit_variance", "forecasts": "tested"}
    columns = ["model", "part", *names.values(), "p_value"]
    if not tests:
        return pd.DataFrame(columns=columns)
    table = pd.concat(tests)
    table = table[(table["ticker"] == metrics.POOLED) & (table["split"] == "all")]
    return table.rename(columns=names)[columns]
