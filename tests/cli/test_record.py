"""``forecast predict --record``: what it adds to the ledger, and what it says of it."""

import numpy as np
import pandas as pd
import pytest

from forecaster.data import calendars, prices
from forecaster.data.store import Store
from forecaster.live import ledger

DAYS = calendars.sessions_between("AAA", pd.Timestamp("2022-01-03"), pd.Timestamp("2023-05-31"))
EVENING = DAYS[-1].tz_localize("UTC") + pd.Timedelta(hours=21)


@pytest.fixture
def home(tmp_path, forecast, monkeypatch):
    """Prices of two shares, and a run that forecasts them."""
    monkeypatch.setattr(calendars, "now", lambda: EVENING)
    rng = np.random.default_rng(3)
    for ticker in ("AAA", "BBB"):
        close = 90 * np.exp(np.cumsum(rng.normal(0, 0.01, len(DAYS))))
        frame = pd.DataFrame({"ticker": ticker, "date": DAYS, "close": close})
        Store(tmp_path).write(prices.check(frame), source="test")
    words = ("--model", "naive", "--until", "2023-03-01", "--run", "plain", "--home", tmp_path)
    assert forecast("train", *words).code == 0
    return tmp_path


@pytest.fixture
def record(forecast, home):
    def run(*words):
        return forecast("predict", "--record", "--run", "plain", "--home", home, *words)

    return run


def test_forecasts_are_recorded_once(record, home):
    first = record("--horizon", "2", "--json")
    assert first.code == 0
    assert first.json["recorded"] == {"rows": 4, "late": 0, "over": 0}
    assert first.err == "4 of 4 forecasts are new in the ledger\n"
    again = record("AAA", "--horizon", "3", "--quiet", "--json")
    assert again.json["recorded"] == {"rows": 1, "late": 0, "over": 0}
    assert again.err == ""
    assert "0 of 2 forecasts are new in the ledger; 2 were there before" in record().err
    read = ledger.read(home)
    assert read["ticker"].tolist() == ["AAA", "AAA", "BBB", "BBB", "AAA"]
    assert read["step"].tolist() == [1, 2, 1, 2, 3]
    (row,) = [it for it in first.json["forecasts"] if (it["ticker"], it["step"]) == ("BBB", 2)]
    assert read.loc[3, "volatility"] == row["volatility"]
    assert (read["run"] == "plain").all()
    assert (read["made_at"] == EVENING).all()


def test_without_the_option_nothing_is_recorded(forecast, home):
    result = forecast("predict", "--run", "plain", "--home", home, "--json")
    assert result.json["recorded"] is None
    assert not (home / "ledger.db").exists()


def test_the_prices_and_the_run_are_those_of_the_forecast(record, home):
    from forecaster.runs import bundle

    record("AAA")
    stored = prices.digest(Store(home).read(["AAA"]))
    with ledger.writing(home) as file:
        (digest, document) = file.execute(
            "SELECT prices_sha256, document FROM forecasts f JOIN origins o ON f.origin = o.sha256"
        ).fetchone()
    run = bundle.load(home, "plain")
    assert digest == stored
    assert document == ledger.canonical(ledger.origin_of(run)._asdict())
    assert '"until":"2023-03-01"' in document
    assert bundle.weights_sha256(run) in document


def test_late_forecasts_and_those_of_sessions_that_are_over_are_counted(record, home, monkeypatch):
    later = DAYS[-1].tz_localize("UTC") + pd.Timedelta(days=2, hours=1)  # a session is over
    monkeypatch.setattr(calendars, "now", lambda: later)
    result = record("AAA", "--horizon", "3")
    assert result.code == 0
    assert (
        "2 of 3 forecasts are new in the ledger; 2 of them late, after the open; 1 are of sessions that "
        "are over, which it does not take"
    ) in result.err
    read = ledger.read(home)
    assert read["step"].tolist() == [2, 3]
    assert read["late"].all()


def test_a_forecast_from_a_price_of_the_afternoon_is_not_recorded(record, home, monkeypatch):
    """It would stand where that from the close belongs."""
    afternoon = EVENING - pd.Timedelta(hours=2)
    monkeypatch.setattr(calendars, "now", lambda: afternoon)
    result = record("--json")
    assert result.code == 1
    assert result.json["recorded"] == {"rows": 0, "late": 0, "over": 0}
    assert "AAA, BBB: the last stored session is not over" in result.err
    monkeypatch.setattr(calendars, "now", lambda: EVENING)
    assert record("--json").json["recorded"] == {"rows": 2, "late": 0, "over": 0}


def test_where_nothing_can_be_forecast_nothing_is_recorded(record, home):
    Store(home).write(Store(home).read(["AAA"]).tail(30).assign(ticker="NEW"), source="test")
    result = record("NEW", "--json")
    assert result.code == 1
    assert "NEW has 30 sessions" in result.err
    assert result.json["recorded"] == {"rows": 0, "late": 0, "over": 0}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--as-of", "2023-04-03"], "made before the day: drop it, or drop --as-of"),
        (["--calibrate"], "what the run itself says: drop it, or drop --calibrate"),
    ],
)
def test_what_is_no_forecast_of_the_run_before_the_day_is_refused(record, home, words, said):
    result = record(*words)
    assert (result.code, result.out) == (2, "")
    (line,) = result.err.splitlines()
    assert said in line
    assert not (home / "ledger.db").exists()


def test_forecasts_that_cannot_be_recorded_are_shown_all_the_same(record, home):
    (home / "ledger.db").write_text("this is no database " * 500)
    result = record("--json")
    assert result.code == 1
    assert len(result.json["forecasts"]) == 2
    assert result.json["recorded"] is None
    (line,) = result.err.splitlines()
    assert line.startswith("error: ")
    assert "ledger.db is damaged (file is not a database) and stays as it is" in line
