"""What each kind of condition of ``alerts.toml`` has to say; see :data:`forecaster.live.conditions.KINDS`.

A line begins with a word of ours, so that no name of a ticker is taken for the option of a command.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecaster.data import calendars, exchanges
from forecaster.data.store import Store
from forecaster.dataset import announcements
from forecaster.display import announcement, number, price, printable
from forecaster.distributions import forecasts
from forecaster.live import ledger, scoring
from forecaster.live.conditions import Condition
from forecaster.live.outbox import Alert

RECENT_DAYS = 60
"""Forecasts and outcomes of longer ago are not the last of a ticker that is followed."""

HISTORY_DAYS = 200
"""Days before now whose sessions tell the weekdays of an unknown exchange."""


@dataclass(frozen=True)
class Evening:
    """What conditions are held against, read when the first asks for it.

    Parameters
    ----------
    frame : the forecasts made tonight, which may be none.
    events : the events frame of any tickers.
    now : with a time zone.
    """

    home: Path
    store: Store
    frame: pd.DataFrame
    events: pd.DataFrame
    now: pd.Timestamp

    @cached_property
    def stored(self) -> set[str]:
        """The tickers of which there are prices."""
        return set(self.store.tickers())

    def tickers(self, condition: Condition) -> list[str]:
        """The stored tickers that a condition is of."""
        if condition.tickers is None:
            return sorted(self.stored)
        return sorted(self.stored.intersection(condition.tickers))

    @cached_property
    def recorded(self) -> pd.DataFrame:
        """The forecasts of the next session that runs made in time, of the last weeks, by date."""
        first = (self.now - pd.Timedelta(days=RECENT_DAYS)).date()
        frame = ledger.read(self.home, first=first, steps=[1])
        return frame[(frame["run"] != "") & ~frame["late"]].sort_values("date", kind="stable")

    @cached_property
    def forecasts(self) -> dict[str, dict[Any, Any]]:
        """The last forecast of each ticker whose session is not over."""
        columns = forecasts.FORECAST_COLUMNS
        tonight = forecasts.next_day(self.frame)[columns]
        last = forecasts.concat([self.recorded[columns], tonight]).drop_duplicates(
            "ticker", keep="last"
        )
        rows = last.assign(var=forecasts.value_at_risk(last, 0.05)).to_dict("records")
        by_ticker = {str(row["ticker"]): row for row in rows}
        return {
            ticker: row
            for ticker, row in by_ticker.items()
            if row["date"] > calendars.last_finished(ticker, self.now, self.dates(ticker))
        }

    @cached_property
    def _histories(self) -> Mapping[Any, pd.Series]:
        start = (self.now - pd.Timedelta(days=HISTORY_DAYS)).date()
        frame = self.store.read(sorted(self.stored), columns=["ticker", "date"], start=start)
        return dict(iter(frame.groupby("ticker")["date"]))

    def dates(self, ticker: str) -> pd.Series | None:
        """The last dates of a ticker, which tell its weekdays where no calendar does."""
        return self._histories.get(ticker) if self.stored else None

    def last(self, ticker: str) -> pd.Timestamp | None:
        """The last date of a ticker; None if another command has just removed it."""
        dates = self.dates(ticker)
        if dates is not None:
            return pd.Timestamp(dates.iloc[-1])
        state = self.store.state(ticker)
        return state.last if state else None


def _expected_move(evening: Evening, condition: Condition) -> Iterator[Alert]:
    for ticker, row in _forecast(evening, condition):
        low, high = np.exp([row["q0.1"], row["q0.9"]])
        half = (high - low) / 2
        if half > _limit(condition):
            low, high = low * row["last_close"], high * row["last_close"]
            text = (
                f"Move: {ticker} may move {_percent(half)} either way on {_day(row['date'])} "
                f"(80% interval {price(low)} to {price(high, beside=low)})"
            )
            yield _alert(condition, ticker, f"{row['date']:%Y-%m-%d}", text)


def _value_at_risk(evening: Evening, condition: Condition) -> Iterator[Alert]:
    for ticker, row in _forecast(evening, condition):
        if row["var"] > _limit(condition):
            text = (
                f"Risk: {ticker} has a 95% VaR of {_percent(row['var'])} on {_day(row['date'])}, "
                f"above {_percent(_limit(condition))}"
            )
            yield _alert(condition, ticker, f"{row['date']:%Y-%m-%d}", text)


def _forecast(evening: Evening, condition: Condition) -> Iterator[tuple[str, dict[Any, Any]]]:
    for ticker in evening.tickers(condition):
        if row := evening.forecasts.get(ticker):
            yield ticker, row


def _surprise(evening: Evening, condition: Condition) -> Iterator[Alert]:
    settled = evening.recorded[evening.recorded["status"] == "settled"]
    settled = settled[settled["ticker"].isin(evening.tickers(condition))]
    tail = _limit(condition)
    for row in settled.drop_duplicates("ticker", keep="last").to_dict("records"):
        came = row["log_return"]
        low, high = row[f"q{tail:g}"], row[f"q{1 - tail:g}"]
        if low <= came <= high:
            continue
        fell = came < low
        level, bound = (tail, low) if fell else (1 - tail, high)
        text = (
            f"Surprise: {row['ticker']} {'fell' if came < 0 else 'rose'} "
            f"{_percent(abs(np.expm1(came)))} on {_day(row['date'])}, {'below' if fell else 'above'} the "
            f"{level:g} quantile of its forecast, {np.expm1(bound):+.1%}"
        )
        yield _alert(condition, row["ticker"], f"{row['date']:%Y-%m-%d}", text)


def _earnings(evening: Evening, condition: Condition) -> Iterator[Alert]:
    schedules = announcements.schedules_of(evening.events)
    for ticker in evening.tickers(condition):
        schedule = schedules.get(ticker)
        if schedule is None:
            continue
        sessions = announcements.sessions_of(exchanges.exchange(ticker))
        last = calendars.last_finished(ticker, evening.now, evening.dates(ticker))
        due = np.searchsorted(sessions, schedule.days + np.where(schedule.after == 1, 1, 0))
        ahead = due - np.searchsorted(sessions, last.to_datetime64(), side="right") + 1
        for at in np.flatnonzero(
            np.isnat(schedule.until) & (ahead >= 1) & (ahead <= _limit(condition))
        ):
            day = schedule.days[at].item()
            time = {0.0: "pre", 1.0: "post"}.get(float(schedule.after[at]))
            count = int(ahead[at])
            text = (
                f"Earnings: {ticker} reports {announcement(day, time)}; the first session to react is "
                f"{_day(pd.Timestamp(sessions[due[at]]))}, {count} session{'s' if count > 1 else ''} ahead"
            )
            yield _alert(condition, ticker, day.isoformat(), text)


def _stale(evening: Evening, condition: Condition) -> Iterator[Alert]:
    for ticker in evening.tickers(condition):
        last = evening.last(ticker)
        if last is None:
            continue
        dates = evening.dates(ticker)
        due = calendars.last_finished(ticker, evening.now, dates)
        behind = calendars.sessions_after(ticker, last, due, dates)
        if behind >= _limit(condition):
            text = (
                f"Stale: {ticker} lacks {behind:,} finished session{'s' if behind > 1 else ''} after "
                f"{last:%Y-%m-%d}, its last price"
            )
            yield _alert(condition, ticker, f"{last:%Y-%m-%d}", text)


def _coverage(evening: Evening, condition: Condition) -> Iterator[Alert]:
    made = evening.recorded.sort_values("made_at", kind="stable")
    if made.empty:
        return
    run = str(made["run"].iloc[-1])
    rows = ledger.read(evening.home, run=run, tickers=condition.tickers, steps=[1])
    record = scoring.score(scoring.measured(rows)) if len(rows) else None
    for its in record.steps if record else ():
        for coverage in its.coverages:
            if coverage.is_kept is False:
                text = f"Coverage: of {its.rows:,} forecasts by the run {run}, {coverage.text}"
                side = "narrow" if coverage.share < coverage.nominal else "wide"
                occasion = f"{run} {coverage.nominal:g} {side}"
                yield _alert(condition, ",".join(condition.tickers or ()), occasion, text)


CHECKS: Mapping[str, Callable[[Evening, Condition], Iterator[Alert]]] = {
    "expected_move": _expected_move,
    "var": _value_at_risk,
    "surprise": _surprise,
    "earnings": _earnings,
    "stale": _stale,
    "coverage": _coverage,
}
"""What each kind of condition has to say of an evening."""


def _alert(condition: Condition, ticker: str, occasion: str, text: str) -> Alert:
    return Alert(condition.name, ticker, occasion, printable(text))


def _limit(condition: Condition) -> float:
    return condition.limit or 0.0


def _percent(fraction: float) -> str:
    return number(fraction, ".1%", digits=2)


def _day(day: pd.Timestamp) -> str:
    return f"{day:%a} {day.day} {day:%b}"
