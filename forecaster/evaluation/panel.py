"""Forecasts or losses side by side: a row for each day, ticker and cutoff, a column for each model.

Who has which is looked up once, for all losses and all pairs of models.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from forecaster.errors import ForecastError, UsageError
from forecaster.evaluation import metrics

_KEYS = ["date", "ticker", "cutoff"]


@dataclass(frozen=True)
class Panel:
    """Losses of one step by `_KEYS`, in their order."""

    losses: pd.DataFrame
    """Of :func:`forecaster.evaluation.metrics.losses`"""
    names: np.ndarray
    """(models,), in the order in which they come in the losses"""
    keys: pd.DataFrame
    """(rows,) date, ticker and cutoff"""
    place: np.ndarray
    """(rows, models), which of the losses it is; -1 where a model has no such forecast"""
    step: int
    """How many sessions ahead they all are"""

    @classmethod
    def of(cls, losses: "pd.DataFrame | Panel") -> "Panel":
        """Return the panel of some losses; itself if it is one.

        Raises
        ------
        ForecastError
            The losses are of several steps, or a model has two of one day, ticker and cutoff.
        """
        if isinstance(losses, Panel):
            return losses
        step = metrics.step_of(losses)
        columns = [pd.factorize(losses[name], sort=True) for name in _KEYS]
        shape = tuple(max(len(values), 1) for _, values in columns)
        cells, row = np.unique(
            np.ravel_multi_index([codes for codes, _ in columns], shape), return_inverse=True
        )
        model, names = pd.factorize(losses["model"])
        place = np.full((len(cells), len(names)), -1)
        place[row, model] = np.arange(len(losses))
        if (place >= 0).sum() < len(losses):
            raise ForecastError(
                "expected one forecast of each model, day, ticker and cutoff, came more; drop the rest"
            )
        codes = np.unravel_index(cells, shape)
        keys = {
            name: values.take(its)
            for name, (_, values), its in zip(_KEYS, columns, codes, strict=True)
        }
        return cls(losses, np.asarray(names, dtype=object), pd.DataFrame(keys), place, step)

    @cached_property
    def models(self) -> list[str]:
        """The models that have a forecast, in the order in which they come."""
        first = np.where(self.place >= 0, self.place, len(self.losses)).min(
            axis=0, initial=len(self.losses)
        )
        return [str(self.names[at]) for at in first.argsort() if first[at] < len(self.losses)]

    @cached_property
    def overlap(self) -> int:
        """How many successive forecasts share a session: :func:`.metrics.overlap`."""
        return metrics.overlap(self.keys.assign(step=self.step))

    def by(self, name: str) -> "Iterator[tuple[Any, Panel]]":
        """Yield the panel of each ticker, in the order in which they come in the losses, or year."""
        if name == "year":
            code, values = pd.factorize(self.keys["date"].dt.year, sort=True)
            order = np.arange(len(values))
        else:
            code, values = pd.factorize(self.keys[name])
            first = np.where(self.place >= 0, self.place, len(self.losses)).min(axis=1)
            order = pd.Series(first).groupby(code).min().to_numpy().argsort()
        names = values.tolist()
        rows = np.split(code.argsort(kind="stable"), np.bincount(code).cumsum()[:-1])
        for at in order:
            its = rows[at]
            yield names[at], replace(self, keys=self.keys.iloc[its], place=self.place[its])

    def column(self, model: str) -> int:
        """Return which column a model is."""
        return list(self.names).index(model)

    def common(self, models: int) -> pd.DataFrame:
        """Return the losses of the rows that as many models have as there are: `metrics.common`."""
        whole = (self.place >= 0).sum(axis=1) == models
        if whole.all():
            return self.losses
        return self.losses.iloc[np.sort(self.place[whole], axis=None)]

    def both(self, one: str, other: str) -> np.ndarray:
        """Return which rows two models have: (rows,)."""
        columns = [self.column(it) for it in (one, other)]
        return np.asarray((self.place[:, columns] >= 0).all(axis=1))

    def tickers(self) -> tuple[np.ndarray, pd.Index]:
        """Return the number of each row's ticker, (rows,), and the tickers as they come in the losses."""
        code, tickers = pd.factorize(self.losses["ticker"])
        return code[self.place.max(axis=1)], pd.Index(tickers).astype(str)

    def values(self, metric: str) -> np.ndarray:
        """Return a loss: (rows, models), NaN where there is none; UsageError if it was not scored."""
        if metric not in self.losses:
            raise UsageError(
                f"expected a metric that was scored, came {metric!r}; choose one of "
                f"{', '.join(self.losses.select_dtypes('number').columns)}"
            )
        column = self.losses[metric].to_numpy(dtype=float)
        return np.where(self.place >= 0, column[self.place], np.nan)

    def outcome(self, name: str) -> np.ndarray:
        """Return what is the same for all models, such as the log return: (rows,)."""
        column = self.losses[name].to_numpy(dtype=float)
        values: np.ndarray = column[self.place.max(axis=1)]
        return values

    def daily(self, metric: str, *models: str) -> pd.DataFrame:
        """Return daily means (sessions, models) of a loss, over the rows that all of some models have.

        The mean over tickers comes first because what happens to them on one day is one piece of
        evidence, not many. Raises UsageError for a model or a metric that was not scored.
        """
        if unknown := [name for name in models if name not in self.models]:
            raise UsageError(
                f"expected a model that was scored, came {unknown[0]!r}; choose one of "
                f"{', '.join(sorted(self.models))}"
            )
        means = self._means(metric)
        if means is None:
            values = self.values(metric)[:, [self.column(it) for it in models]]
            known = ~np.isnan(values).any(axis=1)
            return _means(values[known], self.keys["date"][known], models)
        return means[list(models)]

    def _means(self, metric: str) -> pd.DataFrame | None:
        """Daily means of all models at once; None where one lacks a row that another has."""
        if metric not in self._known_means:
            values = self.values(metric)
            whole = not np.isnan(values).any()
            self._known_means[metric] = (
                _means(values, self.keys["date"], self.names) if whole else None
            )
        return self._known_means[metric]

    @cached_property
    def _known_means(self) -> dict[str, pd.DataFrame | None]:
        return {}


def _means(
    values: np.ndarray, dates: pd.Series, names: "np.ndarray | tuple[str, ...]"
) -> pd.DataFrame:
    """Means of values (rows, models) by date."""
    table = pd.DataFrame(values, columns=list(names), index=pd.Index(dates, name="date"))
    return table if table.index.is_unique else table.groupby(level="date").mean()
