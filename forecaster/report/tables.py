"""The tables of the page: scores, tests, all statistics, and where the numbers come from."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from forecaster.backtesting.provenance import Provenance
from forecaster.evaluation import metrics, significance
from forecaster.evaluation.claims import QUESTIONS
from forecaster.evaluation.promises import TAIL_TESTS
from forecaster.evaluation.significance import LEVEL
from forecaster.evaluation.verdict import Verdict
from forecaster.plots import outliers
from forecaster.report.markup import chance, definitions, escape, folded, pivoted, table, texts

_SCORES = {
    "sessions": ("Sessions", ",d"),
    "crps": ("CRPS\u00a0%", ".4f"),
    **{f"crps/{name}": (f"CRPS/{name}", ".4f") for name in metrics.BASELINES},
    "log_score": ("Log score", ".4f"),
    "qlike": ("QLIKE", ".4f"),
    "rel_mae": ("relMAE", ".4f"),
    **{f"coverage_{percent}": (f"Inside {percent}%", ".1%") for percent in metrics.COVERAGES},
    "hit_rate": ("Hit rate", ".1%"),
}

MEANINGS = {
    "CRPS": "how far the whole forecast distribution was from the log return that came, in "
    "percent; lower is better. Its ratios to naive (tomorrow is today, with the spread of past "
    "returns) and to gjr (GJR-GARCH) are below 1 where the model is better than they.",
    "Log score": "the log density that the forecast gave to what came; higher is better.",
    "QLIKE": "the loss of the variance forecast, judged by the squared return; lower is better.",
    "relMAE": "the error of the median price over that of “tomorrow is today”: near 1 is what "
    "honest forecasts reach, far below 1 is a reason to look for a mistake.",
    "Inside 80, 90, 95%": "the share of returns within the interval of that name: more means "
    "that it is too wide, less that it is too narrow.",
    "Hit rate": "how often the sign of the median was right, and its 95% interval: a coin has 50%.",
    "p": "the chance of so large a difference in CRPS between equals, times the four questions that a "
    f"verdict asks: below {LEVEL} is no luck of the asking. Tests weigh every day the same, scores "
    "every forecast.",
}

_TIMES = f"p is times {len(QUESTIONS)}, as in the verdict"

_STATISTICS = {
    "skill": (
        "Skill against each baseline, with 95% stationary-bootstrap intervals (ratios of means; "
        "differences are in nats)",
        "model against metric kind value:.4f low:.4f high:.4f",
    ),
    "confidence_set": (
        "Model confidence set: which models may be the best by CRPS",
        "model p_value:.3f included",
    ),
    "superior_ability": (
        "Superior predictive ability: the chance of so good a best model if none were better",
        "benchmark models:.0f p_lower:.3f p_consistent:.3f p_upper:.3f",
    ),
    "significance": (
        "Tests by other losses: CRPS of the lower and the upper tail, FZ0 of value at risk and "
        "expected shortfall, QLIKE, and the error of the median; a difference below 0 favours the model",
        "model against metric difference:+.6f statistic:+.2f p_value:.3f",
    ),
    "coverage": (
        "Coverage of the intervals, whole, by volatility known at the cutoff, and by year",
        "model split part nominal:.1% share:.1% low:.1% high:.1% p_value:.3f",
    ),
    "announced": (
        "Around earnings, of the tickers that have announcements: reaction sessions, the five after, and "
        "all others. The PIT has a mean of 0.5 and a variance of 0.083 where the forecast is right",
        "model part forecasts:,.0f crps:.4f log_score:.4f coverage_80:.1% coverage_95:.1% "
        "pit_mean:.3f pit_variance:.3f p_value:.3f",
    ),
    "value_at_risk": (
        "Value at risk: breaches, and the tests of Kupiec (unconditional) and Christoffersen "
        "(independence, conditional); shortfall is what was forecast, loss what came. Unconditional and "
        f"shortfall p are times {TAIL_TESTS}, as in the verdict",
        "model split part level:.0% breaches:.0f expected:.0f unconditional_p:.3f "
        "independence_p:.3f conditional_p:.3f shortfall:.2% loss:.2% shortfall_p:.3f",
    ),
    "dynamic_quantile": (
        "Are breaches of the value at risk foretold by earlier ones, or by its size? Engle and "
        "Manganelli's dynamic quantile test",
        "model level:.0% statistic:.1f p_value:.3f",
    ),
    "independence": (
        "Memory of the PIT from day to day, of its normal score (memory) and of its square (scale "
        "memory), and Knüppel's test of its moments",
        "model memory:+.3f memory_p:.3f scale_memory:+.3f scale_memory_p:.3f knueppel:.1f "
        "knueppel_p:.3f",
    ),
    "years": (
        "Differences in CRPS year by year: below 1 the model is better; each test stands alone",
        "model against year:.0f ratio:.4f statistic:+.2f p_value:.3f",
    ),
    "stability": (
        "Is the difference in CRPS foreseeable (Giacomini and White), and does it change over time "
        "(the fluctuation test of Giacomini and Rossi)? The worst window is that in which the model did "
        "worst",
        "model against conditional_p:.3f fluctuation:.2f fluctuation_p:.3f worst_from worst_to "
        "worst_difference:+.5%",
    ),
    "encompassing": (
        "Does another variance add to the model's (adds p), and the model's to the other (gives p)? "
        "The weight is the other's in the best combination by QLIKE",
        "model against weight:+.2f error:.2f adds_p:.3f gives_p:.3f",
    ),
    "decomposition": (
        "What the losses of P(rise) (Brier) and of the variance (QLIKE) are made of: score = "
        "miscalibration − discrimination + uncertainty (CORP)",
        "model forecast score:.4f miscalibration:.4f discrimination:.4f uncertainty:.4f",
    ),
    "murphy": (
        "Murphy diagram of the variance: elementary scores less the baseline's as a share of them, "
        "by the daily volatility that matters; below 0 the model is better",
        "model against volatility:.2% share:+.1% low:+.1% high:+.1%",
    ),
    "direction": (
        f"Signs of the median, tested after Pesaran and Timmermann. {_TIMES}",
        "model forecasts:,.0f hit_rate:.1% expected:.1% statistic:+.2f p_value:.3f",
    ),
    "mean": (
        "The mean against the historical mean: out-of-sample R², and the test of Clark and West. "
        + _TIMES,
        "model against r2:+.2% statistic:+.2f p_value:.3f",
    ),
    "strategy": (
        "What plain rules on P(rise) would have earned, net of costs; the deflated Sharpe ratio (dsr) "
        "counts every trial",
        "model rule cost_bp:.1f annual_return:+.1% annual_volatility:+.1% sharpe:+.2f "
        "sharpe_low:+.2f sharpe_high:+.2f psr:.3f dsr:.3f trials:.0f max_drawdown:.1% turnover:.1%",
    ),
}
"""Statistics that the page shows: captions, columns and their formats."""


def verdict(said: Verdict) -> str:
    """Return the verdict's rows, and its details folded; as words where it has no rows."""
    if not said.rows:
        return f"<p>{escape(said.text)}</p>"
    rows = (
        (it.question.capitalize(), f"{it.symbol} {it.words}", it.figure, it.chance)
        for it in said.rows
    )
    titles = ["Question", "Answer", "What was seen", "p"]
    shown = table("What the days support; p as corrected for what was asked", titles, rows)
    lines = "".join(f"<li>{escape(line)}</li>\n" for line in said.details)
    details = f"<details><summary>Details of the verdict</summary>\n<ul>\n{lines}</ul></details>"
    return shown + (details if lines else "")


def tiles(scores: pd.DataFrame, provenance: Provenance, days: int) -> str:
    """Return the figures of a backtest that answer first: CRPS, coverage, sessions and span."""
    model, spec = provenance.models[0], provenance.spec
    rows = metrics.pooled(scores)
    first = rows.loc[[model]]
    lower = [
        f"{share} against {name}"
        for name in metrics.BASELINES
        if name != model and f"crps/{name}" in rows
        for share in texts(1 - first[f"crps/{name}"], ".1%")
    ]
    held = [
        f"{percent}% held {share}"
        for percent in (80, 95)
        for share in texts(first[f"coverage_{percent}"], ".1%")
    ]
    tickers = len(provenance.scored_tickers)
    facts = {
        "CRPS is lower by": lower or ["no baseline beside it"],
        "Intervals": held,
        "Forecast": [f"{days:,} sessions", f"{tickers:,} ticker{'s' * (tickers > 1)}"],
        "From and to": [str(spec.start), str(spec.end)],
    }
    cells = (
        f"<div><dt>{title}</dt>{''.join(f'<dd>{escape(line)}</dd>' for line in lines)}</div>"
        for title, lines in facts.items()
    )
    return f'<dl class="tiles">{"".join(cells)}</dl>'


def pooled(scores: pd.DataFrame) -> str:
    """Return the scores of each model over all tickers."""
    rows = metrics.pooled(scores)
    columns = {
        title: texts(rows[name], spec) for name, (title, spec) in _SCORES.items() if name in rows
    }
    ends = zip(texts(rows["hit_low"], ".0%"), texts(rows["hit_high"], ".0%"), strict=True)
    columns["Its 95% interval"] = [f"{low}–{high}" if low != "–" else "–" for low, high in ends]
    caption = "Every ticker and session that all models forecast"
    of_each = scores[scores["ticker"] != metrics.POOLED]
    mine = of_each[of_each["model"] == of_each["model"].iloc[0]].set_index("ticker")
    if dominant := outliers.dominance(mine["crps"] * mine["sessions"]):
        caption += f". {dominant}: see its prices"
    return table(caption, ["Model", *columns], _rows(rows.index, columns))


def against(tests: pd.DataFrame, model: str) -> str:
    """Return the CRPS of a model against that of every other, with intervals and tests."""
    rows = _corrected(tests)
    ends = zip(*significance.ratio_interval(rows), strict=True)
    columns = {
        "Ratio of CRPS": texts(rows["ratio"], ".4f"),
        "95% interval": [f"{low:.4f} to {high:.4f}" if low == low else "–" for low, high in ends],
        **_test_columns(rows),
    }
    caption = f"{model} against every other model, by the daily CRPS: below 1, {model} is better. {_TIMES}"
    return table(caption, ["Against", *columns], _rows(rows["against"], columns))


def tests(comparison: pd.DataFrame, model: str) -> str:
    """Return the tests of every other model against the baselines; empty if there is none.

    Those of `model` are in :func:`against`, and that of gjr against naive is that of naive against gjr.
    """
    rows = comparison[(comparison["metric"] == "crps") & (comparison["model"] != model)]
    pairs = pd.Series(map(frozenset, zip(rows["model"], rows["against"], strict=True)), rows.index)
    rows = _corrected(rows[~pairs.duplicated()])
    if rows.empty:
        return ""
    columns = {
        "Against": rows["against"].tolist(),
        "Difference\u00a0%": texts(100 * rows["difference"], "+.5f"),
        "Ratio": texts(rows["ratio"], ".4f"),
        "Statistic": texts(rows["statistic"], "+.2f"),
        **_test_columns(rows),
    }
    caption = f"Diebold–Mariano tests of the daily CRPS, every other model against the baselines. {_TIMES}"
    return table(caption, ["Model", *columns], _rows(rows["model"], columns))


def tickers(scores: pd.DataFrame) -> str:
    """Return the CRPS of every ticker and model."""
    rows = scores[scores["ticker"] != metrics.POOLED]
    wide = rows.pivot(index="ticker", columns="model", values="crps")[rows["model"].unique()]
    shown = pivoted("CRPS\u00a0%", "Ticker", wide, ".4f")
    return folded(f"CRPS by ticker ({len(wide)})", shown)


def statistics(tables: dict[str, pd.DataFrame]) -> Iterator[str]:
    """Yield the tables of what else was tested, over all tickers, each folded."""
    for name, (caption, columns) in _STATISTICS.items():
        rows = tables.get(name, pd.DataFrame())  # an earlier version made fewer
        if "ticker" in rows:
            rows = rows[rows["ticker"] == metrics.POOLED]
        if name == "significance":
            rows = rows[rows["metric"] != "crps"]  # shown in full above
        if not len(rows):
            continue
        rows = _as_judged(name, rows)
        pairs = [column.partition(":")[::2] for column in columns.split()]
        cells = [
            texts(rows[column].astype(float), spec) if spec else rows[column].astype(str)
            for column, spec in pairs
        ]
        titles = [name.replace("_", " ").replace("p value", "p\u00a0value") for name, _ in pairs]
        yield folded(caption, table(caption, titles, zip(*cells, strict=True)))


def _corrected(rows: pd.DataFrame) -> pd.DataFrame:
    """Return tests with the p-values that the verdict reads."""
    return rows.assign(p_value=(len(QUESTIONS) * rows["p_value"]).clip(upper=1.0))


def _as_judged(name: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Return a table of statistics with p-values as the verdict reads them."""
    if name in ("mean", "direction"):
        return _corrected(rows)
    if name == "value_at_risk":
        judged = ["unconditional_p", "shortfall_p"]
        return rows.assign(**(TAIL_TESTS * rows[judged].astype(float)).clip(upper=1.0))
    return rows


def _test_columns(rows: pd.DataFrame) -> dict[str, list[str]]:
    """Return what tests found, at the level too."""
    sides = np.where(rows["difference"] < 0, "better", "worse")
    sides = np.where(rows["p_value"] < LEVEL, sides, "not told apart")
    return {
        "p": [chance(p) for p in rows["p_value"]],
        "Sessions": texts(rows["sessions"], ",d"),
        f"At\u00a0{LEVEL:.0%}": list(sides),
    }


def _rows(names: Iterable[Any], columns: Mapping[str, Sequence[str]]) -> Iterator[Sequence[str]]:
    """Yield the rows of a table whose columns are given."""
    return zip(map(str, names), *columns.values(), strict=True)


def origin(provenance: Provenance, fallbacks: pd.DataFrame) -> str:
    """Return what the backtest was made of."""
    spec, prices, run = provenance.spec, provenance.prices, provenance.run
    trained = "{model} is the run {name}, trained from {first} to {until} and never refitted"
    facts = {
        **({"Scored file": provenance.file.name} if provenance.file else {}),
        "Tickers": f"{len(spec.tickers)}: {', '.join(spec.tickers)}",
        "Models": ", ".join(provenance.models),
        "Sessions forecast": f"{spec.start} to {spec.end}",
        "Prices": f"{prices.first} to {prices.last}",
        "Trials": f"{provenance.tried} were recorded before on these tickers and days; a backtest "
        "chosen among many is better than the next one will be",
        "Run": trained.format(**run) if run else "none: every model was fitted fold by fold",
        "Folds": f"{len(provenance.folds)} (refit: {spec.refit}), fitted on what was known by "
        + ", ".join(str(fold.until) for fold in provenance.folds),
        "Fits that did not converge": "; ".join(
            f"{model} of {ticker} to {until}" for model, until, ticker in fallbacks.to_numpy()
        )
        + ": fixed parameters stand in for them"
        if len(fallbacks)
        else "none",
        "Seeds": _seeds(provenance),
        "Versions": ", ".join(f"{name} {it}" for name, it in provenance.versions.items()),
        "SHA-256 of the prices": prices.sha256,
    }
    return definitions(facts)


def _seeds(provenance: Provenance) -> str:
    """Say what was drawn at random, and from which seeds."""
    settings = provenance.run_settings or asdict(provenance.spec.config)
    first, count = settings.get("seed", 0), settings.get("seeds", 1)
    named = f"{first}" if count == 1 else f"{first} to {first + count - 1}"
    return f"{named} for the weights of networks; 0 for the bootstraps of the statistics"
