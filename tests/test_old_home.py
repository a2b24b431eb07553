"""A home of version 0.1.0 (see old_home/README.md) opens, and goes on or says why it cannot."""

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from forecaster.backtesting import archive
from forecaster.identity import Identity
from forecaster.runs.run import versions

OLD = Path(__file__).parent / "old_home"
BACKTEST = Path("backtests") / "lstm-gjr-naive"
UNFINISHED = Path("backtests") / "interrupted"


@pytest.fixture
def home(tmp_path):
    """A copy of the old home, as it was."""
    home = tmp_path / "home"
    shutil.copytree(OLD / "home", home)
    with sqlite3.connect(home / "studies.db") as database:
        database.executescript((home / "studies.sql").read_text(encoding="utf-8"))
    database.close()
    request = home / UNFINISHED / "unfinished" / "command.json"
    document = json.loads(request.read_text(encoding="utf-8"))
    request.write_text(json.dumps(document | {"home": str(home)}), encoding="utf-8")
    return home


def succeed(result):
    assert (result.code, result.err) == (0, "")
    return result


def goes_on(result, *, same):
    """Whether a command went on; otherwise it must have said in one line what is not the same."""
    if same:
        assert result.code == 0, result.err
        return True
    assert result.code == 1
    (line,) = [line for line in result.err.splitlines() if line]
    assert line.startswith("error: ")
    assert "version" in line or "settings" in line
    return False


def test_prices_are_listed_and_checked(forecast, home):
    rows = succeed(forecast("data", "list", "--home", home, "--json")).json["tickers"]
    assert [(row["ticker"], row["rows"], row["last"]) for row in rows] == [
        ("AAA", 560, "2018-03-23"),
        ("BBB", 560, "2018-03-23"),
    ]
    rows = succeed(forecast("data", "check", "--home", home, "--json", "--quiet")).json["tickers"]
    assert {row["ticker"] for row in rows} == {"AAA", "BBB"}


def test_runs_forecast_what_they_did_with_their_verdict(forecast, home):
    rows = succeed(forecast("runs", "--home", home, "--json")).json["runs"]
    assert [(row["name"], row["model"], row["until"]) for row in rows] == [
        ("gjr", "gjr", "2017-06-30"),
        ("small", "lstm", "2017-06-30"),
        ("base", "lstm", "2018-12-31"),
    ]
    words = ("predict", "--home", home, "--quiet", "--run")
    now = succeed(forecast(*words, "small", "--json")).json
    then = json.loads((OLD / "predict.json").read_text(encoding="utf-8"))
    assert now["verdict"] == then["verdict"] | {"summary": ""}
    for new, old in zip(now["forecasts"], then["forecasts"], strict=True):
        numbers = ("last_close", "median", "volatility", "p_up", "var_95")
        assert [new[it] for it in numbers] == pytest.approx([old[it] for it in numbers], rel=1e-6)
        assert (new["ticker"], new["date"]) == (old["ticker"], old["date"])
    succeed(forecast(*words, "gjr"))


def test_a_run_is_backtested_again_to_the_same_forecasts(forecast, home, tmp_path):
    words = ("--models", "lstm,gjr,naive", "--run", "small", "--start", "2018-02-01", "--quiet")
    succeed(forecast("backtest", *words, "--out", tmp_path / "new", "--home", home))
    old = archive.read_forecasts(home / BACKTEST)[0].whole()
    new, provenance = archive.read_forecasts(tmp_path / "new")
    new = new.whole()
    fitted = old["model"] == "gjr"
    pd.testing.assert_frame_equal(new[~fitted], old[~fitted], rtol=1e-6)
    # Where an optimiser stops depends on how a processor rounds.
    pd.testing.assert_frame_equal(new[fitted], old[fitted], atol=1e-6, rtol=1e-4)
    # The two trials of the study, and the old backtest of three models: the settings of a network
    # that was not trained there had no skewed head.
    assert provenance.tried == 5


def test_a_backtest_is_drawn_and_reported(forecast, home, tmp_path):
    figure = tmp_path / "skill.png"
    succeed(forecast("plot", "skill", "--backtest", home / BACKTEST, "--out", figure))
    assert figure.read_bytes().startswith(b"\x89PNG")
    found = succeed(forecast("report", home / BACKTEST, "--json")).json
    verdict = json.loads((home / BACKTEST / "scores.json").read_text(encoding="utf-8"))["verdict"]
    assert found["verdict"] == verdict
    assert verdict[:40] in (home / BACKTEST / "report.html").read_text(encoding="utf-8")


def test_the_provenance_of_a_backtest_is_what_its_config_says(home):
    kept = json.loads((home / BACKTEST / "config.json").read_text(encoding="utf-8"))
    later = {"events_sha256": None}  # 0.1.0 knew of no events, and did not keep the costs
    wanted = kept | later | {"cost_bp": 5.0, "run": kept["run"] | later}
    since = {"horizon": 1, "group_dropout": 0.0, "balance": 0.0}
    wanted |= {"steps": [1], "settings": kept["settings"] | since}
    assert archive.load(home / BACKTEST).provenance.document() == wanted


def test_a_study_goes_on(forecast, home):
    begun = sqlite3.connect(home / "studies.db")
    ((identity,),) = begun.execute(
        "SELECT value_json FROM study_user_attributes WHERE key = 'identity'"
    )
    begun.close()
    held = OLD / "held.toml"
    result = forecast(
        "tune",
        "--trials",
        3,
        "--config",
        held,
        "--study",
        "old",
        "--home",
        home,
        "--json",
        "--quiet",
    )
    same = not tune_identity(home, held).changes(json.loads(identity))
    if goes_on(result, same=same):
        trials = result.json["trials"]
        assert sorted(trial["trial"] for trial in trials) == [0, 1, 2]
        crps = {trial["trial"]: trial["crps"] for trial in trials}
        assert crps[0] == pytest.approx(0.00506883226773830, rel=1e-12)


def tune_identity(home, held):
    from forecaster import config
    from forecaster.data.store import Store
    from forecaster.model_selection import search

    return search.Objective.of(Store(home).read(), held=config.read(held)).identity


def test_an_unfinished_backtest_goes_on_to_the_same_forecasts(forecast, home):
    folder = home / UNFINISHED
    begun = json.loads((folder / "unfinished" / "parts" / "walk.json").read_text(encoding="utf-8"))
    parts = {path: path.read_bytes() for path in folder.rglob("*.parquet")}
    result = forecast("backtest", "--resume", folder, "--quiet")
    same = not Identity.of(**begun | {"versions": versions(), "settings": defaults()}).changes(
        begun
    )
    if goes_on(result, same=same):
        resumed = archive.read_forecasts(folder)[0].whole()
        whole = archive.read_forecasts(home / BACKTEST)[0].whole()
        pd.testing.assert_frame_equal(resumed, whole, rtol=1e-6)
    else:
        assert all(path.read_bytes() == before for path, before in parts.items())


def defaults():
    from dataclasses import asdict

    from forecaster.config import RecurrentConfig

    return asdict(RecurrentConfig())


def test_an_interrupted_training_goes_on_to_the_same_weights(forecast, home):
    checkpoint = home / "runs" / ".half.training"
    with safe_open(checkpoint, "numpy") as file:
        begun = json.loads(file.metadata()["json"])["identity"]
    settings = defaults() | {it: begun["settings"][it] for it in begun["settings"]}
    result = forecast(
        "train", "--until", "2017-06-30", "--run", "half", "--config", OLD / "longer.toml",
        "--resume", "--home", home, "--quiet",
    )  # fmt: skip
    same = not Identity.of(**begun | {"versions": versions(), "settings": settings}).changes(begun)
    if goes_on(result, same=same):
        resumed = load_file(home / "runs" / "half" / "weights.safetensors")
        whole = load_file(OLD / "half.safetensors")
        assert resumed.keys() == whole.keys()
        for name, array in whole.items():
            np.testing.assert_allclose(resumed[name], array, rtol=1e-3, atol=1e-5)
    else:
        assert checkpoint.is_file()
