"""The verdict: what a backtest supports, what it does not, and what the forecast is good for.

Four questions are put to a model (:mod:`forecaster.evaluation.claims`): is its distribution better
than that of each rival, is its volatility, is its mean better than the historical mean, does its sign
say more than chance. Beside them stands what it promises of itself: its intervals, its lower tail and
its PIT, over all sessions and in the most volatile third. A use is named only if both hold. A
forecast that is too good to be one (:mod:`forecaster.evaluation.alarm`) is recommended for nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from forecaster.evaluation.alarm import Alarm
from forecaster.evaluation.claims import (
    GARCH_LIKE,
    LEVEL,
    QUESTIONS,
    RIVALS,
    Claim,
    about,
    claims_of,
    hardest,
    listed,
    title,
)
from forecaster.evaluation.promises import Interval, Pit, Tail, intervals_of, pits_of, tails_of

_MEASURES = {"volatility": "QLIKE "}
_USES = {
    "volatility": "its volatility",
    "distribution": "its intervals",
    "var": "its VaR",
    "direction": "its direction",
    "mean": "its mean",
}


@dataclass(frozen=True)
class Given:
    """What forecasts give of their distributions; what was filled in is not judged."""

    levels: frozenset[float] | None = None
    """Of the quantiles that are given; None if all are."""
    volatility: bool = True
    """Whether there is more than a point"""

    def has(self, level: float) -> bool:
        """Return whether the quantile of a level is given."""
        return self.levels is None or round(level, 6) in self.levels


WHOLE = Given()
"""Whole distributions."""


@dataclass(frozen=True)
class Verdict:
    """What a backtest says of a model; printed, it is one paragraph."""

    text: str
    """The headline, the rows and the advice"""
    headline: str = ""
    rows: tuple[tuple[str, str], ...] = ()
    """What was asked, and the answer"""
    advice: str = ""
    claims: tuple[Claim, ...] = ()
    intervals: tuple[Interval, ...] = ()
    tails: tuple[Tail, ...] = ()
    pits: tuple[Pit, ...] = ()
    uses: tuple[str, ...] = ()
    """What the forecast may serve for: some of ``volatility``, ``distribution`` (its intervals),
    ``var``, ``direction`` and ``mean``"""
    alarm: Alarm | None = None
    """Why it is too good to be a forecast"""

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
        alarm = document.get("alarm")
        return cls(
            text=str(document["verdict"]),
            headline=str(document.get("headline", "")),
            rows=tuple((str(name), str(words)) for name, words in document.get("rows", ())),
            advice=str(document.get("advice", "")),
            claims=tuple(Claim(**it) for it in document.get("claims", ())),
            intervals=tuple(Interval(**it) for it in document.get("intervals", ())),
            tails=tuple(Tail(**it) for it in document.get("tails", ())),
            pits=tuple(Pit(**it) for it in document.get("pits", ())),
            uses=tuple(document.get("uses", ())),
            alarm=Alarm(tuple(alarm["signs"]), str(alarm["cause"])) if alarm else None,
        )


def judge(
    model: str,
    tables: Mapping[str, pd.DataFrame],
    alarm: Alarm | None = None,
    given: Given = WHOLE,
) -> Verdict:
    """Return the verdict on a model of a backtest.

    Parameters
    ----------
    model : whose verdict it is.
    tables : of :class:`forecaster.evaluation.evaluate.Evaluation`: significance, mean, direction,
        coverage, value_at_risk, uniformity and seeds.
    alarm : of :func:`forecaster.evaluation.alarm.alarm_of`.
    given : what the forecasts give of their distributions.
    """
    comparison = tables["significance"]
    if not given.volatility:
        comparison = comparison[~comparison["metric"].str.startswith("qlike")]
    claims = claims_of(model, comparison, tables["mean"], tables["direction"])
    distribution = about(claims, "distribution")
    if not distribution and alarm is None:
        return Verdict(
            f"Nothing can be said of {model}: a score alone has no meaning, and there are no two "
            f"sessions that it and a rival ({listed(RIVALS, 'or')}) both forecast."
        )
    intervals = tuple(
        it for it in intervals_of(model, tables["coverage"]) if given.has((1 - it.nominal) / 2)
    )
    tails = tuple(it for it in tails_of(model, tables["value_at_risk"]) if given.has(1 - it.level))
    pits = pits_of(model, tables["uniformity"]) if given.levels is None else ()
    uses = () if alarm else _uses(claims, intervals, tails, pits)
    sessions = comparison.loc[comparison["model"] == model, "sessions"].max()
    headline = (
        alarm.text if alarm else f"{_headline(model, distribution)} over {sessions:,.0f} sessions."
    )
    rows = (
        *(
            (it.capitalize(), _evidence(about(claims, it), it))
            for it in QUESTIONS[1:]
            if it != "volatility" or given.volatility
        ),
        ("Intervals", "; ".join(it.text for it in intervals) or "not given"),
        ("Lower tail", _lower_tail(tails, pits)),
        *_seeds(model, tables["seeds"]),
    )
    advice = (
        "Use it for nothing until that is explained."
        if alarm
        else _advice(uses, distribution, tails)
    )
    notes = (
        f"({len(claims)} tests, Diebold–Mariano, Clark–West and Pesaran–Timmermann, at the {LEVEL:.0%} "
        f"level; p-values are times {len(QUESTIONS)}, the number of questions.)"
    )
    text = " ".join([headline, *(f"{name}: {words}." for name, words in rows), advice, notes])
    return Verdict(text, headline, rows, advice, claims, intervals, tails, pits, uses, alarm)


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
    naive = [claim for claim in claims if claim.against == "naive"]
    shown = dict.fromkeys([*naive, *hardest(claims)])  # of the others the tables tell
    return f"{head}: the CRPS of {model} is {listed(claim.text for claim in shown)}"


def _evidence(claims: Sequence[Claim], subject: str) -> str:
    """The answer to a question, and the effect seen against the rival that is hardest to beat."""
    if not claims:
        return {
            "volatility": "not tested, without rivals",
            "mean": "not tested, without drift, the historical mean, beside it",
            "direction": "its median never changes its sign, so there is nothing to test",
        }[subject]
    if any(claim.is_refuted for claim in claims):
        words = "worse than the best of its rivals"
    elif all(claim.is_supported for claim in claims):
        words = "supported"
    elif all(claim.is_significant for claim in claims):
        words = "too small to use"
    elif any(claim.is_supported for claim in hardest(claims)):
        words = "supported in part"
    else:
        words = "no evidence of skill"
    effects = listed(claim.text for claim in hardest(claims))
    return f"{words} ({_MEASURES.get(subject, '')}{effects})"


def _lower_tail(tails: Sequence[Tail], pits: Sequence[Pit]) -> str:
    """The breaches of the value at risk over all sessions and where they are amiss, and the PIT."""
    if not tails:
        return "not given"
    words = []
    for level in sorted({it.level for it in tails}):
        its = [it for it in tails if it.level == level]
        whole = [it.text for it in its if it.part == "all"]
        parts = [it.text for it in its if it.part != "all" and (it.is_thin or it.is_fat)]
        if whole or parts:
            words.append(f"VaR {level:.0%} breached on {listed([*whole, *parts])}")
    excesses = [it.excess for it in tails if it.is_short and it.excess is not None]
    if excesses:
        words.append(f"losses then up to {max(excesses):.0%} beyond the expected shortfall")
    return "; ".join([*words, *[it.text for it in pits if not it.is_kept][:1]])


def _seeds(model: str, table: pd.DataFrame) -> list[tuple[str, str]]:
    """How far the networks of several seeds lie from their average, if there are several."""
    ratios = table.loc[table["model"] == model, "ratio"].astype(float) - 1
    if ratios.empty:
        return []
    words = (
        f"the CRPS of {len(ratios)} networks alone is {ratios.min():+.2%} to {ratios.max():+.2%}"
    )
    return [("Luck of the seed", f"{words} beside that of their average")]


def _uses(
    claims: Sequence[Claim],
    intervals: Sequence[Interval],
    tails: Sequence[Tail],
    pits: Sequence[Pit],
) -> tuple[str, ...]:
    """What the forecast may serve for: what a rival does as well is for that rival to do."""
    good = {
        subject
        for subject in QUESTIONS
        if (its := about(claims, subject)) and all(claim.is_supported for claim in its)
    }
    if not any(claim.against in GARCH_LIKE for claim in about(claims, "volatility")):
        good -= {"volatility"}
    if "distribution" in good:
        sound = all(it.is_kept for it in tails) and all(it.is_kept for it in pits)
        if tails and sound:
            good |= {"var"}
        if not _are_kept(intervals) or any(it.is_thin for it in tails):
            good -= {"distribution"}
    return tuple(subject for subject in _USES if subject in good)


def _are_kept(intervals: Sequence[Interval]) -> bool:
    return bool(intervals) and all(interval.is_kept for interval in intervals)


def _advice(uses: Sequence[str], distribution: Sequence[Claim], tails: Sequence[Tail]) -> str:
    """The uses in a sentence, and a warning of the tail."""
    warning = _warning(tails)
    if uses:
        rest = "" if "direction" in uses else ", and do not trade on its direction"
        return f"Use {listed(_USES[use] for use in uses)}{rest}.{warning}"
    rivals = [title(claim.against) for claim in distribution if not claim.is_supported]
    if rivals:
        words = f"No evidence of a use that {listed(rivals, 'or')} would not serve as well."
    else:
        words = "A better distribution, but none of its parts alone is shown to be of use."
    return words + warning


def _warning(tails: Sequence[Tail]) -> str:
    if any(it.is_thin for it in tails):
        return " The lower tail is too thin: do not use its VaR."
    if any(it.is_short for it in tails):
        return " The lower tail is too thin: do not use its expected shortfall."
    if any(it.is_fat for it in tails):
        return " The lower tail is too fat: its VaR is larger than needed."
    return ""
