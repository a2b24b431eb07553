import numpy as np

from forecaster.dataset.panel import Panel


def test_har_is_least_squares_of_log_volatilities(world, until, trained):
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
    fit = LinearRegression().fit(logs[:-1], logs[1:, 0])
    state = trained("har").model.state()
    row = state.arrays["har"][state.settings["tickers"].index("BBB")]
    np.testing.assert_allclose(row[:4], [fit.intercept_, *fit.coef_], rtol=1e-6)
    frame = trained("har").model.forecast(Panel((history,)), *[np.datetime64(until)] * 2)
    expected = row[4] * np.exp(fit.predict(logs[-1:]))
    np.testing.assert_allclose(frame["scale"], expected, rtol=1e-6)
