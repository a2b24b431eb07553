"""``forecast serve``."""

import errno
import ipaddress
import logging
import os
import socket
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.cli import options, output
from forecaster.errors import ForecastError, MissingPackageError, UsageError

if TYPE_CHECKING:
    import uvicorn

TOKEN = "FORECAST_TOKEN"
LEAST = 16
"""Characters of a token."""


def serve(
    *,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own needs a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8000,
    token_env: Annotated[
        str,
        typer.Option(
            help="Environment variable of the token, which readers give as the password of any user."
        ),
    ] = TOKEN,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Serve the watchlist, the ledger and the backtests as pages on this machine, until Ctrl-C.

    Example: forecast serve --port 8080
    """
    output.start(quiet=quiet, verbose=verbose)
    token = _token(host, token_env)
    if missing := [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]:
        raise MissingPackageError(
            f"serving pages needs {' and '.join(missing)}, which {'are' if missing[1:] else 'is'} not "
            'installed: pip install "forecaster[serve]"'
        )
    with listening(host, port) as listener:
        from forecaster.web import app

        hosts = None if token else {"localhost", "127.0.0.1", "[::1]", _spelled(host)}
        server = configured(app.create(home, hosts=hosts, token=token), verbose=verbose)
        url = f"http://{_spelled(host)}:{listener.getsockname()[1]}/"
        if as_json:
            output.dump("serve", {"url": url, "home": str(home), "token": token is not None})
        else:
            output.say(f"{url} shows {home}. Ctrl-C ends it.")
        sys.stdout.flush()
        server.run(sockets=[listener])


def configured(application: Any, *, verbose: bool = False) -> "uvicorn.Server":
    """Return the server of an application, which logs requests where that is asked for."""
    import uvicorn

    if verbose:
        logging.getLogger("uvicorn").handlers[:] = logging.getLogger("forecaster").handlers
    config = uvicorn.Config(
        application,
        log_config=None,
        log_level="info" if verbose else "critical",
        access_log=verbose,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    return uvicorn.Server(config)


def _token(host: str, variable: str) -> str | None:
    """Return the token, None where none is set and none is needed."""
    token = os.environ.get(variable, "")
    if not token:
        if _is_local(host):
            return None
        raise UsageError(
            f"--host {host} lets others read: expected a token in the environment variable {variable}, "
            "came none. Set it to something long and random, or leave --host out"
        )
    odd = not token.isascii() or not token.isprintable() or " " in token
    if len(token) < LEAST or odd:
        came = (
            "one with a blank or another character in it"
            if odd
            else f"one of {len(token)} characters"
        )
        raise UsageError(
            f"expected a token of {LEAST} or more letters and digits in {variable}, came {came}; "
            "`python -c 'import secrets; print(secrets.token_urlsafe())'` makes one"
        )
    return token


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _spelled(host: str) -> str:
    """Return an address as URLs have it."""
    return f"[{host}]" if ":" in host else host.lower()


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address.

    Raises
    ------
    ForecastError
        The address is not this machine's, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        way = (
            "name another --port"
            if error.errno == errno.EADDRINUSE
            else "name another --host or --port"
        )
        reason = (error.strerror or str(error)).partition(" (while")[0].lower()
        raise ForecastError(f"cannot listen on {host}, port {port}: {reason}; {way}") from None
