"""Where new prices of a ticker meet those that are stored: are they one history, and how it goes on.

A source adjusts its whole history at every split and dividend, so what it gives today need not go
on from what it gave yesterday. Closes (adjusted for splits) must agree on the dates that both have.
Adjusted closes need not: a dividend moves all earlier ones by the same factor, which is then taken
to the stored ones, so that no false return stands at the seam.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from forecaster.data import adjustment, calendars
from forecaster.errors import HistoryChangedError, StoreError

AGREE = 1e-5
"""Closes that differ by more, relatively, are not of one history."""

JITTER = 1e-6
"""Adjusted closes differ by less from one call to the next, for no reason."""

FEW, SHARE = 5, 0.05
"""A whole history may lack this many of the stored sessions, or this share of them."""


def joined(
    old: pd.DataFrame,
    new: pd.DataFrame,
    old_notes: Mapping[str, str],
    new_notes: Mapping[str, str],
    whole: bool,
) -> tuple[pd.DataFrame, bool]:
    """Return old and new prices of a ticker as one history, and whether the old ones gave way."""
    if whole:
        require_as_long(old, new)
    try:
        require_one_currency(new["ticker"].iloc[0], old_notes, new_notes)
        return merge(old, new), False
    except HistoryChangedError:
        if not whole and not covers(new, old):
            raise
    require_as_long(old, new)
    return new, True


def merge(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """One history of one ticker from stored and new prices.

    Parameters
    ----------
    old, new : checked prices frames with ``dividends`` and ``splits``, null where unknown.

    Returns
    -------
    The rows of both. On a date that both have, the new values, but what is null there is taken from
    the old row. Adjusted closes are brought to one footing, that of the last session.

    Raises
    ------
    HistoryChangedError
        They disagree on a close, the new ones have a split that the old ones do not know, or they
        share no date and there are sessions between them.
    """
    ticker = str(new["ticker"].iloc[0])
    old, new = old.set_index("date"), new.set_index("date")
    shared = old.index.intersection(new.index)
    _require_closes(ticker, old.loc[shared, "close"], new.loc[shared, "close"])
    _require_known_splits(ticker, old, new)
    if shared.empty:
        return _adjoined(ticker, old, new)
    earlier = old.drop(shared)
    ratio = new.loc[shared, "adj_close"] / old.loc[shared, "adj_close"]
    ratio = ratio.where((ratio - 1).abs() > JITTER, 1.0)
    earlier["adj_close"] *= ratio.reindex(earlier.index, method="ffill").fillna(ratio.iloc[0])
    merged = pd.concat([earlier, new.combine_first(old.loc[shared])[list(new)]]).sort_index()
    if old.index[-1] > new.index[-1]:
        merged["adj_close"] /= ratio.iloc[-1]
    return _frame(merged)


def covers(new: pd.DataFrame, old: pd.DataFrame) -> bool:
    """Whether new prices reach from the first stored date to the last, or further."""
    first, last = (frame["date"].iloc[[0, -1]].tolist() for frame in (new, old))
    return bool(first[0] <= last[0] and first[1] >= last[1])


def require_as_long(old: pd.DataFrame, new: pd.DataFrame) -> None:
    """StoreError if a whole history lacks suspiciously many of the stored sessions."""
    lost = int((~old["date"].isin(new["date"])).sum())
    if lost > max(FEW, SHARE * len(old)):
        raise StoreError(
            f"{new['ticker'].iloc[0]}: the whole history now has {len(new):,} sessions, "
            f"{_span(new['date'])}, and lacks {lost:,} of the {len(old):,} stored ones, "
            f"{_span(old['date'])}; what is stored stays. If the shorter "
            "history is right, replace what is stored with `refresh`"
        )


def require_one_currency(ticker: str, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    """HistoryChangedError if the notes of the stored and the new prices name two currencies."""
    before, now = old.get("currency"), new.get("currency")
    if before and now and before != now:
        raise HistoryChangedError(
            f"{ticker}: prices are in {now} now and in {before} in the store; "
            "fetch the whole history with `refresh` to replace what is stored"
        )


def _require_closes(ticker: str, before: pd.Series, now: pd.Series) -> None:
    differs = (now / before - 1).abs() > AGREE
    if differs.any():
        at = int(differs.to_numpy().argmax())
        raise HistoryChangedError(
            f"{ticker} {now.index[at]:%Y-%m-%d}: close is {now.iloc[at]:.6g} now and "
            f"{before.iloc[at]:.6g} in the "
            f"store ({differs.sum()} of {len(now)} common dates differ); the history was adjusted, or "
            "is another one: fetch it all with `refresh` to replace what is stored"
        )


def _require_known_splits(ticker: str, old: pd.DataFrame, new: pd.DataFrame) -> None:
    """Prices stored before a split are on the old footing, if the split is not stored with them."""
    split = new["splits"].gt(0) & (new.index > old.index[0])
    known = old["splits"].reindex(new.index)
    # A file without actions may know of the split all the same: its closes agree.
    unmarked = known.isna() & new.index.isin(old.index)
    unknown = split & ~unmarked & (known != new["splits"])
    if unknown.any():
        day = unknown.idxmax()
        raise HistoryChangedError(
            f"{ticker} {day:%Y-%m-%d}: a split of {new.loc[day, 'splits']:g} for 1, which the stored "
            "prices do not know; fetch the whole history with `refresh` to replace what is stored"
        )


def _adjoined(ticker: str, old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Old and new prices where the one's last session is just before the other's first."""
    earlier, later = sorted([old, new], key=lambda frame: frame.index[0])
    last, first = earlier.index[-1], later.index[0]
    if last > first or calendars.sessions_after(ticker, last, first, earlier.index) > 1:
        raise HistoryChangedError(
            f"{ticker}: {_span(new.index)} was fetched and {_span(old.index)} is stored, which have "
            "no date in common and are not next to each other; fetch an earlier `start` or a later `end`, or "
            "replace what is stored with `refresh`"
        )
    both = pd.concat([earlier.iloc[[-1]], later.iloc[[0]]])
    level = (both["adj_close"] / both["close"]).to_numpy()
    _, factor = adjustment.factors(both["close"].to_numpy(), both["dividends"].to_numpy())
    scale = factor * level[1] / level[0]
    if abs(scale - 1) > JITTER:
        earlier = earlier.assign(adj_close=earlier["adj_close"] * scale)
    return _frame(pd.concat([earlier, later]))


def _frame(rows: pd.DataFrame) -> pd.DataFrame:
    frame = rows.rename_axis("date").reset_index()
    return frame[["ticker", "date", *(name for name in frame if name not in ("ticker", "date"))]]


def _span(dates: pd.Series | pd.Index) -> str:
    first, last = pd.to_datetime(np.asarray(dates)[[0, -1]])
    return f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
