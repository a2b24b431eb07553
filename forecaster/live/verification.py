"""Verification: a look at every row of the ledger for what is not as it was written."""

import re
import sqlite3
from pathlib import Path
from typing import NamedTuple

from forecaster.display import printable
from forecaster.errors import UsageError, one_line
from forecaster.live.database import (
    SCHEMA,
    Head,
    agrees,
    digest,
    end,
    most,
    reading,
    sha256,
)

MOST_PROBLEMS = 100
"""Problems that are listed one by one."""

_OF_SQLITE = {"sqlite_sequence", "sqlite_autoindex_origins_1", "sqlite_stat1", "sqlite_stat4"}
"""What SQLite makes by itself, or by ANALYZE."""

_OF_NOTHING = """
    SELECT id FROM settlements s WHERE NOT EXISTS (SELECT 1 FROM forecasts f
    WHERE f.ticker = s.ticker AND f.cutoff = s.cutoff AND f.step = s.step)
"""


class Verification(NamedTuple):
    """What a look at every row came to."""

    head: Head
    problems: list[str]
    """A line for each; empty where the ledger is as it was written."""


class _Posted(NamedTuple):
    """The parts of a posted digest."""

    rows: int
    settlements: int
    sha256: str


def verify(home: Path, expected: str | None = None) -> Verification:
    """Look at every row of the ledger, and name what is not as it was written.

    Parameters
    ----------
    expected : a :attr:`Head.digest` of before, which the rows of now must contain.

    Raises
    ------
    StoreError
        The ledger cannot be read, is damaged, or is of another version.
    UsageError
        `expected` is no digest of a head.
    """
    posted = None if expected is None else _posted(expected)
    verification = reading(home, lambda it: _verification(it, posted), None)
    if verification is not None:
        return verification
    gone = posted is not None and posted.rows + posted.settlements > 0
    return Verification(Head(), [_too_short(posted, Head())] if posted and gone else [])


def _posted(text: str) -> _Posted:
    parts = re.fullmatch(r"([0-9]{1,18})-([0-9]{1,18})-([0-9a-fA-F]{64})", text.strip())
    if not parts:
        raise UsageError(
            "expected a digest as `forecast ledger head` prints it, two numbers and 64 hexadecimal "
            f"digits with dashes between them, came {one_line(text, 90)}"
        )
    return _Posted(int(parts[1]), int(parts[2]), parts[3].lower())


def _verification(database: sqlite3.Connection, posted: _Posted | None) -> Verification:
    # Bytes that are no text are a change, and not the end of the look.
    database.text_factory = lambda it: it.decode(errors="surrogateescape")
    problems = _Problems()
    for (line,) in database.execute(f"PRAGMA integrity_check({MOST_PROBLEMS})").fetchall():
        if line != "ok":
            problems.add(f"the file is damaged: {line}")
    _verify_schema(database, problems)
    origins = _verify_origins(database, problems)
    for key in origins - _verify_forecasts(database, origins, problems):
        problems.add(f"origin {key} is of no forecast")
    _verify_chain(database, "settlements", problems)
    for (number,) in database.execute(_OF_NOTHING):
        problems.add(f"settlement {number} is of no forecast")
    head = end(database)
    if posted:
        _verify_posted(database, posted, head, problems)
    return Verification(head, problems.lines())


class _Problems:
    """Problems, of which the first are listed one by one."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._count = 0

    def add(self, problem: str) -> None:
        self._count += 1
        if len(self._first) < MOST_PROBLEMS:
            self._first.append(printable(problem))

    def lines(self) -> list[str]:
        more = self._count - len(self._first)
        return [*self._first, f"and {more:,} more problems"] if more else self._first


def _verify_schema(database: sqlite3.Connection, problems: _Problems) -> None:
    query = "SELECT type, name, sql FROM sqlite_master"
    there = {(kind, name): sql for kind, name, sql in database.execute(query)}
    for name, sql in SCHEMA.items():
        kind = sql.split()[1].lower().replace("unique", "index")
        if (kind, name) not in there:
            problems.add(f"the {kind} {name} is missing")
        elif there.pop((kind, name)) != sql:
            problems.add(f"the {kind} {name} is another one than was made")
    for kind, name in there:
        if name not in _OF_SQLITE:
            problems.add(f"there is a {kind} {name}, which no ledger has")


def _verify_origins(database: sqlite3.Connection, problems: _Problems) -> set[object]:
    """Return the digests of all origins."""
    origins = set()
    for row in database.execute("SELECT sha256, document FROM origins"):
        origins.add(row[0])
        if not agrees(row[0], sha256, row[1]):
            problems.add(f"origin {row[0]} was changed: its document has another digest")
    return origins


def _verify_forecasts(
    database: sqlite3.Connection, origins: set[object], problems: _Problems
) -> set[object]:
    """Return the origins that forecasts have."""
    used = set()
    _verify_chain(database, "forecasts", problems)
    for number, origin in database.execute("SELECT id, origin FROM forecasts ORDER BY id"):
        if origin not in origins:
            problems.add(f"forecast {number} has an origin that is missing")
        used.add(origin)
    return used


def _verify_chain(database: sqlite3.Connection, table: str, problems: _Problems) -> None:
    kind = table.removesuffix("s")
    number, previous = 0, ""
    for row in database.execute(f"SELECT * FROM {table} ORDER BY id"):
        number += 1
        if row[0] != number:
            problems.add(f"{kind} {number} is missing; {row[0]} comes in its place")
            number = row[0]
        elif row[-2] != previous:
            problems.add(f"{kind} {number} follows another one than when it was written")
        if not agrees(row[-1], digest, row[:-1]):
            problems.add(f"{kind} {number} was changed: its values have another digest")
        previous = row[-1]
    if number != (last := most(database, table)):
        problems.add(f"the end is missing: of {last:,} {table} {number:,} are left")


def _verify_posted(
    database: sqlite3.Connection, posted: _Posted, head: Head, problems: _Problems
) -> None:
    """Look for the rows whose digests were posted; that those before them are the same, the chain says."""
    digests = ""
    for table, number in (("forecasts", posted.rows), ("settlements", posted.settlements)):
        row = database.execute(f"SELECT sha256 FROM {table} WHERE id = ?", (number,)).fetchone()
        if row is None and number:
            problems.add(_too_short(posted, head))
            return
        digests += row[0] if row else ""
    if sha256(digests) != posted.sha256:
        problems.add(
            f"the first {posted.rows:,} forecasts and {posted.settlements:,} settlements are not those "
            "of the posted digest"
        )


def _too_short(posted: _Posted, head: Head) -> str:
    return (
        f"the posted digest is of {posted.rows:,} forecasts and {posted.settlements:,} settlements, and "
        f"here are {head.rows:,} and {head.settlements:,}"
    )
