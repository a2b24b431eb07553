"""Charts of one ticker, session by session: price, volatility and value at risk.

The figures are empty: the page holds the numbers of every ticker packed (:mod:`.packing`) and
``page.js`` fills in those of the one that is picked.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from forecaster.distributions import forecasts
from forecaster.evaluation import metrics
from forecaster.plots import style
from forecaster.plots.evaluation import MONTH
from forecaster.report import charts, packing

if TYPE_CHECKING:
    from bokeh.models import ColumnDataSource

BANDS = (0.95, 0.8, 0.5)
FINE = 1e-6
"""Unit of returns and closes: five digits of a price are right."""
COARSE = 200
"""Units of a forecast in a ticker's typical volatility: finer than a screen shows."""
COLUMNS = [
    *["date", "level", "log_return", "breach", "realised", "median"],
    *(f"{part}_{round(100 * band)}" for band in BANDS for part in ("below", "skew")),
    *["risk_95", "risk_99"],
]
"""What is packed of a ticker; the volatilities of all models follow."""


def packed(frame: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """The sessions of every ticker of the first model: columns, and per ticker what `pack` gives.

    ==============  ===========================================================================
    date            days since 1970
    level           log of the last close less the log returns before, of this list: nearly
                    constant, so it packs well
    log_return      what happened
    breach          1 if it was below the 95% value at risk, 2 if below the 99%, else 0
    realised        volatility over the 21 sessions that end that day, hindsight
    median          quantile 0.5
    below_95        the median less the lower end of the 95% interval, and so on
    skew_95         how much further from the median its upper end is, 0 for a Student-t
    risk_95, _99    the median less the quantiles 0.05 and 0.01
    volatility_0    the forecast of the first model, and so on
    ==============  ===========================================================================

    Each ticker also has a ``note``: how its intervals and its value at risk have held.
    """
    models = list(frame["model"].unique())
    wide = frame.pivot(index=["ticker", "date"], columns="model", values="volatility")
    notes = _notes(tables, models[0])
    found = {}
    for ticker, rows in frame[frame["model"] == models[0]].groupby("ticker", sort=False):
        rows = rows.sort_values("date")
        volatility = wide.loc[ticker].reindex(rows["date"])[models].to_numpy()
        found[str(ticker)] = {
            "note": notes.get(str(ticker), ""),
            **packing.pack(_columns(rows, volatility)),
        }
    names = [*COLUMNS, *(f"volatility_{i}" for i in range(len(models)))]
    return {"columns": names, "models": models, "tickers": found}


def of_ticker(frame: pd.DataFrame) -> list[charts.Chart]:
    """Price with bands, volatility and value at risk, on one span of dates."""
    from bokeh.models import ColumnDataSource, Range1d

    models = list(frame["model"].unique())
    source = ColumnDataSource(name="sessions")
    for name in _names(models):
        source.add([], name)
    span = Range1d(0, 1, name="span")
    return [_price(source, span, models[0]), _volatility(source, span, frame), _risk(source, span)]


def _names(models: list[str]) -> list[str]:
    """The columns that ``page.js`` makes of those packed."""
    ends = [f"{end}_{round(100 * band)}" for band in BANDS for end in ("low", "high")]
    return [
        *["date", "median", "actual", *ends],
        *["percent", "size", "realised", "risk_95", "risk_99", "breach_95", "breach_99"],
        *(f"volatility_{i}" for i in range(len(models))),
    ]


def _price(source: "ColumnDataSource", span: Any, model: str) -> charts.Chart:
    drawn = charts.canvas("price (currency of the ticker)", x_range=span, height=400)
    drawn.yaxis.formatter.use_scientific = False
    keys = []
    for band, alpha in zip(BANDS, (0.16, 0.2, 0.3), strict=True):
        percent = round(100 * band)
        area = drawn.varea(
            x="date", y1=f"low_{percent}", y2=f"high_{percent}", source=source,
            fill_color=charts.BLUE, fill_alpha=alpha, name=f"band_{percent}",
        )  # fmt: skip
        # The narrower bands lie on the wider.
        shade = {95: 0.2, 80: 0.4, 50: 0.65}[percent]
        keys.append(charts.Key(f"{percent}% band", charts.BLUE, "band", [area], shade))
    median = charts.line(drawn, "median", charts.BLUE, x="date", y="median", source=source)
    actual = charts.dots(drawn, "actual", charts.INK, size=4, x="date", y="actual", source=source)
    keys += [
        charts.Key("median forecast", charts.BLUE, "solid", [median]),
        charts.Key("actual close", charts.INK, "circle", [actual]),
    ]
    ends = [
        (f"{percent}%", f"@low_{percent}{{%.6g}} to @high_{percent}{{%.6g}}")
        for percent in (50, 80, 95)
    ]
    told = [charts.DATE, ("Median", "@median{%.6g}"), *ends]
    charts.hover(drawn, [median], [*told, ("Actual", "@actual{%.6g}")])
    return charts.Chart(
        "price",
        "Price of <span data-ticker></span> and its forecasts",
        f"the price of the ticker picked above, and the bands that {model} forecast for it a day "
        "before. The table below has the sessions in view.",
        f"Each day as {model} forecast it at the close before. The median follows the price one day "
        "late, as in every honest next-day forecast: judge the width of the bands.",
        drawn,
        keys,
    )


def _volatility(source: "ColumnDataSource", span: Any, frame: pd.DataFrame) -> charts.Chart:
    drawn = charts.canvas("volatility (% a day)", x_range=span)
    looks = style.looks(frame)
    size = charts.dots(
        drawn, "size", style.GREY, size=3, alpha=0.6, x="date", y="size", source=source
    )
    # The largest returns would squeeze the volatilities into the foot.
    size.visible, drawn.y_range.only_visible = False, True
    realised = charts.line(drawn, "realised", charts.INK, x="date", y="realised", source=source)
    lines: list[Any] = []
    keys: list[charts.Key] = []
    # The first model last, over the others.
    for i, (model, look) in reversed(list(enumerate(looks.items()))):
        dash = charts.DASHES[look["linestyle"]]
        column = f"volatility_{i}"
        lines.insert(
            0,
            charts.line(
                drawn, column, look["color"], dash=dash, width=2.0 if i == 0 else 1.2,
                x="date", y=column, source=source,
            ),
        )  # fmt: skip
        keys.insert(0, charts.Key(model, look["color"], dash, lines[:1]))
    keys += [
        charts.Key(
            f"realised, {MONTH} sessions to that day (hindsight)", charts.INK, "solid", [realised]
        ),
        charts.Key("|log return|", style.GREY, "circle", [size]),
    ]
    forecast = [
        (model, f"@volatility_{i}{{%.3g}}%") for i, model in enumerate(frame["model"].unique())
    ]
    told = [
        charts.DATE,
        *forecast,
        ("Realised", "@realised{%.3g}%"),
        ("|Log return|", "@size{%.3g}%"),
    ]
    charts.hover(drawn, lines[:1], told)
    return charts.Chart(
        "volatility",
        "Volatility of <span data-ticker></span>, predicted and realised",
        "the volatility of the ticker picked above as each model predicted it and as it was realised. "
        "The table below has the sessions in view.",
        "The realised volatility contains the day forecast, so it is hindsight: no forecast could know it.",
        drawn,
        keys,
    )


def _risk(source: "ColumnDataSource", span: Any) -> charts.Chart:
    drawn = charts.canvas("log return (%)", x_range=span)
    charts.level(drawn, 0)
    data: dict[str, Any] = {"x": "date", "source": source}
    returns = charts.dots(drawn, "percent", style.GREY, size=3, y="percent", **data)
    orange = style.PALETTE[5]
    lines = [
        charts.line(drawn, "risk_95", charts.BLUE, y="risk_95", **data),
        charts.line(drawn, "risk_99", charts.BLUE, dash="dashed", y="risk_99", **data),
    ]
    breaches = [
        charts.dots(drawn, "breach_95", orange, size=8, marker="diamond", y="breach_95", **data),
        charts.dots(
            drawn, "breach_99", charts.VERMILION, size=9, marker="triangle", y="breach_99", **data
        ),
    ]
    keys = [
        charts.Key("log return", style.GREY, "circle", [returns]),
        charts.Key("95% value at risk", charts.BLUE, "solid", lines[:1]),
        charts.Key("99% value at risk", charts.BLUE, "dashed", lines[1:]),
        charts.Key("below the 95%", orange, "diamond", breaches[:1]),
        charts.Key("below the 99%", charts.VERMILION, "triangle", breaches[1:]),
    ]
    told = [
        charts.DATE,
        ("Log return", "@percent{%.3g}%"),
        ("95% value at risk", "@risk_95{%.3g}%"),
        ("99% value at risk", "@risk_99{%.3g}%"),
    ]
    charts.hover(drawn, lines[:1], told)
    return charts.Chart(
        "risk",
        "Value at risk of <span data-ticker></span> and its breaches",
        "returns of the ticker picked above, the value at risk forecast for each day, and the days "
        "that fell below it. The table below has the sessions in view.",
        "One day in twenty should fall below the 95% value at risk, one in a hundred below the 99%, "
        "and breaches should not come in clusters.",
        drawn,
        keys,
    )


def _columns(rows: pd.DataFrame, volatility: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """The columns of a ticker with their units."""
    coarse = float(rows["volatility"].median()) / COARSE
    returns, median = rows["log_return"].to_numpy(), rows["q0.5"].to_numpy()
    passed = np.nan_to_num(np.rint(returns / FINE) * FINE)  # as they come back, so no error adds up
    level = np.log(rows["last_close"].to_numpy()) - np.cumsum(passed) + passed
    risks = [rows[name].to_numpy() for name in ("q0.05", "q0.01")]
    breach = sum((returns < quantile).astype(float) for quantile in risks)
    realised = (rows["log_return"] ** 2).rolling(MONTH).mean().to_numpy() ** 0.5
    columns = [
        (rows["date"].to_numpy().astype("datetime64[D]").astype(float), 1.0),
        (level, FINE),
        (returns, FINE),
        (np.asarray(breach), 1.0),
        (realised, coarse),
        (median, coarse),
    ]
    for band in BANDS:
        low, high = forecasts.interval(rows, band)
        columns += [(median - low, coarse), (high + low - 2 * median, coarse)]
    columns += [(median - risk, coarse) for risk in risks]
    return columns + [(its, coarse) for its in volatility.T]


def _notes(tables: dict[str, pd.DataFrame], model: str) -> dict[str, str]:
    """How the intervals and the value at risk of each ticker held, in words."""
    held = _whole(tables["coverage"], model).pivot(
        index="ticker", columns="nominal", values="share"
    )
    risk = _whole(tables["value_at_risk"], model)
    told = {
        (
            row["ticker"],
            row["level"],
        ): f"{row['breaches']:.0f} were below the {row['level']:.0%} value at "
        f"risk, where {row['expected']:.0f} are expected"
        for row in risk.to_dict("records")
    }
    return {
        str(
            ticker
        ): f"{model} on {ticker}: the 80% interval held {shares[0.8]:.1%} of the returns, the "
        f"95% {shares[0.95]:.1%}; {told[ticker, 0.95]}; {told[ticker, 0.99]}."
        for ticker, shares in held.iterrows()
    }


def _whole(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """The rows of each ticker of a model, over all its sessions."""
    kept = (table["model"] == model) & (table["split"] == "all")
    return table[kept & (table["ticker"] != metrics.POOLED)]
