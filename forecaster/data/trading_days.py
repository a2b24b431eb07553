"""The trading days of exchanges: made once, then kept in the user's cache folder.

Days and hours come from the ``exchange_calendars`` package. ``special_days.csv`` has days that it
lacks, each with its source. Before and after the years it knows, an exchange is taken to trade on its
usual weekdays, but for the holidays that follow a rule.

Making a calendar takes a quarter of a second, a fifth of a whole ``forecast predict``. What is kept
can be deleted at any time.
"""

import csv
import functools
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from forecaster import __version__, atomic
from forecaster.errors import StoreError

FIRST, LAST = pd.Timestamp("1900-01-01"), pd.Timestamp("2049-12-31")
"""The days between which every exchange has sessions, known or assumed."""

RECENT = 60
"""Rows of a history that tell on which weekdays it trades."""

_FEW = 10
"""With fewer rows a history does not tell its weekdays."""

_PACKAGE_FIRST = pd.Timestamp("1960-01-01")
_WORKING_WEEK = np.array([True] * 5 + [False] * 2)
_SPECIAL_DAYS = Path(__file__).with_name("special_days.csv")

_ANNOUNCED: Mapping[str, str] = {
    "XBKK": "2026-12-31",
    "XIDX": "2026-12-31",
    "XIST": "2026-12-31",
    "XKAR": "2025-12-31",
    "XKLS": "2026-12-31",
    "XPHS": "2026-12-31",
    "XSAU": "2026-12-31",
    "XTAI": "2026-12-31",
}
"""The last day to which holidays are announced where the moon or a decree of the year sets them.

The package computes those of later years, or lacks them, without saying so. To be checked with each of
its releases.
"""


@dataclass(frozen=True, eq=False)
class TradingDays:
    """The sessions of an exchange from ``FIRST`` to ``LAST``."""

    opens: pd.Series
    """The instant (UTC) at which each session opens, by session."""
    closes: pd.Series
    """The instant (UTC) at which each session closes, by session."""
    since: pd.Timestamp
    until: pd.Timestamp
    """The days between which the sessions are known; the others are guesses."""


def trading_days(calendar: str) -> TradingDays:
    """Return the sessions of a calendar of ``exchange_calendars``."""
    with _MAKING:  # of several threads that want a calendar, one makes it
        return _of(calendar)


@functools.cache
def zone(calendar: str) -> str:
    """Return the time zone of a calendar of ``exchange_calendars``, such as ``Europe/London``."""
    year = pd.Timestamp("2024-01-01"), pd.Timestamp("2024-12-31")  # any that the package knows
    return str(_package_calendar(calendar, *year).tz)


def guessed(dates: np.ndarray) -> TradingDays:
    """Return the sessions of an exchange without a calendar, guessed from a history.

    Each day is judged by the ``RECENT`` rows of the history up to it, so a week that changed is
    followed. Without enough rows the week is Monday to Friday.

    Parameters
    ----------
    dates : the history's dates (n,), sorted.
    """
    days = np.arange(FIRST.to_datetime64(), LAST.to_datetime64() + 1, dtype="datetime64[D]")
    if len(dates) < _FEW:
        sessions = days[_WORKING_WEEK[_weekdays(days)]]
    else:
        counts = np.cumsum(np.eye(7, dtype=int)[_weekdays(dates)], axis=0)  # (rows, weekdays)
        counts[RECENT:] -= counts[:-RECENT].copy()
        row = np.searchsorted(dates, days, side="right") - 1
        weeks = _weeks(counts)[np.maximum(row, min(RECENT, len(dates)) - 1)]  # (days, weekdays)
        sessions = days[np.take_along_axis(weeks, _weekdays(days)[:, None], axis=1)[:, 0]]
    usual = week(dates)
    every_day = usual is not None and usual.all()  # there are no holidays to miss
    since, until = (pd.Timestamp(dates[0]), LAST) if every_day else (LAST, FIRST)
    days_open = pd.DatetimeIndex(sessions)
    return TradingDays(_from_midnight(days_open), _until_midnight(days_open), since, until)


def week(dates: np.ndarray) -> np.ndarray | None:
    """Return the weekdays (7,), from Monday, on which the last rows of a history fall.

    A weekday with a quarter of the rows of the most common one, or fewer, is that of a special
    session, or of bad data. None where the history is too short to tell.
    """
    recent = dates[-RECENT:]
    if len(recent) < _FEW:
        return None
    usual: np.ndarray = _weeks(np.bincount(_weekdays(recent), minlength=7)[None, :])[0]
    return usual


def _weeks(counts: np.ndarray) -> np.ndarray:
    usual: np.ndarray = counts * 4 > counts.max(axis=1, keepdims=True)
    return usual


def _weekdays(days: np.ndarray) -> np.ndarray:
    return (days.astype("datetime64[D]").astype(np.int64) + 3) % 7  # 1970 began on a Thursday


def _from_midnight(sessions: pd.DatetimeIndex) -> pd.Series:
    sessions = sessions.as_unit("us")
    return pd.Series(sessions.tz_localize("UTC"), index=sessions)


def _until_midnight(sessions: pd.DatetimeIndex) -> pd.Series:
    sessions = sessions.as_unit("us")
    return pd.Series((sessions + pd.Timedelta(days=1)).tz_localize("UTC"), index=sessions)


# ---- made once


_MAKING = threading.Lock()


@functools.cache
def _of(calendar: str) -> TradingDays:
    """Every year at once: a calendar's holidays take the time, not its length."""
    path = _cache_file(calendar)
    # Whatever is wrong with the file, the calendar can be made again.
    with suppress(OSError, EOFError, ValueError, KeyError, BadZipFile):
        return _read(path)
    made = _made(calendar)
    with suppress(StoreError), atomic.replacing(path) as temporary, temporary.open("wb") as file:
        instants = [made.closes.index.to_numpy(), made.closes.dt.tz_localize(None).to_numpy()]
        opens = made.opens.dt.tz_localize(None).to_numpy()
        bounds = np.array([made.since, made.until], dtype="datetime64[us]")
        np.savez(
            file,
            sessions=np.stack(instants).astype("datetime64[us]").astype("int64"),
            opens=opens.astype("datetime64[us]").astype("int64"),
            known=bounds.astype("int64"),
        )
    return made


def _cache_file(calendar: str) -> Path:
    """Another version of a package, or of the special days, makes a file of its own."""
    from platformdirs import user_cache_path

    special = zlib.crc32(_SPECIAL_DAYS.read_bytes())
    versions = "-".join(version(name) for name in ("exchange_calendars", "pandas"))
    name = f"{calendar.replace('/', '-')}-{versions}-{__version__}-{special:08x}.npz"
    return user_cache_path("forecaster", appauthor=False) / "calendars" / name


def _read(path: Path) -> TradingDays:
    # The file is opened here, as numpy leaves one that is no archive open.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        sessions, closes = arrays["sessions"].astype("datetime64[us]")
        opens = arrays["opens"].astype("datetime64[us]")
        since, until = arrays["known"].astype("datetime64[us]")
    index = pd.DatetimeIndex(sessions)
    begin, end = (pd.Series(it, index=index).dt.tz_localize("UTC") for it in (opens, closes))
    return TradingDays(begin, end, pd.Timestamp(since), pd.Timestamp(until))


def _made(name: str) -> TradingDays:
    calendar = _package_calendar(name)
    known = _with_special_days(name, _package_hours(calendar), calendar.tz)
    end = calendar.bound_max() or LAST
    days = pd.bdate_range(FIRST, LAST, freq="C", weekmask=calendar.weekmask)
    before, after = days[days < known.index[0]], days[days > end]
    after = after[~_is_ruled_out(after, calendar, known)]
    opens = pd.concat([_from_midnight(before), known["open"], _from_midnight(after)])
    closes = pd.concat([_until_midnight(before), known["close"], _until_midnight(after)])
    until = min(pd.Timestamp(_ANNOUNCED.get(name, LAST)), end.as_unit("us"))
    return TradingDays(opens, closes, known.index[0], until)


def _is_ruled_out(days: pd.DatetimeIndex, calendar: Any, known: pd.DataFrame) -> np.ndarray:
    """Whether each day after the calendar's end is a holiday by a rule.

    Rules are those of the package, and the dates and distances from Easter at which the exchange was
    closed in each of the last ten years.
    """
    holidays = np.zeros(len(days), dtype=bool)
    if days.empty:
        return holidays
    rules = calendar.regular_holidays
    if rules is not None:
        holidays |= days.isin(rules.holidays(days[0], days[-1]))
    start = days[0] - pd.DateOffset(years=10)
    open_days = pd.DatetimeIndex(known.index[known.index >= start])
    closed_days = pd.bdate_range(start, days[0], freq="C", weekmask=calendar.weekmask)
    closed_days = closed_days[:-1].difference(open_days)
    for key in (_day_of_year, _days_from_easter):
        always = np.setdiff1d(key(closed_days), key(open_days))
        holidays |= np.isin(key(days), always)
    return holidays


def _day_of_year(days: pd.DatetimeIndex) -> np.ndarray:
    return np.asarray(100 * days.month + days.day)


def _days_from_easter(days: pd.DatetimeIndex) -> np.ndarray:
    easter = pd.offsets.Easter()
    sundays = {year: pd.Timestamp(f"{year}-01-01") + easter for year in set(days.year)}
    return np.asarray((days - pd.DatetimeIndex([sundays[year] for year in days.year])).days)


def _with_special_days(name: str, hours: pd.DataFrame, zone: ZoneInfo) -> pd.DataFrame:
    """Take the closings of ``special_days.csv`` out of the package's sessions, and add its sessions.

    When those open is not known: at any time of their day.
    """
    with _SPECIAL_DAYS.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["calendar"] == name]
    closed = pd.DatetimeIndex([row["date"] for row in rows if row["close"] == "closed"])
    open_days = hours[~hours.index.isin(closed)]
    sessions = {
        pd.Timestamp(row["date"]): [
            pd.Timestamp(f"{row['date']} {time}", tz=zone).tz_convert("UTC")
            for time in ("00:00", row["close"])
        ]
        for row in rows
        if row["close"] != "closed" and pd.Timestamp(row["date"]) not in open_days.index
    }
    if not sessions:
        return open_days
    added = pd.DataFrame.from_dict(sessions, orient="index", columns=["open", "close"])
    added = added.astype(open_days.dtypes.to_dict())
    added.index = added.index.astype(open_days.index.dtype)
    return pd.concat([open_days, added]).sort_index()


# ---- the package


def _package_calendar(
    name: str, start: pd.Timestamp = _PACKAGE_FIRST, end: pd.Timestamp = LAST
) -> Any:
    """A calendar of ``exchange_calendars`` for the years that it knows of those between two days."""
    from exchange_calendars import get_calendar

    _repair_package()
    # What the package does in ways that pandas will give up is the package's to mend.
    with warnings.catch_warnings(), _holidays_between(start, end):
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return get_calendar(name, start=start, end=end)
        except ValueError:  # it knows fewer years
            bounds = get_calendar(name)
            first, last = bounds.bound_min() or start, bounds.bound_max() or end
            return get_calendar(name, start=max(first, start), end=min(last, end))


@contextmanager
def _holidays_between(start: pd.Timestamp, end: pd.Timestamp) -> Iterator[None]:
    """Have pandas make holidays for some years only, where it makes those from 1970 to 2200.

    That is most of the work of a calendar. A holiday may be kept in the year before or after its own.
    """
    from pandas.tseries.holiday import AbstractHolidayCalendar as Holidays

    before = Holidays.start_date, Holidays.end_date
    year = pd.DateOffset(years=2)
    Holidays.start_date = max(before[0], start - year)
    Holidays.end_date = min(before[1], end + year)
    try:
        yield
    finally:
        Holidays.start_date, Holidays.end_date = before


def _package_hours(calendar: Any) -> pd.DataFrame:
    """Return the instants at which each session opens and closes: open, close."""
    hours: pd.DataFrame = calendar.schedule[["open", "close"]].astype("datetime64[us, UTC]")
    hours.index = hours.index.astype("datetime64[us]")
    return hours


def _repair_package() -> None:
    """Have pandas 3.1 call the offsets of ``exchange_calendars`` 4.13 as earlier versions did.

    pandas 3.1 asks an offset for ``_add_datetime`` where it asked for ``_apply``, and fills a range
    of custom business days by ``_get_daily_offset_mask``. The package's offsets define neither and
    inherit both: Orthodox Easter raises, Passover is silently the Western Easter, and weeks of other
    days (Tel Aviv, Seoul, Moscow, Bombay) are lost. ``docs/developers/`` has the
    change that the package needs; once it has it, nothing is done here.
    """
    from exchange_calendars import tase_holidays
    from exchange_calendars.pandas_extensions import offsets
    from pandas.tseries.offsets import BaseOffset

    if not hasattr(BaseOffset, "_add_datetime"):
        return
    hebrew = tase_holidays._HolidayOffset, tase_holidays._YomKippurEveObserved
    for holiday in (offsets.OrthodoxEaster, *hebrew):
        if "_add_datetime" not in vars(holiday):
            holiday._add_datetime = holiday._apply
    week = offsets.CompositeCustomBusinessDay
    if "_add_datetime" not in vars(week):
        week._add_datetime = _next_business_day
        week._get_daily_offset_mask = _is_business_day


def _is_business_day(offset: Any, days: np.ndarray) -> np.ndarray:
    """Whether each day (n,) is one of the offset's, whose week is another between some dates."""
    days = days.astype("datetime64[D]")
    mask = np.is_busday(days, busdaycal=offset.calendar)
    for start, end, week in offset.business_days:
        inside = np.ones(len(days), dtype=bool)
        if start is not None:
            inside &= days >= np.datetime64(start, "D")
        if end is not None:
            inside &= days <= np.datetime64(end, "D")
        mask[inside] = np.is_busday(days[inside], busdaycal=week.calendar)
    return mask


def _next_business_day(offset: Any, date: pd.Timestamp) -> pd.Timestamp:
    step = pd.Timedelta(days=int(np.sign(offset.n)))
    for _ in range(abs(offset.n)):
        date += step
        while not _is_business_day(offset, np.array([date.to_datetime64()]))[0]:
            date += step
    return date
