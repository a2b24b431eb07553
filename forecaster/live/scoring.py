"""The running record of a run: what its recorded forecasts were worth, beside the same nights' baselines.

What counts is on time and has come. Late forecasts, made after the session had opened, are scored
apart; tickers of which no price ever came are named. Scores of the run are of all its rows, ratios to a
baseline of the rows that both have, by the same CRPS and intervals as those of a backtest.

Of the next session there is evidence that may be looked at every day: an e-process of the CRPS
(:mod:`forecaster.evaluation.e_process`) against each baseline in both directions, and a confidence
sequence of each coverage (:mod:`forecaster.evaluation.confidence_sequence`). Both go by dates, up to
the last of whose forecasts none is open, so that no day is judged by the tickers that came first. Of
several sessions there is none, as their forecasts overlap.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import numpy as np
import pandas as pd

from forecaster.backtesting import archive, folders
from forecaster.distributions import forecasts, quantile_grid
from forecaster.errors import BundleError, HistoryError, StoreError, did_you_mean, first_few
from forecaster.evaluation import confidence_sequence, e_process, metrics
from forecaster.evaluation.claims import title
from forecaster.evaluation.confidence_sequence import Bounds
from forecaster.evaluation.e_process import ENOUGH, Evidence
from forecaster.evaluation.metrics import BASELINES
from forecaster.live import database, ledger
from forecaster.live.outcomes import EMPTY
from forecaster.runs import bundle
from forecaster.runs.run import Run

NOMINAL = (0.8, 0.95)
"""Coverages that are scored."""

COMPANY = tuple(reversed(BASELINES))
"""The baselines, the one that is harder to beat first."""

_NIGHT = ["ticker", "cutoff"]
_PAIR = [*_NIGHT, "step", "late"]


@dataclass(frozen=True)
class Comparison:
    """The CRPS of a run beside a baseline's, on the rows that both have."""

    against: str
    rows: int
    sessions: int
    """Dates that the evidence is of"""
    ratio: float
    """Below 1 the run is better"""
    better: Evidence | None
    """That it is better; None of several sessions and of late forecasts"""
    worse: Evidence | None

    @property
    def text(self) -> str:
        """What is shown, in a sentence."""
        name = title(self.against)
        if self.better is None or self.worse is None:
            return f"A CRPS of {self.ratio:.4f} of {name}'s."
        shown = [
            f"shown {word} than {name}, since session {it.shown} (E reached {_e(it.largest)})"
            for word, it in (("better", self.better), ("worse", self.worse))
            if it.shown is not None
        ]
        if shown:
            return f"After {_sessions(self.sessions)}: {', and '.join(shown)}."
        word, it = max(
            ("better", self.better), ("worse", self.worse), key=lambda pair: pair[1].largest
        )
        return (
            f"After {_sessions(self.sessions)}: not yet shown better or worse than {name} (E = "
            f"{_e(it.largest)} of the {ENOUGH:g} that would show it {word})."
        )


@dataclass(frozen=True)
class Coverage:
    """How often an interval held what came."""

    nominal: float
    share: float
    bounds: Bounds | None
    """Of the true share, on all days at once; None of several sessions and of late forecasts"""

    @property
    def is_kept(self) -> bool | None:
        """Whether what is promised is within the bounds; None without any."""
        return None if self.bounds is None else self.bounds.has(self.nominal)

    @property
    def text(self) -> str:
        """Promise and share, and what can be said of it."""
        words = f"{self.nominal:.0%} intervals held {self.share:.1%}"
        if self.bounds is None:
            return words
        if np.isnan(self.bounds.low):
            return f"{words}, and no steady share fits what came"
        low, high = self.bounds
        span = f"{words} (with 95% confidence the true share is {low:.1%} to {high:.1%})"
        if self.is_kept:
            return span
        return f"{span}: too {'narrow' if high < self.nominal else 'wide'}"


@dataclass(frozen=True)
class StepRecord:
    """The record of forecasts so many sessions ahead."""

    step: int
    rows: int
    tickers: int
    first: pd.Timestamp
    last: pd.Timestamp
    """First and last date that came"""
    crps: float
    """Mean, in percent of log return"""
    coverages: tuple[Coverage, ...]
    comparisons: tuple[Comparison, ...]
    """With each baseline that was recorded beside it"""

    def over(self, baseline: str) -> float | None:
        """Return the ratio of the CRPS to a baseline's, None where it was not recorded."""
        return next((it.ratio for it in self.comparisons if it.against == baseline), None)


@dataclass(frozen=True)
class Record:
    """The record of a run."""

    runs: tuple[str, ...]
    """The run, or those that forecast in turn"""
    model: str
    """Of the last of them"""
    rows: int
    """How many forecasts there are, of whatever step and status"""
    steps: tuple[StepRecord, ...]
    """On time, the shortest step first"""
    late: tuple[StepRecord, ...]
    """Made after the session had opened"""
    open: int
    """Forecasts whose session has not come yet"""
    moved: int
    """Forecasts whose session was another than the calendar said; they count"""
    vanished: tuple[str, ...]
    """Tickers of which no price came"""

    @property
    def run(self) -> str:
        """The run, the last of several."""
        return self.runs[-1]


@dataclass(frozen=True)
class Promise:
    """What the last backtest of a run said of it."""

    start: str
    end: str
    """First and last date that it forecast, YYYY-MM-DD"""
    words: str
    """Its verdict"""
    scores: dict[int, dict[str, float]]
    """By step: `SCORES`; empty where the backtest was kept outside the home or removed"""


SCORES = ("crps", "crps/gjr", "crps/naive", "coverage_80", "coverage_95")
"""Of :func:`forecaster.evaluation.metrics.pooled`, those that a promise is made of."""


def promise(home: Path, run: str) -> Promise | None:
    """Return what the last backtest of a run in a home said of it, None without one, or without the run."""
    try:
        trained = bundle.load(home, run)
    except BundleError:
        return None
    said = bundle.last_verdict(trained, home)
    if said is None:
        return None
    scores: dict[int, dict[str, float]] = {}
    for folder in _backtests_of(trained, home):
        with suppress(StoreError):
            for step, table in archive.read_scores(folder).items():
                its = metrics.pooled(table).reindex(
                    index=[trained.model.name], columns=list(SCORES)
                )
                pairs = zip(SCORES, its.to_numpy()[0].tolist(), strict=True)
                scores[step] = {name: value for name, value in pairs if np.isfinite(value)}
            break
    return Promise(said.start, said.end, said.summary or said.verdict, scores)


def _backtests_of(run: Run, home: Path) -> Iterator[Path]:
    """Yield the folders of the backtests of a run, the one that was written last first."""
    written = {it: folders.written_at(it) or 0.0 for it in folders.stored(home).values()}
    for folder in sorted(written, key=lambda it: written[it], reverse=True):
        with suppress(StoreError):
            its = folders.read_provenance(folder)
            mine = its.run and (its.run["name"], its.run["created"]) == (run.name, run.created)
            if mine and its.models[0] == run.model.name:
                yield folder


def choose(home: Path, run: str | None = None) -> str:
    """Return the name of the run whose record is to be shown.

    Parameters
    ----------
    run : by default that with the most settled forecasts of the next session, the latest of equals.

    Raises
    ------
    HistoryError
        The ledger has no forecast by a run, or none by this one.
    """
    nothing: list[tuple[str]] = []
    runs = [name for (name,) in database.reading(home, _runs, nothing)]
    if not runs:
        raise HistoryError(EMPTY)
    if run is None:
        return runs[0]
    if run not in runs:
        raise HistoryError(
            f"the ledger has no forecast by the run {run!r}; {did_you_mean(run, runs)}it has those of "
            f"{', '.join(sorted(runs))}"
        )
    return run


def _runs(ledger: Connection) -> list[tuple[str]]:
    """Return the runs, the one with the most settled forecasts first."""
    return ledger.execute(
        "SELECT f.run FROM forecasts f LEFT JOIN settlements s ON s.ticker = f.ticker AND "
        f"s.cutoff = f.cutoff AND s.step = f.step AND status <> '{database.VANISHED}' AND s.step = 1 "
        "WHERE f.run <> '' GROUP BY f.run ORDER BY count(s.id) DESC, max(f.id) DESC"
    ).fetchall()


def rows_of(
    home: Path, run: str | None, first: date | None = None, last: date | None = None
) -> pd.DataFrame:
    """Return a run's rows of the ledger, and after them those of the baselines of the same nights.

    Parameters
    ----------
    run : None means all, as they forecast in turn: of each forecast the one that was recorded first.
    first, last : the first and the last date forecast.
    """
    others = ledger.read(home, run="", first=first, last=last)
    own = ledger.read(home, run=run, first=first, last=last)  # in the order of their making
    own = own[own["run"] != ""].drop_duplicates([*_NIGHT, "step"])
    # A baseline of the run's own model would be taken for it.
    others = others[others["model"].isin(set(COMPANY) - set(own["model"]))]
    nights = pd.MultiIndex.from_frame(own[_NIGHT])
    others = others[pd.MultiIndex.from_frame(others[_NIGHT]).isin(nights)]
    return pd.concat([own, others], ignore_index=True) if len(others) else own


def frame_of(rows: pd.DataFrame, *, late: bool = False) -> pd.DataFrame:
    """Return :func:`rows_of` as a forecasts frame.

    The date is that of the session that came, where it was another than the calendar said.

    Parameters
    ----------
    late : also those that were made after the session had opened.
    """
    rows = rows if late else rows[~rows["late"]]
    dates = rows["settled_date"].where(rows["status"] == "moved", rows["date"])
    return forecasts.check(rows.assign(date=dates)).reset_index(drop=True)


def record(home: Path, run: str | None) -> Record:
    """Return the record of a run, or of all as they forecast in turn.

    It is read month by month, as a year of 500 tickers would not fit into the memory of a small
    machine.

    Raises
    ------
    StoreError
        The ledger cannot be read.
    """
    ends = "SELECT (SELECT min(date) FROM forecasts), (SELECT max(date) FROM forecasts)"
    first, last = database.reading(home, lambda it: it.execute(ends).fetchone(), (None, None))
    with database.meaningful(home):
        months = pd.period_range(first, last, freq="M")
    spans = ((it.start_time.date(), it.end_time.date()) for it in months)
    parts = (measured(rows_of(home, run, *span)) for span in spans)
    return score(pd.concat([it for it in parts if len(it)], ignore_index=True))


def measured(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what is needed of each of a run's forecasts, from :func:`rows_of`.

    Returns
    -------
    A row for each: ticker, model, run, cutoff, date, step, late, status and settled_date as they are;
    and crps, inside_80 and inside_95, and of each baseline its CRPS (``crps_gjr``) and the
    :func:`forecaster.evaluation.e_process.advantage` over it (``z_gjr``); NaN where nothing came, or no
    forecast of the baseline was recorded that is late or in time as the run's is.
    """
    own = rows[rows["run"] != ""].reset_index(drop=True)
    came = metrics.known(own)
    table = own[["model", "run", *_PAIR, "date", "status", "settled_date"]].copy()
    table["crps"] = pd.Series(_crps(came), came.index)
    for nominal in NOMINAL:
        ends, x = forecasts.interval(came, nominal), came["log_return"].to_numpy()
        table[_inside(nominal)] = pd.Series(metrics.inside(*ends, x).astype(float), came.index)
    for baseline in COMPANY:
        others = metrics.known(rows[(rows["run"] == "") & (rows["model"] == baseline)])
        pairs = came[_PAIR].reset_index().merge(others[_PAIR].reset_index(), on=_PAIR)
        mine, theirs = came.loc[pairs["index_x"]], others.loc[pairs["index_y"]]
        crps, quantiles = (
            _crps(theirs),
            [it[forecasts.QUANTILES].to_numpy() for it in (mine, theirs)],
        )
        z = e_process.advantage(table.loc[mine.index, "crps"], crps, *quantiles)
        table[f"crps_{baseline}"] = pd.Series(crps, mine.index)
        table[f"z_{baseline}"] = pd.Series(z, mine.index)
    return table


def _crps(rows: pd.DataFrame) -> np.ndarray:
    return quantile_grid.crps(rows["log_return"], rows[forecasts.QUANTILES])


def _inside(nominal: float) -> str:
    return f"inside_{100 * nominal:.0f}"


def score(rows: pd.DataFrame) -> Record:
    """Return the record of the forecasts that :func:`measured` returns."""
    gone = rows["status"] == "vanished"
    return Record(
        runs=tuple(rows["run"].unique()),
        model=str(rows["model"].iloc[-1]),
        rows=len(rows),
        steps=tuple(_steps(rows[~rows["late"]], evidence=True)),
        late=tuple(_steps(rows[rows["late"]], evidence=False)),
        open=int(rows["status"].isna().sum()),
        moved=int((rows["status"] == "moved").sum()),
        vanished=tuple(sorted(rows.loc[gone, "ticker"].unique())),
    )


def _steps(frame: pd.DataFrame, *, evidence: bool) -> Iterator[StepRecord]:
    """Yield the record of each step of which anything has come."""
    for _, rows in frame.groupby("step"):
        came = rows[rows["crps"].notna()]
        if came.empty:
            continue
        step = int(came["step"].iloc[0])
        counted = came[came["date"] <= _last_complete(rows)] if evidence and step == 1 else None
        pairs = (_comparison(came, counted, name) for name in COMPANY)
        yield StepRecord(
            step=step,
            rows=len(came),
            tickers=came["ticker"].nunique(),
            first=came["settled_date"].min(),
            last=came["settled_date"].max(),
            crps=100 * float(came["crps"].mean()),
            coverages=tuple(_coverage(came, counted, nominal) for nominal in NOMINAL),
            comparisons=tuple(pair for pair in pairs if pair is not None),
        )


def _last_complete(rows: pd.DataFrame) -> pd.Timestamp:
    """The last date of whose forecasts none is open, NaT where there is none."""
    open_dates = rows.loc[rows["status"].isna(), "date"]
    last: pd.Timestamp = rows.loc[~rows["date"].isin(open_dates), "date"].max()
    return last


def _comparison(
    came: pd.DataFrame, counted: pd.DataFrame | None, baseline: str
) -> Comparison | None:
    """The run beside a baseline, None if they share no row; evidence is of the rows that are counted."""
    other = came[f"crps_{baseline}"].dropna()
    if other.empty:
        return None
    ratio = float(came.loc[other.index, "crps"].mean() / other.mean())
    if counted is None:
        return Comparison(baseline, len(other), 0, ratio, None, None)
    z = _by_day(counted, f"z_{baseline}")
    better, worse = e_process.evidence(z), e_process.evidence(-z)
    return Comparison(baseline, len(other), len(z), ratio, better, worse)


def _coverage(came: pd.DataFrame, counted: pd.DataFrame | None, nominal: float) -> Coverage:
    name, bounds = _inside(nominal), None
    if counted is not None:
        bounds = confidence_sequence.bounds(_by_day(counted, name))
    return Coverage(nominal, float(came[name].mean()), bounds)


def _by_day(counted: pd.DataFrame, name: str) -> np.ndarray:
    """Means of a column over the tickers of each date that has it, in order: (days,)."""
    values = counted[["date", name]].dropna()
    return values.groupby("date")[name].mean().to_numpy()


# ---- in words


def sentences(record: Record, promise: Promise | None = None) -> list[str]:
    """Return what a record says, for somebody who does not know what an e-value is."""
    names = (
        f"Runs {first_few(record.runs)} in turn" if len(record.runs) > 1 else f"Run {record.run}"
    )
    lines = [f"{names} ({record.model}), forecasts that were made before the day."]
    if record.steps and record.steps[0].step == 1:
        lines += _of_next_day(record.steps[0])
    elif not record.steps:
        lines.append("None of them has come in time to show anything.")
    if promise:
        lines += _of_promise(record, promise)
    late = sum(it.rows for it in record.late)
    if late:
        lines.append(
            f"{late:,} {_were(late)} made after the session had opened: late, and scored apart."
        )
    if record.moved:
        lines.append(
            f"{record.moved:,} came on another session than the calendar said, and {_are(record.moved)} "
            "counted."
        )
    if record.vanished:
        lines.append(f"No price came of {first_few(record.vanished)}, which can tell nothing.")
    if record.open:
        lines.append(f"{record.open:,} {_are(record.open)} open: their sessions are still to come.")
    return lines


def _of_next_day(its: StepRecord) -> list[str]:
    missing = [name for name in COMPANY if name not in [it.against for it in its.comparisons]]
    lines = [it.text for it in its.comparisons]
    if missing:
        names = " or ".join(map(title, missing))
        lines.append(
            f"No forecast by {names} was recorded beside it; `forecast daily` records both."
        )
    return [*lines, *(f"{it.text}." for it in its.coverages)]


def _of_promise(record: Record, promise: Promise) -> list[str]:
    lines = [f"Its backtest of {promise.start} to {promise.end}: {promise.words}"]
    for its in record.steps:
        said = promise.scores.get(its.step, {})
        pairs = [(name, said.get(f"crps/{name}"), its.over(name)) for name in COMPANY]
        parts = [
            f"a CRPS of {promised:.4f} of {title(name)}'s, and it was {came:.4f}"
            for name, promised, came in pairs
            if promised is not None and came is not None
        ]
        parts += [
            f"{promised:.1%} inside {it.nominal:.0%}, and it was {it.share:.1%}"
            for it in its.coverages
            if (promised := said.get(f"coverage_{100 * it.nominal:.0f}")) is not None
        ]
        ahead = "" if its.step == 1 else f" {its.step} sessions ahead"
        if parts:
            lines.append(f"It promised{ahead} {'; '.join(parts)}.")
    return lines


def _sessions(count: int) -> str:
    return f"{count:,} session{'' if count == 1 else 's'}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _e(value: float) -> str:
    """An E, with a decimal where it is small."""
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}" if value < 1e6 else f"{value:.0e}"


def document(record: Record, promise: Promise | None = None) -> dict[str, Any]:
    """Return a record, and what was promised, as JSON has them."""
    return {
        "run": record.run,
        "runs": list(record.runs),
        "model": record.model,
        "steps": [_step_document(it) for it in record.steps],
        "late": [_step_document(it) for it in record.late],
        "open": record.open,
        "moved": record.moved,
        "vanished": list(record.vanished),
        "promise": promise
        and {
            "start": promise.start,
            "end": promise.end,
            "verdict": promise.words,
            "steps": [{"step": step} | its for step, its in promise.scores.items()],
        },
        "summary": sentences(record, promise),
    }


def _step_document(its: StepRecord) -> dict[str, Any]:
    return {
        "step": its.step,
        "forecasts": its.rows,
        "tickers": its.tickers,
        "first": f"{its.first:%Y-%m-%d}",
        "last": f"{its.last:%Y-%m-%d}",
        "crps": its.crps,
        "coverage": [
            {
                "nominal": it.nominal,
                "share": it.share,
                "bounds": None if it.bounds is None or np.isnan(it.bounds.low) else list(it.bounds),
                "kept": it.is_kept,
            }
            for it in its.coverages
        ],
        "against": [
            {
                "model": it.against,
                "forecasts": it.rows,
                "sessions": it.sessions,
                "crps_ratio": it.ratio,
                "better": _evidence_document(it.better),
                "worse": _evidence_document(it.worse),
            }
            for it in its.comparisons
        ],
    }


def _evidence_document(its: Evidence | None) -> dict[str, Any] | None:
    return its and {
        "e": its.e,
        "largest": its.largest,
        "p_value": its.p_value,
        "shown_after": its.shown,
    }
