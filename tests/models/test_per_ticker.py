"""Stand-ins, states and parallel fits of the models that fit each ticker alone."""

import logging

import numpy as np
import pytest
from histories import assert_same, assert_same_state, history_of, still, student_returns

from forecaster.dataset.panel import Panel
from forecaster.models.protocol import ModelState
from forecaster.models.registry import create
from forecaster.parallel import jobs


@pytest.mark.parametrize("name", ["garch", "gjr", "egarch", "har"])
def test_a_ticker_that_cannot_be_fitted_has_a_stand_in_and_one_warning(name, caplog):
    history, model, again = still(), create(name), create(name)
    panel, until, last = Panel((history,)), history.dates[300], history.dates[-1]
    with caplog.at_level(logging.WARNING):
        model.fit(panel, until)
    (record,) = caplog.records
    assert f"{name} did not converge on AAA up to {until}" in record.getMessage()
    frame = model.forecast(panel, until, last, (1, 5, 21))
    assert len(frame) == 3 * 101
    again.restore(model.state())
    assert model.fallbacks == again.fallbacks == ("AAA",)
    assert_same(again.forecast(panel, until, last, (1, 5, 21)), frame)


@pytest.mark.parametrize("name", ["naive", "drift", "ewma"])
def test_prices_that_do_not_move_have_forecasts(name):
    history, model = still(), create(name)
    model.fit(Panel((history,)), history.dates[300])
    span = history.dates[300], history.dates[-1]
    assert len(model.forecast(Panel((history,)), *span, (1, 5, 21))) == 3 * 101
    assert model.fallbacks == ()


@pytest.mark.parametrize("name", ["naive", "ewma", "har"])
def test_a_step_without_twenty_returns_end_to_end_has_the_fit_of_the_next_session(name):
    history, model = history_of(student_returns(260, 5, 0.01)), create(name)
    model.fit(Panel((history,)), history.dates[-1])
    first, second, third, *_, last = model.fitted["AAA"]
    assert first == last != third != second != first
    frame = model.forecast(Panel((history,)), history.dates[-1], history.dates[-1], (1, 21))
    one, month = frame["volatility"]
    assert 2 < month / one < 10


@pytest.mark.parametrize("name", ["naive", "gjr", "har"])
def test_a_second_fit_forgets_the_first(name):
    one, two = (history_of(student_returns(300, 5, 0.01, seed), f"T{seed}") for seed in (1, 2))
    model, other = create(name), create(name)
    model.fit(Panel((one, two)), one.dates[-1])
    assert list(model.fitted) == ["T1", "T2"]
    model.fit(Panel((two,)), two.dates[-1])
    other.fit(Panel((two,)), two.dates[-1])
    assert_same_state(model.state(), other.state())


@pytest.mark.parametrize("wrong", [np.ones((1, 3)), np.ones((2, 2)), np.full((1, 2), np.nan)])
def test_a_state_holds_finite_parameters_for_each_ticker(wrong):
    with pytest.raises(ValueError, match="expected finite scale, df for each ticker"):
        create("naive").restore(ModelState({"shapes": wrong}, {"tickers": ["AAA"]}))


@pytest.mark.parametrize("name", ["gjr", "egarch"])
def test_fits_in_other_processes_give_the_same_bits(name, world, until, trained, monkeypatch):
    monkeypatch.setattr(jobs, "LEAST", 2)
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    again = create(name)
    again.fit(Panel.of(world), np.datetime64(until))
    assert_same_state(again.state(), trained(name).model.state())


@pytest.mark.parametrize("name", ["garch", "gjr", "egarch", "har"])
def test_a_history_that_hardly_ever_moved_has_a_forecast_within_reason(name):
    # arch may call the fit of egarch converged, with a mean of a million percent.
    moves = 0.01 * np.random.default_rng(1).standard_normal(242)
    history = history_of(np.concatenate([[np.nan], np.zeros(999), moves]))
    model = create(name)
    model.fit(Panel((history,)), history.dates[1041])
    frame = model.forecast(Panel((history,)), history.dates[1041], history.dates[-1], (1, 21))
    assert frame["q0.5"].abs().max() < 0.05
    assert (frame["volatility"] < 1.05 * np.sqrt(frame["step"])).all()  # 100% a day is the most
