"""What the page says of the sessions around earnings, where a backtest has such."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from forecaster.evaluation.announced import PARTS
from forecaster.evaluation.claims import RIVALS
from forecaster.evaluation.metrics import BASELINES
from forecaster.plots.style import Look
from forecaster.report import charts
from forecaster.report.markup import chance, table, texts

TITLES = dict(
    zip(PARTS, ("reaction sessions", "the five after", "all other sessions"), strict=True)
)

LINK = '<a href="#earnings">Around earnings</a> '
"""In the contents."""

_LEVELS = {80: "circle", 95: "triangle"}
"""Percent of the intervals that are drawn, and their marks."""

_HOLLOW = {"circle": "ring", "triangle": "hollow_triangle"}
"""Marks of models whose line is not solid: gjr-events has the colour of gjr."""

_FIRST = (*BASELINES, "gjr-events")
"""Models that are shown before the reader asks, beside the first."""


def of_earnings(
    tables: Mapping[str, pd.DataFrame], looks: Mapping[str, Look]
) -> charts.Chart | None:
    """Return the coverage around earnings of the first model and its rivals, and all scores as a table.

    Parameters
    ----------
    tables : of :class:`forecaster.backtesting.backtest.Backtest`.
    looks : of each model, the first model first.

    Returns
    -------
    None where no announcement is known.
    """
    rows = tables.get("announced", pd.DataFrame())  # an earlier version made none
    if rows.empty:
        return None
    model = next(iter(looks))
    shown = [it for i, it in enumerate(looks) if i == 0 or it in RIVALS]
    rows = rows[rows["model"].isin(shown)]
    canvas = charts.Canvas("inside, less the promise (points)", dates=False)
    parts = [part for part in PARTS if part in set(rows["part"])]
    canvas.figure.xaxis.ticker = list(range(len(parts)))
    canvas.figure.xaxis.major_label_overrides = {i: TITLES[it] for i, it in enumerate(parts)}
    canvas.level(0)
    marks = []
    series = [(i, name, percent) for i, name in enumerate(shown) for percent in _LEVELS]
    for k, (i, name, percent) in enumerate(series):
        its = rows[rows["model"] == name].set_index("part").reindex(parts)
        share = 100 * its[f"coverage_{percent}"].astype(float)
        source = charts.source(
            at=np.arange(len(parts)) + ((k + 0.5) / len(series) - 0.5) * 0.8,
            off=share - percent,
            share=share,
            forecasts=its["forecasts"].astype(float),
            model=[name] * len(parts),
            part=[TITLES[it] for it in parts],
            interval=[f"{percent}%"] * len(parts),
        )
        color, marker = looks[name]["color"], _LEVELS[percent]
        data = {"x": "at", "y": "off", "source": source}
        dot = canvas.dots(f"earnings_{i}_{percent}", color, size=8, marker=marker, **data)
        dot.visible = i == 0 or name in _FIRST
        if looks[name]["linestyle"] != "-":
            dot.glyph.fill_color, marker = None, _HOLLOW[marker]
        canvas.add_entry(f"{name}, {percent}% interval", color, marker, dot)
        marks.append(dot)
    fields = [
        ("Model", "@model"),
        ("Interval", "@interval"),
        ("Sessions", "@part (@forecasts{0,0})"),
        ("Held", "@share{0.0}% (@off{+0.0} points)"),
    ]
    canvas.hover(marks, fields, along=False)
    return canvas.chart(
        "coverage-around-earnings",
        "Coverage around earnings",
        alternative="how far the share of returns inside the 80% and 95% intervals is from the promise, "
        "on sessions that react to earnings, on the five after, and on all others.",
        caption="Of the tickers with announcements. A reaction session is the first that can trade on "
        f"one; the five after show how fast a forecast calms down. Below the line {model}, or a rival, "
        "is too narrow.",
        table=_scores(rows),
    )


def section(chart: charts.Chart) -> str:
    """Return the part of the page."""
    heading = '<section id="earnings"><h2>Around earnings</h2>'
    return f"{heading}\n{chart.html}\n</section>\n"


def _scores(rows: pd.DataFrame) -> str:
    """Return the scores of each part and model as a table."""
    columns = {
        "Model": rows["model"].tolist(),
        "Forecasts": texts(rows["forecasts"], ",d"),
        "CRPS\u00a0%": texts(rows["crps"].astype(float), ".4f"),
    }
    for name in ("gjr", "gjr-events"):
        if (rows["model"] == name).any():
            columns[f"CRPS/{name}"] = texts(_ratio(rows, name), ".4f")
    for percent in _LEVELS:
        columns[f"Inside {percent}%"] = texts(rows[f"coverage_{percent}"].astype(float), ".1%")
    columns["p of the PIT"] = [chance(p) for p in rows["p_value"].astype(float)]
    cells = zip((TITLES[it] for it in rows["part"]), *columns.values(), strict=True)
    caption = (
        "Scores around earnings; a small p of the PIT says that the distribution was not right"
    )
    return table(caption, ["Sessions", *columns], cells)


def _ratio(rows: pd.DataFrame, base: str) -> pd.Series:
    """Return the CRPS of each row over that of a model on the same part."""
    its = rows[rows["model"] == base].set_index("part")["crps"]
    ratio: pd.Series = rows["crps"] / rows["part"].map(its)
    return ratio.astype(float)
