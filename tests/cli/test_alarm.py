"""What is too good to be a forecast ends a command with 1, and recommends nothing."""

import pytest

from forecaster.data.store import Store

MODELS = ("--models", "naive,gjr", "--quiet")


@pytest.fixture
def home(world, tmp_path):
    Store(tmp_path / "home").write(world, source="test")
    return tmp_path / "home"


@pytest.fixture
def days(world):
    """The last 60 sessions of two tickers, and the close before each."""
    rows = world[world["ticker"] != "CCC"].copy()
    rows["before"] = rows.groupby("ticker")["close"].shift(1)
    return rows.groupby("ticker").tail(60).reset_index(drop=True)


def write(days, point, path):
    days[["ticker", "date"]].assign(point=point).to_csv(path, index=False)
    return path


def test_the_close_of_the_very_day_is_no_forecast(forecast, home, days, tmp_path):
    file, out = write(days, days["close"], tmp_path / "oracle.csv"), home / "scores" / "oracle"
    words = ["score", file, "--values", "prices", "--home", home, "--out", out]
    result = forecast(*words, *MODELS, "--json")
    assert result.code == 1
    (line,) = [it for it in result.err.splitlines() if it.startswith("error: ")]
    assert line == "error: oracle is too good to be a forecast: look for look-ahead"
    said = result.json
    assert said["uses"] == []
    assert "median is the return that came, on 100% of the rows" in said["alarm"]["signs"]
    assert "the close of the very day" in said["alarm"]["cause"]
    assert said["verdict"].startswith("Too good to be a forecast: look for look-ahead.")
    page = (out / "report.html").read_text()
    assert "Too good to be a forecast" in page
    assert "nothing here knows" not in page
    shown = forecast("backtests", "show", "scores/oracle", "--home", home)
    assert shown.code == 0  # to show it again is no failure
    assert "Too good to be a forecast" in shown.out


def test_yesterday_s_price_is_a_forecast(forecast, home, days, tmp_path):
    file = write(days, days["before"], tmp_path / "yesterday.csv")
    words = ["score", file, "--values", "prices", "--home", home, "--out", tmp_path / "out"]
    result = forecast(*words, *MODELS, "--json")
    assert result.code == 0
    assert result.json["alarm"] is None
    assert result.json["uses"] == []
