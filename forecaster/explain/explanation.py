"""What a recurrent network did for a forecast: its gates, its memory, and what moved it.

The forecast is that of ``predict``, and everything is computed from sessions up to its cutoff. Gates
are read off :mod:`forecaster.models.recurrent.cell`, gradients are those of
:mod:`forecaster.models.recurrent.backprop`, and the shares
of features those of :mod:`forecaster.explain.attribution`. Of a run that averages several networks, gates
and half-lives are the first network's; all else is of the average, which is what forecasts.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from forecaster.data import calendars
from forecaster.dataset.bars import Bars
from forecaster.dataset.features import compute
from forecaster.dataset.market import Market
from forecaster.dataset.panel import History, Panel
from forecaster.distributions import student_t
from forecaster.errors import HistoryError, UsageError
from forecaster.explain import attribution
from forecaster.explain.attribution import LAGS, Attribution
from forecaster.models.garch import PERCENT, Fitted, Garch
from forecaster.models.protocol import Progress, silent
from forecaster.models.recurrent import cell
from forecaster.models.recurrent.model import Recurrent, student_of
from forecaster.models.recurrent.training import CELLS
from forecaster.runs import forecasting
from forecaster.runs.run import Run

SHOCK = 4.0
"""The bad day whose traces are followed: a fall of so many EWMA volatilities, once in a year or two."""

BAR = ("open", "high", "low", "close", "adj_close")
"""The prices of a session."""

KEEPER = {"lstm": "forget gate", "gru": "update gate"}
"""The gate that says how much of a memory is kept; a plain cell has none."""


@dataclass(frozen=True)
class Activity:
    """The cell, session by session, on its way to a forecast; the last row is the cutoff's."""

    dates: np.ndarray
    """(sessions,), datetime64[D]"""
    log_returns: np.ndarray
    """(sessions,), a fraction"""
    gates: dict[str, np.ndarray]
    """(sessions, units) for each gate there is, then the cell state if there is one, then the hidden
    state"""
    half_lives: np.ndarray
    """(units,), sessions after which half of a memory is left: ``ln 0.5 / ln f`` for a forget gate that
    stays at its mean ``f`` over these sessions (of a GRU its update gate); NaN for a plain cell"""

    @property
    def order(self) -> np.ndarray:
        """The units, from the shortest memory to the longest."""
        return np.argsort(self.half_lives, kind="stable")


@dataclass(frozen=True)
class Memory:
    """How much wider a forecast is for a bad day *k* = 1 … ``LAGS`` sessions ago; each (LAGS,).

    The rise of the forecast volatility, as a fraction, when that day saw a fall of ``SHOCK``
    volatilities instead of no move at all.
    """

    network: np.ndarray
    """See :func:`shock_response`"""
    garch: Fitted | None
    """GJR-GARCH on the same ticker, None where it has too little history"""
    garch_path: np.ndarray
    """Of GARCH on the same shocks: later returns are as they were, so a shock fades like
    ``beta**(k - 1)``; NaN without GARCH"""

    @property
    def persistence(self) -> float:
        """``alpha + gamma / 2 + beta`` of GARCH, NaN where there is none."""
        fitted = self.garch
        return fitted.alpha + fitted.gamma / 2 + fitted.beta if fitted else np.nan

    @property
    def garch_expected(self) -> np.ndarray:
        """Of GARCH, its closed-form decay: later returns are as large as the shock lets expect.

        From its usual variance, a fall of ``SHOCK`` volatilities makes the expected variance
        ``1 + d (SHOCK**2 (alpha + gamma) - (alpha + gamma / 2))`` times the usual one after k
        sessions and no move makes it ``1 - d (alpha + gamma / 2)`` times, where ``d`` is
        ``persistence**(k - 1)``.
        """
        if self.garch is None:
            return np.full(LAGS, np.nan)
        alpha, gamma = self.garch.alpha, self.garch.gamma
        decay, usual = self.persistence ** np.arange(LAGS), alpha + gamma / 2
        shock = 1 + decay * (SHOCK**2 * (alpha + gamma) - usual)
        return np.sqrt(shock / (1 - decay * usual)) - 1


@dataclass(frozen=True)
class Explanation:
    """All that is told of one forecast."""

    run: Run
    forecast: pd.DataFrame
    """One row of the forecasts frame: what ``predict`` says"""
    ewma: float
    """The EWMA volatility at the cutoff, a fraction a day"""
    activity: Activity
    memory: Memory
    gradients: dict[str, np.ndarray]
    """By cell, (sessions,): the size of the gradient of the log of the forecast volatility by a session's
    inputs, in standard deviations; the cutoff first, which is lag 1"""
    compared: dict[str, str]
    """The run of each cell in ``gradients``"""
    attribution: Attribution
    scored: np.ndarray
    """datetime64[D], cutoffs after the training span whose outcome was known at the forecast's"""
    importance: pd.DataFrame | None
    """See :func:`forecaster.explain.attribution.importance`; None where too little is scored"""
    ablation: pd.DataFrame | None
    """See :func:`forecaster.explain.attribution.ablation`; None where too little is scored"""


def of(
    run: Run,
    frame: pd.DataFrame,
    *,
    ticker: str,
    as_of: date | None = None,
    others: Iterable[Run] = (),
    progress: Progress = silent,
) -> Explanation:
    """Explains the forecast of a ticker's next session, made at its last session up to ``as_of``.

    Parameters
    ----------
    run : of a recurrent model.
    frame : the prices frame of the ticker and of the run's universe.
    ticker : whose forecast.
    as_of : the latest date a forecast may use; by default the last there is.
    others : runs among which to look for the other cells, trained alike (see :func:`alike`).

    Raises
    ------
    HistoryError
        The ticker has too little history, or what is to be forecast was in the training span.
    UsageError
        The run's model is not a recurrent network.
    """
    model = recurrent(run)
    forecast = forecasting.predict(run, frame, tickers=[ticker], as_of=as_of)
    cutoff = forecast["cutoff"].iloc[0]
    known = frame[frame["date"] <= cutoff]
    (history,) = forecasting.panel_of(run, known, [ticker]).histories
    session = len(history.dates) - 1
    compared = {run.model.name: run} | alike(run, others)
    attributed = attribution.attribute(model, history, session)
    scored = attribution.scored(history, np.datetime64(run.until))
    enough = len(scored) >= attribution.MIN_SCORED
    return Explanation(
        run=run,
        forecast=forecast,
        ewma=float(history.volatility[session]),
        activity=activity(model, history, session),
        memory=Memory(shock_response(run, known, history, progress), *garch_memory(run, history)),
        gradients={
            name: sensitivity(recurrent(compared[name]), history, session)
            for name in CELLS
            if name in compared
        },
        compared={name: compared[name].name for name in CELLS if name in compared},
        attribution=attributed,
        scored=history.dates[scored],
        importance=attribution.importance(model, history, scored) if enough else None,
        ablation=attribution.ablation(model, history, scored, attributed) if enough else None,
    )


def recurrent(run: Run) -> Recurrent:
    """The run's model, which is to be a recurrent network; UsageError otherwise."""
    if isinstance(run.model, Recurrent):
        return run.model
    raise UsageError(
        f"run {run.name} is of the model {run.model.name}, and what can be explained is the inside of "
        f"a recurrent network: {', '.join(CELLS)}; name a `run` of one"
    )


def alike(run: Run, others: Iterable[Run]) -> dict[str, Run]:
    """The first run of each other cell that was trained as ``run`` was: same prices and settings."""
    found: dict[str, Run] = {}
    for other in others:
        if (
            isinstance(other.model, Recurrent)
            and other.model.name != run.model.name
            and other.prices_sha256 == run.prices_sha256
            and other.model.config == recurrent(run).config
        ):
            found.setdefault(other.model.name, other)
    return found


def activity(model: Recurrent, history: History, session: int) -> Activity:
    """The gates and states of the first network over all the sessions that a forecast reads."""
    x = attribution.read_at(model, history, session)
    states = list(_steps(model, x))
    gates = {name: np.concatenate([state[name] for state in states]) for name in states[0]}
    half_lives = np.full(model.config.units, np.nan)
    if model.name in KEEPER:
        kept = gates[KEEPER[model.name]].mean(axis=0, dtype=float)
        with np.errstate(divide="ignore"):  # a gate that never closes forgets nothing
            half_lives = np.log(0.5) / np.log(kept)
    read = slice(session + 1 - len(x), session + 1)
    return Activity(history.dates[read], history.log_returns[read], gates, half_lives)


def _steps(model: Recurrent, x: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """What the first network's gates and states are after each session, each (1, units)."""
    weights = model.networks[0].cell
    hidden = memory = np.zeros((1, weights.units), np.float32)
    for new in x[:, None]:  # (1, features)
        if model.name == "lstm":
            now = cell.step(weights, new, hidden, memory)
            hidden, memory = now.hidden, now.cell
            yield {
                "input gate": now.input_gate,
                "forget gate": now.forget_gate,
                "output gate": now.output_gate,
                "cell state": memory,
                "hidden state": hidden,
            }
        elif model.name == "gru":
            gru = cell.gru_step(weights, new, hidden)
            hidden = gru.hidden
            yield {
                "update gate": gru.update_gate,
                "reset gate": gru.reset_gate,
                "hidden state": hidden,
            }
        else:
            hidden, _ = cell.plain(weights, new, hidden, memory)
            yield {"hidden state": hidden}


def sensitivity(model: Recurrent, history: History, session: int) -> np.ndarray:
    """Euclidean norm of the gradient of the log forecast volatility by each session's inputs.

    The inputs are scaled, so it is per standard deviation; the EWMA volatility that the forecast is
    relative to stays as it is. (sessions,), the cutoff first.
    """
    x = attribution.read_at(model, history, session).astype(float)[:, None]
    _, slopes = attribution.differentiate(model, x)
    return np.linalg.norm(slopes[:, 0], axis=1)[::-1]


def shock_response(
    run: Run, frame: pd.DataFrame, history: History, progress: Progress = silent
) -> np.ndarray:
    """How much wider the forecast is for a bad day 1 to ``LAGS`` sessions ago: (LAGS,), a fraction.

    Parameters
    ----------
    run : of a recurrent model.
    frame : the prices frame up to the cutoff.
    history : of the ticker, made of them; the forecast is that at its last session.

    Notes
    -----
    At lag k the return of session ``cutoff - k + 1`` is replaced, once by a fall of ``SHOCK`` EWMA
    volatilities as they were known at the close before, once by 0; the response is the ratio of the
    two forecast volatilities, less 1. All features are computed again from the changed prices, the
    EWMA volatilities too, and the market's average if the ticker is part of it. See :func:`shocked`
    for the prices. NaN where the history does not reach back so far.
    """
    model, ticker, last = recurrent(run), history.ticker, len(history.dates) - 1
    groups = {str(name): group for name, group in frame.groupby("ticker", sort=True)}
    bars = {name: Bars.of(group) for name, group in groups.items()}
    universe = {name: bars[name] for name in sorted(run.tickers) if name in bars}
    exchange = calendars.exchange(ticker)
    market = Market.of(universe, exchange)
    begin = len(history.dates) - len(attribution.read_at(model, history, last))
    lags = range(1, min(LAGS, last - 1) + 1)
    inputs, widths = [], []
    for k in lags:
        session = last - k + 1
        for log_return in (-SHOCK * history.volatility[session - 1], 0.0):
            own = Bars.of(shocked(groups[ticker], session, log_return))
            if ticker in universe:
                market = Market.of(universe | {ticker: own}, exchange)
            changed = history.with_features(compute(own, market))
            inputs.append(model.inputs(changed, slice(begin, None)))
            widths.append(own.volatility[-1])
        progress(k, len(lags), f"shock {k} sessions ago")
    _, scale, df = student_of(attribution.outputs_after(model, inputs), np.array(widths))
    bad, quiet = student_t.volatility(scale, df).reshape(-1, 2).T
    return np.append(bad / quiet - 1, np.full(LAGS - len(lags), np.nan))


def shocked(prices: pd.DataFrame, session: int, log_return: float) -> pd.DataFrame:
    """The prices of one ticker, had the return of a session been another.

    The move comes between the open and the close: the gap at the open stays as it was, and so does
    how far the high and the low reach beyond both. Later returns and bars are as they were, from
    the new close. Volume is as it was.
    """
    before, was = prices["adj_close"].iloc[[session - 1, session]]
    bars = prices[list(BAR)].to_numpy(dtype=float).T.copy()  # (5, sessions)
    bars[:, session:] *= np.exp(log_return) * before / was
    close = bars[3, session]
    gap_open, was_high, was_low, was_close = prices[list(BAR[:4])].iloc[session]
    bars[0, session] = gap_open
    bars[1, session] = np.maximum(gap_open, close) * was_high / np.maximum(gap_open, was_close)
    bars[2, session] = np.minimum(gap_open, close) * was_low / np.minimum(gap_open, was_close)
    return prices.assign(**dict(zip(BAR, bars, strict=True)))


def garch_memory(run: Run, history: History) -> tuple[Fitted | None, np.ndarray]:
    """GJR-GARCH of a ticker, and its response to the shocks of :func:`shock_response`: (LAGS,).

    It is fitted to what the network could learn from, up to the cutoff where that is too little.
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
    fitted = model.fitted[history.ticker]
    (volatility,) = model.forecast(Panel((history,)), history.dates[-1], history.dates[-1])[
        "volatility"
    ]
    lags = np.arange(1, min(LAGS, len(history.dates) - 2) + 1)
    returns, before = history.log_returns[-lags], history.volatility[-lags - 1]
    faded = fitted.beta ** (lags - 1)
    quiet = (PERCENT * volatility) ** 2 - faded * (
        _news(fitted, returns) - _news(fitted, 0 * returns)
    )
    bad = quiet + faded * (_news(fitted, -SHOCK * before) - _news(fitted, 0 * returns))
    return fitted, np.append(np.sqrt(bad / quiet) - 1, np.full(LAGS - len(lags), np.nan))


def _news(fitted: Fitted, returns: np.ndarray) -> np.ndarray:
    """What returns, as fractions, add to the next variance, in percent squared."""
    shock = PERCENT * returns - fitted.mu
    return (fitted.alpha + fitted.gamma * (shock < 0)) * shock**2


def document(explanation: Explanation) -> dict[str, Any]:
    """All that is told but for the gates of each session, as JSON can say it; null where unknown.

    Volatilities are fractions a day; ``effect`` is in log volatility; ``crps`` is a rise as a share.
    """
    row, attributed = explanation.forecast.iloc[0], explanation.attribution
    worth = explanation.importance
    shuffled = {} if worth is None else worth.set_index("feature").to_dict("index")
    memory, activity = explanation.memory, explanation.activity
    return {
        "run": explanation.run.name,
        "model": explanation.run.model.name,
        "networks": len(recurrent(explanation.run).networks),
        "ticker": row["ticker"],
        "cutoff": f"{row['cutoff']:%Y-%m-%d}",
        "date": f"{row['date']:%Y-%m-%d}",
        "volatility": float(row["volatility"]),
        "ewma_volatility": explanation.ewma,
        "calm": {
            "volatility": explanation.ewma
            * float(np.exp(attributed.calm_log_ratio - attributed.unit)),
            "ewma_volatility": explanation.ewma * float(np.exp(-attributed.unit)),
        },
        "sessions_read": len(activity.dates),
        "units": {
            "half_life": _numbers(activity.half_lives),
            "mean": {
                name: _numbers(values.mean(axis=0)) for name, values in activity.gates.items()
            },
        },
        "features": [
            {
                "feature": name,
                "value": float(attributed.inputs[-1, i]),
                "calm": float(attributed.baseline[i]),
                "effect": float(attributed.by_feature[i]),
                "crps": shuffled.get(name, {}).get("crps"),
                "crps_error": shuffled.get(name, {}).get("error"),
            }
            for i, name in enumerate(attributed.features)
        ],
        "not_attributed": attributed.missing,
        "lags": {
            "effect": _numbers(attributed.by_lag[:LAGS]),
            "shock": {
                "network": _numbers(memory.network),
                "gjr_same_days": _numbers(memory.garch_path),
                "gjr_closed_form": _numbers(memory.garch_expected),
            },
            "gradient": {
                name: _numbers(sizes[:LAGS]) for name, sizes in explanation.gradients.items()
            },
        },
        "gjr": None if memory.garch is None else asdict(memory.garch),
        "compared": explanation.compared,
        "scored": len(explanation.scored),
        "ablation": None
        if explanation.ablation is None
        else explanation.ablation.to_dict("records"),
    }


def _numbers(values: np.ndarray) -> list[float | None]:
    """As JSON has them: null for what is not a number, or is infinite."""
    return [float(value) if np.isfinite(value) else None for value in values]
