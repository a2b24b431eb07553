"""Where the results of a backtest come from, as ``config.json`` keeps it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from forecaster.backtesting.spec import BacktestSpec
from forecaster.evaluation.experiment_log import Experiment
from forecaster.model_selection.splits import Fold
from forecaster.models.registry import INFORMED, NETWORKS
from forecaster.runs.run import RunSummary, summary_of


@dataclass(frozen=True)
class PriceSpan:
    """The prices that were read."""

    first: str
    last: str
    """First and last session, YYYY-MM-DD."""
    sha256: str
    """:attr:`forecaster.data.prices.Reading.digest`"""
    events_sha256: str | None = None
    """:func:`forecaster.data.events.digest`; None if no event was known."""


@dataclass(frozen=True)
class ForecastFile:
    """The file whose forecasts were scored."""

    name: str
    sha256: str
    models: tuple[str, ...]
    """Those of the file, as its backtest names them."""


@dataclass(frozen=True)
class Provenance:
    """Everything that would be needed to come to the same results again."""

    spec: BacktestSpec
    """The request, with the tickers and the first and last date that came of it."""
    scored_tickers: tuple[str, ...]
    """Those that every model could forecast."""
    folds: tuple[Fold, ...]
    prices: PriceSpan
    versions: dict[str, str]
    """Of this package and of those that forecasts depend on."""
    run: RunSummary | None = None
    """The trained run that stood for its model."""
    run_settings: dict[str, Any] | None = None
    """Settings of its network, if it is one."""
    file: ForecastFile | None = None
    tried: int = 0
    """Other experiments that were recorded before on these tickers and days."""

    @property
    def models(self) -> tuple[str, ...]:
        """The models compared, those of a scored file first; the verdict is on the first."""
        return (*(self.file.models if self.file else ()), *self.spec.models)

    def experiments(self) -> list[Experiment]:
        """Return what is tried of each model, before anything has come of it."""
        return [
            Experiment(
                kind="score" if self.file else "backtest",
                model=name,
                tickers=list(self.spec.tickers),
                start=str(self.spec.start),
                end=str(self.spec.end),
                settings=self._settings_of(name),
            )
            for name in self.models
        ]

    def _settings_of(self, model: str) -> dict[str, Any]:
        """Return what else the forecasts of a model, and their outcomes, depend on."""
        shared: dict[str, Any] = {
            "calibrated": self.spec.calibrate,
            "prices_sha256": self.prices.sha256,
        }
        if self.file and model in self.file.models:
            return shared | {"file_sha256": self.file.sha256}
        if self.prices.events_sha256 and model in INFORMED:
            shared["events_sha256"] = self.prices.events_sha256
        if self.run and model == self.run["model"]:
            run = {"until": self.run["until"], "prices_sha256": self.run["prices_sha256"]}
            return shared | {"run": run, "run_settings": self.run_settings}
        settings = {"settings": asdict(self.spec.config)} if model in NETWORKS else {}
        return shared | {"refit": self.spec.refit} | settings

    def document(self) -> dict[str, Any]:
        """Return what ``config.json`` holds; :meth:`of_document` reads it back."""
        file = self.file and {
            "file": self.file.name,
            "file_sha256": self.file.sha256,
            "file_models": list(self.file.models),
        }
        return {
            "tried": self.tried,
            **(file or {}),
            **self.spec.document(),
            "models": list(self.models),
            "scored_tickers": list(self.scored_tickers),
            "folds": [{k: str(v) for k, v in asdict(fold).items()} for fold in self.folds],
            "run": self.run,
            "run_settings": self.run_settings,
            "prices_from": self.prices.first,
            "prices_to": self.prices.last,
            "prices_sha256": self.prices.sha256,
            "events_sha256": self.prices.events_sha256,
            "versions": self.versions,
        }

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> "Provenance":
        """Return the provenance that ``config.json`` holds, also that of version 0.1.0.

        Raises
        ------
        ValueError, TypeError, LookupError, UsageError
            It holds none.
        """
        spec, file = BacktestSpec.of_document(document), None
        if "file" in document:
            names = tuple(document["file_models"])
            file = ForecastFile(document["file"], document["file_sha256"], names)
            spec = replace(spec, models=spec.models[len(names) :])
        return cls(
            spec=spec,
            scored_tickers=tuple(document["scored_tickers"]),
            folds=tuple(
                Fold(*(np.datetime64(fold[name]) for name in ("until", "first", "last")))
                for fold in document["folds"]
            ),
            prices=PriceSpan(
                first=str(document["prices_from"]),
                last=str(document["prices_to"]),
                sha256=str(document["prices_sha256"]),
                events_sha256=document.get("events_sha256"),
            ),
            versions=dict(document["versions"]),
            run=summary_of(document["run"]) if document["run"] else None,
            run_settings=document.get("run_settings"),
            file=file,
            tried=int(document.get("tried", 0)),
        )
