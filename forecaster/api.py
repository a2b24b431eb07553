"""Forecaster from Python: five functions around two frames, of prices and of forecasts.

======================  =====================================================================
:func:`fetch`           prices frame from Yahoo, the sample or a file
:func:`train`           prices frame -> run
:func:`backtest`        prices frame, and a run if there is one -> forecasts frame and verdict
:func:`predict`         run, prices frame -> forecasts frame
:func:`explain`         run, prices frame -> what the network did for a forecast
======================  =====================================================================

The prices frame has a row for each ticker and session, in the columns of
:data:`forecaster.data.prices.COLUMNS`; the forecasts frame one for each ticker, model, cutoff and step,
which is how many sessions ahead it looks (see :mod:`forecaster.distributions.forecasts`). Nothing is
left on disk, and importing this module loads nothing heavy. Dates are :class:`datetime.date` or
text, ``"2012-12-31"``. An error that can be mended is a :class:`forecaster.errors.ForecastError` whose
message says how.
"""

from collections.abc import Sequence
from datetime import date
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING

from forecaster.config import REFERENCES
from forecaster.errors import HistoryError, UsageError, did_you_mean, first_few

if TYPE_CHECKING:
    import pandas as pd

    from forecaster.backtesting.backtest import Backtest
    from forecaster.config import RecurrentConfig
    from forecaster.explain.explanation import Explanation
    from forecaster.parallel.jobs import Engine
    from forecaster.runs.run import Run

__all__ = ["backtest", "explain", "fetch", "predict", "train"]

Day = date | str


def fetch(
    tickers: Sequence[str] | None = None,
    *,
    source: str | Path = "yahoo",
    start: Day | None = None,
    end: Day | None = None,
    columns: str | None = None,
    dates: str | None = None,
    decimal: str | None = None,
) -> "pd.DataFrame":
    """Return daily prices, cleaned and checked.

    Parameters
    ----------
    tickers : Yahoo's names (``AAPL``, ``^GSPC``); by default all that the source has, which for
        Yahoo are too many.
    source : ``yahoo``, ``sample`` (two indices, offline), or the path of a CSV or Parquet file.
    start, end : the first and the last date wanted.
    columns : what the columns of a file are, ``"date,open,high,low,close,volume"``, where it does not
        say; ``-`` is one to leave out.
    dates : ``day-first``, ``month-first`` or ``year-first``, where a file has dates such as 03/01/2017.
    decimal : ``point`` or ``comma``, where a file has numbers such as 1.021 that may be thousands.

    Returns
    -------
    The prices frame, sorted by ticker and date.

    Raises
    ------
    SourceError : the source could not be read, or has no prices of a ticker.
    PricesError : the prices of a ticker break a rule that cleaning cannot mend.
    UsageError : there are no tickers for Yahoo, or a date is none.
    """
    import pandas as pd

    from forecaster.data import prices
    from forecaster.data.sources import loading
    from forecaster.data.sources.tables import Format

    _require_list("tickers", tickers)
    if source == "yahoo" and not tickers:
        raise UsageError("name the tickers to fetch from Yahoo, or another source")
    form = Format(columns, dates, decimal) if columns or dates or decimal else None
    frames = []
    for _, outcome in loading.load(
        str(source), tickers, start=_day(start), end=_day(end), form=form
    ):
        if isinstance(outcome, Exception):
            raise outcome
        frames.append(outcome)
    return prices.check(pd.concat(frames, ignore_index=True))


def train(
    prices: "pd.DataFrame",
    *,
    events: "pd.DataFrame | None" = None,
    companions: "pd.DataFrame | None" = None,
    model: str = "lstm",
    until: Day | None = None,
    name: str | None = None,
    horizon: int | None = None,
    config: "RecurrentConfig | None" = None,
    start: "Run | None" = None,
    engine: "Engine | None" = None,
) -> "Run":
    """Fit a model on all tickers of a prices frame.

    Parameters
    ----------
    prices : the prices frame.
    events : the events frame of its tickers, whose scheduled announcements are then features.
    companions : the prices frame of the indices that they are seen beside, whose names
        :func:`forecaster.data.companions.of` returns.
    model : ``lstm``, ``gru``, ``rnn``, ``trees``, ``gjr``, ``egarch``, ``garch``, ``har``, ``ewma``,
        ``drift`` or ``naive``.
    until : the last date to learn from; the last there is by default.
    name : of the run; ``MODEL-DATE`` by default.
    horizon : the most sessions ahead that the run can forecast, 1 to 21; that of the settings, 21, by
        default.
    config : settings of the recurrent models.
    start : the run of the same network whose weights the training starts from, for a few epochs; by
        default it starts afresh.
    engine : who fits the tickers of a model that is fitted on each alone, as in :func:`backtest`.

    Returns
    -------
    The run; :func:`forecaster.runs.bundle.save` stores it and :func:`forecaster.runs.bundle.load`
    reads it back.

    Raises
    ------
    EngineError : the engine could not be reached or was lost.
    HistoryError : ``until`` is not within the prices, or there are too few sessions before it.
    MissingPackageError : TensorFlow, which trains networks, is not installed.
    PricesError : the prices break a rule of the prices frame.
    UsageError : there is no such model, a date or the horizon is none, ``start`` is of another model
        or other settings, or knows what comes after ``until``, or there is an engine for a model that
        learns from all tickers at once.
    """
    from forecaster.config import RecurrentConfig, replaced
    from forecaster.parallel.jobs import LOCAL
    from forecaster.runs import training

    if horizon is not None:
        default = training.settings_from(start, model) if start else RecurrentConfig()
        config = replaced(config or default, {"horizon": horizon})
    checked = _checked(prices)
    known = _scheduled(events)
    return training.train(
        checked,
        events=known,
        companions=_beside(companions),
        model=model,
        name=name,
        until=_day(until),
        config=config,
        start=start,
        engine=engine or LOCAL,
    )


def backtest(  # noqa: PLR0913, all but the prices have defaults
    prices: "pd.DataFrame",
    models: Sequence[str] = ("lstm", *REFERENCES),
    *,
    events: "pd.DataFrame | None" = None,
    companions: "pd.DataFrame | None" = None,
    run: "Run | None" = None,
    tickers: Sequence[str] | None = None,
    start: Day | None = None,
    end: Day | None = None,
    steps: Sequence[int] = (1,),
    refit: str | int = "yearly",
    config: "RecurrentConfig | None" = None,
    engine: "Engine | None" = None,
) -> "Backtest":
    """Forecast history with several models, each session from the one before, and compare them.

    Parameters
    ----------
    prices : the prices frame.
    models : their names; the verdict is on the first.
    events : the events frame of the tickers.
    companions : the prices frame of the indices that they are seen beside, whose names
        :func:`forecaster.data.companions.of` returns.
    run : stands for its model as it is, and forecasts only what came after it was trained.
    tickers : whose sessions to forecast; all of the prices by default.
    start, end : first and last date forecast; by default all after the run's training span, or
        the last three years.
    steps : how many sessions ahead to forecast from each, each a number from 1 to 21. Models are fitted
        for the largest, and a run must have been trained for it.
    refit : how often the models without a run are fitted: ``never``, ``yearly`` or a number of
        sessions.
    config : settings of the recurrent models that are fitted here.
    engine : who does the work, ``forecaster.parallel.jobs.Engine("dask", "tcp://host:8786")``; the cores of
        this machine by default.

    Returns
    -------
    The forecasts frame of all models (``forecasts``), the statistics (``scores``, ``tables``), the
    verdict in words (``verdict``) and where they come from (``provenance``). Statistics and verdict are
    of the shortest step; ``ahead`` has those of the others, by step.

    Raises
    ------
    EngineError : the engine could not be reached or was lost.
    HistoryError : a ticker is not in the prices, there is too little history, or the run has seen
        what it is asked to forecast.
    PricesError : the prices break a rule of the prices frame.
    UsageError : there is no such model, one is named twice, or a date or a step is none.
    """
    from forecaster.backtesting import backtest
    from forecaster.backtesting.spec import BacktestSpec
    from forecaster.config import RecurrentConfig
    from forecaster.model_selection.splits import schedule
    from forecaster.parallel.jobs import LOCAL

    _require_list("models", models)
    wanted = _steps(steps)
    checked = _checked(prices)
    spec = BacktestSpec(
        models=tuple(models),
        tickers=tuple(_known(checked, tickers)),
        start=_day(start),
        end=_day(end),
        refit=schedule(str(refit)),
        config=config or RecurrentConfig(),
        steps=wanted,
    )
    return backtest.run(
        checked,
        spec,
        events=_scheduled(events),
        companions=_beside(companions),
        trained=run,
        engine=engine or LOCAL,
    )


def predict(
    run: "Run",
    prices: "pd.DataFrame",
    *,
    events: "pd.DataFrame | None" = None,
    companions: "pd.DataFrame | None" = None,
    tickers: Sequence[str] | None = None,
    as_of: Day | None = None,
    steps: Sequence[int] = (1,),
) -> "pd.DataFrame":
    """Forecast the next session of each ticker, or several ahead.

    Parameters
    ----------
    run : a trained model.
    prices : the prices frame of the tickers, and of those that the run was trained on.
    events : the events frame of the tickers.
    companions : the prices frame of the indices that they are seen beside, whose names
        :func:`forecaster.data.companions.of` returns.
    tickers : whose sessions; all of the prices by default.
    as_of : the last date that the forecasts may use; the last there is by default.
    steps : how many sessions ahead, such as ``(1, 5, 21)``, each a number from 1 to the run's horizon;
        the next session alone by default.

    Returns
    -------
    The forecasts frame, a row for each ticker and step: mean, volatility and 23 quantiles of the log
    return as fractions; :func:`forecaster.distributions.forecasts.summary` gives them as prices, and
    :func:`forecaster.exports.of_forecasts` the columns that the commands export.

    Raises
    ------
    HistoryError : a ticker is not in the prices or has too little history, or what is to be forecast
        was in the training span.
    PricesError : the prices break a rule of the prices frame.
    UsageError : a date or a step is none, or the run was not trained to forecast so far ahead.
    """
    from forecaster.runs import forecasting

    wanted = _steps(steps)
    checked = _checked(prices)
    known = _known(checked, tickers)
    return forecasting.predict(
        run,
        checked,
        tickers=known,
        events=_scheduled(events),
        companions=_beside(companions),
        as_of=_day(as_of),
        steps=wanted,
    )


def explain(
    run: "Run",
    prices: "pd.DataFrame",
    ticker: str,
    *,
    events: "pd.DataFrame | None" = None,
    companions: "pd.DataFrame | None" = None,
    as_of: Day | None = None,
    step: int = 1,
    others: Sequence["Run"] = (),
) -> "Explanation":
    """Explain what a recurrent network did for the forecast of a ticker's next session, or of several.

    Parameters
    ----------
    run : of ``lstm``, ``gru`` or ``rnn``.
    prices : the prices frame of the ticker, and of those that the run was trained on.
    events : the events frame of the ticker.
    companions : the prices frame of the indices that they are seen beside, whose names
        :func:`forecaster.data.companions.of` returns.
    as_of : the last date that the forecast may use; the last there is by default.
    step : how many sessions ahead: 1, 2, 3, 5, 10 or 21, up to the run's horizon.
    others : runs of the other cells, trained on the same prices, to compare gradients with.

    Returns
    -------
    Its ``forecast`` is the row of the forecasts frame; ``activity``, ``memory``, ``gradients`` and
    ``attribution`` are arrays. :mod:`forecaster.plots.network` draws them.

    Raises
    ------
    HistoryError, PricesError : as :func:`predict`.
    UsageError : the run's model is not a recurrent network or makes no forecast of the step, or a date
        is none.
    """
    from forecaster.explain import explanation

    checked = _checked(prices)
    (known,) = _known(checked, [ticker])
    return explanation.of(
        run,
        checked,
        ticker=known,
        events=_scheduled(events),
        companions=_beside(companions),
        as_of=_day(as_of),
        step=step,
        others=others,
    )


def _checked(prices: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    from forecaster.data import prices as rules

    if not isinstance(prices, pd.DataFrame):
        raise UsageError(
            f"prices must be a prices frame, a pandas DataFrame as fetch returns; got {prices!r:.60}"
        )
    return rules.check(prices)


def _scheduled(events: "pd.DataFrame | None") -> "pd.DataFrame | None":
    from forecaster.data import events as rules

    return None if events is None else rules.check(events)


def _beside(companions: "pd.DataFrame | None") -> "pd.DataFrame | None":
    return None if companions is None else _checked(companions)


def _known(prices: "pd.DataFrame", tickers: Sequence[str] | None) -> list[str]:
    """Return the tickers asked for, all by default; HistoryError if the prices lack one."""
    _require_list("tickers", tickers)
    present = list(prices["ticker"].unique())
    for ticker in tickers or ():
        if ticker not in present:
            raise HistoryError(
                f"{ticker} is not in the prices; {did_you_mean(str(ticker), present)}"
                f"they have {first_few(present)}"
            )
    return list(tickers or present)


def _require_list(name: str, words: Sequence[str] | None) -> None:
    """Raise a UsageError for one word, which Python would take for a list of letters."""
    if isinstance(words, str):
        raise UsageError(f"{name} must be a list, got the text {words!r}; write [{words!r}]")


def _steps(steps: Sequence[int]) -> tuple[int, ...]:
    """Return the steps in order; UsageError if they are no list of numbers of sessions."""
    from forecaster.distributions import horizons

    try:
        return horizons.check(map(index, steps))
    except TypeError:
        raise UsageError(f"steps must be a list such as [1, 5, 21], got {steps!r:.60}") from None


def _day(value: Day | None) -> date | None:
    if not isinstance(value, str):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise UsageError(f"a date is written like 2012-12-31, got {value!r}") from None
