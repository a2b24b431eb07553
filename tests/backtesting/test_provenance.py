"""What counts as another experiment."""

import dataclasses
from datetime import date

import numpy as np
import pytest

from forecaster.backtesting.provenance import ForecastFile, PriceSpan, Provenance
from forecaster.backtesting.spec import BacktestSpec
from forecaster.config import RecurrentConfig
from forecaster.model_selection.splits import Fold
from forecaster.models.registry import NETWORKS, REGISTRY, create
from forecaster.runs.run import RunSummary

RUN = RunSummary(
    format=1, name="lstm-2017", model="lstm", tickers=["AAA"], first="1999-01-04", until="2017-12-29",
    prices_sha256="0a", created="2020-01-02", versions={},
)  # fmt: skip


@pytest.fixture
def provenance():
    """That of a backtest of every model."""
    days = np.array(["2017-12-29", "2017-12-29", "2018-12-28"], dtype="datetime64[D]")
    return Provenance(
        spec=BacktestSpec(tuple(REGISTRY), ("AAA",), date(2018, 1, 2), date(2018, 12, 31)),
        scored_tickers=("AAA",),
        folds=(Fold(*days),),
        prices=PriceSpan("1999-01-04", "2018-12-31", "0f"),
        versions={},
    )


def of_spec(provenance, **changes):
    return dataclasses.replace(provenance, spec=dataclasses.replace(provenance.spec, **changes))


def anew(one, other):
    """The models that are another experiment in another backtest of the same models."""
    before = {trial.key for trial in one.experiments()}
    return {trial.model for trial in other.experiments() if trial.key not in before}


@pytest.mark.parametrize(
    ("changes", "others"),
    [
        ({}, ()),
        ({"config": RecurrentConfig(units=8)}, NETWORKS),
        ({"config": RecurrentConfig(seed=1)}, NETWORKS),
        ({"cost_bp": 1.0}, ()),
        ({"refit": "never"}, REGISTRY),
        ({"calibrate": True}, REGISTRY),
        ({"start": date(2018, 6, 1)}, REGISTRY),
        ({"tickers": ("AAA", "BBB")}, REGISTRY),
    ],
)
def test_another_experiment_is_one_of_other_forecasts(provenance, changes, others):
    assert anew(provenance, of_spec(provenance, **changes)) == set(others)


def test_networks_are_the_models_that_have_settings():
    config = RecurrentConfig(units=8)
    assert {name for name in REGISTRY if vars(create(name, config)).get("config")} == set(NETWORKS)


def test_other_prices_are_another_experiment(provenance):
    prices = PriceSpan("1999-01-04", "2018-12-31", "00")
    other = dataclasses.replace(provenance, prices=prices)
    assert anew(provenance, other) == set(REGISTRY)


@pytest.mark.parametrize(
    ("changes", "others"),
    [
        ({"name": "renamed", "created": "2021-01-02"}, set()),
        ({"until": "2017-12-28"}, {"lstm"}),
        ({"prices_sha256": "0b"}, {"lstm"}),
    ],
)
def test_a_run_is_what_it_was_trained_on(provenance, changes, others):
    one, other = (
        dataclasses.replace(provenance, run=run, run_settings={"units": 4})
        for run in (RUN, RUN | changes)
    )
    assert anew(one, other) == others
    assert anew(provenance, one) == {"lstm"}
    # It is asked as it is: how networks are fitted for a backtest is that of the others alone.
    changed = of_spec(one, config=RecurrentConfig(units=8), refit="never")
    assert "lstm" not in anew(one, changed)
    learned = dataclasses.replace(one, run_settings={"units": 8})
    assert anew(one, learned) == {"lstm"}


def test_another_file_is_another_experiment_of_its_own_models(provenance):
    one, other = (
        dataclasses.replace(provenance, file=ForecastFile("mine.csv", digest, ("mine",)))
        for digest in ("01", "02")
    )
    assert anew(one, other) == {"mine"}
