"""The levels at which a distribution is known, and what the columns of forecasts are called after them.

Apart from what calculates with them, because these names are all that some commands need.
"""

LEVELS = (0.01, 0.025, *(round(0.05 * i, 2) for i in range(1, 20)), 0.975, 0.99)

QUANTILES = [f"q{level:g}" for level in LEVELS]
STUDENT_T = ["location", "scale", "df"]
PARAMETERS = [*STUDENT_T, "skew"]
"""Of :mod:`forecaster.distributions.skewed_t`."""
