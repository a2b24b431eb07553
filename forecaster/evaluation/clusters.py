"""The rows of a forecasts frame by part and day, with the days as clusters.

A split cuts the rows into parts:

==========  ===========================================================================
all         one part
volatility  low, middle, high: a third each of a model's sessions of a ticker, by a volatility known
            at the cutoff: the EWMA (RiskMetrics, decay 0.94) of the squared returns of the
            sessions before among those rows. It is the same for all models of the same rows,
            and whichever other models are there
year        of the date; over all tickers only
==========  ===========================================================================

Tickers move together, so where they are pooled a day is one cluster. Tests are corrected by its
design effect (Kish 1965, Survey sampling): the variance of a share with days as clusters over that
of independent rows, at least 1. Days are taken as independent. The rarer the event and the fewer the
days, the worse the effect is known, so tests of a share are read from an F distribution in place of
a chi-square (Thomas and Rao 1987, Journal of the American Statistical Association 82(398)), whose
second degrees of freedom are those of Satterthwaite (1946, Biometrics Bulletin 2(6)) for a variance
estimated from the days: with s the surplus of a day's hits::

    df = 2 (sum s²)² / (sum s⁴ - (sum s²)² / days)

In simulations of 30 tickers and breaches of 1%, a test at 5% rejects a right forecast 5 or 6 times in
a hundred on 250 days (by chi-square 8 or 9), and 9 times on 60 days (by chi-square 13).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from forecaster.errors import HistoryError
from forecaster.evaluation import metrics
from forecaster.evaluation.metrics import POOLED, design_effect, totals

DECAY = 0.94
SPLITS = ("all", "volatility", "year")

_SPLIT_BY = ["volatility", "year"]
_PARTS = pd.Index(["low", "middle", "high"])


@dataclass(frozen=True)
class Slice:
    """One split of the rows, each ticker alone or all of them pooled, summed day by day."""

    labels: pd.DataFrame
    """(groups,) ticker, model, split and part of each group."""
    group: np.ndarray
    """(days,) the row of `labels` that each day belongs to."""
    days: pd.DataFrame
    """(days,) sums of what the rows hold, ``n`` the number of rows among them."""
    sessions: np.ndarray
    """(groups,) the number of different dates of each group."""

    def total(self, name: str) -> np.ndarray:
        """Return the sum of a column in each group, (groups,)."""
        return totals(self.days[name], self.group)

    def counts(self, name: str, categories: Sequence[str]) -> np.ndarray:
        """Return how many rows of each group are of each category, (groups, categories)."""
        if name not in self.days:  # counted day by day
            return np.column_stack([self.total(it) for it in categories])
        width = len(categories)
        cell = self.group * width + self.days[name].cat.codes.to_numpy()
        counts = np.bincount(cell, minlength=len(self.labels) * width)
        return counts.reshape(-1, width).astype(float)

    @property
    def is_pooled(self) -> bool:
        """Whether all tickers are pooled."""
        return bool(self.labels["ticker"].eq(POOLED).any())

    @cached_property
    def has_single_rows(self) -> bool:
        """Whether every day has one row, so that days as clusters are nothing else than rows."""
        return bool((self.days["n"] == 1).all())

    def surplus(self, hits: str, n: str = "n") -> np.ndarray:
        """Return each day's hits less those its group's share would have given it, (days,)."""
        with np.errstate(invalid="ignore"):
            share = np.nan_to_num(self.total(hits) / self.total(n))
        return np.asarray(self.days[hits] - self.days[n] * share[self.group], dtype=float)

    def design_effect(self, hits: str) -> tuple[np.ndarray, np.ndarray]:
        """Return :func:`.metrics.design_effect` of the share of a column of hits."""
        if self.has_single_rows:
            return np.ones(len(self.labels)), np.full(len(self.labels), np.inf)
        return design_effect(self.days[hits], self.days["n"], self.group)

    def difference_effect(self, first: tuple[str, str], other: tuple[str, str]) -> np.ndarray:
        """Return the design effect of the difference between two shares, (groups,).

        Each share is given as its hits and the rows that could be one. 1 with a row a day, and
        where there is no difference.
        """
        if self.has_single_rows:
            return np.ones(len(self.labels))
        surplus, binomial = np.zeros(len(self.days)), np.zeros(len(self.labels))
        with np.errstate(divide="ignore", invalid="ignore"):
            for sign, (hits, n) in ((1, first), (-1, other)):
                total = self.total(n)
                share = self.total(hits) / total
                surplus += sign * self.surplus(hits, n) / total[self.group]
                binomial += share * (1 - share) / total
            effect = np.maximum(totals(surplus**2, self.group) / binomial, 1.0)
        return np.where(np.isfinite(effect), effect, 1.0)

    def above_zero(self, sums: str, n: str) -> np.ndarray:
        """Return one-sided p-values of mean zero against above zero, (groups,).

        A t test of the mean of `sums` over `n`, with days as clusters; NaN with one day.
        """
        days = totals(self.days[n] > 0, self.group)
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.sqrt(totals(self.surplus(sums, n) ** 2, self.group) * days / (days - 1))
            p_value = special.stdtr(days - 1, -self.total(sums) / error)
        return np.where((days > 1) & (error > 0), p_value, np.nan)


def known(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose outcome is known; the frame itself, not a copy, if all are.

    Raises
    ------
    HistoryError
        No outcome is known.
    """
    rows = metrics.known(frame)
    if rows.empty:
        raise HistoryError(
            "expected forecasts whose outcome is known, came none; test their calibration once "
            "a session forecast has closed"
        )
    return rows


@dataclass(frozen=True)
class Labelled:
    """The labels of the rows of a forecasts frame, and how each split groups them."""

    rows: pd.DataFrame
    """(rows,) ticker, model and date, the part of each split, and n = 1"""

    @cached_property
    def _groupings(self) -> "dict[str, Grouping]":
        return {}

    def grouping(self, split: str) -> "Grouping":
        """Return how a split groups the rows, made once."""
        if split not in self._groupings:
            self._groupings[split] = Grouping.of(self.rows, split)
        return self._groupings[split]


@dataclass(frozen=True)
class Grouping:
    """Which rows a split has, and the groups they are of."""

    known: np.ndarray
    """(rows,), whether a row lies in a part; what follows is of those that do"""
    labels: pd.DataFrame
    """(groups,) ticker, model, split and part"""
    group: np.ndarray
    """(rows,), which of `labels`"""
    sessions: np.ndarray
    """(groups,) different dates"""
    days: pd.MultiIndex
    """(days,) model, part and date, over all tickers"""
    day: np.ndarray
    """(rows,), which of `days`"""

    @classmethod
    def of(cls, rows: pd.DataFrame, split: str) -> "Grouping":
        """Return how a split groups rows."""
        part = _part(rows, split)
        known = np.asarray(part.codes >= 0)
        its = rows[["ticker", "model", "date"]]
        its, part = (its, part) if known.all() else (its[known], part[known])
        date, dates = pd.factorize(its["date"], sort=True)
        ticker, model = its["ticker"].array, its["model"].array
        group, codes = _numbered(ticker.codes, model.codes, part.codes)
        names = [key.categories[it] for key, it in zip((ticker, model, part), codes, strict=True)]
        labels = pd.DataFrame(dict(zip(("ticker", "model", "part"), names, strict=True)))
        labels.insert(2, "split", split)
        occurs = np.zeros((len(labels), len(dates)), dtype=bool)
        occurs[group, date] = True
        day, (of_model, of_part, of_date) = _numbered(model.codes, part.codes, date)
        days = pd.MultiIndex.from_arrays(
            [model.categories[of_model], part.categories[of_part], dates[of_date]],
            names=["model", "part", "date"],
        )
        return cls(known, labels.astype(str), group, occurs.sum(axis=1), days, day)


def _numbered(*keys: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """The number of each row's combination of keys that occurs, (rows,), and those combinations."""
    shape = tuple(int(it.max(initial=0)) + 1 for it in keys)
    cell = np.ravel_multi_index(keys, shape)
    occurs = np.zeros(np.prod(shape), dtype=bool)
    occurs[cell] = True
    number = np.cumsum(occurs) - 1
    return number[cell], np.unravel_index(np.flatnonzero(occurs), shape)


def labelled(frame: pd.DataFrame) -> Labelled:
    """Return the labels of the rows of a forecasts frame."""
    third = _thirds(frame)
    return Labelled(
        pd.DataFrame(
            {
                # In the order in which they come, as in the table of `metrics.scores`.
                "ticker": _categories(frame["ticker"]),
                "model": _categories(frame["model"]),
                "date": frame["date"].to_numpy(),
                "volatility": pd.Categorical.from_codes(third, _PARTS),
                "year": _categories(frame["date"].dt.year, sort=True),
                "n": 1,
            }
        )
    )


class Tests:
    """A table of tests of the rows of some tickers after the other, each alone and all together.

    Parameters
    ----------
    label : adds columns to the rows of `labelled` of a forecasts frame: numbers to be summed, or
        categories to be counted.
    test : makes the tables of a `Slice`, whose rows come one table after the other.
    splits : some of `SPLITS`.
    """

    __test__ = False  # pytest takes every Test… for one of its own

    def __init__(
        self,
        label: Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame],
        test: Callable[[Slice], Sequence[pd.DataFrame]],
        splits: Sequence[str] = SPLITS,
    ) -> None:
        self._label, self._test, self._splits = label, test, splits
        self._tables: dict[str, list[Sequence[pd.DataFrame]]] = {split: [] for split in splits}
        self._days: dict[str, pd.DataFrame] = {}

    @property
    def has_rows(self) -> bool:
        """Whether anything was added."""
        return bool(self._days)

    def add(self, frame: pd.DataFrame, labels: Labelled | None = None) -> None:
        """Add the forecasts of some tickers, all of whose outcomes are known, and their labels."""
        labels = labelled(frame) if labels is None else labels
        rows = self._label(labels.rows, frame).drop(columns=["ticker", "model", "date", *_SPLIT_BY])
        for split in self._splits:
            grouping = labels.grouping(split)
            its = rows if grouping.known.all() else rows[grouping.known]
            if split != "year":
                each = Slice(grouping.labels, grouping.group, its, grouping.sessions)
                self._tables[split].append(self._test(each))
            days = _pooled_days(its, grouping)
            before = self._days.get(split)
            self._days[split] = days if before is None else metrics.added(before, days)

    def table(self) -> pd.DataFrame:
        """Return the tests of each split: of each ticker, but for the years, and then of all together."""
        tables: list[pd.DataFrame] = []
        for split, days in self._days.items():
            tables += [its for each in zip(*self._tables[split], strict=True) for its in each]
            tables += self._test(_all_tickers(days, split))
        table: pd.DataFrame = pd.concat(tables, ignore_index=True)
        return table


def _pooled_days(rows: pd.DataFrame, grouping: Grouping) -> pd.DataFrame:
    """Sums by model, part and date, over all tickers; of categories, how many rows are of each."""
    sums: dict[str, np.ndarray] = {}
    size = len(grouping.days)
    for name, values in rows.items():
        if isinstance(values.dtype, pd.CategoricalDtype):
            categories = values.cat.categories
            cell = grouping.day * len(categories) + values.cat.codes.to_numpy()
            counts = np.bincount(cell, minlength=size * len(categories))
            counts = counts.reshape(size, len(categories))
            sums |= dict(zip(categories, counts.T.astype(float), strict=True))
        else:
            sums[str(name)] = totals(values, grouping.day)
    return pd.DataFrame(sums, grouping.days)


def _all_tickers(days: pd.DataFrame, split: str) -> Slice:
    """The sums of `_pooled_days` as the days of the parts of each model."""
    models, parts = (days.index.get_level_values(name) for name in ("model", "part"))
    order = {it: at for at, it in enumerate(_PARTS if split == "volatility" else sorted({*parts}))}
    ranks = pd.factorize(models)[0], parts.map(order).to_numpy()
    dates = days.index.get_level_values("date")
    sorted_ = np.lexsort((dates.to_numpy(), ranks[1], ranks[0]))
    days, keys = days.iloc[sorted_], ranks[0][sorted_] * len(order) + ranks[1][sorted_]
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    labels = days.index[first].to_frame(index=False)[["model", "part"]]
    labels.insert(0, "ticker", POOLED)
    labels.insert(2, "split", split)
    sessions = np.bincount(group)  # a row a date
    return Slice(labels.astype(str), group, days.reset_index(drop=True), sessions)


def _part(rows: pd.DataFrame, split: str) -> Any:
    """Which part of a split each row lies in: a Categorical."""
    if split == "all":
        return pd.Categorical.from_codes(np.zeros(len(rows), dtype=int), pd.Index(["all"]))
    return rows[split].array


def _thirds(frame: pd.DataFrame) -> np.ndarray:
    """Which third by volatility each row lies in, from 0; -1 where nothing came before: (rows,)."""
    from scipy.signal import lfilter  # takes a second to import

    series = frame.groupby(["ticker", "model"], sort=False).ngroup().to_numpy()
    order = np.lexsort((frame["date"].to_numpy(), series))
    squares = frame["log_return"].to_numpy()[order] ** 2
    groups = np.searchsorted(series[order], np.arange(series.max(initial=-1) + 2))
    before = np.full(len(frame), np.nan)
    for begin, end in pairwise(groups):
        # Once more with ones, as the weights of a short past do not sum to one.
        sums, weights = (
            lfilter([1.0], [1.0, -DECAY], its) for its in (squares[begin:end], np.ones(end - begin))
        )
        before[begin + 1 : end] = (sums / weights)[:-1]
    rank = pd.Series(before).groupby(series[order]).rank(pct=True).fillna(0).to_numpy()
    third = np.empty(len(frame), dtype=int)
    third[order] = np.ceil(3 * rank - 1e-9).astype(int) - 1
    return third


def _categories(values: pd.Series, *, sort: bool = False) -> pd.Categorical:
    """Values as categories of text, in the order in which they come; no text is made for each row."""
    codes, categories = pd.factorize(values, sort=sort)
    return pd.Categorical.from_codes(codes, pd.Index(categories).astype(str))
