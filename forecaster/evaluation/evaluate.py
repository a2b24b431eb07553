"""All statistics of forecasts whose outcomes are known: tables, and a verdict.

A test of two models is of the rows that both have, what a model promises of itself is tested on its
own rows, and only tables that show all models side by side (scores, confidence_set, superior_ability
and strategy) are of the rows that all of them have. So no model changes what is said of another, but
for which cutoffs of several sessions are apart: they are counted from the first that any model has.

Forecasts of several sessions, made every session, overlap. Scores and tests of losses are of all of
them, with errors and bootstraps that know of the overlap; what takes the days as independent (the PIT,
intervals, value at risk, signs, means, encompassing, the alarm) is of cutoffs so far apart that no two
forecasts overlap (:func:`forecaster.evaluation.metrics.apart`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from forecaster.config import COST_BP
from forecaster.distributions.forecasts import probability_of_rise
from forecaster.distributions.parts import Parts
from forecaster.evaluation import (
    announced,
    calibration,
    clusters,
    decomposition,
    dynamic_quantile,
    encompassing,
    independence,
    metrics,
    murphy,
    predictability,
    significance,
    skill,
    stability,
    strategy,
    value_at_risk,
)
from forecaster.evaluation.alarm import Alarm, alarm_of
from forecaster.evaluation.claims import RIVALS
from forecaster.evaluation.columns import Columns
from forecaster.evaluation.daily import DailyLosses, together
from forecaster.evaluation.experiment_log import NO_COMPANY, Company
from forecaster.evaluation.panel import Panel
from forecaster.evaluation.survey import Survey
from forecaster.evaluation.variances import Variances
from forecaster.evaluation.verdict import WHOLE, Given, Verdict, judge
from forecaster.evaluation.wide import wide
from forecaster.parallel import malloc

SEEDS = ["model", "seed", "crps", "ratio"]

LOSSES = ("crps", "crps_lower", "crps_upper", "fz_95", "fz_99", "qlike", "qlike_range", "error")
"""By which models are compared: those of `metrics.losses`, the error of the median over the last close."""


@dataclass(frozen=True)
class Evaluation:
    """The statistics of models."""

    tables: dict[str, pd.DataFrame]
    """By name:

    =======================================  ===================================================
    scores                                   :func:`forecaster.evaluation.metrics.scores`
    significance                             :func:`forecaster.evaluation.significance.compare`, by
                                             `LOSSES`, against the baselines, and of the model with the
                                             verdict against each of its rivals
    tickers, confidence_set,                 also of :mod:`forecaster.evaluation.significance`
    superior_ability
    skill                                    :func:`forecaster.evaluation.skill.skill`
    years, stability                         of :mod:`forecaster.evaluation.stability`, by crps
    announced                                :func:`forecaster.evaluation.announced.announced`
    uniformity, coverage                     of :mod:`forecaster.evaluation.calibration`
    value_at_risk                            :func:`forecaster.evaluation.value_at_risk.value_at_risk`
    dynamic_quantile, independence,          of the modules of these names
    decomposition, encompassing, murphy
    direction, information, mean             of :mod:`forecaster.evaluation.predictability`
    seeds                                    what was given
    strategy                                 :func:`forecaster.evaluation.strategy.performance`, of
                                             next-session forecasts alone
    =======================================  ===================================================
    """
    verdict: Verdict
    """On one of the models."""


def evaluate(
    forecasts: pd.DataFrame | Parts,
    variance: pd.DataFrame | Parts,
    *,
    model: str,
    seeds: pd.DataFrame | None = None,
    reactions: pd.DataFrame | None = None,
    company: Company = NO_COMPANY,
    cost_bp: float = COST_BP,
    given: Given = WHOLE,
) -> Evaluation:
    """Evaluate the models of a forecasts frame, all of whose rows are as many sessions ahead.

    Parameters
    ----------
    forecasts : the forecasts frame, or its parts; rows whose return is not known are left out.
    variance : :func:`forecaster.dataset.features.realised_variance` of the days that came; in parts, of
        the tickers of those of the forecasts.
    model : whom the verdict is on.
    seeds : model, seed, crps and ratio (to their average) of networks alone, to be shown.
    reactions : ticker, date and since (sessions since the reaction session) of the sessions around
        announcements, to be scored apart.
    company : the other experiments on these tickers and days.
    cost_bp : of a trade, in basis points a side.
    given : what the forecasts give of their distributions, for the verdict.
    """
    parts = Parts.of(forecasts) if isinstance(forecasts, pd.DataFrame) else forecasts
    survey = Survey.of(parts)
    columns = Columns(survey.models, parts.folder)
    statistics = _Statistics(
        survey, columns, model, announced.NONE if reactions is None else reactions
    )
    for frame, days in _with_variance(parts, variance):
        frame = metrics.known(frame)
        if len(frame):
            statistics.add(frame, metrics.losses(frame, days))
            malloc.return_freed()
    tables = {"seeds": pd.DataFrame(columns=SEEDS) if seeds is None else seeds}
    tables |= statistics.of_parts() | statistics.of_days(model) | statistics.of_columns(model)
    if survey.step == 1:
        tables["strategy"] = statistics.strategy(cost_bp, company)
    tables = {name: tables[name] for name in _ORDER if name in tables}
    alarm = statistics.alarm(model, tables)
    return Evaluation(tables, judge(model, tables, alarm, given, step=survey.step))


_ORDER = (
    *("seeds", "scores", "significance", "tickers", "confidence_set", "superior_ability", "skill"),
    *("years", "stability", "announced", "uniformity", "coverage", "value_at_risk"),
    *("dynamic_quantile", "independence", "decomposition", "encompassing", "murphy", "direction"),
    *("information", "mean", "strategy"),
)
"""Tables as they follow each other in JSON."""


def _with_variance(
    parts: Parts, variance: pd.DataFrame | Parts
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Yield the forecasts of some tickers with the variance of their days."""
    if not isinstance(variance, pd.DataFrame):
        yield from zip(parts, variance, strict=True)
    elif len(parts) == 1:
        yield from ((frame, variance) for frame in parts)
    else:
        for frame in parts:
            yield frame, variance[variance["ticker"].isin(frame["ticker"].unique())]


_PAIRED = [f"q{1 - level:g}" for level in value_at_risk.RISK_LEVELS]
"""Quantiles that are read of all tickers together."""


class _Statistics:
    """All statistics, from the forecasts of some tickers after the other.

    What is of one ticker is made at once. What is of all tickers is read from the mean losses of each
    day, or from columns on disk.
    """

    def __init__(
        self, survey: Survey, columns: Columns, model: str, reactions: pd.DataFrame
    ) -> None:
        self._survey = survey
        self._pairs = [
            (it, other)
            for it in survey.models
            for other in metrics.BASELINES
            if other in survey.models and other != it
        ]
        self._rivals = [it for it in RIVALS if it in survey.models and it != model]
        compared = [*self._pairs, *((model, it) for it in self._rivals)]
        self._daily = DailyLosses(survey.models, LOSSES, compared)
        self._columns = columns
        self._scores = metrics.Scores()
        self._tickers: list[pd.DataFrame] = []
        self._announced = announced.Announced(reactions)
        self._of_calibration = {
            "uniformity": [calibration.uniformity_tests()],
            "coverage": [calibration.coverage_tests()],
            "value_at_risk": value_at_risk.tests_of_levels(),
        }
        self._quantiles = dynamic_quantile.Tests()
        self._independence = independence.Tests()
        self._signs = predictability.SignTests()

    def add(self, frame: pd.DataFrame, losses: pd.DataFrame) -> None:
        """Add the forecasts of some tickers, all of whose outcomes are known, and their losses."""
        models = len(self._survey.models)
        panel = Panel.of(losses)
        shared = panel.common(models)
        is_apart = frame["cutoff"].isin(self._survey.apart).to_numpy()
        apart = frame if is_apart.all() else frame[is_apart]
        relative = losses.assign(error=losses["error"] / losses["last_close"])
        self._scores.add(shared)
        self._tickers.append(significance.per_ticker(panel))
        self._daily.add(replace(panel, losses=relative))
        self._announced.add(losses, apart, models)
        self._columns.add(
            skill.compared(frame, losses).assign(
                is_shared=frame.index.isin(shared.index),
                is_apart=is_apart,
                rise=probability_of_rise(frame),
                naive_error=losses["naive_error"] / losses["last_close"],
                **{name: frame[name] for name in ("log_return", "mean", "volatility", "q0.5")},
                **{name: frame[name] for name in _PAIRED},
            )
        )
        if apart.empty:
            return
        labels = clusters.labelled(apart)
        for tests in self._of_calibration.values():
            for test in tests:
                test.add(apart, labels)
        self._quantiles.add(apart)
        self._independence.add(apart)
        self._signs.add(apart)

    def of_parts(self) -> dict[str, pd.DataFrame]:
        """Return the tables that were made of each part."""
        tickers = pd.concat(self._tickers, ignore_index=True)
        tests = {
            name: pd.concat([it.table() for it in tests], ignore_index=True)
            for name, tests in self._of_calibration.items()
        }
        return {
            "scores": self._scores.table(),
            "tickers": significance.corrected(tickers, ["model", "against"]),
            "announced": self._announced.table(),
            **tests,
            "independence": self._independence.table(),
            "direction": self._signs.table(),
        }

    def of_days(self, model: str) -> dict[str, pd.DataFrame]:
        """Return the tables that are read from the mean losses of each day."""
        every = Panel.of(self._daily.losses(self._survey.models, ["crps"]))
        of_pair = {pair: Panel.of(self._daily.losses(pair, ["crps"])) for pair in self._pairs}
        years = [stability.by_year(its, against=[pair[1]]) for pair, its in of_pair.items()]
        windows = [stability.stability(its, against=[pair[1]]) for pair, its in of_pair.items()]
        order = ["model", "against", "year"]
        return {
            "significance": self._comparison(model),
            "confidence_set": significance.confidence_set(every),
            "superior_ability": significance.superior_ability(every),
            "years": together(years, stability.by_year(every, against=[])).sort_values(
                order, kind="stable", ignore_index=True
            ),
            "stability": together(windows, stability.stability(every, against=[])),
        }

    def _comparison(self, model: str) -> pd.DataFrame:
        """Return the tests of all models against the baselines, and of one against its other rivals."""
        own = [(model, it) for it in self._rivals if it not in metrics.BASELINES]
        of_pair = {pair: Panel.of(self._daily.losses(pair)) for pair in [*self._pairs, *own]}
        tables = [
            significance.compare(of_pair[pair], models=[pair[0]], against=[pair[1]], metric=metric)
            for metric in LOSSES
            for pair in of_pair
        ]
        return together(tables, significance.compare(self._daily.losses([model]), against=[]))

    def of_columns(self, model: str) -> dict[str, pd.DataFrame]:
        """Return the tables that are of the forecasts of all tickers at once."""
        models, read = self._survey.models, self._columns
        compared = [*skill.RATIOS, *significance.LOGARITHMS, *skill.PINBALL]
        daily = {pair: self._daily.means("crps", pair) for pair in self._pairs}
        drift = [predictability.HISTORICAL_MEAN]
        beside = [it for it in models if it not in drift] if drift[0] in models else []
        return {
            "skill": skill.of_pairs(read.parts(compared), daily, self._survey.overlapping),
            # One model or pair after the other, as those of a market are large.
            "encompassing": _each(
                lambda it: encompassing.of_pair(self._variances(model, it), model, it),
                self._rivals,
                encompassing.COLUMNS,
            ),
            "murphy": _each(
                lambda pair: murphy.of_pair(self._variances(*pair, every=True), *pair),
                self._pairs,
                murphy.COLUMNS,
            ),
            "information": _each(
                lambda it: predictability.information_of(
                    it, self._wide(it, ["mean", "log_return"])
                ),
                models,
            ),
            "dynamic_quantile": self._quantiles.table(self._wide),
            "decomposition": _each(self._decomposition, models),
            "mean": _each(
                lambda it: predictability.mean_test(self._means([it, *drift])),
                beside,
                predictability.MEAN_COLUMNS,
            ),
        }

    def _variances(self, model: str, other: str, *, every: bool = False) -> Variances:
        """Return the variances of two models, of forecasts that overlap too if of every."""
        names, models = ["log_return", "volatility"], [model, other]
        parts = self._columns.parts(names, models) if every else self._parts_apart(names, models)
        step = self._survey.step
        return Variances.of((rows.assign(step=step) for rows in parts), model, other)

    def _wide(self, model: str, names: Sequence[str]) -> list[np.ndarray]:
        """Return columns of the forecasts of a model by date and ticker, of those that do not overlap."""
        return wide(self._parts_apart(names, [model]), names)

    def _parts_apart(self, names: Sequence[str], models: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield columns of the forecasts that do not overlap, part by part."""
        for rows in self._columns.parts([*names, "is_apart"], models):
            yield rows[rows["is_apart"]]

    def _means(self, models: Sequence[str]) -> pd.DataFrame:
        """Return what is read of the means of some models."""
        return self._apart(["log_return", "mean"], models)

    def _decomposition(self, model: str) -> pd.DataFrame:
        """Return the parts of the losses of a model."""
        is_apart = self._columns.values("is_apart", model)
        names = ("log_return", "rise", "volatility")
        columns = (self._columns.values(name, model)[is_apart] for name in names)
        return decomposition.of_model(model, *columns)

    def strategy(self, cost_bp: float, company: Company) -> pd.DataFrame:
        """Return what plain rules would have earned."""
        tables: list[pd.DataFrame] = []
        for model in self._survey.models:
            rows = self._columns.whole(["log_return", "rise", "is_shared"], [model])
            rows = rows[rows["is_shared"]]
            rise, with_market = rows["rise"].to_numpy(), not tables  # the same whoever forecasts it
            its = strategy.daily(rows, cost_bp=cost_bp, rise=rise, with_market=with_market)
            tables.append(its)
        days = pd.concat(tables, ignore_index=True)
        return strategy.performance(days, cost_bp=cost_bp, company=company)

    def alarm(self, model: str, tables: dict[str, pd.DataFrame]) -> Alarm | None:
        """Return the alarm that a model raises, if any."""
        names = ["log_return", "q0.5", "error", "naive_error"]
        own = self._apart(names, [model]).assign(step=self._survey.step, last_close=1.0)
        return alarm_of(model, own, own, tables)

    def _apart(self, names: Sequence[str], models: Sequence[str] | None = None) -> pd.DataFrame:
        """Return columns of the forecasts that do not overlap."""
        rows = self._columns.whole([*names, "is_apart"], models)
        return rows if rows["is_apart"].all() else rows[rows["is_apart"]]


def _each(
    table: Callable[[Any], pd.DataFrame], items: Sequence[Any], columns: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the tables of models or pairs as one; one without rows if there are none."""
    return together([table(it) for it in items], pd.DataFrame(columns=[*columns]))
