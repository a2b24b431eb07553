"""The base of models that fit each ticker on its own history alone.

A model says what it fits on one ticker and what that forecasts; the base has the loop over tickers,
the fits in parallel, the stand-ins for those that do not converge, and the state of a bundle.
``docs/how-to/add-a-model.md`` writes one from start to end.
"""

import logging
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Generic, TypeVar

import numpy as np
import pandas as pd

from forecaster.dataset.bars import Floats
from forecaster.dataset.panel import (
    Distributions,
    Panel,
    Past,
    Quantiles,
    StudentT,
    TickerForecasts,
    forecasts_of,
)
from forecaster.distributions import horizons, student_t
from forecaster.models.protocol import (
    NO_CHECKPOINT,
    SESSIONS_TO_FORECAST,
    Checkpoint,
    Model,
    ModelState,
    Progress,
    horizon_of,
    of_step,
    require_within,
    silent,
    too_short,
)
from forecaster.parallel import jobs

WARMUP = 20
"""Sessions before a measured volatility means something."""

LEAST_RETURNS = 20
"""Returns over a step, end to end, that its own fit needs; with fewer, that of step 1 forecasts it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parameters:
    """The numbers fitted on one ticker, which a bundle stores in the order of the fields."""

    def check(self) -> None:
        """Raise ValueError for numbers that no fit gives."""


P = TypeVar("P", bound=Parameters)


@dataclass(frozen=True)
class Shape(Parameters):
    """A Student-t of location zero: its scale and its degrees of freedom."""

    scale: float
    df: float

    @classmethod
    def fit(cls, ratio: Floats) -> "Shape":
        """Return the shape of returns over their volatility, (sessions,), by maximum likelihood."""
        return cls(*student_t.fit(ratio))

    def check(self) -> None:
        """Raise ValueError unless both are positive."""
        if not (self.scale > 0 and self.df > 0):
            raise ValueError("expected a positive scale and df for each ticker")


class PerTicker(Model, Generic[P]):
    """A model with parameters for each ticker.

    A subclass sets ``parameters`` and defines :meth:`fit_one` and :meth:`forecast_one`, or where iterated
    :meth:`forecast_ahead`; one whose fits may fail defines :meth:`stand_in` too.
    """

    parameters: type[P]
    """The dataclass of what is fitted on a ticker."""
    array = "parameters"
    """The name of the array that holds them in a bundle: (tickers, fields)."""
    sessions_to_fit = SESSIONS_TO_FORECAST + 1
    """Sessions that a ticker needs to be fitted."""
    iterated = False
    """Whether the fit to next sessions forecasts all steps; otherwise each knot has its own."""
    slow = False
    """Whether fits take long enough to be worth the start of other processes."""
    scheduled = False
    """Whether it knows of announcements."""
    tickerwise = True

    def __init__(self, name: str, horizon: int = 1) -> None:
        self.name = name
        self.horizon = horizon
        self.fallbacks = ()
        self.fitted: dict[str, list[P]] = {}
        """Parameters by ticker: of each knot up to the horizon, or of the first where iterated."""

    @property
    def fitted_steps(self) -> tuple[int, ...]:
        """The steps that parameters are fitted for."""
        return (1,) if self.iterated else horizons.knots([self.horizon])

    def fit_one(self, past: Past, step: int) -> P | None:
        """Return the parameters of one ticker, or None if the fit did not converge.

        Parameters
        ----------
        past : the ticker's sessions up to the cutoff of the fit.
        step : sessions ahead that they are to forecast.
        """
        raise NotImplementedError

    def stand_in(self, past: Past, step: int) -> P:
        """Return the parameters of a ticker whose fit did not converge."""
        raise NotImplementedError

    def forecast_ahead(
        self, fitted: Sequence[P], past: Past, index: np.ndarray, knots: Sequence[int]
    ) -> Distributions:
        """Return the distributions of some knots, the first ones there are, by their step."""
        return {
            step: self.forecast_one(its, past, index, step)
            for its, step in zip(fitted, knots, strict=False)
        }

    def forecast_one(
        self, fitted: P, past: Past, index: np.ndarray, step: int
    ) -> StudentT | Quantiles:
        """Return the distributions of one ticker's log returns over the next sessions, as fractions.

        Parameters
        ----------
        fitted : the ticker's parameters.
        past : its sessions up to the last cutoff.
        index : (cutoffs,), the sessions forecast from. The forecast from session *t* must depend on
            sessions up to *t* alone.
        step : the number of sessions that the returns are over.

        Returns
        -------
        Student-t parameters, each (cutoffs,) or one number, or quantiles, (cutoffs, levels).
        """
        raise NotImplementedError

    def first_cutoff(self, fitted: P, past: Past) -> int:
        """Return the index of the first session that the ticker can be forecast from."""
        return SESSIONS_TO_FORECAST - 1

    def fit(
        self,
        panel: Panel,
        until: np.datetime64,
        progress: Progress = silent,
        checkpoint: Checkpoint = NO_CHECKPOINT,
    ) -> None:
        """Fit every ticker that has enough sessions."""
        pasts = [history.until(until) for history in panel.histories]
        pasts = [past for past in pasts if len(past.dates) >= self.sessions_to_fit]
        if not pasts:
            raise too_short(self.name, panel, until, self.sessions_to_fit)
        self.fitted, fitted, fallbacks = {}, {}, []  # workers receive this model without parameters
        quick = self.engine == jobs.LOCAL and not self.slow
        engine = jobs.Engine(jobs=1) if quick else self.engine
        fits = zip(pasts, jobs.ordered(self._fit_or_stand_in, pasts, engine=engine), strict=True)
        for done, (past, (parameters, converged)) in enumerate(fits, start=1):
            fitted[past.ticker] = parameters
            if not converged:
                fallbacks.append(past.ticker)
                log.warning(
                    "%s did not converge on %s up to %s; fixed parameters stand in for it",
                    *(self.name, past.ticker, past.dates[-1]),
                )
            progress(done, len(pasts), f"{self.name} {past.ticker}")
        self.fitted, self.fallbacks = fitted, tuple(fallbacks)

    def _fit_or_stand_in(self, past: Past) -> tuple[list[P], bool]:
        """Return the parameters of each step, and whether all fits converged."""
        fitted: list[P] = []
        converged = True
        for step in self.fitted_steps:
            if step > 1 and np.isfinite(past.ahead(step)[WARMUP:]).sum() < LEAST_RETURNS * step:
                fitted.append(fitted[0])
                continue
            fit = self.fit_one(past, step)
            converged = converged and fit is not None
            fitted.append(self.stand_in(past, step) if fit is None else fit)
        return fitted, converged

    def forecast(
        self,
        panel: Panel,
        first: np.datetime64,
        last: np.datetime64,
        steps: Sequence[int] = (1,),
    ) -> pd.DataFrame:
        """Return the forecasts frame of the tickers that were fitted."""
        require_within(self.name, self.horizon, steps)
        knots, parts = horizons.knots(steps), []
        for history in panel.histories:
            if history.ticker not in self.fitted:
                continue
            fitted, index = self.fitted[history.ticker], history.between(first, last)
            index = index[index >= self.first_cutoff(fitted[0], history)]
            if len(index):
                past = history.until(history.dates[index[-1]])
                distributions = self.forecast_ahead(fitted, past, index, knots)
                parts.append(TickerForecasts(history, index, distributions))
        return forecasts_of(self.name, parts, steps, scheduled=self.scheduled)

    def state(self) -> ModelState:
        """Return the parameters by ticker, an array for each step."""
        arrays = {
            of_step(self.array, step): np.array(
                [astuple(its[at]) for its in self.fitted.values()], float
            )
            for at, step in enumerate(self.fitted_steps)
        }
        settings = {
            "tickers": list(self.fitted),
            "fallbacks": list(self.fallbacks),
            "horizon": self.horizon,
        }
        return ModelState(arrays, settings)

    def restore(self, state: ModelState) -> None:
        """Take the parameters of a state."""
        self.horizon = horizon_of(state)
        tickers = state.settings["tickers"]
        by_step = [
            self._parameters(state.arrays[of_step(self.array, step)], len(tickers))
            for step in self.fitted_steps
        ]
        self.fitted = dict(zip(tickers, map(list, zip(*by_step, strict=True)), strict=True))
        self.fallbacks = tuple(state.settings.get("fallbacks", ()))

    def _parameters(self, rows: np.ndarray, tickers: int) -> list[P]:
        """Return the parameters in the rows of an array; ValueError if they are none."""
        names = [field.name for field in fields(self.parameters)]
        if rows.shape != (tickers, len(names)) or not np.isfinite(rows).all():
            raise ValueError(f"expected finite {', '.join(names)} for each ticker")
        fitted = [self.parameters(*row) for row in rows.tolist()]
        for parameters in fitted:
            parameters.check()
        return fitted
