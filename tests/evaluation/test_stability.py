import numpy as np
import pandas as pd
import pytest
from scipy import stats

from forecaster.evaluation import stability

DAYS = pd.bdate_range("2015-01-01", periods=1001)


def losses(lstm, gjr):
    frames = [
        pd.DataFrame(
            {
                "ticker": "AAPL",
                "model": model,
                "cutoff": DAYS[: len(values)],
                "date": DAYS[1 : len(values) + 1],
                "crps": values,
            }
        )
        for model, values in (("lstm", lstm), ("gjr", gjr))
    ]
    return pd.concat(frames, ignore_index=True)


def test_a_gain_that_turns_is_seen_by_year_and_in_the_worst_window():
    rng = np.random.default_rng(0)
    d = rng.normal(size=1000) + np.where(np.arange(1000) < 700, -0.5, 1.0)
    frame = losses(5 + d, np.full(1000, 5.0))
    (row,) = stability.stability(frame, against=["gjr"]).to_dict("records")
    assert row["fluctuation_p"] < 0.001
    assert row["highest"] > 3
    assert DAYS[690] < pd.Timestamp(row["worst_from"]) < DAYS[710]
    assert row["worst_difference"] == pytest.approx(1, abs=0.2)
    years = stability.by_year(frame, against=["gjr"]).set_index("year")
    of = years["difference"]
    assert of[2015] < 0 < of[2018]
    series = pd.Series(d, DAYS[1:])
    np.testing.assert_allclose(of, series.groupby(series.index.year).mean())
    np.testing.assert_allclose(years["ratio"], 1 + of / 5)
    assert years["sessions"].to_dict() == series.groupby(series.index.year).size().to_dict()


def test_giacomini_and_white_is_the_regression_of_one_on_the_moments():
    # Their paper: the statistic is n times the uncentred R² of a regression of 1 on the moments.
    from statsmodels.regression.linear_model import OLS

    d = np.random.default_rng(1).normal(0.1, 1, 300)
    statistic, p_value = stability.conditional_ability(d)
    fit = OLS(np.ones(299), np.column_stack([d[1:], d[1:] * d[:-1]])).fit()
    assert statistic == pytest.approx(299 * (1 - fit.ssr / 299))
    assert p_value == pytest.approx(stats.chi2.sf(statistic, 2))
    assert stability.conditional_ability(np.zeros(50)) == (0.0, 1.0)


def test_a_foreseeable_difference_of_mean_zero_is_found():
    noise = np.random.default_rng(2).normal(size=501)
    d = noise[1:] + 0.5 * noise[:-1]
    assert stability.conditional_ability(d)[1] < 0.001


def test_the_critical_value_is_that_of_the_paper():
    # Giacomini and Rossi (2010), table 1: for a window of 0.3, 3.012 at 5% and 2.766 at 10%.
    result = np.quantile(stability._largest(), [0.9, 0.95])
    np.testing.assert_allclose(result, [2.766, 3.012], rtol=0.02)


def test_sizes_under_equal_losses():
    rng = np.random.default_rng(3)
    conditional, moving = [], []
    for _ in range(300):
        d = rng.standard_t(5, 750)
        conditional.append(stability.conditional_ability(d)[1] < 0.05)
        extreme = np.abs(stability.fluctuation(d)).max()
        moving.append((stability._largest() >= extreme).mean() < 0.05)
    assert 0.02 <= np.mean(conditional) <= 0.085
    assert 0.02 <= np.mean(moving) <= 0.085


def test_windows_by_hand():
    d = np.array([1.0, 2.0, 4.0, 0.0, 3.0, 1.0, 5.0, 2.0, 0.0, 2.0])
    weight = np.sqrt(2 / 10) * d @ np.cos(np.pi * (np.arange(10) + 0.5) / 10)  # one: 0.4 10^(2/3)
    sums = [7, 6, 7, 4, 9, 8, 7, 4]  # of three sessions
    np.testing.assert_allclose(stability.fluctuation(d), sums / np.sqrt(3 * weight**2))


def test_too_few_sessions_and_equal_models_say_nothing():
    assert stability.stability(losses([1.0] * 5, [2.0] * 5), against=["gjr"]).empty
    (row,) = stability.stability(losses([1.0] * 50, [1.0] * 50), against=["gjr"]).to_dict("records")
    assert (row["fluctuation"], row["fluctuation_p"], row["conditional_p"]) == (0.0, 1.0, 1.0)


def test_the_windows_of_a_pair_end_with_its_last_session():
    d = np.random.default_rng(4).normal(size=100)
    series = stability.moving(losses(5 + d, np.full(100, 5.0)), "lstm", "gjr")
    assert series.index[-1] == DAYS[100]
    np.testing.assert_allclose(series, stability.fluctuation(d))
    assert stability.critical_value() == pytest.approx(3.012, rel=0.02)
