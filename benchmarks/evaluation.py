"""What all statistics of a backtest cost: 88 tickers, six years, nine models; seconds and memory.

The forecasts are made first, and are not counted: per-ticker models fitted once, and copies of them with
other widths. A process of its own then reads and evaluates them. `memory` is its peak above what it
held with the forecasts read. `python benchmarks/evaluation.py`
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import pandas as pd

from forecaster.backtesting.spec import BacktestSpec
from forecaster.backtesting.walk_forward import forecast_history
from forecaster.dataset import features
from forecaster.distributions import forecasts
from forecaster.evaluation.evaluate import evaluate

FITTED = ("naive", "drift", "ewma", "har", "garch", "gjr")
COPIES = {"lstm": 1.02, "gru": 0.97, "rnn": 1.05}
"""Names, and how much wider than har they are: the statistics do not ask who made a forecast."""


def main() -> None:
    """Makes the forecasts, then measures."""
    work = common.w2()
    spec = BacktestSpec(FITTED, start=work.start, end=work.end, refit="never")
    found = forecast_history(work.prices, spec).forecasts
    har = found[found["model"] == "har"]
    copies = [
        forecasts.from_student_t(
            **{name: har[name].to_numpy() for name in ("ticker", "cutoff", "date", "last_close")},
            log_return=har["log_return"].to_numpy(),
            model=model,
            location=har["location"].to_numpy(),
            scale=width * har["scale"].to_numpy(),
            df=har["df"].to_numpy(),
        )
        for model, width in COPIES.items()
    ]
    with tempfile.TemporaryDirectory() as folder:
        forecasts.concat([found, *copies]).to_parquet(Path(folder) / "forecasts.parquet")
        done = subprocess.run(
            [sys.executable, __file__, folder], check=True, capture_output=True, text=True
        )
    measured = json.loads(done.stdout.splitlines()[-1])
    common.row("evaluation", {"tickers": 88, "models": len(FITTED) + len(COPIES)}, **measured)


def measure(folder: Path) -> None:
    """Evaluates the forecasts of a folder, and prints what it cost."""
    prices, found = common.w2().prices, pd.read_parquet(folder / "forecasts.parquet")
    before, begin = _peak(), time.perf_counter()
    evaluate(found, features.realised_variance(prices), model="lstm")
    seconds = time.perf_counter() - begin
    print(json.dumps({"rows": len(found), "seconds": seconds, "memory": _peak() - before}))


def _peak() -> float:
    """The process's largest resident size so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    measure(Path(sys.argv[1])) if len(sys.argv) > 1 else main()
