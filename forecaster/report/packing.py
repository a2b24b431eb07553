"""Columns of numbers as short text, for a page that must hold hundreds of thousands of them.

Each column is rounded to whole multiples of its unit, and each number but the first is told by its
difference from the one before (modulo 2³²). Series that move slowly leave small differences, whose
bytes compress well when the first bytes of all come before the second bytes of all. ``page.js``
turns the text back with a loop and the browser's own inflate.
"""

import zlib
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np

MISSING = -(2**31)
"""Stands for what is not known."""


def pack(columns: Sequence[tuple[np.ndarray, float]]) -> dict[str, Any]:
    """Packs columns of one length, each given with its unit: (rows,) floats, NaN where unknown.

    Returns
    -------
    rows, units (one for each column) and text: the base64 of a zlib stream of the bytes.
    A number comes back within half a unit; one of 2³¹ units or more comes back as NaN.
    """
    scaled = np.stack([values / unit for values, unit in columns])  # (columns, rows)
    known = np.abs(scaled) < 2**31 - 1
    whole = np.where(known, np.rint(scaled, where=known, out=np.zeros_like(scaled)), MISSING)
    steps: np.ndarray = np.diff(whole.astype(np.int32), axis=1, prepend=np.int32(0))
    zigzag = ((steps << 1) ^ (steps >> 31)).astype("<u4")  # the sign becomes the lowest bit
    planes = zigzag.view(np.uint8).reshape(*zigzag.shape, 4).transpose(0, 2, 1)
    return {
        "rows": scaled.shape[1],
        "units": [unit for _, unit in columns],
        "text": b64encode(zlib.compress(planes.tobytes())).decode(),
    }
