import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.data import adjustment, cleaning, leaps, prices
from forecaster.data.rules import RULES
from forecaster.data.sources import loading
from forecaster.errors import ForecastError, PricesError

SESSIONS = 300
BARS = ["open", "high", "low", "close", "adj_close"]


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


def cleaned(frame, **instrument):
    clean = cleaning.clean(frame, **instrument)
    return clean.frame, clean.findings


def rules(findings):
    return findings.groupby(["rule", "action"])["rows"].sum().to_dict()


def same(table, sound, columns=BARS):
    np.testing.assert_allclose(table[columns], sound[columns], rtol=1e-9)


def test_a_sound_history_is_left_as_it_is(sound):
    table, findings = cleaned(sound)
    pd.testing.assert_frame_equal(prices.check(table), prices.check(sound))
    assert findings.empty


def test_the_range_of_a_day_may_reach_to_the_largest_number_there_is(sound):
    sound.loc[10, "high"] = np.finfo(float).max
    table, findings = cleaned(sound)
    assert prices.check(table)["high"].max() == np.finfo(float).max
    assert findings.empty


# ---- rows without a close


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
    table, findings = cleaned(sound)
    assert rules(findings) == {(rule, "rejected"): 3}
    # Neighbours are one line, with their dates.
    assert findings["rows"].tolist() == [2, 1]
    assert findings["first"].tolist() == [sound["date"][10], sound["date"][50]]
    assert findings["last"].tolist() == [sound["date"][11], sound["date"][50]]
    assert len(prices.check(table)) == SESSIONS - 3


def test_a_history_without_any_close_is_rejected(sound):
    table, findings = cleaned(sound.assign(close=np.nan, adj_close=np.nan))
    assert table.empty
    assert rules(findings) == {("no close", "rejected"): SESSIONS}


def test_of_two_rows_of_a_date_the_last_stays(sound):
    again = sound.iloc[[20]].assign(volume=7.0)
    table, findings = cleaned(pd.concat([sound, again]))
    assert rules(findings) == {("duplicated", "rejected"): 1}
    assert table.loc[table["date"] == sound["date"][20], "volume"].item() == 7


def test_what_is_out_of_range_is_rejected(sound):
    sound.loc[30, ["close", "adj_close"]] = 1e13
    sound.loc[299, "date"] = pd.Timestamp("2999-01-01")
    table, findings = cleaned(sound)
    assert rules(findings) == {("out of range", "rejected"): 2}
    assert len(prices.check(table)) == SESSIONS - 2


def test_integers_that_no_float_holds_are_not_finite(sound):
    sound = sound.astype({"close": object})
    sound.loc[5, "close"] = 10**400
    table, findings = cleaned(sound)
    assert rules(findings) == {("close not finite", "rejected"): 1}
    assert len(prices.check(table)) == SESSIONS - 1


# ---- splits


@pytest.mark.parametrize("new", [4.0, 1.5, 1.25, 1.1, 0.1, 1 / 190, 0.01])
@pytest.mark.parametrize("at", [120, SESSIONS - 5, SESSIONS - 1])
def test_a_split_that_the_source_names_is_applied_where_its_prices_forgot(sound, new, at):
    sound["splits"] = 0.0
    sound.loc[at, "splits"] = new
    assert cleaned(sound)[1].empty  # applied: no leap
    spoilt = sound.copy()
    spoilt.loc[: at - 1, BARS] *= new
    spoilt.loc[: at - 1, "volume"] /= new
    table, findings = cleaned(spoilt)
    assert rules(findings) == {("unapplied split", "repaired"): 1}
    assert findings["first"].item() == sound["date"][at]
    same(table, sound, [*BARS, "volume"])


def test_a_split_of_a_day_on_which_the_price_fell_by_a_third_is_applied(sound):
    sound["splits"] = np.where(sound.index == 260, 1 / 190, 0.0)
    sound.loc[260:, BARS] *= 0.69
    spoilt = sound.copy()
    spoilt.loc[:259, BARS] /= 190
    table, findings = cleaned(spoilt)
    assert len(table) == SESSIONS
    assert rules(findings) == {("unapplied split", "repaired"): 1, ("leap", "kept"): 1}
    same(table, sound)


def test_a_true_crash_on_the_day_of_a_split_that_was_applied_stays(sound):
    sound["splits"] = np.where(sound.index == 200, 2.0, 0.0)
    sound.loc[200:, BARS] *= 0.75  # nearer to none than to a half
    table, findings = cleaned(sound)
    same(table, sound)
    assert rules(findings) == {("leap", "kept"): 1}


def test_a_fall_within_the_session_is_no_split(sound):
    """It closes as if the split of 4:3 were missing, and opens as if it were not."""
    sound["splits"] = np.where(sound.index == 200, 4 / 3, 0.0)
    sound.loc[200:, BARS] *= 0.72
    sound.loc[200, ["open", "high"]] = sound.loc[199, "close"]
    same(cleaned(sound)[0], sound)


def test_each_column_is_judged_for_a_split_by_itself(sound):
    """Closes as they were traded beside adjusted closes that have the split."""
    sound["splits"] = np.where(sound.index == 200, 4.0, 0.0)
    as_traded = ["open", "high", "low", "close"]
    spoilt = sound.copy()
    spoilt.loc[:199, as_traded] *= 4
    table, findings = cleaned(spoilt)
    assert rules(findings) == {("unapplied split", "repaired"): 1}
    same(table, sound)
    assert table["adj_close"].tolist() == sound["adj_close"].tolist()
    # Volumes did not jump, so they were adjusted already.
    assert table["volume"].tolist() == sound["volume"].tolist()
    # And the other way round.
    spoilt = sound.copy()
    spoilt.loc[:199, "adj_close"] *= 4
    table, findings = cleaned(spoilt)
    same(table, sound)
    assert table["close"].tolist() == sound["close"].tolist()
    # Opens that the source adjusted, of closes that it did not.
    spoilt = sound.copy()
    spoilt.loc[:199, ["close", "adj_close"]] *= 4
    same(cleaned(spoilt)[0], sound)


def test_a_split_applied_to_the_older_part_alone_is_applied_to_the_rest(sound):
    sound["splits"] = np.where(sound.index == 200, 4.0, 0.0)
    spoilt = sound.copy()
    spoilt.loc[196:199, BARS] *= 4
    table, findings = cleaned(spoilt)
    assert rules(findings) == {("unapplied split", "repaired"): 1}
    same(table, sound)


def test_several_splits_are_applied_one_by_one(sound):
    sound["splits"] = 0.0
    sound.loc[[50, 150, 250], "splits"] = [2.0, 3.0, 0.5]
    spoilt = sound.copy()
    spoilt.loc[:49, BARS] *= 2
    spoilt.loc[:249, BARS] *= 0.5  # that of 150 was applied
    table, findings = cleaned(spoilt)
    assert findings["first"].tolist() == [sound["date"][50], sound["date"][250]]
    same(table, sound)


def test_dividends_come_to_the_footing_of_closes_that_get_their_split(sound):
    sound["splits"] = np.where(sound.index == 200, 4.0, 0.0)
    sound["dividends"] = np.where(sound.index == 100, 0.5, 0.0)
    close, paid = sound["close"].to_numpy(), sound["dividends"].to_numpy()
    sound["adj_close"] = adjustment.adjusted(close, paid)
    spoilt = sound.copy()
    spoilt.loc[:199, ["open", "high", "low", "close", "dividends"]] *= 4
    for dividends in (spoilt["dividends"], sound["dividends"]):  # as paid; as Yahoo adjusts them
        table, findings = cleaned(spoilt.assign(dividends=dividends))
        assert rules(findings) == {("unapplied split", "repaired"): 1}
        same(table, sound, [*BARS, "dividends"])


def test_adjusted_closes_tell_of_a_split_that_nobody_names(sound):
    spoilt = sound.copy()
    spoilt.loc[:199, ["open", "high", "low", "close"]] *= 4
    spoilt[BARS] = spoilt[BARS].round(4)
    table, findings = cleaned(spoilt)
    assert rules(findings) == {("split in adj_close alone", "repaired"): 1}
    np.testing.assert_allclose(table[BARS], sound[BARS], rtol=1e-4)
    assert table["adj_close"].tolist() == sound["adj_close"].round(4).tolist()


def test_a_large_dividend_in_the_adjusted_closes_is_no_split(sound):
    spoilt = sound.copy()
    spoilt.loc[:199, ["open", "high", "low", "close"]] *= 3.877
    table, _ = cleaned(spoilt)
    same(table, spoilt)


# ---- units of money


@pytest.mark.parametrize("factor", [100.0, 0.01, 1000.0, 0.001])
@pytest.mark.parametrize("rows", [slice(100, 100), slice(100, 105), slice(100, 139)])
def test_prices_in_another_unit_are_brought_back(sound, factor, rows):
    spoilt = sound.copy()
    spoilt.loc[rows, BARS] *= factor
    table, findings = cleaned(spoilt)
    assert rules(findings) == {("unit", "repaired"): rows.stop - rows.start + 1}
    same(table, sound)


@pytest.mark.parametrize(
    "columns", [["close", "adj_close", "high"], ["open", "low"], ["close"], ["adj_close"], ["low"]]
)
@pytest.mark.parametrize("at", [150, SESSIONS - 1, 0])
@pytest.mark.parametrize("factor", [100.0, 1000.0, 0.01])
def test_units_are_judged_column_by_column(sound, columns, at, factor):
    spoilt = sound.copy()
    spoilt.loc[at, columns] *= factor
    table, findings = cleaned(spoilt, currency="GBp")
    assert rules(findings) == {("unit", "repaired"): 1}
    same(table, sound)
    clean = cleaning.clean(spoilt, currency="GBp")
    assert set(clean.mends["column"]) == set(columns)


@pytest.mark.parametrize("begin", [60, 270, SESSIONS - 1])
@pytest.mark.parametrize(
    ("currency", "ratio", "pence"),
    [
        ("GBp", 100, True),
        ("ZAc", 100, True),
        ("ILA", 100, True),
        ("KWF", 1000, True),
        ("GBP", 100, False),
    ],
)
@pytest.mark.parametrize("pence_first", [True, False])
def test_the_currency_decides_which_unit_is_right_and_not_the_majority(
    sound, begin, currency, ratio, pence, pence_first
):
    spoilt = sound.copy()
    spoilt.loc[slice(None, begin - 1) if pence_first else slice(begin, None), BARS] *= ratio
    table, findings = cleaned(spoilt, currency=currency)
    assert set(findings["rule"]) == {"unit"}
    truth = sound.copy()
    truth[BARS] *= ratio if pence else 1
    same(table, truth)


@pytest.mark.parametrize(("ticker", "currency"), [("VOD.L", None), ("AAA", "GBX"), ("AAA", None)])
def test_without_a_currency_the_last_row_decides(sound, ticker, currency):
    spoilt = sound.assign(ticker=ticker)
    spoilt.loc[200:, BARS] *= 100
    table, _ = cleaned(spoilt, currency=currency)
    assert table["close"].iloc[-1] == spoilt["close"].iloc[-1]
    truth = sound.copy()
    truth[BARS] *= 100
    same(table, truth)


def test_a_fall_to_a_hundredth_is_a_change_of_unit_only_where_there_are_two(sound):
    fallen = sound.copy()
    fallen.loc[200:, BARS] /= 100
    table, findings = cleaned(fallen, currency="USD")
    assert rules(findings) == {("leap", "kept"): 1}
    same(table, fallen)
    table, findings = cleaned(fallen.assign(ticker="VOD.L"))
    assert rules(findings) == {("unit", "repaired"): 200}
    assert table["close"].iloc[-1] == fallen["close"].iloc[-1]
    assert np.abs(leaps.returns(table["adj_close"].to_numpy())).max() < 0.1


def test_a_hundred_times_a_hundred_is_no_unit_of_money(sound):
    sound.loc[100:, BARS] *= 100
    sound.loc[200:, BARS] *= 100
    table, findings = cleaned(sound, currency="GBp")
    same(table, sound)
    assert rules(findings) == {("leap", "kept"): 2}


# ---- dividends and adjusted closes


def with_dividends(sound, paid):
    dividends = np.zeros(SESSIONS)
    dividends[list(paid)] = list(paid.values())
    close = sound["close"].to_numpy()
    return sound.assign(dividends=dividends, adj_close=adjustment.adjusted(close, dividends))


def test_a_dividend_a_hundred_times_too_large_is_made_fair(sound):
    truth = with_dividends(sound, {50: 0.4, 120: 0.45, 200: 0.5})
    spoilt = with_dividends(sound, {50: 0.4, 120: 45.0, 200: 0.5})
    assert spoilt["adj_close"].min() < 0.2 * truth["adj_close"].min()
    table, findings = cleaned(spoilt, currency="GBp")
    assert rules(findings) == {("dividend too large", "repaired"): 1}
    same(table, truth, [*BARS, "dividends"])
    # Where the source knew better when it adjusted, the amount alone is at fault.
    clean = cleaning.clean(spoilt.assign(adj_close=truth["adj_close"]))
    same(clean.frame, truth, [*BARS, "dividends"])
    assert clean.mends["column"].tolist() == ["dividends"]


def test_others_tell_how_many_times_a_dividend_is_too_large(sound):
    truth = with_dividends(sound, {50: 0.02, 120: 0.02, 200: 0.02})
    spoilt = with_dividends(sound, {50: 0.02, 120: 20.0, 200: 0.02})
    table, _ = cleaned(spoilt)
    same(table, truth, [*BARS, "dividends"])


def test_a_large_dividend_that_the_price_falls_by_is_true(sound):
    sound.loc[120:, BARS] *= 0.4
    truth = with_dividends(sound, {120: 30.0})
    table, _ = cleaned(truth)
    same(table, truth, [*BARS, "dividends"])


def test_adjusted_closes_below_zero_are_made_anew(sound):
    """A dividend of more than the price turned the sign of all that came before."""
    truth = with_dividends(sound, {150: 0.55})
    spoilt = with_dividends(sound, {150: 55.0})
    assert (spoilt["adj_close"][:150] < 0).all()
    table, findings = cleaned(spoilt)
    assert ("dividend too large", "repaired") in rules(findings)
    same(table, truth, [*BARS, "dividends"])
    # One that cannot be, and tells nothing of its amount.
    spoilt = sound.assign(dividends=0.0)
    spoilt.loc[:149, "adj_close"] *= -0.21
    same(cleaned(spoilt)[0], sound)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -3.0, 1e13])
@pytest.mark.parametrize("rows", [slice(0, 9), slice(95, 110), slice(290, 299)])
def test_adjusted_closes_that_cannot_be_are_made_from_closes_and_dividends(sound, value, rows):
    truth = with_dividends(sound, {100: 0.4, 200: 0.45, 295: 0.5})
    spoilt = truth.copy()
    spoilt.loc[rows, "adj_close"] = value
    table, findings = cleaned(spoilt)
    assert rules(findings) == {("adjusted close rebuilt", "repaired"): rows.stop - rows.start + 1}
    same(table, truth)


def test_without_dividends_adjusted_closes_are_made_only_between_like_adjustments(sound):
    truth = with_dividends(sound, {100: 0.4}).drop(columns="dividends")
    spoilt = truth.copy()
    spoilt.loc[150:160, "adj_close"] = -1.0
    same(cleaned(spoilt)[0], truth)
    spoilt = truth.copy()
    spoilt.loc[95:105, "adj_close"] = -1.0
    table, findings = cleaned(spoilt)
    assert rules(findings) == {("no adjusted close", "rejected"): 11}
    assert len(prices.check(table)) == SESSIONS - 11


@pytest.mark.parametrize("factor", [0.3, 1.7])
@pytest.mark.parametrize("rows", [slice(0, 99), slice(100, 100), slice(250, 299)])
def test_an_adjusted_close_that_leaps_alone_is_brought_back(sound, factor, rows):
    truth = with_dividends(sound, {50: 0.4, 200: 0.45})
    spoilt = truth.copy()
    spoilt.loc[rows, "adj_close"] *= factor
    table, findings = cleaned(spoilt)
    assert set(findings["rule"]) == {"adjusted close leaps alone"}
    np.testing.assert_allclose(
        leaps.returns(table["adj_close"].to_numpy()),
        leaps.returns(truth["adj_close"].to_numpy()),
        atol=1e-9,
    )


@pytest.mark.parametrize("own", [True, False])
def test_dividends_are_applied_where_closes_fall_by_them_and_nothing_is_adjusted(sound, own):
    paid = dict.fromkeys(range(20, SESSIONS, 40), 1.0)
    truth = with_dividends(sound, paid)
    share = 1 - adjustment.factors(sound["close"].to_numpy(), truth["dividends"].to_numpy())
    raw = sound.drop(columns="dividends", errors="ignore")
    raw[["open", "high", "low", "close"]] *= np.cumprod(1 - share)[:, None]
    raw["dividends"] = share * raw["close"].shift(fill_value=1.0)
    raw = raw.assign(adj_close=raw["close"]) if own else raw.drop(columns="adj_close")
    table, findings = cleaned(raw)
    assert rules(findings) == {("dividends applied", "repaired"): len(paid)}
    made = leaps.returns(table["adj_close"].to_numpy())
    np.testing.assert_allclose(made, leaps.returns(sound["close"].to_numpy()), atol=1e-9)


def test_dividends_of_closes_that_do_not_fall_by_them_are_named_and_left(sound):
    paid = dict.fromkeys(range(20, SESSIONS, 40), 1.0)
    dividends = with_dividends(sound, paid)["dividends"]
    table, findings = cleaned(sound.assign(dividends=dividends))
    assert rules(findings) == {("dividends not applied", "kept"): len(paid)}
    same(table, sound)


def test_the_dividend_of_a_row_without_a_price_goes_to_the_next(sound):
    sound["dividends"] = 0.0
    sound.loc[[40, 41], "dividends"] = [0.5, 0.25]
    sound["adj_close"] = adjustment.adjusted(
        sound["close"].to_numpy(), sound["dividends"].to_numpy()
    )
    sound.loc[40, "close"] = np.nan
    table, findings = cleaned(sound)
    assert rules(findings)["no close", "rejected"] == 1
    assert table["dividends"][40] == 0.75
    sound.loc[60, "dividends"] = -1
    table, findings = cleaned(sound)
    assert rules(findings)["action not usable", "repaired"] == 1
    assert np.isnan(table["dividends"][59])


def test_an_adjustment_that_no_dividend_explains_is_named(sound):
    sound = with_dividends(sound, {40: 0.5})
    assert cleaned(sound)[1].empty
    sound.loc[:99, "adj_close"] *= 1 - 1e-5
    table, findings = cleaned(sound)
    assert rules(findings) == {("adjustment unexplained", "kept"): 1}
    assert findings["first"].item() == sound["date"][100]
    assert len(table) == SESSIONS


# ---- spikes, other instruments, and true leaps


@pytest.mark.parametrize("columns", [["close", "adj_close"], BARS])
@pytest.mark.parametrize("factor", [3.0, 0.3])
def test_a_spike_is_rejected_and_a_crash_is_not(sound, columns, factor):
    sound.loc[60, columns] *= factor  # and back
    sound.loc[150:, BARS] *= 0.45  # and not back
    table, findings = cleaned(sound)
    assert rules(findings) == {("spike", "rejected"): 1, ("leap", "kept"): 1}
    assert len(table) == SESSIONS - 1


def test_a_spike_in_one_column_is_made_from_the_other(sound):
    truth = with_dividends(sound, {50: 0.4, 200: 0.45})
    for name in ("close", "adj_close"):
        spoilt = truth.copy()
        spoilt.loc[60:62, name] *= 3
        table, findings = cleaned(spoilt)
        rule = {"close": "close leaps alone", "adj_close": "adjusted close leaps alone"}[name]
        assert set(findings["rule"]) == {rule}
        same(table, truth)


def test_a_price_at_which_the_next_session_opens_was_there(sound):
    """A squeeze: threefold in a day, and gone in the course of the next."""
    sound.loc[60, ["high", "close", "adj_close"]] *= 3
    sound.loc[61, ["open", "high"]] *= 2.9
    table, findings = cleaned(sound)
    same(table, sound)
    assert set(findings["action"]) == {"kept"}


@pytest.mark.parametrize("factor", [30.0, 1 / 30])
def test_a_leap_without_a_gap_is_kept_and_named(sound, factor):
    sound.loc[:99, BARS] *= factor
    table, findings = cleaned(sound)
    assert rules(findings)["split-like leap", "kept"] == 1
    assert findings["first"].tolist() == [sound["date"][100]]
    same(table, sound)


@pytest.mark.parametrize("days", [0, 19, 90])
def test_a_true_collapse_after_a_halt_is_kept_and_named(sound, days):
    sound.loc[200:, BARS] /= 260
    sound.loc[:199, "date"] -= pd.Timedelta(days=days)
    table, findings = cleaned(sound)
    assert rules(findings) == {("leap", "kept"): 1}
    same(table, sound)


@pytest.mark.parametrize(("factor", "days"), [(5.0, 400), (0.2, 60)])
def test_a_name_used_again_after_a_gap_is_another_instrument(sound, factor, days):
    sound.loc[:99, BARS] *= factor
    assert len(cleaned(sound)[0]) == SESSIONS
    sound.loc[:99, "date"] -= pd.Timedelta(days=days)
    table, findings = cleaned(sound)
    assert rules(findings) == {("another instrument", "rejected"): 100}
    assert table["date"].iloc[0] == sound["date"][100]


def test_another_instrument_is_not_believed_at_once(sound):
    sound.loc[SESSIONS - 19 :, BARS] *= 30
    sound.loc[: SESSIONS - 20, "date"] -= pd.Timedelta(days=60)
    table, findings = cleaned(sound)
    assert rules(findings) == {("another instrument", "rejected"): 19}
    assert table["date"].iloc[-1] == sound["date"][SESSIONS - 20]


def test_spells_that_recur_or_are_not_traded_are_of_another_instrument(sound):
    for first, last in ((50, 60), (100, 180)):
        sound.loc[first:last, BARS] *= 4.4
    # A company may soar, and fall again half a year later.
    assert set(cleaned(sound)[1]["action"]) == {"kept"}
    untraded = sound.copy()
    for first, last in ((50, 60), (100, 180)):
        untraded.loc[first:last, "volume"] = 0
    _, findings = cleaned(untraded)
    assert rules(findings) == {("another instrument", "rejected"): 92}
    assert findings["rows"].tolist() == [11, 81]
    sound.loc[220:225, BARS] *= 4.4
    assert rules(cleaned(sound)[1]) == {("another instrument", "rejected"): 98}


def test_a_share_that_crashes_and_one_that_soars_keep_their_history(sound):
    """Down by 88% in a day, and thrice up by 180%: it happens."""
    sound.loc[50:, BARS] *= 0.12
    for at in (100, 150, 250):
        sound.loc[at:, BARS] *= 2.8
    table, findings = cleaned(sound)
    assert len(table) == SESSIONS
    assert set(findings["action"]) == {"kept"}
    assert sound["date"][50] in set(findings["first"])


def test_leaps_are_measured_in_the_ticker_s_own_volatility(sound):
    sound.loc[100:, BARS] *= 1.61
    assert rules(cleaned(sound)[1]) == {("leap", "kept"): 1}
    wild = sound.copy()
    wild[BARS] **= 5  # five times the volatility
    wild.loc[200:, BARS] *= 1.61
    assert sound["date"][200] not in set(cleaned(wild)[1]["first"])


def test_a_split_that_nobody_names_is_named_and_kept(sound):
    sound.loc[:99, BARS] *= 2
    sound.loc[[99, 100], ["close", "adj_close"]] = [[100.0, 100.0], [50.0, 50.0]]
    table, findings = cleaned(sound)
    assert ("split-like leap", "kept") in rules(findings)
    assert findings.set_index("rule").loc["split-like leap", "first"] == sound["date"][100]
    assert len(table) == SESSIONS


# ---- frozen rows, ranges and volumes


def test_frozen_bars_without_volume_are_rejected_from_the_fifth_on(sound):
    sound.loc[200:211, BARS] = 50.0
    sound.loc[201:211, "volume"] = 0.0
    table, findings = cleaned(sound)
    # Twelve bars of one close, of which the first was traded.
    assert rules(findings) == {("frozen", "rejected"): 8}
    assert sound["date"][203] in set(table["date"])
    sound["volume"] = 1000.0
    assert cleaned(sound)[1].empty
    # Of what nobody counted, nobody can say that it was not traded.
    sound.loc[201:211, "volume"] = np.nan
    assert cleaned(sound)[1].empty


@pytest.mark.parametrize("instrument", [None, "MUTUALFUND", "INDEX", "CURRENCY"])
def test_what_has_no_volume_is_not_frozen(sound, instrument):
    """A bond fund at two decimals stands still for days."""
    quiet = sound.assign(volume=0.0)
    quiet[BARS] = 6 + 0.01 * np.round(np.log(sound[["close"] * 5].to_numpy() / 50) * 50)
    assert (quiet["close"].diff() == 0).sum() > 150
    table, findings = cleaned(quiet, instrument=instrument)
    assert findings.empty
    same(table, quiet)
    # Nor is a fund of which a stray volume was written down.
    quiet.loc[3, "volume"] = 100.0
    assert cleaned(quiet, instrument=instrument)[1].empty


def test_a_suspended_share_is_frozen_also_where_no_session_of_the_answer_was_traded(sound):
    still = sound.assign(volume=0.0)
    still[BARS] = 50.0
    assert rules(cleaned(still, instrument="EQUITY")[1]) == {("frozen", "rejected"): 296}


@pytest.mark.parametrize(
    "spoil",
    [{"high": 1.0}, {"low": 400.0}, {"open": -1.0}, {"high": np.inf}, {"open": 0.0}],
    ids=["high below low", "low above close", "negative", "infinite", "zero"],
)
def test_a_range_that_cannot_be_is_dropped_and_the_close_stays(sound, spoil):
    sound.loc[30, list(spoil)] = list(spoil.values())
    table, findings = cleaned(sound)
    assert rules(findings) == {("range not usable", "repaired"): 1}
    assert table.loc[30, ["open", "high", "low"]].isna().all()
    assert len(prices.check(table)) == SESSIONS


@pytest.mark.parametrize("volume", [-1.0, np.inf, 1e19])
def test_a_volume_that_cannot_be_is_dropped(sound, volume):
    sound.loc[30, "volume"] = volume
    table, findings = cleaned(sound)
    assert rules(findings) == {("volume not usable", "repaired"): 1}
    assert np.isnan(prices.check(table)["volume"][30])


# ---- the record, and doing without


def test_every_value_that_changed_is_on_record(sound):
    sound = with_dividends(sound, {50: 0.4, 200: 0.45})
    spoilt = sound.copy()
    spoilt.loc[150, ["close", "high"]] *= 100
    spoilt.loc[10, "close"] = 0.0
    spoilt.loc[20, "volume"] = -1.0
    clean = cleaning.clean(spoilt)
    assert list(clean.mends) == ["ticker", "date", "column", "before", "after", "rule"]
    lines = {
        (row["date"], row["column"]): (row["before"], row["after"], row["rule"])
        for row in clean.mends.to_dict("records")
    }
    day = sound["date"]
    assert len(lines) == 4
    assert lines[day[150], "close"] == pytest.approx(
        (spoilt["close"][150], sound["close"][150], "unit"), nan_ok=True
    )
    assert lines[day[150], "high"][2] == "unit"
    assert lines[day[10], "close"] == pytest.approx(
        (0.0, np.nan, "close not positive"), nan_ok=True
    )
    assert lines[day[20], "volume"] == pytest.approx(
        (-1.0, np.nan, "volume not usable"), nan_ok=True
    )


def test_raw_leaves_what_a_prices_frame_can_hold(sound):
    spoilt = sound.assign(splits=np.where(sound.index == 200, 4.0, 0.0))
    spoilt.loc[:199, BARS] *= 4
    spoilt.loc[150, BARS] *= 100
    spoilt.loc[250:260, BARS] = 50.0
    spoilt.loc[250:260, "volume"] = 0.0
    spoilt.loc[40, "low"] = 0.9 * spoilt.loc[40, "high"]  # the close is below it
    clean = cleaning.clean(spoilt, raw=True)
    assert clean.findings.empty
    assert clean.mends.empty
    pd.testing.assert_frame_equal(clean.frame, spoilt, check_dtype=False)
    spoilt.loc[[5, 6], ["close", "adj_close"]] = [[0.0, 1.0], [1.0, -1.0]]
    spoilt.loc[7, "high"] = 0.0
    clean = cleaning.clean(spoilt, raw=True)
    assert rules(clean.findings) == {
        ("close not positive", "rejected"): 1,
        ("no adjusted close", "rejected"): 1,
        ("range not usable", "repaired"): 1,
    }
    prices.check(clean.frame, actions=True)


def test_a_mend_that_would_leave_a_return_of_its_own_is_refused(sound, monkeypatch):
    """Whatever the rules come to: here one applies a split to what has it."""
    sound["splits"] = np.where(sound.index == 200, 4.0, 0.0)
    monkeypatch.setattr(
        "forecaster.data.splits.unapplied", lambda price, ratio, intraday: ratio != 1
    )
    with pytest.raises(PricesError, match=r"AAA 2020-10-08: cleaning would leave a return of \+"):
        cleaned(sound)


def test_the_documentation_has_the_rules():
    text = (Path(__file__).parents[2] / "docs" / "reference" / "cleaning.md").read_text(
        encoding="utf-8"
    )
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    assert rows[0] == ["rule", "evidence", "what becomes of the rows", "what it does", "example"]
    assert rows[2:] == [
        [name, rule.evidence, rule.action, rule.effect, rule.example]
        for name, rule in RULES.items()
    ]


def test_every_rule_is_tested_here():
    text = Path(__file__).read_text(encoding="utf-8")
    for rule in RULES:
        assert re.search(rf'"{rule}"', text), rule


# ---- sources


def test_a_source_tells_what_it_cleaned(sound, tmp_path, caplog):
    sound.loc[10, "close"] = 0.0
    sound.to_csv(tmp_path / "messy.csv", index=False)
    ((ticker, outcome),) = loading.offered(str(tmp_path / "messy.csv"))
    clean = loading.usable(ticker, outcome)
    assert (ticker, len(clean.frame)) == ("AAA", SESSIONS - 1)
    assert clean.findings["rule"].tolist() == ["close not positive"]
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
        st.tuples(st.sampled_from(["A", "B"]), st.integers(0, 40), *[numbers] * 5),
        min_size=1,
        max_size=60,
    ),
    st.booleans(),
)
def test_whatever_the_numbers_what_is_left_is_a_prices_frame(rows, raw):
    names = ["ticker", "day", "open", "high", "low", "close", "volume"]
    table = pd.DataFrame(rows, columns=names)
    table["date"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(table["day"], unit="D")
    table[["dividends", "splits"]] = table[["volume", "open"]].to_numpy()
    clean = cleaning.clean(table.drop(columns="day"), raw=raw)
    if len(clean.frame):
        assert len(prices.check(clean.frame, actions=True)) == len(clean.frame)
    rejected = clean.findings.loc[clean.findings["action"] == "rejected", "rows"].sum()
    assert len(clean.frame) + rejected == len(table)
    gone = clean.mends[(clean.mends["column"] == "close") & clean.mends["after"].isna()]
    assert len(gone) == rejected
