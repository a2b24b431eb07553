"""Prices for the tickers that a command names: those that are not stored are fetched first."""

import logging
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from forecaster.cli import output, ticker_lists
from forecaster.errors import ForecastError, SourceError, StoreError, did_you_mean, first_few

if TYPE_CHECKING:
    from forecaster.data.event_update import EventResult
    from forecaster.data.store import Store
    from forecaster.data.update import Announce, FetchResult
    from forecaster.models.protocol import Progress

log = logging.getLogger(__name__)

CONCURRENCY = 4
"""Requests to Yahoo in flight at once."""

PATIENCE = 20.0
"""Seconds for which a ticker in trouble is asked for again: somebody waits for a forecast."""

_FILE = re.compile(r"[/\\]|\.(csv|tsv|txt|json|parquet|xlsx?|zip|gz)$", re.IGNORECASE)


class Brought(NamedTuple):
    """What became of tickers at Yahoo, and of what goes with them."""

    prices: "list[FetchResult]"
    beside: "list[FetchResult]"
    """Of the indices that forecasts of them read."""
    events: "list[EventResult]"


def bring(store: "Store", names: list[str], progress: "Progress", *, anew: bool = False) -> Brought:
    """Bring tickers up to date with Yahoo, and what goes with them.

    Parameters
    ----------
    anew : ask for new prices of the indices beside them that are stored too.
    """
    from forecaster.data import companions, event_update, update
    from forecaster.data.event_store import EventStore

    home = store.folder.parent
    results = list["FetchResult"]()

    def announce(words: str) -> None:
        progress(len(results), len(names), words)

    for result in update.from_yahoo(
        store, names, concurrency=CONCURRENCY, patience=PATIENCE, announce=announce
    ):
        results.append(result)
        announce(f"fetch {result.ticker}")
    came = [result.ticker for result in results if not result.error]
    stored = [] if anew else companions.store(home).tickers()
    beside = bring_beside(
        store,
        came,
        {*stored, *names},
        concurrency=CONCURRENCY,
        patience=PATIENCE,
        announce=announce,
    )
    events = event_update.from_yahoo(
        store,
        EventStore(home),
        came,
        concurrency=CONCURRENCY,
        patience=PATIENCE,
        announce=announce,
    )
    return Brought(results, beside, list(events))


def bring_beside(
    store: "Store",
    tickers: Iterable[str],
    others: Collection[str],
    *,
    refresh: bool = False,
    concurrency: int,
    patience: float,
    announce: "Announce",
) -> "list[FetchResult]":
    """Bring the indices beside some tickers up to date, but for others, and those stored as tickers."""
    from forecaster.data import companions, update

    names = {*companions.of(tickers)} - {*others, *store.tickers()}
    return list(
        update.from_yahoo(
            companions.store(store.folder.parent),
            sorted(names),
            refresh=refresh,
            concurrency=concurrency,
            patience=patience,
            announce=announce,
        )
    )


def tickers(store: "Store", words: list[str] | None, *, quiet: bool) -> list[str]:
    """Return the tickers typed, all of them stored now, or all that are stored if none were.

    What is stored already is not asked for again.

    Raises
    ------
    StoreError
        Nothing is stored and no ticker typed, or a word is the name of a file.
    SourceError
        A ticker did not come. Those that did are stored.
    """
    known = set(store.tickers())
    wanted = ticker_lists.named(store, words)
    if not known and not wanted:
        raise StoreError(
            f"no prices are stored in {store.folder}: name a ticker, which is then fetched, or "
            "`forecast fetch` gets some"
        )
    if missing := [ticker for ticker in wanted if ticker not in known]:
        _refuse_files(missing)
        # Yahoo's names have no small letters.
        fetched = {ticker: ticker.upper() for ticker in missing}
        _fetch(store, list(dict.fromkeys(fetched.values())), known, quiet=quiet)
        wanted = list(dict.fromkeys(fetched.get(it, it) for it in wanted))
    return ticker_lists.stored(store, wanted)


def only(store: "Store", word: str, *, quiet: bool) -> str:
    """Return the one ticker typed, which is stored now; UsageError for a list of several."""
    (ticker,) = tickers(store, [ticker_lists.single(store, word)], quiet=quiet)
    return ticker


def warn(one: "FetchResult") -> None:
    """Warn of what was rejected or repaired of a ticker, and why its history was replaced."""
    from forecaster.data import mends

    if len(one.findings):
        log.warning("%s: %s", one.ticker, mends.words(one.findings))
    if one.motion:
        log.warning("%s: %s", one.ticker, one.motion)
    if one.reason:
        log.warning("%s: the stored history was replaced: %s", one.ticker, one.reason)


def warn_of_events(dated: "Iterable[EventResult]") -> None:
    """Warn, in a line each, of the tickers whose earnings dates did not come, or that have none."""
    dated = list(dated)
    if failed := [it for it in dated if it.error]:
        log.warning(
            "the earnings dates of %s did not come, and will be asked for again (%s)",
            first_few(it.ticker for it in failed),
            failed[0].error,
        )
    if none := [it.ticker for it in dated if it.status == "none"]:
        log.warning("Yahoo lists no earnings dates of %s", first_few(none))


def warn_of_companions(beside: "Iterable[FetchResult]") -> None:
    """Warn, in a line, of the companions that did not come."""
    if failed := [it for it in by_name(beside) if it.error]:
        log.warning(
            "%s did not come, so forecasts do without until the next fetch (%s)",
            first_few(it.ticker for it in failed),
            failed[0].error,
        )


def by_name(results: "Iterable[FetchResult]") -> "list[FetchResult]":
    """Return results in the order of their tickers."""
    return sorted(results, key=lambda it: it.ticker)


def _refuse_files(words: Iterable[str]) -> None:
    """Raise StoreError for a word that can only be meant as a file."""
    for word in words:
        if _FILE.search(word):
            raise StoreError(
                f"{word} is the name of a file, and no ticker of that name is stored: "
                f"`forecast fetch --source {word}` stores the prices in it"
            )


def _fetch(store: "Store", names: list[str], known: Collection[str], *, quiet: bool) -> None:
    """Fetch tickers and their earnings dates, and say so in a line."""
    with output.progress(quiet=quiet) as progress:
        results, beside, dated = bring(store, names, progress)
    came = [result for result in results if not result.error]
    if came and not quiet:
        output.note(_fetched(came, dated, beside))
    for result in came:
        warn(result)
    warn_of_companions(beside)
    warn_of_events(it for it in dated if it.error)
    if lost := {it.ticker: it.error for it in results if it.error}:
        raise _explained(lost, known, store.folder)


def _fetched(
    came: "list[FetchResult]", dated: "list[EventResult]", beside: "list[FetchResult]"
) -> str:
    """Return what was not stored before and is now."""
    names = [it.ticker for it in came]
    rows, events = sum(it.rows or 0 for it in came), sum(it.rows for it in dated if not it.error)
    first, last = (min(it.first for it in came if it.first), max(it.last for it in came if it.last))
    there = [it.ticker for it in by_name(beside) if not it.error]
    return (
        f"{first_few(names)} {'was' if len(names) == 1 else 'were'} not stored: fetched {rows:,} "
        f"sessions of {first:%Y-%m-%d} to {last:%Y-%m-%d}"
        f"{f' and {events:,} earnings dates' if events else ''} from Yahoo"
        f"{f', with {first_few(there)} beside' if there else ''}"
    )


def _explained(
    lost: dict[str, ForecastError], known: Collection[str], folder: Path
) -> ForecastError:
    """Return the error of the tickers that did not come, in a line, with the nearest stored names."""
    first, *others = lost
    text = str(lost[first])
    if others:
        text += f" (nor did {first_few(others)} come)"
    hint = did_you_mean(lost, known)
    if known:
        text += f"; {hint}not stored: {first_few(lost)}, stored in {folder} are {first_few(known)}"
    return type(lost[first])(text) if isinstance(lost[first], SourceError) else SourceError(text)
