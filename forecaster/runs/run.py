"""A run: a trained model, where it comes from, and the names it may have."""

import re
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from forecaster import __version__
from forecaster.errors import UsageError
from forecaster.models.protocol import Model

FORMAT = 1


PACKAGES = ("numpy", "pandas", "scikit-learn", "tensorflow", "keras", "arch")


@dataclass(frozen=True)
class Run:
    """A fitted model and where it comes from."""

    name: str
    model: Model
    tickers: list[str]
    """The universe it was trained on, whose average stays its market."""
    first: date
    """The first session of the training span."""
    until: date
    """The last session the model has seen: it forecasts later ones only."""
    prices_sha256: str
    created: str
    versions: dict[str, str]

    @property
    def summary(self) -> dict[str, Any]:
        """What ``run.json`` says but for the model's own settings."""
        return {
            "format": FORMAT,
            "name": self.name,
            "model": self.model.name,
            "tickers": self.tickers,
            "first": self.first.isoformat(),
            "until": self.until.isoformat(),
            "prices_sha256": self.prices_sha256,
            "created": self.created,
            "versions": self.versions,
        }


def versions() -> dict[str, str]:
    """Versions of this package and of those that forecasts depend on."""
    found = {"forecaster": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def checked_name(name: str) -> str:
    """The name, if it can be that of a folder anywhere; UsageError otherwise."""
    if is_name(name):
        return name
    raise UsageError(
        "a run's name takes letters, digits, dots, dashes and underscores, 80 at most, starting "
        f"with a letter or digit; got {name!r}"
    )


def is_name(name: str) -> bool:
    """Whether a run may have this name on every file system."""
    reserved = re.match(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", name, re.IGNORECASE)  # by Windows
    allowed = re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,78}[A-Za-z0-9_-])?", name)
    return bool(allowed) and not reserved


def checkpoint_path(home: Path, name: str) -> Path:
    """Where the training of a run keeps its state until it is done."""
    return home / "runs" / f".{name}.training"
