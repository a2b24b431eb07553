"""How sound stored prices are, ticker by ticker: what is missing, stale, frozen or leaps."""

from typing import Any

import numpy as np
import pandas as pd

from forecaster.data import adjustment, calendars
from forecaster.data.prices import log_returns

LEAP = 0.5
"""A log return beyond this without a split to explain it is worth a look."""

STALE = 5
"""Sessions behind the exchange after which a history counts as stale."""

FROZEN = 5
"""Sessions of one close in a row that count as frozen."""

HUNDREDTHS = frozenset({"GBp", "GBX", "ZAc", "ZAC", "ILA"})
"""What Yahoo calls pence, cents of the rand and agorot: prices are in a hundredth of the unit."""


def check(frame: pd.DataFrame, now: pd.Timestamp, currency: str | None = None) -> dict[str, Any]:
    """The state of one ticker's prices at an instant with a time zone.

    Parameters
    ----------
    frame : a prices frame of one ticker, with ``dividends`` and ``splits`` where known.
    currency : what its prices are in, where known.

    Returns
    -------
    ``ticker``, ``first``, ``last`` and ``rows``; ``missing``, sessions of the exchange within its
    dates without a row; ``extra``, rows on days that the calendar says were none; ``behind``,
    finished sessions since the last row; ``next``, the session after the last row, and
    ``next_is_guess``, whether no calendar says so; ``calendar_is_guess``, whether all sessions are
    guessed from the history's weekdays; ``stale``, whether they are more than ``STALE``;
    ``frozen``, rows in a run of ``FROZEN`` or more of one close; ``leaps``, log returns beyond
    ``LEAP`` without a split, and ``leap_dates``, theirs; ``unapplied``, those on the day of a split,
    which should leave none; ``unexplained``, steps of the adjusted close that no dividend makes;
    ``no_range`` and ``no_volume``, shares of rows without high and low, or volume; ``gap``, the most
    days between two rows; ``currency``, and ``hundredths``, whether it is a hundredth of a unit; and
    ``score``, from 100 (sound) to 0: less a point for each percent of rows missing, frozen or extra,
    5 a leap or unapplied split up to 50, 1 an unexplained adjustment up to 10, and 10 if stale.
    """
    ticker, rows = str(frame["ticker"].iloc[0]), len(frame)
    frame = frame.reindex(columns=[*frame, *({"dividends", "splits"} - set(frame))])
    dates = pd.DatetimeIndex(frame["date"])
    close, adj_close = frame["close"].to_numpy(), frame["adj_close"].to_numpy()
    expected = calendars.sessions_between(ticker, dates[0], dates[-1], dates)
    missing, extra = len(expected.difference(dates)), len(dates.difference(expected))
    due = calendars.last_finished(ticker, now, dates)
    behind = calendars.sessions_after(ticker, dates[-1], due, dates)
    following = calendars.next_session(ticker, dates[-1], dates)
    frozen = _frozen(close)
    moved, split = np.abs(log_returns(adj_close)) > LEAP, frame["splits"].to_numpy() > 0
    leaps, unapplied = int((moved & ~split).sum()), int((moved & split).sum())
    unexplained = adjustment.unexplained(close, adj_close, frame["dividends"].to_numpy())
    lost = 100 * (missing / max(len(expected), 1) + (frozen + extra) / rows)
    lost += min(5 * (leaps + unapplied), 50) + min(int(unexplained.sum()), 10)
    return {
        "ticker": ticker,
        "first": f"{dates[0]:%Y-%m-%d}",
        "last": f"{dates[-1]:%Y-%m-%d}",
        "rows": rows,
        "missing": missing,
        "extra": extra,
        "behind": behind,
        "next": f"{following.date:%Y-%m-%d}",
        "next_is_guess": not following.certain,
        "calendar_is_guess": calendars.is_guessed(ticker, dates),
        "stale": behind > STALE,
        "frozen": frozen,
        "leaps": leaps,
        "leap_dates": [f"{day:%Y-%m-%d}" for day in dates[moved & ~split]],
        "unapplied": unapplied,
        "unexplained": int(unexplained.sum()),
        "no_range": float(frame[["high", "low"]].isna().any(axis=1).mean()),
        "no_volume": float(frame["volume"].isna().mean()),
        "gap": _longest_gap(dates),
        "currency": currency,
        "hundredths": currency in HUNDREDTHS,
        "score": round(max(100 - lost - (10 if behind > STALE else 0), 0.0), 1),
    }


def _frozen(close: np.ndarray) -> int:
    runs = np.split(close, np.flatnonzero(np.diff(close) != 0) + 1)
    return sum(len(run) for run in runs if len(run) >= FROZEN)


def _longest_gap(dates: pd.DatetimeIndex) -> int:
    days = np.diff(dates.to_numpy().astype("datetime64[D]").astype(np.int64))
    return int(days.max(initial=0))
