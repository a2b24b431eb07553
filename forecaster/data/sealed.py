"""Parquet files of one ticker each, sealed: replaced whole, and read only as they were written.

A file carries a note of the store, in JSON, and a checksum of all its bytes.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from forecaster import atomic
from forecaster.data import checksum
from forecaster.data.filenames import ticker_of
from forecaster.errors import StoreError, one_line

# Arrow's own allocator keeps 30 MB for a next time that a short command never has.
pa.set_memory_pool(pa.system_memory_pool())

_NOTE = b"forecaster"
_CHECKSUM = b"forecaster.checksum"
_INSTANT = "%Y-%m-%dT%H:%M:%SZ"


def write(
    path: Path,
    table: pa.Table,
    note: Mapping[str, Any],
    more: Mapping[bytes, bytes] = {},
    encodings: Mapping[str, str] = {},
) -> None:
    """Write a table with its note to a file, which then is the new one or still the old one.

    Parameters
    ----------
    note : ``format``, ``ticker`` and what else is to be known of the table.
    more : other metadata of the file, by name.
    encodings : Parquet's, of columns whose values hardly come twice; the others have a dictionary.

    Raises
    ------
    StoreError
        The disk is full, read-only, or the folder cannot be made.
    """
    metadata = {_NOTE: json.dumps(note), **more, _CHECKSUM: checksum.UNSEALED}
    content = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        content,
        compression="lz4",  # to read it takes half the time of zstd
        use_dictionary=[name for name in table.column_names if name not in encodings],
        column_encoding=dict(encodings),
    )
    with atomic.replacing(path) as temporary:
        temporary.write_bytes(checksum.sealed(content.getvalue().to_pybytes()))


def remove(path: Path) -> None:
    """Remove a file, if it is there; StoreError where it cannot be."""
    with atomic.locked(path):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot remove {path}: {error.strerror}; make the folder writable"
            ) from error


@contextmanager
def opened(
    path: Path, ticker: str, format: int, unsealed: Collection[int] = ()
) -> Iterator[tuple[pq.ParquetFile, dict[str, Any]]]:
    """Give a file whose every byte is the one that was written, and the note in it.

    Parameters
    ----------
    format : that of the files written today.
    unsealed : earlier formats, whose files have no checksum but those of Parquet.

    Raises
    ------
    StoreError
        The file is damaged, of another program, or of another ticker.
    """
    with _explained(path):
        content = path.read_bytes()
        is_sealed = checksum.is_sealed(content)
        with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
            note = _note(file.metadata.metadata, ticker, format, unsealed)
            if not is_sealed and note["format"] not in unsealed:
                raise ValueError("its checksum is gone")
            yield file, note


def stamp(instant: datetime) -> str:
    """Return an instant in UTC as a note has it, to the second."""
    return instant.strftime(_INSTANT)


def _note(
    metadata: dict[bytes, bytes] | None, ticker: str, format: int, unsealed: Collection[int]
) -> dict[str, Any]:
    """The store's own note in a file, or ValueError where the file is not the store's."""
    if not metadata or _NOTE not in metadata:
        raise ValueError("it was not written by this program")
    note: dict[str, Any] = json.loads(metadata[_NOTE])
    if note["format"] not in (*unsealed, format):
        raise ValueError(f"its format is {note['format']}, and {format} was expected")
    if note["ticker"] != ticker:
        raise ValueError(f"it holds {note['ticker']}, and its name is that of {ticker}")
    return note


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Names the file and the way out where a stored file cannot be read."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise StoreError(
            f"cannot read {path}: {one_line(error)}; fetch {ticker_of(path.name)} again with `refresh`"
        ) from error
