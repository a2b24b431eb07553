import json
import re
import shutil
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from forecaster.data import prices
from forecaster.data.store import Saved, Store
from forecaster.errors import HistoryChangedError, PricesError, StoreError

TICKERS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


def history(ticker, start, end, factor=1.0):
    """Weekday prices that depend on the date alone, so that two histories of a ticker agree."""
    days = pd.bdate_range(start, end, unit="us")
    close = factor * (100 + (days - pd.Timestamp("2000-01-01")).days / 100)
    return prices.check(pd.DataFrame({"ticker": ticker, "date": days, "close": close}))


def failure(call, *arguments, **options):
    with pytest.raises(StoreError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_written_is_read(tmp_path):
    both = pd.concat([history("^GSPC", "2018-01-01", "2018-02-01"), history("a/b", "2017", "2018")])
    store = Store(tmp_path)
    saved = store.write(both, source="sample")
    assert [(one.ticker, one.rows, one.new_rows) for one in saved] == [
        ("^GSPC", 24, 24),
        ("a/b", 261, 261),
    ]
    assert store.tickers() == ["^GSPC", "a/b"]
    pd.testing.assert_frame_equal(store.read(), prices.check(both))
    pd.testing.assert_frame_equal(store.read(["a/b"]), history("a/b", "2017", "2018"))
    pd.testing.assert_frame_equal(store.read(["a/b", "^GSPC", "a/b"]), prices.check(both))


def test_a_stored_file_is_ordinary_parquet_with_a_note(tmp_path):
    store = Store(tmp_path)
    frame = history("AAPL", "2018-01-01", "2018-02-01").assign(
        volume=3.0, dividends=0.0, splits=0.0
    )
    store.write(frame, source="yahoo", notes={"currency": "USD"})
    path = tmp_path / "prices" / "AAPL.parquet"
    pd.testing.assert_frame_equal(pd.read_parquet(path), frame.astype({"volume": "int64"}))
    note = json.loads(pq.read_metadata(path).metadata[b"forecaster"])
    assert note.keys() == {"format", "ticker", "source", "fetched_at", "notes"}
    assert (note["format"], note["ticker"], note["source"]) == (3, "AAPL", "yahoo")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", note["fetched_at"])
    assert note["notes"] == {"currency": "USD"}


def test_volumes_are_whole_numbers_on_disk_and_may_be_unknown(tmp_path):
    store = Store(tmp_path)
    frame = history("AAPL", "2018-01-01", "2018-01-05")
    frame["volume"] = [0.0, 0.6, np.nan, 2.0**62, 5e9]
    store.write(frame, source="yahoo")
    read = store.read()["volume"]
    assert read.dtype == "float64"
    assert read.fillna(-1).tolist() == [0, 1, -1, 2.0**62, 5e9]
    with pytest.raises(PricesError, match=r"volume is 9\.22"):
        store.write(frame.assign(volume=2.0**63), source="yahoo")


def test_only_what_is_asked_for_is_read(tmp_path):
    store = Store(tmp_path)
    frame = history("AAPL", "2018-01-01", "2018-01-12").assign(dividends=[0.0] * 9 + [0.5])
    store.write(frame, source="yahoo")
    read = store.read(columns=["date", "dividends"], start=date(2018, 1, 10), end=date(2018, 1, 12))
    assert read["dividends"].tolist() == [0, 0, 0.5]
    assert list(read) == ["date", "dividends"]
    assert store.read(end=date(2018, 1, 2))["close"].tolist() == frame["close"].tolist()[:2]
    assert store.read(columns=["splits"])["splits"].isna().all()


def test_one_ticker_after_the_other_is_all_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr("forecaster.data.store.AHEAD", 2)
    store = Store(tmp_path)
    for ticker in ("B", "A", "C"):
        store.write(
            history(ticker, "2018-01-01", f"2018-0{len(store.tickers()) + 2}"), source="test"
        )
    each = list(store.each(["C", "A", "B", "A"]))
    assert [it["ticker"].iloc[0] for it in each] == ["A", "B", "C"]
    pd.testing.assert_frame_equal(pd.concat(each, ignore_index=True), store.read())
    with pytest.raises(StoreError, match="not stored: D"):
        list(store.each(["A", "D"]))


def test_files_of_the_first_format_are_read(tmp_path):
    store = Store(tmp_path)
    frame = history("AAPL", "2018-01-01", "2018-01-12").assign(volume=2.5)
    store.folder.mkdir()
    note = {"format": 1, "ticker": "AAPL", "source": "x", "fetched_at": "2018-01-13T00:00:00Z"}
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({b"forecaster": json.dumps(note)})
    pq.write_table(table, store.folder / "AAPL.parquet")
    pd.testing.assert_frame_equal(store.read(), frame)
    assert store.state("AAPL").notes == {}
    later = history("AAPL", "2018-01-10", "2018-01-19").assign(dividends=0.0, splits=0.0)
    assert store.write(later, source="yahoo")[0].rows == 15
    assert store.read(columns=["dividends"])["dividends"].notna().sum() == 8


def test_the_state_tells_what_reading_would(tmp_path):
    store = Store(tmp_path)
    assert store.state("A") is None
    notes = {"currency": "GBp", "timezone": "Europe/London"}
    begun = pd.Timestamp.now("UTC").floor("s")
    store.write(history("A", "2017-01-02", "2017-01-03"), source="prices.csv", notes=notes)
    state = store.state("A")
    assert (state.ticker, state.rows, state.source) == ("A", 2, "prices.csv")
    assert (state.first, state.last) == (pd.Timestamp("2017-01-02"), pd.Timestamp("2017-01-03"))
    assert state.notes == notes
    assert begun <= state.fetched_at <= pd.Timestamp.now("UTC")
    # What another source does not tell is kept.
    store.write(history("A", "2017-01-03", "2017-01-04"), source="yahoo", notes={"exchange": "LSE"})
    assert store.state("A").notes == notes | {"exchange": "LSE"}


def test_more_of_the_same_history_joins_it(tmp_path):
    store = Store(tmp_path)
    store.write(history("AAPL", "2018-01-01", "2018-03-01"), source="yahoo")
    later = history("AAPL", "2018-02-26", "2018-03-09", factor=1 + 5e-6)
    (saved,) = store.write(later, source="yahoo")
    first, last = pd.Timestamp("2018-01-01"), pd.Timestamp("2018-03-09")
    assert saved == Saved("AAPL", 50, 6, first, last, False, later)
    assert saved.recent["date"].iloc[-1] == last
    # The new values win where they differ by rounding.
    assert store.read()["close"].tolist()[-10:] == later["close"].tolist()
    earlier = history("AAPL", "2017-12-01", "2018-01-05")
    assert store.write(earlier, source="yahoo")[0].rows == 71
    whole = history("AAPL", "2017-12-01", "2018-03-09")
    np.testing.assert_allclose(store.read()["close"], whole["close"], rtol=1e-5)


def test_the_next_session_joins_without_an_overlap(tmp_path):
    store = Store(tmp_path)
    store.write(history("AAPL", "2018-01-08", "2018-01-12"), source="yahoo")
    # Monday the 15th was a holiday.
    assert store.write(history("AAPL", "2018-01-16", "2018-01-17"), source="yahoo")[0].rows == 7


def test_a_gap_is_refused_and_changes_nothing(tmp_path):
    store = Store(tmp_path)
    store.write(history("AAPL", "2018-01-08", "2018-01-12"), source="yahoo")
    for start, end in (("2018-01-17", "2018-01-18"), ("2017-12-01", "2018-01-04")):
        text = failure(store.write, history("AAPL", start, end), source="yahoo")
        assert "2018-01-08 to 2018-01-12 is stored" in text
        assert "`refresh`" in text
    assert len(store.read()) == 5


def test_another_history_is_refused_unless_it_covers_or_refreshes(tmp_path):
    store = Store(tmp_path)
    old = history("AAPL", "2018-01-01", "2018-01-12")
    halved = history("AAPL", "2018-01-10", "2018-01-19", factor=0.5)
    store.write(old, source="yahoo")
    text = failure(store.write, halved, source="yahoo")
    assert "AAPL 2018-01-10: close is 82.9" in text
    assert "3 of 3 common dates" in text
    assert "`refresh`" in text
    pd.testing.assert_frame_equal(store.read(), old)

    assert store.write(halved, source="yahoo", refresh=True)[0].new_rows == 8
    pd.testing.assert_frame_equal(store.read(), halved)

    covering = history("AAPL", "2018-01-10", "2018-01-22")
    assert store.write(covering, source="yahoo")[0].new_rows == 1
    pd.testing.assert_frame_equal(store.read(), covering)


def test_a_whole_history_takes_the_place_of_another_one_but_not_of_a_longer_one(tmp_path):
    store = Store(tmp_path)
    old = history("AAPL", "2018-01-01", "2018-06-29")
    store.write(old, source="yahoo", notes={"currency": "GBp"})
    pounds = history("AAPL", "2018-01-01", "2018-07-06", factor=0.01)
    saved = store.write(pounds, source="yahoo", whole=True, notes={"currency": "GBP"})[0]
    assert (saved.replaced, saved.rows, saved.new_rows) == (True, 135, 5)
    assert store.state("AAPL").notes["currency"] == "GBP"
    pd.testing.assert_frame_equal(store.read(), pounds)

    for factor in (0.01, 1.0):  # the same history and another one
        short = history("AAPL", "2018-03-01", "2018-07-13", factor=factor)
        text = failure(store.write, short, source="yahoo", whole=True)
        assert "lacks 43 of the 135 stored ones" in text
        assert "`refresh`" in text
    pd.testing.assert_frame_equal(store.read(), pounds)
    assert store.write(short, source="yahoo", whole=True, refresh=True)[0].rows == 97


def test_another_currency_is_another_history(tmp_path):
    store = Store(tmp_path)
    frame = history("VOD.L", "2018-01-01", "2018-03-01")
    store.write(frame, source="yahoo", notes={"currency": "GBp"})
    with pytest.raises(HistoryChangedError, match="in GBP now and in GBp in the store"):
        store.write(frame[-9:], source="yahoo", notes={"currency": "GBP"})


def test_bad_prices_never_reach_the_disk(tmp_path):
    bad = history("AAPL", "2018-01-01", "2018-01-12")
    bad.loc[3, "close"] = 0.0
    with pytest.raises(PricesError):
        Store(tmp_path).write(bad, source="yahoo")
    assert Store(tmp_path).tickers() == []


def test_an_empty_store_says_how_to_fill_it(tmp_path):
    for store in (Store(tmp_path), Store(tmp_path / "nowhere")):
        assert store.tickers() == []
        assert "no prices are stored" in failure(store.read)
        assert "forecast fetch" in failure(store.read, ["AAPL"])


def test_an_unknown_ticker_is_named_with_its_neighbours(tmp_path):
    store = Store(tmp_path)
    store.write(history("AAPL", "2018-01-01", "2018-01-12"), source="yahoo")
    text = failure(store.read, ["aapl", "AAPL", "ZZZZ"])
    assert text.startswith("not stored: aapl, ZZZZ; did you mean AAPL?")
    assert "forecast fetch aapl ZZZZ" in text


def test_hidden_and_foreign_names_are_no_tickers(tmp_path):
    store = Store(tmp_path)
    store.write(history("AAPL", "2018-01-01", "2018-01-12"), source="yahoo")
    for name in (".AAPL.parquet.x1", "notes.txt", "aapl.parquet", "%FF.parquet", ".parquet"):
        (store.folder / name).write_bytes(b"x")
    assert store.tickers() == ["AAPL"]


def test_a_damaged_file_is_named_with_the_way_out(tmp_path):
    store = Store(tmp_path)
    good = history("AAPL", "2018-01-01", "2018-06-29")
    path = store.folder / "AAPL.parquet"
    store.write(good, source="yahoo")
    whole = path.read_bytes()
    flipped = whole[:300] + bytes([whole[300] ^ 1]) + whole[301:]
    for content in (b"", b"not parquet at all", whole[:-50], whole[: len(whole) // 2], flipped):
        path.write_bytes(content)
        text = failure(store.read)
        assert str(path) in text
        assert "fetch AAPL again with `refresh`" in text
    assert store.write(good, source="yahoo", refresh=True)[0].rows == len(good)
    pd.testing.assert_frame_equal(store.read(), good)


def test_a_flipped_bit_is_noticed_wherever_it_is(tmp_path):
    store = Store(tmp_path)
    store.write(history("AAPL", "2018-01-01", "2018-06-29"), source="yahoo")
    path = store.folder / "AAPL.parquet"
    whole = path.read_bytes()
    spread = np.linspace(0, len(whole) - 1, 200).astype(int)
    seal = range(whole.rindex(b"forecaster.crc32:"), whole.rindex(b"forecaster.crc32:") + 25)
    version = whole.rindex(b'{"format": 3')
    for number, at in enumerate((*spread, *seal, *range(version, version + 12))):
        flipped = bytes([whole[at] ^ 1 << number % 8])
        path.write_bytes(whole[:at] + flipped + whole[at + 1 :])
        for read in (store.read, lambda: store.state("AAPL"), lambda: store.mends("AAPL")):
            assert "cannot read" in failure(read)
    path.write_bytes(whole)
    assert store.state("AAPL").rows == len(store.read())


def test_files_of_the_second_format_are_read_without_a_checksum_of_the_whole(tmp_path):
    store, good = Store(tmp_path), history("AAPL", "2018-01-01", "2018-01-12")
    store.write(good, source="yahoo")
    path = store.folder / "AAPL.parquet"
    table = pq.read_table(path)
    note = json.loads(table.schema.metadata[b"forecaster"]) | {"format": 2}
    table = table.replace_schema_metadata({b"forecaster": json.dumps(note)})
    pq.write_table(table, path, write_page_checksum=True)
    pd.testing.assert_frame_equal(store.read(), good)
    assert store.mends("AAPL").empty


def test_a_file_of_another_program_or_another_ticker_is_refused(tmp_path):
    store = Store(tmp_path)
    store.write(history("AAPL", "2018-01-01", "2018-01-12"), source="yahoo")
    shutil.copy(store.folder / "AAPL.parquet", store.folder / "MSFT.parquet")
    for call in (store.read, lambda: store.state("MSFT")):
        assert "it holds AAPL" in failure(call)
    history("MSFT", "2018-01-01", "2018-01-12").to_parquet(store.folder / "MSFT.parquet")
    for call in (store.read, lambda: store.state("MSFT")):
        assert "not written by this program" in failure(call)
