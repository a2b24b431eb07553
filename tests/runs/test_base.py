"""The base run: a bundle of data in the package, its card, its market, and days it has seen."""

import dataclasses
import json
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bars import bars
from hatchling.builders.wheel import WheelBuilder
from histories import assert_same

import forecaster
from forecaster.backtesting.spec import BacktestSpec
from forecaster.backtesting.walk_forward import forecast_history
from forecaster.data import prices
from forecaster.errors import BundleError, HistoryError, UsageError
from forecaster.models.registry import NETWORKS
from forecaster.runs import base, bundle, choice, forecasting, training
from forecaster.runs.run import checked_name

ROOT = Path(forecaster.__file__).parents[1]
FILES = ["card.json", "run.json", "weights.safetensors"]


@pytest.fixture(scope="module")
def run():
    return base.load()


def frame_of(*tickers, first="2019-01-02", count=300):
    """Prices of some tickers, each another walk."""
    frames = [
        bars(ticker, count=count, first=first, seed=seed).assign(ticker=ticker)
        for seed, ticker in enumerate(tickers, 1)
    ]
    return prices.check(pd.concat(frames, ignore_index=True))


def test_the_bundle_is_data_and_small():
    files = sorted(path.name for path in bundle.BASE_FOLDER.iterdir())
    assert files == FILES
    assert sum(path.stat().st_size for path in bundle.BASE_FOLDER.iterdir()) <= 500_000
    for name in FILES[:2]:
        json.loads((bundle.BASE_FOLDER / name).read_text(encoding="utf-8"))


def test_a_wheel_has_the_bundle():
    included = WheelBuilder(str(ROOT)).recurse_included_files()
    there = {Path(it.distribution_path).as_posix() for it in included}
    assert {f"forecaster/models/recurrent/base/{name}" for name in FILES} <= there


def test_the_run_is_a_network_up_to_the_end_of_2018(run):
    assert run.name == "base"
    assert run.is_base
    assert run.model.name in NETWORKS
    assert run.model.horizon == 21
    assert run.until == date(2018, 12, 31)
    document = base.document()
    assert {name: document[name] for name in run.summary} == run.summary


def test_the_card_says_where_it_comes_from_and_what_it_is_worth(run):
    card = base.card()
    assert card.document["name"] == "base"
    assert card.document["until"] == "2018-12-31"
    for name in ("made", "first", "data", "settings", "good_at", "bad_at"):
        assert card.document[name]
    for it in card.document["data"]:
        assert set(it) >= {"name", "kind", "exchange", "tickers", "first", "until", "licence"}
    for score in card.scores:
        assert 0.5 < score.crps_over_gjr < 1.1
        assert 0 <= score.better_on <= score.tickers
        assert 0 < score.in_80 < score.in_95 < 100


def test_scores_speak_for_their_kind_and_exchange_else_for_their_kind():
    score = dataclasses.replace(base.card().scores[0], kind="share", exchange="XNYS", set="US")
    london = dataclasses.replace(score, exchange="XLON", set="UK")
    coins = dataclasses.replace(score, kind="coin", exchange="24/7", set="coins")
    card = base.Card({}, (score, london, coins))
    assert card.scores_of("AAPL") == (score,)
    assert card.scores_of("VOD.L") == (london,)
    assert card.scores_of("7203.T") == (score, london)
    assert card.scores_of("BTC-USD") == (coins,)
    assert card.scores_of("EURUSD=X") == ()


@pytest.mark.parametrize("name", ["base", "Base", "BASE"])
def test_no_other_run_is_called_so(name, world, tmp_path):
    with pytest.raises(UsageError, match="comes with the package"):
        checked_name(name)
    with pytest.raises(UsageError, match="another `run`"):
        training.train(world, model="naive", name=name, home=tmp_path)
    (tmp_path / "runs" / name).mkdir(parents=True)
    assert bundle.names(tmp_path) == []


def test_it_is_loaded_by_its_name_whatever_is_stored(tmp_path, run):
    assert bundle.load(tmp_path, "base").summary == run.summary
    with pytest.raises(BundleError, match=r"no run 'bas'; did you mean base\?"):
        bundle.load(tmp_path, "bas")


# ---- its market


def test_an_index_that_is_there_is_the_market(run):
    assert forecasting.universe_of(run, ["AAPL", "MSFT", "ORCL", "^GSPC"], ["AAPL"]) == []
    assert forecasting.universe_of(run, ["7203.T", "AAPL", "^GSPC"], ["7203.T"]) == ["7203.T"]


def test_the_tickers_of_the_exchange_and_kind_stand_in_for_an_index(run):
    peers = ["AAPL", "CAT", "GE", "IBM", "MSFT", "ORCL", "^DJI"]
    stored = sorted([*peers, "BTC-USD", "HSBA.L", "^VIX"])
    assert forecasting.universe_of(run, stored, ["AAPL"]) == peers
    assert forecasting.universe_of(run, stored, ["AAPL", "MSFT"]) == peers
    # Where the peers are few, those of other exchanges join them.
    assert forecasting.universe_of(run, stored, ["HSBA.L"]) == sorted([*peers, "HSBA.L"])
    assert forecasting.universe_of(run, stored, ["^VIX"]) == ["^VIX"]


def test_no_more_than_a_hundred_of_an_exchange_are_read(run):
    many = [f"T{i:03}" for i in range(150)]
    assert forecasting.universe_of(run, many, ["T149"]) == many[:100]
    both = forecasting.universe_of(run, [*many, "HSBA.L"], ["HSBA.L", "T000"])
    assert both == ["HSBA.L", *many[:100]]


def test_an_own_run_has_the_market_it_was_trained_in(trained):
    own = trained("naive")
    assert forecasting.universe_of(own, ["AAA", "CCC", "ZZZ"], ["ZZZ"]) == ["AAA", "CCC"]


@pytest.mark.parametrize("beside", [(), ("^GSPC",)])
def test_a_forecast_is_the_same_alone_and_among_others(run, beside):
    frame = frame_of("AAPL", "MSFT", "ORCL", "HSBA.L", *beside)
    among = forecasting.predict(run, frame, tickers=["AAPL", "HSBA.L", "MSFT"])
    for ticker in ("AAPL", "HSBA.L"):
        alone = forecasting.predict(run, frame, tickers=[ticker])
        assert_same(alone, among[among["ticker"] == ticker].reset_index(drop=True))


def test_one_ticker_alone_is_forecast(run):
    table = forecasting.predict(run, frame_of("AAPL"), tickers=["AAPL"], steps=(1, 5, 21))
    assert table["step"].tolist() == [1, 5, 21]
    assert np.isfinite(table["volatility"]).all()
    assert table["volatility"].is_monotonic_increasing


# ---- what it has seen, and what is to come


def test_days_before_2019_are_refused(run):
    frame = frame_of("AAPL", first="2017-01-03", count=600)
    forecasting.predict(run, frame, tickers=["AAPL"], as_of=date(2018, 12, 31))
    with pytest.raises(HistoryError, match="run base was trained on sessions up to 2018-12-31"):
        forecasting.predict(run, frame, tickers=["AAPL"], as_of=date(2018, 12, 28))


def test_a_future_written_anew_changes_no_forecast(run, rewritten):
    frame = frame_of("AAPL", "MSFT", "^GSPC", count=400)
    cutoff = frame["date"].unique()[250].date()
    changed = rewritten(frame, cutoff)
    asked = {"tickers": ["AAPL", "MSFT"], "as_of": cutoff, "steps": (1, 5)}
    columns = ["ticker", "cutoff", "date", "step", "mean", "volatility", "q0.01", "q0.5", "q0.99"]
    before, after = (forecasting.predict(run, it, **asked)[columns] for it in (frame, changed))
    assert_same(before, after)


# ---- which run forecasts


def stored(home, trained, created, **models):
    """Keep runs of some models, each made a day after the one before."""
    for name, model in models.items():
        made = dataclasses.replace(trained(model), name=name, created=f"{created}T00:00:00")
        bundle.save(made, home)
        created = str(np.datetime64(created) + 1)


@pytest.mark.parametrize(
    ("models", "default", "named", "expected", "reason"),
    [
        ({}, None, None, "base", "base"),
        ({"a": "gjr", "b": "naive"}, None, None, "base", "base"),
        ({"a": "lstm", "b": "gjr"}, None, None, "a", "latest"),
        ({"a": "lstm", "b": "gru"}, None, None, "b", "latest"),
        ({"a": "lstm", "b": "gru"}, "a", None, "a", "default"),
        ({"a": "lstm", "b": "naive"}, "b", None, "b", "default"),
        ({"a": "lstm"}, "base", None, "base", "default"),
        ({"a": "lstm", "b": "gru"}, "a", "b", "b", "named"),
        ({"a": "lstm"}, None, "base", "base", "named"),
    ],
)
def test_a_name_then_the_default_then_the_latest_network_then_the_base(
    tmp_path, trained, models, default, named, expected, reason
):
    stored(tmp_path, trained, "2030-01-01", **models)
    if default:
        choice.set_default(tmp_path, default)
    run, why = choice.choose(tmp_path, named)
    assert (run.name, why) == (expected, reason)


def test_only_networks_can_be_asked_for(tmp_path, trained):
    stored(tmp_path, trained, "2030-01-01", a="lstm", b="naive")
    choice.set_default(tmp_path, "b")
    assert choice.choose(tmp_path, models=NETWORKS).run.name == "a"


def test_a_default_that_is_gone_is_said_and_passed_over(tmp_path, trained, caplog):
    stored(tmp_path, trained, "2030-01-01", a="lstm", b="gru")
    choice.set_default(tmp_path, "a")
    bundle.remove(tmp_path, "a")
    assert choice.choose(tmp_path).run.name == "b"
    assert "the default run a is no longer there" in caplog.text
    choice.clear_default(tmp_path)
    assert choice.default(tmp_path) is None


def test_a_damaged_default_is_an_error_and_a_damaged_note_none(tmp_path, trained, caplog):
    stored(tmp_path, trained, "2030-01-01", a="lstm")
    choice.set_default(tmp_path, "a")
    (tmp_path / "runs" / "a" / "run.json").write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        choice.choose(tmp_path)
    (tmp_path / choice.FILE).write_text("[")
    assert choice.choose(tmp_path).run.name == "base"
    assert f"{choice.FILE} is damaged" in caplog.text


def test_no_default_is_kept_of_what_is_not_there(tmp_path):
    with pytest.raises(BundleError, match="no run 'x'"):
        choice.set_default(tmp_path, "x")
    assert not (tmp_path / choice.FILE).exists()


def test_the_verdict_on_the_base_run_is_the_homes(tmp_path, run):
    assert bundle.last_verdict(run, tmp_path) is None
    verdict = bundle.RunVerdict("fine", "2019-01-02", "2024-12-31", "It is fine.")
    bundle.record_verdict(run.summary, tmp_path, verdict)
    assert bundle.last_verdict(run, tmp_path) == verdict
    newer = dataclasses.replace(run, created="2031-01-01T00:00:00")
    assert bundle.last_verdict(newer, tmp_path) is None


def test_a_backtest_of_a_ticker_listed_later_begins_within_its_history(run):
    frame = frame_of(
        "AAA", first="2018-06-01", count=520
    )  # gjr needs 251 sessions, and 147 are before 2019
    spec = BacktestSpec(("lstm", "gjr"), ("AAA",), None, None, "never")
    days = forecast_history(frame, spec, trained=run).forecasts["date"]
    assert days.min() == frame["date"].iloc[260]
    assert days.max() == frame["date"].iloc[-1]


def test_a_backtest_begins_after_what_the_run_has_seen_where_that_is_stored(run):
    frame = frame_of("AAA", first="2017-06-01", count=500)
    spec = BacktestSpec(("lstm",), ("AAA",), None, None, "never")
    days = forecast_history(frame, spec, trained=run).forecasts["date"]
    assert days.min() == frame.loc[frame["date"] > "2018-12-31", "date"].min()
