import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from repetitions import simulated

from forecaster.evaluation import decomposition


def test_isotonic_regression_by_hand():
    # The two in the middle violate the order and are averaged; equal forecasts have one value.
    values = decomposition.recalibrated([0.1, 0.2, 0.3, 0.4, 0.4], [0.0, 1.0, 0.0, 1.0, 0.0])
    np.testing.assert_allclose(values, [0, 0.5, 0.5, 0.5, 0.5])


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=40))
def test_no_monotone_curve_is_better(pairs):
    p, y = np.array(pairs, dtype=float).T
    best = decomposition.brier(decomposition.recalibrated(p, y), y).mean()
    for other in (p, p**2, np.full(len(p), y.mean()), (p > 0.5).astype(float)):
        assert best <= decomposition.brier(other, y).mean() + 1e-12


def test_parts_add_up_and_a_wrong_scale_is_miscalibration():
    frame = simulated(models=1, tickers=4, sessions=500, shared=0.3, seed=1)
    wide = frame.assign(volatility=2 * frame["volatility"])
    right, wrong = (
        decomposition.decomposition(it).set_index("forecast").loc["variance"]
        for it in (frame, wide)
    )
    for row in (right, wrong):
        total = row["miscalibration"] - row["discrimination"] + row["uncertainty"]
        assert row["score"] == pytest.approx(total)
        assert row["miscalibration"] >= 0
        assert row["discrimination"] >= 0
    # log 4 + 1/4 less 1 is what a variance of four times the size costs.
    extra = wrong["miscalibration"] - right["miscalibration"]
    assert extra == pytest.approx(np.log(4) - 0.75, abs=0.1)
    assert wrong["discrimination"] == pytest.approx(right["discrimination"])


def test_the_diagram_holds_the_steps_of_the_regression():
    frame = simulated(models=2, tickers=2, sessions=300, shared=0.0, seed=3)
    steps = decomposition.reliability(frame)
    for model, its in frame.groupby("model"):
        mine = steps[steps["model"] == model]
        assert mine["probability"].is_monotonic_increasing
        assert mine["share"].is_monotonic_increasing
        assert mine["forecasts"].sum() / 2 == len(its)
        rises = (mine["share"] * mine["forecasts"]).sum() / 2
        assert rises == pytest.approx((its["log_return"] > 0).sum())
