"""What models make of implied volatility: they read it where it is stored, and do without where not."""

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from forecaster import api
from forecaster.backtesting import leakage_audit
from forecaster.backtesting.spec import BacktestSpec
from forecaster.backtesting.walk_forward import forecast_history
from forecaster.data import prices
from forecaster.dataset.features import IMPLIED
from forecaster.dataset.implied import Implied
from forecaster.dataset.panel import Panel
from forecaster.errors import BundleError, ResumeError
from forecaster.explain import explanation
from forecaster.model_selection.splits import walk_forward_folds
from forecaster.models import registry
from forecaster.runs import forecasting, training


@pytest.fixture(scope="module")
def beside(world):
    """An index of implied volatility that rises where the world falls, as they do."""
    returns = np.log(world["adj_close"]).groupby(world["ticker"]).diff()
    fall = -returns.groupby(world["date"]).mean().fillna(0.0)
    level = 18 * np.exp(3 * fall.ewm(alpha=0.05).mean() + 2 * fall)
    index = pd.DataFrame({"ticker": "^VIX", "date": level.index, "close": level.to_numpy()})
    return prices.check(index)


@pytest.fixture(scope="module")
def run(world, beside, until, tiny):
    return training.train(world, companions=beside, model="lstm", until=until, config=tiny)


def test_a_network_reads_what_is_there_in_training(world, run, trained):
    assert set(IMPLIED) <= set(run.model.features)
    assert not set(IMPLIED) & set(trained("lstm").model.features)


def test_a_run_that_read_none_forecasts_the_same_beside_an_index(world, beside, trained):
    words = trained("lstm"), world
    alone, with_index = (
        forecasting.predict(*words, tickers=["AAA", "CCC"], companions=it) for it in (None, beside)
    )
    pd.testing.assert_frame_equal(alone, with_index, check_exact=True)


def test_a_run_that_read_one_forecasts_with_it_and_without(world, beside, run):
    with_index, without = (api.predict(run, world, companions=it) for it in (beside, None))
    assert (with_index["volatility"] != without["volatility"]).all()
    assert np.isfinite(without["volatility"]).all()


def test_forecasts_are_those_of_a_backtest(world, beside, run):
    days = world.loc[world["ticker"] == "AAA", "date"].iloc[[560, 640]].dt.date
    spec = BacktestSpec(("lstm",), start=days.iloc[0], end=days.iloc[1])
    table = forecast_history(world, spec, companions=beside, trained=run).forecasts
    for cutoff in table["cutoff"].unique()[[0, 30, -1]]:
        rows = forecasting.predict(
            run, world, tickers=["AAA", "BBB"], companions=beside, as_of=cutoff.date()
        )
        same = table.merge(rows[["ticker", "cutoff"]], on=["ticker", "cutoff"])
        assert len(same)
        rows = rows.merge(same[["ticker", "cutoff"]], on=["ticker", "cutoff"])
        pd.testing.assert_frame_equal(
            rows.sort_values("ticker", ignore_index=True),
            same.sort_values("ticker", ignore_index=True),
            check_exact=True,
        )


def test_an_explanation_is_of_the_same_forecast_and_names_what_options_said(world, beside, run):
    explained = explanation.of(run, world, ticker="AAA", companions=beside)
    forecast = forecasting.predict(run, world, tickers=["AAA"], companions=beside)
    pd.testing.assert_frame_equal(explained.forecast, forecast, check_exact=True)
    assert set(IMPLIED) <= set(explained.attribution.features)
    values = dict(
        zip(explained.attribution.features, explained.attribution.weight_of_features, strict=True)
    )
    assert any(values[name] > 0 for name in IMPLIED)
    assert np.isfinite(explained.memory.network[:20]).all()


# ---- an audit


@pytest.fixture(scope="module")
def folds(world, until):
    sessions = Panel.of(world).sessions
    start = np.datetime64(until)
    return list(walk_forward_folds(sessions, start=start, end=sessions[-1], refit="never"))


def test_an_audit_of_a_network_beside_an_index_passes(world, beside, run, folds, tiny):
    made = registry.create("lstm", tiny)
    known = {"events": None, "companions": beside}
    assert leakage_audit.forecast_look_ahead(run.model, world, folds, **known).passed
    assert leakage_audit.parity(run.model, made, world, folds, **known).passed
    quick = replace(tiny, epochs=1, horizon=1)
    fits = leakage_audit.fit_look_ahead(
        lambda: registry.create("lstm", quick), world, folds, **known
    )
    assert fits.passed


def test_an_audit_finds_an_index_that_is_known_too_early(world, beside, run, folds, monkeypatch):
    honest = Implied.of.__func__

    def early(cls, *words):
        its = honest(cls, *words)
        return replace(its, dates=its.dates - np.timedelta64(1, "D"))

    monkeypatch.setattr(Implied, "of", classmethod(early))
    assert not leakage_audit.forecast_look_ahead(run.model, world, folds, companions=beside).passed


# ---- what goes on


def test_a_walk_does_not_go_on_beside_another_index(world, beside, tmp_path):
    spec = BacktestSpec(("naive",), start=date(2018, 5, 1), refit="never")
    forecast_history(world, spec, companions=beside, folder=tmp_path)
    forecast_history(world, spec, companions=beside, folder=tmp_path, resume=True)
    with pytest.raises(ResumeError, match="the companions changed"):
        forecast_history(world, spec, folder=tmp_path, resume=True)


def test_a_training_does_not_go_on_beside_another_index(world, beside, until, tiny, tmp_path):
    def stop(done, *_):
        if done == 1:
            raise KeyboardInterrupt

    words = {"until": until, "config": tiny, "home": tmp_path, "name": "half"}
    with pytest.raises(KeyboardInterrupt):
        training.train(world, companions=beside, progress=stop, **words)
    with pytest.raises(BundleError, match="differs in companions"):
        training.train(world, resume=True, **words)
    later = beside.assign(close=beside["close"].where(beside["date"].dt.date <= until, 50.0))
    later = prices.check(later.assign(adj_close=later["close"]))
    assert training.train(world, companions=later, resume=True, **words).name == "half"
