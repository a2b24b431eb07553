"""The command ``forecast``: parse, one call, print.

Exit codes: 0 done; 1 failed, wholly or in part, and stderr says what; 2 wrong usage; 130 interrupted.
"""

import atexit
import gc
import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from forecaster import __version__
from forecaster.cli import (
    alerts,
    audit,
    backtest,
    backtests,
    daily,
    data,
    explain,
    fetch,
    ledger,
    output,
    plot,
    predict,
    renames,
    report,
    runs,
    score,
    serve,
    train,
    tune,
)
from forecaster.errors import ForecastError

INTERRUPTED = 130

app = typer.Typer(
    name="forecast",
    help=(
        "Next-day forecasts of stocks, as distributions, beside naive and GARCH.\n\n"
        "Example: forecast predict AAPL\n\n"
        "Exit codes: 0 done, 1 failed (some or all, said which), 2 wrong usage, 130 interrupted."
    ),
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.command("fetch")(fetch.fetch)
app.add_typer(data.app, name="data")
app.command("train")(train.train)
app.command("tune", cls=renames.Command)(tune.tune)
app.command("predict", cls=renames.Command)(predict.predict)
app.command("daily")(daily.daily)
app.command("backtest")(backtest.backtest)
app.add_typer(backtests.app, name="backtests")
app.command("plot")(plot.plot)
app.command("explain", cls=renames.Command)(explain.explain)
app.command("report")(report.report)
app.add_typer(ledger.app, name="ledger")
app.command("score")(score.score)
app.command("audit")(audit.audit)
app.add_typer(runs.app, name="runs")
app.command("serve")(serve.serve)
app.add_typer(alerts.app, name="alerts")


def _version(requested: bool) -> None:
    if requested:
        output.say(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command and exits; the one place where an error becomes an exit code."""
    output.spell()
    # A command makes much and drops little: looking for cycles at every turn takes a tenth of its time.
    gc.set_threshold(50_000, 20, 100)
    code = _run(list(sys.argv[1:] if arguments is None else arguments))
    if code == INTERRUPTED or (code and _abandoned()):
        # Threads of TensorFlow or Ray may be at work, and crash if the interpreter is taken down
        # around them. Processes that wait for more work would be waited for.
        import multiprocessing

        for worker in multiprocessing.active_children():
            worker.terminate()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _abandoned() -> bool:
    from forecaster.parallel import engines

    return engines.abandoned.is_set()


def _run(arguments: list[str]) -> int:
    try:
        code = app(arguments, prog_name="forecast", standalone_mode=False) or 0
    except ForecastError as error:
        return _failed(str(error), error.exit_code, error)
    except typer.TyperException as error:
        if not error.format_message():  # help was asked for by saying nothing, and given
            return 0
        return _failed(_explained(error), error.exit_code, error)
    except OSError as error:
        return _failed(f"{error.filename or 'the system'}: {error.strerror or error}", 1, error)
    if code == INTERRUPTED:
        output.note("interrupted; what is stored is as it was, or complete")
    return code


def _explained(error: typer.TyperException) -> str:
    """What was wrong with the words of a command, and where it says what they can be."""
    context = getattr(error, "ctx", None)
    message = error.format_message().rstrip(".")
    end = "" if message.endswith("?") else "."
    return f"{message}{end} See `{context.command_path if context else 'forecast'} --help`"


def _failed(message: str, code: int, error: Exception) -> int:
    output.error(message)
    logging.getLogger("forecaster").debug("where it came from", exc_info=error)
    return code
