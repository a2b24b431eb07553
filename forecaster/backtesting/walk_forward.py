"""Walk-forward forecasts: every model through history, part by part, by whoever works.

From every cutoff of a fold each step asked for is forecast.

A part is a model, a fold and some tickers. A model that learns from all tickers at once is fitted
once a fold, so its part has them all; one that is fitted ticker by ticker has a part for every
``CHUNK`` of them. A part is written to disk as it is finished, so that little is in memory at once
and a backtest that was interrupted goes on from what is there. Neither the parts nor their forecasts
depend on who works, on how many, or on who is done first.

All that is finished is then put together in one file of :mod:`forecaster.distributions.parts`, so that
no more than the forecasts of some tickers are in memory at any time.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from forecaster import atomic
from forecaster.backtesting.provenance import PriceSpan
from forecaster.backtesting.spec import BacktestSpec
from forecaster.config import RecurrentConfig
from forecaster.data import companions as indices
from forecaster.data import prices
from forecaster.data.calendars import LONGEST_CLOSURE
from forecaster.data.events import digest
from forecaster.dataset import bars_file
from forecaster.dataset.bars import Bars, every
from forecaster.dataset.panel import Panel, bars_of
from forecaster.dataset.reactions import reactions_of
from forecaster.distributions import forecasts, parts, quantile_grid, recalibration
from forecaster.distributions.parts import Parts
from forecaster.errors import HistoryError, ResumeError, StoreError, UsageError
from forecaster.identity import Identity
from forecaster.leftovers import TemporaryFolder
from forecaster.model_selection.splits import Fold, walk_forward_folds
from forecaster.models import average
from forecaster.models.garch import SESSIONS_TO_FIT
from forecaster.models.protocol import Model, Progress, silent
from forecaster.models.registry import create, require_fittable
from forecaster.parallel import jobs, malloc
from forecaster.runs.forecasting import panel_of
from forecaster.runs.run import Run, versions

CHUNK = 50
"""Tickers in a part of a model that is fitted ticker by ticker: seconds of work."""

DEFAULT_YEARS = 3
"""Last years that are forecast without a start and without a run, or half of a short history."""

_IDENTITY, _FALLBACKS, _SEEDS = "walk.json", "fallbacks", "crps"
_BARS, _FORECASTS, _VARIANCE = "bars", "forecasts.parquet", "variance.parquet"


@dataclass(frozen=True)
class WalkForwardForecasts:
    """What models forecast, fold by fold through history, not yet evaluated."""

    parts: Parts
    """The forecasts; those of each part are of the same tickers as that part of the ``variance``."""
    spec: BacktestSpec
    """The request, with the tickers and dates that it left open."""
    folds: list[Fold]
    fallbacks: pd.DataFrame
    """model, until, ticker of each fit that did not converge"""
    seeds: pd.DataFrame
    """model, seed, crps (mean, in percent) and ratio (to the average) of each network alone, where
    several are averaged"""
    variance: Parts
    """:func:`forecaster.dataset.features.realised_variance` of the sessions forecast"""
    prices: PriceSpan
    reactions: pd.DataFrame
    """:func:`forecaster.dataset.reactions.reactions_of` the tickers, between the dates forecast"""

    @property
    def forecasts(self) -> pd.DataFrame:
        """The forecasts frame of all parts."""
        return self.parts.whole()


@dataclass(frozen=True)
class Part:
    """What one worker does in one go."""

    model: str
    fold: Fold
    tickers: slice
    """Of the panel's."""
    of_run: bool
    """Whether the trained run forecasts as it is."""
    tickerwise: bool
    """Whether what it costs grows with its tickers alone: a second or so for a chunk."""

    @property
    def title(self) -> str:
        """The model and the dates, for the progress."""
        return f"{self.model}: {self.fold.first} to {self.fold.last}"


@dataclass(frozen=True)
class WorkerInputs:
    """What every worker gets once."""

    panel: Panel
    """What models are fitted on and asked about."""
    run: Model | None
    """The model of the trained run."""
    run_panel: Panel
    """The same tickers in the market that the run was trained in."""
    config: RecurrentConfig
    steps: tuple[int, ...]
    """Sessions ahead that are forecast."""


def forecast_history(
    frames: pd.DataFrame | Iterable[pd.DataFrame],
    spec: BacktestSpec,
    *,
    events: pd.DataFrame | None = None,
    companions: pd.DataFrame | None = None,
    trained: Run | None = None,
    engine: jobs.Engine = jobs.LOCAL,
    folder: Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> WalkForwardForecasts:
    """Forecast every session of a backtest, each from the one before it, or from several before.

    Parameters
    ----------
    frames : the prices frame of the tickers and of the universe of ``trained``, or one for each.
    spec : what is asked for.
    events : the events frame of any tickers.
    companions : the prices frame of the indices that they are seen beside.
    trained : stands for its model, which must be among those of ``spec``.
    engine : who works.
    folder : where parts are kept until the caller removes it; by default for as long as this takes.
    resume : go on from the parts in the folder, and not anew.

    Raises
    ------
    EngineError
        The engine could not be reached or was lost; what was finished is in the folder.
    HistoryError
        The dates lie within the training span of ``trained``, or there is too little history.
    MissingPackageError
        A network is to be trained, and TensorFlow is not installed.
    ResumeError
        There is nothing to resume, or the prices, or what else forecasts depend on, have changed.
    UsageError
        There is no such model, one is named twice, or ``trained`` does not forecast so far.
    """
    spec.check()
    if trained and trained.model.name not in spec.models:
        raise UsageError(
            f"run {trained.name} is of the model {trained.model.name}, which is not among "
            f"the `models` {', '.join(spec.models)}"
        )
    _require_horizon(trained, spec)
    reading = prices.Reading(frames)
    work, scratch = _work_folder(folder), _work_folder(folder)  # the latter goes when this is done
    bars = _bars(reading, scratch, engine)
    tickers = sorted(spec.tickers or bars)
    sessions = every(bars[ticker].dates for ticker in tickers)
    first, last = _span(sessions, spec, trained)
    start, end = (pd.Timestamp(day).date() for day in (first, last))
    config = replace(spec.config, horizon=max(spec.steps))
    spec = replace(spec, tickers=tuple(tickers), start=start, end=end, config=config)
    folds = list(walk_forward_folds(sessions, start=first, end=last, refit=spec.refit))
    folds[0] = _early_enough(folds[0], [bars[ticker].dates for ticker in tickers], last)
    averages = _averages(spec.models, trained)
    span = PriceSpan(str(reading.first), str(reading.last), reading.digest, digest(events))
    planned = _planned(
        [it for it in spec.models if it not in averages], folds, len(tickers), trained
    )
    folder = folder or scratch.path / "parts"
    identity = _identity(spec, trained, span, indices.digest(companions))
    paths = _part_paths(folder, planned, identity, resume=resume)
    inputs = _worker_inputs(bars, events, companions, planned, spec, trained)
    panel = inputs.panel if inputs.panel.histories else inputs.run_panel
    reactions = reactions_of(panel.histories if span.events_sha256 else (), first, last)
    unfitted = _make_missing(planned, paths, inputs, engine, progress)
    del inputs, panel  # forecasts take their place in memory
    malloc.return_freed()
    made = {paths[at]: part for at, part in enumerate(planned) if at not in unfitted}
    fallbacks, seeds = _beside_forecasts(made)
    whole, days = (work.path / name for name in (_FORECASTS, _VARIANCE))
    scored = {ticker: bars[ticker] for ticker in tickers}
    spans = _groups(scored, first, last, len(spec.models) * len(spec.steps))
    parts.write(_together(made, spec, averages, tickers, spans), whole)
    parts.write((_variance(scored, tickers[it.start : it.stop], first, last) for it in spans), days)
    made_parts = Parts.of_file(whole, owner=work)
    _require_all(made_parts, spec.models)
    return WalkForwardForecasts(
        made_parts, spec, folds, fallbacks, seeds, Parts.of_file(days, owner=work), span, reactions
    )


def _work_folder(folder: Path | None) -> TemporaryFolder:
    """Return a folder for what is too large for memory, beside the parts."""
    if folder is not None:
        folder.parent.mkdir(parents=True, exist_ok=True)
    return TemporaryFolder(folder and folder.parent)


def _bars(reading: prices.Reading, work: TemporaryFolder, engine: jobs.Engine) -> dict[str, Bars]:
    """Return the bars of each ticker: on disk, but in memory for workers that cannot read it."""
    if engine.name == "local":
        return bars_file.stored(reading, work.path / _BARS)
    return bars_of(reading)


def _groups(
    bars: Mapping[str, Bars], first: np.datetime64, last: np.datetime64, forecasts_a_session: int
) -> list[range]:
    """Return the places of the tickers whose forecasts are a part of the whole."""
    sessions = [np.diff(np.searchsorted(it.dates, [first, last + 1]))[0] for it in bars.values()]
    return parts.groups(forecasts_a_session * np.array(sessions))


def _together(
    made: Mapping[Path, Part],
    spec: BacktestSpec,
    averages: Sequence[str],
    tickers: Sequence[str],
    spans: Sequence[range],
) -> Iterator[pd.DataFrame]:
    """Yield the forecasts of some tickers after the other by all models, in the order of these."""
    first, last = (pd.Timestamp(str(day)) for day in (spec.start, spec.end))
    for span in spans:
        frames = [
            pd.read_parquet(path, filters=_within(tickers[span.start], tickers[span.stop - 1]))
            for path, part in made.items()
            if set(span) & set(range(len(tickers))[part.tickers])
        ]
        frame = _with_averages(forecasts.concat(frames), spec.models, averages)
        frame.attrs = {}
        # Where calendars differ, a ticker's next session may lie beyond the end.
        inside = frame["date"].between(first, last)
        frame = frame if inside.all() else frame[inside]
        yield recalibration.recalibrate(frame) if spec.calibrate else frame


def _within(first: str, last: str) -> list[tuple[str, str, str]]:
    """The rows of tickers from the one to the other, as a filter of Parquet."""
    return [("ticker", ">=", first), ("ticker", "<=", last)]


def _early_enough(fold: Fold, calendars: Sequence[np.ndarray], last: np.datetime64) -> Fold:
    """Return the first fold, begun at the earliest cutoff of a first forecast.

    A ticker whose exchange was closed while another's traded is forecast from an earlier session, and
    by a fit that knows no later one.

    Parameters
    ----------
    calendars : the sessions of each ticker, (sessions,).
    last : the last date that is forecast.
    """
    first = fold.first
    for dates in calendars:
        after = int(np.searchsorted(dates, fold.first, side="right"))
        trades = 0 < after < len(dates) and dates[after] <= last
        if trades and dates[after] - dates[after - 1] <= LONGEST_CLOSURE:
            first = min(first, dates[after - 1])
    return Fold(min(fold.until, first), first, fold.last)


def _require_horizon(trained: Run | None, spec: BacktestSpec) -> None:
    """Raise a UsageError if a run does not forecast as far as is asked."""
    if trained and trained.model.horizon < max(spec.steps):
        raise UsageError(
            f"expected a run that forecasts {max(spec.steps)} sessions ahead, came {trained.name}, which "
            f"was fitted for {trained.model.horizon}; train a run with a longer `horizon`, or give smaller "
            "`steps`"
        )


def _identity(
    spec: BacktestSpec, trained: Run | None, prices: PriceSpan, companions: str | None
) -> Identity:
    """Return what the forecasts of a resolved request depend on."""
    document = spec.document()
    names = ("models", "tickers", "start", "end", "refit", "steps")
    return Identity.of(
        **{name: document[name] for name in names},
        settings=document["settings"],
        run=trained.summary if trained else None,
        prices=prices.sha256,
        events=prices.events_sha256,
        versions=versions(),
        companions=companions,
    )


def _averages(models: Sequence[str], trained: Run | None) -> tuple[str, ...]:
    """Return the models that are averages of what others of the backtest forecast anyway."""
    own = set(models) - ({trained.model.name} if trained else set())
    return (average.NAME,) if own.issuperset((average.NAME, *average.MEMBERS)) else ()


def _with_averages(
    forecast: pd.DataFrame, models: Sequence[str], averages: Sequence[str]
) -> pd.DataFrame:
    """Return the forecasts with those of the averages in their place."""
    if not averages:
        return forecast
    frames = {str(name): rows for name, rows in forecast.groupby("model", sort=False)}
    if all(name in frames for name in average.MEMBERS):
        frames[average.NAME] = average.average([frames[name] for name in average.MEMBERS])
    return forecasts.concat(frames[name] for name in models if name in frames)


def _planned(
    models: Sequence[str], folds: list[Fold], tickers: int, trained: Run | None
) -> list[Part]:
    """Return the parts of a backtest, in the order of its forecasts."""
    chunks = [slice(begin, begin + CHUNK) for begin in range(0, tickers, CHUNK)]
    parts = []
    for name in models:
        if trained and trained.model.name == name:
            until = np.datetime64(trained.until)
            whole = Fold(until, max(until, folds[0].first), folds[-1].last)
            parts += [Part(name, whole, chunk, True, True) for chunk in chunks]
            continue
        tickerwise = create(name).tickerwise
        own = chunks if tickerwise else [slice(0, tickers)]
        parts += [Part(name, fold, chunk, False, tickerwise) for fold in folds for chunk in own]
    return parts


def _variance(
    bars: Mapping[str, Bars], tickers: Sequence[str], first: np.datetime64, last: np.datetime64
) -> pd.DataFrame:
    """Return ticker, date, variance of the ranges of the sessions from ``first`` to ``last``."""
    frames = []
    for ticker in tickers:
        its = bars[ticker]
        span = slice(*np.searchsorted(its.dates, [first, last + 1]))
        columns = {"ticker": ticker, "date": its.dates[span], "variance": its.variance[span]}
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True).astype({"ticker": "str", "date": "datetime64[us]"})


def _worker_inputs(
    bars: dict[str, Bars],
    events: pd.DataFrame | None,
    companions: pd.DataFrame | None,
    parts: list[Part],
    spec: BacktestSpec,
    trained: Run | None,
) -> WorkerInputs:
    nothing = Panel(())
    fitted = not all(part.of_run for part in parts)
    return WorkerInputs(
        panel=Panel.of(
            bars,
            tickers=spec.tickers,
            universe=spec.tickers,
            events=events,
            companions=companions,
        )
        if fitted
        else nothing,
        run=trained.model if trained else None,
        run_panel=panel_of(trained, bars, spec.tickers, events, companions) if trained else nothing,
        config=spec.config,
        steps=spec.steps,
    )


def _part_paths(folder: Path, parts: list[Part], identity: Identity, *, resume: bool) -> list[Path]:
    """Return the files of the parts, whose names no part of another backtest has."""
    if resume:
        _require_same(folder, identity)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        with atomic.replacing(folder / _IDENTITY) as temporary:
            temporary.write_text(identity.text, encoding="utf-8")
    mark = sha256(identity.text.encode()).hexdigest()[:8]
    return [folder / f"{number:05d}-{mark}.parquet" for number in range(len(parts))]


def _require_same(folder: Path, identity: Identity) -> None:
    """Raise a ResumeError if another backtest was begun in a folder, or none."""
    try:
        changed = identity.changes(json.loads((folder / _IDENTITY).read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError) as error:
        raise ResumeError(
            f"there is no unfinished backtest in {folder.parent} to resume"
        ) from error
    if changed:
        what = ["the stored prices" if name == "prices" else f"the {name}" for name in changed]
        raise ResumeError(
            f"{' and '.join(what)} changed since the backtest in {folder.parent} began, so its parts "
            "do not go with new ones; begin it anew, without `resume`"
        )


def _make_missing(
    parts: list[Part],
    paths: list[Path],
    inputs: WorkerInputs,
    engine: jobs.Engine,
    progress: Progress,
) -> set[int]:
    """Make the parts that are missing, write each once it is finished, and return which had no fit."""
    missing = [at for at, path in enumerate(paths) if not path.exists()]
    missing.sort(key=lambda at: parts[at].tickerwise)  # what takes minutes comes first
    work = [parts[at] for at in missing]
    done, total = len(parts) - len(missing), len(parts)
    alike = Counter((part.model, part.fold) for part in parts)
    unfitted: set[int] = set()
    require_fittable(part.model for part in work if not part.of_run)
    if work:
        progress(done, total, work[0].title)
    with closing(jobs.completed(_make, work, engine=engine, shared=inputs)) as results:
        for position, result in results:
            part = work[position]
            if isinstance(result, HistoryError):
                alike[part.model, part.fold] -= 1
                if not alike[part.model, part.fold]:  # no ticker at all could be fitted
                    raise result
                unfitted.add(missing[position])
            else:
                with atomic.replacing(paths[missing[position]]) as temporary:
                    result.to_parquet(temporary, index=False)
            done += 1
            progress(done, total, part.title)
    return unfitted


def _make(part: Part, inputs: WorkerInputs) -> pd.DataFrame | HistoryError:
    """Return the forecasts of a part, with its fits that did not converge; or why there was no fit."""
    panel = inputs.run_panel if part.of_run else inputs.panel
    own = Panel(panel.histories[part.tickers])
    model = inputs.run if part.of_run else create(part.model, inputs.config)
    assert model is not None
    if not part.of_run:
        try:
            model.fit(own, part.fold.until)
        except HistoryError as error:
            return error
    first, last = part.fold.first, part.fold.last
    alone = model.alone() if inputs.steps[0] == 1 else ()  # a network alone has no longer step
    forecast = model.forecast(own, first, last, inputs.steps)
    mine = set(own.tickers)
    others = [_crps(it.forecast(own, first, last)) for it in alone]
    forecast.attrs = {
        _FALLBACKS: [ticker for ticker in model.fallbacks if ticker in mine],
        _SEEDS: [_crps(forecast), *others] if others else [],
    }
    return forecast


def _crps(forecast: pd.DataFrame) -> tuple[float, int]:
    """Return the sum of the CRPS of the shortest step where the outcome is known, and its rows."""
    rows = forecast[forecast["log_return"].notna() & (forecast["step"] == forecast["step"].min())]
    values = quantile_grid.crps(rows["log_return"], rows[forecasts.QUANTILES])
    return float(values.sum()), len(rows)


def _beside_forecasts(made: Mapping[Path, Part]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what did not converge in the parts, and their seeds."""
    missing = [path for path in made if not path.exists()]
    if missing:
        raise StoreError(
            f"{len(missing)} of {len(made)} finished parts are no longer in {missing[0].parent}; "
            "somebody removed them"
        )
    fallbacks, seeds = [], []
    for path, part in made.items():
        attributes = json.loads(pq.read_schema(path).metadata[b"PANDAS_ATTRS"])
        until = str(part.fold.until)
        fallbacks += [(part.model, until, ticker) for ticker in attributes[_FALLBACKS]]
        sums = attributes.get(_SEEDS, [])  # an earlier version wrote none
        seeds += [(part.model, seed, *its) for seed, its in enumerate(sums, start=-1)]
    return pd.DataFrame(fallbacks, columns=["model", "until", "ticker"]), _of_seeds(seeds)


def _of_seeds(sums: Sequence[tuple[str, int, float, int]]) -> pd.DataFrame:
    """Return the table of the seeds from the sums of each part, in which -1 is their average."""
    table = pd.DataFrame(sums, columns=["model", "seed", "crps", "rows"])
    table = table.groupby(["model", "seed"], sort=False).sum().reset_index()
    table["crps"] = 100 * table["crps"] / table.pop("rows")
    together = table[table["seed"] < 0].set_index("model")["crps"]
    table = table[table["seed"] >= 0].reset_index(drop=True)
    return table.assign(ratio=table["crps"] / table["model"].map(together))


def _span(
    sessions: np.ndarray, spec: BacktestSpec, trained: Run | None
) -> tuple[np.datetime64, np.datetime64]:
    """Return the first and the last date to forecast."""
    last = np.datetime64(spec.end) if spec.end else sessions[-1]
    years = np.timedelta64(365 * DEFAULT_YEARS, "D")
    first = max(last - years, sessions[len(sessions) // 2])
    if spec.start:
        first = np.datetime64(spec.start)
    if trained is None:
        return first, last
    seen = np.datetime64(trained.until)
    # Where too little is stored of the training span, the other models could not be fitted before.
    if not spec.start:
        enough = np.searchsorted(sessions, seen, side="right") > SESSIONS_TO_FIT
        first = seen + 1 if enough else max(first, seen + 1)
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


def _require_all(made: Parts, models: Sequence[str]) -> None:
    there = {name for part in made.columns(["model"]) for name in part["model"].unique()}
    for name in models:
        if name not in there:
            raise HistoryError(
                f"{name} gave no forecast: no ticker it knows has enough history, or no step ends within "
                "the dates; fetch earlier prices, start later, or give smaller `steps`"
            )
