"""The peers' models on W1, one function each: `python benchmarks/peers.py NAME OUT` in .venv-peers.

NAME trains on the log returns (in percent) of the training span, forecasts every session after it
one step ahead, and writes to the folder OUT `NAME.parquet` (ticker, date, its 23 quantiles
and, of a parametric forecast, its parameters) and `NAME.json` (seconds of training and of
forecasting, versions). `referee.py` runs it as a whole process and scores it. Settings are those at
which a peer does well on this work, unless the name says that they are its defaults.
"""

import json
import logging
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

UNTIL = pd.Timestamp("2012-12-31")
VALIDATION = 500
REFIT = 250
LEVELS = np.array([0.01, 0.025, *(round(0.05 * i, 2) for i in range(1, 20)), 0.975, 0.99])
QUANTILES = [f"q{level:g}" for level in LEVELS]

PARAMETERS = (("loc", 100.0), ("scale", 100.0), ("df", 1.0))
"""Of neuralforecast's Student-t, and how many of its units make one of ours."""

Forecasts = tuple[pd.DataFrame, float, float]
"""The forecasts, and the seconds of training and of forecasting."""


def returns() -> pd.DataFrame:
    """unique_id, ds (a running number), y (log return in percent), date; sorted."""
    prices = pd.read_parquet(Path(__file__).parent / ".cache" / "w1.parquet")
    prices["y"] = 100 * np.log(prices["adj_close"]).groupby(prices["ticker"]).diff()
    frame = prices.dropna(subset="y").rename(columns={"ticker": "unique_id"})
    frame["ds"] = frame.groupby("unique_id").cumcount()
    return frame[["unique_id", "ds", "y", "date"]].reset_index(drop=True)


def with_features(frame: pd.DataFrame) -> pd.DataFrame:
    """Six more columns: three speeds of volatility, downside share, the market's return and volatility."""

    def smooth(values: pd.Series, decay: float) -> pd.Series:
        by = values.groupby(frame["unique_id"])
        return by.transform(lambda x: x.ewm(alpha=1 - decay).mean())

    energy = {
        decay: np.maximum(smooth(frame["y"] ** 2, decay), 1e-4) for decay in (0.75, 0.94, 0.985)
    }
    market = frame.groupby("date")["y"].mean()
    market_energy = (market**2).ewm(alpha=0.06).mean()
    return frame.assign(
        fast=0.5 * np.log(energy[0.75]),
        medium=0.5 * np.log(energy[0.94]),
        slow=0.5 * np.log(energy[0.985]),
        downside=smooth(frame["y"].clip(upper=0) ** 2, 0.94) / energy[0.94],
        market=frame["date"].map(market),
        market_volatility=frame["date"].map(0.5 * np.log(market_energy)),
    )


def neuralforecast(model: str, frame: pd.DataFrame, settings: dict) -> Forecasts:
    """A neuralforecast model with a Student-t head, its quantiles exact and not sampled."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    from neuralforecast import NeuralForecast, models
    from neuralforecast.losses.pytorch import DistributionLoss

    loss = DistributionLoss("StudentT", level=[80], return_params=True, num_samples=2)
    network = getattr(models, model)(
        h=1,
        loss=loss,
        random_seed=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        accelerator="cpu",
        **settings,
    )
    forecaster = NeuralForecast([network], freq=1)
    known = frame["date"] <= UNTIL
    columns = [name for name in frame if name != "date"]
    begin = time.perf_counter()
    forecaster.fit(frame.loc[known, columns], val_size=VALIDATION)
    trained = time.perf_counter()
    sessions = int((~known).sum() / frame["unique_id"].nunique())
    found = forecaster.cross_validation(
        frame[columns], n_windows=None, test_size=sessions, step_size=1, use_fitted=True
    )
    done = time.perf_counter()
    found = found.merge(frame[["unique_id", "ds", "date"]])
    forecasts = student(
        found, *(found[f"{model}-{name}"].to_numpy(float) / unit for name, unit in PARAMETERS)
    )
    return forecasts, trained - begin, done - trained


def student(
    rows: pd.DataFrame, location: np.ndarray, scale: np.ndarray, df: np.ndarray
) -> pd.DataFrame:
    """Student-t forecasts of log returns as fractions, for rows of unique_id and date."""
    quantiles = location[:, None] + scale[:, None] * stats.t.ppf(LEVELS, df[:, None])
    return labelled(rows, quantiles).assign(family="student", location=location, scale=scale, df=df)


def labelled(rows: pd.DataFrame, quantiles: np.ndarray) -> pd.DataFrame:
    """Quantiles (rows, levels) of log returns as fractions, with their ticker and date."""
    frame = pd.DataFrame(quantiles, columns=QUANTILES)
    frame.insert(0, "ticker", rows["unique_id"].to_numpy().astype(str))
    frame.insert(1, "date", rows["date"].to_numpy())
    return frame


TUNED = {
    "scaler_type": "identity",
    "input_size": 64,
    "encoder_n_layers": 1,
    "encoder_hidden_size": 32,
    "decoder_layers": 1,
    "learning_rate": 2e-3,
    "num_lr_decays": 3,
    "max_steps": 1500,
    "batch_size": 20,
    "windows_batch_size": 512,
    "inference_windows_batch_size": 1024,
}


def neuralforecast_lstm_defaults() -> Forecasts:
    """LSTM, Student-t, everything else as it comes."""
    return neuralforecast("LSTM", returns(), {"input_size": 64})


def neuralforecast_lstm() -> Forecasts:
    """LSTM, Student-t, tuned: no scaler, one layer of 32, learning-rate decay."""
    return neuralforecast("LSTM", returns(), TUNED)


def neuralforecast_lstm_features() -> Forecasts:
    """The tuned LSTM, given six features of volatility and market."""
    frame = with_features(returns())
    features = [name for name in frame if name not in ("unique_id", "ds", "y", "date")]
    return neuralforecast("LSTM", frame, TUNED | {"hist_exog_list": features})


def neuralforecast_deepar() -> Forecasts:
    """DeepAR, Student-t, tuned like the LSTM; it is scored at every step of its window."""
    settings = {name: value for name, value in TUNED.items() if "coder" not in name}
    return neuralforecast(
        "DeepAR",
        returns(),
        settings | {"lstm_n_layers": 1, "lstm_hidden_size": 32, "trajectory_samples": 2},
    )


def darts_rnn() -> Forecasts:
    """RNNModel with an LSTM of 32 and a Laplace head, on windows of 96 with 64 for the forecast."""
    import torch
    from darts import TimeSeries
    from darts.models import RNNModel
    from darts.utils.likelihood_models.torch import LaplaceLikelihood

    frame = returns()
    groups = frame.groupby("unique_id")
    series = [TimeSeries.from_values(g["y"].to_numpy(np.float32)) for _, g in groups]
    known = int((frame["date"] <= UNTIL).sum()) // len(series)
    model = RNNModel(
        input_chunk_length=64,
        training_length=96,
        model="LSTM",
        hidden_dim=32,
        likelihood=LaplaceLikelihood(),
        n_epochs=8,
        batch_size=128,
        optimizer_kwargs={"lr": 3e-3},
        lr_scheduler_cls=torch.optim.lr_scheduler.ExponentialLR,
        lr_scheduler_kwargs={"gamma": 0.7},
        random_state=0,
        pl_trainer_kwargs={
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
        },
    )
    begin = time.perf_counter()
    model.fit([one[:known] for one in series], stride=4)
    trained = time.perf_counter()
    found = model.historical_forecasts(
        series,
        start=known,
        forecast_horizon=1,
        retrain=False,
        predict_likelihood_parameters=True,
        show_warnings=False,
    )
    done = time.perf_counter()
    location, scale = np.concatenate([one.values() for one in found]).T / 100
    quantiles = location[:, None] + scale[:, None] * stats.laplace.ppf(LEVELS)
    forecasts = labelled(frame[frame["date"] > UNTIL], quantiles)
    forecasts = forecasts.assign(family="laplace", location=location, scale=scale)
    return forecasts, trained - begin, done - trained


def statsforecast_naive() -> Forecasts:
    """Naive on the log price, its intervals from the last 250 sessions; nothing is trained."""
    from statsforecast import StatsForecast
    from statsforecast.models import Naive

    frame = returns()
    frame["y"] = frame.groupby("unique_id")["y"].cumsum() / 100
    sessions = int((frame["date"] > UNTIL).sum() / frame["unique_id"].nunique())
    levels = [int(100 * (1 - 2 * level) + 0.5) for level in LEVELS if level < 0.5]
    begin = time.perf_counter()
    found = StatsForecast([Naive()], freq=1).cross_validation(
        df=frame[["unique_id", "ds", "y"]],
        h=1,
        n_windows=sessions,
        step_size=1,
        input_size=251,
        level=levels,
    )
    done = time.perf_counter()
    columns = [f"Naive-lo-{level}" for level in levels]
    columns += ["Naive", *(f"Naive-hi-{level}" for level in reversed(levels))]
    # Naive's own forecast is the last log price, so that what is left is of the log return.
    quantiles = found[columns].to_numpy(float) - found[["Naive"]].to_numpy(float)
    found = found.merge(frame[["unique_id", "ds", "date"]])
    return labelled(found, quantiles), 0.0, done - begin


def sklearn_trees() -> Forecasts:
    """23 gradient-boosted quantile regressions of the return over its EWMA volatility."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    frame = with_features(returns())
    sigma = np.exp(frame["medium"])
    groups = frame.groupby("unique_id")["y"]
    inputs = pd.DataFrame(
        {
            "fast": frame["fast"] - frame["medium"],
            "slow": frame["slow"] - frame["medium"],
            "downside": frame["downside"],
            "market": frame["market"] / np.exp(frame["market_volatility"]),
            "market_volatility": frame["market_volatility"] - frame["medium"],
            **{f"lag_{lag}": groups.shift(lag) / sigma for lag in range(5)},
        }
    )
    target = groups.shift(-1) / sigma
    following = frame.groupby("unique_id")["date"].shift(-1)
    known, asked = (following <= UNTIL) & (frame["ds"] >= 60), following > UNTIL
    begin = time.perf_counter()
    trees = [
        HistGradientBoostingRegressor(
            loss="quantile",
            quantile=level,
            learning_rate=0.05,
            max_iter=120,
            max_leaf_nodes=15,
            min_samples_leaf=200,
            random_state=0,
        ).fit(inputs[known], target[known])
        for level in LEVELS
    ]
    trained = time.perf_counter()
    scaled = np.column_stack([tree.predict(inputs[asked]) for tree in trees])
    done = time.perf_counter()
    # Independently fitted quantiles cross; sorted, they lose nothing.
    quantiles = np.sort(scaled, axis=1) * sigma[asked].to_numpy()[:, None] / 100
    rows = frame[asked].assign(date=following[asked])
    return labelled(rows, quantiles), trained - begin, done - trained


def arch_egarch() -> Forecasts:
    """EGARCH(1,1,1) with a skewed Student-t per ticker, fitted again every 250 sessions."""
    from arch import arch_model
    from arch.univariate import SkewStudent

    skewed = SkewStudent()
    found, training, forecasting = [], 0.0, 0.0
    for _, group in returns().groupby("unique_id"):
        values = group["y"].to_numpy()
        model = arch_model(values, vol="EGARCH", p=1, o=1, q=1, dist="skewt", rescale=False)
        known = int((group["date"] <= UNTIL).sum())
        for first in range(known, len(values), REFIT):
            begin = time.perf_counter()
            fitted = model.fit(last_obs=first, disp="off", show_warning=False)
            trained = time.perf_counter()
            last = min(first + REFIT, len(values))
            ahead = fitted.forecast(horizon=1, start=first - 1, reindex=False)
            location = ahead.mean.to_numpy()[: last - first, 0] / 100
            scale = np.sqrt(ahead.variance.to_numpy()[: last - first, 0]) / 100
            shape = fitted.params[["eta", "lambda"]].to_numpy()
            quantiles = location[:, None] + scale[:, None] * skewed.ppf(LEVELS, shape)
            rows = labelled(group.iloc[first:last], quantiles)
            found.append(
                rows.assign(
                    family="skewt", location=location, scale=scale, df=shape[0], skew=shape[1]
                )
            )
            training += trained - begin
            forecasting += time.perf_counter() - trained
    return pd.concat(found, ignore_index=True), training, forecasting


PEERS = {
    "neuralforecast-lstm-defaults": (neuralforecast_lstm_defaults, "neuralforecast"),
    "neuralforecast-lstm": (neuralforecast_lstm, "neuralforecast"),
    "neuralforecast-lstm-features": (neuralforecast_lstm_features, "neuralforecast"),
    "neuralforecast-deepar": (neuralforecast_deepar, "neuralforecast"),
    "darts-lstm": (darts_rnn, "darts"),
    "statsforecast-naive": (statsforecast_naive, "statsforecast"),
    "sklearn-trees": (sklearn_trees, "scikit-learn"),
    "arch-egarch": (arch_egarch, "arch"),
}
"""Name: what trains and forecasts, and the package whose version is told."""


def main(name: str, out: Path) -> None:
    """Runs one peer and writes what it forecast and how long it took."""
    warnings.simplefilter("ignore")
    function, package = PEERS[name]
    forecasts, training, forecasting = function()
    forecasts.to_parquet(out / f"{name}.parquet", index=False)
    told = {
        "train_seconds": training,
        "predict_seconds": forecasting,
        "versions": f"{package} {version(package)}",
    }
    (out / f"{name}.json").write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
