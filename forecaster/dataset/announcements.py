"""Announcements as the closes of a ticker know them: when the next reaction is due, and how large.

Earnings move a price at their *reaction session*, the first that can trade on them: the day of the
announcement if it comes ``pre``, before the open, and the session after if it comes ``post``, after
the close. Where the time is unknown the reaction comes on either, by the ticker's own habit.

Row *t* of everything here depends on the sessions up to *t*, on the calendar of the exchange, and on
the dates that are known to a forecast made from its close (:func:`evenings`): a date is public
``VISIBLE`` sessions before its reaction, or later, if the store learned of it later.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import date
from functools import lru_cache
from itertools import pairwise
from math import sqrt
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from forecaster.data import calendars, exchanges
from forecaster.data.events import POST, PRE
from forecaster.data.publication import closing_instants, public_dates
from forecaster.dataset.bars import DECAY, FLOOR, SLOWEST, Bars, Floats, ewma

VISIBLE = 10
"""Sessions before a reaction in which companies have announced its date."""

LONGEST_SESSION = np.timedelta64(9, "h")
"""No exchange that companies report on is open for longer."""

SAME = np.timedelta64(45, "D")
"""Dates of a ticker closer than this are of one announcement, which was moved."""

ORDINARY = 0.79
"""Mean absolute move of an ordinary session of US stocks, in EWMA volatilities of the close before."""

LARGEST = 12.0
"""A reaction of more volatilities than this counts as one of so many."""

SIZES = (1.0, 8.0)
"""Least and most that a reaction is expected to exceed an ordinary session by."""

FADING, TYPICAL_FADING = 0.85, 0.98
"""What a reaction weighs at the ticker's next, and at the next of its universe."""

PRIOR = 4.0
"""Reactions of its own that a ticker's universe weighs as much as."""

TYPICAL_SIZE, TYPICAL_AFTER = 2.5, 0.5
"""How far reactions exceed ordinary sessions, and the share on the session after, before any was seen."""

BEGINNING = 20.0
"""Reactions of a universe that these weigh as much as."""

GAPS, PUNCTUAL = 4, 3.0
"""Gaps between reactions that the next is expected after, and the standard deviation of a gap."""

OVERDUE = 0.05
"""If less is left of the chance that a reaction beyond sight is to come, none is expected."""

DECAYS = (DECAY, SLOWEST)
"""Of the volatilities in whose geometric mean reactions are measured."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """One ticker's announcements, ascending by date; each (announcements,)."""

    days: np.ndarray
    """datetime64[D], at the exchange."""
    after: Floats
    """1 after the close, 0 before the open, NaN where the time is unknown."""
    since: np.ndarray
    """datetime64[us], UTC: when the date became known; NaT for always."""
    until: np.ndarray
    """datetime64[us], UTC: when another date took its place; NaT for never."""

    @classmethod
    def of(cls, days: np.ndarray, after: Floats, since: np.ndarray) -> "Schedule":
        """Return the schedule of announcements, of which each may have taken another's place."""
        until = np.full(len(days), np.datetime64("NaT", "us"))
        for at in range(0 if np.isnat(since).all() else len(days)):
            same = np.abs(days - days[at]) < SAME
            later = since[same & ~np.isnat(since) & (np.isnat(since[at]) | (since > since[at]))]
            until[at] = later.min() if len(later) else until[at]
        return cls(days, after, since, until)


def schedules_of(events: pd.DataFrame | None) -> dict[str, Schedule]:
    """Return the schedule of each ticker of an events frame."""
    if events is None or events.empty:
        return {}
    events = events.sort_values(["ticker", "date"], kind="stable")
    tickers = events["ticker"].to_numpy(object)
    days = events["date"].to_numpy().astype("datetime64[D]")
    after = np.asarray(events["time"].map({PRE: 0.0, POST: 1.0}), dtype=np.float64)
    since = events["first_seen"].to_numpy().astype("datetime64[us]")
    begins = np.flatnonzero(np.append(True, tickers[1:] != tickers[:-1]))
    ends = [*begins[1:], len(tickers)]
    return {
        str(tickers[begin]): Schedule.of(days[begin:end], after[begin:end], since[begin:end])
        for begin, end in zip(begins, ends, strict=True)
    }


@dataclass(frozen=True)
class Reaction:
    """What came of an announcement."""

    row: int
    """Of the session at whose close it was over."""
    move: float
    """Absolute, in units of :meth:`_Walk.unit`."""
    after: float
    """Probability that it came on the session after the day of the announcement."""


@dataclass(frozen=True, eq=False)
class Typical:
    """What the reactions of a universe were like, by the date at whose close that was known."""

    dates: np.ndarray
    """datetime64[D]: (dates,)"""
    moves: Floats
    """Mean of :attr:`Reaction.move` before the first date and at each, the latest weighing most:
    (dates + 1,)"""
    afters: Floats
    """Mean of :attr:`Reaction.after`, likewise."""

    @classmethod
    def of(cls, reactions: Iterable[tuple[np.ndarray, list[Reaction]]]) -> "Typical":
        """Return the means over a universe: of each ticker, its sessions' public dates and reactions."""
        rows = [(dates[it.row], it.move, it.after) for dates, its in reactions for it in its]
        rows.sort()
        moves, afters, weight = [TYPICAL_SIZE * ORDINARY], [TYPICAL_AFTER], BEGINNING
        for _, move, after in rows:
            weight = TYPICAL_FADING * weight + 1
            moves.append(moves[-1] + (move - moves[-1]) / weight)
            afters.append(afters[-1] + (after - afters[-1]) / weight)
        dates = np.array([row[0] for row in rows], "datetime64[D]")
        return cls(dates, np.array(moves), np.array(afters))

    def at(self, dates: np.ndarray) -> tuple[Floats, Floats]:
        """Return the mean move, and the share on the session after, known on dates: (dates,) each."""
        rows = np.searchsorted(self.dates, dates, side="right")
        return self.moves[rows], self.afters[rows]


@dataclass(frozen=True, eq=False)
class Announcements:
    """What a ticker's announcements mean at each of its closes; each (sessions,)."""

    chance: Floats
    """Probability that the next session is a reaction session."""
    size: Floats
    """Volatility that a reaction would have, over an ordinary session's."""
    weight: Floats
    """Probability that the session was a reaction session, as seen at its close."""
    discount: Floats
    """The session's move over this is an ordinary one."""
    since: Floats
    """Sessions since the last reaction, 0 at it; NaN before the first."""
    until: Floats
    """Sessions to the next possible reaction, 1 if the next is one; NaN if none is visible."""
    last: Floats
    """Absolute move of the last reaction over an ordinary one; NaN before the first."""
    first: Floats
    """Probability that the reaction in sight comes on the session ``until`` ahead; 0 if none is."""
    coming: Floats
    """Probability that the reaction in sight is still to come; 0 if none is."""
    gap: Floats
    """Median sessions between the latest reactions, ``GAPS`` at most; NaN before the second."""
    upcoming: np.ndarray
    """The place in the schedule of the next announcement that is visible; -1 if none is."""

    @property
    def inflation(self) -> Floats:
        """Volatility of the next session over an ordinary one's."""
        return np.sqrt(1 + self.chance * (self.size**2 - 1))

    def clock(self, step: int) -> Floats:
        """Return the variance expected of the next ``step`` sessions, in ordinary ones: (sessions,).

        A reaction in sight counts for the steps that reach it. Beyond sight, the next is expected as
        long after the last as those before it were, give or take :data:`PUNCTUAL` sessions.
        """
        reached = np.where(self.until == step, self.first, 0.0)
        seen = np.where(self.until < step, self.coming, reached)
        chance = np.where(np.isnan(self.until), self._unseen(step), seen)
        clock: Floats = step + chance * (self.size**2 - 1)
        return clock

    def _unseen(self, step: int) -> Floats:
        """Return the probability of a reaction beyond sight within ``step`` sessions: (sessions,)."""

        def passed(sessions: int) -> Floats:
            chance: Floats = special.ndtr((self.since + sessions + 0.5 - self.gap) / PUNCTUAL)
            return chance

        left = 1 - passed(VISIBLE)
        within = (passed(step) - passed(VISIBLE)) / np.maximum(left, OVERDUE)
        return np.where((left > OVERDUE) & (step > VISIBLE), within, 0.0)

    def first_sessions(self, count: int) -> "Announcements":
        """Return what is known of the first ``count`` sessions."""
        return Announcements(*(getattr(self, field.name)[:count] for field in fields(self)))

    def since_session(self, first: int) -> "Announcements":
        """Return what is known of all but the first sessions."""
        return Announcements(*(getattr(self, field.name)[first:] for field in fields(self)))


@dataclass(frozen=True)
class NextEvent:
    """The next announcement that a close knows of."""

    day: date
    """At the exchange."""
    time: str | None
    """``pre`` or ``post``; None where it is not known."""
    reaction: date
    """The first session that may be the reaction; without a time, the one after may be it too."""
    expected_move: float
    """Mean absolute log return expected of the reaction session, a fraction."""


def next_event(
    ticker: str, bars: Bars, schedule: Schedule, known: Announcements, session: int
) -> NextEvent | None:
    """Return the next announcement that is visible at the close of a session, None if none is."""
    at = int(known.upcoming[session])
    if at < 0:
        return None
    calendar = sessions_of(exchanges.exchange(ticker))
    now = int(np.searchsorted(calendar, bars.dates[session], side="right")) - 1
    return NextEvent(
        schedule.days[at].item(),
        {0.0: PRE, 1.0: POST}.get(float(schedule.after[at])),
        calendar[now + int(known.until[session])].item(),
        float(ORDINARY * known.size[session] * bars.volatility[session]),
    )


def announcements_of(
    ticker: str, bars: Bars, schedule: Schedule, typical: Typical
) -> tuple[Announcements, list[Reaction]]:
    """Return what a schedule means at each close of a ticker, and what came of it.

    Parameters
    ----------
    typical : of the ticker's universe, which stands in for reactions that the ticker lacks.
    """
    walk = _Walk(ticker, bars, schedule, typical)
    return walk.result(), walk.reactions


def typical_of(
    universe: Mapping[str, Bars], schedules: Mapping[str, Schedule], observers: Iterable[str]
) -> dict[str, Typical]:
    """Return what the reactions of a universe were like, as known at the closes of each exchange."""
    nothing = Typical.of([])
    reacted = [
        (exchanges.exchange(ticker), bars.dates, _Walk(ticker, bars, schedule, nothing).reactions)
        for ticker, bars in universe.items()
        if (schedule := schedules.get(ticker))
    ]
    return {
        observer: Typical.of(
            (public_dates(dates, exchange, [observer]), its) for exchange, dates, its in reacted
        )
        for observer in observers
    }


class _Walk:
    """A walk through a ticker's announcements, which learns from each before the next."""

    def __init__(self, ticker: str, bars: Bars, schedule: Schedule, typical: Typical) -> None:
        rows, exchange = len(bars.dates), exchanges.exchange(ticker)
        calendar = sessions_of(exchange)
        # Sessions to come are counted in the calendar: those of the prices are not yet known.
        self.numbers = np.searchsorted(calendar, bars.dates, side="right") - 1
        self.due = np.searchsorted(calendar, schedule.days + np.where(schedule.after == 1, 1, 0))
        self.begin, self.end = _known(exchange, bars.dates, schedule)
        self.returns = np.nan_to_num(bars.log_returns)
        place = np.searchsorted(calendar, schedule.days).clip(max=len(calendar) - 1)
        closed = np.isnan(schedule.after) & (calendar[place] != schedule.days)
        self.after = np.where(closed, 0.0, schedule.after)  # only the next session can react
        squares = np.append(np.nan, self.returns[1:] ** 2)
        self.variances = [ewma(squares, decay) for decay in DECAYS]
        """Of all sessions, reactions too."""
        self.excess = np.zeros(rows)
        """By how much the square of each session's move exceeds an ordinary one's."""
        self.exceeding: list[int] = []
        """The sessions where it does."""
        self.typical_moves, self.typical_afters = typical.at(bars.dates)
        self.moves, self.afters, self.counts = np.zeros((3, rows))
        """Sums over the ticker's own reactions, those of long ago faded."""
        self.chance, self.weight, self.discount = np.zeros(rows), np.zeros(rows), np.ones(rows)
        self.since, self.until, self.last, self.gap = np.full((4, rows), np.nan)
        self.first, self.coming = np.zeros((2, rows))
        self.upcoming = np.full(rows, -1)
        self.reactions: list[Reaction] = []
        self.reacted: list[int] = []
        """The rows of the reactions."""
        firsts = np.searchsorted(self.numbers, self.due)
        begins = np.maximum(self.begin, np.searchsorted(self.numbers, self.due - VISIBLE))
        for at, (row, begin) in enumerate(zip(firsts.tolist(), begins.tolist(), strict=True)):
            end = min(row, int(self.end[at]))
            self._show(at, begin, end)
            if begin < row == end:  # no surprise, and not called off
                self._pass(at, row)

    def _show(self, at: int, begin: int, end: int) -> None:
        """Show an announcement to the closes that can see it, unless they see an earlier one."""
        away = self.due[at] - self.numbers[begin:end]
        nearest = begin + np.flatnonzero(~(self.until[begin:end] <= away))
        self.until[nearest] = self.due[at] - self.numbers[nearest]
        self.upcoming[nearest] = at
        self.coming[nearest] = 1
        self.first[nearest] = 1 - self._odds_of_after(nearest) if np.isnan(self.after[at]) else 1

    def _pass(self, at: int, row: int) -> None:
        """Pass by an announcement whose first possible reaction is the session of a row."""
        uncertain = bool(np.isnan(self.after[at]))
        odds = float(self._odds_of_after(row - 1)) if uncertain else 0.0
        if self.numbers[row - 1] == self.due[at] - 1:
            self._expect(row - 1, 1 - odds)
        if row == len(self.numbers):
            return
        sigma, tilt = self._volatility(row - 1)
        size = float(self._size(row - 1, tilt))
        moves = [self._move(row, sigma)]
        likely = (1 - odds) * _likelihood(moves[0], size)
        today = likely / (likely + odds)
        self._settle(row, today, size)
        if not uncertain:
            self._learn(Reaction(row, moves[0] / tilt, float(self.after[at])), moves[0], row)
            return
        if self.numbers[row] == self.due[at]:
            self._expect(row, 1 - today)
            self.until[row], self.upcoming[row] = 1, at
            self.first[row] = self.coming[row] = 1 - today
        if row + 1 == len(self.numbers):
            return
        moves.append(self._move(row + 1, self._volatility(row)[0]))
        late = odds * _likelihood(moves[1], size)
        after = late / (likely + late)
        self._settle(row + 1, after, size)
        move = (1 - after) * moves[0] + after * moves[1]
        self._learn(Reaction(row + 1, move / tilt, after), move, row + round(after))

    def result(self) -> Announcements:
        """Return what the announcements mean."""
        squares = np.append(np.nan, (self.returns / self.discount)[1:] ** 2)
        fast, slow = (ewma(squares, decay) for decay in DECAYS)
        ratio = np.nan_to_num(slow / np.maximum(fast, FLOOR**2), nan=1.0)
        size = self._size(slice(None), ratio**0.25)
        return Announcements(
            *(self.chance, size, self.weight, self.discount, self.since, self.until, self.last),
            *(self.first, self.coming, self.gap, self.upcoming),
        )

    def _expect(self, row: int, chance: float) -> None:
        self.chance[row] = 1 - (1 - self.chance[row]) * (1 - chance)

    def _settle(self, row: int, weight: float, size: float) -> None:
        """Take a reaction out of what is ordinary, as far as the session was one."""
        self.weight[row] = 1 - (1 - self.weight[row]) * (1 - weight)
        self.discount[row] *= sqrt(1 + weight * (size**2 - 1))
        self.excess[row] = self.returns[row] ** 2 * (1 - 1 / self.discount[row] ** 2)
        self.exceeding.append(row)

    def _learn(self, reaction: Reaction, move: float, row: int) -> None:
        """Add a reaction, of a move in volatilities at ``row``, to what later closes know."""
        over = reaction.row
        for sums, value in (
            (self.moves, reaction.move),
            (self.afters, reaction.after),
            (self.counts, 1.0),
        ):
            sums[over:] = FADING * sums[over] + value
        self.last[over:] = move / ORDINARY
        self.since[over:] = np.arange(over - row, len(self.since) - row)
        self.reactions.append(reaction)
        self.reacted.append(row)
        if len(self.reacted) > 1:
            latest = self.reacted[-GAPS - 1 :]
            self.gap[over:] = median(after - before for before, after in pairwise(latest))

    def _odds_of_after(self, row: Any) -> Any:
        own, count = self.afters[row], self.counts[row]
        return (PRIOR * self.typical_afters[row] + own) / (PRIOR + count)

    def _size(self, row: Any, tilt: Any) -> Any:
        """Return what a reaction is expected to exceed an ordinary session by, as closes know it.

        How far a price reacts depends as much on the ticker's volatility of years as on today's, so
        reactions are measured in the geometric mean of the two: ``tilt`` is that mean over today's.
        """
        own = (PRIOR * self.typical_moves[row] + self.moves[row]) / (PRIOR + self.counts[row])
        return np.clip(own * tilt / ORDINARY, *SIZES)

    def _volatility(self, row: int) -> tuple[float, float]:
        """Return a close's EWMA volatility of ordinary sessions, and its tilt (:meth:`_size`)."""
        if row < 1:
            return np.inf, 1.0
        rows = np.array([it for it in dict.fromkeys(self.exceeding) if it <= row], int)
        fast, slow = (
            variance[row]
            - decay ** (row - rows) @ self.excess[rows] * (1 - decay) / (1 - decay**row)
            for variance, decay in zip(self.variances, DECAYS, strict=True)
        )
        sigma = max(sqrt(max(fast, 0.0)), FLOOR)
        return sigma, float(max(slow, 0.0) / sigma**2) ** 0.25

    def _move(self, row: int, sigma: float) -> float:
        return min(abs(float(self.returns[row])) / sigma, LARGEST)


def evenings(exchange: str, dates: np.ndarray) -> np.ndarray:
    """Return the last instants at which forecasts are made from the closes of dates: (dates,), in UTC.

    What the store learns in the evening or over the weekend, before the next session opens, counts for
    the forecast of that session.
    """
    sessions = sessions_of(exchange)
    following = sessions[np.searchsorted(sessions, dates, side="right")]
    return closing_instants(exchange, following, latest=False) - LONGEST_SESSION


def _known(exchange: str, dates: np.ndarray, schedule: Schedule) -> tuple[np.ndarray, np.ndarray]:
    """Return the first row that knows each announcement, and the first that no longer does."""
    nothing = np.isnat(schedule.since), np.isnat(schedule.until)
    if all(it.all() for it in nothing):  # the closing instants of a long history take a while
        return np.zeros(len(schedule.days), int), np.full(len(schedule.days), len(dates))
    limits = evenings(exchange, dates)
    begin, end = (np.searchsorted(limits, it) for it in (schedule.since, schedule.until))
    return np.where(nothing[0], 0, begin), np.where(nothing[1], len(dates), end)


def _likelihood(move: float, size: float) -> float:
    """Return how much likelier a move is at a reaction than at an ordinary session.

    Both are Student-t with 4 degrees of freedom, that of a reaction wider by ``size``.
    """
    return float(((1 + move**2 / 4) / (1 + (move / size) ** 2 / 4)) ** 2.5 / size)


@lru_cache
def sessions_of(exchange: str) -> np.ndarray:
    """Return the sessions of an exchange, the working days where it has no calendar."""
    if exchanges.has_calendar(exchange):
        return calendars.closes(exchange).index.to_numpy().astype("datetime64[D]")
    return np.arange("1900", "2050", dtype="datetime64[D]")[
        np.is_busday(np.arange("1900", "2050", dtype="datetime64[D]"))
    ]
