import numpy as np
import pytest
from histories import history_of, still, student_returns

from forecaster.config import RecurrentConfig
from forecaster.dataset.bars import FLOOR
from forecaster.dataset.panel import Panel
from forecaster.models import random_walk
from forecaster.models.registry import create


@pytest.mark.parametrize("step", [1, 5, 21])
def test_the_naive_width_is_that_of_the_last_250_returns_over_as_many_sessions(step):
    history = history_of(student_returns(600, 4, 0.01))
    price = np.cumsum(np.nan_to_num(history.log_returns))
    r = np.append(np.full(step, np.nan), price[step:] - price[:-step])
    expected = [np.sqrt(np.mean(r[max(step, t - 249) : t + 1] ** 2)) for t in range(step, 601)]
    np.testing.assert_allclose(random_walk.rolling(history, step)[step:], expected, rtol=1e-9)


def test_the_naive_forecast_of_five_sessions_by_hand():
    # Moves of 1%, up and down in turn: over five sessions they add up to one of them.
    history = history_of(np.append(np.nan, 0.01 * (-1.0) ** np.arange(300)))
    model = create("naive", RecurrentConfig(horizon=5))
    model.fit(Panel((history,)), history.dates[200])
    frame = model.forecast(Panel((history,)), history.dates[250], history.dates[-1], (1, 5))
    assert len(frame) == 2 * 51
    np.testing.assert_allclose(frame["volatility"], 0.01, rtol=0.03)


@pytest.mark.parametrize("name", ["naive", "ewma"])
def test_steps_of_independent_returns_grow_with_the_root_of_time(name):
    history = history_of(student_returns(4000, 8, 0.01))
    model = create(name, RecurrentConfig(horizon=21))
    model.fit(Panel((history,)), history.dates[-1])
    frame = model.forecast(Panel((history,)), history.dates[300], history.dates[-1], (1, 5, 21))
    width = frame.groupby("step")["volatility"].mean()
    np.testing.assert_allclose(width[5] / width[1], np.sqrt(5), rtol=0.05)
    np.testing.assert_allclose(width[21] / width[1], np.sqrt(21), rtol=0.15)


@pytest.mark.parametrize("width", list(random_walk.VOLATILITIES.values()))
def test_widths_of_prices_that_do_not_move(width):
    np.testing.assert_array_equal(width(still(), 1)[1:], FLOOR)
    assert (width(still(), 21)[1:] >= FLOOR).all()


def test_the_naive_spread_is_that_of_the_returns():
    history = history_of(student_returns(4000, 5, 0.01))
    model = create("naive")
    model.fit(Panel((history,)), history.dates[-1])
    frame = model.forecast(Panel((history,)), history.dates[300], history.dates[-1])
    assert frame["location"].eq(0).all()
    np.testing.assert_allclose(frame["df"], 5, rtol=0.15)
    np.testing.assert_allclose(frame["scale"].mean(), 0.01, rtol=0.03)


def test_ewma_follows_the_volatility():
    calm, wild = student_returns(500, 8, 0.005), student_returns(500, 8, 0.02, seed=1)[1:]
    history = history_of(np.append(calm, wild))
    model = create("ewma")
    model.fit(Panel((history,)), history.dates[-1])
    frame = model.forecast(Panel((history,)), history.dates[100], history.dates[-1])
    scale, df = frame["scale"].to_numpy(), frame["df"].iloc[0]
    np.testing.assert_allclose(scale / history.volatility[100:], scale[0] / history.volatility[100])
    r = history.log_returns
    expected = np.std(r[600:]) / np.std(r[100:500])
    assert np.isclose(scale[500:].mean() / scale[:400].mean(), expected, rtol=0.05)
    assert 5 < df < 25


def test_drift_is_the_mean_so_far_of_each_session_ahead():
    history = history_of(np.append(np.nan, np.linspace(-0.01, 0.03, 300)))
    model = create("drift")
    model.fit(Panel((history,)), history.dates[200])
    frame = model.forecast(Panel((history,)), history.dates[200], history.dates[-1], (1, 3))
    expected = [history.log_returns[1 : t + 1].mean() for t in range(200, 301)]
    for step in (1, 3):
        np.testing.assert_allclose(
            frame.loc[frame["step"] == step, "q0.5"], step * np.array(expected), rtol=1e-9
        )
