import numpy as np
import pandas as pd
import pytest

from forecaster import prices, simulate, student


@pytest.fixture(scope="module")
def world():
    return simulate.world(tickers=4, sessions=2500, seed=0)


def wide(frame, column):
    return frame.pivot(index="date", columns="ticker", values=column)


def test_the_prices_are_a_prices_frame(world):
    pd.testing.assert_frame_equal(prices.check(world.prices), world.prices)
    assert world.prices.groupby("ticker").size().to_dict() == dict.fromkeys(
        ["SIM1", "SIM2", "SIM3", "SIM4"], 2500
    )
    # A truth for every return there is, and none for another.
    keys = ["ticker", "date"]
    later = world.prices[world.prices["ticker"].duplicated()][keys].reset_index(drop=True)
    pd.testing.assert_frame_equal(world.truth[keys].astype(later.dtypes), later)


def test_the_same_seed_is_the_same_world(world):
    again = simulate.world(tickers=4, sessions=2500, seed=0)
    pd.testing.assert_frame_equal(again.prices, world.prices)
    pd.testing.assert_frame_equal(again.truth, world.truth)
    other = simulate.world(tickers=4, sessions=2500, seed=1)
    assert (other.prices["close"] != world.prices["close"]).mean() > 0.99


def test_the_truth_is_what_the_prices_were_drawn_from(world):
    from scipy.stats import kstest

    returns = np.log(wide(world.prices, "close")).diff().iloc[1:].to_numpy()
    location, scale, df = (wide(world.truth, c).to_numpy() for c in ("location", "scale", "df"))
    pit = student.cdf(returns, location, scale, df)
    assert kstest(pit.ravel(), "uniform").pvalue > 0.05
    # And independent of what came before: neither the level nor the size is told.
    z = pit - 0.5
    for one in (z, np.abs(z)):
        for ticker in range(4):
            assert abs(np.corrcoef(one[1:, ticker], one[:-1, ticker])[0, 1]) < 3 / np.sqrt(2500)


def test_the_scale_is_that_of_arch_with_these_parameters(world):
    from arch import arch_model

    returns = 100 * np.log(wide(world.prices, "close")).diff().iloc[1:]["SIM2"].to_numpy()
    truth = world.truth[world.truth["ticker"] == "SIM2"]
    usual = np.geomspace(simulate.LOWEST, simulate.HIGHEST, 4)[1]
    omega = (100 * usual) ** 2 * (1 - simulate.ALPHA - simulate.GAMMA / 2 - simulate.BETA)
    fixed = arch_model(returns, o=1, dist="t").fix(
        [100 * simulate.MU, omega, simulate.ALPHA, simulate.GAMMA, simulate.BETA, simulate.DF]
    )
    ours = 100 * student.volatility(truth["scale"], truth["df"])
    # Where the recursion starts from is forgotten after a while.
    np.testing.assert_allclose(fixed.conditional_volatility[1500:], ours[1500:], rtol=1e-6)


def test_volatility_clusters_and_leans_on_bad_news():
    world = simulate.world(tickers=40, sessions=1000, seed=3)
    returns = np.log(wide(world.prices, "close")).diff().iloc[1:].to_numpy()
    sigma = student.volatility(wide(world.truth, "scale"), simulate.DF)
    found = np.sqrt((sigma**2).mean(axis=0))
    usual = np.geomspace(simulate.LOWEST, simulate.HIGHEST, 40)
    np.testing.assert_allclose(np.median(found / usual), 1, atol=0.1)
    change = np.log(sigma[1:] / sigma[:-1])
    down, up = (change[(side * returns[:-1]) > 0].mean() for side in (-1, 1))
    assert down > 0.01 > 0 > up
