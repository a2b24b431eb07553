"""What comes of a backtest or a score: kept in a folder, printed, shown."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecaster.cli import figures, output
from forecaster.display import number
from forecaster.errors import first_few

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


def keep(done: "Backtest", folder: Path, home: Path) -> None:
    """Record the experiments, then write the results in place of those that were in the folder."""
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


def tell(done: "Backtest", folder: Path, *, as_json: bool, open_: bool) -> None:
    """Print the results, and show the plots if asked to."""
    if as_json:
        output.dump(_document(done, folder))
    else:
        _print(done, folder)
    if open_:
        _show(done, folder)


def end(done: "Backtest") -> None:
    """Exit with 1 if the verdict is that nobody can forecast so well."""
    if done.verdict.alarm:
        model = done.provenance.models[0]
        output.end([f"{model} is too good to be a forecast: look for look-ahead"])


def _document(done: "Backtest", folder: Path) -> dict[str, Any]:
    """Return all statistics over all tickers, for JSON; the folder has those of each ticker."""
    from forecaster.backtesting import archive
    from forecaster.evaluation.metrics import POOLED

    tables = {
        name: table[table["ticker"] == POOLED] if POOLED in set(table.get("ticker", ())) else table
        for name, table in done.tables.items()
        if name not in ("scores", "significance", "tickers")
    }
    return {
        **done.verdict.document,
        "scores": archive.records(done.scores),
        "significance": archive.records(done.comparison),
        "tables": {name: archive.records(table) for name, table in tables.items()},
        "folder": str(folder),
    }


def _print(done: "Backtest", folder: Path) -> None:
    from forecaster.evaluation import metrics

    table = metrics.pooled(done.scores)
    shown = {name: column for name, column in SCORE_COLUMNS.items() if name in table}
    rows = [
        [str(model), *(number(row[name], form, digits=2) for name, (_, form) in shown.items())]
        for model, row in table.iterrows()
    ]
    output.table(["model", *(title for title, _ in shown.values())], rows)
    spec, prices = done.provenance.spec, done.provenance.prices
    print_verdict(done.verdict)
    output.say(
        _fallbacks(done.tables["fallbacks"])
        + f"Forecasts of {spec.start} to {spec.end} from stored prices of "
        f"{prices.first} to {prices.last}: history, not today's forecast.\n"
        f"Plots, report and forecasts: {folder}"
    )


def print_verdict(verdict: "Verdict") -> None:
    """Print the headline, a row for each question, and the advice; with ``--verbose`` the details."""
    if not verdict.rows:  # nothing could be said, or an earlier version said it
        output.say(verdict.text)
        return
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
        figures.show(evaluation.of_backtest(done.forecasts, done.provenance.models[0]))
    else:
        figures.show_page(folder / "report.html")
