import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.data import prices
from forecaster.dataset import features
from forecaster.dataset.bars import FLOOR, Bars, ewma, volatility
from forecaster.dataset.features import FEATURES
from forecaster.dataset.market import Market


def bars_of(frame):
    return {str(ticker): Bars.of(group) for ticker, group in frame.groupby("ticker")}


def tables(frame, universe=None):
    """Features of every ticker of a frame, by column."""
    bars = bars_of(frame)
    market = Market.of({ticker: bars[ticker] for ticker in universe or bars}, "XNYS")
    return {
        ticker: pd.DataFrame(features.compute(b, market), columns=list(FEATURES), index=b.dates)
        for ticker, b in bars.items()
    }


def toy(**columns):
    """A prices frame of one ticker from a few columns, one row for each close."""
    days = pd.bdate_range("2024-01-01", periods=len(columns["close"]))
    return prices.check(pd.DataFrame({"ticker": "TOY", "date": days, **columns}))


def slow_ewma(values, decay):
    found = []
    for t in range(len(values)):
        past = [(decay**k, values[t - k]) for k in range(t + 1) if np.isfinite(values[t - k])]
        weight = sum(w for w, _ in past)
        found.append(sum(w * x for w, x in past) / weight if past else np.nan)
    return np.array(found)


@pytest.mark.parametrize("decay", [0.5, 0.94, 0.997])
def test_ewma_equals_the_sum_it_stands_for(decay):
    rng = np.random.default_rng(0)
    values = rng.normal(size=120)
    values[[0, 1, 40, 41, 42, 119]] = np.nan
    found = ewma(values, decay)
    np.testing.assert_allclose(found, slow_ewma(values, decay), rtol=1e-9)
    both = ewma(np.column_stack([values, -values]), decay)
    np.testing.assert_array_equal(both, np.column_stack([found, -found]))


@given(seed=st.integers(0, 2**32 - 1), decay=st.sampled_from([0.5, 0.75, 0.94, 0.997]))
def test_ewma_is_that_of_pandas_bit_for_bit(seed, decay):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=rng.integers(1, 200)) * 10.0 ** rng.integers(-150, 150)
    for odd, share in ((np.nan, 0.2), (np.inf, 0.05), (0.0, 0.1)):
        values[rng.random(len(values)) < share] = odd
    expected = pd.Series(values).ewm(alpha=1 - decay).mean().to_numpy()
    assert ewma(values, decay).tobytes() == expected.tobytes()


def test_ewma_by_hand():
    np.testing.assert_allclose(ewma(np.array([np.nan, 1, 2]), 0.5), [np.nan, 1, 2.5 / 1.5])


def test_volatility_has_a_floor():
    assert volatility(np.zeros(5)).tolist() == [FLOOR] * 5


def test_bars_by_hand():
    e = np.e
    frame = toy(open=[1, e, 1], high=[1, e**2, 1], low=[1, 1, 1], close=[1, e, 1])
    bars = Bars.of(frame)
    np.testing.assert_allclose(bars.log_returns, [np.nan, 1, -1])
    np.testing.assert_allclose(bars.parkinson, [0, 4 / (4 * np.log(2)), 0])
    np.testing.assert_allclose(bars.range_variance, [0, 0.5 * 4, 0])  # open to close is zero
    np.testing.assert_allclose(bars.close_in_range, [0, (2 * e - e**2 - 1) / (e**2 - 1), 0])
    np.testing.assert_allclose(bars.overnight, [np.nan, 1, -1])


def test_garman_klass_of_a_bar_that_closes_at_its_high():
    bars = Bars.of(toy(open=[1.0], high=[np.e], low=[1.0], close=[np.e]))
    np.testing.assert_allclose(bars.range_variance, 0.5 - (2 * np.log(2) - 1))
    np.testing.assert_allclose(bars.close_in_range, 1)


def test_a_dividend_is_no_overnight_loss():
    # 2 of 100 are paid out overnight: the open of 98 is where the holder was.
    frame = toy(open=[100, 98], high=[100, 98], low=[100, 98], close=[100, 98], adj_close=[98, 98])
    np.testing.assert_allclose(Bars.of(frame).overnight, [np.nan, 0], atol=1e-12)


def test_own_features_by_hand():
    close = 100 * np.exp(np.cumsum([0, 0.01, -0.02, 0.03]))
    (table,) = tables(toy(close=close, volume=[10, 10, 10, 40])).values()
    r = np.array([np.nan, 0.01, -0.02, 0.03])
    variance = slow_ewma(r**2, 0.94)
    np.testing.assert_allclose(table["return"], r / np.sqrt(variance), rtol=1e-5)
    np.testing.assert_allclose(
        table["fast_volatility"], 0.5 * np.log(slow_ewma(r**2, 0.75) / variance), atol=1e-6
    )
    downside = slow_ewma(np.array([np.nan, 0, 0.02**2, 0]), 0.94)
    np.testing.assert_allclose(table["downside_share"], downside / variance - 0.5, atol=1e-6)
    surprise = np.log(40 / slow_ewma(np.array([10, 10, 10, 40]), 0.94)[-1])
    np.testing.assert_allclose(table["volume_surprise"], [0, 0, 0, surprise], atol=1e-6)
    # Monday to Thursday.
    np.testing.assert_allclose(table["days_since_session"], 0)


def test_the_market_by_hand():
    # Two tickers, one of which has not traded on the last day.
    days = pd.to_datetime(["2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05"])
    one = pd.DataFrame({"ticker": "A", "date": days, "close": np.exp([0, 0.01, 0.03, 0.04])})
    two = pd.DataFrame({"ticker": "B", "date": days[:3], "close": np.exp([0, 0.03, 0.06])})
    market = Market.of(bars_of(prices.check(pd.concat([one, two]))), "XNYS")
    found = dict(zip(features.MARKET, market.features.T, strict=True))
    # From the third day on there are volatilities of the day before: 0.01 and 0.03. The surprises are 2
    # and 1, and weights of 1 / 0.01 and 1 / 0.03 make 1.5 / (4 / 0.06) of them. Then A is alone.
    mean = np.array([np.nan, np.nan, 0.0225, 0.01])
    np.testing.assert_allclose(found["market_return"], mean / np.sqrt(slow_ewma(mean**2, 0.94)))
    np.testing.assert_allclose(found["market_surprise"][2], np.log((4 + 1) / 2 + 0.05))
    np.testing.assert_allclose(found["market_dispersion"][2], 0)  # of one day


def test_the_market_on_days_it_did_not_trade():
    days = pd.to_datetime(["2024-01-02", "2024-01-03", "2024-01-08"])
    frame = prices.check(pd.DataFrame({"ticker": "A", "date": days, "close": [1.0, 1.1, 1.2]}))
    market = Market.of(bars_of(frame), "XNYS")
    asked = np.array(["2024-01-01", "2024-01-03", "2024-01-05", "2024-01-09"], "datetime64[D]")
    at = market.on(asked)
    assert np.isnan(at[0]).all()
    np.testing.assert_array_equal(at[1:], market.features[[1, 1, 2]])


def test_weekends_and_pauses():
    days = pd.to_datetime(["2024-01-04", "2024-01-05", "2024-01-08", "2024-01-18"])
    frame = prices.check(pd.DataFrame({"ticker": "A", "date": days, "close": 1.0}))
    np.testing.assert_allclose(
        tables(frame)["A"]["days_since_session"], np.log([1, 1, 3, 10]), rtol=1e-6
    )


@settings(max_examples=15)
@given(share=st.floats(0.02, 0.98), seed=st.integers(0, 1000))
def test_no_feature_knows_what_comes_later(world, rewritten, share, seed):
    days = world["date"].drop_duplicates().sort_values()
    cutoff = days.iloc[int(share * len(days))]
    known = tables(world)
    for other in (rewritten(world, cutoff, seed), world[world["date"] <= cutoff]):
        for ticker, table in tables(other).items():
            pd.testing.assert_frame_equal(
                table[table.index <= cutoff],
                known[ticker][known[ticker].index <= cutoff],
                check_exact=True,
            )


# Weekdays are of the date alone; the echoes and outliers, of sessions before, are tested below, and
# implied volatility in test_implied.py.
ELSEWHERE = {"since_outlier", "quarter_ago", "half_year_ago", "year_ago"}
ELSEWHERE |= {*features.CALENDAR[1:], *features.IMPLIED}


@pytest.mark.parametrize("name", [name for name in FEATURES if name not in ELSEWHERE])
def test_every_feature_knows_the_session_of_its_row(world, rewritten, name):
    days = world["date"].drop_duplicates().sort_values().reset_index(drop=True)
    if name == "days_since_session":  # is of dates alone
        changed = tables(world[world["date"] != days[399]])["AAA"][name]
    else:
        changed = tables(rewritten(world, days[399]))["AAA"][name]
    assert changed[days[400]] != tables(world)["AAA"].loc[days[400], name]


def test_features_are_free_of_currency_and_size(world):
    scaled = world.copy()
    scaled[["open", "high", "low", "close", "adj_close"]] *= 7
    scaled["volume"] *= 3
    for ticker, table in tables(scaled).items():
        pd.testing.assert_frame_equal(table, tables(world)[ticker], rtol=0, atol=1e-5)


def test_the_basis_of_adjustment_does_not_matter(world):
    # A later dividend lowers all earlier adjusted closes by the same factor.
    paid = world.assign(adj_close=0.97 * world["adj_close"])
    for ticker, table in tables(paid).items():
        pd.testing.assert_frame_equal(table, tables(world)[ticker], rtol=0, atol=1e-5)


def test_features_are_of_the_size_of_one(world):
    table = (
        tables(world)["AAA"].drop(columns=[*features.EVENTS, *features.IMPLIED]).to_numpy()[260:]
    )
    assert np.isfinite(table).all()
    assert np.abs(table).max() < 30
    assert table.dtype == np.float32


def test_closes_alone_give_what_they_can(world):
    known = tables(world)["CCC"].iloc[260:].notna()
    assert known[list(features.CLOSE + features.CALENDAR + features.MARKET)].all(axis=None)
    assert not known[list(features.RANGE + features.VOLUME)].any(axis=None)


def test_no_volume_or_a_session_without_trade(world):
    table = tables(world.assign(volume=0.0))["AAA"]
    assert table["volume_surprise"].isna().all()
    assert table["range_today"].iloc[1:].notna().all()


def test_prices_that_do_not_move():
    flat = toy(**dict.fromkeys(["open", "high", "low", "close"], np.full(80, 5.0)))
    (table,) = tables(flat).values()
    assert not np.isinf(table.to_numpy()).any()
    assert table["return"].iloc[1:].eq(0).all()


def test_a_single_ticker_has_no_dispersion(world):
    alone = tables(world[world["ticker"] == "AAA"])["AAA"]
    assert alone["market_dispersion"].isna().all()
    assert alone["market_return"].iloc[2:].notna().all()  # against the volatility of the day before


def test_bars_leave_the_prices_alone(world):
    before = world.copy()
    tables(world)
    pd.testing.assert_frame_equal(world, before, check_exact=True)


def test_bars_have_one_value_for_each_session(world):
    for ticker, bars in bars_of(world).items():
        count = (world["ticker"] == ticker).sum()
        assert {len(getattr(bars, field.name)) for field in dataclasses.fields(bars)} == {count}


def test_weekdays(world):
    table = tables(world)["AAA"]
    for day, name in enumerate(["monday", "tuesday", "wednesday", "thursday", "friday"]):
        assert (table[name] == (pd.DatetimeIndex(table.index).day_of_week == day)).all()


def moved(at, sessions=300):
    """A quiet ticker that jumps by 20% at one session."""
    returns = 0.01 * np.where(np.arange(sessions) % 2, 1, -1)
    returns[at] = 0.2
    return toy(close=100 * np.exp(np.cumsum(returns)))


@pytest.mark.parametrize(
    ("name", "lag"), [("quarter_ago", 63), ("half_year_ago", 126), ("year_ago", 252)]
)
def test_an_echo_is_heard_within_two_sessions_of_its_lag(name, lag):
    (table,) = tables(moved(at=30)).values()
    heard = np.flatnonzero(table[name] > 5)
    # The session forecast is one after the row's.
    np.testing.assert_array_equal(heard + 1 - 30, np.arange(lag - 2, lag + 3))


def test_sessions_since_an_outlier():
    (table,) = tables(moved(at=30)).values()
    since = table["since_outlier"] * features.OUTLIER_MEMORY
    assert (since.iloc[:30] == features.OUTLIER_MEMORY).all()
    np.testing.assert_allclose(since.iloc[30:160], np.arange(130), atol=1e-4)
    assert (since.iloc[160:] == features.OUTLIER_MEMORY).all()
