"""The rules of cleaning: what each takes for evidence, and what it does.

``docs/reference/cleaning.md`` shows them as a table, in this order, which is that of their application.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Action = Literal["rejected", "repaired", "kept"]


@dataclass(frozen=True)
class Rule:
    """A rule of cleaning."""

    action: Action
    """What becomes of its rows."""
    evidence: str
    effect: str
    example: str


RULES: Mapping[str, Rule] = {
    "action not usable": Rule(
        "repaired",
        "A dividend or split is negative or not finite",
        "The action becomes unknown; the row stays",
        "dividend −0.25 → unknown",
    ),
    "no close": Rule(
        "rejected",
        "The close is missing",
        "The row goes; its dividends and splits pass to the next row",
        "a row of nulls on a holiday",
    ),
    "close not finite": Rule(
        "rejected", "The close is infinite", "The row goes, as above", "close inf"
    ),
    "close not positive": Rule(
        "rejected", "The close is zero or negative", "The row goes, as above", "close 0.00"
    ),
    "out of range": Rule(
        "rejected",
        "A close below 1e-12 or above 1e12, or a date still to come",
        "The row goes, as above",
        "a session of 2999",
    ),
    "duplicated": Rule(
        "rejected", "A date comes again", "Its last row stays", "two rows of 2024-02-06"
    ),
    "unapplied split": Rule(
        "repaired",
        "The source names a split; the session's return, and its opening where known, fit the split "
        "better than none; the ratio is beyond 3 daily volatilities. Each column is judged by itself",
        "Earlier prices of that column are divided by the ratio, volumes multiplied where they jump",
        "5:4 named, close 281.54 → 224.33: earlier closes ÷ 1.25",
    ),
    "unit": Rule(
        "repaired",
        "A column leaps by 100 or 1,000 and comes back within 20 sessions, or contradicts the other "
        "columns of its row, or changes for good where a currency in pence or the last row decides "
        "(a fall for good is a change of unit only where the currency or exchange has two)",
        "The prices at fault, column by column, come to the unit of the others",
        "close and high of a day 51,426 among 514: ÷ 100; open and low stay",
    ),
    "split in adj_close alone": Rule(
        "repaired",
        "The close leaps by a simple ratio, the adjusted close does not, and no action is named",
        "Earlier closes, opens, highs and lows are divided by the ratio; adjusted closes stay",
        "close 134.62 → 33.03, adj_close 33.65 → 33.03: earlier closes ÷ 4",
    ),
    "dividend too large": Rule(
        "repaired",
        "A dividend beyond 8% and 8 daily volatilities, of which the price shows nothing",
        "A hundredth (or a thousandth) of it; adjusted closes made with it are made again. One that "
        "is fair in no unit becomes unknown",
        "70 pence on a price of 94 that stays at 94: 0.70",
    ),
    "adjusted close rebuilt": Rule(
        "repaired",
        "An adjusted close is missing, not finite or not positive, and its close is sound",
        "It is made from closes and dividends, or from like adjustments on both sides",
        "adj_close −0.75 with close 3.57 → 3.53",
    ),
    "adjusted close leaps alone": Rule(
        "repaired",
        "The adjusted close moves by 10% and 8 daily volatilities more than close and dividend do",
        "The step is taken out of all earlier adjusted closes",
        "close 50 → 51, adj_close 10 → 51: earlier ones × 5",
    ),
    "close leaps alone": Rule(
        "repaired",
        "The close leaps by 10% beside the adjusted close, and is back within 20 sessions",
        "The closes between are made from the adjusted closes",
        "close 50, 150, 51 and adj_close 48, 49, 49: close 51",
    ),
    "no adjusted close": Rule(
        "rejected",
        "An adjusted close is missing or not usable, and cannot be made",
        "The row goes, as above",
        "adj_close null between two of different adjustment",
    ),
    "dividends applied": Rule(
        "repaired",
        "The source has dividends and no adjusted close of its own, and its closes fall by them: a "
        "thousand times likelier than not",
        "Adjusted closes are made from closes and dividends",
        "Close 80.00, dividend 0.50, no Adj Close",
    ),
    "dividends not applied": Rule(
        "kept",
        "The same, and its closes do not clearly fall by the dividends",
        "Closes are taken as adjusted already, as those of yfinance's auto_adjust are",
        "Close 76.35, dividend 0.50, no Adj Close",
    ),
    "spike": Rule(
        "rejected",
        "A price leaps by a factor of 1.8 and is back the next session, to within its usual moves, "
        "and the next open says that it was never there",
        "The row goes",
        "83.50, 6.85, 88.00",
    ),
    "another instrument": Rule(
        "rejected",
        "A factor of 2.7 up after a gap of 30 days, or down after 180: a name used twice. Or a "
        "spell of up to 250 sessions that begins and ends with such leaps, on which nothing was "
        "traded, or of which there are three",
        "What came before the gap goes, or what comes after it until it is 20 sessions long; of "
        "spells, the spell",
        "a ticker delisted at 12 in 2009, and another company at 40 in 2015",
    ),
    "split-like leap": Rule(
        "kept",
        "A return within 3% of a usual split, and no split named",
        "Nothing: shares do halve in a day",
        "100 → 50",
    ),
    "leap": Rule(
        "kept",
        "Any other return beyond 20 daily volatilities, or a factor of 2.7",
        "Nothing: true collapses stay",
        "336.79 → 1.29 after a halt of 19 days",
    ),
    "volume not usable": Rule(
        "repaired",
        "A volume is negative, not finite or beyond 64 bits",
        "It becomes unknown",
        "volume −1",
    ),
    "frozen": Rule(
        "rejected",
        "The fifth and later sessions of one close on which nothing was traded, where volume is "
        "known. Funds, rates, indices and currencies have none",
        "The row goes; its dividends and splits pass to the next row",
        "12.30 for ten sessions of volume 0",
    ),
    "range not usable": Rule(
        "repaired",
        "Open, high or low is not finite or positive, the high is below the low, or the close is "
        "outside of them by more than 0.5%",
        "All three become unknown",
        "high 49, low 51",
    ),
    "adjustment unexplained": Rule(
        "kept",
        "A step of the adjusted close that the named dividend does not make",
        "Nothing",
        "adj_close adjusted by 1% without a dividend",
    ),
}
