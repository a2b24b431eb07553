import numpy as np
import pandas as pd
import pytest
from repetitions import simulated
from scipy import stats

from forecaster.evaluation import calibration, independence
from forecaster.evaluation.metrics import POOLED


def test_berkowitz_is_the_ratio_of_two_likelihoods():
    from scipy.optimize import minimize

    z = np.random.default_rng(0).normal(0.1, 1.1, 200)

    def minus(theta):
        mean, slope, log_scale = theta
        return -stats.norm.logpdf(z[1:], mean + slope * z[:-1], np.exp(log_scale)).sum()

    free = minimize(minus, [0, 0, 0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10})
    ratio, p_value = independence.berkowitz(z)
    assert ratio == pytest.approx(2 * (-free.fun - stats.norm.logpdf(z[1:]).sum()), rel=1e-4)
    assert p_value == pytest.approx(stats.chi2.sf(ratio, 3))


def test_knueppel_of_one_moment_is_the_t_test():
    from forecaster.evaluation import significance

    series = np.random.default_rng(1).normal(0.1, 1, (300, 1))
    statistic, p_value = independence.knueppel(series)
    test = significance.diebold_mariano(series[:, 0], np.zeros(300))
    assert statistic == pytest.approx(test.statistic**2)
    assert p_value == pytest.approx(test.p_value)


@pytest.fixture(scope="module")
def tested(right):
    return independence.independence(right)


def test_sizes_of_right_forecasts(tested):
    for part in (tested["ticker"] == POOLED, tested["ticker"] != POOLED):
        rows = tested[part]
        for name in ("memory_p", "scale_memory_p", "knueppel_p"):
            assert (rows[name] < 0.05).mean() < 0.1, name
    alone = tested[tested["ticker"] != POOLED]
    assert 0.03 < (alone["berkowitz_p"] < 0.05).mean() < 0.075
    assert tested.loc[tested["ticker"] == POOLED, "berkowitz"].isna().all()


def test_memory_is_found_where_it_is(monkeypatch):
    frame = simulated(models=1, tickers=3, sessions=600, shared=0.0, seed=5)
    rng = np.random.default_rng(6)
    z = rng.normal(size=len(frame))
    rough = np.repeat(rng.random(len(frame) // 20 + 1), 20)[: len(frame)] < 0.3
    monkeypatch.setattr(calibration, "pit", lambda _: stats.norm.cdf(np.where(rough, 1.8, 0.6) * z))
    pooled = independence.independence(frame).set_index("ticker").loc[POOLED]
    assert pooled["scale_memory_p"] < 0.001
    assert pooled["memory_p"] > 0.01
    assert pooled["knueppel_p"] < 0.01


def test_a_few_sessions_say_nothing():
    frame = simulated(models=1, tickers=2, sessions=10, shared=0.0, seed=5)
    table = independence.independence(frame)
    assert isinstance(table, pd.DataFrame)
    assert table.empty
