"""``forecast runs``."""

from forecaster.cli import options, output, ticker_lists


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
    rows, broken = [], []
    for name in bundle.names(home):
        try:
            rows.append(bundle.load(home, name).summary)
        except BundleError as error:
            broken.append(error)
    if as_json:
        output.dump("runs", {"runs": rows})
    elif rows:
        output.table(
            ["run", "model", "tickers", "first", "until", "created"],
            [
                [
                    row["name"],
                    row["model"],
                    ticker_lists.count(row["tickers"]),
                    row["first"],
                    row["until"],
                    row["created"][:16].replace("T", " "),
                ]
                for row in rows
            ],
            left=3,
        )
    elif not broken:
        output.note("there are no runs yet; `forecast train` makes one")
    output.end(broken)
