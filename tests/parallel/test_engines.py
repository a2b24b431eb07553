"""Clusters of separate processes, and what is left when a worker, a driver or a scheduler dies."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from histories import assert_same_state

from forecaster import leftovers
from forecaster.backtesting.spec import BacktestSpec
from forecaster.backtesting.walk_forward import forecast_history
from forecaster.cli.app import main
from forecaster.model_selection import search
from forecaster.parallel import engines, jobs
from forecaster.parallel.jobs import Engine
from forecaster.runs import training

pytestmark = pytest.mark.slow

HERE = Path(__file__).parents[1]
PATIENCE = 300
"""Seconds that a loaded machine may take for anything."""

ALONE = Engine(jobs=1)
MODELS = ["lstm", "gjr", "naive"]
HELD = {
    "window": 64, "warmup": 10, "batch": 8, "epochs": 1, "steps": 2, "validation": 60,
    "learning_rate": 0.002, "feature_dropout": 0.4, "head": "student", "groups": "",
}  # fmt: skip
"""Settings of a search that is left the units alone."""

COMMAND = ["backtest", "--models", "gjr,naive", "--start", "2006-10-02", "--refit", "3"]
PARTS = 42
"""Some hundredths of a second each."""


def environment():
    """Of a worker that can import these tests too."""
    path = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    quiet = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "RAY_enable_metrics_collection": "0",
    }
    return os.environ | {"PYTHONPATH": path, "TMPDIR": tempfile.gettempdir()} | quiet


@pytest.fixture(scope="module", autouse=True)
def ray_settings():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)
        yield


@contextlib.contextmanager
def started(*words, **options):
    """A process, which does not outlive the test, nor do its children."""
    process = subprocess.Popen(
        words, env=environment(), text=True, start_new_session=True,
        stdout=options.pop("stdout", subprocess.DEVNULL), stderr=subprocess.DEVNULL, **options,
    )  # fmt: skip
    try:
        yield process
    finally:
        end(process)


def session(process):
    """What runs of the processes that one has started, in the session it leads."""
    result = []
    for other in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            if os.getsid(other.pid) == process.pid and other.status() != psutil.STATUS_ZOMBIE:
                result.append(other)
    return result


def end(process):
    """Kills a process and all that it has started, orphans too."""
    for other in session(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            other.kill()
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def until(condition, what):
    """Waits for something to be seen."""
    limit = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < limit, f"{what} did not come"
        time.sleep(0.02)
    return result


@contextlib.contextmanager
def dask_cluster():
    """A scheduler and two workers of a thread each: its address and the scheduler's process."""
    from distributed import Client

    with contextlib.ExitStack() as stack:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
        scheduler = stack.enter_context(
            started(*dask, "--host", address, "--no-dashboard", "--no-show")
        )
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address]
        for _ in range(2):
            stack.enter_context(started(*worker, "--nthreads", "1", "--no-dashboard"))
        with Client(address, timeout=PATIENCE, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=PATIENCE)
        yield address, scheduler


@contextlib.contextmanager
def ray_cluster():
    """Two nodes: the address, and the process that listens for a word to kill the head."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with started(sys.executable, str(HERE / "ray_cluster.py"), **pipes) as cluster:
        yield cluster.stdout.readline().strip(), cluster
        with contextlib.suppress(BrokenPipeError):
            cluster.communicate(timeout=PATIENCE)


@pytest.fixture(scope="module", params=["dask", "ray"])
def cluster(request):
    """A cluster's engine, and the process that is to be killed for its end."""
    with {"dask": dask_cluster, "ray": ray_cluster}[request.param]() as (address, process):
        yield Engine(request.param, address), process


@pytest.fixture
def engine(cluster):
    return cluster[0]


@pytest.fixture(scope="module")
def forecasts_of(world, tiny):
    """A function from an engine to the forecasts of a walk; there is a fit of each model a year."""

    def result(engine, start=date(2017, 12, 1)):
        spec = BacktestSpec(tuple(MODELS), start=start, end=date(2018, 3, 1), config=tiny)
        return forecast_history(world, spec, engine=engine).forecasts

    return result


@pytest.fixture(scope="module")
def alone(forecasts_of):
    """The forecasts of this process, of two fits of each model."""
    return forecasts_of(ALONE)


def trial(world, engine, home):
    """The value of a trial of a search, of three fits of a network."""
    objective = search.Objective.of(world, held=HELD)
    (trial,) = search.run(objective, home=home, trials=1, engine=engine).trials
    assert trial.complete
    return trial.crps


def dies_once(number, shared):
    """The worker that does 3 dies of it, the first time."""
    marker, numbers = shared
    if number == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return float(numbers[number]), os.getpid()


@pytest.fixture(scope="module")
def fitted(world):
    return training.train(world, model="gjr", engine=ALONE).model.state()


@pytest.fixture(scope="module")
def value(world, tmp_path_factory):
    return trial(world, ALONE, tmp_path_factory.mktemp("home"))


def files_of(beginning):
    """What lies in the temporary folders whose names begin so."""
    return [*Path(tempfile.gettempdir()).glob(f"{beginning}*/*")]


def test_the_same_bits_from_two_processes(forecasts_of, alone):
    pd.testing.assert_frame_equal(forecasts_of(Engine(jobs=2)), alone, check_exact=True)


def test_the_same_backtest_from_a_cluster(engine, forecasts_of, alone):
    year = date(2018, 1, 2)
    later = alone[alone["cutoff"] >= pd.Timestamp(date(2017, 12, 29))].reset_index(drop=True)
    pd.testing.assert_frame_equal(forecasts_of(engine, year), later, check_exact=True)


def test_the_same_fits_of_tickers_from_a_cluster(engine, world, fitted):
    assert_same_state(training.train(world, model="gjr", engine=engine).model.state(), fitted)


def test_the_same_trials_from_a_cluster(engine, world, value, tmp_path):
    assert trial(world, engine, tmp_path) == value


def test_what_a_killed_worker_of_a_cluster_was_at_is_done_again(engine, tmp_path):
    shared = tmp_path / "died", np.arange(8) ** 0.5
    result = list(jobs.ordered(dies_once, range(8), engine=engine, shared=shared))
    assert [value for value, _ in result] == [n**0.5 for n in range(8)]
    assert os.getpid() not in {worker for _, worker in result}
    assert shared[0].exists()


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_a_cluster_of_this_machine_alone_leaves_no_files(name):
    beginning = leftovers.FOLDER + leftovers.owner()
    (files,) = jobs.ordered(files_of, [beginning], engine=Engine(name, jobs=1))
    assert [it for it in files if it.name.startswith(("session_", "dask-"))]
    assert not files_of(beginning)
    assert not engines.abandoned.is_set()


# The command.


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with eight years of an index, which is that of every command meanwhile."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORECAST_HOME", str(home))
        run("fetch", "^GSPC", "--source", "sample", "--end", "2006-12-29")
        yield home


def run(*words):
    """The command in this process."""
    with pytest.raises(SystemExit) as stop:
        main([*map(str, words), "--quiet"])
    assert stop.value.code == 0


@contextlib.contextmanager
def halted(folder, *words):
    """A backtest that has finished some parts, stopped (by SIGSTOP) while it is at others.

    It goes on where there are parts already.
    """
    began, before = len(parts(folder)), folder.with_name("before")
    command = ["backtest", "--resume", folder] if began else [*COMMAND, "--out", folder]
    if began:
        shutil.copytree(folder, before)
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-m", "forecaster", *map(str, command), *words],
            env=environment(), start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            until(lambda: len(parts(folder)) > began + 2 or process.poll() is not None, "a part")  # noqa: B023
            process.send_signal(signal.SIGSTOP)
            if process.poll() is None and len(parts(folder)) < PARTS - 5:
                yield process
                return
            assert not process.poll(), process.stderr.read()
        finally:
            end(process)
        shutil.rmtree(folder, ignore_errors=True)  # seen too late, on a busy machine
        if began:
            shutil.copytree(before, folder)
    pytest.fail("no backtest was seen at work")


def released(process):
    """What a halted process says to the end, when it goes on."""
    process.send_signal(signal.SIGCONT)
    return process.communicate(timeout=PATIENCE)


def parts(folder):
    return list((folder / "unfinished" / "parts").glob("[!.]*.parquet"))


@pytest.fixture(scope="module")
def whole(home, tmp_path_factory):
    """The forecasts of a backtest that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "backtest"
    run(*COMMAND, "--out", folder)
    assert not (folder / "unfinished").exists()
    assert len(json.loads((folder / "config.json").read_text())["folds"]) == PARTS / 2
    return (folder / "forecasts.parquet").read_bytes()


def test_a_backtest_goes_on_where_its_driver_was_killed_and_survives_a_killed_worker(
    forecast, home, whole, tmp_path, monkeypatch
):
    folder = tmp_path / "backtest"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with halted(folder, "--jobs", "2") as process:
        process.kill()
        process.wait()
        until(lambda: not session(process), "the end of the workers")
    (left,) = tmp_path.glob(f"{leftovers.FOLDER}*-{process.pid}-*")
    refused = forecast("backtest", "--resume", folder, "--models", "naive")
    assert not left.exists()
    assert refused.code == 2
    assert "leave out --models" in refused.err
    with halted(folder, "--jobs", "2") as process:
        workers = [it for it in session(process) if "popen_loky_posix" in " ".join(it.cmdline())]
        workers[0].kill()
        _, err = released(process)
    assert process.returncode == 0, err
    assert "a worker died" in err
    assert not (folder / "unfinished").exists()
    assert (folder / "forecasts.parquet").read_bytes() == whole
    nothing = forecast("backtest", "--resume", folder)
    assert nothing.code == 1
    assert nothing.err.startswith("error: there is no unfinished backtest in")


def test_an_interrupted_backtest_leaves_no_process_and_says_how_to_go_on(home, tmp_path):
    folder = tmp_path / "backtest"
    with halted(folder, "--jobs", "2") as process:
        os.killpg(process.pid, signal.SIGINT)
        out, err = released(process)
        until(lambda: not session(process), "the end of the workers")
    assert process.returncode == 130, err
    assert out == ""
    assert f"`forecast backtest --resume {folder}` goes on" in err
    assert "Traceback" not in err
    assert parts(folder)


def test_a_lost_scheduler_is_one_line_and_the_backtest_goes_on(cluster, home, whole, tmp_path):
    """The last test of its cluster."""
    folder = tmp_path / "backtest"
    engine, scheduler = cluster
    where = ("--engine", engine.name, "--address", engine.address)
    with halted(folder, *where) as process:
        if engine.name == "dask":
            scheduler.kill()
            scheduler.wait()
        else:
            scheduler.stdin.write("\n")
            scheduler.stdin.flush()
            assert scheduler.stdout.readline() == "killed\n"
        _, err = released(process)
    assert process.returncode == 1, err
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "lost" in line
    assert f"`forecast backtest --resume {folder}` goes on" in line
    assert "Traceback" not in err
    if engine.name == "dask":  # what goes on does not know who was at work before
        assert parts(folder)
        run("backtest", "--resume", folder)
        assert (folder / "forecasts.parquet").read_bytes() == whole
