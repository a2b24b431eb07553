"""The verdict: what a backtest supports, what it does not, and what the forecast is good for.

Five questions are asked of one model, each with a test whose p-value is corrected for all that were
asked (Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
Statistics 6(2)): is its distribution better than each baseline's, is its volatility, does its median
say more of the price than today's price does, does its sign say more than chance, and do its
intervals hold what they promise.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecaster.evaluation.metrics import BASELINES, POOLED

LEVEL = 0.05
"""A corrected p-value below this supports a claim."""

TOLERANCE = 0.01
"""Coverage this near to its promise is kept, however sure the small difference is."""

_TITLES = {"garch": "GARCH", "gjr": "GJR-GARCH"}
_MEASURES = {"crps": "CRPS", "qlike": "QLIKE"}
_INTERVALS = (80, 95)


@dataclass(frozen=True)
class Claim:
    """Something said of a model, what is seen, and how likely so much is by chance."""

    subject: str
    """``distribution``, ``volatility``, ``mean`` or ``direction``"""
    against: str
    better: bool
    seen: str
    p_value: float
    """Two-sided, but one-sided of the direction; before correction."""
    corrected: float = np.nan

    @property
    def supported(self) -> bool:
        """Whether it is better, and surely so."""
        return self.better and self.corrected < LEVEL

    @property
    def refuted(self) -> bool:
        """Whether it is worse, and surely so."""
        return not self.better and self.corrected < LEVEL


def verdict(
    model: str, comparison: pd.DataFrame, direction: pd.DataFrame, coverage: pd.DataFrame
) -> str:
    """One paragraph on a model of a backtest.

    Parameters
    ----------
    model : whose verdict it is.
    comparison : :func:`forecaster.evaluation.significance.compare` by crps, qlike and error.
    direction : :func:`forecaster.evaluation.predictability.direction`.
    coverage : :func:`forecaster.evaluation.calibration.coverage`.
    """
    claims = claims_of(model, comparison, direction)
    distribution = [claim for claim in claims if claim.subject == "distribution"]
    if not distribution:
        return (
            f"Nothing can be said of {model}: a score alone has no meaning, and there are no two "
            f"sessions that it and a baseline ({' or '.join(BASELINES)}) both forecast."
        )
    sessions = comparison.loc[comparison["model"] == model, "sessions"].max()
    sentences = [
        f"{_headline(model, distribution)} over {sessions:,} sessions.",
        *(
            f"{subject.capitalize()}: {_evidence([c for c in claims if c.subject == subject])}."
            for subject in ("volatility", "mean", "direction")
            if any(claim.subject == subject for claim in claims)
        ),
        *["Direction: its median never changes its sign, so there is nothing to test."]
        * all(claim.subject != "direction" for claim in claims),
        f"Intervals: {_intervals(model, coverage)}.",
        f"{_use(claims, _kept(model, coverage))}",
        f"({len(claims)} tests, Diebold–Mariano and Pesaran–Timmermann, at the {LEVEL:.0%} level "
        "after Holm's correction.)",
    ]
    return " ".join(sentences)


def claims_of(model: str, comparison: pd.DataFrame, direction: pd.DataFrame) -> list[Claim]:
    """The claims of a model that there is a test of, with their p-values corrected."""
    claims = [
        Claim(subject, row["against"], row["difference"] < 0, _gap(row), row["p_value"])
        for subject, metric in (
            ("distribution", "crps"),
            ("volatility", "qlike"),
            ("mean", "error"),
        )
        for row in comparison[
            (comparison["model"] == model) & (comparison["metric"] == metric)
        ].to_dict("records")
        # The price of naive is today's; of GARCH it is, to a hair.
        if subject != "mean" or row["against"] == "naive"
    ]
    rows = direction[(direction["model"] == model) & (direction["ticker"] == POOLED)]
    for row in rows[rows["p_value"].notna()].to_dict("records"):
        better = row["statistic"] > 0
        seen = f"{row['hit_rate']:.1%} of signs right"
        claims.append(Claim("direction", "chance", better, seen, row["p_value"]))
    return _corrected(claims)


def _corrected(claims: list[Claim]) -> list[Claim]:
    """The claims with Holm's p-values."""
    order = np.argsort([claim.p_value for claim in claims])
    steps = np.arange(len(claims), 0, -1) * np.sort([claim.p_value for claim in claims])
    values = np.minimum(np.maximum.accumulate(steps), 1.0)
    corrected = dict(zip(order, values, strict=True))
    return [
        Claim(c.subject, c.against, c.better, c.seen, c.p_value, float(corrected[i]))
        for i, c in enumerate(claims)
    ]


def _headline(model: str, claims: list[Claim]) -> str:
    beaten = [c for c in claims if c.supported]
    worse = [c for c in claims if c.refuted]
    level = [c for c in claims if c not in beaten and c not in worse]
    misses = " and ".join(
        f"{words} {listed((title(c.against) for c in group), 'or')}"
        for words, group in (("no better than", level), ("worse than", worse))
        if group
    )
    if beaten:
        wins = f"{model} beat {listed(title(c.against) for c in beaten)}"
        head = f"{wins} but is {misses}" if misses else wins
    else:
        head = f"{misses[0].upper()}{misses[1:]}"
    return f"{head}: the CRPS of {model} is {listed(_told(c) for c in claims)}"


def _evidence(claims: list[Claim]) -> str:
    better, worse = any(c.supported for c in claims), any(c.refuted for c in claims)
    if better and worse:
        words = "better than one baseline and worse than another"
    elif better:
        words = "supported" if all(c.supported for c in claims) else "supported in part"
    elif worse:
        words = "worse"
    else:
        words = "no evidence of skill"
    measure = {"volatility": "QLIKE ", "mean": "error of the median price "}
    return f"{words} ({measure.get(claims[0].subject, '')}{listed(_told(c) for c in claims)})"


def _told(claim: Claim) -> str:
    chance = "p < 0.001" if claim.corrected < 0.001 else f"p = {claim.corrected:.3f}"
    note = "" if claim.corrected < LEVEL else ", not significant"
    return (
        f"{claim.seen} ({chance}{note})"
        if claim.subject == "distribution"
        else (f"{claim.seen}, {chance}")
    )


def _intervals(model: str, coverage: pd.DataFrame) -> str:
    rows = _pooled(model, coverage)
    told = []
    for level in _INTERVALS:
        for part, where in (("all", ""), ("high", " in the most volatile third")):
            row = rows[(rows["part"] == part) & np.isclose(rows["nominal"], level / 100)]
            if len(row):
                told.append((level, where, row.iloc[0]))
    if not told:
        return "not known"
    return "; ".join(
        f"{level}% held {row['share']:.1%}{where}"
        + ("" if _keeps(row) else f", too {'narrow' if row['share'] < level / 100 else 'wide'}")
        for level, where, row in told
    )


def _kept(model: str, coverage: pd.DataFrame) -> bool:
    """Whether the intervals hold what they promise, in rough times too."""
    rows = _pooled(model, coverage)
    rows = rows[rows["part"].isin(["all", "high"]) & rows["nominal"].isin([0.8, 0.95])]
    return len(rows) > 0 and all(_keeps(row) for _, row in rows.iterrows())


def _keeps(row: pd.Series) -> bool:
    return abs(row["share"] - row["nominal"]) <= TOLERANCE or row["p_value"] >= LEVEL


def _pooled(model: str, coverage: pd.DataFrame) -> pd.DataFrame:
    return coverage[(coverage["model"] == model) & (coverage["ticker"] == POOLED)]


def _use(claims: list[Claim], intervals: bool) -> str:
    """What the forecast may serve for."""
    found = {claim.subject for claim in claims if claim.supported}
    # What a baseline does better is for that baseline to do.
    found -= {claim.subject for claim in claims if claim.refuted}
    good = [
        words
        for words, is_good in (
            ("its volatility", "volatility" in found),
            ("its intervals", intervals and "distribution" in found),
            ("its direction", "direction" in found),
            ("its median price", "mean" in found),
        )
        if is_good
    ]
    if not good:
        rivals = [c.against for c in claims if c.subject == "distribution" and not c.supported]
        if rivals:
            others = listed(map(title, rivals), "or")
            return f"No evidence of a use that {others} would not serve as well."
        return "A better distribution, but none of its parts alone is shown to be of use."
    rest = "" if {"direction", "mean"} <= found else ", and do not trade on its direction"
    return f"Use {listed(good)}{rest if 'direction' not in found else ''}."


def _gap(row: dict) -> str:
    name = title(row["against"])
    if row["difference"] == 0:
        return f"the same as that of {name}"
    side = "lower" if row["difference"] < 0 else "higher"
    if row["metric"] == "qlike":  # no ratio scale: its logarithm may be negative
        return f"{abs(row['difference']):.4f} {side} than that of {name}"
    return f"{abs(1 - row['ratio']):.2%} {side} than that of {name}"


def title(name: str) -> str:
    """A model's name in words."""
    return _TITLES.get(name, name)


def listed(words: Iterable[str], link: str = "and") -> str:
    """Words as a list in a sentence."""
    *first, last = words
    return f"{', '.join(first)} {link} {last}" if first else last
