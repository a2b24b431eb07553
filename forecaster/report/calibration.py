"""Charts of calibration over all tickers, and of the days that were least expected."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from forecaster.distributions import forecasts, quantile_grid
from forecaster.evaluation import calibration, metrics
from forecaster.report import charts
from forecaster.report.markup import chance, folded, table, texts

SURPRISES = 300
"""So many days are drawn, the least expected."""
TOLD = 20
"""So many of them are in the table."""


def of_calibration(
    shared: pd.DataFrame, tables: dict[str, pd.DataFrame], looks: dict[str, dict[str, Any]]
) -> Iterator[charts.Chart]:
    """Yield PIT, reliability, coverage, and the first model's surprises.

    Parameters
    ----------
    shared : the forecasts frame, of rows that all models have and whose return is known.
    tables : of :class:`forecaster.backtesting.backtest.Backtest`.
    looks : colour and line style of each model, the first model first.
    """
    values = calibration.pit(shared)
    yield _pit(shared, values, tables["uniformity"], looks)
    yield _reliability(shared, looks)
    yield _coverage(tables["coverage"], looks)
    yield _surprises(shared, values, next(iter(looks)))


def _pit(
    shared: pd.DataFrame, values: np.ndarray, tests: pd.DataFrame, looks: dict[str, dict[str, Any]]
) -> charts.Chart:
    edges = np.linspace(0, 1, calibration.BINS + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    of_model = shared["model"].to_numpy()
    shares = {
        model: 100 * np.histogram(values[of_model == model], edges)[0] / (of_model == model).sum()
        for model in looks
    }
    drawn = charts.canvas("share of the returns (%)", dates=False)
    drawn.y_range.start = 0
    drawn.xaxis.axis_label = "PIT (a probability)"
    charts.level(drawn, 100 / calibration.BINS)
    keys, marks = [], []
    for i, (model, share) in enumerate(shares.items()):
        color = looks[model]["color"]
        # A step needs the end of the last bin too.
        source = charts.source(
            low=edges, high=np.append(edges[1:], 1), middle=np.append(middles, np.nan),
            share=np.append(share, share[-1]), model=[model] * len(edges),
        )  # fmt: skip
        if i == 0:
            mark = drawn.vbar(
                x="middle", top="share", width=0.9 / calibration.BINS, fill_color=color,
                line_color=None, fill_alpha=0.5, name="pit_0", source=source,
            )  # fmt: skip
        else:
            mark = drawn.step(
                x="low", y="share", mode="after", line_color=color, line_width=2,
                line_dash=charts.dash(looks[model]), name=f"pit_{i}", source=source,
            )  # fmt: skip
        mark.visible = _first_seen(model, i)
        keys.append(charts.Key(model, color, charts.dash(looks[model]) if i else "band", [mark]))
        marks.append(mark)
    told = [
        ("Model", "@model"),
        ("PIT", "@low{0.00} to @high{0.00}"),
        ("Share", "@share{0.0}% (5% if calibrated)"),
    ]
    charts.hover(drawn, marks, told, along=False)
    pooled = tests[(tests["ticker"] == metrics.POOLED) & (tests["split"] == "all")]
    chances = ", ".join(
        f"{row['model']} {chance(row['p_value'])}" for row in pooled.to_dict("records")
    )
    cells = [
        [f"{low:.2f} to {high:.2f}", *texts([share[i] for share in shares.values()], ".1f")]
        for i, (low, high) in enumerate(pairwise(edges))
    ]
    return charts.Chart(
        "pit",
        "Where returns fell in their forecast distributions (PIT)",
        "a histogram in which flat is calibrated.",
        "Flat is calibrated; high at both ends is too narrow, high in the middle too wide. p-values of "
        f"uniformity, with days as clusters: {chances}.",
        drawn,
        keys,
        folded(
            "The same as a table",
            table("Share of the returns in each twentieth of the PIT, %", ["PIT", *shares], cells),
        ),
    )


def _reliability(shared: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> charts.Chart:
    levels = np.array(quantile_grid.LEVELS)
    below = {
        model: (its[["log_return"]].to_numpy() <= its[forecasts.QUANTILES].to_numpy()).mean(axis=0)
        for model, its in shared.groupby("model", sort=False)
    }
    drawn = charts.canvas("returns below, less the level (points)", dates=False)
    drawn.xaxis.axis_label = "level of the quantile"
    charts.level(drawn, 0)
    keys, marks = [], []
    for i, (model, share) in enumerate(below.items()):
        color, dash = looks[str(model)]["color"], charts.dash(looks[str(model)])
        data: dict[str, Any] = {
            "x": "level", "y": "off",
            "source": charts.source(
                level=levels, off=100 * (share - levels), share=100 * share, model=[model] * len(levels)
            ),
        }  # fmt: skip
        path = charts.line(
            drawn, f"level_{i}", color, dash=dash, width=2 if i == 0 else 1.2, **data
        )
        dot = charts.dots(drawn, f"level_dot_{i}", color, size=6, **data)
        path.visible = dot.visible = _first_seen(str(model), i)
        keys.append(charts.Key(str(model), color, dash, [path, dot]))
        marks.append(dot)
    told = [
        ("Model", "@model"),
        ("Level", "@level{0.000}"),
        ("Returns below", "@share{0.00}%"),
        ("Off by", "@off{+0.00} points"),
    ]
    charts.hover(drawn, marks, told, along=False)
    cells = [
        [f"{level:g}", *texts([share[i] for share in below.values()], ".4f")]
        for i, level in enumerate(levels)
    ]
    return charts.Chart(
        "reliability",
        "Reliability, level by level",
        "how far the share of returns below each quantile is from the quantile's level.",
        "The share of returns below each quantile, less its level. On the line is calibrated; above it "
        "on the left and below it on the right is too narrow.",
        drawn,
        keys,
        folded(
            "The same as a table",
            table("Share of the returns below each quantile", ["Level", *map(str, below)], cells),
        ),
    )


def _coverage(held: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> charts.Chart:
    rows = held[(held["ticker"] == metrics.POOLED) & held["nominal"].isin([0.8, 0.95])]
    names = {"all": "all", "low": "calm third", "middle": "middle", "high": "rough third"}
    parts = list(dict.fromkeys(rows["part"]))
    drawn = charts.canvas("inside, less the promise (points)", dates=False)
    drawn.xaxis.ticker = list(range(len(parts)))
    drawn.xaxis.major_label_overrides = {i: names.get(it, it) for i, it in enumerate(parts)}
    if len(parts) > 6:
        drawn.xaxis.major_label_orientation = 0.8
    charts.level(drawn, 0)
    keys, marks, cells = [], [], {it: [names.get(it, it)] for it in parts}
    for i, model in enumerate(looks):
        for nominal, marker in ((0.8, "circle"), (0.95, "triangle")):
            its = rows[(rows["model"] == model) & (rows["nominal"] == nominal)].set_index("part")
            its = its.reindex(parts)
            off = {end: 100 * (its[end] - nominal).to_numpy() for end in ("share", "low", "high")}
            shift = ((2 * i + (nominal > 0.9) + 0.5) / (2 * len(looks)) - 0.5) * 0.8
            source = charts.source(
                at=np.arange(len(parts)) + shift, off=off["share"], low=off["low"],
                high=off["high"], share=100 * its["share"].to_numpy(), model=[model] * len(its),
                part=[names.get(it, it) for it in parts], nominal=[f"{nominal:.0%}"] * len(its),
            )  # fmt: skip
            color = looks[model]["color"]
            name = f"held_{i}_{round(100 * nominal)}"
            bar = drawn.segment(
                x0="at", x1="at", y0="low", y1="high", line_color=color, line_width=2,
                line_alpha=0.7, name=f"{name}_bar", source=source,
            )  # fmt: skip
            dot = charts.dots(
                drawn, name, color, size=8, marker=marker, x="at", y="off", source=source
            )
            bar.visible = dot.visible = _first_seen(model, i)
            keys.append(charts.Key(f"{model}, {nominal:.0%} interval", color, marker, [bar, dot]))
            marks.append(dot)
            for part, share in its["share"].items():
                cells[str(part)] += texts([share], ".1%")
    told = [
        ("Model", "@model"),
        ("Interval", "@nominal"),
        ("Days", "@part"),
        ("Held", "@share{0.0}%"),
        ("Off by", "@low{+0.0} to @high{+0.0} points"),
    ]
    charts.hover(drawn, marks, told, along=False)
    titles = [f"{model}, {nominal}" for model in looks for nominal in ("80%", "95%")]
    return charts.Chart(
        "coverage",
        "Coverage by volatility and by year",
        "how far the share of returns inside the 80% and 95% intervals is from the promise, in calm and "
        "rough times and year by year.",
        "Over all tickers: all days, thirds of the days by the volatility known the day before, and "
        "years. Below the line is too narrow. Bars are 95% intervals with days as clusters.",
        drawn,
        keys,
        folded("The same as a table", table("Share inside", ["Days", *titles], cells.values())),
    )


def _surprises(shared: pd.DataFrame, values: np.ndarray, model: str) -> charts.Chart:
    mine = (shared["model"] == model).to_numpy()
    rows = shared[mine].assign(pit=values[mine])
    tail = np.clip(np.minimum(rows["pit"], 1 - rows["pit"]), 1e-15, None)
    rows = rows.assign(odds=1 / (2 * tail)).nlargest(SURPRISES, "odds")
    percent = 100 * rows["log_return"].to_numpy()
    drawn = charts.canvas("expected once in so many days", y_axis_type="log")
    keys, marks = [], []
    for name, side, color, marker in (
        ("rise", percent > 0, charts.BLUE, "triangle"),
        ("fall", percent <= 0, charts.VERMILION, "inverted_triangle"),
    ):
        its = rows[side]
        source = charts.source(
            date=charts.milliseconds(its["date"]), odds=its["odds"].to_numpy(), ticker=list(its["ticker"]),
            percent=percent[side], volatility=100 * its["volatility"].to_numpy(),
            pit=[f"{it:.6g}" for it in its["pit"]],
        )  # fmt: skip
        dot = charts.dots(
            drawn, name, color, size=8, marker=marker, alpha=0.7, x="date", y="odds", source=source
        )
        keys.append(charts.Key(f"{name}s", color, marker, [dot]))
        marks.append(dot)
    told = [
        charts.DATE,
        ("Ticker", "@ticker"),
        ("Log return", "@percent{+0.00}%"),
        ("Volatility forecast", "@volatility{0.00}%"),
        ("PIT", "@pit"),
        ("Expected once in", "@odds{0,0} days"),
    ]
    charts.hover(drawn, marks, told, along=False)
    top = rows.head(TOLD)
    cells = zip(
        [f"{date:%Y-%m-%d}" for date in top["date"]],
        top["ticker"],
        texts(100 * top["log_return"], "+.2f"),
        texts(100 * top["volatility"], ".2f"),
        [f"{it:.3g}" for it in top["pit"]],
        texts(top["odds"], ",.0f"),
        strict=True,
    )
    worst = top.iloc[0]
    expected = len(shared[mine]) / worst["odds"]
    return charts.Chart(
        "surprises",
        "Surprises: the days least expected",
        f"the {len(rows)} returns that {model} expected least; the least of all was {worst['ticker']} on "
        f"{worst['date']:%Y-%m-%d}. The table below has the first {len(top)}.",
        f"The {len(rows)} of {mine.sum():,} returns that {model} expected least, by how rare it called a "
        "move so far out on either side. Among so many, "
        f"{expected:.2g} moves as rare as the rarest are to be expected.",
        drawn,
        keys,
        folded(
            f"The {len(top)} least expected days",
            table(
                f"Returns that {model} expected least",
                ["Date", "Ticker", "Log return %", "Volatility forecast %", "PIT", "Once in days"],
                cells,
            ),
        ),
    )


def _first_seen(model: str, i: int) -> bool:
    """Whether a model is shown before the reader asks: the first, and the baselines."""
    return i == 0 or model in metrics.BASELINES
