import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from forecaster.distributions import forecasts, quantile_grid, recalibration
from forecaster.distributions.forecasts import PARAMETERS, QUANTILES
from forecaster.evaluation import metrics

DF = 5.0
LEVELS = np.array(quantile_grid.LEVELS)


def simulated(*, factor=1.0, tickers=("AAA", "BBB"), sessions=300, seed=0):
    """Forecasts of Student-t returns, `factor` times as wide as the truth."""
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2010-01-04", periods=sessions + 1)
    scale = 0.01 * np.exp(0.4 * np.sin(np.arange(sessions) / 30))
    parts = [
        forecasts.from_student_t(
            ticker=ticker,
            model=model,
            cutoff=dates[:-1],
            date=dates[1:],
            last_close=100.0,
            log_return=0.0002 + scale * returns,
            location=0.0002,
            scale=factor * width * scale,
            df=DF,
        )
        for ticker in tickers
        for returns in [rng.standard_t(DF, sessions)]
        for model, width in (("gjr", 1.0), ("naive", 1.5))
    ]
    return pd.concat(parts, ignore_index=True)


def first(frame, count):
    return frame[frame["cutoff"].isin(np.sort(frame["cutoff"].unique())[:count])]


def bound(frame, rate):
    """Largest error of each level's long-run share, but the median's: (B + step) / (step T)."""
    x, unit = (frame[name].to_numpy()[:, None] for name in ("log_return", "volatility"))
    furthest = np.abs((x - frame[QUANTILES].to_numpy()) / unit).max(axis=0)
    steps, tracked = recalibration.steps(rate), LEVELS != 0.5
    return ((furthest + steps)[tracked]) / (steps[tracked] * len(frame))


def test_two_outcomes_by_hand():
    frame = first(simulated(tickers=["AAA"]), 3)
    frame = frame[frame["model"] == "gjr"].assign(log_return=[1.0, -1.0, 0.0], volatility=0.02)
    made = recalibration.recalibrate(frame, rate=0.001)
    steps = 0.001 / stats.norm.pdf(stats.norm.ppf(LEVELS))
    steps[11] = 0.0
    moves = [np.zeros(23), steps * LEVELS, steps * LEVELS + steps * (LEVELS - 1)]
    expected = frame[QUANTILES].to_numpy() + 0.02 * np.array(moves)
    np.testing.assert_allclose(made[QUANTILES], expected, rtol=1e-12)
    width = (made["q0.95"] - made["q0.05"]) / (frame["q0.95"] - frame["q0.05"])
    np.testing.assert_allclose(made["volatility"], 0.02 * width, rtol=1e-12)
    np.testing.assert_array_equal(made["mean"], frame["mean"])
    assert made[PARAMETERS].isna().all(axis=None)


@pytest.mark.parametrize("day", [1, 50, 200])
def test_later_outcomes_change_nothing_before(day):
    frame = simulated()
    until = np.sort(frame["date"].unique())[day]
    later = frame["date"] > until
    noise = np.random.default_rng(1).normal(0, 0.1, int(later.sum()))
    changed = frame.copy()
    changed.loc[later, "log_return"] = noise
    one, other = recalibration.recalibrate(frame), recalibration.recalibrate(changed)
    same = frame["cutoff"] <= until
    columns = [*QUANTILES, "mean", "volatility"]
    pd.testing.assert_frame_equal(
        one.loc[same, columns], other.loc[same, columns], check_exact=True
    )
    assert (one.loc[~same, QUANTILES] != other.loc[~same, QUANTILES]).any(axis=None)


def test_an_outcome_is_not_used_before_its_date():
    # Each forecast is of five sessions later: four are under way when the next is made.
    frame = simulated(tickers=["AAA"])
    frame = frame[frame["model"] == "gjr"].reset_index(drop=True)
    dates = pd.bdate_range(frame["cutoff"].iloc[0], periods=len(frame) + 5)
    frame = frame.assign(date=dates[5:], step=5)
    changed = frame.copy()
    changed.loc[100, "log_return"] = 1.0
    one, other = (recalibration.recalibrate(it)[QUANTILES].to_numpy() for it in (frame, changed))
    differs = (one != other).any(axis=1)
    assert not differs[:105].any()
    assert differs[105:].all()


def test_quantiles_too_narrow_by_a_fifth_learn_their_coverage():
    frame = simulated(factor=0.8, sessions=4000)
    frame = frame[frame["model"] == "gjr"]
    made = recalibration.recalibrate(frame)
    x = frame["log_return"].to_numpy()

    def errors(of, where=slice(None)):
        below = x[:, None] <= of[QUANTILES].to_numpy()
        return np.abs(below[where].mean(axis=0) - LEVELS)

    assert (errors(made)[LEVELS != 0.5] <= bound(frame, recalibration.RATE)).all()
    assert errors(frame)[[2, 3]].min() > 0.025
    learnt = frame["date"] > frame["date"].iloc[2000]
    assert errors(made, learnt)[LEVELS != 0.5].max() < 0.01
    assert metrics.losses(made)["crps"].mean() < metrics.losses(frame)["crps"].mean()


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([0.01, 0.05, 0.3]))
def test_bound_of_the_error_holds_whatever_happens(seed, rate):
    # Returns in long runs of anything within five volatilities: no distribution is learnt from.
    rng = np.random.default_rng(seed)
    frame = simulated(tickers=["AAA"], sessions=400)
    frame = frame[frame["model"] == "gjr"]
    spells = np.repeat(rng.uniform(-5, 5, 20), 20) + rng.normal(0, 0.1, 400)
    x = np.clip(spells, -5, 5) * frame["volatility"].to_numpy()
    frame = frame.assign(log_return=x)
    # Such spells make quantiles cross; the bound is of each level before that is mended.
    below = x[:, None] <= recalibration.tracked(frame, rate=rate)
    errors = np.abs(below.mean(axis=0) - LEVELS)[LEVELS != 0.5]
    assert (errors <= bound(frame, rate)).all()
    assert bound(frame, 0.3).mean() < 0.02  # so the bound says something


def test_what_is_calibrated_is_hardly_changed():
    frame = simulated(tickers=["AAA", "BBB", "CCC"], sessions=1500)
    frame = frame[frame["model"] == "gjr"]
    made = recalibration.recalibrate(frame)
    before, after = (metrics.losses(it) for it in (frame, made))
    assert abs(after["crps"].mean() / before["crps"].mean() - 1) < 0.002
    moves = np.abs((made["volatility"] / frame["volatility"]).to_numpy() - 1)
    assert np.median(moves) < 0.03
    for percent in (80, 90, 95):
        share = after[f"inside_{percent}"].mean()
        assert abs(share - percent / 100) < 0.01


@pytest.mark.parametrize("rate", [recalibration.RATE, 0.1])
def test_result_is_a_forecasts_frame(rate):
    frame = simulated(factor=0.5)
    kept = frame.copy()
    made = recalibration.recalibrate(frame, rate=rate)
    pd.testing.assert_frame_equal(forecasts.check(made), made)  # which wants ordered quantiles
    pd.testing.assert_frame_equal(frame, kept)
    assert made.index.equals(frame.index)


@pytest.mark.parametrize("rate", [recalibration.RATE, 0.3])
def test_median_is_left_alone(rate):
    frame = simulated()
    crossing = recalibration.tracked(frame, rate=rate)
    made = recalibration.recalibrate(frame, rate=rate)
    np.testing.assert_array_equal(made["q0.5"], frame["q0.5"])
    # Even where the neighbours go beyond it.
    assert (np.diff(crossing) < 0).any() == (rate == 0.3)
    # A forecast that names no direction names none after.
    still = frame.assign(**{q: frame[q] - frame["q0.5"] for q in QUANTILES})
    made = recalibration.recalibrate(still, rate=rate)
    assert (forecasts.probability_of_rise(made) == 0.5).all()


def test_order_of_rows_and_other_tickers_do_not_matter():
    frame = simulated(tickers=["AAA", "BBB", "CCC"])
    whole = recalibration.recalibrate(frame)
    shuffled = recalibration.recalibrate(frame.sample(frac=1, random_state=0)).sort_index()
    pd.testing.assert_frame_equal(shuffled, whole, check_exact=True)
    own = frame[(frame["ticker"] == "BBB") & (frame["model"] == "gjr")]
    pd.testing.assert_frame_equal(
        recalibration.recalibrate(own), whole.loc[own.index], check_exact=True
    )


def test_unknown_outcomes_teach_nothing():
    frame = simulated(tickers=["AAA"])
    frame = frame[frame["model"] == "gjr"].reset_index(drop=True)
    frame.loc[[10, 11, 299], "log_return"] = np.nan
    made = recalibration.recalibrate(frame)
    moved = (made[QUANTILES] - frame[QUANTILES]).div(frame["volatility"], axis=0)
    np.testing.assert_allclose(moved.loc[[11, 12]], moved.loc[[10, 10]], atol=1e-12)
    assert (moved.loc[13] - moved.loc[12]).abs().max() > 1e-4
    nothing = recalibration.recalibrate(frame.assign(log_return=np.nan))
    pd.testing.assert_frame_equal(nothing[QUANTILES], frame[QUANTILES])


def test_no_rows_and_forecasts_without_width():
    assert recalibration.recalibrate(forecasts.empty()).empty
    frame = simulated(tickers=["AAA"])
    frame[QUANTILES] = 0.0
    made = recalibration.recalibrate(frame)
    assert (made["volatility"] == frame["volatility"]).all()
    assert np.isfinite(made[QUANTILES]).all(axis=None)


def test_every_level_closes_the_same_share_of_a_gap():
    density = stats.norm.pdf(stats.norm.ppf(LEVELS))
    shares = recalibration.steps(0.004) * density
    assert shares[11] == 0
    np.testing.assert_allclose(np.delete(shares, 11), 0.004)


def test_a_month_ahead_learns_from_what_was_known_at_the_cutoff_alone():
    daily = simulated(tickers=["AAA"], sessions=200)
    daily = daily[daily["model"] == "gjr"]
    dates, moves = daily["date"].to_numpy(), daily["log_return"].to_numpy()
    month = daily[:-20].assign(
        step=21, date=dates[20:], log_return=np.convolve(moves, np.ones(21), "valid")
    )
    frame = pd.concat([daily, month], ignore_index=True)
    made = recalibration.recalibrate(frame)
    alone = recalibration.recalibrate(month)
    later = made[made["step"] == 21].reset_index(drop=True)
    np.testing.assert_array_equal(later[QUANTILES], alone[QUANTILES])  # no step learns from another
    moved = (later[QUANTILES].to_numpy() != month[QUANTILES].to_numpy()).any(axis=1)
    assert moved.argmax() == 21  # the first outcome comes 21 sessions after the first cutoff
    cutoff = month["cutoff"].iloc[60]
    unknown = frame["date"] > cutoff
    changed = frame.assign(
        log_return=np.where(unknown, -5 * frame["log_return"], frame["log_return"])
    )
    again = recalibration.recalibrate(changed)
    known = frame["cutoff"] <= cutoff
    pd.testing.assert_frame_equal(
        made.loc[known, ["volatility", *QUANTILES]],
        again.loc[known, ["volatility", *QUANTILES]],
        check_exact=True,
    )
    assert not made.loc[~known, QUANTILES].equals(again.loc[~known, QUANTILES])
