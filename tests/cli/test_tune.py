"""``forecast tune`` from the outside: what it prints and keeps, and what it survives."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import date

import numpy as np
import pytest

from forecaster import config
from forecaster.cli.app import main
from forecaster.data.store import Store
from forecaster.evaluation import experiment_log
from forecaster.model_selection import search
from forecaster.runs import bundle

TINY = 'units = 4\nwindow = 64\nwarmup = 10\nbatch = 8\nepochs = 1\nsteps = 2\nhead = "student"\n'
"""Held; with no groups but one, what is left to search trains in a moment."""

UNTIL = "2001-12-31"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with the first years of the sample and a file of settings to hold."""
    home = tmp_path_factory.mktemp("home")
    (home / "held.toml").write_text(TINY + 'groups = "market"\n')
    words = ["fetch", "--source", "sample", "--end", "2002-12-31", "--quiet", "--home", home]
    with pytest.raises(SystemExit) as stop:
        main([*map(str, words)])
    assert stop.value.code == 0
    return home


def words(home, *more):
    held = home / "held.toml"
    return ["tune", "--until", UNTIL, "--config", held, "--home", home, *more]


def begun(*words):
    """The command in a process of its own, whose interrupts are not those of the tests."""
    return subprocess.Popen(
        [sys.executable, "-m", "forecaster", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def more_trials(worker, home):
    """Waits until a process has written down another trial in its home."""
    before = len(experiment_log.read(home))
    while before == len(experiment_log.read(home)):
        assert worker.poll() is None, worker.communicate()
        time.sleep(0.02)


@pytest.mark.slow
def test_what_is_found_is_printed_and_saved_and_trained(forecast, home, tmp_path):
    saved = tmp_path / "new" / "tuned.toml"
    result = forecast(*words(home, "--trials", 3, "--out", saved))
    assert result.code == 0
    for said in ("learning rate", "defaults", "naive", "gjr", "3 trials finished, 0 pruned"):
        assert said in result.out
    assert "10 finished trials to say" in result.out
    assert str(saved) in result.out
    assert "trial 2 fold 3/3" in result.err
    for noise in ("optuna", "[I ", "Warning", "alembic"):
        assert noise not in result.out + result.err
    assert [it.kind for it in experiment_log.read(home)] == ["tune"] * 3

    # The same again is done at once, and tells machines the same.
    again = forecast(*words(home, "--trials", 3, "--json", "--quiet"))
    assert again.err == ""
    document = again.json
    best = document["trials"][0]
    assert best["crps"] == min(it["crps"] for it in document["trials"])
    assert f"{100 * best['crps']:.4f}" in result.out
    assert document["importance"] is None
    assert len(experiment_log.read(home)) == 3

    trained = forecast(
        "train", "--until", UNTIL, "--config", saved, "--run", "tuned", "--home", home
    )
    assert trained.code == 0
    used = bundle.load(home, "tuned").model.config
    assert document["best"].items() <= vars(used).items()
    assert (used.units, used.groups, used.seeds) == (4, "market", 3)
    assert used.horizon == 21
    assert used.learning_rate == best["settings"]["learning_rate"]
    assert saved.read_text().startswith(f"# Trial {best['trial']} of the study lstm-{UNTIL}: ")
    shutil.rmtree(home / "runs")


def interrupted(process):
    """Interrupt a command as a person does, again if it did not hear, and return what it printed.

    A busy command may lose one, such as one that arrives while Python collects garbage.
    """
    for _ in range(4):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=100)
    raise AssertionError("four interrupts were not heard")


@pytest.mark.slow
def test_two_at_one_study_and_one_killed_lose_no_trial(forecast, home, tmp_path):
    """The first is killed in the middle, the second, of two workers, interrupted; a third goes on."""
    homes = [tmp_path / "one", tmp_path / "other"]
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    workers = []
    try:
        for each in homes:
            shutil.copytree(home / "prices", each / "prices")
            shutil.copy(home / "held.toml", each)
            many = words(each, "--trials", 100_000, "--storage", storage, "--quiet")
            workers.append(begun(*many, "--jobs", 1 + len(workers)))
        for worker, each in zip(workers, homes, strict=True):
            more_trials(worker, each)
        one, other = workers
        one.kill()
        one.communicate()
        more_trials(other, homes[1])  # alone, until it is told to stop
        out, err = interrupted(other)
    finally:
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
    assert other.returncode == 130
    assert "finished trials are kept, and the same command goes on from them" in err
    assert "Traceback" not in err
    assert out == ""

    written = [experiment_log.read(each) for each in homes]
    assert all(written)
    third = forecast(*words(homes[0], "--trials", 1, "--storage", storage, "--json", "--quiet"))
    kept = third.json
    # Each may have written a trial down that it did not live to tell.
    total = sum(map(len, written))
    assert total - 2 <= len(kept["trials"]) <= total
    # What workers found is what is found here.
    tried = {it.settings["config"]["learning_rate"] for it in written[1]}
    theirs = next(it for it in kept["trials"] if it["settings"]["learning_rate"] in tried)
    objective = search.Objective.of(
        Store(home).read(), until=date.fromisoformat(UNTIL), held=config.read(home / "held.toml")
    )
    setting = objective.configured(theirs["settings"])
    parts = [
        search.total_crps(search.TrialFold("lstm", setting, fold), objective.panel)
        for fold in objective.folds
    ]
    sums = np.cumsum(parts, axis=0)  # it may have been pruned after any fold
    assert theirs["crps"] in sums[:, 0] / sums[:, 1]
    more = forecast(
        *words(homes[0], "--trials", len(kept["trials"]) + 1, "--storage", storage, "--json")
    )
    assert more.code == 0
    grown = more.json["trials"]
    assert len(grown) == len(kept["trials"]) + 1
    assert all(trial in grown for trial in kept["trials"])


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--trials", 0], 2, "trials"),
        (["--trials", "many"], 2, "trials"),
        (["--model", "gjr"], 2, "got the --model gjr"),
        (["--storage", "studies.db"], 2, "sqlite:///studies.db"),
        (["--storage", "sqlite:////nowhere/studies.db"], 1, "unable to open database file"),
        (["--until", "1999-06-30"], 1, "needs 502 sessions"),
        (["--until", "2030-01-01"], 1, "must lie within the stored prices"),
        (["--config", "absent.toml"], 2, "cannot read the configuration"),
        (["--seed", 7], 1, "differs in settings"),
        (["--engine", "spark"], 2, "spark"),
        (["AAPL"], 1, "not stored: AAPL"),
        (["--out", "{home}"], 1, "is a folder"),
        (["--out", "{home}/other.txt"], 1, "holds something else than settings"),
        (["--out", "{home}/held.toml/tuned.toml"], 1, "tuned.toml"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(forecast, home, more, code, said):
    (home / "other.txt").write_text("dear diary")
    before = {path: path.read_bytes() for path in (home / "other.txt", home / "held.toml")}
    forecast(*words(home, "--trials", 3, "--quiet"))
    result = forecast(*words(home, "--trials", 3, *[str(it).format(home=home) for it in more]))
    assert result.code == code
    assert said in result.err
    assert result.err.count("\n") == 1
    assert result.out == ""
    assert {path: path.read_bytes() for path in before} == before
