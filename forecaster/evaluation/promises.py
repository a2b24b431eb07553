"""What a model promises of itself: its intervals, its lower tail, and an even PIT.

A promise is broken if what came differs from it surely, and by more than a stated size: of a hundred
thousand forecasts the smallest difference is sure, and does not matter. Each is read over all tickers,
over all sessions and in thirds of them by a volatility known at the cutoff
(:mod:`forecaster.evaluation.clusters`).
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecaster.evaluation.claims import LEVEL
from forecaster.evaluation.metrics import POOLED

TOLERANCE = 0.01
"""Coverage this near to its promise is kept, however sure the small difference is."""

TAIL_TOLERANCES = {0.95: 0.005, 0.99: 0.002}
"""The same of the share of breaches of the value at risk, by its level."""

TAIL_TESTS = 6
"""Tests of the value at risk of a model: two levels, over all sessions and in two thirds of them."""

SHORTFALL_TOLERANCE = 0.05
"""Losses beyond the value at risk may be larger than forecast by this share."""

PIT_TOLERANCES = (0.02, 0.1)
"""Of the mean of the PIT, which is 1/2, and of its variance, as a share of 1/12."""

_PARTS = {"all": "", "low": " in the calmest third", "high": " in the most volatile third"}


@dataclass(frozen=True)
class Interval:
    """What a central interval promised, and what it held."""

    nominal: float
    part: str
    """``all`` sessions, or the ``high`` third by volatility"""
    share: float
    p_value: float

    @property
    def is_kept(self) -> bool:
        """Whether the interval held what it promised, near enough or for all that can be told."""
        return abs(self.share - self.nominal) <= TOLERANCE or not self.p_value < LEVEL

    @property
    def text(self) -> str:
        """Promise and share, and what is wrong."""
        miss = f", too {'narrow' if self.share < self.nominal else 'wide'}"
        words = f"{self.nominal:.0%} held {self.share:.1%}{_PARTS[self.part]}"
        return words if self.is_kept else words + miss


@dataclass(frozen=True)
class Tail:
    """What a value at risk promised, how often it was breached, and how large the losses then were."""

    level: float
    part: str
    """``all`` sessions, or the ``low`` or the ``high`` third by volatility"""
    share: float
    """Of breaches"""
    p_value: float
    """Kupiec's, with days as clusters; before correction"""
    excess: float | None
    """Mean loss of breaches over the expected shortfall, less 1; None without breaches"""
    shortfall_p: float | None
    """McNeil and Frey's, one-sided: losses are larger than the expected shortfall"""

    @property
    def is_thin(self) -> bool:
        """Whether there are surely more breaches than promised, and more than a few."""
        return self._surplus > TAIL_TOLERANCES[self.level] and self._is_sure

    @property
    def is_fat(self) -> bool:
        """Whether there are surely fewer breaches than promised, and fewer by more than a few."""
        return self._surplus < -TAIL_TOLERANCES[self.level] and self._is_sure

    @property
    def is_short(self) -> bool:
        """Whether losses of breaches are surely larger than the expected shortfall, and by much."""
        if self.excess is None or self.shortfall_p is None:
            return False
        return self.excess > SHORTFALL_TOLERANCE and TAIL_TESTS * self.shortfall_p < LEVEL

    @property
    def is_kept(self) -> bool:
        """Whether nothing is wrong with it, or nothing that can be told."""
        return not (self.is_thin or self.is_fat or self.is_short)

    @property
    def text(self) -> str:
        """The share of breaches, and what is wrong with it."""
        words = f"{self.share:.1%}{_PARTS[self.part]}"
        return words + ", too often" * self.is_thin + ", too seldom" * self.is_fat

    @property
    def _surplus(self) -> float:
        return self.share - (1 - self.level)

    @property
    def _is_sure(self) -> bool:
        return TAIL_TESTS * self.p_value < LEVEL


@dataclass(frozen=True)
class Pit:
    """Where outcomes fell in their forecast distributions."""

    part: str
    """``all`` sessions, or the ``low`` or the ``high`` third by volatility"""
    mean: float
    variance: float
    p_value: float
    """Of the PIT being uniform"""

    @property
    def is_kept(self) -> bool:
        """Whether it is uniform, near enough or for all that can be told."""
        near = (
            abs(self.mean - 0.5) <= PIT_TOLERANCES[0]
            and abs(12 * self.variance - 1) <= PIT_TOLERANCES[1]
        )
        return near or self.p_value >= LEVEL

    @property
    def text(self) -> str:
        """Mean and variance, each over what they should be."""
        return (
            f"PIT {'even' if self.is_kept else 'uneven'}{_PARTS[self.part]} (mean {self.mean:.3f} for "
            f"0.5, variance {12 * self.variance:.2f} of what it should be)"
        )


def intervals_of(model: str, coverage: pd.DataFrame) -> tuple[Interval, ...]:
    """Return the 80 and 95% intervals, from :func:`forecaster.evaluation.calibration.coverage`."""
    return tuple(
        Interval(nominal, part, float(row["share"]), float(row["p_value"]))
        for nominal in (0.8, 0.95)
        for part in ("all", "high")
        for row in _pooled(coverage[coverage["nominal"] == nominal], model, part)
    )


def tails_of(model: str, table: pd.DataFrame) -> tuple[Tail, ...]:
    """Return the value at risk, from :func:`forecaster.evaluation.value_at_risk.value_at_risk`."""
    return tuple(
        Tail(
            level,
            part,
            float(row["share"]),
            float(row["unconditional_p"]),
            _number(row["loss"] / row["shortfall"] - 1),
            _number(row["shortfall_p"]),
        )
        for level in TAIL_TOLERANCES
        for part in _PARTS
        for row in _pooled(table[table["level"] == level], model, part)
    )


def pits_of(model: str, table: pd.DataFrame) -> tuple[Pit, ...]:
    """Return the PIT, from :func:`forecaster.evaluation.calibration.uniformity`."""
    return tuple(
        Pit(part, *(float(row[name]) for name in ("mean", "variance", "p_value")))
        for part in _PARTS
        for row in _pooled(table, model, part)
        if np.isfinite(row["p_value"])
    )


def _pooled(table: pd.DataFrame, model: str, part: str) -> list[dict[Hashable, Any]]:
    """The rows of a model over all tickers, of one part."""
    of_model = (table["model"] == model) & (table["ticker"] == POOLED)
    return table[of_model & (table["part"] == part)].to_dict("records")


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
