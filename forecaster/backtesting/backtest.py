"""Backtests: every model through history, fold by fold, on the same days.

A model is fitted on what was known at the start of a fold and asked for every session until the
next refit. A trained run stands for its model as it is; it is never refitted, and it forecasts
only what came after it was trained.
"""

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.backtesting.provenance import ForecastFile, Provenance
from forecaster.backtesting.spec import BacktestSpec
from forecaster.backtesting.walk_forward import WalkForwardForecasts, forecast_history
from forecaster.distributions.parts import Parts
from forecaster.errors import HistoryError, first_few
from forecaster.evaluation import metrics
from forecaster.evaluation.evaluate import Evaluation, evaluate
from forecaster.evaluation.experiment_log import Company, Experiment, others
from forecaster.evaluation.verdict import WHOLE, Given, Verdict, together
from forecaster.models.protocol import Progress, silent
from forecaster.parallel import jobs
from forecaster.runs.run import Run, versions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backtest:
    """The forecasts of a backtest, and what the statistics say of them."""

    parts: Parts
    """The forecasts of all models and steps, on disk where they are many."""
    tables: dict[str, pd.DataFrame]
    """All statistics of the shortest step by name; see
    :class:`forecaster.evaluation.evaluate.Evaluation`. And
    ``fallbacks``: model, until and ticker of the fits that did not converge, for which fixed
    parameters stand in. And ``seeds`` and ``reactions``, of :class:`.walk_forward.WalkForwardForecasts`."""
    verdict: Verdict
    """On the first model."""
    provenance: Provenance
    """The request, the folds, the prices and the versions they come from."""
    ahead: dict[int, Evaluation] = field(default_factory=dict)
    """Statistics and verdict of every further step, ascending"""

    @property
    def forecasts(self) -> pd.DataFrame:
        """The forecasts frame of all models and steps, in memory."""
        return self.parts.whole()

    @property
    def scores(self) -> pd.DataFrame:
        """:func:`forecaster.evaluation.metrics.scores`"""
        return self.tables["scores"]

    @property
    def comparison(self) -> pd.DataFrame:
        """:func:`forecaster.evaluation.significance.compare` on the days that all models forecast"""
        return self.tables["significance"]


def run(
    frames: pd.DataFrame | Iterable[pd.DataFrame],
    spec: BacktestSpec,
    *,
    events: pd.DataFrame | None = None,
    companions: pd.DataFrame | None = None,
    trained: Run | None = None,
    engine: jobs.Engine = jobs.LOCAL,
    folder: Path | None = None,
    resume: bool = False,
    earlier: Sequence[Experiment] = (),
    progress: Progress = silent,
) -> Backtest:
    """Forecast every session from the one before it, or from several before, and score the forecasts.

    Parameters
    ----------
    frames : the prices frame of the tickers and of the universe of ``trained``, or one for each.
    spec : what is asked for.
    events : the events frame of any tickers.
    companions : the prices frame of the indices that they are seen beside.
    trained : stands for its model, if that is among the models.
    engine, folder, resume : who works, where finished parts are kept, and whether to go on from
        them; see :func:`forecaster.backtesting.walk_forward.forecast_history`.
    earlier : the experiments on these tickers and days before; see
        :mod:`forecaster.evaluation.experiment_log`.

    Raises
    ------
    EngineError
        The engine could not be reached or was lost.
    HistoryError
        The dates lie within the training span of ``trained``, or there is too little history.
    ResumeError
        There is nothing to resume, or what it began with has changed.
    UsageError
        There is no such model, or a model is named twice.
    """
    made = forecast_history(
        frames,
        spec,
        events=events,
        companions=companions,
        trained=trained,
        engine=engine,
        folder=folder,
        resume=resume,
        progress=progress,
    )
    return evaluated(made, made.parts, trained=trained, earlier=earlier, warn=True)


def evaluated(
    made: WalkForwardForecasts,
    parts: Parts,
    *,
    trained: Run | None = None,
    file: ForecastFile | None = None,
    earlier: Sequence[Experiment] = (),
    given: Given = WHOLE,
    warn: bool = False,
) -> Backtest:
    """Return the backtest of some forecasts, evaluated step by step.

    Parameters
    ----------
    made : the walk-forward forecasts that they come from, for the request, the fits that did not
        converge and the variance of the days forecast.
    parts : the forecasts to evaluate, with those of a file if one is scored.
    trained : the run that stood for its model.
    file : the file that is scored.
    earlier : the experiments on these tickers and days before.
    given : what the forecasts give of their distributions, for the verdict.
    warn : of tickers and forecasts that are not scored.
    """
    survey = _Survey.of(parts)
    if warn:
        survey.warn(made.spec.tickers)
    provenance = Provenance(
        spec=replace(made.spec, start=survey.first, end=survey.last),
        scored_tickers=tuple(sorted(survey.scored)),
        folds=tuple(made.folds),
        prices=made.prices,
        versions=versions(),
        run=trained.summary if trained else None,
        run_settings=trained.settings if trained else None,
        file=file,
    )
    company = others(earlier, provenance.experiments())
    by_step = {
        step: _evaluation(
            made, its, parts is made.parts, provenance.models[0], company, given, with_seeds=not at
        )
        for at, (step, its) in enumerate(
            _by_step(
                parts,
                survey.steps.get(provenance.models[0], set()),
                provenance.models[0],
                made.spec.steps,
            )
        )
    }
    shortest, *further = by_step
    first = by_step[shortest]
    return Backtest(
        parts=parts,
        tables=first.tables | {"fallbacks": made.fallbacks, "reactions": made.reactions},
        verdict=together([it.verdict for it in by_step.values()]),
        provenance=replace(provenance, tried=company.experiments),
        ahead={step: by_step[step] for step in further},
    )


def _by_step(
    parts: Parts, scored: Collection[int], model: str, steps: Sequence[int]
) -> list[tuple[int, Parts]]:
    """The forecasts of each step, ascending, but for steps of whose outcomes none is known.

    Parameters
    ----------
    scored : the steps of which an outcome of the model is known.
    """
    if len(steps) == 1:
        return [(steps[0], parts)]
    known = [step for step in steps if step in scored]
    if missing := [str(step) for step in steps if step not in known]:
        log.warning(
            "no outcome is known of the forecasts of %s %s sessions ahead, so nothing is said of them",
            model,
            ", ".join(missing),
        )
    if not known:
        raise HistoryError(
            f"expected forecasts of {model} whose outcome is known, came none; score a longer span"
        )
    return [(step, parts.of_step(step)) for step in known]


def _evaluation(
    made: WalkForwardForecasts,
    parts: Parts,
    is_whole: bool,
    model: str,
    company: Company,
    given: Given,
    *,
    with_seeds: bool,
) -> Evaluation:
    """The evaluation of the forecasts of one step; the seeds are of the shortest alone."""
    return evaluate(
        parts,
        made.variance if is_whole else made.variance.whole(),
        model=model,
        seeds=made.seeds if with_seeds else None,
        reactions=made.reactions,
        company=company,
        cost_bp=made.spec.cost_bp,
        given=given,
    )


def experiments(backtest: Backtest) -> list[Experiment]:
    """Return the experiment that each model was, with its Sharpe ratios, to be recorded."""
    table = backtest.tables.get("strategy")
    if table is None:  # of no next-session forecasts
        return backtest.provenance.experiments()
    sharpes = (table["sharpe"] / np.sqrt(table["sessions_a_year"])).groupby(table["model"])
    by_model = {model: its.dropna().tolist() for model, its in sharpes}
    return [replace(it, sharpes=by_model[it.model]) for it in backtest.provenance.experiments()]


@dataclass
class _Survey:
    """What there is of forecasts, and what of it is scored, as every model has it."""

    first: date
    last: date
    scored: set[str]
    """Tickers"""
    steps: dict[str, set[int]]
    """Steps of each model of whose outcomes some are known"""
    rows: int = 0
    """Forecasts of the tickers that are scored"""
    common: int = 0
    """Those of them that are scored"""

    @classmethod
    def of(cls, parts: Parts) -> "_Survey":
        columns = ["ticker", "model", "cutoff", "date", "step", "log_return"]
        days: list[pd.Timestamp] = []
        steps: dict[str, set[int]] = {}
        for rows in parts.columns(columns):
            days += [rows["date"].min(), rows["date"].max()]
            its = metrics.known(rows)[["model", "step"]].drop_duplicates()
            for model, step in zip(its["model"], its["step"], strict=True):
                steps.setdefault(model, set()).add(step)
        days = [day for day in days if day == day]
        survey = cls(min(days).date(), max(days).date(), set(), steps)
        for rows in parts.columns(columns):
            known = metrics.known(rows)
            common = metrics.common(known, len(steps))
            tickers = set(common["ticker"].unique())
            survey.scored |= tickers
            survey.rows += int(known["ticker"].isin(tickers).sum())
            survey.common += len(common)
        return survey

    def warn(self, tickers: Sequence[str]) -> None:
        """Warn of the tickers and forecasts that are not scored, as not every model has them."""
        missing = sorted(set(tickers) - self.scored)
        if missing:
            log.warning(
                "%d of %d tickers are not scored, because a model has no forecast of them: %s",
                len(missing),
                len(tickers),
                first_few(missing),
            )
        if left_out := self.rows - self.common:
            log.warning(
                "%d of %d forecasts of the other tickers are not scored, because not every model has "
                "one for that ticker and session",
                left_out,
                self.rows,
            )
