"""The last closes before a forecast, noted as the prices are read: a file is not opened again for them."""

from collections.abc import Collection, Iterable, Iterator
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

RECENT = 60
"""Sessions whose closes a sparkline shows."""

RECENT_DAYS = np.timedelta64(200, "D")
"""Before a forecast, whose sessions tell the weekdays of an unknown exchange."""


class Closes:
    """What is said beside the forecasts of some tickers; iterate over it to have their prices read.

    Parameters
    ----------
    frames : the prices frame of each ticker that forecasts read.
    tickers : those that are forecast.
    as_of : the latest date that they are forecast from.
    """

    def __init__(
        self, frames: "Iterable[pd.DataFrame]", tickers: Collection[str], as_of: date | None
    ) -> None:
        self._frames, self._tickers = frames, set(tickers)
        self._last = np.datetime64(as_of or date.max, "D")
        self.dates: dict[str, np.ndarray] = {}
        """From shortly before the cutoff to the last that is stored, by ticker: datetime64[D]."""
        self.recent: dict[str, list[float]] = {}
        """Those of the last sessions up to the cutoff."""
        self.motion: dict[str, str] = {}
        """Why a forecast would mean little, of the prices that hardly move."""

    def __iter__(self) -> "Iterator[pd.DataFrame]":
        for frame in self._frames:
            ticker = str(frame["ticker"].iat[0])
            if ticker in self._tickers:
                self._note(ticker, frame)
            yield frame

    def _note(self, ticker: str, frame: "pd.DataFrame") -> None:
        from forecaster.data import quality

        days = frame["date"].to_numpy().astype("datetime64[D]")
        known = int(np.searchsorted(days, self._last, side="right"))
        if not known:
            return
        first = np.searchsorted(days, days[known - 1] - RECENT_DAYS)
        self.dates[ticker] = days[first:].copy()  # not a view, which would keep all
        self.recent[ticker] = frame["close"].to_numpy()[max(known - RECENT, 0) : known].tolist()
        year = days[known - 1] - np.timedelta64(2 * quality.YEAR, "D")
        motion = quality.motion(frame.iloc[np.searchsorted(days, year) : known])
        if motion:
            self.motion[ticker] = motion
