"""Which column of a table is what: the dates, the tickers, and the prices of each ticker.

- long: a row for each ticker and date, with a column of tickers;
- one ticker: the same without that column;
- two rows of headings, or two in one (``Close_AAPL``, ``AAPL.Close``): prices and tickers;
- wide: the closes of a ticker in each column.

A column is read where its heading leaves no doubt. The tickers of a wide table are headings with the
shape of a ticker; an indicator beside them is left out, and anything else is asked for. A table
without headings, or with those of a language that is not known, is read where the prices themselves
show which is which: no price of a day is above its high or below its low.
"""

import logging
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pandas as pd

from forecaster.data import prices
from forecaster.data.sources import dates, headings, numbers
from forecaster.data.sources.tables import Format, Table, row_of
from forecaster.errors import SourceError, UsageError, first_few

log = logging.getLogger(__name__)

FIELDS = (*prices.COLUMNS[2:], *prices.ACTIONS)
KNOWN = ("date", "time", "ticker", *FIELDS)
"""What a column can be said to be."""

_SAMPLE = 50
LOOKED_AT = 4 * _SAMPLE
"""The first rows, among which those are that show what a column of a table of many tickers is."""
_ENOUGH = 10
"""Rows that show which column is which."""
_CLOSE_BY = 1.5
"""The high of most days is not so many times the low."""
_SCATTER = 0.1
"""Standard deviation, of the places of opens and closes between the low (0) and the high (1)."""
_CONTINUOUS = 0.7
"""An open is nearer to the close before it than a close is to the open before, by this factor."""
_LOSSES = 0.1
"""The share of numbers below zero that no column of prices has."""
# What NSE calls a series is a kind of share.
_KINDS = frozenset(("EQ", "BE", "BZ", "BL", "SM", "ST", "GB", "GS"))

_PRICE = (
    r"adj(?:usted)?[ _.]?close|adjusted|close|open|high|low|price|last|volume|dividends|"
    r"(?:stock[ _.]?)?splits|capital[ _.]?gains"
)
_TUPLE = re.compile(r"\(\s*['\"](.*?)['\"]\s*,\s*['\"](.*?)['\"]\s*\)")
_PRICE_FIRST = re.compile(rf"(?P<price>{_PRICE})[ _.|:/-]+(?P<ticker>.+)", re.IGNORECASE)
_TICKER_FIRST = re.compile(rf"(?P<ticker>.+?)[ _.|:/-]+\(?(?P<price>{_PRICE})\)?", re.IGNORECASE)


@dataclass(frozen=True)
class Columns:
    """The places of a table's columns."""

    date: int
    series: Mapping[str, Mapping[str, int]]
    """The fields of each ticker; those of a table that is not wide are of no ticker."""
    ticker: int | None = None
    time: int | None = None
    """The time of the day, where it is a column of its own."""

    @property
    def is_wide(self) -> bool:
        """Whether each ticker has columns of its own."""
        return "" not in self.series


def assign(table: Table, tickers: Sequence[str] | None, form: Format) -> Columns:
    """Return what the columns of a table are.

    Parameters
    ----------
    table : the table.
    tickers : those asked for: headings that are among them are tickers.
    form : what the user says of the file.

    Raises
    ------
    SourceError
        It cannot be known; the message asks for what would tell.
    UsageError
        The columns that the user names do not fit the table.
    """
    if form.columns is not None:
        return _named(table, form.columns)
    if not table.headings:
        if (columns := _by_range(table, form)) is None:
            raise SourceError(
                f"{table.path} has no headings, and its first row is {first_few(row_of(table.cells), 10)}; "
                'say what its columns are, such as `columns="date,open,high,low,close,volume"`'
            )
        return columns
    if len(table.headings) == 2:
        upper, lower = table.headings
        date = _date_column(table, [a or b for a, b in zip(upper, lower, strict=True)])
        return _paired(table, date, _levels(upper, lower, date))
    return _by_headings(table, table.headings[0], tickers, form)


def _named(table: Table, names: str) -> Columns:
    """The columns as the user names them."""
    given = [name.strip() for name in names.split(",")]
    width = table.cells.shape[1]
    if len(given) != width:
        raise UsageError(
            f"`columns` names {len(given)} columns and {table.path} has {width}, of which the first "
            f"row is {first_few(row_of(table.cells), 10)}; name each, and - for one to leave out"
        )
    counts = Counter(name for name in given if name not in ("-", ""))
    wrong = [name for name, count in counts.items() if count > 1 or name not in KNOWN]
    if wrong or "date" not in counts or not {"close", "adj_close"} & set(counts):
        raise UsageError(
            f"`columns` must name date, and close or adj_close, and may name others of "
            f"{', '.join(KNOWN)}, each once, and - for a column to leave out; got {names!r}"
        )
    places = {name: place for place, name in enumerate(given)}
    series = {"": {name: places[name] for name in FIELDS if name in places}}
    return Columns(places["date"], series, places.get("ticker"), places.get("time"))


def _by_headings(
    table: Table, names: list[str], tickers: Sequence[str] | None, form: Format
) -> Columns:
    """The columns of a table with one row of headings."""
    date = _date_column(table, names)
    ticker = _ticker_column(table, names, date)
    if not _is_long(names, date, ticker):
        pairs = _flattened(names, date)
        return _paired(table, date, pairs) if pairs else _wide(table, names, date, tickers, form)
    taken = {date, ticker}
    fields = {it: place for it in FIELDS if (place := _best(table, names, it, taken)) is not None}
    if not {"close", "adj_close"} & set(fields):
        raise SourceError(
            f"{table.path} has no column of closes: expected one named {headings.usual('close')}; "
            f"found {first_few(names, 10)}. Rename the column that holds it"
        )
    return Columns(date, {"": fields}, ticker, _best(table, names, "time", taken))


def _best(table: Table, names: list[str], field: str, taken: Collection[int | None]) -> int | None:
    """The column whose heading is the best name of a field; None if there is none."""
    ranks = {
        place: rank
        for place, name in enumerate(names)
        if place not in taken and (rank := headings.rank(name, field)) is not None
    }
    best = [place for place, rank in ranks.items() if rank == min(ranks.values())]
    if len(best) > 1 and field not in ("volume", "time"):  # of two volumes the first is in shares
        raise SourceError(
            f"{table.path} has {len(best)} columns {names[best[0]]!r}; leave one of them"
        )
    return best[0] if best else None


def _date_column(table: Table, names: list[str]) -> int:
    ranks = {
        it: rank
        for it, name in enumerate(names)
        if (rank := headings.rank(name, "date")) is not None
    }
    named = sorted(ranks, key=lambda place: ranks[place])
    for place in named:
        if _are_dates(table.cells[place]):
            return place
    others = [
        place
        for place in range(len(names))
        if place not in named and _are_dates(table.cells[place])
    ]
    if len(others) == 1:
        return others[0]
    if named and headings.key(names[named[0]]):
        return named[0]  # whose cells are then named one by one
    across = sum(dates.looks_like(name) for name in names) > 1
    raise SourceError(
        f"{table.path} has no column of dates: expected one named {headings.usual('date')}; "
        f"found {first_few(names, 10)}. "
        + (
            "Turn the table, so that each date is a row"
            if across
            else "Rename the column that holds it"
        )
    )


def _sample(cells: pd.Series) -> list[str]:
    """Some cells that are not blank."""
    texts = [str(cell) for cell in cells[:LOOKED_AT] if not pd.isna(cell)]
    return [text for text in texts if text not in numbers.MISSING][:_SAMPLE]


def _are_dates(cells: pd.Series) -> bool:
    if pd.api.types.is_datetime64_any_dtype(cells):
        return True
    sample = _sample(cells)
    return bool(sample) and 2 * sum(map(dates.looks_like, sample)) > len(sample)


def _are_numbers(cells: pd.Series) -> bool:
    if pd.api.types.is_numeric_dtype(cells):
        return True
    sample = _sample(cells)
    return bool(sample) and 2 * sum(map(numbers.looks_like, sample)) > len(sample)


def _ticker_column(table: Table, names: list[str], date: int) -> int | None:
    """The column of tickers: the one with the best name whose cells could be some."""
    ranks = {
        place: rank
        for place, name in enumerate(names)
        if place != date and (rank := headings.rank(name, "ticker")) is not None
    }
    for place in sorted(ranks, key=lambda it: ranks[it]):
        if _are_tickers(headings.key(names[place]), table.cells[place]):
            return place
    return None


def _are_tickers(key: str, cells: pd.Series) -> bool:
    """Whether cells name instruments, rather than count rows, or tell prices and kinds."""
    sample = _sample(cells)
    if any(re.fullmatch(r"[+-]?\d*[.,]\d+", text) and not text.endswith(".0") for text in sample):
        return False
    if key not in headings.COUNTERS:
        return True
    if key == "series" and set(sample) <= _KINDS:
        return False
    whole = all(re.fullmatch(r"\d+(\.0)?", text) for text in sample)
    return bool(sample) and not (whole and (key == "index" or (cells.is_unique and len(cells) > 1)))


def _is_long(names: list[str], date: int, ticker: int | None) -> bool:
    """Whether columns are the fields of a price, rather than tickers, some of which are words.

    LOW, OPEN and Y are tickers where all the names are in capitals and not all are known.
    """
    others = [name for place, name in enumerate(names) if place not in (date, ticker)]
    if ticker is not None and headings.is_surely_a_field(names[ticker]):
        return True
    if any(
        headings.is_surely_a_field(name) and headings.field(name) != "ticker" for name in others
    ):
        return True
    known = [name for name in others if headings.field(name) in FIELDS]
    capitals = all(name == name.upper() for name in others)
    return bool(known) and not (capitals and len(known) < len(others))


def _levels(upper: list[str], lower: list[str], date: int) -> list[tuple[int, str | None, str]]:
    """The place, the field and the ticker of each column below two rows of headings."""
    places = [place for place in range(len(upper)) if place != date]
    known = [sum(headings.field(row[it]) in FIELDS for it in places) for row in (upper, lower)]
    names, tickers = (upper, lower) if known[0] >= known[1] else (lower, upper)
    return [
        (it, _price_field(names[it]), tickers[it])
        for it in places
        if tickers[it] and headings.field(tickers[it]) != "ticker"  # the name of that row
    ]


def _price_field(name: str) -> str | None:
    """The field of a price, a volume or an action that a heading names."""
    field = headings.field(name)
    return field if field in FIELDS else None


def _flattened(names: list[str], date: int) -> list[tuple[int, str | None, str]]:
    """The place, the field and the ticker of columns such as ``Close_AAPL``; none if some are not."""
    others = {place: name for place, name in enumerate(names) if place != date}
    for form in (_PRICE_FIRST, _TICKER_FIRST):
        pairs = []
        for place, name in others.items():
            whole = _TUPLE.fullmatch(name)
            text = " ".join(whole.groups()) if whole else name
            if match := form.fullmatch(text):
                pairs.append((place, _price_field(match["price"]), match["ticker"]))
            elif not headings.is_other(name):
                break
        else:
            counts = Counter(ticker for _, _, ticker in pairs)
            if pairs and all(headings.is_ticker(it) or count > 3 for it, count in counts.items()):
                return pairs
    return []


def _paired(table: Table, date: int, pairs: Sequence[tuple[int, str | None, str]]) -> Columns:
    """The columns of a table of the prices of several tickers side by side."""
    known = [(field, ticker) for _, field, ticker in pairs if field]
    if not any(field in ("close", "adj_close") for field, _ in known):
        shown = [" ".join(filter(None, names)) for names in zip(*table.headings, strict=True)]
        raise SourceError(
            f"{table.path} has no column of closes below its names of tickers; "
            f"found {first_few(shown, 10)}"
        )
    (pair, count), *_ = Counter(known).most_common(1)
    if count > 1:
        raise SourceError(
            f"{table.path} has {count} columns {pair[0]} of {pair[1]!r}; leave one of them"
        )
    series: dict[str, dict[str, int]] = {ticker: {} for _, ticker in known}
    for place, field, ticker in pairs:
        if field:
            series[ticker][field] = place
    return Columns(date, series)


def _wide(
    table: Table, names: list[str], date: int, tickers: Sequence[str] | None, form: Format
) -> Columns:
    """The columns of a table of closes, each under its ticker."""
    typed = {ticker.casefold() for ticker in tickers or ()}
    requested = {name for name in names if name.casefold() in typed}
    certain, doubtful = [], []
    for place, name in enumerate(names):
        if place == date or (name not in requested and headings.is_other(name)):
            continue
        if name in requested or (headings.is_ticker(name) and _are_numbers(table.cells[place])):
            certain.append(place)
        elif not headings.is_ticker(name):
            doubtful.append(place)
    if doubtful and not requested & {names[place] for place in certain}:
        if not certain and (columns := _by_range(table, form)) is not None:
            return columns
        shown = first_few([names[place] for place in doubtful], 10)
        raise SourceError(
            f"{table.path}: cannot tell what the columns {shown} are; name those that are tickers, or say "
            'what all columns are, such as `columns="date,open,high,low,close,volume"`'
        )
    losing = [names[place] for place in certain if _losses(table.cells[place]) > _LOSSES]
    certain = [
        place for place in certain if names[place] not in losing or names[place] in requested
    ]
    if losing and (not certain or requested & set(losing)):
        raise SourceError(
            f"{table.path}: expected prices in the columns of {first_few(losing, 10)}, and found numbers "
            "below zero, as returns have; give prices"
        )
    if others := [name for place, name in enumerate(names) if place not in (date, *certain)]:
        log.info("%s: no prices are in the columns %s", table.path, first_few(others, 10))
    return _paired(table, date, [(place, "close", names[place]) for place in certain])


def _losses(cells: pd.Series) -> float:
    """The share of numbers that are below zero."""
    if pd.api.types.is_numeric_dtype(cells):
        return float((cells < 0).mean())
    below = cells.astype("str").str.match("[-−][0-9.,]").fillna(False)
    return float(below.sum() / max(1, (cells.astype("str") != "").sum()))


def _by_range(table: Table, form: Format) -> Columns | None:
    """The columns of a table of one ticker, as its prices show them; None if they do not."""
    dated = [place for place in table.places if _are_dates(table.cells[place])]
    if not dated or (len(dated) > 1 and dated[0] != 0):
        return None
    others = [place for place in table.places if place != dated[0]]
    if not all(_are_numbers(table.cells[place]) for place in others):
        return None
    days = dates.parse(table.cells[dated[0]], form.dates, table.path).wall.dropna()
    cells = table.cells[others]
    if form.decimal:
        mark = numbers.MARKS[form.decimal]
    else:
        mark = numbers.decimal_mark(cells, cells[[]], table.delimiter, table.path)
    values = numbers.parse(cells, mark).apply(pd.to_numeric, errors="coerce")
    values = values.loc[days.sort_values(kind="stable").index].dropna()
    if len(values) < _ENOUGH or not days.is_unique:
        return None
    fields = _ranges({place: values[place].to_numpy() for place in others})
    return Columns(dated[0], {"": fields}) if fields else None


def _ranges(values: dict[int, np.ndarray]) -> dict[str, int] | None:
    """Which columns (rows,) of a ticker are open, high, low, close and volume; None where in doubt."""
    matches = []
    positive = [place for place, column in values.items() if (column > 0).all()]
    for high, low in permutations(positive, 2):
        top, bottom = values[high], values[low]
        if not ((bottom <= top).all() and np.median(top) < _CLOSE_BY * np.median(bottom)):
            continue
        inner = [
            place
            for place in positive
            if place not in (high, low)
            and ((values[place] <= top) & (values[place] >= bottom)).all()
        ]
        if len(inner) == 2:
            matches.append((high, low, *inner))
    if len(matches) != 1:
        return None
    high, low, one, other = matches[0]
    width = values[high] - values[low]
    moved = width > 0
    scatter = [np.std((values[it] - values[low])[moved] / width[moved]) for it in (one, other)]
    first, second = _gap(values[one], values[other]), _gap(values[other], values[one])
    if not min(scatter) >= _SCATTER or min(first, second) > _CONTINUOUS * max(first, second):
        return None
    opening, close = (one, other) if first < second else (other, one)
    fields = {"open": opening, "high": high, "low": low, "close": close}
    others = [place for place in values if place not in fields.values()]
    if len(others) > 1 or any((values[place] < 0).any() for place in others):
        return None
    return fields | dict(zip(["volume"], others, strict=False))


def _gap(opens: np.ndarray, closes: np.ndarray) -> float:
    """The mean absolute log return from a close to the next open."""
    return float(np.abs(np.log(opens[1:] / closes[:-1])).mean())
