"""Scores anybody's forecasts: read from a file, joined to stored prices, beside our baselines.

Two layouts are read as they are. In the forecasts frame (:mod:`forecaster.distributions.forecasts`) a row has
ticker, date, cutoff and, if there are several, model; then any of the quantile columns ``q0.05`` and
so on, at any level, or ``location``, ``scale`` and ``df``, or ``mean`` and ``volatility``, or a
``point``. In Nixtla's a row has ``unique_id``, ``ds`` and ``cutoff``, and a model the columns
``NAME`` or ``NAME-median``, ``NAME-lo-80``, ``NAME-hi-80`` and so on.

What came is taken from the stored prices, never from the file. What the file leaves out is filled
in the same way for all that are compared:

- of some quantiles, the others are those of a stretched Student-t through them
  (:func:`forecaster.distributions.quantile_grid.complete`), and the baselines are cut to the same
  levels and completed alike;
- a mean and a volatility get the shape of naive's Student-t on that day;
- a point gets all of naive's spread, so that what is compared is the point.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.backtesting.backtest import Backtest, evaluated
from forecaster.backtesting.provenance import ForecastFile
from forecaster.backtesting.spec import BacktestSpec
from forecaster.backtesting.walk_forward import forecast_history
from forecaster.config import COST_BP, REFERENCES, RecurrentConfig
from forecaster.data.prices import floats
from forecaster.data.sources import dates, numbers, tables
from forecaster.distributions import forecasts, quantile_grid
from forecaster.errors import ForecastError, HistoryError, UnknownTickerError, UsageError, first_few
from forecaster.evaluation.experiment_log import Experiment
from forecaster.models.protocol import Progress, silent

log = logging.getLogger(__name__)

VALUES = ("returns", "prices")
"""What the numbers of a file are: log returns as fractions, or prices."""

NEAR = 0.5
"""A forecast price is within this of the last close, in logs, and a log return smaller."""

FAR = 20.0
"""A spread of so many times that of what came is no forecast but another unit."""

KEYS = ["ticker", "model", "cutoff", "date"]

_QUANTILE = re.compile(r"q(\d*\.?\d+)")
_BAND = re.compile(r"(?P<model>.+)-(?P<side>lo|hi)-(?P<percent>\d+(?:\.\d+)?)")
_POINTS = ("point", "median")


@dataclass(frozen=True)
class ExternalForecasts:
    """Forecasts as a file gave them."""

    rows: pd.DataFrame
    """ticker, model, cutoff (NaT where the file has none), date, and what there is of ``q0.05`` and
    so on, mean, volatility, location, scale, df, each a number."""
    levels: tuple[float, ...]
    """Of the quantile columns, ascending."""
    file: str
    sha256: str
    """Of the file's bytes."""
    layout: str
    """``frame`` or ``nixtla``"""


def read(path: Path) -> ExternalForecasts:
    """Return the forecasts of a CSV or Parquet file.

    Raises
    ------
    SourceError
        The file is missing or no table.
    ForecastError
        It is not in one of the two layouts, or a row is not a forecast; the message names it.
    """
    source = tables.read(path)
    table = source.named()
    if {"unique_id", "ds"} <= set(table):
        layout, rows = "nixtla", _of_nixtla(table, source.delimiter, path)
    elif {"ticker", "date"} <= set(table):
        layout, rows = "frame", _of_frame(table, source.delimiter, path)
    else:
        raise ForecastError(
            f"{path} has the columns {first_few(table.columns, 8)}; expected ticker, date "
            "and cutoff (a forecasts frame), or unique_id, ds and cutoff (Nixtla's); rename them"
        )
    levels = tuple(sorted(float(name[1:]) for name in map(str, rows) if _QUANTILE.fullmatch(name)))
    _require_something(rows, levels, path)
    rows = _dated(rows, path)
    _require_sound(rows, levels, path)
    return ExternalForecasts(rows, levels, path.name, sha256(path.read_bytes()).hexdigest(), layout)


def score(
    external: ExternalForecasts,
    frame: pd.DataFrame,
    *,
    models: Sequence[str] = REFERENCES,
    values: str | None = None,
    cost_bp: float = COST_BP,
    earlier: Sequence[Experiment] = (),
    config: RecurrentConfig | None = None,
    progress: Progress = silent,
) -> Backtest:
    """Score the forecasts of a file beside ours, on the same tickers and days.

    Parameters
    ----------
    external : from :func:`read`.
    frame : the stored prices of its tickers; tickers that are missing here are left out.
    models : registered names that are backtested over the same dates, refitted yearly.
    values : ``returns`` or ``prices``; by default log returns in a forecasts frame, and in
        Nixtla's layout what the numbers look like.
    cost_bp : of buying or selling, in basis points a side.
    earlier : the experiments on these tickers and days before.
    config : settings of recurrent models among ``models``.

    Raises
    ------
    UnknownTickerError
        No ticker of the file is stored.
    ForecastError
        The numbers are not what they should be, or nothing can be scored; the message says why.
    """
    if "naive" not in models:
        raise UsageError("naive must be among the `models`: it fills in what a file leaves out")
    rows = _placed(external.rows, frame)
    rows = _as_returns(rows, external, values)
    spec = BacktestSpec(
        models=tuple(models),
        tickers=tuple(sorted(rows["ticker"].unique())),
        start=rows["date"].min().date(),
        end=rows["date"].max().date(),
        cost_bp=cost_bp,
        config=config or RecurrentConfig(),
    )
    made = forecast_history(frame, spec, progress=progress)
    clash = rows["model"].isin(models)
    rows["model"] = rows["model"].where(~clash, rows["model"] + " (file)")
    ours = made.forecasts[made.forecasts["log_return"].notna()]
    rows = _beside_naive(rows, ours, external.file)
    table = forecasts.concat([_completed(rows, external), _cut(ours, external)])
    names = tuple(dict.fromkeys(rows["model"]))
    file = ForecastFile(external.file, external.sha256, names)
    return evaluated(made, table, file=file, earlier=earlier)


def _beside_naive(rows: pd.DataFrame, ours: pd.DataFrame, file: str) -> pd.DataFrame:
    """Return the rows that naive forecasts too, with its scale, df and what came of the day."""
    naive = ours.loc[ours["model"] == "naive", [*_JOIN, "scale", "df", "log_return"]]
    both = rows.merge(naive, on=_JOIN, suffixes=("", "_naive"))
    if both.empty:
        raise HistoryError(
            f"no forecast of {file} is of a day that the baselines could forecast: they "
            "need a year of prices before it; fetch earlier ones"
        )
    if len(both) < len(rows):
        log.warning(
            "%d rows are of days that the baselines could not forecast, and left out",
            len(rows) - len(both),
        )
    return both


_JOIN = ["ticker", "cutoff", "date"]


def _of_frame(table: pd.DataFrame, delimiter: str, path: Path) -> pd.DataFrame:
    rows = table.rename(columns={name: "q0.5" for name in _POINTS if name in table})
    rows.columns = [
        f"q{float(name[1:]):g}" if _QUANTILE.fullmatch(name) else name
        for name in map(str, rows.columns)
    ]
    _require_once(rows.columns, path)
    quantiles = [name for name in map(str, rows.columns) if _QUANTILE.fullmatch(name)]
    if "model" not in rows:
        rows["model"] = path.stem
    if "cutoff" not in rows:
        rows["cutoff"] = None
    others = [name for name in ("mean", "volatility", *forecasts.STUDENT_T) if name in rows]
    used = [*others, *sorted(quantiles, key=lambda name: float(name[1:]))]
    return rows[KEYS].join(_numbered(rows[used], delimiter, path))


def _require_once(names: pd.Index, path: Path) -> None:
    if names.has_duplicates:
        twice = names[names.duplicated()][0]
        raise ForecastError(f"{path} has {twice} twice (a median is q0.5); drop one")


def _of_nixtla(table: pd.DataFrame, delimiter: str, path: Path) -> pd.DataFrame:
    _require_once(table.columns, path)
    taken: dict[str, dict[str, str]] = {}  # model: level: column
    for column in map(str, table.columns):
        band = _BAND.fullmatch(column)
        if band:
            if not 0 < float(band["percent"]) < 100:
                raise ForecastError(
                    f"{path} has a column {column}: the level of an interval lies between 0 and 100, "
                    "exclusive; correct its name, or drop it"
                )
            half = (1 - float(band["percent"]) / 100) / 2
            level = half if band["side"] == "lo" else 1 - half
            taken.setdefault(band["model"], {})[f"q{round(level, 6):g}"] = column
        elif column.endswith("-median"):
            taken.setdefault(column.removesuffix("-median"), {})["q0.5"] = column
    for column in map(str, table.columns):
        if column in ("unique_id", "ds", "cutoff", "y", "index", "") or column.endswith("-median"):
            continue
        if not _BAND.fullmatch(column):
            taken.setdefault(column, {}).setdefault("q0.5", column)
    if not taken:
        raise ForecastError(f"{path} has no column of a model beside unique_id, ds and cutoff")
    shared = set.intersection(*(set(columns) for columns in taken.values()))
    if any(set(columns) != shared for columns in taken.values()):
        log.warning(
            "the models of %s have different levels; they are compared on those that all have", path
        )
    used = [columns[level] for columns in taken.values() for level in sorted(shared)]
    values = _numbered(table[used], delimiter, path)
    parts = [
        pd.DataFrame(
            {
                "ticker": table["unique_id"],
                "model": model,
                "cutoff": table.get("cutoff"),
                "date": table["ds"],
                **{level: values[columns[level]] for level in sorted(shared)},
            }
        )
        for model, columns in taken.items()
    ]
    return pd.concat(parts)  # whose index still counts the rows of the file


def _require_something(rows: pd.DataFrame, levels: tuple[float, ...], path: Path) -> None:
    if any(not 0 < level < 1 for level in levels):
        raise ForecastError(
            f"{path} has quantiles of the levels {first_few(levels)}: each lies between 0 and 1, exclusive; "
            "correct their names, or drop them"
        )
    sides = len(levels) > 1 and levels[0] < 0.5 < levels[-1]
    if not (sides or levels == (0.5,) or "mean" in rows or set(forecasts.STUDENT_T) <= set(rows)):
        raise ForecastError(
            f"{path} has no forecast that can be scored: expected quantiles on both sides of the "
            "median (q0.1, q0.9), or mean and volatility, or location, scale and df, or a point; "
            f"came {', '.join(rows.columns[len(KEYS) :]) or 'none of them'}"
        )


def _dated(rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    rows = rows.copy()
    for name in ("cutoff", "date"):
        days = dates.parse(rows[name], None, path).wall.dt.normalize()
        missing = rows[name].isna() | rows[name].isin(numbers.MISSING)
        bad = days.isna() & (~missing | (name == "date"))
        if bad.any():
            raise ForecastError(
                f"{path}: expected dates in {name}, came {rows.loc[bad, name].iloc[0]!r} in row "
                f"{_row(bad)}; write them as YYYY-MM-DD"
            )
        rows[name] = days
    for name in ("ticker", "model"):
        blank = rows[name].isna() | (rows[name].astype(str).str.strip() == "")
        if blank.any():
            raise ForecastError(f"{path}: no {name} in row {_row(blank)}; fill it in")
        rows[name] = rows[name].astype(str)
    if rows["cutoff"].isna().all():
        log.warning(
            "%s has no cutoff: each is taken as the session before the date, and nothing shows that "
            "the forecast was made by then", path,
        )  # fmt: skip
    return rows


def _numbered(columns: pd.DataFrame, delimiter: str, path: Path) -> pd.DataFrame:
    mark = numbers.decimal_mark(columns, columns[[]], delimiter, path)
    parsed = numbers.parse(columns, mark)
    values = pd.DataFrame({name: floats(cells) for name, cells in parsed.items()}, columns.index)
    for name, cells in columns.items():
        wrong = ~np.isfinite(values[name])
        if wrong.any():
            value = cells[wrong].iloc[0]
            nothing = pd.isna(value) or value in numbers.MISSING
            raise ForecastError(
                f"{path}: expected a number in {name}, came {'nothing' if nothing else repr(str(value))} "
                f"in row {_row(wrong)} ({int(wrong.sum()):,} such rows); fill it in or drop the row"
            )
    return values


def _require_sound(rows: pd.DataFrame, levels: tuple[float, ...], path: Path) -> None:
    def refuse(bad: pd.Series, words: str, advice: str) -> None:
        if bad.any():
            row = rows[bad].iloc[0]
            raise ForecastError(
                f"{path}: {int(bad.sum()):,} of {len(rows):,} rows {words}, the first row "
                f"{_row(bad)}, {row['ticker']} by {row['model']} for {row['date']:%Y-%m-%d}; {advice}"
            )

    refuse(
        rows["cutoff"] >= rows["date"],
        "have a cutoff that is not before their date, so they may know what they forecast",
        "give the last day that the forecast used as the cutoff",
    )
    refuse(
        rows.duplicated(KEYS),
        "say a second time what another row does",
        "keep one row for each ticker, model, cutoff and date",
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


def _placed(rows: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that are of the session after the last one known at the cutoff, with its close."""
    known = set(frame["ticker"].unique())
    missing = sorted(set(rows["ticker"]) - known)
    if len(missing) == rows["ticker"].nunique():
        raise UnknownTickerError(
            f"none of the file's tickers is stored: {first_few(missing)}; `forecast fetch` them first, "
            "and call them in the file as they are called there"
        )
    if missing:
        log.warning("%d tickers are not stored, and left out: %s", len(missing), first_few(missing))
    parts, strangers, later = [], 0, 0
    sessions = {str(ticker): group for ticker, group in frame.groupby("ticker")}
    for ticker, own in rows[rows["ticker"].isin(known)].groupby("ticker"):
        dates, close = (sessions[str(ticker)][name].to_numpy() for name in ("date", "close"))
        at = np.searchsorted(dates, own["date"].to_numpy())
        is_session = (at < len(dates)) & (dates[at.clip(max=len(dates) - 1)] == own["date"])
        # A cutoff on a weekend knows what Friday's did.
        before = np.searchsorted(dates, own["cutoff"].to_numpy(), side="right") - 1
        before = np.where(own["cutoff"].isna(), at - 1, before)
        is_next = is_session & (before == at - 1) & (before >= 0)
        strangers += int((~is_session).sum())
        later += int((is_session & ~is_next).sum())
        kept = own[is_next].assign(cutoff=dates[before[is_next]], last_close=close[before[is_next]])
        came = sessions[str(ticker)]["adj_close"].to_numpy()
        kept["came"] = np.log(came[at[is_next]] / came[at[is_next] - 1])
        parts.append(kept)
    if strangers:
        log.warning("%d rows are of days without a stored session, and left out", strangers)
    if later:
        log.warning(
            "%d rows are not of the session after their cutoff, and left out: only next-session "
            "forecasts are scored", later,
        )  # fmt: skip
    placed: pd.DataFrame = pd.concat(parts, ignore_index=True)
    if placed.empty:
        raise ForecastError(
            "no row is a forecast of the session after its cutoff on a stored day; fetch the prices "
            "of these days, or make one-step forecasts"
        )
    return placed


def _as_returns(
    rows: pd.DataFrame, external: ExternalForecasts, values: str | None
) -> pd.DataFrame:
    """The rows with log returns, if they were prices; refused if they are neither."""
    columns = [f"q{level:g}" for level in external.levels] or ["mean"]
    if set(forecasts.STUDENT_T) <= set(rows):
        columns = ["location"]
    middle = rows[columns].mean(axis=1).to_numpy()
    close = rows["last_close"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        price_like = np.mean(np.abs(np.log(middle / close)) < NEAR) > 0.9
    return_like = np.mean(np.abs(middle) < NEAR) > 0.9
    if values is None and external.layout == "nixtla":
        if price_like == return_like:
            raise ForecastError(
                f"cannot tell whether {external.file} holds prices or log returns: its numbers are "
                f"about {np.median(middle):.4g} beside a last close of {np.median(close):.4g}; say so "
                'with `values="prices"` or `values="returns"`'
            )
        values = "prices" if price_like else "returns"
        log.info("the numbers of %s are taken as %s", external.file, values)
    values = values or "returns"
    told = f"about {np.median(middle):.4g} beside a last close of {np.median(close):.4g}"
    if values == "returns" and not return_like:
        hint = (
            'these look like prices: say `values="prices"`'
            if price_like
            else "if they are percent, divide by 100"
        )
        raise ForecastError(
            f"expected log returns as fractions in {external.file}, came {told}; {hint}"
        )
    if values == "prices":
        if not price_like:
            hint = 'they look like returns: say `values="returns"`' if return_like else "check them"
            raise ForecastError(f"expected prices in {external.file}, came {told}; {hint}")
        if "volatility" in rows or "scale" in rows:
            raise ForecastError(
                f"{external.file} holds prices with a volatility or a scale, whose unit is not "
                "known; give log returns, or quantiles of the price"
            )
        names = [name for name in (*columns, "mean") if name in rows]
        if (rows[names] <= 0).any(axis=None):
            raise ForecastError(f"{external.file} forecasts prices of zero or less; mend them")
        rows[names] = np.log(rows[names].to_numpy() / close[:, None])
    _require_a_fraction(rows, columns, external.file)
    return rows


def _require_a_fraction(rows: pd.DataFrame, columns: list[str], file: str) -> None:
    """Refuses percent: forecasts many times as wide, or as far out, as what came."""
    came = rows["came"].abs().median()
    middle = rows[columns].mean(axis=1).abs().median()
    spread = (rows[columns].max(axis=1) - rows[columns].min(axis=1)).median()
    reach = max(
        middle, spread, *(rows[it].median() for it in ("volatility", "scale") if it in rows)
    )
    if came > 0 and reach > FAR * came:
        raise ForecastError(
            f"the forecasts of {file} reach {reach / came:,.0f} times as far as the returns that came "
            f"(median {came:.4g}); if they are percent, divide by 100, and if they are prices, say so "
            'with `values="prices"`'
        )


def _completed(rows: pd.DataFrame, external: ExternalForecasts) -> pd.DataFrame:
    """The forecasts frame of a file's log returns."""
    keys = {name: rows[name].to_numpy() for name in (*KEYS, "last_close")}
    keys["log_return"] = rows["log_return"].to_numpy()
    if set(forecasts.STUDENT_T) <= set(external.rows):
        shape = {name: rows[name].to_numpy() for name in forecasts.STUDENT_T}
        return forecasts.from_student_t(**keys, **shape)
    if len(external.levels) > 1:
        quantiles = rows[[f"q{level:g}" for level in external.levels]].to_numpy()
        quantiles = quantile_grid.complete(quantiles, external.levels)
        found = forecasts.from_quantiles(**keys, quantiles=quantiles)
        given = {name: rows[name].to_numpy() for name in ("mean", "volatility") if name in rows}
        return found.assign(**given)
    suffix = "_naive" if "df_naive" in rows else ""
    df, scale = rows[f"df{suffix}"].to_numpy(), rows[f"scale{suffix}"].to_numpy()
    location = rows["q0.5" if "q0.5" in rows else "mean"].to_numpy()
    if "volatility" in rows:
        scale = rows["volatility"].to_numpy() * np.sqrt((df - 2) / df)
    return forecasts.from_student_t(**keys, location=location, scale=scale, df=df)


def _cut(ours: pd.DataFrame, external: ExternalForecasts) -> pd.DataFrame:
    """Our forecasts as the file's levels would have told them."""
    partial = len(external.levels) > 1 and not set(forecasts.STUDENT_T) <= set(external.rows)
    if not partial or set(quantile_grid.LEVELS) <= set(external.levels):
        return ours
    whole = ours[forecasts.QUANTILES].to_numpy()
    cut = quantile_grid.quantile(whole, external.levels)
    completed = quantile_grid.complete(cut, external.levels)
    return ours.assign(
        **dict(zip(forecasts.QUANTILES, completed.T, strict=True)),
        **dict.fromkeys(forecasts.STUDENT_T, np.nan),
    )


def _row(bad: pd.Series) -> int:
    """The number of the first row that is bad, from 1 below the names of columns."""
    return int(bad.index[bad.to_numpy(bool)][0])
