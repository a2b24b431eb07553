"""``forecast predict``."""

import logging
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from forecaster.cli import fan, holdout, options, output, supply, ticker_lists, worth
from forecaster.display import announcement, number, price
from forecaster.errors import ForecastError, HistoryError, StoreError, UsageError, first_few

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np
    import pandas as pd

    from forecaster.data.store import Store
    from forecaster.dataset.announcements import NextEvent
    from forecaster.dataset.implied import Level
    from forecaster.runs.bundle import RunVerdict
    from forecaster.runs.choice import Choice
    from forecaster.runs.run import Run

_WIDTH = "The day's mean return is close to unpredictable: read the intervals, not the median."
"""What to make of a forecast without a verdict, which has advice of its own."""

_WIDTH_AHEAD = (
    "The mean return is close to unpredictable, and over a month little but the drift of the past: read "
    "the intervals, not the median."
)


def predict(
    tickers: options.FetchedTickers = None,
    *,
    run: options.Run = None,
    horizon: options.Ahead = None,
    steps: options.Steps = None,
    annualised: Annotated[
        bool, options.flag("Show volatilities a year instead of a day.", "--annualised")
    ] = False,
    as_of: options.AsOf = None,
    calibrate: Annotated[
        bool,
        options.flag(
            "Recalibrate the intervals from the run's misses since it was trained.", "--calibrate"
        ),
    ] = False,
    max_age: Annotated[
        int | None,
        options.optional(
            "The most finished sessions that prices may lack; with older ones it fails.",
            min=0,
            metavar="SESSIONS",
        ),
    ] = None,
    record: Annotated[
        bool,
        options.flag(
            "Also add the forecasts to the ledger, where they stay as they were made.", "--record"
        ),
    ] = False,
    out: Annotated[
        Path | None,
        options.optional(
            "Also write the forecasts, with all their quantiles, to this file: .csv, .json, .parquet "
            "or .xlsx.",
            metavar="FILE",
        ),
    ] = None,
    layout: options.Layout = "long",
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Forecast the next session, or several ahead.

    Without a run of your own the base model forecasts, which comes with the package.

    Example: forecast predict AAPL --horizon 10
    """
    from forecaster import exports
    from forecaster.cli.closes import Closes
    from forecaster.data import companions
    from forecaster.data.event_store import EventStore
    from forecaster.data.store import Store
    from forecaster.runs import bundle, choice, forecasting

    output.start(quiet=quiet, verbose=verbose)
    _check_words(as_of, max_age, record=record, calibrate=calibrate)
    wanted = options.steps_ahead(horizon, steps)
    _check_file(out, layout)
    chosen, store = choice.choose(home, run), Store(home)
    trained = chosen.run
    stored = supply.tickers(store, tickers, quiet=quiet)
    needed = ticker_lists.with_universe(trained, store, stored)
    events = EventStore(home).read(needed)
    digests = dict[str, str]()
    notes = dict[str, "Mapping[str, str]"]()
    noted = Closes(store.each(needed, notes), stored, as_of)
    frame, failures, announced, implied = forecasting.predict_each(
        trained,
        _noted(noted, digests) if record else noted,
        tickers=stored,
        events=events,
        companions=companions.read(home, stored),
        as_of=as_of,
        calibrate=calibrate,
        steps=wanted,
    )
    last = max((noted.dates[it][-1].item() for it in frame["ticker"].unique()), default=date.min)
    in_steps = horizon is not None or steps is not None or annualised
    rows = _described(frame, noted.dates, announced, implied, ahead=in_steps)
    failed: list[ForecastError] = list(failures.values())
    if max_age is not None and (old := [it for it in rows if it["sessions_behind"] > max_age]):
        failed.append(_too_old(_heads(old), max_age))
        rows = [row for row in rows if row["sessions_behind"] <= max_age]
        frame = frame[frame["ticker"].isin([row["ticker"] for row in rows])]
    recorded = None
    if record:
        recorded = _recorded(home, frame, trained, rows, digests, noted.dates, failed, quiet=quiet)
    for row in rows:
        row["currency"] = notes[row["ticker"]].get("currency")
    _mark_guesses(rows, noted.dates)
    if as_of is None:
        _warn_of_stale(_heads(rows))
    _warn_of_motionless(rows, noted.motion)
    verdict = bundle.last_verdict(trained, home)
    if out is not None:
        table = _exported(frame, rows, announced)
        output.export(*exports.laid_out(table, layout), out, quiet=quiet)
    if as_json:
        output.dump(
            "predict",
            {
                "run": trained.name,
                "chosen_by": chosen.reason,
                "worth": worth.document(rows) if trained.is_base else None,
                "as_of": max((row["cutoff"] for row in rows), default=None),
                "verdict": asdict(verdict) if verdict else None,
                "forecasts": rows,
                "recorded": recorded,
                "out": str(out) if out else None,
            },
        )
    elif rows:
        if wanted == (1,):
            _print(rows, noted.recent, with_age=as_of is None, annualised=annualised)
        else:
            _print_ahead(rows, with_age=as_of is None, annualised=annualised)
        _say_implied(rows, noted.dates)
        for text in _worth(chosen, verdict, rows, store, last, wanted[-1]):
            output.say(text)
    output.end(failed)


def _check_file(out: Path | None, layout: str) -> None:
    """Raise an error, before any work, if the forecasts cannot be written as asked."""
    from forecaster import exports

    exports.check_layout(layout)
    if out is not None:
        exports.check(out)
    elif layout != "long":
        raise UsageError(f"--layout {layout} is of a file: name one with --out")


def _check_words(as_of: date | None, max_age: int | None, *, record: bool, calibrate: bool) -> None:
    """Raise an error if options contradict each other."""
    if as_of is not None and max_age is not None:
        raise UsageError("--max-age is about prices up to now: drop it, or drop --as-of")
    if as_of is not None and record:
        raise UsageError("--record is of forecasts made before the day: drop it, or drop --as-of")
    if calibrate and record:
        raise UsageError("--record is of what the run itself says: drop it, or drop --calibrate")


def _noted(frames: "Iterable[pd.DataFrame]", digests: dict[str, str]) -> "Iterator[pd.DataFrame]":
    from forecaster.live import ledger

    return ledger.noted(frames, digests)


def _recorded(
    home: Path,
    frame: "pd.DataFrame",
    trained: "Run",
    rows: list[dict[str, Any]],
    digests: dict[str, str],
    histories: "Mapping[str, np.ndarray]",
    failed: list[ForecastError],
    *,
    quiet: bool,
) -> dict[str, int] | None:
    """Add the forecasts of sessions that are not over to the ledger, and say how many are new.

    Returns
    -------
    The same as JSON has it; None where they cannot be added, and the error is among those that failed.
    """
    import numpy as np

    from forecaster.live import ledger

    origins = {trained.model.name: ledger.origin_of(trained)}
    is_open = [row["cutoff"] > row["last_finished"] for row in rows]
    over = sum(row["date"] <= row["last_finished"] for row in rows)
    to_come = [row["cutoff"] <= row["last_finished"] < row["date"] for row in rows]
    if any(is_open):
        names = dict.fromkeys(row["ticker"] for row, its in zip(rows, is_open, strict=True) if its)
        failed.append(
            HistoryError(
                f"{first_few(names)}: the last stored session is not over, so that forecasts from it are "
                "not recorded; record them once its exchange has closed"
            )
        )
    try:
        # An empty list would choose no columns, rather than no rows.
        added = ledger.record(
            home, frame[np.array(to_come, dtype=bool)], origins, digests, histories=histories
        )
    except StoreError as error:
        failed.append(error)
        return None
    if not quiet:
        words = [f"{added.rows:,} of {len(rows):,} forecasts are new in the ledger"]
        if added.late:
            words.append(f"{added.late:,} of them late, after the open")
        if there := sum(to_come) - added.rows:
            words.append(f"{there:,} were there before")
        if over:
            words.append(f"{over:,} are of sessions that are over, which it does not take")
        output.note("; ".join(words))
    return {"rows": added.rows, "late": added.late, "over": over}


def _described(
    frame: "pd.DataFrame",
    histories: "Mapping[str, np.ndarray]",
    announced: "dict[str, NextEvent]",
    implied: "dict[str, Level]",
    *,
    ahead: bool,
) -> list[dict[str, Any]]:
    """Return the forecasts as JSON has them.

    Those of the next session alone lack what is to be said of steps, unless it is asked for.

    Parameters
    ----------
    histories : the last stored dates of each ticker.
    """
    from forecaster.distributions import forecasts

    rows = forecasts.summary(frame)
    _count_sessions_behind(rows, histories)
    if ahead:
        _spread_over_time(rows, histories)
    for row in rows:
        if not ahead:
            del row["step"]
        row["next_event"] = _event(announced.get(row["ticker"]))
        level = implied.get(row["ticker"])
        row["implied_volatility"] = level.volatility if level else None
        row["implied_by"] = level.name if level else None
    return rows


def _exported(
    frame: "pd.DataFrame", rows: list[dict[str, Any]], announced: "dict[str, NextEvent]"
) -> "pd.DataFrame":
    """Return the forecasts with the columns that files have."""
    from forecaster import exports

    return exports.of_forecasts(
        frame,
        currencies={row["ticker"]: row["currency"] for row in rows},
        sessions_behind={row["ticker"]: row["sessions_behind"] for row in rows},
        guesses=[(row["ticker"], row.get("step", 1)) for row in rows if row["date_is_guess"]],
        announced=announced,
    )


def _heads(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first row of each ticker."""
    return list({row["ticker"]: row for row in reversed(rows)}.values())[::-1]


def _spread_over_time(rows: list[dict[str, Any]], histories: "Mapping[str, np.ndarray]") -> None:
    """Add each volatility a day and a year: that of all steps over the root of their number."""
    from math import sqrt

    import pandas as pd

    from forecaster.evaluation.strategy import sessions_a_year

    years = {ticker: sessions_a_year(pd.Series(dates)) for ticker, dates in histories.items()}
    for row in rows:
        year = years[row["ticker"]]
        row["volatility_per_day"] = row["volatility"] / sqrt(row["step"])
        row["annualised_volatility"] = row["volatility"] * sqrt(year / row["step"])
        row["sessions_a_year"] = year


def _say_implied(rows: list[dict[str, Any]], histories: "Mapping[str, np.ndarray]") -> None:
    """Say what each index of implied volatility says, beside the forecasts, both a year."""
    from math import sqrt

    import pandas as pd

    from forecaster.evaluation.strategy import sessions_a_year

    forecast: dict[tuple[str, float], list[str]] = {}
    for row in _heads(rows):
        if row["implied_by"]:
            year = sessions_a_year(pd.Series(histories[row["ticker"]]))
            spread = row["volatility"] * sqrt(year / row.get("step", 1))
            key = row["implied_by"], row["implied_volatility"]
            forecast.setdefault(key, []).append(
                f"{row['ticker']} {number(spread, '.1%', digits=2)}"
            )
    for (index, level), its in forecast.items():
        output.say(f"Volatility a year: {index} implies {level:.1%}; forecast: {first_few(its)}.")


def _event(event: "NextEvent | None") -> dict[str, Any] | None:
    """Return the next announcement as JSON holds it, its expected move a fraction."""
    if event is None:
        return None
    return {
        "kind": "earnings",
        "date": event.day.isoformat(),
        "time": event.time,
        "reaction_session": event.reaction.isoformat(),
        "expected_move": event.expected_move,
    }


def _reports(event: dict[str, Any]) -> str:
    """Return an announcement in a few words: Thu 30 Jan after the close (±5.1%)."""
    when = announcement(date.fromisoformat(event["date"]), event["time"])
    return f"{when} (±{event['expected_move']:.1%})"


def _worth(
    chosen: "Choice",
    verdict: "RunVerdict | None",
    rows: list[dict[str, Any]],
    store: "Store",
    last: date,
    step: int,
) -> list[str]:
    """Return which run forecasts and why, and what is known of its worth, in lines."""
    from forecaster.runs.choice import Reason

    trained, home = chosen.run, store.folder.parent
    width = _WIDTH if step == 1 else _WIDTH_AHEAD
    lines = [
        f"Run {trained.name}{chosen.words}: {trained.model.name} trained on {trained.first} to "
        f"{trained.until}."
    ]
    tickers = [row["ticker"] for row in _heads(rows)]
    if trained.is_base:
        lines += worth.lines(tickers)
        words = tickers if len(tickers) <= holdout.MOST else []
    else:
        words = holdout.universe(trained, store.tickers())
    if verdict:
        return [*lines, _verdict(trained, verdict, words, home, step)]
    if trained.is_base:
        if last <= trained.until:
            return [
                *lines,
                f"{width} It has seen the years that are stored: nothing is left to backtest.",
            ]
        tested = holdout.backtesting(words, trained.model.name, home, run=trained.name, step=step)
        return [*lines, f"{width} `{tested}` says what it is worth on yours."]
    named = chosen.reason is Reason.NAMED
    tested = _without_backtest(trained, words, home, last, named=named, step=step)
    return [*lines, f"{width} {tested}"]


def _verdict(trained: "Run", verdict: "RunVerdict", words: list[str], home: Path, step: int) -> str:
    """Return what the last backtest of a run says of it, and of which step it is if others are shown."""
    text = f"Its backtest of {verdict.start} to {verdict.end}: {verdict.summary or verdict.verdict}"
    if step == 1:
        return text
    tested = holdout.backtesting(words, trained.model.name, home, run=trained.name, step=step)
    return f"{text} That is of the shortest step of the backtest: `{tested}` judges others too."


def _without_backtest(
    trained: "Run", words: list[str], home: Path, last: date, *, named: bool, step: int
) -> str:
    """Return how to learn what a run is worth, and which runs were backtested if none was named."""
    from forecaster.runs import bundle

    model = trained.model.name
    if trained.until < last:
        tested = holdout.backtesting(words, model, home, run=trained.name, step=step)
        text = f"It has no backtest yet: `{tested}` says what it is worth."
    else:
        day = holdout.until(trained.first, trained.until)
        text = (
            "It has no backtest yet, and has seen all that is stored. What such a model is worth: "
            f"`{holdout.training(words, model, home, day)}`, then "
            f"`{holdout.backtesting(words, model, home, step=step)}`."
        )
    others = [] if named else [it for it in bundle.names(home) if bundle.is_backtested(home, it)]
    if others:
        text += (
            f" Backtested {'was' if len(others) == 1 else 'were'} {first_few(others)}: "
            "--run NAME forecasts with one."
        )
    return text


def _warn_of_motionless(rows: list[dict[str, Any]], motion: "Mapping[str, str]") -> None:
    """Warn of forecasts of prices that hardly move, whose intervals mean little."""
    for ticker in sorted({row["ticker"] for row in rows} & set(motion)):
        logging.getLogger(__name__).warning("%s: %s", ticker, motion[ticker])


def _mark_guesses(rows: list[dict[str, Any]], histories: "Mapping[str, np.ndarray]") -> None:
    """Mark the forecasts whose date no calendar knows, and warn of them."""
    import numpy as np
    import pandas as pd

    from forecaster.data import calendars

    guesses: dict[tuple[bool, bool], dict[str, str]] = {}
    several = len(rows) > len(_heads(rows))
    for row in rows:
        ticker, cutoff, step = row["ticker"], pd.Timestamp(row["cutoff"]), row.get("step", 1)
        dates = histories[ticker]
        known = (dates == np.datetime64(row["date"])).any()
        certain = known or calendars.next_sessions(ticker, cutoff, step, dates)[-1].certain
        row["date_is_guess"] = not certain
        if row["date_is_guess"]:
            weekdays = calendars.is_guessed(ticker, dates)
            words = f"{ticker} from {row['date']} on" if several else f"{ticker} on {row['date']}"
            guesses.setdefault((weekdays, several), {}).setdefault(ticker, words)
    for (weekdays, several), dated in guesses.items():
        logging.getLogger("forecaster").warning(
            "%s: the %s, as %s",
            first_few(list(dated.values())),
            "dates are guesses" if several else "date is a guess",
            "no trading calendar of the exchange is known; the weekdays of the history decide"
            if weekdays
            else "the holidays of the exchange are not announced so far ahead",
        )


def _count_sessions_behind(
    rows: list[dict[str, Any]], histories: "Mapping[str, np.ndarray]"
) -> None:
    """Add the last finished session of each ticker's exchange, and how many came since the cutoff."""
    import pandas as pd

    from forecaster.data import calendars

    now, ages = calendars.now(), {}
    for row in _heads(rows):
        ticker, dates = row["ticker"], histories[row["ticker"]]
        due = calendars.last_finished(ticker, now, dates)
        behind = calendars.sessions_after(ticker, pd.Timestamp(row["cutoff"]), due, dates)
        ages[ticker] = str(due.date()), behind
    for row in rows:
        row["last_finished"], row["sessions_behind"] = ages[row["ticker"]]


def _too_old(rows: list[dict[str, Any]], max_age: int) -> HistoryError:
    """Return the error that prices lack more sessions than they may."""
    tickers, ages = [row["ticker"] for row in rows], [row["sessions_behind"] for row in rows]
    least, most = f"{min(ages):,}", f"{max(ages):,}"
    return HistoryError(
        f"{first_few(tickers)}: the stored prices are {least if least == most else f'{least} to {most}'} "
        f"sessions behind, and --max-age allows {max_age:,}; {_fetching(tickers)}"
    )


def _fetching(tickers: list[str]) -> str:
    shown = " ".join(tickers[:5]) + (" …" if len(tickers) > 5 else "")
    return f"`forecast fetch {shown}` brings {'it' if len(tickers) == 1 else 'them'} up to date"


def _warn_of_stale(rows: list[dict[str, Any]]) -> None:
    """Warn once of the tickers that end on the same day."""
    stale: dict[tuple[str, str, int], list[str]] = {}
    for row in rows:
        if behind := row["sessions_behind"]:
            key = row["cutoff"], row["last_finished"], behind
            stale.setdefault(key, []).append(row["ticker"])
    for (cutoff, last, behind), tickers in stale.items():
        logging.getLogger("forecaster").warning(
            "%s: the last stored session is %s, %s behind the exchange's last finished one, %s; "
            "this is not a forecast of the session to come. %s",
            first_few(tickers),
            cutoff,
            f"{behind:,} session{'s' if behind > 1 else ''}",
            last,
            _fetching(tickers),
        )


def _print(
    rows: list[dict[str, Any]],
    recent: dict[str, list[float]],
    *,
    with_age: bool,
    annualised: bool,
) -> None:
    from forecaster.cli import closes
    from forecaster.data import units

    with_currency = any(row["currency"] for row in rows)
    with_age = with_age and any(row["sessions_behind"] for row in rows)
    with_events = any(row["next_event"] for row in rows)
    spread, unit = ("annualised_volatility", "year") if annualised else ("volatility", "day")
    output.table(
        [
            *("ticker", "last close", *["in"] * with_currency, "of", *["behind"] * with_age),
            *("forecast of", "median", "80% interval", "95% interval", "volatility"),
            *("P(rise)", "95% VaR", *["reports"] * with_events, f"last {closes.RECENT} sessions"),
        ],
        [
            [
                row["ticker"],
                price(row["last_close"]),
                *[units.short(row["currency"])] * with_currency,
                row["cutoff"],
                *[f"{row['sessions_behind']:,}"] * with_age,
                row["date"] + ("?" if row["date_is_guess"] else ""),
                price(row["median"], beside=row["last_close"]),
                *(
                    " – ".join(price(end, beside=row["last_close"]) for end in ends)
                    for ends in row["intervals"].values()
                ),
                f"{number(row[spread], '.2%', digits=2)}/{unit}",
                f"{row['p_up']:.1%}",
                number(row["var_95"], ".2%", digits=2),
                *[_reports(row["next_event"]) if row["next_event"] else "–"] * with_events,
                output.sparkline(recent[row["ticker"]]),
            ]
            for row in rows
        ],
    )
    if annualised:
        output.say(_year(rows))


def _print_ahead(rows: list[dict[str, Any]], *, with_age: bool, annualised: bool) -> None:
    """Print a table and a fan for each ticker."""
    from forecaster.data import units

    for head in _heads(rows):
        own = [row for row in rows if row["ticker"] == head["ticker"]]
        event, behind = head["next_event"], head["sessions_behind"]
        currency = f" {units.short(head['currency'])}" if head["currency"] else ""
        words = f"{head['ticker']}: last close {price(head['last_close'])}{currency} of {head['cutoff']}"
        if with_age and behind:
            words += f", {behind:,} {'session' if behind == 1 else 'sessions'} behind"
        if event and event["reaction_session"] > own[-1]["date"]:
            words += f"; reports {_reports(event)}, which is after these sessions"
        output.say(words)
        fan.table(own, f"reports {_reports(event)}" if event else None, annualised=annualised)
        output.say("")
    output.say(fan.LEGEND)
    a_day, a_year = (
        "a day: that over the root of the step.",
        f"a year: that annualised. {_year(rows)}",
    )
    output.say(f"Volatility: of all sessions up to the date; {a_year if annualised else a_day}")


def _year(rows: list[dict[str, Any]]) -> str:
    """Return how many sessions the years of some tickers have, in words."""
    years: dict[float, list[str]] = {}
    for row in _heads(rows):
        years.setdefault(row["sessions_a_year"], []).append(row["ticker"])
    if len(years) == 1:
        return f"A year is {next(iter(years)):g} sessions."
    return f"A year is {', '.join(f'{year:g} sessions of {first_few(its)}' for year, its in years.items())}."
