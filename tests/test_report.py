"""The page stands alone, says what the frames say, and takes nobody's word for HTML."""

import re
from base64 import b64decode
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from forecaster import evaluation, forecasts, metrics, plots, report
from forecaster.backtest import Backtest

HOSTILE = '<script>alert("1")</script>&$A$'
SCALES = {"lstm": 0.009, "gjr": 0.010, "naive": 0.016, '<b a="x">': 0.011}
VOID = {"meta", "img"}


class Page(HTMLParser):
    """What is on a page: every tag with its attributes, the cells of its tables, its words."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self.words, self.open = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)
        if self.open[-1:] in (["td"], ["th"]):
            self.tables[-1][-1][-1] += data

    @property
    def said(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def simulated(tickers=("AAPL", HOSTILE), models=SCALES, sessions=60):
    rng = np.random.default_rng(3)
    dates = pd.bdate_range("2018-01-02", periods=sessions + 1)
    returns = {ticker: 0.01 * rng.standard_t(5, sessions) for ticker in tickers}
    found = forecasts.concat(
        forecasts.from_student(
            ticker=ticker,
            model=model,
            cutoff=dates[:-1],
            date=dates[1:],
            last_close=100.0,
            log_return=returns[ticker],
            location=0.0 if model == "naive" else 1e-4,
            scale=scale,
            df=5.0,
        )
        for model, scale in models.items()
        for ticker in tickers
    )
    prices = found[["ticker", "date"]].drop_duplicates().assign(close=100.0, adj_close=100.0)
    prices[["open", "high", "low", "volume"]] = np.nan
    said = evaluation.evaluate(found, prices, model=next(iter(models)))
    fold = {"until": "2018-01-02", "first": "2018-01-02", "last": str(dates[-2].date())}
    return Backtest(
        forecasts=found,
        tables=said.tables | {"fallbacks": pd.DataFrame(columns=["model", "until", "ticker"])},
        verdict=said.verdict,
        config={
            "tickers": list(tickers),
            "models": list(models),
            "start": str(dates[1].date()),
            "end": str(dates[-1].date()),
            "refit": "yearly",
            "folds": [fold],
            "run": {
                "name": "lstm-2017",
                "model": "lstm",
                "tickers": ["AAPL"],
                "first": "1999-01-04",
                "until": "2017-12-29",
            },
            "prices_from": "1999-01-04",
            "prices_to": "2019-05-17",
            "prices_sha256": "0f" * 32,
            "versions": {"forecaster": "0.1.0", "numpy": "2.4.0"},
        },
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backtest") / "new"
    backtest = simulated()
    paths = report.write(backtest, folder)
    return backtest, folder, paths, (folder / "report.html").read_text(encoding="utf-8")


def test_the_files_are_the_report_and_a_png_of_every_figure(written):
    backtest, folder, paths, _ = written
    names = [name for name, _ in plots.of_backtest(backtest.forecasts, "lstm")]
    assert paths == [folder / "report.html", *(folder / "plots" / f"{it}.png" for it in names)]
    assert sorted(folder.rglob("*.*")) == sorted(paths)
    assert all(path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") for path in paths[1:])


def test_the_images_are_the_files_with_alternatives_and_captions(written):
    _, _, paths, text = written
    page = Page(text)
    images = page.all("img")
    assert len(images) == len(page.all("figcaption")) == len(paths) - 1
    for image, path in zip(images, paths[1:], strict=True):
        png = path.read_bytes()
        assert b64decode(image["src"].removeprefix("data:image/png;base64,")) == png
        size = [int.from_bytes(png[at : at + 4], "big") for at in (16, 20)]
        assert [int(image["width"]), int(image["height"])] == size
        assert image["alt"].startswith("Chart: ")
    assert images[2]["alt"].startswith(f"Chart: {HOSTILE} · lstm · next-day forecasts, 2018-01-03")


def test_the_page_asks_for_nothing_and_runs_nothing(written):
    page = Page(written[3])
    assert not page.open
    addresses = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "action", "style") or name.startswith("on")
    ]
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert not {"script", "link", "iframe", "object", "a", "form"} & {tag for tag, _ in page.tags}
    assert "url(" not in written[3]
    assert "@import" not in written[3]


def test_hostile_names_are_words_not_tags(written):
    page = Page(written[3])
    assert not page.all("b")
    assert "<script" not in written[3]
    assert HOSTILE in page.said
    assert HOSTILE in [row[0] for row in page.tables[2]]
    assert '<b a="x">' in [row[0] for row in page.tables[0]]


def test_the_page_says_things_in_order(written):
    backtest, _, _, text = written
    said = Page(text).said
    order = [
        "Backtest of lstm: next-day forecasts, 2018-01-03 to 2018-03-27",
        "The prices end on 2019-05-17",
        "history, not advice",
        backtest.verdict,
        "Inside 95%",
        "Diebold–Mariano tests",
        "CRPS of each of 2 tickers",
        "one steep fall",
        "1999-01-04 to 2019-05-17",
        "lstm is the run lstm-2017, trained from 1999-01-04 to 2017-12-29",
        "1 (refit: yearly)",
        "forecaster 0.1.0, numpy 2.4.0",
        "0f" * 32,
        "Survivorship: tickers chosen today bias the past",
    ]
    at = 0
    for words in order:
        assert words in said[at:], words
        at = said.index(words, at) + len(words)
    assert not re.search(r"MAPE|R²|R2|accura", said)


def test_the_pooled_table_is_that_of_the_scores(written):
    backtest, _, _, text = written
    head, *rows = Page(text).tables[0]
    assert [row[0] for row in rows] == list(SCALES)
    pooled = metrics.pooled(backtest.scores).loc["lstm"]
    lstm = dict(zip(head, rows[0], strict=True))
    assert lstm["Sessions"] == "60"
    assert lstm["CRPS\u00a0%"] == f"{pooled['crps']:.4f}"
    assert lstm["CRPS/naive"] == f"{pooled['crps/naive']:.4f}"
    assert lstm["CRPS/gjr"] == f"{pooled['crps/gjr']:.4f}"
    assert lstm["QLIKE"] == f"−{abs(pooled['qlike']):.4f}"
    assert lstm["Inside 90%"] == f"{100 * pooled['coverage_90']:.1f}%"
    naive = dict(zip(head, rows[2], strict=True))
    assert naive["CRPS/naive"] == "1.0000"
    assert (naive["Hit rate"], naive["Its 95% interval"]) == ("–", "–")


def test_the_tests_are_told_in_numbers_and_words(written):
    backtest, _, _, text = written
    head, *rows = Page(text).tables[1]
    tests = backtest.comparison.query("metric == 'crps'")
    assert len(rows) == len(tests) == 6
    for cells, (_, test) in zip(rows, tests.iterrows(), strict=True):
        row = dict(zip(head, cells, strict=True))
        assert (row["Model"], row["Against"]) == (test["model"], test["against"])
        assert row["Statistic"] == f"{test['statistic']:+.2f}".replace("-", "−")
        sure = test["p_value"] < 0.05
        side = "better" if test["difference"] < 0 else "worse"
        assert row["At\u00a05%"] == (side if sure else "not told apart")
        assert (row["p"] == "< 0.001") == (test["p_value"] < 0.001)
    assert {row[-1] for row in rows} >= {"better", "worse"}


def test_the_table_of_tickers_is_folded_and_that_of_the_scores(written):
    backtest, _, _, text = written
    page = Page(text)
    head, *rows = page.tables[2]
    assert head == ["Ticker", *SCALES]
    assert all("open" not in details for details in page.all("details"))
    for ticker, *cells in rows:
        its = backtest.scores[backtest.scores["ticker"] == ticker].set_index("model")["crps"]
        assert cells == [f"{its[model]:.4f}" for model in SCALES]


def test_tables_have_captions_and_scopes(written):
    page = Page(written[3])
    assert len(page.all("caption")) == len(page.all("table"))
    assert {attributes["scope"] for attributes in page.all("th")} == {"col", "row"}


def test_the_other_statistics_are_shown_over_all_tickers(written):
    backtest, _, _, text = written
    page = Page(text)
    heads = {tuple(table[0]): table[1:] for table in page.tables}
    coverage = backtest.tables["coverage"]
    coverage = coverage[coverage["ticker"] == "(all)"]
    rows = heads["model", "split", "part", "nominal", "share", "low", "high", "p\u00a0value"]
    assert [row[4] for row in rows] == [f"{share:.1%}" for share in coverage["share"]]
    skill = backtest.tables["skill"]
    rows = heads["model", "against", "metric", "kind", "value", "low", "high"]
    assert len(rows) == (skill["ticker"] == "(all)").sum()
    strategy = backtest.tables["strategy"]
    assert any(len(rows) == len(strategy) and head[1] == "rule" for head, rows in heads.items())


def test_it_has_a_look_for_the_dark_for_paper_and_for_a_phone(written):
    for words in ("prefers-color-scheme: dark", "@media print", "width=device-width"):
        assert words in written[3]


def test_the_same_backtest_gives_the_same_bytes_and_is_left_alone(tmp_path):
    backtest = simulated(("AAPL",), {"lstm": 0.01, "naive": 0.012}, sessions=5)
    before = backtest.forecasts.copy()
    once, again = (report.write(backtest, tmp_path / name) for name in "ab")
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]
    pd.testing.assert_frame_equal(backtest.forecasts, before)


def test_a_model_alone_is_reported_without_ratios_tests_or_run(tmp_path):
    backtest = simulated(("AAPL",), {"har": 0.01}, sessions=5)
    backtest.config["run"] = None
    report.write(backtest, tmp_path)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not [title for title in page.tables[0][0] if "/" in title]
    assert len(page.tables[1]) == 1
    assert backtest.verdict in page.said
    assert "every model was fitted fold by fold" in page.said
