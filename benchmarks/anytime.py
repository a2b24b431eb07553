"""What is looked at every day: how often it cries wolf, and how long it takes to see what there is.

Each simulation is 2,000 sessions long, and looked at after every one of them. Rows `size`: of 1,000
simulations of forecasts of which neither is better, the share in which the e-process ever shows one to
be (`shown`), and in which a t-test of the differences so far, looked at as often from the 20th session
on, is ever below 5% (`t_test`). Rows `power`: sessions until a better forecast is shown to be, 200
simulations each. Rows `coverage`: the share of simulations whose confidence sequence ever misses the
true share, and its width. `python benchmarks/anytime.py`
"""

from collections.abc import Callable

import common
import numpy as np

from forecaster.distributions import quantile_grid, student_t
from forecaster.evaluation import confidence_sequence, e_process

SIMULATIONS, DAYS = 1000, 2000
POWER_SIMULATIONS = 200
FIRST_LOOK = 20
"""Sessions before which nobody looks at a t-test."""

DF = 4.0
STANDARD = student_t.quantile(0.0, 1.0, DF, quantile_grid.LEVELS)

OWN_ERROR = 0.16
"""Standard deviation of the logarithm of the better model's scale, about the true one.

With it, the bound of the difference in CRPS is a quarter of the CRPS at a ratio of 0.99, as it is of the
LSTM and GJR-GARCH on US stocks.
"""

Sample = tuple[np.ndarray, np.ndarray]
"""Advantages and differences in CRPS, daily means over the tickers: (simulations, days) each."""


def main() -> None:
    """Simulates size, power and coverage."""
    for name, null in NULLS.items():
        shares = np.zeros(3)
        for rng in parts(SIMULATIONS):
            shares += null_shares(null(rng))
        values = dict(zip(("better", "worse", "t_test"), shares / SIMULATIONS, strict=True))
        common.row("anytime", {"kind": "size", "case": name, "tickers": TICKERS[name]}, **values)
    for tickers in (1, 5, 20):
        for ratio in (0.985, 0.97):
            power(ratio, tickers)
    for nominal in (0.8, 0.95):
        for tickers in (1, 20):
            coverage(nominal, tickers)


def parts(simulations: int, at_once: int = 20) -> list[np.random.Generator]:
    """A generator for every few simulations, so that they fit into memory."""
    return np.random.default_rng(1).spawn(simulations // at_once)


def null_shares(sample: Sample) -> np.ndarray:
    """How many simulations show either side to be better, and a t-test to be below 5%, on any day."""
    z, gaps = sample
    shown = [(e_process.e_process(it) >= e_process.ENOUGH).any(axis=1).sum() for it in (z, -z)]
    days = np.arange(1, DAYS + 1)
    mean, square = (np.cumsum(it, axis=1) / days for it in (gaps, gaps**2))
    with np.errstate(invalid="ignore", divide="ignore"):
        t = mean / np.sqrt((square - mean**2) / (days - 1))
    return np.array([*shown, (np.abs(t[:, FIRST_LOOK:]) > 1.96).any(axis=1).sum()])


def sample(
    rng: np.random.Generator,
    tickers: int,
    forecasts: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]],
    simulations: int = 20,
) -> Sample:
    """Compare two forecasts of returns with Student-t tails and a volatility of GARCH.

    Parameters
    ----------
    forecasts : from the true volatilities (simulations, tickers, days) to the centre and scale of the
        model's forecast and of the other's.
    """
    shape = (simulations, tickers, DAYS)
    # Half of the variance of each day's shocks is common to all tickers.
    both = rng.standard_normal((2, *shape))
    both[0] = rng.standard_normal((simulations, 1, DAYS))
    shocks = both.sum(axis=0) * np.sqrt(0.5)
    shocks *= np.sqrt(DF / rng.chisquare(DF, (simulations, 1, DAYS)))
    variance = np.ones(shape)
    for t in range(1, DAYS):
        before = (DF - 2) / DF * shocks[..., t - 1] ** 2
        variance[..., t] = 0.05 + (0.08 * before + 0.87) * variance[..., t - 1]
    sigma = np.sqrt(variance)
    y = (sigma * shocks).ravel()
    centre, scale, other_centre, other_scale = (it.ravel()[:, None] for it in forecasts(sigma))
    quantiles, others = centre + scale * STANDARD, other_centre + other_scale * STANDARD
    crps, other = quantile_grid.crps(y, quantiles), quantile_grid.crps(y, others)
    z = e_process.advantage(crps, other, quantiles, others)
    return tuple(it.reshape(shape).mean(axis=1) for it in (z, other - crps))  # type: ignore[return-value]


def symmetric(tickers: int) -> Callable[[np.random.Generator], Sample]:
    """As far off on either side of the truth."""

    def forecasts(sigma: np.ndarray) -> tuple[np.ndarray, ...]:
        return 0.2 * sigma, sigma, -0.2 * sigma, sigma

    return lambda rng: sample(rng, tickers, forecasts)


def by_turns(rng: np.random.Generator) -> Sample:
    """A month the other is right and the model's scale 30% too wide, then a month the other way round."""

    def forecasts(sigma: np.ndarray) -> tuple[np.ndarray, ...]:
        off = np.where(np.arange(DAYS) // 21 % 2 == 0, 1.3, 1.0)
        zero = np.zeros_like(sigma)
        return zero, off * sigma, zero, (2.3 - off) * sigma

    return sample(rng, 1, forecasts)


def in_regimes(rng: np.random.Generator) -> Sample:
    """Regimes of a year on average, in each of which one of the two is right: better until then."""
    changes = rng.random((20, 1, DAYS)) < 1 / 250
    turn = (np.cumsum(changes, axis=-1) + rng.integers(0, 2, (20, 1, 1))) % 2

    def forecasts(sigma: np.ndarray) -> tuple[np.ndarray, ...]:
        off = np.where(turn == 0, 1.3, 1.0)
        zero = np.zeros_like(sigma)
        return zero, off * sigma, zero, (2.3 - off) * sigma

    return sample(rng, 1, forecasts)


NULLS: dict[str, Callable[[np.random.Generator], Sample]] = {
    "as far off on either side": symmetric(1),
    "the same, tickers that move together": symmetric(5),
    "worse for a month, then better for one": by_turns,
    "better by turns of a year (no null: it was better)": in_regimes,
}
TICKERS = {name: 5 if "together" in name else 1 for name in NULLS}


def power(ratio: float, tickers: int) -> None:
    """Sessions until a forecast is shown to be better whose CRPS over the other's is `ratio`."""
    error, measured = other_error(ratio)

    def forecasts(sigma: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        def noise(spread: float) -> np.ndarray:
            # Half of the variance is common to all tickers of a day.
            shared = rng.standard_normal((sigma.shape[0], 1, DAYS))
            return np.exp(spread * np.sqrt(0.5) * (shared + rng.standard_normal(sigma.shape)))

        zero = np.zeros_like(sigma)
        return zero, sigma * noise(OWN_ERROR), zero, sigma * noise(error)

    sessions = []
    for rng in parts(POWER_SIMULATIONS, at_once=10):
        z, _ = sample(rng, tickers, lambda sigma, rng=rng: forecasts(sigma, rng), simulations=10)
        values = e_process.e_process(z) >= e_process.ENOUGH
        sessions += np.where(values.any(axis=1), values.argmax(axis=1) + 1, np.inf).tolist()
    quartiles = np.percentile(sessions, [25, 50, 75], method="lower")
    common.row(
        "anytime",
        {"kind": "power", "case": f"CRPS ratio {ratio}", "tickers": tickers},
        measured=measured,
        **dict(zip(("first_quarter", "half", "three_quarters"), quartiles, strict=True)),
        within_1000=float(np.mean(np.array(sessions) <= 1000)),
    )


def other_error(ratio: float) -> tuple[float, float]:
    """The error of the other's scale at which the CRPS ratio is as wanted, and the ratio it gives."""
    rng = np.random.default_rng(0)
    y, draws = rng.standard_t(DF, 200_000), rng.standard_normal((2, 200_000))

    def crps(error: float, draw: np.ndarray) -> float:
        return float(quantile_grid.crps(y, np.exp(error * draw)[:, None] * STANDARD).mean())

    own, low, high = crps(OWN_ERROR, draws[0]), OWN_ERROR, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if own / crps(middle, draws[1]) > ratio else (low, middle)
    return low, own / crps(low, draws[1])


def coverage(nominal: float, tickers: int) -> None:
    """The misses and the widths of the confidence sequence of a share."""
    misses, widths = 0, []
    for number, rng in enumerate(np.random.default_rng(2).spawn(SIMULATIONS)):
        # All tickers share their fate on half of the days.
        inside = rng.random((DAYS, tickers)) < nominal
        together = rng.random(DAYS) < 0.5
        inside[together] = inside[together][:, :1]
        x = inside.mean(axis=1)
        misses += bool(
            (confidence_sequence.capital(x, nominal) >= 1 / confidence_sequence.MISS).any()
        )
        if number < POWER_SIMULATIONS:
            its = [confidence_sequence.bounds(x[:days]) for days in (250, 1000)]
            widths.append([it.high - it.low for it in its])
    after_250, after_1000 = np.median(widths, axis=0)
    common.row(
        "anytime",
        {"kind": "coverage", "case": f"{nominal:.0%} intervals", "tickers": tickers},
        missed=misses / SIMULATIONS,
        width_250=float(after_250),
        width_1000=float(after_1000),
    )


if __name__ == "__main__":
    main()
