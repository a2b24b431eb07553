"""Columns of the forecasts of a model by date and ticker, for what compares the tickers of a day."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd


def wide(parts: Iterable[pd.DataFrame], names: Sequence[str]) -> list[np.ndarray]:
    """Return some columns as (dates, tickers) each, in order; NaN where there is no forecast.

    Parameters
    ----------
    parts : ticker, date and the columns of some tickers after the other, one row a ticker and date.
    names : the columns wanted.
    """
    dates, columns = [np.empty(0, dtype="datetime64[us]")], [np.empty(0, dtype=np.int32)]
    values, tickers = [np.empty((len(names), 0))], 0
    for rows in parts:
        column, its = pd.factorize(rows["ticker"], sort=True)
        dates.append(rows["date"].to_numpy().astype("datetime64[us]"))
        columns.append((column + tickers).astype(np.int32))
        values.append(np.stack([rows[name].to_numpy(dtype=float) for name in names]))
        tickers += len(its)
    day, days = pd.factorize(np.concatenate(dates), sort=True)
    cell = day * tickers + np.concatenate(columns)
    tables = []
    for each in zip(*values, strict=True):
        table = np.full(len(days) * tickers, np.nan)
        table[cell] = np.concatenate(each)
        tables.append(table.reshape(len(days), tickers))
    return tables
