"""`forecast train --from RUN`: on the command line and in the files it leaves."""

import json
import shutil
from datetime import date
from pathlib import Path

import pytest

from forecaster.cli import train
from forecaster.runs import bundle

OLD = Path(__file__).parents[1] / "old_home" / "home"


@pytest.fixture
def home(tmp_path):
    """Two tickers of 560 sessions up to 2018-03-23, and the runs `small` and `gjr` up to 2017-06-30."""
    shutil.copytree(OLD, tmp_path / "home")
    return tmp_path / "home"


def test_a_run_is_trained_on_and_forecasts(forecast, home, monkeypatch):
    monkeypatch.chdir(home)  # where figures go
    words = ("train", "--from", "small", "--until", "2017-12-29", "--epochs", "1", "--run", "more")
    made = forecast(*words, "--home", home, "--quiet", "--json").json
    assert (made["name"], made["first"], made["until"]) == ("more", "2016-01-04", "2017-12-29")
    assert made["start"]["name"] == "small"
    small, more = (bundle.load(home, name) for name in ("small", "more"))
    assert made["start"]["weights_sha256"] == bundle.weights_sha256(small)
    assert more.model.config.epochs == 1
    assert more.model.config.units == small.model.config.units
    rows = forecast("runs", "--home", home, "--json").json["runs"]
    assert {row["name"]: row.get("start", {}).get("name") for row in rows} == {
        "more": "small",
        "small": None,
        "gjr": None,
        "base": None,
    }
    shown = forecast("runs", "show", "more", "--home", home, "--json").json
    assert shown["start"] == made["start"]
    assert "run small" in forecast("runs", "show", "more", "--home", home).out
    for drawn in (("predict", "--run", "more"), ("plot", "training", "--run", "more")):
        result = forecast(*drawn, "--home", home, "--quiet")
        assert (result.code, result.err) == (0, "")
    experiments = [json.loads(it) for it in (home / "trials.jsonl").read_text("utf-8").splitlines()]
    assert experiments[-1]["settings"]["start"] == made["start"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--from small --until 2017-06-29", 2, "run small knows sessions up to 2017-06-30"),
        ("--from small --seeds 5", 2, "weights of run small do not allow seeds 5 instead of"),
        ("--from gjr", 2, "run gjr is of gjr, and the --model is lstm"),
        ("--from small --model gru", 2, "run small is of lstm, and the --model is gru"),
        ("--from small --run small", 2, "run small cannot start from itself; choose another --run"),
        ("--from smal", 1, "there is no run 'smal'; did you mean small?"),
    ],
)
def test_what_cannot_be_started_from_is_refused_in_a_line(forecast, home, words, code, said):
    before = {it: it.read_bytes() for it in (home / "runs").rglob("*.*") if it.is_file()}
    result = forecast("train", *words.split(), "--home", home, "--quiet")
    assert (result.code, result.out) == (code, "")
    (line,) = result.err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    after = {it: it.read_bytes() for it in (home / "runs").rglob("*.*") if it.is_file()}
    assert after == before


def test_the_base_run_is_started_from_where_it_knows_no_later_session():
    assert train._base(date(2018, 12, 30)) is None
    base = train._base(date(2018, 12, 31))
    assert base is not None
    assert base.is_base


def test_settings_of_one_s_own_start_afresh(forecast, home):
    words = (
        "--model",
        "rnn",
        "--epochs",
        "1",
        "--seeds",
        "1",
        "--max-windows",
        "32",
        "--from",
        "afresh",
    )
    made = forecast("train", *words, "--home", home, "--quiet", "--json").json
    assert made.get("start") is None
