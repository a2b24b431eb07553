"""How often returns fall beyond the outer quantiles, without a skew and with one.

One network of each set (seed 0), of the head `student` and of the head `skewed`; shares in percent of
all forecasts, pooled, whose promises are 1, 5, 5 and 1; CRPS in percent.
`python benchmarks/tails.py [SET...]`
"""

import sys
from dataclasses import replace

import common
import numpy as np

from forecaster.backtesting import backtest
from forecaster.config import RecurrentConfig
from forecaster.evaluation import metrics
from forecaster.runs import training

BELOW, ABOVE = {"below_1": "q0.01", "below_5": "q0.05"}, {"above_5": "q0.95", "above_1": "q0.99"}


def main() -> None:
    """Train and forecast each set with both heads."""
    for name in sys.argv[1:] or common.WORKS:
        work = common.WORKS[name]()
        for head in ("student", "skewed"):
            config = replace(RecurrentConfig(), head=head, seeds=1)
            run = training.train(work.universe, until=work.until, config=config)
            made = backtest.run(work.prices, work.spec("lstm"), trained=run).forecasts
            known = metrics.known(made)
            outcome = known["log_return"].to_numpy()
            shares = {it: np.mean(outcome < known[q].to_numpy()) for it, q in BELOW.items()}
            shares |= {it: np.mean(outcome > known[q].to_numpy()) for it, q in ABOVE.items()}
            common.row(
                "tails",
                {"set": name, "head": head},
                crps=100 * metrics.losses(known)["crps"].mean(),
                **{it: 100 * share for it, share in shares.items()},
                skew=known["skew"].mean(),
                forecasts=len(known),
            )


if __name__ == "__main__":
    main()
