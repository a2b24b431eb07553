"""Daily prices from Yahoo Finance, asked through yfinance one ticker at a time."""

import logging
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from types import ModuleType
from typing import Any

import pandas as pd

from forecaster.errors import (
    ForecastError,
    NetworkError,
    RateLimitedError,
    SourceError,
    UnknownTickerError,
    UsageError,
)

COLUMNS = {
    "Open": "open",
    "High": "high",
    "Low": "low",
    "Close": "close",
    "Adj Close": "adj_close",
    "Volume": "volume",
}
TIMEOUT = 10.0  # seconds to wait for one history
# Quotes of many exchanges are a quarter of an hour old, and a closing auction takes its time.
SETTLING = pd.Timedelta(minutes=30)
_CHART = "https://query2.finance.yahoo.com/v8/finance/chart/"


def load(
    tickers: Sequence[str], start: date | None = None, end: date | None = None
) -> list[tuple[str, pd.DataFrame | ForecastError]]:
    """Daily prices of each ticker from ``start`` to ``end``, or the reason why there are none.

    Parameters
    ----------
    tickers : Yahoo's names in any case, such as ``AAPL``, ``BRK-B``, ``^GSPC``, ``005930.KS``.
    start, end : first and last date wanted, both included; None is all that Yahoo has.

    Returns
    -------
    One (ticker, outcome) for each different ticker, in the order given. An outcome is a frame
    with the columns of the prices frame (not yet checked; finished sessions only; dates are
    those of the exchange), or the error that this ticker met: UnknownTickerError,
    RateLimitedError, NetworkError, or SourceError where there are no prices in the range.

    Raises
    ------
    UsageError : no ticker was given.
    """
    names = list(dict.fromkeys(name for ticker in tickers if (name := ticker.strip().upper())))
    if not names:
        raise UsageError("expected at least one ticker, got none; name one, such as AAPL")
    with _quiet_yfinance() as yf:
        return [(name, _outcome(yf, name, start, end)) for name in names]


@contextmanager
def _quiet_yfinance() -> Iterator[ModuleType]:
    """Lend yfinance with its errors raised and its noise kept off the terminal."""
    with warnings.catch_warnings(action="ignore"):
        import yfinance as yf  # puts a warning filter of its own before ours
    logger = logging.getLogger("yfinance")
    debug = yf.config.debug
    before = logger.disabled, debug.hide_exceptions
    logger.disabled, debug.hide_exceptions = True, False
    try:
        with warnings.catch_warnings(action="ignore"):
            yield yf
    finally:
        logger.disabled, debug.hide_exceptions = before


def _outcome(
    yf: ModuleType, ticker: str, start: date | None, end: date | None
) -> pd.DataFrame | ForecastError:
    try:
        frame = _ask(yf, ticker, start, end)
    except ForecastError as error:
        return error
    except Exception as error:  # yfinance reads answers unguarded: garbage can raise anything
        return _classified(ticker, error)
    return _no_prices(ticker) if frame.empty else frame


def _ask(yf: ModuleType, ticker: str, start: date | None, end: date | None) -> pd.DataFrame:
    """Finished sessions of one ticker, in the columns of the prices frame."""
    from yfinance.data import YfData, requests
    from yfinance.exceptions import YFPricesMissingError, YFTzMissingError

    if re.search(r"[^!-~]|[/?#%\\]|^\.+$", ticker):  # would ask for another address
        raise _unknown(ticker)
    YfData.cache_get.cache_clear()  # it keeps bad answers as well as good ones
    stock = yf.Ticker(ticker)
    try:
        # "max" with a start or an end means up to it; without "max" no start means a month.
        raw = stock.history(
            period="max",
            interval="1d",
            start=start,
            end=end and end + timedelta(days=1),  # yfinance excludes its end
            auto_adjust=False,
            actions=False,
            timeout=TIMEOUT,
        )
    except (YFTzMissingError, requests.exceptions.HTTPError):
        # Yahoo refused the first look-up. yfinance does not say why, but has kept the answer.
        answer = YfData().cache_get(
            url=_CHART + ticker, params={"range": "1d", "interval": "1d"}, timeout=10
        )
        if answer.status_code == 404:
            raise _unknown(ticker) from None
        raise _senseless(ticker, f"HTTP {answer.status_code}") from None
    except YFPricesMissingError as error:
        said = str(error).lower()
        if "no data found" in said:
            raise _unknown(ticker) from None
        if "data doesn't exist" in said or "symbol" in stock.get_history_metadata():
            raise _no_prices(ticker) from None
        raise _senseless(
            ticker, getattr(error, "yahoo_reason", None) or "no reason, no prices"
        ) from None
    frame = raw.rename(columns=COLUMNS)[list(COLUMNS.values())].reset_index(drop=True)
    frame.insert(0, "ticker", ticker)
    frame.insert(1, "date", raw.index.tz_localize(None).normalize())
    return _finished(frame, stock.get_history_metadata())


def _finished(frame: pd.DataFrame, metadata: Any) -> pd.DataFrame:
    """Drop the bar of a session that is still open, or whose close has not settled."""
    session = metadata["currentTradingPeriod"]["regular"]
    if pd.Timestamp.now("UTC") >= session["end"] + SETTLING:
        return frame
    return frame[frame["date"] < session["start"].tz_localize(None).normalize()]


def _classified(ticker: str, error: Exception) -> ForecastError:
    """Turn what yfinance raised into one of our errors."""
    from yfinance.exceptions import YFRateLimitError

    if isinstance(error, YFRateLimitError):
        return RateLimitedError(
            f"{ticker}: expected prices, Yahoo answered that it is asked too often (429); "
            "wait some minutes and fetch again"
        )
    said = f"{type(error).__name__}: {error}".partition(" See https://curl.se")[0]
    if isinstance(error, OSError) and not isinstance(error, ValueError):  # ValueError: bad JSON
        return NetworkError(
            f"{ticker}: expected prices, could not reach Yahoo ({_line(said)}); "
            "check the connection and fetch again"
        )
    return _senseless(ticker, said)


def _senseless(ticker: str, said: str) -> NetworkError:
    return NetworkError(
        f"{ticker}: expected prices, Yahoo's answer made no sense ({_line(said)}); "
        "fetch again later"
    )


def _unknown(ticker: str) -> UnknownTickerError:
    return UnknownTickerError(
        f"{ticker}: expected a ticker, Yahoo knows none of this name; "
        "check the spelling (BRK-B, ^GSPC, BTC-USD, 005930.KS)"
    )


def _no_prices(ticker: str) -> SourceError:
    return SourceError(
        f"{ticker}: expected prices, Yahoo has none of a finished session in this range; "
        "ask for other dates"
    )


def _line(text: str) -> str:
    return textwrap.shorten(text, 160, placeholder=" …")
