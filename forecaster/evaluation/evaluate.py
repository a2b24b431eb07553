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

from dataclasses import dataclass, replace

import pandas as pd

from forecaster.config import COST_BP
from forecaster.evaluation import (
    announced,
    calibration,
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
from forecaster.evaluation.alarm import alarm_of
from forecaster.evaluation.claims import RIVALS
from forecaster.evaluation.experiment_log import NO_COMPANY, Company
from forecaster.evaluation.panel import Panel
from forecaster.evaluation.verdict import WHOLE, Given, Verdict, judge
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
    frame: pd.DataFrame,
    variance: pd.DataFrame,
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
    frame : the forecasts frame; rows whose return is not known are left out.
    variance : :func:`forecaster.dataset.features.realised_variance` of the days that came.
    model : whom the verdict is on.
    seeds : model, seed, crps and ratio (to their average) of networks alone, to be shown.
    reactions : ticker, date and since (sessions since the reaction session) of the sessions around
        announcements, to be scored apart.
    company : the other experiments on these tickers and days.
    cost_bp : of a trade, in basis points a side.
    given : what the forecasts give of their distributions, for the verdict.
    """
    frame = metrics.known(frame)
    apart, step = metrics.apart(frame), metrics.step_of(frame)
    losses = metrics.losses(frame, variance)
    mine = frame["model"].to_numpy() == model
    own_losses = losses[mine]
    panel = Panel.of(losses)
    tables = {
        "seeds": pd.DataFrame(columns=SEEDS) if seeds is None else seeds,
        "scores": metrics.summary(metrics.common(losses)),
        "significance": _comparison(panel, model),
        "tickers": significance.per_ticker(panel),
    }
    malloc.return_freed()  # of thousands of small tables
    tables |= {
        "confidence_set": significance.confidence_set(panel),
        "superior_ability": significance.superior_ability(panel),
        "skill": skill.skill(frame, losses),
        "years": stability.by_year(panel),
        "stability": stability.stability(panel),
        "announced": announced.announced(
            losses, apart, announced.NONE if reactions is None else reactions
        ),
    }
    del losses, panel  # what comes next is as large
    tables |= {
        "uniformity": calibration.uniformity(apart),
        "coverage": calibration.coverage(apart),
        "value_at_risk": value_at_risk.value_at_risk(apart),
        "dynamic_quantile": dynamic_quantile.dynamic_quantile(apart),
        "independence": independence.independence(apart),
        "decomposition": decomposition.decomposition(apart),
        "encompassing": encompassing.encompassing(apart, model, RIVALS),
        "murphy": murphy.murphy(frame),
        "direction": predictability.sign_test(apart),
        "information": predictability.information_coefficients(apart),
        "mean": predictability.mean_test(apart),
    }
    if step == 1:
        days = strategy.daily(metrics.common(frame), cost_bp=cost_bp)
        tables["strategy"] = strategy.performance(days, cost_bp=cost_bp, company=company)
    own = apart[apart["model"] == model]
    alarm = alarm_of(model, own, own_losses.loc[own.index], tables)
    return Evaluation(tables, judge(model, tables, alarm, given, step=step))


def _comparison(panel: Panel, model: str) -> pd.DataFrame:
    """Return the tests of all models against the baselines, and of one against its other rivals."""
    rivals = [name for name in RIVALS if name not in metrics.BASELINES]
    relative = panel.losses["error"] / panel.losses["last_close"]
    panel = replace(panel, losses=panel.losses.assign(error=relative))
    tables = []
    for metric in LOSSES:
        tables += [
            significance.compare(panel, metric=metric),
            significance.compare(panel, models=[model], against=rivals, metric=metric),
        ]
    return pd.concat([it for it in tables if len(it)] or tables[:1], ignore_index=True)
