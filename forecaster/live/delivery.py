"""Handing a message to a target: to a service through apprise, or to a command.

Either is a process of its own, with an end in sight: what hangs is killed. Nothing that it prints is
shown, because it may hold the secret, and neither is what it was called with, but for the program's name.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec

from forecaster.errors import DeliveryError, MissingPackageError
from forecaster.live.conditions import Target

TIMEOUT = 30.0
"""Seconds after which a delivery has failed."""

_MESSENGER = [sys.executable, "-P", "-m", "forecaster.live.messenger"]
_PLACE = re.compile(r"\{(title|text)\}")


def problem(target: Target) -> str | None:
    """Return why nothing can be delivered to a target as things stand, None if it may work.

    Nothing is sent.
    """
    try:
        _ready(target)
    except (DeliveryError, MissingPackageError) as error:
        return str(error)
    return None


def send(target: Target, title: str, text: str) -> None:
    """Deliver a message of printable text, or raise an error that holds no secret.

    Raises
    ------
    DeliveryError
        It was not delivered, as far as can be known.
    MissingPackageError
        The target is a URL, and apprise is not installed.
    """
    url = _ready(target)
    if url is None:
        parts = {"title": title, "text": text}
        words = [_PLACE.sub(lambda it: parts[it[1]], word) for word in target.command[1:]]
        code, _ = _finished(target, [target.command[0], *words], text, subprocess.DEVNULL)
        if code < 0:
            raise DeliveryError(f"target {target.name}: {target.way} was killed by signal {-code}")
        if code:
            raise DeliveryError(f"target {target.name}: {target.way} ended with exit code {code}")
        return
    document = json.dumps({"url": url, "title": title, "text": text})
    code, said = _finished(target, _MESSENGER, document, subprocess.PIPE)
    if code:
        raise DeliveryError(f"target {target.name}: apprise failed on {target.way}")
    if said != "sent":
        raise DeliveryError(f"target {target.name}: {_explained(said, target)}")


def _explained(said: str, target: Target) -> str:
    """Return the messenger's answer in words; it is one of few, see there."""
    if said == "unknown":
        return f"{target.way} holds no URL that apprise knows; it takes those of its documentation"
    if said == "unreachable":
        return f"the service of {target.way} could not be reached"
    if said.startswith("status "):
        return f"the service of {target.way} answered with the status {int(said[7:])}"
    return f"the service of {target.way} did not take the message"


def _ready(target: Target) -> str | None:
    """Return the URL of a target, None for a command; an error if there is none."""
    if target.variable is None:
        return None
    url = os.environ.get(target.variable, "").strip()
    if not url:
        raise DeliveryError(
            f"target {target.name}: the environment variable {target.variable} is not set here; "
            f"export {target.variable}=… where the command is called from"
        )
    if find_spec("apprise") is None:
        raise MissingPackageError(
            f"target {target.name}: a URL needs apprise, which is not installed: "
            'pip install "forecaster[alerts]"'
        )
    return url


def _finished(target: Target, words: list[str], said: str, out: int) -> tuple[int, str]:
    """Run a program without a shell, and return its exit code and what it printed, if that is piped."""
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise DeliveryError(
            f"target {target.name}: {target.way} cannot be run: {error.strerror or error}"
        ) from None
    with process:
        try:
            printed, _ = process.communicate(said.encode(), timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            raise DeliveryError(
                f"target {target.name}: {target.way} did not end within {TIMEOUT:g} seconds"
            ) from None
        finally:
            if process.returncode is None:  # too slow, or interrupted
                _kill(process)
    return process.returncode, (printed or b"").decode(errors="replace").strip()


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End a process, and those that it started."""
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
