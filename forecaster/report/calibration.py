"""Charts of calibration over all tickers, and of the days that were least expected."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from forecaster.evaluation import calibration, decomposition, metrics
from forecaster.evaluation.drawn import Drawn
from forecaster.plots.style import Look
from forecaster.report import charts
from forecaster.report.markup import chance, folded, pivoted, table, texts

LISTED = 20
"""The least expected days that are in the table."""

PARTS = {"low": "calm third", "high": "rough third"}


def of_calibration(
    drawn: Drawn,
    tables: Mapping[str, pd.DataFrame],
    looks: Mapping[str, Look],
    *,
    briefly: bool = False,
) -> Iterator[charts.Chart]:
    """Yield PIT, reliability of the quantiles and of P(rise), coverage, and the first model's surprises.

    Briefly, those of P(rise) and the surprises are left out.

    Parameters
    ----------
    drawn : what there is to show of the forecasts.
    tables : of :class:`forecaster.backtesting.backtest.Backtest`.
    looks : of each model, the first model first.
    """
    yield _pit(drawn.histogram, tables["uniformity"], looks)
    yield _reliability(drawn.reliability, looks)
    if briefly:
        yield _coverage(tables["coverage"], looks)
        return
    if "decomposition" in tables:  # an earlier version made none
        steps = []
        for name in drawn.models:
            rows = drawn.rows(["log_return", "rise"], [name])
            steps.append(decomposition.reliability(rows, rows["rise"]))
        yield _rises(pd.concat(steps, ignore_index=True), tables["decomposition"], looks)
    yield _coverage(tables["coverage"], looks)
    yield _surprises(drawn.surprises, drawn.forecasts, next(iter(looks)))


def _pit(bins: pd.DataFrame, tests: pd.DataFrame, looks: Mapping[str, Look]) -> charts.Chart:
    canvas = charts.Canvas(
        "share of the returns (%)", dates=False, x_axis_label="PIT (a probability)"
    )
    canvas.figure.y_range.start = 0
    canvas.level(100 / calibration.BINS)
    marks = []
    for i, (model, look) in enumerate(looks.items()):
        its = bins[bins["model"] == model]
        middle = (its["start"] + its["stop"]) / 2
        # A step needs the end of the last bin too.
        columns = {
            "low": [*its["start"], 1.0],
            "high": [*its["stop"], 1.0],
            "middle": [*middle, np.nan],
            "share": 100 * its["share"].to_numpy()[[*range(len(its)), -1]],
            "model": [model] * (len(its) + 1),
        }
        options = {"name": f"pit_{i}", "source": charts.source(**columns)}
        if i == 0:
            bars = {"fill_color": look["color"], "fill_alpha": 0.5, "line_color": None}
            width = 0.9 / calibration.BINS
            mark = canvas.figure.vbar(x="middle", top="share", width=width, **bars, **options)
        else:
            line = {"line_color": look["color"], "line_dash": charts.dash(look), "line_width": 2}
            mark = canvas.figure.step(x="low", y="share", mode="after", **line, **options)
        mark.visible = _shown_first(model, i)
        canvas.add_entry(model, look["color"], charts.dash(look) if i else "band", mark)
        marks.append(mark)
    fields = [
        ("Model", "@model"),
        ("PIT", "@low{0.00} to @high{0.00}"),
        ("Share", "@share{0.0}% (5% if calibrated)"),
    ]
    canvas.hover(marks, fields, along=False)
    pooled = tests[(tests["ticker"] == metrics.POOLED) & (tests["split"] == "all")]
    chances = ", ".join(
        f"{model} {chance(p)}" for model, p in zip(pooled["model"], pooled["p_value"], strict=True)
    )
    names = [
        f"{low:.2f} to {high:.2f}" for low, high in zip(bins["start"], bins["stop"], strict=True)
    ]
    wide = _by_model(bins.assign(bin=names, share=100 * bins["share"]), "bin", looks)
    return canvas.chart(
        "pit",
        "Where returns fell in their forecast distributions (PIT)",
        alternative="a histogram in which flat is calibrated.",
        caption="Flat is calibrated; high at both ends is too narrow, high in the middle too wide. "
        f"p-values of uniformity, with days as clusters: {chances}.",
        table=folded(
            "The same as a table",
            pivoted("Share of the returns in each twentieth of the PIT, %", "PIT", wide, ".1f"),
        ),
    )


def _reliability(below: pd.DataFrame, looks: Mapping[str, Look]) -> charts.Chart:
    canvas = charts.Canvas(
        "returns below, less the level (points)", dates=False, x_axis_label="level of the quantile"
    )
    canvas.level(0)
    marks = []
    for i, (model, look) in enumerate(looks.items()):
        its = below[below["model"] == model]
        source = charts.source(
            level=its["level"],
            off=100 * (its["share"] - its["level"]),
            share=100 * its["share"],
            model=its["model"],
        )
        color, data = look["color"], {"x": "level", "y": "off", "source": source}
        width = 2 if i == 0 else 1.2
        path = canvas.line(f"level_{i}", color, dash=charts.dash(look), width=width, **data)
        dot = canvas.dots(f"level_dot_{i}", color, size=6, **data)
        path.visible = dot.visible = _shown_first(model, i)
        canvas.add_entry(model, color, charts.dash(look), path, dot)
        marks.append(dot)
    fields = [
        ("Model", "@model"),
        ("Level", "@level{0.000}"),
        ("Returns below", "@share{0.00}%"),
        ("Off by", "@off{+0.00} points"),
    ]
    canvas.hover(marks, fields, along=False)
    wide = _by_model(below.assign(level=below["level"].map("{:g}".format)), "level", looks)
    return canvas.chart(
        "reliability",
        "Reliability, level by level",
        alternative="how far the share of returns below each quantile is from the quantile's level.",
        caption="The share of returns below each quantile, less its level. On the line is "
        "calibrated; above it on the left and below it on the right is too narrow.",
        table=folded(
            "The same as a table",
            pivoted("Share of the returns below each quantile", "Level", wide, ".4f"),
        ),
    )


def _rises(steps: pd.DataFrame, parts: pd.DataFrame, looks: Mapping[str, Look]) -> charts.Chart:
    canvas = charts.Canvas("rises (%)", dates=False, x_axis_label="P(rise) forecast (%)")
    ends = np.array([steps["probability"].min(), steps["probability"].max()]) * 100
    canvas.line(
        "calibrated", charts.INK, dash="dashed", x="at", y="at", source=charts.source(at=ends)
    )
    marks = []
    for i, (model, look) in enumerate(looks.items()):
        its = steps[steps["model"] == model]
        source = charts.source(
            probability=100 * its["probability"],
            share=100 * its["share"],
            forecasts=its["forecasts"],
            model=its["model"],
        )
        data = {"x": "probability", "y": "share", "source": source}
        color, dash = look["color"], charts.dash(look)
        path = canvas.line(f"rise_{i}", color, dash=dash, width=2 if i == 0 else 1.2, **data)
        dot = canvas.dots(f"rise_dot_{i}", color, size=5, **data)
        path.visible = dot.visible = _shown_first(model, i)
        canvas.add_entry(model, color, dash, path, dot)
        marks.append(dot)
    fields = [
        ("Model", "@model"),
        ("P(rise)", "@probability{0.0}%"),
        ("Rises", "@share{0.0}%"),
        ("Forecasts in this step", "@forecasts{0,0}"),
    ]
    canvas.hover(marks, fields, along=False)
    of_rise = parts[parts["forecast"] == "rise"].set_index("model").reindex(list(looks))
    names = ["score", "miscalibration", "discrimination", "uncertainty"]
    cells = zip(map(str, of_rise.index), *(texts(of_rise[it], ".5f") for it in names), strict=True)
    return canvas.chart(
        "rises",
        "Reliability of P(rise)",
        alternative="how often it rose, by the probability that was forecast, beside the diagonal.",
        caption="How often it rose, by what was forecast (CORP: isotonic regression). On the diagonal "
        "is calibrated; a short or flat line tells days hardly apart, as it should of what cannot be "
        "known.",
        table=folded(
            "Brier's score: miscalibration less discrimination, plus uncertainty",
            table("Parts of the score", ["Model", *map(str.capitalize, names)], cells),
        ),
    )


def _coverage(table: pd.DataFrame, looks: Mapping[str, Look]) -> charts.Chart:
    rows = table[(table["ticker"] == metrics.POOLED) & table["nominal"].isin([0.8, 0.95])]
    parts = {part: PARTS.get(part, part) for part in dict.fromkeys(rows["part"])}
    canvas = charts.Canvas("inside, less the promise (points)", dates=False)
    canvas.figure.xaxis.ticker = list(range(len(parts)))
    canvas.figure.xaxis.major_label_overrides = dict(enumerate(parts.values()))
    if len(parts) > 6:
        canvas.figure.xaxis.major_label_orientation = 0.8
    canvas.level(0)
    marks, shares = [], {}
    series = [(i, model, nominal) for i, model in enumerate(looks) for nominal in (0.8, 0.95)]
    for k, (i, model, nominal) in enumerate(series):
        its = rows[(rows["model"] == model) & (rows["nominal"] == nominal)].set_index("part")
        its = its.reindex(list(parts))[["share", "low", "high"]]
        off = 100 * (its - nominal)
        source = charts.source(
            at=np.arange(len(parts)) + ((k + 0.5) / len(series) - 0.5) * 0.8,
            off=off["share"],
            low=off["low"],
            high=off["high"],
            share=100 * its["share"],
            model=[model] * len(its),
            part=list(parts.values()),
            nominal=[f"{nominal:.0%}"] * len(its),
        )
        color, name = looks[model]["color"], f"held_{i}_{round(100 * nominal)}"
        marker = "circle" if nominal == 0.8 else "triangle"
        line = {"line_color": color, "line_width": 2, "line_alpha": 0.7}
        ends = {"x0": "at", "x1": "at", "y0": "low", "y1": "high"}
        bar = canvas.figure.segment(name=f"{name}_bar", source=source, **line, **ends)
        dot = canvas.dots(name, color, size=8, marker=marker, x="at", y="off", source=source)
        bar.visible = dot.visible = _shown_first(model, i)
        canvas.add_entry(f"{model}, {nominal:.0%} interval", color, marker, bar, dot)
        marks.append(dot)
        shares[f"{model}, {nominal:.0%}"] = its["share"]
    fields = [
        ("Model", "@model"),
        ("Interval", "@nominal"),
        ("Days", "@part"),
        ("Held", "@share{0.0}%"),
        ("Off by", "@low{+0.0} to @high{+0.0} points"),
    ]
    canvas.hover(marks, fields, along=False)
    wide = pd.DataFrame(shares).rename(index=parts)
    return canvas.chart(
        "coverage",
        "Coverage by volatility and by year",
        alternative="how far the share of returns inside the 80% and 95% intervals is from the "
        "promise, in calm and rough times and year by year.",
        caption="Over all tickers: all days, thirds of the days by the volatility known the day "
        "before, and years. Below the line is too narrow. Bars are 95% intervals with days as "
        "clusters.",
        table=folded("The same as a table", pivoted("Share inside", "Days", wide, ".1%")),
    )


def _surprises(rows: pd.DataFrame, of: int, model: str) -> charts.Chart:
    canvas = charts.Canvas("expected once in so many days", y_axis_type="log")
    marks = []
    for name, side, color, marker in (
        ("rise", rows["log_return"] > 0, charts.BLUE, "triangle"),
        ("fall", rows["log_return"] <= 0, charts.VERMILION, "inverted_triangle"),
    ):
        its = rows[side]
        source = charts.source(
            date=charts.milliseconds(its["date"]),
            odds=its["days"],
            ticker=its["ticker"],
            percent=100 * its["log_return"],
            volatility=100 * its["volatility"],
            pit=[f"{it:.6g}" for it in its["pit"]],
        )
        data = {"x": "date", "y": "odds", "source": source}
        dot = canvas.dots(name, color, size=8, marker=marker, alpha=0.7, **data)
        canvas.add_entry(f"{name}s", color, marker, dot)
        marks.append(dot)
    fields = [
        charts.DATE,
        ("Ticker", "@ticker"),
        ("Log return", "@percent{+0.00}%"),
        ("Volatility forecast", "@volatility{0.00}%"),
        ("PIT", "@pit"),
        ("Expected once in", "@odds{0,0} days"),
    ]
    canvas.hover(marks, fields, along=False)
    top, worst = rows.head(LISTED), rows.iloc[0]
    cells = zip(
        [f"{date:%Y-%m-%d}" for date in top["date"]],
        top["ticker"],
        texts(100 * top["log_return"], "+.2f"),
        texts(100 * top["volatility"], ".2f"),
        [f"{it:.3g}" for it in top["pit"]],
        texts(top["days"], ",.0f"),
        strict=True,
    )
    titles = ["Date", "Ticker", "Log return %", "Volatility forecast %", "PIT", "Once in days"]
    return canvas.chart(
        "surprises",
        "Surprises: the days least expected",
        alternative=f"the {len(rows)} returns that {model} expected least; the least of all was "
        f"{worst['ticker']} on {worst['date']:%Y-%m-%d}. The table below has the first {len(top)}.",
        caption=f"The {len(rows)} of {of:,} returns that {model} expected least, by how "
        "rare it called a move so far out on either side. Among so many, "
        f"{worst['expected']:.2g} moves as rare as the rarest are to be expected.",
        table=folded(
            f"The {len(top)} least expected days",
            table(f"Returns that {model} expected least", titles, cells),
        ),
    )


def _by_model(rows: pd.DataFrame, index: str, looks: Mapping[str, Look]) -> pd.DataFrame:
    """Return shares with a column for each model, rows in their order."""
    wide = rows.pivot(index=index, columns="model", values="share")
    return wide.loc[rows[index].unique(), list(looks)]


def _shown_first(model: str, i: int) -> bool:
    """Whether a model is shown before the reader asks: the first, and the baselines."""
    return i == 0 or model in metrics.BASELINES
