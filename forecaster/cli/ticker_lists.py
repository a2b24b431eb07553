"""From the tickers typed to those that are stored, and those that a forecast of them needs."""

import logging
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from forecaster.data import capitals
from forecaster.errors import UsageError, first_few

if TYPE_CHECKING:
    from forecaster.data.store import Store
    from forecaster.runs.run import Run


def expanded(words: list[str] | None, known: Collection[str] = ()) -> list[str]:
    """Return tickers as typed, with every @FILE replaced by the tickers in it, each once.

    Commas separate tickers, but in a word that is a ticker as it stands. In a file, tickers are
    separated by white space or commas, and # starts a comment. ``-`` or ``@-`` reads the standard
    input.

    Parameters
    ----------
    known : tickers that there are, for those with a comma in their name.
    """
    tickers, whole = list[str](), set(known)
    for word in words or []:
        if word.strip() in whole:
            tickers.append(word.strip())
        elif word in ("-", "@-"):
            tickers += _in(sys.stdin.read())
        elif word.startswith("@"):
            tickers += _in(_text(Path(word[1:])))
        else:
            tickers += [it.strip() for it in word.split(",")]
    if words and not any(tickers):
        raise UsageError(f"expected tickers, got only {' '.join(words)!r}")
    return list(dict.fromkeys(ticker for ticker in tickers if ticker))


def stored(store: "Store", words: list[str] | None) -> list[str]:
    """Return the stored tickers typed, in whatever capitals; all if none were."""
    tickers = named(store, words)
    store.require(tickers)
    return tickers or store.tickers()


def single(store: "Store", word: str) -> str:
    """Return the ticker typed, stored or not; UsageError for a list of several."""
    if word.startswith("@") and word not in store.tickers():
        raise UsageError(f"expected one ticker, got the list {word}")
    tickers = named(store, [word])
    if len(tickers) > 1:
        raise UsageError(f"expected one ticker, got {len(tickers)}: {', '.join(tickers)}")
    return tickers[0]


def named(store: "Store", words: list[str] | None) -> list[str]:
    """Return the tickers typed, each once, and as they are stored where capitals alone differ."""
    known = store.tickers()
    return capitals.matched(expanded(words, known), known)


def with_universe(run: "Run", store: "Store", tickers: list[str]) -> list[str]:
    """Return tickers and those of the run's universe, whose prices a forecast needs, as far as stored."""
    from forecaster.data import companions
    from forecaster.runs import forecasting

    known = store.tickers()
    along = companions.store(store.folder.parent).tickers()
    missing = [] if run.is_base else sorted(set(run.tickers) - set(known))
    if missing:
        logging.getLogger("forecaster").warning(
            "%d of the %d tickers that run %s was trained on are not stored (%s); the market is taken "
            "from the others, so forecasts differ a little from those with all",
            len(missing),
            len(run.tickers),
            run.name,
            first_few(missing),
        )
    universe = forecasting.universe_of(run, [*known, *along], tickers)
    return sorted({*tickers, *universe}.intersection(known))


def currencies(store: "Store", tickers: Iterable[str]) -> dict[str, str | None]:
    """Return what the prices of each ticker are in, None where its source did not say so."""
    states = {ticker: store.state(ticker) for ticker in tickers}
    return {ticker: it.notes.get("currency") if it else None for ticker, it in states.items()}


def count(tickers: list[str]) -> str:
    """Return how many tickers there are, or the name of the only one."""
    return tickers[0] if len(tickers) == 1 else f"{len(tickers):,} tickers"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(f"cannot read the list of tickers {path}: {reason}") from error


def _in(text: str) -> list[str]:
    lines = text.splitlines()
    return " ".join(line.partition("#")[0] for line in lines).replace(",", " ").split()
