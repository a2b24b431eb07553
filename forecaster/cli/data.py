"""``forecast fetch`` and ``forecast data``: prices in and out of the store."""

from datetime import date, datetime
from typing import Annotated, Any

import typer

from forecaster.cli import options, output
from forecaster.errors import ForecastError, UsageError

app = typer.Typer(help="What is stored.", no_args_is_help=True)


def fetch(
    tickers: Annotated[
        list[str] | None,
        typer.Argument(
            help="Tickers; @FILE reads a list. None means all that the source has.",
            show_default=False,
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
    with output.progress(quiet=quiet) as progress:
        wanted = options.expanded(tickers)
        for done, total, ticker, outcome in _outcomes(
            source, wanted, options.day(start), options.day(end)
        ):
            rows.append(_stored(ticker, outcome, source, refresh, options.folder(home)))
            progress(done, total, f"fetch {ticker}")
    if as_json:
        output.dump(rows)
    else:
        good = [row for row in rows if not row["error"]]
        columns = ["ticker", "rows", "new_rows", "first", "last"]
        if good:
            output.table(
                ["ticker", "rows", "new", "first", "last"],
                [[str(row[name]) for name in columns] for row in good],
            )
    failed = [row for row in rows if row["error"]]
    for row in failed:
        typer.echo(f"error: {row['error']}", err=True)
    if failed:
        raise typer.Exit(1)


def _outcomes(source: str, tickers: list[str], start: date | None, end: date | None) -> Any:
    """Yields done, total, ticker, outcome; from Yahoo one by one, so that what has come is kept."""
    from forecaster import sources

    if source == "yahoo":
        if not tickers:
            raise UsageError("name the tickers to fetch from Yahoo, or a --source that has its own")
        for done, ticker in enumerate(tickers, start=1):
            for name, outcome in sources.load(source, [ticker], start=start, end=end):
                yield done, len(tickers), name, outcome
    else:
        found = sources.load(source, tickers or None, start=start, end=end)
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
    import pandas as pd

    from forecaster.store import Store

    output.start(quiet=quiet, verbose=verbose)
    inventory = Store(options.folder(home)).inventory()
    age = (pd.Timestamp.now("UTC") - inventory["fetched_at"]).dt.total_seconds() / 86_400
    shown = inventory.assign(
        first=inventory["first"].dt.strftime("%Y-%m-%d"),
        last=inventory["last"].dt.strftime("%Y-%m-%d"),
        fetched_at=inventory["fetched_at"].dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        age_days=age.round(2),
    )
    rows: list[dict[Any, Any]] = shown.to_dict("records")
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
    else:
        typer.echo("nothing is stored yet; `forecast fetch --source sample` is a start", err=True)
