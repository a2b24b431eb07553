import gc
import json
import logging
import signal
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from documents import validated
from hypothesis import HealthCheck, settings

from forecaster.cli.app import main
from forecaster.config import RecurrentConfig
from forecaster.data import prices
from forecaster.data.calendars import next_session
from forecaster.models import boosting
from forecaster.plots import evaluation
from forecaster.report import html
from forecaster.runs import training

SESSIONS = 700

MOST_TICKERS = evaluation.MOST_TICKERS

# A shell's background jobs do not hear of interrupts, nor do their children, unless somebody listens.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What the libraries hold is looked through at every full collection, as the command knows too.
gc.set_threshold(50_000, 20, 100)

# A busy machine is slow, not wrong; and what passed once passes again, as the examples are the same
# each time. Others are tried by: pytest --hypothesis-profile=default --hypothesis-seed=random
settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")


LONGEST = (
    *("parallel/test_engines", "cli/test_cli", "models/test_every_model", "test_pages"),
    *("backtesting/test_leakage_audit", "cli/test_tune", "cli/test_contract", "test_notebooks"),
    *("cli/test_earnings", "backtesting/test_external", "data/test_update"),
    *("cli/test_first_minute", "report/test_html", "explain/test_explanation"),
    *("report/test_steps", "evaluation/test_overlap", "cli/test_backtests"),
    *("model_selection/test_search", "backtesting/test_backtest", "cli/test_foreign_text"),
)
"""Files of twenty seconds or more, the longest first."""


def pytest_collection_modifyitems(items):
    """Begin with the longest files, so that no process is left with one while the others are done."""
    tests = Path(__file__).parent
    places = {tests / f"{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Tests neither read nor fill the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def own_log():
    """What a command that ran before has done to the log is undone."""
    logger = logging.getLogger("forecaster")
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


@dataclass
class Result:
    """What a command left: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """The document on stdout, which its schema allows."""
        return validated(json.loads(self.out))


@pytest.fixture
def forecast(capsys):
    """A function that runs the command ``forecast`` of some words in this process."""

    def run(*words):
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return Result(stop.value.code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def world():
    """Prices of three tickers from 2016 on; CCC has closes alone, starts late and skips sessions."""
    dates = _sessions("2016-01-04", SESSIONS)
    third = _simulated("CCC", dates[90:], seed=3)[["ticker", "date", "close", "adj_close"]]
    third = third.drop(third.index[[200, 201, 330]])
    return prices.check(
        pd.concat(
            [_simulated("AAA", dates, seed=1), _simulated("BBB", dates, seed=2), third],
            ignore_index=True,
        )
    )


@pytest.fixture(scope="session")
def newcomer():
    """Prices of a ticker that no model was fitted on, over the sessions of the world."""
    return prices.check(_simulated("NEW", _sessions("2016-01-04", SESSIONS), seed=4))


@pytest.fixture(scope="session")
def tiny():
    """A network that trains in a moment and learns nothing."""
    return RecurrentConfig(
        units=4, window=40, warmup=10, batch=8, epochs=2, steps=2, validation=60, seeds=1
    )


@pytest.fixture(scope="session", autouse=True)
def few_trees():
    """Ensembles of four trees on coarse features, which grow in a moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(boosting.SETTINGS, "max_iter", 4)
        patch.setitem(boosting.SETTINGS, "max_bins", 32)
        yield


@pytest.fixture(scope="session", autouse=True)
def few_plots():
    """Plots of one ticker beside a report, not of two, and in few pixels, which are drawn sooner."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html, "DPI", 40)
        patch.setattr(evaluation, "MOST_TICKERS", 1)
        yield


@pytest.fixture(scope="module")
def all_plots():
    """Plots of as many tickers beside a report as a user has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "MOST_TICKERS", MOST_TICKERS)
        yield


@pytest.fixture(scope="session")
def until(world):
    """The last session that the models of ``trained`` have seen."""
    return world["date"].iloc[520].date()


@pytest.fixture(scope="session")
def trained(world, tiny, until):
    """A function from a model's name to its run, trained once in all the tests."""

    @cache
    def train(name):
        return training.train(world, model=name, until=until, config=tiny)

    return train


@pytest.fixture(scope="session")
def rewritten():
    """A function that makes up all prices and volumes after a date anew."""

    def rewrite(frame, after, seed=0):
        rng = np.random.default_rng(seed)
        frame = frame.copy()
        later = frame["date"] > pd.Timestamp(after)
        factor = np.exp(rng.normal(0, 0.2, (int(later.sum()), 4)))
        for column in ("open", "high", "low", "close"):
            frame.loc[later, column] *= factor[:, 0]
        frame.loc[later, "adj_close"] *= factor[:, 1]
        frame.loc[later, "volume"] *= factor[:, 2]
        frame.loc[later, "low"] /= np.maximum(factor[:, 3], 1 / factor[:, 3])
        return prices.check(frame)

    return rewrite


def _sessions(first, count):
    dates = [pd.Timestamp(first)]
    while len(dates) < count:
        dates.append(next_session("AAA", dates[-1]).date)
    return pd.DatetimeIndex(dates)


def _simulated(ticker, dates, seed):
    """A GARCH(1,1) with Student-t innovations (5 degrees of freedom), and bars around it."""
    rng = np.random.default_rng(seed)
    shocks = rng.standard_t(5, len(dates)) * np.sqrt(3 / 5)
    returns, variance = np.zeros(len(dates)), 1e-4
    for t in range(1, len(dates)):
        returns[t] = np.sqrt(variance) * shocks[t]
        variance = 2e-6 + 0.08 * returns[t] ** 2 + 0.90 * variance
    adj_close = 50 * np.exp(np.cumsum(returns))
    close = 1.1 * adj_close
    open_ = close * np.exp(rng.normal(0, 0.005, len(dates)))
    wick = np.exp(rng.exponential(0.004, (2, len(dates))))
    return pd.DataFrame(
        {
            "ticker": ticker,
            "date": dates,
            "open": open_,
            "high": np.maximum(open_, close) * wick[0],
            "low": np.minimum(open_, close) / wick[1],
            "close": close,
            "adj_close": adj_close,
            "volume": rng.lognormal(14, 0.4, len(dates)),
        }
    )
