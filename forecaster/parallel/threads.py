"""Linear algebra on one thread: on several it adds up in another order, and so to other bits."""

import sys
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


def one() -> AbstractContextManager[Any]:
    """Return a context in which the libraries imported before it work on one thread each."""
    return _controller(len(sys.modules)).limit(limits=1)


@lru_cache(maxsize=1)
def _controller(modules: int) -> "ThreadpoolController":
    """Return the control of the libraries there are; new ones come with further modules.

    To look for them takes milliseconds, more than many a task.
    """
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
