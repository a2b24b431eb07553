"""What is to be sent to which target, and whether it was: ``alerts.db`` in the home.

A row is written before its message is delivered, and marked once it was: sent at least once. Killed
between the two, the next call sends it again; the other way round it might never be sent, and a word
that comes twice is the lesser evil. What could not be delivered is tried again by every call of a
week, whether its condition still holds or not, because it held.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from forecaster import atomic
from forecaster.errors import StoreError

FILE = "alerts.db"

NEWS = pd.Timedelta(days=7)
"""What could not be delivered for longer is no news any more."""

_TABLE = """CREATE TABLE IF NOT EXISTS alerts (
    target TEXT NOT NULL,
    condition TEXT NOT NULL,
    ticker TEXT NOT NULL,
    occasion TEXT NOT NULL,
    text TEXT NOT NULL,
    fired_at TEXT NOT NULL,
    sent_at TEXT,
    PRIMARY KEY (target, condition, ticker, occasion)
) WITHOUT ROWID"""


class Alert(NamedTuple):
    """Something to be sent once."""

    condition: str
    ticker: str
    """Empty where it is of several at once."""
    occasion: str
    """Which of the times that the condition may hold of the ticker: a session, an announcement."""
    text: str
    """A line that prints."""


class Outbox:
    """The alerts of a home, for whoever holds them by :func:`opened`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, alerts: Iterable[Alert], target: str, now: pd.Timestamp) -> None:
        """Note what is to be sent to a target, unless it was noted before."""
        rows = [(target, *alert, _stamp(now)) for alert in alerts]
        with self._connection:
            self._connection.executemany(
                "INSERT OR IGNORE INTO alerts VALUES (?, ?, ?, ?, ?, ?, NULL)", rows
            )

    def pending(self, target: str, now: pd.Timestamp) -> list[Alert]:
        """Return what is to be sent to a target and was not yet, oldest first."""
        rows = self._connection.execute(
            "SELECT condition, ticker, occasion, text FROM alerts WHERE target = ? AND sent_at IS NULL "
            "AND fired_at >= ? ORDER BY fired_at, condition, ticker",
            (target, _stamp(now - NEWS)),
        )
        return [Alert(*row) for row in rows]

    def mark(self, alerts: Iterable[Alert], target: str, now: pd.Timestamp) -> None:
        """Note what was sent to a target."""
        rows = [(_stamp(now), target, it.condition, it.ticker, it.occasion) for it in alerts]
        with self._connection:
            self._connection.executemany(
                "UPDATE alerts SET sent_at = ? "
                "WHERE target = ? AND condition = ? AND ticker = ? AND occasion = ?",
                rows,
            )


@contextmanager
def opened(home: Path) -> Iterator[Outbox]:
    """Hold the outbox of a home: others who want it wait, so that nothing is sent by two at once.

    Raises
    ------
    StoreError
        It is damaged, or the home cannot be written.
    """
    path = home / FILE
    with atomic.locked(path), _explained(path), closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(_TABLE)
        yield Outbox(connection)


def sent(home: Path) -> set[tuple[str, str, str, str]]:
    """Return target, condition, ticker and occasion of what was sent; nothing is locked or made."""
    path = home / FILE
    if not path.exists():
        return set()
    with (
        _explained(path),
        closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection,
    ):
        # One that was killed may have made the file, and not the table.
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alerts'").fetchone():
            return set()
        query = "SELECT target, condition, ticker, occasion FROM alerts WHERE sent_at IS NOT NULL"
        return set(connection.execute(query))


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(
            f"cannot use {path}: {error}. If it is damaged, delete it: alerts that were sent are then sent "
            "again where their conditions still hold"
        ) from error


def _stamp(instant: pd.Timestamp) -> str:
    return instant.tz_convert("UTC").strftime("%Y-%m-%dT%H:%M:%SZ")
