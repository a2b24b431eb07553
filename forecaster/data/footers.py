"""What stored files say of themselves in their footers and notes.

It is read without pandas, which takes longer to import than a list of what is stored takes to make.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from forecaster.data import sealed

PRICES, UNSEALED_PRICES = 3, (1, 2)
"""The format of files of prices that are written today, and those of files without a checksum."""

EVENTS = 1
"""The format of files of events."""

_DATE = 1
"""The place of the date among the columns."""


@dataclass(frozen=True)
class PricesFooter:
    """What a file of prices says."""

    first: datetime
    last: datetime
    rows: int
    source: str
    fetched_at: str
    """In UTC, as :func:`forecaster.data.sealed.stamp` writes it."""
    notes: Mapping[str, str]
    """What the source said of the instrument."""


@dataclass(frozen=True)
class EventsFooter:
    """What a file of events says, and its days."""

    days: list[datetime]
    """Sorted."""
    source: str
    fetched_at: str
    asked_at: str
    """When a source was last asked for all that it knows; empty if none ever was."""


def of_prices(path: Path, ticker: str) -> PricesFooter | None:
    """Return what the file of a ticker's prices says; None if there is no such file.

    Raises
    ------
    StoreError
        The file is damaged.
    """
    if not path.exists():
        return None
    with sealed.opened(path, ticker, PRICES, UNSEALED_PRICES) as (file, note):
        footer = file.metadata
        groups = [footer.row_group(at) for at in (0, footer.num_row_groups - 1)]
        first, last = (group.column(_DATE).statistics for group in groups)
        fetched_at = datetime.fromisoformat(note["fetched_at"])
        return PricesFooter(
            first.min,
            last.max,
            footer.num_rows,
            note["source"],
            sealed.stamp(fetched_at),
            note.get("notes", {}),
        )


def of_events(path: Path, ticker: str) -> EventsFooter | None:
    """Return what the file of a ticker's events says; None if there is no such file.

    Raises
    ------
    StoreError
        The file is damaged.
    """
    if not path.exists():
        return None
    with sealed.opened(path, ticker, EVENTS) as (file, note):
        days = file.read(columns=["date"], use_threads=False).column("date").to_pylist()
        return EventsFooter(days, note["source"], note["fetched_at"], note["asked_at"])
