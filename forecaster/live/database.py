"""The file of the ledger: an SQLite database to whose tables rows are added, chained by digests.

SQLite keeps a write whole or undone, whatever kills it, and lets one process write while others read
(its write-ahead log).
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from forecaster import atomic
from forecaster.distributions.levels import PARAMETERS, QUANTILES
from forecaster.errors import ForecastError, StoreError, one_line

if TYPE_CHECKING:
    import pandas as pd

Content = TypeVar("Content")

FORMAT = 1
"""Of the file, kept as SQLite's ``user_version``."""

PATIENCE = 60.0
"""Seconds to wait for another process that writes."""

VANISHED = "vanished"
"""The status of a settlement that another may follow; see :mod:`forecaster.live.settling`."""

NUMBERS = ["last_close", "mean", "volatility", *QUANTILES, *PARAMETERS]
"""What the ledger keeps of a forecast beside its keys."""

_TEXT, _INTEGER = "TEXT NOT NULL", "INTEGER NOT NULL"
_NUMBERED = {"id": "INTEGER PRIMARY KEY AUTOINCREMENT"}
_CHAINED = {"previous": _TEXT, "sha256": _TEXT}

CHAINS: dict[str, dict[str, str]] = {
    "forecasts": {
        **_NUMBERED,
        "made_at": _TEXT,
        "opens_at": _TEXT,
        "late": _INTEGER,
        "origin": f"{_TEXT} REFERENCES origins (sha256)",
        **dict.fromkeys(["prices_sha256", "run", "ticker", "model", "cutoff", "date"], _TEXT),
        "step": _INTEGER,
        **dict.fromkeys(NUMBERS, "REAL"),
        **_CHAINED,
    },
    "settlements": {
        **_NUMBERED,
        **dict.fromkeys(["settled_at", "ticker", "cutoff"], _TEXT),
        "step": _INTEGER,
        "date": "TEXT",
        "status": _TEXT,
        **dict.fromkeys(["log_return", "adj_close_cutoff", "adj_close_date"], "REAL"),
        **_CHAINED,
    },
}
"""The columns of the tables whose rows are chained, with their types."""

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)

_READS = 20
"""Attempts at reading a file that others write to at the same time."""


def _schema() -> dict[str, str]:
    made = {"origins": f"CREATE TABLE origins (sha256 TEXT PRIMARY KEY, document {_TEXT})"}
    for table, columns in CHAINS.items():
        typed = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
        made[table] = f"CREATE TABLE {table} ({typed})"
    for name, of in (
        ("forecasts_once", "forecasts (ticker, cutoff, step, model, run)"),
        ("settlements_once", f"settlements (ticker, cutoff, step, status = '{VANISHED}')"),
    ):
        made[name] = f"CREATE UNIQUE INDEX {name} ON {of}"
    for name, of in (
        ("forecasts_of_ticker", "forecasts (ticker, date)"),
        ("forecasts_of_date", "forecasts (date)"),
    ):
        made[name] = f"CREATE INDEX {name} ON {of}"
    for table in ("origins", *CHAINS):
        for event in ("UPDATE", "DELETE"):
            name = f"{table}_no_{event.lower()}"
            made[name] = (
                f"CREATE TRIGGER {name} BEFORE {event} ON {table} BEGIN "
                "SELECT RAISE(ABORT, 'the ledger is only added to'); END"
            )
    return made


SCHEMA = _schema()
"""What the database is made of, each by its name."""


def path_of(home: Path) -> Path:
    """Return the file of a home's ledger, which need not be there."""
    return Path(home) / "ledger.db"


# ---- chains


class Head(NamedTuple):
    """Where the ledger ends."""

    rows: int = 0
    """How many forecasts there are."""
    forecasts_sha256: str = ""
    """Of the last forecast; empty where there is none."""
    settlements: int = 0
    settlements_sha256: str = ""

    @property
    def digest(self) -> str:
        """What to post: both numbers, and the SHA-256 of the two digests one after the other."""
        both = sha256(self.forecasts_sha256 + self.settlements_sha256)
        return f"{self.rows}-{self.settlements}-{both}"


def canonical(value: object) -> str:
    """Return a value as JSON without blanks, each number in the fewest digits that say it exactly.

    >>> canonical([1, 0.1, None, "É"])
    '[1,0.1,null,"É"]'
    """
    return _JSON.encode(value)


def sha256(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def digest(values: Sequence[object]) -> str:
    """Return the digest of a row, given its other values in the order of the columns."""
    return sha256(canonical(values))


def agrees(expected: object, compute: Callable[[Any], str], of: Any) -> bool:
    """Return whether a digest is that of something, which may be such as no ledger has."""
    try:
        return expected == compute(of)
    except (AttributeError, TypeError, ValueError):
        return False


def stamp(instant: "pd.Timestamp") -> str:
    """Return an instant as the ledger has it: 2026-11-27T21:05:16.123456Z."""
    return f"{instant.tz_convert('UTC').tz_localize(None).isoformat(timespec='microseconds')}Z"


def append(database: sqlite3.Connection, table: str, rows: Sequence[Sequence[object]]) -> None:
    """Add rows to the end of a chain.

    Parameters
    ----------
    database : as :func:`writing` gives it.
    rows : the values of all columns but the number and the two digests.

    Raises
    ------
    StoreError
        The chain does not end as it was written: rows after it would hide that.
    """
    last = database.execute(f"SELECT * FROM {table} ORDER BY id DESC LIMIT 1").fetchone()
    number, previous = (last[0], last[-1]) if last else (0, "")
    sound = last is None or agrees(previous, digest, last[:-1])
    if not sound or number != most(database, table):
        raise StoreError(
            "the last rows of the ledger are not those that were written, so none is added; "
            "`forecast ledger verify` says what is wrong. Put back a copy of ledger.db, or move it away "
            "to begin another"
        )
    chained = []
    for row in rows:
        number += 1
        values = [number, *row, previous]
        previous = digest(values)
        chained.append([*values, previous])
    marks = ", ".join("?" * len(CHAINS[table]))
    added = database.executemany(f"INSERT INTO {table} VALUES ({marks})", chained).rowcount
    if chained and added != len(chained):  # by a trigger that somebody made
        raise StoreError(
            f"{len(chained):,} rows were to be added to {table} and {added:,} were, so none is; "
            "`forecast ledger verify` says what is wrong"
        )


def end(database: sqlite3.Connection) -> Head:
    """Return where both chains end."""
    ends: list[Any] = []
    for table in CHAINS:
        query = f"SELECT id, sha256 FROM {table} ORDER BY id DESC LIMIT 1"
        ends += database.execute(query).fetchone() or (0, "")
    return Head(*ends)


def most(database: sqlite3.Connection, table: str) -> int:
    """Return the largest number that a row of a chain ever had."""
    row = database.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return int(row[0]) if row else 0


# ---- reading and writing


def reading(
    home: Path, question: Callable[[sqlite3.Connection], Content], nothing: Content
) -> Content:
    """Return what a question to the ledger brings, or ``nothing`` where there is no ledger.

    The file is not changed, and all that is read of it is of one instant.

    Parameters
    ----------
    question : takes the database; it is called again where another process wrote meanwhile.

    Raises
    ------
    StoreError
        The ledger cannot be read, is damaged, or is of another version.
    """
    path = path_of(home)
    if not path.exists():
        return nothing
    with _explained(path, "read"):
        for _ in range(_READS):
            before = _state(path)
            # Where no log lies beside the file, SQLite would make one, if it may, and leave it.
            calm = not before.log
            try:
                content = _answer(path, question, "mode=ro&immutable=1" if calm else "mode=ro")
            except (sqlite3.Error, ForecastError):
                if _state(path) == before:
                    raise
                continue
            if not calm or _state(path) == before:
                return content
        return _answer(path, question, "mode=ro")


class _State(NamedTuple):
    """The marks of a file that change when it is written to."""

    number: int
    size: int
    changed: int
    log: bool
    """Whether there is anything in a log beside it, as while somebody writes, or after he was killed."""


def _state(path: Path) -> _State:
    its, log = path.stat(), 0
    with suppress(FileNotFoundError):
        log = path.with_name(f"{path.name}-wal").stat().st_size
    # To read an empty log SQLite wants room for an index of it, which a full disk has not.
    return _State(its.st_ino, its.st_size, its.st_mtime_ns, log > 0)


def _answer(path: Path, question: Callable[[sqlite3.Connection], Content], mode: str) -> Content:
    with closing(_connected(path, mode)) as database:
        database.execute("BEGIN")
        _require_format(database, path)
        return question(database)


@contextmanager
def writing(home: Path) -> Iterator[sqlite3.Connection]:
    """Give the database to add rows to; at the end of the block all are written, or none is.

    Raises
    ------
    StoreError
        The ledger cannot be written, is damaged, or is of another version.
    """
    path = path_of(home)
    with _explained(path, "write"):
        if not path.exists():
            _make(path)
        with closing(_connected(path, "mode=rw")) as database:
            database.execute("PRAGMA synchronous = FULL")
            database.execute("BEGIN IMMEDIATE")
            try:
                _require_format(database, path)
                yield database
                database.execute("COMMIT")
            finally:
                if database.in_transaction:
                    database.execute("ROLLBACK")


def _make(path: Path) -> None:
    """Make an empty ledger, which nobody sees before it is whole."""
    with atomic.locked(path):
        if path.exists():  # another process just made it
            return
        with (
            atomic.replacing(path) as temporary,
            closing(sqlite3.connect(temporary, isolation_level=None)) as database,
        ):
            database.execute("PRAGMA journal_mode = MEMORY")
            database.execute("BEGIN")
            for sql in SCHEMA.values():
                database.execute(sql)
            database.execute(f"PRAGMA user_version = {FORMAT}")
            database.execute("COMMIT")
            database.execute("PRAGMA journal_mode = WAL")


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?{mode}"
    return sqlite3.connect(address, uri=True, timeout=PATIENCE, isolation_level=None)


def _require_format(database: sqlite3.Connection, path: Path) -> None:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    if not tables.issuperset(CHAINS):
        raise StoreError(
            f"{path} is no ledger of Forecaster; move it away, and the next forecasts to be recorded "
            "begin one"
        )
    if version != FORMAT:
        raise StoreError(
            f"{path} has the format {version}, and this version of Forecaster knows {FORMAT}; install the "
            "version that wrote it, or a later one"
        )


@contextmanager
def meaningful(home: Path) -> Iterator[None]:
    """Have what rows say that no ledger wrote, such as a date that is none, raised as a StoreError."""
    try:
        yield
    except (ArithmeticError, LookupError, NotImplementedError, TypeError, ValueError) as error:
        raise StoreError(
            f"{path_of(home)} was changed, and what is in it makes no sense ({one_line(error)}); "
            "`forecast ledger verify` says what is wrong. Put back a copy of it, or move it away to begin "
            "another"
        ) from error


@contextmanager
def _explained(path: Path, work: str) -> Iterator[None]:
    """Have what SQLite cannot do raised as a StoreError of one line."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the lowest byte is the kind
        said = one_line(error)
        # A mere ERROR is a column that is not there.
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
            message = (
                f"{path} is damaged ({said}) and stays as it is; put back a copy of it, or move it away "
                "to begin another"
            )
        elif code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            message = f"{path} has been in use by another process for a minute; try again later"
        else:
            message = (
                f"cannot {work} {path}: {said}; what was there is unchanged. Free some space, or name a "
                f"`home` that you may {work}"
            )
        raise StoreError(message) from error
