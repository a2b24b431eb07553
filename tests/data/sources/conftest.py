import pytest

from forecaster.data.sources import loading
from forecaster.data.sources.tables import Format
from forecaster.errors import ForecastError


@pytest.fixture
def read(tmp_path):
    """A function from the text or the bytes of a file to the prices of each ticker in it."""

    def prices_of(content, name="AAPL.csv", tickers=None, **form):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        outcomes = dict(loading.load(str(path), tickers, form=Format(**form) if form else None))
        for outcome in outcomes.values():
            if isinstance(outcome, ForecastError):
                raise outcome
        return outcomes

    return prices_of


@pytest.fixture
def refusal(read):
    """A function from a file to the line with which it is refused."""

    def line(content, *args, **form):
        with pytest.raises(ForecastError) as caught:
            read(content, *args, **form)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return line
