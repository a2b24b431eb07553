"""What the pages of the server load: the report's style and scripts, and Bokeh's JavaScript.

Each is named after its content, so that a browser may keep it for good.
"""

import gzip
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from importlib.resources import files

from forecaster.report import charts as report
from forecaster.web import charts

CSS, JAVASCRIPT = "text/css; charset=utf-8", "text/javascript; charset=utf-8"


@dataclass(frozen=True)
class Asset:
    """A file that never changes under its name."""

    name: str
    type: str
    text: str

    @property
    def url(self) -> str:
        """Where the server has it."""
        return f"/static/{self.name}"

    @cached_property
    def body(self) -> bytes:
        """Its bytes."""
        return self.text.encode()

    @cached_property
    def gzipped(self) -> bytes:
        """Its bytes, compressed."""
        return gzip.compress(self.body, mtime=0)


@dataclass(frozen=True)
class Assets:
    """All of them."""

    style: Asset
    script: Asset
    bokeh: Asset

    def named(self, name: str) -> Asset | None:
        """Return the one of a name, None if none has it."""
        return next((it for it in (self.style, self.script, self.bokeh) if it.name == name), None)


@cache
def assets() -> Assets:
    """Return them, read once."""
    script = _text("forecaster.report", "charts.js") + _text("forecaster.web", "ticker.js")
    return Assets(
        _asset("page-{}.css", CSS, style()),
        _asset("charts-{}.js", JAVASCRIPT, script),
        _asset("bokeh-{}.min.js", JAVASCRIPT, report.library()),
    )


@cache
def style() -> str:
    """Return the style of the report, with what these pages have beside it."""
    return (
        charts.colors()
        + _text("forecaster.report", "page.css")
        + _text("forecaster.web", "web.css")
    )


def _asset(name: str, type_: str, text: str) -> Asset:
    return Asset(name.format(sha256(text.encode()).hexdigest()[:16]), type_, text)


def _text(package: str, name: str) -> str:
    return (files(package) / name).read_text(encoding="utf-8")
