"""Prices from a CSV or Parquet file, in the layouts that people have.

- long: a row for each ticker and date, with a ticker column;
- one ticker: the same without a ticker column; the ticker is the one asked for, or the file's name;
- yfinance: a row for each date, two rows of column names (price and ticker, in either order);
- closes: a row for each date, a column for each ticker.

The first two are taken as they are: a row without prices is for ``prices.check`` to refuse. In the
last two it is padding, and is dropped.
"""

import csv
import re
import warnings
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from datetime import date
from pathlib import Path

import pandas as pd

from forecaster.data import prices
from forecaster.data.sources.loading import Outcome
from forecaster.display import cell_texts
from forecaster.errors import SourceError, UnknownTickerError, did_you_mean, first_few, one_line

# In the order of preference, in small letters and without blanks or punctuation. The last two names
# of a date are those of an index that was saved without a name.
_NAMES: Mapping[str, Sequence[str]] = {
    "ticker": ("ticker", "symbol", "uniqueid", "name"),
    "date": ("date", "datetime", "timestamp", "ds", "time", "index", ""),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close", "last", "price", "y"),
    "adj_close": ("adjclose", "adjustedclose", "closeadj", "closeadjusted"),
    "volume": ("volume", "vol"),
    "dividends": ("dividends", "dividend"),
    "splits": ("stocksplits", "splits"),
}
_FIELD = {name: field for field, names in _NAMES.items() for name in names}
_EXTENSIONS = frozenset(
    {".csv", ".tsv", ".txt", ".gz", ".bz2", ".xz", ".zip", ".zst", ".parquet", ".pq"}
)
# A ticker may be NA or NULL: only the cells of prices are read as missing.
_TEXT = ("ticker", "date")
_MISSING = ["", "-", "na", "NA", "n/a", "N/A", "#N/A", "nan", "NaN", "null", "NULL", "None"]


def load(
    path: str | Path,
    tickers: Sequence[str] | None = None,
    start: date | None = None,
    end: date | None = None,
) -> list[Outcome]:
    """The not yet checked prices of some tickers, or of all that a file has.

    Raises
    ------
    SourceError
        There is no such file, or it is not a table of prices.
    """
    path = Path(path)
    table = read_table(path)
    if isinstance(table.columns, pd.MultiIndex):
        frames = _split_wide(path, table, _two_levels(path, table.columns[1:]))
    elif _is_long(table.columns):
        frames = _split_long(path, table, tickers)
    else:
        frames = _split_wide(path, table, [("close", ticker) for ticker in table.columns[1:]])
    return [
        (ticker, prices.between(frames[ticker], start, end))
        if ticker in frames
        else (ticker, _unknown(path, ticker, list(frames)))
        for ticker in dict.fromkeys(tickers or frames)
    ]


def read_table(path: Path) -> pd.DataFrame:
    """The file's own table; its index counts the rows below the names, from 1."""
    if not path.exists():
        raise SourceError(
            f"there is no file {path}; give the path of a CSV or Parquet file, yahoo or sample"
        )
    if not path.is_file():
        raise SourceError(f"{path} is a folder; give the path of one CSV or Parquet file")
    try:
        table = _read(path)
    except Exception as error:  # each parser and each compression has errors of its own
        raise SourceError(
            f"cannot read {path} as a CSV (in UTF-8) or Parquet table: {one_line(error)}; save it as one"
        ) from error
    if table.shape[1] < 2:
        raise SourceError(
            f"{path} is not a table: expected a column of dates and at least one of "
            f"numbers, found {table.shape[1]}; give a CSV or Parquet file with both"
        )
    if table.empty:
        raise SourceError(f"{path} has names of columns and no rows; give a file with rows")
    table.index = pd.RangeIndex(1, len(table) + 1)
    return table


def _read(path: Path) -> pd.DataFrame:
    with path.open("rb") as file:
        first_bytes = file.read(4)
    if not first_bytes:
        raise ValueError("it is empty, and holds no table")
    return _read_parquet(path) if first_bytes == b"PAR1" else _read_csv(path)


def _read_parquet(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path)
    if not isinstance(table.index, pd.RangeIndex):
        table = table.reset_index()
    if not isinstance(table.columns, pd.MultiIndex):
        table.columns = table.columns.astype("str")
    return table


def _read_csv(path: Path) -> pd.DataFrame:
    # A separator that no text has gives whole lines, of any compression.
    lines = pd.read_csv(
        path,
        sep="\x1f",
        header=None,
        nrows=3,
        dtype="str",
        quoting=csv.QUOTE_NONE,
        encoding="utf-8-sig",
    )[0].tolist()
    delimiter = max(",;\t", key=lines[0].count)
    cells = [
        [cell.strip() for cell in row] for row in csv.reader(map(str, lines), delimiter=delimiter)
    ]
    # yfinance writes the names of prices, those of tickers, and the name of the index alone.
    two_levels = len(cells) == 3 and _key(cells[2][0]) in ("date", "datetime")
    two_levels &= not any(cells[-1][1:])
    places = [str(place) for place in range(len(cells[0]))]
    text = [p for p, name in zip(places, cells[0], strict=True) if _field(name) in _TEXT]
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # a row longer than the names
        table = pd.read_csv(
            path,
            sep=delimiter,
            header=2 if two_levels else 0,
            names=places,
            index_col=False,
            dtype=dict.fromkeys(["0", *text], "str"),
            keep_default_na=False,
            na_values={place: _MISSING for place in places if place not in text},
            skipinitialspace=True,
            low_memory=False,
            encoding="utf-8-sig",
        )
    table.columns = (
        pd.MultiIndex.from_arrays(cells[:2]) if two_levels else pd.Index(cells[0], dtype="str")
    )
    return table


def _key(name: Hashable) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def _field(name: Hashable) -> str | None:
    return _FIELD.get(_key(name))


def _is_long(columns: pd.Index) -> bool:
    """Whether columns are the fields of a price, rather than tickers, some of which are words.

    LOW, OPEN and Y are tickers where all the names are in capitals and not all are known.
    """
    if any(_field(name) in ("ticker", "adj_close") or _key(name) == "close" for name in columns):
        return True
    others = [name for name in columns if _field(name) != "date"]
    known = [name for name in others if _field(name)]
    capitals = all(name == name.upper() for name in others)
    return bool(known) and not (capitals and len(known) < len(others))


def _split_long(
    path: Path, table: pd.DataFrame, tickers: Sequence[str] | None
) -> dict[str, pd.DataFrame]:
    by_key = {_key(name): name for name in reversed(table.columns)}
    found = {
        field: next((by_key[name] for name in names if name in by_key), None)
        for field, names in _NAMES.items()
    }
    for wanted in (("date",), ("close", "adj_close")):
        if not any(found[field] for field in wanted):
            usual = ", ".join(name for field in wanted for name in _NAMES[field] if name)
            raise SourceError(
                f"{path} has no column of {wanted[0]}s: expected one named {usual}; "
                f"found {first_few(table.columns, 10)}. Rename the column that holds it"
            )
    for name in filter(None, found.values()):
        if (count := int((table.columns == name).sum())) > 1:
            raise SourceError(f"{path} has {count} columns {name!r}; leave one of them")
    frame = pd.DataFrame({field: table[name] for field, name in found.items() if name is not None})
    if "ticker" not in frame:
        if tickers and len(tickers) > 1:
            raise SourceError(
                f"{path} has no column of tickers, so it holds one ticker and {len(tickers)} were "
                "asked for; name the one it holds"
            )
        ticker = tickers[0] if tickers else _stem(path)
        return {ticker: frame.assign(ticker=ticker)}
    frame["ticker"] = cell_texts(frame["ticker"].astype("str").fillna(""))
    return {str(ticker): rows for ticker, rows in frame.groupby("ticker", sort=False)}


def _two_levels(path: Path, columns: pd.Index) -> list[tuple[str | None, str]]:
    """The field and the ticker of each column, whichever comes first in the file."""
    pairs = [(str(name[0]), str(name[1])) for name in columns]
    if sum(_field(b) is not None for _, b in pairs) > sum(_field(a) is not None for a, _ in pairs):
        pairs = [(b, a) for a, b in pairs]
    if not any(_field(price) in ("close", "adj_close") for price, _ in pairs):
        raise SourceError(
            f"{path} has two rows of names and none is close; "
            f"found {first_few(dict.fromkeys(price for price, _ in pairs), 10)}"
        )
    return [(_field(price), ticker) for price, ticker in pairs]


def _split_wide(
    path: Path, table: pd.DataFrame, pairs: Sequence[tuple[str | None, str]]
) -> dict[str, pd.DataFrame]:
    """A frame for each ticker; the first column is the date, ``pairs`` tell what the others are."""
    (pair, count), *_ = Counter(pair for pair in pairs if pair[0]).most_common(1)
    if count > 1:
        raise SourceError(f"{path} has {count} columns {pair[0]} of {pair[1]!r}; leave one of them")
    frames = {}
    for ticker in dict.fromkeys(ticker for _, ticker in pairs):
        places = {field: i for i, (field, name) in enumerate(pairs, 1) if name == ticker and field}
        frame = pd.DataFrame({field: table.iloc[:, i] for field, i in places.items()})
        frame = frame.dropna(how="all")
        frames[ticker] = frame.assign(ticker=ticker, date=table.iloc[:, 0])
    return frames


def _stem(path: Path) -> str:
    """The file's name without what tells its kind: 005930.KS of 005930.KS.csv.gz."""
    while path.suffix.lower() in _EXTENSIONS:
        path = path.with_suffix("")
    return path.name


def _unknown(path: Path, ticker: str, known: Sequence[str]) -> UnknownTickerError:
    return UnknownTickerError(
        f"{ticker} is not in {path}; {did_you_mean(ticker, known)}it has {first_few(known, 10)}"
    )
