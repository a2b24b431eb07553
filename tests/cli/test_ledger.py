"""``forecast ledger``: yesterday, the record, its proof, and its export."""

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from forecaster.backtesting import archive, backtest, forecast_files, walk_forward
from forecaster.backtesting.spec import BacktestSpec
from forecaster.data.store import Store
from forecaster.evaluation import metrics
from forecaster.live import ledger, scoring, settling
from forecaster.live.ledger import Origin
from forecaster.runs import bundle
from forecaster.runs.run import versions

TICKERS, START = ("AAA", "BBB"), pd.Timestamp("2018-07-16").date()


@pytest.fixture(scope="module")
def made(world, trained):
    """What a backtest forecasts of the last two months of the world: a run, and gjr and naive."""
    spec = BacktestSpec(("ewma", "gjr", "naive"), TICKERS, START)
    return walk_forward.forecast_history(world, spec, trained=trained("ewma")).forecasts


@pytest.fixture(scope="module")
def home(world, trained, made, tmp_path_factory):
    """A home in which these were recorded night by night; the last session is to come."""
    home, run = tmp_path_factory.mktemp("home"), trained("ewma")
    last = world["date"].max()
    for ticker in TICKERS:
        its = world[(world["ticker"] == ticker) & (world["date"] < last)]
        Store(home).write(its.reset_index(drop=True), source="test", notes={"currency": "USD"})
    bundle.save(run, home)
    for cutoff, night in made.groupby("cutoff"):
        record(home, run, night, pd.Timestamp(cutoff).tz_localize("UTC") + pd.Timedelta(hours=23))
    settling.settle(home, Store(home), last.tz_localize("UTC"))
    return home


def record(home, run, night, instant):
    own = {"run": run.name, "run_sha256": bundle.weights_sha256(run), "until": str(run.until)}
    none = {"run": "", "run_sha256": "", "until": "2017-12-29", "refit": "yearly"}
    origins = {
        model: Origin(model=model, versions=versions(), **(own if model == "ewma" else none))
        for model in night["model"].unique()
    }
    prices = dict.fromkeys(night["ticker"].unique(), "0" * 64)
    return ledger.record(home, night, origins, prices, made=instant)


@pytest.fixture
def at(home):
    return ("--home", home)


# ---- by ticker


def test_yesterday_is_shown_by_ticker(forecast, at, made):
    done = forecast("ledger", *at)
    assert done.code == 0
    for title in ("ticker", "session", "median", "80% interval", "came", "inside", "next"):
        assert title in done.out
    frame = made[made["model"] == "ewma"]
    *_, yesterday, today = sorted(frame["date"].unique())
    document = forecast("ledger", "--json", *at).json
    assert len(document["forecasts"]) == 4
    for row in document["forecasts"]:
        its = frame[(frame["ticker"] == row["ticker"]) & (frame["date"] == row["date"])].iloc[0]
        assert row["median"] == pytest.approx(its["last_close"] * np.exp(its["q0.5"]))
        low, high = its["last_close"] * np.exp(its[["q0.1", "q0.9"]].to_numpy(float))
        assert row["intervals"]["80"] == pytest.approx([low, high])
        assert not row["late"]
        if row["status"] == "open":
            assert pd.Timestamp(row["date"]) == today
            assert (row["price"], row["inside"]) == (None, None)
        else:
            assert pd.Timestamp(row["date"]) == yesterday
            assert row["price"] == pytest.approx(its["last_close"] * np.exp(its["log_return"]))
            assert row["inside"]["80"] == (its["q0.1"] <= its["log_return"] <= its["q0.9"])
    inside = sum(it["inside"]["80"] for it in document["forecasts"] if it["inside"])
    assert f"{inside} of 2 came within the 80% interval ({yesterday:%Y-%m-%d})." in done.out


def test_tickers_may_follow_at_once_or_after_show(forecast, at, trained):
    shown = forecast("ledger", "aaa", *at)
    assert shown.code == 0
    assert "AAA" in shown.out
    assert "BBB" not in shown.out
    assert forecast("ledger", "show", "AAA", *at).out == shown.out
    assert forecast("ledger", *at, "AAA").out == shown.out
    run = trained("ewma").name
    assert forecast("ledger", "--run", run, *at).out == forecast("ledger", *at).out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["AAB"], 1, "no forecast of AAB; did you mean AAA"),
        (["--run", "none"], 1, "no forecast of these by the run 'none'"),
        (["--quiet", "score"], 2, "write score right after `forecast ledger`"),
        (["score", "--run", "none"], 1, "no forecast by the run 'none'"),
        (["score", "AAA"], 2, "AAA"),
        (["verify", "--head", "abc"], 2, "abc"),
        (
            ["export", "ledger.txt"],
            2,
            "expected a file that ends in .csv, .json, .parquet or .xlsx",
        ),
        (["export", "ledger.csv", "--run", "none"], 1, "no forecast by the run 'none'"),
    ],
)
def test_what_is_not_there_is_one_line(forecast, at, words, code, message):
    done = forecast("ledger", *words, *at)
    assert done.code == code
    assert done.err.count("\n") == 1
    assert done.err.startswith("error: ")
    assert message in done.err


def test_one_unknown_ticker_hides_no_other(forecast, at):
    done = forecast("ledger", "AAA,XYZ", *at)
    assert done.code == 1
    assert "AAA" in done.out
    assert "no forecast of XYZ" in done.err


def test_a_word_may_become_a_command_or_a_ticker_of_the_ledger(home):
    import typer

    from forecaster.cli.app import app

    group = typer.main.get_command(app).commands["ledger"]
    with group.make_context("ledger", [], resilient_parsing=True) as context:
        context.params["home"] = home
        names = {it.value for it in group.shell_complete(context, "")}
        assert {"score", "verify", "AAA", "BBB"} <= names
        assert {it.value for it in group.shell_complete(context, "A")} == {"AAA"}


def test_yesterday_is_read_without_what_takes_long_to_load(home):
    words = f"""
import sys
from pathlib import Path
from forecaster.live import outcomes
assert len(outcomes.latest(Path({str(home)!r}))) == 4
assert not {{"pandas", "numpy", "scipy"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", words], check=True)


# ---- the record


def test_the_record_is_that_of_a_backtest_over_the_same_days(forecast, at, home, made):
    document = forecast("ledger", "score", "--json", *at).json
    last = Store(home).read(["AAA"])["date"].max()
    theirs = metrics.pooled(metrics.scores(made[made["date"] <= last])).loc["ewma"]
    (its,) = document["steps"]
    assert its["crps"] == pytest.approx(theirs["crps"], rel=1e-12)
    shares = [it["share"] for it in its["coverage"]]
    assert shares == pytest.approx([theirs["coverage_80"], theirs["coverage_95"]])
    ratios = {it["model"]: it["crps_ratio"] for it in its["against"]}
    expected = {name: theirs[f"crps/{name}"] for name in ("naive", "gjr")}
    assert ratios == pytest.approx(expected, rel=1e-12)
    assert {it["sessions"] for it in its["against"]} == {made["date"].nunique() - 1}
    assert (document["open"], document["late"], document["promise"]) == (2, [], None)


def test_the_run_is_that_with_most_settled_forecasts_or_the_one_named(
    forecast, home, trained, made, tmp_path
):
    both, at = tmp_path / "home", ("--home", tmp_path / "home", "--quiet")
    shutil.copytree(home, both)
    nights = sorted(made["cutoff"].unique())[-5:]
    newer = replace(trained("ewma"), name="newer")
    for cutoff in nights:
        night = made[(made["cutoff"] == cutoff) & (made["model"] == "ewma")]
        record(both, newer, night, pd.Timestamp(cutoff, tz="UTC") + pd.Timedelta(hours=23))
    document = forecast("ledger", "score", "--json", *at).json
    assert document["run"] == trained("ewma").name
    document = forecast("ledger", "score", "--run", "newer", "--json", *at).json
    assert document["run"] == "newer"
    (its,) = document["steps"]
    assert (its["forecasts"], document["open"]) == (8, 2)
    # Beside it stand the baselines of its own nights alone.
    assert {it["forecasts"] for it in its["against"]} == {8}
    file = tmp_path / "newer.parquet"
    assert forecast("ledger", "export", file, "--run", "newer", *at).code == 0
    assert sorted(pd.read_parquet(file)["cutoff"].unique()) == nights
    # Of nights on which both forecast, the first that was recorded counts.
    assert forecast("ledger", "score", "--all-runs", "--json", *at).json["runs"] == [
        trained("ewma").name
    ]
    refused = forecast("ledger", "score", "--all-runs", "--run", "newer", *at)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    refused = forecast("ledger", "score", "--run", "newr", *at)
    assert refused.code == 1
    assert "the run 'newr'; did you mean newer? it has those of " in refused.err


def test_runs_that_take_over_from_each_other_have_one_record(
    forecast, home, trained, made, tmp_path
):
    shutil.copytree(home / "prices", tmp_path / "prices")
    for cutoff, night in made.groupby("cutoff"):
        name = "one" if cutoff < sorted(made["cutoff"].unique())[9] else "two"
        instant = pd.Timestamp(cutoff, tz="UTC") + pd.Timedelta(hours=23)
        record(tmp_path, replace(trained("ewma"), name=name), night, instant)
    settling.settle(tmp_path, Store(tmp_path), made["date"].max().tz_localize("UTC"))
    at = ("--home", tmp_path, "--quiet")
    whole = forecast("ledger", "score", "--json", "--home", home).json
    turns = forecast("ledger", "score", "--all-runs", "--json", *at).json
    assert (turns["run"], turns["runs"]) == ("two", ["one", "two"])
    assert turns["steps"] == whole["steps"]
    assert turns["summary"][0].startswith("Runs one, two in turn (ewma)")
    alone = forecast("ledger", "score", "--run", "one", "--json", *at).json["steps"][0]
    assert alone["forecasts"] == 18
    files = [tmp_path / f"{name}.parquet" for name in ("turns", "whole")]
    assert forecast("ledger", "export", files[0], "--all-runs", *at).code == 0
    assert forecast("ledger", "export", files[1], "--quiet", "--home", home).code == 0
    pd.testing.assert_frame_equal(*map(pd.read_parquet, files))


def test_a_run_of_a_baseline_s_model_is_not_compared_with_itself(home, trained, made, tmp_path):
    night = made[made["cutoff"] == made["cutoff"].min()]
    instant = night["cutoff"].iloc[0].tz_localize("UTC") + pd.Timedelta(hours=23)
    record(tmp_path, trained("ewma"), night[night["model"] != "ewma"], instant)
    own = {"gjr": Origin("gjr", "fitted", "", "2017-12-29", {})}
    prices = dict.fromkeys(TICKERS, "0" * 64)
    ledger.record(tmp_path, night[night["model"] == "gjr"], own, prices, made=instant)
    settling.settle(tmp_path, Store(home), pd.Timestamp("2019-01-01", tz="UTC"))
    (step,) = scoring.record(tmp_path, scoring.choose(tmp_path)).steps
    assert [it.against for it in step.comparisons] == ["naive"]


def test_the_record_stands_beside_the_backtest_s_promise(
    forecast, at, home, world, trained, tmp_path
):
    without = forecast("ledger", "score", *at)
    assert without.code == 0
    assert "its backtest" not in without.out
    spec = BacktestSpec(("ewma", "naive"), TICKERS, START)
    done = backtest.run(world, spec, trained=trained("ewma"))
    promising = tmp_path / "home"
    shutil.copytree(home, promising)
    folder = promising / "backtests" / "ewma-naive"
    folder.mkdir(parents=True)
    archive.write(done, folder)
    verdict = bundle.RunVerdict("words", "2018-06-01", "2018-10-01", "It is as good as naive.")
    bundle.record_verdict(done.provenance.run, promising, verdict)
    told = forecast("ledger", "score", "--home", promising)
    scores = metrics.pooled(done.scores).loc["ewma"]
    (row,) = (line for line in told.out.splitlines() if "its backtest" in line)
    assert f"{scores['crps']:.4f}" in row
    assert f"{scores['crps/naive']:.4f}" in row
    for words in (
        "80% intervals held ",
        "not yet shown better or worse than GJR-GARCH (E = ",
        "Its backtest of 2018-06-01 to 2018-10-01: It is as good as naive.",
        f"It promised a CRPS of {scores['crps/naive']:.4f} of naive's, and it was ",
    ):
        assert words in told.out
    promise = forecast("ledger", "score", "--json", "--home", promising).json["promise"]
    assert promise["steps"][0]["coverage_80"] == pytest.approx(scores["coverage_80"])


def test_an_export_is_scored_as_the_ledger_is(forecast, at, home, tmp_path):
    (ours,) = forecast("ledger", "score", "--json", *at).json["steps"]
    file = tmp_path / "ledger.parquet"
    done = forecast("ledger", "export", file, "--json", *at)
    assert done.code == 0
    assert done.json["rows"] == len(ledger.read(home))
    words = ("score", file, "--models", "naive", "--json", "--quiet", *at)
    theirs = {it["model"]: it for it in forecast(*words).json["scores"] if it["ticker"] == "(all)"}
    assert theirs["ewma"]["crps"] == pytest.approx(ours["crps"], rel=1e-9)
    assert theirs["ewma"]["coverage_80"] == pytest.approx(ours["coverage"][0]["share"])
    ratios = {it["model"]: it["crps_ratio"] for it in ours["against"]}
    assert theirs["ewma"]["crps"] / theirs["gjr"]["crps"] == pytest.approx(ratios["gjr"], rel=1e-9)
    # What the ledger holds of naive is what a backtest makes of these days.
    assert theirs["naive (file)"]["crps"] == pytest.approx(theirs["naive"]["crps"], rel=1e-9)


def test_an_export_is_the_same_in_every_format(forecast, at, tmp_path):
    files = {kind: tmp_path / f"ledger.{kind}" for kind in ("csv", "json", "parquet", "xlsx")}
    for file in files.values():
        assert forecast("ledger", "export", file, "--quiet", *at).code == 0
    rows = json.loads(files["json"].read_text())["rows"]
    assert (rows[0]["model"], rows[0]["currency"]) == ("ewma", "USD")
    assert {row["log_return"] is None for row in rows} == {True, False}
    read = {kind: forecast_files.read(files[kind]).rows for kind in ("csv", "parquet")}
    pd.testing.assert_frame_equal(read["csv"], read["parquet"], rtol=1e-12)
    assert len(read["csv"]) == len(rows) == len(pd.read_excel(files["xlsx"]))


# ---- the proof


def test_a_ledger_verifies_until_somebody_changes_it(forecast, at, home, tmp_path):
    posted = forecast("ledger", "head", *at).out.strip()
    document = forecast("ledger", "head", "--json", *at).json
    assert document["head"] == posted
    assert document["forecasts"] == len(ledger.read(home))
    done = forecast("ledger", "verify", "--head", posted, *at)
    assert done.code == 0
    assert "are as they were written, and go on from that digest" in done.out
    assert forecast("ledger", "verify", "--json", *at).json["problems"] == []
    forged = tmp_path / "forged"
    forged.mkdir()
    (forged / "ledger.db").write_bytes((home / "ledger.db").read_bytes())
    with closing(sqlite3.connect(forged / "ledger.db", isolation_level=None)) as file:
        file.execute("DROP TRIGGER forecasts_no_update")
        file.execute('UPDATE forecasts SET "q0.5" = 0.1 WHERE id = 7')
    done = forecast("ledger", "verify", "--json", "--home", forged)
    assert done.code == 1
    assert any("forecast 7 was changed" in line for line in done.json["problems"])
    assert done.err.startswith("error: ")


# ---- little or nothing in it


def test_an_empty_ledger_is_shown_as_such_and_has_no_score(forecast, tmp_path):
    at = ("--home", tmp_path)
    shown = forecast("ledger", *at)
    assert (shown.code, shown.out) == (0, "")
    assert "the ledger is empty" in shown.err
    assert forecast("ledger", "--json", *at).json["forecasts"] == []
    for words in (["score"], ["export", tmp_path / "ledger.csv"], ["AAA"]):
        done = forecast("ledger", *words, *at)
        assert done.code == 1
        assert "the ledger is empty; `forecast daily` records" in done.err
    assert forecast("ledger", "verify", *at).code == 0
    assert forecast("ledger", "head", "--json", *at).json["forecasts_sha256"] is None
    assert not list(tmp_path.glob("ledger.*"))


def test_a_ledger_of_which_nothing_has_come_says_so(forecast, home, trained, made, tmp_path):
    night = made[made["cutoff"] == made["cutoff"].max()]
    instant = night["cutoff"].iloc[0].tz_localize("UTC") + pd.Timedelta(hours=23)
    record(tmp_path, trained("ewma"), night, instant)
    (*_, status) = {
        it["status"] for it in forecast("ledger", "--json", "--home", tmp_path).json["forecasts"]
    }
    assert status == "open"
    done = forecast("ledger", "score", "--home", tmp_path)
    assert done.code == 1
    assert "nothing has come yet of the 2 forecasts by the run" in done.err
    assert done.err.count("\n") == 1
    assert forecast("ledger", "export", tmp_path / "open.csv", "--home", tmp_path).code == 0


def test_a_ledger_of_late_forecasts_is_scored_apart_and_exported_when_asked(
    forecast, home, trained, made, tmp_path
):
    shutil.copytree(home / "prices", tmp_path / "prices")
    cutoff = sorted(made["cutoff"].unique())[3]
    night = made[made["cutoff"] == cutoff]
    record(tmp_path, trained("ewma"), night, pd.Timestamp(cutoff, tz="UTC") + pd.Timedelta(days=9))
    settling.settle(tmp_path, Store(tmp_path), pd.Timestamp("2019-01-01", tz="UTC"))
    at = ("--home", tmp_path)
    done = forecast("ledger", "score", *at)
    assert done.code == 0
    assert "1, late" in done.out
    assert "None of them has come in time to show anything." in done.out
    assert "*" in forecast("ledger", *at).out
    refused = forecast("ledger", "export", tmp_path / "late.csv", *at)
    assert refused.code == 1
    assert "--late writes them" in refused.err
    assert forecast("ledger", "export", tmp_path / "late.csv", "--late", "--quiet", *at).code == 0
    assert len(pd.read_csv(tmp_path / "late.csv")) == 6
