"""The head of the network: the meaning of its outputs, their loss and their derivative.

The last layer gives three numbers ``o`` a session. In units of the ticker's EWMA volatility, they are
a Student-t ::

    mean     = 0.1 * o[0]
    ln scale = o[1] - 0.15
    df       = min(2.1 + softplus(o[2] + 4), 200)

so that outputs of zero, from which training starts, are EWMA with fat tails. Training minimises the
negative log likelihood of the next return ``y`` over today's volatility::

    ln G(df / 2) - ln G((df + 1) / 2) + ln(pi * df) / 2 + ln scale + (df + 1) / 2 * ln(1 + z**2 / df)
    z = (y - mean) / scale

with ``G`` the gamma function. A head ``skewed`` then gets a fourth number, the same in all sessions,
which makes it the two-piece Student-t of :mod:`forecaster.distributions.skewed_t` with the same mean::

    skew     = 0.5 * tanh(o[3])
    location = mean - 4 * skew * m * scale

where ``m`` is the half distance of :func:`forecaster.distributions.skewed_t.half_distance`. It maximises
the likelihood of the sessions that training held out, so it says which tail is the longer one there.
A skew that training learns session by session gained nothing more, and missed the tails by more.

The logarithm of the ratio of the forecast volatility to the EWMA volatility, and its derivatives, explain
a forecast, with ``v = df / (df - 2)``::

    ratio = ln scale + ln(g) / 2
    g     = (1 + 3 * skew**2) * v - (4 * skew * m)**2
    d ratio / d o[1] = 1
    d ratio / d o[2] = g'(df) / (2 * g) * sigmoid(o[2] + 4)
    d ratio / d o[3] = g'(skew) / (2 * g) * 0.5 * (1 - tanh(o[3])**2)

No other module reads the outputs one by one.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from forecaster.dataset.bars import Floats
from forecaster.dataset.panel import StudentT
from forecaster.distributions import skewed_t, student_t
from forecaster.distributions.student_t import DF_BOUNDS
from forecaster.models.recurrent.cell import sigmoid

OUTPUTS, SKEWED_OUTPUTS = 3, 4
"""Numbers of the last layer in training, and with a skew."""

MEAN_UNIT, LOG_SCALE_START, DF_START, SKEW_MOST = 0.1, -0.15, 4.0, 0.5

PRIOR_SKEW = 0.1
"""Standard deviation of the skew a priori, so that few sessions give little of it."""

LOG_SCALE_MOST = 10.0
"""No forecast is wider or narrower than this, whatever the weights of a foreign bundle."""

_DF_BIAS = {"skewed": 0.0, "student": 0.0, "normal": 1000.0}


def initial_bias(kind: str) -> list[float]:
    """Return the biases of the last layer before training.

    Of a ``normal`` head, that of the degrees of freedom starts far beyond their upper bound, past
    which no gradient flows: the same network and bundle, whose distribution stays a normal.
    """
    return [0.0, 0.0, _DF_BIAS[kind]]


def distribution(output: Floats, ewma: Floats) -> StudentT:
    """Return the distributions of the next log return, as fractions.

    Parameters
    ----------
    output : (sessions, OUTPUTS or SKEWED_OUTPUTS).
    ewma : (sessions,), the EWMA volatility that the outputs are relative to.
    """
    mean, log_scale, df = _parameters(output, np.minimum, _softplus)
    scale = np.exp(np.clip(log_scale, -LOG_SCALE_MOST, LOG_SCALE_MOST)) * ewma
    if output.shape[1] == OUTPUTS:
        return StudentT(mean * ewma, scale, df)
    skew = _skew(output)
    return StudentT(mean * ewma - 4 * skew * skewed_t.half_distance(df) * scale, scale, df, skew)


def volatility(output: Floats, ewma: Floats) -> Floats:
    """Return the forecast volatility: (sessions,), a fraction; parameters as in :func:`distribution`."""
    return skewed_t.moments(*distribution(output, ewma))[1]


def crps(outcome: Floats, output: Floats, ewma: Floats) -> Floats:
    """Return the CRPS of forecasts of known log returns: (sessions,), a fraction."""
    return skewed_t.crps(outcome, *distribution(output, ewma))


def log_ratio(output: Floats) -> tuple[Floats, Floats]:
    """Return the log of the forecast volatility over the EWMA volatility, and its derivative.

    Parameters
    ----------
    output : (series, OUTPUTS or SKEWED_OUTPUTS).

    Returns
    -------
    (series,), and its derivative by the outputs, of their shape.
    """
    _, log_scale, df = _parameters(output, np.minimum, _softplus)
    skew = _skew(output)
    m = skewed_t.half_distance(df)
    variance = (1 + 3 * skew**2) * df / (df - 2) - (4 * skew * m) ** 2
    ratio = np.clip(log_scale, -LOG_SCALE_MOST, LOG_SCALE_MOST) + np.log(variance) / 2
    # d ln m / d df, where psi is the derivative of ln G
    d_log_m = (special.psi((df + 1) / 2) - special.psi(df / 2) + 1 / df) / 2 - 1 / (df - 1)
    d_df = -2 * (1 + 3 * skew**2) / (df - 2) ** 2 - 2 * (4 * skew * m) ** 2 * d_log_m
    slope = np.zeros_like(output)
    slope[:, 1] = np.abs(log_scale) < LOG_SCALE_MOST
    # The derivative of softplus is the sigmoid.
    slope[:, 2] = d_df / (2 * variance) * sigmoid(output[:, 2] + DF_START) * (df < DF_BOUNDS[1])
    if output.shape[1] == SKEWED_OUTPUTS:
        d_skew = 6 * skew * df / (df - 2) - 32 * skew * m**2
        slope[:, 3] = d_skew / (2 * variance) * SKEW_MOST * (1 - np.tanh(output[:, 3]) ** 2)
    return ratio, slope


def density(target: Floats, output: Floats) -> tuple[Floats, Floats]:
    """Return the log density of a Student-t, and its derivative by the outputs.

    Parameters
    ----------
    target : (sessions,), returns in the unit of the outputs.
    output : (sessions, OUTPUTS).

    Returns
    -------
    (sessions,) and (sessions, OUTPUTS).
    """
    mean, log_scale, df = _parameters(output, np.minimum, _softplus)
    scale = np.exp(log_scale)
    z = (target - mean) / scale
    surprise = 1 + z**2 / df
    pull = (df + 1) * z / (df * surprise)  # d log density / d mean, times the scale
    by_df = (
        special.psi((df + 1) / 2) - special.psi(df / 2) - 1 / df - np.log(surprise) + pull * z / df
    )
    gate = sigmoid(output[:, 2] + DF_START) * (df < DF_BOUNDS[1])
    slope = np.column_stack([MEAN_UNIT * pull / scale, pull * z - 1, by_df / 2 * gate])
    return student_t.log_density(target, mean, scale, df), slope


def with_skew(
    kernel: np.ndarray, bias: np.ndarray, output: Floats, target: Floats
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of the last layer with a fourth output: the skew of the sessions held out.

    Parameters
    ----------
    kernel, bias : of the layer as it was trained, (units, OUTPUTS) and (OUTPUTS,).
    output : (sessions, OUTPUTS), of the sessions held out.
    target : (sessions,), their next returns in EWMA volatilities.
    """
    from scipy.optimize import minimize_scalar

    def loss(value: float) -> float:
        skewed = np.column_stack([output, np.full(len(output), value)])
        density = skewed_t.log_density(target, *distribution(skewed, np.ones(len(output))))
        prior = (SKEW_MOST * np.tanh(value) / PRIOR_SKEW) ** 2 / 2
        return float(prior - density.sum())

    value = minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded", options={"xatol": 1e-4}).x
    return (
        np.column_stack([kernel, np.zeros(len(kernel))]).astype(np.float32),
        np.append(bias, value).astype(np.float32),
    )


def negative_log_likelihood(target: Any, output: Any, count: Any) -> Any:
    """Return the loss of a batch, as a tensor of TensorFlow.

    Parameters
    ----------
    target : (batch, window), next returns in EWMA volatilities; NaN is not scored.
    output : (batch, window, OUTPUTS).
    count : by which the sum over the scored targets is divided.
    """
    import tensorflow as tf

    scored = tf.math.is_finite(target)
    target = tf.where(scored, target, 0.0)
    mean, log_scale, df = _parameters(output, tf.minimum, tf.math.softplus)  # (batch, window)
    ratio = tf.square((target - mean) * tf.exp(-log_scale)) / df
    loss = (
        tf.math.lgamma(df / 2)
        - tf.math.lgamma((df + 1) / 2)
        + 0.5 * tf.math.log(np.float32(np.pi) * df)
        + log_scale
        + (df + 1) / 2 * tf.math.log1p(ratio)
    )
    return tf.reduce_sum(tf.where(scored, loss, 0.0)) / count


def _parameters(
    output: Any, minimum: Callable[..., Any], softplus: Callable[..., Any]
) -> tuple[Any, Any, Any]:
    """Return mean, unbounded log scale and df, (..., OUTPUTS) -> (...), of numpy or TensorFlow."""
    mean = MEAN_UNIT * output[..., 0]
    log_scale = output[..., 1] + LOG_SCALE_START
    df = minimum(DF_BOUNDS[0] + softplus(output[..., 2] + DF_START), DF_BOUNDS[1])
    return mean, log_scale, df


def _skew(output: Floats) -> Floats:
    """Return the skew, (series, outputs) -> (series,); 0 where there is no output for it."""
    if output.shape[1] == OUTPUTS:
        return np.zeros(len(output))
    skew: Floats = SKEW_MOST * np.tanh(output[:, 3])
    return skew


def _softplus(x: Floats) -> Floats:
    return np.logaddexp(0.0, x)
