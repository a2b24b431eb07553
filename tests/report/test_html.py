"""The page stands alone, says what the frames say, and takes nobody's word for HTML."""

import json
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
from report_page import Page, scripts, unpacked
from simulated import HOSTILE, SCALES, simulated

from forecaster.backtesting import archive
from forecaster.distributions import forecasts
from forecaster.errors import StoreError
from forecaster.evaluation import calibration, metrics, significance
from forecaster.evaluation.drawn import Drawn
from forecaster.plots import evaluation, style
from forecaster.report import comparison, html, tables
from forecaster.report.packing import pack


@pytest.fixture(scope="module")
def written(all_plots, tmp_path_factory):
    folder = tmp_path_factory.mktemp("backtest") / "new"
    backtest = simulated()
    paths = html.write(backtest, folder)
    return backtest, folder, paths, (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def small():
    """A backtest that is scored in a moment."""
    return simulated(("AAPL",), {"lstm": 0.01, "naive": 0.012}, sessions=5)


def test_the_files_are_the_report_and_a_png_of_every_figure(written):
    backtest, folder, paths, _ = written
    names = [name for name, _ in evaluation.of_backtest(backtest.forecasts, "lstm")]
    assert paths == [folder / "report.html", *(folder / "plots" / f"{it}.png" for it in names)]
    assert sorted(folder.rglob("*.*")) == sorted(paths)
    assert all(path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") for path in paths[1:])


def test_packed_numbers_come_back_within_half_a_unit():
    rng = np.random.default_rng(0)
    smooth, jumps = rng.normal(size=100), np.full(100, -2e9)
    smooth[[0, 7, 99]] = np.nan
    jumps[::2] = 2.1e9
    jumps[5] = 3e9
    same, far = unpacked(pack([(smooth, 1e-4), (jumps, 1.0)]))
    np.testing.assert_allclose(same, smooth, atol=0.501e-4)
    np.testing.assert_array_equal(far, np.where(jumps == 3e9, np.nan, jumps))


def test_the_page_asks_for_nothing_and_runs_what_it_names(written):
    page = Page(written[3])
    assert not page.open
    addresses = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "action", "style") or name.startswith("on")
    ]
    assert all(re.fullmatch("#[a-z]+", address) for address in addresses)
    assert not {"link", "iframe", "object", "img", "base"} & {tag for tag, _ in page.tags}
    assert "@import" not in written[3].split("</style>")[0]
    policy = page.all("meta")[2]["content"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert not {"unsafe-eval", "http:", "https:", "*"} & set(re.split(r"[\s;']+", policy))
    running = [body for attributes, body in scripts(written[3]) if not attributes]
    hashes = [b64encode(sha256(body.encode()).digest()).decode() for body in running]
    assert re.findall("sha256-([^']+)", policy) == hashes
    assert re.search(r"script-src [^;]*", policy)[0].count("'") == 2 * len(hashes)


def test_what_the_page_holds_cannot_end_its_script(written):
    held = [body for attributes, body in scripts(written[3]) if "application/json" in attributes]
    assert len(held) == 2
    assert not any("<" in body for body in held)
    assert HOSTILE in json.loads(held[1])["tickers"]


def test_the_page_holds_what_was_forecast(written):
    backtest, _, _, text = written
    packed = json.loads(scripts(text)[1][1])
    frame = backtest.forecasts
    for ticker, its in packed["tickers"].items():
        rows = frame[(frame["ticker"] == ticker) & (frame["model"] == "lstm")].sort_values("date")
        columns = dict(zip(packed["columns"], unpacked(its), strict=True))
        days = columns["date"].astype(int).astype("datetime64[D]")
        assert (days == rows["date"].to_numpy()).all()
        returns = columns["log_return"]
        close = np.exp(columns["level"] + np.cumsum(returns) - returns)
        np.testing.assert_allclose(close, rows["last_close"], rtol=2e-6)
        np.testing.assert_allclose(returns, rows["log_return"], atol=1e-6)
        median, step = columns["median"], rows["volatility"].median() / 200
        for percent in (50, 80, 95):
            low, high = forecasts.interval(rows, percent / 100)
            below, skew = columns[f"below_{percent}"], columns[f"skew_{percent}"]
            np.testing.assert_allclose(median - below, low, atol=1.5 * step)
            np.testing.assert_allclose(median + below + skew, high, atol=1.5 * step)
        breach = (rows["log_return"] < rows["q0.05"]).astype(int)
        breach += rows["log_return"] < rows["q0.01"]
        assert (columns["breach"] == breach.to_numpy()).all()
        gjr = frame[(frame["ticker"] == ticker) & (frame["model"] == "gjr")].sort_values("date")
        at = packed["models"].index("gjr")
        np.testing.assert_allclose(columns[f"volatility_{at}"], gjr["volatility"], atol=step)
        held = backtest.tables["coverage"].query("split == 'all' and nominal == 0.8")
        share = held.loc[(held["ticker"] == ticker) & (held["model"] == "lstm"), "share"].item()
        assert f"the 80% interval held {share:.1%}" in its["note"]


def test_a_hundred_tickers_of_ten_years_will_fit_in_8_megabytes(written):
    sessions, models = (
        600,
        {"lstm": 0.009, "gjr": 0.01, "garch": 0.012, "ewma": 0.01, "naive": 0.02},
    )
    rng = np.random.default_rng(5)
    backtest = simulated(("AAPL", "MSFT"), models, sessions)
    frame = backtest.forecasts
    for name in [
        *forecasts.QUANTILES,
        "volatility",
        "scale",
    ]:  # forecasts that move from day to day
        frame[name] *= np.exp(np.cumsum(rng.normal(0, 0.03, len(frame))) % 1.0)
    text = html.page(backtest)
    held = len(scripts(text)[1][1].encode())
    rest = len(text.encode()) - held
    assert rest + held / (2 * sessions) * 100 * 2520 < 8e6


def test_every_chart_has_a_text_alternative_and_numbers(written):
    page = Page(written[3])
    charts = [it for it in page.all("div") if it.get("class") == "canvas"]
    assert [it["id"].removeprefix("chart-") for it in charts] == [
        *["price", "volatility", "risk", "skill", "tickers", "stability", "murphy", "pit"],
        *["reliability", "rises", "coverage", "surprises", "equity", "drawdown"],
    ]
    assert all(it["aria-label"].startswith("Chart: ") for it in charts)
    assert written[3].count("The same as a table") == 5
    assert written[3].count("The same by year") == 3


def test_every_other_model_is_compared_with_an_interval(written):
    backtest, _, _, text = written
    head, *rows = Page(text).tables[2]
    losses = metrics.losses(metrics.common(backtest.forecasts))
    assert [row[0] for row in rows] == [name for name in SCALES if name != "lstm"]
    for cells in rows:
        row = dict(zip(head, cells, strict=True))
        ours, theirs = significance.by_day(losses, "lstm", row["Against"])
        test = significance.diebold_mariano(ours, theirs)
        reach = 2.4469119 * test.difference / test.statistic / theirs.mean()  # t, 6 df
        ratio = ours.mean() / theirs.mean()
        assert row["95% interval"] == f"{ratio - reach:.4f} to {ratio + reach:.4f}"


def test_the_least_expected_days_come_first(written):
    backtest, _, _, text = written
    (rows,) = (it for it in Page(text).tables if it[0][-1] == "Once in days")
    mine = backtest.forecasts[backtest.forecasts["model"] == "lstm"]
    pit = calibration.pit(mine)
    tail = np.minimum(pit, 1 - pit)
    worst = mine.iloc[int(tail.argmin())]
    assert rows[1][:2] == [f"{worst['date']:%Y-%m-%d}", worst["ticker"]]
    assert rows[1][-1] == f"{1 / (2 * tail.min()):,.0f}"
    odds = [float(row[-1].replace(",", "")) for row in rows[1:]]
    assert odds == sorted(odds, reverse=True)


def test_the_growth_in_the_table_is_that_of_the_strategy(written):
    backtest, _, _, text = written
    rows = next(it for it in Page(text).tables if it[0][:2] == ["Year", "buy and hold"])
    earned = backtest.tables["strategy"].set_index(["model", "rule"])["total_return"]
    wanted = [earned["(market)", "buy and hold"], earned["lstm", "long/flat"]]
    assert rows[1][1:3] == [f"{it:+.1%}".replace("-", "−") for it in wanted]


def test_hostile_names_are_words_not_tags(written):
    page = Page(written[3])
    assert not page.all("b")
    assert len(page.all("script")) == 4
    assert HOSTILE in page.said
    assert HOSTILE in [row[0] for row in page.tables[3]]
    assert '<b a="x">' in [row[0] for row in page.tables[1]]


def test_the_page_says_things_in_order(written):
    backtest, _, _, text = written
    said = Page(text).said
    order = [
        "Backtest of lstm: next-day forecasts, 2018-01-03 to 2018-03-27",
        backtest.verdict.headline,
        backtest.verdict.advice,
        "CRPS is lower by",
        "80% held",
        "60 sessions 2 tickers",
        "2018-01-03 2018-03-27",
        "Price of",
        "The prices end on 2019-05-17",
        "history, not advice",
        "What the days support",
        *(row.figure for row in backtest.verdict.rows),
        backtest.verdict.details[-1],
        "Inside 95%",
        "lstm against every other model",
        "CRPS by ticker (2)",
        "Volatility of",
        "one steep rise",
        "Diebold–Mariano tests",
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
    assert not re.search(r"MAPE|R2|accura", said)


def test_the_pooled_table_is_that_of_the_scores(written):
    backtest, _, _, text = written
    head, *rows = Page(text).tables[1]
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
    (table,) = (
        it for it in Page(text).tables if it[0][:3] == ["Model", "Against", "Difference\u00a0%"]
    )
    head, *rows = table
    tests = backtest.comparison.query("metric == 'crps'")
    # Those of lstm stand above, and that of gjr against naive is that of naive against gjr.
    tests = tests[tests["model"] != "lstm"].drop_duplicates("p_value")
    assert len(rows) == len(tests) == 3
    for cells, (_, test) in zip(rows, tests.iterrows(), strict=True):
        row = dict(zip(head, cells, strict=True))
        assert (row["Model"], row["Against"]) == (test["model"], test["against"])
        assert row["Statistic"] == f"{test['statistic']:+.2f}".replace("-", "−")
        p_value = min(4 * test["p_value"], 1)  # as in the verdict
        sure = p_value < 0.05
        side = "better" if test["difference"] < 0 else "worse"
        assert row["At\u00a05%"] == (side if sure else "not told apart")
        assert row["p"] == ("< 0.001" if p_value < 0.001 else f"{p_value:.3f}")
    assert {row[-1] for row in rows} == {"better", "not told apart"}


def test_the_table_of_tickers_is_folded_and_that_of_the_scores(written):
    backtest, _, _, text = written
    page = Page(text)
    head, *rows = page.tables[3]
    assert head == ["Ticker", *SCALES]
    assert all("open" not in details for details in page.all("details"))
    for ticker, *cells in rows:
        its = backtest.scores[backtest.scores["ticker"] == ticker].set_index("model")["crps"]
        assert cells == [f"{its[model]:.4f}" for model in SCALES]


def test_tables_have_captions_and_scopes(written):
    page = Page(written[3])
    assert len(page.all("caption")) == len(page.all("table")) - 1  # one is filled by the script
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


def test_the_same_backtest_gives_the_same_bytes_and_is_left_alone(small, tmp_path):
    before = small.forecasts.copy()
    once, again = (html.write(small, tmp_path / name) for name in "ab")
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]
    pd.testing.assert_frame_equal(small.forecasts, before)


def test_a_model_alone_is_reported_without_ratios_tests_or_run(tmp_path):
    backtest = simulated(("AAPL",), {"har": 0.01}, sessions=5)
    backtest = replace(backtest, provenance=replace(backtest.provenance, run=None))
    html.write(backtest, tmp_path)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not [title for title in page.tables[0][0] if "/" in title]
    assert len(page.tables[1]) == 1
    assert "no baseline beside it" in page.said
    assert backtest.verdict.text in page.said
    assert "every model was fitted fold by fold" in page.said


def test_the_folder_alone_makes_the_same_page(tmp_path):
    # What pandas would read as nothing, as truth and as a number.
    backtest = simulated(("NA", "TRUE", "005930"), {"lstm": 0.01, "gjr": 0.012, "naive": 0.02}, 40)
    archive.write(backtest, tmp_path)
    assert html.page(archive.load(tmp_path)) == html.page(backtest)


@pytest.mark.parametrize(
    "damage", ["config.json", "scores.json", "forecasts.parquet", "tables/skill.csv", None]
)
def test_a_damaged_folder_is_refused(small, tmp_path, damage):
    if damage:
        archive.write(small, tmp_path)
        (tmp_path / damage).write_bytes(b"\xff{")
        if damage.endswith(".csv"):
            (tmp_path / damage).unlink()
    with pytest.raises(StoreError, match="holds no backtest, or a damaged one"):
        archive.load(tmp_path)


def test_a_ticker_out_of_all_proportion_is_named_and_leaves_the_scale_to_the_others():
    names = [f"T{i}" for i in range(8)]
    backtest = simulated(names, {"lstm": 0.009, "naive": 0.016})
    drawn, looks = Drawn(backtest.parts, "lstm"), style.looks(backtest.parts)

    def tickers(skill):
        return list(comparison.of_skill(drawn, backtest.tables | {"skill": skill}, looks))[1]

    skill, scores = backtest.tables["skill"].copy(), backtest.scores.copy()
    rows = (skill["metric"] == "crps") & (skill["model"] == "lstm") & skill["ticker"].isin(names)
    assert "Out of the picture" not in tickers(skill).caption
    skill.loc[rows & (skill["ticker"] == "T3"), ["value", "low", "high"]] = [3.5, 2.0, 9.0]
    chart = tickers(skill)
    assert chart.caption.endswith(" Out of the picture, and worth a look at the prices: T3.")
    # The picture ends where the others do; the number of the one is written at its edge.
    others = 100 * (skill.loc[rows & (skill["ticker"] != "T3"), ["low", "high"]] - 1)
    assert chart.figure.x_range.start < others["low"].min()
    assert others["high"].max() < chart.figure.x_range.end < 50
    written = [it.data_source.data["text"] for it in chart.figure.renderers if it.glyph.tags]
    assert [list(it) for it in written] == [[], ["+250% ▸"]]
    assert "+250.00" in chart.table
    assert "alone makes" not in tables.pooled(scores)
    scores.loc[scores["ticker"] == "T3", "crps"] *= 20
    assert re.search(r"T3 alone makes 7\d% of the CRPS of 8 tickers", tables.pooled(scores))


def test_a_report_of_one_session_has_no_test_to_show():
    text = html.page(simulated(sessions=1))
    assert "better than gjr on 0 of 0 tickers" in text
