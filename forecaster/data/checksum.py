"""A checksum of a whole file, written into it, so that no damaged bit of it is ever read as a price.

Parquet's own checksums cover the pages of values, and neither their headers nor the footer, which
says where each value belongs.
"""

import re
from zlib import crc32

UNSEALED = b"forecaster.crc32:00000000"
"""What a file says of its checksum until :func:`sealed` fills it in; the last thing of that kind."""

_BLANK = b"00000000"
_SEAL = re.compile(rb"forecaster\.crc32:([0-9a-f]{8})")


def sealed(content: bytes) -> bytes:
    """Return the bytes of a file with their checksum in the place of :data:`UNSEALED`."""
    begin = content.rindex(UNSEALED) + len(UNSEALED) - len(_BLANK)
    return b"%s%08x%s" % (content[:begin], crc32(content), content[begin + len(_BLANK) :])


def is_sealed(content: bytes) -> bool:
    """Return whether a file has a checksum of its bytes; ValueError where it is another one."""
    seals = list(_SEAL.finditer(content))
    if not seals:
        return False
    begin, end = seals[-1].span(1)
    rest = memoryview(content)[end:]
    actual = crc32(rest, crc32(_BLANK, crc32(memoryview(content)[:begin])))
    if seals[-1][1] != b"%08x" % actual:
        raise ValueError("its bytes are not those that were written (the checksum differs)")
    return True
