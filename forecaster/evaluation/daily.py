"""Mean losses of each day over the tickers: what tests of models read, added up a part of them at a time.

What happens to the tickers on one day is one piece of evidence, so a test of two models needs no more
than the means of each day over the rows that both have. Sums and numbers of rows are held by day and by
which models have a loss of that row, so those of any models are known in the end.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from forecaster.evaluation.metrics import POOLED, added
from forecaster.evaluation.panel import Panel


class DailyLosses:
    """Sums of the losses of each day, by the models that share them.

    Parameters
    ----------
    models : all of them, in order; 60 at the most.
    metrics : columns of the losses.
    """

    def __init__(self, models: Sequence[str], metrics: Sequence[str]) -> None:
        self.models, self._metrics = list(models), list(metrics)
        self._sums: dict[str, pd.DataFrame] = {}
        self._spans = pd.DataFrame(columns=["cutoff", "date", "step"])

    def add(self, losses: pd.DataFrame | Panel) -> None:
        """Add the losses of some tickers, of :func:`forecaster.evaluation.metrics.losses`."""
        panel = Panel.of(losses)
        losses = panel.losses
        if losses.empty:
            return
        column = pd.Index(self.models).get_indexer(pd.Index(panel.names))
        day, dates = pd.factorize(panel.keys["date"])
        for metric in (it for it in self._metrics if it in losses):
            wide = np.full((len(day), len(self.models)), np.nan)
            wide[:, column] = panel.values(metric)
            known = ~np.isnan(wide)
            owners = known @ (1 << np.arange(len(self.models), dtype=np.int64))
            table = pd.DataFrame(wide, columns=self.models).assign(rows=1)
            sums = table.groupby([owners, day]).sum()
            masks, days = (sums.index.get_level_values(at) for at in (0, 1))
            sums.index = pd.MultiIndex.from_arrays([masks, dates[days]], names=["owners", "date"])
            before = self._sums.get(metric)
            self._sums[metric] = sums if before is None else added(before, sums)
        spans = losses[["cutoff", "date", "step"]].drop_duplicates()
        self._spans = (
            pd.concat([self._spans, spans]).drop_duplicates() if len(self._spans) else spans
        )

    def means(self, metric: str, models: Sequence[str]) -> pd.DataFrame:
        """Return the mean losses of each date over the rows that some models share: (dates, models)."""
        sums = self._sums[metric]
        owners = sums.index.get_level_values("owners").to_numpy()
        wanted = sum(1 << self.models.index(it) for it in models)
        its = sums[(owners & wanted) == wanted].droplevel("owners")[[*models, "rows"]]
        if not its.index.is_unique:
            its = its.groupby(level="date").sum()
        its = its.sort_index()
        return its[[*models]].div(its["rows"], axis=0)

    def losses(self, models: Sequence[str], metrics: Sequence[str] | None = None) -> pd.DataFrame:
        """Return a losses frame with a row a day for each of some models, of the ticker `POOLED`.

        Its losses are the means over the rows that all of these models share, so what is tested day by
        day is the same of it and of the losses of all tickers.
        """
        names = [it for it in metrics or self._metrics if it in self._sums]
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
