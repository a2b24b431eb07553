"""A backtest of several steps: forecast, evaluated, written and read step by step."""

from dataclasses import replace
from datetime import date
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from forecaster.backtesting import archive, backtest
from forecaster.backtesting.spec import BacktestSpec
from forecaster.backtesting.walk_forward import forecast_history
from forecaster.errors import UsageError

STEPS = (1, 5, 21)
SPEC = BacktestSpec(("drift", "naive"), start=date(2018, 1, 2), refit=100, steps=STEPS)
KEYS = ["model", "ticker", "cutoff", "step"]


@pytest.fixture(scope="module")
def of_steps(world):
    return backtest.run(world, SPEC)


@pytest.fixture(scope="module")
def next_day(world):
    return backtest.run(world, replace(SPEC, steps=(1,)))


@pytest.fixture(scope="module")
def folder(of_steps, tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    archive.write(of_steps, folder)
    return folder


def test_every_cutoff_has_every_step_whose_date_has_come(of_steps, world):
    frame, last = of_steps.forecasts, world["date"].max()
    assert not frame.duplicated(KEYS).any()
    for ticker in ("AAA", "BBB"):
        dates = np.unique(world.loc[world["ticker"] == ticker, "date"])
        close = world[world["ticker"] == ticker].set_index("date")["adj_close"]
        for step in STEPS:
            its = frame[(frame["ticker"] == ticker) & (frame["step"] == step)]
            its = its[its["model"] == "naive"]
            at = np.searchsorted(dates, its["cutoff"].to_numpy())
            np.testing.assert_array_equal(its["date"], dates[at + step])
            outcome = np.log(
                close.loc[its["date"]].to_numpy() / close.loc[its["cutoff"]].to_numpy()
            )
            np.testing.assert_allclose(its["log_return"], outcome, rtol=1e-9)
            assert its["date"].max() == last


def test_further_steps_change_nothing_of_the_next_session(of_steps, next_day):
    its = of_steps.forecasts[of_steps.forecasts["step"] == 1].reset_index(drop=True)
    columns = ["ticker", "cutoff", "date", "log_return"]
    pd.testing.assert_frame_equal(its[columns], next_day.forecasts[columns])
    assert of_steps.verdict.rows == next_day.verdict.rows
    assert list(of_steps.tables) == list(next_day.tables)
    assert next_day.ahead == {}
    assert next_day.verdict.ahead == ()


def test_every_further_step_has_its_tables_and_verdict(of_steps):
    assert list(of_steps.ahead) == [5, 21]
    longest = of_steps.ahead[21]
    assert of_steps.verdict.ahead[-1] == longest.verdict
    assert "\n\n21 sessions ahead: drift" in str(of_steps.verdict)
    assert set(of_steps.tables) - set(longest.tables) == {"strategy", "fallbacks", "reactions"}
    counts = [of_steps.scores["sessions"].max()]
    counts += [it.tables["scores"]["sessions"].max() for it in of_steps.ahead.values()]
    assert [counts[0] - it for it in counts] == [0, 4, 20]


def test_what_was_written_of_every_step_is_read_back(of_steps, folder):
    loaded = archive.load(folder)
    assert loaded.verdict == of_steps.verdict
    assert loaded.provenance == of_steps.provenance
    assert loaded.provenance.spec.steps == STEPS
    for step, its in of_steps.ahead.items():
        assert loaded.ahead[step].verdict == its.verdict
        assert set(loaded.ahead[step].tables) == set(its.tables)
        for name in ("scores", "significance", "coverage", "years"):
            pd.testing.assert_frame_equal(
                loaded.ahead[step].tables[name], its.tables[name], check_dtype=False, rtol=1e-12
            )
        assert (folder / "tables" / f"step-{step}" / "scores.csv").is_file()


def test_a_backtest_of_a_month_alone_is_written_and_read(world, tmp_path):
    done = backtest.run(world, replace(SPEC, steps=(5,)))
    assert "strategy" not in done.tables
    assert done.verdict.headline.startswith("5 sessions ahead: drift")
    assert len(backtest.experiments(done)) == 2
    archive.write(done, tmp_path)
    assert archive.load(tmp_path).verdict == done.verdict


def test_a_span_without_an_outcome_of_a_step_says_so_and_leaves_it_out(world, caplog):
    end = date(2018, 1, 19)
    done = backtest.run(world, replace(SPEC, end=end, refit="never"))
    assert list(done.ahead) == [5]
    assert 21 not in set(done.forecasts["step"])
    assert "21 sessions ahead" in caplog.text


def test_a_run_that_was_fitted_for_less_is_refused(world):
    trained = SimpleNamespace(
        name="mine", model=SimpleNamespace(name="drift", horizon=5), until=date(2017, 12, 29)
    )
    with pytest.raises(UsageError, match="a longer `horizon`, or give smaller `steps`") as refusal:
        forecast_history(world, SPEC, trained=trained)
    assert "expected a run that forecasts 21 sessions ahead, came mine" in str(refusal.value)


def test_several_networks_forecast_a_longer_step_alone(world, tiny):
    spec = BacktestSpec(("lstm",), refit="never", config=replace(tiny, seeds=2), steps=(5,))
    made = forecast_history(world, spec)
    assert set(made.forecasts["step"]) == {5}
    assert made.seeds.empty


@pytest.mark.parametrize("steps", [(), (0, 1), (1, 22)])
def test_steps_that_there_are_not_are_refused(steps):
    with pytest.raises(UsageError, match="expected steps of 1 to 21"):
        replace(SPEC, steps=steps).check()


def test_a_request_of_an_earlier_version_is_of_the_next_session():
    document = SPEC.document()
    assert BacktestSpec.of_document(document) == SPEC
    del document["steps"]
    assert BacktestSpec.of_document(document).steps == (1,)
