"""The forecasts frame as pictures: each function returns a matplotlib Figure.

Nothing here saves or shows: ``figure.savefig(path)`` is the caller's. Only next-day forecasts
(step 1) are drawn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from scipy import special

from forecaster.distributions import forecasts, quantile_grid
from forecaster.errors import ForecastError, HistoryError, first_few
from forecaster.evaluation import metrics
from forecaster.evaluation.calibration import COVERAGES, coverage, pit
from forecaster.plots import style
from forecaster.plots.style import GREY, INK, PALE, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BANDS = {0.95: "#D3E6F2", 0.8: "#A3CAE3", 0.5: "#66A9D1"}
BINS = 20
MONTH, YEAR = 21, 250
"""Sessions."""

MOST_TICKERS = 2


def forecast(frame: pd.DataFrame, ticker: str, model: str, *, sessions: int = YEAR) -> "Figure":
    """Draw the last forecasts of a ticker as 50, 80 and 95% bands in price, and what happened.

    Each day's band was forecast at the close before it, so the median follows the price one day
    late, as it does for every honest next-day forecast: judge the width of the bands.

    Parameters
    ----------
    frame : forecasts frame; closes are drawn as ``last_close * exp(log_return)`` where known.
    sessions : how many of the latest forecasts to draw.

    Raises
    ------
    ForecastError : the frame has no next-day forecast of this ticker by this model.
    """
    rows = _rows(frame, ticker=ticker, model=model).tail(sessions)
    dates = rows["date"].to_numpy()
    returns = rows["log_return"].to_numpy(float)
    last_close = rows["last_close"].to_numpy(float)
    figure = style.canvas()
    (axes,) = figure.axes
    for level, color in BANDS.items():
        low, high = forecasts.interval(rows, level)
        axes.fill_between(
            dates,
            last_close * np.exp(low),
            last_close * np.exp(high),
            color=color,
            linewidth=0,
            label=f"{level:.0%} band{_held(returns, low, high)}",
        )
    median = last_close * np.exp(rows["q0.5"].to_numpy(float))
    axes.plot(dates, median, color=PALETTE[0], linewidth=0.9, label="median forecast")
    closes = last_close * np.exp(returns)
    axes.plot(dates, closes, ".", color=INK, markersize=3.5, label="actual close")
    axes.set_ylabel("price (currency of the ticker)")
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    axes.set_title(style.plain(f"{ticker} · {model} · next-day forecasts, {_span(rows)}"))
    style.dates(axes)
    style.legend(figure, axes, columns=3)
    return figure


def volatility(frame: pd.DataFrame, ticker: str) -> "Figure":
    r"""Draw every model's predicted volatility of a ticker against the size of its returns.

    Dots are absolute log returns, those above every volatility set on the top edge. The dark line
    is the volatility realised over the 21 sessions that end on the day drawn,
    :math:`\sqrt{\frac{1}{21}\sum_{i=0}^{20} r_{t-i}^2}`: it contains the day forecast and so is
    hindsight, which no forecast of that day could have. All in % a day.

    Raises
    ------
    ForecastError : the frame has no next-day forecast of this ticker.
    """
    rows = _rows(frame, ticker=ticker)
    returns = 100 * rows.drop_duplicates("date").set_index("date")["log_return"].astype(float)
    realised = (returns**2).rolling(MONTH).mean() ** 0.5
    days = returns.index.to_numpy()
    figure = style.canvas()
    (axes,) = figure.axes
    # The largest returns would squeeze the volatilities, the matter of the figure, into its foot.
    top = 1.05 * np.nanmax([realised.max(), 100 * rows["volatility"].max()])
    axes.plot(
        days,
        returns.abs().clip(upper=top),
        ".",
        color=PALE,
        markersize=3,
        clip_on=False,
        label="|log return| (on the top edge: larger)",
    )
    axes.plot(
        days,
        realised,
        color=INK,
        linewidth=1.4,
        label=f"realised, {MONTH} sessions to that day (hindsight)",
    )
    models = rows["model"].unique()
    looks = style.looks(frame)
    for behind, model in enumerate(models):
        its = rows[rows["model"] == model]
        values = 100 * its["volatility"].to_numpy(float)
        # The first, whom a verdict is on, lies above the others, which would hide it.
        axes.plot(
            its["date"].to_numpy(),
            values,
            linewidth=0.9 if behind else 1.3,
            zorder=3 - behind / len(models),
            label=style.plain(model),
            **looks[model],
        )
    axes.set_ylim(0, top)
    axes.set_ylabel("volatility (% a day)")
    axes.set_title(style.plain(f"{ticker} · predicted and realised volatility, {_span(rows)}"))
    style.dates(axes)
    style.legend(figure, axes, columns=len(models) // 2 + 2)
    return figure


def calibration(frame: pd.DataFrame, models: Sequence[str] | None = None) -> "Figure":
    """Draw whether outcomes fell where the forecasts said they would.

    Above, a panel for each model: the histogram of its probability integral transforms (see
    :func:`forecaster.evaluation.calibration.pit`), flat when the forecasts are right. Below, on the left, how
    many more or fewer returns than promised lay below each of the 23 quantiles; on the right, the
    share within the 80% interval by thirds of the volatility known at the cutoff, with its 95%
    interval (see :func:`forecaster.evaluation.calibration.coverage`).

    The grey bands hold a bin, or a share, with probability 95% (binomial) if draws are
    independent; tickers move together within a day, so with several of them they are too narrow.

    Parameters
    ----------
    frame : forecasts frame, all tickers pooled.
    models : the models to draw, in this order; all of the frame by default.

    Raises
    ------
    ForecastError : a model has no next-day forecasts in the frame, or there is no model.
    HistoryError : no outcome of a model's forecasts is known yet.
    """
    names = list(_rows(frame)["model"].unique() if models is None else models)
    if not names:
        raise ForecastError("expected next-day forecasts by one model or more, got none; add some")
    seen = {model: _Outcomes.of(_known(_rows(frame, model=model))) for model in names}
    across = min(3, len(names))
    down = -(-len(names) // across)
    figure = style.sheet(2.0 * down + 3.4)
    above, below = figure.subfigures(2, 1, height_ratios=(2.0 * down, 2.8), squeeze=False).flat
    looks = style.looks(frame)
    panels = list(above.subplots(down, across, squeeze=False, sharey=True).flat)
    for axes, model in zip(panels, names, strict=False):
        style.tidy(axes)
        _histogram(axes, seen[model].pit, color=looks[model]["color"])
        axes.set_title(style.plain(f"{model} ({len(seen[model].rows):,} forecasts)"), fontsize=10)
        axes.set_xlabel("PIT (a probability)")
    for axes in panels[len(names) :]:
        axes.remove()
    for axes in panels[::across]:
        axes.set_ylabel("forecasts (%)")
    levels, thirds = below.subplots(1, 2)
    _reliability(levels, seen, looks)
    every = pd.concat([it.rows for it in seen.values()])
    dates = _span(every)
    del seen  # what the next lines make is as large
    every = metrics.common(every)
    _thirds(thirds, every, looks)
    figure.suptitle(f"Do outcomes fall where forecasts said? {dates}", fontsize=12)
    style.legend(figure, panels[0], columns=2)
    return figure


def skill(frame: pd.DataFrame, model: str, against: Sequence[str] = metrics.BASELINES) -> "Figure":
    """Draw the running sum of a model's CRPS less that of each baseline: falling is winning.

    Each day adds the mean difference over the tickers that both forecast; the unit is basis
    points (1e-4) of log return. At the end of each line stand its last value and the same as a
    share of the baseline's own CRPS.

    Raises
    ------
    ForecastError : the model or a baseline has no next-day forecasts in the frame, or there is
        no baseline but the model itself.
    HistoryError : no day has a known outcome and forecasts by both.
    """
    names = list(dict.fromkeys([model, *against]))
    if len(names) < 2:
        raise ForecastError(f"expected a baseline to hold {model} against, got none; name another")
    there = set(forecasts.next_day(frame)["model"].unique())
    for name in names:
        if name not in there:
            _rows(frame, model=name)  # which says what there is
    rows = forecasts.next_day(frame)
    rows = rows if there == set(names) else rows[rows["model"].isin(names)]
    losses = metrics.losses(rows).pivot(index=["date", "ticker"], columns="model", values="crps")
    crps = losses.reindex(columns=names)  # a model without outcomes has no losses
    figure = style.canvas()
    (axes,) = figure.axes
    axes.axhline(0, color=GREY, linewidth=1)
    looks = style.looks(frame)
    ends = []
    for baseline in names[1:]:
        pair = crps[[model, baseline]].dropna().groupby("date").mean()
        if pair.empty:
            raise HistoryError(
                f"expected days with known outcomes and forecasts by both {model} and "
                f"{baseline}, found none; backtest both over the same days"
            )
        total = 1e4 * (pair[model] - pair[baseline]).cumsum()
        axes.plot(
            total.index.to_numpy(),
            total,
            linewidth=1.5,
            label=style.plain(baseline),
            **looks[baseline],
        )
        end, share = total.iloc[-1], total.iloc[-1] / (1e4 * pair[baseline].sum())
        numbers = f"{end:+,.1f} bp\n{share:+.2%} of its CRPS".replace("-", "−")
        ends.append((end, f"vs {baseline}\n{numbers}", looks[baseline]["color"]))
    style.annotate(axes, ends)
    axes.set_ylabel(
        style.plain(
            f"cumulative CRPS difference\n(basis points of log return; below 0: {model} is better)"
        )
    )
    tickers = rows["ticker"].nunique()
    of = "1 ticker" if tickers == 1 else f"mean of {tickers} tickers"
    axes.set_title(style.plain(f"{model} against its baselines · {of}, {_span(rows)}"))
    style.dates(axes)
    return figure


def of_backtest(frame: pd.DataFrame, model: str) -> Iterator[tuple[str, "Figure"]]:
    """Yield the figures of a backtest, each with a name that is safe as a file's stem.

    ``forecast-TICKER`` and ``volatility-TICKER`` for the first two of the model's tickers only,
    then ``calibration``, and ``skill`` against those of gjr and naive that the frame has.

    Raises
    ------
    ForecastError : the model has no next-day forecasts in the frame.
    HistoryError : no outcome is known yet.
    """
    for ticker in _rows(frame, model=model)["ticker"].unique()[:MOST_TICKERS]:
        yield f"forecast-{_stem(ticker)}", forecast(frame, ticker, model)
        yield f"volatility-{_stem(ticker)}", volatility(frame, ticker)
    yield "calibration", calibration(frame)
    if against := baselines(frame, model):
        yield "skill", skill(frame, model, against)


def baselines(frame: pd.DataFrame, model: str) -> list[str]:
    """Return those of gjr and naive that a model of the frame can be held against there."""
    there = set(forecasts.next_day(frame)["model"].unique()) - {model}
    return [name for name in metrics.BASELINES if name in there]


def _rows(frame: pd.DataFrame, **wanted: str) -> pd.DataFrame:
    """Return the next-day rows by date in which each column named has the value given."""
    rows = forecasts.next_day(frame)
    for column, value in wanted.items():
        there = rows[column].unique()
        rows = rows[rows[column] == value]
        if rows.empty:
            raise ForecastError(
                f"expected a {column} with next-day forecasts, got {value!r}; "
                f"choose from: {first_few(there, 10) or 'none, the frame has no such rows'}"
            )
    return rows if rows["date"].is_monotonic_increasing else rows.sort_values("date", kind="stable")


def _known(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose outcome is known."""
    known = metrics.known(rows)
    if known.empty:
        raise HistoryError(
            f"expected outcomes of the forecasts by {rows['model'].iloc[0]}, none is known yet; "
            "draw this once a session forecast has closed"
        )
    return known


def _held(returns: np.ndarray, low: np.ndarray, high: np.ndarray) -> str:
    """Say what share of the known returns the intervals held; nothing where none is known."""
    known = np.isfinite(returns)
    if not known.any():
        return ""
    inside = (low <= returns) & (returns <= high)
    return f" (held {inside[known].mean():.0%})"


def _histogram(axes: "Axes", values: np.ndarray, *, color: str) -> None:
    """Draw the shares of values in equal bins of [0, 1], the uniform share and its 95% band."""
    counts, edges = np.histogram(values, bins=BINS, range=(0, 1))
    low, high = _binomial(len(values), np.array([1 / BINS]))
    axes.bar(
        edges[:-1],
        100 * counts / len(values),
        width=0.85 / BINS,
        align="edge",
        color=color,
        alpha=0.8,
    )
    axes.axhspan(
        100 * low[0],
        100 * high[0],
        color=GREY,
        alpha=0.35,
        linewidth=0,
        label="95% band for independent draws (same-day tickers are not)",
    )
    axes.axhline(100 / BINS, color=INK, linewidth=1, linestyle="--", label="as promised")
    axes.set_xlim(0, 1)


@dataclass(frozen=True)
class _Outcomes:
    """What is drawn of a model's known outcomes: all forecasts of thousands of tickers fill a memory."""

    pit: np.ndarray
    """(rows,)"""
    below: np.ndarray
    """(levels,) shares of the returns at or below each quantile"""
    rows: pd.DataFrame
    """The columns that coverage is read from"""

    @classmethod
    def of(cls, rows: pd.DataFrame) -> "_Outcomes":
        """Of the rows of one model."""
        below = rows[["log_return"]].to_numpy() <= rows[forecasts.QUANTILES].to_numpy()
        ends = [name for nominal in COVERAGES for name in forecasts.ends(nominal)]
        read = ["ticker", "model", "cutoff", "date", "volatility", "log_return", *ends]
        return cls(pit(rows), below.mean(axis=0), rows[read])


def _reliability(
    axes: "Axes", seen: dict[str, _Outcomes], looks: dict[str, dict[str, Any]]
) -> None:
    """Draw, in points, by how much the shares of returns below the quantiles miss their levels."""
    style.tidy(axes)
    levels = np.array(quantile_grid.LEVELS)
    low, high = _binomial(min(len(it.rows) for it in seen.values()), levels)
    axes.fill_between(
        levels, 100 * (low - levels), 100 * (high - levels), color=GREY, alpha=0.35, linewidth=0
    )
    axes.axhline(0, color=INK, linewidth=1, linestyle="--")
    for model, its in reversed(seen.items()):  # so that the first lies above the others
        miss = 100 * (its.below - levels)
        axes.plot(levels, miss, linewidth=1.4, label=model, **looks[model])
    axes.set_xlim(0, 1)
    axes.set_xlabel("quantile level")
    axes.set_ylabel("returns below it − level (points)")


def _thirds(axes: "Axes", rows: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> None:
    """Draw what the 80% intervals held in calm, middling and wild markets, of rows in common."""
    style.tidy(axes)
    table = coverage(rows, splits=["volatility"])
    table = table[(table["ticker"] == metrics.POOLED) & (table["nominal"] == 0.8)]
    axes.axhline(80, color=INK, linewidth=1, linestyle="--")
    models = rows["model"].unique()
    for i, model in enumerate(models):
        its = table[table["model"] == model]
        share = 100 * its["share"].to_numpy()
        ends = share - 100 * its["low"].to_numpy(), 100 * its["high"].to_numpy() - share
        beside = np.arange(len(its)) + 0.6 * ((i + 0.5) / len(models) - 0.5)
        axes.errorbar(beside, share, ends, fmt="o", markersize=4, color=looks[model]["color"])
    axes.set_xticks(range(3), ["low", "middle", "high"])
    axes.set_xlabel("volatility known at the cutoff, by thirds")
    axes.set_ylabel("within the 80% interval (%)")


def _binomial(n: int, chances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The central 95% of shares of n independent draws, for chances of any shape."""
    # The binomial quantile; bdtrik has none, and 0 is meant, where no draw at all is likely enough.
    low, high = (np.ceil(np.nan_to_num(special.bdtrik(p, n, chances))) for p in (0.025, 0.975))
    return low / n, high / n


def _stem(ticker: str) -> str:
    """Return the ticker percent-encoded, so that no path, drive or hidden file is in it."""
    return quote(ticker, safe="").replace(".", "%2E")


def _span(rows: pd.DataFrame) -> str:
    """Return the first and the last date forecast."""
    return f"{rows['date'].min():%Y-%m-%d} to {rows['date'].max():%Y-%m-%d}"
