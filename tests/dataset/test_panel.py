import numpy as np
import pandas as pd
import pytest

from forecaster.data import events, prices
from forecaster.dataset.features import FEATURES
from forecaster.dataset.panel import Panel, StudentT, TickerForecasts, forecasts_of
from forecaster.distributions import forecasts


def day(text):
    return np.datetime64(text, "D")


@pytest.fixture(scope="module")
def weekend():
    """Four sessions around the long weekend of Martin Luther King's day, 15 January 2024."""
    days = ["2024-01-10", "2024-01-11", "2024-01-12", "2024-01-16"]
    return prices.check(
        pd.DataFrame({"ticker": "AAA", "date": days, "close": [10.0, 11.0, 12.0, 13.0]})
    )


def test_histories_are_sorted_and_aligned(world):
    panel = Panel.of(world)
    assert panel.tickers == ("AAA", "BBB", "CCC")
    for history in panel.histories:
        rows = world[world["ticker"] == history.ticker]
        np.testing.assert_array_equal(history.dates, rows["date"].to_numpy("datetime64[D]"))
        np.testing.assert_array_equal(history.bars.close, rows["close"])
        np.testing.assert_array_equal(history.next_dates[:-1], history.dates[1:])
        assert history.features.shape == (len(rows), len(FEATURES))
        assert history.volatility.shape == history.log_returns.shape == (len(rows),)
    np.testing.assert_array_equal(
        panel.sessions, np.sort(world["date"].unique()).astype("datetime64[D]")
    )


def test_the_session_after_the_last_is_the_exchanges(weekend):
    first = weekend.iloc[:3]
    assert Panel.of(first).histories[0].next_dates[-1] == day("2024-01-16")
    london = first.assign(ticker="AAA.L")
    assert Panel.of(london).histories[0].next_dates[-1] == day("2024-01-15")


def test_between_and_count_until_include_their_ends(weekend):
    (history,) = Panel.of(weekend).histories
    assert history.between(day("2024-01-11"), day("2024-01-15")).tolist() == [1, 2]
    assert history.between(day("2024-01-13"), day("2024-01-15")).tolist() == []
    assert [
        history.count_until(day(text)) for text in ("2024-01-09", "2024-01-12", "2024-01-15")
    ] == [0, 3, 3]


def test_student_forecasts_say_what_happened_next(weekend):
    (history,) = Panel.of(weekend).histories
    index = np.array([2, 3])
    part = TickerForecasts(history, index, {1: StudentT(0.0, np.ones(2), 5.0)})
    frame = forecasts_of("toy", [part])
    pd.testing.assert_frame_equal(frame, forecasts.check(frame))
    assert frame["cutoff"].dt.strftime("%m-%d").tolist() == ["01-12", "01-16"]
    assert frame["date"].dt.strftime("%m-%d").tolist() == ["01-16", "01-17"]
    assert frame["last_close"].tolist() == [12.0, 13.0]
    np.testing.assert_allclose(frame["log_return"], [np.log(13 / 12), np.nan])


def test_returns_and_dates_of_several_sessions(weekend):
    (history,) = Panel.of(weekend).histories
    np.testing.assert_allclose(history.ahead(2), [np.log(12 / 10), np.log(13 / 11), np.nan, np.nan])
    np.testing.assert_array_equal(history.ahead(1), history.next_returns)
    expected = ["2024-01-12", "2024-01-16", "2024-01-17", "2024-01-18"]
    np.testing.assert_array_equal(history.dates_ahead(2), np.array(expected, "datetime64[D]"))
    np.testing.assert_array_equal(history.dates_ahead(1), history.next_dates)
    # 19 January is the third session after the 16th, and the 15th a holiday.
    assert history.dates_ahead(5)[[0, 3]].tolist() == [
        day("2024-01-18").item(),
        day("2024-01-23").item(),
    ]


def test_steps_between_are_read_on_variance(weekend):
    (history,) = Panel.of(weekend).histories
    index = np.array([0])
    knots = {
        1: StudentT(0.0, 0.01, 5.0),
        2: StudentT(0.0, 0.013, 6.0),
        3: StudentT(0.0, 0.015, 6.0),
    }
    knots |= {5: StudentT(0.001, 0.03, 6.0)}
    part = TickerForecasts(history, index, knots)
    frame = forecasts_of("toy", [part], (3, 4, 5)).set_index("step")
    three, four, five = (frame.loc[step] for step in (3, 4, 5))
    assert four["volatility"] ** 2 == pytest.approx(
        (three["volatility"] ** 2 + five["volatility"] ** 2) / 2
    )
    weight = (four["volatility"] - three["volatility"]) / (five["volatility"] - three["volatility"])
    for name in ("mean", "q0.01", "q0.5", "q0.9"):
        assert four[name] == pytest.approx((1 - weight) * three[name] + weight * five[name])
    assert np.isnan(four["df"])
    assert four["date"] == pd.Timestamp("2024-01-17")
    assert np.isnan(four["log_return"])
    assert three["log_return"] == pytest.approx(np.log(13 / 10))


def test_volatility_does_not_fall_with_the_step(weekend):
    (history,) = Panel.of(weekend).histories
    knots = {1: StudentT(0.0, 0.02, 5.0), 2: StudentT(0.001, 0.01, 5.0)}
    frame = forecasts_of("toy", [TickerForecasts(history, np.array([0]), knots)], (1, 2))
    assert frame["volatility"].tolist() == pytest.approx([0.02 * np.sqrt(5 / 3)] * 2)
    assert frame["q0.5"].tolist() == pytest.approx([0, 0.001])
    np.testing.assert_allclose(frame["q0.9"][1] - 0.001, frame["q0.9"][0])
    pd.testing.assert_frame_equal(frame, forecasts.check(frame))


def test_a_ticker_is_the_same_alone_and_among_others_of_one_universe(world):
    universe = ["AAA", "BBB"]
    every = Panel.of(world, universe=universe)
    for i, ticker in enumerate(("AAA", "BBB", "CCC")):
        (alone,) = Panel.of(world, tickers=[ticker], universe=universe).histories
        for name in ("dates", "next_dates", "next_returns", "volatility", "variance", "features"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(every.histories[i], name))


def test_the_universe_is_the_market(world):
    one = Panel.of(world, tickers=["AAA"], universe=["AAA"]).histories[0]
    three = Panel.of(world, tickers=["AAA"]).histories[0]
    market = [name.startswith("market") for name in FEATURES]
    assert not np.array_equal(one.features[200, market], three.features[200, market])
    np.testing.assert_array_equal(
        one.features[:, np.logical_not(market)], three.features[:, np.logical_not(market)]
    )


def test_order_of_the_names_does_not_matter(world):
    first = Panel.of(world, tickers=["BBB", "AAA"], universe=["CCC", "AAA"])
    second = Panel.of(world, tickers=["AAA", "BBB"], universe=["AAA", "CCC"])
    assert first.tickers == second.tickers == ("AAA", "BBB")
    for one, other in zip(first.histories, second.histories, strict=True):
        np.testing.assert_array_equal(one.features, other.features)


def test_prices_are_left_alone(world):
    before = world.copy()
    Panel.of(world)
    pd.testing.assert_frame_equal(world, before, check_exact=True)


def test_what_comes_after_a_gap_is_not_the_next_session(world):
    days = world["date"].drop_duplicates().sort_values().reset_index(drop=True)
    missing = days.between(days[300], days[330])
    (history,) = Panel.of(
        world[~world["date"].isin(days[missing])], tickers=["AAA"], universe=["AAA"]
    ).histories
    before = int(np.searchsorted(history.dates, days[299].to_datetime64()))
    assert history.next_dates[before] == days[300].to_datetime64().astype("datetime64[D]")
    assert np.isnan(history.next_returns[before])
    np.testing.assert_array_equal(
        history.next_returns[:before], history.log_returns[1 : before + 1]
    )


def test_the_past_until_a_date_is_that_of_prices_that_end_there(world):
    days = world["date"].drop_duplicates().sort_values().reset_index(drop=True)
    world = world[~world["date"].between(days[300], days[330])]  # a gap: no session follows it
    for cutoff in (days[299], days[400], days[699]):
        known = Panel.of(world[world["date"] <= cutoff]).histories
        for past, expected in zip(Panel.of(world).histories, known, strict=True):
            past = past.until(cutoff.to_datetime64())
            for name in ("dates", "log_returns", "next_returns", "volatility", "variance"):
                np.testing.assert_array_equal(getattr(past, name), getattr(expected, name))


def test_the_last_sessions_have_the_features_of_the_whole_history(world):
    days = world.loc[world["ticker"] == "AAA", ["ticker", "date"]].iloc[30::63]
    announced = events.check(days.assign(time=None, kind=events.EARNINGS, first_seen=None))
    index = world[world["ticker"] == "BBB"].iloc[:500].assign(ticker="^VIX")  # it ends before
    for history in Panel.of(world, events=announced, companions=index).histories:
        whole = history.features
        for first in (1, 3, 40, 499, 503, len(whole) - 1):
            features = history.since(first).features
            np.testing.assert_array_equal(features, whole[first:], strict=True)
            np.testing.assert_array_equal(history.since(first).since(0).features, features)
