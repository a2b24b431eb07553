"""What a backtest is asked for: one frozen request, from the command line to its results."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from typing import Any

from forecaster.config import COST_BP, RecurrentConfig, replaced
from forecaster.errors import UsageError
from forecaster.models.registry import create


@dataclass(frozen=True)
class BacktestSpec:
    """The request of a backtest; with the prices and a trained run, it decides every forecast."""

    models: tuple[str, ...]
    """Registered names; the verdict is on the first."""
    tickers: tuple[str, ...] = ()
    """Whose sessions are forecast; all of the prices where empty."""
    start: date | None = None
    """First date forecast. By default the first after the training span of the run; without a run,
    the last three years."""
    end: date | None = None
    """Last date forecast; by default the last stored session."""
    refit: str | int = "yearly"
    """``never``, ``yearly`` or a number of sessions; see :mod:`forecaster.model_selection.splits`."""
    calibrate: bool = False
    """Whether every model's quantiles are recalibrated; see
    :mod:`forecaster.distributions.recalibration`."""
    cost_bp: float = COST_BP
    """Cost of buying or selling, in basis points a side, for :mod:`forecaster.evaluation.strategy`."""
    config: RecurrentConfig = field(default_factory=RecurrentConfig)
    """Settings of the recurrent models that are fitted for the backtest."""
    steps: tuple[int, ...] = (1,)
    """Sessions ahead that are forecast from every cutoff; see :mod:`forecaster.distributions.horizons`."""

    def check(self) -> None:
        """Raise a UsageError if there is no such model or step, or a model is named twice."""
        from forecaster.distributions import horizons  # pandas would cost every start of a command

        horizons.check(self.steps)
        if not self.models or len(set(self.models)) < len(self.models):
            raise UsageError(f"name each model once, got {','.join(self.models) or 'none'}")
        for name in self.models:
            create(name)

    def document(self) -> dict[str, Any]:
        """Return the request as JSON holds it; :meth:`of_document` reads it back."""
        return {
            "models": list(self.models),
            "tickers": list(self.tickers),
            "start": str(self.start) if self.start else None,
            "end": str(self.end) if self.end else None,
            "refit": self.refit,
            "calibrated": self.calibrate,
            "cost_bp": self.cost_bp,
            "settings": asdict(self.config),
            "steps": list(self.steps),
        }

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> "BacktestSpec":
        """Return the request that JSON holds, also as version 0.1.0 wrote it.

        Raises
        ------
        ValueError, TypeError, LookupError, UsageError
            It holds none.
        """
        from forecaster.distributions import horizons

        known = {it.name for it in fields(RecurrentConfig)}
        steps = horizons.check(document.get("steps", (1,)))
        settings = {"horizon": max(steps)} | (document.get("settings") or {})
        start, end = document["start"], document["end"]
        return cls(
            models=_texts(document["models"]),
            tickers=_texts(document["tickers"]),
            start=date.fromisoformat(start) if start else None,
            end=date.fromisoformat(end) if end else None,
            refit=document["refit"],
            calibrate=bool(document.get("calibrated", document.get("calibrate", False))),
            cost_bp=float(document.get("cost_bp", document.get("cost", COST_BP))),
            config=replaced(
                RecurrentConfig(), {name: it for name, it in settings.items() if name in known}
            ),
            steps=steps,
        )


def _texts(values: Any) -> tuple[str, ...]:
    """Return the texts of a list; TypeError where it is none."""
    if isinstance(values, list) and all(isinstance(value, str) for value in values):
        return tuple(values)
    raise TypeError(f"expected a list of texts, got {values!r:.60}")
