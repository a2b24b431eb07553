"""The pictures say what the frame says, and can be read."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from pictures import DF, assert_readable, legend, line, simulated
from scipy import stats

from forecaster.distributions import quantile_grid
from forecaster.distributions.forecasts import PARAMETERS
from forecaster.errors import ForecastError, HistoryError
from forecaster.evaluation import metrics
from forecaster.plots import evaluation, style

pytestmark = pytest.mark.usefixtures("all_plots")


@pytest.fixture(scope="module")
def frame():
    return simulated()


def of(frame, ticker, model):
    return frame[(frame["ticker"] == ticker) & (frame["model"] == model)]


def test_bands_median_and_closes_are_those_of_the_last_forecasts(frame):
    (axes,) = evaluation.forecast(frame, "^GSPC", "lstm", sessions=40).axes
    rows = of(frame, "^GSPC", "lstm").tail(40)
    for band, (low, high) in zip(
        axes.collections, (("q0.025", "q0.975"), ("q0.1", "q0.9"), ("q0.25", "q0.75")), strict=True
    ):
        corners = pd.DataFrame(band.get_paths()[0].vertices).groupby(0)[1]
        np.testing.assert_allclose(corners.min(), rows["last_close"] * np.exp(rows[low]))
        np.testing.assert_allclose(corners.max(), rows["last_close"] * np.exp(rows[high]))
    median, closes = line(axes, "median forecast"), line(axes, "actual close")
    np.testing.assert_array_equal(closes.get_xdata(), rows["date"])
    np.testing.assert_allclose(median.get_ydata(), rows["last_close"] * np.exp(rows["q0.5"]))
    # The close that came is the next forecast's last close.
    np.testing.assert_allclose(closes.get_ydata()[:-1], rows["last_close"].iloc[1:])


def test_forecast_says_how_many_closes_each_band_held(frame):
    rows = of(frame, "AAPL", "gjr").tail(4).copy()
    rows["log_return"] = [0.0, rows["q0.2"].iloc[1], rows["q0.05"].iloc[2], rows["q0.99"].iloc[3]]
    figure = evaluation.forecast(rows, "AAPL", "gjr")
    assert legend(figure)[:3] == [
        "95% band (held 75%)",
        "80% band (held 50%)",
        "50% band (held 25%)",
    ]


def test_a_forecast_without_an_outcome_has_a_band_and_no_close(frame):
    rows = of(frame, "AAPL", "gjr").tail(3).copy()
    rows["log_return"] = [np.nan, 0.0, np.nan]
    (axes,) = evaluation.forecast(rows, "AAPL", "gjr").axes
    np.testing.assert_array_equal(
        np.isnan(line(axes, "actual close").get_ydata()), [True, False, True]
    )
    assert len(set(axes.collections[0].get_paths()[0].vertices[:, 0])) == 3
    figure = evaluation.forecast(rows.assign(log_return=np.nan), "AAPL", "gjr")
    assert legend(figure)[0] == "95% band"


def test_reactions_to_earnings_are_ringed_where_they_came(frame):
    rows = of(frame, "AAPL", "gjr").tail(40)
    days = rows["date"].iloc[[5, 6, 30]]
    reactions = pd.DataFrame({"ticker": "AAPL", "date": days, "since": [0, 1, 0]})
    figure = evaluation.forecast(frame, "AAPL", "gjr", sessions=40, reactions=reactions)
    assert_readable(figure)
    ring = line(figure.axes[0], "reaction to earnings")
    np.testing.assert_array_equal(ring.get_xdata(), days.iloc[[0, 2]])
    closes = rows["last_close"] * np.exp(rows["log_return"])
    np.testing.assert_allclose(ring.get_ydata(), closes.iloc[[5, 30]])
    other = reactions.assign(ticker="^GSPC")
    assert legend(evaluation.forecast(frame, "AAPL", "gjr", reactions=other)) == legend(
        evaluation.forecast(frame, "AAPL", "gjr")
    )


def test_volatilities_are_in_percent_and_the_realised_one_is_named_hindsight(frame):
    figure = evaluation.volatility(frame, "AAPL", sessions=300)
    (axes,) = figure.axes
    rows = of(frame, "AAPL", "gjr")
    np.testing.assert_allclose(line(axes, "gjr").get_ydata(), 100 * rows["volatility"])
    np.testing.assert_allclose(line(axes, "naive").get_ydata(), 1.2)
    realised = line(axes, "realised, 21 sessions to that day (hindsight)").get_ydata()
    assert np.isnan(realised[:20]).all()
    squares = 0.0
    for r in rows["log_return"].iloc[80:101]:
        squares += (100 * r) ** 2
    assert realised[100] == pytest.approx((squares / 21) ** 0.5)
    sizes = 100 * rows["log_return"].abs()
    top = axes.get_ylim()[1]
    assert (sizes > top).any()  # or the next line says less than it should
    np.testing.assert_allclose(
        line(axes, "|log return| (on the top edge: larger)").get_ydata(), np.minimum(sizes, top)
    )
    assert "% a day" in axes.get_ylabel()


def test_the_first_model_is_drawn_above_the_others(frame):
    (axes,) = evaluation.volatility(frame, "AAPL").axes
    height = {it.get_label(): it.get_zorder() for it in axes.lines}
    assert height["gjr"] > height["lstm"] > height["naive"] > 2  # 2 is that of the realised one
    assert line(axes, "gjr").get_linewidth() > line(axes, "lstm").get_linewidth()


def test_a_short_or_unfinished_history_still_has_its_volatilities(frame):
    short = frame[frame["date"] > frame["date"].unique()[-4]]
    for rows in (short, short.assign(log_return=np.nan)):
        (axes,) = evaluation.volatility(rows, "AAPL").axes
        assert axes.get_ylim()[1] == pytest.approx(105 * rows["volatility"].max(), rel=0.05)


def panels(figure):
    """Return the histograms, the reliability and the thirds of a calibration figure."""
    *histograms, levels, thirds = figure.axes
    return histograms, levels, thirds


def test_pit_counts_are_those_of_the_student_t(frame):
    histograms, *_ = panels(evaluation.calibration(frame))
    assert [axes.get_title() for axes in histograms] == [
        f"{model} (600 forecasts)" for model in ("gjr", "lstm", "naive")
    ]
    for axes, model in zip(histograms, ("gjr", "lstm", "naive"), strict=True):
        rows = frame[frame["model"] == model]
        values = stats.t.cdf(rows["log_return"], DF, rows["location"], rows["scale"])
        counts = np.bincount((20 * values).astype(int), minlength=20)
        heights = [bar.get_height() for bar in axes.containers[0]]
        np.testing.assert_allclose(heights, counts / 6)
        assert sum(heights) == pytest.approx(100)


def test_pit_from_quantiles_falls_in_the_bins_of_the_closed_form(frame):
    # The edges of the bins are quantile levels, so interpolation cannot change a bin.
    bare = frame.copy()
    bare[PARAMETERS] = np.nan
    both = (panels(evaluation.calibration(rows))[0] for rows in (bare, frame))
    for ours, theirs in zip(*both, strict=True):
        np.testing.assert_allclose(
            [bar.get_height() for bar in ours.containers[0]],
            [bar.get_height() for bar in theirs.containers[0]],
        )


@pytest.mark.parametrize("count", [30, 141, 3000])
def test_bands_of_the_calibration_are_binomial(frame, count):
    rows = pd.concat([of(frame, "AAPL", "gjr").assign(ticker=f"T{i}") for i in range(10)]).head(
        count
    )
    (axes,), levels, _ = panels(evaluation.calibration(rows))
    (band,) = (patch for patch in axes.patches if "95% band" in patch.get_label())
    box = band.get_bbox()
    wanted = stats.binom.ppf([0.025, 0.975], count, 0.05)
    np.testing.assert_allclose([box.y0, box.y1], 100 * wanted / count)
    corners = pd.DataFrame(levels.collections[0].get_paths()[0].vertices).groupby(0)[1]
    for end, chance in (("min", 0.025), ("max", 0.975)):
        shares = stats.binom.ppf(chance, count, quantile_grid.LEVELS) / count
        np.testing.assert_allclose(
            corners.agg(end), 100 * (shares - quantile_grid.LEVELS), atol=1e-9
        )


def test_reliability_is_what_lay_below_each_quantile_less_its_level(frame):
    _, axes, _ = panels(evaluation.calibration(frame))
    drawn = line(axes, "naive").get_ydata()
    rows = frame[frame["model"] == "naive"]
    for i, level in ((0, 0.01), (11, 0.5), (22, 0.99)):
        share = sum(rows["log_return"] <= rows[f"q{level:g}"]) / 600
        assert drawn[i] == pytest.approx(100 * (share - level))
    # One volatility for all days: too wide on most and too narrow on a few, so it crosses zero.
    assert drawn[2] < 0 < drawn[20]


def test_thirds_show_a_constant_volatility_too_wide_and_most_so_when_calm(frame):
    *_, axes = panels(evaluation.calibration(frame))
    share = {bars.lines[0].get_color(): bars.lines[0].get_ydata() for bars in axes.containers}
    looks = style.looks(frame)
    calm, middle, wild = share[looks["naive"]["color"]]  # 1.2% a day, and the truth is lower
    assert calm > middle > wild > 85
    assert np.abs(share[looks["gjr"]["color"]] - 80).max() < 4  # the truth
    assert [text.get_text() for text in axes.get_xticklabels()] == ["low", "middle", "high"]


def test_calibration_draws_the_models_asked_for_in_their_order(frame):
    histograms, *_ = panels(evaluation.calibration(frame, ["naive", "gjr"]))
    assert [axes.get_title().split()[0] for axes in histograms] == ["naive", "gjr"]


def test_skill_ends_at_the_sum_of_the_daily_means_over_shared_forecasts(frame):
    # naive starts late and lacks a ticker on some days: only what both forecast is compared.
    days = frame["date"].unique()
    late = (frame["model"] == "naive") & (
        (frame["date"] < days[50]) | ((frame["ticker"] == "AAPL") & (frame["date"] > days[250]))
    )
    frame = frame[~late]
    figure = evaluation.skill(frame, "lstm")
    (axes,) = figure.axes
    losses = metrics.losses(frame)
    crps = losses.set_index(["date", "ticker", "model"])["crps"].to_dict()
    for baseline in ("gjr", "naive"):
        end, own = 0.0, 0.0
        for day in days:
            pairs = [
                (crps[day, ticker, "lstm"], crps[day, ticker, baseline])
                for ticker in ("AAPL", "^GSPC")
                if (day, ticker, baseline) in crps
            ]
            if pairs:
                ours, theirs = np.mean(pairs, axis=0)
                end, own = end + theirs - ours, own + theirs
        drawn = line(axes, baseline).get_ydata()
        assert drawn[-1] == pytest.approx(1e4 * end)
        (note,) = (text.get_text() for text in axes.texts if baseline in text.get_text())
        numbers = note.replace("−", "-").replace(",", "").split()
        assert float(numbers[2]) == pytest.approx(1e4 * end, abs=0.051)
        assert float(numbers[4].rstrip("%")) == pytest.approx(100 * end / own, abs=0.0051)
    assert len(line(axes, "naive").get_ydata()) == 250
    assert "above 0: lstm is better" in axes.get_ylabel()
    assert "basis points" in axes.get_ylabel()


def test_every_figure_of_a_backtest_can_be_read(frame):
    more = [of(frame, ticker, "gjr") for ticker in ("AAPL", "^GSPC")]
    names = ("garch", "ewma", "har", "boosting")
    full = pd.concat([frame, *(rows.assign(model=name) for name in names for rows in more)])
    figures = dict(evaluation.of_backtest(full, "lstm"))
    assert list(figures) == [
        "forecast-AAPL",
        "volatility-AAPL",
        "forecast-%5EGSPC",
        "volatility-%5EGSPC",
        "calibration",
        "skill",
    ]
    for figure in figures.values():
        assert_readable(figure)
        assert figure.get_size_inches()[0] == 8
        assert all(axes.get_xlabel() for axes in figure.axes)
        assert figure.axes[0].get_ylabel()
    title = figures["forecast-%5EGSPC"].axes[0].get_title()
    assert title == "^GSPC · lstm · next-day forecasts, 2017-03-14 to 2018-02-26"


def test_ends_of_the_same_value_do_not_cover_each_other(frame):
    twins = [frame[frame["model"] == "gjr"].assign(model=model) for model in ("garch", "boosting")]
    against = ("gjr", "garch", "boosting", "naive")
    figure = evaluation.skill(pd.concat([frame, *twins]), "lstm", against)
    assert_readable(figure)


def test_a_model_has_one_colour_in_all_figures(frame):
    (volatility,) = evaluation.volatility(frame, "^GSPC").axes
    (skill,) = evaluation.skill(frame, "lstm").axes
    for model in ("gjr", "naive"):
        assert line(volatility, model).get_color() == line(skill, model).get_color()


def test_names_of_files_are_safe_and_unlike():
    tickers = ["../x", "..", "CON.", "A/B", "A%2FB", "BRK-B", "005930.KS", "C:\\x", "$A$"]
    rows = simulated(tickers, sessions=3)
    names = [
        name
        for ticker in tickers
        for name, _ in evaluation.of_backtest(rows[rows["ticker"] == ticker], "naive")
        if name.startswith("forecast-")
    ]
    assert len(set(names)) == len(tickers)
    for name in names:
        assert name.replace("-", "").replace("%", "").isalnum()
    assert "forecast-%2E%2E%2Fx" in names


def test_only_the_first_tickers_are_drawn_and_skill_needs_a_baseline():
    rows = simulated([f"T{i:02}" for i in range(12)], sessions=3)
    names = [name for name, _ in evaluation.of_backtest(rows[rows["model"] == "lstm"], "lstm")]
    wanted = [
        f"{kind}-T{i:02}"
        for i in range(evaluation.MOST_TICKERS)
        for kind in ("forecast", "volatility")
    ]
    assert names == [*wanted, "calibration"]


def test_dollars_are_not_mathematics(frame):
    figure = evaluation.forecast(frame.replace({"ticker": {"AAPL": "$A$"}}), "$A$", "gjr")
    title = figure.axes[0].title
    assert title._preprocess_math(title.get_text())[1] is False


def test_longer_steps_are_left_out(frame):
    far = frame.assign(step=5, log_return=9.0)
    for name in ("AAPL", "^GSPC"):
        (axes,) = evaluation.volatility(pd.concat([frame, far]), name, sessions=300).axes
        assert len(line(axes, "gjr").get_ydata()) == 300
    assert (
        evaluation.calibration(pd.concat([frame, far])).axes[0].get_title() == "gjr (600 forecasts)"
    )


def test_frame_is_left_alone_whatever_its_order(frame):
    before = frame.copy()
    shuffled = frame.sample(frac=1, random_state=1)
    kept = shuffled.copy()
    for rows in (frame, shuffled):
        (axes,) = evaluation.forecast(rows, "AAPL", "gjr").axes
        assert (np.diff(line(axes, "actual close").get_xdata()) > np.timedelta64(0)).all()
        list(evaluation.of_backtest(rows, "gjr"))
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(shuffled, kept)


def test_nothing_is_left_open_and_matplotlib_is_loaded_late():
    script = (
        "import sys, forecaster.plots.evaluation as plots\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plots.style.canvas()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda f: evaluation.forecast(f, "MSFT", "lstm"), "ticker .*'MSFT'.*AAPL, \\^GSPC"),
        (lambda f: evaluation.forecast(f, "AAPL", "gru"), "model .*'gru'.*gjr, lstm, naive"),
        (lambda f: evaluation.volatility(f, "MSFT"), "ticker .*'MSFT'"),
        (lambda f: evaluation.calibration(f, ["gru"]), "model .*'gru'"),
        (lambda f: evaluation.calibration(f, []), "one model or more"),
        (lambda f: evaluation.skill(f, "lstm", ["har"]), "model .*'har'"),
        (lambda f: evaluation.skill(f, "lstm", ["lstm"]), "a baseline"),
        (lambda f: list(evaluation.of_backtest(f, "gru")), "model .*'gru'"),
        (lambda f: evaluation.forecast(f.head(0), "AAPL", "lstm"), "no such rows"),
    ],
)
def test_what_the_frame_lacks_is_said_in_one_line(frame, draw, words):
    with pytest.raises(ForecastError, match=words) as caught:
        draw(frame)
    assert "\n" not in str(caught.value)


def test_figures_of_outcomes_wait_for_an_outcome(frame):
    unknown = frame.assign(log_return=np.nan)
    with pytest.raises(HistoryError, match="gjr"):
        evaluation.calibration(unknown)
    with pytest.raises(HistoryError, match="lstm and naive"):
        evaluation.skill(unknown, "lstm")
