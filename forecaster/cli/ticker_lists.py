"""From the tickers typed to those that are stored, and those that a forecast of them needs."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from forecaster.errors import UsageError, first_few

if TYPE_CHECKING:
    from forecaster.data.store import Store
    from forecaster.runs.run import Run


def expanded(words: list[str] | None) -> list[str]:
    """Return tickers as typed, with every @FILE replaced by the tickers in it, each once.

    In a file, tickers are separated by white space or commas, and # starts a comment. ``-`` or
    ``@-`` reads the standard input.
    """
    tickers: list[str] = []
    for word in words or []:
        if word in ("-", "@-"):
            tickers += _in(sys.stdin.read())
        elif word.startswith("@"):
            tickers += _in(_text(Path(word[1:])))
        else:
            tickers.append(word.strip())
    if words and not any(tickers):
        raise UsageError(f"expected tickers, got only {' '.join(words)!r}")
    return list(dict.fromkeys(ticker for ticker in tickers if ticker))


def stored(store: "Store", words: list[str] | None) -> list[str]:
    """Return the stored tickers typed, in upper case if only that is stored; all if none were."""
    tickers = named(store, words)
    store.require(tickers)
    return tickers or store.tickers()


def named(store: "Store", words: list[str] | None) -> list[str]:
    """Return the tickers typed, each once, in upper case if only that is stored."""
    known = store.tickers()
    tickers = [t.upper() if t not in known and t.upper() in known else t for t in expanded(words)]
    return list(dict.fromkeys(tickers))


def with_universe(run: "Run", store: "Store", tickers: list[str]) -> list[str]:
    """Return tickers and those of the run's universe, whose prices a forecast needs, as far as stored."""
    known = set(store.tickers())
    missing = [ticker for ticker in run.tickers if ticker not in known]
    if missing:
        logging.getLogger("forecaster").warning(
            "%d of the %d tickers that run %s was trained on are not stored (%s); the market is taken "
            "from the others, so forecasts differ a little from those with all",
            len(missing),
            len(run.tickers),
            run.name,
            first_few(missing),
        )
    return sorted({*tickers, *run.tickers} - set(missing))


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
