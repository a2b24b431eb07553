"""Sessions of exchanges: what the package knows, what it lacks, and what is guessed."""

import csv
import hashlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster.data import calendars, trading_days
from forecaster.errors import HistoryError

DAY = pd.Timestamp
RECORD = Path(__file__).with_name("calendars_pandas_2.csv").read_text(encoding="utf-8")
SPECIAL = Path(trading_days.__file__).with_name("special_days.csv").read_text(encoding="utf-8")


def session_after(ticker, date, history=None):
    return calendars.next_session(ticker, DAY(date), history)


def history(end, weekmask="Mon Tue Wed Thu Fri", rows=200):
    return pd.bdate_range(end=end, periods=rows, freq="C", weekmask=weekmask)


# ---- known exchanges


# From the exchanges' own published holidays.
@pytest.mark.parametrize(
    ("ticker", "date", "following"),
    [
        ("AAPL", "2018-12-31", "2019-01-02"),
        ("AAPL", "2019-01-18", "2019-01-22"),  # Martin Luther King's day: Friday to Tuesday
        ("AAPL", "2018-12-04", "2018-12-06"),  # mourning of G. H. W. Bush
        ("AAPL", "2001-09-10", "2001-09-17"),
        ("AAPL", "2026-11-25", "2026-11-27"),
        ("VOD.L", "2018-08-24", "2018-08-28"),
        ("SAP.DE", "2018-04-30", "2018-05-02"),
        ("RELIANCE.NS", "2018-08-14", "2018-08-16"),
        ("7203.T", "2018-12-28", "2019-01-04"),
        ("PETR4.SA", "2018-02-09", "2018-02-14"),
        ("BTC-USD", "2018-12-31", "2019-01-01"),
        ("EURUSD=X", "2019-01-18", "2019-01-21"),
        ("CL=F", "2018-12-24", "2018-12-26"),
    ],
)
def test_the_session_after_a_holiday(ticker, date, following):
    session = session_after(ticker, date)
    assert session == calendars.NextSession(DAY(following), certain=True)
    assert session.date.tz is None


def test_seoul_keeps_the_lunar_new_year():
    assert session_after("005930.KS", "2018-02-14").date == DAY("2018-02-19")


@pytest.mark.parametrize("ticker", ["AAPL", "7203.T", "RELIANCE.NS", "OPAP.AT", "600519.SS"])
@pytest.mark.parametrize("date", ["1950-06-02", "1985-06-07", "2027-06-04", "2040-06-08"])
def test_fridays_in_june_are_followed_by_mondays_in_every_year(ticker, date):
    friday = DAY(date)
    assert session_after(ticker, friday).date == friday + pd.Timedelta(days=3)


def test_tel_aviv_moved_its_week_from_sunday_to_friday():
    assert session_after("TEVA.TA", "2018-06-07").date == DAY("2018-06-10")
    assert session_after("TEVA.TA", "2026-11-19").date == DAY("2026-11-20")


def test_no_calendar_goes_on_for_ever():
    with pytest.raises(HistoryError, match="2077-01-01"):
        session_after("AAPL", "2077-01-01")


def test_a_session_is_finished_at_its_close_and_not_a_second_before():
    close = DAY("2018-12-28 16:00", tz="America/New_York")
    assert calendars.last_finished("AAPL", close) == DAY("2018-12-28")
    assert calendars.last_finished("AAPL", close - pd.Timedelta(seconds=1)) == DAY("2018-12-27")
    early = DAY("2018-12-24 13:00", tz="America/New_York")  # half a day before Christmas
    assert calendars.last_finished("AAPL", early) == DAY("2018-12-24")


def test_the_same_instant_is_another_session_elsewhere():
    now = DAY("2018-06-06 07:00", tz="UTC")
    assert calendars.last_finished("7203.T", now) == DAY("2018-06-06")
    assert calendars.last_finished("AAPL", now) == DAY("2018-06-05")
    assert calendars.last_finished("BTC-USD", now) == DAY("2018-06-05")


def test_sessions_after_counts_the_end_and_not_the_start():
    count = calendars.sessions_after
    assert count("AAPL", DAY("2018-12-31"), DAY("2018-12-31")) == 0
    assert count("AAPL", DAY("2018-12-31"), DAY("2019-01-02")) == 1
    assert count("AAPL", DAY("2017-12-31"), DAY("2018-12-31")) == 251
    assert count("BTC-USD", DAY("2017-12-31"), DAY("2018-12-31")) == 365
    assert count("AAPL", DAY("2018-12-31"), DAY("2018-01-01")) == 0


def test_walking_from_session_to_session_agrees_with_the_count():
    date, steps = DAY("2018-01-01"), 0
    while (date := session_after("VOD.L", date).date) <= DAY("2018-12-31"):
        steps += 1
    assert steps == calendars.sessions_after("VOD.L", DAY("2018-01-01"), DAY("2018-12-31")) == 253


# ---- what pandas 3 breaks


def record():
    table = "".join(line for line in io.StringIO(RECORD) if not line.startswith("#"))
    return [pytest.param(row, id=row["calendar"]) for row in csv.DictReader(io.StringIO(table))]


def digest(lines):
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@pytest.mark.parametrize("row", record())
def test_every_calendar_is_the_one_that_pandas_2_makes(row):
    years = DAY("1990-01-01"), DAY("2026-12-31")  # to make more would take longer
    calendar = trading_days._package_calendar(row["calendar"], *years)
    closes = trading_days._package_hours(calendar)["close"][slice(*years)]
    if row["calendar"] == "XMOS":
        # Moscow's extra Sunday ends a week of holidays; under pandas 2 the package steps over it.
        closes = closes.drop(DAY("2009-01-11"))
    dates = closes.index.strftime("%Y-%m-%d")
    assert len(dates) == int(row["sessions"])
    assert (dates[0], dates[-1]) == (row["first"], row["last"])
    assert digest(dates) == row["dates"]
    assert digest(closes.dt.strftime("%Y-%m-%d %H:%M")) == row["closes"]


def test_the_record_has_every_calendar():
    from exchange_calendars import get_calendar_names

    names = set(get_calendar_names(include_aliases=False))
    assert {param.values[0]["calendar"] for param in record()} == names


def test_holidays_of_another_easter_are_kept():
    assert session_after("OPAP.AT", "2026-04-09").date == DAY("2026-04-14")  # Orthodox Easter
    assert session_after("TLV.RO", "2024-05-02").date == DAY("2024-05-07")
    assert session_after("TEVA.TA", "2026-04-20").date == DAY("2026-04-23")  # Independence Day


def test_offsets_of_the_package_step_from_day_to_day():
    offset = trading_days._package_calendar("XTAE").day
    sunday, monday = DAY("2025-12-14"), DAY("2025-12-15")
    assert sunday + offset == monday
    assert monday - offset == sunday
    assert DAY("2025-12-11") + 2 * offset == monday  # a Thursday: Friday and Saturday are off


# ---- what the package lacks


def special_days():
    return list(csv.DictReader(io.StringIO(SPECIAL)))


@pytest.mark.parametrize("day", special_days(), ids=lambda day: f"{day['calendar']}-{day['date']}")
def test_special_days_are_in_the_calendar_and_have_a_source(day):
    closes = trading_days.trading_days(day["calendar"]).closes
    date = DAY(day["date"])
    if day["close"] == "closed":
        assert date not in closes.index
        assert date.day_of_week < 5
    else:
        close = closes[date].tz_convert(trading_days._package_calendar(day["calendar"]).tz)
        assert f"{close:%Y-%m-%d %H:%M}" == f"{day['date']} {day['close']}"
    assert day["source"]
    assert day["what"]


# The exchanges' announcements are cited in special_days.csv.
@pytest.mark.parametrize(
    ("ticker", "date", "following"),
    [
        ("RELIANCE.NS", "2024-01-19", "2024-01-20"),  # a special Saturday
        ("RELIANCE.NS", "2024-03-01", "2024-03-02"),
        ("RELIANCE.NS", "2024-10-31", "2024-11-01"),  # Muhurat, in the evening of a holiday
        ("RELIANCE.NS", "2024-11-01", "2024-11-04"),
        ("SBIN.BO", "2026-01-30", "2026-02-01"),  # the Budget, on a Sunday
        ("^INDIAVIX", "2025-08-14", "2025-08-18"),  # Independence Day
        ("BBCA.JK", "2026-03-17", "2026-03-25"),  # Nyepi and Eid al-Fitr
        ("005930.KS", "2026-06-02", "2026-06-04"),  # local elections
        ("0700.HK", "2023-08-31", "2023-09-04"),  # typhoon Saola
        ("2330.TW", "2024-10-30", "2024-11-01"),  # typhoon Kong-rey
        ("WALMEX.MX", "2024-09-30", "2024-10-02"),  # inauguration
        ("NPN.JO", "2024-05-28", "2024-05-30"),  # elections
    ],
)
def test_days_that_the_package_lacks(ticker, date, following):
    assert session_after(ticker, date) == calendars.NextSession(DAY(following), certain=True)


def test_a_muhurat_session_is_finished_in_the_evening():
    close = DAY("2024-11-01 19:00", tz="Asia/Kolkata")
    assert calendars.last_finished("RELIANCE.NS", close) == DAY("2024-11-01")
    assert calendars.last_finished("RELIANCE.NS", close - pd.Timedelta(seconds=1)) == DAY(
        "2024-10-31"
    )


# ---- after the end of a calendar


@pytest.mark.parametrize(
    ("ticker", "date", "following"),
    [
        ("RELIANCE.NS", "2027-01-25", "2027-01-27"),  # Republic Day, closed every year
        ("RELIANCE.NS", "2027-03-25", "2027-03-29"),  # Good Friday: two days before Easter
        ("600519.SS", "2026-12-31", "2027-01-04"),  # New Year's Day
        ("D05.SI", "2027-08-06", "2027-08-10"),  # Singapore's National Day, a Monday
        ("2222.SR", "2026-12-31", "2027-01-03"),  # Riyadh trades on Sundays
    ],
)
def test_after_its_end_a_calendar_keeps_its_week_and_its_rules_and_is_a_guess(
    ticker, date, following
):
    assert session_after(ticker, date) == calendars.NextSession(DAY(following), certain=False)


@pytest.mark.parametrize("ticker", ["AAPL", "SAP.DE", "OPAP.AT", "005930.KS", "VOD.L"])
def test_calendars_made_of_rules_do_not_end_with_the_year(ticker):
    assert session_after(ticker, "2026-12-31") == calendars.NextSession(DAY("2027-01-04"), True)


def test_a_holiday_of_one_year_is_not_a_rule():
    # Bombay was closed on 2026-03-03 (Holi) and 2026-11-10 (Diwali), which move with the moon.
    days = calendars.sessions_between("RELIANCE.NS", DAY("2027-01-01"), DAY("2027-12-31"))
    off = pd.bdate_range("2027-01-01", "2027-12-31").difference(days)
    assert off.strftime("%m-%d").tolist() == ["01-26", "03-26", "04-14"]


# ---- exchanges without a calendar


GULF = "Sun Mon Tue Wed Thu"


@pytest.mark.parametrize("ticker", ["COMI.CA", "NBK.KW", "QNBK.QA", "^CASE30"])
def test_the_weekdays_of_the_history_decide_where_there_is_no_calendar(ticker):
    thursday = "2026-11-26"
    guess = session_after(ticker, thursday, history(thursday, GULF))
    assert guess == calendars.NextSession(DAY("2026-11-29"), certain=False)
    assert calendars.is_guessed(ticker)
    assert calendars.last_finished(
        ticker, DAY("2026-11-28 12:00", tz="UTC"), history(thursday, GULF)
    ) == DAY("2026-11-26")


@pytest.mark.parametrize("ticker", ["EMAAR.AE", "^SX5P", "VNM.VN", "A.XYZ"])
def test_without_a_calendar_or_a_history_the_week_is_monday_to_friday(ticker):
    for past in (None, history("2026-11-27"), history("2026-11-27", rows=3)):
        guess = session_after(ticker, "2026-11-27", past)
        assert guess == calendars.NextSession(DAY("2026-11-30"), certain=False)


def test_a_week_that_changed_is_followed_and_the_old_one_remembered():
    # The Emirates went from Sunday–Thursday to Monday–Friday with 2022.
    past = history("2021-12-30", GULF, 500).append(history("2022-12-30", rows=258))
    assert session_after("EMAAR.AE", "2022-12-30", past).date == DAY("2023-01-02")
    assert session_after("EMAAR.AE", "2021-12-30", past).date == DAY("2022-01-02")
    old = calendars.sessions_between("EMAAR.AE", DAY("2021-06-01"), DAY("2021-12-31"), past)
    assert set(old.day_of_week) == {6, 0, 1, 2, 3}
    new = calendars.sessions_between("EMAAR.AE", DAY("2022-04-01"), DAY("2022-12-31"), past)
    assert set(new.day_of_week) == {0, 1, 2, 3, 4}


def test_a_guess_does_not_read_rows_after_the_date():
    past = history("2022-12-30", GULF, 300)
    changed = past[past <= "2022-06-30"].append(pd.date_range("2022-07-01", "2022-12-30"))
    for date in pd.date_range("2022-05-01", "2022-06-30"):
        assert session_after("NBK.KW", date, past) == session_after("NBK.KW", date, changed)


def test_a_few_odd_rows_are_no_weekday():
    past = history("2024-11-01").append(pd.DatetimeIndex(["2024-11-02"]))  # a special Saturday
    assert session_after("FOO.XY", "2024-11-02", past).date == DAY("2024-11-04")


@pytest.mark.parametrize(
    "ticker", ["BTC/USDT", "BTCUSDT", "BTC-USD", "BTCUSD", "ETH_EUR", "SOLUSDC", "btc/usdt"]
)
def test_a_coin_trades_on_saturday(ticker):
    friday = DAY("2024-06-14")
    for past in (None, pd.date_range(end=friday, periods=200)):
        saturday = friday + pd.Timedelta(days=1)
        assert session_after(ticker, friday, past) == calendars.NextSession(saturday, True)


@pytest.mark.parametrize("ticker", ["EURUSD=X", "EURUSD", "EUR/USD", "USD-JPY", "XAUUSD", "gbpusd"])
def test_a_currency_rests_at_the_weekend_unless_its_history_does_not(ticker):
    assert session_after(ticker, "2024-06-14").date == DAY("2024-06-17")
    sundays = history("2024-06-14", "Sun Mon Tue Wed Thu Fri")
    expected = "2024-06-17" if "=" in ticker else "2024-06-16"
    assert session_after(ticker, "2024-06-14", sundays).date == DAY(expected)


def test_a_bare_name_is_of_new_york_unless_its_history_trades_at_weekends():
    assert session_after("FOO", "2024-07-03", history("2024-07-03")).date == DAY("2024-07-05")
    every_day = pd.date_range(end="2024-06-14", periods=200)
    assert session_after("FOO", "2024-06-14", every_day) == calendars.NextSession(
        DAY("2024-06-15"), certain=True
    )
    assert session_after("AAPL.US", "2024-06-14", every_day).date == DAY("2024-06-17")


def test_a_guess_closes_at_midnight_in_greenwich():
    past = history("2026-11-26", GULF)
    midnight = DAY("2026-11-27", tz="UTC")
    assert calendars.last_finished("NBK.KW", midnight, past) == DAY("2026-11-26")
    early = midnight - pd.Timedelta(seconds=1)
    assert calendars.last_finished("NBK.KW", early, past) == DAY("2026-11-25")


# ---- kept on disk


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and no calendar in memory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    trading_days._of.cache_clear()
    yield tmp_path
    trading_days._of.cache_clear()


def test_a_calendar_that_was_kept_is_the_one_that_was_made(cache):
    made = trading_days.trading_days("XSHG")
    trading_days._of.cache_clear()
    assert len(list(cache.rglob("XSHG-*.npz"))) == 1
    kept = trading_days.trading_days("XSHG")
    for its, other in ((kept.closes, made.closes), (kept.opens, made.opens)):
        pd.testing.assert_series_equal(its, other, check_freq=False, check_names=False)
    assert (kept.since, kept.until) == (made.since, made.until)
    assert made.until == DAY("2026-12-31")


def test_a_kept_calendar_that_is_damaged_is_made_again(cache):
    expected = session_after("AAPL", "2018-12-31")
    (kept,) = cache.rglob("XNYS-*.npz")
    whole = kept.read_bytes()
    other = io.BytesIO()
    np.savez(other, sessions=np.zeros((2, 3)))
    for rubbish in (b"", b"rubbish", whole[:-9], whole[:900], other.getvalue()):
        kept.write_bytes(rubbish)
        trading_days._of.cache_clear()
        assert session_after("AAPL", "2018-12-31") == expected


def test_a_cache_folder_that_cannot_be_made_is_done_without(cache):
    (cache / "forecaster").write_text("in the way")
    assert session_after("AAPL", "2018-12-31").date == DAY("2019-01-02")


# ---- opens


@pytest.mark.parametrize(
    ("ticker", "date", "opens"),
    [
        ("AAPL", "2024-01-16", "2024-01-16 14:30"),
        ("AAPL", "2024-07-16", "2024-07-16 13:30"),  # New York's summer
        ("AAPL", "2024-01-15", "2024-01-15 00:00"),  # a holiday: nobody knows
        ("7203.T", "2024-01-16", "2024-01-16 00:00"),
        ("BHP.AX", "2024-01-16", "2024-01-15 23:00"),  # the evening before, in Greenwich
        ("ES=F", "2024-01-16", "2024-01-15 23:00"),
        ("BTC-USD", "2024-01-14", "2024-01-14 00:00"),
        ("RELIANCE.BO", "2020-11-14", "2020-11-13 18:30"),  # Muhurat: at any time of that day
        ("COMI.CA", "2024-01-16", "2024-01-16 00:00"),
        ("AAPL", "1950-01-16", "1950-01-16 00:00"),  # before the hours are known
    ],
)
def test_a_session_opens_by_the_clock_of_its_exchange(ticker, date, opens):
    assert calendars.opening(ticker, DAY(date)) == pd.Timestamp(opens, tz="UTC")


def test_every_session_opens_before_it_closes():
    for exchange in ("XNYS", "XTKS", "XASX", "XBOM", "CMES", "24/7", "24/5", "XTAE"):
        opens, closes = calendars.opens(exchange), calendars.closes(exchange)
        assert opens.index.equals(closes.index)
        assert (opens < closes).all()
        assert opens.is_monotonic_increasing
