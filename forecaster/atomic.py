"""Writing so that a reader, or the next command, finds the old thing or the new one, never half.

A file or a folder is written under a temporary name beside its place, flushed to the disk, and
renamed into place. What a killed command leaves behind is hidden (a dot before its name) and
removed by the next command; see :mod:`forecaster.leftovers`.
"""

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from forecaster.errors import StoreError
from forecaster.leftovers import owner

Content = TypeVar("Content")

_TEMPORARY = ".tmp"
_HIDDEN = re.compile(r"\.(?P<name>.+)\.(lock|old)")
"""Names beside a folder that is being replaced, or was."""
_LONGEST = 190
"""Characters of a name that its temporary names repeat; file systems stop at 255."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write a file to; it takes the place of ``path`` if nothing is raised.

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
    """Hold the right to change the file ``path``, to read, merge and replace it.

    Another process or thread that wants it waits. A killed one lets go, and what it left half
    written is removed. The lock is a hidden file beside ``path``, which stays.

    Raises
    ------
    StoreError
        The disk is read-only, or the folder cannot be made.
    """
    is_new = not _lock(path).exists()  # nobody wrote it before: a large folder is not searched
    with _acquired(path):
        for name in () if is_new else os.listdir(path.parent):
            if name.startswith(f".{path.name[:_LONGEST]}.") and name.endswith(_TEMPORARY):
                path.with_name(name).unlink(missing_ok=True)
        yield


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to fill; it takes the place of ``path`` if nothing is raised.

    A folder cannot be renamed over another, so the old one steps aside for an instant, in which the
    writer holds the folder's lock. Read it by :func:`read_folder`, which knows of that instant.

    Raises
    ------
    StoreError
        The disk is full, read-only, or the folder cannot be made.
    """
    path = path.resolve()  # a link stays a link, to the new folder
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(path)
        temporary.mkdir()
        try:
            yield temporary
            for file in temporary.rglob("*"):
                _flush(file)
            with held(path):
                if path.exists():
                    path.rename(_aside(path))
                temporary.rename(path)
                _flush(path.parent)
                shutil.rmtree(_aside(path), ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep the folder ``path`` where it is: nobody replaces or removes it within the block.

    Raises
    ------
    StoreError
        The folder beside which the lock belongs is read-only, or cannot be made.
    """
    path = path.resolve()
    with _acquired(path):
        with _explained(path):
            _recover(path)
        yield


def read_folder(path: Path, read: Callable[[Path], Content]) -> Content:
    """Return what ``read`` makes of a folder, all of it from one version of the folder.

    Nothing is locked unless the folder was replaced meanwhile, so reading needs no right to write.

    Parameters
    ----------
    path : the folder, which need not be there.
    read : takes the folder; it is called again if another folder took its place meanwhile.

    Raises
    ------
    Exception
        Whatever ``read`` raises of a folder that stands still.
    """
    place = path.resolve()
    with ExitStack() as stack:
        version = _open_folder(place, stack)
        if version is not None:
            try:
                content = read(path)
            except Exception:
                if _stands(place, version):
                    raise
            else:
                if _stands(place, version):
                    return content
        if place.exists() or _lock(place).exists() or _aside(place).exists():
            with suppress(StoreError):  # who may not write here reads without
                stack.enter_context(held(place))
        return read(path)


def folders(parent: Path) -> list[Path]:
    """Return the folders in another one, in order, also such as are just being replaced."""
    names: set[str] = set()
    # Before a folder moves there is its lock: what the first look misses, the second finds by that.
    for _ in range(2):
        for path in parent.iterdir() if parent.is_dir() else ():
            hidden = _HIDDEN.fullmatch(path.name)
            if hidden:
                names.add(hidden["name"])
            elif path.is_dir() and not path.name.startswith("."):
                names.add(path.name)
    paths = (parent / name for name in sorted(names))
    return [path for path in paths if read_folder(path, Path.is_dir)]


def remove_folder(path: Path) -> None:
    """Remove a folder: whoever reads it finds it whole or not at all.

    Raises
    ------
    StoreError
        It cannot be removed.
    """
    path = path.resolve()
    with held(path), _explained(path):
        leaving = _temporary(path)
        path.rename(leaving)
        shutil.rmtree(leaving, ignore_errors=True)


@contextmanager
def claimed(path: Path, work: str) -> Iterator[None]:
    """Claim a folder for work of minutes or hours; whoever else wants it is refused at once.

    Parameters
    ----------
    path : the folder, which need not be there.
    work : the kind of work, for the message: ``backtest``.

    Raises
    ------
    StoreError
        Another process works there, or the disk is read-only.
    """
    from filelock import FileLock, Timeout

    path = path.resolve()
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.writing"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise StoreError(
                f"another {work} is being written to {path}; wait for its end, or name another folder"
            ) from None
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file
            Path(lock.lock_file).unlink()
        lock.release()


@contextmanager
def _acquired(path: Path) -> Iterator[None]:
    """Hold the lock of a file or a folder; a thread that has it may take it again."""
    from filelock import FileLock  # not for those who only read

    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(_lock(path), is_singleton=True, poll_interval=0.01)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _recover(path: Path) -> None:
    """Bring back a folder whose replacement was killed between its two renames."""
    aside = _aside(path)
    if aside.exists() and not path.exists():
        aside.rename(path)
    elif aside.exists():
        shutil.rmtree(aside, ignore_errors=True)


def _open_folder(path: Path, stack: ExitStack) -> tuple[int, int] | None:
    """Return what tells a folder from the next of its name, None if it cannot be opened.

    It is open as long as the stack, so that no other folder gets its number.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # there is none, or this is Windows
        return None
    stack.callback(os.close, handle)
    return _number(os.fstat(handle))


def _stands(path: Path, version: tuple[int, int]) -> bool:
    with suppress(OSError):
        return _number(path.stat()) == version
    return False


def _number(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _temporary(path: Path) -> Path:
    """Return a hidden name beside ``path`` that says whose it is, and that nobody has."""
    return path.with_name(f".{path.name[:_LONGEST]}.{owner()}{secrets.token_hex(8)}{_TEMPORARY}")


def _flush(path: Path) -> None:
    """Make what was written survive a loss of power, where the system allows it."""
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
