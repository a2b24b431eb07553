"""Charts of one ticker, session by session: price, volatility and value at risk.

The figures are empty: the page holds the numbers of every ticker packed (:mod:`.packing`) and
``page.js`` fills in those of the one that is picked.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from forecaster.distributions import forecasts
from forecaster.distributions.parts import Parts
from forecaster.evaluation import announced, metrics
from forecaster.evaluation.value_at_risk import breached
from forecaster.plots import style
from forecaster.report import charts, packing

if TYPE_CHECKING:
    from bokeh.models import ColumnDataSource

BANDS = (0.95, 0.8, 0.5)
"""The narrower bands lie on the wider."""

FINE = 1e-6
"""Unit of returns and closes: five digits of a price are right."""
COARSE = 200
"""Units of a forecast in a ticker's typical volatility: finer than a screen shows."""

PACKED = [
    *["date", "level", "log_return", "breach", "realised", "median"],
    *(f"{part}_{round(100 * band)}" for band in BANDS for part in ("below", "skew")),
    *["risk_95", "risk_99"],
]
"""What is packed of a ticker; the volatilities of all models follow."""

DRAWN = [
    *["date", "median", "actual"],
    *(f"{end}_{round(100 * band)}" for band in BANDS for end in ("low", "high")),
    *["percent", "size", "realised", "risk_95", "risk_99", "breach_95", "breach_99"],
]
"""What ``page.js`` makes of it; the volatilities of all models follow."""

REACTION = "reaction"
"""Packed after these columns, and drawn as the close of such sessions and as words, where there are any."""


def colors(look: style.Look) -> dict[str, tuple[str, str]]:
    """Return variables of the page's style, in the light and in the dark: the bands and the median.

    No four shades between black and white are each three times as bright as the one before, so every
    band in the dark is that to the paper, of which a line parts it from the next.
    """
    color = look["color"]
    names = {
        f"band-{round(100 * band)}": (
            style.tint(color, style.TINTS[band]),
            style.shade(color, style.SHADES[band]),
        )
        for band in BANDS
    }
    return names | {charts.MEDIAN: (color, style.tint(color, 0.12))}


MOST = 4_000_000
"""Sessions of all tickers that a page holds: some 100 megabytes. Of more, the latest of each ticker."""


def packed(
    parts: Parts, step: int, tables: Mapping[str, pd.DataFrame], models: Sequence[str]
) -> dict[str, Any]:
    """Return the first model's sessions of every ticker, packed by :func:`.packing.pack`.

    Of forecasts of several sessions those that do not overlap: every 21st of a month ahead.

    Parameters
    ----------
    parts : the forecasts of all steps; of several sessions the volatility is realised from the
        next-session returns.
    step : whose sessions are packed.
    tables : of that step, and ``reactions``.
    models : all of them, in order.

    ==============  ===========================================================================
    date            days since 1970
    level           log of the last close less the log returns before, of this list: nearly
                    constant, so it packs well
    log_return      what happened
    breach          1 if it was below the 95% value at risk, 2 if below the 99%, else 0
    realised        :func:`forecaster.evaluation.metrics.realised_volatility`, hindsight; over
                    several sessions times the root of their number
    median          quantile 0.5
    below_95        the median less the lower end of the 95% interval, and so on
    skew_95         how much further from the median its upper end is, 0 for a Student-t
    risk_95, _99    the median less the quantiles 0.05 and 0.01
    reaction        1 if it was a reaction session to earnings, else 0; only if any was
    volatility_0    the forecast of the first model, and so on
    ==============  ===========================================================================

    Each ticker also has a ``note``: how its intervals and its value at risk have held. Of several
    sessions ``step`` is their number.
    """
    chosen, counts = _chosen(parts.of_step(step), models[0])
    latest = MOST // len(counts) if counts.sum() > MOST else None
    notes = _notes(tables, models[0])
    if latest is not None:
        cut = f" Its last {latest:,} sessions are shown."
        notes = {ticker: note + cut * (counts[ticker] > latest) for ticker, note in notes.items()}
    own = [REACTION] if has_earnings(tables) else []
    tickers: dict[str, Any] = {}
    for whole in parts:
        tickers |= _packed(
            whole, step, chosen, tables["reactions"] if own else None, models, latest
        )
    names = [*PACKED, *own, *(f"volatility_{i}" for i in range(len(models)))]
    several = {"step": step} if step > 1 else {}
    noted = {ticker: {"note": notes.get(ticker, ""), **its} for ticker, its in tickers.items()}
    return {"columns": names, "models": [*models], "tickers": noted, **several}


def _chosen(parts: Parts, model: str) -> tuple[np.ndarray, pd.Series]:
    """The cutoffs that do not overlap, and how many sessions of each ticker the model has of them."""
    spans, rows = [], []
    for part in parts.columns(["ticker", "model", "cutoff", "date", "step"]):
        spans.append(part[["cutoff", "date", "step"]].drop_duplicates())
        mine = part[part["model"] == model]
        rows.append(mine.groupby(["ticker", "cutoff"], sort=False).size())
    chosen = metrics.apart(pd.concat(spans).drop_duplicates())["cutoff"].unique()
    sizes = pd.concat(rows).reset_index("cutoff", name="n")
    counts: pd.Series = sizes.loc[sizes["cutoff"].isin(chosen), "n"]
    return chosen, counts.groupby(level="ticker", sort=False).sum()


def _packed(
    whole: pd.DataFrame,
    step: int,
    chosen: np.ndarray,
    reactions: pd.DataFrame | None,
    models: Sequence[str],
    latest: int | None,
) -> dict[str, Any]:
    """The packed sessions of each ticker of a part; its latest ones alone if `latest` says how many."""
    realised = _realised(whole, models[0]) if step > 1 else None
    frame = whole[(whole["step"] == step) & whole["cutoff"].isin(chosen)]
    wide = frame.pivot(index=["ticker", "date"], columns="model", values="volatility")
    tickers = {}
    for ticker, rows in frame[frame["model"] == models[0]].groupby("ticker", sort=False):
        rows = rows.sort_values("date")
        hindsight = metrics.realised_volatility(rows["log_return"])
        if realised is not None:
            at = pd.MultiIndex.from_frame(rows[["ticker", "date"]])
            hindsight = realised.reindex(at) * np.sqrt(step)
        known = hindsight.to_numpy()
        if latest is not None:
            rows, known = rows.tail(latest), known[-latest:]
        its = wide.loc[[ticker]].droplevel("ticker")
        volatility = its.reindex(rows["date"]).reindex(columns=[*models]).to_numpy()
        reacts = None if reactions is None else announced.reacting(rows, reactions).astype(float)
        tickers[str(ticker)] = packing.pack(_columns(rows, volatility, known, reacts))
    return tickers


def _realised(frame: pd.DataFrame, model: str) -> pd.Series:
    """The realised daily volatility by ticker and date, from the next-session returns of a model."""
    rows = frame[(frame["step"] == 1) & (frame["model"] == model)].sort_values(["ticker", "date"])
    its = rows.set_index(["ticker", "date"])["log_return"].groupby(level="ticker")
    values: pd.Series = its.transform(metrics.realised_volatility)
    return values


def has_earnings(tables: Mapping[str, pd.DataFrame]) -> bool:
    """Return whether any session of a backtest reacted to earnings."""
    return "reactions" in tables and bool((tables["reactions"]["since"] == 0).any())


def of_ticker(
    looks: Mapping[str, style.Look], *, with_earnings: bool = False, next_day: bool = True
) -> list[charts.Chart]:
    """Return price with bands, volatility and value at risk, on one span of dates."""
    from bokeh.models import ColumnDataSource, Range1d

    source = ColumnDataSource(name="sessions")
    own = [REACTION, "earnings"] if with_earnings else []
    for name in [*DRAWN, *own, *(f"volatility_{i}" for i in range(len(looks)))]:
        source.add([], name)
    span = Range1d(0, 1, name="span")
    model = next(iter(looks))
    day = (charts.DATE[0], charts.DATE[1] + "@earnings") if with_earnings else charts.DATE
    return [
        _price(source, span, day, model, next_day=next_day),
        _volatility(source, span, day, looks, unit="% a day" if next_day else "%"),
        _risk(source, span, day),
    ]


def _price(
    source: "ColumnDataSource", span: Any, day: tuple[str, str], model: str, *, next_day: bool
) -> charts.Chart:
    canvas = charts.Canvas("price (currency of the ticker)", x_range=span, height=400)
    canvas.figure.yaxis.formatter.use_scientific = False
    for band in BANDS:
        percent = round(100 * band)
        name, ends = f"band-{percent}", (f"low_{percent}", f"high_{percent}")
        glyphs = canvas.band(name, name, *ends, source=source)
        canvas.add_entry(f"{percent}% band", name, "band", *glyphs, opacity=1)
    median = canvas.line("median", charts.MEDIAN, x="date", y="median", source=source)
    actual = canvas.dots("actual", charts.INK, size=5, x="date", y="actual", source=source)
    canvas.add_entry("median forecast", charts.MEDIAN, "solid", median)
    canvas.add_entry("actual close", charts.INK, "circle", actual)
    if REACTION in source.column_names:
        ring = canvas.rings(REACTION, style.RING, x="date", y=REACTION, source=source)
        canvas.add_entry("reaction to earnings", style.RING, "ring", ring)
    bands = [(f"{it}%", f"@low_{it}{{%.6g}} to @high_{it}{{%.6g}}") for it in (50, 80, 95)]
    fields = [day, ("Median", "@median{%.6g}"), *bands, ("Actual", "@actual{%.6g}")]
    canvas.hover([median], fields)
    return canvas.chart(
        "price",
        "Price of <span data-ticker></span> and its forecasts",
        alternative=f"the price of the ticker picked above, and the bands that {model} forecast "
        f"for it {'a day' if next_day else 'so many sessions'} before. The table below has the sessions "
        "in view.",
        caption=f"Each day as {model} forecast it at the close before. The median follows the "
        "price one day late, as in every honest next-day forecast: judge the width of the bands."
        if next_day
        else f"Each session as {model} forecast it, as far ahead as chosen above; beyond one session, only "
        "forecasts that do not overlap are drawn. The median follows the price late, as in every honest "
        "forecast: judge the width of the bands.",
    )


def _volatility(
    source: "ColumnDataSource",
    span: Any,
    day: tuple[str, str],
    looks: Mapping[str, style.Look],
    *,
    unit: str,
) -> charts.Chart:
    canvas = charts.Canvas(f"volatility ({unit})", x_range=span)
    size = canvas.dots("size", style.GREY, size=3, alpha=0.6, x="date", y="size", source=source)
    # The largest returns would squeeze the volatilities into the foot.
    size.visible, canvas.figure.y_range.only_visible = False, True
    realised = canvas.line("realised", charts.INK, x="date", y="realised", source=source)
    lines = {}
    # The first model last, over the others.
    for i, (model, look) in reversed(list(enumerate(looks.items()))):
        name, dash, width = f"volatility_{i}", charts.dash(look), 2.0 if i == 0 else 1.2
        data = {"x": "date", "y": name, "source": source}
        lines[model] = canvas.line(name, look["color"], dash=dash, width=width, **data)
    for model, look in looks.items():
        canvas.add_entry(model, look["color"], charts.dash(look), lines[model])
    label = f"realised, {metrics.MONTH} sessions to that day (hindsight)"
    canvas.add_entry(label, charts.INK, "solid", realised)
    canvas.add_entry("|log return|", style.GREY, "circle", size)
    fields = [
        day,
        *((model, f"@volatility_{i}{{%.3g}}%") for i, model in enumerate(looks)),
        ("Realised", "@realised{%.3g}%"),
        ("|Log return|", "@size{%.3g}%"),
    ]
    canvas.hover([lines[next(iter(looks))]], fields)
    return canvas.chart(
        "volatility",
        "Volatility of <span data-ticker></span>, predicted and realised",
        alternative="the volatility of the ticker picked above as each model predicted it and as "
        "it was realised. The table below has the sessions in view.",
        caption="The realised volatility contains the day forecast, so it is hindsight: no "
        "forecast could know it.",
    )


def _risk(source: "ColumnDataSource", span: Any, day: tuple[str, str]) -> charts.Chart:
    canvas = charts.Canvas("log return (%)", x_range=span)
    canvas.level(0)
    orange, red = style.PALETTE[5], charts.VERMILION
    data = {"x": "date", "source": source}
    returns = canvas.dots("percent", style.GREY, size=3, y="percent", **data)
    canvas.add_entry("log return", style.GREY, "circle", returns)
    line = canvas.line("risk_95", charts.BLUE, y="risk_95", **data)
    canvas.add_entry("95% value at risk", charts.BLUE, "solid", line)
    far = canvas.line("risk_99", charts.BLUE, dash="dashed", y="risk_99", **data)
    canvas.add_entry("99% value at risk", charts.BLUE, "dashed", far)
    dots = canvas.dots("breach_95", orange, size=8, marker="diamond", y="breach_95", **data)
    canvas.add_entry("below the 95%", orange, "diamond", dots)
    dots = canvas.dots("breach_99", red, size=9, marker="triangle", y="breach_99", **data)
    canvas.add_entry("below the 99%", red, "triangle", dots)
    fields = [
        day,
        ("Log return", "@percent{%.3g}%"),
        ("95% value at risk", "@risk_95{%.3g}%"),
        ("99% value at risk", "@risk_99{%.3g}%"),
    ]
    canvas.hover([line], fields)
    return canvas.chart(
        "risk",
        "Value at risk of <span data-ticker></span> and its breaches",
        alternative="returns of the ticker picked above, the value at risk forecast for each day, "
        "and the days that fell below it. The table below has the sessions in view.",
        caption="One day in twenty should fall below the 95% value at risk, one in a hundred below "
        "the 99%, and breaches should not come in clusters.",
    )


def _columns(
    rows: pd.DataFrame, volatility: np.ndarray, realised: np.ndarray, reacts: np.ndarray | None
) -> list[tuple[np.ndarray, float]]:
    """The columns of a ticker with their units."""
    coarse = float(rows["volatility"].median()) / COARSE
    returns, median = rows["log_return"].to_numpy(), rows["q0.5"].to_numpy()
    passed = np.nan_to_num(np.rint(returns / FINE) * FINE)  # as they come back, so no error adds up
    level = np.log(rows["last_close"].to_numpy()) - np.cumsum(passed) + passed
    columns = [
        (rows["date"].to_numpy().astype("datetime64[D]").astype(float), 1.0),
        (level, FINE),
        (returns, FINE),
        (breached(rows, 0.95) + breached(rows, 0.99).astype(float), 1.0),
        (realised, coarse),
        (median, coarse),
    ]
    for band in BANDS:
        low, high = forecasts.interval(rows, band)
        columns += [(median - low, coarse), (high + low - 2 * median, coarse)]
    columns += [(median - rows[name].to_numpy(), coarse) for name in ("q0.05", "q0.01")]
    columns += [] if reacts is None else [(reacts, 1.0)]
    return columns + [(its, coarse) for its in volatility.T]


def _notes(tables: Mapping[str, pd.DataFrame], model: str) -> dict[str, str]:
    """How the intervals and the value at risk of each ticker held, in words."""
    risk = {
        (row["ticker"], row["level"]): f"{row['breaches']:.0f} were below the {row['level']:.0%} "
        f"value at risk, where {row['expected']:.0f} are expected"
        for row in _whole(tables["value_at_risk"], model).to_dict("records")
    }
    held = _whole(tables["coverage"], model)
    held = held.pivot(index="ticker", columns="nominal", values="share")
    return {
        str(
            ticker
        ): f"{model} on {ticker}: the 80% interval held {shares[0.8]:.1%} of the returns, "
        f"the 95% {shares[0.95]:.1%}; {risk[ticker, 0.95]}; {risk[ticker, 0.99]}."
        for ticker, shares in held.iterrows()
    }


def _whole(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """The rows of each ticker of a model, over all its sessions."""
    mine = (table["model"] == model) & (table["split"] == "all")
    return table[mine & (table["ticker"] != metrics.POOLED)]
