"""A checksum of a whole file, written into it, so that no damaged bit of it is ever read as a price.

Parquet's own checksums cover the pages of values, and neither their headers nor the footer, which
says where each value belongs.
"""

import re
from zlib import crc32

UNSEALED = b"forecaster.crc32:00000000"
"""What a file says of its checksum until :func:`sealed` fills it in; the last thing of that kind."""

_BLANK = b"00000000"
_NAME = UNSEALED[: -len(_BLANK)]
_SEAL = re.compile(re.escape(_NAME) + rb"([0-9a-f]{8})")


def sealed(content: bytes) -> bytes:
    """Return the bytes of a file with their checksum in the place of :data:`UNSEALED`."""
    begin = content.rindex(UNSEALED) + len(UNSEALED) - len(_BLANK)
    return b"%s%08x%s" % (content[:begin], crc32(content), content[begin + len(_BLANK) :])


def is_sealed(content: bytes) -> bool:
    """Return whether a file has a checksum of its bytes; ValueError where it is another one."""
    seal = _last_seal(content)
    if seal is None:
        return False
    begin, end = seal.span(1)
    rest = memoryview(content)[end:]
    actual = crc32(rest, crc32(_BLANK, crc32(memoryview(content)[:begin])))
    if seal[1] != b"%08x" % actual:
        raise ValueError("its bytes are not those that were written (the checksum differs)")
    return True


def _last_seal(content: bytes) -> re.Match[bytes] | None:
    """Return the last checksum in a file, looked for from its end, where it is."""
    seal, end = None, len(content)
    while seal is None and (end := content.rfind(_NAME, 0, end)) >= 0:
        seal = _SEAL.match(content, end)
    return seal
