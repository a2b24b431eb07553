"""Seconds and memory of reading the store: `python benchmarks/store.py`

500 synthetic tickers of 5,040 sessions, twenty years. Seconds are of a whole process that reads the
prices frame, less those of one that only imports; memory is the peak of the process, imports and all.
"""

import sys

import common
import numpy as np
import pandas as pd

from forecaster.data.store import Store

TICKERS, SESSIONS = 500, 5040
HOME = common.CACHE / "store-home"
IMPORTS = "import sys; from forecaster.data.store import Store; "
READS = {
    "all": "Store(sys.argv[1]).read()",
    "adjusted closes": "Store(sys.argv[1]).read(columns=['ticker', 'date', 'adj_close'])",
    "one year": "from datetime import date; Store(sys.argv[1]).read(start=date(2017, 5, 1))",
}


def main() -> None:
    """Fills a store, if it is not there yet, and reads it."""
    fill()
    imports = run("Store(sys.argv[1])")
    for what, code in READS.items():
        used = run(code)
        common.row(
            "store",
            {"read": what, "tickers": TICKERS, "sessions": SESSIONS},
            seconds=used.wall - imports.wall,
            peak=used.peak,
        )


def run(code: str) -> common.Cost:
    """The cheapest of three processes."""
    command = [sys.executable, "-c", IMPORTS + code, str(HOME)]
    return min((common.cost(command, cores="all") for _ in range(3)), key=lambda used: used.wall)


def fill() -> None:
    """Random walks with a dividend a quarter."""
    store, days = Store(HOME), pd.bdate_range("1999-01-04", periods=SESSIONS, unit="us")
    rng = np.random.default_rng(0)
    for ticker in sorted({f"T{i:03d}" for i in range(TICKERS)} - set(store.tickers())):
        close = 50 * np.exp(np.cumsum(0.01 * rng.standard_normal(SESSIONS)))
        bars = {"open": close, "high": 1.01 * close, "low": 0.99 * close, "close": close}
        dividends = np.where(np.arange(SESSIONS) % 63 == 62, 0.005 * close, 0.0)
        frame = pd.DataFrame({"ticker": ticker, "date": days, **bars, "dividends": dividends})
        frame = frame.assign(volume=rng.integers(10**5, 10**7, SESSIONS), splits=0.0)
        store.write(frame, source="benchmark")


if __name__ == "__main__":
    main()
