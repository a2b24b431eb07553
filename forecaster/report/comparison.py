"""Charts of skill over all tickers, and of what a strategy would have earned."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from forecaster.evaluation import metrics, strategy
from forecaster.plots import style
from forecaster.report import charts
from forecaster.report.markup import folded, table, texts

ROW = 13
"""Pixels of a ticker in the dot plot, while they fit."""
TALLEST = 1000


def of_skill(
    losses: pd.DataFrame, tables: dict[str, pd.DataFrame], looks: dict[str, dict[str, Any]]
) -> Iterator[charts.Chart]:
    """Yield the charts of the first model's skill against its baselines, if it has any.

    Parameters
    ----------
    losses : of :func:`forecaster.evaluation.metrics.losses`, of the rows that all models have.
    tables : of :class:`forecaster.backtesting.backtest.Backtest`.
    looks : colour and line style of each model, the first model first.
    """
    model = next(iter(looks))
    if baselines := [it for it in metrics.BASELINES if it in looks and it != model]:
        yield _skill(losses, model, baselines, looks)
        yield _tickers(tables, model, baselines, looks)


def _skill(
    losses: pd.DataFrame, model: str, baselines: list[str], looks: dict[str, dict[str, Any]]
) -> charts.Chart:
    rows = losses[losses["model"].isin([model, *baselines])]
    crps = rows.pivot_table(index="date", columns="model", values="crps")  # mean over tickers
    drawn = charts.canvas("sum of differences in CRPS (basis points)")
    charts.level(drawn, 0)
    gaps = 1e4 * crps[baselines].rsub(crps[model], axis=0)  # (sessions, baselines)
    totals = gaps.cumsum()
    columns = {f"total_{i}": totals[name].to_numpy() for i, name in enumerate(baselines)}
    source = charts.source(date=charts.milliseconds(totals.index), **columns)
    lines = [
        charts.line(
            drawn, f"skill_{i}", looks[name]["color"], dash=charts.dash(looks[name]), width=2,
            x="date", y=f"total_{i}", source=source,
        )
        for i, name in enumerate(baselines)
    ]  # fmt: skip
    told = [(f"against {name}", f"@total_{i}{{+0.0}} bp") for i, name in enumerate(baselines)]
    charts.hover(drawn, lines[:1], [charts.DATE, *told])
    years = gaps.groupby(gaps.index.year)  # type: ignore[attr-defined]
    share = years.sum() / (1e4 * crps[baselines].groupby(crps.index.year).sum())  # type: ignore[attr-defined]
    sums = {name: texts(years[name].sum(), "+.1f") for name in baselines}
    shares = {name: texts(share[name], "+.2%") for name in baselines}
    cells = [
        [str(year), *(f"{sums[name][i]} ({shares[name][i]})" for name in baselines)]
        for i, year in enumerate(share.index)
    ]
    ends = " and ".join(
        f"{texts([totals[it].iloc[-1]], '+,.0f')[0]} basis points against {it}" for it in baselines
    )
    return charts.Chart(
        "skill",
        "Skill, added up day by day",
        f"the CRPS of {model} less that of its baselines, added up over time; it ends at {ends}.",
        f"CRPS of {model} less that of its baselines, the mean over tickers, added up day by day. "
        "Falling is winning; one steep fall is one episode, not skill.",
        drawn,
        [
            charts.Key(f"against {name}", looks[name]["color"], charts.dash(looks[name]), [line])
            for name, line in zip(baselines, lines, strict=True)
        ],
        folded(
            "The same by year",
            table(
                f"Differences in CRPS, {model} less its baselines, in basis points and as a share of "
                "the baseline's",
                ["Year", *baselines],
                cells,
            ),
        ),
    )


def _tickers(
    tables: dict[str, pd.DataFrame],
    model: str,
    baselines: list[str],
    looks: dict[str, dict[str, Any]],
) -> charts.Chart:
    from bokeh.models import BasicTicker

    rows = tables["skill"]
    rows = rows[(rows["metric"] == "crps") & (rows["model"] == model)]
    rows = rows[rows["ticker"] != metrics.POOLED]
    wide = {name: rows[rows["against"] == name].set_index("ticker") for name in baselines}
    first = baselines[-1]  # GJR-GARCH where it is there: the harder one
    order = wide[first]["value"].sort_values(ascending=False).index  # the best on top
    tested = tables["tickers"]
    tests = tested[tested["model"] == model].set_index(["against", "ticker"])["q_value"]
    names = [str(ticker) for ticker in order]
    drawn = charts.canvas(
        "", dates=False, height=min(TALLEST, 110 + ROW * len(names)), y_range=(-1, len(names))
    )
    drawn.xaxis.axis_label = "CRPS ratio less 1 (%)"
    drawn.yaxis.ticker = BasicTicker(
        min_interval=1, num_minor_ticks=0, desired_num_ticks=len(names)
    )
    drawn.yaxis.major_label_overrides = {-1: "", **dict(enumerate([*names, ""]))}
    drawn.yaxis.major_label_text_font_size = "10px"
    charts.level(drawn, 0, across=False)
    keys, marks, cells = [], [], {ticker: [ticker] for ticker in names}
    for i, (name, its) in enumerate(wide.items()):
        its = its.reindex(order)
        value, low, high = (100 * (its[end] - 1).to_numpy() for end in ("value", "low", "high"))
        q_value = tests.reindex([(name, ticker) for ticker in order]).to_numpy()
        source = charts.source(
            ticker=names, row=np.arange(len(names)) + (0.15 if name == first else -0.15),
            value=value, low=low, high=high, against=[name] * len(names), q_value=q_value,
        )  # fmt: skip
        color = looks[name]["color"]
        bar = drawn.hbar(
            y="row", left="low", right="high", height=0.08, fill_color=color, line_color=color,
            fill_alpha=0.7, line_alpha=0.7, name=f"bar_{i}", source=source,
        )  # fmt: skip
        marker = "circle" if name == first else "diamond"
        dot = charts.dots(
            drawn, f"dot_{i}", color, size=7, marker=marker, x="value", y="row", source=source
        )
        keys.append(charts.Key(f"against {name}", color, marker, [bar, dot]))
        marks.append(dot)
        for ticker, *numbers in zip(names, value, low, high, q_value, strict=True):
            ends = texts(numbers[:3], "+.2f")
            cells[ticker] += [ends[0], f"{ends[1]} to {ends[2]}", *texts(numbers[3:], ".3f")]
    told = [
        ("Ticker", "@ticker"),
        ("CRPS against", "@against"),
        ("Difference", "@value{+0.00}%"),
        ("95% interval", "@low{+0.00}% to @high{+0.00}%"),
        ("q-value", "@q_value{0.000}"),
    ]
    charts.hover(drawn, marks, told, along=False)
    better = [int((wide[name]["value"] < 1).sum()) for name in baselines]
    wins = " and ".join(
        f"better than {name} on {n} of {len(wide[name])} tickers"
        for name, n in zip(baselines, better, strict=True)
    )
    surely = tested[(tested["model"] == model) & (tested["q_value"] < 0.05) & (tested["ratio"] < 1)]
    sure = " and ".join(f"{(surely['against'] == name).sum()} against {name}" for name in baselines)
    titles = [title for name in baselines for title in (f"/{name}, %", "95% interval", "q-value")]
    return charts.Chart(
        "tickers",
        "Skill ticker by ticker",
        f"a dot for each ticker with its interval, left of 0 where {model} is better; {model} is {wins}.",
        f"{model} is {wins}; surely so on {sure} (q-value below 5%, corrected for the number of "
        "tickers). Left of 0 is better, best on top; bars are 95% bootstrap intervals.",
        drawn,
        keys,
        folded(
            "The same as a table",
            table(
                "CRPS over that of the baseline, less 1",
                ["Ticker", *titles],
                list(cells.values())[::-1],
            ),
        ),
    )


def of_strategy(mine: pd.DataFrame, performance: pd.DataFrame) -> Iterator[charts.Chart]:
    """Yield equity and drawdown of the rules of :mod:`forecaster.evaluation.strategy`, after costs.

    Parameters
    ----------
    mine : the forecasts frame of one model, of rows whose return is known.
    performance : :func:`forecaster.evaluation.strategy.performance`, for the cost.
    """
    cost = float(performance["cost_bp"].iloc[0])
    days = strategy.daily(mine, cost_bp=cost).pivot(
        index="date", columns=["model", "rule"], values="net"
    )
    wealth = (1 + days).cumprod()
    fall = 100 * (wealth / wealth.cummax().clip(lower=1.0) - 1)
    colors = (charts.INK, *style.PALETTE[:2])
    names = list(days.columns.get_level_values("rule"))
    model = mine["model"].iloc[0]
    dates = charts.milliseconds(days.index)
    years = days.groupby(days.index.year)  # type: ignore[attr-defined]
    yearly = (1 + days).groupby(days.index.year).prod() - 1  # type: ignore[attr-defined]
    deepest = fall.groupby(fall.index.year).min()  # type: ignore[attr-defined]
    span = None
    for name, title, y_label, form, found, spec, ending in (
        ("equity", "What plain rules would have earned", "growth of 1, after costs", "0.000", wealth, ".3f",
         "One unit of money in each rule on P(rise), after costs of {cost:g} basis points a side. Not "
         "advice: a rule picked after the fact looks better than it will be."),
        ("drawdown", "How far below its height each rule was", "drawdown (%)", "0.0", fall, ".1f",
         "The fall from the highest value so far."),
    ):  # fmt: skip
        drawn = charts.canvas(y_label, **({} if span is None else {"x_range": span}))
        span = drawn.x_range
        source = charts.source(
            date=dates, **{f"rule_{i}": found[it].to_numpy() for i, it in enumerate(days.columns)}
        )
        lines = [
            charts.line(
                drawn, f"{name}_{i}", color, dash="dashed" if i == 2 else "solid", width=1.8,
                x="date", y=f"rule_{i}", source=source,
            )
            for i, color in enumerate(colors[: len(names)])
        ]  # fmt: skip
        told = [(rule, f"@rule_{i}{{{form}}}") for i, rule in enumerate(names)]
        charts.hover(drawn, lines[:1], [charts.DATE, *told])
        by_year = yearly if name == "equity" else deepest / 100
        ends = ", ".join(
            f"{rule} {texts([found[it].iloc[-1] if name == 'equity' else fall[it].min()], spec)[0]}"
            for rule, it in zip(names, days.columns, strict=True)
        )
        yield charts.Chart(
            name,
            title,
            f"{'growth' if name == 'equity' else 'drawdown'} of rules on the forecasts of {model} and of "
            f"holding: {ends}.",
            ending.format(cost=cost),
            drawn,
            [
                charts.Key(rule, color, "dashed" if i == 2 else "solid", [line])
                for i, (rule, color, line) in enumerate(zip(names, colors, lines, strict=False))
            ],
            folded(
                "The same by year",
                table(
                    "Return after costs"
                    if name == "equity"
                    else "Deepest fall from the height so far",
                    ["Year", *names],
                    [
                        [str(year), *texts(row, "+.1%")]
                        for year, row in zip(years.groups, by_year.to_numpy(), strict=True)
                    ],
                ),
            ),
        )
