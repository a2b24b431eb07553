import numpy as np
import pandas as pd
import pytest

from forecaster.distributions import forecasts
from forecaster.evaluation import metrics
from forecaster.evaluation.announced import announced


def made(model: str, scale: np.ndarray, outcome: np.ndarray) -> pd.DataFrame:
    dates = pd.bdate_range("2020-01-01", periods=len(outcome) + 1)
    return forecasts.from_student_t(
        model=model,
        ticker=np.repeat(["AAA", "BBB"], len(outcome) // 2),
        cutoff=dates[:-1],
        date=dates[1:],
        last_close=np.full(len(outcome), 100.0),
        log_return=outcome,
        location=np.zeros(len(outcome)),
        scale=scale,
        df=np.full(len(outcome), 5.0),
    )


@pytest.fixture
def pair():
    """Forecasts of 1200 sessions by a model that widens every tenth, and by gjr, which does not."""
    reacts = np.arange(1200) % 10 == 0
    scale = np.where(reacts, 0.03, 0.01)
    outcome = scale * np.random.default_rng(0).standard_t(5, 1200)
    frame = forecasts.concat(
        [made("ours", scale, outcome), made("gjr", np.full(1200, 0.01), outcome)]
    )
    own = frame[frame["model"] == "gjr"].reset_index(drop=True)
    since = np.arange(1200) % 10
    around = own[["ticker", "date"]].assign(since=since)[since <= 5]
    return frame, around


def test_each_part_by_hand(pair):
    frame, around = pair
    losses = metrics.losses(frame)
    table = announced(losses, frame, around).set_index(["model", "part"])
    since = np.tile(np.arange(1200) % 10, 2)
    parts = {"reaction": since == 0, "after": (since > 0) & (since <= 5), "other": since > 5}
    for model in ("ours", "gjr"):
        for part, rows in parts.items():
            its = losses[rows & (losses["model"] == model).to_numpy()]
            row = table.loc[(model, part)]
            assert row["forecasts"] == len(its)
            assert row["crps"] == pytest.approx(100 * its["crps"].mean())
            assert row["coverage_80"] == pytest.approx(its["inside_80"].mean())
            assert row["log_score"] == pytest.approx(its["log_score"].mean())
    ratio = table.loc[("ours", "reaction"), "crps"] / table.loc[("gjr", "reaction"), "crps"]
    assert table.loc[("ours", "reaction"), "crps/gjr"] == pytest.approx(ratio)
    assert ratio < 0.97
    assert table.loc[("ours", "other"), "crps/gjr"] == pytest.approx(1)
    assert table["crps/naive"].isna().all()


def test_the_pit_of_a_model_that_does_not_know_is_rejected_at_reactions_alone(pair):
    frame, around = pair
    table = announced(metrics.losses(frame), frame, around).set_index(["model", "part"])
    assert table.loc[("gjr", "reaction"), "p_value"] < 0.05
    assert table.loc[("gjr", "reaction"), "pit_variance"] > 1 / 12 + 0.02
    assert table.loc[("ours", "reaction"), "p_value"] > 0.05
    assert table.loc[("gjr", "other"), "p_value"] > 0.05


def test_tickers_without_announcements_are_left_out(pair):
    frame, around = pair
    losses = metrics.losses(frame)
    table = announced(losses, frame, around[around["ticker"] == "AAA"])
    assert table.groupby("model")["forecasts"].sum().tolist() == [600, 600]
    assert announced(losses, frame, around.iloc[:0]).empty
