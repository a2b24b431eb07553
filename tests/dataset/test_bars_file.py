import gc
import os
import pickle
from dataclasses import fields

import numpy as np
import pytest

from forecaster.data import simulation
from forecaster.dataset import bars_file
from forecaster.dataset.bars import Bars


@pytest.fixture(scope="module")
def frames():
    return list(simulation.market(3))


@pytest.fixture
def stored(tmp_path, frames):
    return bars_file.stored(frames, tmp_path / "bars")


def assert_same(bars, wanted):
    for field in fields(Bars):
        one, other = (getattr(it, field.name) for it in (bars, wanted))
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_stored_bars_are_those_of_the_prices(stored, frames):
    assert list(stored) == [frame["ticker"].iloc[0] for frame in frames]
    for bars, frame in zip(stored.values(), frames, strict=True):
        assert_same(bars, Bars.of(frame))
        np.testing.assert_array_equal(bars.variance, Bars.of(frame).variance)


def test_some_sessions_of_stored_bars_are_in_memory(stored, frames):
    bars, wanted = stored["SIM00001"], Bars.of(frames[0])
    assert_same(bars.first(30), wanted.first(30))
    assert_same(bars.since(30), wanted.since(30))
    with pytest.raises(AttributeError):
        _ = bars.nothing


def test_another_process_reads_the_same_file(stored, frames):
    text = pickle.dumps(stored)
    assert len(text) < 5_000
    again = pickle.loads(text)
    gc.collect()
    assert_same(again["SIM00002"], Bars.of(frames[1]))


def test_a_file_that_was_cut_is_refused(tmp_path, frames):
    stored = bars_file.stored(frames, tmp_path / "bars")
    with open(tmp_path / "bars", "r+b") as file:
        file.truncate(100)
    with pytest.raises(OSError, match="ends before"):
        _ = stored["SIM00003"].close


def test_a_file_is_closed_with_the_last_of_its_bars(stored):
    handle = stored["SIM00001"]._file._handle
    assert len(stored["SIM00001"].close)
    stored.clear()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)
