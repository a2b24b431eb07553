"""Train a run, from the start or from where an interrupted training stopped."""

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors

from forecaster import atomic
from forecaster.config import RecurrentConfig, continued, contradictions, replaced
from forecaster.data import companions as indices
from forecaster.data import prices
from forecaster.data.events import digest, known_by
from forecaster.dataset.panel import Panel
from forecaster.errors import BundleError, HistoryError, UsageError, first_few
from forecaster.evaluation.experiment_log import Experiment
from forecaster.identity import Identity
from forecaster.models.protocol import NO_CHECKPOINT, Checkpoint, ModelState, Progress, silent
from forecaster.models.recurrent.model import Recurrent
from forecaster.models.registry import NETWORKS, create, require_fittable
from forecaster.parallel.jobs import LOCAL, Engine
from forecaster.runs import bundle
from forecaster.runs.run import Run, StartSummary, checked_name, checkpoint_path, versions

log = logging.getLogger(__name__)


def train(  # noqa: PLR0913, all but the prices have defaults
    frames: pd.DataFrame | Iterable[pd.DataFrame],
    *,
    events: pd.DataFrame | None = None,
    companions: pd.DataFrame | None = None,
    model: str = "lstm",
    name: str | None = None,
    until: date | None = None,
    config: RecurrentConfig | None = None,
    progress: Progress = silent,
    home: Path | None = None,
    resume: bool = False,
    start: Run | None = None,
    engine: Engine = LOCAL,
) -> Run:
    """Fit a model on all tickers of a prices frame.

    Parameters
    ----------
    frames : the prices frame, or one for each ticker.
    events : the events frame of any tickers.
    companions : the prices frame of the indices that they are seen beside.
    model : a registered name.
    name : of the run; by default the model's and the last session's, ``lstm-2012-12-31``, and a
        number if a run of that name in ``home`` was backtested.
    until : the last date to learn from; by default the last there is.
    home : where to keep the state of the training after every epoch; by default it is not kept.
    resume : go on from the state that an interrupted training of the run left in ``home``.
    start : the run of the same model whose weights the networks start from; by default they start
        afresh. Its features and their scaler stay, and by default its settings, but for those of
        :data:`forecaster.config.CONTINUED`.
    engine : what fits the tickers, where each is fitted alone.

    Raises
    ------
    BundleError
        There is nothing to resume, or it was the training of something else. Or the run of that name
        in ``home`` was backtested, and its verdict would be gone.
    EngineError
        The engine could not be reached or was lost.
    HistoryError
        ``until`` is not within the prices, or there are too few sessions before it.
    MissingPackageError
        TensorFlow, which trains networks, is not installed.
    UsageError
        There is no such model, the name cannot be that of a folder, ``start`` is of another model
        or other settings, or has seen what comes after ``until``, or there is an engine for a model
        that learns from all tickers at once.
    """
    if start is not None:
        config = settings_from(start, model, config)
        if start.name == name:
            raise UsageError(f"run {name} cannot start from itself; choose another `run`")
        if until is not None:
            _require_unseen(start, until)
    fitted = create(model, config)
    if engine != LOCAL and not fitted.tickerwise:
        raise UsageError(
            f"`engine` and `jobs` are for models that are fitted ticker by ticker; {model} learns from all "
            "tickers at once, in one process; leave them out, or choose another `model`"
        )
    fitted.engine = engine
    require_fittable([model])
    if name is not None and home is not None:
        _require_replaceable(checked_name(name), home)
    span = prices.Reading(frames, until)
    panel = Panel.of(span, events=events, companions=companions)
    if panel.left_out:
        log.warning(
            "%s: in no market of the features, as the prices move against those of the others",
            first_few(panel.left_out),
        )
    known = known_by(events, span.last)
    if until is not None and not span.begin <= until <= span.end:
        raise HistoryError(
            f"`until` must lie within the stored prices, from {span.begin} to {span.end}; got {until}"
        )
    first, last = span.first, span.last
    if start is not None:
        _require_unseen(start, until or last)
        first, last = min(first, start.first), max(last, start.until)
        if isinstance(fitted, Recurrent) and isinstance(start.model, Recurrent):
            fitted.start = start.model
    run = Run(
        name=checked_name(name or _unused(f"{model}-{last}", home, start)),
        model=fitted,
        tickers=span.tickers,
        first=first,
        until=last,
        prices_sha256=span.digest,
        events_sha256=digest(known),
        created=datetime.now(UTC).isoformat(),
        versions=versions(),
        start=_summary(start),
    )
    checkpoint = NO_CHECKPOINT
    if home is not None:
        path = checkpoint_path(home, run.name)
        checkpoint = FileCheckpoint(
            path, _identity(run, config, indices.digest(companions, span.last)), resume=resume
        )
    fitted.fit(panel, np.datetime64(span.last), progress, checkpoint)
    return run


def experiment(trained: Run) -> Experiment:
    """Return the experiment that a training was, to be recorded."""
    settings: dict[str, Any] = {"config": trained.settings}
    settings["prices_sha256"] = trained.prices_sha256
    if trained.start:
        settings["start"] = trained.start
    if trained.events_sha256:
        settings["events_sha256"] = trained.events_sha256
    dates = str(trained.first), str(trained.until)
    return Experiment("train", trained.model.name, list(trained.tickers), *dates, settings)


def settings_from(start: Run, model: str, config: RecurrentConfig | None = None) -> RecurrentConfig:
    """Return the settings of a training that starts from a run, by default those for it.

    Raises
    ------
    UsageError
        The run is not of this model, or its weights do not allow the settings.
    """
    if model not in NETWORKS or start.model.name != model:
        raise UsageError(
            f"a training starts from a run of the same network, {', '.join(NETWORKS)}; run {start.name} "
            f"is of {start.model.name}, and the `model` is {model}"
        )
    settings = replaced(RecurrentConfig(), start.settings or {})
    if config is None:
        return continued(settings)
    if differing := contradictions(config, settings):
        raise UsageError(
            f"the weights of run {start.name} do not allow {', '.join(differing)}; "
            "leave these settings out, or train afresh"
        )
    return config


def _require_unseen(start: Run, until: date) -> None:
    """Raise UsageError if the weights to start from were learnt from what comes after a date."""
    if until < start.until:
        raise UsageError(
            f"run {start.name} knows sessions up to {start.until}, so what starts from it cannot be of "
            f"{until}; choose a later `until`, or train afresh"
        )


def _summary(start: Run | None) -> StartSummary | None:
    if start is None:
        return None
    return {"name": start.name, "weights_sha256": bundle.weights_sha256(start)}


def _require_replaceable(name: str, home: Path) -> None:
    """Raise BundleError if a run has a verdict, which would be gone with it."""
    if bundle.is_backtested(home, name):
        raise BundleError(
            f"run {name} was backtested, and another of its name would take its place and leave it "
            f"without its verdict; choose another `run`, or remove {home / 'runs' / name}"
        )


def _unused(name: str, home: Path | None, start: Run | None) -> str:
    """Return a name, with a number if the run that has it was backtested, or is to start from."""
    used = start.name if start else None
    if name != used and (home is None or not bundle.is_backtested(home, name)):
        return name
    numbered = (f"{name}-{i}" for i in count(2))
    new = next(
        it for it in numbered if it != used and not (home and bundle.is_backtested(home, it))
    )
    if name != used:
        log.warning("run %s was backtested, and stays as it is: this one is %s", name, new)
    return new


class FileCheckpoint(Checkpoint):
    """The state of a training in a file, with the identity of the training."""

    def __init__(self, path: Path, identity: Identity, *, resume: bool) -> None:
        self._path = path
        self._identity = identity
        self._state = self._read() if resume else None

    def load(self) -> ModelState | None:
        """Return the state that an interrupted training left, if it is to be resumed."""
        return self._state

    def save(self, state: ModelState) -> None:
        """Write the state in one step."""
        document = {"identity": self._identity.values, "settings": state.settings}
        arrays = {name: np.asarray(array, order="C") for name, array in state.arrays.items()}
        with atomic.replacing(self._path) as temporary:
            temporary.write_bytes(safetensors.save(arrays, {"json": json.dumps(document)}))

    def _read(self) -> ModelState:
        name = self._path.name
        if not self._path.is_file():
            raise BundleError(
                f"there is no interrupted training to resume ({name} is not there); "
                "leave out `resume` to start one"
            )
        try:
            arrays = safetensors.load(bundle.read_bytes(self._path))
            with safe_open(self._path, "numpy") as file:
                document = json.loads(file.metadata()["json"])
            differing = self._identity.changes(document["identity"])
            settings = document["settings"]
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            SafetensorError,
        ) as error:
            raise BundleError(
                f"the interrupted training in {name} is damaged ({type(error).__name__}); "
                "leave out `resume` to start anew"
            ) from error
        if differing:
            raise BundleError(
                f"the interrupted training in {name} differs in {', '.join(differing)}; ask for the "
                "same again, or leave out `resume` to start anew"
            )
        return ModelState(arrays, settings)


def _identity(run: Run, config: RecurrentConfig | None, companions: str | None) -> Identity:
    """Return what must be the same for a training to go on."""
    return Identity.of(
        model=run.model.name,
        settings=asdict(config or RecurrentConfig()),
        prices=run.prices_sha256,
        events=run.events_sha256,
        versions=run.versions,
        companions=companions,
        start=run.start,
    )
