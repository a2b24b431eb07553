"""The prices frame: one row for each ticker and finished session.

=========  ================  ================================================================
column     dtype             meaning
=========  ================  ================================================================
ticker     str               Yahoo's name of the instrument
date       datetime64[us]    the session: midnight, without a time zone
open       float64           null where unknown, as are high and low
high       float64
low        float64
close      float64           adjusted for splits
adj_close  float64           adjusted for splits and dividends
volume     float64           null where unknown
=========  ================  ================================================================

Rows are sorted by ticker and date, and no date comes twice for a ticker.

What a source says of corporate actions goes beside it into the store, in columns that models do not
see: ``dividends``, cash a share on the ex-date, adjusted for splits, and ``splits``, new shares for
an old one; 0 where there is none and null where it is not known.
"""

import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import date

import numpy as np
import pandas as pd

from forecaster.data import calendars
from forecaster.display import printable
from forecaster.errors import PricesError

COLUMNS = ("ticker", "date", "open", "high", "low", "close", "adj_close", "volume")
ACTIONS = ("dividends", "splits")

LARGEST_VOLUME = 2.0**63
"""Volumes are kept as whole numbers of 64 bits, so they are below this."""

_LONGEST_TICKER = 40
_ROUNDING = 1e-6


def check(frame: pd.DataFrame, *, actions: bool = False, today: date | None = None) -> pd.DataFrame:
    """Returns a tidy copy of a prices frame, or says which rule it breaks, where, and what to do.

    Vendors often report an open or a close a hair outside the session's low and high: that is
    let through.

    Parameters
    ----------
    frame
        At least ``ticker``, ``date`` and one of ``close`` and ``adj_close``; a ticker without any
        value in one of these two takes the other. Other known columns are used where present.
    actions
        Keep ``dividends`` and ``splits`` too, where the frame has them.
    today
        No date may be later. By default the current date in UTC and one day more, because the
        far east is ahead.

    Returns
    -------
    DataFrame
        ``COLUMNS``, and actions where asked for, sorted by ticker and date, indexed from 0.

    Raises
    ------
    PricesError
        Naming the ticker, the date, the rule that failed and how many more rows fail it.
    """
    _check_columns(frame)
    check_tickers(frame["ticker"])
    own_actions = [column for column in ACTIONS if actions and column in frame]
    tidy = pd.DataFrame(
        {
            "ticker": frame["ticker"].astype("str").array,
            "date": _parsed_dates(frame).array,
            **{column: _numbers(frame, column) for column in (*COLUMNS[2:], *own_actions)},
        }
    )
    if not _is_sorted(tidy):
        tidy = tidy.sort_values(["ticker", "date"], kind="stable", ignore_index=True)
    if any(np.isnan(tidy[name].to_numpy()).any() for name in ("close", "adj_close")):
        tidy["close"], tidy["adj_close"] = _filled(tidy, "close", "adj_close")
    _check_rules(tidy, last_day(today))
    return tidy


def dates(values: pd.Series) -> pd.Series:
    """Calendar dates (n,) as datetime64[us]; null where a value is not a date.

    Text must be ``YYYY-MM-DD``, ``YYYY/MM/DD`` or ``YYYYMMDD``, with or without a time: 03/04/2018
    is two different days on two sides of an ocean. A time and its zone are dropped, which leaves
    the date where the session took place.
    """
    if pd.api.types.is_datetime64_any_dtype(values):
        stamps = values.dt.tz_localize(None)
    else:
        text = values.astype("str").str.strip()
        text = text.str.replace(r"[T ]\d{1,2}:\d{2}.*$", "", regex=True)
        text = text.where(text.str.fullmatch(r"\d{4}([-/]?)\d{2}\1\d{2}"))
        stamps = pd.to_datetime(text.str.replace("/", "-"), format="ISO8601", errors="coerce")
    return midnights(stamps)


def midnights(stamps: pd.Series) -> pd.Series:
    """Return the days (n,) of stamps (n,) without a time zone, as datetime64[us]; null where they are."""
    days = stamps.to_numpy().astype("datetime64[D]")  # pandas looks for a frequency first
    return pd.Series(days.astype("datetime64[us]"), stamps.index, name=stamps.name)


def floats(cells: pd.Series) -> np.ndarray:
    """Return cells (n,) as float64: NaN where they are no numbers, infinite where too large for it."""
    try:
        return pd.to_numeric(cells, errors="coerce").to_numpy("float64", na_value=np.nan)
    except OverflowError:  # integers of Python have no bound
        return floats(cells.map(_bounded))


def _bounded(cell: object) -> object:
    if isinstance(cell, int) and abs(cell) > sys.float_info.max:
        return np.inf if cell > 0 else -np.inf
    return cell


def between(frame: pd.DataFrame, start: date | None, end: date | None) -> pd.DataFrame:
    """The rows of a not yet checked frame from ``start`` to ``end``, both included.

    Rows without a readable date stay, for :func:`check` to name them.
    """
    if start is None and end is None:
        return frame
    days = dates(frame["date"])
    outside = pd.Series(False, index=frame.index)
    if start is not None:
        outside |= days < pd.Timestamp(start)
    if end is not None:
        outside |= days > pd.Timestamp(end)
    return frame[~outside]


def by_ticker(frames: pd.DataFrame | Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """The prices of each ticker, of a prices frame or as they come."""
    if isinstance(frames, pd.DataFrame) and is_alone(frames["ticker"]):
        yield frames
    elif isinstance(frames, pd.DataFrame):
        yield from (group for _, group in frames.groupby("ticker", sort=True))
    else:
        yield from frames


def log_returns(adj_close: np.ndarray) -> np.ndarray:
    """Log returns (n,) of the prices (n,) of one ticker, as fractions; the first is NaN.

    r[t] = ln(adj_close[t] / adj_close[t - 1])
    """
    return np.diff(np.log(adj_close), prepend=np.nan)


def sums_ahead(next_returns: np.ndarray, step: int) -> np.ndarray:
    """Return the log return over the next ``step`` sessions, a fraction: (sessions,).

    Parameters
    ----------
    next_returns : the log return to the session after each one (sessions,); NaN where it is unknown.
    """
    following = np.append(next_returns, np.full(step - 1, np.nan))
    total: np.ndarray = np.lib.stride_tricks.sliding_window_view(following, step).sum(axis=1)
    return total


class Reading:
    """Prices that are read through once, a ticker at a time; then it is known what they were.

    Iterating gives the prices frame of each ticker that has sessions up to ``until``, cut there.

    Parameters
    ----------
    frames : a checked prices frame, or one for each ticker.
    until : the last date to give; by default the last there is.
    """

    def __init__(
        self, frames: pd.DataFrame | Iterable[pd.DataFrame], until: date | None = None
    ) -> None:
        self._frames, self._until = frames, until
        self._sha = hashlib.sha256()
        self.tickers: list[str] = []
        self.begin, self.end = date.max, date.min
        """The first and the last session of all prices."""
        self.first, self.last = date.max, date.min
        """The first and the last session of those given."""

    def __iter__(self) -> Iterator[pd.DataFrame]:
        for whole in by_ticker(self._frames):
            days = whole["date"]
            self.begin, self.end = _widened(self.begin, self.end, days)
            if self._until is not None:
                whole = whole[days <= pd.Timestamp(self._until)]
            if len(whole):
                self.first, self.last = _widened(self.first, self.last, whole["date"])
                self.tickers.append(str(whole["ticker"].iloc[0]))
                self._hash(whole)
                yield whole

    def _hash(self, frame: pd.DataFrame) -> None:
        self._sha.update(f"{self.tickers[-1]!r}:{len(frame)};".encode())
        self._sha.update(frame["date"].to_numpy("datetime64[us]").astype("<i8").tobytes())
        for column in COLUMNS[2:]:
            values = frame[column].to_numpy("<f8")
            # There are many NaNs and two zeros: each has one canonical form.
            self._sha.update((np.where(np.isnan(values), np.nan, values) + 0.0).tobytes())

    @property
    def digest(self) -> str:
        """The SHA-256 of the prices given, in hexadecimal: other prices, other digest."""
        return self._sha.hexdigest()

    @property
    def said(self) -> dict[str, str]:
        """What a backtest keeps of the prices given: first and last session, and the digest."""
        return {
            "prices_from": str(self.first),
            "prices_to": str(self.last),
            "prices_sha256": self.digest,
        }


def digest(frames: pd.DataFrame | Iterable[pd.DataFrame]) -> str:
    """:attr:`Reading.digest` of a checked prices frame, or of one for each ticker."""
    reading = Reading(frames)
    for _ in reading:
        pass
    return reading.digest


def _widened(first: date, last: date, days: pd.Series) -> tuple[date, date]:
    return min(first, days.iloc[0].date()), max(last, days.iloc[-1].date())


def _check_columns(frame: pd.DataFrame) -> None:
    for wanted in (("ticker",), ("date",), ("close", "adj_close")):
        if not any(column in frame for column in wanted):
            names = ", ".join(map(str, frame.columns)) or "none"
            raise PricesError(
                f"prices need a column {' or '.join(wanted)}; found the columns {names}. "
                "Add it, or rename the column that holds it"
            )
    if frame.empty:
        raise PricesError("the prices have no rows; at least one row a ticker is needed")


def check_tickers(tickers: pd.Series) -> None:
    """Raise a :class:`PricesError` at the first ticker (n,) that is no name of an instrument."""
    for ticker in tickers.unique().tolist():
        name: str = "" if pd.isna(ticker) else str(ticker)
        if not name.strip():
            fault = "is blank"
        elif len(name) > _LONGEST_TICKER:
            fault = f"has {len(name)} characters, at most {_LONGEST_TICKER} are allowed"
        elif len(name.encode("utf-8", "replace")) > _LONGEST_TICKER:
            fault = f"is longer than {_LONGEST_TICKER} bytes"
        elif not name.isprintable() or printable(name) != name or name != name.strip():
            fault = "has characters that do not print, or blanks around it"
        else:
            continue
        rows = tickers.index[tickers.isna() if pd.isna(ticker) else tickers == ticker]
        raise PricesError(
            f"row {rows[0]}: the ticker {name[:_LONGEST_TICKER]!r} {fault}"
            f"{_more(len(rows))}; name the instrument as Yahoo does, such as AAPL or BRK-B"
        )


def _parsed_dates(frame: pd.DataFrame) -> pd.Series:
    days = dates(frame["date"])
    bad = days.isna().to_numpy()
    if bad.any():
        first = int(bad.argmax())
        value = frame["date"].iloc[first]
        found = "is missing" if pd.isna(value) else f"is {str(value)!r}"
        raise PricesError(
            f"{frame['ticker'].iloc[first]} row {frame.index[first]}: the date {found}"
            f"{_more(bad.sum())}; write dates as YYYY-MM-DD"
        )
    return days


def _numbers(frame: pd.DataFrame, column: str) -> np.ndarray:
    if column not in frame:
        return np.full(len(frame), np.nan)
    if frame[column].dtype == np.float64:
        return frame[column].to_numpy(copy=True)
    values = floats(frame[column])
    bad = np.isnan(values) & frame[column].notna().to_numpy()
    if bad.any():
        row = frame.iloc[int(bad.argmax())]
        raise PricesError(
            f"{row['ticker']} {str(row['date'])[:10]}: {column} is {str(row[column])!r}"
            f"{_more(bad.sum())}; write numbers as 1234.56, and nothing where there is none"
        )
    return values


def is_alone(tickers: pd.Series) -> bool:
    """Return whether all rows (n,) are of one ticker, as those of a fetch mostly are."""
    return tickers.nunique(dropna=False) == 1


def _is_sorted(tidy: pd.DataFrame) -> bool:
    days = tidy["date"].to_numpy()
    later = days[1:] >= days[:-1]
    if is_alone(tidy["ticker"]):
        return bool(later.all())
    tickers = tidy["ticker"].to_numpy(object)
    same, next_ticker = tickers[1:] == tickers[:-1], tickers[1:] > tickers[:-1]
    return bool((next_ticker | same & later).all())


def _filled(tidy: pd.DataFrame, first: str, second: str) -> tuple[pd.Series, pd.Series]:
    """Two columns, each taken from the other for the tickers that have none of it."""
    if is_alone(tidy["ticker"]):
        one, other = tidy[first], tidy[second]
        return (one, other if other.notna().any() else one) if one.notna().any() else (other, other)
    known = tidy[[first, second]].notna().groupby(tidy["ticker"]).transform("any")
    return (
        tidy[first].where(known[first], tidy[second]),
        tidy[second].where(known[second], tidy[first]),
    )


def _check_rules(tidy: pd.DataFrame, last_day: pd.Timestamp) -> None:
    """Raises at the first rule that a row of a sorted frame breaks; in numpy, as fetching waits."""
    days = tidy["date"].to_numpy()
    again = np.zeros(len(tidy), dtype=bool)
    again[1:] = days[1:] == days[:-1]
    if not is_alone(tidy["ticker"]):
        tickers = tidy["ticker"].to_numpy(object)
        again[1:] &= tickers[1:] == tickers[:-1]
    _require(tidy, ~again, ["close"], "a date may come only once for a ticker")
    _require(
        tidy,
        days <= np.datetime64(last_day),
        ["close"],
        f"a session after {last_day:%Y-%m-%d} is not finished",
    )
    numbers = {name: tidy[name].to_numpy() for name in tidy.columns[2:]}
    for column in ("close", "adj_close", "open", "high", "low"):
        values = numbers[column]
        good = np.isfinite(values) & (values > 0)
        if column not in ("close", "adj_close"):
            good |= np.isnan(values)
        _require(tidy, good, [column], "a price must be a finite number above zero")
    _require(
        tidy,
        ~(numbers["high"] < numbers["low"] * (1 - _ROUNDING)),
        ["high", "low"],
        "the high may not be below the low",
    )
    volume = numbers["volume"]
    _require(
        tidy,
        np.isnan(volume) | ((volume >= 0) & (volume < LARGEST_VOLUME)),
        ["volume"],
        "a volume must be zero or more, and below 2 to the 63rd",
    )
    for column in set(ACTIONS) & set(numbers):
        values = numbers[column]
        _require(
            tidy,
            np.isnan(values) | (np.isfinite(values) & (values >= 0)),
            [column],
            "an action must be a finite number, and zero where there is none",
        )


def _require(tidy: pd.DataFrame, good: np.ndarray, columns: Sequence[str], rule: str) -> None:
    if good.all():
        return
    row = tidy[~good].iloc[0]
    values = " and ".join(
        f"{column} is {'missing' if np.isnan(row[column]) else f'{row[column]:.8g}'}"
        for column in columns
    )
    raise PricesError(
        f"{row['ticker']} {row['date']:%Y-%m-%d}: {values}; {rule}{_more((~good).sum())}. "
        "Correct or remove the row"
    )


def _more(count: int) -> str:
    return f" (and {count - 1} more)" if count > 1 else ""


def last_day(today: date | None = None) -> pd.Timestamp:
    """The last date that a finished session can have."""
    if today is not None:
        return pd.Timestamp(today)
    return calendars.now().tz_localize(None).normalize() + pd.Timedelta(days=1)
