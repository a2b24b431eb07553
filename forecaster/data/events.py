"""The events frame: one row for each ticker and day of a scheduled event.

==========  ================  ===============================================================
column      dtype             meaning
==========  ================  ===============================================================
ticker      str               Yahoo's name of the instrument
date        datetime64[us]    the day at its exchange: midnight, without a time zone
kind        str               ``earnings``, the announcement of earnings
time        object            ``pre``, ``post`` or None where it is not known
first_seen  datetime64[us]    the instant, in UTC, at which the store first held this day; null
                              for history that was learned after the event
==========  ================  ===============================================================

Rows are sorted by ticker and date, and no day comes twice for a ticker and kind. A day that was moved
keeps its row beside that of the new day, so that what was known at any instant can be told: the rows
first seen by then.

``pre`` is before the close, ``post`` at the close or after it. What is announced while the exchange is
open counts as ``pre``, because that day's session is the first that can trade on it.
"""

from datetime import date
from hashlib import sha256

import pandas as pd

from forecaster.data import calendars, prices, publication
from forecaster.data.exchanges import exchange, has_calendar
from forecaster.errors import EventsError, PricesError

COLUMNS = ("ticker", "date", "kind", "time", "first_seen")
KINDS = ("earnings",)
(EARNINGS,) = KINDS
PRE, POST = "pre", "post"

KEY = ["ticker", "date", "kind"]
"""Columns that no two rows share."""

FARTHEST = pd.DateOffset(years=2)
"""No announcement is scheduled further ahead."""

_EARLIEST = pd.Timestamp("1900-01-01")


def empty() -> pd.DataFrame:
    """Return an events frame without rows."""
    return typed(pd.DataFrame({name: [] for name in COLUMNS}))


def check(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a tidy copy of an events frame, or say which rule it breaks, where, and what to do.

    Parameters
    ----------
    frame : with all of ``COLUMNS``; others are left out. Dates may be text, ``YYYY-MM-DD``.

    Returns
    -------
    ``COLUMNS``, sorted by ticker, date and ``first_seen``, indexed from 0.

    Raises
    ------
    EventsError
        Naming the row, the rule that failed and how many more rows fail it.
    """
    if missing := [name for name in COLUMNS if name not in frame]:
        names = ", ".join(map(str, frame.columns)) or "none"
        raise EventsError(
            f"events need the columns {', '.join(COLUMNS)}; {', '.join(missing)} is missing among "
            f"{names}. Add it, empty where it is not known"
        )
    if frame.empty:
        return empty()
    try:
        prices.check_tickers(frame["ticker"])
    except PricesError as error:
        raise EventsError(f"events: {error}") from None
    days = prices.dates(frame["date"])
    _require(frame, days.notna(), "date", "write dates as YYYY-MM-DD")
    if pd.api.types.is_datetime64_any_dtype(frame["date"]):
        clock = frame["date"].dt.tz_localize(None)
        _require(frame, clock == days, "date", "give the day alone, and pre or post as its time")
    latest = calendars.now().tz_localize(None) + FARTHEST
    inside = days.between(_EARLIEST, latest)
    _require(frame, inside, "date", f"no event is before 1900 or after {latest:%Y-%m-%d}")
    _require(frame, frame["kind"].isin(KINDS), "kind", f"it must be {' or '.join(KINDS)}")
    _require(
        frame,
        frame["time"].isna() | frame["time"].isin([PRE, POST]),
        "time",
        f"it must be {PRE}, {POST} or empty",
    )
    seen = _instants(frame["first_seen"])
    _require(
        frame,
        seen.notna() | frame["first_seen"].isna(),
        "first_seen",
        "write instants as 2026-11-26T15:00:00Z",
    )
    tomorrow = calendars.now().tz_localize(None) + pd.Timedelta(days=1)
    _require(frame, ~(seen > tomorrow), "first_seen", "nothing is seen in the future")
    tidy = typed(frame.assign(date=days, first_seen=seen))
    tidy = tidy.sort_values(["ticker", "date", "first_seen"], kind="stable", ignore_index=True)
    again = tidy.duplicated(KEY)
    _require(tidy, ~again, "date", "a day may come only once for a ticker")
    return tidy


def united(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a source with those of one ticker, day and kind made one.

    The time is the one that is given; it is not known if several are. A row counts as seen when the
    first of them was.
    """
    if not frame.duplicated(KEY).any():
        return frame
    groups = frame.groupby(KEY, sort=False, as_index=False)
    return typed(groups.agg(time=("time", _only), first_seen=("first_seen", "min")))


def known_by(frame: pd.DataFrame | None, day: date) -> pd.DataFrame | None:
    """Return the events that a fit up to a day may read: none of more than a month after."""
    if frame is None:
        return None
    return frame[frame["date"] <= pd.Timestamp(day) + pd.Timedelta(days=31)]


def digest(frame: pd.DataFrame | None) -> str | None:
    """Return the SHA-256 of a checked events frame, in hexadecimal; None where there are no events."""
    if frame is None or frame.empty:
        return None
    hashes = pd.util.hash_pandas_object(frame[list(COLUMNS)].astype(str), index=False)
    return sha256(hashes.to_numpy().tobytes()).hexdigest()


def timing(ticker: str, local: pd.Series, zone: str | None) -> pd.Series:
    """Return ``pre``, ``post`` or None for instants (n,) on the clock of a ticker's exchange.

    Midnight is no time of an announcement, but that of a day alone. Where the exchange's hours are
    not known, neither is the time.

    Parameters
    ----------
    local : dates and times without a zone; their days need not be sessions.
    zone : the exchange's, such as ``Europe/London``.
    """
    nothing = pd.Series([None] * len(local), index=local.index, dtype=object)
    name, days = exchange(ticker), local.dt.normalize()
    if zone is None or not has_calendar(name) or local.empty:
        return nothing
    instants = local.dt.tz_localize(zone, ambiguous=True, nonexistent="shift_forward")
    instants = instants.dt.tz_convert("UTC").dt.tz_localize(None)
    closes = publication.closing_instants(name, days.to_numpy(), latest=False)
    times = nothing.mask(instants < closes, PRE).mask(instants >= closes, POST)
    return times.where(local != days, None)


def _only(times: pd.Series) -> object:
    known = times.dropna().unique()
    return known[0] if len(known) == 1 else None


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the columns and dtypes of an events frame, indexed from 0, unchecked."""
    times = [time if isinstance(time, str) else None for time in frame["time"]]
    return pd.DataFrame(
        {
            "ticker": frame["ticker"].astype("str").array,
            "date": frame["date"].astype("datetime64[us]").array,
            "kind": frame["kind"].astype("str").array,
            "time": pd.Series(times, dtype=object),
            "first_seen": frame["first_seen"].astype("datetime64[us]").array,
        }
    )


def _instants(values: pd.Series) -> pd.Series:
    """Instants (n,) as datetime64[us] in UTC without a zone; null where a value is none."""
    stamps = pd.to_datetime(values, utc=True, errors="coerce", format="ISO8601")
    return stamps.dt.tz_localize(None).astype("datetime64[us]")


def _require(frame: pd.DataFrame, good: pd.Series, column: str, rule: str) -> None:
    if good.all():
        return
    bad = frame[~good.to_numpy()]
    row = bad.iloc[0]
    value = "missing" if pd.isna(row[column]) else f"{str(row[column])[:40]!r}"
    more = f" (and {len(bad) - 1:,} more)" if len(bad) > 1 else ""
    raise EventsError(
        f"event of {row['ticker']}, row {bad.index[0]}: {column} is {value}{more}; {rule}"
    )
