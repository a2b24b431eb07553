"""Hands one message to apprise, as a process of its own: ``python -m forecaster.live.messenger``.

apprise and the packages below it log the URLs that they call, which are secrets, and a service may keep
them waiting. So they work where nothing they say is seen, and where they can be killed.

The message comes as JSON on stdin, and one word goes to stdout: ``sent``, ``unknown`` (no such URL),
``unreachable``, ``status NNN`` (of HTTP) or ``refused``.
"""

import json
import logging
import re
import sys

_STATUS = re.compile(r"error=(\d{3})\b")


class _Ear(logging.Handler):
    """Hears from the log of apprise why a message was not delivered, as far as that is no secret."""

    reason = "refused"

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if status := _STATUS.search(text):
            self.reason = f"status {status[1]}"
        elif "onnection error" in text:
            self.reason = "unreachable"


def deliver(url: str, title: str, text: str) -> str:
    """Deliver a message, and return one of the words above."""
    from apprise import (
        Apprise,
        AppriseAsset,
        NotifyBase,
        NotifyFormat,
        OverflowMode,
        PersistentStoreMode,
    )

    # A service refuses what is too long for it; a URL may say otherwise.
    NotifyBase.overflow_mode = OverflowMode.SPLIT
    ear = _Ear()
    logging.getLogger("apprise").addHandler(ear)
    asset = AppriseAsset(
        app_id="Forecaster",
        app_desc="Forecaster",
        storage_mode=PersistentStoreMode.MEMORY,  # what it would keep on disk is secret too
    )
    service = Apprise(asset=asset)
    if not service.add(url):
        return "unknown"
    sent = service.notify(body=text, title=title, body_format=NotifyFormat.TEXT)
    return "sent" if sent else ear.reason


if __name__ == "__main__":
    print(deliver(**json.load(sys.stdin)))  # noqa: T201, the answer to who started it
