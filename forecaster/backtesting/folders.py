"""The folders of backtests: which there are, what each is of, and which may be replaced or removed.

What is in them beyond that is for :mod:`forecaster.backtesting.archive` to read, with pandas, which takes
longer to import than a list of folders takes to make.
"""

import json
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from forecaster import atomic
from forecaster.backtesting.provenance import Provenance
from forecaster.data import filenames
from forecaster.errors import ForecastError, StoreError, one_line

FORECASTS = "forecasts.parquet"

UNFINISHED = "unfinished"
"""In a backtest's folder, what one that was interrupted has left there."""

DAMAGE = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError),
    ForecastError,
)
"""Errors of reading files that no backtest wrote."""


def read_provenance(folder: Path) -> Provenance:
    """Return where a backtest in a folder comes from; StoreError if it holds none, or a damaged one."""
    return atomic.read_folder(folder, _read_provenance)


def latest(home: Path) -> Path:
    """Return the folder of the backtest that was written last in a home folder.

    Raises
    ------
    StoreError
        There is none.
    """
    folders = atomic.folders(home / "backtests")
    written = {folder: it for folder in folders if (it := written_at(folder)) is not None}
    if not written:
        raise StoreError(
            f"there is no backtest in {home / 'backtests'} yet; `forecast backtest` makes one, "
            f"or name its folder{filenames.first_fetch(home)}"
        )
    return max(written, key=lambda folder: written[folder])


def stored(home: Path) -> dict[str, Path]:
    """Return the folders of the backtests in a home folder by name, finished or not.

    Scores of files are there too, as ``scores/NAME``.
    """
    backtests, scores = (atomic.folders(home / name) for name in ("backtests", "scores"))
    return {it.name: it for it in backtests} | {f"scores/{it.name}": it for it in scores}


def written_at(folder: Path) -> float | None:
    """Return when the results in a folder were written, in seconds since 1970; None without any."""
    config = "config.json"
    with suppress(OSError):
        return atomic.read_folder(folder, lambda it: (it / config).stat().st_mtime)
    return None


def new_folder(parent: Path, name: str) -> Path:
    """Make a folder that nobody else has, and return it: ``NAME``, ``NAME-2``, ``NAME-3`` …

    Raises
    ------
    StoreError
        The folder cannot be made.
    """
    for number in count(1):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        with atomic.held(folder), suppress(FileExistsError):  # it may just be being replaced
            folder.mkdir()
            return folder
    raise AssertionError("numbers do not end")


def remove(folder: Path) -> None:
    """Remove a backtest, finished or not.

    Raises
    ------
    StoreError
        The folder holds something else, or a backtest is being written to it.
    """
    if not atomic.read_folder(folder, _is_ours):
        raise StoreError(f"{folder} holds something that is not a backtest, and is not removed")
    with atomic.claimed(folder, "backtest"):
        atomic.remove_folder(folder)


def check_replaceable(folder: Path) -> None:
    """Raise a StoreError if a backtest in this folder would take the place of something else."""
    if folder.is_dir() and not atomic.read_folder(folder, _is_ours):
        raise StoreError(
            f"{folder} holds something that is not a backtest, and would be replaced; "
            "name an empty or a new folder"
        )
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file; name a folder")


def _is_ours(folder: Path) -> bool:
    """Return whether a folder holds a backtest, finished or not, or nothing."""
    finished = all((folder / name).is_file() for name in ("config.json", FORECASTS))
    return finished or all(path.name == UNFINISHED for path in folder.iterdir())


def _read_provenance(folder: Path) -> Provenance:
    if not folder.is_dir():
        raise StoreError(f"there is no folder {folder}; name the folder of a backtest")
    try:
        return Provenance.of_document(read_json(folder / "config.json"))
    except DAMAGE as error:
        raise damaged(folder, error) from error


def damaged(folder: Path, error: Exception) -> StoreError:
    """Return what is said of a folder whose files cannot be read."""
    return StoreError(
        f"{folder} holds no backtest, or a damaged one ({one_line(error)}); "
        "name the folder of a backtest"
    )


def read_json(path: Path) -> Any:
    """Return what a JSON file of a backtest holds."""
    return json.loads(path.read_text(encoding="utf-8"))
