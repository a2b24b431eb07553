"""What is left of the gain from earnings dates where the dates are worse: moved, dropped, without times.

One network (seed 0) of W2 is trained with its announcements, and one without. The first then forecasts
with announcements that are spoiled after the training span: `gain` is its CRPS below that of the second, in
percent, `left` that gain over the gain with the announcements as they are, `p_value` that of Diebold and
Mariano, and `others` the gain on sessions that are neither reactions nor of the five after one.
`python benchmarks/events.py [SET...]`
"""

import sys
from collections.abc import Callable

import common
import numpy as np
import pandas as pd

from forecaster.config import RecurrentConfig
from forecaster.data.events import check
from forecaster.dataset.panel import Panel
from forecaster.dataset.reactions import reactions_of
from forecaster.distributions import forecasts, quantile_grid
from forecaster.evaluation.significance import diebold_mariano
from forecaster.runs import forecasting, training
from forecaster.runs.run import Run

Spoil = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]


def moved(days: int) -> Spoil:
    """Every date moved by so many days, half of them forward."""
    return lambda its, rng: its.assign(
        date=its["date"] + pd.to_timedelta(days * rng.choice([-1, 1], len(its)), "D")
    )


def dropped(share: float) -> Spoil:
    """A share of the announcements left out."""
    return lambda its, rng: its[rng.random(len(its)) >= share]


SPOILED: dict[str, Spoil] = {
    "as they are": lambda its, rng: its,
    "times unknown": lambda its, rng: its.assign(time=None),
    "10% dropped": dropped(0.1),
    "30% dropped": dropped(0.3),
    **{f"moved by {days} day{'s' * (days > 1)}": moved(days) for days in (1, 2, 5)},
    "none": lambda its, rng: its.iloc[:0],
}


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
        early = work.events["date"] <= pd.Timestamp(work.until)
        whole = None
        for kind, spoil in SPOILED.items():
            later = spoil(work.events[~early], np.random.default_rng(0))
            later = later.drop_duplicates(["ticker", "date"])
            scheduled = check(pd.concat([work.events[early], later]))
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
