"""Backtests: every model through history, fold by fold, on the same days.

A model is fitted on what was known at the start of a fold and asked for every session until the
next refit. A trained run stands for its model as it is; it is never refitted, and it forecasts
only what came after it was trained.
"""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecaster.backtesting import walk_forward
from forecaster.config import RecurrentConfig
from forecaster.distributions import forecasts, recalibration
from forecaster.errors import ForecastError, StoreError, first_few, one_line
from forecaster.evaluation import metrics
from forecaster.evaluation.evaluate import COST_BP, evaluate
from forecaster.evaluation.experiment_log import Experiment, others
from forecaster.evaluation.strategy import YEAR
from forecaster.model_selection.splits import Fold
from forecaster.models.protocol import Progress, silent
from forecaster.parallel import jobs
from forecaster.runs.run import Run, versions

log = logging.getLogger(__name__)

TABLES = (
    *("scores", "significance", "tickers", "confidence_set", "superior_ability", "skill"),
    *(
        "uniformity",
        "coverage",
        "value_at_risk",
        "direction",
        "information",
        "strategy",
        "fallbacks",
    ),
)
"""All of a backtest's tables."""

UNFINISHED = "unfinished"
"""In a backtest's folder, what one that was interrupted has left there."""

_WORDS = {
    *("ticker", "model", "against", "metric", "kind", "split", "part", "rule", "benchmark", "until")
}
"""Columns of the tables that hold no numbers."""


@dataclass(frozen=True)
class Backtest:
    """What a backtest found."""

    forecasts: pd.DataFrame
    """The forecasts frame of all models."""
    tables: dict[str, pd.DataFrame]
    """All statistics by name; see :class:`forecaster.evaluation.evaluate.Evaluation`. And
    ``fallbacks``: model, until and ticker of the fits that did not converge, for which fixed
    parameters stand in."""
    verdict: str
    """One paragraph on the first model."""
    config: dict[str, Any]
    """Tickers, dates, models, folds, seeds, versions, hash of the prices."""

    @property
    def scores(self) -> pd.DataFrame:
        """:func:`forecaster.evaluation.metrics.scores`"""
        return self.tables["scores"]

    @property
    def comparison(self) -> pd.DataFrame:
        """:func:`forecaster.evaluation.significance.compare` on the days that all models forecast"""
        return self.tables["significance"]


def run(
    frames: pd.DataFrame | Iterable[pd.DataFrame],
    models: Sequence[str],
    *,
    tickers: Sequence[str] | None = None,
    start: date | None = None,
    end: date | None = None,
    refit: str | int = "yearly",
    trained: Run | None = None,
    config: RecurrentConfig | None = None,
    engine: jobs.Engine = jobs.LOCAL,
    folder: Path | None = None,
    resume: bool = False,
    calibrate: bool = False,
    cost_bp: float = COST_BP,
    tried: Sequence[Experiment] = (),
    progress: Progress = silent,
) -> Backtest:
    """Forecasts every session from ``start`` to ``end`` from the one before it, and scores it.

    Parameters
    ----------
    frames : the prices frame of the tickers and of the universe of ``trained``, or one for each.
    models : registered names; the verdict is on the first.
    tickers : whose sessions to forecast; all of the prices by default.
    start, end : first and last date forecast. By default from the first session after the run's
        training span (without a run, the last three years) to the last stored session.
    refit : ``never``, ``yearly`` or a number of sessions; see :mod:`forecaster.model_selection.splits`.
    trained : stands for its model, if that is among ``models``.
    config : settings of recurrent models that are fitted here.
    engine, folder, resume : who works, where finished parts are kept, and whether to go on from
        them; see :func:`forecaster.backtesting.walk_forward.forward`.
    calibrate : whether to recalibrate every model's quantiles; see
        :mod:`forecaster.distributions.recalibration`.
    cost_bp : of buying or selling, in basis points a side, for :mod:`forecaster.evaluation.strategy`.
    tried : the trials on these tickers and days before; see :mod:`forecaster.evaluation.experiment_log`.

    Raises
    ------
    EngineError
        The engine could not be reached or was lost.
    HistoryError
        ``start`` lies within the training span of ``trained``, or there is too little history.
    ResumeError
        There is nothing to resume, or what it began with has changed.
    UsageError
        There is no such model, or a model is named twice.
    """
    walked = walk_forward.forward(
        frames, models, tickers=tickers, start=start, end=end, refit=refit, trained=trained,
        config=config, engine=engine, folder=folder, resume=resume, progress=progress,
    )  # fmt: skip
    found = walked.forecasts
    if calibrate:
        found = recalibration.recalibrate(found)
    config_used = {
        "tickers": walked.tickers,
        "scored_tickers": _scored(walked.tickers, found),
        "models": list(models),
        "start": str(found["date"].min().date()),
        "end": str(found["date"].max().date()),
        "refit": refit,
        "calibrated": calibrate,
        "folds": [_dates(fold) for fold in walked.folds],
        "run": trained.summary if trained else None,
        "settings": asdict(config or RecurrentConfig()),
        "run_settings": trained.model.state().settings.get("config") if trained else None,
        **walked.prices,
        "versions": versions(),
    }
    return judged(walked, found, config_used, tried=tried, cost_bp=cost_bp)


def judged(
    walked: walk_forward.Walk,
    found: pd.DataFrame,
    config: dict[str, Any],
    *,
    tried: Sequence[Experiment],
    cost_bp: float,
) -> Backtest:
    """The backtest of some forecasts, evaluated in the company of the other trials.

    Takes the walk for its fits that did not converge and the variance that came, the forecasts, the
    config of the backtest, and the trials and the cost of :func:`run`.
    """
    company = others(tried, _trials(config))
    evaluation = evaluate(
        found, walked.variance, model=config["models"][0], tried=company, cost_bp=cost_bp
    )
    return Backtest(
        forecasts=found,
        tables=evaluation.tables | {"fallbacks": walked.fallbacks},
        verdict=evaluation.verdict,
        config={"tried": company.trials, **config},
    )


def trials(backtest: Backtest) -> list[Experiment]:
    """A trial of each model, to be recorded."""
    table = backtest.tables["strategy"]
    return [
        replace(
            trial,
            sharpes=(
                table.loc[table["model"] == trial.model, "sharpe"].dropna() / np.sqrt(YEAR)
            ).tolist(),
        )
        for trial in _trials(backtest.config)
    ]


def _trials(config: dict[str, Any]) -> list[Experiment]:
    """What is tried of each model, before anything has come of it."""
    kind = "score" if "file" in config else "backtest"
    told = ("refit", "calibrated", "settings", "run_settings", "prices_sha256")
    settings = {key: config[key] for key in told}
    read = {"file_sha256": config.get("file_sha256")}  # another file is another trial
    return [
        Experiment(
            kind, name, config["tickers"], config["start"], config["end"],
            settings | (read if name in config.get("file_models", ()) else {}),
        )
        for name in config["models"]
    ]  # fmt: skip


def write(backtest: Backtest, folder: Path) -> None:
    """Writes ``forecasts.parquet``, ``scores.csv``, ``scores.json``, ``config.json`` and ``tables/``.

    ``scores.json`` holds the verdict, the scores and the panel tests; ``tables/`` all statistics,
    a CSV file each.
    """
    (folder / "tables").mkdir(exist_ok=True)
    for name, table in backtest.tables.items():
        table.to_csv(folder / "tables" / f"{name}.csv", index=False)
    backtest.forecasts.to_parquet(folder / "forecasts.parquet", index=False)
    backtest.scores.to_csv(folder / "scores.csv", index=False)
    document = {
        "verdict": backtest.verdict,
        "scores": records(backtest.scores),
        "significance": records(backtest.comparison),
    }
    _write_json(folder / "scores.json", document)
    _write_json(folder / "config.json", backtest.config)


def read(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The forecasts frame and the config that :func:`write` left in a folder.

    Raises
    ------
    StoreError
        The folder holds no backtest, or a damaged one.
    """
    if not folder.is_dir():
        raise StoreError(f"there is no folder {folder}; name the folder of a backtest")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        found = forecasts.check(pd.read_parquet(folder / "forecasts.parquet"))
        if config["models"][0] not in set(found["model"]):
            raise ValueError(f"it has no forecasts by {config['models'][0]!r}")
    except (OSError, ValueError, TypeError, LookupError, ForecastError) as error:
        raise _damaged(folder, error) from error
    return found, config


def latest(home: Path) -> Path:
    """The folder of the backtest that was written last in a home folder.

    Raises
    ------
    StoreError
        There is none.
    """
    found = [path.parent for path in (home / "backtests").glob("[!.]*/config.json")]
    if not found:
        raise StoreError(
            f"there is no backtest in {home / 'backtests'} yet; `forecast backtest` makes one, "
            "or name its folder"
        )
    return max(found, key=lambda folder: folder.stat().st_mtime)


def load(folder: Path) -> Backtest:
    """All that :func:`write` left in a folder.

    Raises
    ------
    StoreError
        The folder holds no backtest, or a damaged one.
    """
    found, config = read(folder)
    try:
        told = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        tables = {name: _read_table(folder / "tables" / f"{name}.csv") for name in TABLES}
        return Backtest(found, tables, told["verdict"], config)
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise _damaged(folder, error) from error


def _read_table(path: Path) -> pd.DataFrame:
    """A table as it was written: a ticker may be called NA, TRUE or 005930."""
    columns = pd.read_csv(path, nrows=0).columns
    return pd.read_csv(
        path,
        dtype={name: "str" for name in columns if name in _WORDS},
        keep_default_na=False,
        na_values={name: [""] for name in columns if name not in _WORDS},
    )


def _damaged(folder: Path, error: Exception) -> StoreError:
    return StoreError(
        f"{folder} holds no backtest, or a damaged one ({one_line(error)}); "
        f"name the folder of a backtest"
    )


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON says them: what is not a number is null."""
    finite = frame.replace([np.inf, -np.inf], np.nan)
    rows = finite.astype(object).where(finite.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def check_replaceable(folder: Path) -> None:
    """StoreError if writing a backtest to a folder would remove something else."""
    ours = all((folder / name).is_file() for name in ("config.json", "forecasts.parquet"))
    others = [it for it in folder.iterdir() if it.name != UNFINISHED] if folder.is_dir() else []
    if others and not ours:
        raise StoreError(
            f"{folder} holds something that is not a backtest, and would be replaced; "
            "name an empty or a new folder"
        )
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file; name a folder")


def _scored(tickers: Sequence[str], found: pd.DataFrame) -> list[str]:
    """The tickers that are scored; says what is not, because not every model could forecast it."""
    known = metrics.known(found)[["ticker", "model", "cutoff", "date"]]
    common = metrics.common(known)
    missing = sorted(set(tickers) - set(common["ticker"]))
    if missing:
        log.warning(
            "%d of %d tickers are not scored, because a model has no forecast of them: %s",
            len(missing),
            len(tickers),
            first_few(missing),
        )
    rows = known[~known["ticker"].isin(missing)]
    left_out = len(rows) - len(common)
    if left_out:
        log.warning(
            "%d of %d forecasts of the other tickers are not scored, because not every model has "
            "one for that ticker and session", left_out, len(rows),
        )  # fmt: skip
    return sorted(common["ticker"].unique())


def _dates(fold: Fold) -> dict[str, str]:
    return {name: str(value) for name, value in asdict(fold).items()}


def _write_json(path: Path, document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    path.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """What numpy and pandas call a number or a date, as Python does."""
    return value.item() if isinstance(value, np.generic) else str(value)
