import numpy as np
import pytest
from pictures import assert_readable, legend, simulated

from forecaster.display import price
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
