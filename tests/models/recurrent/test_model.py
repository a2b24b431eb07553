import dataclasses

import numpy as np
import pandas as pd
import pytest

from forecaster.config import RecurrentConfig
from forecaster.data import events
from forecaster.dataset.features import FEATURES
from forecaster.dataset.panel import Panel
from forecaster.errors import HistoryError
from forecaster.models.recurrent import model as model_module
from forecaster.models.recurrent import training as training_module
from forecaster.models.registry import create

STEPS = (2, 3, 5, 10, 21)


def whole(histories):
    """The first block of sessions of each history, which the network reads from its start."""
    return [(h, np.arange(min(len(h.dates), model_module.CONTEXT))) for h in histories]


def test_the_exported_network_is_the_one_that_forecasts(world, trained, tmp_path):
    model = trained("lstm").model
    histories = list(Panel.of(world).histories)
    model.export(tmp_path)
    keras = training_module.keras_on_tensorflow()
    exported = keras.models.load_model(tmp_path / "lstm-0.keras", safe_mode=True, compile=False)
    for history, found in zip(histories, model.outputs(whole(histories)), strict=True):
        read = model.inputs(history, slice(len(found[1])))
        expected = exported.predict(read[None], verbose=0)[0]
        np.testing.assert_allclose(found[1], expected, atol=1e-5, rtol=0)


def test_the_scaler_learns_from_the_training_span(world, trained, until):
    model = trained("lstm").model
    columns = [FEATURES.index(name) for name in model.features]
    lengths = ((h, h.count_until(np.datetime64(until))) for h in Panel.of(world).histories)
    table = np.concatenate([h.features[:length, columns] for h, length in lengths])
    np.testing.assert_allclose(model.scaler.mean, np.nanmean(table, axis=0), atol=1e-5)
    np.testing.assert_allclose(model.scaler.scale, np.nanstd(table, axis=0), rtol=1e-4)
    scaled = model.scaler.transform(table)
    assert scaled.dtype == np.float32
    assert (scaled[np.isnan(table)] == 0).all()
    assert np.abs(scaled).max() <= model.config.clip


def test_a_scaler_of_many_tables_is_scikit_learn_s_of_one():
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    table = (3 + rng.normal(size=(900, 4))).astype(np.float32)
    table[rng.random(table.shape) < 0.1] = np.nan
    table[:300, 1] = np.nan  # the first ticker does not have it, nor the last that one
    table[700:, 0] = np.nan
    table[:, 2] = 0.1
    ours = model_module.Scaler.fit(((it, 1.0) for it in np.split(table, [300, 301, 700])), clip=5)
    theirs = StandardScaler().fit(table)
    np.testing.assert_allclose(ours.mean, theirs.mean_, rtol=1e-6)
    np.testing.assert_allclose(ours.scale, theirs.scale_, rtol=1e-6)
    assert ours.scale[2] == 1
    unknown = model_module.Scaler.fit([(np.full((5, 1), np.nan), 1.0)] * 2, clip=5)
    assert np.isnan(unknown.mean).all()
    half = [(table[:300, 2:], 1.0), (table[300:, 2:], 0.5), (table[300:, 2:], 0.5)]
    np.testing.assert_allclose(
        model_module.Scaler.fit(half, clip=5).mean, theirs.mean_[2:], rtol=1e-6
    )


def test_features_that_no_ticker_has_are_left_out(world, tiny):
    closes = world[world["ticker"] == "CCC"]
    model = create("lstm", dataclasses.replace(tiny, epochs=1))
    model.fit(Panel.of(closes), np.datetime64("2018-01-01"))
    assert "return" in model.features
    assert not {"range_today", "volume_surprise", "market_dispersion"} & set(model.features)
    assert model.inputs(Panel.of(closes).histories[0], slice(None)).shape[1] == len(model.features)


def test_several_seeds_are_averaged(world, trained):
    model = trained("lstm").model
    histories = list(Panel.of(world).histories)
    other = dataclasses.replace(model.networks[0], head_bias=np.float32([1, 2, 3, 1]))
    both = model_module.Recurrent("lstm", dataclasses.replace(model.config, seeds=2, horizon=1))
    both.features, both.scaler = model.features, model.scaler
    both.training = [*model.training, *({**row, "seed": 1} for row in model.training)]
    both.networks = [model.networks[0], other]
    shift = (np.float32([1, 2, 3, 1]) - model.networks[0].head_bias) / 2
    for one, two in zip(
        model.outputs(whole(histories)), both.outputs(whole(histories)), strict=True
    ):
        np.testing.assert_allclose(two[1] - one[1], np.tile(shift, (len(one[1]), 1)), atol=1e-6)
    again = create("lstm")
    again.restore(both.state())
    np.testing.assert_array_equal(
        again.outputs(whole(histories))[0][1], both.outputs(whole(histories))[0][1]
    )


def test_what_is_held_out_is_not_trained_on(world, tiny, until):
    histories = list(Panel.of(world).histories)
    limit, cut = np.datetime64(until), np.datetime64(until) - 90
    lengths = [h.count_until(limit) for h in histories]
    held = model_module.Windowed.of(
        histories,
        lambda history, sessions: np.zeros((sessions.stop, 2)),
        lambda history, step: history.volatility * np.sqrt(step),
        limit,
        cut,
        (),
        tiny,
    )
    date = np.concatenate([h.next_dates[:n] for h, n in zip(histories, lengths, strict=True)])
    trains, validates = np.isfinite(held.train_targets), np.isfinite(held.validation_targets)
    assert date[trains].max() < cut <= date[validates].min()
    assert date[validates].max() <= limit
    # All but the first session of each history (no volatility) and the last (no return).
    assert trains.sum() + validates.sum() == sum(lengths) - 2 * len(lengths)
    for x, y in held.batches(np.random.default_rng(0)):
        assert x.shape == (tiny.batch, tiny.window, 2)
        assert y.shape == (tiny.batch, tiny.window)
        assert np.isnan(y[:, : tiny.warmup]).all()
        assert np.isfinite(y).any(axis=1).all()
    lengthy = [
        h.dates_ahead(step)[:n] for step in STEPS for h, n in zip(histories, lengths, strict=True)
    ]
    ends = np.concatenate(lengthy).reshape(len(STEPS), -1).T
    begins = np.concatenate([h.dates[:n] for h, n in zip(histories, lengths, strict=True)])
    scored = np.isfinite(held.ahead_targets)
    assert (ends[scored] <= limit).all()
    # None begins among the sessions that train and ends among those held out.
    late = np.broadcast_to((date >= cut)[:, None], scored.shape)
    assert (ends[scored & ~late] < cut).all()
    assert not scored[(begins < cut) & (date < cut)][:, -1][-1]
    whole_span = np.isfinite(held.ahead_targets).sum(axis=0)
    # Of each history, as many at both ends as the step has sessions; and the first has no volatility.
    expected = [sum(lengths) - len(lengths) * (2 * step) for step in STEPS]
    assert whole_span.tolist() == expected


def test_nothing_to_hold_out(world, newcomer, tiny):
    # One ticker ended long ago, and the other is too young to be trained on.
    old = world[(world["ticker"] == "AAA") & (world["date"] < "2017-01-01")]
    days = newcomer["date"]
    young = newcomer[(days >= "2017-06-01") & (days < "2017-07-20")]
    config = dataclasses.replace(tiny, validation=30)
    with pytest.raises(HistoryError, match="holds out the sessions from 2017-06"):
        create("lstm", config).fit(Panel.of(pd.concat([old, young])), np.datetime64("2017-08-01"))


def test_training_is_recorded_and_stops_when_it_no_longer_helps(world, tiny, until):
    config = dataclasses.replace(tiny, epochs=6, patience=1, learning_rate=0.5)
    model = create("lstm", config)
    model.fit(Panel.of(world), np.datetime64(until))
    losses = [row["validation_loss"] for row in model.training]
    assert [row["epoch"] for row in model.training] == list(range(1, len(losses) + 1))
    assert len(losses) == 6 or losses[-1] >= min(losses)
    assert model.validation_loss == min(losses)
    assert np.isfinite([row["loss"] for row in model.training]).all()


def test_the_default_is_the_configuration_of_the_dataclass():
    assert create("lstm").config == RecurrentConfig()


def test_a_session_is_read_from_the_same_start_whatever_else_is_asked(trained, world):
    block = model_module.CONTEXT
    model, (history, *_) = trained("lstm").model, Panel.of(world).histories
    assert len(history.dates) > block + 60
    every = np.arange(60, len(history.dates))
    (together,) = model.outputs([(history, every)], (1, 2))
    for session in (60, block - 1, block, block + 1, len(history.dates) - 1):
        (alone,) = model.outputs([(history, np.array([session]))], (1, 2))
        for step in (1, 2):
            np.testing.assert_array_equal(alone[step][0], together[step][session - 60])


def test_a_forecast_needs_no_more_of_a_history_than_its_spans(trained, world, monkeypatch):
    monkeypatch.setattr(model_module, "CONTEXT", 100)
    days = world.loc[world["ticker"] == "AAA", "date"].iloc[30::63]
    table = pd.DataFrame({"ticker": "AAA", "date": days, "time": "post", "first_seen": pd.NaT})
    panel = Panel.of(world, events=events.check(table.assign(kind="earnings")))
    cutoffs = panel.histories[0].dates
    model = trained("lstm").model
    every = model.forecast(panel, cutoffs[60], cutoffs[-1], (1, 2, 7, 21))
    for cutoff in cutoffs[[-1, -2, -30, -250]]:
        alone = model.forecast(panel, cutoff, cutoff, (1, 2, 7, 21))
        assert len(alone) == 12
        its = every[every["cutoff"] == pd.Timestamp(cutoff)].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone, its, check_exact=True)


def test_spans_begin_a_block_or_two_before_what_is_asked(world):
    block = model_module.CONTEXT
    history = Panel.of(world).histories[0]
    spans = model_module.spans_of(history, np.array([5, block - 1, block, 3 * block + 7]))
    found = [(span.begin, span.end, span.index.tolist()) for span in spans]
    assert found == [
        (0, block, [5, block - 1]),
        (0, block + 1, [block]),
        (2 * block, 3 * block + 8, [3 * block + 7]),
    ]
