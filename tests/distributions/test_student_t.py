import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from forecaster.distributions import student_t
from forecaster.errors import HistoryError

LOCATIONS = np.array([0.0, 0.001, -0.5])
SCALES = np.array([1.0, 0.013, 2.0])
DFS = np.array([2.1, 5.0, 200.0])


def test_quantile_cdf_and_density_equal_scipy_stats():
    t = stats.t(DFS[:, None], LOCATIONS[:, None], SCALES[:, None])
    levels = np.array([0.001, 0.05, 0.5, 0.975])
    quantiles = student_t.quantile(LOCATIONS, SCALES, DFS, levels)
    assert quantiles.shape == (3, 4)
    np.testing.assert_allclose(quantiles, t.ppf(levels), rtol=1e-9)
    columns = (LOCATIONS[:, None], SCALES[:, None], DFS[:, None])
    np.testing.assert_allclose(student_t.cdf(quantiles, *columns), t.cdf(quantiles), rtol=1e-9)
    np.testing.assert_allclose(
        student_t.log_density(quantiles, *columns), t.logpdf(quantiles), rtol=1e-9, atol=1e-11
    )


def test_df_of_one_is_the_cauchy():
    assert student_t.cdf(1.0, 0.0, 1.0, 1.0) == pytest.approx(0.75)
    assert student_t.log_density(0.0, 0.0, 1.0, 1.0) == pytest.approx(-np.log(np.pi))


def test_volatility_by_hand():
    np.testing.assert_allclose(student_t.volatility(0.01, [4.0, 10.0]), 0.01 * np.sqrt([2, 1.25]))
    assert np.isinf(student_t.volatility(0.01, 2.0))
    assert np.isnan(student_t.volatility(0.01, np.nan))


def test_crps_equals_scoring_rules():
    # R package scoringRules, tests/testthat: crps_t(-3, 5) is 2.33875895,
    # crps_t(-3 + .1, 5, location = .1) the same, crps_t(-3 * .9, 5, scale = .9) 0.9 of it.
    x, location, scale = np.array([-3, -2.9, -2.7]), np.array([0, 0.1, 0]), np.array([1, 1, 0.9])
    golden = 2.33875895 * np.array([1, 1, 0.9])
    np.testing.assert_allclose(student_t.crps(x, location, scale, 5), golden, rtol=1e-8)


@pytest.mark.parametrize(("x", "df"), [(0.0, 2.1), (1.5, 3.0), (-4.0, 8.0), (0.3, 200.0)])
def test_crps_equals_its_defining_integral(x, df):
    t = stats.t(df)
    left = integrate.quad(lambda y: t.cdf(y) ** 2, -np.inf, x)[0]
    right = integrate.quad(lambda y: t.sf(y) ** 2, x, np.inf)[0]
    assert student_t.crps(x, 0.0, 1.0, df) == pytest.approx(left + right, rel=1e-6)


@given(
    x=st.floats(-50, 50),
    location=st.floats(-10, 10),
    scale=st.floats(1e-4, 10),
    df=st.floats(2.1, 200),
)
@settings(max_examples=50, deadline=None)
def test_crps_is_positive_symmetric_and_below_the_distance(x, location, scale, df):
    score = student_t.crps(x, location, scale, df)
    assert 0 < score <= abs(x - location) + scale
    mirrored = student_t.crps(2 * location - x, location, scale, df)
    assert score == pytest.approx(mirrored, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("df", [2.1, 3.0, 8.0, 200.0])
@pytest.mark.parametrize("scale", [1e-3, 0.02, 0.5])
@pytest.mark.parametrize("level", [0.01, 0.05])
def test_expected_shortfall_equals_adaptive_quadrature(df, scale, level):
    t = stats.t(df, 0.001, scale)
    edge = t.ppf(level)

    def loss(x):
        return -np.expm1(x) * t.pdf(x)

    far = integrate.quad(loss, -np.inf, edge - 50 * scale, epsabs=1e-13, limit=200)[0]
    near = integrate.quad(loss, edge - 50 * scale, edge, epsabs=1e-13, limit=200)[0]
    expected = (far + near) / level
    assert student_t.expected_shortfall(0.001, scale, df, level) == pytest.approx(
        expected, abs=1e-7
    )


def test_expected_shortfall_keeps_the_shape_and_exceeds_the_value_at_risk():
    scale = np.full((2, 3), 0.01)
    loss = student_t.expected_shortfall(0.0, scale, 4.0, 0.05)
    assert loss.shape == (2, 3)
    np.testing.assert_allclose(
        student_t.value_at_risk(0.0, scale, 4.0, 0.05), -np.expm1(stats.t.ppf(0.05, 4, 0, 0.01))
    )
    assert (loss > student_t.value_at_risk(0.0, scale, 4.0, 0.05)).all()
    assert (student_t.expected_shortfall(0.0, scale, 4.0, 0.01) > loss).all()


@pytest.mark.parametrize("level", [0.01, 0.05])
@pytest.mark.parametrize("df", [2.5, 5, 100])
def test_tail_mean_is_the_mean_of_the_quantiles(level, df):
    tail, _ = integrate.quad(lambda u: stats.t.ppf(u, df, 0.001, 0.02), 0, level, epsabs=1e-12)
    mean = student_t.tail_mean(0.001, 0.02, df, level)
    np.testing.assert_allclose(mean, tail / level, rtol=1e-6)
    assert student_t.tail_mean([0.0, 0.1], 0.02, df, level).shape == (2,)


def test_moments_up_to_a_point_equal_integrals_over_the_density():
    for df, z in ((2.1, -3.0), (5.0, -0.5), (50.0, 1.3)):
        for power, value in zip((1, 2), student_t.partial_moments(z, df), strict=True):
            integral, _ = integrate.quad(
                lambda t, power=power, df=df: t**power * stats.t.pdf(t, df), -np.inf, z
            )
            assert value == pytest.approx(integral, rel=1e-6)


@pytest.mark.parametrize("df", [3.0, 6.0])
def test_fit_equals_scipy_stats(df):
    z = 0.01 * np.random.default_rng(7).standard_t(df, 400)
    scale, fitted = student_t.fit(z)
    expected_df, _, expected_scale = stats.t.fit(z, floc=0)
    assert scale == pytest.approx(expected_scale, rel=1e-3)
    assert fitted == pytest.approx(expected_df, rel=1e-2)


def test_fit_recovers_the_truth_of_a_long_sample():
    z = 0.02 * np.random.default_rng(1).standard_t(4, 50_000)
    assert student_t.fit(z) == (pytest.approx(0.02, rel=0.02), pytest.approx(4, rel=0.05))


@given(factor=st.floats(1e-2, 1e3), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_fit_scales_with_the_sample(factor, seed):
    z = np.random.default_rng(seed).standard_t(4, 60)
    (scale, df), (scaled, same) = student_t.fit(z), student_t.fit(factor * z)
    assert scaled == pytest.approx(factor * scale, rel=1e-3)
    assert same == pytest.approx(df, rel=2e-2)


def test_fit_leaves_out_what_is_not_finite():
    z = np.random.default_rng(3).standard_t(5, 100)
    assert student_t.fit(np.concatenate([[np.nan, np.inf], z])) == student_t.fit(z)


@pytest.mark.parametrize(
    "z",
    [
        np.zeros(10),
        np.array([0.01]),
        np.repeat([0.0, 0.01], [95, 5]),
        np.full(20, 0.02),
        np.array([1e-300, 0.0]),
    ],
)
def test_fit_of_a_degenerate_sample_is_usable(z):
    scale, df = student_t.fit(z)
    assert student_t.SCALE_FLOOR <= scale <= 0.05
    assert student_t.DF_BOUNDS[0] <= df <= student_t.DF_BOUNDS[1]


@pytest.mark.parametrize("z", [[], [np.nan, np.inf]])
def test_fit_of_nothing_is_refused(z):
    with pytest.raises(HistoryError, match="at least one finite value"):
        student_t.fit(z)
