"""``forecast fetch`` and ``forecast data``: prices in and out of the store."""

from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from forecaster.cli import options, output
from forecaster.errors import ForecastError, StoreError, UsageError

app = typer.Typer(help="What is stored.\n\nExample: forecast data list", no_args_is_help=True)


def fetch(
    tickers: Annotated[
        list[str] | None,
        typer.Argument(
            help="Tickers; @FILE reads a list. None means all that the source has.",
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
    home: options.Home = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Download daily prices and store them.

    Example: forecast fetch AAPL MSFT ^GSPC --start 2005-01-01
    """
    output.start(quiet=quiet, verbose=verbose)
    options.in_order(options.day(start), options.day(end))
    rows = []
    findings: list[Any] = []
    with output.progress(quiet=quiet) as progress:
        wanted = options.expanded(tickers)
        for done, total, ticker, outcome in _outcomes(
            source, wanted, options.day(start), options.day(end), findings
        ):
            row = _stored(ticker, outcome, source, refresh, options.folder(home))
            rows.append(row | {"cleaned": _cleaned(ticker, findings)})
            progress(done, total, f"fetch {ticker}")
    if as_json:
        output.dump(rows)
    else:
        good = [row for row in rows if not row["error"]]
        columns = ["ticker", "rows", "new_rows", "first", "last"]
        if good:
            output.table(
                ["ticker", "rows", "new", "first", "last", "cleaned"],
                [
                    [
                        *(str(row[name]) for name in columns),
                        f"{sum(it['rows'] for it in row['cleaned']):,}" if row["cleaned"] else "–",
                    ]
                    for row in good
                ],
            )
    failed = [row for row in rows if row["error"]]
    for row in failed:
        output.error(row["error"])
    if failed:
        raise typer.Exit(1)


def _cleaned(ticker: str, findings: list[Any]) -> list[dict[str, Any]]:
    """What was rejected or repaired of a ticker, for machines."""
    return [
        {
            "rule": row["rule"],
            "action": row["action"],
            "first": str(row["first"].date()),
            "last": str(row["last"].date()),
            "rows": int(row["rows"]),
        }
        for table in findings
        for row in table.to_dict("records")
        if row["ticker"] == ticker
    ]


def _outcomes(
    source: str, tickers: list[str], start: date | None, end: date | None, findings: list[Any]
) -> Any:
    """Yields done, total, ticker, outcome; from Yahoo one by one, so that what has come is kept."""
    from forecaster import sources

    if source == "yahoo":
        if not tickers:
            raise UsageError("name the tickers to fetch from Yahoo, or a --source that has its own")
        for done, ticker in enumerate(tickers, start=1):
            for name, outcome in sources.load(
                source, [ticker], start=start, end=end, findings=findings
            ):
                yield done, len(tickers), name, outcome
    else:
        found = sources.load(source, tickers or None, start=start, end=end, findings=findings)
        for done, (name, outcome) in enumerate(found, start=1):
            yield done, len(found), name, outcome


def _stored(ticker: str, outcome: Any, source: str, refresh: bool, home: Any) -> dict[str, Any]:
    from forecaster.store import Store

    row: dict[str, Any] = {
        "ticker": ticker,
        "rows": None,
        "new_rows": None,
        "first": None,
        "last": None,
        "error": None,
    }
    try:
        if isinstance(outcome, ForecastError):
            raise outcome
        (saved,) = Store(home).write(outcome, source=source, refresh=refresh)
    except ForecastError as error:
        return row | {"error": str(error)}
    return row | {
        "rows": saved.rows,
        "new_rows": saved.new_rows,
        "first": str(saved.first.date()),
        "last": str(saved.last.date()),
    }


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
    from forecaster.store import Store

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
        typer.echo("nothing is stored yet; `forecast fetch --source sample` is a start", err=True)
    _end(failed)


def _listed(state: Any) -> dict[str, Any]:
    import pandas as pd

    age = pd.Timestamp.now("UTC") - state.fetched_at
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
    home: options.Home = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Say how sound the stored prices are: missing sessions, stale tails, frozen bars, leaps.

    Example: forecast data check AAPL
    """
    import pandas as pd

    from forecaster import health, prices
    from forecaster.store import Store

    output.start(quiet=quiet, verbose=verbose)
    store = Store(options.folder(home))
    columns, now = (*prices.COLUMNS, *prices.ACTIONS), pd.Timestamp.now("UTC")
    rows, failed = [], []
    for ticker in options.stored(store, tickers):
        try:
            state = store.state(ticker)
            frame = store.read([ticker], columns=columns)
            notes = state.notes if state else {}
            rows.append(health.check(frame, now, notes.get("currency")))
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
    """What a number in the table does not say."""
    if row["leaps"]:
        days = row["leap_dates"]
        more = f" and {len(days) - 5} more" if len(days) > 5 else ""
        print(f"{row['ticker']} leaps without a split on {', '.join(days[:5])}{more}")
    if row["hundredths"]:
        print(
            f"{row['ticker']} is priced in {row['currency']}, a hundredth of the unit of currency"
        )


def _end(failed: list[str]) -> None:
    """Names on stderr what failed, and exits with 1 if anything did."""
    for reason in failed:
        typer.echo(f"error: {reason}", err=True)
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
    from forecaster import disk, prices
    from forecaster.store import Store

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
    with disk.replacing(file) as temporary:
        if file.suffix == ".csv":
            frame.to_csv(temporary, index=False)
        else:
            frame.to_parquet(temporary, index=False)
    if not quiet:
        typer.echo(f"{len(frame):,} rows in {file}", err=True)


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
    from forecaster.store import Store

    output.start(quiet=quiet, verbose=verbose)
    store = Store(options.folder(home))
    named = options.stored(store, tickers)
    store.remove(named)
    if not quiet:
        typer.echo(f"removed {', '.join(named)}", err=True)
