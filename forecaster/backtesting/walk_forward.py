"""The walk of models through history: forecasts made part by part, by whoever works.

A part is a model, a fold and some tickers. A model that learns from all tickers at once is fitted
once a fold, so its part has them all; one that is fitted ticker by ticker has a part for every
``CHUNK`` of them. A part is written to disk as it is finished, so that little is in memory at once
and a walk that was interrupted goes on from what is there. Neither the parts nor their forecasts
depend on who works, on how many, or on who is done first.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecaster import atomic
from forecaster.config import RecurrentConfig
from forecaster.data import prices
from forecaster.dataset.bars import Bars, every
from forecaster.dataset.panel import Panel, bars_of
from forecaster.distributions import forecasts
from forecaster.errors import HistoryError, ResumeError, UsageError
from forecaster.leftovers import temporary_folder
from forecaster.model_selection.splits import Fold, walk_forward
from forecaster.models.protocol import Model, Progress, silent
from forecaster.models.registry import create
from forecaster.parallel import jobs, malloc
from forecaster.runs.forecasting import panel_of
from forecaster.runs.run import Run, versions

CHUNK = 50
"""Tickers in a part of a model that is fitted ticker by ticker: seconds of work."""

DEFAULT_YEARS = 3
"""Without a start and without a run, so many last years are forecast, or half of a short history."""

_IDENTITY, _FALLBACKS = "walk.json", "fallbacks"


@dataclass(frozen=True)
class Walk:
    """What models forecast on their way through history."""

    forecasts: pd.DataFrame
    tickers: list[str]
    folds: list[Fold]
    fallbacks: pd.DataFrame
    """model, until, ticker of each fit that did not converge"""
    variance: pd.DataFrame
    """:func:`forecaster.dataset.features.realised_variance` of the sessions forecast"""
    prices: dict[str, str]
    """First and last session and digest of the prices, as the config of a backtest tells them"""


@dataclass(frozen=True)
class Part:
    """What one worker does in one go."""

    model: str
    fold: Fold
    tickers: slice
    """Of the panel's."""
    of_run: bool
    """Whether the trained run is asked as it is."""
    tickerwise: bool
    """Whether what it costs grows with its tickers alone: a second or so for a chunk."""

    @property
    def title(self) -> str:
        """What is going on, for the progress."""
        return f"{self.model}: {self.fold.first} to {self.fold.last}"


@dataclass(frozen=True)
class World:
    """What every worker gets once."""

    panel: Panel
    """What models are fitted on and asked about."""
    run: Model | None
    """The model of the trained run."""
    run_panel: Panel
    """The same tickers in the market that the run was trained in."""
    config: RecurrentConfig | None


def forward(
    frames: pd.DataFrame | Iterable[pd.DataFrame],
    models: Sequence[str],
    *,
    tickers: Sequence[str] | None = None,
    start: date | None = None,
    end: date | None = None,
    refit: str | int = "yearly",
    trained: Run | None = None,
    config: RecurrentConfig | None = None,
    engine: jobs.Engine = jobs.LOCAL,
    folder: Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> Walk:
    """The forecasts of a backtest, not yet judged; takes and raises what ``backtest.run`` does.

    Parameters
    ----------
    engine : who works.
    folder : where parts are kept until the caller removes it; by default for as long as this takes.
    resume : go on from the parts in the folder, and not anew.

    Raises
    ------
    EngineError
        The engine was lost; what was finished is in the folder.
    ResumeError
        There is nothing to resume, or the prices, or what else forecasts depend on, have changed.
    """
    check_models(models)
    if trained and trained.model.name not in models:
        raise UsageError(
            f"run {trained.name} is of the model {trained.model.name}, which is not among "
            f"the `models` {', '.join(models)}"
        )
    reading = prices.Reading(frames)
    bars = bars_of(reading)
    tickers = sorted(tickers or bars)
    sessions = every(bars[ticker].dates for ticker in tickers)
    first, last = _span(sessions, start, end, trained)
    folds = list(walk_forward(sessions, start=first, end=last, refit=refit))
    parts = _parts(models, folds, len(tickers), trained)
    with ExitStack() as stack:
        if folder is None:
            folder = stack.enter_context(temporary_folder())
        identity = {
            "models": list(models), "tickers": tickers, "start": str(first), "end": str(last),
            "refit": refit, "settings": asdict(config or RecurrentConfig()),
            "run": trained.summary if trained else None,
            "prices": reading.digest, "versions": versions(),
        }  # fmt: skip
        paths = _places(folder, parts, identity, resume=resume)
        variance = _variance({ticker: bars[ticker] for ticker in tickers}, first, last)
        world = _world(bars, parts, tickers, trained, config)
        _do(parts, paths, world, engine, progress)
        del bars, world  # forecasts take their place in memory
        malloc.return_freed()
        found, fallbacks = _gathered(parts, paths)
        malloc.return_freed()
    # Where calendars differ, a ticker's next session may lie beyond the end.
    inside = found["date"].between(pd.Timestamp(first), pd.Timestamp(last))
    found = found if inside.all() else found[inside]
    _require_all(found, models)
    return Walk(found, tickers, folds, fallbacks, variance, reading.said)


def check_models(models: Sequence[str]) -> None:
    """UsageError if there is no such model, or one is named twice."""
    if not models or len(set(models)) < len(models):
        raise UsageError(f"name each model once, got {','.join(models) or 'none'}")
    for name in models:
        create(name)


def _parts(
    models: Sequence[str], folds: list[Fold], tickers: int, trained: Run | None
) -> list[Part]:
    """The parts of a walk, in the order of its forecasts."""
    chunks = [slice(begin, begin + CHUNK) for begin in range(0, tickers, CHUNK)]
    parts = []
    for name in models:
        if trained and trained.model.name == name:
            whole = Fold(np.datetime64(trained.until), folds[0].first, folds[-1].last)
            parts += [Part(name, whole, chunk, True, True) for chunk in chunks]
            continue
        tickerwise = create(name).tickerwise
        own = chunks if tickerwise else [slice(0, tickers)]
        parts += [Part(name, fold, chunk, False, tickerwise) for fold in folds for chunk in own]
    return parts


def _variance(bars: dict[str, Bars], first: np.datetime64, last: np.datetime64) -> pd.DataFrame:
    """What the ranges of the sessions from ``first`` to ``last`` say: ticker, date, variance."""
    spans = {
        ticker: slice(*np.searchsorted(it.dates, [first, last + 1])) for ticker, it in bars.items()
    }
    counts = [len(bars[ticker].dates[span]) for ticker, span in spans.items()]
    return pd.DataFrame(
        {
            "ticker": np.repeat(np.array(list(bars), dtype=object), counts),
            "date": np.concatenate([bars[it].dates[span] for it, span in spans.items()]),
            "variance": np.concatenate([bars[it].variance[span] for it, span in spans.items()]),
        }
    ).astype({"ticker": "str", "date": "datetime64[us]"})


def _world(
    bars: dict[str, Bars],
    parts: list[Part],
    tickers: list[str],
    trained: Run | None,
    config: RecurrentConfig | None,
) -> World:
    nothing = Panel(())
    fitted = not all(part.of_run for part in parts)
    return World(
        panel=Panel.of(bars, tickers=tickers, universe=tickers) if fitted else nothing,
        run=trained.model if trained else None,
        run_panel=panel_of(trained, bars, tickers) if trained else nothing,
        config=config,
    )


def _places(
    folder: Path, parts: list[Part], identity: dict[str, Any], *, resume: bool
) -> list[Path]:
    """Where the parts of a walk are kept: in names of its own, so that none of another is taken for one."""
    text = json.dumps(identity, indent=2, default=str)
    if resume:
        _require_same(folder, json.loads(text))
    else:
        shutil.rmtree(folder, ignore_errors=True)
        with atomic.replacing(folder / _IDENTITY) as temporary:
            temporary.write_text(text, encoding="utf-8")
    mark = sha256(text.encode()).hexdigest()[:8]
    return [folder / f"{number:05d}-{mark}.parquet" for number in range(len(parts))]


def _require_same(folder: Path, identity: dict[str, Any]) -> None:
    """ResumeError if another walk was begun in a folder, or none."""
    try:
        begun = json.loads((folder / _IDENTITY).read_text(encoding="utf-8"))
        changed = [name for name in identity if begun[name] != identity[name]]
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise ResumeError(
            f"there is no unfinished backtest in {folder.parent} to resume"
        ) from error
    if changed:
        what = ["the stored prices" if name == "prices" else f"the {name}" for name in changed]
        raise ResumeError(
            f"{' and '.join(what)} changed since the backtest in {folder.parent} began, so its parts "
            "do not go with new ones; begin it anew, without `resume`"
        )


def _do(
    parts: list[Part],
    paths: list[Path],
    world: World,
    engine: jobs.Engine,
    progress: Progress,
) -> None:
    """Makes the parts that are missing, and writes each as it is finished."""
    missing = [at for at, path in enumerate(paths) if not path.exists()]
    missing.sort(key=lambda at: parts[at].tickerwise)  # what takes minutes comes first
    work = [parts[at] for at in missing]
    done, total = len(parts) - len(missing), len(parts)
    alike = Counter((part.model, part.fold) for part in parts)
    if work:
        progress(done, total, work[0].title)
    with closing(jobs.completed(_made, work, engine=engine, shared=world)) as results:
        for position, found in results:
            part = work[position]
            if isinstance(found, HistoryError):
                alike[part.model, part.fold] -= 1
                if not alike[part.model, part.fold]:  # no ticker at all could be fitted
                    raise found
            else:
                with atomic.replacing(paths[missing[position]]) as temporary:
                    found.to_parquet(temporary, index=False)
            done += 1
            progress(done, total, part.title)


def _made(part: Part, world: World) -> pd.DataFrame | HistoryError:
    """The forecasts of a part, with its fits that did not converge; or why there was no fit."""
    panel = world.run_panel if part.of_run else world.panel
    own = Panel(panel.histories[part.tickers])
    model = world.run if part.of_run else create(part.model, world.config)
    assert model is not None
    if not part.of_run:
        try:
            model.fit(own, part.fold.until)
        except HistoryError as error:
            return error
    found = model.forecast(own, part.fold.first, part.fold.last)
    mine = set(own.tickers)
    found.attrs = {_FALLBACKS: [ticker for ticker in model.fallbacks if ticker in mine]}
    return found


def _gathered(parts: list[Part], paths: list[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The forecasts of all parts, in their order, and what did not converge."""
    frames, fallbacks = [], []
    for part, path in zip(parts, paths, strict=True):
        if path.exists():
            frame = pd.read_parquet(path)
            until = str(part.fold.until)
            fallbacks += [(part.model, until, ticker) for ticker in frame.attrs.pop(_FALLBACKS)]
            frames.append(frame)
    table = pd.DataFrame(fallbacks, columns=["model", "until", "ticker"])
    return forecasts.concat(frames), table


def _span(
    sessions: np.ndarray, start: date | None, end: date | None, trained: Run | None
) -> tuple[np.datetime64, np.datetime64]:
    last = np.datetime64(end) if end else sessions[-1]
    if trained is None:
        years = np.timedelta64(365 * DEFAULT_YEARS, "D")
        recent = max(last - years, sessions[len(sessions) // 2])
        return np.datetime64(start) if start else recent, last
    seen = np.datetime64(trained.until)
    first = np.datetime64(start) if start else seen + 1
    if last <= seen:
        raise HistoryError(
            f"run {trained.name} was trained on sessions up to {seen}, so nothing is left to "
            f"backtest up to {last}; give a later `end`, or train a run with an earlier `until`"
        )
    if first <= seen:
        raise HistoryError(
            f"run {trained.name} was trained on sessions up to {seen}, so a backtest from {first} "
            f"would show it what it has already seen; start after {seen}, or train a run with "
            "`until` before the start"
        )
    return first, last


def _require_all(found: pd.DataFrame, models: Sequence[str]) -> None:
    for name in models:
        if name not in set(found["model"]):
            raise HistoryError(
                f"{name} gave no forecast: no ticker it knows has enough history; "
                "fetch earlier prices or start later"
            )
