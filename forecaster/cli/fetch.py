"""``forecast fetch``."""

import logging
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.cli import options, output, ticker_lists
from forecaster.errors import UsageError

if TYPE_CHECKING:
    from forecaster.data.update import FetchResult

log = logging.getLogger(__name__)

COLUMNS = ["status", "rows", "new", "first", "last", "cleaned"]
"""Of a ticker, after its name."""


def fetch(
    tickers: Annotated[
        list[str] | None,
        typer.Argument(
            help="Tickers, separated by blanks or commas; @FILE reads a list, - the standard input. "
            "None means all that the source has, and of Yahoo those that are stored from it.",
            show_default=False,
            autocompletion=options.complete_tickers,
        ),
    ] = None,
    *,
    source: Annotated[
        str, typer.Option(help="yahoo, sample (two indices, offline), or a CSV or Parquet file.")
    ] = "yahoo",
    start: options.Start = None,
    end: options.End = None,
    refresh: Annotated[
        bool, options.flag("Replace what is stored, whatever it is.", "--refresh")
    ] = False,
    columns: Annotated[
        str | None,
        options.optional(
            "The columns of a file without headings: date,open,high,low,close,volume."
        ),
    ] = None,
    dates: options.Dates = None,
    decimal: options.Decimal = None,
    raw: Annotated[
        bool,
        options.flag(
            "Store prices as they came, without mending them; so do later fetches, until --refresh.",
            "--raw",
        ),
    ] = False,
    concurrency: Annotated[
        int, typer.Option(min=1, max=64, help="Requests to Yahoo in flight at once.")
    ] = 4,
    patience: Annotated[
        float,
        typer.Option(
            min=0, max=86_400, help="Seconds for which a ticker in trouble is asked for again."
        ),
    ] = 45,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Download daily prices and store them; what is stored already is brought up to date.

    Example: forecast fetch AAPL MSFT ^GSPC --start 2005-01-01
    """
    from forecaster.data import update
    from forecaster.data.sources.tables import Format
    from forecaster.data.store import Store

    output.start(quiet=quiet, verbose=verbose)
    options.check_order(start, end)
    store, results = Store(home), list["FetchResult"]()
    wanted = ticker_lists.expanded(tickers, store.tickers())
    form = Format(columns, dates, decimal) if columns or dates or decimal else None
    with output.progress(quiet=quiet) as progress:

        def announce(words: str) -> None:
            progress(len(results), max(len(wanted), len(results), 1), words)

        if source == "yahoo" and form is None:
            wanted = list(dict.fromkeys(it.upper() for it in wanted))
            wanted = wanted or update.tickers_from_yahoo(store)
            if not wanted:
                raise UsageError(
                    "name the tickers to fetch from Yahoo, or a --source that has its own"
                )
            outcomes = update.from_yahoo(
                store,
                wanted,
                start=start,
                end=end,
                refresh=refresh,
                raw=raw,
                concurrency=concurrency,
                patience=patience,
                announce=announce,
            )
        else:
            outcomes = update.from_source(
                store,
                source,
                wanted or None,
                start=start,
                end=end,
                refresh=refresh,
                form=form,
                raw=raw,
            )
        for result in outcomes:
            results.append(result)
            announce(f"fetch {result.ticker}")
    order = {ticker.casefold(): place for place, ticker in enumerate(wanted)}
    results.sort(key=lambda result: order.get(result.ticker.casefold(), 0))
    if as_json:
        output.dump("fetch", {"tickers": [_document(result) for result in results]})
    elif good := [result for result in results if not result.error]:
        output.table(["ticker", *COLUMNS], [[result.ticker, *_cells(result)] for result in good])
    for result in results:
        _warn(result)
    output.end(result.error for result in results if result.error)


def _cells(one: "FetchResult") -> list[str]:
    cleaned = int(one.findings["rows"].sum())
    known = [one.rows, one.new_rows, one.first and one.first.date(), one.last and one.last.date()]
    return [
        one.status,
        *("–" if it is None else str(it) for it in known),
        f"{cleaned:,}" if cleaned else "–",
    ]


def _document(one: "FetchResult") -> dict[str, Any]:
    """Return what became of a ticker, for JSON."""
    return {
        "ticker": one.ticker,
        "status": one.status,
        "rows": one.rows,
        "new_rows": one.new_rows,
        "first": one.first and str(one.first.date()),
        "last": one.last and str(one.last.date()),
        "cleaned": [
            {
                "rule": row["rule"],
                "action": row["action"],
                "first": str(row["first"].date()),
                "last": str(row["last"].date()),
                "rows": int(row["rows"]),
            }
            for row in one.findings.to_dict("records")
        ],
        "motion": one.motion,
        "reason": one.reason,
        "error": output.with_options(str(one.error)) if one.error else None,
        "kind": one.kind,
    }


def _warn(one: "FetchResult") -> None:
    """Warn of what was rejected or repaired of a ticker, and why its history was replaced."""
    from forecaster.data import mends

    if len(one.findings):
        log.warning("%s: %s", one.ticker, mends.words(one.findings))
    if one.motion:
        log.warning("%s: %s", one.ticker, one.motion)
    if one.reason:
        log.warning("%s: the stored history was replaced: %s", one.ticker, one.reason)
