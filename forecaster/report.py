"""A backtest as one page: a file that needs nothing else, now or in ten years.

The page holds its pictures and its style, runs no script and asks nothing of the network. The
verdict comes first, in words; the numbers, what they mean and where they come from follow.
"""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
import pandas as pd

from forecaster import metrics, plots
from forecaster.backtest import Backtest
from forecaster.significance import LEVEL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150

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

_MEANINGS = {
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
    "p": "the chance of so large a difference in CRPS between equals. Each test stands alone: of "
    f"20 between equals, 1 is expected below {LEVEL}. Tests weigh every day the same, scores "
    "every forecast.",
}

_STATISTICS: dict[str, tuple[str, dict[str, str]]] = {
    "skill": (
        "Skill against each baseline, with 95% stationary-bootstrap intervals (ratios of means; "
        "differences are in nats)",
        {
            **dict.fromkeys(["model", "against", "metric", "kind"], ""),
            **dict.fromkeys(["value", "low", "high"], ".4f"),
        },
    ),
    "confidence_set": (
        "Model confidence set: which models may be the best by CRPS",
        {"model": "", "p_value": ".3f", "included": ""},
    ),
    "superior_ability": (
        "Superior predictive ability: the chance of so good a best model if none were better",
        {
            "benchmark": "",
            "models": ".0f",
            "p_lower": ".3f",
            "p_consistent": ".3f",
            "p_upper": ".3f",
        },
    ),
    "coverage": (
        "Coverage of the intervals, whole, by volatility known at the cutoff, and by year",
        {
            **dict.fromkeys(["model", "split", "part"], ""),
            **dict.fromkeys(["nominal", "share", "low", "high"], ".1%"),
            "p_value": ".3f",
        },
    ),
    "value_at_risk": (
        "Value at risk: breaches, and the tests of Kupiec (unconditional) and Christoffersen "
        "(independence, conditional); shortfall is what was forecast, loss what came",
        {
            **dict.fromkeys(["model", "split", "part"], ""),
            "level": ".0%",
            **dict.fromkeys(["breaches", "expected"], ".0f"),
            **dict.fromkeys(["unconditional_p", "independence_p", "conditional_p"], ".3f"),
            **dict.fromkeys(["shortfall", "loss"], ".2%"),
            "shortfall_p": ".3f",
        },
    ),
    "direction": (
        "Signs of the median, tested after Pesaran and Timmermann",
        {
            "model": "",
            "forecasts": ",.0f",
            "hit_rate": ".1%",
            "expected": ".1%",
            "statistic": "+.2f",
            "p_value": ".3f",
        },
    ),
    "strategy": (
        "What plain rules on P(rise) would have earned, net of costs; the deflated Sharpe ratio (dsr) "
        "counts every trial",
        {
            **dict.fromkeys(["model", "rule"], ""),
            "cost_bp": ".1f",
            **dict.fromkeys(["annual_return", "annual_volatility"], "+.1%"),
            **dict.fromkeys(["sharpe", "sharpe_low", "sharpe_high"], "+.2f"),
            **dict.fromkeys(["psr", "dsr"], ".3f"),
            "trials": ".0f",
            "max_drawdown": ".1%",
            "turnover": ".1%",
        },
    ),
}
"""Tables of :mod:`forecaster.evaluation` that the page shows: captions, columns and their formats."""

_CAPTIONS = {
    "forecast": "{ticker}, each day as {model} forecast it at the close before. The median follows "
    "the price one day late, as in every honest next-day forecast: judge the width of the bands.",
    "volatility": "{ticker}, volatility as predicted and as realised. The realised one is "
    "hindsight: no forecast could know it.",
    "calibration": "Where returns fell in their forecast distributions. A flat histogram is "
    "calibrated; high at both ends is too narrow, high in the middle too wide. Below, how many more "
    "returns than promised lay below each quantile, and how many the 80% intervals held in calm and "
    "in wild markets.",
    "skill": "CRPS of {model} less that of its baselines, added up day by day. Falling is winning; "
    "one steep fall is one episode, not skill.",
}

_PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Backtest of $model: next-day forecasts, $first to $last</title>
<style>
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5a6068; --line: #d4d8dd;
  --paper: #ffffff; --tint: #eef5fa; --mark: #0072b2; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --soft: #a4abb3;
  --line: #3a4048; --paper: #14171a; --tint: #1b2730; --mark: #56b4e9; } }
body { max-width: 76rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere;
  font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
h1 { font-size: 1.5rem; line-height: 1.25; }
h2 { margin-top: 2.2rem; font-size: 1.2rem; }
p, dl, figcaption { max-width: 52rem; }
time { white-space: nowrap; }
.verdict { padding: .8rem 1rem; font-size: 1.15rem; background: var(--tint);
  border-left: .3rem solid var(--mark); }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption, figcaption, dd { color: var(--soft); }
caption { text-align: left; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; overflow-wrap: normal; }
thead th { vertical-align: bottom; white-space: normal; }
th:first-child { position: sticky; left: 0; text-align: left; background: var(--paper); }
dt { font-weight: 600; break-after: avoid; }
dd { margin: 0 0 .6rem; }
figure { margin: 1.5rem 0; break-inside: avoid; }
img { max-width: 100%; height: auto; background: #ffffff; }
@media print { body { padding: 0; font-size: 10pt; } table { font-size: 7.5pt; }
  th, td { padding: .15rem .3rem; } .wide { overflow: visible; }
  details::details-content { content-visibility: visible; } }
</style>
</head>
<body>
<h1>Backtest of $model: next-day forecasts, <time>$first</time> to <time>$last</time></h1>
<p>The prices end on <time>$prices_to</time>, and nothing here knows of a later day.
This is history, not advice.</p>
<p class="verdict">$verdict</p>
<h2>Scores</h2>
$scores
$tests
<h2>What the numbers mean</h2>
$meanings
<h2>Ticker by ticker</h2>
$tickers
<h2>In full</h2>
<p>Over all tickers; those of each ticker lie in <code>tables/</code> beside this page.</p>
$statistics
<h2>Figures</h2>
$figures
<h2>Where the numbers come from</h2>
$origin
<p>Survivorship: tickers chosen today bias the past. What failed or was delisted since is missing,
so history looks kinder here than it was.</p>
</body>
</html>
""")


def write(backtest: Backtest, folder: Path) -> list[Path]:
    """Write ``report.html`` and ``plots/*.png`` of a backtest into a folder.

    Returns the paths written, the report first. Raises what :func:`forecaster.plots.of_backtest`
    raises.
    """
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    model = backtest.config["models"][0]
    paths, figures = [folder / "report.html"], []
    for name, figure in plots.of_backtest(backtest.forecasts, model):
        path = folder / "plots" / f"{name}.png"
        figure.savefig(path, dpi=DPI)
        paths.append(path)
        kind, _, stem = name.partition("-")
        caption = _CAPTIONS[kind].format(ticker=unquote(stem), model=model)
        figures.append(_image(figure, path.read_bytes(), caption))
    paths[0].write_text(_page(backtest, figures), encoding="utf-8")
    return paths


def _page(backtest: Backtest, figures: list[str]) -> str:
    dates, config = backtest.forecasts["date"], backtest.config
    return _PAGE.substitute(
        model=escape(config["models"][0]),
        first=f"{dates.min():%Y-%m-%d}",
        last=f"{dates.max():%Y-%m-%d}",
        prices_to=escape(config["prices_to"]),
        verdict=escape(backtest.verdict),
        scores=_pooled(metrics.pooled(backtest.scores)),
        tests=_tests(backtest.comparison),
        meanings=_definitions(_MEANINGS),
        statistics="\n".join(_statistics(backtest.tables)),
        tickers=_tickers(backtest.scores),
        figures="\n".join(figures),
        origin=_origin(config, backtest.tables["fallbacks"]),
    )


def _pooled(table: pd.DataFrame) -> str:
    columns = {
        title: _texts(table[name], spec) for name, (title, spec) in _SCORES.items() if name in table
    }
    ends = zip(_texts(table["hit_low"], ".1%"), _texts(table["hit_high"], ".1%"), strict=True)
    columns["Its 95% interval"] = [f"{low} to {high}" if low != "–" else "–" for low, high in ends]
    caption = "Every ticker and session that all models forecast"
    return _table(caption, ["Model", *columns], zip(table.index, *columns.values(), strict=True))


def _tests(comparison: pd.DataFrame) -> str:
    rows = comparison[comparison["metric"] == "crps"]
    sides = np.where(rows["difference"] < 0, "better", "worse")
    columns = {
        "Against": rows["against"],
        "Difference\u00a0%": _texts(100 * rows["difference"], "+.5f"),
        "Ratio": _texts(rows["ratio"], ".4f"),
        "Statistic": _texts(rows["statistic"], "+.2f"),
        "p": ["< 0.001" if p < 0.001 else f"{p:.3f}" for p in rows["p_value"]],
        "Sessions": _texts(rows["sessions"], ",d"),
        f"At\u00a0{LEVEL:.0%}": np.where(rows["p_value"] < LEVEL, sides, "not told apart"),
    }
    caption = "Diebold–Mariano tests of the daily CRPS"
    return _table(caption, ["Model", *columns], zip(rows["model"], *columns.values(), strict=True))


def _tickers(scores: pd.DataFrame) -> str:
    rows = scores[scores["ticker"] != metrics.POOLED]
    wide = rows.pivot(index="ticker", columns="model", values="crps")
    columns = {model: _texts(wide[model], ".4f") for model in rows["model"].unique()}
    table = _table(
        "CRPS\u00a0%", ["Ticker", *columns], zip(wide.index, *columns.values(), strict=True)
    )
    return f"<details><summary>CRPS of each of {len(wide)} tickers</summary>\n{table}\n</details>"


def _statistics(tables: dict[str, pd.DataFrame]) -> Iterator[str]:
    """The tables of what else was tested, over all tickers, each folded."""
    for name, (caption, columns) in _STATISTICS.items():
        table = tables[name]
        if "ticker" in table:
            table = table[table["ticker"] == metrics.POOLED]
        texts = [
            table[column].astype(str) if spec == "" else _texts(table[column].astype(float), spec)
            for column, spec in columns.items()
        ]
        if len(table):
            titles = [
                column.replace("_", " ").replace("p value", "p\u00a0value") for column in columns
            ]
            drawn = _table(caption, titles, zip(*texts, strict=True))
            yield f"<details><summary>{escape(caption)}</summary>\n{drawn}\n</details>"


def _origin(config: dict[str, Any], fallbacks: pd.DataFrame) -> str:
    run, folds = config["run"], config["folds"]
    trained = "{model} is the run {name}, trained from {first} to {until} and never refitted"
    facts = {
        **({"Scored file": config["file"]} if "file" in config else {}),
        "Tickers": f"{len(config['tickers'])}: {', '.join(config['tickers'])}",
        "Models": ", ".join(config["models"]),
        "Sessions forecast": f"{config['start']} to {config['end']}",
        "Prices": f"{config['prices_from']} to {config['prices_to']}",
        "Trials": f"{config.get('tried', 0)} were recorded before on these tickers and days; a backtest "
        "chosen among many is better than the next one will be",
        "Run": trained.format(**run) if run else "none: every model was fitted fold by fold",
        "Folds": f"{len(folds)} (refit: {config['refit']}), fitted on what was known by "
        + ", ".join(fold["until"] for fold in folds),
        "Fits that did not converge": "; ".join(
            f"{model} of {ticker} to {until}" for model, until, ticker in fallbacks.to_numpy()
        )
        + ": fixed parameters stand in for them"
        if len(fallbacks)
        else "none",
        "Versions": ", ".join(f"{name} {version}" for name, version in config["versions"].items()),
        "SHA-256 of the prices": config["prices_sha256"],
    }
    return _definitions(facts)


def _image(figure: "Figure", png: bytes, caption: str) -> str:
    title = figure.get_suptitle() or figure.axes[0].get_title()
    alt = escape(title.replace(r"\$", "$"))  # matplotlib's way to spell a dollar
    width, height = (figure.get_size_inches() * DPI).astype(int)
    source = f"data:image/png;base64,{b64encode(png).decode()}"
    image = f'<img src="{source}" width="{width}" height="{height}" alt="Chart: {alt}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _table(caption: str, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of plain texts, in which the first of a row names the row."""
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>\n"
        for name, *cells in rows
    )
    return (
        # Focus lets a keyboard scroll it.
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(caption)}"><table>\n'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}</tbody>\n</table></div>"
    )


def _definitions(pairs: dict[str, str]) -> str:
    rows = "\n".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in pairs.items())
    return f"<dl>\n{rows}\n</dl>"


def _texts(values: pd.Series, spec: str) -> list[str]:
    """Return numbers as they are printed, a dash for what is not known."""
    return [format(v, spec).replace("-", "−") if v == v else "–" for v in values]
