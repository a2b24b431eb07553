"""Backtests on disk: a folder of Parquet, CSV and JSON that anybody can read.

``DIR/config.json`` holds where the results come from, ``scores.json`` the verdict, the scores and
the panel tests, ``forecasts.parquet`` every forecast, and ``tables/`` all statistics of the shortest
step. Of every further step ``scores.json`` holds the same by its number, and ``tables/step-5/`` and so
on the statistics.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecaster import atomic
from forecaster.backtesting.backtest import Backtest
from forecaster.backtesting.provenance import Provenance
from forecaster.data import filenames
from forecaster.display import cell_texts, write_csv
from forecaster.distributions.parts import Parts
from forecaster.errors import ForecastError, StoreError, one_line
from forecaster.evaluation import announced
from forecaster.evaluation.evaluate import Evaluation
from forecaster.evaluation.verdict import Verdict

TABLES = (
    *("scores", "significance", "tickers", "confidence_set", "superior_ability", "skill"),
    *("uniformity", "coverage", "value_at_risk", "direction", "information", "strategy"),
    "fallbacks",
)
"""Tables that every backtest has, also one of version 0.1.0."""

LATER_TABLES = (
    *("mean", "seeds", "years", "stability", "dynamic_quantile", "independence", "decomposition"),
    *("encompassing", "murphy", "announced", "reactions"),
)
"""Tables that a backtest of version 0.1.0 lacks."""

UNFINISHED = "unfinished"
"""In a backtest's folder, what one that was interrupted has left there."""

_FORECASTS = "forecasts.parquet"

_TEXT_COLUMNS = {
    *(
        "ticker",
        "model",
        "against",
        "metric",
        "kind",
        "split",
        "part",
        "rule",
        "benchmark",
        "until",
    ),
    *("forecast", "worst_from", "worst_to"),
}
"""Columns of the tables that hold text, not numbers."""

_DAY_COLUMNS = {"date"}
"""Columns of the tables that hold days."""

_DAMAGE = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError),
    ForecastError,
)
"""Errors of reading files that no backtest wrote."""


def write(backtest: Backtest, folder: Path) -> None:
    """Write a backtest into a folder that is there."""
    _write_tables(backtest.tables, folder / "tables")
    for step, its in backtest.ahead.items():
        _write_tables(its.tables, folder / "tables" / f"step-{step}")
    backtest.parts.save(folder / _FORECASTS)
    write_csv(backtest.scores, folder / "scores.csv")
    document = {**backtest.verdict.document, **scores_of(backtest.tables)}
    if backtest.ahead:
        document["steps"] = {
            str(step): {**its.verdict.document, **scores_of(its.tables)}
            for step, its in backtest.ahead.items()
        }
    _write_json(folder / "scores.json", document)
    _write_json(folder / "config.json", backtest.provenance.document())


def scores_of(tables: dict[str, pd.DataFrame]) -> dict[str, list[dict[str, Any]]]:
    """Return the scores and the panel tests of a step as JSON holds them."""
    return {name: records(tables[name]) for name in ("scores", "significance")}


def _write_tables(tables: dict[str, pd.DataFrame], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, table in tables.items():
        write_csv(table, folder / f"{name}.csv")


def read_forecasts(folder: Path) -> tuple[Parts, Provenance]:
    """Return the forecasts of a backtest in a folder, and where it comes from.

    Raises
    ------
    StoreError
        The folder holds no backtest, or a damaged one.
    """
    return atomic.read_folder(folder, _read_forecasts)


def read_provenance(folder: Path) -> Provenance:
    """Return where a backtest in a folder comes from; raises what :func:`read_forecasts` does."""
    return atomic.read_folder(folder, _read_provenance)


def load(folder: Path) -> Backtest:
    """Return the backtest that :func:`write` left in a folder.

    Raises
    ------
    StoreError
        The folder holds no backtest, or a damaged one.
    """
    return atomic.read_folder(folder, _load)


def read_reactions(folder: Path) -> pd.DataFrame:
    """Return the table ``reactions`` of a backtest in a folder; an earlier version wrote none.

    Raises
    ------
    StoreError
        The table is damaged.
    """
    return atomic.read_folder(folder, _read_reactions)


def read_scores(folder: Path) -> dict[int, pd.DataFrame]:
    """Return the table ``scores`` of each step of a backtest in a folder.

    Raises
    ------
    StoreError
        The folder holds no scores, or damaged ones.
    """
    return atomic.read_folder(folder, _read_scores)


def latest(home: Path) -> Path:
    """Return the folder of the backtest that was written last in a home folder.

    Raises
    ------
    StoreError
        There is none.
    """
    folders = atomic.folders(home / "backtests")
    written = {folder: it for folder in folders if (it := written_at(folder)) is not None}
    if not written:
        raise StoreError(
            f"there is no backtest in {home / 'backtests'} yet; `forecast backtest` makes one, "
            f"or name its folder{filenames.first_fetch(home)}"
        )
    return max(written, key=lambda folder: written[folder])


def stored(home: Path) -> dict[str, Path]:
    """Return the folders of the backtests in a home folder by name, finished or not.

    Scores of files are there too, as ``scores/NAME``.
    """
    backtests, scores = (atomic.folders(home / name) for name in ("backtests", "scores"))
    return {it.name: it for it in backtests} | {f"scores/{it.name}": it for it in scores}


def written_at(folder: Path) -> float | None:
    """Return when the results in a folder were written, in seconds since 1970; None without any."""
    config = "config.json"
    with suppress(OSError):
        return atomic.read_folder(folder, lambda it: (it / config).stat().st_mtime)
    return None


def new_folder(parent: Path, name: str) -> Path:
    """Make a folder that nobody else has, and return it: ``NAME``, ``NAME-2``, ``NAME-3`` …

    Raises
    ------
    StoreError
        The folder cannot be made.
    """
    for number in count(1):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        with atomic.held(folder), suppress(FileExistsError):  # it may just be being replaced
            folder.mkdir()
            return folder
    raise AssertionError("numbers do not end")


def _read_provenance(folder: Path) -> Provenance:
    if not folder.is_dir():
        raise StoreError(f"there is no folder {folder}; name the folder of a backtest")
    try:
        return Provenance.of_document(_read_json(folder / "config.json"))
    except _DAMAGE as error:
        raise _damaged(folder, error) from error


def _read_forecasts(folder: Path) -> tuple[Parts, Provenance]:
    provenance = _read_provenance(folder)
    try:
        parts = Parts.of_file(folder / _FORECASTS)
        models = {it for rows in parts.columns(["model"]) for it in rows["model"].unique()}
        if provenance.models[0] not in models:
            raise ValueError(f"it has no forecasts by {provenance.models[0]!r}")
    except _DAMAGE as error:
        raise _damaged(folder, error) from error
    return parts, provenance


def _read_scores(folder: Path) -> dict[int, pd.DataFrame]:
    try:
        document = _read_json(folder / "scores.json")
        by_step = {document.get("step", 1): document} | document.get("steps", {})
        return {int(step): pd.DataFrame(it["scores"]) for step, it in by_step.items()}
    except _DAMAGE as error:
        raise _damaged(folder, error) from error


def _read_reactions(folder: Path) -> pd.DataFrame:
    path = folder / "tables" / "reactions.csv"
    try:
        return _read_table(path) if path.is_file() else announced.NONE
    except _DAMAGE as error:
        raise _damaged(folder, error) from error


def _load(folder: Path) -> Backtest:
    parts, provenance = _read_forecasts(folder)
    try:
        document, tables = _read_json(folder / "scores.json"), folder / "tables"
        verdict = Verdict.read(document)
        # Forecasts of several sessions alone make no strategy.
        needed = [it for it in TABLES if it != "strategy" or verdict.step == 1]
        ahead = {
            int(step): Evaluation(_read_tables(tables / f"step-{step}"), Verdict.read(said))
            for step, said in document.get("steps", {}).items()
        }
        return Backtest(parts, _read_tables(tables, needed), verdict, provenance, ahead)
    except _DAMAGE as error:
        raise _damaged(folder, error) from error


def _read_tables(folder: Path, needed: Sequence[str] = ("scores",)) -> dict[str, pd.DataFrame]:
    """Return the tables of a folder by name; an error if one that is needed is missing."""
    names = dict.fromkeys((*needed, *(path.stem for path in folder.glob("*.csv"))))
    return {name: _read_table(folder / f"{name}.csv") for name in names}


def _read_table(path: Path) -> pd.DataFrame:
    """Return a table as it was written: a ticker may be called NA, TRUE or 005930."""
    columns = pd.read_csv(path, nrows=0).columns
    texts = [name for name in columns if name in _TEXT_COLUMNS]
    table = pd.read_csv(
        path,
        dtype=dict.fromkeys(texts, "str"),
        keep_default_na=False,
        na_values={name: [""] for name in columns if name not in texts},
    )
    days = [name for name in columns if name in _DAY_COLUMNS]
    return table.assign(
        **{name: cell_texts(table[name]) for name in texts},
        **{name: table[name].astype("datetime64[us]") for name in days},
    )


def _damaged(folder: Path, error: Exception) -> StoreError:
    return StoreError(
        f"{folder} holds no backtest, or a damaged one ({one_line(error)}); "
        "name the folder of a backtest"
    )


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as JSON holds them: what is not a number is null, a day is text."""
    finite = frame.replace([np.inf, -np.inf], np.nan)
    days = finite.select_dtypes("datetime")
    finite = finite.assign(**{str(name): days[name].dt.strftime("%Y-%m-%d") for name in days})
    rows = finite.astype(object).where(finite.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def remove(folder: Path) -> None:
    """Remove a backtest, finished or not.

    Raises
    ------
    StoreError
        The folder holds something else, or a backtest is being written to it.
    """
    if not atomic.read_folder(folder, _is_ours):
        raise StoreError(f"{folder} holds something that is not a backtest, and is not removed")
    with atomic.claimed(folder, "backtest"):
        atomic.remove_folder(folder)


def check_replaceable(folder: Path) -> None:
    """Raise a StoreError if a backtest in this folder would take the place of something else."""
    if folder.is_dir() and not atomic.read_folder(folder, _is_ours):
        raise StoreError(
            f"{folder} holds something that is not a backtest, and would be replaced; "
            "name an empty or a new folder"
        )
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file; name a folder")


def _is_ours(folder: Path) -> bool:
    """Return whether a folder holds a backtest, finished or not, or nothing."""
    finished = all((folder / name).is_file() for name in ("config.json", _FORECASTS))
    return finished or all(path.name == UNFINISHED for path in folder.iterdir())


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write_json(path: Path, document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    path.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Return a number or a date of numpy or pandas as one of Python."""
    return value.item() if isinstance(value, np.generic) else str(value)
