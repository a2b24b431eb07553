"""What a backtest that was interrupted leaves in its folder, and how it goes on.

``DIR/unfinished/`` holds the command and the parts that are finished. Results that were in the
folder before stay until those of the new backtest take the place of the whole folder.
"""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import typer

from forecaster.errors import EngineError, ResumeError, StoreError, UsageError

_COMMAND = "command.json"


@dataclass(frozen=True)
class Command:
    """What a backtest was asked for, but for who works and how it is shown."""

    home: str
    tickers: list[str]
    models: list[str]
    start: str | None
    end: str | None
    """YYYY-MM-DD"""
    refit: str | int
    run: str | None
    """Name of the run that stands for its model."""
    calibrate: bool
    cost: float

    @property
    def dates(self) -> tuple[date | None, date | None]:
        """Start and end."""
        start, end = (date.fromisoformat(it) if it else None for it in (self.start, self.end))
        return start, end


def begin(folder: Path, command: Command) -> None:
    """Writes a command down in place of one that was interrupted."""
    from forecaster import atomic

    place = _place(folder)
    if _finished(folder):
        logging.getLogger("forecaster").warning(
            "the unfinished backtest in %s, which --resume would have gone on with, gives way to a "
            "new one", folder,
        )  # fmt: skip
    shutil.rmtree(place, ignore_errors=True)
    with atomic.replacing(place / _COMMAND) as temporary:
        temporary.write_text(json.dumps(asdict(command), indent=2), encoding="utf-8")


def command_of(context: typer.Context, folder: Path) -> Command:
    """The command that was interrupted.

    Raises
    ------
    ResumeError
        There is nothing to resume.
    UsageError
        Options are given that the command had of its own.
    """
    own = ("tickers", "models", "start", "end", "refit", "run", "calibrate", "cost", "out", "home")
    for name in own:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            what = "tickers" if name == "tickers" else f"--{name}"
            raise UsageError(
                f"--resume goes on with what the backtest began with; leave out {what}"
            )
    try:
        text = (_place(folder) / _COMMAND).read_text(encoding="utf-8")
        return Command(**json.loads(text))
    except (OSError, ValueError, TypeError) as error:
        raise ResumeError(f"there is no unfinished backtest in {folder} to resume") from error


@contextmanager
def kept(folder: Path) -> Iterator[None]:
    """Says how to go on where something fails and parts are finished; leaves nothing where none are."""
    try:
        yield
    except BaseException as error:
        count = _finished(folder)
        if not count:
            shutil.rmtree(_place(folder), ignore_errors=True)
            with suppress(OSError):
                folder.rmdir()
            raise
        are = "1 part is" if count == 1 else f"{count} parts are"
        hint = f"{are} finished and kept, and `forecast backtest --resume {folder}` goes on"
        if isinstance(error, EngineError | StoreError) and not isinstance(error, ResumeError):
            raise type(error)(f"{error}; {hint}") from error
        if isinstance(error, KeyboardInterrupt):
            typer.echo(hint, err=True)
        raise


def parts(folder: Path) -> Path:
    """Where the walk of a backtest keeps its parts."""
    return _place(folder) / "parts"


def _place(folder: Path) -> Path:
    from forecaster.backtesting.backtest import UNFINISHED

    return folder / UNFINISHED


def _finished(folder: Path) -> int:
    return len(list(parts(folder).glob("[!.]*.parquet")))
