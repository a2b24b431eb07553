"""Charts of skill over all tickers, and of what a strategy would have earned."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from forecaster.errors import first_few
from forecaster.evaluation import metrics, significance, stability, strategy
from forecaster.evaluation.drawn import Drawn
from forecaster.plots import outliers
from forecaster.plots.style import Look
from forecaster.report import charts
from forecaster.report.markup import folded, pivoted, table, texts

ROW = 13
"""Pixels of a ticker in the dot plot, while they fit."""
TALLEST = 1000

RULE_LOOKS = ((charts.INK, "solid"), (charts.BLUE, "solid"), (charts.VERMILION, "dashed"))
"""Colour and line of holding, and of each rule."""


def of_skill(
    drawn: Drawn, tables: Mapping[str, pd.DataFrame], looks: Mapping[str, Look]
) -> Iterator[charts.Chart]:
    """Yield the charts of the first model's skill against its baselines, if it has any.

    Parameters
    ----------
    drawn : what there is to show of the forecasts.
    tables : of :class:`forecaster.backtesting.backtest.Backtest`.
    looks : of each model, the first model first.
    """
    model = next(iter(looks))
    if baselines := [it for it in metrics.BASELINES if it in looks and it != model]:
        yield _skill(drawn, model, baselines, looks)
        rows = tables["skill"]
        rows = rows[(rows["metric"] == "crps") & (rows["model"] == model)]
        rows = rows[rows["ticker"] != metrics.POOLED]
        yield _tickers(rows, tables["tickers"], model, baselines, looks)
        if "stability" in tables and len(tables["stability"]):  # an earlier version made none
            yield _over_time(drawn, tables["stability"], model, baselines, looks)
        if "murphy" in tables and len(tables["murphy"]):
            yield _murphy(tables["murphy"], model, baselines, looks)


def _skill(
    drawn: Drawn, model: str, baselines: Sequence[str], looks: Mapping[str, Look]
) -> charts.Chart:
    running = drawn.running(baselines)
    canvas = charts.Canvas("CRPS saved, added up (bp; up is better)")
    canvas.level(0)
    totals = -1e4 * running.pivot(index="date", columns="against", values="total")[baselines]
    by_name = {f"total_{i}": totals[name] for i, name in enumerate(baselines)}
    source = charts.source(date=charts.milliseconds(totals.index), **by_name)
    lines = []
    for i, name in enumerate(baselines):
        color, dash = looks[name]["color"], charts.dash(looks[name])
        data = {"x": "date", "y": f"total_{i}", "source": source}
        lines.append(canvas.line(f"skill_{i}", color, dash=dash, width=2, **data))
        canvas.add_entry(f"against {name}", color, dash, lines[-1])
    fields = [(f"against {name}", f"@total_{i}{{+0.0}} bp") for i, name in enumerate(baselines)]
    canvas.hover(lines[:1], [charts.DATE, *fields])
    years = drawn.years(baselines).pivot(index="year", columns="against")
    every = [(column, name) for column in ("difference", "sessions", "ratio") for name in baselines]
    years = years.reindex(columns=pd.MultiIndex.from_tuples(every)).astype(float)
    columns = []
    for name in baselines:
        sums = texts(-1e4 * years["difference", name] * years["sessions", name], "+.1f")
        shares = texts(1 - years["ratio", name], "+.2%")
        columns.append([f"{it} ({share})" for it, share in zip(sums, shares, strict=True)])
    cells = zip(map(str, years.index), *columns, strict=True)
    ends = " and ".join(
        f"{texts([totals[it].iloc[-1]], '+,.0f')[0]} basis points against {it}" for it in baselines
    )
    caption = f"Differences in CRPS, baselines less {model}, in basis points and as a share of "
    return canvas.chart(
        "skill",
        "Skill, added up day by day",
        alternative=f"the CRPS of its baselines less that of {model}, added up over time; it ends "
        f"at {ends}.",
        caption=f"CRPS of the baselines less that of {model}, the mean over tickers, added up day by "
        "day. Rising is winning; one steep rise is one episode, not skill.",
        table=folded(
            "The same by year", table(f"{caption}the baseline's", ["Year", *baselines], cells)
        ),
    )


def _over_time(
    drawn: Drawn,
    tests: pd.DataFrame,
    model: str,
    baselines: Sequence[str],
    looks: Mapping[str, Look],
) -> charts.Chart:
    """Draw the fluctuation test, turned so that up is better."""
    canvas = charts.Canvas("t statistic of a window (up is better)")
    bound = stability.critical_value()
    for at in (-bound, 0, bound):
        canvas.level(at)
    lines = []
    for i, name in enumerate(baselines):
        its = -stability.moving(drawn.pair(name), model, name)
        source = charts.source(date=charts.milliseconds(its.index), value=its)
        color, dash = looks[name]["color"], charts.dash(looks[name])
        data = {"x": "date", "y": "value", "source": source}
        lines.append(canvas.line(f"window_{i}", color, dash=dash, width=2, **data))
        canvas.add_entry(f"against {name}", color, dash, lines[-1])
    canvas.hover(lines, [("Window to", "@date{%F}"), ("t", "@value{+0.00}")])
    of_model = tests[tests["model"] == model].set_index("against").loc[list(baselines)]
    cells = zip(
        baselines,
        texts(of_model["fluctuation"], ".2f"),
        texts(of_model["fluctuation_p"], ".3f"),
        of_model["worst_from"],
        of_model["worst_to"],
        texts(-1e4 * of_model["worst_difference"], "+.3f"),
        texts(of_model["conditional_p"], ".3f"),
        strict=True,
    )
    titles = [
        "Against",
        "Largest |t|",
        "p",
        "Worst from",
        "to",
        "CRPS saved then, bp",
        "Foreseeable, p",
    ]
    return canvas.chart(
        "stability",
        "Does the gain last?",
        alternative=f"the t statistic of {model} against its baselines in a moving window.",
        caption=f"CRPS saved in windows of {stability.WINDOW:.0%} of the sessions, in standard errors, by "
        f"the last session. Beyond ±{bound:.2f} equals go once in twenty backtests (fluctuation test); "
        "below zero the model was the worse.",
        table=folded("The tests", table("Changes over time", titles, cells)),
    )


def _murphy(
    rows: pd.DataFrame, model: str, baselines: Sequence[str], looks: Mapping[str, Look]
) -> charts.Chart:
    """Draw the Murphy diagram of the variance, turned so that up is better."""
    canvas = charts.Canvas(
        "elementary score saved (%; up is better)",
        dates=False,
        x_axis_label="volatility that matters (% a day)",
    )
    canvas.level(0)
    marks, columns, percent = [], {}, ["share", "low", "high"]
    for i, name in enumerate(baselines):
        its = rows[(rows["model"] == model) & (rows["against"] == name)].copy()
        its[percent] *= -100
        values = {it: its[it] for it in percent}
        source = charts.source(volatility=100 * its["volatility"], **values)
        color, dash = looks[name]["color"], charts.dash(looks[name])
        line = {"line_color": color, "line_alpha": 0.5, "line_width": 2}
        ends = {"x0": "volatility", "x1": "volatility", "y0": "low", "y1": "high"}
        bar = canvas.figure.segment(name=f"murphy_bar_{i}", source=source, **line, **ends)
        data = {"x": "volatility", "y": "share", "source": source}
        path = canvas.line(f"murphy_{i}", color, dash=dash, width=2, **data)
        dot = canvas.dots(f"murphy_dot_{i}", color, **data)
        canvas.add_entry(f"against {name}", color, dash, bar, path, dot)
        marks.append(dot)
        columns[f"Volatility, {name}"] = texts(100 * its["volatility"], ".2f")
        columns[f"Saved against {name}"] = texts(its["share"], "+.1f")
    fields = [("Volatility", "@volatility{0.00}%"), ("Saved", "@share{+0.0}%")]
    canvas.hover(marks, fields, along=False)
    return canvas.chart(
        "murphy",
        "For whom is the volatility better? (Murphy diagram)",
        alternative=f"the elementary scores that {model} saves, by the volatility that matters.",
        caption="Elementary scores of the variance that are saved, by the threshold on which they turn; "
        "bars are 95% intervals of each alone. Above zero everywhere is better by every consistent loss.",
        table=folded(
            "The same as a table",
            table("Saved, %", [*columns], zip(*columns.values(), strict=True)),
        ),
    )


def _tickers(
    rows: pd.DataFrame,
    tests: pd.DataFrame,
    model: str,
    baselines: Sequence[str],
    looks: Mapping[str, Look],
) -> charts.Chart:
    """Draw the tickers' rows of the table of `skill`, with the tests of `per_ticker`."""
    rows = rows.merge(tests[["model", "against", "ticker", "q_value"]], how="left")
    rows[["value", "low", "high"]] = 100 * (rows[["value", "low", "high"]] - 1)
    wide = {name: rows[rows["against"] == name].set_index("ticker") for name in baselines}
    first = baselines[-1]  # GJR-GARCH where it is there: the harder one
    order = wide[first]["value"].sort_values(ascending=False).index  # the best on top
    canvas = _ticker_canvas(list(map(str, order)))
    marks, titles, columns = [], [], []
    for i, name in enumerate(baselines):
        its, is_first = wide[name].reindex(order), name == first
        numbers = {it: its[it] for it in ("value", "low", "high", "q_value")}
        source = charts.source(
            ticker=order,
            row=np.arange(len(order)) + (0.15 if is_first else -0.15),
            against=[name] * len(order),
            **numbers,
        )
        color, marker = looks[name]["color"], "circle" if is_first else "diamond"
        bar = canvas.bars(f"bar_{i}", color, y="row", left="low", right="high", source=source)
        data = {"x": "value", "y": "row", "source": source}
        marks.append(canvas.dots(f"dot_{i}", color, size=7, marker=marker, **data))
        canvas.add_entry(f"against {name}", color, marker, bar, marks[-1])
        value, low, high = (texts(its[it], "+.2f") for it in ("value", "low", "high"))
        titles += [f"/{name}, %", "95% interval", "q-value"]
        columns += [value, [f"{a} to {b}" for a, b in zip(low, high, strict=True)]]
        columns.append(texts(its["q_value"], ".3f"))
    fields = [
        ("Ticker", "@ticker"),
        ("CRPS against", "@against"),
        ("Difference", "@value{+0.00}%"),
        ("95% interval", "@low{+0.00}% to @high{+0.00}%"),
        ("q-value", "@q_value{0.000}"),
    ]
    canvas.hover(marks, fields, along=False)
    counts = significance.wins(tests, model).reindex(list(baselines), fill_value=0)
    wins = " and ".join(
        f"better than {name} on {better} of {tickers} tickers"
        for name, tickers, better, _ in counts.itertuples()
    )
    sure = " and ".join(f"{it} against {name}" for name, it in counts["significant"].items())
    cells = list(zip(map(str, order), *columns, strict=True))[::-1]
    clipped = _clip(canvas, [wide[name].reindex(order) for name in baselines])
    return canvas.chart(
        "tickers",
        "Skill ticker by ticker",
        alternative=f"a dot for each ticker with its interval, left of 0 where {model} is better; "
        f"{model} is {wins}.",
        caption=f"{model} is {wins}; surely so on {sure} (q-value below 5%, corrected for the "
        "number of tickers). Left of 0 is better, best on top; bars are 95% bootstrap intervals."
        + clipped,
        table=folded(
            "The same as a table",
            table("CRPS over that of the baseline, less 1", ["Ticker", *titles], cells),
        ),
    )


def _clip(canvas: charts.Canvas, compared: Sequence[pd.DataFrame]) -> str:
    """Cut off the tickers that would squash the others, and return a sentence that names them."""
    rows = np.arange(len(compared[0]), dtype=float)
    together = pd.concat([its.assign(row=rows) for its in compared])
    inside = outliers.inside(together["value"].to_numpy())
    if inside.all():
        return ""
    shown = together[inside]
    reach = np.ptp(shown["value"])  # an interval may be as wide again as all the dots together
    low = max(shown["low"].min(), shown["value"].min() - reach)
    high = min(shown["high"].max(), shown["value"].max() + reach)
    canvas.clip(low, high, together["value"].to_numpy(), together["row"].to_numpy(), "%")
    names = first_few(list(dict.fromkeys(together.index[~inside])))
    return f" Out of the picture, and worth a look at the prices: {names}."


def _ticker_canvas(names: Sequence[str]) -> charts.Canvas:
    """Make a canvas with a row for each ticker, the first at the foot."""
    from bokeh.models import BasicTicker

    height = min(TALLEST, 110 + ROW * len(names))
    canvas = charts.Canvas(
        "",
        dates=False,
        height=height,
        y_range=(-1, len(names)),
        x_axis_label="CRPS over the baseline's, less 1 (%; left is better)",
    )
    axis = canvas.figure.yaxis
    few = len(names) * ROW < TALLEST / 2
    axis.ticker = (
        list(range(len(names)))
        if few
        else BasicTicker(min_interval=1, num_minor_ticks=0, desired_num_ticks=len(names))
    )
    axis.major_label_overrides = {-1: "", **dict(enumerate([*names, ""]))}
    axis.major_label_text_font_size = "10px"
    canvas.level(0, across=False)
    return canvas


def of_strategy(drawn: Drawn, model: str, performance: pd.DataFrame) -> Iterator[charts.Chart]:
    """Yield growth and drawdown of the rules of :mod:`forecaster.evaluation.strategy`, after costs.

    Parameters
    ----------
    drawn : what there is to show of the forecasts.
    model : whose rules they are.
    performance : :func:`forecaster.evaluation.strategy.performance`, for the cost.
    """
    cost = float(performance["cost_bp"].iloc[0])
    mine = drawn.columns.whole(["log_return", "rise"], [model])
    curves = strategy.curves(strategy.daily(mine, cost_bp=cost, rise=mine["rise"].to_numpy()))
    years = strategy.by_year(curves)
    equity = charts.Canvas("growth of 1, after costs")
    fall = charts.Canvas("drawdown (%)", x_range=equity.figure.x_range)
    earned, deepest = (_by_rule(years, "year", name) for name in ("earned", "drawdown"))
    ends = _draw_rules(equity, "equity", curves, "wealth", ("0.000", ".3f"))
    yield equity.chart(
        "equity",
        "What plain rules would have earned",
        alternative=f"growth of rules on the forecasts of {model} and of holding: {ends}.",
        caption="One unit of money in each rule on P(rise), after costs of "
        f"{cost:g} basis points a side. Not advice: a rule picked after the fact looks better than "
        "it will be.",
        table=folded("The same by year", pivoted("Return after costs", "Year", earned, "+.1%")),
    )
    falls = curves.assign(drawdown=100 * curves["drawdown"])
    ends = _draw_rules(fall, "drawdown", falls, "drawdown", ("0.0", ".1f"))
    caption = "Deepest fall from the height so far"
    yield fall.chart(
        "drawdown",
        "How far below its height each rule was",
        alternative=f"drawdown of rules on the forecasts of {model} and of holding: {ends}.",
        caption="The fall from the highest value so far.",
        table=folded("The same by year", pivoted(caption, "Year", deepest, "+.1%")),
    )


def _draw_rules(
    canvas: charts.Canvas, name: str, curves: pd.DataFrame, column: str, forms: tuple[str, str]
) -> str:
    """Draw a column of :func:`.strategy.curves`, a line a rule; return the last or deepest values.

    `forms` are how a number is printed, by the page and here.
    """
    wide = _by_rule(curves, "date", column)
    rules = {f"rule_{i}": str(rule) for i, rule in enumerate(wide)}
    columns = {key: wide[rule] for key, rule in rules.items()}
    source = charts.source(date=charts.milliseconds(wide.index), **columns)
    lines = []
    for i, (key, rule) in enumerate(rules.items()):
        color, dash = RULE_LOOKS[i]
        data = {"x": "date", "y": key, "source": source}
        lines.append(canvas.line(f"{name}_{i}", color, dash=dash, width=1.8, **data))
        canvas.add_entry(rule, color, dash, lines[-1])
    fields = [(rule, f"@{key}{{{forms[0]}}}") for key, rule in rules.items()]
    canvas.hover(lines[:1], [charts.DATE, *fields])
    ends = wide.iloc[-1] if column == "wealth" else wide.min()
    return ", ".join(f"{rule} {texts([end], forms[1])[0]}" for rule, end in ends.items())


def _by_rule(rows: pd.DataFrame, index: str, column: str) -> pd.DataFrame:
    """Return a column of each rule, buying and holding first."""
    return rows.pivot(index=index, columns="rule", values=column)[rows["rule"].unique()]
