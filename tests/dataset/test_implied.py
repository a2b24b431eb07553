"""Implied volatility: by hand, known at the closes of its ticker, and never of the future."""

import numpy as np
import pandas as pd
import pytest

from forecaster.backtesting.alternative_histories import rewritten
from forecaster.data import calendars, prices
from forecaster.data.exchanges import exchange
from forecaster.dataset.bars import Bars
from forecaster.dataset.features import FEATURES, IMPLIED
from forecaster.dataset.implied import STALE, Implied
from forecaster.dataset.market import Market
from forecaster.dataset.panel import Panel

FIRST, LAST = "2018-01-02", "2018-12-28"


def history(ticker, seed=0, first=FIRST, last=LAST, level=100.0):
    """Return a random walk on the sessions of a ticker's exchange."""
    days = calendars.sessions_between(ticker, pd.Timestamp(first), pd.Timestamp(last))
    rng = np.random.default_rng(seed)
    close = level * np.exp(np.cumsum(rng.normal(0, 0.01, len(days))))
    return priced(ticker, days, close)


def priced(ticker, days, close):
    frame = pd.DataFrame({"ticker": ticker, "date": days, "close": close, "adj_close": close})
    return prices.check(frame)


def against(world, name, level=20.0):
    """Return an index of volatility that rises where the mean of a world falls."""
    returns = np.log(world["close"]).groupby(world["ticker"]).diff()
    mean = returns.groupby(world["date"]).mean().fillna(0.0)
    days = calendars.sessions_between(name, pd.Timestamp(FIRST), pd.Timestamp(LAST))
    moves = mean.reindex(days).fillna(0.0).to_numpy()
    return priced(name, days, level * np.exp(-4 * np.cumsum(moves)))


def table(frame, ticker, companions=None):
    """Return the implied features of a ticker by date."""
    (it,) = Panel.of(frame, tickers=[ticker], companions=companions).histories
    return pd.DataFrame(it.features, it.dates, FEATURES)[list(IMPLIED)]


def test_by_hand():
    stock = history("AAPL")
    bars = Bars.of(stock)
    level = np.array([16.0, 20.0, 18.0, 18.0, 17.0, 24.0, 20.0])
    index = priced("^VIX", stock["date"][: len(level)], level)
    found = table(stock, "AAPL", index)
    at = found.iloc[6]
    daily = 0.20 / np.sqrt(252)
    weights = 0.985 ** np.arange(6, -1, -1)
    slow = np.log(20.0) - np.log((weights * level).sum() / weights.sum())
    assert at["implied_volatility"] == pytest.approx(np.log(daily / bars.volatility[6]), rel=1e-5)
    assert at["implied_surprise"] == pytest.approx(slow, rel=1e-5)
    assert at["implied_change"] == pytest.approx(np.log(20 / 24), rel=1e-5)
    assert at["implied_change_week"] == pytest.approx(np.log(20 / 20), abs=1e-6)
    # The last level serves for a week of sessions, and then says nothing.
    assert found.iloc[6 : 7 + STALE]["implied_surprise"].notna().all()
    assert found.iloc[7 + STALE :].isna().all(axis=None)


def test_without_an_index_the_group_is_unknown_and_all_else_as_it_was():
    world = pd.concat([history("AAPL", 1), history("MSFT", 2)])
    bare, beside = (
        Panel.of(world, companions=its).histories[0].features
        for its in (None, against(world, "^VIX"))
    )
    others = ~np.isin(FEATURES, IMPLIED)
    assert np.isnan(bare[:, ~others]).all()
    assert np.isfinite(beside[10:, ~others]).all()
    np.testing.assert_array_equal(bare[:, others], beside[:, others])


def test_an_index_among_the_prices_serves_as_one_beside_them():
    stock = history("AAPL")
    index = against(stock, "^VIX")
    among = table(pd.concat([stock, index]), "AAPL")
    pd.testing.assert_frame_equal(among, table(stock, "AAPL", index))


@pytest.mark.parametrize("cutoff", ["2018-03-29", "2018-07-17", "2018-11-23"])
@pytest.mark.parametrize(("ticker", "name"), [("AAPL", "^VIX"), ("RELIANCE.NS", "^INDIAVIX")])
def test_no_feature_knows_what_comes_later(ticker, name, cutoff):
    stock = history(ticker)
    index = against(stock, name)
    other = rewritten(index, np.datetime64(cutoff))
    ours, theirs = (table(stock, ticker, it).loc[:cutoff] for it in (index, other))
    pd.testing.assert_frame_equal(ours, theirs)
    later = pd.Timestamp(cutoff) + pd.Timedelta(days=10)
    assert (table(stock, ticker, other).loc[later:] != table(stock, ticker, index).loc[later:]).all(
        axis=None
    )


def test_levels_of_another_time_zone_count_from_the_first_close_after_they_are_public():
    index = history("^VIX", level=20.0)
    bars = Bars.of(index)
    days = index["date"].to_numpy().astype("datetime64[D]")
    monday, tuesday, wednesday = np.arange("2018-07-16", "2018-07-19", dtype="datetime64[D]")
    known = {
        # New York and Chicago close no earlier than it does on its date; Tokyo, London and Bombay do,
        # and a day of coins ends at midnight in London, four hours after New York's close.
        "XNYS": tuesday,
        "CMES": tuesday,
        "24/7": tuesday,
        "XLON": monday,
        "XBOM": monday,
        "XTKS": monday,
    }
    for observer, last in known.items():
        level = Implied.of("^VIX", bars, observer).known(np.array([monday, tuesday, wednesday]), 1)
        assert level.volatility == pytest.approx(bars.close[days == last].item() / 100), observer


def test_a_fund_of_its_own_index_takes_the_general_one_where_that_is_missing():
    fund = history("QQQ")
    own, general = against(fund, "^VXN", 30.0), against(fund, "^VIX", 20.0)
    both = table(fund, "QQQ", pd.concat([own, general]))
    pd.testing.assert_frame_equal(both, table(fund, "QQQ", own))
    assert (table(fund, "QQQ", general).iloc[10:, 0] < both.iloc[10:, 0]).all()


# ---- New York, London, Tokyo and a coin


TUESDAY = np.datetime64("2018-07-17")
CLOSES = {"7203.T": 6, "VOD.L": 15.5, "AAPL": 20, "BTC-USD": 24}
"""Hours of the date in Greenwich at which sessions close in summer."""

BESIDE = {"^N225": 6, "^FTSE": 15.5, "^GSPC": 20, "^VIX": 20, "ETH-USD": 24}


def moved(frame, day):
    """Return the prices with the close of one day a tenth higher, and so that of no other."""
    factor = np.where(frame["date"] == pd.Timestamp(day), 1.1, 1.0)
    return prices.check(frame.assign(**{it: frame[it] * factor for it in ("close", "adj_close")}))


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("ticker", CLOSES)
def test_a_companion_is_known_once_it_has_closed_wherever_it_is_looked_at(ticker, name):
    days = np.arange("2018-07-11", "2018-07-20", dtype="datetime64[D]")
    days = days[np.isin(days, history(ticker)["date"].to_numpy().astype("datetime64[D]"))]
    index = history(name, level=20.0)
    tables = []
    for frame in (index, moved(index, TUESDAY)):
        bars = Bars.of(frame)
        seen = Implied.of(name, bars, exchange(ticker))
        market = Market.of({name: bars}, exchange(ticker)).on(days)[:, :1]
        levels = [seen.known(days, session).volatility for session in range(len(days))]
        tables.append(np.column_stack([levels, market]))
    changed = ~np.isclose(*tables, equal_nan=True)
    first = TUESDAY if BESIDE[name] <= CLOSES[ticker] else TUESDAY + 1
    assert days[changed.any(axis=1)][0] == first
    assert (changed.all(axis=1) == (days == first))[days <= first].all()


def test_each_reads_the_implied_volatility_of_its_own_exchange_or_none():
    tickers = [*CLOSES, "RELIANCE.NS", "GC=F"]
    world = pd.concat([history(it, n) for n, it in enumerate(tickers)])
    indices = pd.concat([history(it, n, level=20.0) for n, it in enumerate(("^VIX", "^INDIAVIX"))])
    read = {it.ticker: it.implied for it in Panel.of(world, companions=indices).histories}
    assert {it: index.name for it, index in read.items() if index} == {
        "AAPL": "^VIX",
        "RELIANCE.NS": "^INDIAVIX",
    }
