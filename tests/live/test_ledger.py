import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.data import calendars, prices
from forecaster.data.store import Store
from forecaster.distributions import forecasts
from forecaster.errors import StoreError, UsageError
from forecaster.live import database, ledger
from forecaster.live.ledger import Origin, Recorded

EVENING = pd.Timestamp("2024-03-14 21:00", tz="UTC")  # a Thursday; New York opens at 13:30
ORIGINS = {
    "lstm": Origin("lstm", "mine", "ab" * 32, "2023-12-29", {"forecaster": "1.0"}),
    "gjr": Origin("gjr", "", "", "2023-12-29", {"forecaster": "1.0"}, "yearly"),
}
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "ledger.md"


def frame(cutoff="2024-03-14", tickers=("AAPL", "MSFT"), models=("lstm", "gjr"), steps=(1, 5)):
    """Forecasts of a model each, of tickers each, of sessions ahead each."""
    days = calendars.next_sessions("AAPL", pd.Timestamp(cutoff), max(steps))
    return forecasts.concat(
        forecasts.from_student_t(
            ticker=list(tickers),
            model=model,
            cutoff=[pd.Timestamp(cutoff)] * len(tickers),
            date=days[step - 1].date,
            last_close=100.0,
            log_return=np.nan,
            location=1e-4 * np.arange(1, len(tickers) + 1),
            scale=0.01 * step**0.5,
            df=5.0,
            step=step,
        )
        for model in models
        for step in steps
    )


def record(home, of, made=EVENING, origins=ORIGINS):
    return ledger.record(home, of, origins, dict.fromkeys(of["ticker"], "cd" * 32), made=made)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The file of a ledger of two evenings, and what came of two returns."""
    home = tmp_path_factory.mktemp("written")
    record(home, frame())
    record(home, frame("2024-03-15"), made=EVENING + pd.Timedelta(days=1))
    settle(home, ["AAPL", 0.01, 101.0], ["MSFT", -0.02, 98.0])
    return (home / "ledger.db").read_bytes()


def settle(home, *outcomes):
    """Settle the first returns of tickers each."""
    instant, day = "2024-03-15T21:00:00.000000Z", "2024-03-15"
    with database.writing(home) as file:
        for ticker, log_return, close in outcomes:
            row = [instant, ticker, "2024-03-14", 1, day, "settled", log_return, 100.0, close]
            database.append(file, "settlements", [row])


@pytest.fixture
def kept(tmp_path, written):
    """A home with that ledger."""
    (tmp_path / "ledger.db").write_bytes(written)
    return tmp_path


def opened(home):
    return closing(sqlite3.connect(home / "ledger.db", isolation_level=None))


def tamper(home, *statements, values=()):
    """Change a ledger as somebody would who knows SQLite, and drop its triggers for it."""
    with opened(home) as file:
        triggers = [
            row[0] for row in file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        ]
        made = [database.SCHEMA[name] for name in triggers]
        for name in triggers:
            file.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            file.execute(statement, values)
        for sql in made:
            file.execute(sql)


# ---- what is written is what is read


def test_forecasts_come_back_as_they_were_recorded(tmp_path):
    made = frame()
    assert record(tmp_path, made) == Recorded(8, 0)
    back = ledger.read(tmp_path)
    pd.testing.assert_frame_equal(back[forecasts.FORECAST_COLUMNS], made)
    forecasts.check(back)
    assert back["run"].tolist() == ["mine"] * 4 + [""] * 4
    assert (back["made_at"] == EVENING).all()
    assert (back["opens_at"] == pd.Timestamp("2024-03-15 13:30", tz="UTC")).all()
    assert back["status"].isna().all()
    assert back["settled_date"].isna().all()
    assert not back["late"].any()


def test_forecasts_by_quantiles_alone_have_no_parameters(tmp_path):
    quantiles = np.linspace(-0.05, 0.05, 23)[None, :]
    made = forecasts.from_quantiles(
        ticker="AAPL", model="lstm", cutoff=[pd.Timestamp("2024-03-14")],
        date=pd.Timestamp("2024-03-15"), last_close=100.0, log_return=np.nan, quantiles=quantiles,
    )  # fmt: skip
    record(tmp_path, made)
    back = ledger.read(tmp_path)
    pd.testing.assert_frame_equal(back[forecasts.FORECAST_COLUMNS], made)
    assert ledger.verify(tmp_path).problems == []


@settings(max_examples=20)
@given(st.lists(st.floats(-1, 1), min_size=23, max_size=23), st.floats(1e-9, 1e9))
def test_every_number_comes_back_bit_for_bit(tmp_path_factory, quantiles, close):
    home = tmp_path_factory.mktemp("home")
    made = forecasts.from_quantiles(
        ticker="AAPL", model="lstm", cutoff=[pd.Timestamp("2024-03-14")],
        date=pd.Timestamp("2024-03-15"), last_close=close, log_return=np.nan,
        quantiles=np.array([quantiles]),
    )  # fmt: skip
    record(home, made)
    back = ledger.read(home)[forecasts.FORECAST_COLUMNS]
    numbers = [*forecasts.QUANTILES, "last_close", "mean", "volatility"]
    assert (back[numbers].to_numpy() == made[numbers].to_numpy()).all()
    assert ledger.verify(home).problems == []


def test_what_is_wanted_is_read_alone(kept):
    days = [pd.Timestamp(day) for day in ("2024-03-15", "2024-03-18", "2024-03-21", "2024-03-22")]
    assert sorted(ledger.read(kept)["date"].unique()) == days
    read = ledger.read(kept, tickers=["MSFT"], run="mine", steps=[5])
    assert read[["ticker", "run", "step"]].drop_duplicates().values.tolist() == [
        ["MSFT", "mine", 5]
    ]
    assert len(read) == 2
    assert sorted(ledger.read(kept, first=days[1], last=days[2])["date"].unique()) == days[1:3]
    assert set(ledger.read(kept, run="")["model"]) == {"gjr"}
    assert ledger.read(kept, tickers=[]).empty
    settled = ledger.read(kept, last=days[0])
    assert settled["status"].tolist() == ["settled"] * 4
    assert settled["log_return"].tolist() == [0.01, -0.02] * 2
    assert (settled["settled_date"] == days[0]).all()


def test_a_home_without_a_ledger_reads_as_an_empty_one(tmp_path):
    read = ledger.read(tmp_path)
    assert read.empty
    record(tmp_path / "other", frame())
    assert read.dtypes.to_dict() == ledger.read(tmp_path / "other").dtypes.to_dict()
    forecasts.check(read)
    assert ledger.head(tmp_path) == ledger.Head(0, "", 0, "")
    assert ledger.recorded(tmp_path, since=EVENING) == set()
    assert ledger.verify(tmp_path) == ledger.Verification(ledger.Head(), [])
    assert list(tmp_path.iterdir()) == [tmp_path / "other"]


def test_the_first_forecast_stays(tmp_path):
    first = frame()
    record(tmp_path, first)
    head = ledger.head(tmp_path)
    other = first.assign(mean=first["mean"] + 0.01)
    assert record(tmp_path, other, made=EVENING + pd.Timedelta(minutes=1)) == Recorded(0, 0)
    assert ledger.head(tmp_path) == head
    more = pd.concat([other, frame(tickers=["IBM"])], ignore_index=True)
    assert record(tmp_path, more) == Recorded(4, 0)
    back = ledger.read(tmp_path, tickers=["AAPL", "MSFT"])
    pd.testing.assert_frame_equal(back[forecasts.FORECAST_COLUMNS], first)


def test_another_run_of_the_same_model_is_another_forecast(tmp_path):
    record(tmp_path, frame())
    second = {"lstm": ORIGINS["lstm"]._replace(run="second")}
    assert record(tmp_path, frame(models=["lstm"]), origins=second) == Recorded(4, 0)
    assert len(ledger.read(tmp_path, run="second")) == 4


def test_what_was_recorded_is_known_without_reading_it(kept):
    cutoffs = [pd.Timestamp("2024-03-14"), pd.Timestamp("2024-03-15")]
    every = {
        (ticker, model, run, cutoff, step)
        for ticker in ("AAPL", "MSFT")
        for model, run in (("lstm", "mine"), ("gjr", ""))
        for cutoff in cutoffs
        for step in ledger.read(kept)["step"].unique()
    }
    assert ledger.recorded(kept, since=cutoffs[0]) == every
    assert ledger.recorded(kept, since=cutoffs[1]) == {it for it in every if it[3] == cutoffs[1]}


def test_an_origin_is_kept_once_and_says_what_made_a_forecast(kept):
    with opened(kept) as file:
        rows = file.execute("SELECT sha256, document FROM origins").fetchall()
    documents = [json.loads(document) for _, document in rows]
    assert sorted(it["model"] for it in documents) == ["gjr", "lstm"]
    (mine,) = [it for it in documents if it["model"] == "lstm"]
    assert mine == ORIGINS["lstm"]._asdict()


def test_forecasts_without_an_origin_or_prices_are_refused(tmp_path):
    with pytest.raises(
        UsageError, match="each model of the forecasts comes from, came nothing of gjr"
    ):
        ledger.record(tmp_path, frame(), {"lstm": ORIGINS["lstm"]}, {"AAPL": "", "MSFT": ""})
    with pytest.raises(
        UsageError, match="each ticker of the forecasts comes from, came nothing of MSFT"
    ):
        ledger.record(tmp_path, frame(), ORIGINS, {"AAPL": ""})
    assert not (tmp_path / "ledger.db").exists()


@pytest.mark.parametrize(
    "ticker", ["x' OR '1'='1", '"; DROP TABLE forecasts; --', "Ünï-Çødé株式", "T" * 200, "[%s]{}?"]
)
def test_a_hostile_name_is_a_name(tmp_path, ticker):
    made = frame(tickers=[ticker, "AAPL"])
    assert record(tmp_path, made) == Recorded(8, 0)
    assert record(tmp_path, made) == Recorded(0, 0)
    assert set(ledger.read(tmp_path, tickers=[ticker])["ticker"]) == {ticker}
    assert len(ledger.read(tmp_path)) == 8
    assert ledger.verify(tmp_path).problems == []


# ---- late


@pytest.mark.parametrize(
    ("ticker", "cutoff", "made", "late"),
    [
        ("AAPL", "2024-03-14", "2024-03-15 13:29", False),
        ("AAPL", "2024-03-14", "2024-03-15 13:30", True),
        ("AAPL", "2024-03-15", "2024-03-18 13:29", False),  # over a weekend
        ("7203.T", "2024-03-14", "2024-03-14 23:59", False),  # Tokyo opens at nine
        ("7203.T", "2024-03-14", "2024-03-15 00:00", True),
        # A coin's day begins at midnight, when the day before is over.
        ("BTC-USD", "2024-03-14", "2024-03-15 00:59", False),
        ("BTC-USD", "2024-03-14", "2024-03-15 01:00", True),
        ("EURUSD=X", "2024-03-14", "2024-03-15 00:59", False),
        ("EURUSD=X", "2024-03-14", "2024-03-15 01:00", True),
        ("COMI.CA", "2024-03-14", "2024-03-15 00:59", False),  # nobody knows when Cairo trades
        ("COMI.CA", "2024-03-14", "2024-03-15 01:00", True),
        # A future's day begins on the evening before.
        ("ES=F", "2024-03-14", "2024-03-14 22:59", False),
        ("ES=F", "2024-03-14", "2024-03-14 23:00", True),
    ],
)
def test_a_forecast_made_when_the_session_has_opened_is_late(tmp_path, ticker, cutoff, made, late):
    when = pd.Timestamp(made, tz="UTC")
    assert record(tmp_path, frame(cutoff, [ticker]), when) == Recorded(4, 4 * late)
    read = ledger.read(tmp_path)
    assert (read["late"] == late).all()
    assert ((read["made_at"] >= read["opens_at"]) == late).all()


def test_the_weekdays_of_a_history_say_when_a_bare_name_trades(tmp_path):
    days = pd.date_range("2023-10-01", "2024-03-14")
    history = prices.check(pd.DataFrame({"ticker": "FOO", "date": days, "close": 100.0}))
    Store(tmp_path).write(history, source="test")
    made = frame(tickers=["FOO"])
    record(tmp_path, made, pd.Timestamp("2024-03-15 02:00", tz="UTC"))
    assert ledger.read(tmp_path)["late"].all()  # as a coin, though New York has not opened
    ledger.record(
        tmp_path / "told", made, ORIGINS, {"FOO": ""}, histories={"FOO": history["date"]},
        made=pd.Timestamp("2024-03-15 02:00", tz="UTC"),
    )  # fmt: skip
    assert ledger.read(tmp_path / "told")["late"].all()


def test_a_forecast_of_a_session_whose_price_is_stored_is_late_whatever_the_clock_says(
    tmp_path, monkeypatch
):
    """Somebody set the clock back to the evening before, or no calendar knows of the session."""
    days = calendars.sessions_between(
        "AAPL", pd.Timestamp("2024-01-02"), pd.Timestamp("2024-03-15")
    )
    for ticker, its in (("AAPL", days), ("MSFT", days[:-1])):
        history = pd.DataFrame({"ticker": ticker, "date": its, "close": 100.0, "adj_close": 100.0})
        Store(tmp_path).write(prices.check(history), source="test")
    monkeypatch.setattr(calendars, "now", lambda: EVENING)
    assert record(tmp_path, frame(models=["lstm"], steps=[1]), made=None) == Recorded(2, 1)
    late = ledger.read(tmp_path).set_index("ticker")["late"]
    assert late.to_dict() == {"AAPL": True, "MSFT": False}


def test_forecasts_are_made_when_they_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(calendars, "now", lambda: EVENING + pd.Timedelta("123456us"))
    ledger.record(tmp_path, frame(), ORIGINS, {"AAPL": "", "MSFT": ""})
    with opened(tmp_path) as file:
        (made,) = file.execute("SELECT DISTINCT made_at FROM forecasts").fetchone()
    assert made == "2024-03-14T21:00:00.123456Z"


# ---- nothing is changed


@pytest.mark.parametrize("table", ["forecasts", "settlements", "origins"])
@pytest.mark.parametrize(
    "statement", ["UPDATE {} SET rowid = 99 WHERE rowid = 1", "DELETE FROM {}"]
)
def test_the_file_itself_refuses_changes(kept, table, statement):
    with opened(kept) as file, pytest.raises(sqlite3.Error, match="only added to"):
        file.execute(statement.format(table))


CELLS = {
    "forecasts": (16, list(database.CHAINS["forecasts"])),
    "settlements": (2, list(database.CHAINS["settlements"])),
    "origins": (2, ["sha256", "document"]),
}
"""The rows and the columns of the tables of a ledger that is ``kept``."""


@pytest.mark.parametrize("table", CELLS)
@pytest.mark.parametrize("value", [77, "ef" * 32, b"\xff\x00"], ids=["number", "text", "bytes"])
def test_a_change_of_any_cell_is_seen(kept, written, table, value):
    rng = np.random.default_rng(0)
    count, columns = CELLS[table]
    for column in columns:
        if column == "id" and value != 77:  # SQLite takes numbers alone
            continue
        row = f"SELECT rowid FROM {table} ORDER BY rowid LIMIT 1 OFFSET {rng.integers(count)}"
        tamper(kept, f'UPDATE {table} SET "{column}" = ? WHERE rowid = ({row})', values=(value,))
        assert ledger.verify(kept).problems, column
        (kept / "ledger.db").write_bytes(written)


@pytest.mark.parametrize("column", database.NUMBERS)
def test_a_change_of_any_bit_of_a_number_is_seen(kept, column):
    rng = np.random.default_rng(database.NUMBERS.index(column))
    row, bit = int(rng.integers(1, 17)), np.uint64(1 << int(rng.integers(52)))
    with opened(kept) as file:
        (value,) = file.execute(f'SELECT "{column}" FROM forecasts WHERE id = ?', (row,)).fetchone()
    flipped = float((np.float64(value).view(np.uint64) ^ bit).view(np.float64))
    tamper(kept, f'UPDATE forecasts SET "{column}" = ? WHERE id = {row}', values=(flipped,))
    (problem,) = ledger.verify(kept).problems
    assert problem == f"forecast {row} was changed: its values have another digest"


@pytest.mark.parametrize("row", [1, 7, 16])
def test_a_row_that_is_gone_is_missed(kept, row):
    tamper(kept, f"DELETE FROM forecasts WHERE id = {row}")
    problems = ledger.verify(kept).problems
    if row < 16:
        assert problems == [f"forecast {row} is missing; {row + 1} comes in its place"]
    else:
        assert problems == ["the end is missing: of 16 forecasts 15 are left"]


def test_a_settlement_that_is_gone_is_missed(kept):
    tamper(kept, "DELETE FROM settlements WHERE id = 2")
    assert ledger.verify(kept).problems == ["the end is missing: of 2 settlements 1 are left"]
    tamper(kept, "DELETE FROM settlements")
    assert ledger.verify(kept).problems == ["the end is missing: of 2 settlements 0 are left"]


def test_nothing_is_added_to_a_ledger_whose_end_was_tampered_with(kept):
    tamper(kept, "DELETE FROM forecasts WHERE id = 16")
    with pytest.raises(StoreError, match="`forecast ledger verify` says what is wrong"):
        record(kept, frame("2024-03-18"))
    assert len(ledger.read(kept)) == 15


def test_two_rows_that_changed_places_are_seen(kept):
    tamper(
        kept,
        "UPDATE forecasts SET id = 100 WHERE id = 3",
        "UPDATE forecasts SET id = 3 WHERE id = 4",
        "UPDATE forecasts SET id = 4 WHERE id = 100",
    )
    problems = ledger.verify(kept).problems
    assert "forecast 3 follows another one than when it was written" in problems
    assert "forecast 4 was changed: its values have another digest" in problems


def test_a_row_that_was_put_in_is_seen(kept):
    columns = ", ".join(
        f'"{it}"' for it in database.CHAINS["forecasts"] if it not in ("id", "ticker")
    )
    tamper(
        kept,
        f"INSERT INTO forecasts (ticker, {columns}) SELECT 'IBM', {columns} FROM forecasts WHERE id = 4",
    )
    assert ledger.verify(kept).problems[0].startswith("forecast 17 follows another one")


def test_an_origin_that_is_gone_or_new_is_seen(kept):
    tamper(kept, "DELETE FROM origins WHERE document LIKE '%gjr%'")
    assert any("has an origin that is missing" in it for it in ledger.verify(kept).problems)
    tamper(kept, f"INSERT INTO origins VALUES ('{database.sha256('{}')}', '{{}}')")
    assert any("is of no forecast" in it for it in ledger.verify(kept).problems)


@pytest.mark.parametrize("name", [it for it in database.SCHEMA if "_" in it])
def test_a_trigger_or_an_index_that_is_gone_is_missed(kept, name):
    kind = database.SCHEMA[name].split()[1].replace("UNIQUE", "INDEX")
    with opened(kept) as file:
        file.execute(f"DROP {kind} {name}")
    assert ledger.verify(kept).problems == [f"the {kind.lower()} {name} is missing"]


def test_a_trigger_that_does_nothing_and_one_that_none_has_are_seen(kept):
    with opened(kept) as file:
        file.execute("DROP TRIGGER forecasts_no_delete")
        file.execute(
            "CREATE TRIGGER forecasts_no_delete BEFORE DELETE ON forecasts BEGIN SELECT 1; END"
        )
        file.execute("CREATE TRIGGER mine AFTER INSERT ON forecasts BEGIN SELECT 1; END")
    assert ledger.verify(kept).problems == [
        "the trigger forecasts_no_delete is another one than was made",
        "there is a trigger mine, which no ledger has",
    ]


@pytest.mark.parametrize("name", ["sqlitex", "forecasts"])
def test_a_trigger_that_hides_behind_a_name_is_seen_and_hides_no_forecast(kept, name):
    with opened(kept) as file:
        file.execute(
            f"CREATE TRIGGER {name} BEFORE INSERT ON forecasts WHEN NEW.ticker = 'MSFT' "
            "BEGIN SELECT RAISE(IGNORE); END"
        )
    assert ledger.verify(kept).problems == [f"there is a trigger {name}, which no ledger has"]
    before = ledger.head(kept)
    with pytest.raises(StoreError, match="8 rows were to be added to forecasts and 4 were"):
        record(kept, frame("2024-03-18"), made=EVENING + pd.Timedelta(days=4))
    assert ledger.head(kept) == before


def test_a_settlement_whose_forecast_was_cut_off_is_seen(kept):
    """Who lowers the count of rows too hides that the end is missing, but not what was settled."""
    tamper(
        kept, "DELETE FROM forecasts", "UPDATE sqlite_sequence SET seq = 0 WHERE name = 'forecasts'"
    )
    assert "settlement 1 is of no forecast" in ledger.verify(kept).problems


def test_many_problems_are_counted(tmp_path):
    record(tmp_path, frame(tickers=[f"T{i}" for i in range(60)]))
    tamper(tmp_path, "UPDATE forecasts SET mean = mean + 1")
    problems = ledger.verify(tmp_path).problems
    assert len(problems) == 101
    assert problems[-1] == "and 140 more problems"


# ---- the head


def test_a_posted_head_is_in_every_longer_ledger(kept):
    empty, posted = ledger.Head().digest, ledger.head(kept).digest
    record(kept, frame("2024-03-18"))
    assert ledger.head(kept).digest != posted
    for digest in (empty, posted, f" {posted.upper()}\n", ledger.head(kept).digest):
        assert ledger.verify(kept, digest).problems == []


def test_a_ledger_written_anew_has_not_the_posted_head(kept, tmp_path):
    posted = ledger.head(kept).digest
    (kept / "ledger.db").unlink()
    (problem,) = ledger.verify(kept, posted).problems
    assert problem == "the posted digest is of 16 forecasts and 2 settlements, and here are 0 and 0"
    better = frame().assign(mean=0.02)
    record(kept, better)
    (problem,) = ledger.verify(kept, posted).problems
    assert problem == "the posted digest is of 16 forecasts and 2 settlements, and here are 8 and 0"
    record(kept, frame("2024-03-15"))
    settle(kept, ["AAPL", 0.0, 100.0], ["MSFT", 0.0, 100.0])
    assert ledger.verify(kept).problems == []
    (problem,) = ledger.verify(kept, posted).problems
    assert problem.endswith("are not those of the posted digest")


@pytest.mark.parametrize(
    "digest", ["", "abc", "12-3", f"1-2-{'g' * 64}", f"-1-2-{'a' * 64}", "é" * 300]
)
def test_what_is_no_digest_is_refused(tmp_path, digest):
    with pytest.raises(
        UsageError, match="expected a digest as `forecast ledger head` prints it"
    ) as it:
        ledger.verify(tmp_path, digest)
    assert "\n" not in str(it.value)


def test_a_stranger_can_verify_with_the_ten_lines_of_the_page(kept):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line]) == 10

    def run():
        return subprocess.run(
            [sys.executable, "-c", code], cwd=kept, capture_output=True, text=True, check=False
        )

    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == ledger.head(kept).digest
    tamper(kept, "UPDATE forecasts SET mean = mean + 1e-12 WHERE id = 5")
    assert run().returncode == 1


# ---- the file


def listed(home):
    return sorted(it.name for it in home.iterdir() if it.suffix != ".lock")


def test_readers_make_and_change_no_file(kept):
    before = (kept / "ledger.db").read_bytes(), listed(kept)
    ledger.read(kept)
    ledger.head(kept)
    ledger.verify(kept)
    ledger.recorded(kept, since=EVENING)
    assert ((kept / "ledger.db").read_bytes(), listed(kept)) == before
    assert before[1] == ["ledger.db"]


def test_readers_read_what_is_written_while_somebody_writes(kept):
    with database.writing(kept) as file:
        row = ["2024-03-18T21:00:00.000000Z", "AAPL", "2024-03-15", 1, None, "vanished", None, None]
        database.append(file, "settlements", [[*row, None]])
        assert ledger.head(kept).settlements == 2
        assert len(ledger.read(kept)) == 16
    assert ledger.head(kept).settlements == 3
    assert listed(kept) == ["ledger.db"]


def test_an_empty_log_that_a_full_disk_left_is_no_hindrance_to_readers(kept):
    """Without room for an index of it SQLite would not read at all."""
    before = ledger.head(kept)
    (kept / "ledger.db-wal").touch()
    (kept / "ledger.db-shm").mkdir()  # no index can be made
    assert ledger.head(kept) == before
    assert ledger.verify(kept).problems == []


def test_what_a_killed_writer_had_written_is_read(kept):
    """His log lies beside the file, with rows that are not in the file yet."""
    code = (
        "import os; from pathlib import Path; from forecaster.live import database\n"
        "with database.writing(Path.cwd()) as file:\n"
        "    values = ['2024', 'AAPL', '2024-03-15', 1, None, 'vanished', None, None, None]\n"
        "    database.append(file, 'settlements', [values])\n"
        "    file.execute('COMMIT'); file.execute('BEGIN')\n"
        "    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=kept, check=False).returncode == 9
    assert (kept / "ledger.db-wal").exists()
    assert ledger.head(kept).settlements == 3
    assert ledger.verify(kept).problems == []
    record(kept, frame("2024-03-18"))
    assert ledger.head(kept)[0::2] == (24, 3)
    assert listed(kept) == ["ledger.db"]


READER = """
import os, sys; from pathlib import Path; from forecaster.live import ledger
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
home = Path(sys.argv[1])
print(len(ledger.read(home)), ledger.verify(home).problems, ledger.head(home).digest)
"""


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="of systems with users")
def test_a_ledger_on_a_read_only_disk_is_read(kept, tmp_path_factory):
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        shutil.copy(kept / "ledger.db", home)
        (home / "ledger.db").chmod(0o444)
        home.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", READER, home], capture_output=True, text=True, check=False
        )
        assert done.stderr == ""
        assert done.stdout.split() == ["16", "[]", ledger.head(kept).digest]
        home.chmod(0o755)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda whole: b"no database " * 1000, "is damaged (file is not a database)"),
        (lambda whole: whole[: len(whole) // 2], "is damaged ("),
        (lambda whole: whole[:1000], "is damaged ("),
        (lambda whole: b"", "is no ledger of Forecaster"),
        (lambda whole: whole[:4096] + b"\xff" * (len(whole) - 4096), "is damaged ("),
    ],
    ids=["text", "half", "less than a page", "empty", "overwritten"],
)
def test_a_damaged_ledger_is_one_line_and_stays_as_it_is(kept, content, said):
    file = kept / "ledger.db"
    file.write_bytes(content(file.read_bytes()))
    before = file.read_bytes()
    for use in (
        lambda: record(kept, frame("2024-03-18")),
        lambda: ledger.read(kept),
        lambda: ledger.verify(kept),
    ):
        with pytest.raises(StoreError) as it:
            use()
        assert said in str(it.value)
        assert "move it away" in str(it.value)
        assert "\n" not in str(it.value)
        assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("forecasts.date", "x'ff00'"),
        ("forecasts.last_close", "'x'"),
        ("settlements.date", "'99999-01-01'"),
    ],
)
def test_what_makes_no_sense_is_one_line_in_every_command(kept, forecast, column, cell):
    table, name = column.split(".")
    tamper(kept, f"UPDATE {table} SET {name} = {cell} WHERE id = 1")
    assert forecast("ledger", "verify", "--home", kept).code == 1
    for words in ([], ["score"], ["export", kept / "out.csv"]):
        result = forecast("ledger", *words, "--home", kept)
        if result.code:
            assert "verify` says what is wrong" in result.err
            assert result.err.count("\n") == 1


def test_another_database_and_a_later_format_are_not_touched(kept):
    with opened(kept) as file:
        file.execute("PRAGMA user_version = 2")
    for use in (lambda: record(kept, frame("2024-03-18")), lambda: ledger.read(kept)):
        with pytest.raises(
            StoreError, match=r"has the format 2, and this version .* knows 1; install"
        ):
            use()
    (kept / "ledger.db").unlink()
    with opened(kept) as file:
        file.execute("CREATE TABLE forecasts (mine)")
    for use in (lambda: record(kept, frame("2024-03-18")), lambda: ledger.verify(kept)):
        with pytest.raises(StoreError, match="is no ledger of Forecaster"):
            use()


def test_a_full_disk_leaves_what_was_there(kept, monkeypatch):
    before = ledger.head(kept)
    connected = database._connected

    def small(path, mode):
        file = connected(path, mode)
        (pages,) = file.execute("PRAGMA page_count").fetchone()
        file.execute(f"PRAGMA max_page_count = {pages + 2}")
        return file

    monkeypatch.setattr(database, "_connected", small)
    many = frame("2024-03-18", [f"T{i}" for i in range(100)])
    with pytest.raises(StoreError, match="database or disk is full; what was there is unchanged"):
        record(kept, many)
    monkeypatch.undo()
    assert ledger.verify(kept) == (before, [])
    record(kept, many)
    assert ledger.verify(kept).problems == []


def test_a_home_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        record(tmp_path / "file", frame())
    (tmp_path / "ledger.db").mkdir()
    with pytest.raises(StoreError, match="cannot read"):
        ledger.read(tmp_path)


def test_who_waits_in_vain_says_so(kept, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    with database.writing(kept), pytest.raises(StoreError, match="in use by another process"):
        record(kept, frame("2024-03-18"))


def test_an_error_in_the_middle_leaves_nothing(kept):
    before = ledger.head(kept)

    def fail():
        with database.writing(kept) as file:
            file.execute("INSERT INTO origins VALUES ('a', 'b')")
            file.execute("INSERT INTO nowhere VALUES (1)")

    with pytest.raises(StoreError, match="no such table"):
        fail()
    assert ledger.verify(kept) == (before, [])


RECORDER = """
import sys; from pathlib import Path
import pandas as pd
from forecaster.live import ledger
home, model = Path(sys.argv[1]), sys.argv[2]
made = pd.Timestamp("2024-03-14 21:00", tz="UTC")
frame = pd.read_pickle(home / "frame")
for at in range(0, len(frame), 20):
    some = frame[at : at + 20].assign(model=model)
    origins = {model: ledger.Origin(model, "", "", "2023-12-29", {})}
    ledger.record(home, some, origins, dict.fromkeys(some["ticker"], ""), histories={}, made=made)
"""


def test_several_may_record_at_once_and_begin_the_ledger_at_once(tmp_path):
    made = frame(tickers=[f"T{i}" for i in range(100)], models=["lstm"], steps=[1, 2])
    made.to_pickle(tmp_path / "frame")
    # Two of them record the same.
    words = [[sys.executable, "-c", RECORDER, tmp_path, model] for model in ("a", "b", "b")]
    running = [subprocess.Popen(it) for it in words]
    while any(it.poll() is None for it in running):  # readers see whole writes alone
        assert len(ledger.read(tmp_path)) % 20 == 0
        assert ledger.verify(tmp_path).problems == []
    assert [it.wait() for it in running] == [0, 0, 0]
    read = ledger.read(tmp_path)
    assert read.groupby("model").size().to_dict() == {"a": 200, "b": 200}
    for model in ("a", "b"):
        own = read[read["model"] == model][forecasts.FORECAST_COLUMNS].reset_index(drop=True)
        pd.testing.assert_frame_equal(own, made.assign(model=model).astype({"model": "str"}))
    assert ledger.verify(tmp_path).problems == []
