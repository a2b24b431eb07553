"""How often returns fall beyond the outer quantiles: without a skew, with one, and recalibrated.

One network of each set (seed 0), as the head `student` and as the head `skewed`, and the latter's
quantiles after `--calibrate`. Shares are in percent of all forecasts, pooled, whose promises are 1, 5, 5
and 1; CRPS, in percent, is of the 23 quantiles. `var_99_p` is Kupiec's test of the VaR at 99%, days as
clusters. `within` says whether all four shares are as near as `BOUNDS`, and `luck` how often, in percent,
those of a right forecast would be: shares of resampled days, moved to their promises.
`python benchmarks/tails.py [SET...]`
"""

import sys
from collections.abc import Iterator
from dataclasses import replace

import common
import numpy as np
import pandas as pd

from forecaster.backtesting import backtest
from forecaster.config import RecurrentConfig
from forecaster.distributions import recalibration
from forecaster.evaluation import metrics, value_at_risk
from forecaster.models.recurrent.head import OUTPUTS
from forecaster.runs import training

BELOW, ABOVE = {"below_1": "q0.01", "below_5": "q0.05"}, {"above_5": "q0.95", "above_1": "q0.99"}
BOUNDS = np.array([0.2, 0.5, 0.5, 0.2])
"""Of the distances between the shares and their promises; points."""

DRAWS = 2000


def main() -> None:
    """Train once on each set, and forecast it in three ways."""
    for name in sys.argv[1:] or [it for it in common.WORKS if not it.endswith("E")]:
        for head, made in forecasts(common.WORKS[name]()):
            known = metrics.known(made)
            beyond = beyond_quantiles(known)
            shares = 100 * beyond.mean()
            risk = value_at_risk.value_at_risk(known)
            pooled = (risk["ticker"] == metrics.POOLED) & (risk["part"] == "all")
            pooled &= risk["level"] == 0.99
            common.row(
                "tails",
                {"set": name, "head": head},
                crps=100 * metrics.losses(known)["crps"].mean(),
                **shares,
                var_99_p=risk.loc[pooled, "unconditional_p"].item(),
                within="yes" if within(shares.to_numpy()) else "no",
                luck=100 * luck(beyond, known["date"]),
                skew=known["skew"].mean(),
                forecasts=len(known),
            )


def forecasts(work: common.Work) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the name of each way to forecast, and its forecasts frame."""
    config = replace(RecurrentConfig(), seeds=1)
    run = training.train(work.universe, until=work.until, config=config)
    skewed = backtest.run(work.prices, work.spec("lstm"), trained=run).forecasts
    model = run.model
    model.config = replace(config, head="student")
    model.networks = [
        replace(it, head_kernel=it.head_kernel[:, :OUTPUTS], head_bias=it.head_bias[:OUTPUTS])
        for it in model.networks
    ]
    yield "student", backtest.run(work.prices, work.spec("lstm"), trained=run).forecasts
    yield "skewed", skewed
    yield "skewed, calibrated", recalibration.recalibrate(skewed)


def beyond_quantiles(known: pd.DataFrame) -> pd.DataFrame:
    """Return whether each return lies beyond each outer quantile: (rows, 4)."""
    below = {name: known["log_return"] < known[quantile] for name, quantile in BELOW.items()}
    above = {name: known["log_return"] > known[quantile] for name, quantile in ABOVE.items()}
    return pd.DataFrame(below | above)


def within(shares: np.ndarray) -> np.ndarray:
    """Return whether all four shares, of the last axis and in percent, are as near as they should be."""
    return np.all(np.abs(shares - [1, 5, 5, 1]) <= BOUNDS, axis=-1)


def luck(beyond: pd.DataFrame, dates: pd.Series) -> float:
    """Return how often a right forecast, whose misses gather on days as these do, is within the bounds."""
    days = beyond.groupby(dates.to_numpy()).agg("sum").to_numpy()  # (days, 4)
    size = dates.groupby(dates).size().to_numpy()
    drawn = np.random.default_rng(0).integers(len(size), size=(DRAWS, len(size)))
    shares = 100 * days[drawn].sum(axis=1) / size[drawn].sum(axis=1)[:, None]
    return float(within(shares - 100 * beyond.mean().to_numpy() + [1, 5, 5, 1]).mean())


if __name__ == "__main__":
    main()
