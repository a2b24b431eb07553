"""The trial registry: all trainings, settings, backtests and scores tried, in ``trials.jsonl`` of the home.

Who tries a hundred strategies on the same prices finds one that shines by luck. What was tried is
therefore written down, one line of JSON each, never removed, and counted into the deflated Sharpe
ratio (:mod:`forecaster.evaluation.strategy`).

A line is appended in a single write to a file opened for appending, which the systems this runs on
do not interleave with that of another process. A line cut short by a crash is skipped by readers, and the
next starts on a new line.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from forecaster.errors import StoreError

FILE = "trials.jsonl"


@dataclass(frozen=True)
class Experiment:
    """One model tried on some tickers and dates."""

    kind: str
    """``train``, ``tune``, ``backtest`` or ``score``"""
    model: str
    tickers: list[str]
    start: str
    end: str
    """First and last date, YYYY-MM-DD."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What else tells it from another trial."""
    sharpes: list[float] = field(default_factory=list)
    """Sharpe ratios a session of the strategies made of it."""

    @property
    def key(self) -> str:
        """What was tried, whatever came of it."""
        return json.dumps(asdict(self) | {"sharpes": []}, sort_keys=True)


@dataclass(frozen=True)
class Company:
    """Other experiments, among whose strategies one may shine by luck."""

    experiments: int
    sharpes: tuple[float, ...]
    """Sharpe ratios a session that were recorded of them, in the order of the experiments."""
    unknown: int
    """Experiments without any."""


NO_COMPANY = Company(0, (), 0)


def record(home: Path, trial: Experiment) -> None:
    """Appends a trial; StoreError if the home cannot be written."""
    line = json.dumps({"time": datetime.now(UTC).isoformat(), **asdict(trial)}, sort_keys=True)
    path = home / FILE
    try:
        home.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            end = os.lseek(handle, 0, os.SEEK_END)
            os.lseek(handle, max(end - 1, 0), os.SEEK_SET)
            torn = os.read(handle, 1) not in (b"", b"\n")
            os.write(handle, ("\n" * torn + line + "\n").encode())
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise StoreError(
            f"cannot write down a trial in {path}: {error.strerror}; free some space, or name a "
            "`home` you may write to"
        ) from error


def read(home: Path) -> list[Experiment]:
    """The trials recorded, oldest first; lines that are not one are left out."""
    try:
        lines = (home / FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    trials = []
    for line in lines:
        try:
            values = json.loads(line)
            values.pop("time")
            trials.append(Experiment(**values))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return trials


def recorded(home: Path, tickers: Sequence[str], start: date, end: date) -> list[Experiment]:
    """The trials on any of the tickers whose dates overlap; the same trial again counts once.

    Trying the same thing again tells nobody more, so it is no new chance to be lucky.
    """
    wanted, seen = set(tickers), {}
    for trial in read(home):
        overlaps = trial.start <= end.isoformat() and trial.end >= start.isoformat()
        if overlaps and wanted & set(trial.tickers):
            seen[trial.key] = trial
    return list(seen.values())


def others(tried: Sequence[Experiment], own: Sequence[Experiment]) -> Company:
    """Return those tried that are none of `own`, so that a second time has the same company."""
    known = {trial.key for trial in own}
    rest = [trial for trial in tried if trial.key not in known]
    sharpes = tuple(sharpe for trial in rest for sharpe in trial.sharpes)
    return Company(len(rest), sharpes, sum(not trial.sharpes for trial in rest))
