"""GARCH(1,1) and GJR-GARCH(1,1) with Student-t innovations, fitted by the ``arch`` package.

Bollerslev (1986, 1987) and Glosten, Jagannathan and Runkle (1993)::

    r[t] = mu + e[t]
    v[t+1] = omega + (alpha + gamma * [e[t] < 0]) * e[t]**2 + beta * v[t]

Between fits the parameters are fixed and the recursion is run forward here, not by ``arch``: its
``fix`` bounds the variances by a figure of the whole sample, which would let the future in.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from forecaster.config import RecurrentConfig
from forecaster.dataset.bars import FLOOR
from forecaster.dataset.panel import Panel, Spread, forecasts_of
from forecaster.distributions import student_t
from forecaster.models.protocol import (
    NO_CHECKPOINT,
    Checkpoint,
    ModelState,
    Progress,
    silent,
    too_short,
)
from forecaster.parallel import jobs

MIN_SESSIONS = 250
"""Sessions a ticker needs before its parameters mean anything."""

WARMUP = 20
"""Sessions after which a volatility means something."""

PERCENT = 100.0
"""Returns are fitted in percent: the optimiser of ``arch`` wants numbers near one."""

Result = TypeVar("Result")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """A ticker's history up to the fit's cutoff, as another process gets it."""

    model: str
    ticker: str
    returns: np.ndarray
    """(sessions - 1,) log returns, a fraction, from the second session on"""
    volatility: np.ndarray
    """(sessions - 1,) EWMA volatility known at the close before each of them"""
    last: np.datetime64
    """The last session"""


@dataclass(frozen=True)
class Fitted:
    """A ticker's parameters, in percent, and where its recursion goes on from."""

    mu: float
    omega: float
    alpha: float
    gamma: float
    beta: float
    df: float
    variance: float
    """Of the last session fitted, given those before it."""
    last: float
    """That session's date, in days since 1970."""


class Garch:
    """A per-ticker model: ``garch`` is symmetric, ``gjr`` has a leverage term."""

    tickerwise = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.fallbacks: tuple[str, ...] = ()
        self.fitted: dict[str, Fitted] = {}
        """By ticker"""

    def fit(
        self,
        panel: Panel,
        until: np.datetime64,
        progress: Progress = silent,
        checkpoint: Checkpoint = NO_CHECKPOINT,
    ) -> None:
        """Fits every ticker that has enough sessions by maximum likelihood."""
        found = list(fits(_fit, self.name, panel, until, progress))
        self.fitted = {ticker: fitted for ticker, fitted, _ in found}
        self.fallbacks = tuple(ticker for ticker, _, converged in found if not converged)
        if not self.fitted:
            raise too_short(self.name, panel, until, MIN_SESSIONS + 1)

    def forecast(self, panel: Panel, first: np.datetime64, last: np.datetime64) -> pd.DataFrame:
        """The forecasts frame of the tickers that were fitted, from their last fitted session on."""
        spreads = []
        for history in panel.histories:
            if history.ticker not in self.fitted:
                continue
            fitted = self.fitted[history.ticker]
            begin = history.count_until(np.datetime64(int(fitted.last), "D")) - 1
            index = history.between(first, last)
            index = index[index >= begin]
            # The recursion goes on from the last session fitted, so that must be there.
            if begin >= 0 and len(index):
                variance = _filter(fitted, history.log_returns[begin:])[index - begin]
                scale = np.sqrt(variance * (fitted.df - 2) / fitted.df) / PERCENT
                zeros = np.zeros(len(index))
                location = zeros + fitted.mu / PERCENT
                spreads.append(Spread(history, index, location, scale, zeros + fitted.df))
        return forecasts_of(self.name, spreads)

    def state(self) -> ModelState:
        """The parameters by ticker."""
        return ModelState(
            {"parameters": np.array([astuple(fitted) for fitted in self.fitted.values()])},
            {"tickers": list(self.fitted), "fallbacks": list(self.fallbacks)},
        )

    def restore(self, state: ModelState) -> None:
        """Takes the parameters of a state."""
        rows = state.arrays["parameters"].tolist()
        self.fitted = {
            ticker: Fitted(*row)
            for ticker, row in zip(state.settings["tickers"], rows, strict=True)
        }
        if not all(fitted.df > 2 and fitted.variance > 0 for fitted in self.fitted.values()):
            raise ValueError("df must be above 2 and variances above 0")
        if not all(abs(fitted.last) < 1e6 for fitted in self.fitted.values()):
            raise ValueError("the last session fitted must be days from 1970, fewer than a million")

        self.fallbacks = tuple(state.settings.get("fallbacks", ()))

    def export(self, folder: Path) -> None:
        """There is no other format."""


def fits(
    fit: Callable[[Task], tuple[Result, bool]],
    model: str,
    panel: Panel,
    until: np.datetime64,
    progress: Progress,
) -> Iterator[tuple[str, Result, bool]]:
    """Each ticker that has enough sessions, what was fitted, and whether that converged."""
    tasks = []
    for history in panel.histories:
        known = history.count_until(until)
        if known > MIN_SESSIONS:
            returns, volatility = history.log_returns[1:known], history.volatility[: known - 1]
            tasks.append(Task(model, history.ticker, returns, volatility, history.dates[known - 1]))
    for done, (task, (fitted, converged)) in enumerate(
        zip(tasks, jobs.ordered(fit, tasks), strict=True), start=1
    ):
        if not converged:
            warn_of_fallback(model, task.ticker, task.last)
        progress(done, len(tasks), f"{model} {task.ticker}")
        yield task.ticker, fitted, converged


def warn_of_fallback(model: str, ticker: str, last: np.datetime64) -> None:
    """Says whose fit did not converge."""
    log.warning(
        "%s did not converge on %s up to %s; fixed parameters stand in for it", model, ticker, last
    )


def estimate(model: Any) -> Any:
    """The fit of a model of ``arch``, None where it did not converge."""
    with warnings.catch_warnings():
        # What arch warns about here is told by its convergence flag, and by our fallback.
        warnings.simplefilter("ignore")
        try:
            result = model.fit(disp="off", show_warning=False)
        except (ValueError, np.linalg.LinAlgError):
            return None
    known = np.isfinite(result.params).all() and np.isfinite(result.conditional_volatility[-1])
    # Of prices that hardly ever moved, arch may call converged what has any mean and width at all.
    likely = np.min(model.y) <= result.params["mu"] <= np.max(model.y)
    likely = likely and result.conditional_volatility[-1] <= PERCENT
    return result if result.convergence_flag == 0 and known and likely else None


def _fit(task: Task) -> tuple[Fitted, bool]:
    from arch import arch_model

    leverage = int(task.model == "gjr")
    result = estimate(
        arch_model(PERCENT * task.returns, p=1, o=leverage, q=1, dist="t", rescale=False)
    )
    if result is None:
        return _riskmetrics(task), False
    parameters = result.params
    fitted = Fitted(
        mu=float(parameters["mu"]),
        omega=float(parameters["omega"]),
        alpha=float(parameters["alpha[1]"]),
        gamma=float(parameters.get("gamma[1]", 0.0)),
        beta=float(parameters["beta[1]"]),
        df=max(float(parameters["nu"]), student_t.DF_BOUNDS[0]),
        variance=max(float(result.conditional_volatility[-1]) ** 2, (PERCENT * FLOOR) ** 2),
        last=float(task.last.astype(int)),
    )
    return fitted, True


def _riskmetrics(task: Task) -> Fitted:
    width = task.volatility
    scale, df = student_t.fit((task.returns / width)[WARMUP:])
    inflation = scale**2 * df / (df - 2)
    return Fitted(
        mu=0.0,
        omega=0.0,
        alpha=0.06 * inflation,
        gamma=0.0,
        beta=0.94,
        df=df,
        variance=float(width[-1] * PERCENT) ** 2 * inflation,
        last=float(task.last.astype(int)),
    )


def _filter(fitted: Fitted, returns: np.ndarray) -> np.ndarray:
    """The next session's variance at each close, from that of the last session fitted on.

    Parameters
    ----------
    fitted : the parameters, and the variance of ``returns[0]``.
    returns : (sessions,) log returns, a fraction.

    Returns
    -------
    (sessions,) in percent squared: at *t*, the variance of the return of *t* + 1.
    """
    from scipy.signal import lfilter  # a second to import, and only this model needs it

    shock = PERCENT * returns - fitted.mu
    news = fitted.omega + (fitted.alpha + fitted.gamma * (shock < 0)) * shock**2
    start = np.array([fitted.beta * fitted.variance])
    variance, _ = lfilter([1.0], [1.0, -fitted.beta], news, zi=start)
    return np.maximum(variance, (PERCENT * FLOOR) ** 2)


def create(name: str, config: RecurrentConfig) -> Garch:
    """The model called ``garch`` or ``gjr``."""
    return Garch(name)
