"""The baselines beside a run: GJR-GARCH and the random walk, fitted once a year.

Each ticker is fitted on its own sessions of the years before that of the session forecast, and its
parameters stay the year. So does a backtest that starts with the year and is refitted yearly, and its
forecasts of a ticker are these, bit for bit. A ticker that was too short when the year began has no
forecast until the next, there and here.

The fits of a year are in ``live/MODEL-YEAR.json`` of the home, data that nothing runs. Each has the digest
of the returns that it was fitted on. Where those changed, as by a dividend after which all closes are
rounded anew, or where a package did that fits depend on, the ticker is fitted again: a fit is always the
one that a backtest on what is stored now would make.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from forecaster import atomic
from forecaster.config import RecurrentConfig
from forecaster.dataset.panel import History, Panel, Past
from forecaster.distributions import forecasts
from forecaster.errors import HistoryError, first_few, one_line
from forecaster.models.per_ticker import PerTicker
from forecaster.models.protocol import ModelState, Progress, silent
from forecaster.models.registry import create
from forecaster.runs.run import versions

log = logging.getLogger(__name__)

MODELS = ("gjr", "naive")

FOLDER = "live"
"""The folder of a home that has their fits."""

BATCH = 64
"""Tickers fitted before what they came to is written: a command that is killed loses no more."""

_FORMAT = 1


class YearForecasts(NamedTuple):
    """Forecasts of the next session by the fits of a year."""

    model: str
    year: int
    sha256: str
    """Of the fits' parameters."""
    table: pd.DataFrame
    """The forecasts frame."""

    @property
    def until(self) -> str:
        """The last day that the fits may have seen, YYYY-MM-DD."""
        return str(_until(self.year))


@dataclass(frozen=True)
class Fit:
    """What a year's fit of a ticker came to."""

    sessions_sha256: str
    """Of the sessions that it was fitted on."""
    parameters: tuple[float, ...] | None
    """None for a ticker that had too few."""
    converged: bool = True


def forecast(
    home: Path,
    panel: Panel,
    cutoffs: Mapping[str, np.datetime64],
    models: Sequence[str] = MODELS,
    progress: Progress = silent,
) -> list[YearForecasts]:
    """Return the forecasts of the session after each ticker's cutoff, by model and year.

    Tickers are fitted where the home has no fit that holds. The model is fitted on the ticker alone, so
    the panel may be that of any run.

    Parameters
    ----------
    cutoffs : by ticker, one of its sessions.
    """
    years: dict[int, list[History]] = {}
    for history in panel.histories:
        if history.ticker in cutoffs:
            session = history.count_until(cutoffs[history.ticker]) - 1
            year = history.next_dates[session].astype("datetime64[Y]").astype(int) + 1970
            years.setdefault(int(year), []).append(history)
    made = []
    for model in models:
        for year, histories in sorted(years.items()):
            fits = fitted(home, model, year, histories, progress)
            tables = list(_forecasts(model, fits, histories, cutoffs))
            if tables:
                made.append(YearForecasts(model, year, _digest(fits), forecasts.concat(tables)))
    return made


def fitted(
    home: Path,
    model: str,
    year: int,
    histories: Sequence[History],
    progress: Progress = silent,
) -> dict[str, Fit]:
    """Return the fits of a year, from the home where they hold, and keep there those that are new."""
    path, until = home / FOLDER / f"{model}-{year}.json", _until(year)
    known, own = _read(path), dict[str, Fit]()
    missing = []
    for history in histories:
        fit = known.get(history.ticker)
        if fit and fit.sessions_sha256 == _sessions_sha256(history, until):
            own[history.ticker] = fit
        else:
            missing.append(history)
    for begin in range(0, len(missing), BATCH):
        new = _fit(model, until, missing[begin : begin + BATCH], progress)
        if short := [ticker for ticker, fit in new.items() if fit.parameters is None]:
            log.warning(
                "%s had too few sessions when %d began to be fitted by %s, which forecasts no session of "
                "the year for want of a fit",
                *(first_few(short), year, model),
            )
        own |= new
        with atomic.locked(path):  # others may have fitted other tickers meanwhile
            _write(path, model, year, _read(path) | new)
    return own


def _fit(
    name: str, until: np.datetime64, histories: Sequence[History], progress: Progress
) -> dict[str, Fit]:
    """Return the fits of some tickers on their sessions up to a date."""
    model = _model(name)
    try:
        model.fit(Panel(tuple(histories)), until, progress)
    except HistoryError:  # no ticker has enough
        model.fitted = {}
    fits = {}
    for history in histories:
        its = model.fitted.get(history.ticker)
        fits[history.ticker] = Fit(
            _sessions_sha256(history, until),
            astuple(its[0]) if its else None,
            history.ticker not in model.fallbacks,
        )
    return fits


def _forecasts(
    name: str,
    fits: Mapping[str, Fit],
    histories: Sequence[History],
    cutoffs: Mapping[str, np.datetime64],
) -> Iterator[pd.DataFrame]:
    """Yield the forecasts frames of the tickers with a fit, by cutoff."""
    model = _restored(name, fits)
    by_cutoff: dict[np.datetime64, list[History]] = {}
    for history in histories:
        if history.ticker in model.fitted:
            by_cutoff.setdefault(cutoffs[history.ticker], []).append(history)
    for cutoff, its in by_cutoff.items():
        table = model.forecast(Panel(tuple(its)), cutoff, cutoff)
        if len(table):
            yield table


def _model(name: str) -> PerTicker[Any]:
    """Return an unfitted model of the next session."""
    return cast(PerTicker[Any], create(name, RecurrentConfig(horizon=1)))


def _restored(name: str, fits: Mapping[str, Fit]) -> PerTicker[Any]:
    """Return the model with the parameters of fits; ValueError if they are none of its own."""
    model = _model(name)
    its = {ticker: fit for ticker, fit in fits.items() if fit.parameters is not None}
    if its:
        array = np.array([fit.parameters for fit in its.values()], float)
        settings = {
            "tickers": list(its),
            "fallbacks": [ticker for ticker, fit in its.items() if not fit.converged],
            "horizon": 1,
        }
        model.restore(ModelState({model.array: array}, settings))
    return model


def _until(year: int) -> np.datetime64:
    return np.datetime64(f"{year - 1:04d}-12-31")


def _sessions_sha256(past: Past, until: np.datetime64) -> str:
    """Return the digest of all that a fit reads: the sessions up to a date, and their log returns."""
    count = past.count_until(until)
    sha = hashlib.sha256(past.dates[:count].astype("datetime64[D]").astype("<i8").tobytes())
    sha.update(past.log_returns[:count].astype("<f8").tobytes())
    return sha.hexdigest()


def _digest(fits: Mapping[str, Fit]) -> str:
    """Return the digest of the parameters by ticker."""
    document = {ticker: fits[ticker].parameters for ticker in sorted(fits)}
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()


def _read(path: Path) -> dict[str, Fit]:
    """Return the fits in a file, by ticker; none where it is missing, damaged or of other packages."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != _FORMAT or document["versions"] != versions():
            return {}
        fits = {
            str(ticker): Fit(
                str(it["sessions_sha256"]),
                None if it["parameters"] is None else tuple(map(float, it["parameters"])),
                bool(it["converged"]),
            )
            for ticker, it in document["tickers"].items()
        }
        _restored(document["model"], fits)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        log.warning("%s is damaged (%s), so its tickers are fitted again", path, one_line(error))
        return {}
    return fits


def _write(path: Path, model: str, year: int, fits: Mapping[str, Fit]) -> None:
    document = {
        "format": _FORMAT,
        "model": model,
        "year": year,
        "versions": versions(),
        "tickers": {
            ticker: {
                "sessions_sha256": fit.sessions_sha256,
                "parameters": fit.parameters,
                "converged": fit.converged,
            }
            for ticker, fit in sorted(fits.items())
        },
    }
    text = json.dumps(document, indent=1, allow_nan=False)
    with atomic.replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
