"""``forecast runs``."""

from typing import TYPE_CHECKING

from forecaster.cli import options, output, ticker_lists

if TYPE_CHECKING:
    from forecaster.runs.run import Run


def runs(
    *,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """List the trained runs.

    Example: forecast runs
    """
    from forecaster.errors import BundleError
    from forecaster.runs import bundle

    output.start(quiet=quiet, verbose=verbose)
    rows, losses, broken = [], [], []
    for name in bundle.names(home):
        try:
            run = bundle.load(home, name)
            rows.append(run.summary)
            losses.append(_losses(run))
        except BundleError as error:
            broken.append(error)
    if as_json:
        output.dump("runs", {"runs": rows})
    elif rows:
        output.table(
            ["run", "model", "tickers", "first", "until", "created", "loss by epoch"],
            [
                [
                    row["name"],
                    row["model"],
                    ticker_lists.count(row["tickers"]),
                    row["first"],
                    row["until"],
                    row["created"][:16].replace("T", " "),
                    output.sparkline(loss) or "–",
                ]
                for row, loss in zip(rows, losses, strict=True)
            ],
            left=3,
            picture=True,
        )
    elif not broken:
        output.note("there are no runs yet; `forecast train` makes one")
    output.end(broken)


def _losses(run: "Run") -> list[float]:
    """Return the validation losses of a run's first network by epoch; none if it is no network."""
    epochs = getattr(run.model, "training", [])
    return [float(it["validation_loss"]) for it in epochs if it["seed"] == epochs[0]["seed"]]
