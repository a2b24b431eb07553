"""Scores the peers' models and ours on W1, each as a whole process on one core.

`python benchmarks/referee.py [NAME...]` runs `peers.py NAME` with the Python of .venv-peers (or the
one that PEERS_PYTHON names), the tutorial's LSTM and our own commands, and scores what they forecast:
CRPS of the distribution where the forecast is one and from 23 quantiles for all, WQL19 (twice the mean
pinball loss over levels 0.05 to 0.95), both in percent of log return, coverage, and relMAE of the
price. gjr and naive are ours, refitted every 250 sessions.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import common
import numpy as np
import pandas as pd

from forecaster.distributions import forecasts, quantile_grid, skewed_t
from forecaster.evaluation import metrics

PEERS = (
    "neuralforecast-lstm-defaults",
    "neuralforecast-lstm",
    "neuralforecast-lstm-features",
    "neuralforecast-deepar",
    "darts-lstm",
    "statsforecast-naive",
    "sklearn-trees",
    "arch-egarch",
)
PYTHON = os.environ.get("PEERS_PYTHON", str(common.HERE.parent / ".venv-peers" / "bin" / "python"))
SEEDS = (0, 3, 6)
"""First seeds: each training averages three networks, of this seed and the next two."""
QUANTILES = forecasts.QUANTILES
WQL = [f"q{0.05 * i:.2g}" for i in range(1, 20)]


def main(names: list[str]) -> None:
    """Runs and scores the peers of these names."""
    work = common.w1()
    known = np.log(work.prices.set_index(["ticker", "date"])["adj_close"]).groupby("ticker").diff()
    for name in names:
        for seed, measures, found in ours(name, work) if name in OURS else [theirs(name)]:
            values = scores(found.join(known.rename("log_return"), on=["ticker", "date"]))
            common.row("peers", {"model": name, "seed": seed}, **values, **measures)


def command(name: str) -> list[str]:
    """What runs a peer as a whole process."""
    if name == "tutorial-lstm":
        return [sys.executable, str(common.HERE / "tutorial.py"), str(common.CACHE)]
    return [PYTHON, str(common.HERE / "peers.py"), name, str(common.CACHE)]


def theirs(name: str) -> tuple[str, dict[str, Any], pd.DataFrame]:
    """Seed, costs and forecasts of a peer."""
    if name != "tutorial-lstm" and not Path(PYTHON).exists():
        raise SystemExit("there is no .venv-peers; `make bench` makes it")
    used = common.cost(command(name))
    told = json.loads((common.CACHE / f"{name}.json").read_text(encoding="utf-8"))
    told |= asdict(used)
    return "", told, pd.read_parquet(common.CACHE / f"{name}.parquet")


OURS = ("lstm", "gjr", "naive")


def ours(name: str, work: common.Work) -> list[tuple[str, dict[str, Any], pd.DataFrame]]:
    """Seed, costs and forecasts of a model of this package, by its commands."""
    home = common.stocked(common.CACHE / "w1-home", work.prices)
    out = common.CACHE / "w1-backtest"
    span = [
        "--start",
        str(work.start),
        "--end",
        str(work.end),
        "--out",
        str(out),
        "--home",
        str(home),
    ]
    found = []
    for seed in SEEDS if name == "lstm" else ("",):
        costs, refit = [], ["--refit", str(common.REFIT)]
        if name == "lstm":
            costs, refit = [common.cost(train(work, home, seed))], []
        costs.append(common.cost(common.forecast("backtest", "--models", name, *refit, *span)))
        measures = {
            "wall": sum(cost.wall for cost in costs),
            "cpu": sum(cost.cpu for cost in costs),
            "peak": max(cost.peak for cost in costs),
        }
        if name == "lstm":
            measures |= {"train_seconds": costs[0].wall, "predict_seconds": costs[1].wall}
        rows = pd.read_parquet(out / "forecasts.parquet").drop(columns="log_return")
        found.append((str(seed), measures, rows.assign(family="student")))
    return found


def train(work: common.Work, home: Path, seed: int) -> list[str]:
    """The command that trains the LSTM from a seed."""
    settings = common.CACHE / "seed.toml"
    settings.write_text(f"seed = {seed}\n", encoding="utf-8")
    words = ["train", "--until", str(work.until), "--config", str(settings), "--home", str(home)]
    return common.forecast(*words)


def scores(found: pd.DataFrame) -> dict[str, float]:
    """Mean scores of forecasts and what happened; NaN where a forecast is too little for one."""
    x = found["log_return"].to_numpy()
    error = np.abs(np.expm1(found["q0.5"]) - np.expm1(x))
    values = dict.fromkeys(["crps", "crps_quantiles", "wql19"], np.nan)
    values |= {f"coverage_{percent}": np.nan for percent in metrics.COVERAGES}
    values["rel_mae"] = error.mean() / np.abs(np.expm1(x)).mean()
    if set(QUANTILES) <= set(found):
        levels = np.array([float(name[1:]) for name in WQL])
        losses = quantile_grid.pinball(x[:, None], found[WQL].to_numpy(), levels)
        values["wql19"] = 200 * losses.mean()
        from_quantiles = quantile_grid.crps(x, found[QUANTILES].to_numpy())
        values["crps_quantiles"] = 100 * from_quantiles.mean()
        for percent in metrics.COVERAGES:
            low, high = forecasts.interval(found, percent / 100)
            values[f"coverage_{percent}"] = metrics.inside(low, high, x).mean()
    if "family" in found:
        values["crps"] = 100 * CRPS[found["family"].iloc[0]](found).mean()
    return values


def crps_student(found: pd.DataFrame) -> np.ndarray:
    """Of Student-t forecasts: (rows,)."""
    columns = ["log_return", *forecasts.PARAMETERS]
    return skewed_t.crps(*(found[name].to_numpy() for name in columns))


def crps_laplace(found: pd.DataFrame) -> np.ndarray:
    """Of Laplace forecasts: (rows,).

    scale * (|z| + exp(-|z|) - 3/4), Jordan, Krüger and Lerch (2019), appendix A.
    """
    z = np.abs(found["log_return"] - found["location"]) / found["scale"]
    return (found["scale"] * (z + np.exp(-z) - 0.75)).to_numpy()


def crps_skewed(found: pd.DataFrame) -> np.ndarray:
    """Of skewed Student-t forecasts: (rows,), by twice the pinball loss at 999 even levels."""
    from arch.univariate import SkewStudent

    levels = (np.arange(999) + 0.5) / 999
    values = []
    for shape, rows in found.groupby(["df", "skew"], sort=False):
        z = (rows["log_return"] - rows["location"]) / rows["scale"]
        quantiles = SkewStudent().ppf(levels, np.array(shape))
        loss = quantile_grid.pinball(z.to_numpy()[:, None], quantiles, levels).mean(axis=1)
        values.append(2 * loss * rows["scale"].to_numpy())
    return np.concatenate(values)


CRPS = {"student": crps_student, "laplace": crps_laplace, "skewt": crps_skewed}


if __name__ == "__main__":
    main(sys.argv[1:] or [*OURS, *PEERS, "tutorial-lstm"])
