"""How good the LSTM's default settings are: every set of prices, three seeds, against GJR-GARCH-t.

The LSTM is trained once, to the end of the training span, and forecasts every later session; gjr is
refitted every 250 sessions. Scores are means over sessions and tickers that both forecast; `ratio`
is the CRPS over gjr's, `better` the number of tickers on which it is lower. Seconds are of training,
on all cores, imports left out. `python benchmarks/accuracy.py [SET...]`
"""

import sys
import time

import common
import pandas as pd

from forecaster.backtesting import backtest
from forecaster.config import RecurrentConfig
from forecaster.runs import training

SEEDS = (0, 3, 6)
"""First seeds: each training averages three networks, of this seed and the next two."""


def main(names: list[str]) -> None:
    """Scores gjr and the LSTM on each set."""
    common.warm_up()
    for name in names:
        work = common.WORKS[name]()
        begin = time.perf_counter()
        bar = common.bar(work, again=True)
        common.row(
            "accuracy",
            {"set": name, "model": "gjr", "seed": ""},
            **common.scores(bar, bar.assign(model="bar")),
            seconds=time.perf_counter() - begin,
        )
        informed = common.bar(work, "gjr-events", again=True) if work.events is not None else None
        if informed is not None:
            common.row(
                "accuracy",
                {"set": name, "model": "gjr-events", "seed": ""},
                **common.scores(informed, bar),
            )
        for seed in SEEDS:
            begin = time.perf_counter()
            run = training.train(
                work.universe,
                events=work.events,
                until=work.until,
                config=RecurrentConfig(seed=seed),
            )
            seconds = time.perf_counter() - begin
            found = backtest.run(work.prices, work.spec("lstm"), events=work.events, trained=run)
            common.row(
                "accuracy",
                {"set": name, "model": "lstm", "seed": seed},
                **common.scores(found.forecasts, bar),
                **(around_reactions(found, informed) if informed is not None else {}),
                seconds=seconds,
            )


def around_reactions(found: backtest.Backtest, informed: pd.DataFrame) -> dict[str, float]:
    """The CRPS over that of gjr-events, and the coverage on reaction sessions."""
    table = found.tables["announced"].set_index("part")
    return {
        "ratio_informed": common.scores(found.forecasts, informed)["ratio"],
        "reaction_80": table.loc["reaction", "coverage_80"],
        "reaction_95": table.loc["reaction", "coverage_95"],
        "other_crps": table.loc["other", "crps"],
    }


if __name__ == "__main__":
    main(sys.argv[1:] or list(common.WORKS))
