"""``forecast audit``."""

from pathlib import Path
from typing import Annotated

import typer

from forecaster.cli import models as model_commands
from forecaster.cli import options, output
from forecaster.errors import HistoryError, UsageError

MOST_TICKERS = 10
"""So many are audited where none is named: a leak shows in one."""


def audit(
    tickers: options.Tickers = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A model's name; lstm by default.",
            show_default=False,
            autocompletion=options.complete_models,
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            help="Audit the model, settings and tickers of this run, trained anew.",
            show_default=False,
            autocompletion=options.complete_runs,
        ),
    ] = None,
    until: model_commands.Until = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings to compare.")] = 3,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="The most epochs to train; 20 by default.", show_default=False),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of settings.", show_default=False)
    ] = None,
    home: options.Home = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Prove a model honest on your own prices: that it sees no future and invents no skill.

    The model is trained anew on parts of the last eight years. Exit code 1 if a check fails.

    Example: forecast audit --model lstm
    """
    from dataclasses import asdict

    import pandas as pd

    from forecaster.backtesting import archive, leakage_audit
    from forecaster.config import RecurrentConfig, read, replaced
    from forecaster.data import prices
    from forecaster.data.store import Store
    from forecaster.runs import bundle

    output.start(quiet=quiet, verbose=verbose)
    if run is not None and (model or config):
        raise UsageError(f"run {run} has its own model and settings; drop --run, or the others")
    settings, name = RecurrentConfig(), model or "lstm"
    if run is not None:
        trained = bundle.load(options.folder(home), run)
        name, tickers = trained.model.name, tickers or trained.tickers
        settings = replaced(settings, trained.settings or {})
    values = read(config) if config else {}
    settings = replaced(settings, values | ({"epochs": epochs} if epochs else {}))
    store = Store(options.folder(home))
    asked = options.stored(store, tickers)
    chosen = asked if tickers else asked[:MOST_TICKERS]
    if len(chosen) < len(asked) and not quiet:
        output.note(
            f"auditing the first {len(chosen)} of {len(asked)} stored tickers; name others to audit "
            "those"
        )
    frame = store.read(chosen)
    begin, last = frame["date"].min().date(), options.day(until)
    if last and last < begin:
        raise HistoryError(
            f"--until must lie within the stored prices, which start {begin}; got {last}"
        )
    frame = prices.between(frame, None, last)
    with output.progress(quiet=quiet) as progress:
        found = leakage_audit.audit(frame, name, config=settings, seeds=seeds, progress=progress)
    passed = sum(check.passed for check in found)
    if as_json:
        output.dump(archive.records(pd.DataFrame([asdict(check) for check in found])))
    else:
        output.table(
            ["check", "result", "number", "what it means"],
            [
                [
                    check.name,
                    "passed" if check.passed else "FAILED",
                    f"{check.number:.4g} {check.unit}",
                    check.words,
                ]
                for check in found
            ],
            left=4,
            prose=True,
        )
        output.say(
            f"{name} passed {passed} of {len(found)} checks: "
            + (
                "an honest model, which is not yet a good one"
                if passed == len(found)
                else "do not believe its scores"
            )
        )
    if passed < len(found):
        raise typer.Exit(1)
