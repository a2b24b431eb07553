"""What an evening has to forecast, and the forecasts that go into the ledger.

A ticker is forecast from its last session that is over, if the next one is not. So a call in the
afternoon of Frankfurt forecasts Tokyo's tomorrow, leaves what was recorded of Frankfurt's today as it is,
and Frankfurt's tomorrow to a call after its close. What is forecast after its session has opened is
recorded as late (:mod:`forecaster.live.ledger`); what is over is not forecast.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from forecaster.data import calendars, prices
from forecaster.data.exchanges import exchange
from forecaster.data.store import Store
from forecaster.dataset.bars import Bars
from forecaster.dataset.panel import Panel
from forecaster.distributions.horizons import KNOTS
from forecaster.live import baselines, ledger
from forecaster.live.baselines import YearForecasts
from forecaster.live.ledger import Origin, Recorded
from forecaster.models.protocol import Progress, silent
from forecaster.runs import bundle, forecasting
from forecaster.runs.forecasting import Predictions
from forecaster.runs.run import Run, versions

RECENT = pd.Timedelta(days=200)
"""Before now, whose sessions tell when a ticker trades."""

LATELY = pd.Timedelta(days=15)
"""Before now, within which what came is usually settled."""

ON_THE_SPOT = ""
"""What the ledger has as the run of a model that is of none."""


class Wait(NamedTuple):
    """What is recorded, and goes on when an exchange has closed."""

    exchange: str
    until: pd.Timestamp
    """When the session that was forecast closes."""
    tickers: list[str]


class Agenda(NamedTuple):
    """What is to be forecast of some tickers by now."""

    cutoffs: dict[str, pd.Timestamp]
    """The session that each ticker with something to be forecast is forecast from."""
    of_run: list[str]
    """Those that the run is to forecast."""
    of_baselines: dict[str, list[str]]
    """Those that each baseline is to forecast, by its name."""
    waiting: list[Wait]
    """Those of which all is recorded."""
    behind: list[str]
    """Those that lack sessions that are over."""


class Market(NamedTuple):
    """The prices of tickers to be forecast, and of those that a run sees beside them."""

    bars: dict[str, Bars]
    sha256: dict[str, str]
    """Of the prices up to the cutoff, by ticker to be forecast."""

    @property
    def dates(self) -> dict[str, np.ndarray]:
        """The dates of all prices, by ticker."""
        return {ticker: its.dates for ticker, its in self.bars.items()}


def agenda(home: Path, store: Store, run: Run | None, tickers: Sequence[str]) -> Agenda:
    """Return what a run and the baselines are to forecast of some stored tickers by now.

    Raises
    ------
    StoreError
        The prices of a ticker or the ledger cannot be read.
    """
    now = calendars.now()
    frame = store.read(tickers, columns=["ticker", "date"], start=(now - RECENT).date())
    dates = {str(ticker): its for ticker, its in frame.groupby("ticker", sort=False)["date"]}
    cutoffs = {ticker: _cutoff(ticker, dates.get(ticker), now) for ticker in tickers}
    since = min((it for it in cutoffs.values() if it is not None), default=now)
    there = ledger.recorded(home, since=since.date())
    mine = [(run.model.name, run.name, step) for step in reached(run)] if run else []
    due = Agenda({}, [], {model: [] for model in baselines.MODELS}, [], [])
    waiting: dict[tuple[str, pd.Timestamp], list[str]] = {}
    for ticker, cutoff in cutoffs.items():
        if cutoff is None:
            due.behind.append(ticker)
            continue
        by_run = not all((ticker, *by, cutoff, step) in there for *by, step in mine)
        by = [it for it in baselines.MODELS if (ticker, it, ON_THE_SPOT, cutoff, 1) not in there]
        if not by_run and not by:
            day = calendars.next_session(ticker, cutoff, dates[ticker]).date
            close = calendars.closing(ticker, day, dates[ticker])
            waiting.setdefault((exchange(ticker), close), []).append(ticker)
            continue
        due.cutoffs[ticker] = cutoff
        if by_run:
            due.of_run.append(ticker)
        for model in by:
            due.of_baselines[model].append(ticker)
    due.waiting.extend(Wait(*key, its) for key, its in sorted(waiting.items()))
    return due


def reached(run: Run) -> list[int]:
    """Return the steps that a run is recorded at: the :data:`KNOTS` up to its horizon."""
    return [step for step in KNOTS if step <= run.model.horizon]


def _cutoff(ticker: str, dates: pd.Series | None, now: pd.Timestamp) -> pd.Timestamp | None:
    """Return the last session that is over; None if it is not stored."""
    if dates is None:
        return None
    last = calendars.last_finished(ticker, now, dates)
    return last if (dates == last).any() else None


def read(frames: Iterable[pd.DataFrame], cutoffs: Mapping[str, pd.Timestamp]) -> Market:
    """Return what is known of tickers: of those to be forecast, up to the cutoff.

    Parameters
    ----------
    frames : the prices frame of each.
    """
    market = Market({}, {})
    for frame in frames:
        ticker = str(frame["ticker"].iloc[0])
        if ticker in cutoffs:
            frame = frame[frame["date"] <= cutoffs[ticker]]
            market.sha256[ticker] = prices.digest([frame])
        market.bars[ticker] = Bars.of(frame)
    return market


def by_run(
    run: Run,
    market: Market,
    tickers: Sequence[str],
    *,
    events: pd.DataFrame | None = None,
    companions: pd.DataFrame | None = None,
) -> Predictions:
    """Return the forecasts of a run, of each of the :data:`KNOTS` that it reaches.

    Raises
    ------
    HistoryError
        None of the tickers that the run was trained on is stored.
    """
    return forecasting.predict_each(
        run,
        market.bars,
        tickers=tickers,
        events=events,
        companions=companions,
        steps=reached(run),
    )


def by_baselines(
    home: Path, market: Market, due: Agenda, progress: Progress = silent
) -> list[YearForecasts]:
    """Return the forecasts of the baselines, fitted where they are not."""
    cutoffs = {
        ticker: day.to_datetime64().astype("datetime64[D]") for ticker, day in due.cutoffs.items()
    }
    panel = Panel.of(market.bars, tickers=list(cutoffs), universe=())
    panel = Panel(tuple(panel.histories))  # each is read by both models, and more than once
    return [
        made
        for model, its in due.of_baselines.items()
        for made in baselines.forecast(
            home, panel, {ticker: cutoffs[ticker] for ticker in its}, [model], progress
        )
    ]


def record_run(home: Path, run: Run, table: pd.DataFrame, market: Market) -> Recorded:
    """Add the forecasts of a run to the ledger."""
    origin = Origin(
        run.model.name, run.name, bundle.weights_sha256(run), str(run.until), versions(), None
    )
    return ledger.record(
        home, table, {run.model.name: origin}, market.sha256, histories=market.dates
    )


def record_baseline(home: Path, made: YearForecasts, market: Market) -> Recorded:
    """Add the forecasts of a baseline to the ledger."""
    origin = Origin(made.model, ON_THE_SPOT, made.sha256, made.until, versions(), "yearly")
    return ledger.record(
        home, made.table, {made.model: origin}, market.sha256, histories=market.dates
    )


def outcomes(home: Path, now: pd.Timestamp) -> pd.Series:
    """Return whether what came lay inside the 80% interval, of the runs' next-session forecasts of late.

    Indexed by ticker, run and cutoff.
    """
    rows = ledger.read(home, first=(now - LATELY).date(), steps=[1])
    rows = rows[(rows["run"] != ON_THE_SPOT) & rows["log_return"].notna()]
    inside = rows["log_return"].between(rows["q0.1"], rows["q0.9"])
    inside.index = pd.MultiIndex.from_frame(rows[["ticker", "run", "cutoff"]])
    return inside
