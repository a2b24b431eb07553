"""Claims: a model is better than a rival in some respect, the effect seen, and how likely by chance.

A claim is of a pair, on the rows that both have, and nothing in it depends on a third model: the
CRPS is that of the 23 quantiles whatever else is there, and p-values are corrected for the number of
`QUESTIONS`, which is fixed, not for the number of rivals (Bonferroni).

A question of several rivals is answered yes if the model beats every one of them. That is an
intersection-union test (Berger 1982, Multiparameter hypothesis testing and acceptance sampling,
Technometrics 24(4)): its p-value is the largest of the one-sided ones, and needs no correction. To
pick the best rival after the fact is therefore fair, and a further rival can only make the praise
harder to get.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from forecaster.evaluation.metrics import POOLED

LEVEL = 0.05
"""A corrected p-value below this supports a claim."""

QUESTIONS = ("distribution", "volatility", "mean", "direction")
"""What a model is asked, whichever models are beside it."""

GARCH_LIKE = ("garch", "gjr", "gjr-events", "egarch", "har", "average")
"""Models of the volatility; a volatility is of use if it is better than that of each that is there."""

RIVALS = ("naive", *GARCH_LIKE)
"""Models that a distribution must beat, each that is there."""

LEAST = {"distribution": 0.0025, "volatility": 0.02, "mean": 0.005, "direction": 0.02}
"""Effects below these are too small to use, whatever their p-value.

Of the distribution, the share by which the CRPS is lower, and of the volatility the difference of
QLIKE: what a volatility costs that is 10% off every day. With a normal distribution whose scale is
wrong by a share *d*, the CRPS rises by d²/4 of itself and the QLIKE by 2d². Of the mean, the
out-of-sample R²: a mean that explains 0.5% of the variance moves by 7% of a day's volatility, 7 basis
points where that is 1%, and to trade on it and back costs
2 x :data:`forecaster.config.COST_BP` = 10. Of the direction, the share of hits beyond chance: a
correlation of 7% gives arcsin(0.07) / pi = 2.2 points.
"""

ONE_SIDED = ("mean", "direction")
"""Questions whose tests look for skill alone."""

MEASURES = {
    "crps": "distribution",
    "qlike": "volatility",
    "qlike_range": "volatility",
    "r2": "mean",
    "hits": "direction",
}
"""What is measured, and the question that it answers."""

_TITLES = {"garch": "GARCH", "gjr": "GJR-GARCH", "egarch": "EGARCH", "har": "HAR"}
_TITLES |= {"gjr-events": "GJR-GARCH with earnings"}
_TITLES |= {"average": "the GARCH average", "drift": "the historical mean"}


@dataclass(frozen=True)
class Claim:
    """A model is better than a rival in some respect: the effect seen, and how likely by chance."""

    subject: str
    """One of `QUESTIONS`"""
    against: str
    """A model, or ``chance``"""
    better: bool
    effect: str
    """What was seen, in words"""
    p_value: float
    """Two-sided of distribution and volatility, one-sided (better) of mean and direction; before
    correction"""
    corrected: float
    """Times the number of questions"""
    measure: str = ""
    """One of `MEASURES`"""
    size: float | None = None
    """Ratio of CRPS less 1, difference of QLIKE, R², or share of hits beyond chance; not known of a
    claim of an earlier version"""

    @property
    def is_small(self) -> bool:
        """Whether the effect is too small to use, whatever its p-value."""
        if self.size is None:
            return False
        gain = self.size if self.subject in ONE_SIDED else -self.size
        return gain < LEAST[self.subject]

    @property
    def is_significant(self) -> bool:
        """Whether the model is surely better, by however little."""
        return self.better and self.corrected < LEVEL

    @property
    def is_supported(self) -> bool:
        """Whether the model is surely better, and by enough to be of use."""
        return self.is_significant and not self.is_small

    @property
    def is_refuted(self) -> bool:
        """Whether the model is worse, and surely so."""
        return not self.better and self.corrected < LEVEL and self.subject not in ONE_SIDED

    @property
    def doubt(self) -> float:
        """The one-sided p-value of the model being better."""
        if self.subject in ONE_SIDED:
            return self.p_value
        return self.p_value / 2 if self.better else 1 - self.p_value / 2

    @property
    def text(self) -> str:
        """The effect and its p-value."""
        return f"{self.effect}, p {chance(self.corrected)}"


def claims_of(
    model: str, comparison: pd.DataFrame, means: pd.DataFrame, signs: pd.DataFrame
) -> tuple[Claim, ...]:
    """Return the claims of a model that there is a test of.

    Parameters
    ----------
    comparison : of :func:`forecaster.evaluation.significance.compare` by crps, qlike, qlike_range.
    means : :func:`forecaster.evaluation.predictability.mean_test`.
    signs : :func:`forecaster.evaluation.predictability.sign_test`.
    """
    claims = []
    rows = comparison[(comparison["model"] == model) & comparison["against"].isin(RIVALS)]
    rows = rows[rows["p_value"].notna()]  # those of too few forecasts that do not overlap
    for row in rows[rows["metric"].isin(MEASURES)].to_dict("records"):
        size = row["ratio"] - 1 if row["metric"] == "crps" else row["difference"]
        claims.append(
            _claim(row["metric"], row["against"], row["difference"] < 0, _gap(row), row, size)
        )
    for row in means[means["model"] == model].to_dict("records"):
        effect = f"R² {row['r2']:+.2%} over {title(row['against'])}"
        claims.append(_claim("r2", row["against"], row["r2"] > 0, effect, row, row["r2"]))
    rows = signs[(signs["model"] == model) & (signs["ticker"] == POOLED)]
    for row in rows[rows["p_value"].notna()].to_dict("records"):
        surplus = row["hit_rate"] - row["expected"]
        effect = f"{row['hit_rate']:.1%} of signs right, {row['expected']:.1%} by chance"
        claims.append(_claim("hits", "chance", row["statistic"] > 0, effect, row, surplus))
    return tuple(claims)


def hardest(claims: Iterable[Claim]) -> list[Claim]:
    """Return the claim that is least sure of each measure: that against the best of the rivals."""
    worst: dict[str, Claim] = {}
    for claim in claims:
        if claim.measure not in worst or claim.doubt > worst[claim.measure].doubt:
            worst[claim.measure] = claim
    return list(worst.values())


def chance(p_value: float) -> str:
    """Return a p-value as it follows the letter p.

    >>> chance(0.0001), chance(0.209)
    ('< 0.001', '= 0.209')
    """
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"


def title(name: str) -> str:
    """Return a model's name in words."""
    return _TITLES.get(name, name)


def listed(words: Iterable[str], link: str = "and") -> str:
    """Return words as a list in a sentence."""
    *first, last = words
    return f"{', '.join(first)} {link} {last}" if first else last


def about(claims: Sequence[Claim], subject: str) -> list[Claim]:
    """Return the claims that answer one of the `QUESTIONS`."""
    return [claim for claim in claims if claim.subject == subject]


def _claim(
    measure: str, against: str, better: Any, effect: str, row: Mapping[Any, Any], size: float
) -> Claim:
    p_value = float(row["p_value"])
    return Claim(
        MEASURES[measure],
        str(against),
        bool(better),
        effect,
        p_value,
        min(len(QUESTIONS) * p_value, 1.0),
        measure,
        float(size),
    )


def _gap(row: Mapping[Any, Any]) -> str:
    measure = "CRPS" if row["metric"] == "crps" else "QLIKE"
    name = title(row["against"]) + (" by ranges" if row["metric"] == "qlike_range" else "")
    if row["difference"] == 0:
        return f"{measure} the same as {name}"
    side = "below" if row["difference"] < 0 else "above"
    # A QLIKE has no ratio scale: it may be negative.
    relative = row["metric"] == "crps"
    size = f"{abs(1 - row['ratio']):.2%}" if relative else f"{abs(row['difference']):.4f}"
    return f"{measure} {size} {side} {name}"
