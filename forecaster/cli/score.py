"""``forecast score``."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from forecaster.cli import options, output, results
from forecaster.config import REFERENCES, listed
from forecaster.errors import UsageError


def score(
    file: Annotated[
        Path,
        typer.Argument(help="CSV or Parquet file of forecasts, in any usual layout."),
    ],
    *,
    models: Annotated[
        str,
        typer.Option(
            help="Models to compare with, separated by commas; naive must be among them.",
            autocompletion=options.complete_models,
        ),
    ] = ",".join(REFERENCES),
    values: Annotated[
        str | None,
        options.optional("What the numbers are: returns (log, as fractions) or prices."),
    ] = None,
    ticker: Annotated[
        str | None, options.optional("The ticker of a file of one series that does not name it.")
    ] = None,
    interval: Annotated[
        float | None,
        options.optional("Coverage of a file's bands without a level, such as 0.95.", min=0, max=1),
    ] = None,
    dates: options.Dates = None,
    decimal: options.Decimal = None,
    cost: options.Cost = options.COST,
    out: options.Results = None,
    table: options.Table = "forecasts",
    layout: options.Layout = "long",
    open_: options.OpenPlots = False,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Referee anybody's forecasts: score a file against stored prices, beside our baselines.

    Exit code 1 if they are too good to be forecasts.

    Example: forecast score forecasts.csv --models naive,gjr,har
    """
    from forecaster.backtesting import external, folders, forecast_files
    from forecaster.backtesting.spec import BacktestSpec
    from forecaster.data import companions
    from forecaster.data.event_store import EventStore
    from forecaster.data.sources.tables import Format
    from forecaster.data.store import Store
    from forecaster.evaluation import experiment_log

    output.start(quiet=quiet, verbose=verbose)
    names = tuple(listed(models))
    BacktestSpec(names).check()
    if values not in (None, *external.VALUES):
        raise UsageError(f"--values must be {' or '.join(external.VALUES)}, got {values!r}")
    folder, export = results.destination(out, table, layout)
    if export and export.file.resolve() == file.resolve():
        raise UsageError(
            f"--out would replace {file}, whose forecasts are scored; name another file"
        )
    store = Store(home)
    forecasts = forecast_files.read(
        file,
        stored=store.tickers(),
        ticker=ticker,
        interval=interval,
        form=Format(dates=dates, decimal=decimal),
    )
    if folder is not None:
        folders.check_replaceable(folder)
    named = sorted(forecasts.rows["ticker"].unique())
    stored = sorted(set(named) & set(store.tickers()))
    if not stored:
        store.require(named)
    days = forecasts.rows["date"].dt.date
    with output.progress(quiet=quiet) as progress:
        done = external.score(
            forecasts,
            store.read(stored),
            models=names,
            values=values,
            cost_bp=cost,
            events=EventStore(home).read(stored),
            companions=companions.read(home, stored),
            earlier=experiment_log.recorded(home, stored, days.min(), days.max()),
            progress=progress,
        )
        folder = folder or folders.new_folder(home / "scores", quote(file.stem, safe=" "))
        done = results.keep(done, folder, home)
    if export:
        results.write(done, export, home, quiet=quiet)
    results.tell(done, folder, export, as_json=as_json, open_=open_)
    results.end(done)
