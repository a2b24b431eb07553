"""Prices from a CSV or Parquet file, in the layouts and the languages that people have.

A file is read in steps, each with a module of its own: its bytes become text
(:mod:`~forecaster.data.sources.encoding`), the text cells under headings
(:mod:`~forecaster.data.sources.tables`), the headings fields (:mod:`~forecaster.data.sources.headings`,
:mod:`~forecaster.data.sources.layout`), the cells numbers and dates
(:mod:`~forecaster.data.sources.numbers`, :mod:`~forecaster.data.sources.dates`), and the rows of a
ticker the sessions of its exchange (:mod:`~forecaster.data.sources.sessions`). What can be read in
two ways is refused with the question that decides.

Rows without prices are taken as they are, for :func:`forecaster.data.prices.check` to refuse; in
tables that have a column for each ticker they are padding, and are dropped.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path

import pandas as pd

from forecaster.data import capitals, prices
from forecaster.data.sources import dates, layout, numbers, row_groups, sessions, tables
from forecaster.data.sources.layout import Columns
from forecaster.data.sources.loading import Outcome
from forecaster.data.sources.row_groups import RowGroups
from forecaster.data.sources.tables import Format, Table
from forecaster.display import cell_texts
from forecaster.errors import (
    ForecastError,
    SourceError,
    UnknownTickerError,
    did_you_mean,
    first_few,
)

log = logging.getLogger(__name__)

_PRICES = prices.COLUMNS[2:7]
_EXTENSIONS = frozenset(
    {".csv", ".tsv", ".txt", ".gz", ".bz2", ".xz", ".zip", ".zst", ".parquet", ".pq"}
)
_SLIPS = 3
"""Dates that vendors repeat with another close by mistake are fewer."""
_REPEATED = 0.05
"""Such dates are a smaller share of all rows."""
_NOTED = r"(?i)\d\s*(?:cash )?dividend|\d\s*(?:stock )?split"
_DIVIDEND = re.compile(r"(?P<cash>[\d.,]+)\s*(?:cash )?dividends?", re.IGNORECASE)
_SPLIT = re.compile(r"(?P<new>[\d.]+)\s*[:/]\s*(?P<old>[\d.]+)\s*(?:stock )?splits?", re.IGNORECASE)


def load(
    path: str | Path,
    tickers: Sequence[str] | None = None,
    start: date | None = None,
    end: date | None = None,
    form: Format | None = None,
) -> Iterator[Outcome]:
    """Yield the not yet checked prices of some tickers, or of all that a file has.

    Of a large Parquet file few tickers are in memory at a time
    (:mod:`~forecaster.data.sources.row_groups`). What is wrong with a file as a whole is said before
    the first of them.

    Parameters
    ----------
    path : the file.
    tickers : those wanted; of a file without names of tickers, the one that it holds.
    start, end : the first and the last date wanted.
    form : what the file leaves open.

    Raises
    ------
    SourceError
        There is no such file, or it is not a table of prices, or it can be read in two ways.
    UsageError
        ``form`` does not fit the file.
    """
    path, form = Path(path), form or Format()
    groups = row_groups.scan(path, tickers, form)
    known, parts = _parts(groups, tickers, form) if groups else _whole(path, tickers, form)
    for names, histories in parts:
        for ticker in names:
            if ticker in histories:
                yield ticker, _outcome(ticker, histories[ticker], start, end)
            else:
                yield ticker, _unknown(path, ticker, known)


Parts = Iterable[tuple[Sequence[str], dict[str, pd.DataFrame]]]
"""Tickers wanted, and the rows of each that is there."""


def _whole(path: Path, tickers: Sequence[str] | None, form: Format) -> tuple[list[str], Parts]:
    """All tickers of a file, and what is wanted of it in one part."""
    table = tables.read(path)
    columns = layout.assign(table, tickers, form)
    rows = _read(table, columns, form, say=True)
    if columns.is_wide:
        histories = _by_column(rows, columns)
    else:
        rows["ticker"] = _tickers(table, columns, tickers)
        _require_one_row_a_day(table, columns, rows)
        histories = _by_ticker(rows)
    known = list(histories)
    return known, [(capitals.matched(tickers, known) if tickers else known, histories)]


def _parts(
    groups: RowGroups, tickers: Sequence[str] | None, form: Format
) -> tuple[list[str], Parts]:
    """All tickers of a file, and what is wanted of it part by part."""
    known = groups.tickers
    wanted = capitals.matched(tickers, known) if tickers else known

    def parts() -> Parts:
        _read(groups.head, groups.columns, form, say=True)
        for names in groups.parts(wanted):
            table = groups.read(names)
            if table is None:
                yield names, {}
                continue
            rows = _read(table, groups.columns, form)
            rows["ticker"] = _tickers(table, groups.columns, tickers)
            yield names, _by_ticker(rows)

    return known, parts()


def _by_ticker(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each ticker of a table that names them, in the order in which they first come."""
    return {str(ticker): its for ticker, its in rows.groupby("ticker", sort=False)}


def _read(table: Table, columns: Columns, form: Format, *, say: bool = False) -> pd.DataFrame:
    """The numbers of a table, by field or, if it is wide, by place; and ``date``, ``wall``, ``instant``.

    With ``say``, what its columns are taken for is logged.
    """
    cells = table.cells
    pairs = [(place, name) for fields in columns.series.values() for name, place in fields.items()]
    prices_at = [place for place, name in pairs if name in _PRICES]
    others_at = [place for place, name in pairs if name not in _PRICES]
    first = min(prices_at)
    actions = _actions(cells[first]) if not columns.is_wide and columns.ticker is None else None
    if actions is not None:
        cells = cells.copy()
        cells.loc[actions.index, first] = ""
    if form.decimal:
        mark = numbers.MARKS[form.decimal]
    else:
        mark = numbers.decimal_mark(cells[prices_at], cells[others_at], table.delimiter, table.path)
    if say:
        _say(table, columns, mark)
    rows = numbers.parse(cells[prices_at + others_at], mark)
    if not columns.is_wide:
        rows = rows.rename(columns=dict(pairs))
    written = _written(cells, columns)
    stamps = dates.parse(written, form.dates, table.path)
    rows = rows.assign(date=written, wall=stamps.wall, instant=stamps.instant)
    return rows if actions is None else _with_actions(rows, actions)


def _actions(cells: pd.Series) -> pd.DataFrame | None:
    """The dividends and splits that a page tells in words, in rows of their own: ``0.71 Dividend``."""
    if not pd.api.types.is_string_dtype(cells) or not (noted := cells.str.contains(_NOTED)).any():
        return None
    split = cells[noted].str.extract(_SPLIT).apply(pd.to_numeric, errors="coerce")
    cash = cells[noted].str.extract(_DIVIDEND)["cash"].str.replace(",", ".")
    numbers = {
        "dividends": pd.to_numeric(cash, errors="coerce"),
        "splits": split["new"] / split["old"],
    }
    return pd.DataFrame(numbers).dropna(how="all")


def _with_actions(rows: pd.DataFrame, actions: pd.DataFrame) -> pd.DataFrame:
    """The rows with the actions of their days; a row of an action stays where its day has no other."""
    days = rows.loc[actions.index, "wall"]
    alone = days.index[~days.isin(rows["wall"].drop(actions.index))]
    bars: pd.DataFrame = rows.drop(actions.index.difference(alone))
    for name in prices.ACTIONS:
        of_day = actions[name].groupby(days).sum()
        bars[name] = bars["wall"].map(of_day).fillna(0.0)
    return bars


def _written(cells: pd.DataFrame, columns: Columns) -> pd.Series:
    """The dates as the file has them, with the time of the day where that has a column of its own."""
    days = cells[columns.date]
    if columns.time is None:
        return days
    text = cells[columns.time].astype("str").str.removesuffix(".0")
    digits = text.str.fullmatch(r"\d{1,6}")
    padded = text.str.zfill(6).where(text.str.len() > 4, text.str.zfill(4) + "00")
    text = text.where(~digits, padded.str.replace(r"(..)(..)(..)", r"\1:\2:\3", regex=True))
    if not text.str.fullmatch(r"\d{1,2}:\d\d(:\d\d)?.*").all() or text.str.strip("0:").eq("").all():
        return days
    if pd.api.types.is_datetime64_any_dtype(days):
        days = days.dt.strftime("%Y-%m-%d")
    return days.astype("str") + " " + text


def _by_column(rows: pd.DataFrame, columns: Columns) -> dict[str, pd.DataFrame]:
    """The rows of each ticker of a wide table, without padding."""
    histories = {}
    for ticker, fields in columns.series.items():
        own = pd.DataFrame({name: rows[place] for name, place in fields.items()}).dropna(how="all")
        histories[ticker] = own.join(rows[["date", "wall", "instant"]]).assign(ticker=ticker)
    return histories


def _tickers(table: Table, columns: Columns, wanted: Sequence[str] | None) -> pd.Series | str:
    """The ticker of each row (n,), or the one of a file that names none."""
    if columns.ticker is not None:
        cells = table.cells[columns.ticker]
        if pd.api.types.is_float_dtype(cells):
            cells = cells.convert_dtypes()  # 14593, not 14593.0
        return cell_texts(cells.astype("str").fillna(""))
    if wanted and len(wanted) > 1:
        raise SourceError(
            f"{table.path} has no column of tickers, so it holds one ticker and {len(wanted)} were "
            "asked for; name the one it holds"
        )
    path = table.path
    while path.suffix.lower() in _EXTENSIONS:  # 005930.KS of 005930.KS.csv.gz
        path = path.with_suffix("")
    return capitals.matched(wanted, [path.name])[0] if wanted else path.name


def _require_one_row_a_day(table: Table, columns: Columns, rows: pd.DataFrame) -> None:
    """Refuse rows of several instruments that no column tells apart.

    Raises
    ------
    SourceError
        Dates come again with another close; the message names the column that might tell.
    """
    keys = ["ticker", "wall"]
    if not rows.duplicated(keys).any():
        return
    again = rows[rows["wall"].notna() & rows.duplicated(keys, keep=False)]
    closes = again.groupby(keys)["close" if "close" in rows else "adj_close"]
    differ = int((closes.nunique() > 1).sum())
    if not differ:
        return
    telling = _telling_column(table, columns, rows[keys])
    if differ < _SLIPS and (telling is None or columns.ticker is not None):
        return  # slips of a vendor, for cleaning to name
    if telling is None and differ < _REPEATED * len(rows):
        return
    raise SourceError(
        f"{table.path}: {differ:,} dates come again with another close, so it holds several instruments"
        + (
            f", which its column {telling!r} probably names; rename that one to ticker"
            if telling
            else "; name them in a column ticker"
        )
    )


def _telling_column(table: Table, columns: Columns, keys: pd.DataFrame) -> str | None:
    """The heading of a column that tells the rows of each date apart, words rather than numbers."""
    used = {columns.date, columns.time, columns.ticker, *columns.series[""].values()}
    names = table.headings[-1] if table.headings else [f"{it + 1}" for it in table.places]
    telling = {}
    for place in set(table.places) - used:
        text = table.cells[place].loc[keys.index].astype("str")
        if 2 * text.nunique() <= len(text) and not keys.assign(text=text).duplicated().any():
            telling[bool(text.map(numbers.looks_like).any()), place] = names[place]
    return telling[min(telling)] if telling else None


def _outcome(
    ticker: str, rows: pd.DataFrame, start: date | None, end: date | None
) -> pd.DataFrame | ForecastError:
    try:
        prices.check_tickers(rows["ticker"])
        return prices.between(sessions.daily(ticker, rows), start, end)
    except ForecastError as error:
        return error


def _say(table: Table, columns: Columns, mark: str) -> None:
    """Log what the columns of a file are taken for."""
    names = [" ".join(filter(None, rows)) for rows in zip(*table.headings, strict=True)]
    names = names or [f"column {place + 1}" for place in table.places]
    if columns.is_wide:
        meaning = f"{len(columns.series)} tickers side by side"
    else:
        known = {"date": columns.date, "time": columns.time, "ticker": columns.ticker}
        known |= columns.series[""]
        meaning = ", ".join(
            f"{it} {names[place]!r}" for it, place in known.items() if place is not None
        )
    log.info("%s: %s; decimal mark %r", table.path, meaning, mark)


def _unknown(path: Path, ticker: str, known: Sequence[str]) -> UnknownTickerError:
    return UnknownTickerError(
        f"{ticker} is not in {path}; {did_you_mean(ticker, known)}it has {first_few(known, 10)}"
    )
