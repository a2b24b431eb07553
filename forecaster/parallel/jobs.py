"""Independent pieces of work: on this machine's cores, or on a cluster's, to the same bits.

One map over ``joblib``, by the engines of :mod:`forecaster.parallel.engines`. A piece is worked on by one
worker alone, on one thread, so a result does not depend on where, when or beside what it is made.
What a dead worker was at is done again elsewhere.
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

from forecaster.parallel import engines, shared_memory
from forecaster.parallel.engines import LOCAL, Engine

__all__ = ["LEAST", "LOCAL", "Engine", "completed", "ordered"]

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

LEAST = 32
"""Fewer pieces than this are done before a second process has started."""

_LOGGERS = ("forecaster", "py.warnings")

_serial: ContextVar[bool] = ContextVar("serial", default=False)
"""Whether what runs here is a piece of work that must not be divided again."""

_one_at_a_time = Lock()
"""TensorFlow's seeds are a process's, so a worker of several threads does one piece at a time."""


def ordered(
    function: Callable[..., Result],
    items: Sequence[Item],
    *,
    engine: Engine = LOCAL,
    shared: Any = None,
) -> Iterator[Result]:
    """Results in the order of the items, whichever is done first, each as soon as it is its turn.

    Takes and raises what :func:`completed` does.
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
    """Positions of items and their results, as they are done.

    Parameters
    ----------
    function : of a module, so that another process can import it; it must not need what this
        process has changed since it began. A piece that it does may be done twice, where a worker
        died.
    items : what it is called with, one by one.
    engine : who works. Locally, by default, a process for each core this process may use, and none
        but this one where there are fewer than ``LEAST`` items.
    shared : if given, ``function`` is called with an item and this, which reaches each worker once
        and must not be changed.

    Raises
    ------
    EngineError
        The cluster could not be reached or was lost, or workers keep dying.
    """
    alone = engine.jobs == 1 or _serial.get()
    if engine.name == "local" and (alone or (engine.jobs is None and len(items) < LEAST)):
        for position, item in enumerate(items):
            yield position, _done(function, item, shared, serial=alone)
        return
    left, deaths = dict(enumerate(items)), 0
    while left:
        before = len(left)
        try:
            with engines.opened(engine, shared) as (parallel, ticket):
                for outcome in _results(parallel, function, left, ticket):
                    _told(outcome.records)
                    if outcome.error is not None:
                        raise _Failed(outcome.error)
                    del left[outcome.position]
                    yield outcome.position, outcome.result
        except _Failed as failed:
            raise failed.error from None
        except Exception as error:
            if not engines.is_death(error):
                raise engines.explained(engine, error) from error
            deaths = deaths + 1 if len(left) == before else 1
            if deaths > engines.DEATHS:
                raise engines.explained(engine, error) from error
            log.warning("a worker died; what it was at is done again by another")


class _Failed(Exception):
    """What a piece of work raised, as opposed to what happened to its worker."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _results(
    parallel: Any, function: Callable[..., Any], left: dict[int, Any], ticket: Any
) -> Generator["_Outcome"]:
    from joblib import delayed

    items = list(left.items())
    results = parallel(delayed(_work)(function, at, item, ticket) for at, item in items)
    try:
        yield from results
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that not all of them were asked for
            results.close()


@dataclass(frozen=True)
class _Outcome:
    """What comes back of an item."""

    position: int
    result: Any
    error: Exception | None
    """Of the item's: it is no engine's."""
    records: list[logging.LogRecord]


class _Kept(logging.handlers.QueueHandler):
    """Keeps log records, with their words in place of what they are made of."""

    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue.append(record)  # type: ignore[attr-defined]


def _work(function: Callable[..., Any], position: int, item: Any, ticket: Any) -> _Outcome:
    """What a worker does of an item; what it logs and warns of is for the one who asked."""
    shared = shared_memory.opened(ticket)
    records: list[logging.LogRecord] = []
    with _one_at_a_time:
        logging.captureWarnings(True)
        for name in _LOGGERS:
            logging.getLogger(name).handlers[:] = [_Kept(records)]  # type: ignore[arg-type]
            logging.getLogger(name).propagate = False
        try:
            result = _done(function, item, shared, serial=True)
            return _Outcome(position, result, None, records)
        except Exception as error:
            error.add_note(traceback.format_exc())
            return _Outcome(position, None, error, records)


def _told(records: list[logging.LogRecord]) -> None:
    """Logs here what was logged elsewhere."""
    for record in records:
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)


def _done(function: Callable[..., Result], item: Any, shared: Any, *, serial: bool) -> Result:
    """On one thread, here as in a worker: linear algebra adds up in another order on several."""
    from threadpoolctl import threadpool_limits

    before = _serial.set(serial)
    try:
        with threadpool_limits(1):
            return function(item) if shared is None else function(item, shared)
    finally:
        _serial.reset(before)
