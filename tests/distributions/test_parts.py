import copy
import gc
import pickle

import numpy as np
import pandas as pd
import pytest

from forecaster.distributions import forecasts, parts
from forecaster.distributions.parts import Parts
from forecaster.evaluation.survey import Survey
from forecaster.leftovers import TemporaryFolder
from forecaster.plots import style

DATES = pd.bdate_range("2018-01-01", periods=8)


def of(ticker, model, count=6, step=1):
    return forecasts.from_student_t(
        ticker=ticker,
        model=model,
        cutoff=DATES[:count],
        date=DATES[step : count + step],
        last_close=10.0,
        log_return=0.01,
        location=0.0,
        scale=0.01 + 0.001 * np.arange(count),
        df=5.0,
        step=step,
    )


@pytest.fixture
def frame():
    each = [("B", "lstm"), ("A", "lstm"), ("C", "lstm"), ("A", "naive"), ("C", "naive")]
    return forecasts.concat(of(*it) for it in each)


@pytest.mark.parametrize(
    ("rows", "most", "spans"),
    [
        ([3, 3, 3], 6, [[0, 1], [2]]),
        ([7, 1, 1], 6, [[0], [1, 2]]),
        ([1, 7, 1], 6, [[0], [1], [2]]),
        ([2, 2], 6, [[0, 1]]),
    ],
)
def test_a_part_has_as_many_tickers_as_fit_and_one_at_least(monkeypatch, rows, most, spans):
    monkeypatch.setattr(parts, "ROWS", most)
    assert [list(it) for it in parts.groups(rows)] == spans


def test_a_small_frame_is_its_only_part(frame):
    (only,) = Parts.of(frame)
    assert only is frame


def test_parts_have_all_forecasts_of_their_tickers(monkeypatch, frame):
    monkeypatch.setattr(parts, "ROWS", 18)
    found = list(Parts.of(frame))
    assert [set(it["ticker"]) for it in found] == [{"A", "B"}, {"C"}]
    keys = ["model", "ticker", "cutoff"]
    pd.testing.assert_frame_equal(
        pd.concat(found).sort_values(keys, ignore_index=True),
        frame.sort_values(keys, ignore_index=True),
    )


def test_what_was_written_comes_back_part_by_part(monkeypatch, tmp_path, frame):
    monkeypatch.setattr(parts, "ROWS", 18)
    written = list(Parts.of(frame))
    parts.write(written, tmp_path / "forecasts.parquet")
    read = Parts.of_file(tmp_path / "forecasts.parquet")
    assert len(read) == len(written)
    for one, other in zip(read, written, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    names = ["model", "date"]
    for one, other in zip(read.columns(names), written, strict=True):
        pd.testing.assert_frame_equal(one, other[names])
    read.save(tmp_path / "again.parquet")
    pd.testing.assert_frame_equal(Parts.of_file(tmp_path / "again.parquet").whole(), read.whole())


def test_a_file_of_another_version_is_cut_into_parts(monkeypatch, tmp_path, frame):
    monkeypatch.setattr(parts, "ROWS", 18)
    frame.to_parquet(tmp_path / "forecasts.parquet", index=False)
    read = list(Parts.of_file(tmp_path / "forecasts.parquet"))
    assert [set(it["ticker"]) for it in read] == [{"A", "B"}, {"C"}]


def test_the_parts_of_a_step_have_no_other():
    both = forecasts.concat([of("A", "lstm"), of("A", "lstm", step=2)])
    made = Parts.of(both)
    assert made.shortest == 1
    assert [set(it["step"]) for it in made.of_step(2)] == [{2}]
    assert [list(it) for it in made.of_step(2).columns(["date"])] == [["date"]]


def test_a_model_that_the_first_part_lacks_keeps_its_place(monkeypatch, frame):
    monkeypatch.setattr(parts, "ROWS", 6)
    rows = frame[(frame["ticker"] != "A") | (frame["model"] == "naive")]
    first, *_ = made = Parts.of(rows)
    assert set(first["model"]) == {"naive"}
    assert list(style.looks(made)) == ["lstm", "naive"]
    assert Survey.of(made).models == ("lstm", "naive")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_copy_outlives_the_file_of_the_parts(frame, copied):
    owner = TemporaryFolder()
    parts.write([frame], owner.path / "forecasts.parquet")
    made = Parts.of_file(owner.path / "forecasts.parquet", owner=owner)
    again = copied(made)
    del owner, made
    gc.collect()
    pd.testing.assert_frame_equal(again.whole(), frame)
