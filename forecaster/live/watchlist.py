"""What a user looks at every day: of each ticker its close, its forecast, and how the last one went.

Nothing is forecast here. Forecasts are those of the ledger, so what is shown is what was promised.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from forecaster.data.event_store import EventStore
from forecaster.data.prices import log_returns
from forecaster.data.store import Store
from forecaster.dataset import announcements, bars
from forecaster.errors import BundleError, StoreError
from forecaster.live import database
from forecaster.runs import choice

Content = TypeVar("Content")

log = logging.getLogger(__name__)

YEAR = 250
"""Sessions that today's volatility is ranked among."""
LEAST = 60
"""With fewer sessions than this there is no rank."""
RECENT = 60
"""Closes that are shown."""
DAYS = pd.Timedelta(days=900)
"""History that is read: the weight of what came before it in a volatility is below 1e-9."""
LATELY = pd.Timedelta(days=15)
"""How old a forecast may be to be shown as a ticker's last."""
RECORD = pd.Timedelta(days=366)
"""How far back the record of a ticker goes."""
REPORTS = pd.Timedelta(days=400)
"""How far back its announcements go."""
_QUOTED = ["ticker", "date", "close", "adj_close"]


@dataclass(frozen=True)
class Quote:
    """What the stored prices of a ticker say."""

    date: str
    """The last session stored."""
    close: float
    log_return: float | None
    """Of that session."""
    volatility: float | None
    """EWMA volatility at its close, a fraction a day."""
    volatility_rank: float | None
    """Share of the last 250 sessions, this one too, at whose close it was no higher."""
    dates: list[str]
    """Of the last sessions."""
    closes: list[float]


@dataclass(frozen=True)
class Announcement:
    """A day on which a company reports."""

    date: str
    kind: str
    time: str | None
    """``pre`` or ``post``, where it is known."""


@dataclass(frozen=True)
class Forecast:
    """A forecast as it was recorded, in prices."""

    model: str
    run: str
    cutoff: str
    date: str
    step: int
    made_at: str
    """In UTC."""
    late: bool
    """It was made after the session opened."""
    last_close: float
    median: float
    low_80: float
    high_80: float
    low_95: float
    high_95: float
    volatility: float
    """Of the log return over all its steps."""
    status: str | None
    """``settled``, ``moved`` to another session, ``vanished``, or null while it is open."""
    settled_date: str | None
    log_return: float | None
    """What came, over all its steps."""
    price: float | None
    """What came, on the scale of the last close; later splits and dividends leave it as it is."""
    inside_80: bool | None
    inside_95: bool | None


@dataclass(frozen=True)
class Row:
    """A ticker of the watchlist."""

    ticker: str
    quote: Quote | None
    """Null where no prices are stored."""
    next_event: Announcement | None
    forecast: Forecast | None
    """The last recorded in time by the run that is shown; null where there is none of late."""
    is_over: bool
    """Its session is over, so `forecast daily` is due."""
    last: Forecast | None
    """The last whose outcome is known."""
    problem: str | None
    """What kept its files from being read."""


@dataclass(frozen=True)
class Details:
    """A ticker's own page."""

    row: Row
    currency: str | None
    """Of its prices, where its source said so."""
    ahead: list[Forecast]
    """The steps of the last forecast, the next session first."""
    events: list[Announcement]
    record: list[Forecast]
    """Forecasts of the next session whose day has come, the last first."""


class Watchlist(NamedTuple):
    """All tickers, and what their own pages need beside."""

    rows: list[Row]
    events: dict[str, list[Announcement]]
    """Of each ticker that has any, of a year and to come."""


def rows(home: Path, store: Store, events: EventStore, now: pd.Timestamp) -> list[Row]:
    """Return the rows of :func:`look`."""
    return look(home, store, events, now).rows


def look(home: Path, store: Store, events: EventStore, now: pd.Timestamp) -> Watchlist:
    """Return the watchlist: a row for each ticker that is stored or was forecast of late.

    What cannot be read of a ticker leaves the others as they are.

    Parameters
    ----------
    now : this instant, with a time zone.

    Raises
    ------
    StoreError
        The ledger cannot be read.
    """
    newest, settled = _recorded(home, now)
    stored = store.tickers()
    quotes, problems = _quotes(store, stored, now)
    announced, unread = _announced(events, stored, now)
    problems = unread | problems
    today = f"{now:%Y-%m-%d}"
    listed = []
    for ticker in sorted({*stored, *newest, *settled}):
        quote, its = quotes.get(ticker), newest.get(ticker)
        coming = (it for it in announced.get(ticker, ()) if it.date >= today)
        over = its is not None and (
            its.status is not None
            or its.date < today
            or (quote is not None and its.date <= quote.date)
        )
        last, problem = settled.get(ticker), problems.get(ticker)
        listed.append(Row(ticker, quote, next(coming, None), its, over, last, problem))
    return Watchlist(listed, announced)


def details(
    home: Path, store: Store, row: Row, events: Sequence[Announcement], now: pd.Timestamp
) -> Details:
    """Return what the page of a ticker says beside its row of the watchlist.

    Raises
    ------
    StoreError
        The ledger or the ticker's prices cannot be read.
    """
    state, shown = store.state(row.ticker), row.forecast or row.last
    its = []
    if shown:
        first = f"{now - RECORD:%Y-%m-%d}"
        condition = "f.ticker = ? AND f.run = ? AND f.date >= ?"
        its = [it for _, it in _forecasts(home, condition, row.ticker, shown.run, first)]
    past = [it for it in its if it.step == 1 and it.status is not None]
    return Details(
        row,
        state.notes.get("currency") if state else None,
        sorted((it for it in its if it.cutoff == shown.cutoff), key=lambda it: it.step)
        if row.forecast and shown
        else [],
        list(events),
        sorted(past, key=lambda it: it.cutoff, reverse=True),
    )


_ENDS = ("q0.1", "q0.9", "q0.025", "q0.975")
_PRICES = ("low_80", "high_80", "low_95", "high_95")
_COLUMNS = (
    *("ticker", "model", "run", "cutoff", "date", "step", "made_at", "late", "last_close"),
    *("volatility", "q0.5", *_ENDS),
)
_NAMES = (*_COLUMNS, "status", "settled_date", "log_return")
_AS_RECORDED = (
    *("model", "run", "cutoff", "date", "step", "made_at", "last_close", "volatility"),
    *("status", "settled_date", "log_return"),
)
_FORECASTS = (
    "SELECT "
    + ", ".join(f'f."{name}"' for name in _COLUMNS)
    + ", s.status, s.date, s.log_return FROM forecasts f LEFT JOIN settlements s ON s.id = (SELECT "
    "max(o.id) FROM settlements o WHERE o.ticker = f.ticker AND o.cutoff = f.cutoff AND o.step = f.step) "
    "WHERE {} ORDER BY f.id"
)
_LAST_RUN = "SELECT run FROM forecasts WHERE run <> '' ORDER BY id DESC LIMIT 1"


def _recorded(home: Path, now: pd.Timestamp) -> tuple[dict[str, Forecast], dict[str, Forecast]]:
    """Return of each ticker the last forecast in time, and the last of them whose outcome is known.

    They are of the run that forecasts where none is named, or where it has recorded nothing of late of
    the one that was recorded last.
    """
    condition, first = "f.run = ? AND f.step = 1 AND f.date >= ?", f"{now - LATELY:%Y-%m-%d}"
    made = []
    try:
        made = list(_forecasts(home, condition, choice.choose(home).run.name, first))
    except BundleError as error:
        log.warning("%s", error)
    if not made:
        last = database.reading(home, lambda it: it.execute(_LAST_RUN).fetchone(), None)
        made = list(_forecasts(home, condition, last[0], first)) if last else []
    timely = sorted((it for it in made if not it[1].late), key=lambda it: it[1].cutoff)
    return dict(timely), dict(it for it in timely if it[1].log_return is not None)


def _forecasts(home: Path, condition: str, *values: str) -> Iterator[tuple[str, Forecast]]:
    """Yield tickers and their forecasts of the ledger, as plain values: a page is there at once."""

    def question(ledger: Any) -> list[Any]:
        rows: list[Any] = ledger.execute(_FORECASTS.format(condition), values).fetchall()
        return rows

    for row in database.reading(home, question, list[Any]()):
        its = dict(zip(_NAMES, row, strict=True))
        log_return, close = its["log_return"], its["last_close"]
        low_80, high_80, low_95, high_95 = ends = [its[name] for name in _ENDS]
        known = log_return is not None
        forecast = Forecast(
            **{name: its[name] for name in _AS_RECORDED},
            late=bool(its["late"]),
            median=close * exp(its["q0.5"]),
            **dict(zip(_PRICES, (close * exp(end) for end in ends), strict=True)),
            price=close * exp(log_return) if known else None,
            inside_80=low_80 <= log_return <= high_80 if known else None,
            inside_95=low_95 <= log_return <= high_95 if known else None,
        )
        yield its["ticker"], forecast


def _quotes(
    store: Store, tickers: Sequence[str], now: pd.Timestamp
) -> tuple[dict[str, Quote], dict[str, str]]:
    """Return the quote of each ticker whose prices can be read, and what kept others from it."""
    if not tickers:
        return {}, {}
    try:
        lately = store.read(tickers, columns=_QUOTED, start=(now - DAYS).date())
        quotes = _quoted(lately)
        # Where a history ended long ago its end is shown.
        ended = [ticker for ticker in tickers if ticker not in quotes]
        return quotes | (_quoted(store.read(ended, columns=_QUOTED)) if ended else {}), {}
    except StoreError as error:
        return _apart(lambda ticker: _quotes(store, [ticker], now), tickers, error)


def _apart(
    read: Callable[[str], tuple[dict[str, Content], dict[str, str]]],
    tickers: Sequence[str],
    error: StoreError,
) -> tuple[dict[str, Content], dict[str, str]]:
    """Read tickers one by one after an error, so that only whose file it is of lacks what is read."""
    if len(tickers) == 1:
        return {}, {tickers[0]: str(error)}
    contents, problems = dict[str, Content](), dict[str, str]()
    for ticker in tickers:
        content, problem = read(ticker)
        contents |= content
        problems |= problem
    return contents, problems


def _quoted(prices: pd.DataFrame) -> dict[str, Quote]:
    """Return the quote of each ticker of a frame in which its rows stand together."""
    names = prices["ticker"].to_numpy(object)
    dates = prices["date"].to_numpy().astype("datetime64[D]")
    close, adjusted = (prices[name].to_numpy(float) for name in ("close", "adj_close"))
    changes = np.flatnonzero(names[1:] != names[:-1]) + 1
    alike: dict[int, list[slice]] = {}
    for begin, end in pairwise([0, *changes, len(names)] if len(names) else []):
        alike.setdefault(int(end - begin), []).append(slice(int(begin), int(end)))
    quotes = {}
    for rows in alike.values():  # histories of one length at once: most are
        returns = np.column_stack([log_returns(adjusted[it]) for it in rows])  # (sessions, tickers)
        for it, moves, volatility in zip(rows, returns.T, bars.volatility(returns).T, strict=True):
            year = volatility[-YEAR:][np.isfinite(volatility[-YEAR:])]
            quotes[str(names[it.start])] = Quote(
                date=str(dates[it][-1]),
                close=float(close[it][-1]),
                log_return=_known(moves[-1]),
                volatility=_known(volatility[-1]),
                volatility_rank=float((year <= year[-1]).mean()) if len(year) >= LEAST else None,
                dates=np.datetime_as_string(dates[it][-RECENT:]).tolist(),
                closes=close[it][-RECENT:].tolist(),
            )
    return quotes


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _announced(
    events: EventStore, tickers: Sequence[str], now: pd.Timestamp
) -> tuple[dict[str, list[Announcement]], dict[str, str]]:
    """Return the announcements of each ticker that has any, and whose cannot be read."""
    try:
        frame = events.read(tickers)
    except StoreError as error:
        return _apart(lambda ticker: _announced(events, [ticker], now), tickers, error)
    frame = frame[frame["date"] >= now.tz_localize(None) - REPORTS]
    # Not the days that others took the place of.
    schedules = announcements.schedules_of(frame).values()
    stands = np.concatenate([np.isnat(it.until) for it in schedules] or [np.empty(0, bool)])
    frame = frame[stands]
    days = frame["date"].dt.strftime("%Y-%m-%d")
    by_ticker = dict[str, list[Announcement]]()
    for ticker, *its in zip(frame["ticker"], days, frame["kind"], frame["time"], strict=True):
        by_ticker.setdefault(ticker, []).append(Announcement(*its))
    return by_ticker, {}
