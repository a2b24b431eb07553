"""The verdict: what a backtest supports, what it does not, and what the forecast is good for.

Four questions are put to a model (:mod:`forecaster.evaluation.claims`): is its distribution better
than that of each rival, is its volatility, is its mean better than the historical mean, does its sign
say more than chance. Beside them stands what it promises of itself: its intervals, its lower tail and
its PIT, over all sessions and in the most volatile third. A use is named only if both hold. A
forecast that is too good to be one (:mod:`forecaster.evaluation.alarm`) is recommended for nothing.

A verdict is a sentence, a row for each question and one piece of advice; what the rows leave out is in
its details. Terminal, JSON and report show the same rows. Of a backtest of several steps, the verdict
on the shortest holds that on the longest, and those between that say something else than both.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import pandas as pd

from forecaster.evaluation.alarm import Alarm
from forecaster.evaluation.claims import (
    GARCH_LIKE,
    LEAST,
    LEVEL,
    QUESTIONS,
    RIVALS,
    Claim,
    about,
    chance,
    claims_of,
    hardest,
    listed,
    title,
)
from forecaster.evaluation.promises import (
    TAIL_TESTS,
    TOLERANCE,
    Interval,
    Pit,
    Tail,
    intervals_of,
    pits_of,
    tails_of,
)

Mark = Literal["yes", "no", "open"]

MARKS: dict[str, str] = {"yes": "✓", "no": "✗", "open": "–"}
"""How each mark is shown: the model is good at it, or bad, or nothing is shown."""

LEAST_APART = 20
"""Of fewer forecasts of several sessions that do not overlap, the losses alone are spoken of."""

_USES = {
    "volatility": "its volatility",
    "distribution": "its intervals",
    "var": "its VaR",
    "direction": "its direction",
    "mean": "its mean",
}

_THIRDS = {"low": "calmest third", "high": "most volatile third"}

_BOUNDS = {
    "distribution": f"CRPS {LEAST['distribution']:.2%}",
    "volatility": f"QLIKE {LEAST['volatility']:.2f}",
    "mean": f"R² {LEAST['mean']:.1%}",
    "direction": f"{100 * LEAST['direction']:.0f} points of signs",
}
"""The least effects of use, in words."""


@dataclass(frozen=True)
class Row:
    """The answer to one question."""

    question: str
    """``distribution``, ``volatility``, ``intervals``, ``mean``, ``direction`` or ``lower tail``"""
    mark: Mark
    words: str
    """The answer"""
    figure: str = ""
    """What was seen; against the rival that is hardest to beat"""
    p: float | None = None
    """Of that figure, corrected; None if nothing was tested"""

    @property
    def symbol(self) -> str:
        """The mark as it is shown."""
        return MARKS[self.mark]

    @property
    def chance(self) -> str:
        """The p-value as a table shows it."""
        return "–" if self.p is None else chance(self.p).removeprefix("= ")

    def __str__(self) -> str:
        seen = [self.figure] * bool(self.figure)
        seen += [f"p {chance(self.p)}"] if self.p is not None else []
        words = f"{self.question.capitalize()}: {self.words}"
        return f"{words} ({', '.join(seen)})" if seen else words


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
    """What a backtest says of a model; printed, it is a sentence, a line a question, and advice.

    Verdicts on more sessions ahead, as far as they are to be spoken of, follow.
    """

    text: str
    """The headline, the rows and the advice as one paragraph"""
    headline: str = ""
    rows: tuple[Row, ...] = ()
    advice: str = ""
    details: tuple[str, ...] = ()
    """What the rows leave out, in sentences"""
    claims: tuple[Claim, ...] = ()
    intervals: tuple[Interval, ...] = ()
    tails: tuple[Tail, ...] = ()
    pits: tuple[Pit, ...] = ()
    uses: tuple[str, ...] = ()
    """What the forecast may serve for: some of ``volatility``, ``distribution`` (its intervals),
    ``var``, ``direction`` and ``mean``"""
    alarm: Alarm | None = None
    """Why it is too good to be a forecast"""
    step: int = 1
    """Sessions ahead that the forecasts are"""
    ahead: tuple["Verdict", ...] = ()
    """On more sessions ahead: see :func:`together`"""

    def __str__(self) -> str:
        rows = (f"{row.symbol} {row}" for row in self.rows)
        own = "\n".join([self.headline, *rows, self.advice]) if self.headline else self.text
        return "\n\n".join([own, *map(str, self.ahead)])

    @property
    def document(self) -> dict[str, Any]:
        """The verdict as JSON has it, the text as ``verdict``."""
        values = asdict(replace(self, ahead=()))
        ahead = [it.document for it in self.ahead]
        step, _ = values.pop("step"), values.pop("ahead")
        steps = ({"step": step} if step > 1 else {}) | ({"ahead": ahead} if ahead else {})
        return {"verdict": values.pop("text"), **values, **steps}

    @property
    def marks(self) -> tuple[Mark | bool, ...]:
        """The answers as marks, and whether there is an alarm: two verdicts of the same are alike."""
        return (*(row.mark for row in self.rows), self.alarm is not None)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Verdict":
        """Return the verdict of a `document`, which may hold more, or no more than the text."""
        alarm = document.get("alarm")
        claims = tuple(Claim(**it) for it in document.get("claims", ()))
        intervals = tuple(Interval(**it) for it in document.get("intervals", ()))
        tails = tuple(Tail(**it) for it in document.get("tails", ()))
        pits = tuple(Pit(**it) for it in document.get("pits", ()))
        rows = document.get("rows", ())
        if all(isinstance(row, Mapping) for row in rows):
            answers = tuple(Row(**row) for row in rows)
        else:  # an earlier version wrote pairs of words
            answers = _rows(claims, intervals, tails, pits)
        return cls(
            text=str(document["verdict"]),
            headline=str(document.get("headline", "")),
            rows=answers,
            advice=str(document.get("advice", "")),
            details=tuple(map(str, document.get("details", ()))),
            claims=claims,
            intervals=intervals,
            tails=tails,
            pits=pits,
            uses=tuple(document.get("uses", ())),
            alarm=Alarm(tuple(alarm["signs"]), str(alarm["cause"])) if alarm else None,
            step=int(document.get("step", 1)),
            ahead=tuple(cls.read(it) for it in document.get("ahead", ())),
        )


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict on the shortest step, which holds those on others that add to it.

    That on the longest always does, and one between if its marks are those of neither.

    Parameters
    ----------
    verdicts : on each step, ascending.
    """
    shortest, longest = verdicts[0], verdicts[-1]
    between = [it for it in verdicts[1:-1] if it.marks not in (shortest.marks, longest.marks)]
    return replace(shortest, ahead=(*between, longest)[: len(verdicts) - 1])


def judge(
    model: str,
    tables: Mapping[str, pd.DataFrame],
    alarm: Alarm | None = None,
    given: Given = WHOLE,
    *,
    step: int = 1,
) -> Verdict:
    """Return the verdict on a model of a backtest.

    Parameters
    ----------
    model : whose verdict it is.
    tables : of :class:`forecaster.evaluation.evaluate.Evaluation`: significance, mean, direction,
        coverage, value_at_risk, uniformity, seeds, years and stability.
    alarm : of :func:`forecaster.evaluation.alarm.alarm_of`.
    given : what the forecasts give of their distributions.
    step : sessions ahead that the forecasts are.
    """
    begin = f"{step} sessions ahead: " if step > 1 else ""
    comparison = tables["significance"]
    if not given.volatility:
        comparison = comparison[~comparison["metric"].str.startswith("qlike")]
    few = step > 1 and _apart(model, tables["coverage"]) < LEAST_APART
    means, signs = (it[:0] if few else it for it in (tables["mean"], tables["direction"]))
    claims = claims_of(model, comparison, means, signs)
    distribution = about(claims, "distribution")
    if not distribution and alarm is None:
        return Verdict(
            f"{begin}Nothing can be said of {model}: a score alone has no meaning, and there are no two "
            f"{'sessions' if step == 1 else 'spans apart'} that it and a rival "
            f"({listed(RIVALS, 'or')}) both forecast.",
            step=step,
        )
    coverage, risk, uniformity = (
        table if step == 1 else table[table["sessions"] >= LEAST_APART]
        for table in (tables["coverage"], tables["value_at_risk"], tables["uniformity"])
    )
    intervals = tuple(it for it in intervals_of(model, coverage) if given.has((1 - it.nominal) / 2))
    tails = tuple(it for it in tails_of(model, risk) if given.has(1 - it.level))
    pits = pits_of(model, uniformity) if given.levels is None else ()
    uses = () if alarm else _uses(claims, intervals, tails, pits)
    sessions = comparison.loc[comparison["model"] == model, "sessions"].max()
    headline = begin + (
        alarm.text if alarm else f"{_headline(model, distribution)}, over {sessions:,.0f} sessions."
    )
    rows = _rows(claims, intervals, tails, pits, with_volatility=given.volatility, few=few)
    advice = (
        "Use it for nothing until that is explained."
        if alarm
        else _advice(uses, distribution, tails)
    )
    text = " ".join([headline, *(f"{row}." for row in rows), advice])
    details = (
        *_over_time(model, tables["years"], tables["stability"]),
        *_details(model, claims, intervals, tails, pits, tables["seeds"]),
        *(_of_overlap(model, step, tables["coverage"]) if step > 1 else ()),
    )
    return Verdict(
        text, headline, rows, advice, details, claims, intervals, tails, pits, uses, alarm, step
    )


def _of_overlap(model: str, step: int, coverage: pd.DataFrame) -> list[str]:
    """How it is allowed for that forecasts of several sessions overlap."""
    return [
        f"Forecasts {step} sessions ahead overlap. Intervals, lower tail, PIT, mean and direction are of "
        f"cutoffs so far apart that none do, {_apart(model, coverage):,} of them; distribution and "
        "volatility are of all cutoffs, with errors that allow for the overlap."
    ]


def _apart(model: str, coverage: pd.DataFrame) -> int:
    """How many sessions there are whose forecasts do not overlap."""
    whole = coverage[(coverage["model"] == model) & (coverage["split"] == "all")]
    return int(whole["sessions"].max())


def _headline(model: str, claims: Sequence[Claim]) -> str:
    beaten = [claim for claim in claims if claim.is_significant]
    worse = [claim for claim in claims if claim.is_refuted]
    level = [claim for claim in claims if not claim.is_significant and not claim.is_refuted]
    misses = " and ".join(
        f"{words} {listed((title(claim.against) for claim in group), 'or')}"
        for words, group in (("no better than", level), ("worse than", worse))
        if group
    )
    if not beaten:
        return f"{model} is {misses}"
    wins = f"{model} beat {listed(title(claim.against) for claim in beaten)}"
    return f"{wins} but is {misses}" if misses else wins


def _rows(
    claims: Sequence[Claim],
    intervals: Sequence[Interval],
    tails: Sequence[Tail],
    pits: Sequence[Pit],
    *,
    with_volatility: bool = True,
    few: bool = False,
) -> tuple[Row, ...]:
    first = ("distribution", "volatility") if with_volatility else ("distribution",)
    missing = "too few forecasts that do not overlap" if few else "not given"
    return (
        *(_claimed(it, about(claims, it)) for it in first),
        _interval_row(intervals, missing),
        *(
            Row(it, "open", "not tested", missing) if few else _claimed(it, about(claims, it))
            for it in ("mean", "direction")
        ),
        _tail_row(tails, pits, missing),
    )


def _claimed(question: str, claims: Sequence[Claim]) -> Row:
    """The answer to a question, and the effect against the rival that is hardest to beat."""
    if not claims:
        missing = {
            "distribution": "no rival is beside it",
            "volatility": "no rival is beside it",
            "mean": "drift, the historical mean, is not beside it",
            "direction": "its median never changes its sign",
        }
        return Row(question, "open", "not tested", missing[question])
    mark: Mark = "open"
    seen = max(claims, key=lambda claim: claim.doubt)
    figure = seen.effect
    if any(claim.is_refuted for claim in claims):
        mark, words = "no", "worse"
    elif all(claim.is_supported for claim in claims):
        mark, words = "yes", "supported"
    elif all(claim.is_significant for claim in claims):
        words = "too small"
        seen = min(claims, key=lambda claim: abs(claim.size or 0))
        figure = f"{seen.effect}; of use from {_BOUNDS[question]}"
    elif any(claim.is_supported for claim in hardest(claims)):
        words = "in part"
    else:
        words = "no evidence"
    return Row(question, mark, words, figure, seen.corrected)


def _interval_row(intervals: Sequence[Interval], missing: str) -> Row:
    if not intervals:
        return Row("intervals", "open", missing)
    broken = [it for it in intervals if not it.is_kept]
    shown = [it for it in intervals if it.part == "all" or it in broken]
    each = ((level, [it for it in shown if it.nominal == level]) for level in (0.8, 0.95))
    figure = ", ".join(f"{level:.0%} held {_parted(its)}" for level, its in each if its)
    if not broken:
        p = _least(it.p_value for it in intervals)
        near = f", within {100 * TOLERANCE:.0f} point" if p is not None and p < LEVEL else ""
        return Row("intervals", "yes", "kept", f"{figure}{near}", p)
    narrow = {it.share < it.nominal for it in broken}
    words = "uneven" if len(narrow) > 1 else "too narrow" if narrow == {True} else "too wide"
    return Row("intervals", "no", words, figure, _least(it.p_value for it in broken))


def _parted(its: Sequence[Interval] | Sequence[Tail]) -> str:
    """The share over all sessions, and those of thirds of them that are amiss."""
    whole = [f"{it.share:.1%}" for it in its if it.part == "all"]
    thirds = [f"{_THIRDS[it.part]} {it.share:.1%}" for it in its if it.part != "all"]
    return f"{whole[0]} ({', '.join(thirds)})" if whole and thirds else ", ".join(whole or thirds)


def _tail_row(tails: Sequence[Tail], pits: Sequence[Pit], missing: str) -> Row:
    """The breaches of the value at risk over all sessions and where they are amiss, or the PIT."""
    question = "lower tail"
    if not tails:
        return Row(question, "open", missing)
    thin, fat = [it for it in tails if it.is_thin], [it for it in tails if it.is_fat]
    short = [it for it in tails if it.is_short]
    if short and not thin:
        worst = max(short, key=lambda it: it.excess or 0)
        figure = f"losses {worst.excess:.0%} beyond the expected shortfall at {worst.level:.0%}"
        return Row(question, "no", "too thin", figure, _least([worst.shortfall_p], TAIL_TESTS))
    missed = thin + fat
    shown = [it for it in tails if it.part == "all" or it in missed]
    each = ((level, [it for it in shown if it.level == level]) for level in (0.95, 0.99))
    breaches = ", ".join(f"{level:.0%} {_parted(its)}" for level, its in each if its)
    figure = f"VaR breached: {breaches}"
    p = _least((it.p_value for it in missed or tails), TAIL_TESTS)
    if missed:
        words = "too fat" if not thin else "uneven" if fat else "too thin"
        return Row(question, "no", words, figure, p)
    if uneven := [it for it in pits if not it.is_kept]:
        return Row(question, "no", "uneven", uneven[0].text, uneven[0].p_value)
    near = ", near enough" if p is not None and p < LEVEL else ""
    return Row(question, "yes", "kept", figure + near, p)


def _least(p_values: Iterable[float | None], tests: int = 1) -> float | None:
    """The smallest p-value, corrected for the number of tests; None if none is known."""
    known = [p for p in p_values if p is not None and p == p]
    return min(tests * min(known), 1.0) if known else None


def _details(
    model: str,
    claims: Sequence[Claim],
    intervals: Sequence[Interval],
    tails: Sequence[Tail],
    pits: Sequence[Pit],
    seeds: pd.DataFrame,
) -> list[str]:
    """What the rows leave out: every rival, every part of the sessions, seeds, and how it was tested."""
    lines = [
        f"{question.capitalize()}: {'; '.join(it.text for it in its)}."
        for question in QUESTIONS
        if (its := about(claims, question))
    ]
    if intervals:
        lines.append(f"Intervals: {'; '.join(it.text for it in intervals)}.")
    lines += [
        f"VaR {level:.0%}, breached: {'; '.join(it.text for it in tails if it.level == level)}."
        for level in sorted({it.level for it in tails})
    ]
    excesses = [it.excess for it in tails if it.is_short and it.excess is not None]
    if excesses:
        lines.append(f"Losses then are up to {max(excesses):.0%} beyond the expected shortfall.")
    if pits:
        lines.append(f"{'; '.join(it.text for it in pits)}.")
    ratios = seeds.loc[seeds["model"] == model, "ratio"].astype(float) - 1
    if not ratios.empty:
        lines.append(
            f"Luck of the seed: the CRPS of {len(ratios)} networks alone is {ratios.min():+.2%} to "
            f"{ratios.max():+.2%} beside that of their average."
        )
    return [
        *lines,
        f"{len(claims)} tests, Diebold–Mariano, Clark–West (R², out of sample) and Pesaran–Timmermann, "
        f"at the {LEVEL:.0%} level; p-values are times {len(QUESTIONS)}, the number of questions, those "
        f"of the lower tail times {TAIL_TESTS}.",
        f"An effect is large enough to use from {listed(_BOUNDS.values())}: the first two are what a "
        "volatility costs that is 10% off every day.",
    ]


def _over_time(model: str, years: pd.DataFrame, stability: pd.DataFrame) -> list[str]:
    """In which years the model was the better one, and whether that changes, for each baseline."""
    lines = []
    for row in stability[stability["model"] == model].to_dict("records"):
        of_pair = (years["model"] == model) & (years["against"] == row["against"])
        its = years[of_pair].set_index("year")["difference"]
        worse = [str(year) for year in its[its > 0].index]
        better = f"better in {len(its) - len(worse)} of {len(its)} years"
        lines.append(
            f"Over time, against {title(row['against'])}: {better}"
            f"{f', worse in {listed(worse)}' if worse else ''}; equal at all times, "
            f"p {chance(row['fluctuation_p'])} (fluctuation test); worst from "
            f"{row['worst_from']} to {row['worst_to']}, when it was "
            f"{'worse' if row['highest'] > 0 else 'still no worse'}."
        )
    return lines


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
    """What to use and what not, in a sentence."""
    barred = []
    if any(it.is_thin for it in tails):
        barred = ["its VaR (the lower tail is too thin)"]
    elif any(it.is_short for it in tails):
        barred = ["its expected shortfall (losses go beyond it)"]
    elif any(it.is_fat for it in tails):
        barred = ["its VaR (larger than needed: the lower tail is too fat)"]
    if uses:
        if not {"direction", "mean"} & set(uses):
            barred.insert(0, "its direction")
        words = f"Use {listed(_USES[use] for use in uses)}"
        return f"{words}, not {listed(barred, 'or')}." if barred else f"{words}."
    rivals = [title(claim.against) for claim in distribution if not claim.is_supported]
    if rivals:
        words = f"No evidence of a use that {listed(rivals, 'or')} would not serve as well"
    else:
        words = "A better distribution, but none of its parts alone is shown to be of use"
    return f"{words}; do not use {barred[0]}." if barred else f"{words}."
