"""Scores anybody's forecasts: joined to stored prices, beside our baselines.

What came is taken from the stored prices, never from the file. What the file leaves out is left out of
our forecasts too, and then completed in the same way for all that are compared:

- of some quantiles, the others are those of a stretched Student-t through them
  (:func:`forecaster.distributions.quantile_grid.complete`);
- a mean and a volatility, or a volatility alone, get the shape of naive's distribution on that day;
- a point gets all of naive's spread, so that what is compared is the point.

Forecasts of several sessions stand beside ours from the same cutoffs, as many sessions ahead.
"""

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from forecaster.backtesting.backtest import Backtest, evaluated
from forecaster.backtesting.forecast_files import KEYS, ForecastTable
from forecaster.backtesting.provenance import ForecastFile
from forecaster.backtesting.spec import BacktestSpec
from forecaster.backtesting.walk_forward import forecast_history
from forecaster.config import COST_BP, REFERENCES, RecurrentConfig
from forecaster.distributions import forecasts, horizons, quantile_grid
from forecaster.distributions.parts import Parts
from forecaster.errors import ForecastError, HistoryError, UnknownTickerError, UsageError, first_few
from forecaster.evaluation import metrics
from forecaster.evaluation.experiment_log import Experiment
from forecaster.evaluation.verdict import WHOLE, Given
from forecaster.models.protocol import Progress, silent

log = logging.getLogger(__name__)

VALUES = ("returns", "prices")
"""What the numbers of a file are: log returns as fractions, or prices."""

NEAR = 0.5
"""A forecast price is within this of the last close, in logs, and a log return smaller."""

FAR = 20.0
"""A spread of so many times that of what came is no forecast but another unit."""


def score(
    external: ForecastTable,
    frame: pd.DataFrame,
    *,
    models: Sequence[str] = REFERENCES,
    values: str | None = None,
    cost_bp: float = COST_BP,
    events: pd.DataFrame | None = None,
    companions: pd.DataFrame | None = None,
    earlier: Sequence[Experiment] = (),
    config: RecurrentConfig | None = None,
    progress: Progress = silent,
) -> Backtest:
    """Score the forecasts of a file beside ours, on the same tickers and days.

    Parameters
    ----------
    external : from :func:`forecaster.backtesting.forecast_files.read`.
    frame : the stored prices of its tickers; tickers that are missing here are left out.
    models : registered names that are backtested over the same dates, refitted yearly.
    values : ``returns`` or ``prices``; by default log returns in a forecasts frame, and in
        any other layout what the numbers look like.
    cost_bp : of buying or selling, in basis points a side.
    events : the events frame of any tickers.
    companions : the prices frame of the indices that they are seen beside.
    earlier : the experiments on these tickers and days before.
    config : settings of recurrent models among ``models``.

    Raises
    ------
    UnknownTickerError
        No ticker of the file is stored.
    ForecastError
        The numbers are not what they should be, or nothing can be scored; the message says why.
    """
    if "naive" not in models:
        raise UsageError("naive must be among the `models`: it fills in what a file leaves out")
    rows = _placed(external.rows, frame)
    rows = _as_returns(rows, external, values)
    steps = tuple(sorted(rows["step"].unique().tolist()))
    first = rows["date"].min()
    if max(steps) > 1:  # a day after the first cutoff, so that ours begin there too
        first = min(first, rows["cutoff"].min() + pd.Timedelta(days=1))
    spec = BacktestSpec(
        models=tuple(models),
        tickers=tuple(sorted(rows["ticker"].unique())),
        start=first.date(),
        end=rows["date"].max().date(),
        cost_bp=cost_bp,
        config=config or RecurrentConfig(),
        steps=steps,
    )
    made = forecast_history(frame, spec, events=events, companions=companions, progress=progress)
    clash = rows["model"].isin(models)
    rows["model"] = rows["model"].where(~clash, rows["model"] + " (file)")
    ours = _beside(metrics.known(made.forecasts), rows)
    both = beside_naive(rows, ours)
    if both.empty:
        raise HistoryError(
            f"no forecast of {external.file} is of a day that the baselines could forecast: they "
            "need a year of prices before it; fetch earlier ones"
        )
    if len(both) < len(rows):
        log.warning(
            "%d rows are of days that the baselines could not forecast, and left out",
            len(rows) - len(both),
        )
    table = forecasts.concat([completed(both, external), as_the_file_gives(ours, external)])
    names = tuple(dict.fromkeys(rows["model"]))
    file = ForecastFile(external.file, external.sha256, names)
    parts = Parts.of(table)
    return evaluated(made, parts, file=file, earlier=earlier, given=_given(external))


def _beside(ours: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Our forecasts; of several sessions those alone that are of a cutoff of the file.

    Others would overlap with what the file forecasts every week or month.
    """
    mine = pd.MultiIndex.from_frame(ours[_JOIN]).isin(pd.MultiIndex.from_frame(rows[_JOIN]))
    return ours[mine | (ours["step"] == 1)]


def beside_naive(rows: pd.DataFrame, ours: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that naive forecasts too, with its distribution and the outcome of the day."""
    naive = ours.loc[ours["model"] == "naive", [*_JOIN, "step", *_OF_NAIVE, "log_return"]]
    naive = naive.rename(columns={name: f"{name}_naive" for name in _OF_NAIVE})
    return rows.drop(columns=["step", "log_return"], errors="ignore").merge(naive, on=_JOIN)


_JOIN = ["ticker", "cutoff", "date"]
_OF_NAIVE = [*forecasts.STUDENT_T, "mean", "volatility", *forecasts.QUANTILES]


def _placed(rows: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of sessions that there are, with the last close and the step, as the dates have it."""
    known = set(frame["ticker"].unique())
    missing = sorted(set(rows["ticker"]) - known)
    if len(missing) == rows["ticker"].nunique():
        raise UnknownTickerError(
            f"none of the file's tickers is stored: {first_few(missing)}; `forecast fetch` them first, "
            "and call them in the file as they are called there"
        )
    if missing:
        log.warning("%d tickers are not stored, and left out: %s", len(missing), first_few(missing))
    parts, strangers, beyond, contrary = [], 0, 0, 0
    sessions = {str(ticker): group for ticker, group in frame.groupby("ticker")}
    for ticker, own in rows[rows["ticker"].isin(known)].groupby("ticker"):
        dates, close = (sessions[str(ticker)][name].to_numpy() for name in ("date", "close"))
        at = np.searchsorted(dates, own["date"].to_numpy())
        is_session = (at < len(dates)) & (dates[at.clip(max=len(dates) - 1)] == own["date"])
        # A cutoff on a weekend knows what Friday's did.
        before = np.searchsorted(dates, own["cutoff"].to_numpy(), side="right") - 1
        given = own["step"].fillna(1).to_numpy(int)
        before = np.where(own["cutoff"].isna(), at - given, before)
        step = at - before
        is_near = is_session & (before >= 0) & (step <= horizons.MOST)
        agrees = own["step"].isna().to_numpy() | (given == step)
        strangers += int((~is_session).sum())
        beyond += int((is_session & ~is_near).sum())
        contrary += int((is_near & ~agrees).sum())
        scored = is_near & agrees
        adjusted = sessions[str(ticker)]["adj_close"].to_numpy()
        parts.append(
            own[scored].assign(
                cutoff=dates[before[scored]],
                step=step[scored],
                last_close=close[before[scored]],
                outcome=np.log(adjusted[at[scored]] / adjusted[before[scored]]),
            )
        )
    if strangers:
        log.warning("%d rows are of days without a stored session, and left out", strangers)
    if beyond:
        log.warning(
            "%d rows are more than %d sessions after their cutoff, or of a cutoff before the first "
            "stored price, and left out", beyond, horizons.MOST,
        )  # fmt: skip
    if contrary:
        log.warning(
            "%d rows have a step that is not the number of stored sessions from their cutoff to their "
            "date, and are left out", contrary,
        )  # fmt: skip
    placed: pd.DataFrame = pd.concat(parts, ignore_index=True)
    if placed.empty:
        raise ForecastError(
            f"no row is a forecast of a stored day up to {horizons.MOST} sessions after its cutoff; fetch "
            "the prices of these days, or mend the cutoffs and steps"
        )
    return placed


def _as_returns(rows: pd.DataFrame, external: ForecastTable, values: str | None) -> pd.DataFrame:
    """The rows with log returns, if they were prices; refused if they are neither."""
    columns = [f"q{level:g}" for level in external.levels]
    if set(forecasts.STUDENT_T) <= set(rows):
        columns = ["location"]
    columns = columns or [name for name in ("mean",) if name in rows]
    if not columns:  # a volatility alone is that of log returns
        rows = rows.assign(mean=0.0)
        columns = ["mean"]
    middle = rows[columns].mean(axis=1).to_numpy()
    close = rows["last_close"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        price_like = np.mean(np.abs(np.log(middle / close)) < NEAR) > 0.9
    return_like = np.mean(np.abs(middle) < NEAR) > 0.9
    if values is None and not external.is_frame:
        if price_like == return_like:
            raise ForecastError(
                f"cannot tell whether {external.file} holds prices or log returns: its numbers are "
                f"about {np.median(middle):.4g} beside a last close of {np.median(close):.4g}; say so "
                'with `values="prices"` or `values="returns"`'
            )
        values = "prices" if price_like else "returns"
        log.info("the numbers of %s are taken as %s", external.file, values)
    values = values or "returns"
    seen = f"about {np.median(middle):.4g} beside a last close of {np.median(close):.4g}"
    if values == "returns" and not return_like:
        hint = (
            'these look like prices: say `values="prices"`'
            if price_like
            else "if they are percent, divide by 100"
        )
        raise ForecastError(
            f"expected log returns as fractions in {external.file}, came {seen}; {hint}"
        )
    if values == "prices":
        if not price_like:
            hint = 'they look like returns: say `values="returns"`' if return_like else "check them"
            raise ForecastError(f"expected prices in {external.file}, came {seen}; {hint}")
        if "volatility" in rows or "scale" in rows:
            raise ForecastError(
                f"{external.file} holds prices with a volatility or a scale, whose unit is not "
                "known; give log returns, or quantiles of the price"
            )
        names = [name for name in (*columns, "mean") if name in rows]
        if (rows[names] <= 0).any(axis=None):
            raise ForecastError(f"{external.file} forecasts prices of zero or less; mend them")
        rows[names] = np.log(rows[names].to_numpy() / close[:, None])
    _require_a_fraction(rows, columns, external.file)
    return rows


def _require_a_fraction(rows: pd.DataFrame, columns: list[str], file: str) -> None:
    """Refuses percent: forecasts many times as wide, or as far out, as what came."""
    outcome = rows["outcome"].abs().median()
    middle = rows[columns].mean(axis=1).abs().median()
    spread = (rows[columns].max(axis=1) - rows[columns].min(axis=1)).median()
    reach = max(
        middle, spread, *(rows[it].median() for it in ("volatility", "scale") if it in rows)
    )
    if outcome > 0 and reach > FAR * outcome:
        raise ForecastError(
            f"the forecasts of {file} reach {reach / outcome:,.0f} times as far as the returns that came "
            f"(median {outcome:.4g}); if they are percent, divide by 100, and if they are prices, say so "
            'with `values="prices"`'
        )


def _given(external: ForecastTable) -> Given:
    """Return what the verdict may read of the forecasts of a file."""
    what = _what_is_given(external)
    if what == "density":
        return WHOLE
    levels = frozenset(round(it, 6) for it in external.levels if what == "quantiles")
    if levels.issuperset(quantile_grid.LEVELS):
        return WHOLE
    return Given(levels, volatility=what != "point")


def _what_is_given(external: ForecastTable) -> str:
    """Return what of a distribution a file gives: the first of these that it has."""
    if set(forecasts.STUDENT_T) <= set(external.rows):
        return "density"
    if len(external.levels) > 1:
        return "quantiles"
    if "volatility" in external.rows:
        return "moments"
    return "point"


def completed(rows: pd.DataFrame, external: ForecastTable) -> pd.DataFrame:
    """Return the forecasts frame of a file, or of our own forecasts as that file would give them.

    Parameters
    ----------
    rows : the columns of the file, of log returns, and those of naive's forecast of that day:
        ``location_naive``, ``scale_naive`` and so on.
    """
    keys = {name: rows[name].to_numpy() for name in (*KEYS, "last_close", "log_return")}
    given = _what_is_given(external)
    if given == "density":
        shape = {it: rows[it].to_numpy() for it in forecasts.PARAMETERS if it in external.rows}
        return forecasts.from_student_t(**keys, **shape)
    if given == "quantiles":
        quantiles = rows[[f"q{level:g}" for level in external.levels]].to_numpy()
        quantiles = quantile_grid.complete(quantiles, external.levels)
        table = forecasts.from_quantiles(**keys, quantiles=quantiles)
        moments = [name for name in ("mean", "volatility") if name in external.rows]
        return table.assign(**{name: rows[name].to_numpy() for name in moments})
    between = rows["df_naive"].isna()  # steps that naive knows by their quantiles alone
    if between.any():
        parts = [completed(rows[~between], external)] if not between.all() else []
        return forecasts.concat([*parts, _shaped_as_naive(rows[between], external)])
    location, scale, df = (rows[f"{it}_naive"].to_numpy() for it in forecasts.STUDENT_T)
    for name in ("q0.5", "mean"):
        if name in external.rows:
            location = rows[name].to_numpy()
            break
    if given == "moments":
        scale = rows["volatility"].to_numpy() * np.sqrt((df - 2) / df)
    return forecasts.from_student_t(**keys, location=location, scale=scale, df=df)


def _shaped_as_naive(rows: pd.DataFrame, external: ForecastTable) -> pd.DataFrame:
    """Forecasts by naive's quantiles, moved to the point of a file and stretched to its volatility."""
    keys = {name: rows[name].to_numpy() for name in (*KEYS, "last_close", "log_return")}
    point = next((name for name in ("q0.5", "mean") if name in external.rows), None)
    old = rows[[f"{point or 'mean'}_naive"]].to_numpy()
    new = rows[[point]].to_numpy() if point else old
    stretch = np.ones((len(rows), 1))
    if "volatility" in external.rows:
        stretch = rows[["volatility"]].to_numpy() / rows[["volatility_naive"]].to_numpy()
    quantiles = rows[[f"{name}_naive" for name in forecasts.QUANTILES]].to_numpy()
    return forecasts.from_quantiles(**keys, quantiles=new + stretch * (quantiles - old))


def as_the_file_gives(ours: pd.DataFrame, external: ForecastTable) -> pd.DataFrame:
    """Return our forecasts cut down to what the file gives, and completed in the same way.

    So the forecasts of a baseline, written to a file in any layout, are worth what that baseline is.
    """
    if _what_is_given(external) == "density":
        return ours
    whole = ours[forecasts.QUANTILES].to_numpy()
    cut = quantile_grid.quantile(whole, external.levels)
    columns = {f"q{level:g}": cut[:, place] for place, level in enumerate(external.levels)}
    return completed(beside_naive(ours.assign(**columns), ours), external)
