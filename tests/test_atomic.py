import errno
import os
import random
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from forecaster import atomic
from forecaster.errors import StoreError

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and users are those of POSIX")


def write_half(replacing, error, name=""):
    with replacing as temporary:
        (temporary / name).write_text("half")
        raise error


def test_a_file_takes_its_place_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "deep" / "er" / "file.txt"
    for text in ("one", "two"):
        with atomic.replacing(path) as temporary:
            temporary.write_text(text)
        assert path.read_text() == text
    assert os.listdir(path.parent) == ["file.txt"]


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with atomic.replacing(path) as temporary:
        temporary.write_text("half of the n")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
        assert temporary.name.startswith(".")
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_a_failure_in_between_keeps_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error):
            write_half(atomic.replacing(path), error)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are those of POSIX")
def test_a_file_has_the_permissions_of_any_other(tmp_path):
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    with atomic.replacing(tmp_path / "file") as temporary:
        temporary.write_text("x")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


def test_a_long_name_leaves_room_for_the_temporary_one(tmp_path):
    path = tmp_path / ("x" * 250)
    with atomic.replacing(path) as temporary:
        temporary.write_text("x")
    assert path.read_text() == "x"


def test_a_folder_that_cannot_be_made_is_explained(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for writing in (atomic.replacing, atomic.replacing_folder):
        with pytest.raises(StoreError, match=r"cannot write .*unchanged.*`home`") as caught:
            write_half(writing(tmp_path / "file" / "below"), KeyboardInterrupt)
        assert "\n" not in str(caught.value)


def test_a_full_disk_is_explained_and_the_old_file_stays(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(StoreError, match="No space left"):
        write_half(atomic.replacing(path), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def beside(path):
    """What lies in the folder of a folder, but for its lock."""
    return sorted(set(os.listdir(path.parent)) - {f".{path.name}.lock"})


def test_a_folder_takes_its_place_whole(tmp_path):
    path = tmp_path / "run"
    for number in ("1", "2"):
        with atomic.replacing_folder(path) as temporary:
            (temporary / "plots").mkdir()
            (temporary / "plots" / number).write_text(number)
        assert os.listdir(path / "plots") == [number]
    assert beside(path) == ["run"]


def test_a_failure_in_between_keeps_the_old_folder(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "weights").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_half(atomic.replacing_folder(path), KeyboardInterrupt, "weights")
    assert (path / "weights").read_text() == "old"
    assert beside(path) == ["run"]


def test_a_kill_between_the_two_renames_is_mended(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "weights").write_text("old")
    path.rename(tmp_path / ".run.old")
    assert atomic.folders(tmp_path) == [path]
    assert atomic.read_folder(path, lambda it: (it / "weights").read_text()) == "old"

    (tmp_path / ".run.old").mkdir()  # killed after the second rename: the new one stands
    with atomic.held(path):
        assert (path / "weights").read_text() == "old"
    assert beside(path) == ["run"]


def test_a_linked_folder_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for content in ("one", "two"):
        with atomic.replacing_folder(tmp_path / "link") as folder:
            (folder / "file").write_text(content)
        assert (tmp_path / "real" / "file").read_text() == content
    assert (tmp_path / "link").is_symlink()
    assert [path.name for path in atomic.folders(tmp_path)] == ["link", "real"]


def test_reading_leaves_nothing_and_says_what_the_reader_says(tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("run", "absent"):
        with pytest.raises(FileNotFoundError):
            atomic.read_folder(tmp_path / name, lambda it: (it / "weights").read_text())
    assert os.listdir(tmp_path) == ["run"]


def test_a_folder_replaced_while_it_is_read_is_read_again(tmp_path):
    path = tmp_path / "run"
    for number in ("one", "two"):
        with atomic.replacing_folder(path) as temporary:
            (temporary / "number").write_text(number)

    def read(folder):
        number = (folder / "number").read_text()
        if number == "two":  # the next version comes in the middle
            with atomic.replacing_folder(path) as temporary:
                (temporary / "number").write_text("three")
        return number

    assert atomic.read_folder(path, read) == "three"


@posix
def test_a_folder_that_only_others_may_write_is_read(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from forecaster import atomic\n"
        "if os.geteuid() == 0: os.setgroups([]); os.seteuid(65534)\n"
        "path = Path(sys.argv[1])\n"
        "assert atomic.folders(path.parent) == [path]\n"
        "print(atomic.read_folder(path, lambda it: (it / 'number').read_text()))"
    )
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "run"
        with atomic.replacing_folder(path) as temporary:
            (temporary / "number").write_text("7")
        os.chmod(home, 0o555)
        done = subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, check=False
        )
        os.chmod(home, 0o755)
    assert (done.stdout, done.stderr) == ("7\n", "")


def test_a_claim_is_one_s_alone_until_it_ends(tmp_path):
    path = tmp_path / "results"
    with atomic.claimed(path, "backtest"):
        words = r"another backtest is being written to .*results; wait"
        with pytest.raises(StoreError, match=words), atomic.claimed(path, "backtest"):
            pass
        with atomic.replacing_folder(path) as temporary:  # as the claimant does in the end
            (temporary / "forecasts").write_text("7")
    with atomic.claimed(path, "backtest"):
        pass
    assert beside(path) == ["results"]


def test_a_removed_folder_is_gone_as_a_whole(tmp_path):
    path = tmp_path / "run"
    with atomic.replacing_folder(path) as temporary:
        (temporary / "number").write_text("7")
    atomic.remove_folder(path)
    assert beside(path) == []
    assert atomic.folders(tmp_path) == []


# Processes at once.

SAVER = """
import sys
from pathlib import Path
from forecaster import atomic

for number in range(150):
    with atomic.replacing_folder(Path(sys.argv[1])) as temporary:
        for name in ("one", "other"):
            (temporary / name).write_text(str(number))
"""


def both(folder):
    return [(folder / name).read_text() for name in ("one", "other")]


def test_a_reader_beside_two_savers_never_fails_nor_mixes(tmp_path):
    path, reads = tmp_path / "run", 0
    with atomic.replacing_folder(path) as temporary:
        for name in ("one", "other"):
            (temporary / name).write_text("first")
    savers = [subprocess.Popen([sys.executable, "-c", SAVER, str(path)]) for _ in range(2)]
    while any(process.poll() is None for process in savers):
        one, other = atomic.read_folder(path, both)
        assert one == other
        assert atomic.folders(tmp_path) == [path]
        reads += 1
    assert [process.wait() for process in savers] == [0, 0]
    assert reads > 100
    assert atomic.read_folder(path, both) == ["149", "149"]
    assert beside(path) == ["run"]


KILLED = """
import itertools, os, signal, sys
from pathlib import Path
from forecaster import atomic

def save(number):
    with atomic.replacing_folder(Path(sys.argv[1])) as temporary:
        for name in ("one", "other"):
            (temporary / name).write_text(str(number))

save(0)  # so that no child spends its life on imports
for line in sys.stdin:  # seconds until the kill
    child = os.fork()
    if not child:
        for number in itertools.count():
            save(number)
    signal.sigtimedwait([signal.SIGCHLD], float(line))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("killed", flush=True)
"""


@posix
def test_killed_at_any_instant_a_folder_is_the_old_one_or_the_new_one(tmp_path):
    path, moments = tmp_path / "run", random.Random(0)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as killed:  # fmt: skip
        for _ in range(60):
            killed.stdin.write(f"{moments.uniform(0, 0.04)}\n")
            killed.stdin.flush()
            assert killed.stdout.readline() == "killed\n"
            assert atomic.folders(tmp_path) == [path]
            one, other = atomic.read_folder(path, both)
            assert one == other
        killed.stdin.close()
    assert killed.returncode == 0
    with atomic.replacing_folder(path) as temporary:  # nobody holds the lock
        (temporary / "one").write_text("last")
    assert os.listdir(path) == ["one"]
