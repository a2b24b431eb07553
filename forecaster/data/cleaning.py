"""Cleaning of what a source gives: every row that is rejected or repaired is named, with its rule.

:data:`forecaster.data.rules.RULES` has the rules, in the order in which they are applied, and
``docs/reference/cleaning.md`` shows them. Each column is judged and mended by itself, and what cannot be told
from true history is kept and named. After all mends one thing is certain: no return stands in the
prices that neither the closes nor the adjusted closes had, but for the factors on record.

A dividend or split of a row that is rejected for its price goes to the next row that stays. Cleaning
is for files, not for models: it may see what came next in the file.
"""

import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecaster.data import adjustment, leaps, mending, prices, strays
from forecaster.data.draft import Draft
from forecaster.data.mends import no_findings, no_mends
from forecaster.errors import PricesError

_SPLITS = np.log([2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 50])
_SPLIT_NEAR = 0.03
_SAME = 1e-5
"""How far a return may be from that of a source which rounds its prices."""


@dataclass(frozen=True)
class Cleaned:
    """What can be used of an unchecked prices frame, and how it differs from what came."""

    frame: pd.DataFrame
    findings: pd.DataFrame
    """Ticker, rule, action (``rejected``, ``repaired`` or ``kept``), first and last date, rows: one
    line for each run of neighbouring rows."""
    mends: pd.DataFrame
    """Ticker, date, column, before, after, rule: one line for each value that changed."""


def clean(
    frame: pd.DataFrame,
    *,
    currency: str | None = None,
    instrument: str | None = None,
    raw: bool = False,
) -> Cleaned:
    """Return what can be used of an unchecked prices frame, sorted by ticker and date.

    Parameters
    ----------
    frame : ticker, date and the columns of :mod:`forecaster.data.prices` that there are. Cells that
        are no numbers, and dates that are none, are left for :func:`forecaster.data.prices.check`
        to name.
    currency : the code of what prices are in, where known.
    instrument : what Yahoo calls the kind of instrument, where known: ``EQUITY``, ``MUTUALFUND`` …
    raw : leave prices as they came, but for rows and values that a prices frame cannot hold.

    Raises
    ------
    PricesError
        The mends of a ticker would leave a return that its source never gave.
    """
    untouched = Cleaned(frame, no_findings(), no_mends())
    tidy = _numeric(frame)
    if tidy is None:
        return untouched
    drafts = []
    if not (prices.is_alone(tidy["ticker"]) and tidy["date"].is_monotonic_increasing):
        tidy = tidy.sort_values(["ticker", "date"], kind="stable")
    for group in prices.by_ticker(tidy):
        drafts.append(Draft(group.reset_index(drop=True), str(group["ticker"].iloc[0])))
        _clean(drafts[-1], currency, instrument, raw)
    return Cleaned(
        _together([draft.frame for draft in drafts]),
        _together([draft.findings for draft in drafts]),
        _together([draft.mends for draft in drafts]),
    )


def _together(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all tables; pandas is slow to join one, and careless with the types of empty ones."""
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if len(filled) > 1 else (filled or tables)[0]


def _numeric(frame: pd.DataFrame) -> pd.DataFrame | None:
    """The frame with dates and floats; None where a cell is neither, or nothing is there to clean."""
    if (
        frame.empty
        or not {"ticker", "date"} <= set(frame)
        or not {"close", "adj_close"} & set(frame)
        or any(pd.isna(it) or not str(it).strip() for it in frame["ticker"].unique())
    ):
        return None
    days = prices.dates(frame["date"])
    if days.isna().any():
        return None
    tidy = frame.assign(date=days.to_numpy())
    for name in [it for it in (*prices.COLUMNS[2:], *prices.ACTIONS) if it in frame]:
        if frame[name].dtype == np.float64:
            continue
        try:
            values = pd.to_numeric(frame[name], errors="coerce")
        except OverflowError:
            values = pd.to_numeric(frame[name].map(_finite), errors="coerce")
        if (values.isna() & frame[name].notna()).any():
            return None
        tidy[name] = values.to_numpy(dtype=float, na_value=np.nan)
    return tidy


def _finite(value: object) -> object:
    """A cell, infinite where it is an integer of more digits than a float can have."""
    return np.inf if isinstance(value, int) and abs(value) > sys.float_info.max else value


def _clean(draft: Draft, currency: str | None, instrument: str | None, raw: bool) -> None:
    """Apply the rules in their order."""
    if draft.close not in draft or np.isnan(draft.values(draft.close)).all():
        draft.reject(np.ones(len(draft), dtype=bool), "no close")
        return
    _drop_unusable_actions(draft)
    _reject_unusable_closes(draft)
    if len(draft) and not raw:
        mending.mend_columns(draft, currency)
    if draft.adjusted:
        _reject(draft, ~mending.in_range(draft.values("adj_close")), "no adjusted close")
    if len(draft) and not raw:
        _reject_strays(draft)
        _name_leaps(draft)
    _drop_unusable_volumes(draft)
    if not raw:
        still = strays.frozen(draft.values(draft.close), draft.values("volume"), instrument)
        _reject(draft, still, "frozen")
    _drop_unusable_ranges(draft, raw)
    if not raw:
        _name_adjustments(draft)
        _require_returns_that_came(draft)


def _reject(draft: Draft, rows: np.ndarray, rule: str) -> None:
    """Drops rows, and takes their dividends and splits to the next other row."""
    if not rows.any():
        return
    good = np.flatnonzero(~rows)
    for name in [name for name in prices.ACTIONS if name in draft]:
        values = draft.values(name)
        for at in np.flatnonzero(rows & (values > 0)):
            after = good[np.searchsorted(good, at) :][:1]
            here = np.nan_to_num(values[after])
            values[after] = np.where(
                (name == "splits") & (here > 0), here * values[at], here + values[at]
            )
        draft.move(name, values)
    draft.reject(rows, rule)


def _drop_unusable_actions(draft: Draft) -> None:
    rule, bad = "action not usable", np.zeros(len(draft), dtype=bool)
    for name in [it for it in prices.ACTIONS if it in draft]:
        values = draft.values(name)
        usable = np.isnan(values) | (np.isfinite(values) & (values >= 0))
        bad |= draft.mend(name, np.where(usable, values, np.nan), rule)
    draft.note(bad, rule)


def _reject_unusable_closes(draft: Draft) -> None:
    _reject(draft, np.isnan(draft.values(draft.close)), "no close")
    _reject(draft, ~np.isfinite(draft.values(draft.close)), "close not finite")
    _reject(draft, draft.values(draft.close) <= 0, "close not positive")
    late = draft.dates > prices.last_day().to_datetime64()
    _reject(draft, late | ~mending.in_range(draft.values(draft.close)), "out of range")
    draft.reject(np.append(draft.dates[1:] == draft.dates[:-1], False)[: len(draft)], "duplicated")


def _reject_strays(draft: Draft) -> None:
    draft.reject(strays.spikes(draft.values(draft.basis), draft.intraday()), "spike")
    rule = "another instrument"
    draft.reject(strays.spells(draft.values(draft.basis), draft.values("volume")), rule)
    draft.reject(strays.used_twice(draft.dates, draft.values(draft.basis)), rule)


def _name_leaps(draft: Draft) -> None:
    price = draft.values(draft.basis)
    moves = np.abs(leaps.returns(price))
    split = moves > _SPLITS[0] / 2  # few are, and to compare them all takes long
    split[split] = (np.abs(moves[split, None] - _SPLITS) < _SPLIT_NEAR).any(axis=1)
    draft.note(split, "split-like leap")
    draft.note(leaps.leaps(price) & ~split, "leap")


def _drop_unusable_volumes(draft: Draft) -> None:
    if "volume" in draft:
        rule, volume = "volume not usable", draft.values("volume")
        usable = np.isnan(volume) | ((volume >= 0) & (volume < prices.LARGEST_VOLUME))
        draft.note(draft.mend("volume", np.where(usable, volume, np.nan), rule), rule)


def _drop_unusable_ranges(draft: Draft, raw: bool) -> None:
    rule = "range not usable"
    columns = [draft.values(name) for name in mending.RANGE]
    bad = strays.unusable_ranges(draft.values(draft.close), *columns, raw=raw)
    for name, values in zip(mending.RANGE, columns, strict=True):
        if name in draft:
            draft.mend(name, np.where(bad, np.nan, values), rule)
    draft.note(bad, rule)


def _name_adjustments(draft: Draft) -> None:
    close, adj_close = draft.values("close"), draft.values("adj_close")
    if draft.adjusted and not np.array_equal(close, adj_close):
        odd = adjustment.unexplained(close, adj_close, draft.values("dividends"))
        draft.note(odd, "adjustment unexplained")


def _require_returns_that_came(draft: Draft) -> None:
    """PricesError where a return is neither the close's nor the adjusted close's, nor calmer."""
    raw = {name: leaps.returns(draft.came(name)) for name in ("close", "adj_close")}
    close = draft.values(draft.close)
    left = np.maximum(adjustment.factors(close, draft.values("dividends")), 1e-9)
    owed = leaps.returns(close) - np.log(left)
    for name, known in ((draft.close, ()), (draft.basis, (owed,))):
        now = leaps.returns(draft.values(name))
        own = np.where(np.isnan(raw[name]), raw[draft.close], raw[name])
        with np.errstate(invalid="ignore"):
            sourced = np.abs(now) <= np.abs(own) + _SAME
            for moves in (*raw.values(), *known):
                sourced |= np.abs(now - moves) < _SAME
        if not sourced.all():
            at = int((~sourced).argmax())
            raise PricesError(
                f"{draft.ticker} {draft.dates[at]!s:.10}: cleaning would leave a "
                f"return of {np.expm1(now[at]):+.1%} that its source does not have; fetch it with "
                "`raw`, or from another source"
            )
