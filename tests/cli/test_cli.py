"""The command line, end to end on the sample that comes with the program."""

import contextlib
import json
import math
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import termios

import numpy as np
import pandas as pd
import pytest

from forecaster import __version__
from forecaster.cli.app import main
from forecaster.data.store import Store
from forecaster.models.registry import REGISTRY

HEAVY = [
    "tensorflow",
    "keras",
    "sklearn",
    "arch",
    "pandas",
    "numpy",
    "matplotlib",
    "yfinance",
    "bokeh",
    "optuna",
    "sqlalchemy",
]
MODELS = ["lstm", "gjr", "garch", "ewma", "naive"]


def subprocess_forecast(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "forecaster", *map(str, words)],
        capture_output=True, text=True, check=False, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with five years of the sample and a small LSTM trained on the first four."""
    home = tmp_path_factory.mktemp("home")
    settings = home / "small.toml"
    settings.write_text("units = 4\nwindow = 80\nwarmup = 40\nsteps = 2\nepochs = 2\nseeds = 1\n")
    for words in (
        ["fetch", "--source", "sample", "--start", "2002-01-02", "--end", "2006-12-29"],
        ["train", "--until", "2005-12-30", "--config", settings, "--run", "small"],
    ):
        with pytest.raises(SystemExit) as stop:
            main([*map(str, words), "--home", str(home), "--quiet"])
        assert stop.value.code == 0
    return home


def forecast_rows(home, *tickers):
    words = ["predict", *tickers, "--run", "small", "--home", home, "--json"]
    return json.loads(subprocess_forecast(*words).stdout)["forecasts"]


def contents(folder):
    """Return the files below a folder with their bytes, without the locks of those who looked."""
    files = (it for it in sorted(folder.rglob("*")) if it.is_file() and it.suffix != ".lock")
    return {it: it.read_bytes() for it in files}


def assert_refused(result, code, *words):
    """One line on stderr with these words, nothing on stdout, the exit code."""
    assert result.code == code, result.err
    assert result.out == ""
    lines = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.err
    assert "Traceback" not in result.err
    for word in words:
        assert str(word) in lines[0]


# ---- the whole way


def test_fetch_prints_what_it_stored(forecast, tmp_path):
    result = forecast("fetch", "--source", "sample", "--home", tmp_path, "--json")
    assert result.code == 0
    assert [
        (row["ticker"], row["rows"], row["first"], row["last"]) for row in result.json["tickers"]
    ] == [
        ("^GSPC", 5031, "1999-01-04", "2018-12-31"),
        ("^IXIC", 5031, "1999-01-04", "2018-12-31"),
    ]
    again = forecast("fetch", "--source", "sample", "--home", tmp_path, "--json").json["tickers"]
    assert [row["new_rows"] for row in again] == [0, 0]


def test_data_list(forecast, home):
    rows = forecast("data", "list", "--home", home, "--json").json["tickers"]
    assert [row["ticker"] for row in rows] == ["^GSPC", "^IXIC"]
    assert rows[0]["source"] == "sample"
    assert rows[0]["last"] == "2006-12-29"
    assert 0 <= rows[0]["age_days"] < 1
    table = forecast("data", "list", "--home", home).out
    assert "^GSPC" in table
    assert "2002-01-02" in table


def test_predict_gives_the_next_session_as_a_distribution(forecast, home):
    result = forecast("predict", "--home", home, "--json")
    assert result.code == 0
    document = result.json
    assert document["run"] == "small"
    assert document["as_of"] == "2006-12-29"
    gspc = document["forecasts"][0]
    assert gspc["ticker"] == "^GSPC"
    assert gspc["cutoff"] == "2006-12-29"
    # The exchange was closed on Monday for New Year and on Tuesday for President Ford's funeral.
    assert gspc["date"] == "2007-01-03"
    assert gspc["last_close"] == pytest.approx(1418.30, abs=0.01)
    (low80, high80), (low95, high95) = gspc["intervals"]["80"], gspc["intervals"]["95"]
    assert low95 < low80 < gspc["median"] < high80 < high95
    assert 0.002 < gspc["volatility"] < 0.05
    assert 0 < gspc["p_up"] < 1
    assert 0 < gspc["var_95"] < gspc["es_95"] < 0.2


def test_predict_warns_that_prices_are_old(forecast, home):
    result = forecast("predict", "^GSPC", "--home", home)
    assert "the last stored session is 2006-12-29" in result.err
    assert "behind" in result.err
    assert "2006-12-29" in result.out
    assert "2007-01-03" in result.out
    quiet = forecast("predict", "^GSPC", "--home", home, "--quiet")
    assert quiet.err == ""
    assert quiet.out == result.out


def test_a_date_that_no_calendar_knows_is_a_guess_and_marked_as_one(forecast, home, tmp_path):
    own = shutil.copytree(home, tmp_path / "home")
    days = pd.bdate_range(end="2006-12-28", periods=900, freq="C", weekmask="Sun Mon Tue Wed Thu")
    close = 50 + 5 * np.sin(np.arange(900)) + np.random.default_rng(1).normal(size=900).cumsum() / 9
    file = tmp_path / "COMI.CA.csv"
    pd.DataFrame({"date": days, "close": close}).to_csv(file, index=False)
    assert forecast("fetch", "--source", file, "--home", own, "--quiet").code == 0
    result = forecast("predict", "COMI.CA", "^GSPC", "--home", own, "--json")
    cairo, new_york = result.json["forecasts"]
    assert (cairo["date"], cairo["date_is_guess"]) == ("2006-12-31", True)  # a Sunday
    assert (new_york["date"], new_york["date_is_guess"]) == ("2007-01-03", False)
    assert (
        "warning: COMI.CA on 2006-12-31: the date is a guess, as no trading calendar" in result.err
    )
    table = forecast("predict", "COMI.CA", "^GSPC", "--home", own, "--quiet").out
    assert "2006-12-31?" in table
    assert "2007-01-03?" not in table
    past = forecast("predict", "COMI.CA", "--as-of", "2006-12-21", "--home", own, "--json").json
    assert past["forecasts"][0]["date_is_guess"] is False  # the next row is stored
    (checked,) = forecast("data", "check", "COMI.CA", "--home", own, "--json").json["tickers"]
    assert (checked["missing"], checked["extra"]) == (0, 0)
    assert (checked["next"], checked["next_is_guess"]) == ("2006-12-31", True)
    assert checked["calendar_is_guess"]
    words = forecast("data", "check", "COMI.CA", "^GSPC", "--home", own).out
    assert "COMI.CA has no known trading calendar" in words
    assert "^GSPC has no" not in words


def test_predict_writes_the_forecasts_frame(forecast, home, tmp_path):
    csv = tmp_path / "next.csv"
    assert forecast("predict", "--home", home, "--out", csv, "--quiet").code == 0
    frame = pd.read_csv(csv)
    assert list(frame["ticker"]) == ["^GSPC", "^IXIC"]
    assert frame["log_return"].isna().all()


@pytest.fixture(scope="module")
def backtested(home):
    """A backtest that is to be shown where there is neither a display nor a viewer."""
    out = home / "bt"
    done = subprocess_forecast(
        *("backtest", "--models", ",".join(MODELS), "--home", home, "--out", out, "--open"),
        env={k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
        | {"PATH": os.path.dirname(sys.executable)},
    )
    assert done.returncode == 0, done.stderr
    return done, out


def test_backtest_leaves_what_is_promised(backtested):
    done, out = backtested
    for name in ("forecasts.parquet", "scores.csv", "scores.json", "config.json", "report.html"):
        assert (out / name).stat().st_size > 0
    assert len(list((out / "plots").glob("*.png"))) == 6
    assert str(out) in done.stdout
    assert "2006-01-03 to 2006-12-29" in done.stdout  # the forecasts' dates
    assert "2002-01-02 to 2006-12-29" in done.stdout  # the prices' dates
    assert "✓ " in done.stdout or "– " in done.stdout
    assert "Diebold–Mariano" not in done.stdout  # which --verbose tells
    for model in MODELS:
        assert model in done.stdout
    scores = json.loads((out / "scores.json").read_text())
    assert scores["headline"] in done.stdout
    assert scores["advice"] in done.stdout
    for row in scores["rows"]:
        assert row["figure"] in done.stdout
    config = json.loads((out / "config.json").read_text())
    assert config["run"]["name"] == "small"
    assert config["tickers"] == ["^GSPC", "^IXIC"]


def test_backtest_rows_are_what_predict_says(forecast, home, backtested):
    frame = pd.read_parquet(backtested[1] / "forecasts.parquet")
    rows = frame[(frame["model"] == "lstm") & (frame["cutoff"] == "2006-05-26")]
    said = forecast("predict", "--as-of", "2006-05-28", "--home", home, "--json").json["forecasts"]
    # The Friday before Memorial Day: the next session is Tuesday.
    assert [row["date"] for row in said] == ["2006-05-30", "2006-05-30"]
    assert [row["volatility"] for row in said] == list(rows["volatility"])
    assert [row["mean_return"] for row in said] == list(rows["mean"])


def test_stdout_is_for_results(backtested):
    done, _ = backtested
    assert "5/5" in done.stderr  # progress
    assert "━" not in done.stdout
    for noise in ("cuda", "oneDNN", "TensorRT", "WARNING"):
        assert noise not in done.stderr + done.stdout


def test_open_without_a_display_or_viewer_says_where(backtested):
    done, out = backtested
    assert str(out / "report.html") in done.stderr


@pytest.mark.parametrize("model", sorted(set(REGISTRY) - {"lstm"}))
def test_every_model_trains_and_predicts(forecast, home, model):
    settings = ["--config", home / "small.toml", "--until", "2005-12-30"]
    trained = forecast("train", "--model", model, *settings, "--home", home, "--json")
    assert trained.json["name"] == f"{model}-2005-12-30"
    said = forecast("predict", "--run", f"{model}-2005-12-30", "--home", home, "--json", "--quiet")
    assert len(said.json["forecasts"]) == 2
    listed = forecast("runs", "--home", home).out
    assert model in listed
    assert "loss by epoch" in listed


def test_lists_of_tickers(forecast, home, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text("^ixic, ^GSPC # two indices\n\n^GSPC\n")
    said = forecast("predict", f"@{listed}", "--run", "small", "--home", home, "--json").json
    assert [row["ticker"] for row in said["forecasts"]] == ["^IXIC", "^GSPC"]


def test_a_bad_ticker_does_not_stop_a_good_one(forecast, tmp_path):
    file = tmp_path / "two.csv"
    file.write_text("ticker,date,close\nGOOD,2020-01-02,1\nBAD,2020-01-02,-1\n")
    result = forecast("fetch", "--source", file, "--home", tmp_path / "home")
    assert result.code == 1
    assert "GOOD" in result.out
    assert "error: " in result.err
    assert "BAD" in result.err
    stored = forecast("data", "list", "--home", tmp_path / "home", "--json").json["tickers"]
    assert [row["ticker"] for row in stored] == ["GOOD"]


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ("forecast ^ixic --start 2006-06-01 --out f.svg", b"<?xml"),
        ("volatility --out v.pdf", b"%PDF"),
        ("calibration ^GSPC --end 2006-06-30 --out c.png", b"\x89PNG"),
        ("skill --out s.PNG", b"\x89PNG"),
        ("training --run small --out t.png", b"\x89PNG"),
        ("predict ^GSPC --run small --end 2006-12-01 --out p.png", b"\x89PNG"),
        ("gates ^GSPC --run small --end 2006-12-01 --out g.png", b"\x89PNG"),
    ],
)
def test_every_figure_is_drawn_to_a_file(forecast, home, backtested, tmp_path, words, start):
    *words, name = words.split()
    if words[0] not in ("gates", "training", "predict"):
        words[-1:] = ["--backtest", backtested[1], "--out"]
    result = forecast("plot", *words, tmp_path / name, "--home", home, "--quiet")
    assert result.code == 0, result.err
    assert result.out == f"{tmp_path / name}\n"
    content = (tmp_path / name).read_bytes()
    assert content.startswith(start)
    if words[0] == "forecast":  # the same again is the same file
        forecast("plot", *words, tmp_path / "again.svg", "--home", home)
        assert (tmp_path / "again.svg").read_bytes() == content


def test_a_plot_has_the_dates_asked_for(forecast, home, backtested, tmp_path):
    words = ["--start", "2006-06-05", "--end", "2006-08-31", "--backtest", backtested[1]]
    file = tmp_path / "f.svg"
    assert forecast("plot", "forecast", *words, "--home", home, "--out", file).code == 0
    assert "2006-06-05 to 2006-08-31" in file.read_text()  # matplotlib names its glyphs' text


# ---- bad input


def test_usage_errors(forecast, home):
    for words, said in (
        (["train", "--until", "yesterday"], "yesterday"),
        (["train", "--model", "prophet"], "prophet"),
        (["train", "--model", "lsmt"], "did you mean lstm?"),
        (["train", "--run", "../up"], "../up"),
        (["train", "--epochs", "0"], "epochs"),
        (["train", "--config", home / "missing.toml"], "missing.toml"),
        (["backtest", "--models", "lstm,oracle"], "oracle"),
        (["backtest", "--models", "naive,naive"], "naive,naive"),
        (["backtest", "--refit", "monthly"], "monthly"),
        (["backtest", "--refit", "yearly", "--run", "small"], "small"),
        (["backtest", "--start", "2006-02-01", "--end", "2006-01-01"], "2006-02-01"),
        (["predict", "@missing.txt"], "missing.txt"),
        (["plot", "forcast"], "did you mean forecast?"),
        (["plot", "skill", "--run", "small"], "--backtest"),
        (["plot", "gates", "--backtest", "x"], "--run"),
        (["plot", "gates", "--start", "2006-01-01"], "--start"),
        (["plot", "training", "^GSPC"], "^GSPC"),
        (["plot", "skill", "--out", "skill.gif"], ".png, .svg or .pdf"),
        (["fetch", "--source", "yahoo"], "tickers"),
        (["teach"], "teach"),
        (["predcit"], "Did you mean 'predict'? See `forecast --help`"),
        (["train", "--modle", "lstm"], "--model). See `forecast train --help`"),
        (["predict", "--colour"], "--colour"),
    ):
        extra = [] if words[0] in ("teach", "predcit") else ["--home", home]
        assert_refused(forecast(*words, *extra), 2, said)


def test_what_is_not_there(forecast, home, tmp_path):
    before = contents(home)
    for words, said in (
        (["predict", "AAPL", "--run", "small"], "AAPL"),
        (["predict", "--run", "missing"], "missing"),
        (["predict", "--run", "smal"], "did you mean small?"),
        (["train", "^GSPX"], "did you mean ^GSPC?"),
        (["fetch", "^IXIX", "--source", "sample"], "did you mean ^IXIC?"),
        (["fetch", "--source", tmp_path / "missing.csv"], "missing.csv"),
        (["fetch", "FTSE", "--source", "sample"], "FTSE"),
        (["train", "--until", "1990-01-01"], "2002-01-02"),
        (["train", "--until", "2030-01-01"], "2006-12-29"),
        (["train", "--until", "2002-06-28"], "sessions"),
        (["train", "--until", "2002-02-01", "--model", "gjr"], "sessions"),
        (["predict", "^GSPC", "--as-of", "2003-01-02", "--run", "small"], "2005-12-30"),
        (["backtest", "--start", "2004-01-01", "--run", "small"], "2005-12-30"),
        (["backtest", "--start", "2010-01-01", "--run", "small"], "2006-12-29"),
        (["plot", "skill", "--backtest", tmp_path], "config.json"),
        (["plot", "skill", "--backtest", tmp_path / "none"], "none"),
        (["plot", "gates", "--run", "missing"], "missing"),
    ):
        assert_refused(forecast(*words, "--home", home), 1, said)
    assert contents(home) == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("date,volume\n2020-01-02,3\n", "close"),
        ("date,close\nyesterday,3\n", "yesterday"),
        ("date,close\n2999-01-02,3\n", "2999-01-02"),
        ("date,close\n2020-01-02,0\n", "2020-01-02"),
        ("date,close\n2020-01-02,-3\n", "2020-01-02"),
        ("date,close\n2020-01-02,inf\n", "2020-01-02"),
        ("\x00\x01\x02", "junk.csv"),
    ],
)
def test_bad_files(forecast, tmp_path, text, said):
    file = tmp_path / "junk.csv"
    file.write_text(text)
    assert_refused(forecast("fetch", "--source", file, "--home", tmp_path / "home"), 1, said)
    assert contents(tmp_path) == {file: text.encode()}


def test_a_damaged_run(forecast, home):
    run = home / "runs" / "broken"
    run.mkdir()
    (run / "run.json").write_text('{"format": 1, "model": "lstm"')
    try:
        assert_refused(forecast("predict", "--run", "broken", "--home", home), 1, "broken")
        # The latest run in order is taken; a broken one is not in the way.
        assert forecast("predict", "^GSPC", "--home", home, "--quiet").code == 0
        listed = forecast("runs", "--home", home)
        assert listed.code == 1
        assert "small" in listed.out
    finally:
        (run / "run.json").unlink()
        run.rmdir()


def test_a_damaged_file_does_not_hide_the_others(forecast, tmp_path):
    forecast("fetch", "--source", "sample", "--home", tmp_path)
    (tmp_path / "prices" / "AAPL.parquet").write_bytes(b"PAR1 and then nothing")
    for command in ("list", "check"):
        result = forecast("data", command, "--home", tmp_path, "--json")
        assert result.code == 1
        assert [row["ticker"] for row in result.json["tickers"]] == ["^GSPC", "^IXIC"]
        assert result.err.count("error: ") == 1
        assert "AAPL.parquet" in result.err
        assert "^GSPC" in forecast("data", command, "--home", tmp_path).out


def test_data_check_tells_what_the_file_had(forecast, tmp_path):
    days = pd.bdate_range("2018-01-02", "2018-06-29")  # Good Friday and three holidays among them
    frame = pd.DataFrame({"date": days, "close": 50 + 0.1 * (pd.Series(range(len(days))) % 7)})
    frame.loc[60:, "close"] *= 1.9
    file = tmp_path / "AAA.csv"
    frame.drop(index=[30, 31]).to_csv(file, index=False)
    home = tmp_path / "home"
    assert forecast("fetch", "--source", file, "--home", home).code == 0
    (row,) = forecast("data", "check", "--home", home, "--json").json["tickers"]
    assert (row["first"], row["last"]) == ("2018-01-02", "2018-06-29")
    # Washington's birthday, which no bar may have, is one of the two left out.
    assert (row["missing"], row["leaps"], row["stale"]) == (2, 1, True)
    assert row["extra"] == 4
    assert row["leap_dates"] == [f"{days[60]:%Y-%m-%d}"]
    assert f"AAA leaps without a split on {days[60]:%Y-%m-%d}" in (
        forecast("data", "check", "--home", home).out
    )


def test_data_export(forecast, home, tmp_path):
    file = tmp_path / "out.csv"
    words = ["^GSPC", "--start", "2006-12-28", "--end", "2006-12-28", "--home", home]
    assert forecast("data", "export", file, *words).code == 0
    (row,) = pd.read_csv(file).to_dict("records")
    assert list(row) == ["ticker", "date", "open", "high", "low", "close", "adj_close", "volume"]
    assert (row["ticker"], row["date"], round(row["close"], 2)) == ("^GSPC", "2006-12-28", 1424.73)
    words[2] = "2006-12-23"
    assert (
        forecast("data", "export", tmp_path / "out.parquet", "--layout", "nixtla", *words).code == 0
    )
    frame = pd.read_parquet(tmp_path / "out.parquet")
    assert list(frame) == ["unique_id", "ds", "y"]
    assert len(frame) == 3  # not on Christmas
    nothing = ["--start", "2030-01-01", "--home", home]
    assert_refused(forecast("data", "export", file, *nothing), 1, "nothing is stored between")


def test_a_home_that_is_a_file(forecast, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    assert_refused(forecast("fetch", "--source", "sample", "^GSPC", "--home", file), 1, file)
    assert file.read_text() == "mine"


def test_a_folder_of_something_else_is_not_replaced(forecast, home, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    result = forecast("backtest", "--models", "naive", "--home", home, "--out", tmp_path)
    assert_refused(result, 1, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.slow
def test_a_full_disk_keeps_what_was_there(home):
    """No file may grow beyond a few kilobytes, which is what a full disk looks like."""
    before = contents(home)
    code = (
        "import resource, signal, sys; from forecaster.cli.app import main;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); main(sys.argv[1:])"
    )
    for words in (
        ["fetch", "--source", "sample"],
        ["train", "--epochs", "1", "--run", "small"],
        ["backtest", "--models", "naive", "--start", "2006-06-01", "--out", home / "bt"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, words), "--home", str(home), "--quiet"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert done.stderr.count("error: ") >= 1
    assert contents(home) == before


TRAINING = """
import sys, time
from forecaster import __version__
from forecaster.cli.app import main
from forecaster.models.recurrent.training import Training

def run_epoch(training, windowed, run=Training.run_epoch):
    if training.epoch == 3:
        time.sleep(3600)  # so that it is not done before it is interrupted, however busy the machine
    return run(training, windowed)

Training.run_epoch = run_epoch
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_an_interrupted_training_changes_no_run_and_can_be_resumed(forecast, home, tmp_path):
    before = contents(home)
    small = ["--config", home / "small.toml", "--until", "2005-12-30", "--epochs", "5"]
    words = [*small, "--seeds", "3", "--run", "half", "--home", home]
    with subprocess.Popen(
        [sys.executable, "-c", TRAINING, "train", *map(str, words)],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"TTY_COMPATIBLE": "1"},
    ) as training:  # fmt: skip
        seen = ""
        while "epoch" not in seen:
            seen += (news := training.stderr.read(1))
            assert news, seen  # it has ended, and another read would give nothing again
        training.send_signal(signal.SIGINT)
        out, err = training.communicate(timeout=600)
    assert training.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert out == ""
    kept = home / "runs" / ".half.training"
    assert {p: b for p, b in contents(home).items() if p != kept} == before

    other = forecast("train", *words, "--epochs", "4", "--resume")
    assert other.code == 1
    assert "settings" in other.err
    shutil.copytree(home, tmp_path / "copy")
    words[-1] = tmp_path / "copy"
    assert forecast("train", *words, "--resume").code == 0
    assert not (tmp_path / "copy/runs/.half.training").exists()
    assert forecast("train", *words[:-3], "whole", *words[-2:]).code == 0
    weights = [tmp_path / f"copy/runs/{name}/weights.safetensors" for name in ("half", "whole")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    kept.unlink()


def test_nothing_to_resume(forecast, home):
    words = ["train", "--until", "2005-12-30", "--run", "never", "--resume", "--home", home]
    assert_refused(forecast(*words), 1, "never", "--resume")


# ---- start-up and help


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from forecaster.cli.app import main\n"
        "try: main(['--help'])\n"
        f"except SystemExit: print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "predict" in done.stdout


@pytest.mark.slow
def test_explain_tells_what_made_the_forecast_of_predict(forecast, home, tmp_path):
    figure = tmp_path / "explain.png"
    words = ("^GSPC", "--run", "small", "--as-of", "2006-11-30", "--home", home, "--quiet")
    document = forecast("explain", *words, "--out", figure, "--json").json
    assert figure.read_bytes().startswith(b"\x89PNG")
    predicted = forecast(
        "predict", "^GSPC", "--run", "small", "--as-of", "2006-11-30", "--home", home, "--json"
    ).json["forecasts"][0]
    for name in ("ticker", "cutoff", "date", "volatility"):
        assert document[name] == predicted[name]
    ratio = document["volatility"] / document["ewma_volatility"]
    calm = document["calm"]["volatility"] / document["calm"]["ewma_volatility"]
    effects = sum(row["effect"] for row in document["features"])
    assert effects == pytest.approx(math.log(ratio / calm), abs=1e-4)
    assert len(document["units"]["half_life"]) == 4
    assert len(document["lags"]["shock"]["network"]) == 120
    assert {(row["caller"], row["called"]) for row in document["ablation"]} == {
        (caller, called)
        for caller in ("features by permutation", "features by attribution", "lags by attribution")
        for called in ("most", "least")
    }


@pytest.mark.slow
def test_explain_of_a_week_is_of_the_fifth_step_of_predict(forecast, home):
    # So soon after the training there are too few outcomes to measure the worth of features with.
    words = ("^GSPC", "--run", "small", "--as-of", "2006-02-28", "--home", home, "--quiet")
    document = forecast("explain", *words, "--step", 5, "--json").json
    predicted = forecast("predict", *words, "--steps", "5", "--json").json["forecasts"][0]
    for name in ("ticker", "cutoff", "date", "step", "volatility"):
        assert document[name] == predicted[name]
    said = forecast("explain", *words, "--step", 5).out
    assert f"for the 5 sessions to {predicted['date']}, the EWMA volatility of" in said


@pytest.mark.slow
def test_explain_prints_tables_and_how_to_train_what_is_missing(forecast, home, tmp_path):
    for folder in ("prices", "runs/small"):
        shutil.copytree(home / folder, tmp_path / folder)
    figure = tmp_path / "explain.svg"
    result = forecast("explain", "^gspc", "--home", tmp_path, "--out", figure)
    assert result.code == 0, result.err
    for word in ("moved volatility", "gjr expected", "gradient: lstm", "half-lives", "^GSPC"):
        assert word in result.out
    said = "forecast train ^GSPC ^IXIC --model rnn --until 2005-12-30"
    assert said in result.out
    assert "<svg" in figure.read_text()
    assert "<dc:date>" not in figure.read_text()


def test_explain_refuses_what_it_cannot_do(forecast, home, tmp_path):
    def explain(*words):
        return forecast("explain", *words, "--home", home)

    assert_refused(explain("prices.csv"), 1, "no ticker of that name is stored")
    assert_refused(explain("^GSPC", "--run", "smal"), 1, "there is no run 'smal'")
    assert_refused(explain("^GSPC", "--as-of", "2004-05-28", "--run", "small"), 1, "2005-12-30")
    assert_refused(explain("^GSPC", "--as-of", "2002-02-01", "--run", "small"), 1, "needs 60")
    assert_refused(
        explain("^GSPC", "--out", "figure.jpg"), 2, ".png, .svg, .pdf, .csv", "figure.jpg"
    )
    assert_refused(explain("@list"), 2, "one ticker")
    assert_refused(explain("^GSPC", "--step", "4"), 2, "1, 2, 3, 5, 10, 21, got 4")
    words = ("--model", "naive", "--until", "2005-12-30", "--run", "plain", "--home", home)
    assert forecast("train", *words, "--quiet").code == 0
    assert_refused(explain("^GSPC", "--run", "plain"), 2, "lstm, gru, rnn", "naive")
    # A later run of something else does not stand in the way of the latest that has a network.
    latest = explain("^GSPC", "--as-of", "2006-02-28", "--json", "--quiet")
    assert latest.json["run"] != "plain"
    shutil.rmtree(home / "runs" / "plain")


def test_explain_needs_no_tensorflow_and_says_how_to_see_a_figure_without_a_display(home):
    words = ["explain", "^GSPC", "--run", "small", "--open", "--quiet", "--home", str(home)]
    code = (
        "import sys; from forecaster.cli.app import main\n"
        f"try: main({words!r})\n"
        "except SystemExit: print([m for m in sys.modules if m.split('.')[0] in "
        "('tensorflow', 'keras', 'sklearn', 'yfinance')], file=sys.stderr)"
    )
    env = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    said, heavy = done.stderr.strip().splitlines()
    assert "--out FILE.png draws it" in said
    assert heavy == "[]"


def test_predict_needs_no_tensorflow(home):
    code = (
        "import sys; from forecaster.cli.app import main\n"
        f"try: main(['predict', '--run', 'small', '--quiet', '--home', {str(home)!r}])\n"
        "except SystemExit: print([m for m in sys.modules if m.split('.')[0] in "
        "('tensorflow', 'keras', 'sklearn', 'matplotlib', 'arch', 'yfinance')], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "^GSPC" in done.stdout


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("pre", ["predict"]),
        ("predict ", ["^GSPC", "^IXIC"]),
        ("predict ^I", ["^IXIC"]),
        ("predict ^GSPC ", ["^IXIC"]),
        ("data remove ^G", ["^GSPC"]),
        ("predict --run s", ["small"]),
        ("predict --run b", ["base"]),
        ("runs d", ["default"]),
        ("runs show s", ["small"]),
        ("runs remove s", ["small"]),
        ("runs remove small b", [""]),
        ("predict --ho", ["--horizon", "--home"]),
        ("backtest --models lstm,g", ["lstm,gru", "lstm,gjr", "lstm,gjr-events", "lstm,garch"]),
        ("predict --home /nowhere ", [""]),
    ],
)
def test_a_shell_completes_commands_tickers_runs_and_models(
    forecast, home, words, found, monkeypatch
):
    typed = f"forecast {words}"
    monkeypatch.setenv("FORECAST_HOME", str(home))
    monkeypatch.setenv("_FORECAST_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split(" ")) - 1))
    done = forecast()
    assert done.out.splitlines() == found
    assert done.err == ""


def test_a_shell_completes_without_loading_anything_heavy(home):
    code = (
        "import sys; from forecaster.cli.app import main\n"
        "try: main([])\n"
        f"except SystemExit: print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    env = {
        "FORECAST_HOME": str(home),
        "_FORECAST_COMPLETE": "complete_bash",
        "COMP_WORDS": "forecast predict ^GSPC --run ",
        "COMP_CWORD": "4",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "small" in done.stdout
    assert done.stderr.strip() == "[]"


def test_completion_is_installed_for_the_shell_in_use(tmp_path):
    words = [sys.executable, "-m", "forecaster", "--install-completion"]
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{shlex.join(words)}; exit $?"],
        env=os.environ | {"HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    script = tmp_path / ".bash_completions" / "forecast.sh"
    assert "_FORECAST_COMPLETE=complete_bash" in script.read_text()
    assert str(script) in (tmp_path / ".bashrc").read_text()


def test_a_terminal_without_unicode(home):
    done = subprocess_forecast(
        *("predict", "--home", home), env=os.environ | {"PYTHONIOENCODING": "latin-1"}
    )
    assert done.returncode == 0
    assert "^GSPC" in done.stdout
    assert " - " in done.stdout  # between the ends of an interval
    assert "?" not in done.stdout


def test_a_prediction_shows_the_closes_up_to_its_cutoff(forecast, home):
    words = ["predict", "^GSPC", "--run", "small", "--as-of", "2006-06-30", "--home", home]
    (row,) = (line for line in forecast(*words).out.splitlines() if "^GSPC" in line)
    closes = Store(home).read(["^GSPC"]).set_index("date")["close"].loc[:"2006-06-30"].tail(60)
    bars = row.split()[-1]
    assert len(bars) == 60
    assert bars.index("█") == closes.argmax()
    assert bars.index("▁") == closes.argmin()


def test_a_real_terminal_of_80_columns_shows_every_number_whole(home):
    """Not a pipe that is said to be one: rich, the sizes and the encoding as a user has them."""
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (24, 80))
    with subprocess.Popen(
        [sys.executable, "-m", "forecaster", "predict", "--run", "small", "--home", str(home)],
        stdout=child, stderr=subprocess.DEVNULL,
        env={k: v for k, v in os.environ.items() if k != "COLUMNS"} | {"TERM": "xterm"},
    ) as process:  # fmt: skip
        os.close(child)
        shown = b""
        with contextlib.suppress(OSError):  # which is how a terminal says that all is read
            while part := os.read(parent, 4096):
                shown += part
    os.close(parent)
    assert process.returncode == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()
    assert max(map(len, lines)) <= 80
    (row,) = forecast_rows(home, "^GSPC")
    for number in (f"{row['last_close']:,.2f}", f"{row['median']:,.2f}", row["date"]):
        assert any(number in line for line in lines)
    assert sum("▁" in line for line in lines) == 2
    assert not any("…" in line for line in lines)


@pytest.mark.parametrize(
    "words", [(), ("data",), ("-h",), ("predict", "-h"), ("data", "list", "-h")]
)
def test_nothing_said_is_a_cry_for_help(forecast, words):
    result = forecast(*words)
    assert (result.code, result.err) == (0, "")
    assert " ".join(("Usage: forecast", *words)).removesuffix(" -h") in result.out


def test_a_failure_leaves_no_empty_progress_bar(home):
    done = subprocess_forecast("train", "--until", "1990-01-01", "--home", home)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")


def test_version(forecast):
    assert forecast("--version").out.strip() == __version__


def test_a_backtest_is_calibrated_written_down_and_told_beside_predictions(forecast, home):
    (home / "runs" / "small" / "verdict.json").unlink(missing_ok=True)
    before = forecast("predict", "^GSPC", "--run", "small", "--home", home)
    assert "It has no backtest yet" in before.out
    words = ["backtest", "--run", "small", "--models", "lstm,naive", "--home", home, "--quiet"]
    plain = forecast(*words, "--out", home / "plain", "--cost", "50", "--json").json
    adapted = forecast(*words, "--out", home / "adapted", "--calibrate", "--json").json
    crps = [[row["crps"] for row in found["scores"]] for found in (plain, adapted)]
    assert crps[0] != crps[1]
    assert {row["rule"] for row in plain["tables"]["strategy"]} >= {"buy and hold", "long/flat"}
    assert {row["cost_bp"] for row in plain["tables"]["strategy"]} == {50}
    lines = (home / "trials.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds[0] == "train"
    assert kinds.count("backtest") >= 4
    said = forecast("predict", "^GSPC", "--run", "small", "--home", home, "--json").json
    assert said["verdict"]["verdict"] == adapted["verdict"]
    moved = forecast("predict", "^GSPC", "--run", "small", "--home", home, "--json", "--calibrate")
    intervals = [it["forecasts"][0]["intervals"] for it in (said, moved.json)]
    assert intervals[0] != intervals[1]
    shown = forecast("predict", "^GSPC", "--run", "small", "--home", home).out
    assert f"{adapted['headline']} {adapted['advice']}" in shown
    assert "read the intervals, not the median" not in shown  # the advice is the verdict's
    page = (home / "adapted" / "report.html").read_text()
    assert "were recorded before on these tickers and days" in page


@pytest.mark.slow
def test_a_file_of_forecasts_is_scored(forecast, home, backtested, tmp_path):
    out = ["--out", tmp_path / "mine", "--home", home, "--quiet", "--json", "--models", "naive,gjr"]
    table = pd.read_parquet(backtested[1] / "forecasts.parquet")
    table = table[(table["model"] == "ewma") & (table["date"] >= "2006-11-01")]
    table.assign(model="mine").to_csv(tmp_path / "mine.csv", index=False)
    found = forecast("score", tmp_path / "mine.csv", *out)
    assert found.code == 0
    assert {row["model"] for row in found.json["scores"]} == {"mine", "naive", "gjr"}
    assert (tmp_path / "mine" / "report.html").is_file()
    trials = (home / "trials.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in trials[-3:]] == ["score"] * 3
    # The same again is no new trial: what comes out, the deflated Sharpe ratios too, is the same.
    assert forecast("score", tmp_path / "mine.csv", *out).json == found.json
    bad = forecast("score", tmp_path / "mine.csv", *out, "--values", "prices")
    assert bad.code == 1
    assert bad.err.startswith("error: expected prices in mine.csv")
    assert forecast("score", tmp_path / "mine.csv", "--values", "euros").code == 2
    assert forecast("score", tmp_path / "none.csv").code == 1


@pytest.mark.parametrize(
    ("name", "made", "said"),
    [
        ("late.csv", b"ticker,cutoff,date,point\n^GSPC,2006-12-01,2006-12-01,0\n", "not before their date"),
        ("strange.csv", b"ticker,cutoff,date,point\nZZZ,2006-11-30,2006-12-01,0\n", "not stored: ZZZ"),
        ("cross.csv", b"ticker,date,q0.1,q0.9\n^GSPC,2006-12-01,0.1,-0.1\n", "have quantiles that cross"),
        ("price.csv", b"ticker,date,point\n^GSPC,2006-12-01,1400\n", "say --values prices"),
        ("nixtla.csv", b"unique_id,ds,cutoff\n^GSPC,2006-12-01,2006-11-30\n", "no forecast that can be"),
        ("bytes.csv", b"\xff\xfe\x00\x93\x81", "cannot read"),
        ("bytes.parquet", b"PAR1 and no more", "cannot read"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_scored_is_explained(forecast, home, tmp_path, name, made, said):
    (tmp_path / name).write_bytes(made)
    found = forecast("score", tmp_path / name, "--home", home, "--quiet")
    assert found.code == 1
    assert found.err.startswith("error: ")
    assert said in found.err
    assert len(found.err.splitlines()) == 1


def test_stored_prices_are_checked_exported_and_removed(forecast, tmp_path):
    home = ["--home", tmp_path / "home"]
    forecast("fetch", "--source", "sample", *home, "--quiet")
    rows = forecast("data", "check", *home, "--json").json["tickers"]
    assert [row["ticker"] for row in rows] == ["^GSPC", "^IXIC"]
    assert all(row["missing"] == 0 and row["behind"] > 1000 for row in rows)
    shown = forecast("data", "check", *home).out
    assert "score" in shown
    assert "█" in shown
    assert "█" not in forecast("data", "check", *home, "--json").out
    for name in ("long.csv", "wide.parquet"):
        assert forecast("data", "export", tmp_path / name, "^GSPC", *home).code == 0
    assert len(pd.read_parquet(tmp_path / "wide.parquet")) == 5031
    again = forecast(
        "fetch", "--source", tmp_path / "long.csv", "--home", tmp_path / "two", "--json"
    )
    assert again.json["tickers"][0]["rows"] == 5031
    forecast("data", "export", tmp_path / "n.csv", "--layout", "nixtla", *home)
    assert list(pd.read_csv(tmp_path / "n.csv")) == ["unique_id", "ds", "y"]
    assert forecast("data", "export", tmp_path / "n.xls", *home).code == 2
    assert forecast("data", "export", tmp_path / "n.csv", "--layout", "wide", *home).code == 2
    assert forecast("data", "remove", "^GSPC", "NONE", *home).code == 1
    assert forecast("data", "remove", "^gspc", *home).code == 0
    assert [row["ticker"] for row in forecast("data", "list", *home, "--json").json["tickers"]] == [
        "^IXIC"
    ]


def test_what_fetch_cleans_is_told(forecast, tmp_path):
    days = pd.bdate_range("2020-01-02", periods=100).strftime("%Y-%m-%d")
    table = pd.DataFrame({"ticker": "AAA", "date": days, "close": [10.0, *[0.0] * 3, *[10.0] * 96]})
    table.to_csv(tmp_path / "messy.csv", index=False)
    home = ["--home", tmp_path / "home"]
    said = forecast("fetch", "--source", tmp_path / "messy.csv", *home, "--json")
    assert said.json["tickers"][0]["cleaned"] == [
        {
            "rule": "close not positive",
            "action": "rejected",
            "first": days[1],
            "last": days[3],
            "rows": 3,
        }
    ]
    assert f"warning: AAA: 3 rows rejected (close not positive 3 from {days[1]})" in said.err


def test_a_report_is_made_again_from_the_folder_alone(forecast, home, backtested, tmp_path):
    _, out = backtested
    again = tmp_path / "again.html"
    result = forecast("report", out, "--out", again, "--home", home)
    assert (result.code, result.err) == (0, "")
    assert again.read_bytes() == (out / "report.html").read_bytes()
    assert str(again) in result.out
    assert json.loads((out / "scores.json").read_text())["headline"] in result.out


def test_a_report_is_of_the_latest_backtest_whose_score_alone_is_called_meaningless(
    forecast, home, backtested
):
    shutil.copytree(backtested[1], home / "backtests" / "older")  # with its times
    words = ["--start", "2006-12-01", "--home", home, "--quiet"]
    done = forecast("backtest", "--models", "ewma", *words)
    assert done.code == 0
    assert "a score alone has no meaning" in done.out
    said = forecast("report", "--home", home, "--json").json
    assert said["backtest"] == str(home / "backtests" / "ewma")
    assert said["report"] == str(home / "backtests" / "ewma" / "report.html")
    assert said["verdict"]


def test_no_report_of_what_is_no_backtest(forecast, home, backtested, tmp_path):
    assert_refused(forecast("report", "--home", tmp_path), 1, "there is no backtest in")
    assert_refused(forecast("report", tmp_path, "--home", home), 1, tmp_path, "holds no backtest")
    _, out = backtested
    assert_refused(forecast("report", out, "--out", tmp_path), 1, "is a folder", "--out")
    assert list(tmp_path.iterdir()) == []
