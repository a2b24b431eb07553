"""Writing so that a reader, or the next command, finds the old thing or the new one, never half.

A file or a folder is written under a temporary name beside its place, flushed to the disk, and
renamed into place. What a killed command leaves behind is hidden (a dot before its name) and
removed by the next command; see :mod:`forecaster.leftovers`.
"""

import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forecaster.errors import StoreError
from forecaster.leftovers import owner

_TEMPORARY = ".tmp"
_LONGEST = 190
"""Characters of a name that its temporary names repeat; file systems stop at 255."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path to write a file to; it takes the place of ``path`` if nothing is raised.

    Raises
    ------
    StoreError
        The disk is full, read-only, or the folder cannot be made.
    """
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(path)
        # The system takes the process's umask off, as it does for any other file.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            yield temporary
            _flush(temporary)
            os.replace(temporary, path)
            _flush(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the right to change ``path``, for as long as it takes to read, merge and replace it.

    Another process or thread that wants it waits. A killed one lets go, and what it left half
    written is removed. The lock is a hidden file beside ``path``, which stays.

    Raises
    ------
    StoreError
        The disk is read-only, or the folder cannot be made.
    """
    from filelock import FileLock  # not for those who only read

    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        lock.acquire()
    try:
        for leftover in path.parent.glob(f".{glob.escape(path.name[:_LONGEST])}.*{_TEMPORARY}"):
            leftover.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Gives an empty folder to fill; it takes the place of ``path`` if nothing is raised.

    A folder cannot be renamed over another, so the old one steps aside for an instant. Call
    :func:`recover` before reading: it brings the old one back if a command was killed just then.

    Raises
    ------
    StoreError
        The disk is full, read-only, or the folder cannot be made.
    """
    path = path.resolve()  # a link stays a link, to the new folder
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        recover(path)
        temporary = _temporary(path)
        temporary.mkdir()
        try:
            yield temporary
            for file in temporary.rglob("*"):
                _flush(file)
            if path.exists():
                path.rename(_aside(path))
            temporary.rename(path)
            _flush(path.parent)
            shutil.rmtree(_aside(path), ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def recover(path: Path) -> None:
    """Brings back a folder whose replacement was killed between its two renames."""
    aside = _aside(path)
    if aside.exists() and not path.exists():
        aside.rename(path)
    elif aside.exists():
        shutil.rmtree(aside, ignore_errors=True)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _temporary(path: Path) -> Path:
    """Return a hidden name beside ``path`` that says whose it is, and that nobody has."""
    return path.with_name(f".{path.name[:_LONGEST]}.{owner()}{secrets.token_hex(8)}{_TEMPORARY}")


def _flush(path: Path) -> None:
    """Makes what was written survive a loss of power, where the system allows it."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # a folder cannot be opened on Windows
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; what was there is unchanged. "
            "Free some space, or name a `home` you may write to"
        ) from error
