"""A backtest as one page: a file that needs nothing else, now or in ten years.

The page holds its charts, the script that draws them and its style, and asks nothing of the network:
its Content-Security-Policy forbids every request, and lets no script run but those whose hashes it
names. The verdict comes first, in words; the numbers, the charts, what they mean and where they come
from follow.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd

from forecaster.backtesting.backtest import Backtest
from forecaster.distributions.parts import Parts
from forecaster.evaluation.drawn import Drawn
from forecaster.evaluation.evaluate import Evaluation
from forecaster.plots import evaluation, style
from forecaster.report import charts, earnings, sessions, tables
from forecaster.report import steps as steps_of
from forecaster.report.markup import definitions, escape, json_text

DPI = 150


def write(backtest: Backtest, folder: Path) -> list[Path]:
    """Write ``report.html`` and ``plots/*.png`` of a backtest into a folder.

    Returns the paths written, the report first. Raises what :func:`page` and
    :func:`forecaster.plots.evaluation.of_backtest` raise.
    """
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    paths = [folder / "report.html"]
    drawn = _drawn(backtest)
    paths[0].write_text(_page(backtest, drawn), encoding="utf-8")
    model, reactions = backtest.provenance.models[0], backtest.tables.get("reactions")
    shortest = drawn[backtest.verdict.step]
    for name, figure in evaluation.of_backtest(backtest.parts, model, reactions, shortest):
        paths.append(folder / "plots" / f"{name}.png")
        figure.savefig(paths[-1], dpi=DPI)
    return paths


def page(backtest: Backtest) -> str:
    """Return the page of a backtest; of several steps, one is shown at a time.

    Raises
    ------
    HistoryError : no outcome is known yet.
    """
    return _page(backtest, _drawn(backtest))


def _drawn(backtest: Backtest) -> dict[int, Drawn]:
    """What there is to show of the forecasts of each step."""
    model = backtest.provenance.models[0]
    steps = (backtest.verdict.step, *backtest.ahead)
    return {step: Drawn(backtest.parts.of_step(step), model) for step in steps}


def _page(backtest: Backtest, drawn_of: Mapping[int, Drawn]) -> str:
    provenance, statistics, verdict = backtest.provenance, backtest.tables, backtest.verdict
    model, looks = provenance.models[0], style.looks(backtest.parts)
    evaluated = {verdict.step: Evaluation(statistics, verdict)} | backtest.ahead
    steps = list(evaluated)
    packed = [_packed(backtest, step, its, list(looks)) for step, its in evaluated.items()]
    packed[0] |= (
        {"further": dict(zip(map(str, steps[1:]), packed[1:], strict=True))} if steps[1:] else {}
    )
    held = json_text(packed.pop(0))  # first, as it takes much memory meanwhile
    del packed
    parts = {
        step: steps_of.part(drawn_of[step], its, looks, provenance, briefly=at > 0)
        for at, (step, its) in enumerate(evaluated.items())
    }
    days = _days(backtest.parts.of_step(steps[0]))
    next_day = steps == [1]
    of_ticker = sessions.of_ticker(
        looks, with_earnings=sessions.has_earnings(statistics), next_day=next_day
    )
    around = earnings.of_earnings(statistics, looks)
    drawn = [chart for part in parts.values() for chart in part.charts]
    library, script = charts.library(), _file("charts.js") + _file("page.js")
    return Template(_file("page.html")).substitute(
        hashes=" ".join(_hash(text) for text in (library, script)),
        style=charts.variables(sessions.colors(looks[model])) + _file("page.css"),
        model=escape(model),
        what="next-day forecasts" if next_day else f"forecasts {steps_of.listed(steps)} ahead",
        first=f"{days.min():%Y-%m-%d}",
        last=f"{days.max():%Y-%m-%d}",
        prices_to=escape(provenance.prices.last),
        headline=escape(verdict.headline or verdict.text),
        advice=escape(verdict.advice),
        spoken=steps_of.spoken(verdict),
        stepper=steps_of.stepper(steps),
        tiles=tables.tiles(backtest.scores, provenance, len(days)),
        verdict=steps_of.together({step: it.verdict for step, it in parts.items()}),
        scores=steps_of.together({step: it.scores for step, it in parts.items()}),
        meanings=definitions(tables.MEANINGS),
        tickers=steps_of.together({step: it.tickers for step, it in parts.items()}),
        fan=of_ticker[0].html,
        sessions="\n".join(chart.html for chart in of_ticker[1:]),
        earnings=earnings.section(around) if around else "",
        to_earnings=earnings.LINK if around else "",
        charts=steps_of.together({step: it.drawn for step, it in parts.items()}),
        statistics=steps_of.together({step: it.statistics for step, it in parts.items()}),
        origin=tables.origin(provenance, statistics["fallbacks"]),
        figures=json_text(charts.document([*of_ticker, *([around] if around else []), *drawn])),
        packed=held,
        library=library,
        script=script,
    )


def _days(parts: Parts) -> pd.DatetimeIndex:
    """The dates forecast."""
    return pd.DatetimeIndex(
        np.unique([day for it in parts.columns(["date"]) for day in it["date"].unique()])
    )


def _packed(
    backtest: Backtest, step: int, evaluation: Evaluation, models: Sequence[str]
) -> dict[str, Any]:
    """The sessions of a step for the script of the page."""
    reactions = {it: backtest.tables[it] for it in ("reactions",) if it in backtest.tables}
    return sessions.packed(backtest.parts, step, evaluation.tables | reactions, models)


def _file(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """What a Content-Security-Policy calls a script that may run."""
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"
