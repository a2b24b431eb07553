import platform
from pathlib import Path

import numpy as np
import pytest

from forecaster.parallel import malloc


def resident():
    """MiB of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what is freed")
def test_what_was_freed_goes_back_though_something_behind_it_is_in_use():
    many = [np.ones(1250) for _ in range(20_000)]  # 10 KB each
    kept = many[::100]
    held = resident()
    del many
    malloc.return_freed()
    assert resident() < held - 100
    assert sum(map(len, kept)) == 250_000


def test_another_c_library_is_left_as_it_is(monkeypatch):
    def other(name):
        raise OSError(f"no {name}")

    monkeypatch.setattr("ctypes.CDLL", other)
    malloc.return_large()
    malloc.return_freed()
