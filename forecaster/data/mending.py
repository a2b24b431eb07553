"""What brings the columns of a ticker's rows to one footing: splits, units of money, adjustments.

Each function applies one rule of :data:`forecaster.data.rules.RULES` to a draft. The evidence is
judged column by column in :mod:`splits`, :mod:`units` and :mod:`adjustment` of this package.
"""

import numpy as np

from forecaster.data import adjustment, leaps, splits, units
from forecaster.data.draft import Draft

RANGE = ("open", "high", "low")

SMALLEST, LARGEST = 1e-12, 1e12
"""Prices beyond these are none."""


def mend_columns(draft: Draft, currency: str | None) -> None:
    """Apply the rules that move stretches of columns, in their order."""
    apply_splits(draft)
    mend_units(draft, currency)
    if draft.adjusted:
        apply_implied_splits(draft)
        mend_dividends(draft)
        rebuild_adjusted(draft)
    apply_dividends(draft)


def in_range(price: np.ndarray) -> np.ndarray:
    """Return whether prices (n,) are numbers that a price can be."""
    with np.errstate(invalid="ignore"):
        usable: np.ndarray = (price >= SMALLEST) & (price <= LARGEST)
    return usable


def apply_splits(draft: Draft) -> None:
    """Apply the splits that the source names to the columns that lack them."""
    rule, ratio = "unapplied split", draft.values("splits")
    ratio = np.where(ratio > 0, ratio, 1.0)
    usual = leaps.volatility(draft.values(draft.basis))
    ratio[np.abs(np.log(ratio)) <= splits.FINEST * usual] = 1.0
    if (ratio == 1).all():
        return
    touched, intraday = np.zeros(len(ratio), dtype=bool), draft.intraday()
    for name in dict.fromkeys((draft.close, draft.basis)):
        price = draft.values(name)
        lacks = splits.unapplied(price, ratio, intraday)
        factor = splits.factors(price, ratio, lacks, usual)
        if name == draft.close:
            _put_on_footing(draft, factor, ratio, lacks, rule)
        draft.mend(name, price * factor, rule)
        touched |= lacks
    _rescale_dividends(draft, ratio, touched, rule)
    draft.note(touched, rule)


def apply_implied_splits(draft: Draft) -> None:
    """Apply the splits that only the adjusted closes have."""
    rule = "split in adj_close alone"
    close, adj_close = draft.values("close"), draft.values("adj_close")
    named = np.nan_to_num(draft.values("dividends")) > 0
    named |= ~np.isin(np.nan_to_num(draft.values("splits")), (0, 1))
    ratio = splits.implied(close, adj_close, named, leaps.volatility(adj_close))
    lacks = ratio != 1
    if lacks.any():
        factor = splits.footing(ratio, lacks)
        _put_on_footing(draft, factor, ratio, lacks, rule)
        draft.mend("close", close * factor, rule)
        draft.note(lacks, rule)


def mend_units(draft: Draft, currency: str | None) -> None:
    """Bring the prices that are a hundred or a thousand times wrong to the unit of the others."""
    rule, close = "unit", draft.values(draft.close)
    beside = np.stack([draft.values(it) for it in RANGE], axis=1)
    factor = units.factors(close, beside, currency, draft.ticker)
    touched = draft.mend(draft.close, close * factor, rule)
    close = draft.values(draft.close)
    for name in [it for it in RANGE if it in draft]:
        values = draft.values(name)
        touched |= draft.mend(name, values * units.cell_factors(values, close), rule)
    if draft.adjusted:
        adj_close = draft.values("adj_close")
        factor = units.adjusted_factors(adj_close, close)
        touched |= draft.mend("adj_close", adj_close * factor, rule)
    draft.note(touched, rule)


def mend_dividends(draft: Draft) -> None:
    """Bring dividends that the price did not notice to a fair amount, and what was made with them."""
    rule = "dividend too large"
    close, paid = draft.values("close"), draft.values("dividends")
    fair = adjustment.fair_dividends(close, paid, leaps.volatility(close))
    if np.array_equal(fair, paid, equal_nan=True):
        return
    remade = adjustment.readjusted(draft.values("adj_close"), close, paid, fair)
    draft.note(draft.mend("dividends", fair, rule), rule)
    draft.mend("adj_close", remade, rule)


def rebuild_adjusted(draft: Draft) -> None:
    """Make adjusted closes that cannot be, and take out what one of the two columns does alone."""
    rule = "adjusted close rebuilt"
    close, adj_close = draft.values("close"), draft.values("adj_close")
    paid = draft.values("dividends")
    made = adjustment.rebuilt(close, np.where(in_range(adj_close), adj_close, np.nan), paid)
    usable = ~np.isnan(made)
    draft.note(draft.mend("adj_close", np.where(usable, made, adj_close), rule), rule)
    if usable.all():
        rule, usual = "adjusted close leaps alone", leaps.volatility(close)
        calm, stray = adjustment.without_stray_steps(close, made, paid, usual)
        draft.mend("adj_close", calm, rule)
        draft.note(stray, rule)
        rule = "close leaps alone"
        calm, stray = adjustment.calm_closes(close, calm)
        draft.mend("close", calm, rule)
        draft.note(stray, rule)


def apply_dividends(draft: Draft) -> None:
    """Make adjusted closes where the source has dividends and no adjusted closes of its own."""
    paid, close = draft.values("dividends"), draft.values(draft.close)
    own = draft.adjusted and not np.array_equal(draft.values("adj_close"), close)
    cash = np.nan_to_num(paid) > 0
    cash[:1] = False
    if own or not cash.any():
        return
    if not adjustment.missing_from(close, paid, draft.intraday()):
        draft.note(cash, "dividends not applied")
        return
    draft.add_adjusted()
    draft.mend("adj_close", adjustment.adjusted(close, paid), "dividends applied")
    draft.note(cash, "dividends applied")


def _put_on_footing(
    draft: Draft, factor: np.ndarray, ratio: np.ndarray, lacks: np.ndarray, rule: str
) -> None:
    """Brings opens, highs, lows and volumes to the footing of closes that get a factor (n,)."""
    close = draft.values(draft.close)
    for name in [it for it in RANGE if it in draft]:
        values = draft.values(name)
        off = splits.beside_lacks(values, close, ratio, lacks)
        own = factor if (off == lacks).all() else splits.footing(ratio, off)
        draft.mend(name, values * own, rule)
    if "volume" in draft:
        volume = draft.values("volume")
        off = splits.volume_lacks(volume, ratio, lacks)
        own = factor if (off == lacks).all() else splits.footing(ratio, off)
        draft.mend("volume", volume / own, rule)


def _rescale_dividends(draft: Draft, ratio: np.ndarray, lacks: np.ndarray, rule: str) -> None:
    """Brings dividends to the footing of closes that now have the splits, if they are not there."""
    paid = draft.values("dividends")
    if not (np.nan_to_num(paid) > 0).any() or not lacks.any():
        return
    scaled = paid * splits.footing(ratio, lacks)
    if draft.adjusted:
        close, adj_close = draft.values("close"), draft.values("adj_close")
        odd = [adjustment.unexplained(close, adj_close, it).sum() for it in (paid, scaled)]
        if odd[0] <= odd[1]:
            return
    draft.mend("dividends", scaled, rule)
