"""Bundles: runs as folders of data.

``runs/NAME/`` holds a bundle of two files, ``run.json`` and ``weights.safetensors``, and what the
training library wants to leave (``lstm-0.keras``), which is never read back. A bundle is data:
JSON and arrays, whose names and shapes are checked, and a model's registered name. Nothing in it
can be run, so a bundle from a stranger can be refused but not feared.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from forecaster import atomic
from forecaster.data import filenames
from forecaster.errors import BundleError, ForecastError, did_you_mean, one_line
from forecaster.models import recurrent
from forecaster.models.registry import REGISTRY, create
from forecaster.runs.run import (
    BASE,
    FORMAT,
    Run,
    RunSummary,
    checked_name,
    checkpoint_path,
    is_name,
    start_of,
    summary_of,
)

if TYPE_CHECKING:
    from forecaster.models.protocol import ModelState

log = logging.getLogger(__name__)

MAX_BYTES = 256 * 2**20
"""A file of a bundle larger than this is not read: ours are well under a megabyte."""

LARGEST = 1e6
"""No number in a bundle is larger: weights are of the size of one, dates of ten thousand days."""

BASE_FOLDER = Path(recurrent.__path__[0]) / BASE
"""The bundle that comes with the package."""

BASE_VERDICT = "base-verdict.json"
"""File of a home that keeps what a backtest there says of the base run."""

DTYPES = (np.float32, np.float64, np.int32)
"""Types of the numbers in a bundle."""


def save(run: Run, home: Path) -> Path:
    """Write the bundle to ``home/runs/NAME`` in one step, in place of one of that name."""
    state = run.model.state()
    folder = home / "runs" / run.name
    with atomic.replacing_folder(folder) as temporary:
        document = run.summary | {"settings": state.settings}
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
        (temporary / "run.json").write_text(text, encoding="utf-8")
        (temporary / "weights.safetensors").write_bytes(_weights(state))
        run.model.export(temporary)
    checkpoint_path(home, run.name).unlink(missing_ok=True)
    return folder


def weights_sha256(run: Run) -> str:
    """Return the SHA-256 of the weights as a bundle has them."""
    return hashlib.sha256(_weights(run.model.state())).hexdigest()


def _weights(state: "ModelState") -> bytes:
    arrays = {name: np.asarray(array, order="C") for name, array in state.arrays.items()}
    content: bytes = safetensors.save(arrays)
    return content


@dataclass(frozen=True)
class RunVerdict:
    """What the last backtest of a run says of it."""

    verdict: str
    start: str
    end: str
    """First and last date forecast, YYYY-MM-DD."""
    summary: str = ""
    """Its headline and advice; empty for a verdict of an earlier version"""


def record_verdict(run: RunSummary, home: Path, verdict: RunVerdict) -> None:
    """Keep the verdict of a run's backtest, if the run is still there."""
    document = {"created": run["created"], **asdict(verdict)}
    text = json.dumps(document, ensure_ascii=False)
    if run["name"] == BASE:
        with atomic.replacing(home / BASE_VERDICT) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return
    folder = home / "runs" / checked_name(run["name"])
    if run["name"] in names(home):
        with atomic.held(folder), atomic.replacing(folder / "verdict.json") as temporary:
            temporary.write_text(text, encoding="utf-8")


def last_verdict(run: Run, home: Path) -> RunVerdict | None:
    """Return the verdict of the run's last backtest in a home, None if it had none."""
    try:
        document = json.loads(
            read_bytes(home / BASE_VERDICT)
            if run.is_base
            else atomic.read_folder(
                home / "runs" / run.name, lambda it: read_bytes(it / "verdict.json")
            )
        )
        words = (document[name] for name in ("verdict", "start", "end"))
        verdict = RunVerdict(*map(_printable, (*words, document.get("summary", ""))))
        return verdict if document["created"] == run.created else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def is_backtested(home: Path, name: str) -> bool:
    """Return whether there is a sound run of that name, and a verdict that belongs to it."""
    try:
        return last_verdict(read(home / "runs" / name), home) is not None
    except BundleError:
        return False


def load(home: Path, name: str | None = None) -> Run:
    """Return the run of that name, ``base`` for that of the package, or the own one trained last.

    Raises
    ------
    BundleError
        There is no such run, or its bundle is damaged or not one of ours.
    """
    if name == BASE:
        return read(BASE_FOLDER)
    stored = names(home)
    if name is None:
        latest = next(iter(readable(home)), None)
        if latest is None and not stored:
            raise BundleError(
                f"there is no run in {home / 'runs'} yet; `forecast train` makes one"
                f"{filenames.first_fetch(home)}"
            )
        return latest or read(home / "runs" / stored[0])  # which says what is wrong with it
    if checked_name(name) not in stored:
        there = f"there are {', '.join((*stored, BASE))}" if stored else f"there is only {BASE}"
        raise BundleError(
            f"there is no run {name!r}; {did_you_mean(name, (*stored, BASE))}{there}. "
            f"`forecast train` makes one"
        )
    return read(home / "runs" / name)


def names(home: Path) -> list[str]:
    """Return the names of a home's own runs; a folder called as that of the package is none."""
    folders = atomic.folders(home / "runs")
    return [it.name for it in folders if is_name(it.name) and it.name.casefold() != BASE]


def removable(home: Path) -> list[str]:
    """Return the names of the stored runs, and of those whose training was interrupted."""
    left = (home / "runs").glob(checkpoint_path(home, "*").name)
    trained = (it.name.removeprefix(".").removesuffix(".training") for it in left)
    return sorted({*names(home), *filter(is_name, trained)})


def remove(home: Path, name: str) -> None:
    """Remove a run, and what an interrupted training of it left.

    Raises
    ------
    StoreError
        It cannot be removed.
    """
    if name in names(home):
        atomic.remove_folder(home / "runs" / name)
    checkpoint_path(home, name).unlink(missing_ok=True)


def read(folder: Path) -> Run:
    """Return the run in a folder.

    Raises
    ------
    BundleError
        A file is missing, damaged, too large, or not what a bundle of this version holds.
    """
    from forecaster.models.protocol import ModelState  # whose pandas a list of runs does without

    with _explained(folder):
        document, arrays = atomic.read_folder(folder, _content)
        model = create(document["model"])
        model.restore(ModelState(arrays, document["settings"]))
        return Run(
            name=document["name"],
            model=model,
            tickers=document["tickers"],
            first=date.fromisoformat(document["first"]),
            until=date.fromisoformat(document["until"]),
            prices_sha256=document["prices_sha256"],
            events_sha256=document["events_sha256"],
            start=start_of(document),
            created=document["created"],
            versions=document["versions"],
        )


def summary(home: Path, name: str) -> tuple[RunSummary, list[float]]:
    """Return where an own run comes from and its :func:`losses`, as ``run.json`` has them.

    Whether its weights are those of such a model shows when it is loaded.

    Raises
    ------
    BundleError
        A file is missing, damaged or too large.
    """
    folder = home / "runs" / name
    with _explained(folder):
        document, _ = atomic.read_folder(folder, _content)
        return summary_of(document), losses(document["settings"])


def losses(settings: Mapping[str, Any]) -> list[float]:
    """Return the validation losses of a run's first network by epoch; none if it is no network."""
    epochs = settings.get("training", [])
    return [float(it["validation_loss"]) for it in epochs if it["seed"] == epochs[0]["seed"]]


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Names the folder and the way out where a bundle cannot be read."""
    try:
        yield
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError),
        *(SafetensorError, ForecastError),
    ) as error:
        raise BundleError(
            f"the run in {folder} is damaged or not a bundle of Forecaster "
            f"({type(error).__name__}: {one_line(error)}); train it again or remove the folder"
        ) from error


def readable(home: Path) -> list[Run]:
    """Return the runs whose bundles are in order, the latest first."""
    runs = []
    for name in names(home):
        try:
            runs.append(read(home / "runs" / name))
        except BundleError as error:
            log.warning("passed over: %s", error)
    return sorted(runs, key=lambda run: run.created, reverse=True)


def _sha256(value: object) -> str | None:
    return None if value is None else str(value)


def _printable(ticker: str) -> str:
    if not ticker.isprintable():  # it may be a command to the terminal
        raise ValueError(f"ticker {ticker!r}")
    return ticker


def read_bytes(path: Path) -> bytes:
    """Read a file of a bundle; ValueError if it is no file or is too large."""
    if not path.is_file():  # a device or a pipe may never end
        raise ValueError(f"{path.name} is not a file")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path.name} is larger than {MAX_BYTES} bytes")
    return content


def _content(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a bundle holds, each part of the type that it is to be."""
    settings, weights = (read_bytes(folder / it) for it in ("run.json", "weights.safetensors"))
    document = json.loads(settings)
    if document["format"] != FORMAT:
        raise ValueError(f"format {document['format']!r} instead of {FORMAT}")
    if document["model"] not in REGISTRY:
        raise ValueError(f"unknown model {document['model']!r}")
    typed = {
        "name": folder.name,
        "tickers": [_printable(ticker) for ticker in document["tickers"]],
        **{it: date.fromisoformat(document[it]).isoformat() for it in ("first", "until")},
        "prices_sha256": str(document["prices_sha256"]),
        "events_sha256": _sha256(document.get("events_sha256")),
        "created": datetime.fromisoformat(document["created"]).isoformat(),
        "versions": {str(k): str(v) for k, v in document["versions"].items()},
    }
    return document | typed, _arrays(weights)


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    arrays = safetensors.load(content)
    for name, array in arrays.items():
        sound = array.dtype in DTYPES and (np.abs(array) < LARGEST).all()
        if not sound:
            raise ValueError(f"{name} is not an array of numbers below {LARGEST:g}")
    return arrays
