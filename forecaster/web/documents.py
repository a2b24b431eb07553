"""What ``/api/v1`` answers with, field by field."""

from dataclasses import dataclass
from typing import Any

from forecaster.live.watchlist import Details, Row


@dataclass(frozen=True)
class Watchlist:
    """All tickers."""

    schema: str
    as_of: str
    """When it was looked at, in UTC."""
    problems: list[str]
    """What could not be read."""
    rows: list[Row]


@dataclass(frozen=True)
class Ticker:
    """One ticker, with its forecasts and what came of them."""

    schema: str
    as_of: str
    ticker: Details


@dataclass(frozen=True)
class Ledger:
    """The running record, as the JSON of ``forecast ledger score`` has it, and where the ledger ends."""

    schema: str
    as_of: str
    head: str | None
    """What to post: ``forecast ledger head``."""
    problem: str | None
    """Why there is no score."""
    score: dict[str, Any] | None


@dataclass(frozen=True)
class Backtest:
    """A backtest, or the score of a file, that is kept in the home."""

    name: str
    models: list[str]
    tickers: int
    start: str | None
    end: str | None
    written: str
    """In UTC."""
    report: str | None
    """Where its report is served, null where it has none."""


@dataclass(frozen=True)
class Backtests:
    """All backtests, the last written first."""

    schema: str
    as_of: str
    backtests: list[Backtest]
