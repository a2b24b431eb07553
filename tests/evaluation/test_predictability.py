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


def with_mean(x, mean, model="lstm"):
    """A frame that also knows its cutoffs, of one ticker."""
    frame = frame_of(x, mean, model)
    return frame.assign(cutoff=frame["date"] - pd.Timedelta(days=1))


def frame_of(x, mean, model):
    return frame(np.asarray(x)[:, None], np.asarray(mean)[:, None], model=model)


def test_the_mean_against_the_historical_mean_by_hand():
    x = np.array([0.01, -0.02, 0.03, 0.01])
    mine, history = np.array([0.01, -0.01, 0.01, 0.02]), np.full(4, 0.005)
    rows = pd.concat([with_mean(x, mine), with_mean(x, history, "drift")], ignore_index=True)
    row = predictability.mean_test(rows).iloc[0]
    squares = np.square(x - history), np.square(x - mine)
    assert row["r2"] == pytest.approx(1 - squares[1].sum() / squares[0].sum())
    gain = (squares[0] - squares[1] + np.square(history - mine)) / np.mean(x**2)
    # Four sessions have one cosine weight, floor(0.4 4^(2/3)), whose square is the variance.
    weight = np.sqrt(2 / 4) * gain @ np.cos(np.pi * (np.arange(4) + 0.5) / 4)
    assert row["statistic"] == pytest.approx(gain.mean() / np.sqrt(weight**2 / 4))
    assert row["p_value"] == pytest.approx(stats.t.sf(row["statistic"], 1))
    assert (row["against"], row["sessions"]) == ("drift", 4)


def test_without_the_historical_mean_there_is_no_test_of_the_mean():
    x = np.zeros(5)
    assert predictability.mean_test(with_mean(x, x)).empty


def test_clark_and_west_have_their_size_and_find_what_is_there():
    rng = np.random.default_rng(7)
    result = {0.0: [], 0.15: []}
    for skill, p_values in result.items():
        for _ in range(50 if skill else 100):
            signal, x = rng.normal(size=(2, 250))
            x = skill * signal + x
            # The model's own estimate is noisy, as estimates are; that costs it no size.
            rows = [with_mean(x, 0.15 * signal), with_mean(x, 0 * x, "drift")]
            p_values.append(predictability.mean_test(pd.concat(rows))["p_value"].item())
    assert 0.01 <= np.mean(np.array(result[0.0]) < 0.05) <= 0.1
    assert np.mean(np.array(result[0.15]) < 0.05) > 0.6


def test_the_lead_test_says_which_day_a_forecast_knows():
    x = np.random.default_rng(8).normal(size=(300, 3))
    for lead, shift in ((-1, 1), (0, 0), (1, -1)):
        table = predictability.lead_test(frame(x, np.roll(x, shift, axis=0))).set_index("lead")
        assert table.loc[lead, "correlation"] > 0.98
        assert table.loc[lead, "p_value"] < 1e-6
        others = table.drop(index=[lead, predictability.AHEAD])
        assert others["correlation"].abs().max() < 0.1
    ahead = sum(np.roll(x, -k, axis=0) for k in range(1, predictability.AHEAD + 1))
    table = predictability.lead_test(frame(x, ahead)).set_index("lead")
    assert table.loc[predictability.AHEAD, "correlation"] > 0.9
    assert abs(table.loc[0, "correlation"]) < 0.1


def test_a_median_at_rest_leads_nowhere():
    x = np.random.default_rng(9).normal(size=(50, 2))
    assert predictability.lead_test(frame(x, np.full((50, 2), 0.001))).empty


def test_autocorrelation_is_that_of_each_ticker():
    x = np.random.default_rng(10).normal(size=(4000, 2))
    bounce = x[1:] - 0.5 * x[:-1]  # a moving average of -0.5 / 1.25
    assert predictability.autocorrelation(frame(bounce, bounce)) == pytest.approx(-0.4, abs=0.03)
