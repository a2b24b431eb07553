"""Imports of packages without the optional ones that they take along, which cost a second or more."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(*packages: str) -> Iterator[None]:
    """Let imports of packages fail meanwhile, but for those that were imported before."""
    new = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(new))  # type: ignore[arg-type]  # None: there is no such module
    try:
        yield
    finally:
        for name in new:
            del sys.modules[name]
