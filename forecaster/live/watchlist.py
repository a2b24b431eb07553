"""What a user looks at every day: of each ticker its close, its forecast, and how the last one went.

Nothing is forecast here. Forecasts are those of the ledger, so what is shown is what was promised.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from forecaster.data.event_store import EventStore
from forecaster.data.prices import log_returns
from forecaster.data.store import Store
from forecaster.dataset import announcements, bars
from forecaster.distributions import forecasts
from forecaster.errors import ForecastError, StoreError
from forecaster.live import ledger
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
COLUMNS = ["ticker", "date", "close", "adj_close"]


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


def rows(home: Path, store: Store, events: EventStore, now: pd.Timestamp) -> list[Row]:
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
    recorded = _recorded(home, now)
    stored = store.tickers()
    tickers = sorted({*stored, *recorded["ticker"]})
    quotes, problems = _quotes(store, stored, now)
    upcoming, unread = _upcoming(events, stored, now)
    problems = unread | problems
    newest, settled = _last(recorded)
    today = f"{now:%Y-%m-%d}"
    return [
        Row(
            ticker,
            quote := quotes.get(ticker),
            upcoming.get(ticker),
            its := newest.get(ticker),
            is_over=its is not None
            and (
                its.status is not None
                or its.date <= (quote.date if quote else "")
                or its.date < today
            ),
            last=settled.get(ticker),
            problem=problems.get(ticker),
        )
        for ticker in tickers
    ]


def details(home: Path, store: Store, events: EventStore, row: Row, now: pd.Timestamp) -> Details:
    """Return what the page of a ticker says beside its row of the watchlist.

    Raises
    ------
    StoreError
        The ledger or the ticker's files cannot be read.
    """
    state = store.state(row.ticker)
    announced = events.read([row.ticker])
    since = now.tz_localize(None) - REPORTS
    announced = _standing(announced[announced["date"] >= since])
    its = ledger.read(home, tickers=[row.ticker], first=(now - RECORD).date())
    shown = row.forecast or row.last
    its = its[its["run"] == (shown.run if shown else None)]
    newest = its[its["cutoff"] == row.forecast.cutoff] if row.forecast else its[:0]
    past = its[(its["step"] == 1) & its["status"].notna()]
    return Details(
        row,
        state.notes.get("currency") if state else None,
        list(_forecasts(newest.sort_values("step"))),
        list(_announcements(announced)),
        list(_forecasts(past.sort_values("cutoff", ascending=False))),
    )


def _recorded(home: Path, now: pd.Timestamp) -> pd.DataFrame:
    """Return the late and the timely forecasts of the next session, by the run that is shown.

    That is the run that forecasts where none is named, or where it has recorded nothing of late the one
    that did so last.
    """
    since = (now - LATELY).date()
    try:
        usual = choice.choose(home).run.name
        recorded = ledger.read(home, run=usual, first=since, steps=[1])
        if len(recorded):
            return recorded
    except StoreError:
        raise
    except ForecastError as error:
        log.warning("%s", error)
    for first in (now.date(), since):  # those of today are few
        recorded = ledger.read(home, first=first, steps=[1])
        runs = recorded.loc[recorded["run"] != "", "run"]
        if len(runs):
            return ledger.read(home, run=runs.iloc[-1], first=since, steps=[1])
    return recorded[:0]


def _last(recorded: pd.DataFrame) -> tuple[dict[str, Forecast], dict[str, Forecast]]:
    """Return the last forecast of each ticker, and the last whose outcome is known; none of them late."""
    timely = recorded[~recorded["late"]].sort_values("cutoff", kind="stable")
    settled = timely[timely["log_return"].notna()]
    newest, known = (
        {str(ticker): its for ticker, its in zip(last["ticker"], _forecasts(last), strict=True)}
        for last in (frame.drop_duplicates("ticker", keep="last") for frame in (timely, settled))
    )
    return newest, known


def _forecasts(frame: pd.DataFrame) -> Iterator[Forecast]:
    """Yield forecasts of the ledger in prices."""
    prices = forecasts.prices(frame)
    inside = {}
    for percent in (80, 95):
        low, high = forecasts.interval(frame, percent / 100)
        inside[percent] = frame["log_return"].between(low, high)
    days = {
        name: frame[name].dt.strftime("%Y-%m-%d") for name in ("cutoff", "date", "settled_date")
    }
    table = pd.DataFrame(
        {
            "model": frame["model"],
            "run": frame["run"],
            "cutoff": days["cutoff"],
            "date": days["date"],
            "step": frame["step"],
            "made_at": frame["made_at"].dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "late": frame["late"],
            "last_close": frame["last_close"],
            "median": prices["q0.5"],
            "low_80": prices["q0.1"],
            "high_80": prices["q0.9"],
            "low_95": prices["q0.025"],
            "high_95": prices["q0.975"],
            "volatility": frame["volatility"],
            "status": frame["status"],
            "settled_date": days["settled_date"],
            "log_return": frame["log_return"],
            "price": prices["price"],
            "inside_80": inside[80],
            "inside_95": inside[95],
        }
    )
    came = frame["log_return"].notna().to_numpy()
    columns = {
        name: column.astype(object).where(column.notna(), None).tolist()
        for name, column in table.items()
    }
    for name in ("inside_80", "inside_95"):
        columns[name] = [
            it if known else None for it, known in zip(columns[name], came, strict=True)
        ]
    for values in zip(*columns.values(), strict=True):
        yield Forecast(*values)


def _quotes(
    store: Store, tickers: Sequence[str], now: pd.Timestamp
) -> tuple[dict[str, Quote], dict[str, str]]:
    """Return the quote of each ticker whose prices can be read, and what kept others from it."""
    if not tickers:
        return {}, {}
    try:
        lately = store.read(tickers, columns=COLUMNS, start=(now - DAYS).date())
        quotes = _quoted(lately)
        # Where a history ended long ago its end is shown.
        ended = [ticker for ticker in tickers if ticker not in quotes]
        return quotes | (_quoted(store.read(ended, columns=COLUMNS)) if ended else {}), {}
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


def _upcoming(
    events: EventStore, tickers: Sequence[str], now: pd.Timestamp
) -> tuple[dict[str, Announcement], dict[str, str]]:
    """Return the next announcement of each ticker that has one, and whose events cannot be read."""
    try:
        frame = events.read(tickers)
    except StoreError as error:
        return _apart(lambda ticker: _upcoming(events, [ticker], now), tickers, error)
    today = now.tz_localize(None).normalize()
    frame = _standing(frame[frame["date"] >= today - announcements.SAME])
    first = frame[frame["date"] >= today].drop_duplicates("ticker")
    return dict(zip(first["ticker"].map(str), _announcements(first), strict=True)), {}


def _standing(frame: pd.DataFrame) -> pd.DataFrame:
    """Return an events frame without the days that others took the place of."""
    schedules = announcements.schedules_of(frame).values()
    return frame[np.concatenate([np.isnat(it.until) for it in schedules] or [np.empty(0, bool)])]


def _announcements(frame: pd.DataFrame) -> Iterable[Announcement]:
    """Return the rows of an events frame as announcements."""
    days = frame["date"].dt.strftime("%Y-%m-%d")
    for day, kind, time in zip(days, frame["kind"], frame["time"], strict=True):
        yield Announcement(day, str(kind), time if isinstance(time, str) else None)
