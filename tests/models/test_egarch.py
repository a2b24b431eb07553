import numpy as np
import pytest
from histories import history_of
from threadpoolctl import threadpool_limits

from forecaster.dataset.panel import Panel
from forecaster.distributions import student_t
from forecaster.models.protocol import ModelState
from forecaster.models.registry import create


def test_egarch_equals_arch(world, until, trained):
    from arch import arch_model

    (history,) = Panel.of(world, tickers=["BBB"]).histories
    known_sessions = history.count_until(np.datetime64(until))
    returns = 100 * history.log_returns[1:known_sessions]
    with threadpool_limits(1):
        model = arch_model(returns, vol="EGARCH", p=1, o=1, q=1, dist="skewt", rescale=False)
        fit = model.fit(disp="off")
    model = trained("egarch").model
    state = model.state()
    row = state.arrays["skewed_parameters"][state.settings["tickers"].index("BBB")].copy()
    row[-2:] = 2 * np.log(fit.conditional_volatility[0]), history.dates[1].astype(int)
    early = create("egarch")
    early.restore(ModelState({"skewed_parameters": row[None]}, {"tickers": ["BBB"]}))
    frame = early.forecast(Panel((history,)), history.dates[1], history.dates[known_sessions - 1])
    expected = np.append(
        fit.conditional_volatility[1:], np.sqrt(fit.forecast(horizon=1).variance.iloc[0])
    )
    # A skewed t is known by its quantiles alone, from which the volatility is found again.
    np.testing.assert_allclose(100 * frame["volatility"], expected, rtol=0.03)
    width = (frame["q0.95"] - frame["q0.05"]).to_numpy()
    np.testing.assert_allclose(width / expected, width[0] / expected[0], rtol=1e-6)
    low = fit.model.distribution.ppf(np.array([0.05]), fit.params[["eta", "lambda"]].to_numpy())
    np.testing.assert_allclose(100 * frame["q0.05"], fit.params["mu"] + expected * low, rtol=1e-6)


def test_egarch_by_hand():
    # In percent: shocks of -1 and 2 against mu = 0, from a variance of one.
    history = history_of(np.array([np.nan, -0.01, 0.02]))
    row = [0.0, 0.1, 0.2, -0.1, 0.9, 8.0, 0.0, 0.0, float(history.dates[1].astype(int))]
    model = create("egarch")
    model.restore(ModelState({"skewed_parameters": np.array([row])}, {"tickers": ["AAA"]}))
    frame = model.forecast(Panel((history,)), history.dates[0], history.dates[2])
    typical = (2 / np.pi) ** 0.5
    first = 0.1 + 0.2 * (1 - typical) + 0.1
    z = 2 / np.exp(first / 2)
    second = 0.1 + 0.2 * (z - typical) - 0.1 * z + 0.9 * first
    # Without a skew it is a Student-t of unit variance.
    standard = student_t.quantile(0.0, np.sqrt(6 / 8), 8.0, 0.05)
    np.testing.assert_allclose(
        100 * frame["q0.05"], np.exp(np.array([first, second]) / 2) * standard, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("at", "value"),
    [(5, 2.0), (6, 1.0), (8, 1e300), (2, np.nan)],
    ids=["df", "skew", "last", "nan"],
)
def test_egarch_refuses_parameters_that_no_fit_gives(at, value):
    row = np.array([[0.0, 0.1, 0.2, -0.1, 0.9, 8.0, 0.0, 0.0, 0.0]])
    row[0, at] = value
    with pytest.raises(ValueError, match=r"must be|finite"):
        create("egarch").restore(ModelState({"skewed_parameters": row}, {"tickers": ["AAA"]}))
