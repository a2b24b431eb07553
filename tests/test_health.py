import numpy as np
import pandas as pd
import pytest

from forecaster import calendars, health, prices

NOW = pd.Timestamp("2020-07-06", tz="UTC")


@pytest.fixture
def sound():
    days = calendars.sessions_between("AAA", "2019-07-01", "2020-07-02")
    close = 50 * np.exp(np.cumsum(0.01 * np.random.default_rng(0).standard_normal(len(days))))
    return prices.check(pd.DataFrame({"ticker": "AAA", "date": days, "close": close}))


def checked(frame):
    return health.check(frame, NOW).iloc[0]


def test_a_sound_history_has_a_hundred_points(sound):
    row = checked(sound)
    assert row["score"] == 100
    assert row[["missing", "extra", "behind", "frozen", "leaps"]].tolist() == [0] * 5
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
    assert row["score"] == 90


def test_leaps_and_frozen_bars_are_counted(sound):
    still = sound.copy()
    still.loc[10:15, "close"] = 50.0
    assert checked(still)["frozen"] == 6
    leap = sound.copy()
    leap.loc[100:, "adj_close"] *= 3
    assert checked(leap)["leaps"] == 1
    assert checked(leap)["score"] == 95


def test_sessions_of_a_calendar_are_those_between_both_included():
    # Independence Day of 2020 was kept on Friday the third.
    days = calendars.sessions_between("AAPL", "2020-07-01", "2020-07-06")
    assert [str(day.date()) for day in days] == ["2020-07-01", "2020-07-02", "2020-07-06"]
