"""Scores of forecasts: losses row by row, then their means per ticker and model.

A metric takes arrays and returns one value a row; nothing is averaged before `scores`. Lower is
better, except for the log score. Values are log returns as fractions unless a docstring says
otherwise.

The CRPS of every model is that of its 23 quantiles, of those with a density too: so a pair of models
is compared by one rule, whichever others are beside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from forecaster.distributions import forecasts, quantile_grid, skewed_t
from forecaster.errors import ForecastError

POOLED = "(all)"  # not "ALL", which is the ticker of Allstate
COVERAGES = (80, 90, 95)
BASELINES = ("naive", "gjr")

SCORES = [
    *["sessions", "crps", "log_score", "qlike", "mae", "mae_percent", "rel_mae"],
    *[f"coverage_{percent}" for percent in COVERAGES],
    *["hit_rate", "hit_low", "hit_high"],
]

_KEYS = ["ticker", "cutoff", "date"]
ROWS_AT_ONCE = 100_000
"""Forecasts whose losses are computed at once, to bound the memory of what lies between."""

MONTH = 21
"""Sessions over which volatility is realised."""

_Z95 = 1.959963984540054


def realised_volatility(log_return: pd.Series) -> pd.Series:
    r"""Return the volatility realised over the `MONTH` sessions that end with each: hindsight.

    :math:`\sqrt{\frac{1}{21}\sum_{i=0}^{20} r_{t-i}^2}`, NaN for the first 20 sessions.
    """
    return (log_return**2).rolling(MONTH).mean() ** 0.5


def qlike(x: np.ndarray, volatility: np.ndarray) -> np.ndarray:
    """Return the QLIKE of the variance forecast h = volatility² at the proxy x²: log(h) + x² / h.

    Source: Patton (2011), Volatility forecast comparison using imperfect volatility proxies,
    Journal of Econometrics 160(1).
    """
    variance = np.square(volatility)
    return np.asarray(np.log(variance) + np.square(x) / variance)


def fz0(x: np.ndarray, quantile: np.ndarray, tail_mean: np.ndarray, level: float) -> np.ndarray:
    """Return the FZ0 loss of a quantile at `level` and the mean below it, both of log returns.

    1{x <= v} (v - x) / (-level e) + v / e + log(-e) - 1 for the quantile v and the mean e: the loss of
    value at risk and expected shortfall together whose differences do not depend on the unit. NaN
    where the mean of the tail is not below zero.

    Source: Patton, Ziegel and Chen (2019), Dynamic semiparametric models for expected shortfall (and
    value-at-risk), Journal of Econometrics 211(2).
    """
    e = np.where(tail_mean < 0, tail_mean, np.nan)
    beyond = np.where(x <= quantile, quantile - x, 0.0)
    return np.asarray(quantile / e - beyond / (level * e) + np.log(-e) - 1)


def inside(low: np.ndarray, high: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return whether `x` lies between `low` and `high`, ends included."""
    return (low <= x) & (x <= high)


def wilson(share: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 95% interval of a share observed in `n` trials; NaN where n is 0.

    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference,
    Journal of the American Statistical Association 22(158).
    """
    n = np.where(n > 0, n, np.nan)
    centre = (share + _Z95**2 / (2 * n)) / (1 + _Z95**2 / n)
    half = _Z95 * np.sqrt(share * (1 - share) / n + (_Z95 / (2 * n)) ** 2) / (1 + _Z95**2 / n)
    # Rounding can put an end on the wrong side of the share.
    return np.minimum(centre - half, share), np.maximum(centre + half, share)


def design_effect(
    hits: ArrayLike, n: ArrayLike, group: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return Kish's design effect of each group's share of hits, and its degrees of freedom.

    Rows over the effect are the independent ones that would tell as much. With a row a day the
    effect is 1, known for certain (infinitely many degrees); where a variance cannot be had (one
    day, or all rows alike) all the rows of a day count as one.

    Parameters
    ----------
    hits, n : (days,)
        Hits and rows of each day; a day has one row or more.
    group : (days,)
        Which group a day belongs to, from 0.

    Returns
    -------
    effect, df : (groups,) each.
    """
    total, hit, days = totals(n, group), totals(hits, group), np.bincount(group)
    surplus = np.asarray(hits) - np.asarray(n) * (hit / total)[group]
    squares, binomial = totals(surplus**2, group), hit * (1 - hit / total)
    spread = np.maximum(totals(surplus**4, group) - squares**2 / days, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        effect, df = np.maximum(squares / binomial, 1.0), 2 * squares**2 / spread
    known = (binomial > 0) & (days > 1)
    return np.where(known, effect, total / days), np.where(known & (total > days), df, np.inf)


def totals(values: ArrayLike, group: np.ndarray) -> np.ndarray:
    """Return the sum of the values of each group: (groups,) from (days,) and (days,)."""
    values = np.asarray(values)
    if values.dtype == bool:
        return np.bincount(group[values], minlength=group.max(initial=-1) + 1).astype(float)
    return np.bincount(group, weights=values.astype(float, copy=False))


def known(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose log return is known."""
    there = frame["log_return"].notna()
    return frame if there.all() else frame[there]


def step_of(frame: pd.DataFrame) -> int:
    """Return how many sessions ahead all rows of a frame are; 1 if it has no rows or no such column.

    The frame holds forecasts or losses.

    Raises
    ------
    ForecastError
        Its rows are of several steps, whose losses are not of one size.
    """
    steps = frame["step"].unique().tolist() if "step" in frame else []
    if len(steps) > 1:
        raise ForecastError(
            f"expected forecasts of one step, came those of {', '.join(map(str, sorted(steps)))} "
            "sessions ahead; evaluate each step by itself"
        )
    return int(steps[0]) if len(steps) else 1


def overlap(frame: pd.DataFrame) -> int:
    """Return how many successive forecasts share a session: of one step, 1 if none do.

    That is the step of forecasts made every session, more where calendars differ, and less where they
    are made every week or month. Closures that lengthen fewer than one span in twenty do not count.

    Parameters
    ----------
    frame : forecasts or losses, all of one step.
    """
    if step_of(frame) == 1:
        return 1
    spans = frame[["cutoff", "date"]].drop_duplicates()
    cutoffs = np.unique(spans["cutoff"])
    first, after = (np.searchsorted(cutoffs, spans[name].to_numpy()) for name in spans)
    return int(np.quantile(after - first, 0.95, method="higher"))


def apart(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of cutoffs so far apart that no two forecasts of a series overlap.

    From the first cutoff on, the next is always the first that does not come before the last date
    forecast from it: every h-th for forecasts h sessions ahead, and fewer where calendars differ. All
    tickers and models share them. Forecasts of the next session do not overlap: all are returned.
    """
    if step_of(frame) == 1:
        return frame
    last = frame.groupby("cutoff")["date"].max()  # in order of the cutoffs
    cutoffs, dates = last.index.to_numpy(), last.to_numpy()
    chosen, at = [], 0
    while at < len(cutoffs):
        chosen.append(cutoffs[at])
        at = int(np.searchsorted(cutoffs, dates[at]))
    return frame[frame["cutoff"].isin(chosen)]


def common(frame: pd.DataFrame, models: int | None = None) -> pd.DataFrame:
    """Return the rows of a (ticker, cutoff, date) that every model has.

    The frame holds forecasts or losses. A table that shows all models side by side is of these rows;
    a test of two models is of the rows that both have.

    Parameters
    ----------
    models : how many models there are; by default those of the frame, which may be a part of more.
    """
    cell = frame.groupby(_KEYS, sort=False).ngroup().to_numpy()
    code, names = pd.factorize(frame["model"])
    width = max(len(names), 1)
    each = np.unique(cell * width + code) // width
    shared = np.bincount(each, minlength=1)[cell] == (len(names) if models is None else models)
    return frame if shared.all() else frame[shared]


def comparable(frame: pd.DataFrame, models: int | None = None) -> pd.DataFrame:
    """Return the rows that are both `known` and `common`, copied at most once; `models` as there."""
    keys = frame[[*_KEYS, "model", "log_return"]].reset_index(drop=True)
    rows = common(known(keys), models).index
    return frame if len(rows) == len(frame) else frame.iloc[rows]


def losses(frame: pd.DataFrame, variance: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return a row of losses for each forecast whose log return is known.

    Parameters
    ----------
    frame : forecasts.
    variance : ticker, date and a proxy of the realised variance of every session, such as
        :func:`forecaster.dataset.features.realised_variance`. It adds the column qlike_range, by the
        sum over the sessions from a cutoff to its date. QLIKE and the squared error rank forecasts as
        the true variance would, whichever unbiased proxy is used; absolute errors of volatility do
        not (Patton 2011).

    Returns
    -------
    ==============================  ============================================================
    ticker, model, cutoff, date,    of the forecast
    step, last_close
    crps                            in log return, of the 23 quantiles
                                    (:func:`forecaster.distributions.quantile_grid.crps`)
    log_score                       log density; NaN where the forecast is not a Student-t
    crps_lower, crps_upper          the same with the weights (1 - u)² and u² of a level u: of the tails
                                    (Gneiting and Ranjan 2011, section 2)
    fz_95, fz_99                    :func:`fz0` of the value at risk and expected shortfall
    qlike, qlike_range              of the squared return, and of `variance` where it is known
    error, naive_error              absolute error of the median price and of "tomorrow is today",
                                    in the instrument's currency
    hit                             1 or 0 for the right or wrong sign of the median, NaN where it
                                    or the return is zero
    inside_80, _90, _95             whether the return lies inside the central interval
    ==============================  ============================================================
    """
    frame = known(frame)
    starts = range(0, max(len(frame), 1), ROWS_AT_ONCE)
    table = pd.concat([_losses(frame.iloc[at : at + ROWS_AT_ONCE]) for at in starts])
    if variance is not None:
        proxy = _realised(frame, variance)
        table["qlike_range"] = qlike(np.sqrt(proxy), frame["volatility"].to_numpy())
    return table


def crps_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ticker, model, cutoff, date, step and the crps of `losses`, of rows whose return is known."""
    x, quantiles = frame["log_return"].to_numpy(), frame[forecasts.QUANTILES].to_numpy()
    rows = frame[["ticker", "model", "cutoff", "date", "step"]]
    return rows.assign(crps=quantile_grid.crps(x, quantiles))


def _realised(frame: pd.DataFrame, variance: pd.DataFrame) -> np.ndarray:
    """The variance from each cutoff to its date, (rows,); NaN where that of a session is missing."""
    values = np.full(len(frame), np.nan)
    rows = variance.sort_values(["ticker", "date"], kind="stable")
    series = rows.groupby("ticker", sort=False)
    total = pd.Series(0.0, rows.index)
    for back in range(int(frame["step"].max()) if len(frame) else 0):
        total += series["variance"].shift(back)
        its = frame["step"].to_numpy() == back + 1
        if its.any():
            sums = rows[["ticker", "date"]].assign(total=total, since=series["date"].shift(back))
            both = frame.loc[its, ["ticker", "cutoff", "date"]].merge(
                sums, "left", ["ticker", "date"]
            )
            values[its] = both["total"].where(both["since"] > both["cutoff"])
    return values


def _losses(frame: pd.DataFrame) -> pd.DataFrame:
    """The losses of some rows."""
    x, last_close, median, volatility, *parameters = (
        frame[column].to_numpy()
        for column in ["log_return", "last_close", "q0.5", "volatility", *forecasts.PARAMETERS]
    )
    quantiles = frame[forecasts.QUANTILES].to_numpy()  # (rows, 23)
    whole, lower, upper = quantile_grid.weighted_crps(
        x, quantiles, np.ones_like, lambda level: np.square(1 - level), np.square
    )
    side = np.sign(x) * np.sign(median)
    inner = {
        f"inside_{percent}": inside(*forecasts.interval(frame, percent / 100), x)
        for percent in COVERAGES
    }
    return frame[["ticker", "model", "cutoff", "date", "step", "last_close"]].assign(
        crps=whole,
        crps_lower=lower,
        crps_upper=upper,
        **{
            f"fz_{100 - percent}": fz0(
                x,
                frame[f"q{percent / 100:g}"].to_numpy(),
                forecasts.tail_mean(frame, percent / 100),
                percent / 100,
            )
            for percent in (5, 1)
        },
        log_score=skewed_t.log_density(x, *parameters),
        qlike=qlike(x, volatility),
        error=last_close * np.abs(np.exp(median) - np.exp(x)),
        naive_error=last_close * np.abs(np.expm1(x)),
        hit=np.where(side == 0, np.nan, (side + 1) / 2),
        **inner,
    )


def scores(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of each (ticker, model), then of each model over all tickers (`POOLED`).

    Only forecasts whose return is known and that all models have are scored (see `common`), each
    with the same weight.

    ==============================  ============================================================
    sessions                        distinct dates scored
    crps                            mean CRPS in percent of log return
    log_score, qlike                means, of log returns as fractions
    mae                             mean error of the median price, in the instrument's currency;
                                    NaN where tickers are pooled, as currencies differ
    mae_percent                     the same in percent of the last close
    rel_mae                         sum of those errors over that of "tomorrow is today", both
                                    relative to the last close
    coverage_80, _90, _95           share of returns inside the central interval
    hit_rate                        share of right signs of the median, where both are not zero
    hit_low, hit_high               its 95% Wilson interval; n is divided by the design effect
                                    of the dependence between tickers on one date
    ==============================  ============================================================
    """
    return summary(common(losses(frame)))


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the table of `scores` from the `losses` of rows that all models have."""
    added = Scores()
    added.add(rows)
    return added.table()


class Scores:
    """The table of `scores`, from the losses of some tickers after the other."""

    def __init__(self) -> None:
        self._tables: list[pd.DataFrame] = []
        self._pooled: _Sums | None = None

    def add(self, rows: pd.DataFrame) -> None:
        """Add the `losses` of some tickers, of rows that all models have."""
        if rows.empty:
            return
        rows = _in_percent(rows)
        self._tables.append(_Sums.of(rows, ["ticker", "model"]).table)
        own = _Sums.of(rows.assign(ticker=POOLED), ["ticker", "model"])
        self._pooled = own if self._pooled is None else self._pooled.plus(own)

    def table(self) -> pd.DataFrame:
        """Return the scores of each ticker and model, and then of each model over all tickers."""
        if self._pooled is None:
            return pd.DataFrame(columns=["ticker", "model", *SCORES])
        pooled = self._pooled.table
        if sum(it["ticker"].nunique() for it in self._tables) > 1:
            pooled["mae"] = np.nan
        return pd.concat([by_model(self._tables), pooled], ignore_index=True)


def pooled(table: pd.DataFrame) -> pd.DataFrame:
    """Return each model's pooled `SCORES`, from the table of `scores`, and its CRPS ratios.

    The rows are indexed by model, in the table's order. The columns crps/naive and crps/gjr come
    last, where that baseline was scored; below 1 the model is better. They are ratios of means that
    weigh every forecast alike; those of `significance.compare` weigh every day alike.
    """
    rows = table[table["ticker"] == POOLED].set_index("model")[SCORES]
    crps = rows["crps"]
    return rows.assign(
        **{f"crps/{name}": crps / crps[name] for name in BASELINES if name in crps.index}
    )


def _in_percent(rows: pd.DataFrame) -> pd.DataFrame:
    """Losses under the names of `SCORES`."""
    return rows.assign(
        crps=100 * rows["crps"],
        mae=rows["error"],
        mae_percent=100 * rows["error"] / rows["last_close"],
        naive_percent=100 * rows["naive_error"] / rows["last_close"],
        **{f"coverage_{percent}": rows[f"inside_{percent}"] for percent in COVERAGES},
        hit_rate=rows["hit"],
    )


@dataclass(frozen=True)
class _Sums:
    """Sums of losses by ticker and model."""

    sums: pd.DataFrame
    counts: pd.DataFrame
    hits: pd.DataFrame
    """Rows and hits of each day, and of both together"""

    @classmethod
    def of(cls, rows: pd.DataFrame, group: list[str]) -> "_Sums":
        groups = rows.groupby(group, sort=False)
        names = [name for name in [*SCORES, "naive_percent"] if name in rows]
        days = rows.groupby([*group, "date"], sort=False)["hit"].agg(["size", "sum", "count"])
        return cls(groups[names].sum(), groups[names].count(), days)

    def plus(self, other: "_Sums") -> "_Sums":
        """Return both together."""
        return _Sums(
            added(self.sums, other.sums),
            added(self.counts, other.counts),
            added(self.hits, other.hits),
        )

    @property
    def table(self) -> pd.DataFrame:
        """The scores."""
        table = self.sums / self.counts
        low, high = wilson(table["hit_rate"].to_numpy(), self._effective_hits())
        sessions = self.hits.groupby(level=["ticker", "model"], sort=False).size()
        return table.assign(
            sessions=sessions.reindex(table.index),
            rel_mae=table["mae_percent"] / table["naive_percent"],
            hit_low=low,
            hit_high=high,
        )[SCORES].reset_index()

    def _effective_hits(self) -> np.ndarray:
        """Independent hits that would tell as much as those of each group, dates as clusters."""
        days = self.hits[self.hits["count"] > 0]
        groups = days.groupby(level=["ticker", "model"], sort=False)
        which = groups.ngroup().to_numpy()
        effect, _ = design_effect(days["sum"], days["count"], which)
        effective = totals(days["count"], which) / effect
        first = days.reset_index("date").index.drop_duplicates()
        return pd.Series(effective, first).reindex(self.sums.index).to_numpy()


def by_model(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return tables of different tickers as one, a model after the other."""
    whole = pd.concat(tables, ignore_index=True)
    order = np.argsort(pd.factorize(whole["model"])[0], kind="stable")
    return whole.iloc[order].reset_index(drop=True)


def added(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Return the sums of two frames by their labels, those of the one first."""
    total = one.add(other, fill_value=0)
    return total.reindex(one.index.append(other.index.difference(one.index, sort=False)))
