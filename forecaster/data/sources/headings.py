"""What the headings of a table of prices mean, in the languages that people export them in.

The words are in ``headings.toml``. A heading is compared without its capitals, accents, blanks and
punctuation, and if need be without an enumeration before it (``4. close``), a parenthesis after it
(``Close (USD)``) or a currency (``Volume BTC``).
"""

import functools
import re
import tomllib
import unicodedata
from importlib.resources import files

COUNTERS = frozenset(("index", "itemid", "item", "series", "code", "kod", "contract"))
"""Keys of names of instruments which are also those of counters and kinds: the cells decide."""

_SOFT_CLOSES = frozenset(("last", "price", "y", "value", "nav", "kurs", "cours", "c", "prc", "son"))
"""Keys of closes that may be tickers or something else beside headings that are not known."""

_LETTERS = str.maketrans({"ł": "l", "ı": "i", "ø": "o", "đ": "d", "æ": "ae", "œ": "oe"})
_ENUMERATION = re.compile(r"^\s*\d+\s*[a-z]?\s*[.):]\s*(?=\D)", re.IGNORECASE)
_PARENTHESIS = re.compile(r"\s*[(\[（].*?[)\]）]\s*")
_LAST_WORD = re.compile(r"(.+?)[\s_.-]+([a-z]{3,4})", re.IGNORECASE)
_TICKER = re.compile(r"(?=.*[A-Z])[A-Z0-9.^$=/&:_ -]{1,20}")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def key(heading: str) -> str:
    """Return a heading without capitals, accents, blanks and punctuation."""
    plain = unicodedata.normalize("NFKC", heading).casefold().translate(_LETTERS)
    return "".join(char for char in unicodedata.normalize("NFKD", plain) if char.isalnum())


def rank(heading: str, field: str) -> int | None:
    """Return the place of a heading among the names of a field, 0 the best; None if it is none."""
    ranks = _ranks()[field]
    return next((ranks[form] for form in _forms(heading) if form in ranks), None)


@functools.lru_cache(100_000)
def field(heading: str) -> str | None:
    """Return the field that a heading names, ``date`` rather than ``ticker`` or ``time``; or None."""
    return next((name for name in _ranks() if rank(heading, name) is not None), None)


def is_surely_a_field(heading: str) -> bool:
    """Return whether no ticker would be called so, though its column were in a table of closes."""
    named = field(heading)
    if named == "close":
        return _SOFT_CLOSES.isdisjoint(_forms(heading))
    return named in ("adj_close", "ticker") and key(heading) not in COUNTERS


def is_ticker(heading: str) -> bool:
    """Return whether a heading has a ticker's shape, and is no indicator's name: ``BRK-B``."""
    words = _WORDS.findall(heading)
    alone = len(words) == 1 and field(heading) not in ("open", "high", "low", "close")
    derived = "_" in heading or " " in heading
    return bool(_TICKER.fullmatch(heading)) and not ((alone or derived) and _is_other(words))


def is_other(heading: str) -> bool:
    """Return whether a heading is surely of something beside prices: ``SPY_return``, ``rsi``.

    A single word in capitals (``RSI``) may be a ticker as well.
    """
    words = _WORDS.findall(heading)
    derived = len(words) > 1 or heading != heading.upper()
    return derived and not is_ticker(heading) and _is_other(words)


def usual(field: str) -> str:
    """Return the first names of a field, for a message."""
    return ", ".join(name.replace(" ", "_") for name in _words()[field]["en"][:4])


def _is_other(words: list[str]) -> bool:
    return any(word.lower() in _words()["other"]["en"] for word in words)


@functools.lru_cache(100_000)
def _forms(heading: str) -> list[str]:
    """The keys by which a heading may be known, the whole of it first."""
    bare = _ENUMERATION.sub("", heading)
    forms = [heading, bare, _PARENTHESIS.sub(" ", bare).strip()]
    last = _LAST_WORD.fullmatch(forms[-1])
    if last and last[2].lower() in _words()["other"]["currencies"]:
        forms.append(last[1])
    return [known for form in forms if (known := key(form)) or not heading.strip()]


@functools.cache
def _words() -> dict[str, dict[str, list[str]]]:
    """The words of each field by language, as the file has them."""
    return tomllib.loads(files(__package__).joinpath("headings.toml").read_text("utf-8"))


@functools.cache
def _ranks() -> dict[str, dict[str, int]]:
    """The place of each key among those of its field."""
    ranks = {}
    for name, languages in _words().items():
        if name != "other":
            keys = [key(word) for words in languages.values() for word in words]
            ranks[name] = {word: place for place, word in reversed(list(enumerate(keys)))}
    return ranks
