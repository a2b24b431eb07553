import numpy as np
import pandas as pd
import pytest

from forecaster.distributions import forecasts
from forecaster.evaluation import metrics, predictability, significance
from forecaster.evaluation.alarm import alarm_of


def returns(sessions=250, tickers=3, seed=0, bounce=0.0):
    """Returns that move together, (tickers, sessions); a bid-ask bounce on top if asked for."""
    rng = np.random.default_rng(seed)
    size = (tickers, sessions)
    x = 0.01 * (0.6 * rng.standard_t(5, (1, sessions)) + 0.6 * rng.standard_t(5, size))
    return x + np.diff(bounce * rng.choice([-1.0, 1.0], (tickers, sessions + 1)), axis=1)


def of_models(x, **parameters):
    """Forecasts of returns by some models, of their medians and scales: (tickers, sessions) each."""
    dates = pd.bdate_range("2018-01-01", periods=x.shape[1] + 1)
    return forecasts.concat(
        forecasts.from_student_t(
            ticker=f"T{i}", model=model, cutoff=dates[:-1], date=dates[1:], last_close=50.0,
            log_return=x[i], location=median[i], scale=np.broadcast_to(scale, x.shape)[i], df=5.0,
        )
        for model, (median, scale) in parameters.items()
        for i in range(len(x))
    )  # fmt: skip


def alarm(x, median, scale=0.008, rival=0.008):
    zero = np.zeros_like(x)
    frame = of_models(x, mine=(median, scale), gjr=(zero, rival), naive=(zero, 1.1 * rival))
    losses = metrics.losses(frame)
    own = (frame["model"] == "mine").to_numpy()
    tables = {
        "significance": significance.compare(losses),
        "direction": predictability.sign_test(frame),
        "information": predictability.information_coefficients(frame),
    }
    return alarm_of("mine", frame[own], losses[own], tables)


@pytest.mark.parametrize("sessions", [2, 250])
def test_the_close_of_the_very_day_is_found_at_once(sessions):
    x = returns(sessions)
    raised = alarm(x, x)
    assert raised.signs[0] == "median is the return that came, on 100% of the rows"
    assert any(sign.startswith("relMAE is 0.000") for sign in raised.signs) == (sessions > 20)
    assert "the close of the very day that it forecasts" in raised.cause
    assert raised.text.startswith("Too good to be a forecast: look for look-ahead. Its median is")


def test_a_day_s_return_among_the_inputs_is_found():
    x = returns()
    raised = alarm(x, 0.3 * x + 0.003 * np.random.default_rng(1).normal(size=x.shape))
    assert any("signs are" in sign for sign in raised.signs)
    assert "something that is known only at the close" in raised.cause


def test_rows_that_are_shifted_by_a_day_are_found():
    x = returns()
    raised = alarm(x, np.roll(x, -1, axis=1))
    assert "median moves with the return of the day after" in raised.signs[0]
    assert "shifted by a day or more" in raised.cause


def test_the_close_after_the_next_is_found():
    """A price that is two days ahead holds the day forecast and the one after."""
    x = returns()
    raised = alarm(x, x + np.roll(x, -1, axis=1))
    assert "shifted by a day or more" in raised.cause


def test_what_is_smoothed_with_the_future_is_found():
    x = returns(500)
    window = np.ones(5) / 5  # a centred average holds two days after the day
    raised = alarm(x, np.array([np.convolve(it, window, mode="same") for it in x]))
    assert "scaled or smoothed with the future" in raised.cause


def test_a_volatility_that_knows_the_size_of_the_move_is_found():
    x = returns()
    raised = alarm(x, np.zeros_like(x), scale=np.abs(x) + 0.001)
    assert raised.signs[0].startswith("CRPS is")
    assert "its volatility knows the size of the day's move" in raised.cause


@pytest.mark.parametrize("seed", range(5))
def test_an_honest_forecast_raises_none(seed):
    x = returns(seed=seed)
    rng = np.random.default_rng(seed)
    past = np.roll(x, 1, axis=1)
    for median in (0 * x, 0.1 * past, 0.001 + 0 * x, 0.003 * rng.normal(size=x.shape), past):
        assert alarm(x, median) is None


def test_a_skill_beyond_the_best_of_papers_raises_none():
    """An R² of 1% a day is a Sharpe ratio of 1.6 with one asset; to find it is no proof of a leak."""
    x = returns(1000)
    noise = np.random.default_rng(1).normal(size=x.shape)
    signal = 0.1 * x / x.std() + np.sqrt(1 - 0.01) * noise  # correlation 0.1
    assert alarm(x, 0.1 * x.std() * signal) is None


def test_a_few_lucky_days_raise_none():
    x = returns(8)
    assert alarm(x, 0.9 * x + 0.004 * np.random.default_rng(2).normal(size=x.shape)) is None


def test_a_bounce_between_bid_and_ask_can_be_forecast():
    """Of thinly traded stocks yesterday's move says which side of the spread the price is on."""
    x = returns(500, bounce=0.012)
    rho = -0.4
    median = rho * np.roll(x, 1, axis=1)
    median[:, 0] = 0.0
    assert np.corrcoef(median.ravel(), x.ravel())[0, 1] > 0.3
    assert alarm(x, median, scale=0.013, rival=0.014) is None
