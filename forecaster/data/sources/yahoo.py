"""Prices and earnings dates from Yahoo Finance: yfinance asks, and every row is accounted for.

yfinance brings what Yahoo wants of a caller: the cookie, the crumb, the consent page and the
handshake of a browser. Its ``history`` is left aside. It merges and drops rows silently, fails on a
volume beyond 64 bits, and spends a request on the time zone, which every answer states. Its
``get_earnings_dates`` reads a page that Yahoo makes for people and has changed more than once, so that an
upgrade of yfinance is all that the next change should take.
"""

import functools
import json
import re
import threading
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from curl_cffi import CurlOpt, requests

from forecaster.data import calendars, events
from forecaster.data.exchanges import CRYPTO, exchange
from forecaster.errors import (
    EventsError,
    ForecastError,
    GarbageError,
    NetworkError,
    NoPricesError,
    OfflineError,
    RateLimitedError,
    RefusedError,
    UnknownTickerError,
    UsageError,
    one_line,
)

TIMEOUT = 10.0
"""Seconds to wait for an answer."""

SETTLING = pd.Timedelta(minutes=30)
"""How long after a close the quotes of some exchanges still come late."""

_CHART = "https://query2.finance.yahoo.com/v8/finance/chart/"
_CALENDAR = "https://finance.yahoo.com/calendar/earnings"
_COOKIE = "https://fc.yahoo.com"
_PIECE = 1 << 19
"""Bytes of an answer that curl hands over at a time, most of a history."""
_TOO_MANY = 429
_ANOTHER_COOKIE = (401, 403)
"""Refusals that yfinance answers, once, with a cookie it got in another way."""
_ANNOUNCEMENTS = 100
"""The most that Yahoo lists on a page: some 25 years."""
_YEARS = 99
"""Yahoo refuses to look back further."""
_UNRESOLVED = (5, 6)
"""What curl calls a proxy, and a host, whose name cannot be resolved."""
_FIELDS = ("open", "high", "low", "close", "volume")
_DAY = 86_400
# Of an answer, in seconds from 1970: the years 1900 to 2100 are sense.
_EARLIEST, _LATEST = -2_208_988_800, 4_102_444_800


@dataclass(frozen=True)
class Answer:
    """What Yahoo has of a ticker."""

    frame: pd.DataFrame
    """The columns of the prices frame with ``dividends`` and ``splits``, as Yahoo gives them: not
    cleaned and not checked, sorted by date. Finished sessions alone, within the dates wanted."""
    open_session: date | None
    """The session that is left out because it has not closed."""
    notes: dict[str, str]
    """Name, kind of instrument, currency, exchange, time zone, and the version of yfinance."""


class _Final(Exception):
    """A refusal that yfinance must not answer with the same request again."""

    def __init__(self, answer: requests.Response):
        super().__init__(answer.status_code)
        self.answer = answer


class Gate:
    """Where every request waits while Yahoo asks for fewer."""

    def __init__(self) -> None:
        self.abandoned = threading.Event()
        """Once set, nobody waits any more."""
        self._opens = 0.0
        self._lock = threading.Lock()

    def close(self, seconds: float) -> None:
        """Let nobody pass for some seconds from now; a longer closing stays."""
        with self._lock:
            self._opens = max(self._opens, time.monotonic() + seconds)

    def wait(self) -> None:
        """Return when the gate is open; raise NetworkError once it is abandoned."""
        while (left := self._opens - time.monotonic()) > 0 and not self.abandoned.wait(left):
            pass
        if self.abandoned.is_set():
            raise NetworkError("nothing more is asked for, as the fetch has ended")


class Yahoo:
    """A conversation with Yahoo, which threads may share.

    Parameters
    ----------
    gate : what all requests wait at; it is closed for ``pause`` seconds at an answer of 429.
    """

    def __init__(self, gate: Gate | None = None, pause: float = 1.0):
        with warnings.catch_warnings(action="ignore"):
            import yfinance
            from yfinance.data import YfData
        # Its databases lock each other out between processes and hold pickles. Below a file there
        # can be none, so yfinance does without.
        yfinance.set_tz_cache_location(str(Path(__file__) / "none"))
        self._session = _Session(gate or Gate(), pause)
        self._data = YfData(session=self._session)

    def answer(self, ticker: str, start: date | None = None, end: date | None = None) -> Answer:
        """Return a ticker's daily prices from ``start`` to ``end``, both included, by one request.

        Parameters
        ----------
        ticker : Yahoo's name, such as ``AAPL``, ``BRK-B``, ``^GSPC``, ``005930.KS``.
        start, end : None is all that Yahoo has, of the last 99 years.

        Raises
        ------
        UnknownTickerError, NoPricesError, RefusedError
            Yahoo does not know the ticker, has no finished session in the range, or will not say.
        OfflineError
            Yahoo's name cannot be resolved: this machine is not connected.
        RateLimitedError, NetworkError, GarbageError
            Worth another try.
        """
        if re.search(r"[^!-~]|[/?#%\\]|^\.+$", ticker):  # would ask for another address
            raise _unknown(ticker)
        now = calendars.now()
        oldest = _seconds(now - pd.DateOffset(years=_YEARS))
        # Days begin up to 14 hours before they do in Greenwich, and end up to 12 hours after.
        begin = max(_seconds(start) - _DAY, oldest) if start else oldest
        until = min(_seconds(end) + 2 * _DAY, _seconds(now)) if end else _seconds(now)
        if until <= begin:
            raise _no_prices(ticker)
        query = {"period1": begin, "period2": until, "interval": "1d", "events": "div,splits"}
        try:
            response = self._data.get(_CHART + ticker, params=query, timeout=TIMEOUT)
        except _Final as refusal:
            response = refusal.answer
        except ForecastError:
            raise
        except Exception as error:  # what yfinance does for a cookie is unguarded
            raise _classified(ticker, error) from error
        return read(ticker, response.status_code, response.content, start, end, now)

    def earnings(self, ticker: str, zone: str | None) -> pd.DataFrame:
        """Return the days of a company's earnings, past and announced or expected, by one request.

        Parameters
        ----------
        zone : that of its exchange, such as ``Europe/London``; Yahoo has the clocks of New York.

        Returns
        -------
        An events frame without ``first_seen``; no rows where Yahoo lists none, or shows another page.

        Raises
        ------
        RefusedError, GarbageError
            Yahoo will not say, or its page is not as yfinance knows it.
        OfflineError
            Yahoo's name cannot be resolved: this machine is not connected.
        RateLimitedError, NetworkError
            Worth another try.
        """
        import yfinance

        self._data.cache_get.cache_clear()  # or another try would be given the same page
        try:
            company = yfinance.Ticker(ticker, session=self._session)
            table = company.get_earnings_dates(limit=_ANNOUNCEMENTS)
            return announced(ticker, () if table is None else table.index, zone)
        except ForecastError:
            raise
        except ImportError as error:  # of another parser, tried where the first one finds nothing
            raise _garbage(ticker, "a table that cannot be read", "earnings dates") from error
        except Exception as error:  # whatever a page leads yfinance to
            raise _classified(ticker, error, "earnings dates") from error


def announced(ticker: str, stamps: Iterable[pd.Timestamp], zone: str | None) -> pd.DataFrame:
    """Return the events frame of announcements at some instants, each in a zone of its own.

    Midnight stands for a day alone, which is then that of the zone it is written in.
    """
    local = []
    for stamp in stamps:
        if pd.isna(stamp):
            continue
        wall = stamp.tz_localize(None)
        if stamp.tz is not None and zone and wall != wall.normalize():
            wall = stamp.tz_convert(zone).tz_localize(None)
        local.append(wall)
    times = pd.Series(local, dtype="datetime64[us]")
    frame = events.empty().reindex(times.index).assign(ticker=ticker, date=times.dt.normalize())
    frame = frame.assign(kind=events.EARNINGS, time=events.timing(ticker, times, zone))
    try:
        return events.check(events.united(frame))
    except EventsError as error:
        raise _garbage(ticker, str(error), "earnings dates") from error


def load(
    tickers: Sequence[str], start: date | None = None, end: date | None = None
) -> list[tuple[str, pd.DataFrame | ForecastError]]:
    """Return the prices of each ticker, by one request each, one after the other.

    :mod:`forecaster.data.update` asks in parallel, tries again, and stores what it gets.

    Returns
    -------
    One (ticker, outcome) for each different ticker, in the order given: the ``frame`` of an
    :class:`Answer`, or the error that this ticker met.

    Raises
    ------
    UsageError : no ticker was given.
    """
    names = list(dict.fromkeys(name for ticker in tickers if (name := ticker.strip().upper())))
    if not names:
        raise UsageError("expected at least one ticker, got none; name one, such as AAPL")
    yahoo, outcomes = Yahoo(), []
    for name in names:
        outcome: pd.DataFrame | ForecastError
        try:
            outcome = yahoo.answer(name, start, end).frame
        except ForecastError as error:
            outcome = error
        outcomes.append((name, outcome))
    return outcomes


class _Session(requests.Session[requests.Response]):
    """The session yfinance would make, with a gate, and with no request that waits for longer.

    yfinance asks for the cookie before every chart unless its database holds one. Here the first
    answer stands until a chart is refused.
    """

    def __init__(self, gate: Gate, pause: float):
        # Each piece of an answer waits for Python's lock, which other threads hold while they store.
        super().__init__(impersonate="chrome", curl_options={CurlOpt.BUFFERSIZE: _PIECE})
        self._gate, self._pause = gate, pause
        self._cookie: requests.Response | None = None

    def request(self, method: Any, url: str, *args: Any, **options: Any) -> Any:
        if url == _COOKIE and self._cookie is not None:
            return self._cookie
        self._gate.wait()
        options["timeout"] = min(options.get("timeout", TIMEOUT), TIMEOUT)
        answer = super().request(method, url, *args, **options)
        status = answer.status_code
        if url.startswith(_CALENDAR) and status >= 400:
            self._refuse_calendar(url, status)
        if url == _COOKIE:
            self._cookie = answer
        elif url.startswith(_CHART) and status >= 400:
            self._cookie = None
            # Not of the crumb, without which charts are still given.
            if status == _TOO_MANY:
                self._gate.close(self._pause)
                raise _limited(url.removeprefix(_CHART))
            if status < 500 and status not in _ANOTHER_COOKIE:
                raise _Final(answer)
        return answer

    def _refuse_calendar(self, url: str, status: int) -> None:
        """Raise what a calendar that is not given means; yfinance would read it as an empty one."""
        ticker = parse_qs(urlsplit(url).query)["symbol"][-1]
        if status == _TOO_MANY:
            self._gate.close(self._pause)
            raise _limited(ticker, "earnings dates")
        if status >= 500:
            raise NetworkError(
                f"{ticker}: expected earnings dates, Yahoo's server is in trouble (HTTP {status}); "
                "fetch again later"
            )
        raise RefusedError(
            f"{ticker}: expected earnings dates, Yahoo refuses to give them (HTTP {status}); "
            "fetch again another day"
        )


def read(
    ticker: str,
    status: int,
    body: bytes,
    start: date | None,
    end: date | None,
    now: pd.Timestamp,
) -> Answer:
    """Return what a chart received at ``now`` says; the errors are those of :meth:`Yahoo.answer`."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    _require_chart(ticker, status, _complaint(document))
    if not isinstance(document, dict):
        raise _garbage(ticker, "a page, or half a document, where JSON was expected")
    try:
        result = document["chart"]["result"][0]
        meta = result["meta"]
        zone = ZoneInfo(meta["exchangeTimezoneName"])
        if not result.get("timestamp"):
            raise _no_prices(ticker)
        frame = _rows(result, zone)
        session = _open_session(ticker, meta, zone, now)
    except ForecastError:
        raise
    except Exception as error:  # whatever is not where it should be, or not what it should be
        raise _garbage(ticker, f"{type(error).__name__}: {error}") from error
    days = frame["date"].to_numpy()
    last = min(now.tz_convert(zone).date(), end or date.max)
    inside = (days >= np.datetime64(start or date.min)) & (days <= np.datetime64(last))
    closed = days < np.datetime64(session or date.max)
    if not (inside & closed).all():
        frame = frame[inside & closed].reset_index(drop=True)
    if frame.empty:
        raise _no_prices(ticker)
    frame.insert(0, "ticker", ticker)
    notes = {
        "name": str(meta.get("longName") or meta.get("shortName") or ""),
        "instrument": str(meta.get("instrumentType") or ""),
        "currency": str(meta.get("currency") or ""),
        "exchange": str(meta.get("fullExchangeName") or meta.get("exchangeName") or ""),
        "timezone": zone.key,
        "yfinance": _version(),
    }
    return Answer(frame, session if (inside & ~closed).any() else None, notes)


def _require_chart(ticker: str, status: int, complaint: str) -> None:
    """Raise what an answer without a chart means."""
    if status == 404 or "no data found" in complaint.lower():
        raise _unknown(ticker)
    if status == _TOO_MANY:
        raise _limited(ticker)
    if "data doesn't exist" in complaint.lower():
        raise _no_prices(ticker)
    cause = f"HTTP {status} {complaint}".strip()
    if 400 <= status < 500:
        raise RefusedError(
            f"{ticker}: expected prices, Yahoo refuses to give them ({one_line(cause)}); "
            "check the ticker and the dates, or fetch again another day"
        )
    if status != 200 or complaint:
        raise _garbage(ticker, cause)


@functools.cache
def _version() -> str:
    return version("yfinance")


def _complaint(document: Any) -> str:
    """Return what Yahoo says went wrong; empty where it says nothing."""
    for part in document.values() if isinstance(document, dict) else ():
        error = part.get("error") if isinstance(part, dict) else None
        if isinstance(error, dict):
            return str(error.get("description") or error.get("code") or error)
        if error:
            return str(error)
    return ""


def _rows(result: dict[str, Any], zone: ZoneInfo) -> pd.DataFrame:
    """The bars of a chart by date, whatever they hold, and the actions of each."""
    times = _numbers(result["timestamp"])
    quote, adjusted = result["indicators"]["quote"][0], result["indicators"].get("adjclose")
    values = {name: _numbers(quote[name]) for name in _FIELDS}
    values["adj_close"] = _numbers(adjusted[0]["adjclose"]) if adjusted else values["close"]
    for name, column in values.items():
        if len(column) != len(times):
            raise ValueError(f"{len(column)} values of {name} for {len(times)} times")
    dates = _dates(times, zone)
    order = np.lexsort([times, dates.asi8])  # of two bars of a day, the later one comes last
    dates, values = dates[order], {name: column[order] for name, column in values.items()}
    events = result.get("events") or {}
    paid = [(it["date"], it["amount"]) for it in (events.get("dividends") or {}).values()]
    split = [
        (it["date"], it["numerator"] / it["denominator"])
        for it in (events.get("splits") or {}).values()
    ]
    close = values["close"]
    usable = np.isfinite(close) & (close > 0)
    # Of a date that comes twice, cleaning keeps the last row.
    usable[:-1] &= dates[:-1] != dates[1:]
    columns = {name: values[name] for name in (*_FIELDS[:4], "adj_close", "volume")}
    actions = {
        "dividends": _placed(dates, usable, paid, zone, np.add, 0.0),
        "splits": _placed(dates, usable, split, zone, np.multiply, 1.0),
    }
    actions["splits"][actions["splits"] == 1] = 0
    return pd.DataFrame({"date": dates} | columns | actions)


def _placed(
    dates: pd.DatetimeIndex,
    usable: np.ndarray,
    events: list[tuple[Any, Any]],
    zone: ZoneInfo,
    together: np.ufunc,
    none: float,
) -> np.ndarray:
    """Amounts (rows,) at the first usable row on or after their date, ``none`` elsewhere.

    Those before the first row and after the last are left out.
    """
    placed = np.full(len(dates), none)
    rows = np.flatnonzero(usable)
    if events and len(rows):
        days = _dates(_numbers([at for at, _ in events]), zone)
        amounts = _numbers([amount for _, amount in events])
        where = dates[rows].searchsorted(days)
        known = (days >= dates[0]) & (where < len(rows)) & np.isfinite(amounts)
        together.at(placed, rows[where[known]], amounts[known])
    return placed


def _numbers(values: Any) -> np.ndarray:
    """Floats (n,) of a JSON list of numbers; NaN for null, and infinity also where it is a word."""
    if not isinstance(values, list):
        raise ValueError("expected a list")
    try:
        numbers = np.array(values, dtype=float)
    except OverflowError:
        numbers = np.array([_number(value) for value in values])
    if numbers.ndim != 1:
        raise ValueError("expected a list of numbers")
    return numbers


def _number(value: Any) -> float:
    if value is None:
        return np.nan
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return np.inf


def _dates(times: np.ndarray, zone: ZoneInfo) -> pd.DatetimeIndex:
    """Dates (n,) at the exchange of seconds (n,) from 1970."""
    if not ((times >= _EARLIEST) & (times <= _LATEST)).all():
        raise ValueError("a time is not between 1900 and 2100")
    stamps = pd.DatetimeIndex(times.astype("int64").astype("datetime64[s]"))
    local = stamps.tz_localize("UTC").tz_convert(zone).tz_localize(None)
    # Yahoo knows some changes of the clocks wrongly: a bar that opens an hour or two before
    # midnight is of the next day (yfinance, ``fix_Yahoo_dst_issue``).
    early = (local.minute == 0) & local.hour.isin([22, 23])
    return (local + pd.to_timedelta(np.where(early, 2, 0), "h")).normalize().as_unit("us")


def _open_session(
    ticker: str, meta: dict[str, Any], zone: ZoneInfo, now: pd.Timestamp
) -> date | None:
    """The date of the session that has not closed for good at ``now``; None if there is none."""
    if exchange(ticker) == CRYPTO or meta.get("instrumentType") == "CRYPTOCURRENCY":
        return now.tz_convert("UTC").date()
    if not meta.get("currentTradingPeriod"):
        return calendars.next_session(ticker, calendars.last_finished(ticker, now)).date.date()
    session = meta["currentTradingPeriod"]["regular"]
    begin, end = (_instant(session[name]) for name in ("start", "end"))
    # The clock of this ticker's quotes, which is late where they are delayed.
    clock = _instant(meta.get("regularMarketTime") or session["end"])
    if now >= end and not (begin < clock < end and now < end + SETTLING):
        return None
    return begin.tz_convert(zone).date()


def _instant(seconds: Any) -> pd.Timestamp:
    if not _EARLIEST <= seconds <= _LATEST:
        raise ValueError("a time is not between 1900 and 2100")
    return pd.Timestamp(seconds, unit="s", tz="UTC")


def _seconds(day: date) -> int:
    stamp = pd.Timestamp(day)
    return int((stamp if stamp.tz else stamp.tz_localize("UTC")).timestamp())


def _classified(ticker: str, error: Exception, wanted: str = "prices") -> ForecastError:
    """Return the error of ours that what yfinance or curl raised amounts to."""
    cause = f"{type(error).__name__}: {error}".partition(" See https://curl.se")[0]
    if getattr(error, "code", None) in _UNRESOLVED or "Resolving timed out" in cause:
        return OfflineError(
            f"{ticker}: expected {wanted}, the name of Yahoo's server cannot be resolved "
            f"({one_line(cause)}); connect this machine to the internet and fetch again"
        )
    if isinstance(error, OSError) and not isinstance(error, ValueError):  # ValueError: bad JSON
        return NetworkError(
            f"{ticker}: expected {wanted}, could not reach Yahoo ({one_line(cause)}); "
            "check the connection and fetch again"
        )
    return _garbage(ticker, cause, wanted)


def _limited(ticker: str, wanted: str = "prices") -> RateLimitedError:
    return RateLimitedError(
        f"{ticker}: expected {wanted}, Yahoo is asked too often (429); "
        "wait some minutes and fetch again"
    )


def _garbage(ticker: str, cause: str, wanted: str = "prices") -> GarbageError:
    return GarbageError(
        f"{ticker}: expected {wanted}, Yahoo's answer made no sense ({one_line(cause)}); "
        "fetch again later"
    )


def _unknown(ticker: str) -> UnknownTickerError:
    return UnknownTickerError(
        f"{ticker}: expected a ticker, Yahoo knows none of this name; "
        "check the spelling (BRK-B, ^GSPC, BTC-USD, 005930.KS)"
    )


def _no_prices(ticker: str) -> NoPricesError:
    return NoPricesError(
        f"{ticker}: expected prices, Yahoo has none of a finished session in this range; "
        "ask for other dates"
    )
