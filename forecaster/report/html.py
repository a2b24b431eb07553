"""A backtest as one page: a file that needs nothing else, now or in ten years.

The page holds its charts, the script that draws them and its style, and asks nothing of the network:
its Content-Security-Policy forbids every request, and lets no script run but those whose hashes it
names. The verdict comes first, in words; the numbers, the charts, what they mean and where they come
from follow.
"""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from forecaster.backtesting.backtest import Backtest
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
    paths[0].write_text(page(backtest), encoding="utf-8")
    model, reactions = backtest.provenance.models[0], backtest.tables.get("reactions")
    for name, figure in evaluation.of_backtest(backtest.forecasts, model, reactions):
        paths.append(folder / "plots" / f"{name}.png")
        figure.savefig(paths[-1], dpi=DPI)
    return paths


def page(backtest: Backtest) -> str:
    """Return the page of a backtest; of several steps, one is shown at a time.

    Raises
    ------
    HistoryError : no outcome is known yet.
    """
    provenance, statistics, verdict = backtest.provenance, backtest.tables, backtest.verdict
    model, looks = provenance.models[0], style.looks(backtest.forecasts)
    evaluated = {verdict.step: Evaluation(statistics, verdict)} | backtest.ahead
    steps = list(evaluated)
    frame = _of(backtest.forecasts, steps[0])
    packed = [_packed(backtest, step, its) for step, its in evaluated.items()]
    packed[0] |= (
        {"further": dict(zip(map(str, steps[1:]), packed[1:], strict=True))} if steps[1:] else {}
    )
    held = json_text(packed.pop(0))  # first, as it takes much memory meanwhile
    del packed
    parts = {
        step: steps_of.part(_of(backtest.forecasts, step), its, looks, provenance, briefly=at > 0)
        for at, (step, its) in enumerate(evaluated.items())
    }
    next_day = steps == [1]
    of_ticker = sessions.of_ticker(
        frame, with_earnings=sessions.has_earnings(statistics), next_day=next_day
    )
    around = earnings.of_earnings(statistics, looks)
    drawn = [chart for part in parts.values() for chart in part.charts]
    library, script = charts.library(), _file("charts.js") + _file("page.js")
    return Template(_file("page.html")).substitute(
        hashes=" ".join(_hash(text) for text in (library, script)),
        style=charts.variables(sessions.colors(looks[model])) + _file("page.css"),
        model=escape(model),
        what="next-day forecasts" if next_day else f"forecasts {steps_of.listed(steps)} ahead",
        first=f"{frame['date'].min():%Y-%m-%d}",
        last=f"{frame['date'].max():%Y-%m-%d}",
        prices_to=escape(provenance.prices.last),
        headline=escape(verdict.headline or verdict.text),
        advice=escape(verdict.advice),
        spoken=steps_of.spoken(verdict),
        stepper=steps_of.stepper(steps),
        tiles=tables.tiles(backtest.scores, provenance, frame["date"].nunique()),
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


def _of(frame: pd.DataFrame, step: int) -> pd.DataFrame:
    """The rows of a step; the frame itself if it has no others."""
    its = frame["step"] == step
    return frame if its.all() else frame[its]


def _packed(backtest: Backtest, step: int, evaluation: Evaluation) -> dict[str, Any]:
    """The sessions of a step for the script of the page."""
    reactions = {it: backtest.tables[it] for it in ("reactions",) if it in backtest.tables}
    frame = backtest.forecasts
    return sessions.packed(_of(frame, step), evaluation.tables | reactions, frame)


def _file(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """What a Content-Security-Policy calls a script that may run."""
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"
