"""A backtest that was written is read back as it was."""

import pandas as pd
import pytest
from simulated import simulated

from forecaster.backtesting import archive
from forecaster.evaluation import announced

MODELS = {"lstm": 0.009, "gjr": 0.010, "naive": 0.016}


@pytest.fixture(scope="module")
def backtest():
    return simulated(("NA", "MSFT"), MODELS, 80, reactions=(10, 40, 60))


@pytest.fixture(scope="module")
def folder(backtest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("backtest")
    archive.write(backtest, folder)
    return folder


def test_the_tables_around_earnings_come_back_with_their_types(backtest, folder):
    loaded = archive.load(folder)
    for name in ("announced", "reactions"):
        assert name in archive.LATER_TABLES
        pd.testing.assert_frame_equal(
            loaded.tables[name], backtest.tables[name], check_dtype=False, rtol=1e-12
        )
    assert loaded.tables["reactions"]["date"].dtype == "datetime64[us]"
    pd.testing.assert_frame_equal(archive.read_reactions(folder), loaded.tables["reactions"])


def test_a_backtest_without_announcements_or_of_an_earlier_version_has_no_reactions(tmp_path):
    archive.write(simulated(("AAPL",), MODELS, 20), tmp_path)
    assert archive.load(tmp_path).tables["announced"].empty
    for _ in range(2):
        table = archive.read_reactions(tmp_path)
        assert table.empty
        assert list(table) == announced.NONE.columns.tolist()
        (tmp_path / "tables" / "reactions.csv").unlink(missing_ok=True)


def test_days_are_text_in_a_document(backtest):
    rows = archive.records(backtest.tables["reactions"])
    first = backtest.tables["reactions"]["date"].iloc[0]
    assert rows[0] == {"ticker": "NA", "date": f"{first:%Y-%m-%d}", "since": 0}
