"""``forecast plot``."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli import figures, options, output, supply, ticker_lists
from forecaster.errors import HistoryError, UsageError, did_you_mean, first_few

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from forecaster.runs.choice import Choice

OF_BACKTEST = ("forecast", "volatility", "calibration", "skill")
OF_RUN = ("predict", "gates", "training")
OF_TICKER = ("forecast", "volatility", "predict", "gates")
"""Figures of one ticker; calibration and skill are of one, or of all together."""


def _names(incomplete: str) -> list[str]:
    return [name for name in (*OF_BACKTEST, *OF_RUN) if name.startswith(incomplete)]


def plot(
    name: Annotated[
        str,
        typer.Argument(
            help="forecast, volatility, calibration or skill of a backtest; "
            "predict, gates or training of a run.",
            show_default=False,
            autocompletion=_names,
        ),
    ],
    ticker: Annotated[
        str | None,
        typer.Argument(
            help="By default the first, or all of them in one for calibration and skill; for predict "
            "and gates, one that is not stored is fetched from Yahoo first.",
            show_default=False,
            autocompletion=options.complete_tickers,
        ),
    ] = None,
    *,
    start: Annotated[
        date | None,
        options.day(
            "First date drawn; by default a year before the last, or all for the statistics."
        ),
    ] = None,
    end: Annotated[date | None, options.day("Last date drawn.")] = None,
    backtest: Annotated[
        Path | None,
        options.optional("Folder of a backtest; by default the latest in the home folder."),
    ] = None,
    run: options.Run = None,
    horizon: options.Ahead = None,
    steps: options.Steps = None,
    out: Annotated[
        Path | None,
        options.optional("File to draw to: .png, .svg or .pdf; by default NAME.png here."),
    ] = None,
    open_: Annotated[
        bool, options.flag("Show a window; no file unless --out names one.", "--open")
    ] = False,
    home: options.Home,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Draw a figure of a backtest or of a run, to a file or in a window.

    Example: forecast plot predict ^GSPC --horizon 21 --out fan.svg
    """
    output.start(quiet=quiet, verbose=verbose)
    options.check_order(start, end)
    _check(name, ticker, backtest, run, start)
    if name != "predict" and (horizon is not None or steps is not None):
        raise UsageError(
            f"{name} looks no sessions ahead: drop {'--horizon' if steps is None else '--steps'}"
        )
    wanted = options.steps_ahead(horizon, steps)
    if out is not None:
        figures.check(out)
    elif not open_:
        out = Path(f"{name}.png")
    if open_ and not figures.can_show():
        raise UsageError("there is no display here to --open a window on; --out FILE draws to one")
    if name in OF_BACKTEST:
        figure = _of_backtest(name, ticker, backtest or _latest(home), start, end)
    elif name == "predict":
        figure = _prediction(ticker, run, home, end, wanted, quiet=quiet)
    else:
        figure = _of_run(name, ticker, run, home, end, quiet=quiet)
    if out is not None:
        figures.save(figure, out)
        output.say(str(out))
    if open_:
        figures.show([(name, figure)])


def _check(
    name: str, ticker: str | None, backtest: Path | None, run: str | None, start: date | None
) -> None:
    """Raise a UsageError for words that do not go together."""
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
    folder: Path,
    start: date | None,
    end: date | None,
) -> "Figure":
    from forecaster.backtesting import archive
    from forecaster.plots import evaluation

    parts, provenance = archive.read_forecasts(folder)
    frame = parts.whole()
    model, tickers = provenance.models[0], sorted(frame["ticker"].unique())
    if ticker is not None and ticker.upper() in tickers and ticker not in tickers:
        ticker = ticker.upper()
    if ticker is not None and ticker not in tickers:
        raise HistoryError(
            f"{ticker} is not in the backtest {folder}; {did_you_mean(ticker, tickers)}"
            f"it has {first_few(tickers)}"
        )
    if name in OF_TICKER:
        ticker = ticker or tickers[0]
    rows = _between(frame[frame["ticker"] == ticker] if ticker else frame, start, end)
    if name == "forecast":
        every = len(rows) if start else evaluation.SESSIONS
        reactions = archive.read_reactions(folder)
        return evaluation.forecast(rows, str(ticker), model, sessions=every, reactions=reactions)
    if name == "volatility":
        every = len(rows) if start else evaluation.SESSIONS
        return evaluation.volatility(rows, str(ticker), sessions=every)
    if name == "calibration":
        return evaluation.calibration(rows)
    return evaluation.skill(rows, model, evaluation.baselines(rows, model))


def _latest(home: Path) -> Path:
    from forecaster.backtesting import folders

    return folders.latest(home)


def _between(rows: "pd.DataFrame", start: date | None, end: date | None) -> "pd.DataFrame":
    import pandas as pd

    first, last = rows["date"].min(), rows["date"].max()
    drawn = rows[rows["date"].between(pd.Timestamp(start or first), pd.Timestamp(end or last))]
    if drawn.empty:
        raise HistoryError(
            f"expected dates of the backtest, which forecasts {first:%Y-%m-%d} to {last:%Y-%m-%d}; "
            f"got {start or 'the first'} to {end or 'the last'}"
        )
    return drawn


def _prediction(
    ticker: str | None,
    run: str | None,
    home: Path,
    as_of: date | None,
    steps: tuple[int, ...],
    *,
    quiet: bool,
) -> "Figure":
    from forecaster.data import companions
    from forecaster.data.event_store import EventStore
    from forecaster.data.store import Store
    from forecaster.plots import prediction
    from forecaster.runs import choice, forecasting

    chosen, store = choice.choose(home, run), Store(home)
    trained = chosen.run
    stored = supply.tickers(store, [ticker] if ticker else None, quiet=quiet)[:1]
    _name(chosen, quiet=quiet)
    needed = ticker_lists.with_universe(trained, store, stored)
    rows, failed, announced, _ = forecasting.predict_each(
        trained,
        store.each(needed),
        tickers=stored,
        events=EventStore(home).read(needed),
        companions=companions.read(home, stored),
        as_of=as_of,
        steps=steps,
    )
    for error in failed.values():
        raise error
    history = store.read(stored, columns=("ticker", "date", "close"))
    closes = history.set_index("date")["close"]
    closes = closes[closes.index <= rows["cutoff"].iloc[0]]
    draw = prediction.prediction if steps == (1,) else prediction.fan
    return draw(rows, closes, announced.get(stored[0]))


def _name(chosen: "Choice", *, quiet: bool) -> None:
    """Say which run it is, if none was named."""
    if chosen.words and not quiet:
        output.note(f"run {chosen.run.name}{chosen.words}")


def _of_run(
    name: str,
    ticker: str | None,
    run: str | None,
    home: Path,
    as_of: date | None,
    *,
    quiet: bool,
) -> "Figure":
    from forecaster.data import companions
    from forecaster.data.event_store import EventStore
    from forecaster.data.store import Store
    from forecaster.explain import explanation
    from forecaster.models.registry import NETWORKS
    from forecaster.plots import network
    from forecaster.runs import choice

    store = Store(home)
    chosen = choice.choose(home, run, NETWORKS)
    trained = chosen.run
    model = explanation.recurrent(trained)  # says so if it is none
    if name == "training":
        _name(chosen, quiet=quiet)
        return network.training(model.training)
    stored = supply.tickers(store, [ticker] if ticker else None, quiet=quiet)
    _name(chosen, quiet=quiet)
    needed = ticker_lists.with_universe(trained, store, stored)
    events = EventStore(home).read(needed)
    activity = explanation.read(
        trained,
        store.read(needed),
        ticker=stored[0],
        events=events,
        companions=companions.read(home, stored[:1]),
        as_of=as_of,
    )
    return network.gates(activity)
