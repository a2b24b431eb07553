"""``forecast backtest``."""

import math
import shutil
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from forecaster.cli import figures, options, output, unfinished
from forecaster.cli import models as model_commands
from forecaster.errors import UsageError

MANY = 500
"""Of more tickers, memory is given back as it is freed, which takes a second of a backtest of few."""

COLUMNS = {
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
        command = _command(
            tickers, models, start, end, refit, run, calibrate=calibrate, cost=cost, home=home
        )
        folder = out or Path(command.home) / "backtests" / "-".join(command.models)
    else:
        folder, command = resume, unfinished.command_of(context, resume)
    with output.progress(quiet=quiet) as progress:
        found = _found(command, folder, worker, resume=resume is not None, progress=progress)
    tell(found, folder, as_json=as_json, open_=open_)


def _command(
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
) -> unfinished.Command:
    """What is asked for by the words typed, and by what is stored where they leave it open."""
    from forecaster.backtesting import walk_forward
    from forecaster.data.store import Store
    from forecaster.model_selection.splits import schedule

    names = [name.strip() for name in models.split(",") if name.strip()]
    walk_forward.check_models(names)
    rhythm = schedule(refit) if refit is not None else "yearly"
    place = options.folder(home)
    trained = _trained(place, run, names, refit)
    first, last = options.day(start), options.day(end)
    return unfinished.Command(
        home=str(place.resolve()),
        tickers=options.stored(Store(place), tickers),
        models=names,
        start=str(first) if first else None,
        end=str(last) if last else None,
        refit=rhythm,
        run=trained.name if trained else None,
        calibrate=calibrate,
        cost=cost,
    )


def _found(
    command: unfinished.Command,
    folder: Path,
    engine: Any,
    *,
    resume: bool,
    progress: Any,
) -> Any:
    """Does what is asked for, and keeps what comes of it."""
    from forecaster.backtesting import backtest
    from forecaster.data.store import Store
    from forecaster.parallel import malloc
    from forecaster.runs import bundle

    home = Path(command.home)
    trained = bundle.load(home, command.run) if command.run else None
    store, wanted = Store(home), command.tickers
    if trained:
        wanted, _ = model_commands.needed(trained, store, command.tickers)
    if len(wanted or store.tickers()) > MANY:
        malloc.return_large()
    start, end = command.dates
    backtest.check_replaceable(folder)
    with unfinished.kept(folder):
        if not resume:
            unfinished.begin(folder, command)
        found = backtest.run(
            store.each(wanted),
            command.models,
            tickers=command.tickers,
            start=start,
            end=end,
            refit=command.refit,
            trained=trained,
            engine=engine,
            folder=unfinished.parts(folder),
            resume=resume,
            calibrate=command.calibrate,
            cost_bp=command.cost,
            tried=_tried(home, command.tickers, start, end),
            progress=progress,
        )
        keep(found, folder, home)
    return found


def keep(found: Any, folder: Path, home: Path) -> None:
    """Writes down the trials, then the results in place of those that were in the folder."""
    from forecaster import atomic
    from forecaster.backtesting import backtest
    from forecaster.evaluation import experiment_log
    from forecaster.report import html
    from forecaster.runs import bundle

    for trial in backtest.trials(found):
        experiment_log.record(home, trial)
    with atomic.replacing_folder(folder) as temporary:
        backtest.write(found, temporary)
        html.write(found, temporary)
    run = found.config["run"]
    if run and run["model"] == found.config["models"][0]:
        dates = {name: found.config[name] for name in ("start", "end")}
        bundle.judge(run, home, {"verdict": found.verdict, **dates})


def tell(found: Any, folder: Path, *, as_json: bool, open_: bool) -> None:
    """Prints the results, and shows the plots if asked to."""
    if as_json:
        output.dump(_document(found, folder))
    else:
        _print(found, folder)
    if open_:
        _show(found, folder)


def _document(found: Any, folder: Path) -> dict[str, Any]:
    """What machines get: all statistics over all tickers; the folder has those of each."""
    from forecaster.backtesting import backtest
    from forecaster.evaluation.metrics import POOLED

    tables = {
        name: table[table["ticker"] == POOLED] if POOLED in set(table.get("ticker", ())) else table
        for name, table in found.tables.items()
        if name not in ("scores", "significance", "tickers")
    }
    return {
        "verdict": found.verdict,
        "scores": backtest.records(found.scores),
        "significance": backtest.records(found.comparison),
        "tables": {name: backtest.records(table) for name, table in tables.items()},
        "folder": str(folder),
    }


def _tried(home: Path, tickers: list[str], start: date | None, end: date | None) -> Any:
    """What was tried on these tickers and days; the registry of every command counts."""
    from forecaster.evaluation import experiment_log

    return experiment_log.recorded(home, tickers, start or date.min, end or date.max)


def _trained(home: Path, run: str | None, names: list[str], refit: str | None) -> Any:
    """The run that stands for its model, if there is one to."""
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
    return next((r for r in bundle.readable(home) if r.model.name == names[0]), None)


def _print(found: Any, folder: Path) -> None:
    from forecaster.evaluation import metrics

    table = metrics.pooled(found.scores)
    shown = {name: column for name, column in COLUMNS.items() if name in table}
    rows = [
        [str(model), *(_cell(row[name], form) for name, (_, form) in shown.items())]
        for model, row in table.iterrows()
    ]
    output.table(["model", *(title for title, _ in shown.values())], rows)
    config = found.config
    output.say(
        f"{found.verdict}\n"
        + _fallbacks(found.tables["fallbacks"])
        + f"Forecasts of {config['start']} to {config['end']} from stored prices of "
        f"{config['prices_from']} to {config['prices_to']}: history, not today's forecast.\n"
        f"Plots, report and forecasts: {folder}"
    )


def _fallbacks(table: Any) -> str:
    """How many fits did not converge, and whose."""
    if table.empty:
        return ""
    names = list(dict.fromkeys(f"{model} of {ticker}" for model, _, ticker in table.to_numpy()))
    whose = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return f"Fits that did not converge: {len(table)} ({whose}); fixed parameters stand in.\n"


def _cell(value: float, form: str) -> str:
    return "–" if math.isnan(value) else format(value, form)


def _show(found: Any, folder: Path) -> None:
    """The plots in windows where there is a display, else the report in the system's viewer."""
    from forecaster.plots import evaluation

    if figures.can_show():
        figures.show(evaluation.of_backtest(found.forecasts, found.config["models"][0]))
    else:
        show_file(folder / "report.html")


def show_file(file: Path) -> None:
    """A file in the system's viewer; where there is none, says where it is."""
    if sys.platform in ("darwin", "win32") or shutil.which("xdg-open"):
        typer.launch(str(file))
    else:
        typer.echo(f"no display and no viewer here; open {file}", err=True)
