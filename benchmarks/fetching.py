"""What `forecast fetch` of 100 new tickers takes beyond what latency and concurrency dictate.

The Yahoo of the tests answers on the loopback, each request after 50 ms, with 20 years of prices
that it has ready. Dictated are 50 ms for the cookie and for the crumb, and for each round of as many
charts as may be in flight. Start-up, which a fetch of one ticker shows, is not counted; earnings dates,
which are due once a week, are left out.
`python benchmarks/fetching.py`
"""

import functools
import json
import math
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import common
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from yahoo_server import Chart, YahooServer

LATENCY = 0.05
TICKERS = 100
CONCURRENCY = 4
SESSIONS = 5000
GREETING = 2
"""Requests before the first chart."""


@dataclass
class Ready(Chart):
    """A chart that is written out once."""

    def answer(self, ticker, query):
        """The whole history, whatever is asked for."""
        return 200, self._body

    @functools.cached_property
    def _body(self) -> bytes:
        whole = {"period1": "-9999999999", "period2": "9999999999"}
        return json.dumps(super().answer("ACME", whole)[1]).encode()


def main() -> None:
    """Fetches one ticker, then all, each into a home of its own; the best of five."""
    chart = Ready(_history())
    chart.answer("ACME", {})
    tickers = [f"T{i}" for i in range(TICKERS)]
    with YahooServer(dict.fromkeys(tickers, chart), latency=LATENCY) as server:
        os.environ.update(server.environment)
        one, all_ = (
            min((_cost(some) for _ in range(5)), key=lambda cost: cost.wall)
            for some in (tickers[:1], tickers)
        )
    dictated = LATENCY * (GREETING + math.ceil(TICKERS / CONCURRENCY))
    beyond = all_.wall - one.wall + LATENCY * (GREETING + 1)
    common.row(
        "fetching",
        {"tickers": TICKERS, "sessions": SESSIONS, "concurrency": CONCURRENCY, "latency": LATENCY},
        seconds=all_.wall,
        one_ticker=one.wall,
        processor=all_.cpu - one.cpu,
        dictated=dictated,
        ratio=beyond / dictated,
    )


def _cost(tickers: list[str]) -> common.Cost:
    with tempfile.TemporaryDirectory() as home:
        words = ["--home", home, "--concurrency", str(CONCURRENCY), "--no-events", "--quiet"]
        return common.cost(common.forecast("fetch", *tickers, *words), cores="all")


def _history() -> pd.DataFrame:
    close = 100 * np.exp(np.random.default_rng(0).normal(0, 0.01, SESSIONS).cumsum())
    return pd.DataFrame(
        {
            "date": pd.bdate_range(end="2026-06-30", periods=SESSIONS),
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
