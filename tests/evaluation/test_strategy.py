import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from forecaster.distributions import forecasts
from forecaster.evaluation import strategy
from forecaster.evaluation.experiment_log import Company


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
    result = days(x, location, 10)
    flat, short = result["lstm", "long/flat"], result["lstm", "long/short"]
    np.testing.assert_allclose(flat["gross"], [0.01, 0.005, 0.005])
    # A half grows by 2% in a book that grows by 1%: what it is too large is sold, and paid for.
    moved = [0.5, 0.5 * 1.02 / 1.01 - 0.5, 0.5 * 1.01 / 1.005 + 0.5]
    np.testing.assert_allclose(flat["turnover"], moved)
    np.testing.assert_allclose(
        flat["net"], np.array([0.01, 0.005, 0.005]) - np.multiply(moved, 1e-3)
    )
    np.testing.assert_allclose(short["gross"], [0.015, 0.005, 0.015])
    moved = [1.0, 0.5 * 1.02 / 1.015 - 0.5 + 0.5 * 0.99 / 1.015, 0.5 * 1.01 / 1.005 + 1.0]
    np.testing.assert_allclose(short["turnover"], moved)
    hold = result["(market)", "buy and hold"]
    np.testing.assert_allclose(hold["turnover"], [1, 0, 0], atol=1e-15)
    growth = (1.02 * 1.01 * 0.98 + 0.99 * 1.03 * 1.01) / 2
    assert (1 + hold["gross"]).prod() == pytest.approx(growth)


def mixed(sessions=40, seed=3):
    """Always rising forecasts of a share that trades on weekdays and a coin that trades daily."""
    rng = np.random.default_rng(seed)
    parts = []
    for name, dates in (
        ("SHARE", pd.bdate_range("2018-01-05", periods=sessions + 1)),
        ("COIN", pd.date_range("2018-01-05", periods=7 * sessions // 5 + 1)),
    ):
        returns = 0.03 * rng.standard_t(5, len(dates) - 1)
        parts.append(
            forecasts.from_student_t(
                ticker=name,
                model="lstm",
                cutoff=dates[:-1],
                date=dates[1:],
                last_close=100.0,
                log_return=returns,
                location=0.001,
                scale=0.01,
                df=5.0,
            )
        )
    return forecasts.concat(parts)


def test_a_book_over_two_calendars_holds_what_it_holds():
    table = strategy.daily(mixed(), cost_bp=0)
    curves = strategy.curves(table).set_index(["rule", "date"])
    growth = mixed().assign(growth=lambda it: np.exp(it["log_return"]))
    growth = growth.pivot(index="date", columns="ticker", values="growth").fillna(1.0).cumprod()
    # Bought in equal parts and left alone: the mean of what the two came to, on every day.
    np.testing.assert_allclose(curves.loc["buy and hold", "wealth"], growth.mean(axis=1))
    # From Friday to Saturday only the coin moves, and half of the book is in it.
    saturday = curves.loc[("long/flat", pd.Timestamp("2018-01-06"))]
    assert saturday["gross"] == pytest.approx((growth["COIN"].iloc[0] - 1) / 2)
    assert saturday["turnover"] == 1


def test_no_more_than_all_is_invested_when_a_ticker_comes_over_the_weekend():
    frame = mixed().assign(log_return=0.0)
    late = frame[(frame["ticker"] == "COIN") & (frame["cutoff"] > "2018-01-12")]
    both = forecasts.concat([frame, late.assign(ticker="LATE")])
    book = strategy.daily(both, cost_bp=0).set_index(["rule", "date"])["turnover"]
    for rule in ("long/flat", "buy and hold"):
        # The share's half cannot be sold before Monday's close: the coins get a quarter each.
        assert book[rule, pd.Timestamp("2018-01-14")] == pytest.approx(0.5)
        assert book[rule, pd.Timestamp("2018-01-15")] == pytest.approx(0)
        assert book[rule, pd.Timestamp("2018-01-16")] == pytest.approx(1 / 6 + 2 / 12)
        assert book[rule, pd.Timestamp("2018-01-17")] == pytest.approx(0)


@pytest.mark.parametrize(
    ("dates", "year"),
    [
        (pd.bdate_range("2018-01-01", periods=500), 252),
        (pd.date_range("2018-01-01", periods=500), 365),
        (pd.bdate_range("2018-01-01", periods=500, freq="C", weekmask="Sun Mon Tue Wed Thu"), 252),
        (pd.bdate_range("2018-01-01", periods=500, freq="C", weekmask="1111101"), 302.4),
        (pd.to_datetime(["2018-01-02"]), 252),
    ],
)
def test_each_book_has_its_own_year(dates, year):
    assert strategy.sessions_a_year(pd.Series(dates)) == pytest.approx(year)


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
    best = strategy.luck(list(tried), 1250)
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
    dates = pd.bdate_range("2018-01-01", periods=3)
    returns = {"net": [0.1, -0.5, 0.2], "turnover": [1.0, 0.0, 0.5]}
    table = pd.DataFrame({"model": "lstm", "rule": "long/flat", "date": dates, **returns})
    row = strategy.performance(table, cost_bp=5).iloc[0]
    assert row["total_return"] == pytest.approx(1.1 * 0.5 * 1.2 - 1)
    assert row["max_drawdown"] == pytest.approx(-0.5)
    assert row["turnover"] == pytest.approx(0.5)
    assert row["sharpe"] == pytest.approx(
        np.mean([0.1, -0.5, 0.2]) / np.std([0.1, -0.5, 0.2], ddof=1) * np.sqrt(252)
    )


def test_one_day_has_a_return_and_no_ratio():
    table = days(np.array([[0.01]]), np.array([[0.001]]), 0)["lstm", "long/flat"]
    row = strategy.performance(table, cost_bp=0).iloc[0]
    assert row["total_return"] == pytest.approx(np.expm1(0.01))
    assert row[["sharpe", "psr", "dsr"]].isna().all()


def company(sharpes, unknown=0):
    return Company(len(sharpes) + unknown, tuple(sharpes), unknown)


SHARPES = st.lists(st.floats(-0.2, 0.2), max_size=30)


@given(SHARPES, SHARPES, st.integers(0, 5))
def test_who_tries_more_is_no_luckier(earlier, later, unknown):
    before = strategy.luck(earlier, 250, unknown=unknown)
    assert strategy.luck([*earlier, *later], 250, unknown=unknown) >= before
    assert strategy.luck(earlier, 250, unknown=unknown + 1) >= before


def test_trials_are_the_different_series_of_returns():
    rng = np.random.default_rng(2)
    x, location = 0.01 * rng.standard_t(5, (2, 250, 1))
    one = frame(x, location)
    twins = forecasts.concat([one, one.assign(model="gru")])
    table = strategy.daily(twins, cost_bp=0)
    rows = strategy.performance(table, cost_bp=0).set_index(["model", "rule"])
    assert (rows["trials"].drop("(market)", level=0) == 2).all()
    assert rows.loc["(market)", "trials"].item() == 1
    assert rows.loc["(market)", "dsr"].item() == rows.loc["(market)", "psr"].item()
    ratio = rows["sharpe"] / np.sqrt(rows["sessions_a_year"])
    # The same again, and a series that only holds the market, are no trials.
    again = company([*ratio["lstm"], ratio["(market)"].item()])
    pd.testing.assert_frame_equal(
        strategy.performance(table, cost_bp=0, company=again).set_index(["model", "rule"]), rows
    )
    more = company([0.01, 0.02], unknown=3)
    more = strategy.performance(table, cost_bp=0, company=more).set_index(["model", "rule"])
    assert (more["trials"].drop("(market)", level=0) == 2 + 2 + 6).all()
    assert (more["dsr"].drop("(market)", level=0) < rows["dsr"].drop("(market)", level=0)).all()


def test_wealth_and_drawdown_by_hand():
    dates = pd.to_datetime(["2018-12-28", "2018-12-31", "2019-01-02"])
    rules = [("a", [-0.1, 0.2, -0.5]), ("b", [0.1, 0.0, 0.1])]
    table = pd.concat(
        pd.DataFrame({"model": "m", "rule": rule, "date": dates, "net": net}) for rule, net in rules
    )
    curves = strategy.curves(table).set_index("rule")
    np.testing.assert_allclose(curves.loc["a", "wealth"], [0.9, 1.08, 0.54])
    np.testing.assert_allclose(curves.loc["a", "drawdown"], [-0.1, 0, -0.5])
    years = strategy.by_year(curves.reset_index()).set_index(["rule", "year"])
    np.testing.assert_allclose(
        years.loc[("a", 2018)][["earned", "drawdown"]].astype(float), [0.08, -0.1]
    )
    assert years.loc[("b", 2019), "earned"] == pytest.approx(0.1)
