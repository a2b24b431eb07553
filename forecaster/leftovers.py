"""What a killed command leaves behind, and how the next one knows that nobody needs it.

Temporary names carry their owner: the machine and the process. Where that process no longer lives,
:func:`sweep` removes what it left. A process of another machine is none of ours to judge, so what
lies in a home that several machines share is removed by the machine it comes from.
"""

import os
import re
import shutil
import socket
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path

FOLDER = "forecast-"
"""The names of temporary folders begin with this."""

_SHARED_MEMORY = Path("/dev/shm")
_OWNER = re.compile(r"(?P<machine>[0-9a-f]{6})-(?P<process>\d+)-")
# Semaphores and mapped arrays of joblib's worker processes.
_OF_JOBLIB = re.compile(r"(sem\.loky-|joblib_memmapping_folder_)(?P<process>\d+)[-_]")


def owner() -> str:
    """Return the part of a temporary name that says whose it is."""
    return f"{_machine()}-{os.getpid()}-"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give a folder that is private to its user and lives as long as the block.

    Raises
    ------
    OSError
        The folder cannot be made.
    """
    with tempfile.TemporaryDirectory(prefix=FOLDER + owner(), ignore_cleanup_errors=True) as folder:
        yield Path(folder)


class TemporaryFolder:
    """A new folder that is private to its user, and goes with the object.

    Parameters
    ----------
    parent : where it is made, in place of what killed processes left there; by default the system's
        temporary folder.
    """

    def __init__(self, parent: Path | None = None) -> None:
        if parent is not None:  # no command looks for leftovers in any folder
            _remove(path for path in _listed(parent, FOLDER) if _is_left(path.name))
        self.path = Path(tempfile.mkdtemp(prefix=FOLDER + owner(), dir=parent))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def sweep(home: Path) -> None:
    """Remove what killed commands left in a home, in the temporary folder and in shared memory.

    What cannot be removed stays, without a word: it is in nobody's way.
    """
    places = (home, *(home / name for name in ("prices", "events", "runs", "backtests", "scores")))
    left = [path for folder in places for path in _listed(folder, ".") if _is_left(path.name)]
    own = (
        Path(tempfile.gettempdir()),
        *(it / "unfinished" for it in _listed(home / "backtests", "")),
    )
    left += [path for folder in own for path in _listed(folder, FOLDER) if _is_left(path.name)]
    left += [path for path in _listed(_SHARED_MEMORY, "") if _is_left_by_joblib(path.name)]
    _remove(left)


def _remove(left: Iterable[Path]) -> None:
    for path in left:
        with suppress(OSError):
            if not _is_ours(path):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _listed(folder: Path, prefix: str) -> list[Path]:
    with suppress(OSError):
        return [path for path in folder.iterdir() if path.name.startswith(prefix)]
    return []


def _is_left(name: str) -> bool:
    temporary = name.startswith(FOLDER) or name.endswith(".tmp")
    owned = _OWNER.search(name)
    return bool(
        temporary and owned and owned["machine"] == _machine() and _is_dead(int(owned["process"]))
    )


def _is_left_by_joblib(name: str) -> bool:
    owned = _OF_JOBLIB.match(name)
    return bool(owned and _is_dead(int(owned["process"])))


def _is_dead(process: int) -> bool:
    if os.name == "nt":  # a signal would end the process there
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _is_ours(path: Path) -> bool:
    return not hasattr(os, "getuid") or path.lstat().st_uid == os.getuid()


@cache
def _machine() -> str:
    return sha256(socket.gethostname().encode()).hexdigest()[:6]
