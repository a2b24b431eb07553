"""The sessions of a ticker's exchange.

The days and hours come from the ``exchange_calendars`` package. Where it has no calendar of an
exchange for a year, the exchange is taken to trade on its usual days of the week, until midnight
UTC.

Making a calendar takes a quarter of a second, a fifth of a whole ``forecast predict``, so what was
made is kept in the user's cache folder. It can be deleted at any time.
"""

import functools
import re
import threading
import warnings
from collections.abc import Mapping
from contextlib import suppress
from datetime import date as Date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster import __version__, atomic
from forecaster.errors import HistoryError, StoreError

LONGEST_CLOSURE = np.timedelta64(14, "D")
"""No exchange closes for longer: what follows a longer gap is not the next session, but missing data."""

_NEW_YORK = "XNYS"
_CRYPTO = "24/7"
_CURRENCIES = "24/5"
_FUTURES = "CMES"

_SUFFIXES: Mapping[str, str] = {
    "AS": "XAMS",
    "AT": "ASEX",
    "AX": "XASX",
    "BA": "XBUE",
    "BD": "XBUD",
    "BE": "XFRA",
    "BK": "XBKK",
    "BM": "XFRA",
    "BO": "XBOM",
    "BR": "XBRU",
    "CBT": "CMES",
    "CL": "XBOG",
    "CME": "CMES",
    "CMX": "CMES",
    "CN": "XTSE",
    "CO": "XCSE",
    "DE": "XETR",
    "DU": "XDUS",
    "F": "XFRA",
    "HA": "XHAM",
    "HE": "XHEL",
    "HK": "XHKG",
    "HM": "XHAM",
    "IC": "XICE",
    "IL": "XLON",
    "IR": "XDUB",
    "IS": "XIST",
    "JK": "XIDX",
    "JO": "XJSE",
    "KL": "XKLS",
    "KQ": "XKRX",
    "KS": "XKRX",
    "L": "XLON",
    "LS": "XLIS",
    "MC": "XMAD",
    "ME": "XMOS",
    "MI": "XMIL",
    "MU": "XFRA",
    "MX": "XMEX",
    "NE": "XTSE",
    "NS": "XBOM",  # both Indian exchanges keep the same holidays
    "NYB": "IEPA",
    "NYM": "CMES",
    "NZ": "XNZE",
    "OL": "XOSL",
    "PA": "XPAR",
    "PR": "XPRA",
    "PS": "XPHS",
    "RG": "XRIS",
    "RO": "XBSE",
    "SA": "BVMF",
    "SG": "XSTU",
    "SI": "XSES",
    "SN": "XSGO",
    "SR": "XSAU",
    "SS": "XSHG",
    "ST": "XSTO",
    "SW": "XSWX",
    "SZ": "XSHG",  # Shenzhen closes on the days Shanghai does
    "T": "XTKS",
    "TA": "XTAE",
    "TI": "XMIL",
    "TL": "XTAL",
    "TO": "XTSE",
    "TW": "XTAI",
    "TWO": "XTAI",
    "V": "XTSE",
    "VI": "XWBO",
    "VS": "XLIT",
    "WA": "XWAR",
}

_INDICES: Mapping[str, str] = {
    "^AEX": "XAMS",
    "^AORD": "XASX",
    "^ATX": "XWBO",
    "^AXJO": "XASX",
    "^BFX": "XBRU",
    "^BSESN": "XBOM",
    "^BVSP": "BVMF",
    "^CDAXI": "XETR",
    "^CNXIT": "XBOM",
    "^FCHI": "XPAR",
    "^FTAS": "XLON",
    "^FTMC": "XLON",
    "^FTSE": "XLON",
    "^GDAXI": "XETR",
    "^GSPTSE": "XTSE",
    "^HSCE": "XHKG",
    "^HSI": "XHKG",
    "^IBEX": "XMAD",
    "^IPSA": "XSGO",
    "^ISEQ": "XDUB",
    "^JKSE": "XIDX",
    "^KLSE": "XKLS",
    "^KQ11": "XKRX",
    "^KS11": "XKRX",
    "^KS200": "XKRX",
    "^MDAXI": "XETR",
    "^MERV": "XBUE",
    "^MXX": "XMEX",
    "^N100": "XPAR",
    "^N225": "XTKS",
    "^NSEBANK": "XBOM",
    "^NSEI": "XBOM",
    "^NZ50": "XNZE",
    "^OMX": "XSTO",
    "^OMXC25": "XCSE",
    "^OMXH25": "XHEL",
    "^OSEAX": "XOSL",
    "^SDAXI": "XETR",
    "^SSMI": "XSWX",
    "^STI": "XSES",
    "^STOXX": "XETR",
    "^STOXX50E": "XETR",
    "^TECDAX": "XETR",
    "^TWII": "XTAI",
}

# A dash and a letter or two is a class of shares (BRK-B), a dash and a currency a crypto pair.
_CRYPTO_PAIR = re.compile(
    r"[A-Z0-9]+-(USD|EUR|GBP|JPY|CHF|CAD|AUD|NZD|CNY|HKD|SGD|INR|KRW|TWD|BRL|MXN|RUB|TRY|ZAR|SEK|"
    r"NOK|DKK|PLN|BTC|ETH|USDT|USDC)"
)

_MAKING = threading.Lock()

_FIRST, _LAST = pd.Timestamp("1900-01-01"), pd.Timestamp("2049-12-31")
_PACKAGE_FIRST = pd.Timestamp("1960-01-01")
# Tel Aviv changed its week in 2026; the package's account of the years before does not load.
_STARTS: Mapping[str, pd.Timestamp] = {"XTAE": pd.Timestamp("2026-01-05")}
_WORKING_WEEK = "Mon Tue Wed Thu Fri"
_WEEKS: Mapping[str, str] = {"XTAE": "Sun Mon Tue Wed Thu", "XSAU": "Sun Mon Tue Wed Thu"}


def exchange(ticker: str) -> str:
    """The calendar of a ticker, as ``exchange_calendars`` names it; New York where unknown."""
    ticker = ticker.upper()
    if ticker in _INDICES:
        return _INDICES[ticker]
    if _CRYPTO_PAIR.fullmatch(ticker):
        return _CRYPTO
    if ticker.endswith("=X"):
        return _CURRENCIES
    if ticker.endswith("=F"):
        return _FUTURES
    return _SUFFIXES.get(ticker.rpartition(".")[2], _NEW_YORK) if "." in ticker else _NEW_YORK


def now() -> pd.Timestamp:
    """This instant, in UTC: the one clock by which anything is finished, due or stale."""
    return pd.Timestamp.now("UTC")


def next_session(ticker: str, date: Date) -> pd.Timestamp:
    """The first session of a ticker's exchange after ``date``.

    Raises
    ------
    HistoryError
        No session is known so late.
    """
    sessions = closes(exchange(ticker)).index
    after = int(sessions.searchsorted(pd.Timestamp(date), side="right"))
    if after == len(sessions):
        raise HistoryError(
            f"{ticker}: no trading calendar reaches beyond {pd.Timestamp(date):%Y-%m-%d}; "
            f"expected a date before {_LAST:%Y-%m-%d}"
        )
    return sessions[after]


def last_finished(ticker: str, now: pd.Timestamp) -> pd.Timestamp:
    """The last session of a ticker's exchange that has closed at ``now``, which has a time zone."""
    instants = closes(exchange(ticker))
    return instants.index[int(instants.searchsorted(now.tz_convert("UTC"), side="right")) - 1]


def sessions_after(ticker: str, date: Date, until: Date) -> int:
    """How many sessions of a ticker's exchange come after ``date`` and not after ``until``."""
    sessions = closes(exchange(ticker)).index
    first, last = sessions.searchsorted([pd.Timestamp(date), pd.Timestamp(until)], side="right")
    return max(0, int(last - first))


def sessions_between(ticker: str, first: Date, last: Date) -> pd.DatetimeIndex:
    """The sessions of a ticker's exchange from ``first`` to ``last``, both included."""
    sessions = pd.DatetimeIndex(closes(exchange(ticker)).index)
    begin = int(sessions.searchsorted(pd.Timestamp(first)))
    return sessions[begin : int(sessions.searchsorted(pd.Timestamp(last), side="right"))]


def closes(calendar: str) -> pd.Series:
    """Return the instant (UTC) at which each session of a calendar closes, by session."""
    with _MAKING:  # of several threads that want a calendar, one makes it
        return _remembered(calendar)


@functools.cache
def _remembered(calendar: str) -> pd.Series:
    """The instant (UTC) at which each session closes, by session, of every year at once.

    A calendar costs as much for a year as for a century: its holidays are what takes the time.
    """
    path = _kept(calendar)
    # Whatever is wrong with what was kept, it can be made again.
    with suppress(OSError, EOFError, ValueError):
        sessions, closes = np.load(
            path, allow_pickle=False
        )  # (2, sessions), microseconds from 1970
        return _series(sessions, closes)
    made = _made(calendar)
    with suppress(StoreError), atomic.replacing(path) as temporary, temporary.open("wb") as file:
        instants = [made.index.to_numpy(), made.dt.tz_localize(None).to_numpy()]
        np.save(file, np.stack(instants).astype("datetime64[us]").astype("int64"))
    return made


def _kept(calendar: str) -> Path:
    """Where the closes of a calendar are kept; another version of either package makes its own."""
    from platformdirs import user_cache_path

    name = f"{calendar.replace('/', '-')}-{version('exchange_calendars')}-{__version__}.npy"
    return user_cache_path("forecaster", appauthor=False) / "calendars" / name


def _series(sessions: np.ndarray, closes: np.ndarray) -> pd.Series:
    index = pd.DatetimeIndex(sessions.astype("datetime64[us]"))
    return pd.Series(closes.astype("datetime64[us]"), index=index).dt.tz_localize("UTC")


def _made(calendar: str) -> pd.Series:
    days = pd.bdate_range(_FIRST, _LAST, freq="C", weekmask=_WEEKS.get(calendar, _WORKING_WEEK))
    usual = pd.Series((days + pd.Timedelta(days=1)).tz_localize("UTC"), index=days)
    known = _package_closes(calendar)
    if known is None:
        return usual
    unknown = (days < known.index[0]) | (days > known.index[-1])
    return pd.concat([usual[unknown], known]).sort_index()


def _package_closes(calendar: str) -> pd.Series | None:
    """The closes that ``exchange_calendars`` knows; None where it cannot make the calendar."""
    from exchange_calendars import get_calendar

    start, end = _STARTS.get(calendar, _PACKAGE_FIRST), _LAST
    # What the package does in ways that pandas will give up is the package's to mend.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            try:
                schedule = get_calendar(calendar, start=start, end=end).schedule
            except ValueError:  # it knows fewer years
                bounds = get_calendar(calendar)
                start, end = bounds.bound_min() or start, bounds.bound_max() or end
                schedule = get_calendar(calendar, start=start, end=end).schedule
        except (ValueError, NotImplementedError):
            return None
    instants = schedule["close"].astype("datetime64[us, UTC]")
    instants.index = instants.index.astype("datetime64[us]")
    return instants
