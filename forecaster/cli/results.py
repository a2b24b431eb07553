"""What comes of a backtest or a score: kept in a folder, printed, shown."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecaster.cli import figures, output, ticker_lists
from forecaster.display import number
from forecaster.errors import StoreError, UsageError, did_you_mean, first_few

if TYPE_CHECKING:
    import pandas as pd

    from forecaster.backtesting.backtest import Backtest
    from forecaster.evaluation.verdict import Verdict

SCORE_COLUMNS = {
    "crps": ("CRPS %", ".4f"),
    "crps/naive": ("/naive", ".4f"),
    "crps/gjr": ("/gjr", ".4f"),
    "log_score": ("log score", ".4f"),
    "qlike": ("QLIKE", ".3f"),
    "rel_mae": ("relMAE", ".4f"),
    "coverage_80": ("in 80%", ".1%"),
    "coverage_90": ("90%", ".1%"),
    "coverage_95": ("95%", ".1%"),
    "hit_rate": ("hits", ".1%"),
}
"""Pooled scores that the terminal shows: their titles and formats."""


NO_FOLDERS = (
    *(
        ".feather",
        ".gz",
        ".htm",
        ".html",
        ".pdf",
        ".png",
        ".pq",
        ".svg",
        ".tsv",
        ".txt",
        ".xls",
        ".zip",
    ),
)
"""Suffixes of files that are not written, and hardly those of a folder that somebody means."""


@dataclass(frozen=True)
class Export:
    """A table of the results for a file of its own."""

    file: Path
    table: str
    layout: str


def destination(out: Path | None, table: str, layout: str) -> tuple[Path | None, Export | None]:
    """Return the folder and the export that ``--out``, ``--table`` and ``--layout`` name, if any.

    Raises
    ------
    UsageError
        They do not go together, or there is no such table or format.
    StoreError
        The file cannot be written.
    """
    from forecaster import exports
    from forecaster.backtesting import archive

    exports.check_layout(layout)
    known = ("forecasts", *archive.TABLES, *archive.LATER_TABLES)
    if table not in known:
        raise UsageError(
            f"there is no table {table!r}; {did_you_mean(table, known)}there are {', '.join(known)}"
        )
    if layout != "long" and table != "forecasts":
        raise UsageError(f"--layout {layout} is of forecasts, not of the table {table}; drop one")
    suffix = out.suffix.lower() if out else ""
    if out and (exports.is_table(out) or (suffix in NO_FOLDERS and not out.is_dir())):
        exports.check(out)
        return None, Export(out, table, layout)
    if table != "forecasts" or layout != "long":
        what = f"--table {table}" if table != "forecasts" else f"--layout {layout}"
        raise UsageError(f"{what} is of a file: name one with --out, such as {table}.csv")
    return out, None


def write(done: "Backtest", export: Export, home: Path, *, quiet: bool) -> None:
    """Write a table of the results to its file."""
    from forecaster import exports
    from forecaster.data.store import Store

    if export.table != "forecasts":
        if export.table not in done.tables:
            raise StoreError(
                f"this backtest has no table {export.table}; it has {', '.join(done.tables)}"
            )
        output.export(_of_every_step(done, export.table), export.table, export.file, quiet=quiet)
        return
    forecasts = done.forecasts
    currencies = ticker_lists.currencies(Store(home), forecasts["ticker"].unique())
    table = exports.of_forecasts(forecasts, currencies=currencies)
    output.export(*exports.laid_out(table, export.layout), export.file, quiet=quiet)


def _of_every_step(done: "Backtest", name: str) -> "pd.DataFrame":
    """Return a table with the rows of every step, which the first column tells if there are several."""
    import pandas as pd

    if not done.ahead:
        return done.tables[name]
    tables = {done.verdict.step: done.tables} | {at: it.tables for at, it in done.ahead.items()}
    parts = [its[name].assign(step=step) for step, its in tables.items() if name in its]
    table = pd.concat(parts, ignore_index=True)
    return table[["step", *table.columns.drop("step")]]


def keep(done: "Backtest", folder: Path, home: Path) -> "Backtest":
    """Record the experiments, then write the results in place of those that were in the folder.

    Returns the backtest with the forecasts that are there.
    """
    from forecaster import atomic
    from forecaster.backtesting import archive, backtest
    from forecaster.evaluation import experiment_log
    from forecaster.report import html
    from forecaster.runs import bundle

    for experiment in backtest.experiments(done):
        experiment_log.record(home, experiment)
    with atomic.replacing_folder(folder) as temporary:
        archive.write(done, temporary)
        html.write(done, temporary)
    run, spec = done.provenance.run, done.provenance.spec
    if run and run["model"] == spec.models[0]:
        said = done.verdict
        verdict = bundle.RunVerdict(
            said.text, str(spec.start), str(spec.end), f"{said.headline} {said.advice}".strip()
        )
        bundle.record_verdict(run, home, verdict)
    return replace(done, parts=archive.read_forecasts(folder)[0])


def tell(
    done: "Backtest", folder: Path, export: Export | None, *, as_json: bool, open_: bool
) -> None:
    """Print the results, and show the plots if asked to."""
    if as_json:
        out = str(export.file) if export else None
        output.dump("backtest", {**_document(done, folder), "out": out})
    else:
        _print(done, folder)
    if open_:
        _show(done, folder)


def end(done: "Backtest") -> None:
    """Exit with 1 if the verdict is that nobody can forecast so well."""
    if done.verdict.alarm or any(it.verdict.alarm for it in done.ahead.values()):
        model = done.provenance.models[0]
        output.end([f"{model} is too good to be a forecast: look for look-ahead"])


def _document(done: "Backtest", folder: Path) -> dict[str, Any]:
    """Return all statistics over all tickers, for JSON; the folder has those of each ticker."""
    steps = {
        str(step): {**it.verdict.document, **_statistics(it.tables)}
        for step, it in done.ahead.items()
    }
    return {
        **done.verdict.document,
        **_statistics(done.tables),
        **({"steps": steps} if steps else {}),
        "folder": str(folder),
    }


def _statistics(tables: "dict[str, pd.DataFrame]") -> dict[str, Any]:
    """Return the statistics of a step over all tickers, and the scores of each ticker."""
    from forecaster.backtesting import archive
    from forecaster.evaluation.metrics import POOLED

    others = {
        name: table[table["ticker"] == POOLED] if POOLED in set(table.get("ticker", ())) else table
        for name, table in tables.items()
        if name not in ("scores", "significance", "tickers", "reactions")
    }
    pooled = {name: archive.records(table) for name, table in others.items()}
    return {**archive.scores_of(tables), "tables": pooled}


def _print(done: "Backtest", folder: Path) -> None:
    if not done.ahead:
        _print_scores(done.scores)
    else:
        for at, (step, scores) in enumerate(_scores_by_step(done).items()):
            output.say("\n" * (at > 0) + f"{step} session{'s' * (step > 1)} ahead")
            _print_scores(scores)
    spec, prices = done.provenance.spec, done.provenance.prices
    print_verdict(done.verdict)
    output.say(
        _fallbacks(done.tables["fallbacks"])
        + f"Forecasts of {spec.start} to {spec.end} from stored prices of "
        f"{prices.first} to {prices.last}: history, not today's forecast.\n"
        f"Plots, report and forecasts: {folder}"
    )


def _scores_by_step(done: "Backtest") -> "dict[int, pd.DataFrame]":
    """Return the scores of each step, ascending."""
    further = {step: it.tables["scores"] for step, it in done.ahead.items()}
    return {done.verdict.step: done.scores} | further


def _print_scores(scores: "pd.DataFrame") -> None:
    """Print the scores of each model over all tickers."""
    from forecaster.evaluation import metrics

    table = metrics.pooled(scores)
    shown = {name: column for name, column in SCORE_COLUMNS.items() if name in table}
    rows = [
        [str(model), *(number(row[name], form, digits=2) for name, (_, form) in shown.items())]
        for model, row in table.iterrows()
    ]
    output.table(["model", *(title for title, _ in shown.values())], rows)


def print_verdict(verdict: "Verdict") -> None:
    """Print the headline, a row for each question, and the advice; with ``--verbose`` the details.

    What is to be said of more sessions ahead follows.
    """
    if verdict.rows:
        _print_answers(verdict)
    else:  # nothing could be said, or an earlier version said it
        output.say(verdict.text)
    for further in verdict.ahead:
        print_verdict(further)


def _print_answers(verdict: "Verdict") -> None:
    output.say(f"\n{verdict.headline}")
    titles = ["question", "answer", "p", "seen"]
    rows = [[f"{it.symbol} {it.question}", it.words, it.chance, it.figure] for it in verdict.rows]
    output.table(titles, rows, left=len(titles), prose=True)
    output.say(verdict.advice)
    output.detail("\n".join(verdict.details))


def _fallbacks(table: "pd.DataFrame") -> str:
    """Return a sentence on the fits that did not converge."""
    if table.empty:
        return ""
    names = list(dict.fromkeys(f"{model} of {ticker}" for model, _, ticker in table.to_numpy()))
    return f"Fits that did not converge: {len(table)} ({first_few(names)}); fixed parameters stand in.\n"


def _show(done: "Backtest", folder: Path) -> None:
    """Show the plots in windows where there is a display, else the report in the system's viewer."""

    from forecaster.plots import evaluation

    if figures.can_show():
        model, reactions = done.provenance.models[0], done.tables.get("reactions")
        figures.show(evaluation.of_backtest(done.forecasts, model, reactions))
    else:
        figures.show_page(folder / "report.html")
