"""Forecasts of many tickers, some of them at a time: those of a market do not fit into memory.

A part is a forecasts frame of some tickers, with all models and steps of each. Which tickers it has
depends on the forecasts alone, so sums over the parts are the same whoever forecast, and as whatever part.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from forecaster.distributions import forecasts
from forecaster.leftovers import TemporaryFolder

ROWS = 150_000
"""Forecasts in a part, but where a single ticker has more."""

_MARK = {b"forecaster": b"a row group has all forecasts of its tickers"}

Change = Callable[[pd.DataFrame], pd.DataFrame]


class Parts:
    """The parts of a forecasts frame, read one at a time, as often as they are iterated over.

    Parameters
    ----------
    count : how many there are.
    read : gives the rows of a part by its number, and only some columns if those are named.
    owner : stays alive as long as the parts do, such as a folder that goes with it.
    """

    def __init__(
        self,
        count: int,
        read: Callable[[int, Sequence[str] | None], pd.DataFrame],
        owner: object = None,
        file: Path | None = None,
    ) -> None:
        self._count, self._read, self._owner, self._file = count, read, owner, file

    @classmethod
    def of(cls, frame: pd.DataFrame) -> "Parts":
        """Return the parts of a frame that is in memory, itself if it is small."""
        if len(frame) <= ROWS:
            return cls(1, lambda at, columns: frame if columns is None else frame[[*columns]])
        codes, tickers = pd.factorize(frame["ticker"], sort=True)
        spans = groups(np.bincount(codes, minlength=len(tickers)))
        group = np.repeat(np.arange(len(spans)), [len(span) for span in spans])[codes]
        order = np.argsort(group, kind="stable")
        rows = np.split(order, np.searchsorted(group[order], np.arange(1, len(spans))))

        def read(at: int, columns: Sequence[str] | None) -> pd.DataFrame:
            its = frame if columns is None else frame[[*columns]]
            return its.iloc[rows[at]].reset_index(drop=True)

        return cls(len(spans), read)

    @classmethod
    def of_file(cls, path: Path, owner: object = None) -> "Parts":
        """Return the parts that :func:`write` left in a file; of another file, those of its rows."""
        with pq.ParquetFile(path) as file:
            ours = _MARK.items() <= (file.schema_arrow.metadata or {}).items()
            count = file.num_row_groups
        if not ours:
            return cls.of(forecasts.check(pd.read_parquet(path)))

        def read(at: int, columns: Sequence[str] | None) -> pd.DataFrame:
            with pq.ParquetFile(path) as file:
                table = file.read_row_group(at, columns=None if columns is None else [*columns])
            rows: pd.DataFrame = table.to_pandas()
            return rows

        return cls(count, read, owner, path)

    def __reduce__(self) -> tuple[Any, ...]:
        return Parts.of, (self.whole(),)  # a copy does without the file, which may go

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[pd.DataFrame]:
        return (self._read(at, None) for at in range(self._count))

    def columns(self, names: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield some columns of each part."""
        return (self._read(at, names) for at in range(self._count))

    @property
    def folder(self) -> Path | None:
        """The temporary folder that the parts are in, which has room for what is made of them."""
        if isinstance(self._owner, Parts):
            return self._owner.folder
        return self._owner.path if isinstance(self._owner, TemporaryFolder) else None

    @property
    def shortest(self) -> int:
        """The least step."""
        return int(min((it["step"].min() for it in self.columns(["step"]) if len(it)), default=1))

    def of_step(self, step: int) -> "Parts":
        """Return the parts of the forecasts of one step."""

        def read(at: int, columns: Sequence[str] | None) -> pd.DataFrame:
            frame = self._read(
                at, None if columns is None else [*dict.fromkeys([*columns, "step"])]
            )
            its = frame["step"] == step
            frame = frame if its.all() else frame[its]
            return frame if columns is None else frame[[*columns]]

        return Parts(self._count, read, self)

    def save(self, path: Path) -> None:
        """Write the parts to a file, as :func:`write` does."""
        if self._file is not None:
            shutil.copyfile(self._file, path)
        else:
            write(self, path)

    def whole(self) -> pd.DataFrame:
        """Return all forecasts as one frame."""
        return next(iter(self)) if self._count == 1 else forecasts.concat(self)


def together(names: Iterable[Sequence[str] | np.ndarray]) -> list[str]:
    """Return the models of all parts from those of each, in the order of the part that has most of them.

    In the first part a model may be missing, of whose tickers it has no forecast.
    """
    each = [list(its) for its in names]
    most = max(each, key=len, default=[])
    return [str(name) for name in dict.fromkeys(name for its in (most, *each) for name in its)]


def groups(rows: Sequence[int] | np.ndarray) -> list[range]:
    """Return the places of the tickers of each part, from the rows of each ticker, in their order."""
    spans, begin, total = [], 0, 0
    for at, count in enumerate(rows):
        if total and total + count > ROWS:
            spans.append(range(begin, at))
            begin, total = at, 0
        total += int(count)
    return [*spans, range(begin, len(rows))]


def write(frames: Iterable[pd.DataFrame], path: Path) -> None:
    """Write frames of different tickers, which are the parts, to a file one after the other."""
    writer = None
    try:
        for frame in frames:
            table = pa.Table.from_pandas(frame, preserve_index=False)
            table = table.replace_schema_metadata({**(table.schema.metadata or {}), **_MARK})
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table, row_group_size=max(len(table), 1))
    finally:
        if writer:
            writer.close()
