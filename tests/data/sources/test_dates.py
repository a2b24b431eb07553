from datetime import date

import pandas as pd
import pytest
from bars import assert_bars, bars
from hypothesis import given
from hypothesis import strategies as st

from forecaster.data.sources import dates
from forecaster.errors import SourceError

A = bars()


def parsed(*cells, order=None):
    return dates.parse(pd.Series(list(cells)), order, "x.csv")


@pytest.mark.parametrize(
    "cell",
    ["2024-01-02", "2024/1/2", "2024.01.02", "2024.1.2.", "20240102", "2024- 01- 02", "2024年1月2日",
     "2024년 1월 2일", "Jan 02, 2024", "January 2, 2024", "2 Jan 2024", "02-Jan-24", "02JAN2024",
     "2. Januar 2024", "2 janv. 2024", "2 de enero de 2024", "2 stycznia 2024", "2 янв 2024",
     "2 Oca 2024", "2024-Jan-02", "02.01.2024", "2.1.24", "Tue, 02 Jan 2024", "Tue Jan 02 2024",
     "20240102.0", "1704153600", "1704153600000", "1704153600.0", "1704153600000000"],
)  # fmt: skip
def test_dates_as_people_write_them(cell):
    assert parsed(cell).wall.tolist() == [pd.Timestamp("2024-01-02")]


@pytest.mark.parametrize(
    ("cell", "wall", "instant"),
    [
        ("2024-01-02 16:00", "2024-01-02 16:00", None),
        ("2024-01-02T16:00:05", "2024-01-02 16:00:05", None),
        ("20240102 160000", "2024-01-02 16:00", None),
        ("20240102160000", "2024-01-02 16:00", None),
        ("02 Jan 2024 4:00 PM", "2024-01-02 16:00", None),
        ("02 Jan 2024 12:00 AM", "2024-01-02 00:00", None),
        ("2024-01-02 00:00:00-05:00", "2024-01-02 00:00", "2024-01-02 05:00"),
        ("2024-01-02T00:00:00.000Z", "2024-01-02 00:00", "2024-01-02 00:00"),
        ("2024-01-02 09:30:00+0530", "2024-01-02 09:30", "2024-01-02 04:00"),
        ("2024-01-02 16:00:00 EST", "2024-01-02 16:00", None),
        ("Tue Jan 02 2024 00:00:00 GMT-0500 (EST)", "2024-01-02 00:00", "2024-01-02 05:00"),
        ("1704205800", "2024-01-02 14:30", "2024-01-02 14:30"),
    ],
)
def test_times_and_zones(cell, wall, instant):
    result = parsed(cell, cell)
    assert result.wall.tolist() == [pd.Timestamp(wall)] * 2
    expected = pd.NaT if instant is None else pd.Timestamp(instant)
    assert result.instant[0] is expected or result.instant[0] == expected


@pytest.mark.parametrize(
    "cell",
    ["", "2018", "2018-01", "2018-02-30", "0000-00-00", "99999-01-01", "tomorrow", "2018-13-01", "12:30",
     "17.20", "99.59", "Foo 02, 2024", "45293", "12345678901"],
)  # fmt: skip
def test_what_is_no_date_is_null(cell):
    assert parsed(cell, "2018-01-02").wall.isna().tolist() == [True, False]


def test_typed_columns():
    naive = pd.Series(pd.to_datetime(["2024-01-02", None]))
    assert dates.parse(naive, None, "x").wall.tolist() == [pd.Timestamp("2024-01-02"), pd.NaT]
    there = dates.parse(
        pd.Series(pd.to_datetime(["2024-01-02"]).tz_localize("Asia/Tokyo")), None, "x"
    )
    assert there.wall[0] == pd.Timestamp("2024-01-02")
    assert there.instant[0] == pd.Timestamp("2024-01-01 15:00")
    whole = parsed(20240102, 20240103)
    assert whole.wall.tolist() == [pd.Timestamp("2024-01-02"), pd.Timestamp("2024-01-03")]


@given(
    st.lists(st.dates(date(1990, 1, 1), date(2020, 12, 31)), min_size=1),
    st.booleans(),
)
def test_the_order_of_days_and_months_is_proved_or_asked_for(days, day_first):
    cells = [day.strftime("%d/%m/%Y" if day_first else "%m/%d/%Y") for day in days]
    expected = [pd.Timestamp(day) for day in days]
    order = "day-first" if day_first else "month-first"
    if any(day.day > 12 for day in days) or all(day.day == day.month for day in days):
        assert parsed(*cells).wall.tolist() == expected
    else:
        with pytest.raises(SourceError, match="cannot tell whether"):
            parsed(*cells)
    assert parsed(*cells, order=order).wall.tolist() == expected


def test_the_question_names_both_readings_and_the_answers():
    with pytest.raises(SourceError) as caught:
        parsed("03/01/2017")
    assert str(caught.value) == (
        "x.csv: cannot tell whether 03/01/2017 is 2017-01-03 or 2017-03-01; say "
        '`dates="day-first"` or `dates="month-first"`'
    )


def test_orders_that_contradict_one_another_are_refused():
    with pytest.raises(SourceError, match="change places among dates such as 13/01/2017"):
        parsed("13/01/2017", "01/13/2017")
    with pytest.raises(SourceError, match="01/13/2017 are not day-first; leave out `dates`"):
        parsed("01/13/2017", order="day-first")


def test_dates_of_a_plain_order_leave_no_room_for_others():
    """A spreadsheet that took some days for months leaves the others as text: they are not guessed."""
    assert parsed("2017-03-01", "13/01/2017").wall.isna().tolist() == [False, True]


def test_no_price_is_of_a_day_to_come(monkeypatch):
    monkeypatch.setattr(
        "forecaster.data.calendars.now", lambda: pd.Timestamp("2024-06-15", tz="UTC")
    )
    assert parsed("12/01/2024").wall[0] == pd.Timestamp("2024-01-12")
    assert parsed("05/13/25").wall[0] == pd.Timestamp("1925-05-13")
    short = parsed("01/02/99", "02/26/99")
    assert short.wall.tolist() == [pd.Timestamp("1999-01-02"), pd.Timestamp("1999-02-26")]


def test_years_of_two_digits_may_come_first():
    with pytest.raises(SourceError, match='say `dates="day-first"` or `dates="year-first"`'):
        parsed("19/02/18")
    assert parsed("19/02/18", order="year-first").wall[0] == pd.Timestamp("2019-02-18")


@pytest.mark.parametrize(
    "form", ["%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%Y.%m.%d", "%b %d, %Y", "%d-%b-%y"]
)
def test_files_with_dates_in_many_forms(read, form):
    assert_bars(read(A.to_csv(index=False, date_format=form))["AAPL"], A)


def test_dates_with_a_comma_and_no_quotes(read):
    text = A.to_csv(index=False, date_format="%b %d, %Y").replace('"', "")
    assert_bars(read(text)["AAPL"], A)


def test_a_file_whose_days_are_all_below_13_is_asked_for_the_order(read, refusal):
    few = A[A["date"].dt.day < 9]
    text = few.to_csv(index=False, date_format="%d/%m/%Y")
    assert 'say `dates="day-first"` or `dates="month-first"`' in refusal(text)
    assert_bars(read(text, dates="day-first")["AAPL"], few)
    assert "`dates` must be day-first or month-first" in refusal(text, dates="DMY")


@pytest.mark.parametrize("unit", [10**6, 10**3, 1])
def test_stamps_since_1970(read, unit):
    stamps = A.assign(date=A["date"].astype("int64") // unit)
    assert_bars(read(stamps.to_csv(index=False))["AAPL"], A)
    assert_bars(read(stamps.to_csv(index=False, header=False))["AAPL"], A)
