"""Independent pieces of work: on this machine's cores, or on a cluster's, to the same bits.

One map over ``joblib``, which knows processes and Dask; for Ray see :func:`_ray`. A piece is worked
on by one worker alone, on one thread, so a result does not depend on where, when or beside what it
is made. What a dead worker was at is done again elsewhere.
"""

import atexit
import logging
import logging.handlers
import mmap
import os
import pickle
import re
import signal
import socket
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import InvalidStateError
from contextlib import ExitStack, closing, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Lock, Thread, current_thread, main_thread
from typing import Any, TypeVar

from forecaster.errors import EngineError, ForecastError, UsageError, did_you_mean

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

LEAST = 32
"""Fewer pieces than this are done before a second process has started."""

PATIENCE = 15.0
"""Seconds that a scheduler has to answer."""

MISSED = 3
"""So many seconds in a row must a Ray head not answer before it is given up."""

DEATHS = 3
"""So many times in a row may workers die, and nothing be finished, before it is given up."""

ALIGNED = 64
"""Arrays begin at multiples of so many bytes, as numpy's own do."""

_OTHERS = ("joblib", "distributed", "ray", "concurrent", "asyncio", "tornado")
"""Packages whose errors are of the engine, where they are not of a piece of work."""

_LOGGERS = ("forecaster", "py.warnings")

_ADDRESS = re.compile(
    r"(?:(?P<scheme>[a-z]+)://)?(?P<host>[^\s:/]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})"
)
_SCHEMES = {"dask": (None, "tcp", "tls", "ws", "wss", "ucx"), "ray": (None,)}
_EXAMPLES = {"dask": "tcp://host:8786", "ray": "host:6379 or auto"}
_MODULES = {"dask": "distributed", "ray": "ray"}

abandoned = Event()
"""Set once a Ray cluster was lost: its threads are then at work until the process ends, and crash an
interpreter that is taken down around them."""

_serial: ContextVar[bool] = ContextVar("serial", default=False)
"""Whether what runs here is a piece of work that must not be divided again."""

_one_at_a_time = Lock()
"""TensorFlow's seeds are a process's, so a worker of several threads does one piece at a time."""


@dataclass(frozen=True)
class Engine:
    """Who does the work.

    Raises
    ------
    UsageError
        There is no such engine, it is not installed, or the address or the number is not one.
    """

    name: str = "local"
    """``local``, ``dask`` or ``ray``"""
    address: str | None = None
    """Of the cluster's scheduler; by default a cluster of this machine alone."""
    jobs: int | None = None
    """The most workers to use; by default one for each core."""

    def __post_init__(self) -> None:
        names = ("local", *_MODULES)
        if self.name not in names:
            raise UsageError(
                f"there is no engine {self.name!r}; {did_you_mean(self.name, names)}"
                f"there are {', '.join(names)}"
            )
        if self.jobs is not None and self.jobs < 1:
            raise UsageError(f"--jobs takes a number of workers, 1 or more; got {self.jobs}")
        if self.name == "local":
            if self.address is not None:
                raise UsageError(
                    f"--engine local has no address, got {self.address!r}; "
                    "name the cluster's engine with --engine dask or --engine ray"
                )
            return
        if find_spec(_MODULES[self.name]) is None:
            raise UsageError(
                f"--engine {self.name} needs a package that is not installed; "
                f"pip install 'forecaster[{self.name}]' brings it"
            )
        if self.address is not None and not (self.name == "ray" and self.address == "auto"):
            self._require_address()

    def _require_address(self) -> None:
        found = _ADDRESS.fullmatch(self.address or "")
        known = found and found["scheme"] in _SCHEMES[self.name]
        if not (found and known and 0 < int(found["port"]) < 65536):
            raise UsageError(
                f"--address of {self.name} is written like {_EXAMPLES[self.name]}; "
                f"got {self.address!r}"
            )

    def _require_reachable(self) -> None:
        """EngineError if nobody listens at the address: the engines themselves ask for minutes."""
        if self.address in (None, "auto"):
            return
        try:
            socket.create_connection(_place_of(self.address or ""), timeout=PATIENCE).close()
        except OSError as error:
            raise EngineError(
                f"cannot reach the {self.name} cluster at {self.address}: "
                f"{error.strerror or error}; start its scheduler, or correct --address"
            ) from error


LOCAL = Engine()


def _place_of(address: str) -> tuple[str, int]:
    """Host and port of an address."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    return host.strip("[]"), int(port)


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
            with _OPENED[engine.name](engine, shared) as (parallel, ticket):
                for outcome in _results(parallel, function, left, ticket):
                    _told(outcome.records)
                    if outcome.error is not None:
                        raise _Failed(outcome.error)
                    del left[outcome.position]
                    yield outcome.position, outcome.result
        except _Failed as failed:
            raise failed.error from None
        except Exception as error:
            if not _is_death(error):
                raise _explained(engine, error) from error
            deaths = deaths + 1 if len(left) == before else 1
            if deaths > DEATHS:
                raise _explained(engine, error) from error
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
    shared = ticket.open() if isinstance(ticket, _Mapped | _Stored) else ticket
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


@contextmanager
def _local(engine: Engine, shared: Any) -> Iterator[tuple[Any, Any]]:
    """Processes of this machine, which ``joblib`` keeps for the next call."""
    from joblib import Parallel, cpu_count

    # It grew by more than 300 MB, as one does that loads TensorFlow, and another takes its place.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
    parallel = Parallel(
        n_jobs=engine.jobs or cpu_count(), return_as="generator_unordered",
        initializer=_follow, initargs=(os.getpid(),),
    )  # fmt: skip
    if shared is None:
        yield parallel, None
        return
    with tempfile.TemporaryDirectory(prefix="forecast-") as folder:
        yield parallel, _Mapped.of(shared, Path(folder) / "shared")


def _follow(parent: int) -> None:
    """Has a process end when its parent was killed, which it would else wait for for minutes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


@contextmanager
def _deaf() -> Iterator[None]:
    """Has processes started here not hear of interrupts, of which each would tell in many lines."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _dask(engine: Engine, shared: Any) -> Iterator[tuple[Any, Any]]:
    """The workers of a Dask cluster; each gets what is shared from the scheduler or from another."""
    from distributed import Client, LocalCluster
    from joblib import parallel_config

    engine._require_reachable()
    for name in ("distributed", "distributed.client"):  # what matters is raised
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        cluster = engine.address
        if cluster is None:
            with _deaf():
                local = LocalCluster(
                    n_workers=engine.jobs, threads_per_worker=1, dashboard_address=None,
                    silence_logs=logging.CRITICAL,
                )  # fmt: skip
            cluster = stack.enter_context(local)
        client = stack.enter_context(Client(cluster, timeout=PATIENCE, set_as_default=False))
        scatter = {} if shared is None else {"scatter": [shared]}
        stack.enter_context(parallel_config("dask", client=client, n_jobs=engine.jobs, **scatter))
        # All at once, so that workers that join later find work; or as many as may be at work.
        yield _parallel(engine.jobs or "all"), shared


@contextmanager
def _ray(engine: Engine, shared: Any) -> Iterator[tuple[Any, Any]]:
    """The nodes of a Ray cluster, each of which gets what is shared once, in its object store.

    Ray's own backend for ``joblib`` hands out all results at the end, and fails with the first worker
    that dies. Ray's tasks do neither, so that is what this backend submits.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from joblib import ParallelBackendBase, parallel_config

    class Tasks(ParallelBackendBase):
        """As joblib's own for executors of ``concurrent.futures``."""

        supports_retrieve_callback = True

        def effective_n_jobs(self, n_jobs: int) -> int:
            return engine.jobs or max(1, int(ray.cluster_resources().get("CPU", 1)))

        def submit(self, func: Any, callback: Any) -> Any:
            future = task.remote(func).future()
            waiting.add(future)
            future.add_done_callback(waiting.discard)
            future.add_done_callback(callback)
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            return out.result()

    engine._require_reachable()
    local = {} if engine.address else {"num_cpus": engine.jobs, "include_dashboard": False}
    try:
        ray.init(
            engine.address, log_to_driver=False, configure_logging=False, logging_level="ERROR",
            **local,
        )  # fmt: skip
    except (OSError, RuntimeError, ValueError) as error:
        raise EngineError(
            f"cannot use the ray cluster at {engine.address or 'this machine'}: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    waiting: set[Any] = set()
    task = ray.remote(num_cpus=1, max_retries=DEATHS)(_called)
    with _watched(engine, waiting) as lost, parallel_config(Tasks(nesting_level=0)):
        try:
            ticket = None if shared is None else _Stored(ray.put(shared))
            yield _parallel(engine.jobs or "all"), ticket
        finally:
            if lost.is_set():
                atexit.unregister(ray.shutdown)  # it would wait for an answer
            else:
                ray.shutdown()


@contextmanager
def _watched(engine: Engine, waiting: set[Any]) -> Iterator[Event]:
    """Fails the futures of a Ray cluster whose head is gone; the event says whether it is.

    Left alone, Ray waits a minute for its head and then ends the process.
    """
    import ray

    head = ray.get_runtime_context().gcs_address
    over, lost = Event(), Event()

    def watch() -> None:
        missed = 0
        while missed < MISSED and not over.wait(1.0):
            try:
                socket.create_connection(_place_of(head), timeout=PATIENCE).close()
                missed = 0
            except OSError:
                missed += 1
        if missed:
            lost.set()
            abandoned.set()
        while lost.is_set() and not over.wait(0.1):  # some may be handed in yet
            for future in list(waiting):
                with suppress(InvalidStateError):
                    future.set_exception(EngineError(f"the ray cluster at {head} was lost"))

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lost
    finally:
        over.set()
        watcher.join()


_OPENED = {"local": _local, "dask": _dask, "ray": _ray}


def _parallel(at_once: int | str) -> Any:
    from joblib import Parallel

    return Parallel(return_as="generator_unordered", pre_dispatch=at_once)


def _called(function: Callable[[], Result]) -> Result:
    return function()


@dataclass(frozen=True)
class _Stored:
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
class _Mapped:
    """What is shared, in a file that every process maps into its memory.

    ``joblib`` maps arrays one by one, from a megabyte on. Those of a history are smaller, and those
    of a market are more than a process may map.
    """

    path: Path

    @classmethod
    def of(cls, value: Any, path: Path) -> "_Mapped":
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


def _is_death(error: Exception) -> bool:
    """Whether an engine says that a worker, or what it held, is gone, but not the engine."""
    if type(error).__name__ == "FutureCancelledError":  # of Dask, for either
        return "scheduler" not in getattr(error, "reason", "scheduler")
    return type(error).__name__ in ("TerminatedWorkerError", "BrokenProcessPool", "ObjectLostError")


def _explained(engine: Engine, error: Exception) -> Exception:
    """The error of an engine in a line; that of anything else as it is."""
    theirs = type(error).__module__.split(".")[0] in _OTHERS or isinstance(error, OSError)
    if isinstance(error, ForecastError) or not theirs:
        return error
    if _is_death(error):
        return EngineError(
            f"workers died {DEATHS + 1} times in a row and nothing was finished "
            f"({type(error).__name__}); give them more memory, or use fewer with --jobs"
        )
    reason = " ".join(str(error).split())[:200]
    return EngineError(
        f"the {engine.name} cluster was lost or gave up ({type(error).__name__}: {reason})"
    )
