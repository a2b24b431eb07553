"""Files of events, as people have them."""

import gzip

import pandas as pd
import pytest

from forecaster.data import calendars, events
from forecaster.data.sources import event_files
from forecaster.data.sources.tables import Format
from forecaster.errors import SourceError, UnknownTickerError

NOW = pd.Timestamp("2024-03-20 22:00", tz="UTC")


@pytest.fixture(autouse=True)
def _today(monkeypatch):
    monkeypatch.setattr(calendars, "now", lambda: NOW)


@pytest.fixture
def read(tmp_path):
    """A function from the content of a file to ticker, day and time of its events."""

    def load(content, *arguments, name="events.csv", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        frame = event_files.load(path, *arguments, **options)
        pd.testing.assert_frame_equal(frame, events.check(frame))
        days = frame["date"].dt.strftime("%Y-%m-%d")
        return list(zip(frame["ticker"], days, frame["time"], strict=True))

    return load


ONE = [("AAPL", "2024-02-01", "post")]
FORMS = {
    "plain": "ticker,date,time\nAAPL,2024-02-01,post\n",
    "German": "Symbol;Datum;Time\naapl;01.02.2024;amc\nAAPL;25.04.2023;\n",
    "headings of a vendor": "symbol,name,reportDate,fiscalDateEnding,timeOfTheDay\n"
    "AAPL,Apple,2024-02-01,2023-12-31,post-market\n",
    "another order": "time\tdate\tticker\nAfter Market Close\t2024-02-01\taapl\n",
    "a clock": "ticker,date,time\nAAPL,2024-02-01,16:30\n",
    "half a day": "ticker,date,time\nAAPL,2024-02-01,4:30 PM\n",
    "a clock in the date": "ticker,date\nAAPL,2024-02-01 16:30:00\n",
    "an instant": "ticker,date\nAAPL,2024-02-01T21:30:00Z\n",
    "an instant of the next day": "ticker,date\nAAPL,2024-02-02T01:00:00+00:00\n",
    "American": "ticker,date,time\nAAPL,02/01/2024,post\nAAPL,04/25/2023,\n",
    "a month's name": 'ticker,date,time\nAAPL,"Feb 1, 2024",post\n',
    "twice": "ticker,date,time\nAAPL,2024-02-01,\nAAPL,2024-02-01,post\n",
    "UTF-16": "ticker,date,time\nAAPL,2024-02-01,post\n".encode("utf-16"),
    "compressed": gzip.compress(b"ticker,date,time\nAAPL,2024-02-01,post\n"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_forms_that_files_have(read, form):
    assert read(FORMS[form])[-1:] == ONE


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ("pre,bmo,BMO,Before Market Open,before-open,time-pre-market,am,during market", "pre"),
        ("post,amc,After Market Close,after hours,time-after-hours,PM,postmarket", "post"),
        (",-,--,N/A,unknown,Time Not Supplied,TAS,00:00", None),
        ("07:00,9:29,11:00,15:59:59,8 am", "pre"),
        ("16:00,16:05,23:59,4pm,4:15 p.m.", "post"),
    ],
)
def test_words_and_clocks(read, words, meaning):
    for word in words.split(","):
        content = f"ticker,date,time\nAAPL,2024-02-01,{word}\nAAPL,2023-11-02,pre\n"
        assert read(content)[-1] == ("AAPL", "2024-02-01", meaning), word


def test_a_clock_is_that_of_the_exchange(read):
    found = read("ticker,date,time\nVOD.L,2024-02-05,16:15\nAAPL,2024-02-05,16:15\n")
    assert found == [("AAPL", "2024-02-05", "post"), ("VOD.L", "2024-02-05", "pre")]


def test_days_to_come_are_read(read):
    found = read("ticker,date\nAAPL,05/02/2024\nAAPL,25/04/2024\nAAPL,01/08/25\n")
    assert [day for _, day, _ in found] == ["2024-02-05", "2024-04-25", "2025-08-01"]


def test_the_order_of_dates_is_asked_for_and_can_be_said(read):
    content = "ticker,date\nAAPL,03/04/2024\n"
    with pytest.raises(SourceError, match='is 2024-04-03 or 2024-03-04; say `dates="day-first"`'):
        read(content)
    assert read(content, form=Format(dates="month-first"))[0][1] == "2024-03-04"


REFUSED = {
    "a time": ("ticker,date,time\nAAPL,2024-02-01,noonish\n", "row 1: expected a time of day"),
    "a day": (
        "ticker,date\nAAPL,2024-02-01\nAAPL,soon\nAAPL,2024-05-01\n",
        "row 2: expected a date",
    ),
    "the first day": ("ticker,date\nAAPL,soon\nAAPL,2024-02-01\n", "got 'AAPL,soon'"),
    "no such day": ("ticker,date\nAAPL,2024-02-31\n", "expected a date, got '2024-02-31'"),
    "no dates": ("ticker,price\nAAPL,10.5\nAAPL,11.5\n", "has no column date"),
    "no tickers": ("date,time\n2024-02-01,post\n", "has no column ticker"),
    "no headings": ("AAPL,2024-02-01,3\nAAPL,2024-05-01,4\n", "has no headings"),
    "a blank": ("ticker,date\nAAPL,2024-02-01\n,2024-02-01\n", "row 2: the ticker '' is blank"),
    "a kind": ("ticker,date,kind\nAAPL,2024-02-01,split\n", "it must be earnings"),
    "far ahead": ("ticker,date\nAAPL,2062-02-01\n", "no event is before 1900 or after"),
    "cut short": ("ticker,date,time\nAAPL,2024-02-01,post\nAAPL,2024-0", "in the middle of a row"),
    "nothing": ("", "it is empty"),
    "no rows": ("ticker,date\n", "no rows"),
    "a page": ("<html><body>no</body></html>", "it is a web page"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_in_a_line(read, name):
    content, words = REFUSED[name]
    with pytest.raises(SourceError) as caught:
        read(content)
    assert words in str(caught.value)
    assert "events.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_some_tickers_in_any_capitals(read):
    content = "ticker,date\nAAPL,2024-02-01\nmsft,2024-01-30\nabc,2024-01-30\n"
    assert [it[0] for it in read(content)] == ["AAPL", "ABC", "MSFT"]
    assert [it[0] for it in read(content, ["aapl", "Msft"])] == ["AAPL", "MSFT"]
    assert [it[0] for it in read(content, known=["abc"])] == ["AAPL", "MSFT", "abc"]
    with pytest.raises(UnknownTickerError, match="did you mean AAPL"):
        read(content, ["AAPLE"])


def test_parquet_and_what_the_frame_says_of_itself(tmp_path):
    path = tmp_path / "events.parquet"
    given = events.check(
        pd.DataFrame(
            {
                "ticker": ["AAPL", "AAPL"],
                "date": ["2024-02-01", "2024-05-02"],
                "kind": "earnings",
                "time": ["post", None],
                "first_seen": [None, "2024-03-01T10:00:00Z"],
            }
        )
    )
    given.to_parquet(path)
    pd.testing.assert_frame_equal(event_files.load(path), given)
    given.to_csv(tmp_path / "events.csv", index=False)
    pd.testing.assert_frame_equal(event_files.load(tmp_path / "events.csv"), given)
