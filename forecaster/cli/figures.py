"""Figures to files and windows."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from forecaster.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")


def check(path: Path) -> None:
    """UsageError if the name of a file does not say a format that figures are written in."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(
            f"--out must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, got {path}"
        )


def save(figure: "Figure", path: Path) -> None:
    """Writes a figure in place of the file, in the format that its name says.

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
    """Whether there is a display here, and a toolkit of matplotlib's that opens windows on it."""
    if sys.platform not in ("darwin", "win32") and not any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    ):
        return False
    import matplotlib.pyplot as plt
    from matplotlib.backends import BackendFilter, backend_registry  # type: ignore[attr-defined]

    return plt.get_backend().lower() in backend_registry.list_builtin(BackendFilter.INTERACTIVE)


def show(figures: Iterable[tuple[str, "Figure"]]) -> None:
    """Opens a window for each named figure, and waits until they are closed."""
    import matplotlib.pyplot as plt

    for name, figure in figures:
        figure.set_label(name)
        plt.figure(figure)
    plt.show()
