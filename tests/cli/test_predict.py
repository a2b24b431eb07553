"""What ``predict`` says of the prices beside the forecast: their currency, their age, and a peg."""

import numpy as np
import pandas as pd
import pytest

from forecaster.data import calendars, companions, prices
from forecaster.data.store import Store

LAST = "2018-12-28"  # a Friday
LATE = pd.Timestamp("2019-01-03 22:00", tz="UTC")  # New York closed on New Year's Day


@pytest.fixture
def home(tmp_path, forecast, monkeypatch):
    """Shares in dollars, in pence, and of an unknown currency; a coin pegged to the dollar."""
    days = calendars.sessions_between("AAA", pd.Timestamp("2016-12-01"), pd.Timestamp(LAST))
    rng, store = np.random.default_rng(3), Store(tmp_path)
    for ticker, currency in (("AAA", "USD"), ("BBB.L", "GBp"), ("CCC", None)):
        close = 90 * np.exp(np.cumsum(rng.normal(0, 0.01, len(days))))
        frame = pd.DataFrame({"ticker": ticker, "date": days, "close": close})
        notes = {"currency": currency} if currency else {}
        store.write(prices.check(frame), source="test", notes=notes)
    coin = pd.DataFrame({"date": pd.date_range("2017-01-01", LAST)})
    coin = coin.assign(ticker="USDX-USD", close=1 + rng.normal(0, 0.0004, len(coin)))
    store.write(prices.check(coin), source="test", notes={"currency": "USD"})
    monkeypatch.setattr(calendars, "now", lambda: LATE)
    words = ("--model", "naive", "--until", "2018-06-29", "--run", "plain", "--home", tmp_path)
    assert forecast("train", *words).code == 0
    assert forecast("runs", "default", "plain", "--home", tmp_path).code == 0
    return tmp_path


def test_the_currency_of_the_prices_is_shown_and_pence_are_called_pence(forecast, home):
    words = ["predict", "AAA", "BBB.L", "CCC", "--home", home]
    rows = forecast(*words, "--json").json["forecasts"]
    assert [row["currency"] for row in rows] == ["USD", "GBp", None]
    head, _, *lines = forecast(*words, "--quiet").out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["AAA", "BBB.L", "CCC"]
    assert head.split()[:4] == ["ticker", "last", "close", "in"]
    for line, unit in zip(lines, ("USD", "GBp (pence)", "–"), strict=False):
        assert line.split(maxsplit=2)[2].startswith(unit)
    assert " in " not in forecast("predict", "CCC", "--home", home).out.splitlines()[0]


def test_how_far_the_prices_are_behind_is_counted_in_sessions_of_the_exchange(forecast, home):
    words = ["predict", "AAA", "USDX-USD", "--home", home]
    rows = forecast(*words, "--json").json["forecasts"]
    # New York: 31 December, 2 and 3 January; a coin, whose days end at midnight in Greenwich, also
    # on the 29th, the 30th and the 1st, and not yet on the 3rd.
    assert [row["sessions_behind"] for row in rows] == [3, 5]
    assert [row["last_finished"] for row in rows] == ["2019-01-03", "2019-01-02"]
    table = forecast(*words)
    assert "behind" in table.out.splitlines()[0]
    assert "AAA: the last stored session is 2018-12-28, 3 sessions behind" in table.err


def test_prices_that_are_not_behind_need_no_column(forecast, home, monkeypatch):
    monkeypatch.setattr(calendars, "now", lambda: pd.Timestamp("2018-12-31 20:59", tz="UTC"))
    result = forecast("predict", "AAA", "--home", home, "--max-age", 0)
    assert result.code == 0
    assert "behind" not in result.out + result.err
    (row,) = forecast("predict", "AAA", "--home", home, "--json").json["forecasts"]
    assert row["sessions_behind"] == 0


def test_prices_older_than_allowed_are_an_error_in_one_line(forecast, home, tmp_path):
    words = ["predict", "AAA", "USDX-USD", "--home", home, "--out", tmp_path / "next.csv"]
    result = forecast(*words, "--json", "--max-age", 3)
    assert result.code == 1
    assert [row["ticker"] for row in result.json["forecasts"]] == ["AAA"]
    assert pd.read_csv(tmp_path / "next.csv")["ticker"].tolist() == ["AAA"]
    (line,) = [it for it in result.err.splitlines() if it.startswith("error: ")]
    assert line == (
        "error: USDX-USD: the stored prices are 5 sessions behind, and --max-age allows 3; "
        "`forecast fetch USDX-USD` brings it up to date"
    )
    both = forecast(*words, "--max-age", 2)
    assert (both.code, both.out) == (1, "")
    assert "error: AAA, USDX-USD: the stored prices are 3 to 5 sessions behind" in both.err
    assert forecast(*words, "--max-age", 5).code == 0
    refused = forecast(*words, "--max-age", 5, "--as-of", "2018-12-03")
    assert (refused.code, refused.out) == (2, "")


def test_a_pegged_price_is_warned_of_wherever_it_is_shown(forecast, home):
    predicted = forecast("predict", "USDX-USD", "AAA", "--home", home)
    (line,) = [it for it in predicted.err.splitlines() if "pegged" in it]
    assert line.startswith("warning: USDX-USD: the price has kept within 0.1% for 250 sessions")
    assert line.endswith("its intervals do not hold the risk that the peg breaks")
    rows = forecast("data", "check", "--home", home, "--json").json["tickers"]
    assert {row["ticker"] for row in rows if row["motion"]} == {"USDX-USD"}
    checked = forecast("data", "check", "--home", home).out
    assert "USDX-USD: the price has kept within 0.1%" in checked


def test_implied_volatility_is_shown_beside_the_forecast_where_an_index_of_it_is_stored(
    forecast, home
):
    words = ["predict", "AAA", "BBB.L", "CCC", "--home", home]
    rows = forecast(*words, "--json").json["forecasts"]
    assert {row["implied_volatility"] for row in rows} == {None}
    assert "implies" not in forecast(*words).out
    days = calendars.sessions_between("^VIX", pd.Timestamp("2018-10-01"), pd.Timestamp(LAST))
    index = pd.DataFrame(
        {"ticker": "^VIX", "date": days, "close": np.linspace(12, 28.3, len(days))}
    )
    companions.store(home).write(prices.check(index), source="test")
    rows = forecast(*words, "--json", "--annualised").json["forecasts"]
    assert [row["implied_by"] for row in rows] == ["^VIX", None, "^VIX"]
    assert rows[0]["implied_volatility"] == pytest.approx(0.283)
    a_year = [f"{row['ticker']} {row['annualised_volatility']:.1%}" for row in rows]
    line = f"Volatility a year: ^VIX implies 28.3%; forecast: {a_year[0]}, {a_year[2]}."
    assert line in forecast(*words).out.splitlines()
    assert line in forecast(*words, "--steps", 1, "--annualised").out.splitlines()
    # As of a day on which the index was lower, and before it was stored.
    (row,) = forecast("predict", "AAA", "--home", home, "--json", "--as-of", days[0].date()).json[
        "forecasts"
    ]
    assert row["implied_volatility"] == pytest.approx(0.12)
    (row,) = forecast("predict", "AAA", "--home", home, "--json", "--as-of", "2018-09-28").json[
        "forecasts"
    ]
    assert row["implied_volatility"] is None


# ---- several sessions ahead


def test_the_next_session_alone_is_said_without_a_word_of_steps(forecast, home):
    words = ["predict", "AAA", "--home", home]
    (plain,) = forecast(*words, "--json").json["forecasts"]
    (asked,) = forecast(*words, "--json", "--steps", "1").json["forecasts"]
    more = {"step", "volatility_per_day", "annualised_volatility", "sessions_a_year"}
    assert set(asked) - set(plain) == more
    assert {name: it for name, it in asked.items() if name not in more} == plain
    assert forecast(*words, "--horizon", 1).out == forecast(*words).out


def test_each_step_has_its_date_and_its_spread(forecast, home, tmp_path):
    file = tmp_path / "ahead.csv"
    words = ["predict", "AAA", "USDX-USD", "--home", home, "--out", file]
    rows = forecast(*words, "--horizon", 4, "--json").json["forecasts"]
    assert [(row["ticker"], row["step"], row["date"]) for row in rows] == [
        ("AAA", 1, "2018-12-31"),
        ("AAA", 2, "2019-01-02"),  # New York closed on New Year's Day
        ("AAA", 3, "2019-01-03"),
        ("AAA", 4, "2019-01-04"),
        ("USDX-USD", 1, "2018-12-29"),  # a coin never rests
        ("USDX-USD", 2, "2018-12-30"),
        ("USDX-USD", 3, "2018-12-31"),
        ("USDX-USD", 4, "2019-01-01"),
    ]
    for row, year in zip(rows, [252] * 4 + [365] * 4, strict=True):
        assert row["sessions_a_year"] == year
        a_day = row["volatility"] / row["step"] ** 0.5
        assert row["volatility_per_day"] == pytest.approx(a_day)
        assert row["annualised_volatility"] == pytest.approx(a_day * year**0.5)
    spreads = [row["volatility"] for row in rows[:4]]
    assert spreads == sorted(spreads)
    table = pd.read_csv(file)
    assert table[["ticker", "step", "date"]].to_numpy().tolist() == [
        [row["ticker"], row["step"], row["date"]] for row in rows
    ]
    assert table["price_q0.9"].tolist() == pytest.approx(
        [row["intervals"]["80"][1] for row in rows]
    )
    assert table["sessions_behind"].tolist() == [row["sessions_behind"] for row in rows]


def test_some_steps_are_those_of_all(forecast, home):
    words = ["predict", "AAA", "--home", home, "--json"]
    every = forecast(*words, "--horizon", 21).json["forecasts"]
    some = forecast(*words, "--steps", "21, 1,5").json["forecasts"]
    assert some == [every[0], every[4], every[20]]


def test_a_fan_opens_downwards_to_one_scale_of_prices(forecast, home):
    words = ["predict", "AAA", "BBB.L", "--home", home, "--quiet"]
    rows = forecast(*words, "--steps", "1,5,21", "--json").json["forecasts"][:3]
    out = forecast(*words, "--steps", "1,5,21").out
    title, head, _, *lines = out.splitlines()[:6]
    assert title.startswith("AAA: last close ")
    assert "USD of 2018-12-28, 3 sessions behind" in title
    assert head.split()[:4] == ["step", "date", "median", "80%"]
    ends = [f"{it:,.2f}" for it in rows[2]["intervals"]["95"]]
    assert head.split()[-2:] == ends
    drawn = [line[head.index(ends[0]) :] for line in lines]
    assert all(set(it) == set(" ─━┃") for it in drawn[:2])
    begins = [len(it) - len(it.lstrip()) for it in drawn]
    assert begins == sorted(begins, reverse=True)
    assert begins[2] == 0
    assert [len(it) for it in drawn] == sorted(len(it) for it in drawn)
    heavy = [it.count("━") for it in drawn]
    assert heavy == sorted(heavy)
    assert "BBB.L: last close" in out
    assert "GBp (pence)" in out
    assert "The fan: ─ 95%, ━ 80%, ┃ median." in out


def test_annualised_volatilities_name_the_sessions_of_a_year(forecast, home):
    words = ["predict", "AAA", "USDX-USD", "--home", home, "--quiet", "--annualised"]
    ahead = forecast(*words, "--horizon", 2).out
    assert " a year " in ahead
    assert " a day " not in ahead
    both = "A year is 252 sessions of AAA, 365 sessions of USDX-USD."
    assert both in ahead
    plain = forecast(*words)
    assert "%/year" in plain.out
    assert both in plain.out
    one = forecast("predict", "AAA", "--home", home, "--annualised").out
    assert "A year is 252 sessions." in one


def test_steps_beyond_the_announced_holidays_are_guesses(forecast, home, tmp_path, monkeypatch):
    known = calendars.next_sessions

    def until_the_second(ticker, date, count, history=None):
        return [
            calendars.NextSession(it.date, it.certain and it.date < pd.Timestamp("2019-01-03"))
            for it in known(ticker, date, count, history)
        ]

    monkeypatch.setattr(calendars, "next_sessions", until_the_second)
    file = tmp_path / "ahead.parquet"
    result = forecast("predict", "AAA", "--home", home, "--horizon", 4, "--out", file)
    assert pd.read_parquet(file)["date_is_guess"].tolist() == [False, False, True, True]
    (line,) = [it for it in result.err.splitlines() if "guess" in it]
    assert line.startswith(
        "warning: AAA from 2019-01-03 on: the dates are guesses, as the holidays"
    )
    assert "2019-01-03?" in result.out
    assert "2019-01-02?" not in result.out


def test_prices_too_old_are_named_once_whatever_the_steps(forecast, home):
    words = ["predict", "AAA", "USDX-USD", "--home", home, "--horizon", 3, "--max-age", 3]
    result = forecast(*words, "--json")
    assert result.code == 1
    assert [row["ticker"] for row in result.json["forecasts"]] == ["AAA"] * 3
    assert result.err.count("USDX-USD: the stored prices are 5 sessions behind") == 1
    assert result.err.count("AAA: the last stored session is") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--horizon", "0"], "expected steps of 1 to 21 sessions ahead, got 0"),
        (["--horizon", "22"], "expected steps of 1 to 21 sessions ahead, got 22"),
        (["--horizon", "abc"], "--horizon"),
        (["--steps", ""], "such as 1,5,21; got ''"),
        (["--steps", "1,,5"], "such as 1,5,21; got '1,,5'"),
        (["--steps", "-1"], "such as 1,5,21; got '-1'"),
        (["--steps", "1.5"], "such as 1,5,21; got '1.5'"),
        (["--steps", "0"], "got 0"),
        (["--steps", "1,30"], "got 1,30"),
        (["--steps", "1,5", "--horizon", "5"], "drop it, or drop --steps"),
    ],
)
@pytest.mark.parametrize("command", [["predict"], ["plot", "predict"]])
def test_steps_that_are_none_are_one_line(
    forecast, home, tmp_path, monkeypatch, command, words, said
):
    monkeypatch.chdir(tmp_path)
    result = forecast(*command, *words, "--home", home)
    assert (result.code, result.out) == (2, "")
    (line,) = result.err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert not list(tmp_path.glob("*.png"))


def test_a_step_given_twice_is_one(forecast, home):
    words = ["predict", "AAA", "--home", home, "--json", "--steps"]
    assert forecast(*words, "5,5").json == forecast(*words, "5").json


def test_a_run_of_the_next_session_is_asked_for_no_more(forecast, home, tmp_path):
    trained = ["train", "--model", "naive", "--until", "2018-06-29", "--home", home]
    assert forecast(*trained, "--horizon", 1, "--run", "short").code == 0
    (tmp_path / "h.toml").write_text("horizon = 5\n")
    assert forecast(*trained, "--config", tmp_path / "h.toml", "--run", "week").code == 0
    words = ["predict", "AAA", "--home", home, "--quiet", "--json"]
    assert len(forecast(*words, "--run", "short").json["forecasts"]) == 1
    assert len(forecast(*words, "--run", "week", "--horizon", 5).json["forecasts"]) == 5
    for run, reach in (("short", "the next session alone"), ("week", "up to 5 sessions ahead")):
        for command in (words, ["plot", "predict", "AAA", "--home", home]):
            result = forecast(*command, "--run", run, "--horizon", 6)
            assert (result.code, result.out) == (2, "")
            assert result.err.splitlines() == [
                f"error: run {run} forecasts {reach}, got a step of 6; "
                "train a run with a longer --horizon"
            ]
    for horizon in (0, 22):
        refused = forecast(*trained, "--horizon", horizon)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err == f"error: horizon must lie between 1 and 21, got {horizon}\n"


def test_too_short_a_history_has_no_steps(forecast, home):
    words = ["predict", "AAA", "BBB.L", "--home", home, "--horizon", 5, "--as-of", "2017-01-31"]
    result = forecast(*words)
    assert (result.code, result.out) == (1, "")
    assert "a forecast needs 60" in result.err


def test_a_fan_is_drawn_of_several_steps(forecast, home, tmp_path):
    for words in (["--horizon", 21], ["--steps", "5,21"]):
        file = tmp_path / "fan.svg"
        result = forecast("plot", "predict", "AAA", "--home", home, "--out", file, *words)
        assert (result.code, result.out) == (0, f"{file}\n")
        assert "<svg" in file.read_text()
    refused = forecast("plot", "gates", "--home", home, "--horizon", 5)
    assert (refused.code, refused.out) == (2, "")
    assert "gates looks no sessions ahead: drop --horizon" in refused.err
