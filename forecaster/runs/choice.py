"""Which run forecasts where none is named: the default, else the latest network, else the base run.

The default run is named in ``default-run.json`` of the home.
"""

import json
import logging
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from forecaster import atomic
from forecaster.models.registry import NETWORKS, REGISTRY
from forecaster.runs import bundle
from forecaster.runs.run import BASE, Run

log = logging.getLogger(__name__)

FILE = "default-run.json"


class Reason(StrEnum):
    """Why a run was chosen."""

    NAMED = "named"
    DEFAULT = "default"
    LATEST = "latest"
    BASE = "base"


class Choice(NamedTuple):
    """A run, and why it is this one."""

    run: Run
    reason: Reason

    @property
    def words(self) -> str:
        """The reason, to stand after the name of the run; empty for one that was named."""
        return {
            Reason.NAMED: "",
            Reason.DEFAULT: " (your default)",
            Reason.LATEST: " (your latest network)",
            Reason.BASE: " (it comes with the package; you have trained no network yet)",
        }[self.reason]


def choose(home: Path, name: str | None = None, models: Collection[str] = REGISTRY) -> Choice:
    """Return the run that forecasts.

    Parameters
    ----------
    name : of the run; by default it is the default run of the home, else the latest that is a
        network, else the base run.
    models : those that a run which is not named may be of.

    Raises
    ------
    BundleError
        There is no run of that name, or it is damaged, or the default run is.
    """
    if name is not None:
        return Choice(bundle.load(home, name), Reason.NAMED)
    usual = default(home)
    if usual is not None and usual != BASE and usual not in bundle.names(home):
        log.warning(
            "the default run %s is no longer there, so it is not what forecasts; "
            "`forecast runs default NAME` names another",
            usual,
        )
    elif usual is not None:
        run = bundle.load(home, usual)
        if run.model.name in models:
            return Choice(run, Reason.DEFAULT)
    networks = (run for run in bundle.readable(home) if run.model.name in NETWORKS)
    latest = next((run for run in networks if run.model.name in models), None)
    if latest is not None:
        return Choice(latest, Reason.LATEST)
    return Choice(bundle.load(home, BASE), Reason.BASE)


def default(home: Path) -> str | None:
    """Return the name of the default run, None if there is none."""
    try:
        name = json.loads((home / FILE).read_text(encoding="utf-8"))["run"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError):
        log.warning("%s is damaged, so there is no default run", home / FILE)
        return None
    return str(name)


def set_default(home: Path, name: str) -> None:
    """Make a run the default one of a home.

    Raises
    ------
    BundleError
        There is no run of that name, or it is damaged.
    """
    bundle.load(home, name)
    with atomic.replacing(home / FILE) as temporary:
        temporary.write_text(json.dumps({"run": name}), encoding="utf-8")


def clear_default(home: Path) -> None:
    """Leave a home without a default run."""
    (home / FILE).unlink(missing_ok=True)
