"""One look for every figure: canvas, colours, dates and legends.

The figures of this package are matplotlib Figures made without pyplot, so no display is needed
and no figure outlives its caller. They are 8 inches wide, so that their text of 8.5 to 12 points
can be read in a README and fills a slide.

Colours are those of Okabe & Ito (2008), which readers with any colour vision can tell apart; a
model keeps its colour and its line in every figure of every backtest.
"""

from collections.abc import Iterable
from itertools import product
from typing import TYPE_CHECKING, TypedDict
from zlib import crc32

import pandas as pd

from forecaster.display import printable
from forecaster.distributions.parts import Parts, together

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
INK, GREY, PALE, GRID = "#222222", "#8C8C8C", "#C4C4C4", "#E2E2E2"
RING = PALETTE[1]
"""Around what happened on a session that reacts to earnings."""


def canvas(down: int = 1, across: int = 1, *, height: float = 4.5) -> "Figure":
    """Return a figure in the shared style with (down, across) axes, in ``figure.axes`` by row."""
    figure = sheet(height)
    for axes in figure.subplots(down, across, squeeze=False).flat:
        tidy(axes)
    return figure


def sheet(height: float) -> "Figure":
    """Return a figure without axes, of the shared width and a height in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(8, height), dpi=150, layout="constrained")


def tidy(axes: "Axes") -> None:
    """Give axes the shared style.

    It is set on the artists, not in matplotlib's settings: ticks read those only when they are
    drawn, long after any context of ours has closed.
    """
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, color=GREY)


def dates(axes: "Axes") -> None:
    """Mark the x axis with dates, no longer than needed to tell them apart."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=10)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.set_xlabel("session forecast")
    axes.margins(x=0.01)


def legend(figure: "Figure", *axes: "Axes", columns: int) -> None:
    """Put the legend of the axes, one after the other, below everything, where it hides no data."""
    entries = [pair for its in axes for pair in zip(*its.get_legend_handles_labels(), strict=True)]
    figure.legend(
        *zip(*entries, strict=True),
        loc="outside lower center",
        ncols=columns,
        fontsize=8.5,
        columnspacing=1.4,
        frameon=False,
    )


def annotate(axes: "Axes", ends: list[tuple[float, str, str]]) -> None:
    """Write each (value, text, colour) right of the axes at its value, or as near as its neighbours let."""
    bottom, top = axes.get_ylim()
    room = 0.16 * (top - bottom)
    ends = sorted(ends, reverse=True)
    heights: list[float] = []
    for value, *_ in ends:  # the first stays below the title
        heights.append(min(value, (heights[-1] if heights else top + room / 2) - room))
    floor = bottom + room / 2  # and the last above the dates
    for i in reversed(range(len(heights))):
        heights[i] = max(heights[i], floor)
        floor = heights[i] + room
    for height, (_, text, color) in zip(heights, ends, strict=True):
        axes.text(
            1.01,
            height,
            plain(text),
            color=color,
            fontsize=9,
            verticalalignment="center",
            transform=axes.get_yaxis_transform(),
        )


class Look(TypedDict):
    """The colour and the line style of a model, as matplotlib names them."""

    color: str
    linestyle: str


MARKERS = {"-": "o", "--": "D", ":": "s", "-.": "^"}
"""Where there is no line, what tells models of one colour apart: the marker of each line style."""


_BLUE, _VERMILION, _GREEN, _PURPLE, _SKY, _ORANGE = PALETTE

_LOOKS = {
    "lstm": Look(color=_BLUE, linestyle="-"),
    "gru": Look(color=_SKY, linestyle="-"),
    "rnn": Look(color=_SKY, linestyle="--"),
    "trees": Look(color=_GREEN, linestyle="--"),
    "gjr": Look(color=_VERMILION, linestyle="-"),
    "gjr-events": Look(color=_VERMILION, linestyle=":"),
    "egarch": Look(color=_VERMILION, linestyle="--"),
    "garch": Look(color=_ORANGE, linestyle="-"),
    "average": Look(color=_ORANGE, linestyle="--"),
    "har": Look(color=_GREEN, linestyle="-"),
    "naive": Look(color=_PURPLE, linestyle="-"),
    "ewma": Look(color=_PURPLE, linestyle="--"),
    "drift": Look(color=_PURPLE, linestyle=":"),
}
"""Of our models: kin have one colour, and lines that tell them apart."""

_OTHERS = [
    its
    for line, color in product(MARKERS, PALETTE)
    if (its := Look(color=color, linestyle=line)) not in _LOOKS.values()
]
"""What is left for models from elsewhere."""


def look(model: str) -> Look:
    """Return the look of a model, the same in every figure of every backtest."""
    return _LOOKS.get(model) or _OTHERS[crc32(model.encode()) % len(_OTHERS)]


def looks(forecasts: pd.DataFrame | Parts) -> dict[str, Look]:
    """Return the look of each model of some forecasts, the first first.

    Of two models from elsewhere that would look the same, the later by name gets the next look that is
    free, if there is one.
    """
    parts = Parts.of(forecasts) if isinstance(forecasts, pd.DataFrame) else forecasts
    names = together(part["model"].unique() for part in parts.columns(["model"]))
    chosen = {name: _LOOKS[name] for name in names if name in _LOOKS}
    for name in sorted(set(names) - set(chosen)):
        first = _OTHERS.index(look(name))
        turned = _OTHERS[first:] + _OTHERS[:first]
        chosen[name] = next((it for it in turned if it not in chosen.values()), turned[0])
    return {name: chosen[name] for name in names}


TINTS = {0.95: 0.173, 0.8: 0.36, 0.5: 0.6}
"""How much of a model's colour there is in each of its bands, on white."""

SHADES = {0.95: 0.13, 0.8: 0.2, 0.5: 0.29}
"""The luminance of each band on the dark: at least three times that of the paper, each with 0.05."""


def tint(color: str, share: float) -> str:
    """Return a share of a colour on white."""
    return _hex(1 - share * (1 - part) for part in _parts(color))


def shade(color: str, brightness: float) -> str:
    """Return a colour mixed with black or white until it has a luminance."""
    parts = _parts(color)
    end = float(luminance(color) < brightness)  # white where it is too dark
    low, high = 0.0, 1.0
    for _ in range(20):  # by halves: more of the end is nearer to its luminance
        middle = (low + high) / 2
        mixed = _hex(part + middle * (end - part) for part in parts)
        passed = (luminance(mixed) >= brightness) == bool(end)
        low, high = (low, middle) if passed else (middle, high)
    return _hex(part + high * (end - part) for part in parts)


def luminance(color: str) -> float:
    """Return the relative luminance of a colour, from 0 to 1 (WCAG 2.2)."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in _parts(color)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21 (WCAG 2.2)."""
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def _parts(color: str) -> list[float]:
    return [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]


def _hex(parts: Iterable[float]) -> str:
    return "#" + "".join(f"{round(255 * part):02X}" for part in parts)


def plain(text: str) -> str:
    """Return a printable text whose dollar signs are not read as mathematics; lines stay lines."""
    return "\n".join(map(printable, text.split("\n"))).replace("$", r"\$")
