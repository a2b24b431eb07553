"""Events from a CSV or Parquet file: a row for each ticker and day, ``ticker,date[,time]``.

The file is read as one of prices is: its encoding, delimiter, headings and dates
(:mod:`~forecaster.data.sources.tables`, :mod:`~forecaster.data.sources.dates`). What can be read in two
ways is refused with the question that decides. A time is a word (``pre``, ``bmo``, ``After Market
Close``) or a clock of the exchange (``16:30``, in a column of its own or behind the date).
"""

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from forecaster.data import capitals, events, prices, trading_days
from forecaster.data.exchanges import exchange, has_calendar
from forecaster.data.sources import dates, headings, tables
from forecaster.data.sources.tables import Format, Table
from forecaster.display import cell_texts
from forecaster.errors import (
    EventsError,
    PricesError,
    SourceError,
    UnknownTickerError,
    did_you_mean,
    first_few,
)

log = logging.getLogger(__name__)

_DATES = (
    *("date", "earningsdate", "eventdate", "announcementdate", "reportdate", "reporteddate"),
    *("releasedate", "rdq", "anndats"),
)
"""Keys of headings of the day, the best first; then those of any date."""
_TIMES = (
    *("time", "when", "timing", "session", "timeofday", "timeoftheday", "hour", "earningstime"),
    *("earningscalltime", "callt"),
)
_OWN = {"kind": "kind", "firstseen": "first_seen"}
"""Columns of the events frame, by the keys of their headings."""

_PRE = (
    *("pre", "premarket", "bmo", "beforemarket", "beforemarketopen", "beforeopen", "beforetheopen"),
    *("timepremarket", "am", "dmh", "during", "duringmarket", "duringmarkethours"),
)
_POST = (
    *("post", "postmarket", "amc", "aftermarket", "aftermarketclose", "afterclose"),
    *("aftertheclose", "afterhours", "timeafterhours", "pm"),
)
_UNKNOWN = (
    *("", "na", "nan", "none", "null", "unknown", "tas", "tns", "tbd", "timenotsupplied"),
    *("notsupplied", "unspecified"),
)
_WORDS: Mapping[str, str | None] = {
    **dict.fromkeys(_PRE, events.PRE),
    **dict.fromkeys(_POST, events.POST),
    **dict.fromkeys(_UNKNOWN),
}
_CLOCK = re.compile(
    r"(\d{1,2})(?:[:.](\d\d)(?::\d\d(?:\.\d+)?)?)?\s*(?:([ap])\.?m\.?)?", re.IGNORECASE
)


def load(
    path: str | Path,
    tickers: Sequence[str] | None = None,
    form: Format | None = None,
    known: Collection[str] = (),
) -> pd.DataFrame:
    """Return the events of some tickers, or of all that a file has.

    Parameters
    ----------
    path : the file.
    tickers : those wanted, in any capitals.
    form : the order of its dates, if the file leaves it open.
    known : tickers whose capitals count where those of the file differ; others are in capitals.

    Returns
    -------
    An events frame. ``first_seen`` is null where the file does not say.

    Raises
    ------
    SourceError
        There is no such file, it is not a table of events, or it can be read in two ways.
    UnknownTickerError
        None of the tickers wanted is in the file.
    """
    path = Path(path)
    table = tables.read(path)
    columns = _columns(table)
    names = _tickers(table.cells[columns["ticker"]], path, known)
    local = _local(names, table.cells[columns["date"]], form, path)
    frame = pd.DataFrame({"ticker": names, "date": local.dt.normalize()})
    frame["time"] = _times(frame, local - frame["date"], table, columns.get("time"))
    frame["kind"] = events.EARNINGS
    if "kind" in columns:
        words = table.cells[columns["kind"]].map(_text).str.casefold()
        frame["kind"] = words.mask(words == "", events.EARNINGS)
    frame["first_seen"] = None
    if "first_seen" in columns:
        cells = table.cells[columns["first_seen"]]
        frame["first_seen"] = cells.where(cells.map(_text) != "", None)
    if tickers:
        frame = _of(frame, tickers, path)
    try:
        return events.check(events.united(frame))
    except EventsError as error:
        raise SourceError(f"{path}: {error}") from None


def _of(frame: pd.DataFrame, tickers: Sequence[str], path: Path) -> pd.DataFrame:
    """The rows of some tickers."""
    there = sorted(set(frame["ticker"]))
    wanted = capitals.matched(tickers, there)
    if not set(wanted) & set(there):
        raise UnknownTickerError(
            f"{path} has no events of {first_few(wanted)}; {did_you_mean(wanted, there)}it has those "
            f"of {first_few(there, 10)}"
        )
    if missing := [ticker for ticker in wanted if ticker not in there]:
        log.warning("%s has no events of %s", path, first_few(missing))
    return frame[frame["ticker"].isin(wanted)]


def _columns(table: Table) -> dict[str, int]:
    """The places of the columns by name: ``ticker``, ``date`` and those of the others that there are."""
    names = [str(name) for name in table.named()]
    keys = [headings.key(name) for name in names]
    columns = {_OWN[key]: place for place, key in enumerate(keys) if key in _OWN}
    ranks = {
        "ticker": [headings.rank(name, "ticker") for name in names],
        "time": [_TIMES.index(key) if key in _TIMES else None for key in keys],
        "date": [
            _DATES.index(key) if key in _DATES else _after(headings.rank(name, "date"))
            for name, key in zip(names, keys, strict=True)
        ],
    }
    for field, its in ranks.items():
        free = {place: rank for place, rank in enumerate(its) if place not in columns.values()}
        known = {place: rank for place, rank in free.items() if rank is not None}
        if known:
            columns[field] = min(known, key=lambda place: known[place])
    for field in ("ticker", "date"):
        if field not in columns:
            raise SourceError(
                f"{table.path} has no column {field}: a list of events has the columns ticker, date "
                f"and, where it is known, time; found {first_few(names, 10)}. Rename the column that "
                "holds it"
            )
    if table.between:
        raise SourceError(
            f"{table.path}: expected a date in the first row below the headings, got "
            f"{table.between[0][:60]!r}; write dates as YYYY-MM-DD, or take the row away"
        )
    return columns


def _after(rank: int | None) -> int | None:
    return None if rank is None else rank + len(_DATES)


def _tickers(cells: pd.Series, path: Path, known: Collection[str]) -> pd.Series:
    """The ticker of each row (n,), in the capitals of those known."""
    if pd.api.types.is_float_dtype(cells):
        cells = cells.convert_dtypes()  # 14593, not 14593.0
    texts = cell_texts(cells.map(_text))
    try:
        prices.check_tickers(texts)
    except PricesError as error:
        raise SourceError(f"{path}: {error}") from None
    there = set(known)
    return texts.map(
        {
            name: name if name in there else capitals.matched([name.upper()], there)[0]
            for name in texts.unique()
        }
    )


def _local(names: pd.Series, cells: pd.Series, form: Format | None, path: Path) -> pd.Series:
    """The day of each row (n,) at its exchange, with the clock where the file has it behind the day."""
    latest = prices.last_day() + events.FARTHEST
    stamps = dates.parse(cells, form.dates if form else None, path, latest)
    local = stamps.wall
    if (bad := local.isna()).any():
        row = bad.index[bad][0]
        more = f" (and {int(bad.sum()) - 1:,} more)" if bad.sum() > 1 else ""
        raise SourceError(
            f"{path} row {row}: expected a date, got {_text(cells[row])[:40]!r}{more}; "
            "write dates as YYYY-MM-DD, or take the row away"
        )
    zoned = stamps.instant.notna() & (local != local.dt.normalize())
    for ticker, its in stamps.instant[zoned].groupby(names):
        if zone := _zone(str(ticker)):
            there = its.dt.tz_localize("UTC").dt.tz_convert(zone).dt.tz_localize(None)
            local[its.index] = there
    return local


def _times(frame: pd.DataFrame, clocks: pd.Series, table: Table, place: int | None) -> pd.Series:
    """``pre``, ``post`` or None for each row (n,), from its clock or the column at a place."""
    times = pd.Series([None] * len(clocks), index=clocks.index, dtype=object)
    if place is not None:
        cells = table.cells[place].map(_text)
        words, hours = dict[str, str | None](), dict[str, pd.Timedelta]()
        for cell in cells.unique():
            if (word := headings.key(cell)) in _WORDS:
                words[cell], hours[cell] = _WORDS[word], pd.Timedelta(0)
            elif (hour := _clock(cell)) is not None:
                words[cell], hours[cell] = None, hour
            else:
                row = cells.index[cells == cell][0]
                raise SourceError(
                    f"{table.path} row {row}: expected a time of day, got {cell[:40]!r}; write pre or "
                    "post (before the open, after the close), a clock such as 16:30, or nothing"
                )
        times = cells.map(words).astype(object)
        clocks = clocks.where(cells == "", cells.map(hours))
    for ticker, its in clocks[clocks > pd.Timedelta(0)].groupby(frame["ticker"]):
        local = frame.loc[its.index, "date"] + its
        times[its.index] = events.timing(str(ticker), local, _zone(str(ticker)))
    return times


def _clock(text: str) -> pd.Timedelta | None:
    """The time since midnight of a clock such as ``16:30`` or ``4 pm``; None if it is none."""
    clock = _CLOCK.fullmatch(text)
    if not clock or not (clock[2] or clock[3]):
        return None
    hour, minute = int(clock[1]), int(clock[2] or 0)
    if clock[3]:
        hour = hour % 12 + 12 * (clock[3] in "pP")
    return pd.Timedelta(hours=hour, minutes=minute) if hour < 24 and minute < 60 else None


def _text(cell: Any) -> str:
    return "" if pd.isna(cell) else str(cell).strip()


def _zone(ticker: str) -> str | None:
    name = exchange(ticker)
    return trading_days.zone(name) if has_calendar(name) else None
