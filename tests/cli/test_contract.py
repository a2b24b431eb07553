"""What programs read: files in four formats, documents with schemas, options called alike."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import typer
from documents import SCHEMAS, validated, validator

from forecaster import exports, schemas
from forecaster.backtesting import external, folders, forecast_files
from forecaster.cli.app import app, main
from forecaster.data import calendars, prices
from forecaster.data.store import Store

SETTINGS = """
units = 4
window = 40
warmup = 10
batch = 8
epochs = 2
steps = 2
validation = 60
seeds = 1
"""
UNTIL = "2018-06-29"
REFERENCE = SCHEMAS.parent / "exports.md"
TICKERS = ["=CMD()", "AAA", "BRK.B", "Mixed", "^GSPC"]
BACKTEST = (
    "backtest",
    "AAA",
    "=CMD()",
    "--models",
    "naive,ewma,drift",
    "--start",
    "2018-10-01",
    "--quiet",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Prices of a few odd names, a small network and a naive run."""
    home = tmp_path_factory.mktemp("home")
    days = calendars.sessions_between("AAA", pd.Timestamp("2016-06-01"), pd.Timestamp("2018-12-28"))
    rng, store = np.random.default_rng(5), Store(home)
    for ticker in TICKERS:
        close = 90 * np.exp(np.cumsum(rng.normal(0, 0.01, len(days))))
        frame = pd.DataFrame({"ticker": ticker, "date": days, "close": close})
        notes = {"currency": "USD"} if ticker != "^GSPC" else {}
        store.write(prices.check(frame), source="test", notes=notes)
    (home / "small.toml").write_text(SETTINGS)
    for words in (
        ["--run", "plain", "--model", "naive"],
        ["--run", "small", "--config", str(home / "small.toml")],
    ):
        with pytest.raises(SystemExit) as stop:
            main(["train", *words, "--until", UNTIL, "--home", str(home), "--quiet"])
        assert stop.value.code == 0
    return home


@pytest.fixture(scope="module")
def written(home):
    """The file that a backtest was told to write; its folder has a name that was made up."""
    file = home / "backtest.json"
    with pytest.raises(SystemExit) as stop:
        main([*BACKTEST, "--home", str(home), "--out", str(file)])
    assert stop.value.code == 0
    return file


@pytest.fixture(scope="module")
def backtested(home, written):
    """The folder of a backtest."""
    return folders.latest(home)


def rows_of(path):
    return validated(json.loads(path.read_text(encoding="utf-8")))["rows"]


# ---- files


def test_predict_backtest_and_explain_write_the_same_columns(forecast, home, written, tmp_path):
    files = {name: tmp_path / f"{name}.json" for name in ("predict", "explain")}
    files["backtest"] = written
    at = ("--home", home, "--quiet", "--out")
    assert forecast("predict", "--run", "small", *at, files["predict"]).code == 0
    explained = ("explain", "AAA", "--run", "small", "--table", "forecasts")
    assert forecast(*explained, *at, files["explain"]).code == 0
    for file in files.values():
        assert list(rows_of(file)[0]) == exports.COLUMNS
    predicted = {row["ticker"]: row for row in rows_of(files["predict"])}
    assert set(predicted) == set(TICKERS)
    assert (predicted["AAA"]["currency"], predicted["^GSPC"]["currency"]) == ("USD", None)
    assert predicted["AAA"]["sessions_behind"] > 1000
    (of_one,) = rows_of(files["explain"])
    assert of_one["price_q0.5"] == predicted["AAA"]["price_q0.5"]


def test_an_export_is_scored_as_the_forecasts_it_came_from(forecast, home, backtested, tmp_path):
    at = ("--home", home, "--quiet", "--out")
    ours = pd.read_csv(backtested / "scores.csv").set_index(["ticker", "model"])["crps"]
    files = [tmp_path / name for name in ("long.csv", "long.parquet", "nixtla.csv")]
    for file in files:
        words = ("backtests", "show", backtested, "--layout", file.stem)
        assert forecast(*words, *at, file).code == 0
        scored = external.score(forecast_files.read(file), Store(home).read(), models=("naive",))
        theirs = scored.scores.set_index(["ticker", "model"])["crps"]
        for model in ("ewma", "drift"):
            assert theirs["AAA", model] == pytest.approx(ours["AAA", model], rel=1e-9)
    # A score writes the columns that a backtest does.
    out = tmp_path / "score.json"
    done = forecast("score", files[-1], "--models", "naive", "--json", *at, out)
    assert done.code == 0
    assert list(rows_of(out)[0]) == exports.COLUMNS
    crps = {(row["ticker"], row["model"]): row["crps"] for row in done.json["scores"]}
    assert crps["AAA", "drift"] == pytest.approx(theirs["AAA", "drift"], rel=1e-12)


def test_every_table_of_a_backtest_can_be_written(forecast, home, backtested, tmp_path):
    names = {path.stem for path in (backtested / "tables").iterdir()}
    assert {"scores", "coverage", "mean", "seeds", "fallbacks"} <= names
    for name in names:
        file = tmp_path / f"{name}.json"
        words = ("backtests", "show", backtested, "--table", name, "--out", file, "--home", home)
        result = forecast(*words, "--quiet", "--json")
        assert (result.code, json.loads(result.out)["out"]) == (0, str(file)), result.err
        kept = pd.read_csv(backtested / "tables" / f"{name}.csv")
        assert len(rows_of(file)) == len(kept)
        assert json.loads(file.read_text())["table"] == name
    validated(json.loads(result.out))  # as all do, but for the file


def test_out_and_json_go_together(forecast, home, tmp_path):
    file = tmp_path / "new" / "folder" / "next.xlsx"
    result = forecast(
        "predict", "AAA", "BRK.B", "--run", "plain", "--home", home, "--json", "--out", file
    )
    assert result.json["out"] == str(file)
    assert "2 rows in" in result.err
    assert pd.read_excel(file)["ticker"].tolist() == ["AAA", "BRK.B"]
    assert forecast("predict", "AAA", "--home", home, "--json").json["out"] is None


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["predict", "--out", "x.txt"], 2, ".csv, .json, .parquet or .xlsx, got 'x.txt'"),
        (["predict", "--out", "x"], 2, ".csv, .json, .parquet or .xlsx"),
        ([*BACKTEST, "--out", "x.xls"], 2, ".csv, .json, .parquet or .xlsx"),
        (
            ["explain", "AAA", "--out", "x.xls"],
            2,
            ".png, .svg, .pdf, .csv, .json, .parquet or .xlsx",
        ),
        (["data", "export", "x.txt"], 2, ".csv, .json, .parquet or .xlsx"),
        (["predict", "--out", "{tmp}/folder.csv"], 1, "is a folder"),
        ([*BACKTEST, "--out", "{tmp}/folder.csv"], 1, "is a folder"),
        (["predict", "--out", "{tmp}/file/x.csv"], 1, "is no folder"),
        (["predict", "--layout", "nixtla"], 2, "name one with --out"),
        (["predict", "--layout", "wide", "--out", "x.csv"], 2, "--layout must be long or nixtla"),
        ([*BACKTEST, "--layout", "nixtla"], 2, "--layout nixtla is of a file"),
        ([*BACKTEST, "--table", "scores", "--layout", "nixtla", "--out", "x.csv"], 2, "drop one"),
        ([*BACKTEST, "--table", "score", "--out", "x.csv"], 2, "did you mean scores"),
        ([*BACKTEST, "--table", "scores", "--out", "{tmp}/bt"], 2, "name one with --out"),
        (["explain", "AAA", "--table", "lags", "--out", "x.png"], 2, "name one with --out"),
        (["explain", "AAA", "--table", "gates", "--out", "x.csv"], 2, "features, lags, forecasts"),
        (["predict", "../x", "--out", "x.csv"], 1, "../x"),
        (["score", "file.csv", "--out", "./file.csv"], 2, "whose forecasts are scored"),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    forecast, home, tmp_path, words, code, said, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text("x")
    result = forecast(*(str(it).format(tmp=tmp_path) for it in words), "--home", home)
    assert (result.code, result.out) == (code, "")
    (line,) = [it for it in result.err.splitlines() if it.startswith("error: ")]
    assert said in line
    assert not list(tmp_path.glob("x*"))


# ---- documents


def test_every_schema_is_published_and_named_in_the_reference():
    reference = REFERENCE.read_text(encoding="utf-8")
    assert {path.stem for path in SCHEMAS.glob("*.json")} == set(schemas.VERSIONS)
    for name in schemas.VERSIONS:
        schema = validator(name).schema
        assert schema["title"] == schemas.tag(name)
        assert schema["properties"]["schema"] == {"const": schemas.tag(name)}
        assert f"(schemas/{name}.json)" in reference


def test_a_document_that_lacks_a_field_or_changes_its_type_is_none(forecast, home, backtested):
    refused = 0
    at = ("--home", home, "--json", "--quiet")
    for words in (
        ("predict", "--run", "plain"),
        ("runs",),
        ("data", "list"),
        ("data", "check"),
        ("explain", "AAA", "--run", "small"),
        ("backtests", "show", backtested),
    ):
        document = forecast(*words, *at).json
        _, name, _ = document["schema"].split("/")
        for path in list(first_fields(document)):
            if not is_named(validator(name).schema, path):
                continue
            *inner, last = path
            place = document
            for step in inner:
                place = place[step]
            was = place.pop(last)
            assert not validator(name).is_valid(document), path
            place[last] = ["what", {"nobody": "expects"}]
            assert not validator(name).is_valid(document), path
            place[last] = was
            refused += 2
    assert refused > 300


def first_fields(value, path=()):
    """Yield the path of each field but the schema, in lists those of the first item."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name != "schema":
                yield (*path, name)
                yield from first_fields(inner, (*path, name))
    elif isinstance(value, list) and value:
        yield from first_fields(value[0], (*path, 0))


def is_named(schema, path):
    """Whether a schema says of a field that it must be there."""
    for step in path:
        options = [schema, *schema.get("anyOf", ())]
        if step == 0:
            schema = next(it["items"] for it in options if "items" in it)
            continue
        named = [it for it in options if step in it.get("properties", {})]
        if not named or step not in named[0]["required"]:
            return False
        schema = named[0]["properties"][step]
    return True


def test_every_column_of_forecasts_is_in_the_reference():
    text = REFERENCE.read_text(encoding="utf-8").partition("## The columns of forecasts")[2]
    text = text.partition("\n## ")[0]
    for name in exports.COLUMNS:
        if not re.fullmatch(r"(price_)?q0\.\d+", name):
            assert f"`{name}`" in text, name


# ---- names of options


def every_option(group=None, words=()):
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from every_option(command, (*words, name))
        else:
            names = {it for parameter in command.params for it in parameter.opts}
            yield " ".join((*words, name)), names


def test_old_names_of_options_work_with_a_note_and_are_not_in_the_help(forecast, home, tmp_path):
    file = tmp_path / "old.csv"
    words = ("predict", "AAA", "--run", "plain", "--home", home, f"--csv={file}")
    result = forecast(*words)
    assert result.code == 0
    assert "--csv is now --out" in result.err.splitlines()
    assert pd.read_csv(file)["ticker"].tolist() == ["AAA"]
    assert "is now" not in forecast(*words, "--quiet").err
    old = forecast(
        "explain", "AAA", "--run", "small", "--home", home, "--json", "--date", "2018-07-31"
    )
    assert old.json["cutoff"] == "2018-07-31"
    assert "--date is now --as-of" in old.err
    found = dict(every_option())
    assert not {"--csv", "--date", "--save"} & set.union(*found.values())
    for command in ("predict", "explain", "tune"):
        assert not re.search(r"--(csv|date|save)\b", forecast(command, "--help").out)


def test_every_command_but_plot_prints_json():
    assert {words for words, names in every_option() if "--json" not in names} <= {"plot"}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["AAA,BRK.B"], ["AAA", "BRK.B"]),
        (["aaa, brk.b", "^gspc,"], ["AAA", "BRK.B", "^GSPC"]),
        (["MIXED"], ["Mixed"]),
        (["mixed", "Mixed"], ["Mixed"]),
        (["=cmd()"], ["=CMD()"]),
    ],
)
def test_tickers_are_separated_by_commas_and_typed_in_any_capitals(forecast, home, typed, meant):
    rows = forecast("predict", *typed, "--run", "plain", "--home", home, "--json").json
    assert [row["ticker"] for row in rows["forecasts"]] == meant
    rows = forecast("data", "check", *typed, "--home", home, "--json").json
    assert [row["ticker"] for row in rows["tickers"]] == meant


def test_tickers_that_differ_by_capitals_alone_stay_two(forecast, tmp_path):
    days = [f"2018-01-0{day}" for day in (2, 3, 4, 5)]
    pairs = [(day, ticker) for ticker in ("Abc", "ABC", "A,B") for day in days]
    table = pd.DataFrame(pairs, columns=["date", "ticker"]).assign(close=5.0)
    table["close"] += np.arange(len(table)) / 10
    table.to_csv(tmp_path / "file.csv", index=False)
    at = ("--home", tmp_path / "home", "--json", "--quiet")
    fetch = ("fetch", "--source", tmp_path / "file.csv")
    assert [it["ticker"] for it in forecast(*fetch, "Abc", *at).json["tickers"]] == ["Abc"]
    refused = forecast(*fetch, "abc", *at)
    assert (refused.code, refused.out) == (2, "")
    assert "abc could be Abc or ABC" in refused.err
    assert forecast(*fetch, *at).code == 0
    assert forecast("data", "check", "ABC", *at).json["tickers"][0]["ticker"] == "ABC"
    assert forecast("data", "check", "abc", *at).code == 2
    assert forecast("data", "check", "A,B", *at).json["tickers"][0]["ticker"] == "A,B"


def test_tickers_of_a_file_may_be_typed_in_any_capitals(forecast, tmp_path):
    days = pd.bdate_range("2018-01-02", periods=8)
    wide = pd.DataFrame({"date": days, "AAPL": range(10, 18), "msft": range(20, 28)})
    wide.to_csv(tmp_path / "wide.csv", index=False)
    one = pd.DataFrame({"date": days, "close": range(10, 18)})
    one.to_csv(tmp_path / "NVDA.csv", index=False)
    at = ("--home", tmp_path / "home", "--json", "--quiet")
    found = forecast("fetch", "--source", tmp_path / "wide.csv", "aapl,MSFT", *at)
    assert [it["ticker"] for it in found.json["tickers"]] == ["AAPL", "msft"]
    found = forecast("fetch", "--source", tmp_path / "NVDA.csv", "nvda", *at)
    assert [it["ticker"] for it in found.json["tickers"]] == ["NVDA"]
    found = forecast("fetch", "--source", "sample", "^gspc", *at)
    assert [it["ticker"] for it in found.json["tickers"]] == ["^GSPC"]
    removed = forecast("data", "remove", "aapl,MSFT", *at)
    assert removed.json["removed"] == ["AAPL", "msft"]
    exported = forecast("data", "export", tmp_path / "out.xlsx", "nvda", *at)
    assert (exported.json["table"], exported.json["rows"]) == ("prices", 8)
    assert forecast("data", "export", tmp_path / "out.json", "NVDA", *at).code == 0
    assert len(rows_of(tmp_path / "out.json")) == 8
    assert forecast("data", "export", tmp_path / "n.json", "--layout", "nixtla", *at).code == 0
    assert rows_of(tmp_path / "n.json")[0]["unique_id"] == "NVDA"


def test_a_list_is_no_ticker_to_explain(forecast, home):
    result = forecast("explain", "AAA,BRK.B", "--run", "small", "--home", home)
    assert (result.code, result.out) == (2, "")
    assert "expected one ticker, got 2: AAA, BRK.B" in result.err


def test_a_seed_is_that_of_the_networks(forecast, home):
    words = ("train", "AAA", "--config", home / "small.toml", "--until", UNTIL, "--home", home)
    for seed, run in ((1, "one"), (1, "again"), (2, "two")):
        assert forecast(*words, "--seed", seed, "--run", run, "--quiet").code == 0
    volatility = [
        forecast("predict", "AAA", "--run", run, "--home", home, "--json").json["forecasts"][0][
            "volatility"
        ]
        for run in ("one", "again", "two")
    ]
    assert volatility[0] == volatility[1] != volatility[2]


def test_a_backtest_of_several_steps_is_told_step_by_step(forecast, home, tmp_path):
    words = (*BACKTEST[:4], "drift,naive", "--start", "2018-06-01", "--quiet", "--home", home)
    folder = tmp_path / "v1.steps"  # a point in a name makes no file of it
    done = forecast(*words, "--steps", "5,1", "--out", folder)
    assert done.code == 0
    assert [line for line in done.out.splitlines() if line.endswith("ahead")] == [
        "1 session ahead",
        "5 sessions ahead",
    ]
    assert "\n5 sessions ahead: drift " in done.out
    again = forecast("backtests", "show", folder, "--json", "--home", home)
    document = validated(again.json)
    assert list(document["steps"]) == ["5"]
    assert [it["step"] for it in document["ahead"]] == [5]
    table = tmp_path / "scores.csv"
    words = ("backtests", "show", folder, "--table", "scores", "--home", home)
    assert forecast(*words, "--out", table, "--quiet").code == 0
    assert set(pd.read_csv(table)["step"]) == {1, 5}
    wrong = forecast("backtest", "--steps", "1,week", "--home", home)
    assert (wrong.code, wrong.out) == (2, "")
    assert "expected --steps such as 1,5,21, got '1,week'" in wrong.err
