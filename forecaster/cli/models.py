"""``forecast train``, ``forecast predict`` and ``forecast runs``."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from forecaster.cli import options, output
from forecaster.display import number, price
from forecaster.errors import first_few

Until = Annotated[
    datetime | None,
    typer.Option(
        formats=options.DAY,
        metavar="YYYY-MM-DD",
        help="Last date to learn from.",
        show_default=False,
    ),
]
RECENT = 60
"""Sessions whose closes a sparkline shows."""

RECENT_DAYS = 200
"""Days before a forecast whose sessions tell the weekdays of an unknown exchange."""


def train(
    tickers: options.Tickers = None,
    run: Annotated[
        str | None,
        typer.Option("--run", help="Name of the run; by default MODEL-DATE.", show_default=False),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(options.MODELS[:-1])} or {options.MODELS[-1]}.",
            autocompletion=options.complete_models,
        ),
    ] = "lstm",
    until: Until = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, help="Networks to train and average; 3 by default.", show_default=False
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="The most epochs to train; 20 by default.", show_default=False),
    ] = None,
    max_windows: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="The most training windows in an epoch, drawn at random; all by default.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of settings.", show_default=False)
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted training of this run.")
    ] = False,
    home: options.Home = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Fit a model on stored prices and keep it as a run.

    Example: forecast train --until 2023-12-29
    """
    from forecaster.data.store import Store
    from forecaster.evaluation import experiment_log
    from forecaster.models.registry import create
    from forecaster.runs import bundle, training
    from forecaster.runs.run import checked_name

    output.start(quiet=quiet, verbose=verbose)
    settings = _settings(config, seeds=seeds, epochs=epochs, max_windows=max_windows)
    if run is not None:
        checked_name(run)
    create(model, settings)  # says so at once if there is none
    store = Store(options.folder(home))
    asked = options.stored(store, tickers)
    with output.progress(quiet=quiet) as progress:
        trained = training.train(
            store.each(asked),
            model=model,
            name=run,
            until=options.day(until),
            config=settings,
            progress=progress,
            home=options.folder(home),
            resume=resume,
        )
        folder = bundle.save(trained, options.folder(home))
        experiment_log.record(options.folder(home), _trial(trained))
    document = trained.summary | {"folder": str(folder)}
    if as_json:
        output.dump(document)
        return
    output.say(
        f"run {trained.name}: {model} on {_count(trained.tickers)}, "
        f"{trained.first} to {trained.until}\nin {folder}"
    )


def predict(
    tickers: options.Tickers = None,
    run: options.RunName = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            formats=options.DAY, metavar="YYYY-MM-DD", help="Last date to use.", show_default=False
        ),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Recalibrate the intervals from the run's misses since it was trained.",
        ),
    ] = False,
    csv: Annotated[
        Path | None,
        typer.Option(help="Also write the forecasts frame to this file.", show_default=False),
    ] = None,
    home: options.Home = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Forecast the next session.

    Example: forecast predict AAPL --json
    """
    from forecaster import atomic, display
    from forecaster.data.store import Store
    from forecaster.distributions import forecasts
    from forecaster.runs import bundle, forecasting

    output.start(quiet=quiet, verbose=verbose)
    trained = bundle.load(options.folder(home), run)
    store = Store(options.folder(home))
    wanted, asked = needed(trained, store, tickers)
    found, failed = forecasting.predict_each(
        trained, store.each(wanted), tickers=asked, as_of=options.day(as_of), calibrate=calibrate
    )
    if csv is not None:
        with atomic.replacing(csv) as temporary:
            display.write_csv(found, temporary)
    rows = forecasts.summary(found)
    verdict = bundle.last_verdict(trained, options.folder(home))
    histories = _recent_dates(store, rows)
    _mark_guesses(rows, histories)
    if as_of is None:
        _warn_of_stale(rows, histories)
    _warn_of_motionless(store, rows)
    if as_json:
        cutoff = max((row["cutoff"] for row in rows), default=None)
        output.dump(
            {
                "run": trained.name,
                "as_of": cutoff,
                "verdict": asdict(verdict) if verdict else None,
                "forecasts": rows,
            }
        )
    elif rows:
        _print_forecasts(trained, rows, _recent(store, rows))
        output.say(
            f"Its backtest: {verdict.verdict} ({verdict.start} to {verdict.end})"
            if verdict
            else "It has no backtest yet: `forecast backtest` says what it is worth."
        )
    for error in failed.values():
        output.error(error)
    if failed:
        raise typer.Exit(1)


def runs(
    home: options.Home = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """List the trained runs.

    Example: forecast runs
    """
    output.start(quiet=quiet, verbose=verbose)
    from forecaster.errors import BundleError
    from forecaster.runs import bundle

    rows, broken = [], []
    for name in bundle.names(options.folder(home)):
        try:
            rows.append(bundle.load(options.folder(home), name).summary)
        except BundleError as error:
            broken.append(error)
    if as_json:
        output.dump(rows)
    elif rows:
        output.table(
            ["run", "model", "tickers", "first", "until", "created"],
            [
                [
                    row["name"],
                    row["model"],
                    _count(row["tickers"]),
                    row["first"],
                    row["until"],
                    row["created"][:16].replace("T", " "),
                ]
                for row in rows
            ],
            left=3,
        )
    elif not broken:
        output.note("there are no runs yet; `forecast train` makes one")
    for problem in broken:
        output.error(problem)
    if broken:
        raise typer.Exit(1)


def _trial(trained: Any) -> Any:
    from forecaster.evaluation.experiment_log import Experiment

    settings = {
        "config": trained.settings,
        "prices_sha256": trained.prices_sha256,
    }
    dates = str(trained.first), str(trained.until)
    return Experiment("train", trained.model.name, list(trained.tickers), *dates, settings)


def prices_for(trained: Any, home: Path, words: list[str] | None) -> tuple[Any, list[str]]:
    """The prices of the tickers typed and of the run's universe, and these tickers."""
    from forecaster.data.store import Store

    store = Store(home)
    wanted, asked = needed(trained, store, words)
    return store.read(wanted), asked


def needed(trained: Any, store: Any, words: list[str] | None) -> tuple[list[str], list[str]]:
    """The stored tickers whose prices a forecast of those typed needs, and those typed."""
    import logging

    asked = options.stored(store, words)
    known = set(store.tickers())
    missing = [ticker for ticker in trained.tickers if ticker not in known]
    if missing:
        logging.getLogger("forecaster").warning(
            "%d of the %d tickers that run %s was trained on are not stored (%s%s); the market is "
            "taken from the others, so forecasts differ a little from those with all",
            len(missing),
            len(trained.tickers),
            trained.name,
            ", ".join(missing[:5]),
            ", …" if len(missing) > 5 else "",
        )
    universe = [ticker for ticker in trained.tickers if ticker in known]
    return sorted({*asked, *universe}), asked


def _settings(config: Path | None, **typed: int | None) -> Any:
    from forecaster.config import RecurrentConfig, read, replaced

    values = read(config) if config else {}
    values |= {name: value for name, value in typed.items() if value is not None}
    return replaced(RecurrentConfig(), values)


def _count(tickers: list[str]) -> str:
    return tickers[0] if len(tickers) == 1 else f"{len(tickers)} tickers"


def _recent_dates(store: Any, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The last stored dates of each ticker that is forecast."""
    import pandas as pd

    if not rows:
        return {}
    cutoff = min(pd.Timestamp(row["cutoff"]) for row in rows)
    start = (cutoff - pd.Timedelta(days=RECENT_DAYS)).date()
    tickers = [row["ticker"] for row in rows]
    frame = store.read(tickers, columns=["ticker", "date"], start=start)
    return {str(ticker): dates for ticker, dates in frame.groupby("ticker")["date"]}


def _warn_of_motionless(store: Any, rows: list[dict[str, Any]]) -> None:
    """Warn of forecasts of prices that hardly move, whose intervals mean little."""
    import logging

    import pandas as pd

    from forecaster.data import quality

    cutoffs = {row["ticker"]: pd.Timestamp(row["cutoff"]) for row in rows}
    if not cutoffs:
        return
    start = (min(cutoffs.values()) - pd.Timedelta(days=2 * quality.YEAR)).date()
    frame = store.read(list(cutoffs), columns=["ticker", "date", "adj_close"], start=start)
    for ticker, history in frame.groupby("ticker"):
        motion = quality.motion(history[history["date"] <= cutoffs[str(ticker)]])
        if motion:
            logging.getLogger(__name__).warning("%s: %s", ticker, motion)


def _mark_guesses(rows: list[dict[str, Any]], histories: dict[str, Any]) -> None:
    """Mark the forecasts whose date no calendar knows, and warn of them."""
    import logging

    import pandas as pd

    from forecaster.data import calendars

    guesses: dict[bool, list[str]] = {}
    for row in rows:
        ticker, cutoff = row["ticker"], pd.Timestamp(row["cutoff"])
        dates = histories[ticker]
        known = (dates == pd.Timestamp(row["date"])).any()
        certain = known or calendars.next_session(ticker, cutoff, dates).certain
        row["date_is_guess"] = not certain
        if row["date_is_guess"]:
            weekdays = calendars.is_guessed(ticker, dates)
            guesses.setdefault(weekdays, []).append(f"{ticker} on {row['date']}")
    for weekdays, dated in guesses.items():
        logging.getLogger("forecaster").warning(
            "%s: the date is a guess, as %s",
            first_few(dated),
            "no trading calendar of the exchange is known; the weekdays of the history decide"
            if weekdays
            else "the holidays of the exchange are not announced so far ahead",
        )


def _warn_of_stale(rows: list[dict[str, Any]], histories: dict[str, Any]) -> None:
    """Warn of the tickers that end on the same day."""
    import logging

    import pandas as pd

    from forecaster.data import calendars

    stale: dict[tuple[str, str, int], list[str]] = {}
    for row in rows:
        ticker, dates = row["ticker"], histories[row["ticker"]]
        due = calendars.last_finished(ticker, calendars.now(), dates)
        behind = calendars.sessions_after(ticker, pd.Timestamp(row["cutoff"]), due, dates)
        if behind > 0:
            key = row["cutoff"], str(due.date()), behind
            stale.setdefault(key, []).append(row["ticker"])
    for (cutoff, last, behind), tickers in stale.items():
        more = f" and {len(tickers) - 5} more" if len(tickers) > 5 else ""
        logging.getLogger("forecaster").warning(
            "%s: the last stored session is %s, %s behind the exchange's last finished one, %s; "
            "this is not a forecast of the session to come. `forecast fetch %s` brings it up to date",
            ", ".join(tickers[:5]) + more,
            cutoff,
            f"{behind:,} session{'s' if behind > 1 else ''}",
            last,
            " ".join(tickers[:5]) + (" …" if more else ""),
        )


def _print_forecasts(
    trained: Any, rows: list[dict[str, Any]], recent: dict[str, list[float]]
) -> None:
    output.table(
        [
            *("ticker", "last close", "of", "forecast of", "median", "80% interval"),
            *("95% interval", "volatility", "P(rise)", "95% VaR", f"last {RECENT} sessions"),
        ],
        [
            [
                row["ticker"],
                price(row["last_close"]),
                row["cutoff"],
                row["date"] + ("?" if row["date_is_guess"] else ""),
                price(row["median"], beside=row["last_close"]),
                *(
                    " – ".join(price(end, beside=row["last_close"]) for end in ends)
                    for ends in row["intervals"].values()
                ),
                f"{number(row['volatility'], '.2%', digits=2)}/day",
                f"{row['p_up']:.1%}",
                number(row["var_95"], ".2%", digits=2),
                output.sparkline(recent[row["ticker"]]),
            ]
            for row in rows
        ],
    )
    output.say(
        f"Run {trained.name}: {trained.model.name} trained on {trained.first} to {trained.until}. "
        "The day's mean return is close to unpredictable: read the intervals, not the median."
    )


def _recent(store: Any, rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    """The closes of the last sessions up to each forecast's cutoff, by ticker."""
    cutoffs = {row["ticker"]: row["cutoff"] for row in rows}
    frame = store.read(list(cutoffs), columns=("ticker", "date", "close"))
    return {
        ticker: its.loc[its["date"] <= cutoffs[ticker], "close"].tail(RECENT).tolist()
        for ticker, its in frame.groupby("ticker")
    }
