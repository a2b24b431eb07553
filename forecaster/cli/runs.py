"""``forecast runs``: the trained runs, and which of them forecasts by default."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.cli import holdout, options, output, ticker_lists
from forecaster.errors import BundleError, UsageError, did_you_mean

if TYPE_CHECKING:
    from forecaster.runs.base import Card
    from forecaster.runs.bundle import RunVerdict
    from forecaster.runs.run import Run

log = logging.getLogger(__name__)

FEW = 20
"""Tickers that are named, and not counted."""

app = typer.Typer(
    help="The trained runs, and which of them forecasts by default; without a command they are listed."
    "\n\nExample: forecast runs",
    invoke_without_command=True,
)


@app.callback()
def listing(
    context: typer.Context,
    *,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """List the trained runs, and the base run that comes with the package.

    Example: forecast runs
    """
    if context.invoked_subcommand is None:
        _list(home, as_json=as_json, quiet=quiet, verbose=verbose)
    else:
        options.check_place(context)


def _list(home: Path, *, as_json: bool, quiet: bool, verbose: bool) -> None:
    from forecaster.runs import base, bundle, choice
    from forecaster.runs.run import BASE

    output.start(quiet=quiet, verbose=verbose)
    if (home / "runs" / BASE).is_dir():
        log.warning(
            "%s is passed over, as %s is the run that comes with the package; rename the folder",
            home / "runs" / BASE,
            BASE,
        )
    rows, losses, broken = list[dict[str, Any]](), [], []
    usual = choice.default(home)
    for name in bundle.names(home):
        try:
            summary, its = bundle.summary(home, name)
            rows.append({**summary, "packaged": False, "default": name == usual})
            losses.append(its)
        except BundleError as error:
            broken.append(error)
    document = base.document()
    settings = document.pop("settings")
    rows.append(document | {"packaged": True, "default": usual == BASE})
    losses.append(bundle.losses(settings))
    if as_json:
        output.dump("runs", {"runs": rows})
    else:
        output.table(
            ["run", "model", "tickers", "first", "until", "created", "note", "loss by epoch"],
            [
                [
                    row["name"],
                    row["model"],
                    ticker_lists.count(row["tickers"]),
                    row["first"],
                    row["until"],
                    row["created"][:16].replace("T", " "),
                    ", ".join(it for it in ("packaged", "default") if row[it]) or "–",
                    output.sparkline(loss) or "–",
                ]
                for row, loss in zip(rows, losses, strict=True)
            ],
            left=3,
            picture=True,
        )
        if len(rows) == 1 and not broken and not quiet:
            output.note("there are no runs of your own yet; `forecast train` makes one")
    output.end(broken)


@app.command()
def default(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Name of the run; without one, the default run is shown.",
            show_default=False,
            autocompletion=options.complete_runs,
        ),
    ] = None,
    *,
    none: Annotated[bool, options.flag("Have no default run any more.", "--none")] = False,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Say which run forecasts where no --run is named, or show which one does.

    Without a default run it is the latest network that you trained, else the base run.

    Example: forecast runs default lstm-2023-12-29
    """
    from forecaster.runs import choice

    output.start(quiet=quiet, verbose=verbose)
    if none and name is not None:
        raise UsageError(f"--none leaves no default run: drop it, or drop {name}")
    if none:
        choice.clear_default(home)
    elif name is not None:
        choice.set_default(home, name)
    usual, chosen = choice.default(home), choice.choose(home)
    if as_json:
        document = {"default": usual, "run": chosen.run.name, "chosen_by": chosen.reason}
        output.dump("runs-default", document)
    elif usual is not None and chosen.reason is choice.Reason.DEFAULT:
        output.say(f"the default run is {usual}")
    else:
        output.say(f"there is no default run; what forecasts is {chosen.run.name}{chosen.words}")


@app.command()
def show(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Name of the run; by default that which `forecast predict` takes.",
            show_default=False,
            autocompletion=options.complete_runs,
        ),
    ] = None,
    *,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Show what a run was trained on, its settings and the verdict of its last backtest.

    Of the base run, which comes with the package, it shows the model card too.

    Example: forecast runs show base
    """
    from dataclasses import asdict

    from forecaster.runs import base, bundle, choice

    output.start(quiet=quiet, verbose=verbose)
    run = choice.choose(home, name).run
    verdict = bundle.last_verdict(run, home)
    card = base.card() if run.is_base else None
    if as_json:
        document = {
            **run.summary,
            "settings": run.settings,
            "horizon": run.model.horizon,
            "verdict": asdict(verdict) if verdict else None,
            "card": card.document if card else None,
        }
        output.dump("runs-show", document)
        return
    output.table(["of the run", run.name], _facts(run), left=2, prose=True)
    if run.settings:
        cells = [[name, str(value)] for name, value in run.settings.items()]
        output.table(["setting", "value"], cells, left=2)
    output.say(_verdict(run, verdict, home))
    if card:
        _print_card(card)


@app.command()
def remove(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Names of runs.", metavar="NAMES...", autocompletion=options.complete_own_runs
        ),
    ],
    *,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Remove runs, and what interrupted trainings of them left; nothing if one of them is not there.

    Example: forecast runs remove lstm-2012-12-31
    """
    from forecaster.runs import bundle, choice
    from forecaster.runs.run import BASE

    output.start(quiet=quiet, verbose=verbose)
    there = bundle.removable(home)
    for name in names:
        if name.casefold() == BASE:
            raise UsageError(f"{BASE} comes with the package and cannot be removed")
        if name not in there:
            words = f"there are {', '.join(there)}" if there else "there are none of your own"
            raise UsageError(f"there is no run {name!r}; {did_you_mean(name, there)}{words}")
    removed = list(dict.fromkeys(names))
    usual = choice.default(home)
    for name in removed:
        bundle.remove(home, name)
    cleared = usual if usual in removed else None
    if cleared:
        choice.clear_default(home)
    if as_json:
        output.dump("runs-removed", {"removed": removed, "default_cleared": cleared})
        return
    output.say("\n".join(f"removed run {name}" for name in removed))
    if cleared:
        output.say(f"{cleared} was the default run, and there is none now")


def _facts(run: "Run") -> list[list[str]]:
    """Return rows of what is known of a run."""
    tickers = ", ".join(run.tickers) if len(run.tickers) <= FEW else None
    ahead = run.model.horizon
    return [
        ["model", run.model.name],
        ["started from", f"run {run.start['name']}" if run.start else "no other run"],
        ["trained on", tickers or ticker_lists.count(run.tickers)],
        ["sessions", f"{run.first} to {run.until}"],
        ["earnings dates", "yes" if run.events_sha256 else "none"],
        ["forecasts", f"up to {ahead} sessions ahead" if ahead > 1 else "the next session"],
        ["created", run.created[:16].replace("T", " ")],
        ["versions", ", ".join(f"{name} {number}" for name, number in run.versions.items())],
    ]


def _verdict(run: "Run", verdict: "RunVerdict | None", home: Path) -> str:
    if verdict is None:
        tested = holdout.backtesting(None, run.model.name, home, run=run.name)
        return f"It has no backtest here yet: `{tested}` says what it is worth."
    return f"Its backtest of {verdict.start} to {verdict.end}: {verdict.summary or verdict.verdict}"


def _print_card(card: "Card") -> None:
    """Print what the card of the base run adds."""
    document: Any = card.document
    output.table(
        ["trained on", "kind", "exchange", "tickers", "first", "until", "licence"],
        [
            [str(it[name]) for name in ("name", "kind", "exchange", "tickers", "first", "until")]
            + [it["licence"]]
            for it in document["data"]
        ],
        left=3,
        prose=True,
    )
    output.table(
        ["scored on", "kind", "from", "to", "CRPS /gjr", "better on", "in 80%", "in 95%", "how"],
        [
            [
                it.set,
                it.kind,
                it.first,
                it.last,
                f"{it.crps_over_gjr:.4f}",
                f"{it.better_on} of {it.tickers}",
                f"{it.in_80:.1f}%",
                f"{it.in_95:.1f}%",
                it.how,
            ]
            for it in card.scores
        ],
        left=2,
        prose=True,
    )
    output.say(f"Good at: {'; '.join(document['good_at'])}.")
    output.say(f"Bad at: {'; '.join(document['bad_at'])}.")
