import numpy as np
import pytest

from forecaster.dataset.panel import Panel


@pytest.mark.parametrize(("step", "array"), [(1, "har"), (5, "har.5")])
def test_har_is_least_squares_of_log_volatilities(step, array, world, until, trained):
    from sklearn.linear_model import LinearRegression

    (history,) = Panel.of(world, tickers=["BBB"]).histories
    known_sessions = history.count_until(np.datetime64(until))
    variance = history.variance[:known_sessions]
    logs = np.array(
        [
            [np.log(variance[t + 1 - n : t + 1].mean()) / 2 for n in (1, 5, 22)]
            for t in range(22, known_sessions)
        ]
    )
    floor = np.log(0.1 * history.volatility[22:known_sessions])
    logs = np.maximum(logs, floor[:, None])
    ahead = [
        np.log(variance[t + 1 : t + 1 + step].mean()) / 2 for t in range(22, known_sessions - step)
    ]
    fit = LinearRegression().fit(logs[:-step], np.maximum(ahead, floor[step:]))
    state = trained("har").model.state()
    row = state.arrays[array][state.settings["tickers"].index("BBB")]
    np.testing.assert_allclose(row[:4], [fit.intercept_, *fit.coef_], rtol=1e-6)
    frame = trained("har").model.forecast(Panel((history,)), *[np.datetime64(until)] * 2, (step,))
    expected = row[4] * np.exp(fit.predict(logs[-1:])) * np.sqrt(step)
    np.testing.assert_allclose(frame["scale"], expected, rtol=1e-6)
