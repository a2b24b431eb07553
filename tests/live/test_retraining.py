import numpy as np
import pandas as pd
import pytest

from forecaster.backtesting.spec import BacktestSpec
from forecaster.backtesting.walk_forward import forecast_history
from forecaster.data import calendars
from forecaster.distributions import forecasts, quantile_grid
from forecaster.errors import MissingPackageError
from forecaster.live import retraining
from forecaster.live.retraining import HELD_OUT, LEAST, Span
from forecaster.runs import bundle, choice, training
from forecaster.runs.choice import Choice, Reason

DAYS = np.arange("2020-01-01", "2020-12-31", dtype="datetime64[D]")


@pytest.mark.parametrize(
    ("unseen", "judging"),
    [(0, None), (41, None), (42, 21), (60, 39), (84, 63), (85, 63), (300, 63)],
)
def test_what_judges_is_unseen_and_leaves_something_to_learn(unseen, judging):
    seen = DAYS[len(DAYS) - unseen - 1].item()
    span = retraining.held_out(DAYS, seen)
    if judging is None:
        assert span is None
        return
    assert span == Span(DAYS[len(DAYS) - judging - 1].item(), judging)
    assert (span.until - seen).days >= LEAST
    assert judging <= HELD_OUT


@pytest.fixture(scope="module")
def old(world, tiny):
    """A network that lacks the last months of the world."""
    until = pd.Timestamp("2018-04-30").date()
    return training.train(world, model="lstm", name="mine-2018-04", until=until, config=tiny)


@pytest.fixture
def retrain(old, world, tmp_path, monkeypatch):
    """A function that retrains a run of the home in a month."""
    bundle.save(old, tmp_path)
    monkeypatch.setattr(calendars, "now", lambda: pd.Timestamp("2018-10-12 22:00", tz="UTC"))

    def run(chosen=None, frame=world):
        chosen = chosen or choice.choose(tmp_path)
        return retraining.retrain(tmp_path, chosen, lambda: frame)

    return run


def test_the_better_run_takes_over_and_the_month_is_done(
    retrain, old, world, tmp_path, monkeypatch
):
    monkeypatch.setattr(retraining, "compared", lambda *_: (0.9, 0.9))
    result = retrain()
    assert (result.run, result.takes_over) == ("mine-2018-10", True)
    assert choice.default(tmp_path) == "mine-2018-10"
    new = bundle.load(tmp_path, "mine-2018-10")
    sessions = np.sort(world["date"].unique())
    assert np.datetime64(new.until) == sessions[-HELD_OUT - 1].astype("datetime64[D]")
    assert new.start["name"] == old.name
    again = retrain()
    assert again.run is None
    assert again.words == "run mine-2018-10 is there, so this month's training is done"


@pytest.mark.parametrize("usual", [None, "mine-2018-04"])
def test_the_worse_run_is_kept_aside(retrain, old, tmp_path, monkeypatch, usual):
    if usual:
        choice.set_default(tmp_path, usual)
    monkeypatch.setattr(retraining, "compared", lambda *_: (0.91, 0.9))
    result = retrain()
    assert (result.run, result.takes_over) == ("mine-2018-10", False)
    assert "run mine-2018-04 goes on forecasting, as run mine-2018-10 is worse" in result.words
    # It is the latest network, and still not what forecasts.
    assert choice.choose(tmp_path).run.name == "mine-2018-04"
    assert retrain().words.startswith("run mine-2018-10 is there")


def test_both_are_scored_as_a_backtest_scores_them(old, world, tiny):
    until = pd.Timestamp("2018-07-31").date()
    new = training.train(world, model="lstm", name="new", until=until, config=tiny)
    from forecaster.dataset.panel import bars_of

    scores = retraining.compared(new, old, bars_of(world), until, None, None)
    spec = BacktestSpec(("lstm",), start=pd.Timestamp("2018-08-01").date())
    for run, score in zip((new, old), scores, strict=True):
        rows = forecast_history(world, spec, trained=run).forecasts.dropna(subset="log_return")
        crps = quantile_grid.crps(rows["log_return"], rows[forecasts.QUANTILES])
        assert score == pytest.approx(100 * crps.mean(), rel=1e-9)


def test_nothing_is_learnt_from_the_sessions_that_judge(retrain, world, rewritten, tmp_path):
    first = retrain()
    weights = bundle.weights_sha256(bundle.load(tmp_path, first.run))
    until = bundle.load(tmp_path, first.run).until
    bundle.remove(tmp_path, first.run)
    choice.set_default(tmp_path, "mine-2018-04")
    retrain(frame=rewritten(world, until))
    assert bundle.weights_sha256(bundle.load(tmp_path, first.run)) == weights


def test_a_run_that_has_seen_nearly_all_waits(retrain, world, tiny, tmp_path):
    recent = training.train(world, model="lstm", name="recent", config=tiny)
    result = retrain(Choice(recent, Reason.NAMED))
    assert result.run is None
    assert "run recent has seen all but a few of the stored sessions" in result.words


def test_networks_alone_are_retrained(retrain, world):
    naive = training.train(world, model="naive", name="plain")
    assert retrain(Choice(naive, Reason.DEFAULT)).words == (
        "run plain is of naive, and networks alone are retrained"
    )


def test_without_tensorflow_all_is_as_it_was(retrain, tmp_path, monkeypatch):
    from forecaster.models import registry

    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError):
        retrain()
    assert bundle.names(tmp_path) == ["mine-2018-04"]


@pytest.mark.parametrize(
    ("name", "later"),
    [
        ("lstm-2025-12-31", "lstm-2026-11"),
        ("lstm-2025-12-31-2", "lstm-2026-11"),
        ("mine-2026-10", "mine-2026-11"),
        ("mine", "mine-2026-11"),
    ],
)
def test_runs_are_named_by_the_month(old, name, later):
    from dataclasses import replace

    now = pd.Timestamp("2026-11-27", tz="UTC")
    assert retraining.of_month(replace(old, name=name), now) == later
