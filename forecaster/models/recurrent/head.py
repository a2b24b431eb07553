"""The head of the network: the meaning of its outputs, their loss and their derivative.

The last layer gives three numbers ``o`` a session. In units of the ticker's EWMA volatility, they are
the Student-t ::

    location = 0.1 * o[0]
    ln scale = o[1] - 0.15
    df       = min(2.1 + softplus(o[2] + 4), 200)

so that outputs of zero, from which training starts, are EWMA with fat tails. Training minimises the
negative log likelihood of the next return ``y`` over today's volatility::

    ln G(df / 2) - ln G((df + 1) / 2) + ln(pi * df) / 2 + ln scale + (df + 1) / 2 * ln(1 + z**2 / df)
    z = (y - location) / scale

with ``G`` the gamma function. The forecast volatility is the scale times ``sqrt(df / (df - 2))``. The
logarithm of its ratio to the EWMA volatility, and the derivatives of that, explain a forecast::

    ratio = ln scale + ln(df / (df - 2)) / 2
    d ratio / d o[1] = 1
    d ratio / d o[2] = -sigmoid(o[2] + 4) / (df * (df - 2))

No other module reads the outputs one by one.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from forecaster.dataset.bars import Floats
from forecaster.dataset.panel import StudentT
from forecaster.distributions import student_t
from forecaster.distributions.student_t import DF_BOUNDS
from forecaster.models.recurrent.cell import sigmoid

OUTPUTS = 3

LOCATION_UNIT, LOG_SCALE_START, DF_START = 0.1, -0.15, 4.0

LOG_SCALE_MOST = 10.0
"""No forecast is wider or narrower than this, whatever the weights of a foreign bundle."""

_DF_BIAS = {"student": 0.0, "normal": 1000.0}


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
    output : (sessions, OUTPUTS).
    ewma : (sessions,), the EWMA volatility that the outputs are relative to.
    """
    location, log_scale, df = _parameters(output, np.minimum, _softplus)
    scale = np.exp(np.clip(log_scale, -LOG_SCALE_MOST, LOG_SCALE_MOST)) * ewma
    return StudentT(location * ewma, scale, df)


def volatility(output: Floats, ewma: Floats) -> Floats:
    """Return the forecast volatility: (sessions,), a fraction; parameters as in :func:`distribution`."""
    forecast = distribution(output, ewma)
    return student_t.volatility(forecast.scale, forecast.df)


def crps(outcome: Floats, output: Floats, ewma: Floats) -> Floats:
    """Return the CRPS of forecasts of known log returns: (sessions,), a fraction."""
    return student_t.crps(outcome, *distribution(output, ewma))


def log_ratio(output: Floats) -> tuple[Floats, Floats]:
    """Return the log of the forecast volatility over the EWMA volatility, and its derivative.

    Parameters
    ----------
    output : (series, OUTPUTS).

    Returns
    -------
    (series,), and its derivative by the outputs, (series, OUTPUTS).
    """
    _, log_scale, df = _parameters(output, np.minimum, _softplus)
    ratio = np.clip(log_scale, -LOG_SCALE_MOST, LOG_SCALE_MOST) + np.log(df / (df - 2)) / 2
    slope = np.zeros_like(output)
    slope[:, 1] = np.abs(log_scale) < LOG_SCALE_MOST
    # The derivative of softplus is the sigmoid.
    slope[:, 2] = -sigmoid(output[:, 2] + DF_START) / (df * (df - 2)) * (df < DF_BOUNDS[1])
    return ratio, slope


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
    location, log_scale, df = _parameters(output, tf.minimum, tf.math.softplus)  # (batch, window)
    ratio = tf.square((target - location) * tf.exp(-log_scale)) / df
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
    """Return location, unbounded log scale and df, (..., OUTPUTS) -> (...), of numpy or TensorFlow."""
    location = LOCATION_UNIT * output[..., 0]
    log_scale = output[..., 1] + LOG_SCALE_START
    df = minimum(DF_BOUNDS[0] + softplus(output[..., 2] + DF_START), DF_BOUNDS[1])
    return location, log_scale, df


def _softplus(x: Floats) -> Floats:
    return np.logaddexp(0.0, x)
