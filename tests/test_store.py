import json
import re
import shutil
import string

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster import prices
from forecaster.errors import PricesError, StoreError
from forecaster.store import Saved, Store, filename, ticker_of

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


@pytest.mark.parametrize(
    ("ticker", "name"),
    [
        ("AAPL", "AAPL.parquet"),
        ("aapl", "%61%61%70%6C.parquet"),
        ("^GSPC", "^GSPC.parquet"),
        ("BRK-B", "BRK-B.parquet"),
        ("005930.KS", "005930%2EKS.parquet"),
        ("EURUSD=X", "EURUSD%3DX.parquet"),
        ("CON", "%43ON.parquet"),
        ("LPT1", "%4CPT1.parquet"),
        ("CONE", "CONE.parquet"),
        ("%43ON", "%2543ON.parquet"),
        ("É", "%C3%89.parquet"),
    ],
)
def test_the_names_of_files(ticker, name):
    assert filename(ticker) == name
    assert ticker_of(name) == ticker


def test_a_path_is_only_a_name():
    assert set(filename("../../etc/passwd")) <= set(string.ascii_letters + string.digits + "%.")
    assert filename("../../etc/passwd").count(".") == 1


@given(TICKERS)
def test_a_name_leads_back_to_its_ticker_and_is_safe(ticker):
    name = filename(ticker)
    assert ticker_of(name) == ticker
    assert re.fullmatch(r"(?:[A-Z0-9_^-]|%[0-9A-F]{2})+\.parquet", name)
    assert name.split(".")[0] not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9"}


@given(st.lists(TICKERS | st.text("aA%.b46", min_size=1, max_size=5), unique=True))
def test_no_two_tickers_share_a_file_even_where_case_does_not_count(tickers):
    assert len({filename(ticker).lower() for ticker in tickers}) == len(tickers)


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
    store.write(history("AAPL", "2018-01-01", "2018-02-01"), source="yahoo")
    path = tmp_path / "prices" / "AAPL.parquet"
    pd.testing.assert_frame_equal(pd.read_parquet(path), store.read())
    note = json.loads(pq.read_metadata(path).metadata[b"forecaster"])
    assert note.keys() == {"format", "ticker", "source", "fetched_at"}
    assert (note["format"], note["ticker"], note["source"]) == (1, "AAPL", "yahoo")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", note["fetched_at"])


def test_the_inventory_tells_what_reading_would(tmp_path):
    store = Store(tmp_path)
    store.write(history("B", "2018-01-01", "2018-02-01"), source="yahoo")
    store.write(history("A", "2017-01-02", "2017-01-03"), source="prices.csv")
    table = store.inventory()
    assert table.drop(columns="fetched_at").to_dict("list") == {
        "ticker": ["A", "B"],
        "first": [pd.Timestamp("2017-01-02"), pd.Timestamp("2018-01-01")],
        "last": [pd.Timestamp("2017-01-03"), pd.Timestamp("2018-02-01")],
        "rows": [2, 24],
        "source": ["prices.csv", "yahoo"],
    }
    age = pd.Timestamp.now("UTC") - table["fetched_at"]
    assert (age < pd.Timedelta(minutes=1)).all()
    assert Store(tmp_path / "nowhere").inventory().dtypes.equals(table.dtypes)


def test_more_of_the_same_history_joins_it(tmp_path):
    store = Store(tmp_path)
    store.write(history("AAPL", "2018-01-01", "2018-03-01"), source="yahoo")
    later = history("AAPL", "2018-02-26", "2018-03-09", factor=1 + 5e-6)
    assert store.write(later, source="yahoo") == [
        Saved("AAPL", 50, 6, pd.Timestamp("2018-01-01"), pd.Timestamp("2018-03-09"))
    ]
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
        assert "--refresh" in text
    assert len(store.read()) == 5


def test_another_history_is_refused_unless_it_covers_or_refreshes(tmp_path):
    store = Store(tmp_path)
    old = history("AAPL", "2018-01-01", "2018-01-12")
    halved = history("AAPL", "2018-01-10", "2018-01-19", factor=0.5)
    store.write(old, source="yahoo")
    text = failure(store.write, halved, source="yahoo")
    assert "AAPL 2018-01-10: close is 82.9" in text
    assert "3 of 3 common dates" in text
    assert "--refresh" in text
    pd.testing.assert_frame_equal(store.read(), old)

    assert store.write(halved, source="yahoo", refresh=True)[0].new_rows == 8
    pd.testing.assert_frame_equal(store.read(), halved)

    covering = history("AAPL", "2018-01-10", "2018-01-22")
    assert store.write(covering, source="yahoo")[0].new_rows == 1
    pd.testing.assert_frame_equal(store.read(), covering)


def test_a_dividend_shows_in_adj_close(tmp_path):
    store = Store(tmp_path)
    store.write(history("AAPL", "2018-01-01", "2018-01-12"), source="yahoo")
    new = history("AAPL", "2018-01-10", "2018-01-19")
    text = failure(store.write, new.assign(adj_close=new["close"] * 0.99), source="yahoo")
    assert "AAPL 2018-01-10: adj_close is" in text


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
        assert "forecast fetch AAPL --refresh" in text
    assert store.write(good, source="yahoo", refresh=True)[0].rows == len(good)
    pd.testing.assert_frame_equal(store.read(), good)


def test_a_file_of_another_program_or_another_ticker_is_refused(tmp_path):
    store = Store(tmp_path)
    store.write(history("AAPL", "2018-01-01", "2018-01-12"), source="yahoo")
    shutil.copy(store.folder / "AAPL.parquet", store.folder / "MSFT.parquet")
    for call in (store.read, store.inventory):
        assert "it holds AAPL" in failure(call)
    history("MSFT", "2018-01-01", "2018-01-12").to_parquet(store.folder / "MSFT.parquet")
    for call in (store.read, store.inventory):
        assert "not written by this program" in failure(call)
