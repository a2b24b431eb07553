"""A backtest of made-up forecasts, for the tests of the report and of the report in a browser."""

import numpy as np
import pandas as pd

from forecaster.backtesting.backtest import Backtest
from forecaster.backtesting.provenance import PriceSpan, Provenance
from forecaster.backtesting.spec import BacktestSpec
from forecaster.dataset import features
from forecaster.distributions import forecasts
from forecaster.distributions.parts import Parts
from forecaster.evaluation.evaluate import evaluate
from forecaster.model_selection.splits import Fold
from forecaster.runs.run import RunSummary

HOSTILE = '<script>alert("1")</script>&$A$</script'
SCALES = {"lstm": 0.009, "gjr": 0.010, "naive": 0.016, '<b a="x">': 0.011}


def simulated(tickers=("AAPL", HOSTILE), models=SCALES, sessions=60, reactions=()):
    """A backtest of some sessions; those whose numbers are in ``reactions`` react to earnings."""
    rng = np.random.default_rng(3)
    dates = pd.bdate_range("2018-01-02", periods=sessions + 1)
    returns = {ticker: 0.01 * rng.standard_t(5, sessions) for ticker in tickers}
    result = forecasts.concat(
        forecasts.from_student_t(
            ticker=ticker,
            model=model,
            cutoff=dates[:-1],
            date=dates[1:],
            last_close=100.0,
            log_return=returns[ticker],
            location=0.0 if model == "naive" else 1e-4,
            scale=scale,
            df=5.0,
        )
        for model, scale in models.items()
        for ticker in tickers
    )
    prices = result[["ticker", "date"]].drop_duplicates().assign(close=100.0, adj_close=100.0)
    prices[["open", "high", "low", "volume"]] = np.nan
    days = pd.DataFrame(
        [(it, dates[1 + at + k], k) for it in tickers for at in reactions for k in range(6)],
        columns=["ticker", "date", "since"],
    )
    variance = features.realised_variance(prices)
    said = evaluate(result, variance, model=next(iter(models)), reactions=days)
    run = RunSummary(
        format=1, name="lstm-2017", model="lstm", tickers=["AAPL"], first="1999-01-04",
        until="2017-12-29", prices_sha256="", created="", versions={},
    )  # fmt: skip
    return Backtest(
        parts=Parts.of(result),
        tables=said.tables
        | {"fallbacks": pd.DataFrame(columns=["model", "until", "ticker"]), "reactions": days},
        verdict=said.verdict,
        provenance=Provenance(
            spec=BacktestSpec(tuple(models), tickers, dates[1].date(), dates[-1].date()),
            scored_tickers=tickers,
            folds=(Fold(*dates[[0, 0, -2]].to_numpy("datetime64[D]")),),
            prices=PriceSpan("1999-01-04", "2019-05-17", "0f" * 32),
            versions={"forecaster": "0.1.0", "numpy": "2.4.0"},
            run=run,
        ),
    )
