"""``forecast daily``: what is to be done once a day, in one call."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from forecaster.cli import options, output, supply, ticker_lists
from forecaster.errors import (
    BundleError,
    ForecastError,
    HistoryError,
    SourceError,
    StoreError,
    UsageError,
    first_few,
    one_line,
)

if TYPE_CHECKING:
    import pandas as pd

    from forecaster.data.store import Store
    from forecaster.live.daily import Agenda, Market
    from forecaster.live.ledger import Recorded
    from forecaster.models.protocol import Progress
    from forecaster.runs.choice import Choice

log = logging.getLogger(__name__)


class Schedule(StrEnum):
    """How often the run that forecasts is trained again."""

    MONTHLY = "monthly"


STEPS = (
    *("fetch", "settle", "run", "read", "forecast", "baselines", "alert", "page", "retrain"),
    "done",
)
"""Of a call, in their order."""


def daily(
    tickers: options.FetchedTickers = None,
    *,
    run: options.Run = None,
    retrain: Annotated[
        Schedule | None,
        options.optional(
            "Train the network that forecasts on, once a calendar month; the new run becomes the default "
            "if it is not worse on sessions that neither has seen.",
            metavar="monthly",
        ),
    ] = None,
    no_fetch: Annotated[
        bool, options.flag("Ask Yahoo nothing; go on with what is stored.", "--no-fetch")
    ] = False,
    no_page: Annotated[bool, options.flag("Leave the page as it is.", "--no-page")] = False,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Fetch, settle, forecast and record, alert, and write the page: one line for cron.

    Nothing is done twice: a second call does what the first could not, and what has become due. Exit code
    1 if a step failed; the others are done.

    Example: forecast daily --retrain monthly
    """
    from forecaster import atomic
    from forecaster.data.store import Store

    output.start(quiet=quiet, verbose=verbose)
    if retrain and run is not None:
        raise UsageError(
            f"--run {run} is what forecasts this once, and --retrain is about what forecasts by default: "
            "drop one"
        )
    store = Store(home)
    words = ticker_lists.named(store, tickers)
    if not words and not store.tickers():
        raise StoreError(
            f"no prices are stored in {store.folder}: name tickers, which are then fetched, or "
            "`forecast fetch` gets some"
        )
    with output.progress(quiet=quiet) as progress:
        progress(0, len(STEPS), "wait for another `forecast daily`")
        with atomic.locked(home / "daily"):
            evening = Evening(home, store, words, progress)
            evening.bring(no_fetch=no_fetch)
            evening.settle()
            evening.forecast(run)
            evening.alert()
            if not no_page:
                evening.page()
            if retrain:
                evening.retrain()
        progress(len(STEPS), len(STEPS), "done")
    if as_json:
        failed = [failure._asdict() for failure in evening.failures]
        output.dump("daily", {**evening.document, "failed": failed})
    else:
        evening.say()
    output.end(f"{step}: {error}" for step, error in evening.failures)


class Failure(NamedTuple):
    """What a step could not do."""

    step: str
    error: str


class Evening:
    """The steps of a call, each done whatever became of the others, and what there is to say of them."""

    def __init__(
        self, home: Path, store: "Store", words: Sequence[str], progress: "Progress"
    ) -> None:
        self.home, self.store, self.words, self.progress = home, store, words, progress
        self.failures: list[Failure] = []
        self.chosen: Choice | None = None
        self.made: list[pd.DataFrame] = []
        """The forecasts that were recorded."""
        self.of_run: pd.DataFrame | None = None
        """Those of the run."""
        self.notes: list[str] = []
        """What is said, in lines."""
        self.document: dict[str, Any] = {
            "run": None,
            "chosen_by": None,
            "fetched": None,
            "settled": None,
            "recorded": {"rows": 0, "late": 0, "tickers": 0, "first": None, "last": None},
            "waiting": [],
            "behind": [],
            "alerts": None,
            "page": None,
            "retrained": None,
        }

    # ---- steps

    def bring(self, *, no_fetch: bool) -> None:
        """Fetch what is due of the tickers that come from Yahoo."""
        if no_fetch:
            return
        with self._step("fetch"):
            from forecaster.data import update

            known = set(self.store.tickers())
            from_yahoo = set(update.tickers_from_yahoo(self.store))
            named = self.words or sorted(known)
            names = [it if it in known else it.upper() for it in named]
            names = [it for it in dict.fromkeys(names) if it in from_yahoo or it not in known]
            if not names:
                return
            brought = supply.bring(self.store, names, self._bar("fetch"), anew=True)
            self.words = self.words and list(
                dict.fromkeys(it if it in known else it.upper() for it in self.words)
            )
            for result in brought.prices:
                if result.error is None:
                    supply.warn(result)
            supply.warn_of_companions(brought.beside)
            supply.warn_of_events(it for it in brought.events if it.error)
            lost = [it for it in brought.prices if it.error]
            new = sum(it.new_rows for it in brought.prices)
            self.document["fetched"] = {
                "tickers": len(brought.prices),
                "new_rows": new,
                "failed": sorted(it.ticker for it in lost),
            }
            self.notes.append(
                f"fetched {_count(len(brought.prices) - len(lost), 'ticker')}, "
                f"{_count(new, 'session')} new"
            )
            if lost:
                others = first_few(it.ticker for it in lost[1:])
                also = f" (nor did {others} come)" if others else ""
                raise type(lost[0].error or SourceError(""))(f"{lost[0].error}{also}")

    def settle(self) -> None:
        """Settle what came of the forecasts in the ledger."""
        with self._step("settle"):
            from forecaster.data import calendars
            from forecaster.live import daily, settling

            now = calendars.now()
            before = daily.outcomes(self.home, now)
            settled = settling.settle(self.home, self.store, now)
            came = daily.outcomes(self.home, now).drop(before.index, errors="ignore")
            inside = int(came.sum())
            self.document["settled"] = {
                "outcomes": sum(settled.counts.values()),
                **{it: settled.counts.get(it, 0) for it in ("settled", "moved", "vanished")},
                "vanished_tickers": settled.vanished,
                "next_session": len(came),
                "inside_80": inside,
            }
            if settled.counts:
                self.notes.append(
                    f"settled {_count(len(came), 'forecast')} of a next session, {inside:,} of them "
                    f"inside the 80% interval; {_count(sum(settled.counts.values()), 'outcome')} of "
                    "all steps"
                )
            if settled.vanished:
                self.notes.append(f"no price came of {first_few(settled.vanished)}: vanished")

    def forecast(self, name: str | None) -> None:
        """Forecast what is due by the run and the baselines, and record it."""
        if self.document["fetched"] is None:  # else it was said of those that did not come
            with self._step("read"):
                self.store.require(self.words)
        with self._step("run"):
            from forecaster.runs import choice

            self.chosen = choice.choose(self.home, name)
            self.document |= {"run": self.chosen.run.name, "chosen_by": self.chosen.reason}
        with self._step("read"):
            known = self.store.tickers()
            try:
                due, market = self._prepared(known)
            except StoreError:
                due, market = self._prepared(self._readable(known))
            self._wait(due)
            if market:
                self._by_run(due, market)
                self._by_baselines(due, market)
        self._recorded()

    def _prepared(self, known: Sequence[str]) -> "tuple[Agenda, Market | None]":
        """Return what is to be forecast by now, and the prices for it, of some stored tickers."""
        from forecaster.live import daily

        run = self.chosen.run if self.chosen else None
        tickers = [it for it in self.words or known if it in known]
        due = daily.agenda(self.home, self.store, run, tickers)
        if not due.cutoffs:
            return due, None
        needed = list(due.cutoffs)
        if run is not None and due.of_run:
            needed = ticker_lists.with_universe(run, self.store, needed)
        frames = self.store.each([it for it in needed if it in known])
        return due, daily.read(frames, due.cutoffs)

    def _readable(self, tickers: Sequence[str]) -> list[str]:
        """Return the tickers whose prices can be read; each of the others is a failure of its own."""
        readable = []
        for ticker in tickers:
            try:
                self.store.read([ticker])
            except StoreError as error:
                self._fail("read", f"{error}; the others are forecast without it", error)
            else:
                readable.append(ticker)
        return readable

    def _by_run(self, due: "Agenda", market: "Market") -> None:
        if self.chosen is None or not due.of_run:
            return
        with self._step("forecast"):
            from forecaster.data import companions
            from forecaster.live import daily

            run = self.chosen.run
            predictions = daily.by_run(
                run,
                market,
                due.of_run,
                events=self._events,
                companions=companions.read(self.home, due.of_run),
            )
            self.of_run = predictions.table
            self._record(daily.record_run(self.home, run, self.of_run, market), self.of_run)
            if failed := predictions.failed:
                first, *others = failed
                also = f" (nor are {first_few(others)} forecast)" if others else ""
                raise HistoryError(f"{failed[first]}{also}")

    def _by_baselines(self, due: "Agenda", market: "Market") -> None:
        if not any(due.of_baselines.values()):
            return
        with self._step("baselines"):
            from forecaster.live import daily

            for made in daily.by_baselines(self.home, market, due, self._bar("fit")):
                self._record(daily.record_baseline(self.home, made, market), made.table)

    def alert(self) -> None:
        """Deliver what the alerts of the home have to say."""
        with self._step("alert"):
            from forecaster.data import calendars
            from forecaster.distributions import forecasts
            from forecaster.live import alerts

            outcome = alerts.run(
                self.home,
                self.store,
                forecasts.empty() if self.of_run is None else self.of_run,
                self._events,
                calendars.now(),
            )
            self.document["alerts"] = {"sent": len(outcome.sent), "failed": len(outcome.failed)}
            for message in outcome.sent:
                self.notes.append(f"sent {_count(len(message.lines), 'alert')} to {message.target}")
            for error in outcome.failed:
                self._fail("alert", str(error), error)

    def page(self) -> None:
        """Write the page of the home."""
        with self._step("page"):
            from forecaster.web import pages

            self.document["page"] = str(pages.write(self.home))

    def retrain(self) -> None:
        """Train the run of this month, if there is none."""
        with self._step("retrain"):
            from forecaster.data import companions
            from forecaster.data.event_store import EventStore
            from forecaster.live import retraining

            if self.chosen is None:
                raise BundleError("there is no run to go on from, as said of it")
            run, stored = self.chosen.run, self.store.tickers()
            tickers = stored if run.is_base else sorted({*run.tickers}.intersection(stored))
            if not tickers:
                raise HistoryError(
                    f"none of the tickers that run {run.name} was trained on is stored"
                )
            result = retraining.retrain(
                self.home,
                self.chosen,
                lambda: self.store.read(tickers),
                events=EventStore(self.home).read(tickers),
                companions=companions.read(self.home, tickers),
                progress=self._bar("train"),
            )
            self.document["retrained"] = result._asdict()
            self.notes.append(result.words)

    @cached_property
    def _events(self) -> "pd.DataFrame":
        """The events frame of all tickers."""
        from forecaster.data.event_store import EventStore

        return EventStore(self.home).read()

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """A step, whose failure is noted."""
        self.progress(STEPS.index(name), len(STEPS), name)
        try:
            yield
        except (ForecastError, OSError) as error:
            at = getattr(error, "filename", None) or "the system"
            text = f"{at}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
            self._fail(name, text, error)
        except Exception as error:  # whatever it is, the other steps are to be done
            text = f"{type(error).__name__}: {one_line(error)}; -v says where. Please report it"
            self._fail(name, text, error)

    def _fail(self, step: str, text: str, error: Exception) -> None:
        self.failures.append(Failure(step, text))
        log.debug("where it came from", exc_info=error)

    def _bar(self, step: str) -> "Progress":
        """Progress within a step."""
        return lambda done, total, text: self.progress(done, total, f"{step}: {text}")

    # ---- what there is to say

    def _wait(self, due: "Agenda") -> None:
        self.document["waiting"] = [
            {"exchange": it.exchange, "until": it.until.isoformat(), "tickers": it.tickers}
            for it in due.waiting
        ]
        self.document["behind"] = due.behind

    def _record(self, recorded: "Recorded", table: "pd.DataFrame") -> None:
        if not recorded.rows:
            return
        total = self.document["recorded"]
        total["rows"] += recorded.rows
        total["late"] += recorded.late
        self.made.append(table)

    def _recorded(self) -> None:
        """Sum up what was recorded, and what was not."""
        total = self.document["recorded"]
        nearest = [table[table["step"] == 1] for table in self.made]
        if nearest:
            total["tickers"] = len({it for table in nearest for it in table["ticker"]})
            days = [table["date"] for table in nearest]
            total["first"] = f"{min(it.min() for it in days):%Y-%m-%d}"
            total["last"] = f"{max(it.max() for it in days):%Y-%m-%d}"
            until = "" if total["first"] == total["last"] else f" to {total['last']}"
            late = f", {total['late']:,} of them late, after the open" if total["late"] else ""
            self.notes.append(
                f"recorded {_count(total['rows'], 'forecast')} of {_count(total['tickers'], 'ticker')} "
                f"for {total['first']}{until} and on{late}"
            )
        elif not self.failures:
            self.notes.append("nothing new to forecast")
        for it in self.document["waiting"]:
            when = it["until"][:16].replace("T", " ")
            self.notes.append(
                f"waiting for {it['exchange']} to close at {when} UTC: {ticker_lists.count(it['tickers'])}"
            )
        if behind := self.document["behind"]:
            self.notes.append(
                f"not forecast, as sessions that are over are not stored: {first_few(behind)}"
            )

    def say(self) -> None:
        """Print what was done, a line for each."""
        for line in self.notes:
            output.say(line)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
