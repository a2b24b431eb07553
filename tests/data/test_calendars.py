import pandas as pd
import pytest

from forecaster.data import calendars
from forecaster.errors import HistoryError

DAY = pd.Timestamp


@pytest.mark.parametrize(
    ("ticker", "calendar"),
    [
        ("AAPL", "XNYS"),
        ("aapl", "XNYS"),
        ("^GSPC", "XNYS"),
        ("BRK-B", "XNYS"),
        ("BRK.B", "XNYS"),
        ("BTCUSD", "XNYS"),
        ("BTC-USD", "24/7"),
        ("ETH-EUR", "24/7"),
        ("EURUSD=X", "24/5"),
        ("CL=F", "CMES"),
        ("VOD.L", "XLON"),
        ("SAP.DE", "XETR"),
        ("SAP.F", "XFRA"),
        ("RELIANCE.NS", "XBOM"),
        ("005930.KS", "XKRX"),
        ("035420.KQ", "XKRX"),
        ("7203.T", "XTKS"),
        ("0700.HK", "XHKG"),
        ("600519.SS", "XSHG"),
        ("000001.SZ", "XSHG"),
        ("RY.TO", "XTSE"),
        ("PETR4.SA", "BVMF"),
        ("^FTSE", "XLON"),
        ("^N225", "XTKS"),
        ("^STOXX50E", "XETR"),
    ],
)
def test_the_exchange_of_a_ticker(ticker, calendar):
    assert calendars.exchange(ticker) == calendar


def test_every_calendar_named_exists():
    from exchange_calendars import get_calendar_names

    named = {*calendars._SUFFIXES.values(), *calendars._INDICES.values(), "24/5", "24/7", "CMES"}
    assert named <= set(get_calendar_names(include_aliases=False))


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
    found = calendars.next_session(ticker, DAY(date))
    assert found == DAY(following)
    assert found.tz is None


def test_seoul_keeps_the_lunar_new_year():
    assert calendars.next_session("005930.KS", DAY("2018-02-14")) == DAY("2018-02-19")


@pytest.mark.parametrize("ticker", ["AAPL", "7203.T", "RELIANCE.NS", "OPAP.AT", "600519.SS"])
@pytest.mark.parametrize(
    "date", ["1950-06-02", "1970-01-02", "1985-06-07", "2027-06-04", "2040-06-01"]
)
def test_years_without_a_calendar_have_weekdays(ticker, date):
    friday = DAY(date)
    assert calendars.next_session(ticker, friday) == friday + pd.Timedelta(days=3)


def test_tel_aviv_moved_its_week_from_sunday_to_friday():
    assert calendars.next_session("TEVA.TA", DAY("2018-06-07")) == DAY("2018-06-10")
    assert calendars.next_session("TEVA.TA", DAY("2026-11-19")) == DAY("2026-11-20")


def test_no_calendar_goes_on_for_ever():
    with pytest.raises(HistoryError, match="2077-01-01"):
        calendars.next_session("AAPL", DAY("2077-01-01"))


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
    while (date := calendars.next_session("VOD.L", date)) <= DAY("2018-12-31"):
        steps += 1
    assert steps == calendars.sessions_after("VOD.L", DAY("2018-01-01"), DAY("2018-12-31")) == 253


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and no calendar in memory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calendars._remembered.cache_clear()
    yield tmp_path
    calendars._remembered.cache_clear()


def test_a_calendar_that_was_kept_is_the_one_that_was_made(cache):
    made = calendars._closes("XLON")
    calendars._remembered.cache_clear()
    assert len(list(cache.rglob("XLON-*.npy"))) == 1
    pd.testing.assert_series_equal(
        calendars._closes("XLON"), made, check_freq=False, check_names=False
    )


def test_a_kept_calendar_that_is_damaged_is_made_again(cache):
    expected = calendars.next_session("AAPL", DAY("2018-12-31"))
    (kept,) = cache.rglob("XNYS-*.npy")
    for rubbish in (b"", b"rubbish", kept.read_bytes()[:-9]):
        kept.write_bytes(rubbish)
        calendars._remembered.cache_clear()
        assert calendars.next_session("AAPL", DAY("2018-12-31")) == expected


def test_a_cache_folder_that_cannot_be_made_is_done_without(cache):
    (cache / "forecaster").write_text("in the way")
    assert calendars.next_session("AAPL", DAY("2018-12-31")) == DAY("2019-01-02")
