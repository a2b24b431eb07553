"""Scheduled earnings in what the commands print: trained on, foretold, backtested, explained, scored."""

import json
import math
import shutil
from datetime import date

import numpy as np
import pandas as pd
import pytest
from documents import validated

from forecaster.data import events
from forecaster.data.event_store import EventStore
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
EVERY = 40
"""Sessions from one announcement of AAA to the next."""


def announcements(world):
    """Announcements of AAA after the close, the last of them on the last session but two."""
    dates = world.loc[world["ticker"] == "AAA", "date"].iloc[:-2]
    days = dates.iloc[::-EVERY]
    rows = {"ticker": "AAA", "date": days, "kind": "earnings", "time": "post", "first_seen": None}
    return events.check(pd.DataFrame(rows))


@pytest.fixture(scope="module")
def prices(world):
    """Prices of AAA and BBB, of which AAA moves by 8% more on the session after each announcement."""
    frame = world[world["ticker"] != "CCC"].copy()
    rows = frame.index[frame["ticker"] == "AAA"]
    at = np.searchsorted(frame.loc[rows, "date"], announcements(world)["date"]) + 1
    moves = np.zeros(len(rows))
    moves[at] = 0.08 * np.where(np.arange(len(at)) % 2, 1, -1)
    names = ["open", "high", "low", "close", "adj_close"]
    frame.loc[rows, names] = frame.loc[rows, names].mul(np.exp(np.cumsum(moves)), axis=0)
    return frame


@pytest.fixture(scope="module")
def home(prices, world, until, tmp_path_factory):
    """A home with the prices, the announcements of AAA, and a network trained on both."""
    from forecaster.cli.app import main

    home = tmp_path_factory.mktemp("home")
    Store(home).write(prices, source="test", notes={})
    EventStore(home).write(announcements(world), source="test")
    (home / "small.toml").write_text(SETTINGS)
    words = ["train", "--run", "small", "--config", home / "small.toml", "--until", until]
    with pytest.raises(SystemExit) as stop:
        main([str(it) for it in (*words, "--home", home, "--quiet")])
    assert stop.value.code == 0
    return home


@pytest.fixture(scope="module")
def eve(world):
    """The day of AAA's last announcement, at whose close the next session is to react."""
    return announcements(world)["date"].iloc[-1]


def test_predict_says_who_reports_when_and_how_far_it_may_move(
    forecast, home, world, eve, tmp_path
):
    file = tmp_path / "next.json"
    words = ("predict", "--run", "small", "--as-of", f"{eve:%Y-%m-%d}", "--home", home)
    rows = forecast(*words, "--json", "--out", file).json["forecasts"]
    (aaa, bbb) = rows
    assert bbb["next_event"] is None
    event = aaa["next_event"]
    assert (event["kind"], event["date"], event["time"]) == ("earnings", f"{eve:%Y-%m-%d}", "post")
    assert event["reaction_session"] == aaa["date"]
    assert 0.02 < event["expected_move"] < 0.12  # moves of 8% and 1% a day
    first, second = validated(json.loads(file.read_text()))["rows"]
    assert first["next_event_date"] == event["date"]
    assert first["next_event_time"] == event["time"]
    assert first["reaction_session"] == event["reaction_session"]
    assert first["expected_move"] == event["expected_move"]
    assert second["next_event_date"] is second["expected_move"] is None
    table = forecast(*words).out
    assert "reports" in table.splitlines()[0]
    said = f"{eve:%a} {eve.day} {eve:%b} after the close (±{event['expected_move']:.1%})"
    assert said in table


def test_a_fan_marks_the_steps_that_hold_the_reaction(forecast, home, world, until, eve, tmp_path):
    home = shutil.copytree(home, tmp_path / "home")
    train = ("train", "--run", "ahead", "--model", "gjr-events", "--until", until)
    assert forecast(*train, "--home", home, "--quiet").code == 0
    days = world.loc[world["ticker"] == "AAA", "date"]
    before = days[days < eve].iloc[-3]  # the reaction is the fourth session from here
    words = ("predict", "AAA", "--run", "ahead", "--as-of", f"{before:%Y-%m-%d}", "--home", home)
    rows = forecast(*words, "--horizon", 6, "--json").json["forecasts"]
    event = rows[0]["next_event"]
    assert event["reaction_session"] == rows[3]["date"]
    variance = np.diff([0.0, *(row["volatility"] ** 2 for row in rows)])
    assert variance.argmax() == 3
    lines = forecast(*words, "--horizon", 6).out.splitlines()
    said = f"reports {eve:%a} {eve.day} {eve:%b} after the close (±{event['expected_move']:.1%})"
    (at,) = (i for i, line in enumerate(lines) if said in line)
    assert [line.split()[0] for line in (lines[at - 1], lines[at + 1])] == ["3", "4"]
    near = forecast(*words, "--horizon", 2).out
    assert f"{said}, which is after these sessions" in near.splitlines()[0]
    file = home / "fan.svg"
    plot = (
        "plot",
        "predict",
        "AAA",
        "--run",
        "ahead",
        "--end",
        f"{before:%Y-%m-%d}",
        "--home",
        home,
    )
    assert forecast(*plot, "--horizon", 6, "--out", file).code == 0


def test_beyond_sight_nobody_reports(forecast, home, world):
    dates = world.loc[world["ticker"] == "AAA", "date"]
    early = announcements(world)["date"].iloc[-1] - pd.Timedelta(days=30)
    early = dates[dates <= early].iloc[-1]
    words = ("predict", "--run", "small", "--as-of", f"{early:%Y-%m-%d}", "--home", home)
    assert {it["next_event"] for it in forecast(*words, "--json").json["forecasts"]} == {None}
    assert "reports" not in forecast(*words).out.splitlines()[0]


def test_explain_names_what_earnings_multiply_the_volatility_by(forecast, home, eve):
    words = ("explain", "--run", "small", "--as-of", f"{eve:%Y-%m-%d}", "--home", home)
    factor = forecast(*words, "AAA", "--json").json["event_factor"]
    assert factor > 1.5
    # A reaction adds to the variance of a week what it adds to that of its one session.
    week = forecast(*words, "AAA", "--step", "5", "--json").json["event_factor"]
    assert week == pytest.approx(math.sqrt(1 + (factor**2 - 1) / 5), rel=1e-6)
    assert forecast(*words, "BBB", "--json").json["event_factor"] == 1


def test_runs_say_what_events_they_knew(forecast, home):
    run, _ = forecast("runs", "--home", home, "--json").json["runs"]  # and the base run
    known = events.known_by(EventStore(home).read(), date.fromisoformat(run["until"]))
    assert run["events_sha256"] == events.digest(known)


def test_the_plots_mark_reactions(forecast, home, eve, tmp_path):
    file = tmp_path / "next.svg"
    words = ("plot", "predict", "AAA", "--run", "small", "--end", f"{eve:%Y-%m-%d}")
    assert forecast(*words, "--home", home, "--out", file).code == 0
    assert f"earnings {eve:%a} {eve.day} {eve:%b} after the close" in file.read_text()


def test_backtest_has_the_company_that_knows_as_much_and_scores_reactions(
    forecast, home, until, tmp_path
):
    folder = tmp_path / "backtest"
    words = ("backtest", "--run", "small", "--home", home, "--out", folder)
    document = forecast(*words, "--json", "--quiet").json
    models = list(dict.fromkeys(row["model"] for row in document["scores"]))
    assert models[:3] == ["lstm", "gjr", "gjr-events"]
    said = document["headline"] + " ".join(document["details"])
    assert "GJR-GARCH with earnings" in said
    counts = {
        row["part"]: row["forecasts"]
        for row in document["tables"]["announced"]
        if row["model"] == "lstm"
    }
    assert counts["reaction"] == 5  # of 179 sessions, one in forty
    assert counts["after"] == 4 * 5 + 1  # the last is followed by one session alone
    assert "reactions" not in document["tables"]
    assert json.loads((folder / "config.json").read_text())["events_sha256"] is not None
    page = (folder / "report.html").read_text()
    assert '<section id="earnings">' in page
    file = tmp_path / "reactions.json"
    shown = ("backtests", "show", folder, "--table", "reactions", "--out", file, "--home", home)
    assert forecast(*shown, "--quiet").code == 0
    rows = validated(json.loads(file.read_text()))["rows"]
    assert {row["ticker"] for row in rows} == {"AAA"}
    assert sorted({row["since"] for row in rows}) == [0, 1, 2, 3, 4, 5]
    drawn = tmp_path / "forecast.svg"
    plot = ("plot", "forecast", "AAA", "--backtest", folder, "--out", drawn, "--home", home)
    assert forecast(*plot).code == 0
    assert "reaction to earnings" in drawn.read_text()
    again = forecast("report", folder, "--home", home)
    assert again.code == 0
    assert (folder / "report.html").read_text() == page


def test_a_scored_file_is_judged_on_reactions_too(forecast, home, prices, tmp_path):
    dates = prices.loc[prices["ticker"] == "AAA", "date"].tail(120)
    table = pd.DataFrame({"ticker": "AAA", "date": dates, "mean": 0.0, "volatility": 0.015})
    table.to_csv(tmp_path / "mine.csv", index=False)
    words = ("score", tmp_path / "mine.csv", "--models", "naive", "--values", "returns")
    document = forecast(*words, "--home", home, "--json", "--quiet").json
    parts = {(row["model"], row["part"]) for row in document["tables"]["announced"]}
    assert ("mine", "reaction") in parts


def test_without_events_nothing_is_said_of_earnings(forecast, prices, until, tmp_path):
    Store(tmp_path).write(prices, source="test", notes={})
    at = ("--home", tmp_path)
    trained = forecast("train", "--model", "naive", "--until", until, *at, "--json")
    assert trained.json["events_sha256"] is None
    predicted = forecast("predict", *at)
    assert "reports" not in predicted.out
    assert "earnings" not in predicted.out
    backtest = ("backtest", "--models", "naive,ewma", *at, "--json", "--quiet")
    document = forecast(*backtest).json
    assert document["tables"]["announced"] == []
    assert "earnings" not in json.dumps(document)
