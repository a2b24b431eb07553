"""The leaderboard: what was measured in ``benchmarks/``, best first."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"

_INTRODUCTION = """# Leaderboard

Next-day density forecasts of single stocks, each fitted on what was known by the end of 2012 and not
chosen on the days that are scored. Lower is better; differences of one percent are large. The figures are
those of `python benchmarks/peers.py`, `accuracy.py` and `baselines.py`, of the versions that are named;
[the benchmarks](benchmarks.md) say how they were measured.
"""

_W1 = """
## W1: 20 US stocks, 2013 to 2022

The CRPS in percent of log return, of the 23 quantiles, as `forecast score` computes it. The tutorials' LSTM
is not among them: it forecasts a price and no distribution, with 33 times the error of "tomorrow is today".

"""

_W2 = """
## W2: 88 US stocks, 2013 to 2018

The CRPS over that of GJR-GARCH with Student-t innovations, on the same days. No other library was run on this
set yet.

"""

_SUBMIT = """
## Add a model

1. W1 is open: the stocks of `sp500_dataset.csv.gz` in the package skfolio, adjusted closes. Forecast every
   session from 2013-01-01 to 2022-12-28 one step ahead; fit on data to 2012-12-31, or refit on what was
   known.
2. Write the quantiles of the log return in [any layout that `score` reads](how-to/score-a-file.md).
3. Score the file beside the baselines. Its first line is the verdict, `--json` has the figures of the table:
   <!-- parse only: the file is yours -->
   ```
   forecast score forecasts.csv --json
   ```
4. Propose a script like `benchmarks/peers.py` that makes the file from the prices alone, and the row. What
   nobody can make again is not listed.
"""

_TITLES = {
    "crps_quantiles": "CRPS %",
    "ratio": "of GJR",
    "coverage_80": "in 80%",
    "coverage_95": "95%",
    "rel_mae": "relMAE",
}


def leaderboard() -> Iterator[str]:
    """Yield the page in pieces."""
    yield _INTRODUCTION
    peers = pd.read_csv(RESULTS / "peers.csv")
    columns = {
        "crps_quantiles": ".4f",
        "coverage_80": ".1%",
        "coverage_95": ".1%",
        "rel_mae": ".4f",
    }
    yield _W1
    yield from _table(peers.dropna(subset="crps_quantiles"), columns)
    ours = [pd.read_csv(RESULTS / f"{name}.csv") for name in ("accuracy", "baselines")]
    rows = pd.concat(ours).query("set == 'W2'").drop_duplicates(["model", "seed"])
    columns = dict.fromkeys(("coverage_80", "coverage_95"), ".1%")
    yield _W2
    yield from _table(rows, {"ratio": ".4f", **columns})
    yield _SUBMIT


def _table(rows: pd.DataFrame, columns: dict[str, str]) -> Iterator[str]:
    """Yield a table of the mean over seeds of each model, the first column sorted."""
    first = next(iter(columns))
    library = rows["versions"].str.split(",").str[0]
    its = rows.assign(library=library).groupby("model", sort=False)
    means = its[list(columns)].mean().assign(library=its["library"].first())
    titles = ["", "model", *(_TITLES[name] for name in columns), "library"]
    yield f"| {' | '.join(titles)} |\n|{' --- |' * len(titles)}\n"
    for rank, (model, row) in enumerate(means.sort_values(first).iterrows(), start=1):
        cells = [f"{row[name]:{spec}}" for name, spec in columns.items()]
        yield f"| {rank} | {model} | {' | '.join(cells)} | {row['library']} |\n"
