"""The two commands that leave the last years to a backtest, and then backtest."""

import os
import shlex
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from forecaster.cli import options

if TYPE_CHECKING:
    from forecaster.runs.run import Run

YEARS, SHARE = 3, 4
"""What a backtest is left: so many years, or one day in so many of a shorter history."""

MOST = 20
"""More tickers than these are not named in a command."""

BESIDE = ("gjr", "naive")
"""Models beside one that is not in front by default."""


def until(first: date, last: date) -> date:
    """Return the last date to learn from, of a span, so that enough is left to backtest."""
    return last - min(timedelta(days=365 * YEARS), (last - first) / SHARE)


def universe(run: "Run", stored: Sequence[str]) -> list[str]:
    """Return the tickers to name so that a run is trained again: none if it is all that are stored."""
    return [] if set(run.tickers) >= set(stored) or len(run.tickers) > MOST else run.tickers


def training(words: Sequence[str] | None, model: str, home: Path, day: date, *settings: str) -> str:
    """Return the command that trains a model on the tickers typed, up to a day."""
    named = [] if model == options.DEFAULT_MODEL else ["--model", model]
    typed = ["forecast", "train", *(words or ()), *named, "--until", str(day), *settings]
    return shlex.join([*typed, *_home(home)])


def backtesting(
    words: Sequence[str] | None,
    model: str,
    home: Path,
    *,
    run: str | None = None,
    step: int = 1,
) -> str:
    """Return the command that backtests a run, or the one of a model that is trained last.

    A step beyond the next session is backtested beside it.
    """
    models = ",".join(dict.fromkeys([model, *BESIDE]))
    named = [] if model == options.DEFAULT_MODEL else ["--models", models]
    typed = ["forecast", "backtest", *(words or ()), *named, *(["--run", run] if run else ())]
    typed += ["--steps", f"1,{step}"] if step > 1 else []
    return shlex.join([*typed, *_home(home)])


def _home(home: Path) -> list[str]:
    """The option that names a home, if it has to be named."""
    usual = Path(os.environ.get("FORECAST_HOME") or options.home_folder())
    return [] if home == usual else ["--home", str(home)]
