"""What the page says of one step, and of several: one is shown at a time, as the reader picks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from forecaster.backtesting.provenance import Provenance
from forecaster.evaluation.claims import listed as in_words
from forecaster.evaluation.drawn import Drawn
from forecaster.evaluation.evaluate import Evaluation
from forecaster.evaluation.verdict import Verdict
from forecaster.plots.style import Look
from forecaster.report import charts, tables
from forecaster.report.calibration import of_calibration
from forecaster.report.comparison import of_skill, of_strategy
from forecaster.report.markup import escape


@dataclass(frozen=True)
class Part:
    """What the page says of a step, as HTML, and its charts of all tickers."""

    verdict: str
    scores: str
    tickers: str
    statistics: str
    charts: Sequence[charts.Chart]

    @property
    def drawn(self) -> str:
        """The places of the charts."""
        return "\n".join(chart.html for chart in self.charts)


def part(
    drawn: Drawn,
    evaluation: Evaluation,
    looks: Mapping[str, Look],
    provenance: Provenance,
    *,
    briefly: bool,
) -> Part:
    """Return what the page says of a step.

    Parameters
    ----------
    drawn : what there is to show of its forecasts.
    evaluation : its statistics.
    looks : of each model of the page, the first model first.
    provenance : where the backtest comes from.
    briefly : draw skill and calibration alone, as of every step but the first.
    """
    model, own = provenance.models[0], evaluation.tables
    there = {name: look for name, look in looks.items() if name in drawn.models}
    skill = of_skill(drawn, own, there)
    figures = [
        *(islice(skill, 1) if briefly else skill),
        *of_calibration(drawn, own, there, briefly=briefly),
    ]
    if "strategy" in own:
        figures += of_strategy(drawn, model, own["strategy"])
    step = evaluation.verdict.step
    return Part(
        tables.verdict(evaluation.verdict),
        f"{tables.pooled(own['scores'])}\n{tables.against(drawn.tests(), model)}",
        tables.tickers(own["scores"]),
        "\n".join([tables.tests(own["significance"], model), *tables.statistics(own)]),
        [charts.of_step(it, step) for it in figures] if briefly else figures,
    )


def together(by_step: Mapping[int, str]) -> str:
    """Return the HTML of every step, under its number if there are several."""
    if len(by_step) == 1:
        (only,) = by_step.values()
        return only
    return "\n".join(
        f'<div data-step="{step}"><p class="ahead">{listed([step])} ahead</p>\n{text}\n</div>'
        for step, text in by_step.items()
    )


def stepper(steps: Sequence[int]) -> str:
    """Return the picker of a step; empty if there is one."""
    if len(steps) == 1:
        return ""
    options = "".join(f'<option value="{step}">{step}</option>' for step in steps)
    return (
        f'<label>Sessions ahead <select id="step" autocomplete="off">{options}</select></label>\n'
    )


def spoken(verdict: Verdict) -> str:
    """Return the headline and the advice of the further steps that the verdict speaks of."""
    return "".join(
        f"\n<p>{escape(f'{it.headline} {it.advice}' if it.headline else it.text)}</p>"
        for it in verdict.ahead
    )


def listed(steps: Sequence[int]) -> str:
    """Return steps in words: ``1, 5 and 21 sessions``."""
    return f"{in_words(map(str, steps))} session{'s' * (steps[-1] > 1)}"
