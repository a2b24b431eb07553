import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.data import adjustment, cleaning, prices
from forecaster.data.sources import loading
from forecaster.errors import ForecastError

SESSIONS = 300


@pytest.fixture
def sound():
    """A sound history: nothing is to be cleaned."""
    rng = np.random.default_rng(0)
    close = 50 * np.exp(np.cumsum(0.01 * rng.standard_normal(SESSIONS)))
    return pd.DataFrame(
        {
            "ticker": "AAA",
            "date": pd.bdate_range("2020-01-02", periods=SESSIONS),
            "open": close,
            "high": 1.01 * close,
            "low": 0.99 * close,
            "close": close,
            "adj_close": close,
            "volume": 1000.0,
        }
    )


def rules(found):
    return found.groupby(["rule", "action"])["rows"].sum().to_dict()


def test_a_sound_history_is_left_as_it_is(sound):
    table, found = cleaning.clean(sound)
    pd.testing.assert_frame_equal(prices.check(table), prices.check(sound))
    assert found.empty


def test_the_range_of_a_day_may_reach_to_the_largest_number_there_is(sound):
    sound.loc[10, "high"] = np.finfo(float).max
    table, found = cleaning.clean(sound)
    assert prices.check(table)["high"].max() == np.finfo(float).max
    assert found.empty


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (np.nan, "no close"),
        (np.inf, "close not finite"),
        (0.0, "close not positive"),
        (-3.0, "close not positive"),
    ],
)
def test_closes_that_are_none_are_rejected(sound, value, rule):
    sound.loc[[10, 11, 50], "close"] = value
    table, found = cleaning.clean(sound)
    assert rules(found) == {(rule, "rejected"): 3}
    # Neighbours are one line, with their dates.
    assert found["rows"].tolist() == [2, 1]
    assert found["first"].tolist() == [sound["date"][10], sound["date"][50]]
    assert found["last"].tolist() == [sound["date"][11], sound["date"][50]]
    assert len(prices.check(table)) == SESSIONS - 3


def test_of_two_rows_of_a_date_the_last_stays(sound):
    again = sound.iloc[[20]].assign(volume=7.0)
    table, found = cleaning.clean(pd.concat([sound, again]))
    assert rules(found) == {("duplicated", "rejected"): 1}
    assert table.loc[table["date"] == sound["date"][20], "volume"].item() == 7


@pytest.mark.parametrize("factor", [100.0, 0.01])
@pytest.mark.parametrize("length", [1, 40])
def test_pence_are_brought_back_to_pounds(sound, factor, length):
    names = ["open", "high", "low", "close", "adj_close"]
    spoilt = sound.copy()
    spoilt.loc[100 : 99 + length, names] *= factor
    table, found = cleaning.clean(spoilt)
    assert rules(found) == {("pence and pounds", "repaired"): length}
    np.testing.assert_allclose(table[names], sound[names], rtol=1e-9)


def test_a_spike_is_rejected_and_a_crash_is_not(sound):
    sound.loc[60, ["close", "adj_close"]] *= 3  # and back
    sound.loc[150:, ["open", "high", "low", "close", "adj_close"]] *= 0.45  # and not back
    table, found = cleaning.clean(sound)
    assert rules(found) == {("spike", "rejected"): 1}
    assert len(table) == SESSIONS - 1


BARS = ["open", "high", "low", "close", "adj_close"]


@pytest.mark.parametrize("factor", [30.0, 1 / 30])
def test_what_comes_before_a_leap_that_no_share_makes_is_another_instrument(sound, factor):
    sound.loc[:99, BARS] *= factor
    table, found = cleaning.clean(sound)
    assert rules(found) == {("another instrument", "rejected"): 100}
    assert table["date"].iloc[0] == sound["date"][100]


def test_a_name_used_again_after_a_gap_is_another_instrument(sound):
    sound.loc[:99, BARS] *= 5
    kept, found = cleaning.clean(sound)  # without a gap, a crash of 80%
    assert rules(found) == {("unapplied split", "kept"): 1}
    assert len(kept) == SESSIONS
    sound.loc[:99, "date"] -= pd.Timedelta(days=30)
    table, found = cleaning.clean(sound)
    assert rules(found) == {("another instrument", "rejected"): 100}
    assert table["date"].iloc[0] == sound["date"][100]


def test_another_instrument_is_not_believed_at_once(sound):
    sound.loc[SESSIONS - 19 :, BARS] *= 30
    table, found = cleaning.clean(sound)
    assert rules(found) == {("another instrument", "rejected"): 19}
    assert table["date"].iloc[-1] == sound["date"][SESSIONS - 20]


def test_a_spell_of_another_instrument_is_rejected_and_what_surrounds_it_stays(sound):
    for first, last in ((50, 60), (100, 180)):
        sound.loc[first:last, BARS] *= 4.4
    table, found = cleaning.clean(sound)
    assert rules(found) == {("another instrument", "rejected"): 92}
    assert found["rows"].tolist() == [11, 81]
    assert len(table) == SESSIONS - 92


def test_a_share_that_crashes_and_one_that_soars_keep_their_history(sound):
    """Down by 88% in a day, and thrice up by 180%: it happens."""
    sound.loc[50:, BARS] *= 0.12
    for at in (100, 150, 250):
        sound.loc[at:, BARS] *= 2.8
    table, found = cleaning.clean(sound)
    assert len(table) == SESSIONS
    assert set(found["action"]) == {"kept"}
    assert found.loc[found["rule"] == "leap", "first"].tolist()[0] == sound["date"][50]


@pytest.mark.parametrize(
    ("wrong", "rows"), [(slice(0, 99), 100), (slice(299, 299), 1), (slice(200, 299), 100)]
)
def test_a_change_of_unit_is_undone_to_that_of_most_sessions(sound, wrong, rows):
    spoilt = sound.copy()
    spoilt.loc[wrong, BARS] *= 100
    table, found = cleaning.clean(spoilt)
    assert rules(found) == {("pence and pounds", "repaired"): rows}
    np.testing.assert_allclose(table[BARS], sound[BARS], rtol=1e-9)


def test_a_split_that_the_source_gives_is_applied_where_its_prices_forgot(sound):
    sound["splits"] = 0.0
    sound.loc[120, "splits"] = 4.0
    assert cleaning.clean(sound)[1].empty  # applied: no leap
    spoilt = sound.copy()
    spoilt.loc[:119, BARS] *= 4
    spoilt.loc[:119, "volume"] /= 4
    table, found = cleaning.clean(spoilt)
    assert rules(found) == {("unapplied split", "repaired"): 1}
    assert found["first"].item() == sound["date"][120]
    np.testing.assert_allclose(table[[*BARS, "volume"]], sound[[*BARS, "volume"]], rtol=1e-9)


def test_what_is_out_of_range_is_rejected(sound):
    sound.loc[30, ["close", "adj_close"]] = 1e13
    sound.loc[299, "date"] = pd.Timestamp("2999-01-01")
    table, found = cleaning.clean(sound)
    assert rules(found) == {("out of range", "rejected"): 2}
    assert len(prices.check(table)) == SESSIONS - 2


def test_the_dividend_of_a_row_without_a_price_goes_to_the_next(sound):
    sound["dividends"] = 0.0
    sound.loc[[40, 41], "dividends"] = [0.5, 0.25]
    sound["adj_close"] = adjustment.adjusted(
        sound["close"].to_numpy(), sound["dividends"].to_numpy()
    )
    sound.loc[40, "close"] = np.nan
    table, found = cleaning.clean(sound)
    assert rules(found)["no close", "rejected"] == 1
    assert table["dividends"][40] == 0.75
    sound.loc[60, "dividends"] = -1
    table, found = cleaning.clean(sound)
    assert rules(found)["action not usable", "repaired"] == 1
    assert np.isnan(table["dividends"][59])


def test_an_adjustment_that_no_dividend_explains_is_named(sound):
    sound["dividends"] = 0.0
    sound.loc[40, "dividends"] = 0.5
    sound["adj_close"] = adjustment.adjusted(
        sound["close"].to_numpy(), sound["dividends"].to_numpy()
    )
    assert cleaning.clean(sound)[1].empty
    sound.loc[:99, "adj_close"] *= 1 - 1e-5
    table, found = cleaning.clean(sound)
    assert rules(found) == {("adjustment unexplained", "kept"): 1}
    assert found["first"].item() == sound["date"][100]
    assert len(table) == SESSIONS


def test_a_split_that_was_not_applied_is_named_and_kept(sound):
    sound.loc[:99, ["open", "high", "low", "close", "adj_close"]] *= 2
    sound.loc[[99, 100], "adj_close"] = [100.0, 50.0]
    table, found = cleaning.clean(sound)
    assert rules(found) == {("unapplied split", "kept"): 1}
    assert found["first"].item() == sound["date"][100]
    assert len(table) == SESSIONS


def test_frozen_bars_without_volume_are_rejected_from_the_fifth_on(sound):
    sound.loc[200:211, ["open", "high", "low", "close", "adj_close"]] = 50.0
    sound.loc[201:211, "volume"] = 0.0
    table, found = cleaning.clean(sound)
    # Twelve bars of one close, of which the first was traded.
    assert rules(found) == {("frozen", "rejected"): 8}
    assert sound["date"][203] in set(table["date"])
    sound["volume"] = 1000.0
    assert cleaning.clean(sound)[1].empty


@pytest.mark.parametrize(
    "spoil",
    [{"high": 1.0}, {"low": 400.0}, {"open": -1.0}, {"high": np.inf}, {"open": 0.0}],
    ids=["high below low", "low above close", "negative", "infinite", "zero"],
)
def test_a_range_that_cannot_be_is_dropped_and_the_close_stays(sound, spoil):
    sound.loc[30, list(spoil)] = list(spoil.values())
    table, found = cleaning.clean(sound)
    assert rules(found) == {("range not usable", "repaired"): 1}
    assert table.loc[30, ["open", "high", "low"]].isna().all()
    assert len(prices.check(table)) == SESSIONS


@pytest.mark.parametrize("volume", [-1.0, np.inf, 1e19])
def test_a_volume_that_cannot_be_is_dropped(sound, volume):
    sound.loc[30, "volume"] = volume
    table, found = cleaning.clean(sound)
    assert rules(found) == {("volume not usable", "repaired"): 1}
    assert np.isnan(prices.check(table)["volume"][30])


def test_a_source_tells_what_it_cleaned(sound, tmp_path, caplog):
    sound.loc[10, "close"] = 0.0
    sound.to_csv(tmp_path / "messy.csv", index=False)
    findings = []
    ((ticker, frame),) = loading.load(str(tmp_path / "messy.csv"), findings=findings)
    assert (ticker, len(frame)) == ("AAA", SESSIONS - 1)
    assert findings[0]["rule"].tolist() == ["close not positive"]
    assert caplog.text == ""
    loading.load(str(tmp_path / "messy.csv"))
    assert "AAA: 1 rows rejected (close not positive 1 from 2020-01-16)" in caplog.text


def test_nothing_left_is_an_error(sound, tmp_path):
    sound.assign(close=0.0, adj_close=0.0).to_csv(tmp_path / "none.csv", index=False)
    ((_, error),) = loading.load(str(tmp_path / "none.csv"))
    assert isinstance(error, ForecastError)
    assert "no row of the source can be used: 300 rows rejected" in str(error)


numbers = st.one_of(
    st.floats(width=32), st.sampled_from([0.0, 1.0, 100.0, 1.01, np.nan, np.inf, -1.0, 1e30, 1e-30])
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["A", "B"]), st.integers(0, 40), numbers, numbers, numbers, numbers, numbers
        ),
        min_size=1, max_size=60,
    )
)  # fmt: skip
def test_whatever_the_numbers_what_is_left_is_a_prices_frame(rows):
    names = ["ticker", "day", "open", "high", "low", "close", "volume"]
    table = pd.DataFrame(rows, columns=names)
    table["date"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(table["day"], unit="D")
    table[["dividends", "splits"]] = table[["volume", "open"]].to_numpy()
    cleaned, found = cleaning.clean(table.drop(columns="day"))
    if len(cleaned):
        assert len(prices.check(cleaned, actions=True)) == len(cleaned)
    rejected = found.loc[found["action"] == "rejected", "rows"].sum()
    assert len(cleaned) + rejected == len(table)
