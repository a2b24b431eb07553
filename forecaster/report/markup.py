"""Plain values as HTML: whatever a name holds, it comes out as words, never as tags."""

import json
from collections.abc import Iterable, Sequence
from html import escape as html_escape
from typing import Any

import pandas as pd

from forecaster.display import number, printable


def escape(text: str) -> str:
    """Return a printable text that HTML takes for nothing but text."""
    return html_escape(printable(text))


def table(caption: str, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of plain texts, in which the first of a row names the row."""
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>\n"
        for name, *cells in rows
    )
    return (
        # Focus lets a keyboard scroll it.
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(caption)}"><table>\n'
        f"<caption><span>{escape(caption)}</span></caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}</tbody>\n</table></div>"
    )


def pivoted(caption: str, corner: str, wide: pd.DataFrame, spec: str) -> str:
    """Return a table of numbers, rows named by the index and columns by the frame's."""
    columns = [texts(wide[name], spec) for name in wide]
    rows = zip(map(str, wide.index), *columns, strict=True)
    return table(caption, [corner, *map(str, wide.columns)], rows)


def folded(summary: str, content: str) -> str:
    """Return content that is shown when its summary is opened."""
    return f"<details><summary>{escape(summary)}</summary>\n{content}\n</details>"


def definitions(pairs: dict[str, str]) -> str:
    """Return terms and what they mean."""
    rows = "\n".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in pairs.items())
    return f"<dl>\n{rows}\n</dl>"


def texts(values: Iterable[float], spec: str) -> list[str]:
    """Return numbers as they are printed, a dash for what is not known."""
    return [number(value, spec).replace("-", "−") for value in values]


def chance(p_value: float) -> str:
    """Return a p-value as it is printed."""
    if p_value != p_value:
        return "–"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def json_text(document: Any) -> str:
    """Return JSON that cannot end the element it stands in."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )
