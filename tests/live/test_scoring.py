"""The record of a run, from rows of the ledger."""

import numpy as np
import pandas as pd
import pytest

from forecaster.backtesting import archive, backtest
from forecaster.backtesting.spec import BacktestSpec
from forecaster.distributions import forecasts, quantile_grid
from forecaster.evaluation import confidence_sequence, e_process, metrics
from forecaster.live import scoring
from forecaster.runs import bundle

DATES = pd.bdate_range("2024-01-02", periods=61)


@pytest.fixture(scope="module")
def rows():
    """Sixty sessions of two tickers by a run, gjr and naive, of which all have come."""
    rng = np.random.default_rng(0)
    parts = []
    for ticker in ("AAA", "BBB"):
        sigma = 0.01 * np.exp(rng.normal(0, 0.3, 60))
        came = sigma * rng.standard_t(5, 60)
        for model, scale in (
            ("lstm", sigma),
            ("gjr", 0.01 * np.ones(60)),
            ("naive", 0.02 * np.ones(60)),
        ):
            its = forecasts.from_student_t(
                ticker=ticker,
                model=model,
                cutoff=DATES[:-1],
                date=DATES[1:],
                last_close=100.0,
                log_return=came,
                location=0.0,
                scale=scale,
                df=5.0,
            )
            parts.append(its.assign(run="mine" if model == "lstm" else ""))
    return recorded(forecasts.concat(parts))


def recorded(frame):
    """A frame as the ledger returns one, made in time and settled."""
    return frame.assign(
        made_at=frame["cutoff"].dt.tz_localize("UTC") + pd.Timedelta(hours=22),
        opens_at=frame["date"].dt.tz_localize("UTC") + pd.Timedelta(hours=14),
        late=False,
        status="settled",
        settled_date=frame["date"],
    )


def opened(rows, which):
    """The rows, of which some have not come yet."""
    return rows.assign(
        log_return=rows["log_return"].mask(which),
        status=rows["status"].mask(which),
        settled_date=rows["settled_date"].mask(which),
    )


def scored(rows):
    """The record of rows that :func:`scoring.rows_of` returned."""
    return scoring.score(scoring.measured(rows))


def step_of(rows):
    (step,) = scored(rows).steps
    return step


def test_scores_are_those_of_a_backtest(rows):
    ours, theirs = step_of(rows), metrics.pooled(metrics.scores(rows)).loc["lstm"]
    assert (ours.rows, ours.tickers) == (120, 2)
    assert ours.crps == pytest.approx(theirs["crps"], rel=1e-12)
    for name in ("gjr", "naive"):
        assert ours.over(name) == pytest.approx(theirs[f"crps/{name}"], rel=1e-12)
    shares = [it.share for it in ours.coverages]
    assert shares == pytest.approx([theirs["coverage_80"], theirs["coverage_95"]])


def test_the_evidence_is_of_daily_means_over_the_tickers(rows):
    # Day by day and ticker by ticker.
    capitals, inside = np.ones(3), []
    keyed = rows.set_index(["date", "model", "ticker"])
    for day in DATES[1:]:
        z, hits = [], []
        for ticker in ("AAA", "BBB"):
            own, other = (keyed.loc[(day, model, ticker)] for model in ("lstm", "gjr"))
            a, b = (it[forecasts.QUANTILES].to_numpy(float) for it in (own, other))
            gap = quantile_grid.crps(own["log_return"], b) - quantile_grid.crps(
                own["log_return"], a
            )
            bound = max(abs(quantile_grid.crps(y, a) - quantile_grid.crps(y, b)) for y in (*a, *b))
            z.append(gap / bound)
            hits.append(own["q0.1"] <= own["log_return"] <= own["q0.9"])
        capitals *= 1 + np.array([0.1, 0.3, 0.9]) * np.mean(z)
        inside.append(np.mean(hits))
    its = step_of(rows)
    against_gjr = its.comparisons[[it.against for it in its.comparisons].index("gjr")]
    assert against_gjr.sessions == 60
    assert against_gjr.better.e == pytest.approx(capitals.mean(), rel=1e-9)
    assert its.coverages[0].bounds == confidence_sequence.bounds(inside)


def test_a_better_run_is_shown_to_be_in_both_directions(rows):
    against = {it.against: it for it in step_of(rows).comparisons}["naive"]
    assert against.better.shown
    assert against.worse.shown is None
    assert f"shown better than naive, since session {against.better.shown} (E " in against.text
    turned = rows.assign(
        model=rows["model"].map({"lstm": "naive", "naive": "lstm", "gjr": "gjr"}),
        run=np.where(rows["model"] == "naive", "mine", ""),
    )
    back = {it.against: it for it in step_of(turned).comparisons}["naive"]
    assert back.worse == pytest.approx(against.better)
    assert "shown worse than naive" in back.text


def test_what_is_not_shown_says_how_far_it_is():
    comparison = scoring.Comparison(
        "gjr", 37, 37, 0.99, e_process.Evidence(1.2, 1.84, None), e_process.Evidence(0.5, 1.0, None)
    )
    assert comparison.text == (
        "After 37 sessions: not yet shown better or worse than GJR-GARCH (E = 1.8 of the 20 that would "
        "show it better)."
    )


def test_late_rows_are_scored_apart_and_bet_on_by_nobody(rows):
    late = rows.assign(late=rows["date"] <= DATES[10])
    record = scored(late)
    assert [(it.rows, it.last) for it in record.late] == [(20, DATES[10])]
    assert [(it.rows, it.first) for it in record.steps] == [(100, DATES[11])]
    assert {it.sessions for it in record.steps[0].comparisons} == {50}
    assert record.late[0].comparisons[0].better is None
    assert record.late[0].coverages[0].bounds is None
    assert (
        "20 were made after the session had opened: late, and scored apart."
        in scoring.sentences(record)
    )
    alone = scored(rows.assign(late=True))
    assert not alone.steps
    assert "None of them has come in time to show anything." in scoring.sentences(alone)


def test_vanished_tickers_are_named_and_left_out(rows):
    gone = (rows["ticker"] == "BBB") & (rows["date"] > DATES[30])
    vanished = opened(rows, gone).assign(status=rows["status"].mask(gone, "vanished"))
    record = scored(vanished)
    assert (record.vanished, record.open) == (("BBB",), 0)
    assert record.steps[0].rows == 90
    # The days go on with the ticker that is left.
    assert {it.sessions for it in record.steps[0].comparisons} == {60}
    assert any("No price came of BBB" in line for line in scoring.sentences(record))


def test_a_day_waits_for_its_last_session(rows):
    last = rows["date"] == DATES[-1]
    waiting = step_of(opened(rows, last & (rows["ticker"] == "BBB")))
    assert waiting.rows == 119
    assert {it.sessions for it in waiting.comparisons} == {59}
    # A hole further back, which may be filled for weeks, holds nothing up.
    hole = step_of(opened(rows, (rows["date"] == DATES[30]) & (rows["ticker"] == "BBB")))
    assert {it.sessions for it in hole.comparisons} == {60}


def test_a_session_that_was_moved_counts(rows):
    late_by_a_day = rows["date"] == DATES[20]
    moved = rows.assign(
        status=rows["status"].mask(late_by_a_day, "moved"),
        settled_date=rows["settled_date"].mask(late_by_a_day, DATES[20] + pd.Timedelta(days=1)),
    )
    record = scored(moved)
    assert (record.moved, record.steps[0].rows) == (2, 120)
    written = scoring.frame_of(moved)
    assert DATES[20] not in set(written["date"])
    assert DATES[20] + pd.Timedelta(days=1) in set(written["date"])


def test_several_sessions_ahead_are_scored_without_evidence(rows):
    month = rows[rows["model"] == "lstm"].assign(step=21)
    record = scored(pd.concat([rows, month], ignore_index=True))
    assert [it.step for it in record.steps] == [1, 21]
    ahead = record.steps[1]
    assert (ahead.rows, ahead.comparisons) == (120, ())
    assert all(it.bounds is None for it in ahead.coverages)


def test_ratios_are_of_the_nights_that_both_have(rows):
    fewer = rows[(rows["model"] != "gjr") | (rows["date"] > DATES[40])].reset_index(drop=True)
    its = step_of(fewer)
    both = metrics.pooled(metrics.scores(rows[rows["date"] > DATES[40]])).loc["lstm"]
    assert its.over("gjr") == pytest.approx(both["crps/gjr"], rel=1e-12)
    assert its.crps == pytest.approx(step_of(rows).crps, rel=1e-12)
    alone = rows[rows["model"] == "lstm"].reset_index(drop=True)
    assert step_of(alone).comparisons == ()
    assert any(
        "No forecast by GJR-GARCH or naive was recorded beside it" in line
        for line in scoring.sentences(scored(alone))
    )


def test_intervals_that_are_too_narrow_are_named(rows):
    narrow = rows.copy()
    own = narrow["model"] == "lstm"
    narrow.loc[own, forecasts.QUANTILES] *= 0.3
    coverage = step_of(narrow).coverages[0]
    assert coverage.is_kept is False
    assert coverage.text.endswith(": too narrow")


def test_the_promise_is_that_of_the_last_backtest_of_the_run(world, trained, tmp_path):
    run = trained("gjr")
    bundle.save(run, tmp_path)
    assert scoring.promise(tmp_path, run.name) is None
    assert scoring.promise(tmp_path, "another") is None
    spec = BacktestSpec(("gjr", "naive"), tickers=("AAA", "BBB"), steps=(1, 5))
    done = backtest.run(world, spec, trained=run)
    folder = tmp_path / "backtests" / "gjr-naive"
    folder.mkdir(parents=True)
    archive.write(done, folder)
    verdict = bundle.RunVerdict("words", "2018-01-02", "2018-06-29", "Said in short.")
    bundle.record_verdict(done.provenance.run, tmp_path, verdict)
    promise = scoring.promise(tmp_path, run.name)
    assert (promise.start, promise.words) == ("2018-01-02", "Said in short.")
    scores = metrics.pooled(done.scores).loc["gjr"]
    assert set(promise.scores) == {1, 5}
    assert promise.scores[1]["crps/naive"] == pytest.approx(scores["crps/naive"])
    assert promise.scores[1]["coverage_80"] == pytest.approx(scores["coverage_80"])
    (folder / "scores.json").write_text("{")
    assert scoring.promise(tmp_path, run.name).scores == {}


def test_a_record_and_its_promise_are_told_side_by_side(rows):
    scores = {1: {"crps": 0.5, "crps/gjr": 0.985, "coverage_80": 0.8}}
    promise = scoring.Promise("2018-01-02", "2019-12-31", "It beat naive.", scores)
    record = scored(rows)
    lines = scoring.sentences(record, promise)
    assert "Its backtest of 2018-01-02 to 2019-12-31: It beat naive." in lines
    ratio, share = record.steps[0].over("gjr"), record.steps[0].coverages[0].share
    assert (
        f"It promised a CRPS of 0.9850 of GJR-GARCH's, and it was {ratio:.4f}; 80.0% inside 80%, and "
        f"it was {share:.1%}."
    ) in lines
