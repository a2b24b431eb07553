"""The sessions to come as a picture: the last closes of a ticker, then where the next ones may be."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from forecaster.dataset.announcements import NextEvent
from forecaster.display import announcement, price
from forecaster.distributions import forecasts
from forecaster.plots import style
from forecaster.plots.style import GREY, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SESSIONS = 60
"""The latest closes that are drawn."""

_GAP, _HALF = 3, 1.5
"""Sessions' widths from the last close to the middle of the bands, and from there to their sides."""


def prediction(row: pd.DataFrame, closes: pd.Series, event: NextEvent | None = None) -> "Figure":
    """Draw a forecast as 50, 80 and 95% bands in price beside the closes before it.

    The bands are as wide as three sessions, to be seen; they are of one. Their ends are in the legend.

    Parameters
    ----------
    row : forecasts frame with the one forecast.
    closes : by date, up to the cutoff of the forecast.
    event : the next announcement of earnings; it is marked if the session forecast may react to it.
    """
    (ticker,), (model,) = row["ticker"], row["model"]
    color = style.look(model)["color"]
    shown = closes.tail(SESSIONS)
    prices = forecasts.prices(row)
    last, median = float(row["last_close"].iloc[0]), float(prices["median"].iloc[0])
    figure = style.canvas()
    (axes,) = figure.axes
    axes.plot(
        np.arange(len(shown)),
        shown,
        ".-",
        color=INK,
        linewidth=1,
        label=f"close, the last {price(last)}",
    )
    at = len(shown) - 1 + _GAP
    sides = [at - _HALF, at + _HALF]
    for level, share in style.TINTS.items():
        low, high = (float(end[0]) for end in forecasts.interval(prices, level))
        label = f"{level:.0%} band: " + " to ".join(price(it, beside=last) for it in (low, high))
        band = style.tint(color, share)
        axes.fill_between(sides, low, high, color=band, linewidth=0, label=label)
    label = f"median forecast: {price(median, beside=last)}"
    axes.plot(sides, [median, median], color=color, linewidth=1.6, label=label)
    if event is not None and event.reaction == row["date"].iloc[0].date():
        label = f"earnings {announcement(event.day, event.time)}"
        axes.axvline(at, color=style.RING, linewidth=1.2, linestyle="--", label=label)
    axes.axhline(last, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_xlim(-1, sides[1] + 0.5)
    axes.margins(y=0.08)
    _mark_dates(axes, shown.index, at, row["date"].iloc[0])
    axes.set_ylabel("price (currency of the ticker)")
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    behind, ahead = (f"{row[name].iloc[0]:%Y-%m-%d}" for name in ("cutoff", "date"))
    axes.set_title(
        style.plain(f"{ticker} · {model} · {ahead}, as forecast at the close of {behind}")
    )
    style.legend(figure, axes, columns=3)
    return figure


def fan(rows: pd.DataFrame, closes: pd.Series, event: NextEvent | None = None) -> "Figure":
    """Draw forecasts of several steps as 50, 80 and 95% bands that open from the last close.

    The ends of the last step are in the legend.

    Parameters
    ----------
    rows : forecasts frame of one ticker, model and cutoff, with ascending steps.
    closes : by date, up to the cutoff of the forecasts.
    event : the next announcement of earnings; it is marked if one of the sessions may react to it.
    """
    (ticker,), (model,) = rows["ticker"].unique(), rows["model"].unique()
    color = style.look(model)["color"]
    shown = closes.tail(SESSIONS)
    prices = forecasts.prices(rows)
    last, median = float(rows["last_close"].iloc[0]), prices["median"].to_numpy()
    figure = style.canvas()
    (axes,) = figure.axes
    now = len(shown) - 1
    axes.plot(
        np.arange(len(shown)),
        shown,
        ".-",
        color=INK,
        linewidth=1,
        label=f"close, the last {price(last)}",
    )
    steps = rows["step"].to_numpy()
    sessions = now + np.append(0, steps)
    for level, share in style.TINTS.items():
        low, high = forecasts.interval(prices, level)
        ends = " to ".join(price(it[-1], beside=last) for it in (low, high))
        axes.fill_between(
            sessions,
            np.append(last, low),
            np.append(last, high),
            color=style.tint(color, share),
            linewidth=0,
            label=f"{level:.0%} band, at the end {ends}",
        )
    label = f"median forecast, at the end {price(median[-1], beside=last)}"
    axes.plot(sessions, np.append(last, median), color=color, linewidth=1.6, label=label)
    if event is not None and event.reaction <= rows["date"].iloc[-1].date():
        label = f"earnings {announcement(event.day, event.time)}"
        at = now + _step_of(event, rows)
        axes.axvline(at, color=style.RING, linewidth=1.2, linestyle="--", label=label)
    axes.axhline(last, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_xlim(-1, sessions[-1] + 1)
    axes.margins(y=0.08)
    _mark_dates(axes, shown.index, sessions[-1], rows["date"].iloc[-1])
    axes.set_ylabel("price (currency of the ticker)")
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    axes.set_title(
        style.plain(
            f"{ticker} · {model} · up to {steps[-1]} sessions ahead, as forecast at the close of "
            f"{rows['cutoff'].iloc[0]:%Y-%m-%d}"
        )
    )
    style.legend(figure, axes, columns=2)
    return figure


def _step_of(event: NextEvent, rows: pd.DataFrame) -> int:
    """Return the step of the session that reacts; of one between two that are drawn, by working days."""
    known = rows.set_index(rows["date"].dt.date)["step"]
    if event.reaction in known.index:
        return int(known[event.reaction])
    week = "1111111" if (rows["date"].dt.day_of_week > 4).any() else "1111100"
    cutoff, dates = rows["cutoff"].iloc[0].date(), list(known.index)
    days = np.busday_count(cutoff, [cutoff, *dates, event.reaction], weekmask=week)
    return max(1, round(float(np.interp(days[-1], days[:-1], [0, *known]))))


def _mark_dates(axes: "Axes", dates: pd.Index, at: int, ahead: pd.Timestamp) -> None:
    """Mark some sessions, evenly spread, and the last one forecast."""
    every = max(1, len(dates) // 4, (at + 2) // 8)
    places = list(range(len(dates) - 1, -1, -every))[::-1]
    places = [place for place in places if place < at - 2 - every / 2] or places
    axes.set_xticks([*places, at], [f"{it:%d %b %Y}" for it in [*dates[places], ahead]])
    axes.set_xlabel("session")
