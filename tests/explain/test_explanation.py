"""What is told of a forecast is what made it, and nothing of what came after."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from forecaster.dataset.panel import Panel
from forecaster.errors import HistoryError, UsageError
from forecaster.explain import attribution, document, explanation
from forecaster.models.garch import Garch
from forecaster.models.recurrent import backprop, cell
from forecaster.runs import forecasting
from forecaster.runs.run import Run

CELLS = ["lstm", "gru", "rnn"]


@pytest.fixture(scope="module")
def day(world):
    return world["date"].iloc[650].date()


@pytest.fixture(scope="module")
def explained(trained, world, day):
    def of(name, frame=world, **options):
        others = [trained(other) for other in CELLS]
        return explanation.of(
            trained(name), frame, ticker="AAA", as_of=day, others=others, **options
        )

    return of


@pytest.fixture(scope="module")
def lstm(explained):
    return explained("lstm")


@pytest.fixture
def few_shocks(lstm, monkeypatch):
    """Responses to the shocks of the last dozen sessions alone, a tenth of the work."""
    monkeypatch.setattr(explanation, "LAGS", 12)


def test_the_forecast_is_that_of_predict(lstm, trained, world, day):
    expected = forecasting.predict(trained("lstm"), world, tickers=["AAA"], as_of=day)
    pd.testing.assert_frame_equal(lstm.forecast, expected)
    # And what is explained is that number: EWMA volatility times what the network made of it.
    (volatility,) = expected["volatility"]
    assert lstm.ewma * np.exp(lstm.attribution.log_ratio) == pytest.approx(volatility, rel=1e-5)


@pytest.mark.parametrize("step", [2, 10, 21])
@pytest.mark.usefixtures("few_shocks")
def test_a_longer_step_is_that_of_predict(explained, trained, world, day, step):
    result = explained("lstm", step=step)
    expected = forecasting.predict(
        trained("lstm"), world, tickers=["AAA"], as_of=day, steps=(step,)
    )
    pd.testing.assert_frame_equal(result.forecast, expected)
    (volatility,) = expected["volatility"]
    explains = result.unit * np.exp(result.attribution.log_ratio) * result.widened
    assert explains == pytest.approx(volatility, rel=1e-4)
    assert document.of(result)["step"] == step
    # Its outcomes take longer to be known.
    known = world.loc[world["ticker"] == "AAA", "date"].to_numpy()
    assert result.scored.max() == known[known <= np.datetime64(day)][-1 - step]


@pytest.mark.usefixtures("few_shocks")
def test_nothing_is_read_of_what_came_after_a_cutoff_of_a_longer_step(
    explained, world, day, rewritten
):
    one, other = (explained("lstm", frame, step=5) for frame in (world, rewritten(world, day)))
    left, right = document.of(one), document.of(other)
    assert left == right


@pytest.mark.usefixtures("few_shocks")
def test_a_forecast_narrower_than_that_of_a_shorter_step_says_so(trained, world, day):
    run = trained("lstm")
    model = type(run.model)("lstm", run.model.config)
    model.restore(run.model.state())
    lower = np.array([[0, 3, 0], *np.zeros((4, 3))])  # far narrower, of two sessions
    model.term = replace(model.term, bias=model.term.bias - lower)
    result = explanation.of(replace(run, model=model), world, ticker="AAA", as_of=day, step=2)
    assert result.widened > 2
    (one,) = forecasting.predict(run, world, tickers=["AAA"], as_of=day)["volatility"]
    (two,) = result.forecast["volatility"]
    assert two == pytest.approx(one)
    assert result.unit * np.exp(result.attribution.log_ratio) * result.widened == pytest.approx(two)


@pytest.mark.parametrize("step", [0, 4, 7, 22])
def test_a_step_that_has_no_forecast_of_its_own_is_refused(explained, step):
    with pytest.raises(UsageError, match=f"at a step of 1, 2, 3, 5, 10, 21, got {step}"):
        explained("lstm", step=step)


def test_a_run_of_the_next_session_explains_no_longer_step(trained, world):
    run = trained("lstm")
    model = type(run.model)("lstm", replace(run.model.config, horizon=1))
    with pytest.raises(UsageError, match="at a step of 1, got 5"):
        explanation.of(replace(run, model=model), world, ticker="AAA", step=5)


def test_a_reading_is_the_part_of_it_that_needs_no_gradient(lstm, trained, world, day, monkeypatch):
    for name in ("attribute", "importance", "ablation", "differentiate"):
        monkeypatch.delattr(attribution, name)
    reading = explanation.read(trained("lstm"), world, ticker="AAA", as_of=day)
    pd.testing.assert_frame_equal(reading.forecast, lstm.forecast)
    for name, values in lstm.activity.gates.items():
        np.testing.assert_array_equal(values, reading.activity.gates[name])


def test_nothing_is_read_of_what_came_after(lstm, explained, world, day, rewritten):
    other = explained("lstm", rewritten(world, day))
    for name, values in lstm.activity.gates.items():
        np.testing.assert_array_equal(values, other.activity.gates[name])
    np.testing.assert_array_equal(lstm.memory.network, other.memory.network)
    np.testing.assert_array_equal(lstm.memory.garch_path, other.memory.garch_path)
    np.testing.assert_array_equal(lstm.memory.garch_expected, other.memory.garch_expected)
    np.testing.assert_array_equal(lstm.attribution.values, other.attribution.values)
    assert lstm.attribution.unit == other.attribution.unit
    for name, values in lstm.gradients.items():
        np.testing.assert_array_equal(values, other.gradients[name])
    pd.testing.assert_frame_equal(lstm.importance, other.importance)
    pd.testing.assert_frame_equal(lstm.ablation, other.ablation)
    assert lstm.scored.max() < np.datetime64(day)


def test_gates_and_states_are_those_of_the_engine(lstm, trained, world, day):
    model = trained("lstm").model
    (history,) = forecasting.panel_of(trained("lstm"), world, ["AAA"]).histories
    session = history.count_until(np.datetime64(day)) - 1
    (hidden,) = cell.hidden_states(
        model.networks[0].cell, [attribution.read_at(model, history, session)]
    )
    found = lstm.activity.gates
    assert list(found) == ["input gate", "forget gate", "output gate", "cell state", "hidden state"]
    np.testing.assert_allclose(found["hidden state"], hidden, atol=1e-6)
    np.testing.assert_allclose(
        found["output gate"] * np.tanh(found["cell state"]), hidden, atol=1e-6
    )
    assert lstm.activity.dates[-1] == np.datetime64(day)
    np.testing.assert_array_equal(
        lstm.activity.log_returns, history.log_returns[session + 1 - len(hidden) : session + 1]
    )


@pytest.mark.parametrize(("name", "gate"), [("lstm", "forget gate"), ("gru", "update gate")])
def test_a_half_life_leaves_half(trained, world, name, gate):
    (history,) = forecasting.panel_of(trained(name), world, ["AAA"]).histories
    found = explanation.activity(trained(name).model, history, 600)
    kept = found.gates[gate].mean(axis=0, dtype=float)
    np.testing.assert_allclose(kept**found.half_lives, 0.5)
    assert (np.diff(found.half_lives[found.order]) >= 0).all()


def test_a_plain_cell_has_a_hidden_state_and_no_half_lives(trained, world):
    (history,) = forecasting.panel_of(trained("rnn"), world, ["AAA"]).histories
    found = explanation.activity(trained("rnn").model, history, 600)
    assert list(found.gates) == ["hidden state"]
    assert np.isnan(found.half_lives).all()


def still(model):
    """The model with heads of zeros: it leaves the EWMA volatility as it is, times a constant."""
    found = type(model)(model.name, model.config)
    found.restore(model.state())
    found.networks = [
        replace(n, head_kernel=0 * n.head_kernel, head_bias=0 * n.head_bias) for n in found.networks
    ]
    return found


def test_a_network_that_does_nothing_remembers_a_shock_as_the_ewma_does(trained, world, day):
    run: Run = replace(trained("lstm"), model=still(trained("lstm").model))
    frame = world[world["date"] <= pd.Timestamp(day)]
    panel = forecasting.panel_of(run, frame, ["AAA"])
    (history,) = panel.histories
    found = explanation.shock_response(run, frame, panel)
    returns, width = history.log_returns, history.volatility
    weights = 0.94 ** np.arange(len(returns) - 1)[::-1]  # of the returns from the second session on
    for k in (1, 2, 7, 60, 120):
        sums = []
        for shock in (4 * width[-k - 1], 0.0):
            squares = returns[1:] ** 2
            squares[-k] = shock**2
            sums.append((weights * squares).sum())
        assert found[k - 1] == pytest.approx(np.sqrt(sums[0] / sums[1]) - 1, rel=1e-6)


def test_garch_on_the_same_shocks_is_what_its_own_forecasts_say(trained, world, day):
    run = trained("lstm")
    frame = world[world["date"] <= pd.Timestamp(day)]
    (history,) = forecasting.panel_of(run, frame, ["AAA"]).histories
    fitted, found = explanation.gjr_response(run, history)
    model = Garch("gjr")
    model.fit(Panel((history,)), np.datetime64(run.until))
    assert model.fitted["AAA"] == [fitted]
    for k in (1, 3, 40, 100):
        said = []
        for size in (-4 * history.volatility[-k - 1], 0.0):
            returns = history.log_returns.copy()
            returns[-k] = size
            bars = replace(history.bars, log_returns=returns)
            changed = Panel((replace(history, bars=bars),))
            (volatility,) = model.forecast(changed, history.dates[-1], history.dates[-1])[
                "volatility"
            ]
            said.append(volatility)
        assert found[k - 1] == pytest.approx(said[0] / said[1] - 1, rel=1e-9)


def test_garch_expects_of_several_sessions_what_its_simulated_forecasts_say(trained, world, day):
    run = trained("lstm")
    frame = world[world["date"] <= pd.Timestamp(day)]
    (history,) = forecasting.panel_of(run, frame, ["AAA"]).histories
    _, result = explanation.gjr_response(run, history, 10)
    model = Garch("gjr", 10)
    model.fit(Panel((history,)), np.datetime64(run.until))
    for k in (1, 5, 40):
        said = []
        for size in (-4 * history.volatility[-k - 1], 0.0):
            returns = history.log_returns.copy()
            returns[-k] = size
            changed = Panel((replace(history, bars=replace(history.bars, log_returns=returns)),))
            table = model.forecast(changed, history.dates[-1], history.dates[-1], (10,))
            said.append(table["volatility"].iloc[0])
        assert result[k - 1] == pytest.approx(said[0] / said[1] - 1, abs=0.02)


def test_the_closed_form_is_the_mean_of_simulated_garch(lstm):
    # Variance after a fall of 4 volatilities, or after no move, averaged over what may follow.
    fitted = replace(lstm.memory.garch, alpha=0.04, gamma=0.10, beta=0.85, omega=0.06)
    memory = replace(lstm.memory, garch=fitted)
    usual = 0.06 / (1 - fitted.persistence)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(20, 200_000))
    found = []
    for first in (-4.0, 0.0):
        shock = first * np.sqrt(usual)
        variance = 0.06 + (0.04 + 0.10 * (shock < 0)) * shock**2 + 0.85 * usual
        path = [np.full(noise.shape[1], variance)]
        for z in noise:
            path.append(0.06 + ((0.04 + 0.10 * (z < 0)) * z**2 + 0.85) * path[-1])
        found.append(np.mean(path, axis=1))
    expected = np.sqrt(found[0] / found[1]) - 1
    np.testing.assert_allclose(memory.garch_expected[:21], expected, rtol=0.02)
    # Of five sessions it is that of the sum of their variances.
    five = [np.convolve(it, np.ones(5), "valid") for it in found]
    week = replace(memory, step=5).garch_expected
    np.testing.assert_allclose(week[:17], np.sqrt(five[0] / five[1]) - 1, rtol=0.02)


def test_prices_of_a_shock(world):
    own = world[world["ticker"] == "AAA"].reset_index(drop=True)
    found = explanation.shocked(own, 300, -0.05)
    returns, was = (np.diff(np.log(f["adj_close"])) for f in (found, own))
    assert returns[299] == pytest.approx(-0.05)
    np.testing.assert_allclose(np.delete(returns, 299), np.delete(was, 299))
    pd.testing.assert_frame_equal(found[:300], own[:300])
    bar, before = found.loc[300], own.loc[300]
    assert bar["open"] == before["open"]
    assert bar["high"] / max(bar["open"], bar["close"]) == pytest.approx(
        before["high"] / max(before["open"], before["close"])
    )
    assert bar["low"] / min(bar["open"], bar["close"]) == pytest.approx(
        before["low"] / min(before["open"], before["close"])
    )
    assert bar["low"] <= bar["close"] <= bar["high"]
    later, was_later = found.loc[301], own.loc[301]
    assert later["high"] / later["low"] == pytest.approx(was_later["high"] / was_later["low"])
    assert later["volume"] == was_later["volume"]


@pytest.mark.usefixtures("few_shocks")
def test_gradients_are_of_the_cells_that_were_trained_alike(lstm, explained, trained):
    assert list(lstm.gradients) == CELLS
    assert lstm.compared == {name: trained(name).name for name in CELLS}
    rnn = explained("rnn")
    np.testing.assert_array_equal(rnn.gradients["lstm"], lstm.gradients["lstm"])


def test_a_run_of_other_prices_or_settings_is_not_compared_with(trained):
    run, other = trained("lstm"), trained("gru")
    assert explanation.alike(run, [run, other]) == {"gru": other}
    assert explanation.alike(run, [replace(other, prices_sha256="other")]) == {}
    model = type(other.model)("gru", replace(other.model.config, units=5))
    assert explanation.alike(run, [replace(other, model=model)]) == {}
    assert explanation.alike(run, [trained("naive")]) == {}


def test_a_plain_cells_gradient_dies_out_where_that_of_an_open_lstm_lives():
    # The same random recurrence, small as after training; an LSTM whose forget gates stand open.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 1, 3))
    plain = cell.Weights(rng.normal(0, 0.3, (3, 8)), rng.normal(0, 0.15, (8, 8)), np.zeros(8))
    bias = np.repeat([0.0, 4.0, 0.0, 0.0], 8)  # forget gates of 98%
    lstm = cell.Weights(rng.normal(0, 0.3, (3, 32)), rng.normal(0, 0.15, (8, 32)), bias)
    sizes = {}
    for name, weights, advance in (("rnn", plain, cell.plain), ("lstm", lstm, cell.lstm)):
        states = backprop.states(weights, x, advance)
        slopes = backprop.of_inputs(weights, x, states, np.ones((1, 8)), advance)
        size = np.linalg.norm(slopes[:, 0], axis=1)
        sizes[name] = size[-60] / size[-1]
    assert sizes["rnn"] < 1e-12
    assert sizes["lstm"] > 1e-2


@pytest.mark.usefixtures("few_shocks")
def test_too_few_outcomes_leave_the_importance_out(trained, world, until):
    later = world[world["date"] > pd.Timestamp(until)]["date"].unique()[30]
    found = explanation.of(trained("lstm"), world, ticker="AAA", as_of=pd.Timestamp(later).date())
    assert found.importance is None
    assert found.ablation is None
    assert len(found.scored) < attribution.MIN_SCORED


@pytest.mark.usefixtures("few_shocks")
def test_a_newcomer_is_explained_too(trained, world, newcomer):
    frame = pd.concat([world, newcomer], ignore_index=True)
    found = explanation.of(trained("lstm"), frame, ticker="NEW")
    assert np.isfinite(found.memory.network).all()
    assert found.attribution.complete


def test_a_training_date_is_refused_as_predict_refuses_it(trained, world, until):
    with pytest.raises(HistoryError, match="without having seen what came"):
        explanation.of(trained("lstm"), world, ticker="AAA", as_of=world["date"].iloc[400].date())


def test_too_little_history_is_refused(trained, world):
    with pytest.raises(HistoryError, match="needs 60"):
        explanation.of(trained("lstm"), world, ticker="AAA", as_of=world["date"].iloc[20].date())


def test_a_run_without_a_network_is_refused(trained, world):
    with pytest.raises(UsageError, match="lstm, gru, rnn"):
        explanation.of(trained("naive"), world, ticker="AAA")
