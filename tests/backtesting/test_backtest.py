import dataclasses
import json
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from forecaster.backtesting import archive, backtest, folders
from forecaster.backtesting.spec import BacktestSpec
from forecaster.backtesting.walk_forward import forecast_history
from forecaster.data import prices
from forecaster.data.store import Store
from forecaster.dataset.features import realised_variance
from forecaster.distributions import forecasts
from forecaster.errors import HistoryError, StoreError, UsageError
from forecaster.evaluation.claims import RIVALS
from forecaster.models.registry import REGISTRY
from forecaster.runs import forecasting, training

BASELINES = ["garch", "gjr", "ewma", "naive"]


@pytest.fixture(scope="module")
def start(world):
    """Late in 2017, so that a year begins after it."""
    return date(2017, 12, 1)


@pytest.fixture(scope="module")
def yearly(world, tiny, start):
    """All models, refitted at the start of 2018; with what progress was told."""
    told = []
    result = backtest.run(
        world,
        BacktestSpec(tuple(REGISTRY), start=start, refit="yearly", config=tiny),
        progress=lambda *news: told.append(news),
    )
    return result, told


def test_every_model_forecasts_every_session_of_every_ticker(world, yearly, start):
    frame = yearly[0].forecasts
    pd.testing.assert_frame_equal(frame, forecasts.check(frame))
    expected = world[world["date"] >= pd.Timestamp(start)][["ticker", "date"]]
    for name in REGISTRY:
        rows = frame[frame["model"] == name].sort_values(["ticker", "date"])
        # CCC skips no session in this span.
        np.testing.assert_array_equal(rows[["ticker", "date"]], expected)
        assert rows["log_return"].notna().all()


def test_what_happened_is_what_the_prices_say(world, yearly):
    rows = yearly[0].forecasts.query("ticker == 'BBB' and model == 'naive'")
    stored = world[world["ticker"] == "BBB"].set_index("date")
    np.testing.assert_array_equal(rows["last_close"], stored.loc[rows["cutoff"], "close"])
    after, before = (stored.loc[rows[side], "adj_close"].to_numpy() for side in ("date", "cutoff"))
    np.testing.assert_allclose(rows["log_return"], np.log(after / before), rtol=1e-9)


@pytest.mark.parametrize("name", ["naive", "gjr", "lstm"])
def test_each_fold_is_a_model_trained_until_its_start(world, tiny, yearly, name):
    folds = yearly[0].provenance.folds
    assert [str(fold.until) for fold in folds] == ["2017-11-30", "2017-12-29"]
    for fold in folds:
        run = training.train(world, model=name, until=fold.until.item(), config=tiny)
        for day in (pd.Timestamp(fold.first), pd.Timestamp(fold.last)):
            made = forecasting.predict(run, world, tickers=["AAA", "BBB", "CCC"], as_of=day.date())
            rows = yearly[0].forecasts.query("model == @name and cutoff == @day")
            pd.testing.assert_frame_equal(made, rows.reset_index(drop=True), check_exact=True)


def test_all_models_are_scored_on_the_same_days(yearly):
    scores = yearly[0].scores
    assert set(scores["model"]) == set(REGISTRY)
    assert (scores.groupby("ticker")["sessions"].nunique() == 1).all()
    assert (scores["coverage_80"].between(0.5, 1)).all()


def test_the_verdict_is_on_the_first_model(yearly):
    assert "LSTM" in yearly[0].verdict.text.upper()
    comparison = yearly[0].comparison
    of_others = comparison[comparison["model"] != "lstm"]
    assert set(of_others["against"]) == {"naive", "gjr"}
    assert set(comparison["against"]) == set(RIVALS)


def test_models_and_days_do_not_depend_on_the_company_they_keep(world, yearly, start):
    alone = forecast_history(world, BacktestSpec(("gjr",), start=start)).forecasts
    rows = yearly[0].forecasts.query("model == 'gjr'").reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, rows, check_exact=True)


def test_twice_the_same(world, start):
    spec = BacktestSpec(("garch", "naive"), start=start, refit=150)
    one, two = (backtest.run(world, spec) for _ in range(2))
    pd.testing.assert_frame_equal(one.forecasts, two.forecasts, check_exact=True)
    pd.testing.assert_frame_equal(one.scores, two.scores, check_exact=True)
    assert one.provenance == two.provenance
    assert one.verdict == two.verdict


def test_progress_ends_at_its_end(yearly):
    told = yearly[1]
    done = [d for d, _, _ in told]
    assert done == sorted(done)
    total = 2 * (len(REGISTRY) - 1)  # the average takes the fits of its members
    assert {it for _, it, _ in told} == {total}
    assert told[-1][:2] == (total, total)


def test_refit_every_so_many_sessions(world, start):
    spec = BacktestSpec(("naive",), start=start, refit=100, end=date(2018, 9, 1))
    result = backtest.run(world, spec)
    folds = result.provenance.folds
    assert len(folds) == 2
    cutoffs = result.forecasts.query("ticker == 'AAA'")["cutoff"]
    assert cutoffs.between(folds[0].first, folds[0].last).sum() == 100
    assert result.provenance.spec.end <= date(2018, 9, 1)


# A trained run.


def test_a_run_is_tested_from_the_day_after_it_was_trained(world, trained, until):
    result = backtest.run(world, BacktestSpec(("naive", "gjr")), trained=trained("naive"))
    dates = result.forecasts["date"]
    assert dates.min() == world.loc[world["date"] > pd.Timestamp(until), "date"].min()
    assert dates.max() == world["date"].max()
    assert result.provenance.run == trained("naive").summary


@pytest.mark.parametrize("days", [0, 1, 200])
def test_a_run_is_not_shown_what_it_was_trained_on(world, trained, until, days):
    begin = until - timedelta(days=days)
    with pytest.raises(HistoryError, match="what it has already seen") as caught:
        backtest.run(world, BacktestSpec(("lstm", "naive"), start=begin), trained=trained("lstm"))
    assert str(until) in str(caught.value)
    assert str(begin) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_trained_on_everything_has_nothing_left(world, trained, until):
    seen = world[world["date"] <= pd.Timestamp(until)]
    with pytest.raises(HistoryError, match=f"so nothing is left to backtest up to {until}"):
        backtest.run(seen, BacktestSpec(("naive",)), trained=trained("naive"))


def test_a_run_of_a_model_that_is_not_asked_for(world, trained):
    with pytest.raises(
        UsageError, match="of the model lstm, which is not among the `models` naive"
    ):
        backtest.run(world, BacktestSpec(("naive",)), trained=trained("lstm"))


def test_a_run_keeps_its_market_whoever_is_asked_for(world, trained):
    spec = BacktestSpec(("lstm",))
    every = forecast_history(world, spec, trained=trained("lstm")).forecasts
    spec = dataclasses.replace(spec, tickers=("CCC",))
    some = forecast_history(world, spec, trained=trained("lstm")).forecasts
    pd.testing.assert_frame_equal(
        some, every.query("ticker == 'CCC'").reset_index(drop=True), check_exact=True
    )


# What cannot be done.


@pytest.mark.parametrize(
    ("models", "words"),
    [((), "got none"), (("naive", "naive"), "got naive,naive"), (("arima",), "no model 'arima'")],
)
def test_wrong_models(world, models, words):
    with pytest.raises(UsageError, match=words):
        backtest.run(world, BacktestSpec(models))


def test_a_start_before_there_is_enough_to_learn_from(world):
    with pytest.raises(HistoryError, match=r"gjr needs 251 sessions .* has 104"):
        backtest.run(world, BacktestSpec(("gjr",), start=date(2016, 6, 2)))


def test_a_span_without_sessions(world):
    with pytest.raises(HistoryError, match="no stored session lies from 2030-01-01"):
        backtest.run(world, BacktestSpec(("naive",), start=date(2030, 1, 1)))


def test_a_model_without_any_forecast(world, newcomer, trained):
    late = newcomer[newcomer["date"] >= pd.Timestamp("2018-01-01")]
    both = prices.check(pd.concat([world, late]))
    with pytest.raises(HistoryError, match="naive gave no forecast"):
        backtest.run(both, BacktestSpec(("naive",), ("NEW",)), trained=trained("naive"))


# On the disk.


def strict(path):
    def refuse(constant):
        raise ValueError(constant)

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_write(yearly, world, tmp_path):
    result = yearly[0]
    archive.write(result, tmp_path)
    pd.testing.assert_frame_equal(
        forecasts.check(pd.read_parquet(tmp_path / "forecasts.parquet")),
        result.forecasts,
        check_exact=True,
    )
    assert len(pd.read_csv(tmp_path / "scores.csv")) == len(result.scores)
    scores, config = strict(tmp_path / "scores.json"), strict(tmp_path / "config.json")
    assert scores["verdict"] == result.verdict.text
    assert len(scores["scores"]) == len(result.scores)
    assert len(scores["significance"]) == len(result.comparison)
    pooled = [row for row in scores["scores"] if row["mae"] is None]
    assert len(pooled) == len(REGISTRY)  # currencies are not added up
    assert config["prices_sha256"] == prices.digest(world)
    assert config["tickers"] == ["AAA", "BBB", "CCC"]
    assert config["settings"]["units"] == 4
    assert config["run"] is None


def test_a_backtest_of_a_run_is_written_too(world, trained, tmp_path):
    archive.write(backtest.run(world, BacktestSpec(("naive",)), trained=trained("naive")), tmp_path)
    assert strict(tmp_path / "config.json")["run"]["until"] == trained("naive").until.isoformat()


def test_records_are_what_json_can_say():
    frame = pd.DataFrame(
        {"name": ["a", "b", "c"], "value": [1.5, np.nan, np.inf], "count": [1, 2, 3]}
    )
    result = archive.records(frame)
    assert result == [
        {"name": "a", "value": 1.5, "count": 1},
        {"name": "b", "value": None, "count": 2},
        {"name": "c", "value": None, "count": 3},
    ]
    json.dumps(result, allow_nan=False)


def test_only_a_backtest_may_be_replaced(tmp_path):
    folders.check_replaceable(tmp_path / "new")
    folders.check_replaceable(tmp_path)
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match="something that is not a backtest"):
        folders.check_replaceable(tmp_path)
    with pytest.raises(StoreError, match="is a file"):
        folders.check_replaceable(tmp_path / "thesis.txt")


def test_a_backtest_may_be_replaced(yearly, tmp_path):
    archive.write(yearly[0], tmp_path)
    folders.check_replaceable(tmp_path)


def test_nothing_of_a_backtest_can_be_changed(yearly):
    with pytest.raises(dataclasses.FrozenInstanceError):
        yearly[0].verdict = "we won"


def test_prices_may_come_a_ticker_at_a_time(world, start, tmp_path):
    store = Store(tmp_path)
    store.write(world, source="test")
    spec = BacktestSpec(("ewma", "naive"), ("AAA", "CCC"), start)
    once = backtest.run(store.read(), spec)
    streamed = backtest.run(store.each(store.tickers()), spec)
    pd.testing.assert_frame_equal(streamed.forecasts, once.forecasts, check_exact=True)
    assert streamed.provenance == once.provenance
    assert streamed.verdict == once.verdict


def test_the_variance_of_a_walk_is_that_of_the_days_forecast(world, start):
    made = forecast_history(world, BacktestSpec(("naive",), start=start))
    result, variance = made.forecasts[["ticker", "date"]], made.variance.whole()
    both = result.merge(variance, on=["ticker", "date"]).merge(
        realised_variance(world), on=["ticker", "date"], suffixes=("", "_of_prices")
    )
    assert len(both) == len(result)
    assert set(variance["date"]) == set(result["date"])
    np.testing.assert_array_equal(both["variance"], both["variance_of_prices"])
