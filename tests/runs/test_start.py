"""Training that starts from the weights of a run: `training.train(start=...)`, `forecast train --from`."""

import hashlib
import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from forecaster.config import CONTINUED
from forecaster.errors import BundleError, UsageError
from forecaster.models.recurrent import model as network
from forecaster.runs import bundle, forecasting, training

TINY = {"epochs": 2, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def old(world, tiny, until):
    """A run of AAA and BBB up to a year before, whose steps were too large to learn well."""
    frame, config = world[world["ticker"] != "CCC"], replace(tiny, epochs=1, learning_rate=0.1)
    return training.train(frame, until=until - timedelta(365), config=config, name="old")


@pytest.fixture(scope="module")
def continued(world, old, until):
    """A run of all tickers from its weights."""
    return training.train(world, until=until, start=old, config=settings(old, **TINY))


def settings(run, **values):
    return replace(run.model.config, **values)


def same_networks(one, other):
    pairs = zip(one.model.networks, other.model.networks, strict=True)
    return all(all(map(np.array_equal, a.weights, b.weights)) for a, b in pairs)


def same(one, other):
    """Whether two runs have the same weights and scaler."""
    mine, theirs = one.model.state().arrays, other.model.state().arrays
    return mine.keys() == theirs.keys() and all(
        np.array_equal(mine[name], theirs[name]) for name in mine
    )


def test_features_scaler_and_settings_are_those_of_the_start(continued, old):
    assert continued.model.features == old.model.features
    assert np.array_equal(continued.model.scaler.mean, old.model.scaler.mean)
    assert np.array_equal(continued.model.scaler.scale, old.model.scaler.scale)
    assert len(continued.model.networks) == len(old.model.networks)
    assert training.settings_from(old, "lstm") == replace(old.model.config, **CONTINUED)


def test_the_state_before_the_first_epoch_counts(world, old, until):
    # Steps of a size that ruins any weights.
    ruinous = settings(old, epochs=2, learning_rate=100.0)
    run = training.train(world, until=until, start=old, config=ruinous)
    losses = [row["validation_loss"] for row in run.model.training]
    assert [row["epoch"] for row in run.model.training] == [0, 1, 2]
    assert losses[0] == min(losses) == run.model.validation_loss
    assert same_networks(run, old)


def test_epochs_that_are_better_count(continued, old):
    losses = [row["validation_loss"] for row in continued.model.training]
    assert min(losses) < losses[0]
    (mine,), (theirs,) = continued.model.networks, old.model.networks
    assert not np.array_equal(mine.cell.kernel, theirs.cell.kernel)
    # Two epochs of two steps leave it where it started, and not where another seed would.
    assert np.abs(mine.cell.kernel - theirs.cell.kernel).max() < 0.1


def test_longer_steps_are_fitted_anew_only_to_enough(continued, old, world, until, monkeypatch):
    assert np.array_equal(continued.model.term.kernel, old.model.term.kernel)
    monkeypatch.setattr(network, "LEAST", 100)
    run = training.train(world, until=until, start=old, config=settings(old, **TINY))
    assert not np.array_equal(run.model.term.kernel, old.model.term.kernel)
    assert same_networks(run, continued)


def test_a_run_knows_where_it_started(continued, old, world, until, tmp_path):
    folder = bundle.save(old, tmp_path)
    weights = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    assert continued.start == {"name": "old", "weights_sha256": weights}
    document = json.loads((bundle.save(continued, tmp_path) / "run.json").read_text("utf-8"))
    assert document["start"] == continued.start
    read = bundle.load(tmp_path, continued.name)
    assert read.start == continued.start
    assert read.summary == continued.summary
    assert "start" not in old.summary
    tables = [forecasting.predict(it, world, tickers=["CCC"]) for it in (read, continued)]
    pd.testing.assert_frame_equal(*tables)


def test_the_span_is_that_of_both(world, tiny, until):
    later = world[
        (world["ticker"] == "AAA") & (world["date"] > world["date"].min() + pd.Timedelta("90D"))
    ]
    start = training.train(world, until=until, config=tiny)
    run = training.train(later, until=until, start=start)
    assert run.first == start.first < later["date"].min().date()
    assert run.until == start.until
    assert run.tickers == ["AAA"]


def test_weights_that_know_later_sessions_are_refused(world, old, until):
    before = old.until - timedelta(1)
    with pytest.raises(UsageError, match=f"knows sessions up to {old.until}.*{before}.*afresh"):
        training.train(world, until=before, start=old)
    ended = world[world["date"] < pd.Timestamp(old.until)]
    with pytest.raises(UsageError, match=f"knows sessions up to {old.until}"):
        training.train(ended, start=old)


def test_what_comes_after_until_changes_nothing(world, old, until, continued, rewritten):
    run = training.train(
        rewritten(world, until), until=until, start=old, config=settings(old, **TINY)
    )
    assert same(run, continued)
    assert run.until == continued.until == until


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"units": 8}, "units 8 instead of 4"),
        ({"window": 80}, "window 80 instead of 40"),
        ({"head": "student"}, "head student instead of skewed"),
        ({"groups": "range", "seeds": 2}, "groups range instead of .*, seeds 2 instead of 1"),
        ({"horizon": 5}, "horizon 5 instead of 21"),
    ],
)
def test_settings_that_the_weights_do_not_allow(world, old, until, values, said):
    with pytest.raises(UsageError, match=f"weights of run old do not allow {said}"):
        training.train(world, until=until, start=old, config=settings(old, **values))


@pytest.mark.parametrize("model", ["gru", "gjr"])
def test_another_model_is_refused(world, old, until, model):
    with pytest.raises(UsageError, match=rf"run old is of lstm, and the `model` is {model}"):
        training.train(world, until=until, start=old, model=model)


def test_a_feature_that_the_prices_lack_is_0(world, old, until):
    closes = world[world["ticker"] == "CCC"]
    run = training.train(closes, until=until, start=old)
    place = run.model.features.index("range_today")
    (history,) = forecasting.panel_of(run, closes, ["CCC"]).histories
    assert not run.model.inputs(history, slice(None))[:, place].any()


def test_it_does_not_take_the_name_of_its_start(world, old, tiny, until, tmp_path):
    start = training.train(world, until=until, config=tiny, home=tmp_path)
    run = training.train(world, until=until, start=start, home=tmp_path)
    assert run.name == f"{start.name}-2"
    with pytest.raises(UsageError, match="cannot start from itself"):
        training.train(world, until=until, start=start, name=start.name)


class Stopped(Exception):
    """Raised in the middle of a training."""


def test_an_interrupted_training_goes_on_from_the_same_start_alone(
    world, old, tiny, until, continued, tmp_path
):
    def progress(done, total, text):
        if done == 1:
            raise Stopped

    words = {"until": until, "config": settings(old, **TINY), "name": "half", "home": tmp_path}
    with pytest.raises(Stopped):
        training.train(world, start=old, progress=progress, **words)
    other = training.train(world, until=old.until, config=tiny)
    for start in (other, None):
        with pytest.raises(BundleError, match="differs in start"):
            training.train(world, start=start, resume=True, **words)
    resumed = training.train(world, start=old, resume=True, **words)
    assert resumed.model.training == continued.model.training
    assert same(resumed, continued)
