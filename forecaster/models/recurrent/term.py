"""The term structure: what the hidden states say of the sessions after the next.

The networks are trained on the next session. A month is too long, and overlapping months are too few
independent ones, to train them on; but the memory that foretells tomorrow's volatility also holds how
far that is from usual. So each longer step has a Student-t of its own, whose scale alone is read from
the hidden states ``h`` of all networks, in units of the EWMA volatility times the root of the step::

    mean     = 0.1 * b[0]
    ln scale = k . h + b[1] - 0.15
    df       = min(2.1 + softplus(b[2] + 4), 200)

the links of :mod:`forecaster.models.recurrent.head`. Step 1 is not touched. ``k`` and ``b`` minimise the
mean negative log likelihood plus :data:`RIDGE` times the square of ``k``, by L-BFGS. What they were fitted
on the networks know too well, so the scales of all steps are then widened by one factor, which
maximises the likelihood of the sessions that training held out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecaster.dataset.bars import Floats
from forecaster.distributions import student_t
from forecaster.models.recurrent import head
from forecaster.parallel import threads

RIDGE = 0.1
"""Penalty on the squares of the kernel."""

WIDEST, PRIOR_WIDTH = 1.2, 0.05
"""Largest factor that scales are widened by, and the standard deviation of its logarithm a priori."""

EVERY = 3
"""One session in so many is learnt from: its neighbours say nearly the same of a week or a month."""

MOST_WINDOWS = 1024
"""Windows that are learnt from, drawn at random where there are more."""


LEAST = 3000
"""Examples that terms are fitted to; with fewer, networks that started from others keep the terms of those.

Trained on from stocks of 2004 to 2012, terms fitted to 5,295 examples of Indian stocks, 7,558 of funds and
11,436 of British stocks had a CRPS 0.1 to 0.2% below that of the terms they started with, and one 0.2 to
2.8% above it where there were 572 examples of one stock, or 471 of two currencies.
"""


@dataclass(frozen=True)
class Examples:
    """Hidden states and what came after them."""

    hidden: np.ndarray
    """(sessions, networks, units)"""
    targets: Floats
    """(sessions, steps): returns in units of the EWMA volatility times the root of the step, NaN where
    they are not known."""
    held_out: np.ndarray
    """(sessions,): whether training held the session out."""

    @property
    def learnt(self) -> int:
        """The number of sessions that the first step is fitted to."""
        return int((np.isfinite(self.targets[:, 0]) & ~self.held_out).sum())


@dataclass(frozen=True)
class Term:
    """The Student-t of each knot after the first."""

    kernel: np.ndarray
    """(steps, networks, units)"""
    bias: np.ndarray
    """(steps, OUTPUTS)"""

    @classmethod
    def fit(cls, examples: Examples, steps: Sequence[int], kind: str) -> "Term":
        """Return the distributions of some steps, for a head of some kind."""
        with threads.one():
            fits = [_fit(examples, at, kind) for at in range(len(steps))]
        kernel, bias = (np.stack(it) for it in zip(*fits, strict=True))
        wide = _width(cls(kernel, bias), examples, steps)
        bias[:, 1] += np.log(wide)
        return cls(kernel.astype(np.float32), bias.astype(np.float32))

    def output(self, hidden: np.ndarray, step: int) -> Floats:
        """Return the outputs of the step at a place, (sessions, OUTPUTS), from the hidden states.

        Parameters
        ----------
        hidden : (sessions, networks, units).
        """
        # A matrix product may round a row differently for another number of rows.
        scale = np.einsum("tnu,nu->t", hidden, self.kernel[step]).astype(float)
        output: Floats = np.tile(self.bias[step].astype(float), (len(hidden), 1))
        output[:, 1] += scale
        return output


def _fit(examples: Examples, step: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the kernel and the bias of a step, fitted to the sessions that were not held out."""
    from scipy.optimize import minimize

    target = examples.targets[:, step]
    learnt = np.isfinite(target) & ~examples.held_out
    start, shape = np.array(head.initial_bias(kind)), examples.hidden.shape[1:]
    if not learnt.any():
        return np.zeros(shape), start
    hidden = examples.hidden[learnt].reshape(-1, np.prod(shape)).astype(float)
    free = np.array([True, True, kind != "normal"])  # a normal's degrees of freedom stay

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        bias, kernel = weights[: len(start)], weights[len(start) :]
        output = np.tile(bias, (len(hidden), 1))
        output[:, 1] += hidden @ kernel
        density, slope = head.density(target[learnt], output)
        by_kernel = hidden.T @ slope[:, 1] / len(hidden)
        slopes = np.concatenate([slope.mean(axis=0) * free, by_kernel])
        slopes[len(start) :] -= 2 * RIDGE * kernel
        return float(RIDGE * kernel @ kernel - density.mean()), -slopes

    weights = minimize(
        loss, np.concatenate([start, np.zeros(hidden.shape[1])]), jac=True, method="L-BFGS-B"
    ).x
    return weights[len(start) :].reshape(shape), weights[: len(start)]


def _width(term: Term, examples: Examples, steps: Sequence[int]) -> float:
    """Return the factor by which the sessions held out ask for wider distributions.

    The returns of neighbouring sessions overlap, so those of *h* sessions count for one.
    """
    from scipy.optimize import minimize_scalar

    parts = []
    for at, step in enumerate(steps):
        target = examples.targets[:, at]
        known = np.isfinite(target) & examples.held_out
        output = term.output(examples.hidden[known], at)
        distribution = head.distribution(output, np.ones(len(output)))
        parts.append((target[known], *distribution[:3], EVERY / step))

    def loss(log_width: float) -> float:
        wide = float(np.exp(log_width))
        fits = (
            min(weight, 1.0) * student_t.log_density(target, mean, scale * wide, df).sum()
            for target, mean, scale, df, weight in parts
        )
        return (log_width / PRIOR_WIDTH) ** 2 / 2 - float(sum(fits))

    best = minimize_scalar(loss, bounds=(0.0, np.log(WIDEST)), method="bounded")
    return float(np.exp(best.x))
