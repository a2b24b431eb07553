import numpy as np
import pandas as pd
import pytest

from forecaster.distributions import forecasts, quantile_grid
from forecaster.errors import HistoryError
from forecaster.evaluation import metrics, skill
from forecaster.evaluation.metrics import POOLED


def frame(scales, *, sessions=250, tickers=2, seed=0):
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2017-01-02", periods=sessions + 1)
    returns = 0.01 * rng.standard_normal((tickers, sessions))
    return forecasts.concat(
        forecasts.from_student_t(
            ticker=f"T{i}", model=model, cutoff=dates[:-1], date=dates[1:], last_close=50.0,
            log_return=returns[i], location=0.0, scale=scale, df=30.0,
        )
        for model, scale in scales.items()
        for i in range(tickers)
    )  # fmt: skip


def test_values_are_those_of_the_scores_and_lie_within_their_intervals():
    result = frame({"lstm": 0.0097, "naive": 0.02})
    losses = metrics.losses(result)
    table = skill.skill(result, losses, resamples=200)
    scores = metrics.scores(result).set_index(["ticker", "model"])
    for ticker in ("T0", "T1", POOLED):
        rows = table[table["ticker"] == ticker].set_index("metric")
        ours, theirs = (scores.loc[(ticker, model)] for model in ("lstm", "naive"))
        assert rows.loc["crps", "value"] == pytest.approx(ours["crps"] / theirs["crps"])
        assert rows.loc["log_score", "value"] == pytest.approx(
            ours["log_score"] - theirs["log_score"]
        )
        assert (rows["low"] <= rows["value"]).all()
        assert (rows["value"] <= rows["high"]).all()
    pinball = table[table["metric"] == "pinball_0.05"]
    x, quantiles = result["log_return"].to_numpy(), result["q0.05"].to_numpy()
    losses_05 = quantile_grid.pinball(x, quantiles, 0.05)
    means = pd.Series(losses_05).groupby(result["model"].to_numpy()).mean()
    assert pinball["value"].item() == pytest.approx(means["lstm"] / means["naive"])


def test_the_same_seed_gives_the_same_interval():
    result = frame({"lstm": 0.0097, "naive": 0.02})
    losses = metrics.losses(result)
    one, two = (skill.skill(result, losses, resamples=50) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    scales = {"lstm": 0.01, "naive": 0.013}
    long = frame(scales, sessions=20_000, tickers=1, seed=99)
    means = metrics.losses(long).groupby("model")["crps"].mean()
    truth = means["lstm"] / means["naive"]
    held = []
    for seed in range(60):
        result = frame(scales, tickers=1, seed=seed)
        table = skill.skill(result, metrics.losses(result), resamples=200)
        row = table[(table["metric"] == "crps") & (table["ticker"] == POOLED)].iloc[0]
        held.append(row["low"] <= truth <= row["high"])
    assert np.mean(held) >= 0.85


def test_alone_there_is_nothing_to_compare():
    result = frame({"lstm": 0.01})
    assert skill.skill(result, metrics.losses(result), resamples=10).empty


def crps(model, ticker, values, start="2018-12-28"):
    dates = pd.bdate_range(start, periods=len(values) + 1)
    rows = {"cutoff": dates[:-1], "date": dates[1:], "crps": values}
    return pd.DataFrame({"model": model, "ticker": ticker, **rows})


def test_the_running_sum_is_of_the_daily_means_that_both_forecast():
    losses = pd.concat(
        [
            crps("lstm", "A", [1.0, 2.0, 3.0]),
            crps("lstm", "B", [3.0, 9.0]),
            crps("gjr", "A", [2.0, 4.0, 2.0]),
            crps("gjr", "B", [4.0]),
        ]
    )
    table = skill.running(losses, "lstm", ["gjr"])
    # Friday 2018-12-28 is the first cutoff, so the first date is Monday 2018-12-31.
    assert table["difference"].tolist() == [-1.0, -2.0, 1.0]
    assert table["baseline"].tolist() == [3.0, 4.0, 2.0]
    assert table["total"].tolist() == [-1.0, -3.0, -2.0]
    np.testing.assert_allclose(table["share"], [-1 / 3, -3 / 7, -2 / 9])


def test_a_running_sum_needs_days_that_both_forecast():
    losses = pd.concat([crps("lstm", "A", [1.0]), crps("gjr", "A", [1.0], start="2019-02-01")])
    with pytest.raises(HistoryError, match="both lstm and gjr"):
        skill.running(losses, "lstm", ["gjr"])


def test_resamples_are_the_same_however_many_are_drawn_at_once(monkeypatch):
    together = skill._draws(250, 5, 100, 0)
    monkeypatch.setattr(skill, "_RESAMPLES_AT_ONCE", 7)
    np.testing.assert_array_equal(skill._draws(250, 5, 100, 0), together)
    assert (together.sum(axis=1) == 250).all()
    assert together[1:].max() > 1
