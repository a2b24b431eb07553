"""The report of a backtest of several steps shows one at a time, as the reader picks."""

import json
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from overlapping import SCALES, overlapping
from report_page import Page, scripts, unpacked
from simulated import simulated

from forecaster.distributions.parts import Parts
from forecaster.evaluation import metrics
from forecaster.evaluation.evaluate import evaluate
from forecaster.evaluation.verdict import together
from forecaster.report import html

STEPS = (1, 5, 21)


def backtest_of(steps, sessions=460):
    """A backtest of overlapping forecasts of some steps."""
    frame, variance = overlapping(sessions, steps, tickers=2)
    alone = simulated(("T0", "T1"), SCALES, 20)
    done = {it: evaluate(frame[frame["step"] == it], variance, model="lstm") for it in steps}
    first, *further = steps
    own = {name: alone.tables[name] for name in ("fallbacks", "reactions")}
    return replace(
        alone,
        parts=Parts.of(frame),
        tables=done[first].tables | own,
        verdict=together([it.verdict for it in done.values()]),
        ahead={it: done[it] for it in further},
    )


@pytest.fixture(scope="module")
def backtest():
    return backtest_of(STEPS)


@pytest.fixture(scope="module")
def text(backtest):
    return html.page(backtest)


def test_every_step_has_its_scores_tests_and_main_charts(backtest, text):
    page = Page(text)
    assert not page.open
    assert "forecasts 1, 5 and 21 sessions ahead" in page.said
    (select,) = [it for it in page.all("select") if it.get("id") == "step"]
    assert select
    assert [it["value"] for it in page.all("option") if it["value"].isdigit()] == ["1", "5", "21"]
    marked = [it["data-step"] for it in page.all("div") if "data-step" in it]
    assert marked == ["1", "5", "21"] * 5
    assert not [it for it in page.all("div") if "hidden" in it]  # until the script runs
    names = [it["id"] for it in page.all("figure")]
    assert len(names) == len(set(names))
    for step in (5, 21):
        assert {f"{it}-step-{step}" for it in ("skill", "pit", "reliability", "coverage")} <= set(
            names
        )
    tables = [it for it in page.tables if it[0][:2] == ["Model", "Sessions"]]
    for table, step in zip(tables, STEPS, strict=True):
        scores = backtest.tables if step == 1 else backtest.ahead[step].tables
        pooled = metrics.pooled(scores["scores"])
        assert [row[0] for row in table[1:]] == list(pooled.index)
        assert [row[2] for row in table[1:]] == [f"{it:.4f}" for it in pooled["crps"]]
    assert backtest.ahead[21].verdict.advice in page.said


def test_sessions_of_a_further_step_are_those_that_do_not_overlap(backtest, text):
    packed = json.loads(scripts(text)[1][1])
    assert list(packed["further"]) == ["5", "21"]
    further = packed["further"]["21"]
    assert further["step"] == 21
    columns = dict(zip(further["columns"], unpacked(further["tickers"]["T0"]), strict=True))
    frame = backtest.forecasts
    rows = metrics.apart(frame[frame["step"] == 21]).query("ticker == 'T0' and model == 'lstm'")
    days = columns["date"].astype(int).astype("datetime64[D]")
    np.testing.assert_array_equal(days, rows["date"].to_numpy("datetime64[D]"))
    np.testing.assert_allclose(columns["log_return"], rows["log_return"], atol=1e-6)
    returns = columns["log_return"]
    close = np.exp(columns["level"] + np.cumsum(returns) - returns)
    np.testing.assert_allclose(close, rows["last_close"], rtol=2e-6)
    # The squares of the 21 daily returns of the span, by which each is judged.
    daily = frame.query("step == 1 and ticker == 'T0' and model == 'lstm'").set_index("date")
    square = (daily["log_return"] ** 2).rolling(21).sum()
    expected = np.sqrt(square.reindex(rows["date"]).to_numpy())
    np.testing.assert_allclose(columns["realised"], expected, rtol=0.02)


def test_glyphs_of_two_steps_have_names_of_their_own(text):
    figures = json.loads(scripts(text)[0][1])
    names = pd.Series(
        [it for it in _names(figures["doc"]) if it.startswith(("skill_", "pit_", "held_"))]
    )
    assert names.str.endswith("_step_5").any()
    assert names.is_unique


def _names(value):
    if isinstance(value, dict):
        if value.get("name") == "GlyphRenderer" and "name" in value.get("attributes", {}):
            yield value["attributes"]["name"]
        for it in value.values():
            yield from _names(it)
    elif isinstance(value, list):
        for it in value:
            yield from _names(it)


def test_a_backtest_of_a_week_alone_has_a_page_and_pictures(tmp_path):
    paths = html.write(backtest_of((5,), 200), tmp_path)
    said = Page(paths[0].read_text(encoding="utf-8")).said
    assert "forecasts 5 sessions ahead" in said
    assert "Sessions ahead" not in said
    assert len(paths) > 3


@pytest.mark.browser
def test_the_keyboard_picks_a_step(text, tmp_path):
    from playwright.sync_api import sync_playwright

    file = tmp_path / "report.html"
    file.write_text(text, encoding="utf-8")
    with sync_playwright() as play:
        chromium = play.chromium.launch(
            executable_path=os.environ["CHROMIUM"], args=["--no-sandbox", "--disable-gpu"]
        )
        page = chromium.new_page()
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-ready]", timeout=120_000)
        assert page.locator("#scores [data-step]:visible").first.get_attribute("data-step") == "1"
        page.focus("#step")
        page.keyboard.press("End")
        page.wait_for_function("document.querySelector('#scores [data-step=\"1\"]').hidden")
        assert page.locator("#scores [data-step]:visible").first.get_attribute("data-step") == "21"
        chart = page.locator("#chart-skill-step-21")
        assert chart.bounding_box()["width"] > 300
        page.emulate_media(color_scheme="dark")
        page.pdf(path=tmp_path / "report.pdf")
        assert "21 sessions" in page.locator("h1").inner_text()
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=f"{folder}/steps.png", full_page=True)
        assert not errors
        chromium.close()
