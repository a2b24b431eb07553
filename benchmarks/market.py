"""What a market costs, from a file to a backtest: `python benchmarks/market.py [TICKERS...]`

A simulated market (`forecaster/simulate.py`) of 50, 500 and 5,000 tickers over twenty years is written to
a file a ticker at a time, then goes through the program as a user's would, each step a whole process on
one core: `fetch`, `train`, `predict` and `backtest`, and the making of all features without a command.
Each row has seconds of clock and of processor and the peak of memory. `tables.py` fits the exponents and
makes what a whole market would cost.

Training is of one network for three epochs of 2,000 windows at most (`--max-windows`), so what grows with
the market is to read it and make features. `predict` is of three networks, as by default, trained for an
epoch on 50 tickers but asked with all as their market. The backtest is of the last year: the trained
LSTM, naive and ewma. A machine that does something else at the time shows in the clock, but hardly in
the processor's seconds.
"""

import json
import shutil
import sys
from datetime import date
from pathlib import Path

import common
import pyarrow as pa
import pyarrow.parquet as pq

from forecaster.data import simulation

TICKERS = (50, 500, 5000)
UNTIL, START = "2017-12-29", "2018-01-02"
YEAR = 252
"""Sessions."""

FEATURES = """
import sys
from datetime import date
from pathlib import Path
from forecaster.dataset.panel import Panel
from forecaster.data.store import Store
store = Store(Path(sys.argv[1]))
for history in Panel.of(store.each(store.tickers())).histories:
    history.features
"""
STEPS = ("fetch", "features", "train", "predict", "backtest")


def main(counts: list[int]) -> None:
    """Goes through the steps with each number of tickers."""
    for count in counts:
        home = common.CACHE / f"market-home-{count}"
        shutil.rmtree(home, ignore_errors=True)
        file = common.CACHE / f"market-{count}.parquet"
        sessions = write(file, count)
        for step in STEPS:
            used = common.cost(command(step, file, home))
            common.row(
                "market",
                {"tickers": count, "step": step},
                ticker_years=sessions / YEAR,
                seconds=used.wall,
                cpu=used.cpu,
                peak=used.peak,
            )
            if step == "train":
                averaged(home)
        shutil.rmtree(home)
        file.unlink()


def write(file: Path, tickers: int, **span: date) -> int:
    """Writes a market to a Parquet file, a group of rows a ticker; gives its sessions.

    `span` is what `simulation.market` takes besides.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    sessions, writer = 0, None
    for frame in simulation.market(tickers, **span):
        table = pa.Table.from_pandas(frame.drop(columns="adj_close"), preserve_index=False)
        writer = writer or pq.ParquetWriter(file, table.schema, compression="zstd")
        writer.write_table(table)
        sessions += len(table)
    if writer:
        writer.close()
    return sessions


def command(step: str, file: Path, home: Path) -> list[str]:
    """The command line of a step."""
    here = ("--home", home, "--quiet")
    short = ("--until", UNTIL, "--epochs", 3, "--seeds", 1, "--max-windows", 2000)
    return {
        "fetch": common.forecast("fetch", "--source", file, *here),
        "features": [sys.executable, "-c", FEATURES, str(home)],
        "train": common.forecast("train", "--run", "one", *short, *here),
        "predict": common.forecast("predict", "--run", "three", "--json", *here),
        "backtest": common.forecast(
            *("backtest", "--models", "lstm,naive,ewma", "--run", "one", "--start", START),
            *("--jobs", 1, "--out", home / "backtest", *here),
        ),
    }[step]


def averaged(home: Path) -> None:
    """A run of three networks, as by default, of the same market; what it learnt does not matter."""
    some = [f"SIM{number:05d}" for number in range(1, 51)]
    words = ("--run", "three", "--until", UNTIL, "--epochs", 1, "--home", home)
    common.cost(common.forecast("train", *some, *words))
    one, three = (home / "runs" / name / "run.json" for name in ("one", "three"))
    universe = json.loads(one.read_text())["tickers"]
    three.write_text(json.dumps(json.loads(three.read_text()) | {"tickers": universe}))


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or list(TICKERS))
