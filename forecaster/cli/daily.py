"""``forecast daily``: what is to be done once a day, in one call."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from forecaster.cli import options, output, supply, ticker_lists
from forecaster.errors import ForecastError, StoreError, UsageError, first_few

if TYPE_CHECKING:
    import pandas as pd

    from forecaster.data.store import Store
    from forecaster.live.daily import Agenda, Market
    from forecaster.live.retraining import Retrained
    from forecaster.models.protocol import Progress
    from forecaster.runs.choice import Choice

log = logging.getLogger(__name__)


class Schedule(StrEnum):
    """How often the run that forecasts is trained again."""

    MONTHLY = "monthly"


STEPS = 7
"""Of a call, for the progress."""


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
        progress(0, STEPS, "wait for another `forecast daily`")
        with atomic.locked(home / "daily"):
            evening = Evening(home, store, words, progress)
            evening.bring(no_fetch=no_fetch)
            evening.settle(run)
            evening.forecast()
            evening.alert()
            if not no_page:
                evening.page()
            if retrain:
                evening.retrain()
    if as_json:
        output.dump("daily", evening.document)
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
        self.made: pd.DataFrame | None = None
        """The forecasts of the run."""
        self.document: dict[str, Any] = {
            "run": None,
            "chosen_by": None,
            "fetched": None,
            "settled": None,
            "recorded": {},
        }

    @contextmanager
    def _step(self, at: int, name: str) -> Iterator[None]:
        """A step, whose failure is noted."""
        self.progress(at, STEPS, name)
        try:
            yield
        except (ForecastError, OSError) as error:
            text = str(error) if isinstance(error, ForecastError) else _of_system(error)
            self._fail(name, text, error)
        except Exception as error:  # whatever it is, the other steps are to be done
            self._fail(name, f"{type(error).__name__}: {error}; -v says where, please report it", error)

    def _fail(self, step: str, text: str, error: Exception) -> None:
        self.failures.append(Failure(step, text))
        log.debug("where it came from", exc_info=error)
