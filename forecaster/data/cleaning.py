"""Cleaning of what a source gives: every row that is rejected or repaired is named, with its rule.

========================  ====================================================================
rule                      what is done
========================  ====================================================================
no close                  rejected: the close is missing
close not finite          rejected
close not positive        rejected
out of range              rejected: a date still to come, a price below 1e-12 or above 1e12
duplicated                the last row of a date stays
pence and pounds          repaired: prices a hundred times those of most sessions, or a hundredth
unapplied split           repaired where the source gives the split that its prices leap by; kept,
                          and named, where the leap only looks like one
spike                     rejected: a price that leaps by more than ``LEAP`` and is back the next day
another instrument        rejected: a spell that begins and ends with leaps of more than ``MANY`` that
                          undo each other, and all before a leap of more than ``BREAK``, or of
                          ``MANY`` over ``LONGEST_CLOSURE``: a name that was used twice. What
                          comes after such a leap is rejected while it is not ``SETTLED`` long
leap                      kept, and named: any other return beyond ``MANY``. Shares do crash
frozen                    rejected: the fifth and later sessions of one close without volume
range not usable          open, high and low are dropped: not finite or positive, high below low, or
                          the close is outside of them by more than ``OUTSIDE``
volume not usable         dropped: negative, not finite, or beyond 64 bits
action not usable         dropped: a dividend or split that is negative or not finite
adjustment unexplained    kept, and named: close and dividends do not make this step of adj_close
========================  ====================================================================

A dividend or split of a row that is rejected for its price goes to the next row that stays. But for
pence and splits no price is made up: a value is kept or taken away. Cleaning is for files, not for
models: it may see what came next in the file.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecaster.data import adjustment, prices
from forecaster.data.calendars import LONGEST_CLOSURE

LEAP = 0.6
"""Log returns beyond this and undone at once are no news: a factor of 1.8 each way."""
MANY, BREAK = 1.0, 3.0
"""Log returns: a factor of 2.7 in a day, which shares do reach; of 20, which hardly one has."""
SPELL, SETTLED = 250, 20
"""Sessions: the longest spell of another instrument, and those after which a new one is believed."""
FROZEN = 5
OUTSIDE = 0.005
"""Vendors round, and some closes are of an auction after the high was taken."""

_SMALLEST, _LARGEST = 1e-12, 1e12
_HUNDRED = np.log(100.0)
_NEAR = 0.12
"""How far the leap of a factor may be from it in logs: a day's own return comes on top."""
_SPLITS = np.log([2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 50])
_SPLIT_NEAR = 0.03
_LOOKS = ("open", "high", "low")
_BASES = ("open", "high", "low", "close", "adj_close")
_LOST_WITH_A_PRICE = (
    "no close",
    "close not finite",
    "close not positive",
    "out of range",
    "frozen",
)

COLUMNS = ["ticker", "rule", "action", "first", "last", "rows"]


@dataclass
class _Log:
    """What was found in one ticker, run by run of rows."""

    ticker: str
    rows: list[dict[str, object]]

    def note(self, table: pd.DataFrame, bad: np.ndarray, rule: str, action: str) -> None:
        if not bad.any():
            return
        places = np.flatnonzero(bad)
        for run in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
            first, last = table["date"].iloc[run[0]], table["date"].iloc[run[-1]]
            self.rows.append(
                dict(zip(COLUMNS, (self.ticker, rule, action, first, last, len(run)), strict=True))
            )


def clean(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What can be used of an unchecked prices frame, and what was found.

    Parameters
    ----------
    frame : ticker, date and the columns of :mod:`forecaster.data.prices` that there are. Cells that are
        no numbers, and dates that are none, are left for :func:`forecaster.data.prices.check` to name.

    Returns
    -------
    The frame with rows rejected and repaired, sorted by ticker and date, and a table of ticker,
    rule, action (``rejected``, ``repaired`` or ``kept``), first and last date, rows: one line for
    each run of neighbouring rows.
    """
    nothing = pd.DataFrame(columns=COLUMNS)
    if (
        frame.empty
        or not {"ticker", "date"} <= set(frame)
        or not {"close", "adj_close"} & set(frame)
    ):
        return frame, nothing
    days = prices.dates(frame["date"])
    numbers = [name for name in (*_BASES, "volume", *prices.ACTIONS) if name in frame]
    if frame["ticker"].isna().any():
        return frame, nothing
    tidy = frame.assign(date=days.to_numpy())
    for name in numbers:
        if frame[name].dtype == np.float64:
            continue
        values = prices.floats(frame[name])
        if (np.isnan(values) & frame[name].notna().to_numpy()).any():
            return frame, nothing
        tidy[name] = values
    if days.isna().any() or (frame["ticker"].astype("str").str.strip() == "").any():
        return frame, nothing
    parts, notes = [], []
    for ticker, group in tidy.sort_values(["ticker", "date"], kind="stable").groupby(
        "ticker", sort=False
    ):
        log = _Log(str(ticker), [])
        parts.append(_clean(group.reset_index(drop=True), log))
        notes += log.rows
    return pd.concat(parts, ignore_index=True), pd.DataFrame(notes, columns=COLUMNS)


def words(findings: pd.DataFrame) -> str:
    """Findings of a ticker in a line: ``3 rows rejected (frozen 3 from 2018-01-02)``."""
    told = []
    for action, group in findings.groupby("action", sort=False):
        rules = ", ".join(
            f"{rule} {int(its['rows'].sum()):,} from {its['first'].min():%Y-%m-%d}"
            for rule, its in group.groupby("rule", sort=False)
        )
        told.append(f"{int(group['rows'].sum()):,} rows {action} ({rules})")
    return "; ".join(told)


def _clean(table: pd.DataFrame, log: _Log) -> pd.DataFrame:
    both = [name for name in ("close", "adj_close") if name in table and table[name].notna().any()]
    if not both:
        log.note(table, np.ones(len(table), dtype=bool), "no close", "rejected")
        return table[:0]
    close = both[0]

    def reject(bad: Any, rule: str) -> None:
        nonlocal table
        if not bad.any():
            return
        log.note(table, bad, rule, "rejected")
        if rule in _LOST_WITH_A_PRICE:
            _carry_actions(table, bad)
        table = table[~bad].reset_index(drop=True)

    _drop_unusable_actions(table, log)
    values = table[both].to_numpy()
    reject(np.isnan(values).any(axis=1), "no close")
    reject(~np.isfinite(table[both].to_numpy()).all(axis=1), "close not finite")
    reject((table[both].to_numpy() <= 0).any(axis=1), "close not positive")
    reject(_out_of_range(table, both), "out of range")
    reject(table.duplicated("date", keep="last").to_numpy(), "duplicated")
    if table.empty:
        return table
    _mend_pence(table, close, log)
    _mend_splits(table, close, log)
    basis = "adj_close" if "adj_close" in both else close
    reject(_spikes(table[basis].to_numpy()), "spike")
    reject(_spells(table[basis].to_numpy()), "another instrument")
    reject(_used_twice(table["date"].to_numpy(), table[basis].to_numpy()), "another instrument")
    moves = np.abs(_returns(table[basis].to_numpy()))
    split = (np.abs(moves[:, None] - _SPLITS) < _SPLIT_NEAR).any(axis=1)
    log.note(table, split, "unapplied split", "kept")
    log.note(table, (moves > MANY) & ~split, "leap", "kept")
    if "volume" in table:
        volume = table["volume"].to_numpy()
        unusable = ~np.isnan(volume) & ~((volume >= 0) & (volume < prices.LARGEST_VOLUME))
        log.note(table, unusable, "volume not usable", "repaired")
        if unusable.any():
            table["volume"] = np.where(unusable, np.nan, volume)
        reject(_frozen(table[close].to_numpy(), table["volume"].to_numpy()), "frozen")
    looks = [name for name in _LOOKS if name in table]
    if looks:
        unusable = _unusable(table, looks, close)
        log.note(table, unusable, "range not usable", "repaired")
        if unusable.any():
            table.loc[unusable, looks] = np.nan
    if len(both) == 2 and "dividends" in table:
        columns = (table[name].to_numpy() for name in (*both, "dividends"))
        log.note(table, adjustment.unexplained(*columns), "adjustment unexplained", "kept")
    return table


def _drop_unusable_actions(table: pd.DataFrame, log: _Log) -> None:
    names = [name for name in prices.ACTIONS if name in table]
    values = table[names].to_numpy(dtype=float)
    bad = ~np.isnan(values) & ~(np.isfinite(values) & (values >= 0))
    log.note(table, bad.any(axis=1), "action not usable", "repaired")
    table[names] = np.where(bad, np.nan, values)


def _carry_actions(table: pd.DataFrame, bad: np.ndarray) -> None:
    """Takes the dividends and splits of bad rows to the next good one, in place."""
    good = np.flatnonzero(~bad)
    for name in [name for name in prices.ACTIONS if name in table]:
        values = table[name].to_numpy(copy=True)
        for at in np.flatnonzero(bad & (values > 0)):
            after = good[np.searchsorted(good, at) :][:1]
            here = np.nan_to_num(values[after])
            values[after] = np.where(
                (name == "splits") & (here > 0), here * values[at], here + values[at]
            )
        table[name] = values


def _out_of_range(table: pd.DataFrame, both: list[str]) -> np.ndarray:
    values = table[both].to_numpy()
    strange = ((values < _SMALLEST) | (values > _LARGEST)).any(axis=1)
    return strange | (table["date"] > prices.last_day()).to_numpy()


def _returns(price: np.ndarray) -> np.ndarray:
    """Log returns from the row before; 0 at the first."""
    return np.diff(np.log(price), prepend=np.log(price[:1]))


def _scale(table: pd.DataFrame, rows: np.ndarray, factor: Any) -> None:
    for name in [it for it in _BASES if it in table]:
        table[name] = table[name].astype(float)
        table.loc[rows, name] *= factor


def _mend_pence(table: pd.DataFrame, close: str, log: _Log) -> None:
    """Brings prices a hundred times too high or too low to the unit of most, in place."""
    moves = _returns(table[close].to_numpy())
    leaps = np.where(np.abs(np.abs(moves) - _HUNDRED) < _NEAR, np.sign(moves), 0)
    powers = np.cumsum(leaps).astype(int)
    if not leaps.any():
        return
    units, counts = np.unique(powers, return_counts=True)
    powers -= units[counts.argmax()]
    if np.abs(powers).max() > 1:  # a hundred times a hundred is no unit of money
        return
    wrong = powers != 0
    log.note(table, wrong, "pence and pounds", "repaired")
    _scale(table, wrong, 100.0 ** -powers[wrong])


def _mend_splits(table: pd.DataFrame, close: str, log: _Log) -> None:
    """Applies the splits that the source gives and its prices, which leap by them, do not have."""
    if "splits" not in table:
        return
    ratio = table["splits"].to_numpy()
    ratio = np.where(ratio > 0, ratio, 1.0)
    moves = _returns(table[close].to_numpy())
    leaps = (np.abs(np.log(ratio)) > 2 * _NEAR) & (np.abs(moves + np.log(ratio)) < _NEAR)
    log.note(table, leaps, "unapplied split", "repaired")
    for at in np.flatnonzero(leaps):
        before = np.arange(len(table)) < at
        _scale(table, before, 1 / ratio[at])
        if "volume" in table:
            table.loc[before, "volume"] *= ratio[at]


def _spikes(price: np.ndarray) -> np.ndarray:
    moves = _returns(price)
    after = np.append(moves[1:], 0.0)
    return (np.abs(moves) > LEAP) & (np.abs(after) > LEAP) & (np.abs(moves + after) < LEAP / 2)


def _spells(price: np.ndarray) -> np.ndarray:
    """Rows from a leap to the next one, where that undoes it within ``SPELL`` sessions."""
    moves = _returns(price)
    bad = np.zeros(len(price), dtype=bool)
    begun: int | None = None
    for at in np.flatnonzero(np.abs(moves) > MANY):
        if begun is not None and at - begun <= SPELL and abs(moves[at] + moves[begun]) < LEAP:
            bad[begun:at] = True
            begun = None
        else:
            begun = int(at)
    return bad


def _used_twice(dates: np.ndarray, price: np.ndarray) -> np.ndarray:
    """Rows of former users of a ticker's name, and of a new one that is not yet believed."""
    moves = np.abs(_returns(price))
    gap = np.diff(dates, prepend=dates[:1]) > LONGEST_CLOSURE
    bounds = [0, *np.flatnonzero((moves > BREAK) | (gap & (moves > MANY))), len(price)]
    while len(bounds) > 2 and bounds[-1] - bounds[-2] < SETTLED:
        del bounds[-1]
    bad = np.ones(len(price), dtype=bool)
    bad[bounds[-2] : bounds[-1]] = False
    return bad


def _frozen(close: np.ndarray, volume: np.ndarray) -> np.ndarray:
    """The ``FROZEN``-th and later rows of a run of one close on which nothing was traded."""
    traded = (volume > 0).any()
    still = (np.diff(close, prepend=np.nan) == 0) & ((volume == 0) | (np.isnan(volume) & traded))
    start = np.maximum.accumulate(np.where(still, 0, np.arange(len(close))))
    return still & (np.arange(len(close)) - start >= FROZEN - 1)


def _unusable(table: pd.DataFrame, looks: list[str], close: str) -> np.ndarray:
    values = table[looks].to_numpy()
    bad = (~np.isnan(values) & ~(np.isfinite(values) & (values > 0))).any(axis=1)
    if {"high", "low"} <= set(looks):
        high, low, last = (table[name].to_numpy() for name in ("high", "low", close))
        with np.errstate(invalid="ignore", over="ignore"):
            bad |= high < low * (1 - 1e-6)
            bad |= (last > high * (1 + OUTSIDE)) | (last < low * (1 - OUTSIDE))
    return bad
