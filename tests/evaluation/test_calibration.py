import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from forecaster.distributions import forecasts, quantile_grid
from forecaster.distributions.forecasts import QUANTILES, STUDENT_T
from forecaster.errors import HistoryError
from forecaster.evaluation import calibration, metrics

DF = 5.0
LEVELS = np.array(quantile_grid.LEVELS)
TABLES = [calibration.uniformity, calibration.coverage, calibration.value_at_risk]


def simulated(*, models=1, tickers=1, sessions=250, seed=0, wide=1.0, shared=0.5, wild=1.0):
    """Forecasts of Student-t returns that share a part of their variance within a day.

    Each model has a world of its own, so many models are many repetitions. Forecasts are `wide`
    times as wide as the truth, and `wild` times that in the third of highest volatility.
    """
    rng = np.random.default_rng(seed)
    size = (models, tickers, sessions)
    normal = np.sqrt(shared) * rng.standard_normal((models, 1, sessions))
    normal = normal + np.sqrt(1 - shared) * rng.standard_normal(size)
    unit = normal * np.sqrt(DF / rng.chisquare(DF, (models, 1, sessions)))
    scale = 0.01 * np.exp(0.5 * np.sin(np.arange(sessions) / 20))
    high = scale.argsort().argsort() >= 2 * sessions / 3
    dates = pd.bdate_range("2018-01-01", periods=sessions + 1).to_numpy()
    model, ticker, day = (axis.ravel() for axis in np.indices(size))
    return forecasts.from_student_t(
        ticker=np.array([f"T{i}" for i in range(tickers)])[ticker],
        model=np.array([f"m{i}" for i in range(models)])[model],
        cutoff=dates[:-1][day],
        date=dates[1:][day],
        last_close=100.0,
        log_return=(unit * scale).ravel(),
        location=0.0,
        scale=(scale * wide * np.where(high, wild, 1.0))[day],
        df=DF,
    )


def blind(frame):
    return frame.assign(**dict.fromkeys(STUDENT_T, np.nan))


def pooled(table, split="all"):
    return table[(table["ticker"] == metrics.POOLED) & (table["split"] == split)]


def single(table):
    return table[(table["ticker"] != metrics.POOLED) & (table["split"] == "all")]


def clones(frame, count):
    """The same ticker under so many names: not a bit more is known."""
    return pd.concat([frame.assign(ticker=f"T{i}") for i in range(count)], ignore_index=True)


def uniform(x):
    """Forecasts that are uniform on (0, 1), known by their quantiles."""
    frame = blind(simulated(sessions=len(x))).assign(log_return=x)
    frame[QUANTILES] = np.tile(LEVELS, (len(frame), 1))
    return frame


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


@pytest.mark.parametrize(
    ("n", "level", "least", "most"),
    [
        (255, 0.01, 1, 6),
        (510, 0.01, 2, 10),
        (1000, 0.01, 5, 16),
        (255, 0.05, 7, 20),
        (510, 0.05, 17, 35),
        (1000, 0.05, 38, 64),
    ],
)
def test_kupiec_accepts_what_his_table_does(n, level, least, most):
    # Non-rejection regions at 5%: Kupiec (1995), as in Jorion (2006), Value at risk, table 6-2.
    # At 255 and 1% the table has N < 7 and no lower end; the ratio of no breach, 5.13, rejects.
    breaches = np.arange(n + 1)
    accepted = breaches[calibration.kupiec(breaches, n, level) < stats.chi2.ppf(0.95, 1)]
    assert accepted.max() == most
    assert accepted.min() == least


def test_kupiec_is_the_ratio_of_binomial_likelihoods():
    for breaches, n in ((0, 250), (3, 250), (20, 1000), (250, 250)):
        ratio = stats.binom.logpmf(breaches, n, breaches / n) - stats.binom.logpmf(
            breaches, n, 0.01
        )
        assert calibration.kupiec(breaches, n, 0.01) == pytest.approx(2 * ratio)


def test_christoffersen_is_the_g_test_of_the_transitions():
    for n00, n01, n10, n11 in ((900, 40, 40, 20), (950, 25, 25, 0), (30, 30, 30, 30)):
        table = [[n00, n01], [n10, n11]]
        g = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood").statistic
        assert calibration.christoffersen(n00, n01, n10, n11) == pytest.approx(g, abs=1e-9)
    assert calibration.christoffersen(249, 0, 0, 0) == 0


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


def test_breaches_by_hand():
    # Below q0.05 = 0.05 four times of twelve: a pair in a row, two alone; one below q0.01 = 0.01.
    x = [0.5, 0.04, 0.03, 0.5, 0.5, 0.02, 0.5, 0.5, 0.5, 0.5, 0.005, 0.5]
    table = single(calibration.value_at_risk(uniform(x))).set_index("level")
    row = table.loc[0.95]
    assert (row["breaches"], row["share"]) == (4, 4 / 12)
    assert row["expected"] == pytest.approx(0.6)
    unconditional = calibration.kupiec(4, 12, 0.05)
    independence = calibration.christoffersen(n00=4, n01=3, n10=3, n11=1)
    assert row["unconditional_p"] == pytest.approx(stats.chi2.sf(unconditional, 1))
    assert row["independence_p"] == pytest.approx(stats.chi2.sf(independence, 1))
    assert row["conditional_p"] == pytest.approx(stats.chi2.sf(unconditional + independence, 2))
    assert row["loss"] == pytest.approx(-(0.04 + 0.03 + 0.02 + 0.005) / 4)
    assert table.loc[0.99, "breaches"] == 1
    assert np.isnan(table.loc[0.99, "shortfall_p"])  # of one breach nothing can be said


def test_breaches_over_all_tickers_by_hand():
    # Of two tickers, breaches of q0.05: both on one day, one on two others; twelve days.
    first, second = np.full(12, 0.5), np.full(12, 0.5)
    first[[2, 5]], second[[2, 9]] = 0.01, 0.01
    frame = pd.concat([uniform(first), uniform(second).assign(ticker="T1")], ignore_index=True)
    row = pooled(calibration.value_at_risk(frame)).set_index("level").loc[0.95]
    surplus = np.array([2, 1, 1] + [0] * 9) - 4 / 12
    squares, fourths = (surplus**2).sum(), (surplus**4).sum()
    effect = squares / (4 * (1 - 4 / 24))
    df = 2 * squares**2 / (fourths - squares**2 / 12)
    assert effect > 1
    ratio = calibration.kupiec(4, 24, 0.05) / effect
    assert row["unconditional_p"] == pytest.approx(stats.f.sf(ratio, 1, df))
    inside = pooled(calibration.coverage(frame)).set_index("nominal").loc[0.9]
    z = (20 / 24 - 0.9) / np.sqrt(0.9 * 0.1 * effect / 24)
    assert inside["p_value"] == pytest.approx(2 * stats.t.sf(abs(z), df))
    # Where a bound is the promise, the test of that promise has p = 5%.
    low = inside["low"]
    z = (20 / 24 - low) / np.sqrt(low * (1 - low) * effect / 24)
    assert 2 * stats.t.sf(z, df) == pytest.approx(0.05)


def test_parts_are_thirds_of_a_volatility_known_before_and_common_to_all():
    frame = simulated(tickers=2, sessions=300)
    ewma = frame.assign(model="ewma")
    other = ewma.assign(model="lstm", volatility=ewma["volatility"].iloc[::-1].to_numpy())
    frame = pd.concat([other, ewma], ignore_index=True)
    frame.loc[frame["ticker"] == "T1", "volatility"] *= 10
    marked = frame["volatility"].groupby([frame["model"], frame["ticker"]]).rank() > 200
    high = marked[frame["model"] == "ewma"].to_numpy()
    # Outcomes in the middle where ewma's volatility is high, far out elsewhere: for both models.
    frame["log_return"] = np.where(np.tile(high, 2), 0.0, 1.0)
    table = calibration.coverage(frame)
    volatility = table[(table["split"] == "volatility") & (table["nominal"] == 0.9)]
    assert (volatility["forecasts"] == np.where(volatility["ticker"] == "(all)", 200, 100)).all()
    assert len(volatility) == 3 * 3 * 2
    assert (volatility["share"] == (volatility["part"] == "high")).all()


def test_without_a_reference_the_parts_are_by_each_models_own_volatility():
    frame = simulated(sessions=300)
    high = frame["volatility"].rank() > 200
    table = calibration.coverage(frame.assign(log_return=np.where(high, 0.0, 1.0)))
    assert table[table["part"] == "high"]["share"].eq(1).all()
    assert table[table["part"].isin(["low", "middle"])]["share"].eq(0).all()


@pytest.mark.parametrize("statistic", TABLES)
def test_labels_of_a_table(statistic):
    table = statistic(simulated(models=2, tickers=2, sessions=300))
    assert list(table.columns[:4]) == ["ticker", "model", "split", "part"]
    found = table[["ticker", "split", "part"]].drop_duplicates()
    thirds = ["low", "middle", "high"]
    of_each = [("all", "all"), *(("volatility", part) for part in thirds)]
    expected = [(ticker, *it) for ticker in ("T0", "T1", metrics.POOLED) for it in of_each]
    expected += [(metrics.POOLED, "year", year) for year in ("2018", "2019")]
    assert sorted(found.itertuples(index=False, name=None)) == sorted(expected)
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


def rejected(table, name, **where):
    """Share of rows, each of them a repetition, whose p-value is below 5%."""
    for column, value in where.items():
        table = table[table[column] == value]
    return (table[name] < 0.05).mean()


@pytest.fixture(scope="module")
def right():
    """150 repetitions of right forecasts of 6 tickers that move together."""
    return simulated(models=150, tickers=6, sessions=400, shared=0.6, seed=11)


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


def test_right_values_at_risk_are_called_right(right):
    table = calibration.value_at_risk(right)
    rows, each = pooled(table), single(table)
    for level in (0.95, 0.99):
        assert rejected(rows, "unconditional_p", level=level) <= 0.10
        assert rejected(rows, "independence_p", level=level) <= 0.10
        assert rejected(rows, "conditional_p", level=level) <= 0.10
        assert rejected(rows, "shortfall_p", level=level) <= 0.06
        assert rejected(each, "unconditional_p", level=level) <= 0.08
        assert rejected(each, "independence_p", level=level) <= 0.08
    assert rejected(each, "unconditional_p", level=0.95) >= 0.03
    assert rejected(pooled(table), "unconditional_p", level=0.95) >= 0.01


def test_forecasts_too_narrow_are_found():
    frame = simulated(models=30, tickers=6, sessions=400, wide=0.7, seed=5)
    assert rejected(pooled(calibration.uniformity(frame)), "p_value") > 0.9
    assert rejected(pooled(calibration.coverage(frame)), "p_value", nominal=0.9) > 0.9
    table = pooled(calibration.value_at_risk(frame))
    assert rejected(table, "unconditional_p", level=0.95) > 0.9
    table = table[table["level"] == 0.99]
    assert (table["loss"] > table["shortfall"]).mean() > 0.8


def test_losses_beyond_the_forecast_shortfall_are_found():
    # The value at risk is right, the losses beyond it are half as large again as they should be.
    frame = simulated(models=30, tickers=6, sessions=400, seed=6)
    beyond = frame["log_return"] < frame["q0.05"]
    worse = frame["q0.05"] + 1.5 * (frame["log_return"] - frame["q0.05"])
    frame["log_return"] = frame["log_return"].where(~beyond, worse)
    table = pooled(calibration.value_at_risk(frame))
    assert rejected(table, "shortfall_p", level=0.95) > 0.6
    assert rejected(table, "unconditional_p", level=0.95) < 0.2


def test_breaches_in_a_row_are_found():
    # Volatility comes in spells that the forecasts know nothing of, though their level is right.
    frame = simulated(models=30, tickers=3, sessions=600, shared=0.2, seed=7)
    spells = np.where(np.arange(600) // 30 % 4 == 0, 2.2, 0.6)
    frame["log_return"] *= np.tile(spells, 90)
    level = pooled(calibration.value_at_risk(frame))
    assert rejected(level, "independence_p", level=0.95) > 0.8
    each = single(calibration.value_at_risk(frame))
    assert rejected(each, "independence_p", level=0.95) > 0.5


def test_what_is_right_on_average_and_wrong_in_a_crisis_shows():
    # Too wide in calm, too narrow in the third of highest volatility.
    frame = simulated(models=20, tickers=6, sessions=600, wide=1.3, wild=0.55, seed=8)
    truth = simulated(models=20, tickers=6, sessions=600, seed=8).assign(model="ewma")
    reference = truth.drop_duplicates(["ticker", "date"])
    table = calibration.coverage(pd.concat([frame, reference], ignore_index=True))
    table = table[(table["nominal"] == 0.9) & (table["model"] != "ewma")]
    assert rejected(pooled(table), "p_value") < 0.5
    split = pooled(table, "volatility").groupby("part")["share"].mean()
    assert split["high"] < 0.84
    assert split["low"] > 0.92
    parts = pooled(table, "volatility")
    assert rejected(parts, "p_value", part="high") > 0.9
    assert rejected(parts, "p_value", part="low") > 0.6
