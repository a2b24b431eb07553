from datetime import timedelta

import numpy as np
import pytest
from pictures import assert_readable, legend, simulated

from forecaster.dataset.announcements import NextEvent
from forecaster.display import announcement, price
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
