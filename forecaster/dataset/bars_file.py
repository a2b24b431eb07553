"""Bars of many tickers in a file: those of a market are larger than all else that a backtest holds."""

import os
import weakref
from collections.abc import Iterable
from dataclasses import fields
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecaster.data import prices
from forecaster.dataset.bars import Bars

CACHED_ARRAYS = 512
"""Arrays of a file that stay in memory for the next request."""

_NAMES = tuple(field.name for field in fields(Bars))
_DTYPES = dict.fromkeys(_NAMES, np.dtype(np.float64)) | {"dates": np.dtype("datetime64[D]")}
_ITEM = 8
"""Bytes of a value of each array."""


class BarsFile:
    """An open file of arrays, which another process opens anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._handle)
        # Of this file alone: one for all would hold files open, and their space, that nobody needs.
        self.read = lru_cache(maxsize=CACHED_ARRAYS)(partial(_read, self._handle, path.name))

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self.path,)


def _read(handle: int, name: str, begin: int, dtype: np.dtype[Any], count: int) -> np.ndarray:
    """Return the array of some values from a byte on."""
    values = np.empty(count, dtype)
    with open(handle, "rb", buffering=0, closefd=False) as file:
        file.seek(begin)
        if file.readinto(values.view(np.uint8).data) != values.nbytes:
            raise OSError(f"{name} ends before its bars do")
    values.flags.writeable = False
    return values


@lru_cache(maxsize=1)
def _opened(path: Path) -> BarsFile:
    """The file of the bars that a process works on, opened once."""
    return BarsFile(path)


class StoredBars(Bars):
    """Bars whose arrays lie one after the other in a file, and are read when they are asked for."""

    def __init__(self, file: BarsFile, begin: int, sessions: int) -> None:
        vars(self).update(_file=file, _begin=begin, _sessions=sessions)

    def __getattr__(self, name: str) -> np.ndarray:
        if name not in _DTYPES:
            raise AttributeError(name)
        file, begin, sessions = (vars(self)[it] for it in ("_file", "_begin", "_sessions"))
        place = _NAMES.index(name) * sessions * _ITEM
        values: np.ndarray = file.read(begin + place, _DTYPES[name], sessions)
        return values


def stored(frames: pd.DataFrame | Iterable[pd.DataFrame], path: Path) -> dict[str, Bars]:
    """Write the bars of each ticker to a file, and return them as they lie there.

    Parameters
    ----------
    frames : a prices frame, or one for each ticker, none of which stays in memory.
    path : the file, which is replaced; it must stay there as long as the bars are used.
    """
    places = {}
    with open(path, "wb") as file:
        for frame in prices.by_ticker(frames):
            bars = Bars.of(frame)
            places[str(frame["ticker"].iloc[0])] = file.tell(), len(bars.dates)
            for name in _NAMES:
                file.write(np.asarray(getattr(bars, name), _DTYPES[name]).tobytes())
    whole = BarsFile(path)
    return {ticker: StoredBars(whole, *place) for ticker, place in places.items()}
