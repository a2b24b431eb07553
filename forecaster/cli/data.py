"""``forecast fetch`` and ``forecast data``: prices in and out of the store."""

import logging
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.cli import options, output
from forecaster.errors import ForecastError, StoreError, UsageError

if TYPE_CHECKING:
    from forecaster.data.update import FetchResult

log = logging.getLogger(__name__)

app = typer.Typer(help="What is stored.\n\nExample: forecast data list", no_args_is_help=True)


def fetch(
    tickers: Annotated[
        list[str] | None,
        typer.Argument(
            help="Tickers; @FILE reads a list, - the standard input. None means all that the "
            "source has, and of Yahoo those that are stored from it.",
            show_default=False,
            autocompletion=options.complete_tickers,
        ),
    ] = None,
    source: Annotated[
        str, typer.Option(help="yahoo, sample (two indices, offline), or a CSV or Parquet file.")
    ] = "yahoo",
    start: Annotated[
        datetime | None,
        typer.Option(
            formats=options.DAY, metavar="YYYY-MM-DD", help="First date.", show_default=False
        ),
    ] = None,
    end: Annotated[
        datetime | None,
        typer.Option(
            formats=options.DAY, metavar="YYYY-MM-DD", help="Last date.", show_default=False
        ),
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Replace what is stored, whatever it is.")
    ] = False,
    columns: Annotated[
        str | None,
        typer.Option(
            help="The columns of a file without headings: date,open,high,low,close,volume.",
            show_default=False,
        ),
    ] = None,
    dates: Annotated[
        str | None,
        typer.Option(
            help="day-first, month-first or year-first, for a file's dates such as 03/01/2017.",
            show_default=False,
        ),
    ] = None,
    decimal: Annotated[
        str | None,
        typer.Option(
            help="point or comma, for a file's numbers such as 1.021 that may be thousands.",
            show_default=False,
        ),
    ] = None,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw",
            help="Store prices as they came, without mending them; so do later fetches, until "
            "--refresh.",
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
    home: options.Home = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Download daily prices and store them; what is stored already is brought up to date.

    Example: forecast fetch AAPL MSFT ^GSPC --start 2005-01-01
    """
    output.start(quiet=quiet, verbose=verbose)
    first, last = options.day(start), options.day(end)
    options.in_order(first, last)
    wanted = options.expanded(tickers)

    from forecaster.data import update
    from forecaster.data.sources.tables import Format
    from forecaster.data.store import Store

    store, results = Store(options.folder(home)), list["FetchResult"]()
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
                start=first,
                end=last,
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
                start=first,
                end=last,
                refresh=refresh,
                form=form,
                raw=raw,
            )
        for result in outcomes:
            results.append(result)
            announce(f"fetch {result.ticker}")
    order = {ticker: place for place, ticker in enumerate(wanted)}
    results.sort(key=lambda result: order.get(result.ticker, 0))
    if as_json:
        output.dump([_document(result) for result in results])
    elif good := [result for result in results if not result.error]:
        output.table(["ticker", *_SHOWN], [[result.ticker, *_shown(result)] for result in good])
    for result in results:
        _report(result)
    if any(result.error for result in results):
        raise typer.Exit(1)


_SHOWN = ["status", "rows", "new", "first", "last", "cleaned"]


def _shown(one: "FetchResult") -> list[str]:
    cleaned = int(one.findings["rows"].sum())
    known = [one.rows, one.new_rows, one.first and one.first.date(), one.last and one.last.date()]
    return [
        one.status,
        *("–" if it is None else str(it) for it in known),
        f"{cleaned:,}" if cleaned else "–",
    ]


def _document(one: "FetchResult") -> dict[str, Any]:
    """What became of a ticker, for machines."""
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


def _report(one: "FetchResult") -> None:
    """Say what was rejected or repaired of a ticker, why it was replaced, why it failed."""
    from forecaster.data import mends

    if len(one.findings):
        log.warning("%s: %s", one.ticker, mends.words(one.findings))
    if one.motion:
        log.warning("%s: %s", one.ticker, one.motion)
    if one.reason:
        log.warning("%s: the stored history was replaced: %s", one.ticker, one.reason)
    if one.error:
        output.error(one.error)


@app.command("list")
def listing(
    home: options.Home = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """List the stored tickers: dates, rows, source and age.

    Example: forecast data list --json
    """
    from forecaster.data.store import Store

    output.start(quiet=quiet, verbose=verbose)
    store = Store(options.folder(home))
    rows, failed = [], []
    for ticker in store.tickers():
        try:
            rows.append(_listed(store.state(ticker)))
        except ForecastError as error:
            failed.append(str(error))
    if as_json:
        output.dump(rows)
    elif rows:
        output.table(
            ["ticker", "source", "first", "last", "rows", "fetched", "age"],
            [
                [
                    *(str(row[name]) for name in ("ticker", "source", "first", "last", "rows")),
                    row["fetched_at"][:10],
                    f"{row['age_days']:.0f} days",
                ]
                for row in rows
            ],
            left=2,
        )
    elif not failed:
        output.note("nothing is stored yet; `forecast fetch --source sample` is a start")
    _end(failed)


def _listed(state: Any) -> dict[str, Any]:
    from forecaster.data import calendars

    age = calendars.now() - state.fetched_at
    return {
        "ticker": state.ticker,
        "source": state.source,
        "first": str(state.first.date()),
        "last": str(state.last.date()),
        "rows": state.rows,
        "fetched_at": f"{state.fetched_at:%Y-%m-%dT%H:%M:%SZ}",
        "age_days": round(age.total_seconds() / 86_400, 2),
        **state.notes,
    }


@app.command("check")
def check(
    tickers: options.Tickers = None,
    mends: Annotated[
        bool,
        typer.Option(
            "--mends", help="List each value that cleaning changed, with what it was before."
        ),
    ] = False,
    home: options.Home = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Say how sound the stored prices are: missing sessions, stale tails, frozen bars, leaps.

    Example: forecast data check AAPL
    """
    from forecaster.data import calendars, prices, quality
    from forecaster.data.store import Store

    output.start(quiet=quiet, verbose=verbose)
    store = Store(options.folder(home))
    if mends:
        _list_mends(store, options.stored(store, tickers), as_json=as_json)
        return
    columns, now = (*prices.COLUMNS, *prices.ACTIONS), calendars.now()
    rows, failed = [], []
    for ticker in options.stored(store, tickers):
        try:
            state = store.state(ticker)
            frame = store.read([ticker], columns=columns)
            notes = state.notes if state else {}
            rows.append(quality.check(frame, now, notes.get("currency")))
        except ForecastError as error:
            failed.append(str(error))
    if as_json:
        output.dump(rows)
    elif rows:
        counts = [
            "rows",
            "missing",
            "extra",
            "behind",
            "frozen",
            "leaps",
            "unapplied",
            "unexplained",
        ]
        shown = ["ticker", "first", "last", *counts, "gap", "currency", "score"]
        output.table(
            shown, [["–" if row[it] is None else str(row[it]) for it in shown] for row in rows]
        )
        for row in rows:
            _explain(row)
    _end(failed)


def _explain(row: dict[str, Any]) -> None:
    """Say what a number in the table does not."""
    from forecaster.data import units

    ticker = row["ticker"]
    if row["calendar_is_guess"]:
        output.say(
            f"{ticker} has no known trading calendar: its sessions are guessed from the "
            "weekdays of its history, and holidays count as missing"
        )
    elif row["next_is_guess"]:
        output.say(
            f"{ticker} goes on where the holidays of its exchange are not announced: "
            f"{row['next']} as its next session is a guess"
        )
    if row["leaps"]:
        days = [
            f"{day} ({move:+.0%})"
            for day, move in zip(row["leap_dates"], row["leap_returns"], strict=True)
        ]
        more = f" and {len(days) - 5} more" if len(days) > 5 else ""
        output.say(f"{ticker} leaps without a split on {', '.join(days[:5])}{more}")
    if row["unadjusted"]:
        output.say(
            f"{ticker} has {row['unadjusted']} dividends and no adjusted close of its own: its closes "
            "are taken as adjusted for them"
        )
    if row["motion"]:
        output.say(f"{ticker}: {row['motion']}")
    if row["currency"] in units.MINOR:
        output.say(f"{ticker} is priced in {units.words(row['currency'])}")


def _list_mends(store: Any, tickers: list[str], *, as_json: bool) -> None:
    """Prints each value that cleaning changed, of every ticker in turn."""
    rows, failed = [], []
    for ticker in tickers:
        try:
            rows += store.mends(ticker).to_dict("records")
        except ForecastError as error:
            failed.append(str(error))
    for row in rows:
        row["date"] = f"{row['date']:%Y-%m-%d}"
        row |= {it: None if row[it] != row[it] else row[it] for it in ("before", "after")}
    if as_json:
        output.dump(rows)
    elif rows:
        names = ["ticker", "date", "column", "before", "after", "rule"]
        cells = [["–" if row[name] is None else _cell(row[name]) for name in names] for row in rows]
        output.table(names, cells, left=3)
    elif not failed:
        output.note("nothing was mended")
    _end(failed)


def _cell(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _end(failed: list[str]) -> None:
    """Names on stderr what failed, and exits with 1 if anything did."""
    for reason in failed:
        output.error(reason)
    if failed:
        raise typer.Exit(1)


@app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="File to write: .csv or .parquet.")],
    tickers: options.Tickers = None,
    layout: Annotated[
        str,
        typer.Option(
            help="long (the prices frame) or nixtla (unique_id, ds, y: the adjusted close)."
        ),
    ] = "long",
    start: Annotated[
        datetime | None,
        typer.Option(
            formats=options.DAY, metavar="YYYY-MM-DD", help="First date.", show_default=False
        ),
    ] = None,
    end: Annotated[
        datetime | None,
        typer.Option(
            formats=options.DAY, metavar="YYYY-MM-DD", help="Last date.", show_default=False
        ),
    ] = None,
    home: options.Home = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Write stored prices to a CSV or Parquet file.

    Example: forecast data export prices.csv --layout nixtla
    """
    from forecaster import atomic, display
    from forecaster.data import prices
    from forecaster.data.store import Store

    output.start(quiet=quiet, verbose=verbose)
    if file.suffix not in (".csv", ".parquet"):
        raise UsageError(f"expected a file that ends in .csv or .parquet, got {file}")
    if layout not in ("long", "nixtla"):
        raise UsageError(f"--layout must be long or nixtla, got {layout!r}")
    options.in_order(options.day(start), options.day(end))
    store = Store(options.folder(home))
    nixtla = {"ticker": "unique_id", "date": "ds", "adj_close": "y"}
    frame = store.read(
        options.stored(store, tickers),
        columns=list(nixtla) if layout == "nixtla" else prices.COLUMNS,
        start=options.day(start),
        end=options.day(end),
    )
    if frame.empty:
        raise StoreError(f"nothing is stored between {options.day(start)} and {options.day(end)}")
    if layout == "nixtla":
        frame = frame.rename(columns=nixtla)
    with atomic.replacing(file) as temporary:
        if file.suffix == ".csv":
            display.write_csv(frame, temporary)
        else:
            frame.to_parquet(temporary, index=False)
    if not quiet:
        output.note(f"{len(frame):,} rows in {file}")


@app.command("remove")
def remove(
    tickers: Annotated[
        list[str],
        typer.Argument(
            help="Tickers; @FILE reads a list.", autocompletion=options.complete_tickers
        ),
    ],
    home: options.Home = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Remove tickers from the store; runs and backtests stay.

    Example: forecast data remove AAPL
    """
    from forecaster.data.store import Store

    output.start(quiet=quiet, verbose=verbose)
    store = Store(options.folder(home))
    named = options.stored(store, tickers)
    store.remove(named)
    if not quiet:
        output.note(f"removed {', '.join(named)}")
