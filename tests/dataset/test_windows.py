import resource

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.dataset import windows
from forecaster.errors import StoreError

lengths = st.lists(st.integers(0, 60), max_size=6)
sizes = st.integers(1, 25)
shifts = st.floats(0, 1, exclude_max=True)


def owners(lengths):
    """Which history each row belongs to, when they are laid end to end."""
    return np.repeat(np.arange(len(lengths)), lengths)


def test_by_hand():
    # Histories in rows 0-9 and 10-13; the second is too short.
    assert sorted(windows.starts([10, 4], window=5, step=3, shift=0.0)) == [2, 5]
    assert sorted(windows.starts([10, 4], window=5, step=3, shift=0.4)) == [1, 4]
    assert sorted(windows.starts([10, 4], window=5, step=3, shift=0.7)) == [0, 3]
    assert sorted(windows.starts([4, 5], window=5, step=3, shift=0.9)) == [4]


@given(lengths, sizes, sizes, shifts)
def test_a_window_lies_within_one_history(lengths, window, step, shift):
    begin = windows.starts(lengths, window=window, step=step, shift=shift)
    owner = owners(lengths)
    for b in begin:
        rows = owner[b : b + window]
        assert len(rows) == window
        assert len(set(rows)) == 1


@given(lengths, sizes, sizes, shifts)
def test_every_history_that_is_long_enough_has_windows(lengths, window, step, shift):
    begin = windows.starts(lengths, window=window, step=step, shift=shift)
    enough = [i for i, length in enumerate(lengths) if length >= window]
    assert sorted(set(owners(lengths)[begin])) == enough


@given(lengths, sizes, sizes)
def test_without_a_shift_a_window_ends_at_each_last_session(lengths, window, step):
    begin = windows.starts(lengths, window=window, step=step, shift=0.0)
    ends = np.cumsum(lengths)[np.array(lengths, dtype=int) >= window]
    assert set(ends) <= set(begin + window)


@given(lengths, sizes, sizes)
def test_over_all_shifts_every_window_has_its_turn(lengths, window, step):
    grid = (np.arange(8 * step) + 0.5) / (8 * step)
    result = [windows.starts(lengths, window=window, step=step, shift=s) for s in grid]
    ends = np.cumsum(lengths, dtype=int)
    possible = [
        np.arange(end - length, end - window + 1)
        for end, length in zip(ends, lengths, strict=True)
        if length >= window
    ]
    expected = np.concatenate([np.empty(0, int), *possible])
    np.testing.assert_array_equal(np.unique(np.concatenate(result)), expected)


@pytest.mark.parametrize("shape", [(30,), (30, 3)])
def test_views_are_the_windows_and_share_their_memory(shape):
    table = np.arange(np.prod(shape), dtype=float).reshape(shape)
    seen = windows.views(table, 8)
    assert seen.shape == (23, 8, *shape[1:])
    assert np.shares_memory(seen, table)
    for start in (0, 11, 22):
        np.testing.assert_array_equal(seen[start], table[start : start + 8])


@pytest.fixture(params=[windows.MAX_BYTES, 1], ids=["in memory", "in a file"])
def table(request, monkeypatch):
    monkeypatch.setattr(windows, "MAX_BYTES", request.param)
    return windows.Table()


def test_a_table_gives_the_windows_of_its_rows(table):
    rows = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    rows[7] = np.nan
    for part in np.split(rows, [10, 200]):
        table.append(part)
    begin = np.array([293, 0, 4, 4, 199])
    np.testing.assert_array_equal(table.windows(begin, 7), windows.views(rows, 7)[begin])


def test_a_disk_without_room_is_named(monkeypatch):
    monkeypatch.setattr(windows, "MAX_BYTES", 1)
    table = windows.Table()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"^cannot write the features to .*TMPDIR$"):
            table.append(np.zeros((2**20, 2)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
