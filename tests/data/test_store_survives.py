"""What the store loses when it is killed, shared, or not let write: nothing."""

import itertools
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster.data import calendars, prices
from forecaster.data.store import Store
from forecaster.errors import StoreError

DAYS = calendars.sessions_between("AAA", "2018-01-02", "2020-12-31")
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and users are those of POSIX")


def history(first, after, factor=1.0):
    """Prices that depend on the date alone, from one session to before another."""
    close = factor * (50 + np.sin(np.arange(len(DAYS))))
    rows = pd.DataFrame({"ticker": "AAA", "date": DAYS, "close": close, "volume": 1000.0})
    return prices.check(rows[first:after])


WRITER = """
import os, signal, sys
import pandas as pd
from forecaster.data.store import Store

store, old, new = Store(sys.argv[1]), pd.read_parquet(sys.argv[2]), pd.read_parquet(sys.argv[3])
store.write(old, source="x")  # so that no child spends its life on imports
for line in sys.stdin:  # seconds until the kill
    child = os.fork()
    if not child:
        while True:
            for frame in (new, old):
                store.write(frame, source="x", refresh=True)
    signal.sigtimedwait([signal.SIGCHLD], float(line))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("killed", flush=True)
"""


@pytest.mark.slow
@posix
def test_killed_at_any_instant_a_file_is_the_old_one_or_the_new_one(tmp_path):
    store, seen = Store(tmp_path), []
    old, new = history(0, 600), history(0, 700, factor=2)
    old.to_parquet(tmp_path / "old.parquet")
    new.to_parquet(tmp_path / "new.parquet")
    store.write(old, source="x")
    moments = random.Random(0)
    command = [
        sys.executable,
        "-c",
        WRITER,
        tmp_path,
        tmp_path / "old.parquet",
        tmp_path / "new.parquet",
    ]
    with subprocess.Popen(
        list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        # A hundred times, and until both were seen, however slow the disk: each child is given longer.
        for tried in itertools.count(1):
            writer.stdin.write(f"{moments.uniform(0, 0.08) * (1 + tried / 100)}\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == "killed\n"
            read = store.read()
            seen.append(len(read))
            pd.testing.assert_frame_equal(read, old if len(read) == len(old) else new)
            assert store.state("AAA").rows == len(read)
            if tried >= 100 and set(seen) == {len(old), len(new)}:
                break
        writer.stdin.close()
    assert writer.returncode == 0
    # What the killed ones left is removed by the next who writes, and nobody holds the lock.
    store.write(new, source="x", refresh=True)
    assert sorted(path.name for path in store.folder.iterdir()) == [
        ".AAA.parquet.lock",
        "AAA.parquet",
    ]


GROWER = """
import sys
import pandas as pd
from forecaster.data.store import Store

whole = pd.read_parquet(sys.argv[2])
for first in eval(sys.argv[3]):
    Store(sys.argv[1]).write(whole[first : first + 20].reset_index(drop=True), source="x")
"""


def test_two_that_write_at_once_are_both_complete(tmp_path):
    """One takes the history forwards, the other backwards, each ten sessions at a time."""
    whole, file = history(0, 600), tmp_path / "whole.parquet"
    whole.to_parquet(file)
    Store(tmp_path).write(history(290, 310), source="x")
    both = [
        subprocess.Popen([sys.executable, "-c", GROWER, str(tmp_path), str(file), steps])
        for steps in ("range(300, 590, 10)", "range(280, -1, -10)")
    ]
    assert [grower.wait() for grower in both] == [0, 0]
    pd.testing.assert_frame_equal(Store(tmp_path).read(), whole)


@posix
def test_a_home_that_is_read_only_keeps_what_it_has_and_says_so():
    with tempfile.TemporaryDirectory() as home:
        store, old = Store(Path(home)), history(0, 50)
        store.write(old, source="x")
        os.chmod(home, 0o755)
        store.folder.chmod(0o555)
        root = os.geteuid() == 0
        try:
            if root:  # who may write anywhere
                os.seteuid(65534)
            for call in (
                lambda: store.write(history(0, 60), source="x"),
                lambda: store.write(history(0, 60).assign(ticker="NEW"), source="x"),
                lambda: store.remove(["AAA"]),
            ):
                with pytest.raises(StoreError, match=r"cannot (write|remove) .*Permission denied"):
                    call()
            pd.testing.assert_frame_equal(store.read(), old)
        finally:
            if root:
                os.seteuid(0)
            store.folder.chmod(0o755)


@posix
def test_a_full_disk_keeps_the_old_prices_and_says_so(tmp_path):
    """No file may grow beyond a few kilobytes, which is what a full disk looks like."""
    old, new = history(0, 20), history(0, 700)
    Store(tmp_path).write(old, source="x")
    new.to_parquet(tmp_path / "new.parquet")
    code = (
        "import resource, signal, sys; import pandas as pd; from forecaster.data.store import Store;"
        "frame = pd.read_parquet(sys.argv[2]);"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "Store(sys.argv[1]).write(frame, source='x')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(tmp_path / "new.parquet")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    told = done.stderr.splitlines()[-1]
    assert "StoreError: cannot write" in told
    assert "what was there is unchanged" in told
    pd.testing.assert_frame_equal(Store(tmp_path).read(), old)
    assert not list((tmp_path / "prices").glob(".*.tmp"))
