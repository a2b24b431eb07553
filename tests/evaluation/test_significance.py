import numpy as np
import pandas as pd
import pytest
from scipy import signal, stats

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
    # d = 1, 2, 3: mean 2; one weight, sqrt(2/3) (cos 30° + 2 cos 90° + 3 cos 150°) = -sqrt(2).
    test = significance.diebold_mariano([2, 4, 6], [1, 2, 3])
    assert test.difference == 2
    assert test.statistic == pytest.approx(2 / np.sqrt(2 / 3))
    # A t with one degree of freedom is a Cauchy.
    assert test.p_value == pytest.approx(1 - 2 * np.arctan(np.sqrt(6)) / np.pi)
    assert (test.sessions, test.df) == (3, 1)
    assert (test.p_higher, test.p_lower) == pytest.approx((test.p_value / 2, 1 - test.p_value / 2))


@pytest.mark.parametrize(("n", "df"), [(2, 1), (20, 2), (250, 15), (1500, 52)])
def test_statistic_equals_the_sums_of_the_paper(n, df):
    rng = np.random.default_rng(n)
    a, b = rng.normal(size=(2, n)).cumsum(axis=1)
    test, d = significance.diebold_mariano(a, b), a - b
    t = np.arange(1, n + 1)
    weights = [
        np.sqrt(2 / n) * sum(d * np.cos(np.pi * j * (t - 0.5) / n)) for j in range(1, df + 1)
    ]
    assert test.df == df
    assert test.statistic == pytest.approx(
        np.sqrt(n) * d.mean() / np.sqrt(np.mean(np.square(weights)))
    )
    assert test.p_value == pytest.approx(2 * stats.t.sf(abs(test.statistic), df))


def test_the_long_run_covariance_is_that_of_a_moving_average():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(200_001, 2)) @ np.array([[1.0, 0.5], [0.0, 1.0]])
    series = noise[1:] + 0.5 * noise[:-1]  # its long-run covariance is 1.5² that of the noise
    expected = 2.25 * np.array([[1.0, 0.5], [0.5, 1.25]])
    np.testing.assert_allclose(significance.long_run_covariance(series), expected, atol=0.25)


def test_equal_losses_are_no_evidence_and_a_constant_gap_is_all_of_it():
    a = np.random.default_rng(0).normal(size=50)
    assert significance.diebold_mariano(a, a) == significance.Test(0.0, 0.0, 1.0, 50)
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


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.8])
def test_size_under_the_null_however_persistent_the_losses(memory):
    rng = np.random.default_rng(11)
    d = signal.lfilter([1.0], [1.0, -memory], rng.standard_t(5, (2000, 1700)))[:, 200:]
    zeros = np.zeros(d.shape[1])
    rejected = np.mean([significance.diebold_mariano(row, zeros).p_value < 0.05 for row in d])
    assert 0.035 <= rejected <= 0.075


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
    result = significance.corrected(table, ["model"])["q_value"]
    expected = [0.04, 4 / 3 * 0.04, 4 / 3 * 0.04, np.nan, 0.5]
    np.testing.assert_allclose(result, expected)


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
    reach = stats.t.ppf(0.975, 6) * abs(error) / b.mean()
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
        result = []
        for seed in range(count):
            losses_of = panel(seed, worse)
            kept = significance.confidence_set(losses_of, seed=seed).set_index("model")["included"]
            spa = significance.superior_ability(losses_of, seed=seed).set_index("benchmark")
            hac = significance.compare(losses_of).set_index(["model", "against"])["p_value"]
            result.append(
                {
                    "equal kept": kept["lstm"] and kept["gjr"],
                    "naive kept": kept["naive"],
                    "better than naive": spa.loc["naive", "p_consistent"] < 0.05,
                    "better than gjr": spa.loc["gjr", "p_consistent"] < 0.05,
                    "differs from naive": hac["lstm", "naive"] < 0.05,
                    "differs from gjr": hac["lstm", "gjr"] < 0.05,
                }
            )
        return pd.DataFrame(result).mean()

    return judge


def test_equal_models_of_a_panel_are_told_apart_one_time_in_twenty(judged):
    count = 80
    most = stats.binom.ppf(0.999, count, 0.05) / count
    result = judged(count, worse=0.0)
    names = ["better than naive", "better than gjr", "differs from naive", "differs from gjr"]
    assert (result[names] <= most).all(), result
    assert result[["equal kept", "naive kept"]].min() >= 1 - most


def test_a_model_of_a_panel_that_is_worse_is_found(judged):
    result = judged(30, worse=0.14)
    assert result["naive kept"] < 0.2
    assert result[["better than naive", "differs from naive"]].min() > 0.8
    assert result["equal kept"] > 0.8
    assert result[["better than gjr", "differs from gjr"]].max() < 0.2


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


@pytest.mark.parametrize("n", [1, 2, 50])
def test_false_discovery_is_that_of_scipy(n):
    p_values = np.random.default_rng(n).random(n) ** 3
    p_values[: n // 3] = p_values[0]
    np.testing.assert_array_equal(
        significance.false_discovery(p_values), stats.false_discovery_control(p_values)
    )
