"""A market on a Ray cluster of two nodes: `python benchmarks/cluster.py [TICKERS...]`

The last month of two years of a simulated market is backtested, naive and ewma, by one machine of
two processes and by two nodes of a core each, which `ray start` starts on this machine. On the nodes the
driver is first killed in the middle (SIGKILL); the next command must remove what it left. What goes on
from its parts then loses a worker, and once another part is there the second node. What comes out must be
the bytes of one machine. Each row has the driver's seconds of processor and the peak of its resident
memory (MiB), `forecasting` up to the last part and `peak` in all, scores and report included.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any

import common
import pandas as pd
import psutil

from forecaster import leftovers
from forecaster.backtesting.walk_forward import CHUNK
from forecaster.data import simulation

TICKERS = (500, 5000)
FIRST, START = date(2017, 1, 3), "2018-12-03"
MODELS = ("naive", "ewma")

RAY = Path(sys.executable).with_name("ray")
NODE = ("--num-cpus", "1", "--object-store-memory", str(2**30), "--disable-usage-stats")
ENVIRONMENT = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_enable_metrics_collection": "0"}


class Run:
    """A backtest of some parts in a process of its own, watched."""

    def __init__(self, *words: str | Path, folder: Path, total: int) -> None:
        self.folder, self.total = folder, total
        self.forecasting = self.peak = self.cpu = 0.0
        self.over = False
        self.process = psutil.Popen(
            common.forecast(*words, "--quiet"), env=ENVIRONMENT,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def until(self, parts: int) -> None:
        """Watches until some parts are finished."""
        while self.parts < parts:
            if self.process.poll() is not None:
                raise SystemExit(f"the backtest ended too soon:\n{self.process.stderr.read()}")
            self._look()
            time.sleep(0.02)

    def end(self) -> None:
        """Watches to the end."""
        while self.process.poll() is None:
            self._look()
            time.sleep(0.02)
        if self.process.wait():
            raise SystemExit(f"the backtest failed:\n{self.process.stderr.read()[-2000:]}")

    def kill(self) -> None:
        """Kills the process at once."""
        self.process.kill()
        self.process.wait()

    @property
    def parts(self) -> int:
        """Parts that are finished."""
        return len(list((self.folder / "unfinished" / "parts").glob("[!.]*.parquet")))

    def _look(self) -> None:
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            times = self.process.cpu_times()
        except (OSError, psutil.Error):
            return
        if found := re.search(r"VmHWM:\s+(\d+)", status):
            self.peak = int(found[1]) / 1024
            self.cpu = times.user + times.system
            self.over = self.over or self.parts == self.total
            if not self.over:
                self.forecasting = self.peak


def main(counts: list[int]) -> None:
    """Backtests each market, by one machine and by two nodes."""
    for count in counts:
        home = common.CACHE / f"cluster-{count}"
        market = pd.concat(simulation.market(count, first=FIRST), ignore_index=True)
        common.stocked(home, market.drop(columns="adj_close"))
        del market
        total = len(MODELS) * -(-count // CHUNK)
        words = ("backtest", "--models", ",".join(MODELS), "--start", START, "--home", home)
        one = Run(*words, "--jobs", "2", "--out", home / "one", folder=home / "one", total=total)
        one.end()
        written(count, "one machine", one)
        with nodes() as (address, second):
            where = ("--engine", "ray", "--address", address)
            out = home / "ray"
            run = Run(*words, *where, "--out", out, folder=out, total=total)
            run.until(total // 4)
            run.kill()
            left = len(leftovers_of(run, home))
            common.cost(common.forecast("data", "list", "--home", home))
            remaining = len(leftovers_of(run, home))
            written(count, "driver killed", run, left=left, remaining=remaining)
            run = Run("backtest", "--resume", out, *where, folder=out, total=total)
            run.until(total // 2)
            worker_of(second, run).kill()
            run.until(run.parts + 1)
            end(second)
            run.end()
        same = digest(out) == digest(home / "one")
        written(count, "worker and node killed", run, same="yes" if same else "no")
        shutil.rmtree(home)


def written(count: int, case: str, run: Run, **values: Any) -> None:
    """A row."""
    key = {"tickers": count, "case": case}
    measured = {"cpu": run.cpu, "forecasting": run.forecasting, "peak": run.peak}
    common.row("cluster", key, **measured, **values)


def digest(folder: Path) -> str:
    """Of the forecasts of a backtest."""
    return hashlib.sha256((folder / "forecasts.parquet").read_bytes()).hexdigest()


def leftovers_of(run: Run, home: Path) -> list[Path]:
    """The temporary files and folders of a run's driver."""
    name = f"*-{run.process.pid}-*"
    return [*Path(tempfile.gettempdir()).glob(leftovers.FOLDER + name), *home.rglob(f"{name}.tmp")]


@contextmanager
def nodes() -> Iterator[tuple[str, psutil.Process]]:
    """A cluster of two nodes: its address, and the second node's process."""
    with tempfile.TemporaryDirectory(prefix="cluster-", ignore_cleanup_errors=True) as folder:
        try:
            head = ("--head", "--port", "0", "--temp-dir", folder, "--include-dashboard", "false")
            said = ray_start(*head)
            address = re.search(r"--address='([^']+)'", said)[1]
            first = raylets(folder)
            ray_start("--address", address)
            (second,) = raylets(folder) - first
            yield address, second
        finally:
            for process in members(folder):
                end(process)


def ray_start(*words: str) -> str:
    """Starts a node, and gives what it prints."""
    done = subprocess.run(
        [RAY, "start", *words, *NODE],
        env=ENVIRONMENT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


def members(folder: str) -> list[psutil.Process]:
    """The processes of a cluster whose files lie in a folder."""
    return [it for it in psutil.process_iter() if folder in " ".join(words_of(it))]


def raylets(folder: str) -> set[psutil.Process]:
    """Those of them that head a node."""
    return {it for it in members(folder) if Path(words_of(it)[0]).name == "raylet"}


def words_of(process: psutil.Process) -> list[str]:
    """The command line of a process, of none if it is gone."""
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def worker_of(node: psutil.Process, run: Run) -> psutil.Process:
    """A process that is at a task of a run on a node."""
    while True:
        if run.process.poll() is not None:
            raise SystemExit("the backtest ended too soon")
        for it in node.children():
            if words_of(it)[:1] == ["ray::_called"]:
                return it
        time.sleep(0.02)


def end(process: psutil.Process) -> None:
    """Kills a process and its children."""
    with suppress(psutil.Error):
        for it in [*process.children(recursive=True), process]:
            it.kill()


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or list(TICKERS))
