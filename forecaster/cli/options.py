"""The options of the commands: those of several are declared here, once.

Their defaults are read from the dataclasses that own them.
"""

from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from forecaster.backtesting.spec import BacktestSpec
from forecaster.config import RecurrentConfig
from forecaster.data import filenames
from forecaster.errors import UsageError
from forecaster.models.registry import REGISTRY

MODELS = tuple(REGISTRY)
BASE = "base"
"""The run of the package; its own module would cost every start of a command."""

DEFAULT_MODEL = "lstm"
"""The model that is trained, and the first that is backtested, if none is named."""

COST = BacktestSpec.cost_bp
"""Default of :data:`Cost`."""


def home_folder() -> Path:
    """Return the user-data folder of the system."""
    from platformdirs import user_data_path

    return user_data_path("forecaster", appauthor=False)


def swept(home: Path) -> Path:
    """Return a home folder, without what killed commands left there or in the temporary folder."""
    from forecaster import leftovers  # its modules cost every start of a command

    leftovers.sweep(home)
    return home


def complete_tickers(context: typer.Context, incomplete: str) -> list[str]:
    """Return the stored tickers that a word may become, without those typed before."""
    typed = context.params.get("tickers") or ()
    stored = filenames.tickers((context.params.get("home") or home_folder()) / "prices")
    return [it for it in stored if it.startswith(incomplete) and it not in typed]


def complete_runs(context: typer.Context, incomplete: str) -> list[str]:
    """Return the runs that a word may become, that of the package too."""
    return [it for it in (*_own_runs(context), BASE) if it.startswith(incomplete)]


def complete_own_runs(context: typer.Context, incomplete: str) -> list[str]:
    """Return the runs of the home that a word may become, without those typed before."""
    typed = context.params.get("names") or ()
    return [it for it in _own_runs(context) if it.startswith(incomplete) and it not in typed]


def _own_runs(context: typer.Context) -> list[str]:
    folders = ((context.params.get("home") or home_folder()) / "runs").glob("[!.]*/")
    return sorted(folder.name for folder in folders if folder.name != BASE)


def complete_models(incomplete: str) -> list[str]:
    """Return the lists of models, separated by commas, that a word may become."""
    *typed, last = incomplete.split(",")
    fits = [model for model in MODELS if model.startswith(last) and model not in typed]
    return [",".join([*typed, model]) for model in fits]


def optional(words: str, *declared: str, **more: Any) -> Any:
    """Return an option that may be left out; its help says what holds then."""
    return typer.Option(*declared, help=words, show_default=False, **more)


def day(words: str) -> Any:
    """Return an option that takes a date."""
    return optional(words, parser=_date, metavar="YYYY-MM-DD")


def run(words: str, *declared: str) -> Any:
    """Return an option that takes the name of a run."""
    return optional(words, *declared, autocompletion=complete_runs)


def flag(words: str, *declared: str) -> Any:
    """Return an option that is there or not."""
    return typer.Option(*declared, help=words)


def check_place(context: typer.Context) -> None:
    """Raise a UsageError if an option stands before the command of a group, which does not see it."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = f"--{name.removeprefix('as_')}"
            words = f"{context.command_path} {context.invoked_subcommand}"
            raise UsageError(f"write {option} after `{words}`")


def check_order(start: date | None, end: date | None) -> None:
    """Raise a UsageError if the start is after the end."""
    if start and end and start > end:
        raise UsageError(f"--start must not be after --end, got {start} and {end}")


def steps_ahead(horizon: int | None, steps: str | None) -> tuple[int, ...]:
    """Return the steps that :data:`Ahead` or :data:`Steps` ask for, the next session if neither does.

    Raises
    ------
    UsageError
        Both do, or what they say are no steps.
    """
    from forecaster.distributions import horizons

    if steps is None:
        if horizon is not None:
            horizons.check([horizon])
        return tuple(range(1, (horizon or 1) + 1))
    if horizon is not None:
        raise UsageError(f"--horizon {horizon} is each of 1 to {horizon}: drop it, or drop --steps")
    words = [word.strip() for word in steps.split(",")]
    if not all(word.isdecimal() and word.isascii() for word in words):
        raise UsageError(
            f"--steps takes numbers of sessions separated by commas, such as 1,5,21; got {steps!r}"
        )
    return horizons.check(map(int, words))


def _date(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise typer.BadParameter(f"expected a date like 2012-12-31, got {text!r}") from None


Tickers = Annotated[
    list[str] | None,
    typer.Argument(
        help="Tickers, separated by blanks or commas; @FILE reads a list. None means all that are "
        "stored.",
        show_default=False,
        autocompletion=complete_tickers,
    ),
]
FetchedTickers = Annotated[
    list[str] | None,
    typer.Argument(
        help="Tickers, separated by blanks or commas; @FILE reads a list. Those that are not stored "
        "are fetched from Yahoo first. None means all that are stored.",
        show_default=False,
        autocompletion=complete_tickers,
    ),
]
Home = Annotated[
    Path,
    optional(
        "Folder of prices and runs; by default the user-data folder of the system.",
        envvar="FORECAST_HOME",
        default_factory=home_folder,
        callback=swept,
    ),
]
Json = Annotated[bool, flag("Print the result as JSON.", "--json")]
Quiet = Annotated[bool, flag("No progress and no warnings on stderr.", "--quiet")]
Verbose = Annotated[bool, flag("Say more on stderr.", "--verbose", "-v")]

Run = Annotated[
    str | None,
    run(
        "Name of a run; by default that of `forecast runs default`, else your latest network, else "
        "base, which comes with the package."
    ),
]
Until = Annotated[date | None, day("Last date to learn from.")]
Start = Annotated[date | None, day("First date.")]
End = Annotated[date | None, day("Last date.")]
Horizon = Annotated[
    int | None,
    optional(
        "The most sessions ahead that the run can forecast, 1 to 21; "
        f"{RecurrentConfig.horizon} by default.",
        metavar="SESSIONS",
    ),
]
Ahead = Annotated[
    int | None,
    optional(
        "Forecast each session up to this many ahead, 21 at the most; by default the next alone.",
        "--horizon",
        metavar="SESSIONS",
    ),
]
Steps = Annotated[
    str | None,
    optional(
        "Forecast these sessions ahead and no others: 1,5,21 is a day, a week and a month.",
        metavar="STEPS",
    ),
]
AsOf = Annotated[date | None, day("Last date that a forecast may use; by default the last stored.")]
Seed = Annotated[
    int | None,
    optional(f"The first seed of the networks; {RecurrentConfig.seed} by default.", min=0),
]
Model = Annotated[
    str,
    typer.Option(help=f"{', '.join(MODELS[:-1])} or {MODELS[-1]}.", autocompletion=complete_models),
]
Config = Annotated[Path | None, optional("TOML file of settings.")]
Epochs = Annotated[
    int | None, optional(f"The most epochs to train; {RecurrentConfig.epochs} by default.", min=1)
]
Cost = Annotated[
    float,
    typer.Option(
        min=0, max=1000, help="Of buying or selling, in basis points a side; strategies pay it."
    ),
]
Results = Annotated[
    Path | None,
    optional(
        "Folder of the results, by default one in the home folder; or a file (.csv, .json, .parquet, "
        ".xlsx) for one table of them.",
        metavar="DIR|FILE",
    ),
]
Table = Annotated[
    str,
    typer.Option(
        help="Table that the --out file gets: forecasts, or one of the statistics, such as scores."
    ),
]
Layout = Annotated[
    str,
    typer.Option(
        help="Of the forecasts in the --out file: long, or nixtla (unique_id, ds, MODEL, MODEL-lo-80 …, "
        "as prices).",
        metavar="long|nixtla",
    ),
]
OpenPlots = Annotated[bool, flag("Show the plots.", "--open")]

Dates = Annotated[
    str | None,
    optional("day-first, month-first or year-first, for a file's dates such as 03/01/2017."),
]
Decimal = Annotated[
    str | None,
    optional("point or comma, for a file's numbers such as 1.021 that may be thousands."),
]

Engine = Annotated[
    str,
    typer.Option(
        help="Who does the work: local (the cores of this machine), dask or ray.",
        metavar="local|dask|ray",
    ),
]
Address = Annotated[
    str | None,
    optional(
        "Of the cluster: tcp://host:8786 for dask, host:6379 or auto for ray; by default a cluster of "
        "this machine alone."
    ),
]
