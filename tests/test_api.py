"""From Python, everything a user does, on the sample."""

import subprocess
import sys
from datetime import date

import pandas as pd
import pytest

from forecaster import api
from forecaster.data import prices
from forecaster.distributions import forecasts
from forecaster.errors import (
    ForecastError,
    HistoryError,
    PricesError,
    SourceError,
    UnknownTickerError,
    UsageError,
)
from forecaster.runs import bundle


@pytest.fixture(scope="module")
def sample():
    return api.fetch(source="sample", start="2002-01-01", end="2006-12-29")


@pytest.fixture(scope="module")
def run(sample, tiny):
    return api.train(sample, until=date(2005, 12, 30), config=tiny)


@pytest.fixture(scope="module")
def result(sample, run):
    return api.backtest(sample, ["lstm", "ewma", "naive"], run=run, start="2006-06-01")


def test_fetch_returns_the_prices_frame(sample):
    assert list(sample) == list(prices.COLUMNS)
    assert list(sample["ticker"].unique()) == ["^GSPC", "^IXIC"]
    assert str(sample["date"].min().date()) == "2002-01-02"
    one = api.fetch(["^IXIC"], source="sample")
    assert len(one) == 5031


def test_train_predict_and_backtest_pass_frames_and_say_the_same(sample, run, result):
    assert (run.name, str(run.until)) == ("lstm-2005-12-30", "2005-12-30")
    rows = result.forecasts[result.forecasts["model"] == "lstm"]
    assert list(rows) == forecasts.FORECAST_COLUMNS
    assert set(result.forecasts["model"]) == {"lstm", "ewma", "naive"}
    assert "lstm" in result.verdict.text
    last = rows[rows["date"] == rows["date"].max()]
    said = api.predict(run, sample, as_of=last["cutoff"].iloc[0].date())
    assert list(said) == forecasts.FORECAST_COLUMNS
    assert list(said["ticker"]) == ["^GSPC", "^IXIC"]
    assert list(said["volatility"]) == list(last["volatility"])


def test_predict_gives_the_session_after_the_prices(sample, run):
    (row,) = forecasts.summary(api.predict(run, sample, tickers=["^IXIC"]))
    assert (row["cutoff"], row["date"]) == ("2006-12-29", "2007-01-03")


def test_steps_ahead_are_those_of_the_run_and_of_a_backtest(sample):
    run = api.train(sample, model="naive", until="2005-12-30", horizon=5)
    rows = forecasts.summary(api.predict(run, sample, tickers=["^IXIC"], steps=[5, 1]))
    assert [(it["step"], it["date"]) for it in rows] == [(1, "2007-01-03"), (5, "2007-01-09")]
    assert rows[1]["volatility"] > 1.5 * rows[0]["volatility"]
    tested = api.backtest(sample, ["naive", "ewma"], run=run, start="2006-06-01", steps=(1, 5))
    assert set(tested.forecasts["step"]) == {1, 5}
    assert list(tested.ahead) == [5]
    with pytest.raises(UsageError, match="up to 5 sessions ahead, got a step of 10"):
        api.predict(run, sample, steps=[10])


def test_explain_is_of_what_predict_says(sample, run):
    explained = api.explain(run, sample, "^GSPC", as_of="2006-02-28")
    said = api.predict(run, sample, tickers=["^GSPC"], as_of="2006-02-28")
    pd.testing.assert_frame_equal(explained.forecast, said)
    assert "forget gate" in explained.activity.gates


def test_frames_are_left_alone(sample, run):
    before = sample.copy()
    api.predict(run, sample.sample(frac=1, random_state=0), as_of="2006-03-31")
    api.predict(run, sample)
    pd.testing.assert_frame_equal(sample, before)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda p, r: api.fetch(), UsageError, "tickers"),
        (lambda p, r: api.fetch("AAPL"), UsageError, r"write \['AAPL'\]"),
        (lambda p, r: api.fetch(["^GSPX"], source="sample"), UnknownTickerError, "mean \\^GSPC?"),
        (lambda p, r: api.fetch(source="none.csv"), SourceError, "none.csv"),
        (lambda p, r: api.fetch(source="sample", start="2001"), UsageError, "2001"),
        (lambda p, r: api.train(None), UsageError, "prices frame"),
        (lambda p, r: api.train(p.drop(columns="ticker")), PricesError, "ticker"),
        (lambda p, r: api.train(p.assign(close=-1.0)), PricesError, "close"),
        (lambda p, r: api.train(p, model="lsmt"), UsageError, "did you mean lstm"),
        (lambda p, r: api.train(p, until="1990-01-01"), HistoryError, "2002-01-02"),
        (lambda p, r: api.train(p, name="../up"), UsageError, "up"),
        (lambda p, r: api.predict(r, p, tickers=["^GSCP"]), HistoryError, "did you mean \\^GSPC"),
        (lambda p, r: api.predict(r, p, tickers="^GSPC"), UsageError, "must be a list"),
        (lambda p, r: api.predict(r, p, as_of="2004-06-30"), HistoryError, "2005-12-30"),
        (lambda p, r: api.predict(r, p, as_of="June"), UsageError, "June"),
        (
            lambda p, r: api.predict(r, p, steps="1,5"),
            UsageError,
            r"such as \[1, 5, 21\], got '1,5'",
        ),
        (lambda p, r: api.predict(r, p, steps=5), UsageError, "got 5"),
        (lambda p, r: api.predict(r, p, steps=[]), UsageError, "got none"),
        (lambda p, r: api.predict(r, p, steps=[1, 22]), UsageError, "1 to 21"),
        (lambda p, r: api.backtest(p, ["naive"], steps=[0]), UsageError, "1 to 21"),
        (lambda p, r: api.train(p, model="naive", horizon=22), UsageError, "between 1 and 21"),
        (lambda p, r: api.train(p, model="naive", horizon="5"), UsageError, "a whole number"),
        (lambda p, r: api.backtest(p, ["naive", "naive"]), UsageError, "once"),
        (lambda p, r: api.backtest(p, "naive"), UsageError, "must be a list"),
        (lambda p, r: api.backtest(p, run=r, start="2004-01-01"), HistoryError, "2005-12-30"),
        (lambda p, r: api.backtest(p, ["naive"], refit="monthly"), UsageError, "monthly"),
        (lambda p, r: api.explain(r, p, "AAPL"), HistoryError, "AAPL"),
        (lambda p, r: api.explain(api.train(p, model="naive"), p, "^GSPC"), UsageError, "naive"),
    ],
)
def test_bad_arguments_are_named_in_one_line(sample, run, call, error, words):
    with pytest.raises(error, match=words) as caught:
        call(sample, run)
    assert isinstance(caught.value, ForecastError)
    assert "\n" not in str(caught.value)


def test_a_run_of_the_api_is_one_of_the_command_line(sample, run, tmp_path):
    bundle.save(run, tmp_path)
    again = api.predict(bundle.load(tmp_path), sample)
    pd.testing.assert_frame_equal(again, api.predict(run, sample))


def test_the_module_is_light():
    script = (
        "import sys, forecaster.api\n"
        "print([m for m in ('numpy', 'pandas', 'tensorflow', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
