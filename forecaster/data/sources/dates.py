"""Dates and times as people write them.

``2024-01-02``, ``2024.1.2``, ``20240102``, ``2024年1月2日``, ``Jan 02, 2024``, ``02-Jan-24``, ``2.1.2024``,
``01/02/2024``, with a time and a zone or without, and the seconds, milli-, micro- or nanoseconds
since 1970. Whether ``03/01/2017`` is in January or in March is decided by the column: a part beyond
12 is no month, and no price is of a day to come, nor is an event of a day years ahead. Where neither
helps, it is asked for.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from forecaster.data import prices
from forecaster.data.sources import headings
from forecaster.errors import SourceError

ORDERS: Mapping[str, tuple[int, int, int]] = {
    "day-first": (2, 1, 0),
    "month-first": (2, 0, 1),
    "year-first": (0, 1, 2),
}
"""Where year, month and day are among the three numbers of a date, by the name of their order."""

# The beginnings of their names in English, German, French, Spanish, Portuguese, Italian, Dutch,
# Polish, Russian and Turkish.
_MONTHS: Mapping[str, int] = {
    headings.key(name): month
    for month, names in enumerate(
        (
            "jan ene gen sty янв oca",
            "feb fev lut фев şub",
            "mar maa mrt mrz мар",
            "apr avr abr kwi апр nis",
            "may mai mei mag maj май мая",
            "jun juin giu cze июн haz",
            "jul juil lug lip июл tem",
            "aug aou ago sie авг ağu",
            "sep set wrz сен eyl",
            "oct okt out ott paź окт eki",
            "nov lis ноя kas",
            "dec dez déc dic gru дек ara",
        ),
        start=1,
    )
    for name in names.split()
}

_MANY = 2_000
"""Different dates and times, which it takes long to read one by one."""
_DAY = 86_400_000_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_WORD = r"[^\W\d_]+"
_STAMP = re.compile(
    r"(?P<day>\S.*?)(?:(?:[Tt]|,?\s+)"
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<part>\d+))?)?\s*"
    r"(?:(?P<half>[AaPp])\.?[Mm]\.?)?\s*"
    r"(?P<zone>(?:UTC|GMT)?(?P<sign>[+\-])(?P<east>\d\d):?(?P<south>\d\d)?|[Zz]|[A-Z]{2,5})?"
    r"(?:\s*\(.*\))?)?"
)
_COMPACT = re.compile(r"((?:19|20)\d{6})(?:[Tt ](?=\d{4})|(?=\d{6}$))(\d\d)(\d\d)(?:\d\d)?$")
_WEEKDAY = re.compile(r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+", re.IGNORECASE)
_ISO = r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d:\d\d(?:[+-]\d\d:\d\d)?)?"
_DAYS = (
    re.compile(
        r"(?P<y>\d{4})\s*[-/.年년]\s*(?P<m>\d{1,2})\s*[-/.月월]\s*(?P<d>\d{1,2})\s*[日일.]?"
    ),
    re.compile(r"(?P<y>\d{4})(?P<m>\d\d)(?P<d>\d\d)(?:\.0)?"),
    re.compile(
        rf"(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[ ./-]*(?:de )?(?P<m>{_WORD})[ .,/-]*(?:de )?"
        r"(?P<y>\d{4}|\d\d)"
    ),
    re.compile(
        rf"(?P<m>{_WORD})[ ./-]*(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[ .,/-]+(?P<y>\d{{4}}|\d\d)"
    ),
    re.compile(rf"(?P<y>\d{{4}})[ ./-]*(?P<m>{_WORD})[ ./-]*(?P<d>\d{{1,2}})"),
)
_PARTS = re.compile(r"(\d{1,2})\s*([-/.])\s*(\d{1,2})\s*[-/.]\s*(\d{4}|\d\d)\.?")
_EPOCH = re.compile(r"(\d{9,19})(?:\.\d+)?")
_MICROSECONDS = {9: 10.0**6, 10: 10.0**6, 12: 10.0**3, 13: 10.0**3, 15: 1.0, 16: 1.0}
_MICROSECONDS |= {18: 10.0**-3, 19: 10.0**-3}
"""Microseconds in the unit of a number of so many digits."""


@dataclass(frozen=True)
class Stamps:
    """The dates and times of a column (n,), as datetime64[us] without a time zone."""

    wall: pd.Series
    """As written; null where a cell is no date."""
    instant: pd.Series
    """In UTC; null where the zone is not known."""


@dataclass(frozen=True)
class _Stamp:
    """What one cell says."""

    parts: tuple[int, int, int]
    """Year, month and day; or three numbers in an order that is still to be known."""
    mark: str
    """What stands between numbers of an unknown order; nothing where the order is known."""
    clock: int
    """Microseconds since midnight."""
    offset: int | None
    """Microseconds by which the clock is ahead of UTC, where that is known."""


def looks_like(cell: str) -> bool:
    """Return whether a cell may be a date, with a time or without."""
    return _stamp(cell, date.max.year) is not None


def parse(
    cells: pd.Series, order: str | None, where: object, latest: pd.Timestamp | None = None
) -> Stamps:
    """Return the dates and times of a column.

    Parameters
    ----------
    cells : text, numbers or timestamps (n,).
    order : ``day-first`` or ``month-first``, for dates that leave it open.
    where : the file, for the message.
    latest : no date is later; by default that of today, as for prices.

    Raises
    ------
    SourceError
        The order of day and month cannot be known, or changes within the column.
    """
    if pd.api.types.is_datetime64_any_dtype(cells):
        wall = cells.dt.tz_localize(None).astype("datetime64[us]")
        if cells.dt.tz is None:
            return Stamps(wall, pd.Series(pd.NaT, cells.index, "datetime64[us]"))
        utc = cells.dt.tz_convert("UTC").dt.tz_localize(None)
        return Stamps(wall, utc.astype("datetime64[us]"))
    codes, unique = pd.factorize(cells.astype("str"))
    if len(unique) > _MANY and unique.str.fullmatch(_ISO).all():
        wall, instant = _read_iso(unique.to_series())
    else:
        wall, instant = _read(unique.tolist(), order, where, latest or prices.last_day())
    nothing = np.datetime64("NaT", "us")  # the last is that of code -1, of a missing cell
    wall, instant = np.append(wall, nothing), np.append(instant, nothing)
    return Stamps(pd.Series(wall[codes], cells.index), pd.Series(instant[codes], cells.index))


def _read_iso(texts: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """The wall clock (n,) and the instant (n,) of texts in the usual form, faster."""
    wall = pd.to_datetime(texts.str[:19], format="ISO8601", errors="coerce")
    zoned = texts.where(texts.str.len() > 19)
    instant = pd.to_datetime(zoned, format="ISO8601", errors="coerce", utc=True).dt.tz_localize(
        None
    )
    return wall.to_numpy("datetime64[us]"), instant.to_numpy("datetime64[us]")


def _read(
    texts: list[str], order: str | None, where: object, latest: pd.Timestamp
) -> tuple[np.ndarray, np.ndarray]:
    """The wall clock (n,) and the instant (n,) of texts in any form."""
    stamps = [_stamp(text, latest.year) for text in texts]
    places = _places([it for it in stamps if it], order, where, latest)
    wall = np.full(len(stamps), np.datetime64("NaT", "us"))
    instant = wall.copy()
    for at, stamp in enumerate(stamps):
        since = _since_1970(stamp, places, latest.year) if stamp else None
        if stamp and since is not None:
            wall[at] = np.datetime64(since, "us")
            if stamp.offset is not None:
                instant[at] = np.datetime64(since - stamp.offset, "us")
    return wall, instant


def _stamp(text: str, last: int) -> _Stamp | None:
    """What a cell says; None if it is no date. The year ``last`` is the last one that it can name."""
    text = _WEEKDAY.sub("", _COMPACT.sub(r"\1 \2:\3", text.strip()), count=1)
    if number := _EPOCH.fullmatch(text):
        unit = _MICROSECONDS.get(len(number[1]))
        if unit is None:
            return None
        days, clock = divmod(round(float(text) * unit), _DAY)
        first = date.fromordinal(days + _EPOCH_DAY)
        return _Stamp((first.year, first.month, first.day), "", clock, 0)
    stamp = _STAMP.fullmatch(text)
    if not stamp:
        return None
    clock, offset = _clock(stamp)
    if numbers := _PARTS.fullmatch(stamp["day"]):
        a, mark, b, c = numbers.groups()
        return _Stamp((int(a), int(b), int(c)), mark if len(c) == 4 else mark * 2, clock, offset)
    for pattern in _DAYS:
        if day := pattern.fullmatch(stamp["day"]):
            name = headings.key(day["m"])
            month = int(name) if name.isdigit() else _MONTHS.get(name[:4], _MONTHS.get(name[:3]))
            if month:
                return _Stamp((_year(int(day["y"]), last), month, int(day["d"])), "", clock, offset)
    return None


def _clock(stamp: re.Match[str]) -> tuple[int, int | None]:
    """The time of a cell and its distance from UTC, in microseconds."""
    if not stamp["hour"]:
        return 0, None
    hour = int(stamp["hour"])
    if stamp["half"]:
        hour = hour % 12 + 12 * (stamp["half"] in "Pp")
    clock = (hour * 60 + int(stamp["minute"])) * 60 + int(stamp["second"] or 0)
    offset = None
    if stamp["sign"]:
        offset = (int(stamp["east"]) * 60 + int(stamp["south"] or 0)) * 60_000_000
        offset *= 1 if stamp["sign"] == "+" else -1
    elif stamp["zone"] in ("Z", "z", "UTC", "GMT"):
        offset = 0
    return min(clock, 86_400) * 1_000_000, offset


def _year(year: int, last: int) -> int:
    """A year, not after the last one where it has two digits."""
    if year > 99:
        return year
    return year + (2000 if 2000 + year <= last else 1900)


def _places(
    stamps: list[_Stamp], order: str | None, where: object, latest: pd.Timestamp
) -> tuple[int, ...] | None:
    """Where year, month and day are among numbers of an unknown order; None if none are to be read.

    Beside dates whose order is plain such numbers are strangers, and stay unread.
    """
    parts = [it.parts for it in stamps if it.mark]
    if not parts or len(parts) < len(stamps):
        return None
    marks = {it.mark for it in stamps}
    example = next(iter(marks))[0].join(f"{part:02}" for part in parts[0])
    largest = np.array(parts).max(axis=0)
    possible = {
        name: places
        for name, places in ORDERS.items()
        if largest[places[1]] <= 12 and largest[places[2]] <= 31 and order in (None, name)
    }
    if not possible:
        raise SourceError(
            f"{where}: dates such as {example} are not {order}; leave out `dates`"
            if order
            else f"{where}: expected days and months in one order, but they change places among dates "
            f"such as {example}; write them as YYYY-MM-DD"
        )
    if marks <= {".", ".."} and "day-first" in possible:
        return ORDERS["day-first"]  # between points there is no other order
    past = {
        name: it for name, it in possible.items() if not _is_beyond(parts, it, latest)
    } or possible
    if len({tuple(tuple(day[place] for place in it) for day in parts) for it in past.values()}) > 1:
        meanings = " or ".join(
            f"{_year(parts[0][it[0]], latest.year)}-{parts[0][it[1]]:02}-{parts[0][it[2]]:02}"
            for it in past.values()
        )
        options = " or ".join(f'`dates="{name}"`' for name in past)
        raise SourceError(f"{where}: cannot tell whether {example} is {meanings}; say {options}")
    return next(iter(past.values()))


def _is_beyond(
    parts: list[tuple[int, int, int]], places: tuple[int, ...], latest: pd.Timestamp
) -> bool:
    """Whether numbers read in an order would be days too late."""
    year, month, day = places
    last = max((_year(it[year], latest.year), it[month], it[day]) for it in parts)
    return last > (latest.year, latest.month, latest.day)


def _since_1970(stamp: _Stamp, places: tuple[int, ...] | None, last: int) -> int | None:
    """The microseconds from 1970 to a wall clock, if there is such a day."""
    if stamp.mark and places is None:
        return None
    year, month, day = (
        (stamp.parts[place] for place in (places or (0, 1, 2))) if stamp.mark else stamp.parts
    )
    try:
        days = date(_year(year, last) if stamp.mark else year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    return days * _DAY + stamp.clock
