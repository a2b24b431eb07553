"""What an exchange may know of another at its close."""

import functools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.data.publication import closing_instants, public_dates

NEW_YORK, LONDON, TOKYO, MUMBAI, COIN, SAO_PAULO = (
    *("XNYS", "XLON", "XTKS", "XBOM", "24/7", "BVMF"),
)


def days(*dates):
    return np.array(dates, "datetime64[D]")


@pytest.mark.parametrize(
    ("peer", "observer", "later"),
    [
        (TOKYO, NEW_YORK, 0),
        (LONDON, NEW_YORK, 0),
        (MUMBAI, LONDON, 0),
        (TOKYO, MUMBAI, 0),
        (NEW_YORK, COIN, 0),
        (NEW_YORK, TOKYO, 1),
        (NEW_YORK, LONDON, 1),
        (LONDON, MUMBAI, 1),
        (MUMBAI, TOKYO, 1),
        (COIN, NEW_YORK, 1),
        (COIN, TOKYO, 1),
    ],
)
def test_what_closes_later_is_known_a_day_later(peer, observer, later):
    sessions = days("2024-03-05", "2024-08-06")  # a Tuesday in winter, and one in summer
    np.testing.assert_array_equal(public_dates(sessions, peer, [observer]), sessions + later)
    np.testing.assert_array_equal(public_dates(sessions, peer, [peer]), sessions)


def test_clocks_and_early_closes_decide():
    # Sao Paulo closes at 21:00 UTC. New York closes then in winter, at 20:00 UTC in summer, and
    # at 18:00 UTC on the day after Thanksgiving; on 2024-11-29 Sao Paulo was open until 21:00.
    sessions = days("2024-01-23", "2024-07-23", "2024-11-29")
    expected = days("2024-01-23", "2024-07-24", "2024-11-30")
    np.testing.assert_array_equal(public_dates(sessions, SAO_PAULO, [NEW_YORK]), expected)


def test_all_observers_must_have_closed():
    session = days("2024-03-05")
    assert public_dates(session, LONDON, [NEW_YORK, LONDON]) == session
    assert public_dates(session, LONDON, [NEW_YORK, TOKYO]) == session + 1


def test_off_its_calendar_a_date_has_the_safer_hour_of_its_neighbours():
    # 2024-07-03 closes at 17:00 UTC, 2024-07-05 at 20:00 UTC; the exchange is shut between.
    (early,), (late,) = (
        closing_instants(NEW_YORK, days("2024-07-04"), latest=latest) for latest in (False, True)
    )
    assert early == np.datetime64("2024-07-04T17:00")
    assert late == np.datetime64("2024-07-04T20:00")


@functools.cache
def package_closes(name):
    """Return the closes by session as ``exchange_calendars`` has them, in UTC."""
    from exchange_calendars import get_calendar

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pandas says of the package
        closes = get_calendar(name, start="2016-01-01", end="2019-12-31").schedule["close"]
    return closes.dt.tz_localize(None)


@settings(max_examples=60)
@given(
    pair=st.permutations([NEW_YORK, LONDON, TOKYO, SAO_PAULO, COIN]),
    at=st.integers(20, 900),
)
def test_a_session_is_public_at_the_first_close_after_its_own(pair, at):
    peer, observer = (package_closes(it) for it in pair[:2])
    session = peer.index[at]
    (public,) = public_dates(days(session.date()), pair[0], [pair[1]])
    first = observer.index[observer >= peer[session]][0]  # the first that may know it
    last = observer.index[observer < peer[session]][-1]  # the last that may not
    assert np.datetime64(last.date()) < public <= np.datetime64(first.date())


def test_an_exchange_without_a_calendar_may_close_at_any_hour():
    cairo, kuwait = "?CA", "?KW"
    session = days("2024-03-05")
    for peer, observer in ((cairo, NEW_YORK), (NEW_YORK, cairo), (cairo, kuwait), (TOKYO, cairo)):
        assert public_dates(session, peer, [observer]) == session + 1
    assert public_dates(session, cairo, [cairo]) == session
