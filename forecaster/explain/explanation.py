"""The explanation of a recurrent network's forecast: its gates, its memory, and what moved it.

The forecast is that of ``predict``, and everything is computed from sessions up to its cutoff. Gates
come from :mod:`forecaster.models.recurrent.cell`, gradients from
:mod:`forecaster.models.recurrent.backprop`, and the shares of features from
:mod:`forecaster.explain.attribution`. Of a run that averages several networks, gates and half-lives are
the first network's; everything else is of the average, which is what forecasts.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from forecaster.dataset.bars import Bars, Floats
from forecaster.dataset.features import compute
from forecaster.dataset.market import Market, Place
from forecaster.dataset.panel import History, Panel, bars_of
from forecaster.distributions.horizons import KNOTS
from forecaster.errors import HistoryError, UsageError
from forecaster.explain import attribution
from forecaster.explain.attribution import LAGS, Attribution
from forecaster.models.garch import PERCENT, Garch, GarchParameters
from forecaster.models.protocol import Progress, silent
from forecaster.models.recurrent import cell, head
from forecaster.models.recurrent.model import Recurrent
from forecaster.models.recurrent.training import CELLS
from forecaster.runs import forecasting
from forecaster.runs.run import Run

SHOCK = 4.0
"""A bad day: a fall of this many EWMA volatilities, which comes once in a year or two."""

BAR = ("open", "high", "low", "close", "adj_close")
"""The prices of a session."""

ROUNDING = 1e-4
"""Forecasts are of float32, what explains them is of float64: they differ by less than this share."""

CARRY_GATES = {"lstm": "forget gate", "gru": "update gate"}
"""The gate that sets the share of the memory to keep; a plain cell has none."""


@dataclass(frozen=True)
class Activity:
    """The cell, session by session, on its way to a forecast; the last row is the cutoff's."""

    dates: np.ndarray
    """(sessions,), datetime64[D]"""
    log_returns: np.ndarray
    """(sessions,), a fraction"""
    gates: dict[str, np.ndarray]
    """(sessions, units) for each gate, then for the cell state if there is one, then for the hidden
    state"""
    half_lives: Floats
    """(units,), sessions after which half of a memory is left: ``ln 0.5 / ln f`` for a forget gate that
    stays at its mean ``f`` over these sessions (of a GRU its update gate); NaN for a plain cell"""

    @property
    def order(self) -> np.ndarray:
        """Units, from the shortest memory to the longest."""
        return np.argsort(self.half_lives, kind="stable")


@dataclass(frozen=True)
class ShockResponse:
    """How much a bad day *k* = 1 … ``LAGS`` sessions ago widens a forecast; each (LAGS,).

    The rise of the forecast volatility, as a fraction, when that day saw a fall of ``SHOCK``
    volatilities instead of no move at all.
    """

    network: Floats
    """See :func:`shock_response`"""
    garch: GarchParameters | None
    """GJR-GARCH on the same ticker, None if the history is too short"""
    garch_path: Floats
    """Of GARCH on the same shocks: later returns are as they were, so a shock fades like
    ``beta**(k - 1)``; NaN without GARCH"""
    step: int = 1
    """Sessions ahead of the forecast"""

    @property
    def garch_expected(self) -> Floats:
        """Closed-form decay of GARCH: later returns are as large as is to be expected after the shock.

        From its usual variance, a fall of ``SHOCK`` volatilities makes the expected variance
        ``1 + d (SHOCK**2 (alpha + gamma) - (alpha + gamma / 2))`` times the usual one after k
        sessions and no move makes it ``1 - d (alpha + gamma / 2)`` times, where ``d`` is
        ``persistence**(k - 1)``. Of a forecast of several sessions, ``d`` is the mean of theirs.
        """
        if self.garch is None:
            return np.full(LAGS, np.nan)
        alpha, gamma = self.garch.alpha, self.garch.gamma
        decay = self.garch.persistence ** np.arange(LAGS, dtype=float)
        decay *= np.mean(self.garch.persistence ** np.arange(self.step, dtype=float))
        usual = alpha + gamma / 2
        shock = 1 + decay * (SHOCK**2 * (alpha + gamma) - usual)
        return np.sqrt(shock / (1 - decay * usual)) - 1


@dataclass(frozen=True)
class Reading:
    """A forecast, and the cell on its way to it."""

    run: Run
    forecast: pd.DataFrame
    """One row of the forecasts frame: that of ``predict``"""
    activity: Activity


@dataclass(frozen=True)
class Explanation(Reading):
    """The parts of the explanation of one forecast."""

    step: int
    """Sessions ahead of the forecast, whose return is over all of them"""
    ewma: float
    """The EWMA volatility at the cutoff, a fraction over these sessions"""
    unit: float
    """What the network's outputs are relative to: that, times what is expected of a scheduled reaction"""
    memory: ShockResponse
    gradients: dict[str, Floats]
    """By cell, (sessions,): the size of the gradient of the log of the forecast volatility by a session's
    inputs, in standard deviations; the cutoff first, which is lag 1"""
    compared: dict[str, str]
    """The run of each cell in ``gradients``"""
    attribution: Attribution
    scored: np.ndarray
    """datetime64[D], cutoffs after the training span whose outcome was known at this one"""
    importance: pd.DataFrame | None
    """See :func:`forecaster.explain.attribution.importance`; None if too few sessions are scored"""
    ablation: pd.DataFrame | None
    """See :func:`forecaster.explain.attribution.ablation`; None if too few sessions are scored"""

    @property
    def widened(self) -> float:
        """What the network's volatility was multiplied by to be no lower than that of a shorter step."""
        volatility = float(self.forecast["volatility"].iloc[0])
        factor = volatility / (self.unit * float(np.exp(self.attribution.log_ratio)))
        return factor if factor > 1 + ROUNDING else 1.0


def read(
    run: Run,
    frame: pd.DataFrame,
    *,
    ticker: str,
    events: pd.DataFrame | None = None,
    companions: pd.DataFrame | None = None,
    as_of: date | None = None,
) -> Reading:
    """Return the forecast of :func:`of` and the gates and states before it, without what moved it.

    Parameters and errors are those of :func:`of`.
    """
    model = recurrent(run)
    forecast, _, panel = _forecast(run, frame, ticker, events, companions, as_of)
    (history,) = panel.histories
    return Reading(run, forecast, activity(model, history, len(history.dates) - 1))


def of(
    run: Run,
    frame: pd.DataFrame,
    *,
    ticker: str,
    events: pd.DataFrame | None = None,
    companions: pd.DataFrame | None = None,
    as_of: date | None = None,
    step: int = 1,
    others: Iterable[Run] = (),
    progress: Progress = silent,
) -> Explanation:
    """Explain the forecast of a ticker's next sessions, made at its last session up to ``as_of``.

    Parameters
    ----------
    run : of a recurrent model.
    frame : the prices frame of the ticker and of the run's universe.
    ticker : the ticker forecast.
    events : the events frame of any tickers.
    companions : the prices frame of the indices that they are seen beside.
    as_of : the latest date a forecast may use; by default that of the last price.
    step : how many sessions ahead; those of :data:`forecaster.distributions.horizons.KNOTS`, up to the
        run's horizon, have forecasts of their own. By default the next session.
    others : runs among which to find the other cells, trained alike (see :func:`alike`).

    Raises
    ------
    HistoryError
        The ticker has too little history, or the date forecast lies in the training span.
    UsageError
        The run's model is not a recurrent network, or it makes no forecast of the step.
    """
    model = explainable(run, step)
    forecast, known, panel = _forecast(run, frame, ticker, events, companions, as_of, step)
    (history,) = panel.histories
    session = len(history.dates) - 1
    compared = {run.model.name: run} | alike(run, others)
    attributed = attribution.attribute(model, history, session, step)
    scored = attribution.scored(history, np.datetime64(run.until), step)
    enough = len(scored) >= attribution.MIN_SCORED
    return Explanation(
        run=run,
        forecast=forecast,
        step=step,
        ewma=float(history.volatility[session] * np.sqrt(step)),
        unit=float(model.unit(history, step)[session]),
        activity=activity(model, history, session),
        memory=ShockResponse(
            shock_response(run, known, panel, companions, progress, step=step),
            *gjr_response(run, history, step),
            step,
        ),
        gradients={
            name: sensitivity(recurrent(compared[name]), history, session, step)
            for name in CELLS
            if name in compared
        },
        compared={name: compared[name].name for name in CELLS if name in compared},
        attribution=attributed,
        scored=history.dates[scored],
        importance=attribution.importance(model, history, scored, step=step) if enough else None,
        ablation=attribution.ablation(model, history, scored, attributed, step=step)
        if enough
        else None,
    )


def _forecast(
    run: Run,
    frame: pd.DataFrame,
    ticker: str,
    events: pd.DataFrame | None,
    companions: pd.DataFrame | None,
    as_of: date | None,
    step: int = 1,
) -> tuple[pd.DataFrame, pd.DataFrame, Panel]:
    """Return the forecast of a ticker, the prices up to its cutoff, and the ticker's panel of them."""
    forecast = forecasting.predict(
        run,
        frame,
        tickers=[ticker],
        events=events,
        companions=companions,
        as_of=as_of,
        steps=(step,),
    )
    known = frame[frame["date"] <= forecast["cutoff"].iloc[0]]
    return forecast, known, forecasting.panel_of(run, known, [ticker], events, companions)


def recurrent(run: Run) -> Recurrent:
    """Return the run's recurrent network, or raise UsageError if its model is another."""
    if isinstance(run.model, Recurrent):
        return run.model
    raise UsageError(
        f"run {run.name} is of the model {run.model.name}, and what can be explained is the inside of "
        f"a recurrent network: {', '.join(CELLS)}; name a `run` of one"
    )


def explainable(run: Run, step: int) -> Recurrent:
    """Return the run's recurrent network, or raise UsageError if it makes no forecast of the step."""
    model = recurrent(run)
    steps = [knot for knot in KNOTS if knot <= model.horizon]
    if step not in steps:
        raise UsageError(
            f"run {run.name} can be explained at a step of {', '.join(map(str, steps))}, got {step}"
        )
    return model


def alike(run: Run, others: Iterable[Run]) -> dict[str, Run]:
    """Return the first run of each other cell that was trained on the same prices and settings."""
    runs: dict[str, Run] = {}
    for other in others:
        if (
            isinstance(other.model, Recurrent)
            and other.model.name != run.model.name
            and other.prices_sha256 == run.prices_sha256
            and other.model.config == recurrent(run).config
        ):
            runs.setdefault(other.model.name, other)
    return runs


def activity(model: Recurrent, history: History, session: int) -> Activity:
    """Return the gates and states of the first network over the sessions that a forecast reads."""
    x = attribution.read_at(model, history, session)
    states = list(_steps(model, x))
    gates = {name: np.concatenate([state[name] for state in states]) for name in states[0]}
    half_lives = np.full(model.config.units, np.nan)
    if model.name in CARRY_GATES:
        share = gates[CARRY_GATES[model.name]].mean(axis=0, dtype=float)  # (units,)
        with np.errstate(divide="ignore"):  # a gate that never closes forgets nothing
            half_lives = np.log(0.5) / np.log(share)
    read = slice(session + 1 - len(x), session + 1)
    return Activity(history.dates[read], history.log_returns[read], gates, half_lives)


def _steps(model: Recurrent, x: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """Yield the first network's gates and states after each session, each (1, units)."""
    weights = model.networks[0].cell
    hidden = memory = np.zeros((1, weights.units), np.float32)
    for new in x[:, None]:  # (1, features)
        if model.name == "lstm":
            lstm = cell.step(weights, new, hidden, memory)
            hidden, memory = lstm.hidden, lstm.cell
            gates = {"input gate": lstm.input_gate, "forget gate": lstm.forget_gate}
            gates |= {"output gate": lstm.output_gate, "cell state": memory}
        elif model.name == "gru":
            gru = cell.gru_step(weights, new, hidden)
            hidden = gru.hidden
            gates = {"update gate": gru.update_gate, "reset gate": gru.reset_gate}
        else:
            (hidden, _), gates = cell.plain(weights, new, hidden, memory), {}
        yield gates | {"hidden state": hidden}


def sensitivity(model: Recurrent, history: History, session: int, step: int = 1) -> Floats:
    """Return the norm of the gradient of the log forecast volatility by each session's inputs.

    The inputs are scaled, so it is per standard deviation; the EWMA volatility that the forecast is
    relative to is held fixed. (sessions,), the cutoff first.
    """
    x = attribution.read_at(model, history, session).astype(float)[:, None]
    _, slopes = attribution.differentiate(model, x, step)
    return np.asarray(np.linalg.norm(slopes[:, 0], axis=1)[::-1])


def shock_response(
    run: Run,
    frame: pd.DataFrame,
    panel: Panel,
    companions: pd.DataFrame | None = None,
    progress: Progress = silent,
    *,
    step: int = 1,
) -> Floats:
    """Return how much a bad day 1 to ``LAGS`` sessions ago widens the forecast: (LAGS,), a fraction.

    Parameters
    ----------
    run : of a recurrent model.
    frame : the prices frame up to the cutoff.
    panel : of the ticker alone, from those prices; the forecast is that at its last session.
    companions : the prices frame of the indices that it is seen beside.
    step : sessions ahead of the forecast, a knot.

    Notes
    -----
    At lag k the return of session ``cutoff - k + 1`` is replaced, once by a fall of ``SHOCK`` EWMA
    volatilities as known at the close before, once by 0; the response is the ratio of the two forecast
    volatilities, less 1. All features are computed again from the changed prices (see
    :func:`shocked`), and so are the EWMA volatilities, and the market if the ticker is part of it.
    NaN beyond the start of the history.
    """
    (history,) = panel.histories
    model, ticker, last = recurrent(run), history.ticker, len(history.dates) - 1
    groups = {str(name): group for name, group in frame.groupby("ticker", sort=True)}
    bars = {name: Bars.of(group) for name, group in groups.items()}
    beside = bars | (bars_of(companions) if companions is not None else {})
    place = Place.of(ticker)

    def market_with(bars: Mapping[str, Bars]) -> Market:
        return Market.at(place, {name: bars[name] for name in panel.universe}, bars)

    market = market_with(beside)
    begin = len(history.dates) - len(attribution.read_at(model, history, last))
    lags = range(1, min(LAGS, last - 1) + 1)
    inputs, ewma = [], []
    for k in lags:
        session = last - k + 1
        for log_return in (-SHOCK * history.volatility[session - 1], 0.0):
            own = Bars.of(shocked(groups[ticker], session, log_return))
            if ticker in (*panel.universe, place.benchmark):
                market = market_with(beside | {ticker: own})
            changed = history.with_features(
                compute(own, market, history.announcements, history.implied)
            )
            inputs.append(model.inputs(changed, slice(begin, None)))
            ewma.append(own.volatility[-1])
        progress(k, len(lags), f"shock {k} sessions ago")
    volatility = head.volatility(attribution.outputs_after(model, inputs, step), np.array(ewma))
    bad, quiet = volatility.reshape(-1, 2).T  # (lags,) each
    return np.append(bad / quiet - 1, np.full(LAGS - len(lags), np.nan))


def shocked(prices: pd.DataFrame, session: int, log_return: float) -> pd.DataFrame:
    """Return the prices of one ticker with another return at one session.

    The move comes between the open and the close: the gap at the open stays, and so do the ratios of
    the high and of the low to the outermost of both. Later returns and bars stay, from the new close,
    and so does the volume.
    """
    bars = np.array([prices[name].to_numpy(dtype=float) for name in BAR])  # (5, sessions)
    gap_open, was_high, was_low, was_close, was = bars[:, session]
    before = bars[4, session - 1]
    bars[:, session:] *= np.exp(log_return) * before / was
    close = bars[3, session]
    bars[0, session] = gap_open
    bars[1, session] = np.maximum(gap_open, close) * was_high / np.maximum(gap_open, was_close)
    bars[2, session] = np.minimum(gap_open, close) * was_low / np.minimum(gap_open, was_close)
    return prices.assign(**dict(zip(BAR, bars, strict=True)))


def gjr_response(
    run: Run, history: History, step: int = 1
) -> tuple[GarchParameters | None, Floats]:
    """Return a ticker's GJR-GARCH, and its response to the shocks of :func:`shock_response`: (LAGS,).

    It is fitted to the network's training span, or up to the cutoff if that is too short. Its variance
    of several sessions is the sum of those expected of them.
    """
    model = Garch("gjr")
    for until in (np.datetime64(run.until), history.dates[-1]):
        try:
            model.fit(Panel((history,)), until)
        except HistoryError:
            continue
        break
    else:
        return None, np.full(LAGS, np.nan)
    (fitted,) = model.fitted[history.ticker]
    (volatility,) = model.forecast(Panel((history,)), history.dates[-1], history.dates[-1])[
        "volatility"
    ]
    lags = np.arange(1, min(LAGS, len(history.dates) - 2) + 1)
    returns, before = history.log_returns[-lags], history.volatility[-lags - 1]
    faded = fitted.beta ** (lags - 1)
    none = fitted.news(0 * returns)  # no move
    quiet = (PERCENT * volatility) ** 2 - faded * (fitted.news(returns) - none)
    bad = quiet + faded * (fitted.news(-SHOCK * before) - none)
    wider = np.sqrt(_ahead(fitted, bad, step) / _ahead(fitted, quiet, step)) - 1
    return fitted, np.append(wider, np.full(LAGS - len(lags), np.nan))


def _ahead(fitted: GarchParameters, variance: Floats, step: int) -> Floats:
    """Return the variance expected of several sessions, from that of the first of them."""
    total = variance
    for _ in range(step - 1):
        variance = fitted.expected(variance)
        total = total + variance
    return total
