"""Commands clean up after killed ones, and say where a forecast means little."""

import os
import subprocess
import sys
import tempfile

import numpy as np
import pandas as pd
import pytest

from forecaster import leftovers
from forecaster.cli.app import main
from forecaster.data import prices
from forecaster.data.store import Store


@pytest.fixture
def home(tmp_path):
    days = pd.bdate_range("2018-01-01", periods=300)
    moves = np.random.default_rng(5).normal(0, 0.01, 300)
    moving = pd.DataFrame({"ticker": "MOVES", "date": days, "close": 50 * np.exp(np.cumsum(moves))})
    halted = moving.assign(ticker="HALTED", close=moving["close"].where(moving.index < 240))
    store = Store(tmp_path)
    for frame in (moving, halted.ffill()):
        store.write(prices.check(frame), source="test")
    return tmp_path


def run(*words):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return stop.value.code


def test_a_forecast_of_a_suspended_price_comes_with_a_warning(home, capsys):
    assert run("train", "--model", "naive", "--until", "2018-10-01", "--home", home) == 0
    capsys.readouterr()
    assert run("predict", "--home", home) == 0
    (line,) = [it for it in capsys.readouterr().err.splitlines() if "stood still" in it]
    assert line.startswith("warning: HALTED: the price has stood still for 60 sessions")


def test_the_next_command_removes_what_a_killed_one_left(home, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    owner = leftovers.owner().replace(str(os.getpid()), str(dead.pid))
    left = [
        tmp_path / "temporary" / f"{leftovers.FOLDER}{owner}abc",
        home / "runs" / f".lstm.{owner}abc.tmp",
    ]
    for folder in left:
        folder.mkdir(parents=True)
    assert run("data", "list", "--home", home) == 0
    assert not any(folder.exists() for folder in left)
