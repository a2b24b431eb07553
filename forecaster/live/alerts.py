"""A word when it matters: the conditions of ``alerts.toml``, each told once to each target."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from forecaster.data.store import Store
from forecaster.errors import ForecastError


class Message(NamedTuple):
    """What was delivered to a target."""

    target: str
    lines: list[str]


class Outcome(NamedTuple):
    """What became of the alerts of an evening."""

    sent: list[Message]
    failed: list[ForecastError]


def run(
    home: Path, store: Store, frame: pd.DataFrame, events: pd.DataFrame, now: pd.Timestamp
) -> Outcome:
    """Deliver what the conditions of a home have to say, and what an earlier call could not deliver.

    A home without ``alerts.toml`` has nothing to say.

    Parameters
    ----------
    frame : the forecasts made tonight, which may be none: the last in the ledger of each other ticker
        stand beside them.
    events : the events frame of any tickers.
    """
    return Outcome([], [])
