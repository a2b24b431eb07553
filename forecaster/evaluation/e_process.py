r"""Is a model better than another? A test that may be looked at every day, and stopped on any.

A p-value holds for the one day that was fixed beforehand. Whoever looks at it every evening, and stops
when it is small, sees a small one sooner or later of two models that are equals. An e-process holds on
all days at once: while the model is no better, the chance that its E is *ever* :math:`1/\alpha` or more
is :math:`\alpha` at most (Ville 1939). It is the capital of somebody who bets on the model each day at
odds that are fair or worse if it is no better:

.. math:: E_t = \frac{1}{K} \sum_{\lambda} \prod_{s \le t} (1 + \lambda z_s)

Of day :math:`s`, :math:`z_s` is the mean over the tickers of the difference in CRPS, the other's less
the model's, over the most that this difference can be in absolute value, which the two forecasts tell
before anything has come (:func:`forecaster.distributions.quantile_grid.largest_crps_difference`). So it
lies between -1 and 1 by construction, and nothing is cut off.

**What is tested.** Let :math:`\mu_s` be the mean of :math:`z_s` given all that was known before day
:math:`s`. The hypothesis is that :math:`\mu_1 + \dots + \mu_t \le 0` on every day: up to no day was the
model expected to be better on average, though it may have been on some. It says nothing of how days
depend on each other or tickers among themselves, of volatility or of tails. Each product is then no
larger than a fair game, because

.. math:: \prod (1 + \lambda z_s) = \prod \frac{1 + \lambda z_s}{1 + \lambda \mu_s}
          \prod (1 + \lambda \mu_s), \qquad
          \prod (1 + \lambda \mu_s) \le \exp(\lambda \sum \mu_s) \le 1

and the first factor is a martingale that begins at 1. This needs bets that never change, which is why
there is a mixture of fixed ones, `BETS`, and none that learns.

References
----------
Ville (1939), Étude critique de la notion de collectif. Henzi and Ziegel (2022), Valid sequential
inference on probability forecast performance, Biometrika 109(3). Choe and Ramdas (2023), Comparing
sequential forecasters, Operations Research 72(4), from whom we differ in the bets: products, not
exponentials, which the known bound allows. Ramdas, Grünwald, Vovk and Shafer (2023), Game-theoretic
statistics and safe anytime-valid inference, Statistical Science 38(4).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from forecaster.distributions import quantile_grid
from forecaster.distributions.student_t import Array

BETS = (0.1, 0.3, 0.9)
"""Shares of the capital that are bet, each with the same weight.

Capital grows fastest with a share of about E[z] / E[z²]. Of the LSTM against GJR-GARCH on US stocks from
2013 to 2018, whose CRPS was 1% apart, that is 0.06 to 0.3 with one ticker and more than 1 with 26 of
them, which vary less together. Finer grids, and those that reach lower, were not sooner done.
"""

ROWS_AT_ONCE = 50_000
"""Pairs of forecasts whose bounds are computed at once, to bound the memory of what lies between."""

ENOUGH = 20.0
"""An E this large shows the model to be better: a chance of 1 in 20 at most if it is not."""

MOST = 600.0
"""The logarithm beyond which no capital is counted, so that every E is a finite number."""

ALIKE = 1e-12
"""Two forecasts whose CRPS can differ by no more than this are the same."""


class Evidence(NamedTuple):
    """What an e-process has come to."""

    e: float
    """Today"""
    largest: float
    """On its best day so far"""
    shown: int | None
    """Days after which it was `ENOUGH`; None while it was not"""

    @property
    def p_value(self) -> float:
        """One that holds whenever it is looked at: 1 over the largest E, and 1 at the most."""
        return min(1.0, 1 / self.largest)


def advantage(crps: ArrayLike, other: ArrayLike, quantiles: Array, others: Array) -> Array:
    """Return the differences in CRPS, the other's less the model's, over the most that they can be.

    Parameters
    ----------
    crps, other : (rows,), of the model and of the other.
    quantiles, others : (rows, 23), of the two forecasts.

    Returns
    -------
    (rows,), between -1 and 1, above 0 where the model was better; 0 where the two say the same.
    """
    parts = (slice(at, at + ROWS_AT_ONCE) for at in range(0, max(len(quantiles), 1), ROWS_AT_ONCE))
    bound = np.concatenate(
        [quantile_grid.largest_crps_difference(quantiles[it], others[it]) for it in parts]
    )
    difference = np.asarray(other, dtype=float) - np.asarray(crps, dtype=float)
    z: Array = np.divide(difference, bound, out=np.zeros_like(difference), where=bound > ALIKE)
    return z


def e_process(z: ArrayLike) -> Array:
    """Return E after each day, (..., days), of daily means of the `advantage`, (..., days).

    With -z it tests whether the model is worse.
    """
    z = np.asarray(z, dtype=float)
    growths = (np.cumsum(np.log1p(bet * z), axis=-1) for bet in BETS)
    return np.asarray(sum(np.exp(np.minimum(it, MOST)) for it in growths) / len(BETS))


def evidence(z: ArrayLike) -> Evidence:
    """Return what the e-process of some days has come to: (days,); E is 1 before the first."""
    values = e_process(z)
    if not values.size:
        return Evidence(1.0, 1.0, None)
    reached = values >= ENOUGH
    shown = int(reached.argmax()) + 1 if reached.any() else None
    return Evidence(float(values[-1]), max(1.0, float(values.max())), shown)
