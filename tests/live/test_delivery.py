"""Messages go to real servers and programs of this machine, and their secrets nowhere else."""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from forecaster.errors import DeliveryError, MissingPackageError
from forecaster.live import delivery
from forecaster.live.conditions import Target

PHONE = Target("phone", "PHONE_URL")


@pytest.fixture
def server():
    """A function that starts a server which answers with a status, or keeps waiting; its messages."""
    servers, over = [], threading.Event()

    def start(status=200, *, waits=False):
        received = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append((self.path, json.loads(body)))
                if waits:
                    over.wait(30)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.received = received
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    over.set()
    for it in servers:
        it.shutdown()
        it.server_close()


def url(server, path="topic"):
    return f"json://user:tk_Secret@127.0.0.1:{server.server_port}/{path}"


def script(text, *words):
    return Target("desk", None, (sys.executable, "-c", text, *words))


def test_a_url_is_posted_to_by_apprise(server, monkeypatch):
    there = server()
    monkeypatch.setenv("PHONE_URL", f" {url(there)}\n")
    delivery.send(PHONE, "Forecaster: 1 alert", "Risk: <b>A&B</b> *x*")
    ((path, message),) = there.received
    assert path == "/topic"
    assert (message["title"], message["message"]) == ("Forecaster: 1 alert", "Risk: <b>A&B</b> *x*")


def test_a_message_too_long_for_a_service_comes_in_parts(server, monkeypatch):
    there = server()
    monkeypatch.setenv("PHONE_URL", url(there))
    delivery.send(PHONE, "title", "\n".join(f"line {number}" for number in range(10_000)))
    parts = [message["message"] for _, message in there.received]
    assert len(parts) > 1
    assert "line 0" in parts[0]
    assert "line 9999" in parts[-1]


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_server_that_refuses_is_a_failure_with_its_status(server, monkeypatch, status):
    monkeypatch.setenv("PHONE_URL", url(server(status)))
    with pytest.raises(DeliveryError, match=f"env:PHONE_URL answered with the status {status}"):
        delivery.send(PHONE, "title", "text")


def test_no_server_and_no_url_are_failures_that_say_so(server, monkeypatch):
    there = server()
    there.shutdown()
    there.server_close()
    monkeypatch.setenv("PHONE_URL", url(there))
    with pytest.raises(DeliveryError, match="could not be reached"):
        delivery.send(PHONE, "title", "text")
    monkeypatch.setenv("PHONE_URL", "no-such-service://tk_Secret")
    with pytest.raises(DeliveryError, match="holds no URL that apprise knows") as error:
        delivery.send(PHONE, "title", "text")
    assert "tk_Secret" not in str(error.value)
    monkeypatch.delenv("PHONE_URL")
    assert "export PHONE_URL=" in delivery.problem(PHONE)
    with pytest.raises(DeliveryError, match="variable PHONE_URL is not set"):
        delivery.send(PHONE, "title", "text")


def test_a_server_that_keeps_waiting_is_given_up(server, monkeypatch):
    monkeypatch.setattr(delivery, "TIMEOUT", 1.5)
    monkeypatch.setenv("PHONE_URL", url(server(waits=True)))
    begin = time.monotonic()
    with pytest.raises(DeliveryError, match=r"did not end within 1\.5 seconds"):
        delivery.send(PHONE, "title", "text")
    assert time.monotonic() - begin < 10


def test_a_url_without_apprise_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PHONE_URL", "json://127.0.0.1/")
    monkeypatch.setattr(delivery, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r'pip install "forecaster\[alerts\]"'):
        delivery.send(PHONE, "title", "text")


def test_a_command_has_the_text_as_argument_and_input(tmp_path):
    file = tmp_path / "told.json"
    text = "import json, sys; json.dump([sys.argv[2:], sys.stdin.read()], open(sys.argv[1], 'w'))"
    hostile = "Move: $(touch x); `id`; {title}; 'a' \"b\"株"
    target = script(text, str(file), "{title}", "-- {text}", "{other}")
    delivery.send(target, "a {text} title", hostile)
    words, said = json.loads(file.read_text())
    assert words == ["a {text} title", f"-- {hostile}", "{other}"]
    assert said == hostile
    assert not (tmp_path / "x").exists()


def test_a_command_that_fails_is_named_by_its_program_alone(capfd):
    target = script("import sys; print('tk_Secret'); sys.exit('tk_Secret')", "tk_Secret")
    with pytest.raises(DeliveryError) as error:
        delivery.send(target, "title", "text")
    assert str(error.value) == f"target desk: {sys.executable} ended with exit code 1"
    assert capfd.readouterr() == ("", "")
    with pytest.raises(DeliveryError, match="no-such-program cannot be run: No such file"):
        delivery.send(Target("desk", None, ("no-such-program",)), "title", "text")


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(delivery, "TIMEOUT", 1.0)
    file = tmp_path / "late"
    inner = f"import time; time.sleep(3); open({str(file)!r}, 'w')"
    text = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with pytest.raises(DeliveryError, match="did not end within 1 seconds"):
        delivery.send(script(text), "title", "text")
    time.sleep(2.5)
    assert not file.exists()


def test_a_command_that_does_not_read_its_input_is_none_the_worse():
    delivery.send(script("pass"), "title", "x" * 500_000)
