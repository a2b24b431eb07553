"""Which windows an epoch has, what the network reads of them, and what its head may say."""

import dataclasses
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from forecaster.dataset import features, windows
from forecaster.dataset.panel import Panel
from forecaster.distributions import forecasts, quantile_grid
from forecaster.models.protocol import Checkpoint
from forecaster.models.recurrent.training import Windowed
from forecaster.models.registry import create

FEW = 16
"""Windows an epoch may have: two batches, where there are some forty windows."""


@pytest.fixture(scope="module")
def sampled(tiny):
    return dataclasses.replace(tiny, max_windows=FEW)


@pytest.fixture(scope="module")
def fitted(world, until, sampled):
    return fit(world, until, sampled)


def fit(world, until, config, checkpoint=None):
    model = create("lstm", config)
    kept = {"checkpoint": checkpoint} if checkpoint else {}
    model.fit(Panel.of(world), np.datetime64(until), **kept)
    return model


def numbered(world, until, config):
    """The windows of a table whose single column says which row it is."""
    histories = list(Panel.of(world).histories)
    limit, rows = np.datetime64(until), itertools.count()
    config = dataclasses.replace(config, feature_dropout=0.0)
    return Windowed.of(
        histories,
        lambda history, sessions: np.array([[next(rows)] for _ in range(sessions.stop)]),
        lambda history, step: history.volatility * np.sqrt(step),
        limit,
        limit - 90,
        (),
        config,
    )


def starts(windowed, rng):
    """Where the windows of an epoch start."""
    return np.concatenate([x[:, 0, 0] for x, _ in windowed.batches(rng)]).astype(int)


def assert_same_weights(one, other):
    ours, theirs = one.state().arrays, other.state().arrays
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name])


def test_a_limit_that_all_windows_keep_changes_nothing(world, until, tiny, trained):
    wide = fit(world, until, dataclasses.replace(tiny, max_windows=10_000))
    assert_same_weights(wide, trained("lstm").model)


def test_features_in_a_file_are_learnt_from_alike(world, until, tiny, trained, monkeypatch):
    monkeypatch.setattr(windows, "MAX_BYTES", 1)
    assert_same_weights(fit(world, until, tiny), trained("lstm").model)


def test_an_epoch_has_no_window_twice_and_no_more_than_its_limit(world, until, tiny, sampled):
    every = starts(numbered(world, until, tiny), np.random.default_rng(0))
    some = starts(numbered(world, until, sampled), np.random.default_rng(0))
    assert len(some) == len(set(some)) == FEW < len(every)
    assert set(some) < set(every)


def test_epochs_have_other_windows_and_leave_none_out_in_the_end(world, until, sampled):
    windowed, rng = numbered(world, until, sampled), np.random.default_rng(0)
    first, second = starts(windowed, rng), starts(windowed, rng)
    assert set(first) != set(second)
    seen = np.zeros(len(windowed.train_targets), dtype=bool)
    for _ in range(1000):
        for begin in starts(windowed, rng):
            seen[begin + sampled.warmup : begin + sampled.window] = True
    # All that can be scored: from the end of a ticker's first warm-up on.
    scored = np.isfinite(windowed.train_targets)
    ends = np.cumsum(windowed.lengths)
    for begin in ends - windowed.lengths:
        scored[begin : begin + sampled.warmup] = False
    assert seen[scored].all()


def test_every_epoch_is_judged_on_the_same_held_out_windows(world, until, tiny, sampled):
    # The held-out sessions of three tickers are some six windows.
    config = dataclasses.replace(sampled, batch=2, max_windows=3)
    one, other = (numbered(world, until, config).held_out for _ in range(2))
    np.testing.assert_array_equal(one, other)
    every = numbered(world, until, tiny).held_out
    assert len(set(one)) == 3 < len(every)
    assert set(one) < set(every)


def test_a_sampled_fit_depends_on_the_sample_alone(world, until, sampled, fitted, trained):
    assert_same_weights(fit(world, until, sampled), fitted)
    kernel = fitted.state().arrays["kernel"]
    assert not np.array_equal(kernel, trained("lstm").model.state().arrays["kernel"])


def test_a_sampled_fit_does_not_look_ahead(world, until, sampled, fitted, rewritten):
    assert_same_weights(fit(rewritten(world, until), until, sampled), fitted)


def test_a_sampled_fit_that_was_interrupted_goes_on_to_the_same_weights(
    world, until, sampled, fitted
):
    class Interrupted(Checkpoint):
        state = None

        def load(self):
            return self.state

        def save(self, state):
            if self.state is None:
                self.state = state
                raise KeyboardInterrupt

    checkpoint = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        fit(world, until, sampled, checkpoint)
    assert checkpoint.state.settings["epoch"] == 1
    assert_same_weights(fit(world, until, sampled, checkpoint), fitted)


def test_a_bundle_from_before_there_was_a_limit(trained):
    state = trained("lstm").model.state()
    settings = state.settings["config"].copy()
    del settings["max_windows"]
    model = create("lstm")
    model.restore(dataclasses.replace(state, settings=state.settings | {"config": settings}))
    assert model.config == trained("lstm").model.config


def test_a_normal_head_stays_a_normal(world, until, tiny):
    # The decay would take the bias below the bound in a few steps if it could.
    config = dataclasses.replace(tiny, head="normal", learning_rate=0.05, weight_decay=10.0)
    model = fit(world, until, config)
    last = np.datetime64(world["date"].max().date())
    found = model.forecast(Panel.of(world), np.datetime64(until), last)
    assert (found["df"] == 200).all()
    scaled = found[list(forecasts.QUANTILES)].sub(found["location"], axis=0)
    np.testing.assert_allclose(
        scaled.div(found["volatility"], axis=0),
        np.tile(special.ndtri(quantile_grid.LEVELS), (len(found), 1)),
        rtol=0.01,
    )
    student = fit(world, until, dataclasses.replace(config, head="student"))
    assert (student.forecast(Panel.of(world), np.datetime64(until), last)["df"] < 200).all()


@pytest.mark.parametrize(
    ("groups", "columns"),
    [("range,calendar,market", ["volume"]), ("volume, calendar", ["open", "high", "low"])],
)
def test_what_is_left_out_is_not_read(world, until, tiny, groups, columns):
    config = dataclasses.replace(tiny, groups=groups, epochs=1)
    changed = world.copy()
    if "volume" in columns:
        changed["volume"] *= np.linspace(1, 9, len(changed))
    else:
        changed[columns] = np.nan
    assert_same_weights(fit(world, until, config), fit(changed, until, config))


def test_groups_together_are_all_the_features(world, until, tiny):
    named = ",".join(features.GROUPS)
    assert features.chosen(named) == features.FEATURES
    assert features.chosen("") == features.CLOSE
    assert features.chosen("market,volume") == features.CLOSE + features.VOLUME + features.MARKET
    alone = fit(world, until, dataclasses.replace(tiny, groups="", epochs=1))
    assert alone.features == list(features.CLOSE)


def test_training_leaves_no_files_of_autograph(fitted):
    """A killed process could not remove them, and nothing says whose they are."""
    assert not [name for name in sys.modules if name.startswith("__autograph_generated_file")]


@pytest.mark.slow
def test_several_devices_train_as_one_does(world, until, tiny, tmp_path):
    world.to_parquet(tmp_path / "world.parquet")
    config = dataclasses.replace(tiny, learning_rate=0.02)
    words = [tmp_path / "world.parquet", until, json.dumps(dataclasses.asdict(config))]
    script = Path(__file__).parents[2] / "several_devices.py"
    told = subprocess.run(
        [sys.executable, script, *map(str, words)], stdout=subprocess.PIPE, check=True
    )
    one, three, again = json.loads(told.stdout)
    np.testing.assert_allclose(three["steps"], one["steps"], rtol=1e-5)
    assert np.ptp(one["steps"]) > 0.01
    for ours, theirs in zip(three["training"], one["training"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    for name, weights in one["weights"].items():
        np.testing.assert_allclose(three["weights"][name], weights, rtol=1e-3, atol=1e-5)
    assert again == three["steps"]


def test_a_group_is_hidden_whole_from_some_windows(world, until, sampled):
    config = dataclasses.replace(sampled, feature_dropout=0.0, group_dropout=0.5, max_windows=0)
    limit = np.datetime64(until)
    windowed = Windowed.of(
        list(Panel.of(world).histories),
        lambda history, sessions: np.ones((sessions.stop, 3), np.float32),
        lambda history, step: history.volatility,
        limit,
        limit - 90,
        (np.array([1, 2]),),
        config,
    )
    shown = np.concatenate([x for x, _ in windowed.batches(np.random.default_rng(0))])
    assert (shown[..., 0] == 1).all()
    np.testing.assert_array_equal(shown[..., 1], shown[..., 2])
    by_window = shown[..., 1].mean(axis=1)
    assert set(by_window) == {0.0, 1.0}
