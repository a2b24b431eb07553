"""Which ticker is out of all proportion to the others."""

import numpy as np
import pandas as pd
from pictures import simulated

from forecaster.plots import evaluation, outliers


def test_values_far_beyond_the_quartiles_are_outlandish():
    # Quartiles of 0, 1, …, 8 are 2 and 6, so the ends are 2 − 5 · 4 = −18 and 26.
    values = np.array([0.0, 1, 2, 3, 4, 5, 6, 7, 8])
    assert outliers.inside(values).all()
    far = np.append(values, [60.0, -60.0, np.nan])
    assert outliers.inside(far).tolist() == [True] * 9 + [False, False, True]
    assert outliers.inside(np.array([1.0, 1.0, 1.0, 1.0, 99.0])).all()  # no spread to measure by
    assert outliers.inside(np.array([1.0, 2.0, 99.0])).all()  # too few


def test_normal_values_are_never_outlandish():
    rng = np.random.default_rng(0)
    assert all(outliers.inside(rng.normal(size=400)).all() for _ in range(50))


def test_a_ticker_that_makes_most_of_a_sum_is_named():
    totals = pd.Series({"A": 1.0, "B": 1.0, "DHR": 4.0, "C": 1.0, "D": 1.0})
    assert outliers.dominance(totals) == ""  # half, and yet four times the median
    totals["DHR"] = 6.0
    assert outliers.dominance(totals) == "DHR alone makes 60% of the CRPS of 5 tickers"
    many = pd.Series(1.0, index=[f"T{i}" for i in range(99)])
    many["BIG"] = 9.0  # less than a tenth
    assert outliers.dominance(many) == ""
    assert outliers.dominance(totals.iloc[2:4]) == ""


def test_the_figure_of_skill_names_a_ticker_that_makes_most_of_the_loss():
    frame = simulated(tickers=("A", "B", "C", "D"), sessions=60)
    (axes,) = evaluation.skill(frame, "lstm", ["naive"]).axes
    assert "alone" not in axes.get_title()
    last = (frame["ticker"] == "C") & (frame["date"] == frame["date"].max())
    frame.loc[last, "log_return"] = 5.0
    (axes,) = evaluation.skill(frame, "lstm", ["naive"]).axes
    assert axes.get_title().endswith("C alone makes 88% of the CRPS of 4 tickers: see its prices")
