"""Figures to files and windows, and pages in the system's viewer."""

import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from forecaster.cli import output
from forecaster.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")


def check(path: Path) -> None:
    """Raise a UsageError if the name of a file ends in no format that figures are written in."""
    if not is_figure(path):
        raise UsageError(
            f"--out must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, got {path}"
        )


def is_figure(path: Path) -> bool:
    """Return whether the name of a file ends in a format that figures are written in."""
    return path.suffix.lower() in FORMATS


def save(figure: "Figure", path: Path) -> None:
    """Write a figure in place of the file, in the format that its name ends in.

    No date is written into it and identifiers are not random, so that the same figure drawn again differs
    by the rounding of its layout at the most.
    """
    import matplotlib

    from forecaster import atomic

    kind = path.suffix.lower()[1:]
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with (
        atomic.replacing(path) as temporary,
        matplotlib.rc_context({"svg.hashsalt": "forecaster"}),
    ):
        figure.savefig(temporary, format=kind, metadata=undated)


def can_show() -> bool:
    """Return whether there is a display, and a toolkit of matplotlib that opens windows on it."""
    if sys.platform not in ("darwin", "win32") and not any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    ):
        return False
    import matplotlib.pyplot as plt
    from matplotlib.backends.registry import BackendFilter, backend_registry

    toolkits: Callable[[BackendFilter], list[str]] = backend_registry.list_builtin
    return plt.get_backend().lower() in toolkits(BackendFilter.INTERACTIVE)


def show(figures: Iterable[tuple[str, "Figure"]]) -> None:
    """Open a window for each named figure, and wait until they are closed."""
    import matplotlib.pyplot as plt

    for name, figure in figures:
        figure.set_label(name)
        plt.figure(figure)
    plt.show()


def show_page(file: Path) -> None:
    """Show a page in the system's viewer; where there is none, say where it is."""
    if sys.platform in ("darwin", "win32") or shutil.which("xdg-open"):
        typer.launch(str(file))
    else:
        output.note(f"no display and no viewer here; open {file}")
