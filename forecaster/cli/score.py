"""``forecast score``."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from forecaster.cli import backtest as backtest_command
from forecaster.cli import options, output
from forecaster.errors import UsageError


def score(
    file: Annotated[
        Path,
        typer.Argument(help="CSV or Parquet file of forecasts, ours or Nixtla's layout."),
    ],
    models: Annotated[
        str,
        typer.Option(
            help="Models to compare with, separated by commas; naive must be among them.",
            autocompletion=options.complete_models,
        ),
    ] = "naive,gjr",
    values: Annotated[
        str | None,
        typer.Option(
            help="What the numbers are: returns (log, as fractions) or prices.", show_default=False
        ),
    ] = None,
    cost: options.Cost = 5.0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the results; by default one in the home folder.", show_default=False
        ),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show the plots.")] = False,
    home: options.Home = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Referee anybody's forecasts: score a file against stored prices, beside our baselines.

    Example: forecast score forecasts.csv --models naive,gjr,har
    """
    from forecaster.backtesting import archive, external
    from forecaster.backtesting.spec import BacktestSpec
    from forecaster.data.store import Store
    from forecaster.evaluation import experiment_log

    output.start(quiet=quiet, verbose=verbose)
    names = tuple(name.strip() for name in models.split(",") if name.strip())
    BacktestSpec(names).check()
    if values not in (None, *external.VALUES):
        raise UsageError(f"--values must be {' or '.join(external.VALUES)}, got {values!r}")
    forecasts = external.read(file)
    place = options.folder(home)
    if out is not None:
        archive.check_replaceable(out)
    store = Store(place)
    named = sorted(forecasts.rows["ticker"].unique())
    asked = sorted(set(named) & set(store.tickers()))
    if not asked:
        store.require(named)
    dates = forecasts.rows["date"].dt.date
    with output.progress(quiet=quiet) as progress:
        done = external.score(
            forecasts,
            store.read(asked),
            models=names,
            values=values,
            cost_bp=cost,
            earlier=experiment_log.recorded(place, asked, dates.min(), dates.max()),
            progress=progress,
        )
        folder = out or archive.new_folder(place / "scores", quote(file.stem, safe=" "))
        backtest_command.keep(done, folder, place)
    backtest_command.tell(done, folder, as_json=as_json, open_=open_)
