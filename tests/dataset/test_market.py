"""The market is what was known at the close of the ticker that looks at it."""

import numpy as np
import pandas as pd
import pytest

from forecaster.config import RecurrentConfig
from forecaster.data import calendars, exchanges, prices
from forecaster.data.publication import closing_instants
from forecaster.dataset.bars import Bars
from forecaster.dataset.features import MARKET
from forecaster.dataset.market import FEW, Market, Place
from forecaster.dataset.panel import Panel
from forecaster.models.registry import create

TICKERS = ("AAPL", "VOD.L", "7203.T", "RELIANCE.NS", "BTC-USD")


def history(ticker, seed, first="2017-06-01", last="2019-03-29"):
    """Return a random walk with bars on the sessions of the ticker's exchange."""
    rng = np.random.default_rng(seed)
    days = calendars.sessions_between(ticker, pd.Timestamp(first), pd.Timestamp(last))
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, len(days))))
    open_ = close * np.exp(rng.normal(0, 0.004, len(days)))
    wick = np.exp(rng.exponential(0.004, (2, len(days))))
    return pd.DataFrame(
        {
            "ticker": ticker,
            "date": days,
            "open": open_,
            "high": np.maximum(open_, close) * wick[0],
            "low": np.minimum(open_, close) / wick[1],
            "close": close,
            "adj_close": close,
            "volume": rng.lognormal(14, 0.4, len(days)),
        }
    )


@pytest.fixture(scope="module")
def mixed():
    return prices.check(
        pd.concat([history(ticker, n) for n, ticker in enumerate(TICKERS)], ignore_index=True)
    )


def instants(frame):
    """Return the instant at which each row of a prices frame closes."""
    parts = [
        pd.Series(
            closing_instants(
                exchanges.exchange(str(ticker)),
                its["date"].to_numpy().astype("datetime64[D]"),
                latest=True,
            ),
            its.index,
        )
        for ticker, its in frame.groupby("ticker")
    ]
    return pd.concat(parts).reindex(frame.index)


def with_another_future(frame, instant):
    """Return the frame with all that closes after an instant moved, each row by its own factor."""
    later = instants(frame) > instant
    factor = np.exp(np.random.default_rng(9).normal(0, 0.3, len(frame)))
    columns = ["open", "high", "low", "close", "adj_close"]
    moved = frame[columns].mul(np.where(later, factor, 1.0), axis=0)
    return prices.check(frame.assign(**moved))


# Winter and summer time, the day after Thanksgiving (New York closes at 13:00), and a Saturday.
@pytest.mark.parametrize("cutoff", ["2018-02-06", "2018-07-17", "2018-11-23", "2018-12-24"])
@pytest.mark.parametrize("ticker", TICKERS)
def test_features_know_no_close_after_the_ticker_s_own(mixed, ticker, cutoff):
    frame = mixed[mixed["ticker"] == ticker]
    day = frame.loc[frame["date"] <= cutoff, "date"].max()
    (instant,) = instants(frame[frame["date"] == day])
    before, after = (
        next(h for h in Panel.of(it).histories if h.ticker == ticker)
        for it in (mixed, with_another_future(mixed, instant))
    )
    known = before.count_until(np.datetime64(day, "D"))
    np.testing.assert_array_equal(before.features[:known], after.features[:known])
    assert not np.array_equal(before.features[known:], after.features[known:], equal_nan=True)


@pytest.mark.parametrize("model", ["lstm", "trees"])
def test_a_fit_knows_no_close_after_the_first_exchange_s(mixed, model):
    until = np.datetime64("2018-12-18")
    tokyo = closing_instants("XTKS", np.array([until]), latest=True)[0]
    config = RecurrentConfig(
        units=3, window=40, warmup=10, batch=8, epochs=1, steps=2, validation=60, seeds=1, horizon=2
    )
    states = []
    for frame in (mixed, with_another_future(mixed, tokyo)):
        fitted = create(model, config)
        fitted.fit(Panel.of(frame), until)
        states.append(fitted.state().arrays)
    for name, array in states[0].items():
        np.testing.assert_array_equal(array, states[1][name], err_msg=name)


def test_tokyo_reads_new_york_s_session_of_the_day_before():
    # New York moves by 3% on Wednesday alone; Tokyo's market moves on Thursday, London's next day.
    days = pd.to_datetime(["2024-03-04", "2024-03-05", "2024-03-06", "2024-03-07", "2024-03-08"])
    close = np.exp([0, 0.01, 0.04, 0.05, 0.06])
    bars = Bars.of(prices.check(pd.DataFrame({"ticker": "AAPL", "date": days, "close": close})))
    row = MARKET.index("market_abs_return")

    def largest(exchange):
        market = Market.of({"AAPL": bars}, exchange)
        return str(market.dates[np.nanargmax(market.features[:, row])])

    assert largest("XNYS") == "2024-03-06"
    assert largest("24/7") == "2024-03-06"
    assert largest("XTKS") == "2024-03-07"
    assert largest("XLON") == "2024-03-07"


def walk(seed, days, common=None, beta=1.0, scale=0.01):
    """Return the bars of a random walk that follows a common one."""
    noise = np.random.default_rng(seed).normal(0, scale, len(days))
    steps = noise if common is None else beta * common + noise
    close = 100 * np.exp(np.cumsum(steps))
    return Bars.of(prices.check(pd.DataFrame({"ticker": "A", "date": days, "close": close})))


@pytest.fixture(scope="module")
def days():
    return pd.bdate_range("2015-01-02", periods=400)


@pytest.fixture(scope="module")
def common(days):
    return np.random.default_rng(0).normal(0, 0.01, len(days))


@pytest.mark.parametrize(
    ("ticker", "market"),
    [
        ("AAPL", {"AAPL", "MSFT", "KO", "GE", "^DJI"}),  # five peers, indices among them
        ("VOD.L", {"^FTSE"}),  # one peer: the index is the market
        (
            "7203.T",
            {"AAPL", "MSFT", "KO", "GE", "^DJI", "VOD.L", "7203.T"},
        ),  # nor an index: all shares
        ("BTC-USD", {"BTC-USD"}),  # the index of coins
        ("EURUSD=X", {"EURUSD=X", "GBPUSD=X"}),  # currencies have no index
        ("^VIX", set()),  # a ticker is no market of its own
    ],
)
def test_each_kind_on_each_exchange_has_a_market_of_its_own(days, ticker, market):
    names = ["AAPL", "MSFT", "KO", "GE", "^DJI", "VOD.L", "7203.T", "EURUSD=X", "GBPUSD=X"]
    names += ["^VIX", "BTC-USD"]
    bars = {name: walk(seed, days) for seed, name in enumerate([*names, "^FTSE", "^GSPC"])}
    universe = {name: bars[name] for name in names}
    assert sum(Place.of(name) == Place.of("AAPL") for name in names) == FEW
    made = Market.at(Place.of(ticker), universe, bars)
    alike = Market.of({name: bars[name] for name in market}, Place.of(ticker).exchange)
    np.testing.assert_array_equal(made.dates, alike.dates)
    np.testing.assert_allclose(made.features, alike.features, atol=1e-12)


def test_no_market_at_all(days):
    made = Market.at(Place.of("AAPL"), {}, {})
    assert np.isnan(made.on(np.array(["2015-06-01"], "datetime64[D]"))).all()


def test_what_moves_against_the_others_is_named_and_left_out(days, common):
    peers = {f"S{n}": walk(n, days, common) for n in range(4)}
    against = {
        "INVERSE": walk(9, days, common, beta=-1.0),
        "SHORT": walk(10, days, common, beta=-2.0),
    }
    market = Market.of(peers | against, "XNYS")
    assert market.left_out == ("INVERSE", "SHORT")
    without = Market.of(peers, "XNYS")
    assert without.left_out == ()
    # Once it was judged they count for nothing, but for what averages remember of the time before.
    row = MARKET.index("market_surprise")
    np.testing.assert_allclose(market.features[100:, row], without.features[100:, row])


def test_a_ticker_is_left_out_by_what_came_before_alone(days, common):
    turning = np.where(np.arange(len(days)) < 100, common, -8 * common)
    bars = {f"S{n}": walk(n, days, common) for n in range(4)} | {"T": walk(9, days, turning)}
    whole = Market.of(bars, "XNYS")
    early = Market.of({name: its.first(100) for name, its in bars.items()}, "XNYS")
    assert (whole.left_out, early.left_out) == (("T",), ())
    np.testing.assert_array_equal(whole.features[:100], early.features)


def test_no_wild_ticker_drowns_the_others(days, common):
    calm = {f"S{n}": walk(n, days, common, scale=0.002) for n in range(4)}
    wild = Market.of(calm | {"W": walk(9, days, scale=0.3)}, "XNYS")
    alone = Market.of(calm, "XNYS")
    returns = MARKET.index("market_return")
    both = np.column_stack([wild.features[50:, returns], alone.features[50:, returns]])
    assert np.corrcoef(both.T)[0, 1] > 0.9


def test_a_market_that_is_no_longer_stored_says_nothing(days):
    market = Market.of({"A": walk(0, days)}, "XNYS")
    last = market.dates[-1]
    near, far = market.on(np.array([last + 3, last + 60]))
    assert np.isfinite(near[MARKET.index("market_return")])
    assert np.isnan(far).all()
