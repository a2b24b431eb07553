"""Earnings dates by the commands: from a file into the store, shown, checked, exported, removed."""

import pandas as pd
import pytest
from documents import validated

from forecaster.data import calendars, clock, events
from forecaster.data.event_store import EventStore
from forecaster.data.store import Store

NOW = pd.Timestamp("2024-03-20 22:00", tz="UTC")
LIST = """ticker,date,time
^gspc,2024-04-25,post
^gspc,2024-02-01,post
^gspc,2023-11-02,bmo
ABC,2024-02-08,
"""


@pytest.fixture(autouse=True)
def _today(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: NOW)


@pytest.fixture
def file(tmp_path):
    """A list of events of the sample's ^GSPC and of a ticker without prices."""
    path = tmp_path / "events.csv"
    path.write_text(LIST)
    return path


@pytest.fixture
def home(tmp_path, forecast, file):
    """The sample, and the events of the file."""
    assert forecast("fetch", "--source", "sample", "--events", file, "--home", tmp_path).code == 0
    return tmp_path


def test_a_file_of_events_alone_asks_nobody_and_is_stored(forecast, tmp_path, file):
    done = forecast("fetch", "--events", file, "--home", tmp_path, "--json")
    assert done.code == 0
    assert done.json["tickers"] == []
    row = {"status": "new", "error": None, "kind": None}
    assert done.json["events"] == [
        {"ticker": "ABC", "rows": 1, "new_rows": 1, "next": None, **row},
        {"ticker": "^GSPC", "rows": 3, "new_rows": 3, "next": "2024-04-25", **row},
    ]
    again = forecast("fetch", "--events", file, "--home", tmp_path)
    assert (again.code, again.out.count("up to date")) == (0, 2)
    assert Store(tmp_path).tickers() == []
    frame = EventStore(tmp_path).read(["^GSPC"])
    assert frame["time"].tolist() == ["pre", "post", "post"]
    assert frame["first_seen"].notna().tolist() == [False, False, True]


def test_prices_and_events_come_together_and_are_said(forecast, tmp_path, file):
    words = ("fetch", "--source", "sample", "--events", file, "--home", tmp_path, "^gspc")
    done = forecast(*words)
    assert done.code == 0
    table, line = done.out.rstrip().rsplit("\n", 1)
    assert "^IXIC" not in table
    assert line == "Earnings dates of ^GSPC: 3 stored, 3 new; next: ^GSPC 2024-04-25"
    assert EventStore(tmp_path).tickers() == ["^GSPC"]


def test_capitals_are_those_of_the_prices(forecast, tmp_path):
    days = calendars.sessions_between("ABC", "2023-01-03", "2023-12-29")
    closes = pd.DataFrame({"ticker": "Abc", "date": days.strftime("%Y-%m-%d")})
    closes["close"] = [10.5 + day for day in range(len(days))]
    closes.to_csv(tmp_path / "prices.csv", index=False)
    (tmp_path / "events.csv").write_text("ticker,date\nabc,2023-05-04\n")
    at = ("--home", tmp_path)
    source = ("--source", tmp_path / "prices.csv", "--events", tmp_path / "events.csv")
    assert forecast("fetch", *source, *at).code == 0
    assert EventStore(tmp_path).tickers() == Store(tmp_path).tickers() == ["Abc"]


def test_dates_of_the_events_are_bounded_and_ordered_as_asked(forecast, tmp_path, file):
    at = ("--home", tmp_path)
    assert forecast("fetch", "--events", file, "--start", "2024-02-05", *at).code == 0
    assert len(EventStore(tmp_path).read()) == 2
    file.write_text("ticker,date\nXYZ,03/04/2024\n")
    unclear = forecast("fetch", "--events", file, *at)
    assert (unclear.code, unclear.err.count("\n")) == (1, 1)
    assert "say --dates day-first or --dates month-first" in unclear.err
    assert forecast("fetch", "--events", file, "--dates", "day-first", *at).code == 0
    assert EventStore(tmp_path).read(["XYZ"])["date"].tolist() == [pd.Timestamp("2024-04-03")]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--events", "FILE", "--no-events"], 2, "--no-events leaves them out"),
        (["--events", "FILE", "--columns", "date,close"], 2, "yahoo is none"),
        (["--events", "nowhere.csv"], 1, "there is no file nowhere.csv"),
        (["--events", "FILE", "XYZ"], 1, "has no events of XYZ; it has those of ABC, ^GSPC"),
        (["--events", "FILE", "--source", "nowhere.csv"], 1, "there is no file nowhere.csv"),
    ],
)
def test_wrong_words_are_refused_in_a_line_and_nothing_is_stored(
    forecast, tmp_path, file, words, code, message
):
    words = [file if word == "FILE" else word for word in words]
    refused = forecast("fetch", *words, "--home", tmp_path / "home")
    assert (refused.code, refused.out) == (code, "")
    assert message in refused.err
    assert refused.err.startswith("error: ")
    assert not (tmp_path / "home" / "events").exists()


def test_some_of_the_tickers_without_events_are_named(forecast, tmp_path, file):
    done = forecast("fetch", "--source", "sample", "--events", file, "^GSPC", "^IXIC",
                    "--home", tmp_path)  # fmt: skip
    assert done.code == 0
    assert f"warning: {file} has no events of ^IXIC\n" in done.err


def test_the_list_has_events_where_there_are_some(forecast, home):
    listed = forecast("data", "list", "--home", home)
    head, _, first, *_ = listed.out.splitlines()
    assert head.split()[-2:] == ["earnings", "next"]
    assert first.split()[0] == "^GSPC"
    assert first.split()[-2:] == ["3", "2024-04-25"]
    assert "Earnings dates alone, without prices: ABC" in listed.out
    document = forecast("data", "list", "--home", home, "--json").json
    assert [(it["events"], it["next_event"]) for it in document["tickers"]] == [
        (3, "2024-04-25"),
        (0, None),
    ]
    assert document["events_alone"] == ["ABC"]
    assert forecast("data", "remove", "^GSPC", "abc", "--home", home).code == 0
    assert "earnings" not in forecast("data", "list", "--home", home).out


def test_doubtful_dates_are_named(forecast, home, file):
    file.write_text("ticker,date\n^GSPC,2020-05-02\n^GSPC,2024-02-05\n")
    assert forecast("fetch", "--events", file, "--home", home).code == 0
    checked = forecast("data", "check", "^GSPC", "--home", home, "--json")
    assert checked.json["tickers"][0]["events"] == {
        "rows": 5,
        "untimed": 2,
        "gaps": ["2020-05-02"],
        "crowded": ["2024-02-05"],
        "weekend": ["2020-05-02"],
    }
    said = forecast("data", "check", "--home", home).out
    assert (
        "^GSPC has 5 earnings dates: no other for more than a year after 2020-05-02; "
        "2024-02-05 within 20 days of the one before; 2020-05-02 on a weekend\n" in said
    )
    assert "^IXIC has" not in said


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet", ".xlsx"])
def test_events_are_exported_and_come_back(forecast, home, tmp_path, suffix):
    file, other = tmp_path / f"out{suffix}", tmp_path / "other"
    done = forecast("data", "export", file, "--events", "--home", home, "--json")
    assert done.json == {
        "schema": "forecaster/data-export/1",
        "out": str(file),
        "table": "events",
        "rows": 4,
    }
    if suffix == ".json":
        import json

        validated(json.loads(file.read_text()))
    elif suffix != ".xlsx":
        assert forecast("fetch", "--events", file, "--home", other).code == 0
        pd.testing.assert_frame_equal(EventStore(other).read(), EventStore(home).read())


def test_an_export_of_no_events_is_refused(forecast, home, tmp_path):
    file = tmp_path / "out.csv"
    for words, message in (
        (["^IXIC"], "no earnings dates are stored of ^IXIC"),
        (["--start", "2025-01-01"], "between these dates"),
        (["NOPE"], "not stored: NOPE"),
        (["--layout", "nixtla"], "leave out --layout or --events"),
    ):
        refused = forecast("data", "export", file, "--events", *words, "--home", home)
        assert refused.code in (1, 2)
        assert message in refused.err
        assert not file.exists()


def test_events_go_with_the_prices(forecast, home):
    removed = forecast("data", "remove", "^gspc", "--home", home, "--json")
    assert removed.json["removed"] == ["^GSPC"]
    assert (Store(home).tickers(), EventStore(home).tickers()) == (["^IXIC"], ["ABC"])
    assert forecast("data", "remove", "abc", "--home", home).code == 0
    assert EventStore(home).read().empty
    refused = forecast("data", "remove", "^IXIC", "abc", "--home", home)
    assert (refused.code, Store(home).tickers()) == (1, ["^IXIC"])
    pd.testing.assert_frame_equal(EventStore(home).read(), events.empty())


def test_a_damaged_record_is_named_by_every_command_that_reads_it(forecast, home, tmp_path):
    path = home / "events" / "^GSPC.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    for words in (["list"], ["check"], ["export", tmp_path / "out.csv", "--events"]):
        done = forecast("data", *words, "--home", home)
        assert done.code == 1
        assert f"cannot read {path}: " in done.err
        assert "Traceback" not in done.err
    for command in ("list", "check"):  # of the prices all the same
        assert "\n ^GSPC " in forecast("data", command, "--home", home).out
    assert forecast("data", "export", tmp_path / "out.csv", "--home", home).code == 0
