"""What implied volatility is worth: the CRPS of a network that reads it over that of one that does not.

Networks are trained on a set with VIX as companion, and from the same seeds without it; each row is of a
ticker, of `all` of a set, or of half of the tickers of W2, for seeds that were averaged. A ratio below 1 is
a gain; `p_value` is that of Diebold and Mariano.
`python benchmarks/implied.py [SET [SEED...]]`
"""

import sys
from dataclasses import replace

import common
import numpy as np
import pandas as pd

from forecaster.config import RecurrentConfig
from forecaster.distributions import forecasts, quantile_grid
from forecaster.evaluation.significance import diebold_mariano
from forecaster.runs import forecasting, training

SETS = {"sample": (0, 3, 6), "dev_etf_1995_2018": (0, 3, 6), "W2": (0,)}


def main() -> None:
    """Train with and without, and compare ticker by ticker."""
    name, *words = sys.argv[1:] or [""]
    for key in [name] if name else list(SETS):
        work = common.WORKS[key]()
        for seed in [int(it) for it in words] or SETS[key]:
            compared(work, seed)


def compared(work: common.Work, seed: int) -> None:
    """Write the rows of a set and a seed."""
    ours, base = (crps(work, seed, it) for it in (common.stored("dev_vix_1990_2018"), None))
    tickers = list(ours.index.unique("ticker"))
    groups = {"all": tickers} | ({it: [it] for it in tickers} if len(tickers) < 20 else {})
    for group, its in groups.items():
        rows = ours.index.isin(its, level="ticker")
        by_day = (it[rows].groupby("date").mean() for it in (ours, base))
        test = diebold_mariano(*by_day)
        ratio = ours[rows].groupby("ticker").mean() / base[rows].groupby("ticker").mean()
        common.row(
            "implied",
            {"set": work.name, "seed": seed, "ticker": group},
            crps=float(ours[rows].mean()),
            ratio=float(ours[rows].mean() / base[rows].mean()),
            p_value=test.p_value,
            better=int((ratio < 1).sum()),
            tickers=len(its),
        )


def crps(work: common.Work, seed: int, companions: pd.DataFrame | None) -> pd.Series:
    """The CRPS of each forecast of the days to score, by ticker and date."""
    run = training.train(
        work.universe,
        until=work.until,
        companions=companions,
        config=replace(RecurrentConfig(), seed=seed, horizon=1),
    )
    panel = forecasting.panel_of(run, work.prices, work.scored, None, companions)
    table = run.model.forecast(panel, np.datetime64(work.until), np.datetime64(work.end))
    table = table[table["log_return"].notna() & (table["date"] <= pd.Timestamp(work.end))]
    losses = quantile_grid.crps(table["log_return"], table[forecasts.QUANTILES])
    return pd.Series(np.asarray(losses), pd.MultiIndex.from_frame(table[["ticker", "date"]]))


if __name__ == "__main__":
    main()
