"""``forecast plot``."""

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.cli import figures, options, output
from forecaster.cli import models as model_commands
from forecaster.errors import HistoryError, UsageError, did_you_mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OF_BACKTEST = ("forecast", "volatility", "calibration", "skill")
OF_RUN = ("gates", "training")
OF_TICKER = ("forecast", "volatility", "gates")
"""Figures of one ticker; calibration and skill are of one, or of all together."""


def _names(incomplete: str) -> list[str]:
    return [name for name in (*OF_BACKTEST, *OF_RUN) if name.startswith(incomplete)]


def plot(
    name: Annotated[
        str,
        typer.Argument(
            help="forecast, volatility, calibration or skill of a backtest; gates or training of a run.",
            show_default=False,
            autocompletion=_names,
        ),
    ],
    ticker: Annotated[
        str | None,
        typer.Argument(
            help="By default the first, or all of them in one for calibration and skill.",
            show_default=False,
            autocompletion=options.complete_tickers,
        ),
    ] = None,
    start: Annotated[
        datetime | None,
        typer.Option(
            formats=options.DAY,
            metavar="YYYY-MM-DD",
            help="First date drawn; by default a year before the last, or all for the statistics.",
            show_default=False,
        ),
    ] = None,
    end: Annotated[
        datetime | None,
        typer.Option(
            formats=options.DAY, metavar="YYYY-MM-DD", help="Last date drawn.", show_default=False
        ),
    ] = None,
    backtest: Annotated[
        Path | None,
        typer.Option(
            "--backtest",
            help="Folder of a backtest; by default the latest in the home folder.",
            show_default=False,
        ),
    ] = None,
    run: options.RunName = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to draw to: .png, .svg or .pdf; by default NAME.png here.",
            show_default=False,
        ),
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Show a window; no file unless --out names one.")
    ] = False,
    home: options.Home = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Draw a figure of a backtest or of a run, to a file or in a window.

    Example: forecast plot volatility ^GSPC --start 2018-01-01 --out volatility.svg
    """
    output.start(quiet=quiet, verbose=verbose)
    options.in_order(options.day(start), options.day(end))
    _check(name, ticker, backtest, run, start)
    if out is not None:
        figures.check(out)
    elif not open_:
        out = Path(f"{name}.png")
    if open_ and not figures.can_show():
        raise UsageError("there is no display here to --open a window on; --out FILE draws to one")
    place, first, last = options.folder(home), options.day(start), options.day(end)
    if name in OF_BACKTEST:
        figure = _of_backtest(name, ticker, backtest, place, first, last)
    else:
        with output.progress(quiet=quiet) as progress:
            figure = _of_run(name, ticker, run, place, last, progress)
    if out is not None:
        figures.save(figure, out)
        output.say(str(out))
    if open_:
        figures.show([(name, figure)])


def _check(
    name: str, ticker: str | None, backtest: Path | None, run: str | None, start: datetime | None
) -> None:
    """UsageError for words that do not go together."""
    known = (*OF_BACKTEST, *OF_RUN)
    if name not in known:
        raise UsageError(
            f"there is no figure {name!r}; {did_you_mean(name, known)}there are {', '.join(known)}"
        )
    if name in OF_BACKTEST and run is not None:
        raise UsageError(
            f"{name} is drawn from a backtest: drop --run, or name a folder of one with --backtest"
        )
    if name in OF_RUN and backtest is not None:
        raise UsageError(f"{name} is drawn from a run: drop --backtest, or name one with --run")
    if name in OF_RUN and start is not None:
        raise UsageError(f"{name} has no first date: drop --start")
    if name == "training" and ticker is not None:
        raise UsageError(f"training is of all tickers of a run at once: drop {ticker}")


def _of_backtest(
    name: str,
    ticker: str | None,
    folder: Path | None,
    home: Path,
    first: date | None,
    last: date | None,
) -> "Figure":
    from forecaster.backtesting import archive
    from forecaster.plots import evaluation

    folder = folder or archive.latest(home)
    found, provenance = archive.read_forecasts(folder)
    model, tickers = provenance.models[0], sorted(found["ticker"].unique())
    if ticker is not None and ticker.upper() in tickers and ticker not in tickers:
        ticker = ticker.upper()
    if ticker is not None and ticker not in tickers:
        raise HistoryError(
            f"{ticker} is not in the backtest {folder}; {did_you_mean(ticker, tickers)}"
            f"it has {', '.join(tickers[:8])}{', …' if len(tickers) > 8 else ''}"
        )
    if name in OF_TICKER:
        ticker = ticker or tickers[0]
    rows = _between(found[found["ticker"] == ticker] if ticker else found, first, last)
    if name == "forecast":
        every = len(rows) if first else evaluation.SESSIONS
        return evaluation.forecast(rows, str(ticker), model, sessions=every)
    if name == "volatility":
        return evaluation.volatility(rows, str(ticker))
    if name == "calibration":
        return evaluation.calibration(rows)
    return evaluation.skill(rows, model, evaluation.baselines(rows, model))


def _between(rows: Any, first: date | None, last: date | None) -> Any:
    import pandas as pd

    begin, end = rows["date"].min(), rows["date"].max()
    kept = rows[
        rows["date"].between(pd.Timestamp(first or begin.date()), pd.Timestamp(last or end.date()))
    ]
    if kept.empty:
        raise HistoryError(
            f"expected dates of the backtest, which forecasts {begin:%Y-%m-%d} to {end:%Y-%m-%d}; "
            f"came {first or 'the first'} to {last or 'the last'}"
        )
    return kept


def _of_run(
    name: str, ticker: str | None, run: str | None, home: Path, last: date | None, progress: Any
) -> "Figure":
    from forecaster.explain import explanation
    from forecaster.models.recurrent.training import CELLS
    from forecaster.plots import network
    from forecaster.runs import bundle

    networks = (it for it in bundle.readable(home) if it.model.name in CELLS)
    trained = (None if run else next(networks, None)) or bundle.load(home, run)
    model = explanation.recurrent(trained)  # says so if it is none
    if name == "training":
        return network.training(model.training)
    frame, asked = model_commands.prices_for(trained, home, [ticker] if ticker else None)
    explained = explanation.of(trained, frame, ticker=asked[0], as_of=last, progress=progress)
    return network.gates(explained)
