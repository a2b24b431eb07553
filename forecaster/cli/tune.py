"""``forecast tune``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.cli import options, output, ticker_lists
from forecaster.errors import StoreError, UsageError
from forecaster.models.registry import NETWORKS

if TYPE_CHECKING:
    from forecaster.model_selection.search import SearchResult

SHOWN = 10
"""Trials that the terminal shows, the best."""


def tune(
    tickers: options.Tickers = None,
    *,
    model: Annotated[
        str,
        typer.Option(
            help="lstm, gru or rnn.",
            autocompletion=lambda incomplete: [it for it in NETWORKS if it.startswith(incomplete)],
        ),
    ] = "lstm",
    until: options.Until = None,
    trials: Annotated[
        int,
        typer.Option(
            min=1,
            help="Trials that the study shall have, those of before included; a larger number goes on.",
        ),
    ] = 30,
    study: Annotated[
        str | None,
        options.optional("Name of the study; by default MODEL-DATE."),
    ] = None,
    storage: Annotated[
        str | None,
        options.optional(
            "Database of studies, such as postgresql://user@host/name; by default studies.db in the "
            "home folder. Several machines may work at one study.",
            metavar="URL",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        options.optional("TOML file of settings to hold, which are then not searched."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the search and of the networks.")] = 0,
    out: Annotated[
        Path | None,
        options.optional(
            "Write the best settings to this file, which train --config takes.", metavar="FILE"
        ),
    ] = None,
    engine: options.Engine = "local",
    address: options.Address = None,
    jobs: Annotated[int | None, options.optional("Trials at once; by default one.", min=1)] = None,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Search for settings of a network, judged inside the training span.

    Example: forecast tune --until 2012-12-31 --trials 20 --out tuned.toml
    """
    from forecaster import atomic
    from forecaster.config import read
    from forecaster.data import companions
    from forecaster.data.event_store import EventStore
    from forecaster.data.store import Store
    from forecaster.model_selection import search
    from forecaster.parallel.jobs import Engine

    output.start(quiet=quiet, verbose=verbose)
    workers = Engine(engine, address, jobs)
    if out is not None:
        _check_replaceable(out)
    held = read(config) if config else {}
    store = Store(home)
    stored = ticker_lists.stored(store, tickers)
    objective = search.Objective.of(
        store.each(stored),
        events=EventStore(home).read(stored),
        companions=companions.read(home, stored),
        model=model,
        until=until,
        held=held,
        seed=seed,
    )
    try:
        with output.progress(quiet=quiet) as progress:
            result = search.run(
                objective,
                home=home,
                trials=trials,
                study=study,
                storage=storage,
                engine=workers,
                progress=progress,
            )
    except KeyboardInterrupt:
        output.note("finished trials are kept, and the same command goes on from them")
        raise
    if out is not None:
        with atomic.replacing(out) as temporary:
            temporary.write_text(_toml(result), encoding="utf-8")
    if as_json:
        output.dump("tune", _document(result, out))
    else:
        _print(result, out)


def _check_replaceable(path: Path) -> None:
    """Raise a StoreError, before the search, if the file to write holds anything but settings."""
    from forecaster.config import RecurrentConfig, read, replaced

    if path.is_dir():
        raise StoreError(f"--out {path} is a folder; name a file, such as {path / 'tuned.toml'}")
    if path.exists():
        try:
            replaced(RecurrentConfig(), read(path))
        except UsageError as error:
            raise StoreError(
                f"--out would replace {path}, which holds something else than settings ({error}); "
                "name another file"
            ) from error


def _toml(result: "SearchResult") -> str:
    """Return the best settings as TOML, with where they come from."""
    from forecaster.config import to_toml

    best = result.trials[0]
    return (
        f"# Trial {best.trial} of the study {result.study}: CRPS {_percent(best.crps)}%, "
        f"by default {_percent(result.defaults)}%,\n# on {_days(result)}.\n{to_toml(result.best)}"
    )


def _document(result: "SearchResult", out: Path | None) -> dict[str, Any]:
    """Return the result for JSON; a CRPS is a fraction."""
    from dataclasses import asdict

    objective = result.objective
    return {
        "study": result.study,
        "model": objective.model,
        "tickers": list(objective.panel.tickers),
        "first": objective.first,
        "until": objective.until,
        "folds": [asdict(fold) for fold in objective.folds],
        "trials": [asdict(trial) for trial in result.trials],
        "best": result.best,
        "crps": {"defaults": result.defaults, **result.reference},
        "importance": result.importance,
        "out": out,
    }


def _print(result: "SearchResult", out: Path | None) -> None:
    complete = [trial for trial in result.trials if trial.complete]
    names = list(result.trials[0].settings)
    rows = [
        [str(it.trial), *_scored(it.crps, result), *(_said(it.settings[name]) for name in names)]
        for it in complete[:SHOWN]
    ]
    for name, crps in {"defaults": result.defaults, **result.reference}.items():
        rows.append([name, *_scored(crps, result), *("–" for _ in names)])
    output.table(["trial", "CRPS %", "/defaults", *map(_words, names)], rows)
    if result.importance:
        shares = [[_words(name), f"{share:.0%}"] for name, share in result.importance.items()]
        output.table(["setting", "importance"], shares)
    pruned = len(result.trials) - len(complete)
    output.say(
        f"Study {result.study}: {len(complete)} trials finished, {pruned} pruned; CRPS on {_days(result)}. "
        + _too_few(result)
        + "The lowest of many flatters itself: what it is worth says a backtest of days after "
        f"{result.objective.until}, of a run trained until then."
        + (f"\nSettings: {out}" if out else "")
    )


def _too_few(result: "SearchResult") -> str:
    from forecaster.model_selection.search import IMPORTANCE_TRIALS

    if result.importance:
        return ""
    return f"How much each setting matters takes {IMPORTANCE_TRIALS} finished trials to say. "


def _days(result: "SearchResult") -> str:
    folds, until = result.objective.folds, result.objective.until
    return f"{len(folds)} folds after {folds[0].until}, to {until}"


def _scored(crps: float | None, result: "SearchResult") -> list[str]:
    ratio = crps / result.defaults if crps and result.defaults else None
    return [_percent(crps), "–" if ratio is None else f"{ratio:.4f}"]


def _percent(crps: float | None) -> str:
    return "–" if crps is None else f"{100 * crps:.4f}"


def _said(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value) or "–"


def _words(name: str) -> str:
    return name.replace("_", " ")
