import numpy as np
import pandas as pd
import pytest
from repetitions import pooled, rejected, simulated, single, uniform
from scipy import stats

from forecaster.evaluation import calibration, value_at_risk


@pytest.mark.parametrize(
    ("n", "level", "least", "most"),
    [
        (255, 0.01, 1, 6),
        (510, 0.01, 2, 10),
        (1000, 0.01, 5, 16),
        (255, 0.05, 7, 20),
        (510, 0.05, 17, 35),
        (1000, 0.05, 38, 64),
    ],
)
def test_kupiec_accepts_what_his_table_does(n, level, least, most):
    # Non-rejection regions at 5%: Kupiec (1995), as in Jorion (2006), Value at risk, table 6-2.
    # At 255 and 1% the table has N < 7 and no lower end; the ratio of no breach, 5.13, rejects.
    breaches = np.arange(n + 1)
    accepted = breaches[value_at_risk.kupiec(breaches, n, level) < stats.chi2.ppf(0.95, 1)]
    assert accepted.max() == most
    assert accepted.min() == least


def test_kupiec_is_the_ratio_of_binomial_likelihoods():
    for breaches, n in ((0, 250), (3, 250), (20, 1000), (250, 250)):
        ratio = stats.binom.logpmf(breaches, n, breaches / n) - stats.binom.logpmf(
            breaches, n, 0.01
        )
        assert value_at_risk.kupiec(breaches, n, 0.01) == pytest.approx(2 * ratio)


def test_christoffersen_is_the_g_test_of_the_transitions():
    for n00, n01, n10, n11 in ((900, 40, 40, 20), (950, 25, 25, 0), (30, 30, 30, 30)):
        table = [[n00, n01], [n10, n11]]
        g = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood").statistic
        assert value_at_risk.christoffersen(n00, n01, n10, n11) == pytest.approx(g, abs=1e-9)
    assert value_at_risk.christoffersen(249, 0, 0, 0) == 0


def test_breaches_by_hand():
    # Below q0.05 = 0.05 four times of twelve: a pair in a row, two alone; one below q0.01 = 0.01.
    x = [0.5, 0.04, 0.03, 0.5, 0.5, 0.02, 0.5, 0.5, 0.5, 0.5, 0.005, 0.5]
    table = single(value_at_risk.value_at_risk(uniform(x))).set_index("level")
    row = table.loc[0.95]
    assert (row["breaches"], row["share"]) == (4, 4 / 12)
    assert row["expected"] == pytest.approx(0.6)
    unconditional = value_at_risk.kupiec(4, 12, 0.05)
    independence = value_at_risk.christoffersen(n00=4, n01=3, n10=3, n11=1)
    assert row["unconditional_p"] == pytest.approx(stats.chi2.sf(unconditional, 1))
    # Of eleven pairs the shares that are larger, equal ones by half, among other sequences of chance.
    for name, rate, its in (
        ("independence_p", 4 / 12, independence),
        ("conditional_p", 0.05, unconditional + independence),
    ):
        breach = np.random.default_rng(5).random((20_000, 12)) < rate
        n11 = (breach[:, 1:] & breach[:, :-1]).sum(axis=1)
        n01, n10 = breach[:, 1:].sum(axis=1) - n11, breach[:, :-1].sum(axis=1) - n11
        draws = value_at_risk.christoffersen(11 - n01 - n10 - n11, n01, n10, n11)
        if name == "conditional_p":
            draws = draws + value_at_risk.kupiec(n01 + n11, 11, 0.05)
        equal = np.isclose(draws, its)
        expected = ((draws > its) & ~equal).mean() + equal.mean() / 2
        assert row[name] == pytest.approx(expected, abs=0.03)
    assert row["loss"] == pytest.approx(-(0.04 + 0.03 + 0.02 + 0.005) / 4)
    assert table.loc[0.99, "breaches"] == 1
    assert np.isnan(table.loc[0.99, "shortfall_p"])  # of one breach nothing can be said


def test_breaches_over_all_tickers_by_hand():
    # Of two tickers, breaches of q0.05: both on one day, one on two others; twelve days.
    first, second = np.full(12, 0.5), np.full(12, 0.5)
    first[[2, 5]], second[[2, 9]] = 0.01, 0.01
    frame = pd.concat([uniform(first), uniform(second).assign(ticker="T1")], ignore_index=True)
    row = pooled(value_at_risk.value_at_risk(frame)).set_index("level").loc[0.95]
    surplus = np.array([2, 1, 1] + [0] * 9) - 4 / 12
    squares, fourths = (surplus**2).sum(), (surplus**4).sum()
    effect = squares / (4 * (1 - 4 / 24))
    df = 2 * squares**2 / (fourths - squares**2 / 12)
    assert effect > 1
    ratio = value_at_risk.kupiec(4, 24, 0.05) / effect
    assert row["unconditional_p"] == pytest.approx(stats.f.sf(ratio, 1, df))
    inside = pooled(calibration.coverage(frame)).set_index("nominal").loc[0.9]
    z = (20 / 24 - 0.9) / np.sqrt(0.9 * 0.1 * effect / 24)
    assert inside["p_value"] == pytest.approx(2 * stats.t.sf(abs(z), df))
    # Where a bound is the promise, the test of that promise has p = 5%.
    low = inside["low"]
    z = (20 / 24 - low) / np.sqrt(low * (1 - low) * effect / 24)
    assert 2 * stats.t.sf(z, df) == pytest.approx(0.05)


def test_right_values_at_risk_are_called_right(right):
    table = value_at_risk.value_at_risk(right)
    rows, each = pooled(table), single(table)
    for level in (0.95, 0.99):
        assert rejected(rows, "unconditional_p", level=level) <= 0.10
        assert rejected(rows, "independence_p", level=level) <= 0.10
        assert rejected(rows, "conditional_p", level=level) <= 0.10
        assert rejected(rows, "shortfall_p", level=level) <= 0.06
        assert rejected(each, "unconditional_p", level=level) <= 0.08
        assert rejected(each, "independence_p", level=level) <= 0.08
    assert rejected(each, "unconditional_p", level=0.95) >= 0.03
    assert rejected(pooled(table), "unconditional_p", level=0.95) >= 0.01


def test_losses_beyond_the_forecast_shortfall_are_found():
    # The value at risk is right, the losses beyond it are half as large again as they should be.
    frame = simulated(models=30, tickers=6, sessions=400, seed=6)
    beyond = frame["log_return"] < frame["q0.05"]
    worse = frame["q0.05"] + 1.5 * (frame["log_return"] - frame["q0.05"])
    frame["log_return"] = frame["log_return"].where(~beyond, worse)
    table = pooled(value_at_risk.value_at_risk(frame))
    assert rejected(table, "shortfall_p", level=0.95) > 0.6
    assert rejected(table, "unconditional_p", level=0.95) < 0.2


def test_breaches_in_a_row_are_found():
    # Volatility comes in spells that the forecasts know nothing of, though their level is right.
    frame = simulated(models=30, tickers=3, sessions=600, shared=0.2, seed=7)
    spells = np.where(np.arange(600) // 30 % 4 == 0, 2.2, 0.6)
    frame["log_return"] *= np.tile(spells, 90)
    level = pooled(value_at_risk.value_at_risk(frame))
    assert rejected(level, "independence_p", level=0.95) > 0.8
    each = single(value_at_risk.value_at_risk(frame))
    assert rejected(each, "independence_p", level=0.95) > 0.5


def sequences(rate, count=2000, n=1000):
    """Counts (n00, n01, n10, n11) of the pairs in sequences of independent breaches."""
    breach = np.random.default_rng(11).random((count, n + 1)) < rate
    before, now = breach[:, :-1], breach[:, 1:]
    n11 = (before & now).sum(axis=1)
    n01, n10 = now.sum(axis=1) - n11, before.sum(axis=1) - n11
    return n - n01 - n10 - n11, n01, n10, n11


@pytest.mark.parametrize("level", [0.01, 0.05])
def test_monte_carlo_p_values_are_even_under_independence_where_chi_square_is_not(level):
    counts = sequences(level)
    ratio, breaches = value_at_risk.christoffersen(*counts), counts[1] + counts[3]
    both = ratio + value_at_risk.kupiec(breaches, 1000, level)
    lengths = np.full(2000, 1000)
    for p_values in value_at_risk.monte_carlo(ratio, both, lengths, breaches / 1000, level):
        assert abs((p_values < 0.05).mean() - 0.05) < 0.02
        assert abs(p_values.mean() - 0.5) < 0.1  # a ratio of few breaches has few values
    if level == 0.01:
        assert (stats.chi2.sf(ratio, 1) < 0.05).mean() < 0.03


def test_too_many_breaches_are_no_evidence_of_breaches_that_come_together():
    """Three breaches where one is promised, each by itself."""
    counts = sequences(0.03)
    ratio, breaches = value_at_risk.christoffersen(*counts), counts[1] + counts[3]
    both = ratio + value_at_risk.kupiec(breaches, 1000, 0.01)
    independence, conditional = value_at_risk.monte_carlo(
        ratio, both, np.full(2000, 1000), breaches / 1000, 0.01
    )
    assert abs((independence < 0.05).mean() - 0.05) < 0.02
    assert (conditional < 0.05).mean() > 0.95


def test_monte_carlo_finds_breaches_that_come_together():
    ratio = value_at_risk.christoffersen(970, 10, 10, 10)
    p_value, _ = value_at_risk.monte_carlo([ratio], [ratio], [1000], [0.02], 0.02)
    assert p_value[0] == pytest.approx(0.0005)  # beyond all that were simulated


@pytest.fixture(scope="module")
def together():
    """300 repetitions of right forecasts of 4 tickers that fall together, and their tests."""
    frame = simulated(models=300, tickers=4, sessions=250, shared=0.6, seed=3)
    return frame, pooled(value_at_risk.value_at_risk(frame))


@pytest.mark.parametrize("level", [0.95, 0.99])
def test_breaches_of_days_in_common_are_independent_as_often_as_promised(together, level):
    """At 5% between 1 and 7 times in a hundred; by pairs counted as independent it is 10 times."""
    _, tests = together
    assert 0.01 <= rejected(tests, "independence_p", level=level) <= 0.07
    assert 0.01 <= rejected(tests, "conditional_p", level=level) <= 0.08


def test_the_p_value_over_tickers_is_that_of_days_drawn_in_any_order(together):
    """Where no day foretells the next, all orders of the days are as likely, whatever ties tickers."""
    frame, tests = together
    breach = value_at_risk.breached(frame, 0.95).reshape(300, 4, 250).swapaxes(1, 2)
    told = tests[tests["level"] == 0.95]["independence_p"].to_numpy()
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(250), (500, 1)), axis=1)
    expected = []
    for its in breach[:40]:
        draws, own = (value_at_risk.christoffersen(*pairs(it)) for it in (its[orders], its))
        equal = np.isclose(draws, own)
        expected.append(((draws > own) & ~equal).mean() + equal.mean() / 2)
    assert np.abs(told[:40] - expected).mean() < 0.1
    assert np.corrcoef(told[:40], expected)[0, 1] > 0.9


def pairs(breach):
    """Counts (n00, n01, n10, n11) of the pairs of successive sessions: of (..., sessions, tickers)."""
    before, now = breach[..., :-1, :], breach[..., 1:, :]
    kinds = (~before & ~now, ~before & now, before & ~now, before & now)
    return [kind.sum(axis=(-2, -1)) for kind in kinds]


def test_sequences_are_the_same_however_many_are_simulated_at_once(monkeypatch):
    together = value_at_risk._simulated.__wrapped__(1000, 0.05)
    monkeypatch.setattr(value_at_risk, "_NUMBERS_AT_ONCE", 1000)
    apart = value_at_risk._simulated.__wrapped__(1000, 0.05)
    assert {*together} == {"independence", "conditional"}
    for name, ratios in together.items():
        np.testing.assert_array_equal(apart[name], ratios)
