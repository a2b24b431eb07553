"""Results on stdout, everything else on stderr."""

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forecaster.models import Progress


def start(*, quiet: bool, verbose: bool) -> None:
    """Sends warnings to stderr, a line each; more with ``verbose``, none with ``quiet``."""
    logger = logging.getLogger("forecaster")
    logger.handlers.clear()
    logger.propagate = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s" if verbose else "warning: %(message)s"))
    logger.addHandler(handler)
    level = logging.ERROR if quiet else logging.DEBUG if verbose else logging.WARNING
    logger.setLevel(level)


def dump(document: Any) -> None:
    """Prints a result as JSON."""
    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False, default=str))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
    """Prints a table, as wide as it needs to be; all but the ``left`` first columns align right."""
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        drawn.add_column(Text(column), justify="left" if i < left else "right", no_wrap=True)
    for row in rows:
        # Text, because a name in square brackets is no markup.
        drawn.add_row(*(Text(cell) for cell in row))
    console = Console(file=sys.stdout)
    wanted = Measurement.get(console, console.options.update(max_width=10_000), drawn).maximum
    console.width = max(console.width, wanted)
    with console.capture() as capture:
        console.print(drawn)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    print("\n".join(line for line in lines if line))


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

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )

    def told(done: int, total: int, text: str) -> None:
        # Begun here, so that what fails before anything is done leaves no empty bar.
        task = bar.task_ids[0] if bar.task_ids else bar.add_task(text)
        bar.start()
        bar.update(task, completed=done, total=total, description=text)

    try:
        yield told
    finally:
        if bar.task_ids:
            bar.stop()
