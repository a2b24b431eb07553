"""The pages as a reader's browser asks for them: a real server, plain HTTP."""

import base64
import json
import logging
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pandas as pd
import pytest
from documents import validated
from living import LAST, NOW, announced, kept, recorded, stored
from pydantic import TypeAdapter
from report_page import Page
from serving import served
from simulated import HOSTILE

from forecaster.data import calendars, prices
from forecaster.data.filenames import filename
from forecaster.data.store import Store
from forecaster.live import settling
from forecaster.report import html
from forecaster.web import documents, pages, snapshot

LONG = "L" * 40
ODD = "BTC/USD'T"
SCRIPTS = "let a = 1", "let b = 2"
REPORT = f"""<!DOCTYPE html><title>Report</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src {
    " ".join(html._hash(text) for text in SCRIPTS)
}; style-src 'unsafe-inline'">
<script>{SCRIPTS[0]}</script><script>{SCRIPTS[1]}</script>"""
TOKEN = "a-token-that-nobody-knows"


@pytest.fixture(scope="module", autouse=True)
def _clock():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calendars, "now", lambda: NOW)
        patch.setattr(snapshot, "PATIENCE", 60.0)  # of a busy machine
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home of four tickers, three weeks of forecasts and a backtest with its report."""
    home = tmp_path_factory.mktemp("home")
    days = stored(home, ["AAA", HOSTILE, LONG, ODD])
    announced(home, "AAA", "2026-08-27", "2026-12-03")
    for day in days[-10:]:
        recorded(home, day)
        recorded(home, day, model="gjr", steps=(1,))
    settling.settle(home, Store(home), NOW)
    kept(home, "lstm & <b>", REPORT)
    return home


@pytest.fixture(scope="module")
def server(home):
    with served(home) as server:
        yield server


PAGES = [
    "/",
    "/ledger",
    "/backtests",
    *(f"/tickers/{quote(it, safe='')}" for it in ("AAA", HOSTILE)),
]


def test_the_watchlist_shows_each_ticker_and_what_was_forecast(server, home):
    answer = server.ask("/")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    page = Page(answer.text)
    (table,) = page.tables
    assert [row[0] for row in table[1:]] == sorted(["AAA", HOSTILE, LONG, ODD])
    of_aaa = dict(zip(table[0], next(row for row in table if row[0] == "AAA"), strict=True))
    close = Store(home).read(["AAA"])["close"].iloc[-1]
    assert of_aaa["Last close"] == f"{close:,.2f}"
    assert "4 tickers, closes of 2026-11-25, forecasts of 2026-11-27" in page.said
    assert of_aaa["Next earnings"] == "2026-12-03 after the close"
    assert re.fullmatch(r"[✓✗] (inside|above|below), [+−]\d.\d\d%", of_aaa["Last forecast"])
    links = [it["href"] for it in page.all("a") if it["href"].startswith("/tickers/")]
    assert links == [f"/tickers/{quote(it, safe='')}" for it in sorted(["AAA", HOSTILE, LONG, ODD])]
    for link in links:
        assert server.ask(link).status == 200


@pytest.mark.parametrize("path", PAGES)
def test_a_page_asks_nothing_of_others_and_runs_nothing_of_theirs(server, path):
    answer = server.ask(path)
    page = Page(answer.text)
    assert answer.status == 200
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert not {"unsafe-eval", "http:", "https:", "*"} & set(re.split(r"[\s;']+", policy))
    assert "server" not in answer.headers
    addresses = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action")
    ]
    assert all(re.match("[/#]", it) and not it.startswith("//") for it in addresses)
    assert not any(name.startswith("on") for _, its in page.tags for name in its)
    assert {it.get("type") for it in page.all("script") if "src" not in it} <= {"application/json"}
    for it in addresses:
        if it.startswith("/static/"):
            asset = server.ask(it)
            assert asset.status == 200
            assert "immutable" in asset.headers["cache-control"]


def test_a_hostile_name_is_words_wherever_it_stands(server):
    for path in ("/", f"/tickers/{quote(HOSTILE, safe='')}"):
        page = Page(server.ask(path).text)
        assert HOSTILE in page.said
        assert "alert" not in "".join(str(name) for name, _ in page.tags)
    document = server.ask(f"/api/v1/tickers/{quote(HOSTILE, safe='')}").json
    assert document["ticker"]["row"]["ticker"] == HOSTILE


@pytest.mark.parametrize(
    "path",
    [
        *("/tickers/NOPE", "/tickers/", "/tickers/../../etc/passwd", "/tickers/%2e%2e%2fprices"),
        *("/tickers/%ff%fe", "/tickers/%00", "/static/../page.css", "/static/%2e%2e%2fapp.py"),
        *("/backtests/nope/report", "/backtests/..%2f..%2fhome/report", "/docs", "/redoc"),
        *("/tickers/<script>alert(1)</script>".replace("<", "%3C"), "/tickers/" + "x" * 5000),
        *("/api/v1/tickers/NOPE", "/api/v1/nope"),
    ],
)
def test_what_is_not_there_is_404_and_says_so(server, path):
    answer = server.ask(path)
    assert answer.status == 404
    if path.startswith("/api"):
        assert list(answer.json) == ["detail"]
    else:
        assert "<script" not in answer.text
        assert Page(answer.text).said


def test_only_reading_is_allowed(server):
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        answer = server.ask("/", method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    head, page = server.ask("/", "HEAD"), server.ask("/")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == page.headers["content-length"]


def test_another_name_for_this_machine_is_refused(server):
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "localhost.evil"):
        assert server.ask("/", host=host).status == 421
    for host in ("localhost", f"LOCALHOST:{server.port}", "127.0.0.1", "[::1]:8000"):
        assert server.ask("/", host=host).status == 200


def test_a_page_is_compressed_for_who_takes_that(server):
    plain, small = server.ask("/"), server.ask("/", accept_encoding="br, gzip")
    assert small.headers["content-encoding"] == "gzip"
    assert (small.text, small.headers["vary"]) == (plain.text, "accept-encoding")
    assert len(small.body) < len(plain.body) / 2


def test_with_a_token_nothing_is_told_without_it(home):
    password = base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
    wrong = base64.b64encode(f"{TOKEN}:{TOKEN}x".encode()).decode()
    with served(home, hosts=None, token=TOKEN) as server:
        for path in (*PAGES, "/static/x", "/api/v1/openapi.json", "/nope"):
            assert server.ask(path).status == 401
        for refused in (
            "",
            "Bearer",
            "Bearer x",
            f"Basic {wrong}",
            "Basic !",
            f"Digest {TOKEN}",
            "é",
        ):
            answer = server.ask("/", authorization=refused.encode("latin-1"))
            assert (answer.status, answer.headers["www-authenticate"][:5]) == (401, "Basic")
            assert TOKEN not in answer.text
        for known in (f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Basic {password}"):
            answer = server.ask("/", authorization=known, host="elsewhere.example")
            assert answer.status == 200
        assert server.ask(f"/?token={TOKEN}").status == 401


def test_documents_are_what_the_description_says(server):
    description = server.ask("/api/v1/openapi.json").json
    paths = {
        "/api/v1/watchlist": documents.Watchlist,
        "/api/v1/tickers/{ticker}": documents.Ticker,
        "/api/v1/ledger": documents.Ledger,
        "/api/v1/backtests": documents.Backtests,
    }
    assert set(description["paths"]) == set(paths)
    assert all(set(it) == {"get"} for it in description["paths"].values())
    for path, kind in paths.items():
        answer = server.ask(path.replace("{ticker}", "AAA"))
        assert answer.headers["content-type"] == "application/json"
        TypeAdapter(kind).validate_json(answer.text, strict=True)
        validated(answer.json)
    rows = server.ask("/api/v1/watchlist").json["rows"]
    own = server.ask("/api/v1/tickers/AAA").json["ticker"]
    assert own["row"] == next(row for row in rows if row["ticker"] == "AAA")


def test_the_ledger_page_says_what_the_command_says(server, forecast, home):
    score = forecast("ledger", "score", "--home", home, "--json").json
    said = server.ask("/api/v1/ledger").json
    assert said["score"] == {name: it for name, it in score.items() if name != "schema"}
    assert said["head"] == forecast("ledger", "head", "--home", home, "--json").json["head"]
    page = Page(server.ask("/ledger").text)
    assert all(line in page.said for line in score["summary"])
    assert [row[0] for row in page.tables[0][1:]] == [str(it["step"]) for it in score["steps"]]
    assert said["head"] in page.said


def test_a_report_runs_its_own_scripts_and_nothing_else(server, home):
    (listed,) = server.ask("/api/v1/backtests").json["backtests"]
    assert listed["name"] == "lstm & <b>"
    answer = server.ask(listed["report"])
    file = home / "backtests" / "lstm & <b>" / "report.html"
    assert answer.body == file.read_bytes()
    policy = answer.headers["content-security-policy"]
    hashes = re.findall(r"'sha256-[^']+'", answer.text[:1000])
    assert len(hashes) == 2
    assert hashes == [html._hash(text) for text in SCRIPTS]
    assert f"script-src {' '.join(hashes)};" in policy
    assert "sandbox allow-scripts" in policy
    assert listed["report"] in [it["href"] for it in Page(server.ask("/backtests").text).all("a")]


def test_a_report_that_leads_elsewhere_is_not_served(tmp_path):
    secret = tmp_path / "secret.html"
    secret.write_text("secret")
    home = tmp_path / "home"
    kept(home, "file")
    (home / "backtests" / "file" / "report.html").symlink_to(secret)
    kept(home, "odd", "<script>alert(1)</script>")
    elsewhere = tmp_path / "elsewhere"
    (home / "backtests" / "odd").rename(elsewhere)
    (home / "backtests" / "linked").symlink_to(elsewhere)
    with served(home) as server:
        for name in ("file", "linked"):
            answer = server.ask(f"/backtests/{name}/report")
            assert answer.status == 404
            assert "secret" not in answer.text
        (home / "backtests" / "linked").unlink()
        elsewhere.rename(home / "backtests" / "odd")
    with served(home) as server:  # and one that another program wrote runs no script
        answer = server.ask("/backtests/odd/report")
        assert "script-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path", ["/", "/ledger", "/backtests", "/api/v1/watchlist", "/api/v1/ledger"]
)
def test_an_empty_home_says_which_command_to_run(tmp_path, path):
    with served(tmp_path / "nothing") as server:
        answer = server.ask(path)
        assert answer.status == 200
        if not path.startswith("/api"):
            assert re.search("<code>forecast (fetch|daily|backtest)", answer.text)
    assert not (tmp_path / "nothing").exists()  # reading makes nothing


def test_a_damaged_ledger_is_a_line_and_not_an_error(tmp_path):
    stored(tmp_path, ["AAA"])
    (tmp_path / "ledger.db").write_bytes(b"no ledger" * 1000)
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / filename("AAA")).write_bytes(b"no events")
    with served(tmp_path) as server:
        for path in ("/", "/ledger", "/api/v1/watchlist", "/api/v1/ledger"):
            answer = server.ask(path)
            assert answer.status == 200
            assert "ledger.db" in answer.text
        answer = server.ask("/tickers/AAA")
        assert answer.status == 503
        assert "ledger.db" in answer.text


def test_a_ticker_without_its_prices_leaves_the_rest_of_the_page(tmp_path):
    stored(tmp_path, ["AAA", "BBB", "CCC"])
    recorded(tmp_path, LAST)
    Store(tmp_path).remove(["BBB"])  # its forecasts stay in the ledger
    (tmp_path / "prices" / filename("CCC")).write_bytes(b"no prices")
    page = pages.write(tmp_path).read_text(encoding="utf-8")
    with served(tmp_path) as server:
        for text in (page, server.ask("/").text):
            assert re.findall(r"<bdi.*?>(\w+)</bdi>", text) == ["AAA", "BBB", "CCC"]
            assert "cannot be read" in text
        answer = server.ask("/tickers/BBB")
        assert answer.status == 200
        assert "not stored" in answer.text
        answer = server.ask("/tickers/CCC")
        assert answer.status == 503
        assert filename("CCC") in answer.text


@pytest.mark.parametrize("path", ["/tickers/AAA", "/api/v1/tickers/AAA"])
def test_what_nobody_foresaw_is_a_page_and_a_line_of_the_log(server, monkeypatch, caplog, path):
    monkeypatch.setattr(snapshot.Snapshot, "page", lambda *_: 1 / 0)
    monkeypatch.setattr(logging.getLogger("forecaster"), "propagate", True)
    answer = server.ask(path)
    assert answer.status == 500
    assert "terminal of the server" in answer.text
    assert "content-security-policy" in answer.headers
    (record,) = (it for it in caplog.records if it.name == "forecaster.web.app")
    assert f"{path}: ZeroDivisionError: division by zero; -v says where" in record.getMessage()


def test_what_is_recorded_meanwhile_shows(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "LOOK", 0.0)
    monkeypatch.setattr(snapshot, "WAIT", 60.0)
    monkeypatch.setattr(snapshot, "SHARE", 1e9)
    days = stored(tmp_path, ["AAA"])
    with served(tmp_path) as server:
        assert "none recorded" in server.ask("/").text
        recorded(tmp_path, days[-1])
        assert "none recorded" not in server.ask("/").text
        assert server.ask("/tickers/BBB").status == 404
        stored(tmp_path, ["BBB"])
        assert server.ask("/tickers/BBB").status == 200
        Store(tmp_path).remove(["BBB"])
        assert server.ask("/tickers/BBB").status == 404


def test_two_hundred_readers_and_a_writer_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "LOOK", 0.05)
    monkeypatch.setattr(snapshot, "SHARE", 1.0)
    days = stored(tmp_path, ["AAA", "BBB", "CCC"])
    recorded(tmp_path, days[-12])
    rows = []
    with served(tmp_path) as server:
        done = threading.Event()

        def read(number):
            answers = []
            while not done.is_set() or not answers:
                path = ("/", "/tickers/AAA", "/ledger", "/api/v1/watchlist")[number % 4]
                answers.append(server.ask(path).status)
            return answers

        with ThreadPoolExecutor(200) as readers:
            reading = [readers.submit(read, number) for number in range(200)]
            try:
                for day in days[-11:]:
                    rows.append(recorded(tmp_path, day, steps=(1, 5)).rows)
                    settling.settle(tmp_path, Store(tmp_path), NOW)
            finally:
                done.set()
            statuses = {status for it in reading for status in it.result()}
    assert statuses == {200}
    assert rows == [6] * 11


def test_prices_up_to_a_later_day_make_a_forecast_over(tmp_path):
    stored(tmp_path, ["AAA"])
    recorded(tmp_path, LAST)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calendars, "now", lambda: NOW + pd.Timedelta(days=4))
        with served(tmp_path) as server:
            text = server.ask("/").text
            assert "of a day that is over: run <code>forecast daily</code>" in text


def test_json_of_a_page_cannot_end_its_script(server):
    text = server.ask("/tickers/AAA").text
    held = re.findall(r'<script type="application/json".*?>(.*?)</script>', text)
    assert len(held) == 2
    assert not any("<" in it for it in held)
    numbers = json.loads(held[1])
    assert len(numbers["fan"]["date"]) == 7
    assert {len(it) for it in numbers["record"].values()} == {9}


def test_a_change_is_that_of_the_price(tmp_path):
    days = stored(tmp_path, ["AAA"], sessions=2)
    frame = pd.DataFrame({"ticker": "BBB", "date": days, "close": [100.0, 125.0]})
    Store(tmp_path).write(prices.check(frame), source="test")
    page = pages.write(tmp_path).read_text(encoding="utf-8")
    assert "+25.00%" in page
