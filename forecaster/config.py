"""Settings of the networks: a frozen dataclass, read from TOML and JSON.

A run keeps its configuration as JSON; ``forecast train`` takes a TOML file of the same names.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from forecaster.errors import UsageError

_RANGES = {
    "seed": (0, 1e6),
    "weight_decay": (0, 1e6),
    "feature_dropout": (0, 0.9),
    "group_dropout": (0, 0.9),
    "balance": (0, 1),
    "max_windows": (0, 1e6),
    "horizon": (1, 21),
}
"""Least and most of some settings."""

_EXPECTED = {int: "a whole number", float: "a number", str: "text in quotes"}

COST_BP = 5.0
"""Cost of buying or selling, in basis points a side."""

REFERENCES = ("gjr", "egarch", "garch", "har", "average", "ewma", "drift", "naive")
"""Models that every forecast stands beside by default."""

HEADS = ("skewed", "student", "normal")
GROUPS = ("range", "volume", "calendar", "market", "events", "implied")


@dataclasses.dataclass(frozen=True)
class RecurrentConfig:
    """Settings of a recurrent network and of its training."""

    units: int = 32
    """Width of the cell state and of the hidden state."""
    window: int = 256
    """Sessions in a training window."""
    warmup: int = 60
    """Sessions at the start of a window that set the state and are not scored."""
    batch: int = 32
    """Windows in a training step."""
    epochs: int = 20
    """The most passes over the training windows; early stopping usually ends sooner."""
    max_windows: int = 0
    """The most windows in an epoch, drawn at random, and of those held out; 0 takes all there are."""
    steps: int = 10
    """The least training steps in an epoch, for universes too small to fill them."""
    patience: int = 5
    """Epochs without a better validation loss before training stops."""
    validation: int = 500
    """Last sessions of the training span held out for early stopping."""
    learning_rate: float = 0.002
    weight_decay: float = 0.01
    feature_dropout: float = 0.4
    """Share of the features hidden from each training window, so that none is relied on alone."""
    group_dropout: float = 0.0
    """Share of the training windows from which the whole group ``market`` is hidden, and of those from which
    ``implied`` is."""
    balance: float = 0.0
    """0 lets kinds of instruments that are rare fade in training, 1 lets every kind on every exchange count
    alike; see :mod:`forecaster.models.recurrent.balance`."""
    head: str = "skewed"
    """``skewed`` learns the degrees of freedom, and a skew at the end; ``student`` has no skew;
    ``normal`` holds these at their upper bound, 200, where a Student-t is a normal to a hair."""
    groups: str = ",".join(GROUPS)
    """Groups of features that are read beside those of the closes; see :mod:`forecaster.dataset.features`."""
    clip: float = 5.0
    """Scaled features are cut off at this many standard deviations."""
    horizon: int = 21
    """The most sessions ahead that any model is fitted to forecast."""
    seeds: int = 3
    """Networks trained from different seeds, whose outputs are averaged."""
    seed: int = 0
    """The first of the seeds."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is str:
                continue
            least, most = _RANGES.get(field.name, (1e-9, 1e6))
            if not least <= value <= most:
                raise UsageError(
                    f"{field.name} must lie between {least:g} and {most:g}, got {value}"
                )
        if self.warmup >= self.window:
            raise UsageError(
                f"warmup must be shorter than window, got warmup {self.warmup} "
                f"and window {self.window}"
            )
        if 0 < self.max_windows < self.batch:
            raise UsageError(
                f"max_windows must be 0, for all, or fill a batch of {self.batch}, "
                f"got {self.max_windows}"
            )
        if self.head not in HEADS:
            raise UsageError(
                f"head must be {', '.join(HEADS[:-1])} or {HEADS[-1]}, got {self.head!r}"
            )
        if not set(listed(self.groups)) <= set(GROUPS):
            raise UsageError(
                f"groups must be some of {','.join(GROUPS)}, or empty, got {self.groups!r}"
            )


CONTINUED: dict[str, Any] = {"epochs": 3, "feature_dropout": 0.1}
"""Settings of a training that starts from the weights of another, unless others are given."""

FIXED = ("units", "window", "head", "groups", "clip", "horizon", "seeds")
"""Settings that such a training has from the other."""


def continued(config: RecurrentConfig) -> RecurrentConfig:
    """Return the settings of a training that starts from the weights of one with these settings."""
    return dataclasses.replace(config, **CONTINUED)


def contradictions(config: RecurrentConfig, start: RecurrentConfig) -> list[str]:
    """Return ``units 16 instead of 32`` for each setting that weights to start from do not allow."""
    return [
        f"{name} {value} instead of {fixed}"
        for name in FIXED
        if _alike(value := getattr(config, name)) != _alike(fixed := getattr(start, name))
    ]


def _alike(value: Any) -> Any:
    return set(listed(value)) if isinstance(value, str) else value


def listed(groups: str) -> list[str]:
    """Return the names in a comma-separated list."""
    return [name.strip() for name in groups.split(",") if name.strip()]


def replaced(config: RecurrentConfig, values: dict[str, Any]) -> RecurrentConfig:
    """Return the configuration with some values replaced.

    Raises
    ------
    UsageError
        A name is unknown, or a value has the wrong type or range.
    """
    types: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(config)}
    for name, value in values.items():
        if name not in types:
            raise UsageError(f"unknown setting {name!r}; there are {', '.join(types)}")
        kind, expected = types[name], _EXPECTED[types[name]]
        sound = isinstance(value, str if kind is str else int | float)
        if not sound or isinstance(value, bool) or (kind is int and value % 1 != 0):
            raise UsageError(f"setting {name} must be {expected}, got {value!r}")
    checked = dataclasses.replace(config, **values)
    typed = {name: types[name](value) for name, value in values.items()}
    return dataclasses.replace(checked, **typed)


def read(path: Path) -> dict[str, Any]:
    """Return the settings in a TOML file.

    Raises
    ------
    UsageError
        The file is missing or is not TOML.
    """
    import tomllib  # not for those who only want the defaults

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is not TOML ({error}); expected lines such as `units = 32`"
        ) from error


def configured(
    file: Path | None, base: RecurrentConfig | None = None, **typed: int | None
) -> RecurrentConfig:
    """Return a configuration with the settings of a TOML file, and then those typed, replaced.

    Raises
    ------
    UsageError
        As :func:`read` and :func:`replaced`.
    """
    values = read(file) if file else {}
    values |= {name: value for name, value in typed.items() if value is not None}
    return replaced(base or RecurrentConfig(), values)


def to_toml(values: dict[str, Any]) -> str:
    """Return some settings as TOML, which :func:`read` takes."""
    return "".join(
        f"{name} = {json.dumps(value) if isinstance(value, str) else value}\n"
        for name, value in values.items()
    )
