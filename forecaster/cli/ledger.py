"""``forecast ledger``: the forecasts that were made before the day, and what came."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from forecaster.cli import options, output, ticker_lists
from forecaster.display import number, price
from forecaster.errors import HistoryError, StoreError, UsageError, did_you_mean, first_few

if TYPE_CHECKING:
    from forecaster.live.database import Head
    from forecaster.live.outcomes import Outcome
    from forecaster.live.scoring import Promise, Record, StepRecord

SHOW = "show"
"""The command that is meant where none is named."""


class Group(TyperGroup):
    """Commands of which one need not be named: ``forecast ledger AAPL`` shows AAPL."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse words that may begin with a ticker or an option of the command that shows."""
        named = {*self.commands, *ctx.help_option_names}
        if not ctx.resilient_parsing and not named.intersection(args[:1]):
            args = [SHOW, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Return the commands, and what may follow the one that shows."""
        (tickers, *_) = self.commands[SHOW].params
        return [*super().shell_complete(ctx, incomplete), *tickers.shell_complete(ctx, incomplete)]


def complete_tickers(context: typer.Context, incomplete: str) -> list[str]:
    """Return the tickers of the ledger that a word may become, without those typed before."""
    from forecaster.live import outcomes

    typed = context.params.get("tickers") or ()
    recorded = outcomes.tickers_of(context.params.get("home") or options.home_folder())
    return [it for it in recorded if it.startswith(incomplete) and it not in typed]


Tickers = Annotated[
    list[str] | None,
    typer.Argument(
        help="Tickers, separated by blanks or commas; @FILE reads a list. None means all that the "
        "ledger has recent forecasts of.",
        show_default=False,
        autocompletion=complete_tickers,
    ),
]
Run = Annotated[
    str | None,
    options.run("Name of a run; by default that with the most settled forecasts in the ledger."),
]

AllRuns = Annotated[
    bool,
    options.flag(
        "All runs as they forecast in turn, such as those of `forecast daily --retrain`: of each night "
        "the forecast that was recorded first.",
        "--all-runs",
    ),
]

app = typer.Typer(
    cls=Group,
    help="The forecasts that were made before the day, and what came. Without a command they are "
    "shown by ticker, as `forecast ledger show` does.\n\nExample: forecast ledger AAPL MSFT",
)


@app.command(SHOW)
def show(
    tickers: Tickers = None,
    *,
    run: Annotated[
        str | None, options.run("Forecasts by this run alone; by default by whichever.")
    ] = None,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Show of each ticker what the last forecast said and what came, and the one that is open.

    Example: forecast ledger show AAPL MSFT
    """
    from forecaster.live import outcomes

    output.start(quiet=quiet, verbose=verbose)
    wanted, failed = None, []
    if tickers:
        known = outcomes.tickers_of(home)
        wanted = _named(tickers, known)
        if missing := [it for it in wanted if it not in known]:
            failed.append(_not_recorded(missing, known))
    rows = outcomes.latest(home, wanted, run)
    if as_json:
        output.dump("ledger", {"forecasts": [_document(row) for row in rows]})
    elif rows:
        _print(rows)
    elif run is not None and not failed:
        failed.append(StoreError(f"the ledger has no forecast of these by the run {run!r}"))
    elif not failed:
        output.note(outcomes.EMPTY)
    output.end(failed)


def _named(words: list[str], known: list[str]) -> list[str]:
    """Return tickers as typed, in the capitals that the ledger has."""
    from forecaster.data import capitals

    return capitals.matched(ticker_lists.expanded(words, known), known)


def _not_recorded(missing: list[str], known: list[str]) -> StoreError:
    from forecaster.live.outcomes import EMPTY

    if not known:
        return StoreError(EMPTY)
    commands = {it.name or "" for it in app.registered_commands}
    for word in missing:
        if word in commands:
            raise UsageError(f"write {word} right after `forecast ledger`")
    return StoreError(
        f"the ledger has no forecast of {first_few(missing)}; {did_you_mean(missing, known)}"
        f"it has those of {first_few(known)}"
    )


def _document(row: "Outcome") -> dict[str, Any]:
    """Return a forecast and what came of it as JSON has them."""
    document = row._asdict()
    document["intervals"] = {percent: list(ends) for percent, ends in row.intervals.items()}
    return document


def _print(rows: "list[Outcome]") -> None:
    """Print a row for each ticker, and how many of what came last was inside."""
    by_ticker: dict[str, list[Outcome | None]] = {}
    for row in rows:
        by_ticker.setdefault(row.ticker, [None, None])[row.status == "open"] = row
    output.table(
        [
            *("ticker", "session", "median", "80% interval", "came", "return", "inside"),
            *("next", "median", "80% interval"),
        ],
        [[ticker, *_past(its[0]), *_next(its[1])] for ticker, its in sorted(by_ticker.items())],
    )
    came = [row for row in rows if row.inside is not None and not row.late]
    if came:
        dates = sorted({row.date for row in came})
        inside = sum(row.inside["80"] for row in came if row.inside)
        output.say(
            f"{inside:,} of {len(came):,} came within the 80% interval "
            f"({dates[0]}{f' to {dates[-1]}' if len(dates) > 1 else ''})."
        )
    if late := [row.ticker for row in rows if row.late]:
        output.say(
            f"Late, made after the session had opened (*): {first_few(dict.fromkeys(late))}."
        )
    if vanished := [row.ticker for row in rows if row.status == "vanished"]:
        output.say(f"Vanished, no price came: {first_few(vanished)}.")


def _past(row: "Outcome | None") -> list[str]:
    if row is None:
        return ["–"] * 6
    words = [f"{row.date}{'*' if row.late else ''}", price(row.median), _interval(row)]
    if row.price is None or row.log_return is None or row.inside is None:
        return [*words, row.status, "–", "–"]
    inside = "yes" if row.inside["80"] else "in 95%" if row.inside["95"] else "no"
    came = price(row.price, beside=row.median)
    return [*words, came, f"{row.price / row.last_close - 1:+.2%}", inside]


def _next(row: "Outcome | None") -> list[str]:
    if row is None:
        return ["–"] * 3
    return [f"{row.date}{'*' if row.late else ''}", price(row.median), _interval(row)]


def _interval(row: "Outcome") -> str:
    return " – ".join(price(end, beside=row.median) for end in row.intervals["80"])


@app.command("score")
def score(
    *,
    run: Run = None,
    all_runs: AllRuns = False,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Say what a run's forecasts were worth so far, beside those of gjr and naive of the same nights.

    It may be looked at every day: what is shown holds whenever one looks.

    Example: forecast ledger score
    """
    from forecaster.live import scoring

    output.start(quiet=quiet, verbose=verbose)
    record = scoring.record(home, _chosen(home, run, all_runs=all_runs))
    if not (record.steps or record.late):
        raise HistoryError(
            f"nothing has come yet of the {record.rows:,} forecasts by the run {record.run}"
            f"{_gone(record)}; `forecast daily` settles them once their sessions are over"
        )
    promise = scoring.promise(home, record.run)
    if as_json:
        output.dump("ledger-score", scoring.document(record, promise))
        return
    _print_scores(record, promise)
    for line in scoring.sentences(record, promise):
        output.say(line)


def _chosen(home: Path, run: str | None, *, all_runs: bool) -> str | None:
    """Return the run that is meant, None for all."""
    from forecaster.live import scoring

    if all_runs and run is not None:
        raise UsageError(f"--all-runs are all: drop it, or drop --run {run}")
    chosen = scoring.choose(home, run)
    return None if all_runs else chosen


def _gone(record: "Record") -> str:
    if not record.vanished:
        return ""
    return f", and no price came of {first_few(record.vanished)}"


def _print_scores(record: "Record", promise: "Promise | None") -> None:
    """Print a row for each step, with what its backtest promised below it, and those of late forecasts."""
    rows = []
    for its in record.steps:
        rows.append(_scored(str(its.step), its))
        if promise and its.step in promise.scores:
            rows.append(_promised(promise.scores[its.step]))
    rows += [_scored(f"{its.step}, late", its) for its in record.late]
    titles = ["forecasts", "from", "to", "tickers", "CRPS %", "/gjr", "/naive", "in 80%", "in 95%"]
    output.table(["step", *titles], rows)


def _scored(name: str, its: "StepRecord") -> list[str]:
    ratios = (its.over("gjr"), its.over("naive"))
    return [
        *(
            name,
            f"{its.rows:,}",
            f"{its.first:%Y-%m-%d}",
            f"{its.last:%Y-%m-%d}",
            f"{its.tickers:,}",
        ),
        number(its.crps, ".4f"),
        *("–" if it is None else f"{it:.4f}" for it in ratios),
        *(f"{it.share:.1%}" for it in its.coverages),
    ]


def _promised(scores: dict[str, float]) -> list[str]:
    specs = {"crps": ".4f", "crps/gjr": ".4f", "crps/naive": ".4f"}
    specs |= {"coverage_80": ".1%", "coverage_95": ".1%"}
    cells = [format(scores[it], spec) if it in scores else "–" for it, spec in specs.items()]
    return ["  its backtest", *["–"] * 4, *cells]


@app.command("verify")
def verify(
    *,
    head: Annotated[
        str | None,
        options.optional(
            "What `forecast ledger head` printed once: the ledger of now must go on from there.",
            metavar="DIGEST",
        ),
    ] = None,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Look at every row of the ledger: was any edited, removed or moved since it was written?

    Exit code 1 if anything is wrong.

    Example: forecast ledger verify
    """
    from forecaster.live import verification

    output.start(quiet=quiet, verbose=verbose)
    done = verification.verify(home, head)
    if as_json:
        output.dump("ledger-verify", {**_head(done.head), "problems": done.problems})
    elif not done.problems:
        output.say(
            f"{done.head.rows:,} forecasts and {done.head.settlements:,} settlements are as they were "
            f"written{', and go on from that digest' if head else ''}"
        )
    output.end(done.problems)


@app.command("head")
def head(
    *,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Print a digest of all that the ledger holds, to post where others see it and you cannot change it.

    Example: forecast ledger head
    """
    from forecaster.live import ledger

    output.start(quiet=quiet, verbose=verbose)
    last = ledger.head(home)
    if as_json:
        output.dump("ledger-head", _head(last))
    else:
        output.say(last.digest)


def _head(head: "Head") -> dict[str, Any]:
    return {
        "head": head.digest,
        "forecasts": head.rows,
        "settlements": head.settlements,
        "forecasts_sha256": head.forecasts_sha256 or None,
        "settlements_sha256": head.settlements_sha256 or None,
    }


@app.command("export")
def export(
    file: Annotated[
        Path, typer.Argument(help="File to write: .csv, .json, .parquet or .xlsx.", metavar="FILE")
    ],
    *,
    run: Run = None,
    all_runs: AllRuns = False,
    late: Annotated[
        bool, options.flag("Forecasts made after the session had opened too.", "--late")
    ] = False,
    layout: options.Layout = "long",
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Write a run's forecasts and those of gjr and naive to a file, as `backtest` writes its own.

    `forecast score FILE` scores it against the stored prices.

    Example: forecast ledger export ledger.parquet
    """
    from forecaster import exports
    from forecaster.data.store import Store
    from forecaster.live import scoring

    output.start(quiet=quiet, verbose=verbose)
    exports.check(file)
    exports.check_layout(layout)
    chosen = _chosen(home, run, all_runs=all_runs)
    rows = scoring.frame_of(scoring.rows_of(home, chosen), late=late)
    if rows.empty:
        whose = f" by the run {chosen}" if chosen else ""
        raise HistoryError(
            f"all forecasts{whose} were made after their session had opened; --late writes them"
        )
    currencies = ticker_lists.currencies(Store(home), rows["ticker"].unique())
    table = exports.of_forecasts(rows, currencies=currencies)
    laid_out, name = exports.laid_out(table, layout)
    output.export(laid_out, name, file, quiet=quiet)
    if as_json:
        output.dump("ledger-export", {"out": str(file), "table": name, "rows": len(laid_out)})
