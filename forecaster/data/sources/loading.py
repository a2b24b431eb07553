"""Where prices come from: ``yahoo``, the ``sample`` that comes with the program, or a file."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import pandas as pd

from forecaster.data import cleaning, mends, prices
from forecaster.errors import ForecastError, PricesError, SourceError, UsageError

if TYPE_CHECKING:
    from forecaster.data.sources.tables import Format

log = logging.getLogger(__name__)

# One bad ticker must not hide the good ones: each has its prices or its own error.
Outcome = tuple[str, pd.DataFrame | ForecastError]


def load(
    source: str,
    tickers: Sequence[str] | None = None,
    *,
    start: date | None = None,
    end: date | None = None,
    form: "Format | None" = None,
    raw: bool = False,
) -> list[Outcome]:
    """Loads the prices of some tickers, or of all that the source has; what is mended is a warning.

    Parameters
    ----------
    source
        ``yahoo``, ``sample``, or the path of a CSV or Parquet file.
    tickers
        What to load; Yahoo has too many to load them all.
    start, end
        The first and the last date wanted.
    form
        What a file leaves open: the meaning of its columns, the order of its dates, its decimal mark.
    raw
        Leave prices as they came, but for rows and values that a prices frame cannot hold.

    Returns
    -------
    list of (ticker, outcome)
        The outcome is a checked prices frame, with ``dividends`` and ``splits`` where the source has
        them, or the error that stopped this ticker.

    Raises
    ------
    SourceError
        The source as a whole could not be read.
    UsageError
        No tickers for a source that needs them, or a ``form`` that does not fit.
    """
    return [
        (ticker, _checked(ticker, outcome, raw))
        for ticker, outcome in offered(source, tickers, start=start, end=end, form=form)
    ]


def offered(
    source: str,
    tickers: Sequence[str] | None = None,
    *,
    start: date | None = None,
    end: date | None = None,
    form: "Format | None" = None,
) -> Iterable[Outcome]:
    """Return what a source has of some tickers, or of all, as it has it, for :func:`usable`.

    Parameters and errors are those of :func:`load`. A ticker of a large file is read when it is come
    to; what is wrong with the source as a whole is raised before the first one.
    """
    if form is not None and source in ("yahoo", "sample"):
        raise UsageError(
            f"`columns`, `dates` and `decimal` say how a file is to be read, and {source} is none"
        )
    if source == "yahoo":
        from forecaster.data.sources import yahoo

        return yahoo.load(tickers or (), start, end)
    if source == "sample":
        from forecaster.data.sources import sample

        return sample.load(tickers, start, end)
    from forecaster.data.sources import files

    return files.load(source, tickers, start, end, form)


def _checked(
    ticker: str,
    outcome: pd.DataFrame | ForecastError,
    raw: bool,
) -> pd.DataFrame | ForecastError:
    if isinstance(outcome, ForecastError):
        return outcome
    try:
        clean = usable(ticker, outcome, raw=raw)
        frame = prices.check(clean.frame, actions=True)
    except ForecastError as error:
        return error
    if len(clean.findings):
        log.warning("%s: %s", ticker, mends.words(clean.findings))
    return frame


def usable(
    ticker: str,
    outcome: pd.DataFrame,
    notes: Mapping[str, str] | None = None,
    *,
    raw: bool = False,
) -> cleaning.Cleaned:
    """Return what can be used of what a source gave of one ticker, not yet checked.

    Parameters
    ----------
    notes
        What the source says of the instrument: its currency and kind.
    raw
        As :func:`load` has it.

    Raises
    ------
    PricesError, SourceError
        Nothing of it can be used.
    """
    if outcome.empty:
        raise SourceError(
            f"{ticker}: the source has no prices between the dates asked; widen `start` and `end`"
        )
    known = notes or {}
    clean = cleaning.clean(
        outcome, currency=known.get("currency"), instrument=known.get("instrument"), raw=raw
    )
    if clean.frame.empty:
        raise PricesError(
            f"{ticker}: no row of the source can be used: {mends.words(clean.findings)}; "
            "mend the source, or take another"
        )
    return clean
