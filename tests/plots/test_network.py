"""The pictures of a network say what its explanation says, and can be read."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from pictures import assert_readable, legend, line

from forecaster.explain import explanation
from forecaster.plots import network


@pytest.fixture(scope="module")
def explained(trained, world):
    @cache
    def of(name, others=("lstm", "gru", "rnn")):
        return explanation.of(
            trained(name), world, ticker="AAA", others=[trained(o) for o in others]
        )

    return of


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("draw", [network.overview, network.gates, network.memory])
def test_every_text_can_be_read(explained, name, draw):
    assert_readable(draw(explained(name)))


def test_heat_maps_are_the_gates_with_long_memories_on_top(explained):
    result = explained("lstm")
    top, *others = network.gates(result, sessions=50).axes
    maps = [axes for axes in others if axes.images]
    np.testing.assert_allclose(
        [bar.get_height() for bar in top.patches], 100 * result.activity.log_returns[-50:]
    )
    for axes, (name, values) in zip(maps, result.activity.gates.items(), strict=True):
        assert axes.get_ylabel().replace("\n", " ") == name
        drawn = axes.images[0].get_array()
        longest = np.argmax(result.activity.half_lives)
        np.testing.assert_allclose(drawn[-1], values[-50:, longest])  # the origin is below
        limits = axes.images[0].get_clim()
        assert limits == (0, 1) if name.endswith("gate") else limits[0] == -limits[1]


def test_memory_draws_the_half_lives_and_the_shocks(explained):
    result = explained("lstm")
    units, shocks = network.memory(result).axes
    assert sum(bar.get_height() for bar in units.patches) == len(result.activity.half_lives)
    np.testing.assert_allclose(line(shocks, "lstm").get_ydata(), 100 * result.memory.network)
    np.testing.assert_allclose(
        line(shocks, "gjr, same days").get_ydata(), 100 * result.memory.garch_path
    )
    np.testing.assert_allclose(
        line(shocks, "gjr, closed form").get_ydata(), 100 * result.memory.garch_expected
    )


def test_gradients_are_drawn_for_the_cells_there_are(explained):
    result = explained("gru")
    there = {name: result.gradients[name] for name in ("gru", "rnn")}
    (axes,) = network.gradients(replace(result, gradients=there)).axes
    assert [it.get_label() for it in axes.lines] == ["gru", "rnn"]
    assert axes.get_yscale() == "log"
    np.testing.assert_allclose(
        line(axes, "gru").get_ydata(), result.gradients["gru"][: network.LAGS]
    )


def test_features_add_up_to_what_they_moved(explained):
    result = explained("lstm")
    axes = network.overview(result).axes[-1]
    widths = [bar.get_width() for bar in axes.patches]
    assert len(widths) == network.MOST_FEATURES + 1
    assert sum(widths) == pytest.approx(100 * result.attribution.by_feature.sum())


def test_training_marks_the_best_of_the_sessions_held_out():
    epochs = [
        {"seed": seed, "epoch": epoch, "loss": 1.5 - epoch / 10, "validation_loss": loss}
        for seed, losses in ((0, (1.4, 1.2, 1.3)), (1, (1.3, 1.4)))
        for epoch, loss in enumerate(losses, start=1)
    ]
    figure = network.training(epochs)
    (axes,) = figure.axes
    best = [it for it in axes.lines if it.get_marker() == "o"]
    assert [(it.get_xdata()[0], it.get_ydata()[0]) for it in best] == [(2, 1.2), (1, 1.3)]
    assert list(line(axes, "held out").get_ydata()) == [1.4, 1.2, 1.3]
    assert len(line(axes, "last training batch").get_ydata()) == 3
    assert legend(figure) == ["last training batch", "held out", "best"]
    assert "2 networks" in axes.get_title()
    assert_readable(figure)


def test_weights_that_a_training_started_from_have_no_training_loss():
    losses = [{"epoch": 1, "loss": 1.4}, {"epoch": 2, "loss": 1.3}]
    epochs = [
        {"seed": 0, "validation_loss": 1.2 + it["epoch"] / 10, **it}
        for it in ({"epoch": 0}, *losses)
    ]
    (axes,) = network.training(epochs).axes
    assert list(line(axes, "last training batch").get_xdata()) == [1, 2]
    assert list(line(axes, "held out").get_xdata()) == [0, 1, 2]
    assert line(axes, "best").get_xdata()[0] == 0


def test_the_training_of_a_run_is_drawn(trained):
    assert_readable(network.training(trained("lstm").model.training))
