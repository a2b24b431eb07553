"""A run: a trained model, where it comes from, and the names it may have."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from forecaster import __version__
from forecaster.errors import UsageError

if TYPE_CHECKING:
    from forecaster.models.protocol import Model

FORMAT = 1

BASE = "base"
"""The name of the run that comes with the package, which no other may have."""

PACKAGES = ("numpy", "pandas", "scikit-learn", "tensorflow", "keras", "arch")
"""Packages whose versions forecasts depend on."""


class StartSummary(TypedDict):
    """Whose weights a training started from."""

    name: str
    weights_sha256: str


class RunSummary(TypedDict):
    """What ``run.json`` says of a run, but for the model's own settings."""

    format: int
    name: str
    model: str
    tickers: list[str]
    first: str
    until: str
    prices_sha256: str
    events_sha256: str | None
    created: str
    versions: dict[str, str]
    start: NotRequired[StartSummary]


@dataclass(frozen=True)
class Run:
    """A fitted model and where it comes from."""

    name: str
    model: "Model"
    tickers: list[str]
    """The universe it was trained on, whose average stays its market."""
    first: date
    """The first session of the training span."""
    until: date
    """The last session the model has seen: it forecasts later ones only."""
    prices_sha256: str
    created: str
    versions: dict[str, str]
    events_sha256: str | None = None
    """Of the events it was trained with; None if there were none."""
    start: StartSummary | None = None
    """The run whose weights it started from; None if it was trained afresh."""

    @property
    def summary(self) -> RunSummary:
        """Where the run comes from, as JSON holds it."""
        summary: RunSummary = {
            "format": FORMAT,
            "name": self.name,
            "model": self.model.name,
            "tickers": self.tickers,
            "first": self.first.isoformat(),
            "until": self.until.isoformat(),
            "prices_sha256": self.prices_sha256,
            "events_sha256": self.events_sha256,
            "created": self.created,
            "versions": self.versions,
        }
        if self.start:
            summary["start"] = self.start
        return summary

    @property
    def is_base(self) -> bool:
        """Whether it is the one that comes with the package, trained on other prices than the user's."""
        return self.name == BASE

    @property
    def settings(self) -> dict[str, Any] | None:
        """The settings of its network, None if it is another model."""
        return self.model.state().settings.get("config")


def summary_of(document: Mapping[str, Any]) -> RunSummary:
    """Return the summary that JSON holds; LookupError or TypeError if it holds none."""
    summary: RunSummary = {
        "format": int(document["format"]),
        "name": str(document["name"]),
        "model": str(document["model"]),
        "tickers": [str(ticker) for ticker in document["tickers"]],
        "first": str(document["first"]),
        "until": str(document["until"]),
        "prices_sha256": str(document["prices_sha256"]),
        "events_sha256": _text(document.get("events_sha256")),
        "created": str(document["created"]),
        "versions": dict(document["versions"]),
    }
    if start := start_of(document):
        summary["start"] = start
    return summary


def start_of(document: Mapping[str, Any]) -> StartSummary | None:
    """Return the run to start from that JSON holds; LookupError or TypeError if it holds half of one."""
    start = document.get("start")
    if start is None:
        return None
    return {"name": str(start["name"]), "weights_sha256": str(start["weights_sha256"])}


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def versions() -> dict[str, str]:
    """Return the versions of this package and of those that forecasts depend on."""
    installed = {"forecaster": __version__}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


def checked_name(name: str) -> str:
    """Return the name if a run may have it, on every system; UsageError otherwise."""
    if name.casefold() == BASE:
        raise UsageError(
            f"{BASE} is the run that comes with the package, and no other may be called so; choose "
            "another `run`"
        )
    if is_name(name):
        return name
    raise UsageError(
        "a run's name takes letters, digits, dots, dashes and underscores, 80 at most, starting "
        f"with a letter or digit; got {name!r}"
    )


def is_name(name: str) -> bool:
    """Return whether a folder of a run may have this name on every file system."""
    reserved = re.match(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", name, re.IGNORECASE)  # by Windows
    allowed = re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,78}[A-Za-z0-9_-])?", name)
    return bool(allowed) and not reserved


def checkpoint_path(home: Path, name: str) -> Path:
    """Return where the training of a run keeps its state until it is done."""
    return home / "runs" / f".{name}.training"
