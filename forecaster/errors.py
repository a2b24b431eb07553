"""Everything that can go wrong for a reason a user can mend.

::

    ForecastError            exit code 1
    ├── PricesError          a price history breaks a rule
    ├── EventsError          a list of events breaks a rule
    ├── SourceError          a source could not deliver prices
    │   ├── UnknownTickerError
    │   ├── NoPricesError
    │   ├── RateLimitedError
    │   ├── RefusedError
    │   ├── NetworkError
    │   │   └── OfflineError
    │   └── GarbageError
    ├── StoreError           the home folder cannot give or take what was asked
    │   ├── HistoryChangedError
    │   └── ResumeError
    ├── BundleError          a run is missing, damaged or not one of ours
    ├── EngineError          who was to do the work could not be reached, or was lost
    ├── DeliveryError        an alert could not be delivered
    ├── MissingPackageError  the work needs a package that is not installed
    ├── HistoryError         too little history, or the wrong span of it, for what was asked
    └── UsageError           exit code 2: the words of the command are wrong

A message is one line that says what was expected, what came and what to do. It names the parameters
of functions in backquotes, `until` or `values="prices"`, and never an option of the command line.
Only the command line turns an error into an exit code, and these parameters into its options.
"""

from collections.abc import Iterable


class ForecastError(Exception):
    """Base class of every error this package raises on purpose."""

    exit_code = 1


class PricesError(ForecastError):
    """A price history breaks a rule of the prices frame."""


class EventsError(ForecastError):
    """A list of events breaks a rule of the events frame."""


class SourceError(ForecastError):
    """A source of prices could not deliver."""


class UnknownTickerError(SourceError):
    """The source does not know the ticker."""


class NoPricesError(SourceError):
    """The source knows the ticker, and has no prices of the dates asked for."""


class RateLimitedError(SourceError):
    """The source asks to be called less often."""


class RefusedError(SourceError):
    """The source refuses to answer, and would refuse again."""


class NetworkError(SourceError):
    """The source could not be reached."""


class OfflineError(NetworkError):
    """No source can be reached: names are not resolved."""


class GarbageError(SourceError):
    """The source answered with what makes no sense."""


class StoreError(ForecastError):
    """The home folder cannot give or take what was asked."""


class HistoryChangedError(StoreError):
    """New prices are not more of the history that is stored: fetch the whole of it anew."""


class ResumeError(StoreError):
    """There is nothing to go on with, or what it began with has changed."""


class BundleError(ForecastError):
    """A run is missing, damaged, or not one of ours."""


class EngineError(ForecastError):
    """A cluster, or workers of this machine, could not be reached or were lost."""


class DeliveryError(ForecastError):
    """An alert could not be delivered."""


class MissingPackageError(ForecastError):
    """The work needs a package that is not installed."""


class HistoryError(ForecastError):
    """There is too little history, or the wrong span of it, for what was asked."""


class UsageError(ForecastError):
    """The words of a command are wrong."""

    exit_code = 2


def one_line(error: object, most: int = 160) -> str:
    """Return what an error of another package says, in a line of bounded length; else its class."""
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= most else f"{line[: most - 2]} …"


def first_few(names: Iterable[object], most: int = 5) -> str:
    """Return a list for a message: ``A, B, C, D, E and 3 more``."""
    words = [str(name) for name in names]
    more = f" and {len(words) - most:,} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def did_you_mean(words: str | Iterable[str], known: Iterable[str]) -> str:
    """``did you mean …? ``, for a message: what is known and nearest to the words; else nothing."""
    # Only a mistake needs it.
    from difflib import get_close_matches

    by_capitals = {name.upper(): name for name in known}
    near = [
        by_capitals[match]
        for word in ([words] if isinstance(words, str) else words)
        for match in get_close_matches(word.upper(), by_capitals, n=2)
    ]
    return f"did you mean {' or '.join(dict.fromkeys(near))}? " if near else ""
