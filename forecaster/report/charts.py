"""One look for the interactive charts: canvas, colours, hovering, the key under a chart.

Charts are made with Bokeh: its JavaScript (1.3 MB, a quarter of Plotly's) comes with its Python
package, draws on a canvas, which stays quick with ten years of sessions, and can be pinched on a
phone. A screen reader cannot see what is drawn on the canvas, so every chart has a text alternative
and a table.

Colours of axes and text are CSS variables of ``page.css``, so that they follow the reader's light
or dark scheme. ``charts.js`` colours the glyphs that have tags: the first names the variable of what
is filled, the last that of lines.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from forecaster.plots import style
from forecaster.report.markup import escape

if TYPE_CHECKING:
    from bokeh.models import ColumnDataSource, Renderer
    from bokeh.plotting import figure

INK, PAPER, MEDIAN = "ink", "paper", "median"
"""Instead of colours: variables of the page's style, which follow the scheme."""

BLUE, VERMILION = style.PALETTE[:2]
DASHES = {"-": "solid", "--": "dashed", ":": "dotted", "-.": "dashdot"}
DATE = ("Session", "@date{%F}")
HEIGHT = 340


@dataclass(frozen=True)
class Entry:
    """An entry of the key under a chart: a checkbox that shows and hides its glyphs."""

    label: str
    color: str
    shape: str
    """``solid``, ``dashed``, ``dotted``, ``dashdot``, ``circle``, ``ring``, ``diamond``,
    ``triangle``, ``hollow_triangle``, ``inverted_triangle`` or ``band``"""
    glyphs: Sequence["Renderer"]
    opacity: float = 0.5
    """Of a band"""

    @property
    def html(self) -> str:
        """A checkbox, a swatch and the label."""
        color = self.color if self.color.startswith("#") else f"var(--{self.color})"
        dash = {"dashed": "6 3", "dotted": "2 3", "dashdot": "6 3 2 3"}.get(self.shape, "none")
        swatch = {
            "circle": f'<circle cx="11" cy="6" r="4" fill="{color}"/>',
            "ring": f'<circle cx="11" cy="6" r="5" fill="none" stroke="{color}" stroke-width="2"/>',
            "diamond": f'<path d="M11 0L15 6L11 12L7 6Z" fill="{color}"/>',
            "triangle": f'<path d="M11 1L17 11H5Z" fill="{color}"/>',
            "hollow_triangle": f'<path d="M11 1L17 11H5Z" fill="none" stroke="{color}" stroke-width="2"/>',
            "inverted_triangle": f'<path d="M11 11L17 1H5Z" fill="{color}"/>',
            "band": f'<rect width="22" height="12" fill="{color}" fill-opacity="{self.opacity}"/>',
        }.get(
            self.shape,
            f'<path d="M0 6H22" stroke="{color}" stroke-width="2.5" stroke-dasharray="{dash}"/>',
        )
        names = " ".join(glyph.name for glyph in self.glyphs)
        checked = " checked" if all(glyph.visible for glyph in self.glyphs) else ""
        return (
            f'<label><input type="checkbox" autocomplete="off" data-glyphs="{escape(names)}"{checked}>'
            f'<svg width="22" height="12" aria-hidden="true">{swatch}</svg>'
            f"{escape(self.label)}</label>"
        )


@dataclass(frozen=True)
class Chart:
    """A figure, its key, what it says in words, and the same as a table."""

    name: str
    title: str
    """HTML"""
    alternative: str
    caption: str
    figure: "figure"
    key: Sequence[Entry]
    table: str
    """HTML"""

    @property
    def html(self) -> str:
        """The figure with an empty place, which ``charts.js`` fills."""
        key = "".join(entry.html for entry in self.key)
        return (
            f'<figure class="chart" id="{self.name}"><h3>{self.title}</h3>\n'
            + (f'<div class="keys" role="group" aria-label="Shown">{key}</div>\n' if key else "")
            + f'<div class="canvas" id="chart-{self.name}" role="group" '
            f'aria-label="Chart: {escape(self.alternative)}"></div>\n'
            f"<figcaption>{escape(self.caption)}</figcaption>\n{self.table}</figure>"
        )


def of_step(chart: Chart, step: int) -> Chart:
    """Return a chart whose names, and those of its glyphs, are of a step: one page has several."""
    for renderer in chart.figure.renderers:
        renderer.name = f"{renderer.name}_step_{step}"
    return replace(chart, name=f"{chart.name}-step-{step}")


class Canvas:
    """A Bokeh figure that is being drawn, and its key.

    Along dates, only they are zoomed, and the height follows what is in view.
    """

    def __init__(self, y_label: str, *, dates: bool = True, height: int = HEIGHT, **options: Any):
        """Make an empty figure; `options` are those of ``bokeh.plotting.figure``."""
        from bokeh.models import (
            BoxZoomTool,
            PanTool,
            ResetTool,
            SaveTool,
            WheelZoomTool,
            ZoomInTool,
            ZoomOutTool,
        )
        from bokeh.plotting import figure

        along: Any = "width" if dates else "both"
        pan = PanTool(dimensions=along)
        # With Ctrl, because a page must scroll; a trackpad's pinch is the same to a browser.
        wheel = WheelZoomTool(dimensions=along, modifiers={"ctrl": True})
        tools = [pan, BoxZoomTool(dimensions=along), wheel]
        tools += [kind(dimensions=along) for kind in (ZoomInTool, ZoomOutTool)]
        self.figure = figure(
            height=height,
            sizing_mode="stretch_width",
            x_axis_type="datetime" if dates else "linear",
            y_axis_label=y_label,
            tools=[*tools, ResetTool(), SaveTool()],
            active_drag=pan,
            active_scroll=wheel,
            toolbar_location="above",
            window_axis="x" if dates else "none",
            lod_threshold=None,
            outline_line_color=None,
            min_border_right=12,
            **options,
        )
        self.key: list[Entry] = []
        self.figure.toolbar.logo = None
        self.figure.axis.axis_line_color = None
        self.figure.axis.minor_tick_line_color = None
        self.figure.axis.major_label_text_font_size = "12px"
        self.figure.axis.axis_label_text_font_size = "12px"
        self.figure.axis.axis_label_text_font_style = "normal"

    def line(
        self, name: str, color: str, *, dash: str = "solid", width: float = 1.5, **data: Any
    ) -> "Renderer":
        """Draw a line; a colour that is no number, such as ``INK``, follows the page."""
        shade, tags = _painted(color)
        look = {"line_color": shade, "line_dash": dash, "line_width": width}
        return self.figure.line(name=name, tags=tags, **look, **data)

    def band(
        self, name: str, color: str, low: str, high: str, **data: Any
    ) -> "tuple[Renderer, ...]":
        """Draw a band between two columns along ``date``, with lines of paper at its ends."""
        shade, tags = _painted(color)
        ends = {"x": "date", "y1": low, "y2": high, "fill_color": shade}
        area = self.figure.varea(name=name, tags=tags, **ends, **data)
        edges = (
            self.line(f"{name}_{end}", PAPER, width=1, x="date", y=end, **data)
            for end in (low, high)
        )
        return area, *edges

    def dots(self, name: str, color: str, *, size: float = 5, **data: Any) -> "Renderer":
        """Draw filled marks, circles if no ``marker`` is named; those of ``INK`` are edged in paper."""
        shade, tags = _painted(color)
        look = {"fill_color": shade, "line_color": shade, "size": size}
        return self.figure.scatter(name=name, tags=[*tags, PAPER][: 2 * len(tags)], **look, **data)

    def rings(self, name: str, color: str, **data: Any) -> "Renderer":
        """Draw rings around what is drawn at the same places."""
        look = {"fill_color": None, "line_color": color, "line_width": 2, "size": 12}
        return self.figure.scatter(name=name, **look, **data)

    def bars(self, name: str, color: str, **data: Any) -> "Renderer":
        """Draw thin bars, across."""
        look = {"fill_color": color, "line_color": color, "fill_alpha": 0.7, "line_alpha": 0.7}
        return self.figure.hbar(name=name, height=0.08, **look, **data)

    def level(self, at: float, *, across: bool = True) -> None:
        """Draw a line, across or upright, at a value that means something, such as zero."""
        from bokeh.models import Span

        along: Any = "width" if across else "height"
        span = Span(location=at, dimension=along, line_dash="dashed", line_width=1)
        self.figure.add_layout(span)

    def clip(
        self, low: float, high: float, values: np.ndarray, rows: np.ndarray, unit: str
    ) -> None:
        """Show only from one value to another across, and write at the edges what is cut off.

        Parameters
        ----------
        values, rows : of the marks, across and upright.
        unit : of the values, ``%``.
        """
        from bokeh.models import Range1d

        margin = 0.05 * (high - low)
        self.figure.x_range = Range1d(low - margin, high + margin)
        for at, align, beyond in ((low, "left", values < low), (high, "right", values > high)):
            words = [f"◂ {it:+,.0f}{unit}" if at == low else f"{it:+,.0f}{unit} ▸" for it in values]
            self.figure.text(
                x=np.full(int(beyond.sum()), at),
                y=rows[beyond],
                text=[word for word, cut in zip(words, beyond, strict=True) if cut],
                text_align=align,
                text_baseline="middle",
                text_font_size="11px",
                text_color=style.INK,
                tags=[INK],
            )

    def add_entry(
        self, label: str, color: str, shape: str, *glyphs: "Renderer", opacity: float = 0.5
    ) -> None:
        """Add glyphs to the key."""
        self.key.append(Entry(label, color, shape, glyphs, opacity))

    def hover(
        self,
        on: Sequence["Renderer"],
        fields: Sequence[tuple[str, str]],
        *,
        along: bool = True,
    ) -> None:
        """Show values under the pointer: of its date if ``along``, else of what it touches.

        A field is ``@name{format}``: ``%F`` for the column ``date``, else a number's; ``%.6g`` for
        prices, whose size nobody knows beforehand.
        """
        from bokeh.models import HoverTool

        printf = {
            "@" + part.partition("{")[0]: "printf"
            for _, text in fields
            for part in text.split("@")[1:]
            if "{%" in part and not part.startswith("date")
        }
        self.figure.add_tools(
            HoverTool(
                renderers=list(on),
                tooltips=list(fields),
                formatters={"@date": "datetime"} | printf,
                mode="vline" if along else "mouse",
                point_policy="snap_to_data",
                line_policy="nearest",
            )
        )

    def chart(
        self, name: str, title: str, *, alternative: str, caption: str, table: str = ""
    ) -> Chart:
        """Return what was drawn as a chart; title and table are HTML."""
        return Chart(name, title, alternative, caption, self.figure, self.key, table)


def _painted(color: str) -> tuple[str, list[str]]:
    """The colour of a glyph before the page paints it, and the variable that it then follows."""
    return (color, []) if color.startswith("#") else (style.INK, [color])


def source(**columns: Any) -> "ColumnDataSource":
    """Return columns of one length, for glyphs: words as lists, numbers as arrays."""
    from bokeh.models import ColumnDataSource

    arrays = {name: np.asarray(values) for name, values in columns.items()}
    return ColumnDataSource(
        {name: it if it.dtype.kind in "fiub" else it.tolist() for name, it in arrays.items()}
    )


def milliseconds(dates: Any) -> np.ndarray:
    """Return dates as the page counts them."""
    return np.asarray(dates).astype("datetime64[ms]").astype(float)


def dash(look: style.Look) -> str:
    """Return the line style of a look as Bokeh names it."""
    return DASHES[look["linestyle"]]


def document(drawn: Sequence[Chart]) -> dict[str, Any]:
    """Return figures as Bokeh's document, and the id of each by the name of its chart."""
    from bokeh.document import Document

    document = Document(title="")
    with document.models.freeze():  # or each figure would be looked through again with the next
        for chart in drawn:
            document.add_root(chart.figure)
    text = json.dumps(document.to_json(deferred=False))
    # Bokeh counts its models from the start of the process; the same charts give the same page.
    numbers: dict[str, str] = {}

    def renumbered(match: re.Match[str]) -> str:
        return numbers.setdefault(match[0], f"p{len(numbers)}")

    doc = json.loads(re.sub(r'(?<="id": ")p\d+(?=")', renumbered, text))
    return {"roots": {chart.name: numbers[chart.figure.id] for chart in drawn}, "doc": doc}


def variables(colors: Mapping[str, tuple[str, str]]) -> str:
    """Return the style's variables of colours, each given in the light and in the dark."""
    light, dark = (
        " ".join(f"--{name}: {pair[i]};" for name, pair in colors.items()) for i in (0, 1)
    )
    return (
        f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ "
        f":root:not(.on-paper) {{ {dark} }} }}\n"
    )


def library() -> str:
    """Return the JavaScript of Bokeh, from its Python package."""
    path = files("bokeh") / "server" / "static" / "js" / "bokeh.min.js"
    return path.read_text(encoding="utf-8")
