import logging
import math
import os
import signal
import time
import warnings
from pathlib import Path

import numpy as np
import psutil
import pytest

from forecaster.errors import EngineError, UsageError
from forecaster.parallel import engines, jobs
from forecaster.parallel.jobs import Engine
from forecaster.runs import training


def process(_):
    return os.getpid()


def product(number, table):
    """Of a number and the table's entry of that index; the table must be the worker's to read only."""
    assert not table["numbers"].flags.writeable
    return float(number * table["numbers"][number])


def nested(_):
    return list(jobs.ordered(process, range(100))), os.getpid()


def warns(number):
    logging.getLogger("forecaster.models").warning("no fit of %s", number)
    warnings.warn("unlikely", stacklevel=1)


def grows(number):
    """Beyond what joblib lets a worker grow by; it looks once a second."""
    time.sleep(0.6)
    _GROWN.append(np.ones(45_000_000 if len(_GROWN) == 1 else 1))
    return number, os.getpid()


_GROWN = []


def dies_once(number, marker):
    """The process that does 3 dies of it, the first time."""
    if number == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def dies(_):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [None, 1, 2])
def test_results_come_in_the_order_of_the_items(workers):
    items = [float(number) for number in range(100, 0, -1)]
    result = jobs.ordered(math.sqrt, items, engine=Engine(jobs=workers))
    assert list(result) == [math.sqrt(x) for x in items]


def test_two_workers_are_other_processes():
    assert os.getpid() not in set(jobs.ordered(process, range(8), engine=Engine(jobs=2)))


def test_a_few_items_are_done_at_once():
    assert set(jobs.ordered(process, range(jobs.LEAST - 1))) == {os.getpid()}


def test_an_error_of_a_worker_is_raised_here():
    with pytest.raises(ValueError, match="math domain"):
        list(jobs.ordered(math.sqrt, [1.0, -1.0], engine=Engine(jobs=2)))


def test_what_a_worker_logs_is_logged_here(caplog, capfd):
    logging.captureWarnings(True)
    try:
        list(jobs.ordered(warns, [7], engine=Engine(jobs=2)))
    finally:
        logging.captureWarnings(False)
    assert [r.getMessage() for r in caplog.records if r.name == "forecaster.models"] == [
        "no fit of 7"
    ]
    assert capfd.readouterr().err == ""


def test_what_is_shared_is_mapped_by_every_worker():
    numbers = np.arange(100.0)
    numbers.flags.writeable = False  # as it comes to another process
    shared = {"numbers": numbers, "words": ["no array"]}
    for workers in (1, 2):
        result = jobs.ordered(product, range(100), engine=Engine(jobs=workers), shared=shared)
        assert list(result) == [float(n * n) for n in range(100)]


def test_a_worker_does_not_start_others():
    for inside, worker in jobs.ordered(nested, range(4), engine=Engine(jobs=2)):
        assert set(inside) == {worker}


def test_a_worker_that_grows_is_replaced_without_a_word(recwarn):
    result = list(jobs.ordered(grows, range(8), engine=Engine(jobs=2)))
    assert [number for number, _ in result] == list(range(8))
    assert len({worker for _, worker in result}) > 2
    assert not [it for it in recwarn if "A worker" in str(it.message)]


def test_what_a_killed_worker_was_at_is_done_again(tmp_path, caplog):
    marker = tmp_path / "died"
    result = jobs.ordered(dies_once, range(12), engine=Engine(jobs=2), shared=marker)
    assert list(result) == [n * n for n in range(12)]
    assert marker.exists()
    assert "a worker died" in caplog.text


def test_work_that_kills_every_worker_is_given_up():
    with pytest.raises(EngineError, match="fewer `jobs`") as caught:
        list(jobs.ordered(dies, range(2), engine=Engine(jobs=2)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"name": "dusk"}, "no engine 'dusk'; did you mean dask"),
        ({"jobs": 0}, "`jobs` takes a number of workers, 1 or more; got 0"),
        ({"address": "tcp://host:8786"}, '`engine="local"` has no address'),
        ({"name": "dask", "address": "host"}, "like tcp://host:8786; got 'host'"),
        ({"name": "dask", "address": "ray://host:1"}, "like tcp://host:8786"),
        ({"name": "dask", "address": "tcp://host:99999"}, "like tcp://host:8786"),
        ({"name": "ray", "address": "tcp://host:1"}, "like host:6379"),
        (
            {"name": "ray", "address": "ray://host:10001"},
            "on a machine of the cluster, with the .* auto",
        ),
        ({"name": "ray", "address": ""}, "like host:6379"),
    ],
)
def test_what_is_no_engine(words, said):
    with pytest.raises(UsageError, match=said):
        Engine(**words)


def test_an_engine_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(engines._MODULES, "dask", "not_installed")
    with pytest.raises(UsageError, match=r"pip install 'forecaster\[dask\]'"):
        Engine("dask")


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_nobody_at_the_address(name):
    with pytest.raises(
        EngineError, match=r"cannot reach the .* 127\.0\.0\.1:9: Connection refused"
    ):
        list(jobs.ordered(math.sqrt, [1.0], engine=Engine(name, "127.0.0.1:9")))


def test_the_members_of_an_average_are_fitted_by_its_engine(world):
    run = training.train(world, model="average", engine=Engine(jobs=1))
    assert [member.engine for member in run.model.members] == 3 * [Engine(jobs=1)]


def test_a_model_of_all_tickers_at_once_takes_no_engine(world):
    with pytest.raises(UsageError, match="trees learns from all tickers at once"):
        training.train(world, model="trees", engine=Engine(jobs=2))


def test_workers_stay_from_one_call_to_the_next():
    with jobs.Workers(Engine(jobs=2), np.arange(5.0)) as workers:
        folders = {file for _ in range(2) for file in workers.ordered(sees, range(4))}
        assert len(folders) == 1
    assert not Path(folders.pop()).exists()


def sees(_, shared):
    """The file that what is shared was read from."""
    (file,) = {it.path for it in psutil.Process().memory_maps() if it.path.endswith("/shared")}
    return file
