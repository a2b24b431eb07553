import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from forecaster.distributions import forecasts, quantile_grid, recalibration
from forecaster.errors import ForecastError, PricesError
from forecaster.evaluation import calibration

CUTOFFS = pd.to_datetime(["2024-01-02", "2024-01-03", "2024-01-04"])
DATES = pd.to_datetime(["2024-01-03", "2024-01-04", "2024-01-05"])


def frame(**changes):
    values = {
        "ticker": "AAPL",
        "model": "lstm",
        "cutoff": CUTOFFS,
        "date": DATES,
        "last_close": np.array([100.0, 101.0, 99.0]),
        "log_return": np.array([0.01, -0.02, np.nan]),
        "location": 0.001,
        "scale": np.array([0.01, 0.02, 0.03]),
        "df": 5.0,
    }
    return forecasts.from_student_t(**{**values, **changes})


def test_levels_and_column_names():
    assert len(quantile_grid.LEVELS) == 23
    assert list(quantile_grid.LEVELS) == sorted(quantile_grid.LEVELS)
    np.testing.assert_allclose(np.add(quantile_grid.LEVELS, quantile_grid.LEVELS[::-1]), 1)
    expected = ["q0.01", "q0.025", "q0.05", "q0.1", "q0.15"]
    assert forecasts.QUANTILES[:5] == expected
    assert forecasts.QUANTILES[-3:] == ["q0.95", "q0.975", "q0.99"]
    assert forecasts.FORECAST_COLUMNS[-4:] == ["location", "scale", "df", "skew"]


def test_from_student_equals_scipy_stats():
    made = frame()
    t = stats.t(5, 0.001, made["scale"].to_numpy()[:, None])
    np.testing.assert_allclose(made[forecasts.QUANTILES], t.ppf(quantile_grid.LEVELS), rtol=1e-9)
    np.testing.assert_allclose(made["volatility"], t.std().ravel())
    assert list(made["ticker"]) == ["AAPL"] * 3
    assert list(made["step"]) == [1, 1, 1]


def test_frames_have_the_same_columns_and_dtypes_with_and_without_rows():
    pd.testing.assert_series_equal(frame().dtypes, forecasts.empty().dtypes)
    assert list(forecasts.empty().columns) == forecasts.FORECAST_COLUMNS
    assert forecasts.check(forecasts.empty()).empty
    none = frame(
        cutoff=CUTOFFS[:0], date=DATES[:0], last_close=1.0, log_return=np.nan, scale=np.array([])
    )
    assert none.empty


def test_concat_of_some_and_of_none():
    joined = forecasts.concat([frame(), forecasts.empty(), frame(model="naive")])
    assert list(joined["model"]) == ["lstm"] * 3 + ["naive"] * 3
    pd.testing.assert_series_equal(joined.dtypes, forecasts.empty().dtypes)
    pd.testing.assert_frame_equal(forecasts.concat([]), forecasts.empty())


def test_check_orders_columns_drops_others_and_leaves_its_input_alone():
    mixed = frame().iloc[:, ::-1].assign(note="x", cutoff=CUTOFFS.astype("datetime64[ns]"))
    before = mixed.copy()
    pd.testing.assert_frame_equal(forecasts.check(mixed), frame())
    pd.testing.assert_frame_equal(mixed, before)


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("date", CUTOFFS[1], "a date after the cutoff"),
        ("step", 0, "a step of 1 or more"),
        ("log_return", np.inf, "a finite or null log_return"),
        ("mean", np.nan, "a finite mean"),
        ("volatility", 0.0, "a finite volatility above zero"),
        ("volatility", np.inf, "a finite volatility above zero"),
        ("q0.5", np.nan, "finite quantiles"),
        ("q0.5", 1.0, "quantiles that do not decrease"),
        ("scale", -1.0, "null in all four"),
        ("df", np.nan, "null in all four"),
        ("df", 2.0, "null in all four"),
        ("skew", 1.0, "null in all four"),
    ],
)
def test_check_refuses_and_names_the_row(column, value, rule):
    bad = frame()
    bad.loc[1, column] = value
    with pytest.raises(ForecastError, match=rule) as caught:
        forecasts.check(bad)
    message = str(caught.value)
    assert "AAPL by lstm with cutoff 2024-01-0" in message
    assert "\n" not in message


@pytest.mark.parametrize("close", [0.0, -1.0, np.nan, np.inf])
def test_a_bad_last_close_is_an_error_of_prices(close):
    with pytest.raises(PricesError, match="AAPL by lstm with cutoff 2024-01-02"):
        frame(last_close=np.array([close, 1.0, 1.0]))


def test_check_refuses_duplicates_but_not_other_steps():
    twice = pd.concat([frame(), frame()], ignore_index=True)
    with pytest.raises(ForecastError, match="one row for each"):
        forecasts.check(twice)
    twice["step"] = [1] * 3 + [2] * 3
    assert len(forecasts.check(twice)) == 6


@pytest.mark.parametrize("column", ["ticker", "model"])
@pytest.mark.parametrize("name", ["A\x1b[2J", "\u202eA", "A\u200b"])
def test_check_refuses_names_that_would_command_a_terminal(column, name):
    bad = frame()
    bad.loc[1, column] = name
    with pytest.raises(ForecastError, match=f"a {column} of characters that print"):
        forecasts.check(bad)


def test_check_refuses_missing_columns_and_keys_and_wrong_types():
    with pytest.raises(ForecastError, match=r"without q0\.5, df"):
        forecasts.check(frame().drop(columns=["q0.5", "df"]))
    with pytest.raises(ForecastError, match="none in row 2"):
        forecasts.check(frame().assign(ticker=["AAPL", "MSFT", None]))
    with pytest.raises(ForecastError, match="float64 in the column mean"):
        forecasts.check(frame().assign(mean="much"))
    with pytest.raises(ForecastError, match="in the column date"):
        forecasts.check(frame().assign(date=20240105))
    with pytest.raises(ForecastError, match="in the column cutoff"):
        forecasts.check(frame().assign(cutoff=CUTOFFS.tz_localize("UTC")))


def test_from_student_needs_a_volatility():
    with pytest.raises(ForecastError, match="volatility"):
        frame(df=2.0)


@pytest.mark.parametrize(
    ("coverage", "low", "high"),
    [
        (0.5, "q0.25", "q0.75"),
        (0.8, "q0.1", "q0.9"),
        (0.9, "q0.05", "q0.95"),
        (0.95, "q0.025", "q0.975"),
        (0.98, "q0.01", "q0.99"),
    ],
)
def test_interval_picks_its_two_quantiles(coverage, low, high):
    made = frame()
    ends = forecasts.interval(made, coverage)
    np.testing.assert_array_equal(ends, [made[low], made[high]])


@pytest.mark.parametrize("coverage", [0.85, 0.0, 1.0, 80])
def test_interval_refuses_other_coverages(coverage):
    with pytest.raises(ForecastError, match="expected a coverage among"):
        forecasts.interval(frame(), coverage)


def test_prices_by_hand():
    made = frame(location=0.0)
    view = forecasts.prices(made)
    np.testing.assert_allclose(view["median"], [100, 101, 99])
    np.testing.assert_allclose(view["price"][:2], [100 * np.exp(0.01), 101 * np.exp(-0.02)])
    assert np.isnan(view["price"][2])
    np.testing.assert_allclose(view["q0.9"], made["last_close"] * np.exp(made["q0.9"]))
    assert "log_return" not in view
    assert "log_return" in made


def test_probability_of_rise_of_a_student():
    rise = forecasts.probability_of_rise(frame())
    np.testing.assert_allclose(rise, stats.t.sf(0, 5, 0.001, [0.01, 0.02, 0.03]))


@pytest.mark.parametrize(
    ("quantiles", "expected"),
    [
        (np.array(quantile_grid.LEVELS) - 0.5, 0.5),
        (np.array(quantile_grid.LEVELS) - 0.3, 0.7),
        (np.array(quantile_grid.LEVELS) + 10, 1.0),
        (np.array(quantile_grid.LEVELS) - 10, 0.0),
        (np.zeros(23), 0.01),
        (np.r_[np.zeros(12), np.ones(11)], 0.5),
    ],
)
def test_probability_of_rise_from_quantiles_by_hand(quantiles, expected):
    made = frame().assign(location=np.nan, scale=np.nan, df=np.nan, skew=np.nan)
    made[forecasts.QUANTILES] = quantiles
    rise = forecasts.probability_of_rise(forecasts.check(made))
    np.testing.assert_allclose(rise, expected, atol=1e-4)


def test_a_frame_of_before_there_was_a_skew_has_none():
    made = frame()
    made.loc[0, forecasts.PARAMETERS] = np.nan
    old = forecasts.check(made.drop(columns="skew"))
    assert np.isnan(old["skew"].iloc[0])
    assert (old["skew"].iloc[1:] == 0).all()


def test_a_skew_moves_the_quantiles_to_its_side():
    plain, skewed = frame(), frame(skew=-0.2)
    assert (skewed["q0.01"] < plain["q0.01"]).all()
    assert (skewed["q0.99"] < plain["q0.99"]).all()
    np.testing.assert_allclose(forecasts.cdf(skewed, skewed["q0.05"]), 0.05, rtol=1e-9)


def without_parameters(made):
    return made.assign(location=np.nan, scale=np.nan, df=np.nan, skew=np.nan)


@given(location=st.floats(-0.02, 0.02), scale=st.floats(0.001, 0.1), df=st.floats(3, 200))
@settings(max_examples=40)
def test_quantiles_say_what_their_student_t_does(location, scale, df):
    made = frame(location=location, scale=scale, df=df)
    blind = without_parameters(made)
    rise = forecasts.probability_of_rise(blind)
    np.testing.assert_allclose(rise, forecasts.probability_of_rise(made), atol=1e-3)
    for level in (0.01, 0.05):
        for function in (forecasts.value_at_risk, forecasts.expected_shortfall):
            # The error is one of the distance from the location.
            both = function(blind, level), function(made, level)
            np.testing.assert_allclose(*both, rtol=0.04, atol=0.04 * abs(location))
        exact, tail = (forecasts.tail_mean(it, level) for it in (made, blind))
        np.testing.assert_allclose(tail - location, exact - location, rtol=0.04)


@given(location=st.floats(-0.2, 0.2), scale=st.floats(0.001, 0.1), df=st.floats(2.1, 200))
@settings(max_examples=40)
def test_rise_and_the_integral_transform_of_no_change_add_up_to_one(location, scale, df):
    made = frame(location=location, scale=scale, df=df)
    for rows in (made, without_parameters(made), recalibration.recalibrate(made)):
        pit = calibration.pit(rows.assign(log_return=0.0))
        np.testing.assert_allclose(1 - pit, forecasts.probability_of_rise(rows), rtol=1e-12)


def test_rows_of_both_kinds_keep_their_places():
    made = frame()
    mixed = made.assign(df=[5.0, np.nan, 5.0], scale=[0.01, np.nan, 0.03])
    mixed.loc[1, "location"] = np.nan
    blind = without_parameters(made)
    for function in (forecasts.probability_of_rise, lambda it: forecasts.tail_mean(it, 0.05)):
        one, other = function(made), function(blind)
        np.testing.assert_array_equal(function(mixed), [one[0], other[1], one[2]])


def test_summary_by_hand():
    made = frame(location=0.0, last_close=100.0, scale=0.02)
    for rows in (made, without_parameters(made)):
        (first, *_) = forecasts.summary(rows)
        assert first["p_up"] == pytest.approx(0.5)
        assert first["median"] == pytest.approx(100)
        assert first["intervals"]["80"] == pytest.approx(
            list(100 * np.exp(0.02 * stats.t.ppf([0.1, 0.9], 5)))
        )
        assert first["var_95"] == pytest.approx(1 - np.exp(0.02 * stats.t.ppf(0.05, 5)))
        # 2.8899 is the mean beyond the 5% quantile of a Student-t of 5 degrees of freedom.
        assert first["es_95"] == pytest.approx(0.02 * 2.8899, rel=0.05)
    assert forecasts.summary(made)[0]["es_95"] == pytest.approx(
        forecasts.summary(without_parameters(made))[0]["es_95"], rel=1e-6
    )


def test_quantiles_that_cross_are_sorted():
    crossed = np.linspace(-0.05, 0.05, 23)[None, ::-1]
    frame = forecasts.from_quantiles(
        ticker="AAA", model="m", cutoff=pd.to_datetime(["2020-01-02"]),
        date=pd.Timestamp("2020-01-03"), last_close=10.0, log_return=np.nan, quantiles=crossed,
    )  # fmt: skip
    np.testing.assert_allclose(frame[forecasts.QUANTILES].to_numpy()[0], np.sort(crossed[0]))
    assert frame[forecasts.PARAMETERS].isna().all(axis=None)
    assert frame["mean"][0] == pytest.approx(0, abs=1e-12)
