import pytest

from forecaster.distributions import horizons
from forecaster.errors import UsageError


def test_steps_are_put_in_order():
    assert horizons.check([5, 1, 21, 5]) == (1, 5, 21)


@pytest.mark.parametrize("steps", [[], [0], [1, 22], [-3]])
def test_steps_out_of_range_are_refused(steps):
    with pytest.raises(UsageError, match="1 to 21"):
        horizons.check(steps)


def test_a_forecast_depends_on_the_knots_up_to_it():
    assert horizons.knots([1]) == (1,)
    assert horizons.knots([4]) == (1, 2, 3, 5)
    assert horizons.knots([21, 1]) == horizons.KNOTS
    assert horizons.around(11) == (10, 21)
