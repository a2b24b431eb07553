"""Training windows over histories laid end to end: their starts, and copies of their rows.

A window is scored at every session after its warm-up, not at its end alone, so one pass of the
recurrence serves a few hundred targets. The starts shift from epoch to epoch, so that every session
is in turn early and late in a window.
"""

import tempfile
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import StoreError

MAX_BYTES = 256 * 2**20
"""Of a table in memory: the features of some 350 tickers over twenty years."""


def starts(lengths: Sequence[int], *, window: int, step: int, shift: float) -> NDArray[np.int_]:
    """Return the starts of windows, in histories laid end to end.

    Parameters
    ----------
    lengths : sessions of each history; one shorter than a window has none.
    window : sessions in a window.
    step : sessions from the start of a window to that of the next.
    shift : in [0, 1), the part of a step by which all windows move back; at 0, the last window of a
        history ends at its last session.

    Returns
    -------
    (windows,) integers; each window lies within one history.
    """
    begins = [np.empty(0, dtype=int)]
    end = 0
    for length in lengths:
        begin, end = end, end + length
        # Count back from the end, so that the latest sessions are always in a window.
        last = end - window - int(min(step, length - window + 1) * shift)
        if length >= window:
            begins.append(np.arange(last, begin - 1, -step))
    return np.concatenate(begins)


def views(table: np.ndarray, window: int) -> np.ndarray:
    """Return every window of a table, uncopied: (rows, ...) -> (rows - window + 1, window, ...)."""
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(table, window, axis=0), -1, 1)


class Table:
    """Rows of float32 numbers laid end to end, written once and read by windows.

    A large one lies in a temporary file, as the features of thousands of tickers would not fit in a
    laptop's memory. The file has no name, so the system removes it whatever happens.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=MAX_BYTES)  # noqa: SIM115
        self._columns = 0

    def __del__(self) -> None:
        self._file.close()

    def append(self, rows: np.ndarray) -> None:
        """Append (rows, columns).

        Raises
        ------
        StoreError
            The disk is full.
        """
        self._columns = rows.shape[1]
        try:
            self._file.write(np.ascontiguousarray(rows, np.float32).data)
        except OSError as error:
            raise StoreError(
                f"cannot write the features to {tempfile.gettempdir()}: {error.strerror}; name a "
                "folder with more space in the environment variable TMPDIR"
            ) from error

    def windows(self, begin: np.ndarray, window: int) -> np.ndarray:
        """Return the rows from each of ``begin`` on: (len(begin), window, columns)."""
        rows = np.empty((len(begin), window, self._columns), np.float32)
        for row, start in zip(rows, begin.tolist(), strict=True):
            self._file.seek(start * row[0].nbytes)
            self._file.readinto(row.data)
        return rows
