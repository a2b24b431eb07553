"""What ``alerts.toml`` says: under which conditions a word is due, and to whom.

::

    [targets.phone]
    url = "env:NTFY_URL"                     # the name of an environment variable, never the URL

    [targets.desk]
    command = ["notify-send", "{title}", "{text}"]

    [[alert]]
    when = "expected_move"
    above = 0.05
    tickers = ["AAPL", "MSFT"]               # all, if left out
    to = ["phone"]                           # every target, if left out

What a condition says is in :data:`KINDS`. Nothing else may stand in the file. A message about it shows
nothing of a target but its name, and no text that may be a URL, because these are secrets.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from forecaster.display import printable
from forecaster.errors import UsageError, did_you_mean, first_few

FILE = "alerts.toml"

LEVELS = (0.01, 0.025, 0.05)
"""Tails that an outcome can be a surprise by."""

Value = TypeVar("Value")


class Kind(NamedTuple):
    """What the limit of a condition is called, and what it can be."""

    key: str | None
    expected: str
    least: float = 0.0
    most: float = 0.0


_FRACTION = "a fraction above 0 and below 1, such as 0.05 for 5%"

KINDS: Mapping[str, Kind] = {
    "expected_move": Kind("above", _FRACTION),
    "var": Kind("above", _FRACTION),
    "surprise": Kind("level", f"one of {', '.join(map(str, LEVELS))}"),
    "earnings": Kind("sessions", "a whole number from 1 to 60", 1, 60),
    "stale": Kind("sessions", "a whole number from 1 to 250", 1, 250),
    "coverage": Kind(None, ""),
}
"""The conditions:

``expected_move``
    half the width of the 80% interval of the next session is above a fraction of the price.
``var``
    the loss that the next session exceeds with probability 5% is above a fraction of the price.
``surprise``
    the last settled outcome lay beyond the quantile of its forecast at ``level``, 0.01 by default, or
    at one less it.
``earnings``
    the first session that can react to an announcement is so many sessions ahead, or fewer.
``stale``
    so many finished sessions or more are missing after the last stored price.
``coverage``
    what the ledger has settled excludes that the 80% or the 95% intervals hold what they promise.
"""

_KEYS = ("when", "tickers", "to")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_VARIABLE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_HEADER = re.compile(r"^[ \t]*\[\[[ \t]*alert[ \t]*\]\]", re.MULTILINE)


@dataclass(frozen=True)
class Target:
    """Who is sent what it says."""

    name: str
    variable: str | None
    """The environment variable that holds a URL for apprise; None for a command."""
    command: tuple[str, ...] = ()
    """A program and its arguments, in which ``{title}`` and ``{text}`` are replaced."""

    @property
    def way(self) -> str:
        """How, in words that hold no secret: the variable's name, or the program's."""
        return f"env:{self.variable}" if self.variable else self.command[0]


@dataclass(frozen=True)
class Condition:
    """When a word is due."""

    when: str
    limit: float | None
    tickers: tuple[str, ...] | None
    """None for all."""
    to: tuple[str, ...]
    """Names of targets."""
    place: str
    """Where it stands in the file, for messages."""

    @property
    def name(self) -> str:
        """What it is in a few words, the same wherever it stands in the file: ``var above 0.05``."""
        key = KINDS[self.when].key
        return f"{self.when} {key} {self.limit:g}" if key else self.when


@dataclass(frozen=True)
class Settings:
    """A whole file."""

    conditions: tuple[Condition, ...]
    targets: Mapping[str, Target]


def read(home: Path) -> Settings:
    """Return what the file of a home says; no conditions and no targets where there is none.

    Raises
    ------
    UsageError
        Naming the condition or the target, what was expected and what came.
    """
    import tomllib  # not for homes without the file

    path = home / FILE
    try:
        text = path.read_text(encoding="utf-8-sig")  # as Windows' editors write it
        document = tomllib.loads(text)
    except FileNotFoundError:
        return Settings((), {})
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        # What the parser says may show what it stumbled over, but for the place.
        at = re.search(r"at (line \d+, column \d+|end of document)", str(error))
        raise UsageError(
            f"{path} is not TOML{f' at {at[1]}' if at else ''}; expected lines such as "
            f'when = "var" and headings such as [[alert]]'
        ) from None
    _check_keys(document, ("alert", "targets"), FILE)
    targets = {
        name: _target(name, table)
        for name, table in _table(document.get("targets", {}), "targets").items()
    }
    tables = document.get("alert", [])
    if not isinstance(tables, list):
        raise UsageError(f"{FILE}: each condition begins with [[alert]], in two pairs of brackets")
    places = _places(text, len(tables))
    return Settings(
        tuple(_condition(it, place, targets) for it, place in zip(tables, places, strict=True)),
        targets,
    )


def shown(value: Any) -> str:
    """Return a value for a message, unless it may be a URL."""
    text = printable(repr(value))
    if "://" in text:
        return "a URL, which is not shown"
    return text if len(text) <= 60 else f"{text[:58]} …"


def _places(text: str, count: int) -> list[str]:
    """Return where each condition stands, with its line where the headings can be counted."""
    lines = [text.count("\n", 0, it.start()) + 1 for it in _HEADER.finditer(text)]
    known = lines if len(lines) == count else [0] * count
    return [
        f"{FILE}, alert {number}{f' (line {line})' if line else ''}"
        for number, line in enumerate(known, start=1)
    ]


def _target(name: str, table: Any) -> Target:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{FILE}: a target's name is up to 40 letters, digits, - and _; got {shown(name)}"
        )
    place = f"{FILE}, target {name}"
    _check_keys(_table(table, place), ("url", "command"), place)
    if len(table) != 1:
        raise UsageError(f"{place}: expected either a url or a command")
    if "url" in table:
        return Target(name, _variable(table["url"], name, place))
    return Target(name, None, _command(table["command"], place))


def _variable(url: Any, name: str, place: str) -> str:
    match = _VARIABLE.fullmatch(url) if isinstance(url, str) else None
    if match is None:
        variable = f"{re.sub('[^A-Z0-9]', '_', name.upper())}_URL"
        raise UsageError(
            f'{place}: url must name an environment variable, as in url = "env:{variable}". The URL '
            f"itself is a secret and belongs in no file of the home: export {variable}=…"
        )
    return match[1]


def _command(words: Any, place: str) -> tuple[str, ...]:
    command = _texts(words, f"{place}: command", '["notify-send", "{title}", "{text}"]')
    program = command[0]
    if "{" in program:
        raise UsageError(f"{place}: command must begin with a program; {{text}} may come after it")
    # Windows hands the arguments of a batch file to a shell, and they have foreign names in them.
    if program.lower().endswith((".bat", ".cmd")):
        raise UsageError(
            f"{place}: command must not be a batch file, whose arguments a shell reads; name a program, "
            'such as ["powershell", "-File", "notify.ps1"], which reads the text from its input'
        )
    return command


def _condition(table: Any, place: str, targets: Mapping[str, Target]) -> Condition:
    when = _table(table, place).get("when")
    if not isinstance(when, str) or when not in KINDS:
        meant = did_you_mean(when, KINDS) if isinstance(when, str) else ""
        came = f"got {shown(when)}" if "when" in table else "and it is missing"
        advice = meant.strip() or "correct it"
        raise UsageError(f"{place}: when must be {_or(tuple(KINDS))}, {came}; {advice}")
    kind = KINDS[when]
    _check_keys(table, (*_KEYS, *([kind.key] if kind.key else [])), f'{place}, when "{when}"')
    if not targets:
        raise UsageError(
            f"{place}: there is no target to send alerts to; add one, such as [targets.desk] with "
            'command = ["notify-send", "{title}", "{text}"]'
        )
    to = tuple(targets)
    if "to" in table:
        to = _texts(table["to"], f"{place}: to", f'["{to[0]}"]')
        if unknown := [it for it in to if it not in targets]:
            raise UsageError(
                f"{place}: there is no target {shown(unknown[0])}; "
                f"{did_you_mean(unknown[:1], targets)}there are {first_few(targets)}"
            )
    tickers = None
    if "tickers" in table:
        tickers = _texts(table["tickers"], f"{place}: tickers", '["AAPL"]')
    return Condition(when, _limit(table, kind, place), tickers, tuple(dict.fromkeys(to)), place)


def _limit(table: Mapping[str, Any], kind: Kind, place: str) -> float | None:
    if kind.key is None:
        return None
    if kind.key == "level" and "level" not in table:
        return LEVELS[0]
    value = table.get(kind.key)
    if isinstance(value, int | float) and not isinstance(value, bool) and _fits(value, kind):
        return value
    came = f"got {shown(value)}" if kind.key in table else "and it is missing"
    raise UsageError(f"{place}: {kind.key} must be {kind.expected}, {came}")


def _fits(value: float, kind: Kind) -> bool:
    if kind.key == "level":
        return value in LEVELS
    if kind.key == "above":
        return 0 < value < 1
    return kind.least <= value <= kind.most and value % 1 == 0


def _texts(value: Any, what: str, example: str) -> tuple[str, ...]:
    good = isinstance(value, list) and value and all(isinstance(it, str) and it for it in value)
    if not good or any("\0" in it for it in value):
        raise UsageError(f"{what} must be a list of texts, such as {example}")
    return tuple(value)


def _table(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{place} must be a table of names and values")
    return value


def _check_keys(table: Mapping[str, Any], known: tuple[str, ...], place: str) -> None:
    for key in table:
        if key not in known:
            raise UsageError(
                f"{place}: unknown {shown(key)}; {did_you_mean(key, known)}expected {_or(known)}"
            )


def _or(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
