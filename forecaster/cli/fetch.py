"""``forecast fetch``."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.cli import options, output, supply, ticker_lists
from forecaster.errors import UsageError, first_few

if TYPE_CHECKING:
    import pandas as pd

    from forecaster.data.event_update import EventResult
    from forecaster.data.store import Store
    from forecaster.data.update import FetchResult

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
    events: Annotated[
        Path | None,
        options.optional(
            "Earnings dates from a CSV or Parquet file, ticker,date[,time], in place of Yahoo's; "
            "without tickers or --source nothing else is fetched."
        ),
    ] = None,
    no_events: Annotated[
        bool, options.flag("Leave out the earnings dates that Yahoo has.", "--no-events")
    ] = False,
    no_companions: Annotated[
        bool,
        options.flag(
            "Leave out the indices, of the exchange and of implied volatility, that forecasts of the "
            "tickers read.",
            "--no-companions",
        ),
    ] = False,
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
    from forecaster.data import event_update, prices, update
    from forecaster.data.event_store import EventStore
    from forecaster.data.sources import event_files
    from forecaster.data.sources.tables import Format
    from forecaster.data.store import Store

    output.start(quiet=quiet, verbose=verbose)
    options.check_order(start, end)
    if events and no_events:
        raise UsageError("--events gives a file of events, and --no-events leaves them out")
    store, event_store = Store(home), EventStore(home)
    results, dated, beside = list["FetchResult"](), list["EventResult"](), list["FetchResult"]()
    wanted = ticker_lists.expanded(tickers, store.tickers())
    form = Format(columns, dates, decimal) if columns or dates or decimal else None
    listed = None
    if events:  # before anything is fetched, as its faults are to be mended first
        listed = event_files.load(events, wanted, form, store.tickers())
        listed = prices.between(listed, start, end)
        if source in ("yahoo", "sample") and not columns and not decimal:
            form = None
    with output.progress(quiet=quiet) as progress:

        def announce(words: str) -> None:
            progress(len(results), max(len(wanted), len(results), 1), words)

        outcomes: Iterable[FetchResult] = ()
        if source == "yahoo" and form is None and not (events and not wanted):
            wanted = _of_yahoo(store, wanted)
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
        elif source != "yahoo" or form is not None:
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
        came = [result.ticker for result in results if not result.error]
        beside += supply.bring_beside(
            store,
            [] if no_companions or source != "yahoo" else came,
            wanted,
            refresh=refresh,
            concurrency=concurrency,
            patience=patience,
            announce=announce,
        )
        if listed is not None:
            dated += event_update.from_frame(
                event_store, listed, str(events), known=store.tickers(), refresh=refresh
            )
        elif source == "yahoo" and not no_events:
            dated += event_update.from_yahoo(
                store,
                event_store,
                came,
                refresh=refresh,
                concurrency=concurrency,
                patience=patience,
                announce=announce,
            )
    order = {ticker.casefold(): place for place, ticker in enumerate(wanted)}
    results.sort(key=lambda result: order.get(result.ticker.casefold(), 0))
    dated.sort(key=lambda result: (order.get(result.ticker.casefold(), 0), result.ticker))
    _print(results, dated, beside, as_json=as_json)
    for result in results:
        supply.warn(result)
    supply.warn_of_companions(beside)
    if not events:
        supply.warn_of_events(dated)
    required = [*results, *(dated if events else ())]
    output.end(result.error for result in required if result.error)


def _of_yahoo(store: "Store", wanted: list[str]) -> list[str]:
    """Return the tickers wanted in Yahoo's capitals, or those that are stored from there."""
    from forecaster.data import update

    names = list(dict.fromkeys(it.upper() for it in wanted)) or update.tickers_from_yahoo(store)
    if not names:
        raise UsageError("name the tickers to fetch from Yahoo, or a --source that has its own")
    return names


def _print(
    results: "list[FetchResult]",
    dated: "list[EventResult]",
    beside: "list[FetchResult]",
    *,
    as_json: bool,
) -> None:
    """Print tables of the prices and, if they are alone, of the events, for which a line does else."""
    if as_json:
        output.dump(
            "fetch",
            {
                "tickers": [_document(result) for result in results],
                "companions": [_document(result) for result in supply.by_name(beside)],
                "events": [_dated(it) for it in dated],
            },
        )
        return
    if good := [result for result in results if not result.error]:
        output.table(["ticker", *COLUMNS], [[result.ticker, *_cells(result)] for result in good])
    if there := [it for it in supply.by_name(beside) if it.last is not None]:
        new = sum(it.new_rows for it in there)
        output.say(f"Beside them: {first_few(it.ticker for it in there)}, {new:,} sessions new")
    stored = [it for it in dated if it.rows]
    if stored and good:
        new = sum(it.new_rows for it in stored)
        coming = sorted((it.next, it.ticker) for it in stored if it.next)
        output.say(
            f"Earnings dates of {ticker_lists.count([it.ticker for it in stored])}: "
            f"{sum(it.rows for it in stored):,} stored, {new:,} new; next: "
            + (first_few([f"{ticker} {day:%Y-%m-%d}" for day, ticker in coming], 3) or "not known")
        )
    elif stored:
        output.table(
            ["ticker", "status", "earnings", "new", "next"],
            [
                [it.ticker, it.status, str(it.rows), str(it.new_rows), _day(it.next) or "–"]
                for it in stored
            ],
        )


def _day(day: "pd.Timestamp | None") -> str | None:
    return None if day is None else f"{day:%Y-%m-%d}"


def _dated(one: "EventResult") -> dict[str, Any]:
    """Return what became of the events of a ticker, for JSON."""
    return {
        "ticker": one.ticker,
        "status": one.status,
        "rows": one.rows,
        "new_rows": one.new_rows,
        "next": _day(one.next),
        "error": output.with_options(str(one.error)) if one.error else None,
        "kind": one.kind,
    }


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
