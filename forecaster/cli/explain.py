"""``forecast explain``."""

from math import exp
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli import figures, options, output, supply, ticker_lists
from forecaster.display import number
from forecaster.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from forecaster.data.store import Store
    from forecaster.explain.explanation import Explanation

TABLES = ("features", "lags", "forecasts")
"""Tables that can be written to a file, the first by default."""

SHOWN_FEATURES = 12
FEW = 5
"""Tickers that a command is shown with."""
SHOWN_LAGS = (1, 2, 3, 5, 10, 21, 42, 63, 120)


def explain(
    ticker: Annotated[
        str,
        typer.Argument(
            help="Whose forecast; one that is not stored is fetched from Yahoo first.",
            show_default=False,
            autocompletion=options.complete_tickers,
        ),
    ],
    *,
    as_of: options.AsOf = None,
    step: Annotated[
        int,
        typer.Option(
            metavar="SESSIONS",
            help="How many sessions ahead, a forecast of all of them: 1, 2, 3, 5, 10 or 21.",
        ),
    ] = 1,
    run: Annotated[
        str | None,
        options.run(
            "Name of a run of lstm, gru or rnn; by default that of `forecast runs default`, else the "
            "latest, else base."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        options.optional(
            "Draw the figure to this file (.png, .svg, .pdf), or write a table to it (.csv, .json, "
            ".parquet, .xlsx).",
            metavar="FILE",
        ),
    ] = None,
    table: Annotated[
        str | None,
        options.optional(
            "Table that such a file gets: features (by default), lags, or forecasts.",
            metavar="features|lags|forecasts",
        ),
    ] = None,
    open_: Annotated[bool, options.flag("Show the figure in a window.", "--open")] = False,
    home: options.Home,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Show what the network did for a forecast: its gates, its memory, what moved it.

    Runs of the other cells that were trained on the same prices are compared with.

    Example: forecast explain ^GSPC --as-of 2018-12-31 --out explanation.png
    """
    from forecaster.data import companions
    from forecaster.data.event_store import EventStore
    from forecaster.data.store import Store
    from forecaster.explain import document, explanation
    from forecaster.models.registry import NETWORKS
    from forecaster.runs import bundle, choice

    output.start(quiet=quiet, verbose=verbose)
    _check(out, table)
    chosen = choice.choose(home, run, NETWORKS)
    trained = chosen.run
    explanation.explainable(trained, step)  # says so at once if it is not
    store = Store(home)
    stored = supply.only(store, ticker, quiet=quiet)
    needed = ticker_lists.with_universe(trained, store, [stored])
    with output.progress(quiet=quiet) as progress:
        explained = explanation.of(
            trained,
            store.read(needed),
            ticker=stored,
            events=EventStore(home).read(needed),
            companions=companions.read(home, [stored]),
            as_of=as_of,
            step=step,
            others=bundle.readable(home),
            progress=progress,
        )
    drawn = out is not None and figures.is_figure(out)
    if out is not None and drawn:
        from forecaster.plots import network

        figures.save(network.overview(explained), out)
    elif out is not None:
        output.export(*_table(explained, table or TABLES[0], store), out, quiet=quiet)
    if as_json:
        more = {"chosen_by": chosen.reason, "out": str(out) if out else None}
        output.dump("explain", document.of(explained) | more)
    else:
        _print(explained, chosen.words)
        if drawn:
            output.say(f"Figure: {out}")
    if open_:
        _show(explained)


def _check(out: Path | None, table: str | None) -> None:
    """Raise an error if nothing can be written as ``--out`` and ``--table`` say."""
    from forecaster import exports

    if table not in (None, *TABLES):
        raise UsageError(
            f"there is no table {table!r} of an explanation; there are {', '.join(TABLES)}"
        )
    if out is not None and not figures.is_figure(out):
        exports.check(out, others=figures.FORMATS)
    elif table is not None:
        raise UsageError(f"--table {table} is of a file: name one with --out, such as {table}.csv")


def _table(explained: "Explanation", name: str, store: "Store") -> "tuple[pd.DataFrame, str]":
    """Return a table of the explanation, and its name."""
    from forecaster import exports

    if name != "forecasts":
        return exports.of_explanation(explained)[name], name
    forecast = explained.forecast
    currencies = ticker_lists.currencies(store, forecast["ticker"])
    return exports.of_forecasts(forecast, currencies=currencies), name


def _show(explained: "Explanation") -> None:
    if figures.can_show():
        from forecaster.plots import network

        figures.show([("explain", network.overview(explained))])
    else:
        output.note("no display here to open a window on; --out FILE.png draws it")


def _print(explained: "Explanation", why: str) -> None:
    row, attribution = explained.forecast.iloc[0], explained.attribution
    volatility, ewma = (number(it, ".2%", digits=2) for it in (row["volatility"], explained.ewma))
    one = explained.step == 1
    sessions = "" if one else f"the {explained.step} sessions to "
    ratio = row["volatility"] / explained.unit / explained.widened
    output.say(
        f"{row['ticker']}: run {explained.run.name}{why} at the close of {row['cutoff']:%Y-%m-%d} forecast a "
        f"volatility of {volatility} for {sessions}{row['date']:%Y-%m-%d}, the EWMA volatility of {ewma} "
        f"{'' if one else 'over them '}{_scheduled(explained)}{_widened(explained)}times {ratio:.3f}. The "
        "latter is the network's part; it would be "
        f"{exp(attribution.calm_log_ratio):.3f} in a calm market, and the difference is made by these "
        "features (in logarithms, which add up):"
    )
    _print_features(explained)
    _print_lags(explained)
    for text in (_units(explained), _compared(explained), _checked(explained)):
        output.say(text)


def _scheduled(explained: "Explanation") -> str:
    """What an announcement contributes, as part of a product."""
    if explained.unit == explained.ewma:
        return ""
    when = "on that day" if explained.step == 1 else "in that time"
    return f"times {explained.unit / explained.ewma:.3f} for earnings that may be traded {when}, "


def _widened(explained: "Explanation") -> str:
    """What a forecast narrower than that of a shorter step was widened by, as part of a product."""
    if explained.widened == 1:
        return ""
    return f"times {explained.widened:.3f} to be no narrower than that of fewer sessions, "


def _print_features(explained: "Explanation") -> None:
    attribution, worth = explained.attribution, explained.importance
    effects = attribution.by_feature
    ranked = sorted(range(len(effects)), key=lambda i: -abs(effects[i]))
    shown, rest = ranked[:SHOWN_FEATURES], ranked[SHOWN_FEATURES:]
    by_name = None if worth is None else worth.set_index("feature")
    rows = []
    for i in shown:
        name = attribution.features[i]
        shuffled = "–"
        if by_name is not None:
            shuffled = f"{by_name['crps'][name]:+.2%} ± {by_name['error'][name]:.2%}"
        rows.append(
            [
                name,
                f"{attribution.inputs[-1, i]:+.2f}",
                f"{attribution.baseline[i]:+.2f}",
                f"{100 * effects[i]:+.2f}%",
                shuffled,
            ]
        )
    if rest:
        others = 100 * sum(effects[i] for i in rest)
        rows.append([f"{len(rest)} others", "", "", f"{others:+.2f}%", ""])
    rows.append(["all", "", "", f"{100 * effects.sum():+.2f}%", ""])
    output.table(["feature", "today", "calm", "moved volatility", "CRPS if shuffled"], rows)


def _print_lags(explained: "Explanation") -> None:
    memory, name = explained.memory, explained.run.model.name
    columns = {f"shock: {name}": memory.network}
    if memory.garch:
        columns |= {"gjr": memory.garch_path, "gjr expected": memory.garch_expected}
    gradients = {f"gradient: {cell}": sizes for cell, sizes in explained.gradients.items()}
    output.table(
        ["lag", *columns, *gradients],
        [
            [
                str(lag),
                *(_cell(values, lag, "+.1%") for values in columns.values()),
                *(_cell(sizes, lag, ".1e") for sizes in gradients.values()),
            ]
            for lag in SHOWN_LAGS
        ],
        left=0,
    )


def _cell(values: "np.ndarray", lag: int, form: str) -> str:
    known = lag <= len(values) and values[lag - 1] == values[lag - 1]
    return format(values[lag - 1], form) if known else "–"


def _units(explained: "Explanation") -> str:
    """How long the units remember."""
    import numpy as np

    from forecaster.explain.explanation import CARRY_GATES, SHOCK, recurrent

    model, name = recurrent(explained.run), explained.run.model.name
    legend = (
        "today and calm: in standard deviations from the training's mean. "
        f"shock: how much wider the forecast is for a fall of {SHOCK:g} volatilities so many sessions "
        "ago than for no move; gjr: the same of GARCH with later returns as they were, and as they are "
        "then to be expected (closed form). gradient: of the log forecast volatility by a session's "
        "inputs, per standard deviation."
    )
    if name not in CARRY_GATES:
        return f"{legend} A plain cell has no gate that keeps a memory, so no half-lives."
    low, middle, high = np.quantile(explained.activity.half_lives, [0, 0.5, 1])
    which = "" if len(model.networks) == 1 else f" of the first of {len(model.networks)} networks"
    return (
        f"{legend} The {len(explained.activity.half_lives)} units{which} have half-lives of {low:.1f} to "
        f"{high:.1f} sessions, half of them below {middle:.1f}: ln 0.5 / ln of the mean {CARRY_GATES[name]}."
    )


def _compared(explained: "Explanation") -> str:
    """Which runs the gradients are of, and how to get those that are missing."""
    from forecaster.models.recurrent.training import CELLS

    runs = ", ".join(f"{cell} of run {run}" for cell, run in explained.compared.items())
    missing = [cell for cell in CELLS if cell not in explained.compared]
    if not missing or explained.run.is_base:  # nobody has the prices of the base run
        return f"Gradients: {runs}."
    few = len(explained.run.tickers) <= FEW
    words = " ".join(["forecast train", *(explained.run.tickers if few else ())])
    commands = " and ".join(
        f"`{words} --model {cell} --until {explained.run.until}`" for cell in missing
    )
    return (
        f"Gradients: {runs}. No {' or '.join(missing)} was trained alike, on the same prices and with the "
        f"same settings: {commands}{'' if few else ' on the same tickers'} would be compared with."
    )


def _checked(explained: "Explanation") -> str:
    """What taking away the features and lags called important cost, and the others."""
    from forecaster.explain.attribution import MIN_SCORED

    table, scored = explained.ablation, explained.scored
    if table is None:
        return (
            f"Importance in CRPS needs {MIN_SCORED} sessions after the training span whose outcome was "
            f"known, and there are {len(scored)}."
        )
    costs = table.set_index(["caller", "called"])["crps"].round(4) + 0.0  # no -0.00%
    drops = "; ".join(
        f"{caller}: {costs[caller, 'most']:+.2%} for the most important, "
        f"{costs[caller, 'least']:+.2%} for the least"
        for caller in table["caller"].unique()
    )
    return (
        f"CRPS over {len(scored):,} sessions, {scored[0]} to {scored[-1]}. Checked by taking away what "
        f"was called important: {drops}."
    )
