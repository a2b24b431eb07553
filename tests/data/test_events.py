"""The events frame at its border."""

import pandas as pd
import pytest

from forecaster.data import calendars, events
from forecaster.errors import EventsError


def frame(*rows, **more):
    """Rows of ticker, date and time, of earnings that nobody saw come."""
    names = ["ticker", "date", "time"]
    return pd.DataFrame(rows, columns=names).assign(
        **{"kind": "earnings", "first_seen": None} | more
    )


def test_a_checked_frame_is_sorted_typed_and_stays_what_it_is():
    given = frame(
        ("MSFT", "2024-01-30", "post"), ("AAPL", "2024-05-02", None), ("AAPL", "2024-02-01", "pre")
    )
    given["first_seen"] = ["2024-01-02T10:00:00Z", None, None]
    tidy = events.check(given.assign(more=1))
    assert list(tidy) == list(events.COLUMNS)
    assert tidy.dtypes.astype(str).to_dict() == {
        "ticker": "str",
        "date": "datetime64[us]",
        "kind": "str",
        "time": "object",
        "first_seen": "datetime64[us]",
    }
    assert tidy["ticker"].tolist() == ["AAPL", "AAPL", "MSFT"]
    assert tidy["time"].tolist() == ["pre", None, "post"]
    assert tidy["first_seen"].iloc[2] == pd.Timestamp("2024-01-02 10:00")
    assert tidy["first_seen"].isna().tolist() == [True, True, False]
    pd.testing.assert_frame_equal(events.check(tidy), tidy)
    pd.testing.assert_frame_equal(events.check(events.empty()), events.empty())
    assert events.empty().dtypes.to_dict() == tidy.dtypes.to_dict()


GOOD = frame(("AAPL", "2024-02-01", "pre"), ("AAPL", "2024-05-02", None))
BAD = {
    "a day twice": (pd.concat([GOOD, GOOD]), "a day may come only once"),
    "no kind": (GOOD.drop(columns="kind"), "kind is missing among"),
    "another kind": (
        GOOD.assign(kind="split"),
        "kind is 'split' (and 1 more); it must be earnings",
    ),
    "another time": (GOOD.assign(time="noon"), "time is 'noon' (and 1 more); it must be pre, post"),
    "an order of dates": (GOOD.assign(date="03/04/2024"), "write dates as YYYY-MM-DD"),
    "a clock": (GOOD.assign(date=pd.Timestamp("2024-02-01 16:00")), "give the day alone"),
    "no date": (GOOD.assign(date=None), "date is missing (and 1 more)"),
    "years ahead": (GOOD.assign(date="2062-01-01"), "no event is before 1900 or after"),
    "no ticker": (GOOD.assign(ticker=" "), "the ticker ' ' is blank"),
    "no instant": (GOOD.assign(first_seen="once"), "first_seen is 'once'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_frame_is_refused_in_a_line(name):
    bad, words = BAD[name]
    with pytest.raises(EventsError) as caught:
        events.check(bad)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_source_says_twice_is_said_once():
    twice = frame(
        ("AAPL", "2024-02-01", None),
        ("AAPL", "2024-02-01", "post"),
        ("AAPL", "2024-05-02", "pre"),
        ("AAPL", "2024-05-02", "post"),
        ("AAPL", "2024-08-01", "pre"),
        ("AAPL", "2024-08-01", "pre"),
    )
    assert events.check(events.united(twice))["time"].tolist() == ["post", None, "pre"]


def test_a_time_is_before_the_close_or_not():
    local = pd.Series(
        pd.to_datetime(
            [
                "2024-02-01 09:00",
                "2024-02-01 12:00",
                "2024-02-01 15:59",
                "2024-02-01 16:00",
                "2024-02-01 00:00",
                "2024-11-29 13:00",  # closes early
                "2024-02-03 17:00",  # a Saturday
            ]
        )
    )
    expected = ["pre", "pre", "pre", "post", None, "post", "post"]
    assert events.timing("AAPL", local, "America/New_York").tolist() == expected
    # The close of London is half an hour later by the clock.
    later = events.timing("VOD.L", local, "Europe/London").tolist()
    assert later == ["pre", "pre", "pre", "pre", None, "pre", "post"]
    unknown = events.timing("ABC.CA", local, "Africa/Cairo").tolist()
    assert unknown == [None] * 7


def test_next_years_dates_are_events(monkeypatch):
    monkeypatch.setattr(calendars, "now", lambda: pd.Timestamp("2024-03-20 22:00", tz="UTC"))
    assert len(events.check(frame(("AAPL", "2025-12-31", None)))) == 1
    with pytest.raises(EventsError, match="after 2026-03-20"):
        events.check(frame(("AAPL", "2026-12-31", None)))
