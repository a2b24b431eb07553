"""Makes the tables and plots of README.md from `results/*.csv`: `python benchmarks/tables.py`

A table stands between `<!-- NAME -->` and `<!-- /NAME -->`, where NAME is a key of TABLES; no figure in the
README is typed by hand. A table whose rows are not there yet says so.
"""

import common
import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from forecaster.distributions import recalibration

TITLES = {
    "lstm": "**forecaster lstm** (mean of three trainings)",
    "gjr": "forecaster gjr: GJR-GARCH-t, the bar",
    "naive": "forecaster naive: a random walk",
    "neuralforecast-lstm-defaults": "neuralforecast LSTM, Student-t, its defaults",
    "neuralforecast-lstm": "neuralforecast LSTM, Student-t, tuned",
    "neuralforecast-lstm-features": "the same, given six features",
    "neuralforecast-deepar": "neuralforecast DeepAR, tuned",
    "darts-lstm": "darts RNNModel LSTM, Laplace",
    "statsforecast-naive": "statsforecast Naive, last 250 sessions",
    "sklearn-trees": "scikit-learn quantile trees",
    "arch-egarch": "arch EGARCH, skewed Student-t",
    "tutorial-lstm": "the tutorials' LSTM on prices, AAPL",
}

SPEED = {
    "train-neuralforecast": ("`forecast train` on W1", "tuned neuralforecast LSTM, training", 0.25),
    "train-from-neuralforecast": (
        "`forecast train --from` on W1",
        "tuned neuralforecast LSTM, training",
        0.1,
    ),
    "train-from": ("`forecast train --from` on W1", "`forecast train`", 0.45),
    "train-tutorial": ("`forecast train` on W1", "the tutorials' LSTM", 0.1),
    "training-step": ("a training step of 32 windows", "its matrix products alone", None),
    "per-target": ("training a target, dense", "one window per target", 0.1),
    "predict": ("`forecast predict`, 20 tickers", "`import tensorflow`", 0.25),
    "help": ("`forecast --help`", "`import typer`", 3.0),
    "backtest-lstm": ("`forecast backtest --models lstm`, W2", "its imports", None),
    "backtest-gjr": ("`forecast backtest --models gjr`, W2", "its imports", None),
    "backtest-gjr-cores": ("the same on all cores", "on one core", None),
}
"""What is measured, beside what, and the ratio to stay below."""


def read(file: str) -> pd.DataFrame:
    """The rows of a results file; FileNotFoundError if there are none."""
    return pd.read_csv(common.RESULTS / f"{file}.csv", keep_default_na=True)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table; the first column is text."""
    ruler = [" --- ", *[" ---: "] * (len(header) - 1)]
    lines = [" | ".join(header), "|".join(ruler).strip(), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def shown(value: float, pattern: str) -> str:
    """A number, or a dash where there is none."""
    return "–" if pd.isna(value) else format(value, pattern)


def by_set() -> pd.DataFrame:
    """Accuracy averaged over seeds, a row a set."""
    table = read("accuracy")
    numbers = table.select_dtypes("number").columns
    mean = table[table["model"] == "lstm"].groupby("set")[list(numbers)].mean()
    mean = mean.loc[[name for name in common.WORKS if name in mean.index]]
    return mean.assign(gjr=table[table["model"] == "gjr"].set_index("set")["crps"])


def accuracy() -> str:
    """Each set, the mean of its seeds."""
    rows = [
        [
            str(name),
            f"{it['gjr']:.4f}",
            f"{it['crps']:.4f}",
            f"{it['ratio']:.4f}",
            f"{it['log_score_gain']:+.3f}",
            f"{it['better']:.4g} of {it['tickers']:.0f}",
            *(f"{100 * it[f'coverage_{level}']:.1f}" for level in (80, 90, 95)),
            shown(it["seconds"], ".0f"),
        ]
        for name, it in by_set().iterrows()
    ]
    header = ["set", "gjr CRPS %", "lstm CRPS %", "ratio", "log score", "better on"]
    return markdown([*header, "in 80%", "90%", "95%", "train s"], rows)


def announced() -> str:
    """The sets with announcements of earnings, the mean of their seeds, and gjr with the same."""
    table = read("accuracy")
    table = table[table["set"].str.endswith("E") & (table["model"] != "gjr")]
    numbers = table.select_dtypes("number").columns.drop("seed")
    mean = table.groupby(["set", "model"], sort=False)[list(numbers)].mean()
    rows = [
        [
            f"{name}, {model}",
            f"{it['ratio']:.4f}",
            shown(it["ratio_informed"], ".4f"),
            f"{it['log_score_gain']:+.3f}",
            f"{it['better']:.4g} of {it['tickers']:.0f}",
            *(shown(100 * it[f"reaction_{level}"], ".1f") for level in (80, 95)),
            shown(it["other_crps"], ".4f"),
        ]
        for (name, model), it in mean.iterrows()
    ]
    header = ["set, model", "CRPS over gjr", "over gjr-events", "log score", "better on"]
    return markdown([*header, "reactions in 80%", "in 95%", "CRPS % of others"], rows)


def horizons() -> str:
    """Every set several sessions ahead, the mean of its seeds."""
    rows = [
        [
            f"{name}, {model}",
            str(step),
            f"{it['crps']:.4f}",
            f"{it['ratio_root']:.4f}",
            f"{it['ratio_gjr']:.4f}",
            f"{it['better']:.4g} of {it['tickers']:.0f}",
            *(f"{100 * it[f'coverage_{level}']:.1f}" for level in (80, 95)),
        ]
        for (name, model, step), it in by_step().iterrows()
        if model != "gjr"
    ]
    header = ["set, model", "step", "CRPS %", "over gjr's by the root", "over gjr's by iteration"]
    return markdown([*header, "better on", "in 80%", "in 95%"], rows)


def by_step() -> pd.DataFrame:
    """The means of the seeds, by set, model and step."""
    table = read("horizons")
    numbers = table.select_dtypes("number").columns.drop(["seed", "step"])
    return table.groupby(["set", "model", "step"], sort=False)[list(numbers)].mean()


def hardest(step: int) -> pd.Series:
    """The CRPS of the LSTM over that of the better gjr, by set."""
    its = by_step().xs("lstm", level="model").xs(step, level="step")
    return its[["ratio_root", "ratio_gjr"]].max(axis=1)


def events() -> str:
    """What is left of the gain where announcements are worse."""
    rows = [
        [
            f"{it['set']}, {it['announcements']}",
            f"{it['gain']:.2f}",
            f"{it['p_value']:.2g}",
            f"{100 * it['left']:.0f}",
            f"{it['others']:.2f}",
        ]
        for it in read("events").to_dict("records")
    ]
    header = ["set, announcements", "gain of CRPS, %", "p", "left, %"]
    return markdown([*header, "gain on other sessions, %"], rows)


def implied() -> str:
    """What implied volatility is worth on each ticker of a few, and on all of a set."""
    table = read("implied")
    pairs = table[["set", "ticker"]].drop_duplicates().itertuples(index=False)
    rows = []
    for name, ticker in pairs:
        its = table[(table["set"] == name) & (table["ticker"] == ticker)]
        ratios = ", ".join(f"{it:.4f}" for it in its["ratio"])
        rows.append([f"{name}, {ticker}", f"{its['ratio'].mean():.4f}", ratios])
    return markdown(["set, ticker", "CRPS with it over without", "each seed"], rows)


def tails() -> str:
    """Shares beyond the outer quantiles of each set, for each way to forecast it."""
    table = read("tails").set_index("set")
    table = table.loc[[name for name in common.WORKS if name in table.index]].reset_index()
    shares = ["below_1", "below_5", "above_5", "above_1"]
    rows = [
        [
            f"{it['set']}, {it['head']}",
            f"{it['crps']:.4f}",
            *(f"{it[name]:.2f}" for name in shares),
            it["within"],
            f"{it['luck']:.0f}",
            f"{it['var_99_p']:.3f}",
            shown(it["skew"], "+.2f"),
        ]
        for it in table.to_dict("records")
    ]
    header = ["set, head", "CRPS %", "below the 1%", "below the 5%", "above the 95%"]
    header += ["above the 99%", "within", "a right one, %", "p of the VaR 99%", "mean skew"]
    return markdown(header, rows)


def ablation() -> str:
    """Each ingredient, the mean of its seeds."""
    mean = read("ablation").groupby("without", sort=False)[["ratio", "seconds"]].mean()
    worth = mean["ratio"] - mean["ratio"].get("(nothing)", np.nan)
    rows = [
        [str(name), f"{it['ratio']:.4f}", shown(worth[name], "+.4f"), f"{it['seconds']:.0f}"]
        for name, it in mean.iterrows()
    ]
    return markdown(["without", "CRPS over gjr", "worth", "train s"], rows)


def by_model() -> pd.DataFrame:
    """The peers' rows and ours, averaged over seeds, in the order of TITLES."""
    table = read("peers")
    numbers = table.select_dtypes("number").columns.drop("seed")
    mean = table.groupby("model")[list(numbers)].mean()
    return mean.loc[[name for name in TITLES if name in mean.index]]


def peers() -> str:
    """Every model on W1."""
    rows = [
        [
            TITLES[str(name)],
            shown(it["crps"], ".4f"),
            shown(it["crps_quantiles"], ".4f"),
            shown(it["wql19"], ".4f"),
            shown(100 * it["coverage_80"], ".1f"),
            shown(100 * it["coverage_90"], ".1f"),
            f"{it['rel_mae']:.4f}",
            shown(it["train_seconds"], ".0f"),
            shown(it["predict_seconds"], ".0f"),
            f"{it['wall']:.0f}",
            f"{it['peak']:.0f}",
        ]
        for name, it in by_model().iterrows()
    ]
    header = ["model", "CRPS %", "from quantiles", "WQL19", "in 80%", "90%", "relMAE"]
    return markdown([*header, "train s", "predict s", "whole s", "peak MiB"], rows)


def speed() -> str:
    """Every pair of processes."""
    table = read("speed").set_index("measure")
    rows = []
    for name, (ours, other, bound) in SPEED.items():
        if name not in table.index:
            continue
        it = table.loc[name]
        unit, factor = ("µs", 1e6) if name == "per-target" else ("s", 1.0)
        rows.append(
            [
                f"{ours}, beside {other}",
                f"{factor * it['seconds']:.3g} {unit}",
                f"{factor * it['other_seconds']:.3g} {unit}",
                f"{it['ratio']:.3g}",
                shown(np.nan if bound is None else bound, "g"),
                shown(it["peak"], ".0f"),
                shown(it["other_peak"], ".0f"),
            ]
        )
    header = ["what, beside what", "ours", "other", "ratio", "at most", "peak MiB", "other's"]
    return markdown(header, rows)


def exponent(table: pd.DataFrame, column: str) -> float:
    """Slope of a line through the logarithms of tickers and cost."""
    return float(np.polyfit(np.log(table["tickers"]), np.log(table[column]), 1)[0])


def scaling() -> str:
    """Cost by number of tickers, and the fitted exponents."""
    table = read("scaling").sort_values("tickers")
    rows = [
        [f"{it['tickers']:.0f}", f"{it['seconds']:.1f}", f"{it['peak']:.0f}"]
        for _, it in table.iterrows()
    ]
    for label, part in {"exponent": table, "exponent of the last two": table.tail(2)}.items():
        rows.append([label, *(f"{exponent(part, column):.2f}" for column in ("seconds", "peak"))])
    return markdown(["tickers", "seconds", "peak MiB"], rows)


def tickers() -> str:
    """Each number of tickers trained on: the mean of its repeats, and their least and most."""
    groups = read("tickers").groupby(["unseen", "max_windows", "trained_on"])
    rows = [
        [
            unseen,
            f"{count}" + f", {limit} windows an epoch" * bool(limit),
            f"{its['ratio'].mean():.4f}",
            f"{its['ratio'].min():.4f} – {its['ratio'].max():.4f}",
            f"{its['log_score_gain'].mean():+.3f}",
            f"{its['better'].mean():.3g} of {its['tickers'].iloc[0]}",
            f"{its['seconds'].mean():.0f}",
        ]
        for (unseen, limit, count), its in groups
    ]
    header = ["never seen", "trained on", "CRPS over gjr", "least – most", "log score"]
    return markdown([*header, "better on", "train CPU s"], rows)


def fits() -> str:
    """The peak after some of twenty fits in one process."""
    peak = read("fits").set_index("fit")["peak"]
    kept = [fit for fit in (1, 3, 10, 20) if fit in peak.index]
    return markdown(["after fit", "peak MiB"], [[str(fit), f"{peak[fit]:.0f}"] for fit in kept])


def store() -> str:
    """What was read, seconds and memory."""
    rows = [
        [str(it["read"]), f"{it['seconds']:.2f}", f"{it['peak']:.0f}"]
        for _, it in read("store").iterrows()
    ]
    return markdown(["read", "seconds", "peak MiB"], rows)


def ledger() -> str:
    """What was done, how often or to how many rows, and the seconds it took."""
    table = read("ledger").set_index("what")
    done = table.loc[["kills", "crowd"]]
    rows = [
        [
            {"kills": "processes killed", "crowd": "processes at once"}[what],
            f"{it['number']:,.0f}",
            f"{it['rows']:,.0f} rows, {it['settlements']:,.0f} settlements: all as they were made",
        ]
        for what, it in done.iterrows()
    ]
    rows += [
        [what, f"{it['number']:,.0f}", "–" if np.isnan(it["seconds"]) else f"{it['seconds']:.2f} s"]
        for what, it in table.drop(index=done.index).iterrows()
    ]
    return markdown(["", "number", "came to"], rows)


def evening() -> str:
    """Each call of two evenings: seconds of processor, and the peak of the process."""
    rows = [
        [f"{it['call']} call, {it['evening']}", f"{it['cpu']:.1f}", f"{it['peak']:.0f}"]
        for _, it in read("daily").iterrows()
    ]
    return markdown(["evening", "processor s", "peak MiB"], rows)


def listings() -> str:
    """What each list takes."""
    rows = [
        [f"`forecast {it['list']}`", f"{it['cpu']:.2f}", f"{it['peak']:.0f}"]
        for _, it in read("listings").iterrows()
    ]
    return markdown(["list", "processor s", "peak MiB"], rows)


def serve() -> str:
    """How long readers of the pages wait."""
    table = read("serve").set_index("kind")
    load, beside = table.loc["load"], table.loc["beside"]
    answers = f"{beside['answers']:,.0f} answers, {beside['failed']:.0f} failed, {beside['lost']:.0f} lost"
    rows = [
        ["until it listens", f"{table['seconds']['start']:.1f} s"],
        ["the first page", f"{table['ms']['first']:.0f} ms"],
        ["50 requests a second: half within", f"{load['half_ms']:.0f} ms"],
        ["the same: 95% within", f"{load['most_95_ms']:.0f} ms"],
        ["200 readers at once, beside a writer", answers],
    ]
    return markdown(["what", "measured"], rows)


def from_base() -> str:
    """Each way to start: what it costs, and its CRPS over gjr's at each step."""
    table = read("from_base")
    costs = table.groupby("how")[["cpu", "wall"]].mean()
    rows = []
    for how, words in STARTS.items():
        its = table[table["how"] == how].groupby("step")["ratio"]
        shares = [shown(costs.loc[how, it] / costs.loc["afresh", it], ".2f") for it in costs]
        rows.append(
            [
                words,
                shown(costs.loc[how, "cpu"], ".1f"),
                *shares,
                *(f"{mean:.4f}" for mean in its.mean()),
                f"{its.get_group(1).min():.4f} – {its.get_group(1).max():.4f}",
            ]
        )
    header = ["start", "CPU s", "over afresh", "wall, the same", "1 session", "5", "21"]
    return markdown([*header, "least – most of 1"], rows)


STARTS = {"base": "the base as it is", "afresh": "afresh", "from": "from the base"}


def install() -> str:
    """What an installation takes."""
    rows = [
        [
            INSTALLS[it["install"]],
            str(it["packages"]),
            f"{it['megabytes']:.0f}",
            f"{it['seconds']:.0f}",
        ]
        for _, it in read("install").iterrows()
    ]
    return markdown(["install", "packages", "MB", "seconds"], rows)


INSTALLS = {"plain": "`forecaster`", "train": "`forecaster[train]`"}

MARKET_STEPS = {
    "fetch": "`forecast fetch` from a file",
    "features": "all features",
    "train": "`forecast train`, three epochs of 2,000 windows",
    "predict": "`forecast predict`",
    "backtest": "`forecast backtest` of a year, three models",
}


def market() -> str:
    """Each step with each number of tickers, its exponents and its rate."""
    table = read("market").sort_values("tickers")
    rows = []
    for step, title in MARKET_STEPS.items():
        its = table[table["step"] == step]
        for _, it in its.iterrows():
            cost = [f"{it['seconds']:.0f}", f"{it['cpu']:.1f}", f"{it['peak']:.0f}"]
            rows.append([title, f"{it['tickers']:,}", f"{it['ticker_years']:,.0f}", *cost, "", ""])
        if len(its) > 1:
            slopes = (exponent(part, "cpu") for part in (its, its.tail(2)))
            rows[-1][-2:] = [" / ".join(f"{it:.2f}" for it in slopes), f"{rate(its):.2f}"]
    header = ["step", "tickers", "ticker-years", "s", "processor s", "peak MiB"]
    return markdown([*header, "exponent, all / last two", "s per 1,000 ticker-years"], rows)


def rate(its: pd.DataFrame, column: str = "cpu", per: str = "ticker_years") -> float:
    """What a thousand ticker-years more cost, between the two largest markets of a step."""
    small, large = its.iloc[-2], its.iloc[-1]
    return float(1000 * (large[column] - small[column]) / (large[per] - small[per]))


def cluster() -> str:
    """What the driver of a cluster costs by number of tickers, and what was left of those killed."""
    table = read("cluster").sort_values("tickers", kind="stable")
    rows = []
    for case, its in table.groupby("case", sort=False):
        for _, it in its.iterrows():
            left = "" if pd.isna(it["left"]) else f"{it['left']:.0f}, then {it['remaining']:.0f}"
            cost = [f"{it[name]:.0f}" for name in ("cpu", "forecasting", "peak")]
            same = "" if pd.isna(it["same"]) else it["same"]
            rows.append([case, f"{it['tickers']:,}", *cost, "", left, same])
        if len(its) > 1:
            rows[-1][-3] = " / ".join(
                f"{exponent(its, column):.2f}" for column in ("forecasting", "peak")
            )
    header = ["", "tickers", "processor s", "MiB, forecasting", "MiB, in all", "exponents"]
    return markdown([*header, "temporary files left", "bytes of one machine"], rows)


def decades() -> str:
    """What 29 years cost by the number of tickers, the exponents, and what they make of a whole market."""
    table = read("decades").sort_values("tickers")
    rows = [
        [
            f"{it['tickers']:,}",
            f"{it['forecasts'] / 1e6:.2f}",
            f"{it['parts']}",
            f"{it['cpu']:.0f}",
            f"{it['peak']:.0f}",
        ]
        for _, it in table.iterrows()
    ]
    every, last = (
        [exponent(part, it) for it in ("cpu", "peak")] for part in (table, table.tail(2))
    )
    slopes = (f"{one:.2f} / {other:.2f}" for one, other in zip(every, last, strict=True))
    rows.append(["exponent, all / last two", "", "", *slopes])
    cpu, peak = (whole_of(table, it) for it in ("cpu", "peak"))
    rows.append([f"{WHOLE:,}, by the last two", "", "", spoken(cpu), f"{peak:.0f}"])
    return markdown(["tickers", "million forecasts", "parts", "processor s", "peak MiB"], rows)


def whole_of(table: pd.DataFrame, column: str) -> float:
    """What a whole market would cost, on the line through the last two numbers of tickers."""
    last = table.sort_values("tickers").iloc[-1]
    beyond = WHOLE - last["tickers"]
    return float(last[column] + beyond * rate(table, column, "tickers") / 1000)


WHOLE, YEARS, WORKERS = 8000, 30, (1, 10, 100)
EPOCHS, SEEDS, WINDOWS, SCORED = 20, 3, 2000, 196
"""The most epochs, networks, windows of an epoch and targets of a window of a training."""

STARTUP = 6.0
"""Seconds that a worker takes to start, TensorFlow and all; once, as workers are kept."""


def makespan(costs: list[float], workers: int) -> float:
    """Seconds until the last of some workers is done, each taking the longest piece that is left."""
    busy = [STARTUP] * workers
    for cost in sorted(costs, reverse=True):
        busy[busy.index(min(busy))] += cost
    return max(busy)


def whole_market() -> str:
    """What the rates make of a whole market with yearly refits, on some workers."""
    table, pairs = read("market").sort_values("tickers"), read("speed").set_index("measure")
    steps = dict(list(table.groupby("step")))
    rates = {step: rate(its) for step, its in steps.items()}
    a_year, anew = (rate(steps[step], per="tickers") for step in ("backtest", "features"))
    years = np.arange(1, YEARS)  # of history that each yearly fit sees
    seen = WHOLE * years / 1000  # thousands of ticker-years
    target = float(pairs["seconds"]["per-target"])
    drawn = target * EPOCHS * SEEDS * WINDOWS * SCORED
    every = target * EPOCHS * SEEDS * 252 * 1000  # a thousand ticker-years
    gjr = (pairs["seconds"]["backtest-gjr"] - pairs["other_seconds"]["backtest-gjr"]) / (88 * 6)
    parts = {
        "fetch from a file": ([rates["fetch"] * WHOLE * YEARS / 1000], False),
        "predict, once": ([rates["predict"] * WHOLE * YEARS / 1000], False),
        "LSTM, 29 fits of 2,000 windows an epoch": (list(rates["features"] * 2 * seen + drawn), True),
        "LSTM, 29 fits of all windows": (list((rates["features"] * 2 + every) * seen), True),
        "gjr, 29 fits of each ticker": ([gjr * 50] * (WHOLE // 50 * len(years)), True),
        "forecasts and scores of 29 years": (
            [(a_year - anew) * WHOLE / 1000] * len(years), False,
        ),
    }  # fmt: skip
    rows = [
        [name, *(spoken(makespan(costs, n if divides else 1)) for n in WORKERS)]
        for name, (costs, divides) in parts.items()
    ]
    return markdown(["work", *(f"{n} worker{'s' * (n > 1)}" for n in WORKERS)], rows)


def spoken(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def goals() -> str:
    """What was to be reached and what was; rows of all benchmarks are needed."""
    sets, models, grown = by_set(), by_model(), read("scaling")
    pairs, peak = read("speed").set_index("measure"), read("fits")["peak"]
    errors = [100 * (sets[f"coverage_{level}"] - level / 100).abs().max() for level in (80, 90, 95)]
    kept = read("store").set_index("read")
    cost = read("market").sort_values("tickers")
    largest = cost[cost["tickers"] == 5000].set_index("step")
    drivers = read("cluster").query("case == 'driver killed'")
    started = read("from_base").query("step == 1").groupby("how")["crps"].mean()
    nf = models["crps"].get("neuralforecast-lstm", np.nan)
    skewed = read("tails").query("head == 'skewed'").set_index("set")
    passed = skewed["var_99_p"][["W2", "sample"]]
    in_box = read("base").pivot(index="set", columns="market", values="ratio")
    left_out = in_box.drop(index="fifth")
    most = [
        ("W1: CRPS, %", sets["crps"].get("W1", np.nan), 0.8826),
        ("W2: CRPS over gjr's", sets["ratio"].get("W2", np.nan), 0.9928),
        ("W2, tickers never seen: CRPS over gjr's", sets["ratio"].get("W2-unseen", np.nan), 0.994),
        ("W2E: CRPS over gjr's", sets["ratio"].get("W2E", np.nan), 0.9865),
        ("W2E: CRPS over gjr-events'", sets["ratio_informed"].get("W2E", np.nan), 0.995),
        *(
            (
                f"W2E: error of the {level}% coverage on reaction sessions, points",
                abs(100 * sets[f"reaction_{level}"].get("W2E", np.nan) - level),
                3,
            )
            for level in (80, 95)
        ),
        *(
            (
                f"{name}, {step} sessions ahead: CRPS over the better gjr's",
                hardest(step).get(name),
                it,
            )
            for name, bounds in (("W2", (0.995, 0.995, 0.998)), ("W2E", (0.992, 0.9925, 0.9965)))
            for step, it in zip((5, 10, 21), bounds, strict=True)
        ),
        *(
            (f"worst set, {step} sessions ahead: the same", hardest(step).max(), 1.0)
            for step in (5, 21)
        ),
        ("worst set: CRPS over gjr's", sets["ratio"].max(), 1.0),
        ("worst set: error of a coverage, points", max(errors), 1.5),
        ("W1: CRPS over the tuned neuralforecast LSTM's", models["crps"]["lstm"] / nf, 1.0),
        *(
            (f"{ours}: time over that of {other}", pairs["ratio"].get(name, np.nan), bound)
            for name, (ours, other, bound) in SPEED.items()
            if bound is not None
        ),
        ("W1 from a base: CRPS over that of afresh", started["from"] / started["afresh"], 1.0),
        ("`forecast predict`, 20 tickers: peak MiB", pairs["peak"].get("predict", np.nan), 250),
        ("lstm backtest, W2: s beyond imports", pairs["beyond"].get("backtest-lstm", np.nan), 3.5),
        ("gjr backtest, W2: s on one core", pairs["seconds"].get("backtest-gjr", np.nan), 40),
        ("`forecast train`: exponent of seconds", exponent(grown, "seconds"), 1.1),
        ("`forecast train`: exponent of memory", exponent(grown, "peak"), 1.1),
        (
            "`forecast train`, 88 tickers: MiB",
            grown.set_index("tickers")["peak"].get(88, np.nan),
            1536,
        ),
        ("all statistics, 88 tickers, 9 models: s", read("evaluation")["seconds"].iloc[-1], 12),
        ("the same: GiB above the forecasts", read("evaluation")["memory"].iloc[-1], 0.81),
        (
            "`forecast fetch`, 100 new tickers: time over what latency and concurrency dictate",
            read("fetching")["ratio"].iloc[-1],
            1.5,
        ),
        (
            "`forecast predict AAPL` in an empty home: s of processor",
            read("first_minute")["cpu"].iloc[-1],
            3,
        ),
        ("the same: peak MiB", read("first_minute")["peak"].iloc[-1], 300),
        ("base, worst set that it has not seen: CRPS over gjr's", left_out["peers"].max(), 1.0),
        ("base, mean over the sets: CRPS over gjr's", left_out["peers"].mean(), 0.995),
        ("base, every fifth of W2 not seen: CRPS over gjr's", in_box["index"]["fifth"], 0.989),
        (
            "base, a ticker with its index, W2: CRPS over that in its universe",
            in_box["index"]["dev_us_large_2004_2018"] / in_box["peers"]["dev_us_large_2004_2018"],
            1.001,
        ),
        (
            "strangers among the tickers, worst: CRPS over that without",
            read("mixtures")["worst"].max(),
            1.002,
        ),
        ("twenty fits: peak after the last over the third", peak.iloc[-1] / peak.iloc[2], 1.1),
        (
            "a market, worst step: exponent of processor seconds, 500 to 5,000 tickers",
            max(exponent(its.tail(2), "cpu") for _, its in cost.groupby("step")),
            1.05,
        ),
        *(
            (f"`forecast {it}`, 5,000 tickers: peak MiB", largest["peak"].get(it, np.nan), bound)
            for it, bound in (("train", 4096), ("predict", 4096), ("backtest", 2048))
        ),
        (
            "`forecast backtest`, 5,000 tickers, a year, three models: processor s, one core",
            largest["cpu"].get("backtest", np.nan),
            110,
        ),
        ("`forecast fetch`, 5,000 tickers: peak MiB", largest["peak"].get("fetch", np.nan), 1024),
        ("the same: processor s, one core", largest["cpu"].get("fetch", np.nan), 70),
        (
            "`forecast predict`, 5,000 tickers: processor s, one core",
            largest["cpu"].get("predict", np.nan),
            12,
        ),
        (
            "a market on a Ray cluster: exponent of the driver's memory up to the last forecast",
            exponent(drivers, "forecasting") if 5000 in set(drivers["tickers"]) else np.nan,
            0.1,
        ),
        ("reading 500 tickers of twenty years: s", kept["seconds"].get("all", np.nan), 2),
        ("the same: peak MiB", kept["peak"].get("all", np.nan), 1024),
    ]
    if (common.RESULTS / "decades.csv").exists():
        long = read("decades").sort_values("tickers")
        whole = whole_of(long, "peak")
        most += [
            ("29 years of 8,000 tickers, by the largest two that ran: peak MiB", whole, 4096),
            ("the same: exponent of processor seconds", exponent(long.tail(2), "cpu"), 1.05),
        ]
    equals = kind("size")
    equals = equals[~equals["case"].str.contains("no null")]
    evenings = read("daily").query("evening == 'another' and call == 'first'")["cpu"]
    served = read("serve").set_index("kind")
    most += [
        ("an evening of 500 tickers: processor s", evenings.max(), 10),
        ("the lists of a usual home, worst: processor s", read("listings")["cpu"].max(), 0.5),
        ("500 tickers served: the first page, ms", served["ms"].get("first", np.nan), 200),
        ("50 requests a second: 95% within, ms", served["most_95_ms"].get("load", np.nan), 300),
        ("2,000 daily looks, worst null: share shown better", equals["better"].max(), 0.05),
        ("the same: share of coverages ever missed", kind("coverage")["missed"].max(), 0.05),
    ]
    least = [
        ("W2: tickers better, of 88", sets["better"].get("W2", np.nan), 86),
        ("W2: gain in log score", sets["log_score_gain"].get("W2", np.nan), 0.02),
        ("W2E: tickers better, of 88", sets["better"].get("W2E", np.nan), 87),
        ("W2E: gain in log score", sets["log_score_gain"].get("W2E", np.nan), 0.032),
        ("sample: tickers better, of 2", sets["better"].get("sample", np.nan), 2),
        ("outer quantiles: sets within the bounds, of 10", (skewed["within"] == "yes").sum(), 10),
        ("W2 and sample: least p of the VaR at 99%", passed.min(), 0.05),
    ]
    rows = [
        [text, bound, shown(value, ".4g"), "–" if pd.isna(value) else "yes" if met else "**no**"]
        for text, value, bound, met in [
            *((text, value, f"≤ {limit:g}", value <= limit) for text, value, limit in most),
            *((text, value, f"≥ {limit:g}", value >= limit) for text, value, limit in least),
        ]
    ]
    return markdown(["goal", "bound", "measured", "met"], rows)


def baselines() -> str:
    """Each model on each set."""
    table = read("baselines").sort_values(["set", "ratio"])
    rows = [
        [
            str(it["set"]),
            f"`{it['model']}`",
            f"{it['ratio']:.4f}",
            "–" if np.isnan(it["log_score_gain"]) else f"{it['log_score_gain']:+.3f}",
            f"{it['better']:.0f} of {it['tickers']:.0f}",
            *(f"{100 * it[f'coverage_{level}']:.1f}" for level in (80, 90, 95)),
            f"{it['seconds']:.0f}",
        ]
        for it in table.to_dict("records")
    ]
    titles = ["set", "model", "ratio", "log score", "better on", "80%", "90%", "95%", "seconds"]
    return markdown(titles, rows)


def calibration() -> str:
    """Each span and model, as forecast and at the rate of ``--calibrate``."""
    table = read("calibration")
    rows = [
        [
            str(it["span"]),
            f"`{it['model']}`",
            f"{it['ratio']:.4f}",
            f"{it['ratio_high']:.4f}",
            *(f"{it[name]:.1f}" for name in table.columns if name.startswith("coverage")),
        ]
        for it in table[table["rate"] == recalibration.RATE].to_dict("records")
    ]
    cover = [name.replace("coverage_", "") for name in table.columns if name.startswith("coverage")]
    return markdown(["span", "model", "ratio", "ratio, volatile third", *cover], rows)


def base() -> str:
    """What the base is worth on each set that it has not seen, in each market."""
    table = read("base")
    rows = []
    for name, its in table.groupby("name", sort=False):
        by_market = its.set_index("market")
        it = by_market.loc["peers"]
        rows.append(
            [
                str(name),
                f"{it['start']} to {it['end']}",
                *(f"{by_market.loc[market, 'ratio']:.4f}" for market in ("peers", "index", "none")),
                f"{it['better']} of {it['tickers']}",
                *(f"{100 * it[f'coverage_{level}']:.1f}" for level in (80, 95)),
                str(it["seeds"]),
            ]
        )
    sets = table[table["set"] != "fifth"]
    for words, its in (
        ("mean of the sets", sets),
        ("the same without faults", sets[sets["set"] != "dev_us_dirty_2004_2018"]),
    ):
        mean = its.groupby("market")["ratio"].mean()
        means = [f"{mean[market]:.4f}" for market in ("peers", "index", "none")]
        rows.append([words, "", *means, "", "", "", ""])
    titles = [
        "set",
        "scored",
        "peers",
        "index",
        "none",
        "better on",
        "in 80%",
        "in 95%",
        "networks",
    ]
    return markdown(titles, rows)


def mixtures() -> str:
    """What strangers cost the tickers beside them."""
    names = {
        "sample": "two indices of three years, beside VIX since 1990",
        "eight": "eight shares, beside funds of bonds and gold, EURUSD, BTCUSD and a British share",
    }
    rows = [
        [names[it["set"]], f"{it['ratio']:.4f}", f"{it['worst']:.4f} ({it['ticker']})"]
        for it in read("mixtures").to_dict("records")
    ]
    return markdown(["tickers, and strangers", "CRPS with over without", "worst"], rows)


def anytime_size() -> str:
    """How often equals are told apart by somebody who looks every day."""
    rows = [
        [it["case"], f"{it['tickers']}", f"{100 * it['better']:.1f}", f"{100 * it['t_test']:.1f}"]
        for it in kind("size").to_dict("records")
    ]
    titles = [
        "neither is better",
        "tickers",
        "shown better by E, %",
        "by a t-test looked at daily, %",
    ]
    return markdown(titles, rows)


def anytime_power() -> str:
    """How long it takes to show what is better."""
    rows = [
        [
            it["case"],
            f"{it['tickers']}",
            *(shown_sessions(it[name]) for name in ("first_quarter", "half", "three_quarters")),
            f"{100 * it['within_1000']:.0f}",
        ]
        for it in kind("power").to_dict("records")
    ]
    titles = ["one is better", "tickers", "a quarter shown", "half", "three quarters"]
    return markdown([*titles, "within 1,000 sessions, %"], rows)


def shown_sessions(value: float) -> str:
    """A number of sessions, or that it was not reached."""
    return f"{value:.0f}" if np.isfinite(value) else "later than 2,000"


def anytime_coverage() -> str:
    """How often a confidence sequence ever misses, and how wide it is."""
    rows = [
        [
            it["case"],
            f"{it['tickers']}",
            f"{100 * it['missed']:.1f}",
            *(f"{100 * it[name]:.1f}" for name in ("width_250", "width_1000")),
        ]
        for it in kind("coverage").to_dict("records")
    ]
    titles = ["true share", "tickers", "ever missed, %", "points wide after 250 sessions"]
    return markdown([*titles, "after 1,000"], rows)


def kind(name: str) -> pd.DataFrame:
    """The rows of `anytime.py` of one kind."""
    table = read("anytime")
    return table[table["kind"] == name]


TABLES = {
    "anytime-size": anytime_size,
    "anytime-power": anytime_power,
    "anytime-coverage": anytime_coverage,
    "base": base,
    "mixtures": mixtures,
    "goals": goals,
    "accuracy": accuracy,
    "baselines": baselines,
    "calibration": calibration,
    "ablation": ablation,
    "tails": tails,
    "announced": announced,
    "horizons": horizons,
    "events": events,
    "implied": implied,
    "peers": peers,
    "speed": speed,
    "scaling": scaling,
    "tickers": tickers,
    "fits": fits,
    "from-base": from_base,
    "install": install,
    "store": store,
    "ledger": ledger,
    "evening": evening,
    "serve": serve,
    "listings": listings,
    "market": market,
    "whole-market": whole_market,
    "cluster": cluster,
    "decades": decades,
}
NEEDED = {
    **dict.fromkeys(["anytime-size", "anytime-power", "anytime-coverage"], "anytime"),
    "whole-market": "market",
    "announced": "accuracy",
    "evening": "daily",
    "from-base": "from_base",
}
"""The results that a table is made of, where they have another name."""


def plot_accuracy() -> None:
    """CRPS over gjr's, a dot a seed, a line a set."""
    table = read("accuracy")
    table = table[table["model"] == "lstm"]
    names = list(by_set().index)[::-1]
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.axvline(1, color="0.4", linewidth=1)
    axes.plot(table["ratio"], table["set"].map(names.index), "o", alpha=0.7)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("CRPS of the LSTM over that of GJR-GARCH-t; left of 1 is better, a dot a seed")
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(common.RESULTS / "accuracy.png", dpi=120, metadata={"Software": None})


def plot_tickers() -> None:
    """CRPS over gjr's on tickers never seen against the number trained on, a dot a repeat."""
    table = read("tickers")
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for colour, (unseen, its) in zip(("C0", "C3"), table.groupby("unseen"), strict=True):
        whole, limited = (its[its["max_windows"].gt(0) == it] for it in (False, True))
        axes.plot(whole["trained_on"], whole["ratio"], "o", color=colour, alpha=0.5)
        mean = whole.groupby("trained_on")["ratio"].mean()
        axes.plot(mean.index, mean, color=colour, label=f"{unseen} never seen, mean of repeats")
        if len(limited):
            label = f"the same, {limited['max_windows'].iloc[0]} windows an epoch"
            axes.plot(limited["trained_on"], limited["ratio"], "x", color="0.2", label=label)
    axes.set_xscale("log")
    counts = sorted(table["trained_on"].unique())
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel("tickers trained on, of W2, to 2012")
    axes.set_ylabel("CRPS over that of GJR-GARCH-t, 2013–2018")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(common.RESULTS / "tickers.png", dpi=120, metadata={"Software": None})


def plot_peers() -> None:
    """WQL19 against the seconds of the whole process, a dot a model; random walks are far above."""
    table = (
        by_model()
        .dropna(subset="wql19")
        .drop(index=["naive", "statsforecast-naive"], errors="ignore")
    )
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    for place, (name, it) in enumerate(table.sort_values("wall").iterrows()):
        own = name in ("lstm", "gjr")
        axes.plot(it["wall"], it["wql19"], "o", color="C3" if own else "C0")
        axes.annotate(
            f"our {name}" if own else str(name),
            (it["wall"], it["wql19"]),
            xytext=(
                0,
                7 if place % 2 else -15,
            ),  # above and below in turn: neighbours do not overlap
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set_xscale("log")
    axes.set_xticks([10, 20, 50, 100, 200, 500], ["10", "20", "50", "100", "200", "500"])
    axes.xaxis.set_minor_formatter("")
    axes.margins(x=0.15, y=0.15)
    axes.set_xlabel("seconds of the whole work on one core: training and ten years of forecasts")
    axes.set_ylabel("mean quantile loss on W1 (WQL19, % of log return)")
    figure.savefig(common.RESULTS / "peers.png", dpi=120, metadata={"Software": None})


def main() -> None:
    """Writes tables and plots."""
    readme = common.HERE / "README.md"
    text = readme.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        made = table() if complete(name) else "(not all measured yet)"
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{made}\n{end}{rest.split(end)[1]}"
    readme.write_text(text, encoding="utf-8")
    plots = {"accuracy": plot_accuracy, "peers": plot_peers, "tickers": plot_tickers}
    for name, plot in plots.items():
        if complete(name):
            plot()


def complete(table: str) -> bool:
    """Whether the results that a table needs are there."""
    files = [name for name in TABLES if name != "goals"] if table == "goals" else [table]
    return all((common.RESULTS / f"{NEEDED.get(file, file)}.csv").exists() for file in files)


if __name__ == "__main__":
    main()
