"""Whatever the history and the fault: the truth, or a refusal, and never a return of our own."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.data import adjustment, cleaning, leaps
from forecaster.errors import PricesError

RANGE = ["open", "high", "low"]
PRICES = [*RANGE, "close", "adj_close"]
SEEDS = st.integers(0, 2**32 - 1)


class World:
    """A true history of some kind, with its news, and the sessions on which there is none."""

    def __init__(self, kind, seed):
        self.rng = rng = np.random.default_rng(seed)
        self.kind, self.sessions = kind, int(rng.integers(80, 260))
        self.currency, self.instrument = {
            "pence": ("GBp", "EQUITY"),
            "fund": ("USD", "MUTUALFUND"),
            "yield": (None, "INDEX"),
            "coin": ("USD", "CRYPTOCURRENCY"),
        }.get(kind, ("USD", "EQUITY"))
        self.volatility = {
            "share": rng.uniform(0.006, 0.03),
            "pence": rng.uniform(0.006, 0.03),
            "penny": rng.uniform(0.03, 0.07),
            "fund": rng.uniform(0.001, 0.006),
            "yield": rng.uniform(0.02, 0.05),
            "coin": rng.uniform(0.03, 0.08),
        }[kind]
        self.busy = {0, 1}
        moves = self.volatility * rng.standard_t(5, self.sessions)
        self._add_news(moves)
        level = {"penny": 0.3, "pence": 400.0, "fund": 12.0, "yield": 2.5, "coin": 3e-4}
        close = level.get(kind, 60.0) * np.exp(np.cumsum(moves) - moves[0])
        if kind in ("fund", "yield"):
            close = np.maximum(close.round(2), 0.01)
        self.frame = self._bars(close)
        self._add_dividends_and_splits()

    def quiet(self, margin=1):
        """A session of the middle at which, and beside which, nothing happens."""
        free = [
            at
            for at in range(25, self.sessions - 25)
            if not {at + step for step in range(-margin, margin + 1)} & self.busy
        ]
        at = int(self.rng.choice(free))
        self.busy |= {at - 1, at, at + 1}
        return at

    def _add_news(self, moves):
        """Crashes, collapses to a hundredth, squeezes that take days to come and go."""
        if self.kind in ("fund", "yield"):
            return
        for _ in range(self.rng.integers(0, 3)):
            at = self.quiet(3)
            # In pence a fall to a hundredth is taken for pounds, whoever collapses.
            hundredth = 0.02 if self.kind == "pence" else 0.01
            news = [0.7, 0.5, 0.3, 0.1, hundredth, 0.004, 1.4, 2.2, 3.5]
            moves[at] = np.log(self.rng.choice(news))
        if self.rng.random() < 0.3:
            at = self.quiet(5)
            moves[at : at + 3] += self.rng.uniform(0.2, 0.9, 3)
            moves[at + 3 : at + 6] -= self.rng.uniform(0.1, 0.6, 3)
            self.busy |= set(range(at - 1, at + 8))

    def _bars(self, close):
        days = pd.date_range("2019-01-01", periods=2 * self.sessions)
        if self.kind != "coin":
            days = days[days.day_of_week < 5]
        if self.rng.random() < 0.3:  # a halt of weeks
            days = days.delete(slice(40, 40 + int(self.rng.integers(5, 18))))
        spread = 0.3 * self.volatility
        opens = close * np.exp(spread * self.rng.standard_normal(self.sessions))
        high = np.maximum(opens, close) * np.exp(spread * self.rng.random(self.sessions))
        low = np.minimum(opens, close) * np.exp(-spread * self.rng.random(self.sessions))
        volume = np.round(np.exp(12 + 0.5 * self.rng.standard_normal(self.sessions)))
        frame = pd.DataFrame(
            {
                "ticker": "TRUE",
                "date": days[: self.sessions].as_unit("us"),
                "open": opens,
                "high": high,
                "low": low,
                "close": close,
                "adj_close": close,
                "volume": volume,
            }
        )
        if self.kind in ("fund", "yield"):
            frame[RANGE], frame["volume"] = np.repeat(close[:, None], 3, axis=1), 0.0
        return frame

    def _add_dividends_and_splits(self):
        paid, ratio = np.zeros(self.sessions), np.zeros(self.sessions)
        close = self.frame["close"].to_numpy()
        if self.kind in ("share", "pence", "fund"):
            for _ in range(self.rng.integers(0, 4)):
                at = self.quiet()
                paid[at] = self.rng.uniform(0.003, 0.03) * close[at - 1]
        if self.rng.random() < 0.3 and self.kind in ("share", "pence", "penny"):
            at = self.quiet(2)
            ratio[at] = self.rng.choice([2.0, 3.0, 1.5, 0.1, 0.01])
        self.frame["dividends"], self.frame["splits"] = paid, ratio
        self.frame["adj_close"] = adjustment.adjusted(close, paid)

    def clean(self, frame):
        return cleaning.clean(frame, currency=self.currency, instrument=self.instrument)


# ---- faults: each gives the history as a source would get it wrong


def in_another_unit(world, frame):
    begin = world.quiet()
    rows = slice(begin, begin + int(world.rng.integers(0, 15)))
    columns = list(world.rng.choice(PRICES, world.rng.integers(1, 6), replace=False))
    frame.loc[rows, columns] *= world.rng.choice([100.0, 0.01, 1000.0, 0.001])


def in_pounds_at_the_end(world, frame):
    frame.loc[world.sessions - int(world.rng.integers(1, 20)) :, PRICES] /= 100


def in_pounds_at_the_beginning(world, frame):
    frame.loc[: world.quiet(), PRICES] /= 100


def without_its_split(world, frame):
    at = world.quiet(2)
    ratios = np.array([4.0, 2.0, 1.5, 1.25, 1.1, 0.5, 0.1, 0.01, 1 / 190])
    ratio = world.rng.choice(ratios[np.abs(np.log(ratios)) > 10 * world.volatility])
    world.frame.loc[at, "splits"] = frame.loc[at, "splits"] = ratio
    columns = [["close", *RANGE], ["adj_close"], PRICES][world.rng.integers(3)]
    frame.loc[: at - 1, columns] *= ratio


def as_traded(world, frame):
    """Closes without the split that the adjusted closes have, and that nobody names."""
    at = world.quiet(2)
    frame.loc[: at - 1, ["close", *RANGE]] *= world.rng.choice([2.0, 3.0, 4.0, 20.0, 0.1, 1.5])


def with_a_dividend_too_large(world, frame):
    at = world.quiet()
    close = frame["close"].to_numpy()
    fair = world.frame["dividends"].to_numpy(copy=True)
    fair[at] = max(0.005, 0.25 * world.volatility) * close[at - 1] * world.rng.uniform(1, 3)
    wrong = fair.copy()
    wrong[at] *= 100
    world.frame["dividends"] = fair
    world.frame["adj_close"] = adjustment.adjusted(close, fair)
    frame["dividends"] = wrong
    right = world.rng.random() < 0.3
    frame["adj_close"] = adjustment.adjusted(close, fair if right else wrong)


def without_some_adjusted_closes(world, frame):
    begin = int(world.rng.integers(0, world.sessions - 10))
    rows = slice(begin, begin + int(world.rng.integers(0, 30)))
    frame.loc[rows, "adj_close"] = world.rng.choice([np.nan, np.inf, 0.0, -2.0])


def with_a_step_in_adjusted_closes(world, frame):
    step = np.exp(world.rng.choice([-1, 1]) * world.rng.uniform(0.2 + 10 * world.volatility, 2))
    frame.loc[: world.quiet(), "adj_close"] *= step


def with_spikes(world, frame):
    columns = [PRICES, ["close", "adj_close"], ["close"], ["adj_close"]][world.rng.integers(4)]
    frame.loc[world.quiet(2), columns] *= world.rng.choice([2.5, 5.0, 30.0, 0.2, 0.05])


def without_some_closes(world, frame):
    for _ in range(3):
        frame.loc[world.quiet(), ["close", "adj_close"]] = world.rng.choice([np.nan, 0.0, -5.0])


def with_nonsense_beside_the_closes(world, frame):
    for _ in range(4):
        name = world.rng.choice([*RANGE, "volume"])
        frame.loc[world.quiet(0), name] = world.rng.choice([-1.0, np.inf, np.nan, 0.0])


def with_copies_of_a_close(world, frame):
    """Sessions without trade, filled with the close before; they are not in the truth."""
    begin = world.quiet(3) if world.kind != "coin" else 30
    rows = slice(begin, begin + 11)
    frame.loc[rows, ["close", *RANGE]] = frame.loc[begin - 1, "close"]
    frame.loc[rows, "adj_close"] = frame.loc[begin - 1, "adj_close"]
    frame.loc[rows, ["dividends", "splits", "volume"]] = 0.0
    world.frame = frame.copy()


FAULTS = [
    in_another_unit,
    in_pounds_at_the_end,
    in_pounds_at_the_beginning,
    without_its_split,
    as_traded,
    with_a_dividend_too_large,
    without_some_adjusted_closes,
    with_a_step_in_adjusted_closes,
    with_spikes,
    without_some_closes,
    with_nonsense_beside_the_closes,
    with_copies_of_a_close,
]
KINDS = ["share", "pence", "penny", "fund", "yield", "coin"]


def between(frame, dates):
    """Log returns by column from each of some dates to the next."""
    rows = frame.drop_duplicates("date").set_index("date").loc[dates]
    return {name: leaps.returns(rows[name].to_numpy()) for name in ("close", "adj_close")}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12)
@given(SEEDS)
def test_a_clean_history_passes_unchanged_bit_for_bit(kind, seed):
    world = World(kind, seed)
    clean = world.clean(world.frame.copy())
    pd.testing.assert_frame_equal(clean.frame, world.frame, check_exact=True)
    assert clean.mends.empty
    assert set(clean.findings["action"]) <= {"kept"}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda it: it.__name__)
@settings(max_examples=10)
@given(st.sampled_from(KINDS), SEEDS)
def test_a_fault_is_mended_to_the_truth_or_refused(fault, kind, seed):
    world = World("pence" if "pounds" in fault.__name__ else kind, seed)
    spoilt = world.frame.copy()
    fault(world, spoilt)
    try:
        clean = world.clean(spoilt)
    except PricesError:
        return
    dates = clean.frame["date"]
    made, true = between(clean.frame, dates), between(world.frame, dates)
    came = between(spoilt, dates)
    np.testing.assert_allclose(made["adj_close"], true["adj_close"], atol=1e-6)
    np.testing.assert_allclose(made["close"], true["close"], atol=1e-6)
    assert clean.frame["close"].iloc[-1] == pytest.approx(
        world.frame.set_index("date")["close"][dates.iloc[-1]]
    )
    assert len(dates) >= world.sessions - 11
    if clean.mends.empty:
        np.testing.assert_array_equal(made["adj_close"], came["adj_close"])
