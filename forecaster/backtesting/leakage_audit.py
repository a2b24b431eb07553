"""Audits: is a model honest, on these prices?

A model that sees the future, or that dresses up yesterday's price, has splendid scores. Each check
puts it where such a model must give itself away: a past with another future, prices in which
nothing can be foretold, a market whose truth is known. Passing proves honesty, not skill.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import count, product

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from forecaster.backtesting import backtest
from forecaster.backtesting.spec import BacktestSpec
from forecaster.config import RecurrentConfig
from forecaster.data import prices, simulation
from forecaster.data.exchanges import exchange
from forecaster.data.publication import public_dates
from forecaster.dataset.panel import Panel
from forecaster.distributions import forecasts, student_t
from forecaster.errors import HistoryError
from forecaster.evaluation import metrics
from forecaster.evaluation.significance import by_day, diebold_mariano
from forecaster.model_selection.splits import Fold, walk_forward_folds
from forecaster.models.protocol import SESSIONS_TO_FORECAST, Model, Progress, silent
from forecaster.models.registry import create
from forecaster.runs import forecasting
from forecaster.runs.run import Run, versions

YEARS = 8
"""So many last years are audited: enough to catch a leak, and soon done."""

TRAINED = 0.75
"""Share of the sessions that models are fitted on; the others are forecast."""

STEPS = 7
"""Of an audit's progress."""

LEAST_SESSIONS = 400
"""With fewer there is nothing to fit GJR-GARCH, the company of every score, on."""

QUICK_EPOCHS = 5
"""The most epochs of a fit whose skill is not the question: a leak shows in the first."""

CHANCE = 0.01
"""A difference is one if an honest model shows it as seldom as this."""

NEGLIGIBLE = 0.002
"""A CRPS lower by this share is no sign of a leak: a Student-t is only nearly the truth."""

CLAIM = 0.25
"""A median that moves at least this much of what the returns do claims to know where they go."""

COVERAGE_LIMIT = 0.03
"""How far a coverage may be from what an interval promises, where the truth is known."""

TRUTH_LIMIT, WINDOW_LIMIT = 0.015, 0.06
"""How far a CRPS may be above the truth's; the second is for widths of a year's window, which are
not meant to follow the volatility."""

WINDOWED = ("naive", "drift")

NAIVE_LIMIT = 0.02
"""How far the CRPS of any one seed may be above naive's."""


@dataclass(frozen=True)
class Check:
    """What one check found."""

    name: str
    passed: bool
    number: float
    unit: str
    """What the number counts."""
    words: str


def audit(
    frame: pd.DataFrame,
    model: str = "lstm",
    *,
    config: RecurrentConfig | None = None,
    seeds: int = 3,
    make: Callable[[RecurrentConfig], Model] | None = None,
    progress: Progress = silent,
) -> list[Check]:
    """Every check of a model on a prices frame, of which the last ``YEARS`` years are used.

    Parameters
    ----------
    frame : the prices frame.
    model : a registered name.
    config : settings of a recurrent model.
    seeds : how many trainings from different seeds are compared.
    make : gives an unfitted model that is audited in place of the registered one of that name.

    Raises
    ------
    HistoryError
        There are too few sessions to fit the model, or GJR-GARCH beside it.
    UsageError
        There is no model of that name.
    """
    config = config or RecurrentConfig()
    create(model, config)  # says so at once if there is none
    build = make or (lambda settings: create(model, settings))
    frame = _recent(frame)
    sessions = np.unique(frame["date"].to_numpy().astype("datetime64[D]"))
    if len(sessions) < LEAST_SESSIONS:
        raise HistoryError(
            f"an audit needs {LEAST_SESSIONS} sessions, and there are {len(sessions)}, from "
            f"{sessions[0]} to {sessions[-1]}; fetch earlier prices"
        )
    start = sessions[int(TRAINED * len(sessions))]
    folds = list(walk_forward_folds(sessions, start=start, end=sessions[-1], refit="yearly"))

    def quick() -> Model:
        return build(replace(config, epochs=min(config.epochs, QUICK_EPOCHS), seeds=1))

    def seeded(number: int) -> Model:
        return build(replace(config, seed=config.seed + number * config.seeds))

    steps = count()

    def step(title: str) -> Progress:
        done = next(steps)
        progress(done, STEPS, title)
        return lambda _, __, text: progress(done, STEPS, f"{title}: {text}")

    until = folds[0].until
    trained = _fitted(seeded(0), Panel.of(frame), until, step("fit"))
    found = [
        forecast_look_ahead(trained, frame, folds, step("look-ahead of forecasts")),
        fit_look_ahead(quick, frame, folds, step("look-ahead of fits")),
        shuffled_returns(quick, frame, folds, step("shuffled returns")),
        lag(_forecasts(trained, frame, folds)),
        *simulated(quick, step("simulated market")),
        parity(trained, build(config), frame, folds, step("parity")),
        seed_luck(trained, seeded, seeds, frame, folds, step("seeds")),
    ]
    progress(STEPS, STEPS, "audited")
    return found


def forecast_look_ahead(
    model: Model, frame: pd.DataFrame, folds: Sequence[Fold], progress: Progress = silent
) -> Check:
    """Whether forecasts stay the same, bit for bit, when all prices after their cutoff are others.

    The fitted model forecasts every session of the folds; the future is rewritten after cutoffs
    beside each refit and halfway. The future of a ticker begins at the instant its own exchange
    closes, whatever the date is elsewhere, so each exchange has a future of its own.
    """
    ours = _forecasts(model, frame, folds)
    cutoffs = _cutoffs(frame, folds)
    exchanges = frame["ticker"].drop_duplicates().map(exchange)
    steps = list(product(cutoffs, exchanges.unique()))
    exchange_of = dict(zip(frame["ticker"].unique(), exchanges, strict=True))
    compared = changed = 0
    for done, (cutoff, observer) in enumerate(steps):
        progress(done, len(steps), str(cutoff))
        other = rewritten(frame, cutoff, observers=[observer], seed=done)
        theirs = _forecasts(model, other, folds)
        pair = [
            f[(f["cutoff"] <= pd.Timestamp(cutoff)) & (f["ticker"].map(exchange_of) == observer)]
            for f in (ours, theirs)
        ]
        compared += len(pair[0])
        changed += _differing(*(f.drop(columns=["date", "log_return"]) for f in pair))
    if changed:
        words = f"of {compared:,} forecasts read prices dated after their cutoff: the model peeks"
    else:
        words = f"of {compared:,} forecasts, when all prices after {len(cutoffs)} cutoffs were rewritten"
    return Check("look-ahead of forecasts", changed == 0, changed, "changed", words)


def fit_look_ahead(
    make: Callable[[], Model],
    frame: pd.DataFrame,
    folds: Sequence[Fold],
    progress: Progress = silent,
) -> Check:
    """Whether a fit stays the same, bit for bit, when all prices after its cutoff are others.

    Two models are fitted until the first refit, and two until the last: one on the prices, one on
    prices with another future. Both forecast the same sessions.
    """
    compared = changed = 0
    for fold in dict.fromkeys([folds[0], folds[-1]]):
        pair = []
        for seen in (frame, rewritten(frame, fold.until)):
            model = make()
            model.fit(Panel.of(seen), fold.until, progress)
            pair.append(_forecasts(model, frame, [fold, folds[-1]]))
        compared += len(pair[0])
        changed += _differing(*pair)
    if changed:
        words = f"of {compared:,} forecasts depend on prices later than the fit: the fit peeks"
    else:
        words = f"of {compared:,} forecasts, when all prices after the fit's cutoff were rewritten"
    return Check("look-ahead of fits", changed == 0, changed, "changed", words)


def shuffled_returns(
    make: Callable[[], Model],
    frame: pd.DataFrame,
    folds: Sequence[Fold],
    progress: Progress = silent,
) -> Check:
    """Whether a model fitted on returns in random order is no better than a distribution that rests.

    In prices of :func:`shuffled` sessions no return says anything about the next. The Student-t of
    a ticker's training part is then as good as any forecast can be, but for its shape: a lower CRPS
    fails if it is lower by more than ``NEGLIGIBLE`` and the one-sided p-value of the
    Diebold-Mariano test is below ``CHANCE``.
    """
    frame = shuffled(frame)
    panel = Panel.of(frame)
    model = make()
    model.fit(panel, folds[0].until, progress)
    shapes = {
        h.ticker: (float(np.median(r)), *student_t.fit(r - np.median(r)))
        for h in panel.histories
        if len(r := h.log_returns[1 : h.count_until(folds[0].until)]) >= SESSIONS_TO_FORECAST
    }
    found = _forecasts(model, frame, folds)
    found = found[found["ticker"].isin(list(shapes))]
    resting = np.array([shapes[ticker] for ticker in found["ticker"]]).T  # (3, rows)
    gap, p_value = _gap(found, _beside(found, *resting))
    passed = gap > -NEGLIGIBLE or p_value >= CHANCE
    words = "CRPS above a constant Student-t's on sessions in random order: " + (
        "no skill where none can be" if passed else "skill where none can be, so it leaks"
    )
    return Check("shuffled returns", passed, 100 * gap, "%", words)


def lag(frame: pd.DataFrame) -> Check:
    """Whether the medians of a forecasts frame are old prices in disguise.

    "Tomorrow's price is yesterday's", a moving average and a network that was taught price levels
    look good when drawn over the prices, because prices move little in a day. As a forecast of the
    return each claims that what happened will be undone: the medians are as large as the returns,
    are told by past returns, and are further from the truth than "tomorrow is today", which claims
    nothing. The check fails where the root mean square of the medians is above ``CLAIM`` of that of
    the returns, and their error above naive's with a one-sided p-value of the Diebold-Mariano test
    below ``CHANCE``.
    """
    rows = frame[frame["log_return"].notna()].sort_values(["ticker", "cutoff"])
    ticker = rows["ticker"]
    typical = np.sqrt((rows["log_return"] ** 2).groupby(ticker).transform("mean"))
    median, moved = rows["q0.5"] / typical, rows["log_return"] / typical
    size = float(np.sqrt(np.mean(median**2) / np.mean(moved**2)))
    past = np.column_stack([moved.groupby(ticker).shift(k) for k in range(1, 6)])  # (rows, 5)
    told = _explained(median.to_numpy(), past)
    losses = metrics.losses(rows)
    errors = losses[["error", "naive_error"]].div(losses["last_close"], axis=0)
    daily = errors.groupby(losses["date"]).mean()  # (dates, 2)
    ratio = float(daily["error"].mean() / daily["naive_error"].mean())
    p_value = _p_lower(daily["naive_error"], daily["error"])
    passed = not (size > CLAIM and p_value < CHANCE)
    words = (
        f"error over that of 'tomorrow is today'; the median moves {size:.0%} of what returns do"
    )
    if not passed:
        words += f", {told:.0%} of it told by the last five: old prices in disguise"
    elif size > CLAIM:
        words += ", and is right often enough"
    return Check("lag", passed, ratio, "relMAE", words)


def simulated(make: Callable[[], Model], progress: Progress = silent) -> list[Check]:
    """Coverage and CRPS in a market made by :mod:`forecaster.data.simulation`, where the truth is known.

    The model is fitted on three quarters of it. The coverages of the 80, 90 and 95% intervals may
    miss by ``COVERAGE_LIMIT``, the CRPS may be above the truth's by ``TRUTH_LIMIT``. It may not be
    lower by more than ``NEGLIGIBLE`` with a one-sided p-value of the Diebold-Mariano test below
    ``CHANCE``: only the future knows more than the truth.
    """
    world = simulation.world()
    panel = Panel.of(world.prices)
    until, last = panel.sessions[int(TRAINED * len(panel.sessions))], panel.sessions[-2]
    found, naive = (
        _fitted(model, panel, until, progress).forecast(panel, until, last)
        for model in (make(), create("naive"))
    )
    truth = found[["ticker", "date"]].merge(world.truth, on=["ticker", "date"], how="left")
    beside = _beside(found, *(truth[name].to_numpy() for name in forecasts.STUDENT_T))

    inside = metrics.losses(found)[[f"inside_{percent}" for percent in metrics.COVERAGES]].mean()
    missed = inside - np.array(metrics.COVERAGES) / 100
    covered = bool(missed.abs().max() <= COVERAGE_LIMIT)
    listed = ", ".join(
        f"{share:.1%} in the {percent}%"
        for percent, share in zip(metrics.COVERAGES, inside, strict=True)
    )
    coverage = Check(
        "simulated coverage",
        covered,
        100 * float(missed.abs().max()),
        "points off",
        f"{listed} of a market whose truth is known: "
        + ("as promised" if covered else "not what is promised"),
    )

    gap, p_value = _gap(found, beside)
    naive_gap, _ = _gap(naive, beside)
    limit = WINDOW_LIMIT if found["model"].iloc[0] in WINDOWED else TRUTH_LIMIT
    leaks = gap < -NEGLIGIBLE and p_value < CHANCE
    if leaks:
        said = "better than the truth, so it peeks"
    else:
        said = f"{'within' if gap <= limit else 'not within'} {limit:.1%}"
    crps = Check(
        "simulated CRPS",
        not leaks and gap <= limit,
        100 * gap,
        "%",
        f"CRPS above the true distribution's in that market (naive {100 * naive_gap:.2f}%): {said}",
    )
    return [coverage, crps]


def parity(
    model: Model,
    again: Model,
    frame: pd.DataFrame,
    folds: Sequence[Fold],
    progress: Progress = silent,
) -> Check:
    """Whether the backtest and ``predict`` say the same, bit for bit.

    At cutoffs beside each refit and halfway, the row of a backtest is compared with what
    ``predict`` says as of that day, and with what it would have said that evening: the model
    restored into ``again``, and no later price stored.
    """
    run = _run(model, frame, folds[0].until)
    restored = _run(again, frame, folds[0].until)
    restored.model.restore(model.state())
    tickers = sorted(frame["ticker"].unique())
    table = backtest.run(frame, BacktestSpec((model.name,)), trained=run).forecasts
    cutoffs = _cutoffs(frame, folds)
    compared = differing = 0
    for done, cutoff in enumerate(cutoffs):
        progress(done, len(cutoffs), str(cutoff))
        day = _date(cutoff)
        stored = frame[frame["date"] <= pd.Timestamp(cutoff)]
        later, _ = forecasting.predict_each(run, frame, tickers=tickers, as_of=day)
        evening, _ = forecasting.predict_each(restored, stored, tickers=tickers, as_of=day)
        rows = later[["ticker", "cutoff"]].merge(table, on=["ticker", "cutoff"])
        later = later.merge(rows[["ticker", "cutoff"]], on=["ticker", "cutoff"])
        evening = evening.merge(rows[["ticker", "cutoff"]], on=["ticker", "cutoff"])
        # The next session's date and return were not known that evening.
        unknown = ["date", "log_return"]
        compared += 2 * len(rows)
        differing += _differing(rows, later)
        differing += _differing(rows.drop(columns=unknown), evening.drop(columns=unknown))
    passed = compared > 0 and differing == 0
    words = f"of {compared:,} predictions from the backtest's rows: " + (
        "what is backtested is what is run live"
        if passed
        else "what is backtested is not what is run live"
    )
    return Check("parity", passed, differing, "differ", words)


def seed_luck(
    model: Model,
    seeded: Callable[[int], Model],
    seeds: int,
    frame: pd.DataFrame,
    folds: Sequence[Fold],
    progress: Progress = silent,
) -> Check:
    """The CRPS of trainings from several seeds, over that of GJR-GARCH and naive.

    ``model`` is fitted, and stands for the first of the seeds. A spread is information, not a
    fault: the check fails only if one of the seeds is ``NAIVE_LIMIT`` or more worse than naive, so
    that a good score of another was luck.
    """
    panel, until = Panel.of(frame), folds[0].until
    others = [seeded(number) for number in range(1, seeds)]
    fitted = [_fitted(m, panel, until, progress) for m in (*others, create("gjr"), create("naive"))]
    names = [*(f"seed {number}" for number in range(seeds)), "gjr", "naive"]
    found = [
        _forecasts(m, frame, folds).assign(model=name)
        for m, name in zip([model, *fitted], names, strict=True)
    ]
    losses = metrics.common(metrics.losses(forecasts.concat(found)))
    crps = losses.groupby("model")["crps"].mean()
    ours = crps[names[:seeds]].to_numpy()
    gain, worst = 100 * (ours / crps["gjr"] - 1), 100 * (ours.max() / crps["naive"] - 1)
    passed = bool(worst < 100 * NAIVE_LIMIT)
    words = "CRPS above gjr's"
    if np.ptp(ours) > 0:
        words += (
            f", {gain.min():+.2f}% to {gain.max():+.2f}% over {seeds} seeds, "
            f"standard deviation {gain.std(ddof=1):.2f}"
        )
    elif seeds > 1:
        words += f", the same for {seeds} seeds"
    words += f"; {abs(worst):.2f}% {'above' if worst > 0 else 'below'} naive's at worst"
    return Check("seeds", passed, float(gain.mean()), "%", words)


def rewritten(
    frame: pd.DataFrame,
    after: np.datetime64,
    *,
    observers: Collection[str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the prices frame with everything that closes later made up anew: another, valid history.

    From its last known session on each ticker goes its own random way, with other bars, dividends
    and volumes on the same dates. What is null stays null.

    Parameters
    ----------
    frame : the prices frame.
    after : the date whose close is the present.
    observers : the exchanges that have closed by then; by default all of the frame's.
    """
    rng = np.random.default_rng(seed)
    observers = observers or set(map(exchange, frame["ticker"].unique()))
    public = frame["date"].to_numpy().astype("datetime64[D]")
    for ticker, rows in frame.groupby("ticker", sort=False).indices.items():
        public[rows] = public_dates(public[rows], exchange(str(ticker)), observers)
    later = frame[public > after]
    step = pd.DataFrame(
        rng.standard_normal((len(later), 6)) * [0.03, 0.002, 0.01, 0.01, 0.01, 0.5],
        index=later.index,
        columns=["move", "dividend", "open", "high", "low", "volume"],
    )
    way = step[["move", "dividend"]].groupby(later["ticker"]).cumsum()
    close = later["close"] * np.exp(way["move"])
    open_ = close * np.exp(step["open"])
    others = {
        "open": open_,
        "high": np.maximum(open_, close) * np.exp(step["high"].abs()),
        "low": np.minimum(open_, close) * np.exp(-step["low"].abs()),
        "close": close,
        "adj_close": later["adj_close"] * np.exp(way["move"] + way["dividend"]),
        "volume": later["volume"] * np.exp(step["volume"]),
    }
    future = later.assign(
        **{name: values.where(later[name].notna()) for name, values in others.items()}
    )
    return prices.check(pd.concat([frame.drop(later.index), future]))


def shuffled(frame: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """The prices frame with each ticker's sessions drawn from its own, at random and with replacement.

    A session is taken whole: its return, the shape of its bar and its volume. So they are
    independent of all others, and of one distribution. The dates stay.
    """
    rng = np.random.default_rng(seed)
    position = pd.Series(np.arange(len(frame)), frame.index).groupby(frame["ticker"])
    first, last = (position.transform(end).to_numpy() for end in ("min", "max"))
    drawn = first + 1 + (rng.random(len(frame)) * (last - first)).astype(int)
    opening = np.arange(len(frame)) == first  # its return is not known, and it stays where it is
    session = frame.iloc[np.where(opening, first, drawn)].reset_index(drop=True)
    returns = np.log(frame["adj_close"]).diff().to_numpy()[drawn.clip(max=len(frame) - 1)]
    moves = pd.Series(np.where(opening, 0.0, returns)).groupby(session["ticker"]).cumsum()
    close = frame["adj_close"].to_numpy()[first] * np.exp(moves)
    bar = session[["open", "high", "low"]].mul(close / session["close"], axis=0)
    return prices.check(
        session.assign(date=frame["date"].to_numpy(), close=close, adj_close=close, **bar)
    )


def _recent(frame: pd.DataFrame) -> pd.DataFrame:
    since = frame["date"].max() - pd.DateOffset(years=YEARS)
    recent: pd.DataFrame = frame[frame["date"] > since].reset_index(drop=True)
    return recent


def _cutoffs(frame: pd.DataFrame, folds: Sequence[Fold]) -> list[np.datetime64]:
    """The first two cutoffs of each fold, its last, and the one halfway; not the frame's last."""
    sessions = np.unique(frame["date"].to_numpy().astype("datetime64[D]"))
    ends = [np.searchsorted(sessions, [fold.first, fold.last]) for fold in folds]
    chosen = {i for a, b in ends for i in (a, min(a + 1, b), (a + b) // 2, b)}
    return [sessions[i] for i in sorted(chosen) if i < len(sessions) - 1]


def _fitted(model: Model, panel: Panel, until: np.datetime64, progress: Progress) -> Model:
    model.fit(panel, until, progress)
    return model


def _forecasts(model: Model, frame: pd.DataFrame, folds: Sequence[Fold]) -> pd.DataFrame:
    found = model.forecast(Panel.of(frame), folds[0].first, folds[-1].last)
    if found.empty:
        raise HistoryError(
            f"{model.name} has no forecast from {folds[0].first} to {folds[-1].last}, so there is "
            "nothing to audit; fetch earlier prices"
        )
    return found


def _run(model: Model, frame: pd.DataFrame, until: np.datetime64) -> Run:
    """A fitted model as a run that is not stored."""
    return Run(
        name="audit",
        model=model,
        tickers=sorted(frame["ticker"].unique()),
        first=frame["date"].min().date(),
        until=_date(until),
        prices_sha256=prices.digest(frame[frame["date"] <= pd.Timestamp(until)]),
        created=datetime.now(UTC).isoformat(),
        versions=versions(),
    )


def _date(day: np.datetime64) -> date:
    return date.fromisoformat(str(day.astype("datetime64[D]")))


def _differing(one: pd.DataFrame, other: pd.DataFrame) -> int:
    """How many forecasts of two frames are not the same to the last bit."""
    one, other = (f.set_index(forecasts.KEYS).sort_index() for f in (one, other))
    if not one.index.equals(other.index):
        return max(len(one), len(other))
    same = (one == other) | (one.isna() & other.isna())
    return int((~same.all(axis=1)).sum())


def _beside(
    frame: pd.DataFrame, location: np.ndarray, scale: np.ndarray, df: np.ndarray
) -> pd.DataFrame:
    """Forecasts of the same sessions by a Student-t of given parameters."""
    columns = ["ticker", "cutoff", "date", "last_close", "log_return"]
    own = {name: frame[name].to_numpy() for name in columns}
    return forecasts.from_student_t(model="beside", location=location, scale=scale, df=df, **own)


def _gap(found: pd.DataFrame, beside: pd.DataFrame) -> tuple[float, float]:
    """By which share the CRPS lies above another's, and the p-value of its being lower.

    Both are of the quantiles, because that is what every model has.
    """
    losses = metrics.losses(forecasts.concat([found, beside]))
    a, b = by_day(losses, found["model"].iloc[0], "beside", "crps")
    return float(a.mean() / b.mean() - 1), _p_lower(a, b)


def _p_lower(a: ArrayLike, b: ArrayLike) -> float:
    """One-sided p-value of the mean of ``a`` not being lower than that of ``b``."""
    test = diebold_mariano(a, b)
    return test.p_value / 2 if test.statistic < 0 else 1 - test.p_value / 2


def _explained(values: np.ndarray, by: np.ndarray) -> float:
    """R² of a linear regression with a constant, where all is known; 0 of values that rest."""
    known = np.isfinite(by).all(axis=1)
    y, x = values[known], np.column_stack([np.ones(known.sum()), by[known]])
    spread = ((y - y.mean()) ** 2).sum()
    if spread == 0:
        return 0.0
    residuals = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return float(1 - (residuals**2).sum() / spread)
