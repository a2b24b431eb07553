"""What holds for every model, those of the registry and the one that docs/how-to/add-a-model.md writes."""

import re
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from histories import assert_same, assert_same_state
from threadpoolctl import threadpool_limits

from forecaster.backtesting import backtest, walk_forward
from forecaster.backtesting.spec import BacktestSpec
from forecaster.dataset.panel import Panel
from forecaster.distributions import forecasts, horizons, recalibration
from forecaster.errors import HistoryError, UsageError
from forecaster.models.protocol import SESSIONS_TO_FORECAST
from forecaster.models.recurrent.training import CELLS
from forecaster.models.registry import REGISTRY, create
from forecaster.runs import bundle, forecasting

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "add-a-model.md").read_text(
    encoding="utf-8"
)
((WRITTEN, MODULE),) = re.findall(r'^"(.*)": "(.*)",$', PAGE, flags=re.MULTILINE)
"""The model that the page writes: its line in the registry."""

every_model = pytest.mark.parametrize("name", [*REGISTRY, WRITTEN])
SHARED = {*CELLS, "trees"}
"""Models that are one for all tickers, those they have not seen too."""

AFTER = (0, 1, 64, 178)
"""Sessions after the last one fitted: the cutoffs at which promises are checked."""

ALL = range(1, horizons.MOST + 1)

ALIKE = ({"naive", "ewma", "drift"}, {"garch", "gjr", "gjr-events"})
"""Models that differ by their name alone."""


@pytest.fixture(scope="module", autouse=True)
def written():
    """Run the page's code as a module and register it."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    module = ModuleType(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, MODULE, module)
        patch.setitem(REGISTRY, WRITTEN, MODULE)
        exec(compile(code, "add-a-model.md", "exec"), vars(module))
        yield


@pytest.fixture(scope="session")
def cutoffs(world, until):
    later = np.unique(world["date"].to_numpy("datetime64[D]"))
    return later[later >= np.datetime64(until)][list(AFTER)]


@pytest.fixture(scope="session")
def tested(world, trained):
    """A function from a model's name to a backtest of its run."""
    return cache(lambda name: forecasts_of(world, trained(name)))


def forecasts_of(frame, run, **request):
    """Forecasts of a backtest of a run, which nobody scores."""
    spec = BacktestSpec((run.model.name,), **request)
    return walk_forward.forecast_history(frame, spec, trained=run).forecasts


@pytest.fixture(scope="session")
def ahead(world, trained, cutoffs):
    """A function from a model's name to its forecasts of all steps, from the first to the last cutoff."""
    panel, span = Panel.of(world), (cutoffs[0], cutoffs[-1])
    return cache(lambda name: trained(name).model.forecast(panel, *span, ALL))


def step_of(frame, step):
    """The rows of a step."""
    return frame[frame["step"] == step].reset_index(drop=True)


def known(frame, cutoff):
    """What forecasts up to a cutoff say, without what came to pass."""
    frame = frame[frame["cutoff"] <= pd.Timestamp(cutoff)]
    return frame.drop(columns=["log_return", "date"]).reset_index(drop=True)


def refitted(name, frame, until, tiny):
    """A model fitted on a panel that reaches beyond ``until``, and may not be written to."""
    panel = Panel(tuple(Panel.of(frame).histories))
    for history in panel.histories:
        for value in (*vars(history.bars).values(), history.next_dates, history.features):
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
    model = create(name, tiny)
    model.fit(panel, np.datetime64(until))
    model.forecast(panel, np.datetime64(until), panel.sessions[-1])
    return model


@every_model
def test_fit_twice_and_with_the_future_there_gives_the_same_bits(name, world, tiny, until, trained):
    # The run was fitted on prices that end there. That nothing is written to is tested as well.
    before = world.copy()
    model, panel = trained(name).model, Panel.of(world)
    first, last = np.datetime64(until), panel.sessions[-1]
    with threadpool_limits(2):  # where one is the limit of the tests
        again = refitted(name, world, until, tiny)
        theirs = again.forecast(panel, first, last)
    assert_same_state(again.state(), model.state())
    assert_same(theirs, model.forecast(panel, first, last))
    assert_same(world, before)


@every_model
def test_fit_does_not_look_ahead(name, world, tiny, until, trained, rewritten):
    other = refitted(name, rewritten(world, until), until, tiny)
    assert_same_state(other.state(), trained(name).model.state())


@every_model
def test_fit_looks_at_the_last_session(name, world, tiny, until, trained, rewritten):
    before = world["date"][world["date"] < pd.Timestamp(until)].max()
    arrays = refitted(name, rewritten(world, before), until, tiny).state().arrays
    ours = trained(name).model.state().arrays
    changed = {key: not np.array_equal(arrays[key], ours[key]) for key in ours}
    assert any(changed.values())
    for step in horizons.KNOTS[1:]:  # those of models that fit each step
        its = [value for key, value in changed.items() if key.endswith(f".{step}")]
        assert any(its) or not its


@every_model
def test_forecasts_do_not_look_ahead(name, world, trained, rewritten, cutoffs):
    model = trained(name).model
    first, last = cutoffs[0], cutoffs[-1]
    ours = model.forecast(Panel.of(world), first, last)
    for seed, cutoff in enumerate(cutoffs):
        for frame in (
            rewritten(world, cutoff, seed),
            world[world["date"] <= pd.Timestamp(cutoff)],
        ):
            theirs = model.forecast(Panel.of(frame), first, last)
            assert_same(known(theirs, cutoff), known(ours, cutoff))
            calibrated = (recalibration.recalibrate(it) for it in (theirs, ours))
            assert_same(*(known(it, cutoff) for it in calibrated))


@every_model
def test_forecasts_look_at_the_last_session(name, world, trained, rewritten, cutoffs):
    model = trained(name).model
    ours = model.forecast(Panel.of(world), cutoffs[1], cutoffs[-1])
    for cutoff in cutoffs[1:]:
        theirs = model.forecast(
            Panel.of(rewritten(world, cutoff - np.timedelta64(1, "D"))), cutoff, cutoff
        )
        mine = ours[ours["cutoff"] == pd.Timestamp(cutoff)]
        assert len(theirs) == len(mine) == 3
        assert (theirs["scale"].to_numpy() != mine["scale"].to_numpy()).all()


@every_model
def test_further_forecasts_do_not_look_ahead(name, world, trained, rewritten, cutoffs, ahead):
    model, steps = trained(name).model, (5, 18, 21)
    early, late = cutoffs[1:3]
    for cutoff, frame in (
        (early, world[world["date"] <= pd.Timestamp(early)]),
        (late, rewritten(world, late)),
    ):
        theirs = model.forecast(Panel.of(frame), cutoffs[0], cutoffs[-1], steps)
        for step in steps:
            assert_same(*(known(step_of(it, step), cutoff) for it in (theirs, ahead(name))))


@every_model
def test_a_step_is_the_same_whichever_others_and_cutoffs_are_asked_for(
    name, world, trained, cutoffs, ahead
):
    model, panel = trained(name).model, Panel.of(world)
    for steps in ((1,), (4,), (1, 5, 21)):
        frame = model.forecast(panel, cutoffs[0], cutoffs[-1], steps)
        alone = model.forecast(panel, cutoffs[2], cutoffs[2], steps)
        assert frame["step"].unique().tolist() == list(steps)
        for step in steps:
            rows = step_of(ahead(name), step)
            assert_same(step_of(frame, step), rows)
            rows = rows[rows["cutoff"] == pd.Timestamp(cutoffs[2])]
            assert_same(step_of(alone, step), rows.reset_index(drop=True))


@every_model
def test_a_longer_step_is_no_narrower_and_read_between_its_neighbours(name, ahead):
    frame = ahead(name)
    volatility = frame.pivot(index=["ticker", "cutoff"], columns="step", values="volatility")
    assert (volatility.diff(axis=1).iloc[:, 1:] > -1e-12).all(axis=None)
    assert volatility[21].mean() > 2.5 * volatility[1].mean()
    columns = ["volatility", "mean", *forecasts.QUANTILES]
    # The average is of quantiles that its members read, each with weights of its own.
    slack = (0.01 if name == "average" else 1e-9) * volatility.to_numpy().min()
    for step in set(ALL) - set(horizons.KNOTS):
        ours, *ends = (
            step_of(frame, it)[columns].to_numpy() for it in (step, *horizons.around(step))
        )
        assert (ours >= np.minimum(*ends) - slack).all()
        assert (ours <= np.maximum(*ends) + slack).all()


@every_model
def test_a_step_is_of_the_return_over_its_sessions(name, world, ahead):
    (history,) = Panel.of(world, tickers=["BBB"]).histories
    rows = ahead(name).query("ticker == 'BBB'")
    for step in (1, 4, 21):
        its = rows[rows["step"] == step]
        at = np.searchsorted(history.dates, its["cutoff"].to_numpy("datetime64[D]"))
        inside = at + step < len(history.dates)
        at, its = at[inside], its[inside]
        assert (its["date"].to_numpy("datetime64[D]") == history.dates[at + step]).all()
        adjusted = world.loc[world["ticker"] == "BBB", "adj_close"].to_numpy()
        np.testing.assert_allclose(its["log_return"], np.log(adjusted[at + step] / adjusted[at]))
    assert rows.loc[rows["step"] == 21, "log_return"].isna().sum() == 20


@every_model
def test_no_step_lies_beyond_the_horizon(name, world, tiny):
    model = create(name, replace(tiny, horizon=5))
    day = np.datetime64("2018-01-26")
    with pytest.raises(UsageError, match=f"steps up to 5, as far as {name} was fitted .* got 6;"):
        model.forecast(Panel.of(world), day, day, (1, 6))


@every_model
def test_a_run_of_the_next_session_is_one_of_a_version_without_horizons(
    name, world, tiny, until, cutoffs, ahead
):
    model, old = (create(name, replace(tiny, horizon=it)) for it in (1, 21))
    panel = Panel.of(world)
    model.fit(panel, np.datetime64(until))
    assert_same(model.forecast(panel, cutoffs[0], cutoffs[-1]), step_of(ahead(name), 1))
    state = model.state()
    for settings in (state.settings, *state.settings.values()):
        if isinstance(settings, dict):
            assert settings.pop("horizon", 1) == 1
    old.restore(state)
    assert old.horizon == 1
    assert_same_state(old.state(), model.state())


@every_model
def test_predict_says_what_the_backtest_says(name, world, trained, tested, cutoffs):
    table = tested(name)
    everyone = ["CCC", "AAA", "BBB"]
    for cutoff in cutoffs:
        rows = table[table["cutoff"] == pd.Timestamp(cutoff)].set_index("ticker")
        together = forecasting.predict(trained(name), world, tickers=everyone, as_of=cutoff.item())
        assert_same(together, rows.loc[everyone].reset_index())
        for ticker in everyone:
            alone = forecasting.predict(trained(name), world, tickers=[ticker], as_of=cutoff.item())
            assert_same(alone, rows.loc[[ticker]].reset_index())


@every_model
def test_predict_says_what_the_backtest_says_of_every_step(name, world, trained, cutoffs):
    run, steps, order = trained(name), (1, 4, 21), ["ticker", "step"]
    spec = BacktestSpec((name,), steps=steps)
    table = walk_forward.forecast_history(world, spec, trained=run).forecasts
    for cutoff in cutoffs[:2]:
        rows = table[table["cutoff"] == pd.Timestamp(cutoff)].sort_values(order)
        today = world[world["date"] <= pd.Timestamp(cutoff)]
        made = forecasting.predict(run, today, tickers=["AAA", "CCC"], steps=steps)
        rows = rows[rows["ticker"].isin(["AAA", "CCC"])].reset_index(drop=True)
        assert made[order].to_numpy().tolist() == rows[order].to_numpy().tolist()
        assert_same(known(made, cutoff), known(rows, cutoff))


@pytest.mark.parametrize("name", ["lstm", "gjr", "egarch"])
def test_a_calibrated_prediction_is_the_row_of_a_calibrated_backtest(name, world, trained, cutoffs):
    run = trained(name)
    rows = backtest.run(world, BacktestSpec((name,), calibrate=True), trained=run).forecasts
    result = forecasting.predict(
        run, world, tickers=["AAA"], as_of=cutoffs[-1].item(), calibrate=True
    )
    row = rows[(rows["ticker"] == "AAA") & (rows["cutoff"] == result["cutoff"][0])]
    assert_same(result, row.reset_index(drop=True))
    plain = forecasting.predict(run, world, tickers=["AAA"], as_of=cutoffs[-1].item())
    assert result["q0.05"][0] != plain["q0.05"][0]


@every_model
def test_predict_does_not_need_the_future_nor_the_backtest_the_others(
    name, world, trained, tested, cutoffs
):
    cutoff = pd.Timestamp(cutoffs[2])
    row = known(tested(name).query("ticker == 'BBB' and cutoff == @cutoff"), cutoff)
    today = forecasting.predict(trained(name), world[world["date"] <= cutoff], tickers=["BBB"])
    assert_same(known(today, cutoff), row)
    alone = forecasts_of(world, trained(name), tickers=("BBB",))
    assert_same(known(alone[alone["cutoff"] == cutoff], cutoff), row)


@every_model
def test_a_fold_is_a_run_trained_until_then(name, world, tiny, until, trained):
    # Fitted within the backtest, from the same prices, the model is that of the run.
    start = np.datetime64(until) + 1
    spec = BacktestSpec((name,), start=start.item(), refit="never", config=tiny)
    within = walk_forward.forecast_history(world, spec).forecasts
    assert_same(within, forecasts_of(world, trained(name)))


@every_model
def test_store_and_load(name, world, trained, tmp_path):
    folder = bundle.save(trained(name), tmp_path)
    assert {"run.json", "weights.safetensors"} <= {path.name for path in folder.iterdir()}
    loaded = bundle.load(tmp_path, trained(name).name)
    assert loaded.summary == trained(name).summary
    assert_same_state(loaded.model.state(), trained(name).model.state())
    everyone = ["AAA", "BBB", "CCC"]
    assert_same(
        forecasting.predict(loaded, world, tickers=everyone),
        forecasting.predict(trained(name), world, tickers=everyone),
    )
    assert loaded.model.horizon == trained(name).model.horizon
    panel, steps = Panel.of(world), (1, 4, 21)
    models = loaded.model, trained(name).model
    assert_same(*(it.forecast(panel, *panel.sessions[[-9, -1]], steps) for it in models))


@every_model
def test_forecasts_are_sound(name, world, trained, until):
    panel = Panel.of(world)
    frame = trained(name).model.forecast(panel, np.datetime64(until), panel.sessions[-1])
    assert_same(frame, forecasts.check(frame))
    assert set(frame["model"]) == {name}
    assert not frame.duplicated(["ticker", "cutoff"]).any()
    quantiles = frame[forecasts.QUANTILES].to_numpy()
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=1) > 0).all()
    count = (world["date"] >= pd.Timestamp(until)).sum()
    assert len(frame) == count
    # Within an order of magnitude of what there was.
    assert frame["volatility"].between(0.002, 0.1).all()


@every_model
def test_spans_without_a_session_have_no_forecast(name, world, trained):
    panel = Panel.of(world)
    for day in ("2040-01-01", "2017-12-31"):
        frame = trained(name).model.forecast(panel, np.datetime64(day), np.datetime64(day))
        assert_same(frame, forecasts.empty())


@every_model
def test_too_little_history_to_be_fitted(name, world, tiny):
    short = world[world["date"] <= world["date"].iloc[39]]
    with pytest.raises(HistoryError, match=rf"^{name} needs \d+ sessions .* history has 40; ") as e:
        create(name, tiny).fit(Panel.of(short), np.datetime64("2030-01-01"))
    assert "\n" not in str(e.value)


@every_model
def test_too_little_history_to_be_forecast(name, world, newcomer, trained):
    # A newcomer whose sixtieth session is the last.
    days = world["date"].drop_duplicates().sort_values()
    late = newcomer[newcomer["date"] >= days.iloc[-SESSIONS_TO_FORECAST]]
    panel = Panel.of(pd.concat([world, late]), tickers=["NEW"], universe=["AAA", "BBB", "CCC"])
    (history,) = panel.histories
    frame = trained(name).model.forecast(panel, history.dates[0], history.dates[-1])
    assert len(frame) == (1 if name in SHARED else 0)


@every_model
def test_a_ticker_that_was_not_fitted(name, world, newcomer, trained, until):
    both = pd.concat([world, newcomer], ignore_index=True)
    run = trained(name)
    if name in SHARED:
        frame = forecasting.predict(run, both, tickers=["NEW", "AAA"])
        assert frame["ticker"].tolist() == ["NEW", "AAA"]
        assert_same(
            frame[1:].reset_index(drop=True), forecasting.predict(run, world, tickers=["AAA"])
        )
    else:
        with pytest.raises(HistoryError, match="train a run with it"):
            forecasting.predict(run, both, tickers=["NEW", "AAA"])


@every_model
def test_progress_counts_what_is_fitted(name, world, trained, tiny, until):
    calls = []
    total = {**dict.fromkeys(CELLS, 2), "trees": 6 * 23}.get(name, 3)
    # Epochs, steps and levels, or tickers.
    create(name, tiny).fit(Panel.of(world), np.datetime64(until), lambda *call: calls.append(call))
    assert [call[:2] for call in calls if call[0]] == [(n, total) for n in range(1, total + 1)]
    assert all(text.startswith(name) for _, _, text in calls)


@every_model
def test_a_state_of_another_model_is_refused(name, trained):
    for other in REGISTRY:
        if not any({name, other} <= group for group in ALIKE) and name != other:
            with pytest.raises((KeyError, ValueError)):
                create(name).restore(trained(other).model.state())


def test_no_such_model():
    with pytest.raises(UsageError, match="no model 'prophet'; there are lstm, gru"):
        create("prophet")


def test_the_page_names_files_that_exist():
    names = set(re.findall(r"(?:forecaster|tests)/[\w/]+\.py", PAGE))
    missing = {name for name in names if not (Path(__file__).parents[2] / name).exists()}
    assert missing == {f"forecaster/models/{WRITTEN}.py", f"tests/models/test_{WRITTEN}.py"}
