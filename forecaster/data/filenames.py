"""Tickers as the names of files, which no file system takes for something else."""

import os
import re
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

_EXTENSION = ".parquet"
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_^")
# Windows keeps these names for devices, whatever the extension.
_DEVICE = re.compile(r"CON|PRN|AUX|NUL|(COM|LPT)[0-9]")


def filename(ticker: str) -> str:
    """The file name of a ticker, the same one and a safe one on every file system.

    Every UTF-8 byte but capitals, digits and ``-_^`` is percent-encoded, so that no two names
    differ by case alone and none leads out of the folder.
    """
    name = "".join(
        chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in ticker.encode("utf-8")
    )
    if _DEVICE.fullmatch(name):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    return name + _EXTENSION


def ticker_of(name: str) -> str:
    """The ticker whose file name is ``name``; of another name, something that leads not back."""
    return unquote(name.removesuffix(_EXTENSION))


def tickers(folder: Path) -> list[str]:
    """The tickers that have a file in a folder, sorted; none if there is no such folder."""
    if not folder.is_dir():
        return []
    named = (_named(name) for name in os.listdir(folder) if name[0] != ".")
    return sorted(ticker for ticker in named if ticker is not None)


@lru_cache(maxsize=2**15)  # a command lists its folder a dozen times
def _named(name: str) -> str | None:
    """The ticker whose file has a name; None if it is no ticker's."""
    ticker = ticker_of(name)
    return ticker if filename(ticker) == name else None


def first_fetch(home: Path) -> str:
    """Return what a message on a home without prices adds; nothing where some are stored."""
    if tickers(home / "prices"):
        return ""
    return ", but `forecast fetch` comes first: no prices are stored there"
