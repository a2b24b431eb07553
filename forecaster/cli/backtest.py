"""``forecast backtest``."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.cli import figures, options, output, unfinished
from forecaster.cli import models as model_commands
from forecaster.display import number
from forecaster.errors import UsageError, first_few

if TYPE_CHECKING:
    from forecaster.backtesting.backtest import Backtest
    from forecaster.backtesting.spec import BacktestSpec
    from forecaster.evaluation.experiment_log import Experiment
    from forecaster.models.protocol import Progress
    from forecaster.parallel.jobs import Engine
    from forecaster.runs.run import Run

MANY = 500
"""Of more tickers, memory is given back as it is freed, which takes a second of a backtest of few."""

SCORE_COLUMNS = {
    "crps": ("CRPS %", ".4f"),
    "crps/naive": ("/naive", ".4f"),
    "crps/gjr": ("/gjr", ".4f"),
    "log_score": ("log score", ".4f"),
    "qlike": ("QLIKE", ".3f"),
    "rel_mae": ("relMAE", ".4f"),
    "coverage_80": ("in 80%", ".1%"),
    "coverage_90": ("90%", ".1%"),
    "coverage_95": ("95%", ".1%"),
    "hit_rate": ("hits", ".1%"),
}
"""Pooled scores that the terminal shows: their titles and formats."""


def backtest(
    context: typer.Context,
    tickers: options.Tickers = None,
    models: Annotated[
        str,
        typer.Option(
            help="Models, separated by commas; the verdict is on the first.",
            autocompletion=options.complete_models,
        ),
    ] = "lstm,gjr,garch,ewma,naive",
    start: Annotated[
        datetime | None,
        typer.Option(
            formats=options.DAY,
            metavar="YYYY-MM-DD",
            help="First date forecast; by default the first after the run's training span.",
            show_default=False,
        ),
    ] = None,
    end: Annotated[
        datetime | None,
        typer.Option(
            formats=options.DAY,
            metavar="YYYY-MM-DD",
            help="Last date forecast.",
            show_default=False,
        ),
    ] = None,
    refit: Annotated[
        str | None,
        typer.Option(
            help="never, yearly or N sessions: how often models are fitted again. By default yearly, "
            "but a trained run stands for its model and is never refitted; yearly or N given here "
            "fits that model too.",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            help="The trained run that stands for its model; by default the latest of the first model.",
            show_default=False,
            autocompletion=options.complete_runs,
        ),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Recalibrate every model's intervals from its own misses. What comes out has no "
            "density, so no log score.",
        ),
    ] = False,
    cost: options.Cost = 5.0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the results; by default one in the home folder.", show_default=False
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Go on with the unfinished backtest in this folder, as it began.",
            show_default=False,
        ),
    ] = None,
    engine: options.Engine = "local",
    address: options.Address = None,
    jobs: options.Jobs = None,
    open_: Annotated[bool, typer.Option("--open", help="Show the plots.")] = False,
    home: options.Home = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Run models through history and compare them on the same days.

    Example: forecast backtest --models lstm,gjr,naive --start 2013-01-01
    """
    from forecaster.parallel.jobs import Engine

    output.start(quiet=quiet, verbose=verbose)
    worker = Engine(engine, address, jobs)
    if resume is None:
        options.in_order(options.day(start), options.day(end))
        request = _request(
            tickers, models, start, end, refit, run, calibrate=calibrate, cost=cost, home=home
        )
    else:
        out, request = resume, unfinished.request_of(context, resume)
    with output.progress(quiet=quiet) as progress:
        done, folder = _done(request, out, worker, resume=resume is not None, progress=progress)
    tell(done, folder, as_json=as_json, open_=open_)


def _request(
    tickers: list[str] | None,
    models: str,
    start: datetime | None,
    end: datetime | None,
    refit: str | None,
    run: str | None,
    *,
    calibrate: bool,
    cost: float,
    home: Path | None,
) -> unfinished.Request:
    """Return what the options ask for, completed by what is stored."""
    from forecaster.backtesting.spec import BacktestSpec
    from forecaster.data.store import Store
    from forecaster.model_selection.splits import schedule

    spec = BacktestSpec(
        models=tuple(name.strip() for name in models.split(",") if name.strip()),
        start=options.day(start),
        end=options.day(end),
        refit="yearly" if refit is None else schedule(refit),
        calibrate=calibrate,
        cost_bp=cost,
    )
    spec.check()
    place = options.folder(home)
    trained = _trained(place, run, spec.models, refit)
    stored = tuple(options.stored(Store(place), tickers))
    return unfinished.Request(
        place.resolve(), trained.name if trained else None, replace(spec, tickers=stored)
    )


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
    from forecaster.backtesting import archive, backtest
    from forecaster.data.store import Store
    from forecaster.parallel import malloc
    from forecaster.runs import bundle

    home, spec = request.home, request.spec
    trained = bundle.load(home, request.run) if request.run else None
    store, needed = Store(home), list(spec.tickers)
    if trained:
        needed, _ = model_commands.needed(trained, store, needed)
    if len(needed) > MANY:
        malloc.return_large()
    if out is not None:
        archive.check_replaceable(out)
    folder = out or archive.new_folder(home / "backtests", "-".join(spec.models))
    with atomic.claimed(folder, "backtest"), unfinished.kept(folder):
        if not resume:
            unfinished.begin(folder, request)
        done = backtest.run(
            store.each(needed),
            spec,
            trained=trained,
            engine=engine,
            folder=unfinished.parts(folder),
            resume=resume,
            earlier=_earlier(home, spec),
            progress=progress,
        )
        keep(done, folder, home)
    return done, folder


def keep(done: "Backtest", folder: Path, home: Path) -> None:
    """Record the experiments, then write the results in place of those that were in the folder."""
    from forecaster import atomic
    from forecaster.backtesting import archive, backtest
    from forecaster.evaluation import experiment_log
    from forecaster.report import html
    from forecaster.runs import bundle

    for experiment in backtest.experiments(done):
        experiment_log.record(home, experiment)
    with atomic.replacing_folder(folder) as temporary:
        archive.write(done, temporary)
        html.write(done, temporary)
    run, spec = done.provenance.run, done.provenance.spec
    if run and run["model"] == spec.models[0]:
        verdict = bundle.RunVerdict(done.verdict.text, str(spec.start), str(spec.end))
        bundle.record_verdict(run, home, verdict)


def tell(done: "Backtest", folder: Path, *, as_json: bool, open_: bool) -> None:
    """Print the results, and show the plots if asked to."""
    if as_json:
        output.dump(_document(done, folder))
    else:
        _print(done, folder)
    if open_:
        _show(done, folder)


def _document(done: "Backtest", folder: Path) -> dict[str, Any]:
    """Return all statistics over all tickers, for JSON; the folder has those of each ticker."""
    from forecaster.backtesting import archive
    from forecaster.evaluation.metrics import POOLED

    tables = {
        name: table[table["ticker"] == POOLED] if POOLED in set(table.get("ticker", ())) else table
        for name, table in done.tables.items()
        if name not in ("scores", "significance", "tickers")
    }
    return {
        **done.verdict.document,
        "scores": archive.records(done.scores),
        "significance": archive.records(done.comparison),
        "tables": {name: archive.records(table) for name, table in tables.items()},
        "folder": str(folder),
    }


def _earlier(home: Path, spec: "BacktestSpec") -> "list[Experiment]":
    """Return the experiments of every command on these tickers and days."""
    from forecaster.evaluation import experiment_log

    dates = spec.start or date.min, spec.end or date.max
    return experiment_log.recorded(home, spec.tickers, *dates)


def _trained(home: Path, run: str | None, models: Sequence[str], refit: str | None) -> "Run | None":
    """Return the run that stands for its model, if there is one to."""
    from forecaster.runs import bundle

    if refit not in (None, "never"):
        if run is not None:
            raise UsageError(
                f"a run is never refitted: drop --run {run} to fit every model {refit}, "
                "or drop --refit"
            )
        return None
    if run is not None:
        return bundle.load(home, run)
    return next((r for r in bundle.readable(home) if r.model.name == models[0]), None)


def _print(done: "Backtest", folder: Path) -> None:
    from forecaster.evaluation import metrics

    table = metrics.pooled(done.scores)
    shown = {name: column for name, column in SCORE_COLUMNS.items() if name in table}
    rows = [
        [str(model), *(number(row[name], form, digits=2) for name, (_, form) in shown.items())]
        for model, row in table.iterrows()
    ]
    output.table(["model", *(title for title, _ in shown.values())], rows)
    spec, prices = done.provenance.spec, done.provenance.prices
    output.say(
        f"{done.verdict}\n"
        + _fallbacks(done.tables["fallbacks"])
        + f"Forecasts of {spec.start} to {spec.end} from stored prices of "
        f"{prices.first} to {prices.last}: history, not today's forecast.\n"
        f"Plots, report and forecasts: {folder}"
    )


def _fallbacks(table: Any) -> str:
    """Return a sentence on the fits that did not converge."""
    if table.empty:
        return ""
    names = list(dict.fromkeys(f"{model} of {ticker}" for model, _, ticker in table.to_numpy()))
    return f"Fits that did not converge: {len(table)} ({first_few(names)}); fixed parameters stand in.\n"


def _show(done: "Backtest", folder: Path) -> None:
    """Show the plots in windows where there is a display, else the report in the system's viewer."""

    from forecaster.plots import evaluation

    if figures.can_show():
        figures.show(evaluation.of_backtest(done.forecasts, done.provenance.models[0]))
    else:
        show_file(folder / "report.html")


def show_file(file: Path) -> None:
    """Show a file in the system's viewer; say where it is if there is none."""
    if sys.platform in ("darwin", "win32") or shutil.which("xdg-open"):
        typer.launch(str(file))
    else:
        output.note(f"no display and no viewer here; open {file}")
