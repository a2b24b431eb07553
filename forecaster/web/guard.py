"""Who may ask, and what every answer carries: in front of all pages, as ASGI.

The pages are read-only and on this machine alone, unless whoever starts the server says otherwise and
sets a token. They load nothing from anywhere else, and no other site can show, read or script them.
"""

import hmac
from base64 import b64decode
from collections.abc import Collection
from typing import Any

METHODS = ("GET", "HEAD")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Bokeh sets styles on its elements, and saves charts as pictures."""

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}
"""Of every answer, unless it has its own."""


class Guard:
    """An application behind its rules.

    Parameters
    ----------
    app : the application.
    hosts : names by which it may be called; None for all. A page elsewhere whose name is made to mean
        this machine (DNS rebinding) calls it by that name.
    token : what a request must know, as a bearer token or as the password of any user; None for nothing.
    """

    def __init__(self, app: Any, *, hosts: Collection[str] | None, token: str | None):
        self.app = app
        self.hosts = hosts
        self.token = token.encode() if token is not None else None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                added = ((name.encode(), it.encode()) for name, it in HEADERS.items())
                message["headers"] = [
                    *message["headers"],
                    *((name, it) for name, it in added if name not in own),
                ]
            await send(message)

        status, text, more = 0, "", {}
        if self.hosts is not None and _name(headers.get(b"host", b"")) not in self.hosts:
            status, text = 421, "This server answers on the names of this machine alone."
        elif self.token is not None and not self._knows(headers.get(b"authorization", b"")):
            status, text = 401, "The token is missing or wrong: it is the password, of any user."
            more = {b"www-authenticate": b'Basic realm="forecast", charset="UTF-8"'}
        elif scope["method"] not in METHODS:
            status, text = 405, "These pages are read-only."
            more = {b"allow": ", ".join(METHODS).encode()}
        if status:
            await _refuse(with_headers, status, text, more, scope["method"])
        else:  # who asks for the head alone gets no more: the server sees to it
            await self.app({**scope, "method": "GET"}, receive, with_headers)

    def _knows(self, authorization: bytes) -> bool:
        """Return whether a request's header has the token; the time it takes says nothing of it."""
        kind, _, given = authorization.strip().partition(b" ")
        if kind.lower() == b"basic":
            try:
                given = b64decode(given.strip(), validate=True).partition(b":")[2]
            except ValueError:
                return False
        elif kind.lower() != b"bearer":
            return False
        return hmac.compare_digest(given.strip(), self.token or b"")


async def _refuse(send: Any, status: int, text: str, more: dict[bytes, bytes], method: str) -> None:
    body = f"{text}\n".encode()
    headers = {
        b"content-type": b"text/plain; charset=utf-8",
        b"content-length": str(len(body)).encode(),
        **more,
    }
    await send({"type": "http.response.start", "status": status, "headers": [*headers.items()]})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})


def _name(host: bytes) -> str:
    """Return the name in a Host header, without its port."""
    text = host.decode("latin-1").lower()
    name, colon, port = text.rpartition(":")
    return name if colon and port.isdecimal() else text
