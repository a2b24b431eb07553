import numpy as np
import pandas as pd
import pytest

from forecaster.data import adjustment, calendars, prices, splicing
from forecaster.errors import HistoryChangedError

DAYS = calendars.sessions_between("AAA", "2020-01-02", "2020-06-30")
SESSIONS = len(DAYS)
CLOSE = 50 * np.exp(np.cumsum(0.01 * np.random.default_rng(0).standard_normal(SESSIONS)))


def history(dividends=(), splits=(), until=SESSIONS, since=0):
    """What a source gives on the day of the session before ``until``: adjusted as of then."""
    paid, split = np.zeros(until), np.zeros(until)
    for at, cash in dividends:
        if at < until:
            paid[at] = cash
    close = CLOSE[:until].copy()
    for at, ratio in splits:
        if at < until:
            split[at] = ratio
            close[:at] /= ratio
            paid[:at] /= ratio
    frame = pd.DataFrame(
        {
            "ticker": "AAA",
            "date": DAYS[:until],
            "high": 1.01 * close,
            "low": 0.99 * close,
            "close": close,
            "adj_close": adjustment.adjusted(close, paid),
            "volume": 100.0,
            "dividends": paid,
            "splits": split,
        }
    )
    return prices.check(frame, actions=True)[since:].reset_index(drop=True)


DIVIDENDS = [(30, 0.4), (75, 0.5), (110, 0.6)]


@pytest.mark.parametrize(
    ("until", "step"), [(70, 1), (60, 7), (75, 7), (76, 7), (60, 40), (100, 40), (115, 3)]
)
def test_day_by_day_makes_what_the_whole_would(until, step):
    stored = history(DIVIDENDS, until=until)
    while len(stored) < SESSIONS:
        now = min(len(stored) + step, SESSIONS)
        stored = splicing.merge(stored, history(DIVIDENDS, until=now, since=len(stored) - 10))
    pd.testing.assert_frame_equal(stored, history(DIVIDENDS), rtol=1e-9)


def test_a_dividend_just_after_the_last_stored_session_needs_no_overlap():
    stored, new = history(DIVIDENDS, until=75), history(DIVIDENDS, since=75)
    pd.testing.assert_frame_equal(splicing.merge(stored, new), history(DIVIDENDS), rtol=1e-9)
    # Nor do earlier prices, though fetched when more dividends have come.
    stored, new = history(DIVIDENDS, until=100, since=75), history(DIVIDENDS, until=75)
    later = history(DIVIDENDS)[:75]
    new["adj_close"] = later["adj_close"]
    pd.testing.assert_frame_equal(
        splicing.merge(stored, new), history(DIVIDENDS, until=100), rtol=1e-9
    )


def test_earlier_prices_are_brought_to_the_footing_of_the_later_ones():
    stored = history(DIVIDENDS, until=100, since=50)
    earlier = history(DIVIDENDS)[:60]
    pd.testing.assert_frame_equal(
        splicing.merge(stored, earlier), history(DIVIDENDS, until=100), rtol=1e-9
    )


def test_jitter_moves_nothing_stored():
    stored, new = history(DIVIDENDS, until=100), history(DIVIDENDS, until=101, since=90)
    new["adj_close"] *= 1 + 1e-7
    merged = splicing.merge(stored, new)
    assert merged["adj_close"][:90].tolist() == stored["adj_close"][:90].tolist()


def test_a_null_takes_nothing_and_a_hole_is_filled():
    stored, new = history(until=100), history(until=105, since=85)
    new.loc[new.index[3:6], ["high", "low", "volume", "dividends"]] = np.nan
    new = new.drop(index=[8])
    holed = stored.drop(index=[87, 95]).reset_index(drop=True)
    merged = splicing.merge(holed, new)
    assert merged["date"].tolist() == DAYS[:105].tolist()
    pd.testing.assert_frame_equal(merged.drop(index=87), history(until=105).drop(index=87))


def test_a_close_that_was_corrected_is_another_history():
    new = history(until=105, since=85)
    new.loc[4, "close"] *= 1 + 2e-5
    with pytest.raises(HistoryChangedError, match=r"AAA .*\(1 of 15 common dates differ\)"):
        splicing.merge(history(until=100), new)
    new.loc[4, "close"] /= 1 + 1.5e-5
    splicing.merge(history(until=100), new)


@pytest.mark.parametrize("at", [95, 99, 100, 104])
def test_a_split_is_another_history(at):
    stored, new = history(until=100), history(splits=[(at, 4)], until=105, since=90)
    with pytest.raises(HistoryChangedError):
        splicing.merge(stored, new)
    if at >= 99:  # even where no close tells of it
        with pytest.raises(HistoryChangedError, match="a split of 4 for 1"):
            splicing.merge(stored, new[new["date"] >= DAYS[at]].reset_index(drop=True))


def test_a_split_that_is_stored_is_no_news():
    splits = [(95, 4)]
    merged = splicing.merge(history(splits=splits, until=100), history(splits=splits, since=90))
    pd.testing.assert_frame_equal(merged, history(splits=splits))
    # A file without actions is adjusted for it all the same.
    plain = history(splits=splits, until=100).assign(dividends=np.nan, splits=np.nan)
    assert splicing.merge(plain, history(splits=splits, since=90))["splits"].sum() == 4


def test_histories_that_interleave_without_a_common_date_cannot_be_compared():
    odd, even = (history()[i::2].reset_index(drop=True) for i in (0, 1))
    with pytest.raises(HistoryChangedError, match="no date in common"):
        splicing.merge(odd, even)
