"""The text of a file: decompressed, and decoded from whatever encoding its headings are in."""

import bz2
import codecs
import gzip
import io
import lzma
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from forecaster.data.sources import headings

COMPRESSIONS: Mapping[str, bytes] = {
    ".gz": b"\x1f\x8b",
    ".bz2": b"BZh",
    ".xz": b"\xfd7zXZ\x00",
    ".zip": b"PK\x03\x04",
    ".zst": b"\x28\xb5\x2f\xfd",
}
"""What the files of a compression begin with, by the extension of their names."""

_OTHERS: Mapping[bytes, str] = {
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"%PDF": "a PDF document",
    b"\x89HDF": "an HDF5 file",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3": "a database",
}
_MARKUP = re.compile(rb"\s*(?:(<!doctype html|<html)|(<\?xml)|([\[{]\s*[\"\[{}\]]))", re.IGNORECASE)
_BOMS: Mapping[bytes, str] = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Of several that know as many headings, the first is taken.
_LEGACY = (
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "gb18030", "big5", "cp932", "cp949",
)  # fmt: skip
_CELL = re.compile(r"[,;\t|\r\n]")


def content(path: Path) -> bytes:
    """Return the bytes of a file, decompressed."""
    raw = path.read_bytes()
    suffix = path.suffix.lower()
    if suffix in COMPRESSIONS and not raw.startswith(COMPRESSIONS[suffix]):
        raise ValueError(f"its name ends in {suffix}, and it is no such archive")
    for name, magic in COMPRESSIONS.items():
        if raw.startswith(magic):
            return _OPENERS[name](raw)
    return raw


def decode(raw: bytes) -> tuple[str, str]:
    """Return the text of some bytes and the name of its encoding.

    The encoding is that of a byte order mark, UTF-8, UTF-16, or the older one in which most of the
    first lines' headings are known words.

    Raises
    ------
    ValueError
        The bytes are no text of a table.
    """
    for magic, kind in _OTHERS.items():
        if raw.startswith(magic):
            raise ValueError(f"it is {kind}")
    for mark, encoding in _BOMS.items():
        if raw.startswith(mark):
            return raw.decode(encoding), encoding
    if markup := _MARKUP.match(raw):
        page, xml, _ = markup.groups()
        raise ValueError(f"it is {'a web page' if page else 'XML' if xml else 'JSON'}")
    if unmarked := _utf16(raw):
        return raw.decode(unmarked), unmarked
    try:
        return raw.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        if b"\0" in raw:
            raise ValueError("it is no text") from error
        return _legacy(raw, error)


def _utf16(raw: bytes) -> str | None:
    """UTF-16 without a mark: of Latin letters and digits, every second byte is zero."""
    sample = raw[:400]
    if len(sample) >= 4 and len(sample) % 2 == 0 and b"\0" in sample:
        even, odd = sample[::2].count(0), sample[1::2].count(0)
        if max(even, odd) > len(sample) / 4 and min(even, odd) == 0:
            return "utf-16-le" if odd else "utf-16-be"
    return None


def _legacy(raw: bytes, error: UnicodeDecodeError) -> tuple[str, str]:
    best, most = "", 0
    for encoding in _LEGACY:
        try:
            head = raw[:4000].decode(encoding, errors="ignore")
            known = sum(headings.field(cell) is not None for cell in _CELL.split(head) if cell)
            if known > most:
                raw.decode(encoding)
                best, most = encoding, known
        except UnicodeDecodeError:
            continue
    if not best:
        raise error
    return raw.decode(best), best


def _unzip(raw: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        names = [name for name in names if not name.startswith("__MACOSX/")]
        if "[Content_Types].xml" in names:
            raise ValueError("it is an Excel workbook")
        if len(names) != 1:
            raise ValueError(f"it is an archive of {len(names)} files, and one is needed")
        return archive.read(names[0])


def _unzstd(raw: bytes) -> bytes:
    import pyarrow as pa

    return bytes(pa.CompressedInputStream(pa.BufferReader(raw), "zstd").read())


_OPENERS: Mapping[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
    ".zip": _unzip,
    ".zst": _unzstd,
}
