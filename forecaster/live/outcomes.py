"""Yesterday, ticker by ticker: the last forecast of the next session that came, and the one that is open.

It reads the few rows that it needs, as plain Python values: a table of 500 tickers is there at once.
"""

import json
from collections.abc import Collection
from datetime import date, timedelta
from math import exp
from pathlib import Path
from typing import Any, NamedTuple

from forecaster.live import database

EMPTY = "the ledger is empty; `forecast daily` records forecasts"

RECENT = timedelta(days=14)
"""Before the ledger's last date, in which the last session of a ticker is looked for."""

_INTERVALS = {"80": ("q0.1", "q0.9"), "95": ("q0.025", "q0.975")}

_COLUMNS = (
    *("ticker", "model", "run", "cutoff", "date", "made_at", "late", "last_close"),
    *("q0.025", "q0.1", "q0.5", "q0.9", "q0.975"),
)

_NEXT_DAY = (
    "SELECT "
    + ", ".join(f'f."{name}"' for name in _COLUMNS)
    + ", s.status, s.date, s.log_return FROM forecasts f LEFT JOIN settlements s ON s.id = (SELECT "
    "max(o.id) FROM settlements o WHERE o.ticker = f.ticker AND o.cutoff = f.cutoff AND o.step = f.step) "
    "WHERE f.step = 1 AND f.run <> '' AND f.date >= ?"
)


class Outcome(NamedTuple):
    """A forecast of the next session, and what came of it."""

    ticker: str
    model: str
    run: str
    cutoff: str
    date: str
    """The session forecast, YYYY-MM-DD; that which came, if it was another"""
    made_at: str
    late: bool
    """Whether it was made after the session had opened"""
    last_close: float
    median: float
    intervals: dict[str, tuple[float, float]]
    """By their percent; prices, as is the median"""
    status: str
    """``open``, ``settled``, ``moved`` (another session came) or ``vanished`` (no price came)"""
    log_return: float | None
    """What came"""

    price: float | None
    """The same as a price, adjusted as the last close was"""
    inside: dict[str, bool] | None
    """By the percent of the interval, None where nothing came"""


def latest(
    home: Path, tickers: Collection[str] | None = None, run: str | None = None
) -> list[Outcome]:
    """Return of each ticker the last forecast that is settled, and then the last that is open.

    Parameters
    ----------
    tickers : those alone; by default all of the ledger whose last session lies within `RECENT` before
        its last date.
    run : forecasts by this one alone; by default by whichever.

    Raises
    ------
    StoreError
        The ledger cannot be read.
    """
    conditions, values = "", []
    if tickers is not None:
        conditions += " AND f.ticker IN (SELECT value FROM json_each(?))"
        values.append(json.dumps(list(tickers)))
    if run is not None:
        conditions += " AND f.run = ?"
        values.append(run)

    def question(ledger: Any) -> list[tuple[Any, ...]]:
        first = "" if tickers is not None else _recent(ledger)
        query = f"{_NEXT_DAY}{conditions} ORDER BY f.date, f.id"
        rows: list[tuple[Any, ...]] = ledger.execute(query, (first, *values)).fetchall()
        return rows

    nothing: list[tuple[Any, ...]] = []
    by_key: dict[tuple[str, bool], Outcome] = {}
    with database.meaningful(home):
        for its in map(_outcome, database.reading(home, question, nothing)):
            by_key[its.ticker, its.status == "open"] = its
        return [by_key[key] for key in sorted(by_key)]


def tickers_of(home: Path) -> list[str]:
    """Return the tickers that the ledger has forecasts of."""
    query = "SELECT DISTINCT ticker FROM forecasts WHERE run <> '' ORDER BY ticker"
    nothing: list[tuple[str]] = []
    return [
        name for (name,) in database.reading(home, lambda it: it.execute(query).fetchall(), nothing)
    ]


def _recent(ledger: Any) -> str:
    """The first date of those that are recent, YYYY-MM-DD."""
    query = "SELECT date FROM forecasts WHERE step = 1 ORDER BY date DESC LIMIT 1"
    row = ledger.execute(query).fetchone()
    return str(date.fromisoformat(row[0]) - RECENT) if row else ""


def _outcome(row: tuple[Any, ...]) -> Outcome:
    its = dict(zip(_COLUMNS, row, strict=False))
    status, came, log_return = row[len(_COLUMNS) :]

    def price(of: float) -> float:
        return float(its["last_close"] * exp(of))

    ends = {percent: (its[low], its[high]) for percent, (low, high) in _INTERVALS.items()}
    nothing = log_return is None
    return Outcome(
        **{name: its[name] for name in _COLUMNS[:4]},
        date=came or its["date"],
        made_at=its["made_at"],
        late=bool(its["late"]),
        last_close=its["last_close"],
        median=price(its["q0.5"]),
        intervals={percent: (price(low), price(high)) for percent, (low, high) in ends.items()},
        status=status or "open",
        log_return=log_return,
        price=None if nothing else price(log_return),
        inside=None
        if nothing
        else {percent: low <= log_return <= high for percent, (low, high) in ends.items()},
    )
