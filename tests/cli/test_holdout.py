"""From `fetch` to a verdict in the first five minutes, and what was judged stays."""

import json
import re
import shlex
from datetime import date

import numpy as np
import pandas as pd
import pytest

from forecaster.cli import holdout
from forecaster.data import calendars, prices
from forecaster.data.store import Store
from forecaster.runs import bundle

COMMAND = re.compile(r"forecast (train|backtest)[^`\n]*")


@pytest.fixture
def home(tmp_path, forecast):
    """Two shares of three years, and one that was delisted after two."""
    home = tmp_path / "my home"
    days = calendars.sessions_between("AAA", pd.Timestamp("2016-01-04"), pd.Timestamp("2018-12-31"))
    rng, store = np.random.default_rng(3), Store(home)
    for ticker, count in (("AAA", len(days)), ("BBB", len(days)), ("GONE", 500)):
        close = 90 * np.exp(np.cumsum(rng.normal(0, 0.01, count)))
        frame = pd.DataFrame({"ticker": ticker, "date": days[:count], "close": close})
        store.write(prices.check(frame), source="test")
    return home


def commands(text):
    """The commands that a text says, as words."""
    return [shlex.split(match[0])[1:] for match in COMMAND.finditer(text)]


def test_the_last_three_years_are_held_out_or_a_quarter_of_a_short_history():
    assert holdout.until(date(1999, 1, 4), date(2018, 12, 31)) == date(2016, 1, 1)
    assert holdout.until(date(2016, 1, 1), date(2018, 1, 1)) == date(2017, 7, 3)


def test_what_train_says_at_its_end_leads_to_a_verdict(forecast, home):
    trained = forecast("train", "--model", "naive", "--home", home, "--quiet")
    assert trained.code == 0
    assert "seen all that is stored" in trained.out
    first, second = commands(trained.out)
    day = str(holdout.until(date(2016, 1, 4), date(2018, 12, 31)))
    assert first == ["train", "--model", "naive", "--until", day, "--home", str(home)]
    assert second[:3] == ["backtest", "--models", "naive,gjr"]
    # What predict says before is the same, and so is what a backtest of that run is refused with.
    (name,) = bundle.names(home)
    predicted = forecast("predict", "AAA", "--run", name, "--home", home, "--quiet")
    assert "It has no backtest yet, and has seen all that is stored" in predicted.out
    assert commands(predicted.out) == [first, second]
    refused = forecast("backtest", "--models", "naive,gjr", "--home", home, "--quiet")
    assert (refused.code, refused.out) == (1, "")
    assert "so nothing is left to backtest up to 2018-12-31; hold some back: " in refused.err
    assert commands(refused.err) == [first, second]
    # Done as said, there is a verdict beside the forecast.
    again = forecast(*first, "--quiet")
    assert again.code == 0
    (third,) = commands(again.out)
    name = again.out.split()[1].rstrip(":")
    assert third[third.index("--run") + 1] == name
    assert forecast(*second, "--quiet").code == 0
    assert forecast("runs", "default", name, "--home", home).code == 0
    assert "Its backtest of " in forecast("predict", "AAA", "--home", home, "--quiet").out


def test_tickers_and_settings_are_those_of_the_command(forecast, home):
    words = ["train", "AAA", "--model", "naive", "--epochs", 3, "--home", home, "--quiet"]
    first, second = commands(forecast(*words).out)
    assert first[1] == second[1] == "AAA"
    assert "--epochs=3" in first
    (name,) = bundle.names(home)
    predicted = commands(forecast("predict", "AAA", "--run", name, "--home", home, "--quiet").out)
    assert [it[1] for it in predicted] == ["AAA", "AAA"]


def judged(home, name):
    """A verdict on a run, as a backtest leaves it."""
    run = bundle.read(home / "runs" / name)
    bundle.record_verdict(run.summary, home, bundle.RunVerdict("fine", "2018-01-02", "2018-12-31"))
    return run


def test_a_run_that_was_backtested_is_not_replaced(forecast, home):
    train = ["train", "--model", "naive", "--until", "2017-12-29", "--home", home, "--quiet"]
    assert forecast(*train).code == 0
    name = "naive-2017-12-29"
    assert forecast(*train).code == 0  # no verdict would be lost
    assert bundle.names(home) == [name]
    before = judged(home, name)
    files = {it: it.read_bytes() for it in (home / "runs" / name).iterdir()}
    second = forecast(*train[:-1], "--json")
    assert second.json["name"] == f"{name}-2"
    assert f"warning: run {name} was backtested, and stays as it is" in second.err
    refused = forecast(*train, "--run", name)
    assert (refused.code, refused.out) == (1, "")
    assert f"run {name} was backtested" in refused.err
    assert "choose another --run" in refused.err
    assert {it: it.read_bytes() for it in files} == files
    # The default is used, and which others have a verdict is said.
    assert forecast("runs", "default", f"{name}-2", "--home", home).code == 0
    shown = forecast("predict", "AAA", "--home", home, "--quiet").out
    assert f"Run {name}-2 (your default): naive trained" in shown
    assert "It has no backtest yet" in shown
    assert f"Backtested was {name}: --run NAME forecasts with one." in shown
    own = forecast("predict", "AAA", "--run", name, "--home", home, "--json").json
    assert (own["run"], own["verdict"]["verdict"]) == (name, "fine")
    judged(home, f"{name}-2")
    assert forecast(*train[:-1], "--json").json["name"] == f"{name}-3"
    assert before.created == bundle.read(home / "runs" / name).created


def test_a_verdict_of_another_training_is_not_told(forecast, home):
    train = ["train", "--model", "naive", "--until", "2017-12-29", "--run", "mine"]
    assert forecast(*train, "--home", home, "--quiet").code == 0
    judged(home, "mine")
    place = home / "runs" / "mine" / "verdict.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"created": "2001-01-01"}))
    told = forecast("predict", "AAA", "--run", "mine", "--home", home, "--json").json
    assert told["verdict"] is None


def test_a_delisted_ticker_is_not_said_to_have_been_seen_ahead(forecast, home):
    forecast("train", "--model", "naive", "--until", "2018-06-29", "--home", home, "--quiet")
    asked = ("--run", "naive-2018-06-29", "--home", home, "--quiet")
    gone = forecast("predict", "GONE", *asked)
    assert gone.code == 1
    assert "error: GONE ends at 2017-12-26, and run naive-2018-06-29 was trained" in gone.err
    assert "`forecast fetch GONE` gets the rest" in gone.err
    assert "without having seen" not in gone.err
    back = forecast("predict", "AAA", "--as-of", "2017-06-01", *asked)
    assert "without having seen what came" in back.err


@pytest.mark.parametrize(
    "words",
    [
        *(
            ["predict"],
            ["plot", "predict"],
            ["plot", "gates"],
            ["plot", "skill"],
        ),
        *(
            ["train"],
            ["backtest"],
            ["report"],
            ["audit"],
            ["data", "check"],
            ["data", "export", "x.csv"],
        ),
    ],
    ids=" ".join,
)
def test_an_empty_home_says_to_fetch_first(forecast, tmp_path, words):
    result = forecast(*words, "--home", tmp_path)
    assert (result.code, result.out) == (1, "")
    (line,) = result.err.splitlines()
    assert "`forecast fetch`" in line


def test_what_is_not_stored_cannot_be_removed_and_need_not_be_fetched(forecast, home, tmp_path):
    result = forecast("data", "remove", "AAA", "NOPE", "--home", home)
    assert (result.code, result.out) == (1, "")
    assert result.err == "error: not stored: NOPE; stored are AAA, BBB, GONE\n"
    assert Store(home).tickers() == ["AAA", "BBB", "GONE"]
    empty = forecast("data", "remove", "NOPE", "--home", tmp_path / "empty")
    assert empty.err == "error: not stored: NOPE; stored are none\n"
