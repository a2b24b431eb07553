"""Independent pieces of work, a process a core where there are enough of them to pay for it."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

LEAST = 32
"""Fewer pieces than this are done before a second process has started."""


def ordered(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int | None = None
) -> Iterator[Result]:
    """Results in the order of the items, whichever is done first, each as soon as it is its turn.

    By ``joblib``, whose processes are kept for the next call. A result is the same bits however
    many workers there are, as each item is worked on by one of them alone.

    Parameters
    ----------
    function : of a module, so that another process can import it; it must not need what this
        process has changed since it began.
    items : what it is called with, one by one.
    workers : processes; by default one for each core this process may use, and none but this one
        where there are fewer than ``LEAST`` items.
    """
    if workers == 1 or (workers is None and len(items) < LEAST):
        yield from (_alone(function, item) for item in items)
        return
    from joblib import Parallel, cpu_count, delayed

    parallel = Parallel(n_jobs=workers or cpu_count(), return_as="generator")
    yield from parallel(delayed(_alone)(function, item) for item in items)


def _alone(function: Callable[[Item], Result], item: Item) -> Result:
    """On one thread, as in a worker: linear algebra adds up in another order on several."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return function(item)
