import math
import os

import pytest

from forecaster import jobs


def process(_):
    return os.getpid()


@pytest.mark.parametrize("workers", [None, 1, 2])
def test_results_come_in_the_order_of_the_items(workers):
    items = [float(number) for number in range(100, 0, -1)]
    assert list(jobs.ordered(math.sqrt, items, workers=workers)) == [math.sqrt(x) for x in items]


def test_two_workers_are_other_processes():
    assert os.getpid() not in set(jobs.ordered(process, range(8), workers=2))


def test_a_few_items_are_done_at_once():
    assert set(jobs.ordered(process, range(jobs.LEAST - 1))) == {os.getpid()}


def test_an_error_of_a_worker_is_raised_here():
    with pytest.raises(ValueError, match="math domain"):
        list(jobs.ordered(math.sqrt, [1.0, -1.0], workers=2))
