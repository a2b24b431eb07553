"""A forecasts frame as pictures: each function returns a matplotlib Figure.

Nothing is saved or shown here: ``figure.savefig(path)`` is the caller's. Statistics are those of
:mod:`forecaster.evaluation`. Only forecasts of the shortest step are drawn, next-day ones if there are.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
import pandas as pd

from forecaster.distributions import forecasts
from forecaster.distributions.parts import Parts
from forecaster.errors import ForecastError, HistoryError, first_few
from forecaster.evaluation import announced, metrics
from forecaster.evaluation.calibration import coverage
from forecaster.evaluation.drawn import Drawn
from forecaster.plots import outliers, style
from forecaster.plots.style import GREY, INK, PALE, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SESSIONS = 250
"""The latest forecasts of a ticker that are drawn."""

MOST_TICKERS = 2


def forecast(
    frame: pd.DataFrame,
    ticker: str,
    model: str,
    *,
    sessions: int = SESSIONS,
    reactions: pd.DataFrame | None = None,
) -> "Figure":
    """Draw the last forecasts of a ticker as 50, 80 and 95% bands in price, and what happened.

    Each day's band was forecast at the close before it, so the median follows the price one day
    late, as it does for every honest next-day forecast: judge the width of the bands.

    Parameters
    ----------
    frame : forecasts frame; closes are drawn as ``last_close * exp(log_return)`` where known.
    ticker, model : whose forecasts to draw.
    sessions : the number of latest forecasts to draw.
    reactions : table of a backtest; its reaction sessions to earnings are ringed.

    Raises
    ------
    ForecastError
        The frame has no next-day forecast of this ticker by this model.
    """
    rows = _rows(frame, ticker=ticker, model=model).tail(sessions)
    prices = forecasts.prices(rows)
    dates = prices["date"].to_numpy()
    shares = _shares_inside(rows)
    figure = style.canvas()
    (axes,) = figure.axes
    shown = style.looks(frame)[model]["color"]
    for level, share in style.TINTS.items():
        label = f"{level:.0%} band" + (f" (held {shares[level]:.0%})" if level in shares else "")
        ends = forecasts.interval(prices, level)
        axes.fill_between(dates, *ends, color=style.tint(shown, share), linewidth=0, label=label)
    axes.plot(dates, prices["median"], color=shown, linewidth=0.9, label="median forecast")
    axes.plot(dates, prices["price"], ".", color=INK, markersize=3.5, label="actual close")
    reacts = announced.reacting(prices, reactions)
    if reacts.any():
        axes.plot(
            dates[reacts],
            prices["price"].to_numpy()[reacts],
            "o",
            color=style.RING,
            markersize=8,
            markerfacecolor="none",
            label="reaction to earnings",
        )
    axes.set_ylabel("price (currency of the ticker)")
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    axes.set_title(style.plain(f"{ticker} · {model} · {_ahead(rows)}, {_span(rows)}"))
    style.dates(axes)
    style.legend(figure, axes, columns=3)
    return figure


def volatility(frame: pd.DataFrame, ticker: str, *, sessions: int = SESSIONS) -> "Figure":
    """Draw every model's predicted volatility of a ticker against the size of its returns.

    Dots are absolute log returns, those above every volatility set on the top edge. The dark line
    is the volatility realised over the 21 sessions that end on the day drawn
    (:func:`forecaster.evaluation.metrics.realised_volatility`): it contains the day forecast and so
    is hindsight, which no forecast of that day could have. All in % a day, of the latest `sessions`.

    Raises
    ------
    ForecastError
        The frame has no next-day forecast of this ticker.
    """
    rows = _rows(frame, ticker=ticker)
    returns = 100 * rows.drop_duplicates("date").set_index("date")["log_return"].astype(float)
    realised = metrics.realised_volatility(returns).tail(sessions)
    is_daily = metrics.step_of(rows) == 1  # of returns that overlap none is realised
    returns = returns.tail(sessions)
    rows = rows[rows["date"] >= returns.index[0]]
    days = returns.index.to_numpy()
    figure = style.canvas()
    (axes,) = figure.axes
    # The largest returns would squeeze the volatilities, the matter of the figure, into its foot.
    highest = 100 * rows["volatility"].max()
    top = 1.05 * np.nanmax([realised.max(), highest] if is_daily else highest)
    sizes, label = returns.abs().clip(upper=top), "|log return| (on the top edge: larger)"
    axes.plot(days, sizes, ".", color=PALE, markersize=3, clip_on=False, label=label)
    if is_daily:
        label = f"realised, {metrics.MONTH} sessions to that day (hindsight)"
        axes.plot(days, realised, color=INK, linewidth=1.4, label=label)
    models = rows["model"].unique()
    looks = style.looks(frame)
    for behind, model in enumerate(models):
        its = rows[rows["model"] == model]
        # The first, whom a verdict is on, lies above the others, which would hide it.
        axes.plot(
            its["date"].to_numpy(),
            100 * its["volatility"].to_numpy(float),
            linewidth=0.9 if behind else 1.3,
            zorder=3 - behind / len(models),
            label=style.plain(model),
            **looks[model],
        )
    axes.set_ylim(0, top)
    axes.set_ylabel("volatility (% a day)" if is_daily else "volatility (%)")
    axes.set_title(style.plain(f"{ticker} · predicted and realised volatility, {_span(rows)}"))
    style.dates(axes)
    style.legend(figure, axes, columns=len(models) // 2 + 2)
    return figure


def calibration(frame: pd.DataFrame, models: Sequence[str] | None = None) -> "Figure":
    """Draw whether outcomes fell where the forecasts said they would.

    Above, a panel for each model: the histogram of its probability integral transforms
    (:func:`forecaster.evaluation.calibration.histogram`), flat when the forecasts are right. Below,
    on the left, how many more or fewer returns than promised lay below each of the 23 quantiles
    (:func:`forecaster.evaluation.calibration.reliability`); on the right, the share within the 80%
    interval by thirds of the volatility known at the cutoff, with its 95% interval.

    The grey bands hold a bin, or a share, with probability 95% (binomial) if draws are
    independent; tickers move together within a day, so with several of them they are too narrow.

    Parameters
    ----------
    frame : forecasts frame, all tickers pooled.
    models : the models to draw, in this order; all of the frame by default.

    Raises
    ------
    ForecastError
        A model has no next-day forecasts in the frame, or there is no model.
    HistoryError
        No outcome of a model's forecasts is known yet.
    """
    rows = _shortest(frame)
    names = list(_rows(frame)["model"].unique() if models is None else models)
    if not names:
        raise ForecastError("expected next-day forecasts by one model or more, got none; add some")
    for model in names:
        _known(_rows(frame, model=model))
    rows = metrics.known(rows if models is None else rows[rows["model"].isin(names)])
    return _calibration(Drawn(Parts.of(rows), names[0]), names, style.looks(frame))


def _calibration(drawn: Drawn, names: Sequence[str], looks: Mapping[str, Look]) -> "Figure":
    """Draw `calibration` of some models."""
    bins, shares = (
        [table[table["model"] == model] for model in names]
        for table in (drawn.histogram, drawn.reliability)
    )
    across = min(3, len(names))
    down = -(-len(names) // across)
    figure = style.sheet(2.0 * down + 3.4)
    above, below = figure.subfigures(2, 1, height_ratios=(2.0 * down, 2.8), squeeze=False).flat
    panels = list(above.subplots(down, across, squeeze=False, sharey=True).flat)
    for axes, model, its in zip(panels, names, bins, strict=False):
        _histogram(axes, its, color=looks[model]["color"])
        axes.set_title(
            style.plain(f"{model} ({its['forecasts'].iloc[0]:,} forecasts)"), fontsize=10
        )
    for axes in panels[len(names) :]:
        axes.remove()
    for axes in panels[::across]:
        axes.set_ylabel("forecasts (%)")
    levels, thirds = below.subplots(1, 2)
    _reliability(levels, shares, looks)
    _thirds(thirds, drawn.thirds, looks)
    first, last = drawn.known_days
    dates = f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
    figure.suptitle(f"Do outcomes fall where forecasts said? {dates}", fontsize=12)
    style.legend(figure, panels[0], thirds, columns=4)
    return figure


def skill(frame: pd.DataFrame, model: str, against: Sequence[str] = metrics.BASELINES) -> "Figure":
    """Draw the running sum of each baseline's CRPS less that of a model: rising is winning.

    Each day adds the mean difference over the tickers that both forecast; the unit is basis
    points (1e-4) of log return. At the end of each line stand its last value and the same as a
    share of the baseline's own CRPS (:func:`forecaster.evaluation.skill.running`).

    Raises
    ------
    ForecastError
        The model or a baseline has no next-day forecasts in the frame, or there is no baseline but
        the model itself.
    HistoryError
        No day has a known outcome and forecasts by both.
    """
    names = list(dict.fromkeys([model, *against]))
    if len(names) < 2:
        raise ForecastError(f"expected a baseline to hold {model} against, got none; name another")
    rows = _shortest(frame)
    there = set(rows["model"].unique())
    for name in names:
        if name not in there:
            _rows(frame, model=name)  # which says what there is
    rows = rows if there == set(names) else rows[rows["model"].isin(names)]
    if metrics.known(rows).empty:
        raise HistoryError(
            f"expected days with known outcomes and forecasts by both {model} and {names[1]}, came none; "
            "draw this once a session forecast has closed"
        )
    return _skill(Drawn(Parts.of(rows), model), names, style.looks(frame))


def _skill(drawn: Drawn, names: Sequence[str], looks: Mapping[str, Look]) -> "Figure":
    """Draw `skill` of the first of some models against the others."""
    model = names[0]
    totals = drawn.running(names[1:])
    figure = style.canvas()
    (axes,) = figure.axes
    axes.axhline(0, color=GREY, linewidth=1)
    ends = []
    for baseline in names[1:]:
        its = totals[totals["against"] == baseline]
        total = -1e4 * its["total"].to_numpy()
        label = style.plain(baseline)
        axes.plot(its["date"].to_numpy(), total, linewidth=1.5, label=label, **looks[baseline])
        numbers = f"{total[-1]:+,.1f} bp\n{-its['share'].iloc[-1]:+.2%} of its CRPS"
        text = f"vs {baseline}\n{numbers.replace('-', '−')}"
        ends.append((total[-1], text, looks[baseline]["color"]))
    style.annotate(axes, ends)
    unit = f"(basis points of log return; above 0: {model} is better)"
    axes.set_ylabel(style.plain(f"CRPS saved, added up\n{unit}"))
    of = "1 ticker" if drawn.tickers == 1 else f"mean of {drawn.tickers} tickers"
    first, last = drawn.days
    title = f"{model} against its baselines · {of}, {first:%Y-%m-%d} to {last:%Y-%m-%d}"
    if dominant := outliers.dominance(drawn.crps_by_ticker):
        title += f"\n{dominant}: see its prices"
    axes.set_title(style.plain(title))
    style.dates(axes)
    return figure


def of_backtest(
    made: pd.DataFrame | Parts,
    model: str,
    reactions: pd.DataFrame | None = None,
    drawn: Drawn | None = None,
) -> Iterator[tuple[str, "Figure"]]:
    """Yield the figures of a backtest, each with a name that is safe as a file's stem.

    ``forecast-TICKER`` and ``volatility-TICKER`` for the first two of the model's tickers only,
    then ``calibration``, and ``skill`` against those of gjr and naive that the forecasts have.

    Parameters
    ----------
    made : the forecasts frame, or its parts.
    model : whose figures they are.
    reactions : table of the backtest.
    drawn : what there is to show of the forecasts of the shortest step, if it is gathered already.

    Raises
    ------
    ForecastError
        The model has no next-day forecasts among them.
    HistoryError
        No outcome is known yet.
    """
    parts = Parts.of(made) if isinstance(made, pd.DataFrame) else made
    parts, looks = parts.of_step(parts.shortest), style.looks(parts)
    few = next((it for it in parts if (it["model"] == model).any()), None)
    few = next(iter(parts)) if few is None else few
    for ticker in _rows(few, model=model)["ticker"].unique()[:MOST_TICKERS]:
        yield f"forecast-{_stem(ticker)}", forecast(few, ticker, model, reactions=reactions)
        yield f"volatility-{_stem(ticker)}", volatility(few, ticker)
    drawn = drawn or Drawn(parts, model)
    yield "calibration", _calibration(drawn, drawn.models, looks)
    if against := [it for it in metrics.BASELINES if it in drawn.models and it != model]:
        yield "skill", _skill(drawn, [model, *against], looks)


def baselines(frame: pd.DataFrame, model: str) -> list[str]:
    """Return those of gjr and naive that a model of the frame can be held against there."""
    there = set(_shortest(frame)["model"].unique()) - {model}
    return [name for name in metrics.BASELINES if name in there]


def _shortest(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the shortest step; the frame itself if it has no others."""
    its = frame["step"] == frame["step"].min()
    return frame if its.all() else frame[its]


def _ahead(rows: pd.DataFrame) -> str:
    """Say how far ahead forecasts are."""
    step = metrics.step_of(rows)
    return "next-day forecasts" if step == 1 else f"forecasts {step} sessions ahead"


def _rows(frame: pd.DataFrame, **wanted: str) -> pd.DataFrame:
    """Return the next-day rows by date in which each column named has the value given."""
    rows = _shortest(frame)
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


def _shares_inside(rows: pd.DataFrame) -> dict[float, float]:
    """Return the share of known returns inside each interval; nothing where none is known."""
    known = metrics.known(rows)
    if known.empty:
        return {}
    table = coverage(known, splits=["all"])
    pooled = table[table["ticker"] == metrics.POOLED]
    return dict(zip(pooled["nominal"], pooled["share"], strict=True))


def _histogram(axes: "Axes", bins: pd.DataFrame, *, color: str) -> None:
    """Draw the shares of PITs in equal bins of [0, 1], the uniform share and its 95% band."""
    style.tidy(axes)
    width, share = 1 / len(bins), 100 * bins["share"]
    axes.bar(bins["start"], share, width=0.85 * width, align="edge", color=color, alpha=0.8)
    low, high = 100 * bins[["low", "high"]].iloc[0]
    label = "95% band for independent draws (same-day tickers are not)"
    axes.axhspan(low, high, color=GREY, alpha=0.35, linewidth=0, label=label)
    axes.axhline(100 * width, color=INK, linewidth=1, linestyle="--", label="as promised")
    axes.set_xlim(0, 1)
    axes.set_xlabel("PIT (a probability)")


def _reliability(axes: "Axes", tables: Sequence[pd.DataFrame], looks: Mapping[str, Look]) -> None:
    """Draw, in points, by how much the shares of returns below the quantiles miss their levels."""
    style.tidy(axes)
    fewest = min(tables, key=lambda table: table["forecasts"].iloc[0])
    band = 100 * fewest[["low", "high"]].sub(fewest["level"], axis=0)
    axes.fill_between(
        fewest["level"], band["low"], band["high"], color=GREY, alpha=0.35, linewidth=0
    )
    axes.axhline(0, color=INK, linewidth=1, linestyle="--")
    for its in reversed(tables):  # so that the first lies above the others
        model, miss = its["model"].iloc[0], 100 * (its["share"] - its["level"])
        axes.plot(its["level"], miss, linewidth=1.4, label=model, **looks[model])
    axes.set_xlim(0, 1)
    axes.set_xlabel("quantile level")
    axes.set_ylabel("returns below it − level (points)")


def _thirds(axes: "Axes", table: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """Draw what the 80% intervals held in calm, middling and wild markets."""
    style.tidy(axes)
    axes.axhline(80, color=INK, linewidth=1, linestyle="--")
    models = table["model"].unique()
    for i, model in enumerate(models):
        its = 100 * table[table["model"] == model][["share", "low", "high"]]
        ends = its["share"] - its["low"], its["high"] - its["share"]
        beside = np.arange(len(its)) + 0.6 * ((i + 0.5) / len(models) - 0.5)
        # The line, of no length, is for the legend: that of the panel on the left.
        axes.plot([], [], label=style.plain(model), linewidth=1.4, **looks[model])
        color, marker = looks[model]["color"], style.MARKERS[looks[model]["linestyle"]]
        axes.errorbar(beside, its["share"], ends, fmt=marker, markersize=4, color=color)
    axes.set_xticks(range(3), ["low", "middle", "high"])
    axes.set_xlabel("volatility known at the cutoff, by thirds")
    axes.set_ylabel("within the 80% interval (%)")


def _stem(ticker: str) -> str:
    """Return the ticker percent-encoded, so that no path, drive or hidden file is in it."""
    return quote(ticker, safe="").replace(".", "%2E")


def _span(rows: pd.DataFrame) -> str:
    """Return the first and the last date forecast."""
    return f"{rows['date'].min():%Y-%m-%d} to {rows['date'].max():%Y-%m-%d}"
