"""Files of forecasts of several sessions stand beside ours from the same cutoffs."""

import logging
from datetime import date

import numpy as np
import pandas as pd
import pytest

from forecaster.backtesting import external, forecast_files
from forecaster.backtesting.spec import BacktestSpec
from forecaster.backtesting.walk_forward import forecast_history
from forecaster.distributions import forecasts
from forecaster.errors import ForecastError

START, END, STEPS = date(2018, 3, 1), date(2018, 9, 28), (1, 5, 21)


@pytest.fixture(scope="module")
def ours(world):
    spec = BacktestSpec(("drift",), tickers=("AAA", "BBB"), start=START, end=END, steps=STEPS)
    table = forecast_history(world, spec).forecasts
    return table[table["log_return"].notna()].reset_index(drop=True)


@pytest.fixture
def score(world, tmp_path):
    def scored(table, models=("naive", "drift")):
        path = tmp_path / "mine.csv"
        table.to_csv(path, index=False)
        return external.score(forecast_files.read(path), world, models=models)

    return scored


def of_model(result, model):
    rows = result.forecasts[result.forecasts["model"] == model]
    return rows.sort_values(["ticker", "cutoff", "step"]).reset_index(drop=True)


def test_our_own_forecasts_of_every_step_are_worth_what_they_are(score, ours):
    table = ours.drop(columns="log_return").assign(model="mine")
    result = score(table)
    assert result.provenance.spec.steps == STEPS
    assert list(result.ahead) == [5, 21]
    mine, drift = of_model(result, "mine"), of_model(result, "drift")
    assert len(mine) == len(ours)
    expected = ours.sort_values(["ticker", "cutoff", "step"], ignore_index=True)
    np.testing.assert_array_equal(mine["step"], expected["step"])
    np.testing.assert_allclose(mine["log_return"], expected["log_return"], rtol=1e-12)
    np.testing.assert_allclose(
        mine[forecasts.QUANTILES], expected[forecasts.QUANTILES], rtol=1e-9, atol=1e-15
    )
    for tables in (result.tables, *(it.tables for it in result.ahead.values())):
        scores = tables["scores"].query("ticker == '(all)'").set_index("model")["crps"]
        assert scores["mine"] == pytest.approx(scores["drift"], rel=1e-3)
    assert set(drift["step"]) == set(STEPS)


def test_five_days_of_nixtla_lose_no_row(score, ours, caplog):
    rows = ours[ours["step"] == 5]
    price = {
        name: rows["last_close"] * np.exp(rows[column])
        for name, column in (("M", "q0.5"), ("M-lo-80", "q0.1"), ("M-hi-80", "q0.9"))
    }
    keys = {"unique_id": rows["ticker"], "ds": rows["date"], "cutoff": rows["cutoff"], "h": 5}
    with caplog.at_level(logging.WARNING):
        result = score(pd.DataFrame({**keys, **price}))
    assert "left out" not in caplog.text
    mine = of_model(result, "M")
    assert len(mine) == len(rows)
    assert set(mine["step"]) == {5}
    assert result.verdict.headline.startswith("5 sessions ahead: M ")
    assert set(result.forecasts["step"]) == {5}


def test_steps_without_a_cutoff_are_counted_back_from_the_date(score, ours):
    rows = ours[ours["step"] == 5]
    result = score(rows[["ticker", "date", "step", "q0.1", "q0.5", "q0.9"]])
    mine, expected = of_model(result, "mine"), rows.sort_values(["ticker", "cutoff"])
    np.testing.assert_array_equal(mine["cutoff"], expected["cutoff"])
    np.testing.assert_allclose(mine["log_return"], expected["log_return"], rtol=1e-12)


def test_a_cutoff_and_a_date_say_the_step(score, ours):
    rows = ours[ours["step"] == 5]
    result = score(rows[["ticker", "cutoff", "date", "q0.5"]])
    assert set(of_model(result, "mine")["step"]) == {5}
    assert len(of_model(result, "mine")) == len(rows)


def test_a_step_that_contradicts_its_dates_and_one_too_far_are_left_out(score, ours, caplog):
    rows = ours[ours["step"] == 5][["ticker", "cutoff", "date", "step", "q0.1", "q0.5", "q0.9"]]
    wrong = rows.assign(step=np.where(np.arange(len(rows)) < 3, 4, 5))
    far = rows.iloc[[20]].assign(cutoff=rows["cutoff"].min() - pd.Timedelta(days=60), step=np.nan)
    with caplog.at_level(logging.WARNING):
        result = score(pd.concat([wrong, far]))
    assert "3 rows have a step that is not the number of stored sessions" in caplog.text
    assert "1 rows are more than 21 sessions after their cutoff" in caplog.text
    assert len(of_model(result, "mine")) == len(rows) - 3


def test_what_is_made_weekly_is_held_against_ours_of_the_same_weeks(score, ours):
    rows = ours[ours["step"] == 5]
    weekly = rows[rows["cutoff"].dt.day_of_week == 0]
    result = score(weekly[["ticker", "cutoff", "date", "mean", "volatility"]])
    cutoffs = result.forecasts.groupby("model")["cutoff"].unique().map(set)
    assert cutoffs["mine"] == cutoffs["naive"] == cutoffs["drift"]
    coverage = result.tables["coverage"].query("split == 'all' and ticker == '(all)'")
    # All but those after a week of four sessions.
    assert coverage["sessions"].min() >= weekly["cutoff"].nunique() - 3


@pytest.mark.parametrize("step", ["five", "1.5", "inf", "0", "-5"])
def test_a_step_that_is_none_is_refused(score, ours, step):
    rows = ours[ours["step"] == 5][["ticker", "cutoff", "date", "q0.1", "q0.5", "q0.9"]]
    rows = rows.assign(step=["5", step, *["5"] * (len(rows) - 2)])
    with pytest.raises(ForecastError, match=rf"1 or more, came .*{step}.* in row 2; correct it"):
        score(rows)


def test_steps_that_naive_knows_by_its_quantiles_alone(score, world, ours):
    rows = ours[ours["step"] == 5][["ticker", "cutoff"]].assign(point=0.01, step=4)
    dates = {it: np.unique(own["date"]) for it, own in world.groupby("ticker")}
    rows["date"] = [
        dates[ticker][np.searchsorted(dates[ticker], cutoff) + 4]
        for ticker, cutoff in zip(rows["ticker"], rows["cutoff"].to_numpy(), strict=True)
    ]
    result = score(rows)
    mine, naive = of_model(result, "mine"), of_model(result, "naive")
    np.testing.assert_allclose(mine["q0.5"], 0.01, atol=1e-12)
    np.testing.assert_allclose(
        mine["q0.9"] - mine["q0.1"], naive["q0.9"] - naive["q0.1"], rtol=1e-9
    )
