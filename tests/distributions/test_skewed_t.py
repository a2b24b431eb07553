import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from forecaster.distributions import skewed_t, student_t
from forecaster.distributions.quantile_grid import LEVELS

DFS = st.floats(2.5, 150)
SKEWS = st.floats(-0.9, 0.9)
PARAMETERS = st.tuples(st.floats(-2, 2), st.floats(0.1, 5), DFS, SKEWS)
POINTS = np.array([-4.0, -0.3, 0.0, 0.2, 1.0, 7.0])


def integral(function, parameters, low=-np.inf, high=np.inf):
    """By quadrature over both halves, whose density has a kink between them."""
    location = parameters[0]
    parts = [(low, min(high, location)), (max(low, location), high)]
    return sum(integrate.quad(function, *part, limit=200)[0] for part in parts if part[0] < part[1])


def density(x, parameters):
    return np.exp(skewed_t.log_density(x, *parameters))


@pytest.mark.parametrize("name", ["cdf", "log_density", "crps"])
@given(df=DFS)
def test_without_skew_it_is_the_student_t_to_the_bit(name, df):
    own, plain = (getattr(family, name) for family in (skewed_t, student_t))
    np.testing.assert_array_equal(own(POINTS, 0.1, 2.0, df, 0.0), plain(POINTS, 0.1, 2.0, df))


@given(df=DFS)
def test_quantiles_and_tails_without_skew_are_the_student_t_s(df):
    for name, last in (
        ("quantile", LEVELS), ("tail_mean", 0.05), ("value_at_risk", 0.01), ("expected_shortfall", 0.05)
    ):  # fmt: skip
        own, plain = (getattr(family, name) for family in (skewed_t, student_t))
        np.testing.assert_array_equal(own(0.1, 0.02, df, 0.0, last), plain(0.1, 0.02, df, last))
    np.testing.assert_array_equal(
        skewed_t.moments(0.1, 0.02, df, 0.0), student_t.moments(0.1, 0.02, df)
    )


@given(PARAMETERS)
def test_quantiles_are_the_inverse_of_the_cdf(parameters):
    values = skewed_t.quantile(*parameters, LEVELS)
    np.testing.assert_allclose(skewed_t.cdf(values, *parameters), LEVELS, rtol=1e-9)
    assert (np.diff(values) > 0).all()


@given(df=st.floats(1.5, 1000), skew=SKEWS)
def test_quantiles_are_those_of_scipy_to_rounding(df, skew):
    """A level that skew brings right of the mode is of what the left half leaves of the probability."""
    levels = np.array([1e-7, 1e-4, *LEVELS, 0.9999])
    left = levels <= (1 - skew) / 2
    of_halves = np.where(left, levels / (1 - skew), 1 - (1 - levels) / (1 + skew))
    expected = np.where(left, 1 - skew, 1 + skew) * stats.t.ppf(of_halves, df)
    values = skewed_t.quantile(0.0, 1.0, df, skew, levels)
    np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-12)


def test_a_quantile_is_the_same_alone_and_among_others():
    rng = np.random.default_rng(0)
    df, skew = rng.uniform(2.05, 250, 60), rng.choice([-0.3, 0.0, 0.1], 60)
    together = skewed_t.quantile(0.0, 1.0, df, skew, LEVELS)
    for row in range(60):
        if skew[row]:
            alone = skewed_t.quantile(0.0, 1.0, df[row], skew[row], LEVELS)
            np.testing.assert_array_equal(alone, together[row])


@given(PARAMETERS)
def test_a_negative_skew_is_the_mirror_image(parameters):
    location, scale, df, skew = parameters
    mirrored = (-location, scale, df, -skew)
    values = skewed_t.quantile(*parameters, LEVELS)
    np.testing.assert_allclose(values, -skewed_t.quantile(*mirrored, LEVELS)[::-1], atol=1e-9)
    ours, theirs = skewed_t.crps(POINTS, *parameters), skewed_t.crps(-POINTS, *mirrored)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


@pytest.mark.parametrize(
    "parameters", [(0.3, 1.5, 4.0, 0.4), (-1.0, 0.7, 30.0, -0.7), (0.0, 1.0, 2.7, 0.1)]
)
def test_density_moments_and_crps_by_quadrature(parameters):
    assert integral(lambda x: density(x, parameters), parameters) == pytest.approx(1, abs=1e-7)
    assert integral(lambda x: density(x, parameters), parameters, high=0.9) == pytest.approx(
        skewed_t.cdf(0.9, *parameters), abs=1e-7
    )
    mean, spread = skewed_t.moments(*parameters)
    assert integral(lambda x: x * density(x, parameters), parameters) == pytest.approx(
        mean, abs=1e-5
    )
    if parameters[2] > 3:  # the tail of the square converges too slowly for quadrature below
        second = integral(lambda x: (x - mean) ** 2 * density(x, parameters), parameters)
        assert second == pytest.approx(spread**2, rel=1e-5)
    for x in (-2.0, parameters[0], 0.6, 5.0):
        below = integrate.quad(lambda y: skewed_t.cdf(y, *parameters) ** 2, -np.inf, x)[0]
        above = integrate.quad(lambda y: (1 - skewed_t.cdf(y, *parameters)) ** 2, x, np.inf)[0]
        assert skewed_t.crps(x, *parameters) == pytest.approx(below + above, rel=1e-5)


@pytest.mark.parametrize("level", [0.01, 0.05, 0.5, 0.97])
@pytest.mark.parametrize("skew", [-0.4, 0.19])
def test_the_mean_of_a_tail_by_quadrature(skew, level):
    parameters = (0.1, 1.3, 2.6, skew)
    end = skewed_t.quantile(*parameters, [level])[0]
    total = integral(lambda x: x * density(x, parameters), parameters, high=end)
    assert skewed_t.tail_mean(*parameters, level) == pytest.approx(total / level, abs=2e-6)


@pytest.mark.parametrize(("eta", "lambda_"), [(4.0, -0.2), (12.0, 0.5), (80.0, 0.05)])
def test_hansen_s_is_the_same_family(eta, lambda_):
    """Quantiles and log likelihood of `arch`'s SkewStudent, an implementation of Hansen (1994)."""
    from arch.univariate import SkewStudent

    shape = np.array([eta, lambda_])
    location, scale = skewed_t.of_hansen(0.3, 2.0, eta, lambda_)
    expected = 0.3 + 2.0 * SkewStudent().ppf(np.array(LEVELS), shape)
    np.testing.assert_allclose(
        skewed_t.quantile(location, scale, eta, lambda_, LEVELS), expected, rtol=1e-9, atol=1e-12
    )
    likelihood = SkewStudent().loglikelihood(shape, POINTS - 0.3, np.full(6, 4.0), individual=True)
    np.testing.assert_allclose(
        skewed_t.log_density(POINTS, location, scale, eta, lambda_), likelihood, rtol=1e-9
    )
    mean, spread = skewed_t.moments(location, scale, eta, lambda_)
    assert (mean, spread) == (pytest.approx(0.3), pytest.approx(2.0))


@pytest.mark.parametrize("family", [student_t, skewed_t])
def test_a_shortfall_is_the_same_alone_and_among_others(family):
    rng = np.random.default_rng(0)
    location, scale, df = rng.normal(0, 0.01, 100), rng.uniform(0.01, 0.1, 100), 5 + np.arange(100)
    columns = [location, scale, df, rng.uniform(-0.5, 0.5, 100)][: 3 + (family is skewed_t)]
    together = family.expected_shortfall(*columns, 0.05)
    for rows in (slice(0, 1), slice(3, 6), slice(90, 92)):
        alone = family.expected_shortfall(*(it[rows] for it in columns), 0.05)
        np.testing.assert_array_equal(alone, together[rows])
