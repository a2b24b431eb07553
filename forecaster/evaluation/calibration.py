"""Do outcomes fall where the forecasts said? PIT, coverage, value at risk and expected shortfall.

Each table has the columns ticker, model, split and part, then its own. A split cuts the known
outcomes into parts:

==========  ===========================================================================
all         one part
volatility  low, middle, high: a third each of a ticker's sessions in the frame, by a volatility
            known at the cutoff, one for all models: the forecast of the first of `REFERENCES`
            that the frame has, or each model's own where it has none of them
year        of the date; over all tickers only
==========  ===========================================================================

Rows of `metrics.POOLED` are over all tickers. Tickers move together, so there a day is one cluster:
tests are corrected by its design effect (Kish 1965, Survey sampling), the variance of a share with
days as clusters over that of independent rows, at least 1. Days are taken as independent. The rarer
the event and the fewer the days, the worse the effect is known, so tests of a share are read from an
F distribution in place of a chi-square (Thomas and Rao 1987, Journal of the American Statistical
Association 82(398)), whose second degrees of freedom are those of Satterthwaite (1946, Biometrics
Bulletin 2(6)) for a variance found from the days: with s the surplus of a day's hits::

    df = 2 (sum s²)² / (sum s⁴ - (sum s²)² / days)

In simulations of 30 tickers and breaches of 1%, a test at 5% rejects a right forecast 5 or 6 times in
a hundred on 250 days (by chi-square 8 or 9), and 9 times on 60 days (by chi-square 13).

Every table raises HistoryError if no outcome is known.

Compare models on shared rows only: pass the frame through `metrics.common` first.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special

from forecaster.distributions import forecasts
from forecaster.errors import HistoryError
from forecaster.evaluation import metrics

REFERENCES = ("ewma", "gjr", "garch", "naive")
SPLITS = ("all", "volatility", "year")
COVERAGES = (0.5, 0.8, 0.9, 0.95, 0.98)
RISK_LEVELS = (0.95, 0.99)
BINS = 20

_GROUP = ["ticker", "model", "part"]
_PARTS = pd.Index(["low", "middle", "high"])


def pit(frame: pd.DataFrame) -> np.ndarray:
    """Return the probability integral transform of each outcome, (rows,); NaN where it is unknown.

    The probability that the forecast gave to returns up to the one that happened (Diebold, Gunther
    and Tay 1998, International Economic Review 39(4)).
    """
    return forecasts.cdf(frame, frame["log_return"])


def uniformity(frame: pd.DataFrame) -> pd.DataFrame:
    """Chi-square test that the PIT is uniform, in 20 bins, of each model and part.

    ===================  =====================================================================
    forecasts, sessions  rows and different dates
    mean, variance       of the PIT: 1/2 and 1/12 when right; a lower variance means too wide
    statistic, df        of the chi-square; 19 degrees of freedom for a ticker
    p_value              small where the PIT is not uniform
    ===================  =====================================================================

    Over all tickers with the second-order correction of Rao and Scott (1981, Journal of the
    American Statistical Association 76(374)) for days as clusters: statistic and df are those of
    Satterthwaite's approximation, from the covariance of the counts of a day. NaN for one day.
    """
    frame = _known(frame)
    values = pit(frame)
    rows = _rows(frame).assign(mean=values, square=values**2)
    which = np.minimum((BINS * values).astype(int), BINS - 1)
    names = [f"bin{i}" for i in range(BINS)]
    rows[names] = which[:, None] == np.arange(BINS)
    tables = []
    for labels, group, days in _slices(rows):
        n, mean, square = (_total(days[name], group) for name in ["n", "mean", "square"])
        counts = np.column_stack([_total(days[name], group) for name in names])  # (groups, bins)
        expected = n / BINS
        statistic = np.square(counts - expected[:, None]).sum(axis=1) / expected
        df = np.full(len(n), BINS - 1.0)
        if labels["ticker"].eq(metrics.POOLED).all():
            shares = counts / n[:, None]
            surplus = days[names].to_numpy() - days[["n"]].to_numpy() * shares[group]
            first, second = _spread(surplus, expected, group)
            with np.errstate(divide="ignore", invalid="ignore"):  # NaN with a single day
                statistic, df = statistic * first / second, first**2 / second
        tables.append(
            labels.assign(
                forecasts=n.astype(int),
                sessions=_sessions(days, group),
                mean=mean / n,
                variance=square / n - (mean / n) ** 2,
                statistic=statistic,
                df=df,
                p_value=special.chdtrc(df, statistic),
            )
        )
    return _joined(tables)


def coverage(frame: pd.DataFrame, *, splits: Sequence[str] = SPLITS) -> pd.DataFrame:
    """Share of outcomes inside the central intervals, of each model, part and nominal coverage.

    `splits` leaves out those that are not asked for.

    ===================  =====================================================================
    nominal              one of `COVERAGES`
    forecasts, sessions  rows and different dates
    effective            rows over the design effect; all of them for a ticker
    share                of outcomes inside, ends included
    low, high            its 95% interval (Wilson 1927) at the effective size
    p_value              of the score test of share = nominal at the effective size, two-sided
    ===================  =====================================================================
    """
    frame = _known(frame)
    rows, x = _rows(frame), frame["log_return"].to_numpy()
    for nominal in COVERAGES:
        rows[f"{nominal}"] = metrics.inside(*forecasts.interval(frame, nominal), x)
    tables = []
    for labels, group, days in _slices(rows, splits):
        n = _total(days["n"], group)
        for nominal in COVERAGES:
            share = _total(days[f"{nominal}"], group) / n
            effect, df = _design_effect(days[f"{nominal}"], days["n"], group)
            effective = n / effect
            # Wilson's interval knows the square of a normal quantile over the size, so a smaller
            # size stands for a wider quantile: that of Student's t.
            wider = np.square(special.stdtrit(df, 0.975) / special.ndtri(0.975))
            low, high = metrics.wilson(share, effective / wider)
            z = (share - nominal) / np.sqrt(nominal * (1 - nominal) / effective)
            tables.append(
                labels.assign(
                    nominal=nominal,
                    forecasts=n.astype(int),
                    sessions=_sessions(days, group),
                    effective=effective,
                    share=share,
                    low=low,
                    high=high,
                    p_value=2 * special.stdtr(df, -np.abs(z)),
                )
            )
    return _joined(tables)


def kupiec(breaches: ArrayLike, n: ArrayLike, level: float) -> np.ndarray:
    """Likelihood ratio of so many breaches of a value at risk in `n` trials; chi-square, 1 df.

    `level` is the probability of a breach. Source: Kupiec (1995), Techniques for verifying the
    accuracy of risk measurement models, Journal of Derivatives 3(2).
    """
    breaches, n = np.asarray(breaches, dtype=float), np.asarray(n, dtype=float)
    found = _likelihood(breaches, n - breaches)
    named = breaches * np.log(level) + (n - breaches) * np.log1p(-level)
    return np.maximum(2 * (found - named), 0.0)


def christoffersen(n00: ArrayLike, n01: ArrayLike, n10: ArrayLike, n11: ArrayLike) -> np.ndarray:
    """Likelihood ratio of independence of breaches from one session to the next; chi-square, 1 df.

    `n01` counts sessions with a breach after one without, and so on. 0 without breaches.
    Source: Christoffersen (1998), Evaluating interval forecasts, International Economic
    Review 39(4).
    """
    n00, n01, n10, n11 = (np.asarray(n, dtype=float) for n in (n00, n01, n10, n11))
    separate = _likelihood(n01, n00) + _likelihood(n11, n10)
    return np.maximum(2 * (separate - _likelihood(n01 + n11, n00 + n10)), 0.0)


def value_at_risk(frame: pd.DataFrame) -> pd.DataFrame:
    """Breaches of the value at risk and the losses on their days, of each model, part and level.

    A breach is a log return below the quantile 1 - level. Losses are log returns times -1.

    ===================  =====================================================================
    level                one of `RISK_LEVELS`
    forecasts, sessions  rows and different dates
    breaches, expected   their number, and what it should be
    share                of breaches
    unconditional_p      of `kupiec`
    independence_p       of `christoffersen`: does one breach bring another? A pair of sessions
                         belongs to the part of the second
    conditional_p        of both ratios added, chi-square with 2 degrees of freedom
    shortfall, loss      means over breaches of the expected shortfall forecast and the loss
                         that came, as log returns; NaN without breaches
    shortfall_p          small where losses beyond the value at risk are larger than forecast
    ===================  =====================================================================

    Over all tickers each likelihood ratio is divided by a design effect with days as clusters
    (Rao and Scott 1981, first order): that of the share of breaches, and that of the difference
    between the shares after a breach and after none. Transitions are within tickers, then added.
    The first is read from F; the others, which reject a right forecast no more often than 8 times
    in a hundred as they are, from chi-square. Of one ticker the counts are few and whole: no breach
    of 1% in 250 sessions is rejected, though a right forecast has none 8 times in a hundred.

    The test of the shortfall is of McNeil and Frey (2000, Journal of Empirical Finance 7): the
    residuals (loss - shortfall) / volatility of breaches have mean zero, against above zero. They
    bootstrap; ours is a t test with days as clusters. Residuals are skewed, so with few breaches
    it is cautious: it rejects a right forecast less often than 5% at 5%. NaN with one breach day.
    """
    frame = _known(frame)
    before = _row_before(frame)
    known, loss = before >= 0, -frame["log_return"].to_numpy()
    labelled, tables = _rows(frame), []
    for level in RISK_LEVELS:
        breach = loss > -frame[f"q{1 - level:g}"].to_numpy()
        shortfall = -forecasts.tail_mean(frame, round(1 - level, 3))
        again = known & breach[before]
        rows = labelled.assign(
            breach=breach,
            n00=known & ~again & ~breach,
            n01=known & ~again & breach,
            n10=again & ~breach,
            n11=again & breach,
            shortfall=np.where(breach, shortfall, 0.0),
            loss=np.where(breach, loss, 0.0),
            residual=np.where(breach, (loss - shortfall) / frame["volatility"].to_numpy(), 0.0),
        )
        for labels, group, days in _slices(rows):
            n, breaches = _total(days["n"], group), _total(days["breach"], group)
            chance = 1 - level
            effect, df = _design_effect(days["breach"], days["n"], group)
            unconditional = kupiec(breaches, n, chance) / effect
            independence = christoffersen(
                *(_total(days[name], group) for name in ["n00", "n01", "n10", "n11"])
            )
            independence /= _transition_effect(days, group)
            with np.errstate(invalid="ignore"):
                means = {it: _total(days[it], group) / breaches for it in ("shortfall", "loss")}
            tables.append(
                labels.assign(
                    level=level,
                    forecasts=n.astype(int),
                    sessions=_sessions(days, group),
                    breaches=breaches.astype(int),
                    expected=chance * n,
                    share=breaches / n,
                    # The square of Student's t is an F.
                    unconditional_p=2 * special.stdtr(df, -np.sqrt(unconditional)),
                    independence_p=special.chdtrc(1, independence),
                    conditional_p=special.chdtrc(2, unconditional + independence),
                    **means,
                    shortfall_p=_above_zero(days["residual"], days["breach"], group),
                )
            )
    return _joined(tables)


def _known(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose outcome is known; the frame itself, not a copy, if that is all."""
    known = frame["log_return"].notna()
    if not known.any():
        raise HistoryError(
            "expected forecasts whose outcome is known, came none; test their calibration once "
            "a session forecast has closed"
        )
    return frame if known.all() else frame[known]


def _rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Label the rows: ticker, model and date, the parts they belong to, and n = 1."""
    models = frame["model"].unique()
    reference = next((name for name in REFERENCES if name in models), None)
    if reference is None:
        rank = frame.groupby(["ticker", "model"])["volatility"].rank(pct=True)
    else:
        keys = ["ticker", "cutoff", "date"]
        its = frame[frame["model"] == reference]
        its = its[keys].assign(rank=its.groupby("ticker")["volatility"].rank(pct=True))
        rank = frame[keys].merge(its, how="left", on=keys)["rank"]
    third = np.ceil(3 * rank.fillna(0).to_numpy() - 1e-9).astype(int) - 1  # -1 where unknown
    return pd.DataFrame(
        {
            # In the order in which they come, as in the table of `metrics.scores`.
            "ticker": _labels(frame["ticker"]),
            "model": _labels(frame["model"]),
            "date": frame["date"].to_numpy(),
            "volatility": pd.Categorical.from_codes(third, _PARTS),
            "year": _labels(frame["date"].dt.year, sort=True),
            "n": 1,
        }
    )


def _labels(values: pd.Series, *, sort: bool = False) -> pd.Categorical:
    """Values as categories of text, in the order in which they come; no text is made for each row."""
    codes, found = pd.factorize(values, sort=sort)
    return pd.Categorical.from_codes(codes, pd.Index(found).astype(str))


def _slices(
    rows: pd.DataFrame, splits: Sequence[str] = SPLITS
) -> Iterator[tuple[pd.DataFrame, np.ndarray, pd.DataFrame]]:
    """Yield some of `SPLITS`, of each ticker and over all: labels, group, days.

    labels : a row for each group, with ticker, model, split and part.
    days : sums of what `rows` has beside its labels, for each group and date.
    group : (days,) which row of labels each day belongs to.
    """
    values = rows.columns.difference(["ticker", "model", "date", "volatility", "year"], sort=False)
    everything, anyone = (
        pd.Categorical.from_codes(np.zeros(len(rows), dtype=int), pd.Index([name]))
        for name in ("all", metrics.POOLED)
    )
    for split in splits:
        part = everything if split == "all" else rows[split]
        for pooled in (False, True):
            if split == "year" and not pooled:
                continue
            days = rows.assign(part=part).dropna(subset="part")
            if pooled:
                days = days.assign(ticker=anyone[: len(days)])
                sums = days.groupby([*_GROUP, "date"], observed=True)
                # One by one, as what is added up takes eight times its memory meanwhile.
                days = pd.DataFrame({name: sums[name].sum() for name in values}).reset_index()
            groups = days.groupby(_GROUP, observed=True)
            labels = groups.size().index.to_frame(index=False).astype(str)
            labels.insert(2, "split", split)
            yield labels, groups.ngroup().to_numpy(), days


def _total(values: pd.Series | np.ndarray, group: np.ndarray) -> np.ndarray:
    """Sum of the values of each group: (groups,) from (days,) and (days,)."""
    return np.bincount(group, weights=np.asarray(values, dtype=float))


def _sessions(days: pd.DataFrame, group: np.ndarray) -> np.ndarray:
    return days["date"].groupby(group).nunique().to_numpy()


def _design_effect(
    hits: pd.Series, n: pd.Series, group: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Variance of each group's share of hits with days as clusters, over the binomial; at least 1.

    And the degrees of freedom with which it is known. 1 and infinitely many with a row a day. Where
    a variance cannot be had, all the rows of a day count as one.
    """
    total, hit = _total(n, group), _total(hits, group)
    surplus = hits.to_numpy() - n.to_numpy() * (hit / total)[group]
    squares, binomial = _total(surplus**2, group), hit * (1 - hit / total)
    days = np.bincount(group)
    spread = np.maximum(_total(surplus**4, group) - squares**2 / days, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        effect, df = np.maximum(squares / binomial, 1.0), 2 * squares**2 / spread
    known = (binomial > 0) & (days > 1)
    return np.where(known, effect, total / days), np.where(known & (total > days), df, np.inf)


def _spread(
    surplus: np.ndarray, expected: np.ndarray, group: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Traces of V and of V² for each group, V the covariance of its counts over those expected.

    `surplus` is (days, bins), how far the counts of a day are from the shares of its group.
    """
    spreads = [surplus[group == i] for i in range(len(expected))]
    covariances = [it.T @ it / size for it, size in zip(spreads, expected, strict=True)]
    first = np.array([np.trace(it) for it in covariances])
    second = np.array([np.square(it).sum() for it in covariances])
    return first, second


def _transition_effect(days: pd.DataFrame, group: np.ndarray) -> np.ndarray:
    """Design effect of the difference between the shares of breaches after a breach and after none.

    1 with a row a day, and where there is no difference.
    """
    surplus, binomial = np.zeros(len(days)), np.zeros(int(group.max()) + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        for sign, without, with_ in ((1, "n10", "n11"), (-1, "n00", "n01")):
            n, hits = days[without] + days[with_], days[with_]
            total, hit = _total(n, group), _total(hits, group)
            share = hit / total
            surplus += sign * (hits - n * share[group]).to_numpy() / total[group]
            binomial += share * (1 - share) / total
        effect = np.maximum(_total(surplus**2, group) / binomial, 1.0)
    return np.where(np.isfinite(effect), effect, 1.0)


def _above_zero(sums: pd.Series, n: pd.Series, group: np.ndarray) -> np.ndarray:
    """One-sided p-value of mean zero against above zero, by a t test with days as clusters."""
    total, days = _total(n, group), _total(n > 0, group)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = _total(sums, group) / total
        surplus = sums.to_numpy() - n.to_numpy() * np.nan_to_num(mean)[group]
        error = np.sqrt(_total(surplus**2, group) * days / (days - 1)) / total
        p_value = special.stdtr(days - 1, -mean / error)
    return np.where((days > 1) & (error > 0), p_value, np.nan)


def _row_before(frame: pd.DataFrame) -> np.ndarray:
    """Return the position of the forecast before each, of its ticker and model; -1 for the first."""
    series = frame.groupby(["ticker", "model"]).ngroup().to_numpy()
    order = np.lexsort((frame["date"].to_numpy(), series))
    before = np.full(len(frame), -1)
    same = series[order[1:]] == series[order[:-1]]
    before[order[1:]] = np.where(same, order[:-1], -1)
    return before


def _likelihood(hits: np.ndarray, misses: np.ndarray) -> np.ndarray:
    """Log likelihood of so many hits and misses at their own share; 0 for none of either."""
    n = np.maximum(hits + misses, 1e-300)
    return special.xlogy(hits, hits / n) + special.xlogy(misses, misses / n)


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True)
