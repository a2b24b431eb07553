"""What the base model is worth for some tickers: the scores of its card that speak for them."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from forecaster.errors import first_few

if TYPE_CHECKING:
    from forecaster.runs.base import Score


def document(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the scores of each ticker of some forecasts, for JSON; none where none is of its kind."""
    from dataclasses import asdict

    from forecaster.data import exchanges
    from forecaster.runs import base

    card = base.card()
    tickers = dict.fromkeys(row["ticker"] for row in rows)
    return [
        {
            "ticker": ticker,
            "kind": exchanges.kind(ticker),
            "scores": [asdict(it) for it in card.scores_of(ticker)],
        }
        for ticker in tickers
    ]


def lines(tickers: Sequence[str]) -> list[str]:
    """Return what the card says of some tickers, a line for those that the same scores speak for."""
    from forecaster.data import exchanges
    from forecaster.runs import base

    card = base.card()
    alike: dict[tuple[Score, ...], list[str]] = {}
    for ticker in tickers:
        alike.setdefault(card.scores_of(ticker), []).append(ticker)
    texts = []
    for scores, its in alike.items():
        if scores:
            texts.append(f"Its score for {first_few(its)}: {'; '.join(map(_words, scores))}.")
        else:
            kinds = dict.fromkeys(exchanges.kind(it) for it in its)
            others = "; ".join(map(_words, card.scores)) or "none"
            texts.append(
                f"No score for this kind of instrument ({', '.join(kinds)}: {first_few(its)}). Those "
                f"of others: {others}."
            )
    return texts


def _words(score: "Score") -> str:
    """Return a score in words."""
    return (
        f"on {score.set} ({score.tickers} tickers, {score.first} to {score.last}) a CRPS of "
        f"{score.crps_over_gjr:.3f} of GJR-GARCH's, lower on {score.better_on} of them, and "
        f"{score.in_80:.0f}% of what came within its 80% intervals ({score.how})"
    )
