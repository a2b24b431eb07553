import numpy as np
import pandas as pd
import pytest

from forecaster.data import prices, simulation
from forecaster.distributions import student_t


@pytest.fixture(scope="module")
def world():
    return simulation.world(tickers=4, sessions=2500, seed=0)


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
    again = simulation.world(tickers=4, sessions=2500, seed=0)
    pd.testing.assert_frame_equal(again.prices, world.prices)
    pd.testing.assert_frame_equal(again.truth, world.truth)
    other = simulation.world(tickers=4, sessions=2500, seed=1)
    assert (other.prices["close"] != world.prices["close"]).mean() > 0.99


def test_the_truth_is_what_the_prices_were_drawn_from(world):
    from scipy.stats import kstest

    returns = np.log(wide(world.prices, "close")).diff().iloc[1:].to_numpy()
    location, scale, df = (wide(world.truth, c).to_numpy() for c in ("location", "scale", "df"))
    pit = student_t.cdf(returns, location, scale, df)
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
    usual = np.geomspace(simulation.LOWEST, simulation.HIGHEST, 4)[1]
    omega = (100 * usual) ** 2 * (1 - simulation.ALPHA - simulation.GAMMA / 2 - simulation.BETA)
    fixed = arch_model(returns, o=1, dist="t").fix(
        [
            100 * simulation.MU,
            omega,
            simulation.ALPHA,
            simulation.GAMMA,
            simulation.BETA,
            simulation.DF,
        ]
    )
    ours = 100 * student_t.volatility(truth["scale"], truth["df"])
    # Where the recursion starts from is forgotten after a while.
    np.testing.assert_allclose(fixed.conditional_volatility[1500:], ours[1500:], rtol=1e-6)


def test_volatility_clusters_and_leans_on_bad_news():
    world = simulation.world(tickers=40, sessions=1000, seed=3)
    returns = np.log(wide(world.prices, "close")).diff().iloc[1:].to_numpy()
    sigma = student_t.volatility(wide(world.truth, "scale"), simulation.DF)
    result = np.sqrt((sigma**2).mean(axis=0))
    usual = np.geomspace(simulation.LOWEST, simulation.HIGHEST, 40)
    np.testing.assert_allclose(np.median(result / usual), 1, atol=0.1)
    change = np.log(sigma[1:] / sigma[:-1])
    down, up = (change[(side * returns[:-1]) > 0].mean() for side in (-1, 1))
    assert down > 0.01 > 0 > up


@pytest.fixture(scope="module")
def market():
    return list(simulation.market(60, seed=1))


def test_a_market_is_a_prices_frame_on_the_sessions_of_its_exchange(market):
    every = pd.concat(market, ignore_index=True)
    pd.testing.assert_frame_equal(prices.check(every), every)
    assert (every["high"] >= every[["open", "close"]].max(axis=1)).all()
    assert (every["low"] <= every[["open", "close"]].min(axis=1)).all()
    days = set(every["date"])
    assert pd.Timestamp("1999-01-04") in days
    # Thanksgiving, the mourning for President Ford, the days after 11 September, a Saturday.
    for closed in ("2010-11-25", "2007-01-02", "2001-09-12", "2005-01-08"):
        assert pd.Timestamp(closed) not in days
    assert len(days) == 5031  # as many as the S&P 500 of the sample has


def test_tickers_of_a_market_are_listed_on_different_days(market):
    listed = [frame["date"].iloc[0] for frame in market]
    old = np.mean([day == pd.Timestamp("1999-01-04") for day in listed])
    assert abs(old - simulation.OLD) < 3 * np.sqrt(0.75 * 0.25 / 60)
    assert len(set(listed)) == 1 + round(60 * (1 - old))
    assert min(map(len, market)) >= simulation.YOUNGEST


def test_a_ticker_of_a_market_is_the_same_among_few_and_many(market):
    few = list(simulation.market(3, seed=1))
    for frame, same in zip(few, market, strict=False):
        pd.testing.assert_frame_equal(frame, same, check_exact=True)
    (other,) = simulation.market(1, seed=2)
    assert not np.isclose(other["close"].iloc[:250], few[0]["close"].iloc[:250]).any()


def test_a_market_keeps_its_parameters(market):
    """GJR-GARCH-t fitted by arch: the mean of some tickers is the truth, within its standard error."""
    from arch import arch_model

    truth = pd.Series(
        {
            "leverage": simulation.GAMMA,
            "persistence": simulation.ALPHA + simulation.GAMMA / 2 + simulation.BETA,
            "nu": simulation.DF,
        }
    )
    result = []
    for frame in [frame for frame in market if len(frame) > 5000][:8]:
        returns = 100 * np.diff(np.log(frame["close"].to_numpy()))
        fit = arch_model(returns, o=1, dist="t").fit(disp="off").params
        persistence = fit["alpha[1]"] + fit["gamma[1]"] / 2 + fit["beta[1]"]
        result.append([fit["gamma[1]"], persistence, fit["nu"]])
    result = pd.DataFrame(result, columns=list(truth.index))
    assert ((result.mean() - truth).abs() < 3 * result.std() / np.sqrt(len(result))).all()


def test_tickers_of_a_market_move_together(market):
    close = pd.concat(market).pivot(index="date", columns="ticker", values="close")
    together = np.log(close).diff().corr().to_numpy()[np.triu_indices(60, 1)]
    # The product of two loadings, each 0.6 in the mean.
    assert abs(together.mean() - 0.36) < 0.05
    assert together.min() > 0.05


def test_the_range_of_a_market_tells_its_variance(market):
    from forecaster.dataset.bars import Bars

    ratios = []
    for frame in market:
        bars = Bars.of(frame)
        ratios.append(np.mean(bars.variance[1:]) / np.mean(bars.log_returns[1:] ** 2))
    # Both are of the same variance: Garman & Klass are told a little less by a bridge's extremes,
    # which are drawn one apart from the other.
    assert abs(np.mean(ratios) - 1) < 0.1
