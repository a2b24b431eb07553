"""All statistics of forecasts whose outcomes are known: tables, and a verdict."""

from dataclasses import dataclass

import pandas as pd

from forecaster.config import COST_BP
from forecaster.evaluation import (
    calibration,
    metrics,
    predictability,
    significance,
    skill,
    strategy,
    value_at_risk,
)
from forecaster.evaluation.experiment_log import NO_COMPANY, Company
from forecaster.evaluation.verdict import Verdict, judge
from forecaster.parallel import malloc


@dataclass(frozen=True)
class Evaluation:
    """The statistics of models, on the rows that all of them have."""

    tables: dict[str, pd.DataFrame]
    """By name:

    =======================================  ===================================================
    scores                                   :func:`forecaster.evaluation.metrics.scores`
    significance                             :func:`forecaster.evaluation.significance.compare`, by crps,
                                             qlike and error (of the median, over the last close)
    tickers, confidence_set,                 also of :mod:`forecaster.evaluation.significance`
    superior_ability
    skill                                    :func:`forecaster.evaluation.skill.skill`
    uniformity, coverage                     of :mod:`forecaster.evaluation.calibration`
    value_at_risk                            :func:`forecaster.evaluation.value_at_risk.value_at_risk`
    direction, information                   of :mod:`forecaster.evaluation.predictability`
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
    company: Company = NO_COMPANY,
    cost_bp: float = COST_BP,
) -> Evaluation:
    """Evaluate the models of a forecasts frame.

    Parameters
    ----------
    frame : the forecasts frame; rows whose return is not known are left out.
    variance : :func:`forecaster.dataset.features.realised_variance` of the days that came.
    model : whom the verdict is on.
    company : the other experiments on these tickers and days.
    cost_bp : of a trade, in basis points a side.
    """
    shared = metrics.comparable(frame)
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
    of_forecasts = {
        "uniformity": calibration.uniformity(shared),
        "coverage": calibration.coverage(shared),
        "value_at_risk": value_at_risk.value_at_risk(shared),
        "direction": predictability.sign_test(shared),
        "information": predictability.information_coefficients(shared),
        "strategy": strategy.performance(
            strategy.daily(shared, cost_bp=cost_bp),
            cost_bp=cost_bp,
            company=company,
        ),
    }
    opinion = judge(model, comparison, of_forecasts["direction"], of_forecasts["coverage"])
    return Evaluation(of_losses | of_forecasts, opinion)
