"""What all pieces of work need, brought to each worker once.

Pickled between processes of one command, in a folder that is private to its user and lives as long:
nothing from elsewhere is ever unpickled here.
"""

import mmap
import pickle
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

ALIGNED = 64
"""Arrays begin at multiples of so many bytes, as numpy's own do."""


@dataclass(frozen=True)
class Stored:
    """What is shared, in the object store of Ray."""

    reference: Any

    def open(self) -> Any:
        """It, taken apart once a process: its arrays stay in the store."""
        return _fetched(self.reference)


@lru_cache(maxsize=1)
def _fetched(reference: Any) -> Any:
    import ray

    return ray.get(reference)


@dataclass(frozen=True)
class Mapped:
    """What is shared, in a file that every process maps into its memory.

    ``joblib`` maps arrays one by one, from a megabyte on. Those of a history are smaller, and those
    of a market are more than a process may map.
    """

    path: Path

    @classmethod
    def of(cls, value: Any, path: Path) -> "Mapped":
        """Writes a value to a file: its arrays (PEP 574), then what holds them, then where that begins."""
        spans: list[tuple[int, int]] = []
        with path.open("wb") as file:

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
        """The value, its arrays read-only and in the file."""
        return _mapped(self.path)


@lru_cache(maxsize=1)
def _mapped(path: Path) -> Any:
    with path.open("rb") as file:
        whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    begin = int.from_bytes(whole[-8:], "little")
    frame, spans = pickle.loads(whole[begin:-8])
    return pickle.loads(frame, buffers=[whole[first:last] for first, last in spans])


def opened(ticket: Any) -> Any:
    """What a ticket stands for; anything else is that already."""
    return ticket.open() if isinstance(ticket, Mapped | Stored) else ticket
