"""What tests of pictures share: simulated forecasts, and what a figure shows."""

import numpy as np
import pandas as pd
from scipy import stats

from forecaster.distributions import forecasts

DF = 6.0


def simulated(tickers=("AAPL", "^GSPC"), sessions=300, seed=7):
    """Return forecasts of GARCH(1,1)-t returns: the truth, a blunter one and a constant one."""
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2017-01-02", periods=sessions + 1)
    parts = []
    for ticker in tickers:
        returns, variance = np.empty(sessions), np.full(sessions, 1e-4)
        for i, noise in enumerate(stats.t.rvs(DF, size=sessions, random_state=rng)):
            if i:
                variance[i] = 3e-6 + 0.09 * returns[i - 1] ** 2 + 0.88 * variance[i - 1]
            returns[i] = noise * np.sqrt(variance[i] * (DF - 2) / DF)
        for model, volatility in (
            ("gjr", np.sqrt(variance)),
            ("lstm", np.sqrt(0.8 * variance + 0.2e-4)),
            ("naive", np.full(sessions, 0.012)),
        ):
            parts.append(
                forecasts.from_student_t(
                    ticker=ticker,
                    model=model,
                    cutoff=dates[:-1],
                    date=dates[1:],
                    last_close=100 * np.exp(np.cumsum(returns) - returns),
                    log_return=returns,
                    location=0.0,
                    scale=volatility * np.sqrt((DF - 2) / DF),
                    df=DF,
                )
            )
    return pd.concat(parts, ignore_index=True)


def line(axes, label):
    (result,) = (it for it in axes.lines if it.get_label() == label)
    return result


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def texts(figure):
    """Return every text that is drawn, by panel, with its extent in pixels."""
    figure.draw_without_rendering()
    loose = [figure._suptitle, *(text for it in figure.legends for text in it.get_texts())]
    for axes in figure.axes:
        loose += [axes.title, *axes.texts]
        if not axes.axison:
            continue
        loose += [axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            loose += [*(tick.label1 for tick in ticks), axis.get_offset_text()]
    shown = [text for text in loose if text and text.get_text() and text.get_visible()]
    return [(text.get_text(), text.get_window_extent()) for text in shown]


def assert_readable(figure):
    drawn = texts(figure)
    width, height = figure.bbox.size
    for name, box in drawn:
        assert -0.5 <= box.x0 < box.x1 <= width + 0.5, name
        assert -0.5 <= box.y0 < box.y1 <= height + 0.5, name
    for i, (name, box) in enumerate(drawn):
        for other, its in drawn[:i]:
            assert not box.overlaps(its), (name, other)
