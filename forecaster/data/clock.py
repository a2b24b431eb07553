"""The one clock by which anything is finished, due, stale or of an age."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return this instant, in UTC."""
    return datetime.now(UTC)
