"""The sessions that the rows of a file are of: one row for each date of the ticker's exchange.

Stamps in UTC and those of evening openings fall on the day before: they are Sundays, and never
Fridays. Where the exchange's own days, or the time of the stamps, prove it, the dates are shifted to
its own; otherwise the file is refused. Bars within the day become daily ones over the hours of the
exchange, and bars of a week or longer are refused: a forecast is of the next session.
"""

import logging
import re
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecaster.data import calendars, exchanges, prices
from forecaster.errors import PricesError

log = logging.getLogger(__name__)

_DAY = pd.Timedelta(days=1)
_STRAY = 0.02
"""The share of dates on days without trading that vendors' slips make up."""
_WEEKEND = 0.08
"""Markets that never close have a larger share of Saturdays, and of Sundays."""
_FIT = 0.97
"""The share of dates that are sessions where the dates are right."""
_MISFIT = 0.75
"""Below this share dates are of something else."""
_FEW = 5
"""Dates that say nothing of their distance from one another."""
_SPARSE = 4
"""Days between rows: daily histories have at most three, over a weekend."""
_RUN = 12
"""Rows of a week or longer that are no holidays or pauses."""
_SPACINGS = {(6, 8): "weekly", (26, 33): "monthly", (85, 97): "quarterly", (355, 375): "yearly"}
_COVERED = 0.8
"""The share of sessions that bars must span from open to close, to be in an exchange's time."""
_LATE = pd.Timedelta(minutes=30)
"""Bars of a whole session may begin so much after its open, and end before its close."""
_HALT = pd.Timedelta(hours=2)
"""The same of markets that pause but for a while every day."""
_PAUSE = np.timedelta64(4, "D")
"""What is traded so long before a session of these is of it."""
_HOW = {
    "open": "first",
    "high": "max",
    "low": "min",
    "close": "last",
    "adj_close": "last",
    "dividends": "sum",
    "splits": "max",
}
"""How a field of a session is made of those of its bars."""
_ALL_HOURS = 22
_NEW_YORK = "XNYS"
_LISTED = re.compile(r"[A-Z]{1,5}([.-][A-Z])?")
"""A ticker of the United States, or another without the suffix of its exchange."""
_CONTINUOUS = ("24/5", "CMES", "IEPA")


@dataclass(frozen=True)
class _Exchange:
    """The hours of a ticker's exchange over some years."""

    zone: str
    continuous: bool
    """Whether what is traded between two sessions belongs to the later one."""
    hours: pd.DataFrame
    """``open`` and ``close`` of each session in UTC, datetime64[us] without a zone."""


def daily(ticker: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a ticker as daily bars, with the dates of its exchange.

    Parameters
    ----------
    ticker : its name, whose suffix tells the exchange.
    rows : the fields of a price; ``wall`` and ``instant``, as :class:`~forecaster.data.sources.dates.Stamps`
        has them; ``date``, what the file says.

    Returns
    -------
    The same without ``wall`` and ``instant``; ``date`` is datetime64[us], or text where some are no
    dates.

    Raises
    ------
    PricesError
        The rows are of weeks or months, or on days on which the exchange is closed.
    """
    wall = rows["wall"]
    if _is_intraday(wall.dropna()):
        return _aggregated(ticker, rows)
    days = _days(ticker, wall, rows["instant"])
    _require_daily(ticker, days.dropna())
    if days.isna().any():
        days = days.dt.strftime("%Y-%m-%d").astype(object).where(days.notna(), rows["date"])
    return rows[[it for it in rows if it not in ("wall", "instant")]].assign(date=days)


def _is_intraday(wall: pd.Series) -> bool:
    days = prices.midnights(wall)
    return not wall.equals(days) and 2 * wall.nunique() >= 3 * days.nunique()


def _days(ticker: str, wall: pd.Series, instant: pd.Series) -> pd.Series:
    """The dates (n,) of the exchange, of stamps (n,)."""
    days = prices.midnights(wall)
    known = days.dropna()
    counts = np.bincount((known.to_numpy("datetime64[D]").astype(int) + 3) % 7, minlength=7)
    fridays, saturdays, sundays = counts[4:] / max(1, len(known))
    rests = saturdays + sundays > _STRAY and min(saturdays, sundays) <= _WEEKEND
    if not rests or known.nunique() < _FEW:
        return days
    timed = bool((wall.dropna() != known).any())
    instant = instant.where(instant.notna() | (not timed), wall)
    exchange_name = exchanges.exchange(ticker)
    if exchange_name != _NEW_YORK and exchanges.has_calendar(exchange_name):
        candidates = {"a day early": days + _DAY, "a day late": days - _DAY}
        if timed and (exchange := _exchange(ticker, known.min(), known.max())):
            local = instant.dt.tz_localize("UTC").dt.tz_convert(exchange.zone).dt.tz_localize(None)
            candidates = {"in another time zone": local.dt.normalize(), **candidates}
        return _of_exchange(ticker, days, candidates)
    if timed:
        # Midnights east of Greenwich, and openings in the evening, are of the next day.
        next_day: pd.Series = days.where(instant.dt.hour < 12, instant.dt.normalize() + _DAY)
        if (next_day.dropna().dt.day_of_week >= 5).mean() > _STRAY:
            return days
        _warn(ticker, "a day early")
        return next_day
    if sundays <= _STRAY or fridays > _STRAY or exchange_name != _NEW_YORK:
        return days  # the week of an exchange without a calendar is its own
    if _keeps_new_yorks_holidays(known + _DAY):
        _warn(ticker, "a day early")
        shifted: pd.Series = days + _DAY
        return shifted
    raise PricesError(
        f"{ticker}: its dates are on Sundays and never on Fridays: they are a day early, or of an exchange "
        "that trades on Sundays; name the ticker with the suffix of its exchange, such as BHP.AX or 2222.SR"
    )


def _of_exchange(ticker: str, days: pd.Series, candidates: dict[str, pd.Series]) -> pd.Series:
    """The dates (n,), or those of the candidates which are sessions of the ticker's exchange.

    Raises
    ------
    PricesError
        Too many are none, however they are read.
    """
    known = days.dropna()
    open_days = calendars.sessions_between(ticker, known.min() - 2 * _DAY, known.max() + 2 * _DAY)
    fits = {words: it.dropna().isin(open_days).mean() for words, it in candidates.items()}
    fit = known.isin(open_days).mean()
    best = max(fits, key=lambda words: fits[words])
    if fit < _FIT <= fits[best]:
        _warn(ticker, best)
        return candidates[best]
    if fit < _MISFIT:
        raise PricesError(
            f"{ticker}: only {fit:.0%} of its dates are sessions of its exchange, and none fit if they are "
            "shifted by a day; give the dates of the exchange, or another ticker if it is traded elsewhere"
        )
    return days


def _warn(ticker: str, fault: str) -> None:
    log.warning("%s: its dates are %s, and are read as those of its exchange", ticker, fault)


def _keeps_new_yorks_holidays(days: pd.Series) -> bool:
    """Whether dates are those of New York: they span holidays of it, and are on none."""
    weekdays = pd.bdate_range(days.min(), days.max())
    open_days = calendars.sessions_between("^NYA", days.min(), days.max())
    holidays = weekdays.difference(open_days)
    return len(holidays) > 1 and not days.isin(holidays).any()


def _exchange(ticker: str, first: pd.Timestamp, last: pd.Timestamp) -> _Exchange | None:
    """The hours of a ticker's exchange from a date to another; None where they are not known."""
    from exchange_calendars import get_calendar

    name = exchanges.exchange(ticker)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            calendar = get_calendar(name, start=first - 7 * _DAY, end=last + 7 * _DAY)
        except Exception:  # the package fails in many ways at what it does not know
            return None
    hours = calendar.schedule[["open", "close"]].astype("datetime64[us, UTC]")
    hours.index = hours.index.astype("datetime64[us]")
    hours = hours.apply(lambda stamps: stamps.dt.tz_localize(None))
    return _Exchange(str(calendar.tz), name in _CONTINUOUS, hours)


def _require_daily(ticker: str, days: pd.Series) -> None:
    """Refuse rows that are further from one another than sessions."""
    order = np.unique(days.to_numpy())
    gaps = np.diff(order).astype("timedelta64[D]").astype(int)
    if len(order) < _FEW:
        return
    if (typical := float(np.median(gaps))) >= _SPARSE:
        kind = next(
            (name for (low, high), name in _SPACINGS.items() if low <= typical <= high), "not daily"
        )
        raise PricesError(
            f"{ticker}: its rows are {kind}, {typical:g} days apart, and a forecast is of the next session; "
            "give daily prices"
        )
    sparse = gaps > _SPARSE
    ends = np.flatnonzero(np.diff(np.concatenate([[0], sparse.astype(int), [0]])))
    lengths = ends[1::2] - ends[::2]
    if len(lengths) and lengths.max() >= _RUN:
        first, last = ends[2 * int(lengths.argmax())], ends[2 * int(lengths.argmax()) + 1]
        raise PricesError(
            f"{ticker}: its rows from {order[first].astype('M8[D]')} to {order[last].astype('M8[D]')} are "
            "a week apart or more, and others are daily; give daily prices, or those of the days after"
        )


def _aggregated(ticker: str, rows: pd.DataFrame) -> pd.DataFrame:
    """The daily bars of bars within the day, without sessions that begin or end in the middle."""
    _require_readable(ticker, rows)
    rows = rows.sort_values("wall", kind="stable")
    sessions, whole = _sessions(ticker, rows)
    bars = rows.assign(date=sessions)[sessions.notna()]
    made = bars.groupby("date").agg(
        {name: how for name, how in _HOW.items() if name in bars} | {"ticker": "first"}
    )
    if "volume" in bars:
        made["volume"] = bars.groupby("date")["volume"].sum(min_count=1)
    ends = made.index.isin(made.index[[0, -1]])  # within the file a session may be a short one
    made = made[whole.reindex(made.index).to_numpy() | ~ends]
    if made.empty:
        raise PricesError(
            f"{ticker}: its {len(rows):,} bars within the day do not span a session; give whole days"
        )
    log.warning(
        "%s: %s bars within the day are read as %s sessions",
        ticker,
        f"{len(bars):,}",
        f"{len(made):,}",
    )
    made = made.reset_index()
    made.index = made.index + 1
    return made


def _require_readable(ticker: str, rows: pd.DataFrame) -> None:
    """Refuse bars within the day of which one cannot be read, as its session would lack it."""
    unreadable = {"date": rows["wall"].isna()} | {
        name: pd.to_numeric(rows[name], errors="coerce").isna() & rows[name].notna()
        for name in (*_HOW, "volume")
        if name in rows and rows[name].dtype == object
    }
    for name, bad in unreadable.items():
        if bad.any():
            place = np.flatnonzero(bad)[0]
            raise PricesError(
                f"{ticker} row {rows.index[place]}: the {name} is {str(rows[name].iloc[place])!r}; "
                "correct or remove the row"
            )


def _sessions(ticker: str, rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """The session (n,) of each bar, null outside of all, and by session whether its bars span it.

    Times without a zone are those of the exchange or UTC, whichever puts more bars into its hours.
    """
    wall, instant = rows["wall"], rows["instant"]
    step = _step(wall)
    around_the_clock = wall.dt.hour.nunique() >= _ALL_HOURS
    exchange = None
    if exchanges.exchange(ticker) != _NEW_YORK or (
        _LISTED.fullmatch(ticker) and not around_the_clock
    ):
        exchange = _exchange(ticker, wall.min().normalize(), wall.max().normalize())
    if exchange is None:
        return _own_days(ticker, wall, step)
    local = wall.dt.tz_localize(exchange.zone, ambiguous="NaT", nonexistent="NaT")
    local = local.dt.tz_convert("UTC").dt.tz_localize(None)
    fits = []
    for times in (instant,) if instant.notna().all() else (local, wall):
        sessions = _within(exchange, times)
        whole = _are_whole(exchange, sessions, times, step)
        if len(whole) and whole.mean() >= _COVERED:
            fits.append((float(sessions.notna().mean()), sessions, whole))
    if not fits:
        return _own_days(ticker, wall, step)
    if len(fits) > 1 and fits[0][0] == fits[1][0] and not fits[0][1].equals(fits[1][1]):
        raise PricesError(
            f"{ticker}: the times of its bars may be those of its exchange or UTC; give them with their "
            "zone, such as 2024-01-02 09:30:00-05:00"
        )
    return max(fits, key=lambda it: it[0])[1:]


def _step(wall: pd.Series) -> pd.Timedelta:
    """The time that most bars are long."""
    gaps = np.diff(np.sort(wall.unique()))
    lengths, counts = np.unique(gaps, return_counts=True)
    return pd.Timedelta(lengths[counts.argmax()])


def _within(exchange: _Exchange, times: pd.Series) -> pd.Series:
    """The session (n,) that bars at some instants (n,) are in; a bar is stamped where it begins.

    Unless none begins with a session and some do with its end: then they are stamped where they end.
    """
    opens, closes = (exchange.hours[name].to_numpy("datetime64[us]") for name in ("open", "close"))
    known = times.to_numpy("datetime64[us]")
    at_end = not np.isin(known, opens).any() and np.isin(known, closes).any()
    place = closes.searchsorted(known, side="left" if at_end else "right").clip(max=len(closes) - 1)
    inside = (known > opens[place]) if at_end else (known >= opens[place])
    inside |= exchange.continuous & (opens[place] - known < _PAUSE)
    inside &= known <= closes[place]
    sessions = pd.Series(exchange.hours.index.to_numpy()[place], times.index)
    return sessions.where(inside)


def _are_whole(
    exchange: _Exchange, sessions: pd.Series, times: pd.Series, step: pd.Timedelta
) -> pd.Series:
    """By session, whether its bars reach from the open to the close, or nearly so."""
    ends = times.groupby(sessions).agg(["min", "max"])
    hours = exchange.hours.loc[ends.index]
    slack = step + (_HALT if exchange.continuous else _LATE)
    return (ends["min"] <= hours["open"] + slack) & (ends["max"] >= hours["close"] - slack)


def _own_days(ticker: str, wall: pd.Series, step: pd.Timedelta) -> tuple[pd.Series, pd.Series]:
    """The dates of bars of an exchange that is not known, if none of its sessions goes over midnight."""
    days = wall.dt.normalize()
    clock = wall - days
    distinct = np.sort(clock.unique())
    pauses = np.diff(np.append(distinct, distinct[0] + _DAY))
    if pauses.max() > _HALT and pauses.argmax() != len(pauses) - 1:
        raise PricesError(
            f"{ticker}: the times of its bars go over midnight, so they are not those of its exchange; name "
            "the ticker with the suffix of its exchange, such as BHP.AX, or give times with their zone"
        )
    ends = clock.groupby(days).agg(["min", "max"])
    slack = step + _LATE
    whole = (ends["min"] <= ends["min"].median() + slack) & (
        ends["max"] >= ends["max"].median() - slack
    )
    return days, whole
