"""Announcements, by hand and by properties: when a reaction is due, how large, and who knew it when."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from forecaster.data import calendars, events
from forecaster.dataset.announcements import (
    ORDINARY,
    TYPICAL_SIZE,
    VISIBLE,
    Schedule,
    Typical,
    announcements_of,
    next_event,
    schedules_of,
    typical_of,
)
from forecaster.dataset.bars import Bars

SESSIONS = calendars.sessions_between("AAA", pd.Timestamp("2015-01-02"), pd.Timestamp("2018-12-31"))
NOBODY = Typical.of([])


def prices(returns: np.ndarray, ticker: str = "AAA") -> pd.DataFrame:
    close = 100 * np.exp(np.cumsum(returns))
    dates = SESSIONS[: len(returns)]
    frame = pd.DataFrame({"ticker": ticker, "date": dates, "close": close, "adj_close": close})
    return frame.assign(open=close, high=close, low=close, volume=1.0)


def scheduled(*rows: tuple, ticker: str = "AAA") -> pd.DataFrame:
    """An events frame of (day, time) or (day, time, first seen)."""
    table = pd.DataFrame([(*row, None)[:3] for row in rows], columns=["date", "time", "first_seen"])
    return events.check(table.assign(ticker=ticker, kind="earnings"))


def schedule_of(*rows: tuple) -> Schedule:
    return schedules_of(scheduled(*rows))["AAA"]


def known(returns: np.ndarray, *rows: tuple, typical: Typical = NOBODY):
    bars = Bars.of(prices(returns))
    result, _ = announcements_of("AAA", bars, schedule_of(*rows), typical)
    return bars, result


def calm(count: int = 300, seed: int = 0) -> np.ndarray:
    return 0.01 * np.random.default_rng(seed).standard_normal(count)


def test_before_the_open_moves_its_own_day_and_after_the_close_the_next():
    day = SESSIONS[250]
    for time, row in (("pre", 250), ("post", 251)):
        _, it = known(calm(), (day, time))
        assert np.flatnonzero(it.chance).tolist() == [row - 1]
        assert it.chance[row - 1] == 1
        assert np.flatnonzero(it.weight).tolist() == [row]


def test_a_day_without_a_session_moves_the_next_one():
    friday = next(i for i, it in enumerate(SESSIONS) if i > 200 and it.weekday() == 4)
    saturday = SESSIONS[friday] + pd.Timedelta(days=1)
    for time in ("pre", "post"):
        _, it = known(calm(), (saturday, time))
        assert np.flatnonzero(it.chance).tolist() == [friday]


def test_without_a_time_the_odds_are_even_until_the_day_speaks():
    day, jump = SESSIONS[250], calm()
    jump[250] = 0.08
    _, it = known(jump, (day, None))
    assert it.chance[249] == pytest.approx(0.5)
    assert it.chance[250] < 0.1  # the day moved: the reaction is over
    assert it.weight[250] > 0.9
    quiet = calm()
    quiet[250] = 0.0
    _, it = known(quiet, (day, None))
    # By hand: the density at no move is 1 at an ordinary session and 1 / size at a reaction.
    size = it.size[249]
    assert it.chance[250] == pytest.approx(0.5 / (0.5 / size + 0.5))


def test_a_habit_is_learned():
    rows = np.arange(20, 290, 20)
    moves = calm()
    moves[rows + 1] = 0.08
    _, it = known(moves, *((SESSIONS[row], None) for row in rows))
    assert it.chance[rows[0] - 1] == pytest.approx(0.5)
    assert it.chance[rows[-1] - 1] < 0.25
    assert it.chance[rows[-1]] > 0.75


def test_size_by_hand_from_one_reaction():
    """The second expectation: four of the universe's, and the one move that came."""
    returns, day = np.where(np.arange(300) % 2, 0.01, -0.01), SESSIONS[150]
    returns[150] = 0.06
    _, it = known(returns, (day, "pre"))
    assert it.size[149] == pytest.approx(TYPICAL_SIZE)  # both volatilities are 1% there
    move = 0.06 / 0.01
    learned = (4 * TYPICAL_SIZE * ORDINARY + move) / 5 / ORDINARY
    assert it.last[150] == pytest.approx(move / ORDINARY)
    assert it.size[299] == pytest.approx(learned, rel=0.02)
    assert it.inflation[149] == pytest.approx(TYPICAL_SIZE)
    assert it.inflation[200] == 1


def test_a_reaction_counts_as_an_ordinary_session():
    """The volatility that the next reaction is measured in does not know of the jump."""
    returns = np.where(np.arange(300) % 2, 0.01, -0.01)
    returns[150] = 0.025  # what is expected of it
    _, it = known(returns, (SESSIONS[150], "pre"))
    assert it.discount[150] == pytest.approx(2.5)
    assert np.flatnonzero(it.discount != 1).tolist() == [150]


def test_days_are_visible_ten_sessions_ahead():
    _, it = known(calm(), (SESSIONS[250], "pre"))
    assert np.flatnonzero(np.isfinite(it.until)).tolist() == list(range(250 - VISIBLE, 250))
    assert it.until[250 - VISIBLE] == VISIBLE
    assert it.since[250:253].tolist() == [0, 1, 2]
    assert np.isnan(it.since[:250]).all()


def test_the_next_event_beyond_the_last_session():
    bars, it = known(calm(248), (SESSIONS[250], "post"))
    schedule = schedule_of((SESSIONS[250], "post"))
    event = next_event("AAA", bars, schedule, it, 247)
    assert event is not None
    assert (event.day, event.time) == (SESSIONS[250].date(), "post")
    assert event.reaction == SESSIONS[251].date()
    expected = ORDINARY * it.size[247] * bars.volatility[247]
    assert event.expected_move == pytest.approx(expected)
    assert next_event("AAA", bars, schedule, it, 200) is None


def test_a_date_that_moved_is_known_as_it_was_known():
    """Told on session 240 for 250, moved on session 245 to 253."""
    first, second = (SESSIONS[at] + pd.Timedelta(hours=18) for at in (240, 245))
    _, it = known(calm(), (SESSIONS[250], "pre", first), (SESSIONS[253], "pre", second))
    assert np.isnan(it.until[:240]).all()
    assert it.until[240:245].tolist() == [10, 9, 8, 7, 6]
    assert it.until[245:253].tolist() == [8, 7, 6, 5, 4, 3, 2, 1]
    assert np.flatnonzero(it.chance).tolist() == [252]


def test_a_date_counts_from_the_evening_that_learns_it():
    """Learned before the open it counts at the close before; once the session is open it does not."""
    day = SESSIONS[250]
    for hour, known_then in (
        (22 - 24, True),
        (12, True),
        (15, False),
    ):  # New York opens at 13:30 or 14:30
        _, it = known(calm(), (day, "pre", day + pd.Timedelta(hours=hour)))
        assert it.chance.any() == known_then
        assert it.weight.any() == known_then  # nor is a surprise divided by what nobody expected


def test_over_a_weekend_without_a_time_monday_is_certain():
    friday = next(i for i, it in enumerate(SESSIONS) if i > 200 and it.weekday() == 4)
    _, it = known(calm(), (SESSIONS[friday] + pd.Timedelta(days=2), None))
    assert np.flatnonzero(it.chance).tolist() == [friday]
    assert it.chance[friday] == 1


def test_a_date_that_moves_by_weeks_is_called_off():
    first, second = (SESSIONS[at] + pd.Timedelta(hours=12) for at in (200, 212))
    _, it = known(calm(), (SESSIONS[220], "pre", first), (SESSIONS[245], "pre", second))
    assert np.flatnonzero(it.chance).tolist() == [244]


@pytest.mark.parametrize("cut", [100, 201, 249, 250, 251, 262])
def test_no_row_knows_what_came_later(cut):
    """Rows up to a cutoff are the same bit for bit, whatever prices and unannounced dates follow."""
    rows = [(SESSIONS[at], time) for at, time in ((60, None), (122, "post"), (185, None))]
    rows += [(SESSIONS[250], None), (SESSIONS[262 + 5], "pre")]
    returns = calm()
    _, whole = known(returns, *rows)
    other = np.append(returns[: cut + 1], 3 * calm(seed=1)[cut + 1 :])
    limit = SESSIONS[cut + VISIBLE]
    moved = [
        (day if day <= limit else day + pd.Timedelta(days=25), None if day > limit else time)
        for day, time in rows
    ]
    _, changed = known(other, *moved)
    _, truncated = known(returns[: cut + 1], *rows)
    names = ("chance", "size", "weight", "discount", "since", "until", "last", "gap")
    for name in (*names, "first", "coming"):
        ours = getattr(whole, name)[: cut + 1]
        assert np.array_equal(ours, getattr(changed, name)[: cut + 1], equal_nan=True), name
        assert np.array_equal(ours, getattr(truncated, name), equal_nan=True), name
    for step in (1, 5, 21):
        ours = whole.clock(step)[: cut + 1]
        assert np.array_equal(ours, changed.clock(step)[: cut + 1]), step
        assert np.array_equal(ours, truncated.clock(step)), step


def test_a_reaction_in_sight_widens_the_steps_that_reach_it_and_no_other():
    _, it = known(calm(), (SESSIONS[250], "pre"))
    extra = it.size**2 - 1
    for away in range(1, VISIBLE + 1):
        row = 250 - away
        for step in range(1, 22):
            wide = step + (extra[row] if step >= away else 0)
            assert it.clock(step)[row] == pytest.approx(wide)
    assert it.clock(1)[249] == pytest.approx(it.inflation[249] ** 2)
    assert (it.clock(21)[251:] == 21).all()  # one reaction has no habit


def test_without_a_time_the_second_session_is_certain_to_be_included():
    returns = calm()
    returns[250] = 0.0
    _, it = known(returns, (SESSIONS[250], None))
    extra = it.size**2 - 1
    by_step = [it.clock(step)[247] for step in (2, 3, 4)]  # the day is three sessions ahead
    assert by_step == pytest.approx([2, 3 + extra[247] / 2, 4 + extra[247]])
    # At the close of the day itself the reaction is still to come as far as the move did not show it.
    assert it.clock(1)[250] == pytest.approx(1 + it.chance[250] * extra[250])
    assert it.clock(21)[250] == pytest.approx(21 + it.chance[250] * extra[250])


def test_beyond_sight_the_next_reaction_is_expected_by_habit():
    rows = (50, 110, 170, 230)
    _, it = known(calm(), *((SESSIONS[row], "pre") for row in rows))
    assert it.gap[240] == 60
    extra = it.size**2 - 1
    # On the 45th session the next is due in 15, half of a normal distribution of 3 sessions away.
    row, left = 230 + 45, 1 - stats.norm.cdf((45 + VISIBLE + 0.5 - 60) / 3)
    for step in (11, 15, 21):
        share = (stats.norm.cdf((45 + step + 0.5 - 60) / 3) - (1 - left)) / left
        assert it.clock(step)[row] == pytest.approx(step + share * extra[row])
    assert it.clock(10)[row] == 10
    assert it.clock(21)[231] == pytest.approx(21)  # the next is months away
    assert it.clock(21)[299] == 21  # it is overdue


def test_a_universe_counts_a_peer_s_reaction_when_it_is_public():
    """Tokyo learns of New York's reaction of a date on the day after."""
    returns = calm()
    returns[250] = 0.1
    bars = {"AAA": Bars.of(prices(returns))}
    schedules = {"AAA": schedule_of((SESSIONS[250], "pre"))}
    day = SESSIONS[250].to_datetime64().astype("datetime64[D]")
    for exchange, first in (("XNYS", day), ("XTKS", day + 1)):
        typical = typical_of(bars, schedules, ["XNYS", "XTKS"])[exchange]
        moves, _ = typical.at(np.array([first - 1, first]))
        assert moves[0] == pytest.approx(TYPICAL_SIZE * ORDINARY)
        assert moves[1] > moves[0]
