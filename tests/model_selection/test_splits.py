import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.errors import HistoryError, UsageError
from forecaster.model_selection import splits

EPOCH = np.datetime64("2010-01-01")


def day(text):
    return np.datetime64(text, "D")


@st.composite
def requests(draw):
    days = draw(st.lists(st.integers(0, 1500), min_size=2, max_size=80, unique=True))
    sessions = EPOCH + np.sort(np.array(days))
    first, last = sorted(draw(st.tuples(st.integers(1, len(days) - 1), st.integers(1, 1500))))
    start = sessions[min(first, len(days) - 1)]
    end = max(start, sessions[min(last, len(days) - 1)])
    refit = draw(st.sampled_from(["never", "yearly", 1, 2, 7, 500]))
    return sessions, start, end, refit


def forecast_dates(fold, sessions):
    """The sessions after the cutoffs of a fold."""
    cutoffs = np.flatnonzero((sessions >= fold.first) & (sessions <= fold.last))
    return sessions[cutoffs + 1]


@given(requests())
def test_folds_cover_every_session_once_and_never_see_what_they_forecast(request):
    sessions, start, end, refit = request
    folds = list(splits.walk_forward_folds(sessions, start=start, end=end, refit=refit))
    dates = [forecast_dates(fold, sessions) for fold in folds]
    np.testing.assert_array_equal(
        np.concatenate(dates), sessions[(sessions >= start) & (sessions <= end)]
    )
    for fold, forecast in zip(folds, dates, strict=True):
        assert fold.until <= fold.first <= fold.last
        assert fold.until < forecast.min()


@given(requests())
def test_folds_are_as_many_as_the_schedule_says(request):
    sessions, start, end, refit = request
    folds = list(splits.walk_forward_folds(sessions, start=start, end=end, refit=refit))
    dates = [forecast_dates(fold, sessions) for fold in folds]
    if refit == "never":
        assert len(folds) == 1
    elif refit == "yearly":
        years = [np.unique(d.astype("datetime64[Y]")) for d in dates]
        assert all(len(year) == 1 for year in years)
        assert len(np.unique(years)) == len(folds)
    else:
        assert [len(d) for d in dates[:-1]] == [refit] * (len(folds) - 1)
        assert 1 <= len(dates[-1]) <= refit


def test_yearly_refits_at_the_first_session_of_each_year():
    sessions = np.arange("2016-06-01", "2019-03-01", 3, dtype="datetime64[D]")
    folds = list(
        splits.walk_forward_folds(
            sessions, start=day("2016-09-05"), end=day("2030-01-01"), refit="yearly"
        )
    )
    dates = [forecast_dates(fold, sessions) for fold in folds]
    for year, forecast in zip(("2017", "2018", "2019"), dates[1:], strict=True):
        assert forecast[0] == sessions[sessions >= np.datetime64(year)][0]


def test_the_example_in_the_docstring():
    result = doctest.testmod(splits)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ("2012-01-01", "2012-02-01", "2010-01-01 to 2010-01-10"),
        ("2010-01-08", "2010-01-04", "no stored session"),
        ("2009-06-01", "2010-01-05", "nothing is stored before"),
    ],
)
def test_spans_that_cannot_be_forecast(start, end, words):
    sessions = EPOCH + np.arange(10)
    with pytest.raises(HistoryError, match=words):
        list(splits.walk_forward_folds(sessions, start=day(start), end=day(end), refit="never"))


def test_schedules():
    assert splits.schedule("never") == "never"
    assert splits.schedule("yearly") == "yearly"
    assert splits.schedule("21") == 21


@pytest.mark.parametrize("text", ["", "0", "-3", "2.5", "monthly", "²", "Yearly"])
def test_other_schedules_are_refused(text):
    with pytest.raises(UsageError, match="never, yearly or a number"):
        splits.schedule(text)
