"""Forecast the next session with a run."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import numpy as np
import pandas as pd

from forecaster.dataset.bars import Bars
from forecaster.dataset.panel import GAP, History, Panel
from forecaster.distributions import forecasts, recalibration
from forecaster.errors import HistoryError, first_few
from forecaster.models.protocol import MIN_SESSIONS
from forecaster.runs.run import Run

TOGETHER = 64
"""Tickers whose histories are in memory at a time, as they are forecast."""


def predict(
    run: Run,
    frames: pd.DataFrame | Iterable[pd.DataFrame],
    *,
    tickers: Sequence[str],
    as_of: date | None = None,
    calibrate: bool = False,
) -> pd.DataFrame:
    """The next session's forecast of each ticker, made at its last session up to ``as_of``.

    Parameters
    ----------
    run : a trained model.
    frames : the prices frame of the tickers and of the run's universe, or one for each of them.
    as_of : the latest date a forecast may use; by default the last there is.
    calibrate : whether quantiles are moved by the misses since the training span; see
        :mod:`forecaster.distributions.recalibration`.

    Returns
    -------
    The forecasts frame, a row for each ticker in the order given; the same numbers as the row of
    a backtest of the run with that cutoff.

    Raises
    ------
    HistoryError
        A ticker has too little history, or what is to be forecast was in the training span.
    """
    found, failed = predict_each(run, frames, tickers=tickers, as_of=as_of, calibrate=calibrate)
    for error in failed.values():
        raise error
    return found


def predict_each(
    run: Run,
    frames: pd.DataFrame | Iterable[pd.DataFrame],
    *,
    tickers: Sequence[str],
    as_of: date | None = None,
    calibrate: bool = False,
) -> tuple[pd.DataFrame, dict[str, HistoryError]]:
    """As :func:`predict`, but gives the forecasts there are, and by ticker why others are not."""
    histories = panel_of(run, frames, tickers).histories
    limit = np.datetime64(as_of) if as_of else max(history.dates[-1] for history in histories)
    failed: dict[str, HistoryError] = {}
    made = _calibrated if calibrate else _forecast
    parts = []
    for begin in range(0, len(histories), TOGETHER):
        cutoffs: dict[np.datetime64, list[History]] = {}
        for history in histories[begin : begin + TOGETHER]:
            problem = _unforeseeable(run, history, limit)
            if problem:
                failed[history.ticker] = HistoryError(problem)
            else:
                cutoff = history.dates[history.count_until(limit) - 1]
                cutoffs.setdefault(cutoff, []).append(history)
        parts += [made(run, Panel(tuple(those)), cutoff) for cutoff, those in cutoffs.items()]
    found = forecasts.concat(parts).set_index("ticker")
    for ticker in set(tickers) - set(found.index) - set(failed):
        failed[ticker] = HistoryError(
            f"run {run.name} has no {run.model.name} for {ticker}, or not for the sessions stored; "
            "train a run with it"
        )
    order = [ticker for ticker in tickers if ticker in found.index]
    return found.loc[order].reset_index(), failed


def _forecast(run: Run, panel: Panel, cutoff: np.datetime64) -> pd.DataFrame:
    return run.model.forecast(panel, cutoff, cutoff)


def _calibrated(run: Run, panel: Panel, cutoff: np.datetime64) -> pd.DataFrame:
    """As a backtest of the run from its training span on recalibrates that forecast."""
    until = np.datetime64(run.until)
    found = run.model.forecast(panel, until - GAP, cutoff)
    found = recalibration.recalibrate(found[found["date"] > pd.Timestamp(run.until)])
    return found[found["cutoff"] == pd.Timestamp(cutoff)]


def _unforeseeable(run: Run, history: History, limit: np.datetime64) -> str | None:
    """Why a ticker's next session cannot be forecast, if so."""
    known = history.count_until(limit)
    if known < MIN_SESSIONS:
        return (
            f"{history.ticker} has {known} sessions up to {limit}, and a forecast needs "
            f"{MIN_SESSIONS}; its first is {history.dates[0]}"
        )
    if history.next_dates[known - 1] <= np.datetime64(run.until):
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
) -> Panel:
    """The panel of some tickers in the market that the run was trained in; see ``Panel.of``."""
    panel = Panel.of(frames, tickers=tickers, universe=run.tickers)
    if not panel.universe:
        raise HistoryError(
            f"none of the tickers that run {run.name} was trained on is stored, and their average "
            f"is its market; fetch some of {first_few(run.tickers)}, or train another run"
        )
    return panel
