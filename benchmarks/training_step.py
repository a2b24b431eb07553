"""Seconds of a training step beside those of its matrix products: `python benchmarks/training_step.py OUT`

A step is of the program's own graph, with the default settings and as many features as W2E has. It cannot
be quicker than its products: of the inputs with the kernel (all sessions at once) and of the hidden state
with the recurrent kernel (session after session), each once forwards and twice backwards. numpy multiplies
them here, with the BLAS it comes with. OUT gets the best of both, taken in turn, after a few to compile.
"""

import json
import sys
import time
from collections.abc import Callable

import numpy as np

from forecaster.config import RecurrentConfig
from forecaster.models.recurrent.training import CELLS, Graph

FEATURES, TURNS = 45, 30


def main(out: str) -> None:
    """Measures both in turn."""
    config, rng = RecurrentConfig(), np.random.default_rng(0)
    x = rng.standard_normal((config.batch, config.window, FEATURES)).astype(np.float32)
    y = rng.standard_normal(x.shape[:2]).astype(np.float32)
    y[:, : config.warmup] = np.nan
    graph = Graph("lstm", FEATURES, config)
    multiply = products(config, rng)
    for _ in range(3):
        graph.train(x, y)
    pairs = [(seconds(lambda: graph.train(x, y)), seconds(multiply)) for _ in range(TURNS)]
    step, alone = (min(its) for its in zip(*pairs, strict=True))
    with open(out, "w", encoding="utf-8") as file:
        json.dump({"step": step, "products": alone}, file)


def products(config: RecurrentConfig, rng: np.random.Generator) -> Callable[[], None]:
    """A function that multiplies the matrices of a step."""
    batch, window, units = config.batch, config.window, config.units
    width = CELLS["lstm"].gates * units

    def matrix(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    x, kernel, gates = (
        matrix(batch * window, FEATURES),
        matrix(FEATURES, width),
        matrix(batch * window, width),
    )
    hidden, recurrent, gate = matrix(batch, units), matrix(units, width), matrix(batch, width)

    def multiply() -> None:
        for left, right in ((x, kernel), (x.T, gates), (gates, kernel.T)):
            left @ right
        for _ in range(window):
            for left, right in ((hidden, recurrent), (hidden.T, gate), (gate, recurrent.T)):
                left @ right

    return multiply


def seconds(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main(sys.argv[1])
