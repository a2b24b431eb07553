"""Sessions around announcements, as the closes before them knew them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from forecaster.dataset.panel import History

AFTER = 5
"""Sessions after a reaction that are told from ordinary ones."""

COLUMNS = ["ticker", "date", "since"]


def reactions_of(
    histories: Sequence[History], first: np.datetime64, last: np.datetime64
) -> pd.DataFrame:
    """Return the reaction sessions and the ``AFTER`` after each, between two dates.

    A session is a reaction session if, at the close before, the odds were for it: where the time of an
    announcement is unknown, what came of it does not decide.

    Returns
    -------
    ticker, date, since (sessions since the reaction session, 0 at it); no rows without announcements.
    """
    tables = []
    for history in histories:
        known = history.announcements
        if known is None:
            continue
        since = np.where(known.chance >= 0.5, 0, known.since + 1)
        dates = history.next_dates
        rows = (since <= AFTER) & (dates >= first) & (dates <= last)
        tables.append(
            pd.DataFrame({"ticker": history.ticker, "date": dates[rows], "since": since[rows]})
        )
    table = pd.concat(tables) if tables else pd.DataFrame(columns=COLUMNS)
    kinds = {"ticker": "str", "date": "datetime64[us]", "since": "int64"}
    return table.astype(kinds).reset_index(drop=True)
