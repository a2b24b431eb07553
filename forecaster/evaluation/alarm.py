"""The alarm: a forecast too good to be one, and what it most likely knows.

A sign raises the alarm if it lies beyond a bound that no honest forecast of daily prices comes near,
and surely so (a p-value below `SURE`, on `SESSIONS` or more), so that a lucky month raises none:

relMAE of the median below 0.97
    A correlation with the return of 0.24, an R² of 6%. Papers find 0.4% a month (Gu, Kelly and Xiu
    2020, Review of Financial Studies 33(5)), up to 1% (Campbell and Thompson 2008, ibid. 21(4)).
    The historical mean and each ticker's own autoregression show 0.998 to 1.005 on the development
    sets of stocks, funds, indices and currencies, the networks 0.998.
hits of the sign 10 points beyond chance
    A correlation of 0.31. The same models show 2 points at most.
information coefficient above 0.15 a day
    Over 88 stocks a Sharpe ratio beyond 10. The same models show 0.05 at most.
correlation of the median with the return of the day after above 0.25
    What the day after brings is nobody's to know.
median equal to the return on half the rows
    Days on which the price rests do not count.
CRPS 10% below that of the best rival
    The networks are 2% below it. To know a day's volatility itself would give some 5%, as an error
    of variance v of its logarithm costs v / 4 of the CRPS.

Where prices bounce between bid and ask, as of thinly traded stocks (Roll 1984, Journal of Finance
39(4)), yesterday's return foretells today's. What that gives anybody is taken off: with the
autocorrelation r of the returns, the bounds of relMAE and CRPS are times sqrt(1 - r²), and those of
hits and correlations are higher by what a correlation of |r| is worth.

Of forecasts of several sessions, of cutoffs so far apart that they do not overlap, three signs remain:
the median that is the return, hits and CRPS, and the error of the median. Drift alone makes zero a poor
guess of a month, so the last two are held against the constant of each ticker that hindsight finds
best. What moves from day to day is the next session's to show.

A PIT that is too even is no sign: quantiles that are recalibrated day by day are as even honestly.
One all in the middle shows in the relMAE.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecaster.evaluation import metrics, predictability, significance
from forecaster.evaluation.claims import GARCH_LIKE, RIVALS, title
from forecaster.evaluation.metrics import POOLED

SURE = 1e-4
"""Signs with a larger p-value may be luck."""

SESSIONS = 20
"""On fewer sessions a p-value is not to be relied on."""

REL_MAE, HITS, INFORMATION, CORRELATION, CRPS = 0.97, 0.10, 0.15, 0.25, 0.90
"""The bounds of the table above."""

SAME = 1e-3
"""A median this near to the return, as a share of it, is that return; five such are no chance."""

SAME_ROWS = 0.5
"""The bound of their share of the rows."""

CLEAR = 0.1
"""A correlation above this, surely so, names a cause."""

SHIFTED = 0.5
"""Above it the correlation is with that very day, not with a span that holds it."""


@dataclass(frozen=True)
class Alarm:
    """Why a forecast is too good to be one."""

    signs: tuple[str, ...]
    """What is beyond its bound, in words."""
    cause: str
    """The likeliest cause, in words."""

    @property
    def text(self) -> str:
        """The alarm as sentences."""
        return (
            f"Too good to be a forecast: look for look-ahead. Its {'; its '.join(self.signs)}. "
            f"Likeliest cause: {self.cause}."
        )


def alarm_of(
    model: str, frame: pd.DataFrame, losses: pd.DataFrame, tables: dict[str, pd.DataFrame]
) -> Alarm | None:
    """Return the alarm that the forecasts of a model raise, None if there is none.

    Parameters
    ----------
    model : whose forecasts they are.
    frame : its forecasts frame, of rows whose return is known and that do not overlap.
    losses : :func:`forecaster.evaluation.metrics.losses` of it.
    tables : of :class:`forecaster.evaluation.evaluate.Evaluation`: significance, direction and
        information.
    """
    if metrics.step_of(frame) > 1:
        return _of_several_sessions(model, frame, losses, tables)
    leads = predictability.lead_test(frame).set_index("lead")
    bounce = abs(predictability.autocorrelation(frame))
    same = _same(frame)
    signs = []
    if same > SAME_ROWS:
        signs.append(f"median is the return that came, on {same:.0%} of the rows")
    if frame["date"].nunique() >= SESSIONS:
        signs += [
            *_of_error(losses, bounce),
            *_of_signs(model, tables["direction"], bounce),
            *_of_ranks(model, tables["information"], bounce),
            *_of_the_day_after(leads, bounce),
            *_of_crps(model, tables["significance"], bounce),
        ]
    return Alarm(tuple(signs), _cause(same, leads)) if signs else None


def _of_several_sessions(
    model: str, frame: pd.DataFrame, losses: pd.DataFrame, tables: dict[str, pd.DataFrame]
) -> Alarm | None:
    """The alarm of forecasts of more than the next session."""
    signs, same = [], _same(frame)
    if same > SAME_ROWS:
        signs.append(f"median is the return that came, on {same:.0%} of the rows")
    if frame["date"].nunique() >= SESSIONS:
        bounce = abs(predictability.autocorrelation(frame))
        constant = _error_of_a_constant(frame)
        drift = min(1.0, constant.sum() / (losses["naive_error"] / losses["last_close"]).sum())
        against = losses.assign(naive_error=constant * losses["last_close"].to_numpy())
        signs += [
            *_of_error(against, bounce, "error of the median, over that of the best constant,"),
            *_of_signs(model, tables["direction"], bounce),
            *_of_crps(model, tables["significance"], bounce, drift),
        ]
    cause = "something that is known only after the cutoff is among its inputs"
    return Alarm(tuple(signs), cause) if signs else None


def _error_of_a_constant(frame: pd.DataFrame) -> np.ndarray:
    """Errors of the median log return of each ticker, over the last close: (rows,)."""
    constant = frame.groupby("ticker")["log_return"].transform("median").to_numpy()
    return np.asarray(np.abs(np.exp(constant) - np.exp(frame["log_return"].to_numpy())))


def _same(frame: pd.DataFrame) -> float:
    """Return the share of the rows on which the median is the return; 0 of fewer than five."""
    x, median = frame["log_return"].to_numpy(), frame["q0.5"].to_numpy()
    x, median = x[x != 0], median[x != 0]
    return float(np.mean(np.abs(median - x) <= SAME * np.abs(x))) if len(x) >= 5 else 0.0


def _of_error(losses: pd.DataFrame, bounce: float, name: str = "relMAE") -> Iterator[str]:
    relative = losses[["error", "naive_error"]].div(losses["last_close"], axis=0)
    daily = relative.groupby(losses["date"]).mean()
    if len(daily) < 2 or not daily["naive_error"].any():
        return
    rel_mae = relative["error"].sum() / relative["naive_error"].sum()
    test = significance.diebold_mariano(daily["error"], daily["naive_error"])
    bound = REL_MAE * np.sqrt(1 - bounce**2)
    if rel_mae < bound and test.p_value < SURE:
        yield f"{name} is {rel_mae:.3f}, and no honest one is below {bound:.2f}"


def _of_signs(model: str, signs: pd.DataFrame, bounce: float) -> Iterator[str]:
    bound = HITS + np.arcsin(min(bounce, 1.0)) / np.pi
    for row in _rows(signs[signs["ticker"] == POOLED], model):
        if row["hit_rate"] - row["expected"] > bound and row["p_value"] < SURE:
            yield (
                f"signs are {row['hit_rate']:.1%} right for {row['expected']:.1%} by chance, and no "
                f"honest ones are {100 * bound:.0f} points better than chance"
            )


def _of_ranks(model: str, information: pd.DataFrame, bounce: float) -> Iterator[str]:
    bound = INFORMATION + bounce
    for row in _rows(information, model):
        if row["ic"] > bound and row["ic_p_value"] < SURE:
            yield (
                f"information coefficient is {row['ic']:.2f} a day, and no honest one is above "
                f"{bound:.2f}"
            )


def _of_the_day_after(leads: pd.DataFrame, bounce: float) -> Iterator[str]:
    bound = CORRELATION + bounce
    if 1 in leads.index:
        row = leads.loc[1]
        if row["correlation"] > bound and row["p_value"] < SURE:
            yield f"median moves with the return of the day after (correlation {row['correlation']:.2f})"


def _of_crps(
    model: str, comparison: pd.DataFrame, bounce: float, drift: float = 1.0
) -> Iterator[str]:
    rows = comparison[(comparison["metric"] == "crps") & (comparison["model"] == model)]
    rows = rows[rows["against"].isin(RIVALS)].sort_values("ratio")
    if not rows["against"].isin(GARCH_LIKE).any():
        return
    best, bound = rows.iloc[-1], drift * CRPS * np.sqrt(1 - bounce**2)
    if best["ratio"] < bound and best["p_value"] < SURE:
        yield (
            f"CRPS is {1 - best['ratio']:.0%} below that of {title(best['against'])}, the best of its "
            f"rivals, and no honest one more than {1 - bound:.0%}"
        )


def _cause(same: float, leads: pd.DataFrame) -> str:
    """Return the likeliest cause, by the days that the median, or else only the volatility, moves with."""
    if same > SAME_ROWS:
        return (
            "its point is the close of the very day that it forecasts: the dates or the target are "
            "shifted by a day"
        )
    clear = leads[(leads["correlation"] > CLEAR) & (leads["p_value"] < SURE)]["correlation"]
    if 1 in clear and clear[1] > SHIFTED:
        return (
            "its dates are shifted by a day or more: it moves with the return of the day after "
            f"(correlation {clear[1]:.2f})"
        )
    if 1 in clear:
        return (
            "it is scaled or smoothed with the future: it moves with the return of the day after too "
            f"(correlation {clear[1]:.2f})"
        )
    if predictability.AHEAD in clear:
        return (
            f"it is scaled or smoothed with the future: it moves with the returns of the "
            f"{predictability.AHEAD} sessions after the day (correlation "
            f"{clear[predictability.AHEAD]:.2f})"
        )
    if 0 in clear:
        return (
            "something that is known only at the close of the very day is among its inputs: it moves "
            f"with that day's return (correlation {clear[0]:.2f})"
        )
    return (
        "its volatility knows the size of the day's move: a range, a volume or a close of the very "
        "day is among its inputs"
    )


def _rows(table: pd.DataFrame, model: str) -> list[dict[Hashable, Any]]:
    return table[table["model"] == model].to_dict("records")
