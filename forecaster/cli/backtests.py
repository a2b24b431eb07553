"""``forecast backtests``: the backtests and scores that a home folder keeps."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from forecaster.cli import options, output, results, unfinished
from forecaster.errors import StoreError, did_you_mean

app = typer.Typer(
    help="The backtests and scores that are kept.\n\nExample: forecast backtests list",
    no_args_is_help=True,
)


def complete_names(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of backtests that a word may become."""
    from forecaster import atomic  # not the archive, which is slow to load

    home = context.params.get("home") or options.home_folder()
    names = [folder.name for folder in atomic.folders(home / "backtests")]
    names += [f"scores/{folder.name}" for folder in atomic.folders(home / "scores")]
    return [name for name in names if name.startswith(incomplete)]


Name = Annotated[
    str,
    typer.Argument(
        help="A name of `forecast backtests list`, or a folder.",
        metavar="NAME",
        autocompletion=complete_names,
    ),
]


@app.command("list")
def listing(
    *,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """List the backtests and scores in the home folder, the latest first.

    Example: forecast backtests list
    """
    from forecaster.backtesting import folders

    output.start(quiet=quiet, verbose=verbose)
    rows = [_row(name, it) for name, it in folders.stored(home).items()]
    rows.sort(key=lambda row: row["written"] or "", reverse=True)
    if as_json:
        output.dump("backtests", {"backtests": rows})
    elif rows:
        output.table(
            ["name", "models", "tickers", "from", "to", "written", "state"],
            [
                [
                    row["name"],
                    ",".join(row["models"]),
                    str(len(row["tickers"])),
                    *((row[name] or "–") for name in ("start", "end")),
                    (row["written"] or "–")[:16].replace("T", " "),
                    row["state"],
                ]
                for row in rows
            ],
            left=2,
        )
    else:
        output.note("there are no backtests yet; `forecast backtest` makes one")


@app.command()
def show(
    name: Name,
    *,
    out: Annotated[
        Path | None,
        options.optional(
            "Write a table of it to this file: .csv, .json, .parquet or .xlsx.", metavar="FILE"
        ),
    ] = None,
    table: options.Table = "forecasts",
    layout: options.Layout = "long",
    open_: options.OpenPlots = False,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Show the scores and the verdict of a backtest again.

    Example: forecast backtests show lstm-gjr-garch-ewma-naive --out forecasts.xlsx
    """
    from forecaster import exports
    from forecaster.backtesting import archive

    output.start(quiet=quiet, verbose=verbose)
    if out is not None:
        exports.check(out)
    _, export = results.destination(out, table, layout)
    folder = _folder(home, name)
    done = archive.load(folder)
    if export:
        results.write(done, export, home, quiet=quiet)
    results.tell(done, folder, export, as_json=as_json, open_=open_)


@app.command()
def remove(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Names of `forecast backtests list`, or folders.",
            metavar="NAMES...",
            autocompletion=complete_names,
        ),
    ],
    *,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Remove backtests or scores; the experiments stay written down in trials.jsonl.

    Example: forecast backtests remove lstm-gjr-garch-ewma-naive
    """
    from forecaster.backtesting import folders

    output.start(quiet=quiet, verbose=verbose)
    named = [_folder(home, name) for name in names]
    for folder in named:
        folders.remove(folder)
    if as_json:
        output.dump("backtests-removed", {"removed": [str(folder) for folder in named]})
    else:
        output.say("\n".join(f"removed {folder}" for folder in named))


def _row(name: str, folder: Path) -> dict[str, Any]:
    """Return what the list says of a folder, finished or not."""
    from forecaster.backtesting import folders

    written, parts = folders.written_at(folder), unfinished.finished(folder)
    row: dict[str, Any] = {"name": name, "folder": str(folder), "models": [], "tickers": []}
    row |= {"start": None, "end": None, "written": None, "state": "unfinished"}
    try:
        if written is None:
            request = unfinished.read_request(folder)
            models, spec = request.spec.models, request.spec
        else:
            provenance = folders.read_provenance(folder)
            models, spec = provenance.models, provenance.spec
            row["written"] = datetime.fromtimestamp(written, UTC).isoformat(timespec="seconds")
            row["state"] = "finished, and another unfinished" if parts else "finished"
    except StoreError:
        return row if written is None else row | {"state": "damaged"}
    return row | {
        "models": list(models),
        "tickers": list(spec.tickers),
        "start": str(spec.start) if spec.start else None,
        "end": str(spec.end) if spec.end else None,
    }


def _folder(home: Path, name: str) -> Path:
    """Return the folder of a backtest by its name or its path."""
    from forecaster import atomic
    from forecaster.backtesting import folders

    stored = folders.stored(home)
    if name in stored:
        return stored[name]
    if atomic.read_folder(Path(name), Path.is_dir):
        return Path(name)
    there = f"there are {', '.join(stored)}" if stored else "there are none yet"
    raise StoreError(f"there is no backtest {name!r}; {did_you_mean(name, stored)}{there}")
