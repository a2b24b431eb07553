"""The versions of the JSON documents, which ``docs/reference/schemas/`` describes.

A document carries the name and the version of its schema: ``{"schema": "forecaster/predict/1", …}``.
A version grows when a field goes away or changes its meaning, not when one is added.
"""

PRINTED = (
    *(
        "audit",
        "backtest",
        "backtests",
        "backtests-removed",
        "daily",
        "data",
        "data-check",
        "data-export",
    ),
    *(
        "data-mends",
        "data-removed",
        "explain",
        "fetch",
        "ledger",
        "ledger-export",
        "ledger-head",
        "ledger-score",
        "ledger-verify",
        "predict",
        "report",
        "runs",
        "runs-default",
        "runs-removed",
        "runs-show",
        "serve",
        "train",
        "tune",
    ),
    *("alerts", "alerts-test"),
)
"""What the commands print."""

EXPORTED = (
    *("events", "features", "forecasts", "forecasts-nixtla", "lags", "prices", "prices-nixtla"),
    "statistics",
)
"""What is exported to a JSON file."""

SERVED = ("served-backtests", "served-ledger", "served-ticker", "served-watchlist")
"""What `forecast serve` answers with under ``/api/v1``."""

VERSIONS = dict.fromkeys((*PRINTED, *EXPORTED, *SERVED), 1)


def tag(name: str) -> str:
    """Return the name and the version of a schema, as a document carries them.

    >>> tag("predict")
    'forecaster/predict/1'
    """
    return f"forecaster/{name}/{VERSIONS[name]}"
