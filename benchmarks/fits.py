"""Does memory grow from fit to fit? Twenty fits in one process: `python benchmarks/fits.py`

Each fit is two epochs on ten of W2's tickers; a row has the peak of the process's memory after it.
"""

import resource

import common

from forecaster.config import RecurrentConfig
from forecaster.runs import training

FITS, TICKERS = 20, 10


def main() -> None:
    """Fits again and again."""
    work = common.w2()
    prices = work.prices[work.prices["ticker"].isin(work.scored[:TICKERS])]
    for fit in range(1, FITS + 1):
        training.train(prices, until=work.until, config=RecurrentConfig(epochs=2))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        common.row("fits", {"fit": fit}, peak=peak)


if __name__ == "__main__":
    main()
