import tempfile

import numpy as np
import pandas as pd
import pytest
from repetitions import blind

from forecaster.distributions import forecasts, parts
from forecaster.evaluation.drawn import Drawn
from forecaster.evaluation.evaluate import evaluate
from forecaster.leftovers import TemporaryFolder

TICKERS, SESSIONS = 3, 60
SCALES = {
    "lstm": 0.010,
    "naive": 0.013,
    "gjr": 0.011,
    "egarch": 0.0105,
    "har": 0.012,
    "drift": 0.013,
}
DATES = pd.bdate_range("2018-01-01", periods=SESSIONS + 1)


def world():
    """Forecasts by models of which one has no density, one fewer tickers and one fewer days."""
    rng = np.random.default_rng(5)
    x = 0.01 * rng.standard_t(5, (TICKERS, SESSIONS))
    rows = {
        model: forecasts.concat(
            forecasts.from_student_t(
                ticker=f"T{i}", model=model, cutoff=DATES[:-1], date=DATES[1:], last_close=50.0,
                log_return=x[i], location=0.001 * rng.normal(size=SESSIONS), df=5.0,
                scale=scale * np.exp(0.2 * rng.normal(size=SESSIONS)),
            )
            for i in range(TICKERS)
        )
        for model, scale in SCALES.items()
    }  # fmt: skip
    rows["egarch"] = blind(rows["egarch"])
    rows["har"] = rows["har"][rows["har"]["ticker"] != "T2"]
    rows["gjr"] = rows["gjr"][rows["gjr"]["date"] > DATES[15]]
    return forecasts.concat(rows.values())


@pytest.fixture(scope="module")
def frame():
    return world()


@pytest.fixture(scope="module")
def variance(frame):
    rows = frame[["ticker", "date"]].drop_duplicates()
    return rows.assign(variance=1e-4 * np.random.default_rng(6).chisquare(3, len(rows)) / 3)


@pytest.fixture(scope="module")
def together(frame, variance):
    return evaluate(frame, variance, model="lstm")


def pairs(table, models):
    """The rows of a table that are of some models."""
    mine = table["model"].isin(models)
    if "against" in table:
        mine &= table["against"].isin(models)
    columns = ["ticker", "model", "against", "metric", "split", "part", "level", "nominal"]
    by = [name for name in columns if name in table]
    return table[mine].sort_values(by).reset_index(drop=True)


@pytest.mark.parametrize(
    "company", [("naive",), ("egarch", "naive"), ("gjr", "har", "drift"), ("egarch", "har")]
)
def test_no_model_changes_what_is_said_of_another_pair(frame, variance, together, company):
    models = ("lstm", *company)
    alone = evaluate(frame[frame["model"].isin(models)], variance, model="lstm")
    of_pairs = [it for it in together.verdict.claims if it.against in (*company, "chance")]
    assert list(alone.verdict.claims) == sorted(of_pairs, key=together.verdict.claims.index)
    assert alone.verdict.intervals == together.verdict.intervals
    assert alone.verdict.tails == together.verdict.tails
    assert alone.verdict.pits == together.verdict.pits
    names = ("significance", "tickers", "skill", "coverage", "value_at_risk", "uniformity", "mean")
    for name in (*names, "direction", "information"):
        mine, theirs = (pairs(it.tables[name], models) for it in (alone, together))
        pd.testing.assert_frame_equal(
            mine, theirs, rtol=1e-12, atol=1e-15, check_dtype=len(mine) > 0, obj=name
        )


def test_the_verdict_is_against_every_rival_and_the_historical_mean(together):
    claims = {(it.measure, it.against) for it in together.verdict.claims}
    rivals = ("naive", "gjr", "egarch", "har")
    expected = {(name, it) for name in ("crps", "qlike", "qlike_range") for it in rivals}
    assert claims == expected | {("r2", "drift"), ("hits", "chance")}


def test_side_by_side_stand_the_rows_that_all_have(together):
    scores = together.tables["scores"]
    assert set(scores["ticker"]) == {"T0", "T1", "(all)"}
    assert scores.loc[scores["ticker"] == "T0", "sessions"].eq(SESSIONS - 15).all()
    coverage = together.tables["coverage"].query("split == 'all' and ticker == '(all)'")
    rows = coverage.groupby("model")["forecasts"].first()
    assert rows["lstm"] == TICKERS * SESSIONS
    assert rows["har"] == (TICKERS - 1) * SESSIONS


def test_parts_of_the_tickers_add_up_to_the_whole(frame, variance, together, monkeypatch):
    monkeypatch.setattr(parts, "ROWS", 1)
    assert len(parts.Parts.of(frame)) == TICKERS
    added = evaluate(frame, variance, model="lstm")
    assert list(added.tables) == list(together.tables)
    for name, table in together.tables.items():
        found, keys = added.tables[name], [it for it in table if table[it].dtype == "str"]
        one, other = (
            it.sort_values(keys, kind="stable", ignore_index=True) for it in (found, table)
        )
        pd.testing.assert_frame_equal(one, other, check_dtype=False, rtol=1e-9, atol=1e-13)
    assert added.verdict.headline == together.verdict.headline
    assert [row.words for row in added.verdict.rows] == [row.words for row in together.verdict.rows]


def test_what_is_made_of_parts_on_disk_lies_beside_them(
    frame, variance, together, monkeypatch, tmp_path
):
    owner = TemporaryFolder(tmp_path)
    parts.write([frame], owner.path / "forecasts.parquet")
    made = parts.Parts.of_file(owner.path / "forecasts.parquet", owner=owner)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    its = evaluate(made.of_step(1), variance, model="lstm")
    pd.testing.assert_frame_equal(its.tables["scores"], together.tables["scores"])
    assert list(Drawn(made, "lstm").models) == its.tables["scores"]["model"].unique().tolist()
