"""The verdict: what a backtest supports, what it does not, and what the forecast is good for.

Five questions are asked of one model, each with a test whose p-value is corrected for all that were
asked (Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
Statistics 6(2)): is its distribution better than each baseline's, is its volatility, does its median
say more of the price than today's price does, does its sign say more than chance, and do its
intervals hold what they promise.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from forecaster.evaluation.metrics import BASELINES, POOLED

LEVEL = 0.05
"""A corrected p-value below this supports a claim."""

TOLERANCE = 0.01
"""Coverage this near to its promise is kept, however sure the small difference is."""

_TITLES = {"garch": "GARCH", "gjr": "GJR-GARCH"}
_METRICS = {"distribution": "crps", "volatility": "qlike", "mean": "error"}
_MEASURES = {"volatility": "QLIKE ", "mean": "error of the median price "}
_USES = {
    "volatility": "its volatility",
    "distribution": "its intervals",
    "direction": "its direction",
    "mean": "its median price",
}
_PARTS = {"all": "", "high": " in the most volatile third"}


@dataclass(frozen=True)
class Claim:
    """A model is better than a rival in some respect: the effect seen, and how likely by chance."""

    subject: str
    """``distribution``, ``volatility``, ``mean`` or ``direction``"""
    against: str
    """A model, or ``chance``"""
    better: bool
    effect: str
    """What was seen, in words"""
    p_value: float
    """Two-sided, but one-sided of the direction; before correction"""
    corrected: float

    @property
    def is_supported(self) -> bool:
        """Whether the model is better, and surely so."""
        return self.better and self.corrected < LEVEL

    @property
    def is_refuted(self) -> bool:
        """Whether the model is worse, and surely so."""
        return not self.better and self.corrected < LEVEL

    @property
    def text(self) -> str:
        """The effect and its p-value."""
        chance = "p < 0.001" if self.corrected < 0.001 else f"p = {self.corrected:.3f}"
        if self.subject != "distribution":
            return f"{self.effect}, {chance}"
        return f"{self.effect} ({chance}{'' if self.corrected < LEVEL else ', not significant'})"


@dataclass(frozen=True)
class Interval:
    """What a central interval promised, and what it held."""

    nominal: float
    part: str
    """``all`` sessions, or the ``high`` third by volatility"""
    share: float
    p_value: float

    @property
    def is_kept(self) -> bool:
        """Whether the interval held what it promised, near enough or for all that can be told."""
        return abs(self.share - self.nominal) <= TOLERANCE or self.p_value >= LEVEL

    @property
    def text(self) -> str:
        """Promise and share, and what is wrong."""
        miss = f", too {'narrow' if self.share < self.nominal else 'wide'}"
        words = f"{self.nominal:.0%} held {self.share:.1%}{_PARTS[self.part]}"
        return words if self.is_kept else words + miss


@dataclass(frozen=True)
class Verdict:
    """What a backtest says of a model; printed, it is one paragraph."""

    text: str
    claims: tuple[Claim, ...] = ()
    intervals: tuple[Interval, ...] = ()
    uses: tuple[str, ...] = ()
    """What the forecast may serve for: some of ``volatility``, ``distribution`` (its intervals),
    ``direction`` and ``mean``"""

    def __str__(self) -> str:
        return self.text

    @property
    def document(self) -> dict[str, Any]:
        """The verdict as JSON has it, the text as ``verdict``."""
        values = asdict(self)
        return {"verdict": values.pop("text"), **values}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Verdict":
        """Return the verdict of a `document`, which may hold more, or no more than the text."""
        return cls(
            str(document["verdict"]),
            tuple(Claim(**it) for it in document.get("claims", ())),
            tuple(Interval(**it) for it in document.get("intervals", ())),
            tuple(document.get("uses", ())),
        )


def judge(
    model: str, comparison: pd.DataFrame, signs: pd.DataFrame, coverage: pd.DataFrame
) -> Verdict:
    """Return the verdict on a model of a backtest.

    Parameters
    ----------
    model : whose verdict it is.
    comparison : :func:`forecaster.evaluation.significance.compare` by crps, qlike and error.
    signs : :func:`forecaster.evaluation.predictability.sign_test`.
    coverage : :func:`forecaster.evaluation.calibration.coverage`.
    """
    claims = claims_of(model, comparison, signs)
    by_subject = {
        subject: [claim for claim in claims if claim.subject == subject]
        for subject in ("distribution", "volatility", "mean", "direction")
    }
    if not by_subject["distribution"]:
        return Verdict(
            f"Nothing can be said of {model}: a score alone has no meaning, and there are no two "
            f"sessions that it and a baseline ({' or '.join(BASELINES)}) both forecast."
        )
    intervals = _intervals(model, coverage)
    uses = _uses(claims, intervals)
    sessions = comparison.loc[comparison["model"] == model, "sessions"].max()
    sentences = [
        f"{_headline(model, by_subject['distribution'])} over {sessions:,} sessions.",
        *(
            f"{subject.capitalize()}: {_evidence(its)}."
            for subject, its in by_subject.items()
            if its and subject != "distribution"
        ),
        *["Direction: its median never changes its sign, so there is nothing to test."]
        * (not by_subject["direction"]),
        f"Intervals: {'; '.join(it.text for it in intervals) or 'not known'}.",
        _advice(uses, by_subject["distribution"]),
        f"({len(claims)} tests, Diebold–Mariano and Pesaran–Timmermann, at the {LEVEL:.0%} level "
        "after Holm's correction.)",
    ]
    return Verdict(" ".join(sentences), claims, intervals, uses)


def claims_of(model: str, comparison: pd.DataFrame, signs: pd.DataFrame) -> tuple[Claim, ...]:
    """Return the claims of a model that there is a test of, with Holm's p-values."""
    claims = [
        Claim(subject, row["against"], row["difference"] < 0, _gap(row), row["p_value"], np.nan)
        for subject, metric in _METRICS.items()
        for row in comparison[
            (comparison["model"] == model) & (comparison["metric"] == metric)
        ].to_dict("records")
        # The price of naive is today's; of GARCH it is, to a hair.
        if subject != "mean" or row["against"] == "naive"
    ]
    rows = signs[(signs["model"] == model) & (signs["ticker"] == POOLED)]
    for row in rows[rows["p_value"].notna()].to_dict("records"):
        effect = f"{row['hit_rate']:.1%} of signs right"
        better = bool(row["statistic"] > 0)
        claims.append(Claim("direction", "chance", better, effect, row["p_value"], np.nan))
    p_values = np.array([claim.p_value for claim in claims])
    order = np.argsort(p_values)
    steps = np.arange(len(claims), 0, -1) * p_values[order]
    corrected = np.empty(len(claims))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return tuple(
        replace(claim, corrected=float(p)) for claim, p in zip(claims, corrected, strict=True)
    )


def _headline(model: str, claims: Sequence[Claim]) -> str:
    beaten = [claim for claim in claims if claim.is_supported]
    worse = [claim for claim in claims if claim.is_refuted]
    level = [claim for claim in claims if not claim.is_supported and not claim.is_refuted]
    misses = " and ".join(
        f"{words} {listed((title(claim.against) for claim in group), 'or')}"
        for words, group in (("no better than", level), ("worse than", worse))
        if group
    )
    if beaten:
        wins = f"{model} beat {listed(title(claim.against) for claim in beaten)}"
        head = f"{wins} but is {misses}" if misses else wins
    else:
        head = f"{misses[0].upper()}{misses[1:]}"
    return f"{head}: the CRPS of {model} is {listed(claim.text for claim in claims)}"


def _evidence(claims: Sequence[Claim]) -> str:
    better = any(claim.is_supported for claim in claims)
    worse = any(claim.is_refuted for claim in claims)
    if better and worse:
        words = "better than one baseline and worse than another"
    elif better:
        words = "supported" + " in part" * (not all(claim.is_supported for claim in claims))
    else:
        words = "worse" if worse else "no evidence of skill"
    effects = listed(claim.text for claim in claims)
    return f"{words} ({_MEASURES.get(claims[0].subject, '')}{effects})"


def _intervals(model: str, coverage: pd.DataFrame) -> tuple[Interval, ...]:
    """The 80 and 95% intervals over all sessions, and in rough times."""
    rows = coverage[(coverage["model"] == model) & (coverage["ticker"] == POOLED)]
    return tuple(
        Interval(nominal, part, float(row["share"]), float(row["p_value"]))
        for nominal in (0.8, 0.95)
        for part in _PARTS
        for _, row in rows[(rows["part"] == part) & (rows["nominal"] == nominal)].iterrows()
    )


def _uses(claims: Sequence[Claim], intervals: Sequence[Interval]) -> tuple[str, ...]:
    """What the forecast may serve for: what a baseline does better is for that baseline to do."""
    good = {claim.subject for claim in claims if claim.is_supported}
    good -= {claim.subject for claim in claims if claim.is_refuted}
    if not intervals or not all(interval.is_kept for interval in intervals):
        good -= {"distribution"}
    return tuple(subject for subject in _USES if subject in good)


def _advice(uses: Sequence[str], distribution: Sequence[Claim]) -> str:
    """The uses in a sentence."""
    if not uses:
        rivals = [title(claim.against) for claim in distribution if not claim.is_supported]
        if rivals:
            return f"No evidence of a use that {listed(rivals, 'or')} would not serve as well."
        return "A better distribution, but none of its parts alone is shown to be of use."
    rest = "" if "direction" in uses else ", and do not trade on its direction"
    return f"Use {listed(_USES[use] for use in uses)}{rest}."


def _gap(row: Mapping[Any, Any]) -> str:
    name = title(row["against"])
    if row["difference"] == 0:
        return f"the same as that of {name}"
    side = "lower" if row["difference"] < 0 else "higher"
    if row["metric"] == "qlike":  # no ratio scale: its logarithm may be negative
        return f"{abs(row['difference']):.4f} {side} than that of {name}"
    return f"{abs(1 - row['ratio']):.2%} {side} than that of {name}"


def title(name: str) -> str:
    """Return a model's name in words."""
    return _TITLES.get(name, name)


def listed(words: Iterable[str], link: str = "and") -> str:
    """Return words as a list in a sentence."""
    *first, last = words
    return f"{', '.join(first)} {link} {last}" if first else last
