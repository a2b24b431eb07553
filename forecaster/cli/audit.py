"""``forecast audit``."""

from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli import options, output, supply
from forecaster.errors import HistoryError, UsageError

if TYPE_CHECKING:
    from forecaster.backtesting import leakage_audit

MOST_TICKERS = 10
"""Audited where no ticker is named: one is enough to show a leak."""


def audit(
    tickers: options.FetchedTickers = None,
    *,
    model: Annotated[
        str | None,
        options.optional(
            "A model's name; lstm by default.", autocompletion=options.complete_models
        ),
    ] = None,
    run: Annotated[
        str | None,
        options.run("Audit the model, settings and tickers of this run, trained anew."),
    ] = None,
    until: options.Until = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings to compare.")] = 3,
    seed: options.Seed = None,
    epochs: options.Epochs = None,
    config: options.Config = None,
    home: options.Home,
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
    from forecaster.config import RecurrentConfig, configured, replaced
    from forecaster.data import companions, prices
    from forecaster.data.event_store import EventStore
    from forecaster.data.store import Store
    from forecaster.runs import bundle

    output.start(quiet=quiet, verbose=verbose)
    if run is not None and (model or config):
        raise UsageError(f"run {run} has its own model and settings; drop --run, or the others")
    settings, name = RecurrentConfig(), model or "lstm"
    if run is not None:
        trained = bundle.load(home, run)
        name = trained.model.name
        tickers = tickers or (None if trained.is_base else trained.tickers)
        settings = replaced(settings, (trained.settings or {}) | {"horizon": trained.model.horizon})
    settings = configured(config, settings, seed=seed, epochs=epochs)
    store = Store(home)
    stored = supply.tickers(store, tickers, quiet=quiet)
    chosen = stored if tickers else stored[:MOST_TICKERS]
    if len(chosen) < len(stored) and not quiet:
        output.note(
            f"auditing the first {len(chosen)} of {len(stored)} stored tickers; name others to audit "
            "those"
        )
    frame = store.read(chosen)
    begin = frame["date"].min().date()
    if until and until < begin:
        raise HistoryError(
            f"--until must lie within the stored prices, which start {begin}; got {until}"
        )
    frame = prices.between(frame, None, until)
    scheduled = EventStore(home).read(chosen)
    events = None if scheduled.empty else scheduled
    beside = companions.read(home, chosen)
    with output.progress(quiet=quiet) as progress:
        checks = leakage_audit.audit(
            frame,
            name,
            events=events,
            companions=None if beside.empty else beside,
            config=settings,
            seeds=seeds,
            progress=progress,
        )
    passed = sum(check.passed for check in checks)
    if as_json:
        rows = archive.records(pd.DataFrame([asdict(check) for check in checks]))
        output.dump("audit", {"model": name, "checks": rows})
    else:
        _print(checks)
        honest = "an honest model, which is not yet a good one"
        meaning = honest if passed == len(checks) else "do not believe its scores"
        output.say(f"{name} passed {passed} of {len(checks)} checks: {meaning}")
    if passed < len(checks):
        raise typer.Exit(1)


def _print(checks: "list[leakage_audit.Check]") -> None:
    """Print a row for each check."""
    output.table(
        ["check", "result", "number", "what it means"],
        [
            [
                check.name,
                "passed" if check.passed else "FAILED",
                f"{check.number:.4g} {check.unit}",
                check.words,
            ]
            for check in checks
        ],
        left=4,
        prose=True,
    )
