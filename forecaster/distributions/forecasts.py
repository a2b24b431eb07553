"""The forecasts frame: one row for each (ticker, model, cutoff, step).

==============  ==============  ==================================================================
column          dtype           meaning
==============  ==============  ==================================================================
ticker, model   str
cutoff          datetime64[us]  the last session the forecast may use
date            datetime64[us]  the session forecast, after the cutoff
step            int64           sessions from cutoff to date, 1 is next-day
last_close      float64         close of the cutoff, in the instrument's currency
log_return      float64         what happened, null while unknown
mean            float64         of the log return
volatility      float64         standard deviation of the log return
q0.01 … q0.99   float64         its quantiles, at the 23 `LEVELS`
location,       float64         its Student-t, null together where the model is not one
scale, df
==============  ==============  ==================================================================

Log returns are fractions, not percent. A quantile of the price is last_close * exp(q).
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from forecaster.distributions import student_t
from forecaster.errors import ForecastError, PricesError

LEVELS = (0.01, 0.025, *(round(0.05 * i, 2) for i in range(1, 20)), 0.975, 0.99)
QUANTILES = [f"q{level:g}" for level in LEVELS]
STUDENT = ["location", "scale", "df"]
KEYS = ["ticker", "model", "cutoff", "step"]

LEAST_VOLATILITY = 1e-6
"""What a forecast that is sure of one price says instead of none."""

_MOMENT_DF = 5.0

_DTYPES = {
    "ticker": "str",
    "model": "str",
    "cutoff": "datetime64[us]",
    "date": "datetime64[us]",
    "step": "int64",
    **dict.fromkeys(["last_close", "log_return", "mean", "volatility"], "float64"),
    **dict.fromkeys([*QUANTILES, *STUDENT], "float64"),
}
COLUMNS = list(_DTYPES)

_BOUNDS = {round(1 - 2 * level, 3): (f"q{level:g}", f"q{1 - level:g}") for level in LEVELS[:11]}


def empty() -> pd.DataFrame:
    """Return the forecasts frame without rows."""
    return pd.DataFrame(columns=COLUMNS).astype(_DTYPES)


def concat(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """One frame of several, those without rows left out."""
    return pd.concat([f for f in frames if len(f)] or [empty()], ignore_index=True)


def from_student(
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
) -> pd.DataFrame:
    """One-step forecasts whose log return is a Student-t.

    `cutoff` is a 1-D array; the others have its length or are one value for all. `df` is above 2,
    because a volatility is asked for. Raises what `check` raises.
    """
    n = len(np.asarray(cutoff))
    location, scale, df = (_spread(a, n).astype(float) for a in (location, scale, df))
    # The levels lie symmetrically about the median, and models often share a df: the quantile
    # function, which is slow, is asked for half of the levels and each df once.
    shapes, row = np.unique(df, return_inverse=True)
    lower = student_t.quantile(0.0, 1.0, shapes, LEVELS[: len(LEVELS) // 2])[row]  # (rows, 11)
    standard = np.column_stack([lower, np.zeros(n), -lower[:, ::-1]])  # (rows, levels)
    quantiles = location[:, None] + scale[:, None] * standard
    return check(
        pd.DataFrame(
            {
                "ticker": _spread(ticker, n),
                "model": _spread(model, n),
                "cutoff": _spread(cutoff, n),
                "date": _spread(date, n),
                "step": 1,
                "last_close": _spread(last_close, n),
                "log_return": _spread(log_return, n),
                "mean": location,
                "volatility": student_t.volatility(scale, df),
                **dict(zip(QUANTILES, quantiles.T, strict=True)),
                "location": location,
                "scale": scale,
                "df": df,
            }
        )
    )


def from_quantiles(
    *,
    ticker: ArrayLike,
    model: ArrayLike,
    cutoff: ArrayLike,
    date: ArrayLike,
    last_close: ArrayLike,
    log_return: ArrayLike,
    quantiles: np.ndarray,
) -> pd.DataFrame:
    """One-step forecasts known by their quantiles (rows, 23) alone, sorted where they cross.

    Sorting crossed quantiles brings them nearer to the true ones (Chernozhukov, Fernández-Val and
    Galichon 2010, Quantile and probability curves without crossing, Econometrica 78(3)). Mean and
    volatility are those of `moments`. The rest is as in `from_student`.
    """
    n, ordered = len(quantiles), np.sort(quantiles, axis=1)
    mean, volatility = moments(ordered)
    return check(
        pd.DataFrame(
            {
                "ticker": _spread(ticker, n),
                "model": _spread(model, n),
                "cutoff": _spread(cutoff, n),
                "date": _spread(date, n),
                "step": 1,
                "last_close": _spread(last_close, n),
                "log_return": _spread(log_return, n),
                "mean": mean,
                "volatility": np.maximum(volatility, LEAST_VOLATILITY),
                **dict(zip(QUANTILES, ordered.T, strict=True)),
                **dict.fromkeys(STUDENT, np.nan),
            }
        )
    )


def moments(quantiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of distributions with these quantiles (rows, 23): (rows,) each.

    Between and beyond its quantiles each distribution is a stretched Student-t of 5 degrees of
    freedom, about what daily returns have: its quantile function is linear in that one's. A
    Student-t of df 4 to 20 has its volatility back within 4%.
    """
    first, own, next_to = _moment_weights()
    middle = quantiles[:, len(LEVELS) // 2]
    q = quantiles - middle[:, None]
    # Sums along rows, not products of matrices: those round each row as their shape has it.
    mean = np.sum(first * q, axis=1)
    square = np.sum(own * q**2, axis=1) + 2 * np.sum(next_to * q[:, 1:] * q[:, :-1], axis=1)
    return middle + mean, np.sqrt(np.maximum(square - mean**2, 0.0))


@cache
def _moment_weights() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the quantiles (23,), of their squares (23,), and of the products of neighbours (22,).

    The quantile function is a sum of hats over the scores, of which only neighbours overlap.
    """
    scores = student_t.quantile(0.0, 1.0, _MOMENT_DF, LEVELS)
    # Half of the nodes left of the middle and half right of it, crowded into both tails.
    nodes, weights = np.polynomial.legendre.leggauss(256)
    share = (nodes + 1) / 2
    tail, mass = student_t.quantile(0.0, 1.0, _MOMENT_DF, share**6 / 2), weights * 1.5 * share**5
    at, mass = np.concatenate([tail, -tail]), np.concatenate([mass, mass])
    right = np.searchsorted(scores, at).clip(1, len(scores) - 1)
    part = (at - scores[right - 1]) / (scores[right] - scores[right - 1])
    first, own, next_to = np.zeros(len(scores)), np.zeros(len(scores)), np.zeros(len(scores) - 1)
    for k, p, m in zip(right, part, mass, strict=True):
        first[k - 1 : k + 1] += m * np.array([1 - p, p])
        own[k - 1 : k + 1] += m * np.array([1 - p, p]) ** 2
        next_to[k - 1] += m * p * (1 - p)
    return first, own, next_to


def check(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a copy with exactly `COLUMNS`, in order and with their dtypes, or raise.

    Raises PricesError for a last close that is not a positive number, and ForecastError for any
    other broken rule, naming the ticker, model and cutoff of the first offending row.
    """
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise ForecastError(
            f"expected the columns of a forecasts frame, came a frame without "
            f"{', '.join(missing)}; add what is missing"
        )
    frame = pd.DataFrame({name: _typed(frame[name], dtype) for name, dtype in _DTYPES.items()})

    def refuse(bad: pd.Series, rule: str, error: type[ForecastError] = ForecastError) -> None:
        if bad.any():
            row = frame[bad].iloc[0]
            raise error(
                f"expected {rule}, came a forecast of {row['ticker']} by {row['model']} with "
                f"cutoff {row['cutoff']:%Y-%m-%d} that breaks this; correct or drop that row"
            )

    nameless = frame[["ticker", "model", "cutoff", "date"]].isna().any(axis=1)
    if nameless.any():
        raise ForecastError(
            f"expected a ticker, model, cutoff and date in each forecast, came none in row "
            f"{int(nameless.to_numpy().argmax())}; fill it in or drop that row"
        )
    refuse(frame.duplicated(KEYS), "one row for each ticker, model, cutoff and step")
    refuse(frame["cutoff"] >= frame["date"], "a date after the cutoff")
    refuse(frame["step"] < 1, "a step of 1 or more")
    close = frame["last_close"]
    refuse(~(np.isfinite(close) & (close > 0)), "a finite last_close above zero", PricesError)
    refuse(np.isinf(frame["log_return"]), "a finite or null log_return")
    refuse(~np.isfinite(frame["mean"]), "a finite mean")
    spread = frame["volatility"]
    refuse(~(np.isfinite(spread) & (spread > 0)), "a finite volatility above zero")
    quantiles = frame[QUANTILES].to_numpy()
    finite = pd.Series(np.isfinite(quantiles).all(axis=1), frame.index)
    refuse(~finite, "finite quantiles")
    crossed = pd.Series((quantiles[:, 1:] < quantiles[:, :-1]).any(axis=1), frame.index)
    refuse(crossed, "quantiles that do not decrease with their level")
    parameters = frame[STUDENT]
    finite = pd.Series(np.isfinite(parameters.to_numpy()).all(axis=1), frame.index)
    whole = finite & (frame["scale"] > 0) & (frame["df"] > 2)
    refuse(
        ~(whole | parameters.isna().all(axis=1)),
        "a finite location, scale above 0 and df above 2, or null in all three",
    )
    return frame


def next_day(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of step 1; the frame itself where there are no others."""
    first = frame["step"] == 1
    return frame if first.all() else frame[first]


def ends(coverage: float) -> tuple[str, str]:
    """The columns of the low and high ends of the central interval of that coverage.

    The levels (1 - coverage) / 2 and (1 + coverage) / 2 must be among `LEVELS`, as they are for
    0.5, 0.8, 0.9 and 0.95. Raises ForecastError otherwise.
    """
    if round(coverage, 3) not in _BOUNDS:
        known = ", ".join(f"{known:g}" for known in sorted(_BOUNDS))
        raise ForecastError(f"expected a coverage among {known}, came {coverage:g}; choose one")
    return _BOUNDS[round(coverage, 3)]


def interval(frame: pd.DataFrame, coverage: float) -> tuple[np.ndarray, np.ndarray]:
    """Return low and high ends, as log returns, of the interval whose columns are `ends`."""
    low, high = ends(coverage)
    return frame[low].to_numpy(), frame[high].to_numpy()


def prices(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the price view: a copy in which what happened and the quantiles are prices.

    `log_return` becomes `price` and `median` is added. `mean`, `volatility` and the Student-t
    stay those of the log return.
    """
    view = frame.rename(columns={"log_return": "price"})
    logs = ["price", *QUANTILES]
    view[logs] = np.exp(view[logs].to_numpy()) * view[["last_close"]].to_numpy()
    return view.assign(median=view["q0.5"])


def probability_of_rise(frame: pd.DataFrame) -> np.ndarray:
    """Probability that the log return is above zero, for each row.

    From the Student-t where there is one, else from the quantiles, linear in between and held at
    0.01 and 0.99 beyond the outermost.
    """
    location, scale, df = (frame[column].to_numpy() for column in STUDENT)
    closed = 1 - student_t.cdf(0.0, location, scale, df)
    return np.where(np.isnan(closed), _interpolated_rise(frame[QUANTILES].to_numpy()), closed)


def summary(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """What a user asks of each forecast, as plain Python values; prices in the currency.

    ``median`` and ``intervals`` are prices; ``mean_return`` and ``volatility`` are of the log
    return; ``p_up`` is the probability of a rise. ``var_95`` and ``es_95`` are the loss that is
    exceeded with probability 5% and the mean loss when it is, as a fraction of the last close.
    """
    view, rise = prices(frame), probability_of_rise(frame)
    return [
        {
            "ticker": row["ticker"],
            "model": row["model"],
            "cutoff": str(row["cutoff"].date()),
            "date": str(row["date"].date()),
            "last_close": row["last_close"],
            "median": row["q0.5"],
            "mean_return": row["mean"],
            "volatility": row["volatility"],
            "p_up": float(p_up),
            "intervals": {
                "80": [row["q0.1"], row["q0.9"]],
                "95": [row["q0.025"], row["q0.975"]],
            },
            "var_95": 1 - row["q0.05"] / row["last_close"],
            "es_95": _tail_mean_loss(row),
        }
        for row, p_up in zip(view.to_dict("records"), rise, strict=True)
    ]


def _tail_mean_loss(row: dict[Any, Any]) -> float | None:
    """Expected shortfall at 5%, None where the forecast is not a Student-t."""
    if np.isnan(row["df"]):
        return None
    return float(student_t.tail_mean_loss(row["location"], row["scale"], row["df"], 0.05))


def _interpolated_rise(quantiles: np.ndarray) -> np.ndarray:
    levels, rows = np.array(LEVELS), np.arange(len(quantiles))
    # The neighbours around zero, or the outermost two where all lie on one side of it.
    right = (quantiles <= 0).sum(axis=1).clip(1, len(levels) - 1)
    below, above = quantiles[rows, right - 1], quantiles[rows, right]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.clip(-below / (above - below), 0, 1)
    share = np.nan_to_num(share, nan=1.0)  # both are zero: nothing rises above them
    return 1 - (levels[right - 1] + share * (levels[right] - levels[right - 1]))


def _spread(values: ArrayLike, n: int) -> np.ndarray:
    return np.broadcast_to(np.asarray(values), n)


def _typed(column: pd.Series, dtype: Any) -> pd.Series:
    try:
        if dtype.startswith("datetime") and pd.api.types.is_numeric_dtype(column):
            raise TypeError("a number is no date")  # pandas would count microseconds from 1970
        return column.astype(dtype)
    except (TypeError, ValueError) as error:
        raise ForecastError(
            f"expected {dtype} in the column {column.name} of a forecasts frame, "
            f"came {column.dtype}; convert it"
        ) from error
