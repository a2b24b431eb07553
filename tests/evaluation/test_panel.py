"""Losses side by side, against pandas' own way to lay them out."""

import numpy as np
import pandas as pd
import pytest
from repetitions import simulated

from forecaster.errors import ForecastError, UsageError
from forecaster.evaluation import metrics, significance
from forecaster.evaluation.panel import Panel


@pytest.fixture(scope="module")
def losses():
    """Of three models and tickers, in no order, with rows that one or another lacks."""
    frame = simulated(models=3, tickers=3, sessions=120, seed=4)
    lost = (frame["model"] == "m1") & (frame["date"].dt.day == 7)
    lost |= (frame["model"] == "m2") & (frame["ticker"] == "T1")
    return metrics.losses(frame[~lost]).sample(frac=1, random_state=0)


def daily(losses, metric, *models):
    """The daily means as a pivot makes them."""
    wide = losses.pivot(index=["date", "ticker", "cutoff"], columns="model", values=metric)
    return wide[list(models)].dropna().groupby(level="date").mean()


@pytest.mark.parametrize("models", [("m0",), ("m0", "m1"), ("m2", "m1"), ("m2", "m0", "m1")])
@pytest.mark.parametrize("complete", [True, False])
def test_daily_means_are_those_of_a_pivot(losses, models, complete):
    rows = losses[losses["model"] == "m0"]
    if complete:  # where nobody lacks a row, all models are averaged at once
        losses = pd.concat([rows.assign(model=it, crps=rows["crps"] * 1.1) for it in models])
    for metric in ("crps", "hit"):
        expected = daily(losses, metric, *models)
        found = Panel.of(losses).daily(metric, *models)
        assert (found.index == expected.index).all()
        np.testing.assert_array_equal(found.to_numpy(), expected.to_numpy())


def test_parts_are_the_panels_of_their_rows(losses):
    panel = Panel.of(losses)
    assert [it for it, _ in panel.by("ticker")] == list(losses["ticker"].unique())
    assert [it for it, _ in panel.by("year")] == sorted(losses["date"].dt.year.unique())
    for name, codes in (("ticker", losses["ticker"]), ("year", losses["date"].dt.year)):
        for value, part in panel.by(name):
            alone = Panel.of(losses[codes == value])
            assert part.models == alone.models
            pd.testing.assert_frame_equal(
                significance.compare(part, against=["m0"]),
                significance.compare(alone, against=["m0"]),
                check_exact=True,
            )


def test_models_come_in_the_order_of_the_losses(losses):
    assert Panel.of(losses).models == list(losses["model"].unique())
    assert Panel.of(losses.iloc[:0]).models == []
    assert Panel.of(losses.iloc[:0]).overlap == 1


def test_what_was_not_scored_is_named(losses):
    panel = Panel.of(losses)
    assert Panel.of(panel) is panel
    with pytest.raises(UsageError, match="'arima'; choose one of m0, m1, m2"):
        panel.daily("crps", "m0", "arima")
    with pytest.raises(UsageError, match="'mse'; choose one of"):
        panel.daily("mse", "m0")
    with pytest.raises(ForecastError, match="one forecast of each model"):
        Panel.of(pd.concat([losses, losses.iloc[:1]]))
    with pytest.raises(ForecastError, match="of one step"):
        Panel.of(losses.assign(step=np.arange(len(losses)) % 2 + 1))
