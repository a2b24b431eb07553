import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from forecaster.evaluation import encompassing, murphy


def frame(x, **volatility):
    days = pd.bdate_range("2015-01-01", periods=len(x) + 1)
    tables = [
        pd.DataFrame(
            {
                "ticker": "AAPL",
                "model": model,
                "cutoff": days[:-1],
                "date": days[1:],
                "log_return": x,
                "volatility": its,
            }
        )
        for model, its in volatility.items()
    ]
    return pd.concat(tables, ignore_index=True)


def world(seed, n=1500):
    """Two signals of the volatility, which is made of the first, of both, or of the second."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.5, (2, n)), rng.normal(size=n)


def test_the_weight_is_that_of_the_least_qlike():
    (one, two), z = world(0)
    table = frame(np.exp(0.3 * one + 0.7 * two) * z, lstm=np.exp(one), gjr=np.exp(two))
    (row,) = encompassing.encompassing(table, "lstm", ["gjr", "har"]).to_dict("records")
    square = np.square(np.exp(0.3 * one + 0.7 * two) * z)

    def qlike(theta):
        log_h = theta[0] + 2 * ((1 - theta[1]) * one + theta[1] * two)
        return np.mean(log_h + square / np.exp(log_h))

    best = minimize(qlike, [0.0, 0.5], tol=1e-12).x[1]
    assert row["weight"] == pytest.approx(best, abs=1e-4)
    assert row["weight"] == pytest.approx(0.7, abs=3 * row["error"])
    assert max(row["adds_p"], row["gives_p"]) < 0.001  # neither encompasses the other


def test_weight_and_error_are_those_of_statsmodels():
    from statsmodels.genmod.families import Gamma
    from statsmodels.genmod.families.links import Log
    from statsmodels.genmod.generalized_linear_model import GLM

    (one, two), z = world(3)
    table = frame(np.exp(0.3 * one + 0.7 * two) * z, lstm=np.exp(one), gjr=np.exp(two))
    table["ticker"] = table["ticker"].where(table.index % 3 > 0, "MSFT")
    table["date"] = table["date"].dt.to_period("M").dt.start_time  # days of many rows
    (row,) = encompassing.encompassing(table, "lstm", ["gjr"]).to_dict("records")
    day, regressors = table["date"][: len(z)], np.column_stack([np.ones(len(z)), 2 * (two - one)])
    square = np.maximum(np.square(table["log_return"][: len(z)]), 1e-12)
    fit = GLM(square, regressors, family=Gamma(Log()), offset=2 * one).fit(
        cov_type="cluster", cov_kwds={"groups": day.factorize()[0]}
    )
    assert row["weight"] == pytest.approx(fit.params.iloc[1], rel=1e-9)
    assert row["error"] == pytest.approx(fit.bse.iloc[1], rel=1e-9)


def test_the_better_one_encompasses_the_other_one_time_in_twenty_not():
    adds, gives = [], []
    for seed in range(150):
        (one, two), z = world(seed, 500)
        table = frame(np.exp(one) * z, lstm=np.exp(one), gjr=np.exp(one + 0.3 * two))
        (row,) = encompassing.encompassing(table, "lstm", ["gjr"]).to_dict("records")
        adds.append(row["adds_p"] < 0.05)
        gives.append(row["gives_p"] < 0.05)
    assert 0.015 <= np.mean(adds) <= 0.1
    assert np.mean(gives) > 0.8


def test_forecasts_that_are_equal_but_for_a_factor_have_no_weight():
    (one, _), z = world(1, 100)
    table = frame(z, lstm=np.exp(one), gjr=2 * np.exp(one))
    assert np.isnan(encompassing.encompassing(table, "lstm", ["gjr"])["weight"].item())


@pytest.mark.parametrize(("forecast", "outcome"), [(0.5, 2.0), (2.0, 0.5), (1.0, 1.0)])
def test_elementary_scores_add_up_to_half_the_squared_error(forecast, outcome):
    thresholds = np.linspace(0, 3, 30_001)
    forecasts, outcomes = np.array([forecast, 1.0]), np.array([outcome, 1.0])
    scores = murphy.elementary(forecasts, outcomes, thresholds, np.array([1, 0]))
    assert not scores[:, 0].any()
    expected = (forecast - outcome) ** 2 / 2
    assert np.trapezoid(scores[:, 1], thresholds) == pytest.approx(expected, abs=1e-3)


def test_a_better_variance_is_better_at_every_threshold():
    (one, two), z = world(2, 4000)
    table = frame(np.exp(one) * z, lstm=np.exp(one), gjr=np.exp(one + two))
    rows = murphy.murphy(table, against=["gjr"])
    assert len(rows) == len(murphy.LEVELS)
    assert (rows["share"] < 0).all()
    assert (rows["high"] < 0).mean() > 0.8
    assert rows["low"].lt(rows["share"]).all()
    tie = murphy.murphy(frame(z, lstm=np.exp(one), gjr=np.exp(one)), against=["gjr"])
    assert (tie[["share", "low", "high"]] == 0).all().all()
