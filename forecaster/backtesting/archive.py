"""Backtests on disk: a folder of Parquet, CSV and JSON that anybody can read.

``DIR/config.json`` holds where the results come from, ``scores.json`` the verdict, the scores and
the panel tests, ``forecasts.parquet`` every forecast, and ``tables/`` all statistics of the shortest
step. Of every further step ``scores.json`` holds the same by its number, and ``tables/step-5/`` and so
on the statistics.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecaster import atomic
from forecaster.backtesting import folders
from forecaster.backtesting.backtest import Backtest
from forecaster.backtesting.provenance import Provenance
from forecaster.display import cell_texts, write_csv
from forecaster.distributions.parts import Parts
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


def write(backtest: Backtest, folder: Path) -> None:
    """Write a backtest into a folder that is there."""
    _write_tables(backtest.tables, folder / "tables")
    for step, its in backtest.ahead.items():
        _write_tables(its.tables, folder / "tables" / f"step-{step}")
    backtest.parts.save(folder / folders.FORECASTS)
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


def _read_forecasts(folder: Path) -> tuple[Parts, Provenance]:
    provenance = folders.read_provenance(folder)
    try:
        parts = Parts.of_file(folder / folders.FORECASTS)
        models = {it for rows in parts.columns(["model"]) for it in rows["model"].unique()}
        if provenance.models[0] not in models:
            raise ValueError(f"it has no forecasts by {provenance.models[0]!r}")
    except folders.DAMAGE as error:
        raise folders.damaged(folder, error) from error
    return parts, provenance


def _read_scores(folder: Path) -> dict[int, pd.DataFrame]:
    try:
        document = folders.read_json(folder / "scores.json")
        by_step = {document.get("step", 1): document} | document.get("steps", {})
        return {int(step): pd.DataFrame(it["scores"]) for step, it in by_step.items()}
    except folders.DAMAGE as error:
        raise folders.damaged(folder, error) from error


def _read_reactions(folder: Path) -> pd.DataFrame:
    path = folder / "tables" / "reactions.csv"
    try:
        return _read_table(path) if path.is_file() else announced.NONE
    except folders.DAMAGE as error:
        raise folders.damaged(folder, error) from error


def _load(folder: Path) -> Backtest:
    parts, provenance = _read_forecasts(folder)
    try:
        document, tables = folders.read_json(folder / "scores.json"), folder / "tables"
        verdict = Verdict.read(document)
        # Forecasts of several sessions alone make no strategy.
        needed = [it for it in TABLES if it != "strategy" or verdict.step == 1]
        ahead = {
            int(step): Evaluation(_read_tables(tables / f"step-{step}"), Verdict.read(said))
            for step, said in document.get("steps", {}).items()
        }
        return Backtest(parts, _read_tables(tables, needed), verdict, provenance, ahead)
    except folders.DAMAGE as error:
        raise folders.damaged(folder, error) from error


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


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as JSON holds them: what is not a number is null, a day is text."""
    finite = frame.replace([np.inf, -np.inf], np.nan)
    days = finite.select_dtypes("datetime")
    finite = finite.assign(**{str(name): days[name].dt.strftime("%Y-%m-%d") for name in days})
    rows = finite.astype(object).where(finite.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _write_json(path: Path, document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    path.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Return a number or a date of numpy or pandas as one of Python."""
    return value.item() if isinstance(value, np.generic) else str(value)
