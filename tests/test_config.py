import json
from dataclasses import FrozenInstanceError, asdict

import pytest

from forecaster import config
from forecaster.config import RecurrentConfig
from forecaster.errors import UsageError


def test_replaced_values_take_the_type_of_the_setting():
    changed = config.replaced(RecurrentConfig(), {"units": 8.0, "clip": 4})
    assert changed == RecurrentConfig(units=8, clip=4.0)
    assert isinstance(changed.units, int)
    assert isinstance(changed.clip, float)


def test_json_there_and_back():
    first = RecurrentConfig(units=3, learning_rate=0.01, seeds=2, head="normal", groups="")
    assert config.replaced(RecurrentConfig(), json.loads(json.dumps(asdict(first)))) == first


def test_nothing_can_be_changed_afterwards():
    with pytest.raises(FrozenInstanceError):
        RecurrentConfig().units = 5


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"layers": 2}, "unknown setting 'layers'; there are units"),
        ({"recurrent": {"units": 2}}, "unknown setting 'recurrent'"),
        ({"units": "32"}, "units must be a whole number, got '32'"),
        ({"units": True}, "units must be a whole number"),
        ({"units": 2.5}, "units must be a whole number, got 2.5"),
        ({"units": None}, "units must be a whole number"),
        ({"units": [32]}, "units must be a whole number"),
        ({"units": float("inf")}, "units must be a whole number"),
        ({"units": float("nan")}, "units must be a whole number"),
        ({"clip": "a"}, "clip must be a number"),
        ({"units": 0}, "units must .*got 0"),
        ({"seed": -1}, "seed must .*got -1"),
        ({"epochs": 10**7}, "epochs must .*got 10000000"),
        ({"learning_rate": 0.0}, "learning_rate must .*got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must .*got nan"),
        ({"learning_rate": float("inf")}, "learning_rate must .*got inf"),
        ({"learning_rate": 10**400}, "learning_rate must"),
        ({"max_windows": 31}, "max_windows must be 0, for all, or fill a batch of 32, got 31"),
        ({"max_windows": -1}, "max_windows must .*got -1"),
        ({"head": "gaussian"}, "head must be skewed, student or normal, got 'gaussian'"),
        ({"head": 1}, "head must be text in quotes, got 1"),
        ({"groups": "range,news"}, "groups must be some of range,volume.*got 'range,news'"),
        ({"groups": ["range"]}, "groups must be text in quotes"),
        ({"groups": True}, "groups must be text in quotes"),
        ({"warmup": 256}, "warmup must be shorter than window, got warmup 256 and window 256"),
    ],
)
def test_wrong_settings_are_named(values, words):
    with pytest.raises(UsageError, match=words) as caught:
        config.replaced(RecurrentConfig(), values)
    assert "\n" not in str(caught.value)


def test_no_weight_decay_and_seed_zero_are_allowed():
    assert config.replaced(RecurrentConfig(), {"weight_decay": 0, "seed": 0}).weight_decay == 0.0


@pytest.mark.parametrize("most", [0, 32, 10**6])
def test_no_limit_or_one_that_fills_a_batch(most):
    assert config.replaced(RecurrentConfig(), {"max_windows": most}).max_windows == most


def test_read(tmp_path):
    path = tmp_path / "é.toml"
    path.write_text("# a smaller net\nunits = 8\nlearning_rate = 1e-3\n", encoding="utf-8")
    assert config.read(path) == {"units": 8, "learning_rate": 0.001}


def test_what_is_written_is_read(tmp_path):
    values = {"units": 8, "learning_rate": 4.4e-05, "clip": 3.0, "head": "normal", "groups": ""}
    (tmp_path / "net.toml").write_text("# by hand\n" + config.to_toml(values))
    assert config.read(tmp_path / "net.toml") == values


@pytest.mark.parametrize(
    "content",
    [b"units: 8", b"units = ", b"\xff\xfe\x00", b"units = 1\nunits = 2", b"seed = " + 5000 * b"1"],
)
def test_what_is_not_toml(tmp_path, content):
    path = tmp_path / "net.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is not TOML") as caught:
        config.read(path)
    assert "\n" not in str(caught.value)


def test_no_file_or_a_folder(tmp_path):
    for path in (tmp_path / "absent.toml", tmp_path):
        with pytest.raises(UsageError, match="cannot read the configuration"):
            config.read(path)
