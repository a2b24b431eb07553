"""One look for every figure: canvas, colours, dates and legends.

The figures of this package are matplotlib Figures made without pyplot, so no display is needed
and no figure outlives its caller. They are 8 inches wide, so that their text of 8.5 to 12 points
can be read in a README and fills a slide.

Colours are those of Okabe & Ito (2008), which readers with any colour vision can tell apart; a
model keeps its colour in every figure of a frame.
"""

from itertools import cycle, product
from typing import TYPE_CHECKING, TypedDict

import pandas as pd

from forecaster.display import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
INK, GREY, PALE, GRID = "#222222", "#8C8C8C", "#C4C4C4", "#E2E2E2"


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
    """Write each (value, text, colour) right of the axes at its value, or below its neighbour."""
    bottom, top = axes.get_ylim()
    room = 0.16 * (top - bottom)
    height = top + room / 2  # so that the first stays below the title
    for value, text, color in sorted(ends, reverse=True):
        height = min(value, height - room)
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


MARKERS = {"-": "o", "--": "D", ":": "s"}
"""Where there is no line, what tells models of one colour apart: the marker of each line style."""


def looks(frame: pd.DataFrame) -> dict[str, Look]:
    """Return the look of each model, the same in every figure of a frame."""
    styles = (
        Look(color=color, linestyle=line) for line, color in product(("-", "--", ":"), PALETTE)
    )
    return dict(zip(frame["model"].unique(), cycle(styles), strict=False))


def plain(text: str) -> str:
    """Return a printable text whose dollar signs are not read as mathematics; lines stay lines."""
    return "\n".join(map(printable, text.split("\n"))).replace("$", r"\$")
