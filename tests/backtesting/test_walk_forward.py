import shutil
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from forecaster.backtesting import walk_forward
from forecaster.backtesting.spec import BacktestSpec
from forecaster.backtesting.walk_forward import forecast_history
from forecaster.data import calendars, prices
from forecaster.errors import HistoryError, ResumeError, StoreError
from forecaster.evaluation import metrics
from forecaster.runs import training

SPEC = BacktestSpec(("garch", "naive"), start=date(2018, 3, 1), refit=50)


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    """A walk, and the folder of its parts."""
    folder = tmp_path_factory.mktemp("parts")
    return forecast_history(world, SPEC, folder=folder), folder


@pytest.fixture(scope="module")
def whole(finished):
    return finished[0].forecasts


@pytest.fixture
def begun(finished, tmp_path):
    """The folder of a walk of which every third part is missing, and how many there are."""
    shutil.copytree(finished[1], tmp_path, dirs_exist_ok=True)
    parts = sorted(tmp_path.glob("*.parquet"))
    for part in parts[::3]:
        part.unlink()
    return tmp_path, len(parts) - len(parts[::3]), len(parts)


def test_an_unfinished_walk_goes_on_to_the_same_bits(world, whole, begun):
    folder, finished, total = begun
    told = []
    result = forecast_history(
        world, SPEC, folder=folder, resume=True, progress=lambda *news: told.append(news)
    )
    pd.testing.assert_frame_equal(result.forecasts, whole, check_exact=True)
    assert [done for done, _, _ in told] == list(range(finished, total + 1))


def test_of_what_a_walk_works_on_its_forecasts_alone_stay(world):
    made = forecast_history(world, SPEC)
    names = [path.name for path in made.parts.folder.iterdir()]
    assert sorted(names) == ["forecasts.parquet", "variance.parquet"]
    assert len(made.forecasts)


def test_a_walk_that_begins_anew_takes_nothing_of_another(world, whole, begun):
    folder, _, total = begun
    told = []
    result = forecast_history(world, SPEC, folder=folder, progress=lambda *news: told.append(news))
    pd.testing.assert_frame_equal(result.forecasts, whole, check_exact=True)
    assert [done for done, _, _ in told] == list(range(total + 1))


def test_parts_of_a_few_tickers_are_the_same_as_of_all(world, whole, monkeypatch):
    monkeypatch.setattr(walk_forward, "CHUNK", 1)
    result = forecast_history(world, SPEC).forecasts
    pd.testing.assert_frame_equal(result, whole, check_exact=True)


def test_a_ticker_too_new_for_a_fit_is_left_out_of_its_fold_alone(world, newcomer, monkeypatch):
    monkeypatch.setattr(walk_forward, "CHUNK", 1)
    late = newcomer[newcomer["date"] >= pd.Timestamp("2017-06-01")]
    spec = replace(SPEC, models=("garch",))
    result = forecast_history(prices.check(pd.concat([world, late])), spec).forecasts
    assert set(result["ticker"]) == {"AAA", "BBB", "CCC", "NEW"}
    first = result.groupby("ticker")["cutoff"].min()
    assert first["NEW"] > first["AAA"]
    with pytest.raises(HistoryError, match="garch needs 251 sessions"):
        forecast_history(late, replace(spec, start=date(2018, 2, 1)))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"models": ("naive", "garch")}, "the models changed"),
        ({"refit": 49}, "the refit changed"),
        ({"volume": 1}, "the stored prices changed"),
    ],
)
def test_what_began_otherwise_is_not_gone_on_with(world, begun, changed, words):
    folder, finished, _ = begun
    frame = world.assign(volume=world["volume"] + changed.pop("volume", 0))
    with pytest.raises(ResumeError, match=words) as caught:
        forecast_history(frame, replace(SPEC, **changed), folder=folder, resume=True)
    assert "\n" not in str(caught.value)
    assert len(list(folder.glob("*.parquet"))) == finished


def test_there_is_nothing_to_go_on_with(world, tmp_path):
    with pytest.raises(ResumeError, match="no unfinished backtest"):
        forecast_history(world, SPEC, folder=tmp_path / "none", resume=True)


def test_parts_that_somebody_removed_are_missed(world, tmp_path):
    def remove(done, total, title):
        if done == total:
            sorted(tmp_path.glob("*.parquet"))[0].unlink()

    with pytest.raises(StoreError, match=r"1 of \d+ finished parts are no longer in"):
        forecast_history(world, SPEC, folder=tmp_path, progress=remove)


def test_the_luck_of_the_seed_is_that_of_networks_trained_alone(world, tiny):
    start = world["date"].iloc[650].date()

    def made(**settings):
        spec = BacktestSpec(("lstm",), start=start, refit="never", config=replace(tiny, **settings))
        return forecast_history(world, spec)

    def crps(result):
        return 100 * metrics.losses(result.forecasts)["crps"].mean()

    both, alone = made(seeds=2), made()
    assert both.seeds["seed"].tolist() == [0, 1]
    assert both.seeds["crps"][0] == pytest.approx(crps(alone), rel=1e-6)
    np.testing.assert_allclose(both.seeds["ratio"], both.seeds["crps"] / crps(both), rtol=1e-12)
    assert alone.seeds.empty


@pytest.fixture(scope="module")
def two_exchanges():
    """Prices of New York and Tokyo, which rested for New Year until 2018-01-04."""
    frames = []
    for seed, ticker in enumerate(("SPY", "7203.T")):
        days = calendars.sessions_between(
            ticker, pd.Timestamp("2016-01-04"), pd.Timestamp("2018-01-31")
        )
        close = 90 * np.exp(np.random.default_rng(seed).normal(0, 0.01, len(days)).cumsum())
        frames.append(pd.DataFrame({"ticker": ticker, "date": days, "close": close}))
    return prices.check(pd.concat(frames, ignore_index=True))


def first_of(frame, model):
    """The first cutoff and date of each ticker, as texts."""
    first = frame[frame["model"] == model].groupby("ticker")[["cutoff", "date"]].min()
    return {ticker: [str(it.date()) for it in row] for ticker, row in first.iterrows()}


def test_the_first_session_of_every_exchange_is_forecast(two_exchanges):
    """Tokyo's first session follows an older one than New York's."""
    spec = BacktestSpec(("gjr", "naive"), start=date(2018, 1, 4))
    made = forecast_history(two_exchanges, spec)
    first = first_of(made.forecasts, "gjr")
    assert first == {"7203.T": ["2017-12-29", "2018-01-04"], "SPY": ["2018-01-03", "2018-01-04"]}
    assert made.forecasts["date"].min() == pd.Timestamp("2018-01-04")
    # The fit of that forecast knows nothing of New York's sessions since.
    assert str(made.folds[0].until) == "2017-12-29"


def test_a_run_forecasts_from_no_cutoff_before_its_last_session(two_exchanges):
    """It has seen New York on 2 and 3 January, which Tokyo's forecast of the 4th knows nothing of."""
    run = training.train(two_exchanges, model="gjr", until=date(2018, 1, 3))
    made = forecast_history(two_exchanges, BacktestSpec(("gjr", "naive")), trained=run)
    assert made.forecasts["date"].min() == pd.Timestamp("2018-01-04")
    first = first_of(made.forecasts, "gjr")
    assert first == {"7203.T": ["2018-01-04", "2018-01-05"], "SPY": ["2018-01-03", "2018-01-04"]}
    # naive could have forecast Tokyo's 4th; what is scored are the rows that both have.
    assert first_of(made.forecasts, "naive")["7203.T"] == ["2017-12-29", "2018-01-04"]
    assert first_of(metrics.comparable(made.forecasts), "naive") == first
