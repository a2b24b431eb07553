"""Columns of many forecasts on disk: each statistic reads those that it needs, of the models it needs."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pyarrow import feather

from forecaster.leftovers import TemporaryFolder

_KEYS = ["ticker", "cutoff", "date"]


class Columns:
    """Columns of forecasts by ticker, cutoff and date, of some tickers after the other.

    Parameters
    ----------
    models : all of them, in order.
    parent : the folder beside whose files they lie; by default the system's temporary folder, which
        may be too small for a market.
    """

    def __init__(self, models: Sequence[str], parent: Path | None = None) -> None:
        self._models = list(models)
        self._folder = TemporaryFolder(parent)
        self._tickers: list[str] = []
        self._parts = 0

    def add(self, rows: pd.DataFrame) -> None:
        """Add the columns of some tickers, which are those of no other part."""
        codes, tickers = pd.factorize(rows["ticker"])
        rows = rows.assign(ticker=(codes + len(self._tickers)).astype(np.int32))
        self._tickers += map(str, tickers)
        model, rows = rows["model"].to_numpy(), rows.drop(columns="model")
        code = pd.Index(self._models).get_indexer(pd.Index(model))
        for at in range(len(self._models)):
            its = rows[code == at]
            feather.write_feather(its, self._path(self._parts, at), compression="uncompressed")
        self._parts += 1

    def parts(
        self, names: Sequence[str], models: Sequence[str] | None = None
    ) -> Iterator[pd.DataFrame]:
        """Yield model, ticker, cutoff, date and the columns named of some models, part by part."""
        for part in range(self._parts):
            yield self._read(part, names, self._models if models is None else models)

    def whole(self, names: Sequence[str], models: Sequence[str] | None = None) -> pd.DataFrame:
        """Return what :meth:`parts` yields, together."""
        chosen = [self._models.index(it) for it in (self._models if models is None else models)]
        files = [(self._path(part, at), at) for part in range(self._parts) for at in chosen]
        columns = {}
        for name in (*_KEYS, *names):  # one by one, as twice of one is less than twice of all
            read = [self._column(path, name) for path, _ in files]
            columns[name] = np.concatenate(read)
        rows = [len(it) for it in read]
        model = np.repeat(np.array([at for _, at in files], dtype=np.int8), rows)
        return self._named(pd.DataFrame(columns | {"model": model}, copy=False))

    def values(self, name: str, model: str) -> np.ndarray:
        """Return a column of a model, in the order of :meth:`whole`: (rows,)."""
        at = self._models.index(model)
        return np.concatenate(
            [self._column(self._path(part, at), name) for part in range(self._parts)]
        )

    def _column(self, path: Path, name: str) -> np.ndarray:
        # Mapped, as a read is of the whole file, and copied, as a view would hold all of it.
        return np.array(feather.read_table(path, [name], memory_map=True)[name].to_numpy())

    def _read(self, part: int, names: Sequence[str], models: Sequence[str]) -> pd.DataFrame:
        frames = []
        for model in models:
            at = self._models.index(model)
            frame = feather.read_feather(self._path(part, at), [*_KEYS, *names], memory_map=False)
            frames.append(frame.assign(model=np.int8(at)))
        return self._named(pd.concat(frames, ignore_index=True))

    def _named(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows with the names of their tickers and models in place of their numbers."""
        kinds = {"ticker": self._tickers, "model": self._models}
        named = {
            name: pd.Categorical.from_codes(rows[name], pd.Index(its))
            for name, its in kinds.items()
        }
        return rows.assign(**named)

    def _path(self, part: int, model: int) -> Path:
        return self._folder.path / f"{part:05d}-{model:02d}.arrow"
