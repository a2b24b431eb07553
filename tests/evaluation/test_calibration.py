import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from repetitions import DF, LEVELS, blind, pooled, rejected, simulated, single, uniform
from scipy import stats

from forecaster.distributions.forecasts import QUANTILES
from forecaster.errors import HistoryError
from forecaster.evaluation import calibration, clusters, metrics, value_at_risk

TABLES = [calibration.uniformity, calibration.coverage, value_at_risk.value_at_risk]


def clones(frame, count):
    """The same ticker under so many names: not a bit more is known."""
    return pd.concat([frame.assign(ticker=f"T{i}") for i in range(count)], ignore_index=True)


def test_pit_of_a_student_t_is_its_cdf():
    frame = simulated()
    expected = stats.t.cdf(frame["log_return"], DF, frame["location"], frame["scale"])
    np.testing.assert_allclose(calibration.pit(frame), expected, rtol=1e-10)


@given(st.floats(0.01, 0.99))
def test_pit_of_a_uniform_forecast_is_near_its_outcome(outcome):
    assert calibration.pit(uniform([outcome]))[0] == pytest.approx(outcome, abs=0.005)


@given(st.lists(st.floats(-1, 2), min_size=2, max_size=20))
def test_pit_from_quantiles_rises_with_the_outcome(outcomes):
    values = calibration.pit(uniform(sorted(outcomes)))
    assert (np.diff(values) >= -1e-15).all()
    assert ((values >= 0) & (values <= 1)).all()


def test_pit_from_quantiles_is_near_the_closed_form():
    frame = simulated(sessions=2000)
    difference = calibration.pit(blind(frame)) - calibration.pit(frame)
    assert np.abs(difference).max() < 0.001


def test_pit_of_equal_quantiles_and_of_the_unknown():
    frame = uniform([-1.0, 0.0, 1.0, np.nan])
    frame[QUANTILES] = 0.0
    values = calibration.pit(frame)
    np.testing.assert_allclose(values[:3], [0, 0.99, 1], atol=1e-5)
    assert np.isnan(values[3])


def test_coverage_by_hand():
    # Quantiles are the levels: of ten outcomes 6 lie in the 50% interval and 9 in the 90%.
    frame = uniform([0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.99])
    table = single(calibration.coverage(frame)).set_index("nominal")
    assert table["share"].to_dict() == {0.5: 0.6, 0.8: 0.8, 0.9: 0.9, 0.95: 0.9, 0.98: 1.0}
    np.testing.assert_allclose(table["effective"], 10)
    z = (0.6 - 0.5) / np.sqrt(0.25 / 10)
    assert table.loc[0.5, "p_value"] == pytest.approx(2 * stats.norm.sf(z))
    low, high = metrics.wilson(np.array([0.6]), np.array([10]))
    np.testing.assert_allclose(table.loc[0.5, ["low", "high"]].astype(float), [low[0], high[0]])


def test_parts_are_thirds_of_the_ewma_of_the_squared_returns_before():
    frame = simulated(tickers=2, sessions=301)
    labels = clusters.labelled(frame).rows
    # A second route: pandas' own average, which corrects the weights of a short past too.
    squares = frame["log_return"] ** 2
    past = squares.groupby(frame["ticker"]).transform(lambda x: x.ewm(alpha=0.06).mean().shift(1))
    rank = past.groupby(frame["ticker"]).rank()  # of 300, as nothing comes before the first
    expected = np.select([rank > 200, rank > 100, rank > 0], ["high", "middle", "low"], None)
    assert labels["volatility"].astype(object).where(rank.notna(), None).tolist() == list(expected)
    assert labels["volatility"].isna().sum() == 2
    counts = calibration.coverage(frame).query("split == 'volatility' and ticker != '(all)'")
    assert counts["forecasts"].eq(100).all()


def test_the_part_of_a_day_does_not_depend_on_what_came_of_it():
    frame = simulated(sessions=200)
    crash = frame.assign(log_return=[*frame["log_return"][:-1], -0.9])
    one, other = (clusters.labelled(it).rows["volatility"].tolist() for it in (frame, crash))
    assert one == other


def test_parts_do_not_depend_on_other_models():
    frame = simulated(models=3, tickers=2, sessions=120)
    frame = frame.assign(log_return=frame["log_return"].where(frame["model"] != "m1", 0.01))
    alone = frame[frame["model"] == "m0"]
    together = clusters.labelled(frame).rows[frame["model"].to_numpy() == "m0"]
    assert clusters.labelled(alone).rows["volatility"].tolist() == together["volatility"].tolist()


@pytest.mark.parametrize("statistic", TABLES)
def test_labels_of_a_table(statistic):
    table = statistic(simulated(models=2, tickers=2, sessions=300))
    assert list(table.columns[:4]) == ["ticker", "model", "split", "part"]
    result = table[["ticker", "split", "part"]].drop_duplicates()
    thirds = ["low", "middle", "high"]
    of_each = [("all", "all"), *(("volatility", part) for part in thirds)]
    expected = [(ticker, *it) for ticker in ("T0", "T1", metrics.POOLED) for it in of_each]
    expected += [(metrics.POOLED, "year", year) for year in ("2018", "2019")]
    assert sorted(result.itertuples(index=False, name=None)) == sorted(expected)
    keys = [name for name in ("level", "nominal") if name in table]
    assert not table.duplicated(["ticker", "model", "split", "part", *keys]).any()
    whole = pooled(table)
    assert (whole["forecasts"] == 600).all()
    assert (whole["sessions"] == 300).all()


@pytest.mark.parametrize("statistic", TABLES)
def test_copies_of_a_ticker_are_no_evidence(statistic):
    frame = simulated(sessions=400, wide=0.85, seed=3)
    one = pooled(statistic(frame))
    five = pooled(statistic(clones(frame, 5)))
    names = [name for name in one if name.endswith(("p_value", "_p"))]
    assert one[names].notna().all(axis=None)
    more = five[names].to_numpy() - one[names].to_numpy()
    assert (more >= -1e-6).all()
    assert (more <= 0.01).all()  # that the copies are not independent has to be found out


@pytest.mark.parametrize("statistic", TABLES)
def test_over_all_of_one_ticker_is_that_ticker(statistic):
    frame = simulated(models=2, sessions=400)
    table = statistic(frame)
    names = [name for name in table if name not in ("ticker", "split", "statistic", "df")]
    # The chi-square of the PIT is corrected over all tickers with what it finds: nearly the same.
    tolerance = 0.05 if "df" in table else 1e-9
    pd.testing.assert_frame_equal(
        pooled(table)[names].reset_index(drop=True),
        single(table)[names].reset_index(drop=True),
        rtol=tolerance,
        atol=tolerance / 10,
    )


@pytest.mark.parametrize("statistic", TABLES)
def test_order_of_rows_and_unknown_outcomes_do_not_matter(statistic):
    frame = simulated(models=2, tickers=2, sessions=200)
    known = frame.sample(frac=0.9, random_state=0).sort_index()
    gaps = frame.assign(log_return=frame["log_return"].where(frame.index.isin(known.index)))
    kept = gaps.copy()
    keys = ["ticker", "model", "split", "part"]

    def in_order(table):
        keys_of = [*keys, *(name for name in ("level", "nominal") if name in table)]
        return table.sort_values(keys_of, ignore_index=True)

    table = in_order(statistic(known))
    pd.testing.assert_frame_equal(in_order(statistic(gaps)), table)
    shuffled = gaps.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(in_order(statistic(shuffled)), table)
    pd.testing.assert_frame_equal(gaps, kept)
    with pytest.raises(HistoryError, match="none"):
        statistic(frame.assign(log_return=np.nan))


def test_right_forecasts_are_called_uniform(right):
    table = calibration.uniformity(right)
    assert 0.01 <= rejected(pooled(table), "p_value") <= 0.10
    assert 0.03 <= rejected(single(table), "p_value") <= 0.07
    assert pooled(table)["df"].lt(19).all()


def test_right_intervals_are_called_right(right):
    table = calibration.coverage(right)
    for nominal in calibration.COVERAGES:
        assert rejected(pooled(table), "p_value", nominal=nominal) <= 0.11
        assert rejected(single(table), "p_value", nominal=nominal) <= 0.08
    wide = pooled(table)[pooled(table)["nominal"] == 0.8]
    assert 0.01 <= rejected(wide, "p_value") <= 0.10
    inside = (wide["low"] <= 0.8) & (wide["high"] >= 0.8)
    np.testing.assert_array_equal(inside, wide["p_value"] >= 0.05)
    assert (wide["effective"] < 0.7 * wide["forecasts"]).all()  # else 16% were rejected


def test_forecasts_too_narrow_are_found():
    frame = simulated(models=30, tickers=6, sessions=400, wide=0.7, seed=5)
    assert rejected(pooled(calibration.uniformity(frame)), "p_value") > 0.9
    assert rejected(pooled(calibration.coverage(frame)), "p_value", nominal=0.9) > 0.9
    table = pooled(value_at_risk.value_at_risk(frame))
    assert rejected(table, "unconditional_p", level=0.95) > 0.9
    table = table[table["level"] == 0.99]
    assert (table["loss"] > table["shortfall"]).mean() > 0.8


def test_what_is_right_on_average_and_wrong_in_a_crisis_shows():
    # Too wide in calm, too narrow in the third of highest volatility.
    frame = simulated(models=20, tickers=6, sessions=600, wide=1.3, wild=0.55, seed=8, cycle=60)
    table = calibration.coverage(frame)
    table = table[table["nominal"] == 0.9]
    assert rejected(pooled(table), "p_value") < 0.5
    split = pooled(table, "volatility").groupby("part")["share"].mean()
    assert split["high"] < 0.84
    assert split["low"] > 0.92
    parts = pooled(table, "volatility")
    assert rejected(parts, "p_value", part="high") > 0.9
    assert rejected(parts, "p_value", part="low") > 0.6


def test_the_histogram_counts_the_pits_and_its_band_is_binomial():
    x = [0.02, 0.03, 0.049, 0.5, 0.51, 0.99]
    frame = pd.concat([uniform(x), uniform(x[:5]).assign(model="other")], ignore_index=True)
    table = calibration.histogram(frame)
    mine = table[table["model"] == "m0"]
    assert (mine["share"] * 6).round(9).tolist() == [3, *[0] * 9, 2, *[0] * 8, 1]
    np.testing.assert_allclose(mine["start"], np.arange(20) / 20)
    assert mine["forecasts"].eq(6).all()
    assert table.groupby("model")["share"].sum().to_dict() == pytest.approx({"m0": 1, "other": 1})
    band = stats.binom.ppf([0.025, 0.975], 5, 0.05) / 5
    np.testing.assert_allclose(table.loc[table["model"] == "other", ["low", "high"]].iloc[0], band)


def test_reliability_is_the_share_at_or_below_each_quantile():
    table = calibration.reliability(uniform([0.04, 0.05, 0.5, 0.96])).set_index("level")
    shares = table["share"]
    assert (shares[0.025], shares[0.05], shares[0.5], shares[0.975]) == (0, 0.5, 0.75, 1)
    np.testing.assert_allclose(table["high"], stats.binom.ppf(0.975, 4, LEVELS) / 4)


def test_coverage_by_thirds_is_of_what_all_models_forecast():
    frame = simulated(models=2, tickers=2, sessions=90)
    partial = frame.drop(index=frame[(frame["model"] == "m1") & (frame["ticker"] == "T1")].index)
    table = calibration.coverage_by_thirds(partial, 0.8)
    alone = calibration.coverage(frame[frame["ticker"] == "T0"])
    alone = alone[(alone["nominal"] == 0.8) & (alone["split"] == "volatility")]
    alone = alone[alone["ticker"] == metrics.POOLED]
    np.testing.assert_array_equal(table["share"], alone["share"])
    assert table["ticker"].eq(metrics.POOLED).all()


def test_the_least_expected_come_first():
    table = calibration.surprises(uniform([0.5, 0.99, 0.025, 0.3]), 3)
    assert table["log_return"].tolist() == [0.99, 0.025, 0.3]
    np.testing.assert_allclose(table["days"], [50, 20, 1 / 0.6])
    np.testing.assert_allclose(table["expected"], [0.08, 0.2, 2.4])
