"""What is left of the gain from earnings dates where the dates are worse: moved, dropped, without times.

One network (seed 0) of W2 is trained with its announcements, and one without. The first then forecasts
with announcements that are spoiled after the training span: `gain` is its CRPS below that of the second, in
percent, `left` that gain over the gain with the announcements as they are, `p_value` that of Diebold and
Mariano, and `others` the gain on sessions that are neither reactions nor of the five after one.
`python benchmarks/events.py [SET...]`
"""

import sys

import common
import numpy as np
import pandas as pd

from forecaster.backtesting.alternative_histories import SPOILED, spoiled
from forecaster.config import RecurrentConfig
from forecaster.dataset.panel import Panel
from forecaster.dataset.reactions import reactions_of
from forecaster.distributions import forecasts, quantile_grid
from forecaster.evaluation.significance import diebold_mariano
from forecaster.runs import forecasting, training
from forecaster.runs.run import Run


def main() -> None:
    """Train twice, and forecast with each kind of announcements."""
    for name in sys.argv[1:] or ["W2E", "dev_us_small_1995_2018E"]:
        work = common.WORKS[name]()
        assert work.events is not None
        config = RecurrentConfig(seeds=1)
        with_events, without = (
            training.train(work.universe, events=its, until=work.until, config=config)
            for its in (work.events, None)
        )
        base = crps(work, without, None)
        reactions = reactions_of(panel_of(with_events, work, work.events).histories, *span(work))
        whole = None
        for kind in ("as they are", *SPOILED):
            scheduled = work.events
            if kind in SPOILED:
                scheduled = spoiled(work.events, kind, np.datetime64(work.until))
            ours = crps(work, with_events, scheduled)
            gain = 100 * (1 - ours.mean() / base.mean())
            whole = gain if whole is None else whole
            by_day = (it.groupby("date").mean() for it in (ours, base))
            around = ours.index.isin(pd.MultiIndex.from_frame(reactions[["ticker", "date"]]))
            common.row(
                "events",
                {"set": name, "announcements": kind},
                gain=gain,
                left=gain / whole,
                p_value=diebold_mariano(*by_day).p_value,
                others=100 * (1 - ours[~around].mean() / base[~around].mean()),
            )


def span(work: common.Work) -> tuple[np.datetime64, np.datetime64]:
    """The last date trained on and the last scored."""
    return np.datetime64(work.until), np.datetime64(work.end)


def panel_of(run: Run, work: common.Work, scheduled: pd.DataFrame | None) -> Panel:
    """The panel of the tickers to score."""
    return forecasting.panel_of(run, work.prices, work.scored, scheduled)


def crps(work: common.Work, run: Run, scheduled: pd.DataFrame | None) -> pd.Series:
    """The CRPS of a run's forecasts of the days to score, by ticker and date."""
    table = run.model.forecast(panel_of(run, work, scheduled), *span(work))
    table = table[table["log_return"].notna() & (table["date"] <= pd.Timestamp(work.end))]
    losses = quantile_grid.crps(table["log_return"], table[forecasts.QUANTILES])
    return pd.Series(np.asarray(losses), pd.MultiIndex.from_frame(table[["ticker", "date"]]))


if __name__ == "__main__":
    main()
