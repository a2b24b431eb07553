"""Yahoo Finance on the loopback: what yfinance asks for, over TLS behind an HTTP proxy.

    charts = {"ACME": Chart(prices)}
    with YahooServer(charts, {"ACME": ["reset", "fine"]}) as server:
        subprocess.run([...], env=os.environ | server.environment)
        server.chart_requests("ACME")

An unpatched yfinance in a process with that environment believes that it talks to Yahoo: the
proxy answers for every host, with certificates of an authority made for the occasion. The
answers have the shape of Yahoo's own, as yfinance 1.7 reads them. What Yahoo knows may change
between two requests: ``server.charts["ACME"] = Chart(...)``.

Earnings dates come on a page, ``server.announcements["ACME"] = [pd.Timestamp(...), ...]``, in the words
of Yahoo and in the zone of each instant.
"""

import json
import socket
import ssl
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic, time
from urllib.parse import parse_qs, unquote, urlsplit

import pandas as pd
import trustme

CHART = "/v8/finance/chart/"
CALENDAR = "/calendar/earnings"
FIELDS = ["open", "high", "low", "close", "volume"]
LATE = 1.5  # seconds that a late answer takes


@dataclass
class Chart:
    """What Yahoo knows of a ticker.

    Bars are given as ``prices`` has them: in its order, with its duplicates, with null for NaN,
    and with whatever stands in an object column.
    """

    prices: pd.DataFrame  # date, open, high, low, close, adj_close, volume
    timezone: str = "America/New_York"
    currency: str = "USD"
    instrument: str = "EQUITY"
    hours: tuple[str, str] = ("09:30", "16:00")
    dividends: Mapping[date, float] = field(default_factory=dict)
    splits: Mapping[date, tuple[int, int]] = field(default_factory=dict)  # new shares, old shares
    session: tuple[pd.Timestamp, pd.Timestamp] | None = None  # current one; None: of the last row
    clock: pd.Timestamp | None = None  # of the last quote; None: the opening of the last row
    early: bool = False  # one bar more is given than was asked for, before them

    def answer(self, ticker: str, query: Mapping[str, str]) -> tuple[int, dict]:
        """The HTTP status and JSON for a query by range or by period1 and period2."""
        times = self._seconds(self.prices["date"])
        if "period1" in query:
            wanted = (times >= int(query["period1"])) & (times < int(query["period2"]))
            if self.early:
                wanted |= wanted.shift(-1, fill_value=False)
        else:
            wanted = times == times.max()
        if not wanted.any():
            return 400, failure(
                "Bad Request",
                f"Data doesn't exist for startDate = {query['period1']}, "
                f"endDate = {query['period2']}",
            )
        rows = self.prices[wanted].astype(object)
        rows = rows.where(rows.notna(), None)
        result = {
            "meta": self._meta(ticker, times),
            "timestamp": times[wanted].tolist(),
            "events": self._events(),
            "indicators": {
                "quote": [{name: rows[name].tolist() for name in FIELDS}],
                "adjclose": [{"adjclose": rows["adj_close"].tolist()}],
            },
        }
        return 200, {"chart": {"result": [result], "error": None}}

    def _seconds(self, dates, hour: int = 0) -> pd.Series:
        """Unix seconds of the opening (0) or the closing (1) of sessions."""
        opened = pd.to_datetime(pd.Series(dates)) + pd.Timedelta(f"{self.hours[hour]}:00")
        return opened.dt.tz_localize(self.timezone).map(lambda moment: int(moment.timestamp()))

    def _meta(self, ticker: str, times: pd.Series) -> dict:
        last = pd.Series([self.prices["date"].max()])
        start, end = (
            (int(self._seconds(last, hour).item()) for hour in (0, 1))
            if self.session is None
            else (int(moment.timestamp()) for moment in self.session)
        )
        zone = pd.Timestamp(end, unit="s", tz="UTC").tz_convert(self.timezone)
        zone = {"timezone": zone.tzname(), "gmtoffset": int(zone.utcoffset().total_seconds())}
        return {
            "currency": self.currency,
            "symbol": ticker,
            "longName": f"{ticker} Corporation",
            "exchangeName": "LOOP",
            "fullExchangeName": "Loopback",
            "instrumentType": self.instrument,
            "firstTradeDate": int(times.min()),
            "regularMarketTime": int(self.clock.timestamp() if self.clock else times.max()),
            "exchangeTimezoneName": self.timezone,
            "priceHint": 2,
            "currentTradingPeriod": {
                "pre": {"start": start, "end": start, **zone},
                "regular": {"start": start, "end": end, **zone},
                "post": {"start": end, "end": end, **zone},
            },
            "dataGranularity": "1d",
            "validRanges": ["1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max"],
            **zone,
        }

    def _events(self) -> dict:
        dividends = zip(self._seconds(list(self.dividends)), self.dividends.values(), strict=True)
        splits = zip(self._seconds(list(self.splits)), self.splits.values(), strict=True)
        return {
            "dividends": {str(at): {"date": at, "amount": paid} for at, paid in dividends},
            "splits": {
                str(at): {
                    "date": at,
                    "numerator": new,
                    "denominator": old,
                    "splitRatio": f"{new}:{old}",
                }
                for at, (new, old) in splits
            },
        }


QUARTERLY = [
    pd.Timestamp(f"{day} 16:00", tz="America/New_York")
    for day in ("2024-04-25", "2024-02-01", "2023-11-02", "2023-08-03")
]
"""What is announced of every ticker of which nothing else is said; the latest first, as on the page."""


def announcements_page(ticker: str, announced: Sequence[pd.Timestamp | str]) -> str:
    """Yahoo's page of a company's earnings dates; a text stands for itself, "" for a blank."""
    names = ["Symbol", "Company", "Earnings Date", "EPS Estimate", "Reported EPS", "Surprise (%)"]
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = "".join(
        f"<tr><td>{ticker}</td><td>{ticker} Corporation</td>"
        f"<td>{moment if isinstance(moment, str) else in_words(moment)}</td>"
        "<td>1.5</td><td>-</td><td>-</td></tr>"
        for moment in announced
    )
    return (
        "<!doctype html><html><body><h1>Earnings</h1><table>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></body></html>"
    )


def in_words(moment: pd.Timestamp) -> str:
    """An instant as Yahoo writes it: ``October 30, 2025 at 4 PM EDT``."""
    half = "PM" if moment.hour >= 12 else "AM"
    return f"{moment:%B} {moment.day}, {moment.year} at {moment.hour % 12 or 12} {half} {moment:%Z}"


def failure(code: str, description: str, kind: str = "chart") -> dict:
    """Yahoo's own way to say no."""
    return {kind: {"result": None, "error": {"code": code, "description": description}}}


@dataclass
class Request:
    """What was asked for, and when (of the monotonic clock)."""

    host: str
    path: str
    time: float

    @property
    def ticker(self) -> str | None:
        """That of a chart."""
        path = unquote(urlsplit(self.path).path)
        return path.removeprefix(CHART) if path.startswith(CHART) else None

    @property
    def company(self) -> str | None:
        """That of a page of earnings dates."""
        return self.query["symbol"] if urlsplit(self.path).path == CALENDAR else None

    @property
    def query(self) -> dict[str, str]:
        """The last value of each name."""
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.path).query).items()}


class YahooServer:
    """Serve charts by ticker while the context lasts; any other ticker is not found.

    ``modes`` gives, by ticker, what becomes of its chart requests, one after another; the last
    goes on for ever. A mode is ``fine``, a method of ``Handler`` that starts with ``mode_``, or a
    function of the handler and the ticker. ``calendar_modes`` does so for the pages of earnings dates.
    ``latency`` is the seconds that each request takes.
    However long a client takes, the server waits for it.
    """

    def __init__(
        self,
        charts: Mapping[str, Chart],
        modes: Mapping[str, Sequence["Mode"]] = {},
        latency: float = 0.0,
    ):
        self.charts = dict(charts)
        self.modes = {ticker: list(queue) for ticker, queue in modes.items()}
        self.announcements: dict[str, Sequence[pd.Timestamp | str]] = {}
        self.calendar_modes: dict[str, list[Mode]] = {}
        self.latency = latency
        self.requests: list[Request] = []
        self.closing = threading.Event()

    def __enter__(self) -> "YahooServer":
        self._folder = tempfile.TemporaryDirectory(prefix="yahoo-")
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self._authority))
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("*.yahoo.com", "*.finance.yahoo.com").configure_cert(self.tls)
        self._listener = Listener(("127.0.0.1", 0), Handler)
        self._listener.yahoo = self
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.closing.set()
        self._listener.shutdown()
        self._thread.join()
        self._listener.hang_up()
        self._listener.server_close()  # waits for the handlers' threads
        self._folder.cleanup()

    @property
    def _authority(self) -> Path:
        return Path(self._folder.name, "authority.pem")

    @property
    def environment(self) -> dict[str, str]:
        """What leads a process here, with yfinance's caches in a folder that will be removed."""
        proxy = f"http://127.0.0.1:{self._listener.server_port}"
        trust = ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"]
        home = ["HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"]
        return (
            {"HTTPS_PROXY": proxy, "https_proxy": proxy, "NO_PROXY": "", "no_proxy": ""}
            | dict.fromkeys(trust, str(self._authority))
            | dict.fromkeys(home, self._folder.name)
        )

    def chart_requests(self, ticker: str | None = None) -> list["Request"]:
        """The chart requests for a ticker, or for all, in the order of arrival."""
        return [it for it in self.requests if it.ticker and ticker in (None, it.ticker)]

    def calendar_requests(self, ticker: str | None = None) -> list["Request"]:
        """The requests for the earnings dates of a ticker, or of all, in the order of arrival."""
        return [it for it in self.requests if it.company and ticker in (None, it.company)]

    @staticmethod
    def next_mode(modes: Mapping[str, list["Mode"]], ticker: str) -> "Mode":
        """Take the mode of this ticker's next request."""
        queue = modes.get(ticker, ["fine"])
        return queue.pop(0) if len(queue) > 1 else queue[0]


class Listener(ThreadingHTTPServer):
    """A server that waits for its threads and shrugs at clients that hang up."""

    daemon_threads = False
    yahoo: YahooServer

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.connections: set[socket.socket] = set()

    def hang_up(self) -> None:
        """Wake the threads that wait for a client to say more."""
        for connection in list(self.connections):
            with suppress(OSError):  # it is gone already
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def handle_error(self, request, client_address) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection: CONNECT, then plain requests inside TLS."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Listener

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)
        if self.server.yahoo.closing.is_set():
            self.server.hang_up()

    def do_CONNECT(self) -> None:
        self.host = self.path.partition(":")[0]
        self.send_response(200)
        self.end_headers()
        super().finish()
        self.server.connections.discard(self.connection)
        self.request = self.server.yahoo.tls.wrap_socket(
            self.connection, server_side=True, do_handshake_on_connect=False
        )
        self.setup()
        self.request.do_handshake()

    def do_GET(self) -> None:
        path, yahoo = unquote(urlsplit(self.path).path), self.server.yahoo
        yahoo.requests.append(Request(self.host, self.path, monotonic()))
        yahoo.closing.wait(yahoo.latency)
        for start, route in self.routes.items():
            if f"{self.host}{path}".startswith(start):
                return route(self, path.rpartition("/")[2])
        return self.reply(404, "<html>no such page</html>")

    def finish(self) -> None:
        super().finish()
        self.server.connections.discard(self.connection)
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def reply(self, status: int, body: dict | str | bytes, **headers: str) -> None:
        """Send a document, as it is or in bytes, or a page; a header's name has _ for dashes."""
        data = json.dumps(body) if isinstance(body, dict) else body
        data = data.encode() if isinstance(data, str) else data
        self.send_response(status)
        kind = "text/html" if isinstance(body, str) else "application/json"
        headers = {"Content_Type": kind, "Content_Length": str(len(data))} | headers
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def cookie(self, _: str) -> None:
        expires = formatdate(time() + 365 * 86400, usegmt=True)
        self.reply(404, "", Set_Cookie=f"A3=crumbly; Domain=.yahoo.com; Path=/; Expires={expires}")

    def crumb(self, _: str) -> None:
        self.reply(200, "crumb")

    def quote(self, ticker: str) -> None:
        reason = f"Quote not found for symbol: {ticker}"
        self.reply(404, failure("Not Found", reason, "quoteSummary"))

    def chart(self, ticker: str) -> None:
        yahoo = self.server.yahoo
        mode = yahoo.next_mode(yahoo.modes, ticker)
        (getattr(Handler, f"mode_{mode}") if isinstance(mode, str) else mode)(self, ticker)

    def calendar(self, _: str) -> None:
        yahoo, ticker = self.server.yahoo, Request(self.host, self.path, 0.0).company
        mode = yahoo.next_mode(yahoo.calendar_modes, ticker)
        if mode == "fine":
            mode = "announced"
        (getattr(Handler, f"mode_{mode}") if isinstance(mode, str) else mode)(self, ticker)

    routes: Mapping[str, Callable[["Handler", str], None]] = {
        "fc.yahoo.com/": cookie,
        "query1.finance.yahoo.com/v1/test/getcrumb": crumb,
        "query2.finance.yahoo.com/v1/test/getcrumb": crumb,
        f"query1.finance.yahoo.com{CHART}": chart,
        f"query2.finance.yahoo.com{CHART}": chart,
        "query2.finance.yahoo.com/v10/finance/quoteSummary/": quote,
        f"finance.yahoo.com{CALENDAR}": calendar,
    }

    def mode_fine(self, ticker: str) -> None:
        chart = self.server.yahoo.charts.get(ticker)
        if chart is None:
            return self.mode_unknown(ticker)
        return self.reply(*chart.answer(ticker, Request(self.host, self.path, 0.0).query))

    def mode_announced(self, ticker: str) -> None:
        announced = self.server.yahoo.announcements.get(ticker, QUARTERLY)
        self.reply(200, announcements_page(ticker, announced))

    def mode_unlisted(self, ticker: str) -> None:
        self.reply(200, "<html><body>We couldn't find any results.</body></html>")

    def mode_headless(self, ticker: str) -> None:
        """A page whose columns have other names, as that of 2024 had."""
        page = announcements_page(ticker, QUARTERLY).replace("Earnings Date", "Event Name")
        self.reply(200, page)

    def mode_blank(self, ticker: str) -> None:
        """A page whose table has nothing that is one."""
        self.reply(200, "<html><body><table></table></body></html>")

    def mode_rowless(self, ticker: str) -> None:
        self.reply(200, announcements_page(ticker, []))

    def mode_torn(self, ticker: str) -> None:
        self.reply(200, "<html><table><tr><td><table></tr></td")

    def mode_unknown(self, ticker: str) -> None:
        self.reply(404, failure("Not Found", "No data found, symbol may be delisted"))

    def mode_nothing(self, ticker: str) -> None:
        reason = "Data doesn't exist for startDate = 1, endDate = 2"
        self.reply(400, failure("Bad Request", reason))

    def mode_limited(self, ticker: str) -> None:
        self.reply(429, "Too Many Requests")

    def mode_broken(self, ticker: str) -> None:
        self.reply(500, "<html>Internal Server Error</html>")

    def mode_excused(self, ticker: str) -> None:
        self.reply(500, failure("Internal Server Error", "Something went wrong"))

    def mode_refused(self, ticker: str) -> None:
        self.reply(401, failure("Unauthorized", "Invalid Crumb", "finance"))

    def mode_forbidden(self, ticker: str) -> None:
        self.reply(403, "<html>Forbidden</html>")

    def mode_unprocessable(self, ticker: str) -> None:
        reason = "1d data not available for startTime=-2208988800 and endTime=1"
        self.reply(422, failure("Unprocessable Entity", reason))

    def mode_garbage(self, ticker: str) -> None:
        self.reply(200, '{"chart": {"result": [{"me')

    def mode_page(self, ticker: str) -> None:
        self.reply(200, "<html>We will be right back</html>")

    def mode_truncated(self, ticker: str) -> None:
        self.reply(200, '{"chart": {"result": [{"me', Content_Length="100000")
        self.close_connection = True

    def mode_late(self, ticker: str) -> None:
        self.server.yahoo.closing.wait(LATE)
        self.mode_fine(ticker)

    def mode_hollow(self, ticker: str) -> None:
        self.reply(200, {"chart": {"result": [{}], "error": None}})

    def mode_bare(self, ticker: str) -> None:
        """A sound answer of a known ticker that holds no session."""
        meta = self.server.yahoo.charts[ticker].answer(ticker, {})[1]["chart"]["result"][0]["meta"]
        result = {"meta": meta, "indicators": {"quote": [{}], "adjclose": [{}]}}
        self.reply(200, {"chart": {"result": [result], "error": None}})

    def mode_stall(self, ticker: str) -> None:
        self.server.yahoo.closing.wait()
        self.close_connection = True

    def mode_reset(self, ticker: str) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


Mode = str | Callable[[Handler, str], None]
