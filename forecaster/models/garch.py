"""GARCH(1,1) and GJR-GARCH(1,1) with Student-t innovations, fitted by the ``arch`` package.

Bollerslev (1986, 1987) and Glosten, Jagannathan and Runkle (1993)::

    r[t] = mu + e[t]
    v[t+1] = omega + (alpha + gamma * [e[t] < 0]) * e[t]**2 + beta * v[t]

Between fits the parameters are fixed and the recursion runs forward here, not in ``arch``, whose
``fix`` bounds the variances by a figure of the whole sample: a look-ahead. Beyond the next session it is
iterated on simulated returns (:mod:`forecaster.models.iteration`).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from forecaster import imports
from forecaster.config import RecurrentConfig
from forecaster.dataset.bars import FLOOR, Floats
from forecaster.dataset.panel import Past, Quantiles, StudentT
from forecaster.distributions import student_t
from forecaster.models import iteration
from forecaster.models.iteration import STRATA
from forecaster.models.per_ticker import WARMUP, Parameters, PerTicker, Shape

if TYPE_CHECKING:
    from arch.univariate.base import ARCHModel, ARCHModelResult

SESSIONS_TO_FIT = 250
"""Sessions of history that a ticker needs before its parameters mean anything."""

PERCENT = 100.0
"""Returns are fitted in percent, as the optimiser of ``arch`` needs numbers near one."""


@dataclass(frozen=True)
class GarchParameters(Parameters):
    """A ticker's parameters, in percent, and where its recursion continues from."""

    mu: float
    omega: float
    alpha: float
    gamma: float
    beta: float
    df: float
    variance: float
    """Of the last session fitted, given those before it."""
    last: float
    """The last session fitted, in days since 1970."""

    def check(self) -> None:
        """Raise ValueError for parameters without a finite, positive variance."""
        if not (self.df > 2 and self.variance > 0):
            raise ValueError("df must be above 2 and variances above 0")
        check_last(self.last)

    @property
    def persistence(self) -> float:
        """The share of a shock to the variance that is left after a session, on average."""
        return self.alpha + self.gamma / 2 + self.beta

    def news(self, returns: Floats) -> Floats:
        """Return what log returns add to the variance of the next session, in percent squared."""
        return self._news(PERCENT * returns - self.mu)

    def shocks(self) -> Floats:
        """Return quantiles of the standardised shock, of the levels that iteration takes."""
        half = student_t.quantile(0.0, 1.0, self.df, STRATA[: len(STRATA) // 2])
        half *= np.sqrt((self.df - 2) / self.df)
        return np.concatenate([half, -half[::-1]])

    def following(self, variance: Floats, z: Floats) -> Floats:
        """Return the variance after a session of a variance and a standardised shock."""
        return self.omega + self._news(np.sqrt(variance) * z) + self.beta * variance

    def expected(self, variance: Floats) -> Floats:
        """Return the mean of :meth:`following` over all shocks."""
        return self.omega + self.persistence * variance

    def _news(self, shock: Floats) -> Floats:
        news: Floats = (self.alpha + self.gamma * (shock < 0)) * shock**2
        return news


class Garch(PerTicker[GarchParameters]):
    """A per-ticker model: ``garch`` is symmetric, every other has a leverage term."""

    parameters = GarchParameters
    sessions_to_fit = SESSIONS_TO_FIT + 1
    iterated = slow = True

    def fit_one(self, past: Past, step: int) -> GarchParameters | None:
        """Fit by maximum likelihood."""
        with imports.without("matplotlib"):
            from arch import arch_model

        returns, leverage = PERCENT * past.log_returns[1:], int(self.name != "garch")
        result = estimate(arch_model(returns, p=1, o=leverage, q=1, dist="t", rescale=False))
        if result is None:
            return None
        return GarchParameters(
            **coefficients(result),
            df=max(float(result.params["nu"]), student_t.DF_BOUNDS[0]),
            variance=max(float(result.conditional_volatility[-1]) ** 2, (PERCENT * FLOOR) ** 2),
            last=days(past.dates[-1]),
        )

    def stand_in(self, past: Past, step: int) -> GarchParameters:
        """Return the parameters of an EWMA with decay 0.94."""
        volatility = past.volatility[:-1]
        shape = Shape.fit((past.log_returns[1:] / volatility)[WARMUP:])
        inflation = shape.scale**2 * shape.df / (shape.df - 2)
        return GarchParameters(
            mu=0.0,
            omega=0.0,
            alpha=0.06 * inflation,
            gamma=0.0,
            beta=0.94,
            df=shape.df,
            variance=float(volatility[-1] * PERCENT) ** 2 * inflation,
            last=days(past.dates[-1]),
        )

    def first_cutoff(self, fitted: GarchParameters, past: Past) -> int:
        """Return the index of the last session fitted, from which the recursion continues."""
        return position(past, fitted.last)

    def forecast_ahead(
        self,
        fitted: Sequence[GarchParameters],
        past: Past,
        index: np.ndarray,
        knots: Sequence[int],
    ) -> dict[int, StudentT | Quantiles]:
        """Return the next session's Student-t, and by iteration the quantiles of the other steps."""
        (its,) = fitted
        variance = self.variance(its, past, index)
        scale = np.sqrt(variance * (its.df - 2) / its.df) / PERCENT
        ahead: dict[int, StudentT | Quantiles] = {1: StudentT(its.mu / PERCENT, scale, its.df)}
        if later := knots[1:]:
            sums = iteration.quantiles(variance, later, its.shocks(), its.following, its.expected)
            ahead |= {step: (step * its.mu + sums[step]) / PERCENT for step in later}
        return ahead

    def variance(self, fitted: GarchParameters, past: Past, index: np.ndarray) -> Floats:
        """Return the variance of the session after each cutoff, in percent squared: (cutoffs,).

        The recursion runs from the last session fitted to the last cutoff.
        """
        begin = position(past, fitted.last)
        news = fitted.omega + fitted.news(past.log_returns[begin:])  # (sessions since the fit,)
        # A filter of scipy.signal would do, whose import takes a second.
        recursion = accumulate(
            news.tolist(), lambda last, new: new + fitted.beta * last, initial=fitted.variance
        )
        variance = np.fromiter(recursion, float)[1:]
        floored: Floats = np.maximum(variance, (PERCENT * FLOOR) ** 2)[index - begin]
        return floored


def estimate(model: "ARCHModel") -> "ARCHModelResult | None":
    """Return the fit of a model of ``arch``, None if it did not converge."""
    with warnings.catch_warnings():
        # Each warning of arch is also in its convergence flag, which leads to a stand-in.
        warnings.simplefilter("ignore")
        try:
            result = model.fit(disp="off", show_warning=False)
        except (ValueError, np.linalg.LinAlgError):
            return None
    known = np.isfinite(result.params).all() and np.isfinite(result.conditional_volatility[-1])
    # Of prices that hardly ever moved, arch may accept any mean and volatility at all.
    returns = np.asarray(model.y)
    likely = np.min(returns) <= result.params["mu"] <= np.max(returns)
    likely = likely and result.conditional_volatility[-1] <= PERCENT
    return result if result.convergence_flag == 0 and known and likely else None


def coefficients(result: "ARCHModelResult") -> dict[str, float]:
    """Return mu, omega, alpha, gamma and beta of a fit of ``arch``; a symmetric model's gamma is 0."""
    names = ("mu", "omega", "alpha[1]", "gamma[1]", "beta[1]")
    return {name.removesuffix("[1]"): float(result.params.get(name, 0.0)) for name in names}


def days(date: np.datetime64) -> float:
    """Return a date in days since 1970."""
    return float(date.astype(int))


def check_last(last: float) -> None:
    """Raise ValueError for days since 1970 beyond every calendar."""
    if not abs(last) < 1e6:
        raise ValueError("the last session fitted must be days from 1970, fewer than a million")


def position(past: Past, last: float) -> int:
    """Return the index of the last session fitted; beyond the end if the past begins after it."""
    known = past.count_until(np.datetime64(int(last), "D"))
    return known - 1 if known else len(past.dates)


def create(name: str, config: RecurrentConfig) -> Garch:
    """Return the model called ``garch`` or ``gjr``."""
    return Garch(name, config.horizon)
