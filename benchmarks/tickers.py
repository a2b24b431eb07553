"""Where more tickers stop helping: CRPS over gjr's on tickers never seen, by how many were trained on.

Some of W2's tickers, drawn at random, are trained on to the end of 2012; scored are every later
session of 60 US small caps, and of the fifth of W2's tickers that is never drawn but when all 88 are.
Three times each, with other tickers and other seeds, and again with all 88 and epochs of
`LIMIT` windows. Seconds are of the processor, training alone. `python benchmarks/tickers.py`
"""

import time
from dataclasses import replace

import common
import numpy as np
import pandas as pd

from forecaster.backtesting import backtest
from forecaster.config import RecurrentConfig
from forecaster.runs import training
from forecaster.runs.run import Run

COUNTS = (3, 10, 30, 70, 88)
LIMIT = 320
"""Windows: two fifths of those that 88 tickers have, and the least that an epoch of a small universe has."""

REPEATS = 3


def main() -> None:
    """Trains on each number of tickers, and scores."""
    common.warm_up()
    left_out, small = common.w2_unseen(), common.stored("dev_us_small_1995_2018")
    kinds = {
        "large caps": left_out,
        "small caps": replace(
            left_out,
            name="W2-small-caps",
            prices=pd.concat([left_out.prices, small], ignore_index=True),
            held_out=tuple(sorted(small["ticker"].unique())),
        ),
    }
    bars = {name: common.bar(work) for name, work in kinds.items()}
    pool = sorted(left_out.universe["ticker"].unique())
    every = sorted(left_out.prices["ticker"].unique())
    for count, limit in [*((count, 0) for count in COUNTS), (len(every), LIMIT)]:
        for repeat in range(REPEATS):
            drawn = every
            if count <= len(pool):
                drawn = np.random.default_rng(repeat).permutation(pool)[:count].tolist()
            prices = left_out.prices[left_out.prices["ticker"].isin(drawn)]
            begin = time.process_time()
            # Each training averages three networks, of this seed and the next two.
            config = RecurrentConfig(seed=3 * repeat, max_windows=limit)
            run = training.train(prices, until=left_out.until, config=config)
            seconds = time.process_time() - begin
            for name, work in kinds.items():
                if set(drawn).isdisjoint(work.held_out):
                    key = {
                        "trained_on": count,
                        "max_windows": limit,
                        "unseen": name,
                        "repeat": repeat,
                    }
                    common.row("tickers", key, **scored(run, work, bars[name]), seconds=seconds)


def scored(run: Run, work: common.Work, bar: pd.DataFrame) -> dict[str, float]:
    """Scores of a run on the tickers that a work holds out."""
    found = backtest.run(work.prices, work.spec("lstm"), trained=run)
    return common.scores(found.forecasts, bar)


if __name__ == "__main__":
    main()
