"""Training windows over histories laid end to end: indices and views, copied a batch at a time.

A window is scored at every session after its warm-up, not at its end alone, so one pass of the
recurrence serves a few hundred targets. Where a window starts shifts from epoch to epoch, so that
every session is in turn early and late in a window.
"""

from collections.abc import Sequence

import numpy as np


def starts(lengths: Sequence[int], *, window: int, step: int, shift: float) -> np.ndarray:
    """Where windows start, in histories laid end to end.

    Parameters
    ----------
    lengths : sessions of each history; one shorter than a window has none.
    window : sessions in a window.
    step : sessions from the start of a window to that of the next.
    shift : in [0, 1), moves all windows back by this part of a step; 0 ends one at the last session.

    Returns
    -------
    (windows,) integers; each window lies within one history.
    """
    found = [np.empty(0, dtype=int)]
    end = 0
    for length in lengths:
        begin, end = end, end + length
        # Count back from the end, so that the latest sessions are always in a window.
        last = end - window - int(min(step, length - window + 1) * shift)
        if length >= window:
            found.append(np.arange(last, begin - 1, -step))
    return np.concatenate(found)


def views(table: np.ndarray, window: int) -> np.ndarray:
    """Every window of a table, without copying: (rows, ...) -> (rows - window + 1, window, ...)."""
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(table, window, axis=0), -1, 1)
