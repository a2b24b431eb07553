import pytest
from repetitions import simulated


@pytest.fixture(scope="session")
def right():
    """150 repetitions of right forecasts of 6 tickers that move together."""
    return simulated(models=150, tickers=6, sessions=400, shared=0.6, seed=11)
