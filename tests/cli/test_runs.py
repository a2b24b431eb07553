"""``forecast runs``: list, default, show and remove."""

import dataclasses
import json
import subprocess
import sys

import pytest

from forecaster.cli.app import main
from forecaster.data.store import Store
from forecaster.runs import base, bundle
from forecaster.runs.run import checkpoint_path


@pytest.fixture
def home(tmp_path, world, trained):
    """A home with prices, a network and a random walk that is younger, and a half trained one."""
    Store(tmp_path).write(world, source="test")
    for name, model, day in (("net", "lstm", 1), ("walk", "naive", 2)):
        run = dataclasses.replace(trained(model), name=name, created=f"2030-01-0{day}T00:00:00")
        bundle.save(run, tmp_path)
    checkpoint_path(tmp_path, "half").write_bytes(b"half a training")
    return tmp_path


@pytest.fixture
def runs(forecast, home):
    """A function that runs ``forecast runs`` of some words in the home."""
    return lambda *words: forecast("runs", *words, "--home", home)


def test_they_are_listed_with_the_base_run_last(runs):
    rows = runs("--json").json["runs"]
    assert [row["name"] for row in rows] == ["net", "walk", "base"]
    assert [row["packaged"] for row in rows] == [False, False, True]
    assert not any(row["default"] for row in rows)
    assert rows[-1]["until"] == "2018-12-31"
    runs("default", "walk")
    marked = runs().out.splitlines()
    assert "default" in next(line for line in marked if line.strip().startswith("walk"))
    assert "packaged" in next(line for line in marked if line.strip().startswith("base"))
    assert [row["default"] for row in runs("--json").json["runs"]] == [False, True, False]


def test_an_empty_home_has_the_base_run_alone(forecast, tmp_path):
    result = forecast("runs", "--home", tmp_path / "none")
    assert result.code == 0
    assert "base" in result.out
    assert "no runs of your own yet" in result.err
    assert not (tmp_path / "none").exists()


def test_an_older_run_called_base_is_passed_over_and_said(runs, home):
    (home / "runs" / "base").mkdir()
    result = runs()
    assert result.code == 0
    assert "rename the folder" in result.err
    assert [row["packaged"] for row in runs("--json").json["runs"]] == [False, False, True]


def test_the_list_reads_no_weights_and_no_networks(tmp_path):
    code = (
        "import sys; from forecaster.cli.app import main\n"
        f"try: main(['runs', '--home', {str(tmp_path)!r}])\n"
        "except SystemExit: print([it for it in ('tensorflow', 'keras', 'sklearn', 'arch', "
        "'forecaster.models.recurrent.model') if it in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_the_default_forecasts_until_there_is_none(runs, forecast, home):
    def chosen():
        document = forecast("predict", "AAA", "--home", home, "--json", "--quiet").json
        return document["run"], document["chosen_by"]

    assert chosen() == ("net", "latest")
    assert runs("default", "--json").json["default"] is None
    assert "no default run; what forecasts is net (your latest network)" in runs("default").out
    assert runs("default", "walk").out == "the default run is walk\n"
    assert runs("default").out == "the default run is walk\n"
    assert chosen() == ("walk", "default")
    said = forecast("predict", "AAA", "--home", home, "--quiet").out
    assert "Run walk (your default): naive trained on" in said
    document = runs("default", "--none", "--json").json
    assert (document["default"], document["run"], document["chosen_by"]) == (None, "net", "latest")
    assert chosen() == ("net", "latest")


def test_the_default_can_be_the_base_run(runs):
    assert runs("default", "base").out == "the default run is base\n"
    assert runs("default", "--json").json["run"] == "base"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("default", "nte"), 1, "there is no run 'nte'; did you mean net?"),
        (("default", "net", "--none"), 2, "drop it, or drop net"),
        (("show", "nte"), 1, "there is no run 'nte'; did you mean net?"),
        (("remove", "nte"), 2, "there is no run 'nte'; did you mean net?"),
        (("remove", "base"), 2, "comes with the package and cannot be removed"),
        (("remove", "../net"), 2, "there is no run '../net'"),
        (("remove",), 2, "NAMES"),
        (("dfault",), 2, "dfault"),
    ],
)
def test_wrong_words_are_one_line_and_change_nothing(runs, home, words, code, said):
    before = sorted(home.rglob("*"))
    result = runs(*words)
    assert (result.code, result.out) == (code, "")
    (line,) = result.err.splitlines()
    assert said in line
    assert sorted(home.rglob("*")) == before


def test_options_of_the_list_before_a_command_are_not_lost(forecast, home):
    result = forecast("runs", "--home", home, "default")
    assert result.code == 2
    assert "write --home after `forecast runs default`" in result.err


def test_a_run_is_shown_with_its_settings_and_verdict(runs, home, trained):
    document = runs("show", "net", "--json").json
    run = bundle.load(home, "net")
    assert document["settings"] == run.settings
    assert document["tickers"] == ["AAA", "BBB", "CCC"]
    assert (document["verdict"], document["card"]) == (None, None)
    shown = runs("show", "net").out
    assert "AAA, BBB, CCC" in shown
    assert "feature_dropout" in shown
    assert f"It has no backtest here yet: `forecast backtest --run net --home {home}`" in shown
    bundle.record_verdict(
        run.summary, home, bundle.RunVerdict("f", "2018-07-02", "2018-09-28", "Fine.")
    )
    assert "Its backtest of 2018-07-02 to 2018-09-28: Fine." in runs("show", "net").out
    assert runs("show", "walk", "--json").json["settings"] is None
    assert runs("show", "--json").json["name"] == "net"  # what predict would take


def test_the_base_run_is_shown_with_its_card(runs):
    document = runs("show", "base", "--json").json
    card = base.card()
    assert document["card"] == card.document
    shown = runs("show", "base").out
    for it in card.scores:
        assert it.set in shown
        assert f"{it.crps_over_gjr:.4f}" in shown
    assert card.document["bad_at"][0] in shown


def test_removing_takes_all_or_nothing(runs, home):
    assert runs("remove", "net", "nope").code == 2
    assert bundle.names(home) == ["net", "walk"]
    assert runs("remove", "net", "half", "net").out == "removed run net\nremoved run half\n"
    assert bundle.names(home) == ["walk"]
    assert not checkpoint_path(home, "half").exists()


def test_removing_the_default_clears_it_and_says_so(runs, home):
    runs("default", "walk")
    document = runs("remove", "net", "walk", "--json").json
    assert (document["removed"], document["default_cleared"]) == (["net", "walk"], "walk")
    assert runs("default", "--json").json["run"] == "base"
    assert runs("--json").code == 0


def test_a_damaged_run_can_be_removed(runs, home):
    (home / "runs" / "net" / "run.json").write_text("{")
    assert runs("show", "net").code == 1
    assert runs("remove", "net").code == 0
    assert bundle.names(home) == ["walk"]


@pytest.mark.parametrize("epochs", [5, [5], [{"seed": 0}]])
def test_a_run_whose_epochs_are_damaged_is_said_beside_the_others(runs, home, epochs):
    path = home / "runs" / "net" / "run.json"
    document = json.loads(path.read_text())
    document["settings"]["training"] = epochs
    path.write_text(json.dumps(document))
    result = runs("--json")
    assert result.code == 1
    assert "runs/net is damaged" in result.err.replace("\\", "/")
    assert [row["name"] for row in result.json["runs"]] == ["walk", "base"]


def test_a_run_may_not_be_called_as_that_of_the_package(home, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--run", "base", "--model", "naive", "--home", str(home)])
    assert stop.value.code == 2
    assert "choose another --run" in capsys.readouterr().err
