"""The report of a backtest whose sessions react to earnings."""

import json

import numpy as np
import pytest
from report_page import Page, scripts, unpacked
from simulated import simulated

from forecaster.report import html

REACTIONS = (10, 40, 61)
MODELS = {"lstm": 0.009, "gjr": 0.010, "gjr-events": 0.011, "ewma": 0.010, "naive": 0.016}


@pytest.fixture(scope="module")
def backtest():
    return simulated(("AAPL", "MSFT"), MODELS, 80, reactions=REACTIONS)


@pytest.fixture(scope="module")
def text(backtest):
    return html.page(backtest)


def test_the_section_has_the_scores_of_the_model_and_its_rivals(backtest, text):
    page = Page(text)
    (table,) = (it for it in page.tables if it[0][-1] == "p of the PIT")
    head, *rows = table
    rivals = ["lstm", "gjr", "gjr-events", "naive"]
    assert [row[:2] for row in rows] == [
        [part, model]
        for part in ("reaction sessions", "the five after", "all other sessions")
        for model in rivals
    ]
    scores = backtest.tables["announced"].set_index(["model", "part"])
    ours, theirs = (scores.loc[it, "reaction"] for it in ("lstm", "gjr-events"))
    row = dict(zip(head, rows[0], strict=True))
    assert row["Forecasts"] == "6"
    assert row["Inside 80%"] == f"{ours['coverage_80']:.1%}"
    assert row["CRPS/gjr-events"] == f"{ours['crps'] / theirs['crps']:.4f}"
    assert row["CRPS/gjr"] == f"{ours['crps/gjr']:.4f}"


def test_the_chart_has_a_place_a_link_and_words(text):
    page = Page(text)
    names = [it["id"] for it in page.all("div") if it.get("class") == "canvas"]
    assert "chart-coverage-around-earnings" in names
    assert json.loads(scripts(text)[0][1])["roots"]["coverage-around-earnings"]
    assert "#earnings" in [it["href"] for it in page.all("a")]
    assert "reaction to earnings" in page.said


def test_reaction_sessions_are_marked_on_the_price(backtest, text):
    packed = json.loads(scripts(text)[1][1])
    for its in packed["tickers"].values():
        columns = dict(zip(packed["columns"], unpacked(its), strict=True))
        assert np.flatnonzero(columns["reaction"]).tolist() == list(REACTIONS)
    assert '"@date{%F}@earnings"' in scripts(text)[0][1]


def test_without_announcements_the_page_knows_nothing_of_earnings():
    text = html.page(simulated(("AAPL",), MODELS, 20))
    assert "Around earnings" not in Page(text).said
    assert "reaction" not in scripts(text)[0][1] + scripts(text)[1][1]
