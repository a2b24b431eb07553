"""``forecast report``."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from forecaster.cli import figures, options, output, results
from forecaster.errors import StoreError


def report(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="A backtest's folder; by default the latest backtest in the home folder.",
            show_default=False,
        ),
    ] = None,
    *,
    out: Annotated[
        Path | None, options.optional("The file to write; by default report.html in DIR.")
    ] = None,
    open_: Annotated[bool, options.flag("Show the report in a browser.", "--open")] = False,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Make a backtest's report again: one HTML file with interactive charts, for offline reading.

    Example: forecast report --open
    """
    from forecaster import atomic
    from forecaster.backtesting import archive, folders
    from forecaster.report import html

    output.start(quiet=quiet, verbose=verbose)
    place = folder or folders.latest(home)
    file = out or place / "report.html"
    if file.is_dir():
        raise StoreError(f"{file} is a folder; give --out a file, such as {file / 'report.html'}")
    with ExitStack() as stack:
        if out is None and atomic.read_folder(
            place, Path.is_dir
        ):  # the report must be that of the backtest beside it
            stack.enter_context(atomic.held(place))
        done = archive.load(place)
        page = html.page(done)
        with atomic.replacing(file) as temporary:
            temporary.write_text(page, encoding="utf-8")
    if as_json:
        output.dump(
            "report",
            {"report": str(file), "backtest": str(place), "verdict": done.verdict.text},
        )
    else:
        results.print_verdict(done.verdict)
        output.say(f"Report: {file}")
    if open_:
        figures.show_page(file)
