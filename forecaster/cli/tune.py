"""``forecast tune``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.cli import models, options, output
from forecaster.errors import StoreError, UsageError

if TYPE_CHECKING:
    from forecaster.model_selection.search import Tuned

SHOWN = 10
"""Trials that the terminal shows, the best."""


def tune(
    tickers: options.Tickers = None,
    model: Annotated[
        str,
        typer.Option(
            help="lstm, gru or rnn.",
            autocompletion=lambda incomplete: [
                it for it in ("lstm", "gru", "rnn") if it.startswith(incomplete)
            ],
        ),
    ] = "lstm",
    until: models.Until = None,
    trials: Annotated[
        int,
        typer.Option(
            min=1,
            help="Trials that the study shall have, those of before included; a larger number goes on.",
        ),
    ] = 30,
    study: Annotated[
        str | None,
        typer.Option(help="Name of the study; by default MODEL-DATE.", show_default=False),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Database of studies, such as postgresql://user@host/name; by default studies.db "
            "in the home folder. Several machines may work at one study.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file of settings to hold, which are then not searched.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the search and of the networks.")] = 0,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the best settings to this file, which train --config takes.",
            show_default=False,
        ),
    ] = None,
    engine: options.Engine = "local",
    address: options.Address = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Trials at once; by default one.", show_default=False),
    ] = None,
    home: options.Home = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Search for settings of a network, judged inside the training span.

    Example: forecast tune --until 2012-12-31 --trials 20 --save tuned.toml
    """
    from forecaster import atomic
    from forecaster.config import read
    from forecaster.data.store import Store
    from forecaster.model_selection import search
    from forecaster.parallel.jobs import Engine

    output.start(quiet=quiet, verbose=verbose)
    folder, workers = options.folder(home), Engine(engine, address, jobs)
    if save is not None:
        _check_replaceable(save)
    held = read(config) if config else {}
    store = Store(folder)
    objective = search.Objective.of(
        store.each(options.stored(store, tickers)),
        model=model,
        until=options.day(until),
        held=held,
        seed=seed,
    )
    try:
        with output.progress(quiet=quiet) as progress:
            found = search.run(
                objective,
                home=folder,
                trials=trials,
                study=study,
                storage=storage,
                engine=workers,
                progress=progress,
            )
    except KeyboardInterrupt:
        print("finished trials are kept, and the same command goes on from them", file=sys.stderr)
        raise
    if save is not None:
        with atomic.replacing(save) as temporary:
            temporary.write_text(_toml(found), encoding="utf-8")
    if as_json:
        output.dump(_document(found, save))
    else:
        _print(found, save)


def _check_replaceable(path: Path) -> None:
    """StoreError, before the search, if the file to be written is something else than settings."""
    from forecaster.config import RecurrentConfig, read, replaced

    if path.is_dir():
        raise StoreError(f"--save {path} is a folder; name a file, such as {path / 'tuned.toml'}")
    if path.exists():
        try:
            replaced(RecurrentConfig(), read(path))
        except UsageError as error:
            raise StoreError(
                f"--save would replace {path}, which holds something else than settings ({error}); "
                "name another file"
            ) from error


def _toml(found: "Tuned") -> str:
    """The best settings, and where they come from."""
    from forecaster.config import written

    best = found.outcomes[0]
    return (
        f"# Trial {best.trial} of the study {found.study}: CRPS {_percent(best.crps)}%, "
        f"by default {_percent(found.defaults)}%,\n# on {_days(found)}.\n{written(found.best)}"
    )


def _document(found: "Tuned", save: Path | None) -> dict[str, Any]:
    """What machines get; a CRPS is a fraction."""
    from dataclasses import asdict

    objective = found.objective
    return {
        "study": found.study,
        "model": objective.model,
        "tickers": list(objective.panel.tickers),
        "first": objective.first,
        "until": objective.until,
        "folds": [asdict(fold) for fold in objective.folds],
        "trials": [asdict(outcome) for outcome in found.outcomes],
        "best": found.best,
        "crps": {"defaults": found.defaults, **found.company},
        "importance": found.importance,
        "saved": save,
    }


def _print(found: "Tuned", save: Path | None) -> None:
    complete = [outcome for outcome in found.outcomes if outcome.complete]
    names = list(found.outcomes[0].settings)
    rows = [
        [str(it.trial), *_scored(it.crps, found), *(_said(it.settings[name]) for name in names)]
        for it in complete[:SHOWN]
    ]
    for name, crps in {"defaults": found.defaults, **found.company}.items():
        rows.append([name, *_scored(crps, found), *("–" for _ in names)])
    output.table(["trial", "CRPS %", "/defaults", *map(_words, names)], rows)
    if found.importance:
        shares = [[_words(name), f"{share:.0%}"] for name, share in found.importance.items()]
        output.table(["setting", "importance"], shares)
    pruned = len(found.outcomes) - len(complete)
    output.say(
        f"Study {found.study}: {len(complete)} trials finished, {pruned} pruned; CRPS on {_days(found)}. "
        + _too_few(found)
        + "The lowest of many flatters itself: what it is worth says a backtest of days after "
        f"{found.objective.until}, of a run trained until then."
        + (f"\nSettings: {save}" if save else "")
    )


def _too_few(found: "Tuned") -> str:
    from forecaster.model_selection.search import TELLING

    if found.importance:
        return ""
    return f"How much each setting matters takes {TELLING} finished trials to say. "


def _days(found: "Tuned") -> str:
    folds, until = found.objective.folds, found.objective.until
    return f"{len(folds)} folds after {folds[0].until}, to {until}"


def _scored(crps: float | None, found: "Tuned") -> list[str]:
    ratio = crps / found.defaults if crps and found.defaults else None
    return [_percent(crps), "–" if ratio is None else f"{ratio:.4f}"]


def _percent(crps: float | None) -> str:
    return "–" if crps is None else f"{100 * crps:.4f}"


def _said(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value) or "–"


def _words(name: str) -> str:
    return name.replace("_", " ")
