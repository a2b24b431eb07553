"""Files of forecasts, in the layouts that libraries and people write.

A row is a ticker and a date, and perhaps a cutoff, a step and a model.
``docs/how-to/score-a-file.md`` shows the layouts, and
:mod:`forecaster.backtesting.forecast_columns` says what a column is.
"""

import logging
import re
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.backtesting.forecast_columns import Columns
from forecaster.data.prices import floats
from forecaster.data.sources import dates, numbers, tables
from forecaster.data.sources.tables import Format
from forecaster.distributions import forecasts, quantile_grid
from forecaster.errors import ForecastError, first_few

log = logging.getLogger(__name__)

KEYS = ["ticker", "model", "cutoff", "date", "step"]

LEAST_PATHS = 20
"""Fewer sample paths say too little of a distribution."""


@dataclass(frozen=True)
class ForecastTable:
    """Forecasts as a file gives them."""

    rows: pd.DataFrame
    """ticker, model, cutoff and step (NaT and NaN where the file has none), date, and what there is of
    ``q0.05`` and so on, mean, volatility, location, scale, df, each a number."""
    levels: tuple[float, ...]
    """Of the quantile columns, ascending."""
    file: str
    sha256: str
    """Of the file's bytes."""
    is_frame: bool
    """Whether the columns are those of the forecasts frame, whose numbers are log returns."""


def read(
    path: Path,
    *,
    stored: Collection[str] = (),
    ticker: str | None = None,
    interval: float | None = None,
    form: Format | None = None,
) -> ForecastTable:
    """Return the forecasts of a CSV or Parquet file.

    Parameters
    ----------
    path : the file.
    stored : the tickers whose prices are stored; a name that differs in capitals alone is one of them.
    ticker : of a file of one series that does not name it.
    interval : the coverage of the bands of a file that does not say it, such as 0.95.
    form : what the file leaves open: the order of dates, the decimal mark.

    Raises
    ------
    SourceError
        The file is missing or no table, or can be read in two ways.
    ForecastError
        It is in no layout that is known, or a row is not a forecast; the message names it.
    """
    form = form or Format()
    source = tables.read(path)
    table = source.named()
    table.columns = [str(name) for name in table.columns]
    if table.columns.has_duplicates:
        twice = table.columns[table.columns.duplicated()][0]
        raise ForecastError(f"{path} has {twice} twice (a median is q0.5); drop one")
    columns = Columns.of(table, path, stored, ticker, interval)
    used = [*columns.points_of.values(), *columns.paths]
    used += [name for its in columns.values.values() for name in its.values()]
    values = _numbered(table[list(dict.fromkeys(used))], source.delimiter, form, path)
    rows = _tidy(table, columns, values, ticker, path)
    _require_something(rows, columns, path)
    rows = _dated(rows, form, path)
    rows["ticker"] = _as_stored(rows["ticker"], stored)
    rows = _summed_up(rows, columns, path)
    levels = _levels_of(rows)
    _require_sound(rows, levels, path)
    is_frame = {"ticker", "date"} <= set(table) and not columns.points_of and not columns.paths
    is_frame &= all(_is_ours(name) for its in columns.values.values() for name in its.values())
    return ForecastTable(rows, levels, path.name, sha256(path.read_bytes()).hexdigest(), is_frame)


def _is_ours(name: str) -> bool:
    """Return whether a column is called as in the forecasts frame."""
    exact = name in ("mean", "volatility", "point", "median", *forecasts.PARAMETERS)
    return exact or bool(re.fullmatch(r"q\d*\.?\d+", name))


def _tidy(
    table: pd.DataFrame,
    columns: Columns,
    values: pd.DataFrame,
    ticker: str | None,
    path: Path,
) -> pd.DataFrame:
    """Return a row for each ticker, model and date, its index that of the file's row."""
    keys = pd.DataFrame(
        {
            "ticker": table[columns.ticker] if columns.ticker else ticker,
            "model": table[columns.model] if columns.model else path.stem,
            "cutoff": table[columns.cutoff] if columns.cutoff else None,
            "date": table[columns.date],
            "step": table[columns.step] if columns.step else np.nan,
        },
        table.index,
    )
    if columns.path:
        keys["path"] = table[columns.path]
    if columns.points_of:
        parts = [
            keys.assign(ticker=name, **{"q0.5": values[column]})
            for name, column in columns.points_of.items()
        ]
        return pd.concat(parts)
    if columns.ticker is None and ticker is None:
        raise ForecastError(
            f"{path} does not say of which ticker its forecasts are; say it with `ticker`, or add a "
            "column ticker"
        )
    if columns.paths:
        return keys.join(values[columns.paths])
    if not columns.values:
        return keys
    shared = set.intersection(*(set(its) for its in columns.values.values()))
    if any(set(its) != shared for its in columns.values.values()):
        log.warning(
            "the models of %s have different levels; they are compared on those that all have", path
        )
    parts = [
        keys.assign(
            **({"model": model} if model else {}),
            **{what: values[column] for what, column in its.items() if what in shared},
        )
        for model, its in columns.values.items()
    ]
    return pd.concat(parts)


def _as_stored(tickers: pd.Series, stored: Collection[str]) -> pd.Series:
    """Return the tickers as they are stored, where they differ from one of these in capitals alone."""
    by_name: dict[str, list[str]] = {}
    for it in stored:
        by_name.setdefault(it.casefold(), []).append(it)
    known = set(stored)
    names = {
        name: by_name[name.casefold()][0]
        for name in tickers.unique()
        if name not in known and len(by_name.get(name.casefold(), ())) == 1
    }
    return tickers.replace(names)


def _summed_up(rows: pd.DataFrame, columns: Columns, path: Path) -> pd.DataFrame:
    """Return the rows with sample paths replaced by their quantiles at the 23 levels."""
    if columns.paths:
        paths = rows[columns.paths].to_numpy()
        _require_paths(paths.shape[1], path)
        rows = rows.drop(columns=columns.paths)
    elif columns.path and "q0.5" in rows:
        index = rows.index.to_series().groupby([rows[key] for key in KEYS], dropna=False).first()
        groups = rows.groupby(KEYS, dropna=False)["q0.5"]
        _require_paths(int(groups.size().min()), path)
        grid = groups.quantile(np.array(quantile_grid.LEVELS)).unstack()
        rows = grid.index.to_frame(index=False).set_axis(KEYS, axis=1)
        rows.index = index.to_numpy()
        return rows.assign(**dict(zip(forecasts.QUANTILES, grid.to_numpy().T, strict=True)))
    else:
        return rows.drop(columns="path", errors="ignore")
    grid = np.quantile(paths, quantile_grid.LEVELS, axis=1)
    return rows.assign(**dict(zip(forecasts.QUANTILES, grid, strict=True)))


def _require_paths(count: int, path: Path) -> None:
    if count < LEAST_PATHS:
        raise ForecastError(
            f"{path}: expected {LEAST_PATHS} sample paths or more for each ticker and date, came "
            f"{count}; draw more, or give quantiles"
        )


def _levels_of(rows: pd.DataFrame) -> tuple[float, ...]:
    return tuple(sorted(float(it[1:]) for it in map(str, rows) if re.fullmatch(r"q[\d.]+", it)))


def _require_something(rows: pd.DataFrame, columns: Columns, path: Path) -> None:
    levels = _levels_of(rows)
    if any(not 0 < level < 1 for level in levels):
        raise ForecastError(
            f"{path} has quantiles of the levels {first_few(levels)}: each lies between 0 and 1, "
            "exclusive; correct their names, or drop them"
        )
    sides = len(levels) > 1 and levels[0] < 0.5 < levels[-1]
    known = {"mean", "volatility"} & set(rows) or set(forecasts.STUDENT_T) <= set(rows)
    if not (sides or levels == (0.5,) or known or columns.paths):
        came = [it for it in (*rows.columns[len(KEYS) :], *columns.others) if it != "path"]
        raise ForecastError(
            f"{path} has no forecast that can be scored: expected quantiles on both sides of the "
            "median (q0.1, q0.9), or mean and volatility, or location, scale and df, or a point; "
            f"came {first_few(came, 8) if came else 'none of them'}"
        )


def _dated(rows: pd.DataFrame, form: Format, path: Path) -> pd.DataFrame:
    rows = rows.copy()
    for name in ("cutoff", "date"):
        days = dates.parse(rows[name], form.dates, path).wall.dt.normalize()
        missing = rows[name].isna() | rows[name].isin(numbers.MISSING)
        bad = days.isna() & (~missing | (name == "date"))
        if bad.any():
            raise ForecastError(
                f"{path}: expected dates in {name}, came {rows.loc[bad, name].iloc[0]!r} in row "
                f"{row_number(bad)}; write them as YYYY-MM-DD"
            )
        rows[name] = days
    for name in ("ticker", "model"):
        blank = rows[name].isna() | (rows[name].astype(str).str.strip() == "")
        if blank.any():
            raise ForecastError(f"{path}: no {name} in row {row_number(blank)}; fill it in")
        rows[name] = rows[name].astype(str)
    rows["step"] = _steps(rows["step"], path)
    if rows["cutoff"].isna().all():
        before = "the session before the date"
        if rows["step"].notna().any():
            before = "as many sessions before the date as its step"
        log.warning(
            "%s has no cutoff: each is taken as %s, and nothing shows that the forecast was made by then",
            path, before,
        )  # fmt: skip
    return rows


def _steps(cells: pd.Series, path: Path) -> pd.Series:
    """Return the steps in a column, NaN where it has none."""
    steps = pd.to_numeric(cells, errors="coerce").astype(float)
    missing = cells.isna() | cells.isin(numbers.MISSING)
    bad = ~missing & ~(np.isfinite(steps) & (steps >= 1) & (steps % 1 == 0))
    if bad.any():
        raise ForecastError(
            f"{path}: expected how many sessions ahead a forecast is, 1 or more, came "
            f"{cells[bad].iloc[0]!r} in row {row_number(bad)}; correct it, or leave it empty"
        )
    return steps


def _numbered(columns: pd.DataFrame, delimiter: str, form: Format, path: Path) -> pd.DataFrame:
    mark = numbers.MARKS[form.decimal] if form.decimal else None
    mark = mark or numbers.decimal_mark(columns, columns[[]], delimiter, path)
    parsed = numbers.parse(columns, mark)
    values = pd.DataFrame({name: floats(cells) for name, cells in parsed.items()}, columns.index)
    for name, cells in columns.items():
        wrong = ~np.isfinite(values[name])
        if wrong.any():
            value = cells[wrong].iloc[0]
            nothing = pd.isna(value) or value in numbers.MISSING
            raise ForecastError(
                f"{path}: expected a number in {name}, came {'nothing' if nothing else repr(str(value))} "
                f"in row {row_number(wrong)} ({int(wrong.sum()):,} such rows); fill it in or drop the row"
            )
    return values


def _require_sound(rows: pd.DataFrame, levels: tuple[float, ...], path: Path) -> None:
    def refuse(bad: pd.Series, words: str, advice: str) -> None:
        if bad.any():
            row = rows[bad].iloc[0]
            raise ForecastError(
                f"{path}: {int(bad.sum()):,} of {len(rows):,} rows {words}, the first row "
                f"{row_number(bad)}, {row['ticker']} by {row['model']} for {row['date']:%Y-%m-%d}; {advice}"
            )

    refuse(
        rows["cutoff"] >= rows["date"],
        "have a cutoff that is not before their date, so they may know what they forecast",
        "give the last day that the forecast used as the cutoff",
    )
    refuse(
        rows.duplicated(KEYS),
        "say a second time what another row does",
        "keep one row for each ticker, model, cutoff, date and step",
    )
    quantiles = rows[[f"q{level:g}" for level in levels]].to_numpy()
    refuse(
        pd.Series((np.diff(quantiles, axis=1) < 0).any(axis=1), rows.index),
        "have quantiles that cross",
        "sort each row's quantiles by their level, or mend the model",
    )
    for name, least in (("volatility", 0), ("scale", 0), ("df", 2)):
        if name in rows:
            refuse(rows[name] <= least, f"have a {name} of {least} or less", "mend or drop them")


def row_number(bad: pd.Series) -> int:
    """Return the number of the first bad row of the file, from 1 below the names of columns."""
    return int(bad.index[bad.to_numpy(bool)][0])
