"""Models that know of scheduled announcements, on prices that jump at every second of them."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from histories import assert_same, assert_same_state

from forecaster.backtesting import backtest, leakage_audit
from forecaster.backtesting.alternative_histories import rescheduled
from forecaster.backtesting.spec import BacktestSpec
from forecaster.backtesting.walk_forward import forecast_history
from forecaster.data import events
from forecaster.dataset.features import EVENTS
from forecaster.dataset.panel import Panel
from forecaster.model_selection.splits import walk_forward_folds
from forecaster.models.gjr_events import GjrEvents, ordinary
from forecaster.models.registry import create
from forecaster.runs import forecasting, training

NAMES = ("lstm", "trees", "gjr-events")
EVERY = 40
"""Sessions from one announcement to the next."""


@pytest.fixture(scope="module")
def announced(world):
    """The announcements of all three tickers: after the close, before the open, and unknown."""
    tables = []
    for ticker, time in (("AAA", "post"), ("BBB", "pre"), ("CCC", None)):
        dates = world.loc[world["ticker"] == ticker, "date"].iloc[30::EVERY]
        tables.append(pd.DataFrame({"ticker": ticker, "date": dates, "time": time}))
    frame = pd.concat(tables).assign(kind="earnings", first_seen=None)
    return events.check(frame)


@pytest.fixture(scope="module")
def jumpy(world, announced):
    """The prices with a move of 8% more at the session that reacts."""
    frame = world.copy()
    for ticker, its in frame.groupby("ticker"):
        days = announced.loc[announced["ticker"] == ticker, "date"]
        at = np.searchsorted(its["date"], days) + (1 if ticker == "AAA" else 0)
        at = at[at < len(its)]
        moves = np.zeros(len(its))
        moves[at] = 0.08 * np.where(np.arange(len(at)) % 2, 1, -1)
        factor = np.exp(np.cumsum(moves))
        columns = ["open", "high", "low", "close", "adj_close"]
        frame.loc[its.index, columns] = its[columns].mul(factor, axis=0)
    return frame


@pytest.fixture(scope="module")
def informed(jumpy, announced, tiny, until):
    """Runs trained with the announcements, by the model's name."""
    return {
        name: training.train(jumpy, events=announced, model=name, until=until, config=tiny)
        for name in NAMES
    }


def chances(frame, announced):
    """The chance of a reaction after each cutoff of the prices."""
    return {
        (history.ticker, date): chance
        for history in Panel.of(frame, events=announced).histories
        for date, chance in zip(history.dates, history.announcements.chance, strict=True)
    }


def forecasts(model, frame, until, announced):
    last = frame["date"].max().to_datetime64().astype("datetime64[D]")
    return model.forecast(Panel.of(frame, events=announced), np.datetime64(until), last)


@pytest.mark.parametrize("name", NAMES)
def test_a_reaction_is_wider_than_its_neighbours(name, informed, jumpy, announced, until):
    table = forecasts(informed[name].model, jumpy, until, announced)
    chance = chances(jumpy, announced)
    days = table["cutoff"].to_numpy().astype("datetime64[D]")
    table["chance"] = [chance[key] for key in zip(table["ticker"], days, strict=True)]
    width = (table["q0.9"] - table["q0.1"]).groupby(table["chance"] >= 0.5).median()
    assert width[True] > 1.8 * width[False]


@pytest.mark.parametrize("name", NAMES)
def test_forecasts_do_not_know_what_was_not_public(
    name, informed, jumpy, announced, until, rewritten
):
    model = informed[name].model
    ours = forecasts(model, jumpy, until, announced)
    sessions = np.unique(jumpy["date"].to_numpy("datetime64[D]"))
    for seed, back in enumerate((100, 61, 60, 33)):
        cutoff = sessions[-back]
        others = rescheduled(announced, cutoff, seed=seed)
        assert not others.equals(announced)
        theirs = forecasts(model, rewritten(jumpy, cutoff, seed), until, others)
        pair = (it[it["cutoff"] <= pd.Timestamp(cutoff)] for it in (ours, theirs))
        assert_same(
            *(it.drop(columns=["log_return", "date"]).reset_index(drop=True) for it in pair)
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_does_not_look_ahead(name, informed, jumpy, announced, tiny, until, rewritten):
    model = create(name, tiny)
    others = rescheduled(announced, np.datetime64(until))
    model.fit(Panel.of(rewritten(jumpy, until), events=others), np.datetime64(until))
    assert_same_state(model.state(), informed[name].model.state())


@pytest.mark.parametrize("name", NAMES)
def test_predict_is_the_row_of_the_backtest(name, informed, jumpy, announced):
    run = informed[name]
    made = forecast_history(jumpy, BacktestSpec((name,)), events=announced, trained=run)
    cutoff = made.forecasts["cutoff"].unique()[45]
    seen = jumpy[jumpy["date"] <= cutoff]
    table = forecasting.predict(run, seen, tickers=["AAA", "BBB"], events=announced)
    both = ["AAA", "BBB"]
    rows = made.forecasts[
        (made.forecasts["cutoff"] == cutoff) & made.forecasts["ticker"].isin(both)
    ]
    hidden = ["log_return", "date"]
    assert_same(
        table.drop(columns=hidden).reset_index(drop=True),
        rows.drop(columns=hidden).reset_index(drop=True),
    )


@pytest.mark.parametrize("name", ["lstm", "trees"])
def test_a_run_without_events_forecasts_without_them(name, trained, world, announced, until):
    model = trained(name).model
    assert_same(*(forecasts(model, world, until, it) for it in (None, announced)))


def test_a_network_without_events_is_what_it_was(trained):
    model = trained("lstm").model
    assert not set(model.features) & set(EVENTS)


def test_gjr_events_without_events_is_gjr(world, until):
    first = np.datetime64(until)
    pair = []
    for name in ("gjr", "gjr-events"):
        model = create(name)
        model.fit(Panel.of(world), first)
        pair.append(forecasts(model, world, until, None).drop(columns="model"))
    assert_same(*pair)


def test_gjr_events_by_hand(informed, jumpy, announced, until):
    """Its variance is that of gjr's recursion on moves over what was expected of them."""
    model = informed["gjr-events"].model
    (fitted,) = model.fitted["AAA"]
    (history,) = Panel.of(jumpy, tickers=["AAA"], events=announced).histories
    known = history.announcements
    begin = history.count_until(np.datetime64(until)) - 1
    variance, expected = fitted.variance, []
    for row in range(begin, len(history.dates)):
        shock = 100 * history.log_returns[row] / known.discount[row] - fitted.mu
        variance = (
            fitted.omega
            + (fitted.alpha + fitted.gamma * (shock < 0)) * shock**2
            + fitted.beta * variance
        )
        expected.append(np.sqrt(variance) / 100 * known.inflation[row])
    table = forecasts(model, jumpy, until, announced)
    ours = table.loc[table["ticker"] == "AAA", "volatility"]
    np.testing.assert_allclose(ours, expected[-len(ours) :], rtol=1e-9)
    assert known.inflation[begin:].max() > 1.5


def test_steps_widen_at_the_reaction_they_contain(informed, jumpy, announced, until):
    """The variance of gjr-events rises from step to step by that of the session, larger at reactions."""
    model = informed["gjr-events"].model
    (fitted,) = model.fitted["AAA"]
    (history,) = Panel.of(jumpy, tickers=["AAA"], events=announced).histories
    known, steps = history.announcements, (1, 2, 3, 5, 10)
    first, last = np.datetime64(until), history.dates[-1]
    table = model.forecast(Panel((history,)), first, last, steps)
    plain = GjrEvents("gjr-events", 10)
    plain.fitted = model.fitted
    bare = replace(history, announcements=None, bars=ordinary(history).bars)
    without = plain.forecast(Panel((bare,)), first, last, steps)
    index = history.between(first, last)
    volatility, ordinarily = (
        np.stack([its.loc[its["step"] == step, "volatility"] for step in steps])
        for its in (table, without)
    )
    due, size = known.until[index], known.size[index]
    now = (100 * ordinarily[0]) ** 2
    seen = 0
    for row, step in enumerate(steps[1:], start=1):
        path = [now]
        while len(path) < step:
            path.append(fitted.omega + fitted.persistence * path[-1])
        for cutoff in range(len(index)):
            more = 0.0
            if due[cutoff] <= step:
                more = (size[cutoff] ** 2 - 1) * path[int(due[cutoff]) - 1][cutoff]
                seen += 1
            total = np.sum(path, axis=0)[cutoff]
            np.testing.assert_allclose(
                (volatility / ordinarily)[row, cutoff] ** 2, (total + more) / total, rtol=1e-6
            )
    assert seen > 20


@pytest.mark.parametrize("name", ["trees", "gjr-events"])
def test_steps_do_not_know_what_was_not_public(name, informed, jumpy, announced, until, rewritten):
    model, span = informed[name].model, (np.datetime64(until), np.datetime64("2018-12-31"))
    cutoff = np.unique(jumpy["date"].to_numpy("datetime64[D]"))[-61]
    others = rescheduled(announced, cutoff)
    worlds = (jumpy, announced), (rewritten(jumpy, cutoff), others)
    pair = [model.forecast(Panel.of(it, events=its), *span, (5, 8, 21)) for it, its in worlds]
    assert_same(
        *(
            it[it["cutoff"] <= pd.Timestamp(cutoff)]
            .drop(columns=["log_return", "date"])
            .reset_index(drop=True)
            for it in pair
        )
    )


def test_the_backtest_scores_reactions_apart(informed, jumpy, announced):
    """Counts by hand: every reaction of AAA and BBB, whose times are known."""
    spec = BacktestSpec(("gjr-events", "gjr", "naive"), ("AAA", "BBB"))
    made = backtest.run(jumpy, spec, events=announced, trained=informed["gjr-events"])
    table = made.tables["announced"].set_index(["model", "part"])
    dates = set(made.forecasts["date"])
    later = {"AAA": 1, "BBB": 0}
    count = 0
    for ticker, its in jumpy.groupby("ticker"):
        if ticker not in later:
            continue
        days = announced.loc[announced["ticker"] == ticker, "date"]
        at = np.searchsorted(its["date"], days) + later[str(ticker)]
        count += sum(day in dates for day in its["date"].iloc[at[at < len(its)]])
    assert table.loc[("gjr-events", "reaction"), "forecasts"] == count > 4
    assert table.loc[("gjr-events", "reaction"), "crps/gjr"] < 0.9
    assert table.loc[("gjr", "other"), "crps/gjr"] == 1
    whole = table.xs("gjr-events")["forecasts"].sum()
    assert whole == (made.forecasts["model"] == "gjr").sum()


def test_the_audit_says_what_is_left_where_dates_are_worse(informed, jumpy, announced, tiny, until):
    (fold,) = walk_forward_folds(
        np.unique(jumpy["date"].to_numpy("datetime64[D]")),
        start=np.datetime64(until) + 1,
        end=jumpy["date"].max().to_datetime64().astype("datetime64[D]"),
        refit="never",
    )
    fold = replace(fold, until=np.datetime64(until))
    check = leakage_audit.event_stress(
        informed["lstm"].model, create("lstm", tiny), jumpy, [fold], announced
    )
    assert check.passed
    assert check.number > 1  # percent
    left = {
        how: float(share) / 100
        for how, share in re.findall(
            r"(times unknown|30% dropped|moved by 5 days) (-?\d+)%", check.words
        )
    }
    assert left["moved by 5 days"] < left["30% dropped"] < 1
    assert left["moved by 5 days"] < left["times unknown"] < 1.2


@pytest.mark.parametrize("name", ["lstm", "trees"])
def test_a_later_first_announcement_changes_nothing_before_it(
    name, informed, jumpy, announced, tiny, until
):
    """CCC reports for the first time after the cutoff; its past is that of a ticker that never does."""
    last = jumpy["date"].iloc[-40]
    others = announced[announced["ticker"] != "CCC"]
    late = announced[(announced["ticker"] == "CCC") & (announced["date"] > last)]
    assert len(late)
    pair = []
    for its in (others, pd.concat([others, late])):
        model = create(name, tiny)
        model.fit(Panel.of(jumpy, events=its), np.datetime64(until))
        pair.append(forecasts(model, jumpy, until, its))
    cutoff = last - pd.Timedelta(days=20)
    assert_same(*(it[it["cutoff"] <= cutoff].reset_index(drop=True) for it in pair))
