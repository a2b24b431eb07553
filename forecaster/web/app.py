"""The local page: what a home holds, read-only, as HTML and as JSON.

``GET /`` the watchlist, ``/tickers/TICKER`` one of it, ``/ledger`` the running record, ``/backtests`` and
their reports; the same under ``/api/v1``, described by ``/api/v1/openapi.json``.
"""

import json
import logging
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response  # noqa: TID253, only `forecast serve` loads this
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from forecaster import __version__, atomic, schemas
from forecaster.data import calendars
from forecaster.data.store import Store
from forecaster.display import printable
from forecaster.errors import ForecastError, one_line
from forecaster.live import watchlist
from forecaster.web import charts, documents, pages
from forecaster.web.assets import assets
from forecaster.web.guard import Guard
from forecaster.web.snapshot import Page, Snapshot, Snapshots, Standing

log = logging.getLogger(__name__)

HTML, JSON = "text/html; charset=utf-8", "application/json"
FOREVER = "public, max-age=31536000, immutable"

_SCRIPTS = re.compile(
    rb"""http-equiv="Content-Security-Policy" content="default-src 'none'; """
    rb"""script-src((?: 'sha256-[A-Za-z0-9+/]{43}=')+);"""
)
_HEAD = 4_000
"""Bytes of a report in which its policy stands."""


def create(home: Path, *, hosts: Collection[str] | None, token: str | None = None) -> Guard:
    """Return the application that serves a home, as ASGI.

    Parameters
    ----------
    home : the home folder; it is only read.
    hosts : names by which it may be called; None for all.
    token : what a request must know; None for nothing.
    """
    snapshots = Snapshots(home)
    first = snapshots.newest()
    first.page("/", HTML, lambda: _watchlist(first))  # or its reader would wait for the templates
    _warm()  # else the first reader of a ticker waits, and with him who asks for another page
    app = FastAPI(
        title="Forecaster",
        version=__version__,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
    )

    _add_pages(app, snapshots)
    _add_documents(app, snapshots)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return _refusal(request, error.status_code, "Not here", error.detail, error.headers)

    @app.exception_handler(ForecastError)
    @app.exception_handler(OSError)
    async def unreadable(request: Request, error: Exception) -> Response:
        return _refusal(request, 503, "Not now", one_line(error, 400))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        path = printable(request.scope["path"])
        text = f"{path}: {type(error).__name__}: {one_line(error)}"
        log.error("%s; -v says where. Please report it", text)
        return _refusal(request, 500, "This page failed", "The terminal of the server says why.")

    return Guard(app, hosts=hosts, token=token)


def _refusal(
    request: Request,
    status: int,
    heading: str,
    text: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return why there is no page, or no document."""
    if request.url.path.startswith("/api/"):
        return Response(json.dumps({"detail": text}), status, headers, JSON)
    return Response(pages.message(heading, [text]), status, headers, HTML)


def _add_pages(app: FastAPI, snapshots: Snapshots) -> None:
    @app.get("/", include_in_schema=False)
    async def watchlist_page(request: Request) -> Response:
        return await _page(request, snapshots, _watchlist)

    @app.get("/tickers/{ticker:path}", include_in_schema=False)
    async def ticker_page(request: Request, ticker: str) -> Response:
        return await _page(request, snapshots, lambda it: _ticker(it, ticker))

    @app.get("/ledger", include_in_schema=False)
    async def ledger_page(request: Request) -> Response:
        return await _ledger(request, snapshots, pages.ledger, HTML)

    @app.get("/backtests", include_in_schema=False)
    async def backtests_page(request: Request) -> Response:
        return await _page(request, snapshots, _backtests)

    @app.get("/backtests/{name:path}/report", include_in_schema=False)
    async def report(name: str) -> Response:
        return await run_in_threadpool(lambda: _report(snapshots.newest(), name))

    @app.get("/static/{name}", include_in_schema=False)
    async def static(request: Request, name: str) -> Response:
        asset = assets().named(name)
        if asset is None:
            raise HTTPException(404, "There is no such file.")
        its = await run_in_threadpool(lambda: Page(asset.type, asset.body, asset.gzipped))
        return _sent(request, its, {"cache-control": FOREVER})


def _add_documents(app: FastAPI, snapshots: Snapshots) -> None:
    @app.get("/api/v1/watchlist", response_model=documents.Watchlist)
    async def watchlist_document(request: Request) -> Response:
        """All tickers: close, forecast, volatility, next earnings, and how the last forecast went."""
        return await _page(request, snapshots, _watchlist_document, JSON)

    @app.get("/api/v1/tickers/{ticker:path}", response_model=documents.Ticker)
    async def ticker_document(request: Request, ticker: str) -> Response:
        """One ticker: its forecasts of all steps, its events, and its record."""
        return await _page(request, snapshots, lambda it: _ticker_document(it, ticker), JSON)

    @app.get("/api/v1/ledger", response_model=documents.Ledger)
    async def ledger_document(request: Request) -> Response:
        """The running record, and the digest of all that the ledger holds."""
        return await _ledger(request, snapshots, _ledger_document, JSON)

    @app.get("/api/v1/backtests", response_model=documents.Backtests)
    async def backtests_document(request: Request) -> Response:
        """The backtests that are kept."""
        return await _page(request, snapshots, _backtests_document, JSON)


async def _ledger(
    request: Request, snapshots: Snapshots, make: Callable[..., str], type_: str
) -> Response:
    """Return the page or the document of the running record, which may take a while at first."""

    def made() -> Page | None:
        snapshot, standing = snapshots.newest(), snapshots.standing()
        if standing is None:
            return None
        # The record may be of another moment than the rest. Kept in the name, no other takes its identity.
        name = request.scope["path"], standing
        return snapshot.page(name, type_, lambda: make(standing, as_of=pages.instant(snapshot.now)))

    page = await run_in_threadpool(made)
    if page is not None:
        return _sent(request, page)
    if type_ == JSON:
        raise HTTPException(503, "The record is being reckoned.", {"retry-after": "2"})
    body = make(None, as_of=pages.instant(calendars.now()))
    return Response(body, headers={"refresh": "2"}, media_type=HTML)


async def _page(
    request: Request, snapshots: Snapshots, make: Callable[[Snapshot], str], type_: str = HTML
) -> Response:
    """Return the newest page of a path, in another thread: it may have to be made."""

    def made() -> Page:
        snapshot = snapshots.newest()
        return snapshot.page(request.scope["path"], type_, lambda: make(snapshot))

    return _sent(request, await run_in_threadpool(made))


def _warm() -> None:
    """Make what the pages of all tickers share, which takes a second."""
    charts.drawn(tuple(charts.SOURCES))
    _ = assets().bokeh.gzipped


def _sent(request: Request, page: Page, more: Mapping[str, str] = {}) -> Response:
    """Return a page as a response, compressed for who takes that."""
    headers = {"vary": "accept-encoding", **more}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(page.gzipped, 200, headers | {"content-encoding": "gzip"}, page.type)
    return Response(page.body, 200, headers, page.type)


def _watchlist(snapshot: Snapshot) -> str:
    as_of, rows = pages.instant(snapshot.now), list(snapshot.rows.values())
    return pages.watchlist(rows, as_of=as_of, problems=snapshot.problems)


def _ticker(snapshot: Snapshot, ticker: str) -> str:
    return pages.ticker(_details(snapshot, ticker), as_of=pages.instant(snapshot.now))


def _backtests(snapshot: Snapshot) -> str:
    backtests = [it for it, _ in snapshot.backtests]
    return pages.backtests(backtests, as_of=pages.instant(snapshot.now))


def _watchlist_document(snapshot: Snapshot) -> str:
    rows = list(snapshot.rows.values())
    return _document(
        documents.Watchlist(*_tag("served-watchlist", snapshot), snapshot.problems, rows)
    )


def _ticker_document(snapshot: Snapshot, ticker: str) -> str:
    return _document(documents.Ticker(*_tag("served-ticker", snapshot), _details(snapshot, ticker)))


def _backtests_document(snapshot: Snapshot) -> str:
    backtests = [it for it, _ in snapshot.backtests]
    return _document(documents.Backtests(*_tag("served-backtests", snapshot), backtests))


def _details(snapshot: Snapshot, ticker: str) -> watchlist.Details:
    """Return what is known of a ticker of the watchlist; nothing else is looked for."""
    row = snapshot.rows.get(ticker)
    if row is None:
        if snapshot.problems:  # there may be one
            raise HTTPException(503, snapshot.problems[0])
        raise HTTPException(
            404, "There is no such ticker on the watchlist; `forecast fetch` adds one."
        )
    home, events = snapshot.home, snapshot.events.get(ticker, [])
    return watchlist.details(home, Store(home), row, events, snapshot.now)


def _report(snapshot: Snapshot, name: str) -> Response:
    """Return the report of a known backtest, which may run its own scripts and nothing else."""
    folders = {it.name: folder for it, folder in snapshot.backtests if it.report}
    if name not in folders:
        raise HTTPException(404, "There is no such report; `forecast report` makes one again.")
    folder = folders[name].resolve()
    places = [(snapshot.home / it).resolve() for it in ("backtests", "scores")]
    file = (folder / "report.html").resolve()
    if file.parent != folder or not any(folder.is_relative_to(place) for place in places):
        raise HTTPException(404, "This report lies outside of the home, and is not served.")
    try:
        body = atomic.read_folder(folder, lambda it: (it / "report.html").read_bytes())
    except OSError:
        raise HTTPException(404, "The report was removed.") from None
    scripts = _SCRIPTS.search(body[:_HEAD])
    allowed = scripts[1].decode() if scripts else " 'none'"
    policy = (
        f"default-src 'none'; script-src{allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "sandbox allow-scripts allow-downloads allow-modals"
    )
    return Response(body, headers={"content-security-policy": policy}, media_type=HTML)


def _ledger_document(standing: Standing, *, as_of: str) -> str:
    return _document(
        documents.Ledger(
            schemas.tag("served-ledger"), as_of, standing.head, standing.problem, standing.score
        )
    )


def _tag(name: str, snapshot: Snapshot) -> tuple[str, str]:
    return schemas.tag(name), pages.instant(snapshot.now)


def _document(document: Any) -> str:
    return json.dumps(asdict(document), ensure_ascii=False, allow_nan=False)
