"""The pictures of the pages that explain: ``python docs/generate/figures.py`` draws them again.

Nothing in them is measured: they show what CRPS, QLIKE, coverage and a forget gate are.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from forecaster.distributions import quantile_grid
from forecaster.evaluation.metrics import qlike
from forecaster.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = Path(__file__).parents[1] / "pictures"
BLUE, ORANGE, GREEN, *_ = style.PALETTE


def crps() -> "Figure":
    """Return the CRPS as an area, and as a function of what happened."""
    figure = style.canvas(1, 2, height=3)
    left, right = figure.axes
    x, outcome = np.linspace(-4, 4, 401), 1.2
    below, above = stats.norm.cdf(x), (x >= outcome).astype(float)
    left.plot(x, below, color=BLUE, label="forecast: P(return ≤ x)")
    left.plot(x, above, color=style.INK, label="what happened: 1.2%")
    left.fill_between(x, below, above, color=BLUE, alpha=0.25, linewidth=0)
    left.set_xlabel("return, %")
    left.legend(frameon=False, fontsize=8, loc="upper left")
    left.set_title("CRPS: the shaded gap, squared and added up", fontsize=10)
    outcomes = np.linspace(-4, 4, 161)
    for sigma, color in ((0.5, ORANGE), (1, BLUE), (2, GREEN)):
        quantiles = stats.norm.ppf(quantile_grid.LEVELS, scale=sigma)
        losses = quantile_grid.crps(outcomes, np.tile(quantiles, (len(outcomes), 1)))
        right.plot(outcomes, losses, color=color, label=f"±{sigma:g}% forecast")
    right.set_xlabel("what happened, %")
    right.set_ylabel("CRPS, %")
    right.legend(frameon=False, fontsize=8, loc="upper center")
    right.set_title("Narrow wins on calm days, wide on wild ones", fontsize=10)
    return figure


def losses_of_volatility() -> "Figure":
    """Return QLIKE, on average, of a wrong volatility."""
    figure = style.canvas(height=3)
    (axes,) = figure.axes
    draws = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    wrong = np.linspace(0.5, 2, 76)
    mean = [qlike(draws, np.full_like(draws, sigma)).mean() for sigma in wrong]
    axes.plot(wrong, np.array(mean) - min(mean), color=BLUE)
    axes.axvline(1, color=style.GREY, linewidth=0.8)
    axes.set_xlabel("forecast volatility over the true one")
    axes.set_ylabel("QLIKE above the least")
    axes.set_title("QLIKE is least at the truth, and too low costs more than too high", fontsize=10)
    return figure


def coverage() -> "Figure":
    """Return sixty outcomes in an interval of 80%, some of them outside."""
    figure = style.canvas(height=3)
    (axes,) = figure.axes
    random = np.random.default_rng(3)
    days = np.arange(60)
    sigma = 1 + 0.6 * np.sin(days / 9)
    outcomes = random.normal(0, sigma)
    reach = stats.norm.ppf(0.9) * sigma
    inside = np.abs(outcomes) <= reach
    axes.fill_between(days, -reach, reach, color=BLUE, alpha=0.25, linewidth=0)
    axes.plot(days[inside], outcomes[inside], "o", color=BLUE, markersize=4)
    axes.plot(days[~inside], outcomes[~inside], "D", color=ORANGE, markersize=5)
    axes.set_xlabel("session")
    axes.set_ylabel("return, %")
    axes.set_title(
        f"An interval of 80% that held {np.mean(inside):.0%} of {len(days)} days: "
        f"{np.sum(~inside)} outside, of 12 expected",
        fontsize=10,
    )
    return figure


def memory() -> "Figure":
    """Return how much of a memory is left after k sessions, by its forget gate."""
    figure = style.canvas(height=3)
    (axes,) = figure.axes
    sessions = np.arange(1, 101)
    for share, color in ((0.5, ORANGE), (0.9, GREEN), (0.99, BLUE)):
        axes.semilogy(sessions, share**sessions, color=color, label=f"kept a session: {share:g}")
    axes.set_xlabel("sessions ago")
    axes.set_ylabel("share that is left")
    axes.set_ylim(1e-6, 2)
    axes.legend(frameon=False, fontsize=9)
    axes.set_title("A gradient is multiplied at every session it goes back", fontsize=10)
    return figure


def main() -> None:
    """Draw every picture."""
    from matplotlib import rc_context

    for name, draw in {
        "crps": crps,
        "qlike": losses_of_volatility,
        "coverage": coverage,
        "memory": memory,
    }.items():
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
            draw().savefig(PICTURES / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
