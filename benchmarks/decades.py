"""What a backtest of 29 years costs, by the number of tickers: `python benchmarks/decades.py [TICKERS...]`

A simulated market (`forecaster/data/simulation.py`) from 1985 on is fetched, and a small LSTM is trained on
its first five years. Then it is backtested over the 29 years to 2018, beside naive and ewma, which are
refitted yearly: a whole process on one core. What it holds in memory are some tickers at a time, and what a
statistic of all tickers reads of one model or two. `tables.py` fits the exponents of processor time and
memory, and makes what 8,000 tickers would cost.
"""

import shutil
import sys
from datetime import date

import common
import market
import pyarrow.parquet as pq

from forecaster.distributions.parts import Parts

TICKERS = (50, 100, 200, 400, 800)
FIRST = date(1985, 1, 2)
UNTIL, START = "1989-12-29", "1990-01-02"


def main(counts: list[int]) -> None:
    """Backtests each number of tickers."""
    for count in counts:
        home = common.CACHE / f"decades-home-{count}"
        shutil.rmtree(home, ignore_errors=True)
        file = common.CACHE / f"decades-{count}.parquet"
        market.write(file, count, first=FIRST)
        here = ("--home", home, "--quiet")
        common.cost(common.forecast("fetch", "--source", file, *here))
        short = ("--until", UNTIL, "--epochs", 1, "--seeds", 1, "--max-windows", 500)
        common.cost(common.forecast("train", "--run", "one", *short, *here))
        out = home / "backtest"
        words = ("--models", "lstm,naive,ewma", "--run", "one", "--start", START, "--jobs", 1)
        used = common.cost(common.forecast("backtest", *words, "--out", out, *here))
        forecasts = pq.read_metadata(out / "forecasts.parquet").num_rows
        common.row(
            "decades",
            {"tickers": count},
            forecasts=forecasts,
            parts=len(Parts.of_file(out / "forecasts.parquet")),
            seconds=used.wall,
            cpu=used.cpu,
            peak=used.peak,
        )
        shutil.rmtree(home)
        file.unlink()


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or list(TICKERS))
