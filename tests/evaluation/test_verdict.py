import json

import numpy as np
import pandas as pd
import pytest

from forecaster.evaluation.metrics import POOLED
from forecaster.evaluation.verdict import Verdict, claims_of, judge


def comparison(*rows):
    columns = ["metric", "against", "difference", "p_value"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(model="lstm", ratio=1 + table["difference"], sessions=1509)


def direction(hit_rate=0.51, statistic=0.5, p_value=0.3):
    row = {"ticker": POOLED, "model": "lstm", "hit_rate": hit_rate}
    return pd.DataFrame([row | {"statistic": statistic, "p_value": p_value}])


def coverage(**shares):
    rows = [
        {"part": part, "nominal": nominal, "share": share, "p_value": 1e-6}
        for part, pair in shares.items()
        for nominal, share in zip((0.8, 0.95), pair, strict=True)
    ]
    return pd.DataFrame(rows).assign(model="lstm", ticker=POOLED)


KEPT = coverage(all=(0.805, 0.948), high=(0.797, 0.945))


def test_each_p_value_is_holms():
    table = comparison(
        ("crps", "naive", -0.04, 0.01), ("crps", "gjr", -0.01, 0.02), ("qlike", "gjr", -0.01, 0.04)
    )
    found = [claim.corrected for claim in claims_of("lstm", table, direction(p_value=0.3))]
    # Holm: the smallest of four times 4, the next times 3 but no less, and so on.
    np.testing.assert_allclose(found, [0.04, 0.06, 0.08, 0.3])


def test_a_good_volatility_and_no_direction():
    table = comparison(
        ("crps", "naive", -0.041, 1e-9),
        ("crps", "gjr", -0.007, 0.001),
        ("qlike", "naive", -0.1, 1e-9),
        ("qlike", "gjr", -0.02, 0.001),
        ("error", "naive", 0.0001, 0.7),
        ("error", "gjr", -0.5, 1e-9),
    )
    words = judge("lstm", table, direction(), KEPT).text
    assert words.startswith("lstm beat naive and GJR-GARCH: the CRPS of lstm is 4.10% lower than")
    assert "(p < 0.001)" in words
    assert "over 1,509 sessions. Volatility: supported (QLIKE 0.1000 lower" in words
    assert "Mean: no evidence of skill" in words
    assert "Direction: no evidence of skill (51.0% of signs right" in words
    assert "Use its volatility and its intervals, and do not trade on its direction." in words
    assert "7 tests" not in words  # the error against gjr is no claim of anybody's
    assert "\n" not in words


@pytest.mark.parametrize(
    ("rows", "headline"),
    [
        ([(-0.04, 1e-9), (-0.01, 0.2)], "lstm beat naive but is no better than GJR-GARCH: "),
        ([(-0.04, 1e-9), (0.02, 0.003)], "lstm beat naive but is worse than GJR-GARCH: "),
        ([(-0.001, 0.6), (0.001, 0.4)], "No better than naive or GJR-GARCH: "),
        ([(-0.001, 0.6), (0.05, 1e-4)], "No better than naive and worse than GJR-GARCH: "),
        ([(0.01, 1e-4), (0.05, 1e-4)], "Worse than naive or GJR-GARCH: "),
    ],
)
def test_the_headline(rows, headline):
    names = ("naive", "gjr")
    table = comparison(*(("crps", name, *row) for name, row in zip(names, rows, strict=True)))
    words = judge("lstm", table, direction(), KEPT).text
    assert words.startswith(headline)
    assert ("No evidence of a use" in words) == ("no better than GJR" not in headline)
    assert ("naive or GJR-GARCH would not" in words) == headline.startswith(("No better", "Worse"))


def test_a_volatility_that_a_baseline_does_better_is_not_recommended():
    table = comparison(
        ("crps", "naive", -0.04, 1e-9),
        ("crps", "gjr", -0.01, 1e-9),
        ("qlike", "naive", 0.001, 1e-9),
        ("qlike", "gjr", -0.07, 1e-9),
    )
    words = judge("lstm", table, direction(), KEPT).text
    assert (
        "Volatility: better than one baseline and worse than another (QLIKE 0.0010 higher" in words
    )
    assert "Use its intervals, and do not trade on its direction." in words


def test_a_median_that_never_changes_its_sign_is_said_to():
    table = comparison(("crps", "naive", -0.04, 1e-9))
    words = judge("lstm", table, direction(statistic=np.nan, p_value=np.nan), KEPT).text
    assert "Direction: its median never changes its sign, so there is nothing to test." in words


def test_an_interval_that_fails_in_a_crisis_shows():
    table = comparison(("crps", "naive", -0.04, 1e-9))
    words = judge("lstm", table, direction(), coverage(all=(0.80, 0.95), high=(0.74, 0.90))).text
    assert "80% held 74.0% in the most volatile third, too narrow" in words
    assert "its intervals" not in words


def test_without_a_baseline_nothing_can_be_said():
    assert "Nothing can be said of lstm" in judge("lstm", comparison(), direction(), KEPT).text


def test_a_verdict_is_data_that_can_be_read_again():
    table = comparison(("crps", "naive", -0.04, 1e-9), ("qlike", "naive", -0.1, 0.3))
    verdict = judge("lstm", table, direction(), KEPT)
    assert verdict.uses == ("distribution",)
    assert [(it.subject, it.against, it.is_supported) for it in verdict.claims] == [
        ("distribution", "naive", True),
        ("volatility", "naive", False),
        ("direction", "chance", False),
    ]
    assert [(it.nominal, it.part, it.is_kept) for it in verdict.intervals] == [
        *[(0.8, "all", True), (0.8, "high", True), (0.95, "all", True), (0.95, "high", True)]
    ]
    document = json.loads(json.dumps(verdict.document, allow_nan=False))
    assert document["verdict"] == str(verdict)
    assert Verdict.read(document | {"scores": []}) == verdict
    # A version before kept the words alone.
    assert Verdict.read({"verdict": "We won."}) == Verdict("We won.")
