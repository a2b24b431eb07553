import gzip
from datetime import date

import pandas as pd
import pytest

from forecaster.data import prices
from forecaster.data.sources import files, loading, sample
from forecaster.errors import PricesError, SourceError, UnknownTickerError

LONG = """Ticker,Date,Open,High,Low,Close,Adj Close,Volume
AAPL,2018-01-02,9,10.5,8.5,10,5,100
AAPL,2018-01-03,10,11.5,9.5,11,5.5,200
MSFT,2018-01-02,19,20.5,18.5,20,20,300
"""
ONE = """Date,Open,High,Low,Close,Adj Close,Volume
2018-01-02,9,10.5,8.5,10,5,100
2018-01-03,10,11.5,9.5,11,5.5,200
"""
CLOSES = """date,AAPL,LOW,005930.KS
2018-01-02,10,20,
2018-01-03,11,,30
"""


@pytest.fixture
def write(tmp_path):
    def written(text, name="prices.csv"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return written


def good(path, tickers=None, **dates):
    """The checked prices of a file, of which every ticker must be good."""
    outcomes = loading.load(path, tickers, **dates)
    assert all(isinstance(frame, pd.DataFrame) for _, frame in outcomes), outcomes
    return dict(outcomes)


def failure(path, tickers=None):
    with pytest.raises(SourceError) as caught:
        loading.load(path, tickers)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def long_table():
    return pd.concat(good_long().values(), ignore_index=True)


def good_long():
    frame = pd.DataFrame([line.split(",") for line in LONG.splitlines()[1:]])
    frame.columns = prices.COLUMNS
    return {str(ticker): prices.check(rows) for ticker, rows in frame.groupby("ticker")}


def assert_same(result, expected):
    assert result.keys() == expected.keys()
    for ticker in expected:
        pd.testing.assert_frame_equal(result[ticker], expected[ticker])


def test_long(write):
    assert_same(good(write(LONG)), good_long())


@pytest.mark.parametrize(
    "names",
    [
        "symbol,datetime,OPEN,HIGH,LOW,LAST,adjusted_close,vol",
        "unique_id,ds,open,high,low,y,adj_close,volume",
        "SYMBOL,TIMESTAMP,OPEN,HIGH,LOW,CLOSE,ADJCLOSE,VOLUME",
        "\ufeffName,date,open,high,low,Price,Adj. Close,Vol.",
    ],
)
def test_columns_have_their_usual_names_in_any_case(write, names):
    assert_same(good(write(LONG.replace(LONG.splitlines()[0], names))), good_long())


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters(write, delimiter):
    assert_same(good(write(LONG.replace(",", delimiter))), good_long())


def test_compressed(tmp_path):
    path = tmp_path / "prices.csv.gz"
    path.write_bytes(gzip.compress(LONG.encode()))
    assert_same(good(path), good_long())


def test_parquet(tmp_path):
    long_table().to_parquet(tmp_path / "long.parquet")
    assert_same(good(tmp_path / "long.parquet"), good_long())
    long_table().set_index(["ticker", "date"]).to_parquet(tmp_path / "indexed.pq")
    assert_same(good(tmp_path / "indexed.pq"), good_long())


def test_lists_in_parquet_are_no_dates(tmp_path):
    table = long_table().rename(columns={"date": "when"})
    table.insert(0, "tags", [[], *[["a"]] * (len(table) - 2), None])
    table.to_parquet(tmp_path / "tagged.parquet")
    assert_same(good(tmp_path / "tagged.parquet"), good_long())


def test_the_ticker_of_a_file_without_one_is_asked_for_or_its_name(write):
    apple = good_long()["AAPL"]
    assert_same(good(write(ONE, "AAPL.csv")), {"AAPL": apple})
    assert_same(good(write(ONE, "x.csv"), ["AAPL"]), {"AAPL": apple})
    assert list(good(write(ONE, "005930.KS.csv"))) == ["005930.KS"]
    assert "one ticker and 2 were asked for" in failure(write(ONE), ["A", "B"])


def test_columns_nobody_knows_are_left_alone(write):
    text = ONE.replace("Volume", "Volume,Capital Gains").replace("00\n", "00,0\n")
    assert_same(good(write(text, "AAPL.csv")), {"AAPL": good_long()["AAPL"]})


def test_dividends_and_splits_are_read_where_there_are_any(write):
    text = ONE.replace("Volume", "Volume,Dividends,Stock Splits").replace("00\n", "00,0.5,2\n")
    frame = good(write(text, "AAPL.csv"))["AAPL"]
    assert frame["dividends"].tolist() == [0.5, 0.5]
    assert frame["splits"].tolist() == [2, 2]


@pytest.mark.parametrize("by_ticker", [False, True])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("named", [False, True])
def test_the_two_rows_of_names_of_yfinance(tmp_path, by_ticker, kind, named):
    table = long_table().pivot(index="date", columns="ticker")
    table.columns = table.columns.set_levels(
        [name.title().replace("_", " ") for name in table.columns.levels[0]], level=0
    )
    table.index.name = "Date"
    table.columns.names = ["Price", "Ticker"] if named else [None, None]
    if by_ticker:
        table = table.swaplevel(axis=1).sort_index(axis=1)
    path = tmp_path / f"download.{kind}"
    if kind == "csv":
        table.to_csv(path)
    else:
        table.to_parquet(path)
    # MSFT has no row on the 3rd: the table is padded, its history is not.
    assert_same(good(path), good_long())


def test_closes_side_by_side(write):
    result = good(write(CLOSES))
    assert {ticker: frame["close"].tolist() for ticker, frame in result.items()} == {
        "AAPL": [10.0, 11.0],
        "LOW": [20.0],
        "005930.KS": [30.0],
    }
    assert result["005930.KS"]["date"].tolist() == [pd.Timestamp("2018-01-03")]
    assert result["AAPL"]["volume"].isna().all()


def test_tickers_that_look_like_nothing_or_like_numbers_stay_tickers(write):
    text = "symbol,date,close\nNA,2018-01-02,1\nNULL,2018-01-02,2\n005930,2018-01-02,3\n"
    assert list(good(write(text))) == ["NA", "NULL", "005930"]
    assert list(good(write("date,NA,TRUE\n2018-01-02,1,2\n"))) == ["NA", "TRUE"]


def test_only_what_is_asked_for(write):
    assert_same(good(write(LONG), ["MSFT", "MSFT"]), {"MSFT": good_long()["MSFT"]})
    result = good(write(LONG), ["AAPL"], start=date(2018, 1, 3), end=date(2018, 1, 3))
    assert result["AAPL"]["close"].tolist() == [11.0]
    assert good(write(LONG), ["AAPL"], end=date(2018, 1, 2))["AAPL"]["close"].tolist() == [10.0]


def test_an_unknown_ticker_and_one_without_rows_do_not_hide_the_others(write):
    outcomes = dict(loading.load(write(LONG), ["AAPLE", "AAPL", "MSFT"], start=date(2018, 1, 3)))
    assert isinstance(outcomes["AAPLE"], UnknownTickerError)
    assert "did you mean AAPL? it has AAPL, MSFT" in str(outcomes["AAPLE"])
    assert len(outcomes["AAPL"]) == 1
    assert isinstance(outcomes["MSFT"], SourceError)
    assert "widen `start` and `end`" in str(outcomes["MSFT"])


def test_a_bad_ticker_does_not_hide_the_good_one(write):
    outcomes = dict(loading.load(write(LONG.replace("2018-01-03", "tomorrow"))))
    assert isinstance(outcomes["AAPL"], PricesError)
    assert len(outcomes["MSFT"]) == 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("2018-01-03", "tomorrow", "AAPL row 2: the date is 'tomorrow'"),
        ("2018-01-03", "01/03/2018", "AAPL row 2: the date is '01/03/2018'"),
        ("2018-01-03", "", "AAPL row 2: the date is ''"),
        (",5.5,", ",5.5 USD,", "AAPL 2018-01-03: adj_close is '5.5 USD'"),
    ],
)
def test_faults_name_the_ticker_and_the_row(write, old, new, words):
    outcomes = dict(loading.load(write(LONG.replace(old, new))))
    assert isinstance(outcomes["AAPL"], PricesError)
    assert words in str(outcomes["AAPL"])


@pytest.mark.parametrize(
    ("old", "new", "rule", "date"),
    [
        ("2018-01-03", "2018-01-02", "duplicated", "2018-01-02"),
        ("10,11.5,9.5,11,5.5,200", ",,,,,", "no close", "2018-01-03"),
        ("10,11.5,9.5,11,5.5,200", "null,null,null,null,null,null", "no close", "2018-01-03"),
        ("9,10.5,8.5,10,5,", "9,10.5,8.5,0,5,", "close not positive", "2018-01-02"),
    ],
)
def test_bad_rows_are_rejected_and_named(write, caplog, old, new, rule, date):
    outcomes = dict(loading.load(write(LONG.replace(old, new))))
    assert len(outcomes["AAPL"]) == 1
    assert f"AAPL: 1 rows rejected ({rule} 1 from {date})" in caplog.text


def test_a_blank_ticker_is_refused_and_its_neighbours_are_not(write):
    outcomes = dict(loading.load(write(LONG.replace("MSFT", ""))))
    assert "row 3: the ticker '' is blank" in str(outcomes[""])
    assert len(outcomes["AAPL"]) == 2


def test_times_and_zones_become_the_date_of_the_place(write):
    text = ONE.replace("2018-01-02", "2018-01-02 00:00:00-05:00")
    text = text.replace("2018-01-03", "2018-01-03 23:00:00-05:00")
    assert_same(good(write(text, "AAPL.csv")), {"AAPL": good_long()["AAPL"]})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\n\n", "cannot read"),
        (b"hello\nworld\n", "not a table"),
        (b"Date,Close\n", "no rows"),
        (b"PAR1 and then nothing", "cannot read"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\xff\xfe", "UTF-8"),
        (b"date,close\n2018-01-02,1\n2018-01-03,1,2\n", "3 cells in the row"),
        (b"ticker,date,open,high,low,volume\nA,2018-01-02,1,1,1,1\n", "no column of closes"),
        (b"date,A,A\n2018-01-02,1,2\n", "2 columns close of 'A'"),
        (b"date,close,close\n2018-01-02,1,2\n", "2 columns 'close'; leave one"),
        (b"ticker,open,close\nA,1,1\n", "no column of dates"),
    ],
)
def test_what_is_no_table_of_prices_is_refused_in_one_line(tmp_path, content, words):
    path = tmp_path / "prices.csv"
    path.write_bytes(content)
    text = failure(path)
    assert words in text
    assert str(path) in text


def test_a_broken_archive_is_refused_in_one_line(tmp_path):
    for name in ("x.csv.gz", "x.csv.zip", "x.csv.xz", "x.csv.bz2"):
        (tmp_path / name).write_bytes(b"not an archive")
        assert "cannot read" in failure(tmp_path / name)
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(LONG.encode())[:-20])
    assert "cannot read" in failure(tmp_path / "cut.csv.gz")


def test_no_file_and_a_folder_are_named(tmp_path):
    assert "there is no file yahooo; give the path" in failure("yahooo")
    assert "is a folder" in failure(tmp_path)


def test_the_sample_is_the_one_in_arch():
    result = good("sample")
    # First and last rows of arch/data/sp500/sp500.csv.gz and nasdaq.csv.gz of arch 8.0.
    assert {
        ticker: (len(frame), str(frame["date"].iat[0].date()), str(frame["date"].iat[-1].date()))
        for ticker, frame in result.items()
    } == {
        "^GSPC": (5031, "1999-01-04", "2018-12-31"),
        "^IXIC": (5031, "1999-01-04", "2018-12-31"),
    }
    assert result["^GSPC"].loc[0, "close"] == 1228.099976
    assert result["^IXIC"]["close"].iat[-1] == 6635.279785
    assert tuple(result["^GSPC"]) == prices.COLUMNS


def test_the_sample_has_nothing_else():
    outcomes = dict(loading.load("sample", ["^GSPC", "AAPL"], start=date(2018, 12, 31)))
    assert len(outcomes["^GSPC"]) == 1
    assert isinstance(outcomes["AAPL"], UnknownTickerError)
    assert str(outcomes["AAPL"]) == str(dict(sample.load(["AAPL"]))["AAPL"])


def test_a_file_is_loaded_without_being_checked(write):
    ((ticker, frame),) = files.load(write("date,close\n2018-01-02,-1\n", "X.csv"))
    assert (ticker, frame["close"].tolist()) == ("X", [-1])
