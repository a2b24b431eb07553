import numpy as np
import pandas as pd
import pytest
from scipy import stats

from forecaster.evaluation import predictability
from forecaster.evaluation.metrics import POOLED


def frame(x, median, *, tickers=None, model="lstm"):
    """Forecasts (dates, tickers) of which only signs and means are read."""
    x, median = np.atleast_2d(x), np.atleast_2d(median)
    dates = pd.bdate_range("2018-01-01", periods=len(x))
    names = tickers or [f"T{i}" for i in range(x.shape[1])]
    return pd.DataFrame(
        {
            "ticker": np.tile(names, len(x)),
            "model": model,
            "date": np.repeat(dates, len(names)),
            "log_return": x.ravel(),
            "q0.5": median.ravel(),
            "mean": median.ravel(),
        }
    )


def test_pesaran_and_timmermann_by_hand():
    # 10 sessions: 6 up, 5 called up, 9 right. P = .9, P* = .6 * .5 + .4 * .5 = .5.
    x = np.array([1, 1, 1, 1, 1, 1, -1, -1, -1, -1])[:, None]
    call = np.array([1, 1, 1, 1, 1, -1, -1, -1, -1, -1])[:, None]
    row = predictability.sign_test(frame(x, call)).iloc[0]
    assert (row["hit_rate"], row["expected"]) == (0.9, 0.5)
    of_hits = 0.5 * 0.5 / 10
    of_chance = (0.2**2 * 0.25 + 0) / 10 + 4 * 0.6 * 0.5 * 0.4 * 0.5 / 100
    assert row["statistic"] == pytest.approx(0.4 / np.sqrt(of_hits - of_chance))
    assert row["p_value"] == pytest.approx(stats.norm.sf(row["statistic"]))


def test_a_sign_that_never_changes_has_no_skill_to_test():
    x = np.random.default_rng(0).normal(size=(50, 1))
    table = predictability.sign_test(frame(x, np.ones((50, 1))))
    assert table["statistic"].isna().all()
    assert table["hit_rate"].iloc[0] == (x > 0).mean()


@pytest.mark.parametrize(("skill", "least", "most"), [(0.0, 0.02, 0.09), (0.3, 0.9, 1.0)])
def test_size_and_power_when_tickers_move_together(skill, least, most):
    rng = np.random.default_rng(1)
    rejected, each = [], []
    for _ in range(200):
        market = rng.normal(size=(250, 1))
        x = market + 0.5 * rng.normal(size=(250, 6))
        call = skill * x + rng.normal(size=(250, 1)) + 0.3 * rng.normal(size=(250, 6))
        table = predictability.sign_test(frame(x, call))
        rejected.append(table.loc[table["ticker"] == POOLED, "p_value"].item() < 0.05)
        each.append((table.loc[table["ticker"] != POOLED, "p_value"] < 0.05).mean())
    assert least <= np.mean(rejected) <= most
    assert least <= np.mean(each) <= most


def test_information_is_the_mean_correlation_of_days():
    rng = np.random.default_rng(2)
    x, mean = rng.normal(size=(2, 40, 8))
    row = predictability.information_coefficients(frame(x, mean)).iloc[0]
    pearson = [stats.pearsonr(a, b).statistic for a, b in zip(mean, x, strict=True)]
    spearman = [stats.spearmanr(a, b).statistic for a, b in zip(mean, x, strict=True)]
    assert row["ic"] == pytest.approx(np.mean(pearson))
    assert row["rank_ic"] == pytest.approx(np.mean(spearman))
    assert row["days"] == 40


def test_equal_forecasts_and_few_tickers_rank_nothing():
    x = np.random.default_rng(3).normal(size=(30, 6))
    row = predictability.information_coefficients(frame(x, np.full((30, 6), 0.001))).iloc[0]
    assert np.isnan(row["ic"])
    assert predictability.information_coefficients(frame(x[:, :3], x[:, :3])).iloc[0]["days"] == 0
