import numpy as np
import pandas as pd
import pytest

from forecaster.data import adjustment, calendars, prices, quality

NOW = pd.Timestamp("2020-07-06", tz="UTC")


@pytest.fixture
def sound():
    days = calendars.sessions_between("AAA", "2019-07-01", "2020-07-02")
    close = 50 * np.exp(np.cumsum(0.01 * np.random.default_rng(0).standard_normal(len(days))))
    return prices.check(pd.DataFrame({"ticker": "AAA", "date": days, "close": close}))


def checked(frame):
    return quality.check(frame, NOW)


def test_a_sound_history_has_a_hundred_points(sound):
    row = checked(sound)
    assert row["score"] == 100
    for name in ("missing", "extra", "behind", "frozen", "leaps", "unapplied", "unexplained"):
        assert row[name] == 0
    assert (row["first"], row["last"]) == ("2019-07-01", "2020-07-02")
    assert not row["stale"]
    assert row["gap"] == 4  # a weekend and a holiday


def test_missing_sessions_are_counted(sound):
    row = checked(sound.drop(index=range(50, 60)))
    assert row["missing"] == 10
    assert row["score"] == pytest.approx(100 - 100 * 10 / len(sound), abs=0.06)


def test_days_that_were_no_session_are_counted(sound):
    saturday = sound.iloc[[0]].assign(date=pd.Timestamp("2019-07-06"))
    assert checked(pd.concat([sound, saturday]).sort_values("date"))["extra"] == 1


def test_a_stale_tail_costs_ten_points(sound):
    row = checked(sound[:-20])
    assert row["behind"] == 20
    assert row["stale"]
    assert row["score"] == 90


@pytest.mark.parametrize(("volatility", "leaps"), [(0.01, 1), (0.02, 1), (0.03, 0)])
def test_a_leap_is_measured_in_the_ticker_s_own_volatility(sound, volatility, leaps):
    """A return of 61%, as of a bad adjustment, is the one of a decade for a share but not for a coin."""
    moves = volatility * np.random.default_rng(1).standard_normal(len(sound))
    moves[100] = np.log(1.61)
    close = 50 * np.exp(np.cumsum(moves))
    row = checked(sound.assign(close=close, adj_close=close))
    assert row["leaps"] == leaps
    assert row["leap_returns"] == [pytest.approx(0.61)] * leaps


def test_a_price_is_frozen_only_while_nobody_trades(sound):
    still = sound.copy()
    still.loc[10:15, "close"] = 50.0
    traded = still.assign(volume=1000.0)
    assert checked(traded)["frozen"] == 0
    halted = traded.assign(volume=traded["volume"].where(~traded.index.isin(range(11, 16)), 0.0))
    assert checked(halted)["frozen"] == 6
    fund = still.assign(volume=0.0, close=still["close"].round(0))  # it has no volume to miss
    assert checked(fund)["frozen"] == 0
    assert quality.check(still.assign(volume=0.0), NOW, instrument="MUTUALFUND")["score"] == 100


def test_leaps_and_frozen_bars_are_counted(sound):
    still = sound.copy()
    still.loc[10:15, "close"] = 50.0
    assert checked(still)["frozen"] == 6
    leap = sound.copy()
    leap.loc[100:, "adj_close"] *= 3
    assert checked(leap)["leaps"] == 1
    assert checked(leap)["score"] == 95
    assert checked(leap)["leap_dates"] == [f"{sound['date'][100]:%Y-%m-%d}"]
    # A split of 3:1 that is not applied leaves a fall to a third; one applied twice leaves a leap.
    split = sound.assign(splits=np.where(sound.index == 100, 3.0, 0.0))
    twice = split.assign(adj_close=leap["adj_close"])
    split.loc[100:, "adj_close"] /= 3
    assert (checked(split)["leaps"], checked(split)["unapplied"]) == (0, 1)
    assert (checked(twice)["leaps"], checked(twice)["unapplied"]) == (1, 0)
    # A return that the dividend makes up for is none.
    paid = sound.assign(dividends=np.where(sound.index == 100, 0.5 * sound["close"][99], 0.0))
    paid.loc[100:, "close"] /= 2
    paid["adj_close"] = adjustment.adjusted(paid["close"].to_numpy(), paid["dividends"].to_numpy())
    assert (checked(paid)["leaps"], checked(paid)["unexplained"]) == (0, 0)


def test_an_adjustment_that_no_dividend_makes_costs_a_point(sound):
    sound = sound.assign(dividends=0.0)
    sound.loc[:99, "adj_close"] *= 0.99
    row = checked(sound)
    assert (row["unexplained"], row["score"]) == (1, 99)


@pytest.mark.parametrize(
    ("currency", "hundredths"), [("GBp", True), ("ZAc", True), ("GBP", False), (None, False)]
)
def test_prices_in_pence_are_named(sound, currency, hundredths):
    row = quality.check(sound, NOW, currency)
    assert (row["currency"], row["hundredths"]) == (currency, hundredths)


def test_sessions_of_a_calendar_are_those_between_both_included():
    # Independence Day of 2020 was kept on Friday the third.
    days = calendars.sessions_between("AAPL", "2020-07-01", "2020-07-06")
    assert [str(day.date()) for day in days] == ["2020-07-01", "2020-07-02", "2020-07-06"]
