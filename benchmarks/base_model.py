"""The base model: its training on all sets of prices, and what it is worth on what it has not seen.

`train` writes the bundle that ships with the package, trained up to the end of 2018, and its card, with the
scores in `results/base.csv`. `score [SET...|fifth]` fills those. A set is scored by a base made the same
way without it, on the last third of its days (2013 to 2018 for large caps and the sample), and trained up to
the day before them, of one network where the base has three. Days after 2018 are scored by the base itself.
`card` writes the card anew from the scores.

The market is seen in three ways in training: as the average of the peers, as the index of the exchange, and
not at all. `python benchmarks/base_model.py train|score|card`
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import common
import numpy as np
import pandas as pd
import tables

from forecaster.config import RecurrentConfig
from forecaster.data import companions, events, exchanges, prices
from forecaster.dataset.bars import Bars
from forecaster.dataset.panel import History, Panel, bars_of
from forecaster.models.registry import create
from forecaster.runs import base, bundle
from forecaster.runs.run import Run, versions

UNTIL = date(2018, 12, 31)
CONFIG = RecurrentConfig(max_windows=768, epochs=30, group_dropout=0.2, balance=0.5)
SCORED = replace(CONFIG, horizon=1, seeds=1)
FIFTH = "fifth"
FAULTS = "dev_us_dirty_2004_2018"
UNLIKE = (FIFTH, FAULTS)
"""Scores that speak for no ticker of a user: a part of a set, and faults of data more than returns."""


@dataclass(frozen=True)
class Source:
    """A set of prices that the base is trained on."""

    file: str
    name: str
    licence: str
    start: date | None = None
    """The first day scored; by default that of the last third."""


SOURCES = (
    Source("dev_us_large_2004_2018", "US large caps", "public repository", date(2013, 1, 1)),
    Source("dev_us_small_1995_2018", "US small caps", "MIT"),
    Source("dev_etf_1995_2018", "US funds", "public repository"),
    Source("dev_fx_btc_2007_2018", "EURUSD and BTCUSD", "Apache-2.0"),
    Source("dev_uk_close_2000_2018", "UK shares", "public repository"),
    Source("dev_india_1999_2018", "Indian shares", "public repository"),
    Source("dev_world_index_close_1985_2015", "World indices", "GPL (R package qrmdata)"),
    Source("dev_brazil_messy_2000_2021", "Brazilian shares", "public repository", date(2019, 1, 1)),
    Source(FAULTS, "US shares with faults", "public repository"),
    Source("dev_vix_1990_2018", "VIX", "PDDL"),
    Source("sample", "S&P 500 and NASDAQ", "arch package, NCSA", date(2013, 1, 1)),
)


def main(words: Sequence[str]) -> None:
    """Train the base and write its card, or score what it is worth on each set."""
    if words[:1] == ["train"]:
        write(train(SOURCES, UNTIL, name="base"))
    elif words[:1] == ["card"]:
        write_card()
    elif words[:1] == ["score"]:
        for source in SOURCES:
            if not words[1:] or source.file in words[1:]:
                score(source)
        if not words[1:] or FIFTH in words[1:]:
            score_fifth()
    else:
        raise SystemExit(__doc__)


def prices_of(source: Source) -> pd.DataFrame:
    """The prices of a set."""
    return common.sample().prices if source.file == "sample" else common.stored(source.file)


def all_prices(sources: Sequence[Source], until: date) -> pd.DataFrame:
    """The prices of some sets; of a ticker that is in several, those of the first."""
    frames, seen = [], set[str]()
    for source in sources:
        frame = prices.between(prices_of(source), None, until)
        frames.append(frame[~frame["ticker"].isin(seen)])
        seen.update(frame["ticker"])
    return pd.concat(frames, ignore_index=True)


def announcements(tickers: pd.Series) -> pd.DataFrame:
    """The earnings dates of some tickers."""
    work = common.Work("", tickers.to_frame(), UNTIL, UNTIL, UNTIL)
    found = common.with_events(work).events
    assert found is not None
    return found


def views(frame: pd.DataFrame, until: date, left_out: Sequence[str] = ()) -> Panel:
    """Every history twice: in the market of its peers, and in that of its index."""
    frame = frame[~frame["ticker"].isin(left_out)]
    known = events.known_by(announcements(frame["ticker"]), until)
    bars = bars_of(frame)
    peers = Panel.of(bars, events=known, companions={})
    index = Panel.of(bars, universe=(), events=known, companions=bars)
    return Panel(Pair(peers.histories, index.histories), peers.universe)


class Pair(Sequence[History]):
    """Two sequences of histories, one after the other, each made on access."""

    def __init__(self, one: Sequence[History], two: Sequence[History]) -> None:
        self._one, self._two = one, two

    def __len__(self) -> int:
        return len(self._one) + len(self._two)

    def __getitem__(self, at):
        first = len(self._one)
        return self._one[at] if at < first else self._two[at - first]


def train(
    sources: Sequence[Source],
    until: date,
    *,
    name: str,
    left_out: Sequence[str] = (),
    config: RecurrentConfig = CONFIG,
) -> Run:
    """A base of some sets, without some of their tickers."""
    frame = all_prices(sources, until)
    panel = views(frame, until, left_out)
    model = create("lstm", config)
    model.fit(panel, np.datetime64(until), progress)
    span = frame["date"].dt.date
    return Run(
        name=name,
        model=model,
        tickers=list(panel.universe),
        first=span.min(),
        until=until,
        prices_sha256=prices.digest(frame),
        created=datetime.now(UTC).isoformat(),
        versions=versions(),
        events_sha256=events.digest(events.known_by(announcements(frame["ticker"]), until)),
    )


def progress(done: int, total: int, words: str) -> None:
    """Show how far a training is."""
    print(f"{done}/{total} {words}", file=sys.stderr, flush=True)


def write(run: Run) -> None:
    """Put a run into the package as the base."""
    with tempfile.TemporaryDirectory() as folder:
        saved = bundle.save(run, Path(folder))
        for name in ("run.json", "weights.safetensors"):
            shutil.copy(saved / name, bundle.BASE_FOLDER / name)
    write_card()


def write_card() -> None:
    """Write the card of the base, from its bundle and from the scores in the results."""
    run = base.load()
    table = pd.read_csv(common.RESULTS / "base.csv")
    by_name = {source.file: source for source in SOURCES}
    scores = [
        {
            "set": by_name[row.set].name,
            **kind,
            "tickers": int(row.tickers),
            "sessions": int(row.sessions),
            "from": row.start,
            "to": row.end,
            "crps_over_gjr": round(row.ratio, 4),
            "better_on": int(row.better),
            "in_80": round(100 * row.coverage_80, 1),
            "in_95": round(100 * row.coverage_95, 1),
            "how": "the base itself, on years after its own"
            if row.start > str(UNTIL)
            else f"a model made the same way without these tickers, before {row.start}",
        }
        for row in table[(table["market"] == "peers") & ~table["set"].isin(UNLIKE)].itertuples()
        for kind in kinds_of(prices_of(by_name[row.set]))
    ]
    document = {
        "name": run.name,
        "version": 1,
        "made": run.created[:10],
        "first": run.first.isoformat(),
        "until": run.until.isoformat(),
        "data": [described(source) for source in SOURCES],
        "settings": run.settings,
        "good_at": GOOD_AT,
        "bad_at": BAD_AT,
        "scores": scores,
    }
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    (bundle.BASE_FOLDER / "card.json").write_text(text + "\n", encoding="utf-8")
    page = common.HERE.parent / "docs" / "base-model.md"
    before, rest = page.read_text(encoding="utf-8").split("<!-- data -->")
    after = rest.split("<!-- /data -->")[1]
    filled = f"{before}<!-- data -->\n{data_table(document)}\n<!-- /data -->{after}"
    page.write_text(filled, encoding="utf-8")


def data_table(document: dict[str, Any]) -> str:
    """What the base was trained on, and by which settings, as tables of Markdown."""
    titles = ["trained on", "tickers", "from", "to", "licence of the prices"]
    names = ("name", "tickers", "first", "until", "licence")
    rows = [[str(it[name]) for name in names] for it in document["data"]]
    usual = asdict(RecurrentConfig())
    own = {name: it for name, it in document["settings"].items() if it != usual[name]}
    settings = ", ".join(f"`{name} = {value}`" for name, value in own.items())
    return f"{tables.markdown(titles, rows)}\n\nSettings other than the usual: {settings}."


GOOD_AT = [
    "the width of the next session's return, and of the returns up to a month ahead, of shares, funds and "
    "indices with a few years of daily prices",
    "US shares whose dates of earnings are known",
    "tickers alone: the index of their exchange serves as their market",
]
BAD_AT = [
    "the direction of the next session's return, which it does not know",
    "currencies, coins and futures: it has seen one currency pair, one coin and no future",
    "indices of implied volatility, of which it has seen one: there GJR-GARCH is better",
    "what few prices come before: a forecast reads up to 1,024 sessions",
    "prices that hardly move, or are quoted by a peg",
]


def described(source: Source) -> dict[str, Any]:
    """A set as the card tells of it."""
    frame = prices.between(prices_of(source), None, UNTIL)
    days = frame["date"].dt.date
    return {
        "name": source.name,
        **kinds_of(frame)[0],
        "tickers": int(frame["ticker"].nunique()),
        "first": str(days.min()),
        "until": str(days.max()),
        "licence": source.licence,
    }


def kinds_of(frame: pd.DataFrame) -> list[dict[str, str]]:
    """The kinds of a third of a set's tickers or more, each with its most common exchange."""
    tickers = pd.Series(frame["ticker"].unique())
    kinds = tickers.map(exchanges.kind)
    shares = kinds.value_counts(normalize=True)
    return [
        {"kind": str(kind), "exchange": str(its.map(exchanges.exchange).mode()[0])}
        for kind, its in tickers.groupby(kinds)
        if shares[kind] >= 1 / 3
    ]


def score(source: Source) -> None:
    """Score a base that has not seen a set on it."""
    work = work_of(source)
    others = [it for it in SOURCES if it.file != source.file]
    own = sorted(work.prices["ticker"].unique())
    if source.start and source.start > UNTIL:
        run = base.load()
    else:
        run = train(others, work.until, name="base", left_out=own, config=SCORED)
    report(source.file, source.name, run, work, bars_of(all_prices(others, work.end)))


def score_fifth() -> None:
    """Score a base that has not seen every fifth of the US large caps on those."""
    work = common.w2_unseen()
    run = train(SOURCES, work.until, name="base", left_out=work.scored, config=SCORED)
    others = bars_of(all_prices(SOURCES, work.end))
    report(FIFTH, "every fifth US large cap, beside the others", run, work, others)


def report(key: str, name: str, run: Run, work: common.Work, others: dict[str, Bars]) -> None:
    """Write what a run is worth on a work, in each of the markets."""
    bar = common.bar(work)
    known, bars = announcements(work.prices["ticker"]), bars_of(work.prices)
    beside = {it: others[it] for it in companions.of(work.scored) if it in others}
    for market, universe in (("peers", None), ("index", ()), ("none", ())):
        there = {} if market == "none" else beside
        panel = Panel.of(
            bars, tickers=work.scored, universe=universe, events=known, companions=there
        )
        ends = np.datetime64(work.until), np.datetime64(work.end)
        common.row(
            "base",
            {"set": key, "market": market},
            name=name,
            start=str(work.start),
            end=str(work.end),
            seeds=run.model.config.seeds,
            sessions=len(np.unique(bar["date"])),
            **common.scores(run.model.forecast(panel, *ends), bar),
        )


def work_of(source: Source) -> common.Work:
    """The days of a set that are scored."""
    if source.file == "dev_us_large_2004_2018":
        return common.w2()
    if source.file == "sample":
        return common.sample()
    if source.start is None:
        return common.thirds(source.file)
    frame = common.stored(source.file)
    return common.Work(source.file, frame, UNTIL, source.start, frame["date"].max().date())


if __name__ == "__main__":
    main(sys.argv[1:])
