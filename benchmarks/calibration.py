"""Is `--calibrate` worth it, and how fast should it learn? Every third ticker of W2, five models.

Each span is forecast from what was known before it: the LSTM is trained once, the others refitted
yearly. The rate of `forecaster.distributions.recalibration` was chosen on the first two spans,
which end before 2013;
the last is the judge. Rows: a rate (0 is as forecast), CRPS from quantiles and its ratio to that at
rate 0, QLIKE, and coverage in percent, also in the third of highest volatility, whose CRPS ratio
is `ratio_high`. `python benchmarks/calibration.py`
"""

from datetime import date

import common
import pandas as pd

from forecaster.backtesting import backtest
from forecaster.backtesting.spec import BacktestSpec
from forecaster.distributions import recalibration
from forecaster.evaluation import calibration, metrics
from forecaster.runs import training

SPANS = {
    "2010-2012": (date(2009, 12, 31), date(2012, 12, 31)),
    "2007-2010": (date(2006, 12, 31), date(2010, 12, 31)),
    "2013-2018": (date(2012, 12, 31), date(2018, 12, 31)),
}
"""The last date to learn from, and the last to forecast."""

CHOSEN_ON = ("2010-2012", "2007-2010")
RATES = (0.0005, 0.001, 0.002, 0.004, 0.008)
MODELS = ("lstm", "gjr", "garch", "ewma", "naive")
SHOWN = {f"{percent}": percent / 100 for percent in (80, 90, 95, 98)}


def main() -> None:
    """Forecasts each span, then recalibrates it at each rate."""
    work = common.w2()
    tickers = tuple(work.scored[::3])
    for span, (until, end) in SPANS.items():
        run = training.train(work.prices, until=until)
        found = backtest.run(work.prices, BacktestSpec(MODELS, tickers, end=end), trained=run)
        frame = metrics.common(found.forecasts)
        before = measured(frame, frame)
        rates = RATES if span in CHOSEN_ON else (recalibration.RATE,)
        for rate in (0, *rates):
            after = measured(recalibration.recalibrate(frame, rate=rate), frame) if rate else before
            after["ratio"] = after["crps"] / before["crps"]
            after["ratio_high"] = after["crps_high"] / before["crps_high"]
            for model, values in after.to_dict("index").items():
                common.row("calibration", {"span": span, "model": model, "rate": rate}, **values)


def measured(frame: pd.DataFrame, original: pd.DataFrame) -> pd.DataFrame:
    """Scores of each model; the parts by volatility are those of the original forecasts."""
    losses = metrics.losses(frame)
    table = losses.groupby("model", sort=False)[["crps", "qlike"]].mean()
    table["crps"] *= 100
    same_parts = frame.assign(volatility=original["volatility"])
    known = losses.assign(rank=_rank(original))
    high = known[known["rank"] > 2 / 3]
    table["crps_high"] = 100 * high.groupby("model")["crps"].mean()
    found = calibration.coverage(same_parts)
    found = found[found["ticker"] == metrics.POOLED]
    for part, suffix in (("all", ""), ("high", "_high")):
        for name, nominal in SHOWN.items():
            rows = found[(found["part"] == part) & (found["nominal"] == nominal)]
            table[f"coverage_{name}{suffix}"] = 100 * rows.set_index("model")["share"]
    return table


def _rank(frame: pd.DataFrame) -> pd.Series:
    """Rank of each row's EWMA volatility within its ticker, from 0 to 1."""
    known = frame[frame["log_return"].notna()]
    ewma = known[known["model"] == "ewma"].set_index(["ticker", "date"])["volatility"]
    rank = ewma.groupby("ticker").rank(pct=True)
    keys = pd.MultiIndex.from_frame(known[["ticker", "date"]])
    return pd.Series(rank.reindex(keys).to_numpy(), known.index)


if __name__ == "__main__":
    main()
