"""What strangers among the tickers cost: `python benchmarks/mixtures.py [SET...]`

Each set is trained twice, with and without instruments of other kinds, and both score the tickers that the
two share, on every later session: the two indices of the sample, cut to three years, with VIX since 1990;
eight shares of W2 with a fund of bonds, one of gold, EURUSD, BTCUSD and a British share. `worst` is the
largest ratio of a ticker's CRPS with the strangers to that without, `ratio` the mean over the tickers; three
seeds of one network each, whose CRPS are averaged.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import common
import numpy as np
import pandas as pd

from forecaster.config import RecurrentConfig
from forecaster.dataset.panel import Panel
from forecaster.distributions import forecasts, quantile_grid
from forecaster.runs import training

SEEDS = (0, 3, 6)


@dataclass(frozen=True)
class Mixture:
    """Tickers, and strangers among them."""

    name: str
    own: pd.DataFrame
    strangers: pd.DataFrame
    until: date
    end: date


def mixtures() -> Iterator[Mixture]:
    """Every mixture."""
    sample = common.sample().prices
    vix = common.stored("dev_vix_1990_2018")
    short = sample[sample["date"] >= "2010-01-01"]
    yield Mixture("sample", short, vix, date(2012, 12, 31), date(2018, 12, 31))
    large, funds = common.w2().prices, common.stored("dev_etf_1995_2018")
    pairs, british = common.stored("dev_fx_btc_2007_2018"), common.stored("dev_uk_close_2000_2018")
    eight = sorted(large["ticker"].unique())[5::11][:8]
    strangers = [
        funds[funds["ticker"].isin(["TLT", "GLD"])],
        pairs,
        british[british["ticker"] == british["ticker"].min()],
    ]
    own = large[large["ticker"].isin(eight)]
    yield Mixture("eight", own, pd.concat(strangers), date(2015, 12, 31), date(2018, 12, 31))


def crps(mixture: Mixture, frame: pd.DataFrame) -> pd.Series:
    """The CRPS of each of the own tickers, of networks trained on a frame."""
    tickers, total = sorted(mixture.own["ticker"].unique()), 0.0
    for seed in SEEDS:
        config = RecurrentConfig(seed=seed, seeds=1, horizon=1)
        run = training.train(frame, until=mixture.until, config=config)
        panel = Panel.of(frame, tickers=tickers, universe=run.tickers)
        days = np.datetime64(mixture.until), np.datetime64(mixture.end)
        made = run.model.forecast(panel, *days)
        values = quantile_grid.crps(made["log_return"], made[forecasts.QUANTILES])
        total = total + pd.Series(values, made.index).groupby(made["ticker"]).mean()
    return total / len(SEEDS)


def main(names: list[str]) -> None:
    """Scores each mixture."""
    for mixture in mixtures():
        if names and mixture.name not in names:
            continue
        mixed = pd.concat([mixture.own, mixture.strangers], ignore_index=True)
        ratio = crps(mixture, mixed) / crps(mixture, mixture.own)
        common.row(
            "mixtures",
            {"set": mixture.name},
            ratio=ratio.mean(),
            worst=ratio.max(),
            ticker=ratio.idxmax(),
            tickers=len(ratio),
        )


if __name__ == "__main__":
    main(sys.argv[1:])
