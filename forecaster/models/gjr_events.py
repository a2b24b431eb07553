"""GJR-GARCH that knows of scheduled announcements: the company of a network that knows of them too.

The GJR-GARCH of :mod:`forecaster.models.garch`, fitted to ordinary sessions: the move of a reaction
session is divided by what was expected of it, so that it enters the recursion as an ordinary move. Where
the next session may be a reaction the forecast is widened again, by
:attr:`forecaster.dataset.announcements.Announcements.inflation`, and where one of the next sessions may
be, by what that adds to the variance of them all. A ticker without announcements has the forecasts of
``gjr``.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from forecaster.config import RecurrentConfig
from forecaster.dataset.bars import volatility
from forecaster.dataset.panel import Past, Quantiles, StudentT
from forecaster.models import iteration
from forecaster.models.garch import PERCENT, Garch, GarchParameters


class GjrEvents(Garch):
    """The per-ticker model ``gjr-events``."""

    scheduled = True

    def fit_one(self, past: Past, step: int) -> GarchParameters | None:
        """Fit by maximum likelihood to ordinary sessions."""
        return super().fit_one(ordinary(past), step)

    def stand_in(self, past: Past, step: int) -> GarchParameters:
        """Return the parameters of an EWMA of ordinary sessions."""
        return super().stand_in(ordinary(past), step)

    def forecast_ahead(
        self,
        fitted: Sequence[GarchParameters],
        past: Past,
        index: np.ndarray,
        knots: Sequence[int],
    ) -> dict[int, StudentT | Quantiles]:
        """Run the recursion, and widen the steps that may contain a reaction."""
        ahead = super().forecast_ahead(fitted, ordinary(past), index, knots)
        known = past.announcements
        if known is None:
            return ahead
        (its,) = fitted
        variance = self.variance(its, ordinary(past), index)
        path = iteration.path(variance, knots[-1], its.expected)  # (sessions, cutoffs)
        total = np.cumsum(path, axis=0)
        due = np.clip(np.nan_to_num(known.until[index], nan=1.0), 1, knots[-1]).astype(int)
        of_reaction = path[due - 1, np.arange(len(index))]
        for step, forecast in ahead.items():
            if isinstance(forecast, StudentT):
                ahead[step] = forecast._replace(scale=forecast.scale * known.inflation[index])
                continue
            more = (known.clock(step)[index] - step) * of_reaction
            factor = np.sqrt(1 + more / total[step - 1])[:, None]
            mean = step * its.mu / PERCENT
            ahead[step] = mean + factor * (forecast - mean)
        return ahead


def ordinary(past: Past) -> Past:
    """Return a past in which every reaction was an ordinary session."""
    if past.announcements is None:
        return past
    returns = past.log_returns / past.announcements.discount
    held = past.bars.first(len(past.dates))  # in memory, whatever file they lie in
    bars = replace(held, log_returns=returns, volatility=volatility(returns))
    return Past(past.ticker, bars)


def create(name: str, config: RecurrentConfig) -> GjrEvents:
    """Return the model called ``gjr-events``."""
    return GjrEvents(name, config.horizon)
