"""EGARCH(1,1) with skewed Student-t innovations, fitted by the ``arch`` package.

Nelson (1991), Conditional heteroskedasticity in asset returns, Econometrica 59(2), with the
innovations of Hansen (1994), Autoregressive conditional density estimation, International Economic
Review 35(3)::

    r[t] = mu + sigma[t] * z[t]
    ln v[t+1] = omega + alpha * (|z[t]| - sqrt(2 / pi)) + gamma * z[t] + beta * ln v[t]

The recursion runs forward here, for the reason given in :mod:`forecaster.models.garch`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from forecaster import imports
from forecaster.config import RecurrentConfig
from forecaster.dataset.bars import FLOOR, Floats
from forecaster.dataset.panel import Past, Quantiles, StudentT
from forecaster.distributions import skewed_t, student_t
from forecaster.models import iteration
from forecaster.models.garch import (
    PERCENT,
    SESSIONS_TO_FIT,
    check_last,
    coefficients,
    days,
    estimate,
    position,
)
from forecaster.models.iteration import STRATA
from forecaster.models.per_ticker import WARMUP, Parameters, PerTicker, Shape

LOG_BOUNDS = (2 * math.log(PERCENT * FLOOR), 2 * math.log(PERCENT))
"""Of a variance: no forecast is calmer than the floor, or wilder than 100% a day."""

TYPICAL = math.sqrt(2 / math.pi)
"""Mean size of a normal shock."""


@dataclass(frozen=True)
class EgarchParameters(Parameters):
    """A ticker's parameters, in percent, and where its recursion continues from."""

    mu: float
    omega: float
    alpha: float
    gamma: float
    beta: float
    df: float
    skew: float
    """Hansen's lambda, between -1 and 1."""
    log_variance: float
    """Of the last session fitted, given those before it."""
    last: float
    """The last session fitted, in days since 1970."""

    def check(self) -> None:
        """Raise ValueError for parameters of no skewed Student-t."""
        if not (self.df > 2 and abs(self.skew) < 1):
            raise ValueError("df must be above 2, and the skew must be between -1 and 1")
        check_last(self.last)

    def shocks(self) -> Floats:
        """Return quantiles of the standardised shock, of the levels that iteration takes."""
        standard = skewed_t.of_hansen(0.0, 1.0, self.df, self.skew)
        return skewed_t.quantile(*standard, self.df, self.skew, STRATA)

    def following(self, variance: Floats, z: Floats) -> Floats:
        """Return the variance after a session of a variance and a standardised shock."""
        return self.moved(variance, np.abs(z), z)

    def moved(self, variance: Floats, size: Floats | float, z: Floats | float) -> Floats:
        """Return the variance after a session of a variance, the size of its shock and the shock."""
        news = self.omega + self.alpha * (size - TYPICAL) + self.gamma * z
        after: Floats = np.exp(np.clip(news + self.beta * np.log(variance), *LOG_BOUNDS))
        return after


class Egarch(PerTicker[EgarchParameters]):
    """A per-ticker model whose volatility and whose distribution are asymmetric."""

    parameters, array = EgarchParameters, "skewed_parameters"
    sessions_to_fit = SESSIONS_TO_FIT + 1
    iterated = slow = True

    def fit_one(self, past: Past, step: int) -> EgarchParameters | None:
        """Fit by maximum likelihood."""
        with imports.without("matplotlib"):
            from arch import arch_model

        returns = PERCENT * past.log_returns[1:]
        result = estimate(
            arch_model(returns, vol="EGARCH", p=1, o=1, q=1, dist="skewt", rescale=False)
        )
        if result is None:
            return None
        variance = float(result.conditional_volatility[-1]) ** 2
        return EgarchParameters(
            **coefficients(result),
            df=max(float(result.params["eta"]), student_t.DF_BOUNDS[0]),
            skew=float(result.params["lambda"]),
            log_variance=float(np.clip(math.log(max(variance, 1e-300)), *LOG_BOUNDS)),
            last=days(past.dates[-1]),
        )

    def stand_in(self, past: Past, step: int) -> EgarchParameters:
        """Return shocks that are half gone after 23 sessions, around the sample's own level."""
        returns, volatility = past.log_returns[1:], past.volatility[:-1]
        mean_square = np.mean((PERCENT * returns) ** 2)
        level = float(np.clip(np.log(mean_square + 1e-300), *LOG_BOUNDS))
        return EgarchParameters(
            mu=0.0,
            omega=0.03 * level,
            alpha=0.15,
            gamma=0.0,
            beta=0.97,
            df=Shape.fit((returns / volatility)[WARMUP:]).df,
            skew=0.0,
            log_variance=float(np.clip(2 * math.log(PERCENT * volatility[-1]), *LOG_BOUNDS)),
            last=days(past.dates[-1]),
        )

    def first_cutoff(self, fitted: EgarchParameters, past: Past) -> int:
        """Return the index of the last session fitted, from which the recursion continues."""
        return position(past, fitted.last)

    def forecast_ahead(
        self,
        fitted: Sequence[EgarchParameters],
        past: Past,
        index: np.ndarray,
        knots: Sequence[int],
    ) -> dict[int, StudentT | Quantiles]:
        """Run the recursion to the last cutoff, and beyond it on simulated returns."""
        (its,) = fitted
        begin = position(past, its.last)
        log_variance = _log_variances(its, past.log_returns[begin:])[index - begin]  # (cutoffs,)
        volatility = np.exp(log_variance / 2) / PERCENT
        location, scale = skewed_t.of_hansen(its.mu / PERCENT, volatility, its.df, its.skew)
        ahead: dict[int, StudentT | Quantiles] = {1: StudentT(location, scale, its.df, its.skew)}
        if later := knots[1:]:
            shocks, variance = its.shocks(), np.exp(log_variance)
            expected = partial(its.moved, size=float(np.mean(np.abs(shocks))), z=0.0)
            sums = iteration.quantiles(variance, later, shocks, its.following, expected)
            ahead |= {step: (step * its.mu + sums[step]) / PERCENT for step in later}
        return ahead


def _log_variances(fitted: EgarchParameters, returns: Floats) -> Floats:
    """Return the log of the next session's variance at each close, in percent squared: (sessions,).

    ``returns[0]`` is the last return fitted.
    """
    low, high = LOG_BOUNDS
    now, path = fitted.log_variance, []
    for shock in (PERCENT * returns - fitted.mu).tolist():
        z = shock * math.exp(-now / 2)
        now = (
            fitted.omega + fitted.alpha * (abs(z) - TYPICAL) + fitted.gamma * z + fitted.beta * now
        )
        now = min(max(now, low), high)
        path.append(now)
    return np.array(path)


def create(name: str, config: RecurrentConfig) -> Egarch:
    """Return the model called ``egarch``."""
    return Egarch(name, config.horizon)
