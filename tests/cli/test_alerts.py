"""``forecast alerts`` and ``forecast alerts test``, and what they never show."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pytest

from forecaster.data import calendars, prices
from forecaster.data.store import Store
from forecaster.live import conditions, delivery

NOW = pd.Timestamp("2026-11-25 22:00", tz="UTC")
TOKEN = "tk_NeverToBeSeen"
PHONE = '[targets.phone]\nurl = "env:PHONE_URL"\n'
STALE = '[[alert]]\nwhen = "stale"\nsessions = 3\n'


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with a ticker whose prices lack three sessions."""
    monkeypatch.setattr(calendars, "now", lambda: NOW)
    days = calendars.sessions_between("AAA", pd.Timestamp("2026-06-01"), pd.Timestamp("2026-11-20"))
    frame = pd.DataFrame({"ticker": "OLD", "date": days, "close": 100 + np.arange(len(days))})
    Store(tmp_path / "home").write(prices.check(frame), source="test")
    return tmp_path / "home"


@pytest.fixture
def server():
    """A function that starts a server; it answers with a status, or not at all."""
    started, over = [], threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.server.received.append(
                json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            )
            if self.server.status is None:
                over.wait(30)
            self.send_response(self.server.status or 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    def start(status):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.status, server.received = status, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return server

    yield start
    over.set()
    for it in started:
        it.shutdown()
        it.server_close()


def write(home, text):
    home.mkdir(exist_ok=True)
    (home / conditions.FILE).write_text(text, encoding="utf-8")


def target(name, code):
    return f"[targets.{name}]\ncommand = {json.dumps([sys.executable, '-c', code, '{text}'])}\n"


def test_without_conditions_it_says_where_they_belong(forecast, home):
    result = forecast("alerts", "--home", home)
    assert (result.code, result.out) == (0, "")
    assert f"there are no conditions in {home / 'alerts.toml'}" in result.err
    document = forecast("alerts", "--home", home / "none", "--json").json
    assert (document["targets"], document["conditions"], document["alerts"]) == ([], [], [])
    assert not (home / "none").exists()
    result = forecast("alerts", "test", "--home", home)
    assert (result.code, result.out) == (2, "")
    assert "there are no targets" in result.err


def test_it_lists_what_would_be_told_and_tells_nothing(forecast, home, tmp_path):
    write(home, target("desk", f"open({str(tmp_path / 'told')!r}, 'w')") + STALE)
    result = forecast("alerts", "--home", home)
    assert result.code == 0
    assert "stale sessions 3" in result.out
    assert "Stale: OLD lacks 3 finished sessions after 2026-11-20, its last price" in result.out
    (alert,) = forecast("alerts", "--home", home, "--json").json["alerts"]
    assert (alert["ticker"], alert["occasion"]) == ("OLD", "2026-11-20")
    assert (alert["to"], alert["pending"]) == (["desk"], ["desk"])
    assert not (tmp_path / "told").exists()
    assert not (home / "alerts.db").exists()
    assert forecast("daily", "--no-fetch", "--no-page", "--home", home).code in (0, 1)
    assert (tmp_path / "told").exists()
    (alert,) = forecast("alerts", "--home", home, "--json").json["alerts"]
    assert alert["pending"] == []
    assert "(sent)" in forecast("alerts", "--home", home).out


def test_a_test_reaches_each_target_and_says_which_failed(forecast, home, server, monkeypatch):
    there = server(200)
    monkeypatch.setenv("PHONE_URL", f"json://{TOKEN}@127.0.0.1:{there.server_port}/{TOKEN}")
    write(home, PHONE + target("desk", "raise SystemExit(3)"))
    result = forecast("alerts", "test", "--home", home)
    assert result.code == 1
    assert [line.split()[0::2] for line in result.out.splitlines()[-2:]] == [
        ["phone", "sent"],
        ["desk", "failed"],
    ]
    assert result.err == f"error: target desk: {sys.executable} ended with exit code 3\n"
    assert there.received[0]["message"] == "Test: alerts reach phone."
    document = forecast("alerts", "test", "--home", home, "--json").json
    assert [it["problem"] is None for it in document["targets"]] == [True, False]


def test_a_file_that_is_wrong_is_one_line(forecast, home):
    write(home, PHONE + '[[alert]]\nwhen = "stal"\n')
    for words in (["alerts"], ["alerts", "test"]):
        result = forecast(*words, "--home", home)
        assert (result.code, result.out) == (2, "")
        assert result.err == (
            "error: alerts.toml, alert 1 (line 3): when must be expected_move, var, surprise, earnings, "
            "stale or coverage, got 'stal'; did you mean stale?\n"
        )


def test_a_url_without_its_package_or_variable_says_what_to_do(forecast, home, monkeypatch):
    write(home, PHONE + STALE)
    monkeypatch.delenv("PHONE_URL", raising=False)
    result = forecast("alerts", "--home", home)
    assert result.code == 0
    assert "warning: target phone: the environment variable PHONE_URL is not set here" in result.err
    monkeypatch.setenv("PHONE_URL", "json://127.0.0.1")
    monkeypatch.setattr(delivery, "find_spec", lambda name: None)
    result = forecast("alerts", "test", "--home", home)
    assert result.code == 1
    assert result.err == (
        "error: target phone: a URL needs apprise, which is not installed: "
        'pip install "forecaster[alerts]"\n'
    )


@pytest.mark.parametrize("status", [200, 500, None])
def test_a_secret_is_in_no_output_and_in_no_file(forecast, home, server, monkeypatch, status):
    if status is None:
        monkeypatch.setattr(delivery, "TIMEOUT", 2.0)
    place = f"{TOKEN}:{TOKEN}@127.0.0.1:{server(status).server_port}/{TOKEN}?+X-Key={TOKEN}"
    monkeypatch.setenv("PHONE_URL", f"json://{place}")
    write(home, PHONE + STALE)
    said = ""
    for words in (
        ["alerts", "test", "-v"],
        ["alerts", "test", "--json", "-v"],
        ["alerts", "-v"],
        ["alerts", "--json", "-v"],
        ["daily", "--no-fetch", "--no-page", "-v"],
    ):
        result = forecast(*words, "--home", home)
        assert "Traceback" not in result.out
        said += result.out + result.err
    failed = {200: None, 500: "answered with the status 500", None: "did not end within 2 seconds"}
    assert (failed[status] or "sent") in said
    files = [it.read_bytes() for it in home.rglob("*") if it.is_file()]
    assert len(files) > 2
    assert not [it for it in (said.encode(), *files) if TOKEN.encode() in it]


def test_options_come_after_the_command(forecast, home):
    result = forecast("alerts", "--json", "test", "--home", home)
    assert (result.code, result.out) == (2, "")
    assert "write --json after `forecast alerts test`" in result.err
