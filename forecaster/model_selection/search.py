"""A search for settings of a network: an Optuna study, scored by CRPS inside the training span.

A trial trains a network in each fold, walking forward through the last sessions of the span, and its
value is the mean CRPS of their forecasts. Nothing after the span is read, so a backtest of the best
settings is still on days that nobody has chosen by. A trial that falls behind the median of those
before, fold by fold, is pruned. Optuna (Akiba et al. 2019, KDD) keeps the study in a database, and
samples by the tree-structured Parzen estimator (Bergstra et al. 2011, NIPS).

Only the process that searches talks to the database; workers need no way to it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from forecaster import __version__, config
from forecaster.config import RecurrentConfig
from forecaster.data import companions as indices
from forecaster.data import prices
from forecaster.data.events import digest, known_by
from forecaster.dataset import features
from forecaster.dataset.panel import Panel
from forecaster.errors import HistoryError, UsageError
from forecaster.evaluation import metrics
from forecaster.evaluation.experiment_log import Experiment, record
from forecaster.identity import Identity
from forecaster.model_selection import optuna_storage
from forecaster.model_selection.splits import Fold, walk_forward_folds
from forecaster.models.garch import SESSIONS_TO_FIT
from forecaster.models.protocol import Progress, silent, too_short
from forecaster.models.recurrent.model import held_out_from
from forecaster.models.registry import NETWORKS, create, require_fittable
from forecaster.parallel import jobs
from forecaster.parallel.jobs import LOCAL, Engine

if TYPE_CHECKING:
    import optuna

TRIAL_SETTINGS = {"seeds": 1, "epochs": 10}
"""Settings of a trial where none are given: enough to rank settings by, at a third of the price."""

FOLDS, FOLD_SESSIONS = 3, 250
"""Folds, and the most sessions in each; together they are half of the span at the most."""

IMPORTANCE_TRIALS = 10
"""Finished trials before the importance of a setting is more than chance."""

REFERENCE_MODELS = ("naive", "gjr")
"""Models that are scored on the same folds, once a study."""


@dataclass(frozen=True)
class TrialFold:
    """A fold of a trial, as another process gets it."""

    model: str
    config: RecurrentConfig
    fold: Fold


def total_crps(work: TrialFold, panel: Panel) -> tuple[float, int]:
    """Return the sum of the CRPS of a fold's forecasts, and their number.

    Only tickers count that had the sessions for a GARCH when the fold began, so that all models are
    scored on the same rows.
    """
    fold = work.fold
    model = create(work.model, work.config)
    model.fit(panel, fold.until)
    seasoned = [h for h in panel.histories if h.count_until(fold.until) > SESSIONS_TO_FIT]
    forecast = model.forecast(Panel(tuple(seasoned)), fold.first, fold.last)
    crps = metrics.losses(forecast)["crps"]
    return float(crps.sum()), len(crps)


@dataclass(frozen=True)
class Objective:
    """What the trials of a study are scored by."""

    model: str
    panel: Panel
    """Of the span alone."""
    folds: list[Fold]
    base: RecurrentConfig
    """The settings that are not searched."""
    held: dict[str, Any]
    """Those of them that are given."""
    first: date
    until: date
    prices_sha256: str
    events_sha256: str | None
    companions_sha256: str | None

    @classmethod
    def of(
        cls,
        frames: pd.DataFrame | Iterable[pd.DataFrame],
        *,
        events: pd.DataFrame | None = None,
        companions: pd.DataFrame | None = None,
        model: str = "lstm",
        until: date | None = None,
        held: dict[str, Any] | None = None,
        seed: int = 0,
    ) -> "Objective":
        """Return the objective on prices up to a date, with some settings held.

        Parameters
        ----------
        frames : the prices frame, or one for each ticker.
        events : the events frame of any tickers.
        companions : the prices frame of the indices that they are seen beside.
        model : of :data:`forecaster.models.registry.NETWORKS`.
        until : the last date that anything is read of; by default the last there is.
        held : settings that are not searched.
        seed : of the networks and of the search.

        Raises
        ------
        HistoryError
            ``until`` is not within the prices, or there is too little history before it.
        MissingPackageError
            TensorFlow is not installed.
        UsageError
            The model has no such settings, or they cannot be.
        """
        if model not in NETWORKS:
            raise UsageError(
                f"tune searches settings of {', '.join(NETWORKS)}; got the `model` {model}"
            )
        require_fittable([model])
        held = held or {}
        base = config.replaced(RecurrentConfig(), TRIAL_SETTINGS | {"seed": seed} | held)
        base = replace(base, horizon=1)  # a trial is scored by the next session alone
        span = prices.Reading(frames, until)
        panel = Panel.of(span, events=events, companions=companions)
        if until is not None and not span.begin <= until <= span.end:
            raise HistoryError(
                f"`until` must lie within the stored prices, from {span.begin} to {span.end}; got {until}"
            )
        sessions = panel.sessions
        length = min(FOLD_SESSIONS, len(sessions) // (2 * FOLDS))
        if length == 0 or len(sessions) - FOLDS * length <= SESSIONS_TO_FIT:
            raise too_short("tune", panel, sessions[-1], 2 * SESSIONS_TO_FIT + 2)
        start = sessions[-FOLDS * length]
        scheduled = digest(known_by(events, span.last))
        folds = list(walk_forward_folds(sessions, start=start, end=sessions[-1], refit=length))
        return cls(
            model,
            panel,
            folds,
            base,
            held,
            span.first,
            span.last,
            span.digest,
            scheduled,
            indices.digest(companions, span.last),
        )

    @property
    def identity(self) -> Identity:
        """What must be the same for the values of two trials to be comparable."""
        tickers = ",".join(self.panel.tickers)
        return Identity.of(
            version=__version__,
            model=self.model,
            tickers=hashlib.sha256(tickers.encode()).hexdigest(),
            until=self.until,
            prices=self.prices_sha256,
            settings=asdict(self.base),
            held=sorted(self.held),
            **({"events": self.events_sha256} if self.events_sha256 else {}),
            **({"companions": self.companions_sha256} if self.companions_sha256 else {}),
        )

    @cached_property
    def space(self) -> dict[str, "optuna.distributions.BaseDistribution"]:
        """The distributions to search, by name; a group of features is there or not."""
        from optuna.distributions import (
            BaseDistribution,
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        known = np.any([np.isfinite(h.features).any(axis=0) for h in self.panel.histories], axis=0)
        groups = {
            group: CategoricalDistribution((True, False))
            for group, names in features.GROUPS.items()
            if known[np.isin(features.FEATURES, names)].any()
        }
        searched: dict[str, BaseDistribution] = {
            "window": IntDistribution(*self._windows(), step=64),
            "units": IntDistribution(8, 64, step=8),
            "learning_rate": FloatDistribution(5e-4, 1e-2, log=True),
            "feature_dropout": FloatDistribution(0.0, 0.7, step=0.1),
            "head": CategoricalDistribution(config.HEADS),
            **({} if "groups" in self.held else groups),
        }
        left = {name: its for name, its in searched.items() if name not in self.held}
        if not left:
            raise UsageError(
                f"nothing is left to search: all of {', '.join(searched)} are in `config`"
            )
        return left

    def _windows(self) -> tuple[int, int]:
        """Return the shortest and the longest window that the first fold can be fitted with."""
        default, until = RecurrentConfig().window, self.folds[0].until
        cut = held_out_from(self.panel, until, self.base)
        most = max(h.count_until(cut) for h in self.panel.histories) - 1
        if most < default and "window" not in self.held:
            raise too_short("tune", self.panel, until, 5 * (default + 1) // 4 + 1)
        return min(default, 64 * (self.base.warmup // 64 + 2)), max(
            default, 64 * (min(most, 512) // 64)
        )

    @property
    def defaults(self) -> dict[str, Any]:
        """The default settings as a point of :attr:`space`."""
        return {name: getattr(RecurrentConfig(), name, True) for name in self.space}

    def settings(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return the settings that a point of :attr:`space` stands for, but for those held."""
        groups = [group for group in config.GROUPS if params.get(group, True)]
        settings = {
            name: round(value, 12) if isinstance(value, float) else value  # 0.3, not a bit more
            for name, value in params.items()
            if name not in config.GROUPS
        }
        return settings if "groups" in self.held else settings | {"groups": ",".join(groups)}

    def configured(self, params: dict[str, Any]) -> RecurrentConfig:
        """Return the configuration of a trial."""
        return config.replaced(self.base, self.settings(params))


@dataclass(frozen=True)
class TrialResult:
    """The settings of a trial and what they were worth."""

    trial: int
    complete: bool
    """Whether it was scored on all folds; else it was pruned."""
    crps: float
    """Mean over the folds that it was scored on, a fraction."""
    settings: dict[str, Any]
    """Those searched."""


@dataclass(frozen=True)
class SearchResult:
    """What a study knows so far."""

    study: str
    objective: Objective
    trials: list[TrialResult]
    """The best first, those pruned last."""
    defaults: float | None
    """CRPS of the default settings on the same folds; None where that trial was not finished."""
    reference: dict[str, float]
    """CRPS of other models on the same folds."""
    importance: dict[str, float] | None
    """Share of each setting in the variance of the values; None where there are too few trials."""

    @property
    def best(self) -> dict[str, Any]:
        """The settings of the best trial, with those that were held."""
        return self.objective.held | self.trials[0].settings


def run(
    objective: Objective,
    *,
    home: Path,
    trials: int,
    study: str | None = None,
    storage: str | None = None,
    engine: Engine = LOCAL,
    progress: Progress = silent,
) -> SearchResult:
    """Begin a study, or go on with it, until it has a number of finished trials.

    Parameters
    ----------
    objective : of the trials.
    home : where trials are recorded (:mod:`forecaster.evaluation.experiment_log`), and by default
        the studies.
    trials : number of finished trials that the study shall have, earlier ones included.
    study : its name; by default the model's and the last session's.
    storage : URL of a database, as SQLAlchemy has it; ``studies.db`` in the home by default. Several
        processes may work at one study; they may then finish a few trials more.
    engine : who trains; ``engine.jobs`` trials at once, one by default. One at a time, the same seed
        gives the same study, whether or not it was interrupted.

    Raises
    ------
    StoreError
        The database cannot be used, or the study is of something else.
    UsageError
        The storage is no URL, or no setting is left to search.
    """
    name = study or f"{objective.model}-{objective.until}"
    space = objective.space
    url = storage or optuna_storage.url_of(home)
    with optuna_storage.one_line_errors(url):
        stored = optuna_storage.open_study(url, name, objective.identity)
        if "company" not in stored.user_attrs:
            progress(0, trials, f"{' and '.join(REFERENCE_MODELS)} on the same folds")
            optuna_storage.set_attribute(stored, "company", _reference(objective))
        if not any(
            it.params == objective.defaults for it in optuna_storage.finished_trials(stored)
        ):
            stored.enqueue_trial(objective.defaults)
        with jobs.Workers(engine, objective.panel) as workers:
            while (done := len(optuna_storage.finished_trials(stored))) < trials:
                batch = [
                    optuna_storage.next_trial(stored, space, objective.base.seed)
                    for _ in range(min(engine.jobs or 1, trials - done))
                ]
                try:
                    for news in _run_batch(stored, batch, objective, workers, home):
                        progress(*_progress_of(stored, trials, news))
                except BaseException:
                    optuna_storage.abandon(stored, batch)
                    raise
        return _result(stored, objective)


def _reference(objective: Objective) -> dict[str, float]:
    """Return the CRPS of the reference models on the folds of the trials."""
    work = [
        TrialFold(name, objective.base, fold)
        for name in REFERENCE_MODELS
        for fold in objective.folds
    ]
    sums = np.array([total_crps(it, objective.panel) for it in work])
    total, rows = sums.reshape(len(REFERENCE_MODELS), len(objective.folds), 2).sum(axis=1).T
    return dict(zip(REFERENCE_MODELS, (total / rows).tolist(), strict=True))


def _run_batch(
    study: "optuna.Study",
    batch: Sequence["optuna.Trial"],
    objective: Objective,
    workers: jobs.Workers,
    home: Path,
) -> Iterator[str]:
    """Score trials side by side, fold by fold; record each that ends, and say how far they are."""
    from optuna.trial import TrialState

    sums = {trial.number: np.zeros(2) for trial in batch}
    running = list(batch)
    for step, fold in enumerate(objective.folds, start=1):
        work = [TrialFold(objective.model, objective.configured(it.params), fold) for it in running]
        results = workers.ordered(total_crps, work)
        for trial, result in zip(tuple(running), results, strict=True):
            total, rows = sums[trial.number] = sums[trial.number] + result
            trial.report(total / rows, step)
            last = step == len(objective.folds)
            if last or trial.should_prune():
                running.remove(trial)
                record(home, _experiment(objective, trial.params))
                if last:
                    study.tell(trial, total / rows)
                else:
                    study.tell(trial, state=TrialState.PRUNED)
            state = "" if last else ", pruned" if trial not in running else ""
            yield (
                f"trial {trial.number} fold {step}/{len(objective.folds)}: "
                f"CRPS {100 * total / rows:.4f}%{state}"
            )


def _experiment(objective: Objective, params: dict[str, Any]) -> Experiment:
    """Return what is recorded of a trial, finished or pruned."""
    settings = {
        "config": asdict(objective.configured(params)),
        "prices_sha256": objective.prices_sha256,
    }
    dates = str(objective.first), str(objective.until)
    return Experiment("tune", objective.model, list(objective.panel.tickers), *dates, settings)


def _progress_of(study: "optuna.Study", trials: int, news: str) -> tuple[int, int, str]:
    """Return the trials finished, how many there shall be, and the news with the best value."""
    done = len(optuna_storage.finished_trials(study))
    values = [it.value for it in optuna_storage.complete_trials(study) if it.value is not None]
    so_far = f"; best of all folds {100 * min(values):.4f}%" if values else ""
    return min(done, trials), trials, news + so_far


def _result(study: "optuna.Study", objective: Objective) -> SearchResult:
    complete = {it.number: it for it in optuna_storage.complete_trials(study)}
    results = [
        TrialResult(
            trial=it.number,
            complete=it.number in complete,
            crps=it.intermediate_values[max(it.intermediate_values)],
            settings=objective.settings(it.params),
        )
        for it in optuna_storage.finished_trials(study)
    ]
    default = (it.value for it in complete.values() if it.params == objective.defaults)
    enough = len(complete) >= IMPORTANCE_TRIALS
    return SearchResult(
        study=study.study_name,
        objective=objective,
        trials=sorted(results, key=lambda it: (not it.complete, it.crps, it.trial)),
        defaults=next(default, None),
        reference=study.user_attrs["company"],
        importance=_importance(study, objective) if enough else None,
    )


def _importance(study: "optuna.Study", objective: Objective) -> dict[str, float]:
    """Return each setting's share of the variance of the values, by fANOVA.

    References
    ----------
    Hutter, Hoos and Leyton-Brown (2014), An efficient approach for assessing hyperparameter
    importance, ICML.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    return get_param_importances(
        study, evaluator=FanovaImportanceEvaluator(seed=objective.base.seed)
    )
