"""What an interrupted backtest leaves in its folder, and how to resume it.

``DIR/unfinished/`` holds the command and the parts that are finished. Results that were in the
folder before stay until those of the new backtest take the place of the whole folder.
"""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from forecaster.cli import output
from forecaster.errors import EngineError, ResumeError, StoreError, UsageError

if TYPE_CHECKING:
    from forecaster.backtesting.spec import BacktestSpec

_REQUEST = "command.json"
_DAMAGE = (OSError, ValueError, TypeError, LookupError, AttributeError)


@dataclass(frozen=True)
class Request:
    """A backtest to do, but for who works and how it is shown."""

    home: Path
    run: str | None
    """Name of the run that stands for its model."""
    spec: "BacktestSpec"


def begin(folder: Path, request: Request) -> None:
    """Write a request down in place of one that was interrupted."""
    from forecaster import atomic

    place = _place(folder)
    if finished(folder):
        logging.getLogger("forecaster").warning(
            "the unfinished backtest in %s, which --resume would have gone on with, gives way to a "
            "new one",
            folder,
        )
    shutil.rmtree(place, ignore_errors=True)
    document = {"home": str(request.home), "run": request.run, **request.spec.document()}
    with atomic.replacing(place / _REQUEST) as temporary:
        temporary.write_text(json.dumps(document, indent=2), encoding="utf-8")


def request_of(context: typer.Context, folder: Path) -> Request:
    """Return the request of the backtest that was interrupted.

    Raises
    ------
    ResumeError
        There is nothing to resume.
    UsageError
        Options are given that the request has of its own.
    """
    own = (
        *("tickers", "models", "start", "end", "refit", "run", "calibrate", "seed", "cost"),
        "steps",
        *("out", "home"),
    )
    for name in own:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            what = "tickers" if name == "tickers" else f"--{name}"
            raise UsageError(
                f"--resume goes on with what the backtest began with; leave out {what}"
            )
    return read_request(folder)


def read_request(folder: Path) -> Request:
    """Return the request of an unfinished backtest; ResumeError if there is none."""
    from forecaster.backtesting.spec import BacktestSpec

    try:
        document = json.loads((_place(folder) / _REQUEST).read_text(encoding="utf-8"))
        spec = BacktestSpec.of_document(document)
        return Request(Path(document["home"]), document["run"], spec)
    except (*_DAMAGE, UsageError) as error:
        raise ResumeError(f"there is no unfinished backtest in {folder} to resume") from error


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Say how to go on if something fails and parts are finished; leave nothing if none are."""
    try:
        yield
    except BaseException as error:
        count = finished(folder)
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
            output.note(hint)
        raise


def parts(folder: Path) -> Path:
    """Return where a backtest keeps its parts."""
    return _place(folder) / "parts"


def _place(folder: Path) -> Path:
    from forecaster.backtesting.folders import UNFINISHED

    return folder / UNFINISHED


def finished(folder: Path) -> int:
    """Return how many parts of an unfinished backtest are there."""
    return len(list(parts(folder).glob("[!.]*.parquet")))
