"""What each ingredient of the LSTM is worth: W2, three seeds, with one ingredient removed in turn.

Each training is of one network, not of three averaged as by default.
A feature is removed by hiding its column, a training ingredient by its setting. Rows: CRPS over
gjr's and seconds of training, imports left out.
`python benchmarks/ablation.py [INGREDIENT...]`
"""

import sys
import time

import common
import numpy as np
import pandas as pd

from forecaster.config import RecurrentConfig
from forecaster.dataset import features
from forecaster.dataset.panel import Panel
from forecaster.models import registry

SEEDS = (0, 1, 2)

Ingredient = tuple[str, ...] | dict[str, float]
"""Features to hide, or settings that turn something off."""

INGREDIENTS: dict[str, Ingredient] = {
    "(nothing)": (),
    "range": features.RANGE,
    "volume": features.VOLUME,
    "market": features.MARKET,
    "range, volume, market": features.RANGE + features.VOLUME + features.MARKET,
    "weekdays": features.CALENDAR[1:],
    "echoes of a quarter and a year ago": ("quarter_ago", "half_year_ago", "year_ago"),
    "sessions since an outlier": ("since_outlier",),
    "mean absolute returns": ("mean_abs_fast", "mean_abs_slow"),
    "signed terms": ("downside_share", "trend"),
    "feature dropout": {"feature_dropout": 0.0},
}


def main(names: list[str]) -> None:
    """Trains and scores W2 without each of the named ingredients."""
    common.warm_up()
    work = common.w2()
    bar = common.bar(work)
    panel = Panel.of(work.prices)
    for name in names:
        removed = INGREDIENTS[name]
        hidden = () if isinstance(removed, dict) else removed
        settings = removed if isinstance(removed, dict) else {}
        for seed in SEEDS:
            model = registry.create("lstm", RecurrentConfig(seed=seed, seeds=1, **settings))
            begin = time.perf_counter()
            model.fit(without(panel, hidden), np.datetime64(work.until))
            seconds = time.perf_counter() - begin
            found = model.forecast(panel, np.datetime64(work.until), np.datetime64(work.end))
            found = found[found["date"] <= pd.Timestamp(work.end)]
            scores = common.scores(found, bar)
            common.row(
                "ablation",
                {"without": name, "seed": seed},
                ratio=scores["ratio"],
                seconds=seconds,
            )


def without(panel: Panel, hidden: tuple[str, ...]) -> Panel:
    """The panel as if some features were unknown; the model then leaves them out."""
    columns = [features.FEATURES.index(name) for name in hidden]

    def masked(table: np.ndarray) -> np.ndarray:
        table = table.copy()
        table[:, columns] = np.nan
        return table

    return Panel(tuple(h.with_features(masked(h.features)) for h in panel.histories))


if __name__ == "__main__":
    main(sys.argv[1:] or list(INGREDIENTS))
