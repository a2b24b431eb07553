"""The base run: the network that comes with the package, and the card that says what it is worth.

Its folder, ``forecaster/models/recurrent/base/``, is a bundle like any other and a ``card.json`` beside.
It was trained on prices that are not the user's, so what is stored there is not its market; see
:func:`forecaster.runs.forecasting.universe_of`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forecaster.data import exchanges
from forecaster.runs import bundle
from forecaster.runs.run import BASE, Run


@dataclass(frozen=True)
class Score:
    """What the base model, or one made the same way, was worth on a set of tickers."""

    set: str
    kind: str
    """Of its tickers, by :func:`forecaster.data.exchanges.kind`."""
    exchange: str
    tickers: int
    sessions: int
    first: str
    last: str
    """Date of the first and the last forecast, YYYY-MM-DD."""
    crps_over_gjr: float
    better_on: int
    """Tickers whose CRPS is below GJR-GARCH's."""
    in_80: float
    in_95: float
    """Outcomes within the central intervals, percent."""
    how: str
    """What made it a fair test: a model that had not seen the set, or not these years."""


@dataclass(frozen=True)
class Card:
    """The model card of the base run."""

    document: Mapping[str, Any]
    """All of it, as JSON holds it."""
    scores: tuple[Score, ...]

    def scores_of(self, ticker: str) -> tuple[Score, ...]:
        """Return the scores that speak for a ticker: of its kind and exchange, else of its kind."""
        alike = [it for it in self.scores if it.kind == exchanges.kind(ticker)]
        near = [it for it in alike if it.exchange == exchanges.exchange(ticker)]
        return tuple(near or alike)


def load() -> Run:
    """Return the base run."""
    return bundle.read(bundle.BASE_FOLDER)


def document() -> dict[str, Any]:
    """Return what ``run.json`` says of the base run, without reading its weights."""
    return _json("run.json") | {"name": BASE}


def card() -> Card:
    """Return the model card."""
    content = _json("card.json")
    return Card(content, tuple(_score(it) for it in content["scores"]))


def _score(row: Mapping[str, Any]) -> Score:
    words = {"from": "first", "to": "last"}
    return Score(**{words.get(name, name): value for name, value in row.items()})


def _json(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((bundle.BASE_FOLDER / name).read_text(encoding="utf-8"))
    return content
