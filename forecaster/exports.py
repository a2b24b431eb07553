"""Tables in files for other programs: the same columns in CSV, JSON, Parquet and Excel.

:func:`of_forecasts` gives forecasts the columns of `COLUMNS`, :func:`nixtla` the layout of Nixtla's
libraries; :func:`write` writes any table. A value is the same in all four formats: a date is a day, and
what is unknown or not finite is empty. Text never runs as a formula in a spreadsheet.
"""

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from forecaster import atomic, schemas
from forecaster.display import printable, write_csv
from forecaster.distributions import forecasts, quantile_grid
from forecaster.errors import StoreError, UsageError

if TYPE_CHECKING:
    from forecaster.dataset.announcements import NextEvent
    from forecaster.explain.explanation import Explanation

FORMATS = (".csv", ".json", ".parquet", ".xlsx")

LAYOUTS = ("long", "nixtla")

PRICES = [f"price_{name}" for name in forecasts.QUANTILES]
"""Columns of the quantiles of the price."""

COLUMNS = [
    *("ticker", "model", "cutoff", "date", "date_is_guess", "step", "currency", "sessions_behind"),
    *("next_event_date", "next_event_time", "reaction_session", "expected_move"),
    *("last_close", "log_return", "price", "mean", "volatility", "p_up"),
    *("var_95", "es_95", "var_99", "es_99"),
    *forecasts.QUANTILES,
    *PRICES,
    *forecasts.PARAMETERS,
]
"""Columns of exported forecasts, in order; ``docs/reference/exports.md`` says what each is."""

COVERAGES = [round(100 * (1 - 2 * level)) for level in quantile_grid.LEVELS[:11]]
"""Percents of the intervals that Nixtla's layout has, the widest first."""

EXCEL_ROWS = 1_048_576
"""The most rows that a sheet holds, its head included."""

ROWS_AT_ONCE = 5_000
"""Rows of a table that are Python's objects at once, to bound the memory that they take."""

_TAILS = {95: 0.05, 99: 0.01}


def check(path: Path, *, others: Collection[str] = ()) -> None:
    """Raise an error, before any work, if a table cannot be written to a file.

    Parameters
    ----------
    path : the file.
    others : suffixes of what else the command can write.

    Raises
    ------
    UsageError
        Its name ends in no format that is known.
    StoreError
        It is a folder, or lies where nobody may write.
    """
    *known, last = (*others, *FORMATS)
    if not is_table(path):
        raise UsageError(
            f"expected a file that ends in {', '.join(known)} or {last}, got {str(path)!r}"
        )
    if path.is_dir():
        raise StoreError(f"{path} is a folder; name a file")
    place = path.parent
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise StoreError(f"cannot write {path}: {place} is no folder; name another file")
    if not os.access(place, os.W_OK):
        raise StoreError(f"cannot write {path}: {place} may not be written to; name another file")


def is_table(path: Path) -> bool:
    """Return whether the name of a file ends in a format of tables."""
    return path.suffix.lower() in FORMATS


def check_layout(layout: str) -> None:
    """Raise a UsageError if there is no such layout."""
    if layout not in LAYOUTS:
        raise UsageError(f"`layout` must be {' or '.join(LAYOUTS)}, got {layout!r}")


def of_forecasts(
    frame: pd.DataFrame,
    *,
    currencies: Mapping[str, str | None] | None = None,
    sessions_behind: Mapping[str, int] | None = None,
    guesses: Collection[tuple[str, int]] = (),
    announced: Mapping[str, "NextEvent"] | None = None,
) -> pd.DataFrame:
    """Return a forecasts frame with the columns of `COLUMNS`.

    Parameters
    ----------
    frame : the forecasts frame.
    currencies : what the prices of a ticker are in, where it is known.
    sessions_behind : sessions of a ticker's exchange that finished after the cutoff, at the time of
        the forecast; none are known of forecasts of history.
    guesses : the tickers and steps whose date is a guess.
    announced : the next announcement of tickers that have one within sight; none are told of history.
    """
    in_prices, tickers = forecasts.prices(frame), frame["ticker"]
    view = in_prices.rename(columns=dict(zip(forecasts.QUANTILES, PRICES, strict=True)))
    table = frame.join(view[["price", *PRICES]]).assign(
        currency=tickers.map(dict(currencies or {})).astype("str"),
        sessions_behind=tickers.map(dict(sessions_behind or {})).astype("Int64"),
        date_is_guess=pd.MultiIndex.from_frame(frame[["ticker", "step"]]).isin(list(guesses)),
        p_up=forecasts.probability_of_rise(frame),
        **_announcements(tickers, announced or {}),
    )
    for percent, level in _TAILS.items():
        table[f"var_{percent}"] = forecasts.value_at_risk(frame, level)
        table[f"es_{percent}"] = forecasts.expected_shortfall(frame, level)
    return table[COLUMNS]


def _announcements(
    tickers: pd.Series, announced: Mapping[str, "NextEvent"]
) -> dict[str, pd.Series]:
    """Return the columns of the next announcement of each row's ticker, empty where there is none."""

    def column(name: str) -> pd.Series:
        return tickers.map({it: getattr(event, name) for it, event in announced.items()})

    return {
        "next_event_date": column("day").astype("datetime64[us]"),
        "next_event_time": column("time").astype("str"),
        "reaction_session": column("reaction").astype("datetime64[us]"),
        "expected_move": column("expected_move").astype("float64"),
    }


def nixtla(table: pd.DataFrame) -> pd.DataFrame:
    """Return exported forecasts in Nixtla's layout: a row a ticker and session, prices of each model.

    Parameters
    ----------
    table : of :func:`of_forecasts`.

    Returns
    -------
    ``unique_id``, ``ds``, ``cutoff``, ``y`` (the outcome, empty while unknown), and for each model
    ``MODEL`` (its median) and the ends of its intervals, ``MODEL-lo-80`` and ``MODEL-hi-80``.
    """
    names = {"ticker": "unique_id", "date": "ds", "price": "y"}
    keys = ["unique_id", "ds", "cutoff"]
    rows = table.rename(columns=names)
    wide = rows[[*keys, "y"]].drop_duplicates(keys, ignore_index=True)
    half = len(COVERAGES)
    for model in rows["model"].unique():
        its = [
            *(f"{model}-lo-{percent}" for percent in COVERAGES),
            str(model),
            *(f"{model}-hi-{percent}" for percent in reversed(COVERAGES)),
        ]
        own = rows.loc[rows["model"] == model, [*keys, *PRICES]]
        own = own.rename(columns=dict(zip(PRICES, its, strict=True)))
        wide = wide.merge(own[[*keys, its[half], *its[:half], *its[half + 1 :]]], "left", on=keys)
    return wide


def laid_out(table: pd.DataFrame, layout: str) -> tuple[pd.DataFrame, str]:
    """Return exported forecasts in a layout of `LAYOUTS`, and the name of the table."""
    return (nixtla(table), "forecasts-nixtla") if layout == "nixtla" else (table, "forecasts")


def of_explanation(explained: "Explanation") -> dict[str, pd.DataFrame]:
    """Return the tables of an explanation: ``features`` and ``lags``, each with the forecast's keys.

    ``features`` has what :mod:`forecaster.explain.document` says of each feature, and ``lags`` what it
    says of each of the sessions before the forecast, the last of which is lag 1.
    """
    from forecaster.explain import document

    words, row = document.of(explained), explained.forecast.iloc[0]
    lags = words["lags"]
    effects = {
        "effect": lags["effect"],
        **{f"shock_{name}": values for name, values in lags["shock"].items()},
        **{f"gradient_{cell}": values for cell, values in lags["gradient"].items()},
    }
    # A short history has fewer sessions before the forecast than there are lags.
    by_lag = pd.DataFrame({name: pd.Series(it, dtype=float) for name, it in effects.items()})
    by_lag.insert(0, "lag", np.arange(1, len(by_lag) + 1))
    features = pd.DataFrame(words["features"])
    numbers = [name for name in features if name != "feature"]
    tables = {"features": features.astype(dict.fromkeys(numbers, "float64")), "lags": by_lag}
    for table in tables.values():
        for place, name in enumerate(("ticker", "model", "cutoff", "date")):
            table.insert(place, name, row[name])
    return tables


def write(table: pd.DataFrame, path: Path, name: str) -> None:
    """Write a table in place of a file, in the format that the file's name ends in.

    Parameters
    ----------
    table : its columns hold text, numbers, days or truth values.
    path : the file; :func:`check` says whether it can be written.
    name : of the table, for the sheet of a workbook and the schema of a JSON document.

    Raises
    ------
    StoreError
        The disk is full, read-only, or the folder cannot be made.
    UsageError
        The table has more rows than the format holds.
    """
    table = table.replace([np.inf, -np.inf], np.nan)
    kind = path.suffix.lower()
    if kind == ".xlsx" and len(table) >= EXCEL_ROWS:
        raise UsageError(
            f"a sheet holds {EXCEL_ROWS - 1:,} rows, and {path} would have {len(table):,}; "
            "write .parquet or .csv"
        )
    with atomic.replacing(path) as temporary:
        if kind == ".csv":
            write_csv(table, temporary)
        elif kind == ".json":
            _write_json(table, temporary, name)
        elif kind == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            _write_xlsx(table, temporary, name)


def _plain(column: pd.Series) -> list[Any]:
    """The values of a column as Python has them: a day as text, None for what is unknown."""
    if pd.api.types.is_datetime64_any_dtype(column):
        column = column.dt.strftime("%Y-%m-%d")
    values: list[Any] = column.astype(object).where(column.notna(), None).tolist()
    return [str(value) if isinstance(value, date) else value for value in values]


def _rows(
    table: pd.DataFrame, cells: Callable[[pd.Series], list[Any]]
) -> Iterator[tuple[Any, ...]]:
    """Yield the cells of each row, a few thousand of which are in memory at a time."""
    for begin in range(0, len(table), ROWS_AT_ONCE):
        part = table.iloc[begin : begin + ROWS_AT_ONCE]
        yield from zip(*(cells(column) for _, column in part.items()), strict=True)


def _write_json(table: pd.DataFrame, path: Path, name: str) -> None:
    def text(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)

    schema = schemas.tag(name if name in schemas.VERSIONS else "statistics")
    columns = [str(column) for column in table]
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{"schema": {text(schema)}, "table": {text(name)}, "rows": [')
        for number, row in enumerate(_rows(table, _plain)):
            file.write(",\n" if number else "\n")
            file.write(text(dict(zip(columns, row, strict=True))))
        file.write("\n]}\n")


def _write_xlsx(table: pd.DataFrame, path: Path, name: str) -> None:
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell

    book = Workbook(write_only=True)
    sheet = book.create_sheet(name)
    sheet.freeze_panes = "A2"

    def text(value: str) -> Any:
        cell = WriteOnlyCell(sheet, printable(value))
        cell.data_type = "s"  # not "f", a formula, which openpyxl takes =cmd() for
        cell.quotePrefix = True  # and which it would become as soon as somebody edits the cell
        return cell

    def day(value: date) -> Any:
        cell = WriteOnlyCell(sheet, value)
        cell.number_format = "yyyy-mm-dd"
        return cell

    def cells(column: pd.Series) -> list[Any]:
        if pd.api.types.is_datetime64_any_dtype(column):
            return [None if pd.isna(it) else day(it.date()) for it in column]
        return [text(it) if isinstance(it, str) else it for it in _plain(column)]

    sheet.append([text(str(column)) for column in table])
    for row in _rows(table, cells):
        sheet.append(row)
    book.save(path)
