"""Results on stdout, everything else on stderr; fitted to a terminal, whole in a pipe.

All that the commands print goes through here, where foreign text loses what would command a terminal.
"""

import codecs
import io
import json
import logging
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import typer

from forecaster import schemas
from forecaster.display import printable

if TYPE_CHECKING:
    import pandas as pd

    from forecaster.models.protocol import Progress

BLOCKS = "▁▂▃▄▅▆▇█"
GAPS = (3, 2, 1)
"""Columns between those of a table, from airy to tight."""
PROSE = 30
"""A column of prose is not made narrower than this."""

_SPELLED = str.maketrans(
    dict(zip(BLOCKS, "__..--''", strict=True))
    | dict.fromkeys("–−─·", "-")
    | {"━": "=", "┃": "|", "✓": "+", "✗": "x"}
)


_PARAMETER = re.compile(r'`(\w+)(?:="([^"`]*)")?`')
"""A parameter, as messages of the library name it; perhaps with a value."""

_OTHERS = ("alembic", "optuna", "peewee", "py.warnings", "yfinance")
"""Loggers of other packages, whose words are for ``--verbose`` alone."""


def start(*, quiet: bool, verbose: bool) -> None:
    """Sends warnings to stderr, a line each; more with ``verbose``, none with ``quiet``."""
    logger = logging.getLogger("forecaster")
    logger.handlers.clear()
    logger.propagate = False
    handler = _Handler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s" if verbose else "warning: %(message)s"))
    logger.addHandler(handler)
    level = logging.ERROR if quiet else logging.DEBUG if verbose else logging.WARNING
    logger.setLevel(level)
    logging.captureWarnings(True)
    for name in _OTHERS:
        other = logging.getLogger(name)
        other.handlers[:] = [handler if verbose else logging.NullHandler()]
        other.propagate = False
        other.setLevel(logging.DEBUG if verbose else logging.CRITICAL)


def spell() -> None:
    """Has stdout and stderr spell in plain letters what their encoding cannot say."""
    codecs.register_error("spell", _spelled)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="spell")


def dump(schema: str, document: dict[str, Any]) -> None:
    """Print a result as JSON, with the name of its schema; what does not print is escaped."""
    tagged = {"schema": schemas.tag(schema), **document}
    text = json.dumps(tagged, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    for line in text.split("\n"):
        shown = printable(line) == line
        print(line if shown else "".join(map(_json_character, line)))


def _json_character(character: str) -> str:
    return character if printable(character) == character else json.dumps(character)[1:-1]


def say(text: str) -> None:
    """Print paragraphs of the result."""
    print(fitted(text, sys.stdout))


def detail(text: str) -> None:
    """Print paragraphs of the result that ``--verbose`` shows."""
    if logging.getLogger("forecaster").isEnabledFor(logging.DEBUG):
        say(text)


def note(text: str) -> None:
    """Print on stderr what is worth knowing beside the result."""
    print(fitted(text, sys.stderr), file=sys.stderr)


def export(table: "pd.DataFrame", name: str, file: Path, *, quiet: bool) -> None:
    """Write a table to a file, and say on stderr what is in it."""
    from forecaster import exports

    exports.write(table, file, name)
    if not quiet:
        note(f"{len(table):,} {'row' if len(table) == 1 else 'rows'} in {file}")


def error(message: object) -> None:
    """Print what went wrong on stderr: a line, which a terminal sees broken between words."""
    note(f"error: {' '.join(with_options(str(message)).split())}")


def end(errors: Iterable[object]) -> None:
    """Print what went wrong, and exit with 1 if anything did."""
    failures = list(errors)
    for failure in failures:
        error(failure)
    if failures:
        raise typer.Exit(1)


def with_options(message: str) -> str:
    """Return a message of the library with its parameters spelled as options of the command line.

    `` `values="prices"` `` becomes ``--values prices``, and `` `max_windows` `` ``--max-windows``.
    """

    def option(parameter: re.Match[str]) -> str:
        name, value = parameter.groups()
        return f"--{name.replace('_', '-')}" + (f" {value}" if value else "")

    return _PARAMETER.sub(option, message)


def fitted(text: str, stream: IO[str]) -> str:
    """Return printable lines, broken between words where the stream is a terminal."""
    width, lines = _width(stream), [printable(line) for line in text.split("\n")]
    if width is not None:
        lines = [
            textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
            for line in lines
        ]
    return "\n".join(lines)


def sparkline(values: Sequence[float]) -> str:
    """A character for each value, from the lowest ▁ to the highest █."""
    if not values:
        return ""
    low, high = min(values), max(values)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((value - low) * scale)] for value in values)


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: int = 1,
    prose: bool = False,
    picture: bool = False,
    below: bool = False,
) -> None:
    """Prints a table, as wide as the terminal allows, or as it needs to be where there is none.

    Columns too many for the terminal move closer, and then go below the others, after the first
    column once more, so that no cell is cut.

    Parameters
    ----------
    left : so many first columns align left, the others right.
    prose : the last column is text, which may run over several lines.
    picture : the last column is a picture, left out where it does not fit beside the others.
    below : the picture then goes below them instead, as other columns do.
    """
    from rich.cells import cell_len

    lines = [[printable(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    room = _width(sys.stdout)
    if picture and not below and len(_layout(widths, room)[1]) > 1:
        lines, widths = [line[:-1] for line in lines], widths[:-1]
        picture = False
    aligned = ["left" if i < left else "right" for i in range(len(widths))]
    if picture:
        aligned[-1] = "left"
    if prose and room is not None:
        widths[-1] = min(widths[-1], PROSE)
    gap, parts = _layout(widths, room)
    drawn = []
    for part in parts:
        wraps = prose and part[-1] == len(widths) - 1
        needed = 1 + sum(widths[i] for i in part) + gap * (len(part) - 1)
        drawn.append(
            _drawn(
                [[line[i] for i in part] for line in lines],
                [aligned[i] for i in part],
                gap=gap,
                width=max(needed, room or 0) if wraps else needed,
                wraps=wraps,
            )
        )
    print("\n\n".join(drawn))


@contextmanager
def progress(*, quiet: bool) -> Iterator["Progress"]:
    """A bar on stderr with what is going on, how far it is, and the time left."""
    if quiet:
        yield lambda done, total, text: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if console.is_dumb_terminal:  # it cannot go back to the start of a line
        yield lambda done, total, text: note(f"{done}/{total} {text}")
        return
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=min(24, console.width // 8)),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )

    def show(done: int, total: int, text: str) -> None:
        # Begun here, so that what fails before anything is done leaves no empty bar.
        task = bar.task_ids[0] if bar.task_ids else bar.add_task("")
        bar.start()
        bar.update(task, completed=done, total=total, description=printable(text))

    try:
        yield show
    finally:
        if bar.task_ids:
            bar.stop()


class _Handler(logging.StreamHandler[IO[str]]):
    """Writes log records broken between words where the stream is a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return fitted(with_options(super().format(record)), self.stream)


def _width(stream: IO[str]) -> int | None:
    """The columns of a terminal; None for a pipe or a file."""
    from rich.console import Console

    console = Console(file=stream)
    return console.width if console.is_terminal else None


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """Handles an error of encoding: block by block for sparklines, a dash for a dash, else ``?``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    spelled = error.object[error.start : error.end].translate(_SPELLED)
    return spelled.encode("ascii", "replace").decode("ascii"), error.end


def _layout(widths: Sequence[int], room: int | None) -> tuple[int, list[list[int]]]:
    """The gap between columns, and the columns of each part of the table, the first in every one."""
    every = list(range(len(widths)))
    if room is None:
        return GAPS[0], [every]
    for gap in GAPS:
        if 1 + sum(widths) + gap * (len(widths) - 1) <= room:
            return gap, [every]
    gap = GAPS[1]

    def filled(limit: int) -> list[list[int]]:
        parts, used = [[0]], 0
        for i in every[1:]:
            if used and used + gap + widths[i] > limit:
                parts, used = [*parts, [0]], 0
            parts[-1].append(i)
            used += gap + widths[i]
        return parts

    most = max(0, room - 1 - widths[0])
    fewest = len(filled(most))
    # The narrowest that are no more: parts of about the same width.
    return gap, next(parts for limit in range(most + 1) if len(parts := filled(limit)) == fewest)


def _drawn(cells: list[list[str]], aligned: list[Any], *, gap: int, width: int, wraps: bool) -> str:
    """A table whose first row is its head, and whose last column may run over several lines."""
    if not wraps and _width(sys.stdout) is None:
        return _plain(cells, aligned, gap=gap)
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # The box itself puts a column between two cells, and one at each edge.
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, gap // 2, 0, (gap - 1) // 2))
    last = len(aligned) - 1
    for i, title in enumerate(cells[0]):
        drawn.add_column(Text(title), justify=aligned[i], no_wrap=not (wraps and i == last))
    for row in cells[1:]:
        # Text, because a name in square brackets is no markup.
        drawn.add_row(*(Text(cell) for cell in row))
    # Not straight to stdout: rich would draw another box for an encoding that cannot say this one.
    console = Console(
        file=io.StringIO(), width=width + 1, force_terminal=_width(sys.stdout) is not None
    )
    with console.capture() as capture:
        console.print(drawn)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    return "\n".join(line for line in lines if line)


def _plain(cells: list[list[str]], aligned: list[Any], *, gap: int) -> str:
    """The same table where it is not for a terminal, line by line: rich takes long for many rows."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        columns = [
            " " * (width - cell_len(cell)) + cell
            if side == "right"
            else cell + " " * (width - cell_len(cell))
            for cell, side, width in zip(row, aligned, widths, strict=True)
        ]
        lines.append((" " + (" " * gap).join(columns)).rstrip())
    rule = " " + "─" * (sum(widths) + gap * (len(widths) - 1))
    return "\n".join([lines[0], rule, *(line for line in lines[1:] if line)])
