import numpy as np
import pandas as pd
import pytest
from scipy import stats

from forecaster.distributions import forecasts
from forecaster.evaluation import strategy


def frame(x, location):
    """Student-t forecasts (dates, tickers) with these returns and centres."""
    dates = pd.bdate_range("2018-01-01", periods=len(x) + 1)
    return forecasts.concat(
        forecasts.from_student_t(
            ticker=f"T{i}", model="lstm", cutoff=dates[:-1], date=dates[1:], last_close=100.0,
            log_return=x[:, i], location=location[:, i], scale=0.01, df=5.0,
        )
        for i in range(x.shape[1])
    )  # fmt: skip


def days(x, location, cost_bp):
    table = strategy.daily(frame(x, location), cost_bp=cost_bp)
    return dict(iter(table.groupby(["model", "rule"])))


def test_two_tickers_over_three_days_by_hand():
    x = np.log1p([[0.02, -0.01], [0.01, 0.03], [-0.02, 0.01]])
    location = np.array([[0.001, -0.001], [0.001, 0.0], [-0.001, 0.001]])
    found = days(x, location, 10)
    flat, short = found["lstm", "long/flat"], found["lstm", "long/short"]
    np.testing.assert_allclose(flat["gross"], [0.01, 0.005, 0.005])
    np.testing.assert_allclose(flat["turnover"], [0.5, 0.0, 1.0])
    np.testing.assert_allclose(flat["net"], [0.01 - 0.0005, 0.005, 0.005 - 0.001])
    np.testing.assert_allclose(short["gross"], [0.015, 0.005, 0.015])
    np.testing.assert_allclose(short["turnover"], [1.0, 0.5, 1.5])
    np.testing.assert_allclose(found["(market)", "buy and hold"]["gross"], [0.005, 0.02, -0.005])


def test_forecasts_turned_round_earn_the_opposite_before_costs():
    rng = np.random.default_rng(0)
    x, location = 0.01 * rng.standard_t(5, (2, 60, 3))
    one, other = (days(x, it, 5)["lstm", "long/short"] for it in (location, -location))
    np.testing.assert_allclose(one["gross"], -other["gross"].to_numpy())
    assert (one["net"] <= one["gross"]).all()


def test_the_deflated_sharpe_ratio_of_the_paper():
    # Bailey and López de Prado (2014), the numerical example: an annual Sharpe ratio of 2.5 from
    # 1,250 daily returns of skewness -3 and kurtosis 10, the best of 100 whose annual Sharpe ratios
    # have variance 1/2, is expected to be beaten by luck at 0.1132 a day, and has DSR 0.9004.
    rng = np.random.default_rng(0)
    tried = rng.normal(size=100)
    tried = (tried - tried.mean()) / tried.std(ddof=1) * np.sqrt(0.5 / 250)
    best = strategy.luck(100, tried, 1250)
    assert best == pytest.approx(0.1132, abs=5e-5)
    sharpe = 2.5 / np.sqrt(250)
    error = strategy.sharpe_error(sharpe, 1250, -3, 10)
    assert stats.norm.cdf((sharpe - best) / error) == pytest.approx(0.9004, abs=5e-4)


def test_the_interval_of_the_sharpe_ratio_holds_the_truth():
    rng = np.random.default_rng(1)
    held = []
    for returns in rng.normal(0.05, 1, (400, 500)):
        sharpe, error = strategy.sharpe_ratio(returns)
        held.append(abs(sharpe - 0.05) < 1.96 * error)
    assert 0.92 <= np.mean(held) <= 0.98


def test_performance_by_hand():
    table = pd.DataFrame(
        {"model": "lstm", "rule": "long/flat", "net": [0.1, -0.5, 0.2], "turnover": [1.0, 0.0, 0.5]}
    )
    row = strategy.performance(table, cost_bp=5).iloc[0]
    assert row["total_return"] == pytest.approx(1.1 * 0.5 * 1.2 - 1)
    assert row["max_drawdown"] == pytest.approx(-0.5)
    assert row["turnover"] == pytest.approx(0.5)
    assert row["sharpe"] == pytest.approx(
        np.mean([0.1, -0.5, 0.2]) / np.std([0.1, -0.5, 0.2], ddof=1) * np.sqrt(252)
    )


def test_one_day_has_a_return_and_no_ratio():
    table = days(np.array([[0.01]]), np.array([[0.001]]), 0)["lstm", "long/flat"]
    row = strategy.performance(table, cost_bp=0, trials=4).iloc[0]
    assert row["total_return"] == pytest.approx(np.expm1(0.01))
    assert row[["sharpe", "psr", "dsr"]].isna().all()


def test_more_trials_deflate_more():
    rng = np.random.default_rng(2)
    table = days(*(0.01 * rng.standard_t(5, (2, 250, 2))), 0)["(market)", "buy and hold"]
    one, many = (strategy.performance(table, cost_bp=0, trials=n).iloc[0] for n in (1, 50))
    assert one["dsr"] == one["psr"]
    assert many["dsr"] < one["dsr"]
