"""Mean losses of each day over the tickers: what tests of models read, added up a part of them at a time.

What happens to the tickers on one day is one piece of evidence, so a test of two models needs no more
than the means of each day over the rows that both have, whichever other models are beside them.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from forecaster.evaluation.metrics import POOLED, added
from forecaster.evaluation.panel import Panel


class DailyLosses:
    """Sums of the losses of each day, over the rows that some models share.

    Parameters
    ----------
    models : all of them, in order.
    metrics : columns of the losses.
    shared : models whose means are wanted over the rows that all of these have, besides those of each
        model alone and of all of them together.
    """

    def __init__(
        self, models: Sequence[str], metrics: Sequence[str], shared: Iterable[Sequence[str]] = ()
    ) -> None:
        self.models, self._metrics = list(models), list(metrics)
        alone = ([it] for it in models)
        self._shared = list({frozenset(it): None for it in (*alone, *shared, models)})
        self._sums: dict[tuple[str, frozenset[str]], pd.DataFrame] = {}
        self._spans = pd.DataFrame(columns=["cutoff", "date", "step"])

    def add(self, losses: pd.DataFrame | Panel) -> None:
        """Add the losses of some tickers, of :func:`forecaster.evaluation.metrics.losses`."""
        panel = Panel.of(losses)
        losses = panel.losses
        if losses.empty:
            return
        column = pd.Index(self.models).get_indexer(pd.Index(panel.names))
        date = panel.keys["date"].to_numpy("datetime64[us]")
        for metric in (it for it in self._metrics if it in losses):
            wide = np.full((len(date), len(self.models)), np.nan)
            wide[:, column] = panel.values(metric)
            self._add(metric, wide, date)
        spans = losses[["cutoff", "date", "step"]].drop_duplicates()
        self._spans = (
            pd.concat([self._spans, spans]).drop_duplicates() if len(self._spans) else spans
        )

    def _add(self, metric: str, wide: np.ndarray, date: np.ndarray) -> None:
        """Add a loss, (rows, models), NaN where a model has none; rows are in order of the dates."""
        known = ~np.isnan(wide)
        every = pd.DataFrame(wide, columns=self.models).assign(rows=1)
        of_all = every.groupby(date).sum() if known.all() else None
        for models in self._shared:
            names = [it for it in self.models if it in models]
            if of_all is not None:
                sums = of_all[[*names, "rows"]]
            else:
                both = known[:, [self.models.index(it) for it in names]].all(axis=1)
                sums = every.loc[both, [*names, "rows"]].groupby(date[both]).sum()
            before = self._sums.get((metric, models))
            self._sums[metric, models] = sums if before is None else added(before, sums)

    def means(self, metric: str, models: Sequence[str]) -> pd.DataFrame:
        """Return the mean losses of each date over the rows that some models share: (dates, models)."""
        its = self._sums[metric, frozenset(models)].sort_index().rename_axis("date")
        return its[[*models]].div(its["rows"], axis=0)

    def losses(self, models: Sequence[str], metrics: Sequence[str] | None = None) -> pd.DataFrame:
        """Return a losses frame with a row a day for each of some models, of the ticker `POOLED`.

        Its losses are the means over the rows that all of these models share, so what is tested day by
        day is the same of it and of the losses of all tickers.
        """
        names = [it for it in metrics or self._metrics if (it, frozenset(models)) in self._sums]
        days = {name: self.means(name, models) for name in names}
        spans = self._spans.sort_values(["date", "cutoff"], kind="stable", ignore_index=True)
        if (spans["step"] == 1).all():  # what does not overlap has one cutoff a date
            spans = spans.drop_duplicates("date", keep="last")
        frames = []
        for model in models:
            values = {
                name: means[model].reindex(spans["date"]).to_numpy() for name, means in days.items()
            }
            frames.append(spans.assign(ticker=POOLED, model=model, **values))
        return pd.concat(frames, ignore_index=True)


def together(tables: Sequence[pd.DataFrame], empty: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of tests of pairs as one table, `empty` if there are none."""
    there = [it for it in tables if len(it)]
    return pd.concat(there, ignore_index=True) if there else empty
