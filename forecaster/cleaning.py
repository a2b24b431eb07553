"""Cleaning of what a source gives: every row that is rejected or repaired is named, with its rule.

========================  ====================================================================
rule                      what is done
========================  ====================================================================
no close                  rejected: the close is missing
close not finite          rejected
close not positive        rejected
duplicated                the last row of a date stays
pence and pounds          repaired: a spell of prices a hundred times too high or too low, at most
                          ``SPELL`` sessions long, is brought back to the level around it
spike                     rejected: a price that leaps by more than ``LEAP`` and is back the next day
another instrument        rejected: all before a leap of more than ``BREAK``, or before the last of
                          three or more of ``MANY``: a name that was used twice, or a wrong basis
unapplied split           kept, and named: the leap of a whole number of shares, not undone
frozen                    rejected: the fifth and later sessions of one close without volume
range not usable          open, high and low are dropped: not finite or positive, high below low, or
                          the close is outside of them by more than ``OUTSIDE``
volume not usable         dropped: negative, not finite, or beyond 64 bits
========================  ====================================================================

Nothing looks at what comes after the file's own end, and no price is made up: but for pence, a value
is kept or taken away. Cleaning is for files, not for models: it may see what came next.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecaster import prices

LEAP = 0.6
"""Log returns beyond this and undone at once are no news: a factor of 1.8 each way."""
MANY, BREAK = 1.0, 1.5
SPELL = 250
FROZEN = 5
OUTSIDE = 0.005
"""Vendors round, and some closes are of an auction after the high was taken."""

LARGEST_VOLUME = 2.0**63
_HUNDRED = np.log(100.0)
_NEAR = 0.12
"""How far the leap of a factor may be from it in logs: a day's own return comes on top."""
_SPLITS = np.log([2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 50])
_SPLIT_NEAR = 0.03
_LOOKS = ("open", "high", "low")
_BASES = ("open", "high", "low", "close", "adj_close")

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
    frame : ticker, date and the columns of :mod:`forecaster.prices` that there are. Cells that are
        no numbers, and dates that are none, are left for :func:`forecaster.prices.check` to name.

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
    numbers = [name for name in (*_BASES, "volume") if name in frame]
    if frame["ticker"].isna().any():
        return frame, nothing
    tidy = frame.assign(date=days.to_numpy())
    for name in numbers:
        values = pd.to_numeric(frame[name], errors="coerce")
        if (values.isna() & frame[name].notna()).any():
            return frame, nothing
        tidy[name] = values.to_numpy(dtype=float, na_value=np.nan)
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
        log.note(table, bad, rule, "rejected")
        table = table[~bad].reset_index(drop=True)

    values = table[both].to_numpy()
    reject(np.isnan(values).any(axis=1), "no close")
    reject(~np.isfinite(table[both].to_numpy(dtype=float)).all(axis=1), "close not finite")
    reject(np.asarray(table[both].to_numpy() <= 0).any(axis=1), "close not positive")
    reject(table.duplicated("date", keep="last").to_numpy(), "duplicated")
    if table.empty:
        return table
    _mend_pence(table, both, log)
    basis = "adj_close" if "adj_close" in both else close
    reject(_spikes(table[basis].to_numpy()), "spike")
    reject(_before_break(table[basis].to_numpy()), "another instrument")
    log.note(table, _split(table[basis].to_numpy()), "unapplied split", "kept")
    if "volume" in table:
        volume = table["volume"].to_numpy()
        unusable = ~np.isnan(volume) & ~((volume >= 0) & (volume < LARGEST_VOLUME))
        log.note(table, unusable, "volume not usable", "repaired")
        table["volume"] = np.where(unusable, np.nan, volume)
        reject(_frozen(table[close].to_numpy(), table["volume"].to_numpy()), "frozen")
    looks = [name for name in _LOOKS if name in table]
    if looks:
        unusable = _unusable(table, looks, close)
        log.note(table, unusable, "range not usable", "repaired")
        table.loc[unusable, looks] = np.nan
    return table


def _returns(price: np.ndarray) -> np.ndarray:
    """Log returns from the row before; 0 at the first."""
    return np.diff(np.log(price), prepend=np.log(price[:1]))


def _mend_pence(table: pd.DataFrame, both: list[str], log: _Log) -> None:
    """Brings spells a hundred times too high or too low back, in place."""
    for name in [it for it in _BASES if it in table]:
        table[name] = table[name].astype(float)
    factor = np.ones(len(table))
    moves = _returns(table[both[0]].to_numpy())
    jumps = np.flatnonzero(np.abs(np.abs(moves) - _HUNDRED) < _NEAR)
    begun: int | None = None
    for at in jumps:
        if begun is not None and at - begun <= SPELL and moves[at] * moves[begun] < 0:
            factor[begun:at] = np.exp(-np.sign(moves[begun]) * _HUNDRED)
            begun = None
        else:
            begun = int(at)
    wrong = factor != 1
    log.note(table, wrong, "pence and pounds", "repaired")
    for name in [it for it in _BASES if it in table]:
        table.loc[wrong, name] = table.loc[wrong, name] * factor[wrong]


def _spikes(price: np.ndarray) -> np.ndarray:
    moves = _returns(price)
    after = np.append(moves[1:], 0.0)
    return (np.abs(moves) > LEAP) & (np.abs(after) > LEAP) & (np.abs(moves + after) < LEAP / 2)


def _before_break(price: np.ndarray) -> np.ndarray:
    moves = np.abs(_returns(price))
    many = np.flatnonzero(moves > MANY)
    breaks = many if len(many) >= 3 else np.flatnonzero(moves > BREAK)
    bad = np.zeros(len(price), dtype=bool)
    if len(breaks):
        bad[: breaks[-1]] = True
    return bad


def _split(price: np.ndarray) -> np.ndarray:
    moves = np.abs(_returns(price))
    return (np.abs(moves[:, None] - _SPLITS) < _SPLIT_NEAR).any(axis=1)


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
        with np.errstate(invalid="ignore"):
            bad |= high < low * (1 - 1e-6)
            bad |= (last > high * (1 + OUTSIDE)) | (last < low * (1 - OUTSIDE))
    return bad
