"""What is called important moves forecasts, adds up, and is worth what is said."""

import numpy as np
import pandas as pd
import pytest

from forecaster.config import RecurrentConfig
from forecaster.data import prices
from forecaster.dataset.features import CALENDAR, FEATURES
from forecaster.dataset.panel import Panel
from forecaster.explain import attribution
from forecaster.runs import forecasting, training


@pytest.fixture(scope="module")
def case(trained, world):
    """A function from a cell's name to its model, a history and the index of a cutoff."""

    def of(name, ticker="AAA", session=600):
        run = trained(name)
        (history,) = forecasting.panel_of(run, world, [ticker]).histories
        return run.model, history, session

    return of


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_the_log_ratio_is_that_of_the_forecast(case, name):
    model, history, session = case(name)
    day = history.dates[session]
    (volatility,) = model.forecast(Panel((history,)), day, day)["volatility"]
    x = attribution.read_at(model, history, session).astype(float)[:, None]
    (result,), _ = attribution.differentiate(model, x)
    assert result == pytest.approx(np.log(volatility / history.volatility[session]), abs=1e-5)
    outputs = attribution.outputs_after(model, [attribution.read_at(model, history, session)])
    (expected,) = model.outputs([(history, np.array([session]))])
    np.testing.assert_array_equal(outputs, expected[1])


@pytest.mark.parametrize("step", [2, 5, 21])
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_the_log_ratio_of_a_longer_step_is_that_of_its_forecast(case, name, step):
    model, history, _ = case(name)
    days = history.dates[560:640]
    forecasts = model.forecast(Panel((history,)), days[0], days[-1], steps=(1, step))
    by_step = forecasts.set_index(["cutoff", "step"])["volatility"].unstack()
    own = by_step.index[by_step[step] > 1.01 * by_step[1]][-1]  # it is as it came from the network
    session = history.count_until(np.datetime64(own)) - 1
    x = attribution.read_at(model, history, session).astype(float)[:, None]
    (result,), _ = attribution.differentiate(model, x, step)
    unit = history.volatility[session] * np.sqrt(step)
    assert result == pytest.approx(np.log(by_step.loc[own, step] / unit), abs=1e-5)


@pytest.mark.parametrize("step", [2, 5, 21])
def test_attributions_of_a_longer_step_add_up_to_its_difference(case, step):
    model, history, session = case("lstm")
    result = attribution.attribute(model, history, session, step)
    difference = result.log_ratio - result.calm_log_ratio
    assert abs(difference) > 1e-3
    assert result.by_feature.sum() == pytest.approx(difference, rel=0.01)
    # That of the next session moves otherwise.
    assert not np.allclose(
        result.by_feature, attribution.attribute(model, history, session).by_feature
    )


def test_the_gradient_of_a_longer_step_equals_finite_differences(case):
    model, history, session = case("gru")
    x = attribution.read_at(model, history, session)[-40:].astype(float)[:, None]
    _, slopes = attribution.differentiate(model, x, 10)
    for lag in (1, 4, 20):
        moved = np.zeros_like(x)
        moved[-lag, 0, 3] = 1e-5
        (up,), _ = attribution.differentiate(model, x + moved, 10)
        (down,), _ = attribution.differentiate(model, x - moved, 10)
        assert slopes[-lag, 0, 3] == pytest.approx((up - down) / 2e-5, abs=1e-9)


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_the_gradient_of_the_forecast_equals_finite_differences(case, name):
    model, history, session = case(name)
    averaged = case_of_two(model)
    x = attribution.read_at(model, history, session)[-40:].astype(float)[:, None]
    _, slopes = attribution.differentiate(averaged, x)
    step = 1e-5
    for lag in (1, 2, 5, 12, 30):
        for feature in range(0, x.shape[2], 7):
            moved = np.zeros_like(x)
            moved[-lag, 0, feature] = step
            (up,), _ = attribution.differentiate(averaged, x + moved)
            (down,), _ = attribution.differentiate(averaged, x - moved)
            assert slopes[-lag, 0, feature] == pytest.approx((up - down) / (2 * step), abs=1e-9)


def case_of_two(model):
    """The model with a second, different network: forecasts average the two."""
    rng = np.random.default_rng(0)
    other = type(model.networks[0]).of(
        [w + rng.normal(0, 0.1, w.shape).astype(np.float32) for w in model.networks[0].weights]
    )
    result = type(model)(model.name, model.config)
    result.features, result.scaler = model.features, model.scaler
    result.networks = [*model.networks, other]
    return result


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_attributions_add_up_to_the_difference_from_a_calm_market(case, name):
    model, history, session = case(name)
    model = case_of_two(model)
    result = attribution.attribute(model, history, session)
    difference = result.log_ratio - result.calm_log_ratio
    assert abs(result.missing) < 0.01 * abs(difference)
    assert result.by_feature.sum() == pytest.approx(difference, rel=0.01)
    assert result.by_lag.sum() == pytest.approx(difference, rel=0.01)
    # The baseline by hand: the calmest third of the sessions up to the cutoff.
    width = history.volatility[: session + 1]
    calm = width <= np.nanquantile(width, 1 / 3)
    rows = model.inputs(history, slice(0, session + 1))[calm]
    np.testing.assert_allclose(result.baseline, rows.astype(float).mean(axis=0), atol=1e-6)
    assert result.unit == pytest.approx(np.log(width[session]) - np.log(width[calm]).mean())


def test_a_linear_network_gives_each_input_its_weight_times_its_distance(case):
    # A plain cell of tiny weights is linear: h = W x, and the head reads the log scale from it.
    model, history, session = case("rnn")
    kernel, recurrent, bias, head, head_bias = (np.zeros_like(w) for w in model.networks[0].weights)
    kernel[:, 0] = np.linspace(-1e-5, 1e-5, len(kernel))
    head[0, 1] = 1e4
    linear = case_of_two(model)
    linear.networks = [type(model.networks[0]).of([kernel, recurrent, bias, head, head_bias])]
    result = attribution.attribute(linear, history, session)
    expected = 1e4 * kernel[:, 0] * (result.inputs[-1] - result.baseline)
    np.testing.assert_allclose(result.values[-1], expected, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(result.values[:-1], 0, atol=1e-12)  # it has no memory


def test_only_cutoffs_whose_outcome_is_known_are_scored(case, until):
    _, history, _ = case("lstm")
    result = attribution.scored(history, np.datetime64(until))
    assert (history.dates[result] >= np.datetime64(until)).all()
    assert result[-1] == len(history.dates) - 2
    assert np.isfinite(history.next_returns[result]).all()
    week = attribution.scored(history, np.datetime64(until), 5)
    assert week[-1] == len(history.dates) - 6
    assert set(week) < set(result)


# ---- a world in which it is known what matters


@pytest.fixture(scope="module")
def mondays():
    """A trained network, a history it has not seen, and its scored cutoffs, in a world of wild Mondays."""
    rng = np.random.default_rng(0)
    dates = pd.bdate_range("2000-01-03", periods=1400)
    frames = []
    for ticker in ("ONE", "TWO", "THREE", "FOUR"):
        width = np.where(dates.day_of_week == 0, 0.03, 0.01)
        close = 100 * np.exp(np.cumsum(width * rng.normal(size=len(dates))))
        frames.append(pd.DataFrame({"ticker": ticker, "date": dates, "close": close}))
    frame = prices.check(pd.concat(frames, ignore_index=True))
    sizes = {"units": 6, "window": 100, "warmup": 40, "batch": 8, "validation": 150}
    config = RecurrentConfig(**sizes, epochs=12, steps=12, learning_rate=0.02, feature_dropout=0.2)
    run = training.train(frame, until=dates[900].date(), config=config)
    (history,) = forecasting.panel_of(run, frame, ["ONE"]).histories
    return run.model, history, attribution.scored(history, np.datetime64(run.until))


def test_the_features_that_matter_are_found(mondays):
    model, history, index = mondays
    table = attribution.importance(model, history, index).set_index("feature")
    assert table["crps"].idxmax() == "friday"
    friday = table.loc["friday"]
    assert friday["crps"] > 0.015
    assert friday["crps"] > 3 * friday["error"]
    # Before a wild Monday, and on no other day, it is the weekday that moved the forecast.
    before_monday = index[(history.dates[index].astype(int) + 3) % 7 == 4][-1]
    result = attribution.attribute(model, history, int(before_monday))
    effects = pd.Series(result.by_feature, result.features)
    assert effects.abs().idxmax() == "friday"
    assert effects["friday"] > 0.2  # 20% wider and more
    assert np.argmax(result.weight_of_lags) == 0  # the cutoff's own weekday says it


def test_what_is_called_important_costs_more_when_removed(mondays):
    model, history, index = mondays
    before_monday = index[(history.dates[index].astype(int) + 3) % 7 == 4][-1]
    result = attribution.attribute(model, history, int(before_monday))
    table = attribution.ablation(model, history, index, result).set_index(["caller", "called"])
    assert len(table) == 6
    for caller in table.index.unique("caller"):
        most, least = table.loc[(caller, "most")], table.loc[(caller, "least")]
        assert most["crps"] > 0.03, caller
        assert abs(least["crps"]) < 0.01, caller
        assert not set(most["names"]) & set(least["names"])
    for caller in ("features by permutation", "features by attribution"):
        assert "friday" in table.loc[(caller, "most")]["names"]
    assert 1 in table.loc[("lags by attribution", "most")]["names"]


def test_what_was_taken_away_is_not_read(mondays):
    model, history, index = mondays
    few = index[:30]
    weekdays = list(CALENDAR[1:])
    columns = [FEATURES.index(name) for name in weekdays]
    features = history.features.copy()
    features[:, columns] = np.random.default_rng(1).normal(size=(len(features), 5))
    other = history.with_features(features)
    for frame in (history, other):
        assert len(attribution.without_features(model, frame, few, weekdays)) == 30
    np.testing.assert_array_equal(
        attribution.without_features(model, history, few, weekdays),
        attribution.without_features(model, other, few, weekdays),
    )
    features = history.features.copy()
    features[few[-1] - 2] = 9.0  # lag 3 of the last of them
    other = history.with_features(features)
    same, changed = ([1, 3], [1, 2])
    assert attribution.without_lags(model, history, few[-1:], same) == attribution.without_lags(
        model, other, few[-1:], same
    )
    assert attribution.without_lags(model, history, few[-1:], changed) != attribution.without_lags(
        model, other, few[-1:], changed
    )
    untouched = attribution.without_lags(model, history, few, [])
    np.testing.assert_allclose(untouched, attribution.crps(model, [history], few)[0], rtol=1e-5)


def test_permutations_are_seeded_and_change_nothing_given(mondays):
    model, history, index = mondays
    before = history.features.copy()
    once = attribution.importance(model, history, index[:80], seed=3)
    pd.testing.assert_frame_equal(once, attribution.importance(model, history, index[:80], seed=3))
    other = attribution.importance(model, history, index[:80], seed=4)
    assert not once["crps"].equals(other["crps"])
    np.testing.assert_array_equal(history.features, before)
