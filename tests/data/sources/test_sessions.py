"""The rows of a file become the sessions of the ticker's exchange, or are refused."""

import logging

import numpy as np
import pandas as pd
import pytest
from bars import assert_bars, bars

from forecaster.data import calendars


def stamped(ticker, zone, clock="00:00", count=120, first="2024-01-02"):
    """Bars whose dates are written as an instant in UTC: a time of the day at the exchange."""
    frame = bars(ticker, count, first)
    local = pd.DatetimeIndex(frame["date"] + pd.Timedelta(f"{clock}:00")).tz_localize(zone)
    return frame, frame.assign(date=local.tz_convert("UTC").strftime("%Y-%m-%d %H:%M:%S+00:00"))


@pytest.mark.parametrize(
    ("ticker", "zone"),
    [
        ("BHP.AX", "Australia/Sydney"),
        ("7203.T", "Asia/Tokyo"),
        ("RELIANCE.NS", "Asia/Kolkata"),
        ("^GDAXI", "Europe/Berlin"),
        ("VOD.L", "Europe/London"),  # a day early in summer alone
        ("AAPL", "America/New_York"),
        ("dax prices", "Europe/Berlin"),  # of an exchange that is not known
    ],
)
def test_midnights_in_utc_are_dates_of_the_exchange(read, caplog, ticker, zone):
    frame, utc = stamped("^GDAXI" if ticker == "dax prices" else ticker, zone)
    with caplog.at_level(logging.WARNING):
        result = read(utc.to_csv(index=False), f"{ticker}.csv")[ticker]
    assert_bars(result, frame)
    early = (pd.to_datetime(utc["date"].str[:10]) != frame["date"]).any()
    assert ("read as those of its exchange" in caplog.text) == early


def test_an_instant_that_lost_its_zone_is_still_utc(read):
    frame, utc = stamped("BHP.AX", "Australia/Sydney")
    lost = utc.assign(date=utc["date"].str[:19])
    assert_bars(read(lost.to_csv(index=False), "BHP.AX.csv")["BHP.AX"], frame)


@pytest.mark.parametrize("days", [-1, 1])
@pytest.mark.parametrize("ticker", ["BHP.AX", "^GDAXI", "EURUSD=X", "CL=F"])
def test_dates_without_a_time_that_are_a_day_off_are_shifted_back(read, caplog, ticker, days):
    frame = bars(ticker, 120)
    moved = frame.assign(date=frame["date"] + pd.Timedelta(days=days))
    assert_bars(read(moved.to_csv(index=False), f"{ticker}.csv")[ticker], frame)
    assert "read as those of its exchange" in caplog.text


def test_openings_in_the_evening_are_of_the_next_session(read):
    frame = bars("EURUSD=X", 120)
    evening = frame.assign(
        date=(frame["date"] - pd.Timedelta(hours=7)).dt.strftime("%Y-%m-%d %H:%M")
    )
    assert_bars(read(evening.to_csv(index=False), "EURUSD=X.csv")["EURUSD=X"], frame)
    assert_bars(read(evening.to_csv(index=False), "fx rates.csv")["fx rates"], frame)


def test_a_ticker_of_new_york_is_known_by_the_holidays_that_its_dates_keep(read):
    frame = bars("AAPL", 120)
    early = frame.assign(date=frame["date"] - pd.Timedelta(days=1))
    assert_bars(read(early.to_csv(index=False))["AAPL"], frame)


def test_sundays_without_fridays_are_asked_for_where_the_exchange_is_not_known(refusal):
    frame = bars("^GDAXI", 120)
    early = frame.assign(date=frame["date"] - pd.Timedelta(days=1))
    line = refusal(early.to_csv(index=False), "prices.csv")
    assert "on Sundays and never on Fridays" in line
    assert "name the ticker with the suffix of its exchange" in line


@pytest.mark.parametrize("ticker", ["2222.SR", "COMI.CA", "BTC-USD", "coins"])
def test_days_on_which_others_rest_are_left_alone(read, caplog, ticker):
    frame = bars({"coins": "BTC-USD", "COMI.CA": "2222.SR"}.get(ticker, ticker), 60)
    assert_bars(read(frame.to_csv(index=False), f"{ticker}.csv")[ticker], frame)
    assert not caplog.text


def test_dates_that_no_shift_makes_sessions_are_refused(refusal):
    everyday = bars("BTC-USD", 60).loc[lambda it: it["date"].dt.day_of_week.isin([0, 1, 5])]
    assert "of its dates are sessions of its exchange" in refusal(
        everyday.to_csv(index=False), "BHP.AX.csv"
    )


def test_a_time_at_the_exchange_keeps_its_date(read):
    frame = bars("AAPL", 60)
    local = frame.assign(date=frame["date"].dt.strftime("%m/%d/%Y 16:00:00"))
    assert_bars(read(local.to_csv(index=False))["AAPL"], frame)


SPACINGS = {"weekly": "W-FRI", "monthly": "BME", "quarterly": "BQE", "yearly": "BYE"}


@pytest.mark.parametrize(("words", "step"), SPACINGS.items())
def test_bars_longer_than_a_day_are_refused(refusal, words, step):
    days = pd.date_range("1990-01-01", periods=30, freq=step)
    frame = bars("AAPL", 30).assign(date=days)
    line = refusal(frame.to_csv(index=False))
    assert f"AAPL: its rows are {words}" in line
    assert "give daily prices" in line


def test_a_history_that_begins_with_months_is_refused(refusal):
    monthly = bars("AAPL", 30).assign(date=pd.date_range("2021-07-01", periods=30, freq="BME"))
    both = pd.concat([monthly, bars("AAPL", 60)])
    line = refusal(both.to_csv(index=False))
    assert "its rows from 2021-07-30 to 2023-12-29 are a week apart or more" in line


def test_one_ticker_of_weeks_does_not_hide_the_daily_one(tmp_path):
    from forecaster.data.sources import loading
    from forecaster.errors import PricesError

    weeks = bars("AAPL", 30).assign(
        date=pd.date_range("2023-01-06", periods=30, freq="W-FRI"), ticker="WWW"
    )
    pd.concat([weeks, bars("AAPL").assign(ticker="DDD")]).to_csv(tmp_path / "x.csv", index=False)
    outcomes = dict(loading.load(str(tmp_path / "x.csv")))
    assert isinstance(outcomes["WWW"], PricesError)
    assert_bars(outcomes["DDD"], bars("AAPL"))


def within(ticker, step, count=30, first="2024-02-26", extended=False):
    """Bars within the day over the hours of a ticker's exchange, and the daily ones that they make."""
    from exchange_calendars import get_calendar

    zone, rng = ZONES[ticker], np.random.default_rng(7)
    calendar = get_calendar(calendars.exchange(ticker), start="2024-01-02", end="2024-06-28")
    hours = calendar.schedule.loc[first:][["open", "close"]][:count]
    parts = []
    for day, (opening, close) in hours.iterrows():
        stamps = pd.date_range(opening, close, freq=step, inclusive="left")
        if extended:
            stamps = pd.date_range(
                opening - pd.Timedelta("4h"), close + pd.Timedelta("3h"), freq=step
            )
        inside = (stamps >= opening) & (stamps < close)
        parts.append(pd.DataFrame({"stamp": stamps, "day": day, "inside": inside}))
    frame = pd.concat(parts, ignore_index=True)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.001, len(frame)))).round(6)
    frame = frame.assign(open=np.append(100, close[:-1]), close=close, volume=10)
    frame = frame.assign(
        high=frame[["open", "close"]].max(axis=1) + 0.01,
        low=frame[["open", "close"]].min(axis=1) - 0.01,
    )
    daily = (
        frame[frame["inside"]]
        .groupby("day")
        .agg({"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"})
    )
    daily = daily.rename_axis("date").reset_index()
    return frame.assign(local=frame["stamp"].dt.tz_convert(zone)), daily


ZONES = {"AAPL": "America/New_York", "BHP.AX": "Australia/Sydney", "VOD.L": "Europe/London",
         "BTC-USD": "UTC", "EURUSD=X": "UTC", "ES=F": "America/Chicago"}  # fmt: skip
COLUMNS = ["date", "open", "high", "low", "close", "volume"]
UTC, LOCAL, NAIVE = "%Y-%m-%d %H:%M:%S+00:00", "%Y-%m-%d %H:%M:%S%z", "%Y-%m-%d %H:%M"


@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
@pytest.mark.parametrize("ticker", ZONES)
@pytest.mark.parametrize("form", [UTC, LOCAL, NAIVE])
@pytest.mark.parametrize("step", ["1h", "15min"])
def test_bars_within_the_day_become_those_of_the_exchanges_sessions(
    read, caplog, ticker, form, step
):
    frame, daily = within(ticker, step)
    stamps = frame["stamp"] if form == UTC else frame["local"]
    text = frame.assign(date=stamps.dt.strftime(form))[COLUMNS].to_csv(index=False)
    assert_bars(read(text, f"{ticker}.csv")[ticker], daily)
    assert "bars within the day are read as 30 sessions" in caplog.text


@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
def test_what_is_traded_before_the_open_and_after_the_close_is_left_out(read):
    frame, daily = within("AAPL", "30min", extended=True)
    text = frame.assign(date=frame["local"].dt.strftime(NAIVE))[COLUMNS].to_csv(index=False)
    assert_bars(read(text)["AAPL"], daily)


@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
def test_a_session_that_is_cut_is_left_out(read):
    frame, daily = within("AAPL", "5min")
    cut = frame.assign(date=frame["local"].dt.strftime(NAIVE))[COLUMNS][20:-40]
    assert_bars(read(cut.to_csv(index=False))["AAPL"], daily[1:-1])


@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
def test_a_date_and_a_time_of_their_own(read):
    frame, daily = within("VOD.L", "1h")
    for clock in ("%H:%M", "%H%M%S"):
        apart = frame.assign(
            **{
                "<DATE>": frame["local"].dt.strftime("%Y%m%d"),
                "<TIME>": frame["local"].dt.strftime(clock),
            }
        )
        text = apart[["<DATE>", "<TIME>", *COLUMNS[1:]]].to_csv(index=False)
        assert_bars(read(text, "VOD.L.csv")["VOD.L"], daily)


@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
def test_times_that_go_over_midnight_at_an_unknown_exchange_are_refused(refusal):
    frame, _ = within("BHP.AX", "1h")
    text = frame.assign(date=frame["stamp"].dt.strftime(NAIVE))[COLUMNS].to_csv(index=False)
    assert "the times of its bars go over midnight" in refusal(text, "prices.csv")


@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
def test_a_bar_within_the_day_that_cannot_be_read_is_named(refusal):
    frame, _ = within("AAPL", "1h")
    text = frame.assign(date=frame["local"].dt.strftime(NAIVE))[COLUMNS].to_csv(index=False)
    first = text.splitlines()[1].split(",")[0]
    assert "AAPL row 1: the date is 'noon'" in refusal(text.replace(first, "noon", 1))
