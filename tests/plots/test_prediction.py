from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from pictures import assert_readable, legend, simulated

from forecaster.dataset.announcements import NextEvent
from forecaster.display import announcement, price
from forecaster.distributions import forecasts
from forecaster.plots import prediction


@pytest.fixture(scope="module")
def history():
    frame = simulated(("AAPL",), sessions=100).query("model == 'lstm'")
    closes = frame.set_index("cutoff")["last_close"]
    return frame.tail(1), closes


def test_the_bands_are_those_of_the_forecast(history):
    row, closes = history
    figure = prediction.prediction(row, closes)
    assert_readable(figure)
    (axes,) = figure.axes
    last = row["last_close"].item()
    for low, high, band in (("0.025", "0.975", 0), ("0.1", "0.9", 1), ("0.25", "0.75", 2)):
        ends = [last * np.exp(row[f"q{level}"].item()) for level in (low, high)]
        (path,) = axes.collections[band].get_paths()
        assert [path.vertices[:, 1].min(), path.vertices[:, 1].max()] == pytest.approx(ends)
        words = " to ".join(price(end, beside=last) for end in ends)
        assert any(it.endswith(words) for it in legend(figure))
    (drawn,) = (it for it in axes.lines if it.get_label().startswith("close"))
    assert drawn.get_ydata() == pytest.approx(closes.tail(60).to_numpy())
    assert drawn.get_ydata()[-1] == last
    ahead = f"{row['date'].item():%d %b %Y}"
    assert axes.get_xticklabels()[-1].get_text() == ahead


def test_a_short_history_is_drawn_whole(history):
    row, closes = history
    figure = prediction.prediction(row, closes.tail(2))
    assert_readable(figure)


def test_an_announcement_that_the_session_reacts_to_is_marked(history):
    row, closes = history
    day, ahead = (row[name].item().date() for name in ("cutoff", "date"))
    event = NextEvent(day, "post", ahead, 0.05)
    figure = prediction.prediction(row, closes, event)
    assert_readable(figure)
    label = f"earnings {announcement(day, 'post')}"
    assert label in legend(figure)
    (tick,) = (it for it in figure.axes[0].lines if it.get_label() == label)
    assert set(tick.get_xdata()) == {figure.axes[0].get_xticks()[-1]}
    later = NextEvent(day, "post", ahead + timedelta(days=1), 0.05)  # beyond what is drawn
    assert legend(prediction.prediction(row, closes, later)) == legend(
        prediction.prediction(row, closes)
    )


@pytest.fixture(scope="module")
def ahead(history):
    """Forecasts of the next 21 business days, ever wider, from the last close of the history."""
    row, _ = history
    steps = np.arange(1, 22)
    return forecasts.from_student_t(
        ticker="AAPL",
        model="lstm",
        cutoff=np.repeat(row["cutoff"].to_numpy(), 21),
        date=pd.bdate_range(row["cutoff"].item(), periods=22)[1:],
        step=steps,
        last_close=row["last_close"].item(),
        log_return=np.nan,
        location=0.0005 * steps,
        scale=0.01 * np.sqrt(steps),
        df=6.0,
    )


def test_a_fan_opens_from_the_last_close(history, ahead):
    _, closes = history
    figure = prediction.fan(ahead, closes)
    assert_readable(figure)
    (axes,) = figure.axes
    last = closes.iloc[-1]
    for band, low, high in ((0, "0.025", "0.975"), (1, "0.1", "0.9"), (2, "0.25", "0.75")):
        (path,) = axes.collections[band].get_paths()
        x, y = path.vertices.T
        assert set(x) == set(range(59, 81))
        assert set(y[x == 59]) == {last}
        for step in (1, 10, 21):
            ends = last * np.exp(ahead.loc[step - 1, [f"q{low}", f"q{high}"]].astype(float))
            its = y[x == 59 + step]
            assert [its.min(), its.max()] == pytest.approx(ends.tolist())
    (median,) = (it for it in axes.lines if it.get_label().startswith("median"))
    assert median.get_ydata() == pytest.approx(np.append(last, last * np.exp(ahead["q0.5"])))
    assert axes.get_xticklabels()[-1].get_text() == f"{ahead['date'].iloc[-1]:%d %b %Y}"
    assert any(it.endswith(price(median.get_ydata()[-1], beside=last)) for it in legend(figure))


def test_a_fan_of_a_few_steps_and_a_short_history_is_readable(history, ahead):
    _, closes = history
    for rows in (ahead, ahead.iloc[:2], ahead.iloc[[4, 20]], ahead.iloc[[20]]):
        for count in (1, 2, 12, 60):
            assert_readable(prediction.fan(rows, closes.tail(count)))


@pytest.mark.parametrize("steps", [range(1, 22), (1, 10, 21), (3, 21)])
def test_earnings_are_marked_at_the_session_that_reacts(history, ahead, steps):
    _, closes = history
    rows = ahead[ahead["step"].isin(steps)]
    day, reaction = (ahead["date"].iloc[at].date() for at in (5, 6))
    event = NextEvent(day, "post", reaction, 0.05)
    figure = prediction.fan(rows, closes, event)
    assert_readable(figure)
    label = f"earnings {announcement(day, 'post')}"
    (tick,) = (it for it in figure.axes[0].lines if it.get_label() == label)
    assert set(tick.get_xdata()) == {59 + 7}
    later = NextEvent(day, "post", ahead["date"].iloc[-1].date() + timedelta(days=1), 0.05)
    assert label not in legend(prediction.fan(rows, closes, later))
