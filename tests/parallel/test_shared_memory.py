"""What workers share comes from their own user, or not at all."""

import os
import pickle

import numpy as np
import pytest

from forecaster.errors import EngineError
from forecaster.parallel.shared_memory import Mapped

pytestmark = pytest.mark.skipif(os.name == "nt", reason="permissions and links are those of POSIX")


class Harmful:
    def __reduce__(self):
        return (os.mkdir, ("harm",))


def test_a_value_comes_back_with_its_arrays_read_only(tmp_path):
    value = {"prices": np.arange(5.0), "names": ["A", "B"]}
    mapped = Mapped.of(value, tmp_path / "shared")
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o600
    opened = mapped.open()
    np.testing.assert_array_equal(opened["prices"], value["prices"])
    assert opened["names"] == value["names"]
    assert not opened["prices"].flags.writeable


def test_a_file_that_is_there_already_is_not_written_to(tmp_path):
    path = tmp_path / "shared"
    path.write_text("of somebody")
    with pytest.raises(FileExistsError):
        Mapped.of([1], path)
    assert path.read_text() == "of somebody"


@pytest.mark.parametrize("plant", ["link", "writable by the group", "writable by all", "folder"])
def test_what_another_may_have_planted_is_never_unpickled(plant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evil, path = tmp_path / "evil", tmp_path / "shared"
    frame = pickle.dumps((pickle.dumps(Harmful()), []))
    evil.write_bytes(frame + (0).to_bytes(8, "little"))
    evil.chmod(0o600)
    if plant == "link":
        path.symlink_to(evil)
    elif plant == "folder":
        path.mkdir()
    else:
        evil.rename(path)
        path.chmod(0o620 if "group" in plant else 0o602)
    with pytest.raises(EngineError, match=r"^(expected|cannot read what) .*shared"):
        Mapped(path).open()
    assert not (tmp_path / "harm").exists()
