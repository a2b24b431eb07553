"""Searches over settings: what a trial is judged by, what it may not see, and what a study keeps."""

import dataclasses
import sqlite3

import numpy as np
import pandas as pd
import pytest

from forecaster import config
from forecaster.backtesting.spec import BacktestSpec
from forecaster.backtesting.walk_forward import forecast_history
from forecaster.config import RecurrentConfig
from forecaster.dataset.panel import Panel
from forecaster.errors import HistoryError, StoreError, UsageError
from forecaster.evaluation import experiment_log, metrics
from forecaster.model_selection import optuna_storage, search

TINY = {
    "units": 4, "window": 64, "warmup": 10, "batch": 8, "epochs": 1, "steps": 2, "validation": 60,
}  # fmt: skip
"""Held, so that a trial trains in a moment; what is left to search is in SEARCHED."""

SEARCHED = ["learning_rate", "feature_dropout", "head", "range", "volume", "calendar", "market"]
NARROW = TINY | {"groups": "", "head": "skewed"}
"""Leaves two settings, and networks of one shape."""


def objective_of(frame, until, held=NARROW, **more):
    return search.Objective.of(frame, until=until, held=held, **more)


@pytest.fixture(scope="module")
def objective(world, until):
    return objective_of(world, until)


@pytest.fixture(scope="module")
def home(objective, tmp_path_factory):
    """A home with a study of three trials."""
    home = tmp_path_factory.mktemp("home")
    search.run(objective, home=home, trials=3)
    return home


@pytest.fixture(scope="module")
def tuned(objective, home):
    return search.run(objective, home=home, trials=3)


def study_of(home, name):
    """The study as Optuna has it."""
    import optuna

    storage = optuna.storages.RDBStorage(f"sqlite:///{home / 'studies.db'}")
    return optuna.create_study(storage=storage, study_name=name, load_if_exists=True)


def crps_of_backtest(frame, until, objective, model, used):
    """Mean CRPS by a backtest of the same folds, of the tickers old enough at the start of each."""
    span = frame[frame["date"] <= pd.Timestamp(until)]
    folds = objective.folds
    length = np.searchsorted(Panel.of(span).sessions, [folds[0].until, folds[1].until])
    start, refit = (folds[0].until + 1).item(), int(length[1] - length[0])
    result = forecast_history(
        span, BacktestSpec((model,), start=start, end=until, refit=refit, config=used)
    )
    assert result.folds == folds
    losses = metrics.losses(result.forecasts)
    known = {
        (fold.until, ticker): (its["date"] <= pd.Timestamp(fold.until)).sum()
        for fold in folds
        for ticker, its in span.groupby("ticker")
    }
    starts = np.array([fold.first for fold in folds])
    fold = starts[np.searchsorted(starts, losses["cutoff"].to_numpy("M8[D]"), side="right") - 1]
    old = [known[key] > 250 for key in zip(fold, losses["ticker"], strict=True)]
    assert (sum(old) < len(old)) == (
        model != "gjr"
    )  # which needs as much; CCC is too young at first
    return losses.loc[old, "crps"].mean()


def test_a_trial_is_worth_what_a_backtest_of_its_folds_says(world, until, objective, tuned):
    assert objective.folds[-1].last < np.datetime64(until)
    for trial in tuned.trials:
        used = dataclasses.replace(objective.base, **trial.settings)
        expected = crps_of_backtest(world, until, objective, "lstm", used)
        assert trial.crps == pytest.approx(expected, rel=1e-12)
    for model, crps in tuned.reference.items():
        expected = crps_of_backtest(world, until, objective, model, RecurrentConfig())
        assert crps == pytest.approx(expected, rel=1e-12)
    assert set(tuned.reference) == {"naive", "gjr"}


def test_the_defaults_are_tried_first_and_the_best_is_the_lowest(tuned):
    default = RecurrentConfig()
    first = next(it for it in tuned.trials if it.trial == 0)
    assert first.crps == tuned.defaults
    assert first.settings == {
        "learning_rate": default.learning_rate,
        "feature_dropout": default.feature_dropout,
    }
    values = [it.crps for it in tuned.trials]
    assert values == sorted(values)
    assert len(set(values)) == 3
    assert tuned.best == NARROW | tuned.trials[0].settings
    assert tuned.importance is None


def test_what_comes_after_the_span_changes_nothing_nor_does_an_interruption(
    world, until, tuned, rewritten, tmp_path
):
    other, home = objective_of(rewritten(world, until), until), tmp_path / "a?b #1 %20 é"
    search.run(other, home=home, trials=1)
    result = search.run(other, home=home, trials=3)
    assert result.trials == tuned.trials
    assert result.reference == tuned.reference
    assert (home / "studies.db").is_file()


def test_what_comes_after_a_fold_does_not_change_its_crps(world, until, objective, rewritten):
    fold, after = objective.folds[:2]
    work = search.TrialFold("lstm", objective.base, fold)
    result = search.total_crps(work, objective.panel)
    later = objective_of(rewritten(world, after.until), until)
    assert search.total_crps(work, later.panel) == result
    earlier = objective_of(rewritten(world, after.until - 7), until)
    assert search.total_crps(work, earlier.panel) != result


def test_every_trial_is_written_down_once(objective, home, tuned):
    result = experiment_log.read(home)
    assert [it.kind for it in result] == 3 * ["tune"]
    assert len({it.key for it in result}) == 3
    rates = {it.settings["config"]["learning_rate"] for it in result}
    assert rates == {it.settings["learning_rate"] for it in tuned.trials}
    assert {(it.start, it.end) for it in result} == {(str(objective.first), str(objective.until))}


def made_up(objective, value, **params):
    """A finished trial of any value, worth the same on every fold."""
    from optuna.trial import create_trial

    return create_trial(
        params=objective.defaults | params,
        distributions=objective.space,
        value=value,
        intermediate_values=dict.fromkeys((1, 2, 3), value),
    )


def test_a_trial_that_falls_behind_is_pruned_and_counted(world, until, tmp_path):
    objective = objective_of(world, until, seed=1)
    name = search.run(objective, home=tmp_path, trials=1).study
    study_of(tmp_path, name).add_trials(
        [
            made_up(objective, 1e-9, feature_dropout=0.1)
            for _ in range(optuna_storage.STARTUP_TRIALS)
        ]
    )
    result = search.run(objective, home=tmp_path, trials=optuna_storage.STARTUP_TRIALS + 2)
    last = result.trials[-1]
    assert not last.complete
    assert sum(not it.complete for it in result.trials) == 1
    used = dataclasses.replace(objective.base, **last.settings)
    total, rows = search.total_crps(
        search.TrialFold("lstm", used, objective.folds[0]), objective.panel
    )
    assert last.crps == total / rows
    assert len(experiment_log.read(tmp_path)) == 2


def test_what_the_values_vary_by_is_what_matters(world, until, tmp_path):
    objective = objective_of(world, until, seed=2)
    name = search.run(objective, home=tmp_path, trials=1).study
    rng = np.random.default_rng(0)
    study_of(tmp_path, name).add_trials(
        [
            made_up(
                objective,
                0.1 * np.log(rate) ** 2,
                learning_rate=rate,
                feature_dropout=round(0.1 * int(rng.integers(8)), 1),
            )
            for rate in np.geomspace(6e-4, 9e-3, 30).tolist()
        ]
    )
    result = search.run(objective, home=tmp_path, trials=31)
    assert set(result.importance) == set(objective.space)
    assert sum(result.importance.values()) == pytest.approx(1)
    assert max(result.importance, key=result.importance.get) == "learning_rate"
    assert result.importance["learning_rate"] > 0.5


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"until": -1}, "until, prices"),
        ({"tickers": ["AAA", "BBB"]}, "tickers, prices"),
        ({"held": NARROW | {"epochs": 2}}, "settings"),
        ({"held": {k: v for k, v in NARROW.items() if k != "head"}}, "held"),
        ({"model": "gru"}, "model"),
        ({"seed": 5}, "settings"),
    ],
)
def test_a_study_of_something_else_is_refused(world, until, home, tuned, change, named):
    frame = world[world["ticker"].isin(change.pop("tickers", ["AAA", "BBB", "CCC"]))]
    days = pd.Timedelta(days=change.pop("until", 0))
    other = objective_of(frame, (pd.Timestamp(until) + days).date(), **change)
    with pytest.raises(StoreError, match=f"differs in {named}") as caught:
        search.run(other, home=home, trials=5, study=tuned.study)
    assert "another `study`" in str(caught.value)
    assert len(study_of(home, tuned.study).trials) == 3


def test_a_study_that_others_made_is_left_alone(objective, tmp_path):
    study_of(tmp_path, "theirs").add_trial(made_up(objective, 1.0))
    with pytest.raises(StoreError, match="study theirs is of something else"):
        search.run(objective, home=tmp_path, trials=1, study="theirs")


def test_only_what_can_matter_is_searched(world, until):
    closes = world[world["ticker"] == "CCC"].assign(ticker="AAA")
    last = closes["date"].max().date()
    assert list(objective_of(world, until, held=TINY).space) == SEARCHED
    # It has no ranges, no volumes and no market, and its first fold too few sessions for a window of 256.
    assert list(objective_of(closes, last, held={"window": 128}).space) == [
        "units", "learning_rate", "feature_dropout", "head", "calendar",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="nothing is left to search"):
        _ = objective_of(
            world, until, held=NARROW | {"learning_rate": 1e-3, "feature_dropout": 0}
        ).space


@pytest.mark.parametrize(
    ("held", "sessions", "said"),
    [(NARROW, 400, "needs 502 sessions"), ({}, 521, "needs 322 sessions")],
)
def test_too_short_a_history_is_told_before_anything_is_kept(world, tmp_path, held, sessions, said):
    until = world["date"].iloc[sessions - 1].date()
    with pytest.raises(HistoryError, match=said):
        search.run(objective_of(world, until, held=held), home=tmp_path / "h", trials=1)
    assert not (tmp_path / "h").exists()


def test_a_trial_is_of_the_next_session_and_leaves_the_horizon_open(world, until, objective, tuned):
    assert objective.base.horizon == 1
    assert "horizon" not in tuned.best
    held = objective_of(world, until, held=NARROW | {"horizon": 5})
    assert (held.base.horizon, held.held["horizon"]) == (1, 5)
    with pytest.raises(UsageError, match="horizon must lie between 1 and 21, got 22"):
        objective_of(world, until, held={"horizon": 22})


def test_a_setting_is_written_as_it_would_be_typed(objective):
    settings = objective.settings({"learning_rate": 0.002, "feature_dropout": 0.1 + 0.2})
    assert config.to_toml(settings) == "learning_rate = 0.002\nfeature_dropout = 0.3\n"
    assert objective.configured({"feature_dropout": 0.1 + 0.2}).feature_dropout == 0.3


def test_other_models_have_no_such_settings(world, until):
    with pytest.raises(UsageError, match="got the `model` gjr"):
        objective_of(world, until, model="gjr")


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        ("studies.db", UsageError, "`storage` takes the URL of a database.*'studies.db'"),
        ("sqlite:////nowhere/at/all.db", StoreError, "unable to open database file"),
        ("sqlite:///{home}/damaged.db", StoreError, "file is not a database"),
        ("sqlite:///{home}/cut.db", StoreError, "disk image is malformed"),
        ("oracle9://me:secret@host/x", StoreError, r"me:\*\*\*@host.*plugin"),
        ("postgresql://me:secret@127.0.0.1:1/x", StoreError, r"me:\*\*\*@127.0.0.1"),
    ],
)
def test_a_storage_that_cannot_be_used_is_named(objective, home, tuned, tmp_path, url, error, said):
    whole = (home / "studies.db").read_bytes()
    (tmp_path / "cut.db").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "damaged.db").write_bytes(b"SQLite, not" * 400)
    with pytest.raises(error, match=said) as caught:
        search.run(objective, home=tmp_path, trials=1, storage=url.format(home=tmp_path))
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert experiment_log.read(tmp_path) == []


def test_a_storage_that_another_holds_is_told_and_keeps_its_trials(
    objective, home, tuned, monkeypatch
):
    monkeypatch.setattr(optuna_storage, "LOCK_TIMEOUT", 0.1)
    with sqlite3.connect(home / "studies.db") as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="database is locked"):
            search.run(objective, home=home, trials=4)
    holder.close()
    assert search.run(objective, home=home, trials=3).trials == tuned.trials
