"""Optuna's studies in a database, and its failures as errors of one line.

Several processes may work at a study, and any of them may be killed. A trial that one was evaluating
then stays as running for ever, and counts for nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from forecaster.errors import StoreError, UsageError, one_line
from forecaster.identity import Identity

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

STARTUP_TRIALS = 5
"""Finished trials before one is pruned."""

LOCK_TIMEOUT = 60
"""Seconds to wait for another process that writes to the same SQLite file."""

TABLE_ATTEMPTS = 20
"""Attempts at making tables that another process is making too."""


def url_of(home: Path) -> str:
    """Return the URL of the database in a home folder, which is made if it is not there."""
    from sqlalchemy.engine import URL

    home.mkdir(parents=True, exist_ok=True)
    url = URL.create("sqlite", database=str(home.absolute() / "studies.db"))
    return url.render_as_string(hide_password=False)


def open_study(url: str, name: str, identity: Identity) -> "Study":
    """Return the study of that name, made if there is none.

    Parameters
    ----------
    url : of a database, as SQLAlchemy has it.
    identity : what must be the same for its trials to be comparable.

    Raises
    ------
    StoreError
        The database cannot be used, or the study is of something else.
    UsageError
        That is no URL.
    """
    import optuna

    optuna.logging.disable_default_handler()
    study = optuna.create_study(
        storage=_storage(url),
        study_name=name,
        load_if_exists=True,
        direction="minimize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=0),
    )
    # In this order: who began the study said what it is of before asking for a trial.
    has_trials = bool(study.get_trials(deepcopy=False))
    begun = study.user_attrs.get("identity")
    if begun is None and not has_trials:
        set_attribute(study, "identity", identity.values)
        return study
    differing = identity.changes(begun or {})
    if differing:
        raise StoreError(
            f"study {name} is of something else (it differs in {', '.join(differing)}), and values on "
            "other data or settings cannot be compared; ask for the same again, or name another "
            "`study`"
        )
    return study


def set_attribute(study: "Study", name: str, value: Any) -> None:
    """Set an attribute of a study, unless another process just did."""
    from optuna.exceptions import StorageInternalError

    try:
        study.set_user_attr(name, value)
    except StorageInternalError:
        if name not in study.user_attrs:
            raise


def next_trial(study: "Study", space: dict[str, "BaseDistribution"], seed: int) -> "Trial":
    """Return a new trial, whose sampler is seeded by the number of trials so that none repeats."""
    from optuna.samplers import TPESampler

    entropy = np.random.SeedSequence([seed, len(study.get_trials(deepcopy=False))])
    # A constant liar: trials asked for at once do not all go to the same place.
    study.sampler = TPESampler(seed=int(entropy.generate_state(1)[0]), constant_liar=True)
    return study.ask(space)


def abandon(study: "Study", trials: Sequence["Trial"]) -> None:
    """Mark the trials that are not finished as failed, if the database lets us."""
    from optuna.trial import TrialState

    with suppress(Exception):
        for trial in trials:
            study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)


def finished_trials(study: "Study") -> list["FrozenTrial"]:
    """Return the trials that came to an end, in their order."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def complete_trials(study: "Study") -> list["FrozenTrial"]:
    """Return the finished trials that were not pruned."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


@contextmanager
def one_line_errors(url: str) -> Iterator[None]:
    """Turn the errors of a database that cannot be used into a StoreError."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise _unusable(url, error) from error


def _storage(url: str) -> "RDBStorage":
    import tenacity
    from optuna.storages import RDBStorage
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        sqlite = make_url(url).get_backend_name() == "sqlite"
    except (ArgumentError, ValueError) as error:
        raise UsageError(
            "`storage` takes the URL of a database, such as sqlite:///studies.db or "
            f"postgresql://user@host/name; got {url!r}"
        ) from error
    options = {"connect_args": {"timeout": LOCK_TIMEOUT}} if sqlite else {}
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_message(match=r"(?s).*(already exists|UNIQUE)"),
        wait=tenacity.wait_random(0, 0.2),
        stop=tenacity.stop_after_attempt(TABLE_ATTEMPTS),
        reraise=True,
    )
    try:
        return retrying(RDBStorage, url, engine_kwargs=options)
    except (ImportError, RuntimeError) as error:  # no driver, or tables of another Optuna
        raise _unusable(url, error) from error


def _unusable(url: str, error: BaseException) -> StoreError:
    """Return the error of a database, which is named without its password."""
    from sqlalchemy.engine import make_url

    cause = error.__cause__ or error
    reason = one_line(getattr(cause, "orig", None) or cause)
    return StoreError(
        f"cannot use the studies in {make_url(url).render_as_string(hide_password=True)} ({reason}); "
        "wait for who holds them, mend them, or name another `storage`"
    )
