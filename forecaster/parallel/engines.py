"""Engines, which execute tasks: processes of this machine, a Dask cluster or a Ray cluster.

Each is started as a callable like ``joblib.Parallel``, which supports processes and Dask; for Ray
see :func:`_ray`.
"""

import atexit
import logging
import os
import re
import signal
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import InvalidStateError
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread, current_thread, main_thread
from typing import Any, TypeVar

from forecaster.errors import EngineError, ForecastError, UsageError, did_you_mean, one_line
from forecaster.leftovers import temporary_folder
from forecaster.parallel.shared_memory import Mapped, Stored

Result = TypeVar("Result")

PATIENCE = 15.0
"""Seconds within which a scheduler must answer."""

MISSED = 3
"""Consecutive seconds without an answer after which a Ray head counts as lost."""

AT_ONCE = "64 + 4 * n_jobs"
"""Tasks sent to a cluster of ``n_jobs`` cores and not yet done: enough for workers that join later, and
few beside those of a market, each of which may hold a ticker's prices."""

DEATHS = 3
"""Consecutive deaths of workers, with no task completed in between, after which the work is given up."""

SHORT = 43
"""Characters of a folder's path that leave enough of the 107 of a socket's for the names Ray adds."""

_OTHERS = ("joblib", "distributed", "ray", "concurrent", "asyncio", "tornado")
"""Packages whose errors come from the engine, unless a task raised them."""

_ADDRESS = re.compile(
    r"(?:(?P<scheme>[a-z]+)://)?(?P<host>[^\s:/]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})"
)
_SCHEMES = {"dask": (None, "tcp", "tls", "ws", "wss", "ucx"), "ray": (None,)}
_EXAMPLES = {"dask": "tcp://host:8786", "ray": "host:6379 or auto"}
_MODULES = {"dask": "distributed", "ray": "ray"}

abandoned = Event()
"""Set once a Ray cluster was lost. Its threads then run until the process ends, and crash an interpreter
that shuts down beneath them."""


@dataclass(frozen=True)
class Engine:
    """What executes the tasks.

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
            raise UsageError(f"`jobs` takes a number of workers, 1 or more; got {self.jobs}")
        if self.name == "local":
            if self.address is not None:
                raise UsageError(
                    f'`engine="local"` has no address, got {self.address!r}; name the engine of the '
                    'cluster with `engine="dask"` or `engine="ray"`'
                )
            return
        if find_spec(_MODULES[self.name]) is None:
            raise UsageError(
                f'`engine="{self.name}"` needs a package that is not installed; '
                f"pip install 'forecaster[{self.name}]' brings it"
            )
        if self.address is not None and not (self.name == "ray" and self.address == "auto"):
            self._require_address()

    def _require_address(self) -> None:
        if self.name == "ray" and (self.address or "").startswith("ray://"):
            raise UsageError(
                f"got {self.address}, of Ray Client, which gives up all work 30 seconds after a lost "
                "connection; start the command on a machine of the cluster, with the `address` auto"
            )
        match = _ADDRESS.fullmatch(self.address or "")
        known = match and match["scheme"] in _SCHEMES[self.name]
        if not (match and known and 0 < int(match["port"]) < 65536):
            raise UsageError(
                f"the `address` of {self.name} is written like {_EXAMPLES[self.name]}; "
                f"got {self.address!r}"
            )

    def _require_reachable(self) -> None:
        """Raise EngineError if nothing listens at the address; the engines would retry for minutes."""
        if self.address in (None, "auto"):
            return
        try:
            socket.create_connection(_host_and_port(self.address or ""), timeout=PATIENCE).close()
        except OSError as error:
            raise EngineError(
                f"cannot reach the {self.name} cluster at {self.address}: "
                f"{error.strerror or error}; start its scheduler, or correct the `address`"
            ) from error


LOCAL = Engine()


def _host_and_port(address: str) -> tuple[str, int]:
    """Return the host and the port of an address."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    return host.strip("[]"), int(port)


def start(engine: Engine, shared: Any) -> AbstractContextManager[tuple[Any, Any]]:
    """Start an engine: a callable like ``joblib.Parallel``, and the ticket that gives workers `shared`."""
    return _STARTS[engine.name](engine, shared)


@contextmanager
def _local(engine: Engine, shared: Any) -> Iterator[tuple[Any, Any]]:
    """Processes of this machine, which ``joblib`` reuses in the next call."""
    from joblib import Parallel, cpu_count

    # A worker that has grown by 300 MB, as any that loads TensorFlow, is replaced.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
    parallel = Parallel(
        n_jobs=engine.jobs or cpu_count(), return_as="generator_unordered",
        initializer=_follow, initargs=(os.getpid(),),
    )  # fmt: skip

    def started(pieces: Any) -> Any:
        with _interrupts_ignored():
            return parallel(pieces)

    if shared is None:
        yield started, None
        return
    with temporary_folder() as folder:
        yield started, Mapped.of(shared, folder / "shared")


def _follow(parent: int) -> None:
    """Leave interrupts to the parent, and end the process once the parent was killed.

    A worker would else print a traceback of its own, or wait for minutes for one that is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Make processes started here ignore interrupts, on which each would print a traceback."""
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
    """The workers of a Dask cluster; each receives `shared` from the scheduler or from another worker."""
    from distributed import Client, LocalCluster
    from joblib import parallel_config
    from joblib._dask import DaskDistributedBackend

    class Workers(DaskDistributedBackend):
        """As joblib's own, which does the work in this process while there is one worker."""

        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, int(super().effective_n_jobs(n_jobs)))

    engine._require_reachable()
    # What matters is raised as an exception; of a connection that breaks, each layer logs a traceback.
    for name in ("distributed", "distributed.client", "tornado.application", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        cluster = engine.address
        if cluster is None:
            folder = stack.enter_context(temporary_folder())
            with _interrupts_ignored():
                local = LocalCluster(
                    n_workers=engine.jobs, threads_per_worker=1, dashboard_address=None,
                    silence_logs=logging.CRITICAL, local_directory=str(folder),
                )  # fmt: skip
            cluster = stack.enter_context(local)
        client = stack.enter_context(Client(cluster, timeout=PATIENCE, set_as_default=False))
        scatter = {} if shared is None else {"scatter": [shared]}
        stack.enter_context(parallel_config(Workers(client=client, **scatter), n_jobs=engine.jobs))
        yield _parallel(engine), shared


@contextmanager
def _ray(engine: Engine, shared: Any) -> Iterator[tuple[Any, Any]]:
    """The nodes of a Ray cluster, each of which receives `shared` once, in its object store.

    Ray's own backend for ``joblib`` returns all results at the end, and fails with the first worker
    that dies. Ray's tasks do neither, so this backend submits those.
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
    logging.getLogger("ray").setLevel(logging.ERROR)  # what matters is raised as an exception
    with ExitStack() as stack:
        local = {} if engine.address else _own_ray(engine, stack.enter_context(temporary_folder()))
        try:
            address = (
                engine.address or "local"
            )  # None would be any cluster that runs on this machine
            ray.init(address, log_to_driver=False, configure_logging=False, **local)
        except (OSError, RuntimeError, ValueError) as error:
            raise EngineError(
                f"cannot use the ray cluster at {engine.address or 'this machine'}: {one_line(error)}"
            ) from error
        waiting: set[Any] = set()
        task = ray.remote(num_cpus=1, max_retries=DEATHS)(_called)
        lost = Event()
        stack.callback(_leave_ray, lost)
        stack.enter_context(_watched(waiting, lost))
        stack.enter_context(parallel_config(Tasks(nesting_level=0)))
        yield _parallel(engine), None if shared is None else Stored(ray.put(shared))


def _leave_ray(lost: Event) -> None:
    import ray

    if lost.is_set():
        atexit.unregister(ray.shutdown)  # it would wait for an answer
    else:
        ray.shutdown()


def _own_ray(engine: Engine, folder: Path) -> dict[str, Any]:
    """Return the settings of a Ray cluster of this machine alone, whose files lie in a folder."""
    within = {"_temp_dir": str(folder)} if len(str(folder)) <= SHORT else {}
    return {"num_cpus": engine.jobs, "include_dashboard": False, **within}


@contextmanager
def _watched(waiting: set[Any], lost: Event) -> Iterator[None]:
    """Fail the futures of a Ray cluster whose head is gone, and set the event.

    Ray itself would wait a minute for its head and then end the process.
    """
    import ray

    head = ray.get_runtime_context().gcs_address
    over = Event()

    def watch() -> None:
        missed = 0
        while missed < MISSED and not over.wait(1.0):
            try:
                socket.create_connection(_host_and_port(head), timeout=PATIENCE).close()
                missed = 0
            except OSError:
                missed += 1
        if missed == MISSED:
            lost.set()
            abandoned.set()
        while lost.is_set() and not over.wait(0.1):  # more may be submitted
            for future in list(waiting):
                with suppress(InvalidStateError):
                    future.set_exception(EngineError(f"the ray cluster at {head} was lost"))

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


_STARTS = {"local": _local, "dask": _dask, "ray": _ray}


def _parallel(engine: Engine) -> Any:
    from joblib import Parallel

    return Parallel(return_as="generator_unordered", pre_dispatch=engine.jobs or AT_ONCE)


def _called(function: Callable[[], Result]) -> Result:
    return function()


def is_death(error: Exception) -> bool:
    """Return whether an error says that a worker, or its data, is gone, but not the engine."""
    if type(error).__name__ == "FutureCancelledError":  # of Dask, for either
        return "scheduler" not in getattr(error, "reason", "scheduler")
    return type(error).__name__ in ("TerminatedWorkerError", "BrokenProcessPool", "ObjectLostError")


def one_line_error(engine: Engine, error: Exception) -> Exception:
    """Return an engine's error as an EngineError of one line, and any other error unchanged."""
    theirs = type(error).__module__.split(".")[0] in _OTHERS or isinstance(error, OSError)
    if isinstance(error, ForecastError) or not theirs:
        return error
    if is_death(error):
        return EngineError(
            f"workers died {DEATHS + 1} times in a row and nothing was finished "
            f"({type(error).__name__}); give them more memory, or use fewer `jobs`"
        )
    return EngineError(
        f"the {engine.name} cluster was lost or gave up ({type(error).__name__}: {one_line(error)})"
    )
