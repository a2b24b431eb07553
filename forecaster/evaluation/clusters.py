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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import special

from forecaster.errors import HistoryError
from forecaster.evaluation import metrics
from forecaster.evaluation.metrics import POOLED, design_effect, totals

DECAY = 0.94
SPLITS = ("all", "volatility", "year")

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

    def total(self, name: str) -> np.ndarray:
        """Return the sum of a column in each group, (groups,)."""
        return totals(self.days[name], self.group)

    @property
    def sessions(self) -> np.ndarray:
        """The number of different dates of each group, (groups,)."""
        return self.days["date"].groupby(self.group).nunique().to_numpy()

    @property
    def is_pooled(self) -> bool:
        """Whether all tickers are pooled."""
        return bool(self.labels["ticker"].eq(POOLED).all())

    def surplus(self, hits: str, n: str = "n") -> np.ndarray:
        """Return each day's hits less those its group's share would have given it, (days,)."""
        with np.errstate(invalid="ignore"):
            share = np.nan_to_num(self.total(hits) / self.total(n))
        return np.asarray(self.days[hits] - self.days[n] * share[self.group], dtype=float)

    def design_effect(self, hits: str) -> tuple[np.ndarray, np.ndarray]:
        """Return :func:`.metrics.design_effect` of the share of a column of hits."""
        return design_effect(self.days[hits], self.days["n"], self.group)

    def difference_effect(self, first: tuple[str, str], other: tuple[str, str]) -> np.ndarray:
        """Return the design effect of the difference between two shares, (groups,).

        Each share is given as its hits and the rows that could be one. 1 with a row a day, and
        where there is no difference.
        """
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


def labelled(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the labels of the rows: ticker, model and date, the parts of each, and n = 1."""
    third = _thirds(frame)
    return pd.DataFrame(
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


def slices(rows: pd.DataFrame, splits: Sequence[str] = SPLITS) -> Iterator[Slice]:
    """Yield each split of the rows, for every ticker alone and over all.

    Parameters
    ----------
    rows : of `labelled`, with columns of numbers to be summed.
    splits : some of `SPLITS`.
    """
    values = rows.columns.difference(["ticker", "model", "date", "volatility", "year"], sort=False)
    one = np.zeros(len(rows), dtype=int)
    everything, anyone = (
        pd.Categorical.from_codes(one, pd.Index([name])) for name in ("all", POOLED)
    )
    day, dates = pd.factorize(rows["date"], sort=True)
    for split in splits:
        part = everything if split == "all" else rows[split].array
        known = part.codes >= 0
        its = rows if known.all() else rows[known]
        for pooled in (False, True):
            if split == "year" and not pooled:
                continue
            keys = (anyone if pooled else rows["ticker"].array, rows["model"].array, part)
            shape = tuple(len(key.categories) for key in keys)
            of_row = np.ravel_multi_index([key.codes[known] for key in keys], shape)
            days = its
            if pooled:
                cell, at = np.unique(of_row * len(dates) + day[known], return_inverse=True)
                of_row = cell // len(dates)
                # One by one, as what is added up takes eight times its memory meanwhile.
                sums = {name: its[name].groupby(at).sum() for name in values}
                days = pd.DataFrame({"date": dates[cell % len(dates)], **sums})
            present, group = np.unique(of_row, return_inverse=True)
            names = [
                key.categories[codes]
                for key, codes in zip(keys, np.unravel_index(present, shape), strict=True)
            ]
            labels = pd.DataFrame(dict(zip(("ticker", "model", "part"), names, strict=True)))
            labels.insert(2, "split", split)
            yield Slice(labels.astype(str), group, days)


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
