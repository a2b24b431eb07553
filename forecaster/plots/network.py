"""A recurrent network as pictures: its training, its gates, its memory, and what moved its forecast.

Each function returns a matplotlib Figure in the style of :mod:`forecaster.plots.style`; nothing is
saved or shown. All but :func:`training` draw an
:class:`forecaster.explain.explanation.Explanation`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from forecaster.explain.attribution import LAGS
from forecaster.explain.explanation import CARRY_GATES, SHOCK, Explanation, Reading
from forecaster.plots.style import (
    GREY,
    INK,
    PALE,
    PALETTE,
    canvas,
    legend,
    look,
    plain,
    sheet,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

WINDOW = 120
"""Sessions drawn before a cutoff: about half a year."""

MOST_FEATURES = 9
LEAST_GRADIENT = 1e-12
"""The foot of the axis: less is nothing to a training in float32."""


def overview(explanation: Explanation) -> "Figure":
    """Draw everything: the gates above; below, memory, shocks, gradients and features."""
    figure = sheet(11.5)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.1, 1))[:, 0]
    _gates(above, explanation)
    first, second, third, fourth = below.subplots(2, 2).flat
    for axes in (first, second, third, fourth):
        tidy(axes)
    _half_lives(first, explanation)
    _shocks(second, explanation)
    _gradients(third, explanation)
    _features(fourth, explanation)
    figure.suptitle(_title(explanation), fontsize=12)
    return figure


def gates(reading: Reading, *, sessions: int = WINDOW) -> "Figure":
    """Draw the returns that the network read above its gates and states, session by session.

    A row of a heat map is a unit of the first network, the one with the longest memory on top.
    """
    figure = sheet(6.2)
    _gates(figure, reading, sessions)
    figure.suptitle(_title(reading), fontsize=12)
    return figure


def memory(explanation: Explanation) -> "Figure":
    """Draw how long the units remember, and how long a bad day widens the forecast."""
    figure = canvas(1, 2, height=3.6)
    first, second = figure.axes
    _half_lives(first, explanation)
    _shocks(second, explanation)
    figure.suptitle(_title(explanation), fontsize=12)
    return figure


def gradients(explanation: Explanation) -> "Figure":
    """Draw how much the inputs of each lag can move the forecast, for each kind of cell there is."""
    figure = canvas(height=3.6)
    (axes,) = figure.axes
    _gradients(axes, explanation)
    axes.set_title(_title(explanation), fontsize=12)
    return figure


def training(epochs: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw the losses of a training by epoch, with the best on the sessions held out marked.

    Parameters
    ----------
    epochs : ``run.model.training``: seed, epoch, loss and validation_loss (nats a session) of each
        epoch of each network; no loss of an epoch 0, the weights that it started from.
    """
    from matplotlib.ticker import MaxNLocator

    figure = canvas(height=4)
    (axes,) = figure.axes
    seeds = list(dict.fromkeys(row["seed"] for row in epochs))
    for seed in seeds:
        rows = [row for row in epochs if row["seed"] == seed]
        best = min(rows, key=lambda row: row["validation_loss"])
        names = ["last training batch", "held out", "best"] if seed == seeds[0] else [None] * 3
        for these, key, color, name in (
            ([row for row in rows if "loss" in row], "loss", PALE, names[0]),
            (rows, "validation_loss", PALETTE[0], names[1]),
        ):
            x, y = [row["epoch"] for row in these], [row[key] for row in these]
            axes.plot(x, y, ".-", color=color, linewidth=1.3, label=name)
        place = best["epoch"], best["validation_loss"]
        axes.plot(*place, "o", color=PALETTE[1], markersize=8, label=names[2])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("negative log likelihood\n(nats a session)")
    axes.set_title(f"Training of {len(seeds)} network{'s' if len(seeds) > 1 else ''}")
    legend(figure, axes, columns=3)
    return figure


def _title(reading: Reading) -> str:
    row = reading.forecast.iloc[0]
    when = "before" if row["step"] == 1 else f"over {row['step']} sessions to"
    return plain(
        f"{row['ticker']} · the {reading.run.model.name} of run {reading.run.name} "
        f"{when} {row['date']:%Y-%m-%d}"
    )


def _gates(figure: "FigureBase", reading: Reading, sessions: int = WINDOW) -> None:
    activity = reading.activity
    order = activity.order
    dates, returns = activity.dates[-sessions:], 100 * activity.log_returns[-sessions:]
    names = list(activity.gates)
    top, *maps = figure.subplots(
        1 + len(names), 1, sharex=True, gridspec_kw={"height_ratios": [1.5, *[1] * len(names)]}
    )
    top.bar(
        np.arange(len(returns)), returns, width=0.8, color=np.where(returns < 0, PALETTE[1], INK)
    )
    top.axhline(0, color=GREY, linewidth=0.8)
    top.set_ylabel("return (%)", fontsize=9)
    for axes, name in zip(maps, names, strict=True):
        values = activity.gates[name][-sessions:, order].T  # (units, sessions)
        is_gate = name.endswith("gate")
        most = 1.0 if is_gate else float(np.abs(values).max()) or 1.0
        drawn = axes.imshow(
            values,
            aspect="auto",
            origin="lower",
            interpolation="nearest",
            cmap="cividis" if is_gate else "PuOr",
            vmin=0 if is_gate else -most,
            vmax=most,
        )
        figure.colorbar(drawn, ax=axes, pad=0.01, aspect=9).ax.tick_params(labelsize=8)
        axes.set_ylabel(name.replace(" ", "\n"), fontsize=9)
        axes.set_yticks([])
    for axes in (top, *maps):
        axes.spines[:].set_visible(False)
        axes.tick_params(labelsize=9, color=GREY, bottom=axes is maps[-1])
    places = np.linspace(0, len(dates) - 1, 6).round().astype(int)
    maps[-1].set_xticks(places, [str(dates[place]) for place in places])
    for label, side in zip(
        maps[-1].get_xticklabels()[:: len(places) - 1], ("left", "right"), strict=True
    ):
        label.set_horizontalalignment(side)  # within the axes, whose room the colour bars share
    has_order = reading.run.model.name in CARRY_GATES
    maps[-1].set_xlabel(
        "session" + " (each row is a unit; long memories on top)" * has_order, fontsize=9
    )


def _half_lives(axes: "Axes", explanation: Explanation) -> None:
    axes.set_title("memory of the units", fontsize=10)
    name, half_lives = explanation.run.model.name, explanation.activity.half_lives
    if name not in CARRY_GATES:
        words, place = "a plain cell has no gate\nthat keeps a memory", axes.transAxes
        axes.text(0.5, 0.5, words, ha="center", va="center", fontsize=9, transform=place)
        axes.set_axis_off()
        return
    shown = np.clip(half_lives, 0.1, 10_000)  # a gate that never closes forgets nothing
    wide = shown.max() > 10 * shown.min()
    edges = (np.geomspace if wide else np.linspace)(shown.min() / 1.05, shown.max() * 1.05, 13)
    axes.hist(shown, bins=edges.tolist(), color=look(name)["color"], edgecolor="white")
    middle = float(np.median(shown))
    axes.axvline(middle, color=INK, linestyle="--", linewidth=1)
    if wide:
        axes.set_xscale("log")
    axes.set_xlabel(
        f"half-life by mean {CARRY_GATES[name]} (sessions; median {middle:.1f})", fontsize=9
    )
    axes.set_ylabel("units", fontsize=9)


def _shocks(axes: "Axes", explanation: Explanation) -> None:
    name, memory = explanation.run.model.name, explanation.memory
    lags = np.arange(1, LAGS + 1)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.plot(lags, 100 * memory.network, color=look(name)["color"], linewidth=1.6, label=name)
    if memory.garch:
        for name, path, line in (
            ("gjr, same days", memory.garch_path, "-"),
            ("gjr, closed form", memory.garch_expected, ":"),
        ):
            axes.plot(lags, 100 * path, color=INK, linewidth=1.2, linestyle=line, label=name)
    axes.set_title(f"a fall of {SHOCK:g} volatilities, k sessions ago", fontsize=10)
    axes.set_xlabel("k (sessions)", fontsize=9)
    axes.set_ylabel("forecast wider by (%)", fontsize=9)
    axes.legend(fontsize=8.5, frameon=False)


def _gradients(axes: "Axes", explanation: Explanation) -> None:
    for name, sizes in explanation.gradients.items():
        shown = sizes[:LAGS]
        axes.semilogy(
            np.arange(1, len(shown) + 1),
            shown,
            color=look(name)["color"],
            linewidth=1.6,
            label=name,
        )
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, LEAST_GRADIENT), high)
    axes.set_title("gradient of the forecast by a session's inputs", fontsize=10)
    axes.set_xlabel("lag (sessions)", fontsize=9)
    axes.set_ylabel("size (log volatility\nper std. dev.)", fontsize=9)
    axes.legend(fontsize=8.5, frameon=False)


def _features(axes: "Axes", explanation: Explanation) -> None:
    attribution = explanation.attribution
    effects = 100 * attribution.by_feature
    ranked = np.argsort(-np.abs(effects))
    shown, rest = ranked[:MOST_FEATURES], ranked[MOST_FEATURES:]
    names = [attribution.features[i] for i in shown] + [f"{len(rest)} others"] * bool(len(rest))
    values = np.append(effects[shown], [effects[rest].sum()] * bool(len(rest)))
    rows = np.arange(len(values))[::-1]
    axes.barh(rows, values, color=np.where(values > 0, PALETTE[1], PALETTE[0]))
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_yticks(rows, names, fontsize=8)
    axes.set_title("what moved this forecast", fontsize=10)
    axes.set_xlabel("effect on volatility (%, as 100 × log)", fontsize=9)
