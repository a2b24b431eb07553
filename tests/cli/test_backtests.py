"""``forecast backtests``, and the folders of results: nobody's takes the place of another's."""

import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from forecaster import atomic
from forecaster.backtesting import archive, folders
from forecaster.cli.app import main
from forecaster.data.store import Store

MODELS = ("--models", "naive,ewma", "--quiet")


@pytest.fixture(scope="module")
def home(world, tmp_path_factory):
    """A home with prices and two backtests of the same models on other tickers and dates."""
    home = tmp_path_factory.mktemp("home")
    Store(home).write(world, source="test")
    for words in (("AAA", "--start", "2018-08-01"), ("BBB", "CCC", "--start", "2018-09-03")):
        with pytest.raises(SystemExit) as stop:
            main(["backtest", *words, *MODELS, "--home", str(home)])
        assert stop.value.code == 0
    return home


def forecasts_of(home, name):
    return archive.read_forecasts(home / "backtests" / name)[0].whole()


def test_a_second_backtest_of_the_same_models_leaves_the_first(forecast, home):
    assert set(forecasts_of(home, "naive-ewma")["ticker"]) == {"AAA"}
    assert set(forecasts_of(home, "naive-ewma-2")["ticker"]) == {"BBB", "CCC"}
    rows = forecast("backtests", "list", "--home", home, "--json").json["backtests"]
    dates = {row["name"]: (row["tickers"], row["start"], row["state"]) for row in rows}
    assert dates == {
        "naive-ewma": (["AAA"], "2018-08-01", "finished"),
        "naive-ewma-2": (["BBB", "CCC"], "2018-09-04", "finished"),
    }
    assert rows[0]["name"] == folders.latest(home).name == "naive-ewma-2"
    assert "naive,ewma" in forecast("backtests", "list", "--home", home).out


def test_a_backtest_is_shown_as_when_it_ended(forecast, home):
    shown = forecast("backtests", "show", "naive-ewma", "--home", home).out
    folder = home / "backtests" / "naive-ewma"
    assert archive.load(folder).verdict.text.split()[0] in shown
    assert "Forecasts of 2018-08-01 to" in shown
    document = forecast("backtests", "show", folder, "--home", home, "--json").json
    assert document["folder"] == str(folder)
    assert document["verdict"] == json.loads((folder / "scores.json").read_text())["verdict"]


def test_scores_of_files_of_one_name_are_both_kept_and_removed_by_name(forecast, home, tmp_path):
    frame = forecasts_of(home, "naive-ewma").query("model == 'ewma'").assign(model="mine")
    file = tmp_path / "mine.csv"
    frame.drop(columns="log_return").to_csv(file, index=False)
    shutil.copytree(home / "backtests" / "naive-ewma", home / "scores" / "mine")
    words = ("score", file, "--models", "naive", "--home", home, "--quiet", "--json")
    assert forecast(*words).json["folder"] == str(home / "scores" / "mine-2")
    names = [
        row["name"]
        for row in forecast("backtests", "list", "--home", home, "--json").json["backtests"]
    ]
    assert set(names) == {"scores/mine", "scores/mine-2", "naive-ewma", "naive-ewma-2"}
    tried = (home / "trials.jsonl").read_bytes()
    words = ("backtests", "remove", "scores/mine", "scores/mine-2", "--home", home)
    assert forecast(*words).code == 0
    assert folders.stored(home).keys() == {"naive-ewma", "naive-ewma-2"}
    assert (home / "trials.jsonl").read_bytes() == tried
    gone = forecast("backtests", "show", "scores/mine", "--home", home)
    assert (gone.code, gone.out) == (1, "")
    assert gone.err.startswith("error: there is no backtest 'scores/mine'; ")
    assert "naive-ewma" in gone.err


def test_nothing_but_a_backtest_is_removed(forecast, home):
    for place in (home / "prices", home):
        refused = forecast("backtests", "remove", place, "--home", home)
        assert refused.code == 1
        assert "holds something that is not a backtest" in refused.err
    assert Store(home).tickers() == ["AAA", "BBB", "CCC"]


def test_an_unfinished_backtest_is_listed_and_removed(forecast, home):
    folder = home / "backtests" / "begun"
    (folder / "unfinished" / "parts").mkdir(parents=True)
    request = {"home": str(home), "run": None, "models": ["naive"], "tickers": ["AAA"]}
    request |= {"start": None, "end": "2018-10-01", "refit": "yearly"}
    (folder / "unfinished" / "command.json").write_text(json.dumps(request))
    rows = forecast("backtests", "list", "--home", home, "--json").json["backtests"]
    (row,) = [row for row in rows if row["name"] == "begun"]
    assert (row["state"], row["end"], row["written"]) == ("unfinished", "2018-10-01", None)
    with atomic.claimed(folder, "backtest"):
        refused = forecast("backtests", "remove", "begun", "--home", home)
        assert refused.code == 1
        assert "another backtest is being written to" in refused.err
    assert forecast("backtests", "remove", "begun", "--home", home).code == 0
    assert not folder.exists()


def test_a_folder_that_another_backtest_writes_to_is_refused(forecast, home, tmp_path):
    words = ("backtest", "AAA", *MODELS, "--start", "2018-10-01", "--home", home)
    with atomic.claimed(tmp_path / "out", "backtest"):
        refused = forecast(*words, "--out", tmp_path / "out")
    assert (refused.code, refused.out) == (1, "")
    (line,) = refused.err.splitlines()
    assert "another backtest is being written to" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_equal_backtests_at_once_both_have_all_forecasts(world, tmp_path):
    Store(tmp_path).write(world, source="test")
    words = ("backtest", *MODELS, "--start", "2018-10-01", "--json", "--home", tmp_path)
    command = [sys.executable, "-m", "forecaster", *map(str, words)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    documents = [json.loads(process.communicate()[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    made = sorted(document["folder"] for document in documents)
    assert made == [str(tmp_path / "backtests" / name) for name in ("naive-ewma", "naive-ewma-2")]
    one, other = (forecasts_of(tmp_path, name) for name in ("naive-ewma", "naive-ewma-2"))
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    expected = world[world["date"] >= "2018-10-01"]
    assert len(one) == 2 * len(expected)
    assert not list((tmp_path / "backtests").rglob("unfinished"))
