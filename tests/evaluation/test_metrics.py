import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.distributions import forecasts, quantile_grid
from forecaster.evaluation import metrics

DAYS = pd.bdate_range("2024-01-01", periods=7)


def frame(model="lstm", ticker="AAPL", log_return=(0.01, -0.02, 0.0, 0.03), **changes):
    n = len(log_return)
    values = {
        "ticker": ticker,
        "model": model,
        "cutoff": DAYS[:n],
        "date": DAYS[1 : n + 1],
        "last_close": 100.0,
        "log_return": np.array(log_return),
        "location": 0.001,
        "scale": 0.01,
        "df": 5.0,
    }
    return forecasts.from_student_t(**{**values, **changes})


def blind(made):
    return made.assign(location=np.nan, scale=np.nan, df=np.nan, skew=np.nan)


def row(table, ticker, model):
    return table[(table["ticker"] == ticker) & (table["model"] == model)].iloc[0]


def test_crps_is_that_of_the_quantiles_with_a_density_or_without():
    made = frame()
    crps = metrics.losses(made)["crps"]
    quantiles = made[forecasts.QUANTILES].to_numpy()
    np.testing.assert_array_equal(crps, quantile_grid.crps(made["log_return"], quantiles))
    made.loc[1:2, forecasts.PARAMETERS] = np.nan
    losses = metrics.losses(made)
    np.testing.assert_array_equal(losses["crps"], crps)
    assert list(losses["log_score"].isna()) == [False, True, True, False]


def test_qlike_of_the_range_is_that_of_its_variance():
    made = frame()
    variance = made[["ticker", "date"]].drop_duplicates().assign(variance=4e-4)
    losses = metrics.losses(made, variance.iloc[1:])
    h = made["volatility"] ** 2
    expected = (np.log(h) + 4e-4 / h).where(made["date"] != variance["date"].iloc[0])
    np.testing.assert_allclose(losses["qlike_range"], expected)


def test_qlike_by_hand_and_least_at_the_truth():
    score = metrics.qlike(np.array([0.02, 0.0]), np.array([0.01, 0.01]))
    np.testing.assert_allclose(score, [np.log(1e-4) + 4, np.log(1e-4)])
    guesses = np.linspace(0.005, 0.04, 36)
    assert guesses[metrics.qlike(np.full(36, 0.02), guesses).argmin()] == pytest.approx(0.02)


def test_inside_takes_the_ends():
    x = np.array([0.0, 1.0, 2.0, 2.1])
    np.testing.assert_array_equal(metrics.inside(0.0, 2.0, x), [True, True, True, False])


@pytest.mark.parametrize(("count", "n"), [(0, 10), (3, 10), (10, 10), (520, 1000)])
def test_wilson_equals_statsmodels(count, n):
    from statsmodels.stats.proportion import proportion_confint

    ends = metrics.wilson(np.array([count / n]), np.array([n]))
    expected = proportion_confint(count, n, method="wilson")
    np.testing.assert_allclose(np.ravel(ends), expected, atol=1e-12)


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_a_wilson_interval_holds_the_share(n, part):
    share = round(part * n) / n
    low, high = metrics.wilson(np.array([share]), np.array([n / 3]))
    assert low[0] <= share <= high[0]


def test_losses_by_hand():
    made = frame(log_return=(0.01, -0.02, 0.0, np.nan), location=0.0, scale=0.01)
    made.loc[:1, "q0.5"] = [0.001, 0.001]
    losses = metrics.losses(made)
    assert len(losses) == 3
    moves = np.expm1([0.01, -0.02, 0.0])
    np.testing.assert_allclose(losses["naive_error"], 100 * np.abs(moves))
    errors = 100 * np.abs(moves - np.expm1([0.001, 0.001, 0.0]))
    np.testing.assert_allclose(losses["error"], errors, atol=1e-12)
    np.testing.assert_array_equal(losses["hit"], [1, 0, np.nan])
    np.testing.assert_array_equal(losses["inside_80"], [True, False, True])
    np.testing.assert_array_equal(losses["inside_90"], [True, True, True])


def test_scores_by_hand():
    made = frame(log_return=(0.01, -0.02, 0.0, 0.03), last_close=np.array([100.0, 50, 80, 10]))
    table = metrics.scores(made)
    assert list(table.columns) == ["ticker", "model", *metrics.SCORES]
    score, losses = row(table, "AAPL", "lstm"), metrics.losses(made)
    assert score["sessions"] == 4
    assert score["crps"] == pytest.approx(100 * losses["crps"].mean())
    errors = np.abs(np.exp(made["log_return"]) - np.exp(0.001))
    assert score["mae"] == pytest.approx((errors * [100, 50, 80, 10]).mean())
    assert score["mae_percent"] == pytest.approx(100 * errors.mean())
    naive = np.abs(np.expm1(made["log_return"])).sum()
    assert score["rel_mae"] == pytest.approx(errors.sum() / naive)
    assert score["coverage_80"] == 0.5
    assert score["hit_rate"] == pytest.approx(2 / 3)
    low, high = metrics.wilson(np.array([2 / 3]), np.array([3]))
    assert (score["hit_low"], score["hit_high"]) == pytest.approx((low[0], high[0]))


def test_one_ticker_pools_to_itself_and_two_have_no_common_currency():
    one = frame()
    table = metrics.scores(one)
    alone, pooled = row(table, "AAPL", "lstm"), row(table, metrics.POOLED, "lstm")
    pd.testing.assert_series_equal(alone.drop("ticker"), pooled.drop("ticker"), check_names=False)
    table = metrics.scores(pd.concat([one, frame(ticker="ALL", last_close=5.0)]))
    assert list(table["ticker"]) == ["AAPL", "ALL", metrics.POOLED]
    assert list(table["mae"].isna()) == [False, False, True]
    assert table["crps"].nunique() == 1


def test_scores_compare_models_on_the_same_days():
    short = frame("gjr").iloc[[0, 3]]
    unknown = frame("naive")
    unknown.loc[3, "log_return"] = np.nan
    elsewhere = frame("lstm", "MSFT")
    table = metrics.scores(pd.concat([frame(), short, unknown, elsewhere], ignore_index=True))
    assert list(table["sessions"]) == [1] * 6
    assert set(table["ticker"]) == {"AAPL", metrics.POOLED}
    assert table["crps"].nunique() == 1


def test_common_needs_the_same_cutoff_too():
    late = frame("gjr")
    late["cutoff"] = late["cutoff"] - pd.Timedelta(days=1)
    assert metrics.common(pd.concat([frame(), late])).empty


def test_without_a_direction_the_hit_rate_is_null():
    both = pd.concat([frame(), frame("naive", location=0.0)], ignore_index=True)
    table = metrics.scores(both).set_index("model")[["hit_rate", "hit_low", "hit_high"]]
    assert table.loc["naive"].isna().to_numpy().all()
    assert table.loc["lstm"].notna().to_numpy().all()


def test_pooled_has_the_ratios_to_the_baselines_that_are_there():
    models = {"lstm": 0.012, "naive": 0.02, "har": 0.01}
    parts = [
        frame(name, ticker, scale=scale)
        for name, scale in models.items()
        for ticker in ("AAPL", "MSFT")
    ]
    table = metrics.scores(pd.concat(parts, ignore_index=True))
    pooled = metrics.pooled(table)
    assert list(pooled.index) == list(models)
    assert list(pooled.columns) == [*metrics.SCORES, "crps/naive"]
    assert pooled.loc["naive", "crps/naive"] == 1
    crps = {name: row(table, metrics.POOLED, name)["crps"] for name in models}
    assert pooled.loc["lstm", "crps/naive"] == pytest.approx(crps["lstm"] / crps["naive"])
    both = metrics.pooled(table.replace({"model": {"har": "gjr"}}))
    assert list(both.columns) == [*metrics.SCORES, "crps/naive", "crps/gjr"]
    assert both.loc["lstm", "crps/gjr"] == pytest.approx(crps["lstm"] / crps["har"])


def test_tickers_that_move_as_one_count_once_in_the_pooled_interval():
    returns = (0.01, -0.01, 0.02, 0.01, -0.02, 0.01)
    many = pd.concat([frame(ticker=f"T{i}", log_return=returns) for i in range(5)])
    table = metrics.scores(many)
    alone, pooled = row(table, "T0", "lstm"), row(table, metrics.POOLED, "lstm")
    assert pooled["hit_rate"] == alone["hit_rate"] == pytest.approx(4 / 6)
    assert pooled["hit_low"] == pytest.approx(alone["hit_low"])
    assert pooled["sessions"] == 6


def test_the_pooled_interval_of_unrelated_tickers_uses_every_forecast():
    rng = np.random.default_rng(5)
    many = pd.concat([frame(ticker=f"T{i}", log_return=rng.normal(0, 0.01, 6)) for i in range(100)])
    pooled = row(metrics.scores(many), metrics.POOLED, "lstm")
    low, high = metrics.wilson(np.array([pooled["hit_rate"]]), np.array([600]))
    width = pooled["hit_high"] - pooled["hit_low"]
    assert width == pytest.approx((high - low)[0], rel=0.6)
    assert width >= (high - low)[0]


def test_one_day_of_many_tickers_is_one_observation():
    returns = [(0.01,), (-0.01,), (0.01,)]
    day = pd.concat([frame(ticker=f"T{i}", log_return=r) for i, r in enumerate(returns)])
    pooled = row(metrics.scores(day), metrics.POOLED, "lstm")
    low, high = metrics.wilson(np.array([2 / 3]), np.array([1]))
    assert (pooled["hit_low"], pooled["hit_high"]) == pytest.approx((low[0], high[0]))


def test_a_model_known_by_its_quantiles_is_scored_but_for_the_log_score():
    table = metrics.scores(blind(frame()))
    assert table["log_score"].isna().all()
    np.testing.assert_allclose(table["crps"], metrics.scores(frame())["crps"])
    other = table.drop(columns=["ticker", "model", "log_score"])
    assert other.notna().to_numpy().all()


def test_nothing_to_score_gives_empty_tables():
    for made in (forecasts.empty(), frame(log_return=(np.nan, np.nan))):
        assert metrics.losses(made).empty
        table = metrics.scores(made)
        assert table.empty
        assert list(table.columns) == ["ticker", "model", *metrics.SCORES]
        assert list(metrics.pooled(table).columns) == metrics.SCORES


@pytest.mark.parametrize("other", [frame("gjr"), blind(frame("gjr"))])
def test_losses_do_not_depend_on_the_blocks_they_are_made_in(monkeypatch, other):
    rows = forecasts.concat([frame(), other])
    variance = rows[["ticker", "date"]].drop_duplicates().assign(variance=1e-4)
    whole = metrics.losses(rows, variance)
    monkeypatch.setattr(metrics, "ROWS_AT_ONCE", 3)
    # But for rounding: numpy adds up short rows in another order.
    pd.testing.assert_frame_equal(metrics.losses(rows, variance), whole, rtol=1e-12)


def test_comparable_rows_are_those_known_that_all_models_have():
    rows = forecasts.concat([frame(), frame("gjr", log_return=(0.01, np.nan, 0.0))])
    result = metrics.comparable(rows)
    pd.testing.assert_frame_equal(result, metrics.common(metrics.known(rows)))
    assert len(result) == 4  # the first and the third day of both
    assert metrics.comparable(result) is result


def test_fz0_by_hand_and_least_at_the_truth():
    # v = -2, e = -4, level 0.05: x = -3 is 1 beyond; 1 / (0.05 4) + 1/2 + log 4 - 1.
    loss = metrics.fz0(np.array([-3.0, 0.0, 0.0]), np.full(3, -2.0), np.array([-4, -4, 1.0]), 0.05)
    expected = 0.5 + np.log(4) - 1
    np.testing.assert_allclose(loss, [expected + 5, expected, np.nan])
    x = np.random.default_rng(0).normal(size=400_000)
    v, e = -1.6448536, -2.0627128  # of a standard normal

    def mean(v, e):
        return metrics.fz0(x, np.full(len(x), v), np.full(len(x), e), 0.05).mean()

    others = [mean(v * a, e * b) for a, b in ((0.9, 1), (1.1, 1), (1, 0.9), (1, 1.1), (1.1, 1.1))]
    assert mean(v, e) < min(others)
