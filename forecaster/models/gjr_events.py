"""GJR-GARCH that knows of scheduled announcements: the company of a network that knows of them too.

The GJR-GARCH of :mod:`forecaster.models.garch`, fitted to ordinary sessions: the move of a reaction
session is divided by what was expected of it, so that it enters the recursion as an ordinary move. Where
the next session may be a reaction the forecast is widened again, by
:attr:`forecaster.dataset.announcements.Announcements.inflation`. A ticker without announcements has the
forecasts of ``gjr``.
"""

from dataclasses import replace

import numpy as np

from forecaster.config import RecurrentConfig
from forecaster.dataset.bars import volatility
from forecaster.dataset.panel import Past, StudentT
from forecaster.models.garch import Garch, GarchParameters


class GjrEvents(Garch):
    """The per-ticker model ``gjr-events``."""

    scheduled = True

    def fit_one(self, past: Past, step: int) -> GarchParameters | None:
        """Fit by maximum likelihood to ordinary sessions."""
        return super().fit_one(ordinary(past), step)

    def stand_in(self, past: Past, step: int) -> GarchParameters:
        """Return the parameters of an EWMA of ordinary sessions."""
        return super().stand_in(ordinary(past), step)

    def forecast_one(
        self, fitted: GarchParameters, past: Past, index: np.ndarray, step: int
    ) -> StudentT:
        """Run the recursion, and widen the forecasts of sessions that may be reactions."""
        forecast, known = (
            super().forecast_one(fitted, ordinary(past), index, step),
            past.announcements,
        )
        return (
            forecast._replace(scale=forecast.scale * known.inflation[index]) if known else forecast
        )


def ordinary(past: Past) -> Past:
    """Return a past in which every reaction was an ordinary session."""
    if past.announcements is None:
        return past
    returns = past.log_returns / past.announcements.discount
    bars = replace(past.bars, log_returns=returns, volatility=volatility(returns))
    return Past(past.ticker, bars)


def create(name: str, config: RecurrentConfig) -> GjrEvents:
    """Return the model called ``gjr-events``."""
    return GjrEvents(name, config.horizon)
