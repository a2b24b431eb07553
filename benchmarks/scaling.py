"""How the cost of `forecast train` grows with tickers: `python benchmarks/scaling.py`

The whole process on one core, five epochs on W2's training span: 10, 40 and 88 of its tickers, and 350
made by repeating them under other names. Each row has seconds and the peak of memory; `tables.py` fits the
exponents.
"""

import common
import pandas as pd

TICKERS = (10, 40, 88, 350)


def main() -> None:
    """Trains on each number of tickers."""
    work = common.w2()
    for count in TICKERS:
        home = common.stocked(common.CACHE / "scaling-home", repeated(work.prices, count))
        words = ("--until", work.until, "--epochs", 5, "--home", home)
        used = common.cost(common.forecast("train", *words))
        common.row("scaling", {"tickers": count}, seconds=used.wall, cpu=used.cpu, peak=used.peak)


def repeated(prices: pd.DataFrame, count: int) -> pd.DataFrame:
    """So many tickers, the first ones again and again under other names."""
    tickers = sorted(prices["ticker"].unique())
    groups = dict(list(prices.groupby("ticker")))
    named = (
        groups[tickers[i % len(tickers)]].assign(
            ticker=f"{tickers[i % len(tickers)]}-{i // len(tickers)}"
        )
        for i in range(count)
    )
    return pd.concat(named, ignore_index=True)


if __name__ == "__main__":
    main()
