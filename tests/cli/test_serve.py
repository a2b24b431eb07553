"""``forecast serve`` as a user starts and ends it."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from documents import validated

from forecaster.cli import serve

TOKEN = "a-token-that-nobody-knows"


@contextmanager
def started(home, *words, **environment):
    """The command in a process of its own; gives the process and its first document."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "forecaster",
            "serve",
            "--port",
            "0",
            "--json",
            "--home",
            str(home),
            *words,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    try:
        lines = []
        while not lines or lines[-1] != "}\n":
            lines.append(process.stdout.readline())
            assert lines[-1], process.stderr.read()
        yield process, validated(json.loads("".join(lines)))
    finally:
        process.kill()
        process.communicate()


def test_it_serves_until_ctrl_c_and_says_nothing_meanwhile(tmp_path):
    with started(tmp_path / "home") as (process, said):
        assert said["url"].startswith("http://127.0.0.1:")
        assert said["token"] is False
        with urllib.request.urlopen(said["url"]) as page:
            assert b"forecast fetch" in page.read()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == "interrupted; what is stored is as it was, or complete\n"


def test_verbose_logs_requests_without_the_token(tmp_path):
    with started(tmp_path, "-v", FORECAST_TOKEN=TOKEN) as (process, said):
        assert said["token"] is True
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(said["url"])
        header = {"Authorization": f"Bearer {TOKEN}"}
        with urllib.request.urlopen(urllib.request.Request(said["url"], headers=header)) as page:
            assert page.status == 200
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert '"GET / HTTP/1.1" 200' in err
    assert TOKEN not in err


def test_a_port_that_is_taken_is_a_line(forecast, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = forecast("serve", "--port", port, "--home", tmp_path)
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        f"error: cannot listen on 127.0.0.1, port {port}: address already in use; name another --port\n"
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_another_address_needs_a_token(forecast, tmp_path, monkeypatch, host):
    monkeypatch.delenv(serve.TOKEN, raising=False)
    result = forecast("serve", "--host", host, "--home", tmp_path)
    assert (result.code, result.out) == (2, "")
    assert f"expected a token in the environment variable {serve.TOKEN}, came none" in result.err
    monkeypatch.setenv("MINE", "short")
    result = forecast("serve", "--host", host, "--token-env", "MINE", "--home", tmp_path)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "in MINE, came one of 5 characters" in result.err
    assert "short" not in result.err


def test_without_its_packages_it_names_the_extra(forecast, tmp_path, monkeypatch):
    find = serve.find_spec
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "fastapi" else find(name))
    result = forecast("serve", "--home", tmp_path)
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        "error: serving pages needs fastapi, which is not installed: "
        'pip install "forecaster[serve]"\n'
    )
