"""Seconds of training per target: dense targets against one window per target, same cell, same budget.

`python benchmarks/per_target.py OUT` trains an LSTM of 32 units with a Student-t head in Keras on random
numbers of W1's shape, one batch of 32 windows of 256 sessions at a time with a target at each session after
the 60th; then on windows of 60 sessions with one target at the end, as many to a batch as make the same
number of cell steps. OUT gets seconds per target of both, after a few batches to compile.
"""

import json
import os
import sys
import time

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

from forecaster.config import RecurrentConfig

FEATURES, STEPS = 16, 30


def main(out: str) -> None:
    """Measures both ways."""
    config = RecurrentConfig()
    steps = config.batch * config.window
    found = {
        "dense": seconds_per_target(
            config, config.batch, config.window, config.window - config.warmup
        ),
        "one_window": seconds_per_target(config, steps // config.warmup, config.warmup, 1),
    }
    with open(out, "w", encoding="utf-8") as file:
        json.dump(found, file)


def seconds_per_target(config: RecurrentConfig, batch: int, window: int, targets: int) -> float:
    """Of batches of some windows, each with so many targets at its end."""
    inputs = keras.Input((window, FEATURES))
    hidden = keras.layers.LSTM(config.units, return_sequences=True)(inputs)
    outputs = keras.layers.Dense(3, kernel_initializer="zeros")(hidden[:, -targets:])
    model = keras.Model(inputs, outputs)
    optimizer = keras.optimizers.AdamW(config.learning_rate, global_clipnorm=1.0)
    model.compile(optimizer=optimizer, loss=student_loss, jit_compile=False)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, window, FEATURES)).astype(np.float32)
    y = rng.standard_normal((batch, targets)).astype(np.float32)
    for _ in range(5):
        model.train_on_batch(x, y)
    begin = time.perf_counter()
    for _ in range(STEPS):
        model.train_on_batch(x, y)
    return (time.perf_counter() - begin) / (STEPS * batch * targets)


def student_loss(target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    """Mean negative log-likelihood of a Student-t."""
    location, log_scale, shape = tf.unstack(output, axis=-1)
    df = 2.1 + tf.math.softplus(shape + 4.0)
    ratio = tf.square((target - location) * tf.exp(-log_scale)) / df
    constant = tf.math.lgamma(df / 2) - tf.math.lgamma((df + 1) / 2) + 0.5 * tf.math.log(df)
    return tf.reduce_mean(constant + log_scale + (df + 1) / 2 * tf.math.log1p(ratio))


if __name__ == "__main__":
    main(sys.argv[1])
