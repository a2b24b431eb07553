"""What the benchmarks share: their data, a way to write a row, and a way to time a whole process.

Prices are read where they lie: in the folder that FORECAST_DATA names, else in `../shared/data` beside
the checkout. W1 is the data file of the skfolio package, which pip downloads into `.cache` and
which is neither installed nor kept in the repository.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecaster.backtesting import backtest
from forecaster.backtesting.spec import BacktestSpec
from forecaster.config import RecurrentConfig
from forecaster.data import events, prices
from forecaster.data.sources import loading
from forecaster.distributions import forecasts
from forecaster.evaluation import metrics
from forecaster.runs import training
from forecaster.runs.run import versions

HERE = Path(__file__).resolve().parent
CACHE = HERE / ".cache"
RESULTS = HERE / "results"
DATA = Path(os.environ.get("FORECAST_DATA", HERE.parents[1] / "shared" / "data"))

SKFOLIO = "skfolio==1.12.2"
REFIT = 250
"""Sessions between two fits of gjr, the bar."""


@dataclass(frozen=True)
class Work:
    """Prices, and which of them are trained on and which are scored."""

    name: str
    prices: pd.DataFrame
    until: date
    """The last date to learn from."""
    start: date
    end: date
    """First and last date scored."""
    held_out: tuple[str, ...] = ()
    """Tickers that are scored but not trained on; empty means that all are both."""
    events: pd.DataFrame | None = None
    """Announcements of its tickers, for what is to know of them."""

    @property
    def universe(self) -> pd.DataFrame:
        """The prices to train on."""
        return self.prices[~self.prices["ticker"].isin(self.held_out)]

    @property
    def scored(self) -> list[str]:
        """The tickers to score."""
        return list(self.held_out or self.prices["ticker"].unique())

    def spec(self, *models: str, refit: str | int = "yearly") -> BacktestSpec:
        """The backtest of some models on the tickers and dates to score."""
        return BacktestSpec(models, tuple(self.scored), self.start, self.end, refit)


def w1() -> Work:
    """20 US stocks, adjusted closes only."""
    frame = prices.check(pd.read_parquet(w1_file()))
    return Work("W1", frame, date(2012, 12, 31), date(2013, 1, 1), date(2022, 12, 28))


def w1_file() -> Path:
    """W1's prices (ticker, date, adj_close) from 1995 on, as a Parquet file in the cache."""
    found = CACHE / "w1.parquet"
    if not found.exists():
        CACHE.mkdir(exist_ok=True)
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", SKFOLIO]
        if subprocess.run([*download, "--dest", str(CACHE)]).returncode:
            raise SystemExit(f"W1 needs the data file of {SKFOLIO}, and pip could not download it")
        (wheel,) = CACHE.glob("skfolio-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            file = archive.extract("skfolio/datasets/data/sp500_dataset.csv.gz", CACHE)
        wide = pd.read_csv(file, index_col="Date", parse_dates=True).loc["1995-01-01":]
        long = wide.melt(var_name="ticker", value_name="adj_close", ignore_index=False)
        long = long.rename_axis("date").reset_index().sort_values(["ticker", "date"])
        long.to_parquet(found, index=False)
    return found


def w2() -> Work:
    """88 US large caps, OHLCV: more than 3,000 sessions and no daily log return beyond 60%."""
    frame = stored("dev_us_large_2004_2018")
    moves = np.log(frame["adj_close"]).groupby(frame["ticker"]).diff().abs()
    largest = moves.groupby(frame["ticker"]).max()
    sessions = frame["ticker"].value_counts()
    kept = [t for t in sorted(largest.index) if sessions[t] > 3000 and largest[t] <= 0.6]
    frame = frame[frame["ticker"].isin(kept)].reset_index(drop=True)
    return Work("W2", frame, date(2012, 12, 31), date(2013, 1, 1), date(2018, 12, 31))


def w2_unseen() -> Work:
    """W2, every fifth of its tickers left out of training and scored."""
    work = w2()
    held_out = tuple(sorted(work.prices["ticker"].unique())[::5])
    return Work("W2-unseen", work.prices, work.until, work.start, work.end, held_out)


def with_events(work: Work) -> Work:
    """A work of US stocks with the announcements of their earnings, called after it with an E."""
    table = pd.read_parquet(_file("dev_us_earnings_2003_2018"))
    table = table[table["ticker"].isin(work.prices["ticker"])]
    frame = events.check(table.assign(kind=events.EARNINGS, first_seen=pd.NaT))
    return replace(work, name=f"{work.name}E", events=frame)


def sample() -> Work:
    """The two indices that come with the arch package."""
    frame = _loaded("sample")
    return Work("sample", frame, date(2012, 12, 31), date(2013, 1, 1), date(2018, 12, 31))


def thirds(file: str) -> Work:
    """A file's prices: the first two thirds of its dates to learn from, the last third to score."""
    frame = stored(file)
    days = np.sort(frame["date"].unique())
    cut = 2 * len(days) // 3
    until, start, end = (pd.Timestamp(days[i]).date() for i in (cut - 1, cut, -1))
    return Work(file, frame, until, start, end)


THIRDS = (
    "dev_us_small_1995_2018",
    "dev_etf_1995_2018",
    "dev_fx_btc_2007_2018",
    "dev_uk_close_2000_2018",
    "dev_india_1999_2018",
    "dev_world_index_close_1985_2015",
)

WORKS: dict[str, Callable[[], Work]] = {
    "W1": w1,
    "W2": w2,
    "W2E": lambda: with_events(w2()),
    "W2-unseen": w2_unseen,
    "W2-unseenE": lambda: with_events(w2_unseen()),
    "sample": sample,
    **{file: lambda file=file: thirds(file) for file in THIRDS},
    "dev_us_small_1995_2018E": lambda: with_events(thirds("dev_us_small_1995_2018")),
}


def stored(file: str) -> pd.DataFrame:
    """The prices frame of a file of the data folder, or the end with a word on what is missing."""
    return _loaded(str(_file(file)))


def _file(name: str) -> Path:
    path = DATA / f"{name}.parquet"
    if not path.exists():
        raise SystemExit(
            f"{path.name} is not in the data folder; put it in shared/data beside the checkout, or "
            "name its folder with FORECAST_DATA"
        )
    return path


def _loaded(source: str) -> pd.DataFrame:
    frames = []
    for _, outcome in loading.load(source):
        if isinstance(outcome, Exception):
            raise outcome
        frames.append(outcome)
    return pd.concat(frames, ignore_index=True)


def bar(work: Work, model: str = "gjr", *, again: bool = False) -> pd.DataFrame:
    """The forecasts frame of gjr, refitted every 250 sessions; kept in the cache, as it takes long."""
    file = CACHE / f"{model}-{work.name}-{prices.digest(work.prices)[:12]}.parquet"
    if again or not file.exists():
        CACHE.mkdir(exist_ok=True)
        found = backtest.run(work.prices, work.spec(model, refit=REFIT), events=work.events)
        found.forecasts.to_parquet(file, index=False)
    return forecasts.check(pd.read_parquet(file))


def scores(found: pd.DataFrame, against: pd.DataFrame) -> dict[str, Any]:
    """Scores of one model's forecasts and how they compare with the bar's, on the rows both have."""
    table = metrics.scores(forecasts.concat([found, against]))
    name, other = found["model"].iloc[0], against["model"].iloc[0]
    mine, theirs = (table[table["model"] == it].set_index("ticker") for it in (name, other))
    all_mine, all_theirs = mine.loc[metrics.POOLED], theirs.loc[metrics.POOLED]
    mine = mine.drop(metrics.POOLED)
    theirs = theirs.loc[mine.index]
    return {
        "crps": all_mine["crps"],
        "ratio": all_mine["crps"] / all_theirs["crps"],
        "log_score_gain": all_mine["log_score"] - all_theirs["log_score"],
        "better": int((mine["crps"] < theirs["crps"]).sum()),
        "tickers": len(mine),
        **{f"coverage_{level}": all_mine[f"coverage_{level}"] for level in metrics.COVERAGES},
    }


def warm_up() -> None:
    """Trains for one epoch, so that what is timed next does not pay for imports."""
    work = sample()
    training.train(work.prices, until=work.until, config=RecurrentConfig(epochs=1))


def row(file: str, key: dict[str, Any], **values: Any) -> None:
    """Appends a row to `results/FILE.csv`, or replaces the one with the same key, and prints it.

    Versions and the machine are added; numbers keep six significant digits.
    """
    path = RESULTS / f"{file}.csv"
    RESULTS.mkdir(exist_ok=True)
    told = ", ".join(f"{name} {it}" for name, it in versions().items())
    where = {"versions": told, "machine": machine()}
    new = pd.DataFrame([key | values | {k: v for k, v in where.items() if k not in values}])
    new = new.map(_written)
    if path.exists():
        old = pd.read_csv(path, dtype=str, keep_default_na=False)
        names = [name for name in key if name in old]
        same = (old[names] == new[names].iloc[0]).all(axis=1)
        new = pd.concat([old[~same], new]).fillna("")
    new = new[[name for name in new if name not in where] + list(where)]
    new.to_csv(path, index=False, lineterminator="\n")
    shown = {k: f"{v:.5g}" if isinstance(v, float) else v for k, v in (key | values).items()}
    print(file, *(f"{name}={value}" for name, value in shown.items()), flush=True)


def _written(value: Any) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6g}"
    return str(value)


def machine() -> str:
    """The processor's model and the number of cores."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores"


@dataclass(frozen=True)
class Cost:
    """What a whole process took."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds."""
    peak: float
    """MiB."""


def cost(command: Sequence[str], *, cores: str = "one") -> Cost:
    """Runs a command in silence, on `one` core or `all`; its last words are shown if it fails."""
    with tempfile.NamedTemporaryFile() as file:
        launch = [sys.executable, "-S", str(HERE / "process.py"), file.name, cores, *command]
        told = subprocess.run(launch, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        found = json.load(file)
    if found.pop("rc"):
        raise SystemExit(f"{' '.join(command)} failed:\n{told.stdout[-2000:]}")
    return Cost(**found)


def forecast(*words: str | Path) -> list[str]:
    """The command line of the program, run by this Python."""
    return [sys.executable, "-m", "forecaster", *map(str, words)]


def stocked(home: Path, frame: pd.DataFrame) -> Path:
    """A home folder with the prices of a frame, made afresh."""
    shutil.rmtree(home, ignore_errors=True)
    file = home.with_suffix(".parquet")
    home.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(file, index=False)
    cost(forecast("fetch", "--source", file, "--home", home))
    return home
