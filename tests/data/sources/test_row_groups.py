"""Large Parquet files: some tickers at a time are read as the whole file is, or the file is left whole."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forecaster.data import calendars, update
from forecaster.data.sources import files, row_groups
from forecaster.data.sources.tables import Format
from forecaster.data.store import Store
from forecaster.errors import ForecastError, SourceError

TICKERS, SESSIONS, ROWS = ("CCC", "AAA", "EEE", "BBB", "DDD"), 60, 130
"""The rows in memory are those of two tickers."""


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(row_groups, "ROWS", ROWS)
    monkeypatch.setattr(row_groups, "_BATCH", 47)


@pytest.fixture
def market():
    """Prices of five tickers, one after the other."""
    days = calendars.sessions_between("AAA", "2018-01-02", "2018-12-31")[:SESSIONS]
    generator = np.random.default_rng(1)
    frames = []
    for ticker in TICKERS:
        close = 50 * np.exp(generator.normal(0, 0.01, SESSIONS).cumsum())
        volume = generator.integers(1_000, 9_000, SESSIONS)
        frames.append(
            pd.DataFrame({"ticker": ticker, "date": days, "close": close, "volume": volume})
        )
    return pd.concat(frames, ignore_index=True)


def apart(market):
    """The first ticker has rows before all others and after them."""
    own = market[market["ticker"] == TICKERS[0]]
    return pd.concat([own[:20], market[market["ticker"] != TICKERS[0]], own[20:]])


SHAPES = {
    "a group a ticker": (lambda market: market, SESSIONS),
    "one group": (lambda market: market, len(TICKERS) * SESSIONS),
    "groups across tickers": (lambda market: market, 37),
    "in the order of dates": (lambda market: market.sort_values(["date", "ticker"]), 50),
    "the newest first": (lambda market: market[::-1], SESSIONS),
    "a ticker in two places": (apart, 20),
    "under an index": (lambda market: market.set_index(["ticker", "date"]), 40),
    "of categories and dates": (
        lambda market: market.assign(
            ticker=market["ticker"].astype("category"), date=market["date"].dt.date
        ),
        40,
    ),
    "volumes unknown": (
        lambda market: market.assign(volume=market["volume"].where(market.index % 7 > 0)),
        40,
    ),
}


def written(tmp_path, frame, size):
    path = tmp_path / "market.parquet"
    pq.write_table(pa.Table.from_pandas(frame), path, row_group_size=size)
    return path


def whole(path, monkeypatch, *words):
    """What a file gives that is read whole."""
    with monkeypatch.context() as patch:
        patch.setattr(row_groups, "ROWS", 1 << 20)
        return list(files.load(path, *words))


def assert_same(mine, theirs):
    assert [ticker for ticker, _ in mine] == [ticker for ticker, _ in theirs]
    for (_, one), (_, other) in zip(mine, theirs, strict=True):
        if isinstance(other, ForecastError):
            assert (type(one), str(one)) == (type(other), str(other))
        else:
            pd.testing.assert_frame_equal(one, other, check_index_type=False)


@pytest.mark.parametrize("shape", SHAPES)
def test_some_at_a_time_are_as_in_the_whole_file(market, tmp_path, monkeypatch, shape):
    change, size = SHAPES[shape]
    path = written(tmp_path, change(market), size)
    groups = row_groups.scan(path, None, Format())
    parts = list(groups.parts(groups.tickers))
    assert len(parts) > 2
    assert all(len(groups.read(part).cells) <= ROWS for part in parts)
    for wanted in (None, ["DDD", "NONE", "ccc", "AAA"]):
        assert_same(list(files.load(path, wanted)), whole(path, monkeypatch, wanted))


@pytest.mark.parametrize(
    "change",
    [
        lambda market: market.sample(frac=1, random_state=1),
        lambda market: pd.concat([market, market[-1:]]),
        lambda market: market.assign(date=market["date"].dt.strftime("%d.%m.%Y")),
        lambda market: market.assign(close=market["close"].map("{:.2f}".format)),
        lambda market: market.assign(ticker=market["ticker"].where(market.index > 0)),
        lambda market: market.assign(date=market["date"].dt.tz_localize("UTC")),
        lambda market: market.pivot(index="date", columns="ticker", values="close"),
        lambda market: market.drop(columns="ticker")[:SESSIONS],
    ],
    ids=["shuffled", "twice", "text-dates", "text-closes", "no-ticker", "zone", "wide", "alone"],
)
def test_what_has_to_be_seen_whole_is_read_whole(market, tmp_path, monkeypatch, change):
    monkeypatch.setattr(row_groups, "ROWS", 10)
    path = written(tmp_path, change(market), 40)
    assert row_groups.scan(path, None, Format()) is None
    assert_same(list(files.load(path)), whole(path, monkeypatch))


def test_several_instruments_are_refused_before_any_is_given(market, tmp_path):
    again = market[market["ticker"] == "DDD"].assign(close=lambda rows: 2 * rows["close"])
    path = written(tmp_path, pd.concat([market, again]), 40)
    with pytest.raises(SourceError, match="60 dates come again with another close"):
        next(files.load(path))


def test_a_damaged_last_group_is_found_before_anything_is_stored(market, tmp_path):
    path = written(tmp_path, market, SESSIONS)
    content = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(len(TICKERS) - 1).column(3)
    begin = column.dictionary_page_offset or column.data_page_offset
    content[begin : begin + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(bytes(content))
    with pytest.raises(SourceError, match="cannot read"):
        list(update.from_source(Store(tmp_path / "home"), str(path)))
    assert Store(tmp_path / "home").tickers() == []


def test_a_fault_of_the_last_ticker_is_its_own(market, tmp_path, monkeypatch):
    weekly = market[market["ticker"] == "DDD"][::5]
    bad = pd.concat([market[market["ticker"] != "DDD"], weekly])
    long = market.assign(ticker=market["ticker"].replace("DDD", "D" * 41))
    for frame, said in ((bad, "weekly"), (long, f"row {4 * SESSIONS + 1}: the ticker")):
        path = written(tmp_path, frame, 40)
        assert_same(list(files.load(path)), whole(path, monkeypatch))
        store = Store(tmp_path / said[:3])
        *others, last = update.from_source(store, str(path))
        assert [it.status for it in others] == ["new"] * 4
        assert said in str(last.error)
        assert store.tickers() == sorted(it.ticker for it in others)


def test_an_interrupted_fetch_keeps_whole_tickers_and_goes_on(market, tmp_path):
    path, store = written(tmp_path, market, 40), Store(tmp_path)
    results = update.from_source(store, str(path))
    assert [next(results).ticker for _ in range(3)] == list(TICKERS[:3])
    results.close()
    assert store.tickers() == sorted(TICKERS[:3])
    assert all(store.state(ticker).rows == SESSIONS for ticker in TICKERS[:3])
    statuses = [it.status for it in update.from_source(store, str(path))]
    assert statuses == ["up to date"] * 3 + ["new"] * 2


@pytest.mark.parametrize(
    "change",
    [
        lambda market: market[market["ticker"] == TICKERS[0]],
        lambda market: pd.concat([market.assign(ticker="NEW")[:SESSIONS], market]),
        lambda market: market.assign(ticker=market["ticker"].str.lower()),
        lambda market: market[market["ticker"] != "BBB"],
    ],
    ids=["fewer groups", "one more ticker", "other tickers", "one ticker fewer"],
)
def test_a_file_that_is_replaced_by_another_while_it_is_read_is_refused(market, tmp_path, change):
    path = written(tmp_path, market, SESSIONS)
    outcomes = files.load(path, [*TICKERS, TICKERS[-1]])
    next(outcomes)
    written(tmp_path, change(market), SESSIONS)
    with pytest.raises(SourceError, match="changed while it was read"):
        list(outcomes)


def test_a_file_that_is_cut_while_it_is_read_is_refused(market, tmp_path):
    path = written(tmp_path, market, 40)
    outcomes = files.load(path)
    next(outcomes)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(SourceError, match="changed while it was read"):
        list(outcomes)
