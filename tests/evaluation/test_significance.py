import numpy as np
import pandas as pd
import pytest
from scipy import stats

from forecaster.errors import ForecastError, HistoryError, UsageError
from forecaster.evaluation import significance

DAYS = pd.bdate_range("2020-01-01", periods=600)


def losses(**series):
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "ticker": "AAPL",
                    "model": model,
                    "cutoff": DAYS[: len(values)],
                    "date": DAYS[1 : len(values) + 1],
                    "crps": values,
                }
            )
            for model, values in series.items()
        ],
        ignore_index=True,
    )


def test_statistic_by_hand():
    # d = 1, 2, 3: mean 2, g0 = 2/3, g1 = 0. Lag 1: V = 2/3, statistic 2 / sqrt(V / (3 - 1)).
    test = significance.diebold_mariano([2, 4, 6], [1, 2, 3], lags=1)
    assert test.difference == 2
    assert test.statistic == pytest.approx(2 * np.sqrt(3))
    # A t with 2 degrees of freedom has the cdf 1/2 + t / (2 sqrt(2 + t²)).
    assert test.p_value == pytest.approx(1 - np.sqrt(12 / 14))
    assert (test.sessions, test.lags) == (3, 1)


# The first 60 values of R's WWWusage, which the examples of forecast::dm.test are of.
USERS = [
    88, 84, 85, 85, 84, 85, 83, 85, 88, 89, 91, 99, 104, 112, 126, 138, 146, 151, 150, 148, 147, 149,
    143, 132, 131, 139, 147, 150, 148, 145, 140, 134, 131, 131, 129, 126, 126, 132, 137, 140, 142, 150,
    159, 167, 170, 171, 172, 172, 174, 175, 172, 172, 174, 174, 169, 165, 156, 142, 131, 121,
]  # fmt: skip


@pytest.mark.parametrize(
    ("power", "h", "statistic", "p_value"),
    [
        (1, 1, 2.4112376271616, 0.0191438520085),
        (2, 1, 2.86476596557728, 0.00583333599816),
        (1, 4, 1.7838793676803, 0.0797666452284),
        (2, 4, 1.9763955162245, 0.0529561327081),
        (2, 6, 1.8612811753701, 0.0678640105546),
    ],
)
def test_statistic_equals_dm_test_of_r(power, h, statistic, p_value):
    # R 4.2.2, forecast 8.20: y <- as.numeric(WWWusage)[1:60]; n <- 60
    # e1 <- y[3:n] - y[2:(n-1)]; e2 <- y[3:n] - 2 * y[2:(n-1)] + y[1:(n-2)]
    # dm.test(e1, e2, h = h, power = power, varestimator = if (h == 1) "acf" else "bartlett")
    y = np.array(USERS, dtype=float)
    no_change, same_change = np.diff(y)[1:], np.diff(y, 2)
    n = len(same_change)
    test = significance.diebold_mariano(
        np.abs(no_change) ** power, np.abs(same_change) ** power, lags=h - 1
    )
    # R's horizon gives both the lags and the correction, which here is always that of horizon 1.
    correction = np.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / (n - 1))
    assert test.statistic * correction == pytest.approx(statistic, rel=1e-10)
    assert 2 * stats.t.sf(test.statistic * correction, n - 1) == pytest.approx(p_value, rel=1e-9)
    if h == 1:
        assert test.p_value == pytest.approx(p_value, rel=1e-9)


@pytest.mark.parametrize(("n", "lags"), [(50, 3), (250, None), (600, 12)])
def test_statistic_equals_a_regression_on_a_constant(n, lags):
    from statsmodels.regression.linear_model import OLS

    rng = np.random.default_rng(n)
    noise = rng.normal(size=n + 1)
    a, b = noise[1:] + 0.5 * noise[:-1] + 0.1, rng.normal(size=n)
    test = significance.diebold_mariano(a, b, lags=lags)
    # use_correction multiplies the variance by T / (T - 1), which is the correction at horizon 1.
    fit = OLS(a - b, np.ones(n)).fit(
        cov_type="HAC", cov_kwds={"maxlags": test.lags, "use_correction": True}, use_t=True
    )
    assert test.statistic == pytest.approx(fit.tvalues[0], rel=1e-9)
    assert test.p_value == pytest.approx(fit.pvalues[0], rel=1e-7)


@pytest.mark.parametrize(("n", "lags"), [(100, 4), (250, 4), (1500, 7), (2, 1)])
def test_default_lags(n, lags):
    series = np.arange(n) % 2
    assert significance.diebold_mariano(series, np.zeros(n)).lags == lags


def test_equal_losses_are_no_evidence_and_a_constant_gap_is_all_of_it():
    a = np.random.default_rng(0).normal(size=50)
    assert significance.diebold_mariano(a, a) == significance.Test(0.0, 0.0, 1.0, 50, 3)
    test = significance.diebold_mariano(np.ones(50), np.full(50, 1.5))
    assert (test.statistic, test.p_value) == (-np.inf, 0.0)


def test_swapping_and_scaling():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 80))
    one, other = significance.diebold_mariano(a, b), significance.diebold_mariano(b, a)
    assert one.statistic == pytest.approx(-other.statistic)
    assert one.p_value == pytest.approx(other.p_value)
    scaled = significance.diebold_mariano(1e-4 * a, 1e-4 * b)
    assert scaled.p_value == pytest.approx(one.p_value)


def test_bad_series_are_refused():
    with pytest.raises(ForecastError, match="of one length"):
        significance.diebold_mariano([1, 2, 3], [1, 2])
    with pytest.raises(ForecastError, match="1 that are not"):
        significance.diebold_mariano([1, 2, np.nan], [1, 2, 3])
    with pytest.raises(HistoryError, match="at least 2 sessions"):
        significance.diebold_mariano([1], [2])


@pytest.mark.parametrize("memory", [0.0, 0.2])
def test_size_under_the_null(memory):
    rng = np.random.default_rng(11)
    noise = rng.standard_t(5, (4000, 400))
    d = noise[:, 1:] + memory * noise[:, :-1]
    zeros = np.zeros(d.shape[1])
    rejected = np.mean([significance.diebold_mariano(row, zeros).p_value < 0.05 for row in d])
    assert 0.03 <= rejected <= 0.075


def test_power_grows_with_the_sessions():
    rng = np.random.default_rng(12)
    d = rng.normal(0.15, 1, (300, 1000))

    def power(n):
        zeros = np.zeros(n)
        tests = (significance.diebold_mariano(row[:n], zeros) for row in d)
        return np.mean([test.p_value < 0.05 for test in tests])

    assert power(100) < 0.5
    assert power(1000) > 0.98


def test_by_day_means_over_the_tickers_both_have():
    a = losses(lstm=[1.0, 2.0, 3.0], naive=[2.0, 2.0, 2.0])
    b = losses(lstm=[3.0, 4.0], naive=[6.0, 6.0]).assign(ticker="MSFT")
    shuffled = pd.concat([a.drop(index=5), b]).sample(frac=1, random_state=0)
    ours, theirs = significance.by_day(shuffled, "lstm", "naive")
    np.testing.assert_array_equal(ours, [2, 3])
    np.testing.assert_array_equal(theirs, [4, 4])


def test_by_day_names_what_it_does_not_know():
    frame = losses(lstm=[1.0], naive=[2.0])
    with pytest.raises(UsageError, match="'arima'; choose one of lstm, naive"):
        significance.by_day(frame, "lstm", "arima")
    with pytest.raises(UsageError, match="'mse'; choose one of crps"):
        significance.by_day(frame, "lstm", "naive", "mse")


def test_compare_pairs_every_model_with_the_baselines_present():
    rng = np.random.default_rng(2)
    series = {name: 1 + rng.random(60) for name in ("lstm", "gjr", "ewma")}
    table = significance.compare(losses(**series))
    assert list(zip(table["model"], table["against"], strict=True)) == [
        ("lstm", "gjr"),
        ("ewma", "gjr"),
    ]
    first = table.iloc[0]
    expected = significance.diebold_mariano(series["lstm"], series["gjr"])
    assert first["statistic"] == pytest.approx(expected.statistic)
    assert first["p_value"] == pytest.approx(expected.p_value)
    assert first["ratio"] == pytest.approx(series["lstm"].mean() / series["gjr"].mean())
    assert first["sessions"] == 60
    other = significance.compare(losses(**series), against=["ewma"])
    assert list(other["model"]) == ["lstm", "gjr"]


def test_compare_leaves_out_what_cannot_be_tested():
    columns = list(significance.compare(losses(lstm=[1.0, 2.0])).columns)
    for frame in (losses(lstm=[1.0], naive=[2.0]), losses(lstm=[])):
        table = significance.compare(frame)
        assert table.empty
        assert list(table.columns) == columns


def test_the_tickers_p_values_are_corrected_by_benjamini_and_hochberg():
    # Benjamini and Hochberg: the i-th smallest of n times n / i, then the least from the top down.
    table = pd.DataFrame({"model": "lstm", "p_value": [0.01, 0.04, 0.03, np.nan, 0.5]})
    found = significance.corrected(table, ["model"])["q_value"]
    expected = [0.04, 4 / 3 * 0.04, 4 / 3 * 0.04, np.nan, 0.5]
    np.testing.assert_allclose(found, expected)


def test_each_ticker_is_tested_alone():
    rng = np.random.default_rng(4)
    frames = [
        losses(lstm=1 + rng.random(80), naive=1 + rng.random(80)).assign(ticker=ticker)
        for ticker in ("AAA", "BBB")
    ]
    table = significance.per_ticker(pd.concat(frames))
    assert list(table["ticker"]) == ["AAA", "BBB"]
    alone = significance.compare(frames[1]).iloc[0]
    assert table.iloc[1]["p_value"] == alone["p_value"]
    assert (table["q_value"] >= table["p_value"]).all()


def test_the_interval_of_a_ratio_is_that_of_the_test():
    rng = np.random.default_rng(3)
    a, b = 1 + rng.random((2, 60))
    table = significance.compare(losses(lstm=a, naive=b), against=["naive", "lstm"])
    (low, _), (high, _) = significance.ratio_interval(table)
    test = significance.diebold_mariano(a, b)
    error = test.difference / test.statistic
    reach = stats.t.ppf(0.975, 59) * abs(error) / b.mean()
    assert (low, high) == pytest.approx((a.mean() / b.mean() - reach, a.mean() / b.mean() + reach))
    same = significance.compare(losses(lstm=a, naive=a), against=["naive"])
    assert np.isnan(significance.ratio_interval(same)).all()


def test_wins_are_counted_ticker_by_ticker():
    rows = [("T0", 0.9, 0.01), ("T1", 0.8, 0.2), ("T2", 1.1, 0.01)]
    table = pd.DataFrame(rows, columns=["ticker", "ratio", "q_value"])
    table = table.assign(model="lstm", against="gjr")
    row = significance.wins(pd.concat([table, table.assign(model="gru")]), "lstm").loc["gjr"]
    assert row.to_dict() == {"tickers": 3, "better": 2, "significant": 1}


def test_the_confidence_set_leaves_out_the_model_that_is_worse():
    rng = np.random.default_rng(5)
    common = rng.random(400)
    frame = losses(
        lstm=common + 0.1 * rng.random(400),
        gjr=common + 0.1 * rng.random(400),
        naive=common + 0.05 + 0.1 * rng.random(400),
    )
    table = significance.confidence_set(frame).set_index("model")
    assert table["included"].to_dict() == {"lstm": True, "gjr": True, "naive": False}
    again = significance.confidence_set(frame).set_index("model")
    pd.testing.assert_frame_equal(table, again)


def test_superior_ability_is_of_models_better_than_the_baseline():
    rng = np.random.default_rng(6)
    common = rng.random(400)
    frame = losses(lstm=common + 0.1 * rng.random(400), naive=common + 0.05 + 0.1 * rng.random(400))
    table = significance.superior_ability(frame).set_index("benchmark")
    assert list(table.index) == ["naive"]
    assert table.loc["naive", "p_consistent"] < 0.01
    turned = frame.assign(model=frame["model"].map({"lstm": "naive", "naive": "lstm"}))
    assert significance.superior_ability(turned)["p_consistent"].item() > 0.5


def test_superior_ability_is_hansens_by_a_second_route():
    from arch.bootstrap import StationaryBootstrap

    rng = np.random.default_rng(9)
    series = {"naive": 2 + rng.random(200), "lstm": 1.97 + rng.random(200)}
    series["gjr"] = 2.05 + 3 * rng.random(200)
    row = significance.superior_ability(losses(**series), against=["naive"], seed=4).iloc[0]
    gaps = np.column_stack([series["naive"] - series[name] for name in ("lstm", "gjr")])
    block = significance.block_length(pd.DataFrame({name: series[name] for name in series}))
    n, p = len(gaps), 1 / block
    variance = []
    for gap in gaps.T - gaps.mean(axis=0)[:, None]:
        total = gap @ gap / n
        for lag in range(1, n):
            weight = (n - lag) / n * (1 - p) ** lag + lag / n * (1 - p) ** (n - lag)
            total += 2 * weight * (gap[lag:] @ gap[:-lag]) / n
        variance.append(total)
    scaled = gaps / np.sqrt(variance)
    means = scaled.mean(axis=0)
    bound = -np.sqrt(2 * np.log(np.log(n)) / n)
    centres = {
        "lower": np.maximum(means, 0),
        "consistent": np.where(means >= bound, means, 0),
        "upper": means,
    }
    drawn = StationaryBootstrap(block, scaled, seed=4).bootstrap(significance.RESAMPLES)
    resampled = np.array([data[0].mean(axis=0) for data, _ in drawn])
    for name, centre in centres.items():
        beyond = (resampled - centre).max(axis=1) > means.max()
        assert row[f"p_{name}"] == pytest.approx(beyond.mean(), abs=0.002)


def test_a_wild_model_that_is_poor_does_not_hide_one_that_is_better():
    rng = np.random.default_rng(10)
    common = rng.random(500)
    good = common + 0.05 * rng.standard_normal(500)
    wild = common + 0.5 + 3 * rng.standard_normal(500)
    frame = losses(naive=common + 0.01 + 0.05 * rng.standard_normal(500), lstm=good, gjr=wild)
    row = significance.superior_ability(frame, against=["naive"]).iloc[0]
    assert row["p_upper"] < 0.05  # by White's statistic it is above one half


def panel(seed, worse=0.0, *, days=150, tickers=4):
    """Daily losses of three models that share a market; naive's mean is higher by `worse`."""
    rng = np.random.default_rng(seed)
    shape = (days, tickers, 3)
    shared = rng.standard_t(6, (days, 1, 1)) + rng.standard_t(6, (days, tickers, 1))
    own = rng.standard_normal(shape) + rng.standard_normal((days, 1, 3))
    crps = 2 + 0.5 * shared + 0.3 * own + worse * (np.arange(3) == 2)
    day, ticker, model = (axis.ravel() for axis in np.indices(shape))
    return pd.DataFrame(
        {
            "ticker": np.array([f"T{i}" for i in range(tickers)])[ticker],
            "model": np.array(["lstm", "gjr", "naive"])[model],
            "cutoff": DAYS[day],
            "date": DAYS[day + 1],
            "crps": crps.ravel(),
        }
    )


@pytest.fixture
def judged(monkeypatch):
    """What the three tests across tickers say of many panels: shares that reject or keep."""
    monkeypatch.setattr(significance, "RESAMPLES", 200)

    def judge(count, worse):
        found = []
        for seed in range(count):
            losses_of = panel(seed, worse)
            kept = significance.confidence_set(losses_of, seed=seed).set_index("model")["included"]
            spa = significance.superior_ability(losses_of, seed=seed).set_index("benchmark")
            hac = significance.compare(losses_of).set_index(["model", "against"])["p_value"]
            found.append(
                {
                    "equal kept": kept["lstm"] and kept["gjr"],
                    "naive kept": kept["naive"],
                    "better than naive": spa.loc["naive", "p_consistent"] < 0.05,
                    "better than gjr": spa.loc["gjr", "p_consistent"] < 0.05,
                    "differs from naive": hac["lstm", "naive"] < 0.05,
                    "differs from gjr": hac["lstm", "gjr"] < 0.05,
                }
            )
        return pd.DataFrame(found).mean()

    return judge


def test_equal_models_of_a_panel_are_told_apart_one_time_in_twenty(judged):
    count = 80
    most = stats.binom.ppf(0.999, count, 0.05) / count
    found = judged(count, worse=0.0)
    names = ["better than naive", "better than gjr", "differs from naive", "differs from gjr"]
    assert (found[names] <= most).all(), found
    assert found[["equal kept", "naive kept"]].min() >= 1 - most


def test_a_model_of_a_panel_that_is_worse_is_found(judged):
    found = judged(30, worse=0.12)
    assert found["naive kept"] < 0.2
    assert found[["better than naive", "differs from naive"]].min() > 0.8
    assert found["equal kept"] > 0.8
    assert found[["better than gjr", "differs from gjr"]].max() < 0.2


def test_the_days_of_a_panel_count_and_not_its_rows():
    # Twenty copies of a ticker tell no more than one.
    one = panel(3, 0.05, tickers=1)
    twenty = pd.concat([one.assign(ticker=f"T{i}") for i in range(20)])
    first, other = (significance.compare(it)["p_value"] for it in (one, twenty))
    np.testing.assert_allclose(first, other, rtol=1e-6)


def test_losses_that_differ_by_rounding_are_equal():
    a = 1 + np.random.default_rng(8).random(100)
    test = significance.diebold_mariano(a, a * (1 + 1e-13))
    assert (test.difference, test.statistic, test.p_value) == (0.0, 0.0, 1.0)
    # A difference that is small and real is one.
    assert significance.diebold_mariano(a, a * (1 + 1e-6)).p_value < 1e-6
