"""How good forecasts several sessions ahead are: every set of prices, against two GJR-GARCH-t.

The LSTM is trained once, to the end of the training span, and forecasts every later session 5, 10 and 21
sessions ahead; gjr is refitted every 250 sessions. `root` is gjr's forecast of the next session with its
mean times the step and its scale times the root of it, `gjr` the one that iterates. Scores are means over
cutoffs and tickers that all of them forecast; a ratio is of the CRPS. Of sets with announcements
`gjr-events` is beside them. `python benchmarks/horizons.py [SET...]`
"""

import sys

import common
import numpy as np
import pandas as pd

from forecaster.backtesting.spec import BacktestSpec
from forecaster.backtesting.walk_forward import forecast_history
from forecaster.config import RecurrentConfig
from forecaster.distributions import forecasts, quantile_grid
from forecaster.runs import training
from forecaster.runs.run import Run

SEEDS = (0, 3, 6)
"""First seeds: each training averages three networks, of this seed and the next two."""

STEPS = (1, 5, 10, 21)
KEYS = ["ticker", "cutoff", "step"]


def main(names: list[str]) -> None:
    """Scores gjr, gjr-events and the LSTM on each set."""
    for name in names:
        work = common.WORKS[name]()
        gjr = forecast(work, "gjr")
        bars = {"root": rooted(gjr), "gjr": gjr}
        report(name, "gjr", "", gjr, bars)
        if work.events is not None:
            report(name, "gjr-events", "", forecast(work, "gjr-events"), bars)
        for seed in SEEDS:
            config = RecurrentConfig(seed=seed)
            run = training.train(work.universe, events=work.events, until=work.until, config=config)
            report(name, "lstm", seed, forecast(work, "lstm", run), bars)


def forecast(work: common.Work, model: str, run: Run | None = None) -> pd.DataFrame:
    """The forecasts of a model, of those steps whose outcomes are known."""
    spec = BacktestSpec(
        (model,), tuple(work.scored), work.start, work.end, common.REFIT, steps=STEPS
    )
    made = forecast_history(work.prices, spec, events=work.events, trained=run).forecasts
    return made[made["log_return"].notna()].set_index(KEYS)


def rooted(gjr: pd.DataFrame) -> pd.DataFrame:
    """The forecasts of the next session, stretched to every step."""
    first = gjr.xs(1, level="step")
    parts = []
    for step in STEPS:
        rows = gjr.xs(step, level="step").index
        its = first.loc[rows[rows.isin(first.index)]].reset_index()
        wide = its[["scale"]].to_numpy() * np.sqrt(step)
        moved = its.assign(location=its["location"] * step, scale=wide[:, 0], step=step)
        shape = {it: moved[it].to_numpy() for it in forecasts.PARAMETERS}
        known = {it: moved[it].to_numpy() for it in ("ticker", "cutoff", "date", "last_close")}
        outcome = gjr.loc[pd.MultiIndex.from_frame(moved[KEYS]), "log_return"].to_numpy()
        known["date"] = gjr.loc[pd.MultiIndex.from_frame(moved[KEYS]), "date"].to_numpy()
        parts.append(
            forecasts.from_student_t(model="root", log_return=outcome, step=step, **known, **shape)
        )
    return pd.concat(parts).set_index(KEYS)


def report(
    name: str, model: str, seed: int | str, made: pd.DataFrame, bars: dict[str, pd.DataFrame]
) -> None:
    """Writes a row for each step."""
    shared = made.index
    for bar in bars.values():
        shared = shared[shared.isin(bar.index)]
    mine, others = crps(made.loc[shared]), {it: crps(bar.loc[shared]) for it, bar in bars.items()}
    held = {
        percent: made.loc[shared, "log_return"].between(
            *(made.loc[shared, end] for end in forecasts.ends(percent / 100))
        )
        for percent in (80, 95)
    }
    for step in STEPS:
        its = shared[shared.get_level_values("step") == step]
        by_ticker = (mine - others["gjr"]).loc[its].groupby("ticker").mean()
        common.row(
            "horizons",
            {"set": name, "model": model, "seed": seed, "step": step},
            crps=100 * mine.loc[its].mean(),
            ratio_root=mine.loc[its].mean() / others["root"].loc[its].mean(),
            ratio_gjr=mine.loc[its].mean() / others["gjr"].loc[its].mean(),
            better=int((by_ticker < 0).sum()),
            tickers=len(by_ticker),
            **{f"coverage_{percent}": float(it.loc[its].mean()) for percent, it in held.items()},
        )


def crps(frame: pd.DataFrame) -> pd.Series:
    """The CRPS of each forecast, as a log return."""
    values = quantile_grid.crps(frame["log_return"], frame[forecasts.QUANTILES])
    return pd.Series(values, frame.index)


if __name__ == "__main__":
    main(sys.argv[1:] or list(common.WORKS))
