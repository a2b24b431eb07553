"""A home that somebody uses every day: prices, earnings, and a ledger of some weeks."""

import json
from datetime import date

import numpy as np
import pandas as pd

from forecaster.backtesting.provenance import PriceSpan, Provenance
from forecaster.backtesting.spec import BacktestSpec
from forecaster.data import calendars, prices
from forecaster.data.event_store import EventStore
from forecaster.data.store import Store
from forecaster.distributions import forecasts
from forecaster.live import ledger
from forecaster.live.ledger import Origin
from forecaster.model_selection.splits import Fold

LAST = pd.Timestamp("2026-11-25")
NOW = pd.Timestamp("2026-11-25T23:00Z")
"""After the close of the last session stored, and before the next opens."""
KNOTS = (1, 2, 3, 5, 10, 21)
RUN = "lstm-2026"


def stored(home, tickers, sessions=400, seed=0, last=LAST):
    """Store prices of US tickers up to a day; return the sessions."""
    days = calendars.sessions_between("AAA", last - pd.Timedelta(days=2 * sessions), last)[
        -sessions:
    ]
    rng = np.random.default_rng(seed)
    moves = 0.012 * rng.standard_t(5, (len(tickers), sessions))
    closes = 100 * np.exp(np.cumsum(moves, axis=1))
    frame = pd.DataFrame(
        {
            "ticker": np.repeat(list(tickers), sessions),
            "date": np.tile(days, len(tickers)),
            "close": closes.ravel(),
        }
    )
    Store(home).write(prices.check(frame), source="test", notes={"currency": "USD"})
    return days


def announced(home, ticker, *days):
    """Store days on which a ticker reports, after the close."""
    frame = pd.DataFrame(
        {
            "ticker": ticker,
            "date": list(days),
            "kind": "earnings",
            "time": "post",
            "first_seen": None,
        }
    )
    EventStore(home).write(frame, source="test", asked=[ticker])


def made(home, cutoff, steps=KNOTS, model="lstm", tickers=None):
    """Return forecasts of a cutoff: a Student-t as wide as the root of the steps."""
    its = Store(home).read(tickers, start=cutoff.date(), end=cutoff.date())
    return forecasts.concat(
        forecasts.from_student_t(
            ticker=its["ticker"],
            model=model,
            cutoff=its["date"],
            date=calendars.next_sessions("AAA", cutoff, step)[-1].date,
            last_close=its["close"],
            log_return=np.nan,
            location=0.0,
            scale=0.012 * np.sqrt(step),
            df=5.0,
            step=step,
        )
        for step in steps
    )


def recorded(home, cutoff, hours=23, **options):
    """Record forecasts of a cutoff so many hours after its midnight: by default in its evening."""
    frame = made(home, cutoff, **options)
    model = str(frame["model"].iloc[0])
    run = RUN if model == "lstm" else ""
    origin = Origin(model, run, "0" * 64 if run else "", "2025-12-31", {"forecaster": "1"}, None)
    at = pd.Timestamp(cutoff).tz_localize("UTC") + pd.Timedelta(hours=hours)
    digests = dict.fromkeys(frame["ticker"], "0" * 64)
    return ledger.record(home, frame, {model: origin}, digests, made=at)


def kept(home, name, report=None):
    """Keep where a backtest comes from, and a report if one is given; return the folder."""
    folder = home / "backtests" / name
    folder.mkdir(parents=True)
    day = date(2018, 1, 3)
    provenance = Provenance(
        spec=BacktestSpec(("lstm", "gjr"), ("AAPL",), day, day),
        scored_tickers=("AAPL",),
        folds=(Fold(*np.array(["2017-01-03", "2018-01-02", "2018-01-03"], "datetime64[D]")),),
        prices=PriceSpan("1999-01-04", "2019-05-17", "0f" * 32),
        versions={"forecaster": "0.1.0"},
    )
    (folder / "config.json").write_text(json.dumps(provenance.document(), default=str))
    if report is not None:
        (folder / "report.html").write_text(report, encoding="utf-8")
    return folder
