"""What a piece of work is, so that it goes on only where it would come to the same results."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Identity:
    """Everything that the results of a piece of work depend on.

    A backtest, a training and a study write their identity down as they begin. Once interrupted,
    each goes on only where :meth:`changes` names nothing.
    """

    values: dict[str, Any]
    """By name, as JSON holds them."""

    @classmethod
    def of(cls, **values: object) -> "Identity":
        """Return the identity made of some values; what JSON cannot hold becomes text."""
        return cls(json.loads(json.dumps(values, default=str)))

    @property
    def text(self) -> str:
        """The identity as an indented JSON document."""
        return json.dumps(self.values, indent=2)

    def changes(self, begun: Mapping[str, Any]) -> list[str]:
        """Return the names of the values that differ from those of the work begun."""
        return [name for name, value in self.values.items() if begun.get(name) != value]
