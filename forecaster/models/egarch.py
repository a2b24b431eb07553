"""EGARCH(1,1) with skewed Student-t innovations, fitted by the ``arch`` package.

Nelson (1991), Conditional heteroskedasticity in asset returns, Econometrica 59(2), with the
innovations of Hansen (1994), Autoregressive conditional density estimation, International Economic
Review 35(3)::

    r[t] = mu + sigma[t] * z[t]
    ln v[t+1] = omega + alpha * (|z[t]| - sqrt(2 / pi)) + gamma * z[t] + beta * ln v[t]

The recursion is run forward here, for the reason given in :mod:`forecaster.models.garch`.
"""

import math
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.config import RecurrentConfig
from forecaster.dataset.bars import FLOOR
from forecaster.dataset.panel import Fan, Panel, quantile_forecasts_of
from forecaster.distributions import forecasts, student_t
from forecaster.models.garch import MIN_SESSIONS, PERCENT, WARMUP, Task, estimate, fits
from forecaster.models.protocol import (
    NO_CHECKPOINT,
    Checkpoint,
    ModelState,
    Progress,
    silent,
    too_short,
)

LOG_BOUNDS = (2 * math.log(PERCENT * FLOOR), 2 * math.log(PERCENT))
"""Of a variance: no forecast is calmer than the floor, or wilder than 100% a day."""


@dataclass(frozen=True)
class Fitted:
    """A ticker's parameters, in percent, and where its recursion goes on from."""

    mu: float
    omega: float
    alpha: float
    gamma: float
    beta: float
    df: float
    skew: float
    """Hansen's lambda, between -1 and 1"""
    log_variance: float
    """Of the last session fitted, given those before it."""
    last: float
    """That session's date, in days since 1970."""


class Egarch:
    """A per-ticker model whose volatility and whose distribution are asymmetric."""

    name = "egarch"
    tickerwise = True

    def __init__(self) -> None:
        self.fallbacks: tuple[str, ...] = ()
        self._fitted: dict[str, Fitted] = {}

    def fit(
        self,
        panel: Panel,
        until: np.datetime64,
        progress: Progress = silent,
        checkpoint: Checkpoint = NO_CHECKPOINT,
    ) -> None:
        """Fits every ticker that has enough sessions by maximum likelihood."""
        found = list(fits(_fit, self.name, panel, until, progress))
        self._fitted = {ticker: fitted for ticker, fitted, _ in found}
        self.fallbacks = tuple(ticker for ticker, _, converged in found if not converged)
        if not self._fitted:
            raise too_short(self.name, panel, until, MIN_SESSIONS + 1)

    def forecast(self, panel: Panel, first: np.datetime64, last: np.datetime64) -> pd.DataFrame:
        """The forecasts frame of the tickers that were fitted, from their last fitted session on."""
        from arch.univariate import SkewStudent

        fans = []
        for history in panel.histories:
            if history.ticker not in self._fitted:
                continue
            fitted = self._fitted[history.ticker]
            begin = history.count_until(np.datetime64(int(fitted.last), "D")) - 1
            index = history.between(first, last)
            index = index[index >= begin]
            # The recursion goes on from the last session fitted, so that must be there.
            if begin >= 0 and len(index):
                path = _filter(fitted, history.log_returns[begin : index[-1] + 1])
                sigma = np.exp(path[index - begin] / 2)
                shape = np.array([fitted.df, fitted.skew])
                standard = SkewStudent().ppf(np.array(forecasts.LEVELS), shape)
                fans.append(Fan(history, index, (fitted.mu + np.outer(sigma, standard)) / PERCENT))
        return quantile_forecasts_of(self.name, fans)

    def state(self) -> ModelState:
        """The parameters by ticker."""
        return ModelState(
            {"skewed_parameters": np.array([astuple(fitted) for fitted in self._fitted.values()])},
            {"tickers": list(self._fitted), "fallbacks": list(self.fallbacks)},
        )

    def restore(self, state: ModelState) -> None:
        """Takes the parameters of a state."""
        rows = state.arrays["skewed_parameters"].tolist()
        self._fitted = {
            ticker: Fitted(*row)
            for ticker, row in zip(state.settings["tickers"], rows, strict=True)
        }
        self.fallbacks = tuple(state.settings.get("fallbacks", ()))
        if not np.isfinite(np.array(rows)).all():
            raise ValueError("parameters must be finite")
        if not all(fitted.df > 2 and abs(fitted.skew) < 1 for fitted in self._fitted.values()):
            raise ValueError("df must be above 2, and the skew between -1 and 1")
        if not all(abs(fitted.last) < 1e6 for fitted in self._fitted.values()):
            raise ValueError("the last session fitted must be days from 1970, fewer than a million")

    def export(self, folder: Path) -> None:
        """There is no other format."""


def _fit(task: Task) -> tuple[Fitted, bool]:
    from arch import arch_model

    result = estimate(
        arch_model(PERCENT * task.returns, vol="EGARCH", p=1, o=1, q=1, dist="skewt", rescale=False)
    )
    if result is None:
        return _typical(task), False
    parameters = result.params
    variance = float(result.conditional_volatility[-1]) ** 2
    fitted = Fitted(
        mu=float(parameters["mu"]),
        omega=float(parameters["omega"]),
        alpha=float(parameters["alpha[1]"]),
        gamma=float(parameters["gamma[1]"]),
        beta=float(parameters["beta[1]"]),
        df=max(float(parameters["eta"]), student_t.DF_BOUNDS[0]),
        skew=float(parameters["lambda"]),
        log_variance=float(np.clip(math.log(max(variance, 1e-300)), *LOG_BOUNDS)),
        last=float(task.last.astype(int)),
    )
    return fitted, True


def _typical(task: Task) -> Fitted:
    """Parameters that stand in: shocks half gone in 23 sessions, about the sample's own level."""
    _, df = student_t.fit((task.returns / task.volatility)[WARMUP:])
    level = float(np.clip(np.log(np.mean((PERCENT * task.returns) ** 2) + 1e-300), *LOG_BOUNDS))
    now = float(np.clip(2 * math.log(PERCENT * task.volatility[-1]), *LOG_BOUNDS))
    last = float(task.last.astype(int))
    return Fitted(0.0, 0.03 * level, 0.15, 0.0, 0.97, df, 0.0, now, last)


def _filter(fitted: Fitted, returns: np.ndarray) -> np.ndarray:
    """The log of the next session's variance at each close, in percent squared: (sessions,).

    ``returns[0]`` is the last return that was fitted on.
    """
    low, high = LOG_BOUNDS
    typical, now, path = math.sqrt(2 / math.pi), fitted.log_variance, []
    for shock in (PERCENT * returns - fitted.mu).tolist():
        z = shock * math.exp(-now / 2)
        now = (
            fitted.omega + fitted.alpha * (abs(z) - typical) + fitted.gamma * z + fitted.beta * now
        )
        now = min(max(now, low), high)
        path.append(now)
    return np.array(path)


def create(name: str, config: RecurrentConfig) -> Egarch:
    """The model called ``egarch``."""
    return Egarch()
