"""What training on from the weights of a run gains: `python benchmarks/from_base.py [SEED...]`

A base is trained on W2, with earnings, up to the end of 2012, without the tickers of W1, and kept in the
cache. W1 is then trained up to the same day, afresh and from the base, from each first seed of three, and
scored on the ten years after, beside gjr; `base` is the base as it is, with W1 as its market. Seconds are of
training alone, on all cores, imports left out.
"""

import sys
import time
from dataclasses import replace

import common
import pandas as pd
from horizons import KEYS, crps

from forecaster.backtesting.spec import BacktestSpec
from forecaster.backtesting.walk_forward import forecast_history
from forecaster.config import RecurrentConfig
from forecaster.runs import bundle, training
from forecaster.runs.run import Run

SEEDS = (0, 3, 6)
STEPS = (1, 5, 21)


def main(seeds: list[int]) -> None:
    """Trains and scores all three of each seed."""
    common.warm_up()
    work = common.w1()
    base, gjr = base_without(work), bar(work)
    report("base", "", work, replace(base, tickers=work.scored), gjr)
    for seed in seeds:
        afresh = RecurrentConfig(seed=seed)
        further = replace(training.settings_from(base, "lstm"), seed=seed)
        for how, config, start in (("afresh", afresh, None), ("from", further, base)):
            cpu, wall = time.process_time(), time.perf_counter()
            run = training.train(work.prices, until=work.until, config=config, start=start)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            report(how, seed, work, run, gjr, cpu=cpu, wall=wall)


def base_without(work: common.Work) -> Run:
    """The run to start from, which no ticker of the work is in."""
    home = common.CACHE / "from-base-home"
    if "large" not in bundle.names(home):
        large = common.with_events(common.w2())
        others = large.prices[~large.prices["ticker"].isin(work.scored)]
        words = {"events": large.events, "until": large.until, "name": "large"}
        bundle.save(training.train(others, **words), home)
    return bundle.load(home, "large")


def bar(work: common.Work) -> pd.Series:
    """The CRPS of gjr's forecasts of the steps; kept in the cache, as they take long."""
    file = common.CACHE / f"gjr-{work.name}-steps.parquet"
    if not file.exists():
        forecast(work, "gjr").to_frame("crps").to_parquet(file)
    return pd.read_parquet(file)["crps"]


def forecast(work: common.Work, model: str, run: Run | None = None) -> pd.Series:
    """The CRPS of each forecast of a model whose outcome is known."""
    spec = BacktestSpec(
        (model,), tuple(work.scored), work.start, work.end, common.REFIT, steps=STEPS
    )
    made = forecast_history(work.prices, spec, trained=run).forecasts
    return crps(made[made["log_return"].notna()].set_index(KEYS))


def report(
    how: str, seed: int | str, work: common.Work, run: Run, gjr: pd.Series, **seconds: float
) -> None:
    """Writes a row for each step."""
    mine = forecast(work, "lstm", run)
    shared = mine.index[mine.index.isin(gjr.index)]
    for step in STEPS:
        its = shared[shared.get_level_values("step") == step]
        common.row(
            "from_base",
            {"how": how, "seed": seed, "step": step},
            crps=100 * mine.loc[its].mean(),
            ratio=mine.loc[its].mean() / gjr.loc[its].mean(),
            **(seconds or {"cpu": float("nan"), "wall": float("nan")}),
        )


if __name__ == "__main__":
    main([int(it) for it in sys.argv[1:]] or list(SEEDS))
