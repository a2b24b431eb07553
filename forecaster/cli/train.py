"""``forecast train``."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from forecaster.cli import holdout, options, output, ticker_lists
from forecaster.config import RecurrentConfig

if TYPE_CHECKING:
    from forecaster.data.store import Store
    from forecaster.runs.run import Run

AFRESH = "afresh"
"""What ``--from`` says to start from no weights."""


def train(
    tickers: options.Tickers = None,
    *,
    run: Annotated[str | None, options.optional("Name of the run; by default MODEL-DATE.")] = None,
    model: options.Model = options.DEFAULT_MODEL,
    until: options.Until = None,
    seeds: Annotated[
        int | None,
        options.optional(
            f"Networks to train and average; {RecurrentConfig.seeds} by default.", min=1
        ),
    ] = None,
    seed: options.Seed = None,
    horizon: options.Horizon = None,
    epochs: options.Epochs = None,
    max_windows: Annotated[
        int | None,
        options.optional(
            "The most training windows in an epoch, drawn at random; all by default.", min=0
        ),
    ] = None,
    config: options.Config = None,
    from_: Annotated[
        str | None,
        options.run(
            "Start from the weights of this run, for a few epochs; afresh starts from none. By default "
            "an lstm of the usual settings starts from the base run, where that knows no later session.",
            "--from",
        ),
    ] = None,
    resume: Annotated[
        bool, options.flag("Go on with an interrupted training of this run.", "--resume")
    ] = False,
    engine: options.Engine = "local",
    address: options.Address = None,
    jobs: Annotated[
        int | None,
        options.optional(
            "The most workers, for a model that is fitted ticker by ticker; by default one a core.",
            min=1,
        ),
    ] = None,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Fit a model on stored prices and keep it as a run.

    Example: forecast train --until 2023-12-29
    """
    from forecaster.config import configured
    from forecaster.data import companions
    from forecaster.data.event_store import EventStore
    from forecaster.data.store import Store
    from forecaster.evaluation import experiment_log
    from forecaster.models.registry import create
    from forecaster.parallel.jobs import Engine
    from forecaster.runs import bundle, training
    from forecaster.runs.run import checked_name

    output.start(quiet=quiet, verbose=verbose)
    workers = Engine(engine, address, jobs)
    start = None if from_ in (None, AFRESH) else bundle.load(home, from_)
    settings = configured(
        config,
        None if start is None else training.settings_from(start, model),
        seeds=seeds,
        seed=seed,
        horizon=horizon,
        epochs=epochs,
        max_windows=max_windows,
    )
    if run is not None:
        checked_name(run)
    create(model, settings)  # raises at once if there is no such model
    store = Store(home)
    stored = ticker_lists.stored(store, tickers)
    typed = (from_, config, seeds, seed, horizon, epochs, max_windows)
    if model == options.DEFAULT_MODEL and all(value is None for value in typed):
        start = _base(until or _last(store, stored))
        settings = training.settings_from(start, model) if start else settings
    with output.progress(quiet=quiet) as progress:
        trained = training.train(
            store.each(stored),
            events=EventStore(home).read(stored),
            companions=companions.read(home, stored),
            model=model,
            name=run,
            until=until,
            config=settings,
            progress=progress,
            home=home,
            resume=resume,
            start=start,
            engine=workers,
        )
        folder = bundle.save(trained, home)
        experiment_log.record(home, training.experiment(trained))
    if as_json:
        output.dump("train", {**trained.summary, "folder": str(folder)})
        return
    output.say(
        f"run {trained.name}: {model} on {ticker_lists.count(trained.tickers)}, "
        f"{trained.first} to {trained.until}\nin {folder}"
    )
    if start is not None and from_ is None:
        output.say(f"It started from run {start.name}; `--from {AFRESH}` starts from none.")
    networks = {
        "seeds": seeds,
        "seed": seed,
        "horizon": horizon,
        "epochs": epochs,
        "max-windows": max_windows,
        "config": config,
        "from": from_
        if start and start.until <= holdout.until(trained.first, trained.until)
        else None,
    }
    chosen = [f"--{name}={value}" for name, value in networks.items() if value is not None]
    output.say(_next(trained, tickers, home, _last(store, stored), chosen))


def _base(last: date) -> "Run | None":
    """Return the base run, if it knows no session after the last that is to be learnt from."""
    from forecaster.runs import base

    run = base.load()
    return run if run.until <= last else None


def _last(store: "Store", tickers: list[str]) -> date:
    """Return the last session that is stored of some tickers."""
    return max(state.last.date() for it in tickers if (state := store.state(it)))


def _next(
    trained: "Run", words: list[str] | None, home: Path, last: date, settings: list[str]
) -> str:
    """Return how to learn what a run is worth."""
    model = trained.model.name
    if trained.until < last:
        tested = holdout.backtesting(words, model, home, run=trained.name)
        return f"What it is worth on the sessions after {trained.until}: {tested}"
    day = holdout.until(trained.first, trained.until)
    return (
        "It has seen all that is stored, so there is nothing to backtest it on. What such a model is "
        "worth is seen on years that it has not:\n"
        f"  {holdout.training(words, model, home, day, *settings)}\n"
        f"  {holdout.backtesting(words, model, home)}"
    )
