"""Forecasts by iteration against closed forms, direct simulation and the arch package."""

from functools import partial

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from forecaster.dataset.panel import Panel
from forecaster.distributions import forecasts, skewed_t
from forecaster.distributions.quantile_grid import LEVELS
from forecaster.models import iteration
from forecaster.models.egarch import EgarchParameters
from forecaster.models.garch import GarchParameters

STEPS = (2, 5, 21)
PATHS = 50_000

GARCHES = {
    "typical": GarchParameters(0.0, 0.02, 0.03, 0.1, 0.9, 5.0, 1.0, 0.0),
    "heavy tails and quick to forget": GarchParameters(0.0, 0.3, 0.05, 0.2, 0.6, 3.0, 1.0, 0.0),
    "its stand-in, which never forgets": GarchParameters(0.0, 0.0, 0.066, 0.0, 0.94, 5.0, 1.0, 0.0),
}
EGARCH = EgarchParameters(0.0, 0.05, 0.25, -0.15, 0.93, 4.0, -0.1, 0.0, 0.0)


def sums(its, variance):
    """The quantiles of sums of returns from some variances on, by step."""
    shocks = its.shocks()
    expected = (
        its.expected
        if isinstance(its, GarchParameters)
        else partial(its.moved, size=np.abs(shocks).mean(), z=0.0)
    )
    return iteration.quantiles(np.array(variance), STEPS, shocks, its.following, expected)


def simulated(variance, draw, following):
    """The quantiles of sums of independent draws, whose noise costs 1 / PATHS of the CRPS."""
    rng = np.random.default_rng(1)
    now, total, by_step = np.full(PATHS, variance), np.zeros(PATHS), {}
    for step in range(1, STEPS[-1] + 1):
        z = draw(rng)
        total += np.sqrt(now) * z
        now = following(now, z)
        by_step[step] = np.quantile(total, LEVELS)
    return by_step


def cost(quantiles, true):
    """The CRPS that errors of the quantiles cost, as a share of that of the true ones."""
    levels = np.array(LEVELS)
    density = np.gradient(levels) / np.gradient(true)
    # The pinball loss rises by half the density times the squared error.
    loss = np.trapezoid(density * (quantiles - true) ** 2, levels)
    return loss / np.trapezoid(levels * (1 - levels), true)


@pytest.mark.parametrize("variance", [0.3, 1.65, 12.0])
@pytest.mark.parametrize("its", GARCHES.values(), ids=GARCHES)
def test_the_noise_costs_next_to_nothing(its, variance):
    def draw(rng):
        return np.sqrt((its.df - 2) / its.df) * rng.standard_t(its.df, PATHS)

    ours, true = sums(its, [variance]), simulated(variance, draw, its.following)
    for step in STEPS:
        assert cost(ours[step][0], true[step]) < 1e-4


@pytest.mark.parametrize("variance", [0.3, 1.65, 12.0])
def test_the_noise_of_egarch_costs_next_to_nothing(variance):
    standard = skewed_t.of_hansen(0.0, 1.0, EGARCH.df, EGARCH.skew)

    def draw(rng):
        return skewed_t.quantile(*standard, EGARCH.df, EGARCH.skew, rng.random(PATHS))

    ours, true = (
        sums(EGARCH, [variance]),
        simulated(variance, draw, EGARCH.following),
    )
    for step in STEPS:
        assert cost(ours[step][0], true[step]) < 1e-4


def test_the_expected_path_is_the_closed_form():
    its, variance, k = GARCHES["typical"], np.array([0.3, 9.0]), np.arange(21)[:, None]
    persistence = 0.03 + 0.1 / 2 + 0.9
    level = 0.02 / (1 - persistence)
    np.testing.assert_allclose(
        iteration.path(variance, 21, its.expected), level + persistence**k * (variance - level)
    )


def test_the_spread_is_the_closed_form():
    # Of tails so thin that the quantiles tell the variance.
    its = GarchParameters(0.0, 0.05, 0.05, 0.0, 0.9, 50.0, 1.0, 0.0)
    variance = np.array([0.2, 1.0, 5.0])
    rows = {"cutoff": np.arange(3).astype("datetime64[D]"), "date": np.datetime64("2020-01-01")}
    total = np.cumsum(iteration.path(variance, 21, its.expected), axis=0)
    for step, quantiles in sums(its, variance).items():
        frame = forecasts.from_quantiles(
            ticker="AAA", model="garch", last_close=1.0, log_return=0.0, quantiles=quantiles, **rows
        )
        np.testing.assert_allclose(frame["volatility"] ** 2, total[step - 1], rtol=0.03)


def test_a_symmetric_recursion_has_a_symmetric_sum_and_leverage_a_long_left_tail():
    symmetric = sums(GarchParameters(0.0, 0.05, 0.08, 0.0, 0.9, 5.0, 1.0, 0.0), [1.0])
    leverage = sums(GARCHES["typical"], [1.0])
    width = symmetric[21][0, -1] - symmetric[21][0, 0]
    np.testing.assert_allclose(symmetric[21][0], -symmetric[21][0][::-1], atol=0.02 * width)
    assert leverage[21][0, 0] + leverage[21][0, -1] < -0.05 * width


@pytest.mark.parametrize("name", ["garch", "gjr", "egarch"])
def test_iteration_equals_that_of_arch(name, world, until, trained):
    from arch import arch_model

    (history,) = Panel.of(world, tickers=["BBB"]).histories
    day = np.datetime64(until)
    returns = 100 * history.log_returns[1 : history.count_until(day)]
    kind = {"vol": "EGARCH", "o": 1, "dist": "skewt"} if name == "egarch" else {"dist": "t"}
    kind |= {"o": 1} if name == "gjr" else {}
    with threadpool_limits(1):  # as where it was fitted: the optimiser's path is another on two
        model = arch_model(returns, p=1, q=1, rescale=False, **kind)
        model.distribution = type(model.distribution)(seed=np.random.default_rng(2))
        fit = model.fit(disp="off")
    innovations = fit.model.distribution
    draw = innovations.simulate(fit.params[innovations.parameter_names()])
    drawn = fit.forecast(horizon=21, method="simulation", simulations=20_000, rng=draw)
    paths = np.cumsum(drawn.simulations.values[0], axis=1) / 100  # (paths, sessions)
    levels = np.array(LEVELS)
    table = trained(name).model.forecast(Panel((history,)), day, day, STEPS)
    for step in STEPS:
        row = table[table["step"] == step].iloc[0]
        below = np.mean(paths[:, [step - 1]] <= row[forecasts.QUANTILES].to_numpy(float), axis=0)
        assert (np.abs(below - levels) < 5 * np.sqrt(levels * (1 - levels) / 20_000)).all()
    if name != "egarch":
        exact = np.cumsum(fit.forecast(horizon=21).variance.iloc[0])
        (its,) = trained(name).model.fitted["BBB"]
        ours = iteration.path(np.array([exact.iloc[0]]), 21, its.expected).cumsum()
        np.testing.assert_allclose(ours, exact, rtol=1e-6)
