"""A parallel map over independent tasks, on this machine's cores or a cluster's, with the same bits.

The engines of :mod:`forecaster.parallel.engines` execute it. One worker executes a task alone, on one
thread, so its result does not depend on where, when or beside which others it runs. The tasks of a dead
worker are executed again by another.
"""

import logging
import logging.handlers
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

from forecaster.parallel import engines, shared_memory, threads
from forecaster.parallel.engines import LOCAL, Engine

__all__ = ["LEAST", "LOCAL", "Engine", "completed", "ordered"]

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

LEAST = 32
"""Fewer tasks than this are done before a second process has started."""

_LOGGERS = ("forecaster", "py.warnings")

_serial: ContextVar[bool] = ContextVar("serial", default=False)
"""Whether the current code runs inside a task, which must not start workers of its own."""

_one_at_a_time = Lock()
"""TensorFlow's seeds belong to the process, so a worker with several threads executes one task at a time."""


def ordered(
    function: Callable[..., Result],
    items: Sequence[Item],
    *,
    engine: Engine = LOCAL,
    shared: Any = None,
) -> Iterator[Result]:
    """Yield the results in the order of the items, each as soon as those before it are done.

    Parameters and errors are those of :func:`completed`.
    """
    early: dict[int, Result] = {}
    turn = 0
    with closing(completed(function, items, engine=engine, shared=shared)) as results:
        for position, result in results:
            early[position] = result
            while turn in early:
                yield early.pop(turn)
                turn += 1


def completed(
    function: Callable[..., Result],
    items: Sequence[Item],
    *,
    engine: Engine = LOCAL,
    shared: Any = None,
) -> Generator[tuple[int, Result]]:
    """Yield (position of an item, its result) as tasks complete, in any order.

    Parameters
    ----------
    function : importable from a module by another process, and independent of what this process has
        changed since it started. A task may be executed twice where a worker died.
    items : the arguments, one for each task.
    engine : what executes the tasks. By default one process for each core that this process may use,
        or this process alone where there are fewer than ``LEAST`` items.
    shared : if given, the second argument of every call. It is sent to each worker once and must not
        be changed.

    Raises
    ------
    EngineError
        The cluster could not be reached or was lost, or workers keep dying.
    """
    alone = engine.jobs == 1 or _serial.get()
    if engine.name == "local" and (alone or (engine.jobs is None and len(items) < LEAST)):
        for position, item in enumerate(items):
            yield position, _call(function, item, shared, serial=alone)
        return
    left, deaths = dict(enumerate(items)), 0
    while left:
        before = len(left)
        try:
            with engines.start(engine, shared) as (parallel, ticket):
                for outcome in _results(parallel, function, left, ticket):
                    _log_again(outcome.records)
                    if outcome.error is not None:
                        raise _Failed(outcome.error)
                    del left[outcome.position]
                    yield outcome.position, outcome.result
        except _Failed as failed:
            raise failed.error from None
        except Exception as error:
            if not engines.is_death(error):
                raise engines.one_line_error(engine, error) from error
            deaths = deaths + 1 if len(left) == before else 1
            if deaths > engines.DEATHS:
                raise engines.one_line_error(engine, error) from error
            log.warning("a worker died; another does its work again")


class _Failed(Exception):
    """An error that a task raised, as opposed to one of its worker."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _results(
    parallel: Any, function: Callable[..., Any], left: dict[int, Any], ticket: Any
) -> Generator["_Outcome"]:
    from joblib import delayed

    items = list(left.items())
    results = parallel(delayed(_execute)(function, at, item, ticket) for at, item in items)
    try:
        for result in results:  # noqa: UP028, which would end joblib's generator itself, warnings and all
            yield result
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # not all results were consumed
            results.close()


@dataclass(frozen=True)
class _Outcome:
    """The result of a task."""

    position: int
    result: Any
    error: Exception | None
    """Raised by the task, not by the engine"""
    records: list[logging.LogRecord]


class _Recorder(logging.handlers.QueueHandler):
    """Collects log records, with their arguments already formatted."""

    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue.append(record)  # type: ignore[attr-defined]


def _execute(function: Callable[..., Any], position: int, item: Any, ticket: Any) -> _Outcome:
    """Execute a task in a worker, and return what it logs and warns of with its result."""
    shared = shared_memory.read(ticket)
    records: list[logging.LogRecord] = []
    with _one_at_a_time:
        logging.captureWarnings(True)
        for name in _LOGGERS:
            logging.getLogger(name).handlers[:] = [_Recorder(records)]  # type: ignore[arg-type]
            logging.getLogger(name).propagate = False
        try:
            result = _call(function, item, shared, serial=True)
            return _Outcome(position, result, None, records)
        except Exception as error:
            error.add_note(traceback.format_exc())
            return _Outcome(position, None, error, records)


def _log_again(records: list[logging.LogRecord]) -> None:
    """Log here what a worker logged."""
    for record in records:
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)


def _call(function: Callable[..., Result], item: Any, shared: Any, *, serial: bool) -> Result:
    """Call the function on one thread: linear algebra on several adds up in another order."""
    before = _serial.set(serial)
    try:
        with threads.one():
            return function(item) if shared is None else function(item, shared)
    finally:
        _serial.reset(before)
