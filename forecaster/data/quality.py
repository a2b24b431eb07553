"""How sound stored prices are, ticker by ticker: what is missing, stale, frozen, motionless or leaps.

And how sound their earnings dates are: what is missing, comes again, or falls on a day of rest.
"""

from typing import Any

import numpy as np
import pandas as pd

from forecaster.data import adjustment, calendars, leaps, splits, strays, units
from forecaster.data.strays import FROZEN

STALE = 5
"""Sessions behind the exchange after which a history counts as stale."""

MONTHS, YEAR = 60, 250
"""Sessions over which a price is asked whether it moves."""

LONGEST_SILENCE = np.timedelta64(365, "D")
"""Companies announce earnings four times a year, some twice, none less than once."""

CROWDED = np.timedelta64(20, "D")
"""Two earnings dates so near each other are probably one, that moved or that two sources differ on."""

_MOTIONLESS = 0.9
"""The share of sessions without a move from which a price counts as motionless."""
_SHORTEST, _CHANCE = 10, 1e-4
"""A price that stands still for that many sessions at least, and hardly by chance, is suspended."""
_PEG, _WIDEST_PEG, _REVERTS = 0.003, 0.02, 5.0
"""The span of a pegged price over a year; or a wider one of so few daily volatilities that the price
must come back to a level."""


def check(
    frame: pd.DataFrame,
    now: pd.Timestamp,
    currency: str | None = None,
    instrument: str | None = None,
) -> dict[str, Any]:
    """Return the state of one ticker's prices at an instant with a time zone.

    Parameters
    ----------
    frame : a prices frame of one ticker, with ``dividends`` and ``splits`` where known.
    currency : what its prices are in, where known.
    instrument : what Yahoo calls its kind, where known.

    Returns
    -------
    ``ticker``, ``first``, ``last`` and ``rows``; ``missing``, sessions of the exchange within its
    dates without a row; ``extra``, rows on days that the calendar says were none; ``behind``,
    finished sessions since the last row; ``next``, the session after the last row, and
    ``next_is_guess``, whether no calendar says so; ``calendar_is_guess``, whether all sessions are
    guessed from the history's weekdays; ``stale``, whether they are more than ``STALE``;
    ``frozen``, rows in a run of ``FROZEN`` or more of one close without trade; ``leaps``, returns
    that stand out of the ticker's own volatility (:func:`forecaster.data.leaps.leaps`) and no split
    explains, ``leap_dates`` and ``leap_returns``, theirs; ``unapplied``, splits that the prices lack;
    ``unexplained``, steps of the adjusted close that no dividend makes; ``unadjusted``, dividends of
    a history whose adjusted close is its close; ``motion``, why a forecast of it would mean little,
    if so (:func:`motion`); ``no_range`` and ``no_volume``, shares of rows without high and low, or
    volume; ``gap``, the most days between two rows; ``currency``, and ``hundredths``, whether it is
    a hundredth of a unit; and ``score``, from 100 (sound) to 0: less a point for each percent of
    rows missing, frozen or extra, 5 a leap or unapplied split up to 50, 1 an unexplained adjustment
    up to 10, and 10 if stale.
    """
    ticker, rows = str(frame["ticker"].iloc[0]), len(frame)
    frame = frame.reindex(columns=[*frame, *({"dividends", "splits"} - set(frame))])
    dates = pd.DatetimeIndex(frame["date"])
    expected = calendars.sessions_between(ticker, dates[0], dates[-1], dates)
    missing, extra = len(expected.difference(dates)), len(dates.difference(expected))
    due = calendars.last_finished(ticker, now, dates)
    behind = calendars.sessions_after(ticker, dates[-1], due, dates)
    following = calendars.next_session(ticker, dates[-1], dates)
    frozen = _frozen(frame["close"].to_numpy(), frame["volume"].to_numpy(), instrument)
    moves = _moves(frame)
    lost = 100 * (missing / max(len(expected), 1) + (frozen + extra) / rows)
    lost += min(5 * (moves["leaps"] + moves["unapplied"]), 50) + min(moves["unexplained"], 10)
    minor = units.MINOR.get(currency or "")
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
        **moves,
        "motion": motion(frame),
        "no_range": float(frame[["high", "low"]].isna().any(axis=1).mean()),
        "no_volume": float(frame["volume"].isna().mean()),
        "gap": _longest_gap(dates),
        "currency": currency,
        "hundredths": minor is not None and minor.ratio == 100,
        "score": round(max(100 - lost - (10 if behind > STALE else 0), 0.0), 1),
    }


def check_events(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the state of the earnings dates of one ticker.

    Parameters
    ----------
    frame : an events frame of one ticker, which may have no rows.

    Returns
    -------
    ``rows``; ``untimed``, how many of them are known by their day alone; ``gaps``, the dates before
    more than a year without any; ``crowded``, those within ``CROWDED`` after another one; and
    ``weekend``, those on a Saturday or a Sunday.
    """
    days = frame["date"].to_numpy()
    steps = np.diff(days)

    def listed(which: np.ndarray) -> list[str]:
        return [f"{day:%Y-%m-%d}" for day in pd.DatetimeIndex(days[which])]

    return {
        "rows": len(frame),
        "untimed": int(frame["time"].isna().sum()),
        "gaps": listed(np.append(steps > LONGEST_SILENCE, False)[: len(days)]),
        "crowded": listed(np.append(False, steps <= CROWDED)[: len(days)]),
        "weekend": listed(frame["date"].dt.day_of_week.to_numpy() >= 5),
    }


def motion(frame: pd.DataFrame) -> str | None:
    """Return why a price moves too little for a forecast of it to mean much; None if it does not.

    Parameters
    ----------
    frame : ``date`` and ``adj_close`` of one ticker, in order; the last ``YEAR`` rows are enough.
    """
    price = frame["adj_close"].to_numpy(dtype=float)
    still = np.diff(price) == 0
    if len(still) < _SHORTEST:
        return None
    unmoved = len(still) - (int(np.flatnonzero(~still)[-1]) + 1 if (~still).any() else 0)
    before = still[: len(still) - unmoved]
    share = before.mean() if len(before) else 1.0
    if unmoved >= _SHORTEST and (not len(before) or share**unmoved < _CHANCE):
        since = pd.Timestamp(frame["date"].iloc[-1 - unmoved])
        return (
            f"the price has stood still for {unmoved:,} sessions, since {since:%Y-%m-%d} (suspended, "
            "or filled forward): a forecast of it means nothing"
        )
    if still[-MONTHS:].mean() >= _MOTIONLESS:
        moved = int((~still[-MONTHS:]).sum())
        return (
            f"the price has moved on {moved} of its last {len(still[-MONTHS:])} sessions: its "
            "volatility, and with it the forecast, means little"
        )
    year = price[-YEAR:]
    if _least_span(year) >= _WIDEST_PEG:  # nearly always, and a quantile takes ten times as long
        return None
    low, high = np.quantile(year, [0.05, 0.95])
    span, usual = high / low - 1, float(np.std(leaps.returns(year)))
    if len(year) >= MONTHS and (span < _PEG or span < min(_WIDEST_PEG, _REVERTS * usual)):
        return (
            f"the price has kept within {100 * span:.1g}% for {len(year)} sessions (pegged): its "
            "intervals do not hold the risk that the peg breaks"
        )
    return None


def _least_span(price: np.ndarray) -> float:
    """Return what the span between the quantiles at 5% and 95% is not below, by the prices within them."""
    ordered, last = np.sort(price), len(price) - 1
    return float(ordered[int(0.95 * last)] / ordered[int(np.ceil(0.05 * last))] - 1)


def _moves(frame: pd.DataFrame) -> dict[str, Any]:
    """What the returns and the adjustments of a ticker's prices say."""
    dates = pd.DatetimeIndex(frame["date"])
    close, adj_close = frame["close"].to_numpy(), frame["adj_close"].to_numpy()
    paid, ratio = frame["dividends"].to_numpy(), frame["splits"].to_numpy()
    ratio = np.where(ratio > 0, ratio, 1.0)
    with np.errstate(invalid="ignore"):
        intraday = np.log(close / frame["open"].to_numpy())
    lacking = splits.unapplied(adj_close, ratio, intraday)
    lacking &= np.abs(np.log(ratio)) > splits.FINEST * leaps.volatility(adj_close)
    leap = leaps.leaps(adj_close) & ~lacking  # a split that is applied leaves no leap
    own = not np.array_equal(close, adj_close)
    return {
        "leaps": int(leap.sum()),
        "leap_dates": [f"{day:%Y-%m-%d}" for day in dates[leap]],
        "leap_returns": [round(it, 4) for it in np.expm1(leaps.returns(adj_close)[leap]).tolist()],
        "unapplied": int(lacking.sum()),
        "unexplained": int(adjustment.unexplained(close, adj_close, paid).sum()) if own else 0,
        "unadjusted": 0 if own else int((np.nan_to_num(paid[1:]) > 0).sum()),
    }


def _frozen(close: np.ndarray, volume: np.ndarray, instrument: str | None) -> int:
    """Count the rows of runs of one close; where volume is known, of runs that nobody traded at."""
    known = ~np.isnan(volume)
    if known.any() and not strays.is_counted(close, volume, instrument):
        return 0  # a fund's value of two decimals stands still for a week
    begins = np.flatnonzero((np.diff(close) != 0) | (volume[1:] > 0)) + 1
    lengths = np.diff([0, *begins, len(close)])
    return int(lengths[lengths >= FROZEN].sum())


def _longest_gap(dates: pd.DatetimeIndex) -> int:
    days = np.diff(dates.to_numpy().astype("datetime64[D]").astype(np.int64))
    return int(days.max(initial=0))
