"""``forecast alerts``: under which conditions a word is due, and whether the targets hear it."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from forecaster.cli import options, output
from forecaster.errors import ForecastError, UsageError, first_few

if TYPE_CHECKING:
    from forecaster.live.alerts import Due
    from forecaster.live.conditions import Condition, Target

log = logging.getLogger(__name__)

EXAMPLE = 'such as [targets.desk] with command = ["notify-send", "{title}", "{text}"]'

app = typer.Typer(
    help="Conditions of alerts.toml, and the alerts that they give now; nothing is sent."
    "\n\nExample: forecast alerts",
    invoke_without_command=True,
)


@app.callback()
def listing(
    context: typer.Context,
    *,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """List the conditions of alerts.toml, and the alerts that they give now; nothing is sent.

    Example: forecast alerts
    """
    if context.invoked_subcommand is None:
        _list(home, as_json=as_json, quiet=quiet, verbose=verbose)
    else:
        options.check_place(context)


def _list(home: Path, *, as_json: bool, quiet: bool, verbose: bool) -> None:
    from forecaster.data import calendars
    from forecaster.data.event_store import EventStore
    from forecaster.data.store import Store
    from forecaster.distributions import forecasts
    from forecaster.live import alerts, conditions, delivery, outbox

    output.start(quiet=quiet, verbose=verbose)
    settings = conditions.read(home)
    due, failed = alerts.check(
        settings,
        home,
        Store(home),
        forecasts.empty(),
        EventStore(home).read(),
        calendars.now(),
    )
    sent = outbox.sent(home)
    problems = {it.name: delivery.problem(it) for it in settings.targets.values()}
    rows = [row for its in due for row in _rows(its, sent)]
    if as_json:
        output.dump(
            "alerts",
            {
                "file": str(home / conditions.FILE),
                "targets": [
                    {"name": it.name, "by": it.way, "problem": problems[it.name]}
                    for it in settings.targets.values()
                ],
                "conditions": [_described(it) for it in settings.conditions],
                "alerts": rows,
            },
        )
    elif settings.conditions:
        output.table(
            ["condition", "of", "to", "alerts", "to send"],
            [_summary(it, rows) for it in settings.conditions],
            left=3,
        )
        for row in rows:
            output.say(f"{row['text']}{'' if row['pending'] else ' (sent)'}")
    elif not quiet:
        output.note(f"there are no conditions in {home / conditions.FILE}; [[alert]] begins one")
    for problem in problems.values():
        if problem:
            log.warning("%s", problem)
    output.end(failed)


@app.command("test")
def try_targets(
    *,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Send a test message to each target of alerts.toml, and say which got through.

    Example: forecast alerts test
    """
    from forecaster.live import conditions

    output.start(quiet=quiet, verbose=verbose)
    settings = conditions.read(home)
    if not settings.targets:
        raise UsageError(f"there are no targets in {home / conditions.FILE}; add one, {EXAMPLE}")
    rows, failed = list[dict[str, str | None]](), list[ForecastError]()
    for target in settings.targets.values():
        error = _attempt(target)
        failed += [error] if error else []
        rows.append(
            {"name": target.name, "by": target.way, "problem": str(error) if error else None}
        )
    if as_json:
        output.dump("alerts-test", {"targets": rows})
    else:
        output.table(
            ["target", "by", "test"],
            [
                [str(it["name"]), str(it["by"]), "failed" if it["problem"] else "sent"]
                for it in rows
            ],
            left=3,
        )
    output.end(failed)


def _attempt(target: "Target") -> ForecastError | None:
    from forecaster.live import delivery

    try:
        delivery.send(target, "Forecaster: a test", f"Test: alerts reach {target.name}.")
    except ForecastError as error:
        return error
    return None


def _rows(due: "Due", sent: set[tuple[str, str, str, str]]) -> list[dict[str, Any]]:
    """Return what a condition has to say, and what is still to be sent to which target."""
    return [
        {
            "condition": alert.condition,
            "ticker": alert.ticker or None,
            "occasion": alert.occasion,
            "text": alert.text,
            "to": list(due.condition.to),
            "pending": [it for it in due.condition.to if (it, *alert[:3]) not in sent],
        }
        for alert in due.alerts
    ]


def _described(condition: "Condition") -> dict[str, Any]:
    tickers = condition.tickers
    return {
        "name": condition.name,
        "when": condition.when,
        "limit": condition.limit,
        "tickers": list(tickers) if tickers else None,
        "to": list(condition.to),
    }


def _summary(condition: "Condition", rows: list[dict[str, Any]]) -> list[str]:
    its = [it for it in rows if it["condition"] == condition.name]
    return [
        condition.name,
        first_few(condition.tickers, 3) if condition.tickers else "all",
        first_few(condition.to, 3),
        str(len(its)),
        str(sum(bool(it["pending"]) for it in its)),
    ]
