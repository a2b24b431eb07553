"""Pages from what is known: the same for the server, and for the file that ``forecast daily`` writes.

Every name goes through the escaping of Jinja and loses what does not print on the way.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from hashlib import sha256
from math import expm1, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pandas as pd

from forecaster import atomic, display
from forecaster.data import calendars
from forecaster.data.event_store import EventStore
from forecaster.data.store import Store
from forecaster.errors import ForecastError
from forecaster.live import watchlist as live
from forecaster.live.watchlist import Details, Row
from forecaster.report.markup import json_text
from forecaster.web import charts
from forecaster.web.assets import assets, style
from forecaster.web.documents import Backtest
from forecaster.web.snapshot import Standing

if TYPE_CHECKING:
    from jinja2 import Environment

BASELINES = ("gjr", "naive")
HEIGHT = 20
"""Of the picture of recent closes."""


def write(home: Path) -> Path:
    """Write the watchlist to ``page/index.html`` in a home, one file that needs nothing else.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    now, problems, rows = calendars.now(), list[str](), list[Row]()
    try:
        rows = live.rows(home, Store(home), EventStore(home), now)
    except ForecastError as error:
        problems.append(str(error))
    page = watchlist(rows, as_of=instant(now), problems=problems, alone=True)
    path = Path(home) / "page" / "index.html"
    with atomic.replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def watchlist(
    rows: Sequence[Row], *, as_of: str, problems: Sequence[str] = (), alone: bool = False
) -> str:
    """Return the page of all tickers.

    Parameters
    ----------
    as_of : when it was looked at, an instant in UTC.
    problems : what could not be read.
    alone : it is a file of its own, with its style in it and no links.
    """
    runs = sorted({row.forecast.run for row in rows if row.forecast})
    return _page(
        "watchlist.html",
        as_of,
        here="/",
        alone=alone,
        rows=rows,
        runs=runs,
        closed=_only(row.quote.date if row.quote else None for row in rows),
        coming=_only(row.forecast.date if row.forecast else None for row in rows),
        notes=[*problems, *_notes(rows, problems)],
    )


def ticker(details: Details, *, as_of: str) -> str:
    """Return the page of a ticker."""
    row = details.row
    notes = [row.problem] if row.problem else []
    if row.forecast is None:
        notes.append("No forecast of it is recorded of late: `forecast daily` records one a day.")
    elif row.is_over:
        notes.append("Its forecast is of a day that is over: `forecast daily` records the next.")
    places, figures, numbers = charts.of_ticker(details)
    return _page(
        "ticker.html",
        as_of,
        details=details,
        notes=notes,
        charts=places,
        figures=figures,
        numbers=numbers,
    )


def ledger(standing: Standing | None, *, as_of: str) -> str:
    """Return the page of the running record; None is one that is still being reckoned."""
    if standing is None:
        notes = ["The record is being reckoned: look again in a moment."]
        return _page("ledger.html", as_of, here="/ledger", notes=notes, score=None, head=None)
    return _page(
        "ledger.html",
        as_of,
        here="/ledger",
        notes=[standing.problem] if standing.problem else [],
        score=standing.score,
        rows=list(_scores(standing.score)) if standing.score else [],
        head=standing.head,
    )


def backtests(rows: Sequence[Backtest], *, as_of: str) -> str:
    """Return the page that lists backtests."""
    notes = [] if rows else ["There are no backtests yet: `forecast backtest` makes one."]
    return _page("backtests.html", as_of, here="/backtests", backtests=rows, notes=notes)


def message(heading: str, lines: Sequence[str]) -> str:
    """Return a page that says why there is no other."""
    return _page("message.html", "", heading=heading, notes=lines)


def policy() -> str:
    """Return the Content-Security-Policy of a page that is a file of its own."""
    digest = b64encode(sha256(style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def instant(now: pd.Timestamp) -> str:
    """Return an instant as the documents have it: in UTC, to the second."""
    return f"{now.tz_convert('UTC'):%Y-%m-%dT%H:%M:%SZ}"


def _scores(score: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield the rows of the record: each step, what its backtest promised below it, and late ones."""
    promised = {it["step"]: it for it in (score["promise"] or {"steps": []})["steps"]}
    for kind in ("steps", "late"):
        for its in score[kind]:
            ratios = {it["model"]: it["crps_ratio"] for it in its["against"]}
            cells = [f"{its['forecasts']:,}", its["first"], its["last"], f"{its['tickers']:,}"]
            cells += [_number(it) for it in (its["crps"], *map(ratios.get, BASELINES))]
            cells += [_percent(it["share"]) for it in its["coverage"]]
            yield f"{its['step']}{', late' * (kind == 'late')}", cells
            if kind == "steps" and (said := promised.get(its["step"])):
                cells = [_number(said.get(it)) for it in ("crps", "crps/gjr", "crps/naive")]
                cells += [_percent(said.get(it)) for it in ("coverage_80", "coverage_95")]
                yield "its backtest", ["–"] * 4 + cells


def _notes(rows: Sequence[Row], problems: Sequence[str]) -> list[str]:
    """Return what is missing, and which command brings it."""
    if not rows:
        if problems:
            return []
        return [
            "No prices are stored yet: `forecast fetch AAPL MSFT` fetches some.",
            "Then `forecast daily`, once every evening, records a forecast of each and settles the last.",
        ]
    notes = [row.problem for row in rows if row.problem]
    over = sum(row.is_over for row in rows)
    if not any(row.forecast for row in rows):
        notes.append("No forecast is recorded of late: run `forecast daily`, once every evening.")
    elif over:
        whose = "All forecasts are" if over == len(rows) else f"{over} of {len(rows)} forecasts are"
        notes.append(f"{whose} of a day that is over: run `forecast daily`.")
    return notes[:10]


def _only(days: Iterable[str | None]) -> str | None:
    """Return the day that all rows have which have one; None if they have several."""
    known = {day for day in days if day}
    return known.pop() if len(known) == 1 else None


def _page(template: str, as_of: str, *, here: str = "", alone: bool = False, **values: Any) -> str:
    shared: dict[str, Any] = {"as_of": as_of, "here": here, "style": None, "assets": None}
    if alone:
        shared |= {"style": _safe(style()), "policy": policy()}
    else:
        shared |= {"assets": assets()}
    return _environment().get_template(template).render(shared | values)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("forecaster.web"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        auto_reload=False,
    )
    environment.filters |= {
        "price": _price,
        "percent": _percent,
        "change": lambda value: _percent(None if value is None else expm1(value), "+.2%"),
        "points": _points,
        "quoted": lambda text: quote(text, safe=""),
        "commands": _commands,
        "instant": lambda text: f"{text[:10]} {text[11:16]} UTC",
        "json": lambda document: _safe(json_text(document)),
        "safely": _safe,
    }
    return environment


def _printable(value: Any) -> Any:
    return display.printable(value) if type(value) is str else value


def _safe(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)


def _price(value: float | None, beside: float | None = None) -> str:
    return "–" if value is None else display.price(value, beside=beside)


def _percent(value: float | None, spec: str = ".1%") -> str:
    return display.number(nan if value is None else value, spec).replace("-", "−")


def _number(value: float | None) -> str:
    return display.number(nan if value is None else value, ".4f")


def _points(closes: Sequence[float]) -> str:
    """Return the points of a line from left to right, the lowest close at the foot."""
    low, high = min(closes), max(closes)
    scale = (HEIGHT - 2) / (high - low) if high > low else 0.0
    return " ".join(f"{x},{HEIGHT - 1 - scale * (it - low):.1f}" for x, it in enumerate(closes))


def _commands(text: str) -> Any:
    """Return a line with what stands in backquotes as commands."""
    from markupsafe import escape

    marked = re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(display.printable(text))))
    return _safe(marked)
