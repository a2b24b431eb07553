import numpy as np
import pandas as pd
import pytest
from repetitions import simulated

from forecaster.evaluation import dynamic_quantile
from forecaster.evaluation.metrics import POOLED


def frame(x, quantile, ticker="AAPL"):
    dates = pd.bdate_range("2015-01-01", periods=len(x))
    values = {"log_return": x, "q0.05": quantile, "q0.01": 2 * np.asarray(quantile)}
    return pd.DataFrame({"ticker": ticker, "model": "lstm", "date": dates, **values})


def test_the_statistic_is_that_of_a_regression():
    from statsmodels.regression.linear_model import OLS

    rng = np.random.default_rng(0)
    scale = np.exp(rng.normal(0, 0.3, 400))
    table = dynamic_quantile.dynamic_quantile(frame(scale * rng.normal(size=400), -1.645 * scale))
    row = table[(table["ticker"] == "AAPL") & (table["level"] == 0.95)].iloc[0]
    rng = np.random.default_rng(0)
    scale = np.exp(rng.normal(0, 0.3, 400))
    hit = (scale * rng.normal(size=400) < -1.645 * scale) - 0.05
    x = np.column_stack([np.ones(396), *(hit[4 - k : 400 - k] for k in range(1, 5)), scale[4:]])
    fitted = OLS(hit[4:], x).fit().fittedvalues
    assert row["statistic"] == pytest.approx(fitted @ fitted / (0.05 * 0.95), rel=1e-6)
    assert (table["ticker"] == POOLED).sum() == 2
    assert table.set_index(["ticker", "level"]).loc[(POOLED, 0.95), "p_value"] == row["p_value"]


@pytest.mark.parametrize("p", [0.05, 0.01])
def test_simulated_statistics_are_those_of_regressions(p):
    values = np.random.default_rng(1).normal(size=(300, 3))
    statistics = dynamic_quantile._simulated_statistics(values, p)
    drawn = np.random.default_rng(0).random((dynamic_quantile.DRAWS, 304)) < p
    for draw, breaches in enumerate(drawn[:100]):
        h = breaches - float(np.float32(p))
        lagged = [h[4 - k : 304 - k] for k in range(5)]
        for ticker, value in enumerate(values.T):
            x = np.column_stack([np.ones(300), *lagged[1:], value])
            fitted = x @ np.linalg.lstsq(x, lagged[0], rcond=None)[0]
            expected = fitted @ fitted / (p * (1 - p))
            assert statistics[draw, ticker] == pytest.approx(expected, rel=1e-4)


def test_sums_over_tickers_and_days_are_those_of_the_series(monkeypatch):
    monkeypatch.setattr(dynamic_quantile, "DAYS_AT_ONCE", 16)
    rng = np.random.default_rng(5)
    surplus, value = rng.normal(size=(2, 40, 3))
    days = rng.integers(40, size=(35, 40))
    sums = dynamic_quantile._sums(surplus, value, days)
    for drawn, its in zip(days, sums, strict=True):
        h = surplus[drawn]
        lagged = [(h[4:] * h[4 - k : 40 - k]).sum() for k in range(1, 5)]
        np.testing.assert_allclose(its, [h[4:].sum(), *lagged, (h[4:] * value[4:]).sum()])


def test_a_ticker_is_tested_alike_alone_and_among_others():
    frame = simulated(models=2, tickers=3, sessions=200, shared=0.5, seed=3)
    frame = frame.drop(frame[frame["ticker"] == frame["ticker"].iloc[0]].index[:50])
    whole = dynamic_quantile.dynamic_quantile(frame)
    for ticker, its in frame.groupby("ticker"):
        alone = dynamic_quantile.dynamic_quantile(its)
        among = whole[whole["ticker"] == ticker].reset_index(drop=True)
        alone = alone[alone["ticker"] == ticker].reset_index(drop=True)
        pd.testing.assert_frame_equal(among, alone, check_exact=True)


def test_breaches_that_follow_breaches_are_foreseen():
    rng = np.random.default_rng(2)
    rough = np.repeat(rng.random(100) < 0.2, 10)  # ten sessions at a time, and the VaR rests
    x = np.where(rough, 2.5, 0.7) * rng.normal(size=1000)
    table = dynamic_quantile.dynamic_quantile(frame(x, np.full(1000, np.quantile(x, 0.05))))
    assert table.set_index("level")["p_value"][0.95].max() < 0.01


def test_size_of_one_ticker():
    rng = np.random.default_rng(4)
    rejected = []
    for _ in range(150):
        scale = np.exp(np.cumsum(rng.normal(0, 0.05, 500)))
        one = frame(scale * rng.normal(size=500), -1.644854 * scale)
        one["q0.01"] = -2.326348 * scale
        table = dynamic_quantile.dynamic_quantile(one)
        rejected.append(table[table["ticker"] == "AAPL"].set_index("level")["p_value"] < 0.05)
    sizes = pd.concat(rejected, axis=1).mean(axis=1)
    assert sizes.between(0.015, 0.095).all(), sizes


def test_size_over_tickers_that_move_together(monkeypatch):
    monkeypatch.setattr(dynamic_quantile, "DRAWS", 199)
    frame = simulated(models=80, tickers=4, sessions=300, shared=0.6, seed=11)
    table = dynamic_quantile.dynamic_quantile(frame)
    pooled = table[table["ticker"] == POOLED]
    sizes = (pooled["p_value"] < 0.05).groupby(pooled["level"]).mean()
    assert sizes.between(0.005, 0.125).all(), sizes


def test_too_few_sessions_say_nothing():
    table = dynamic_quantile.dynamic_quantile(frame(np.zeros(5), -np.ones(5)))
    assert table["p_value"].isna().all()
