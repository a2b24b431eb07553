import json
from itertools import product

import numpy as np
import pandas as pd
import pytest

from forecaster.evaluation.alarm import Alarm
from forecaster.evaluation.claims import LEAST
from forecaster.evaluation.metrics import POOLED
from forecaster.evaluation.promises import Pit, Tail
from forecaster.evaluation.verdict import Verdict, judge

ALL = {"model": "lstm", "ticker": POOLED}


def comparison(*rows):
    columns = ["metric", "against", "difference", "p_value"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(model="lstm", ratio=1 + table["difference"], sessions=1509)


def direction(hit_rate=0.51, expected=0.505, statistic=0.5, p_value=0.3):
    return pd.DataFrame(
        [
            ALL
            | {
                "hit_rate": hit_rate,
                "expected": expected,
                "statistic": statistic,
                "p_value": p_value,
            }
        ]
    )


def means(r2=0.0001, p_value=0.3):
    return pd.DataFrame([{"model": "lstm", "against": "drift", "r2": r2, "p_value": p_value}])


def coverage(**shares):
    rows = [
        ALL | {"part": part, "nominal": nominal, "share": share, "p_value": 1e-6}
        for part, pair in shares.items()
        for nominal, share in zip((0.8, 0.95), pair, strict=True)
    ]
    return pd.DataFrame(rows)


def breaches(at_95=0.05, at_99=0.01, p_value=1e-6, loss=0.02, shortfall_p=0.5, part="all"):
    rows = [
        {"level": level, "part": part, "share": share, "unconditional_p": p_value}
        for level, share in ((0.95, at_95), (0.99, at_99))
    ]
    return pd.DataFrame(rows).assign(**ALL, loss=loss, shortfall=0.02, shortfall_p=shortfall_p)


def pit(mean=0.5, variance=1 / 12, p_value=1e-9):
    return pd.DataFrame(
        [ALL | {"part": "all", "mean": mean, "variance": variance, "p_value": p_value}]
    )


KEPT = coverage(all=(0.805, 0.948), high=(0.797, 0.945))
NO_YEARS = pd.DataFrame(columns=["model", "against", "year", "difference"])
NO_STABILITY = pd.DataFrame(columns=["model"])
NO_SEEDS = pd.DataFrame(columns=["model", "seed", "crps", "ratio"])
GOOD = comparison(("crps", "naive", -0.04, 1e-9), ("crps", "gjr", -0.01, 1e-9))


def verdict(table=GOOD, alarm=None, **tables):
    defaults = {
        "significance": table, "mean": means(), "direction": direction(), "coverage": KEPT,
        "value_at_risk": breaches(), "uniformity": pit(), "seeds": NO_SEEDS,
        "years": NO_YEARS, "stability": NO_STABILITY,
    }  # fmt: skip
    return judge("lstm", defaults | tables, alarm)


def test_p_values_are_times_the_number_of_questions_whoever_is_there():
    rows = [
        ("crps", "naive", -0.04, 0.01),
        ("crps", "gjr", -0.01, 0.02),
        ("qlike", "gjr", -0.01, 0.4),
    ]
    claims = verdict(comparison(*rows)).claims
    assert [claim.corrected for claim in claims[:3]] == pytest.approx([0.04, 0.08, 1.0])
    assert verdict(comparison(*rows[:1])).claims[0] == claims[0]


def test_a_good_distribution_and_no_direction():
    result = verdict(
        comparison(
            ("crps", "naive", -0.041, 1e-9),
            ("crps", "gjr", -0.007, 0.001),
            ("qlike", "naive", -0.1, 1e-9),
            ("qlike", "gjr", -0.02, 0.001),
            ("error", "gjr", -0.5, 1e-9),
        )
    )
    assert result.headline == "lstm beat naive and GJR-GARCH, over 1,509 sessions."
    assert [(it.symbol, it.question, it.words, it.figure, it.chance) for it in result.rows] == [
        ("✓", "distribution", "supported", "CRPS 0.70% below GJR-GARCH", "0.004"),
        ("✓", "volatility", "supported", "QLIKE 0.0200 below GJR-GARCH", "0.004"),
        ("✓", "intervals", "kept", "80% held 80.5%, 95% held 94.8%, within 1 point", "< 0.001"),
        ("–", "mean", "no evidence", "R² +0.01% over the historical mean", "1.000"),
        ("–", "direction", "no evidence", "51.0% of signs right, 50.5% by chance", "1.000"),
        ("✓", "lower tail", "kept", "VaR breached: 95% 5.0%, 99% 1.0%, near enough", "< 0.001"),
    ]
    assert result.advice == "Use its volatility, its intervals and its VaR, not its direction."
    assert result.uses == ("volatility", "distribution", "var")
    # The error against gjr is no claim of anybody's.
    assert any(line.startswith("6 tests") for line in result.details)
    assert any("CRPS 4.10% below naive, p < 0.001" in line for line in result.details)
    assert "\n" not in result.text
    assert str(result).split("\n")[1].startswith("✓ Distribution: supported (CRPS 0.70% below")


@pytest.mark.parametrize(
    ("rows", "headline"),
    [
        ([(-0.04, 1e-9), (-0.01, 0.2)], "lstm beat naive but is no better than GJR-GARCH"),
        ([(-0.04, 1e-9), (0.02, 0.003)], "lstm beat naive but is worse than GJR-GARCH"),
        ([(-0.001, 0.6), (0.001, 0.4)], "lstm is no better than naive or GJR-GARCH"),
        ([(-0.001, 0.6), (0.05, 1e-4)], "lstm is no better than naive and worse than GJR-GARCH"),
        ([(0.01, 1e-4), (0.05, 1e-4)], "lstm is worse than naive or GJR-GARCH"),
    ],
)
def test_the_headline(rows, headline):
    names = ("naive", "gjr")
    result = verdict(
        comparison(*(("crps", name, *row) for name, row in zip(names, rows, strict=True)))
    )
    assert result.headline == f"{headline}, over 1,509 sessions."
    assert result.text.startswith(result.headline)
    assert "No evidence of a use" in result.advice  # a rival that is as good will do
    assert ("naive or GJR-GARCH would not" in result.advice) == ("beat" not in headline)


def test_of_many_rivals_the_hardest_is_shown_and_all_must_be_beaten():
    others = [("crps", name, -0.02, 1e-9) for name in ("naive", "garch", "gjr", "average")]
    result = verdict(comparison(*others, ("crps", "egarch", -0.001, 0.4)))
    assert "no better than EGARCH" in result.headline
    assert str(result.rows[0]) == "Distribution: no evidence (CRPS 0.10% below EGARCH, p = 1.000)"
    assert "distribution" not in result.uses


@pytest.mark.parametrize(
    ("rows", "words", "used"),
    [
        # A win over naive alone is none.
        ([("qlike", "naive", -0.2, 1e-9)], "supported (QLIKE 0.2000 below", False),
        (
            [("qlike", "gjr", -0.2, 1e-9), ("qlike", "har", 0.01, 1e-9)],
            "worse (QLIKE 0.0100 above HAR",
            False,
        ),
        ([("qlike", "gjr", -0.2, 1e-9), ("qlike", "egarch", -0.01, 0.2)], "no evidence", False),
        # Better by squared returns, not by ranges.
        (
            [("qlike", "har", -0.2, 1e-9), ("qlike_range", "har", -0.01, 0.1)],
            "in part (QLIKE 0.0100 below HAR by ranges",
            False,
        ),
        ([("qlike", "har", -0.2, 1e-9), ("qlike_range", "har", -0.1, 1e-3)], "supported", True),
    ],
)
def test_a_volatility_is_used_if_it_beats_the_best_of_the_garch_models(rows, words, used):
    result = verdict(
        comparison(*GOOD[["metric", "against", "difference", "p_value"]].to_numpy(), *rows)
    )
    assert f"Volatility: {words}" in result.text
    assert ("volatility" in result.uses) == used


@pytest.mark.parametrize(
    ("r2", "p_value", "words"),
    [
        (0.0016, 1e-6, "too small (R² +0.16% over the historical mean; of use from R² 0.5%"),
        (-0.0002, 0.01, "no evidence"),
        (0.008, 1e-6, "supported"),
        (0.008, 0.02, "no evidence"),
    ],
)
def test_a_mean_is_used_only_if_it_explains_enough(r2, p_value, words):
    result = verdict(mean=means(r2, p_value))
    assert f"Mean: {words}" in result.text
    assert ("mean" in result.uses) == (words == "supported")


def test_few_hits_beyond_chance_are_too_small_to_use():
    small = verdict(direction=direction(0.53, 0.52, 9, 1e-9))
    words = (
        "Direction: too small (53.0% of signs right, 52.0% by chance; of use from 2 points of signs"
    )
    assert words in small.text
    assert "direction" in verdict(direction=direction(0.55, 0.52, 9, 1e-9)).uses


def test_a_median_that_never_changes_its_sign_is_said_to():
    words = verdict(direction=direction(statistic=np.nan, p_value=np.nan)).text
    assert "Direction: not tested (its median never changes its sign)." in words


@pytest.mark.parametrize(
    ("rows", "question", "bound"),
    [
        # Sure, and less than what a volatility costs that is 10% off every day.
        ([("crps", "gjr", -0.002, 1e-9)], "distribution", "CRPS 0.25%"),
        ([("qlike", "gjr", -0.015, 1e-9)], "volatility", "QLIKE 0.02"),
    ],
)
def test_what_is_sure_but_small_is_of_no_use(rows, question, bound):
    naive = [(rows[0][0], "naive", -0.1, 1e-9)]
    company = [("crps", "gjr", -0.01, 1e-9)] if question == "volatility" else []
    result = verdict(comparison(*naive, *company, *rows))
    row = next(it for it in result.rows if it.question == question)
    assert (row.mark, row.words) == ("open", "too small")
    assert row.figure.endswith(f"of use from {bound}")
    assert question not in result.uses
    assert "beat" in result.headline


def test_ten_percent_off_costs_the_least_effects_of_use():
    """CRPS and QLIKE of a normal distribution with a scale s, where the returns' is 1."""
    off = np.array([0.9, 1.1])
    crps = np.sqrt(2 / np.pi) * np.sqrt(1 + off**2) - off / np.sqrt(np.pi)
    assert (crps * np.sqrt(np.pi) - 1).mean() == pytest.approx(LEAST["distribution"], rel=0.05)
    qlike = 1 / off**2 - np.log(1 / off**2) - 1
    assert qlike.mean() == pytest.approx(LEAST["volatility"], rel=0.05)


def test_an_interval_that_fails_in_a_crisis_shows():
    result = verdict(coverage=coverage(all=(0.80, 0.95), high=(0.74, 0.90)))
    row = next(it for it in result.rows if it.question == "intervals")
    assert (row.mark, row.words) == ("no", "too narrow")
    assert row.figure == (
        "80% held 80.0% (most volatile third 74.0%), 95% held 95.0% (most volatile third 90.0%)"
    )
    assert "its intervals" not in result.advice


@pytest.mark.parametrize(
    ("table", "words", "uses"),
    [
        (breaches(at_99=0.0205), "its VaR (the lower tail is too thin)", ()),
        (
            breaches(at_95=0.03),
            "its VaR (larger than needed: the lower tail is too fat)", ("distribution",),
        ),
        (
            breaches(loss=0.024, shortfall_p=1e-4),
            "its expected shortfall (losses go beyond it)", ("distribution",),
        ),
        (breaches(at_99=0.0115, p_value=1e-9), "", ("distribution", "var")),  # too near to matter
        (breaches(at_99=0.03, p_value=0.02), "", ("distribution", "var")),  # luck, of six tests
    ],
)  # fmt: skip
def test_the_lower_tail_is_read(table, words, uses):
    result = verdict(value_at_risk=table)
    assert words in result.advice
    assert ("(" in result.advice) == bool(words)
    assert result.uses == uses


def test_a_tail_that_breaks_in_calm_is_named():
    table = pd.concat([breaches(), breaches(at_95=0.08, part="low")])
    result = verdict(value_at_risk=table)
    words = "Lower tail: too thin (VaR breached: 95% 5.0% (calmest third 8.0%), 99% 1.0%"
    assert words in result.text
    assert "do not use its VaR" in result.advice


def test_the_advice_contradicts_no_row():
    """What is to be used is ✓ in its row, and what is not to be used is no use."""
    shares = [(0.80, 0.95), (0.74, 0.90)]
    for share, at_95, r2, sign in product(shares, (0.05, 0.03, 0.08), (0.001, 0.01), (0.51, 0.6)):
        result = verdict(
            mean=means(r2, 1e-9),
            direction=direction(sign, 0.5, 9, 1e-9),
            coverage=coverage(all=share, high=share),
            value_at_risk=breaches(at_95=at_95),
        )
        used, _, barred = result.advice.partition(", not ")
        marks = {it.question: it.mark for it in result.rows}
        rows = {"distribution": "intervals", "var": "lower tail"}
        assert all(marks[rows.get(use, use)] == "yes" for use in result.uses)
        assert not [it for it in ("direction", "VaR", "mean") if it in used and it in barred]


def test_an_uneven_pit_forbids_the_var():
    assert verdict(uniformity=pit(mean=0.53)).uses == ("distribution",)
    assert "PIT uneven (mean 0.530" in verdict(uniformity=pit(mean=0.53)).text
    assert Pit("all", 0.53, 1 / 12, 0.2).is_kept
    assert Pit("all", 0.51, 1 / 12, 1e-9).is_kept
    assert not Pit("all", 0.5, 0.07, 1e-9).is_kept


def test_breaches_without_a_loss_have_no_shortfall():
    tail = Tail(0.99, "all", 0.0, 0.001, None, None)
    assert tail.is_fat
    assert not tail.is_short


def test_the_luck_of_the_seed_is_shown():
    seeds = pd.DataFrame(
        {"model": ["lstm", "gru", "lstm"], "seed": [0, 0, 1], "ratio": [1.002, 2, 0.999]}
    )
    words = "Luck of the seed: the CRPS of 2 networks alone is -0.10% to +0.20% beside that"
    assert any(line.startswith(words) for line in verdict(seeds=seeds).details)


def test_an_alarm_leads_and_recommends_nothing():
    alarm = Alarm(("relMAE is 0.100, and no honest one is below 0.97",), "it is the close")
    result = verdict(alarm=alarm)
    assert result.text.startswith(
        "Too good to be a forecast: look for look-ahead. Its relMAE is 0.100"
    )
    assert "Likeliest cause: it is the close." in result.headline
    assert "Use it for nothing" in result.advice
    assert result.uses == ()
    assert Verdict.read(json.loads(json.dumps(result.document))) == result


def test_without_a_rival_nothing_can_be_said():
    assert "Nothing can be said of lstm" in verdict(comparison()).text


def test_a_verdict_is_data_that_can_be_read_again():
    table = comparison(("crps", "naive", -0.04, 1e-9), ("qlike", "naive", -0.1, 0.3))
    result = verdict(table)
    assert result.uses == ("distribution", "var")
    assert [(it.subject, it.against, it.is_supported) for it in result.claims] == [
        ("distribution", "naive", True),
        ("volatility", "naive", False),
        ("mean", "drift", False),
        ("direction", "chance", False),
    ]
    assert [(it.nominal, it.part, it.is_kept) for it in result.intervals] == [
        *[(0.8, "all", True), (0.8, "high", True), (0.95, "all", True), (0.95, "high", True)]
    ]
    assert [(it.level, it.part, it.is_kept) for it in result.tails] == [
        *[(0.95, "all", True), (0.99, "all", True)]
    ]
    document = json.loads(json.dumps(result.document, allow_nan=False))
    assert document["verdict"] == result.text
    assert Verdict.read(document | {"scores": []}) == result
    # A version before kept rows as pairs of words, from which the questions are answered again;
    pairs = document | {"rows": [["Volatility", "no evidence of skill (QLIKE 0.1 lower)"]]}
    assert Verdict.read(pairs).rows == result.rows
    # one before kept the words alone, one after it claims without a size.
    assert Verdict.read({"verdict": "We won."}) == Verdict("We won.")
    old = {"subject": "mean", "against": "naive", "better": True, "effect": "", "p_value": 0.01}
    (claim,) = Verdict.read({"verdict": "We won.", "claims": [old | {"corrected": 0.02}]}).claims
    assert claim.is_supported


def test_years_in_which_it_was_worse_are_named():
    years = pd.DataFrame(
        {"model": "lstm", "against": "gjr", "year": [2016, 2017, 2018], "difference": [-1, -1, 1.0]}
    )
    stability = pd.DataFrame(
        [("lstm", "gjr", 0.004, 1.2, "2017-10-02", "2018-12-31")],
        columns=["model", "against", "fluctuation_p", "highest", "worst_from", "worst_to"],
    )
    line, *_ = verdict(years=years, stability=stability).details
    assert line == (
        "Over time, against GJR-GARCH: better in 2 of 3 years, worse in 2018; equal at all times, "
        "p = 0.004 (fluctuation test); worst from 2017-10-02 to 2018-12-31, when it was worse."
    )
