"""Which exchange a ticker trades on."""

import pytest

from forecaster.data import exchanges


@pytest.mark.parametrize(
    ("ticker", "calendar"),
    [
        ("AAPL", "XNYS"),
        ("aapl", "XNYS"),
        ("^GSPC", "XNYS"),
        ("BRK-B", "XNYS"),
        ("BRK.B", "XNYS"),
        ("BTCUSD", "24/7"),
        ("BTC/USDT", "24/7"),
        ("1INCHUSDT", "24/7"),
        ("EUR-USD", "24/5"),
        ("aapl.us", "XNYS"),
        ("LEN.B", "XNYS"),
        ("^VIX", "XNYS"),
        ("^SP500-45", "XNYS"),
        ("^CNXIT", "XBOM"),
        ("^NSEI", "XBOM"),
        ("^INDIAVIX", "XBOM"),
        ("^J203.JO", "XJSE"),
        ("2222.SR", "XSAU"),
        ("PKO.WA", "XWAR"),
        ("COMI.CA", "?CA"),
        ("QNBK.QA", "?QA"),
        ("^SX5P", "?^SX5P"),
        ("BTC-USD", "24/7"),
        ("ETH-EUR", "24/7"),
        ("EURUSD=X", "24/5"),
        ("CL=F", "CMES"),
        ("VOD.L", "XLON"),
        ("SAP.DE", "XETR"),
        ("SAP.F", "XFRA"),
        ("RELIANCE.NS", "XBOM"),
        ("005930.KS", "XKRX"),
        ("035420.KQ", "XKRX"),
        ("7203.T", "XTKS"),
        ("0700.HK", "XHKG"),
        ("600519.SS", "XSHG"),
        ("000001.SZ", "XSHG"),
        ("RY.TO", "XTSE"),
        ("PETR4.SA", "BVMF"),
        ("^FTSE", "XLON"),
        ("^N225", "XTKS"),
        ("^STOXX50E", "XETR"),
    ],
)
def test_the_exchange_of_a_ticker(ticker, calendar):
    assert exchanges.exchange(ticker) == calendar


def test_every_calendar_named_exists():
    from exchange_calendars import get_calendar_names

    tables = exchanges._SUFFIXES, exchanges._INDICES, exchanges._FAMILIES.values()
    named = {name for table in tables for name in table} | {"24/5", "24/7", "CMES"}
    assert named <= set(get_calendar_names(include_aliases=False))


@pytest.mark.parametrize("ticker", ["AAPL", "BRK-B", "BTC-USD", "EURUSD", "BRK.B"])
def test_a_bare_name_is_an_assumption(ticker):
    assert exchanges.is_assumed(ticker)


@pytest.mark.parametrize("ticker", ["^GSPC", "EURUSD=X", "VOD.L", "AAPL.US", "COMI.CA", "CL=F"])
def test_a_suffix_or_a_listed_index_is_none(ticker):
    assert not exchanges.is_assumed(ticker)
