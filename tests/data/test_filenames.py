import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.data.filenames import filename, ticker_of, tickers

TICKERS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("ticker", "name"),
    [
        ("AAPL", "AAPL.parquet"),
        ("aapl", "%61%61%70%6C.parquet"),
        ("^GSPC", "^GSPC.parquet"),
        ("BRK-B", "BRK-B.parquet"),
        ("005930.KS", "005930%2EKS.parquet"),
        ("EURUSD=X", "EURUSD%3DX.parquet"),
        ("CON", "%43ON.parquet"),
        ("LPT1", "%4CPT1.parquet"),
        ("CONE", "CONE.parquet"),
        ("%43ON", "%2543ON.parquet"),
        ("É", "%C3%89.parquet"),
    ],
)
def test_the_names_of_files(ticker, name):
    assert filename(ticker) == name
    assert ticker_of(name) == ticker


def test_a_path_is_only_a_name():
    assert set(filename("../../etc/passwd")) <= set(string.ascii_letters + string.digits + "%.")
    assert filename("../../etc/passwd").count(".") == 1


@given(TICKERS)
def test_a_name_leads_back_to_its_ticker_and_is_safe(ticker):
    name = filename(ticker)
    assert ticker_of(name) == ticker
    assert re.fullmatch(r"(?:[A-Z0-9_^-]|%[0-9A-F]{2})+\.parquet", name)
    assert name.split(".")[0] not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9"}


@given(st.lists(TICKERS | st.text("aA%.b46", min_size=1, max_size=5), unique=True))
def test_no_two_tickers_share_a_file_even_where_case_does_not_count(names):
    assert len({filename(ticker).lower() for ticker in names}) == len(names)


def test_only_files_with_a_ticker_s_name_are_tickers(tmp_path):
    for name in ("^GSPC.parquet", "%61B.parquet", ".AAPL.parquet.x1", "notes.txt", "ab.parquet"):
        (tmp_path / name).touch()
    assert tickers(tmp_path) == ["^GSPC", "aB"]
    assert tickers(tmp_path / "missing") == []
