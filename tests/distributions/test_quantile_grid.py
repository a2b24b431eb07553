import inspect

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from forecaster.distributions import quantile_grid, student_t
from forecaster.distributions.distribution import Distribution
from forecaster.distributions.quantile_grid import LEVELS
from forecaster.errors import ForecastError

DFS = (3.0, 4.0, 5.0, 7.0, 10.0)
MORE_LEVELS = np.sort([1e-5, 1e-3, 0.005, *LEVELS, 0.013, 0.04, 0.33, 0.52, 0.983, 0.9999])


def grid_of_t(df, location=0.0, scale=1.0):
    return np.array(stats.t.ppf(LEVELS, df, location, scale))


def skewed_t(u, df, skew):
    """Quantiles of the skewed Student-t of Fernández and Steel (1998)."""
    left = stats.t.ppf(np.minimum(u * (1 + skew**2) / 2, 0.5), df) / skew
    right = stats.t.isf(np.minimum((1 - u) * (1 + skew**2) / (2 * skew**2), 0.5), df) * skew
    return np.where(u < 1 / (1 + skew**2), left, right)


def integral(function, edges):
    """The integral of a vectorised function, by Gauss-Legendre quadrature between the edges."""
    at, weight = np.polynomial.legendre.leggauss(24)
    edges = np.asarray(edges, dtype=float)
    half = np.diff(edges)[:, None] / 2
    return np.sum(function((edges[:-1, None] + half * (at + 1)).ravel()) * (half * weight).ravel())


def integral_of_levels(function, until):
    """The integral of a function of the level from 0, crowded towards 0."""
    beyond = min(until, LEVELS[0])
    tail = integral(lambda v: function(beyond * v**8) * 8 * beyond * v**7, np.linspace(0, 1, 9))
    edges = [level for level in LEVELS if level < until] + [until]
    return tail + (integral(function, edges) if until > LEVELS[0] else 0.0)


sorted_grids = hnp.arrays(float, 23, elements=st.floats(-2, 2)).map(np.sort)
"""Any: with equal quantiles, and some that are nearly so."""

rising_grids = st.tuples(
    st.floats(-0.5, 0.5), hnp.arrays(float, 23, elements=st.floats(1e-4, 0.3))
).map(lambda drawn: drawn[0] + np.cumsum(drawn[1]))
"""Without atoms."""


@pytest.mark.parametrize("name", list(Distribution.__annotations__))
def test_a_quantile_grid_is_asked_as_a_student_t_is(name):
    ours, theirs = (
        list(inspect.signature(getattr(it, name)).parameters) for it in (quantile_grid, student_t)
    )
    parameters = ["location", "scale", "df"]
    assert [
        "quantiles" if it == "location" else it for it in theirs if it not in parameters[1:]
    ] == ours


@given(sorted_grids)
def test_quantiles_at_the_levels_are_those_of_the_grid(grid):
    np.testing.assert_array_equal(quantile_grid.quantile(grid, LEVELS), grid)


@given(rising_grids)
def test_cdf_inverts_the_quantile_function(grid):
    x = quantile_grid.quantile(grid, MORE_LEVELS)
    np.testing.assert_allclose(quantile_grid.cdf(x, grid), MORE_LEVELS, rtol=1e-9)


@given(sorted_grids, hnp.arrays(float, 30, elements=st.floats(-3, 3)))
def test_any_sorted_grid_is_a_distribution(grid, x):
    x = np.sort(np.concatenate([x, grid]))
    p = quantile_grid.cdf(x, grid)
    assert (np.diff(p) >= 0).all()
    assert (p >= 0).all()
    assert (p <= 1).all()
    quantiles = quantile_grid.quantile(grid, MORE_LEVELS)
    assert (np.diff(quantiles) >= -1e-15).all()
    assert (quantile_grid.cdf(quantiles + 1e-12, grid) >= MORE_LEVELS - 1e-5).all()
    mean, volatility = quantile_grid.moments(grid)
    shortfall, value_at_risk = (
        it(grid, 0.05) for it in (quantile_grid.expected_shortfall, quantile_grid.value_at_risk)
    )
    assert volatility > 0
    assert shortfall >= value_at_risk
    assert quantile_grid.tail_mean(grid, 0.01) < grid[0]
    density = quantile_grid.log_density(x, grid)
    for values in (p, quantiles, density, mean, volatility, shortfall, value_at_risk):
        assert np.isfinite(values).all()


def test_equal_quantiles_are_an_atom():
    grid = np.zeros(23)
    p = quantile_grid.cdf([-1e-4, 0.0, 1e-4], grid)
    np.testing.assert_allclose(p, [0, 0.99, 1], atol=1e-5)
    assert quantile_grid.moments(grid) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-6))
    half = np.r_[np.full(12, 0.0), np.full(11, 0.01)]
    assert quantile_grid.cdf(0.0, half) == pytest.approx(0.5)


@given(rising_grids, hnp.arrays(float, 10, elements=st.floats(-1, 8)))
def test_density_is_the_slope_of_the_cdf(grid, x):
    x = x[np.abs(x[:, None] - grid).min(axis=1) > 1e-5]
    step = 1e-6
    slope = (quantile_grid.cdf(x + step, grid) - quantile_grid.cdf(x - step, grid)) / (2 * step)
    np.testing.assert_allclose(
        np.exp(quantile_grid.log_density(x, grid)), slope, rtol=1e-4, atol=1e-9
    )


@example(np.append(0.0, 0.25 + 1e-4 * np.arange(22)))  # one tail far narrower than the other
@given(rising_grids)
@settings(max_examples=10)
def test_moments_equal_integrals_over_the_density(grid):
    far = np.geomspace(1e-5, 1e9, 120)
    edges = np.concatenate([grid[0] - far[::-1], grid, grid[-1] + far])

    def moment(power):
        return integral(lambda x: x**power * np.exp(quantile_grid.log_density(x, grid)), edges)

    mean, volatility = quantile_grid.moments(grid)
    assert moment(0) == pytest.approx(1, abs=1e-6)  # of the integration
    assert mean == pytest.approx(moment(1), rel=1e-6, abs=1e-8)
    assert volatility**2 + mean**2 == pytest.approx(moment(2), rel=1e-5)


@given(rising_grids, st.sampled_from([0.001, 0.01, 0.018, 0.05, 0.5]))
@settings(max_examples=25)
def test_tail_means_equal_integrals_of_the_quantile_function(grid, level):
    total = integral_of_levels(lambda u: quantile_grid.quantile(grid, u), level)
    assert quantile_grid.tail_mean(grid, level) == pytest.approx(total / level, rel=1e-7, abs=1e-9)


@given(rising_grids, st.sampled_from([0.01, 0.018, 0.05, 0.3]))
@settings(max_examples=25)
def test_expected_shortfall_equals_the_integral_of_the_loss(grid, level):
    total = integral_of_levels(lambda u: -np.expm1(quantile_grid.quantile(grid, u)), level)
    shortfall = quantile_grid.expected_shortfall(grid, level)
    assert shortfall == pytest.approx(total / level, abs=1e-5)


def test_means_of_a_tail_that_holds_the_other_one_are_refused():
    with pytest.raises(ForecastError, match=r"up to 0\.99"):
        quantile_grid.tail_mean(grid_of_t(5), 0.995)


def test_value_at_risk_by_hand():
    grid = np.linspace(-0.11, 0.11, 23)
    assert quantile_grid.value_at_risk(grid, 0.05) == pytest.approx(1 - np.exp(-0.09))


@given(rising_grids, st.floats(-1, 1), st.floats(0.01, 100))
def test_everything_moves_and_scales_with_the_grid(grid, shift, factor):
    moved, x = factor * grid + shift, grid.mean() + np.array([-2.0, 0.0, 0.1, 3.0])
    assume(
        np.abs(x[:, None] - grid).min() > 1e-9
    )  # where the density jumps, rounding picks the side
    close = {"rtol": 1e-7, "atol": 1e-9}
    y = factor * x + shift
    np.testing.assert_allclose(quantile_grid.cdf(y, moved), quantile_grid.cdf(x, grid), **close)
    np.testing.assert_allclose(
        quantile_grid.log_density(y, moved),
        quantile_grid.log_density(x, grid) - np.log(factor),
        **close,
    )
    mean, volatility = quantile_grid.moments(grid)
    np.testing.assert_allclose(
        quantile_grid.moments(moved), (factor * mean + shift, factor * volatility), **close
    )
    for level in (0.001, 0.05):
        tail = quantile_grid.tail_mean(grid, level)
        np.testing.assert_allclose(
            quantile_grid.tail_mean(moved, level), factor * tail + shift, **close
        )


@given(rising_grids, hnp.arrays(float, 10, elements=st.floats(-3, 8)))
def test_the_mirror_image_swaps_the_tails(grid, x):
    mirrored = -grid[::-1]
    np.testing.assert_allclose(
        quantile_grid.cdf(-x, mirrored), 1 - quantile_grid.cdf(x, grid), atol=1e-12
    )
    mean, volatility = quantile_grid.moments(grid)
    np.testing.assert_allclose(
        quantile_grid.moments(mirrored), (-mean, volatility), rtol=1e-9, atol=1e-12
    )


def test_a_distribution_is_the_same_alone_and_among_others():
    grids = np.random.default_rng(0).normal(0, 0.02, (40, 23)).cumsum(axis=1)
    grids.sort(axis=1)
    x = np.linspace(-0.1, 0.1, 40)

    def answers(x, grids):
        return np.array(
            [
                quantile_grid.cdf(x, grids),
                *quantile_grid.moments(grids),
                quantile_grid.tail_mean(grids, 0.05),
                quantile_grid.expected_shortfall(grids, 0.05),
            ]
        )

    whole = answers(x, grids)
    np.testing.assert_array_equal(answers(x, np.asfortranarray(grids)), whole)
    for row in (0, 17, 39):
        alone = answers(x[row : row + 1], grids[row : row + 1])
        np.testing.assert_array_equal(alone[:, 0], whole[:, row])


def test_shapes_follow_those_of_the_parameters():
    grids = np.broadcast_to(grid_of_t(5), (2, 3, 23))
    assert quantile_grid.quantile(grids, [0.001, 0.5]).shape == (2, 3, 2)
    assert quantile_grid.cdf(np.zeros((2, 3)), grids).shape == (2, 3)
    assert quantile_grid.cdf(0.0, grids).shape == (2, 3)
    assert quantile_grid.cdf(np.zeros((4, 1, 1)), grids).shape == (4, 2, 3)
    assert quantile_grid.crps(0.0, grids).shape == (2, 3)
    assert quantile_grid.moments(grids)[1].shape == (2, 3)
    assert quantile_grid.tail_mean(grids, 0.05).shape == (2, 3)
    assert quantile_grid.expected_shortfall(grids, 0.05).shape == (2, 3)


# What the grid of a Student-t says is what the Student-t says.


@pytest.mark.parametrize("df", DFS)
def test_the_tails_of_a_student_t_are_its_own(df):
    location, scale = 0.001, 0.02
    grid = grid_of_t(df, location, scale)
    levels = np.array([1e-6, 1e-4, 1e-3, 0.009, 0.991, 0.9999])
    x = stats.t.ppf(levels, df, location, scale)
    np.testing.assert_allclose(quantile_grid.quantile(grid, levels), x, rtol=1e-4)
    np.testing.assert_allclose(quantile_grid.cdf(x, grid), levels, rtol=1e-4)
    np.testing.assert_allclose(
        quantile_grid.log_density(x, grid), stats.t.logpdf(x, df, location, scale), atol=1e-4
    )
    for level in (1e-3, 0.01):
        for name in ("tail_mean", "expected_shortfall", "value_at_risk"):
            np.testing.assert_allclose(
                getattr(quantile_grid, name)(grid, level),
                getattr(student_t, name)(location, scale, df, level),
                rtol=1e-5,
            )


@pytest.mark.parametrize("df", DFS)
def test_the_body_of_a_student_t_is_near_its_own(df):
    grid, x = grid_of_t(df), np.linspace(-8, 8, 401)
    np.testing.assert_allclose(quantile_grid.cdf(x, grid), stats.t.cdf(x, df), atol=8e-4)
    np.testing.assert_allclose(quantile_grid.log_density(x, grid), stats.t.logpdf(x, df), atol=0.1)
    mean, volatility = quantile_grid.moments(grid)
    assert mean == pytest.approx(0, abs=1e-12)
    assert volatility == pytest.approx(student_t.volatility(1.0, df), rel=2e-3)
    for level in (0.025, 0.05, 0.2):
        exact = student_t.tail_mean(0.0, 1.0, df, level)
        assert quantile_grid.tail_mean(grid, level) == pytest.approx(exact, rel=3e-3)


@pytest.mark.parametrize(
    ("df", "errors"),
    [(2.5, (-16.7, -6.5, -2.2)), (20, (7.0, 1.9, 0.3)), (1e7, (12.7, 3.4, 0.7))],
)
def test_errors_of_the_expected_shortfall_are_those_stated(df, errors):
    for level, error in zip((0.001, 0.01, 0.05), errors, strict=True):
        exact = student_t.tail_mean(0.0, 1.0, df, level)
        result = quantile_grid.tail_mean(grid_of_t(df), level)
        assert 100 * (result / exact - 1) == pytest.approx(error, abs=0.06)


@pytest.mark.parametrize("skew", [0.85, 0.95, 1.1])
@pytest.mark.parametrize("df", [4.0, 8.0])
def test_the_tails_of_a_skewed_student_t_are_near_its_own(df, skew):
    grid = skewed_t(np.array(LEVELS), df, skew)
    for level in (0.01, 0.05):
        exact = integral_of_levels(lambda u: skewed_t(u, df, skew), level) / level
        assert quantile_grid.tail_mean(grid, level) == pytest.approx(exact, rel=0.015)
    square = sum(
        integral_of_levels(lambda u, sign=sign: skewed_t(u, df, skew**sign) ** 2, 0.5)
        for sign in (1, -1)  # the upper half is the lower one of the mirror image
    )
    mean = sum(
        sign * integral_of_levels(lambda u, sign=sign: skewed_t(u, df, skew**sign), 0.5)
        for sign in (1, -1)
    )
    np.testing.assert_allclose(
        quantile_grid.moments(grid), (mean, np.sqrt(square - mean**2)), rtol=0.01, atol=2e-3
    )


@pytest.mark.parametrize("df", [2.5, 5.0, 30.0])
def test_pit_of_outcomes_of_the_distribution_is_uniform(df):
    x = 0.01 * np.random.default_rng(4).standard_t(df, 20_000)
    pit = quantile_grid.cdf(x, 0.01 * grid_of_t(df))
    assert stats.kstest(pit, "uniform").pvalue > 0.05


# CRPS


def test_pinball_by_hand():
    np.testing.assert_allclose(quantile_grid.pinball([3.0, 1.0, 2.0], 2.0, 0.9), [0.9, 0.1, 0.0])


def test_crps_of_a_point_is_the_distance():
    grid, x = np.full((3, 23), 0.02), np.array([0.05, 0.02, -0.01])
    np.testing.assert_allclose(quantile_grid.crps(x, grid), [0.03, 0, 0.03])


def test_crps_of_a_uniform_is_near_the_exact_value():
    # F(y) = y on (0, 1): the CRPS at x is x³ / 3 + (1 - x)³ / 3.
    x = np.array([0.0, 0.25, 0.5, 1.0])
    exact = (x**3 + (1 - x) ** 3) / 3
    np.testing.assert_allclose(quantile_grid.crps(x, LEVELS), exact, atol=1e-3)


@pytest.mark.parametrize("df", [2.1, 3, 5, 30, 200])
def test_crps_is_low_by_a_quarter_of_a_percent(df):
    x = student_t.quantile(0, 1, df, (np.arange(20_000) + 0.5) / 20_000)
    closed, summed = student_t.crps(x, 0, 1, df), quantile_grid.crps(x, grid_of_t(df))
    assert summed.mean() / closed.mean() - 1 == pytest.approx(-0.0024, abs=0.0002)
    np.testing.assert_allclose(summed, closed, rtol=0.01)


@given(rising_grids, st.floats(-1, 8))
@settings(max_examples=25)
def test_crps_is_near_the_integral_of_the_pinball_loss(grid, x):
    def loss(x, grid):
        return lambda u: 2 * quantile_grid.pinball(x, quantile_grid.quantile(grid, u), u)

    # The upper half is the lower one of the mirror image.
    exact = sum(integral_of_levels(loss(*it), 0.5) for it in ((x, grid), (-x, -grid[::-1])))
    assert quantile_grid.crps(x, grid) == pytest.approx(exact, rel=0.05)


@given(sorted_grids, st.floats(-2, 2), st.floats(-2, 2), st.floats(0.1, 10))
def test_crps_moves_and_scales_with_the_data(grid, x, shift, factor):
    score = quantile_grid.crps(x, grid)
    assert score >= -1e-12
    moved = quantile_grid.crps(factor * x + shift, factor * grid + shift)
    np.testing.assert_allclose(moved, factor * score, rtol=1e-9, atol=1e-9)


# Quantiles at other levels


@given(st.sets(st.sampled_from(LEVELS), min_size=2), st.floats(3, 50), st.floats(0.001, 0.1))
def test_completed_quantiles_keep_those_given_and_never_cross(levels, df, scale):
    levels = sorted(levels)
    some = student_t.quantile(0.01, scale, df, levels)[None]
    completed = quantile_grid.complete(some, levels)
    places = [LEVELS.index(level) for level in levels]
    np.testing.assert_array_equal(completed[:, places], some)
    assert (np.diff(completed) >= -1e-12).all()


def test_completed_quantiles_of_the_shape_itself_are_exact():
    whole = student_t.quantile(0.01, 0.02, quantile_grid.BODY_DF, LEVELS)[None]
    levels = [0.1, 0.5, 0.9]
    places = [LEVELS.index(level) for level in levels]
    np.testing.assert_allclose(quantile_grid.complete(whole[:, places], levels), whole, atol=1e-12)


def test_a_completed_quantile_of_nothing_but_rounding_is_zero():
    completed = quantile_grid.complete(np.array([[-0.03, 0.03]]), [0.1, 0.9])
    assert completed[0, LEVELS.index(0.5)] == 0


def test_crps_of_the_tails_and_the_middle_adds_up():
    x, quantiles = (
        np.array([-3.0, 0.1, 2.0]),
        np.sort(np.random.default_rng(0).normal(size=(3, 23))),
    )
    lower, upper, middle = quantile_grid.weighted_crps(
        x, quantiles, lambda u: np.square(1 - u), np.square, lambda u: 2 * u * (1 - u)
    )
    np.testing.assert_allclose(lower + upper + middle, quantile_grid.crps(x, quantiles))
    assert lower[0] > upper[0]
    assert upper[2] > lower[2]
