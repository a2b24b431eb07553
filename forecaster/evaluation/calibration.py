"""Do outcomes fall where the forecasts said? PIT, reliability and coverage.

`uniformity` and `coverage` are tables with the columns ticker, model, split and part of
:mod:`.clusters`, then their own. Compare models on shared rows only: pass the frame through
`metrics.comparable` first.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import special

from forecaster.distributions import forecasts, quantile_grid
from forecaster.evaluation import clusters, metrics

COVERAGES = (0.5, 0.8, 0.9, 0.95, 0.98)
BINS = 20

_LEVELS = np.array(quantile_grid.LEVELS)


def pit(frame: pd.DataFrame) -> np.ndarray:
    """Return the probability integral transform of each outcome, (rows,); NaN where it is unknown.

    The probability that the forecast gave to returns up to the one that happened (Diebold, Gunther
    and Tay 1998, International Economic Review 39(4)).
    """
    return forecasts.cdf(frame, frame["log_return"])


def uniformity(frame: pd.DataFrame, *, splits: Sequence[str] = clusters.SPLITS) -> pd.DataFrame:
    """Test whether the PIT is uniform, by chi-square in 20 bins.

    Parameters
    ----------
    frame : the forecasts frame; rows whose return is not known are left out.
    splits : some of :data:`forecaster.evaluation.clusters.SPLITS`.

    Returns
    -------
    A row for each model and part:

    ===================  =====================================================================
    forecasts, sessions  rows and different dates
    mean, variance       of the PIT: 1/2 and 1/12 when right; a lower variance means too wide
    statistic, df        of the chi-square; 19 degrees of freedom for a ticker
    p_value              small where the PIT is not uniform
    ===================  =====================================================================

    Raises
    ------
    HistoryError
        No outcome is known.

    Notes
    -----
    Over all tickers with the second-order correction of Rao and Scott (1981, Journal of the
    American Statistical Association 76(374)) for days as clusters: statistic and df are those of
    Satterthwaite's approximation, from the covariance of the counts of a day. NaN for one day.
    """
    tests = uniformity_tests(splits)
    tests.add(clusters.known(frame))
    return tests.table()


def uniformity_tests(splits: Sequence[str] = clusters.SPLITS) -> clusters.Tests:
    """Return the tests of `uniformity`, to be made of some tickers after the other."""
    return clusters.Tests(_pit_rows, _uniformity, splits)


def coverage(frame: pd.DataFrame, *, splits: Sequence[str] = clusters.SPLITS) -> pd.DataFrame:
    """Return the share of outcomes inside the central intervals.

    Parameters
    ----------
    frame : the forecasts frame; rows whose return is not known are left out.
    splits : which to make, of `clusters.SPLITS`.

    Returns
    -------
    A row for each model, part and nominal coverage:

    ===================  =====================================================================
    nominal              one of `COVERAGES`
    forecasts, sessions  rows and different dates
    effective            rows over the design effect; all of them for a ticker
    share                of outcomes inside, ends included
    low, high            its 95% interval (Wilson 1927) at the effective size
    p_value              of the score test of share = nominal at the effective size, two-sided
    ===================  =====================================================================

    Raises
    ------
    HistoryError
        No outcome is known.
    """
    tests = coverage_tests(splits)
    tests.add(clusters.known(frame))
    return tests.table()


def coverage_tests(splits: Sequence[str] = clusters.SPLITS) -> clusters.Tests:
    """Return the tests of `coverage`, to be made of some tickers after the other."""
    return clusters.Tests(_inside_rows, _coverages, splits)


def coverage_by_thirds(frame: pd.DataFrame, nominal: float) -> pd.DataFrame:
    """Return the rows of `coverage` by volatility, over all tickers, of what all models forecast."""
    tests = thirds_tests()
    tests.add(clusters.known(metrics.comparable(frame)))
    return pooled_at(tests.table(), nominal)


def thirds_tests() -> clusters.Tests:
    """Return the tests of `coverage_by_thirds`, to be made of some tickers after the other."""
    return coverage_tests(["volatility"])


def pooled_at(table: pd.DataFrame, nominal: float) -> pd.DataFrame:
    """Return the rows of `coverage` over all tickers at one nominal coverage."""
    return table[(table["ticker"] == metrics.POOLED) & (table["nominal"] == nominal)]


def histogram(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the share of the PITs in each of 20 equal bins.

    Parameters
    ----------
    frame : the forecasts frame, of rows whose return is known.

    Returns
    -------
    A row for each model and bin: model, start and stop of the bin, forecasts (rows of the model),
    share, and low and high: the central 95% of the share if the forecasts are right and all rows
    are independent draws, which those of tickers on one day are not.
    """
    shares = Shares()
    shares.add(frame)
    return shares.histogram()


def reliability(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the share of the outcomes at or below each quantile.

    Parameters
    ----------
    frame : the forecasts frame, of rows whose return is known.

    Returns
    -------
    A row for each model and level: model, level, forecasts, share, and low and high as in
    `histogram`.
    """
    shares = Shares()
    shares.add(frame)
    return shares.reliability()


class Shares:
    """The tables of `histogram` and `reliability`, from the forecasts of some tickers after the other."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[int, np.ndarray, np.ndarray]] = {}

    def add(self, frame: pd.DataFrame) -> None:
        """Add the forecasts of some tickers, all of whose outcomes are known."""
        for model, rows in frame.groupby("model", sort=False):
            n, bins, below = self._counts.get(
                str(model), (0, np.zeros(BINS), np.zeros(len(_LEVELS)))
            )
            inside = np.bincount(_bins(pit(rows)), minlength=BINS)
            under = rows[["log_return"]].to_numpy() <= rows[forecasts.QUANTILES].to_numpy()
            self._counts[str(model)] = n + len(rows), bins + inside, below + under.sum(axis=0)

    def forecasts(self, model: str) -> int:
        """Return how many forecasts of a model were added."""
        return self._counts[model][0]

    def histogram(self) -> pd.DataFrame:
        """Return the table of `histogram`."""
        ends = pd.DataFrame(list(pairwise(np.linspace(0, 1, BINS + 1))), columns=["start", "stop"])
        tables = []
        for model, (n, bins, _) in self._counts.items():
            low, high = _binomial(n, np.full(BINS, 1 / BINS))
            tables.append(ends.assign(forecasts=n, share=bins / n, low=low, high=high, model=model))
        return pd.concat(tables, ignore_index=True)

    def reliability(self) -> pd.DataFrame:
        """Return the table of `reliability`."""
        tables = []
        for model, (n, _, below) in self._counts.items():
            low, high = _binomial(n, _LEVELS)
            values = {"forecasts": n, "share": below / n, "low": low, "high": high}
            tables.append(pd.DataFrame({"model": model, "level": _LEVELS, **values}))
        return pd.concat(tables, ignore_index=True)


def surprises(frame: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return the outcomes that forecasts least expected, the least expected first.

    Parameters
    ----------
    frame : the forecasts frame of one model, of rows whose return is known.
    most : rows to return.

    Returns
    -------
    ticker, date, log_return, volatility, pit, days (a return so far out on either side was forecast
    once in so many days) and expected (the number of returns so far out to expect of the frame).
    """
    values = pit(frame)
    tail = np.clip(np.minimum(values, 1 - values), 1e-15, None)
    rows = frame[["ticker", "date", "log_return", "volatility"]]
    rows = rows.assign(pit=values, days=1 / (2 * tail), expected=len(frame) * 2 * tail)
    return rows.nlargest(most, "days")


def _bins(values: np.ndarray) -> np.ndarray:
    """Which of `BINS` each PIT lies in."""
    return np.asarray(np.minimum((BINS * values).astype(int), BINS - 1))


_BIN_NAMES = [f"bin{i}" for i in range(BINS)]


def _pit_rows(labels: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """The labels of a forecasts frame with what `_uniformity` adds up."""
    values = pit(frame)
    bins = pd.Categorical.from_codes(_bins(values), pd.Index(_BIN_NAMES))
    return labels.assign(mean=values, square=values**2, bin=bins)


def _uniformity(part: clusters.Slice) -> list[pd.DataFrame]:
    """The rows of `uniformity` of a slice."""
    n, mean, square = map(part.total, ("n", "mean", "square"))
    counts = part.counts("bin", _BIN_NAMES)  # (groups, bins)
    expected = n / BINS
    statistic = np.square(counts - expected[:, None]).sum(axis=1) / expected
    df = np.full(len(n), BINS - 1.0)
    if part.is_pooled:
        surplus = np.column_stack([part.surplus(name) for name in _BIN_NAMES])  # (days, bins)
        first, second = _spread(surplus, expected, part.group)
        with np.errstate(divide="ignore", invalid="ignore"):  # NaN with a single day
            statistic, df = statistic * first / second, first**2 / second
    tests = {"statistic": statistic, "df": df, "p_value": special.chdtrc(df, statistic)}
    sizes = {"forecasts": n.astype(int), "sessions": part.sessions}
    moments = {"mean": mean / n, "variance": square / n - (mean / n) ** 2}
    return [part.labels.assign(**sizes, **moments, **tests)]


def _inside_rows(labels: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """The labels of a forecasts frame with what `_coverage` adds up."""
    x = frame["log_return"].to_numpy()
    held = {f"{it}": metrics.inside(*forecasts.interval(frame, it), x) for it in COVERAGES}
    return labels.assign(**held)


def _coverages(part: clusters.Slice) -> list[pd.DataFrame]:
    """The rows of `coverage` of a slice at each nominal coverage."""
    return [_coverage(part, nominal) for nominal in COVERAGES]


def _coverage(part: clusters.Slice, nominal: float) -> pd.DataFrame:
    """The rows of `coverage` of a slice at one nominal coverage."""
    n = part.total("n")
    share = part.total(f"{nominal}") / n
    effect, df = part.design_effect(f"{nominal}")
    effective = n / effect
    # Wilson's interval knows the square of a normal quantile over the size, so a smaller size
    # stands for a wider quantile: that of Student's t.
    wider = np.square(special.stdtrit(df, 0.975) / special.ndtri(0.975))
    low, high = metrics.wilson(share, effective / wider)
    z = (share - nominal) / np.sqrt(nominal * (1 - nominal) / effective)
    return part.labels.assign(
        nominal=nominal,
        forecasts=n.astype(int),
        sessions=part.sessions,
        effective=effective,
        share=share,
        low=low,
        high=high,
        p_value=2 * special.stdtr(df, -np.abs(z)),
    )


def _binomial(n: int, chances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The central 95% of shares of n independent draws, for chances of any shape."""
    # The binomial quantile; bdtrik has none, and 0 is meant, where no draw at all is likely enough.
    low, high = (np.ceil(np.nan_to_num(special.bdtrik(p, n, chances))) for p in (0.025, 0.975))
    return low / n, high / n


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
