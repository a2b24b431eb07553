"""Values that all tasks share, sent to each worker once.

The processes of one command exchange pickles in a file that only its user may write. A file of another
user, or one behind a link, is refused, so that nothing from elsewhere is ever unpickled.
"""

import mmap
import os
import pickle
import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from forecaster.errors import EngineError

ALIGNED = 64
"""Arrays start at multiples of this number of bytes, as numpy's own do."""

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


@dataclass(frozen=True)
class Stored:
    """A shared value in the object store of Ray."""

    reference: Any

    def open(self) -> Any:
        """Return the value, unpickled once a process; its arrays stay in the store."""
        return _fetched(self.reference)


@lru_cache(maxsize=1)
def _fetched(reference: Any) -> Any:
    import ray

    return ray.get(reference)


@dataclass(frozen=True)
class Mapped:
    """A shared value in a file that every process maps into its memory.

    ``joblib`` maps arrays one by one, from a megabyte on. The arrays of a history are smaller, and a
    market has more of them than a process may map.
    """

    path: Path

    @classmethod
    def of(cls, value: Any, path: Path) -> "Mapped":
        """Write a value to a file: its arrays (PEP 574), the pickle around them, and its offset."""
        spans: list[tuple[int, int]] = []
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _NO_LINK, 0o600)
        with open(handle, "wb") as file:

            def put(buffer: pickle.PickleBuffer) -> None:
                file.write(bytes(-file.tell() % ALIGNED))
                begin = file.tell()
                with buffer.raw() as raw:
                    file.write(raw)
                spans.append((begin, file.tell()))

            frame = pickle.dumps(value, protocol=5, buffer_callback=put)
            begin = file.tell()
            pickle.dump((frame, spans), file)
            file.write(begin.to_bytes(8, "little"))
        return cls(path)

    def open(self) -> Any:
        """Return the value; its arrays are read-only views of the file."""
        return _mapped(self.path)


@lru_cache(maxsize=1)
def _mapped(path: Path) -> Any:
    with open(_own(path), "rb") as file:
        whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    begin = int.from_bytes(whole[-8:], "little")
    frame, spans = pickle.loads(whole[begin:-8])
    return pickle.loads(frame, buffers=[whole[first:last] for first, last in spans])


def _own(path: Path) -> int:
    """Open a file for reading; EngineError if anybody else may have written it."""
    try:
        handle = os.open(path, os.O_RDONLY | _NO_LINK)
    except OSError as error:
        raise EngineError(
            f"cannot read what the workers share, {path.name}: {error.strerror or error}; "
            "start the command again"
        ) from error
    about = os.fstat(handle)
    foreign = hasattr(os, "getuid") and about.st_uid != os.getuid()
    if foreign or not stat.S_ISREG(about.st_mode) or (about.st_mode & 0o022 and os.name != "nt"):
        os.close(handle)
        raise EngineError(
            f"expected {path.name}, which the workers share, to be a file that its user alone may "
            "write, and it is not; look into who writes to the temporary folder"
        )
    return handle


def read(ticket: Any) -> Any:
    """Return the shared value of a ticket; any other argument is that value already."""
    return ticket.open() if isinstance(ticket, Mapped | Stored) else ticket
