"""Value at risk and expected shortfall: breaches, and the losses on their days.

The table has the columns ticker, model, split and part of :mod:`.clusters`, then its own. Compare
models on shared rows only: pass the frame through `metrics.comparable` first.
"""

from functools import lru_cache, partial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special

from forecaster.distributions import forecasts
from forecaster.evaluation import clusters

RISK_LEVELS = (0.95, 0.99)

DRAWS = 999
"""Simulated sequences of breaches behind a Monte Carlo p-value."""

_NUMBERS_AT_ONCE = 500_000
"""Of the sequences simulated, which for the pairs of a market have fifty million."""

_STEP = 1.05
"""Sequences are simulated at lengths that differ by this factor: a p-value hardly depends on it."""


def kupiec(breaches: ArrayLike, n: ArrayLike, level: float) -> np.ndarray:
    """Return the likelihood ratio of a number of breaches in `n` trials; chi-square, 1 df.

    Parameters
    ----------
    breaches, n : any shape.
    level : the probability of a breach.

    References
    ----------
    Kupiec (1995), Techniques for verifying the accuracy of risk measurement models, Journal of
    Derivatives 3(2).
    """
    breaches, n = np.asarray(breaches, dtype=float), np.asarray(n, dtype=float)
    own = _likelihood(breaches, n - breaches)
    named = breaches * np.log(level) + (n - breaches) * np.log1p(-level)
    return np.asarray(np.maximum(2 * (own - named), 0.0))


def christoffersen(n00: ArrayLike, n01: ArrayLike, n10: ArrayLike, n11: ArrayLike) -> np.ndarray:
    """Return the likelihood ratio of independence of breaches in successive sessions; 1 df.

    Parameters
    ----------
    n00, n01, n10, n11 : any shape
        Sessions counted by (breach in the session before, breach): `n01` is of those with a breach
        after one without. Without breaches the ratio is 0.

    References
    ----------
    Christoffersen (1998), Evaluating interval forecasts, International Economic Review 39(4).
    """
    n00, n01, n10, n11 = (np.asarray(n, dtype=float) for n in (n00, n01, n10, n11))
    separate = _likelihood(n01, n00) + _likelihood(n11, n10)
    return np.asarray(np.maximum(2 * (separate - _likelihood(n01 + n11, n00 + n10)), 0.0))


def monte_carlo(
    independence: ArrayLike, conditional: ArrayLike, n: ArrayLike, share: ArrayLike, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return p-values of the ratio of independence, and of that and Kupiec's together, by simulation.

    The ratios are discrete and, at a level of 1%, far from chi-square, by which a test of 5% rejects
    a right forecast of 1,000 sessions 1.9 times in a hundred; here it is 5.0.

    Parameters
    ----------
    independence, conditional : (series,), the ratios.
    n : (series,), the pairs of successive sessions; of dependent tickers, what they are worth.
    share : (series,), of breaches. Independence is of breaches as many as there are, right or not.
    level : the probability of a breach that is promised, of which the conditional ratio is.

    Notes
    -----
    p is the share of simulated ratios that are larger, among `DRAWS` sequences of independent
    breaches and the one tested; the seed is fixed. Equal ones count half, where Dufour breaks ties at
    random: the same forecasts have the same p-value, at the price of a size that is not exact.

    References
    ----------
    Dufour (2006), Monte Carlo tests with nuisance parameters, Journal of Econometrics 133(2).
    """
    lengths = np.ceil(_near(np.maximum(n, 1)))
    rates = np.where(np.asarray(share) > 0, np.minimum(_near(share), 0.99), level)
    return (
        _among_simulated(independence, lengths, rates, "independence"),
        _among_simulated(conditional, lengths, np.full(len(lengths), level), "conditional"),
    )


def _near(values: ArrayLike) -> np.ndarray:
    """Return the powers of `_STEP` that are nearest; 0 of 0."""
    values = np.asarray(values, dtype=float)
    exponents = np.round(np.log(np.maximum(values, 1e-300)) / np.log(_STEP))
    return np.where(values > 0, _STEP**exponents, 0.0)


def _among_simulated(
    ratios: ArrayLike, lengths: np.ndarray, rates: np.ndarray, kind: str
) -> np.ndarray:
    """Return the p-values of one kind of ratio, (series,)."""
    ratios = np.asarray(ratios, dtype=float)
    p_values = np.empty(len(ratios))
    for length, rate in {*zip(lengths.tolist(), rates.tolist(), strict=True)}:
        its, draws = (lengths == length) & (rates == rate), _simulated(int(length), rate)[kind]
        above = DRAWS - np.searchsorted(draws, ratios[its] + 1e-9, side="right")
        at_least = DRAWS - np.searchsorted(draws, ratios[its] - 1e-9, side="left")
        p_values[its] = ((above + at_least) / 2 + 0.5) / (DRAWS + 1)
    return p_values


@lru_cache(maxsize=1024)
def _simulated(n: int, level: float) -> dict[str, np.ndarray]:
    """Both ratios of `n` pairs of independent breaches, each sorted: (draws,)."""
    many = int(n * level + 6 * np.sqrt(n * level) + 10)  # more than a sequence ever has
    rng, at_once = np.random.default_rng(0), max(_NUMBERS_AT_ONCE // many, 1)
    counts = [
        _transitions(rng, (min(at_once, DRAWS - begin), many), n, level)
        for begin in range(0, DRAWS, at_once)
    ]
    n01, n10, n11 = np.concatenate(counts, axis=1)
    independence = christoffersen(n - n01 - n10 - n11, n01, n10, n11)
    conditional = independence + kupiec(n01 + n11, n, level)
    return {"independence": np.sort(independence), "conditional": np.sort(conditional)}


def _transitions(
    rng: np.random.Generator, shape: tuple[int, int], n: int, level: float
) -> np.ndarray:
    """The n01, n10 and n11 of some sequences of `n` pairs, from more gaps than each has breaches."""
    # Geometric, by inversion: NumPy draws them so too, but takes twice as long.
    gaps = np.ceil(rng.exponential(-1 / np.log1p(-level), shape))
    at = gaps.cumsum(axis=1)  # sessions with a breach, of n + 1
    here = at <= n + 1
    n11 = (here[:, 1:] & (gaps[:, 1:] == 1)).sum(axis=1)
    n01 = (here & (at > 1)).sum(axis=1) - n11
    n10 = (at <= n).sum(axis=1) - n11
    return np.stack([n01, n10, n11])


def breached(frame: pd.DataFrame, level: float) -> np.ndarray:
    """Return whether each log return fell below the value at risk at `level`, (rows,)."""
    return np.asarray(frame["log_return"] < frame[f"q{1 - level:g}"])


def value_at_risk(frame: pd.DataFrame) -> pd.DataFrame:
    """Test the breaches of the value at risk, and the losses on their days.

    A breach is a log return below the quantile 1 - level. Losses are log returns times -1.

    Parameters
    ----------
    frame : the forecasts frame; rows whose return is not known are left out.

    Returns
    -------
    A row for each model, part and level:

    ===================  =====================================================================
    level                one of `RISK_LEVELS`
    forecasts, sessions  rows and different dates
    breaches, expected   their number, and what it should be
    share                of breaches
    unconditional_p      of `kupiec`
    independence_p       of `christoffersen`: does one breach bring another? A pair of sessions
                         belongs to the part of the second
    conditional_p        of both ratios added
    shortfall, loss      means over breaches of the expected shortfall forecast and of the loss,
                         as log returns; NaN without breaches
    shortfall_p          small where losses beyond the value at risk are larger than forecast
    ===================  =====================================================================

    Raises
    ------
    HistoryError
        No outcome is known.

    Notes
    -----
    Over all tickers each likelihood ratio is divided by a design effect with days as clusters
    (Rao and Scott 1981, first order): that of the share of breaches, and that of the difference
    between the shares after a breach and after none. Transitions are within tickers, then added.
    The first is read from F; the others are by :func:`monte_carlo`, for as many sessions as the
    pairs are worth. Of one ticker the counts are few and whole: the first rejects no breach of 1% in 250
    sessions, though a right forecast has none 8 times in a hundred.

    The test of the shortfall is of McNeil and Frey (2000, Journal of Empirical Finance 7): the
    residuals (loss - shortfall) / volatility of breaches have mean zero, against above zero. They
    bootstrap; ours is a t test with days as clusters. Residuals are skewed, so with few breaches
    it is cautious: it rejects a right forecast less often than 5% at 5%. NaN with one breach day.
    """
    tables = []
    for tests in tests_of_levels():
        tests.add(clusters.known(frame))
        tables.append(tests.table())
    return pd.concat(tables, ignore_index=True)


def tests_of_levels() -> list[clusters.Tests]:
    """Return the tests of `value_at_risk` at each level, to be made of some tickers after the other."""
    return [
        clusters.Tests(partial(_rows, level=level), partial(_tests, level=level))
        for level in RISK_LEVELS
    ]


def _rows(labels: pd.DataFrame, frame: pd.DataFrame, level: float) -> pd.DataFrame:
    """The labels of a forecasts frame with what `_tests` adds up."""
    before = _row_before(frame)
    loss = -frame["log_return"].to_numpy()
    breach = breached(frame, level)
    forecast = -forecasts.tail_mean(frame, round(1 - level, 3))
    after, calm = (before >= 0) & breach[before], (before >= 0) & ~breach[before]
    return labels.assign(
        breach=breach,
        after=after,
        after_breach=after & breach,
        calm=calm,
        calm_breach=calm & breach,
        shortfall=np.where(breach, forecast, 0.0),
        loss=np.where(breach, loss, 0.0),
        residual=np.where(breach, (loss - forecast) / frame["volatility"].to_numpy(), 0.0),
    )


def _tests(part: clusters.Slice, level: float) -> list[pd.DataFrame]:
    """The rows of `value_at_risk` of a slice at one level."""
    n, breaches = part.total("n"), part.total("breach")
    share_effect, df = part.design_effect("breach")
    unconditional = kupiec(breaches, n, 1 - level) / share_effect
    calm, n01, after, n11 = map(part.total, ("calm", "calm_breach", "after", "after_breach"))
    independence = christoffersen(calm - n01, n01, after - n11, n11)
    effect = part.difference_effect(("after_breach", "after"), ("calm_breach", "calm"))
    independence /= effect
    independence_p, conditional_p = monte_carlo(
        independence, independence + unconditional, (calm + after) / effect, breaches / n, 1 - level
    )
    with np.errstate(invalid="ignore"):
        means = {name: part.total(name) / breaches for name in ("shortfall", "loss")}
    table = part.labels.assign(
        level=level,
        forecasts=n.astype(int),
        sessions=part.sessions,
        breaches=breaches.astype(int),
        expected=(1 - level) * n,
        share=breaches / n,
        unconditional_p=2 * special.stdtr(df, -np.sqrt(unconditional)),  # a t, squared, is an F
        independence_p=independence_p,
        conditional_p=conditional_p,
        **means,
        shortfall_p=part.above_zero("residual", "breach"),
    )
    return [table]


def _row_before(frame: pd.DataFrame) -> np.ndarray:
    """Return the position of the forecast before each, of its ticker and model; -1 for the first."""
    series = frame.groupby(["ticker", "model"]).ngroup().to_numpy()
    order = np.lexsort((frame["date"].to_numpy(), series))
    before = np.full(len(frame), -1)
    same = series[order[1:]] == series[order[:-1]]
    before[order[1:]] = np.where(same, order[:-1], -1)
    return before


def _likelihood(hits: np.ndarray, misses: np.ndarray) -> np.ndarray:
    """Log likelihood of hits and misses at their own share; 0 for none of either."""
    n = np.maximum(hits + misses, 1e-300)
    return np.asarray(special.xlogy(hits, hits / n) + special.xlogy(misses, misses / n))
