"""What an evening costs, and what a killed one leaves: `python benchmarks/daily.py` and `… daily.py kills`

The first measures `forecast daily --no-fetch` of 500 made-up tickers of twenty years, with their
earnings dates and the indices beside them: seconds of processor and of clock of the whole process, on
one core. The first evening of a year fits GJR-GARCH to every ticker; those after it do not.

The second has five calls at once and kills the whole command at random, 200 times or as often as `--kills`
says, over evenings of three tickers. Then the ledger must verify, and hold what one undisturbed call an
evening would have recorded.
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import common
import pandas as pd

from forecaster.data import calendars, companions, events, simulation
from forecaster.data.event_store import EventStore
from forecaster.data.store import Store
from forecaster.live import ledger, verification

TICKERS = 500
FIRST, LAST = date(2005, 1, 3), date(2025, 1, 10)
EVENINGS = ("2025-01-08", "2025-01-10")
HOME = common.CACHE / "daily-home"
KILLED = common.CACHE / "daily-killed"
AT = """
import sys
import pandas as pd
from forecaster.data import calendars
now = pd.Timestamp(sys.argv[1], tz="UTC")
calendars.now = lambda: now
from forecaster.cli.app import main
main(sys.argv[2:])
"""
"""The command by another clock."""

KEY = ["ticker", "model", "run", "cutoff", "step"]


def main() -> None:
    """Measures, or kills."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="?", choices=["evening", "kills"], default="evening")
    parser.add_argument("--kills", type=int, default=200)
    words = parser.parse_args()
    if words.what == "evening":
        measure()
    else:
        kill(words.kills)


def command(day: str, home: Path, *words: str) -> list[str]:
    """The command line of an evening, after New York's close."""
    return [sys.executable, "-c", AT, f"{day} 22:00", "daily", "--home", str(home), *words]


def measure() -> None:
    """Measures the first evening of a year, the next, and a second call of it."""
    fill(HOME, TICKERS)
    for name in ("live", "page"):
        shutil.rmtree(HOME / name, ignore_errors=True)
    for file in HOME.glob("ledger.db*"):
        file.unlink()
    for what, day in zip(("first of a year", "another"), EVENINGS, strict=True):
        cut(HOME, day)
        for call in ("first", "second"):
            used = common.cost(command(day, HOME, "--no-fetch"))
            common.row(
                "daily",
                {"tickers": TICKERS, "evening": what, "call": call},
                cpu=used.cpu,
                seconds=used.wall,
                peak=used.peak,
            )


def fill(home: Path, tickers: int) -> None:
    """Stores tickers with earnings dates, and two indices beside them, if they are not there yet."""
    store, event_store = Store(home / "all"), EventStore(home)
    if len(store.tickers()) < tickers:
        for frame in simulation.market(tickers, first=FIRST, last=LAST):
            store.write(frame, source="benchmark")
            table = frame[["ticker", "date"]].iloc[40::63]
            table = table.assign(time=events.POST, kind=events.EARNINGS, first_seen=pd.NaT)
            event_store.write(events.check(table), source="benchmark")
    beside = simulation.market(2, first=FIRST, last=LAST, seed=1)
    for name, frame in zip(("^GSPC", "^VIX"), beside, strict=True):
        companions.store(home).write(frame.assign(ticker=name), source="benchmark")


def cut(home: Path, day: str) -> None:
    """Stores what was known on an evening."""
    shutil.rmtree(home / "prices", ignore_errors=True)
    store = Store(home)
    for frame in Store(home / "all").each(Store(home / "all").tickers()):
        store.write(frame[frame["date"] <= day], source="benchmark", refresh=True)


def kill(times: int) -> None:
    """Kills evenings at random times, ends each undisturbed, and compares with a home left in peace."""
    rng = random.Random(0)
    peace = KILLED.with_name("daily-peace")
    days = calendars.sessions_between("SIM", pd.Timestamp("2024-12-30"), pd.Timestamp("2025-01-03"))
    for home in (KILLED, peace):
        shutil.rmtree(home, ignore_errors=True)
        fill(home, 3)
    begin, killed = time.time(), 0
    for number, day in enumerate(f"{it:%Y-%m-%d}" for it in days):
        for home in (KILLED, peace):
            cut(home, day)
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(command(day, peace, "--no-fetch"), check=True, **silent)
        share = times * (number + 1) // len(days) - killed
        for _ in range(share):
            calls = [
                subprocess.Popen(command(day, KILLED, "--no-fetch"), **silent)
                for _ in range(1 if rng.random() < 0.8 else 5)
            ]
            time.sleep(rng.uniform(0.5, 4.0) * len(calls) ** 0.5)
            for call in calls:
                call.send_signal(signal.SIGKILL)
                call.wait()
        killed += share
        together = [
            subprocess.Popen(command(day, KILLED, "--no-fetch"), **silent) for _ in range(5)
        ]
        codes = [call.wait() for call in together]
        if any(codes):
            raise SystemExit(f"an evening of {day} failed")
    problems = verification.verify(KILLED).problems
    rows, expected = (
        ledger.read(home).sort_values(KEY, ignore_index=True) for home in (KILLED, peace)
    )
    same = rows.drop(columns=["made_at", "log_return"]).equals(
        expected.drop(columns=["made_at", "log_return"])
    ) and rows["log_return"].equals(expected["log_return"])
    print(f"{killed} kills, {len(rows):,} forecasts, {len(problems)} problems, the same: {same}")
    common.row(
        "daily_kills",
        {"kills": killed},
        evenings=len(days),
        forecasts=len(rows),
        expected=len(expected),
        problems=len(problems),
        same=same,
        seconds=time.time() - begin,
    )
    if problems or not same:
        raise SystemExit("\n".join(problems) or "the ledgers differ")


if __name__ == "__main__":
    main()
