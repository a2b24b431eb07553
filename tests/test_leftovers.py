"""What a killed command leaves is removed by the next; what a living one needs stays."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from forecaster import atomic, leftovers

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a process cannot be killed so there")

HOLDER = """
import sys, tempfile
from pathlib import Path
from forecaster import atomic, leftovers
home = Path(sys.argv[1])
tempfile.tempdir = sys.argv[2]
with (
    leftovers.temporary_folder() as folder,
    atomic.replacing(home / "prices" / "AAPL.parquet") as file,
    atomic.replacing_folder(home / "runs" / "lstm") as run,
):
    (folder / "shared").write_text("x")
    (run / "run.json").write_text("x")
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def places(tmp_path, monkeypatch):
    home, temporary, memory = (tmp_path / name for name in ("home", "tmp", "shm"))
    for folder in (temporary, memory):
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(leftovers, "_SHARED_MEMORY", memory)
    return home, temporary, memory


@pytest.fixture
def holder(places):
    """A process that is in the middle of writing."""
    home, temporary, memory = places
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home), str(temporary)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    for name in (f"sem.loky-{process.pid}-abc", f"joblib_memmapping_folder_{process.pid}_1_2"):
        (memory / name).mkdir()
    yield process
    process.kill()
    process.communicate()


def contents(places):
    return sorted(path.name for folder in places for path in folder.rglob("*"))


def test_the_living_keep_what_they_need_and_the_killed_do_not(places, holder):
    before = contents(places)
    assert len(before) == 9  # two folders, a file and a folder in them, a folder and a file, two
    leftovers.sweep(places[0])
    assert contents(places) == before
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    leftovers.sweep(places[0])
    assert contents(places) == ["prices", "runs"]


def test_what_others_own_stays(places, tmp_path):
    home, temporary, memory = places
    strangers = [
        temporary / "forecast-anything",
        temporary / "another-000000-1-x",
        temporary / "forecast-ffffff-999999999-of-another-machine",
        memory / "sem.loky-of-nobody",
        memory / f"sem.loky-{os.getpid()}-own",
        memory / "psm_1234",
        home / "prices" / ".AAPL.parquet.lock",
        home / "runs" / "lstm",
    ]
    for path in strangers:
        path.mkdir(parents=True)
    before = contents(places)
    leftovers.sweep(home)
    assert contents(places) == before


def test_a_link_is_removed_and_what_it_leads_to_stays(places, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    link = places[1] / f"forecast-{leftovers.owner().split('-')[0]}-{dead.pid}-x"
    link.symlink_to(precious)
    leftovers.sweep(places[0])
    assert not link.is_symlink()
    assert (precious / "file").exists()


def test_a_home_that_is_not_there_is_swept_without_a_word(places):
    leftovers.sweep(places[0] / "nowhere")
    assert contents(places) == []


def test_writing_never_changes_the_umask(tmp_path, monkeypatch):
    """Another thread could make a file in that instant, and everybody could write to it."""
    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask was changed"))
        with atomic.replacing(tmp_path / "file") as temporary:
            temporary.write_text("x")
            assert temporary.stat().st_mode & 0o777 == 0o640
        with atomic.replacing_folder(tmp_path / "folder") as temporary:
            (temporary / "x").touch()
        assert Path(tmp_path / "file").stat().st_mode & 0o777 == 0o640
        assert Path(tmp_path / "folder").stat().st_mode & 0o777 == 0o750
    finally:
        monkeypatch.undo()
        os.umask(before)


WORKER = """
import sys
from pathlib import Path
from forecaster import leftovers
folder = leftovers.TemporaryFolder(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("is_resumed", [False, True])
def test_what_a_killed_backtest_worked_on_goes_and_its_parts_stay(places, is_resumed):
    unfinished = places[0] / "backtests" / "lstm" / "unfinished"
    (unfinished / "parts").mkdir(parents=True)
    command = [sys.executable, "-c", WORKER, str(unfinished)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        leftovers.sweep(places[0])
        assert len(list(unfinished.iterdir())) == 2
        process.kill()
    if is_resumed:
        folder = leftovers.TemporaryFolder(unfinished)
        assert sorted(unfinished.iterdir()) == [folder.path, unfinished / "parts"]
    else:
        leftovers.sweep(places[0])
        assert list(unfinished.iterdir()) == [unfinished / "parts"]
