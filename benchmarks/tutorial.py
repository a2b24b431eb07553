"""The LSTM of the tutorials, in this environment's Keras: `python benchmarks/tutorial.py OUT`.

Four layers of 50 units with dropout on min-max scaled prices of AAPL, 60 sessions in, the next price
out, mean squared error, 50 epochs in batches of 32 (tutorials run 25 to 100). The scaler is fitted on
the training span only. Writes what `peers.py` writes, with a median only.
"""

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import pandas as pd

NAME, TICKER, UNTIL, WINDOW = "tutorial-lstm", "AAPL", pd.Timestamp("2012-12-31"), 60


def main(out: Path) -> None:
    """Trains, forecasts, writes."""
    prices = pd.read_parquet(Path(__file__).parent / ".cache" / "w1.parquet")
    prices = prices[prices["ticker"] == TICKER]
    known = int((prices["date"] <= UNTIL).sum())
    price = prices["adj_close"].to_numpy()
    low, high = price[:known].min(), price[:known].max()
    scaled = ((price - low) / (high - low)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(scaled, WINDOW)[:-1, :, None]
    targets, split = scaled[WINDOW:], known - WINDOW

    begin = time.perf_counter()
    keras.utils.set_random_seed(0)
    layers = []
    for layer in range(4):
        layers += [keras.layers.LSTM(50, return_sequences=layer < 3), keras.layers.Dropout(0.2)]
    model = keras.Sequential([*layers, keras.layers.Dense(1)])
    model.compile(optimizer="adam", loss="mean_squared_error")
    model.fit(windows[:split], targets[:split], epochs=50, batch_size=32, verbose=0)
    trained = time.perf_counter()
    forecast = low + (high - low) * model.predict(windows[split:], verbose=0)[:, 0]
    done = time.perf_counter()

    median = np.log(np.maximum(forecast, 1e-6) / price[known - 1 : -1])
    found = pd.DataFrame({"ticker": TICKER, "date": prices["date"].to_numpy()[known:]})
    found.assign(**{"q0.5": median}).to_parquet(out / f"{NAME}.parquet", index=False)
    told = {
        "train_seconds": trained - begin,
        "predict_seconds": done - trained,
        "versions": f"keras {version('keras')}, tensorflow {version('tensorflow')}",
    }
    (out / f"{NAME}.json").write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
