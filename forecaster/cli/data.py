"""``forecast data``: what is stored."""

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.cli import options, output, ticker_lists
from forecaster.data import capitals, clock, filenames
from forecaster.errors import ForecastError, StoreError, UsageError, did_you_mean, first_few

if TYPE_CHECKING:
    import pandas as pd

    from forecaster.data.event_store import EventStore
    from forecaster.data.footers import EventsFooter, PricesFooter
    from forecaster.data.store import Store

PICTURED = 40
"""Closes that a sparkline of a whole history shows."""

app = typer.Typer(help="What is stored.\n\nExample: forecast data list", no_args_is_help=True)


@app.command("list")
def listing(
    *,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """List the stored tickers: dates, rows, source and age, and their earnings dates.

    Example: forecast data list --json
    """
    from forecaster.data import footers  # no store, whose pandas takes longer than all of a list

    output.start(quiet=quiet, verbose=verbose)
    prices, events = home / "prices", home / "events"
    rows, failed = [], []
    for ticker in filenames.tickers(prices):
        name = filenames.filename(ticker)
        try:
            if footer := footers.of_prices(prices / name, ticker):  # else it has just been removed
                rows.append(_summary(ticker, footer))
                rows[-1] |= _coming(footers.of_events(events / name, ticker))
        except ForecastError as error:
            failed.append(error)
    alone = sorted(set(filenames.tickers(events)) - set(filenames.tickers(prices)))
    if as_json:
        output.dump("data", {"tickers": rows, "events_alone": alone})
    elif rows:
        shown = [
            *("ticker", "source", "first", "last", "rows", "fetched", "age"),
            *(("earnings", "next") if any(row["events"] for row in rows) else ()),
        ]
        output.table(shown, [[_listed(row, name) for name in shown] for row in rows], left=2)
    elif not failed and not alone:
        output.note("nothing is stored yet; `forecast fetch --source sample` is a start")
    if alone and not as_json:
        output.say(f"Earnings dates alone, without prices: {first_few(alone)}")
    output.end(failed)


def _listed(row: dict[str, Any], name: str) -> str:
    """Return a cell of the list."""
    if name == "fetched":
        return str(row["fetched_at"][:10])
    if name == "age":
        return f"{row['age_days']:.0f} days"
    value = row[{"earnings": "events", "next": "next_event"}.get(name, name)]
    return str(value or "–") if name in ("earnings", "next") else str(value)


def _coming(footer: "EventsFooter | None") -> dict[str, Any]:
    """Return how many events are stored of a ticker, and the first that is to come."""
    days, today = footer.days if footer else [], clock.now().date()
    coming = next((day for day in days if day.date() >= today), None)
    return {
        "events": len(days),
        "next_event": f"{coming:%Y-%m-%d}" if coming is not None else None,
    }


def _summary(ticker: str, footer: "PricesFooter") -> dict[str, Any]:
    age = clock.now() - datetime.fromisoformat(footer.fetched_at)
    return {
        "ticker": ticker,
        "source": footer.source,
        "first": str(footer.first.date()),
        "last": str(footer.last.date()),
        "rows": footer.rows,
        "fetched_at": footer.fetched_at,
        "age_days": round(age.total_seconds() / 86_400, 2),
        **_coming(None),
        **footer.notes,
    }


@app.command("check")
def check(
    tickers: options.Tickers = None,
    *,
    mends: Annotated[
        bool,
        options.flag("List each value that cleaning changed, with what it was before.", "--mends"),
    ] = False,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Say how sound what is stored is: missing sessions, stale tails, leaps, doubtful earnings dates.

    Example: forecast data check AAPL
    """
    from forecaster.data import calendars, events, prices, quality
    from forecaster.data.event_store import EventStore
    from forecaster.data.store import Store

    output.start(quiet=quiet, verbose=verbose)
    store, event_store = Store(home), EventStore(home)
    if mends:
        _list_mends(store, ticker_lists.stored(store, tickers), as_json=as_json)
        return
    columns, now = (*prices.COLUMNS, *prices.ACTIONS), calendars.now()
    rows, pictures, failed = [], [], []
    for ticker in ticker_lists.stored(store, tickers):
        try:
            state = store.state(ticker)
            frame = store.read([ticker], columns=columns)
            notes = state.notes if state else {}
            kind = notes.get("instrument")
            row = quality.check(frame, now, notes.get("currency"), kind)
            rows.append(row | {"events": quality.check_events(events.empty())})
            pictures.append(_picture(frame["close"]))
            rows[-1]["events"] = quality.check_events(event_store.read([ticker]))
        except ForecastError as error:
            failed.append(error)
    if as_json:
        output.dump("data-check", {"tickers": rows})
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
            [*shown, "closes"],
            [
                [*("–" if row[it] is None else str(row[it]) for it in shown), picture]
                for row, picture in zip(rows, pictures, strict=True)
            ],
            picture=True,
        )
        for row in rows:
            _explain(row)
    output.end(failed)


def _picture(closes: "pd.Series") -> str:
    """Return all the closes of a ticker as a small picture, by their logarithms."""
    import numpy as np

    places = np.linspace(0, len(closes) - 1, min(PICTURED, len(closes))).round().astype(int)
    return output.sparkline(np.log(closes.to_numpy()[places]).tolist())


def _explain(row: dict[str, Any]) -> None:
    """Print what the numbers in the table leave out."""
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
        output.say(f"{ticker} leaps without a split on {first_few(days)}")
    if row["unadjusted"]:
        output.say(
            f"{ticker} has {row['unadjusted']} dividends and no adjusted close of its own: its closes "
            "are taken as adjusted for them"
        )
    if row["motion"]:
        output.say(f"{ticker}: {row['motion']}")
    if row["currency"] in units.MINOR:
        output.say(f"{ticker} is priced in {units.words(row['currency'])}")
    _explain_events(ticker, row["events"])


def _explain_events(ticker: str, events: dict[str, Any]) -> None:
    """Print what of the earnings dates of a ticker may be wrong."""
    faults = {
        "gaps": "no other for more than a year after {}",
        "crowded": "{} within 20 days of the one before",
        "weekend": "{} on a weekend",
    }
    parts = [words.format(first_few(events[it], 3)) for it, words in faults.items() if events[it]]
    if parts:
        output.say(f"{ticker} has {events['rows']:,} earnings dates: {'; '.join(parts)}")


def _list_mends(store: "Store", tickers: list[str], *, as_json: bool) -> None:
    """Print each value that cleaning changed, of every ticker in turn."""
    rows, failed = [], []
    for ticker in tickers:
        try:
            rows += store.mends(ticker).to_dict("records")
        except ForecastError as error:
            failed.append(error)
    for row in rows:
        row["date"] = f"{row['date']:%Y-%m-%d}"
        row |= {it: None if row[it] != row[it] else row[it] for it in ("before", "after")}
    if as_json:
        output.dump("data-mends", {"mends": rows})
    elif rows:
        names = ["ticker", "date", "column", "before", "after", "rule"]
        cells = [["–" if row[name] is None else _cell(row[name]) for name in names] for row in rows]
        output.table(names, cells, left=3)
    elif not failed:
        output.note("nothing was mended")
    output.end(failed)


def _cell(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


@app.command("export")
def export(
    file: Annotated[
        Path, typer.Argument(help="File to write: .csv, .json, .parquet or .xlsx.", metavar="FILE")
    ],
    tickers: options.Tickers = None,
    *,
    events: Annotated[
        bool, options.flag("The earnings dates (the events frame), not the prices.", "--events")
    ] = False,
    layout: Annotated[
        str,
        typer.Option(
            help="long (the prices frame) or nixtla (unique_id, ds, y: the adjusted close).",
            metavar="long|nixtla",
        ),
    ] = "long",
    start: options.Start = None,
    end: options.End = None,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Write stored prices, or earnings dates, to a CSV, JSON, Parquet or Excel file.

    Example: forecast data export prices.csv --layout nixtla
    """
    from forecaster import exports
    from forecaster.data.event_store import EventStore
    from forecaster.data.store import Store

    output.start(quiet=quiet, verbose=verbose)
    exports.check(file)
    exports.check_layout(layout)
    options.check_order(start, end)
    if events:
        if layout != "long":
            raise UsageError(f"--layout {layout} is one of prices; leave out --layout or --events")
        frame, name = _events(EventStore(home), Store(home), tickers, start, end), "events"
    else:
        frame, name = _prices(Store(home), tickers, layout, start, end)
    output.export(frame, name, file, quiet=quiet)
    if as_json:
        output.dump("data-export", {"out": str(file), "table": name, "rows": len(frame)})


def _prices(
    store: "Store", tickers: list[str] | None, layout: str, start: date | None, end: date | None
) -> tuple["pd.DataFrame", str]:
    """Return stored prices in a layout, and what that table is called."""
    from forecaster.data import prices

    nixtla = {"ticker": "unique_id", "date": "ds", "adj_close": "y"}
    frame = store.read(
        ticker_lists.stored(store, tickers),
        columns=list(nixtla) if layout == "nixtla" else prices.COLUMNS,
        start=start,
        end=end,
    )
    if frame.empty:
        raise StoreError(f"nothing is stored between {start} and {end}")
    if layout == "nixtla":
        return frame.rename(columns=nixtla), "prices-nixtla"
    return frame, "prices"


def _events(
    event_store: "EventStore",
    store: "Store",
    tickers: list[str] | None,
    start: date | None,
    end: date | None,
) -> "pd.DataFrame":
    """Return stored events; those of all tickers if none are named."""
    from forecaster.data import prices

    named = _anywhere(event_store, store, tickers) if tickers else None
    frame = prices.between(event_store.read(named), start, end)
    frame = frame.assign(first_seen=frame["first_seen"].dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    if frame.empty:
        raise StoreError(
            f"no earnings dates are stored of {first_few(named) if named else 'any ticker'}"
            + (" between these dates" if start or end else "")
            + "; get some with: forecast fetch TICKERS, or --events FILE"
        )
    return frame


def _anywhere(event_store: "EventStore", store: "Store", words: list[str]) -> list[str]:
    """Return the tickers typed, as prices or events of them are stored; StoreError if one's are not."""
    known = sorted({*store.tickers(), *event_store.tickers()})
    named = capitals.matched(ticker_lists.expanded(words, known), known)
    if missing := [ticker for ticker in named if ticker not in known]:
        raise StoreError(
            f"not stored: {first_few(missing)}; {did_you_mean(missing, known)}stored are "
            f"{first_few(known) or 'none'}"
        )
    return named


@app.command("remove")
def remove(
    tickers: Annotated[
        list[str],
        typer.Argument(
            help="Tickers, separated by blanks or commas; @FILE reads a list.",
            autocompletion=options.complete_tickers,
        ),
    ],
    *,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Remove the prices and events of tickers from the store; runs and backtests stay.

    Example: forecast data remove AAPL
    """
    from forecaster.data.event_store import EventStore
    from forecaster.data.store import Store

    output.start(quiet=quiet, verbose=verbose)
    store, event_store = Store(home), EventStore(home)
    named = _anywhere(event_store, store, tickers)
    prices = set(store.tickers())
    store.remove([ticker for ticker in named if ticker in prices])
    event_store.remove(named)
    if as_json:
        output.dump("data-removed", {"removed": named})
    elif not quiet:
        output.note(f"removed {', '.join(named)}")
