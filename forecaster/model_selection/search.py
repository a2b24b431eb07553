"""A search for settings of a network: an Optuna study, judged by CRPS inside the training span.

A trial trains a network a fold, walking forward through the last sessions of the span, and its
value is the mean CRPS of their forecasts. Nothing after the span is read, so that a backtest of what
was found is still of days that nobody has chosen by. A trial that falls behind the median of those
before, fold by fold, is pruned. Optuna (Akiba et al. 2019, KDD) keeps the study in a database, and
samples by the tree-structured Parzen estimator (Bergstra et al. 2011, NIPS).

The process that searches alone asks, prunes and tells; who does the work needs no way to the database.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from forecaster import __version__, config
from forecaster.config import RecurrentConfig
from forecaster.data import prices
from forecaster.dataset import features
from forecaster.dataset.panel import Panel
from forecaster.errors import HistoryError, UsageError
from forecaster.evaluation import metrics
from forecaster.evaluation.experiment_log import Experiment, record
from forecaster.model_selection import optuna_storage
from forecaster.model_selection.splits import Fold, walk_forward
from forecaster.models.garch import MIN_SESSIONS
from forecaster.models.protocol import Progress, silent, too_short
from forecaster.models.recurrent.model import held_out_from
from forecaster.models.registry import create
from forecaster.parallel import jobs
from forecaster.parallel.jobs import LOCAL, Engine

if TYPE_CHECKING:
    import optuna

MODELS = ("lstm", "gru", "rnn")
"""Whose settings these are."""

TRIAL = {"seeds": 1, "epochs": 10}
"""What a trial trains where nothing else is said: enough to rank settings by, a third of the price."""

FOLDS, FOLD = 3, 250
"""Folds, and the most sessions in each; together they are half of the span at the most."""

TELLING = 10
"""Finished trials before the importance of a setting is more than chance."""

COMPANY = ("naive", "gjr")
"""Models that are judged on the same folds, once a study."""


@dataclass(frozen=True)
class Task:
    """A fold of a trial, as another process gets it."""

    model: str
    config: RecurrentConfig
    fold: Fold


def judged(task: Task, panel: Panel) -> tuple[float, int]:
    """The sum of the CRPS of a fold's forecasts, and how many there are.

    Tickers count that had the sessions for a GARCH when the fold began, so that all models are
    judged on the same rows.
    """
    fold = task.fold
    model = create(task.model, task.config)
    model.fit(panel, fold.until)
    seasoned = [h for h in panel.histories if h.count_until(fold.until) > MIN_SESSIONS]
    found = model.forecast(Panel(tuple(seasoned)), fold.first, fold.last)
    crps = metrics.losses(found)["crps"]
    return float(crps.sum()), len(crps)


@dataclass(frozen=True)
class Objective:
    """What the trials of a study are judged by."""

    model: str
    panel: Panel
    """Of the span alone"""
    folds: list[Fold]
    base: RecurrentConfig
    """What is not searched"""
    held: dict[str, Any]
    """Settings that are given, and so not searched"""
    first: date
    until: date
    prices_sha256: str

    @classmethod
    def of(
        cls,
        frames: pd.DataFrame | Iterable[pd.DataFrame],
        *,
        model: str = "lstm",
        until: date | None = None,
        held: dict[str, Any] | None = None,
        seed: int = 0,
    ) -> "Objective":
        """The objective on prices up to a date, with some settings held.

        Parameters
        ----------
        frames : the prices frame, or one for each ticker.
        model : of ``MODELS``.
        until : the last date that anything is read of; by default the last there is.
        held : settings that are not searched.
        seed : of the networks and of the search.

        Raises
        ------
        HistoryError
            ``until`` is not within the prices, or there is too little history before it.
        UsageError
            The model has no such settings, or they cannot be.
        """
        if model not in MODELS:
            raise UsageError(
                f"tune searches settings of {', '.join(MODELS)}; got the `model` {model}"
            )
        held = held or {}
        base = config.replaced(RecurrentConfig(), TRIAL | {"seed": seed} | held)
        span = prices.Reading(frames, until)
        panel = Panel.of(span)
        if until is not None and not span.begin <= until <= span.end:
            raise HistoryError(
                f"`until` must lie within the stored prices, from {span.begin} to {span.end}; got {until}"
            )
        sessions = panel.sessions
        length = min(FOLD, len(sessions) // (2 * FOLDS))
        if length == 0 or len(sessions) - FOLDS * length <= MIN_SESSIONS:
            raise too_short("tune", panel, sessions[-1], 2 * MIN_SESSIONS + 2)
        start = sessions[-FOLDS * length]
        folds = list(walk_forward(sessions, start=start, end=sessions[-1], refit=length))
        return cls(model, panel, folds, base, held, span.first, span.last, span.digest)

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for the values of two trials to be comparable."""
        tickers = ",".join(self.panel.tickers)
        return {
            "version": __version__,
            "model": self.model,
            "tickers": hashlib.sha256(tickers.encode()).hexdigest(),
            "until": str(self.until),
            "prices": self.prices_sha256,
            "settings": asdict(self.base),
            "held": sorted(self.held),
        }

    @cached_property
    def space(self) -> dict[str, "optuna.distributions.BaseDistribution"]:
        """What is searched: distributions by name. A group of features is there or not."""
        from optuna.distributions import (
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
        found = {
            "window": IntDistribution(*self._windows(), step=64),
            "units": IntDistribution(8, 64, step=8),
            "learning_rate": FloatDistribution(5e-4, 1e-2, log=True),
            "feature_dropout": FloatDistribution(0.0, 0.7, step=0.1),
            "head": CategoricalDistribution(config.HEADS),
            **({} if "groups" in self.held else groups),
        }
        left = {name: its for name, its in found.items() if name not in self.held}
        if not left:
            raise UsageError(
                f"nothing is left to search: all of {', '.join(found)} are in `config`"
            )
        return left

    def _windows(self) -> tuple[int, int]:
        """The shortest and the longest window searched: those that the first fold can be fitted with."""
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
        """The defaults of what is searched, in the words of :attr:`space`."""
        return {name: getattr(RecurrentConfig(), name, True) for name in self.space}

    def settings(self, params: dict[str, Any]) -> dict[str, Any]:
        """The settings that a point of :attr:`space` stands for, but for those held."""
        groups = [group for group in config.GROUPS if params.get(group, True)]
        found = {
            name: round(value, 12) if isinstance(value, float) else value  # 0.3, not a bit more
            for name, value in params.items()
            if name not in config.GROUPS
        }
        return found if "groups" in self.held else found | {"groups": ",".join(groups)}

    def configured(self, params: dict[str, Any]) -> RecurrentConfig:
        """The configuration of a trial."""
        return config.replaced(self.base, self.settings(params))


@dataclass(frozen=True)
class Outcome:
    """What came of a trial."""

    trial: int
    complete: bool
    """Whether it was judged on all folds; else it was pruned."""
    crps: float
    """Mean over the folds that it was judged on, a fraction"""
    settings: dict[str, Any]
    """Those searched"""


@dataclass(frozen=True)
class Tuned:
    """What a study has found so far."""

    study: str
    objective: Objective
    outcomes: list[Outcome]
    """The best first, those pruned last"""
    defaults: float | None
    """CRPS of the default settings on the same folds; None where that trial was not finished"""
    company: dict[str, float]
    """CRPS of other models on the same folds"""
    importance: dict[str, float] | None
    """Share of each setting in what the values vary by; None where there are too few trials"""

    @property
    def best(self) -> dict[str, Any]:
        """The settings of the best trial, with those that were held."""
        return self.objective.held | self.outcomes[0].settings


def run(
    objective: Objective,
    *,
    home: Path,
    trials: int,
    study: str | None = None,
    storage: str | None = None,
    engine: Engine = LOCAL,
    progress: Progress = silent,
) -> Tuned:
    """Goes on with a study, or begins it, until so many of its trials are finished.

    Parameters
    ----------
    objective : of the trials.
    home : where trials are written down (:mod:`forecaster.evaluation.experiment_log`), and the
        studies by default.
    trials : that the study shall have, those of before included.
    study : its name; by default the model's and the last session's.
    storage : URL of a database, as SQLAlchemy has it; ``optuna_storage.db`` in the home by default. Several
        processes may work at one study; they may then finish a few trials more.
    engine : who trains; ``engine.jobs`` trials at once, one by default. Of one at a time, the
        same seed gives the same study, whether or not it was interrupted.

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
    with optuna_storage.explained(url):
        opened = optuna_storage.opened(url, name, objective.identity)
        if "company" not in opened.user_attrs:
            progress(0, trials, f"{' and '.join(COMPANY)} on the same folds")
            optuna_storage.keep(opened, "company", _company(objective))
        if not any(it.params == objective.defaults for it in optuna_storage.finished(opened)):
            opened.enqueue_trial(objective.defaults)
        while (done := len(optuna_storage.finished(opened))) < trials:
            asked = [
                optuna_storage.ask(opened, space, objective.base.seed)
                for _ in range(min(engine.jobs or 1, trials - done))
            ]
            try:
                _run(opened, asked, objective, engine, home, _told(opened, progress, trials))
            except BaseException:
                optuna_storage.give_up(opened, asked)
                raise
        return _tuned(opened, objective)


def _company(objective: Objective) -> dict[str, float]:
    tasks = [Task(name, objective.base, fold) for name in COMPANY for fold in objective.folds]
    found = np.array([judged(task, objective.panel) for task in tasks])
    total, rows = found.reshape(len(COMPANY), len(objective.folds), 2).sum(axis=1).T
    return dict(zip(COMPANY, (total / rows).tolist(), strict=True))


def _run(
    study: "optuna.Study",
    asked: Sequence["optuna.Trial"],
    objective: Objective,
    engine: Engine,
    home: Path,
    told: Callable[[str], None],
) -> None:
    """Judges trials side by side, fold by fold; writes each down, and tells the study."""
    from optuna.trial import TrialState

    sums = {trial.number: np.zeros(2) for trial in asked}
    running = list(asked)
    for step, fold in enumerate(objective.folds, start=1):
        tasks = [Task(objective.model, objective.configured(it.params), fold) for it in running]
        results = jobs.ordered(judged, tasks, engine=engine, shared=objective.panel)
        for trial, result in zip(tuple(running), results, strict=True):
            total, rows = sums[trial.number] = sums[trial.number] + result
            trial.report(total / rows, step)
            last = step == len(objective.folds)
            if last or trial.should_prune():
                running.remove(trial)
                record(home, _written(objective, trial.params))
                if last:
                    study.tell(trial, total / rows)
                else:
                    study.tell(trial, state=TrialState.PRUNED)
            state = "" if last else ", pruned" if trial not in running else ""
            told(
                f"trial {trial.number} fold {step}/{len(objective.folds)}: "
                f"CRPS {100 * total / rows:.4f}%{state}"
            )


def _written(objective: Objective, params: dict[str, Any]) -> Experiment:
    """What the registry keeps of a trial, finished or pruned."""
    settings = {
        "config": asdict(objective.configured(params)),
        "prices_sha256": objective.prices_sha256,
    }
    dates = str(objective.first), str(objective.until)
    return Experiment("tune", objective.model, list(objective.panel.tickers), *dates, settings)


def _told(study: "optuna.Study", progress: Progress, trials: int) -> Callable[[str], None]:
    def told(text: str) -> None:
        done = len(optuna_storage.finished(study))
        values = [it.value for it in optuna_storage.complete(study) if it.value is not None]
        so_far = f"; best of all folds {100 * min(values):.4f}%" if values else ""
        progress(min(done, trials), trials, text + so_far)

    return told


def _tuned(study: "optuna.Study", objective: Objective) -> Tuned:
    complete = {it.number: it for it in optuna_storage.complete(study)}
    outcomes = [
        Outcome(
            trial=it.number,
            complete=it.number in complete,
            crps=it.intermediate_values[max(it.intermediate_values)],
            settings=objective.settings(it.params),
        )
        for it in optuna_storage.finished(study)
    ]
    default = (it.value for it in complete.values() if it.params == objective.defaults)
    return Tuned(
        study=study.study_name,
        objective=objective,
        outcomes=sorted(outcomes, key=lambda it: (not it.complete, it.crps, it.trial)),
        defaults=next(default, None),
        company=study.user_attrs["company"],
        importance=_importance(study, objective) if len(complete) >= TELLING else None,
    )


def _importance(study: "optuna.Study", objective: Objective) -> dict[str, float]:
    """Shares of the variance of the values (fANOVA, Hutter, Hoos and Leyton-Brown 2014, ICML)."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    return get_param_importances(
        study, evaluator=FanovaImportanceEvaluator(seed=objective.base.seed)
    )
