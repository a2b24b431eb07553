"""An explanation as plain values, for JSON."""

from dataclasses import asdict
from typing import Any

import numpy as np

from forecaster.explain.attribution import LAGS
from forecaster.explain.explanation import Explanation, recurrent


def of(explanation: Explanation) -> dict[str, Any]:
    """Return the explanation for JSON, without the gates of each session; null where unknown.

    Volatilities are fractions, over all sessions of the step; ``effect`` is in log volatility; ``crps``
    is a rise as a share.
    """
    row, attributed = explanation.forecast.iloc[0], explanation.attribution
    table = explanation.importance
    permuted = {} if table is None else table.set_index("feature").to_dict("index")
    memory, activity = explanation.memory, explanation.activity
    return {
        "run": explanation.run.name,
        "model": explanation.run.model.name,
        "networks": len(recurrent(explanation.run).networks),
        "ticker": row["ticker"],
        "cutoff": f"{row['cutoff']:%Y-%m-%d}",
        "date": f"{row['date']:%Y-%m-%d}",
        "step": explanation.step,
        "volatility": float(row["volatility"]),
        "ewma_volatility": explanation.ewma,
        "event_factor": explanation.unit / explanation.ewma,
        "widened": explanation.widened,
        "calm": {
            "volatility": explanation.ewma
            * float(np.exp(attributed.calm_log_ratio - attributed.unit)),
            "ewma_volatility": explanation.ewma * float(np.exp(-attributed.unit)),
        },
        "sessions_read": len(activity.dates),
        "units": {
            "half_life": _numbers(activity.half_lives),
            "mean": {
                name: _numbers(values.mean(axis=0)) for name, values in activity.gates.items()
            },
        },
        "features": [
            {
                "feature": name,
                "value": float(attributed.inputs[-1, i]),
                "calm": float(attributed.baseline[i]),
                "effect": float(attributed.by_feature[i]),
                "crps": permuted.get(name, {}).get("crps"),
                "crps_error": permuted.get(name, {}).get("error"),
            }
            for i, name in enumerate(attributed.features)
        ],
        "not_attributed": attributed.missing,
        "lags": {
            "effect": _numbers(attributed.by_lag[:LAGS]),
            "shock": {
                "network": _numbers(memory.network),
                "gjr_same_days": _numbers(memory.garch_path),
                "gjr_closed_form": _numbers(memory.garch_expected),
            },
            "gradient": {
                name: _numbers(sizes[:LAGS]) for name, sizes in explanation.gradients.items()
            },
        },
        "gjr": None if memory.garch is None else asdict(memory.garch),
        "compared": explanation.compared,
        "scored": len(explanation.scored),
        "ablation": None
        if explanation.ablation is None
        else explanation.ablation.to_dict("records"),
    }


def _numbers(values: np.ndarray) -> list[float | None]:
    """Return numbers for JSON, null for those that are NaN or infinite."""
    return [float(value) if np.isfinite(value) else None for value in values]
