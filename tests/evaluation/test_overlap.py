"""Forecasts of several sessions overlap, and the statistics know it."""

import numpy as np
import pandas as pd
import pytest
from overlapping import overlapping
from scipy import signal, stats

from forecaster.errors import ForecastError
from forecaster.evaluation import announced, metrics, murphy, significance, skill, stability
from forecaster.evaluation.evaluate import evaluate
from forecaster.evaluation.panel import Panel
from forecaster.evaluation.verdict import Verdict, together


def of_step(pair, step):
    frame, variance = pair
    return frame[frame["step"] == step].reset_index(drop=True), variance


@pytest.fixture(scope="module")
def world():
    return overlapping(600)


@pytest.fixture(scope="module")
def month(world):
    return evaluate(*of_step(world, 21), model="lstm")


def test_variance_of_overlapping_differences_by_hand():
    # d = 1, 3, 2, 6: centred -2, 0, -1, 3; c0 = 14 / 4, c1 = -3 / 4, so the variance is 2, and the
    # correction (4 + 1 - 4 + 2 / 4) / 4 = 3 / 8.
    test = significance.diebold_mariano([1.0, 3, 2, 6], np.zeros(4), 2)
    harvey = 3 / np.sqrt(2 / (3 / 8) / 4)
    assert 2 * stats.t.sf(harvey, 3) == pytest.approx(0.08, abs=0.001)
    # The two forecasts that are apart leave one cosine weight, which is less sure.
    weight = np.sqrt(0.5) * sum(
        x * np.cos(np.pi * (t - 0.5) / 4) for t, x in enumerate([1, 3, 2, 6], start=1)
    )
    ewc = 3 / np.sqrt(weight**2 / 4)
    assert (test.difference, test.statistic, test.df) == (3, pytest.approx(ewc), 1)
    assert test.p_value == pytest.approx(2 * stats.t.sf(ewc, 1))


def test_a_variance_that_is_not_above_zero_gives_way_to_bartlett_weights():
    d = np.tile([1.0, -1.0], 20) + 0.1  # c1 is nearly -c0
    test = significance.diebold_mariano(d, np.zeros(40), 2)
    assert np.isfinite(test.statistic)
    assert 0 < test.p_value < 1


def test_equal_losses_and_too_few_sessions():
    a = np.random.default_rng(0).normal(size=80)
    assert significance.diebold_mariano(a, a, 21).p_value == 1
    few = significance.diebold_mariano(a[:41], np.zeros(41), 21)
    assert few.sessions == 41
    assert few.difference == pytest.approx(a[:41].mean())
    assert np.isnan([few.statistic, few.p_value]).all()


@pytest.mark.parametrize("sessions", [63, 100, 500])
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("step", [5, 21])
def test_size_of_overlapping_sums_under_the_null(step, persistent, sessions):
    rng = np.random.default_rng(7)
    noise = rng.standard_normal((600, sessions + step - 1))
    if persistent:  # volatility that lasts, as that of returns does
        log = signal.lfilter([0.2], [1, -0.97], rng.standard_normal((600, sessions + step + 299)))
        noise *= np.exp(log[:, 300:])
    total = np.concatenate([np.zeros((600, 1)), noise.cumsum(axis=1)], axis=1)
    sums, zeros = total[:, step:] - total[:, :-step], np.zeros(sessions)
    p_values = [significance.diebold_mariano(row, zeros, step).p_value for row in sums]
    assert 0.01 <= np.mean(np.array(p_values) < 0.05) <= 0.085


def test_the_interval_of_a_ratio_has_the_degrees_of_freedom_of_its_test(world):
    losses = metrics.losses(*of_step(world, 21))
    table = significance.compare(losses)
    assert "df" in table
    assert "df" not in significance.compare(metrics.losses(*of_step(world, 1)))
    low, high = significance.ratio_interval(table)
    beyond = (low > 1) | (high < 1)
    np.testing.assert_array_equal(beyond, table["p_value"] < 0.05)


def test_losses_of_several_steps_are_not_compared_as_one(world):
    with pytest.raises(ForecastError, match="one step, came those of 1, 5, 21"):
        significance.compare(metrics.losses(world[0]))


def test_ranges_are_summed_over_the_sessions_of_a_forecast(world):
    frame, variance = of_step(world, 5)
    losses = metrics.losses(frame, variance)
    row, loss = frame.iloc[100], losses.iloc[100]
    its = variance[variance["ticker"] == row["ticker"]]
    span = its[(its["date"] > row["cutoff"]) & (its["date"] <= row["date"])]["variance"]
    assert len(span) == 5
    expected = metrics.qlike(np.sqrt(span.sum()), row["volatility"])
    assert loss["qlike_range"] == pytest.approx(float(expected))
    missing = variance.drop(index=span.index[2])
    with_gap = metrics.losses(frame, missing)["qlike_range"]
    over = (frame["ticker"] == row["ticker"]) & frame["date"].between(
        span.index.map(its["date"])[2], frame["date"].iloc[104]
    )
    assert with_gap[over].isna().sum() >= 4
    assert with_gap[frame["ticker"] != row["ticker"]].notna().all()


def test_forecasts_apart_do_not_overlap_and_are_shared(world):
    frame, _ = of_step(world, 21)
    rows = metrics.apart(frame)
    for _, its in rows.groupby(["ticker", "model"]):
        its = its.sort_values("cutoff")
        assert (its["cutoff"].to_numpy()[1:] >= its["date"].to_numpy()[:-1]).all()
    assert rows.groupby(["ticker", "model"])["cutoff"].apply(tuple).nunique() == 1
    assert rows["cutoff"].nunique() == -(-frame["cutoff"].nunique() // 21)
    assert metrics.apart(of_step(world, 1)[0]) is not None


def test_forecasts_of_a_week_that_are_made_weekly_do_not_overlap(world):
    frame, variance = of_step(world, 5)
    weekly = metrics.apart(frame)
    assert (metrics.overlap(frame), metrics.overlap(weekly)) == (5, 1)
    assert metrics.overlap(of_step(world, 1)[0]) == 1
    row = significance.compare(metrics.losses(weekly, variance)).iloc[0]
    ours, theirs = significance.by_day(metrics.losses(weekly), row["model"], row["against"])
    test = significance.diebold_mariano(ours, theirs)
    assert (row["p_value"], row["df"]) == (pytest.approx(test.p_value), test.df)


def test_calendars_of_five_and_of_seven_days_stay_apart(world):
    frame, _ = of_step(world, 5)
    crypto = frame[frame["ticker"] == "T0"].assign(ticker="BTC-USD")
    days = pd.date_range(crypto["cutoff"].min(), periods=700)
    for model, its in crypto.groupby("model"):
        at = np.arange(len(its))
        crypto.loc[its.index, ["cutoff", "date"]] = np.column_stack([days[at], days[at + 5]])
        assert model
    rows = metrics.apart(pd.concat([frame, crypto], ignore_index=True))
    assert set(rows["ticker"]) == {"T0", "T1", "T2", "BTC-USD"}
    for _, its in rows.groupby(["ticker", "model"]):
        its = its.sort_values("cutoff")
        assert (its["cutoff"].to_numpy()[1:] >= its["date"].to_numpy()[:-1]).all()


def test_tables_of_a_month_say_how_many_forecasts_they_are_of(month):
    whole = month.tables["coverage"].query("split == 'all' and ticker == '(all)'")
    assert set(whole["sessions"]) == {28}
    assert month.tables["significance"]["sessions"].unique().tolist() == [580]
    assert "strategy" not in month.tables
    assert "28 of them" in month.verdict.details[-1]
    assert month.verdict.headline.startswith("21 sessions ahead: lstm")
    assert Verdict.read(month.verdict.document) == month.verdict


@pytest.mark.parametrize("sessions", [24, 30, 100])
def test_few_sessions_give_no_answer_and_no_error(sessions):
    done = evaluate(*of_step(overlapping(sessions), 21), model="lstm")
    if sessions < 62:
        assert done.tables["significance"]["p_value"].isna().all()
        assert "Nothing can be said" in done.verdict.text
    else:
        marks = {row.question: row.mark for row in done.verdict.rows}
        assert marks["intervals"] == marks["lower tail"] == "open"
    assert done.tables["confidence_set"]["p_value"].isna().all()
    assert done.tables["confidence_set"]["included"].all()
    assert done.tables["superior_ability"].empty
    assert done.tables["stability"].empty
    assert done.tables["skill"][["low", "high"]].isna().all(axis=None)
    assert done.tables["skill"]["value"].notna().all()
    assert np.isfinite(done.tables["murphy"]["share"]).all()


def test_blocks_hold_two_forecasts(world):
    losses = metrics.losses(*of_step(world, 21))
    daily = Panel.of(losses).daily("crps", *losses["model"].unique())
    assert significance.block_length(daily, 21) >= 42
    # The interval of means that overlap is wider than one that takes days for independent.
    frame, _ = of_step(world, 21)
    honest = skill.skill(frame, losses).query("metric == 'crps' and ticker == '(all)'")
    naive = skill.skill(frame, losses.assign(step=1)).query(
        "metric == 'crps' and ticker == '(all)'"
    )
    widths = [(it["high"] - it["low"]).sum() for it in (honest, naive)]
    assert widths[0] > 0.9 * widths[1]


def test_stability_and_murphy_allow_for_the_overlap(world):
    frame, variance = of_step(world, 21)
    losses = metrics.losses(frame, variance)
    table = stability.stability(losses)
    assert table["fluctuation_p"].between(0, 1).all()
    blind = stability.stability(losses.assign(step=1))
    assert (table["fluctuation"] <= blind["fluctuation"] + 1e-12).all()
    its = murphy.murphy(frame)
    assert ((its["low"] <= its["share"]) & (its["share"] <= its["high"])).all()


def test_drift_alone_raises_no_alarm_of_a_month():
    done = evaluate(*of_step(overlapping(1500, (21,), drift=0.002), 21), model="lstm")
    scores = metrics.pooled(done.tables["scores"])
    assert scores.loc["lstm", "rel_mae"] < 0.9  # which would be one of the next day
    assert done.verdict.alarm is None


def test_a_month_that_is_known_raises_the_alarm():
    rng = np.random.default_rng(1)

    def peeks(outcome):
        return 0.5 * outcome + 0.02 * rng.normal(size=len(outcome))

    done = evaluate(*of_step(overlapping(900, (21,), median=peeks), 21), model="lstm")
    assert done.verdict.alarm is not None
    assert "known only after the cutoff" in done.verdict.headline
    knows = evaluate(*of_step(overlapping(300, (21,), median=np.array), 21), model="lstm")
    assert "median is the return that came" in knows.verdict.headline


def test_a_reaction_within_the_span_counts():
    frame, variance = of_step(overlapping(200, (5,)), 5)
    dates = np.unique(frame["date"])
    reactions = pd.DataFrame(
        [("T0", dates[50 + k], k) for k in range(6)], columns=["ticker", "date", "since"]
    ).astype({"date": "datetime64[us]"})
    table = announced.announced(metrics.losses(frame, variance), metrics.apart(frame), reactions)
    parts = table[table["model"] == "lstm"].set_index("part")["forecasts"]
    # Five cutoffs have the session in their span; of the five after it only the last is not spanned.
    assert parts.to_dict() == {"reaction": 5, "after": 1, "other": 190}


def test_of_several_steps_the_longest_is_spoken_of_and_what_differs_between():
    def verdict(step, *marks):
        from forecaster.evaluation.verdict import Row

        rows = tuple(Row("mean", mark, "words") for mark in marks)
        return Verdict(f"{step}", f"{step} ahead", rows, "advice", step=step)

    first, alike, other, last = (
        verdict(1, "yes"), verdict(2, "yes"), verdict(5, "no"), verdict(21, "open"),
    )  # fmt: skip
    assert together([first]) == first
    assert together([first, last]).ahead == (last,)
    said = together([first, alike, other, last])
    assert said.ahead == (other, last)
    assert str(said).split("\n\n") == [str(it) for it in (first, other, last)]
    assert Verdict.read(said.document) == said
    assert "ahead" not in first.document
    assert "step" not in first.document
