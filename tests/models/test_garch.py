import numpy as np
import pytest
from histories import history_of, student_returns
from threadpoolctl import threadpool_limits

from forecaster.dataset.panel import Panel
from forecaster.distributions import forecasts
from forecaster.models.protocol import ModelState
from forecaster.models.registry import create


@pytest.mark.parametrize("name", ["garch", "gjr"])
def test_garch_equals_arch(name, world, until, trained):
    from arch import arch_model

    model = trained(name).model
    (history,) = Panel.of(world, tickers=["BBB"]).histories
    known_sessions = history.count_until(np.datetime64(until))
    with threadpool_limits(1):  # as where it was fitted: the optimiser's path is another on two
        fit = arch_model(
            100 * history.log_returns[1:known_sessions],
            o=int(name == "gjr"),
            dist="t",
            rescale=False,
        ).fit(disp="off")
    # Start our recursion at the first variance of arch's, and run it over the training span.
    state = model.state()
    row = state.arrays["parameters"][state.settings["tickers"].index("BBB")].copy()
    row[-2:] = fit.conditional_volatility[0] ** 2, history.dates[1].astype(int)
    early = create(name)
    early.restore(ModelState({"parameters": row[None]}, {"tickers": ["BBB"]}))
    frame = early.forecast(Panel((history,)), history.dates[1], history.dates[known_sessions - 1])
    expected = np.append(
        fit.conditional_volatility[1:], np.sqrt(fit.forecast(horizon=1).variance.iloc[0])
    )
    np.testing.assert_allclose(100 * frame["volatility"], expected, rtol=1e-6)
    np.testing.assert_allclose(100 * frame["location"], fit.params["mu"], rtol=1e-6)
    np.testing.assert_allclose(frame["df"], fit.params["nu"], rtol=1e-6)
    # As fitted, it goes on where that ends.
    last = model.forecast(Panel((history,)), *[np.datetime64(until)] * 2)
    np.testing.assert_allclose(100 * last["volatility"], expected[-1], rtol=1e-6)


def test_gjr_by_hand():
    # In percent: shocks of -1 and 2 against mu = 0.
    row = [0.0, 0.1, 0.05, 0.2, 0.8, 6.0, 1.5, 0.0]
    model = create("gjr")
    history = history_of(np.array([np.nan, -0.01, 0.02]))
    row[-1] = float(history.dates[1].astype(int))
    model.restore(ModelState({"parameters": np.array([row])}, {"tickers": ["AAA"]}))
    frame = model.forecast(Panel((history,)), history.dates[0], history.dates[2])
    first = 0.1 + (0.05 + 0.2) * 1 + 0.8 * 1.5
    second = 0.1 + 0.05 * 4 + 0.8 * first
    np.testing.assert_allclose(1e4 * frame["volatility"] ** 2, [first, second])


def test_riskmetrics_in_place_of_garch_is_ewma():
    history = history_of(student_returns(400, 5, 0.01))
    ewma = create("ewma")
    ewma.fit(Panel((history,)), history.dates[300])
    stand_in = create("garch")
    stand_in.fitted = {"AAA": [stand_in.stand_in(history.until(history.dates[300]), 1)]}
    span = history.dates[300], history.dates[-1]
    one, other = (
        ewma.forecast(Panel((history,)), *span),
        stand_in.forecast(Panel((history,)), *span),
    )
    np.testing.assert_allclose(one[forecasts.QUANTILES], other[forecasts.QUANTILES], rtol=1e-3)


@pytest.mark.parametrize("last", [1e300, -1e300])
def test_garch_refuses_dates_beyond_all_calendars(last):
    row = np.array([[0.0, 0.1, 0.05, 0.2, 0.8, 6.0, 1.5, last]])
    with pytest.raises(ValueError, match="last session fitted"):
        create("garch").restore(ModelState({"parameters": row}, {"tickers": ["AAA"]}))
