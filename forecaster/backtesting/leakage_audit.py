"""The leakage audit: does a model look ahead, on these prices?

A model that sees the future, or repeats yesterday's price, has splendid scores. Each check creates a
situation in which such a model gives itself away: the same past with another future, prices in which
nothing can be predicted, a market whose true distribution is known. Passing proves honesty, not skill.

What is compared bit for bit, look-ahead and parity, is of every step up to the model's horizon; what is
compared by its scores is of the next session.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import count, product

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from forecaster.backtesting import walk_forward
from forecaster.backtesting.alternative_histories import (
    SPOILED,
    rescheduled,
    rewritten,
    shuffled,
    spoiled,
)
from forecaster.backtesting.spec import BacktestSpec
from forecaster.config import RecurrentConfig
from forecaster.data import prices, simulation
from forecaster.data.exchanges import exchange
from forecaster.dataset.panel import Panel
from forecaster.distributions import forecasts, horizons, student_t
from forecaster.errors import HistoryError
from forecaster.evaluation import metrics
from forecaster.evaluation.significance import by_day, diebold_mariano
from forecaster.model_selection.splits import Fold, walk_forward_folds
from forecaster.models.protocol import SESSIONS_TO_FORECAST, Model, Progress, silent
from forecaster.models.registry import create, require_fittable
from forecaster.runs import forecasting
from forecaster.runs.run import Run, versions

YEARS = 8
"""The last years of the prices that are audited: enough to catch a leak, and quick."""

TRAINED = 0.75
"""Share of the sessions that models are fitted on; the others are forecast."""

STEPS = 7
"""Of an audit's progress; with events there is one more."""

LEAST_SESSIONS = 400
"""GJR-GARCH, the baseline, needs this many to be fitted."""

QUICK_EPOCHS = 5
"""The most epochs of a fit whose skill does not matter: a leak shows in the first."""

CHANCE = 0.01
"""Significance level: an honest model fails a check this rarely."""

NEGLIGIBLE = 0.002
"""A CRPS lower by no more than this share is no sign of a leak: a Student-t only approximates the truth."""

CLAIM = 0.25
"""A median whose moves are this large relative to the returns claims to know their direction."""

COVERAGE_LIMIT = 0.03
"""How far coverage may be from its nominal value in the simulated market."""

TRUTH_LIMIT, WINDOW_LIMIT = 0.015, 0.06
"""How far the CRPS may be above that of the true distribution; the second bound is for models whose
width is that of a year's window, which do not follow the volatility."""

WINDOWED = ("naive", "drift")

NAIVE_LIMIT = 0.02
"""How far the CRPS of any seed may be above that of naive."""


@dataclass(frozen=True)
class Check:
    """The result of one check."""

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
    events: pd.DataFrame | None = None,
    companions: pd.DataFrame | None = None,
    config: RecurrentConfig | None = None,
    seeds: int = 3,
    make: Callable[[RecurrentConfig], Model] | None = None,
    progress: Progress = silent,
) -> list[Check]:
    """Run every check of a model on the last ``YEARS`` years of a prices frame.

    Parameters
    ----------
    frame : the prices frame.
    model : a registered name.
    events : the events frame of its tickers.
    companions : the prices frame of the indices that they are seen beside.
    config : settings of a recurrent model.
    seeds : how many trainings from different seeds are compared.
    make : returns an unfitted model to audit in place of the registered one of that name.

    Raises
    ------
    HistoryError
        There are too few sessions to fit the model, or GJR-GARCH beside it.
    MissingPackageError
        The model is a network, and TensorFlow is not installed.
    UsageError
        There is no model of that name.
    """
    config = config or RecurrentConfig()
    create(model, config)  # says so at once if there is none
    if make is None:
        require_fittable([model])
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

    quick = replace(config, epochs=min(config.epochs, QUICK_EPOCHS), seeds=1)

    def next_session() -> Model:
        return build(replace(quick, horizon=1))

    def seeded(number: int) -> Model:
        horizon = 1 if number else config.horizon  # the others are compared by the next session
        seed = config.seed + number * config.seeds
        return build(replace(config, seed=seed, horizon=horizon))

    steps, total = count(), STEPS + (events is not None)

    def step(title: str) -> Progress:
        done = next(steps)
        progress(done, total, title)
        return lambda _, __, text: progress(done, total, f"{title}: {text}")

    until = folds[0].until
    panel = Panel.of(frame, events=events, companions=companions)
    trained = _fitted(seeded(0), panel, until, step("fit"))
    known = events, companions
    checks = [
        forecast_look_ahead(trained, frame, folds, step("look-ahead of forecasts"), *known),
        fit_look_ahead(lambda: build(quick), frame, folds, step("look-ahead of fits"), *known),
        shuffled_returns(next_session, frame, folds, step("shuffled returns")),
        lag(_forecasts(trained, frame, folds, *known)),
        *simulated(next_session, step("simulated market")),
        parity(trained, build(config), frame, folds, step("parity"), *known),
        seed_luck(trained, seeded, seeds, frame, folds, step("seeds"), *known),
    ]
    if events is not None:
        progressed = step("events")
        checks.append(
            event_stress(trained, seeded(0), frame, folds, events, progressed, companions)
        )
    progress(total, total, "audited")
    return checks


def forecast_look_ahead(
    model: Model,
    frame: pd.DataFrame,
    folds: Sequence[Fold],
    progress: Progress = silent,
    events: pd.DataFrame | None = None,
    companions: pd.DataFrame | None = None,
) -> Check:
    """Check that forecasts stay the same, bit for bit, when all that came after their cutoff is rewritten.

    The fitted model forecasts from every session of the folds, up to its horizon ahead; the future is
    rewritten after cutoffs beside each refit and halfway: later prices, and events that were not public
    yet. The future of a ticker begins at the instant its own exchange closes, whatever the date is
    elsewhere, so each exchange has a future of its own.
    """
    ahead = _ahead(model)
    ours = _forecasts(model, frame, folds, events, companions, ahead)
    cutoffs = _cutoffs(frame, folds)
    exchanges = frame["ticker"].drop_duplicates().map(exchange)
    steps = list(product(cutoffs, exchanges.unique()))
    exchange_of = dict(zip(frame["ticker"].unique(), exchanges, strict=True))
    compared = changed = 0
    for done, (cutoff, observer) in enumerate(steps):
        progress(done, len(steps), str(cutoff))
        other = rewritten(frame, cutoff, observers=[observer], seed=done)
        beside = companions
        if companions is not None:
            beside = rewritten(companions, cutoff, observers=[observer], seed=done)
        scheduled = events
        if events is not None:
            scheduled = rescheduled(events, cutoff, seed=done)
        theirs = _forecasts(model, other, folds, scheduled, beside, ahead)
        pair = [
            f[(f["cutoff"] <= pd.Timestamp(cutoff)) & (f["ticker"].map(exchange_of) == observer)]
            for f in (ours, theirs)
        ]
        compared += len(pair[0])
        changed += _differing(*(f.drop(columns=["date", "log_return"]) for f in pair))
    if changed:
        words = f"of {compared:,} forecasts{_far(ahead)} read what came after their cutoff: the model peeks"
    else:
        what = "prices" if events is None else "prices and unannounced events"
        words = (
            f"of {compared:,} forecasts{_far(ahead)}, when all {what} after {len(cutoffs)} cutoffs were "
            "rewritten"
        )
    return Check("look-ahead of forecasts", changed == 0, changed, "changed", words)


def fit_look_ahead(
    make: Callable[[], Model],
    frame: pd.DataFrame,
    folds: Sequence[Fold],
    progress: Progress = silent,
    events: pd.DataFrame | None = None,
    companions: pd.DataFrame | None = None,
) -> Check:
    """Check that a fit stays the same, bit for bit, when all prices after its cutoff are rewritten.

    Two models are fitted until the first refit, and two until the last: one on the prices, one on
    rewritten prices. Both forecast the same sessions, up to their horizon ahead.
    """
    compared = changed = 0
    ahead: tuple[int, ...] = ()
    exchanges = set(map(exchange, frame["ticker"].unique()))
    for fold in dict.fromkeys([folds[0], folds[-1]]):
        pair = []
        others = None if events is None else rescheduled(events, fold.until)
        beside = companions
        if companions is not None:
            beside = rewritten(companions, fold.until, observers=exchanges)
        for seen, scheduled, its in (
            (frame, events, companions),
            (rewritten(frame, fold.until), others, beside),
        ):
            model = make()
            model.fit(Panel.of(seen, events=scheduled, companions=its), fold.until, progress)
            ahead = _ahead(model)
            pair.append(_forecasts(model, frame, [fold, folds[-1]], events, companions, ahead))
        compared += len(pair[0])
        changed += _differing(*pair)
    if changed:
        words = f"of {compared:,} forecasts{_far(ahead)} depend on what came after the fit: the fit peeks"
    else:
        what = "prices" if events is None else "prices and unannounced events"
        words = (
            f"of {compared:,} forecasts{_far(ahead)}, when all {what} after the fit's cutoff were "
            "rewritten"
        )
    return Check("look-ahead of fits", changed == 0, changed, "changed", words)


def shuffled_returns(
    make: Callable[[], Model],
    frame: pd.DataFrame,
    folds: Sequence[Fold],
    progress: Progress = silent,
) -> Check:
    """Check that a model fitted on returns in random order does not beat a constant distribution.

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
    ours = _forecasts(model, frame, folds)
    ours = ours[ours["ticker"].isin(list(shapes))]
    constant = np.array([shapes[ticker] for ticker in ours["ticker"]]).T  # (3, rows)
    gap, p_value = _gap(ours, _beside(ours, *constant))
    passed = gap > -NEGLIGIBLE or p_value >= CHANCE
    words = "CRPS above a constant Student-t's on sessions in random order: " + (
        "no skill where none can be" if passed else "skill where none can be, so it leaks"
    )
    return Check("shuffled returns", passed, 100 * gap, "%", words)


def lag(frame: pd.DataFrame) -> Check:
    """Check that the medians of a forecasts frame are not old prices in disguise.

    "Tomorrow's price is yesterday's", a moving average and a network that was taught price levels
    look good when drawn over the prices, because prices move little in a day. As a forecast of the
    return each predicts that the last moves will be reversed: the medians are as large as the returns,
    past returns explain them, and their error is larger than that of "tomorrow is today". The check
    fails where the root mean square of the medians is above ``CLAIM`` of that of the returns, and
    their error is above naive's with a one-sided p-value of the Diebold-Mariano test below ``CHANCE``.
    """
    rows = frame[frame["log_return"].notna()].sort_values(["ticker", "cutoff"])
    ticker = rows["ticker"]
    typical = np.sqrt((rows["log_return"] ** 2).groupby(ticker).transform("mean"))
    median, moved = rows["q0.5"] / typical, rows["log_return"] / typical
    size = float(np.sqrt(np.mean(median**2) / np.mean(moved**2)))
    past = np.column_stack([moved.groupby(ticker).shift(k) for k in range(1, 6)])  # (rows, 5)
    explained = _explained(median.to_numpy(), past)
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
        words += f", {explained:.0%} of it explained by the last five: old prices in disguise"
    elif size > CLAIM:
        words += ", and is right often enough"
    return Check("lag", passed, ratio, "relMAE", words)


def simulated(make: Callable[[], Model], progress: Progress = silent) -> list[Check]:
    """Check coverage and CRPS in a market of :mod:`forecaster.data.simulation`, whose truth is known.

    The model is fitted on three quarters of it. The coverages of the 80, 90 and 95% intervals may
    miss by ``COVERAGE_LIMIT``, the CRPS may be above the truth's by ``TRUTH_LIMIT``. It may not be
    lower by more than ``NEGLIGIBLE`` with a one-sided p-value of the Diebold-Mariano test below
    ``CHANCE``: only the future knows more than the truth.
    """
    world = simulation.world()
    panel = Panel.of(world.prices)
    until, last = panel.sessions[int(TRAINED * len(panel.sessions))], panel.sessions[-2]
    ours, naive = (
        _fitted(model, panel, until, progress).forecast(panel, until, last)
        for model in (make(), create("naive"))
    )
    truth = ours[["ticker", "date"]].merge(world.truth, on=["ticker", "date"], how="left")
    beside = _beside(ours, *(truth[name].to_numpy() for name in forecasts.STUDENT_T))

    inside = metrics.losses(ours)[[f"inside_{percent}" for percent in metrics.COVERAGES]].mean()
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

    gap, p_value = _gap(ours, beside)
    naive_gap, _ = _gap(naive, beside)
    limit = WINDOW_LIMIT if ours["model"].iloc[0] in WINDOWED else TRUTH_LIMIT
    leaks = gap < -NEGLIGIBLE and p_value < CHANCE
    if leaks:
        words = "better than the truth, so it peeks"
    else:
        words = f"{'within' if gap <= limit else 'not within'} {limit:.1%}"
    crps = Check(
        "simulated CRPS",
        not leaks and gap <= limit,
        100 * gap,
        "%",
        f"CRPS above the true distribution's in that market (naive {100 * naive_gap:.2f}%): {words}",
    )
    return [coverage, crps]


def parity(
    model: Model,
    again: Model,
    frame: pd.DataFrame,
    folds: Sequence[Fold],
    progress: Progress = silent,
    events: pd.DataFrame | None = None,
    companions: pd.DataFrame | None = None,
) -> Check:
    """Check that the backtest and ``predict`` agree bit for bit.

    At cutoffs beside each refit and halfway, the rows of a backtest, one for each step up to the model's
    horizon, are compared with the output of ``predict`` as of that day, and with what it would have been
    that evening: from the model restored into ``again``, with no later price stored.
    """
    run = _run(model, frame, folds[0].until)
    restored = _run(again, frame, folds[0].until)
    restored.model.restore(model.state())
    tickers = sorted(frame["ticker"].unique())
    ahead, keys = _ahead(model), ["ticker", "cutoff", "step"]
    spec = BacktestSpec((model.name,), steps=ahead)
    table = walk_forward.forecast_history(
        frame, spec, events=events, companions=companions, trained=run
    ).forecasts
    cutoffs = _cutoffs(frame, folds)
    compared = differing = 0
    for done, cutoff in enumerate(cutoffs):
        progress(done, len(cutoffs), str(cutoff))
        day = _date(cutoff)
        stored, beside = frame[frame["date"] <= pd.Timestamp(cutoff)], companions
        if companions is not None:
            beside = companions[companions["date"] <= pd.Timestamp(cutoff)]
        later, evening = (
            forecasting.predict_each(
                it, known, tickers=tickers, events=events, companions=its, as_of=day, steps=ahead
            ).table
            for it, known, its in ((run, frame, companions), (restored, stored, beside))
        )
        rows = later[keys].merge(table, on=keys)
        later = later.merge(rows[keys], on=keys)
        evening = evening.merge(rows[keys], on=keys)
        # The next session's date and return were not known that evening.
        unknown = ["date", "log_return"]
        compared += 2 * len(rows)
        differing += _differing(rows, later)
        differing += _differing(rows.drop(columns=unknown), evening.drop(columns=unknown))
    passed = compared > 0 and differing == 0
    words = f"of {compared:,} predictions{_far(ahead)} from the backtest's rows: " + (
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
    events: pd.DataFrame | None = None,
    companions: pd.DataFrame | None = None,
) -> Check:
    """Compare the CRPS of trainings from several seeds with that of GJR-GARCH and naive.

    ``model`` is fitted, from the first of the seeds. A spread alone is no fault: the check fails only
    if the CRPS of a seed is ``NAIVE_LIMIT`` or more above naive's, so that a good score of another
    was luck.
    """
    panel, until = Panel.of(frame, events=events, companions=companions), folds[0].until
    others = [seeded(number) for number in range(1, seeds)]
    fitted = [_fitted(m, panel, until, progress) for m in (*others, create("gjr"), create("naive"))]
    names = [*(f"seed {number}" for number in range(seeds)), "gjr", "naive"]
    tables = [
        _forecasts(m, frame, folds, events, companions).assign(model=name)
        for m, name in zip([model, *fitted], names, strict=True)
    ]
    losses = metrics.common(metrics.losses(forecasts.concat(tables)))
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


def event_stress(
    model: Model,
    without: Model,
    frame: pd.DataFrame,
    folds: Sequence[Fold],
    events: pd.DataFrame,
    progress: Progress = silent,
    companions: pd.DataFrame | None = None,
) -> Check:
    """Measure what the announcements are worth, and what of it is left where their dates are worse.

    ``model`` knows of them; ``without``, of the same seed, is fitted and asked without them. The dates
    after the fit are then spoiled in each way of
    :data:`forecaster.backtesting.alternative_histories.SPOILED`. The check fails if dates as they are
    raise the CRPS by more than ``NEGLIGIBLE`` with a one-sided p-value of the Diebold-Mariano test
    below ``CHANCE``.
    """
    until = folds[0].until
    fitted = _fitted(without, Panel.of(frame, companions=companions), until, progress)
    plain = _forecasts(fitted, frame, folds, None, companions)

    def gain(scheduled: pd.DataFrame) -> tuple[float, float]:
        ours = _forecasts(model, frame, folds, scheduled, companions)
        gap, _ = _gap(ours, plain.assign(model="beside"))
        _, p_worse = _gap(plain, ours.assign(model="beside"))
        return -100 * gap, p_worse

    whole, worse = gain(events)
    words = "of CRPS gained by dates of earnings"
    if whole > 0:
        left = {how: gain(spoiled(events, how, until))[0] / whole for how in SPOILED}
        words += "; left of it with " + ", ".join(f"{how} {it:.0%}" for how, it in left.items())
    passed = whole > -100 * NEGLIGIBLE or worse >= CHANCE
    return Check("events", passed, whole, "%", words)


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


def _ahead(model: Model) -> tuple[int, ...]:
    """The steps that a model forecasts by themselves, and its horizon, which may lie between two."""
    return horizons.check([*(it for it in horizons.KNOTS if it <= model.horizon), model.horizon])


def _far(steps: Sequence[int]) -> str:
    """How far ahead forecasts are, where it is farther than the next session."""
    return f" up to {max(steps)} sessions ahead" if max(steps) > 1 else ""


def _forecasts(
    model: Model,
    frame: pd.DataFrame,
    folds: Sequence[Fold],
    events: pd.DataFrame | None = None,
    companions: pd.DataFrame | None = None,
    steps: Sequence[int] = (1,),
) -> pd.DataFrame:
    panel = Panel.of(frame, events=events, companions=companions)
    table = model.forecast(panel, folds[0].first, folds[-1].last, steps)
    if table.empty:
        raise HistoryError(
            f"{model.name} has no forecast from {folds[0].first} to {folds[-1].last}, so there is "
            "nothing to audit; fetch earlier prices"
        )
    return table


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
    """The number of forecasts that differ between two frames in any bit."""
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


def _gap(table: pd.DataFrame, beside: pd.DataFrame) -> tuple[float, float]:
    """Relative excess of the CRPS over another's, and the one-sided p-value of it being lower.

    Both CRPS are of the quantiles, which every model has.
    """
    losses = metrics.losses(forecasts.concat([table, beside]))
    a, b = by_day(losses, table["model"].iloc[0], "beside", "crps")
    return float(a.mean() / b.mean() - 1), _p_lower(a, b)


def _p_lower(a: ArrayLike, b: ArrayLike) -> float:
    """One-sided p-value of the mean of ``a`` not being lower than that of ``b``."""
    return diebold_mariano(a, b).p_lower


def _explained(values: np.ndarray, by: np.ndarray) -> float:
    """R² of a linear regression with a constant on rows without nulls; 0 for constant values."""
    known = np.isfinite(by).all(axis=1)
    y, x = values[known], np.column_stack([np.ones(known.sum()), by[known]])
    spread = ((y - y.mean()) ** 2).sum()
    if spread == 0:
        return 0.0
    residuals = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return float(1 - (residuals**2).sum() / spread)
