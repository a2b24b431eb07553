import numpy as np
import pandas as pd
import pytest
from histories import assert_same

from forecaster.backtesting.spec import BacktestSpec
from forecaster.backtesting.walk_forward import forecast_history
from forecaster.dataset.panel import Panel
from forecaster.distributions import forecasts
from forecaster.models.average import MEMBERS, average
from forecaster.runs import forecasting


def one(model, levels, *, sessions=2, start=0.0):
    dates = pd.bdate_range("2018-01-01", periods=sessions + 1)
    return forecasts.from_quantiles(
        ticker="AAA", model=model, cutoff=dates[:-1], date=dates[1:], last_close=50.0,
        log_return=0.01, quantiles=start + np.tile(levels, (sessions, 1)),
    )  # fmt: skip


def test_a_quantile_is_the_mean_of_the_quantiles():
    levels = np.linspace(-0.05, 0.05, 23)
    table = average(
        [one("gjr", levels), one("egarch", 2 * levels), one("har", levels, start=0.003)]
    )
    np.testing.assert_allclose(table[forecasts.QUANTILES], np.tile(4 / 3 * levels + 0.001, (2, 1)))
    assert table["model"].eq("average").all()
    assert table["df"].isna().all()


def test_only_rows_that_every_member_has_are_averaged():
    levels = np.linspace(-0.05, 0.05, 23)
    table = average([one("gjr", levels, sessions=4), one("egarch", levels, sessions=3)])
    assert len(table) == 3
    assert average([one("gjr", levels), one("egarch", levels)[:0]]).empty


@pytest.fixture(scope="module")
def backtested(world):
    spec = BacktestSpec((*MEMBERS, "average"), start=world["date"].iloc[600].date())
    return forecast_history(world, spec).forecasts


def test_beside_its_members_it_takes_their_fits(world, backtested):
    spec = BacktestSpec(("average",), start=world["date"].iloc[600].date())
    own = forecast_history(world, spec).forecasts
    mine = backtested[backtested["model"] == "average"].reset_index(drop=True)
    assert_same(mine, own)
    assert backtested["model"].unique().tolist() == [*MEMBERS, "average"]


def test_its_quantiles_are_those_of_a_run(world, trained, until):
    run = trained("average")
    table = forecasting.predict(run, world, tickers=["AAA"])
    members = [
        it.forecast(Panel.of(world), np.datetime64(until), np.datetime64(world["date"].max(), "D"))
        for it in run.model.members
    ]
    quantiles = [it[it["ticker"] == "AAA"][forecasts.QUANTILES].iloc[-1] for it in members]
    np.testing.assert_allclose(table[forecasts.QUANTILES].iloc[0], np.mean(quantiles, axis=0))
