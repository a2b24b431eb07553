"""The forecasting models by name, imported on demand."""

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from forecaster.config import RecurrentConfig
from forecaster.errors import MissingPackageError, UsageError, did_you_mean

if TYPE_CHECKING:
    from forecaster.models.protocol import Model

REGISTRY = {
    "lstm": "forecaster.models.recurrent.model",
    "gru": "forecaster.models.recurrent.model",
    "rnn": "forecaster.models.recurrent.model",
    "trees": "forecaster.models.boosting",
    "gjr": "forecaster.models.garch",
    "gjr-events": "forecaster.models.gjr_events",
    "egarch": "forecaster.models.egarch",
    "garch": "forecaster.models.garch",
    "har": "forecaster.models.har",
    "average": "forecaster.models.average",
    "ewma": "forecaster.models.random_walk",
    "drift": "forecaster.models.random_walk",
    "naive": "forecaster.models.random_walk",
}
"""Each name, and the module whose ``create(name, config)`` returns the model."""

NETWORKS = ("lstm", "gru", "rnn")
"""The models that depend on a :class:`forecaster.config.RecurrentConfig`."""

INFORMED = (*NETWORKS, "trees", "gjr-events")
"""The models that read scheduled announcements."""


def create(name: str, config: RecurrentConfig | None = None) -> "Model":
    """Return an unfitted model by its registered name.

    Raises
    ------
    UsageError
        No model has this name.
    """
    if name not in REGISTRY:
        raise UsageError(
            f"there is no model {name!r}; {did_you_mean(name, REGISTRY)}"
            f"there are {', '.join(REGISTRY)}"
        )
    model: Model = import_module(REGISTRY[name]).create(name, config or RecurrentConfig())
    return model


def require_fittable(models: Iterable[str]) -> None:
    """Raise MissingPackageError if one of the models is trained by a package that is not installed.

    A network that was trained before needs none to forecast.
    """
    if not set(NETWORKS).isdisjoint(models) and find_spec("tensorflow") is None:
        raise MissingPackageError(
            "training a network needs TensorFlow, which is not installed: "
            'pip install "forecaster[train]"'
        )
