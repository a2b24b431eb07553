"""Files of several instruments, headings of many kinds, and none: each column is what it is, or asked for."""

import io

import numpy as np
import pandas as pd
import pytest
from bars import assert_bars, bars

A, B = bars("AAPL", seed=1), bars("AAPL", seed=2, level=900.0)


def csv(frame, **options):
    return frame.to_csv(index=False, **options)


def stacked(name, kinds=("AAA", "BBB")):
    """Two instruments below one another, in a column of some name."""
    parts = [frame.assign(**{name: kind}) for frame, kind in zip((A, B), kinds, strict=True)]
    return pd.concat(parts).sort_values("date", kind="stable")


@pytest.mark.parametrize(
    "name",
    ["tic", "instrument", "Symbol", "code", "ts_code", "Company", "Index", "SecuritiesCode", "series",
     "secid", "SID", "isin", "cusip", "asset", "stock", "Name", "Kod", "代码", "銘柄コード", "종목코드",
     "RIC", "Ativo", "Тикер"],
)  # fmt: skip
def test_instruments_are_told_apart_by_a_column_of_many_names(read, name):
    result = read(csv(stacked(name)))
    assert list(result) == ["AAA", "BBB"]
    assert_bars(result["AAA"], A)
    assert_bars(result["BBB"], B)


@pytest.mark.parametrize("name", ["permno", "gvkey", "SecuritiesCode", "code"])
def test_instruments_may_be_numbers(read, name):
    result = read(csv(stacked(name, ("14593", "000001"))))
    assert list(result) == ["14593", "000001"]
    assert_bars(result["000001"], B)
    parquet = io.BytesIO()
    stacked(name, (14593.0, 10107.0)).to_parquet(parquet)
    assert list(read(parquet.getvalue(), "x.parquet")) == ["14593", "10107"]


def test_the_ticker_asked_for_is_never_another_instrument(read):
    assert_bars(read(csv(stacked("Company")), tickers=["AAA"])["AAA"], A)


def test_an_unknown_column_of_instruments_is_named(refusal):
    line = refusal(csv(stacked("emitent").assign(weekday=A["date"].dt.day_of_week)))
    assert "40 dates come again with another close" in line
    assert "its column 'emitent' probably names; rename that one to ticker" in line


def test_numbers_that_tell_instruments_apart_are_named_too(refusal):
    assert "column 'dataset' probably" in refusal(csv(stacked("dataset", (1, 2))))


def test_instruments_that_no_column_tells_apart_are_refused(refusal):
    assert "name them in a column ticker" in refusal(csv(pd.concat([A, B])))
    # The columns of two exchanges: a ticker of both is not one history.
    both = stacked("mkt", ("N", "L")).assign(ticker="AAA")
    assert "column 'mkt' probably names" in refusal(csv(both))


def test_a_single_row_that_comes_twice_is_left_to_cleaning(read):
    slip = pd.concat([A, A[3:4].assign(close=A["close"][3] * 1.001)]).assign(symbol="AAA")
    assert len(read(csv(slip))["AAA"]) == len(A)


def test_counters_and_kinds_of_shares_are_no_instruments(read):
    assert_bars(read(csv(A.reset_index(names="index")))["AAPL"], A)
    assert_bars(read(csv(A.assign(series="EQ")))["AAPL"], A)
    saved_twice = A.rename_axis("").reset_index()
    assert_bars(read(csv(saved_twice))["AAPL"], A)


HEADINGS = {
    "Polish": "Data,Otwarcie,Najwyzszy,Najnizszy,Zamkniecie,Wolumen",
    "Polish, accented": "Data,Otwarcie,Najwyższy,Najniższy,Zamknięcie,Wolumen",
    "German": "Datum,Eröffnung,Hoch,Tief,Schluss,Volumen",
    "German, other words": "Datum,Erster,Tageshoch,Tagestief,Schlusskurs,Stuecke",
    "French": "Date,Ouverture,Plus Haut,Plus Bas,Clôture,Volume",
    "French, short": "date,ouv.,+ haut,+ bas,Dernier,Vol.",
    "Spanish": "Fecha,Apertura,Máximo,Mínimo,Cierre,Volumen",
    "Portuguese": "Data,Abertura,Máxima,Mínima,Fechamento,Volume",
    "Italian": "Data,Apertura,Massimo,Minimo,Chiusura,Volume",
    "Italian, short": "Data,Apertura,Max,Min,Ultimo,Vol.",
    "Dutch": "Datum,Opening,Hoog,Laag,Slotkoers,Volume",
    "Russian": "Дата,Откр.,Макс.,Мин.,Закрытие,Объём",
    "Turkish": "Tarih,Açılış,Yüksek,Düşük,Kapanış,Hacim",
    "Swedish": "Datum,Öppning,Högsta,Lägsta,Stängning,Volym",
    "Chinese": "日期,开盘,最高,最低,收盘,成交量",
    "Chinese, traditional": "日期,開盤價,最高價,最低價,收盤價,成交股數",
    "Japanese": "日付,始値,高値,安値,終値,出来高",
    "Korean": "날짜,시가,고가,저가,종가,거래량",
    "numbered": "date,1. open,2. high,3. low,4. close,6. volume",
    "letters": "t,o,h,l,c,v".replace("t,", "time,", 1),
    "angles": "<DATE>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>",
    "currency": "Date,Open (USD),High (USD),Low (USD),Close (USD),Volume (shares)",
    "stars": "Date,Open,High,Low,Close*,Volume**",
    "no name of the date": "Unnamed: 0,Open,High,Low,Last Price,Volume",
    "capitals": "DATE,OPEN,HIGH,LOW,CLOSE,VOLUME",
}


@pytest.mark.parametrize("names", HEADINGS.values(), ids=HEADINGS)
def test_headings_in_the_languages_of_users(read, names):
    assert_bars(read(csv(A, header=names.split(",")))["AAPL"], A)


def test_a_better_name_wins_over_another_of_the_same_field(read):
    extra = A.assign(last=1.0, adj=2.0, Umsatz=3.0).rename(columns={"volume": "Stücke"})
    assert_bars(read(csv(extra.assign(Volumen=4.0)))["AAPL"], A)
    previous = A.assign(**{"Prev Close": 1.0, "Open Interest": 2.0, "成交额": 3.0})
    assert_bars(read(csv(previous))["AAPL"], A)


def test_closes_in_two_currencies_are_refused(refusal):
    both = A.rename(columns={"close": "4a. close (CNY)"}).assign(**{"4b. close (USD)": 1.0})
    assert "2 columns '4a. close (CNY)'; leave one of them" in refusal(csv(both))


def test_headings_of_a_language_that_is_not_known(read, refusal):
    """Are read where the ranges of the days prove which is which, in any order; else asked for."""
    names = ["Dydd", "Agor", "Uchaf", "Isaf", "Cau", "Maint"]
    assert_bars(read(csv(A, header=names))["AAPL"], A)
    order = ["volume", "date", "low", "close", "high", "open"]
    assert_bars(read(csv(A[order], header=["m", "dydd", "i", "k", "u", "a"]))["AAPL"], A)
    line = refusal(csv(A[["date", "open", "close"]], header=["Dydd", "Agor", "Cau"]))
    assert "cannot tell what the columns Agor, Cau are" in line
    assert '`columns="date,open,high,low,close,volume"`' in line


def test_what_is_no_ticker_is_not_read_as_one(read, refusal):
    closes = pd.DataFrame({"date": A["date"], "SPY": A["close"]})
    returns = closes["SPY"].pct_change()
    mixed = closes.assign(SPY_return=returns, rsi=50.0, macdSignal=0.1, SPY_20d_vol=0.2)
    assert list(read(csv(mixed))) == ["SPY"]
    for name in ("RSI", "005930", "SPY (USD)", "spy", "Apple", "12"):
        assert f"the columns {name} are" in refusal(csv(closes.assign(**{name: B["close"]})))
    assert "SPY" not in read(csv(mixed.assign(close=B["close"])))


def test_a_heading_that_is_asked_for_is_a_ticker(read):
    closes = pd.DataFrame({"date": A["date"], "spy": A["close"], "005930": B["close"], "rsi": 50.0})
    result = read(csv(closes), tickers=["spy", "005930"])
    np.testing.assert_array_equal(result["005930"]["close"], B["close"])
    np.testing.assert_array_equal(result["spy"]["close"], A["close"])


def test_a_table_of_returns_is_no_table_of_prices(refusal):
    returns = pd.DataFrame(
        {"date": A["date"], "SPY": A["close"].pct_change(), "QQQ": B["close"].pct_change()}
    )
    assert "found numbers below zero, as returns have" in refusal(csv(returns))


def wide(order, names=(None, None), index="Date"):
    """The bars of two tickers side by side, as yfinance gives them."""
    both = {"AAA": A, "BRK-B": B}
    table = pd.concat({k: it.set_index("date").add_prefix("") for k, it in both.items()}, axis=1)
    table.columns = table.columns.set_levels(
        [it.title() for it in table.columns.levels[1]], level=1
    )
    table = table.swaplevel(axis=1) if order == "price" else table
    table = table.sort_index(axis=1)
    table.columns.names, table.index.name = list(names), index
    return table


def flat(join):
    table = wide("price")
    table.columns = [join(price, ticker) for price, ticker in table.columns]
    return table


LAYOUTS = {
    "two rows": lambda: wide("price").to_csv(),
    "two rows, tickers first": lambda: wide("ticker").to_csv(),
    "named rows": lambda: wide("price", ("Price", "Ticker")).to_csv(),
    "named rows, tickers first": lambda: wide("ticker", ("Ticker", "Price")).to_csv(),
    "index without a name": lambda: wide("price", ("Price", "Ticker"), None).to_csv(),
    "without the index": lambda: wide("price").reset_index().to_csv(index=False),
    "without the index, tickers first": lambda: wide("ticker").reset_index().to_csv(index=False),
    "with a counter": lambda: wide("price", ("Price", "Ticker")).reset_index().to_csv(),
    "without the index, and a blank row": lambda: _blank_row(wide("price").reset_index().to_csv(index=False)),
    "saved twice": lambda: _again(wide("price", ("Price", "Ticker")).to_csv(), index=False),
    "saved twice, with a counter": lambda: _again(wide("price", ("Price", "Ticker")).to_csv(), index=True),
    "Close_AAA": lambda: flat("{}_{}".format).to_csv(),
    "AAA_Close": lambda: flat(lambda p, t: f"{t}_{p}").to_csv(),
    "AAA.Close": lambda: flat(lambda p, t: f"{t}.{p}").to_csv(),
    "AAA (Close)": lambda: flat(lambda p, t: f"{t} ({p})").to_csv(),
    "Close AAA": lambda: flat("{} {}".format).to_csv(),
    "a tuple": lambda: flat(lambda p, t: str((p, t))).to_csv(),
    "a tuple, tickers first": lambda: flat(lambda p, t: str((t, p))).to_csv(),
}  # fmt: skip


def _blank_row(text):
    lines = text.splitlines()
    return "\n".join([*lines[:2], "," * lines[0].count(","), *lines[2:]])


def _again(text, index):
    return pd.read_csv(io.StringIO(text), dtype=str).to_csv(index=index)


@pytest.mark.parametrize("made", LAYOUTS.values(), ids=LAYOUTS)
def test_the_layouts_of_yfinance(read, made):
    result = read(made())
    assert sorted(result) == ["AAA", "BRK-B"]
    assert_bars(result["AAA"], A)
    assert_bars(result["BRK-B"], B)


@pytest.mark.parametrize("order", ["price", "ticker"])
@pytest.mark.parametrize("flattened", [False, True])
def test_the_layouts_of_yfinance_in_parquet(read, order, flattened):
    table, file = wide(order, ("Price", "Ticker")), io.BytesIO()
    if flattened:
        table.columns = ["_".join(pair) for pair in table.columns]
    table.to_parquet(file)
    assert_bars(read(file.getvalue(), "x.parquet")["BRK-B"], B)


def test_flattened_names_of_one_lower_case_ticker(read):
    names = {name: f"{name}_aapl" for name in A.columns[1:]}
    assert_bars(read(csv(A.rename(columns=names)))["aapl"], A)


def test_a_file_without_headings_is_read_where_the_prices_prove_the_columns(read):
    assert_bars(read(csv(A, header=False))["AAPL"], A)
    assert_bars(read(csv(A[::-1], header=False))["AAPL"], A)
    order = ["date", "close", "open", "high", "low", "volume"]
    assert_bars(read(csv(A[order], header=False))["AAPL"], A)
    assert_bars(read(csv(A.drop(columns="volume"), header=False))["AAPL"], A, ["open", "close"])


@pytest.mark.parametrize(
    "table",
    [
        A[["date", "close"]],
        A[["date", "open", "close", "volume"]],
        A.assign(more=1.0),
        A.assign(ticker="AAA"),
        A[:5],
        A.assign(open=A["close"] * np.tile([0.999, 1.0], 20)),  # an open that follows no close
        pd.DataFrame({"date": A["date"], "a": 1.1, "b": 1.2, "c": 1.0, "d": 1.05}),
    ],
)
def test_a_file_without_headings_is_asked_for_them_otherwise(refusal, table):
    line = refusal(csv(table, header=False))
    assert "no headings, and its first row is 2024-01-02" in line
    assert 'say what its columns are, such as `columns="date,open,high,low,close,volume"`' in line


def test_columns_are_what_the_user_says(read):
    mixed = A[["date", "volume", "close", "open"]].assign(junk=1)
    result = read(csv(mixed, header=False), columns="date,volume,close,open,-")
    assert_bars(result["AAPL"], A, ["open", "close", "volume"])
    # Also where there are headings that nobody knows, and several tickers.
    tall = stacked("x")[["x", "date", "close"]]
    assert list(read(csv(tall), columns="ticker, date, close")) == ["AAA", "BBB"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("date,close", "names 2 columns and"),
        ("date,open,high,low,volume,-", "must name date, and close"),
        ("date,open,high,low,close,close", "each once"),
        ("date,open,high,low,closing,volume", "got 'date,open,high,low,closing,volume'"),
    ],
)
def test_columns_that_do_not_fit_are_explained(refusal, columns, words):
    assert words in refusal(csv(A, header=False), columns=columns)


def test_dates_across_are_to_be_turned(refusal):
    across = A.set_index("date")[["close"]].T.to_csv()
    assert "Turn the table, so that each date is a row" in refusal(across)
