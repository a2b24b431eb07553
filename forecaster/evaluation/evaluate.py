"""Everything that is said of forecasts once their days have come: tables, and a verdict in words."""

from dataclasses import dataclass

import pandas as pd

from forecaster.evaluation import (
    calibration,
    metrics,
    predictability,
    significance,
    skill,
    strategy,
)
from forecaster.evaluation.experiment_log import NONE, Count
from forecaster.evaluation.verdict import verdict
from forecaster.parallel import malloc

COST_BP = 5.0
"""What buying or selling costs, in basis points a side."""


@dataclass(frozen=True)
class Evaluation:
    """What the statistics say of models, on the rows that all of them have."""

    tables: dict[str, pd.DataFrame]
    """By name:

    =======================================  ===================================================
    scores                                   :func:`forecaster.evaluation.metrics.scores`
    significance                             :func:`forecaster.evaluation.significance.compare`, by crps,
                                             qlike and error (of the median, over the last close)
    tickers, confidence_set,                 also of :mod:`forecaster.evaluation.significance`
    superior_ability
    skill                                    :func:`forecaster.evaluation.skill.skill`
    uniformity, coverage, value_at_risk      of :mod:`forecaster.evaluation.calibration`
    direction, information                   of :mod:`forecaster.evaluation.predictability`
    strategy                                 :func:`forecaster.evaluation.strategy.performance`
    =======================================  ===================================================
    """
    verdict: str
    """One paragraph on one of the models."""


def evaluate(
    found: pd.DataFrame,
    variance: pd.DataFrame,
    *,
    model: str,
    tried: Count = NONE,
    cost_bp: float = COST_BP,
) -> Evaluation:
    """Evaluates the models of a forecasts frame.

    Parameters
    ----------
    found : the forecasts frame; rows whose return is not known are left out.
    variance : :func:`forecaster.dataset.features.realised_variance` of the days that came.
    model : whom the verdict is on.
    tried : the other trials on these tickers and days.
    cost_bp : of a trade, in basis points a side.
    """
    shared = metrics.comparable(found)
    losses = metrics.losses(shared, variance)
    relative = losses.assign(error=losses["error"] / losses["last_close"])
    comparison = pd.concat(
        [significance.compare(relative, metric=metric) for metric in ("crps", "qlike", "error")],
        ignore_index=True,
    )
    tickers = significance.per_ticker(losses)
    malloc.return_freed()  # of thousands of small tables
    of_losses = {
        "scores": metrics.summary(losses),
        "significance": comparison,
        "tickers": tickers,
        "confidence_set": significance.confidence_set(losses),
        "superior_ability": significance.superior_ability(losses),
        "skill": skill.skill(shared, losses),
    }
    del losses, relative  # what comes next is as large
    strategies = len(strategy.RULES) * (tried.trials + shared["model"].nunique())
    of_forecasts = {
        "uniformity": calibration.uniformity(shared),
        "coverage": calibration.coverage(shared),
        "value_at_risk": calibration.value_at_risk(shared),
        "direction": predictability.direction(shared),
        "information": predictability.information(shared),
        "strategy": strategy.performance(
            strategy.daily(shared, cost_bp=cost_bp),
            cost_bp=cost_bp,
            trials=strategies,
            sharpes=tried.sharpes,
        ),
    }
    said = verdict(model, comparison, of_forecasts["direction"], of_forecasts["coverage"])
    return Evaluation(of_losses | of_forecasts, said)
