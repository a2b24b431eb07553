"""The ledger: every forecast as it was made, before the day, in a file that shows any later change.

``ledger.db`` in the home has three tables, to which rows are added and in which none is ever changed:

- ``origins``: what made forecasts, a JSON document under its own SHA-256;
- ``forecasts``: a row for each (ticker, model, run, cutoff, step), the first that was recorded;
- ``settlements``: what came, once the day is over (:mod:`forecaster.live.settling`).

Each row of the last two has the digest of the row before it, ``previous``, and its own, ``sha256``: that
of all its other values as a JSON array (:func:`forecaster.live.database.digest`). So no row can be
edited, removed, moved or put between others without changing the digest of the last one, which
:func:`head` returns to be posted where others see it.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from forecaster.data import calendars, prices
from forecaster.data.calendars import Dates
from forecaster.data.exchanges import exchange
from forecaster.data.store import Store
from forecaster.distributions import forecasts
from forecaster.errors import UsageError
from forecaster.live import database
from forecaster.live.database import NUMBERS, Head, canonical, reading, sha256, stamp, writing
from forecaster.live.verification import Verification as Verification
from forecaster.live.verification import verify as verify
from forecaster.runs import bundle
from forecaster.runs.run import Run, versions

GRACE = pd.Timedelta(hours=1)
"""After a close, within which no forecast is late.

A coin's day begins as the one before it ends, so that without it nobody could forecast one in time.
"""

_RECENT = pd.Timedelta(days=200)
"""Days before a cutoff whose sessions tell the weekdays of an unknown exchange."""

_THERE = (
    "SELECT 1 FROM forecasts WHERE ticker = ? AND cutoff = ? AND step = ? AND model = ? AND run = ?"
)

_OUTCOMES = {"log_return": "s.log_return", "status": "s.status", "settled_date": "s.date"}
_RESULT = [
    *(*forecasts.FORECAST_COLUMNS, "run", "made_at", "opens_at", "late"),
    *("status", "settled_date"),
]
_SELECTED = ", ".join(_OUTCOMES.get(name, f'f."{name}"') for name in _RESULT)
_READ = (
    f"SELECT f.id, {_SELECTED} FROM forecasts f LEFT JOIN settlements s ON s.id = (SELECT max(o.id) "
    "FROM settlements o WHERE o.ticker = f.ticker AND o.cutoff = f.cutoff AND o.step = f.step)"
)


class Origin(NamedTuple):
    """What made forecasts."""

    model: str
    run: str
    """The name of the run; empty for a model that is fitted on the spot."""
    run_sha256: str
    """Of the weights (:func:`forecaster.runs.bundle.weights_sha256`), or of what else was fitted."""
    until: str
    """The last session it was fitted on, YYYY-MM-DD."""
    versions: dict[str, str]
    """Of the packages that forecasts depend on (:func:`forecaster.runs.run.versions`)."""
    refit: str | None = None
    """How often it is fitted anew, where it is no run."""


def origin_of(run: Run) -> Origin:
    """Return the origin of what a run forecasts on this machine."""
    weights = bundle.weights_sha256(run)
    return Origin(run.model.name, run.name, weights, run.until.isoformat(), versions())


def noted(frames: Iterable[pd.DataFrame], digests: dict[str, str]) -> Iterator[pd.DataFrame]:
    """Yield the prices frame of each ticker, and note its digest, as :func:`record` takes it."""
    for frame in frames:
        digests[str(frame["ticker"].iloc[0])] = prices.digest([frame])
        yield frame


class Recorded(NamedTuple):
    """What a call of :func:`record` added."""

    rows: int
    late: int
    """Those of them that were made when the session had opened, or its price was stored already."""


def record(
    home: Path,
    frame: pd.DataFrame,
    origins: Mapping[str, Origin],
    prices_sha256: Mapping[str, str],
    *,
    histories: Mapping[str, Dates] | None = None,
    made: pd.Timestamp | None = None,
) -> Recorded:
    """Add forecasts to the ledger; those that are there already stay as they are.

    All are added or, if anything fails, none.

    Parameters
    ----------
    frame : a forecasts frame; its outcomes are not kept.
    origins : what made the forecasts, by model.
    prices_sha256 : of the prices that they were made from, by ticker, as :func:`noted` has it.
    histories : the last dates of each ticker's prices, which tell when those trade whose names do not,
        and which sessions have come; by default they are read from the store.
    made : when they were made, with a time zone; by default the instant at which they are written,
        by the clock of :func:`forecaster.data.calendars.now`. Then a forecast is late too if a later
        session is stored than the one it was made from, whatever the clock and the calendar say.

    Raises
    ------
    StoreError
        The ledger cannot be written, is damaged, or is of another version.
    UsageError
        A model has no origin, or a ticker no prices.
    """
    frame = forecasts.check(frame)
    for name, given in (("model", origins), ("ticker", prices_sha256)):
        if missing := set(frame[name]) - set(given):
            raise UsageError(
                f"expected where each {name} of the forecasts comes from, came nothing of {min(missing)}; "
                "name it, or drop its forecasts"
            )
    if frame.empty:
        return Recorded(0, 0)
    histories = _histories(home, frame) if histories is None else histories
    opens = _openings(frame, histories)
    has_come = _followed(frame, histories) if made is None else set()
    documents = {model: canonical(origin._asdict()) for model, origin in origins.items()}
    keys = {model: sha256(document) for model, document in documents.items()}
    with writing(home) as file:
        now = calendars.now() if made is None else made
        made_at = stamp(now)
        rows: list[list[Any]] = []
        used = set()
        for ticker, model, cutoff, day, step, numbers in _cells(frame):
            run = origins[model].run
            if file.execute(_THERE, (ticker, cutoff, step, model, run)).fetchone():
                continue
            opening, opens_at = opens[ticker, cutoff]
            late = now >= opening or (ticker, cutoff) in has_come
            rows.append(
                [
                    *(made_at, opens_at, int(late), keys[model]),
                    *(prices_sha256[ticker], run, ticker, model, cutoff, day, step, *numbers),
                ]
            )
            used.add(model)
        insert = "INSERT OR IGNORE INTO origins VALUES (?, ?)"
        file.executemany(insert, [(keys[model], documents[model]) for model in sorted(used)])
        database.append(file, "forecasts", rows)
    return Recorded(len(rows), sum(row[2] for row in rows))


def _cells(frame: pd.DataFrame) -> list[tuple[str, str, str, str, int, list[float | None]]]:
    """Return ticker, model, cutoff, date, step and numbers of each forecast, as SQLite has them."""
    numbers = frame[NUMBERS].to_numpy() + 0.0  # SQLite has no negative zero
    return list(
        zip(
            frame["ticker"].tolist(),
            frame["model"].tolist(),
            _days(frame["cutoff"]),
            _days(frame["date"]),
            frame["step"].tolist(),
            [[None if isnan(it) else it for it in row] for row in numbers.tolist()],
            strict=True,
        )
    )


def _days(dates: pd.Series) -> list[str]:
    days: list[str] = np.datetime_as_string(dates.to_numpy("datetime64[D]")).tolist()
    return days


def _openings(
    frame: pd.DataFrame, histories: Mapping[str, Dates]
) -> dict[tuple[str, str], tuple[pd.Timestamp, str]]:
    """Return from when on a forecast is late, by ticker and cutoff, also as the ledger has it.

    That is the open of the first session after the cutoff, or the end of the grace after the close.
    """
    pairs = frame[["ticker", "cutoff"]].drop_duplicates()
    of_market: dict[tuple[bool, str, pd.Timestamp], tuple[pd.Timestamp, str]] = {}
    opens = {}
    for ticker, cutoff in zip(pairs["ticker"], pairs["cutoff"], strict=True):
        dates = histories.get(ticker)
        # Tickers of one exchange have one calendar, but where their own weekdays stand for it.
        guessed = calendars.is_guessed(ticker, dates)
        market = guessed, ticker if guessed else exchange(ticker), cutoff
        if market not in of_market:
            first = calendars.next_session(ticker, cutoff, dates).date
            graced = calendars.closing(ticker, cutoff, dates) + GRACE
            instant = max(calendars.opening(ticker, first, dates), graced)
            of_market[market] = instant, stamp(instant)
        opens[ticker, f"{cutoff:%Y-%m-%d}"] = of_market[market]
    return opens


def _followed(frame: pd.DataFrame, histories: Mapping[str, Dates]) -> set[tuple[str, str]]:
    """Return (ticker, cutoff) of those of which a later session is stored."""
    pairs = frame[["ticker", "cutoff"]].drop_duplicates()
    return {
        (ticker, f"{cutoff:%Y-%m-%d}")
        for ticker, cutoff in zip(pairs["ticker"], pairs["cutoff"], strict=True)
        if (
            np.asarray(histories.get(ticker, []), "datetime64[D]")[-1:] > cutoff.to_datetime64()
        ).any()
    }


def _histories(home: Path, frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the last stored dates of the tickers."""
    store = Store(home)
    stored = sorted(set(frame["ticker"]).intersection(store.tickers()))
    if not stored:
        return {}
    start = (frame["cutoff"].min() - _RECENT).date()
    dates = store.read(stored, columns=["ticker", "date"], start=start)
    return {str(ticker): its for ticker, its in dates.groupby("ticker")["date"]}


def read(
    home: Path,
    *,
    tickers: Collection[str] | None = None,
    run: str | None = None,
    first: date | None = None,
    last: date | None = None,
    steps: Collection[int] | None = None,
) -> pd.DataFrame:
    """Return forecasts as they were made, in the order of their making, and what came.

    Parameters
    ----------
    tickers, run, steps : those alone; the run "" is that of models fitted on the spot.
    first, last : the first and the last date forecast.

    Returns
    -------
    The columns of a forecasts frame, in which `log_return` is the settled outcome, null while there is
    none; and `run`, `made_at`, `opens_at` (UTC), `late` (bool), `status` (``settled``, ``moved``,
    ``vanished``, null while open) and `settled_date` (the session that came).

    Raises
    ------
    StoreError
        The ledger cannot be read, is damaged, or is of another version.
    """
    conditions: list[str] = []
    values: list[str] = []
    for name, some in (("ticker", tickers), ("step", steps)):
        if some is not None:
            conditions.append(f"f.{name} IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(list(some)))
    for condition, wanted in (
        ("f.run = ?", run),
        ("f.date >= ?", None if first is None else f"{first:%Y-%m-%d}"),
        ("f.date <= ?", None if last is None else f"{last:%Y-%m-%d}"),
    ):
        if wanted is not None:
            conditions.append(condition)
            values.append(wanted)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    nothing: list[tuple[Any, ...]] = []
    rows = reading(home, lambda it: it.execute(f"{_READ} {where}", values).fetchall(), nothing)
    with database.meaningful(home):
        return _frame(rows)


def _frame(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    rows.sort()  # by number: the fastest way through the table is in another order
    columns = list(zip(*rows, strict=True))[1:] if rows else [()] * len(_RESULT)
    frame = {}
    for name, cells in zip(_RESULT, columns, strict=True):
        if name in ("made_at", "opens_at"):
            instants = np.array([it[:-1] for it in cells], dtype="datetime64[us]")
            frame[name] = pd.Series(instants).dt.tz_localize("UTC")
        elif name in ("cutoff", "date", "settled_date"):
            if any(len(it) != len("YYYY-MM-DD") for it in cells if it is not None):
                raise ValueError(f"{name} is no date")
            frame[name] = pd.Series(np.array([it or "NaT" for it in cells], "datetime64[us]"))
        elif name in ("ticker", "model", "run", "status"):
            frame[name] = pd.Series(cells, dtype="str")
        else:
            dtype = {"step": "int64", "late": "bool"}.get(name, "float64")
            frame[name] = pd.Series(np.array(cells, dtype=dtype))
    return pd.DataFrame(frame)


def recorded(home: Path, *, since: date) -> set[tuple[str, str, str, pd.Timestamp, int]]:
    """Return (ticker, model, run, cutoff, step) of the forecasts from the cutoff ``since`` on.

    Raises
    ------
    StoreError
        The ledger cannot be read.
    """
    day = f"{since:%Y-%m-%d}"
    query = "SELECT ticker, model, run, cutoff, step FROM forecasts WHERE date > ? AND cutoff >= ?"
    nothing: list[tuple[str, str, str, str, int]] = []
    rows = reading(home, lambda it: it.execute(query, (day, day)).fetchall(), nothing)
    cutoffs = {row[3]: pd.Timestamp(row[3]) for row in rows}
    return {(*row[:3], cutoffs[row[3]], row[4]) for row in rows}


def head(home: Path) -> Head:
    """Return where the ledger ends.

    Raises
    ------
    StoreError
        The ledger cannot be read.
    """
    return reading(home, database.end, Head())
