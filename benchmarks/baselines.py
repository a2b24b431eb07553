"""How good and how dear every baseline is: CRPS over gjr's, one process and two cores, refits yearly.

Each model is fitted at the start of every year scored on what was known then. Seconds are of fits
and forecasts, imports left out. `python benchmarks/baselines.py [SET...]`
"""

import sys
import time

import common

from forecaster.backtesting import backtest
from forecaster.models.registry import REGISTRY

RECURRENT = ("lstm", "gru", "rnn")


def main(names: list[str]) -> None:
    """Scores every model but the recurrent ones on each set."""
    for name in names:
        work, bar = common.WORKS[name](), None
        for model in sorted(set(REGISTRY) - set(RECURRENT), key=lambda it: it != "gjr"):
            begin = time.perf_counter()
            found = backtest.run(work.prices, work.spec(model))
            seconds = time.perf_counter() - begin
            bar = found.forecasts.assign(model="bar") if bar is None else bar
            common.row(
                "baselines",
                {"set": name, "model": model},
                **common.scores(found.forecasts, bar),
                seconds=seconds,
                fallbacks=len(found.tables["fallbacks"]),
            )


if __name__ == "__main__":
    main(sys.argv[1:] or ["sample", "W2"])
