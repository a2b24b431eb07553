import multiprocessing
from datetime import date

import pytest

from forecaster.errors import StoreError
from forecaster.evaluation import experiment_log
from forecaster.evaluation.experiment_log import Experiment

SPAN = (date(2013, 1, 1), date(2018, 12, 31))


def trial(model="lstm", tickers=("AAPL",), start="2013-01-02", end="2014-01-02", **more):
    return Experiment("backtest", model, list(tickers), start, end, **more)


def append(home, writer):
    for i in range(50):
        experiment_log.record(
            home, trial(model=f"{writer}-{i}", tickers=[f"T{n}" for n in range(500)])
        )


def test_writers_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append, args=(tmp_path, i)) for i in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {it.model for it in experiment_log.read(tmp_path)} == {
        f"{w}-{i}" for w in range(4) for i in range(50)
    }


def test_what_counts_is_what_shares_a_ticker_and_a_day(tmp_path):
    assert experiment_log.recorded(tmp_path, ["AAPL"], *SPAN) == []
    experiment_log.record(tmp_path, trial(sharpes=[0.01, 0.02]))
    experiment_log.record(tmp_path, trial(sharpes=[0.01, 0.02]))  # the same again
    experiment_log.record(tmp_path, trial(model="gru", sharpes=[0.03]))
    experiment_log.record(tmp_path, trial(tickers=["MSFT"]))
    experiment_log.record(tmp_path, trial(start="2008-01-02", end="2009-01-02"))
    result = experiment_log.recorded(tmp_path, ["AAPL", "IBM"], *SPAN)
    assert experiment_log.others(result, []) == experiment_log.Company(2, (0.01, 0.02, 0.03), 0)
    # What is run again is not its own company, whatever came of it.
    assert experiment_log.others(result, [trial(sharpes=[0.5])]) == experiment_log.Company(
        1, (0.03,), 0
    )


def test_a_torn_line_costs_that_line_only(tmp_path):
    experiment_log.record(tmp_path, trial(model="one"))
    with (tmp_path / experiment_log.FILE).open("a") as file:
        file.write('{"kind": "backt')
    experiment_log.record(tmp_path, trial(model="two"))
    assert [it.model for it in experiment_log.read(tmp_path)] == ["one", "two"]


def test_a_home_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"trials\.jsonl"):
        experiment_log.record(tmp_path / "file", trial())
