"""Trains on one device and on three: run by test_training in a process whose processor is split."""

import json
import sys

import numpy as np
import pandas as pd

from forecaster.config import RecurrentConfig
from forecaster.dataset.panel import Panel
from forecaster.models.recurrent import training
from forecaster.models.registry import create

SPLIT = ["CPU:0", "CPU:1", "CPU:2"]


def main(prices: str, until: str, settings: str) -> None:
    """Prints what a few steps and a whole fit came to, on one device and on several."""
    training.keras_on_tensorflow()
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 3
    )
    config = RecurrentConfig(**json.loads(settings))
    panel = Panel.of(pd.read_parquet(prices))
    result = {}
    for name, devices in {"one": [], "three": SPLIT}.items():
        training.devices = lambda devices=devices: devices
        training._traced.cache_clear()
        model = create("lstm", config)
        model.fit(panel, np.datetime64(until))
        weights = {key: array.tolist() for key, array in model.state().arrays.items()}
        result[name] = {"training": model.training, "weights": weights, "steps": steps(config)}
    json.dump([result["one"], result["three"], steps(config)], sys.stdout)


def steps(config: RecurrentConfig) -> list[float]:
    """Losses of steps on batches of which the devices' parts have other numbers of targets."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 8, config.window, 3)).astype(np.float32)
    y = 3 * rng.standard_t(4, (4, 8, config.window)).astype(np.float32)
    y[:, :3] = np.nan  # all that the first device gets
    y[:, 3, 12:] = np.nan
    training.keras_on_tensorflow().utils.set_random_seed(0)
    graph = training.Graph("lstm", 3, config)
    return [graph.train(*batch) for batch in zip(x, y, strict=True)]


if __name__ == "__main__":
    main(*sys.argv[1:])
