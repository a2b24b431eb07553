"""What the lists of a usual home take: `forecast runs`, `data list`, `ledger` and `backtests list`.

The home has 500 tickers of ten years with earnings dates, a ledger of 20 nights, 20 runs and 20
backtests. Seconds of processor and the peak of memory are those of the whole process on one core, the
least of five. `python benchmarks/listings.py`
"""

import json
import shutil
import tempfile
from pathlib import Path

import common
import serve

from forecaster.runs import bundle

RUNS, TRIES = 20, 5
LISTS = ("runs", "data list", "ledger", "backtests list")
MOST = 0.5
"""Seconds of processor that are promised."""


def main() -> None:
    """Measures each list, and exits with 1 if one takes more than is promised."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        serve.filled(home, [f"T{number:03d}" for number in range(serve.TICKERS)])
        fill(home)
        least = {words: _cost(words, home) for words in LISTS}
    for words, cost in least.items():
        common.row("listings", {"list": words}, cpu=cost.cpu, seconds=cost.wall, peak=cost.peak)
    if max(cost.cpu for cost in least.values()) > MOST:
        raise SystemExit(f"promised are {MOST:g} s of processor")


def fill(home: Path) -> None:
    """Add runs and backtests to a home with prices."""
    words = ("T000", "T001", "--models", "naive,ewma", "--start", "2026-01-02", "--home", home)
    common.cost(common.forecast("backtest", *words, "--out", home / "backtests" / "b00"))
    for number in range(1, RUNS):
        shutil.copytree(home / "backtests" / "b00", home / "backtests" / f"b{number:02d}")
    for number in range(RUNS):
        run = home / "runs" / f"net-{number:02d}"
        shutil.copytree(bundle.BASE_FOLDER, run)
        document = json.loads((run / "run.json").read_text(encoding="utf-8"))
        text = json.dumps(document | {"name": run.name})
        (run / "run.json").write_text(text, encoding="utf-8")


def _cost(words: str, home: Path) -> common.Cost:
    command = common.forecast(*words.split(), "--home", home)
    return min((common.cost(command) for _ in range(TRIES)), key=lambda cost: cost.cpu)


if __name__ == "__main__":
    main()
