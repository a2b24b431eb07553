"""Names from anybody's file go through the real commands, and reach no terminal, sheet or page alive."""

import contextlib
import csv
import io
import json
import re
import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.cli.app import main

COMMANDING = (
    *(
        "\x1b]0;owned\x07",
        "\x1b[2J",
        "\x9b31m",
        "\x07",
        "\r\n",
        "\x7f",
        "\u202e",
        "\u2066",
        "\u200b",
    ),
    *("\ufeff", "\u2028", "\u00ad", "\u3164", "\U000e0041"),
)
PRINTABLE = (
    "=cmd()",
    "@SUM(A1)",
    "<script>alert(1)</script>",
    "[red]up",
    "$x^2$",
    "A`B",
    "é株",
    "O'K",
)
names = st.lists(
    st.sampled_from((*COMMANDING, *PRINTABLE, "A", ",", '"')) | st.text(max_size=3),
    min_size=1,
    max_size=4,
).map("".join)


def run(*words):
    """Run a command; its exit code, and what it printed on stdout and on stderr."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as stop,
    ):
        main([str(word) for word in words])
    return stop.value.code, out.getvalue(), err.getvalue()


def assert_harmless(text):
    """Only marks on paper, spaces and line breaks."""
    wild = {it for it in text if unicodedata.category(it) in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp")}
    assert (wild | set(text) & set("\u3164\u2800\ufe0f\u034f")) <= {"\n"}
    assert "Traceback" not in text


def prices(tickers, sessions=330):
    """Closes that wander, on the weekdays up to the end of 2018."""
    days = pd.bdate_range(end="2018-12-31", periods=sessions)
    walks = 50 * np.exp(
        np.random.default_rng(0).normal(0, 0.01, (len(tickers), sessions)).cumsum(1)
    )
    return pd.concat(
        [
            pd.DataFrame({"ticker": it, "date": days, "close": walk})
            for it, walk in zip(tickers, walks, strict=True)
        ]
    )


@settings(max_examples=25)
@given(st.lists(names, min_size=1, max_size=3, unique=True), names, st.booleans())
def test_any_file_is_stored_or_refused_in_harmless_words(
    tmp_path_factory, tickers, column, as_json
):
    folder = tmp_path_factory.mktemp("any")
    with (folder / "file.csv").open("w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.writer(file)
        writer.writerow(["date", "ticker", "close", column])
        for ticker in tickers:
            writer.writerows([f"2018-01-{day:02}", ticker, 10 + day, ticker] for day in range(2, 6))
    options = ["--home", folder / "home", *["--json"] * as_json]
    for words in (
        ["fetch", "--source", folder / "file.csv"],
        ["fetch", "--source", folder / "file.csv", tickers[0]],
        ["data", "list"],
        ["data", "check"],
    ):
        code, out, err = run(*words, *options)
        assert code in (0, 1, 2)
        assert_harmless(out + err)
        if as_json and out:
            json.loads(out)


@settings(max_examples=20)
@given(names, names)
def test_any_forecasts_are_refused_in_harmless_words(tmp_path_factory, ticker, model):
    folder = tmp_path_factory.mktemp("any")
    table = pd.DataFrame([{"ticker": ticker, "date": "2018-01-03", "model": model, "point": 1.0}])
    (folder / "file.csv").write_text(table.to_csv(index=False), "utf-8", errors="replace")
    code, out, err = run("score", folder / "file.csv", "--home", folder)
    assert (code, out) == (1, "")
    assert_harmless(err)
    code, out, err = run("train", ticker.replace("\0", ""), "--run", model, "--home", folder)
    assert code in (1, 2)
    assert_harmless(out + err)


def test_printable_names_go_all_the_way_and_stay_names(tmp_path):
    home, tickers, models = ["--home", tmp_path / "home"], list(PRINTABLE), ["=m()", "<b>m</b>"]
    prices(tickers).to_csv(tmp_path / "prices.csv", index=False)

    def ok(*words):
        code, out, err = run(*words, *home)
        assert code == 0, err
        assert_harmless(out + err)
        return out

    def cells(path):
        with path.open(newline="", encoding="utf-8") as file:
            return [cell for row in csv.reader(file) for cell in row]

    ok("fetch", "--source", tmp_path / "prices.csv", "--quiet")
    for command in ("list", "check"):
        rows = json.loads(ok("data", command, "--json", "--quiet"))["tickers"]
        assert {row["ticker"] for row in rows} == set(tickers)
        table = ok("data", command, "--quiet")
        assert all(ticker in table for ticker in tickers)

    # Exported, and read again under the same names.
    ok("data", "export", tmp_path / "out.csv")
    again = ["--source", tmp_path / "out.csv", "--home", tmp_path / "again", "--json"]
    assert {row["ticker"] for row in json.loads(run("fetch", *again)[1])["tickers"]} == set(tickers)

    ok("train", "--model", "naive", "--until", "2018-11-30", "--run", "mine")
    csv_file = tmp_path / "next.csv"
    table = ok("predict", "--out", csv_file, "--quiet")
    assert all(ticker in table for ticker in tickers)

    day = pd.Timestamp("2018-12-03")
    days = pd.bdate_range(day, "2018-12-28").drop(["2018-12-05", "2018-12-25"])
    pd.DataFrame(
        [
            {"ticker": ticker, "date": it, "model": model, "mean": 0.0, "volatility": 0.01}
            for model in models
            for ticker in tickers[:3]
            for it in days
        ]
    ).to_csv(tmp_path / "mine.csv", index=False)
    table = ok("score", tmp_path / "mine.csv", "--models", "naive", "--out", tmp_path / "score")
    assert all(model in table for model in models)
    ok("report", tmp_path / "score", "--out", tmp_path / "report.html")
    for page in (tmp_path / "report.html", tmp_path / "score" / "report.html"):
        html = page.read_text(encoding="utf-8")
        for name in ("<script>alert(1)", "<b>m</b>"):
            assert name not in html
        assert "&lt;b&gt;m&lt;/b&gt;" in html
    files = [tmp_path / "out.csv", csv_file, *(tmp_path / "score").rglob("*.csv")]
    assert len(files) > 10
    for file in files:
        assert not [it for it in cells(file) if re.match(r"[=@]|[+-](?!\d|inf)", it)]
    (tmp_path / "all.txt").write_text("\n".join(tickers), encoding="utf-8")
    ok("data", "remove", f"@{tmp_path / 'all.txt'}")
