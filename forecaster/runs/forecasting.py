"""Forecast the sessions to come with a run."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import NamedTuple

import numpy as np
import pandas as pd

from forecaster.data.calendars import LONGEST_CLOSURE
from forecaster.dataset.announcements import NextEvent
from forecaster.dataset.bars import Bars
from forecaster.dataset.implied import Level
from forecaster.dataset.market import FEW, Place
from forecaster.dataset.panel import History, Panel, bars_of
from forecaster.distributions import forecasts, horizons, recalibration
from forecaster.errors import HistoryError, UsageError, first_few
from forecaster.models.protocol import SESSIONS_TO_FORECAST
from forecaster.runs.run import Run

MOST = 100
"""Tickers of an exchange that stand in for a market whose index is not stored."""

BATCH = 256
"""Tickers whose histories are in memory at a time, as they are forecast."""


class Predictions(NamedTuple):
    """Forecasts of the sessions to come."""

    table: pd.DataFrame
    """The forecasts frame, a row for each step of each ticker that could be forecast."""
    failed: dict[str, HistoryError]
    """Why the other tickers could not."""
    announced: dict[str, NextEvent]
    """The next announcement of each ticker that has one within sight."""
    implied: dict[str, Level]
    """The implied volatility that fits each ticker, as known at the cutoff."""


def predict(
    run: Run,
    frames: pd.DataFrame | Iterable[pd.DataFrame],
    *,
    tickers: Sequence[str],
    events: pd.DataFrame | None = None,
    companions: pd.DataFrame | None = None,
    as_of: date | None = None,
    calibrate: bool = False,
    steps: Sequence[int] = (1,),
) -> pd.DataFrame:
    """Forecast the sessions to come of each ticker, from its last session up to ``as_of``.

    Parameters
    ----------
    run : a trained model.
    frames : the prices frame of the tickers and of the run's universe, or one for each of them.
    events : the events frame of any tickers.
    companions : the prices frame of the indices that they are seen beside.
    as_of : the latest date a forecast may use; by default the last there is.
    calibrate : whether quantiles are moved by the misses since the training span; see
        :mod:`forecaster.distributions.recalibration`.
    steps : how many sessions ahead to forecast, each a number from 1 to the run's horizon; by default
        the next session alone.

    Returns
    -------
    The forecasts frame, by ticker in the order given and then by step; the same numbers as the rows of
    a backtest of the run with that cutoff.

    Raises
    ------
    UsageError
        A step is none, or the run was not trained to forecast so far ahead.
    HistoryError
        A ticker has too little history, or what is to be forecast was in the training span.
    """
    predictions = predict_each(
        run,
        frames,
        tickers=tickers,
        events=events,
        companions=companions,
        as_of=as_of,
        calibrate=calibrate,
        steps=steps,
    )
    for error in predictions.failed.values():
        raise error
    return predictions.table


def predict_each(
    run: Run,
    frames: pd.DataFrame | Iterable[pd.DataFrame] | Mapping[str, Bars],
    *,
    tickers: Sequence[str],
    events: pd.DataFrame | None = None,
    companions: pd.DataFrame | None = None,
    as_of: date | None = None,
    calibrate: bool = False,
    steps: Sequence[int] = (1,),
) -> Predictions:
    """Return what :func:`predict` does for the tickers it can, and the errors of the others.

    It takes the bars by ticker for prices too.
    """
    steps = _within_horizon(run, steps)
    histories = panel_of(run, frames, tickers, events, companions).histories
    limit = np.datetime64(as_of) if as_of else np.datetime64(date.max)
    failed: dict[str, HistoryError] = {}
    announced: dict[str, NextEvent] = {}
    implied: dict[str, Level] = {}
    forecast = _calibrated if calibrate else _uncalibrated
    parts = []
    for begin in range(0, len(histories), BATCH):
        cutoffs: dict[np.datetime64, list[History]] = {}
        for history in histories[begin : begin + BATCH]:
            problem = _unforeseeable(run, history, limit)
            if problem:
                failed[history.ticker] = HistoryError(problem)
            else:
                session = history.count_until(limit) - 1
                cutoff = history.dates[session]
                if event := history.next_event(session):
                    announced[history.ticker] = event
                if history.implied and (level := history.implied.known(history.dates, session)):
                    implied[history.ticker] = level
                cutoffs.setdefault(cutoff, []).append(history)
        parts += [
            forecast(run, Panel(tuple(own)), cutoff, steps) for cutoff, own in cutoffs.items()
        ]
    table = forecasts.concat(parts).set_index("ticker")
    for ticker in tickers:  # a set would have them in another order each time
        if ticker in table.index or ticker in failed:
            continue
        failed[ticker] = HistoryError(
            f"run {run.name} has no {run.model.name} for {ticker}, or not for the sessions stored; "
            "train a run with it"
        )
    order = [ticker for ticker in tickers if ticker in table.index]
    return Predictions(table.loc[order].reset_index(), failed, announced, implied)


def _within_horizon(run: Run, steps: Sequence[int]) -> tuple[int, ...]:
    """Return the steps in order; UsageError if one lies beyond what the run was trained for."""
    wanted, horizon = horizons.check(steps), run.model.horizon
    if wanted[-1] > horizon:
        reach = f"up to {horizon} sessions ahead" if horizon > 1 else "the next session alone"
        raise UsageError(
            f"run {run.name} forecasts {reach}, got a step of {wanted[-1]}; "
            "train a run with a longer `horizon`"
        )
    return wanted


def _uncalibrated(
    run: Run, panel: Panel, cutoff: np.datetime64, steps: tuple[int, ...]
) -> pd.DataFrame:
    return run.model.forecast(panel, cutoff, cutoff, steps)


def _calibrated(
    run: Run, panel: Panel, cutoff: np.datetime64, steps: tuple[int, ...]
) -> pd.DataFrame:
    """Return the forecast as a backtest of the run, from its training span on, recalibrates it."""
    until = np.datetime64(run.until)
    table = run.model.forecast(panel, until - LONGEST_CLOSURE, cutoff, steps)
    # A longer step from before the end of the training span reaches beyond it, but was learned from.
    first = {it.ticker: it.dates[max(it.count_until(until) - 1, 0)] for it in panel.histories}
    unseen = table["date"] > pd.Timestamp(run.until)
    unseen &= table["cutoff"] >= table["ticker"].map(first)
    table = recalibration.recalibrate(table[unseen])
    return table[table["cutoff"] == pd.Timestamp(cutoff)]


def _unforeseeable(run: Run, history: History, limit: np.datetime64) -> str | None:
    """Return why a ticker's next session cannot be forecast, None if it can."""
    known = history.count_until(limit)
    if known < SESSIONS_TO_FORECAST:
        return (
            f"{history.ticker} has {known} sessions up to {min(limit, history.dates[-1])}, and a "
            f"forecast needs {SESSIONS_TO_FORECAST}; its first is {history.dates[0]}"
        )
    if history.next_dates[known - 1] <= np.datetime64(run.until):
        if known == len(history.dates):
            return (
                f"{history.ticker} ends at {history.dates[known - 1]}, and run {run.name} was trained on "
                f"sessions up to {run.until}: nothing of it is left to forecast. If it still trades, "
                f"`forecast fetch {history.ticker}` gets the rest"
            )
        return (
            f"run {run.name} was trained on sessions up to {run.until}, so it cannot forecast "
            f"{history.ticker} from {history.dates[known - 1]} without having seen what came; "
            "choose a later date, or train a run with an earlier `until`"
        )
    return None


def panel_of(
    run: Run,
    frames: pd.DataFrame | Iterable[pd.DataFrame] | Mapping[str, Bars],
    tickers: Sequence[str],
    events: pd.DataFrame | None = None,
    companions: pd.DataFrame | Mapping[str, Bars] | None = None,
) -> Panel:
    """Return the panel of some tickers in the market of a run."""
    bars = frames if isinstance(frames, Mapping) else bars_of(frames)
    beside = companions if isinstance(companions, Mapping | None) else bars_of(companions)
    universe = universe_of(run, [*bars, *(beside or ())], tickers)
    if not universe and not run.is_base:
        raise HistoryError(
            f"none of the tickers that run {run.name} was trained on is stored, and their average "
            f"is its market; fetch some of {first_few(run.tickers)}, or train another run"
        )
    return Panel.of(bars, tickers=tickers, universe=universe, events=events, companions=beside)


def universe_of(run: Run, stored: Sequence[str], tickers: Sequence[str]) -> list[str]:
    """Return the tickers whose average is a run's market for some others, in order.

    Those of an own run are what it was trained on. The base run was trained on others' prices: where
    the index of a ticker's market is not there, the stored tickers of its exchange and kind stand in
    for it, or those of its kind elsewhere where these are few. Which they are does not depend on what
    else is forecast.

    Parameters
    ----------
    stored : the tickers whose prices there are, with those that were fetched along.
    tickers : of the forecasts.
    """
    known = set(stored)
    if not run.is_base:
        return sorted(known.intersection(run.tickers))
    peers: dict[Place, list[str]] = {}
    for ticker in sorted(known):
        place = Place.of(ticker)
        if place.benchmark not in known and len(its := peers.setdefault(place, [])) < MOST:
            its.append(ticker)
    universe = set[str]()
    for place in {Place.of(ticker) for ticker in tickers}:
        if place.benchmark in known:
            continue
        near = peers.get(place, [])
        alike = (its for other, its in peers.items() if other.kind == place.kind)
        universe.update(near if len(near) >= FEW else (it for its in alike for it in its))
    return sorted(universe)
