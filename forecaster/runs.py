"""Runs: a trained model in its folder, and the forecasts it gives.

``runs/NAME/`` holds a bundle of two files, ``run.json`` and ``weights.safetensors``, and what the
training library wants to leave (``lstm-0.keras``), which is never read back. A bundle is data:
JSON and arrays, whose names and shapes are checked, and a model's registered name. Nothing in it
can be run, so a bundle from a stranger can be refused but not feared.
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors

from forecaster import __version__, conformal, disk, forecasts, prices
from forecaster.config import RecurrentConfig
from forecaster.errors import (
    BundleError,
    ForecastError,
    HistoryError,
    UsageError,
    did_you_mean,
)
from forecaster.features import Bars
from forecaster.models import (
    MIN_SESSIONS,
    NO_CHECKPOINT,
    REGISTRY,
    Checkpoint,
    Model,
    Progress,
    State,
    create,
    silent,
)
from forecaster.panel import GAP, History, Panel

log = logging.getLogger(__name__)

FORMAT = 1
MAX_BYTES = 256 * 2**20
"""A file of a bundle larger than this is not read: ours are well under a megabyte."""

LARGEST = 1e6
"""No number in a bundle is larger: weights are of the size of one, dates of ten thousand days."""

KINDS = (np.float32, np.float64, np.int32)
"""Of numbers that a bundle holds."""

TOGETHER = 64
"""Tickers whose histories are in memory at a time, as they are forecast."""

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


def train(
    frames: pd.DataFrame | Iterable[pd.DataFrame],
    *,
    model: str = "lstm",
    name: str | None = None,
    until: date | None = None,
    config: RecurrentConfig | None = None,
    progress: Progress = silent,
    home: Path | None = None,
    resume: bool = False,
) -> Run:
    """Fits a model on all tickers of a prices frame.

    Parameters
    ----------
    frames : the prices frame, or one for each ticker.
    model : a registered name.
    name : of the run; by default the model's and the last session's, ``lstm-2012-12-31``.
    until : the last date to learn from; by default the last there is.
    home : where to keep the state of the training after every epoch; by default it is not kept.
    resume : go on from the state that an interrupted training of the run left in ``home``.

    Raises
    ------
    BundleError
        There is nothing to resume, or it was the training of something else.
    HistoryError
        ``until`` is not within the prices, or there are too few sessions before it.
    UsageError
        There is no such model, or the name cannot be that of a folder.
    """
    fitted = create(model, config)
    span = prices.Reading(frames, until)
    panel = Panel.of(span)
    if until is not None and not span.begin <= until <= span.end:
        raise HistoryError(
            f"--until must lie within the stored prices, from {span.begin} to {span.end}; got {until}"
        )
    run = Run(
        name=checked_name(name or f"{model}-{span.last}"),
        model=fitted,
        tickers=span.tickers,
        first=span.first,
        until=span.last,
        prices_sha256=span.digest,
        created=datetime.now(UTC).isoformat(),
        versions=versions(),
    )
    checkpoint = NO_CHECKPOINT
    if home is not None:
        checkpoint = FileCheckpoint(
            _checkpoint_path(home, run.name), _identity(run, config), resume
        )
    fitted.fit(panel, np.datetime64(span.last), progress, checkpoint)
    return run


def predict(
    run: Run,
    frames: pd.DataFrame | Iterable[pd.DataFrame],
    *,
    tickers: Sequence[str],
    as_of: date | None = None,
    calibrate: bool = False,
) -> pd.DataFrame:
    """The next session's forecast of each ticker, made at its last session up to ``as_of``.

    Parameters
    ----------
    run : a trained model.
    frames : the prices frame of the tickers and of the run's universe, or one for each of them.
    as_of : the latest date a forecast may use; by default the last there is.
    calibrate : whether quantiles are moved by the misses since the training span; see
        :mod:`forecaster.conformal`.

    Returns
    -------
    The forecasts frame, a row for each ticker in the order given; the same numbers as the row of
    a backtest of the run with that cutoff.

    Raises
    ------
    HistoryError
        A ticker has too little history, or what is to be forecast was in the training span.
    """
    found, failed = predict_each(run, frames, tickers=tickers, as_of=as_of, calibrate=calibrate)
    for error in failed.values():
        raise error
    return found


def predict_each(
    run: Run,
    frames: pd.DataFrame | Iterable[pd.DataFrame],
    *,
    tickers: Sequence[str],
    as_of: date | None = None,
    calibrate: bool = False,
) -> tuple[pd.DataFrame, dict[str, HistoryError]]:
    """As :func:`predict`, but gives the forecasts there are, and by ticker why others are not."""
    histories = panel_of(run, frames, tickers).histories
    limit = np.datetime64(as_of) if as_of else max(history.dates[-1] for history in histories)
    failed: dict[str, HistoryError] = {}
    made = _calibrated if calibrate else _forecast
    parts = []
    for begin in range(0, len(histories), TOGETHER):
        cutoffs: dict[np.datetime64, list[History]] = {}
        for history in histories[begin : begin + TOGETHER]:
            problem = _unforeseeable(run, history, limit)
            if problem:
                failed[history.ticker] = HistoryError(problem)
            else:
                cutoff = history.dates[history.count_until(limit) - 1]
                cutoffs.setdefault(cutoff, []).append(history)
        parts += [made(run, Panel(tuple(those)), cutoff) for cutoff, those in cutoffs.items()]
    found = forecasts.concat(parts).set_index("ticker")
    for ticker in set(tickers) - set(found.index) - set(failed):
        failed[ticker] = HistoryError(
            f"run {run.name} has no {run.model.name} for {ticker}, or not for the sessions stored; "
            "train a run with it"
        )
    order = [ticker for ticker in tickers if ticker in found.index]
    return found.loc[order].reset_index(), failed


def _forecast(run: Run, panel: Panel, cutoff: np.datetime64) -> pd.DataFrame:
    return run.model.forecast(panel, cutoff, cutoff)


def _calibrated(run: Run, panel: Panel, cutoff: np.datetime64) -> pd.DataFrame:
    """As a backtest of the run from its training span on recalibrates that forecast."""
    until = np.datetime64(run.until)
    found = run.model.forecast(panel, until - GAP, cutoff)
    found = conformal.recalibrate(found[found["date"] > pd.Timestamp(run.until)])
    return found[found["cutoff"] == pd.Timestamp(cutoff)]


def _unforeseeable(run: Run, history: History, limit: np.datetime64) -> str | None:
    """Why a ticker's next session cannot be forecast, if so."""
    known = history.count_until(limit)
    if known < MIN_SESSIONS:
        return (
            f"{history.ticker} has {known} sessions up to {limit}, and a forecast needs "
            f"{MIN_SESSIONS}; its first is {history.dates[0]}"
        )
    if history.next_dates[known - 1] <= np.datetime64(run.until):
        return (
            f"run {run.name} was trained on sessions up to {run.until}, so it cannot forecast "
            f"{history.ticker} from {history.dates[known - 1]} without having seen what came; "
            "choose a later date, or train a run with an earlier --until"
        )
    return None


def panel_of(
    run: Run,
    frames: pd.DataFrame | Iterable[pd.DataFrame] | Mapping[str, Bars],
    tickers: Sequence[str],
) -> Panel:
    """The panel of some tickers in the market that the run was trained in; see ``Panel.of``."""
    panel = Panel.of(frames, tickers=tickers, universe=run.tickers)
    if not panel.universe:
        raise HistoryError(
            f"none of the tickers that run {run.name} was trained on is stored, and their average "
            f"is its market; fetch some of {', '.join(run.tickers[:5])}, or train another run"
        )
    return panel


def save(run: Run, home: Path) -> Path:
    """Writes the bundle to ``home/runs/NAME`` in one step, in place of one of that name."""
    state = run.model.state()
    folder = home / "runs" / run.name
    with disk.replacing_folder(folder) as temporary:
        document = run.summary | {"settings": state.settings}
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
        (temporary / "run.json").write_text(text, encoding="utf-8")
        arrays = {name: np.asarray(array, order="C") for name, array in state.arrays.items()}
        (temporary / "weights.safetensors").write_bytes(safetensors.save(arrays))
        run.model.export(temporary)
    _checkpoint_path(home, run.name).unlink(missing_ok=True)
    return folder


def judge(summary: dict[str, Any], home: Path, said: dict[str, str]) -> None:
    """Keeps what a backtest said of a run beside it; nothing if the run is no longer there.

    Parameters
    ----------
    summary : :attr:`Run.summary` of the run that was backtested.
    said : ``verdict``, and ``start`` and ``end`` of the dates it is on.
    """
    folder = home / "runs" / checked_name(summary["name"])
    if folder.is_dir():
        document = {"created": summary["created"], **said}
        with disk.replacing(folder / "verdict.json") as temporary:
            temporary.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def judged(run: Run, home: Path) -> dict[str, str] | None:
    """The verdict, start and end of the run's last backtest, None if it had none."""
    try:
        document = json.loads(_bytes(home / "runs" / run.name / "verdict.json"))
        said = {name: _printable(document[name]) for name in ("verdict", "start", "end")}
        return said if document["created"] == run.created else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def load(home: Path, name: str | None = None) -> Run:
    """The run of that name, or the one trained last.

    Raises
    ------
    BundleError
        There is no such run, or its bundle is damaged or not one of ours.
    """
    found = names(home)
    if name is None:
        latest = next(iter(readable(home)), None)
        if latest is None and not found:
            raise BundleError(f"there is no run in {home / 'runs'} yet; `forecast train` makes one")
        return latest or read(home / "runs" / found[0])  # which says what is wrong with it
    if checked_name(name) not in found:
        there = f"there are {', '.join(found)}" if found else "there are none yet"
        raise BundleError(
            f"there is no run {name!r}; {did_you_mean(name, found)}{there}. "
            f"`forecast train --run {name}` makes it"
        )
    return read(home / "runs" / name)


def names(home: Path) -> list[str]:
    """Names of the stored runs."""
    folder = home / "runs"
    if not folder.is_dir():
        return []
    for aside in folder.glob(".*.old"):
        disk.recover(folder / aside.name[1 : -len(".old")])
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and _is_name(p.name))


def read(folder: Path) -> Run:
    """The run in a folder.

    Raises
    ------
    BundleError
        A file is missing, damaged, too large, or not what a bundle of this version holds.
    """
    try:
        document = json.loads(_bytes(folder / "run.json"))
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r} instead of {FORMAT}")
        if document["model"] not in REGISTRY:
            raise ValueError(f"unknown model {document['model']!r}")
        model = create(document["model"])
        model.restore(State(_arrays(folder / "weights.safetensors"), document["settings"]))
        return Run(
            name=folder.name,
            model=model,
            tickers=[_printable(ticker) for ticker in document["tickers"]],
            first=date.fromisoformat(document["first"]),
            until=date.fromisoformat(document["until"]),
            prices_sha256=str(document["prices_sha256"]),
            created=datetime.fromisoformat(document["created"]).isoformat(),
            versions={str(k): str(v) for k, v in document["versions"].items()},
        )
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError),
        *(SafetensorError, ForecastError),
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BundleError(
            f"the run in {folder} is damaged or not a bundle of Forecaster "
            f"({type(error).__name__}: {reason[:160]}); train it again or remove the folder"
        ) from error


class FileCheckpoint(Checkpoint):
    """The state of a training in a file, with what it is the training of."""

    def __init__(self, path: Path, identity: dict[str, Any], resume: bool) -> None:
        self._path = path
        self._identity = identity
        self._state = self._read() if resume else None

    def load(self) -> State | None:
        """The state that an interrupted training left, if it is to be resumed."""
        return self._state

    def save(self, state: State) -> None:
        """Writes the state in one step."""
        document = {"identity": self._identity, "settings": state.settings}
        arrays = {name: np.asarray(array, order="C") for name, array in state.arrays.items()}
        with disk.replacing(self._path) as temporary:
            temporary.write_bytes(safetensors.save(arrays, {"json": json.dumps(document)}))

    def _read(self) -> State:
        name = self._path.name
        if not self._path.is_file():
            raise BundleError(
                f"there is no interrupted training to resume ({name} is not there); "
                "leave out --resume to start one"
            )
        try:
            arrays = safetensors.load(_bytes(self._path))
            with safe_open(self._path, "numpy") as file:
                document = json.loads(file.metadata()["json"])
            identity, settings = document["identity"], document["settings"]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise BundleError(
                f"the interrupted training in {name} is damaged ({type(error).__name__}); "
                "leave out --resume to start anew"
            ) from error
        differing = [key for key in self._identity if identity.get(key) != self._identity[key]]
        if differing:
            raise BundleError(
                f"the interrupted training in {name} differs in {', '.join(differing)}; ask for the "
                "same again, or leave out --resume to start anew"
            )
        return State(arrays, settings)


def _checkpoint_path(home: Path, name: str) -> Path:
    return home / "runs" / f".{name}.training"


def _identity(run: Run, config: RecurrentConfig | None) -> dict[str, Any]:
    """What must be the same for a training to go on."""
    return {
        "model": run.model.name,
        "settings": asdict(config or RecurrentConfig()),
        "prices": run.prices_sha256,
        "versions": run.versions,
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
    if _is_name(name):
        return name
    raise UsageError(
        "a run's name takes letters, digits, dots, dashes and underscores, 80 at most, starting "
        f"with a letter or digit; got {name!r}"
    )


def _is_name(name: str) -> bool:
    reserved = re.match(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", name, re.IGNORECASE)  # by Windows
    allowed = re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,78}[A-Za-z0-9_-])?", name)
    return bool(allowed) and not reserved


def readable(home: Path) -> list[Run]:
    """The runs whose bundles are in order, the latest first."""
    found = []
    for name in names(home):
        try:
            found.append(read(home / "runs" / name))
        except BundleError as error:
            log.warning("passed over: %s", error)
    return sorted(found, key=lambda run: run.created, reverse=True)


def _printable(ticker: str) -> str:
    if not ticker.isprintable():  # it may be a command to the terminal
        raise ValueError(f"ticker {ticker!r}")
    return ticker


def _bytes(path: Path) -> bytes:
    if not path.is_file():  # a device or a pipe may never end
        raise ValueError(f"{path.name} is not a file")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path.name} is larger than {MAX_BYTES} bytes")
    return content


def _arrays(path: Path) -> dict[str, np.ndarray]:
    arrays = safetensors.load(_bytes(path))
    for name, array in arrays.items():
        sound = array.dtype in KINDS and (np.abs(array) < LARGEST).all()
        if not sound:
            raise ValueError(f"{name} is not an array of numbers below {LARGEST:g}")
    return arrays
