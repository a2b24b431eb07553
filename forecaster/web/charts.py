"""The charts of a ticker's page: drawn once, and filled by ``ticker.js`` with the numbers of each.

To make a figure of Bokeh takes longer than a reader should wait; to fill one is a matter of the browser.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from math import log
from typing import Any

from forecaster.live.watchlist import Details, Forecast, Quote
from forecaster.plots import style
from forecaster.report import charts, sessions
from forecaster.report.charts import Chart

BANDS = (95, 80)
ENDS = [(band, f"{end}_{band}") for band in BANDS for end in ("low", "high")]
FAN, CLOSES, TERM, RECORD = "fan", "closes", "term", "record"
COLUMNS = {
    FAN: ["date", "median", *(name for _, name in ENDS)],
    CLOSES: ["date", "close"],
    TERM: ["step", "volatility", "now"],
    RECORD: ["date", "came", "inside", "outside", *(name for _, name in ENDS)],
}
"""Columns of each source: prices, and percent of log return."""
SOURCES = {FAN: (FAN, CLOSES), TERM: (TERM,), RECORD: (RECORD,)}
"""Of each chart."""

Columns = dict[str, list[float | None]]


def colors() -> str:
    """Return the variables of the style that the charts use."""
    return charts.variables(sessions.colors({"color": charts.BLUE, "linestyle": "-"}))


@cache
def drawn(names: tuple[str, ...]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return charts without data: the HTML of each by its name, and the document of their figures."""
    made = [CHARTS[name]() for name in names]
    return {it.name: it.html for it in made}, charts.document(made)


def of_ticker(details: Details) -> tuple[dict[str, str], dict[str, Any], dict[str, Columns]]:
    """Return what :func:`drawn` does of the charts that a ticker has numbers for, and these numbers."""
    numbers = data(details)
    names = tuple(
        chart
        for chart, sources in SOURCES.items()
        if any(any(numbers[name].values()) for name in sources)
    )
    return *drawn(names), {name: numbers[name] for chart in names for name in SOURCES[chart]}


def data(details: Details) -> dict[str, Columns]:
    """Return the columns of each source for a ticker; without rows where nothing is known."""
    quote, ahead = details.row.quote, details.ahead
    now = 100 * quote.volatility if quote and quote.volatility else None
    rows: dict[str, Iterable[tuple[float | None, ...]]] = {
        FAN: _fan_rows(ahead),
        CLOSES: _close_rows(quote),
        TERM: ((it.step, 100 * it.volatility / it.step**0.5, now) for it in ahead),
        RECORD: (_record_row(it) for it in reversed(details.record) if it.log_return is not None),
    }
    return {
        name: dict(zip(COLUMNS[name], map(list, zip(*its, strict=True)), strict=False))
        or {column: [] for column in COLUMNS[name]}
        for name, its in rows.items()
    }


def _fan_rows(ahead: Sequence[Forecast]) -> Iterator[tuple[float, ...]]:
    """The intervals, which open at the close of the cutoff."""
    if ahead:
        yield _milliseconds(ahead[0].cutoff), *[ahead[0].last_close] * (len(ENDS) + 1)
    for it in ahead:
        yield _milliseconds(it.date), it.median, *(getattr(it, name) for _, name in ENDS)


def _close_rows(quote: Quote | None) -> Iterator[tuple[float, float]]:
    for day, close in zip(quote.dates, quote.closes, strict=True) if quote else ():
        yield _milliseconds(day), close


def _record_row(it: Forecast) -> tuple[float | None, ...]:
    """What came and the intervals, in percent of log return."""
    came = None if it.log_return is None else 100 * it.log_return
    parts = (came, None) if it.inside_80 else (None, came)
    ends = (100 * log(getattr(it, name) / it.last_close) for _, name in ENDS)
    return _milliseconds(it.date), came, *parts, *ends


def _milliseconds(day: str) -> float:
    return float(charts.milliseconds([day])[0])


def _source(name: str) -> Any:
    from bokeh.models import ColumnDataSource

    source = ColumnDataSource(name=name)
    for column in COLUMNS[name]:
        source.add([], column)
    return source


def _fan() -> Chart:
    canvas = charts.Canvas("price (currency of the ticker)", height=380)
    canvas.figure.yaxis.formatter.use_scientific = False
    source = _source(FAN)
    for band in BANDS:
        name = f"band-{band}"
        glyphs = canvas.band(f"{FAN}_{band}", name, f"low_{band}", f"high_{band}", source=source)
        canvas.add_entry(f"{band}% interval", name, "band", *glyphs, opacity=1)
    median = canvas.line(f"{FAN}_median", charts.MEDIAN, x="date", y="median", source=source)
    canvas.add_entry("median", charts.MEDIAN, "solid", median)
    of_closes = {"x": "date", "y": "close", "source": _source(CLOSES)}
    close = canvas.dots(f"{FAN}_close", charts.INK, size=5, **of_closes)
    canvas.add_entry("close", charts.INK, "circle", close)
    bands = [(f"{it}%", f"@low_{it}{{%.6g}} to @high_{it}{{%.6g}}") for it in reversed(BANDS)]
    fields = [charts.DATE, ("Median", "@median{%.6g}"), *bands]
    canvas.hover([median], fields)
    canvas.hover([close], [charts.DATE, ("Close", "@close{%.6g}")])
    return canvas.chart(
        FAN,
        "The closes, and where the next ones may lie",
        alternative="recent closes, and the intervals of the last forecast up to a month ahead.",
        caption="Intervals of the last recorded forecast, each for its own day: none holds the whole path. "
        "Read the width, not the median.",
    )


def _term() -> Chart:
    canvas = charts.Canvas(
        "volatility (% a day)", dates=False, x_axis_label="sessions ahead", height=260
    )
    source = _source(TERM)
    now = canvas.line(f"{TERM}_now", charts.INK, dash="dashed", x="step", y="now", source=source)
    line = canvas.line(
        f"{TERM}_line", charts.BLUE, width=2, x="step", y="volatility", source=source
    )
    dots = canvas.dots(f"{TERM}_dots", charts.BLUE, size=6, x="step", y="volatility", source=source)
    canvas.add_entry("forecast", charts.BLUE, "solid", line, dots)
    canvas.add_entry("now (EWMA)", charts.INK, "dashed", now)
    fields = [
        ("Sessions ahead", "@step{0}"),
        ("Volatility", "@volatility{%.3g}% a day"),
        ("Now", "@now{%.3g}% a day"),
    ]
    canvas.hover([dots], fields, along=False)
    return canvas.chart(
        TERM,
        "Term structure of the volatility",
        alternative="the forecast volatility a day by the number of sessions ahead, and that of now.",
        caption="The volatility of all sessions up to each step, over the root of their number. Falling: "
        "rougher now than it is expected to remain. Rising: calmer.",
    )


def _record() -> Chart:
    canvas = charts.Canvas("log return (%)", height=300)
    canvas.level(0)
    source = _source(RECORD)
    for band in BANDS:
        name = f"band-{band}"
        glyphs = canvas.band(f"{RECORD}_{band}", name, f"low_{band}", f"high_{band}", source=source)
        canvas.add_entry(f"{band}% interval", name, "band", *glyphs, opacity=1)
    marks = {"x": "date", "source": source}
    inside = canvas.dots(f"{RECORD}_inside", charts.INK, size=5, y="inside", **marks)
    canvas.add_entry("came, inside the 80%", charts.INK, "circle", inside)
    red = style.RING
    outside = canvas.dots(f"{RECORD}_outside", red, size=8, marker="diamond", y="outside", **marks)
    canvas.add_entry("came, outside the 80%", red, "diamond", outside)
    bands = [(f"{it}%", f"@low_{it}{{%.3g}}% to @high_{it}{{%.3g}}%") for it in reversed(BANDS)]
    canvas.hover([inside, outside], [charts.DATE, ("Came", "@came{%.3g}%"), *bands], along=False)
    return canvas.chart(
        RECORD,
        "What was forecast, and what came",
        alternative="intervals of the recorded next-day forecasts of a year, and the returns that came.",
        caption="Each day as it was forecast and recorded before it opened. Two in ten should lie outside "
        "the 80% interval.",
    )


CHARTS: Mapping[str, Callable[[], Chart]] = {FAN: _fan, TERM: _term, RECORD: _record}
