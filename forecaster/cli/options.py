"""What several commands take: options, lists of tickers, dates."""

import sys
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecaster import leftovers
from forecaster.data import filenames
from forecaster.errors import UsageError

if TYPE_CHECKING:
    from forecaster.data.store import Store

DAY = ["%Y-%m-%d"]

MODELS = (
    *("lstm", "gru", "rnn", "trees", "gjr", "egarch", "garch", "har", "ewma", "drift", "naive"),
)
"""Names of the registered models, which would be slow to look up."""


def folder(home: Path | None) -> Path:
    """Return the home folder, without what killed commands left there or in the temporary folder."""
    if home is not None:
        return _swept(home)
    from platformdirs import user_data_path

    return _swept(user_data_path("forecaster", appauthor=False))


@cache
def _swept(home: Path) -> Path:
    leftovers.sweep(home)
    return home


def complete_tickers(context: typer.Context, incomplete: str) -> list[str]:
    """The stored tickers that a word may become, without those typed before."""
    typed = context.params.get("tickers") or ()
    stored = filenames.tickers(folder(context.params.get("home")) / "prices")
    return [it for it in stored if it.startswith(incomplete) and it not in typed]


def complete_runs(context: typer.Context, incomplete: str) -> list[str]:
    """The runs that a word may become."""
    runs = (folder(context.params.get("home")) / "runs").glob("[!.]*/")
    return sorted(run.name for run in runs if run.name.startswith(incomplete))


def complete_models(incomplete: str) -> list[str]:
    """The lists of models, separated by commas, that a word may become."""
    *typed, last = incomplete.split(",")
    fits = [model for model in MODELS if model.startswith(last) and model not in typed]
    return [",".join([*typed, model]) for model in fits]


Tickers = Annotated[
    list[str] | None,
    typer.Argument(
        help="Tickers; @FILE reads a list. None means all that are stored.",
        show_default=False,
        autocompletion=complete_tickers,
    ),
]
RunName = Annotated[
    str | None,
    typer.Option(
        "--run",
        help="Name of a run; by default the latest.",
        show_default=False,
        autocompletion=complete_runs,
    ),
]
Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="FORECAST_HOME",
        help="Folder of prices and runs; by default the user-data folder of the system.",
        show_default=False,
    ),
]
Cost = Annotated[
    float,
    typer.Option(
        "--cost",
        min=0,
        max=1000,
        help="Of buying or selling, in basis points a side; strategies pay it.",
    ),
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
    typer.Option(
        help="Of the cluster: tcp://host:8786 for dask, host:6379 or auto for ray; by "
        "default a cluster of this machine alone.",
        show_default=False,
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="The most workers; by default one a core.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no warnings on stderr.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")]


def day(value: datetime | None) -> date | None:
    """The date of what the command line parsed."""
    return value.date() if value else None


def in_order(start: date | None, end: date | None) -> None:
    """UsageError if the start is after the end."""
    if start and end and start > end:
        raise UsageError(f"--start must not be after --end, got {start} and {end}")


def expanded(words: list[str] | None) -> list[str]:
    """Tickers as typed, with every @FILE replaced by the tickers in it, each once.

    In a file, tickers are separated by white space or commas, and # starts a comment. ``-`` or
    ``@-`` reads the standard input.
    """
    tickers: list[str] = []
    for word in words or []:
        if word in ("-", "@-"):
            tickers += _listed(sys.stdin.read())
        elif word.startswith("@"):
            tickers += _listed(_text(Path(word[1:])))
        else:
            tickers.append(word.strip())
    if words and not any(tickers):
        raise UsageError(f"expected tickers, got only {' '.join(words)!r}")
    return list(dict.fromkeys(ticker for ticker in tickers if ticker))


def stored(store: "Store", words: list[str] | None) -> list[str]:
    """The stored tickers that were typed, in upper case if only that is stored; all if none were."""
    known = store.tickers()
    tickers = [t.upper() if t not in known and t.upper() in known else t for t in expanded(words)]
    store.require(tickers)
    return list(dict.fromkeys(tickers)) or known


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(f"cannot read the list of tickers {path}: {reason}") from error


def _listed(text: str) -> list[str]:
    lines = text.splitlines()
    return " ".join(line.partition("#")[0] for line in lines).replace(",", " ").split()
