"""Memory that is freed goes back to the system, for commands that hold one large thing after another.

The C library of Linux (glibc) keeps what was freed for a next time, wherever something that is still
in use lies beyond it. After the prices of thousands of tickers, and between tables of millions of
rows, that is as much again as all that is held. Other systems are left as they are.
"""

import ctypes
from contextlib import suppress

_MMAP_THRESHOLD = -3
_LARGE = 2**20
_ELSEWHERE = (OSError, TypeError, AttributeError)
"""What asking a C library raises that is not glibc."""


def return_large() -> None:
    """From now on, what is larger than a megabyte goes back as soon as it is freed; ``mallopt(3)``."""
    with suppress(*_ELSEWHERE):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)


def return_freed() -> None:
    """What was freed before goes back; ``malloc_trim(3)``."""
    with suppress(*_ELSEWHERE):
        ctypes.CDLL(None).malloc_trim(0)
