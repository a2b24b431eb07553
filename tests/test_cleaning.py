import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster import cleaning, prices, sources
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


def test_what_comes_before_another_instrument_is_rejected(sound):
    sound.loc[:99, ["open", "high", "low", "close", "adj_close"]] *= 20
    table, found = cleaning.clean(sound)
    assert rules(found)["another instrument", "rejected"] == 100
    assert table["date"].iloc[0] == sound["date"][100]


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
    ((ticker, frame),) = sources.load(str(tmp_path / "messy.csv"), findings=findings)
    assert (ticker, len(frame)) == ("AAA", SESSIONS - 1)
    assert findings[0]["rule"].tolist() == ["close not positive"]
    assert "AAA: 1 rows rejected (close not positive 1 from 2020-01-16)" in caplog.text


def test_nothing_left_is_an_error(sound, tmp_path):
    sound.assign(close=0.0, adj_close=0.0).to_csv(tmp_path / "none.csv", index=False)
    ((_, error),) = sources.load(str(tmp_path / "none.csv"))
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
    cleaned, found = cleaning.clean(table.drop(columns="day"))
    if len(cleaned):
        assert len(prices.check(cleaned)) == len(cleaned)
    rejected = found.loc[found["action"] == "rejected", "rows"].sum()
    assert len(cleaned) + rejected == len(table)
