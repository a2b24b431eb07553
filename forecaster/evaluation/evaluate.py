"""All statistics of forecasts whose outcomes are known: tables, and a verdict.

A test of two models is of the rows that both have, what a model promises of itself is tested on its
own rows, and only tables that show all models side by side (scores, confidence_set, superior_ability
and strategy) are of the rows that all of them have. So no model changes what is said of another.
"""

from dataclasses import dataclass

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
    strategy                                 :func:`forecaster.evaluation.strategy.performance`
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
    """Evaluate the models of a forecasts frame.

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
    losses = metrics.losses(frame, variance)
    mine = frame["model"].to_numpy() == model
    own_losses = losses[mine]
    tables = {
        "seeds": pd.DataFrame(columns=SEEDS) if seeds is None else seeds,
        "scores": metrics.summary(metrics.common(losses)),
        "significance": _comparison(losses, model),
        "tickers": significance.per_ticker(losses),
    }
    malloc.return_freed()  # of thousands of small tables
    tables |= {
        "confidence_set": significance.confidence_set(losses),
        "superior_ability": significance.superior_ability(losses),
        "skill": skill.skill(frame, losses),
        "years": stability.by_year(losses),
        "stability": stability.stability(losses),
        "announced": announced.announced(
            losses, frame, announced.NONE if reactions is None else reactions
        ),
    }
    del losses  # what comes next is as large
    tables |= {
        "uniformity": calibration.uniformity(frame),
        "coverage": calibration.coverage(frame),
        "value_at_risk": value_at_risk.value_at_risk(frame),
        "dynamic_quantile": dynamic_quantile.dynamic_quantile(frame),
        "independence": independence.independence(frame),
        "decomposition": decomposition.decomposition(frame),
        "encompassing": encompassing.encompassing(frame, model, RIVALS),
        "murphy": murphy.murphy(frame),
        "direction": predictability.sign_test(frame),
        "information": predictability.information_coefficients(frame),
        "mean": predictability.mean_test(frame),
        "strategy": strategy.performance(
            strategy.daily(metrics.common(frame), cost_bp=cost_bp),
            cost_bp=cost_bp,
            company=company,
        ),
    }
    alarm = alarm_of(model, frame[mine], own_losses, tables)
    return Evaluation(tables, judge(model, tables, alarm, given))


def _comparison(losses: pd.DataFrame, model: str) -> pd.DataFrame:
    """Return the tests of all models against the baselines, and of one against its other rivals."""
    rows = losses.assign(error=losses["error"] / losses["last_close"])
    rivals = [name for name in RIVALS if name not in metrics.BASELINES]
    own = rows[rows["model"].isin([model, *rivals])]
    tables = []
    for metric in LOSSES:
        tables += [
            significance.compare(rows, metric=metric),
            significance.compare(own, models=[model], against=rivals, metric=metric),
        ]
    return pd.concat([it for it in tables if len(it)] or tables[:1], ignore_index=True)
