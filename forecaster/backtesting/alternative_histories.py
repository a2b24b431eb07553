"""Histories that could have been: the same past with another future, or sessions in random order."""

from collections.abc import Callable, Collection

import numpy as np
import pandas as pd

from forecaster.data import prices
from forecaster.data.events import POST, PRE, check
from forecaster.data.exchanges import exchange
from forecaster.data.publication import public_dates
from forecaster.dataset.announcements import VISIBLE, evenings, sessions_of


def rewritten(
    frame: pd.DataFrame,
    after: np.datetime64,
    *,
    observers: Collection[str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the prices frame with all that closes after a date replaced by another valid history.

    From its last known session on, each ticker follows a random walk of its own, with other bars,
    dividends and volumes on the same dates. What is null stays null.

    Parameters
    ----------
    frame : the prices frame.
    after : the date whose close is the present.
    observers : the exchanges that have closed by then; by default all of the frame's.
    """
    rng = np.random.default_rng(seed)
    observers = observers or set(map(exchange, frame["ticker"].unique()))
    public = frame["date"].to_numpy().astype("datetime64[D]")
    for ticker, rows in frame.groupby("ticker", sort=False).indices.items():
        public[rows] = public_dates(public[rows], exchange(str(ticker)), observers)
    later = frame[public > after]
    step = pd.DataFrame(
        rng.standard_normal((len(later), 6)) * [0.03, 0.002, 0.01, 0.01, 0.01, 0.5],
        index=later.index,
        columns=["move", "dividend", "open", "high", "low", "volume"],
    )
    way = step[["move", "dividend"]].groupby(later["ticker"]).cumsum()
    close = later["close"] * np.exp(way["move"])
    open_ = close * np.exp(step["open"])
    others = {
        "open": open_,
        "high": np.maximum(open_, close) * np.exp(step["high"].abs()),
        "low": np.minimum(open_, close) * np.exp(-step["low"].abs()),
        "close": close,
        "adj_close": later["adj_close"] * np.exp(way["move"] + way["dividend"]),
        "volume": later["volume"] * np.exp(step["volume"]),
    }
    future = later.assign(
        **{name: values.where(later[name].notna()) for name, values in others.items()}
    )
    return prices.check(pd.concat([frame.drop(later.index), future]))


def rescheduled(events: pd.DataFrame, after: np.datetime64, *, seed: int = 0) -> pd.DataFrame:
    """Return the events frame with all that no forecast made at the close of a date may know replaced.

    Days beyond those on which a date is visible are moved, dropped or get another time, and those of
    every third ticker are all dropped, with dates that the store first held later.

    Parameters
    ----------
    events : the events frame.
    after : the date whose close, on the exchange of each ticker, is the present.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for place, (ticker, its) in enumerate(events.groupby("ticker")):
        name = exchange(str(ticker))
        sessions = sessions_of(name)
        now = int(np.searchsorted(sessions, after, side="right")) - 1
        (evening,) = evenings(name, np.array([after]))
        its = its[~(its["first_seen"] > evening)]
        hidden = its["date"] > pd.Timestamp(sessions[now + VISIBLE])
        later = its[hidden]
        days = pd.to_timedelta(rng.integers(0, 40, len(later)), "D")
        times = rng.choice(np.array([PRE, POST, None], dtype=object), len(later))
        later = later.assign(
            date=(later["date"] + days).clip(upper=later["date"].max()), time=times
        )
        kept = rng.random(len(later)) < (0.8 if (place + seed) % 3 else 0.0)
        parts += [its[~hidden], later[kept].drop_duplicates(["ticker", "date", "kind"])]
    return check(pd.concat(parts))


Spoil = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]


def _moved(days: int) -> Spoil:
    return lambda its, rng: its.assign(
        date=its["date"] + pd.to_timedelta(days * rng.choice([-1, 1], len(its)), "D")
    )


def _dropped(share: float) -> Spoil:
    return lambda its, rng: its[rng.random(len(its)) >= share]


SPOILED: dict[str, Spoil] = {
    "times unknown": lambda its, rng: its.assign(time=None),
    "10% dropped": _dropped(0.1),
    "30% dropped": _dropped(0.3),
    **{f"moved by {days} day{'s' * (days > 1)}": _moved(days) for days in range(1, 6)},
}
"""What may be wrong with dates of earnings; half of those that are moved come too early."""


def spoiled(events: pd.DataFrame, how: str, after: np.datetime64, *, seed: int = 0) -> pd.DataFrame:
    """Return the events frame with those after a date spoiled in one of the ways of ``SPOILED``."""
    later = events["date"] > pd.Timestamp(after)
    others = SPOILED[how](events[later], np.random.default_rng(seed))
    others = others.drop_duplicates(["ticker", "date", "kind"])
    return check(pd.concat([events[~later], others]).drop_duplicates(["ticker", "date", "kind"]))


def shuffled(frame: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Return the prices frame with each ticker's sessions resampled at random, with replacement.

    A session is drawn whole: its return, the shape of its bar and its volume. Sessions are therefore
    independent and identically distributed. The dates stay.
    """
    rng = np.random.default_rng(seed)
    position = pd.Series(np.arange(len(frame)), frame.index).groupby(frame["ticker"])
    first, last = (position.transform(end).to_numpy() for end in ("min", "max"))
    drawn = first + 1 + (rng.random(len(frame)) * (last - first)).astype(int)
    opening = np.arange(len(frame)) == first  # its return is not known, and it stays where it is
    session = frame.iloc[np.where(opening, first, drawn)].reset_index(drop=True)
    returns = np.log(frame["adj_close"]).diff().to_numpy()[drawn.clip(max=len(frame) - 1)]
    moves = pd.Series(np.where(opening, 0.0, returns)).groupby(session["ticker"]).cumsum()
    close = frame["adj_close"].to_numpy()[first] * np.exp(moves)
    bar = session[["open", "high", "low"]].mul(close / session["close"], axis=0)
    return prices.check(
        session.assign(date=frame["date"].to_numpy(), close=close, adj_close=close, **bar)
    )
