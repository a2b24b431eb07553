"""A plain `pip install forecaster` has no TensorFlow: all works but the training of networks."""

import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from forecaster.backtesting import leakage_audit
from forecaster.errors import MissingPackageError
from forecaster.models.registry import NETWORKS
from forecaster.runs import bundle, run, training

ROOT = Path(__file__).parents[1]
SAID = 'error: training a network needs TensorFlow, which is not installed: pip install "forecaster[train]"'


@pytest.fixture(autouse=True)
def no_tensorflow(monkeypatch):
    """Neither package can be found or imported."""
    for name in ("tensorflow", "keras"):
        for module in [it for it in sys.modules if it.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def home(tmp_path):
    """Two tickers of 560 sessions, and the runs `small` of an LSTM and `gjr`."""
    shutil.copytree(Path(__file__).parent / "old_home" / "home", tmp_path / "home")
    return tmp_path / "home"


@pytest.mark.parametrize(
    "words",
    [
        "predict --run small",
        "predict --run small --calibrate --json",
        "explain AAA --run small",
        "plot predict --run small",
        "plot gates AAA --run small",
        "plot training --run small",
        "runs",
        "backtest --models lstm,gjr,naive --run small --start 2018-02-01",
        "train --model gjr --until 2017-06-30",
        "train --model har --until 2017-06-30",
    ],
)
def test_all_else_works(forecast, home, words, monkeypatch):
    monkeypatch.chdir(home)  # where figures go
    result = forecast(*words.split(), "--home", home, "--quiet")
    assert (result.code, result.err) == (0, "")


def test_a_file_of_forecasts_is_scored(forecast, home, tmp_path):
    file = tmp_path / "forecasts.csv"
    for words in (
        (
            "backtest",
            "--models",
            "lstm,naive",
            "--run",
            "small",
            "--start",
            "2018-02-01",
            "--out",
            file,
        ),
        ("score", file),
    ):
        result = forecast(*words, "--home", home, "--quiet")
        assert (result.code, result.err) == (0, "")


@pytest.mark.parametrize(
    "words",
    [
        "train",
        "train --model gru --resume",
        "tune --trials 1",
        "backtest --models gjr,lstm --refit yearly",
        "audit",
    ],
)
def test_what_trains_a_network_says_what_to_install(forecast, home, words):
    before = sorted(home.rglob("*"))
    result = forecast(*words.split(), "--home", home, "--quiet")
    assert (result.code, result.out, result.err) == (1, "", f"{SAID}\n")
    left = {it for it in set(home.rglob("*")) - set(before) if it.suffix != ".lock"}
    assert not {it for it in left if "backtests" not in it.parts}


def test_the_library_says_it_too(home, world):
    for model in NETWORKS:
        with pytest.raises(MissingPackageError, match=r'pip install "forecaster\[train\]"'):
            training.train(world, model=model)
    with pytest.raises(MissingPackageError):
        leakage_audit.audit(world, "lstm")


def test_a_run_names_the_versions_that_there_are(home, world):
    assert training.train(world, model="naive").versions == run.versions()
    assert bundle.load(home, "small").versions["tensorflow"]  # of the machine that trained it


def test_tensorflow_is_in_the_extras_that_train_and_in_no_other():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert not [it for it in project["dependencies"] if it.startswith(("tensorflow", "keras"))]
    assert [it.partition(">")[0] for it in extras["train"]] == ["tensorflow"]
    assert {name for name, its in extras.items() if "tensorflow" in " ".join(its)} == {
        "train",
        "gpu",
    }
    assert "forecaster[train]" in extras["gpu"]
    assert any("train" in it for it in extras["dev"] if it.startswith("forecaster["))
