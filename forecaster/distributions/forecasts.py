"""The forecasts frame: one row for each (ticker, model, cutoff, step).

==============  ==============  ==================================================================
column          dtype           meaning
==============  ==============  ==================================================================
ticker, model   str
cutoff          datetime64[us]  the last session the forecast may use
date            datetime64[us]  the session that is forecast, after the cutoff
step            int64           sessions from cutoff to date, 1 is next-day
last_close      float64         close of the cutoff, in the instrument's currency
log_return      float64         the outcome, null while it is unknown
mean            float64         of the forecast log return
volatility      float64         its standard deviation
q0.01 … q0.99   float64         its quantiles, at the 23 `quantile_grid.LEVELS`
location,       float64         of the two-piece Student-t that it is; all null where it is known
scale, df, skew                 by its quantiles alone
==============  ==============  ==================================================================

Log returns are fractions, not percent. A quantile of the price is last_close * exp(q).
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from forecaster.display import printable
from forecaster.distributions import quantile_grid, skewed_t, student_t
from forecaster.distributions.distribution import Distribution
from forecaster.distributions.levels import LEVELS
from forecaster.distributions.levels import PARAMETERS as PARAMETERS
from forecaster.distributions.levels import QUANTILES as QUANTILES
from forecaster.distributions.levels import STUDENT_T as STUDENT_T
from forecaster.distributions.student_t import Array
from forecaster.errors import ForecastError, PricesError

KEYS = ["ticker", "model", "cutoff", "step"]

LEAST_VOLATILITY = 1e-6
"""Volatility of a forecast whose quantiles are all one price."""

_DTYPES = {
    "ticker": "str",
    "model": "str",
    "cutoff": "datetime64[us]",
    "date": "datetime64[us]",
    "step": "int64",
    **dict.fromkeys(["last_close", "log_return", "mean", "volatility"], "float64"),
    **dict.fromkeys([*QUANTILES, *PARAMETERS], "float64"),
}
_EXPECTED = {name: pd.api.types.pandas_dtype(dtype) for name, dtype in _DTYPES.items()}
FORECAST_COLUMNS = list(_DTYPES)

_BOUNDS = {round(1 - 2 * level, 3): (f"q{level:g}", f"q{1 - level:g}") for level in LEVELS[:11]}


def empty() -> pd.DataFrame:
    """Return the forecasts frame without rows."""
    return pd.DataFrame(columns=FORECAST_COLUMNS).astype(_DTYPES)


def concat(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return one frame of several, without those that have no rows."""
    return pd.concat([f for f in frames if len(f)] or [empty()], ignore_index=True)


def from_student_t(  # noqa: PLR0913, a column each
    *,
    ticker: ArrayLike,
    model: ArrayLike,
    cutoff: ArrayLike,
    date: ArrayLike,
    last_close: ArrayLike,
    log_return: ArrayLike,
    location: ArrayLike,
    scale: ArrayLike,
    df: ArrayLike,
    skew: ArrayLike = 0.0,
    step: ArrayLike = 1,
) -> pd.DataFrame:
    """Return forecasts of a step whose log return is a two-piece Student-t, symmetric by default.

    Parameters
    ----------
    cutoff : (rows,).
    ticker, model, date, last_close, log_return : (rows,), or one value for all.
    location, scale, df, skew : of :mod:`forecaster.distributions.skewed_t`, (rows,) or one value for
        all. `df` is above 2, because a forecast has a volatility.
    step : sessions from the cutoff to the date, (rows,) or one value for all.

    Raises
    ------
    ForecastError, PricesError
        As :func:`check` does.
    """
    n = len(np.asarray(cutoff))
    location, scale, df, skew = (
        np.broadcast_to(np.asarray(it, float), n) for it in (location, scale, df, skew)
    )
    mean, volatility = skewed_t.moments(location, scale, df, skew)
    return _of_step(
        step,
        {"ticker": ticker, "model": model, "cutoff": cutoff, "date": date},
        {
            "last_close": last_close,
            "log_return": log_return,
            "mean": mean,
            "volatility": volatility,
        },
        _quantiles(location, scale, df, skew),
        {"location": location, "scale": scale, "df": df, "skew": skew},
    )


def _quantiles(location: Array, scale: Array, df: Array, skew: Array) -> Array:
    """The quantiles at all levels: (rows, 23)."""
    if skew.any():
        return skewed_t.quantile(location, scale, df, skew, LEVELS)
    # The levels lie symmetrically about the median: half of the standard quantiles are enough.
    lower = student_t.quantile(0.0, 1.0, df, LEVELS[: len(LEVELS) // 2])  # (rows, 11)
    standard = np.column_stack([lower, np.zeros(len(df)), -lower[:, ::-1]])  # (rows, levels)
    values: Array = location[:, None] + scale[:, None] * standard
    return values


def from_quantiles(
    *,
    ticker: ArrayLike,
    model: ArrayLike,
    cutoff: ArrayLike,
    date: ArrayLike,
    last_close: ArrayLike,
    log_return: ArrayLike,
    quantiles: Array,
    step: ArrayLike = 1,
) -> pd.DataFrame:
    """Return forecasts of a step that are known by their quantiles alone.

    Quantiles that cross are sorted, which brings them nearer to the true ones (Chernozhukov,
    Fernández-Val and Galichon 2010, Quantile and probability curves without crossing, Econometrica
    78(3)). Mean and volatility are those of :func:`quantile_grid.moments`.

    Parameters
    ----------
    ticker, model, cutoff, date, last_close, log_return : (rows,), or one value for all.
    quantiles : (rows, 23), of the log return.
    step : sessions from the cutoff to the date, (rows,) or one value for all.

    Raises
    ------
    ForecastError, PricesError
        As :func:`check` does.
    """
    ordered = np.sort(quantiles, axis=1)
    mean, volatility = quantile_grid.moments(ordered)
    volatility = np.maximum(volatility, LEAST_VOLATILITY)
    return _of_step(
        step,
        {"ticker": ticker, "model": model, "cutoff": cutoff, "date": date},
        {
            "last_close": last_close,
            "log_return": log_return,
            "mean": mean,
            "volatility": volatility,
        },
        ordered,
        dict.fromkeys(PARAMETERS, np.nan),
    )


def check(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a copy with exactly `FORECAST_COLUMNS`, in order and with their dtypes.

    Raises
    ------
    PricesError
        A last close is not a positive number.
    ForecastError
        Another rule is broken; the message names the first offending row.
    """
    if "skew" not in frame and "df" in frame:  # a frame of a version without it
        frame = frame.assign(skew=np.where(frame["df"].isna(), np.nan, 0.0))
    missing = [column for column in FORECAST_COLUMNS if column not in frame.columns]
    if missing:
        raise ForecastError(
            f"expected the columns of a forecasts frame, came a frame without "
            f"{', '.join(missing)}; add what is missing"
        )
    frame = frame[FORECAST_COLUMNS]
    for name, dtype in zip(FORECAST_COLUMNS, frame.dtypes, strict=True):
        if dtype != _EXPECTED[name]:  # most are as they should be
            frame = frame.assign(**{name: _typed(frame[name], _DTYPES[name])})

    def refuse(bad: pd.Series, rule: str, error: type[ForecastError] = ForecastError) -> None:
        if bad.any():
            row = frame[bad].iloc[0]
            raise error(
                f"expected {rule}, came a forecast of {row['ticker']} by {row['model']} with "
                f"cutoff {row['cutoff']:%Y-%m-%d} that breaks this; correct or drop that row"
            )

    incomplete = frame[["ticker", "model", "cutoff", "date"]].isna().any(axis=1)
    if incomplete.any():
        raise ForecastError(
            f"expected a ticker, model, cutoff and date in each forecast, came none in row "
            f"{int(incomplete.to_numpy().argmax())}; fill it in or drop that row"
        )
    for name in ("ticker", "model"):
        hidden = [it for it in frame[name].unique() if printable(it) != it]
        refuse(frame[name].isin(hidden), f"a {name} of characters that print")
    refuse(frame.duplicated(KEYS), "one row for each ticker, model, cutoff and step")
    refuse(frame["cutoff"] >= frame["date"], "a date after the cutoff")
    refuse(frame["step"] < 1, "a step of 1 or more")
    close = frame["last_close"]
    refuse(~(np.isfinite(close) & (close > 0)), "a finite last_close above zero", PricesError)
    refuse(np.isinf(frame["log_return"]), "a finite or null log_return")
    refuse(~np.isfinite(frame["mean"]), "a finite mean")
    volatility = frame["volatility"]
    refuse(~(np.isfinite(volatility) & (volatility > 0)), "a finite volatility above zero")
    quantiles = frame[QUANTILES].to_numpy()
    finite = pd.Series(np.isfinite(quantiles).all(axis=1), frame.index)
    refuse(~finite, "finite quantiles")
    crossed = pd.Series((quantiles[:, 1:] < quantiles[:, :-1]).any(axis=1), frame.index)
    refuse(crossed, "quantiles that do not decrease with their level")
    parameters = frame[PARAMETERS]
    finite = pd.Series(np.isfinite(parameters.to_numpy()).all(axis=1), frame.index)
    complete = finite & (frame["scale"] > 0) & (frame["df"] > 2) & (frame["skew"].abs() < 1)
    refuse(
        ~(complete | parameters.isna().all(axis=1)),
        "a finite location, scale above 0, df above 2 and skew between -1 and 1, or null in all four",
    )
    return frame


def next_day(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of step 1; the frame itself if it has no others."""
    first = frame["step"] == 1
    return frame if first.all() else frame[first]


def ends(coverage: float) -> tuple[str, str]:
    """Return the columns of the low and high end of the central interval of a coverage.

    Raises ForecastError unless (1 - coverage) / 2 is among the levels, as for 0.5, 0.8, 0.9, 0.95
    and 0.98.
    """
    if round(coverage, 3) not in _BOUNDS:
        known = ", ".join(f"{known:g}" for known in sorted(_BOUNDS))
        raise ForecastError(f"expected a coverage among {known}, came {coverage:g}; choose one")
    return _BOUNDS[round(coverage, 3)]


def interval(frame: pd.DataFrame, coverage: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the low and the high end of a central interval, as log returns: (rows,) each."""
    low, high = ends(coverage)
    return frame[low].to_numpy(), frame[high].to_numpy()


def prices(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a copy in which the outcome and the quantiles are prices.

    `log_return` becomes `price`, and `median` is added. `mean`, `volatility`, `location`, `scale`,
    `df` and `skew` stay those of the log return.
    """
    view = frame.rename(columns={"log_return": "price"})
    logs = ["price", *QUANTILES]
    view[logs] = np.exp(view[logs].to_numpy()) * view[["last_close"]].to_numpy()
    return view.assign(median=view["q0.5"])


def cdf(frame: pd.DataFrame, x: ArrayLike) -> Array:
    """Return the probability that each log return is no greater than `x`, (rows,) or one value."""
    x = np.broadcast_to(np.asarray(x, dtype=float), len(frame))
    return _of_each(frame, lambda rows, family, its: family.cdf(x[rows], *its))


def probability_of_rise(frame: pd.DataFrame) -> Array:
    """Return the probability that each log return is above zero: (rows,)."""
    return 1 - cdf(frame, 0.0)


def tail_mean(frame: pd.DataFrame, level: float) -> Array:
    """Return the mean of the lowest `level` of the outcomes, as a log return: (rows,)."""
    return _of_each(frame, lambda _, family, its: family.tail_mean(*its, level))


def value_at_risk(frame: pd.DataFrame, level: float) -> Array:
    """Return the loss exceeded with probability `level`, as a fraction of the last close: (rows,)."""
    return _of_each(frame, lambda _, family, its: family.value_at_risk(*its, level))


def expected_shortfall(frame: pd.DataFrame, level: float) -> Array:
    """Return the mean loss of the worst `level`, as a fraction of the last close: (rows,)."""
    return _of_each(frame, lambda _, family, its: family.expected_shortfall(*its, level))


def summary(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what a user wants to know of each forecast, as plain Python values.

    ``step`` is how many sessions ahead it looks, and all that it says is of the return over all of
    them. ``median`` and ``intervals`` are prices in the instrument's currency; ``mean_return`` and
    ``volatility`` are of the log return; ``p_up`` is the probability of a rise. ``var_95`` and
    ``es_95`` are the loss that is exceeded with probability 5% and the mean loss when it is, as a
    fraction of the last close.
    """
    rows = prices(frame).assign(
        p_up=probability_of_rise(frame),
        var_95=value_at_risk(frame, 0.05),
        es_95=expected_shortfall(frame, 0.05),
    )
    return [
        {
            "ticker": row["ticker"],
            "model": row["model"],
            "cutoff": str(row["cutoff"].date()),
            "date": str(row["date"].date()),
            "step": row["step"],
            "last_close": row["last_close"],
            "median": row["q0.5"],
            "mean_return": row["mean"],
            "volatility": row["volatility"],
            "p_up": row["p_up"],
            "intervals": {
                "80": [row["q0.1"], row["q0.9"]],
                "95": [row["q0.025"], row["q0.975"]],
            },
            "var_95": row["var_95"],
            "es_95": row["es_95"],
        }
        for row in rows.to_dict("records")
    ]


def _of_each(
    frame: pd.DataFrame,
    function: Callable[[NDArray[np.bool_], Distribution, tuple[Array, ...]], Array],
) -> Array:
    """Values of a function of rows, their family of distributions and its parameters: (rows,)."""
    values, parameters = np.empty(len(frame)), frame[PARAMETERS].to_numpy()
    known = ~np.isnan(parameters).any(axis=1)
    if known.any():
        values[known] = function(known, skewed_t, tuple(parameters[known].T))
    if not known.all():
        quantiles = frame.loc[~known, QUANTILES].to_numpy()
        values[~known] = function(~known, quantile_grid, (quantiles,))
    return values


def _of_step(
    step: ArrayLike,
    keys: dict[str, ArrayLike],
    numbers: dict[str, ArrayLike],
    quantiles: Array,
    parameters: dict[str, ArrayLike],
) -> pd.DataFrame:
    """The checked frame of a step, from columns of (rows,) or one value and (rows, 23) quantiles."""
    named = dict(zip(QUANTILES, quantiles.T, strict=True))
    columns = {**keys, "step": step, **numbers, **named, **parameters}
    rows = len(quantiles)
    return check(pd.DataFrame({name: np.broadcast_to(it, rows) for name, it in columns.items()}))


def _typed(column: pd.Series, dtype: Any) -> pd.Series:
    try:
        if dtype.startswith("datetime") and pd.api.types.is_numeric_dtype(column):
            raise TypeError("a number is not a date")  # pandas would count microseconds from 1970
        return column.astype(dtype)
    except (TypeError, ValueError) as error:
        raise ForecastError(
            f"expected {dtype} in the column {column.name} of a forecasts frame, "
            f"came {column.dtype}; convert it"
        ) from error
