"""`forecast serve` with 500 tickers: how soon it answers, and whether a writer beside it loses anything.

The home has ten years of prices and earnings dates of each ticker and a ledger of 20 nights. Row `start`:
seconds until the command listens, and its processor time by then. Row `first`: milliseconds until the
watchlist has come, of the first reader. Row `load`: 50 requests a second, mixed over all pages, from a
process on the same machine; the milliseconds that half of them and 95% take at most, from when each was
due. Row `beside`: 200 readers at once while forecasts are recorded and settled: answers, those that
failed, and rows of the ledger that are missing or changed. `python benchmarks/serve.py`
"""

import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import common
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import living

from forecaster.data import calendars
from forecaster.data.event_store import EventStore
from forecaster.data.store import Store
from forecaster.live import ledger, settling, verification

TICKERS, SESSIONS, NIGHTS = 500, 2_500, 20
A_SECOND, SECONDS = 50, 20
READERS, WRITTEN = 200, 4
"""Readers at once, and nights that are recorded meanwhile."""
MOST_FIRST, MOST_95 = 200.0, 300.0
"""Milliseconds that are promised."""


def main() -> None:
    """Measures, and exits with 1 if it takes more than is promised or anything is lost."""
    names = [f"T{number:03d}" for number in range(TICKERS)]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        days = filled(home, names)
        begin = time.perf_counter()
        with serving(home) as (address, process):
            started = time.perf_counter() - begin
            own = {"tickers": TICKERS}
            common.row("serve", {"kind": "start", **own}, seconds=started, cpu=_cpu(process.pid))
            first = ask(address, "/")[0]
            common.row("serve", {"kind": "first", **own}, ms=first)
            half, most = load(address, names)
            common.row("serve", {"kind": "load", **own}, half_ms=half, most_95_ms=most)
            answers, failed, lost = beside(home, address, names, days)
            common.row(
                "serve", {"kind": "beside", **own}, answers=answers, failed=failed, lost=lost
            )
    if first > MOST_FIRST or most > MOST_95 or failed or lost:
        raise SystemExit(f"promised are {MOST_FIRST:g} ms, {MOST_95:g} ms for 95%, and no loss")


def filled(home: Path, names: list[str]) -> pd.DatetimeIndex:
    """Fill a home; returns its sessions, of which the last are left to be recorded."""
    last = calendars.last_finished("AAA", calendars.now())
    days = living.stored(home, names, SESSIONS, last=last)
    reports = pd.date_range(end=last + pd.Timedelta(days=30), periods=40, freq="91D")
    events = pd.MultiIndex.from_product([names, reports]).to_frame(index=False)
    events.columns = ["ticker", "date"]
    events = events.assign(kind="earnings", time="post", first_seen=None)
    EventStore(home).write(events, source="benchmark", asked=names)
    for day in days[-NIGHTS - WRITTEN : -WRITTEN]:
        _record(home, day)
    settling.settle(home, Store(home), calendars.now())
    return days


def _record(home: Path, day: pd.Timestamp) -> int:
    rows = living.recorded(home, day).rows
    return rows + sum(
        living.recorded(home, day, model=it, steps=(1,)).rows for it in ("gjr", "naive")
    )


@contextmanager
def serving(home: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Serve a home in a process of its own; gives its address and the process."""
    words = common.forecast("serve", "--port", "0", "--json", "--home", str(home))
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        lines = list[str]()
        while not lines or lines[-1] != "}\n":
            lines.append(process.stdout.readline())  # type: ignore[union-attr]
        try:
            yield urlsplit(json.loads("".join(lines))["url"]).netloc, process
        finally:
            process.terminate()


def ask(address: str, path: str) -> tuple[float, int]:
    """Return the milliseconds that an answer took to come, and its status."""
    begin = time.perf_counter()
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        response = connection.getresponse()
        response.read()
        return 1000 * (time.perf_counter() - begin), response.status
    finally:
        connection.close()


def load(address: str, names: list[str]) -> tuple[float, float]:
    """Return the milliseconds that half and 95% of the requests take at most, since they were due."""
    rng = np.random.default_rng(0)
    pages = ["/", "/ledger", "/backtests", "/api/v1/watchlist"]
    tickers = [f"/tickers/{name}" for name in names] + [f"/api/v1/tickers/{it}" for it in names]
    count = A_SECOND * SECONDS
    paths = [rng.choice(pages if it else tickers) for it in rng.random(count) < 0.5]
    begin = time.perf_counter()

    def on_time(number: int) -> float:
        due = begin + number / A_SECOND
        time.sleep(max(0.0, due - time.perf_counter()))
        status = ask(address, paths[number])[1]
        if status != http.client.OK:
            raise SystemExit(f"{paths[number]}: {status}")
        return 1000 * (time.perf_counter() - due)

    with ThreadPoolExecutor(100) as readers:
        taken = list(readers.map(on_time, range(count)))
    return tuple(np.quantile(taken, [0.5, 0.95]))


def beside(
    home: Path, address: str, names: list[str], days: pd.DatetimeIndex
) -> tuple[int, int, int]:
    """Return the answers that readers had, those that failed, and the rows that were lost."""
    done, before = threading.Event(), ledger.head(home).rows
    pages = ["/", "/ledger", "/api/v1/watchlist", *(f"/tickers/{name}" for name in names[:5])]

    def read(number: int) -> list[int]:
        statuses = list[int]()
        while not done.is_set():
            try:
                statuses.append(ask(address, pages[(number + len(statuses)) % len(pages)])[1])
            except OSError:
                statuses.append(0)
        return statuses

    with ThreadPoolExecutor(READERS) as readers:
        reading = [readers.submit(read, number) for number in range(READERS)]
        try:
            written = sum(_record(home, day) for day in days[-WRITTEN:])
            settling.settle(home, Store(home), calendars.now())
        finally:
            done.set()
        statuses = [status for it in reading for status in it.result()]
    verified = verification.verify(home)
    lost = before + WRITTEN * TICKERS * (len(living.KNOTS) + 2) - verified.head.rows
    failed = sum(status != http.client.OK for status in statuses)
    return (
        len(statuses),
        failed,
        lost + abs(written - WRITTEN * TICKERS * 8) + len(verified.problems),
    )


def _cpu(pid: int) -> float:
    """Return the seconds of processor that a process has taken, where the system tells."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / 100


if __name__ == "__main__":
    main()
