"""A word when it matters: the conditions of ``alerts.toml``, each sent once to each target."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from forecaster.data.store import Store
from forecaster.errors import ForecastError, StoreError, did_you_mean, first_few
from forecaster.live import conditions, delivery, outbox
from forecaster.live.checks import CHECKS, Evening
from forecaster.live.conditions import Condition, Settings
from forecaster.live.outbox import Alert

MOST_LINES = 50
"""Of a message; services cut longer ones off."""


class Due(NamedTuple):
    """What a condition has to say."""

    condition: Condition
    alerts: list[Alert]


class Message(NamedTuple):
    """What was delivered to a target."""

    target: str
    lines: list[str]


class Outcome(NamedTuple):
    """What became of the alerts of an evening."""

    sent: list[Message]
    failed: list[ForecastError]
    """What could not be sent, and will be tried again, and conditions that could not be looked at."""


def run(
    home: Path,
    store: Store,
    frame: pd.DataFrame,
    events: pd.DataFrame,
    now: pd.Timestamp,
) -> Outcome:
    """Deliver what the conditions of a home have to say, and what an earlier call could not deliver.

    A home without ``alerts.toml`` has nothing to say.

    Parameters
    ----------
    frame : the forecasts made tonight, which may be none: the last in the ledger of each other ticker
        stand beside them.
    events : the events frame of any tickers.
    now : with a time zone.

    Raises
    ------
    UsageError
        ``alerts.toml`` says what it must not.
    StoreError
        The outbox cannot be read or written.
    """
    settings = conditions.read(home)
    if not settings.targets:
        return Outcome([], [])
    due, failed = check(settings, home, store, frame, events, now)
    sent = list[Message]()
    with outbox.opened(home) as box:
        for condition, alerts in due:
            for name in condition.to:
                box.add(alerts, name, now)
        for target in settings.targets.values():
            pending = box.pending(target.name, now)
            if not pending:
                continue
            lines = [alert.text for alert in pending]
            try:
                delivery.send(target, _title(lines), _text(lines))
            except ForecastError as error:
                failed.append(error)
            else:
                box.mark(pending, target.name, now)
                sent.append(Message(target.name, lines))
    return Outcome(sent, failed)


def check(
    settings: Settings,
    home: Path,
    store: Store,
    frame: pd.DataFrame,
    events: pd.DataFrame,
    now: pd.Timestamp,
) -> tuple[list[Due], list[ForecastError]]:
    """Return what each condition has to say now, sent before or not, and why some could not be looked at.

    Parameters are those of :func:`run`.
    """
    evening = Evening(home, store, frame, events, now)
    due, failed = list[Due](), list[ForecastError]()
    for condition in settings.conditions:
        try:
            if missing := set(condition.tickers or ()) - evening.stored:
                failed.append(_not_stored(condition, sorted(missing), evening.stored))
            due.append(Due(condition, list(CHECKS[condition.when](evening, condition))))
        except ForecastError as error:
            failed.append(type(error)(f"{condition.place}: {error}"))
    return due, failed


def _not_stored(condition: Condition, missing: list[str], stored: set[str]) -> StoreError:
    return StoreError(
        f"{condition.place}: no prices are stored of {first_few(missing)}; "
        f"{did_you_mean(missing, stored)}correct the file, or fetch them"
    )


def _title(lines: list[str]) -> str:
    return f"Forecaster: {len(lines)} alert{'s' if len(lines) > 1 else ''}"


def _text(lines: list[str]) -> str:
    more = len(lines) - MOST_LINES
    last = [f"… and {more:,} more"] if more > 0 else []
    return "\n".join([*lines[:MOST_LINES], *last])
