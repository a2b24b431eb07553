"""The pages of a home on a port of this machine, as readers reach them."""

import gzip
import http.client
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass

from forecaster.cli.serve import configured, listening
from forecaster.web import app

HOSTS = {"localhost", "127.0.0.1", "[::1]"}


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict
    body: bytes

    @property
    def text(self):
        plain = gzip.decompress(self.body) if self.headers.get("content-encoding") else self.body
        return plain.decode()

    @property
    def json(self):
        return json.loads(self.text)


class Served:
    """A server, which is asked one thing after the other."""

    def __init__(self, port):
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, path, method="GET", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(
                method, path, headers={k.replace("_", "-"): v for k, v in headers.items()}
            )
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, named, response.read())
        finally:
            connection.close()


@contextmanager
def served(home, *, hosts=HOSTS, token=None):
    """Serve a home within the block."""
    with listening("127.0.0.1", 0) as listener:
        application = app.create(home, hosts=hosts, token=token)
        server = configured(application)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Served(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()
