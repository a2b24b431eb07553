"""The S&P 500 and the NASDAQ composite, daily from 1999 to 2018, bundled in the arch package."""

from collections.abc import Sequence
from datetime import date

import pandas as pd

from forecaster.data import capitals, prices
from forecaster.data.sources.loading import Outcome
from forecaster.errors import UnknownTickerError, did_you_mean

TICKERS = ("^GSPC", "^IXIC")


def load(
    tickers: Sequence[str] | None = None,
    start: date | None = None,
    end: date | None = None,
) -> list[Outcome]:
    """The not yet checked prices of ``^GSPC``, ``^IXIC`` or both, without any network."""
    return [
        (
            ticker,
            prices.between(_frame(ticker), start, end) if ticker in TICKERS else _unknown(ticker),
        )
        for ticker in (capitals.matched(tickers, TICKERS) if tickers else TICKERS)
    ]


def _frame(ticker: str) -> pd.DataFrame:
    from arch.data import nasdaq, sp500

    frame: pd.DataFrame = (sp500 if ticker == "^GSPC" else nasdaq).load().reset_index()
    frame.columns = [str(name).lower().replace(" ", "_") for name in frame.columns]
    return frame.assign(ticker=ticker)


def _unknown(ticker: str) -> UnknownTickerError:
    return UnknownTickerError(
        f"{ticker}: {did_you_mean(ticker, TICKERS)}the sample has only {' and '.join(TICKERS)}; "
        "take one of them, or another `source`"
    )
