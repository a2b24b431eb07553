"""One ticker's rows while they are cleaned, and the record of what is done to them."""

import numpy as np
import pandas as pd

from forecaster.data import prices
from forecaster.data.mends import FINDINGS, MENDS, no_findings, no_mends
from forecaster.data.rules import RULES


class Draft:
    """A ticker's rows, whose values change and whose rows go only with a note of the rule.

    Parameters
    ----------
    table : the rows in the order of their dates, numbers as floats.
    ticker : whose rows they are.
    """

    def __init__(self, table: pd.DataFrame, ticker: str):
        self.ticker = ticker
        names = (*prices.COLUMNS[2:], *prices.ACTIONS)
        self._table = table
        self._came = {it: table[it].to_numpy(dtype=float) for it in names if it in table}
        self._columns = dict(self._came)
        self._place = np.arange(len(table))
        self.dates = table["date"].to_numpy()
        """The dates (n,) of the rows that are left."""
        known = [it for it in ("close", "adj_close") if not np.isnan(self.values(it)).all()]
        self.close = known[0] if known else "close"
        """The column of closes: adjusted ones where there are no others."""
        self.adjusted = len(known) == 2
        """Whether there are adjusted closes beside closes."""
        self._findings: list[tuple[object, ...]] = []
        self._mends: list[pd.DataFrame] = []

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, column: str) -> bool:
        return column in self._columns

    @property
    def basis(self) -> str:
        """The column that returns are taken from."""
        return "adj_close" if self.adjusted else self.close

    def values(self, column: str) -> np.ndarray:
        """Return a copy of a column as floats (n,); NaN where there is none."""
        known = self._columns.get(column)
        return np.full(len(self), np.nan) if known is None else known.copy()

    def came(self, column: str) -> np.ndarray:
        """Return a column (n,) as it came, for the rows that are left; NaN where there was none."""
        known = self._came.get(column)
        return np.full(len(self), np.nan) if known is None else known[self._place]

    def intraday(self) -> np.ndarray:
        """Return the log returns (n,) from open to close; NaN where unknown."""
        opens = self.values("open")
        opens[~(np.isfinite(opens) & (opens > 0))] = np.nan
        with np.errstate(over="ignore"):  # of a price near zero, which is rejected later
            moves: np.ndarray = np.log(self.values(self.close) / opens)
        return np.where(np.isfinite(moves), moves, np.nan)

    def note(self, rows: np.ndarray, rule: str) -> None:
        """Add a finding for each run of neighbouring ``rows``, (n,) booleans."""
        places = np.flatnonzero(rows)
        for run in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
            if len(run):
                ends = (pd.Timestamp(self.dates[at]) for at in run[[0, -1]])
                self._findings.append((self.ticker, rule, RULES[rule].action, *ends, len(run)))

    def mend(self, column: str, values: np.ndarray, rule: str) -> np.ndarray:
        """Set a column to ``values`` (n,); return whether each of them changed, (n,)."""
        before = self.values(column)
        changed: np.ndarray = (before != values) & ~(np.isnan(before) & np.isnan(values))
        if changed.any():
            self._columns[column] = np.where(changed, values, before)
            self._list(changed, column, before, values, rule)
        return changed

    def add_adjusted(self) -> None:
        """Begin a column of adjusted closes with the closes, where there is none."""
        if not self.adjusted:
            self._columns["adj_close"] = self.values(self.close)
            self.adjusted = True

    def move(self, column: str, values: np.ndarray) -> None:
        """Set a column to ``values`` (n,) that only changed rows, as actions of rejected rows do."""
        self._columns[column] = values

    def reject(self, rows: np.ndarray, rule: str) -> None:
        """Drop ``rows``, (n,) booleans."""
        if rows.any():
            self.note(rows, rule)
            gone = np.full(len(rows), np.nan)
            self._list(rows, self.close, self.values(self.close), gone, rule)
            self._columns = {name: values[~rows] for name, values in self._columns.items()}
            self._place, self.dates = self._place[~rows], self.dates[~rows]

    def _list(
        self, rows: np.ndarray, column: str, before: np.ndarray, after: np.ndarray, rule: str
    ) -> None:
        values = (self.ticker, self.dates[rows], column, before[rows], after[rows], rule)
        self._mends.append(pd.DataFrame(dict(zip(MENDS, values, strict=True))))

    @property
    def frame(self) -> pd.DataFrame:
        """The rows that are left."""
        if len(self) == len(self._table):
            left = self._table
        else:
            left = self._table.iloc[self._place].reset_index(drop=True)
        changed = {
            name: values
            for name, values in self._columns.items()
            if values is not self._came.get(name)
        }
        return left.assign(**changed) if changed else left

    @property
    def findings(self) -> pd.DataFrame:
        """A table of :data:`forecaster.data.mends.FINDINGS`, in the order of the rules."""
        if not self._findings:
            return no_findings()
        return pd.DataFrame(self._findings, columns=list(FINDINGS))

    @property
    def mends(self) -> pd.DataFrame:
        """A table of :data:`forecaster.data.mends.MENDS`, in the order they were made."""
        return pd.concat(self._mends, ignore_index=True) if self._mends else no_mends()
