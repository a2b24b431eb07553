"""Retraining: the network that forecasts learns on from its own weights, once a calendar month.

The new run takes over only if it is not worse than the old one on sessions that neither has seen:

- The sessions scored are the last :data:`HELD_OUT` that are stored, all of them after the last that the
  old run has seen. The new one learns from what is stored before them, and never from them.
- Both forecast the next session from each cutoff, of the same tickers. The new run takes over if its mean
  CRPS is not above the old one's.
- For that the old run must have missed enough: :data:`LEAST` sessions to learn, and as many to be judged
  by. With fewer the month passes without; with fewer than :data:`HELD_OUT` to be judged by, those there
  are judge.

So the run that forecasts has not learnt from the last quarter. It is the very one that was judged, and not
another trained on all that is stored. Its name says the month; that there is a run of the name is what
remembers that the month's training is done.
"""

import re
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from forecaster.data import calendars
from forecaster.dataset.bars import Bars, every
from forecaster.dataset.panel import bars_of
from forecaster.distributions import forecasts, quantile_grid
from forecaster.errors import HistoryError
from forecaster.evaluation import experiment_log
from forecaster.models.protocol import Progress, silent
from forecaster.models.registry import NETWORKS, require_fittable
from forecaster.runs import bundle, choice, forecasting, training
from forecaster.runs.choice import Choice, Reason
from forecaster.runs.run import Run

HELD_OUT = 63
"""Sessions that judge, a quarter."""

LEAST = 21
"""The fewest sessions that judge, and the fewest that there must be to learn."""

_DATED = re.compile(r"-\d{4}-\d{2}(-\d{2})?(-\d+)?$")


class Retrained(NamedTuple):
    """What became of a month's training."""

    run: str | None
    """The new run; None where none was trained."""
    takes_over: bool
    words: str
    """What happened and why, in a line."""
    crps: float | None = None
    old_crps: float | None = None
    """The mean of both runs on the sessions that judge, percent."""


class Span(NamedTuple):
    """What a new run may learn from, and what both are judged by."""

    until: date
    """The last session to learn from."""
    sessions: int
    """How many come after it."""


def retrain(
    home: Path,
    chosen: Choice,
    read: Callable[[], pd.DataFrame],
    *,
    events: pd.DataFrame | None = None,
    companions: pd.DataFrame | None = None,
    progress: Progress = silent,
) -> Retrained:
    """Train the run of this calendar month, if there is none, and let it take over if it is not worse.

    Parameters
    ----------
    chosen : the run that forecasts.
    read : gives the prices frame of its universe, or for the base run of all that is stored.
    events, companions : as :func:`forecaster.runs.training.train` has them.

    Raises
    ------
    MissingPackageError
        TensorFlow is not installed.
    ForecastError
        Training failed; all is as it was.
    """
    old = chosen.run
    if old.model.name not in NETWORKS:
        return Retrained(
            None, False, f"run {old.name} is of {old.model.name}, and networks alone are retrained"
        )
    name = of_month(old, calendars.now())
    if name in bundle.names(home):
        return Retrained(None, False, f"run {name} is there, so this month's training is done")
    frames = read()
    bars = bars_of(frames)
    span = held_out(every(it.dates for it in bars.values()), old.until)
    if span is None:
        return Retrained(
            None,
            False,
            f"run {old.name} has seen all but a few of the stored sessions; it is retrained once "
            f"{2 * LEAST} have come after {old.until}, half of them to learn from and half to judge by",
        )
    require_fittable([old.model.name])
    new = training.train(
        frames,
        events=events,
        companions=companions,
        model=old.model.name,
        name=name,
        until=span.until,
        progress=progress,
        start=old,
    )
    crps, old_crps = compared(new, old, bars, span.until, events, companions)
    takes_over = crps <= old_crps
    if not takes_over and chosen.reason is not Reason.DEFAULT:
        choice.set_default(home, old.name)  # else the latest network would forecast
    bundle.save(new, home)
    experiment_log.record(home, training.experiment(new))
    if takes_over:
        choice.set_default(home, new.name)
    score = (
        f"CRPS {crps:.4f}% against {old_crps:.4f}% of run {old.name} on the last {span.sessions} sessions, "
        "which neither has seen"
    )
    words = (
        f"run {new.name} takes over: {score}"
        if takes_over
        else f"run {old.name} goes on forecasting, as run {new.name} is worse: {score}"
    )
    return Retrained(new.name, takes_over, words, crps, old_crps)


def of_month(old: Run, now: pd.Timestamp) -> str:
    """Return the name of the run of a month: that of the old one, with the month for its date."""
    root = old.model.name if old.is_base else _DATED.sub("", old.name)
    return f"{root}-{now:%Y-%m}"


def held_out(sessions: np.ndarray, seen: date) -> Span | None:
    """Return what is to be learnt from and what judges; None where too little is unseen.

    Parameters
    ----------
    sessions : (sessions,) datetime64[D], ascending.
    seen : the last session that the old run has seen.
    """
    unseen = len(sessions) - int(np.searchsorted(sessions, np.datetime64(seen), side="right"))
    judging = min(HELD_OUT, unseen - LEAST)
    if judging < LEAST:
        return None
    return Span(sessions[-judging - 1].item(), judging)


def compared(
    new: Run,
    old: Run,
    bars: dict[str, Bars],
    until: date,
    events: pd.DataFrame | None,
    companions: pd.DataFrame | None,
) -> tuple[float, float]:
    """Return the mean CRPS of both, percent, on the next-session forecasts of dates after ``until``."""
    rows = [
        _forecasts(run, bars, sorted(new.tickers), until, events, companions) for run in (new, old)
    ]
    both = rows[0].merge(rows[1], on=["ticker", "cutoff", "date"], suffixes=("", " of old"))
    if both.empty:
        raise HistoryError(
            f"expected forecasts of dates after {until} to judge run {new.name} by, came none; fetch "
            "later prices"
        )
    means = (100 * both[["crps", "crps of old"]]).mean()
    return float(means.iloc[0]), float(means.iloc[1])


def _forecasts(
    run: Run,
    bars: dict[str, Bars],
    tickers: Sequence[str],
    until: date,
    events: pd.DataFrame | None,
    companions: pd.DataFrame | None,
) -> pd.DataFrame:
    """Return ticker, cutoff, date and crps of the next-session forecasts of dates after ``until``."""
    panel = forecasting.panel_of(run, bars, tickers, events, companions)
    begin = np.datetime64(until) - calendars.LONGEST_CLOSURE
    frame = run.model.forecast(panel, begin, panel.sessions[-1])
    frame = frame[(frame["date"] > pd.Timestamp(until)) & frame["log_return"].notna()]
    crps = quantile_grid.crps(frame["log_return"], frame[forecasts.QUANTILES])
    return frame[["ticker", "cutoff", "date"]].assign(crps=crps)
