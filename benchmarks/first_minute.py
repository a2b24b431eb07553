"""What `forecast predict AAPL` takes in an empty home: fetch, forecast with the base model, say so.

The Yahoo of the tests answers on the loopback with some 46 years of prices, as AAPL has them, and a page
of earnings dates. Processor time and the peak of memory are those of the whole process, the median of
five; what is imported, and what of that yfinance is, comes from a sixth that says so.
`python benchmarks/first_minute.py`
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import common
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from yahoo_server import Chart, YahooServer

SESSIONS = 11_500
RUNS = 5
MOST_CPU, MOST_PEAK = 3.0, 300.0
"""What is promised: seconds of processor, MiB."""

IMPORT = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|(\s+)(\S+)")


def main() -> None:
    """Runs the command in homes of its own, and exits with 1 if it takes more than is promised."""
    charts = dict.fromkeys(("AAPL", "^GSPC", "^VIX"), Chart(_history()))
    with YahooServer(charts) as server:
        os.environ.update(server.environment)
        costs = [_cost() for _ in range(RUNS)]
        imported, of_yfinance = _imports()
    cpu, peak, wall = (
        median(getattr(it, name) for it in costs) for name in ("cpu", "peak", "wall")
    )
    common.row(
        "first_minute",
        {"sessions": SESSIONS},
        cpu=cpu,
        peak=peak,
        seconds=wall,
        imports=imported,
        of_yfinance=of_yfinance,
    )
    if cpu > MOST_CPU or peak > MOST_PEAK:
        raise SystemExit(f"promised are {MOST_CPU:g} s of processor and {MOST_PEAK:g} MiB")


def _cost() -> common.Cost:
    with tempfile.TemporaryDirectory() as home:
        return common.cost(common.forecast("predict", "AAPL", "--home", home), cores="all")


def _imports() -> tuple[float, float]:
    """Seconds that the command imports, and of those what yfinance brings."""
    with tempfile.TemporaryDirectory() as home:
        _, *words = common.forecast("predict", "AAPL", "--home", home)
        command = [sys.executable, "-X", "importtime", *words]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    lines = [IMPORT.match(line) for line in text.splitlines()]
    modules = [it.groups() for it in lines if it]
    total = sum(int(own) for own, *_ in modules) / 1e6
    whole = (int(all_) for _, all_, _, name in modules if name == "yfinance")
    return total, next(whole, 0) / 1e6


def _history() -> pd.DataFrame:
    close = 100 * np.exp(np.random.default_rng(0).normal(0, 0.01, SESSIONS).cumsum())
    return pd.DataFrame(
        {
            "date": pd.bdate_range(end=pd.Timestamp.now().normalize(), periods=SESSIONS),
            "open": close,
            "high": close * 1.01,
            "low": close * 0.99,
            "close": close,
            "adj_close": close,
            "volume": np.arange(SESSIONS) + 1000,
        }
    )


if __name__ == "__main__":
    main()
