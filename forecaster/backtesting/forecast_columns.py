"""What the columns of a file of forecasts are, by their names.

- a quantile: ``q0.1``, ``q10``, ``0.1``, ``quantile_0.1``, ``NAME_q0.1``, ``NAME-q-0.1``;
- an end of a central interval: ``NAME-lo-80``, ``lower_80``, and without a level ``yhat_lower``;
- a ``mean``, a ``volatility``, the Student-t's ``location``, ``scale`` and ``df``;
- a point: ``prediction``, ``yhat``, ``median`` and their kin; or the name of a model beside
  ``unique_id`` and ``ds``; or of a ticker in a table of points by date;
- a step: ``h``, ``step`` or ``horizon``, of whole numbers from 1;
- a sample path: ``sample_0`` and so on, or the points of rows that a column ``sample`` counts.
"""

import functools
import logging
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from forecaster.data.sources import headings
from forecaster.errors import ForecastError, first_few

log = logging.getLogger(__name__)

PROPHET_INTERVAL = 0.8
"""The interval of Prophet, where nothing else was set when the forecast was made."""

_EXACT = {
    "mean": "mean",
    "mu": "mean",
    "location": "location",
    "scale": "scale",
    "df": "df",
    "skew": "skew",
}
_VOLATILITY = ("volatility", "vol", "sigma", "std", "stdev", "sd", "conditionalvolatility")
_POINTS = (
    "point", "median", "prediction", "predictions", "predicted", "pred", "forecast", "yhat", "ypred",
    "pointforecast", "predictedclose", "predictedprice", "closepred", "closeprediction",
)  # fmt: skip
_CUTOFFS = ("cutoff", "origin", "asof", "forecastorigin")
_STEPS = ("step", "steps", "h", "horizon", "fh")
_PATHS = ("sample", "sampleid", "path", "pathid", "draw", "simulation")

_QUANTILE = re.compile(
    r"(?:(?P<model>.*?)[_-])??(?:quantile[_ -]?|[qp][_-]?)?(?P<level>\d*\.?\d+)", re.IGNORECASE
)
_PLAIN_LEVEL = re.compile(r"0?\.\d+|0\.\d+")
_BAND = re.compile(
    r"(?:(?P<model>.+?)[_-])?(?P<side>lo|hi|lower|upper)(?:[_-]?(?P<percent>\d+(?:\.\d+)?))?",
    re.IGNORECASE,
)
_PATH = re.compile(r"(?:sample|path|draw|sim|simulation)[_ -]?\d+", re.IGNORECASE)


@dataclass
class Columns:
    """What the columns of a table are."""

    date: str
    ticker: str | None = None
    cutoff: str | None = None
    model: str | None = None
    step: str | None = None
    """Counts the sessions from cutoff to date"""
    path: str | None = None
    """Counts the sample paths of a long table"""
    paths: list[str] = field(default_factory=list)
    """Sample paths side by side"""
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    """The columns of each model, by what they are: ``q0.1``, ``mean`` …; "" for a model without name"""
    points_of: dict[str, str] = field(default_factory=dict)
    """The column of each ticker, in a table of points by date"""
    others: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        table: pd.DataFrame,
        path: Path,
        stored: Collection[str],
        ticker: str | None,
        interval: float | None,
    ) -> "Columns":
        """Return what each column of a table is; parameters and errors as in ``forecast_files.read``."""
        columns, rest = _keys(table, path)
        bands: list[tuple[str, str, str]] = []
        for name in rest:
            if name == columns.path or (name.startswith("price_") and name[6:] in rest):
                continue  # what our own exports say of a quantile a second time, as a price
            if _PATH.fullmatch(name):
                columns.paths.append(name)
            elif (quantile := _quantile(name)) is not None:
                columns.add(*quantile, name, path)
            elif band := _BAND.fullmatch(name):
                model = band["model"] or ""
                if band["percent"] is None:
                    bands.append((model, band["side"].lower()[:2], name))
                else:
                    level = _end(band["side"], float(band["percent"]) / 100, name, path)
                    columns.add(model, level, name, path)
            elif (what := _value(name)) is not None:
                columns.add("", what, name, path)
            else:
                columns.others.append(name)
        _name_models(columns, path)
        for model, side, name in bands:
            _add_band(columns, model, side, name, interval, path)
        _take_others(columns, table, path, stored, ticker)
        return columns

    def add(self, model: str, what: str, column: str, path: Path) -> None:
        """Note a column; ForecastError if another says the same."""
        its = self.values.setdefault(model, {})
        if what in its:
            raise ForecastError(f"{path} has {what} twice (a median is q0.5); drop one")
        its[what] = column


def _keys(table: pd.DataFrame, path: Path) -> tuple[Columns, list[str]]:
    """Return the columns of dates, tickers, cutoffs and models, and the names of the others."""
    kinds = ("date", "ticker", "cutoff", "model", "step", "path")
    named: dict[str, list[str]] = {kind: [] for kind in kinds}
    rest = []
    for name in table.columns:
        plain = headings.key(name)
        if plain in _CUTOFFS:
            named["cutoff"].append(name)
        elif plain == "model":
            named["model"].append(name)
        elif plain in _STEPS and (plain != "h" or _are_counts(table[name])):
            named["step"].append(name)
        elif plain in _PATHS:
            named["path"].append(name)
        elif headings.field(name) == "date":
            named["date"].append(name)
        elif headings.field(name) == "ticker" and plain not in ("index", "item", "series", "name"):
            named["ticker"].append(name)
        else:
            rest.append(name)
    for what in ("date", "ticker"):
        named[what].sort(key=functools.partial(_rank, what))
    if not named["date"]:
        raise ForecastError(
            f"{path} has the columns {first_few(table.columns, 8)}; expected ticker, date and cutoff "
            "(a forecasts frame), or unique_id, ds and cutoff (Nixtla's); rename them"
        )
    first = {what: names[0] if names else None for what, names in named.items()}
    columns = Columns(
        date=named["date"][0],
        ticker=first["ticker"],
        cutoff=first["cutoff"],
        model=first["model"],
        step=first["step"],
        path=first["path"],
    )
    return columns, rest


def _rank(field: str, name: str) -> int:
    return headings.rank(name, field) or 0


def _quantile(name: str) -> tuple[str, str] | None:
    """Return the model and the level of a quantile's column, such as ("", "q0.1"); None if it is none."""
    if not (match := _QUANTILE.fullmatch(name)):
        return None
    text = match["level"]
    marked = re.search(rf"(?:quantile[_ -]?|(?<![a-z])[qp][_-]?){re.escape(text)}$", name, re.I)
    if not marked and not (match["model"] is None and _PLAIN_LEVEL.fullmatch(text)):
        return None
    level = float(text)
    if "." not in text and 2 <= level < 100:  # q10: no quantile has the level 10
        level /= 100
    return match["model"] or "", f"q{round(level, 6):g}"


def _value(name: str) -> str | None:
    """Return what the column of a number is; None if it is unknown."""
    plain = headings.key(name)
    if plain in _VOLATILITY:
        return "volatility"
    return "q0.5" if plain in _POINTS else _EXACT.get(plain)


def _end(side: str, coverage: float, name: str, path: Path) -> str:
    """Return the level of an end of a central interval, such as ``q0.1``."""
    if not 0 < coverage < 1:
        raise ForecastError(
            f"{path} has a column {name}: the level of an interval lies between 0 and 100, "
            "exclusive; correct its name, or drop it"
        )
    half = (1 - coverage) / 2
    return f"q{round(half if side.lower().startswith('lo') else 1 - half, 6):g}"


def _name_models(columns: Columns, path: Path) -> None:
    """Take the columns that are called as the models of quantiles for their points.

    ``NAME-median`` stands for the point of NAME as well.
    """
    for name in list(columns.others):
        model = name.removesuffix("-median").removesuffix("_median")
        if model != name or model in columns.values:
            if model != name or "q0.5" not in columns.values[model]:
                columns.add(model, "q0.5", name, path)
            columns.others.remove(name)


def _add_band(
    columns: Columns, model: str, side: str, name: str, interval: float | None, path: Path
) -> None:
    """Note the end of an interval whose level the file does not say."""
    plain = headings.key(model)
    owner = "" if plain in _POINTS or not model else model
    if owner and owner not in columns.values and owner not in columns.others:
        return
    if (
        owner in columns.others and "" in columns.values
    ):  # trend_lower, in a table of Prophet's components
        return
    if interval is None and plain == "yhat":
        interval = PROPHET_INTERVAL
        if side == "lo":
            log.warning(
                "%s does not say the level of %s: it is taken for Prophet's %.0f%%; say another with "
                "`interval`", path, name, 100 * interval,
            )  # fmt: skip
    if interval is None:
        raise ForecastError(
            f"{path} does not say the level of the interval of {name}; say it with `interval`, "
            "such as 0.95"
        )
    if owner in columns.others:
        columns.others.remove(owner)
        columns.add(owner, "q0.5", owner, path)
    columns.add(owner, _end(side, interval, name, path), name, path)


def _take_others(
    columns: Columns,
    table: pd.DataFrame,
    path: Path,
    stored: Collection[str],
    ticker: str | None,
) -> None:
    """Take columns whose names are not known for models, tickers or the only point, where that is certain."""
    known = {it.casefold() for it in stored}
    ignored = ("y", "actual", "target", "targetname", "index", "itemindex", "step", "loglreturn")
    numeric = [it for it in columns.others if it and headings.key(it) not in ignored]
    numeric = [it for it in numeric if _are_numbers(table[it])]
    if "" in columns.values or columns.paths:
        return
    if columns.ticker is None and not columns.values:
        wide = [it for it in numeric if it.casefold() in known]
        if wide and len(wide) == len(numeric):
            columns.points_of = {name: name for name in wide}
        elif ticker is not None and len(numeric) == 1:
            columns.add("", "q0.5", numeric[0], path)
    elif {"unique_id", "ds"} <= set(table):
        for name in numeric:
            columns.add(name, "q0.5", name, path)
    if not columns.values and not columns.points_of and "close" in map(headings.field, numeric):
        (close, *_) = [it for it in numeric if headings.field(it) == "close"]
        log.warning("the column %s of %s is taken for the forecast", close, path)
        columns.add("", "q0.5", close, path)


def _are_counts(cells: pd.Series) -> bool:
    """Return whether cells are whole numbers from 1, which no highest price of the day is: ``h``."""
    known = pd.to_numeric(cells, errors="coerce").dropna()
    return bool(len(known) and ((known >= 1) & (known % 1 == 0)).all())


def _are_numbers(cells: pd.Series) -> bool:
    if pd.api.types.is_numeric_dtype(cells):
        return True
    return bool(cells.dropna().astype(str).str.fullmatch(r"[-+]?[\d.,]+(?:[eE][-+]?\d+)?").all())
