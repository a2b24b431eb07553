"""Events on disk: the record of what was known when, and what it survives."""

import json
import re
import subprocess
import sys

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.data import calendars, event_store, events
from forecaster.data.event_store import EventStore
from forecaster.errors import StoreError

NOW = pd.Timestamp("2024-03-20 22:00", tz="UTC")
SEEN = NOW.tz_localize(None)


@pytest.fixture
def clock(monkeypatch):
    """A function that sets the time; it begins at NOW."""

    def set_(now):
        monkeypatch.setattr(calendars, "now", lambda: pd.Timestamp(now, tz="UTC"))

    set_(SEEN)
    return set_


def earnings(ticker, *days, first_seen=None):
    """Events of a ticker: days, with their time behind a blank."""
    parts = [day.split() for day in days]
    return pd.DataFrame(
        {
            "ticker": ticker,
            "date": [part[0] for part in parts],
            "kind": "earnings",
            "time": [part[1] if len(part) > 1 else None for part in parts],
            "first_seen": first_seen,
        }
    )


def rows(frame):
    """Day, time and instant of each row, null as None."""
    seen = frame["first_seen"].astype(object).where(frame["first_seen"].notna(), None)
    return list(zip(frame["date"].dt.strftime("%m-%d"), frame["time"], seen, strict=True))


def test_what_is_written_is_read(tmp_path, clock):
    both = pd.concat(
        [earnings("a/b", "2024-02-01 pre"), earnings("^X", "2024-01-30", "2023-10-31")]
    )
    store = EventStore(tmp_path)
    saved = store.write(both, source="file.csv")
    assert [(it.ticker, it.rows, it.new_rows, it.next) for it in saved] == [
        ("^X", 2, 2, None),
        ("a/b", 1, 1, None),
    ]
    assert store.tickers() == ["^X", "a/b"]
    pd.testing.assert_frame_equal(store.read(), events.check(both))
    one = store.read(["a/b", "never heard of", "a/b"])
    pd.testing.assert_frame_equal(one, events.check(both.query("ticker == 'a/b'")))
    pd.testing.assert_frame_equal(store.read(["never heard of"]), events.empty())
    pd.testing.assert_frame_equal(EventStore(tmp_path / "else").read(), events.empty())


def test_a_stored_file_is_ordinary_parquet_with_a_note(tmp_path, clock):
    EventStore(tmp_path).write(earnings("AAPL", "2024-02-01 post"), source="yahoo", asked=["AAPL"])
    path = tmp_path / "events" / "AAPL.parquet"
    assert pd.read_parquet(path)["time"].tolist() == ["post"]
    note = json.loads(pq.read_metadata(path).metadata[b"forecaster"])
    assert note.keys() == {"format", "ticker", "source", "fetched_at", "asked_at", "since"}
    assert (note["format"], note["ticker"], note["source"]) == (1, "AAPL", "yahoo")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", note["fetched_at"])


def test_the_state_of_a_ticker(tmp_path, clock):
    store = EventStore(tmp_path)
    assert store.state("AAPL") is None
    store.write(earnings("AAPL", "2024-02-01", "2024-03-20", "2024-05-02"), source="f.csv")
    state = store.state("AAPL")
    assert (state.rows, state.first, state.last) == (
        3,
        pd.Timestamp("2024-02-01"),
        pd.Timestamp("2024-05-02"),
    )
    assert state.next == pd.Timestamp("2024-03-20")  # today is not over
    assert (state.source, state.fetched_at, state.asked_at) == ("f.csv", NOW, None)
    clock("2024-03-21 10:00")
    assert store.state("AAPL").next == pd.Timestamp("2024-05-02")
    store.write(events.empty(), source="yahoo", asked=["NONE"])
    nothing = store.state("NONE")
    assert (nothing.rows, nothing.first, nothing.next) == (0, None, None)
    assert nothing.asked_at == pd.Timestamp("2024-03-21 10:00", tz="UTC")
    assert store.read(["NONE"]).empty


def test_first_seen_is_when_the_store_first_held_a_day(tmp_path, clock):
    store = EventStore(tmp_path)
    store.write(earnings("AAPL", "2024-02-01 post", "2024-05-02"), source="yahoo", asked=["AAPL"])
    assert rows(store.read()) == [("02-01", "post", None), ("05-02", None, SEEN)]
    clock("2024-05-10 12:00")
    later = pd.Timestamp("2024-05-10 12:00")
    store.write(
        # The day moved and was over when it was learned; one of before the first fetch is history.
        earnings("AAPL", "2023-11-02", "2024-02-01 pre", "2024-05-07 post", "2024-08-01"),
        source="yahoo",
        asked=["AAPL"],
    )
    assert rows(store.read()) == [
        ("11-02", None, None),
        ("02-01", "pre", None),
        ("05-02", None, SEEN),
        ("05-07", "post", later),
        ("08-01", None, later),
    ]
    # A source that does not know the time takes none away.
    store.write(earnings("AAPL", "2024-05-07"), source="yahoo", asked=["AAPL"])
    assert ("05-07", "post", later) in rows(store.read())


def test_a_time_learned_after_the_day_is_not_in_the_record_of_it(tmp_path, clock):
    store = EventStore(tmp_path)
    store.write(earnings("AAPL", "2024-05-02", "2024-08-01"), source="yahoo", asked=["AAPL"])
    clock("2024-05-01 12:00")  # the day before it is still news
    store.write(earnings("AAPL", "2024-05-02 post"), source="yahoo", asked=["AAPL"])
    assert rows(store.read())[0] == ("05-02", "post", SEEN)
    clock("2024-08-01 21:30")  # in the evening after the close
    store.write(earnings("AAPL", "2024-08-01 post"), source="yahoo", asked=["AAPL"])
    assert rows(store.read())[1] == ("08-01", None, SEEN)


def test_a_file_is_history_unless_it_says_when_a_day_was_seen(tmp_path, clock):
    store = EventStore(tmp_path)
    store.write(earnings("AAPL", "2024-02-01"), source="yahoo", asked=["AAPL"])
    clock("2024-04-20 12:00")
    store.write(earnings("AAPL", "2024-04-10", "2024-05-02"), source="f.csv")
    then = "2024-01-15T08:00:00Z"
    store.write(earnings("AAPL", "2024-04-11", "2024-04-10", first_seen=then), source="g.csv")
    assert rows(store.read()) == [
        ("02-01", None, None),
        ("04-10", None, None),
        ("04-11", None, pd.Timestamp("2024-01-15 08:00")),
        ("05-02", None, pd.Timestamp("2024-04-20 12:00")),
    ]
    # A file asks nobody, so the week goes on.
    assert store.state("AAPL").asked_at == NOW


DAYS = st.lists(st.tuples(st.integers(1, 28), st.sampled_from(["pre", "post", None])), max_size=6)


@given(DAYS, DAYS)
def test_no_row_is_ever_lost_and_no_instant_changes(first, second):
    def frame(days, seen):
        unique = dict(days)
        return events.check(
            pd.DataFrame(
                {
                    "ticker": "AAPL",
                    "date": [f"2024-02-{day:02}" for day in unique],
                    "kind": "earnings",
                    "time": list(unique.values()),
                    "first_seen": seen,
                },
            )
        )

    old, new = frame(first, "2024-01-01T00:00:00Z"), frame(second, "2024-01-09T00:00:00Z")
    now = pd.Timestamp("2024-02-15 12:00", tz="UTC")
    both = event_store.joined(old, new, now)
    pd.testing.assert_frame_equal(events.check(both), both)
    before, after = dict(first), dict(second)
    assert set(both["date"].dt.day) == {*before, *after}
    for day, time, seen in zip(both["date"].dt.day, both["time"], both["first_seen"], strict=True):
        assert seen.day == (1 if day in before else 9)
        if day in before and day <= now.day:
            assert time == before[day]  # what was known of it then
        else:
            assert time == (after.get(day) or before.get(day))


def test_every_flipped_byte_is_noticed_and_named(tmp_path, clock):
    store = EventStore(tmp_path)
    store.write(earnings("AAPL", "2024-02-01 post", "2024-05-02"), source="yahoo")
    path = tmp_path / "events" / "AAPL.parquet"
    content = path.read_bytes()
    for place in range(0, len(content), 41):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        for call in (
            store.read,
            lambda: store.state("AAPL"),
            lambda: store.write(earnings("AAPL", "2024-08-01"), source="yahoo"),
        ):
            with pytest.raises(StoreError) as caught:
                call()
            assert f"cannot read {path}: " in str(caught.value)
            assert "fetch AAPL again with `refresh`" in str(caught.value)
            assert "\n" not in str(caught.value)
    store.write(earnings("AAPL", "2024-08-01"), source="yahoo", refresh=True)
    assert store.read()["date"].tolist() == [pd.Timestamp("2024-08-01")]


def test_what_is_removed_is_gone_and_the_rest_stays(tmp_path, clock):
    store = EventStore(tmp_path)
    store.write(
        pd.concat([earnings("AAPL", "2024-02-01"), earnings("MSFT", "2024-01-30")]), source="f.csv"
    )
    store.remove(["AAPL", "NEVER"])
    assert store.tickers() == ["MSFT"]


WRITER = """
import sys
import pandas as pd
from forecaster.data.event_store import EventStore

for day in eval(sys.argv[2]):
    row = {"ticker": "AAPL", "date": f"2024-01-{day:02}", "kind": "earnings", "time": None,
           "first_seen": None}
    EventStore(sys.argv[1]).write(pd.DataFrame([row]), source="x")
"""


def test_two_that_write_at_once_are_both_complete(tmp_path):
    both = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), days])
        for days in ("range(1, 15)", "range(28, 14, -1)")
    ]
    assert [writer.wait() for writer in both] == [0, 0]
    assert EventStore(tmp_path).read()["date"].dt.day.tolist() == list(range(1, 29))


def test_a_full_disk_keeps_the_old_events_and_says_so(tmp_path):
    """No file may grow beyond a few hundred bytes, which is what a full disk looks like."""
    old = earnings("AAPL", "2024-02-01 post")
    EventStore(tmp_path).write(old, source="x")
    code = (
        "import resource, signal, sys; import pandas as pd;"
        "from forecaster.data.event_store import EventStore;"
        "store = EventStore(sys.argv[1]); frame = store.read();"
        "frame = frame.assign(date=pd.Timestamp('2024-05-02'));"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (256, 256));"
        "store.write(frame, source='x')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "StoreError: cannot write" in done.stderr.splitlines()[-1]
    pd.testing.assert_frame_equal(EventStore(tmp_path).read(), events.check(old))
    assert not list((tmp_path / "events").glob(".*.tmp"))
