"""What the ledger withstands, and what it costs: `python benchmarks/ledger.py [kills|crowd|cost]`

`kills`: 1,000 times a process that records evening after evening, and settles what came, is killed at a
random instant; the next goes on. `crowd`: five processes record the same evenings at once, each in an
order of its own, and one of them is killed at random all the while and begun again. After both, every
evening that a process was told is written is there, each once and with every number as it was made, and
the head of the ledger after each kill is in the one at the end. A kill is not a loss of power, against
which SQLite flushes each write to the disk.

`cost`: seconds of processor time of one process, 500 tickers, the cheapest of three.
"""

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import common
import numpy as np
import pandas as pd

from forecaster.data import calendars, prices
from forecaster.data.store import Store
from forecaster.distributions import forecasts
from forecaster.live import ledger, settling
from forecaster.live.ledger import Head, Origin

KILLS = 1000
CROWD = 5
LATEST = 0.5
"""Seconds after its start by which one of the crowd is killed."""
EVENINGS, STEPS, FEW = 900, (1, 2, 5), 4
MODELS = "lstm", "gjr", "naive"
HOME = common.CACHE / "ledger-home"
DAYS = calendars.sessions_between("AAA", pd.Timestamp("2010-01-04"), pd.Timestamp("2013-12-31"))
ORIGINS = {it: Origin(it, "", "", "2009-12-31", {}) for it in MODELS}


def main() -> None:
    """Measures what is asked for, or all."""
    for name in sys.argv[1:] or ("kills", "crowd", "cost"):
        shutil.rmtree(HOME, ignore_errors=True)
        {"kills": kills, "crowd": crowd, "cost": cost}[name]()


def evenings_of(count: int, tickers: int, steps: tuple[int, ...]) -> list[pd.DataFrame]:
    """Return the forecasts of some evenings, by their cutoff."""
    rng, rows = np.random.default_rng(0), count * tickers
    made = forecasts.concat(
        forecasts.from_student_t(
            ticker=np.tile(names(tickers), count),
            model=model,
            cutoff=np.repeat(DAYS[:count], tickers),
            date=np.repeat(DAYS[step : count + step], tickers),
            last_close=100.0,
            log_return=np.nan,
            location=rng.normal(0, 1e-4, rows),
            scale=rng.uniform(0.01, 0.02, rows) * step**0.5,
            df=5.0,
            step=step,
        )
        for model in MODELS
        for step in steps
    )
    return [its.reset_index(drop=True) for _, its in made.groupby("cutoff")]


def names(tickers: int) -> list[str]:
    """Return the names of some tickers, all of New York."""
    return [f"T{i:03d}.US" for i in range(tickers)]


def record(frame: pd.DataFrame, at: int) -> ledger.Recorded:
    """Record an evening after its close."""
    digests = dict.fromkeys(frame["ticker"], "ab" * 32)
    made = DAYS[at].tz_localize("UTC") + pd.Timedelta(hours=22)
    return ledger.record(HOME, frame, ORIGINS, digests, histories={}, made=made)


def fill(tickers: int, days: pd.DatetimeIndex = DAYS) -> None:
    """Store random walks."""
    rng = np.random.default_rng(0)
    for ticker in names(tickers):
        close = 50 * np.exp(np.cumsum(0.01 * rng.standard_normal(len(days))))
        frame = prices.check(pd.DataFrame({"ticker": ticker, "date": days, "close": close}))
        Store(HOME).write(frame, source="benchmark")


# ---- what it withstands


def kills() -> None:
    """Kills a process 1,000 times."""
    made = evenings_of(EVENINGS, FEW, STEPS)
    in_process(lambda: fill(FEW))  # so that no thread of this one is lost to those that it begins
    begin = time.perf_counter()
    in_process(lambda: work(made[:2], lambda _: None))
    latest = time.perf_counter() - begin  # what two evenings take on this machine as it is now
    rng, told, heads, between = random.Random(0), set[int](), list[Head](), 0
    for _ in range(KILLS):
        written = killed(lambda write: work(made, write), rng.uniform(0, latest))
        told.update(written)
        there = evenings()
        between += bool(there - told)
        assert told <= there, "an evening is lost"
        told |= there
        heads.append(ledger.head(HOME))
    outcome = checked(made, told, heads)
    common.row("ledger", {"what": "kills"}, number=KILLS, between=between, **outcome)


def work(made: list[pd.DataFrame], write: Callable[[int], None]) -> None:
    """Record and settle evening after evening, and say so of each."""
    there = evenings()
    for at, frame in enumerate(made):
        if at not in there:
            record(frame, at)
            write(at)
            if at % 3 == 0:
                now = DAYS[at].tz_localize("UTC") + pd.Timedelta(hours=22)
                settling.settle(HOME, Store(HOME), now)


def evenings() -> set[int]:
    """Return the evenings that are in the ledger."""
    cutoffs = {cutoff for _, _, _, cutoff in ledger.recorded(HOME, since=DAYS[0])}
    return {int(DAYS.get_loc(cutoff)) for cutoff in cutoffs}


def crowd() -> None:
    """Has five processes record the same evenings, one of which is killed again and again."""
    made = evenings_of(EVENINGS // 3, FEW, STEPS)

    def all_of_them(order: int) -> None:
        for at in random.Random(order).sample(range(len(made)), len(made)):
            record(made[at], at)

    started = [fork(lambda order=order: all_of_them(order)) for order in range(CROWD - 1)]
    rng, fallen, heads = random.Random(1), 0, list[Head]()
    while started:
        for process in list(started):
            done, status = os.waitpid(process, os.WNOHANG)
            if done:
                assert status == 0, "a process failed"
                started.remove(process)
        killed(lambda write: all_of_them(CROWD), rng.uniform(0, LATEST))
        fallen += 1
        heads.append(ledger.head(HOME))
    outcome = checked(made, set(range(len(made))), heads)
    common.row("ledger", {"what": "crowd"}, number=CROWD, between=fallen, **outcome)


def checked(made: list[pd.DataFrame], expected: set[int], heads: list[Head]) -> dict[str, int]:
    """Return how much there is in the ledger, once all of it is seen to be as it should."""
    assert not ledger.verify(HOME, heads[-1].digest).problems, "the chain is broken"
    for chain, ends in (
        ("forecasts", {(it.rows, it.forecasts_sha256) for it in heads}),
        ("settlements", {(it.settlements, it.settlements_sha256) for it in heads}),
    ):
        query = f"SELECT id, sha256 FROM {chain}"
        rows = ledger.reading(HOME, lambda it, query=query: it.execute(query).fetchall(), [])
        assert ends - {(0, "")} <= set(rows), "a row is another one than it was"
    keys = ["cutoff", "model", "step", "ticker"]
    whole = pd.concat([made[at] for at in expected], ignore_index=True).sort_values(keys)
    read = ledger.read(HOME).sort_values(keys)
    columns = [it for it in forecasts.FORECAST_COLUMNS if it != "log_return"]
    pd.testing.assert_frame_equal(
        read[columns].reset_index(drop=True),
        whole[columns].reset_index(drop=True),
        check_exact=True,
    )
    head = ledger.head(HOME)
    return {"rows": head.rows, "settlements": head.settlements, "heads": len(set(heads))}


def fork(do: Callable[[], None]) -> int:
    """Begin a process that is this one as it is now, and return its number."""
    process = os.fork()
    if process == 0:
        try:
            do()
            os._exit(0)
        finally:
            os._exit(1)
    return process


def in_process(do: Callable[[], None]) -> None:
    """Do something in a process of its own."""
    assert os.waitpid(fork(do), 0)[1] == 0


def killed(do: Callable[[Callable[[int], None]], None], after: float) -> list[int]:
    """Kill a process some seconds after its start, and return the numbers that it wrote before."""
    read, write = os.pipe()
    process = fork(lambda: do(lambda number: os.write(write, f"{number}\n".encode()) and None))
    os.close(write)
    time.sleep(after)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    with open(read) as pipe:
        return [int(line) for line in pipe.read().split()]


# ---- what it costs


def cost() -> None:
    """Measures a ledger of 200,000 rows."""
    tickers, steps = 500, (1, 2, 3, 5, 10, 21)
    nights = 23
    fill(tickers, DAYS[:nights])
    *earlier, last = evenings_of(nights, tickers, steps)
    for at, its in enumerate(earlier):
        record(its, at)
    took("record", len(last), lambda: record(last, nights - 1), once=True)
    took("record again", len(last), lambda: record(last, nights - 1))
    recent = {"tickers": names(tickers), "first": DAYS[nights - 2], "last": DAYS[nights - 1]}
    took("read two sessions, step 1", 3000, lambda: ledger.read(HOME, steps=[1], **recent))
    took("read two sessions, all steps", None, lambda: ledger.read(HOME, **recent))
    took("recorded", None, lambda: ledger.recorded(HOME, since=DAYS[nights - 2]))
    store = Store(HOME)

    def settle(at: int) -> settling.Settled:
        return settling.settle(HOME, store, DAYS[at].tz_localize("UTC") + pd.Timedelta(hours=22))

    settle(nights - 2)
    took("settle a session", len(steps) * tickers, lambda: settle(nights - 1), once=True)
    took("settle nothing", 0, lambda: settle(nights - 1))
    took("verify", ledger.head(HOME).rows, lambda: ledger.verify(HOME))
    size = Path(HOME / "ledger.db").stat().st_size / ledger.head(HOME).rows
    common.row("ledger", {"what": "bytes a row"}, number=round(size))


def took(what: str, rows: int | None, do: Callable[[], object], *, once: bool = False) -> None:
    """Measure the processor time of something."""
    times = []
    for _ in range(1 if once else 3):
        begin = time.process_time()
        result = do()
        times.append(time.process_time() - begin)
    if rows is None:
        rows = len(result) if hasattr(result, "__len__") else 0
    common.row("ledger", {"what": what}, number=rows, seconds=min(times))


if __name__ == "__main__":
    main()
