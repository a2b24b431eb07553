"""How sound stored prices are, ticker by ticker: what is missing, stale, frozen or leaps."""

from typing import Any

import numpy as np
import pandas as pd

from forecaster import calendars
from forecaster.prices import log_returns

LEAP = 0.5
"""A log return beyond this without a dividend or split to explain it is worth a look."""

STALE = 5
"""Sessions behind the exchange after which a history counts as stale."""

FROZEN = 5
"""Sessions of one close in a row that count as frozen."""


def check(frame: pd.DataFrame, now: pd.Timestamp) -> pd.DataFrame:
    """The state of each ticker of a prices frame at an instant with a time zone.

    Returns
    -------
    A row a ticker: first, last and rows; ``missing``, sessions of the exchange within its dates
    without a row; ``extra``, rows on days that the calendar says were none; ``behind``, finished
    sessions since the last row; ``frozen``, rows in a run of ``FROZEN`` or more of one close;
    ``leaps``, log returns beyond ``LEAP``; ``no_range`` and ``no_volume``, shares of rows without
    high and low, or volume; ``gap``, the most days between two rows; and ``score``, from 100 (sound)
    to 0: less a point for each percent of rows missing, frozen or extra, 5 a leap up to 50, and 10
    if stale.
    """
    return pd.DataFrame(
        [_checked(str(ticker), group, now) for ticker, group in frame.groupby("ticker", sort=True)]
    )


def _checked(ticker: str, group: pd.DataFrame, now: pd.Timestamp) -> dict[str, Any]:
    dates = pd.DatetimeIndex(group["date"])
    expected = calendars.sessions_between(ticker, dates[0], dates[-1])
    missing, extra = len(expected.difference(dates)), len(dates.difference(expected))
    due = calendars.last_finished(ticker, now)
    behind = calendars.sessions_after(ticker, dates[-1], due)
    close, rows = group["close"].to_numpy(), len(group)
    frozen = _frozen(close)
    leaps = int((np.abs(log_returns(group["adj_close"].to_numpy())[1:]) > LEAP).sum())
    lost = 100 * (missing / max(len(expected), 1) + (frozen + extra) / rows)
    score = 100 - lost - min(5 * leaps, 50) - (10 if behind > STALE else 0)
    return {
        "ticker": ticker,
        "first": dates[0],
        "last": dates[-1],
        "rows": rows,
        "missing": missing,
        "extra": extra,
        "behind": behind,
        "frozen": frozen,
        "leaps": leaps,
        "no_range": float(group[["high", "low"]].isna().any(axis=1).mean()),
        "no_volume": float(group["volume"].isna().mean()),
        "gap": _longest_gap(dates),
        "score": round(max(score, 0.0), 1),
    }


def _frozen(close: np.ndarray) -> int:
    runs = np.split(close, np.flatnonzero(np.diff(close) != 0) + 1)
    return sum(len(run) for run in runs if len(run) >= FROZEN)


def _longest_gap(dates: pd.DatetimeIndex) -> int:
    days = np.diff(dates.to_numpy().astype("datetime64[D]").astype(np.int64))
    return int(days.max(initial=0))
