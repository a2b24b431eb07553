"""``forecast backtest``."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli import holdout, options, output, results, supply, ticker_lists, unfinished
from forecaster.config import REFERENCES, configured, listed
from forecaster.errors import HistoryError, UsageError

if TYPE_CHECKING:
    from forecaster.backtesting.backtest import Backtest
    from forecaster.backtesting.spec import BacktestSpec
    from forecaster.data.store import Store
    from forecaster.evaluation.experiment_log import Experiment
    from forecaster.models.protocol import Progress
    from forecaster.parallel.jobs import Engine
    from forecaster.runs.run import Run

MANY = 500
"""Of more tickers, memory is given back as it is freed, which takes a second of a backtest of few."""


DEFAULT = ",".join(("lstm", *REFERENCES))
"""Models that are compared if none are named; ``gjr-events`` joins them where announcements are stored."""


def backtest(
    context: typer.Context,
    tickers: options.FetchedTickers = None,
    *,
    models: Annotated[
        str,
        typer.Option(
            help="Models, separated by commas; the verdict is on the first.",
            autocompletion=options.complete_models,
        ),
    ] = DEFAULT,
    start: Annotated[
        date | None,
        options.day("First date forecast; by default the first after the run's training span."),
    ] = None,
    end: Annotated[date | None, options.day("Last date forecast.")] = None,
    refit: Annotated[
        str | None,
        options.optional(
            "never, yearly or N sessions: how often models are fitted again. By default yearly, but a "
            "trained run stands for its model and is never refitted; yearly or N given here fits "
            "that model too."
        ),
    ] = None,
    run: Annotated[
        str | None,
        options.run(
            "The trained run that stands for its model; by default that of `forecast runs default`, if "
            "it is of the first model, else the latest of that. "
            "Without one and without --models and --refit it is base, which comes with the package, "
            "on the days after it was trained."
        ),
    ] = None,
    calibrate: Annotated[
        bool,
        options.flag(
            "Recalibrate every model's intervals from its own misses. What comes out has no density, "
            "so no log score.",
            "--calibrate",
        ),
    ] = False,
    steps: Annotated[
        str,
        typer.Option(
            help="Sessions ahead that are forecast from every cutoff, separated by commas, up to 21."
        ),
    ] = "1",
    seed: options.Seed = None,
    cost: options.Cost = options.COST,
    out: options.Results = None,
    table: options.Table = "forecasts",
    layout: options.Layout = "long",
    resume: Annotated[
        Path | None,
        options.optional(
            "Go on with the unfinished backtest in this folder, as it began.", metavar="DIR"
        ),
    ] = None,
    engine: options.Engine = "local",
    address: options.Address = None,
    jobs: Annotated[
        int | None, options.optional("The most workers; by default one a core.", min=1)
    ] = None,
    open_: options.OpenPlots = False,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Run models through history and compare them on the same days.

    Exit code 1 if the first model is too good to be a forecast.

    Example: forecast backtest --models lstm,gjr,naive --start 2013-01-01
    """
    from forecaster.parallel.jobs import Engine

    output.start(quiet=quiet, verbose=verbose)
    worker = Engine(engine, address, jobs)
    folder, export = results.destination(out, table, layout)
    if resume is None:
        options.check_order(start, end)
        request = _request(
            tickers,
            models,
            start,
            end,
            refit,
            run,
            calibrate=calibrate,
            steps=steps,
            seed=seed,
            cost=cost,
            home=home,
            quiet=quiet,
        )
    else:
        folder, request = resume, unfinished.request_of(context, resume)
    with output.progress(quiet=quiet) as progress:
        done, folder = _done(request, folder, worker, resume=resume is not None, progress=progress)
    if export:
        results.write(done, export, home, quiet=quiet)
    results.tell(done, folder, export, as_json=as_json, open_=open_)
    results.end(done)


def _request(
    tickers: list[str] | None,
    models: str,
    start: date | None,
    end: date | None,
    refit: str | None,
    run: str | None,
    *,
    calibrate: bool,
    steps: str,
    seed: int | None,
    cost: float,
    home: Path,
    quiet: bool,
) -> unfinished.Request:
    """Return what the options ask for, completed by what is stored."""
    from forecaster.backtesting.spec import BacktestSpec
    from forecaster.data.event_store import EventStore
    from forecaster.data.store import Store
    from forecaster.model_selection.splits import schedule

    stored = tuple(supply.tickers(Store(home), tickers, quiet=quiet))
    names = listed(models)
    if models == DEFAULT and not EventStore(home).read(stored).empty:
        names.insert(names.index("gjr") + 1, "gjr-events")  # nobody wins by information alone
    spec = BacktestSpec(
        models=tuple(names),
        start=start,
        end=end,
        refit="yearly" if refit is None else schedule(refit),
        calibrate=calibrate,
        cost_bp=cost,
        config=configured(None, seed=seed),
        steps=_steps(steps),
    )
    spec.check()
    trained = _trained(home, run, spec.models, refit)
    if trained is None and models == DEFAULT and refit is None:
        trained = _base(Store(home), stored, start, quiet=quiet)
    if trained:
        _require_unseen(trained, Store(home), stored, tickers)
    return unfinished.Request(
        home.resolve(), trained.name if trained else None, replace(spec, tickers=stored)
    )


def _steps(text: str) -> tuple[int, ...]:
    """Return the steps of ``1,5,21``; UsageError for what is no such list."""
    from forecaster.distributions import horizons

    words = listed(text)
    if not all(word.isdecimal() for word in words):
        raise UsageError(f"expected --steps such as 1,5,21, got {text!r}")
    return horizons.check(map(int, words))


def _require_unseen(
    trained: "Run", store: "Store", stored: Sequence[str], words: list[str] | None
) -> None:
    """Raise HistoryError, with what to do, if a run has seen all that is stored."""
    last = _last(store, stored)
    if trained.until < last:
        return
    if trained.is_base:
        raise HistoryError(
            f"run {trained.name} was trained on sessions up to {trained.until}, so nothing is left to "
            f"backtest up to {last}; fetch later sessions, or fit models with `refit`"
        )
    model, home = trained.model.name, store.folder.parent
    day = holdout.until(trained.first, trained.until)
    learning = holdout.training(holdout.universe(trained, store.tickers()), model, home, day)
    raise HistoryError(
        f"run {trained.name} was trained on sessions up to {trained.until}, so nothing is left to "
        f"backtest up to {last}; hold some back: `{learning}`, then "
        f"`{holdout.backtesting(words, model, home)}`"
    )


def _last(store: "Store", stored: Sequence[str]) -> date:
    """Return the last session that is stored of some tickers."""
    return max(state.last.date() for it in stored if (state := store.state(it)))


def _done(
    request: unfinished.Request,
    out: Path | None,
    engine: "Engine",
    *,
    resume: bool,
    progress: "Progress",
) -> "tuple[Backtest, Path]":
    """Do what is asked for, keep the results, and return them with their folder."""
    from forecaster import atomic
    from forecaster.backtesting import backtest, folders
    from forecaster.data import companions
    from forecaster.data.event_store import EventStore
    from forecaster.data.store import Store
    from forecaster.parallel import malloc
    from forecaster.runs import bundle

    home, spec = request.home, request.spec
    trained = bundle.load(home, request.run) if request.run else None
    store, needed = Store(home), list(spec.tickers)
    if trained:
        needed = ticker_lists.with_universe(trained, store, needed)
    if len(needed) > MANY:
        malloc.return_large()
    if out is not None:
        folders.check_replaceable(out)
    folder = out or folders.new_folder(home / "backtests", "-".join(spec.models))
    with atomic.claimed(folder, "backtest"), unfinished.resumable(folder):
        if not resume:
            unfinished.begin(folder, request)
        done = backtest.run(
            store.each(needed),
            spec,
            events=EventStore(home).read(needed),
            companions=companions.read(home, spec.tickers),
            trained=trained,
            engine=engine,
            folder=unfinished.parts(folder),
            resume=resume,
            earlier=_earlier(home, spec),
            progress=progress,
        )
        done = results.keep(done, folder, home)
    return done, folder


def _earlier(home: Path, spec: "BacktestSpec") -> "list[Experiment]":
    """Return the experiments of every command on these tickers and days."""
    from forecaster.evaluation import experiment_log

    dates = spec.start or date.min, spec.end or date.max
    return experiment_log.recorded(home, spec.tickers, *dates)


def _trained(home: Path, run: str | None, models: Sequence[str], refit: str | None) -> "Run | None":
    """Return the run that stands for its model, if there is one to."""
    from forecaster.runs import bundle, choice

    if refit not in (None, "never"):
        if run is not None:
            raise UsageError(
                f"a run is never refitted: drop --run {run} to fit every model {refit}, "
                "or drop --refit"
            )
        return None
    if run is not None:
        return bundle.load(home, run)
    usual = choice.choose(home, models=models[:1])
    if usual.reason is choice.Reason.DEFAULT:
        return usual.run
    return next((r for r in bundle.readable(home) if r.model.name == models[0]), None)


def _base(
    store: "Store", stored: Sequence[str], start: date | None, *, quiet: bool
) -> "Run | None":
    """Return the base run if the days to forecast are after it was trained, and say so."""
    from forecaster.runs import base

    trained = base.load()
    if _last(store, stored) <= trained.until:
        return None
    early = start is not None and start <= trained.until
    if not quiet:
        output.note(
            f"the base run was trained on days up to {trained.until}, so every model is fitted anew"
            if early
            else f"you have trained no network, so the base run stands for {trained.model.name} on days "
            f"after {trained.until}; --refit yearly fits one instead"
        )
    return None if early else trained
