import errno
import os
import stat
import sys

import pytest

from forecaster import atomic
from forecaster.errors import StoreError


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


def test_a_folder_takes_its_place_whole(tmp_path):
    path = tmp_path / "run"
    for number in ("1", "2"):
        with atomic.replacing_folder(path) as temporary:
            (temporary / "plots").mkdir()
            (temporary / "plots" / number).write_text(number)
        assert os.listdir(path / "plots") == [number]
    assert os.listdir(tmp_path) == ["run"]


def test_a_failure_in_between_keeps_the_old_folder(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "weights").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_half(atomic.replacing_folder(path), KeyboardInterrupt, "weights")
    assert (path / "weights").read_text() == "old"
    assert os.listdir(tmp_path) == ["run"]


def test_a_kill_between_the_two_renames_is_mended(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "weights").write_text("old")
    path.rename(tmp_path / ".run.old")
    atomic.recover(path)
    assert (path / "weights").read_text() == "old"

    (tmp_path / ".run.old").mkdir()  # killed after the second rename: the new one stands
    atomic.recover(path)
    assert os.listdir(tmp_path) == ["run"]
    assert (path / "weights").read_text() == "old"


def test_a_linked_folder_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for content in ("one", "two"):
        with atomic.replacing_folder(tmp_path / "link") as folder:
            (folder / "file").write_text(content)
        assert (tmp_path / "real" / "file").read_text() == content
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]
